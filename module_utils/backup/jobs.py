"""The jobs that the node's timers run.

A record (snapshot of kind ``record``, file ``record.json``) is what makes backups good: it is written after them, and
``good`` in it names the newest whole snapshot of each kind. A restore takes what a record names, and so never a half of
anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import ssl
import struct
import subprocess
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import host, prune, receiver, state, stream, wal
from . import settings as given
from .database import ARCHIVER, Database, images, number, quoted, segment_name, volumes
from .files import used, write_file
from .manifest import write_manifest
from .problems import Absent, BackupProblem, Damaged, DatabaseDown, Foreign, Incomplete, TakenOver, Unknown
from .restic import SCHEMA, Repository, Snapshot
from .settings import Settings

NODE_STATE = "/var/lib/observer-node"
"""Where the node's watch says how it stands."""

RECORD_FILE, BASE_FILE, IDENTITY_FILE = "record.json", "base.tar", "identity.json"
RECORD = f"{given.WORK}/record.json"
"""What the next record says: kept between jobs."""

RUNNING = f"{given.WORK}/running"
MANIFEST = f"{given.WORK}/files/manifest.jsonl"
POSITION = f"{given.WORK}/wal/position.json"
SHIPPED = f"{given.WORK}/wal/shipped.json"
"""The position of the last snapshot of WAL that was made."""

WAL_OUT = "wal-out"
"""Folder of the database's volume, beside its data, into which the node's own receiver writes."""

HALF = ".restoring"
"""What a restore has not finished. It is never saved."""

Figures = dict[str, Any]


# --- whose repository it is -------------------------------------------------------------------------


def standing(settings: Settings, snapshots: Sequence[Snapshot]) -> None:
    """Refuse to write where another node writes now.

    :param snapshots: all of the repository.
    :raises TakenOver: there is a later epoch, or another writer began this one first.
    """
    if not settings.epoch:
        raise TakenOver(f"{settings.node} has not begun to write to its repository",
                        "Run site.yml, which decides what is to be restored and begins.")
    later = [one for one in snapshots if one.epoch > settings.epoch]
    if later:
        raise taken_over(settings, later[0])
    mine = [one for one in snapshots if one.epoch == settings.epoch and one.writer]
    if mine and mine[0].writer != settings.writer:
        raise taken_over(settings, mine[0])


def stale(settings: Settings, snapshots: Sequence[Snapshot]) -> bool:
    """Whether this node's epoch is worth nothing any more: of another repository, or overtaken.

    :param snapshots: all of the repository.
    """
    try:
        standing(settings, snapshots)
    except TakenOver:
        return True
    return not snapshots


def taken_over(settings: Settings, by: Snapshot) -> TakenOver:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(by.time))
    return TakenOver(f"another node took the repository of {settings.identity} over at {when} as writer {by.epoch}"
                     f" (this one is writer {settings.epoch})")


@dataclass
class Seen:
    """All of the repository as it was looked at last.

    :ivar unreadable: what cannot be read of it. A snapshot that is damaged keeps no other from being made.
    """

    snapshots: list[Snapshot]
    unreadable: Damaged | None = None


@contextmanager
def writing(settings: Settings, repository: Repository, job: str) -> Iterator[Seen]:
    """Around whatever adds to the repository: this node is its writer before and after. What is yielded is all of the
    repository, after the end as it is then.

    :raises BackupProblem: it is not, or the repository cannot be read.
    """
    os.makedirs(RUNNING, mode=0o700, exist_ok=True)
    mark = f"{RUNNING}/{job}"
    if os.path.exists(mark):
        # The last one was killed, and its lock would keep others from pruning.
        repository.unlock()
    seen = _look(settings, repository)
    with open(mark, "w", encoding="utf-8"):
        pass
    yield seen
    with contextlib.suppress(FileNotFoundError):
        os.unlink(mark)
    now = _look(settings, repository)
    seen.snapshots, seen.unreadable = now.snapshots, now.unreadable


def _look(settings: Settings, repository: Repository) -> Seen:
    snapshots, warnings = repository.snapshots()
    unreadable = _unreadable(snapshots, warnings)
    repository.require_identity(snapshots)
    standing(settings, snapshots)
    return Seen(snapshots, unreadable)


def _unreadable(snapshots: Sequence[Snapshot], warnings: Sequence[str]) -> Damaged | None:
    """What is wrong with snapshots that restic has warned of.

    :raises Damaged: no other says whose the repository is.
    """
    if not warnings:
        return None
    names = sorted({one[:8] for one in re.findall(r"\b[0-9a-f]{64}\b", " ".join(warnings))})
    if not snapshots:
        raise Damaged.of_all(warnings)
    return Damaged(
        f"snapshots of the repository cannot be read: {' and '.join(names) or warnings[0][:200]}",
        "Move their files, snapshots/..., out of the repository (docs/node-loss.md, by hand), and run"
        " playbooks/backup.yml. Others are made and read all the same.")


def begin(settings: Settings, repository: Repository | None = None, *, first: bool = False,
          after: int = 0) -> Settings:
    """Make this node the repository's writer, unless it is: what was decided by whoever calls.

    :param first: there is no repository yet, and this is said to be its first start.
    :param after: the epoch that this node has had. Others of before may still write, and know no repository's age.
    :returns: the settings with this node's epoch.
    :raises BackupProblem: the repository is another's, cannot be read, or is not there and this is no first start.
    """
    repository = repository or Repository(settings)
    try:
        snapshots, warnings = repository.snapshots()
    except Absent:
        if not first:
            raise
        repository.init()
        snapshots, warnings = [], []
    _unreadable(snapshots, warnings)
    if not snapshots and repository.snapshots(every=True)[0]:
        raise Foreign(f"{settings.repository_name} holds snapshots that are not this project's")
    if snapshots:
        repository.require_identity(snapshots)
        if settings.epoch:
            standing(settings, snapshots)
            return settings
    elif not first:
        raise Absent(f"{settings.repository_name} is empty")
    if not any(one.kind == given.IDENTITY for one in snapshots):
        # Before the epoch is kept: a start that is interrupted here starts again.
        about = {"schema": SCHEMA, "identity": settings.identity, "made": int(time.time())}
        repository.backup_text(json.dumps(about) + "\n", IDENTITY_FILE, given.IDENTITY)
    os.makedirs(given.WORK, mode=0o700, exist_ok=True)
    # What cannot be read may be of somebody who began after all the others.
    before = [after, host.newest_epoch(settings), *(one.epoch for one in snapshots)]
    mine = given.take_epoch(settings, max(before) + 1 + len(warnings))
    repository = repository.of(mine)
    write_record(mine, repository, {})
    standing(mine, repository.snapshots()[0])
    return mine


# --- records ----------------------------------------------------------------------------------------


def kept(path: str = RECORD) -> dict[str, Any]:
    """What the last record said; nothing on a new node."""
    try:
        return given.read_json(path)
    except given.SettingsError:
        return {}


def has_base_of_epoch(settings: Settings) -> bool:
    """Whether this node has made a base backup under its epoch."""
    last = kept()
    return ours(settings, last) and given.BASE in (last.get("good") or {})


def ours(settings: Settings, record: dict[str, Any]) -> bool:
    """Whether this node has written a record under its epoch: those of another repository have the same numbers."""
    return record.get("epoch") == settings.epoch and record.get("writer", settings.writer) == settings.writer


def write_record(settings: Settings, repository: Repository, more: dict[str, Any]) -> str:
    """Save a record with what is known and what a job adds; its snapshot's id."""
    with one_at_a_time():
        return _write_record(settings, repository, more)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Around reading the last record and writing the next: files and database are saved by programs of their own."""
    os.makedirs(os.path.dirname(RECORD), mode=0o700, exist_ok=True)
    with open(f"{RECORD}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_record(settings: Settings, repository: Repository, more: dict[str, Any]) -> str:
    last = kept()
    if not ours(settings, last):
        last = {}
    good = {**(last.get("good") or {}), **more.pop("good", {})}
    position = shipped(settings)
    record = {
        "rows": last.get("rows"), **more, "good": good, "schema": SCHEMA, "at": time.time(),
        "identity": settings.identity, "node": settings.node, "machine": settings.machine, "epoch": settings.epoch,
        "writer": settings.writer, "mode": settings.mode, "release": release(settings, repository),
        "position": position, **node_state(),
    }
    if system := system_now(settings):
        record["system"] = system
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    snapshot = repository.backup_text(text, RECORD_FILE, given.RECORD).snapshot
    write_file(RECORD, text, 0o600)
    return snapshot


def system_now(settings: Settings) -> int:
    """Which database it is: one that was begun anew is told from it. 0 when that cannot be read."""
    with contextlib.suppress(BackupProblem, OSError, KeyError, struct.error):
        return wal.system_of_data(f"{volumes(settings)[settings.database.claim]}/pgdata")
    return 0


def begun_anew(settings: Settings, system: int) -> bool:
    """Whether a database is another one than that of which this node has made base backups under its epoch."""
    last = kept()
    good = last.get("good") or {}
    known = int((good.get(given.BASE) or good.get("base_before") or {}).get("system") or 0)
    return bool(ours(settings, last) and known and system and known != system)


def accept_database(path: str = RECORD) -> None:
    """The database was restored: the next base backup is of it, whichever was saved before."""
    with one_at_a_time():
        last = kept(path)
        bases = [(last.get("good") or {}).get(name) or {} for name in (given.BASE, "base_before")]
        if [one.pop("system") for one in bases if "system" in one]:
            write_file(path, json.dumps(last, indent=1, sort_keys=True) + "\n", 0o600)


def shipped(settings: Settings) -> dict[str, Any] | None:
    """Up to where the WAL has left the node, which a restore must reach; None when that is not known.

    Not up to where it was written on the node: what had not left when it died is lost, and no reason to refuse.
    """
    if settings.mode == given.ARCHIVE:
        with contextlib.suppress(given.SettingsError):
            last = given.read_json(SHIPPED)
            if ours(settings, last):
                return {"lsn": last["lsn"], "timeline": last["timeline"], "at": last["at"]}
        return None
    with contextlib.suppress(BackupProblem):
        database = Database(settings)
        now, sent = database.position(), database.standby()
        if sent and sent["flush_lsn"]:
            return {"lsn": sent["flush_lsn"], "timeline": now.timeline, "at": now.at}
    return None


def release(settings: Settings, repository: Repository) -> dict[str, Any]:
    """What runs: as the inventory says, with restic's version, the images that containers have and the sealing key's
    fingerprint."""
    found = {name: what for name, what in settings.release.items() if name != "certificate"}
    found["versions"] = dict(settings.release.get("versions") or {})
    with contextlib.suppress(BackupProblem):
        found["versions"]["restic"] = repository.version()
    with contextlib.suppress(ValueError):
        certificate = ssl.PEM_cert_to_DER_cert(str(settings.release.get("certificate")))
        found["sealing"] = hashlib.sha256(certificate).hexdigest()
    with contextlib.suppress(DatabaseDown):
        found["images"] = images(settings)
    return found


def node_state(folder: str = NODE_STATE) -> dict[str, Any]:
    """What the node's watch and the last verification know: the release, and objects that git does not know."""
    found: dict[str, Any] = {}
    with contextlib.suppress(given.SettingsError):
        base = given.read_json(f"{folder}/baseline.json")
        found["provisioned"] = {key: base.get(key) for key in ("at", "commit", "release")}
    with contextlib.suppress(given.SettingsError):
        seen = given.read_json(f"{folder}/state.json")
        found["drift"] = {"verdict": seen.get("verdict"), "checked": seen.get("checked")}
        found["objects"] = sorted({str(one.get("subject")) for one in seen.get("drift") or []
                                   if one.get("code") == "DRIFT-01"})
    with contextlib.suppress(given.SettingsError):
        found["contract"] = given.read_json(f"{folder}/contract.json")
    return found


# --- files ------------------------------------------------------------------------------------------


def save_files(settings: Settings, repository: Repository) -> Figures:
    """Save the volumes' files and the folder of settings."""
    places = volumes(settings)
    folders = {claim: places[claim] for claim, role in settings.claims.items() if role == given.FILES_ROLE}
    if settings.config_folder:
        folders[""] = settings.config_folder
    with writing(settings, repository, given.FILES) as seen:
        entries, digest = write_manifest(list(folders.values()), MANIFEST, f"{given.WORK}/files/hashes.json", (HALF,))
        done = repository.backup([*folders.values(), MANIFEST], given.FILES, there=seen.snapshots,
                                 exclude=[f"{one}/{HALF}" for one in folders.values()])
        good = {"id": done.snapshot, "time": time.time(), "manifest": MANIFEST, "manifest_sha256": digest,
                "entries": entries, "folders": folders, "disk": sum(map(used, folders.values()))}
        write_record(settings, repository, {"good": {given.FILES: good}})
    return {"files": done.files, "bytes": done.bytes, "stored_bytes": done.stored,
            "overdue": overdue(settings, seen.snapshots), "unreadable": seen.unreadable}


# --- the database -----------------------------------------------------------------------------------


def save_base(settings: Settings, repository: Repository) -> Figures:
    """Save a base backup of the database, and what its tables hold."""
    database = Database(settings)
    # The WAL of this generation leads on from it.
    slot = stream.have_slot(database, settings.epoch) if settings.mode == given.STREAM else ""
    with writing(settings, repository, given.BASE) as seen:
        if settings.mode == given.STREAM:
            # Of the other mode: nobody reads from it any more, and it would keep WAL on the disk.
            database.drop_slot(ARCHIVER)
        before = database.position()
        system = system_now(settings)
        if begun_anew(settings, system):
            raise Incomplete(
                f"the database of {settings.node} is another one than that of the base backups before: it was begun"
                " anew, and as the newest it would take their place",
                f"To have it back: playbooks/restore.yml with restore_parts={settings.database.claim}; to go on with"
                f" the new one: site.yml with -e backup_first_start={settings.node}")
        done = repository.backup_command(database.base_argv(), BASE_FILE, given.BASE)
        good = {"id": done.snapshot, "time": time.time(), "lsn": before.lsn, "timeline": before.timeline,
                "segment": before.segment, "bytes": done.bytes, "slot": slot, "system": system}
        last = (kept().get("good") or {}).get(given.BASE)
        write_record(settings, repository, {"good": {given.BASE: good, "base_before": last or good},
                                            "rows": rows(database)})
    figures = {"bytes": done.bytes, "stored_bytes": done.stored, "slot": slot, "unreadable": seen.unreadable}
    if slot and last and last.get("slot"):
        # It is the backup host's own matter how much of that it lets go. When it does not answer, the stream says so.
        with contextlib.suppress(BackupProblem):
            figures["pruned_segments"] = host.prune(settings, last["slot"], last["segment"])["deleted"]
    return figures


OURS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
RELATION = "format('%I.%I', n.nspname, c.relname)"
LIST_TABLES = f"""SELECT {RELATION}
 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {OURS}
 ORDER BY 1"""

PLAIN = """SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 3;
 SET bytea_output = 'hex'; SET statement_timeout = 0;"""
"""What the text of a row depends on, and of a definition with a time in it."""


DEFINED = {
    "extensions": "SELECT format('%I %s %I', extname, extversion, n.nspname) FROM pg_extension"
                  " JOIN pg_namespace n ON n.oid = extnamespace",
    "relations": f"SELECT format('%s %s %s %s', {RELATION}, relkind, relpersistence, reloptions) FROM pg_class c"
                 f" JOIN pg_namespace n ON n.oid = relnamespace WHERE {OURS}",
    "columns": f"SELECT format('%s %I %s %s %s %s %s %s', {RELATION}, attname, format_type(atttypid, atttypmod),"
               " attnotnull, pg_get_expr(adbin, adrelid), attidentity, attgenerated, attcollation::regcollation)"
               " FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace"
               " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
               f" WHERE {OURS} AND attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')",
    "sequences": f"SELECT format('%s %s %s %s %s %s %s %s', {RELATION}, format_type(seqtypid, NULL), seqstart,"
                 " seqincrement, seqmin, seqmax, seqcache, seqcycle) FROM pg_sequence"
                 f" JOIN pg_class c ON c.oid = seqrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE {OURS}",
    "indexes": "SELECT format('%s %s %s', pg_get_indexdef(indexrelid), indisvalid, indisclustered) FROM pg_index"
               f" JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE {OURS}",
    "constraints": "SELECT format('%I.%I %s %s %s', n.nspname, conname, nullif(conrelid, 0)::regclass,"
                   " nullif(contypid, 0)::regtype, pg_get_constraintdef(o.oid)) FROM pg_constraint o"
                   f" JOIN pg_namespace n ON n.oid = connamespace WHERE {OURS}",
    "views": f"SELECT format('%s %s', {RELATION}, pg_get_viewdef(c.oid)) FROM pg_class c"
             f" JOIN pg_namespace n ON n.oid = relnamespace WHERE {OURS} AND relkind IN ('v', 'm')",
    # What an extension brings its version says. An aggregate has no definition that could be asked for.
    "functions": "SELECT CASE prokind WHEN 'a' THEN format('%s %s', p.oid::regprocedure, format_type(prorettype, NULL))"
                 " ELSE pg_get_functiondef(p.oid) END FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
                 f" WHERE {OURS} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass"
                 " AND d.objid = p.oid AND d.deptype = 'e')",
    "triggers": "SELECT format('%s %s', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t"
                " JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace"
                f" WHERE {OURS} AND NOT tgisinternal",
    "enums": "SELECT format('%s %s %s', enumtypid::regtype, enumsortorder, enumlabel) FROM pg_enum"
             f" JOIN pg_type t ON t.oid = enumtypid JOIN pg_namespace n ON n.oid = typnamespace WHERE {OURS}",
}
"""What the database's definitions are made of, one text each. Names are whole only without a search path."""


WAITING = ("SELECT 'waiting', count(*), '' FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
           " AND datname = current_database()")
"""How many commits wait for the receiver. While all tables are locked they are none that wrote rows."""

AGAIN = 1.0
"""Seconds after which what was in the way may have gone."""


def definitions_sql() -> str:
    """One row for each kind of definitions: its name, how many there are, and the SHA-256 over them in a fixed order.
    It is asked after :data:`PLAIN`, and without a search path."""
    return " UNION ALL ".join(
        f"SELECT 'defined', '{kind}', count(*)::text, encode(sha256(convert_to(coalesce(string_agg(one, E'\\n'"
        f" ORDER BY one COLLATE \"C\"), ''), getdatabaseencoding())), 'hex') FROM ({sql}) {kind} (one)"
        for kind, sql in DEFINED.items())


def definitions(found: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What the rows of :func:`definitions_sql` say: the fingerprint of them all, and of each kind with its number."""
    kinds = {kind: {"number": int(count), "sha256": digest} for _, kind, count, digest in found}
    whole = "".join(f"{kind} {kinds[kind]['number']} {kinds[kind]['sha256']}\n" for kind in DEFINED)
    return {"sha256": hashlib.sha256(whole.encode()).hexdigest(), "kinds": kinds}


def tables_sql(tables: Sequence[str]) -> str:
    """One row a table: its name, how many rows it has, and a sum over them that their order does not change."""
    return " UNION ALL ".join(
        f"SELECT {quoted(name)}, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {name} t"
        for name in tables) or "SELECT NULL, 0, 0 WHERE false"


def rows(database: Database) -> dict[str, Any] | None:
    """What the tables hold, and how they and all else are defined, at one exact position of the WAL.

    For an instant all tables are locked against writers: what has committed by then is before the position, and all
    else comes after it. A writer that holds a table for longer is not waited for; then it is not exact. Of
    definitions the server tells those of now and not those of the transaction: they are asked for before it, too, and
    when they were changed meanwhile it is not exact either. Nor is it while a change that locks no table, such as a new
    function, waits for the receiver: it is in the WAL before the position, and nobody sees it yet.
    """
    tables = [row[0] for row in database.psql(LIST_TABLES)]
    for exact in (True, True, True, False):
        lock = f"SET LOCAL lock_timeout = '1s'; LOCK TABLE {', '.join(tables)} IN SHARE MODE;" \
            if exact and tables else ""
        # The snapshot is the transaction's, the locks are the savepoint's. Before it a transaction of our own ends: a
        # commit that waits for the receiver while the base backup begins is in that backup and not in its WAL, and a
        # standby, as which the backup is rehearsed, shows it only after a later one.
        defined = f"SET search_path = ''; {definitions_sql()}; RESET search_path;"
        sql = (f"{PLAIN} {defined} SELECT pg_current_xact_id();"
               f" BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT s; {lock}"
               " SELECT 'at', pg_current_wal_insert_lsn(), pg_walfile_name(pg_current_wal_insert_lsn());"
               f" {WAITING}; ROLLBACK TO SAVEPOINT s; {defined}"
               " SELECT 'point', pg_create_restore_point('observer-node'), current_setting('server_version');"
               f" {tables_sql(tables)}; COMMIT")
        try:
            said = database.psql(sql, seconds=3600)
        except DatabaseDown:
            if not exact:
                raise
            time.sleep(AGAIN)
            continue
        told = [row for row in said if len(row) == 4]
        before, now = definitions(told[:len(DEFINED)]), definitions(told[len(DEFINED):])
        (_, lsn, name), (_, waiting, _), (_, _, server), *counted = [row for row in said if len(row) == 3]
        if exact and (before != now or waiting != "0"):
            time.sleep(AGAIN)
            continue
        return {"lsn": lsn, "timeline": int(name[:8], 16), "at": time.time(), "exact": exact,
                "definitions": now, "server": server,
                "tables": {table: {"rows": int(count), "sum": total} for table, count, total in counted}}
    return None


# --- archive mode: WAL ------------------------------------------------------------------------------


def archive(settings: Settings) -> int:
    """Receive WAL into a folder of the database's volume until the receiver ends; systemd starts it again."""
    database = Database(settings)
    database.guard(settings.slot_keep_mb)
    if database.make_slot(ARCHIVER):
        # From no base backup of before does the WAL lead on without a gap.
        forget_base()
        subprocess.run(["systemctl", "--no-block", "start", stream.BASE_UNIT], check=False, capture_output=True)
    # In the other mode before: nobody will read from it.
    database.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                  f" WHERE NOT active AND slot_name ~ '^{receiver.SLOT.pattern}$'")
    found, where = database.container(), settings.database
    outer = f"{volumes(settings)[where.claim]}/{WAL_OUT}"
    os.makedirs(outer, mode=0o700, exist_ok=True)
    os.chown(outer, found.uid, found.gid)
    argv = database.inside("pg_receivewal", "--host", where.socket, "--username", found.user, "--slot", ARCHIVER,
                           "--directory", f"{where.mount}/{WAL_OUT}", "--synchronous", "--status-interval", "1",
                           "--no-loop", "--no-password")
    # --no-loop: after the pod is another one it would try for ever in the old one's namespaces.
    os.environ["PGAPPNAME"] = ARCHIVER
    os.execvp(argv[0], argv)


def forget_base() -> None:
    """Have the next records name no base backup until there is another; the records that there are still do."""
    with one_at_a_time():
        last = kept()
        base = (last.get("good") or {}).pop(given.BASE, None)
        if base:
            last["good"].setdefault("base_before", base)
            write_file(RECORD, json.dumps(last, indent=1, sort_keys=True) + "\n", 0o600)


def save_wal(settings: Settings, repository: Repository) -> Figures:
    """Ship the WAL that has been received."""
    database = Database(settings)
    out = f"{volumes(settings)[settings.database.claim]}/{WAL_OUT}"
    with writing(settings, repository, given.WAL) as seen:
        sent = database.standby(ARCHIVER)
        if sent is None or not sent["flush_lsn"]:
            slot = database.slot(ARCHIVER)
            lost = slot is not None and slot.status == "lost"
            raise DatabaseDown(
                "the slot observer_archiver was lost: WAL is missing since, and only a new base backup helps" if lost
                else "no WAL is received: observer-backup-archive.service does not run or does not reach the database",
                "On the node: systemctl status observer-backup-archive; systemctl start observer-backup-base")
        now = database.position()
        os.makedirs(os.path.dirname(POSITION), mode=0o700, exist_ok=True)
        position = json.dumps({"lsn": sent["flush_lsn"], "timeline": now.timeline, "at": now.at,
                               "epoch": settings.epoch, "writer": settings.writer}) + "\n"
        write_file(POSITION, position, 0o600)
        done = repository.backup([out, POSITION], given.WAL, there=seen.snapshots)
        if done.vanished:
            # A segment got its whole name meanwhile, so this snapshot lacks it, and the next names it.
            done = repository.backup([out, POSITION], given.WAL, there=seen.snapshots)
        write_file(SHIPPED, position, 0o600)
        gone = remove_shipped(out, kept().get("good") or {})
    return {"stored_bytes": done.stored, "segments": done.files - 1, "removed": gone, "unreadable": seen.unreadable,
            "behind_bytes": max(0, number(now.lsn) - number(sent["flush_lsn"]))}


def remove_shipped(folder: str, good: dict[str, Any]) -> int:
    """Take away segments from before the base backup before the last; how many. A restore of either base finds all
    that it needs in the newest snapshot of WAL."""
    before = good.get("base_before")
    if not before or not before.get("lsn"):
        return 0
    floor = segment_name(int(before["timeline"]), before["lsn"])[8:]
    gone = 0
    for name in os.listdir(folder):
        # The timeline is left out of the comparison: an older one's segments of that place are still needed.
        if len(name) == 24 and name[8:] < floor:
            os.unlink(f"{folder}/{name}")
            gone += 1
    return gone


# --- looking after the repository -------------------------------------------------------------------


PATIENCE = "30m"
"""How long a check waits until nobody writes, as restic has it: the first of all backups may take that long."""


def check(settings: Settings, repository: Repository) -> Figures:
    """Check the repository, and a part of its data by reading it."""
    started = time.monotonic()
    unreadable = _look(settings, repository).unreadable
    try:
        repository.check(settings.check_subset, PATIENCE)
    except Damaged as problem:
        raise (unreadable or problem) from problem
    if unreadable:
        raise unreadable
    return {"subset": settings.check_subset, "seconds": round(time.monotonic() - started, 1)}


UNITS = {"y": 366 * 86400, "m": 31 * 86400, "d": 86400, "h": 3600}
"""A year and a month are as long as the longest, so that nothing is overdue too early."""
PERIODS = {"within_hourly": "%Y-%m-%d %H", "within_daily": "%Y-%m-%d", "within_weekly": "%G %V",
           "within_monthly": "%Y-%m", "within_yearly": "%Y"}


def overdue(settings: Settings, snapshots: Sequence[Snapshot]) -> float | None:
    """Since when the backup host could have forgotten something (epoch), by restic's own rules; 0 when it could not.
    None where it is not the backup host's: an object store's owner forgets there, or nobody. None, too, where a number
    is kept and not a time.

    :param snapshots: all of the repository.
    """
    lengths = {name: sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([ymdh])", str(length)))
               for name, length in settings.keep.items()}
    if settings.repository != given.BACKUP_HOST or not lengths or not lengths.keys() <= {"within", *PERIODS}:
        return None
    ends = []
    for kind in prune.KINDS:
        ours = sorted((one for one in snapshots if one.kind == kind), key=lambda one: one.time, reverse=True)
        times = [one.time for one in reversed(ours)]
        last: dict[str, str] = {}
        for one in ours:
            keep = lengths.get("within", 0)
            at = time.gmtime(one.time + one.zone)
            for name in lengths.keys() & PERIODS.keys():
                # The newest of each hour, day and so on is kept, and the oldest of all.
                period = time.strftime(PERIODS[name], at)
                if period != last.get(name) or one is ours[-1]:
                    keep = max(keep, lengths[name])
                last[name] = period
            # Ages count from the newest: until there is one that much later, nothing could go.
            if (later := bisect_right(times, one.time + keep)) < len(times):
                ends.append(times[later])
    return min(ends, default=0.0)


Job = Callable[[Settings, Repository], Figures]
JOBS: dict[str, Job] = {
    given.FILES: save_files, given.BASE: save_base, given.WAL: save_wal, "check": check,
}


def run(name: str, settings: Settings, repository: Repository | None = None, job: Job | None = None) -> int:
    """Run one job and record how it went; an exit status.

    :param job: what it does, when that is none of :data:`JOBS`.
    """
    started = time.monotonic()
    try:
        figures = (job or JOBS[name])(settings, repository or Repository(settings))
    except BackupProblem as problem:
        return failed(name, problem)
    except (OSError, ValueError, given.SettingsError) as error:
        return failed(name, Unknown(str(error)))
    figures["seconds"] = round(time.monotonic() - started, 1)
    if "unreadable" in figures:
        state.unreadable(figures.pop("unreadable"))
    if "overdue" in figures:
        state.retention(figures.pop("overdue"))
    state.update(name, True, **figures)
    print(f"{state.WORDS.get(name, name)}: done, {json.dumps(figures, sort_keys=True)}")
    return 0


def failed(job: str, problem: BackupProblem) -> int:
    """Record a failure; an exit status."""
    state.update(job, False, why=problem.what, remedy=problem.remedy)
    print(f"{state.WORDS.get(job, job)}: FAILED: {problem.what}. {problem.remedy}")
    return 1
