"""The one canonical report as JSON, from which every other rendering can be made again."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from ..model import Clause, ContractError, Finding, Kind, Layer, Place, Related, Report, Severity, Waiver
from .view import Sentence, State, state
from .words import LANGUAGES

SCHEMA = "execution-contract-report/1"
"""Changes when a reader of the old one would misread the new one."""

DEEPEST = 20
"""Levels of nesting in facts that are read: more than anybody reads, and less than writing them again can bear."""

T = TypeVar("T")

# Raw, these could not be written as UTF-8, or would act on the terminal on which somebody looks at the file.
UNSAFE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff\ud800-\udfff]")


def to_json(report: Report, sentence: Sentence) -> str:
    """The report, always the same text for the same report: sorted keys, two blanks a level, a newline at the end.

    Beside the report's own fields it has what people read of every finding, in all languages, and counts; ``from_json``
    passes over those. Facts must be of JSON's types, with texts as keys.
    """
    body = {
        "schema": SCHEMA,
        "status": report.status,
        "counts": counts(report),
        "contract": report.contract,
        "contract_file": report.contract_file,
        "date": report.date.isoformat(),
        "places": [{"kind": kind, "path": path} for kind, path in report.places],
        "clauses": [
            {"name": one.name, "item": one.item, "layers": list(one.layers), "findings": list(one.findings),
             "state": state(one, report.findings)} for one in report.clauses
        ],
        "findings": [finding_body(one, sentence) for one in report.findings],
        "facts": dict(report.facts),
    }
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False)
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def counts(report: Report) -> dict[str, int]:
    """How many clauses are in each state; every state is named."""
    states = [state(one, report.findings) for one in report.clauses]
    return {str(one): states.count(one) for one in State}


def finding_body(finding: Finding, sentence: Sentence) -> dict[str, Any]:
    waiver = finding.waiver
    return {
        "code": finding.code,
        "clause": finding.clause,
        "kind": finding.kind,
        "severity": finding.severity,
        "layer": finding.layer,
        "place": place_body(finding.place),
        "subject": finding.subject,
        "expected": finding.expected,
        "actual": finding.actual,
        "values": dict(finding.values),
        "related": [{"role": one.role, "place": place_body(one.place)} for one in finding.related],
        "waiver": waiver and {
            "code": waiver.code, "subject": waiver.subject, "owner": waiver.owner, "reason": waiver.reason,
            "expires": waiver.expires.isoformat(), "place": place_body(waiver.place),
        },
        "title": {language: sentence(finding, "title", language) for language in LANGUAGES},
        "message": {language: sentence(finding, "message", language) for language in LANGUAGES},
        "remedy": {language: sentence(finding, "remedy", language) for language in LANGUAGES},
    }


def place_body(place: Place | None) -> dict[str, Any] | None:
    return {"file": place.file, "line": place.line} if place else None


def from_json(text: str, name: str = "report.json") -> Report:
    """The report that ``to_json`` wrote.

    :param name: how the text's file is called in messages.
    :raises ContractError: no JSON, of another schema, or a field that is missing or of another type; says which.
    """
    try:
        body = json.loads(text, parse_constant=refused)
    except json.JSONDecodeError as error:
        raise ContractError(f"{name}:{error.lineno} is not JSON: {error.msg}.", "Write the report again.",
                            Place(name, error.lineno)) from None
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{name} is not JSON that can be read: {str(error)[:100]}.", "Write the report again.",
                            Place(name)) from None
    read = Reader(body, name)
    schema = read.of("schema", str)
    if schema != SCHEMA:
        raise ContractError(f"{name} is a report of the schema {schema!r:.100}, not {SCHEMA}.",
                            "Read it with the version that wrote it, or write it again with this one.", Place(name))
    facts = read.of("facts", dict)
    if not shallow(facts, DEEPEST):
        raise read.wrong("facts", f"nested at most {DEEPEST} levels deep")
    findings = tuple(read_finding(one) for one in read.parts("findings"))
    return Report(
        contract=read.of("contract", str),
        contract_file=read.of("contract_file", str),
        date=read.made("date", instant),
        places=tuple((one.of("kind", str), one.of("path", str)) for one in read.parts("places")),
        clauses=tuple(read_clause(one, len(findings)) for one in read.parts("clauses")),
        findings=findings,
        facts=facts,
    )


def instant(text: str) -> datetime.datetime:
    """A date and time that is one in any zone.

    :raises ValueError: it is none.
    :raises OverflowError: it is before the first year or after the last somewhere.
    """
    date = datetime.datetime.fromisoformat(text)
    if date.tzinfo:
        date.astimezone(datetime.UTC)
    return date


def shallow(value: Any, levels: int) -> bool:  # noqa: ANN401
    """Whether ``value`` is nested at most ``levels`` deep; found without recursion."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [part for one in layer if isinstance(one, dict | list)
                 for part in (one.values() if isinstance(one, dict) else one)]
        if not layer:
            return True
    return False


def refused(constant: str) -> None:
    """Python's own NaN and Infinity, which are no JSON."""
    raise ValueError(f"it has {constant}")


class Reader:
    """A part of the JSON, and where it is, for messages."""

    def __init__(self, body: Any, name: str, at: str = "") -> None:  # noqa: ANN401
        self.body = body if isinstance(body, dict) else {}
        self.name = name
        self.at = at

    def wrong(self, key: str, wanted: str) -> ContractError:
        return ContractError(f"{self.name}: {self.at}{key} is not {wanted}.", "Write the report again.",
                             Place(self.name))

    def of(self, key: str, kind: type[T]) -> T:
        value = self.body.get(key)
        # True is an int to Python.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            names = {str: "a text", int: "a number", dict: "a mapping", list: "a list"}
            raise self.wrong(key, names.get(kind, kind.__name__))
        return value

    def made(self, key: str, make: Callable[[str], T]) -> T:
        text = self.of(key, str)
        try:
            return make(text)
        except (ValueError, OverflowError):
            raise self.wrong(key, f"known: {text!r:.100}") from None

    def part(self, key: str) -> Reader:
        return Reader(self.of(key, dict), self.name, f"{self.at}{key}.")

    def parts(self, key: str) -> list[Reader]:
        return [Reader(one, self.name, f"{self.at}{key}[{number}].") for number, one in enumerate(self.of(key, list))]

    def place(self, key: str) -> Place:
        part = self.part(key)
        line = part.of("line", int)
        if line < 0:
            raise part.wrong("line", "a line")
        return Place(part.of("file", str), line)


def read_finding(read: Reader) -> Finding:
    values = read.of("values", dict)
    if not all(isinstance(one, str) for one in values.values()):
        raise read.wrong("values", "a mapping of texts")
    return Finding(
        code=read.of("code", str),
        clause=read.of("clause", str),
        kind=read.made("kind", Kind),
        severity=read.made("severity", Severity),
        layer=read.made("layer", Layer),
        place=None if read.body.get("place") is None else read.place("place"),
        subject=read.of("subject", str),
        expected=read.of("expected", str),
        actual=read.of("actual", str),
        values=values,
        related=tuple(Related(one.of("role", str), one.place("place")) for one in read.parts("related")),
        waiver=None if read.body.get("waiver") is None else read_waiver(read.part("waiver")),
    )


def read_waiver(read: Reader) -> Waiver:
    return Waiver(read.of("code", str), read.of("subject", str), read.of("owner", str), read.of("reason", str),
                  read.made("expires", datetime.date.fromisoformat), read.place("place"))


def read_clause(read: Reader, findings: int) -> Clause:
    """:param findings: how many there are, for a clause may only name those."""
    numbers = read.of("findings", list)
    if not all(type(one) is int and 0 <= one < findings for one in numbers):
        raise read.wrong("findings", f"a list of numbers below {findings}")
    layers = read.of("layers", list)
    try:
        known = tuple(Layer(one) for one in layers)
    except (ValueError, TypeError):
        raise read.wrong("layers", "a list of layers") from None
    return Clause(read.of("name", str), read.of("item", str), known, tuple(numbers))
