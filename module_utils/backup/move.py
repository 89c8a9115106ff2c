"""Handing a node's work over to another machine, no record lost.

The app is stopped first, and the database last: what was written until then leaves the node in between, and a record in
the repository says up to where, so that no machine takes over with less. Until then all of it can be undone, and is as
soon as something goes wrong.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from . import decide, jobs, restore, state, stream
from . import settings as given
from .database import ARCHIVER, RECEIVER, Database, number
from .problems import BackupProblem, Incomplete, Unknown, Unreachable
from .restic import Repository
from .settings import ARCHIVE, BASE, FILES, STREAM, WAL, Settings
from .workloads import UNITS, Run, Workloads

MEMORY = f"{given.WORK}/moving.json"
"""What was stopped, until the move has come to its end."""

MOVED = "moved"
"""What the record of a move has, and none after it: where and when the work was handed over."""

CAUGHT_UP_SECONDS = 60.0
JOB_SECONDS = 6 * 3600.0
ALONE_SECONDS = 30.0
POLL = 0.5
LASTING = {STREAM: "observer-backup-stream.service", ARCHIVE: "observer-backup-archive.service"}


class Mover:
    """One move away from this node."""

    def __init__(self, settings: Settings, repository: Repository, database: Database | None = None,
                 run: Run = subprocess.run, memory: str = MEMORY, folder: str = state.FOLDER,
                 kept: Callable[[], dict[str, Any]] = jobs.kept) -> None:
        self.settings, self.repository, self.folder, self._kept = settings, repository, folder, kept
        self.database = database or Database(settings)
        self.running = Workloads(settings.namespace, run, memory)
        self.application = RECEIVER if settings.mode == STREAM else ARCHIVER

    # --- before

    def moved(self) -> dict[str, Any]:
        """What the record of a move says; nothing when this node has written another since, or runs something."""
        last = self._kept()
        if last.get("epoch") != self.settings.epoch or not last.get(MOVED) or self.running.workloads():
            return {}
        return {**last[MOVED], "position": last["position"], "files": last["good"][FILES]["time"]}

    def plan(self) -> list[str]:
        """What a move would change now, one line each."""
        workloads = sorted(self.running.workloads(), key=lambda one: (one == self.settings.database.workload, one))
        return [*(f"{one}: stopped" for one in workloads), *(f"{one}: stopped and disabled" for one in self._units()),
                *([] if self.moved() else [f"{self.settings.node}: handed over"])]

    def refuse(self) -> None:
        """:raises BackupProblem: another machine could not go on from the backups as they are. Nothing was stopped."""
        verdict, wrong = state.verdict(folder=self.folder)
        if verdict != state.OK:
            raise restore.Refused(f"the backups of {self.settings.node} are not good: {wrong[0]}"
                                  f"{f'; and {len(wrong) - 1} more' if wrong[1:] else ''}; nothing was stopped",
                                  "Mend that (playbooks/backup.yml says how they stand), and run again.")
        last = self._kept()
        base = (last.get("good") or {}).get(BASE) if last.get("epoch") == self.settings.epoch else None
        if not base or (self.settings.mode == STREAM and base.get("slot") != stream.present_slot(self.database)):
            raise restore.Refused(f"no base backup was made on {self.settings.node} that its present WAL leads on from;"
                                  " nothing was stopped", "Run playbooks/backup.yml, and run again.")
        self._off_the_node()
        self.running.jobs_ended()
        self._restorable()

    # --- the move

    def hand_over(self) -> dict[str, Any]:
        """Stop everything, the app first, with all that it has written off the node; what the record says.

        :raises BackupProblem: it could not be; what was stopped runs again, unless the sentence says otherwise.
        """
        if not self.moved():
            try:
                self._save()
                self.running.stop()
            except BackupProblem as problem:
                raise self._undone(problem) from problem
        state.hand_over(self.folder)
        units = self._units()
        if units:
            # One that is stopped by now is stopped once more; a job at its work has ended before.
            self.running.call(["systemctl", "disable", "--now", *units])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.running.path)
        return self.moved()

    def _save(self) -> None:
        self.running.stop(keep=lambda one: not one.endswith(".timer"))
        self.running.jobs_ended()
        # What receives the WAL goes on as long as the database does.
        self.running.stop(keep=lambda one: one in (self.settings.database.workload, LASTING[self.settings.mode]))
        stopped = time.time()
        self._alone()
        self._job(FILES)
        goal = self._off_the_node()
        if self.settings.mode == ARCHIVE:
            # The segment that is not full yet is shipped as it is.
            self._job(WAL)
        self._restorable()
        with jobs.writing(self.settings, self.repository, MOVED):
            jobs.write_record(self.settings, self.repository, {MOVED: {
                "at": time.time(), "node": self.settings.node, "machine": self.settings.machine, "stopped": stopped}})
        reached = self._kept().get("position") or {}
        if not reached.get("lsn") or number(reached["lsn"]) < number(goal):
            raise Incomplete(f"the WAL that left the node ends at {reached.get('lsn') or 'an unknown place'}, and the"
                             f" database's at {goal}", "Run again.")

    def _undone(self, problem: BackupProblem) -> BackupProblem:
        """The problem, with what became of what was stopped. Nothing has left the node that would be wrong now."""
        try:
            self.running.start()
        except BackupProblem as other:
            return type(problem)(f"{problem.what}; what was stopped does not start again: {other.what}",
                                 f"{problem.remedy} site.yml starts everything again.")
        return type(problem)(f"{problem.what}; what was stopped runs again", problem.remedy)

    def _units(self) -> list[str]:
        """Units that are due or last, and those that would be after a reboot."""
        # Asked for ours alone, it fails when there are none.
        enabled = [line.split()[0] for line in self.running.call(
            ["systemctl", "list-unit-files", "--plain", "--no-legend", "--state=enabled"]).splitlines()
            if line.startswith(UNITS.rstrip("*"))]
        active = [one for one in self.running.units() if one.endswith(".timer") or one in LASTING.values()]
        return sorted({*enabled, *active})

    def _alone(self) -> None:
        """Wait until nobody is connected to the database any more but from its own pod."""
        ends = time.monotonic() + ALONE_SECONDS
        while rows := self.database.psql("SELECT usename, client_addr FROM pg_stat_activity WHERE client_addr IS NOT"
                                         " NULL AND backend_type = 'client backend'"):
            if time.monotonic() > ends:
                raise Unknown(f"{rows[0][0]} is still connected to the database, from {rows[0][1]}",
                              "End that, and run again.")
            time.sleep(POLL)

    def _job(self, job: str) -> None:
        """Run one job as its timer does."""
        try:
            self.running.call(["systemctl", "start", f"observer-backup-{job}.service"], JOB_SECONDS)
        except Unknown as problem:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                one = state.read(self.folder)["jobs"][job]
                if one["ok"] is False:
                    raise Unknown(f"{state.WORDS[job]}: {one['why']}", one["remedy"]) from problem
            raise

    def _off_the_node(self) -> str:
        """Up to where the database's WAL goes now, all of it received.

        :raises BackupProblem: it is not received.
        """
        goal = self.database.position().lsn
        if not stream.caught_up(self.database, CAUGHT_UP_SECONDS, self.application):
            unit = LASTING[self.settings.mode]
            raise Unreachable(f"the database's WAL was not received up to {goal} within {CAUGHT_UP_SECONDS:.0f} s",
                              f"See why: journalctl -u {unit}; and run again.")
        return goal

    def _restorable(self) -> None:
        """Find out that a machine with nothing on it would take the last backup of the files that was made.

        :raises BackupProblem: it would not.
        """
        snapshots, _ = self.repository.snapshots()
        self.repository.require_identity(snapshots)
        jobs.standing(self.settings, snapshots)
        bare = decide.Here(dict.fromkeys([*self.settings.claims, decide.CONFIG], decide.ABSENT),
                           self.settings.database.claim)
        found = decide.decide(bare, restore.gather(self.repository, decide.Wish()), decide.Wish(), self.settings.node)
        if isinstance(found, decide.Refuse):
            raise restore.Refused(f"another machine could not be restored from the backups: {found.what}", found.remedy)
        if isinstance(found, decide.Restore) and found.said:
            # What nobody can help after a loss is no way to leave by plan.
            said = f"{found.said[0][0].lower()}{found.said[0][1:]}"
            raise restore.Refused(f"another machine could not be restored from the backups: {said.rstrip('.')}",
                                  "Run playbooks/backup.yml, and run again.")
        files = (self._kept().get("good") or {}).get(FILES) or {}
        if not isinstance(found, decide.Restore) or not found.points or found.points.files.id != files.get("id"):
            raise Incomplete("the last backup of the files is not the one that another machine would restore",
                             "Run playbooks/backup.yml, and run again.")
