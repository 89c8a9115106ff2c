"""Edits of what is right, each with what has to be found of it: clause, layer, file and line.

The place is worked out from the edit itself, by the lines of the text that it makes, and never asked of the engine.
"""

from __future__ import annotations

import copy
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from contract_inputs import BASE, SAID, Body, Edit, dumped, kustomization, line_of, tree

from contract.facts import FieldPath
from contract.model import Layer

APP, IMAGE, CONFIG, DEPLOYMENT = Layer.APP, Layer.IMAGE, Layer.CONFIG, Layer.DEPLOYMENT

At = tuple[str, int]
"""A file and a line."""
T = TypeVar("T")


@dataclass(frozen=True)
class Expected:
    """A finding that has to be there: the first one of ``clause``, at one of ``places``."""

    clause: str
    layer: Layer
    places: frozenset[At]


@dataclass(frozen=True)
class Mutation:
    """An edit and all that has to be found of it; nothing for an edit that changes nothing that the contract says."""

    name: str
    edit: Edit
    expected: tuple[Expected, ...] = ()
    leaf: tuple[str | int, ...] = ()


Rule = Callable[[tuple[Any, ...], Any], Iterator[Mutation]]
RULES: list[tuple[tuple[str, ...], Rule]] = []


def rule(*pattern: str) -> Callable[[Rule], Rule]:
    """A rule for the leaves of the contract at a path, where ``*`` is any key."""
    def keep(function: Rule) -> Rule:
        RULES.append((pattern, function))
        return function
    return keep


# --- edits of manifests -----------------------------------------------------------------------------


def changed(kind: str, name: str, change: Callable[[Body], object], overlay: str = "production") -> tuple[
        str, int, str]:
    """The file of an object, the number of its document there, and the file's text with the object changed."""
    file, number = tree().find(kind, name, overlay)
    documents = copy.deepcopy(list(tree().documents[file]))
    change(documents[number])
    return file, number, dumped(*documents)


def part(body: Any, path: FieldPath) -> Any:  # noqa: ANN401
    for step in path:
        body = body[step]
    return body


def put(path: FieldPath, value: Any) -> Callable[[Body], None]:  # noqa: ANN401
    """Set a field; parents that are not there are made."""
    def change(body: Body) -> None:
        parent: Any = body
        for step in path[:-1]:
            parent = parent.setdefault(step, {}) if isinstance(parent, dict) else parent[step]
        if isinstance(parent, list) and path[-1] == len(parent):
            parent.append(value)
        else:
            parent[path[-1]] = value
    return change


def drop(path: FieldPath) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        del part(body, path[:-1])[path[-1]]
    return change


def call(path: FieldPath, new: str) -> Callable[[Body], None]:
    """Give a key another name, in its place."""
    def change(body: Body) -> None:
        parent = part(body, path[:-1])
        items = [(new if key == path[-1] else key, value) for key, value in parent.items()]
        parent.clear()
        parent.update(items)
    return change


def layer_of(kind: str) -> Layer:
    return CONFIG if kind in {"ConfigMap", "SealedSecret", "Secret"} else DEPLOYMENT


def found(clauses: Iterable[str], layer: Layer, *places: At) -> tuple[Expected, ...]:
    return tuple(Expected(clause, layer, frozenset(places)) for clause in clauses)


MERGED_BY: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",), "env": ("name",), "volumes": ("name",), "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
}
"""Lists that a strategic merge patch merges, and the fields by which."""


def keys_of(name: str | int, item: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    if name == "ports":
        return ("containerPort" if "containerPort" in item else "port", "protocol")
    return MERGED_BY.get(str(name))


def merge_patch(body: Body, path: FieldPath, value: Any) -> tuple[Body, FieldPath] | None:  # noqa: ANN401
    """A strategic merge patch that sets a field, and where the field is in it; None where none can."""
    patch: Body = {key: body[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": body["metadata"]["name"]}}
    parent: Any = patch
    old: Any = body
    at: list[str | int] = []
    for number, step in enumerate(path):
        last = number == len(path) - 1
        if isinstance(old, list):
            item = old[int(step)] if int(step) < len(old) else None
            keys = keys_of(path[number - 1], item)
            if keys is None:
                # Such a list is replaced as a whole.
                whole = copy.deepcopy(old)
                put(path[number:], value)(whole)  # type: ignore[arg-type]
                parent.extend(whole)
                return patch, (*at, *path[number:])
            if item is None or (last and value is not None) or (not last and path[number + 1] in keys):
                return None
            parent.append({key: item[key] for key in keys if key in item})
            at.append(0)
            if last:
                parent[0]["$patch"] = "delete"
                return patch, (*at, "$patch")
            parent, old = parent[0], item
            continue
        at.append(step)
        if last:
            parent[step] = value
            return patch, tuple(at)
        old = old.get(step, {}) if isinstance(old, dict) else {}
        parent = parent.setdefault(step, [] if isinstance(old, list) else {})
    raise ValueError(path)


def in_turn(what: object, ways: Sequence[T], count: int = 1) -> Sequence[T]:
    """Of several ways to do the same to a field only some, others for each field; all of them on demand."""
    start = zlib.crc32(str(what).encode())
    return ways if os.environ.get("ALL") else [ways[(start + number) % len(ways)]
                                               for number in range(min(count, len(ways)))]


def pointer(path: FieldPath) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def with_patch(patch: str, target: str = "", overlay: str = "production") -> tuple[str, int]:
    """The overlay's kustomization with one more patch, and the number of lines before the patch's first one."""
    before = tree().texts[kustomization(overlay)] + (f"  - target: {target}\n    patch: |-\n" if target else
                                                     "  - patch: |-\n")
    return before + "".join(f"      {line}\n" for line in patch.splitlines()), before.count("\n")


def overridden(
    kind: str, name: str, path: FieldPath, value: Any, clauses: Iterable[str]  # noqa: ANN401
) -> Iterator[Mutation]:
    """A field set by the overlay: by a JSON patch, by a merge patch in the kustomization or by one in a file."""
    clauses, layer, body = list(clauses), layer_of(kind), tree().body(kind, name)
    shown = f"{kind} {name} {pointer(path)}"
    overlay = kustomization()
    operation = "add" if isinstance(part(body, path[:-1]), dict) else "replace"
    patch = dumped([{"op": operation, "path": pointer(path), "value": value}]).removeprefix("---\n")
    text, before = with_patch(patch, f"{{kind: {kind}, name: {name}}}")
    ways = [Mutation(f"JSON patch sets {shown} to {value!r}", Edit({overlay: text}),
                     found(clauses, layer, (overlay, before + line_of(patch, (0, "value")))))]
    if made := merge_patch(body, path, value):
        patch, at = dumped(made[0]).removeprefix("---\n"), made[1]
        text, before = with_patch(patch)
        ways.append(Mutation(f"merge patch sets {shown} to {value!r}", Edit({overlay: text}),
                             found(clauses, layer, (overlay, before + line_of(patch, at)))))
        file = "manifests/overlays/production/patch.yaml"
        ways.append(Mutation(f"patch file sets {shown} to {value!r}",
                             Edit({overlay: tree().texts[overlay] + "  - path: patch.yaml\n", file: dumped(made[0])}),
                             found(clauses, layer, (file, line_of(dumped(made[0]), at)))))
    yield from in_turn(shown, ways)


def set_to(
    kind: str, name: str, path: FieldPath, value: Any, *clauses: str, overlay: bool = True,  # noqa: ANN401
    at: FieldPath | None = None,
) -> Iterator[Mutation]:
    """A field with another value, in the file and by the overlay.

    :param at: where the finding has to be, when that is below the field.
    """
    file, number, text = changed(kind, name, put(path, value))
    yield Mutation(f"{kind} {name} {pointer(path)} = {value!r}", Edit({file: text}),
                   found(clauses, layer_of(kind), (file, line_of(text, at or path, number))))
    if (overlay and layer_of(kind) is DEPLOYMENT) or kind == "ConfigMap":
        yield from overridden(kind, name, path, value, clauses) if overlay else ()


def without(
    kind: str, name: str, path: FieldPath, *clauses: str, overlay: bool = True, at: At | None = None,
    layer: Layer | None = None,
) -> Iterator[Mutation]:
    """A field that is not there: taken out of the file, or by the overlay.

    :param at: where the finding has to be, when that is not the parent's line.
    """
    layer = layer or layer_of(kind)
    file, number, text = changed(kind, name, drop(path))
    shown = f"{kind} {name} {pointer(path)}"
    parent = (file, line_of(text, path[:-1], number))
    ways = [Mutation(f"without {shown}", Edit({file: text}), found(clauses, layer, at or parent))]
    if not overlay or kind == "SealedSecret":
        yield from ways
        return
    # An item that is gone from a list may be added to it again, where the list is.
    places = [at] if at else [parent] if isinstance(path[-1], int) else []
    file = kustomization()
    patch = dumped([{"op": "remove", "path": pointer(path)}]).removeprefix("---\n")
    text, before = with_patch(patch, f"{{kind: {kind}, name: {name}}}")
    ways.append(Mutation(f"JSON patch removes {shown}", Edit({file: text}), found(
        clauses, layer, *places, (file, before + 1), (file, before + 2))))
    if made := merge_patch(tree().body(kind, name), path, None):
        patch = dumped(made[0]).removeprefix("---\n")
        text, before = with_patch(patch)
        ways.append(Mutation(f"merge patch removes {shown}", Edit({file: text}), found(
            clauses, layer, *places, (file, before + line_of(patch, made[1])))))
    yield from in_turn(shown, ways)


def renamed(kind: str, name: str, path: FieldPath, *clauses: str, at: At | None = None) -> Iterator[Mutation]:
    """A key with another name: the finding is at its line, or at the parent's."""
    new = f"{path[-1]}x"
    file, number, text = changed(kind, name, call(path, new))
    places = [at] if at else [(file, line_of(text, (*path[:-1], new), number)),
                              (file, line_of(text, path[:-1], number))]
    yield Mutation(f"{kind} {name} {pointer(path)} renamed", Edit({file: text}),
                   found(clauses, layer_of(kind), *places))


def other_types(value: Any) -> list[Any]:  # noqa: ANN401
    """A value as what it is not."""
    if isinstance(value, bool):
        return [str(value).lower(), int(value)]
    if isinstance(value, int):
        return [str(value), True]
    return [17, True]


def right(name: str, kind: str, obj: str, change: Callable[[Body], object]) -> Mutation:
    """An edit of a manifest that changes nothing of what the contract says."""
    file, _, text = changed(kind, obj, change)
    return Mutation(name, Edit({file: text}))


def swapped(kind: str, name: str, one: FieldPath, other: FieldPath, clauses: Sequence[str]) -> Mutation:
    """Two fields with each other's value; the clauses are those of the first and of the second."""
    def change(body: Body) -> None:
        values = part(body, one), part(body, other)
        put(one, values[1])(body)
        put(other, values[0])(body)

    file, number, text = changed(kind, name, change)
    return Mutation(f"{kind} {name} {pointer(one)} and {pointer(other)} swapped", Edit({file: text}), tuple(
        Expected(clause, layer_of(kind), frozenset({(file, line_of(text, path, number))}))
        for clause, path in zip(clauses, (one, other), strict=True)))


# --- what the contract's names are in the manifests -------------------------------------------------

POD: FieldPath = ("spec", "template", "spec")
CONTAINER: FieldPath = (*POD, "containers", 0)
SETTINGS = ("ConfigMap", "observer-config")
EXTRA = f"{BASE}/configmaps/extra.yaml"


def kind_of(workload: str) -> str:
    return str(SAID["workloads"][workload]["kind"])


def clause_of(variable: str, container: str = "observer") -> str:
    """A variable of the app belongs to its path, or to the port."""
    for name, one in SAID["paths"].items():
        if container == SAID["app"]["container"] and one["variable"] == variable:
            return f"paths.{name}"
    port = SAID["app"]["port"]["variable"]
    return "ports.app" if (container, variable) == (SAID["app"]["container"], port) else f"environment.{variable}"


def position(workload: str, items: str, key: str, value: str) -> int:
    """The number of an item of a container's list."""
    found_items = part(tree().body(kind_of(workload), workload), (*CONTAINER, items))
    return next(number for number, item in enumerate(found_items) if item.get(key) == value)


def file_line(name: str, text: str, path: FieldPath) -> At:
    return name, line_of(text, path)


def old_line(kind: str, name: str, path: FieldPath) -> At:
    """The line of a field in the file as it is."""
    file, number = tree().find(kind, name)
    return file, line_of(tree().texts[file], path, number)


def edited(name: str, old: str, new: str) -> tuple[str, int]:
    """A text with one place of it written otherwise, and the line of that place."""
    text = tree().texts[name]
    assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
    return text.replace(old, new), text[: text.index(old)].count("\n") + 1
