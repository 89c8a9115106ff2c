from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from modules import load, run

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
    ({**RUNNING, "ActiveState": "activating"}, {"state": "started", "timeout": 300}, ["start"]),
    ({**RUNNING, "ActiveState": "activating"}, {"state": "started", "timeout": 300, "wait": False}, []),
    ({**RUNNING, "ActiveState": "activating"}, {"state": "started", "timeout": 300, "restart": True}, ["restarted"]),
    (RUNNING, {"enabled": False, "state": "stopped"}, ["disabled", "stopped"]),
    ({**RUNNING, "UnitFileState": "static"}, {"enabled": False, "state": "stopped"}, ["stopped"]),
    ({"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}, {"masked": False}, ["unmasked"]),
    (RUNNING, {"masked": True, "state": "stopped"}, ["masked", "stopped"]),
    (RUNNING, {"state": "started", "restart": True}, ["restarted"]),
    (RUNNING, {}, []),
])
def test_only_what_differs(found: dict[str, str], wanted: dict[str, Any], expected: list[str]) -> None:
    assert lines(found, **wanted) == expected


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> {log}
case "$1" in
    show) printf 'Id=a.service\\nUnitFileState=enabled\\n\\nId=b.service\\nUnitFileState=generated\\n' ;;
    is-enabled) echo "$3 is not a native service, redirecting to systemd-sysv-install." >&2; echo {answer}; {end} ;;
esac
"""


@pytest.mark.parametrize(("answer", "end", "off", "on"), [
    ("enabled", "exit 0", ["disabled"], []), ("disabled", "exit 1", [], ["enabled"]),
    ("generated", "exit 0", [], ["enabled"]),
])
def test_a_script_of_init_d_is_enabled_when_it_has_start_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, end: str, off: list[str], on: list[str],
) -> None:
    log = tmp_path / "log"
    (tmp_path / "systemctl").write_text(SYSTEMCTL.format(log=log, answer=answer, end=end))
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = units.show(["a.service", "b.service"])
    assert lines(found["b.service"], enabled=False) == off
    assert lines(found["b.service"], enabled=True) == on
    assert lines(found["a.service"], enabled=True) == []
    # One question about all, and one more only about the script.
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["show", "is-enabled"]
    assert log.read_text().endswith("-- b.service\n")


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


def test_a_start_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With programs in the places of systemctl and journalctl, since a machine that tests need not run systemd."""
    for name, script in {
        "systemctl": '[ "$1" = show ] || exec sleep 60; echo LoadState=loaded; echo ActiveState=inactive',
        "journalctl": "echo Waiting for the datastore",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    started = time.monotonic()
    result = run("systemd_units", units=[{"name": "x.service", "state": "started", "timeout": 1}])
    assert time.monotonic() - started < 10
    assert result["msg"] == ("x.service: started failed: it was not up after 1 s, and is still starting."
                             " The journal ends with: Waiting for the datastore")
    assert "journalctl -u x.service" in result["remedy"]


@pytest.mark.parametrize(("up_after", "changes"), [(0, []), (60, None)])
def test_a_unit_that_is_starting_already_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up_after: int, changes: list[str] | None,
) -> None:
    """As after a run that gave up waiting; it is no change, and if it does not come up it is a failure all the same."""
    for name, script in {
        "systemctl": f'[ "$1" = show ] || exec sleep {up_after}; echo LoadState=loaded; echo ActiveState=activating',
        "journalctl": "echo Waiting for API server",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run("systemd_units", units=[{"name": "x.service", "state": "started", "timeout": 2}])
    if changes is None:
        assert "it was not up after 2 s, and is still starting" in result["msg"] and not result["changed"]
    else:
        assert result["changes"] == changes and not result["changed"]
