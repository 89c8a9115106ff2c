"""What tests of the backups share: restic itself, and a node's settings for a repository in a folder."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

from backup.restic import Repository
from backup.settings import DatabaseSettings, Settings
from bed import settings as bed_settings
from bed.cache import Cache
from bed.recipes import graph, host_architecture


def restic(folder: Path) -> str:
    """The program that the bed's mirror serves; made from Debian's package when it is not there yet."""
    program = folder / "restic"
    if not program.is_file():
        made = graph(host_architecture()).make(["restic"], Cache(bed_settings.folders().artifacts))["restic"]
        program.write_bytes(bz2.decompress(next(made.glob("*.bz2")).read_bytes()))
        program.chmod(0o755)
    return str(program)


def settings(folder: Path, **more: Any) -> Settings:  # noqa: ANN401
    """A node's settings; its repository is ``folder/repository``."""
    password = folder / "password"
    if not password.is_file():
        password.write_text("a password of these tests\n")
    given: dict[str, Any] = {
        "identity": "tests/ns", "node": "node-a", "repository": str(folder / "repository"), "mode": "archive",
        "namespace": "ns", "storage": str(folder / "storage"), "config_folder": "",
        "claims": {"db": "database", "data": "files"}, "password_file": str(password),
        "database": DatabaseSettings("statefulset/postgres", "postgres", "db"), "environment_file": "",
        "intervals": {"files": 900, "base": 86400}, "epoch": 1, "writer": "aaaa"}
    return Settings(**(given | more))


def repository(folder: Path, program: str, **more: Any) -> Repository:  # noqa: ANN401
    """A node's repository. Nothing is waited for."""
    return Repository(settings(folder, **more), program=program, cache=str(folder / "cache"), lock="0s", seconds=20)
