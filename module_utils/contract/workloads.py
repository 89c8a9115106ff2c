"""Rendered workloads as Kubernetes will run them: pods, effective settings, and where each variable comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from .classes import dataclass
from .facts import FieldPath, KubeObject
from .model import Place

POD_OF: Mapping[str, FieldPath] = {
    "Pod": ("spec",), "Deployment": ("spec", "template", "spec"), "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"), "ReplicaSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"), "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
"""Where the pod's spec is, by kind."""

HASHED = re.compile(r"-[2456789bcdfghkmt]{10}$")
"""What Kustomize puts behind the name of a ConfigMap or Secret that it makes: a hash of what is in it."""

UNKNOWN_KEYS = "*"
"""Stands for keys that only the running cluster knows (an ExternalSecret's dataFrom)."""

SUFFIXES = {"": Decimal(1), "m": Decimal("0.001"), **{
    letter + "i" * binary: Decimal((1024 if binary else 1000) ** (power + 1))
    for power, letter in enumerate("kMGTP") for binary in (False, True)}}
SUFFIXES["Ki"] = SUFFIXES.pop("ki")


def quantity(value: Any) -> Decimal | None:  # noqa: ANN401
    """A Kubernetes quantity (`1Gi`, `1024Mi`, 0.5, `1e3`) as a number, None when it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]{1,3})?)([kMGTP]i?|Ki|m)?", str(value).strip())
    if not match or (match[2] or "") not in SUFFIXES:
        return None
    try:
        return Decimal(match[1]) * SUFFIXES[match[2] or ""]
    except InvalidOperation:
        return None


def plain_name(name: str) -> str:
    """The name of a ConfigMap or Secret as it is written, without the hash of its content."""
    return HASHED.sub("", name)


def simple(value: Any) -> Any:  # noqa: ANN401
    """A value that can be looked up: of a list or mapping, where a scalar belongs, its text."""
    return str(value) if isinstance(value, list | dict) else value


def listed(value: Any) -> list[Any]:  # noqa: ANN401
    """A list's mappings; nothing for anything else, so that a broken manifest is told of and not tripped over."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def mapped(value: Any) -> Mapping[Any, Any]:  # noqa: ANN401
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Given:
    """A variable as one source gives it. ``value`` is None where it is not written here (a secret, a field of the
    pod); ``source`` is as in the contract; ``certain`` is False behind `optional: true`."""

    name: str
    value: Any
    source: str
    place: Place
    subject: str
    owner: KubeObject
    certain: bool = True
    key: str = ""
    """Of a ConfigMap or Secret, where it has another name."""
    text: str | None = None
    """What the container gets: with `$(NAME)` put in; None where that is not written here."""

    def comes_from(self, source: str) -> bool:
        """Whether this is what a contract's source says."""
        kind, _, rest = source.partition("/")
        name, _, key = rest.partition("/") if kind in {"ConfigMap", "Secret"} else (rest, "", "")
        return self.source == (f"{kind}/{name}" if rest else kind) and (self.key or self.name) == (key or self.name)


@dataclass(frozen=True)
class PodContainer:
    """A container in its pod. ``at`` is its path in the workload's object."""

    workload: KubeObject
    pod_at: FieldPath
    at: FieldPath
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.body.get("name") or "")

    @property
    def pod(self) -> Mapping[str, Any]:
        return mapped(self.workload.get(*self.pod_at))

    @property
    def stays(self) -> bool:
        """Whether it runs as long as the pod: no init container, but for one that is started anew for ever."""
        return self.at[-2] == "containers" or self.body.get("restartPolicy") == "Always"

    def locate(self, *path: str | int) -> Place:
        return self.workload.locate((*self.at, *path))

    def setting(self, name: str) -> tuple[Any, FieldPath]:
        """An effective field of the security context and where it stands: the container's, else the pod's. One that is
        in neither would stand where others of its kind do."""
        own = mapped(self.body.get("securityContext"))
        of_pod = mapped(self.pod.get("securityContext"))
        alike = [any(str(key).startswith(name[:5]) for key in context) for context in (own, of_pod)]
        if name in own or (name not in of_pod and alike != [False, True]):
            return own.get(name), (*self.at, "securityContext", name)
        return of_pod.get(name), (*self.pod_at, "securityContext", name)

    @property
    def mounts(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        found = self.body.get("volumeMounts")
        for number, item in enumerate(found if isinstance(found, list) else ()):
            if isinstance(item, Mapping):
                yield number, item

    def volume(self, name: str) -> tuple[Mapping[str, Any], FieldPath] | None:
        """A volume of the pod by its name; a claim template of a StatefulSet is one, too."""
        found = self.pod.get("volumes")
        for number, item in enumerate(found if isinstance(found, list) else ()):
            if isinstance(item, Mapping) and item.get("name") == name:
                return item, (*self.pod_at, "volumes", number)
        templates = self.workload.get("spec", "volumeClaimTemplates")
        for number, item in enumerate(templates if isinstance(templates, list) else ()):
            if mapped(mapped(item).get("metadata")).get("name") == name:
                return {"persistentVolumeClaim": {"claimName": name}}, ("spec", "volumeClaimTemplates", number)
        return None


@dataclass(frozen=True)
class Producer:
    """An object that makes a Secret. ``keys`` are those it makes, ``UNKNOWN_KEYS`` among them where nobody can say."""

    made_by: KubeObject
    name: str
    namespace: str
    type: str
    keys: Mapping[str, FieldPath]


@dataclass(frozen=True)
class Cluster:
    """Objects that are applied together, with what leads from one to another."""

    objects: Sequence[KubeObject]
    index: dict[tuple[str, str, str], KubeObject] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.objects:
            self.index.setdefault((item.kind, item.namespace, item.name), item)
            if item.kind == "ConfigMap":
                self.index.setdefault((item.kind, item.namespace, plain_name(item.name)), item)

    def find(self, kind: str, name: str, namespace: str) -> KubeObject | None:
        """An object by kind and name. One that names no namespace is in that of whoever asks."""
        return self.index.get((kind, namespace, name)) or self.index.get((kind, "", name))

    @cached_property
    def workloads(self) -> list[KubeObject]:
        return [item for item in self.objects if item.kind in POD_OF]

    @cached_property
    def scalers(self) -> dict[tuple[str, str, str], list[KubeObject]]:
        """What makes more or fewer pods, by namespace, kind and name of the workload."""
        found: dict[tuple[str, str, str], list[KubeObject]] = {}
        for item in self.objects:
            if item.kind == "HorizontalPodAutoscaler":
                target = mapped(item.get("spec", "scaleTargetRef"))
                found.setdefault((item.namespace, str(target.get("kind")), str(target.get("name"))), []).append(item)
        return found

    @cached_property
    def producers(self) -> dict[tuple[str, str], list[Producer]]:
        """What makes Secrets, by namespace and name of the Secret."""
        found: dict[tuple[str, str], list[Producer]] = {}
        for item in self.objects:
            for made in produced(item):
                found.setdefault((made.namespace, made.name), []).append(made)
        return found

    def secret(self, name: str, namespace: str) -> Producer | None:
        name = plain_name(name)
        made = self.producers.get((namespace, name)) or self.producers.get(("", name)) or []
        return made[0] if made else None

    @cached_property
    def pods(self) -> list[tuple[KubeObject, Mapping[str, Any]]]:
        """Workloads with the labels of their pods."""
        found = []
        for item in self.workloads:
            above = POD_OF[item.kind][:-1]
            labels = mapped(item.get(*above, "metadata", "labels"))
            found.append((item, labels))
        return found

    @cached_property
    def labelled(self) -> dict[tuple[str, ...], list[tuple[KubeObject, Mapping[str, Any]]]]:
        """What ``pods`` has by namespace, and by namespace and label, so that a Service need not ask each of them."""
        found: dict[tuple[str, ...], list[tuple[KubeObject, Mapping[str, Any]]]] = {}
        for item, labels in self.pods:
            for at in ((item.namespace,), *((item.namespace, str(key), str(value)) for key, value in labels.items())):
                found.setdefault(at, []).append((item, labels))
        return found

    def selected(self, labels: Mapping[str, Any], namespace: str) -> list[KubeObject]:
        """Workloads whose pods have all of the labels."""
        places: list[tuple[str, ...]] = [(namespace, str(key), str(value)) for key, value in labels.items()]
        fewest = min((self.labelled.get(at, []) for at in places or [(namespace,)]), key=len)
        return [item for item, own in fewest if all(own.get(key) == value for key, value in labels.items())]

    def wrong_label(self, labels: Mapping[str, Any], namespace: str) -> str:
        """Of labels that select nothing the first that no pod has; empty when each of them selects something."""
        return next((key for key, value in labels.items() if not self.selected({key: value}, namespace)), "")


def produced(item: KubeObject) -> Iterator[Producer]:
    """The Secrets that an object makes."""
    spec = mapped(item.body.get("spec"))
    if item.kind == "Secret":
        keys: dict[str, FieldPath] = {str(key): (part, key) for part in ("data", "stringData")
                                      for key in mapped(item.body.get(part))}
        yield Producer(item, plain_name(item.name), item.namespace, str(item.body.get("type") or "Opaque"), keys)
    elif item.kind == "SealedSecret":
        template = mapped(spec.get("template"))
        metadata = mapped(template.get("metadata"))
        keys = {str(key): ("spec", "encryptedData", key) for key in mapped(spec.get("encryptedData"))}
        keys.update({str(key): ("spec", "template", "data", key) for key in mapped(template.get("data"))})
        # The controller names the Secret after the SealedSecret itself, whatever the template says.
        yield Producer(item, item.name, item.namespace or str(metadata.get("namespace") or ""),
                       str(template.get("type") or "Opaque"), keys)
    elif item.kind == "ExternalSecret":
        target = mapped(spec.get("target"))
        keys = {str(one.get("secretKey")): ("spec", "data", number, "secretKey")
                for number, one in enumerate(listed(spec.get("data")))}
        if spec.get("dataFrom") or mapped(target.get("template")).get("data"):
            keys[UNKNOWN_KEYS] = ("spec", "dataFrom")
        yield Producer(item, str(target.get("name") or item.name), item.namespace, "Opaque", keys)
    elif item.kind == "Certificate" and spec.get("secretName"):
        yield Producer(item, str(spec["secretName"]), item.namespace, "kubernetes.io/tls",
                       {key: ("spec", "secretName") for key in ("tls.crt", "tls.key", "ca.crt")})


def containers(item: KubeObject) -> Iterator[PodContainer]:
    """The containers of a workload, init containers after the others."""
    at = POD_OF.get(item.kind)
    if at is None:
        return
    for part in ("containers", "initContainers"):
        found = item.get(*at, part)
        for number, body in enumerate(found if isinstance(found, list) else ()):
            if isinstance(body, Mapping):
                yield PodContainer(item, at, (*at, part, number), body)


def environment(container: PodContainer, cluster: Cluster) -> dict[str, list[Given]]:
    """All that gives a container each of its variables; the last one wins, as in Kubernetes: env over envFrom, and in
    envFrom the later over the earlier."""
    found: dict[str, list[Given]] = {}
    for given in [*whole_sources(container, cluster), *single_variables(container, cluster)]:
        text = given.value if isinstance(given.value, str) else None
        if text and "$" in text and given.source == "manifest":
            text = expanded(text, found)  # only what is given before it can be put in
        found.setdefault(given.name, []).append(replace(given, text=text))
    return found


def whole_sources(container: PodContainer, cluster: Cluster) -> Iterator[Given]:
    """What `envFrom` gives."""
    namespace = container.workload.namespace
    sources = container.body.get("envFrom")
    for source in listed(sources):
        prefix = str(source.get("prefix") or "")
        for kind, field_name in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            reference = mapped(source.get(field_name))
            name = str(reference.get("name") or "")
            if not name:
                continue
            certain = reference.get("optional") is not True
            if kind == "ConfigMap":
                item = cluster.find("ConfigMap", name, namespace)
                if item is None:
                    continue
                for key, value in mapped(item.body.get("data")).items():
                    yield Given(prefix + str(key), value, f"ConfigMap/{plain_name(name)}",
                                item.locate(("data", key)), str(item), item, certain)
            elif made := cluster.secret(name, namespace):
                for key, path in made.keys.items():
                    yield Given(key if key == UNKNOWN_KEYS else prefix + key, None, f"Secret/{plain_name(name)}",
                                made.made_by.locate(path), str(made.made_by), made.made_by, certain)


def single_variables(container: PodContainer, cluster: Cluster) -> Iterator[Given]:
    """What `env` gives."""
    namespace = container.workload.namespace
    variables = container.body.get("env")
    for number, one in enumerate(variables if isinstance(variables, list) else ()):
        if not isinstance(one, Mapping) or not one.get("name"):
            continue
        name = str(one["name"])
        subject = str(container.workload)
        whence = mapped(one.get("valueFrom"))
        if not whence:
            value = one.get("value")
            yield Given(name, "" if value is None else value, "manifest", container.locate("env", number, "value"),
                        subject, container.workload)
            continue
        for kind, field_name in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            reference = mapped(whence.get(field_name))
            if not reference.get("name"):
                continue
            owner, key = str(reference["name"]), str(reference.get("key") or "")
            value = None
            place = container.locate("env", number, "valueFrom", field_name, "name" if key == name else "key")
            if kind == "ConfigMap" and (item := cluster.find(kind, owner, namespace)):
                data = mapped(item.body.get("data"))
                if key in data:
                    value, place, subject = data[key], item.locate(("data", key)), str(item)
            yield Given(name, value, f"{kind}/{plain_name(owner)}", place, subject, container.workload,
                        reference.get("optional") is not True, key)
        if fields := mapped(whence.get("fieldRef")):
            yield Given(name, None, f"field/{fields.get('fieldPath')}",
                        container.locate("env", number, "valueFrom", "fieldRef", "fieldPath"), subject,
                        container.workload)
        if resource := mapped(whence.get("resourceFieldRef")):
            yield Given(name, None, f"resource/{resource.get('resource')}",
                        container.locate("env", number, "valueFrom", "resourceFieldRef", "resource"), subject,
                        container.workload)


def expanded(value: str, variables: Mapping[str, Sequence[Given]]) -> str | None:
    """A value with `$(NAME)` put in, as the kubelet does; None where that value is not written here."""
    unknown = False

    def fill(match: re.Match[str]) -> str:
        nonlocal unknown
        if match[0].startswith("$$"):
            return match[0][1:]
        given = variables.get(match[1])
        if not given:
            return match[0]
        last = given[-1].text
        unknown = unknown or last is None
        return str(last)

    text = re.sub(r"\$\$\([^)]*\)|\$\(([^)]+)\)", fill, value)
    return None if unknown else text
