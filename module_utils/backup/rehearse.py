"""A real restore, again and again, into a folder and a database that nobody uses: what it brings back is compared with
what was written down when the backup was made.

The folder is in the database's volume, which the database's container has, too: the scratch database runs with the
image's own programs in that container's mount namespace, as its user, without a network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from . import jobs, manifest, restore
from . import settings as given
from .database import SEARCH_PATH, Database, number, volumes
from .decide import Points, Wish, choose, moment
from .problems import BackupProblem, Damaged, Incomplete, Unknown
from .restic import Repository
from .settings import Settings

SCRATCH = ".rehearsal"
JOURNAL = f"{given.WORK}/rehearse.json"
START_SECONDS = 1800.0
STALE = 3.0
"""Intervals after which WAL that was shipped is too old to lose no more than is promised."""

WAITS = 2.0
"""Intervals in which WAL is shipped, if it is shipped at all."""

MOVING_SECONDS = 900.0
"""So long before a snapshot its list of files may have been begun."""

SHOWN = 3
NAMES = ("kind", "mode", "owner", "group", "size", "time", "content")

Figures = dict[str, Any]


class Mismatch(BackupProblem):
    """What was restored is not what was saved."""

    remedy = "Keep the node: its data is what is right. See `restic check --read-data`, and make new backups:" \
             " systemctl start observer-backup-files observer-backup-base"


def run(settings: Settings) -> Figures:
    """The job. Right after a base backup it waits for what is written since then to leave the node.

    :raises BackupProblem: see :func:`rehearse`.
    """
    ends = time.monotonic() + WAITS * float(settings.intervals.get(given.WAL) or 60.0)
    while not counted_has_left(settings) and time.monotonic() < ends:
        time.sleep(2)
    return rehearse(settings, Repository(settings))


def counted_has_left(settings: Settings) -> bool:
    """Whether the log that was written since this node last counted its tables has left it: before that no restore
    reaches the point at which they are compared."""
    last = jobs.kept()
    rows = (last.get("rows") or {}) if jobs.ours(settings, last) else {}
    if not rows.get("lsn"):
        return True
    there = jobs.shipped(settings)
    return there is not None and (int(there["timeline"]), number(str(there["lsn"]))) > (
        int(rows["timeline"]), number(str(rows["lsn"])))


def rehearse(settings: Settings, repository: Repository, database: Database | None = None,
             now: Callable[[], float] = time.time) -> Figures:
    """Restore the newest backups and compare; what was compared.

    :raises BackupProblem: they cannot be restored, or are not what they should be.
    """
    database = database or Database(settings)
    began, asked = time.monotonic(), now()
    there = restore.gather(repository, Wish())
    if there.problem:
        raise there.problem
    if there.unreadable:
        raise Damaged(f"a snapshot in the repository cannot be read: {there.unreadable[0][:200]}")
    points = choose(there, Wish())
    if points is None:
        raise Incomplete("the repository holds no complete backup")
    top = f"{volumes(settings)[settings.database.claim]}/{SCRATCH}"
    parts = restore.parts_of(settings.claims, settings.config_folder)
    good = restore.good_of(there, points.files)
    restorer = restore.Restorer(settings, repository, there, points, parts, Wish(), journal=JOURNAL, base=top,
                                also=[str(good["manifest"])] if good.get("manifest") else [])
    shutil.rmtree(top, ignore_errors=True)
    try:
        restorer.refuse_room()
        restorer.fetch()
        fetched = time.monotonic()
        for place in (top, restorer.scratch, f"{restorer.scratch}/db"):
            os.chmod(place, 0o711)
        os.chmod(f"{restorer.scratch}/files", 0o700)
        figures = compare_files(restorer, good, points)
        figures |= compare_database(restorer, rows_of(there.records), database)
        fresh(settings, there.snapshots, there.records, restorer.told, asked)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return {**figures, "files_of": points.files.time, "base_of": points.base.time, "reached": restorer.told["lsn"],
            "fetch_seconds": round(fetched - began, 1)}


# --- files ------------------------------------------------------------------------------------------


def compare_files(restorer: restore.Restorer, good: Mapping[str, Any], points: Points) -> Figures:
    """Compare each restored file with the list that was made with its backup.

    :raises Mismatch: one is missing, too much, or another.
    """
    top = f"{restorer.scratch}/files"
    path = f"{top}{good.get('manifest', '')}"
    try:
        with open(path, "rb") as file:
            listed = hashlib.sha256(file.read()).hexdigest()
        wanted = {entry[0]: entry for entry in manifest.read_manifest(path)}
    except (OSError, ValueError) as error:
        raise Mismatch(f"the backup of {moment(points.files.time)} has no list of its files: {error}") from error
    if good.get("manifest_sha256") and listed != good["manifest_sha256"]:
        raise Mismatch(f"the list of files in the backup of {moment(points.files.time)} is not the one of its record")
    folders = [str(place) for place in (good.get("folders") or {}).values()]
    found = {entry[0].removeprefix(top): entry for place in folders
             for entry in manifest.entries(f"{top}{place}", {}, ())}
    wrong, moved = differences(wanted, found, points.files.time - MOVING_SECONDS,
                               float(good.get("time") or points.files.time) + 5)
    if wrong:
        raise Mismatch(f"{len(wrong)} of {len(wanted)} files of the backup of {moment(points.files.time)} are not as"
                       f" they were saved: {'; '.join(wrong[:SHOWN])}")
    return {"files": sum(entry[1] == "f" for entry in found.values()), "moved": moved}


def differences(wanted: Mapping[str, manifest.Entry], found: Mapping[str, manifest.Entry], since: float,
                until: float) -> tuple[list[str], int]:
    """What is not as it was listed, and how many things were changed while they were saved.

    Whatever was written between the list and the end of its backup may be in it either way.

    :param since, until: epoch between which that can have been.
    """
    def in_motion(path: str) -> bool:
        left, right = wanted.get(path), found.get(path)
        return left is not None and right is not None and left[6] != right[6] and since <= right[6] / 1e9 <= until

    wrong, moved = [], 0
    for path in sorted({*wanted, *found}):
        if in_motion(path):
            moved += 1
            if wanted[path][1:5] != found[path][1:5]:
                wrong.append(f"{path} has another kind, mode or owner")
        elif path not in found or path not in wanted:
            if in_motion(os.path.dirname(path)):
                moved += 1
            else:
                wrong.append(f"{path} is missing" if path not in found else f"{path} was not there")
        elif wanted[path][1:] != found[path][1:]:
            both = zip(NAMES, wanted[path][1:], found[path][1:], strict=True)
            wrong.append(f"{path} has another {' and '.join(name for name, left, right in both if left != right)}")
    return wrong, moved


# --- the database -----------------------------------------------------------------------------------


def rows_of(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest account of what the tables held.

    :raises Mismatch: there is none.
    """
    for one in reversed(records):
        if (one.get("rows") or {}).get("exact"):
            return dict(one["rows"])
    raise Mismatch("no record says what the tables held, so nothing can be compared",
                   "systemctl start observer-backup-base; see its journal when that does not help.")


def compare_database(restorer: restore.Restorer, rows: Mapping[str, Any], database: Database) -> Figures:
    """Recover to the very position at which the tables were counted, compare, and go on to the end of the WAL.

    :raises BackupProblem: it does not recover, or holds something else.
    """
    where = restorer.settings.database
    data, folder = f"{restorer.scratch}/db/pgdata", f"{restorer.scratch}/db/{restore.WAL_FOLDER}"
    owner = os.stat(f"{data}/global/pg_control")
    top = f"{where.mount}/{SCRATCH}"
    inner = f"{top}/{os.path.basename(restorer.scratch)}/db"
    scratch = Scratch(database, f"{inner}/pgdata", f"{restorer.root}/run", f"{top}/run")
    both = (owner.st_uid, owner.st_gid)
    timeline = restore.aim(restorer.told)
    restore.prepare(data, folder, inner, None, owner=both, timeline=timeline, more={
        "recovery_target_lsn": str(rows["lsn"]), "recovery_target_inclusive": "off", "recovery_target_action": "pause",
        "hot_standby": "on"})
    with scratch.running():
        scratch.until("SELECT pg_get_wal_replay_pause_state()", "paused")
        tables = [row[0] for row in scratch.psql(jobs.LIST_TABLES)]
        found = {table: {"rows": int(count), "sum": total} for table, count, total
                 in scratch.psql(f"{jobs.PLAIN} {jobs.tables_sql(tables)}")}
        defined = jobs.definitions(scratch.psql(
            f"{jobs.PLAIN} SET search_path = ''; {jobs.definitions_sql()}"))
    if wrong := compare_tables(rows["tables"], found):
        raise Mismatch(f"{len(wrong)} of {len(rows['tables'])} tables are not as they were at {rows['lsn']}:"
                       f" {'; '.join(wrong[:SHOWN])}")
    if other := compare_definitions(rows.get("definitions"), defined):
        raise Mismatch(f"the database's definitions are not as they were at {rows['lsn']}: {'; '.join(other)}")
    restore.prepare(data, folder, inner, None, owner=both, timeline=timeline)
    with scratch.running():
        scratch.until("SELECT pg_is_in_recovery()::text", "false")
        lsn = scratch.psql("SELECT pg_current_wal_lsn()")[0][0]
    if number(lsn) < number(str(restorer.told["lsn"])) - restore.CUT_OFF:
        raise Mismatch(f"the database recovered to {lsn}, and its WAL reached {restorer.told['lsn']}")
    return {"tables": len(found), "rows": sum(one["rows"] for one in found.values()), "counted_at": rows["at"],
            "definitions": sum(one["number"] for one in defined["kinds"].values()) if rows.get("definitions") else 0}


def compare_tables(wanted: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs, one sentence each."""
    said = []
    for name in sorted({*wanted, *found}):
        if name not in found:
            said.append(f"table {name} is missing")
        elif name not in wanted:
            said.append(f"table {name} was not there")
        elif int(wanted[name]["rows"]) != found[name]["rows"]:
            said.append(f"table {name} has {found[name]['rows']} rows, and had {wanted[name]['rows']}")
        elif str(wanted[name]["sum"]) != found[name]["sum"]:
            said.append(f"table {name} holds other rows than it did")
    return said


def compare_definitions(wanted: Mapping[str, Any] | None, found: Mapping[str, Any]) -> list[str]:
    """Which kinds of definitions differ, one sentence each. A record of before has none: nothing is compared.

    A kind that only one of both knows is left out: another release of this project wrote the record.
    """
    said = []
    before = (wanted or {}).get("kinds") or {}
    for kind, now in found["kinds"].items():
        if kind in before and now["number"] != int(before[kind]["number"]):
            said.append(f"there are {now['number']} {kind}, and there were {before[kind]['number']}")
        elif kind in before and now["sha256"] != before[kind]["sha256"]:
            said.append(f"{kind} are other ones than they were")
    return said


def fresh(settings: Settings, snapshots: Sequence[Any], records: Sequence[Mapping[str, Any]],
          told: Mapping[str, Any], now: float) -> None:
    """See that the WAL is of today.

    :param told: ``lsn`` and ``timeline`` that a restore reaches.
    :raises Mismatch: nothing leaves the node any more, or less is there than had left it.
    """
    last = [one for one in snapshots if one.kind == given.WAL][-1:]
    interval = float(settings.intervals.get(given.WAL) or 60.0)
    if settings.mode == given.ARCHIVE and (not last or now - last[0].time > STALE * interval):
        age = f"is of {moment(last[0].time)}" if last else "was never shipped"
        raise Mismatch(f"the newest WAL in the repository {age}, and it is shipped every {interval:.0f} s",
                       "On the node: systemctl status observer-backup-wal observer-backup-archive")
    if settings.mode == given.STREAM and not (records and records[-1].get("position")):
        raise Mismatch("the newest record does not say up to where the backup host has the WAL: nothing was received",
                       "On the node: systemctl status observer-backup-stream")
    known = [one["position"] for one in records if one.get("position")
             and int(one["position"]["timeline"]) == int(told["timeline"])]
    if known and number(str(known[-1]["lsn"])) > number(str(told["lsn"])):
        at = moment(float(known[-1]["at"]))
        raise Mismatch(f"the WAL that was saved ends at {told['lsn']}, and it had left the node up to"
                       f" {known[-1]['lsn']} at {at}",
                       "On the node: systemctl status 'observer-backup-*'; a new base backup closes a gap.")


class Scratch:
    """A database in a folder of the database's volume.

    :param data: its data folder as the container has it.
    :param outer, inner: a folder for its socket and log, as the node and as the container has it; a socket's path may
        have 107 characters at most.
    """

    def __init__(self, database: Database, data: str, outer: str, inner: str) -> None:
        self.database, self.data, self.outer, self.inner = database, data, outer, inner
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """:raises BackupProblem: it does not start."""
        run = self.outer
        shutil.rmtree(run, ignore_errors=True)
        os.makedirs(run, mode=0o700)
        found = self.database.container()
        os.chown(run, found.uid, found.gid)
        argv = self._inside("postgres", "-D", self.data, "-k", self.inner,
                            "-p", "5432", "-c", "listen_addresses=", "-c", "shared_buffers=32MB",
                            "-c", "archive_mode=off",
                            "-c", f"hba_file={self.inner}/hba.conf", "-c", "logging_collector=off",
                            "-c", "log_destination=stderr", "-c", "dynamic_shared_memory_type=mmap",
                            "-c", "fsync=off", "-c", "max_slot_wal_keep_size=-1", "-c", "ssl=off")
        with open(f"{run}/hba.conf", "w", encoding="ascii") as file:
            file.write("local all all trust\n")
        os.chown(f"{run}/hba.conf", found.uid, found.gid)
        with open(f"{run}/log", "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                            env={"LC_ALL": "C", "PATH": SEARCH_PATH}, start_new_session=True)
        try:
            yield
        finally:
            self._end()

    def _inside(self, program: str, *words: str) -> list[str]:
        found = self.database.container()
        return ["nsenter", "--target", str(found.pid), "--mount", "--setuid", str(found.uid), "--setgid",
                str(found.gid), "--", f"{self.database.settings.database.programs}/{program}", *words]

    def _end(self) -> None:
        if self.process is None:
            return
        for number_of, seconds in ((signal.SIGINT, 120.0), (signal.SIGQUIT, 20.0), (signal.SIGKILL, 20.0)):
            if self.process.poll() is None:
                self.process.send_signal(number_of)
                try:
                    self.process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        self.process = None

    def psql(self, sql: str) -> list[list[str]]:
        """:raises Unknown: it refuses, or does not answer yet."""
        found = self.database.container()
        done = subprocess.run(
            self._inside("psql", "--host", self.inner, "--username", found.user, "--dbname", found.name,
                         "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--no-password", "--set",
                         "ON_ERROR_STOP=1", "--field-separator", "\x1f", "--file", "-"),
            input=sql, capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": SEARCH_PATH}, cwd="/")
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise Unknown(f"the scratch database refused: {lines[-1][:200] if lines else done.returncode}")
        return [line.split("\x1f") for line in done.stdout.split("\n") if line]

    def until(self, sql: str, answer: str) -> None:
        """Ask until it answers so.

        :raises BackupProblem: it has ended, or does not within half an hour.
        """
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.psql(sql)[0][0] == answer:
                    return
                last = "it does not get there"
            except Unknown as problem:
                last = problem.what
            if self.process is None or self.process.poll() is not None:
                raise Damaged(f"the scratch database ended: {self._log()}")
            if time.monotonic() > ends:
                raise Damaged(f"the scratch database does not recover: {last}; {self._log()}")
            time.sleep(0.3)

    def _log(self) -> str:
        with open(f"{self.outer}/log", encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if "FATAL" in line or "PANIC" in line or "ERROR" in line]
        return lines[-1][-300:] if lines else "its log says nothing"

