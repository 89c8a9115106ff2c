from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from modules import load


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, looking at a node that is all under ``tmp_path``."""
    module = load("k3s_state")
    monkeypatch.setattr(module, "UNITS", (str(tmp_path / "k3s.service"),))
    monkeypatch.setattr(module, "CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setattr(module, "MARKER", str(tmp_path / "marker"))
    monkeypatch.setattr(module, "OTHERS", {str(tmp_path / "microk8s"): "MicroK8s"})
    return module


def foreign(state: ModuleType, tmp_path: Path) -> str | None:
    found: str | None = state.foreign("observer-node", str(tmp_path / "k3s"), str(tmp_path / "data"))
    return found


def test_a_bare_node_is_nobodys(state: ModuleType, tmp_path: Path) -> None:
    assert foreign(state, tmp_path) is None


@pytest.mark.parametrize("trace", [
    "k3s.service", "config.yaml", "k3s", "data/server/db/state.db", "data/agent/x", "microk8s",
])
def test_any_trace_of_another_cluster_is_seen(state: ModuleType, tmp_path: Path, trace: str) -> None:
    path = tmp_path / trace
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("theirs")
    assert foreign(state, tmp_path)


@pytest.mark.parametrize("kept", ["k3s.service", "config.yaml"])
def test_ours_stays_ours_when_one_file_was_overwritten(state: ModuleType, tmp_path: Path, kept: str) -> None:
    for name in ("k3s.service", "config.yaml", "k3s"):
        (tmp_path / name).write_text("# observer-node" if name == kept else "overwritten by hand")
    assert foreign(state, tmp_path) is None


def test_an_interrupted_first_run_is_ours(state: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "marker").mkdir()
    (tmp_path / "k3s").write_text("binary")
    assert foreign(state, tmp_path) is None
    (tmp_path / "config.yaml").write_text("theirs")
    assert foreign(state, tmp_path)


@pytest.mark.parametrize(("installed", "wanted", "words"), [
    ("v1.34.3+k3s1", "v1.34.2+k3s1", "is older than"),
    ("v1.34.3+k3s2", "v1.34.3+k3s1", "is older than"),
    ("v1.34.3+k3s1", "v1.34.3-rc1+k3s1", "is older than"),
    ("v1.34.3+k3s1", "v1.36.0+k3s1", "leaves out a minor version"),
    ("", "latest", "is not a K3s version"),
])
def test_refused_versions(state: ModuleType, installed: str, wanted: str, words: str) -> None:
    with pytest.raises(state.RefusedError, match=words) as refused:
        state.check_version(installed, wanted)
    assert refused.value.remedy


@pytest.mark.parametrize(("installed", "wanted"), [
    ("", "v1.34.3+k3s1"), ("v1.34.3+k3s1", "v1.34.3+k3s1"), ("v1.34.3+k3s1", "v1.34.10+k3s1"),
    ("v1.34.9+k3s1", "v1.35.0+k3s1"), ("broken", "v1.34.3+k3s1"),
])
def test_versions_that_are_taken(state: ModuleType, installed: str, wanted: str) -> None:
    state.check_version(installed, wanted)


def test_the_token_beside_the_datastore(state: ModuleType, tmp_path: Path) -> None:
    assert state.check_token("any", str(tmp_path)) is False
    (tmp_path / "server" / "db").mkdir(parents=True)
    (tmp_path / "server" / "db" / "state.db").touch()
    (tmp_path / "server" / "token").write_text("K10" + "a" * 64 + "::server:right\n")
    assert state.check_token("right", str(tmp_path)) is True
    with pytest.raises(state.RefusedError, match="not the token that the node's datastore was made with"):
        state.check_token("wrong", str(tmp_path))


def test_the_token_in_the_datastore_itself(state: ModuleType, tmp_path: Path) -> None:
    database = tmp_path / "server" / "db" / "state.db"
    database.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE kine (id INTEGER, name TEXT)")
        name = "/bootstrap/" + hashlib.sha256(b"right").hexdigest()[:12]
        connection.execute("INSERT INTO kine VALUES (1, ?)", (name,))
    assert state.check_token("right", str(tmp_path)) is True
    with pytest.raises(state.RefusedError):
        state.check_token("wrong", str(tmp_path))
