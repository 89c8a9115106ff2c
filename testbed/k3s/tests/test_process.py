import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from k3s import log, process

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def supervisor() -> process.Supervisor:
    return process.Supervisor({**os.environ, "NOTIFY_SOCKET": "/never"})


def test_a_dead_component_is_named(supervisor: process.Supervisor) -> None:
    supervisor.start(["sleep", "60"])
    supervisor.start(["false"])
    started = time.monotonic()
    with pytest.raises(process.ComponentDied, match=r"^false exited with code 1$"):
        supervisor.run()
    assert time.monotonic() - started < 3
    supervisor.stop()
    assert supervisor.processes["sleep"].poll() is not None


def test_a_killed_component_ends_a_wait_at_once(supervisor: process.Supervisor) -> None:
    supervisor.start(["sleep", "60"])
    supervisor.processes["sleep"].kill()
    with pytest.raises(process.ComponentDied, match=r"^sleep was killed by signal 9$"):
        supervisor.wait(lambda: False, "nothing", interval=30)


def test_wait_reports_and_ends(supervisor: process.Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    count = iter(range(10))
    supervisor.wait(lambda: next(count) > 3, "the moon", interval=0.01, every=0.02)
    assert "Waiting for the moon (0 s)" in capsys.readouterr().err


def test_lines_carry_the_name_and_children_have_no_notify_socket(
    supervisor: process.Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor.start(["sh", "-c", 'echo "one $NOTIFY_SOCKET"; echo two >&2; exit 3'])
    with pytest.raises(process.ComponentDied):
        supervisor.run()
    time.sleep(0.2)
    shown = capfd.readouterr().err
    assert "sh: one \n" in shown
    assert "sh: two\n" in shown


def test_log_file_of_a_component(supervisor: process.Supervisor, tmp_path: Path) -> None:
    path = tmp_path / "c" / "c.log"
    supervisor.start(["sh", "-c", "echo hello"], log_file=str(path))
    with pytest.raises(process.ComponentDied):
        supervisor.run()
    assert path.read_text() == "hello\n"
    path.write_bytes(b"x" * 10)
    process.rotate(str(path), limit=5)
    assert (tmp_path / "c" / "c.log.1").exists()


def test_stop_kills_what_does_not_end(supervisor: process.Supervisor) -> None:
    supervisor.start(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    time.sleep(0.2)
    started = time.monotonic()
    supervisor.stop(grace=0.3)
    assert time.monotonic() - started < 2
    assert supervisor.processes["sh"].poll() == -9


def test_stop_signal(supervisor: process.Supervisor) -> None:
    supervisor.start(["sleep", "60"])
    supervisor.stopping.set()
    with pytest.raises(process.Stopped):
        supervisor.run()
    supervisor.stop()


def test_components_die_with_a_killed_launcher() -> None:
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); from k3s import process\n"
        "s = process.Supervisor(); s.start(['sleep', '60'])\n"
        "print(s.processes['sleep'].pid, flush=True); time.sleep(60)"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert launcher.stdout is not None
    child = int(launcher.stdout.readline())
    time.sleep(0.2)  # setpriv has to set the signal before it becomes the component
    launcher.kill()
    launcher.wait()
    for _ in range(50):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    os.kill(child, 9)
    pytest.fail("the component outlived its launcher")


def test_notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        process.notify("READY=1\n")
        assert systemd.recv(100) == b"READY=1\n"
    process.notify("READY=1\n")  # a socket that is gone is no reason to fail
    monkeypatch.delenv("NOTIFY_SOCKET")
    process.notify("READY=1\n")


def test_log_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "k3s.log"
    try:
        log.configure(debug=True, file=str(path))
        log.debug('say "hi"')
        log.configure(debug=False, file=str(path), also_stderr=True)
        log.debug("never")
        log.error("both")
    finally:
        log.configure(debug=False)
        log._state.update(fd=None, also_stderr=False)
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith('level=debug msg="say \\"hi\\""')
    assert capsys.readouterr().err.endswith('level=error msg="both"\n')
