"""2. Environment: every variable, from its source to its reader (seed 000 B.2, seed 001 1-2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..facts import AppFacts
from ..model import Finding, Kind, Layer, Place, Related
from ..spec import Container, Contract, Workload
from ..workloads import UNKNOWN_KEYS, Given, PodContainer, environment, listed, mapped, plain_name
from .paths import same_path, source_of
from .subject import Subject, declared, finding

RUNTIME = re.compile(r"TZ|LANG|LC_\w+|PATH|HOME|TMPDIR|PYTHON[A-Z]+|MALLOC_\w+|SSL_CERT_(FILE|DIR)|(NO|HTTPS?)_PROXY")
"""Read by the C library, the interpreter or its standard library, so the source need not name them."""


def check_environment(subject: Subject) -> Iterator[Finding]:
    """Every variable, from its source to its reader (seed 001 1-2)."""
    contract = subject.contract
    for workload, container in contract.containers():
        if rendered := subject.container(workload, container.name):
            yield from variables_of_a_container(subject, workload, container, rendered)
    yield from variables_of_the_image(subject)
    if subject.app:
        yield from variables_of_the_app(subject, subject.app)


def variables_of_a_container(
    subject: Subject, workload: Workload, container: Container, rendered: PodContainer
) -> Iterator[Finding]:
    """What the manifests give a container."""
    contract = subject.contract
    given = environment(rendered, subject.cluster)
    paths = {folder.variable: folder for folder in contract.paths.values()}
    mine = container.name == contract.app.container
    for variable in container.variables.values():
        clause = subject.clause_of(variable.name) if mine else f"environment.{variable.name}"
        related = [declared(contract, "workloads", workload.name, "containers", container.name, "variables",
                            variable.name)]
        sources = given.get(variable.name, [])
        for source in variable.sources:
            if source == "image" or any(one.comes_from(source) for one in sources) or variable.optional:
                continue
            yield from missing_variable(subject, rendered, variable.name, source, sources, clause, related)
        wanted = [source for source in variable.sources if source != "image"]
        if sources and not any(sources[-1].comes_from(source) for source in wanted):
            last = sources[-1]
            source = f"{last.source}/{last.key}" if last.key not in ("", last.name) else last.source
            yield finding("ENV-03", clause, layer_of(last), last.place, last.subject,
                          expected=wanted[-1] if wanted else (*variable.sources, "nobody")[0],
                          actual=source, related=related, variable=variable.name, container=container.name)
        secret = bool(wanted) and all(source.startswith("Secret/") for source in wanted)
        for one in sources:
            folder = paths.get(variable.name) if mine else None
            if secret and one.value:
                yield finding("ENV-09", clause, layer_of(one), one.place, one.subject, expected="no value",
                              actual="a value", related=related, variable=variable.name)
                continue
            # Of a ConfigMap's key that has no value, kubectl says the same as of a number.
            if not isinstance(one.value, str) and (one.value is not None or one.owner.kind == "ConfigMap"):
                yield finding("ENV-13", clause, layer_of(one), one.place, one.subject, expected="text",
                              actual="null" if one.value is None else one.value, related=related,
                              variable=variable.name, type=type(one.value).__name__)
                continue
            if one.text is None:
                continue
            if folder and not same_path(one.text, folder.path):
                yield finding("PATH-06", clause, layer_of(one), one.place, one.subject, expected=folder.path,
                              actual=one.text, related=related, variable=variable.name)
            elif not folder and not variable.allows(one.text):
                yield finding("ENV-02", clause, layer_of(one), one.place, one.subject, expected=variable.expected,
                              actual=one.text, related=related, variable=variable.name)
    for name, sources in given.items():
        known = container.variables.get(name)
        # Of a secret no value is told.
        if not (known and any(source.startswith("Secret/") for source in known.sources)):
            yield from shadowed(container, sources, subject.clause_of(name) if mine else f"environment.{name}")
        if name in container.variables or name == UNKNOWN_KEYS:
            continue
        last = sources[-1]
        # A Secret's keys are the Secret's clause: who takes it whole gets those of others, too.
        if not last.source.startswith("Secret/") or last.owner is rendered.workload:
            yield finding("ENV-04", f"environment.{name}", layer_of(last), last.place, last.subject, actual=name,
                          variable=name, container=container.name)


def missing_variable(
    subject: Subject, rendered: PodContainer, name: str, source: str, sources: Sequence[Given], clause: str,
    related: list[Related],
) -> Iterator[Finding]:
    """A source that has to give a variable and does not: where it has to be added."""
    kind, _, owner = source.partition("/")
    owner, _, key = owner.partition("/") if kind in {"ConfigMap", "Secret"} else (owner, "", "")
    key = key or name
    namespace = rendered.workload.namespace
    values: dict[str, Any] = {"variable": name, "container": rendered.name, "source": source}
    if kind == "ConfigMap":
        item = subject.cluster.find("ConfigMap", owner, namespace)
        if item is None:
            return  # Said once, by whoever follows the reference.
        if key not in mapped(item.body.get("data")):
            yield finding("ENV-01", clause, Layer.CONFIG, item.locate(("data", key)), item, expected=key,
                          actual="missing", related=related, **values)
        elif not sources:
            yield not_taken(rendered, source, clause, related)
    elif kind == "Secret":
        # Keys that a Secret lacks are found there; here only that nobody takes it.
        made = subject.cluster.secret(owner, namespace)
        if made and (key in made.keys or UNKNOWN_KEYS in made.keys) and not sources:
            yield not_taken(rendered, source, clause, related)
    elif not sources:
        yield finding("ENV-01", clause, Layer.DEPLOYMENT, place_in_env(rendered, name), rendered.workload,
                      expected=name, actual="missing", related=related,
                      **{**values, "source": str(rendered.workload)})
    elif source == "manifest" and not any(one.owner is rendered.workload for one in sources):
        yield finding("ENV-03", clause, Layer.DEPLOYMENT, rendered.locate("env"), rendered.workload,
                      expected="manifest", actual=sources[-1].source, related=related, **values)


def place_in_env(rendered: PodContainer, name: str) -> Place:
    """Where `env` gives a variable and does not say what, else where it has to be added."""
    number = next((number for number, one in enumerate(listed(rendered.body.get("env"))) if one.get("name") == name),
                  None)
    return rendered.locate("env") if number is None else rendered.locate("env", number, "valueFrom")


def not_taken(rendered: PodContainer, source: str, clause: str, related: list[Related]) -> Finding:
    kind, owner = source.split("/")[:2]
    field_name = {"ConfigMap": "configMapKeyRef", "Secret": "secretKeyRef"}.get(kind, "")
    one_by_one = any(plain_name(str(mapped(mapped(one.get("valueFrom")).get(field_name)).get("name"))) == owner
                     for one in listed(rendered.body.get("env")))
    place = rendered.locate("env" if one_by_one else "envFrom")
    if (at := reference_in_env_from(rendered, source)) is not None:
        # Taken, under other names.
        place = rendered.locate("envFrom", at, "prefix")
    return finding("ENV-16", clause, Layer.DEPLOYMENT, place, rendered.workload, expected=source,
                   actual="not taken", related=related, source=source, container=rendered.name)


def reference_in_env_from(rendered: PodContainer, source: str) -> int | None:
    """The number of the item of `envFrom` that takes a ConfigMap or Secret."""
    kind, name = source.split("/")[:2]
    field_name = {"ConfigMap": "configMapRef", "Secret": "secretRef"}.get(kind, "")
    return next((number for number, one in enumerate(listed(rendered.body.get("envFrom")))
                 if plain_name(str(mapped(one.get(field_name)).get("name"))) == name), None)


def shadowed(container: Container, sources: Sequence[Given], clause: str) -> Iterator[Finding]:
    """A value that another one hides."""
    *others, last = sources
    for one in others:
        if None not in (one.text, last.text) and one.text != last.text:
            yield finding("ENV-12", clause, layer_of(one), one.place, one.subject, expected=last.text,
                          actual=one.text, related=[Related("wins", last.place)], variable=one.name,
                          container=container.name)


def layer_of(given: Given) -> Layer:
    return Layer.CONFIG if given.owner.layer is Layer.CONFIG or given.source.startswith("ConfigMap/") \
        else Layer.DEPLOYMENT


def variables_of_the_image(subject: Subject) -> Iterator[Finding]:
    """The image's ENV are fallbacks, and no place for secrets (seed 000 B.1 2)."""
    contract = subject.contract
    variables = contract.app_container.variables
    paths = {folder.variable for folder in contract.paths.values()}
    secrets = secret_names(contract)
    for image in subject.images:
        for name, given in image.environment.items():
            clause = subject.clause_of(name)
            if name in secrets and given.value:
                yield finding("ENV-09", clause, Layer.IMAGE, given.place, image.source, expected="no value",
                              actual="a value", variable=name)
            elif name in variables and name not in paths and not variables[name].allows(given.value):
                yield finding("ENV-11", clause, Layer.IMAGE, given.place, image.source,
                              expected=variables[name].expected, actual=given.value, variable=name, related=[
                                  declared(contract, "workloads", contract.app_workload.name, "containers",
                                           contract.app.container, "variables", name)])
        for variable in variables.values():
            if "image" in variable.sources and variable.name not in image.environment and not variable.optional:
                yield finding("ENV-01", f"environment.{variable.name}", Layer.IMAGE, image.source, image.source,
                              expected=variable.name, actual="missing", variable=variable.name,
                              container=contract.app.container, source=str(image.source))


def secret_names(contract: Contract) -> set[str]:
    """Variables of the app that come from a Secret."""
    return {variable.name for variable in contract.app_container.variables.values()
            if any(source.startswith("Secret/") for source in variable.sources)}


def variables_of_the_app(subject: Subject, app: AppFacts) -> Iterator[Finding]:
    """What the source reads, and what it says of that in `.env.example`."""
    contract = subject.contract
    variables = contract.app_container.variables
    read: dict[str, list[Any]] = {}
    for one in app.reads:
        read.setdefault(one.name, []).append(one)
    by_paths = {name for function in app.paths.values() for name in function.variables}
    doubtful = {one.about for one in app.unchecked}
    for name, sites in read.items():
        if name not in variables:
            yield finding("ENV-05", f"environment.{name}", Layer.APP, sites[0].place, sites[0].place.file, actual=name,
                          variable=name, related=[Related("and here", one.place) for one in sites[1:3]])
        elif app.example_file and app.examples and name not in app.examples:
            yield finding("ENV-07", subject.clause_of(name), Layer.APP, app.example_file, app.example_file.file,
                          expected=name, actual="missing", variable=name,
                          related=[Related("read here", sites[0].place)])
        yield from default_of_the_app(subject, app, name, sites)
    paths = {folder.variable for folder in contract.paths.values()}
    for name, variable in variables.items():
        if name in read or name in by_paths or name in doubtful or "" in doubtful or name in paths:
            continue
        if RUNTIME.fullmatch(name):
            continue
        example = app.examples.get(name)
        yield finding("ENV-06", subject.clause_of(name), Layer.APP, example.place if example else source_of(app),
                      "app", expected=name, actual="not read", variable=name,
                      kind=Kind.DRIFT if variable.optional else None)
    secrets = secret_names(contract)
    for name, example in app.examples.items():
        if name not in read and name not in by_paths and name not in variables:
            yield finding("ENV-08", f"environment.{name}", Layer.APP, example.place, example.place.file, actual=name,
                          variable=name)
        if name in secrets and example.default:
            yield finding("ENV-09", subject.clause_of(name), Layer.APP, example.place, example.place.file,
                          expected="no value", actual="a value", variable=name)
    yield from needed_and_uncertain(subject, read)


def default_of_the_app(subject: Subject, app: AppFacts, name: str, sites: Sequence[Any]) -> Iterator[Finding]:
    """A default that the contract does not allow, or that `.env.example` gives otherwise."""
    contract = subject.contract
    variable = contract.app_container.variables.get(name)
    if name in {folder.variable for folder in contract.paths.values()} | secret_names(contract):
        return
    known = [one for one in sites if one.resolved and one.default]
    for one in known:
        if name == contract.app.port_variable:
            break  # The port is an item of its own.
        if variable and not variable.allows(one.default):
            yield finding("ENV-15", subject.clause_of(name), Layer.APP, one.place, one.place.file,
                          expected=variable.expected, actual=one.default, variable=name)
            return
    example = app.examples.get(name)
    if example is None:
        return
    if variable and example.default and not variable.allows(example.default):
        yield finding("ENV-02", subject.clause_of(name), Layer.APP, example.place, example.place.file,
                      expected=variable.expected, actual=example.default, variable=name)
    elif known and all(one.default != example.default for one in known):
        yield finding("ENV-10", subject.clause_of(name), Layer.APP, example.place, example.place.file,
                      expected=known[0].default, actual=example.default or "empty", variable=name,
                      related=[Related("read here", known[0].place)])


def needed_and_uncertain(subject: Subject, read: Mapping[str, Sequence[Any]]) -> Iterator[Finding]:
    """What the app has no default for, and the deployment gives only perhaps."""
    contract = subject.contract
    container = subject.container(contract.app_workload, contract.app.container)
    if container is None:
        return
    given = environment(container, subject.cluster)
    for name, sites in read.items():
        variable = contract.app_container.variables.get(name)
        sources = given.get(name, [])
        if variable and not variable.optional and sources and not any(one.certain for one in sources) \
                and any(one.default is None for one in sites):
            at = reference_in_env_from(container, sources[-1].source)
            field_name = "configMapRef" if sources[-1].source.startswith("ConfigMap/") else "secretRef"
            place = sources[-1].place if at is None else container.locate("envFrom", at, field_name, "optional")
            yield finding("ENV-14", subject.clause_of(name), Layer.DEPLOYMENT, place, container.workload,
                          expected="certain", actual="optional", variable=name,
                          related=[Related("read here", sites[0].place), Related("given here", sources[-1].place)])
