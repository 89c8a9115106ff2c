"""The report as workflow commands of GitHub Actions: annotations on the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Finding
from .text import safe
from .view import View, level

COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def as_github(view: View) -> str:
    """One command a line, worst first (GitHub shows the first ten of each kind), then the verdict as a plain line."""
    return "\n".join(lines(view)) + "\n"


def lines(view: View) -> Iterator[str]:
    for finding in (*view.to_mend, *view.external, *view.waived):
        yield annotation(view, finding)
    # Plain, so nothing in it may look like a command.
    yield safe(f"{view.verdict}  {view.headline}; {view.subline}")


def annotation(view: View, finding: Finding) -> str:
    words = view.words
    named = {}
    if finding.place and finding.place.file:
        named["file"] = view.value(finding.place.file)
        if finding.place.line > 0:
            named["line"] = str(finding.place.line)
    label = words.waived if finding.waiver else words.label(finding)
    named["title"] = f"{label} {view.value(finding.code)}: {view.title(finding)}"
    text = [view.message(finding)]
    if finding.expected or finding.actual:
        text += [f"{words.expected}: {view.value(finding.expected)}", f"{words.actual}: {view.value(finding.actual)}"]
    text += [f"{words.layer}: {words.mend(finding.layer)}", f"{words.remedy}: {view.remedy(finding)}"]
    text += [f"{words.related}: {view.value(str(one.place))} ({view.value(words.role(one.role))})"
             for one in finding.related]
    if finding.waiver:
        text.append(words.waived_by.format(owner=view.value(finding.waiver.owner), expires=finding.waiver.expires,
                                           reason=view.value(finding.waiver.reason)))
    properties = ",".join(f"{name}={of_property(value)}" for name, value in named.items())
    return f"::{COMMANDS[level(finding)]} {properties}::{of_message(chr(10).join(text))}"


def of_message(text: str) -> str:
    """Percent signs first, for the others make new ones."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def of_property(text: str) -> str:
    return of_message(text).replace(":", "%3A").replace(",", "%2C")
