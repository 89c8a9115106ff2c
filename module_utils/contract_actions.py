"""What the actions that check a contract have in common: arguments in, findings out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase

from contract.codes import sentence
from contract.model import ContractError, Finding, Kind, Report
from contract.report import to_json
from contract.report.canonical import finding_body
from contract.run import Request, run

COMMON: dict[str, Any] = {
    "contract": {"type": "path", "required": True},
    "fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"],
                "default": ["violation", "unchecked"]},
}


class ContractAction(ActionBase):  # type: ignore[misc]
    """Reads files of the controller alone, and changes nothing."""

    ARGUMENTS: ClassVar[Mapping[str, Any]]
    _requires_connection = False

    def request(self, options: Mapping[str, Any]) -> Request:
        """What the arguments ask to be checked."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The report as data; failed when it has a finding of a kind that ``fail_on`` names."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec={**COMMON, **self.ARGUMENTS})
        try:
            report = run(self.request(options))
        except ContractError as error:
            return {"changed": False, "failed": True, "msg": str(error), "remedy": error.remedy}
        return {"changed": False, **result(report, [Kind(name) for name in options["fail_on"]])}


def result(report: Report, fail_on: list[Kind]) -> dict[str, Any]:
    """What a task returns of a report."""
    canonical = json.loads(to_json(report))
    said = findings_result(report.findings, fail_on, f"Contract {report.contract} holds in what was looked at.")
    return {"report": canonical, "status": report.status, "clauses": len(report.clauses), **said}


def findings_result(
    findings: Sequence[Finding], fail_on: Sequence[Kind], well: str = "Nothing is to be mended in what was looked at.",
) -> dict[str, Any]:
    """What a task returns of findings: as the report's JSON has them, and the first that makes it fail.

    :param well: what is said when none does.
    """
    # Through JSON, because Ansible warns of enumerations.
    bodies = json.loads(json.dumps([finding_body(one, sentence) for one in findings]))
    bad = [(one, data) for one, data in zip(findings, bodies, strict=True) if one.kind in fail_on and not one.waiver]
    found: dict[str, Any] = {"findings": bodies, "failed": bool(bad), "msg": well}
    if bad:
        one, data = bad[0]
        more = f" ({len(bad) - 1} more)" if len(bad) > 1 else ""
        found["msg"] = f"{one.place or one.subject}: {one.code}: {data['message']['en']}{more}"
        found["remedy"] = data["remedy"]["en"]
    return found


def seen_on(host: str, findings: Iterable[Finding]) -> list[Finding]:
    """Findings that say on which host of the inventory they were seen: only there they can be seen to be gone."""
    return [replace(one, values={**one.values, "seen_on": host}) for one in findings]


def optional_path(value: str | None) -> Path | None:
    return Path(value) if value else None
