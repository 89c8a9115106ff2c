"""What a report says of a living system: tables in both languages, ages and sizes as `kubectl` writes them, verdicts.

Everything here is data of JSON's types, kept in ``Report.facts`` and shown by every rendering (``report/chapters.py``):

- a text is a plain text, or ``{"en": ..., "ko": ...}``;
- a cell is a text, or ``{"verdict": ..., "text": ...}``;
- a table is ``{"title", "columns", "rows"}``;
- a chapter is ``{"id", "title", "verdict", "notes", "tables", "findings"}``.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from ..model import Finding, Kind

Text = str | dict[str, str]
Cell = Text | dict[str, Any]

KIBI = 1024
UNITS = ("", "Ki", "Mi", "Gi", "Ti")


class Verdict(StrEnum):
    """How a step ended (seed 001: each step has one)."""

    FAIL = "fail"
    UNCHECKED = "unchecked"
    """It was not looked at, or not all of it: nobody knows."""
    RESERVED = "reservations"
    """It holds, and there is something to know (seed 001: PASS with reservations)."""
    PASS = "pass"


WORST = tuple(Verdict)
"""Worst first."""


def both(en: str, ko: str) -> dict[str, str]:
    """A text in both languages."""
    return {"en": en, "ko": ko}


def marked(verdict: Verdict, text: Text = "") -> Cell:
    """A cell that says how something is, and what there is to say of it."""
    return {"verdict": str(verdict), "text": text}


def held(holds: bool | None, text: Text = "") -> Cell:
    """A cell for something that holds or does not; None: it was not looked at."""
    return marked(Verdict.UNCHECKED if holds is None else Verdict.PASS if holds else Verdict.FAIL, text)


def table(title: Text, columns: Sequence[Text], rows: Iterable[Sequence[Cell]]) -> dict[str, Any]:
    """A table, as data."""
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def chapter(
    name: str, title: Text, verdict: Verdict, tables: Iterable[dict[str, Any]], notes: Iterable[Text] = (),
    found: Iterable[Finding] = (),
) -> dict[str, Any]:
    """A step, as data; tables without rows are left out."""
    return {"id": name, "title": title, "verdict": str(verdict), "notes": list(notes),
            "tables": [one for one in tables if one["rows"]],
            "findings": [{"code": one.code, "clause": one.clause, "subject": one.subject, "layer": str(one.layer)}
                         for one in found]}


def judged(cells: Iterable[Cell], found: Iterable[Finding]) -> Verdict:
    """The verdict of a step: the worst of what its tables say and of the findings about it.

    What is waived, fails outside or has only drifted is a reservation. When somebody answers for all that is broken,
    so is what the tables show of it.
    """
    findings = list(found)
    verdicts = {Verdict(one["verdict"]) for one in cells if isinstance(one, dict) and "verdict" in one}
    broken = [one for one in findings if one.kind is Kind.VIOLATION]
    if broken and all(one.waiver for one in broken):
        verdicts.discard(Verdict.FAIL)
    for one in findings:
        counts = not one.waiver and one.kind in (Kind.VIOLATION, Kind.UNCHECKED)
        verdicts.add(Verdict.RESERVED if not counts else
                     Verdict.FAIL if one.kind is Kind.VIOLATION else Verdict.UNCHECKED)
    return next((one for one in WORST if one in verdicts), Verdict.UNCHECKED)


def cells_of(*tables: dict[str, Any]) -> Iterable[Cell]:
    """All cells of some tables."""
    for one in tables:
        for row in one["rows"]:
            yield from row


def age(seconds: float | None) -> str:
    """A time span as `kubectl` writes it: 17s, 5m30s, 29h, 2d1h."""
    if seconds is None:
        return "?"
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d"


def size(count: float | None) -> str:
    """Bytes as Kubernetes writes quantities, to one decimal: 20Gi, 61.3Mi."""
    if count is None:
        return "?"
    value, unit = float(count), 0
    while value >= KIBI and unit < len(UNITS) - 1:
        value, unit = value / KIBI, unit + 1
    text = f"{value:.1f}".removesuffix(".0")
    return f"{text}{UNITS[unit]}" if unit else f"{int(value)} B"


def few(names: Sequence[object], count: int | None = None, most: int = 5) -> dict[str, str]:
    """The first of some names, and how many more there are; ``count`` when not all are in ``names``."""
    said, more = "; ".join(map(str, names[:most])), (len(names) if count is None else count) - len(names[:most])
    return both(f"{said} and {more} more", f"{said} 외 {more}건") if more > 0 else both(said, said)


def moment(epoch: float | None) -> str:
    """A time in UTC, to the minute."""
    if epoch is None:
        return "?"
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
