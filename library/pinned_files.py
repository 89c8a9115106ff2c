#!/usr/bin/python
"""Large files from a release page, each pinned by its SHA-256, whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pinned_files
short_description: Download files that are pinned by checksum, and put them in place
description:
  - In the phase V(fetch) every file whose place does not hold the pinned content is downloaded into a staging folder
    and checked there. When one cannot be had, everything that this call has downloaded is removed again, so that
    the node is as it was. What an earlier run left in the staging folder and nobody needs any more goes; that is no
    change of the node and not reported.
  - In the phase V(install) the checked files are renamed into place, with the time of that as the time of their
    last write, and what is in place gets its mode and root as its owner.
  - A file that is in place is not downloaded again, and the network is not used.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      url:
        description: Where it is downloaded from.
        type: str
        required: true
      sha256:
        description: 64 hexadecimal digits.
        type: str
        required: true
      path:
        description: Its place on the node.
        type: path
        required: true
      mode:
        description: Octal digits.
        type: str
        default: '0644'
      unpack:
        description: >-
          How the download is packed, when what is wanted is what is in it. What was unpacked from which download is
          kept in V(/var/lib/observer-node/unpacked), so that a file that was changed since is told from a right one.
        type: str
        choices: ['', bz2]
        default: ''
  phase:
    description: What to do.
    type: str
    choices: [fetch, install]
    required: true
  staging:
    description: Folder for what is downloaded but not yet in place.
    type: path
    default: /var/cache/observer-node
  timeout:
    description: Seconds without a byte after which a download has failed.
    type: int
    default: 20
  named:
    description: What the variables of version and checksums begin with, for what is said of them.
    type: str
    default: k3s
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Fetch K3s
  pinned_files:
    phase: fetch
    files:
      - url: https://github.com/k3s-io/k3s/releases/download/v1.34.3%2Bk3s1/k3s-arm64
        sha256: "{{ k3s_checksums.arm64['k3s-arm64'] }}"
        path: /usr/local/bin/k3s
        mode: '0755'
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["/usr/local/bin/k3s: installed", "/usr/local/bin/kustomize: mode 0600 to 0755"]
pending:
  description: Paths that do not hold the pinned content yet.
  returned: always
  type: list
  elements: str
wrong:
  description: Those, and paths whose mode or owner is another. With none the phase V(install) has nothing to do.
  returned: always
  type: list
  elements: str
"""

import bz2
import contextlib
import hashlib
import os
import re
import shutil
import stat
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

NAMED = "k3s"
"""What the variables begin with that remedies speak of."""

UNPACKED = "/var/lib/observer-node/unpacked"


class CannotError(Exception):
    """A file that cannot be had, with what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def digest(path: str) -> str | None:
    """SHA-256 of a file; None when there is none."""
    try:
        with open(path, "rb") as file:
            summed = hashlib.sha256()
            while block := file.read(1 << 20):
                summed.update(block)
            return summed.hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def rights(file: dict[str, Any]) -> list[str]:
    """What of mode and owner differs, in the words of the result."""
    found, mode = os.stat(file["path"]), int(file["mode"], 8)
    lines = []
    if stat.S_IMODE(found.st_mode) != mode:
        lines.append(f"{file['path']}: mode {stat.S_IMODE(found.st_mode):04o} to {mode:04o}")
    if (found.st_uid, found.st_gid) != (0, 0):
        lines.append(f"{file['path']}: owner {found.st_uid}:{found.st_gid} to 0:0")
    return lines


def record_of(file: dict[str, Any]) -> str:
    """Where it is kept which download the file was unpacked from, and what that gave."""
    return os.path.join(UNPACKED, hashlib.sha256(file["path"].encode()).hexdigest()[:16])


def found(file: dict[str, Any]) -> str | None:
    """The SHA-256 of the download that a file's content is of; None when there is no file."""
    have = digest(file["path"])
    if not file["unpack"] or have is None:
        return have
    with contextlib.suppress(OSError, ValueError):
        with open(record_of(file), encoding="ascii") as kept:
            packed, unpacked = kept.read().split()
        if unpacked == have:
            return packed
    return "unknown"


def unpack(staged: str, target: str, file: dict[str, Any]) -> None:
    """Unpack a checked download to ``target``, and keep what came of it.

    :raises CannotError: it is not packed like that.
    """
    try:
        with bz2.open(staged) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
    except EOFError as error:
        raise CannotError(f"{file['url']} is no whole file of {file['unpack']}",
                          "correct the file's name and its SHA-256") from error
    os.makedirs(UNPACKED, mode=0o755, exist_ok=True)
    with open(record_of(file), "w", encoding="ascii") as kept:
        kept.write(f"{file['sha256']} {digest(target)}\n")


def download(url: str, sha256: str, target: str, timeout: int) -> None:
    """Download to a file, checked.

    :raises CannotError: when the whole, right content does not arrive.
    """
    part = target + ".part"
    summed = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, open(part, "wb") as file:
            expected = int(answer.headers.get("Content-Length") or 0)
            size = 0
            while block := answer.read(1 << 20):
                file.write(block)
                summed.update(block)
                size += len(block)
            file.flush()
            os.fsync(file.fileno())
        if expected and size < expected:
            raise CannotError(f"the download of {url} was cut off after {size} of {expected} bytes", "run again")
        if summed.hexdigest() != sha256:
            raise CannotError(
                f"{url} has the SHA-256 {summed.hexdigest()}, but {sha256} is pinned: nothing of it was kept",
                f"compare with the release's own checksum file; correct {NAMED}_checksums only if that agrees")
        os.rename(part, target)
    except urllib.error.HTTPError as error:
        raise CannotError(f"{url} answered {error.code} {error.reason}",
                          f"correct {NAMED}_version or the URL of its releases") from error
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CannotError(f"{url} could not be downloaded to {target}: {reason}",
                          "on the node, see that curl reaches it and that the disk has room; then run again") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def remove(paths: list[str], folder: str, made: bool) -> None:
    """Take away what a failed call has left, and the folder if it made it."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
    if made:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def tidy(staging: str, needed: set[str]) -> None:
    """Take away downloads, whole or in part, that a run which was interrupted has left and nobody needs."""
    if not os.path.isdir(staging):
        return
    for name in os.listdir(staging):
        if re.fullmatch(r"[0-9a-f]{64}(\.part)?", name) and name not in needed:
            os.unlink(os.path.join(staging, name))
    with contextlib.suppress(OSError):
        os.rmdir(staging)


def fetch(files: list[dict[str, Any]], staging: str, timeout: int, *, check: bool) -> list[str]:
    """Have every file staged whose place holds something else. Returns the lines of what was downloaded."""
    missing = [file for file in files if digest(os.path.join(staging, file["sha256"])) != file["sha256"]]
    changes = [f"{file['url']}: downloaded" for file in missing]
    if check:
        return changes
    # First, since it may be what fills the disk.
    tidy(staging, {file["sha256"] for file in files})
    if not missing:
        return changes
    made = not os.path.isdir(staging)
    os.makedirs(staging, mode=0o700, exist_ok=True)
    done: list[str] = []
    try:
        for file in missing:
            target = os.path.join(staging, file["sha256"])
            done.append(target)
            download(file["url"], file["sha256"], target, timeout)
    except CannotError:
        remove(done, staging, made)
        raise
    return changes


def set_rights(path: str, mode: str) -> None:
    os.chown(path, 0, 0)
    os.chmod(path, int(mode, 8))


def mend(files: list[dict[str, Any]], *, check: bool) -> list[str]:
    """Give what is in place its mode and owner. Returns the lines of what differed."""
    changes = []
    for file in files:
        lines = rights(file)
        if lines and not check:
            set_rights(file["path"], file["mode"])
        changes += lines
    return changes


def install(files: list[dict[str, Any]], staging: str, *, check: bool) -> list[str]:
    """Rename what is staged into place. Returns the lines of what was put there."""
    changes = []
    for file in files:
        changes.append(f"{file['path']}: installed")
        if check:
            continue
        staged = os.path.join(staging, file["sha256"])
        if digest(staged) != file["sha256"]:
            raise CannotError(f"{file['path']} was not fetched before it is to be installed", "run the whole playbook")
        os.makedirs(os.path.dirname(file["path"]), mode=0o755, exist_ok=True)
        beside = f"{file['path']}.observer-node"
        try:
            if file["unpack"]:
                unpack(staged, beside, file)
            else:
                os.link(staged, beside)
        except FileExistsError:
            os.unlink(beside)
            os.link(staged, beside)
        except OSError:
            if file["unpack"]:
                raise
            # Another file system.
            shutil.copyfile(staged, beside)
        set_rights(beside, file["mode"])
        # A process that started after the download but before this has not read it.
        os.utime(beside)
        os.rename(beside, file["path"])
        os.unlink(staged)
    if not check:
        with contextlib.suppress(OSError):
            os.rmdir(staging)
    return changes


def main() -> None:
    """Fetch or install what is not in place."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": {
                "url": {"type": "str", "required": True},
                "sha256": {"type": "str", "required": True},
                "path": {"type": "path", "required": True},
                "mode": {"type": "str", "default": "0644"},
                "unpack": {"choices": ["", "bz2"], "default": ""},
            }},
            "phase": {"choices": ["fetch", "install"], "required": True},
            "staging": {"type": "path", "default": "/var/cache/observer-node"},
            "timeout": {"type": "int", "default": 20},
            "named": {"type": "str", "default": "k3s"},
        },
        supports_check_mode=True,
    )
    staging, check = module.params["staging"], module.check_mode
    global NAMED
    NAMED = module.params["named"]
    files = [{**file, "sha256": file["sha256"].lower()} for file in module.params["files"]]
    unpinned = [file for file in files if not re.fullmatch("[0-9a-f]{64}", file["sha256"])]
    if unpinned:
        module.fail_json(msg=f"the SHA-256 pinned for {unpinned[0]['url']} is not 64 hexadecimal digits",
                         remedy=f"correct it in {NAMED}_checksums")
    malformed = [file for file in files if not re.fullmatch("0?[0-7]{3,4}", file["mode"])]
    if malformed:
        module.fail_json(msg=f"{malformed[0]['path']}: mode {malformed[0]['mode']} is not octal",
                         remedy="quote it: mode: '0644'")
    # On all cores: hashing is most of a run that changes nothing, and does not hold the interpreter's lock.
    with ThreadPoolExecutor(max(1, len(files))) as pool:
        digests = list(pool.map(found, files))
    pending = [file for file, have in zip(files, digests, strict=True) if have != file["sha256"]]
    held = [file for file in files if file not in pending]
    try:
        wrong = [file["path"] for file in files if file in pending or rights(file)]
        if module.params["phase"] == "fetch":
            changes = fetch(pending, staging, module.params["timeout"], check=check)
        else:
            changes = install(pending, staging, check=check) + mend(held, check=check)
    except CannotError as error:
        module.fail_json(msg=str(error), remedy=error.remedy)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", remedy="mend it on the node and run again")
    module.exit_json(changed=bool(changes), changes=changes, pending=[file["path"] for file in pending], wrong=wrong)


if __name__ == "__main__":
    main()
