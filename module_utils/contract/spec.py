"""A contract: the file, read and checked against its schema, as dataclasses (seed 000 B.2)."""

from __future__ import annotations

import datetime
import fnmatch
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any

from .classes import dataclass
from .codes import CODES
from .documents import Document, load_documents, read_text
from .facts import FieldPath
from .model import ContractError, Layer, Place, Waiver
from .quick import surely_allows

ITEMS = ("paths", "environment", "ports", "volumes", "permissions")
"""The five items of the contract (seed 000 B.2)."""

SCHEMA = Path(__file__).with_name("contract.schema.json")
"""In a checkout a link to the one in `contracts/`."""


@dataclass(frozen=True)
class Folder:
    """A folder of the app. ``in_image``: the image has it, owned by the app's user."""

    name: str
    path: str
    variable: str
    function: str
    optional: bool
    in_image: bool


@dataclass(frozen=True)
class Variable:
    """A variable of a container. ``sources`` are all places that have to give it: ``ConfigMap/x``, ``Secret/x`` (with
    ``/key`` where the key has another name), ``field/metadata.name``, ``manifest`` or ``image``. ``value`` is the one
    right value, ``values`` and ``pattern`` what is allowed; nothing of it means any."""

    name: str
    sources: tuple[str, ...]
    value: str | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""
    optional: bool = False

    def allows(self, value: str) -> bool:
        if self.value is not None:
            return value == self.value
        if self.values:
            return value in self.values
        return not self.pattern or re.fullmatch(self.pattern, value) is not None

    @property
    def expected(self) -> str:
        """What is allowed, in words of the contract."""
        return self.value if self.value is not None else "|".join(self.values) or self.pattern


@dataclass(frozen=True)
class Mount:
    """A mount by its target. ``source`` is a name of ``resources``."""

    target: str
    source: str
    read_only: bool
    sub_path: str


@dataclass(frozen=True)
class Port:
    """A port of a container or a Service; ``target`` is 0 for a container."""

    name: str
    number: int
    target: int = 0
    protocol: str = "TCP"


@dataclass(frozen=True)
class Container:
    """A container. ``permissions``, ``resources`` and ``probes`` are as in the contract's file."""

    name: str
    image: str
    tags: tuple[str, ...]
    permissions: Mapping[str, Any]
    resources: Mapping[str, Mapping[str, str]]
    probes: Mapping[str, Mapping[str, Any]]
    ports: Mapping[str, Port]
    volumes: Mapping[str, Mount]
    variables: Mapping[str, Variable]


@dataclass(frozen=True)
class Workload:
    """A workload. What the contract leaves open is None or empty."""

    name: str
    kind: str
    replicas: int | None
    strategy: str
    grace_seconds: int | None
    pre_stop_seconds: int | None
    pull_secrets: tuple[str, ...]
    service_name: str
    fs_group: int | None
    containers: Mapping[str, Container]


@dataclass(frozen=True)
class Resource:
    """What is behind a volume: ``type`` is claim, hostPath, emptyDir, configMap or secret."""

    name: str
    type: str
    storage_class: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Service:
    """A Service and the workload whose pods it leads to."""

    name: str
    workload: str
    headless: bool
    ports: Mapping[str, Port]


@dataclass(frozen=True)
class Secret:
    """``required`` keys have to be there, ``optional`` ones (shell patterns) may; ``sealed``: by a SealedSecret;
    ``by_hand``: by somebody on the cluster."""

    name: str
    type: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    sealed: bool
    by_hand: bool = False

    def knows(self, key: str) -> bool:
        return key in self.required or any(fnmatch.fnmatchcase(key, pattern) for pattern in self.optional)


@dataclass(frozen=True)
class Owner:
    """Who owns a layer: a repository, and patterns of files in it."""

    repository: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Fixed:
    """A contract that may never change (seed 001). ``clauses`` are shell patterns; texts are by language."""

    number: int
    clauses: tuple[str, ...]
    title: Mapping[str, str]
    broken: Mapping[str, str]


@dataclass(frozen=True)
class Environment:
    """An overlay's namespace, the node its volumes are on, and the tags that it allows instead of the container's."""

    name: str
    namespace: str
    node: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class App:
    """The container that runs the app's source, and what the source has to say."""

    container: str
    port: int | None
    port_variable: str
    routes: tuple[str, ...]
    creates_folders: bool
    uid: int
    gid: int


@dataclass(frozen=True)
class Contract:
    """The whole. ``document`` gives the line of each part."""

    name: str
    title: Mapping[str, str]
    file: str
    layers: Mapping[Layer, Owner]
    authority: Mapping[str, tuple[Layer, ...]]
    fixed: Sequence[Fixed]
    app: App
    paths: Mapping[str, Folder]
    workloads: Mapping[str, Workload]
    resources: Mapping[str, Resource]
    services: Mapping[str, Service]
    config_maps: tuple[str, ...]
    secrets: Mapping[str, Secret]
    cluster: Mapping[str, Any]
    node: Mapping[str, Any]
    environments: Mapping[str, Environment]
    documents: tuple[str, ...]
    document_paths: tuple[str, ...]
    examples: tuple[str, ...]
    waivers: Sequence[Waiver]
    document: Document = field(repr=False)

    def place(self, *path: str | int) -> Place:
        """Where the contract says something."""
        return self.document.place(path)

    def containers(self) -> Iterator[tuple[Workload, Container]]:
        for workload in self.workloads.values():
            for container in workload.containers.values():
                yield workload, container

    @property
    def app_workload(self) -> Workload:
        return next(workload for workload, container in self.containers() if container.name == self.app.container)

    @property
    def app_container(self) -> Container:
        return self.app_workload.containers[self.app.container]

    @property
    def app_service(self) -> Service | None:
        """The Service that leads to the app, which may have none."""
        name = self.app_workload.name
        return next((one for one in self.services.values() if one.workload == name and not one.headless), None)

    def environment_of(self, namespace: str) -> Environment | None:
        """The environment whose namespace this is."""
        return next((one for one in self.environments.values() if one.namespace == namespace), None)


@cache
def schema() -> dict[str, Any]:
    """The published JSON Schema."""
    loaded: dict[str, Any] = json.loads(read_text(SCHEMA))
    return loaded


def load_contract(path: Path, shown: str = "") -> Contract:
    """Read a contract.

    :param shown: how its file is named in messages; left out, ``path``.
    :raises ContractError: it is no contract; the message names the line and what is wrong there.
    """
    name = shown or str(path)
    documents = load_documents(read_text(path, name), name)
    if len(documents) != 1:
        raise ContractError(f"{name} has {len(documents)} documents, and a contract is one.",
                            "See docs/contract.md for what a contract looks like.", Place(name))
    document = documents[0]
    body = plain(document.body)
    refuse_what_the_schema_forbids(body, document)
    contract = built(body, document)
    refuse_contradictions(contract)
    return contract


def plain(value: Any) -> Any:  # noqa: ANN401
    """YAML's dates as text, keys as text: what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def refuse_what_the_schema_forbids(body: Any, document: Document) -> None:  # noqa: ANN401
    """:raises ContractError: with the line, the first of what is wrong."""
    if surely_allows(schema(), body):
        return
    # Imported only to say what is wrong: it takes longer than everything else that a check does.
    import jsonschema

    validator = jsonschema.Draft202012Validator(
        schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    errors = [inner(error) for error in validator.iter_errors(body)]
    if not errors:
        return
    unknown = {tuple(error.absolute_path) for error in errors if error.validator == "additionalProperties"}
    found = sorted(((tuple(error.absolute_path) in unknown and error.validator == "required",
                     document.line(field_of(error)), error) for error in errors), key=lambda one: one[:2])
    _, line, error = found[0]
    where = ".".join(map(str, error.absolute_path)) or "the contract"
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    raise ContractError(f"{document.file}:{line}: {where}: {error.message[:300]}{more}.",
                        "Correct it; contracts/contract.schema.json says what may stand there.",
                        Place(document.file, line))


def inner(error: Any) -> Any:  # noqa: ANN401
    """Of a value that fits none of several kinds (`oneOf`): what is wrong with the kind that its `type` names."""
    import jsonschema

    kinds: dict[Any, list[Any]] = {}
    for one in error.context if error.validator == "oneOf" else ():
        kinds.setdefault(one.schema_path[0], []).append(one)
    meant = [all_of for all_of in kinds.values() if not any(list(one.path)[:1] == ["type"] for one in all_of)]
    return jsonschema.exceptions.best_match(meant[0] if meant else [error])


def field_of(error: Any) -> FieldPath:  # noqa: ANN401
    """The field that an error is about: of a key that may not stand there the key itself, not what it stands in."""
    path: FieldPath = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        return (*path, next(key for key in error.instance if key not in error.schema.get("properties", {})))
    return (*path, error.instance) if "propertyNames" in error.absolute_schema_path else path


def built(body: Mapping[str, Any], document: Document) -> Contract:
    """The dataclasses of a contract that its schema allows."""
    app = body["app"]
    port = app.get("port") or {}
    return Contract(
        name=body["metadata"]["name"], title=body["metadata"].get("title") or {"en": body["metadata"]["name"]},
        file=document.file,
        layers={Layer(name): Owner(one["repository"], tuple(one["files"])) for name, one in body["layers"].items()},
        authority={name: tuple(map(Layer, one["authority"])) for name, one in body["items"].items()},
        fixed=[Fixed(one["number"], tuple(one["clauses"]), one["title"], one["broken"])
               for one in body.get("fixed", ())],
        app=App(app["container"], port.get("number"), port.get("variable", ""), tuple(app.get("routes", ())),
                app.get("creates_folders", True), app["user"]["uid"], app["user"]["gid"]),
        paths={name: Folder(name, one["path"], one["variable"], one.get("function", ""), one.get("optional", False),
                            one.get("image") == "folder") for name, one in body["paths"].items()},
        workloads={name: workload(name, one) for name, one in body["workloads"].items()},
        resources={name: Resource(name, one["type"], one.get("class", ""), one.get("params", {}))
                   for name, one in body.get("resources", {}).items()},
        services={name: Service(name, one["workload"], one.get("headless", False), {
            key: Port(key, item["port"], item.get("targetPort", item["port"]), item.get("protocol", "TCP"))
            for key, item in one["ports"].items()}) for name, one in body.get("services", {}).items()},
        config_maps=tuple(body.get("configMaps", ())),
        secrets={name: Secret(name, one.get("type", "Opaque"), tuple(one["required"]), tuple(one.get("optional", ())),
                              one.get("sealed", False), one.get("byHand", False))
                 for name, one in body.get("secrets", {}).items()},
        cluster=body.get("cluster", {}), node=body.get("node", {}),
        environments={name: Environment(name, one["namespace"], one.get("node", ""), tuple(one.get("tags", ())))
                      for name, one in body.get("environments", {}).items()},
        documents=tuple(body.get("repository", {}).get("documents", ())),
        document_paths=tuple(body.get("repository", {}).get("paths", ())),
        examples=tuple(body.get("repository", {}).get("examples", ())),
        waivers=[Waiver(one["code"], one["subject"], one["owner"], " ".join(one["reason"].split()),
                        datetime.date.fromisoformat(one["expires"]), document.place(("waivers", number)))
                 for number, one in enumerate(body.get("waivers", ()))],
        document=document,
    )


def workload(name: str, one: Mapping[str, Any]) -> Workload:
    return Workload(
        name, one["kind"], one.get("replicas"), one.get("strategy", ""), one.get("terminationGracePeriodSeconds"),
        one.get("preStopSeconds"), tuple(one.get("imagePullSecrets", ())), one.get("serviceName", ""),
        one.get("permissions", {}).get("fsGroup"),
        {key: container(key, item) for key, item in one["containers"].items()})


def container(name: str, one: Mapping[str, Any]) -> Container:
    return Container(
        name, one["image"], tuple(one.get("tags", ())), one.get("permissions", {}), one.get("resources", {}),
        {kind: one[kind] for kind in ("livenessProbe", "readinessProbe", "startupProbe") if kind in one},
        {key: Port(key, item["port"]) for key, item in one.get("ports", {}).items()},
        {target: Mount(target, item["source"], item.get("readOnly", False), item.get("path", ""))
         for target, item in one.get("volumes", {}).items()},
        {key: Variable(key, tuple(item["source"]), item.get("value"), tuple(item.get("values", ())),
                       item.get("pattern", ""), item.get("optional", False))
         for key, item in one.get("variables", {}).items()})


def refuse_contradictions(contract: Contract) -> None:
    """:raises ContractError: a name that the contract itself does not explain, with its line."""
    for problem, remedy, path in contradictions(contract):
        place = contract.place(*path)
        raise ContractError(f"{place}: {problem}.", remedy, place)


def contradictions(contract: Contract) -> Iterator[tuple[str, str, FieldPath]]:
    """What the schema cannot say, as problem, remedy and path."""
    if not any(one.name == contract.app.container for _, one in contract.containers()):
        yield (f"no workload has the app's container {contract.app.container}", "Name one of the containers.",
               ("app", "container"))
        return
    app = contract.app_container
    for folder in contract.paths.values():
        if folder.variable not in app.variables:
            yield (f"{folder.variable} is no variable of container {app.name}", "Add it to the container's variables.",
                   ("paths", folder.name, "variable"))
        if not folder.optional and not any(folder.path == target or folder.path.startswith(target.rstrip("/") + "/")
                                           for target in app.volumes):
            yield (f"{folder.path} is under no volume of container {app.name}", "Add the volume, or correct the path.",
                   ("paths", folder.name, "path"))
    for workload, container in contract.containers():
        at: FieldPath = ("workloads", workload.name, "containers", container.name)
        for target, mount in container.volumes.items():
            if mount.source not in contract.resources:
                yield f"{mount.source} is none of the resources", "Add it to resources.", (*at, "volumes", target)
        for variable in container.variables.values():
            for source in variable.sources:
                kind, _, rest = source.partition("/")
                name, _, key = rest.partition("/") if kind in {"ConfigMap", "Secret"} else (rest, "", "")
                known = {"ConfigMap": contract.config_maps, "Secret": contract.secrets}.get(kind, (name,))
                if name not in known:
                    yield (f"{source} is in neither configMaps nor secrets", "Add it there, or correct the name.",
                           (*at, "variables", variable.name))
                if kind == "Secret" and name in contract.secrets and not contract.secrets[name].knows(
                        key or variable.name):
                    yield (f"{name} has no key {key or variable.name}", "Add it to the Secret's keys.",
                           (*at, "variables", variable.name))
    if contract.app.port_variable and contract.app.port_variable not in app.variables:
        yield (f"{contract.app.port_variable} is no variable of container {app.name}",
               "Add it to the container's variables.", ("app", "port", "variable"))
    for workload in contract.workloads.values():
        for number, name in enumerate(workload.pull_secrets):
            if name not in contract.secrets:
                yield (f"{name} is none of the secrets", "Add it to secrets, or correct the name.",
                       ("workloads", workload.name, "imagePullSecrets", number))
    for resource in contract.resources.values():
        names = {"configMap": contract.config_maps, "secret": contract.secrets}.get(resource.type)
        if names is not None and (name := resource.params["name"]) not in names:
            yield (f"{name} is in neither configMaps nor secrets", "Add it there, or correct the name.",
                   ("resources", resource.name, "params", "name"))
    for number, one in enumerate(contract.fixed):
        for at_clause, pattern in enumerate(one.clauses):
            if pattern.partition(".")[0] not in {*ITEMS, "secrets", "images", "workloads", "references"}:
                yield (f"{pattern} fits no clause", "Begin it with the name of an item, such as paths.",
                       ("fixed", number, "clauses", at_clause))
    for number, waiver in enumerate(contract.waivers):
        if not any(fnmatch.fnmatchcase(code, waiver.code) for code in CODES):
            yield f"{waiver.code} is no code of a finding", "docs/findings.md has them.", ("waivers", number, "code")
    for service in contract.services.values():
        if service.workload not in contract.workloads:
            yield (f"{service.workload} is none of the workloads", "Correct the name.",
                   ("services", service.name, "workload"))
