"""Retention on the backup host, on a real repository."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import backup_inputs
import pytest

from backup import prune


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


def add(program: str, folder: Path, kind: str, epoch: int, time: str) -> None:
    subprocess.run([program, "-r", str(folder / "repository"), "--password-file", str(folder / "password"), "--quiet",
                    "--no-cache", "backup", "--host", "tests/ns", "--time", time, "--stdin", "--stdin-filename",
                    f"{kind}.json", "--tag", f"observer-node,kind={kind},epoch={epoch},writer=w{epoch}"],
                   input=time.encode(), check=True, capture_output=True)


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
