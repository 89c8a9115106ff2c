"""Mutations of Observer's right app, image and manifests: for each leaf of the contract what breaks it.

A rule is a function for a pattern of leaves. It gives mutations, which have to be found, and edits that change nothing
of what the leaf says, of which nothing must be found.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import contract_mutations_app  # noqa: F401 - its rules
from contract_edits import (
    CONFIG,
    CONTAINER,
    DEPLOYMENT,
    EXTRA,
    POD,
    RULES,
    SETTINGS,
    Expected,
    Mutation,
    changed,
    clause_of,
    drop,
    edited,
    file_line,
    found,
    in_turn,
    kind_of,
    old_line,
    other_types,
    part,
    position,
    put,
    renamed,
    right,
    rule,
    set_to,
    swapped,
    without,
)
from contract_inputs import BASE, SAID, Body, Edit, dumped, kustomization, line_of, tree

from contract.facts import FieldPath

ELSEWHERE: Mapping[tuple[str, ...], str] = {
    ("apiVersion",): "says which schema the file has",
    ("metadata", "**"): "names the contract",
    ("layers", "**"): "names owners, for people",
    ("items", "**"): "decides which layer is named first: test_contract_engine.py",
    ("fixed", "**"): "sums clauses up: test_contract_engine.py",
    ("cluster", "**"): "compared on the living system; its default class with resources.*.class",
    ("node", "**"): "compared on the living system",
    ("repository", "**"): "says what repository hygiene leaves out",
    ("waivers", "**"): "test_contract_engine.py",
}
"""Leaves that no edit of app, image or manifests can break, and why."""


# --- the contract's leaves --------------------------------------------------------------------------


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:  # noqa: ANN401
    """Every scalar of the contract, and every empty list or mapping, with its path."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*at, key))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from leaves(item, (*at, number))
    else:
        yield at, value


def fits(pattern: Sequence[str], at: Sequence[str | int]) -> bool:
    if pattern[-1] == "**":
        return tuple(pattern[:-1]) == tuple(at[: len(pattern) - 1])
    return len(pattern) == len(at) and all(one in ("*", str(step)) for one, step in zip(pattern, at, strict=True))


@functools.cache
def generated() -> tuple[Mutation, ...]:
    """All mutations and edits that change nothing, each with its leaf."""
    return tuple(dataclasses.replace(one, leaf=at) for at, value in leaves(SAID)
                 for pattern, function in RULES if fits(pattern, at) for one in function(at, value))


# --- environment ------------------------------------------------------------------------------------

ENVIRONMENT = ("workloads", "*", "containers", "*", "variables", "*")


@rule(*ENVIRONMENT, "source", "*")
def source_of_a_variable(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    _, workload, _, container, _, name, *_ = at
    kind = value.partition("/")[0]
    said = SAID["workloads"][workload]["containers"][container]["variables"][name]
    if kind == "ConfigMap":
        yield from from_a_config_map(name, clause_of(name, container), said)
    elif kind == "Secret" and workload == "observer":
        yield from from_a_whole_secret(name, clause_of(name))
    elif kind == "Secret":
        yield from from_a_key(workload, name)
    elif kind in ("field", "manifest"):
        yield from from_the_manifest(workload, name, kind)
    else:
        yield from from_nowhere(name)


@rule(*ENVIRONMENT, "source")
def without_a_source(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    yield from from_nowhere(at[5])


def from_nowhere(name: str) -> Iterator[Mutation]:
    """No manifest gives such a variable; one that does is found."""
    yield from set_to(*SETTINGS, ("data", name), "other", clause_of(name))
    yield from given_by_env("observer", name, "other", clause_of(name))


@rule(*ENVIRONMENT, "optional")
def optional_variable(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name = at[5]
    if name in tree().body(*SETTINGS)["data"]:
        yield right(f"without the optional {name}", *SETTINGS, drop(("data", name)))


@rule(*ENVIRONMENT, "value")
def value_of_a_variable(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name = at[5]
    yield from other_values(name, f"{value}1")


@rule(*ENVIRONMENT, "values", "*")
def values_of_a_variable(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name = at[5]
    yield right(f"{name} is {value}", *SETTINGS, put(("data", name), value))
    if at[-1] == 0:
        yield from other_values(name, f"{value}x")


def other_values(name: str, value: str) -> Iterator[Mutation]:
    """A value that the contract does not allow, wherever the variable is given."""
    if name in tree().body(*SETTINGS)["data"]:
        yield from set_to(*SETTINGS, ("data", name), value, clause_of(name))
    env = part(tree().body("Deployment", "observer"), (*CONTAINER, "env"))
    if number := next((number for number, one in enumerate(env) if one["name"] == name and "value" in one), None):
        yield from set_to("Deployment", "observer", (*CONTAINER, "env", number, "value"), value, clause_of(name))


def given_by_env(workload: str, name: str, value: str, clause: str) -> Iterator[Mutation]:
    """A plain value in `env`, which wins over `envFrom`."""
    kind = kind_of(workload)
    path = (*CONTAINER, "env", len(part(tree().body(kind, workload), (*CONTAINER, "env"))))
    file, number, text = changed(kind, workload, put(path, {"name": name, "value": value}))
    yield Mutation(f"{name} given by env as well", Edit({file: text}),
                   found([clause], DEPLOYMENT, (file, line_of(text, (*path, "value"), number))))


def from_a_config_map(name: str, clause: str, said: Mapping[str, Any]) -> Iterator[Mutation]:
    """A key of the ConfigMap that the container takes whole."""
    path = ("data", name)
    value = tree().body(*SETTINGS)["data"][name]
    if not said.get("optional"):
        yield from without(*SETTINGS, path, clause)
        yield from renamed(*SETTINGS, path, clause)
    for other in in_turn(name, (17, True, None)):
        yield from set_to(*SETTINGS, path, other, clause, overlay=False)
    if "manifest" not in said["source"]:
        yield from given_by_env("observer", name, "other", clause)
        yield from in_turn(name, (moved_to_env(name, value, clause, bool(said.get("optional"))),
                                  given_by_another_config_map(name, clause)))[0]
    if clause in {f"paths.{one}" for one in SAID["paths"]}:
        yield from set_to(*SETTINGS, path, f"{value}x", clause)
    elif "value" not in said and "values" not in said:
        yield right(f"{name} has another value, and the contract leaves it open", *SETTINGS, put(path, "other"))
    elif clause == "environment.DB_HOST":
        yield from set_to(*SETTINGS, path, "127.0.0.1", clause)


def moved_to_env(name: str, value: str, clause: str, optional: bool) -> Iterator[Mutation]:
    """The right value, by `env` and no longer by the ConfigMap."""
    config_file, _, config = changed(*SETTINGS, drop(("data", name)))
    path = (*CONTAINER, "env", 4)
    file, _, text = changed("Deployment", "observer", put(path, {"name": name, "value": value}))
    place = file_line(file, text, (*path, "value")) if optional else file_line(config_file, config, ("data",))
    yield Mutation(f"{name} moved from the ConfigMap to env", Edit({config_file: config, file: text}),
                   found([clause], DEPLOYMENT if optional else CONFIG, place))


def given_by_another_config_map(name: str, clause: str) -> Iterator[Mutation]:
    """A second ConfigMap, taken later than the right one, so that it wins."""
    extra = dumped({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {name: "other"}})
    taken = {"configMapRef": {"name": "extra"}}
    file, _, text = changed("Deployment", "observer", put((*CONTAINER, "envFrom", 2), taken))
    base = f"{BASE}/kustomization.yaml"
    listed = tree().texts[base].replace("resources:\n", "resources:\n  - configmaps/extra.yaml\n")
    yield Mutation(f"{name} given by another ConfigMap as well", Edit({file: text, EXTRA: extra, base: listed}),
                   found([clause], CONFIG, file_line(EXTRA, extra, ("data", name))))


def from_a_whole_secret(name: str, clause: str) -> Iterator[Mutation]:
    """A key of the Secret that the container takes whole: no other source may give it, least of all a readable one."""
    yield from given_by_env("observer", name, "plain", clause)
    yield from set_to(*SETTINGS, ("data", name), "plain", clause)


def from_a_key(workload: str, name: str) -> Iterator[Mutation]:
    """A variable that takes one key of a Secret."""
    kind, clause = kind_of(workload), f"environment.{name}"
    path = (*CONTAINER, "env", position(workload, "env", "name", name))
    reference = (*path, "valueFrom", "secretKeyRef")
    yield from without(kind, workload, path, clause)
    yield from called(workload, path, f"{name}X", clause)
    yield from set_to(kind, workload, (*reference, "key"), "KIS_HTS_ID", clause)
    yield from set_to(kind, workload, (*reference, "key"), f"{name}X", "references")
    yield from without(kind, workload, (*reference, "key"), "references", overlay=False)
    yield from renamed(kind, workload, (*reference, "key"), "references")
    yield from set_to(kind, workload, (*reference, "name"), "observer-secret", "secrets.observer-secrets")
    yield from set_to(kind, workload, (*reference, "optional"), True, "secrets.observer-secrets")
    yield from set_to(kind, workload, path, {"name": name, "value": "plain"}, clause, overlay=False,
                      at=(*path, "value"))
    # With the one before it, or the last one.
    other = (*path[:-1], (position(workload, "env", "name", name) - 1) % 3)
    other_name = part(tree().body(kind, workload), (*other, "name"))
    yield swapped(kind, workload, (*reference, "key"), (*other, "valueFrom", "secretKeyRef", "key"),
                  [clause, f"environment.{other_name}"])


def called(workload: str, path: FieldPath, name: str, clause: str) -> Iterator[Mutation]:
    """An item of a list under another name: the finding is there, or where the right one has to be added."""
    kind = kind_of(workload)
    lacking = old_line(kind, workload, path[:-1])
    for one in set_to(kind, workload, (*path, "name"), name, clause):
        yield dataclasses.replace(one, expected=tuple(
            dataclasses.replace(wanted, places=wanted.places | {lacking}) for wanted in one.expected))


def from_the_manifest(workload: str, name: str, source: str) -> Iterator[Mutation]:
    """A variable that the workload itself gives: a value, or a field of the pod."""
    kind, clause = kind_of(workload), clause_of(name, workload)
    path = (*CONTAINER, "env", position(workload, "env", "name", name))
    said = SAID["workloads"][workload]["containers"][workload]["variables"][name]
    yield from without(kind, workload, path, clause)
    yield from called(workload, path, f"{name}X", clause)
    if source == "field":
        field = (*path, "valueFrom", "fieldRef", "fieldPath")
        yield from set_to(kind, workload, field, "metadata.uid", clause)
        yield from set_to(kind, workload, path, {"name": name, "value": "observer-0"}, clause, overlay=False,
                          at=(*path, "value"))
        yield from renamed(kind, workload, (*path, "valueFrom", "fieldRef"), clause)
        other = {"POD_NAME": "POD_NAMESPACE", "POD_NAMESPACE": "POD_NAME"}[name]
        other_field = (*CONTAINER, "env", position(workload, "env", "name", other), *field[-3:])
        if name < other:
            yield swapped(kind, workload, field, other_field, [clause, clause_of(other)])
        return
    for other_value in in_turn(name, (17, True)):
        yield from set_to(kind, workload, (*path, "value"), other_value, clause, overlay=False)
    yield from set_to(kind, workload, path, {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                      clause, overlay=False, at=(*path, "valueFrom", "fieldRef", "fieldPath"))
    if "value" in said:
        # A variable that comes after it is not put in.
        following = len(part(tree().body(kind, workload), path[:-1]))
        file, number, text = changed(kind, workload, lambda body: (
            put((*path, "value"), "$(ZONE)")(body),
            put((*path[:-1], following), {"name": "ZONE", "value": said["value"]})(body)))
        yield Mutation(f"{name} takes its value of a variable that comes later", Edit({file: text}),
                       found([clause], DEPLOYMENT, (file, line_of(text, (*path, "value"), number))))
        yield from set_to(kind, workload, (*path, "value"), None, clause, overlay=False)
        yield from without(kind, workload, (*path, "value"), clause)
        yield from renamed(kind, workload, (*path, "value"), clause)


def by_a_generator(name: str, value: str, clause: str) -> Iterator[Mutation]:
    """A value by the overlay's configMapGenerator, which is merged with the ConfigMap."""
    text = tree().texts[kustomization()] + (
        f"configMapGenerator:\n  - name: {SETTINGS[1]}\n    behavior: merge\n    literals:\n      - {name}={value}\n")
    yield Mutation(f"the overlay's generator gives {name}={value}", Edit({kustomization(): text}),
                   found([clause], CONFIG, (kustomization(), text.count("\n"))))


@rule("configMaps", "*")
def config_map(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    taken = [name for name, one in SAID["workloads"]["observer"]["containers"]["observer"]["variables"].items()
             if one["source"] == [f"ConfigMap/{value}"] and not one.get("optional")]
    clauses = [clause_of(name) for name in taken]
    path = (*CONTAINER, "envFrom", 0)
    yield from without("Deployment", "observer", path, *clauses, overlay=False)
    yield from without("Deployment", "observer", path[:-1], *clauses)
    yield from set_to("Deployment", "observer", (*path, "prefix"), "APP_", *clauses)
    yield from set_to("Deployment", "observer", (*path, "configMapRef", "name"), f"{value}s", "references")
    yield from set_to("Deployment", "observer", (*path, "configMapRef", "optional"), True, "environment.DB_NAME")
    yield from renamed("Deployment", "observer", (*path, "configMapRef"), *clauses,
                       at=old_line("Deployment", "observer", path[:-1]))
    file, _, text = changed(*SETTINGS, put(("metadata", "name"), f"{value}-v2"))
    place = old_line("Deployment", "observer", (*path, "configMapRef", "name"))
    yield Mutation(f"ConfigMap {value} has another name", Edit({file: text}), found(["references"], DEPLOYMENT, place))
    yield resource_left_out("configmaps/observer-config.yaml", found(["references"], DEPLOYMENT, place))
    yield from without(*SETTINGS, ("data",), *clauses, at=old_line(*SETTINGS, ()), overlay=False)
    yield from renamed(*SETTINGS, ("data",), *clauses)


def resource_left_out(name: str, expected: tuple[Expected, ...]) -> Mutation:
    """A line of the base's kustomization is gone."""
    base = f"{BASE}/kustomization.yaml"
    text, _ = edited(base, f"  - {name}\n", "")
    return Mutation(f"{name} is not listed", Edit({base: text}), expected)


# --- paths ------------------------------------------------------------------------------------------


@rule("paths", "*", "optional")
def optional_path(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    variable = SAID["paths"][at[1]]["variable"]
    text, _ = edited("app/.env.example", f"{variable}=", f"{variable}= #")
    yield Mutation(f".env.example leaves {variable} open", Edit({"app/.env.example": text}))


@rule("paths", "*", "path")
def path_of_a_folder(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name = at[1]
    variable, names = SAID["paths"][name]["variable"], list(SAID["paths"])
    following = names[(names.index(name) + 1) % len(names)]
    yield swapped(*SETTINGS, ("data", variable), ("data", SAID["paths"][following]["variable"]),
                  [f"paths.{name}", f"paths.{following}"])
    yield from set_to(*SETTINGS, ("data", variable), f"/app/{name}", f"paths.{name}", overlay=False)
    yield from by_a_generator(variable, f"/app/{name}", f"paths.{name}")
    # In a ConfigMap nothing is put in for that.
    yield from set_to(*SETTINGS, ("data", variable), value.replace("observer", "$(DB_NAME)"), f"paths.{name}",
                      overlay=False)

# --- ports ------------------------------------------------------------------------------------------


@rule("workloads", "*", "containers", "*", "ports", "*", "port")
def port_of_a_container(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    _, workload, _, container, _, name, _ = at
    kind, clause = kind_of(workload), f"ports.{container}"
    path = (*CONTAINER, "ports", 0)
    yield from set_to(kind, workload, (*path, "containerPort"), value + 1, clause)
    for other in other_types(value):
        yield from set_to(kind, workload, (*path, "containerPort"), other, clause, overlay=False)
    yield from set_to(kind, workload, (*path, "name"), f"{name}x", clause)
    yield from without(kind, workload, (*path, "name"), clause)
    yield from set_to(kind, workload, (*path, "protocol"), "UDP", clause)
    yield from without(kind, workload, path, clause, overlay=False)
    yield from without(kind, workload, path[:-1], clause)
    yield from renamed(kind, workload, (*path, "containerPort"), clause)
    yield from renamed(kind, workload, path[:-1], clause)


@rule("workloads", "*", "containers", "*", "*", "httpGet", "path")
def path_of_a_probe(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, container, probe = at[1], at[3], at[4]
    kind, clause = kind_of(workload), f"ports.{container}.{probe}"
    path = (*CONTAINER, probe)
    get = (*path, "httpGet")
    yield from set_to(kind, workload, (*get, "path"), "/status", clause)
    yield from set_to(kind, workload, (*get, "path"), "/", clause, overlay=False)
    yield from set_to(kind, workload, (*get, "scheme"), "HTTPS", clause)
    yield from without(kind, workload, (*get, "path"), clause)
    yield from without(kind, workload, path, clause)
    yield from renamed(kind, workload, (*get, "path"), clause)
    yield from renamed(kind, workload, get, clause)
    yield from renamed(kind, workload, path, clause)
    yield from set_to(kind, workload, path, {"tcpSocket": {"port": "http"}}, clause, overlay=False)
    if probe == "livenessProbe":
        yield swapped(kind, workload, (*get, "path"), (*CONTAINER, "readinessProbe", "httpGet", "path"),
                      [clause, f"ports.{container}.readinessProbe"])


@rule("workloads", "*", "containers", "*", "*", "httpGet", "port")
def port_of_a_probe(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, container, probe = at[1], at[3], at[4]
    kind, clause = kind_of(workload), f"ports.{container}.{probe}"
    get = (*CONTAINER, probe, "httpGet")
    yield right(f"{probe} asks the port by its number", kind, workload, put((*get, "port"), value))
    yield from set_to(kind, workload, (*get, "port"), value + 1, clause)
    yield from set_to(kind, workload, (*get, "port"), "metrics", clause)
    yield from set_to(kind, workload, (*get, "port"), str(value), clause, overlay=False)
    yield from without(kind, workload, (*get, "port"), clause)
    yield from renamed(kind, workload, (*get, "port"), clause)


SERVICE_PORT: FieldPath = ("spec", "ports", 0)


@rule("services", "*", "workload")
def workload_of_a_service(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"ports.{at[1]}"
    other = "postgres" if value == "observer" else "observer"
    yield from set_to("Service", name, ("spec", "selector", "app"), other, clause)
    yield from set_to("Service", name, ("spec", "selector"), {"environment": "production"}, clause, overlay=False,
                      at=("spec", "selector", "environment"))
    common = tree().texts[kustomization()] + "commonLabels: {app: all}\n"
    yield Mutation(f"the overlay gives everything one label ({name})", Edit({kustomization(): common}),
                   found([clause], DEPLOYMENT, (kustomization(), common.count("\n"))))
    yield from set_to("Service", name, ("spec", "selector", "app"), f"{value}x", "references")
    yield from set_to("Service", name, ("spec", "selector", "tier"), "web", "references")
    yield from renamed("Service", name, ("spec", "selector", "app"), "references")
    file, number, text = changed("Service", name, put(("metadata", "name"), f"{name}-x"))
    yield Mutation(f"Service {name} has another name", Edit({file: text}),
                   found([clause], DEPLOYMENT, (file, line_of(text, ("metadata", "name"), number))))
    listed = {"observer": "services/observer-svc.yaml", "postgres": "services/postgres.yaml"}
    if name in listed:
        yield resource_left_out(listed[name], found([clause], DEPLOYMENT, ROOT_OF_MANIFESTS))
    else:
        yield from without_the_headless_service(name, clause)


ROOT_OF_MANIFESTS = (kustomization(), 1)
"""Where what is missing altogether is told of: the file that puts the manifests together."""


def without_the_headless_service(name: str, clause: str) -> Iterator[Mutation]:
    """It stands in the StatefulSet's file."""
    file, number = tree().find("Service", name)
    others = [body for at, body in enumerate(tree().documents[file]) if at != number]
    yield Mutation(f"Service {name} is gone", Edit({file: dumped(*others)}),
                   found([clause], DEPLOYMENT, ROOT_OF_MANIFESTS))


@rule("services", "*", "ports", "*", "port")
def port_of_a_service(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, port, clause = at[1], at[3], f"ports.{at[1]}"
    yield from set_to("Service", name, (*SERVICE_PORT, "port"), value + 1, clause)
    for other in other_types(value):
        yield from set_to("Service", name, (*SERVICE_PORT, "port"), other, clause, overlay=False)
    yield from set_to("Service", name, (*SERVICE_PORT, "name"), f"{port}x", clause)
    yield from without("Service", name, (*SERVICE_PORT, "name"), clause)
    yield from without("Service", name, SERVICE_PORT, clause, overlay=False)
    yield from without("Service", name, ("spec", "ports"), clause)
    yield from renamed("Service", name, (*SERVICE_PORT, "port"), clause)


@rule("services", "*", "ports", "*", "targetPort")
def target_of_a_service(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"ports.{at[1]}"
    yield right(f"Service {name} leads to the port by its number", "Service", name,
                put((*SERVICE_PORT, "targetPort"), value))
    yield right(f"Service {name} leads to the port of the same number", "Service", name,
                drop((*SERVICE_PORT, "targetPort")))
    yield from set_to("Service", name, (*SERVICE_PORT, "targetPort"), value + 1, clause)
    yield from set_to("Service", name, (*SERVICE_PORT, "targetPort"), "metrics", clause)
    yield from set_to("Service", name, (*SERVICE_PORT, "targetPort"), str(value), clause, overlay=False)


@rule("services", "*", "ports", "*", "protocol")
def protocol_of_a_service(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"ports.{at[1]}"
    yield from set_to("Service", name, (*SERVICE_PORT, "protocol"), "UDP", clause)
    yield from set_to("Service", name, (*SERVICE_PORT, "protocol"), "tcp", clause, overlay=False)
    yield right(f"Service {name} leaves the protocol out", "Service", name, drop((*SERVICE_PORT, "protocol")))


@rule("services", "*", "headless")
def headless_service(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"ports.{at[1]}"
    yield from without("Service", name, ("spec", "clusterIP"), clause)
    yield from set_to("Service", name, ("spec", "clusterIP"), "10.43.0.17", clause)
    yield from set_to("Service", name, ("spec", "clusterIP"), "", clause, overlay=False)
    yield from renamed("Service", name, ("spec", "clusterIP"), clause)
    for other in SAID["services"]:
        if not SAID["services"][other].get("headless"):
            yield from set_to("Service", other, ("spec", "clusterIP"), "None", f"ports.{other}")


# --- volumes ----------------------------------------------------------------------------------------


@rule("workloads", "*", "containers", "*", "volumes", "*", "source")
def mount(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    _, workload, _, container, _, target, _ = at
    kind, clause = kind_of(workload), f"volumes.{target}"
    number = position(workload, "volumeMounts", "mountPath", target)
    path = (*CONTAINER, "volumeMounts", number)
    below = [f"paths.{name}" for name, one in SAID["paths"].items() if workload == "observer"
             and not one.get("optional") and f"{one['path']}/".startswith(f"{target}/")]
    yield from set_to(kind, workload, (*path, "mountPath"), f"{target}x", clause)
    yield from set_to(kind, workload, (*path, "mountPath"), f"/mnt/{number}", clause, overlay=False)
    for other in in_turn(target, (17, None)):
        yield from set_to(kind, workload, (*path, "mountPath"), other, clause, overlay=False)
    yield from renamed(kind, workload, (*path, "mountPath"), clause)
    # Without the mount, what the app writes there is lost.
    yield from without(kind, workload, path, clause, *below)
    yield from set_to(kind, workload, (*path, "name"), "nothing", "references")
    yield from set_to(kind, workload, (*path, "readOnly"), True, clause)
    yield from set_to(kind, workload, (*path, "subPath"), "old", clause)
    yield from set_to(kind, workload, (*path, "subPathExpr"), "$(POD_NAME)", clause, overlay=False)
    mounts = part(tree().body(kind, workload), (*CONTAINER, "volumeMounts"))
    other_at = (number + 1) % len(mounts)
    swap = swapped(kind, workload, (*path, "name"), (*CONTAINER, "volumeMounts", other_at, "name"),
                   [clause, f"volumes.{mounts[other_at]['mountPath']}"])
    alike = {SAID["resources"][one]["type"] for one in (value, SAID["workloads"][workload]["containers"][container][
        "volumes"][mounts[other_at]["mountPath"]]["source"])} == {"emptyDir"}
    yield dataclasses.replace(swap, expected=()) if alike else swap
    yield from volume_behind(kind, workload, mounts[number]["name"], clause, (*path, "name"))


def volume_behind(kind: str, workload: str, name: str, clause: str, mounted: FieldPath) -> Iterator[Mutation]:
    """What a mount's volume is. A mount of a volume that is not there is a reference that leads nowhere: either may be
    mended, the mount's name or the volume."""
    volumes = part(tree().body(kind, workload), (*POD, "volumes"))
    number = next(number for number, one in enumerate(volumes) if one["name"] == name)
    path = (*POD, "volumes", number)
    yield from without(kind, workload, path, "references", overlay=False, at=old_line(kind, workload, mounted))
    file, document, text = changed(kind, workload, put((*path, "name"), f"{name}x"))
    yield Mutation(f"volume {name} has another name", Edit({file: text}), found(
        ["references"], DEPLOYMENT, *((file, line_of(text, at, document)) for at in (mounted, (*path, "name")))))
    source = next(key for key in volumes[number] if key != "name")
    others = {"persistentVolumeClaim": {"claimName": "observer-db-pvc" if workload == "observer" else
                                        "observer-data-pvc"},
              "hostPath": {"path": "/mnt/disk"}, "emptyDir": {"medium": "Memory"}, "configMap": {"name": SETTINGS[1]},
              "nfs": {"server": "10.0.0.5", "path": "/"}}
    for other, body in in_turn(name, [*others.items()], 3):
        if other != source:
            yield from set_to(kind, workload, path, {"name": name, other: body}, clause, overlay=False,
                              at=(*path, other, "claimName") if other == "persistentVolumeClaim" else (*path, other))
    if source != "emptyDir":  # which Kubernetes takes a volume for that says nothing
        yield from without(kind, workload, (*path, source), clause, overlay=False)
    if source == "persistentVolumeClaim":
        claim = (*path, source, "claimName")
        yield from set_to(kind, workload, claim, "observer-x-pvc", clause)
        yield from set_to(kind, workload, claim, others[source]["claimName"], clause)
        yield from set_to(kind, workload, (*path, source, "readOnly"), True, clause)
        yield from renamed(kind, workload, claim, clause)


@rule("resources", "*", "type")
def type_of_a_resource(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    """What a volume is made of is changed with its mount; here an object of it is gone, or something is added."""
    name = at[1]
    if value == "claim":
        yield resource_left_out(f"pvc/{name}.yaml", found([f"volumes.{name}"], DEPLOYMENT, ROOT_OF_MANIFESTS))
        yield from set_to("PersistentVolumeClaim", name, ("metadata", "name"), f"{name}-x", f"volumes.{name}",
                          overlay=False)
        yield from set_to("PersistentVolumeClaim", name, ("kind",), "ConfigMap", f"volumes.{name}", overlay=False)
    else:
        workload = "observer" if value == "hostPath" else "postgres"
        volume = {"name": "more", value: {"path": "/mnt"} if value == "hostPath" else {}}
        file, _, _ = changed(kind_of(workload), workload, put(("spec", "more"), 1))
        path = (*CONTAINER, "volumeMounts", len(part(tree().body(kind_of(workload), workload),
                                                     (*CONTAINER, "volumeMounts"))))

        def more(body: Body) -> None:
            put((*POD, "volumes", len(part(body, (*POD, "volumes")))), volume)(body)
            put(path, {"name": "more", "mountPath": f"/mnt/{name}"})(body)

        file, number, text = changed(kind_of(workload), workload, more)
        yield Mutation(f"a mount more, of {value} ({name})", Edit({file: text}), found(
            [f"volumes./mnt/{name}"], DEPLOYMENT, (file, line_of(text, (*path, "mountPath"), number))))


@rule("resources", "*", "class")
def class_of_a_resource(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, path = at[1], ("spec", "storageClassName")
    yield right(f"{name} names the default class", "PersistentVolumeClaim", name, put(path, value))
    for other in in_turn(name, ("oci-bv", "", f"{value}x"), 2):
        yield from set_to("PersistentVolumeClaim", name, path, other, f"volumes.{name}", overlay=other == "oci-bv")


@rule("resources", "*", "params", "storage")
def storage_of_a_resource(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, path, clause = at[1], ("spec", "resources", "requests", "storage"), f"volumes.{at[1]}"
    size = int(value.removesuffix("Gi"))
    yield right(f"{name} has its size in Mi", "PersistentVolumeClaim", name, put(path, f"{size * 1024}Mi"))
    yield right(f"{name} has its size in bytes", "PersistentVolumeClaim", name, put(path, size * 1024**3))
    yield from set_to("PersistentVolumeClaim", name, path, f"{size + 1}Gi", clause)
    for other in in_turn(name, (f"{size}G", f"{size}Mi", size, True, f"{size} Gi"), 2):
        yield from set_to("PersistentVolumeClaim", name, path, other, clause, overlay=False)
    yield from without("PersistentVolumeClaim", name, path, clause)
    yield from without("PersistentVolumeClaim", name, path[:2], clause)
    yield from renamed("PersistentVolumeClaim", name, path, clause)
    following = {"observer-data-pvc": "observer-logs-pvc", "observer-logs-pvc": "observer-universe-pvc",
                 "observer-universe-pvc": "observer-db-pvc", "observer-db-pvc": "observer-data-pvc"}[name]
    file, number, text = changed("PersistentVolumeClaim", name, put(
        path, SAID["resources"][following]["params"]["storage"]))
    yield Mutation(f"{name} has the size of {following}", Edit({file: text}),
                   found([clause], DEPLOYMENT, (file, line_of(text, path, number))))


@rule("resources", "*", "params", "accessModes", "*")
def mode_of_a_resource(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, path, clause = at[1], ("spec", "accessModes"), f"volumes.{at[1]}"
    for other in in_turn(name, ("ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod")):
        yield from set_to("PersistentVolumeClaim", name, (*path, 0), other, clause)
    yield from set_to("PersistentVolumeClaim", name, path, value, clause, overlay=False)
    yield from set_to("PersistentVolumeClaim", name, path, [value, "ReadWriteMany"], clause, overlay=False)
    yield from set_to("PersistentVolumeClaim", name, path, [], clause, overlay=False)
    yield from without("PersistentVolumeClaim", name, path, clause)
    yield from renamed("PersistentVolumeClaim", name, path, clause)


@rule("resources", "*", "params", "path")
def path_on_the_node(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    yield from field_on_the_node("path", value, f"{value}x", "/opt")


@rule("resources", "*", "params", "type")
def type_on_the_node(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    yield from field_on_the_node("type", value, "Directory", "File")


def field_on_the_node(name: str, value: str, *others: str) -> Iterator[Mutation]:
    """A field of the hostPath volume."""
    clause = f"volumes.{SAID['resources']['observer-config']['params']['path']}"
    path = (*POD, "volumes", 3, "hostPath", name)
    for other in others:
        yield from set_to("Deployment", "observer", path, other, clause)
    for typed in (17, None):
        yield from set_to("Deployment", "observer", path, typed, clause, overlay=False)
    yield from without("Deployment", "observer", path, clause)
    yield from renamed("Deployment", "observer", path, clause)


# --- permissions ------------------------------------------------------------------------------------


@rule("workloads", "*", "permissions", "fsGroup")
def group_of_the_volumes(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload = at[1]
    yield from permission(workload, (*POD, "securityContext", "fsGroup"), value, f"permissions.{workload}.fsGroup")


@rule("workloads", "*", "containers", "*", "permissions", "*")
def permission_of_a_container(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, container, name = at[1], at[3], at[5]
    clause = f"permissions.{container}.{name}"
    own = (*CONTAINER, "securityContext")
    body = tree().body(kind_of(workload), workload)
    if name in part(body, own):
        yield from permission(workload, (*own, name), value, clause)
    else:
        # The pod's, which every container inherits, and may override.
        yield from permission(workload, (*POD, "securityContext", name), value, clause)
        other = not value if isinstance(value, bool) else value + 1
        yield from set_to(kind_of(workload), workload, (*own, name), other, clause)


def permission(workload: str, path: FieldPath, value: Any, clause: str) -> Iterator[Mutation]:  # noqa: ANN401
    kind = kind_of(workload)
    yield from set_to(kind, workload, path, not value if isinstance(value, bool) else value + 1, clause)
    if not isinstance(value, bool):
        yield from set_to(kind, workload, path, 0, clause, overlay=False)
    for other in in_turn(path, (*other_types(value), None)):
        yield from set_to(kind, workload, path, other, clause, overlay=False)
    yield from without(kind, workload, path, clause)
    yield from renamed(kind, workload, path, clause)
    if path[-1] == ("fsGroup" if path[: len(CONTAINER)] != CONTAINER else "runAsNonRoot"):
        yield from without(kind, workload, path[:-1], clause)


@rule("workloads", "*", "containers", "*", "permissions", "capabilities", "drop", "*")
def capabilities(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, clause = at[1], f"permissions.{at[3]}.capabilities"
    kind, path = kind_of(workload), (*CONTAINER, "securityContext", "capabilities")
    yield from set_to(kind, workload, (*path, "drop", 0), "NET_RAW", clause)
    yield from set_to(kind, workload, (*path, "drop"), [], clause, overlay=False)
    yield from set_to(kind, workload, (*path, "drop"), value, clause, overlay=False)
    yield from set_to(kind, workload, (*path, "add"), ["NET_ADMIN"], clause)
    yield from set_to(kind, workload, (*CONTAINER, "securityContext", "privileged"), True,
                      f"permissions.{at[3]}.privileged")
    yield from without(kind, workload, (*path, "drop"), clause)
    yield from without(kind, workload, path, clause)
    yield from renamed(kind, workload, (*path, "drop"), clause)
    yield from renamed(kind, workload, path, clause)


# --- secrets ----------------------------------------------------------------------------------------


@rule("secrets", "*", "sealed")
def sealed_secret(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"secrets.{at[1]}"
    file, _ = tree().find("SealedSecret", name)
    wanted = SAID["secrets"][name]
    plain = dumped({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "observer-prod"},
                    "type": wanted["type"], "stringData": {key: "x" for key in wanted["required"]}})
    yield Mutation(f"a plain Secret {name}", Edit({file: plain}), found(
        [clause], CONFIG, file_line(file, plain, ("kind",)), file_line(file, plain, ("metadata", "name"))))
    consumed = old_line("Deployment", "observer", (*POD, "imagePullSecrets", 0, "name") if name == "ghcr-secret" else
                        (*CONTAINER, "envFrom", 1, "secretRef", "name"))
    yield Mutation(f"nothing makes {name}", Edit({file: None}), found([clause], CONFIG, consumed))
    # CF-1: what is made has another name than what is taken.
    yield from set_to("SealedSecret", name, ("metadata", "name"), "obs-kis-secret", clause)
    yield from set_to("SealedSecret", name, ("metadata", "namespace"), "observer-staging", clause)
    for field in ("name", "namespace"):
        yield from set_to("SealedSecret", name, ("spec", "template", "metadata", field), "other", clause)


@rule("secrets", "*", "type")
def type_of_a_secret(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause, path = at[1], f"secrets.{at[1]}", ("spec", "template", "type")
    for other in ("kubernetes.io/tls", 17):
        yield from set_to("SealedSecret", name, path, other, clause)
    if value == "Opaque":
        yield right(f"{name} leaves its type out", "SealedSecret", name, drop(path))
    else:
        yield from set_to("SealedSecret", name, path, "Opaque", clause)
        yield from without("SealedSecret", name, path, clause)
        yield from renamed("SealedSecret", name, path, clause)
    if name == "observer-secrets":
        reference = (*CONTAINER, "envFrom", 1, "secretRef")
        taken = [key for key, one in SAID["workloads"]["observer"]["containers"]["observer"]["variables"].items()
                 if one["source"] == [f"Secret/{name}"]]
        clauses = [clause_of(key) for key in taken]
        # CF-1 again, from the other side.
        yield from set_to("Deployment", "observer", (*reference, "name"), "obs-kis-secret", clause)
        yield from set_to("Deployment", "observer", (*reference, "optional"), True, clause)
        yield from set_to("Deployment", "observer", (*reference[:-1], "prefix"), "X_", *clauses)
        yield from without("Deployment", "observer", reference[:-1], *clauses, overlay=False)
        yield right(f"{name} is taken as the default says", "Deployment", "observer", drop((*reference, "optional")))


@rule("secrets", "*", "required", "*")
def key_of_a_secret(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause, path = at[1], f"secrets.{at[1]}", ("spec", "encryptedData", value)
    yield from without("SealedSecret", name, path, clause)
    yield from renamed("SealedSecret", name, path, clause)


@rule("secrets", "*", "optional", "*")
def further_key_of_a_secret(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, key = at[1], value.replace("*", "APP_KEY")
    yield right(f"{name} has the optional key {key}", "SealedSecret", name, put(("spec", "encryptedData", key), "AgB"))
    yield from set_to("SealedSecret", name, ("spec", "encryptedData", f"X_{key}"), "AgB", f"secrets.{name}")


@rule("workloads", "*", "imagePullSecrets", "*")
def pull_secret(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, clause = at[1], f"secrets.{value}"
    kind, path = kind_of(workload), (*POD, "imagePullSecrets")
    yield from set_to(kind, workload, (*path, 0, "name"), f"{value}s", clause)
    yield from without(kind, workload, (*path, 0), clause, overlay=False)
    yield from without(kind, workload, path, clause)
    yield from renamed(kind, workload, (*path, 0, "name"), clause)
    yield from renamed(kind, workload, path, clause)


# --- images -----------------------------------------------------------------------------------------


@rule("workloads", "*", "containers", "*", "image")
def name_of_an_image(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, container = at[1], at[3]
    kind, clause, path = kind_of(workload), f"images.{container}", (*CONTAINER, "image")
    tag = "build-20260205-142425" if workload == "observer" else "15"
    for other in in_turn(value, (f"{value}r:{tag}", f"ghcr.io/other/{container}:{tag}")):
        yield from set_to(kind, workload, path, other, clause)
    yield from set_to(kind, workload, path, None, clause, overlay=False)
    yield from without(kind, workload, path, clause, overlay=False)
    yield from renamed(kind, workload, path, clause)
    yield from image_entry(workload, clause, value, f"newName: ghcr.io/other/{container}", f"newTag: '{tag}'", line=0)


@rule("workloads", "*", "containers", "*", "tags", "*")
def tag_of_an_image(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, container, number = at[1], at[3], at[5]
    kind, clause, path = kind_of(workload), f"images.{container}", (*CONTAINER, "image")
    name = SAID["workloads"][workload]["containers"][container]["image"]
    good = {"build": "build-20260301-000000", "v": "v1.20.3", "15": "15.4-alpine"}[
        re.match("build|v|15", value)[0]]  # type: ignore[index]
    entry, _ = images_entry(workload, name, f"newTag: '{good}'")
    yield Mutation(f"{container} has the tag {good}", Edit({kustomization(): entry}))
    wrong = (f"{good}_.", f"x{good}", good[:1]) if number else (f"{good}.0x", "latest", "stable", "Latest")
    for tag in in_turn(value, wrong, 2):
        yield from image_entry(workload, clause, name, f"newTag: '{tag}'", line=0)
    if number:
        return
    for tag in ("latest", "16"):
        yield from set_to(kind, workload, path, f"{name}x:{tag}" if workload == "observer" else f"{name}:{tag}", clause)
    if workload == "observer":
        overlay, line = edited(kustomization(), "newTag: build-20260205-142425", f"newName: {name}")
        yield Mutation("the overlay gives no tag", Edit({kustomization(): overlay}),
                       found([clause], DEPLOYMENT, (kustomization(), line)))
        overlay, _ = edited(kustomization(), f"name: {name}\n", "name: ghcr.io/tawbury/observr\n")
        yield Mutation("the overlay gives another image the tag", Edit({kustomization(): overlay}),
                       found([clause], DEPLOYMENT, old_line(kind, workload, path)))
    else:
        yield from set_to(kind, workload, path, name, clause, overlay=False)


def images_entry(workload: str, name: str, *lines: str) -> tuple[str, int]:
    """The overlay with an entry for an image, and the number of lines before the entry's second one."""
    text = tree().texts[kustomization()]
    head = f"  - name: {name}\n"
    entry = head + "".join(f"    {line}\n" for line in lines)
    text = text.replace(f"{head}    newTag: build-20260205-142425\n", entry) if workload == "observer" else \
        text.replace("images:\n", f"images:\n{entry}")
    return text, text[: text.index(entry)].count("\n") + 1


def image_entry(workload: str, clause: str, name: str, *lines: str, line: int) -> Iterator[Mutation]:
    text, before = images_entry(workload, name, *lines)
    yield Mutation(f"images entry of {workload}: {', '.join(lines)}", Edit({kustomization(): text}),
                   found([clause], DEPLOYMENT, (kustomization(), before + 1 + line)))


# --- workloads --------------------------------------------------------------------------------------


@rule("workloads", "*", "kind")
def kind_of_a_workload(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, clause = at[1], f"workloads.{at[1]}"
    for other in ("DaemonSet", "StatefulSet" if value == "Deployment" else "Deployment"):
        yield from set_to(value, workload, ("kind",), other, clause, overlay=False)
    yield from set_to(value, workload, ("metadata", "name"), f"{workload}x", clause, overlay=False)
    listed = {"observer": "deployments/observer.yaml", "postgres": "statefulsets/postgres.yaml"}[workload]
    yield resource_left_out(listed, found([clause], DEPLOYMENT, ROOT_OF_MANIFESTS))
    yield from set_to(value, workload, (*CONTAINER, "name"), f"{workload}x", clause, overlay=False)
    # The name is what everything else of the contract hangs on.
    prefix = tree().texts[kustomization()] + "namePrefix: blue-\n"
    yield Mutation(f"the overlay gives all names a prefix ({workload})", Edit({kustomization(): prefix}), found(
        [clause], DEPLOYMENT, (kustomization(), prefix.count("\n"))))


def setting(workload: str, path: FieldPath, values: Sequence[Any], clause: str, whole: FieldPath = ()) -> Iterator[
        Mutation]:
    """A field of a workload: other values, of which the first is set by the overlay, too."""
    kind = kind_of(workload)
    for number, value in enumerate(values):
        yield from set_to(kind, workload, path, value, clause, overlay=number == 0)
    yield from without(kind, workload, path, clause)
    yield from renamed(kind, workload, path, clause)
    if whole:
        yield from without(kind, workload, whole, clause)
        yield from renamed(kind, workload, whole, clause)


@rule("workloads", "*", "replicas")
def replicas(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, clause = at[1], f"workloads.{at[1]}"
    kind, path = kind_of(workload), ("spec", "replicas")
    shared = ["volumes.sharing"] if workload == "observer" else []
    yield from set_to(kind, workload, path, 2, clause, *shared)
    for other in (0, *other_types(value)):
        yield from set_to(kind, workload, path, other, clause, overlay=False)
    yield right(f"{workload} leaves its replicas out", kind, workload, drop(path))
    yield right(f"{workload} has the default replicas", kind, workload, put(path, None))
    text = tree().texts[kustomization()] + f"replicas:\n  - name: {workload}\n    count: 3\n"
    yield Mutation(f"the overlay's replicas of {workload}", Edit({kustomization(): text}), found(
        [clause], DEPLOYMENT, (kustomization(), text.count("\n"))))


@rule("workloads", "*", "strategy")
def strategy(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    path = ("spec", "strategy", "type")
    yield from set_to(kind_of(at[1]), at[1], path, "RollingUpdate", f"workloads.{at[1]}", "volumes.sharing")
    yield from setting(at[1], path, ("recreate", 17, None), f"workloads.{at[1]}", path[:-1])


@rule("workloads", "*", "terminationGracePeriodSeconds")
def grace(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    path = (*POD, "terminationGracePeriodSeconds")
    yield from setting(at[1], path, (30, 0, str(value), True, None), f"workloads.{at[1]}")


@rule("workloads", "*", "preStopSeconds")
def pre_stop(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    path = (*CONTAINER, "lifecycle", "preStop", "sleep", "seconds")
    clause = f"workloads.{at[1]}"
    yield from setting(at[1], path, (value + 1, str(value), True, None), clause, path[:-3])
    for whole in (path[:-1], path[:-2]):
        yield from without(kind_of(at[1]), at[1], whole, clause)
    yield from set_to(kind_of(at[1]), at[1], path[:-2], {"exec": {"command": ["sleep", "2"]}}, clause, overlay=False)


@rule("workloads", "*", "serviceName")
def service_name(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    path = ("spec", "serviceName")
    yield from set_to(kind_of(at[1]), at[1], path, f"{value}x", f"workloads.{at[1]}", "references")
    yield from setting(at[1], path, ("postgres", 17), f"workloads.{at[1]}")


@rule("workloads", "*", "containers", "*", "resources", "*", "*")
def resources(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    workload, bound, name = at[1], at[5], at[6]
    kind, clause, path = kind_of(workload), f"workloads.{workload}", (*CONTAINER, "resources", bound, name)
    amount = int(re.match(r"\d+", value)[0])  # type: ignore[index]
    unit = value.removeprefix(str(amount))
    same = {"Gi": f"{amount * 1024}Mi", "Mi": amount * 1024**2, "m": amount / 1000}[unit]
    yield right(f"{bound} of {name} as {same}", kind, workload, put(path, same))
    yield from set_to(kind, workload, path, f"{amount * 2}{unit}", clause)
    for other in in_turn(path, (amount, f"{amount}{'G' if unit == 'Gi' else 'k'}", True, None, "much"), 2):
        yield from set_to(kind, workload, path, other, clause, overlay=False)
    yield from without(kind, workload, path, clause)
    yield from renamed(kind, workload, path, clause)
    if name == "memory":
        yield from without(kind, workload, path[:-1], clause, overlay=False)
        yield from renamed(kind, workload, path[:-1], clause)


# --- environments -----------------------------------------------------------------------------------


@rule("environments", "*", "namespace")
def namespace(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    """The overlay's namespace is that of its environment: else no rule of that environment would hold for it."""
    overlay = at[1]
    file = kustomization(overlay)
    for other in (f"{value}x", "default"):
        text, line = edited(file, f"namespace: {value}\n", f"namespace: {other}\n")
        yield Mutation(f"{overlay} is in namespace {other}", Edit({file: text}, overlay=overlay),
                       found(["workloads.observer"], DEPLOYMENT, (file, line)))
    others = [one for one in SAID["environments"] if one != overlay]
    for other in others:
        text, line = edited(file, f"namespace: {value}\n", f"namespace: {SAID['environments'][other]['namespace']}\n")
        yield Mutation(f"{overlay} is in the namespace of {other}", Edit({file: text}, overlay=overlay),
                       found(["secrets.observer-secrets"], CONFIG, *(
                           (secret, line_of(tree().texts[secret], ("metadata", "namespace")))
                           for secret in [f"manifests/overlays/{overlay}/sealed-secrets/observer-secrets.yaml"])))


@rule("environments", "*", "node")
def node(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    overlay, clause = at[1], "workloads.observer"
    file = kustomization(overlay)
    text, line = edited(file, f"kubernetes.io/hostname: {value}", "kubernetes.io/hostname: other")
    yield Mutation(f"{overlay} is kept on another node", Edit({file: text}, overlay=overlay),
                   found([clause, "workloads.postgres"], DEPLOYMENT, (file, line)))
    text, line = edited(file, f"kubernetes.io/hostname: {value}", f"kubernetes.io/arch: {value}")
    yield Mutation(f"{overlay} is kept on nodes of an architecture", Edit({file: text}, overlay=overlay),
                   found([clause], DEPLOYMENT, (file, line)))
    whole = tree().texts[file]
    yield Mutation(f"{overlay} is kept on no node", Edit({file: whole[: whole.index("patches:")]}, overlay=overlay),
                   found([clause], DEPLOYMENT, old_line("Deployment", "observer", POD)))
    text, line = edited(file, "{kind: Deployment|StatefulSet}", "{kind: StatefulSet}")
    yield Mutation(f"{overlay} keeps the database alone on its node", Edit({file: text}, overlay=overlay),
                   found([clause], DEPLOYMENT, old_line("Deployment", "observer", POD)))


@rule("environments", "*", "tags", "*")
def tags_of_an_environment(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    overlay, file = at[1], kustomization(at[1])
    good = {"build": "build-20260301-000000", "v": "v1.20.3", "sha": "sha-3523d81"}[
        re.match("build|v|sha", value)[0]]  # type: ignore[index]
    text, _ = edited(file, "newTag: build-20260205-142425", f"newTag: {good}")
    yield Mutation(f"{overlay} runs {good}", Edit({file: text}, overlay=overlay))
    text, line = edited(file, "newTag: build-20260205-142425", f"newTag: {good}_")
    yield Mutation(f"{overlay} runs {good}_", Edit({file: text}, overlay=overlay),
                   found(["images.observer"], DEPLOYMENT, (file, line)))
    if good.startswith("sha"):
        text, line = edited(kustomization(), "newTag: build-20260205-142425", f"newTag: {good}")
        yield Mutation(f"production runs {good}", Edit({kustomization(): text}),
                       found(["images.observer"], DEPLOYMENT, (kustomization(), line)))


