"""Entry point: settings, logs, then the runner."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import NoReturn

from observer import config, logging_setup, observer_runner

log = logging.getLogger(__name__)

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
CRASH_SECONDS = 2.0


def run() -> int:
    """Return the exit status."""
    try:
        settings = config.load(observer_runner.REQUIRED)
    except config.ConfigError as error:
        # Neither level nor folders can be trusted yet: stdout only, always JSON.
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging_setup.LineFormatter("json", ()))
        logging.getLogger().addHandler(handler)
        log.critical("%s", error, extra={"fields": {"exit_code": EXIT_CONFIG}})
        return EXIT_CONFIG
    files = logging_setup.configure(settings.log_level, settings.log_format, settings.secrets)
    if settings.build_variant == "crash":
        log.critical("build variant crash: this image exits on purpose", extra={"fields": {"exit_code": 1}})
        time.sleep(CRASH_SECONDS)
        return 1
    try:
        # Not asyncio.run: on its way out it waits for threads, and one that hangs in a name look-up
        # would hold the process past its 10 s.
        return asyncio.new_event_loop().run_until_complete(observer_runner.run(settings, files))
    except Exception:
        log.critical("unexpected end", exc_info=True)
        return 1


def main() -> NoReturn:
    """Run and leave."""
    code = run()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: it waits for such threads, too.
    os._exit(code)
