"""Logs: JSON lines on stdout (seed 002 5.3) and files on the logs volume (seed 001, step 4)."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from observer import paths

MASK = "***"
MASK_FROM_LENGTH = 4  # a shorter secret would blank ordinary words
FILE_BYTES = 10 * 1024 * 1024
FILE_COUNT = 5
REOPEN_SECONDS = 10.0
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS = ("json", "text")
SYSTEM_FILE = "observer.log"
MAINTENANCE_FILE = "maintenance.log"
# Marks what also belongs into maintenance.log.
MAINTENANCE = "observer.maintenance"


class LineFormatter(logging.Formatter):
    """One record, one line; `extra={"fields": {...}}` becomes fields; secrets are masked last."""

    def __init__(self, style: str, secrets: tuple[str, ...]) -> None:
        """Take "json" or "text", and the values that must never be shown."""
        super().__init__()
        self._json = style == "json"
        shown = {secret for secret in secrets if len(secret) >= MASK_FROM_LENGTH}
        escaped = {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in shown}
        # The longest first: one secret may contain another.
        self._secrets = sorted(shown | escaped, key=len, reverse=True)
        self._fixed = {
            key: value
            for key, value in (
                ("pod", os.environ.get("POD_NAME", "")),
                ("namespace", os.environ.get("POD_NAMESPACE", "")),
            )
            if value
        }

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        fields: dict[str, object] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._json:
            line = json.dumps(
                {
                    "timestamp": when,
                    "level": record.levelname,
                    "logger": record.name,
                    "message": record.getMessage(),
                    **self._fixed,
                    **fields,
                },
                ensure_ascii=False,
                default=str,
            )
        else:
            details = "".join(f" {key}={value!r}" for key, value in fields.items())
            line = f"{when} {record.levelname} {record.name}: {record.getMessage()}{details}"
        for secret in self._secrets:
            line = line.replace(secret, MASK)
        return line


class VolumeFileHandler(RotatingFileHandler):
    """A rotated file that may be impossible to write: the app goes on and tries again later."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is opened with the first record."""
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILE_COUNT, delay=True, encoding="utf-8")
        self.failures = 0
        self._retry_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it as lost while the volume is away."""
        if time.monotonic() < self._retry_at:
            self.failures += 1
            return
        if self.stream is not None and not Path(self.baseFilename).exists():
            # Deleted or restored from outside: do not write into a file without a name.
            self.close()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say it once on stderr and pause; stdout has the record anyway."""
        self.failures += 1
        self._retry_at = time.monotonic() + REOPEN_SECONDS
        error = sys.exc_info()[1]
        message = f"cannot write {self.baseFilename}: {error}; records go to stdout only"
        line = {"timestamp": datetime.now(UTC).isoformat(), "level": "ERROR", "logger": __name__}
        sys.stderr.write(json.dumps({**line, "message": message}) + "\n")
        self.close()


def configure(level: str, style: str, secrets: tuple[str, ...]) -> list[VolumeFileHandler]:
    """Set up all logging and return the file handlers, whose failures are a metric."""
    formatter = LineFormatter(style, secrets)
    stdout = logging.StreamHandler(sys.stdout)
    system = VolumeFileHandler(paths.system_log_dir() / SYSTEM_FILE)
    maintenance = VolumeFileHandler(paths.maintenance_log_dir() / MAINTENANCE_FILE)
    for handler in (stdout, system, maintenance):
        handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(stdout)
    root.addHandler(system)
    root.setLevel(level)
    logger = logging.getLogger(MAINTENANCE)
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(maintenance)
    return [system, maintenance]
