"""What a node's backups last said of themselves, judged anew: who has stopped says nothing of being late."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

SETTINGS = "/etc/observer-node/backup/settings.json"
STATE = "/var/lib/observer-node/backup/state.json"
STREAM = "stream"
RETENTION, REPOSITORY = "retention", "repository"
"""No jobs of the node's: the backup host forgets what is old when it is told to; what it has may be damaged."""
SETTLE = 90.0
"""Seconds that a stream has for its beginning: the way to the backup host, a slot, and commits that wait for it."""
AGAIN = 5.0
"""Seconds in which systemd has started it again, if it does."""
OFTEN, LATELY = 60.0, 600.0
"""A job that is due as often, and has been failing for no longer, may have failed while the database was away."""
POLL = 0.5


def collect(now: float, settings: str = SETTINGS, state: str = STATE,
            streams: Callable[[], float | None] | None = None) -> dict[str, Any] | None:
    """BackupFacts: ``mode``, ``epoch``, ``jobs`` (name -> ``good``: epoch of the last success or None), ``wrong``, a
    list of ``job`` and ``why``, and ``warnings``, what is not bad yet. None when this node makes none.

    A stream that has only just begun is waited for: what is known is what the one before it said, and nobody should
    hear that all is well, or that it is not, from that. So is the next run of a job that is due each minute and failed.

    :param streams: says for how many seconds the stream's service has been running; None when it is not.
    :raises OSError, ValueError, KeyError: it makes some, and does not say how they are.
    """
    if not os.path.exists(settings):
        return None
    told, wrong, begun, gone = _told(state), [], time.monotonic(), False
    while True:
        waited, pending = time.monotonic() - begun, _may_pass(told["jobs"])
        one = told["jobs"].get(STREAM) or {}
        if one.get("interval"):
            age = (streams or streaming)()
            gone = age is None
            known = one.get("ok") is True and age is not None and float(one.get("at") or 0) >= time.time() - age
            if not known and (age or 0) <= SETTLE:
                pending = max(pending, AGAIN if gone else SETTLE)
        if waited >= pending:
            break
        time.sleep(POLL)
        told = _told(state)
    for job, one in sorted(told["jobs"].items()):
        if job == STREAM and gone:
            wrong.append({"job": job, "why": f"observer-backup-{STREAM}.service does not run"})
        elif one.get("ok") is False:
            wrong.append({"job": job, "why": str(one.get("why") or "it failed")})
        elif one.get("interval") and now > one["late_after"]:
            last = one.get("good")
            why = f"the last success was {(now - last) / 60:.0f} min ago" if last else "it never succeeded"
            wrong.append({"job": job, "why": why})
    overdue, warnings = told.get("overdue") or {}, []
    if overdue.get("since") and now > overdue["bad_after"]:
        wrong.append({"job": RETENTION, "why": str(overdue["why"])})
    elif overdue.get("since") and now > overdue["warn_after"]:
        warnings.append(str(overdue["why"]))
    if told.get("unreadable"):
        wrong.append({"job": REPOSITORY, "why": str(told["unreadable"]["why"])})
    return {"mode": str(told.get("mode", "")), "epoch": int(told.get("epoch") or 0), "wrong": wrong,
            "warnings": warnings,
            "jobs": {job: {"good": one.get("good")} for job, one in sorted(told["jobs"].items())}}


def streaming() -> float | None:
    """For how many seconds the service of the stream has been running; None when it does not.

    :raises OSError, subprocess.TimeoutExpired, KeyError, ValueError: systemd does not say.
    """
    done = subprocess.run(
        ["systemctl", "show", f"observer-backup-{STREAM}", "--property=ActiveEnterTimestampMonotonic,ActiveState"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10)
    found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    began = int(found["ActiveEnterTimestampMonotonic"]) / 1e6
    return time.monotonic() - began if found["ActiveState"] == "active" else None


def _may_pass(jobs: dict[str, Any]) -> float:
    """For how many seconds to wait for the next run of a job that may have failed for what is over."""
    recent = [one for job, one in jobs.items() if job != STREAM and one.get("ok") is False
              and 0 < float(one.get("interval") or 0) <= OFTEN
              and time.time() - float(one.get("changed") or 0) < LATELY]
    return max((float(one["interval"]) + AGAIN for one in recent), default=0.0)


def _told(state: str) -> dict[str, Any]:
    with open(state, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found
