"""Durable writes.

A file is opened for each write: a file that was deleted or restored meanwhile is never written to unseen.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_folders(folder: Path, top: Path) -> None:
    """Fsync `folder` and its parents up to `top`, so that a new name in them survives a power cut."""
    current = folder
    while True:
        descriptor = os.open(current, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if current == top or top not in current.parents:
            return
        current = current.parent


def append_lines(path: Path, lines: bytes, top: Path) -> None:
    """Append complete lines and return when they are on disk. Raises OSError; then nothing may be assumed.

    A crash may have left half a line: the next write then starts on a new one.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        created = False
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        created = True
    try:
        size = os.fstat(descriptor).st_size
        if size > 0 and os.pread(descriptor, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # An empty file may be one whose creator died before it could sync the folder.
    if created or size == 0:
        sync_folders(path.parent, top)


def replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folders(path.parent, path.parent)
