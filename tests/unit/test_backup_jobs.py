"""The backups' jobs with a real restic and folders for a node: who may write, what is recorded, what is saved."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backup_inputs
import pytest

from backup import decide, host, jobs, restore, run, settings, state
from backup.database import Database, Position, images, number, segment_name, volumes
from backup.manifest import read_manifest, write_manifest
from backup.problems import Absent, Damaged, DatabaseDown, Foreign, TakenOver
from backup.restic import Repository, Snapshot
from backup.settings import ReceiverSettings, Settings
from living import backups


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return backup_inputs.restic(tmp_path_factory.mktemp("program"))


class Node:
    """A node's folders and settings; its database answers nothing."""

    def __init__(self, folder: Path, shared: Path, program: str, **more: Any) -> None:  # noqa: ANN401
        self.folder, self.program = folder, program
        folder.mkdir(exist_ok=True)
        (folder / "storage").mkdir(exist_ok=True)
        for claim in ("db", "data"):
            (folder / f"storage/pvc-1_ns_{claim}").mkdir(exist_ok=True)
        (folder / "storage/pvc-1_ns_data/file").write_text("content")
        given = {"epoch": 0, "writer": "", "storage": str(folder / "storage"),
                 "repository": str(shared / "repository")}
        self.settings = backup_inputs.settings(shared, **(given | more))

    def repository(self) -> Repository:
        return Repository(self.settings, program=self.program, cache=str(self.folder / "cache"), lock="0s", seconds=60)

    def begin(self, **more: Any) -> Settings:  # noqa: ANN401
        self.settings = jobs.begin(self.settings, self.repository(), **more)
        return self.settings


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the jobs keep what they know."""
    monkeypatch.setattr(settings, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(settings, "take_epoch", functools.partial(settings.take_epoch,
                                                                  path=str(tmp_path / "work/epoch.json")))
    for name, path in (("RECORD", "record.json"), ("RUNNING", "running"), ("MANIFEST", "files/manifest.jsonl"),
                       ("POSITION", "wal/position.json"), ("SHIPPED", "wal/shipped.json")):
        monkeypatch.setattr(jobs, name, str(tmp_path / "work" / path))
    monkeypatch.setattr(jobs, "kept", functools.partial(jobs.kept, str(tmp_path / "work/record.json")))
    monkeypatch.setattr(jobs, "volumes", lambda given: {claim: f"{given.storage}/pvc-1_ns_{claim}"
                                                        for claim in given.claims})
    monkeypatch.setattr(Database, "position", nothing)
    return tmp_path


def nothing(_self: Database) -> Position:
    raise DatabaseDown("no database here")


def records(node: Node) -> list[dict[str, Any]]:
    repository = node.repository()
    return [repository.read_json(one.id, "record.json") for one in repository.snapshots("record")[0]]


def test_a_first_start_is_said(program: str, place: Path) -> None:
    node = Node(place / "a", place, program)
    with pytest.raises(Absent):
        node.begin()
    assert not (place / "repository").exists()
    given = node.begin(first=True)
    assert given.epoch == 1 and len(given.writer) == 16
    repository = node.repository()
    (first,), _ = repository.snapshots("identity")
    about = repository.read_json(first.id, "identity.json")
    assert about["identity"] == "tests/ns" and about["schema"] == 1
    assert [one["epoch"] for one in records(node)] == [1]
    kept = json.loads((place / "work/epoch.json").read_text())
    assert kept["epoch"] == 1 and (place / "work/epoch.json").stat().st_mode & 0o777 == 0o600
    # Again: nothing is written.
    before = len(repository.snapshots()[0])
    assert node.begin(first=True) == given and len(repository.snapshots()[0]) == before


def test_an_interrupted_first_start_goes_on(program: str, place: Path) -> None:
    node = Node(place / "a", place, program)
    node.repository().init()
    with pytest.raises(Absent, match="is empty"):
        node.begin()
    assert node.begin(first=True).epoch == 1


def test_a_new_node_takes_over_and_the_old_one_stops(program: str, place: Path) -> None:
    old = Node(place / "a", place, program)
    old.begin(first=True)
    jobs.save_files(old.settings, old.repository())
    new = Node(place / "b", place, program, node="node-b")
    assert new.begin().epoch == 2
    with pytest.raises(TakenOver, match=r"took the repository of tests/ns over at .* as writer 2"):
        jobs.save_files(old.settings, old.repository())
    jobs.save_files(new.settings, new.repository())
    assert [(one["epoch"], one["node"]) for one in records(new)] == [(1, "node-a"), (1, "node-a"), (2, "node-b"),
                                                                     (2, "node-b")]


def test_of_two_that_begin_at_once_the_first_stays(program: str, place: Path) -> None:
    one = Node(place / "a", place, program)
    one.begin(first=True)
    two = Node(place / "b", place, program, node="node-b")
    two.settings = dataclasses.replace(two.settings, epoch=1, writer="ffff")
    with pytest.raises(TakenOver):
        jobs.save_files(two.settings, two.repository())
    jobs.save_files(one.settings, one.repository())


def test_a_take_over_during_a_backup_is_found_after_it(
    program: str, place: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = Node(place / "a", place, program)
    old.begin(first=True)
    real = write_manifest

    def meanwhile(*arguments: Any) -> Any:  # noqa: ANN401
        Node(place / "b", place, program, node="node-b").begin()
        return real(*arguments)

    monkeypatch.setattr(jobs, "write_manifest", meanwhile)
    with pytest.raises(TakenOver):
        jobs.save_files(old.settings, old.repository())


def test_a_repository_of_another_inventory_is_not_written_to(program: str, place: Path) -> None:
    Node(place / "a", place, program).begin(first=True)
    other = Node(place / "b", place, program, identity="other/ns")
    for first in (False, True):
        with pytest.raises(Foreign, match="is of tests/ns"):
            other.begin(first=first)
    assert {one.host for one in other.repository().snapshots(every=True)[0]} == {"tests/ns"}


def test_a_repository_of_somebody_else_is_not_written_to(program: str, place: Path) -> None:
    node = Node(place / "a", place, program)
    repository = node.repository()
    repository.init()
    repository._call(["backup", "--json", str(place / "password")])
    for first in (False, True):
        with pytest.raises(Foreign, match="not this project's"):
            node.begin(first=first)


def test_a_record_names_what_is_whole(program: str, place: Path) -> None:
    node = Node(place / "a", place, program)
    node.begin(first=True)
    figures = jobs.save_files(node.settings, node.repository())
    assert figures["files"] == 2
    last = records(node)[-1]
    good = last["good"]["files"]
    (files,), _ = node.repository().snapshots("files")
    assert good["id"] == files.id and good["folders"] == {"data": f"{place}/a/storage/pvc-1_ns_data"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", last["release"]["versions"]["restic"])
    assert last["position"] is None and last["writer"] == node.settings.writer
    assert not jobs.has_base_of_epoch(node.settings)
    node.repository().restore(files.id, str(place / "back"))
    manifest = place / f"back{jobs.MANIFEST}"
    entries = {Path(entry[0]).name: entry for entry in read_manifest(str(manifest))}
    assert set(entries) == {"pvc-1_ns_data", "file"} and good["entries"] == 2
    assert (place / f"back{place}/a/storage/pvc-1_ns_data/file").read_text() == "content"


def test_a_record_says_what_has_left_the_node(place: Path) -> None:
    given = backup_inputs.settings(place, epoch=2)
    assert jobs.shipped(given) is None
    (place / "work/wal").mkdir(parents=True)
    said = {"lsn": "0/5000000", "timeline": 1, "at": 7.0}
    (place / "work/wal/shipped.json").write_text(json.dumps({**said, "epoch": 2}))
    assert jobs.shipped(given) == said
    assert jobs.shipped(dataclasses.replace(given, epoch=3)) is None


def test_a_record_tells_versions_and_never_the_certificate_itself(program: str, place: Path) -> None:
    node = Node(place / "a", place, program, release={"overlay": "o", "certificate": "none", "versions": {"k3s": "v1"}})
    found = jobs.release(node.settings, node.repository())
    assert set(found) == {"overlay", "versions"} and set(found["versions"]) == {"k3s", "restic"}
    # One that does not run keeps nobody from a record.
    found = jobs.release(node.settings, Repository(node.settings, program=str(place / "none")))
    assert found["versions"] == {"k3s": "v1"}


class Counted(Database):
    """A database of paper: how many definitions of each kind it has, asked one time after the other."""

    def __init__(self, given: Settings, *numbers: int, waiting: Sequence[int] = ()) -> None:
        super().__init__(given)
        self.numbers, self.waiting, self.asked = list(numbers), list(waiting), 0

    def psql(self, sql: str, seconds: float = 20.0, name: str | None = None) -> list[list[str]]:
        if sql == jobs.LIST_TABLES:
            return [["public.t"]]
        self.asked += 1
        defined = [["defined", kind, str(number), "f" * 64] for number in (self.numbers.pop(0), self.numbers.pop(0))
                   for kind in jobs.DEFINED]
        waiting = str(self.waiting.pop(0) if self.waiting else 0)
        return [*defined, ["7"], ["at", "0/5000000", "000000010000000000000005"], ["waiting", waiting, ""],
                ["point", "0/5000068", "15.20"], ["public.t", "3", "12"]]


def test_definitions_that_change_while_rows_are_counted_make_them_inexact(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "AGAIN", 0.0)
    given = backup_inputs.settings(tmp_path)
    database = Counted(given, 1, 1)
    found = jobs.rows(database)
    assert found and found["exact"] and found["server"] == "15.20" and found["definitions"]["kinds"]["indexes"] == {
        "number": 1, "sha256": "f" * 64}
    assert (found["lsn"], found["timeline"], found["tables"]) == (
        "0/5000000", 1, {"public.t": {"rows": 3, "sum": "12"}})
    database = Counted(given, 1, 2, 2, 2)
    found = jobs.rows(database)
    assert found and found["exact"] and database.asked == 2 and found["definitions"]["kinds"]["views"]["number"] == 2
    found = jobs.rows(Counted(given, *range(8)))
    assert found and not found["exact"]
    # What waits for the receiver is in the WAL, and is not seen before it was received.
    database = Counted(given, *[1] * 4, waiting=[1])
    found = jobs.rows(database)
    assert found and found["exact"] and database.asked == 2
    found = jobs.rows(Counted(given, *[1] * 8, waiting=[1] * 4))
    assert found and not found["exact"]


def test_a_killed_job_leaves_a_mark_and_the_next_unlocks(program: str, place: Path) -> None:
    node = Node(place / "a", place, program)
    node.begin(first=True)
    (place / "work/running").mkdir(parents=True)
    (place / "work/running/files").touch()
    unlocked: list[bool] = []
    repository = node.repository()
    repository.unlock = lambda: unlocked.append(True)  # type: ignore[method-assign]
    jobs.save_files(node.settings, repository)
    jobs.save_files(node.settings, repository)
    assert unlocked == [True] and not list((place / "work/running").iterdir())


def test_a_job_says_how_it_went(program: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(state, "unreadable", lambda _problem: None)
    monkeypatch.setattr(state, "retention", lambda _since: None)
    monkeypatch.setattr(state, "update", lambda *words, **more: told.append((*words, more)))
    node = Node(place / "a", place, program)
    assert jobs.run("files", node.settings, node.repository()) == 1
    node.begin(first=True)
    assert jobs.run("files", node.settings, node.repository()) == 0
    (name, good, more), (_, better, figures) = told
    assert (name, good, better) == ("files", False, True) and "no repository" in more["why"] and more["remedy"]
    assert figures["stored_bytes"] > 0 and figures["seconds"] >= 0 and "overdue" not in figures


def damage(place: Path, snapshot: str) -> Path:
    """Turn a bit over in what the repository has of a snapshot."""
    path = place / "repository/snapshots" / snapshot
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.chmod(0o600)
    path.write_bytes(content)
    return path


def test_a_damaged_snapshot_keeps_no_other_from_being_made_and_is_told(program: str, place: Path) -> None:
    """As after a restore of the one before it: whoever takes over begins and saves, and hears what there is to do."""
    old = Node(place / "a", place, program)
    old.begin(first=True)
    jobs.save_files(old.settings, old.repository())
    bad = damage(place, old.repository().snapshots("files")[0][0].id)
    new = Node(place / "b", place, program, node="node-b")
    # Not the next one, which may be that of what cannot be read.
    assert new.begin().epoch == 3
    problem = jobs.save_files(new.settings, new.repository())["unreadable"]
    assert isinstance(problem, Damaged) and problem.what.endswith(f"cannot be read: {bad.name[:8]}")
    assert "snapshots/..., out of the repository" in problem.remedy
    found, _ = new.repository().snapshots("files")
    assert [one.epoch for one in found] == [3]
    assert records(new)[-1]["good"]["files"]["id"] == found[0].id
    # Also for what a command prints restic would look at all that were before.
    new.repository().backup_command(["echo", "x"], "base.tar", "base")
    assert len(new.repository().snapshots("base")[0]) == 1
    with pytest.raises(Damaged, match=bad.name[:8]):
        jobs.check(new.settings, new.repository())
    bad.rename(place / "aside")
    assert jobs.save_files(new.settings, new.repository())["unreadable"] is None
    assert jobs.check(new.settings, new.repository())["seconds"] >= 0


def test_whoever_begins_anew_is_newer_than_what_the_backup_host_knows(
        program: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that is another, or was deleted, counts from one; the backup host lets no older epoch write."""
    known: dict[str, Any] = {"epoch": 3, "generations": [{"slot": "observer_e4_20260101t000000", "segments": []}]}
    monkeypatch.setattr(host, "_answer", lambda _, words: known if words == ["list", "all"] else {})
    there = ReceiverSettings("receiver", "10.0.0.9", 22, "oreceiver", "/srv/observer-wal/tests-ns")
    assert Node(place / "a", place, program, receiver=there).begin(first=True).epoch == 5
    known["epoch"] = 7
    assert Node(place / "b", place, program, node="node-b", receiver=there).begin().epoch == 8
    assert Node(place / "c", place, program, node="node-c").begin().epoch == 9


def test_what_cannot_be_read_is_told_until_it_is_mended(tmp_path: Path) -> None:
    folder = str(tmp_path / "s")
    (tmp_path / "settings.json").touch()
    state.expect(backup_inputs.settings(tmp_path, intervals={"files": 900}), folder=folder)
    state.update("files", True, folder=folder)
    state.unreadable(Damaged("snapshots cannot be read: 1234abcd", "Move their files."), folder)
    said = "repository: snapshots cannot be read: 1234abcd (Move their files.)"
    assert state.verdict(folder=folder) == ("bad", [said])
    collected = backups.collect(time.time(), str(tmp_path / "settings.json"), f"{folder}/state.json")
    assert collected and collected["wrong"] == [{"job": "repository", "why": "snapshots cannot be read: 1234abcd"}]
    state.unreadable(None, folder)
    assert state.verdict(folder=folder) == ("ok", [])
    # No job runs any more that could say that it was mended.
    state.unreadable(Damaged("snapshots cannot be read: 1234abcd", "Move their files."), folder)
    state.hand_over(folder)
    collected = backups.collect(time.time(), str(tmp_path / "settings.json"), f"{folder}/state.json")
    assert collected and collected["wrong"] == []


def test_any_snapshot_says_whose_the_repository_is(program: str, place: Path) -> None:
    """Of the one of kind identity there is but one: damaged, or moved out, it must not shut everybody out."""
    node = Node(place / "a", place, program)
    node.begin(first=True)
    jobs.save_files(node.settings, node.repository())
    bad = damage(place, node.repository().snapshots("identity")[0][0].id)
    # restic takes for good what it has kept on the node.
    shutil.rmtree(node.folder / "cache")
    problem = jobs.save_files(node.settings, node.repository())["unreadable"]
    assert isinstance(problem, Damaged) and problem.what.endswith(bad.name[:8])
    there = restore.gather(node.repository(), decide.Wish())
    assert decide.foreign(there) is None and there.unreadable and there.problem is None
    bad.rename(place / "aside")
    assert jobs.save_files(node.settings, node.repository())["unreadable"] is None
    assert Node(place / "b", place, program, node="node-b").begin().epoch == 2
    assert len(node.repository().snapshots("identity")[0]) == 1
    with pytest.raises(Foreign, match="is of tests/ns"):
        Node(place / "c", place, program, identity="other/ns").begin()


def test_without_one_that_can_be_read_nothing_is_said_to_be_new(program: str, place: Path) -> None:
    node = Node(place / "a", place, program)
    node.begin(first=True)
    for one in node.repository().snapshots()[0]:
        damage(place, one.id)
    shutil.rmtree(node.folder / "cache")
    new = Node(place / "b", place, program, node="node-b")
    for write in (lambda: new.begin(first=True), lambda: jobs.save_files(node.settings, node.repository())):
        with pytest.raises(Damaged, match="no snapshot of the repository can be read"):
            write()
    there = restore.gather(new.repository(), decide.Wish("node-b"))
    data = decide.Here({"data": decide.DATA}, "", time.time(), 0)
    bare = decide.Here({"data": decide.ABSENT}, "", None, 0)
    for here, wish in ((data, decide.Wish()), (bare, decide.Wish("node-b")), (bare, decide.Wish())):
        found = decide.decide(here, there, wish, "node-b")
        assert isinstance(found, decide.Refuse) and "give backup_identity another value" in found.remedy
    kept = decide.decide(dataclasses.replace(data, epoch=1), there, decide.Wish(), "node-b")
    assert isinstance(kept, decide.Keep) and "no snapshot of the repository can be read" in kept.said[0]


def test_a_manifest_tells_everything_that_a_restore_brings_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "in").mkdir(parents=True)
    (tree / "in/한글 'and\n\"quotes").write_text("x")
    (tree / "link").symlink_to("in")
    os.mkfifo(tree / "pipe")
    (Path(os.fsdecode(bytes(tree) + b"/\xff"))).write_text("no UTF-8")
    (tree / "in/.restoring").mkdir()
    (tree / ".restoring").mkdir()
    manifest, cache = str(tmp_path / "out/manifest"), str(tmp_path / "out/cache")
    count, digest = write_manifest([str(tree)], manifest, cache, (".restoring",))
    found = {entry[0]: entry for entry in read_manifest(manifest)}
    assert count == len(found) == 7
    assert os.fsdecode(bytes(tree) + b"/\xff") in found
    assert found[str(tree / "link")][1::6] == ("l", "in") and found[str(tree / "pipe")][1] == "p"
    assert str(tree / "in/.restoring") in found and str(tree / ".restoring") not in found
    assert write_manifest([str(tree)], manifest, cache, (".restoring",)) == (count, digest)
    (tree / "in/한글 'and\n\"quotes").write_text("y")
    assert write_manifest([str(tree)], manifest, cache, (".restoring",))[1] != digest


def test_segments_go_when_the_base_before_the_last_is_later(tmp_path: Path) -> None:
    names = [segment_name(1, f"0/{number:X}000000") for number in range(1, 9)]
    for name in [*names, segment_name(2, "0/9000000"), segment_name(2, "0/A000000") + ".partial", "00000002.history"]:
        (tmp_path / name).touch()
    assert jobs.remove_shipped(str(tmp_path), {}) == 0
    assert jobs.remove_shipped(str(tmp_path), {"base_before": {"lsn": "0/5000028", "timeline": 1}}) == 4
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "00000001" + names[4][8:]
    assert (tmp_path / "00000002.history").exists() and len(list(tmp_path.iterdir())) == 7


def test_positions_and_segments() -> None:
    assert number("1/00000010") == (1 << 32) + 16
    assert segment_name(1, "0/62000178") == "000000010000000000000062"
    assert segment_name(10, "2/FF000000") == "0000000A00000002000000FF"


def container(name: str, pod: str, namespace: str = "ns", image: str = "sha256:1") -> dict[str, Any]:
    return {"id": f"id-{pod}", "podSandboxId": f"sandbox-{pod}", "imageRef": image, "labels": {
        "io.kubernetes.container.name": name, "io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": namespace}}


def containerd(*running: dict[str, Any]) -> Any:  # noqa: ANN401
    """What stands for crictl: it runs this process as the database's."""
    def run(argv: list[str], **_: Any) -> Any:  # noqa: ANN401
        told = {"ps": {"containers": running}, "inspect": {"info": {"pid": os.getpid()}},
                "inspectp": {"status": {"network": {"ip": "10.42.0.9"}}},
                "images": {"images": [{"id": "sha256:1", "repoTags": ["a/b:1"], "repoDigests": ["a/b@sha256:2"]}]}}
        return SimpleNamespace(returncode=0, stdout=json.dumps(told[argv[1]]), stderr="")
    return run


def test_the_database_is_the_one_of_its_workload_and_namespace(tmp_path: Path) -> None:
    given = backup_inputs.settings(tmp_path)
    others = [container("postgres", "postgres-0", "other"), container("postgres", "pg-0"),
              container("sidecar", "postgres-0")]
    found = Database(given, containerd(*others, container("postgres", "postgres-0"))).container()
    assert (found.pid, found.address, found.uid) == (os.getpid(), "10.42.0.9", os.getuid())
    for running in (others, [*others, container("postgres", "postgres-0"), container("postgres", "postgres-1")]):
        with pytest.raises(DatabaseDown, match="containers postgres of statefulset/postgres run in the namespace ns"):
            Database(given, containerd(*running)).container()


def test_a_record_tells_tags_and_digests_of_what_runs(tmp_path: Path) -> None:
    found = images(backup_inputs.settings(tmp_path), containerd(
        container("postgres", "postgres-0"), container("x", "x-1", "other"), container("y", "y-1", image="sha256:7")))
    assert found == [{"container": "postgres", "image": "a/b:1", "digest": "a/b@sha256:2"},
                     {"container": "y", "image": "sha256:7", "digest": ""}]


PVCS = {"items": [{"metadata": {"name": "db"}, "spec": {"volumeName": "pvc-2"}},
                  {"metadata": {"name": "data"}, "spec": {"volumeName": "pvc-3"}}]}


def test_a_claims_folder_is_the_one_that_is_bound(tmp_path: Path) -> None:
    given = backup_inputs.settings(tmp_path)
    storage = tmp_path / "storage"
    for name in ("pvc-1_ns_db", "pvc-2_ns_db", "pvc-3_ns_data", "pvc-3_other_data"):
        (storage / name).mkdir(parents=True)
    def answers(text: str, status: int = 0) -> Any:  # noqa: ANN401
        return lambda *_words, **_more: SimpleNamespace(returncode=status, stdout=text, stderr="")
    assert volumes(given, answers(json.dumps(PVCS))) == {"db": f"{storage}/pvc-2_ns_db",
                                                         "data": f"{storage}/pvc-3_ns_data"}
    # Without the cluster's word the old volume could be it as well.
    with pytest.raises(DatabaseDown, match="2 folders of the claim ns/db"):
        volumes(given, answers("", 1))
    (storage / "pvc-1_ns_db").rmdir()
    assert volumes(given, answers("", 1))["db"] == f"{storage}/pvc-2_ns_db"
    (storage / "pvc-2_ns_db").rmdir()
    with pytest.raises(DatabaseDown, match="0 folders"):
        volumes(given, answers(json.dumps(PVCS)))


def test_objects_that_git_does_not_know_are_in_the_record(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"verdict": "drift", "checked": 5, "drift": [
        {"code": "DRIFT-01", "subject": "ConfigMap x/y"}, {"code": "DRIFT-02", "subject": "ConfigMap x/z"}]}))
    (tmp_path / "baseline.json").write_text(json.dumps({"at": 3, "commit": "abc", "release": "r"}))
    found = jobs.node_state(str(tmp_path))
    assert found["objects"] == ["ConfigMap x/y"] and found["provisioned"]["commit"] == "abc"


def test_settings_of_another_inventory_do_not_keep_the_epoch(tmp_path: Path) -> None:
    given = dataclasses.asdict(backup_inputs.settings(tmp_path))
    for name in ("epoch", "writer"):
        del given[name]
    path, epoch = tmp_path / "settings.json", str(tmp_path / "epoch.json")
    path.write_text(json.dumps(given))
    loaded = settings.load(str(path), epoch)
    assert loaded.epoch == 0
    settings.take_epoch(loaded, 4, epoch)
    assert settings.load(str(path), epoch).epoch == 4
    path.write_text(json.dumps({**given, "identity": "other/ns"}))
    assert settings.load(str(path), epoch).epoch == 0
    for broken in ("", "[]", "{}"):
        path.write_text(broken)
        with pytest.raises(settings.SettingsError, match=str(path)):
            settings.load(str(path), epoch)


def test_the_key_of_the_log_comes_from_the_password(tmp_path: Path) -> None:
    one = settings.wal_key(backup_inputs.settings(tmp_path))
    assert len(one) == 64 and one == settings.wal_key(backup_inputs.settings(tmp_path))
    assert one != settings.wal_key(backup_inputs.settings(tmp_path, identity="other/ns"))


# --- the state --------------------------------------------------------------------------------------


def test_the_state_is_good_late_failing_and_good_again(tmp_path: Path) -> None:
    folder, now = str(tmp_path / "state"), time.time()
    assert state.verdict(now, folder)[0] == "bad"
    given = backup_inputs.settings(tmp_path, intervals={"files": 900, "base": 86400})
    state.expect(given, now, folder)
    assert state.verdict(now, folder) == ("ok", [])
    # The first rehearsal is due an hour after the timers.
    assert ["base" in one for one in state.verdict(now + 3700, folder)[1]] == [False]
    verdict, (wrong, other) = state.verdict(now + 7300, folder)
    assert verdict == "bad" and "base backup" in wrong and "files: never succeeded" in other
    for job in ("files", "base"):
        state.update(job, True, now, folder=folder, stored_bytes=7)
    assert state.verdict(now + 1700, folder)[0] == "ok"
    verdict, wrong_now = state.verdict(now + 1900, folder)
    assert verdict == "bad" and wrong_now == ["files: late, the last success was 32 min ago and one is due each 15 min"]
    state.update("files", False, now, "the disk is full", remedy="Make room", folder=folder)
    assert state.verdict(now, folder) == ("bad", ["files: the disk is full (Make room)"])
    state.update("files", True, now + 5, folder=folder)
    assert state.verdict(now + 6, folder)[0] == "ok"
    shown = (tmp_path / "state/state.txt").read_text()
    assert shown.startswith("The backups are good.") and "stored_bytes 7" in shown
    assert (tmp_path / "state/state.json").stat().st_mode & 0o777 == 0o644


def test_a_job_that_is_no_longer_due_is_forgotten_and_others_keep_their_history(tmp_path: Path) -> None:
    folder = str(tmp_path)
    state.expect(backup_inputs.settings(tmp_path, intervals={"files": 900, "wal": 60}), 100.0, folder)
    state.update("files", True, 200.0, folder=folder)
    state.expect(backup_inputs.settings(tmp_path, intervals={"files": 600}), 300.0, folder)
    jobs_now = state.read(folder)["jobs"]
    assert set(jobs_now) == {"files"} and jobs_now["files"]["good"] == 200.0 and jobs_now["files"]["interval"] == 600


def test_a_state_that_cannot_be_read_is_bad(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    assert state.verdict(folder=str(tmp_path))[0] == "bad"


def test_the_next_run_of_a_job_that_has_just_failed_is_waited_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database was away it could not but fail."""
    folder = str(tmp_path / "s")
    (tmp_path / "settings.json").touch()
    state.expect(backup_inputs.settings(tmp_path, intervals={"files": 900, "wal": 60}), time.time(), folder)
    state.update("wal", False, why="the database was away", folder=folder)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            state.update("wal", True, folder=folder)

    monkeypatch.setattr(time, "sleep", sleep)
    found = backups.collect(time.time(), str(tmp_path / "settings.json"), f"{folder}/state.json")
    assert found and found["wrong"] == [] and looks == [backups.POLL] * 3


def test_whoever_looks_at_the_node_judges_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, given = time.time(), tmp_path / "settings.json"
    where = str(given), str(tmp_path / "s/state.json")
    assert backups.collect(now, *where) is None
    given.touch()
    with pytest.raises(OSError):
        backups.collect(now, *where)
    state.expect(backup_inputs.settings(tmp_path, intervals={"files": 900, "wal": 60}), now, str(tmp_path / "s"))
    state.update("files", True, now, folder=str(tmp_path / "s"))
    state.update("wal", False, now, "the host is away", folder=str(tmp_path / "s"))
    monkeypatch.setattr(backups, "LATELY", 0.0)
    found = backups.collect(now, *where)
    assert found and found["wrong"] == [{"job": "wal", "why": "the host is away"}]
    found = backups.collect(now + 1900, *where)
    assert found and found["wrong"][0] == {"job": "files", "why": "the last success was 32 min ago"}


def test_a_stream_that_has_just_begun_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, ages = str(tmp_path / "s"), iter([20.0, 20.5, 21.0, 21.5])
    (tmp_path / "settings.json").touch()
    state.expect(backup_inputs.settings(tmp_path, intervals={"stream": 60}), time.time(), folder)
    state.update("stream", False, why="nothing is received", folder=folder)

    def streams() -> float:
        """The service; after its third look it receives."""
        age = next(ages)
        if age == 21.0:
            state.update("stream", True, folder=folder)
        return age

    monkeypatch.setattr(backups, "POLL", 0.0)
    where = str(tmp_path / "settings.json"), f"{folder}/state.json"
    found = backups.collect(time.time(), *where, streams)
    assert found and found["wrong"] == [] and next(ages, None) is None
    state.update("stream", False, why="nothing is received", folder=folder)
    # One that has had its time is judged at once, and one that does not run after a moment.
    found = backups.collect(time.time(), *where, lambda: backups.SETTLE + 1)
    assert found and found["wrong"] == [{"job": "stream", "why": "nothing is received"}]
    monkeypatch.setattr(backups, "AGAIN", 0.0)
    found = backups.collect(time.time(), *where, lambda: None)
    assert found and found["wrong"] == [{"job": "stream", "why": "observer-backup-stream.service does not run"}]


def test_what_the_stream_said_before_it_was_started_again_does_not_count(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path / "s")
    (tmp_path / "settings.json").touch()
    state.expect(backup_inputs.settings(tmp_path, intervals={"stream": 60}), time.time(), folder)
    state.update("stream", True, time.time() - 30, folder=folder)
    looks: list[float] = []

    def streams() -> float:
        """Started ten seconds ago; at the third look it says that nothing is received."""
        looks.append(10.0)
        if len(looks) == 3:
            state.update("stream", False, why="nothing is received", folder=folder)
        return 10.0 if len(looks) < 4 else backups.SETTLE + 1

    monkeypatch.setattr(backups, "POLL", 0.0)
    where = str(tmp_path / "settings.json"), f"{folder}/state.json"
    found = backups.collect(time.time(), *where, streams)
    assert found and found["wrong"] == [{"job": "stream", "why": "nothing is received"}] and len(looks) == 4


def test_a_database_that_was_begun_anew_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = backup_inputs.settings(tmp_path)
    for last, system, anew in (
            ({"epoch": mine.epoch, "good": {"base": {"system": 7}}}, 8, True),
            ({"epoch": mine.epoch, "good": {"base_before": {"system": 7}}}, 8, True),
            ({"epoch": mine.epoch, "good": {"base": {"system": 7}}}, 7, False),
            ({"epoch": mine.epoch, "good": {"base": {"system": 7}}}, 0, False),
            ({"epoch": mine.epoch, "good": {"base": {}}}, 8, False),
            # Of another repository, whose epochs are counted from one as well.
            ({"epoch": mine.epoch, "writer": "other", "good": {"base": {"system": 7}}}, 8, False),
            ({"epoch": mine.epoch, "writer": mine.writer, "good": {"base": {"system": 7}}}, 8, True),
            ({"epoch": mine.epoch + 1, "good": {"base": {"system": 7}}}, 8, False), ({}, 8, False)):
        monkeypatch.setattr(jobs, "kept", lambda last=last: last)
        assert jobs.begun_anew(mine, system) is anew


def test_after_a_restore_the_next_base_backup_is_of_what_was_restored(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "record.json"
    monkeypatch.setattr(jobs, "RECORD", str(record))
    jobs.accept_database(str(record))
    assert not record.exists()
    record.write_text(json.dumps({
        "epoch": 1, "good": {"base": {"id": "a", "system": 7}, "base_before": {"system": 6}}}))
    jobs.accept_database(str(record))
    assert json.loads(record.read_text()) == {"epoch": 1, "good": {"base": {"id": "a"}, "base_before": {}}}


def test_nobody_is_told_to_forget_by_number(tmp_path: Path) -> None:
    """restic can keep a number of snapshots; how old such are says nothing."""
    given = backup_inputs.settings(tmp_path, repository="rclone:", keep={"within": "2d", "last": "40"})
    assert jobs.overdue(given, []) is None
    assert jobs.overdue(dataclasses.replace(given, keep={"within": "2d"}), []) == 0


def test_the_first_that_could_be_forgotten_is_told(tmp_path: Path) -> None:
    """One snapshot of WAL a minute for weeks: the second is not its day's newest, and was kept for a day."""
    given = backup_inputs.settings(tmp_path, repository="rclone:", keep={"within": "1d", "within_daily": "7d"})
    every = [Snapshot(f"{number:064x}", 60.0 * number, "wal", 1, "w", "tests/ns", (), ()) for number in range(30_000)]
    assert jobs.overdue(given, every) == every[1442].time


@pytest.mark.parametrize(("days", "verdict"), [(0, "ok"), (6.9, "ok"), (7.1, "ok"), (29.9, "ok"), (30.1, "bad")])
def test_old_snapshots_that_nobody_forgets_are_told_and_after_a_month_bad(
        tmp_path: Path, days: float, verdict: str) -> None:
    now, folder = time.time(), str(tmp_path / "s")
    (tmp_path / "settings.json").touch()
    (tmp_path / "metrics").mkdir()
    given = backup_inputs.settings(tmp_path, intervals={"files": 900}, textfile_dir=str(tmp_path / "metrics"))
    state.expect(given, now, folder)
    state.update("files", True, now, folder=folder)
    since = now - days * 86400 if days else 0.0
    state.retention(since, folder)
    state.expect(given, now, folder)
    said = time.strftime("old snapshots are overdue since %Y-%m-%d: run playbooks/backup.yml", time.gmtime(since))
    found = state.read(folder)
    assert found["verdict"] == verdict
    assert found["wrong"] == ([f"retention: {said}"] if verdict == "bad" else [])
    assert found["warnings"] == ([said] if 7 < days < 30 else [])
    assert (said in (tmp_path / "s/state.txt").read_text()) is (days > 7)
    collected = backups.collect(now, str(tmp_path / "settings.json"), f"{folder}/state.json")
    assert collected and collected["warnings"] == found["warnings"]
    assert collected["wrong"] == ([{"job": "retention", "why": said}] if verdict == "bad" else [])
    metrics = (tmp_path / "metrics/observer_node_backup.prom").read_text()
    assert f"\nobserver_node_backup_overdue_timestamp_seconds {since}\n" in metrics
    # Where nothing is forgotten nothing is overdue, nor is it of another repository.
    state.retention(None, folder)
    assert "overdue" not in state.read(folder)
    state.retention(since, folder)
    state.expect(dataclasses.replace(given, repository="s3:x"), now, folder)
    assert "overdue" not in state.read(folder) and state.read(folder)["verdict"] == "ok"
    assert "overdue" not in (tmp_path / "metrics/observer_node_backup.prom").read_text()


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    (tmp_path / "metrics").mkdir()
    given = backup_inputs.settings(tmp_path, textfile_dir=str(tmp_path / "metrics"))
    state.expect(given, folder=str(tmp_path / "s"))
    state.update("files", False, why="x", folder=str(tmp_path / "s"), bytes=5)
    text = (tmp_path / "metrics/observer_node_backup.prom").read_text()
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    assert found["observer_node_backup_good"][0].value == 0
    assert found["observer_node_backup_job_good"][0].labels == {"job": "files"}


class Pinged(http.server.BaseHTTPRequestHandler):
    """Notes who asks; answers with ``status``."""

    status, asked = 200, 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pinged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the ping goes."""
    monkeypatch.setattr(run, "PINGED", str(tmp_path / "pinged"))
    Pinged.status, Pinged.asked = 200, 0
    with http.server.HTTPServer(("127.0.0.1", 0), Pinged) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a-secret-path"
        server.shutdown()
        thread.join()


def test_a_url_hears_while_all_is_well_and_silence_when_it_is_not(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pinged: str) -> None:
    folder = str(tmp_path / "s")
    monkeypatch.setattr(run, "state", SimpleNamespace(
        OK=state.OK, changing=functools.partial(state.changing, folder),
        verdict=functools.partial(state.verdict, folder=folder)))
    given = backup_inputs.settings(tmp_path, intervals={"files": 900}, ping_url=pinged)
    state.expect(given, folder=folder)
    state.update("files", False, why="the disk is full", remedy="Make room.", folder=folder)
    assert run.judge(given) == 0 and Pinged.asked == 0
    state.update("files", True, folder=folder)
    assert run.judge(given) == 0 and Pinged.asked == 1
    # Judged each minute, said each five.
    run.judge(given)
    assert Pinged.asked == 1
    Path(run.PINGED).unlink()
    Pinged.status = 500
    capsys.readouterr()
    run.judge(given)
    assert Pinged.asked == 2 and not Path(run.PINGED).exists()
    # Who knows the address could keep silence from being noticed.
    assert "the ping failed: HTTPError" in (told := capsys.readouterr().out) and "secret" not in told
