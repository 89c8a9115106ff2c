"""The operator sees what runs, n of total and what is left."""

from __future__ import annotations

import io

import pytest

from bed.progress import Progress, duration


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59, "59s"), (75, "1m15s"), (3600, "60m00s")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_each_step_says_where_it_is() -> None:
    out = io.StringIO()
    progress = Progress("build", {"one": 10, "two": 30}, out)
    with progress.step("one"):
        pass
    with progress.step("two"):
        pass
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("[build] 1 of 2: one (about ")
    assert lines[2].startswith("[build] 2 of 2: two (about ")
    assert "one done in 0s" in lines[1]


def test_a_failed_step_is_not_called_done() -> None:
    out = io.StringIO()
    progress = Progress("build", {"one": 1}, out)
    with pytest.raises(RuntimeError), progress.step("one"):
        raise RuntimeError
    assert "done" not in out.getvalue()
