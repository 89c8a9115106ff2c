"""Bringing a node's data back: files and the database, first beside their places and then, as the last act, in them.

What is half lies below ``<storage>/.restoring`` and is nobody's volume. A restore that was interrupted is done again
for what it lacked, with what it had fetched; one that had begun to put things in place goes on with the same snapshots.
Nothing that has data is ever overwritten: it keeps the restore from happening, or is kept aside under another name.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from . import settings as given
from . import wal
from .database import Database, number
from .decide import (
    ABSENT,
    CONFIG,
    DATA,
    EMPTY,
    PLACED,
    Decision,
    Here,
    Points,
    Refuse,
    There,
    Wish,
    decide,
    moment,
    offer,
)
from .files import sync_folder, used, write_file
from .problems import BackupProblem, Damaged, DatabaseDown, Full, Incomplete, Unknown
from .restic import Repository, Snapshot
from .settings import BASE, DATABASE_ROLE, FILES, Settings

SCRATCH = ".restoring"
JOURNAL = f"{given.WORK}/restore.json"
RECORD_FILE, POSITION_FILE = "record.json", f"{given.WORK}/wal/position.json"
RECORDS = 60
"""So many release records are looked through for whole snapshots, each at the cost of a second at most."""

SPARE, SPARE_BYTES = 0.05, 2 << 30
"""What stays free of a disk besides what is restored: a part of it, or that much if it is less."""

MISSING_WAL = "missing-wal"
"""Among what a restore is to do without: WAL that is known to have been there."""

CUT_OFF = 1 << 20
"""So long may the last record be that a power cut has cut off."""

LOOK_SECONDS = 20.0
RECOVERY_SECONDS = 1800.0
WAL_FOLDER = "wal"
KEPT = "lost+found"

OURS = ("restore_command", "recovery_target", "recovery_target_action", "recovery_target_inclusive",
        "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_timeline",
        "recovery_target_xid", "hot_standby")
"""Settings of a recovery; they go when it is over."""

CLEANED = (*OURS, "synchronous_standby_names", "primary_conninfo", "primary_slot_name", "archive_mode",
           "archive_command", "archive_library", "archive_cleanup_command", "recovery_end_command")
"""Settings that a base backup may carry and that would hang or harm the new database."""


class Refused(BackupProblem):
    """Nothing was overwritten."""

Of = TypeVar("Of")


# --- what is here, what is there --------------------------------------------------------------------


def look(storage: str, namespace: str, claims: Mapping[str, str], config: str, epoch: int,
         journal: str = JOURNAL) -> Here:
    """What the node has of the data.

    :raises Unknown: a folder cannot be read.
    """
    put = {part for part, move in (_journal(journal).get("moves") or {}).items()
           if not os.path.lexists(move["from"])} if _journal(journal).get("stage") == "placing" else set()
    parts: dict[str, str] = {}
    newest: float | None = None
    try:
        for part in parts_of(claims, config):
            places = places_of(part, storage, namespace, config)
            there = [place for place in places if os.path.isdir(place)]
            full = [place for place in there if any(True for _ in _files(place))]
            parts[part] = PLACED if part in put else DATA if full else EMPTY if there else ABSENT
            newest = max((at for place in full if (at := _newest(place)) is not None and part != CONFIG),
                         default=newest or 0.0) or newest
    except OSError as error:
        raise wal.problem_of(error, storage) from error
    database = next((claim for claim, role in claims.items() if role == DATABASE_ROLE), "")
    system = 0
    for place in folders_of(storage, namespace, database):
        with contextlib.suppress(OSError, struct.error):
            system = wal.system_of_data(f"{place}/pgdata")
    return Here(parts, database, newest, epoch, system)


def parts_of(claims: Iterable[str], config: str) -> list[str]:
    """The parts of a node's data by name."""
    return [*claims, *([CONFIG] if config else [])]


def places_of(part: str, storage: str, namespace: str, config: str) -> list[str]:
    """The folders that could be a part's."""
    return [config] if part == CONFIG else folders_of(storage, namespace, part)


def folders_of(storage: str, namespace: str, claim: str) -> list[str]:
    """The folders that could be a claim's volume."""
    try:
        names = sorted(os.listdir(storage))
    except FileNotFoundError:
        return []
    return [f"{storage}/{name}" for name in names if name.endswith(f"_{namespace}_{claim}")]


def gather(repository: Repository, wish: Wish, wide: bool = False, records_too: bool = True) -> There:
    """What the repository holds.

    :param records_too: say which snapshots are whole, too: each record takes a second to read.
    :param wide: read many records, and not only until a whole state is known: for an offer.
    """
    identity = repository.settings.identity
    try:
        snapshots, unreadable = repository.snapshots()
    except BackupProblem as problem:
        return There(identity, problem=problem)
    if unreadable and not snapshots:
        return There(identity, unreadable=unreadable, problem=Damaged.of_all(unreadable))
    records: list[dict[str, Any]] = []
    found: set[str] = set()
    chosen = [one for one in snapshots if one.kind == given.RECORD]
    if not records_too:
        chosen = []
    if wish.to is not None:
        before, after = around(wish.to, chosen, lambda one: (one.epoch, one.time))
        chosen = before + after
    for number_of, one in enumerate(reversed(chosen)):
        if {FILES, BASE} <= found and (number_of >= RECORDS or (
                not wide and wish.to is None and not wish.without)):
            break
        if any(name and one.id.startswith(name) for name in wish.without):
            continue
        try:
            records.insert(0, repository.read_json(one.id, RECORD_FILE))
        except Damaged as problem:
            unreadable = [*unreadable, f"record {one.id[:8]}: {problem.what}"]
            continue
        except BackupProblem as problem:
            return There(identity, snapshots, problem=problem)
        found |= {kind for kind in (FILES, BASE) if ((records[0].get("good") or {}).get(kind) or {}).get("id")}
    return There(identity, snapshots, records, unreadable, intervals=repository.settings.intervals)


def around(to: float, of: Sequence[Of], when: Callable[[Of], tuple[int, float]]) -> tuple[list[Of], list[Of]]:
    """What was written up to a time, and the first after it by who wrote then or has taken over since: the clock of the
    node before may have been ahead.

    :param when: says of one under which epoch, and when, it was written.
    """
    before = [one for one in of if when(one)[1] <= to]
    epoch = max((when(one)[0] for one in before), default=0)
    after = [one for one in of if when(one)[1] > to and when(one)[0] >= epoch]
    return before, sorted(after, key=lambda one: when(one)[1])[:1]


def good_of(there: There, snapshot: Snapshot) -> dict[str, Any]:
    """What a record says of a snapshot that it names."""
    return next((dict(one["good"][snapshot.kind]) for one in reversed(there.records)
                 if ((one.get("good") or {}).get(snapshot.kind) or {}).get("id") == snapshot.id), {})


def decided(here: Here, repository: Repository, wish: Wish, hostname: str, wait: float = 0.0,
            sleep: Callable[[float], None] = time.sleep) -> tuple[Decision, There]:
    """The decision, and what it was made of. While the repository does not answer it is asked again for ``wait`` s."""
    ends = time.monotonic() + wait
    # A node that has all its data is asked only whether the repository is its own.
    parts = [is_ for name, is_ in here.parts.items() if name != CONFIG]
    lacks = DATA not in parts or ABSENT in here.parts.values() or not here.epoch \
        or here.parts.get(here.database) == EMPTY
    while True:
        there = There(repository.settings.identity) if PLACED in here.parts.values() \
            else gather(repository, wish, records_too=lacks)
        found = decide(here, there, wish, hostname)
        if isinstance(found, Refuse) and found.waits and time.monotonic() < ends:
            sleep(5.0)
            continue
        if isinstance(found, Refuse) and there.problem is None and there.snapshots and not wish.without:
            there = gather(repository, wish, wide=True)
            found = decide(here, there, wish, hostname)
        return found, there


# --- restoring --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """What goes where as the last act, and where what is there goes; empty: nothing may be there."""

    source: str
    target: str
    aside: str = ""


class Restorer:
    """One restore.

    :param parts: claims, and ``config``.
    :param aside: what is in the places is kept under another name; else it keeps the restore from happening.
    :param base: where it is put together; below the storage folder by default.
    :param also: files of the backup besides the parts.
    :param leave_out: folders of which nothing is restored, as ``<claim>/<folder>``.
    """

    def __init__(self, settings: Settings, repository: Repository, there: There, points: Points, parts: Sequence[str],
                 wish: Wish, *, aside: bool = False, journal: str = JOURNAL, now: Callable[[], float] = time.time,
                 stores: Callable[..., list[Any]] = wal.stores, base: str = "", also: Sequence[str] = (),
                 leave_out: Sequence[str] = ()) -> None:
        self.settings, self.repository, self.there, self.points = settings, repository, there, points
        self.parts, self.wish, self.aside, self.journal, self._now = tuple(parts), wish, aside, journal, now
        self.also, self.leave_out = tuple(also), tuple(leave_out)
        name = "-".join([points.files.id[:8], points.base.id[:8], *([f"{wish.to:.0f}"] if wish.to is not None else [])])
        self.root = base or f"{settings.storage}/{SCRATCH}"
        self.scratch = f"{self.root}/{name}"
        self.database = next((claim for claim, role in settings.claims.items() if role == DATABASE_ROLE), "")
        self._stores = stores(settings, repository, there.snapshots, points.base, wish.to)
        self._pieces: dict[tuple[int, str], list[wal.Piece]] = {}
        self._moved: list[str] = []
        self.told: dict[str, Any] = {"files": points.files.id, "files_time": points.files.time, "base": points.base.id,
                                     "base_time": points.base.time}

    # --- before

    def refuse(self) -> None:
        """:raises BackupProblem: what can be known beforehand speaks against it. Nothing has been written yet."""
        for part in self.parts:
            for place in self._places(part):
                if busy(place):
                    raise Refused(f"{place} is in use by a pod, and {part} cannot be restored under it",
                                  "Stop what uses it, and run again.")
                if not self.aside and any(True for _ in _files(place)):
                    raise Refused(f"{place} has files, and data on a node is never overwritten",
                                  "Move it away, or use playbooks/restore.yml, which keeps it aside.")
        self.refuse_room()

    def refuse_room(self) -> None:
        """:raises Full: the disk has not the room that it takes."""
        needed, have = self.needed(), self._free()
        if needed > have:
            raise Full(f"{self.settings.storage} has {_size(have)} free, and the restore needs {_size(needed)}; nothing"
                       " was written", f"Make room there (df -h {self.settings.storage}), and run again.")

    def needed(self) -> int:
        """Bytes that it takes, less what an earlier attempt has fetched already."""
        total = 0
        if self._files_parts() and not self._files_there():
            known = good_of(self.there, self.points.files)
            total += int(known.get("disk") or self.points.files.bytes)
        if self.database in self.parts and not os.path.isdir(f"{self.scratch}/db/pgdata"):
            total += int(good_of(self.there, self.points.base).get("bytes") or self.points.base.bytes)
            start = str(good_of(self.there, self.points.base).get("segment") or "")
            if start:
                total += sum(piece.size for number_of in range(len(self._stores))
                             for piece in self._pieces_of(number_of, start))
        return max(0, total - (used(self.scratch) if total else 0))

    def _pieces_of(self, store: int, start: str) -> list[wal.Piece]:
        if (store, start) not in self._pieces:
            self._pieces[store, start] = self._stores[store].pieces(start)
        return self._pieces[store, start]

    def _free(self) -> int:
        place = self.settings.storage
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        found = os.statvfs(place)
        return int(found.f_bavail * found.f_frsize - min(SPARE_BYTES, found.f_blocks * found.f_frsize * SPARE))

    # --- fetching

    def fetch(self) -> None:
        """Get everything beside its place.

        :raises BackupProblem: not all of it could be had; nothing is in its place.
        """
        os.makedirs(self.settings.storage, mode=0o755, exist_ok=True)
        for name in os.listdir(self.root) if os.path.isdir(self.root) else ():
            if f"{self.root}/{name}" != self.scratch:
                shutil.rmtree(f"{self.root}/{name}")
        os.makedirs(self.scratch, mode=0o700, exist_ok=True)
        os.makedirs(os.path.dirname(self.journal), mode=0o700, exist_ok=True)
        before = _journal(self.journal)
        moved = {move["from"] for move in (before.get("moves") or {}).values() if before.get("stage") == "placing"
                 and not os.path.lexists(move["from"])} | set(before.get("moved") or [])
        # What an interrupted attempt with the very same backup has put in its place.
        self._moved = sorted(one for one in moved if one.startswith(f"{self.scratch}/"))
        state = {"stage": "fetching", "at": self._now(), "points": self.told, "moved": self._moved}
        write_file(self.journal, json.dumps(state) + "\n", 0o600)
        try:
            if self._files_parts():
                self._offered(self._fetch_files, self.points.files)
            if self.database in self.parts:
                self._offered(self._fetch_base, self.points.base)
                self._offered(self._fetch_wal, self.points.base)
        except OSError as error:
            raise wal.problem_of(error, self.scratch) from error
        os.sync()

    def _offered(self, do: Callable[[], None], snapshot: Snapshot) -> None:
        """A backup that turns out to be no good is refused with what there is instead."""
        try:
            do()
        except BackupProblem as problem:
            if self._free() < (64 << 20) and not isinstance(problem, (Damaged, Incomplete)):
                raise Full(f"{self.settings.storage} has no room left; what was fetched until then is kept, and nothing"
                           " is in its place", f"Make room there (df -h {self.settings.storage}), and run again."
                           ) from problem
            if isinstance(problem, (Damaged, Incomplete, Unknown)):
                remedy = offer(gather(self.repository, self.wish, wide=True), self.wish, snapshot.id)
                if do == self._fetch_wal and isinstance(problem, Incomplete):
                    without = ",".join([*self.wish.without, MISSING_WAL])
                    remedy = "To restore the database up to there, and lose what came after: run again with" \
                             f" -e backup_restore_without={without}. {remedy}"
                raise type(problem)(f"the backup of {snapshot.kind} {snapshot.id[:8]} of {moment(snapshot.time)} cannot"
                                    f" be restored, and nothing was overwritten: {problem.what}", remedy) from problem
            raise

    def _files_parts(self) -> list[str]:
        return [part for part in self.parts if part != self.database]

    def _saved(self, part: str) -> str:
        """The folder that a part was when it was saved."""
        known = good_of(self.there, self.points.files).get("folders") or {}
        place = known.get("" if part == CONFIG else part)
        if not place:
            place = next((path for path in self.points.files.paths if path.endswith(f"_{part}")), "") \
                if part != CONFIG else self.settings.config_folder
        return str(place)

    def _files_there(self) -> bool:
        """Whether an earlier attempt has fetched all of these parts, as they are wanted now."""
        try:
            with open(f"{self.scratch}/files.done", encoding="utf-8") as file:
                done = json.load(file)
            return set(self._files_parts()) <= set(done["parts"]) and self._as_wanted() == done["as"]
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _as_wanted(self) -> list[list[str]]:
        return [sorted(self.also), sorted(self.leave_out)]

    def _fetch_files(self) -> None:
        if self._files_there():
            return
        target = f"{self.scratch}/files"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.scratch}/files.done")
        saved = [self._saved(part) for part in self._files_parts()]
        self.repository.restore(self.points.files.id, target, include=[*saved, *self.also])
        self._empty()
        dig_holes(target)
        for part, place in zip(self._files_parts(), saved, strict=True):
            if not place or not os.path.isdir(f"{target}{place}"):
                raise Incomplete(f"it has no {part}")
        os.sync()
        write_file(f"{self.scratch}/files.done", json.dumps({"parts": self._files_parts(), "as": self._as_wanted()}),
                   0o600)

    def _empty(self) -> None:
        """Of what was fetched, delete what is left out. Through links nothing was fetched."""
        for part, _, below in (one.partition("/") for one in self.leave_out):
            folder = f"{self.scratch}/files{self._saved(part)}/{below}"
            if part in self._files_parts() and os.path.realpath(folder).startswith(
                    f"{os.path.realpath(self.scratch)}/"):
                with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
                    for one in list(found):
                        (shutil.rmtree if one.is_dir(follow_symlinks=False) else os.unlink)(one.path)

    def _fetch_base(self) -> None:
        folder = f"{self.scratch}/db"
        if os.path.isdir(f"{folder}/pgdata"):
            return
        half = f"{folder}/pgdata.half"
        shutil.rmtree(half, ignore_errors=True)
        os.makedirs(half, mode=0o700)
        path = self.points.base.paths[0] if self.points.base.paths else "/base.tar"
        with self.repository.dump(self.points.base.id, path) as stream:
            done = subprocess.run(["tar", "--extract", "--numeric-owner", "--preserve-permissions", "--same-owner",
                                   "--directory", half], stdin=stream, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise (Full if said and "No space left" in done.stderr.decode("utf-8", "replace") else Incomplete)(
                f"the base backup cannot be unpacked: {said[-1][:200] if said else done.returncode}")
        if not os.path.isfile(f"{half}/backup_label") or not os.path.isfile(f"{half}/global/pg_control"):
            raise Incomplete("it is no base backup: backup_label or pg_control is missing")
        owner = os.stat(f"{half}/global/pg_control")
        os.chown(half, owner.st_uid, owner.st_gid)
        os.chmod(half, 0o700)
        os.sync()
        os.rename(half, f"{folder}/pgdata")

    def _fetch_wal(self) -> None:
        data, folder = f"{self.scratch}/db/pgdata", f"{self.scratch}/db/{WAL_FOLDER}"
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o700)
        start = start_of(data)
        for number_of, store in enumerate(self._stores):
            store.fetch(self._pieces_of(number_of, start), folder, f"{self.scratch}/wal.half")
        short = MISSING_WAL in self.wish.without
        self.told.update(check_wal(data, folder, self._recorded(), newest=self.wish.to is None and not short,
                                   short=short, until=self._timeline(), last=self.wish.to is not None))
        owner = os.stat(data)
        for name in [".", *os.listdir(folder)]:
            os.chown(f"{folder}/{name}", owner.st_uid, owner.st_gid)
        prepare(data, folder, self.settings.database.mount, self._aim_at(), owner=(owner.st_uid, owner.st_gid),
                timeline=aim(self.told))

    def _aim_at(self) -> float | None:
        """The time that the database has to be told, if it comes to one after it.

        :raises Refused: it does not, and what the database was then nobody can say.
        """
        to, last = self.wish.to, self.told.get("last")
        if to is None or (last is not None and last > to):
            return to
        if self._covers(to):
            return None  # nothing came between: all of it is what was then
        if MISSING_WAL in self.wish.without:
            return None  # said: what there is until then
        until_then = f"ends with the transaction of {moment(last)}" if last is not None else "holds no transaction"
        raise Refused(f"the WAL {until_then}, so nobody can say what the database was at {moment(to)}; nothing was"
                      " overwritten", "Name a time before that, leave backup_restore_to out to have all there is,"
                      " or, to have the last that there is of before that time, say -e"
                      f" backup_restore_without={','.join((*self.wish.without, MISSING_WAL))}")

    def _covers(self, to: float) -> bool:
        """Whether the WAL that was fetched has all that was written until then."""
        end, timeline = number(str(self.told["lsn"])), self.told["timeline"]
        known = [one for one in self.there.records if one.get("position") and float(one["at"]) >= to]
        shipped = {one.id for one in self.there.snapshots if one.kind == given.WAL and one.time >= to}
        return any(int(one["position"]["timeline"]) == timeline and number(str(one["position"]["lsn"])) <= end
                   for one in known) \
            or any(piece.name == self.told["end"] and piece.place in shipped
                   for pieces in self._pieces.values() for piece in pieces)

    def _timeline(self) -> int | None:
        """The timeline that was written at the time to be restored to; None for the newest, or when it is not known.

        A restore to a time begins another: what was written before that one is on the one before.
        """
        if self.wish.to is None:
            return None
        known = [one for one in self.there.records if one.get("position")]
        before, after = around(self.wish.to, known, lambda one: (int(one.get("epoch") or 0), float(one["at"])))
        found = next((int(one["position"]["timeline"]) for one in [*after, *reversed(before)]), None)
        # Of an archive that has shipped nothing since a restore the records still have the position before it.
        return found and max(found, int(good_of(self.there, self.points.base).get("timeline") or 0))

    def _recorded(self) -> list[Mapping[str, Any]]:
        """Positions of the WAL that are known to be off the node: nothing before them may be lost."""
        found = [one["position"] for one in self.there.records if one.get("position")][-1:]
        for snapshot in [one for one in self.there.snapshots if one.kind == given.WAL][-1:]:
            with contextlib.suppress(BackupProblem):
                found.append(self.repository.read_json(snapshot.id, POSITION_FILE))
        return [one for one in found if one.get("lsn")]

    # --- placing

    def place(self) -> list[str]:
        """Put everything into its place, files before the database; the folders of parts by name.

        :raises BackupProblem: something has got in the way since.
        """
        self.refuse_places()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        moves: dict[str, Move] = {}
        for part in sorted(self.parts, key=lambda one: (one == self.database, one)):
            source = f"{self.scratch}/db" if part == self.database else f"{self.scratch}/files{self._saved(part)}"
            if not os.path.isdir(source) and source not in self._moved:
                raise Incomplete(f"{part} was not fetched; nothing was put in its place")
            target = self.target(part)
            moves[part] = Move(source, target, f"{target}.before-{stamp}" if os.path.isdir(target) else "")
        if self.database in moves:
            top = os.stat(f"{self.scratch}/db/pgdata")
            os.chown(f"{self.scratch}/db", 0, top.st_gid)  # as the provisioner of volumes makes it
            os.chmod(f"{self.scratch}/db", 0o2770)
        state = {"stage": "placing", "at": self._now(), "points": self.told, "scratch": self.root, "moved": self._moved,
                 "to": self.wish.to, "database": self.database if self.database in moves else "",
                 "moves": {part: {"from": one.source, "to": one.target, "aside": one.aside}
                           for part, one in moves.items()}}
        write_file(self.journal, json.dumps(state) + "\n", 0o600)
        return finish_placing(journal=self.journal)

    def refuse_places(self) -> None:
        """:raises Refused: something is in the way."""
        for part in self.parts:
            target = self.target(part)
            if busy(target) or (not self.aside and any(True for _ in _files(target))):
                raise Refused(f"{target} has come into use while the restore ran; nothing was overwritten",
                              "Stop what uses it, and run again.")

    def released(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until no pod has the places any more, for half a minute."""
        for _ in range(60):
            if not any(busy(place) for part in self.parts for place in self._places(part)):
                return
            sleep(0.5)

    def _places(self, part: str) -> list[str]:
        mine = self.settings
        return places_of(part, mine.storage, mine.namespace, mine.config_folder)

    def target(self, part: str) -> str:
        """Where a part goes: its folder if there is one, and else one that the claim will be bound to."""
        places = self._places(part)
        if len(places) > 1:
            places = [place for place in places if any(True for _ in _files(place))] or places[:1]
        if len(places) > 1:
            raise Refused(f"{' and '.join(places)} could be {part}'s volume", "Move away what is not.")
        if places:
            return places[0]
        point = self.points.base if part == self.database else self.points.files
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.settings.identity}/{part}/{point.id}")
        return f"{self.settings.storage}/pvc-{name}_{self.settings.namespace}_{part}"


def finish_placing(journal: str = JOURNAL) -> list[str]:
    """Carry out the moves that a journal holds, those that are done already excepted; the parts.

    :raises BackupProblem: one cannot be done.
    """
    state = _journal(journal)
    if state.get("stage") != "placing":
        return []
    try:
        for move in state["moves"].values():
            if not os.path.lexists(move["from"]):
                continue  # done before an interruption
            if os.path.lexists(move["to"]):
                _make_way(move["to"], move["aside"])
            os.makedirs(os.path.dirname(move["to"]), exist_ok=True)
            _rename(move["from"], move["to"])
    except OSError as error:
        raise wal.problem_of(error, str(error.filename)) from error
    state["stage"] = "placed"
    write_file(journal, json.dumps(state) + "\n", 0o600)
    shutil.rmtree(state["scratch"], ignore_errors=True)
    return list(state["moves"])


def _make_way(place: str, aside: str) -> None:
    """Nothing with data is deleted; empty folders are."""
    if not any(True for _ in _files(place)):
        shutil.rmtree(place)
    elif aside:
        os.rename(place, aside)
        sync_folder(os.path.dirname(place))
    else:
        raise Refused(f"{place} has files; nothing was overwritten", "Move it away, and run again.")


def _rename(source: str, target: str) -> None:
    """Also onto another file system, where it is copied beside first."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != 18:  # EXDEV
            raise
        beside = f"{target}.half"
        shutil.rmtree(beside, ignore_errors=True)
        subprocess.run(["cp", "--archive", "--sparse=always", source, beside], check=True, capture_output=True)
        os.sync()
        os.rename(beside, target)
        shutil.rmtree(source)
    sync_folder(os.path.dirname(target))


# --- the database -----------------------------------------------------------------------------------


def start_of(data: str) -> str:
    """The first segment that a base backup needs.

    :raises Damaged: it is none.
    """
    with open(f"{data}/backup_label", encoding="utf-8") as file:
        match = re.search(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", file.read(), re.MULTILINE)
    if match is None:
        raise Damaged("its backup_label does not say where its WAL begins")
    return match[1]


def check_wal(data: str, folder: str, recorded: Sequence[Mapping[str, Any]], newest: bool = True,
              short: bool = False, until: int | None = None, last: bool = False) -> dict[str, Any]:
    """Find out that the WAL is one piece, of this database, and reaches what is known to have left the node.

    :param recorded: positions with ``lsn`` and ``timeline``.
    :param newest: it has to reach them; not when only a time before is restored.
    :param short: it may end where it has a gap.
    :param until: the timeline to follow; later ones are left alone.
    :param last: say when its last transaction ended, too.
    :returns: ``start``, ``end`` (names), ``timeline``, ``lsn`` that is reached; ``last``, epoch or None.
    :raises BackupProblem: it is not so.
    """
    places: dict[str, str] = {}
    for where in (f"{data}/pg_wal", folder):
        for name in filter(wal.NAME.fullmatch, sorted(os.listdir(where))):
            if until is not None and int(name[:8], 16) > until:
                continue
            place = f"{where}/{name}"
            if name in places and len(name) == 24 and wal.reach(places[name], name) > wal.reach(place, name):
                # Shipped before the base backup ended; PostgreSQL would take it for the end.
                os.unlink(place)
            else:
                places[name] = place
    histories = {}
    for name, place in places.items():
        if name.endswith(".history"):
            with open(place, encoding="utf-8") as file:
                histories[int(name[:8], 16)] = file.read()
    start, ours = start_of(data), wal.system_of_data(data)
    path = wal.chain(start, places, histories, short)
    for name in path:
        if os.path.getsize(places[name]) != wal.SEGMENT:
            raise Damaged(f"the segment of WAL {name} is not whole")
        if (other := wal.system_of(places[name])) != ours:
            raise Damaged(f"the segment of WAL {name} is of another database ({other} and not {ours})")
        end = wal.reach(places[name], name)
        if name != path[-1] and end != (wal.index_of(name) + 1) * wal.SEGMENT and not wal.follows(
                places[path[path.index(name) + 1]], end):
            raise Incomplete(f"the segment of WAL {name} ends in its middle, and {path[-1]} comes after it")
    timeline = wal.timeline_of(path[-1])
    for one in recorded if newest else ():
        if int(one["timeline"]) > timeline or (int(one["timeline"]) == timeline and number(str(one["lsn"])) > end):
            raise Incomplete(f"the WAL ends at {wal.text_of(end)} of timeline {timeline}, and {one['lsn']} of timeline"
                             f" {one['timeline']} had been saved: what lies between is missing")
    # What has to be there: PostgreSQL stops for good when it does not get one of these.
    fetched = [name for name in path if places[name].startswith(f"{folder}/")]
    write_file(f"{folder}/names", "".join(f"{name}\n" for name in fetched), 0o644)
    return {"start": path[0], "end": path[-1], "timeline": timeline, "lsn": wal.text_of(end),
            **({"last": wal.last_end(places, path)} if last else {})}


def aim(told: Mapping[str, Any]) -> str:
    """The timeline to follow, in PostgreSQL's words. The newest there is may not come from this base backup."""
    return "current" if wal.timeline_of(str(told["start"])) == int(told["timeline"]) else str(told["timeline"])


def prepare(data: str, folder: str, mount: str, to: float | None, *, owner: tuple[int, int],
            timeline: str = "latest", more: Mapping[str, str] | None = None) -> None:
    """Make of a base backup a database that recovers from the WAL beside it when it starts.

    :param mount: where its container has the folder above ``data``.
    :param to: epoch to stop at.
    :param timeline: the one to follow: that of which the WAL was seen to be whole.
    """
    path = f"{data}/postgresql.auto.conf"
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines()
                 if line.partition("=")[0].strip().lower() not in CLEANED]
    place = f"{mount}/{os.path.basename(folder)}"
    # 126 is an end with an error, and 1 the end of the WAL.
    command = (f'if test -f "{place}/%f"; then cp "{place}/%f" "%p" || exit 126; exit 0; fi;'
               f' grep -qxF "%f" "{place}/names" && exit 126; exit 1')
    values = {"restore_command": command, "recovery_target_action": "promote", "recovery_target_timeline": timeline,
              # Else it lets Observer in before it has replayed all.
              "hot_standby": "off", **(more or {})}
    if to is not None:
        whole, part = divmod(round(to * 1e6), 10**6)
        values["recovery_target_time"] = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(whole))}.{part:06d}+00"
    lines += ["{} = '{}'".format(name, value.replace("'", "''")) for name, value in values.items()]
    write_file(path, "".join(f"{line}\n" for line in lines), 0o600)
    write_file(f"{data}/recovery.signal", "", 0o600)
    for one in (path, f"{data}/recovery.signal", f"{folder}/names"):
        os.chown(one, *owner)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{data}/standby.signal")


def complete(settings: Settings, database: Database | None = None, journal: str = JOURNAL, wait: float = 0.0,
             sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """What is left to do when the database has recovered: see that it got as far as it had to, and forget how.

    :returns: ``timeline`` and ``lsn`` (where the old one ended), and ``committed`` (epoch of the last commit that is
        in it, where there was one in the WAL); nothing when there was nothing to do.
    :raises BackupProblem: it has not recovered, or not all of it.
    """
    state = _journal(journal)
    if state.get("stage") != "placed":
        return {}
    told: dict[str, Any] = {}
    if state.get("database"):
        database = database or Database(settings)
        ends = time.monotonic() + wait
        while True:
            try:
                (recovering, segment, committed), = database.psql(
                    "SELECT pg_is_in_recovery(), CASE WHEN NOT pg_is_in_recovery() THEN"
                    " pg_walfile_name(pg_current_wal_lsn()) ELSE '' END,"
                    " coalesce(extract(epoch FROM pg_last_xact_replay_timestamp())::text, '')")
                if recovering == "f":
                    break
                raise DatabaseDown("the database still recovers")
            except DatabaseDown:
                if time.monotonic() > ends:
                    raise
                sleep(1.0)
        told = {"timeline": int(segment[:8], 16), **_reached(state, int(segment[:8], 16)),
                "committed": float(committed) if committed else None}
        for name in OURS:
            database.psql(f"ALTER SYSTEM RESET {name}")
        database.reload()
        shutil.rmtree(f"{state['moves'][state['database']]['to']}/{WAL_FOLDER}", ignore_errors=True)
    state.update(stage="done", ended=time.time(), reached=told)
    write_file(journal, json.dumps(state) + "\n", 0o600)
    return told


def told_of(journal: str = JOURNAL) -> list[str]:
    """What the last restore that ended brought back, for the operator; nothing where there was none."""
    state = _journal(journal)
    if state.get("stage") != "done":
        return []
    points, reached, parts = state.get("points") or {}, state.get("reached") or {}, list(state.get("moves") or {})
    lines = []
    if files := [part for part in parts if part != state.get("database")]:
        lines.append(f"{', '.join(files)}: as of {moment(points['files_time'])}")
    if state.get("database"):
        up_to = f"up to the commit of {moment(reached['committed'])}" if reached.get("committed") \
            else f"as of {moment(points['base_time'])}"
        lines.append(f"{state['database']}: {up_to} (WAL {reached.get('lsn', 'unknown')})")
    return lines


def _reached(state: Mapping[str, Any], timeline: int) -> dict[str, Any]:
    """Where the timeline before was left, out of the new one's history."""
    top = state["moves"][state["database"]]["to"]
    path = f"{top}/pgdata/pg_wal/{timeline:08X}.history"
    try:
        with open(path, encoding="utf-8") as file:
            left = wal.switches(file.read())
    except OSError as error:
        raise wal.problem_of(error, path) from error
    at = max(left.values(), default=0)
    known = state["points"]
    # Pages were compared; the record that the last one ends with may have been cut off with the power.
    if state.get("to") is None and known.get("lsn") and at < number(known["lsn"]) - CUT_OFF:
        raise Incomplete(f"the database recovered to {wal.text_of(at)}, and its WAL reached {known['lsn']}",
                         "Stop Observer (kubectl scale --replicas=0), keep the volume, and see the database's log.")
    return {"lsn": wal.text_of(at)}


# --- small things -----------------------------------------------------------------------------------


def placed(journal: str = JOURNAL) -> bool:
    """Whether a restore has put everything in place, and the database has yet to recover."""
    return _journal(journal).get("stage") == "placed"


def kept_aside(journal: str = JOURNAL) -> dict[str, str]:
    """By part, where what was in its place is."""
    return {part: move["aside"] for part, move in (_journal(journal).get("moves") or {}).items()
            if move["aside"] and os.path.isdir(move["aside"])}


def forget_aside(settings: Settings) -> None:
    """Delete what restores have kept aside of the parts.

    :raises Unknown: it cannot be deleted.
    """
    for part in parts_of(settings.claims, settings.config_folder):
        for place in places_of(part, settings.storage, settings.namespace, settings.config_folder):
            for old in glob.glob(f"{glob.escape(place)}.before-*"):
                try:
                    shutil.rmtree(old)
                except OSError as error:
                    raise wal.problem_of(error, old) from error


def busy(folder: str) -> bool:
    """Whether a pod has a folder mounted."""
    try:
        ours = os.stat(folder)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            targets = [line.split()[4] for line in file if "/pods/" in line]
    except OSError:
        return False
    for target in targets:
        with contextlib.suppress(OSError):
            found = os.stat(target.encode("latin-1", "replace").decode("unicode_escape"))
            if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                return True
    return False


def dig_holes(folder: str) -> None:
    """Make holes again of the zeros that restic wrote around data: of a file with holes up to 512 KiB for each piece.

    It leaves out zeros where a chunk begins with them and writes those at a chunk's end; of a file whose pieces of data
    lie nearer to each other, or that is smaller, nothing is left out, and it stays written. So do files without a hole:
    their zeros may be there on purpose. Times stay. Where the file system has no holes the zeros stay.
    """
    for path in _files(folder):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and 0 < found.st_blocks * 512 < found.st_size:
            with contextlib.suppress(OSError):
                subprocess.run(["fallocate", "--dig-holes", path], capture_output=True, check=False)
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _files(folder: str) -> Iterator[str]:
    """Everything below a folder that is no folder."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != KEPT:
                            waiting.append(entry.path)
                    else:
                        yield entry.path
        except (FileNotFoundError, NotADirectoryError):
            continue


def _newest(folder: str) -> float | None:
    """Time of the newest change, or of the newest that was seen before it took too long."""
    ends, newest = time.monotonic() + LOOK_SECONDS, 0.0
    for path in _files(folder):
        with contextlib.suppress(OSError):
            newest = max(newest, os.lstat(path).st_mtime)
        if time.monotonic() > ends:
            break
    return newest or None


def _journal(path: str) -> dict[str, Any]:
    try:
        return given.read_json(path)
    except given.SettingsError:
        return {}


def _size(number_of: float) -> str:
    return f"{number_of / 2**30:.2f} GiB" if number_of >= 2**30 else f"{number_of / 2**20:.0f} MiB"
