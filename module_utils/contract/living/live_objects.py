"""What runs, in the form in which manifests are checked: so that every rule of the contract holds for it, too.

A field of a live object has the place of the file in git that decides it, when git renders the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..checks import CHECKS, Subject, finding
from ..codes import sentence
from ..facts import FieldPath, KubeObject, ManifestFacts
from ..model import Finding, Place
from ..references import check_references
from ..spec import Contract
from ..workloads import Cluster, mapped

NOWHERE = Place("")
GIVEN = ("kube-root-ca.crt",)
"""ConfigMaps that Kubernetes makes."""

BY_ITEM = {"PATH": "LIVE-51", "ENV": "LIVE-52", "PORT": "LIVE-53", "VOL": "LIVE-54", "PERM": "LIVE-55",
           "SEC": "LIVE-56", "IMG": "LIVE-57", "WORK": "LIVE-58", "REF": "LIVE-59"}
"""The code of a broken rule by the first part of the rule's own code."""

SAID_ELSEWHERE = {"SEC-02", "SEC-03", "SEC-06", "SEC-07", "SEC-08", "SEC-10", "REF-03", "REF-07", "PORT-12"}
"""Of Secrets and endpoints there is more to say than files can."""

COLLECTED = ("ConfigMap", "PersistentVolumeClaim", "Service", "Secret")
"""Kinds of which it is known that one is missing."""


def live_objects(cluster: Mapping[str, Any], git: Git) -> list[KubeObject]:
    """The objects of the namespace from ClusterFacts."""
    space = str(cluster["namespace"])

    def made(kind: str, name: str, **body: Any) -> KubeObject:  # noqa: ANN401
        full = {"kind": kind, "metadata": {"name": name, "namespace": space}, **body}
        return KubeObject(full, git.places(kind, name, full))

    found = [made(one["kind"], one["name"], apiVersion="apps/v1", spec=one["spec"]) for one in cluster["workloads"]]
    found += [made("PersistentVolumeClaim", one["name"], spec={
        "accessModes": one["access_modes"], "storageClassName": one["class"],
        "resources": {"requests": {"storage": one["storage"]}}}) for one in cluster["claims"]]
    found += [made("Service", one["name"], spec={
        "type": one["type"], "selector": one["selector"], "clusterIP": one["cluster_ip"], "ports": one["ports"],
    }) for one in cluster["services"]]
    found += [made("ConfigMap", name, data=data) for name, data in cluster["config_maps"].items() if name not in GIVEN]
    # By whom a Secret was made is looked at elsewhere; here it only gives its keys.
    found += [made("SealedSecret", name, spec={
        "encryptedData": dict.fromkeys(one["keys"], "***"), "template": {"type": one["type"]},
    }) for name, one in cluster["secrets"].items()]
    return found


@dataclass(frozen=True)
class Git:
    """What git renders, None where nobody has rendered it."""

    contract: Contract
    manifests: ManifestFacts | None

    @cached_property
    def objects(self) -> dict[tuple[str, str], KubeObject]:
        return {(item.kind, item.name): item for item in (self.manifests.objects if self.manifests else ())}

    def place(self, kind: str, name: str, *path: str | int) -> Place | None:
        """Where git says something of an object; None when it does not know it."""
        item = self.objects.get((kind, name))
        return item.locate(path) if item else None

    def places(self, kind: str, name: str, live: Mapping[str, Any]) -> Callable[[FieldPath], Place]:
        """The function ``locate`` of a live object."""
        def locate(path: FieldPath) -> Place:
            item = self.objects.get((kind, name))
            if item is None:
                return self.manifests.root if self.manifests else NOWHERE
            return item.locate(same_path(path, live, item.body))

        return locate

    @cached_property
    def broken(self) -> set[tuple[str, ...]]:
        """The rules that what git renders breaks itself."""
        if self.manifests is None:
            return set()
        return {mark(one) for one in rules(self.contract, self.manifests)}

    def words(self, one: Finding, environment: str) -> dict[str, str]:
        """What to add to a finding about a live object, and how to mend it, in both languages."""
        said = {f"said_{language}": sentence(one, "message", language) for language in ("en", "ko")}
        remedy = {f"mend_{language}": sentence(one, "remedy", language) for language in ("en", "ko")}
        if self.manifests is None:
            return {**said, **remedy, "git": "unknown"}
        if mark(one) in self.broken:
            return {"said_en": f"{said['said_en']} Git itself says so.",
                    "said_ko": f"{said['said_ko']} Git에도 그렇게 되어 있다.",
                    "mend_en": f"In {one.place}: {remedy['mend_en']} Then run {again(environment)}.",
                    "mend_ko": f"{one.place}: {remedy['mend_ko']} 이후 {again(environment)}을(를) 실행한다.",
                    "git": "wrong"}
        return {"said_en": f"{said['said_en']} Git has it right, and the cluster runs something else.",
                "said_ko": f"{said['said_ko']} Git은 올바르며 클러스터가 다르게 실행 중이다.",
                "mend_en": f"Run {again(environment)}: it puts right what was changed by hand.",
                "mend_ko": f"{again(environment)}을(를) 실행하여 선언된 상태로 되돌린다.", "git": "right"}


INVENTORIES = {"production": "prod"}
"""Inventories that are not called like their environment."""


def again(environment: str) -> str:
    """The command that makes the cluster what git says."""
    return f"`ansible-playbook site.yml -i inventories/{INVENTORIES.get(environment, environment) or '<env>'}`"


def same_path(path: FieldPath, live: Any, git: Any) -> FieldPath:  # noqa: ANN401
    """A field's path in git's object: items of lists are found by name, for the API server puts others between them.
    Where git has nothing of it the path ends."""
    found: list[str | int] = []
    for step in path:
        if isinstance(step, int) and isinstance(live, list) and isinstance(git, list):
            item = live[step] if step < len(live) else None
            at = next((number for number, one in enumerate(git) if alike(one, item)), None)
            if at is None:
                break
            found.append(at)
            live, git = item, git[at]
            continue
        found.append(step)
        live = live.get(step) if isinstance(live, Mapping) else None
        git = git.get(step) if isinstance(git, Mapping) else None
    return tuple(found)


def alike(one: object, other: object) -> bool:
    """Whether two items of lists are the same one."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one == other
    for key in ("mountPath", "name", "containerPort", "port", "configMapRef", "secretRef", "metadata"):
        if key in other:
            own, others = one.get(key), other[key]
            if isinstance(others, Mapping):
                return mapped(own).get("name") == others.get("name")
            return bool(own == others)
    return one == other


def mark(one: Finding) -> tuple[str, ...]:
    """What makes a finding about a live object the same as one about git's."""
    return (one.code, one.clause, one.subject.rpartition("/")[2], one.actual, one.expected,
            one.values.get("container", ""))


def rules(contract: Contract, manifests: ManifestFacts) -> Iterator[Finding]:
    """Everything that objects break of the contract, waived things left out."""
    subject = Subject(contract, manifests=manifests, cluster=Cluster(manifests.objects))
    found = [one for check in (*CHECKS, check_references) for one in check(subject)]
    shared = {one.subject for one in found if one.code == "VOL-11"}
    for one in found:
        kind, _, name = one.expected.partition(" ")
        known = one.code != "REF-01" or kind in COLLECTED
        twice = one.code == "REF-01" and kind == "PersistentVolumeClaim" and name in contract.resources
        # One pod too many on a volume says more than one pod too many.
        fewer = one.code == "WORK-03" and one.values.get("field") == "replicas" and one.subject in shared
        if one.code not in SAID_ELSEWHERE and known and not twice and not fewer and not waived(contract, one):
            yield one


def waived(contract: Contract, one: Finding) -> bool:
    """Whether somebody answers for it. A waiver that has expired is told of where the files are checked."""
    from fnmatch import fnmatchcase

    return any(fnmatchcase(one.code, waiver.code) and fnmatchcase(one.subject, waiver.subject)
               for waiver in contract.waivers)


@dataclass(frozen=True)
class Live:
    """The rules of the contract, applied to what runs."""

    contract: Contract
    objects: Sequence[KubeObject]
    git: Git
    environment: str = field(default="")

    def findings(self) -> Iterator[Finding]:
        """Findings LIVE-51 to LIVE-59, with the clause, severity and layer of the rule that is broken."""
        for one in rules(self.contract, ManifestFacts(tuple(self.objects), NOWHERE)):
            words = self.git.words(one, self.environment)
            place = one.place if one.place and one.place.file else None
            related = [where for where in one.related if where.place.file]
            values = {**one.values, **words, "rule": one.code}
            # Whoever has to put it right by hand can: until then the layer is the one that owns the object.
            yield replace(finding(BY_ITEM[one.code.partition("-")[0]], one.clause, one.layer, place, one.subject,
                                  related=related, severity=one.severity, kind=one.kind),
                          expected=one.expected, actual=one.actual, values=values)
