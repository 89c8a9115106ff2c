"""What a provision does about a node's data: start with nothing, restore, keep what is there, or refuse.

Pure: what is here and what is there go in, a decision comes out. Data on a node is never overwritten, and nothing ever
starts empty unless somebody has said so for this very node.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .problems import Absent, BackupProblem, Foreign, HostKeyChanged, Locked, Revoked, Unreachable, WrongPassword
from .restic import Snapshot, of_another
from .settings import BASE, FILES, IDENTITY

DATA, EMPTY, ABSENT, PLACED = "data", "empty", "absent", "placed"
"""What a part of the node's data is: there, an empty folder, no folder, or put there by a restore that did not end."""

CONFIG = "config"
"""The part that is the app's folder of settings; the others are claims."""

OLDER_SECONDS = 3600.0
"""So much older than the newest backup data may be that nobody knows the age of."""

CUT_OFF_SECONDS = 3600.0
"""So much younger than the one before, beyond two intervals, is a backup that was not due then."""

BASE_SECONDS = 120.0
"""So long a base backup lasts of which nobody has said when it ended."""


@dataclass(frozen=True)
class Here:
    """What the node has.

    :param parts: by claim, and ``config``, what it is.
    :param database: the claim that is the database's.
    :param newest: epoch of the newest change of what has data.
    :param epoch: under which the node has written to the repository; 0 for never, or not known.
    :param system: identifier of its database, which each has from its very start; 0 when it is not known.
    """

    parts: Mapping[str, str]
    database: str = ""
    newest: float | None = None
    epoch: int = 0
    system: int = 0


@dataclass(frozen=True)
class There:
    """What the repository holds.

    :param records: content of the release records that were read, the oldest first. What no record names is not whole.
    :param problem: why that cannot be said.
    :param unreadable: what restic said of snapshots that it cannot read, one line each.
    :param intervals: by job, how many seconds after its last one it is due.
    """

    identity: str
    snapshots: Sequence[Snapshot] = ()
    records: Sequence[Mapping[str, Any]] = ()
    unreadable: Sequence[str] = ()
    problem: BackupProblem | None = None
    intervals: Mapping[str, float] = field(default_factory=dict)

    def whole(self) -> frozenset[str]:
        """Ids of the snapshots that a record says to be whole."""
        return frozenset(str(good[kind]["id"]) for one in self.records for good in [one.get("good") or {}]
                         for kind in (FILES, BASE) if (good.get(kind) or {}).get("id"))


    def systems(self) -> frozenset[int]:
        """Identifiers of the databases that were backed up."""
        return frozenset(int(one["system"]) for one in self.records if one.get("system"))

    def ended(self, base: Snapshot) -> float:
        """When a base backup had ended: a state before that cannot be had from it."""
        return next((float(good["time"]) for one in self.records for good in [(one.get("good") or {}).get(BASE) or {}]
                     if good.get("id") == base.id and good.get("time")), base.time + BASE_SECONDS)


@dataclass(frozen=True)
class Points:
    """The snapshots that make up one state."""

    files: Snapshot
    base: Snapshot


@dataclass(frozen=True)
class Start:
    """Nothing is here and nothing is there, and somebody has said that it is so."""


@dataclass(frozen=True)
class Restore:
    """Bring back these parts. ``goes_on``: of a restore that has already put some in place. ``said``: what somebody
    should know."""

    parts: tuple[str, ...]
    points: Points | None
    goes_on: bool = False
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Keep:
    """The node goes on with its data. ``said``: what somebody should know."""

    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refuse:
    """Nothing is done. ``waits``: it may pass by itself."""

    what: str
    remedy: str
    waits: bool = False


Decision = Start | Restore | Keep | Refuse


@dataclass(frozen=True)
class Wish:
    """What the operator has said.

    :param first_start: the inventory's name of the node that is to start with what it has.
    :param to: epoch that is to be restored to; None for the newest.
    :param without: snapshots that are not to be used, by the beginning of their id.
    """

    first_start: str = ""
    to: float | None = None
    without: tuple[str, ...] = field(default=())


def decide(here: Here, there: There, wish: Wish, hostname: str) -> Decision:
    """What to do.

    :param hostname: the inventory's name of the node.
    """
    if PLACED in here.parts.values():
        # The snapshots that it took, whatever has come about since: never half of one and half of another.
        return Restore(tuple(sorted(name for name, is_ in here.parts.items() if is_ != DATA)), None, goes_on=True)
    # Settings that somebody has put there beforehand are kept, and do not make a node one with data.
    if any(is_ == DATA for name, is_ in here.parts.items() if name != CONFIG):
        return _with_data(here, there, wish, hostname)
    return _without_data(here, there, wish, hostname)


def choose(there: There, wish: Wish) -> Points | None:
    """The newest state that is whole, or that of a time; None when none has both files and a database."""
    whole = there.whole()
    usable = [one for one in there.snapshots if one.id in whole and not excluded(one.id, wish.without)
              and (wish.to is None or one.time <= wish.to)]
    files = [one for one in usable if one.kind == FILES]
    bases = [one for one in usable if one.kind == BASE]
    if not files or not bases:
        return None
    ended = [one for one in bases if wish.to is None or there.ended(one) <= wish.to]
    return Points(_last(files), _last(ended)) if ended else None


def cut_off(there: There, wish: Wish, points: Points) -> tuple[str, ...] | Refuse:
    """What is to be said of backups that are newer than those chosen and that no record calls whole, or why somebody
    has to look at them first.

    One of a kind is what a node leaves that was lost while it made it. Without it no more is lost than between any two:
    the one before is as old as the interval and that job together. Two of a kind, or one that is younger than that, say
    that jobs have failed for some time. Where something cannot be read, that may be the record that calls it whole.
    """
    whole = there.whole()
    said = []
    for kind, chosen in ((FILES, points.files), (BASE, points.base)):
        found = [one for one in there.snapshots if wish.to is None and one.kind == kind and one.id not in whole
                 and not excluded(one.id, wish.without) and one.order > chosen.order]
        if not found:
            continue
        last = _last(found)
        what = f"the newest backup of {kind}, {last.id[:8]} of {moment(last.time)}"
        due = 2 * float(there.intervals.get(kind) or 86400) + CUT_OFF_SECONDS
        if len(found) > 1 or last.time - chosen.time > due or there.unreadable:
            return Refuse(f"{what}, is not known to be whole: its job did not come to its end",
                          offer(there, wish, *(one.id for one in found)))
        said.append(f"{what[0].upper()}{what[1:]}, was cut off before its end and is left out. The one before, of"
                    f" {moment(chosen.time)}, is taken.")
    return tuple(said)


def excluded(name: str, without: Sequence[str]) -> bool:
    """Whether a snapshot is among those that are not to be used."""
    return any(one and name.startswith(one) for one in without)


def offer(there: There, wish: Wish, *bad: str) -> str:
    """What to type to restore without snapshots that are no good; what there is else, if nothing."""
    without = (*wish.without, *(one[:8] for one in bad))
    left = choose(there, Wish(wish.first_start, wish.to, without))
    if left is None:
        return "There is no other complete backup: run `restic check --read-data` (docs/node-loss.md, by hand), and" \
               " see what of it can be mended."
    return f"To restore the one before, whose files are of {moment(left.files.time)} and whose database begins with" \
           f" the base backup of {moment(left.base.time)}: run again with -e backup_restore_without={','.join(without)}"


def moment(at: float) -> str:
    """``2026-11-22 01:02:03 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


# --- with data ------------------------------------------------------------------------------------


def _with_data(here: Here, there: There, wish: Wish, hostname: str) -> Decision:
    problem = foreign(there) or there.problem
    if isinstance(problem, (WrongPassword, Foreign)):
        return _refused(problem)
    backups = [one for one in there.snapshots if one.kind != IDENTITY]
    meant = wish.first_start == hostname
    if isinstance(problem, Absent) or (problem is None and not backups):
        if here.epoch and not meant:
            # A disk that is not mounted looks like this: a second repository in its place would hide the first one.
            return Refuse(f"the repository holds no backup, and {hostname} has written to it under epoch {here.epoch}",
                          "See that its disk is mounted on the backup host, or that backup_repository and"
                          " backup_identity are those of before. If it is gone for good, or another one on purpose: -e"
                          f" backup_first_start={hostname}, and backups begin anew with what is on {hostname}.")
        return Keep((f"The repository holds no backup yet. Backups begin with what is on {hostname}.",))
    if isinstance(problem, (Revoked, HostKeyChanged)) and here.epoch and not meant:
        return Refuse(f"{problem.what}, so another machine may have taken over from {hostname}",
                      f"Run it without --limit, or, if {hostname} is to go on whatever the backups hold: -e"
                      f" backup_first_start={hostname}")
    if problem is not None and not here.epoch and not meant:
        # Its data may be older than what nobody could look at.
        return _refused(problem)
    if problem is not None:
        return Keep((f"What the repository holds was not looked at: {problem.what}.",))
    newest, epoch = _last(backups), max(one.epoch for one in backups)
    if here.epoch and epoch > here.epoch and not meant:
        since = min(one.time for one in backups if one.epoch == epoch)
        return Refuse(
            f"another machine has taken over from {hostname}: it writes to the repository since {moment(since)}, under"
            f" epoch {epoch}, and this one had epoch {here.epoch}",
            "Take this machine down. If the other one is gone and this one's data is what counts, say"
            f" -e backup_first_start={hostname}")
    choice = f"To go on with the data of {hostname}: -e backup_first_start={hostname}; to have the backup instead:" \
             f" playbooks/reset.yml with -e reset_confirm={hostname} -e reset_data=all, and this again."
    older = newest.time - here.newest if here.newest is not None else None
    if not here.epoch and (older is None or older > OLDER_SECONDS) and not meant:
        age = f"of {moment(here.newest)}" if here.newest is not None else "of an age that could not be told"
        return Refuse(
            f"{hostname} has data {age}, and the newest backup is of {moment(newest.time)}; nothing was overwritten",
            choice)
    if not here.epoch and not meant and here.system and there.systems() and here.system not in there.systems():
        return Refuse(
            f"the database of {hostname} is another one than that of the backups: it was begun anew, and as the newest"
            " it would take their place; nothing was overwritten", choice)
    # A database that is there and empty would begin anew, and take the place of the one that was saved.
    saved = any(one.kind == BASE for one in backups)
    gone = tuple(sorted(name for name, is_ in here.parts.items()
                        if is_ == ABSENT or (is_ == EMPTY and name == here.database and saved)))
    if not gone:
        return Keep()
    # Somebody has deleted a volume, or a disk was lost: an empty one in its place would be a silent start.
    if there.unreadable:
        return _unreadable(there, wish) or _restore(here, there, wish, gone, hostname)
    return _restore(here, there, wish, gone, hostname)


# --- without data ---------------------------------------------------------------------------------


def _without_data(here: Here, there: There, wish: Wish, hostname: str) -> Decision:
    problem = foreign(there) or there.problem
    meant = wish.first_start == hostname
    if problem is not None and not isinstance(problem, Absent):
        return _refused(problem)
    # Whether one of them is whole is not asked here: where there are backups, nothing starts empty.
    if problem is not None or not {FILES, BASE} <= {one.kind for one in there.snapshots}:
        return _nothing_there(there, problem, wish, hostname)
    if meant:
        newest = _last([one for one in there.snapshots if one.kind == FILES])
        return Refuse(f"backup_first_start says that {hostname} is to start empty, and there are backups of"
                      f" {there.identity} up to {moment(newest.time)}",
                      "Leave backup_first_start out, and they are restored; to start with nothing all the same, give"
                      " backup_repository or backup_identity another value.")
    parts = tuple(sorted(name for name, is_ in here.parts.items() if is_ != DATA))
    return _unreadable(there, wish) or _restore(here, there, wish, parts, hostname)


def _nothing_there(there: There, problem: BackupProblem | None, wish: Wish, hostname: str) -> Decision:
    if there.unreadable:
        return Refuse(f"the repository has snapshots that cannot be read, and no complete backup else: "
                      f"{there.unreadable[0]}", "Run `restic check --read-data` (docs/node-loss.md, by hand).")
    if wish.first_start == hostname:
        return Start()
    what = problem.what if problem else \
        f"the repository holds no complete backup of {there.identity}, and {hostname} has no data"
    if wish.first_start:
        return Refuse(f"{what}; backup_first_start says {wish.first_start}, and this is {hostname}",
                      f"If {hostname} is to start empty, say -e backup_first_start={hostname}")
    return Refuse(what, "If backups should be there, correct backup_repository, backup_identity and the vault. If this"
                        f" is a first start, say so, once: -e backup_first_start={hostname}")


def _unreadable(there: There, wish: Wish) -> Refuse | None:
    """Among what cannot be read may be the newest: an older one is not taken in silence."""
    left = [line for line in there.unreadable
            if not any(one and one in line for one in wish.without)]
    if not left or wish.to is not None:
        return None
    name = next((word.strip('"<>,:') for word in left[0].replace("/", " ").split()
                 if len(word.strip('"<>,:')) >= 8 and all(c in "0123456789abcdef" for c in word.strip('"<>,:.'))), "")
    return Refuse(f"a snapshot in the repository cannot be read, and it may be the newest: {left[0]}",
                  offer(there, wish, name or "none"))


def _restore(here: Here, there: There, wish: Wish, parts: tuple[str, ...], hostname: str) -> Decision:
    points = choose(there, wish)
    if points is None:
        limit = f" of {moment(wish.to)} or before" if wish.to is not None else ""
        return Refuse(f"the repository holds no complete backup{limit}"
                      f"{' beside those of backup_restore_without' if wish.without else ''}, and {hostname} needs one",
                      "See `restic snapshots` (docs/node-loss.md, by hand); correct backup_restore_to and"
                      " backup_restore_without.")
    if isinstance(said := cut_off(there, wish, points), Refuse):
        return said
    missing = [name for name in parts if name not in (here.database, CONFIG)
               and not any(path.endswith(f"_{name}") for path in points.files.paths)]
    if missing:
        return Refuse(f"the backup of {moment(points.files.time)} has no volume {' and no volume '.join(missing)}",
                      offer(there, wish, points.files.id))
    return Restore(parts, points, said=said)


# --- both -----------------------------------------------------------------------------------------


def foreign(there: There) -> Foreign | None:
    """Why a repository is not this inventory's."""
    if there.problem is not None or not there.snapshots:
        return None
    return of_another(there.snapshots, there.identity)


def _refused(problem: BackupProblem) -> Refuse:
    return Refuse(problem.what, problem.remedy, waits=isinstance(problem, (Unreachable, Locked)))


def _last(snapshots: Sequence[Snapshot]) -> Snapshot:
    return max(snapshots, key=lambda one: one.order)
