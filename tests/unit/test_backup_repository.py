"""The repository through a real restic: what is saved comes back, and what breaks is told apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import backup_inputs
import pytest

from backup.problems import (
    Absent,
    BackupProblem,
    Damaged,
    Foreign,
    Full,
    HostKeyChanged,
    Incomplete,
    Locked,
    Revoked,
    Unknown,
    Unreachable,
    WrongPassword,
)
from backup.restic import Repository, moment, problem


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return backup_inputs.restic(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def made(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository in it, and a password: copied by each test."""
    folder = tmp_path_factory.mktemp("made")
    repository = backup_inputs.repository(folder, program)
    repository.init()
    repository.backup_text('{"identity": "tests/ns"}', "identity.json", "identity")
    data = folder / "data"
    data.mkdir()
    (data / "one").write_bytes(os.urandom(300_000))
    with (data / "sparse").open("wb") as file:
        file.truncate(5_000_000)
    repository.backup([str(data)], "files")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "repository", tmp_path / "repository")
    shutil.copy(made / "password", tmp_path)
    return tmp_path


def test_what_is_saved_is_listed_and_comes_back(program: str, place: Path) -> None:
    repository = backup_inputs.repository(place, program, epoch=3, writer="bbbb")
    done = repository.backup_text('{"a": 1}\n', "record.json", "record")
    snapshots, warnings = repository.snapshots()
    assert not warnings and [one.kind for one in snapshots] == ["identity", "files", "record"]
    last = snapshots[-1]
    assert (last.id, last.epoch, last.writer, last.host) == (done.snapshot, 3, "bbbb", "tests/ns")
    assert len(last.id) == 64 and abs(last.time - time.time()) < 60
    assert repository.read_json(last.id, "record.json") == {"a": 1}
    assert repository.read_json(snapshots[0].id, "identity.json") == {"identity": "tests/ns"}
    repository.require_identity(snapshots)
    (files,), _ = repository.snapshots("files")
    repository.restore(files.id, str(place / "back"))
    (one,) = (place / "back").rglob("one")
    assert one.stat().st_size == 300_000
    (sparse,) = (place / "back").rglob("sparse")
    assert sparse.stat().st_size == 5_000_000 and sparse.stat().st_blocks * 512 < 1_000_000
    assert {Path(node["path"]).name for node in repository.listing(files.id)} >= {"one", "sparse"}
    repository.check("100%")


def test_a_command_that_fails_saves_nothing(program: str, place: Path) -> None:
    repository = backup_inputs.repository(place, program)
    done = repository.backup_command([sys.executable, "-c", "print('x' * 100000)"], "base.tar", "base")
    with repository.dump(done.snapshot, "base.tar") as stream:
        assert len(stream.read()) == 100001
    with pytest.raises(BackupProblem):
        repository.backup_command([sys.executable, "-c", "print('x' * 100000); exit(3)"], "base.tar", "base")
    assert len(repository.snapshots("base")[0]) == 1


def test_a_dump_that_breaks_is_told_at_its_end(program: str, place: Path) -> None:
    repository = backup_inputs.repository(place, program)
    (files,), _ = repository.snapshots("files")
    path = next(node["path"] for node in repository.listing(files.id) if node["path"].endswith("/one"))
    damage(place / "repository" / "data")
    with pytest.raises(Damaged), repository.dump(files.id, path) as stream:
        shutil.copyfileobj(stream, (place / "out").open("wb"))


def test_what_is_not_there_is_not_left_out_silently(program: str, place: Path) -> None:
    repository = backup_inputs.repository(place, program)
    with pytest.raises(Incomplete, match="/nowhere is to be saved and is not there"):
        repository.backup([str(place / "password"), "/nowhere"], "files")
    assert len(repository.snapshots("files")[0]) == 1


def test_a_file_that_cannot_be_read_makes_the_backup_incomplete(program: str, place: Path) -> None:
    # Root reads everything but this: it opens, and reading it fails.
    target = place / "mem"
    target.touch()
    done = subprocess.run(["mount", "--bind", "/proc/self/mem", str(target)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount here")
    try:
        with pytest.raises(Incomplete, match="could not be read"):
            backup_inputs.repository(place, program).backup([str(target)], "files")
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_nothing_to_save_is_no_backup(program: str, place: Path) -> None:
    with pytest.raises(Incomplete):
        backup_inputs.repository(place, program).backup_text("", "record.json", "record")


def damage(folder: Path) -> None:
    """Flip a byte in the middle of each file."""
    for path in folder.rglob("*") if folder.is_dir() else [folder]:
        if path.is_file():
            path.chmod(0o600)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0x55
            path.write_bytes(content)


def gone(place: Path) -> None:
    shutil.rmtree(place / "repository")


def another_password(place: Path) -> None:
    (place / "password").write_text("another\n")


def config(place: Path) -> None:
    damage(place / "repository/config")


def keys(place: Path) -> None:
    damage(place / "repository/keys")


def index(place: Path) -> None:
    damage(place / "repository/index")


@pytest.mark.parametrize(("breaks", "kind"), [
    (gone, Absent), (another_password, WrongPassword), (config, Damaged), (keys, Damaged)])
def test_what_breaks_a_repository_is_told_apart(
    program: str, place: Path, breaks: Callable[[Path], None], kind: type[BackupProblem],
) -> None:
    breaks(place)
    with pytest.raises(kind) as caught:
        backup_inputs.repository(place, program).snapshots()
    assert caught.value.remedy and "a password of these tests" not in caught.value.what


def test_damaged_indexes_and_packs_are_found(program: str, place: Path) -> None:
    repository = backup_inputs.repository(place, program)
    (files,), _ = repository.snapshots("files")
    damage(place / "repository/data")
    with pytest.raises(Damaged):
        repository.check("100%")
    with pytest.raises(Damaged):
        repository.restore(files.id, str(place / "back"))
    index(place)
    shutil.rmtree(place / "cache")
    for fails in (repository.check, lambda: repository.backup_text("x", "record.json", "record")):
        with pytest.raises(Damaged):
            fails()


def test_a_missing_pack_is_found(program: str, place: Path) -> None:
    for path in (place / "repository/data").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(Damaged):
        backup_inputs.repository(place, program).check()


def test_a_snapshot_that_cannot_be_read_is_warned_of(program: str, place: Path) -> None:
    damage(next((place / "repository/snapshots").iterdir()))
    snapshots, warnings = backup_inputs.repository(place, program).snapshots()
    assert len(snapshots) == 1 and warnings


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """A file system with hardly any room, and the repository on it."""
    folder = place / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False,
                          capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount here")
    shutil.copytree(place / "repository", folder / "repository")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told(program: str, place: Path, small: Path) -> None:
    repository = backup_inputs.repository(place, program, repository=str(small / "repository"))
    data = place / "data"
    data.write_bytes(os.urandom(6_000_000))
    with pytest.raises(Full):
        repository.backup([str(data)], "files")


def test_a_lock_of_another_machine_is_told_and_one_of_a_dead_process_is_taken_away(program: str, place: Path) -> None:
    repository = backup_inputs.repository(place, program)
    slow = subprocess.Popen(
        [program, "-r", str(place / "repository"), "--password-file", str(place / "password"), "--no-cache", "backup",
         "--stdin", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert slow.stdin
    slow.stdin.write(b"x")
    slow.stdin.flush()
    deadline = time.monotonic() + 20
    while not list((place / "repository/locks").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(Locked):
        repository.check()
    slow.kill()
    slow.wait()
    repository.unlock()
    repository.check()


def test_a_repository_of_another_is_refused(program: str, place: Path) -> None:
    other = backup_inputs.repository(place, program, identity="other/ns")
    snapshots, _ = other.snapshots()
    with pytest.raises(Foreign, match="is of tests/ns, and backup_identity is other/ns"):
        other.require_identity(snapshots)
    mine = backup_inputs.repository(place, program)
    mine.require_identity([one for one in snapshots if one.kind != "identity"])
    with pytest.raises(Foreign, match="does not say whose it is"):
        mine.require_identity([])


SAID = [
    ("rclone: ssh: connect to host 10.0.0.9 port 22: No route to host\nFatal: unable to open repository at rclone::"
     " error talking HTTP to rclone: exit status 255", 1, Unreachable),
    ("rclone: ssh: connect to host b port 22: Connection refused", 1, Unreachable),
    ("rclone: Host key verification failed.\nFatal: unable to open repository at rclone:: exit status 255", 1,
     HostKeyChanged),
    ("rclone: obackup@10.0.0.9: Permission denied (publickey).\nFatal: unable to open repository: exit status 255", 1,
     Revoked),
    ("Save(<data/93a6b>) failed: unexpected HTTP response (403): 403 Forbidden\nrclone: 2026/11/22 01:00:00 ERROR :"
     " data/93/93a6b: Post request: file already exists, refusing to overwrite in append-only mode", 1, Full),
    ("Fatal: repository does not exist: unable to open config file", 10, Absent),
    ("Fatal: wrong password or no key found", 12, WrongPassword),
    ("unable to create lock in backend: repository is already locked by PID 7 on x by root", 11, Locked),
    ("LoadRaw(<key/0011>): invalid data returned", 1, Damaged),
    ("Fatal: something new", 1, Unknown),
    ("", 77, Unknown),
]


@pytest.mark.parametrize(("said", "code", "kind"), SAID)
def test_texts_are_told_apart(said: str, code: int, kind: type[BackupProblem]) -> None:
    found = problem(code, said, "the repository on b")
    assert type(found) is kind and found.what and found.remedy


def test_no_secret_is_in_what_is_told(program: str, place: Path) -> None:
    (place / "environment").write_text(json.dumps({"AWS_SECRET_ACCESS_KEY": "tellnobody"}))
    repository = Repository(backup_inputs.settings(
        place, repository="rest:http://user:tellnobody@127.0.0.1:9/x", environment_file=str(place / "environment")),
        program=program, cache=str(place / "cache"), seconds=2)
    with pytest.raises(Unreachable) as caught:
        repository.snapshots()
    assert "tellnobody" not in caught.value.what + caught.value.remedy + repository.settings.repository_name


def test_a_program_that_is_not_there_is_told(place: Path) -> None:
    with pytest.raises(Unknown, match="does not run"):
        Repository(backup_inputs.settings(place), program="/nowhere/restic").snapshots()


def test_times_of_all_zones() -> None:
    assert moment("2026-11-22T01:02:03.5Z") == moment("2026-11-22T10:02:03.500000000+09:00") == 1795309323.5
    with pytest.raises(Unknown):
        moment("yesterday")


def test_a_lock_that_went_meanwhile_is_no_unreadable_snapshot(
    program: str, place: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = backup_inputs.repository(place, program)
    call = repository._call

    def with_a_lock(*words: object, **more: object) -> subprocess.CompletedProcess[bytes]:
        done = call(*words, **more)  # type: ignore[arg-type]
        done.stderr += b"Load(<lock/2f2e4f804a>, 0, 0) returned error, retrying after 1.1s: <lock/2f2e4f804a> does" \
                       b" not exist\n"
        return done

    monkeypatch.setattr(repository, "_call", with_a_lock)
    snapshots, warnings = repository.snapshots()
    assert snapshots and not warnings
