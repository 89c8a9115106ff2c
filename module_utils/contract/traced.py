"""Values that know the line that says them, what patches do to them, and how a rendered value finds its line.

Nothing is changed in place: what a step of a build makes is new, and knows what it took the place of. So a base that is
used twice is shared, and a value that a later step did not change after all is still found in what was before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import yaml

from .classes import dataclass
from .documents import Document
from .facts import FieldPath
from .model import Place

SCALARS: Any = yaml.SafeLoader("")
"""Gives a scalar's value as the loader of documents does."""

Change = Callable[["Traced"], "Traced"]

IDENTITY = ("name", "mountPath", "containerPort", "port", "devicePath", "topologyKey", "ip", "key", "path", "type",
            "kind", "uid")
"""Fields by which an item of a list is known again, the best first."""
MOST_PAIRS = 40_000
"""Pairs of items that are compared to find which belong together; beyond that only equal ones do."""
MOST_ALIKE = 8
"""Items of one name that are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A value and where it is said.

    ``value`` is a scalar, a dict by keys as text, or a list, of ``Traced``; ``place`` is its key's line, for an item of
    a list the item's; ``before`` is what it took the place of; ``removed`` says which line took which field away.
    """

    value: Any
    place: Place
    before: Traced | None = None
    removed: Mapping[str, Place] = field(default_factory=dict)

    def get(self, *keys: str) -> Traced | None:
        """The part at a path of keys, None where it is not there."""
        node: Traced | None = self
        for key in keys:
            node = node.value.get(key) if node is not None and isinstance(node.value, dict) else None
        return node

    def text(self, *keys: str) -> str:
        """The scalar at a path of keys as text, empty where there is none."""
        node = self.get(*keys)
        return "" if node is None or isinstance(node.value, dict | list) else text(node.value)

    def items(self, *keys: str) -> list[Traced]:
        """The items of the list at a path of keys, none where there is no list."""
        node = self.get(*keys)
        return node.value if node is not None and isinstance(node.value, list) else []

    def fields(self, *keys: str) -> dict[str, Traced]:
        """The fields of the mapping at a path of keys, none where there is no mapping."""
        node = self.get(*keys)
        return node.value if node is not None and isinstance(node.value, dict) else {}

    def true(self, *keys: str) -> bool:
        """Whether the field at a path of keys is true."""
        return self.text(*keys) == "true"

    def has(self, key: str, value: Traced) -> Traced:
        """The same mapping with a field set."""
        return replace(self, value={**self.value, key: value})


def text(value: Any) -> str:  # noqa: ANN401
    """A scalar as Kubernetes writes it: ``true``, and nothing for null."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def traced(document: Document, shift: int = 0, at: Place | None = None) -> Traced:
    """A document's value with its lines.

    :param shift: lines that stand before the document's first one, where it is a part of a file.
    :param at: the place of everything in it, where its lines are none of a file.
    """
    places: dict[int, Place] = {}
    values: dict[int, Any] = {}  # an alias is the node that it names: built once, however often it is named

    def place(mark: Any) -> Place:  # noqa: ANN401
        line = mark.line + 1 + shift
        if line not in places:
            places[line] = at or Place(document.file, line)
        return places[line]

    def build(node: Any, where: Place) -> Traced:  # noqa: ANN401
        if id(node) not in values:
            value: Any
            if isinstance(node, yaml.MappingNode):
                value = {scalar(key): build(part, place(key.start_mark)) for key, part in node.value}
            elif isinstance(node, yaml.SequenceNode):
                value = [build(item, place(item.start_mark)) for item in node.value]
            else:
                value = node.value if node.tag == "tag:yaml.org,2002:str" else SCALARS.construct_object(node)
                SCALARS.constructed_objects.clear()
            values[id(node)] = value
        return Traced(values[id(node)], where)

    def scalar(node: Any) -> str:  # noqa: ANN401
        return node.value if node.tag == "tag:yaml.org,2002:str" else text(build(node, places[0]).value)

    places[0] = at or Place(document.file, 1 + shift)
    return build(document.node, place(document.node.start_mark))


# --- patches ----------------------------------------------------------------------------------------

BUILT_IN = re.compile(r"v1|(apps|batch|autoscaling|policy|extensions|[a-z.]+\.k8s\.io)/.*")
"""API groups whose lists Kustomize knows how to merge."""

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",), "initContainers": ("name",), "ephemeralContainers": ("name",), "env": ("name",),
    "volumes": ("name",), "volumeMounts": ("mountPath",), "volumeDevices": ("devicePath",), "secrets": ("name",),
    "imagePullSecrets": ("name",), "hostAliases": ("ip",), "resourceClaims": ("name",), "webhooks": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"), "conditions": ("type",),
    "ownerReferences": ("uid",), "schedulingGates": ("name",),
}
"""What tells the items of a list apart when it is merged; a list that is not here is replaced as a whole."""


def merge_keys(name: str, kind: str, items: Sequence[Traced]) -> tuple[str, ...] | None:
    """The keys by which a list is merged, none for one of plain words, None for one that is replaced."""
    if name == "ports":
        if any("containerPort" in item.fields() for item in items):
            return "containerPort", "protocol"
        return ("port", "protocol") if kind == "Service" else None
    return () if name == "finalizers" else MERGE_KEYS.get(name)


def merged(base: Traced, patch: Traced, kind: str, name: str = "", keep: tuple[str, ...] = ()) -> Traced | None:
    """What a strategic merge patch makes of a value; None when it is taken away.

    :param kind: of the object; empty for one whose lists Kustomize does not know how to merge.
    :param name: the field in which the value is.
    :param keep: fields of the patch that only say what it is for.
    """
    if isinstance(patch.value, dict):
        directive = patch.text("$patch")
        if directive == "delete":
            return None
        if directive == "replace" or not isinstance(base.value, dict):
            return replace(bare(patch), before=base)
        values, removed = dict(base.value), dict(base.removed)
        for key, part in patch.value.items():
            if key.startswith("$") or (key in keep and key in values):
                continue
            old = values.get(key)
            new = None if part.value is None else bare(part) if old is None else merged(old, part, kind, key)
            if new is not None:
                values[key] = new
            elif values.pop(key, None) is not None:
                removed[key] = part.place
        return replace(base, value=values, removed=removed)
    if isinstance(patch.value, list) and isinstance(base.value, list):
        keys = merge_keys(name, kind, [*patch.value, *base.value]) if kind else None
        if keys is not None:
            return merged_list(base, patch, kind, keys)
    return replace(bare(patch), before=base)


def merged_list(base: Traced, patch: Traced, kind: str, keys: tuple[str, ...]) -> Traced | None:
    """What a strategic merge patch makes of a list whose items are known by ``keys``: the patch's come first."""
    told = {item.text("$patch") for item in patch.value if [*item.fields()] == ["$patch"]}
    if "delete" in told:
        return None
    waiting: dict[str, list[Traced]] = {}
    for item in base.value:
        waiting.setdefault(item.text(*keys[:1]), []).append(item)
    if "replace" in told:
        items = [replace(item, before=next(iter(waiting.get(item.text(*keys[:1]), ())), None))
                 for item in bare(patch).value]
        return replace(patch, value=items, before=base)
    found, removed, result = set(), dict(base.removed), []
    for item in patch.value:
        if [*item.fields()] == ["$patch"]:
            continue
        alike = waiting.get(item.text(*keys[:1]), [])
        same = next((other for other in alike if all(item.text(key) == other.text(key) or not item.text(key)
                                                     or not other.text(key) for key in keys[1:])), None)
        new = bare(item) if item.text("$patch") != "delete" else None
        if same is not None:
            new = merged(same, item, kind, keep=keys) if keys else same
            alike.remove(same)
            found.add(id(same))
        if new is None:
            removed[item.text(*keys[:1])] = item.place
        else:
            result.append(new)
    return replace(base, value=[*result, *(item for item in base.value if id(item) not in found)], removed=removed)


def bare(patch: Traced) -> Traced:
    """A part of a patch that is new as a whole, without what only tells how to merge it."""
    if isinstance(patch.value, dict):
        gone = {key: part.place for key, part in patch.value.items()
                if part.value is None or part.text("$patch") == "delete"}
        return replace(patch, value={key: bare(part) for key, part in patch.value.items()
                                     if not key.startswith("$") and key not in gone}, removed=gone)
    if isinstance(patch.value, list):
        return replace(patch, value=[bare(item) for item in patch.value if "$patch" not in item.fields()])
    return patch


def pointer(path: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def patched(root: Traced, operation: Traced) -> Traced:
    """What one operation of a JSON patch (RFC 6902) makes of an object; one that does not fit changes nothing."""
    steps, kind = pointer(operation.text("path")), operation.text("op")
    at = operation.get("path")
    if at is None or not steps:
        return root
    if kind == "remove":
        return edited(root, steps, None, at.place)
    source = operation.get("value")
    if kind in ("copy", "move"):
        origin = pointer(operation.text("from"))
        source = reached(root, origin)
        if source is None or not origin:
            return root
        if kind == "move":
            root = edited(root, origin, None, at.place)
    if source is None or kind not in ("add", "replace", "copy", "move"):
        return root
    return edited(root, steps, source, at.place, insert=kind != "replace")


def position(step: str) -> int:
    """A step of a JSON pointer as the number of an item, -1 where it is none."""
    return int(step) if re.fullmatch("[0-9]{1,9}", step) else -1


def reached(node: Traced | None, steps: Sequence[str]) -> Traced | None:
    """The value at a JSON pointer's steps."""
    for step in steps:
        if node is None:
            return None
        if isinstance(node.value, list):
            node = node.value[position(step)] if 0 <= position(step) < len(node.value) else None
        else:
            node = node.get(step)
    return node


def edited(node: Traced, steps: Sequence[str], new: Traced | None, at: Place, *, insert: bool = False) -> Traced:
    """The node with ``new`` at ``steps``, or without what is there when that is None; ``at`` says who asks for it."""
    step, rest = steps[0], steps[1:]
    if isinstance(node.value, dict):
        old = node.value.get(step)
        if rest:
            return node.has(step, edited(old, rest, new, at, insert=insert)) if old is not None else node
        if new is not None:
            return node.has(step, replace(new, before=old))
        left = {key: part for key, part in node.value.items() if key != step}
        return replace(node, value=left, removed={**node.removed, step: at}) if old is not None else node
    if not isinstance(node.value, list):
        return node
    values, removed = list(node.value), node.removed
    number = len(values) if step == "-" else position(step)
    if not 0 <= number < len(values) + (insert and not rest):
        return node
    if rest:
        values[number] = edited(values[number], rest, new, at, insert=insert)
    elif new is None:
        removed = {**removed, identity(values.pop(number)): at}
    elif insert:
        values.insert(number, new)
    else:
        values[number] = replace(new, before=values[number])
    return replace(node, value=values, removed=removed)


def identity(item: Traced) -> str:
    """What an item of a list is known by, for a list of what was removed."""
    return next((item.text(key) for key in IDENTITY if item.text(key)), item.text())


def changed(node: Traced, steps: Sequence[str], change: Change, new: Traced | None = None) -> Traced:
    """The node with ``change`` done to what is at ``steps``, in every item of the lists on the way.

    :param new: what to begin with where a field is missing; left out, nothing is done there.
    """
    if isinstance(node.value, list):
        values = [changed(item, steps, change, new) for item in node.value]
        return node if all(one is other for one, other in zip(values, node.value, strict=True)) else replace(
            node, value=values)
    if not steps:
        return change(node)
    if not isinstance(node.value, dict):
        return node
    old = node.value.get(steps[0])
    if old is None or (old.value is None and new is not None):
        if new is None:
            return node
        old = new if len(steps) == 1 else Traced({}, new.place)
    part = changed(old, steps[1:], change, new)
    return node if part is node.value.get(steps[0]) else node.has(steps[0], part)


# --- finding ----------------------------------------------------------------------------------------


def same(value: Any, node: Traced) -> bool:  # noqa: ANN401
    """Whether a rendered value is what a version of a traced one says: all of a scalar, only the type of others."""
    for kind in (dict, list):
        if isinstance(value, kind) or isinstance(node.value, kind):
            return isinstance(value, kind) and isinstance(node.value, kind)
    return text(value) == text(node.value)


def related(value: Any, node: Traced) -> bool:  # noqa: ANN401
    """Whether a rendered text was made of a traced one: a reference to a name that got a prefix or a hash, a text with
    variables in it. Then the line that has the traced text is the one that asks for it."""
    said = node.value
    return (isinstance(value, str) and isinstance(said, str) and said != ""
            and (said in value or value in said or "$(" in said))


def digest(value: Any) -> Any:  # noqa: ANN401
    """Something hashable that is equal for equal values, traced or not."""
    if isinstance(value, Traced):
        value = value.value
    if isinstance(value, Mapping):
        return frozenset((text(key), digest(part)) for key, part in value.items())
    return tuple(digest(item) for item in value) if isinstance(value, list) else text(value)


def likeness(value: Any, node: Traced) -> float:  # noqa: ANN401
    """How many fields of a rendered value a traced one says too; half a point for one that is related."""
    if isinstance(value, Mapping):
        parts = node.fields()
        return sum(likeness(part, parts[text(key)]) for key, part in value.items() if text(key) in parts)
    if isinstance(value, list):
        return sum(likeness(part, other) for part, other in zip(value, node.items(), strict=False))
    return 1.0 if same(value, node) else 0.5 if related(value, node) else 0.0


class Finder:
    """Finds the line of a field of one rendered object in what it was traced to."""

    def __init__(self, body: Mapping[str, Any], node: Traced, namespaces: Sequence[Traced] = ()) -> None:
        """:param namespaces: lines that set a namespace, the strongest last: Kustomize also writes it into
        references."""
        self.body, self.node, self.namespaces = body, node, namespaces
        self.known: dict[tuple[int, int], list[Traced | None]] = {}

    def __call__(self, path: FieldPath) -> Place:
        """The line that says the field at ``path``; where none does, its nearest parent's. For a field that is not
        there, the line that took it away; of a list, what was an item by its name, or the last one by a number."""
        value: Any = self.body
        node = self.node
        for step in path:
            if isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
                step %= len(value)
                found = self.items(value, node)[step]
            elif isinstance(value, Mapping) and step in value:
                found = self.field(value[step], node, step)
            else:
                return self.absent(value, node, step)
            if found is None:
                return node.place
            value, node = value[step], found
        return node.place

    def field(self, value: Any, node: Traced, step: str | int) -> Traced | None:  # noqa: ANN401
        """The newest version of a field that says the value, else one that it was made of."""
        versions = [version for parent in history(node) for version in history(parent.get(text(step)))]
        for fits in (same, related):
            for version in versions:
                if fits(value, version):
                    return version
        if step == "namespace":
            return next((line for line in reversed(self.namespaces) if same(value, line)), None)
        return None

    def absent(self, value: Any, node: Traced, step: str | int) -> Place:  # noqa: ANN401
        """The line that took a field away, else that of what it would be in."""
        removed = {key: place for version in [*history(node)][::-1] for key, place in version.removed.items()}
        if isinstance(value, list) and isinstance(step, int):
            return [node.place, *removed.values()][-1]
        return removed.get(text(step), node.place)

    def items(self, value: list[Any], node: Traced) -> list[Traced | None]:
        """For each item of a rendered list the traced one that it comes from."""
        versions = [version for version in history(node) if isinstance(version.value, list)]
        key = (id(value), id(node))
        if key not in self.known:
            found: list[Traced | None] = [None] * len(value)
            for version in versions:
                if None in found:
                    pair(value, version.value, found)
            self.known[key] = found
        return self.known[key]


def history(node: Traced | None) -> Iterator[Traced]:
    """A value and all that it took the place of, the newest first."""
    while node is not None:
        yield node
        node = node.before


def pair(value: list[Any], parts: list[Traced], found: list[Traced | None]) -> None:
    """Fill ``found``, for each item of a rendered list that has none yet, with the traced item that is most like it:
    an equal one, one with the same name, one that says most of the same. A traced item is taken once."""
    free = range(len(parts))
    equal: dict[Any, list[int]] = {}
    for number in reversed(free):
        equal.setdefault(digest(parts[number]), []).append(number)
    taken: set[int] = set()
    for index, item in enumerate(value):
        if found[index] is None and (numbers := equal.get(digest(item))):
            found[index] = parts[numbers[-1]]
            taken.add(numbers.pop())
    named: dict[tuple[str, str], list[int]] = {}
    for number in free:
        for key in IDENTITY:
            if number not in taken and parts[number].text(key):
                named.setdefault((key, parts[number].text(key)), []).append(number)
    for index, item in enumerate(value):
        if found[index] is None:
            key = next((key for key in IDENTITY if isinstance(item, Mapping) and key in item), "")
            numbers = named.get((key, text(item[key])), []) if key else []
            choose(value, parts, index, numbers[:MOST_ALIKE], taken, found)
            if numbers and found[index] is parts[numbers[0]]:
                numbers.pop(0)
    left = [index for index in range(len(value)) if found[index] is None]
    if len(left) * (len(parts) - len(taken)) <= MOST_PAIRS:
        for index in left:
            choose(value, parts, index, free, taken, found)


def choose(value: list[Any], parts: list[Traced], index: int, numbers: Sequence[int], taken: set[int],
           found: list[Traced | None]) -> None:
    """Give an item the one of some traced items that is most like it, the first where several are."""
    score, number = max(((likeness(value[index], parts[number]), -number) for number in numbers
                         if number not in taken), default=(0.0, 0))
    if score:
        found[index] = parts[-number]
        taken.add(-number)
