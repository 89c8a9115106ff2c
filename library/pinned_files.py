#!/usr/bin/python
"""Large files from a release page, each pinned by its SHA-256, whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pinned_files
short_description: Download files that are pinned by checksum, and put them in place
description:
  - In the phase V(fetch) every file whose place does not hold the pinned content is downloaded into a staging folder
    and checked there. When one cannot be had, everything that this call has downloaded is removed again, so that
    the node is as it was.
  - In the phase V(install) the checked files are renamed into place.
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
  description: One line a file, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["/usr/local/bin/k3s: installed"]
pending:
  description: Paths that do not hold the pinned content yet.
  returned: always
  type: list
  elements: str
"""

import contextlib
import hashlib
import os
import shutil
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule


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
                "compare with the release's own checksum file; correct k3s_checksums only if that agrees")
        os.rename(part, target)
    except urllib.error.HTTPError as error:
        raise CannotError(f"{url} answered {error.code} {error.reason}",
                          "correct k3s_version or k3s_release_url") from error
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


def fetch(files: list[dict[str, Any]], staging: str, timeout: int, *, check: bool) -> list[str]:
    """Have every file staged whose place holds something else. Returns the lines of what was downloaded."""
    missing = [file for file in files if digest(os.path.join(staging, file["sha256"])) != file["sha256"]]
    changes = [f"{file['url']}: downloaded" for file in missing]
    if check or not missing:
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
            os.link(staged, beside)
        except FileExistsError:
            os.unlink(beside)
            os.link(staged, beside)
        except OSError:
            # Another file system.
            shutil.copyfile(staged, beside)
        os.chown(beside, 0, 0)
        os.chmod(beside, int(file["mode"], 8))
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
            }},
            "phase": {"choices": ["fetch", "install"], "required": True},
            "staging": {"type": "path", "default": "/var/cache/observer-node"},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    staging, check = module.params["staging"], module.check_mode
    files = [{**file, "sha256": file["sha256"].lower()} for file in module.params["files"]]
    wrong = [file for file in files if len(file["sha256"]) != 64 or set(file["sha256"]) - set("0123456789abcdef")]
    if wrong:
        module.fail_json(msg=f"the SHA-256 pinned for {wrong[0]['url']} is not 64 hexadecimal digits",
                         remedy="correct it in k3s_checksums")
    pending = [file for file in files if digest(file["path"]) != file["sha256"]]
    try:
        if module.params["phase"] == "fetch":
            changes = fetch(pending, staging, module.params["timeout"], check=check)
        else:
            changes = install(pending, staging, check=check)
    except CannotError as error:
        module.fail_json(msg=str(error), remedy=error.remedy)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", remedy="mend it on the node and run again")
    module.exit_json(changed=bool(changes), changes=changes, pending=[file["path"] for file in pending])


if __name__ == "__main__":
    main()
