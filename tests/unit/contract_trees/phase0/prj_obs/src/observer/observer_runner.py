"""Starts the collectors and the API server."""

from __future__ import annotations

import logging
import os

from observer import STANDALONE, __version__, paths
from observer.api_server import serve

log = logging.getLogger("observer")

REQUIRED = ("KIS_APP_KEY", "KIS_APP_SECRET")
SHOWN = ("POD_NAME", "POD_NAMESPACE", "TZ", "PYTHONUNBUFFERED")


def set_up_logging() -> None:
    level = os.environ.get("LOG_LEVEL", "INFO")
    text = os.environ.get("LOG_FORMAT", "json") == "text"
    logging.basicConfig(level=level, format="%(asctime)s %(message)s" if text else '{"message": "%(message)s"}')


def missing_keys() -> list[str]:
    return [name for name in REQUIRED if not os.environ.get(name)]


def collect() -> None:
    if missing := missing_keys():
        log.error("collectors stay off, missing: %s", ", ".join(missing))
        return
    log.info("collecting for %s into %s", os.environ.get("KIS_HTS_ID", "nobody"), paths.scalp_dir())


def main() -> None:
    set_up_logging()
    log.info("observer %s, standalone: %s", __version__, STANDALONE)
    for name in SHOWN:
        log.info("%s=%s", name, os.environ.get(name, ""))
    collect()
    serve()
