"""Running the components: start, logs, death, stop, and the word to systemd.

Every component is a process of its own where K3s runs most of them as threads. To keep K3s' behaviour
a component that dies ends the launcher, and a launcher that dies, even by SIGKILL, takes the
components with it: each is started with a parent death signal. Containers live on, they belong to
their shims. The signal is bound to the *thread* that started the child, so only the main thread may
start components.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import log

GRACE = 3.0  # seconds between TERM and KILL; kube-apiserver would take a minute


class ComponentDied(Exception):
    """A component has ended by itself."""


class Stopped(Exception):
    """The launcher was told to stop."""


class Supervisor:
    """The components of one node."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.env = {
            key: value
            for key, value in (os.environ if env is None else env).items()
            if key != "NOTIFY_SOCKET"
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = threading.Event()
        self.changed = threading.Event()

    def catch_signals(self) -> None:
        """TERM and INT stop the node; the waits notice within a fraction of a second."""

        def stop(number: int, frame: Any) -> None:
            self.stopping.set()
            self.changed.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def start(
        self,
        argv: Sequence[str],
        *,
        program: str = "",
        log_file: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start a component; its lines go to the log with its name, or to a file of its own."""
        assert threading.current_thread() is threading.main_thread()
        name = argv[0]
        path = program or shutil.which(name, path=self.env.get("PATH")) or name
        log.info(f"Running {' '.join([name, *argv[1:]])}")
        prefix = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        output: Any = subprocess.PIPE
        if log_file:
            os.makedirs(os.path.dirname(log_file), exist_ok=True)
            rotate(log_file)
            output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                [*prefix, path, *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.env, **(env or {})},
                start_new_session=True,
            )
        finally:
            if log_file:
                os.close(output)
        self.processes[name] = process
        if not log_file:
            threading.Thread(target=self._copy, args=(name, process), daemon=True).start()
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    @staticmethod
    def _copy(name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        prefix = f"{name}: ".encode()
        for line in process.stdout:
            log.write(prefix + (line if line.endswith(b"\n") else line + b"\n"))

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.changed.set()

    def check(self) -> None:
        """Raise when the launcher was told to stop or a component has ended."""
        if self.stopping.is_set():
            raise Stopped
        for name, process in self.processes.items():
            code = process.poll()
            if code is not None:
                how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
                raise ComponentDied(f"{name} {how}")

    def wait(self, ready: Callable[[], bool], what: str, interval: float = 0.2, every: float = 10.0) -> None:
        """Wait for something, with a line every ten seconds; a dead component ends the wait at once."""
        started = reported = time.monotonic()
        while not ready():
            self.check()
            now = time.monotonic()
            if now - reported >= every:
                reported = now
                log.info(f"Waiting for {what} ({now - started:.0f} s)")
            self.sleep(interval)
        self.check()

    def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or something has changed."""
        if self.changed.wait(seconds):
            self.changed.clear()

    def run(self) -> None:
        """Stay until something happens; always ends with an exception."""
        while True:
            self.check()
            self.sleep(60.0)

    def stop(self, grace: float = GRACE) -> None:
        """TERM, a short grace, KILL. Pods outlive it: their shims are no children of these processes."""
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        end = time.monotonic() + grace
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for process in running:
            process.wait()


def supervise(environment: Mapping[str, str], start: Callable[[Supervisor], None]) -> int:
    """Start a node's components and stay with them. Returns the exit code: 0 when told to stop, else 1."""
    supervisor = Supervisor(environment)
    supervisor.catch_signals()
    try:
        start(supervisor)
        supervisor.run()
    except Stopped:
        log.info("Shutting down")
    except ComponentDied as error:
        log.fatal(f"Error: {error}")
        return 1
    finally:
        supervisor.stopping.set()
        notify("STOPPING=1\n")
        supervisor.stop()
    return 0


def rotate(path: str, limit: int = 50 << 20) -> None:
    """Keep one old log of a component; K3s rotates at the same size (lumberjack, 50 MB)."""
    try:
        if os.path.getsize(path) > limit:
            os.replace(path, path + ".1")
    except FileNotFoundError:
        return


def notify(text: str) -> None:
    """Tell systemd, from the process that it started (sd_notify without a library)."""
    target = os.environ.get("NOTIFY_SOCKET", "")
    if not target:
        return
    address = "\0" + target[1:] if target.startswith("@") else target
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(text.encode(), address)
        except OSError as error:
            log.warning(f"cannot notify systemd: {error}")
