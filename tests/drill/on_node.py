"""Runs on a node, as root, with its Python alone: files that are hard to restore, and a listing of them.

    python3 on_node.py make FOLDER COUNT BYTES SPARSE free|group
    python3 on_node.py list FOLDER...

``group``: owners' group and modes are those that the kubelet leaves where a pod has an fsGroup of 1000; with others the
first start of a pod would change them, on the old node as on the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from typing import Any

FSGROUP = 1000
OWNERS = (0, 33, 1000, 1234, 65533)
FREE_MODES = (0o600, 0o640, 0o400, 0o444, 0o755, 0o4755, 0o1777, 0o000)
GROUP_MODES = (0o660, 0o664, 0o666, 0o770, 0o775, 0o4770, 0o1660)
NAMES = ("{}.bin", "with space {}.jsonl", "종목 {}.csv", "Größe_{}.dat", "it's \"{}\".txt", "-{}", "line\nbreak {}")
BLOCK = 1 << 20


def make(folder: str, count: int, size: int, sparse: int, kind: str) -> None:
    """``count`` files of ``size`` bytes in all, and besides them a sparse one, a link, and two names of one file."""
    dice = random.Random(7)
    weights = [dice.random() for _ in range(count)]
    unit = size / sum(weights)
    modes = GROUP_MODES if kind == "group" else FREE_MODES
    os.makedirs(folder)
    folders = [f"{folder}/{number:03d}" for number in range(max(1, count // 100))]
    for place in folders:
        os.mkdir(place)
    paths = []
    for number, weight in enumerate(weights):
        path = f"{folders[number % len(folders)]}/{NAMES[number % len(NAMES)].format(number)}"
        with open(path, "wb") as file:
            file.write(os.urandom(int(weight * unit) + 1))
        paths.append(path)
    sparse_path = f"{folder}/sparse"
    with open(sparse_path, "wb") as file:
        for place_of in (0, sparse // 3, sparse - 3 * BLOCK):
            file.seek(max(0, place_of))
            file.write(os.urandom(BLOCK))
        file.truncate(sparse)
    os.symlink("000/nowhere to be found", f"{folder}/link")
    os.link(paths[0], f"{folder}/another name")
    open(f"{folder}/empty", "wb").close()
    paths += [sparse_path, f"{folder}/empty"]
    for path in paths:
        os.chown(path, dice.choice(OWNERS), FSGROUP if kind == "group" else dice.choice(OWNERS))
        # After the owner, or the bit that runs it as that one is gone.
        os.chmod(path, dice.choice(modes))
    os.chown(f"{folder}/link", 1234, FSGROUP if kind == "group" else 1234, follow_symlinks=False)
    for path in [*folders, folder]:
        os.chown(path, dice.choice(OWNERS), FSGROUP if kind == "group" else dice.choice(OWNERS))
        os.chmod(path, 0o2770 if kind == "group" else dice.choice((0o700, 0o755, 0o1777)))
    # Times last, and of folders after what is in them.
    for path in [*paths, f"{folder}/link", *folders, folder]:
        at = dice.randrange(1_500_000_000, 1_700_000_000) * 10**9 + dice.randrange(10**9)
        os.utime(path, ns=(at, at), follow_symlinks=False)
    os.sync()


def entry(path: str, first: dict[tuple[int, int], str]) -> dict[str, Any]:
    """Everything that is to be equal, and ``allocated``, which is so about."""
    found = os.lstat(path)
    told: dict[str, Any] = {
        "mode": f"{found.st_mode:o}", "uid": found.st_uid, "gid": found.st_gid, "mtime": found.st_mtime_ns,
        "allocated": found.st_blocks * 512}
    if os.path.islink(path):
        told["target"] = os.readlink(path)
    elif not os.path.isdir(path):
        told.update(size=found.st_size, links=found.st_nlink,
                    same_as=first.setdefault((found.st_dev, found.st_ino), path))
        summed = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                summed.update(block)
        told["sha256"] = summed.hexdigest()
    return told


def listing(folders: list[str]) -> dict[str, dict[str, Any]]:
    """Everything at and below folders, by path relative to each one's parent."""
    found: dict[str, dict[str, Any]] = {}
    for top in folders:
        os.chdir(os.path.dirname(top))
        first: dict[tuple[int, int], str] = {}
        name = os.path.basename(top)
        paths = [name] if os.path.lexists(name) else []
        for place, inner, files in os.walk(name):
            inner.sort()
            paths += sorted(f"{place}/{one}" for one in inner + files)
        for path in paths:
            found[path] = entry(path, first)
    return found


def main(words: list[str]) -> None:
    """See above."""
    if words[0] == "make":
        make(words[1], int(words[2]), int(words[3]), int(words[4]), words[5])
    else:
        print(json.dumps(listing(words[1:])))


if __name__ == "__main__":
    main(sys.argv[1:])
