"""Log lines as logrus writes them when stdout is no terminal.

A role that greps the journal for `level=fatal` must find it here too. Output of the components goes
through the same sink, so that `--log` catches both (pkg/cli/cmds/log.go).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

_LOCK = threading.Lock()
_state: dict[str, object] = {"fd": None, "debug": False, "also_stderr": False}


def configure(*, debug: bool, file: str = "", also_stderr: bool = False) -> None:
    """Set the level and, when `file` is given, send all lines to that file as `--log` does."""
    _state["debug"] = debug
    if file:
        os.makedirs(os.path.dirname(os.path.abspath(file)), exist_ok=True)
        _state["fd"] = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _state["also_stderr"] = also_stderr


def write(data: bytes) -> None:
    """Write whole lines to the sink. A reader that has gone away must not stop a node."""
    fd = _state["fd"]
    with _LOCK:
        try:
            if isinstance(fd, int):
                os.write(fd, data)
                if not _state["also_stderr"]:
                    return
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        except OSError:
            return


def _line(level: str, message: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write(f'time="{stamp}" level={level} msg={json.dumps(message, ensure_ascii=False)}\n'.encode())


def debug(message: str) -> None:
    """A line for `--debug`."""
    if _state["debug"]:
        _line("debug", message)


def info(message: str) -> None:
    """What happens in a normal run."""
    _line("info", message)


def warning(message: str) -> None:
    """Something is odd, the run goes on."""
    _line("warning", message)


def error(message: str) -> None:
    """Something failed, the run goes on."""
    _line("error", message)


def fatal(message: str) -> None:
    """Only write the line; the caller leaves, so that children are stopped first."""
    _line("fatal", message)
