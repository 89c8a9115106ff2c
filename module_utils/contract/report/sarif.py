"""The report as SARIF 2.1.0, for code scanning: rules, places and related ones, fingerprints and suppressions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ..model import Finding, Place
from .markdown import escape
from .view import State, View, level, shown

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT = "%SRCROOT%"
LEVELS = ("error", "warning", "note")


def as_sarif(view: View) -> str:
    """One run with a rule for each code that occurs. Places are relative to the folder that was checked.

    The standard wants ``helpUri`` absolute: a relative ``docs`` is linked from the help text alone.
    """
    report = view.report
    rules: dict[str, list[Finding]] = {}
    for finding in report.findings:
        rules.setdefault(finding.code, []).append(finding)
    numbers = {code: number for number, code in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": "Execution contract", "rules": [rule(view, ones) for ones in rules.values()]}},
        "automationDetails": {"id": f"execution-contract/{quoted(report.contract)}/"},
        "language": view.words.language,
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": {"text": message(view.words.checked)}}},
        "invocations": [{
            # False would mean that the results are not to be trusted. A broken contract is a result.
            "executionSuccessful": True,
            "exitCode": report.status,
            "exitCodeDescription": view.words.meanings[report.status],
            **({"endTimeUtc": utc(view)} if report.date.tzinfo else {}),
        }],
        "results": [result(view, one, numbers[one.code]) for one in report.findings],
        "properties": {
            "contract": shown(report.contract, view.words),
            "contractFile": shown(report.contract_file, view.words),
            "verdict": view.verdict,
            "summary": view.headline,
            "clauses": {str(one): view.counts.get(one, 0) for one in State},
            "places": [{"kind": shown(kind, view.words), "path": shown(path, view.words)}
                       for kind, path in report.places],
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=True, indent=1) + "\n"


def utc(view: View) -> str:
    offset = view.report.date.utcoffset()
    assert offset is not None
    return (view.report.date - offset).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def rule(view: View, findings: Sequence[Finding]) -> dict[str, Any]:
    """A code. Its sentences are those of all its findings, so with the names of values in the values' places."""
    general = replace(findings[0], subject="<subject>", expected="<expected>", actual="<actual>",
                      values={name: f"<{name}>" for name in findings[0].values})
    code = view.value(general.code)
    title, text, remedy = view.title(general), view.message(general), view.remedy(general)
    link = f"{view.docs}#{quoted(general.code)}"
    return {
        "id": code,
        "shortDescription": {"text": message(title)},
        "fullDescription": {"text": message(text)},
        "help": {
            "text": message(f"{text}\n{view.words.remedy}: {remedy}"),
            "markdown": message(f"{escape(text)}\n\n**{view.words.remedy}**: {escape(remedy)}\n\n"
                                f"[{escape(code)}]({link})", links=True),
        },
        **({"helpUri": link} if "://" in link else {}),
        "defaultConfiguration": {"level": min(map(level, findings), key=LEVELS.index)},
        "properties": {"tags": ["execution-contract", *sorted({str(one.layer) for one in findings})]},
    }


def result(view: View, finding: Finding, rule_number: int) -> dict[str, Any]:
    words = view.words
    text = [view.message(finding)]
    if finding.expected or finding.actual:
        text.append(f"{words.expected}: {view.value(finding.expected)}. {words.actual}: {view.value(finding.actual)}.")
    text += [f"{words.layer}: {words.mend(finding.layer)}.", f"{words.remedy}: {view.remedy(finding)}"]
    body: dict[str, Any] = {
        "ruleId": view.value(finding.code),
        "ruleIndex": rule_number,
        "level": level(finding),
        "message": {"text": message("\n".join(text))},
        "locations": locations(view, finding),
        "partialFingerprints": {"executionContract/v1": fingerprint(finding)},
        "properties": {
            "clause": shown(finding.clause, view.words),
            "kind": finding.kind,
            "severity": finding.severity,
            "layer": finding.layer,
            "subject": shown(finding.subject, view.words),
            "expected": shown(finding.expected, view.words),
            "actual": shown(finding.actual, view.words),
        },
    }
    if view.changes and view.changes.since:
        body["baselineState"] = "new" if view.is_new(finding) else "unchanged"
    if finding.related:
        body["relatedLocations"] = [
            {"id": number, **location(one.place), "message": {"text": message(view.value(words.role(one.role)))}}
            for number, one in enumerate(finding.related, 1)
        ]
    if waiver := finding.waiver:
        body["suppressions"] = [{
            "kind": "external",
            "status": "accepted",
            "justification": words.waived_by.format(owner=view.value(waiver.owner), expires=waiver.expires,
                                                    reason=view.value(waiver.reason)),
            "location": location(waiver.place),
            "properties": {"owner": shown(waiver.owner, view.words), "expires": waiver.expires.isoformat()},
        }]
    return body


def locations(view: View, finding: Finding) -> list[dict[str, Any]]:
    """Where to mend. What has no place is told at the contract, for code scanning refuses a result without one."""
    place = finding.place or Place(view.report.contract_file)
    if not place.file:
        return []
    if not finding.subject:
        return [location(place)]
    return [{**location(place), "logicalLocations": [{"fullyQualifiedName": shown(finding.subject, view.words)}]}]


def location(place: Place) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": artifact(place.file)}
    if place.line > 0:
        physical["region"] = {"startLine": place.line}
    return {"physicalLocation": physical}


def artifact(file: str) -> Mapping[str, str]:
    """A file as a URI; a colon is encoded, for what is before it in a relative one would be a scheme."""
    if file.startswith("/"):
        return {"uri": f"file://{quoted(file)}"}
    return {"uri": quoted(file), "uriBaseId": ROOT}


def quoted(text: str) -> str:
    return quote(text, safe="/", errors="replace")


def fingerprint(finding: Finding) -> str:
    """The same when lines move or sentences change."""
    text = json.dumps([finding.code, finding.clause, finding.subject, finding.layer, *sorted(finding.marks.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def message(text: str, *, links: bool = False) -> str:
    """A message as the standard (3.11.5, 3.11.6) has it: braces doubled, for one alone begins a placeholder, and
    nothing that would be a link unless ``links``."""
    text = text.replace("{", "{{").replace("}", "}}")
    return text if links else re.sub(r"\](?=\()", "] ", text)
