"""Segments of WAL for a restore: where they are, whether they are one piece, and how far they reach.

PostgreSQL itself takes the first segment that is missing for the end, becomes the database and says nothing: what lies
behind the gap is lost in silence. So it is looked for here, before anything starts.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import host
from . import settings as given
from .database import SEGMENT as SEGMENT
from .database import number
from .problems import BackupProblem, Damaged, Incomplete, Unknown
from .restic import Repository, Snapshot
from .settings import Settings

NAME = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
PARTIAL = ".partial"
PER_LOG = 0x100000000 // SEGMENT
PAGE = 8192
CONTINUED, LONG_HEADER = 0x0001, 0x0002
HEADER, FIRST_HEADER = 24, 40
RECORD = struct.Struct("<IIQBBxxI")
"""Length, transaction, the record before, flags, whose record it is, checksum."""

TRANSACTIONS, ENDS = 1, (0x00, 0x20, 0x30, 0x40)
"""Records of transactions that were committed or rolled back, prepared ones too."""

BEFORE_BODY = {253: 3, 252: 5}
"""What may stand before a record's own data, by its mark, in bytes: an origin, a transaction above this one."""

BODY = {255: 2, 254: 5}
"""The mark of a record's own data, and how long it is with their length."""

EPOCH = 946684800
"""PostgreSQL's year 2000, in seconds since 1970."""

FETCH_SECONDS = 3600.0
SNAPSHOTS = 60
"""So many snapshots of WAL are looked through; the newest one is what it takes when all is well."""

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass(frozen=True)
class Piece:
    """A file of WAL in some store: its name without ``.partial``, its bytes, and where it is."""

    name: str
    size: int
    partial: bool
    place: str
    path: str


# --- names ----------------------------------------------------------------------------------------


def timeline_of(name: str) -> int:
    return int(name[:8], 16)


def index_of(name: str) -> int:
    """The segment's number, whatever its timeline."""
    return int(name[8:16], 16) * PER_LOG + int(name[16:24], 16)


def name_of(timeline: int, index: int) -> str:
    return f"{timeline:08X}{index // PER_LOG:08X}{index % PER_LOG:08X}"


def switches(history: str) -> dict[int, int]:
    """Of a timeline's history: by ancestor the position (bytes) at which it was left."""
    found = {}
    for line in history.splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 2 and words[0].isdigit() and re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", words[1]):
            found[int(words[0])] = number(words[1])
    return found


def chain(start: str, names: Iterable[str], histories: Mapping[int, str], short: bool = False) -> list[str]:
    """The segments that lead from a base backup's first to the newest, in their order.

    :param start: name of the base backup's first segment.
    :param names: of all segments that there are.
    :param histories: by timeline its history file's text.
    :param short: those up to the first that is missing will do.
    :raises Incomplete: one between is missing.
    """
    have = {name for name in names if "." not in name}
    base = timeline_of(start)
    # Like PostgreSQL, the newest timeline that comes from the backup's.
    heirs = [timeline for timeline, text in histories.items()
             if timeline > base and switches(text).get(base, -1) >= index_of(start) * SEGMENT]
    last = max([base, *heirs])
    left = sorted((timeline, at) for timeline, at in switches(histories.get(last, "")).items() if timeline >= base)
    path = []
    index = index_of(start)
    for timeline, at in left:
        path += [name_of(timeline, one) for one in range(index, at // SEGMENT)]
        index = max(index, at // SEGMENT)
    ends = [index_of(name) for name in have if timeline_of(name) == last]
    path += [name_of(last, one) for one in range(index, max(ends, default=index) + 1)]
    missing = [name for name in path if name not in have]
    if missing and short and missing[0] != path[0]:
        return path[:path.index(missing[0])]
    if missing:
        raise Incomplete(f"the WAL has a gap: of {len(path)} segments from {path[0]} to {path[-1]},"
                         f" {len(missing)} are missing, {missing[0]} the first")
    return path


# --- contents -------------------------------------------------------------------------------------


def reach(path: str, name: str) -> int:
    """Up to which position (bytes) a segment has pages that were written as part of it.

    :raises Damaged: its first page is of no such segment.
    """
    first = index_of(name) * SEGMENT
    end = first
    with open(path, "rb") as file:
        while header := file.read(24):
            if len(header) < 20:
                break
            _, info, timeline, at = struct.unpack_from("<HHIQ", header)
            if at != end or not timeline:
                break
            if at == first and not info & LONG_HEADER:
                break
            end += PAGE
            file.seek(end - first)
    if end == first:
        raise Damaged(f"the segment of WAL {name} does not hold what its name says")
    return min(end, first + SEGMENT)


def last_end(places: Mapping[str, str], path: Sequence[str]) -> float | None:
    """When the last transaction of some WAL ended, in seconds since 1970; None where none did.

    A recovery to a time that no transaction comes after never arrives: PostgreSQL then gives up instead of starting.

    :param places: by name of a segment its file.
    :param path: names of the segments, in their order.
    """
    for number_of, name in reversed(list(enumerate(path))):
        after = path[number_of + 1] if number_of + 1 < len(path) else ""
        ends = transaction_ends(contents(places[name], name), contents(places[after], after) if after else None)
        if ends:
            return max(ends)
    return None


@dataclass(frozen=True)
class Contents:
    """What a segment holds between the headers of its pages.

    :param skip: bytes at its beginning that belong to a record of the segment before.
    :param fresh: where in ``data`` pages begin that continue no record: one that would reach over was given up when the
        power was cut.
    """

    data: bytes
    skip: int
    fresh: tuple[int, ...]


def contents(path: str, name: str) -> Contents:
    """:raises Damaged: its first page is of no such segment."""
    with open(path, "rb") as file:
        raw = file.read(reach(path, name) - index_of(name) * SEGMENT)
    parts, fresh, size = [], [], 0
    for at in range(0, len(raw), PAGE):
        info = int(struct.unpack_from("<H", raw, at + 2)[0])
        if not info & CONTINUED:
            fresh.append(size)
        parts.append(raw[at + (FIRST_HEADER if at == 0 else HEADER):at + PAGE])
        size += len(parts[-1])
    left = int(struct.unpack_from("<I", raw, 16)[0])
    return Contents(b"".join(parts), left if 0 not in fresh else 0, tuple(fresh))


def transaction_ends(segment: Contents, after: Contents | None = None) -> list[float]:
    """When the transactions of a segment were committed or rolled back, in seconds since 1970.

    :param after: of the next one, into which its last record may reach.
    """
    data = segment.data + (after.data[:after.skip] if after else b"")
    found = []
    at = -(-segment.skip // 8) * 8
    while at + RECORD.size <= len(data):
        length, _, _, info, manager, _ = RECORD.unpack_from(data, at)
        if length < RECORD.size:
            break  # the end, or a segment that was left early
        given_up = next((start for start in segment.fresh if at < start < at + length), None)
        if given_up is not None:
            at = given_up
            continue
        if manager == TRANSACTIONS and info & 0x70 in ENDS and at + length <= len(data):
            ended = _ended(data[at + RECORD.size:at + length])
            if ended is None:
                break  # no record
            found.append(ended)
        at += -(-length // 8) * 8
    return found


def _ended(record: bytes) -> float | None:
    """The time in a transaction's record; None when it is none."""
    at = 0
    while at < len(record) and record[at] in BEFORE_BODY:
        at += BEFORE_BODY[record[at]]
    at += BODY.get(record[at], len(record)) if at < len(record) else 0
    return struct.unpack_from("<q", record, at)[0] / 1e6 + EPOCH if at + 8 <= len(record) else None


def follows(path: str, end: int) -> bool:
    """Whether the first record of a segment follows right on one that ends at about ``end``: when a segment is left
    early, for a backup's end or by hand, the rest of it is empty.
    """
    with open(path, "rb") as file:
        header = file.read(64)
    if len(header) < 64:
        return False
    left = int(struct.unpack_from("<I", header, 16)[0])
    before = int(struct.unpack_from("<Q", header, 48)[0])
    return left == 0 and end - 2 * PAGE <= before < end


def system_of(path: str) -> int:
    """The database that a segment is of."""
    with open(path, "rb") as file:
        header = file.read(32)
    return int(struct.unpack_from("<Q", header, 24)[0]) if len(header) == 32 else 0


def system_of_data(folder: str) -> int:
    """The database that a data folder is of."""
    with open(f"{folder}/global/pg_control", "rb") as file:
        return int(struct.unpack("<Q", file.read(8))[0])


def text_of(position: int) -> str:
    """``0/62000178``."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


# --- stores ---------------------------------------------------------------------------------------


class Archive:
    """WAL that the node has shipped into the repository. Each snapshot is the folder as it was then."""

    def __init__(self, repository: Repository, snapshots: Sequence[Snapshot], to: float | None = None) -> None:
        self.repository = repository
        self.snapshots = likely(snapshots, to)

    def pieces(self, start: str) -> list[Piece]:
        """What is needed from ``start`` on. Snapshots are looked through, the likeliest first, until nothing is
        missing."""
        found: dict[str, Piece] = {}
        for snapshot in self.snapshots[:SNAPSHOTS]:
            for node in self.repository.listing(snapshot.id):
                path = str(node.get("path", ""))
                base = os.path.basename(path)
                name = base.removesuffix(PARTIAL)
                if node.get("type") != "file" or not NAME.fullmatch(name) or not wanted(name, start):
                    continue
                piece = Piece(name, int(node.get("size", 0)), base != name, snapshot.id, path)
                if name not in found or (found[name].partial and not piece.partial):
                    found[name] = piece
            if whole(found, start):
                break
        return list(found.values())

    def fetch(self, pieces: Sequence[Piece], folder: str, scratch: str) -> None:
        """:raises BackupProblem: not all of them could be had."""
        by_place: dict[str, list[Piece]] = {}
        for piece in pieces:
            by_place.setdefault(piece.place, []).append(piece)
        for place, some in by_place.items():
            shutil.rmtree(scratch, ignore_errors=True)
            self.repository.restore(place, scratch, include=[piece.path for piece in some], sparse=False)
            for piece in some:
                os.replace(f"{scratch}{piece.path}", f"{folder}/{piece.name}")
        shutil.rmtree(scratch, ignore_errors=True)


class Stream:
    """WAL that the receiver on the backup host has."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def pieces(self, start: str) -> list[Piece]:
        """What is there from ``start`` on. Of two generations the later one's is taken; what it lacks, of the other."""
        found: dict[str, Piece] = {}
        for generation in host.generations(self.settings)["generations"]:
            for one in generation["segments"]:
                name = str(one["name"]).removesuffix(PARTIAL)
                piece = Piece(name, int(one["size"]), name != one["name"], str(generation["slot"]), str(one["name"]))
                if NAME.fullmatch(name) and wanted(name, start) and (
                        name not in found or found[name].partial or not piece.partial):
                    found[name] = piece
        return list(found.values())

    def fetch(self, pieces: Sequence[Piece], folder: str, scratch: str) -> None:
        """:raises BackupProblem: not all of them could be had, or not as they were written."""
        for slot in sorted({piece.place for piece in pieces}):
            ours = {piece.path: piece for piece in pieces if piece.place == slot}
            segments = [piece.name for piece in ours.values() if len(piece.name) == 24]
            first = min(segments, key=index_of) if segments else "F" * 24  # its histories alone
            shutil.rmtree(scratch, ignore_errors=True)
            os.makedirs(scratch, mode=0o700)
            names = host.fetch(self.settings, slot, first, scratch)
            for name, piece in ours.items():
                # One that was a part when it was listed may be whole by now.
                real = name if name in names else piece.name if piece.name in names else ""
                if not real:
                    raise Incomplete(f"the backup host has not handed out the segment of WAL {name}")
                os.replace(f"{scratch}/{real}", f"{folder}/{piece.name}")
        shutil.rmtree(scratch, ignore_errors=True)


def likely(snapshots: Sequence[Snapshot], to: float | None) -> list[Snapshot]:
    """Snapshots of WAL, those first that have what is needed: each has all since the base backup before the last.

    :param to: epoch that is to be restored to; None for the newest.
    """
    ordered = sorted(snapshots, key=lambda one: (one.time, one.id))
    if to is not None:
        before = [one for one in reversed(ordered) if one.time < to]
        after = [one for one in ordered if one.time >= to]
        return [*after[:1], *before[:1], *after[1:], *before[1:]]
    newest = {one.epoch: one for one in ordered}
    first = sorted(newest.values(), key=lambda one: one.order, reverse=True)
    return [*first, *(one for one in reversed(ordered) if one not in first)]


def wanted(name: str, start: str) -> bool:
    return len(name) != 24 or index_of(name) >= index_of(start)


def whole(found: Mapping[str, Piece], start: str) -> bool:
    """Whether every segment from ``start`` to the newest is there, on whichever timeline."""
    indexes = {index_of(name) for name in found if len(name) == 24}
    return bool(indexes) and all(one in indexes for one in range(index_of(start), max(indexes) + 1))


def stores(settings: Settings, repository: Repository, snapshots: Sequence[Snapshot], since: Snapshot,
           to: float | None = None) -> list[Any]:
    """Where WAL may be, what is newer last: a node's mode may have been another before.

    :param since: the base backup: no snapshot of before is looked at.
    :param to: epoch that is to be restored to; None for the newest.
    """
    found: list[Any] = []
    shipped = [one for one in snapshots if one.kind == given.WAL
               and (one.epoch > since.epoch or one.time >= since.time - 1)]
    if shipped:
        found.append(Archive(repository, shipped, to))
    if settings.receiver is not None:
        found.insert(0 if settings.mode == given.ARCHIVE else len(found), Stream(settings))
    return found


def problem_of(error: OSError, where: str) -> BackupProblem:
    """An error of the node's own disk."""
    return Unknown(f"{where}: {error.strerror or error}", "See `df` and `journalctl -k` on the node, and run again.")
