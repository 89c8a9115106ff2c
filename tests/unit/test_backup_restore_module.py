"""The module backup_restore: what it says in check mode is what it does, and every refusal names what to type."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import backup_inputs
import pytest
from ansible.module_utils.testing import patch_module_args
from test_backup_restore import World

import modules

ansible.module_utils.__path__.append(str(modules.ROOT / "module_utils"))
GIVEN = {"hostname": "n", "namespace": "ns", "claims": {"db": "database", "data": "files"}}


class Node:
    """A node whose repository is a shelf."""

    def __init__(self, world: World, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.module, self.begun = world, module, list[bool]()
        world.journal = str(world.folder / "journal.json")
        mine = world.at(world.new, epoch=0)
        mine.damaged = module.restore.Damaged
        marker = world.folder / "restic"
        marker.touch()
        monkeypatch.setattr(module.settings, "SETTINGS", str(marker))
        monkeypatch.setattr(module.settings, "RESTIC", str(marker))
        monkeypatch.setattr(module.settings, "EPOCH", str(world.folder / "none"))
        monkeypatch.setattr(module.settings, "STATE_FOLDER", str(world.folder))
        monkeypatch.setattr(module.jobs, "accept_database", lambda: None)
        monkeypatch.setattr(module.settings, "load", lambda: world.at(world.new, epoch=9 * len(self.begun)).settings)
        monkeypatch.setattr(module, "Repository", lambda _: mine)
        monkeypatch.setattr(module.jobs, "begin", lambda *_, first, after: self.begun.append(first))
        for name in ("look", "finish_placing", "placed", "complete", "kept_aside", "told_of", "Restorer"):
            monkeypatch.setattr(module.restore, name, partial(getattr(module.restore, name), journal=world.journal))

    def run(self, check: bool = False, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        given = {**GIVEN, "storage": str(self.world.new), "config": str(self.world.new / "config"), "wait": 0, **more}
        output = io.StringIO()
        with patch_module_args({**given, "_ansible_check_mode": check}), contextlib.redirect_stdout(output), \
                contextlib.suppress(SystemExit):
            self.module.main()
        found: dict[str, Any] = json.loads(output.getvalue().strip().splitlines()[-1])
        return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    world = World(tmp_path)
    world.save_files()
    world.save_base()
    world.save_wal([2, 3])
    return Node(world, modules.load("backup_restore"), monkeypatch)


LINES = [f"{part}: restored from the backup" for part in ("config", "data", "db")]
WRITES = ["n: writes the backups from now on"]


def test_a_provision(node: Node) -> None:
    """Decide and restore, each in check mode first, and again."""
    results = [node.run(check, phase="decide") for check in (True, False, True, False)]
    assert [one["changes"] for one in results] == [WRITES, WRITES, [], []], results
    assert {one["decision"] for one in results} == {"restore"} and node.begun == [False] and results[1]["epoch"] == 9
    results = [node.run(check, phase="provision") for check in (True, False, True, False)]
    assert [one["changes"] for one in results] == [LINES, LINES, [], []], results
    assert [one["decision"] for one in results] == ["restore", "restore", "keep", "keep"]
    assert results[1]["points"]["end"].endswith("3")
    assert node.run(True, phase="complete")["changes"] == ["db: recovery ended"]


def test_a_node_of_an_older_epoch_that_is_to_go_on_writes_under_a_new_one(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for phase in ("decide", "provision"):
        node.run(phase=phase)
    kept = node.world.kept
    kept[-1] = dataclasses.replace(kept[-1], epoch=7)
    monkeypatch.setattr(node.module.settings, "load", lambda: node.world.at(node.world.new, epoch=1).settings)
    node.begun.clear()
    assert "taken over" in node.run(phase="decide")["msg"] and not node.begun
    assert node.run(phase="decide", first_start="n")["changes"] == WRITES and node.begun == [False]
    # Of a repository that was made anew it is the first, when that was meant.
    kept.clear()
    assert "has written to it under epoch" in node.run(phase="decide")["msg"] and node.begun == [False]
    assert node.run(phase="decide", first_start="n")["changes"] == WRITES and node.begun == [False, True]


def test_who_could_not_look_is_no_writer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a machine that comes back from the dead would shut out the one that has taken over."""
    for phase in ("decide", "provision"):
        node.run(phase=phase)
    assert node.run(phase="decide")["epoch"] == 9
    monkeypatch.setattr(node.module.restore, "gather", lambda *_, **__: node.module.decide.There(
        "tests/ns", problem=node.module.decide.Unreachable("it does not answer")))
    told = node.run(phase="decide")
    assert told["failed"] and "N has been reset, and whether another machine has taken its place" in told["msg"]
    (node.world.folder / "state.json").touch()
    told = node.run(phase="decide")
    assert (told["decision"], told["epoch"], told["changes"]) == ("keep", 0, [])


def test_a_node_that_was_reset_says_the_same_in_check_mode(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its epoch is there, its settings are not."""
    for phase in ("decide", "provision"):
        node.run(phase=phase)
    kept = node.world.folder / "epoch.json"
    kept.write_text(json.dumps({"epoch": 9}))
    monkeypatch.setattr(node.module.settings, "EPOCH", str(kept))
    monkeypatch.setattr(node.module.settings, "SETTINGS", str(node.world.folder / "none"))
    told = node.run(True, phase="decide")
    assert (told["changes"], told["decision"], told["epoch"]) == ([], "keep", 9)
    shutil.rmtree(next(node.world.new.glob("*_ns_db")))
    assert node.run(True, phase="decide")["changes"] == []
    told = node.run(True, phase="provision")
    assert told["changes"] == ["db: restored from the backup"] and told["parts"] == ["db"]


def test_a_database_that_was_begun_anew_is_another_writer_s(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for phase in ("decide", "provision"):
        node.run(phase=phase)
    node.begun.clear()
    monkeypatch.setattr(node.module.settings, "load", lambda: node.world.at(node.world.new, epoch=9).settings)
    kept = {"epoch": 9, "good": {"base": {"system": 4711}}}
    monkeypatch.setattr(node.module.jobs, "kept", lambda: kept)
    assert node.run(phase="decide")["changes"] == [] and not node.begun
    assert node.run(phase="decide", first_start="n")["changes"] == WRITES and node.begun == [False]


def test_a_node_that_has_nothing_yet_says_the_same(
        node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(node.module.settings, "SETTINGS", str(node.world.folder / "none"))
    told = node.run(True, phase="decide")
    # Ansible shows a warning itself where its controller's part is loaded, as other tests do, and else returns it.
    assert told["changes"] == WRITES and "not looked at" in f"{told.get('warnings')}{capsys.readouterr().err}"
    assert node.run(True, phase="provision")["changes"] == LINES
    assert node.run(True, phase="complete", parts=["db"])["changes"] == ["db: recovery ended"]
    assert node.run(True, phase="provision", first_start="n")["changes"] == []


def test_refusals(node: Node) -> None:
    told = node.run(phase="decide", first_start="n")
    assert told["failed"] and told["msg"].startswith("backup_first_start says that n is to start empty")
    assert node.run(phase="decide", to="yesterday")["msg"].startswith("backup_restore_to is yesterday")
    assert "has not been yet" in node.run(phase="decide", to="2096-01-01 00:00Z")["msg"]
    assert "backup_restore_to" in node.run(phase="decide", to="2001-01-01 00:00:00 +09")["remedy"]
    assert "no nothing" in node.run(phase="part", parts=["nothing"])["msg"]
    assert node.begun == [] and not list(node.world.new.glob("*"))


def test_a_first_start(node: Node) -> None:
    node.world.kept.clear()
    told = node.run(phase="decide")
    assert told["failed"] and "-e backup_first_start=n" in told["remedy"]
    assert node.run(phase="decide", first_start="n")["decision"] == "start" and node.begun == [True]


def test_a_part(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = node.world.new / "pvc-9_ns_data"
    mine.mkdir()
    (mine / "spoilt").write_text("x")
    calls: list[str] = []

    class Workloads:
        def __init__(self, namespace: str) -> None:
            assert namespace == backup_inputs.settings(node.world.folder).namespace

        def jobs_ended(self) -> None:
            calls.append("wait")

        def stop(self, keep: Callable[[str], bool] = lambda _: False, needed: object = ()) -> None:
            assert not (mine / "sparse").exists() and not needed
            calls.append("stop timers" if keep("deployment/observer") else "stop")

        def start(self, only: object = (), again: object = ()) -> None:
            assert (mine / "sub").exists() and not again
            calls.append("start")

    monkeypatch.setattr(node.module.workloads, "Workloads", Workloads)
    assert node.run(True, phase="part", parts=["data"])["changes"] == ["data: restored from the backup"]
    told = node.run(phase="part", parts=["data"])
    assert told["changes"] == ["data: restored from the backup"] and \
        calls == ["wait", "wait", "stop timers", "wait", "stop", "start"]
    assert (Path(told["kept"]["data"]) / "spoilt").read_text() == "x"
    # A twin: a backup that is being made is left alone, some folders are, and what was kept before goes.
    node.world.repository.backup(["/etc/hostname"], "files")
    node.world.repository.backup(["/etc/hostname"], "files")
    assert "not known to be whole" in node.run(phase="part", parts=["data"])["msg"]
    (mine / "sparse").unlink()
    (mine / "mine").write_text("y")
    again = node.run(phase="part", parts=["data"], twin=True, leave_out=["data/sub", "config/x", "data/missing"])
    assert (mine / "sub").is_dir() and not any((mine / "sub").iterdir()) and (mine / "sparse").exists()
    kept, = node.world.new.glob("*.before-*")
    assert str(kept) == again["kept"]["data"] and (kept / "mine").exists() and not (kept / "spoilt").exists()
