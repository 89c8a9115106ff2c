"""The database's WAL on its way to the backup host, second by second, and what is promised meanwhile.

One SSH session carries all: the node opens it, the key of the WAL and the password of the database's role go down its
standard input, and the receiver on the backup host (``receiver.py``) reaches the database through its tunnel. In
synchronous mode a commit waits until the receiver has it on its disk. When the receiver is away for ten seconds, the
database is told to go on without it, and waits again as soon as it has caught up.

Each time in which an acknowledged commit may not have reached the backup host is a *window*, and is recorded. It begins
at the receiver's last reply and not when the database was told to go on: an app that gives up waiting and writes the
same row again is acknowledged in between, because there is nothing more to write.

The name of a replication slot is that of a *generation*: what lies on the backup host under it has no gap. When the
slot is lost, or the database is another after a restore, a new one begins, and a new base backup is asked for.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from . import receiver, settings, state
from .database import ARCHIVER, RECEIVER, SEARCH_PATH, Database, number, quoted, verifier
from .files import write_file
from .guard import ARM, DISARM, LATE, LATE_LOOKS, LOOK, NAMES, QUIET, Guard, Look, Window, look_of
from .host import last, problem, ssh
from .problems import BackupProblem, DatabaseDown, TakenOver, Unknown
from .settings import WORK, Settings, wal_key

TICK = 0.5
BEHIND = 60.0
"""Seconds of lag that are bad though commits wait; where they do not, those of the guard are."""
LITTLE = 1 << 30
"""Bytes left on the backup host's disk that are too few."""
ASK_AGAIN = 600.0
SAVE = 15.0
MOST_WINDOWS, KEEP_WINDOWS = 100, 400 * 86400.0
BEAT = 5.0
"""Seconds between two bytes that tell the receiver that the node lives."""
WATCHDOG_SECONDS = 5.0

MEMORY = f"{WORK}/stream.json"
BASE_UNIT = "observer-backup-base.service"
NO_BASE = "there is no base backup since the WAL began anew"


class Psql:
    """One ``psql`` that stays: a look each half second costs no process.

    :param begin: starts it; see :func:`psql`.
    """

    def __init__(self, begin: Callable[[], subprocess.Popen[bytes]], seconds: float = WATCHDOG_SECONDS) -> None:
        self._begin, self._seconds = begin, seconds
        self._process: subprocess.Popen[bytes] | None = None

    def rows(self, sql: str) -> list[list[str]]:
        """The answer to one statement. :raises DatabaseDown: there is none, or an error."""
        try:
            if self._process is None:
                self._process = self._begin()
                # A commit of ours never waits for the receiver, and none of our words goes astray.
                for one in ("SET client_min_messages = error", "SET synchronous_commit = local",
                            f"SET statement_timeout = '{self._seconds * 0.8:.1f}s'"):
                    self._ask(one)
            return self._ask(sql)
        except (OSError, ValueError) as error:
            self.close()
            raise DatabaseDown(f"the database cannot be asked: {error}") from error
        except DatabaseDown:
            if self._process is not None and self._process.poll() is not None:
                self.close()
            raise

    def _ask(self, sql: str) -> list[list[str]]:
        process = self._process
        assert process and process.stdin and process.stdout
        mark = secrets.token_hex(8)
        process.stdin.write(f"{sql};\nSELECT '{mark}', :'ERROR', :'LAST_ERROR_MESSAGE', '{mark}';\n".encode())
        process.stdin.flush()
        said, deadline = b"", time.monotonic() + self._seconds
        end = re.compile(f"^{mark}\x1f(true|false)\x1f(.*)\x1f{mark}\n".encode(), re.M | re.S)
        while not (found := end.search(said)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                self.close()
                raise DatabaseDown(f"the database did not answer within {self._seconds:.0f} s")
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                self.close()
                raise DatabaseDown(f"the database does not let anybody in: {last(said.decode(errors='replace'))}")
            said += more
        if found[1] == b"true":
            raise DatabaseDown(f"the database refused: {found[2].decode(errors='replace')}")
        return [row.split("\x1f") for row in said[:found.start()].decode(errors="replace").splitlines()]

    def close(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]


def psql(database: Database) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts a ``psql`` in the database's container."""
    def begin() -> subprocess.Popen[bytes]:
        found = database.container()
        argv = database.inside("psql", "--host", database.settings.database.socket, "--username", found.user,
                               "--dbname", found.name, "--no-psqlrc", "--no-align", "--tuples-only", "--quiet",
                               "--no-password", "--field-separator", "\x1f")
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                env={**os.environ, "LC_ALL": "C", "PATH": SEARCH_PATH})
    return begin


# --- the session with the backup host ---------------------------------------------------------------


def address(given: Settings, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> str:
    """The address of the database's Service. Not the pod's own: from there whoever comes needs no password.

    :raises BackupProblem: the cluster does not say it.
    """
    name = given.database.workload.rpartition("/")[2]
    try:
        done = run(["kubectl", "--namespace", given.namespace, "get", "service", name, "--output",
                    "jsonpath={.spec.clusterIP}", "--request-timeout", "8s"], capture_output=True, text=True,
                   check=False, timeout=15, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": SEARCH_PATH})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatabaseDown(f"the cluster does not say the address of the Service {name}: {error}") from error
    found = done.stdout.strip()
    if done.returncode:
        raise DatabaseDown(f"the cluster does not say the address of the Service {name}: {last(done.stderr)}")
    if not re.fullmatch(r"[0-9a-fA-F.:]+", found):
        raise DatabaseDown(f"the Service {given.namespace}/{name} has no cluster address: {found or 'none'}",
                           "Give it a cluster IP: the database lets whoever comes from its pod in without a password.")
    return f"[{found}]" if ":" in found else found


class Sessions(threading.Thread):
    """Sessions with the backup host, one after the other.

    :ivar slot: the generation that is received; empty for none.
    :ivar problem: why the last session ended; None while one goes well.
    """

    def __init__(self, given: Settings, database: Database,
                 where: Callable[[Settings], str] = address, words: Callable[..., list[str]] = ssh) -> None:
        super().__init__(daemon=True)
        self.given, self.database, self._where, self._words = given, database, where, words
        self.slot = ""
        self.problem: BackupProblem | None = None
        self.host: dict[str, int] = {}
        self._began: float | None = None
        self._again, self._over = threading.Event(), threading.Event()
        self._known = ""

    @property
    def age(self) -> float | None:
        """Seconds since the session began."""
        began = self._began
        return None if began is None else time.monotonic() - began

    def restart(self, why: str) -> None:
        """End the session, for another one."""
        if self._began is not None and not self._again.is_set():
            log(f"the session is ended: {why}")
            self._again.set()

    def close(self) -> None:
        self._over.set()
        self._again.set()
        self.join(5)

    def run(self) -> None:
        wait = 1.0
        while not self._over.is_set():
            if not self.slot:
                self._over.wait(TICK)
                continue
            self._again.clear()
            begun = time.monotonic()
            try:
                self._one(self.slot)
            except BackupProblem as found:
                self.problem = found
                log(found.what)
            except Exception as error:  # nothing but the end of the service ends this
                self.problem = Unknown(f"a session failed: {type(error).__name__}: {error}")
                log(self.problem.what)
            self._began = None
            wait = 0.2 if time.monotonic() - begun > 15 else min(5.0, max(1.0, wait * 1.5))
            if isinstance(self.problem, TakenOver):
                wait = 60.0
            self._over.wait(wait)

    def _one(self, slot: str) -> None:
        try:
            self._known = self._where(self.given)
        except BackupProblem:
            # The address of a Service does not change while it lives, and the API may be down.
            if not self._known:
                raise
        host = self.given.receiver
        assert host
        password, key = secrets.token_urlsafe(24), wal_key(self.given)
        self.database.role_for_receiver(verifier(password))
        # A port of its own: the socket of a session that is just dying refuses another under its name.
        port = 20000 + secrets.randbelow(30000)
        argv = self._words(self.given, ["receive", slot, str(port)], "-o", "ExitOnForwardFailure=yes", "-R",
                           f"{host.folder}/run/.s.PGSQL.{port}:{self._known}:{self.given.database.port}")
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   start_new_session=True)
        self._began = time.monotonic()
        assert process.stdin and process.stdout and process.stderr
        said: deque[str] = deque(maxlen=30)
        threads = [threading.Thread(target=self._facts, args=(process.stdout,), daemon=True),
                   threading.Thread(target=self._listen, args=(process.stderr, said), daemon=True)]
        for one in threads:
            one.start()
        try:
            os.set_blocking(process.stdin.fileno(), False)
            with contextlib.suppress(OSError):
                os.write(process.stdin.fileno(), f"{key}\n{password}\n".encode())
            beat = time.monotonic()
            while process.poll() is None and not self._again.wait(0.2) and slot == self.slot:
                if time.monotonic() - beat > BEAT:
                    beat = time.monotonic()
                    # Full when the network stands still; then the other side hears nothing, which is right.
                    with contextlib.suppress(OSError):
                        os.write(process.stdin.fileno(), b"\n")
            ended = process.poll()
        finally:
            process.stdin.close()
            try:
                # With the end of its input the receiver ends in good order.
                process.wait(0 if self._again.is_set() and not self._over.is_set() else 2)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for one in threads:
                one.join(1)
        if ended is not None:
            raise problem(ended, "\n".join(said))

    def _facts(self, stream: IO[bytes]) -> None:
        for row in stream:
            with contextlib.suppress(ValueError):
                found = json.loads(row)
                if isinstance(found, dict):
                    self.host = {key: int(value) for key, value in found.items() if isinstance(value, int)}

    def _listen(self, stream: IO[bytes], said: deque[str]) -> None:
        for row in stream:
            text = row.decode(errors="replace").strip()
            if text:
                said.append(text)
                log(text)


# --- the service ------------------------------------------------------------------------------------


class Service:
    """What ``observer-backup-stream.service`` runs.

    :param ask: starts a base backup.
    """

    def __init__(self, given: Settings, database: Database, sessions: Sessions, watcher: Psql,
                 memory: str = MEMORY, folder: str = state.FOLDER, ask: Callable[[], None] | None = None) -> None:
        self.given, self.database, self.sessions, self.watcher = given, database, sessions, watcher
        self.memory, self.folder, self.ask = memory, folder, ask or start_base
        self.guard = Guard(given.sync)
        self.over = threading.Event()
        self._saved = self._asked = self._told_at = float("-inf")
        self._told: Any = None
        self._down: BackupProblem | None = None
        self._guarded = ""
        self._begun = time.monotonic()

    def run(self) -> None:
        """Until :attr:`over` is set; then commits no longer wait."""
        self.recall()
        self.guard.start(time.time())
        self.sessions.start()
        notify("READY=1")
        try:
            while not self.over.wait(TICK):
                self.tick()
                notify("WATCHDOG=1")
        finally:
            self.sessions.close()
            self.guard.open(self.guard.held or time.time(), "the service was stopped")
            with contextlib.suppress(BackupProblem):
                disarm(self.watcher)
            self.save(time.time())
            self.watcher.close()

    def tick(self) -> None:
        try:
            look: Look | None = look_of(self.watcher.rows(LOOK))
            self._down = None
        except DatabaseDown as found:
            look, self._down = None, found
        except (ValueError, IndexError) as error:
            look, self._down = None, DatabaseDown(f"the database answered something unheard of: {error}")
        now, at = time.monotonic(), time.time()
        guard = self.guard
        before = guard.window
        for action in guard.see(look, now, at, self.sessions.age):
            try:
                if action == DISARM:
                    log("commits no longer wait for the receiver")
                    disarm(self.watcher)
                elif action == ARM:
                    log("commits wait for the receiver")
                    self.watcher.rows(f"ALTER SYSTEM SET synchronous_standby_names = {quoted(RECEIVER)}")
                    self.watcher.rows("SELECT pg_reload_conf()")
                else:
                    self.sessions.restart("the receiver says nothing")
            except DatabaseDown as found:
                self._down = found
        if guard.fresh_since is not None:
            self.sessions.problem = None
        if look is not None and not look.recovery:
            try:
                self.keep(look, now)
            except DatabaseDown as found:
                self._down = found
        if guard.window is not before or now - self._saved >= SAVE:
            self._saved = now
            self.save(at)
        self.tell(now, at)

    def keep(self, look: Look, now: float) -> None:
        """The server's settings, the slot, and a base backup that belongs to it."""
        if look.began != self._guarded:
            keep = f"{self.given.slot_keep_mb}MB"
            if self.watcher.rows("SELECT pg_size_bytes(current_setting('max_slot_wal_keep_size'))"
                                 f" = pg_size_bytes({quoted(keep)})")[0][0] != "t":
                self.watcher.rows(f"ALTER SYSTEM SET max_slot_wal_keep_size = {quoted(keep)}")
                self.watcher.rows("SELECT pg_reload_conf()")
            # In the other mode before: nobody will read from it.
            self.watcher.rows("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                              f" WHERE NOT active AND slot_name = {quoted(ARCHIVER)}")
            self._guarded = look.began
        own = receiver.SLOT.fullmatch(look.slot)
        if own is None or look.wal_status == "lost" or int(own[1]) != self.given.epoch:
            self.sessions.slot = ""
            if own:
                log(f"the slot {look.slot} is {look.wal_status or 'lost'}: a new generation begins")
                self.guard.open(self.guard.held or time.time(), f"the slot {look.slot} was lost")
                drop(self.watcher, look.slot)
            slot = after(look.slot, self.given.epoch, time.time())
            self.watcher.rows(f"SELECT pg_create_physical_replication_slot({quoted(slot)}, true)")
            self.guard.base = False
            self._asked = float("-inf")
            return
        for other in look.others:
            drop(self.watcher, other)
        self.sessions.slot = look.slot
        if not self.guard.base:
            self.guard.base = has_base_of_generation(look.slot, self.folder)
            if not self.guard.base:
                self.guard.open(self.guard.held or time.time(), "there is no base backup of this generation")
                if now - self._asked >= ASK_AGAIN and self.guard.fresh_since is not None:
                    self._asked = now
                    self.ask()

    def recall(self) -> None:
        """The windows that were, and until when the guarantee held."""
        try:
            with open(self.memory, encoding="utf-8") as file:
                found = json.load(file)
            self.guard.windows = [Window(float(one["from"]), str(one["why"]), one["to"], bool(one["fallback"]))
                                  for one in found["windows"]]
            self.guard.held = float(found["held"]) if found["held"] is not None else None
        except (OSError, ValueError, KeyError, TypeError):
            return

    def save(self, at: float) -> None:
        windows = self.guard.windows
        windows[:] = [one for one in windows[-MOST_WINDOWS:] if at - one.since < KEEP_WINDOWS or one.to is None]
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self.memory), mode=0o700, exist_ok=True)
            write_file(self.memory, json.dumps({"held": self.guard.held, "windows": [one.told() for one in windows]}),
                       0o600)

    def wrong(self, at: float) -> tuple[str, str]:
        """What is bad now, in a sentence, and its remedy; empty when all is well."""
        guard, look = self.guard, self.guard.look
        if self._down:
            return self._down.what, self._down.remedy
        if look.recovery:
            return "the database is being restored", "It goes on by itself; then run playbooks/verify.yml."
        if look.wal_status == "unreserved":
            return ("the receiver is so far behind that the database is about to delete WAL that it needs",
                    "See why the backup host does not receive: journalctl -u observer-backup-stream")
        if guard.fresh_since is None and guard.looked is not None and guard.looked - guard.heard > QUIET:
            said = self.sessions.problem
            return (f"nothing is received{': ' + said.what if said else ''}", said.remedy if said else
                    "It goes on by itself; if it does not: journalctl -u observer-backup-stream")
        if not guard.base:
            return NO_BASE, f"systemctl start {BASE_UNIT}"
        if self.given.sync and not look.sync:
            return "commits do not wait for the receiver", "It comes by itself when the receiver is steady."
        lag = guard.lag_seconds(at)
        if lag is not None and not self.given.sync and guard.late >= LATE_LOOKS:
            return (f"the backup host is {lag:.1f} s behind, which would be lost with the node, and no more than"
                    f" {LATE:.0f} s is promised without synchronous commits",
                    "See its disk and the network between; with backup_sync: true commits wait for it.")
        if lag is not None and lag > BEHIND:
            return f"the backup host is {lag:.0f} s behind", "See its disk and the network between."
        if self.sessions.host and self.sessions.host.get("free", LITTLE) < LITTLE:
            return (f"the backup host's disk has {self.sessions.host['free'] >> 20} MiB left",
                    "Make room on the backup host, or let it prune: playbooks/backup.yml")
        return "", ""

    def tell(self, now: float, at: float) -> None:
        """Write the state, at once when something is other than it was."""
        guard, look = self.guard, self.guard.look
        why, remedy = self.wrong(at)
        if why == NO_BASE and now - self._begun < ASK_AGAIN:
            # It is being made, and takes a while. Until it is there the WAL of the new generation leads on from none.
            why = remedy = ""
        news = (re.sub(r"[0-9]+", "", why), look.slot, look.sync, len(guard.windows), guard.window is None)
        if news == self._told and now - self._told_at < SAVE:
            return
        if why and now - self._begun < SAVE:
            # Nothing streams before it has begun.
            return
        self._told, self._told_at = news, now
        lag = guard.lag_seconds(at)
        with contextlib.suppress(OSError):
            state.update("stream", not why, at, why, remedy=remedy, folder=self.folder,
                         lag_seconds=None if lag is None else round(lag, 1), lag_bytes=guard.lag_bytes,
                         mode="sync" if look.sync else "async", guaranteed=int(guard.window is None), slot=look.slot,
                         safe_bytes=look.safe, host_free_bytes=self.sessions.host.get("free"),
                         windows=[one.told() for one in guard.windows])


def run(given: Settings, load: Callable[[], Settings] = settings.load) -> int:
    """Stream until the service is stopped. The exit status.

    :param load: reads the settings anew, for a node that has not yet begun to write.
    """
    over = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: over.set())
    while not given.epoch:
        # The first job takes the epoch.
        notify("READY=1\nWATCHDOG=1\nSTATUS=waiting for the first backup")
        if over.wait(5):
            return 0
        given = load()
    database = Database(given)
    service = Service(given, database, Sessions(given, Database(given)), Psql(psql(database)))
    service.over = over
    service.run()
    return 0


def off(given: Settings) -> int:
    """Have commits no longer wait; for when the service has ended in whatever way. The exit status."""
    watcher = Psql(psql(Database(given)))
    try:
        disarm(watcher)
    except BackupProblem as found:
        # Without a database there is nobody who waits.
        log(found.what)
    finally:
        watcher.close()
    return 0


def after(slot: str, epoch: int, at: float) -> str:
    """The name of a new generation: later than the one before it, whatever the clock says."""
    if slot and receiver.age_of(slot)[0] == epoch:
        at = max(at, calendar.timegm(time.strptime(receiver.age_of(slot)[1], "%Y%m%dt%H%M%S")) + 1)
    return f"observer_e{epoch}_{time.strftime('%Y%m%dt%H%M%S', time.gmtime(at))}"


def disarm(watcher: Psql) -> None:
    watcher.rows("ALTER SYSTEM SET synchronous_standby_names = ''")
    watcher.rows("SELECT pg_reload_conf()")


def drop(watcher: Psql, slot: str) -> None:
    watcher.rows("SELECT pg_terminate_backend(active_pid, 3000) FROM pg_replication_slots"
                 f" WHERE slot_name = {quoted(slot)} AND active_pid IS NOT NULL")
    watcher.rows("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                 f" WHERE slot_name = {quoted(slot)}")


def start_base() -> None:
    """Ask for a base backup; it is not waited for."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["systemctl", "start", "--no-block", BASE_UNIT], check=False, timeout=10,
                       stdin=subprocess.DEVNULL)


def has_base_of_generation(slot: str, folder: str = state.FOLDER) -> bool:
    """Whether a base backup was made in this generation."""
    try:
        base = state.read(folder)["jobs"]["base"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(base.get("good")) and (base.get("figures") or {}).get("slot") == slot


def present_slot(database: Database) -> str:
    """The present generation; empty when there is none yet. :raises DatabaseDown: the database does not say."""
    rows = database.psql(f"SELECT slot_name FROM pg_replication_slots WHERE slot_name ~ '^{NAMES}$'"
                         " AND coalesce(wal_status, '') <> 'lost'")
    return max((row[0] for row in rows), key=receiver.age_of, default="")


def have_slot(database: Database, epoch: int) -> str:
    """The present generation; it begins now when there is none. :raises DatabaseDown: it cannot."""
    slot = present_slot(database)
    if not slot:
        slot = after("", epoch, time.time())
        database.psql(f"SELECT pg_create_physical_replication_slot({quoted(slot)}, true)")
    return slot


def caught_up(database: Database, seconds: float, application: str = RECEIVER) -> bool:
    """Whether within this time the receiver has on its disk what the database has now.

    :param application: of the receiver: the node's own is another.
    :raises DatabaseDown: the database does not say.
    """
    goal, deadline = number(database.position().lsn), time.monotonic() + seconds
    while True:
        standby = database.standby(application)
        if standby and standby["flush_lsn"] and number(standby["flush_lsn"]) >= goal:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)


# --- small things -----------------------------------------------------------------------------------


def notify(text: str) -> None:
    """Tell systemd, when it is systemd that started this."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.connect("\0" + place[1:] if place.startswith("@") else place)
        one.send(text.encode())


def log(text: str) -> None:
    """For the journal, which keeps the time."""
    print(text, flush=True)
