"""The bootstrap data: CAs and keys, encrypted with the token, in the datastore itself.

K3s keeps them under `/bootstrap/<first 12 hex digits of sha256(token)>` (pkg/cluster/storage.go,
pkg/cluster/encrypt.go). That is why a restore needs the database *and* the token, and why another
token on an existing datastore is fatal. Both must hold here, or a restore drill would prove nothing.

K3s goes through kine; this module uses the SQLite file while kine is down. The payload is not K3s'
AES-GCM but AES-256-CBC of the openssl command with an HMAC-SHA256 over it: the standard library has
no AES. A database cannot be moved between K3s and the stand-in anyhow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from . import log
from .certs import openssl_with_pipe
from .errors import Fatal
from .files import write_atomic

DIFFERENT_TOKEN = "bootstrap data already found and encrypted with different token"
_ROUNDS = 100_000
_SKEW = 3.0  # seconds; K3s tolerates the same difference between a clock and a file

# The schema of kine v0.16, so that a new database can hold the row before kine has seen it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS kine
    (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER,
     create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name);
CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name,id);
CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id,deleted);
CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision);
CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision);
"""


@dataclass(frozen=True)
class Item:
    """One file of the bootstrap data with the time of its last change."""

    content: bytes
    timestamp: float


def storage_key(password: str) -> str:
    """The key that the token's row has in the datastore."""
    return "/bootstrap/" + hashlib.sha256(password.encode()).hexdigest()[:12]


def _openssl(data: bytes, passphrase: bytes, *, decrypt: bool) -> bytes:
    argv = ["enc", "-aes-256-cbc", "-pbkdf2", "-iter", "1", "-pass", "fd:{fd}"]
    return openssl_with_pipe([*argv, "-d"] if decrypt else argv, data, passphrase + b"\n")


def _keys(password: str, salt: bytes) -> tuple[bytes, bytes]:
    derived = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS, 64)
    return derived[:32].hex().encode(), derived[32:]


def encrypt(password: str, data: bytes) -> bytes:
    """Encrypt with a key derived from the password: `<salt>:<base64 of MAC and body>`."""
    salt = secrets.token_bytes(8)
    passphrase, mac_key = _keys(password, salt)
    body = _openssl(data, passphrase, decrypt=False)
    mac = hmac.new(mac_key, salt + body, hashlib.sha256).digest()
    return salt.hex().encode() + b":" + base64.b64encode(mac + body)


def decrypt(password: str, value: bytes) -> bytes:
    """Open what `encrypt` made; Fatal when the password or the data is another one."""
    salt_hex, _, encoded = value.partition(b":")
    try:
        salt, raw = bytes.fromhex(salt_hex.decode()), base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Fatal("invalid cipher data, not : delimited") from None
    passphrase, mac_key = _keys(password, salt)
    mac, body = raw[:32], raw[32:]
    if not hmac.compare_digest(mac, hmac.new(mac_key, salt + body, hashlib.sha256).digest()):
        raise Fatal("cipher: message authentication failed")
    return _openssl(body, passphrase, decrypt=True)


def _rows(connection: sqlite3.Connection) -> dict[str, tuple[int, int, bytes]]:
    """The living `/bootstrap` rows: name -> (id, create_revision, value)."""
    query = (
        "SELECT name, id, create_revision, value, deleted FROM kine WHERE id IN "
        "(SELECT MAX(id) FROM kine WHERE name LIKE '/bootstrap%' GROUP BY name)"
    )
    return {
        name: (row, created or row, bytes(value or b""))
        for name, row, created, value, deleted in connection.execute(query)
        if not deleted
    }


def _has_table(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'kine'").fetchone())


def read(database: str, password: str) -> dict[str, Item] | None:
    """The decrypted files, or None when the datastore holds no bootstrap data yet.

    Refuses a datastore whose data another token opened.
    """
    if not os.path.exists(database):
        return None
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            if not _has_table(connection):
                return None
            rows = _rows(connection)
        except sqlite3.DatabaseError as error:
            raise Fatal(f"failed to read datastore {database}: {error}") from error
    if not rows:
        return None
    if len(rows) > 1:
        log.warning("found multiple bootstrap keys in storage")
    row = rows.get(storage_key(password))
    if row is None:
        raise Fatal(DIFFERENT_TOKEN)
    stored = json.loads(decrypt(password, row[2]))
    return {
        name: Item(base64.b64decode(item["Content"]), float(item["Timestamp"]))
        for name, item in stored.items()
    }


def save(database: str, password: str, items: Mapping[str, Item]) -> None:
    """Write the row while kine is down: created once, replaced when the content has changed."""
    previous = read(database, password)
    if previous is not None and {k: v.content for k, v in previous.items()} == {
        k: v.content for k, v in items.items()
    }:
        return
    document = {
        name: {"Content": base64.b64encode(item.content).decode(), "Timestamp": item.timestamp}
        for name, item in sorted(items.items())
    }
    value = encrypt(password, json.dumps(document).encode())
    key = storage_key(password)
    os.makedirs(os.path.dirname(database), mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        if not _has_table(connection):
            connection.executescript(SCHEMA)
        old = _rows(connection).get(key)
        if old is None:
            connection.execute(
                "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, "
                "value, old_value) VALUES (?, 1, 0, 0, 0, 0, ?, NULL)",
                (key, value),
            )
        else:
            connection.execute(
                "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, "
                "value, old_value) VALUES (?, 0, 0, ?, ?, 0, ?, ?)",
                (key, old[1], old[0], value, old[2]),
            )


def collect(paths: Mapping[str, str]) -> dict[str, Item]:
    """The bootstrap files that exist on disk."""
    found = {}
    for name, path in paths.items():
        try:
            with open(path, "rb") as stream:
                found[name] = Item(stream.read(), os.stat(path).st_mtime)
        except FileNotFoundError:
            continue
    return found


def reconcile(stored: Mapping[str, Item], paths: Mapping[str, str]) -> None:
    """Bring the disk in line with the datastore (pkg/cluster/bootstrap.go ReconcileBootstrapData).

    A missing file comes back. A file that differs is replaced when it is older than the datastore; one
    that is newer is fatal, because either side could be the one that running nodes trust.
    """
    newer = []
    replace: dict[str, bytes] = {}
    for name, item in stored.items():
        path = paths.get(name)
        if path is None:
            continue
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            replace[path] = item.content
            continue
        if content == item.content:
            continue
        log.warning(f"{path} is out of sync with datastore")
        if os.stat(path).st_mtime - item.timestamp >= _SKEW:
            newer.append(path)
        else:
            log.warning(f"{path} will be updated from the datastore.")
            replace[path] = item.content
    if newer:
        raise Fatal(
            ", ".join(newer) + " newer than datastore and could cause a cluster outage. Remove the "
            "file(s) from disk and restart to be recreated from datastore."
        )
    for path, content in replace.items():
        write_atomic(path, content, 0o644 if path.endswith(".crt") else 0o600)
        moment = next(item.timestamp for name, item in stored.items() if paths.get(name) == path)
        os.utime(path, (time.time(), moment))
