"""Where Observer keeps its files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

DEFAULT_ROOT = "/opt/platform/runtime/observer"


def runtime_root() -> Path:
    return Path(os.environ.get("OBSERVER_RUNTIME_ROOT", DEFAULT_ROOT))


def _ensure(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # A read-only root filesystem: the volumes are expected to be there.
        log.debug("cannot create %s: %s", path, error)
    return path


def data_dir() -> Path:
    return _ensure(Path(os.environ.get("OBSERVER_DATA_DIR") or runtime_root() / "data"))


def log_dir() -> Path:
    return _ensure(Path(os.environ.get("OBSERVER_LOG_DIR") or runtime_root() / "logs"))


def config_dir() -> Path:
    if value := os.environ.get("OBSERVER_CONFIG_DIR"):
        return Path(value)
    return runtime_root() / "config"


def snapshot_dir() -> Path:
    configured = os.getenv("OBSERVER_SNAPSHOT_DIR")
    path = Path(configured) if configured else runtime_root() / "universe"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (PermissionError, OSError):
        log.debug("no folder of snapshots")
    return path


def system_log_dir() -> Path:
    return _ensure(Path(os.environ.get("OBSERVER_SYSTEM_LOG_DIR", str(log_dir() / "system"))))


def maintenance_log_dir() -> Path:
    return _ensure(Path(os.environ.get("OBSERVER_MAINTENANCE_LOG_DIR", str(log_dir() / "maintenance"))))


def token_cache_dir() -> Path:
    return _ensure(Path(os.environ.get("KIS_TOKEN_CACHE_DIR") or data_dir() / "cache"))


def scalp_dir() -> Path:
    return data_dir() / "assets" / "scalp"
