"""The artifact store: keyed by content, safe against interruption and parallel use."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from bed.cache import STALE_SECONDS, Cache, digest


def fill(folder: Path) -> None:
    (folder / "made").write_text("whole")


def test_second_use_builds_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.get("part", "k" * 64, fill)
    second = cache.get("part", "k" * 64, lambda _: pytest.fail("built twice"))
    assert first == second and (second / "made").read_text() == "whole"


def test_a_failed_build_leaves_no_artifact_and_the_next_starts_clean(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def breaks(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        cache.get("part", "k" * 64, breaks)
    assert not cache.has("part", "k" * 64)
    made = cache.get("part", "k" * 64, fill)
    assert [path.name for path in made.iterdir()] == ["made"]


def _never_ends(folder: Path) -> None:
    (folder / "half").write_text("half")
    time.sleep(600)


def _get_for_ever(root: Path) -> None:
    Cache(root).get("part", "k" * 64, _never_ends)


def test_a_killed_build_leaves_no_artifact_and_no_lock(tmp_path: Path) -> None:
    worker = multiprocessing.Process(target=_get_for_ever, args=(tmp_path,))
    worker.start()
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob(".part-*.building/half")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.kill()
    worker.join()
    assert not Cache(tmp_path).has("part", "k" * 64)
    made = Cache(tmp_path).get("part", "k" * 64, fill)
    assert [path.name for path in made.iterdir()] == ["made"]


def _slow(folder: Path) -> None:
    with (folder.parent / "builds").open("a") as log:
        log.write("x")
    time.sleep(0.3)
    fill(folder)


def _get(root: Path) -> None:
    Cache(root).get("part", "k" * 64, _slow)


def test_parallel_users_build_once(tmp_path: Path) -> None:
    workers = [multiprocessing.Process(target=_get, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert (tmp_path / "builds").read_text() == "x"


def test_key_follows_content_names_and_modes_but_not_dates(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "a"
    file.write_text("1")
    before = digest(tree)
    os.utime(file, (1, 1))
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "a.pyc").write_text("x")
    assert digest(tree) == before
    file.chmod(0o755)
    with_mode = digest(tree)
    file.rename(tree / "b")
    renamed = digest(tree)
    (tree / "b").write_text("2")
    assert len({before, with_mode, renamed, digest(tree)}) == 4


def test_key_tells_values_apart() -> None:
    assert digest("a", "b") != digest("ab") != digest("a", "b", "")


def test_prune_keeps_current_and_recent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    current, recent, old = (cache.get("part", key * 64, fill) for key in "abc")
    for path in (current, old):
        os.utime(path, (time.time() - STALE_SECONDS - 60,) * 2)
    assert cache.prune([current]) == [old]
    assert current.is_dir() and recent.is_dir() and not old.exists()
