"""Disks, folders and volumes of a node: room, owners, modes (seed 001, Steps 1 and 4).

Only looks. Only the standard library, Python 3.10.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .containers import read, unescape

VOLUME = re.compile(r"(pvc-[0-9a-f-]{36})_([a-z0-9-]+)_(.+)")
"""What local-path names its folders: ``<volume>_<namespace>_<claim>``."""

MEASURE_SECONDS = 2.0
"""For counting all volumes together. What is not counted by then has no size."""

LONGER_SECONDS = 20.0
"""The same, when it depends on them whether there is the room that is asked for."""

CHOICE_SECONDS = 10.0
"""For counting the folders of which one is to be chosen: what is not counted cannot be told from an empty one."""

CARRIED = ("/", "/var", "/var/log", "/var/lib/rancher", "/var/lib/kubelet", "/etc", "/tmp")
"""Folders whose file systems the node cannot do without, besides the volumes'."""

REMOTE = re.compile(r"nfs\d?|cifs|smb3?|9p|ceph|glusterfs|fuse\..*|autofs")
"""File systems whose server may be gone: asking them for their room would hang."""

KINDS = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def folder(path: str) -> dict[str, Any]:
    """What stands at a path: ``exists``, ``type``, ``uid``, ``gid`` and ``mode`` (``0755``)."""
    try:
        found = os.lstat(path)
    except OSError:
        return {"exists": False, "type": "", "uid": None, "gid": None, "mode": None}
    return {"exists": True, "type": KINDS.get(stat.S_IFMT(found.st_mode), ""), "uid": found.st_uid,
            "gid": found.st_gid, "mode": f"{stat.S_IMODE(found.st_mode):04o}"}


def mounted(proc: str = "/proc") -> list[dict[str, Any]]:
    """The node's mounts in their order: ``target``, ``device``, ``type``, ``source``, ``read_only``."""
    found = []
    for line in read(f"{proc}/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        device, _, target, options = left.split()[2:6]
        kind, source, whole = right.split()[:3]
        found.append({"target": unescape(target), "device": device, "type": kind, "source": unescape(source),
                      "read_only": "ro" in f"{options},{whole}".split(",")})
    return found


def path_of(volume: Mapping[str, Any]) -> str:
    """The folder that a PersistentVolume leads to; empty for one that leads to none."""
    spec = volume.get("spec") or {}
    return str((spec.get("local") or spec.get("hostPath") or {}).get("path") or "")


def node_of(volume: Mapping[str, Any]) -> str:
    """The node that a PersistentVolume is bound to; empty when it is bound to none."""
    terms = (((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms")
    return next((str(value) for term in terms or () for one in term.get("matchExpressions") or ()
                 if one.get("key") == "kubernetes.io/hostname" for value in one.get("values") or ()), "")


def below(path: str, target: str) -> bool:
    return path == target or path.startswith(f"{target.rstrip('/')}/")


def mount_of(path: str, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """The mount that a path lies on; of several at one place the last, which covers the others."""
    empty = {"target": "/", "device": "", "type": "", "source": "", "read_only": False}
    return max((one for one in mounts if below(path, one["target"])),
               key=lambda one: (len(one["target"]), mounts.index(one)), default=empty)


def room(path: str) -> dict[str, Any]:
    """Bytes and inodes of the file system that a path lies on; what root alone may use does not count as free."""
    found = os.statvfs(path)
    return {"bytes": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize,
            "inodes": found.f_files, "inodes_free": found.f_favail}


def disks(storage_path: str, mounts: list[dict[str, Any]], errors: list[dict[str, str]]) -> list[dict[str, Any]]:
    """File systems of disks, each once: ``mount``, ``filesystem``, ``read_only``, room, and ``carries``: the folders
    the node needs that lie on it."""
    carried: dict[str, list[str]] = {}
    for path in dict.fromkeys([*CARRIED, storage_path]):
        if path and os.path.isdir(path):
            carried.setdefault(mount_of(os.path.realpath(path), mounts)["device"], []).append(path)
    found: dict[str, dict[str, Any]] = {}
    for one in mounts:
        device, target = one["device"], one["target"]
        disk = one["source"].startswith("/dev/") and one["type"] not in ("squashfs", "iso9660")
        if device in found or REMOTE.fullmatch(one["type"]) or not (disk or device in carried):
            continue
        try:
            if os.path.isdir(target):
                found[device] = {"mount": target, "filesystem": one["type"], "read_only": one["read_only"],
                                 "carries": carried.get(device, []), **room(target)}
        except OSError as error:
            errors.append({"about": f"file system {target}", "why": str(error)})
    return list(found.values())


def storage(path: str, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """The folder of the volumes: owner and mode, the file system that it lies or would lie on, and its room."""
    real = os.path.realpath(path)
    parent = real
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    on = mount_of(parent, mounts)
    found = {"path": path, **folder(real), "mount": on["target"], "filesystem": on["type"], "why": ""}
    del found["type"]
    found["exists"] = os.path.isdir(real)
    if REMOTE.fullmatch(on["type"]):
        return {**found, "bytes": None, "free": None, "inodes": None, "inodes_free": None, "writable": False,
                "why": f"{on['target']} is a file system of another machine ({on['type']})"}
    space = room(parent)
    if not found["exists"]:
        found["why"] = "it is not there"
    elif on["read_only"]:
        found["why"] = f"{on['target']} is mounted read-only"
    elif not space["free"]:
        found["why"] = f"{on['target']} has no room"
    elif space["inodes"] and not space["inodes_free"]:
        found["why"] = f"{on['target']} has no inodes"
    elif not os.access(real, os.W_OK | os.X_OK):
        found["why"] = "root may not write"
    return {**found, **space, "writable": not found["why"]}


def volumes(path: str, errors: list[dict[str, str]], seconds: float = MEASURE_SECONDS) -> list[dict[str, Any]]:
    """Folders of volumes below the storage folder, orphans too: anything that is named like one.

    ``bytes`` are those that the files take up on the disk; ``bytes``, ``files`` and ``newest`` are None for a volume
    that could not be counted within the time that all of them have.
    """
    try:
        entries = sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        errors.append({"about": path, "why": str(error)})
        return []
    ends, found = time.monotonic() + seconds, []
    for entry in entries:
        match, place = VOLUME.fullmatch(entry), f"{path.rstrip('/')}/{entry}"
        one = folder(place)
        if match and one["type"] == "dir":
            found.append({"name": match[1], "namespace": match[2], "claim": match[3], "path": place,
                          **measure(place, ends), **{key: one[key] for key in ("uid", "gid", "mode")}})
    return found


def decided(found: list[dict[str, Any]], free: int | None, wanted: int | None) -> list[dict[str, Any]]:
    """The volumes; those without a size are counted again, and longer, when it depends on them whether what is free and
    what they hold come to ``wanted`` bytes."""
    lacking = [one for one in found if one["bytes"] is None]
    if not lacking or not wanted or free is None or free + sum(one["bytes"] or 0 for one in found) >= wanted:
        return found
    ends = time.monotonic() + LONGER_SECONDS
    return [{**one, **measure(one["path"], ends)} if one in lacking else one for one in found]


def measure(path: str, ends: float) -> dict[str, Any]:
    """Bytes on the disk, files, and the time of the newest; nothing known when the time is over before."""
    total, files, newest, folders = 0, 0, 0.0, [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if time.monotonic() > ends:
                        return {"bytes": None, "files": None, "newest": None}
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # deleted while it is counted
                    total += found.st_blocks * 512
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(entry.path)
                    else:
                        files, newest = files + 1, max(newest, found.st_mtime)
        except OSError:
            continue  # deleted while it is counted
    return {"bytes": total, "files": files, "newest": newest or None}


def measured(folder: str, endings: list[str], paths: list[str], named: list[str]) -> list[dict[str, Any]]:
    """Folders below the storage folder by the end of their name, others by path, and some of it by name or path; those
    that are there, each with ``path``, ``bytes``, ``files`` and ``newest``. A link to a folder is one.

    :raises OSError: the storage folder cannot be read; one that is not there has none.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        names = []
    places = [place for name in names if (place := f"{folder.rstrip('/')}/{name}")
              and (name.endswith(tuple(endings)) or {name, place} & set(named))]
    ends = time.monotonic() + CHOICE_SECONDS
    return [{"path": place, **measure(place, ends)} for place in dict.fromkeys([*places, *paths])
            if os.path.isdir(place)]


def used_by(found: Iterable[dict[str, Any]]) -> int | None:
    """Bytes of all volumes together; None when one of them was not counted."""
    sizes = [one["bytes"] for one in found]
    return None if None in sizes else sum(sizes)
