"""4. Volumes: mounts, what is behind them, and who may share it (seed 001 1-2, CF-4, CF-7)."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from ..facts import FieldPath, KubeObject
from ..model import Finding, Layer, Place, Related
from ..spec import Container, Mount, Resource, Workload
from ..workloads import PodContainer, containers, listed, mapped, plain_name, quantity
from .paths import same_path
from .subject import Subject, declared, finding


def check_volumes(subject: Subject) -> Iterator[Finding]:
    """Mounts, what is behind them, and who may share it (seed 001 1-2, CF-4, CF-7)."""
    if not subject.manifests:
        return
    contract = subject.contract
    for workload, container in contract.containers():
        rendered = subject.container(workload, container.name)
        if rendered:
            yield from mounts(subject, workload, container, rendered)
    for resource in contract.resources.values():
        if resource.type == "claim":
            yield from claim(subject, resource)
    for item in subject.cluster.workloads:
        yield from folders_of_a_node(item)
        yield from shared_volumes(subject, item)
    yield from shared_claims(subject)
    for wanted in contract.workloads.values():
        found = subject.workload(wanted)
        for one in containers(found) if found else ():
            if one.name not in wanted.containers:
                yield from undeclared_mounts(one, {})


def mounts(
    subject: Subject, workload: Workload, container: Container, rendered: PodContainer
) -> Iterator[Finding]:
    contract = subject.contract
    found = {posixpath.normpath(str(mount.get("mountPath", ""))): (number, mount) for number, mount in rendered.mounts}
    used = {str(mount.get("name")) for target, (_, mount) in found.items() if target in container.volumes
            and volume_fits(subject, rendered, mount, contract.resources[container.volumes[target].source])}
    for target, wanted in container.volumes.items():
        clause = f"volumes.{target}"
        related = [declared(contract, "workloads", workload.name, "containers", container.name, "volumes", target)]
        if target not in found:
            near = next((number for number, mount in rendered.mounts
                         if volume_fits(subject, rendered, mount, contract.resources[wanted.source]) and
                         posixpath.normpath(str(mount.get("mountPath", ""))) not in container.volumes), None)
            place = rendered.locate("volumeMounts") if near is None else \
                rendered.locate("volumeMounts", near, "mountPath")
            yield finding("VOL-01", clause, Layer.DEPLOYMENT, place, rendered.workload, expected=target,
                          actual="missing" if near is None else
                          mapped(listed(rendered.body.get("volumeMounts"))[near]).get("mountPath"), related=related,
                          container=container.name, source=wanted.source)
            continue
        yield from one_mount(subject, rendered, wanted, found[target], used, clause, related)
    yield from undeclared_mounts(rendered, container.volumes)


def undeclared_mounts(rendered: PodContainer, declared_ones: Mapping[str, Mount]) -> Iterator[Finding]:
    """Mounts that the contract does not know: it can be written there."""
    for number, mount in rendered.mounts:
        target = posixpath.normpath(str(mount.get("mountPath", "")))
        if target not in declared_ones:
            behind = rendered.volume(str(mount.get("name", "")))
            yield finding("VOL-03", f"volumes.{target}", Layer.DEPLOYMENT,
                          rendered.locate("volumeMounts", number, "mountPath"), rendered.workload, actual=target,
                          container=rendered.name, source=described(behind[0]) if behind else mount.get("name"))


def one_mount(
    subject: Subject, rendered: PodContainer, wanted: Mount, found: tuple[int, Mapping[str, Any]], used: set[str],
    clause: str, related: list[Related],
) -> Iterator[Finding]:
    """A mount at the right target. ``used``: volumes that are mounted where they belong."""
    number, mount = found
    resource = subject.contract.resources[wanted.source]
    values: dict[str, Any] = {"container": rendered.name, "target": wanted.target}
    behind = rendered.volume(str(mount.get("name", "")))
    if behind and not volume_fits(subject, rendered, mount, resource):
        # Which of the two is wrong: the mount's name, when the right volume is there under another.
        right = any(volume_fits(subject, rendered, {"name": one.get("name")}, resource)
                    for one in listed(rendered.pod.get("volumes")) if one.get("name") not in used)
        place = rendered.locate("volumeMounts", number, "name") if right else \
            rendered.workload.locate((*behind[1], *source_path(behind[0])))
        yield finding("VOL-02", clause, Layer.DEPLOYMENT, place, rendered.workload, expected=expected_source(resource),
                      actual=described(behind[0]), related=related, **values)
    elif behind and resource.type == "hostPath":
        yield from host_path(rendered, resource, behind, clause, related)
    if (read_only := mount.get("readOnly", False) is True) != wanted.read_only:
        yield finding("VOL-04", clause, Layer.DEPLOYMENT, rendered.locate("volumeMounts", number, "readOnly"),
                      rendered.workload, expected=wanted.read_only, actual=read_only, related=related, **values)
    elif behind and mapped(behind[0].get("persistentVolumeClaim")).get("readOnly") is True and not wanted.read_only:
        yield finding("VOL-04", clause, Layer.DEPLOYMENT,
                      rendered.workload.locate((*behind[1], "persistentVolumeClaim", "readOnly")), rendered.workload,
                      expected=False, actual=True, related=related, **values)
    field_name = "subPathExpr" if mount.get("subPathExpr") else "subPath"
    if (sub_path := str(mount.get(field_name) or "")) != wanted.sub_path:
        yield finding("VOL-13", clause, Layer.DEPLOYMENT, rendered.locate("volumeMounts", number, field_name),
                      rendered.workload, expected=wanted.sub_path or None, actual=sub_path or None, related=related,
                      **values)


def host_path(
    rendered: PodContainer, resource: Resource, behind: tuple[Mapping[str, Any], FieldPath], clause: str,
    related: list[Related],
) -> Iterator[Finding]:
    volume, at = behind
    for name in ("path", "type"):
        expected = resource.params.get(name)
        actual = mapped(volume.get("hostPath")).get(name)
        same = same_path(str(actual), str(expected)) if name == "path" and actual else actual == expected
        if expected is not None and not same:
            yield finding("VOL-09", clause, Layer.DEPLOYMENT, rendered.workload.locate((*at, "hostPath", name)),
                          rendered.workload, expected=expected, actual=actual, related=related,
                          name=volume.get("name"), field=f"hostPath {name}")


def volume_fits(subject: Subject, rendered: PodContainer, mount: Mapping[str, Any], resource: Resource) -> bool:
    """Whether what is behind a mount is the resource. A hostPath's own fields are compared one by one elsewhere."""
    behind = rendered.volume(str(mount.get("name", "")))
    if behind is None:
        return False
    volume = behind[0]
    if resource.type == "claim":
        return bool(mapped(volume.get("persistentVolumeClaim")).get("claimName") == resource.name)
    if resource.type == "configMap":
        return plain_name(str(mapped(volume.get("configMap")).get("name"))) == str(resource.params["name"])
    if resource.type == "secret":
        return plain_name(str(mapped(volume.get("secret")).get("secretName"))) == str(resource.params["name"])
    return resource.type in volume


def expected_source(resource: Resource) -> str:
    if resource.type == "claim":
        return f"claim {resource.name}"
    behind = resource.params.get("path") or resource.params.get("name") or ""
    return f"{resource.type} {behind}".strip()


def described(volume: Mapping[str, Any]) -> str:
    """What is behind a volume, in words."""
    if claim_of := mapped(volume.get("persistentVolumeClaim")):
        return f"claim {claim_of.get('claimName')}"
    for kind, name in (("hostPath", "path"), ("configMap", "name"), ("secret", "secretName")):
        if kind in volume:
            return f"{kind} {mapped(volume[kind]).get(name)}"
    return next((str(kind) for kind in volume if kind != "name"), "nothing")


def source_path(volume: Mapping[str, Any]) -> FieldPath:
    if "persistentVolumeClaim" in volume:
        return ("persistentVolumeClaim", "claimName")
    return next(((str(kind),) for kind in volume if kind != "name"), ())


def claim(subject: Subject, resource: Resource) -> Iterator[Finding]:
    contract = subject.contract
    clause = f"volumes.{resource.name}"
    related = [declared(contract, "resources", resource.name)]
    found = claim_object(subject, resource.name)
    if found is None:
        near = next((one for one in subject.cluster.objects if one.kind == "PersistentVolumeClaim"
                     and one.name not in contract.resources), None)
        other = next((one for one in subject.cluster.objects if one.name == resource.name), None)
        yield finding("VOL-05", clause, Layer.DEPLOYMENT, other.locate(("kind",)) if other else
                      near.locate(("metadata", "name")) if near else subject.root,
                      f"PersistentVolumeClaim {resource.name}", expected=resource.name,
                      actual=other or (near.name if near else "missing"), related=related)
        return
    item, at = found
    size = item.get(*at, "spec", "resources", "requests", "storage")
    if quantity(size) != quantity(resource.params["storage"]):
        yield finding("VOL-06", clause, Layer.DEPLOYMENT,
                      item.locate((*at, "spec", "resources", "requests", "storage")), item,
                      expected=resource.params["storage"], actual=size, related=related)
    modes = item.get(*at, "spec", "accessModes")
    if not isinstance(modes, list) or sorted(map(str, modes)) != sorted(resource.params["accessModes"]):
        path: FieldPath = (*at, "spec", "accessModes")
        path = (*path, 0) if isinstance(modes, list) and len(modes) == 1 else path
        yield finding("VOL-07", clause, Layer.DEPLOYMENT, item.locate(path), item,
                      expected=resource.params["accessModes"], actual=modes, related=related)
    storage_class = item.get(*at, "spec", "storageClassName")
    default = contract.cluster.get("storageClass", {})
    implied = default.get("name") if default.get("default") else None
    if resource.storage_class and (implied if storage_class is None else storage_class) != resource.storage_class:
        yield finding("VOL-08", clause, Layer.DEPLOYMENT, item.locate((*at, "spec", "storageClassName")), item,
                      expected=resource.storage_class, actual=storage_class, related=related)


def claim_object(subject: Subject, name: str) -> tuple[KubeObject, FieldPath] | None:
    """A claim, or the claim template that makes it for a StatefulSet."""
    # In a StatefulSet the template wins over a claim, and over a volume, of its name.
    for item in subject.cluster.workloads:
        for number, template in enumerate(listed(item.get("spec", "volumeClaimTemplates"))):
            if mapped(template.get("metadata")).get("name") == name:
                return item, ("spec", "volumeClaimTemplates", number)
    for item in subject.cluster.objects:
        if item.kind == "PersistentVolumeClaim" and item.name == name:
            return item, ()
    return None


def folders_of_a_node(item: KubeObject) -> Iterator[Finding]:
    """CF-4: volumes that are no claims but folders of a node."""
    first = next(containers(item), None)
    if first is None:
        return
    for number, volume in enumerate(listed(first.pod.get("volumes"))):
        if "hostPath" in volume:
            own = mapped(volume["hostPath"])
            yield finding("VOL-10", "volumes.hostPath", Layer.DEPLOYMENT,
                          item.locate((*first.pod_at, "volumes", number, "hostPath")),
                          f"{item} {volume.get('name')}", actual=own.get("path"), name=volume.get("name"), owner=item,
                          type=own.get("type") or "no type", expected="PersistentVolumeClaim")


def shared_volumes(subject: Subject, item: KubeObject) -> Iterator[Finding]:
    """CF-7: several pods, or an old and a new one, on volumes that one node has."""
    if item.kind not in {"Deployment", "ReplicaSet", "StatefulSet"}:
        return
    first = next(containers(item), None)
    # A StatefulSet makes a claim of its templates for each pod.
    single = [] if first is None else list(single_node(subject, item, first, templates=False))
    if not single or first is None:
        return
    words = ", ".join(words for words, _ in single)
    related = [Related("shared", place) for _, place in single[:3]]
    replicas = item.get("spec", "replicas")
    replicas = 1 if replicas is None else replicas
    if isinstance(replicas, int) and replicas > 1:
        yield finding("VOL-11", "volumes.sharing", Layer.DEPLOYMENT, item.locate(("spec", "replicas")), item,
                      expected="1", actual=replicas, related=related, source=words)
    for scaler in subject.cluster.scalers.get((item.namespace, item.kind, item.name), ()):
        most = scaler.get("spec", "maxReplicas")
        if isinstance(most, int) and most > 1:
            yield finding("VOL-11", "volumes.sharing", Layer.DEPLOYMENT, scaler.locate(("spec", "maxReplicas")), item,
                          expected="1", actual=most, related=related, source=words)
    if item.kind != "Deployment":
        return
    strategy = item.get("spec", "strategy", "type") or "RollingUpdate"
    surge = item.get("spec", "strategy", "rollingUpdate", "maxSurge")
    if strategy == "RollingUpdate" and surge not in (0, "0", "0%") and replicas:
        yield finding("VOL-12", "volumes.sharing", Layer.DEPLOYMENT, item.locate(("spec", "strategy", "type")), item,
                      expected="Recreate", actual=strategy, related=related, source=words)


def shared_claims(subject: Subject) -> Iterator[Finding]:
    """Claims of one node that several workloads write to."""
    users: dict[tuple[str, str], list[tuple[KubeObject, FieldPath]]] = {}
    for item in subject.cluster.workloads:
        if first := next(containers(item), None):
            for number, volume in enumerate(listed(first.pod.get("volumes"))):
                own = mapped(volume.get("persistentVolumeClaim"))
                if own.get("claimName") and own.get("readOnly") is not True:
                    at: FieldPath = (*first.pod_at, "volumes", number, "persistentVolumeClaim", "claimName")
                    users.setdefault((item.namespace, str(own["claimName"])), []).append((item, at))
    for (namespace, name), all_of in users.items():
        found = subject.cluster.find("PersistentVolumeClaim", name, namespace)
        modes = found.get("spec", "accessModes") if found else None
        if len(all_of) < 2 or not isinstance(modes, list) or "ReadWriteMany" in modes:
            continue
        known = subject.contract.workloads
        # The one that the contract does not know is the one too many.
        all_of.sort(key=lambda one: one[0].name not in known)
        item, at = all_of[-1]
        yield finding("VOL-14", "volumes.sharing", Layer.DEPLOYMENT, item.locate(at), item, expected=str(all_of[0][0]),
                      actual=[str(one) for one, _ in all_of], name=name,
                      related=[Related("shared", one.locate(where)) for one, where in all_of[:-1][:3]])


def single_node(
    subject: Subject, item: KubeObject, first: PodContainer, *, templates: bool = True
) -> Iterator[tuple[str, Place]]:
    """Volumes of a pod that cannot be written from two nodes, those of claim templates among them."""
    for number, template in enumerate(listed(item.get("spec", "volumeClaimTemplates")) if templates else ()):
        yield f"RWO PVC {mapped(template.get('metadata')).get('name')}", item.locate(
            ("spec", "volumeClaimTemplates", number))
    for number, volume in enumerate(listed(first.pod.get("volumes"))):
        at: FieldPath = (*first.pod_at, "volumes", number)
        if "hostPath" in volume:
            yield f"hostPath {mapped(volume['hostPath']).get('path')}", item.locate((*at, "hostPath"))
        name = mapped(volume.get("persistentVolumeClaim")).get("claimName")
        found = subject.cluster.find("PersistentVolumeClaim", str(name), item.namespace) if name else None
        modes = found.get("spec", "accessModes") if found else None
        if found and isinstance(modes, list) and not set(map(str, modes)) & {"ReadWriteMany", "ReadOnlyMany"}:
            mode = "RWOP" if modes == ["ReadWriteOncePod"] else "RWO"
            yield f"{mode} PVC {name}", found.locate(("spec", "accessModes"))
