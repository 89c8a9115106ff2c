"""What turns a rehearsal red, where no database is needed."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backup_inputs
import pytest

from backup import jobs, manifest, rehearse, restore
from backup.database import Database
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


DEFINED: dict[str, Any] = {
    "sha256": "a" * 64, "kinds": {kind: {"number": 2, "sha256": "b" * 64} for kind in jobs.DEFINED}}


def other(kind: str, **changed: Any) -> dict[str, Any]:  # noqa: ANN401
    """Definitions of which one kind is another."""
    found = copy.deepcopy(DEFINED)
    found["kinds"][kind].update(changed)
    return found


def test_definitions() -> None:
    assert rehearse.compare_definitions(DEFINED, DEFINED) == []
    assert rehearse.compare_definitions(DEFINED, other("columns", sha256="c" * 64)) == [
        "columns are other ones than they were"]
    assert rehearse.compare_definitions(DEFINED, other("indexes", number=1)) == [
        "there are 1 indexes, and there were 2"]
    # Of before there were any, and of a release that knew fewer kinds.
    few = copy.deepcopy(DEFINED)
    del few["kinds"]["enums"]
    assert rehearse.compare_definitions(None, DEFINED) == rehearse.compare_definitions(few, DEFINED) == []


class Recovered:
    """In the place of the scratch database: one that has recovered, with the definitions of :data:`DEFINED`."""

    def __init__(self, *_: Any) -> None:  # noqa: ANN401
        pass

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def until(self, sql: str, answer: str) -> None:
        pass

    def psql(self, sql: str) -> list[list[str]]:
        if sql == jobs.LIST_TABLES:
            return [["public.a"]]
        if "pg_current_wal_lsn" in sql:
            return [["0/5000000"]]
        if "'defined'" in sql:
            assert sql.startswith(f"{jobs.PLAIN} SET search_path = '';")
            return [["defined", kind, "2", "b" * 64] for kind in jobs.DEFINED]
        return [["public.a", "3", "12"]]


@pytest.mark.parametrize(("recorded", "said"), [
    (DEFINED, ""), (None, ""),
    (other("indexes", number=3), "definitions are not as they were at 0/4000000: there are 2 indexes, and there were"),
    (other("functions", sha256="c" * 64), "0/4000000: functions are other ones than they were"),
])
def test_other_definitions_turn_the_rehearsal_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Any, said: str,  # noqa: ANN401
) -> None:
    monkeypatch.setattr(rehearse, "Scratch", Recovered)
    for name in ("prepare", "aim"):
        monkeypatch.setattr(restore, name, lambda *_words, **_more: 1)
    (tmp_path / "scratch/db/pgdata/global").mkdir(parents=True)
    (tmp_path / "scratch/db/pgdata/global/pg_control").touch()
    settings = backup_inputs.settings(tmp_path)
    restorer: Any = SimpleNamespace(settings=settings, scratch=f"{tmp_path}/scratch", root=str(tmp_path),
                                    told={"lsn": "0/5000000", "timeline": 1})
    rows = {"lsn": "0/4000000", "at": NOW, "exact": True, "tables": {"public.a": {"rows": 3, "sum": "12"}},
            **({"definitions": recorded} if recorded else {})}
    if said:
        with pytest.raises(rehearse.Mismatch, match=said):
            rehearse.compare_database(restorer, rows, Database(settings))
        return
    found = rehearse.compare_database(restorer, rows, Database(settings))
    assert found["tables"] == 1 and found["definitions"] == (2 * len(jobs.DEFINED) if recorded else 0)


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


@pytest.mark.parametrize(("counted", "left", "wanted"), [
    (None, ("0/3", 1), True), (("0/4000000", 1), None, False), (("0/4000000", 1), ("0/4000000", 1), False),
    (("0/4000000", 1), ("0/4000090", 1), True), (("0/A000000", 1), ("0/9000000", 1), False),
    (("0/A000000", 1), ("0/9000000", 2), True),
])
def test_a_rehearsal_waits_for_the_log_up_to_where_the_tables_were_counted(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: tuple[str, int] | None,
        left: tuple[str, int] | None, wanted: bool) -> None:
    ours = backup_inputs.settings(tmp_path, mode="archive")
    record = {"epoch": ours.epoch, "writer": ours.writer, "rows": counted and dict(zip(
        ("lsn", "timeline"), counted, strict=True))}
    monkeypatch.setattr(jobs, "kept", lambda: record)
    (tmp_path / "shipped.json").write_text(json.dumps({**record, "at": NOW, "lsn": left[0], "timeline": left[1]}
                                                      if left else {}))
    monkeypatch.setattr(jobs, "SHIPPED", str(tmp_path / "shipped.json"))
    assert rehearse.counted_has_left(ours) is wanted
    # What another node has counted is not waited for.
    record["epoch"] = ours.epoch + 1
    assert rehearse.counted_has_left(ours)


def test_a_record_that_counted_nothing_is_no_proof() -> None:
    with pytest.raises(rehearse.Mismatch, match="nothing can be compared"):
        rehearse.rows_of([{"rows": None}, {"rows": {"exact": False}}])
    assert rehearse.rows_of([{"rows": {"exact": True, "at": 1}}, {"rows": None}])["at"] == 1
