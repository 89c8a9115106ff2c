"""Paths of a deployment. Everything is asked of `paths`; nothing here knows a path of its own."""

from __future__ import annotations

import logging
from pathlib import Path

from observer import paths

log = logging.getLogger(__name__)


def data_root() -> Path:
    return paths.data_dir()


def log_root() -> Path:
    return paths.log_dir()


def runtime_socket_dir() -> Path:
    folder = paths.data_dir() / "run"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        log.debug("%s is not there", folder)
    return folder


def temp_dir() -> Path:
    folder = paths.data_dir() / "tmp"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        log.debug("%s is not there", folder)
    return folder
