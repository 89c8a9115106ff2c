"""A git repository, read without running anything that it brings: no hook, filter, helper, pager or fetch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from .classes import dataclass

SAFE = ("--no-pager", "--no-optional-locks", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-c",
        "core.hooksPath=/dev/null")
REGULAR = ("100644", "100755")
"""Modes of files: links and submodules have others."""


class Unreadable(Exception):
    """git refuses; the text is its first line."""


class Late(Unreadable):
    """git was not done in time."""


def environment() -> dict[str, str]:
    """Nothing of the caller's own git (in a hook GIT_DIR names another repository), and no way to the network: what a
    partial clone lacks would be fetched by a command of the repository's own configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_REPLACE_OBJECTS": "1"}


def end(process: subprocess.Popen[bytes]) -> None:
    """With everything that it started. One that has been waited for is left alone: its number may be another's now."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Git:
    """A checkout: the folder ``root`` (of a repository, or in one), read until the clock (monotonic) is ``ends``.

    Every method raises Unreadable, or Late.
    """

    root: Path
    ends: float

    @contextlib.contextmanager
    def stream(self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[IO[bytes]]:
        """What a command prints. Whoever stops reading ends it."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise Late("out of time")
        late = threading.Event()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(["git", *SAFE, *arguments], cwd=self.root, env=environment(), stdin=stdin,
                                       stdout=subprocess.PIPE, stderr=errors, start_new_session=True)

            def stop() -> None:
                late.set()
                end(process)

            timer = threading.Timer(left, stop)
            timer.daemon = True
            timer.start()
            assert process.stdout
            try:
                with process.stdout:
                    yield process.stdout
                    done = not process.stdout.read(1)
                if late.is_set():
                    raise Late("out of time")
                if done and process.wait():
                    errors.seek(0)
                    lines = errors.read(10_000).decode(errors="replace").splitlines()
                    raise Unreadable(next((line for line in lines if line.startswith("fatal:")), "".join(lines[:1])))
            finally:
                timer.cancel()
                end(process)
                process.wait()

    def read(self, *arguments: str) -> bytes:
        with self.stream(*arguments) as output:
            return output.read()

    @property
    def shallow(self) -> bool:
        return self.read("rev-parse", "--is-shallow-repository").strip() == b"true"

    def tracked(self) -> dict[str, list[str]]:
        """Regular files below the root, with the ids of what is in the index: several in the middle of a merge."""
        found: dict[str, list[str]] = {}
        for entry in self.read("ls-files", "--stage", "-z").split(b"\0"):
            head, _, name = entry.partition(b"\t")
            if name and head[:6].decode() in REGULAR:
                found.setdefault(os.fsdecode(name), []).append(head.split()[1].decode())
        return found

    def untracked(self) -> list[str]:
        """What `git add` would take."""
        names = self.read("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
        return [os.fsdecode(name) for name in names if name and not name.endswith(b"/")]

    def blobs(self) -> Iterator[tuple[str, int, str]]:
        """Every blob of every commit of every ref, once: id, bytes, and a path that it had below the root. An id that
        is empty stands for one that is not here (a partial clone)."""
        prefix = self.read("rev-parse", "--show-prefix").removesuffix(b"\n")
        only = ("--full-history", "--", ".") if prefix else ()
        form = "--batch-check=%(objecttype) %(objectsize) %(objectname) %(rest)"
        with self.stream("rev-list", "--objects", "--all", "--missing=print", *only) as objects, \
                self.stream("cat-file", "--buffer", form, stdin=objects) as sizes:
            for line in sizes:
                if not line.endswith(b"\n"):
                    break  # It was ended in the middle of a line.
                if line.startswith(b"?"):
                    yield "", 0, ""
                elif line.startswith(b"blob "):
                    _, size, oid, name = line.rstrip(b"\n").split(b" ", 3)
                    if name.startswith(prefix):
                        yield oid.decode(), int(size), os.fsdecode(name[len(prefix):])

    def contents(self, oids: Iterable[str], largest: int) -> Iterator[tuple[str, bytes]]:
        """What blobs hold; one that is not here, or has more than ``largest`` bytes, is left out."""
        with tempfile.TemporaryFile() as wanted:
            wanted.write("".join(f"{oid}\n" for oid in oids).encode())
            wanted.seek(0)
            with self.stream("cat-file", "--buffer", "--batch", stdin=wanted) as output:
                while header := output.readline().split():
                    if len(header) != 3:
                        continue
                    size = int(header[2])
                    if size > largest:
                        left = size + 1
                        while left and (part := output.read(min(left, 1024**2))):
                            left -= len(part)
                        continue
                    content = output.read(size + 1)
                    if len(content) <= size:
                        return
                    yield header[0].decode(), content[:-1]

    def first_commits(self, oids: Iterable[str]) -> dict[str, str]:
        """The first commit (short) that had each of the blobs, oldest first; those not found in time are left out."""
        wanted, found, commit = {oid.encode() for oid in oids}, {}, b""
        with contextlib.suppress(Late), \
                self.stream("rev-list", "--all", "--topo-order", "--reverse") as commits, \
                self.stream("diff-tree", "--stdin", "-r", "--root", "-m", "--no-renames", "--raw", "--no-abbrev",
                            stdin=commits) as changes:
            for line in changes:
                if not line.endswith(b"\n"):
                    break
                if not line.startswith(b":"):
                    commit = line[:10]
                elif (oid := line.split(b" ", 4)[3]) in wanted:
                    wanted.discard(oid)
                    found[oid.decode()] = commit.decode()
                    if not wanted:
                        break
        return found


def opened(root: Path, ends: float) -> Git | None:
    """The repository that a folder is a checkout of; None when it is of none.

    :raises Unreadable: it is one, and git refuses to read it or is not installed.
    """
    git = Git(root, ends)
    try:
        if git.read("rev-parse", "--is-inside-work-tree").strip() != b"true":
            return None
        # In a folder that is no part of the repository around it nothing is tracked, and all of it may be ignored.
        if not git.read("ls-files", "-z") and git.read("rev-parse", "--show-prefix").strip():
            return None
        return git
    except FileNotFoundError:
        if not (root / ".git").exists():
            return None
        raise Unreadable("git is not installed") from None
    except Unreadable as error:
        if "not a git repository" in str(error):
            return None
        raise
