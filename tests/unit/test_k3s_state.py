"""The module k3s_state, and what the role k3s declares and refuses, as far as both can be seen without a node."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modules import ROOT, load

HEADERS = ["# observer-node: settings of K3s; changes made here are undone.",
           "# observer-node: K3s; changes made here are undone."]


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
    found: str | None = state.foreign(str(tmp_path / "k3s"), str(tmp_path / "data"))
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


def test_the_templates_bear_the_mark(state: ModuleType) -> None:
    for name, header in zip(("config.yaml.j2", "k3s.service.j2"), HEADERS, strict=True):
        text = (ROOT / "roles/k3s/templates" / name).read_text()
        assert header in text.splitlines() and state.MARK.search(text)


@pytest.mark.parametrize("text", [
    "# observer-node", "node-label: [managed-by=observer-node]", "node-name: observer-node", f"x {HEADERS[0]}",
    f"{HEADERS[0]} Not.",
])
def test_our_name_in_a_file_of_theirs_is_no_mark(state: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(f"debug: true\n{text}\n")
    assert foreign(state, tmp_path)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("kept", ["k3s.service", "config.yaml"])
def test_ours_stays_ours_when_one_file_was_overwritten(
        state: ModuleType, tmp_path: Path, kept: str, header: str) -> None:
    for name in ("k3s.service", "config.yaml", "k3s"):
        (tmp_path / name).write_text(f"#\n{header}\nx: y\n" if name == kept else "overwritten by hand")
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


def played(folder: Path, *tasks: dict[str, Any], **variables: object) -> list[dict[str, Any]]:
    """Results of tasks of a play for this machine, in which nothing is fetched or written."""
    (folder / "play.yml").write_text(json.dumps([{
        "hosts": "localhost", "gather_facts": False, "tasks": tasks,
        "vars": {"ansible_facts": {"architecture": "x86_64"}, "k3s_token": "x",
                 "k3s_checksums": {"k3s": "0" * 64, "k3s-airgap-images-amd64.tar.zst": "0" * 64}, **variables}}]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_ROLES_PATH=str(ROOT / "roles"), ANSIBLE_LIBRARY=str(ROOT / "library"),
                       ANSIBLE_ACTION_PLUGINS=str(ROOT / "plugins/action"), ANSIBLE_HOME=str(folder / ".ansible"),
                       ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    done = subprocess.run([Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "--check",
                           "play.yml"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return [{"task": task["task"]["name"], **task["hosts"]["localhost"]}
            for task in json.loads(done.stdout)["plays"][0]["tasks"]]


SHOWN = {"k3s_extra_config": {"vpn-auth": "SECRET", "token+": ["SECRET"], "debug": True}}


def test_secrets_that_a_diff_would_show_are_refused(tmp_path: Path) -> None:
    result = played(tmp_path, {"ansible.builtin.include_role": {"name": "k3s", "tasks_from": "preflight"}}, **SHOWN)[-1]
    assert result["msg"].startswith("k3s_extra_config has token and vpn-auth, but config.yaml is shown in diffs: ")
    assert "SECRET" not in json.dumps(result)


def test_the_role_alone_does_its_preflight_first(tmp_path: Path) -> None:
    results = played(tmp_path, {"ansible.builtin.include_role": {"name": "k3s"}}, **SHOWN)
    assert results[-1]["task"] == "k3s : Preflight | Refuse settings that do not fit together"
    assert results[-1]["failed"]


def test_files_that_are_read_at_the_start_never_go(tmp_path: Path) -> None:
    """A file that is gone has no time that would tell of a restart that is still to come."""
    # The role's templates are looked for beside the play, too, in which its list is shown.
    (tmp_path / "templates").symlink_to(ROOT / "roles/k3s/templates")
    shown = played(tmp_path, {"ansible.builtin.import_role": {"name": "k3s", "tasks_from": "preflight"},
                              "when": False},
                   {"name": "Show", "ansible.builtin.debug": {"var": "__k3s_files"}})[-1]["__k3s_files"]
    assert not [file for file in shown if file.get("state") == "absent"]
    registries = next(file for file in shown if file["path"] == "/etc/rancher/k3s/registries.yaml")
    assert registries["secret_content"].splitlines()[-1] == "{}"
