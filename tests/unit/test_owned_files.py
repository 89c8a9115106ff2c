from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modules import four_times, run


def test_each_kind_of_thing_is_made_once(tmp_path: Path) -> None:
    folder, file, link, secret = (str(tmp_path / name) for name in ("folder", "folder/file", "folder/link", "secret"))
    results = four_times("owned_files", files=[
        {"path": folder, "state": "directory", "mode": "0750"},
        {"path": file, "content": "one\n", "mode": "0640", "owner": "1000", "group": "1000"},
        {"path": link, "state": "link", "target": "file"},
        {"path": secret, "secret_content": "hidden-value\n", "mode": "0600"},
    ])
    assert results[1]["changes"] == [f"{name}: created" for name in (folder, file, link, secret)]
    assert "hidden-value" not in json.dumps(results)
    assert results[0]["diff"][0]["after"] == "one\n"
    assert Path(secret).read_text() == "hidden-value\n"
    found = Path(file).stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o640, 1000, 1000)
    assert str(Path(link).readlink()) == "file"


@pytest.mark.parametrize(("edit", "line"), [
    (lambda path: path.write_text("two\n"), "content"),
    (lambda path: path.chmod(0o666), "mode 0666 to 0644"),
    (lambda path: os.chown(path, 1, 2), "owner 1:2 to 0:0"),
    (lambda path: path.unlink(), "created"),
    (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "link replaced by a file"),
])
def test_a_hand_edit_is_told_and_mended(tmp_path: Path, edit: object, line: str) -> None:
    path = tmp_path / "file"
    declared = [{"path": str(path), "content": "one\n"}]
    run("owned_files", files=declared)
    edit(path)  # type: ignore[operator]
    results = four_times("owned_files", files=declared)
    assert results[1]["changes"] == [f"{path}: {line}"]
    assert path.read_text() == "one\n" and not path.is_symlink()
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_what_is_only_given_once_belongs_to_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    declared = [{"path": str(path), "initial": "", "mode": "0600"}]
    four_times("owned_files", files=declared)
    path.write_text("theirs")
    path.chmod(0o644)
    assert run("owned_files", files=declared)["changes"] == []


def test_absent(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    results = four_times("owned_files", files=[{"path": str(path), "state": "absent"}])
    assert results[1]["changes"] == [f"{path}: removed"]


def test_what_cannot_be_done_is_said_before_anything_changes(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "data").write_text("kept")
    cases = {
        "is a directory and should be a file": {"path": str(tmp_path / "full"), "content": ""},
        "is a folder with files in it": {"path": str(tmp_path / "full"), "state": "absent"},
        "is not an absolute path": {"path": "relative", "content": ""},
        "is not octal": {"path": str(tmp_path / "x"), "content": "", "mode": "rw"},
        "there is no user nobody-there": {"path": str(tmp_path / "x"), "content": "", "owner": "nobody-there"},
        "no content is declared": {"path": str(tmp_path / "x")},
        "a link needs a target": {"path": str(tmp_path / "x"), "state": "link"},
    }
    for words, declared in cases.items():
        result = run("owned_files", files=[{"path": str(tmp_path / "first"), "content": "first"}, declared])
        assert words in result["msg"], result
        assert result["remedy"]
    assert [found.name for found in tmp_path.iterdir()] == ["full"]


def test_folders_on_the_way_are_told_once(tmp_path: Path) -> None:
    results = four_times("owned_files", files=[
        {"path": str(tmp_path / "a" / "b" / "one"), "content": ""},
        {"path": str(tmp_path / "a" / "b" / "two"), "content": ""}])
    assert results[0]["changes"] == [f"{tmp_path}/{name}: created" for name in ("a", "a/b", "a/b/one", "a/b/two")]
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755
