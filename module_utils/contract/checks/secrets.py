"""Secrets: names, makers and keys (fixed contract 3, CF-1, CF-2, CF-3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..facts import FieldPath, KubeObject
from ..model import Finding, Layer, Place, Related
from ..spec import Secret, Workload
from ..workloads import UNKNOWN_KEYS, containers, listed, mapped, plain_name
from .subject import Subject, declared, finding

Use = tuple[str, Place, Place | None, KubeObject]
"""A workload that takes a Secret: in words, where, where it says that it can do without, and the object."""


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Names, makers and keys of Secrets (fixed contract 3, CF-1, CF-2, CF-3)."""
    if not subject.manifests:
        return
    contract = subject.contract
    taken: dict[str, list[Use]] = {}
    for item in subject.cluster.workloads:
        for name, place, optional in secret_references(item):
            taken.setdefault(name, []).append((str(item), place, optional, item))
    for secret in contract.secrets.values():
        yield from contracted_secret(subject, secret, taken.get(secret.name, []))
    for name, uses in taken.items():
        if name not in contract.secrets:
            ours = [one for one in uses if one[3].name in contract.workloads]
            if ours and not ours[0][2]:
                meant = secrets_of(contract.workloads[ours[0][3].name])
                own = {one for one, _, _ in secret_references(ours[0][3])}
                expected = [one for one in meant if one not in own] or meant or list(contract.secrets)
                yield finding("SEC-01", f"secrets.{expected[0] if expected else name}", Layer.DEPLOYMENT, ours[0][1],
                              ours[0][0], expected=expected, actual=name, related=[declared(contract, "secrets")])
    for (_, name), made in subject.cluster.producers.items():
        if name not in taken and name not in contract.secrets and not served_elsewhere(subject, name):
            first = made[0]
            yield finding("SEC-10", f"secrets.{name}", Layer.CONFIG, first.made_by.locate(("metadata", "name")),
                          first.made_by, expected="a workload", actual=name)
    yield from pull_secrets(subject)


def secrets_of(workload: Workload) -> list[str]:
    """Names of the Secrets that the contract says a workload takes, those of its variables first."""
    sources = [source.split("/")[1] for container in workload.containers.values()
               for variable in container.variables.values() for source in variable.sources
               if source.startswith("Secret/")]
    return list(dict.fromkeys([*sources, *workload.pull_secrets]))


def served_elsewhere(subject: Subject, name: str) -> bool:
    """Secrets that an Ingress or a ServiceAccount takes."""
    return any(name in str(item.body) for item in subject.cluster.objects
               if item.kind in {"Ingress", "ServiceAccount", "Gateway", "HTTPRoute", "Certificate", "Issuer"})


def secret_references(item: KubeObject) -> Iterator[tuple[str, Place, Place | None]]:
    """Names of Secrets that a workload takes, where, and where it says that it can do without."""
    for name, reference, path in references_to_secrets(item):
        if reference.get(name):
            yield (plain_name(str(reference[name])), item.locate((*path, name)),
                   item.locate((*path, "optional")) if reference.get("optional") is True else None)


def references_to_secrets(item: KubeObject) -> Iterator[tuple[str, Mapping[str, Any], FieldPath]]:
    """The field that has the name, what it is in, and where that stands."""
    first = next(containers(item), None)
    if first is None:
        return
    for container in containers(item):
        for number, source in enumerate(listed(container.body.get("envFrom"))):
            yield "name", mapped(source.get("secretRef")), (*container.at, "envFrom", number, "secretRef")
        for number, one in enumerate(listed(container.body.get("env"))):
            yield ("name", mapped(mapped(one.get("valueFrom")).get("secretKeyRef")),
                   (*container.at, "env", number, "valueFrom", "secretKeyRef"))
    for number, one in enumerate(listed(first.pod.get("imagePullSecrets"))):
        yield "name", one, (*first.pod_at, "imagePullSecrets", number)
    for number, volume in enumerate(listed(first.pod.get("volumes"))):
        at: FieldPath = (*first.pod_at, "volumes", number)
        yield "secretName", mapped(volume.get("secret")), (*at, "secret")
        for source_at, source in enumerate(listed(mapped(volume.get("projected")).get("sources"))):
            yield "name", mapped(source.get("secret")), (*at, "projected", "sources", source_at, "secret")


def contracted_secret(
    subject: Subject, secret: Secret, uses: Sequence[Use]
) -> Iterator[Finding]:
    contract = subject.contract
    clause = f"secrets.{secret.name}"
    related = [declared(contract, "secrets", secret.name)]
    made = [one for (_, name), all_of in subject.cluster.producers.items() if name == secret.name for one in all_of]
    for words, place, optional, _ in uses:
        if optional:
            yield finding("SEC-04", clause, Layer.DEPLOYMENT, optional, words, expected="optional: false",
                          actual="optional: true", related=[*related, Related("consumed here", place)],
                          secret=secret.name)
    if not made and secret.by_hand:
        return
    if not made:
        others = sorted({name for _, name in subject.cluster.producers})
        near = next((all_of[0] for (_, name), all_of in subject.cluster.producers.items()
                     if name not in contract.secrets and all_of[0].type == secret.type), None)
        place = near.made_by.locate(("metadata", "name")) if near else uses[0][1] if uses else subject.root
        yield finding("SEC-02", clause, Layer.CONFIG, place, ", ".join(sorted({one[0] for one in uses})) or "nobody",
                      expected=secret.name, actual=others, related=[
                          *related, *(Related("consumed here", one[1]) for one in uses[:4])])
        return
    spaces = {one[3].namespace for one in uses}
    here = [one for one in made if not spaces or {one.namespace, ""} & spaces or not one.namespace]
    if not here:
        place = made[0].made_by.locate(("metadata", "namespace"))
        yield finding("SEC-02", clause, Layer.CONFIG, place, uses[0][0], expected=secret.name,
                      actual=f"{made[0].namespace}/{made[0].name}", related=[
                          *related, *(Related("consumed here", one[1]) for one in uses[:4])])
        return
    for one in here:
        # Beside a seal of the same name, too: which of them wins is chance.
        if secret.sealed and one.made_by.kind == "Secret":
            yield finding("SEC-06", clause, Layer.CONFIG, one.made_by.locate(("metadata", "name")), one.made_by,
                          expected="SealedSecret", actual="Secret", related=related)
    first = next((one for one in here if one.made_by.kind != "Secret"), here[0])
    item = first.made_by
    for key, where in first.keys.items():
        if where[:3] == ("spec", "template", "data") and plain_text(item.get(*where)):
            yield finding("SEC-06", clause, Layer.CONFIG, item.locate(where), item, expected="encryptedData",
                          actual=f"{key} in template.data", related=related)
    if first.type != secret.type:
        path: FieldPath = ("type",) if item.kind == "Secret" else ("spec", "template", "type")
        yield finding("SEC-07", clause, Layer.CONFIG, item.locate(path), item, expected=secret.type, actual=first.type,
                      related=related)
    if UNKNOWN_KEYS not in first.keys:
        parent: FieldPath = ("spec", "encryptedData") if item.kind == "SealedSecret" else ("data",)
        for number, key in enumerate(secret.required):
            if key not in first.keys:
                yield finding("SEC-03", clause, Layer.CONFIG, item.locate((*parent, key)), item, expected=key,
                              actual=sorted(first.keys), key=key,
                              related=[declared(contract, "secrets", secret.name, "required", number),
                                       *(Related("consumed here", one[1]) for one in uses[:2])])
        for key, path in first.keys.items():
            if not secret.knows(key):
                yield finding("SEC-09", clause, Layer.CONFIG, item.locate(path), item, actual=key, key=key,
                              related=related)
    if item.kind == "SealedSecret":
        yield from openable(item, first.namespace, clause, related)


def plain_text(value: Any) -> bool:  # noqa: ANN401
    """Whether a value of a seal's template is there for everybody to read, and not put together from sealed ones."""
    return isinstance(value, str) and bool(value.strip()) and "{{" not in value


def openable(item: KubeObject, namespace: str, clause: str, related: list[Related]) -> Iterator[Finding]:
    """Name and namespace are part of what is sealed, unless an annotation widens the scope."""
    metadata = mapped(item.get("spec", "template", "metadata"))
    wide = [scope for scope in ("namespace-wide", "cluster-wide") if mapped(item.get("metadata", "annotations")).get(
        f"sealedsecrets.bitnami.com/{scope}") == "true"]
    for name, own in (("name", item.name), ("namespace", namespace)):
        inner = metadata.get(name)
        free = "cluster-wide" in wide or (wide and name == "name")
        if inner is not None and own and inner != own and not free:
            yield finding("SEC-08", clause, Layer.CONFIG, item.locate(("spec", "template", "metadata", name)), item,
                          expected=f"{name} {inner}", actual=f"{name} {own}", related=related)


def pull_secrets(subject: Subject) -> Iterator[Finding]:
    contract = subject.contract
    for workload in contract.workloads.values():
        item = subject.workload(workload)
        first = next(containers(item), None) if item else None
        if item is None or first is None:
            continue
        named = [one.get("name") for one in listed(first.pod.get("imagePullSecrets"))]
        account = subject.cluster.find("ServiceAccount", str(first.pod.get("serviceAccountName", "")), item.namespace)
        named += [one.get("name") for one in listed(account.body.get("imagePullSecrets"))] if account else []
        for number, name in enumerate(workload.pull_secrets):
            if name not in named:
                path: FieldPath = (*first.pod_at, "imagePullSecrets")
                path = (*path, 0, "name") if named else path
                yield finding("SEC-05", f"secrets.{name}", Layer.DEPLOYMENT, item.locate(path), item, expected=name,
                              actual=named, related=[declared(contract, "workloads", workload.name, "imagePullSecrets",
                                                              number)])
