"""The report as JUnit's XML: a test case for each clause, those that hold too.

Failures and errors are there exactly when the exit status is not 0: what is waived, outside or was not looked at does
not count. The elements and attributes are those that Jenkins and the readers on GitHub know.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from xml.etree import ElementTree

from ..model import Clause, Finding, Kind
from .chapters import Chapter
from .view import State, View, counts


def as_junit(view: View) -> str:
    """A suite for each item of the contract, and one for findings that are about no clause."""
    report = view.report
    name = view.value(report.contract)
    top = ElementTree.Element("testsuites", name=f"{view.words.title} {name}")
    for item, clauses in view.items.items():
        suite(view, top, f"{name}.{view.value(item)}", [case(view, item, *one) for one in clauses])
    if view.chapters:
        suite(view, top, f"{name}.steps", [step_case(view, one) for one in view.chapters])
    loose = [loose_case(view, report.findings[number]) for number in view.loose]
    if loose:
        suite(view, top, f"{name}.findings", loose)
    for count in ("tests", "failures", "errors", "skipped"):
        top.set(count, str(sum(int(one.get(count, 0)) for one in top)))
    top.set("time", "0")
    ElementTree.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(top, encoding="unicode")}\n'


def suite(view: View, top: ElementTree.Element, name: str, cases: Sequence[ElementTree.Element]) -> None:
    # The schema knows no zone.
    date = view.report.date
    moment = (date.astimezone(datetime.UTC) if date.tzinfo else date).replace(tzinfo=None, microsecond=0)
    element = ElementTree.SubElement(top, "testsuite", name=name, tests=str(len(cases)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(count, str(sum(one.find(tag) is not None for one in cases)))
    element.set("time", "0")
    element.set("timestamp", moment.isoformat())
    properties = ElementTree.SubElement(element, "properties")
    for key, value in (("contract_file", view.report.contract_file), *view.report.places):
        ElementTree.SubElement(properties, "property", name=view.value(key), value=view.value(value))
    for one in cases:
        one.set("classname", name)
        element.append(one)


def case(view: View, item: str, clause: Clause, how: State) -> ElementTree.Element:
    """A clause. One of failure, error and skipped at most: not every reader takes more."""
    findings = view.findings_of(clause)
    element = ElementTree.Element("testcase", name=view.value(clause.name), time="0")
    counted = [one for one in findings if counts(one)]
    others = [one for one in findings if one not in counted]
    if counted:
        # What decides the state is what the case is named and placed after.
        wanted = {State.BROKEN: Kind.VIOLATION, State.UNCHECKED: Kind.UNCHECKED}.get(how, Kind.DRIFT)
        counted.sort(key=lambda one: one.kind is not wanted)
        result(view, element, "error" if how is State.UNCHECKED else "failure", counted)
    elif how is State.WAIVED:
        skipped(view, element, others)
    elif how is State.SKIPPED:
        ElementTree.SubElement(element, "skipped", message=view.words.states[State.SKIPPED])
    if others:
        ElementTree.SubElement(element, "system-out").text = "\n\n".join(told(view, one) for one in others)
    return element


def step_case(view: View, chapter: Chapter) -> ElementTree.Element:
    """A step of the verification. It fails beside a finding that says why, so that the exit status agrees."""
    element = ElementTree.Element("testcase", name=chapter.title, time="0")
    verdict = view.words.step_verdicts[chapter.verdict]
    codes = dict.fromkeys(view.value(one.code) for _, one in view.about(chapter))
    message = "; ".join((verdict, *chapter.notes, *codes))
    if chapter.verdict == "fail" and view.report.status == 1:
        ElementTree.SubElement(element, "failure", type="step", message=message)
    elif chapter.verdict == "unchecked":
        ElementTree.SubElement(element, "skipped", message=message)
    else:
        ElementTree.SubElement(element, "system-out").text = message
    return element


def loose_case(view: View, finding: Finding) -> ElementTree.Element:
    name = " ".join(view.value(text) for text in (finding.code, finding.subject) if text)
    element = ElementTree.Element("testcase", name=name, time="0")
    if finding.waiver:
        skipped(view, element, [finding])
    elif finding.kind is not Kind.EXTERNAL:
        result(view, element, "error" if finding.kind is Kind.UNCHECKED else "failure", [finding])
    if finding.waiver or finding.kind is Kind.EXTERNAL:
        ElementTree.SubElement(element, "system-out").text = told(view, finding)
    return element


def result(view: View, element: ElementTree.Element, tag: str, findings: Sequence[Finding]) -> None:
    """All findings in one element, named after the first."""
    main = findings[0]
    locate(view, element, main)
    message = f"{view.words.label(main)}: {view.message(main)}"
    child = ElementTree.SubElement(element, tag, type=view.value(main.code), message=message)
    child.text = "\n\n".join(told(view, one) for one in findings)


def skipped(view: View, element: ElementTree.Element, findings: Sequence[Finding]) -> None:
    waived = [one for one in findings if one.waiver]
    locate(view, element, waived[0])
    reasons = dict.fromkeys(view.words.waived_by.format(owner=view.value(one.waiver.owner), expires=one.waiver.expires,
                                                        reason=view.value(one.waiver.reason))
                            for one in waived if one.waiver)
    ElementTree.SubElement(element, "skipped", message="; ".join(reasons))


def locate(view: View, element: ElementTree.Element, finding: Finding) -> None:
    if finding.place and finding.place.file:
        element.set("file", view.value(finding.place.file))
        if finding.place.line > 0:
            element.set("line", str(finding.place.line))


def told(view: View, finding: Finding) -> str:
    """All that there is to say of a finding."""
    words = view.words
    lines = [f"{words.label(finding)} {view.value(finding.code)}: {view.message(finding)}"]
    if finding.place:
        lines.append(f"{words.place}: {view.value(str(finding.place))}")
    lines.append(f"{words.layer}: {words.mend(finding.layer)}")
    if finding.subject:
        lines.append(f"{words.subject}: {view.value(finding.subject)}")
    if finding.expected or finding.actual:
        lines += [f"{words.expected}: {view.value(finding.expected)}", f"{words.actual}: {view.value(finding.actual)}"]
    lines.append(f"{words.remedy}: {view.remedy(finding)}")
    lines += [f"{words.related}: {view.value(str(one.place))} ({view.value(words.role(one.role))})"
              for one in finding.related]
    if finding.waiver:
        lines.append(words.waived_by.format(owner=view.value(finding.waiver.owner), expires=finding.waiver.expires,
                                            reason=view.value(finding.waiver.reason)))
    return "\n".join(lines)
