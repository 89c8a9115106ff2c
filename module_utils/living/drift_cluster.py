"""The part of the state that lies in the cluster: which objects are declared, and who has written to which.

Kubernetes keeps for every field who wrote it last and when (``managedFields``). What this project declares is written
by the manager ``observer-node``; the system's own programs have names of their own; all else was somebody's hand.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from .api import ApiProblem

Object = dict[str, Any]

MANAGER = "observer-node"

SYSTEM = re.compile(
    r"kubelet|kube-apiserver|kube-controller-manager|kube-scheduler|kube-proxy|cloud-controller-manager|flanneld"
    r"|local-path-provisioner|sealed-secrets-controller|controller|clusterrole-aggregation-controller"
    r"|api-priority-and-fairness-config-(consumer|producer)-v1|(kubernetes-)?service-cidr-controller"
    # K3s is all of the above in one program; its own controllers bear the node's name behind theirs.
    r"|(k3s|dynamiclistener|helm-controller|rancher-)[\w@.-]*|(deploy|supervisor|[\w-]*controller)@.+"
)
"""Managers whose fields are results, not edits (``controller`` is sealed-secrets' program)."""

SECRETS = "/api/v1/secrets"

KINDS = (
    "/api/v1/namespaces", "/api/v1/nodes", "/api/v1/persistentvolumes", SECRETS, "/api/v1/configmaps",
    "/api/v1/serviceaccounts", "/api/v1/services", "/api/v1/pods", "/api/v1/persistentvolumeclaims",
    "/api/v1/resourcequotas", "/api/v1/limitranges", "/api/v1/replicationcontrollers", "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets", "/apis/apps/v1/daemonsets", "/apis/apps/v1/replicasets", "/apis/batch/v1/jobs",
    "/apis/batch/v1/cronjobs", "/apis/networking.k8s.io/v1/networkpolicies", "/apis/networking.k8s.io/v1/ingresses",
    "/apis/networking.k8s.io/v1/ingressclasses", "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/policy/v1/poddisruptionbudgets", "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/apiregistration.k8s.io/v1/apiservices",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
)
"""What is looked at in all namespaces, besides everything that a CustomResourceDefinition adds."""

NO_VALUES = frozenset({"Secret", "SealedSecret", "CustomResourceDefinition"})
"""Kinds whose fields are told by name only."""

TOLERATED = re.compile(
    # Asks for new pods, not for other ones; binds a claim to the volume that it had; what kubectl keeps for itself.
    r".*annotations\[kubectl\.kubernetes\.io/(restartedAt|last-applied-configuration)\]|spec\.(volumeName|claimRef.*)"
    r"|metadata\.(generateName|finalizers.*|ownerReferences.*)"
)

SECRET_NAME = re.compile(r"PASSW|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|DSN|PRIVATE|CERT", re.IGNORECASE)
USER_IN_URL = re.compile(r"//[^/@\s]*:[^/@\s]*@")
HIDDEN = "(not shown)"
LONGEST = 120
"""Characters of a value that are shown."""


class Reads(Protocol):
    """What is needed of ``living.api.Api``."""

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """:raises ApiProblem: there is no answer, or it is an error."""


def snapshot(api: Reads, key: bytes, known: Mapping[str, Any] | None = None) -> Object:
    """All objects that say something.

    Objects that a controller made for another object are left out, as is what every cluster has from the start. Each of
    the rest, by its title: ``ours``, ``uid``, ``created`` (epoch), ``fields`` of ours with their values and the
    ``sets`` of fields that they are, ``others``: who else wrote which fields, ``by``: who made an object that is not
    ours, ``unowned``: what is in fields that were ours and now are nobody's. ``kinds`` are those that were listed.

    :param key: hides values: of a secret only a keyed hash is kept.
    :param known: the objects of an earlier snapshot.
    :raises ApiProblem: the API server does not answer, or does not list the Secrets: who does not know what is secret
        can show nothing.
    """
    errors = []
    kinds: set[str] = set()
    items: list[tuple[str, Object]] = []
    secrets: dict[str, bool] = {}
    paths = list(KINDS)
    while paths:
        path = paths.pop(0)
        try:
            listing = api.get(path)
        except ApiProblem as error:
            if not error.server or error.kind in ("unauthorized", "certificate") or path == SECRETS:
                raise
            if error.kind != "missing":
                errors.append({"about": path, "why": str(error)})
            continue
        kind = str(listing.get("kind", "")).removesuffix("List")
        kinds.add(kind)
        for item in listing.get("items") or []:
            if kind == "Secret":
                secrets |= values_of(item)
            elif kind == "CustomResourceDefinition":
                paths += instances(item)
            if not unremarkable(kind, item):
                items.append((kind, item))
    # The database's user may well be called like the app, and then everybody knows it.
    names = " ".join(title(kind, item) for kind, item in items)
    hidden = {value for value, certain in secrets.items() if certain or value not in names}
    return {"answers": True, "why": "", "errors": errors, "kinds": sorted(kinds),
            "objects": {title(kind, item): describe(kind, item, key, hidden, (known or {}).get(title(kind, item)))
                        for kind, item in items}}


def instances(definition: Object) -> list[str]:
    """The path under which the objects of a CustomResourceDefinition are listed."""
    spec = definition.get("spec") or {}
    version = next((one["name"] for one in spec.get("versions") or [] if one.get("served")), "")
    return [f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"] if version else []


def values_of(secret: Object) -> dict[str, bool]:
    """A Secret's values, as text, and whether their name alone makes them secret."""
    found: dict[str, bool] = {}
    for name, value in (secret.get("data") or {}).items():
        text = base64.b64decode(value, validate=False).decode(errors="replace").strip()
        texts = [text, str(value), *re.findall(r'"(?:password|auth)": ?"([^"]+)"', text)]
        found |= {one: bool(SECRET_NAME.search(name)) or one != text for one in texts if len(one) > 3}
    return found


def title(kind: str, item: Object) -> str:
    """``Deployment observer-prod/observer``; without a namespace ``StorageClass local-path``."""
    namespace = item["metadata"].get("namespace")
    return f"{kind} {namespace + '/' if namespace else ''}{item['metadata']['name']}"


def unremarkable(kind: str, item: Object) -> bool:
    """Whether an object is a controller's or every cluster's, and so nobody's to declare."""
    metadata = item["metadata"]
    name = str(metadata["name"])
    return bool(
        any(owner.get("controller") for owner in metadata.get("ownerReferences") or [])
        # The pods of a file on the node; that file is among the files.
        or (kind == "Pod" and "kubernetes.io/config.mirror" in (metadata.get("annotations") or {}))
        or (kind == "ServiceAccount" and name == "default")
        or (kind == "ConfigMap" and name == "kube-root-ca.crt")
        or (kind == "Secret" and name.endswith(".node-password.k3s"))
        # Sealed-secrets makes itself a new key every month.
        or (kind == "Secret" and "sealedsecrets.bitnami.com/sealed-secrets-key" in (metadata.get("labels") or {})
            and not any(entry.get("manager") == MANAGER for entry in metadata.get("managedFields") or []))
    )


def describe(
    kind: str, item: Object, key: bytes, secrets: set[str], known: Mapping[str, Any] | None = None,
) -> Object:
    """One object, without what nobody has to know of it."""
    metadata = item["metadata"]
    written = [entry for entry in metadata.get("managedFields") or [] if entry.get("subresource") != "status"]
    fields: dict[str, str] = {}
    others: dict[str, dict[str, Any]] = {}
    for entry in written:
        manager = str(entry.get("manager", ""))
        for path, value in leaves(entry.get("fieldsV1") or {}, item):
            if TOLERATED.fullmatch(path) or path.startswith("status"):
                continue
            text = shown(kind, path, value, key, secrets)
            if manager == MANAGER:
                fields[path] = text
            else:
                others[path] = {"by": manager, "at": epoch(entry.get("time")), "value": text,
                                "system": system(kind, manager, path)}
    ours = any(entry.get("manager") == MANAGER for entry in written)
    made = next((entry for entry in written if not system(kind, str(entry.get("manager", "")), "")), None)
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    release = annotations.get("meta.helm.sh/release-name") or (
        labels.get("name") if labels.get("owner") == "helm" else "")
    result: Object = {"ours": ours, "uid": metadata.get("uid"), "created": epoch(metadata.get("creationTimestamp")),
                      "managed": bool(written)}
    if ours:
        result["fields"] = fields
        result["sets"] = [entry.get("fieldsV1") or {} for entry in written if entry.get("manager") == MANAGER]
        # Scaled to zero, the number of replicas is nobody's.
        unowned = {path: shown(kind, path, value, key, secrets) for one in (known or {}).get("sets") or []
                   for path, value in leaves(one, item)
                   if value is not None and path not in fields and path not in others}
        result |= {"unowned": unowned} if unowned else {}
    if others and (ours or any(not one["system"] for one in others.values())):
        result["others"] = others if ours else {path: one for path, one in others.items() if not one["system"]}
    # What the system has written to an object of somebody's are its defaults, so only content makes it the system's.
    contents = [entry for entry in written if system(kind, str(entry.get("manager", "")), "")
                and set(entry.get("fieldsV1") or {}) - {"f:metadata", "f:status"}
                and not (kind in ("PersistentVolumeClaim", "PersistentVolume", "Pod") and made)]
    result["by"] = "" if ours or contents or not made else str(made.get("manager", ""))
    if release:
        result["release"] = f"{metadata.get('namespace', '')}/{release}"
    return result


def system(kind: str, manager: str, path: str) -> bool:
    """Whether a manager is a program of the system. Of a node's own object many have a part without a name."""
    return bool(SYSTEM.fullmatch(manager)) or (
        kind == "Node" and manager in ("unknown", "") and (not path or path.startswith("metadata.")))


def leaves(fields: Mapping[str, Any], value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (JSON)
    """Places of a set of ``managedFields`` with the values that they have: ``spec.replicas``, ``data[a.json]``."""
    for key, inner in fields.items():
        mark, _, name = key.partition(":")
        if key == ".":
            # The thing itself is told by what is in it, or is empty.
            if len(fields) == 1:
                yield path, value
            continue
        place, below = step(mark, name, value)
        where = f"{path}[{place}]" if mark != "f" or re.search(r"\W", name) else f"{path}.{place}" if path else place
        if mark == "k" and isinstance(inner, dict) and len(set(inner) - {"."}) > 1:
            # The keys of an item are its name, and need no line of their own.
            inner = {one: rest for one, rest in inner.items() if one[2:] not in json.loads(name)}
        if inner and set(inner) != {"."}:
            yield from leaves(inner, below, where)
        else:
            yield where, below


def step(mark: str, name: str, value: Any) -> tuple[str, Any]:  # noqa: ANN401 (JSON)
    """What one key of a set of fields is called, and what is there."""
    if mark == "f":
        return name, value.get(name) if isinstance(value, dict) else None
    items = value if isinstance(value, list) else []
    if mark == "i":
        return name, items[int(name)] if int(name) < len(items) else None
    wanted = json.loads(name)
    if mark == "v":
        return str(wanted), wanted
    for item in items:
        if isinstance(item, dict) and all(item.get(one) == other for one, other in wanted.items()):
            return str(next(iter(wanted.values()))), item
    return str(next(iter(wanted.values()))), None


def shown(kind: str, path: str, value: Any, key: bytes, secrets: set[str]) -> str:  # noqa: ANN401 (JSON)
    """A value as it may be seen; what may not be is a keyed hash behind a word that says so."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    if kind in NO_VALUES:
        return HIDDEN
    # The name of the variable, of the key or of the annotation says whether its value is a secret.
    place = re.search(r"(?:^|\.)(env|data|annotations|labels)[.\[]([^\]]+)", path)
    named = bool(place and "valueFrom" not in path and SECRET_NAME.search(place[2])) or (
        path.endswith((".args", ".command")) and bool(SECRET_NAME.search(text)))
    if named or USER_IN_URL.search(text) or any(secret in text for secret in secrets):
        return f"{HIDDEN} {hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]}"
    return text if len(text) <= LONGEST else \
        f"{text[:LONGEST]}... {hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]}"


def epoch(text: object) -> int | None:
    """Kubernetes' time as epoch."""
    try:
        return calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None
