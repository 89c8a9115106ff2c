"""The database in its pod, asked from the node with the image's own programs: no client and no password is needed.

It needs containerd but not the API: a node whose K3s has trouble still makes its backups.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import hmac
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .problems import DatabaseDown
from .settings import Settings

RECEIVER = "observer_receiver"
"""Role, slot and application of the receiver on the backup host, and what a commit waits for in synchronous mode."""

ARCHIVER = "observer_archiver"
"""Slot and application of the receiver on the node, in archive mode."""

SEGMENT = 16 * 1024 * 1024
SECONDS = 20.0
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Container:
    """The database's container: process on the node, pod's address, user and group, superuser and database."""

    pid: int
    address: str
    uid: int
    gid: int
    user: str
    name: str


@dataclass(frozen=True)
class Position:
    """Where the WAL ends that is on the database's disk: ``lsn`` such as ``0/62000178``; ``at`` is epoch."""

    lsn: str
    timeline: int
    at: float

    @property
    def segment(self) -> str:
        """The name of the segment that it is in."""
        return segment_name(self.timeline, self.lsn)


@dataclass(frozen=True)
class Slot:
    """A replication slot. ``status`` is reserved, extended, unreserved or lost; ``safe`` is how many bytes may still be
    written before it is lost (None: without an end)."""

    name: str
    active: bool
    status: str
    restart_lsn: str
    safe: int | None


class Database:
    """The node's database.

    :raises DatabaseDown: (all of it) it does not run or answer, or refuses.
    """

    def __init__(self, settings: Settings, run: Run = subprocess.run) -> None:
        self.settings, self._run = settings, run
        self._container: Container | None = None

    # --- where it is

    def container(self, fresh: bool = False) -> Container:
        """The running container; looked for again when it is another process by now, or when told to."""
        if fresh or self._container is None or not os.path.exists(f"/proc/{self._container.pid}"):
            self._container = self._find()
        return self._container

    def _find(self) -> Container:
        where = self.settings.database
        pod = where.workload.partition("/")[2]
        running = [one for one in self.running()
                   if (one.get("labels") or {}).get("io.kubernetes.container.name") == where.container
                   and str(one["labels"].get("io.kubernetes.pod.name", "")).startswith(f"{pod}-")]
        if len(running) != 1:
            raise DatabaseDown(f"{len(running)} containers {where.container} of {where.workload} run in the namespace"
                               f" {self.settings.namespace}, and one is needed")
        pid = int((self.crictl("inspect", "--output", "json", running[0]["id"]).get("info") or {}).get("pid") or 0)
        sandbox = self.crictl("inspectp", "--output", "json", running[0]["podSandboxId"])
        try:
            owner = os.stat(f"/proc/{pid}")
            with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
                variables = dict(item.partition("=")[::2] for item in file.read().split("\0"))
            user = variables.get(where.user_key) or "postgres"
            return Container(pid, str(((sandbox.get("status") or {}).get("network") or {}).get("ip", "")), owner.st_uid,
                             owner.st_gid, user, variables.get(where.name_key) or user)
        except OSError as error:
            raise DatabaseDown(f"the container {where.container} ended while it was looked at") from error

    def running(self) -> list[dict[str, Any]]:
        """The containers that run in the namespace, as `crictl ps` tells them."""
        listed = self.crictl("ps", "--state", "running", "--output", "json").get("containers") or []
        return [one for one in listed
                if (one.get("labels") or {}).get("io.kubernetes.pod.namespace") == self.settings.namespace]

    def crictl(self, *words: str) -> dict[str, Any]:
        done = self._start(["crictl", *words], "", SECONDS)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            found = None
        if done.returncode or not isinstance(found, dict):
            raise DatabaseDown(f"containerd does not say what runs: {_last(done.stderr)}",
                               "On the node: systemctl status k3s, and crictl ps")
        return found

    def _start(self, argv: Sequence[str], text: str, seconds: float) -> subprocess.CompletedProcess[str]:
        try:
            return self._run(list(argv), input=text, capture_output=True, text=True, errors="replace", check=False,
                             timeout=seconds, env={**os.environ, "LC_ALL": "C", "PATH": SEARCH_PATH})
        except subprocess.TimeoutExpired as error:
            raise DatabaseDown(f"{argv[0]} did not answer within {seconds:.0f} s") from error
        except OSError as error:
            raise DatabaseDown(f"{argv[0]} does not run: {error.strerror}") from error

    def inside(self, program: str, *words: str) -> list[str]:
        """The command that runs one of the image's programs in the container, as its user."""
        found = self.container()
        return ["nsenter", "--target", str(found.pid), "--mount", "--net", "--ipc", "--uts", "--setuid", str(found.uid),
                "--setgid", str(found.gid), "--", f"{self.settings.database.programs}/{program}", *words]

    def path(self, inner: str) -> str:
        """A file of the container's as the node sees it. It may lead through no absolute link."""
        return f"/proc/{self.container().pid}/root{inner}"

    # --- asking

    def psql(self, sql: str, seconds: float = SECONDS, name: str | None = None) -> list[list[str]]:
        """Rows of the statements' answers, as text; SQL goes by standard input, so that no secret is an argument.

        :param name: of the database; the app's own by default.
        """
        found = self.container()
        words = ["--host", self.settings.database.socket, "--username", found.user, "--dbname", name or found.name,
                 "--no-psqlrc", "--csv", "--tuples-only", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1",
                 "--file", "-"]
        done = self._start(self.inside("psql", *words), sql, seconds)
        if done.returncode:
            self._container = None
            raise DatabaseDown(f"the database refused: {_last(done.stderr)}")
        return [row for row in csv.reader(io.StringIO(done.stdout)) if row]

    def position(self) -> Position:
        """Where its WAL ends now."""
        lsn, name = self.psql("SELECT pg_current_wal_flush_lsn(), pg_walfile_name(pg_current_wal_flush_lsn())")[0]
        return Position(lsn, int(name[:8], 16), time.time())

    def slot(self, name: str) -> Slot | None:
        """A replication slot, if there is one."""
        rows = self.psql("SELECT slot_name, active, coalesce(wal_status, ''), coalesce(restart_lsn::text, ''),"
                         " coalesce(safe_wal_size::text, '') FROM pg_replication_slots"
                         f" WHERE slot_name = {quoted(name)}")
        if not rows:
            return None
        slot, active, status, lsn, safe = rows[0]
        return Slot(slot, active == "t", status, lsn, int(safe) if safe else None)

    def make_slot(self, name: str) -> bool:
        """A slot that keeps all WAL from now on; one that is lost is made anew. Whether it was made now."""
        have = self.slot(name)
        if have and have.status != "lost":
            return False
        if have:
            self.drop_slot(name)
        self.psql(f"SELECT pg_create_physical_replication_slot({quoted(name)}, true)")
        return True

    def drop_slot(self, name: str) -> None:
        """Take a slot away, and whoever reads from it."""
        self.psql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = {quoted(name)}"
                  " AND active_pid IS NOT NULL;"
                  " SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                  f" WHERE slot_name = {quoted(name)}")

    def standby(self, application: str = RECEIVER) -> dict[str, Any] | None:
        """The receiver as the database sees it: ``state``, ``sync_state``, ``flush_lsn``, ``reply_age`` (seconds since
        it said something), ``lag`` (bytes not yet on its disk). None when it is not connected."""
        rows = self.psql("SELECT state, sync_state, coalesce(flush_lsn::text, ''),"
                         " coalesce(extract(epoch FROM clock_timestamp() - reply_time)::text, ''),"
                         " coalesce(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn)::text, '')"
                         f" FROM pg_stat_replication WHERE application_name = {quoted(application)}"
                         " ORDER BY reply_time DESC NULLS LAST LIMIT 1")
        if not rows:
            return None
        state, sync_state, lsn, age, lag = rows[0]
        return {"state": state, "sync_state": sync_state, "flush_lsn": lsn, "reply_age": float(age) if age else None,
                "lag": int(float(lag)) if lag else None}

    # --- settings, which need no restart

    def role_for_receiver(self, password: str) -> None:
        """Let the receiver in over the network, with this password from now on."""
        # In synchronous mode this commit would wait for the receiver that it is to let in.
        self.psql("SET synchronous_commit = local;"
                  f" DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{RECEIVER}') THEN"
                  f" CREATE ROLE {RECEIVER} LOGIN REPLICATION; END IF; END $$;"
                  f" ALTER ROLE {RECEIVER} LOGIN REPLICATION PASSWORD {quoted(password)}")
        line = f"host replication {RECEIVER} all scram-sha-256\n"
        path = self.path(self.psql("SHOW hba_file")[0][0])
        try:
            with open(path, "r+", encoding="utf-8") as file:
                text = file.read()
                if line not in text:
                    file.write(("" if text.endswith("\n") else "\n") + line)
        except OSError as error:
            raise DatabaseDown(f"pg_hba.conf of the database cannot be written: {error.strerror}") from error
        self.reload()

    def take_password(self) -> None:
        """Let the app in with the password that the container was given: a database from elsewhere has another."""
        found = self.container()
        where = self.settings.database
        try:
            with open(f"/proc/{found.pid}/environ", encoding="utf-8", errors="surrogateescape") as file:
                variables = dict(item.partition("=")[::2] for item in file.read().split("\0"))
        except OSError as error:
            raise DatabaseDown(f"the container {where.container} ended while it was looked at") from error
        password = variables.get(where.password_key, "")
        if not password:
            raise DatabaseDown(f"the container {where.container} was given no {where.password_key}")
        role = found.user.replace('"', '""')
        self.psql(f'ALTER ROLE "{role}" PASSWORD {quoted(verifier(password))}')

    def sync(self, on: bool) -> None:
        """Whether a commit waits for the receiver, from now on."""
        self.set("synchronous_standby_names", RECEIVER if on else "")

    def guard(self, megabytes: int) -> None:
        """How much WAL a receiver that is gone may keep on the node's disk."""
        self.set("max_slot_wal_keep_size", f"{megabytes}MB")

    def set(self, name: str, value: str) -> bool:
        """Set one of the server's settings, if it is another; whether it was."""
        now = self.psql("SELECT current_setting("
                        f"{quoted(name)}), coalesce((SELECT setting FROM pg_file_settings WHERE name = {quoted(name)}"
                        " AND sourcefile LIKE '%postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1), '')")[0]
        if value in now and (value or now == ["", ""]):
            return False
        self.psql(f"ALTER SYSTEM SET {name} = {quoted(value)}")
        self.reload()
        return True

    def reload(self) -> None:
        """Have the server read its settings."""
        self.psql("SELECT pg_reload_conf()")

    # --- a base backup

    def base_argv(self) -> list[str]:
        """A command that prints a base backup as a tar file, with the WAL that it needs: restorable by itself."""
        return self.inside("pg_basebackup", "--host", self.settings.database.socket,
                           "--username", self.container().user, "--pgdata", "-", "--format", "tar",
                           "--wal-method", "fetch", "--checkpoint", "fast", "--no-sync", "--no-password")


def quoted(text: str) -> str:
    """A text as SQL's literal."""
    return "'" + text.replace("'", "''") + "'"


def verifier(password: str, salt: bytes | None = None, rounds: int = 4096) -> str:
    """What PostgreSQL keeps of a password, so that the password itself is in no statement."""
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client = hmac.new(salted, b"Client Key", "sha256").digest()
    stored, server = hashlib.sha256(client).digest(), hmac.new(salted, b"Server Key", "sha256").digest()
    text = (base64.b64encode(one).decode() for one in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(rounds, *text)


def number(lsn: str) -> int:
    """Bytes of a position such as ``0/62000178``."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_name(timeline: int, lsn: str) -> str:
    """The name of the segment that a position is in."""
    count = number(lsn) // SEGMENT
    per_log = 0x100000000 // SEGMENT
    return f"{timeline:08X}{count // per_log:08X}{count % per_log:08X}"


def images(settings: Settings, run: Run = subprocess.run) -> list[dict[str, str]]:
    """What runs in the namespace: container, image as it was asked for, and its digest.

    :raises DatabaseDown: containerd does not say.
    """
    database = Database(settings, run)
    known = {one.get("id"): one for one in database.crictl("images", "--output", "json").get("images") or []}
    found = []
    for one in database.running():
        image = known.get(one.get("imageRef")) or known.get((one.get("image") or {}).get("image")) or {}
        found.append({"container": str((one.get("labels") or {}).get("io.kubernetes.container.name", "")),
                      "image": ", ".join(sorted(image.get("repoTags") or [])) or str(one.get("imageRef", "")),
                      "digest": ", ".join(sorted(image.get("repoDigests") or [])) or str(image.get("id", ""))})
    return sorted(found, key=lambda one: (one["container"], one["image"]))


def volumes(settings: Settings, run: Run = subprocess.run) -> dict[str, str]:
    """Folders of the claims' volumes on this node, by claim.

    The cluster says which volume a claim has; when it does not answer, the folders' names do if they are unambiguous.

    :raises DatabaseDown: a claim's folder is not there, or which one it is cannot be told.
    """
    bound: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
        done = run(["kubectl", "--namespace", settings.namespace, "get", "persistentvolumeclaims", "--output", "json",
                    "--request-timeout", "10s"], input="", capture_output=True, text=True, check=False, timeout=SECONDS,
                   env={**os.environ, "PATH": SEARCH_PATH})
        if not done.returncode:
            bound = {one["metadata"]["name"]: (one.get("spec") or {}).get("volumeName") or ""
                     for one in json.loads(done.stdout).get("items") or []}
    try:
        names = sorted(os.listdir(settings.storage))
    except OSError as error:
        raise DatabaseDown(f"{settings.storage} cannot be read: {error.strerror}") from error
    found = {}
    for claim in settings.claims:
        ours = [name for name in names if name.endswith(f"_{settings.namespace}_{claim}")]
        if bound.get(claim):
            ours = [name for name in ours if name.startswith(f"{bound[claim]}_")]
        if len(ours) != 1:
            raise DatabaseDown(f"{settings.storage} has {len(ours)} folders of the claim {settings.namespace}/{claim}"
                               " that could be its volume, and one is needed",
                               "See `kubectl get persistentvolumes`: those that are Released are not needed.")
        found[claim] = f"{settings.storage}/{ours[0]}"
    return found


def _last(said: str) -> str:
    lines = [line.strip() for line in (said or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
