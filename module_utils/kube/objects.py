"""Objects made as declared: what has to be done is found out first, by reading and by dry runs, then done.

Writing is server-side apply over the same connection: the very request whose result the dry run has shown.
"""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from .client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, ApiError, Client, KubeError, Object
from .fields import comparable, differences, foreign, overlaid, taken_over, without

CONNECTIONS = 4
"""Reading is done over this many connections at once: a far API costs a round trip for each object."""

PATHS = 5
"""So many fields of one object are named."""

POLL = 0.3
"""Seconds between two looks at something that takes its time."""

LINE_SECONDS = 15.0
"""There is a line about a longer wait so often."""

KIND_SECONDS = 20.0
"""Longest wait for the kind of an object to become known, and for others to stop writing to one."""

FIRST = ("Namespace", "CustomResourceDefinition")
"""Kinds that others need, written first."""

REPLACEABLE = frozenset({"StorageClass", "RoleBinding", "ClusterRoleBinding"})
"""Kinds whose fixed fields are changed by deleting and making the object anew: nothing depends on its identity."""

FIXED = ("immutable", "updates to", "cannot change", "can not be less than", "can be resized")
"""Kubernetes' words for a field that is fixed for the object's life."""

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


@dataclass
class Change:
    """What has to be done with one object.

    ``verb`` is ``create``, ``apply``, ``replace``, ``remove`` or ``restart``; ``before`` and ``after`` are the object
    without status and server fields, None where there is none; ``paths`` are the fields that differ.
    """

    verb: str
    item: Object
    before: Object | None = None
    after: Object | None = None
    paths: list[str] = field(default_factory=list)
    take_over: bool = False

    def __str__(self) -> str:
        words = {"create": "created", "remove": "removed", "restart": "restarted"}.get(self.verb)
        return f"{title(self.item)}: {words or shortened(self.paths)}"


@dataclass(frozen=True)
class Restart:
    """A workload whose pods read some objects only when they start."""

    workload: Object
    after: tuple[Object, ...]


def title(item: Object) -> str:
    """``Deployment observer-prod/observer``; without a namespace ``StorageClass local-path``."""
    namespace = item["metadata"].get("namespace")
    return f"{item['kind']} {namespace + '/' if namespace else ''}{item['metadata']['name']}"


def shortened(paths: list[str]) -> str:
    """At most five of the paths, and how many there are besides."""
    rest = len(paths) - PATHS
    return ", ".join(paths[:PATHS]) + (f" and {rest} more" if rest > 0 else "")


def declared(item: Object) -> Object:
    """An object as it is sent: plain data, without status, a Secret's ``stringData`` as ``data``.

    :raises KubeError: it has no apiVersion, kind or name.
    """
    plain: Object = json.loads(json.dumps(item))
    metadata = plain.get("metadata") or {}
    if not (plain.get("apiVersion") and plain.get("kind") and metadata.get("name")):
        raise KubeError(f"An object lacks apiVersion, kind or metadata.name: it has {', '.join(plain) or 'nothing'}.",
                        "Complete the object in the manifests.")
    plain.pop("status", None)
    # Server-side apply does not follow stringData: an edited value would not be seen.
    for key, value in (plain.pop("stringData", None) or {}).items() if plain["kind"] == "Secret" else ():
        plain.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()
    return plain


def _ordered(items: Iterable[Object]) -> list[Object]:
    """Declared objects, those first that others need; the order is kept otherwise."""
    return sorted(
        map(declared, items), key=lambda item: FIRST.index(item["kind"]) if item["kind"] in FIRST else len(FIRST)
    )


class Objects:
    """Compares declared objects with those in a cluster, and makes them so.

    :param manager: the field manager under which everything is written.
    :param seconds: longest wait for an object that is being deleted to go.
    :param say: takes a line about what is being waited for.
    """

    def __init__(
        self, client: Client, manager: str, seconds: float, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.client = client
        self.manager = manager
        self.seconds = seconds
        self.say = say

    # --- finding out ------------------------------------------------------------------------------

    @staticmethod
    def plan_without_cluster(wanted: Iterable[Object]) -> list[Change]:
        """What :meth:`plan` finds in a cluster that has nothing."""
        return [Change("create", item, after=comparable(item)) for item in _ordered(wanted)]

    def plan(self, wanted: Iterable[Object], unwanted: Iterable[Object], restarts: Iterable[Restart]) -> list[Change]:
        """All that differs, in the order in which it is to be done. Nothing is written.

        :raises KubeError: something cannot be done at all; the message names object and field.
        """
        objects = _ordered(wanted)
        namespaces = [item for item in objects if item["kind"] == "Namespace"]
        changes = self._all(self._comparison, namespaces)
        # With a namespace that is being deleted goes all that is in it, also what still looks alive.
        new = {change.item["metadata"]["name"] for change in changes if change.verb == "create"}
        lost = [item for item in objects if item["metadata"].get("namespace") in new]
        changes += [Change("create", item, after=comparable(item)) for item in lost]
        changes += self._all(self._comparison, [item for item in objects if item not in [*namespaces, *lost]])
        places = {id(item): place for place, item in enumerate(objects)}
        changes.sort(key=lambda change: places[id(change.item)])
        changes = self._all(self._removal, list(unwanted)) + changes
        for restart in restarts:
            if change := self._restart(restart, changes):
                changes.append(change)
        return changes

    def _all(self, work: Callable[[Client, Object], Change | None], items: list[Object]) -> list[Change]:
        """What ``work`` finds in all items, in their order, over several connections."""
        # One item first: it fills what the client knows of kinds, and a dead API is reported once.
        found = [work(self.client, item) for item in items[:1]]
        rest = items[1:]
        free = [self.client, *(self.client.another() for _ in range(min(CONNECTIONS, len(rest)) - 1))]

        def run(item: Object) -> Change | None:
            client = free.pop()
            try:
                return work(client, item)
            finally:
                free.append(client)

        if rest:
            with ThreadPoolExecutor(len(free)) as pool:
                try:
                    found += pool.map(run, rest)
                finally:
                    pool.shutdown(cancel_futures=True)
        for client in free:
            if client is not self.client:
                client.close()
        return [change for change in found if change]

    def _removal(self, client: Client, item: Object) -> Change | None:
        path = client.path(item)
        live = client.get(path) if path else None
        if live is None or live["metadata"].get("deletionTimestamp"):
            return None
        return Change("remove", item, before=comparable(live))

    def _comparison(self, client: Client, item: Object) -> Change | None:
        path = client.path(item)
        live = client.get(path) if path else None
        if path is None or live is None or live["metadata"].get("deletionTimestamp"):
            if path and live is None:
                self._try_to_create(client, path, item)
            return Change("create", item, after=comparable(item))
        before = comparable(live)
        try:
            result = self._apply(client, path, item, dry_run=True)
        except ApiError as error:
            return self._mended(client, path, live, item) or self._replaced(client, path, before, item, error)
        if result["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
            return self._comparison(client, item)  # Written in between: the two cannot be compared.
        added = foreign(result, self.manager)
        if added:
            result = self._judged(client, path, without(result, added)) or without(result, added)
        after = comparable(result)
        paths = sorted(differences(before, after))
        return Change("apply", item, before, after, paths, take_over=bool(added)) if paths else None

    def _mended(self, client: Client, path: str, live: Object, item: Object) -> Change | None:
        """A change that is only possible when what others have added goes in the same step, or nothing.

        So it is with a deployment's strategy: ``Recreate`` is refused beside the ``rollingUpdate`` that came with
        somebody's ``RollingUpdate``.
        """
        added = foreign(live, self.manager)
        result = self._judged(client, path, overlaid(without(live, added), item)) if added else None
        if result is None:
            return None
        before, after = comparable(live), comparable(result)
        return Change("apply", item, before, after, sorted(differences(before, after)), take_over=True)

    def _replaced(self, client: Client, path: str, before: Object, item: Object, error: ApiError) -> Change:
        """The change of a field that is fixed for the object's life: a replacement, where that does no harm."""
        if not _about_a_fixed_field(item, error):
            raise self._refused(item, error) from error
        if item["kind"] not in REPLACEABLE:
            raise self._immutable(before, item, error) from error
        after = overlaid(before, item)
        change = Change("replace", item, before, after, sorted(differences(before, after)))
        # What is deleted must be sure to come back: have it judged under a name that is free.
        other = {**item, "metadata": {**item["metadata"], "name": f"{item['metadata']['name']}-observer-node"}}
        self._try_to_create(client, f"{path}-observer-node", other, item)
        return change

    def _try_to_create(self, client: Client, path: str, item: Object, shown: Object | None = None) -> None:
        """Have the API server judge an object that is not there, as far as it can before its namespace is."""
        try:
            self._apply(client, path, item, dry_run=True)
        except ApiError as error:
            no_namespace = error.status == 404 and error.kind == "namespaces"
            if not no_namespace and "because it is being terminated" not in str(error):
                raise self._refused(shown or item, error) from error

    def _judged(self, client: Client, path: str, item: Object) -> Object | None:
        """What the server makes of an object, defaults filled in, or nothing when it refuses it."""
        try:
            return client.request("PUT", path, {"dryRun": "All", "fieldManager": self.manager}, item)
        except ApiError as error:
            if error.status in (403, 409, 422):
                return None
            raise self._refused(item, error) from error

    def _restart(self, restart: Restart, changes: list[Change]) -> Change | None:
        """A restart, when a workload's pods are older than what they have read at their start."""
        workload = restart.workload
        changing = {title(change.item): change for change in changes}
        own = changing.get(title(workload))
        if own and (own.verb != "apply" or any(path.startswith("spec.template") for path in own.paths)):
            return None  # New pods come about anyway.
        path = self.client.path(workload)
        live = self.client.get(path) if path else None
        if live is None:
            return None
        labels = live["spec"]["selector"].get("matchLabels") or {}
        pods = self.client.items(f"/api/v1/namespaces/{workload['metadata']['namespace']}/pods", {
            "labelSelector": ",".join(f"{key}={value}" for key, value in labels.items()),
        })
        # A pod that was evicted stays where it is as Failed, older than anything that is written since.
        starts = [pod["status"]["startTime"] for pod in pods
                  if not pod["metadata"].get("deletionTimestamp") and pod["status"].get("startTime")
                  and pod["status"].get("phase") not in ("Failed", "Succeeded")]
        if not starts:
            return None
        change = Change("restart", workload)
        for source in restart.after:
            if title(source) in changing:
                return change
            place = self.client.path(source)
            read = self.client.get(place) if place else None
            if read and _modified(read) > min(starts):
                return change
        return None

    # --- doing ------------------------------------------------------------------------------------

    def carry_out(self, change: Change) -> None:
        """:raises KubeError: it was refused; the message names the object."""
        try:
            getattr(self, f"_do_{change.verb}")(change.item, change)
        except ApiError as error:
            raise self._refused(change.item, error) from error

    def _do_create(self, item: Object, _: Change) -> None:
        path = self._wait_for_kind(item)
        self._wait_until_gone(path, item)
        if item["kind"] == "SealedSecret":
            self._remove_orphan(item)
        self._apply(self.client, path, item)

    def _remove_orphan(self, item: Object) -> None:
        """Delete the Secret that an earlier SealedSecret of this name has left.

        Kubernetes collects it sooner or later. Until then the controller refuses to write over it, and it gives up
        after five tries: the SealedSecret would stay closed.
        """
        place = item["metadata"]
        path = f"/api/v1/namespaces/{place['namespace']}/secrets/{place['name']}"
        secret = self.client.get(path) or {}
        owners = secret.get("metadata", {}).get("ownerReferences", [])
        if any(owner["kind"] == "SealedSecret" for owner in owners):
            self.client.request("DELETE", path)

    def _do_apply(self, item: Object, change: Change) -> None:
        path = self._wait_for_kind(item)
        if change.take_over:
            self._take_over(path, item)
        self._apply(self.client, path, item)

    def _do_replace(self, item: Object, _: Change) -> None:
        path = self._wait_for_kind(item)
        self.client.request("DELETE", path)
        self._wait_until_gone(path, item)
        self._apply(self.client, path, item)

    def _do_remove(self, item: Object, _: Change) -> None:
        try:
            self.client.request("DELETE", self._wait_for_kind(item), {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    def _do_restart(self, item: Object, _: Change) -> None:
        patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: _now()}}}}}
        self.client.request("PATCH", self._wait_for_kind(item), {"fieldManager": self.manager}, patch, MERGE_PATCH)

    def _apply(self, client: Client, path: str, item: Object, *, dry_run: bool = False) -> Object:
        query = {"fieldManager": self.manager, "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        return client.request("PATCH", path, query, item, APPLY_PATCH)

    def _take_over(self, path: str, item: Object) -> None:
        """Become the owner of what others have added, so that applying the declaration removes it.

        A change of ownership alone starts no new pods; removing the fields by a patch of its own would, a second time.
        """
        deadline = time.monotonic() + KIND_SECONDS
        while True:
            live = self.client.request("GET", path)
            entries = taken_over(live, self.manager, item["apiVersion"], _now())
            version = live["metadata"]["resourceVersion"]
            try:
                self.client.request("PATCH", path, {"fieldManager": self.manager}, [
                    {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                    {"op": "replace", "path": "/metadata/managedFields", "value": entries},
                ], JSON_PATCH)
                return
            except ApiError as error:
                # Somebody wrote in between: look again.
                if error.status not in (409, 422) or time.monotonic() > deadline:
                    raise

    def _wait_for_kind(self, item: Object) -> str:
        """The object's path, as soon as the server knows its kind."""
        deadline = time.monotonic() + KIND_SECONDS
        while (path := self.client.path(item)) is None:
            if time.monotonic() > deadline:
                raise KubeError(
                    f"{title(item)}: the cluster does not know the kind {item['kind']} of {item['apiVersion']}.",
                    "Install its CustomResourceDefinition first, or mend apiVersion and kind.",
                )
            time.sleep(POLL)
        return path

    def _wait_until_gone(self, path: str, item: Object) -> None:
        start = told = time.monotonic()
        while live := self.client.get(path):
            now = time.monotonic()
            if now - told > LINE_SECONDS:
                self.say(f"waiting until {title(item)} is deleted ({now - start:.0f} s)")
                told = now
            if now - start > self.seconds:
                holders = ", ".join(live["metadata"].get("finalizers") or []) or "its deletion"
                raise KubeError(
                    f"{title(item)} is being deleted and has not gone within {self.seconds:.0f} s; {holders} holds it.",
                    f"Stop what uses it (a claim goes when no pod mounts it: `{_kubectl(item, 'get pods')}`) and run"
                    " again.",
                )
            time.sleep(POLL)

    # --- refusals ---------------------------------------------------------------------------------

    def _refused(self, item: Object, error: ApiError) -> KubeError:
        return KubeError(f"{title(item)}: the API server refuses it: {error}", "Mend the object as the message says.")

    def _immutable(self, before: Object, item: Object, error: ApiError) -> KubeError:
        """What the API server says to a change of a field that is fixed for the object's life."""
        paths = sorted(differences(before, overlaid(before, item)))
        # StatefulSets say which fields may change, and their template may.
        paths = [path for path in paths if not path.startswith("spec.template.")] or paths
        # Some messages end in a listing of both objects.
        reasons = "; ".join(dict.fromkeys(text.split("\n")[0] for _, text in error.causes)) or str(error)
        loss = "save its data first, " if item["kind"] in ("PersistentVolumeClaim", "StatefulSet") else ""
        delete = _kubectl(item, f"delete {item['kind'].lower()} {item['metadata']['name']}")
        if item["kind"] == "StatefulSet":
            delete += " --cascade=orphan"
        return KubeError(
            f"{title(item)}: {shortened(paths)} cannot be changed on an object that exists: {reasons}",
            f"Put the old value back where the object is declared; or {loss}delete it (`{delete}`) and run again.",
        )


def _about_a_fixed_field(item: Object, error: ApiError) -> bool:
    """Whether a refusal says that a field cannot be changed, rather than that its value is wrong."""
    # The wish for a bigger claim is refused by an admission plugin, with another status.
    if error.status != 422 and not (error.status == 403 and item["kind"] == "PersistentVolumeClaim"):
        return False
    reasons = " ".join(text for _, text in error.causes) or str(error)
    return any(words in reasons for words in FIXED)


def _kubectl(item: Object, words: str) -> str:
    namespace = item["metadata"].get("namespace")
    return f"kubectl {f'-n {namespace} ' if namespace else ''}{words}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _modified(item: Object) -> str:
    """When an object was last written, apart from its status. Kubernetes' times sort as text."""
    entries = item["metadata"].get("managedFields") or []
    times = [entry["time"] for entry in entries if entry.get("time") and entry.get("subresource") != "status"]
    newest: str = max([item["metadata"]["creationTimestamp"], *times])
    return newest


# --- what is shown --------------------------------------------------------------------------------


def diff(change: Change) -> dict[str, str]:
    """Ansible's diff of one change, without values of secrets."""
    before = _shown(change.before, change.after, "old")
    after = _shown(change.after, change.before, "new")
    if change.verb == "restart":
        before, after = "", "restarted\n"
    name = title(change.item)
    return {"before_header": name, "after_header": name, "before": before, "after": after}


def _shown(item: Object | None, other: Object | None, side: str) -> str:
    if item is None:
        return ""
    item = copy.deepcopy(item)
    if item["kind"] == "Secret":
        for key in ("data", "stringData"):
            known = (other or {}).get(key) or {}
            for name, value in (item.get(key) or {}).items():
                item[key][name] = f"(hidden, {side} value)" if known.get(name, value) != value else "(hidden)"
        # Client-side apply keeps the whole object in here.
        (item["metadata"].get("annotations") or {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    elif item["kind"] == "SealedSecret":
        sealed: dict[str, Any] = (item.get("spec") or {}).get("encryptedData") or {}
        for name, value in sealed.items():
            sealed[name] = f"{str(value)[:12]}... ({len(str(value))} characters)"
    return yaml.safe_dump(item, sort_keys=True, width=120)
