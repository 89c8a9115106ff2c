"""Writing files whole."""

from __future__ import annotations

import contextlib
import os
import tempfile


def write_file(path: str, text: str, mode: int) -> None:
    """Write a file at once or not at all, on the disk when this returns, with this mode whatever the umask.

    :raises OSError: it cannot be written.
    """
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=".observer-node-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def used(folder: str) -> int:
    """Bytes that a folder's files take of the disk: less than their sizes where they have holes."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(top, name)).st_blocks * 512
    return total
