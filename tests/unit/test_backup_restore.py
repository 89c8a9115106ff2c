"""A restore through a real restic: all of it or nothing, and never over anything."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import backup_inputs
import backup_wal
import pytest

from backup import decide, host, restore, wal
from backup.database import segment_name
from backup.decide import Here, Refuse, Restore, Wish
from backup.problems import BackupProblem, Damaged, DatabaseDown, Full, Incomplete, Unreachable
from backup.restic import Snapshot, Summary
from backup.settings import Settings

FIRST = "000000010000000000000002"


def name(number: int, timeline: int = 1) -> str:
    return wal.name_of(timeline, number)


class Shelf:
    """Snapshots as plain folders: what a restore needs of restic, in no time."""

    def __init__(self, settings: Settings, folder: Path, snapshots: list[Snapshot]) -> None:
        self.settings, self.folder, self.all = settings, folder, snapshots
        self.damaged: type[Exception] = Damaged

    def init(self) -> None:
        self.folder.mkdir()

    def snapshots(self, kind: str | None = None) -> tuple[list[Snapshot], list[str]]:
        if not self.folder.is_dir():
            raise Unreachable("it does not answer")
        return [one for one in self.all if kind in (None, one.kind)], []

    def _add(self, kind: str, paths: Sequence[str]) -> Summary:
        number = len(self.all)
        name = hashlib.sha256(f"{number}".encode()).hexdigest()
        (self.folder / name).mkdir()
        self.all.append(Snapshot(name, 1_700_000_000.0 + 200 * number, kind, 1, "w", self.settings.identity, (),
                                 tuple(paths), 1000))
        return Summary(name, 1, 1, 1, 1, 0.1)

    def backup(self, paths: Sequence[str], kind: str, there: object = None) -> Summary:
        done = self._add(kind, paths)
        for path in paths:
            target = self.folder / done.snapshot / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", "--sparse=always", path, target], check=True)
        return done

    def backup_text(self, text: str, filename: str, kind: str) -> Summary:
        done = self._add(kind, [f"/{filename}"])
        (self.folder / done.snapshot / filename).write_text(text)
        return done

    def backup_command(self, argv: Sequence[str], filename: str, kind: str) -> Summary:
        done = self._add(kind, [f"/{filename}"])
        with (self.folder / done.snapshot / filename).open("wb") as file:
            subprocess.run(argv, stdout=file, check=True)
        return done

    def read_json(self, snapshot: str, path: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / snapshot / path.lstrip("/")).read_text())
        except FileNotFoundError as error:
            raise self.damaged("it is not there") from error
        return found

    @contextlib.contextmanager
    def dump(self, snapshot: str, path: str) -> Iterator[IO[bytes]]:
        with (self.folder / snapshot / path.lstrip("/")).open("rb") as file:
            yield file

    def listing(self, snapshot: str) -> list[dict[str, Any]]:
        top = self.folder / snapshot
        return [{"path": f"/{one.relative_to(top)}", "type": "file", "size": one.stat().st_size}
                for one in top.rglob("*") if one.is_file()]

    def restore(self, snapshot: str, target: str, include: Sequence[str] = (), sparse: bool = True) -> None:
        for path in include:
            place = Path(target + path)
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", "--sparse=always" if sparse else "--sparse=never",
                            self.folder / snapshot / path.lstrip("/"), place], check=True)


class World:
    """A node's backups, and a new node that has nothing.

    :param program: restic; without it the repository is a shelf.
    """

    def __init__(self, folder: Path, program: str = "") -> None:
        self.folder, self.program = folder, program
        self.kept: list[Snapshot] = []
        self.old, self.new = folder / "old", folder / "new"
        self.new.mkdir()
        self.data = self.old / "pvc-1_ns_data"
        (self.data / "sub").mkdir(parents=True)
        (self.data / "sub/a").write_text("first\n")
        self.data.chmod(0o2770)
        with (self.data / "sparse").open("wb") as file:
            file.truncate(64 << 20)
        self.out = self.old / "wal-out"
        self.out.mkdir()
        self.config = self.old / "config"
        self.config.mkdir(mode=0o755)
        (self.config / "settings.yml").write_text("x: 1\n")
        self.journal = str(folder / "restore.json")
        self.repository = self.at(self.old)
        self.repository.init()
        self.repository.backup_text('{"schema": 1}', "identity.json", "identity")
        self.good: dict[str, Any] = {}

    def at(self, storage: Path, **more: Any) -> Any:  # noqa: ANN401
        more = {"storage": str(storage), "config_folder": str(storage / "config"), **more}
        if self.program:
            return backup_inputs.repository(self.folder, self.program, **more)
        return Shelf(backup_inputs.settings(self.folder, **more), self.folder / "repository", self.kept)

    @property
    def settings(self) -> Settings:
        found: Settings = self.at(self.new, epoch=0).settings
        return found

    def record(self, **more: Any) -> None:  # noqa: ANN401
        self.repository.backup_text(json.dumps({"good": self.good, **more}), "record.json", "record")

    def save_files(self) -> str:
        done = self.repository.backup([str(self.data), str(self.config)], "files")
        self.good["files"] = {"id": done.snapshot, "folders": {"data": str(self.data), "": str(self.config)}}
        self.record()
        return str(done.snapshot)

    def save_base(self, content: bytes | None = None, start: str = FIRST) -> str:
        path = self.folder / "base.tar"
        conf = "synchronous_standby_names = 'observer_receiver'\nwork_mem = '8MB'\n"
        path.write_bytes(backup_wal.base(start, conf=conf) if content is None else content)
        done = self.repository.backup_command(["cat", str(path)], "base.tar", "base")
        self.good["base"] = {"id": done.snapshot, "segment": start, "bytes": path.stat().st_size}
        self.record()
        return str(done.snapshot)

    def save_wal(self, numbers: Sequence[int], pages: int = 10, timeline: int = 1) -> str:
        """The last one is a part."""
        for number in numbers:
            last = number == numbers[-1]
            backup_wal.segment(self.out / (name(number, timeline) + (".partial" if last else "")),
                               name(number, timeline), pages if last else backup_wal.PAGES)
        return str(self.repository.backup([str(self.out)], "wal").snapshot)

    def decided(self, wish: Wish = Wish()) -> tuple[Any, decide.There]:  # noqa: B008
        mine = self.settings
        here = restore.look(mine.storage, "ns", mine.claims, mine.config_folder, 0, self.journal)
        return restore.decided(here, self.at(self.new, epoch=0), wish, "n", sleep=lambda _: None)

    def restorer(self, wish: Wish = Wish(), parts: Sequence[str] = (), **more: Any) -> restore.Restorer:  # noqa: ANN401, B008
        found, there = self.decided(wish)
        points = decide.choose(there, wish)
        assert points is not None, found
        return restore.Restorer(self.settings, self.at(self.new, epoch=0), there, points,
                                parts or ["data", "db", "config"], wish, journal=self.journal, **more)

    def look(self) -> Here:
        mine = self.settings
        return restore.look(mine.storage, "ns", mine.claims, mine.config_folder, 0, self.journal)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return backup_inputs.restic(tmp_path_factory.mktemp("program"))


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    made = World(tmp_path, request.getfixturevalue("program") if "real" in request.keywords else "")
    made.save_files()
    made.save_base()
    made.save_wal([2, 3, 4])
    return made


def volume(world: World, claim: str) -> Path:
    found = [one for one in world.new.iterdir() if one.name.endswith(f"_ns_{claim}")]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.real
def test_everything_comes_back(world: World) -> None:
    found, _ = world.decided()
    assert isinstance(found, Restore) and found.parts == ("config", "data", "db")
    one = world.restorer()
    one.refuse()
    one.fetch()
    assert not [path for path in world.new.iterdir() if path.name.startswith("pvc-")]
    assert sorted(one.place()) == ["config", "data", "db"]
    data, base = volume(world, "data"), volume(world, "db")
    assert (data / "sub/a").read_text() == "first\n" and oct(data.stat().st_mode)[-4:] == "2770"
    assert (data / "sparse").stat().st_blocks < 128
    assert (world.new / "config/settings.yml").read_text() == "x: 1\n"
    assert sorted(path.name for path in (base / "wal").iterdir()) == [name(2), name(3), name(4), "names"]
    conf = (base / "pgdata/postgresql.auto.conf").read_text()
    assert "synchronous_standby_names" not in conf and "work_mem = '8MB'" in conf
    assert "hot_standby = 'off'" in conf and "recovery_target_time =" not in conf
    assert (base / "pgdata/recovery.signal").exists() and not (world.new / ".restoring").exists()
    assert one.told["end"] == name(4) and one.told["lsn"] == wal.text_of(4 * wal.SEGMENT + 10 * wal.PAGE)
    again, _ = world.decided()
    assert not isinstance(again, Restore)


@pytest.mark.real
def test_holes_come_back_as_they_were(world: World) -> None:
    """restic alone brings them back smaller, by some hundred kilobytes for each piece of data."""
    path, full = world.data / "holes", world.data / "zeros"
    with path.open("wb") as file:
        for place in range(0, 64 << 20, 8 << 20):
            file.seek(place)
            file.write(random.Random(place).randbytes(100_000))
        file.truncate(64 << 20)
    full.write_bytes(bytes(20_000) + b"x" * 20_000)
    os.chown(path, 1000, 1000)
    path.chmod(0o4750)
    for one in (path, full):
        os.utime(one, ns=(10**18 + 1, 10**18 + 7))
    os.sync()
    before = path.lstat()
    world.save_files()
    restorer = world.restorer()
    restorer.fetch()
    restorer.place()
    after = (volume(world, "data") / "holes").lstat()
    # A file system may take a block more for where the pieces are.
    assert abs(after.st_blocks - before.st_blocks) <= 16
    assert (after.st_mtime_ns, after.st_mode, after.st_uid, after.st_size) == (
        before.st_mtime_ns, before.st_mode, before.st_uid, before.st_size)
    assert (volume(world, "data") / "holes").read_bytes() == path.read_bytes()
    assert (volume(world, "data") / "zeros").read_bytes() == full.read_bytes()


def test_a_time_that_the_log_does_not_reach_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL would not start: it gives up when it does not come to the time."""
    with pytest.raises(restore.Refused, match="the WAL holds no transaction") as caught:
        world.restorer(Wish(to=4e9)).fetch()
    assert "nothing was overwritten" in caught.value.what and not list(world.new.glob("pvc-*"))
    monkeypatch.setattr(wal, "last_end", lambda *_: 4e9)
    with pytest.raises(restore.Refused, match="ends with the transaction of 2096-10-02 07:06:40 UTC") as caught:
        world.restorer(Wish(to=4e9)).fetch()
    assert "leave backup_restore_to out" in caught.value.remedy
    # Said: log that was not kept any longer is no reason to have nothing.
    assert caught.value.remedy.endswith("-e backup_restore_without=missing-wal")
    one = world.restorer(Wish(to=4e9, without=("missing-wal",)))
    one.fetch()
    assert "recovery_target_time =" not in (Path(one.scratch) / "db/pgdata/postgresql.auto.conf").read_text()


def test_a_time_after_which_nothing_was_committed_is_all_there_is(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was shipped after that time, or a record says how far it reached by then."""
    monkeypatch.setattr(wal, "last_end", lambda *_: 5.0)
    shipped = next(one for one in world.repository.snapshots("wal")[0])
    one = world.restorer(Wish(to=shipped.time - 0.5))
    one.fetch()
    conf = Path(one.scratch) / "db/pgdata/postgresql.auto.conf"
    assert "recovery_target_time =" not in conf.read_text() and one.told["last"] == 5.0


def test_a_time_is_said_to_the_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "last_end", lambda *_: 5e9)
    one = world.restorer(Wish(to=4e9 + 0.25))
    one.fetch()
    assert "recovery_target_time = '2096-10-02 07:06:40.250000+00'" in (
        Path(one.scratch) / "db/pgdata/postgresql.auto.conf").read_text()


def test_segments_come_from_several_snapshots(world: World) -> None:
    """What was shipped may be gone from the node's folder, and a part has become a whole one."""
    for path in world.out.iterdir():
        path.unlink()
    world.save_wal([4, 5])
    one = world.restorer()
    one.fetch()
    assert sorted(path.name for path in Path(one.scratch, "db/wal").iterdir()) == [*map(name, (2, 3, 4, 5)), "names"]


def test_a_gap_is_refused_before_anything_is_placed(world: World) -> None:
    for path in world.out.iterdir():
        path.unlink()
    world.save_wal([6, 7])
    with pytest.raises(Incomplete, match=r"gap: of 6 segments .* 1 are missing, 000000010000000000000005") as caught:
        world.restorer().fetch()
    assert "nothing was overwritten" in caught.value.what and not list(world.new.glob("pvc-*"))
    assert "-e backup_restore_without=missing-wal." in caught.value.remedy
    one = world.restorer(Wish(without=("missing-wal",)))
    one.fetch()
    assert one.told["end"] == name(4)


def test_wal_that_ends_before_what_is_known_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    position = world.folder / "position.json"
    monkeypatch.setattr(restore, "POSITION_FILE", str(position))
    position.write_text(json.dumps({"lsn": wal.text_of(4 * wal.SEGMENT + 11 * wal.PAGE), "timeline": 1}))
    world.repository.backup([str(world.out), str(position)], "wal")
    with pytest.raises(Incomplete, match="had been saved: what lies between is missing"):
        world.restorer().fetch()


def test_wal_of_another_database_is_refused(world: World) -> None:
    backup_wal.segment(world.out / name(3), name(3), system=5)
    world.repository.backup([str(world.out)], "wal")
    with pytest.raises(Damaged, match="of another database"):
        world.restorer().fetch()


def test_a_segment_that_was_left_early_is_whole(world: World) -> None:
    """After a backup's end the rest of a segment is empty, and the next one's first record says on what it follows."""
    end = 3 * wal.SEGMENT + 7 * wal.PAGE
    backup_wal.segment(world.out / name(3), name(3), pages=7)
    backup_wal.segment(world.out / (name(4) + ".partial"), name(4), 10, before=end - 200)
    world.repository.backup([str(world.out)], "wal")
    world.restorer().fetch()
    backup_wal.segment(world.out / (name(4) + ".partial"), name(4), 10, before=end + 3 * wal.PAGE)
    world.repository.backup([str(world.out)], "wal")
    with pytest.raises(Incomplete, match="ends in its middle"):
        world.restorer().fetch()


@pytest.mark.parametrize("content", [b"", backup_wal.base(FIRST)[:3000], b"x" * 20000])
def test_what_is_no_base_backup_is_refused_and_the_one_before_offered(world: World, content: bytes) -> None:
    before = world.good["base"]["id"]
    bad = world.save_base(content or backup_wal.base(FIRST).replace(b"backup_label", b"backup_libel"))
    with pytest.raises(BackupProblem) as caught:
        world.restorer().fetch()
    assert f"backup_restore_without={bad[:8]}" in caught.value.remedy
    assert "nothing was overwritten" in caught.value.what and not list(world.new.glob("pvc-*"))
    one = world.restorer(Wish(without=(bad[:8],)))
    assert one.points.base.id == before
    one.fetch()
    assert len(one.place()) == 3


@pytest.mark.real
def test_a_damaged_pack_is_refused(world: World) -> None:
    """A bit flipped in the repository."""
    shutil.rmtree(world.folder / "cache")
    (world.data / "sub/b").write_bytes(os.urandom(100_000))
    packs = set((world.folder / "repository/data").rglob("*"))
    bad = world.save_files()
    for pack in [path for path in set((world.folder / "repository/data").rglob("*")) - packs if path.is_file()]:
        if pack.stat().st_size > 90_000:
            content = bytearray(pack.read_bytes())
            content[5000] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(content)
    with pytest.raises(BackupProblem) as caught:
        world.restorer().fetch()
    assert "nothing was overwritten" in caught.value.what, caught.value.what
    assert f"backup_restore_without={bad[:8]}" in caught.value.remedy
    assert not list(world.new.glob("pvc-*"))
    world.restorer(Wish(without=(bad[:8],))).fetch()


def test_an_interrupted_fetch_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world.restorer()
    monkeypatch.setattr(one, "_fetch_base", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with contextlib.suppress(KeyboardInterrupt):
        one.fetch()
    assert isinstance(world.decided()[0], Restore) and set(world.look().parts.values()) == {"absent"}
    two = world.restorer()
    monkeypatch.setattr(two.repository, "restore", None)  # the files are there already
    monkeypatch.setattr(two, "_fetch_wal", lambda: None)
    two.fetch()
    assert Path(two.scratch, "files.done").exists() and Path(two.scratch, "db/pgdata").is_dir()


@pytest.mark.parametrize("moves", [1, 2])
def test_an_interrupted_placing_goes_on_with_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, moves: int,
) -> None:
    one = world.restorer()
    one.fetch()
    real = restore._rename
    calls: list[str] = []

    def rename(source: str, target: str) -> None:
        if len(calls) == moves:
            raise KeyboardInterrupt
        calls.append(target)
        real(source, target)

    monkeypatch.setattr(restore, "_rename", rename)
    with pytest.raises(KeyboardInterrupt):
        one.place()
    monkeypatch.setattr(restore, "_rename", real)
    world.save_files()  # what has come about since is of no interest
    found, _ = world.decided()
    assert isinstance(found, Restore) and found.goes_on
    assert sorted(restore.finish_placing(world.journal)) == ["config", "data", "db"]
    assert (volume(world, "db") / "pgdata/recovery.signal").exists() and (volume(world, "data") / "sub/a").exists()
    assert (world.new / "config/settings.yml").exists()


def test_what_another_attempt_has_not_fetched_is_fetched(world: World) -> None:
    """The same backup, more parts: what is not there is not taken for put in place."""
    one = world.restorer(parts=["data"], aside=True)
    one.fetch()
    more = world.restorer(parts=["data", "config"], aside=True)
    assert not more._files_there()
    with pytest.raises(Incomplete, match="config was not fetched; nothing was put in its place"):
        more.place()
    assert not list(world.new.glob("pvc-*")) and not (world.new / "config").exists()
    more.fetch()
    assert sorted(more.place()) == ["config", "data"]
    assert (world.new / "config/settings.yml").exists() and (volume(world, "data") / "sub/a").exists()


def test_a_placing_that_was_interrupted_is_made_whole_by_the_same_words(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = restore._rename
    moved: list[str] = []

    def once(source: str, target: str) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        real(source, target)

    monkeypatch.setattr(restore, "_rename", once)
    one = world.restorer(parts=["data", "config"], aside=True)
    one.fetch()
    with pytest.raises(KeyboardInterrupt):
        one.place()
    monkeypatch.setattr(restore, "_rename", real)
    for _ in range(2):
        # And once more, cut off before it placed anything.
        repository = world.at(world.new, epoch=0)
        there = restore.gather(repository, Wish())
        points = decide.choose(there, Wish())
        assert points
        one = restore.Restorer(world.settings, repository, there, points, ["data", "config"], Wish(), aside=True,
                               journal=world.journal)
        one.fetch()
    assert sorted(one.place()) == ["config", "data"]
    assert (world.new / "config/settings.yml").exists() and (volume(world, "data") / "sub/a").exists()


def test_a_base_backup_is_found_behind_many_records(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a new epoch they name none until there is one."""
    monkeypatch.setattr(restore, "RECORDS", 2)
    world.good = {"files": world.good["files"]}
    for _ in range(4):
        world.record()
    found, there = world.decided()
    assert isinstance(found, Restore) and len(there.records) == 5


def test_a_clock_that_was_ahead_does_not_say_the_timeline(world: World) -> None:
    """Of the node before, whose records are of later than those of the one that took over."""
    one = world.restorer()

    def record(epoch: int, at: float, timeline: int) -> dict[str, Any]:
        return {"epoch": epoch, "at": at, "position": {"timeline": timeline, "lsn": "0/1"}}

    one.there = dataclasses.replace(one.there, records=[
        record(1, 100, 1), record(1, 3600, 1), record(2, 200, 2), record(2, 400, 3)])
    one.wish = Wish(to=300)
    assert one._timeline() == 3
    one.wish = Wish(to=150)
    assert one._timeline() == 2
    one.wish = Wish(to=5000)
    assert one._timeline() == 3
    # What has been shipped is of before a restore, and the base backup of after it.
    one.there = dataclasses.replace(one.there, records=[
        *one.there.records, {"good": {"base": {"id": one.points.base.id, "timeline": 4}}}])
    assert one._timeline() == 4


def test_the_record_after_a_time_is_of_who_wrote_then(world: World) -> None:
    world.record(mine=1)
    world.kept[-1] = dataclasses.replace(world.kept[-1], time=2e9 + 9000)
    world.record(mine=2)
    world.kept[-1] = dataclasses.replace(world.kept[-1], time=2e9 + 100, epoch=2)
    world.record(mine=3)
    world.kept[-1] = dataclasses.replace(world.kept[-1], time=2e9 + 300, epoch=2)
    world.kept.sort(key=lambda one: one.order)
    there = restore.gather(world.at(world.new, epoch=0), Wish(to=2e9 + 200))
    assert [one.get("mine") for one in there.records][-2:] == [2, 3] and not any(
        one.get("mine") == 1 for one in there.records)


def test_of_a_generation_with_a_history_alone_no_segments_are_fetched(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(_: Settings, slot: str, first: str, folder: str) -> list[str]:
        asked.append(f"{slot} {first}")
        (Path(folder) / "00000002.history").touch()
        return ["00000002.history"]

    monkeypatch.setattr(host, "fetch", fetch)
    (tmp_path / "wal").mkdir()
    piece = wal.Piece("00000002.history", 40, False, "one", "00000002.history")
    wal.Stream(backup_inputs.settings(tmp_path)).fetch([piece], str(tmp_path / "wal"), str(tmp_path / "half"))
    assert asked == [f"one {'F' * 24}"] and (tmp_path / "wal/00000002.history").exists()


def test_data_is_never_overwritten(world: World) -> None:
    mine = world.new / "pvc-9_ns_data"
    mine.mkdir()
    (mine / "precious").write_text("x")
    with pytest.raises(restore.Refused, match="never overwritten"):
        world.restorer().refuse()
    one = world.restorer(parts=["db"])
    one.fetch()
    late = Path(one.target("db"))
    (late / "pgdata").mkdir(parents=True)
    (late / "pgdata/PG_VERSION").write_text("15")
    with pytest.raises(restore.Refused, match="come into use"):
        one.place()
    assert (mine / "precious").exists() and (late / "pgdata/PG_VERSION").exists()


def test_a_part_is_restored_and_what_was_there_kept_aside(world: World) -> None:
    mine = world.new / "pvc-9_ns_data"
    mine.mkdir()
    (mine / "precious").write_text("x")
    one = world.restorer(parts=["data"], aside=True)
    one.refuse()
    one.fetch()
    one.place()
    assert (mine / "sub/a").exists() and not (mine / "precious").exists()
    aside = Path(restore.kept_aside(world.journal)["data"])
    assert (aside / "precious").read_text() == "x"
    assert restore.folders_of(str(world.new), "ns", "data") == [str(mine)]
    assert restore.complete(world.settings, journal=world.journal) == {}


def test_a_disk_without_room_is_refused_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world.restorer()
    monkeypatch.setattr(one, "_free", lambda: 1 << 20)
    with pytest.raises(Full, match=r"has 1 MiB free, and the restore needs \d+ MiB; nothing was written"):
        one.refuse()
    assert not (world.new / ".restoring").exists()


def test_the_repository_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    away = world.folder / "repository"
    away.rename(world.folder / "away")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        (world.folder / "away").rename(away)

    repository = world.at(world.new, epoch=0)
    real = decide.decide

    def unreachable(*given: Any) -> Any:  # noqa: ANN401
        found = real(*given)
        assert slept or (isinstance(found, Refuse) and found.waits)
        return found

    monkeypatch.setattr(restore, "decide", unreachable)
    found, _ = restore.decided(world.look(), repository, Wish(), "n", wait=60, sleep=sleep)
    assert isinstance(found, Restore) and slept == [5.0]


class Recovered:
    """A database that has recovered."""

    def __init__(self, timeline: int) -> None:
        self.timeline, self.asked = timeline, list[str]()

    def psql(self, sql: str) -> list[list[str]]:
        self.asked.append(sql)
        if len(self.asked) == 1:
            raise DatabaseDown("it starts")
        return [["f", segment_name(self.timeline, "0/4000000"), "1795321573.9"]] if "in_recovery" in sql else []

    def reload(self) -> None:
        self.asked.append("reload")


@pytest.mark.parametrize(("reached", "good"), [
    (wal.text_of(4 * wal.SEGMENT + 10 * wal.PAGE - 500), True), ("0/3000060", False)])
def test_after_the_recovery(world: World, reached: str, good: bool) -> None:
    one = world.restorer()
    one.fetch()
    one.place()
    top = volume(world, "db")
    (top / "pgdata/pg_wal/00000002.history").write_text(f"1\t{reached}\tno recovery target specified\n")
    database: Any = Recovered(2)
    if not good:
        with pytest.raises(Incomplete, match="recovered to 0/3000060"):
            restore.complete(world.settings, database, world.journal, wait=5, sleep=lambda _: None)
        return
    told = restore.complete(world.settings, database, world.journal, wait=5, sleep=lambda _: None)
    assert told == {"timeline": 2, "lsn": reached, "committed": 1795321573.9} and not (top / "wal").exists()
    assert "ALTER SYSTEM RESET hot_standby" in database.asked and database.asked[-1] == "reload"
    assert restore.complete(world.settings, database, world.journal) == {}
    assert restore.told_of(world.journal)[-1] == f"db: up to the commit of 2026-11-22 04:26:13 UTC (WAL {reached})"


def test_timelines() -> None:
    """A restore's new timeline is followed, and one that was left before the backup is not."""
    names = {name(2), name(3), name(4, 2), name(5, 2), name(9)}
    history = {2: f"1\t{wal.text_of(4 * wal.SEGMENT + 5)}\tx\n"}
    assert wal.chain(name(2), names, history) == [name(2), name(3), name(4, 2), name(5, 2)]
    assert wal.chain(name(5), {name(5), name(4, 2)}, history) == [name(5)]
    with pytest.raises(Incomplete, match=name(4, 2)):
        wal.chain(name(2), names - {name(4, 2)}, history)


def test_a_command_that_cannot_copy_is_no_end_of_the_wal(tmp_path: Path) -> None:
    """PostgreSQL takes the exit status 1 for the end of all WAL, and 126 for a failure."""
    data, folder = tmp_path / "pgdata", tmp_path / "wal"
    data.mkdir()
    folder.mkdir()
    (data / "postgresql.auto.conf").write_text("")
    (folder / "names").write_text(f"{name(2)}\n{name(3)}\n")
    (folder / name(2)).write_text("content")
    restore.prepare(str(data), str(folder), str(tmp_path), None, owner=(os.getuid(), os.getgid()))
    line = next(line for line in (data / "postgresql.auto.conf").read_text().splitlines() if "restore_command" in line)
    command = line.partition(" = ")[2][1:-1].replace("''", "'")

    def status(segment: str, target: str) -> int:
        return os.waitstatus_to_exitcode(os.system(command.replace("%f", segment).replace("%p", target)))  # noqa: S605

    assert status(name(2), str(tmp_path / "got")) == 0 and (tmp_path / "got").read_text() == "content"
    assert status(name(2), str(tmp_path / "nowhere/got")) == 126
    assert status(name(3), str(tmp_path / "got")) == 126
    assert status(name(4), str(tmp_path / "got")) == 1
    assert status("00000002.history", str(tmp_path / "got")) == 1
