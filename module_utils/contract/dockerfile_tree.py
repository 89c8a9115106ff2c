"""What a Dockerfile's steps make of folders and users: a model of the file system, as far as it can be known."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from fnmatch import fnmatchcase

from .classes import dataclass
from .dockerfile_words import GLOB, UNKNOWN, Budget
from .facts import Folder, Unchecked, number
from .model import ContractError, Place

BASE_USER = -1
"""Owner of what is made while the base image decides who runs, until the whole file is read (``Tree.settle``)."""
KEEP = -2
"""Owner or group that a `chown` leaves as it is."""
MOST_FOLDERS = 20_000
SET_GROUP = 0o2000
"""In a folder's mode: what is made in it gets its group, and folders this bit too."""
UNRESOLVED = "the path cannot be resolved without running the build"
PLAIN_MODE = 0o755
"""What a builder gives the folders that it makes itself."""

STANDARD = frozenset({
    "/", "/bin", "/boot", "/dev", "/etc", "/etc/apt", "/etc/ssl", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt",
    "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local",
    "/usr/local/bin", "/usr/local/etc", "/usr/local/lib", "/usr/local/sbin", "/usr/local/share", "/usr/sbin",
    "/usr/share", "/usr/src", "/var", "/var/cache", "/var/lib", "/var/lib/apt", "/var/log", "/var/mail", "/var/opt",
    "/var/run", "/var/spool", "/var/tmp"})
"""Folders that every base image brings: one that "makes" them changes nothing."""


@dataclass
class Tree:
    """Folders, users and groups of a stage; all of the base image that is external is unknown and so not in it."""

    file: str
    budget: Budget
    external: bool = True
    """Whether there is a base image (not ``scratch``)."""
    root_runs: bool = False
    """Whether it is certain that the base image's user is root: something was run that only root can."""
    folders: dict[str, Folder] = field(default_factory=dict)
    users: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    """Files that were copied in, by their paths."""
    copied: set[str] = field(default_factory=set)
    """Folders into which the build's context was copied: what is run from there is nobody's known command."""
    perhaps: set[str] = field(default_factory=set)
    """Folders that may be there: made on a condition."""
    unchecked: dict[tuple[int, str, str], Unchecked] = field(default_factory=dict)

    def copy(self) -> Tree:
        """The start of a stage that is built on this one."""
        self.budget.spend(len(self.folders) + len(self.users) + len(self.groups) + len(self.files) + 1)
        return replace(self, folders=dict(self.folders), users=dict(self.users), groups=dict(self.groups),
                       homes=dict(self.homes), files=set(self.files), copied=set(self.copied),
                       perhaps=set(self.perhaps), unchecked=dict(self.unchecked))

    def doubt(self, line: int, reason: str, about: str = "") -> None:
        """Note what cannot be resolved: ``about`` may contain ``UNKNOWN``, which a pattern then stands for."""
        self.budget.spend(1)
        about = shell_pattern(about) if UNKNOWN in about else about
        about = "" if about == "*" else about
        self.unchecked.setdefault((line, reason, about), Unchecked(Place(self.file, line), reason, about))

    # --- folders ------------------------------------------------------------------------------------

    def make(self, path: str, line: int, uid: int | None, gid: int | None, mode: int | None = PLAIN_MODE,
             parents: int | None = PLAIN_MODE) -> None:
        """A folder that a step makes, with its parents (``parents``: their mode); one that is there stays as it is."""
        place = Place(self.file, line)
        wanted = [(path, mode), *((parent, parents) for parent in above(path))]
        self.budget.spend(len(wanted) + len(path) * len(wanted) // 64)
        for each, its_mode in reversed(wanted):
            # Whose home it is, and how it got there, is not this step's to say.
            brought = each in STANDARD or (each != path and re.fullmatch(r"/home/[^/]+", each))
            if each in self.folders or (self.external and brought):
                continue
            made = Folder(each, uid, gid, its_mode, place)
            parent = self.folders.get(posixpath.dirname(each))
            if parent and (parent.mode or 0) & SET_GROUP:
                made = replace(made, gid=parent.gid, mode=None if its_mode is None else its_mode | SET_GROUP)
            self.folders[each] = replace(made, uid=None, gid=None, mode=None) if each in self.perhaps else made
        self.files.discard(path)
        if len(self.folders) > MOST_FOLDERS:
            raise ContractError(f"{self.file}:{line} makes more than {MOST_FOLDERS:,} folders.",
                                "Write out the folders that are meant.", place)

    def may_make(self, path: str, line: int) -> None:
        """A folder that a step makes on a condition, or at a path with something unknown in it, and its parents."""
        self.budget.spend(len(path) // 8)
        for each in (path, *above(path)):
            if each not in self.folders and each not in STANDARD and each != UNKNOWN:
                self.perhaps.add(each)
                self.doubt(line, UNRESOLVED if UNKNOWN in path else "the folder is made on a condition only", each)

    def change(self, path: str, line: int, recursive: bool, change: Callable[[Folder], Folder],
               add: bool = True) -> None:
        """Change folders that a path (or pattern) names.

        :param recursive: those below them too.
        :param add: the step proves that the path is there, so it is taken as a folder unless a file was copied there.
        """
        if add and not GLOB.search(path) and path not in self.folders and path not in self.files:
            self.folders[path] = Folder(path, None, None, None, Place(self.file, line))
        found = self.matching(path, recursive)
        self.budget.spend(4 * len(found))
        for each in found:
            self.folders[each] = change(self.folders[each])

    def remove(self, path: str, recursive: bool) -> None:
        """Folders that a path or pattern names are gone, those below them too where ``recursive``."""
        for each in self.matching(path, recursive):
            del self.folders[each]
        self.files.discard(path)

    def matching(self, pattern: str, recursive: bool) -> list[str]:
        """Folders that a path or shell pattern names, or may name where a part of it is unknown."""
        if UNKNOWN in pattern:
            return self._perhaps(pattern, recursive)
        if not GLOB.search(pattern) and not recursive:
            return [pattern] if pattern in self.folders else []
        self.budget.spend(len(self.folders) // 4 + 1)
        if not GLOB.search(pattern):
            below = pattern.rstrip("/") + "/"
            return [path for path in self.folders if path == pattern or path.startswith(below)]
        parts = pattern.split("/")
        self.budget.spend(2 * len(self.folders))
        found = []
        for path in self.folders:
            given = path.split("/")
            if (len(given) == len(parts) or (recursive and len(given) > len(parts))) and all(
                    fnmatchcase(name, part) for name, part in zip(given, parts, strict=False)):
                found.append(path)
        return found

    def _perhaps(self, path: str, recursive: bool) -> list[str]:
        """What is unknown may have slashes in it, or be nothing at all."""
        pattern = f"{shell_pattern(path)}{'*' if recursive else ''}"
        self.budget.spend(len(self.folders))
        return [each for each in self.folders if fnmatchcase(each, pattern) or fnmatchcase(f"{each}/", pattern)]

    def below(self, path: str) -> Iterator[Folder]:
        """The folder at a path and those below it."""
        for each in self.matching(path, recursive=True) if not GLOB.search(path) else []:
            yield self.folders[each]

    # --- users and groups ---------------------------------------------------------------------------

    def uid(self, name: str) -> int | None:
        """The number of a user's name or number; None when only the base image knows it."""
        return 0 if name == "root" else self.users.get(name, (number(name), None))[0]

    def gid(self, name: str) -> int | None:
        """The number of a group's name or number; None when only the base image knows it."""
        return 0 if name == "root" else self.groups.get(name, number(name))

    def login_group(self, user: str) -> int | None:
        """The group that a user's name or number belongs to by ``/etc/passwd``."""
        if user in {"root", "0"}:
            return 0
        if user in self.users:
            return self.users[user][1]
        return next((gid for uid, gid in self.users.values() if uid == number(user)), None)

    def settle(self) -> None:
        """Replace ``BASE_USER``: it is root, or it is unknown."""
        base = 0 if self.root_runs or not self.external else None
        for path, folder in self.folders.items():
            if BASE_USER in {folder.uid, folder.gid}:
                self.folders[path] = replace(folder, uid=base if folder.uid == BASE_USER else folder.uid,
                                             gid=base if folder.gid == BASE_USER else folder.gid)


def above(path: str) -> list[str]:
    """The parents of a path, the nearest first, without the root."""
    parents = []
    while (path := posixpath.dirname(path)) not in {"/", ""}:
        parents.append(path)
    return parents


def shell_pattern(path: str) -> str:
    """A pattern for a path with something unknown in it."""
    return re.sub(f"{UNKNOWN}+", "*", re.sub(r"([*?\[])", r"[\1]", path))


def normal(path: str) -> str:
    """A path without ``.``, ``..`` and doubled slashes; ``UNKNOWN`` where what is unknown could be climbed out of."""
    if UNKNOWN in path and ".." in path.split("/"):
        return UNKNOWN
    path = posixpath.normpath(path)
    return "/" + path.lstrip("/") if path.startswith("/") else path


def mode_of(text: str) -> int | None:
    """The number of an octal mode; None of a symbolic or unknown one."""
    return int(text, 8) & 0o7777 if re.fullmatch(r"[0-7]{1,5}", text, re.ASCII) else None


def passwd(text: str) -> dict[str, tuple[int, int | None]]:
    """Names of ``/etc/passwd`` with uid and gid; the first line of a name counts, as it does for the C library."""
    users: dict[str, tuple[int, int | None]] = {}
    for fields in colons(text):
        uid, gid = (number(part) for part in (*fields[2:4], "", "")[:2])
        if uid is not None and gid is not None:
            users.setdefault(fields[0], (uid, gid))
    return users


def group(text: str) -> dict[str, int]:
    """Names of ``/etc/group`` with their numbers."""
    groups: dict[str, int] = {}
    for fields in colons(text):
        gid = number(fields[2]) if len(fields) > 2 else None
        if gid is not None:
            groups.setdefault(fields[0], gid)
    return groups


def colons(text: str) -> Iterator[list[str]]:
    """Lines of ``/etc/passwd`` and its like, in fields."""
    for line in text.split("\n"):
        name, *others = line.strip().split(":")
        if name and not name.startswith("#"):
            yield [name, *others]
