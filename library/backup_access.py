#!/usr/bin/python
"""Which node may use a backup host, and for what."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_access
short_description: Say which node may read, and which one may write, on a backup host
description:
  - Keeps the lines of an identity in the C(authorized_keys) of the two users of a backup host. Each opens one command
    and nothing else.
  - With O(phase=reader) a node that is not the writer is let in for O(hours), so that it can find out whether it is to
    take over. It may read what there is; of the repository it can delete nothing, and nobody receives its database's
    log. Who writes until then is not disturbed.
  - With O(phase=writer) the node is the only one that writes. A key, or an epoch, that was let in before is no more,
    and what came in with it is ended.
  - With O(phase=gone) a node that was let in to read is so no more.
options:
  phase:
    description: What the node is to be.
    type: str
    choices: [reader, writer, gone]
    required: true
  identity:
    description: Whose backups these are, C(<inventory>/<namespace>).
    type: str
    required: true
  node:
    description: The inventory's name of the node.
    type: str
    required: true
  key:
    description: Its public key; empty in check mode when it has none yet, and for V(gone).
    type: str
    default: ""
  hours:
    description: For how long a reader is let in.
    type: int
    default: 1
  epoch:
    description: Its number among the repository's writers; of a reader it is not asked.
    type: int
    default: 0
  repositories:
    description: Folder of the repositories, the home of the user who serves them.
    type: path
    default: /srv/observer-backup
  wal:
    description: Folder of the received logs, the home of the user who receives them.
    type: path
    default: /srv/observer-wal
  floor_hours:
    description: Hours for which a received log is kept whatever a node asks for.
    type: int
    default: 168
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Let the new node look
  backup_access:
    phase: reader
    identity: prod/observer-prod
    node: obs-prod-arm
    key: "{{ key.public_key }}"
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["/srv/observer-backup/.ssh/authorized_keys: obs-prod-arm may write to prod/observer-prod"]
host_key:
  description: The machine's own public key, as C(known_hosts) has it.
  returned: always
  type: str
ended:
  description: Sessions of keys that are let in no more.
  returned: always
  type: int
unlocked:
  description: Locks of the repository that whoever was shut out has left.
  returned: always
  type: int
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

import contextlib
import json
import os
import pwd
import re
import signal
import subprocess
import time

from ansible.module_utils.backup.files import write_file
from ansible.module_utils.basic import AnsibleModule

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
SERVER, RECEIVER = "rclone --config /dev/null serve restic --stdio --append-only {}", "/usr/local/bin/observer-receiver"


class Gate:
    """The lines of one identity in one user's ``authorized_keys``.

    :param home: the user's.
    :param command: what the key opens, by epoch.
    """

    def __init__(self, home: str, identity: str, node: str, key: str, options: str, command: str) -> None:
        self.path = f"{home}/.ssh/authorized_keys"
        self.home, self.identity, self.node, self.key = home, identity, node, key
        self.options, self.command = options, command
        try:
            with open(self.path, encoding="utf-8") as file:
                self.lines = file.read().splitlines()
        except FileNotFoundError:
            self.lines = []

    def marked(self, mark: str) -> list[str]:
        """The lines of this identity with a mark."""
        return [line for line in self.lines if f" {mark} {self.identity} " in f"{line} "]

    def elsewhere(self) -> list[str]:
        """The lines that open something else to the same key: sshd goes by the first line of a key alone."""
        own = self.marked("observer-node") + self.marked("observer-node-reader")
        return [line for line in self.lines if self.key and f" {self.key} " in line and line not in own]

    def wanted(self, mark: str, options: str) -> str:
        return f'{options},command="{self.command}" {self.key} {mark} {self.identity} {self.node}'

    def over(self, line: str, now: float) -> bool:
        """Whether a reader's time is over."""
        until = re.search(r'expiry-time="(\d{12})"', line)
        return bool(until and until[1] <= time.strftime("%Y%m%d%H%M", time.localtime(now)))

    def reader(self, now: float, hours: int) -> str | None:
        """Let the node look, unless it is in already. The line of the change."""
        others = self.elsewhere()
        self.lines = [line for line in self.lines if line not in others]
        if self.key and any(f" {self.key} " in line for line in self.marked("observer-node")):
            return f"{self.path}: {self.node} opens {self.identity} and nothing else" if others else None
        # sshd reads it in its own time zone.
        until = time.strftime("%Y%m%d%H%M", time.localtime(now + hours * 3600))
        # Others who look are not disturbed.
        old = [line for line in self.marked("observer-node-reader")
               if self.over(line, now) or line.endswith(f" {self.node}") or (self.key and f" {self.key} " in line)]
        self.lines = [line for line in self.lines if line not in old]
        self.lines.append(self.wanted("observer-node-reader", f'{self.options},expiry-time="{until}"'))
        return f"{self.path}: {self.node} may read {self.identity} for {'an hour' if hours == 1 else f'{hours} hours'}"

    def gone(self) -> str | None:
        """Let the node look no more. The line of the change."""
        old = [line for line in self.marked("observer-node-reader") if line.endswith(f" {self.node}")]
        self.lines = [line for line in self.lines if line not in old]
        return f"{self.path}: {self.node} may read {self.identity} no more" if old else None

    def writer(self) -> tuple[str | None, bool]:
        """Let the node write, and nobody else. The line of the change, and whether somebody was shut out."""
        line = self.wanted("observer-node", self.options)
        before = self.marked("observer-node") + self.marked("observer-node-reader")
        others = self.elsewhere()
        if self.marked("observer-node") == [line] and not others:
            return None, False  # who looks meanwhile disturbs nobody
        self.lines = [*(one for one in self.lines if one not in before + others), line]
        return f"{self.path}: {self.node} may write to {self.identity}", any(one != line for one in before)

    def write(self) -> None:
        """Write the lines, as the user's."""
        write_file(self.path, "\n".join(self.lines) + "\n", 0o600)
        user = os.stat(self.home)
        os.chown(self.path, user.st_uid, user.st_gid, follow_symlinks=False)


def end_serving(folder: str, proc: str = "/proc") -> int:
    """End what serves a repository; how many there were. A job that loses it says so and is tried again."""
    ended = 0
    for name in os.listdir(proc):
        try:
            with open(f"{proc}/{name}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        if words[0].endswith("rclone") and "serve" in words and folder in words:
            try:
                os.kill(int(name), signal.SIGTERM)
                ended += 1
            except ProcessLookupError:
                continue
    return ended


def forget_locks(folder: str, proc: str = "/proc") -> int:
    """Take away the locks of who was shut out, which keep a check and a prune waiting for half an hour; how many.

    Whose a lock is only the password tells. Who had a key has none any more, so that they are nobody's - unless
    somebody is at it here, on this machine: then none goes.
    """
    for name in os.listdir(proc):
        try:
            with open(f"{proc}/{name}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        if folder in words and not words[0].endswith("rclone"):
            return 0
    gone = 0
    with contextlib.suppress(FileNotFoundError):
        for lock in os.listdir(f"{folder}/locks"):
            os.unlink(f"{folder}/locks/{lock}")
            gone += 1
    return gone


def end_receiving(user: str, folder: str) -> int:
    """End the session of the receiver; how many there were."""
    done = subprocess.run(["runuser", "-u", user, "--", RECEIVER, "--epoch", "0", "--end", "--folder", folder],
                          check=True, capture_output=True, text=True)
    return int("true" in done.stdout)


def older_session(folder: str, epoch: int) -> bool:
    """Whether a session of the receiver is, or may still be, of an epoch before this one."""
    try:
        with open(f"{folder}/run/session", encoding="ascii") as file:
            return int(json.load(file)["epoch"]) < epoch
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main() -> None:
    """Look, and let in or shut out."""
    module = AnsibleModule(argument_spec={
        "phase": {"choices": ["reader", "writer", "gone"], "required": True},
        "identity": {"type": "str", "required": True},
        "node": {"type": "str", "required": True},
        "key": {"type": "str", "default": "", "no_log": False},
        "hours": {"type": "int", "default": 1},
        "epoch": {"type": "int", "default": 0},
        "repositories": {"type": "path", "default": "/srv/observer-backup"},
        "wal": {"type": "path", "default": "/srv/observer-wal"},
        "floor_hours": {"type": "int", "default": 168},
    }, supports_check_mode=True)
    given = module.params
    if not given["key"] and not module.check_mode and given["phase"] != "gone":
        module.fail_json(msg=f"{given['node']} has no key for the backup host.", remedy="Run site.yml with all tags.")
    writes = given["phase"] == "writer"
    name = given["identity"].replace("/", "-")
    repository, received = f"{given['repositories']}/{name}", f"{given['wal']}/{name}"
    serving = Gate(given["repositories"], given["identity"], given["node"], given["key"], "restrict",
                   SERVER.format(repository))
    receiving = Gate(given["wal"], given["identity"], given["node"], given["key"],
                     'restrict,port-forwarding,permitopen="127.0.0.1:9",permitlisten="127.0.0.1:9"',
                     f"{RECEIVER} --folder {received} --epoch {given['epoch'] if writes else 0}"
                     f" --floor-hours {given['floor_hours']}")
    changes, ended, unlocked = [], 0, 0
    try:
        with open(HOST_KEY, encoding="ascii") as file:
            host_key = " ".join(file.read().split()[:2])
        for gate in (serving, receiving):
            change, shut = gate.writer() if writes else (
                gate.gone() if given["phase"] == "gone" else gate.reader(time.time(), given["hours"]), False)
            if not change:
                continue
            changes.append(change)
            if module.check_mode:
                continue
            gate.write()
            if shut and gate is serving:
                ended += end_serving(repository)
                unlocked = forget_locks(repository)
            elif shut:
                ended += end_receiving(owner(given["wal"]), received)
        if writes and not module.check_mode and older_session(received, given["epoch"]):
            # A run that was cut off has shut its key out, and not ended it.
            ended += end_receiving(owner(given["wal"]), received)
    except (OSError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"The keys of {given['identity']} could not be changed: {error}"
                             f" {getattr(error, 'stderr', None) or ''}".strip() + ".",
                         remedy="Look on the backup host at the folder and its owner, and run again.")
    module.exit_json(changed=bool(changes), changes=changes, ended=ended, unlocked=unlocked, host_key=host_key)


def owner(folder: str) -> str:
    """Name of a folder's owner."""
    return pwd.getpwuid(os.stat(folder).st_uid).pw_name


if __name__ == "__main__":
    main()
