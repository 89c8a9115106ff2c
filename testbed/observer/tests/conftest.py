"""Helpers: the package on the path, folders, a real PostgreSQL 15, the real process."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "observer"
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

PG_BIN = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "db-pass-4711-secret"
GOOD_KEY = "PS" + "k" * 34
BAD_KEY = "XX" + "k" * 34
APP_SECRET = "app-secret-" + "s" * 40
VARIABLES = ("OBSERVER_", "KIS_", "DB_", "LOG_", "POD_", "SERVICE_PORT", "TZ")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(what: Callable[[], T], seconds: float = 10.0) -> T:
    """Return the first true value of `what`; fail with its last error."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = what()
            if last:
                return last
        except (OSError, AssertionError) as error:
            last = error
        time.sleep(0.03)
    raise AssertionError(f"not within {seconds} s; last: {last!r}")


def get(url: str, body: bytes | None = None) -> tuple[int, Any]:
    """Return status and body (JSON where it is)."""
    request = urllib.request.Request(url, data=body)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            code, content = response.status, response.read()
    except urllib.error.HTTPError as error:
        code, content = error.code, error.read()
    try:
        return code, json.loads(content)
    except ValueError:
        return code, content.decode()


@dataclass
class Postgres:
    """A real server on a loopback port, as an unprivileged user."""

    folder: Path
    port: int
    user: str | None

    def _run(self, *command: str) -> None:
        subprocess.run(
            [str(PG_BIN / command[0]), *command[1:]],
            check=True,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def create(self) -> None:
        secret = self.folder / "pw"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", str(self.folder / "d"), "-U", "observer", "-A", "scram-sha-256",
            f"--pwfile={secret}", "-E", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c shared_buffers=16MB"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "d"), "-l", log, "-w", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "d"), "-m", mode, "-w", "stop")

    def sql(self, text: str, database: str = "postgres") -> str:
        return subprocess.run(
            [str(PG_BIN / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "observer", "-d", database,
             "-v", "ON_ERROR_STOP=1", "-qAtc", text],
            check=True, capture_output=True, text=True, env={**os.environ, "PGPASSWORD": PASSWORD},
        ).stdout.strip()  # fmt: skip


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if not (PG_BIN / "initdb").exists():
        pytest.fail(f"{PG_BIN} is missing: apt-get install postgresql-15")
    user = None
    # Not under pytest's folder, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="observer-pg-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres").pw_name
        shutil.chown(folder, user)
    server = Postgres(folder, free_port(), user)
    try:
        server.create()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: Postgres) -> str:
    """A fresh, empty database."""
    name = f"t{time.monotonic_ns()}"
    postgres.sql(f"CREATE DATABASE {name}")
    return name


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The four mounted folders, laid out by the entrypoint; the environment points to them."""
    for name in list(os.environ):
        if name.startswith(VARIABLES):
            monkeypatch.delenv(name)
    root = tmp_path / "observer"
    for name in ("data", "logs", "config", "universe"):
        (root / name).mkdir(parents=True)
    monkeypatch.setenv("OBSERVER_RUNTIME_ROOT", str(root))
    entrypoint("true")
    return root


def entrypoint(*command: str) -> subprocess.CompletedProcess[str]:
    """Run the image's entrypoint with the environment of the test."""
    script = str(ROOT / "docker" / "entrypoint.sh")
    return subprocess.run(["/bin/sh", script, *command], check=False, capture_output=True, text=True)


@dataclass
class Process:
    """The real program."""

    environment: dict[str, str]
    output: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.output.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "observer"],
                env={**self.environment, "SERVICE_PORT": str(self.port)},
                cwd="/",
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def send(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(12)

    def logs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text(encoding="utf-8").splitlines()]

    def healthy(self) -> None:
        wait_for(lambda: get(f"{self.url}/health")[0] == 200)

    def ready(self) -> None:
        def answer() -> bool:
            code, body = get(f"{self.url}/ready")
            assert code == 200, body
            return True

        wait_for(answer, 15)


@pytest.fixture
def start(tree: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start the program with a good key and no database, unless told otherwise."""
    started: list[Process] = []

    def begin(wait: bool = True, **changes: str | None) -> Process:
        environment: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OBSERVER_RUNTIME_ROOT": str(tree),
            "KIS_APP_KEY": GOOD_KEY,
            "KIS_APP_SECRET": APP_SECRET,
            "DB_HOST": "127.0.0.1",
            "DB_PORT": "1",
            "DB_NAME": "observer",
            "DB_USER": "observer",
            "DB_PASSWORD": PASSWORD,
            **changes,
        }
        clean = {name: value for name, value in environment.items() if value is not None}
        process = Process(clean, tmp_path / f"out{len(started)}")
        started.append(process)
        process.start()
        if wait:
            process.healthy()
        return process

    yield begin
    for process in started:
        if process.process is not None and process.process.poll() is None:
            process.process.kill()
            process.process.wait(5)
