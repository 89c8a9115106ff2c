"""A PostgreSQL, and a backup host that is reached by a stand-in for ssh: what the tests of the WAL stream run against.

As root on a machine that can mount, the receiver encrypts with the real gocryptfs where it is installed; elsewhere the
folder itself stands in for the mount.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backup import database, settings

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
REAL_MOUNT = bool(shutil.which("gocryptfs")) and os.access("/dev/fuse", os.R_OK | os.W_OK)
RECEIVER = Path(__file__).resolve().parents[2] / "module_utils" / "backup" / "receiver.py"
PASSWORD = "the repository's password"

PLAIN = """
import os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import receiver

class Vault:
    def __init__(self, cipher, place, key, *options):
        self.cipher, self.place, self.key, self.options = cipher, place, key, options
    def open(self):
        conf = f"{self.cipher}/gocryptfs.conf"
        if not os.path.exists(conf):
            if "-ro" in self.options or os.listdir(self.cipher):
                raise receiver.Refusal(receiver.UNREADABLE, f"{conf} is missing")
            with open(conf, "w") as file:
                file.write(self.key)
        with open(conf) as file:
            if file.read() != self.key:
                raise receiver.Refusal(receiver.WRONG_KEY, f"the key is not that of {os.path.basename(self.cipher)}")
        os.path.isdir(self.place) and not os.path.islink(self.place) and os.rmdir(self.place)
        os.path.islink(self.place) and os.unlink(self.place)
        os.symlink(self.cipher, self.place)
    def close(self):
        os.path.islink(self.place) and os.unlink(self.place)

receiver.Vault = Vault
receiver.plain_size = lambda stored: stored
sys.exit(receiver.main(sys.argv[2:]))
"""

SSH = """
import os, select, socket, subprocess, sys, threading

arguments, sockets = sys.argv[1:], []
def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end in (one, other):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def serve(listener, host, port):
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection((host, int(port)))
        except OSError:
            near.close()
            continue
        threading.Thread(target=pump, args=(near, far), daemon=True).start()
        threading.Thread(target=pump, args=(far, near), daemon=True).start()
if "-R" in arguments:
    path, host, port = arguments[arguments.index("-R") + 1].rsplit(":", 2)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=serve, args=(listener, host, port), daemon=True).start()
if os.path.exists(os.environ["BED_DOWN"]):
    print("ssh: connect to host backup port 22: Connection refused", file=sys.stderr)
    sys.exit(255)
done = subprocess.run(eval(os.environ["BED_COMMAND"]), env={**os.environ, "SSH_ORIGINAL_COMMAND": arguments[-1]})
sys.stdout.flush()
os._exit(done.returncode)
"""


def command(folder: Path, epoch: int, *words: str) -> list[str]:
    """What sshd would run for a key of this epoch."""
    begin = [sys.executable, str(RECEIVER)] if REAL_MOUNT else [sys.executable, "-c", PLAIN, str(RECEIVER)]
    return [*begin, "--folder", str(folder), "--epoch", str(epoch), *words]


class Host:
    """The backup host: how a node of an epoch reaches it."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.down = folder, scratch / "down"
        self.ssh = scratch / "ssh.py"
        self.ssh.write_text(SSH)
        (folder / "run").mkdir(parents=True)
        self.epoch = 1
        self.words: tuple[str, ...] = ("--floor-hours", "0")

    def argv(self, _given: Any, words: Sequence[str], *options: str) -> list[str]:  # noqa: ANN401
        """In the place of ``host.ssh``."""
        return ["env", f"BED_COMMAND={command(self.folder, self.epoch, *self.words)!r}", f"BED_DOWN={self.down}",
                sys.executable, str(self.ssh), *options, " ".join(words)]

    def session(self) -> int:
        """Process of the receiver that runs; 0 without one."""
        try:
            return int(json.loads((self.folder / "run" / "session").read_text())["pid"])
        except (OSError, ValueError):
            return 0


class Server:
    """A PostgreSQL of its own, asked as a node asks its pod."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        folder.mkdir(exist_ok=True)
        if self.user:
            os.chown(folder, 65534, 65534)
        self._run("initdb", "-D", self.data, "-U", "app", "--auth-local=trust", "--auth-host=scram-sha-256", "-N")
        (self.data / "postgresql.conf").open("a").write(
            f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{folder}'\nfsync=off\n"
            "wal_level=replica\nlogging_collector=off\n")

    def _run(self, program: str, *words: object) -> None:
        subprocess.run([*self.user, str(PROGRAMS / program), *map(str, words)], check=True, cwd=self.folder,
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", how, "stop")

    def psql(self, sql: str, seconds: float = 20) -> str:
        return subprocess.run([str(PROGRAMS / "psql"), "-h", str(self.folder), "-p", str(self.port), "-U", "app",
                               "-d", "postgres", "-XqAt", "-c", sql], check=True, capture_output=True, text=True,
                              timeout=seconds, cwd=self.folder).stdout.strip()


class Asked(database.Database):
    """The node's way to its database, without a container."""

    def __init__(self, server: Server, given: settings.Settings) -> None:
        super().__init__(given)
        self.server = server

    def container(self, fresh: bool = False) -> database.Container:
        return database.Container(os.getpid(), "", 0, 0, "app", "postgres")

    def inside(self, program: str, *words: str) -> list[str]:
        return [str(PROGRAMS / program), "--port", str(self.server.port), *words]

    def path(self, inner: str) -> str:
        return inner


def given(server: Server, host: Host, scratch: Path, **more: Any) -> settings.Settings:  # noqa: ANN401
    """Settings of a node."""
    password = scratch / "password"
    password.write_text(PASSWORD + "\n")
    return settings.Settings(
        identity="bed/ns", node="n", repository="", mode="stream", namespace="ns", storage="", config_folder="",
        claims={}, password_file=str(password), epoch=1,
        database=settings.DatabaseSettings("statefulset/postgres", "postgres", "claim", socket=str(server.folder),
                                           port=server.port),
        receiver=settings.ReceiverSettings("backup", "127.0.0.1", 22, "u", str(host.folder)), **more)


def until(what: Any, seconds: float = 20) -> None:  # noqa: ANN401
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(one) for one in found]


def freeze(pid: int) -> None:
    for one in [pid, *children(pid)]:
        os.kill(one, signal.SIGSTOP)
