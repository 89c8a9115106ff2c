"""Facts and a contract in, a report out."""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .checks import CHECKS, Subject, finding
from .codes import CODES
from .documents import leaves
from .facts import AppFacts, ImageFacts, ManifestFacts, Unchecked
from .model import SEVERITIES, Clause, Finding, Kind, Layer, Place, Related, Report
from .references import check_references
from .spec import Contract, Fixed
from .workloads import Cluster, containers, listed, mapped

KINDS = (Kind.VIOLATION, Kind.UNCHECKED, Kind.DRIFT, Kind.EXTERNAL)
"""Worst first."""

RENDERED = {Layer.CONFIG, Layer.DEPLOYMENT}
NEEDS: Mapping[str, set[Layer]] = {
    "PATH": {Layer.APP, Layer.IMAGE, *RENDERED}, "ENV": {Layer.APP, Layer.IMAGE, *RENDERED},
    "PORT": {Layer.APP, Layer.IMAGE, *RENDERED}, "PERM": {Layer.APP, Layer.IMAGE, *RENDERED},
    "VOL": RENDERED, "SEC": RENDERED, "IMG": RENDERED, "WORK": RENDERED, "REF": RENDERED,
}
"""What has to be looked at before it can be said that nothing of a code was found."""


def check(
    contract: Contract, *, app: AppFacts | None = None, images: Sequence[ImageFacts] = (),
    manifests: ManifestFacts | None = None, more: Iterable[Finding] = (), now: datetime.datetime,
    live: Iterable[Layer] = (), places: Sequence[tuple[str, str]] = (), facts: Mapping[str, Any] | None = None,
) -> Report:
    """Compare what was loaded with a contract.

    :param more: findings from elsewhere (repository hygiene, a living system).
    :param live: layers of a living system that were looked at for ``more``: the cluster shows whether what was declared
        runs, and is needed then before a clause can be said to hold.
    :param now: the time by which waivers expire.
    """
    subject = Subject(contract, app, images, manifests, Cluster(manifests.objects if manifests else ()))
    found = [one for run in CHECKS for one in run(subject)]
    found += check_references(subject)
    found += could_not_check(contract, app, images, manifests)
    found += more
    secrets = known_secrets(subject)
    found = [without_secrets(one, secrets) for one in one_layer_each(contract, once(found))]
    living = set(live)
    looked = looked_at(subject) | living
    found = waived(contract, found, looked, now.date())
    found.sort(key=order)
    names = list(names_of_clauses(contract, bool(living)))
    return Report(contract.name, contract.file, now, tuple(places), tuple(clauses(names, looked, found)),
                  tuple(found), {**(facts or {}), "fixed": fixed(contract, names, looked, found)})


def known_secrets(subject: Subject) -> list[str]:
    """Plain values of secrets in the rendered objects, the longest first: no finding repeats one. What the contract
    itself says is no secret."""
    contract = subject.contract
    names = {variable.name for _, container in contract.containers() for variable in container.variables.values()
             if any(source.startswith("Secret/") for source in variable.sources)}

    def secret(name: object) -> bool:
        return str(name) in names or any(one.knows(str(name)) for one in contract.secrets.values())

    values: list[object] = []
    for item in subject.cluster.objects:
        if item.kind == "Secret":
            values += [*mapped(item.body.get("data")).values(), *mapped(item.body.get("stringData")).values()]
        elif item.kind == "SealedSecret":
            values += mapped(item.get("spec", "template", "data")).values()
        elif item.kind == "ConfigMap":
            values += [value for key, value in mapped(item.body.get("data")).items() if secret(key)]
        for container in containers(item):
            values += [one.get("value") for one in listed(container.body.get("env")) if secret(one.get("name"))]
    texts = {value for value in values if isinstance(value, str) and len(value) > 2}
    public = {str(value) for _, value in leaves(contract.document.body)} if texts else set()
    return sorted((value for value in texts if not any(value in one for one in public)), key=len, reverse=True)


def without_secrets(one: Finding, secrets: Sequence[str]) -> Finding:
    """A finding in which no secret is told, and no user and password of an address."""
    def hidden(text: str) -> str:
        for value in secrets:
            text = text.replace(value, "***")
        return re.sub(r"(?<=//)[^/@\s]*:[^/@\s]*@", "***@", text)

    return replace(one, expected=hidden(one.expected), actual=hidden(one.actual),
                   values={name: hidden(value) for name, value in one.values.items()},
                   related=tuple(replace(where, role=hidden(where.role)) for where in one.related))


def order(one: Finding) -> tuple[Any, ...]:
    """Worst first, then by place, so that a report is the same each time."""
    return (one.waiver is not None, KINDS.index(one.kind), SEVERITIES.index(one.severity), one.clause, one.code,
            one.place or Place(""), one.subject)


def once(found: Iterable[Finding]) -> list[Finding]:
    """The same thing found twice (a variable on two ways) is one finding."""
    seen: dict[tuple[Any, ...], Finding] = {}
    for one in found:
        # Without a line, two of the same subject are told apart by their values alone.
        marks = () if one.place else tuple(one.marks.items())
        seen.setdefault((one.code, one.clause, one.layer, one.place, one.subject, one.expected, one.actual, marks), one)
    return list(seen.values())


def could_not_check(
    contract: Contract, app: AppFacts | None, images: Sequence[ImageFacts], manifests: ManifestFacts | None
) -> Iterator[Finding]:
    """What loaders could not resolve and the contract asks for."""
    asked = {"", "port", "ports", "user", *contract.app_container.variables}
    for folder in contract.paths.values():
        asked |= {folder.function, folder.path, folder.variable}
    groups: list[tuple[Layer, Sequence[Unchecked]]] = [
        (Layer.APP, app.unchecked if app else ()),
        *((Layer.IMAGE, image.unchecked) for image in images),
        (Layer.DEPLOYMENT, manifests.unchecked if manifests else ()),
    ]
    for layer, all_of in groups:
        for one in all_of:
            # A function that the contract does not name may depend on whatever it likes.
            named = one.about.rpartition(".")[2] in asked or any(map(one.concerns, asked))
            if layer is not Layer.DEPLOYMENT and not named:
                continue
            yield finding("CHECK-01", f"check.{layer.value}", layer, one.place, one.about or one.place.file,
                          actual="not resolved", expected="resolvable", reason=one.reason)


def one_layer_each(contract: Contract, found: Sequence[Finding]) -> list[Finding]:
    """Where several layers differ in the same clause, the one that wins is to be mended first (seed 000 B.1 7): the
    others are told of with it, and are found again if they still differ then."""
    groups: dict[str, list[Finding]] = {}
    for one in found:
        if CODES[one.code].alike:
            groups.setdefault(one.clause, []).append(one)
    merged: dict[int, Finding | None] = {}
    for alike in groups.values():
        if len(alike) < 2:
            continue
        ranks = contract.authority.get(CODES[alike[0].code].item, ())
        first = min(alike, key=lambda one: (ranks.index(one.layer) if one.layer in ranks else len(ranks),
                                            SEVERITIES.index(one.severity)))
        others = [one for one in alike if one is not first]
        merged.update({id(one): None for one in others})
        merged[id(first)] = replace(first, related=(*first.related, *(
            Related(f"also {one.actual} here ({one.layer.value})", one.place) for one in others if one.place)))
    return [kept for one in found if (kept := merged.get(id(one), one)) is not None]


def waived(
    contract: Contract, found: Sequence[Finding], looked: set[Layer], today: datetime.date
) -> list[Finding]:
    """Findings with their waivers; a waiver that has expired or covers nothing is a finding of its own."""
    result, used = [], set()
    for one in found:
        for number, waiver in enumerate(contract.waivers):
            if fnmatch.fnmatchcase(one.code, waiver.code) and fnmatch.fnmatchcase(one.subject, waiver.subject):
                used.add(number)
                if waiver.expires >= today:
                    one = replace(one, waiver=waiver)
                    break
        result.append(one)
    for number, waiver in enumerate(contract.waivers):
        values: dict[str, Any] = {"code": waiver.code, "owner": waiver.owner}
        layer = Layer.DEPLOYMENT
        if number in used and waiver.expires < today:
            result.append(finding("CHECK-02", "check.waivers", layer, waiver.place, waiver.subject,
                                  expected="a later date", actual=waiver.expires.isoformat(), related=(), **values))
        elif number not in used and looked >= NEEDS.get(waiver.code.partition("-")[0], set(Layer)):
            result.append(finding("CHECK-03", "check.waivers", layer, waiver.place, waiver.subject,
                                  expected="a finding", actual="none", related=(), **values))
    return result


def looked_at(subject: Subject) -> set[Layer]:
    """Layers of which something was given."""
    found = {Layer.APP} if subject.app else set()
    found |= {Layer.IMAGE} if subject.images else set()
    return found | (RENDERED if subject.manifests else set())


OF_NODES = ("folders", "disk", "timezone", "clock", "firewall")
OF_CLUSTERS = ("k3s", "api", "certificates", "nodes", "namespace", "storageClass", "pods", "events")
"""What is looked at on a living system besides what manifests say."""


def names_of_clauses(contract: Contract, living: bool = False) -> Iterator[tuple[str, set[Layer]]]:
    """Everything that the contract says, with the layers that have to agree in it; of a living system its own, too."""
    for name, needed in declared_clauses(contract):
        # Of what an app's source says, a living system shows what its pages answer.
        shows = needed & RENDERED or name.startswith("ports.app")
        yield name, needed | {Layer.CLUSTER} if living and shows else needed
    if living:
        yield from ((f"node.{name}", {Layer.NODE}) for name in OF_NODES)
        yield from ((f"cluster.{name}", {Layer.CLUSTER}) for name in OF_CLUSTERS)
        yield from ((name, {Layer.CLUSTER}) for name in ("volumes.released", "volumes.orphans", "images.running"))


def declared_clauses(contract: Contract) -> Iterator[tuple[str, set[Layer]]]:
    """What the contract says of files."""
    everywhere = {Layer.APP, Layer.IMAGE, *RENDERED}
    own = Subject(contract)
    for folder in contract.paths.values():
        yield f"paths.{folder.name}", everywhere
    for _, container in contract.containers():
        mine = container.name == contract.app.container
        for name in container.variables:
            clause = own.clause_of(name) if mine else f"environment.{name}"
            yield clause, everywhere if mine else RENDERED
    if contract.app.port:
        yield "ports.app", everywhere
    for route in contract.app.routes:
        yield f"ports.app{route}", {Layer.APP}
    for _, container in contract.containers():
        if container.ports:
            yield f"ports.{container.name}", RENDERED
        for probe in container.probes:
            yield f"ports.{container.name}.{probe}", RENDERED
        for target in container.volumes:
            yield f"volumes.{target}", RENDERED
        for name in container.permissions:
            yield f"permissions.{container.name}.{name}", RENDERED
        yield f"images.{container.name}", RENDERED
    for name in contract.services:
        yield f"ports.{name}", RENDERED
    for resource in contract.resources.values():
        if resource.type == "claim":
            yield f"volumes.{resource.name}", RENDERED
    yield "volumes.hostPath", RENDERED
    yield "volumes.sharing", RENDERED
    for workload in contract.workloads.values():
        if workload.fs_group is not None:
            yield f"permissions.{workload.name}.fsGroup", RENDERED
        yield f"workloads.{workload.name}", RENDERED
    yield "permissions.user", {Layer.IMAGE}
    if not contract.app.creates_folders:
        yield "permissions.folders", {Layer.APP}
    for name in contract.secrets:
        yield f"secrets.{name}", RENDERED
    yield "references", RENDERED


def clauses(
    names: Iterable[tuple[str, set[Layer]]], looked: set[Layer], found: Sequence[Finding]
) -> Iterator[Clause]:
    """Every clause and what was found of it; what is not in the contract comes last."""
    numbers: dict[str, list[int]] = {}
    for number, one in enumerate(found):
        numbers.setdefault(one.clause, []).append(number)
    layers: dict[str, set[Layer]] = {}
    for name, needed in names:
        layers.setdefault(name, set()).update(needed)
    for name in numbers:
        layers.setdefault(name, {found[number].layer for number in numbers[name]})
    for name, needed in layers.items():
        seen = needed & looked or {found[number].layer for number in numbers.get(name, ())}
        yield Clause(name, name.partition(".")[0], tuple(layer for layer in Layer if layer in seen),
                     tuple(numbers.get(name, ())))


def fixed(
    contract: Contract, names: Iterable[tuple[str, set[Layer]]], looked: set[Layer], found: Sequence[Finding]
) -> list[dict[str, Any]]:
    """The contracts that may never change, and whether each holds (seed 001); None where not all was looked at."""
    broken = {one.clause for one in found if one.kind is Kind.VIOLATION and not one.waiver}
    unknown = {one.clause for one in found if one.kind is Kind.UNCHECKED}
    unknown |= {name for name, needed in names if not needed <= looked}

    def touched(one: Fixed, those: set[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for name in those for pattern in one.clauses)

    return [{"number": one.number, "title": dict(one.title), "broken": dict(one.broken),
             "holds": False if touched(one, broken) else None if touched(one, unknown) else True}
            for one in contract.fixed]
