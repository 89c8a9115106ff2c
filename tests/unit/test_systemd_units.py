from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from modules import load

units = load("systemd_units")
ABSENT = {"LoadState": "not-found", "ActiveState": "inactive"}
RUNNING = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"}


def lines(found: dict[str, str], **wanted: Any) -> list[str]:  # noqa: ANN401
    unit = {"name": "x.service", "enabled": None, "state": None, "masked": None, "restart_after": [], "restart": False,
            "wait": True, "optional": False, **wanted}
    return [line.removeprefix("x.service: ") for line, _ in units.plan(unit, found)]


@pytest.mark.parametrize(("found", "wanted", "expected"), [
    (RUNNING, {"enabled": True, "state": "started"}, []),
    (ABSENT, {"enabled": True, "state": "started"}, ["enabled", "started"]),
    (ABSENT, {"enabled": True, "state": "started", "optional": True}, []),
    ({**RUNNING, "UnitFileState": "disabled"}, {"enabled": True, "state": "started"}, ["enabled"]),
    ({**RUNNING, "ActiveState": "failed"}, {"enabled": True, "state": "started"}, ["started"]),
    ({**RUNNING, "ActiveState": "activating"}, {"state": "started"}, []),
    (RUNNING, {"enabled": False, "state": "stopped"}, ["disabled", "stopped"]),
    ({**RUNNING, "UnitFileState": "static"}, {"enabled": False, "state": "stopped"}, ["stopped"]),
    ({"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}, {"masked": False}, ["unmasked"]),
    (RUNNING, {"masked": True, "state": "stopped"}, ["masked", "stopped"]),
    (RUNNING, {"state": "started", "restart": True}, ["restarted"]),
    (RUNNING, {}, []),
])
def test_only_what_differs(found: dict[str, str], wanted: dict[str, Any], expected: list[str]) -> None:
    assert lines(found, **wanted) == expected


def test_restarted_when_a_file_was_written_after_its_start(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("")
    wanted = {"state": "started", "restart_after": [str(file), str(tmp_path / "none")]}
    started = {**RUNNING, "ExecMainStartTimestampMonotonic": str(int(time.monotonic() * 1e6))}
    an_hour = time.time() - 3600
    os.utime(file, (an_hour, an_hour))
    assert lines(started, **wanted) == []
    file.write_text("new")
    os.utime(file, (time.time() + 1, time.time() + 1))
    assert lines(started, **wanted) == ["restarted"]
