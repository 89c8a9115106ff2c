"""Retention on the backup host, on a real repository."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import backup_inputs
import pytest

from backup import jobs, prune
from backup.restic import moment


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return backup_inputs.restic(tmp_path_factory.mktemp("program"))


@pytest.fixture
def repository(program: str, tmp_path: Path) -> Path:
    """Snapshots of two nodes over four days, and the one that says whose it is."""
    made = backup_inputs.repository(tmp_path, program)
    made.init()
    add(program, tmp_path, "identity", 1, "2020-01-01 00:00:00")
    for day in range(7, 11):
        add(program, tmp_path, "files", 1 if day < 9 else 2, f"2026-01-{day:02} 00:00:00")
    return tmp_path


def add(program: str, folder: Path, kind: str, epoch: int, time: str, zone: str = "UTC") -> None:
    subprocess.run([program, "-r", str(folder / "repository"), "--password-file", str(folder / "password"), "--quiet",
                    "--no-cache", "backup", "--host", "tests/ns", "--time", time, "--stdin", "--stdin-filename",
                    f"{kind}.json", "--tag", f"observer-node,kind={kind},epoch={epoch},writer=w{epoch}"],
                   input=time.encode(), check=True, capture_output=True, env={**os.environ, "TZ": zone})


def run(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        *words: str, password: str = "a password of these tests") -> tuple[int, Any]:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    status = prune.main(["--repository", str(folder / "repository"), *words], program)
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else err


def test_what_is_old_goes_whoever_wrote_it_and_the_identity_stays(
    program: str, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    status, there = run(program, repository, monkeypatch, capsys, "--keep", "within=2d", "--dry-run")
    assert status == 0 and there["kinds"] == {"identity": 1, "files": 4} and there["forgotten"] == 0
    status, there = run(program, repository, monkeypatch, capsys, "--keep", "within=2d")
    assert status == 0 and there["kinds"] == {"identity": 1, "files": 2} and there["forgotten"] == 2
    left, warnings = backup_inputs.repository(repository, program).snapshots()
    assert not warnings and {one.epoch for one in left if one.kind == "files"} == {2}


KEEP = {"within": "1d", "within_hourly": "2d", "within_daily": "1m"}


def test_what_is_overdue_is_what_would_be_forgotten(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """By restic's rules, by the clock of who wrote the snapshot, and no more once it was forgotten."""
    node = backup_inputs.repository(tmp_path, program)
    node.init()
    add(program, tmp_path, "identity", 1, "2020-01-01 00:00:00")
    forgotten = ["2026-01-01 12:00:00", "2026-02-07 04:00:00", "2026-02-09 05:10:00"]
    # Of the first two days there is one each by the node's clock, and both are of one day in UTC.
    kept = ["2026-02-05 23:45:00", "2026-02-06 05:00:00", "2026-02-07 23:45:00", "2026-02-09 05:40:00",
            "2026-02-10 10:20:00", "2026-02-10 10:50:00"]
    for time in [*forgotten, *kept]:
        add(program, tmp_path, "files", 1, time, "Asia/Seoul")
    given = backup_inputs.settings(tmp_path, repository="rclone:", keep=KEEP)
    there = node.snapshots()[0]
    assert {one.zone for one in there if one.kind == "files"} == {9 * 3600}
    # Since the first one came that was later than the first was to be kept.
    assert jobs.overdue(given, there) == moment("2026-02-05T23:45:00+09:00")
    rest = [one for one in there if one.time != moment("2026-01-01T12:00:00+09:00")]
    assert jobs.overdue(given, rest) == moment("2026-02-09T05:10:00+09:00")
    words = [word for name, length in KEEP.items() for word in ("--keep", f"{name}={length}")]
    status, told = run(program, tmp_path, monkeypatch, capsys, *words)
    assert status == 0 and told["forgotten"] == len(forgotten)
    left = node.snapshots()[0]
    assert {one.time for one in left if one.kind == "files"} == {
        moment(f"{time.replace(' ', 'T')}+09:00") for time in kept}
    assert jobs.overdue(given, left) == 0.0
    # Elsewhere than on a backup host nobody here forgets anything, and without rules nothing is old.
    assert jobs.overdue(backup_inputs.settings(tmp_path, repository="s3:x", keep=KEEP), there) is None
    assert jobs.overdue(backup_inputs.settings(tmp_path, repository="rclone:"), there) is None
    assert jobs.overdue(given, []) == 0.0


def test_a_snapshot_of_the_future_pushes_nothing_out(
    program: str, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    add(program, repository, "files", 2, "2099-01-01 00:00:00")
    status, said = run(program, repository, monkeypatch, capsys, "--keep", "within=2d")
    assert status == 1 and "of the future, so nothing is forgotten" in said
    assert len(backup_inputs.repository(repository, program).snapshots()[0]) == 6


def test_a_wrong_password_is_told_without_it(
    program: str, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    status, said = run(program, repository, monkeypatch, capsys, "--keep", "within=2d", password="tellnobody")
    assert status == 1 and "wrong password" in said and "tellnobody" not in said
