import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from k3s import bootstrap, server
from k3s.errors import Fatal
from k3s.settings import Settings

Make = Callable[..., Settings]


def rows(database: Path) -> list[tuple[str, int, int]]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.execute("SELECT name, created, prev_revision FROM kine ORDER BY id"))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A datastore as kine leaves it."""
    path = tmp_path / "db" / "state.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(bootstrap.SCHEMA)
        connection.execute(
            "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value,"
            " old_value)"
            " VALUES ('compact_rev_key', 1, 0, 0, 0, 0, '', NULL)"
        )
    return path


ITEMS = {"ServerCA": bootstrap.Item(b"certificate", 100.0), "ServerCAKey": bootstrap.Item(b"key\x00", 101.5)}


def test_round_trip(database: Path) -> None:
    assert bootstrap.read(str(database), "pw") is None
    bootstrap.save(str(database), "pw", ITEMS)
    assert bootstrap.read(str(database), "pw") == ITEMS
    assert rows(database)[-1] == (bootstrap.storage_key("pw"), 1, 0)
    raw = (
        database.read_bytes() + (database.parent / "state.db-wal").read_bytes()
        if (database.parent / "state.db-wal").exists()
        else database.read_bytes()
    )
    assert b"certificate" not in raw


def test_key_is_k3s_own() -> None:
    assert bootstrap.storage_key("secret") == "/bootstrap/2bb80d537b1d"


def test_new_database_gets_kines_schema(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.db"
    bootstrap.save(str(path), "pw", ITEMS)
    assert bootstrap.read(str(path), "pw") == ITEMS


def test_saved_once_and_replaced_on_change(database: Path) -> None:
    bootstrap.save(str(database), "pw", ITEMS)
    bootstrap.save(str(database), "pw", ITEMS)
    assert len(rows(database)) == 2
    changed = {**ITEMS, "ServiceKey": bootstrap.Item(b"new", 1.0)}
    bootstrap.save(str(database), "pw", changed)
    assert [name for name, created, _ in rows(database) if created == 0] == [bootstrap.storage_key("pw")]
    assert bootstrap.read(str(database), "pw") == changed


def test_other_token_is_fatal(database: Path) -> None:
    bootstrap.save(str(database), "pw", ITEMS)
    actions: tuple[Callable[[], object], ...] = (
        lambda: bootstrap.read(str(database), "other"),
        lambda: bootstrap.save(str(database), "other", ITEMS),
    )
    for action in actions:
        with pytest.raises(Fatal) as error:
            action()
        assert str(error.value) == "bootstrap data already found and encrypted with different token"


def test_damaged_row_is_fatal(database: Path) -> None:
    bootstrap.save(str(database), "pw", ITEMS)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE kine SET value = replace(value, substr(value, 30, 1), 'A') WHERE name LIKE '/boot%'"
        )
        connection.execute("UPDATE kine SET value = CAST(value || '' AS BLOB) WHERE name LIKE '/boot%'")
        connection.execute(
            "UPDATE kine SET value = CAST('00' || substr(value, 3) AS BLOB) WHERE name LIKE '/boot%'"
        )
    with pytest.raises(Fatal):
        bootstrap.read(str(database), "pw")


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"no database at all, but long enough to be read as one" * 40)
    with pytest.raises(Fatal, match="failed to read datastore"):
        bootstrap.read(str(path), "pw")


def test_reconcile(tmp_path: Path) -> None:
    paths = {
        "ServerCA": str(tmp_path / "tls" / "server-ca.crt"),
        "ServerCAKey": str(tmp_path / "tls" / "server-ca.key"),
    }
    stored = {"ServerCA": bootstrap.Item(b"C", 1000.0), "ServerCAKey": bootstrap.Item(b"K", 1000.0)}
    bootstrap.reconcile(stored, paths)
    assert Path(paths["ServerCA"]).read_bytes() == b"C"
    assert Path(paths["ServerCAKey"]).stat().st_mode & 0o777 == 0o600
    assert Path(paths["ServerCA"]).stat().st_mtime == 1000.0
    Path(paths["ServerCA"]).write_bytes(b"old")
    os.utime(paths["ServerCA"], (900, 900))
    bootstrap.reconcile(stored, paths)
    assert Path(paths["ServerCA"]).read_bytes() == b"C"
    Path(paths["ServerCA"]).write_bytes(b"newer")
    with pytest.raises(Fatal) as error:
        bootstrap.reconcile(stored, paths)
    assert str(error.value) == (
        f"{paths['ServerCA']} newer than datastore and could cause a cluster outage. Remove the file(s) "
        "from disk and restart to be recreated from datastore."
    )
    assert Path(paths["ServerCA"]).read_bytes() == b"newer"


def test_server_restores_its_cas(make: Make) -> None:
    """The drill: datastore and token survive, the tls directory does not."""
    settings = make("--token", "secret", "--secrets-encryption")
    server.prepare(settings, "secret")
    ca = Path(settings.paths.tls("server-ca.crt")).read_bytes()
    encryption = Path(settings.paths.encryption_config).read_bytes()
    token = Path(settings.paths.server("token")).read_text()
    import shutil

    shutil.rmtree(settings.paths.server("tls"))
    shutil.rmtree(settings.paths.server("cred"))
    server.prepare(settings, server.choose_password(settings))
    assert Path(settings.paths.tls("server-ca.crt")).read_bytes() == ca
    assert Path(settings.paths.encryption_config).read_bytes() == encryption
    assert Path(settings.paths.server("token")).read_text() == token
    assert Path(settings.paths.server("node-token")).read_text() == token
    assert Path(settings.paths.server("agent-token")).is_symlink()

    settings.token = "other"
    with pytest.raises(Fatal) as error:
        server.prepare(settings, server.choose_password(settings))
    assert (
        str(error.value)
        == "preparing server: bootstrap data already found and encrypted with different token"
    )

    settings.token = f"K10{'0' * 64}::server:secret"
    with pytest.raises(Fatal, match="token CA hash does not match the Cluster CA certificate hash: 0000"):
        server.prepare(settings, server.choose_password(settings))

    settings.token = ""
    assert server.choose_password(settings) == "secret"


def test_save_is_quick(database: Path) -> None:
    started = time.monotonic()
    bootstrap.save(str(database), "pw", ITEMS)
    assert time.monotonic() - started < 5
