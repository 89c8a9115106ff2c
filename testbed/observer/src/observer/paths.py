"""Where Observer keeps its files: the app's side of the path contract (seed 001 3-1).

Every function only resolves. Folders are the infrastructure's task (seed 000 B.1 4, B.3).
The environment is read on each call, so that a value can be checked without starting the app.
"""

from __future__ import annotations

import os
from pathlib import Path


def runtime_root() -> Path:
    """Parent of the four folders; only used where a folder has no variable of its own."""
    return Path(os.environ.get("OBSERVER_RUNTIME_ROOT") or "/opt/platform/runtime/observer")


def data_dir() -> Path:
    """JSONL data."""
    return Path(os.environ.get("OBSERVER_DATA_DIR") or runtime_root() / "data")


def log_dir() -> Path:
    """Log files."""
    return Path(os.environ.get("OBSERVER_LOG_DIR") or runtime_root() / "logs")


def config_dir() -> Path:
    """Runtime settings that an operator may edit on the node (seed 001 2-1)."""
    return Path(os.environ.get("OBSERVER_CONFIG_DIR") or runtime_root() / "config")


def snapshot_dir() -> Path:
    """Daily snapshots of the universe."""
    return Path(os.environ.get("OBSERVER_SNAPSHOT_DIR") or runtime_root() / "universe")


def system_log_dir() -> Path:
    """Folder of observer.log."""
    return Path(os.environ.get("OBSERVER_SYSTEM_LOG_DIR") or log_dir() / "system")


def maintenance_log_dir() -> Path:
    """Folder of maintenance.log: migrations, starts and stops."""
    return Path(os.environ.get("OBSERVER_MAINTENANCE_LOG_DIR") or log_dir() / "maintenance")


def token_cache_dir() -> Path:
    """Folder of token_cache.json."""
    return Path(os.environ.get("KIS_TOKEN_CACHE_DIR") or data_dir() / "cache")


def scalp_dir() -> Path:
    """The collector's quotes, one file a day."""
    return data_dir() / "assets" / "scalp"


def ingest_dir() -> Path:
    """Records taken over HTTP, one file a writer."""
    return data_dir() / "assets" / "ingest"


def symbols_dir() -> Path:
    """Folder of symbol_health.json."""
    return data_dir() / "symbols"
