"""How the backups stand: for programs (``state.json``), for people (``state.txt``) and for Prometheus.

Nothing in it is secret; everybody on the node may read it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import settings as given
from .files import write_file
from .problems import BackupProblem

FOLDER = given.STATE_FOLDER
TEXTFILE_FOLDER = "/var/lib/prometheus/node-exporter"
"""Where Debian's prometheus-node-exporter looks for files."""

METRICS_FILE = "observer_node_backup.prom"
OK, BAD = "ok", "bad"
LATE = 2.0
"""Intervals without a success after which a job is late."""
FIRST_SECONDS = 7200.0
"""The first success is not waited for any longer, however rarely a job is due. The last to begin is the rehearsal, an
hour after the timers."""
OVERDUE, LONG_OVERDUE = 7 * 86400.0, 30 * 86400.0
"""Seconds after which it is told, and after which it is bad, that nobody forgets what is old. It costs room and loses
nothing, and a backup host without room is told by the jobs: so there is time, but not for ever."""

WORDS = {"files": "files", "base": "base backup of the database", "wal": "shipping of WAL", "stream": "WAL stream",
         "check": "check of the repository", "rehearse": "rehearsed restore"}

State = dict[str, Any]


def expect(settings: given.Settings, now: float | None = None, folder: str = FOLDER) -> None:
    """Say which jobs are due how often; what is no longer due is forgotten. One that was not due counts from now.

    :raises OSError: the state cannot be written.
    """
    at = time.time() if now is None else now
    with changing(folder) as state:
        jobs = state.get("jobs") or {}
        rested = {job for job, one in jobs.items() if not one.get("interval")}
        state["jobs"] = {job: {"since": at, **(jobs.get(job) or {}), "interval": seconds,
                               **({"resumed": at} if job in rested else {})}
                         for job, seconds in settings.intervals.items()}
        state.pop("handed_over", None)
        if state.get("repository") != settings.repository_name:
            state.pop("overdue", None)
            state.pop("unreadable", None)
        state.update(identity=settings.identity, node=settings.node, mode=settings.mode, epoch=settings.epoch,
                     repository=settings.repository_name, textfile_dir=settings.textfile_dir)


def hand_over(folder: str = FOLDER) -> None:
    """No job is due on this node any more, until one is expected again.

    :raises OSError: the state cannot be written.
    """
    with changing(folder) as state:
        state["handed_over"] = time.time()
        # Told by jobs alone, which run elsewhere now.
        state.pop("overdue", None)
        state.pop("unreadable", None)
        for one in (state.get("jobs") or {}).values():
            one["interval"] = 0


def handed_over(folder: str = FOLDER) -> bool:
    """Whether the node's work was handed over to another machine."""
    try:
        return bool(read(folder).get("handed_over"))
    except (OSError, ValueError):
        return False


def failed(job: str, folder: str = FOLDER) -> bool:
    """Whether a job has failed at its last run."""
    try:
        return (read(folder).get("jobs") or {}).get(job, {}).get("ok") is False
    except (OSError, ValueError):
        return False


def update(job: str, ok: bool, at: float | None = None, why: str = "", *, remedy: str = "", folder: str = FOLDER,
           **figures: Any) -> None:  # noqa: ANN401 (numbers and short texts, as JSON)
    """Record how a job went.

    :param at: epoch of its end.
    :param figures: what it says of itself, kept until it says so again.
    :raises OSError: the state cannot be written.
    """
    moment = time.time() if at is None else at
    with changing(folder) as state:
        one = state.setdefault("jobs", {}).setdefault(job, {"since": moment, "interval": 0})
        if bool(one.get("ok", True)) != ok or "changed" not in one:
            one["changed"] = moment
        one.update(ok=ok, at=moment, why=why, remedy=remedy)
        if ok:
            one["good"] = moment
        if figures:
            one["figures"] = {**(one.get("figures") or {}), **figures}


def retention(since: float | None, folder: str = FOLDER) -> None:
    """Record since when old snapshots could have been forgotten.

    :param since: epoch; 0 when none could. None: that is nothing that this node can know.
    :raises OSError: the state cannot be written.
    """
    with changing(folder) as state:
        if since is None:
            state.pop("overdue", None)
            return
        day = time.strftime("%Y-%m-%d", time.gmtime(since))
        state["overdue"] = {"since": since} if not since else {
            "since": since, "warn_after": since + OVERDUE, "bad_after": since + LONG_OVERDUE,
            "why": f"old snapshots are overdue since {day}: run playbooks/backup.yml"}


def unreadable(problem: BackupProblem | None, folder: str = FOLDER) -> None:
    """Record what of the repository cannot be read. Jobs go on all the same; the backups are bad until it is mended.

    :raises OSError: the state cannot be written.
    """
    with changing(folder) as state:
        state.pop("unreadable", None)
        if problem:
            state["unreadable"] = {"why": problem.what, "remedy": problem.remedy}


def verdict(now: float | None = None, folder: str = FOLDER) -> tuple[str, list[str]]:
    """``ok`` or ``bad``, and what is wrong in sentences, the remedy in each."""
    try:
        state = read(folder)
    except (OSError, ValueError) as error:
        return BAD, [f"{folder}/state.json cannot be read: {error}"]
    return judge(state, time.time() if now is None else now)


def judge(state: Mapping[str, Any], now: float) -> tuple[str, list[str]]:
    """The verdict on a state."""
    jobs = state.get("jobs") or {}
    if state.get("handed_over"):
        return BAD, ["none are made here: the node's work was handed over to another machine"
                     f" {span(now - float(state['handed_over']))} ago"]
    if not jobs:
        return BAD, ["no backup has been made yet, and none is due"]
    wrong = []
    for job, one in sorted(jobs.items()):
        name = WORDS.get(job, job)
        interval = float(one.get("interval") or 0)
        if one.get("ok") is False:
            wrong.append(f"{name}: {one.get('why') or 'failed'}" + (f" ({one['remedy']})" if one.get("remedy") else ""))
        elif interval and now > late_after(one):
            last = now - float(one.get("good") or one.get("since") or 0)
            wrong.append(f"{name}: late, the last success was {span(last)} ago and one is due each {span(interval)}"
                         if one.get("good") else f"{name}: never succeeded, and has been due for {span(last)}")
    overdue = state.get("overdue") or {}
    if overdue.get("since") and now > overdue["bad_after"]:
        wrong.append(f"retention: {overdue['why']}")
    if one := state.get("unreadable"):
        wrong.append(f"repository: {one['why']} ({one['remedy']})")
    return (BAD if wrong else OK), wrong


def warnings(state: Mapping[str, Any], now: float) -> list[str]:
    """What should be done, though nothing is bad yet."""
    overdue = state.get("overdue") or {}
    due = overdue.get("since") and overdue["warn_after"] < now <= overdue["bad_after"]
    return [overdue["why"]] if due and not state.get("handed_over") else []


def late_after(one: Mapping[str, Any]) -> float:
    """When a job is late, as epoch."""
    interval = float(one.get("interval") or 0) * LATE
    if one.get("good"):
        return max(float(one["good"]), float(one.get("resumed") or 0)) + interval
    return float(one.get("since") or 0) + min(interval, FIRST_SECONDS)


def read(folder: str = FOLDER) -> State:
    """:raises OSError, ValueError: there is no state, or it is none."""
    with open(f"{folder}/state.json", encoding="utf-8") as file:
        found = json.load(file)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


@contextmanager
def changing(folder: str = FOLDER) -> Iterator[State]:
    """Change the state, one program at a time, and write all that is made of it.

    :raises OSError: it cannot be written.
    """
    os.makedirs(folder, mode=0o755, exist_ok=True)
    with open(f"{folder}/.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            state = read(folder)
        except (OSError, ValueError):
            state = {}
        yield state
        write(state, folder)


def write(state: State, folder: str = FOLDER, now: float | None = None) -> None:
    """Write what is told of a state.

    :raises OSError: it cannot be written.
    """
    moment = time.time() if now is None else now
    state["verdict"], state["wrong"] = judge(state, moment)
    state["warnings"] = warnings(state, moment)
    state["judged"] = moment
    for one in (state.get("jobs") or {}).values():
        # For whoever reads this without this program: after it the job is late.
        one["late_after"] = late_after(one)
    write_file(f"{folder}/state.json", json.dumps(state, indent=1, sort_keys=True) + "\n", 0o644)
    write_file(f"{folder}/state.txt", text(state, moment), 0o644)
    metrics_folder = state.get("textfile_dir") or TEXTFILE_FOLDER
    if os.path.isdir(metrics_folder):
        write_file(f"{metrics_folder}/{METRICS_FILE}", metrics(state), 0o644)


def text(state: Mapping[str, Any], now: float) -> str:
    """The state for people."""
    wrong = state.get("wrong") or []
    bad = "." if state.get("handed_over") else f": {len(wrong)} of their jobs."
    lines = ["The backups are good." if not wrong else f"THE BACKUPS ARE BAD{bad}", ""]
    for told in (wrong, state.get("warnings") or []):
        lines += [f"  {one}" for one in told] + ([""] if told else [])
    lines += [f"{key:<11} {state[key]}" for key in ("identity", "repository", "mode", "node", "epoch")
              if state.get(key)]
    for job, one in sorted((state.get("jobs") or {}).items()):
        good = f"good {span(now - float(one['good']))} ago" if one.get("good") else "no success yet"
        due = f"due each {span(float(one['interval']))}" if one.get("interval") else "not due"
        lines.append(f"{job:<11} {good}, {due}"
                     + "".join(f", {name} {value}" for name, value in sorted((one.get("figures") or {}).items())
                               if isinstance(value, (int, float, str))))
    return "\n".join(lines) + "\n"


def metrics(state: Mapping[str, Any]) -> str:
    """The state in Prometheus' text format."""
    jobs = sorted((state.get("jobs") or {}).items())
    lines = []

    def family(name: str, meaning: str, samples: list[tuple[str, float]]) -> None:
        if samples:
            lines.append(f"# HELP {name} {meaning}")
            lines.append(f"# TYPE {name} gauge")
            lines.extend(f"{name}{labels} {value}" for labels, value in samples)

    family("observer_node_backup_good", "Whether all backup jobs are good.", [("", int(state.get("verdict") == OK))])
    family("observer_node_backup_judged_timestamp_seconds", "When that was judged.", [("", state.get("judged", 0))])
    family("observer_node_backup_epoch", "Which writer of its repository this node is.", [("", state.get("epoch", 0))])
    if overdue := state.get("overdue"):
        family("observer_node_backup_overdue_timestamp_seconds",
               "Since when old snapshots could have been forgotten; 0 when none could.", [("", overdue["since"])])
    family("observer_node_backup_job_good", "Whether the job's last run succeeded.",
           [(f'{{job="{job}"}}', int(bool(one["ok"]))) for job, one in jobs if "ok" in one])
    family("observer_node_backup_success_timestamp_seconds", "When the job succeeded last.",
           [(f'{{job="{job}"}}', one["good"]) for job, one in jobs if one.get("good")])
    family("observer_node_backup_interval_seconds", "How often the job is due.",
           [(f'{{job="{job}"}}', one["interval"]) for job, one in jobs if one.get("interval")])
    family("observer_node_backup_figure", "What the job said of itself.",
           [(f'{{job="{job}",figure="{name}"}}', value) for job, one in jobs
            for name, value in sorted((one.get("figures") or {}).items())
            if isinstance(value, (int, float)) and not isinstance(value, bool)])
    return "\n".join(lines) + "\n"


def span(seconds: float) -> str:
    """A length of time for people."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
