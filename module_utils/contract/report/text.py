"""The report for a terminal and the log of a CI run: at most ``WIDTH`` columns, colour only when asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ..classes import dataclass
from ..model import Finding, Kind, Place, Severity
from .chapters import Gate
from .view import State, View

WIDTH = 100
INDENT = "  "
MARGIN = 17
"""Columns of a finding's labels, indentation included."""
WIDEST_START = 44
"""Columns that what stands before a text may take, so that room is left for the text."""

RED, YELLOW, GREEN, CYAN, BOLD, DIM = "31;1", "33;1", "32;1", "36", "1", "2"

SHADES = {"fail": RED, "unchecked": YELLOW, "reservations": YELLOW, "pass": GREEN, "not_yet": YELLOW, "met": GREEN}
VERDICT_MARGIN = 27
"""Columns of what stands before a step's name."""

# What a CI runner takes for a command of its own when a line begins with it, or, in the older form, has it anywhere.
COMMAND = re.compile(r"::(?=[A-Za-z_-]+(?: |::))|##(?=\[|vso\[)")


def as_text(view: View, *, color: bool = False) -> str:
    """Verdict, findings worst first, what is outside, clauses by item, facts, what is waived."""
    return "\n".join(Terminal(view, color).lines()) + "\n"


@dataclass(frozen=True, slots=True)
class Terminal:
    """The report's lines. Every value is made visible first, so its own colours are the only escape sequences."""

    view: View
    color: bool

    def paint(self, text: str, how: str) -> str:
        return f"\x1b[{how}m{text}\x1b[0m" if self.color and text and how else text

    def block(self, start: str, text: str, how: str = "") -> Iterator[str]:
        """``text`` behind ``start``, further lines below it. ``how`` is the colour of ``start``."""
        start = fitting(safe(start), WIDEST_START)
        used = columns(start)
        parts = wrapped(safe(text), WIDTH - used)
        yield (self.paint(start, how) + parts[0]).rstrip()
        for part in parts[1:]:
            yield " " * used + part

    def labelled(self, label: str, text: str, how: str = "") -> Iterator[str]:
        """A line of a finding."""
        label = INDENT + label
        return self.block(label + " " * max(1, MARGIN - columns(label)), text, how)

    def heading(self, text: str) -> Iterator[str]:
        yield ""
        yield from (self.paint(line, BOLD) for line in wrapped(safe(text), WIDTH))

    def lines(self) -> Iterator[str]:
        view, words, report = self.view, self.view.words, self.view.report
        yield from self.block(f"{view.verdict}  ", view.headline, {0: GREEN, 1: RED}.get(report.status, YELLOW))
        yield from self.block(INDENT, view.subline)
        yield from self.block(f"{INDENT}{words.contract}: ", view.value(report.contract_file))
        if report.places:
            yield from self.block(f"{INDENT}{words.checked}: ", view.checked)
        yield from self.block(f"{INDENT}{words.date}: ", view.date)
        if view.changes:
            yield from self.block(INDENT, view.changed(view.changes))
            if view.changes.why:
                yield from self.block(INDENT, view.changes.why)
        for finding in view.to_mend:
            yield ""
            yield from self.finding(finding)
        if view.changes and view.changes.since and view.changes.mended:
            yield from self.heading(words.mended_since.format(count=len(view.changes.mended)))
            for change in view.changes.mended:
                yield from self.block(f"{INDENT}{change.code} ", change.text, GREEN)
        if view.chapters:
            yield from self.heading(words.steps)
            for chapter in view.chapters:
                yield from self.judged(words.step_verdicts[chapter.verdict], chapter.title, SHADES[chapter.verdict])
        if view.gates:
            yield from self.heading(words.gates)
            for gate in view.gates:
                yield from self.gate(gate)
        if view.external:
            yield from self.heading(f"{words.external} ({len(view.external)}). {words.external_note}")
            for number, finding in enumerate(view.external):
                if number:
                    yield ""
                yield from self.finding(finding)
        if report.clauses:
            yield from self.heading(words.clauses)
            yield from self.items()
        if view.figures or view.tables:
            yield from self.heading(words.facts)
            yield from self.facts()
        if view.waived:
            yield from self.heading(f"{words.waived} ({len(view.waived)}). {words.waived_note}")
            for finding in view.waived:
                yield from self.waived(finding)

    def finding(self, finding: Finding) -> Iterator[str]:
        """What is wrong, where, which layer to mend and how; then what it has to do with."""
        view, words = self.view, self.view.words
        loud = finding.kind is Kind.VIOLATION and finding.severity in (Severity.CRITICAL, Severity.HIGH)
        new = f"{words.new} " if view.is_new(finding) else ""
        yield from self.block(f"{new}{words.label(finding)}[{view.value(finding.code)}]: ", view.message(finding),
                              RED if loud else YELLOW)
        if finding.place:
            # In one piece where it fits, so that a terminal makes a link of it.
            yield from self.block(f"{INDENT}--> ", view.value(str(finding.place)), CYAN)
            yield from self.quoted(finding.place)
        yield from self.labelled(words.layer, words.mend(finding.layer))
        if finding.expected or finding.actual:
            yield from self.labelled(words.expected, view.value(finding.expected))
            yield from self.labelled(words.actual, view.value(finding.actual))
        yield from self.labelled(words.remedy, view.remedy(finding), BOLD)
        for number, one in enumerate(finding.related):
            yield from self.labelled("" if number else words.related,
                                     f"{view.value(str(one.place))}  {view.value(words.role(one.role))}")
            yield from self.quoted(one.place)
        if about := ", ".join(view.value(text) for text in (finding.clause, finding.subject) if text):
            yield from self.labelled(words.clause if finding.clause else words.subject, about)

    def judged(self, verdict: str, text: str, shade: str) -> Iterator[str]:
        """A step or a condition behind how it is."""
        start = INDENT + verdict
        return self.block(start + " " * max(1, VERDICT_MARGIN - columns(start)), text, shade)

    def gate(self, gate: Gate) -> Iterator[str]:
        """A phase, and what it lacks."""
        words = self.view.words
        yield from self.judged(words.gate_states[gate.state], words.gate.format(phase=gate.phase, title=gate.title),
                               SHADES[gate.state])
        for one in gate.conditions:
            if one.state != "met":
                yield from self.block(INDENT * 2 + "- ", f"{one.text}: {one.evidence}; {words.missing}: {one.missing}")

    def quoted(self, place: Place) -> Iterator[str]:
        """The line of source at a place."""
        if text := self.view.line(place):
            number = f"{place.line:>6} | "
            yield self.paint(number, DIM) + fitting(safe(text), WIDTH - len(number))

    def items(self) -> Iterator[str]:
        """One line for each item of the contract: how many of its clauses hold, and how the others are."""
        view = self.view
        names = {item: fitting(view.value(view.words.item_name(item)), 30) for item in view.items}
        margin = max(map(columns, names.values()))
        for item, clauses in view.items.items():
            states = [how for _, how in clauses]
            others = ", ".join(view.words.count.format(count=states.count(one), state=view.words.states[one])
                               for one in State if one is not State.HOLDS and one in states)
            held = f"{states.count(State.HOLDS)}/{len(states)}"
            yield from self.block(INDENT, f"{names[item]}{' ' * (margin - columns(names[item]))}  {held:>7}  {others}")

    def facts(self) -> Iterator[str]:
        for name, value in self.view.figures:
            yield from self.block(INDENT, f"{name}: {value}")
        for table in self.view.tables:
            yield from self.block(INDENT, f"{table.name}:")
            for row in table.rows:
                pairs = (f"{column}: {value}" for column, value in zip(table.columns, row, strict=True))
                yield from self.block(INDENT * 2, ", ".join(pairs))

    def waived(self, finding: Finding) -> Iterator[str]:
        """In short, with who answers for it."""
        view, waiver = self.view, finding.waiver
        assert waiver
        yield from self.block(f"{INDENT}[{view.value(finding.code)}] ", view.message(finding))
        if finding.place:
            yield from self.block(f"{INDENT * 2}--> ", view.value(str(finding.place)), CYAN)
        yield from self.block(INDENT * 2, view.words.waived_by.format(
            owner=view.value(waiver.owner), expires=waiver.expires.isoformat(), reason=view.value(waiver.reason)))
        yield from self.block(f"{INDENT * 2}{view.words.contract}: ", view.value(str(waiver.place)))


def safe(text: str) -> str:
    """``text`` without what a CI runner would obey."""
    return COMMAND.sub(lambda match: ":\\x3a" if match[0] == "::" else "#\\x23", text)


def columns(text: str) -> int:
    """How wide a terminal shows ``text``: Korean letters take two columns each."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def fitting(text: str, width: int) -> str:
    """As much of ``text`` as fits."""
    return text if columns(text) <= width else chopped(text, width - 1)[0] + "…"


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns, broken between words; a longer word is cut."""
    if columns(text) <= width:
        return [text]
    found: list[str] = []
    line, used = "", 0
    for word in text.split(" "):
        size = columns(word)
        if line and used + 1 + size > width:
            found.append(line)
            line, used = "", 0
        if size > width:
            *full, word = chopped(word, width)
            found += full
            size = columns(word)
        line, used = (f"{line} {word}", used + 1 + size) if line else (word, size)
    return [*found, line] if line or not found else found


def chopped(word: str, width: int) -> list[str]:
    """A word in pieces of at most ``width`` columns."""
    if word.isascii():
        return [word[at:at + width] for at in range(0, len(word), width)]
    pieces, piece, used = [], "", 0
    for character in word:
        size = columns(character)
        if piece and used + size > width:
            pieces.append(piece)
            piece, used = "", 0
        piece += character
        used += size
    return [*pieces, piece]
