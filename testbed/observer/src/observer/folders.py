"""Looks at the folders and says what is wrong with them; it changes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from observer import paths

MINIMUM_FREE_BYTES = 1 << 20


@dataclass(frozen=True)
class Folder:
    """A folder that the app needs, and whether it writes there."""

    name: str
    path: Path
    writable: bool


def needed() -> list[Folder]:
    """Return the four volumes and the sub-folders that the app writes to (seed 001, step 4)."""
    return [
        Folder("data", paths.data_dir(), True),
        Folder("logs", paths.log_dir(), True),
        Folder("config", paths.config_dir(), False),
        Folder("universe", paths.snapshot_dir(), True),
        Folder("system_log", paths.system_log_dir(), True),
        Folder("maintenance_log", paths.maintenance_log_dir(), True),
        Folder("token_cache", paths.token_cache_dir(), True),
        Folder("scalp", paths.scalp_dir(), True),
        Folder("ingest", paths.ingest_dir(), True),
        Folder("symbols", paths.symbols_dir(), True),
    ]


def problem(folder: Folder) -> str | None:
    """Return what is wrong with one folder, or None."""
    path = folder.path
    if not path.is_dir():
        return f"{folder.name}: {path} is not a folder; the volume or the entrypoint must provide it"
    wanted = os.R_OK | os.X_OK | (os.W_OK if folder.writable else 0)
    if not os.access(path, wanted):
        verb = "write to" if folder.writable else "read"
        return f"{folder.name}: uid {os.getuid()} cannot {verb} {path}"
    space = os.statvfs(path)
    if folder.writable and space.f_bavail * space.f_frsize < MINIMUM_FREE_BYTES:
        return f"{folder.name}: no space left at {path}"
    return None


def problems() -> dict[str, str]:
    """Return what is wrong, by folder name; empty when all is well."""
    found = {}
    for folder in needed():
        try:
            reason = problem(folder)
        except OSError as error:
            reason = f"{folder.name}: {folder.path}: {error.strerror}"
        if reason is not None:
            found[folder.name] = reason
    return found
