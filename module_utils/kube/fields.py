"""Fields of Kubernetes objects: who owns them, where two objects differ, and what to call the place.

``managedFields`` holds one *set* per manager: nested dictionaries whose keys are ``f:<field>``, ``k:<keys of a list
item>``, ``v:<value of a list>`` and ``.`` for the thing itself; an empty dictionary is a leaf.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from .client import Object

FieldSet = dict[str, Any]

CONTROLLERS = frozenset({
    "k3s", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
    "cloud-controller-manager", "local-path-provisioner", "controller", "sealed-secrets-controller",
})
"""Managers whose fields are results, not edits (``controller`` is sealed-secrets' program)."""

TOLERATED: tuple[tuple[str, ...], ...] = (
    # `kubectl rollout restart` asks for new pods, not for other ones.
    ("f:spec", "f:template", "f:metadata", "f:annotations", "f:kubectl.kubernetes.io/restartedAt"),
    # A claim that was bound by hand to a retained volume keeps it.
    ("f:spec", "f:volumeName"),
)

SERVER_METADATA = ("creationTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields", "resourceVersion",
                   "selfLink", "uid")
"""What the API server keeps for itself in an object's metadata."""

LIST_KEYS = ("name", "mountPath", "containerPort", "port", "key", "topologyKey", "ip", "type", "path")
"""What tells the items of a list apart, in the order in which it is tried."""


# --- ownership ------------------------------------------------------------------------------------


def foreign(item: Object, manager: str) -> FieldSet:
    """The fields of an object that somebody added: owned neither by ``manager``'s declaration nor by a controller."""
    kept: FieldSet = {}
    added: FieldSet = {}
    for entry in item["metadata"].get("managedFields") or []:
        if entry.get("subresource") != "status":
            _merge(kept if _ours(entry, manager) or _controller(entry) else added, entry.get("fieldsV1") or {})
    added = {key: value for key, value in added.items() if key not in ("f:status", "f:metadata")} | _labels(added)
    for path in TOLERATED:
        _remove(added, path)
    return subtract(added, kept)


def taken_over(item: Object, manager: str, declared_version: str, time: str) -> list[Object]:
    """``managedFields`` in which the declaration of ``manager`` owns all that :func:`foreign` finds.

    The next server-side apply then removes those fields by itself, with all the rules of their types.

    :param declared_version: apiVersion of the declaration.
    :param time: now, as Kubernetes writes it.
    """
    added = foreign(item, manager)
    entries = copy.deepcopy(item["metadata"].get("managedFields") or [])
    own = next((entry for entry in entries if _ours(entry, manager)), None)
    if own is None:
        own = {"manager": manager, "operation": "Apply", "apiVersion": declared_version, "fieldsType": "FieldsV1",
               "fieldsV1": {}}
        entries.append(own)
    own["time"] = time
    _merge(own["fieldsV1"], added)
    for entry in entries:
        if entry is not own and not _controller(entry) and entry.get("subresource") != "status":
            entry["fieldsV1"] = subtract(entry.get("fieldsV1") or {}, added)
    return [entry for entry in entries if entry.get("fieldsV1")]


def without(item: Object, fields: FieldSet) -> Object:
    """A copy of an object without the fields of a set."""
    result = copy.deepcopy(item)
    _strip(result, fields)
    return result


def _ours(entry: Object, manager: str) -> bool:
    return bool(entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource"))


def _controller(entry: Object) -> bool:
    # K3s applies its packaged manifests as deploy@<host>.
    return entry["manager"] in CONTROLLERS or str(entry["manager"]).startswith("deploy@")


def _labels(fields: FieldSet) -> FieldSet:
    """Of the metadata only labels and annotations are anybody's to edit."""
    found = {key: value for key, value in (fields.get("f:metadata") or {}).items()
             if key in ("f:labels", "f:annotations")}
    return {"f:metadata": found} if found else {}


def _merge(into: FieldSet, other: FieldSet) -> None:
    for key, value in other.items():
        _merge(into.setdefault(key, {}), value)


def _remove(fields: FieldSet, path: tuple[str, ...]) -> None:
    """Take a leaf out of a set, and what was there only on the way to it."""
    first, rest = path[0], path[1:]
    if first in fields:
        if rest:
            _remove(fields[first], rest)
            fields[first].pop(".", None)
        if not rest or not fields[first]:
            del fields[first]


def subtract(fields: FieldSet, other: FieldSet) -> FieldSet:
    """The leaves of a set that the other one does not have, with the way to them."""
    result: FieldSet = {}
    for key, value in fields.items():
        if key == ".":
            continue  # Something in here belongs to the other set as well, so the thing itself stays.
        if key not in other:
            result[key] = copy.deepcopy(value)
        elif rest := subtract(value, other[key]):
            result[key] = rest
    return result


def _strip(value: Any, fields: FieldSet) -> None:  # noqa: ANN401 (JSON)
    for key, inner in fields.items():
        if key == ".":
            continue
        place = _find(value, key)
        if place is None:
            continue
        if not inner or "." in inner:
            del value[place]
        else:
            _strip(value[place], inner)


def _find(value: Any, key: str) -> Any:  # noqa: ANN401 (JSON)
    """The index in a list or the key in a dictionary that a key of a set means, or None."""
    mark, _, name = key.partition(":")
    if mark == "f":
        return name if isinstance(value, dict) and name in value else None
    if not isinstance(value, list):
        return None
    if mark == "i":
        return int(name) if int(name) < len(value) else None
    wanted = json.loads(name)
    for number, item in enumerate(value):
        if item == wanted or (mark == "k" and isinstance(item, dict)
                              and all(item.get(field) == found for field, found in wanted.items())):
            return number
    return None


# --- differences ----------------------------------------------------------------------------------


def comparable(item: Object) -> Object:
    """An object without status and without what the server keeps for itself."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in SERVER_METADATA}
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": metadata}


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 (JSON)
    """The places where two values differ: ``spec.replicas``, ``data[config.json]``, ``...containers[app].image``."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            inside = _inside(path, str(key))
            old, new = before.get(key), after.get(key)
            if key in before and key in after:
                yield from differences(old, new, inside)
            elif isinstance(old or new, dict) and (old or new):
                yield from differences(old or {}, new or {}, inside)
            else:
                yield inside
    elif isinstance(before, list) and isinstance(after, list) and before != after:
        field = _list_key(before, after)
        if field:
            old = {item[field]: item for item in before}
            new = {item[field]: item for item in after}
            if set(old) != set(new) or [item for item in old if item in new] == list(new):
                for name in sorted(old.keys() | new.keys(), key=str):
                    inside = f"{path}[{name}]"
                    if name not in old or name not in new:
                        yield inside
                    else:
                        yield from differences(old[name], new[name], inside)
                return
        yield path
    elif before != after:
        yield path


def overlaid(live: Any, declared: Any) -> Any:  # noqa: ANN401 (JSON)
    """A live value with a declared one over it; what only the live one has in its dictionaries stays."""
    if isinstance(live, dict) and isinstance(declared, dict):
        return {**live, **{key: overlaid(live.get(key), value) for key, value in declared.items()}}
    if isinstance(live, list) and isinstance(declared, list) and (field := _list_key(live, declared)):
        known = {item[field]: item for item in live}
        return [overlaid(known.get(item[field]), item) for item in declared]
    return declared


def _inside(path: str, key: str) -> str:
    if "." in key or "/" in key:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _list_key(*lists: list[Any]) -> str | None:
    """The field by which the items of all lists can be told apart, if there is one."""
    for field in LIST_KEYS:
        names = [[item.get(field) if isinstance(item, dict) else None for item in items] for items in lists]
        known = all(isinstance(name, str | int) for found in names for name in found)
        if known and any(names) and all(len(set(found)) == len(found) for found in names):
            return field
    return None
