"""Artifacts keyed by what they are built from.

An artifact is a folder ``<name>-<key>``. It is built in a temporary folder beside it and renamed into
place, so what is there is whole; a lock file makes a second builder wait and then find it made.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

STALE_SECONDS = 7 * 24 * 3600
"""An artifact with another key is kept this long after its last use, then removed: a checkout of an
older commit may still be at work with it."""


def digest(*parts: object) -> str:
    """SHA-256 over values and the contents of files and folders.

    A :class:`~pathlib.Path` counts by content: a folder by its sorted file names, modes and bytes
    (``__pycache__`` left out), so that a fresh clone gets the same key whatever the dates are.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for path in _files(part):
                name = path.relative_to(part) if path != part else Path(part.name)
                mode = path.stat().st_mode & 0o111
                total.update(f"\0{name}\0{mode:o}\0".encode())
                total.update(path.read_bytes())
        else:
            total.update(b"\1" + json.dumps(part, sort_keys=True, default=str).encode())
    return total.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for found in sorted(path.rglob("*")):
        if found.is_file() and not {"__pycache__", ".pytest_cache", ".mypy_cache"} & set(found.parts):
            yield found


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; freed by the kernel when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Cache:
    """The artifact store.

    :param root: its folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key[:16]}"

    def has(self, name: str, key: str) -> bool:
        return self.path(name, key).is_dir()

    def get(self, name: str, key: str, build: Callable[[Path], None]) -> Path:
        """The artifact's folder; built first when it is not there.

        :param build: gets an empty folder to fill. When it raises, nothing is kept but its log.
        """
        final = self.path(name, key)
        if not final.is_dir():
            with lock(self.root / f".{final.name}.lock"):
                if not final.is_dir():
                    self._build(final, build)
        os.utime(final)
        return final

    def _build(self, final: Path, build: Callable[[Path], None]) -> None:
        # The name carries no process number: what an interrupted build left is found and removed here,
        # under the lock.
        scratch = self.root / f".{final.name}.building"
        if scratch.exists():
            shutil.rmtree(scratch)
        scratch.mkdir(parents=True)
        build(scratch)
        scratch.rename(final)

    def prune(self, current: Iterable[Path], now: float | None = None) -> list[Path]:
        """Remove artifacts that are not current and were not used for a week. Returns what went."""
        keep = set(current)
        limit = (now or time.time()) - STALE_SECONDS
        gone = []
        for found in self.root.iterdir() if self.root.is_dir() else ():
            if found in keep or not found.is_dir() or found.name.startswith("."):
                continue
            if found.stat().st_mtime < limit:
                shutil.rmtree(found)
                gone.append(found)
        return gone
