"""Run programs, and say clearly what failed."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .errors import BedError

Argument = str | Path


def run(
    argv: Sequence[Argument],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    stdin: str | None = None,
    stdout: IO[bytes] | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    :param log: file that gets both streams instead (then the answer is empty); its end is shown on failure.
    :param stdin: text for standard input. Secrets go in here, never into argv.
    :raises BedError: it is not installed, took longer than ``timeout`` seconds, or exited non-zero.
    """
    words = [str(word) for word in argv]
    try:
        if log is not None:
            with log.open("ab") as sink:
                sink.write(f"$ {shlex.join(words)}\n".encode())
                sink.flush()
                done = subprocess.run(
                    words, cwd=cwd, env=env, input=None if stdin is None else stdin.encode(),
                    stdin=subprocess.DEVNULL if stdin is None else None,
                    stdout=stdout or sink, stderr=sink, timeout=timeout, check=False,
                )
            output, complaint = "", ""
        else:
            done = subprocess.run(
                words, cwd=cwd, env=env, input=None if stdin is None else stdin.encode(),
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False,
            )
            output = (done.stdout or b"").decode(errors="replace")
            complaint = (done.stderr or b"").decode(errors="replace")
    except FileNotFoundError as error:
        raise BedError(f"{error.filename}: not found; run `make setup`") from error
    except subprocess.TimeoutExpired as error:
        raise BedError(f"`{shlex.join(words[:6])} ...` took longer than {timeout:.0f} s") from error
    if done.returncode != 0:
        if log is not None:
            complaint = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        tail = (complaint.strip() or output.strip())[-3000:]
        where = f" (whole log: {log})" if log is not None else ""
        raise BedError(f"`{shlex.join(words[:8])}` exited with {done.returncode}{where}:\n{tail}")
    return output


def succeeds(argv: Sequence[Argument], **options: object) -> bool:
    """True when the program exits with zero. For questions, not for work."""
    try:
        run(argv, **options)  # type: ignore[arg-type]
    except BedError:
        return False
    return True
