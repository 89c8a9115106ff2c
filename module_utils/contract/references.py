"""References between objects: whether what one names is there. Knows Kubernetes, and no contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .checks import Subject, finding, text
from .facts import FieldPath, KubeObject
from .model import Finding, Layer, Place, Related
from .workloads import POD_OF, UNKNOWN_KEYS, PodContainer, containers, listed, mapped, simple

CLAUSE = "references"
GIVEN_BY_THE_CLUSTER = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}


def check_references(subject: Subject) -> Iterator[Finding]:
    """Everything that leads nowhere in the rendered objects."""
    if not subject.manifests:
        return
    yield from duplicates(subject)
    for item in subject.cluster.workloads:
        yield from of_a_pod(subject, item)
        yield from own_selector(item)
    for item in subject.cluster.objects:
        if check := BY_KIND.get(item.kind):
            yield from check(subject, item)


def duplicates(subject: Subject) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str, str], KubeObject] = {}
    for item in subject.cluster.objects:
        group = str(item.body.get("apiVersion", "")).rpartition("/")[0]
        key = (group, item.kind, item.namespace, item.name)
        if key in seen:
            yield finding("REF-07", CLAUSE, item.layer, item.locate(("metadata", "name")), item,
                          related=[Related("first declared here", seen[key].locate(("metadata", "name")))])
        seen.setdefault(key, item)


def lost(item: KubeObject, path: FieldPath, kind: str, name: object, layer: Layer = Layer.DEPLOYMENT) -> Finding:
    """A reference to something that is not there."""
    return finding("REF-01", CLAUSE, layer, item.locate(path), item, expected=f"{kind} {name}", actual="missing")


def there(subject: Subject, kind: str, name: object, namespace: str) -> bool:
    return (kind, str(name)) in GIVEN_BY_THE_CLUSTER or subject.cluster.find(kind, str(name), namespace) is not None


def of_a_pod(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    """What a pod needs to start."""
    found = list(containers(item))
    if not found:
        return
    first = found[0]
    account = first.pod.get("serviceAccountName")
    if account and not there(subject, "ServiceAccount", account, item.namespace):
        yield lost(item, (*first.pod_at, "serviceAccountName"), "ServiceAccount", account)
    mounted = set()
    for container in found:
        yield from of_a_container(subject, container)
        for number, mount in container.mounts:
            name = str(mount.get("name", ""))
            mounted.add(name)
            if container.volume(name) is None:
                yield finding("REF-05", CLAUSE, Layer.DEPLOYMENT, container.locate("volumeMounts", number, "name"),
                              item, expected=name)
    for number, volume in enumerate(listed(first.pod.get("volumes"))):
        yield from of_a_volume(subject, item, volume, (*first.pod_at, "volumes", number))
        if str(volume.get("name", "")) not in mounted:
            yield finding("REF-08", CLAUSE, Layer.DEPLOYMENT, item.locate((*first.pod_at, "volumes", number, "name")),
                          item, actual=volume.get("name"))


def of_a_volume(subject: Subject, item: KubeObject, volume: Mapping[str, Any], at: FieldPath) -> Iterator[Finding]:
    claim = mapped(volume.get("persistentVolumeClaim")).get("claimName")
    if claim and not there(subject, "PersistentVolumeClaim", claim, item.namespace):
        yield lost(item, (*at, "persistentVolumeClaim", "claimName"), "PersistentVolumeClaim", claim)
    sources: list[tuple[Mapping[str, Any], FieldPath]] = [(volume, at)]
    sources += [(one, (*at, "projected", "sources", number))
                for number, one in enumerate(listed(mapped(volume.get("projected")).get("sources")))]
    for source, path in sources:
        yield from keys_of_a_secret(subject, item, mapped(source.get("secret")), (*path, "secret"))
        own = mapped(source.get("configMap"))
        name = own.get("name")
        if not name or own.get("optional") is True:
            continue
        config = subject.cluster.find("ConfigMap", str(name), item.namespace)
        if config is None and not there(subject, "ConfigMap", name, item.namespace):
            yield lost(item, (*path, "configMap", "name"), "ConfigMap", name)
        for number, one in enumerate(listed(own.get("items"))):
            if config and simple(one.get("key")) not in keys_of(config):
                yield no_key(item, item.locate((*path, "configMap", "items", number, "key")), config, one.get("key"))


def keys_of_a_secret(
    subject: Subject, item: KubeObject, own: Mapping[str, Any], at: FieldPath
) -> Iterator[Finding]:
    """Keys that a volume takes of a Secret: the pod waits for them for ever."""
    made = subject.cluster.secret(str(own.get("secretName") or own.get("name") or ""), item.namespace)
    if made is None or own.get("optional") is True or UNKNOWN_KEYS in made.keys:
        return
    for number, one in enumerate(listed(own.get("items"))):
        if simple(one.get("key")) not in made.keys:
            yield no_key(item, item.locate((*at, "items", number, "key")), made.made_by, one.get("key"))


def keys_of(config: KubeObject) -> set[Any]:
    return {*mapped(config.body.get("data")), *mapped(config.body.get("binaryData"))}


def no_key(item: KubeObject, place: Place, owner: KubeObject, key: object) -> Finding:
    return finding("REF-02", CLAUSE, Layer.DEPLOYMENT, place, item, expected=key, actual="missing", owner=owner,
                   related=[Related("looked for here", owner.locate(("metadata", "name")))])


def of_a_container(subject: Subject, container: PodContainer) -> Iterator[Finding]:
    """ConfigMaps and keys; Secrets are looked at where the contract names them, and here when it does not."""
    item = container.workload
    for number, source in enumerate(listed(container.body.get("envFrom"))):
        reference = mapped(source.get("configMapRef"))
        if reference.get("name") and reference.get("optional") is not True and not there(
                subject, "ConfigMap", reference["name"], item.namespace):
            yield finding("REF-01", CLAUSE, Layer.DEPLOYMENT,
                          container.locate("envFrom", number, "configMapRef", "name"), item,
                          expected=f"ConfigMap {reference['name']}", actual="missing")
        yield from unmade(subject, container, mapped(source.get("secretRef")), ("envFrom", number, "secretRef", "name"))
    for number, one in enumerate(listed(container.body.get("env"))):
        whence = mapped(one.get("valueFrom"))
        own = mapped(whence.get("configMapKeyRef"))
        at = ("env", number, "valueFrom", "configMapKeyRef")
        if own.get("name") and own.get("optional") is not True:
            config = subject.cluster.find("ConfigMap", str(own["name"]), item.namespace)
            if config is None:
                yield finding("REF-01", CLAUSE, Layer.DEPLOYMENT, container.locate(*at, "name"), item,
                              expected=f"ConfigMap {own['name']}", actual="missing")
            elif simple(own.get("key")) not in keys_of(config):
                yield no_key(item, container.locate(*at, "key"), config, own.get("key"))
        secret = mapped(whence.get("secretKeyRef"))
        at = ("env", number, "valueFrom", "secretKeyRef")
        yield from unmade(subject, container, secret, (*at, "name"))
        made = subject.cluster.secret(str(secret.get("name")), item.namespace) if secret.get("name") else None
        keys = {simple(secret.get("key")), UNKNOWN_KEYS}
        if made and secret.get("optional") is not True and not keys & set(made.keys):
            known = subject.contract.secrets.get(made.name)
            # A key that the contract requires is missing in the Secret, not asked for wrongly.
            if not known or str(secret.get("key")) not in known.required:
                yield no_key(item, container.locate(*at, "key"), made.made_by, secret.get("key"))


def unmade(
    subject: Subject, container: PodContainer, reference: Mapping[str, Any], at: tuple[str | int, ...]
) -> Iterator[Finding]:
    name = reference.get("name")
    item = container.workload
    if name and reference.get("optional") is not True and str(name) not in subject.contract.secrets \
            and item.name not in subject.contract.workloads and not subject.cluster.secret(str(name), item.namespace):
        yield finding("REF-01", CLAUSE, Layer.DEPLOYMENT, container.locate(*at), item, expected=f"Secret {name}",
                      actual="missing")


def own_selector(item: KubeObject) -> Iterator[Finding]:
    """A workload's selector has to fit its own pods; the API server refuses it otherwise."""
    if item.kind not in {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}:
        return
    labels = mapped(item.get("spec", "template", "metadata", "labels"))
    wanted = mapped(item.get("spec", "selector", "matchLabels"))
    expressions = listed(item.get("spec", "selector", "matchExpressions"))
    shown = [f"{key}={text(value)}" for key, value in labels.items()]
    if not wanted and not expressions:
        yield finding("REF-06", CLAUSE, Layer.DEPLOYMENT, item.locate(("spec", "selector")), item,
                      expected="nothing", actual=shown)
    for number, one in enumerate(expressions):
        if not fits(one, labels):
            yield finding("REF-06", CLAUSE, Layer.DEPLOYMENT, item.locate(("spec", "selector", "matchExpressions",
                                                                          number)), item,
                          expected=f"{one.get('key')} {one.get('operator')} {text(one.get('values') or [])}".strip(),
                          actual=shown)
    for key, value in wanted.items():
        if labels.get(key) != value:
            yield finding("REF-06", CLAUSE, Layer.DEPLOYMENT,
                          item.locate(("spec", "template", "metadata", "labels", key)), item,
                          expected=f"{key}={value}", actual=f"{key}={text(labels.get(key))}",
                          related=[Related("selected here", item.locate(("spec", "selector", "matchLabels", key)))])


def fits(expression: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether labels satisfy an expression of a selector; one that is not known is not judged."""
    key, operator = str(expression.get("key")), expression.get("operator")
    values = expression.get("values") or []
    return {"In": labels.get(key) in values, "NotIn": labels.get(key) not in values,
            "Exists": key in labels, "DoesNotExist": key not in labels}.get(str(operator), True)


def service(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    labels = mapped(item.get("spec", "selector"))
    if not labels or item.get("spec", "type") == "ExternalName":
        return
    chosen = subject.cluster.selected(labels, item.namespace)
    if not chosen:
        yield nothing_selected(subject, item, ("spec", "selector"), labels)
        return
    for number, port in enumerate(listed(item.get("spec", "ports"))):
        target = port.get("targetPort", port.get("port"))
        for workload in chosen:
            ports = [one for container in containers(workload) for one in listed(container.body.get("ports"))]
            # A port need not be declared to be reached by number.
            if isinstance(target, str) and target not in {simple(one.get("name")) for one in ports}:
                yield finding("REF-04", CLAUSE, Layer.DEPLOYMENT,
                              item.locate(("spec", "ports", number, "targetPort")), item,
                              expected=[one.get("name") or one.get("containerPort") for one in ports], actual=target,
                              related=[Related("the pods' ports", workload.locate((*POD_OF[workload.kind],
                                                                                  "containers", 0, "ports")))])


def nothing_selected(subject: Subject, item: KubeObject, path: FieldPath, labels: Mapping[Any, Any]) -> Finding:
    wrong = subject.cluster.wrong_label(labels, item.namespace)
    return finding("REF-03", CLAUSE, Layer.DEPLOYMENT, item.locate((*path, wrong)), item,
                   actual=[f"{key}={value}" for key, value in labels.items()])


def stateful_set(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    name = item.get("spec", "serviceName")
    if name and not there(subject, "Service", name, item.namespace):
        yield lost(item, ("spec", "serviceName"), "Service", name)


def selects_pods(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    field_name = "podSelector" if item.kind == "NetworkPolicy" else "selector"
    path: FieldPath = ("spec", field_name, "matchLabels")
    labels = mapped(item.get(*path))
    if labels and not subject.cluster.selected(labels, item.namespace):
        yield nothing_selected(subject, item, path, labels)


def ingress(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    for number, rule in enumerate(listed(item.get("spec", "rules"))):
        for at, path in enumerate(listed(mapped(rule.get("http")).get("paths"))):
            backend = mapped(mapped(path.get("backend")).get("service"))
            where: FieldPath = ("spec", "rules", number, "http", "paths", at, "backend", "service")
            name = backend.get("name")
            found = subject.cluster.find("Service", str(name), item.namespace) if name else None
            if name and not found:
                yield lost(item, (*where, "name"), "Service", name)
            elif found:
                port = mapped(backend.get("port"))
                ports = listed(found.get("spec", "ports"))
                if port and not any(one.get("port") == port.get("number") or (
                        port.get("name") and one.get("name") == port["name"]) for one in ports):
                    yield finding("REF-04", CLAUSE, Layer.DEPLOYMENT, item.locate((*where, "port")), item,
                                  expected=[one.get("port") for one in ports],
                                  actual=port.get("number") or port.get("name"))


def scaler(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    target = mapped(item.get("spec", "scaleTargetRef"))
    if target.get("name") and not there(subject, str(target.get("kind")), target["name"], item.namespace):
        yield lost(item, ("spec", "scaleTargetRef", "name"), str(target.get("kind")), target["name"])


def binding(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    role = mapped(item.get("roleRef"))
    # ClusterRoles are mostly the cluster's own.
    if role.get("kind") == "Role" and not there(subject, "Role", role.get("name"), item.namespace):
        yield lost(item, ("roleRef", "name"), "Role", role.get("name"))


BY_KIND = {
    "Service": service, "StatefulSet": stateful_set, "PodDisruptionBudget": selects_pods,
    "NetworkPolicy": selects_pods, "Ingress": ingress, "HorizontalPodAutoscaler": scaler, "RoleBinding": binding,
}
