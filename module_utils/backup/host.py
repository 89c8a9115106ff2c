"""What a node asks of its backup host's WAL: which there is, all of it from a point on, and to keep older nodes out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from typing import IO, Any

from . import receiver
from .files import sync_folder
from .problems import (
    Absent,
    BackupProblem,
    Damaged,
    Full,
    HostKeyChanged,
    Incomplete,
    Revoked,
    TakenOver,
    Unknown,
    Unreachable,
    WrongPassword,
)
from .settings import Settings, wal_key


def ssh(given: Settings, words: Sequence[str], *options: str) -> list[str]:
    """The command of a session. :raises Unknown: the inventory has no backup host."""
    host = given.receiver
    if host is None:
        raise Unknown("there is no backup host that could receive WAL", "Add one to the group backup_hosts.")
    return ["ssh", "-F", given.ssh_config, "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3",
            "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=2", *options, host.host, " ".join(words)]


def problem(status: int, said: str) -> BackupProblem:
    """Why a session ended."""
    ours = re.findall(r"^observer-receiver: (.*)$", said, re.M)
    sentence = ours[-1] if ours else ""
    if status == receiver.TAKEN_OVER:
        return TakenOver(sentence)
    if status == receiver.WRONG_KEY:
        return WrongPassword(f"the backup host's WAL was encrypted with another password: {sentence}")
    if status == receiver.FULL or "No space left on device" in said:
        return Full("the disk of the backup host is full")
    if status == receiver.ABSENT:
        return Absent(sentence)
    if status == receiver.UNREADABLE:
        return Damaged(f"the backup host's WAL cannot be read: {sentence}")
    if status == 255:
        if re.search(r"Host key verification failed|host key .* has changed|IDENTIFICATION HAS CHANGED", said, re.I):
            return HostKeyChanged("the backup host shows another key than the one that is pinned")
        if "Permission denied" in said:
            return Revoked("the backup host does not let this node's key in")
        return Unreachable(f"the backup host does not answer: {last(said)}")
    words = [line for line in said.splitlines() if "error:" in line or "FATAL" in line]
    return Unknown(f"the session with the backup host ended: {words[-1] if words else sentence or last(said)}"[:300])


def generations(given: Settings) -> dict[str, Any]:
    """``{"epoch", "generations": [{"slot", "segments": [{"name", "size", "written"}]}]}``, oldest first.

    :raises BackupProblem: (each of these) the backup host does not say.
    """
    return _answer(given, ["list", "all"])


def newest_epoch(given: Settings) -> int:
    """The newest epoch that the backup host has let write or has WAL of: a node of an older one is kept out for good,
    also when its repository was begun anew or is another one. 0 without a backup host.

    :raises BackupProblem: the backup host does not say.
    """
    if given.receiver is None:
        return 0
    found = generations(given)
    return max([int(found["epoch"]), *(receiver.age_of(one["slot"])[0] for one in found["generations"])])


def segments(given: Settings, slot: str, first: str) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of the segments of a generation from ``first`` on: each was read to the end there."""
    found: list[dict[str, Any]] = _answer(given, ["list", slot, first], key=True)["segments"]
    return found


def prune(given: Settings, slot: str, first: str) -> dict[str, Any]:
    """Delete what lies before this segment of this generation and is older than the backup host insists on keeping:
    ``{"deleted": n, "young": n}``."""
    return _answer(given, ["prune", slot, first])


def _answer(given: Settings, words: Sequence[str], key: bool = False, seconds: float = 3600.0) -> dict[str, Any]:
    try:
        done = subprocess.run(ssh(given, words), input=(wal_key(given) + "\n" if key else "").encode(),
                              capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"the backup host did not answer within {seconds:.0f} s") from error
    if done.returncode:
        raise problem(done.returncode, done.stderr.decode(errors="replace"))
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise Unknown(f"the backup host answered {words[0]} with something else than JSON") from error
    if not isinstance(found, dict):
        raise Unknown(f"the backup host answered {words[0]} with something else than an object")
    return found


def fetch(given: Settings, slot: str, first: str, target: str, uid: int = -1, gid: int = -1) -> list[str]:
    """Fetch the segments of a generation from ``first`` on into a folder; their names in order. A file has its name
    only when all are there, equal to what the backup host read, and on the disk.

    :raises BackupProblem: they do not all come, or not as they were sent.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(ssh(given, ["fetch", slot, first]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=said)
        assert process.stdin and process.stdout
        broken = ""
        found: dict[str, tuple[int, str]] = {}
        manifest = None
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(f"{wal_key(given)}\n".encode())
            with process.stdout:
                found, manifest = unpack(process.stdout, target, uid, gid)
            status = process.wait(30)
        except (tarfile.TarError, EOFError) as error:
            broken, status = f": {error}", process.wait(30)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        words = said.read().decode(errors="replace")
    if status:
        raise problem(status, words)
    if manifest is None:
        raise Incomplete(f"the WAL of {slot} did not come whole from the backup host{broken}",
                         "Start the restore again.")
    wanted = {one["name"]: (one["size"], one["sha256"]) for one in manifest}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise Damaged(f"the WAL of {slot} is not what the backup host sent: {', '.join(wrong[:3])}")
    for name in found:
        os.rename(f"{target}/{name}.coming", f"{target}/{name}")
    sync_folder(target)
    return [one["name"] for one in manifest]


def unpack(stream: IO[bytes], target: str, uid: int, gid: int) -> tuple[dict[str, tuple[int, str]], Any]:
    """Write the members of a tar as ``NAME.coming``; their sizes and hashes, and the manifest (None: there is none).

    :raises Damaged: something in it is no WAL.
    """
    found: dict[str, tuple[int, str]] = {}
    manifest = None
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or manifest is not None:
                raise Damaged(f"the backup host sent what does not belong in WAL: {member.name[:40]!r}")
            if member.name == receiver.MANIFEST:
                manifest = json.loads(content.read())["segments"]
                continue
            if not receiver.FILE.fullmatch(member.name):
                raise Damaged(f"the backup host sent what does not belong in WAL: {member.name[:40]!r}")
            digest = hashlib.sha256()
            path = f"{target}/{member.name}.coming"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                while block := content.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fchown(file.fileno(), uid, gid)
                os.fsync(file.fileno())
            found[member.name] = (member.size, digest.hexdigest())
    return found, manifest


def last(said: str) -> str:
    """The last line of what a program said."""
    lines = [row.strip() for row in said.splitlines() if row.strip()]
    return lines[-1][:300] if lines else "it said nothing"
