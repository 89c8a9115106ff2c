"""What turns a rehearsal red, where no database is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import backup_inputs
import pytest

from backup import manifest, rehearse
from backup.manifest import Entry
from backup.restic import Snapshot

NOW = 1_700_000_000.0


def tree(top: Path) -> dict[str, Entry]:
    return {one[0].removeprefix(str(top)) or "/": one for one in manifest.entries(str(top), {}, ())}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("a", "sub/b", "sub/c"):
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for path in (tmp_path / "top").rglob("*"):
        os.utime(path, (NOW - 9000, NOW - 9000))
    return tmp_path / "top"


def compared(top: Path, before: dict[str, Entry]) -> tuple[list[str], int]:
    return rehearse.differences(before, tree(top), NOW - 100, NOW + 5)


def put(path: Path, text: str, at: float) -> None:
    """Written at a time, which its folder shows as well when it is new."""
    held, new = path.parent.stat().st_mtime_ns, not path.exists()
    path.write_text(text)
    os.utime(path, (at, at))
    os.utime(path.parent, ns=(int(at * 1e9),) * 2 if new else (held, held))


def test_what_is_equal_is_equal(top: Path) -> None:
    assert compared(top, tree(top)) == ([], 0)


@pytest.mark.parametrize(("edit", "said"), [
    (lambda top: put(top / "a", "b", NOW - 9000), ["/a has another content"]),
    (lambda top: put(top / "a", "longer", NOW - 9000), ["/a has another size and content"]),
    (lambda top: (top / "a").chmod(0o600), ["/a has another mode"]),
    (lambda top: os.utime(top / "a", (NOW - 8000, NOW - 8000)), ["/a has another time"]),
    (lambda top: put(top / "new", "x", NOW - 9000), ["/new was not there"]),
])
def test_what_differs_is_told(top: Path, edit: Any, said: list[str]) -> None:  # noqa: ANN401
    before = tree(top)
    stamp = top.stat()
    edit(top)
    os.utime(top, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert compared(top, before) == (said, 0)


def test_a_missing_file_is_told(top: Path) -> None:
    before = tree(top)
    (top / "sub/b").unlink()
    os.utime(top / "sub", (NOW - 9000, NOW - 9000))
    assert compared(top, before)[0] == ["/sub/b is missing"]


def test_what_was_written_meanwhile_may_be_either_way(top: Path) -> None:
    """An app goes on while its files are saved."""
    before = tree(top)
    put(top / "a", "appended", NOW - 3)
    put(top / "sub/new", "x", NOW - 2)
    (top / "sub/c").unlink()
    os.utime(top / "sub", (NOW - 2, NOW - 2))
    assert compared(top, before) == ([], 4)


def test_tables() -> None:
    held = {"public.a": {"rows": 3, "sum": "12"}, "public.b": {"rows": 0, "sum": "0"},
            "public.c": {"rows": 1, "sum": "5"}}
    assert rehearse.compare_tables(held, held) == []
    found = {"public.a": {"rows": 3, "sum": "13"}, "public.b": {"rows": 1, "sum": "0"},
             "public.d": {"rows": 1, "sum": "5"}}
    assert rehearse.compare_tables(held, found) == [
        "table public.a holds other rows than it did", "table public.b has 1 rows, and had 0",
        "table public.c is missing", "table public.d was not there"]


@pytest.mark.parametrize(("shipped", "left", "reached", "mode", "said"), [
    (NOW - 60, ("0/4000000", 1), ("0/5000000", 1), "archive", ""),
    (NOW - 600, ("0/4000000", 1), ("0/5000000", 1), "archive", "shipped every 60 s"),
    (None, ("0/4000000", 1), ("0/5000000", 1), "archive", "was never shipped"),
    (NOW - 60, ("0/4000000", 1), ("0/3000000", 1), "archive", "had left the node up to 0/4000000"),
    (NOW - 60, ("0/4000000", 1), ("0/3000000", 2), "archive", ""),  # after a restore to a time
    (None, ("0/4000000", 1), ("0/3000000", 1), "stream", "had left the node up to 0/4000000"),
    (None, ("0/4000000", 1), ("0/4000000", 1), "stream", ""),
    (None, None, ("0/4000000", 1), "stream", "nothing was received"),
])
def test_stale_wal(
    tmp_path: Path, shipped: float | None, left: tuple[str, int] | None, reached: tuple[str, int], mode: str, said: str,
) -> None:
    settings = backup_inputs.settings(tmp_path, mode=mode)
    snapshots = [Snapshot("a" * 64, shipped, "wal", 1, "w", "tests/ns", (), ())] if shipped else []
    records = [{"position": left and {"lsn": left[0], "timeline": left[1], "at": NOW - 90}}]
    told = {"lsn": reached[0], "timeline": reached[1]}
    if not said:
        rehearse.fresh(settings, snapshots, records, told, NOW)
        return
    with pytest.raises(rehearse.Mismatch, match=said):
        rehearse.fresh(settings, snapshots, records, told, NOW)


def test_a_record_that_counted_nothing_is_no_proof() -> None:
    with pytest.raises(rehearse.Mismatch, match="nothing can be compared"):
        rehearse.rows_of([{"rows": None}, {"rows": {"exact": False}}])
    assert rehearse.rows_of([{"rows": {"exact": True, "at": 1}}, {"rows": None}])["at"] == 1
