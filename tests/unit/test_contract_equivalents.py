"""The same, written in another way: nothing of it is a finding."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from contract_edits import (
    CONTAINER,
    POD,
    SETTINGS,
    changed,
    drop,
    edited,
    merge_patch,
    part,
    put,
    with_patch,
)
from contract_inputs import BASE, ROOT, SAID, Body, Edit, Image, dumped, judged, kustomization, tree

from contract.model import Finding
from contract_mutations import generated

OVERLAY = kustomization()
RESOURCES = f"{BASE}/kustomization.yaml"
SETTINGS_FILE = f"{BASE}/configmaps/observer-config.yaml"
DEPLOYMENT_FILE = f"{BASE}/deployments/observer.yaml"
DATABASE_FILE = f"{BASE}/statefulsets/postgres.yaml"
RUNTIME = SAID["paths"]["root"]["path"]
PATHS = "app/src/observer/paths.py"
DOCKERFILE = "app/docker/Dockerfile"
EXAMPLE = "app/.env.example"


# --- manifests: how YAML is written -----------------------------------------------------------------


def in_file(kind: str, name: str, change: Callable[[Body], object]) -> Edit:
    file, _, text = changed(kind, name, change)
    return Edit({file: text})


def deployment(change: Callable[[Body], object]) -> Edit:
    return in_file("Deployment", "observer", change)


def text_of(file: str, old: str, new: str) -> Edit:
    return Edit({file: edited(file, old, new)[0]})


def all_texts(change: Callable[[list[Body]], str], only: str = BASE) -> Edit:
    """Every manifest, written in another way."""
    return Edit({file: change(list(documents)) for file, documents in tree().documents.items() if only in file})


def quoted(style: str) -> Callable[[list[Body]], str]:
    """All texts in quotes, or as blocks."""
    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=style))
    return lambda documents: yaml.dump_all(documents, Dumper=Dumper, default_flow_style=False, sort_keys=False)


def reversed_keys(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def as_they_are() -> Edit:
    """The manifests of this project, with their own flow style and comments."""
    return Edit({file: (ROOT / file).read_text() for file in tree().documents if file.startswith(BASE)})


def commented(documents: list[Body]) -> str:
    lines = dumped(*documents).splitlines()
    return "".join(f"{line}  # {number}: as agreed\n\n" if ":" in line and "'" not in line else f"{line}\n"
                   for number, line in enumerate(lines))


def reversed_lists(*names: str) -> Edit:
    return deployment(lambda body: [part(body, (*CONTAINER, name)).reverse() for name in names])


ANCHORS = """\
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: observer-config
data:
  <<: &paths
    OBSERVER_LOG_DIR: {runtime}/logs
    OBSERVER_DATA_DIR: &data {runtime}/data
    OBSERVER_CONFIG_DIR: {runtime}/config
  LOG_LEVEL: INFO
  LOG_FORMAT: json
  SERVICE_PORT: "8000"
  DB_HOST: &database postgres
  DB_PORT: "5432"
  DB_NAME: observer
  OBSERVER_SYSTEM_LOG_DIR: {runtime}/logs/system
  OBSERVER_MAINTENANCE_LOG_DIR: {runtime}/logs/maintenance
  OBSERVER_SNAPSHOT_DIR: {runtime}/universe
  KIS_TOKEN_CACHE_DIR: {runtime}/data/cache
  OBSERVER_STANDALONE: &on "1"
  PYTHONUNBUFFERED: *on
"""


def with_anchors() -> Edit:
    """Names and labels of the Deployment, each said once."""
    text = tree().texts[DEPLOYMENT_FILE]
    text = text.replace("labels:\n    app: observer", "labels: &labels\n    app: observer", 1)
    text = text.replace("matchLabels:\n      app: observer", "matchLabels: *labels")
    text = text.replace("labels:\n        app: observer", "labels: {<<: *labels}")
    text = text.replace("      limits:\n            memory: 2Gi\n            cpu: 1000m",
                        "      limits: {memory: 2Gi, cpu: 1000m}")
    assert text.count("*labels") == 2
    return Edit({DEPLOYMENT_FILE: text})


def one_file(name: str, *files: str, as_list: bool = False) -> Edit:
    """Several files in one; the base's kustomization lists that."""
    documents = [body for file in files for body in tree().documents[f"{BASE}/{file}"]]
    text = dumped({"apiVersion": "v1", "kind": "List", "items": documents}) if as_list else dumped(*documents)
    listed = tree().texts[RESOURCES]
    for file in files:
        listed = listed.replace(f"  - {file}\n", "")
    listed = listed.replace("resources:\n", f"resources:\n  - {name}\n")
    return Edit({**{f"{BASE}/{file}": None for file in files}, f"{BASE}/{name}": text, RESOURCES: listed})


def two_files() -> Edit:
    service, stateful = tree().documents[DATABASE_FILE]
    listed = edited(RESOURCES, "  - statefulsets/postgres.yaml\n",
                    "  - statefulsets/postgres.yaml\n  - services/postgres-headless.yaml\n")[0]
    return Edit({DATABASE_FILE: dumped(stateful), f"{BASE}/services/postgres-headless.yaml": dumped(service),
                 RESOURCES: listed})


def as_json(kind: str, name: str) -> Edit:
    file, _ = tree().find(kind, name)
    inner = file.removeprefix(f"{BASE}/")
    body = tree().body(kind, name)
    return Edit({file: None, file.replace(".yaml", ".json"): json.dumps(body, indent=2),
                 RESOURCES: edited(RESOURCES, f"  - {inner}\n", f"  - {inner.replace('.yaml', '.json')}\n")[0]})


VOLUMES = [f"pvc/observer-{name}-pvc.yaml" for name in ("data", "db", "logs", "universe")]

WRITTEN: dict[str, Edit] = {
    "the manifests as they are": as_they_are(),
    "texts in double quotes": all_texts(quoted('"')),
    "texts in single quotes": all_texts(quoted("'")),
    "flow style": all_texts(lambda documents: "".join(
        "---\n" + yaml.safe_dump(one, default_flow_style=True, sort_keys=False) for one in documents)),
    "keys sorted": all_texts(lambda documents: yaml.safe_dump_all(documents)),
    "keys the other way round": all_texts(lambda documents: dumped(*map(reversed_keys, documents))),
    "comments and empty lines": all_texts(commented),
    "keys of the seals sorted": all_texts(lambda documents: yaml.safe_dump_all(documents), "sealed-secrets"),
    "Windows line ends": all_texts(lambda documents: dumped(*documents).replace("\n", "\r\n")),
    "a byte order mark": Edit({SETTINGS_FILE: "\ufeff" + tree().texts[SETTINGS_FILE]}),
    "a value as a block": text_of(SETTINGS_FILE, "LOG_LEVEL: INFO", "LOG_LEVEL: |-\n    INFO"),
    "a value folded": text_of(SETTINGS_FILE, "DB_HOST: postgres", "DB_HOST: >-\n    postgres"),
    "a value with its tag": text_of(SETTINGS_FILE, "SERVICE_PORT: '8000'", "SERVICE_PORT: !!str 8000"),
    "the order of env": reversed_lists("env"),
    "the order of envFrom": reversed_lists("envFrom"),
    "the order of mounts": reversed_lists("volumeMounts"),
    "the order of volumes": deployment(lambda body: part(body, (*POD, "volumes")).reverse()),
    "the order of resources": Edit({RESOURCES: "".join(sorted(
        tree().texts[RESOURCES].splitlines(keepends=True), key=lambda line: (line.startswith("  - "), line)))}),
    "anchors in the ConfigMap": Edit({SETTINGS_FILE: ANCHORS.replace("{runtime}", RUNTIME)}),
    "anchors in the Deployment": with_anchors(),
    "claims in one file": one_file("pvc/all.yaml", *VOLUMES),
    "claims as a List": one_file("pvc/all.yaml", *VOLUMES, as_list=True),
    "the database in two files": two_files(),
    "the ConfigMap as JSON": as_json(*SETTINGS),
    "the Deployment as JSON": as_json("Deployment", "observer"),
}

# --- manifests: what means the same -----------------------------------------------------------------

CONTEXT = ("runAsUser", "runAsGroup", "runAsNonRoot")


def context_of_the_pod(body: Body) -> None:
    """What Kubernetes gives every container of a pod, said of the pod."""
    own, pod = part(body, (*CONTAINER, "securityContext")), part(body, (*POD, "securityContext"))
    pod.update({name: own.pop(name) for name in CONTEXT})


def context_twice(body: Body) -> None:
    pod = part(body, (*POD, "securityContext"))
    pod.update(runAsUser=65534, runAsNonRoot=False)


def context_of_the_database(body: Body) -> None:
    own, pod = part(body, (*CONTAINER, "securityContext")), part(body, (*POD, "securityContext"))
    own.update({name: pod.pop(name) for name in CONTEXT})


def spelled_out(body: Body) -> None:
    """Fields with the values that they have when they are left out."""
    put((*POD, "restartPolicy"), "Always")(body)
    put((*POD, "dnsPolicy"), "ClusterFirst")(body)
    put((*POD, "hostNetwork"), False)(body)
    put((*CONTAINER, "tty"), False)(body)
    put((*CONTAINER, "securityContext", "privileged"), False)(body)
    put((*CONTAINER, "envFrom", 0, "configMapRef", "optional"), False)(body)
    for mount in part(body, (*CONTAINER, "volumeMounts")):
        mount["readOnly"] = False
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        part(body, (*CONTAINER, probe, "httpGet"))["scheme"] = "HTTP"
        part(body, (*CONTAINER, probe))["successThreshold"] = 1


def left_out(body: Body) -> None:
    """Fields that have the values that they would have without."""
    drop((*CONTAINER, "ports", 0, "protocol"))(body)
    drop(("spec", "replicas"))(body)
    drop((*CONTAINER, "envFrom", 1, "secretRef", "optional"))(body)


def slashes(body: Body) -> None:
    for mount in part(body, (*CONTAINER, "volumeMounts")):
        mount["mountPath"] += "/"
    part(body, (*POD, "volumes", 3, "hostPath"))["path"] += "/"


def init_container(body: Body) -> None:
    put((*POD, "initContainers"), [{"name": "wait", "image": "docker.io/library/busybox:1.37",
                                    "command": ["true"]}])(body)


def sidecar(body: Body) -> None:
    """A further container, and not the first one."""
    part(body, (*POD, "containers")).insert(0, {"name": "proxy", "image": "envoy:v1.31", "ports": [
        {"name": "admin", "containerPort": 9901}]})


def key_of_the_config_map(body: Body) -> None:
    part(body, (*CONTAINER, "env")).append({"name": "LOG_LEVEL", "valueFrom": {
        "configMapKeyRef": {"name": SETTINGS[1], "key": "LOG_LEVEL"}}})


def key_of_the_secret(body: Body) -> None:
    part(body, (*CONTAINER, "env")).append({"name": "DB_USER", "valueFrom": {
        "secretKeyRef": {"name": "observer-secrets", "key": "DB_USER"}}})


def whole_secret(body: Body) -> None:
    """The database takes its Secret whole, and not key by key."""
    env = part(body, (*CONTAINER, "env"))
    del env[:3]
    put((*CONTAINER, "envFrom"), [{"secretRef": {"name": "observer-secrets"}}])(body)


def by_a_variable(body: Body) -> None:
    env = part(body, (*CONTAINER, "env"))
    next(one for one in env if one["name"] == "PYTHONUNBUFFERED")["value"] = "$(OBSERVER_STANDALONE)"


def number_of_the_port(kind: str, name: str) -> Edit:
    return in_file(kind, name, put(("spec", "ports", 0, "targetPort"), SAID["services"][name]["ports"][
        "http" if name == "observer" else "postgres"]["targetPort"]))


def image_of_the_database(image: str) -> Edit:
    return in_file("StatefulSet", "postgres", put((*CONTAINER, "image"), image))


def wide_seal(body: Body) -> None:
    """A seal that may be opened under any name and in any namespace."""
    put(("metadata", "annotations"), {"sealedsecrets.bitnami.com/cluster-wide": "true"})(body)
    put(("spec", "template", "metadata"), {"name": "any", "namespace": "any"})(body)


def narrower_seal(body: Body) -> None:
    put(("metadata", "annotations"), {"sealedsecrets.bitnami.com/namespace-wide": "true"})(body)
    put(("spec", "template", "metadata", "name"), "any")(body)


MEANT: dict[str, Edit] = {
    "a seal of the whole cluster": in_file("SealedSecret", "observer-secrets", wide_seal),
    "a seal of its namespace": in_file("SealedSecret", "ghcr-secret", narrower_seal),
    "a seal without metadata in its template": in_file("SealedSecret", "observer-secrets",
                                                       drop(("spec", "template", "metadata"))),
    "a security context of the pod": deployment(context_of_the_pod),
    "a security context that the container overrides": deployment(context_twice),
    "a security context of the database's container": in_file("StatefulSet", "postgres", context_of_the_database),
    "defaults spelled out": deployment(spelled_out),
    "defaults left out": deployment(left_out),
    "slashes at the end of mounts": deployment(slashes),
    "a slash at the end of a path": in_file(*SETTINGS, put(("data", "OBSERVER_DATA_DIR"), f"{RUNTIME}/data/")),
    "a path with two slashes": in_file(*SETTINGS, put(("data", "OBSERVER_LOG_DIR"), f"{RUNTIME}//logs")),
    "an init container": deployment(init_container),
    "a sidecar before the app": deployment(sidecar),
    "a key of the ConfigMap by env": deployment(key_of_the_config_map),
    "a key of the Secret by env": deployment(key_of_the_secret),
    "the database takes the Secret whole": in_file("StatefulSet", "postgres", whole_secret),
    "a value by another variable": deployment(by_a_variable),
    "the Service's port by its number": number_of_the_port("Service", "observer"),
    "the database's port by its number": number_of_the_port("Service", "postgres"),
    "a Service without a type": in_file("Service", "observer", drop(("spec", "type"))),
    "a Service with the default affinity": in_file("Service", "postgres", put(("spec", "sessionAffinity"), "None")),
    "a claim's volume mode": in_file("PersistentVolumeClaim", "observer-data-pvc", put(("spec", "volumeMode"),
                                                                                       "Filesystem")),
    "the database's image, short": image_of_the_database("postgres:15"),
    "the database's image, half as short": image_of_the_database("docker.io/postgres:15.4-alpine"),
    "the database's image with its digest": image_of_the_database(f"postgres:15@sha256:{'0' * 64}"),
    "the size of memory in Ki": deployment(put((*CONTAINER, "resources", "limits", "memory"), f"{2 * 1024**2}Ki")),
    "a cpu as a number": deployment(put((*CONTAINER, "resources", "limits", "cpu"), 1)),
    "a tenth of a cpu": deployment(put((*CONTAINER, "resources", "requests", "cpu"), "0.1")),
    "another amount of a resource that nobody named": deployment(
        put((*CONTAINER, "resources", "requests", "ephemeral-storage"), "1Gi")),
    "an annotation": deployment(put((*POD[:-1], "metadata", "annotations"), {"prometheus.io/scrape": "true"})),
}

# --- manifests: how an overlay says it --------------------------------------------------------------


def overlay(text: str, **files: str | None) -> Edit:
    return Edit({OVERLAY: tree().texts[OVERLAY] + text, **files})


def moved_to_the_overlay(patch: str, target: str, change: Callable[[Body], object], kind: str, name: str) -> Edit:
    """The base says something else, and the overlay what is right."""
    file, _, text = changed(kind, name, change)
    return Edit({OVERLAY: with_patch(patch, target)[0], file: text})


def merged(kind: str, name: str, path: tuple[str | int, ...], wrong: object) -> Edit:
    body = tree().body(kind, name)
    made = merge_patch(body, path, part(body, path))
    assert made
    return moved_to_the_overlay(dumped(made[0]).removeprefix("---\n"), "", put(path, wrong), kind, name)


def settings_by_a_generator(**options: object) -> Edit:
    """The ConfigMap made by the base's kustomization."""
    data = tree().body(*SETTINGS)["data"]
    generated = yaml.safe_dump({"configMapGenerator": [{"name": SETTINGS[1], **options, "literals": [
        f"{key}={value}" for key, value in data.items()]}]}, sort_keys=False)
    return Edit({RESOURCES: edited(RESOURCES, "  - configmaps/observer-config.yaml\n", "")[0] + generated,
                 SETTINGS_FILE: None})


def settings_from_a_file() -> Edit:
    data = tree().body(*SETTINGS)["data"]
    return Edit({
        RESOURCES: edited(RESOURCES, "  - configmaps/observer-config.yaml\n", "")[0]
        + "configMapGenerator:\n  - name: observer-config\n    envs: [observer.env]\n",
        SETTINGS_FILE: None, f"{BASE}/observer.env": "".join(f"{key}={value}\n" for key, value in data.items())})


def by_a_component() -> Edit:
    """The node by a component of its own."""
    text = tree().texts[OVERLAY]
    head, patches = text[: text.index("patches:")], text[text.index("patches:"):]
    component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n" + patches
    return Edit({OVERLAY: head + "components:\n  - ../../components/node\n",
                 "manifests/components/node/kustomization.yaml": component})


def deeper_base() -> Edit:
    """A base between the base and the overlay."""
    return Edit({OVERLAY: edited(OVERLAY, "  - ../../base\n", "  - ../../common\n")[0],
                 "manifests/common/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\n"
                                                        "kind: Kustomization\nresources:\n  - ../base\n"})


OVERLAID: dict[str, Edit] = {
    "staging": Edit(overlay="staging"),
    "local": Edit(overlay="local"),
    "a value by a merge patch": merged(*SETTINGS, ("data", "DB_HOST"), "localhost"),
    "a grace period by a merge patch": merged("Deployment", "observer", (*POD, "terminationGracePeriodSeconds"), 5),
    "a size by a merge patch": merged("PersistentVolumeClaim", "observer-logs-pvc",
                                      ("spec", "resources", "requests", "storage"), "1Gi"),
    "a value by a JSON patch": moved_to_the_overlay(
        '[{"op": "replace", "path": "/data/LOG_FORMAT", "value": "json"}]', "{kind: ConfigMap}",
        put(("data", "LOG_FORMAT"), "xml"), *SETTINGS),
    "a strategy by a JSON patch": moved_to_the_overlay(
        "- op: replace\n  path: /spec/strategy\n  value: {type: Recreate}", "{kind: Deployment, name: observer}",
        put(("spec", "strategy"), {"type": "RollingUpdate"}), "Deployment", "observer"),
    "the number of replicas by the overlay": overlay("replicas:\n  - name: observer\n    count: 1\n"),
    "a value again by the overlay's generator": overlay(
        "configMapGenerator:\n  - name: observer-config\n    behavior: merge\n    literals: [LOG_LEVEL=DEBUG]\n"),
    "the ConfigMap by a generator": settings_by_a_generator(),
    "the ConfigMap by a generator without a hash": settings_by_a_generator(
        options={"disableNameSuffixHash": True}),
    "the ConfigMap from a file of variables": settings_from_a_file(),
    "the node by a component": by_a_component(),
    "a base between": deeper_base(),
    "an image by its digest": text_of(OVERLAY, "newTag: build-20260205-142425",
                                      f"newTag: build-20260205-142425\n    digest: sha256:{'a' * 64}"),
    "an image by its digest alone": text_of(OVERLAY, "newTag: build-20260205-142425", f"digest: sha256:{'a' * 64}"),
    "annotations of everything": overlay("commonAnnotations: {team: tawbury}\n"),
    "a second image that nobody has": text_of(OVERLAY, "images:\n", "images:\n  - {name: nginx, newTag: latest}\n"),
    "the seals in the overlay": Edit({OVERLAY: edited(OVERLAY, "  - ../../base\n", "  - ../../base\n" + "".join(
        f"  - sealed-secrets/{name}.yaml\n" for name in SAID["secrets"]))[0]}),
}

# --- the app ----------------------------------------------------------------------------------------


def paths_py(function: str, body: str, more: str = "") -> Edit:
    """One function of paths.py with another body, and more at the top."""
    text = tree().texts[PATHS]
    head = f"def {function}() -> Path:\n"
    old = text.partition(head)[2].partition("\n\n\n")[0]
    new = text.replace(head + old, head + textwrap.indent(textwrap.dedent(body).strip("\n"), "    "))
    return Edit({PATHS: new.replace("from pathlib import Path\n", f"from pathlib import Path\n{more}", 1)})


def moved_module() -> Edit:
    """paths.py in a package of its own, imported under its old name."""
    old = "".join(f"from observer.places.resolve import {one['function']} as {one['function']}\n"
                  for one in SAID["paths"].values() if "function" in one)
    rest = "".join(f"from observer.places.resolve import {name} as {name}\n"
                   for name in ("runtime_root", "scalp_dir", "ingest_dir", "symbols_dir"))
    return Edit({"app/src/observer/places/__init__.py": "", "app/src/observer/places/resolve.py": tree().texts[PATHS],
                 PATHS: old + rest})


def moved_example() -> Edit:
    return Edit({EXAMPLE: None, "app/config/.env.example": tree().texts[EXAMPLE]})


def example(change: Callable[[str], str]) -> Edit:
    return Edit({EXAMPLE: "".join(change(line) for line in tree().texts[EXAMPLE].splitlines(keepends=True))})


def exported(line: str) -> str:
    return f"export {line}" if re.match("[A-Z]", line) else line


def in_quotes(line: str) -> str:
    return re.sub(r"^([A-Z_]+)=(\S+)", r'\1="\2"', line)


def sorted_example() -> Edit:
    lines = [line for line in tree().texts[EXAMPLE].splitlines(keepends=True) if re.match("[A-Z]", line)]
    return Edit({EXAMPLE: "".join(sorted(lines))})


def getenv_everywhere() -> Edit:
    """os.getenv for os.environ.get in every file."""
    return Edit({name: text.replace("os.environ.get(", "os.getenv(") for name, text in tree().texts.items()
                 if name.startswith("app/src/") and "os.environ.get(" in text})


def imported_environ() -> Edit:
    return Edit({PATHS: tree().texts[PATHS].replace("import os\n", "from os import environ\n").replace(
        "os.environ.get", "environ.get")})


SOURCE: dict[str, Edit] = {
    "os.getenv": getenv_everywhere(),
    "environ, imported": imported_environ(),
    "a default as an argument": paths_py(
        "data_dir", f'return Path(os.environ.get("OBSERVER_DATA_DIR", "{RUNTIME}/data"))'),
    "a default by a condition": paths_py("data_dir", '''
        value = os.environ.get("OBSERVER_DATA_DIR")
        return Path(value) if value else runtime_root() / "data"'''),
    "a default after an if": paths_py("data_dir", '''
        if value := os.environ.get("OBSERVER_DATA_DIR"):
            return Path(value)
        return runtime_root() / "data"'''),
    "a default by an exception": paths_py("config_dir", '''
        try:
            return Path(os.environ["OBSERVER_CONFIG_DIR"])
        except KeyError:
            return runtime_root() / "config"'''),
    "a default in a constant": paths_py(
        "log_dir", 'return Path(os.environ.get("OBSERVER_LOG_DIR", LOGS))', f'\nLOGS = "{RUNTIME}/logs"\n'),
    "a name in a constant": paths_py(
        "log_dir", 'return Path(os.environ.get(VARIABLE) or runtime_root() / "logs")',
        '\nVARIABLE = "OBSERVER_LOG_DIR"\n'),
    "a helper": paths_py(
        "snapshot_dir", 'return _folder("OBSERVER_SNAPSHOT_DIR", "universe")', '''

def _folder(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable) or runtime_root() / name)
'''),
    "an f-string": paths_py("data_dir", 'return Path(os.environ.get("OBSERVER_DATA_DIR") or f"{runtime_root()}/data")'),
    "joinpath": paths_py("data_dir",
                         'return Path(os.environ.get("OBSERVER_DATA_DIR") or runtime_root().joinpath("data"))'),
    "os.path.join": paths_py(
        "data_dir", 'return Path(os.environ.get("OBSERVER_DATA_DIR") or os.path.join(runtime_root(), "data"))'),
    "texts put together": paths_py(
        "data_dir", 'return Path(os.environ.get("OBSERVER_DATA_DIR") or str(runtime_root()) + "/" + "data")'),
    "a path of several parts": paths_py(
        "data_dir", 'return Path(os.environ.get("OBSERVER_DATA_DIR") or Path("/opt", "platform", "runtime", '
                    '"observer", "data"))'),
    "a slash at the end": paths_py("data_dir",
                                   f'return Path(os.environ.get("OBSERVER_DATA_DIR") or "{RUNTIME}/data/")'),
    "paths in a package of their own": moved_module(),
    ".env.example in config/": moved_example(),
    ".env.example with exports": example(exported),
    ".env.example with quotes": example(in_quotes),
    ".env.example in another order": sorted_example(),
    ".env.example without comments": example(lambda line: re.sub(r"\s+#.*$", "", line)),
    "a mkdir in a docstring": paths_py("data_dir", '''
        """Never calls Path.mkdir() or os.makedirs()."""
        return Path(os.environ.get("OBSERVER_DATA_DIR") or runtime_root() / "data")'''),
    "the port as a number": text_of("app/src/observer/config.py", 'os.environ.get("SERVICE_PORT", "8000")',
                                    'os.environ.get("SERVICE_PORT", 8000)'),
    "one more endpoint": text_of("app/src/observer/api_server.py", '            Route("/health", health),\n',
                                 '            Route("/", health),\n            Route("/health", health),\n'),
}

# --- the Dockerfile ---------------------------------------------------------------------------------

RUN = re.compile(r"RUN groupadd.*?observer\n\n", re.DOTALL)
USERS = ("RUN groupadd --gid 1000 observer && useradd --uid 1000 --gid 1000 --no-create-home --shell /usr/sbin/nologin "
         "observer\n")
FOLDERS = [f"{RUNTIME}/{name}" for name in ("data", "logs", "config", "universe")]


def dockerfile(old: str, new: str) -> Edit:
    return text_of(DOCKERFILE, old, new)


def folders(text: str, users: str = USERS) -> Edit:
    """The folders made in another way."""
    return Edit({DOCKERFILE: RUN.sub(lambda _: users + text + "\n\n", tree().texts[DOCKERFILE], count=1)})


def environment(change: Callable[[Mapping[str, str]], str]) -> Edit:
    """The image's ENV written in another way."""
    text = tree().texts[DOCKERFILE]
    whole = re.search(r"^ENV (.*?[^\\])\n", text, re.DOTALL | re.MULTILINE)
    assert whole
    values = dict(pair.split("=", 1) for pair in whole[1].replace("\\\n", " ").split())
    return Edit({DOCKERFILE: text.replace(whole[0], change(values) + "\n")})


def without_fallbacks(values: Mapping[str, str]) -> str:
    """No fallback of a path: the app's own default is the same."""
    paths = {one["variable"] for one in SAID["paths"].values()}
    return "ENV " + " ".join(f"{key}={value}" for key, value in values.items() if key not in paths)


BUILT: dict[str, Edit] = {
    "an ENV for each": environment(lambda values: "\n".join(f"ENV {key}={value}" for key, value in values.items())),
    "an ENV for each, as it was once written": environment(
        lambda values: "\n".join(f"ENV {key} {value}" for key, value in values.items())),
    "one line of ENV": environment(lambda values: "ENV " + " ".join(f"{key}={value}" for key, value in values.items())),
    "ENV in quotes": environment(
        lambda values: "ENV " + " \\\n ".join(f'{key}="{value}"' for key, value in values.items())),
    "ENV by an ARG": environment(lambda values: f"ARG ROOT={RUNTIME}\nENV " + " ".join(
        f"{key}={value.replace(RUNTIME, '${ROOT}')}" for key, value in values.items())),
    # The documentation of a fallback: the ConfigMap decides, and the app falls back to the same.
    "no fallbacks of paths": environment(without_fallbacks),
    "USER by name": dockerfile("USER 1000\n", "USER observer\n"),
    "USER with its group": dockerfile("USER 1000\n", "USER 1000:1000\n"),
    "USER and group by name": dockerfile("USER 1000\n", "USER observer:observer\n"),
    "USER by an ARG": dockerfile("USER 1000\n", "ARG APP_UID=1000\nUSER ${APP_UID}\n"),
    "a port with its protocol": dockerfile("EXPOSE 8000\n", "EXPOSE 8000/tcp\n"),
    "a port by a variable": dockerfile("EXPOSE 8000\n", "EXPOSE ${SERVICE_PORT}\n"),
    "a further port": dockerfile("EXPOSE 8000\n", "EXPOSE 9090 8000\n"),
    "WORKDIR first": Edit({DOCKERFILE: tree().texts[DOCKERFILE].replace("WORKDIR /app\n", "", 1).replace(
        "ARG IMAGE_TAG=unknown\n", "WORKDIR /app\nARG IMAGE_TAG=unknown\n", 1)}),
    "small letters": Edit({DOCKERFILE: re.sub(r"^(RUN|ENV|USER|EXPOSE|WORKDIR|COPY)\b", lambda found: found[1].lower(),
                                              tree().texts[DOCKERFILE], flags=re.MULTILINE)}),
    "folders by install -d": folders(f"RUN install -d -o 1000 -g 1000 {' '.join(FOLDERS)}"),
    "folders by install -d, by names": folders(
        f"RUN install --directory --owner=observer --group=observer {' '.join(FOLDERS)}"),
    "folders by braces": folders(
        f'SHELL ["/bin/bash", "-c"]\nRUN mkdir -p {RUNTIME}/{{data,logs,config,universe}} \\\n'
        f"    && chown -R observer:observer {RUNTIME}"),
    "folders by a loop": folders(
        f"RUN for name in data logs config universe; do mkdir -p {RUNTIME}/$name; done \\\n"
        f"    && chown -R 1000:1000 {RUNTIME}"),
    "folders in a here-document": folders(
        "RUN <<EOF\nset -e\n" + "".join(f"mkdir -p {folder}\n" for folder in FOLDERS)
        + f"chown -R 1000:1000 {RUNTIME}\nEOF"),
    "folders by an ARG": folders(
        f"ARG ROOT={RUNTIME}\nRUN mkdir -p $ROOT/data ${{ROOT}}/logs \"$ROOT/config\" $ROOT/universe "
        "&& chown -R 1000:1000 $ROOT"),
    "folders by COPY --chown": folders("\n".join(
        f"COPY --chown=1000:1000 migrations/ {folder}/" for folder in FOLDERS)),
    "folders one by one": folders("\n".join(
        f"RUN mkdir -p {folder} && chown 1000:1000 {folder}" for folder in FOLDERS)),
    "folders by a pattern": folders("\n".join(f"RUN mkdir -p {folder}" for folder in FOLDERS)
                                    + f"\nRUN chown -R 1000:1000 {RUNTIME}/*"),
    "folders after a cd": folders(f"RUN mkdir -p {RUNTIME} && cd {RUNTIME} && mkdir data logs config universe "
                                  f"&& chown -R 1000:1000 {RUNTIME}"),
    "adduser": folders(f"RUN mkdir -p {' '.join(FOLDERS)} && chown -R observer:observer {RUNTIME}",
                       "RUN addgroup --gid 1000 observer && adduser --uid 1000 --gid 1000 --disabled-password "
                       "--gecos '' observer\n"),
    "a stage of another name": Edit({DOCKERFILE: tree().texts[DOCKERFILE].replace(" AS builder", " as wheels").replace(
        "--from=builder", "--from=wheels")}),
    "a stage between": Edit({DOCKERFILE: tree().texts[DOCKERFILE].replace(
        "COPY --from=builder", "FROM final AS release\nCOPY --from=builder", 1).replace(
        "FROM docker.io/library/python:3.11-slim\nARG", "FROM docker.io/library/python:3.11-slim AS final\nARG", 1)}),
    "a comment within a RUN": dockerfile("RUN groupadd", "RUN \\\n    # whose folders these are\n    groupadd"),
}

# --- the image that was built -----------------------------------------------------------------------

RIGHT = Image.right()


def image(**changes: Any) -> Edit:  # noqa: ANN401
    return Edit(image=dataclasses.replace(RIGHT, **changes))


IMAGES: dict[str, Edit] = {
    "an image of USER observer": image(user="observer"),
    "an image of USER 1000:1000": image(user="1000:1000"),
    "an image of USER observer:observer": image(user="observer:observer"),
    "an image with more ports": image(ports=("9090/tcp", "8000/tcp")),
    "an image with more folders": image(folders={**RIGHT.folders, "/opt/other": (0, 0, 0o700)}),
    "an image with wider folders": image(folders={path: (1000, 1000, 0o775) for path in RIGHT.folders}),
    "an image with slashes": image(environment={key: f"{value}/" if value.startswith("/opt/platform") else value
                                                for key, value in RIGHT.environment.items()}),
    "an image without fallbacks": image(environment={"PATH": "/usr/bin"}),
    "an image with more users": image(passwd=RIGHT.passwd + "nobody:x:65534:65534::/:/bin/false\n"),
}

BY_HAND: dict[str, Edit] = {**WRITTEN, **MEANT, **OVERLAID, **SOURCE, **BUILT, **IMAGES}
EQUIVALENTS: dict[str, Edit] = {**BY_HAND, **{one.name: one.edit for one in generated() if not one.expected}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding] | str]:
    """What is found of each of them alone."""
    return dict(zip(EQUIVALENTS, judged(EQUIVALENTS.values(), tmp_path_factory.mktemp("equivalents")), strict=True))


@pytest.mark.parametrize("name", EQUIVALENTS)
def test_the_same_in_other_words_is_no_finding(name: str, found: dict[str, list[Finding] | str]) -> None:
    one = found[name]
    assert not isinstance(one, str), one
    assert [(each.code, each.clause, str(each.place), each.expected, each.actual) for each in one] == []


def test_they_are_enough_and_change_something(
    found: dict[str, list[Finding] | str], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\ncontract equivalents: {len(EQUIVALENTS)} edits that change nothing, "
              f"{sum(bool(one) for one in found.values())} of them with a finding")
    assert len(BY_HAND) >= 40
    for name, edit in BY_HAND.items():
        assert edit.image or edit.overlay != "production" or any(
            tree().texts.get(file) != text for file, text in edit.files.items()), name
