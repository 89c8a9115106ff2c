"""Programs of another architecture on this machine, as long as something is built with them.

The kernel hands them to a static emulator (binfmt_misc). That is a setting of the whole machine: it is made when the
first build needs it and taken back when the last one ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import settings
from .cache import lock
from .errors import BedError
from .shell import run

BINFMT = Path("/proc/sys/fs/binfmt_misc")


@contextmanager
def emulated(architecture: str) -> Iterator[None]:
    """Let this machine run programs of an architecture, and put back what was changed for it.

    :raises BedError: the kernel cannot, or there is no emulator.
    """
    kernel_name = settings.ARCHITECTURES[architecture]
    format_name = f"qemu-{kernel_name}"
    folder = settings.folders().cache / "run" / f"emulation-{architecture}"
    gate = folder.with_suffix(".lock")
    user = folder / f"user-{os.getpid()}-{threading.get_ident()}"
    with lock(gate):
        folder.mkdir(parents=True, exist_ok=True)
        _forget_the_dead(folder)
        if not _enabled(format_name):
            _enable(format_name, folder)
        user.touch()
    try:
        yield
    finally:
        with lock(gate):
            user.unlink(missing_ok=True)
            _forget_the_dead(folder)
            if not any(folder.glob("user-*")):
                _put_back(format_name, folder)


def _enabled(format_name: str) -> bool:
    entry = BINFMT / format_name
    return entry.is_file() and entry.read_text().startswith("enabled")


def _enable(format_name: str, folder: Path) -> None:
    """Note what is done, first: whoever ends it may be another process."""
    if not (BINFMT / "register").exists():
        (folder / "mounted").touch()
        run(["mount", "-t", "binfmt_misc", "none", BINFMT])
    if not _enabled(format_name):
        (folder / "enabled").touch()
        run(["update-binfmts", "--enable", format_name])
    if not _enabled(format_name):
        raise BedError(f"this machine does not run {format_name} after `update-binfmts --enable {format_name}`")


def _put_back(format_name: str, folder: Path) -> None:
    if (folder / "enabled").exists():
        run(["update-binfmts", "--disable", format_name])
        (folder / "enabled").unlink()
    if (folder / "mounted").exists():
        run(["umount", BINFMT])
        (folder / "mounted").unlink()


def _forget_the_dead(folder: Path) -> None:
    for path in folder.glob("user-*"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            path.unlink()
