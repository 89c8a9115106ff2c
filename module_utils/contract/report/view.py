"""What all renderings have in common: how each clause is, what counts, and text that does no harm where it is shown."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from ..classes import dataclass
from ..model import SEVERITIES, Clause, Finding, Kind, Place, Report, Severity
from .chapters import Changes, Chapter, Gate, Key, changes_of, chapters_of, gates_of, marks
from .words import LANGUAGES, Words

Part = Literal["title", "message", "remedy"]
Sentence = Callable[[Finding, Part, str], str]
"""The sentence of a finding's code: finding, part, language (``codes.sentence``)."""
Source = Callable[[Place], str]
"""The text of a place's line, without its end; empty when there is none to show. It is shown as it is, so whoever gives
it leaves out lines that hold a secret."""
DOCS = "docs/findings.md"
"""Where the codes are explained, each under a heading of its own."""
Level = Literal["error", "warning", "note"]

LONGEST = 1000
"""Characters of a value that people are shown; the JSON has all of it."""
LONGEST_LINE = 160
"""Characters of a line of source."""

# Controls, surrogates and what is no character; and what is not seen or turns the direction of what follows it, with
# which a value can look like another one.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
    + "".join(chr(plane * 0x10000 + last) for plane in range(1, 17) for last in (0xfffe, 0xffff)) + "]")
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class State(StrEnum):
    """How a clause is. A report's clauses are each in one of these, so that their numbers add up."""

    BROKEN = "broken"
    UNCHECKED = "unchecked"
    DRIFT = "drift"
    WAIVED = "waived"
    SKIPPED = "skipped"
    """None of its layers was among what was asked to be checked. It does not count."""
    HOLDS = "holds"


LEVELS: Mapping[Severity, Level] = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning",
                                    Severity.LOW: "note"}
MARKS = {State.BROKEN: "[!]", State.UNCHECKED: "[?]", State.DRIFT: "[!]", State.WAIVED: "[-]", State.SKIPPED: "[ ]",
         State.HOLDS: "[x]"}
"""Seed 001's marks, and one each for what it has no mark for."""


RANKS = {severity.upper(): rank for rank, severity in enumerate(SEVERITIES)}
"""Of labels, worst first."""


@dataclass(frozen=True, slots=True)
class Table:
    """A fact of several columns."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """A report with the language and the sentences it is told in."""

    report: Report
    words: Words
    sentence: Sentence
    source: Source | None = None
    docs: str = DOCS

    def title(self, finding: Finding) -> str:
        return shown(self.sentence(finding, "title", self.words.language), self.words)

    def message(self, finding: Finding) -> str:
        return shown(self.sentence(finding, "message", self.words.language), self.words, 2 * LONGEST)

    def remedy(self, finding: Finding) -> str:
        return shown(self.sentence(finding, "remedy", self.words.language), self.words, 2 * LONGEST)

    def value(self, text: str) -> str:
        """A value as it is written, or the word for none."""
        return shown(text, self.words) if text else self.words.none

    def line(self, place: Place | None) -> str:
        """The place's line of source; empty when there is none."""
        if self.source is None or place is None or place.line < 1:
            return ""
        text = self.source(place).expandtabs(4).rstrip()
        return shown(text, self.words, LONGEST_LINE) if text else ""

    @cached_property
    def states(self) -> tuple[State, ...]:
        """How each clause is, in the report's order."""
        return tuple(state(clause, self.report.findings) for clause in self.report.clauses)

    @cached_property
    def counts(self) -> Mapping[State, int]:
        """How many clauses are in each state, of those that any is in."""
        return Counter(self.states)

    @cached_property
    def to_mend(self) -> tuple[Finding, ...]:
        """What counts, worst first."""
        return tuple(one for one in self.report.findings if counts(one))

    @cached_property
    def external(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.report.findings if not one.waiver and not counts(one))

    @cached_property
    def waived(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.report.findings if one.waiver)

    @cached_property
    def loose(self) -> tuple[int, ...]:
        """Numbers of the findings that are about no clause of the list."""
        found = {number for clause in self.report.clauses for number in clause.findings}
        return tuple(number for number in range(len(self.report.findings)) if number not in found)

    @cached_property
    def items(self) -> Mapping[str, tuple[tuple[Clause, State], ...]]:
        """The clauses of each item of the contract, those that do not hold first."""
        order = list(State)
        grouped: dict[str, list[tuple[Clause, State]]] = {}
        for clause, how in zip(self.report.clauses, self.states, strict=True):
            grouped.setdefault(clause.item, []).append((clause, how))
        return {item: tuple(sorted(ones, key=lambda one: order.index(one[1]))) for item, ones in grouped.items()}

    def findings_of(self, clause: Clause) -> tuple[Finding, ...]:
        return tuple(self.report.findings[number] for number in clause.findings)

    @property
    def verdict(self) -> str:
        """PASS, FAIL, or what else the exit status means, in one word."""
        status = self.report.status
        reserved = status == 0 and (self.waived or self.external)
        return self.words.verdicts[status] + (self.words.conditional if reserved else "")

    @property
    def headline(self) -> str:
        """How many clauses hold, and how the others are."""
        name = shown(self.report.contract, self.words)
        if not self.report.clauses:
            return self.words.nothing.format(contract=name)
        text = self.words.hold.format(contract=name, holds=self.counts.get(State.HOLDS, 0), all=len(self.states))
        others = self.tally(one for one in State if one is not State.HOLDS)
        return f"{text}; {others}" if others else text

    def tally(self, states: Iterable[State]) -> str:
        """How many clauses are in each of ``states``, without those that are in none."""
        return ", ".join(self.words.count.format(count=self.counts[one], state=self.words.states[one])
                         for one in states if self.counts.get(one))

    @property
    def subline(self) -> str:
        """What there is to mend, by severity, and the exit status."""
        parts = []
        if self.to_mend:
            one, several = self.words.to_mend
            count = len(self.to_mend)
            severities = Counter(self.words.label(finding) for finding in self.to_mend)
            order = sorted(severities, key=lambda label: RANKS.get(label, len(RANKS)))
            parts.append((one if count == 1 else several.format(count=count)) + ": "
                         + ", ".join(f"{severities[label]} {label}" for label in order))
            outside = sum(counts(self.report.findings[number]) for number in self.loose)
            if outside:
                parts.append(self.words.outside.format(count=outside))
        return "; ".join([*parts, self.words.exit_status.format(status=self.report.status)])

    @property
    def checked(self) -> str:
        """Which places were checked."""
        return ", ".join(f"{shown(kind, self.words)} {shown(path, self.words)}" for kind, path in self.report.places)

    @property
    def date(self) -> str:
        return moment(self.report.date)

    @cached_property
    def chapters(self) -> tuple[Chapter, ...]:
        """The steps of a verification, the summary first."""
        return chapters_of(self.report.facts.get("steps"), self.cell)

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """The phases, and what has to hold to enter the next one."""
        return gates_of(self.report.facts.get("gates"), self.cell)

    @cached_property
    def changes(self) -> Changes | None:
        """What is new or mended since the last report."""
        return changes_of(self.report.facts.get("history"), self.cell)

    def since(self, changes: Changes) -> str:
        """When the last report was made."""
        try:
            return moment(datetime.datetime.fromisoformat(changes.since))
        except ValueError:
            return shown(changes.since, self.words)

    def changed(self, changes: Changes) -> str:
        """In a line, how many are new, mended and as they were."""
        words = self.words
        if not changes.since:
            return words.first_report
        parts = [words.new_since.format(count=len(changes.new)), words.mended_since.format(count=len(changes.mended)),
                 words.unchanged.format(count=changes.unchanged)]
        if changes.unseen:
            parts.append(words.unseen.format(count=len(changes.unseen)))
        return f"{words.since.format(date=self.since(changes))}: {', '.join(parts)}"

    def is_new(self, finding: Finding) -> bool:
        """Whether a finding was not in the last report."""
        if not self.changes or not self.changes.since or finding.waiver:
            return False
        return (key_of(finding), marks(finding.marks)) in self.changes.keys

    def about(self, chapter: Chapter) -> tuple[tuple[int, Finding], ...]:
        """The findings about a step, with their numbers."""
        return tuple((number, one) for number, one in enumerate(self.report.findings)
                     if key_of(one) in chapter.findings)

    @cached_property
    def plain_facts(self) -> tuple[tuple[str, Any], ...]:
        """The facts that have no rendering of their own, by name."""
        own = {name for name, found in (("steps", self.chapters), ("persistence", self.chapters), ("gates", self.gates),
                                        ("history", self.changes)) if found}
        return tuple((name, value) for name, value in sorted(self.report.facts.items()) if name not in own)

    @cached_property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """Facts of one value, by name."""
        return tuple((self.fact_name(name), self.cell(value))
                     for name, value in self.plain_facts if parts_of(value) is None)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Facts of several columns, by name; every text is fit to be shown."""
        found = []
        for name, value in self.plain_facts:
            if (parts := parts_of(value)) is None:
                continue
            columns, rows = parts
            if columns is None:
                known = list(self.words.fact_names)
                keys = sorted({key for row in rows for key in row},
                              key=lambda key: (known.index(key) if key in known else len(known), key))
                columns, rows = keys, [[row.get(key, "") for key in keys] for row in rows]
            found.append(Table(self.fact_name(name), tuple(self.fact_name(str(column)) for column in columns),
                               tuple(tuple(map(self.cell, row)) for row in rows)))
        return tuple(found)

    def fact_name(self, name: str) -> str:
        return shown(self.words.fact_names.get(name, name), self.words)

    def cell(self, value: Any) -> str:  # noqa: ANN401
        """A value of a fact in one line. One that is there in several languages is shown in the report's."""
        if isinstance(value, bool):
            return self.words.yes if value else self.words.no
        if isinstance(value, Mapping) and isinstance(value.get("en"), str) and set(value) <= set(LANGUAGES):
            value = value.get(self.words.language, value["en"])
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
        return shown(text, self.words)


def key_of(finding: Finding) -> Key:
    return finding.code, finding.clause, finding.subject, str(finding.layer)


def counts(finding: Finding) -> bool:
    """Whether a finding counts for the exit status."""
    return not finding.waiver and finding.kind is not Kind.EXTERNAL


def state(clause: Clause, findings: Sequence[Finding]) -> State:
    """How a clause is, by the findings about it."""
    about = [findings[number] for number in clause.findings]
    kinds = {one.kind for one in about if not one.waiver}
    if Kind.VIOLATION in kinds:
        return State.BROKEN
    if Kind.UNCHECKED in kinds:
        return State.UNCHECKED
    if Kind.DRIFT in kinds:
        return State.DRIFT
    if any(one.waiver for one in about):
        return State.WAIVED
    return State.HOLDS if clause.layers else State.SKIPPED


def level(finding: Finding) -> Level:
    """How loud SARIF and GitHub say a finding. What does not count is never more than a note."""
    if finding.waiver or finding.kind is Kind.EXTERNAL:
        return "note"
    if finding.kind is Kind.UNCHECKED:
        return "warning"
    return LEVELS[finding.severity]


def visible(text: str) -> str:
    """``text`` in one line, with everything that is not seen written as its escape."""
    return UNSEEN.sub(escaped, text)


def escaped(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    return NAMED.get(character) or (f"\\x{number:02x}" if number < 0x100 else
                                    f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")


def shown(text: str, words: Words, longest: int = LONGEST) -> str:
    """``text`` as people are shown it: visible, and not longer than they would read."""
    if len(text) <= longest:
        return visible(text)
    return visible(text[:longest]) + words.cut.format(count=len(text))


def quotes(sentence: str) -> list[str]:
    """A sentence cut at what stands between backticks: every second part is such."""
    return re.split("`([^`]+)`", sentence)


def moment(date: datetime.datetime) -> str:
    """A date and time to the minute, with what zone it is in when that is known."""
    text = date.isoformat(sep=" ", timespec="minutes")
    return text.replace("+00:00", " UTC") if text.endswith("+00:00") else re.sub(r"(?<=:\d\d)(?=[+-])", " ", text)


def parts_of(value: Any) -> tuple[Any, Any] | None:  # noqa: ANN401
    """Columns and rows of a fact that is a table: ``{"columns": [...], "rows": [[...]]}``, or a list of mappings, which
    says no columns. None when it is neither."""
    if isinstance(value, Mapping) and set(value) == {"columns", "rows"}:
        columns, rows = value["columns"], value["rows"]
        if isinstance(columns, list | tuple) and columns and isinstance(rows, list | tuple) and all(
                isinstance(row, list | tuple) and len(row) == len(columns) for row in rows):
            return columns, rows
    if isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) and row for row in value):
        return None, value
    return None
