"""Makes the one report of a living system, and keeps it. Documented in library/."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.codes import CODES, sentence
from contract.living import history
from contract.living.gates import summary
from contract.living.verified import Asked, system, verified
from contract.model import ContractError, Finding, Kind, Report
from contract.report import LANGUAGES, State, View
from contract.report.canonical import Reader, finding_body, read_finding
from contract.report.view import moment
from contract.report.words import words_of
from contract.spec import load_contract
from contract_actions import findings_result, optional_path

ARGUMENTS: Mapping[str, Any] = {
    "contract": {"type": "path", "required": True},
    "inventory": {"type": "str", "required": True},
    "source": {"type": "path"},
    "namespace": {"type": "str"},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "nodes": {"type": "dict", "default": {}},
    "cluster": {"type": "dict", "default": {}},
    "findings": {"type": "list", "elements": "dict", "default": []},
    "drift": {"type": "list", "elements": "dict"},
    "drift_hosts": {"type": "list", "elements": "str"},
    "persistence": {"type": "dict"},
    "manifests": {"type": "path"},
    "beside": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path"},
    "app": {"type": "path"},
    "repository": {"type": "path"},
    "gates": {"type": "bool", "default": True},
    "reports": {"type": "path"},
    "keep": {"type": "int", "default": history.KEPT},
    "language": {"type": "str", "choices": list(LANGUAGES), "default": "en"},
    "fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"],
                "default": ["violation", "unchecked"]},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone: no connection to the host is opened."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The report's figures; failed when it has a finding of a kind that ``fail_on`` names."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if options["keep"] < 1:
            return {"changed": False, "failed": True, "msg": "verify_report: keep is not at least 1.",
                    "remedy": "Keep one report or more."}
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        folder = history.folder_of(options["inventory"], options["reports"])
        try:
            contract = load_contract(Path(options["contract"])).name
            asked = Asked(
                contract=Path(options["contract"]), inventory=options["source"] or options["inventory"],
                live={"nodes": options["nodes"], "cluster": options["cluster"]}, hosts=options["hosts"],
                namespace=options["namespace"] or "", drift_hosts=options["drift_hosts"],
                findings=findings_of(options["findings"], "findings"),
                drift=None if options["drift"] is None else findings_of(options["drift"], "drift"),
                persistence=dated(options["persistence"], now), manifests=optional_path(options["manifests"]),
                beside=[Path(one) for one in options["beside"]], root=optional_path(options["root"]),
                app=optional_path(options["app"]), repository=optional_path(options["repository"]),
                gates=options["gates"])
            before, why = history.load_last(folder, lambda report: report.contract == contract and {
                *system(asked)} <= {*report.places})
            report = verified(replace(asked, before=before, why=why), now)
            kept = None if self._task.check_mode else history.write(report, folder, options["keep"])
        except ContractError as error:
            return {"changed": False, "failed": True, "msg": str(error), "remedy": error.remedy}
        except OSError as error:
            return {"changed": False, "failed": True,
                    "msg": f"The report cannot be kept in {folder}: {error.strerror or error}.",
                    "remedy": f"Make {folder} writable for you, or name another folder in `reports`."}
        return {"changed": False, **told(report, kept, options)}


def findings_of(bodies: list[Any], name: str) -> list[Finding]:
    """Findings as modules returned them.

    :raises ContractError: one is none, or has a code that nobody knows.
    """
    found = [read_finding(Reader(one, name, f"[{number}].")) for number, one in enumerate(bodies)]
    if unknown := sorted({one.code for one in found} - set(CODES)):
        raise ContractError(f"{name} has the code {unknown[0]}, which docs/findings.md does not know.",
                            "Take the modules and this action from one checkout.")
    return found


def dated(result: Mapping[str, Any] | None, now: datetime.datetime) -> dict[str, Any] | None:
    """A result of Step 5 with its date, which it lacks when it could not be done."""
    return None if not result else {"date": now.timestamp(), **result}


def told(report: Report, kept: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the task returns."""
    language = options["language"]
    words = words_of(language)
    view = View(report, words, sentence)
    page = "report.html" if language == "en" else f"report.{language}.html"
    changes = report.facts["history"]
    holds = view.counts.get(State.HOLDS, 0)
    looked = len(report.clauses) - view.counts.get(State.SKIPPED, 0)
    others = view.tally(one for one in State if one not in (State.HOLDS, State.SKIPPED))
    phases = summary(report.facts.get("gates") or [], language)
    html = str(kept / page) if kept else ""
    card: dict[str, Any] = {"verdict": f"{view.verdict}: {holds} of {looked} clauses of the contract hold"
                                       + (f", {others}" if others else "")}
    if phases:
        card["gates"] = phases
    if backups := backup_lines(options["nodes"], time.time()):
        card["backup"] = backups
    if changes["since"]:
        card["changes"] = (f"{len(changes['new'])} new, {len(changes['mended'])} mended since "
                           f"{moment(datetime.datetime.fromisoformat(changes['since']))}")
    if html:
        # By the link, which stays short and right.
        card["report"] = shown_path(Path(html).parent.parent / "latest" / page)
    bad = findings_result(report.findings, [Kind(name) for name in options["fail_on"]],
                          f"{view.verdict}: {view.headline}.")
    if bad["failed"] and html:
        bad["msg"] += f" The report: {html}."
    return {
        **{name: value for name, value in bad.items() if name != "findings"},
        "findings": [finding_body(one, sentence) for one in view.to_mend],
        "status": report.status, "verdict": view.verdict, "contract": {"holds": holds, "clauses": looked},
        "counts": {str(kind): sum(one.kind is kind and not one.waiver for one in report.findings) for kind in Kind},
        "steps": {one["id"]: one["verdict"] for one in report.facts["steps"]},
        "gates": {f"P{one['phase']}": one["state"] for one in report.facts.get("gates") or ()},
        "persisted": "persistence" in report.facts,
        "new": changes["new"], "mended": changes["mended"], "since": changes["since"],
        "folder": str(kept or ""), "html": html, "card": card,
    }


def backup_lines(nodes: Mapping[str, Any], now: float) -> list[str]:
    """How the backups of the nodes that make some stand: what is wrong, or how old the newest are and the last restore
    that was proven."""
    lines: list[str] = []
    for facts in nodes.values():
        backup = facts.get("backup") or {}
        if not backup:
            continue
        lines += backup.get("warnings") or []
        if backup["wrong"]:
            lines += [f"BAD: {one['job']}: {one['why']}" for one in backup["wrong"]]
            continue
        ages = {job: f"{age(now - one['good'])} ago" for job, one in backup["jobs"].items() if one.get("good")}
        lines.append(f"{backup['mode']}; " + ", ".join(
            f"{job} {ages[job]}" for job in ("files", "base", "wal", "stream") if job in ages))
        lines.append(f"restore proven {ages['rehearse']}" if "rehearse" in ages else "no restore was proven yet")
    return lines


def age(seconds: float) -> str:
    """A length of time, short."""
    return next((f"{seconds / size:.0f} {unit}" for size, unit in ((86400, "d"), (3600, "h"), (60, "min"))
                 if seconds >= 2 * size), f"{max(0, seconds):.0f} s")


def shown_path(path: Path) -> str:
    """A path as the one who runs this would type it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
