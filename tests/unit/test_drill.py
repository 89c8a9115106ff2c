"""What the drill calls a difference and a missed goal: a check that cannot fail would prove nothing."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_node"))

from drill import on_node
from drill.drill import differences_of, missed, percentile, stolen, summary, ticks
from drill.protected import Timed, acknowledged

STORE = {"missing": 0, "age_seconds": 0.0, "saved": 10, "saved_and_missing": 0, "duplicated": 0, "damaged": 0,
         "conflicts": 0, "content": "same"}
GOOD: dict[str, Any] = {
    "mode": "archive", "files_goal_seconds": 90.0, "rto": {"seconds": 100.0, "limit": 120.0, "ratio": 1.0},
    "rpo": {"said": "", "postgresql": dict(STORE), "jsonl": dict(STORE),
            "quotes": {"missing": 0, "age_seconds": 0.0}},
    "compared": {"entries_that_differ": [], "tables_that_differ": {}}}


@pytest.mark.parametrize(("where", "value", "said"), [
    (("rto", "seconds"), 121.0, "RTO"),
    (("rpo", "postgresql", "age_seconds"), 71.0, "postgresql"),
    (("rpo", "postgresql", "duplicated"), 1, "twice"),
    (("rpo", "postgresql", "content"), "differs", "postgresql"),
    (("rpo", "jsonl", "age_seconds"), 91.0, "jsonl"),
    (("rpo", "jsonl", "saved_and_missing"), 1, "before the newest backup"),
    (("rpo", "jsonl", "saved"), 0, "nothing was shown"),
    (("rpo", "jsonl", "duplicated"), 1, "twice"),
    (("rpo", "jsonl", "damaged"), 1, "jsonl"),
    (("rpo", "quotes", "age_seconds"), 71.0, "quotes"),
    (("compared", "entries_that_differ"), ["data/x: missing"], "files differ"),
    (("compared", "tables_that_differ"), {"public.t": {}}, "tables differ"),
])
def test_each_goal_can_be_missed(where: tuple[str, ...], value: object, said: str) -> None:
    result = copy.deepcopy(GOOD)
    assert missed(result) == []
    inner = result
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    assert len(missed(result)) == 1 and said in missed(result)[0]


def test_with_synchronous_commit_no_row_may_be_missing() -> None:
    result = copy.deepcopy(GOOD) | {"mode": "stream"}
    result["rpo"]["postgresql"] = STORE | {"missing": 1, "age_seconds": 0.1}
    assert len(missed(result)) == 1


def test_what_could_not_be_compared_is_no_success() -> None:
    result = copy.deepcopy(GOOD)
    del result["rpo"]["postgresql"]
    assert "could not be compared" in missed(result)[0]


def test_each_difference_of_a_file_is_told(tmp_path: Path) -> None:
    file, other = tmp_path / "top" / "file", tmp_path / "top" / "other"
    file.parent.mkdir()
    file.write_bytes(b"x" * 5000)
    other.hardlink_to(file)
    (tmp_path / "top" / "link").symlink_to("file")
    before = on_node.listing([str(tmp_path / "top")])
    assert differences_of(before, on_node.listing([str(tmp_path / "top")])) == []

    other.unlink()
    other.write_bytes(b"x" * 5000)
    file.write_bytes(b"y" + b"x" * 4999)
    file.chmod(0o600)
    (tmp_path / "top" / "link").unlink()
    said = "\n".join(differences_of(before, on_node.listing([str(tmp_path / "top")])))
    for expected in ("top/file: sha256", "top/file: mtime", "top/file: mode", "top/other: same_as", "top/other: links",
                     "top/link: missing"):
        assert expected in said


def test_a_file_that_has_lost_its_holes_is_told() -> None:
    before, after = ({"sparse": {"size": 9 << 20, "allocated": one << 20}} for one in (1, 9))
    assert "takes" in differences_of(before, after)[0]


def test_when_each_record_was_acknowledged(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("\n".join(json.dumps(one) for one in (
        {"event": "sent", "first": 1, "last": 3, "time": 1.0},
        {"event": "acknowledged", "ranges": [[1, 2]], "time": 2.0},
        {"event": "acknowledged", "ranges": [[3, 3]], "time": 3.0})) + '\n{"event": "ackn')
    assert acknowledged(journal) == {1: 2.0, 2: 2.0, 3: 3.0}


def test_how_long_tasks_took() -> None:
    run = Timed(0, 10.0, "", [(1.0, "a : one"), (2.0, "b : two"), (5.0, "a : three")])
    assert (run.at("^b"), run.after("^b"), run.spent("^a")) == (2.0, 5.0, 6.0)


def test_what_others_of_the_host_had_of_the_processors() -> None:
    assert len(ticks()) == 8
    assert stolen([5, 0, 5, 10, 0, 0, 0, 100], [15, 0, 10, 30, 0, 0, 0, 115]) == 0.3
    assert stolen([1] * 8, [1] * 8) == 0


def test_the_summary_counts_what_failed_and_ranks_the_rest() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(one) for one in range(1, 21)], 0.95) == 19.0
    found = summary([GOOD | {"missed": []}, {"missed": ["create: no"]}])
    assert (found["n"], found["good"], found["rto_seconds"]) == (2, 1, {"p50": 100.0, "p95": 100.0})
