#!/usr/bin/python
"""Files, folders and links that a role owns, made as declared by one call over a list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: owned_files
short_description: Make files, folders and links on a node as declared
description:
  - Compares every listed path with what is declared and mends only what differs.
  - A file is written beside its place and renamed, so that there is never half a file, and its mode and owner
    are right before its name is.
  - Folders on the way that are missing are made too (root, V(0755)) and told.
  - One call over a list, because a call costs more than the work of all of them.
options:
  files:
    description: What has to be there.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      state:
        description: V(absent) removes a file or a link, and a folder only when it is empty.
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: Text of a V(file), in UTF-8. Left out, a file's content is nobody's business and is not made.
        type: str
      target:
        description: Where a V(link) points.
        type: str
      mode:
        description: Octal digits. The default is V(0644), and V(0755) for a folder.
        type: str
      owner:
        description: Name or number of the user.
        type: str
        default: root
      group:
        description: Name or number of the group.
        type: str
        default: root
      secret_content:
        description: Like O(files[].content), for what must never be shown, not in a diff and not in a log.
        type: str
      initial:
        description: >-
          Content of a V(file) that is made when there is none. It belongs to somebody else from then on, its mode
          and owner included.
        type: str
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: observer-node
"""

EXAMPLES = r"""
- name: Write the settings
  owned_files:
    files:
      - {path: /etc/rancher/k3s, state: directory}
      - {path: /etc/rancher/k3s/config.yaml, content: "{{ settings }}", mode: '0600'}
      - {path: /etc/rancher/k3s/token, secret_content: "{{ token }}", mode: '0600'}
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["/etc/rancher/k3s/config.yaml: content"]
"""

import grp
import os
import pwd
import stat
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


class CannotError(Exception):
    """A path that cannot be made as declared, with what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def number(name: str, database: str) -> int:
    """User or group number of a name or of digits.

    :raises CannotError: when the node has no such user or group.
    """
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if database == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise CannotError(f"there is no {database} {name} on the node", f"name a {database} that exists, or a number") \
            from None


def missing(path: str, planned: set[str]) -> list[str]:
    """Folders on the way to a path, and itself, that are neither there nor planned; the outermost first."""
    found: list[str] = []
    while path not in planned and not os.path.lexists(path):
        found.insert(0, path)
        path = os.path.dirname(path)
    return found


def make_folder(path: str, mode: int) -> None:
    """A folder with this very mode, whatever the umask."""
    os.mkdir(path, mode=0o700)
    os.chmod(path, mode)


class Owned:
    """One declared path.

    :ivar changes: what differs, in the words of the module's result.
    """

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.path: str = wanted["path"]
        self.state: str = wanted["state"]
        given = [text for name in ("content", "secret_content") if (text := wanted[name]) is not None]
        self.content: bytes | None = given[0].encode() if given else None
        self.initial: str | None = wanted["initial"]
        self.target: str | None = wanted["target"]
        self.secret: bool = wanted["secret_content"] is not None
        digits = wanted["mode"] or ("0755" if self.state == "directory" else "0644")
        if not self.path.startswith("/"):
            raise CannotError(f"{self.path} is not an absolute path", "declare paths from the root")
        try:
            self.mode = int(digits, 8)
        except ValueError:
            raise CannotError(f"{self.path}: mode {digits} is not octal", "quote it: mode: '0644'") from None
        if self.state == "link" and not self.target:
            raise CannotError(f"{self.path}: a link needs a target", "declare target")
        self.owner = number(wanted["owner"], "user")
        self.group = number(wanted["group"], "group")
        self.changes: list[str] = []
        self.parents: list[str] = []
        self.diff: dict[str, str] | None = None

    def compare(self, planned: set[str]) -> None:
        """Find out what differs.

        :param planned: paths that are going to be there before this one, which is added.
        :raises CannotError: when something of another kind is in the way.
        """
        if not os.path.lexists(self.path):
            if self.state != "absent":
                if self.state == "file" and self.content is None:
                    if self.initial is None:
                        raise CannotError(f"{self.path} is not there, and no content is declared", "declare content")
                    self.content = self.initial.encode()
                self.parents = missing(os.path.dirname(self.path), planned)
                self.changes += [f"{parent}: created" for parent in self.parents]
                self.say("created")
                planned.update(self.parents, [self.path])
                if self.state == "file":
                    self.show("", self.text(self.content))
            return
        found = os.lstat(self.path)
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "special file")
        if self.state == "absent":
            if kind == "directory" and os.listdir(self.path):
                raise CannotError(f"{self.path} should go but is a folder with files in it",
                                  f"look at what is in {self.path} and remove it by hand")
            self.say("removed")
            return
        if kind != self.state:
            # Replacing a link or a file by the other of the two loses nothing that is not declared anew.
            if {kind, self.state} <= {"file", "link"}:
                self.say(f"{kind} replaced by a {self.state}")
                return
            raise CannotError(f"{self.path} is a {kind} and should be a {self.state}",
                              f"move {self.path} out of the way and run again")
        if self.state == "link":
            if os.readlink(self.path) != self.target:
                self.say("target")
                self.show(os.readlink(self.path) + "\n", f"{self.target}\n")
            return
        if self.initial is not None:
            return
        if self.content is not None and self.state == "file":
            before = b""
            if found.st_size == len(self.content) or found.st_size < 1_000_000:
                with open(self.path, "rb") as file:
                    before = file.read()
            if before != self.content:
                self.say("content")
                self.show(self.text(before), self.text(self.content))
        if stat.S_IMODE(found.st_mode) != self.mode:
            self.say(f"mode {stat.S_IMODE(found.st_mode):04o} to {self.mode:04o}")
        if (found.st_uid, found.st_gid) != (self.owner, self.group):
            self.say(f"owner {found.st_uid}:{found.st_gid} to {self.owner}:{self.group}")

    def say(self, what: str) -> None:
        self.changes.append(f"{self.path}: {what}")

    def text(self, content: bytes | None) -> str:
        return (content or b"").decode(errors="replace")

    def show(self, before: str, after: str) -> None:
        if not self.secret:
            self.diff = {"before_header": self.path, "after_header": self.path, "before": before, "after": after}

    def make(self) -> None:
        """Mend it."""
        if not self.changes:
            return
        if self.state == "absent":
            (os.rmdir if os.path.isdir(self.path) and not os.path.islink(self.path) else os.unlink)(self.path)
            return
        parent = os.path.dirname(self.path)
        for folder in self.parents:
            make_folder(folder, 0o755)
        if self.state == "directory":
            if not os.path.isdir(self.path):
                os.mkdir(self.path, mode=0o700)
            os.chown(self.path, self.owner, self.group)
            os.chmod(self.path, self.mode)
            return
        if self.state == "link":
            temporary = tempfile.mktemp(prefix=".observer-node-", dir=parent)
            os.symlink(str(self.target), temporary)
            os.rename(temporary, self.path)
            return
        content = self.content
        if content is None or not any(line.endswith(("created", "content", "by a file")) for line in self.changes):
            os.chown(self.path, self.owner, self.group)
            os.chmod(self.path, self.mode)
            return
        handle, temporary = tempfile.mkstemp(prefix=".observer-node-", dir=parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchown(file.fileno(), self.owner, self.group)
                os.fchmod(file.fileno(), self.mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise


class Module(AnsibleModule):  # type: ignore[misc]
    """A module whose call is not in the node's journal: a secret of several lines would be there as Python writes a
    text, in which Ansible does not find it to take it out."""

    def _log_invocation(self) -> None:
        pass


def main() -> None:
    """Compare all, then mend: what cannot be done is said before anything is changed."""
    module = Module(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": {
            "path": {"type": "path", "required": True},
            "state": {"choices": ["file", "directory", "link", "absent"], "default": "file"},
            "content": {"type": "str"},
            "secret_content": {"type": "str", "no_log": True},
            "initial": {"type": "str"},
            "target": {"type": "str"},
            "mode": {"type": "str"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
        }}},
        supports_check_mode=True,
    )
    try:
        files = [Owned(wanted) for wanted in module.params["files"]]
        planned: set[str] = set()
        for file in files:
            file.compare(planned)
        changes = [line for file in files for line in file.changes]
        if not module.check_mode:
            for file in files:
                file.make()
    except CannotError as error:
        module.fail_json(msg=str(error), remedy=error.remedy)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", remedy="mend it on the node and run again")
    module.exit_json(changed=bool(changes), changes=changes, diff=[file.diff for file in files if file.diff])


if __name__ == "__main__":
    main()
