"""What a report tells of a living system: changes since the last one, steps, gates. Read from its facts.

``living/wording.py`` says how they are written. A report may have been read back from a file, so what has not that
form is left to the plain tables of facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..classes import dataclass

VERDICTS = ("fail", "unchecked", "reservations", "pass")
"""Worst first."""
STATES = ("not_yet", "unchecked", "met")


Key = tuple[str, str, str, str]
"""Code, clause, subject and layer of a finding."""


Marks = frozenset[tuple[str, str]]
"""What tells findings of one key apart (``Finding.marks``)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, with a verdict or none."""

    text: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of a chapter; its title may be empty."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A step: what was seen, and its verdict. ``findings`` are those about it."""

    name: str
    title: str
    verdict: str
    notes: tuple[str, ...]
    tables: tuple[Grid, ...]
    findings: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that has to hold to enter the next phase."""

    text: str
    state: str
    evidence: str
    missing: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A phase."""

    phase: int
    title: str
    state: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A finding in a line."""

    code: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new, mended or not looked at again since ``since``; ``why`` an older report could not be read."""

    since: str
    new: tuple[Change, ...]
    mended: tuple[Change, ...]
    unseen: tuple[Change, ...]
    unchanged: int
    why: str
    keys: frozenset[tuple[Key, Marks]]
    """Of what is new."""


Told = Callable[[Any], str]
"""Makes a text that is fit to be shown of one, in the report's language."""


def chapters_of(value: Any, told: Told) -> tuple[Chapter, ...]:  # noqa: ANN401
    """The steps; none when ``value`` has not their form."""
    made = [chapter(one, told) for one in value] if isinstance(value, list | tuple) else []
    return tuple(one for one in made if one) if all(made) else ()


def chapter(value: Any, told: Told) -> Chapter | None:  # noqa: ANN401
    if not isinstance(value, Mapping) or value.get("verdict") not in VERDICTS or not isinstance(value.get("id"), str):
        return None
    if not all(isinstance(value.get(name), list | tuple) for name in ("notes", "tables", "findings")):
        return None
    tables = [grid(one, told) for one in value["tables"]]
    if None in tables:
        return None
    return Chapter(value["id"], told(value.get("title", "")), value["verdict"],
                   tuple(map(told, value["notes"])), tuple(one for one in tables if one),
                   tuple(key(one) for one in value["findings"] if isinstance(one, Mapping)))


def key(value: Mapping[str, Any]) -> Key:
    """By what a report finds one of its findings."""
    code, clause, subject, layer = (str(value.get(name)) for name in ("code", "clause", "subject", "layer"))
    return code, clause, subject, layer


def marks(value: Any) -> Marks:  # noqa: ANN401
    """Read from a report's facts, too, where they may have another form."""
    known = value if isinstance(value, Mapping) else {}
    return frozenset((str(name), str(one)) for name, one in known.items())


def grid(value: Any, told: Told) -> Grid | None:  # noqa: ANN401
    if not isinstance(value, Mapping):
        return None
    columns, rows = value.get("columns"), value.get("rows")
    if not isinstance(columns, list | tuple) or not columns or not isinstance(rows, list | tuple) or not all(
            isinstance(row, list | tuple) and len(row) == len(columns) for row in rows):
        return None
    return Grid(told(value.get("title", "")), tuple(map(told, columns)),
                tuple(tuple(cell(one, told) for one in row) for row in rows))


def cell(value: Any, told: Told) -> Cell:  # noqa: ANN401
    if isinstance(value, Mapping) and value.get("verdict") in VERDICTS:
        return Cell(told(value.get("text", "")), value["verdict"])
    return Cell(told(value))


def gates_of(value: Any, told: Told) -> tuple[Gate, ...]:  # noqa: ANN401
    """The phases; none when ``value`` has not their form."""
    made: list[Gate] = []
    for one in value if isinstance(value, list | tuple) else ():
        if not isinstance(one, Mapping) or one.get("state") not in STATES or type(one.get("phase")) is not int:
            return ()
        conditions = one.get("conditions")
        if not isinstance(conditions, list | tuple) or not all(
                isinstance(item, Mapping) and item.get("state") in STATES for item in conditions):
            return ()
        made.append(Gate(one["phase"], told(one.get("title", "")), one["state"], tuple(
            Condition(told(item.get("text", "")), item["state"], told(item.get("evidence", "")),
                      told(item.get("missing", ""))) for item in conditions)))
    return tuple(made)


def changes_of(value: Any, told: Told) -> Changes | None:  # noqa: ANN401
    """What changed since the last report; None when ``value`` has not that form."""
    if not isinstance(value, Mapping) or "since" not in value:
        return None
    parts = [value.get(name) for name in ("new", "mended", "unseen")]
    if not all(isinstance(part, list | tuple) and all(isinstance(one, Mapping) for one in part) for part in parts):
        return None
    new, mended, unseen = (changes(part or (), told) for part in parts)
    since, unchanged = value["since"], value.get("unchanged")
    return Changes(
        since if isinstance(since, str) else "", new, mended, unseen, unchanged if isinstance(unchanged, int) else 0,
        told(value.get("why") or ""), frozenset((key(one), marks(one.get("marks"))) for one in parts[0] or ()))


def changes(value: Sequence[Mapping[str, Any]], told: Told) -> tuple[Change, ...]:
    return tuple(Change(told(str(one.get("code", ""))), told(str(one.get("subject", ""))), told(one.get("text", "")))
                 for one in value)
