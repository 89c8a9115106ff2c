"""The report as Markdown, for a pull request or a job's summary, in the manner of seed 001's tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..model import Clause, Finding, Place
from .chapters import Cell, Chapter, Gate
from .view import MARKS, State, View, quotes

SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "$": "&#36;"}
PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
NOT_IN_CODE = re.compile(r"[\\`|]")
# What GitHub makes of bare text: a message to somebody, a reference to an issue, a link.
REFERENCE = re.compile(r"(?<!\w)@(?=\w)|#(?=\d)|\bGH(?=-\d)|(?<=\w):(?=//)|\bwww(?=\.)", re.IGNORECASE)


VERDICTS = {"fail": "[!]", "unchecked": "[?]", "reservations": "[!]", "pass": "[x]"}
GATES = {"not_yet": "[ ]", "unchecked": "[?]", "met": "[x]"}


def as_markdown(view: View) -> str:
    """Verdict, a table of what is to mend, each finding, clauses by item, external failures, waivers, facts."""
    return "\n".join(lines(view)).rstrip("\n") + "\n"


def lines(view: View) -> Iterator[str]:
    words, report = view.words, view.report
    yield f"# {words.title}: {escape(view.value(report.contract))}"
    yield ""
    yield f"## {words.verdict}: {escape(view.verdict)}"
    yield ""
    yield f"**{words.meanings[report.status]}** {escape(view.headline)}"
    yield ""
    yield escape(view.subline)
    yield ""
    yield f"- **{words.contract}**: {valued(view, report.contract_file)}"
    for kind, path in report.places:
        yield f"- **{words.checked}**: {escape(view.value(kind))} {code(view.value(path))}"
    yield f"- **{words.date}**: {view.date}"
    yield ""
    yield from changes(view)
    yield f"## {words.summary}"
    yield ""
    if view.to_mend:
        yield from table((words.code, words.severity, words.content, words.area), (
            (escape(view.value(one.code)), words.label(one), content(view, one), str(one.layer))
            for one in view.to_mend))
        yield f"## {words.findings}"
        yield ""
        for number, finding in enumerate(view.to_mend, 1):
            yield from section(view, number, finding)
    else:
        yield words.no_findings
        yield ""
    if view.external:
        yield f"## {words.external}"
        yield ""
        yield words.external_note
        yield ""
        yield from table((words.code, words.content, words.remedy), (
            (escape(view.value(one.code)), content(view, one), prose(view.remedy(one))) for one in view.external))
    if view.chapters:
        yield f"## {words.steps}"
        yield ""
        for one in view.chapters:
            yield from step(view, one)
    if view.gates:
        yield f"## {words.gates}"
        yield ""
        for gate in view.gates:
            yield from checklist(view, gate)
    if report.clauses:
        yield f"## {words.clauses}"
        yield ""
        for item, clauses in view.items.items():
            yield from of_item(view, item, clauses)
    if view.waived:
        yield f"## {words.waived}"
        yield ""
        yield words.waived_note
        yield ""
        yield from table(
            (words.code, words.content, words.owner, words.reason, words.expires), (
                (escape(view.value(one.code)), content(view, one), escape(view.value(one.waiver.owner)),
                 escape(view.value(one.waiver.reason)), f"{one.waiver.expires} ({place(view, one.waiver.place)})")
                for one in view.waived if one.waiver))
    if view.figures or view.tables:
        yield f"## {words.facts}"
        yield ""
        if view.figures:
            yield from table((words.fact, words.value), ((escape(name), code(text)) for name, text in view.figures))
        for fact in view.tables:
            yield f"### {escape(fact.name)}"
            yield ""
            yield from table(map(escape, fact.columns), ([escape(text) for text in row] for row in fact.rows))


def changes(view: View) -> Iterator[str]:
    """What is new and what is mended since the last report."""
    words, found = view.words, view.changes
    if not found:
        return
    yield f"## {words.changes}"
    yield ""
    yield escape(view.changed(found))
    yield ""
    if found.why:
        yield escape(found.why)
        yield ""
    if found.since:
        for kind, some in ((words.new, found.new), (words.mended, found.mended), (words.not_seen, found.unseen)):
            for one in some:
                yield f"- **{kind}** {escape(one.code)} {prose(one.text)}"
        if found.new or found.mended or found.unseen:
            yield ""


def step(view: View, one: Chapter) -> Iterator[str]:
    """A step's tables, folded when there is nothing to know, and its verdict (seed 001)."""
    words = view.words
    yield f"### {escape(one.title)}"
    yield ""
    folded = one.verdict == "pass" and one.tables and one.name != "summary"
    if folded:
        yield f"<details><summary>{words.step_verdicts[one.verdict]}</summary>"
        yield ""
    for note in one.notes:
        yield escape(note)
        yield ""
    if found := dict.fromkeys(escape(view.value(about.code)) for _, about in view.about(one)):
        yield f"{words.about}: {', '.join(found)}"
        yield ""
    for grid in one.tables:
        if grid.title:
            yield f"**{escape(grid.title)}**"
            yield ""
        yield from table(map(escape, grid.columns), ([celled(view, cell) for cell in row] for row in grid.rows))
    if folded:
        yield "</details>"
        yield ""
    yield f"**{words.verdict}: {words.step_verdicts[one.verdict]}**"
    yield ""


def celled(view: View, cell: Cell) -> str:
    if not cell.verdict:
        return escape(cell.text)
    return f"{VERDICTS[cell.verdict]} {escape(cell.text or view.words.step_verdicts[cell.verdict])}"


def checklist(view: View, gate: Gate) -> Iterator[str]:
    """A phase, each condition with its evidence and what it lacks."""
    words = view.words
    yield f"### {escape(words.gate.format(phase=gate.phase, title=gate.title))}: {words.gate_states[gate.state]}"
    yield ""
    yield from table((words.condition, words.state, words.evidence, words.missing), (
        (escape(one.text), f"{GATES[one.state]} {words.gate_states[one.state]}", escape(one.evidence),
         escape(one.missing)) for one in gate.conditions))


def content(view: View, finding: Finding) -> str:
    """A finding in a cell: what is wrong, and where."""
    at = f"<br>{place(view, finding.place)}" if finding.place else ""
    return prose(view.message(finding)) + at


def section(view: View, number: int, finding: Finding) -> Iterator[str]:
    words = view.words
    yield f"### {number}. {escape(view.value(finding.code))} {escape(view.title(finding))}"
    yield ""
    rows = [(words.severity, words.label(finding)), (words.content, prose(view.message(finding)))]
    if finding.place:
        rows.append((words.place, place(view, finding.place)))
    rows.append((words.layer, escape(words.mend(finding.layer))))
    if finding.expected or finding.actual:
        rows += [(words.expected, valued(view, finding.expected)), (words.actual, valued(view, finding.actual))]
    rows.append((words.remedy, prose(view.remedy(finding))))
    rows += [(words.related, f"{place(view, one.place)} {escape(view.value(words.role(one.role)))}")
             for one in finding.related]
    rows += [(label, code(view.value(text))) for label, text in
             ((words.clause, finding.clause), (words.subject, finding.subject)) if text]
    yield from table((words.item, words.content), rows)


def of_item(view: View, item: str, clauses: Iterable[tuple[Clause, State]]) -> Iterator[str]:
    """The clauses of an item: those that do not hold in the open, the others folded."""
    words = view.words
    of_all = list(clauses)
    held = [one for one in of_all if one[1] is State.HOLDS]
    yield f"### {escape(view.value(words.item_name(item)))} ({len(held)}/{len(of_all)})"
    yield ""
    heads = (words.clause, words.layers, words.state)
    if len(held) < len(of_all):
        yield from table(heads, (row(view, *one) for one in of_all if one[1] is not State.HOLDS))
    if held:
        yield f"<details><summary>{words.holding.format(count=len(held))}</summary>"
        yield ""
        yield from table(heads, (row(view, *one) for one in held))
        yield "</details>"
        yield ""


def row(view: View, clause: Clause, how: State) -> tuple[str, str, str]:
    codes = dict.fromkeys(escape(view.value(one.code)) for one in view.findings_of(clause))
    told = " ".join([view.words.states[how] if how is not State.HOLDS else "", ", ".join(codes)]).strip()
    return code(view.value(clause.name)), ", ".join(clause.layers), f"{MARKS[how]} {told}".strip()


def place(view: View, at: Place) -> str:
    return code(view.value(str(at)))


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(heads)
    yield f"| {' | '.join(names)} |"
    yield f"|{'|'.join('---' for _ in names)}|"
    for one in rows:
        yield f"| {' | '.join(one)} |"
    yield ""


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line or a cell. It must be visible text (``view.visible``)."""
    text = REFERENCE.sub(lambda match: match[0] + "\u200b", text)
    return SPECIAL.sub(lambda match: ENTITIES.get(match[0]) or f"\\{match[0]}", text)


def prose(sentence: str) -> str:
    """A sentence, with what stands between backticks as code."""
    return "".join(code(part) if number % 2 else escape(part) for number, part in enumerate(quotes(sentence)))


def valued(view: View, text: str) -> str:
    """A value as code, or the word for none."""
    return code(view.value(text)) if text else view.words.none


def code(text: str) -> str:
    """A value as code, in one line or a cell.

    A backtick, a bar or a backslash cannot be told in a table's code span in a way that all readers agree on, so such a
    value is written as HTML with every special character as its number.
    """
    if text and not NOT_IN_CODE.search(text) and text == text.strip():
        return f"`{text}`"
    return f"<code>{PUNCTUATION.sub(lambda match: f'&#{ord(match[0])};', text)}</code>"
