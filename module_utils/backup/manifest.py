"""What is in saved folders: each entry with what a restore of it has to bring back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence

from .files import write_file

KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFSOCK: "s",
         stat.S_IFBLK: "b", stat.S_IFCHR: "c"}

Entry = tuple[str, str, int, int, int, int, int, str]
"""Path, kind, mode, owner, group, size, time of the last write in ns, SHA-256 (of a file) or target (of a link)."""


def entries(folder: str, known: dict[str, list[str]], skipped: Sequence[str] = ()) -> Iterator[Entry]:
    """A folder and all below it. What vanishes meanwhile is left out.

    :param known: SHA-256 of files by path, each with what it was true for; brought up to date.
    :param skipped: names right below the folder that are left out.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
            kind = KINDS.get(stat.S_IFMT(found.st_mode), "?")
            what = ""
            if kind == "f":
                what = _hash(path, found, known)
            elif kind == "l":
                what = os.readlink(path)
            elif kind == "d":
                waiting += [f"{path}/{name}" for name in os.listdir(path) if path != folder or name not in skipped]
            yield (path, kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid,
                   found.st_size if kind == "f" else 0, found.st_mtime_ns, what)


def _hash(path: str, found: os.stat_result, known: dict[str, list[str]]) -> str:
    true_for = f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    have = known.get(path)
    if have and have[0] == true_for:
        return have[1]
    digest = file_digest(path)
    known[path] = [true_for, digest]
    return digest


def file_digest(path: str) -> str:
    """SHA-256 of a file.

    :raises OSError: it cannot be read.
    """
    summed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            summed.update(block)
    return summed.hexdigest()


def write_manifest(folders: Sequence[str], path: str, cache: str, skipped: Sequence[str] = ()) -> tuple[int, str]:
    """Write what is in the folders, one entry a line as JSON, by path; how many there are, and the file's SHA-256.

    :param cache: file of hashes that need not be made again.
    :raises OSError: a folder cannot be read or a file not be written.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        with open(cache, encoding="utf-8") as file:
            known = json.load(file)
    except (OSError, ValueError):
        known = {}
    found = sorted(entry for folder in folders for entry in entries(folder, known, skipped))
    text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in found)
    write_file(path, text, 0o600)
    files = {entry[0] for entry in found if entry[1] == "f"}
    write_file(cache, json.dumps({name: have for name, have in known.items() if name in files}), 0o600)
    return len(found), hashlib.sha256(text.encode()).hexdigest()


def read_manifest(path: str) -> Iterator[Entry]:
    """The entries of a manifest.

    :raises OSError, ValueError: it cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, kind, mode, uid, gid, size, mtime, what = json.loads(line)
            yield name, kind, mode, uid, gid, size, mtime, what
