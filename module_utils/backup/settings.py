"""What a node's backups are made with: written by the role ``backup``, read by every job."""

from __future__ import annotations

import dataclasses
import hmac
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .files import write_file

FOLDER = "/etc/observer-node/backup"
SETTINGS = f"{FOLDER}/settings.json"
STATE_FOLDER = "/var/lib/observer-node/backup"
WORK = f"{STATE_FOLDER}/work"
CACHE = f"{STATE_FOLDER}/cache"
EPOCH = f"{WORK}/epoch.json"
RESTIC = "/usr/local/bin/restic"

STREAM, ARCHIVE = "stream", "archive"
FILES, BASE, WAL, RECORD, IDENTITY = "files", "base", "wal", "record", "identity"
"""Kinds of snapshots."""

BACKUP_HOST = "rclone:"
"""The repository's address when the backup host has it, which is where old snapshots are forgotten."""

DATABASE_ROLE, FILES_ROLE = "database", "files"
"""What a claim's volume holds."""


class SettingsError(Exception):
    """Settings that cannot be read; the text names the file."""


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is, and how it is asked.

    :param workload: of the pods, with its kind: ``statefulset/postgres``.
    :param container: its container's name.
    :param claim: of its volume.
    :param mount: where the container has that volume.
    :param data: PGDATA below ``mount``.
    :param user_key, name_key, password_key: variables of the container that say its superuser, its database, and the
        superuser's password.
    :param programs: folder of ``psql`` and ``pg_basebackup`` in its image.
    :param socket: folder of its socket in the container.
    """

    workload: str
    container: str
    claim: str
    mount: str = "/var/lib/postgresql/data"
    data: str = "pgdata"
    user_key: str = "POSTGRES_USER"
    name_key: str = "POSTGRES_DB"
    password_key: str = "POSTGRES_PASSWORD"
    programs: str = "/usr/lib/postgresql/15/bin"
    socket: str = "/var/run/postgresql"
    port: int = 5432


@dataclass(frozen=True)
class ReceiverSettings:
    """The backup host's receiver, which ``ssh -F ssh_config receiver`` reaches.

    :param host: alias in ``ssh_config``.
    :param user: there.
    :param folder: of this identity on it; below are ``run`` (sockets), ``cipher`` and ``mnt``.
    """

    host: str
    address: str
    port: int
    user: str
    folder: str


@dataclass(frozen=True)
class Settings:
    """See the role's argument specification for what each means. Times are seconds unless their name says otherwise.

    :param node: the inventory's name of the node.
    :param epoch: of this node; 0 when it has not begun to write to the repository.
    :param writer: random name of this epoch's writer, made with it.
    :param claims: claim -> ``files`` or ``database``.
    :param intervals: job (``files``, ``base``, ``wal``, ``stream``, ``check``, ``rehearse``) -> seconds between runs.
    """

    identity: str
    node: str
    repository: str
    mode: str
    namespace: str
    storage: str
    config_folder: str
    claims: Mapping[str, str]
    database: DatabaseSettings
    receiver: ReceiverSettings | None = None
    options: tuple[str, ...] = ()
    password_file: str = f"{FOLDER}/password"
    environment_file: str = f"{FOLDER}/environment"
    ssh_config: str = f"{FOLDER}/ssh_config"
    intervals: Mapping[str, float] = field(default_factory=dict)
    keep: Mapping[str, Any] = field(default_factory=dict)
    check_subset: str = "5%"
    ping_url: str = ""
    sync: bool = True
    slot_keep_mb: int = 2048
    textfile_dir: str = ""
    release: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    writer: str = ""

    @property
    def repository_name(self) -> str:
        """The repository for people: without what may be secret in its address."""
        host = self.receiver.address if self.receiver else ""
        return f"the repository on {host}" if self.repository == BACKUP_HOST and host else \
            re.sub(r"//[^/\s@]+@", "//***@", self.repository)

    @property
    def machine(self) -> str:
        """What this machine calls itself now."""
        return socket.gethostname()


def load(path: str = SETTINGS, epoch: str = EPOCH) -> Settings:
    """The settings of this node, with the epoch that it has.

    :raises SettingsError: a file is not there or is not what the role writes.
    """
    given = read_json(path)
    number: Mapping[str, Any] = read_json(epoch) if os.path.exists(epoch) else {}
    names = {one.name for one in dataclasses.fields(Settings)}
    try:
        database = DatabaseSettings(**given["database"])
        receiver = ReceiverSettings(**given["receiver"]) if given.get("receiver") else None
        rest = {key: value for key, value in given.items() if key in names - {"database", "receiver", "options"}}
        # A node that was given another inventory's settings does not go on with the epoch of the old one.
        if number.get("identity") == given["identity"]:
            rest |= {"epoch": int(number["epoch"]), "writer": str(number["writer"])}
        return Settings(database=database, receiver=receiver, options=tuple(given.get("options") or ()), **rest)
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path} is not what the role backup writes: {error}") from error


def wal_key(given: Settings) -> str:
    """The key of this identity's folder of WAL on the backup host, 64 hexadecimal digits: made from the repository's
    password, so that whoever can open the repository can read the WAL, too, and nothing more has to be kept.

    :raises SettingsError: the password's file cannot be read.
    """
    try:
        with open(given.password_file, "rb") as file:
            password = file.readline().rstrip(b"\n")
    except OSError as error:
        raise SettingsError(f"{given.password_file} cannot be read: {error.strerror}") from error
    return hmac.new(password, b"observer-node wal " + given.identity.encode(), "sha256").hexdigest()


def take_epoch(given: Settings, number: int, path: str = EPOCH) -> Settings:
    """Keep this node's epoch, with a new name for its writer; the settings with both.

    :raises OSError: it cannot be written.
    """
    writer = os.urandom(8).hex()
    write_file(path, json.dumps({"identity": given.identity, "epoch": number, "writer": writer}) + "\n", 0o600)
    return dataclasses.replace(given, epoch=number, writer=writer)


def read_json(path: str) -> dict[str, Any]:
    """:raises SettingsError: it is not there, or no JSON object."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError as error:
        raise SettingsError(f"{path} is not there: the role backup writes it") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} is no JSON object")
    return found
