"""A move stops the app first and the database last, and undoes everything that does not come to its end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_backup_restore import World

from backup import jobs, move, state, workloads
from backup.database import Position
from backup.problems import BackupProblem, Incomplete, TakenOver, Unknown, Unreachable
from backup.restore import Refused

TIMERS = ["observer-backup-base.timer", "observer-backup-files.timer", "observer-backup-wal.timer"]
LASTING = "observer-backup-archive.service"
PLAN = ["deployment/observer: stopped", "statefulset/postgres: stopped", f"{LASTING}: stopped and disabled",
        *(f"{one}: stopped and disabled" for one in TIMERS), "n: handed over"]


class Node:
    """systemctl, kubectl and the database of a node, in archive mode.

    :ivar done: what became of it, in order.
    """

    def __init__(self, world: World) -> None:
        self.world, self.done = world, list[str]()
        self.replicas = {"deployment/observer": 2, "statefulset/postgres": 1}
        self.active, self.enabled = {*TIMERS, LASTING}, {*TIMERS, LASTING}
        self.fails = ""
        self.lsn, self.others = "0/3000100", list[list[str]]()
        self.record: dict[str, Any] = {}
        self.settings = world.at(world.old, writer="w", node="n").settings
        self.repository = world.at(world.old, writer="w", node="n")
        self.folder = str(world.folder / "state")
        for job in ("files", "base", "wal"):
            state.update(job, True, folder=self.folder)
        state.expect(self.settings, folder=self.folder)

    def __call__(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        if self.fails and self.fails in argv:
            return subprocess.CompletedProcess(argv, 1, "", "it fails")
        out = ""
        if argv[:2] == ["systemctl", "list-units"]:
            out = "".join(f"{one} loaded active running x\n" for one in sorted(self.active))
        elif argv[:2] == ["systemctl", "list-unit-files"]:
            out = "".join(f"{one} enabled enabled\n" for one in sorted({*self.enabled, "ssh.service"}))
        elif argv[0] == "systemctl":
            self.systemctl(argv[1], [one for one in argv[2:] if not one.startswith("--")])
        elif "scale" in argv:
            self.replicas[argv[4]] = int(argv[5].partition("=")[2])
            self.done.append(f"{argv[4]} {argv[5]}")
        elif argv[3:5] == ["get", "pods"]:
            out = json.dumps({"items": [self.pod(one) for one, number in self.replicas.items() if number]})
        elif "get" in argv:
            out = json.dumps({"items": [{"kind": name.split("/")[0].title(), "metadata": {"name": name.split("/")[1]},
                                         "spec": {"replicas": number}} for name, number in self.replicas.items()]})
        return subprocess.CompletedProcess(argv, 0, out, "")

    def systemctl(self, verb: str, units: list[str]) -> None:
        self.done.append(f"{verb} {' '.join(units)}")
        if verb == "disable":
            self.enabled -= set(units)
        if verb in ("stop", "disable"):
            self.active -= set(units)
        elif units == ["observer-backup-files.service"]:
            assert self.replicas["deployment/observer"] == 0, "what is written after this would be lost"
            self.record["good"]["files"] = {"id": self.world.save_files(), "time": time.time()}
        elif units[0].endswith("timer") or units == [LASTING]:
            self.active |= set(units)

    @staticmethod
    def pod(name: str) -> dict[str, Any]:
        kind, _, short = name.partition("/")
        owner = {"kind": "StatefulSet", "name": short} if kind == "statefulset" else \
            {"kind": "ReplicaSet", "name": f"{short}-5d4f8"}
        return {"metadata": {"name": f"{short}-x", "ownerReferences": [owner]}, "status": {"phase": "Running"}}

    # --- the database

    def position(self) -> Position:
        assert self.replicas["statefulset/postgres"], "it has to run for that"
        return Position(self.lsn, 1, time.time())

    def standby(self, application: str) -> dict[str, Any]:
        assert application == "observer_archiver" and LASTING in self.active
        return {"flush_lsn": self.lsn}

    def psql(self, _: str) -> list[list[str]]:
        return self.others

    # --- the repository

    def write_record(self, settings: Any, repository: Any, more: dict[str, Any]) -> None:  # noqa: ANN401
        assert (settings, repository) == (self.settings, self.repository)
        self.record = {**self.record, **more, "position": {"lsn": self.lsn, "timeline": 1, "at": time.time()}}
        self.world.repository.backup_text(json.dumps(self.record), "record.json", "record")
        self.done.append("record")

    def mover(self) -> move.Mover:
        return move.Mover(self.settings, self.repository, self, self,  # type: ignore[arg-type]
                          str(self.world.folder / "moving.json"), self.folder, lambda: self.record)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    world = World(tmp_path)
    files, base = world.save_files(), world.save_base()
    made = Node(world)
    made.record = {"epoch": 1, "good": {"files": {"id": files, "time": 1.0}, "base": {"id": base}}}
    made.repository.require_identity = lambda _: None
    monkeypatch.setattr(jobs, "writing", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(jobs, "write_record", made.write_record)
    for name in ("CAUGHT_UP_SECONDS", "ALONE_SECONDS", "POLL"):
        monkeypatch.setattr(move, name, 0.0)
    monkeypatch.setattr(workloads, "ENDED_SECONDS", 0.0)
    return made


def test_the_app_first_and_the_database_last(node: Node) -> None:
    mover = node.mover()
    mover.refuse()
    assert mover.plan() == PLAN and mover.moved() == {} and node.done == []
    handed = mover.hand_over()
    assert node.done == [
        f"stop {' '.join(TIMERS)}", "deployment/observer --replicas=0", "start observer-backup-files.service",
        "start observer-backup-wal.service", "record", f"stop {LASTING}", "statefulset/postgres --replicas=0",
        f"disable {' '.join([LASTING, *TIMERS])}"]
    assert handed["position"]["lsn"] == node.lsn and handed["stopped"] <= handed["files"] <= handed["at"]
    assert state.verdict(folder=node.folder)[1][0].startswith("none are made here: the node's work was handed over")
    assert node.mover().plan() == [] and node.mover().moved() == handed
    # Switched on again, nothing is late for the time in which nothing was due.
    state.expect(node.settings, time.time() + 9e6, node.folder)
    assert state.verdict(time.time() + 9e6 + 60, node.folder) == ("ok", [])


def test_what_was_interrupted_comes_to_its_end(node: Node) -> None:
    """The record is there, the database stopped, and some jobs not yet off; and one that had only stopped the app."""
    node.mover().hand_over()
    node.enabled, node.done = {TIMERS[0]}, []
    assert node.mover().plan() == [f"{TIMERS[0]}: stopped and disabled"]
    node.mover().hand_over()
    assert node.done == [f"disable {TIMERS[0]}"]
    node.replicas["statefulset/postgres"], node.active, node.record["moved"] = 1, {LASTING}, None
    assert node.mover().plan() == [PLAN[1], PLAN[2], PLAN[-1]]
    assert node.mover().hand_over()["position"]["lsn"] == node.lsn


def test_after_the_way_back_it_is_a_new_move(node: Node) -> None:
    node.mover().hand_over()
    node.replicas = {"deployment/observer": 1, "statefulset/postgres": 1}
    assert node.mover().moved() == {}
    # Stopped by hand after the jobs have written a record of their own.
    node.replicas = {"deployment/observer": 0, "statefulset/postgres": 0}
    node.record.pop("moved")
    assert node.mover().moved() == {} and node.mover().plan()[-1] == PLAN[-1]


def files_fail(node: Node) -> None:
    node.fails = "observer-backup-files.service"


def stays_connected(node: Node) -> None:
    node.others = [["observer", "10.42.0.9"]]


def is_not_received(node: Node) -> None:
    node.standby = lambda _: None  # type: ignore[assignment,return-value]


def runs_on(node: Node) -> None:
    node.active.add("observer-backup-base.service")


def another_has_taken_over(node: Node) -> None:
    def standing(*_: object) -> None:
        raise TakenOver("another node took over")
    node.standing = standing  # type: ignore[attr-defined]


@pytest.mark.parametrize(("goes_wrong", "kind", "words"), [
    (files_fail, Unknown, "it fails"),
    (stays_connected, Unknown, "observer is still connected to the database, from 10.42.0.9"),
    (is_not_received, Unreachable, "was not received up to 0/3000100"),
    (runs_on, Unknown, "observer-backup-base.service has been running"),
    (another_has_taken_over, TakenOver, "another node took over"),
])
def test_what_goes_wrong_is_undone(node: Node, goes_wrong: Callable[[Node], None], kind: type[BackupProblem],
                                   words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_wrong(node)
    if hasattr(node, "standing"):
        monkeypatch.setattr(jobs, "standing", node.standing)
    with pytest.raises(kind, match=words) as caught:
        node.mover().hand_over()
    assert caught.value.what.endswith("; what was stopped runs again")
    assert node.replicas == {"deployment/observer": 2, "statefulset/postgres": 1}
    assert {*TIMERS, LASTING} <= node.active and node.enabled == {*TIMERS, LASTING}
    assert not node.record.get("moved")


def test_the_job_s_own_words_are_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(argv: list[str], **more: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        if argv[:2] == ["systemctl", "start"] and argv[2].endswith("files.service"):
            state.update("files", False, why="a disk is full", remedy="Make room.", folder=node.folder)
            return subprocess.CompletedProcess(argv, 1, "", "Job failed")
        return Node.__call__(node, argv, **more)

    mover = node.mover()
    monkeypatch.setattr(mover.running, "_run", start)
    with pytest.raises(Unknown, match="files: a disk is full; what was stopped runs again"):
        mover.hand_over()


def test_refused_with_nothing_stopped(node: Node) -> None:
    """Bad backups; no base backup of this node; one that no machine would be restored from; WAL that does not leave."""
    node.standby = lambda _: None  # type: ignore[assignment,return-value]
    with pytest.raises(Unreachable, match="was not received"):
        node.mover().refuse()
    del node.standby
    node.world.repository.backup(["/etc/hostname"], "base")
    with pytest.raises(Refused, match="could not be restored from the backups: the newest backup of base"):
        node.mover().refuse()
    node.world.kept.pop()
    node.record["good"]["files"] = {"id": "another"}
    with pytest.raises(Incomplete, match="is not the one that another machine would restore"):
        node.mover().refuse()
    node.record["epoch"] = 2
    with pytest.raises(Refused, match="no base backup was made on n that its present WAL"):
        node.mover().refuse()
    state.update("wal", False, why="it is full", folder=node.folder)
    with pytest.raises(Refused, match="the backups of n are not good: shipping of WAL: it is full"):
        node.mover().refuse()
    assert node.done == []
