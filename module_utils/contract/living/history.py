"""Reports that are kept on the controller, and what is new or mended since the last one of the same inventory."""

from __future__ import annotations

import datetime
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..model import ContractError, Finding, Kind, Layer, Report
from ..report import from_json, render
from ..report.words import LANGUAGES
from .steps_of import living, step_of

KEPT = 50
STAMP = "%Y%m%dT%H%M%SZ"
NAMED = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
FILES = (("report.json", "json", "en"), ("report.junit.xml", "junit", "en"), ("report.sarif", "sarif", "en"),
         *((f"report{'' if language == 'en' else '.' + language}.{end}", form, language)
           for form, end in (("markdown", "md"), ("html", "html")) for language in LANGUAGES))
"""File, format, language."""

LARGEST = 32 * 1024 * 1024
"""Bytes of a report that are read."""

AREAS = {"NODE": "node", "BACKUP": "node", "DRIFT": "drift", "REPO": "repository", "PERSIST": "persistence"}

HALF_MADE = 3600
"""Seconds after which nobody works on a report any more."""

POD = re.compile(r"(?<=[a-z0-9])-[0-9a-f]{7,10}-[a-z0-9]{5}\b|(?<=pvc-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What is new of each pod of a Deployment, and of each volume."""


def folder_of(inventory: str, top: str | Path | None = None) -> Path:
    """Where the reports of an inventory are.

    :param top: the folder of all; left out, ``$XDG_STATE_HOME/observer-node/reports``.
    """
    if top is None:
        state = os.environ.get("XDG_STATE_HOME")
        top = (Path(state) if state else Path.home() / ".local" / "state") / "observer-node" / "reports"
    # One name, whatever it has in it: never the folder above.
    return Path(top) / (re.sub(r"[^\w.-]+", "_", inventory).strip(".") or "default")


def identity(finding: Finding) -> tuple[str, ...]:
    """By what a finding is the same one as in another report: no lines of files, no names that are new each time."""
    marks = (f"{name}={POD.sub('', value)}" for name, value in finding.marks.items())
    return finding.code, finding.clause, POD.sub("", finding.subject), str(finding.layer), *marks


def area(finding: Finding) -> str:
    """The kind of place (``Report.places``) that has to be looked at to find this again."""
    prefix = finding.code.partition("-")[0]
    if prefix in AREAS:
        return AREAS[prefix]
    if prefix in ("LIVE", "FAULT", "STEP", "EXT"):
        return "cluster"
    return {Layer.APP: "app", Layer.IMAGE: "app", Layer.NODE: "node", Layer.CLUSTER: "cluster"}.get(
        finding.layer, "manifests")


def looked(finding: Finding, report: Report) -> bool:
    """Whether a report would have the finding, if it were still true: its place was looked at (of a node, the same
    one), and nothing that could not be checked there hides it."""
    kind, host = area(finding), finding.values.get("seen_on", "")
    if not any(one == kind and host in ("", path) for one, path in report.places):
        return False
    return not any(hides(one, finding) for one in report.findings if one.kind is Kind.UNCHECKED)


def hides(gap: Finding, finding: Finding) -> bool:
    """Whether nobody would see a finding because of something else that could not be checked."""
    if gap.code == "STEP-02":
        return gap.values.get("step") == step_of(finding)
    if not (living(gap) or gap.code.startswith("DRIFT")) or area(gap) != area(finding):
        return False
    if gap.values.get("seen_on") != finding.values.get("seen_on"):
        return False
    about = gap.values.get("about", gap.subject)
    if about.startswith("log of "):
        return step_of(finding) == "step_2"
    # What could not be tried in one container keeps nothing else from being seen.
    return finding.subject in about if "(Pod " in about else True


def compared(report: Report, before: Report | None) -> dict[str, Any]:
    """What is new, mended or as it was since the last report; as data for ``Report.facts``.

    What was found then and was not looked at now is not mended: it is ``unseen``. Waived findings are left out.
    """
    now = grouped(report)
    if before is None:
        return {"since": None, "new": [], "mended": [], "unseen": [], "unchanged": 0, "why": ""}
    then = grouped(before)
    # Of several that nothing tells apart, as many are new or gone as there are more or fewer.
    gone = [one for key, some in then.items() for one in some[len(now.get(key, ())):]]
    return {
        "since": before.date.isoformat(),
        "new": [brief(one) for key, some in now.items() for one in some[len(then.get(key, ())):]],
        "mended": [brief(one) for one in gone if looked(one, report)],
        "unseen": [brief(one) for one in gone if not looked(one, report)],
        "unchanged": sum(min(len(some), len(then.get(key, ()))) for key, some in now.items()),
        "why": "",
    }


def grouped(report: Report) -> dict[tuple[str, ...], list[Finding]]:
    """The findings that count, by what they are the same by."""
    found: dict[tuple[str, ...], list[Finding]] = {}
    for one in report.findings:
        if not one.waiver:
            found.setdefault(identity(one), []).append(one)
    return found


def brief(finding: Finding) -> dict[str, Any]:
    """A finding in a line, in both languages."""
    from ..codes import sentence

    return {"code": finding.code, "subject": finding.subject, "severity": str(finding.severity),
            "kind": str(finding.kind), "layer": str(finding.layer), "clause": finding.clause, "marks": finding.marks,
            "text": {language: sentence(finding, "message", language) for language in LANGUAGES}}


def load_last(folder: Path, same: Callable[[Report], bool] = lambda _: True) -> tuple[Report | None, str]:
    """The newest report that can be read, and a sentence about a newer one that cannot; empty when all is well.

    :param same: whether a report is of the same system. An inventory's name may be another one's, too.
    """
    why = ""
    for path in reversed(kept(folder)):
        file = path / "report.json"
        try:
            if file.stat().st_size > LARGEST:
                raise ContractError(f"{file} has more than {LARGEST} bytes.", "Remove it.")
            report = from_json(file.read_text(encoding="utf-8"), str(file))
            if same(report):
                return report, why
        except ContractError as error:
            why = why or str(error)
        except (OSError, UnicodeDecodeError) as error:
            why = why or f"{file} cannot be read: {error}."
    return None, why


def kept(folder: Path) -> list[Path]:
    """Folders of reports, the oldest first."""
    try:
        return sorted((one for one in folder.iterdir() if NAMED.fullmatch(one.name) and not one.is_symlink()
                       and one.is_dir()), key=lambda one: (one.name[:16], int(one.name[17:] or 0)))
    except OSError:
        return []


def write(report: Report, folder: Path, most: int = KEPT) -> Path:
    """Keep a report: its files in a folder of its own, ``latest`` led there, and the oldest beyond ``most`` removed.

    Nobody else may read them, for they tell what is where. The folder appears with all its files or not at all.

    :returns: the new folder.
    :raises OSError: it cannot be written.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    name = report.date.astimezone(datetime.UTC).strftime(STAMP)
    made = folder / f".{name}.{secrets.token_hex(4)}"
    made.mkdir(mode=0o700)
    try:
        for file, form, language in FILES:
            descriptor = os.open(made / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(render(report, form, language))
        target = placed(made, folder, name)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    link = folder / f".latest.{secrets.token_hex(4)}"
    link.symlink_to(target.name)
    link.replace(folder / "latest")
    for old in kept(folder)[:-max(1, most)]:
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    # What a run that was killed has left half made.
    for half in folder.glob(".[0-9]*"):
        if half.is_dir() and half.stat().st_mtime < time.time() - HALF_MADE:
            shutil.rmtree(half, ignore_errors=True)
    return target


def placed(made: Path, folder: Path, name: str) -> Path:
    """Give a folder its name; a second one within a second gets a number."""
    for number in range(1000):
        target = folder / (f"{name}-{number}" if number else name)
        if target.exists():
            continue
        try:
            made.rename(target)
        except OSError:
            if not target.exists():
                raise
            continue
        return target
    raise OSError(f"{folder} has no free name for {name}")


def last_persistence(before: Report | None) -> Mapping[str, Any] | None:
    """The last result of Step 5 that a report has told of, in which pods were deleted."""
    found = (before.facts if before else {}).get("persistence")
    return found if isinstance(found, Mapping) and found.get("date") and found.get("deleted") else None
