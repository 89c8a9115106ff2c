#!/usr/bin/python
"""Units of systemd, enabled and running as declared, by one call over a list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_units
short_description: Have systemd units enabled, started and up to date as declared
description:
  - Asks systemd once for all units, then changes only what differs. Reloads systemd when a unit file is newer
    than what it has loaded.
  - Whether a running service has to be restarted is found from what is there, the start of its process and
    the last write of the files that it has read. So a run that was interrupted between writing a file and
    restarting is made good by the next one.
options:
  units:
    description: The units.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit with its suffix.
        type: str
        required: true
      enabled:
        description: Whether it starts at boot. Left out, it stays as it is.
        type: bool
      state:
        description: Left out, it stays as it is.
        type: str
        choices: [started, stopped]
      masked:
        description: Whether it is masked.
        type: bool
      restart_after:
        description: Files that the service reads at its start. When one of them was written later, it is restarted.
        type: list
        elements: path
        default: []
      restart:
        description: What is known to make a restart necessary, for check mode, in which no file is written.
        type: bool
        default: false
      wait:
        description: Whether to wait until the unit says that it is up. Without it only a failure to queue is seen.
        type: bool
        default: true
      timeout:
        description: >-
          Longest wait for its start or restart, in seconds. It then goes on starting, but the module fails. Left out,
          only the unit's own limit counts.
        type: int
      optional:
        description: A unit that the node does not have is right as it is.
        type: bool
        default: false
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Run K3s
  systemd_units:
    units:
      - name: k3s.service
        enabled: true
        state: started
        restart_after: [/etc/rancher/k3s/config.yaml, /usr/local/bin/k3s]
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["k3s.service: enabled", "k3s.service: started"]
"""

import os
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,ExecMainStartTimestampMonotonic"

WAITED_FOR = "start"
"""In place of a change: the unit was starting already."""


def show(names: list[str]) -> dict[str, dict[str, str]]:
    """Properties of units, by name.

    :raises OSError: when systemd does not answer.
    """
    found = {}
    # A unit that is not there has its own block too, but names that are aliases come back as the real one.
    done = subprocess.run(["systemctl", "show", "--property", PROPERTIES, "--", *names],
                          capture_output=True, text=True, check=False)
    blocks = done.stdout.strip("\n").split("\n\n")
    if done.returncode or len(blocks) != len(names):
        raise OSError(f"systemctl show: {done.stderr.strip() or 'no answer'}")
    for name, block in zip(names, blocks, strict=True):
        found[name] = dict(line.partition("=")[::2] for line in block.splitlines())
        if found[name].get("UnitFileState") == "generated":
            # Of a script in init.d only its start links say whether it starts at boot.
            said = subprocess.run(["systemctl", "is-enabled", "--", name], capture_output=True, text=True, check=False)
            found[name]["UnitFileState"] = said.stdout.strip() or "generated"
    return found


def newer(paths: list[str], started: str) -> list[str]:
    """Files written after a moment of the monotonic clock, in microseconds."""
    start = time.time() - time.monotonic() + int(started or 0) / 1e6
    return [path for path in paths if os.path.exists(path) and os.stat(path).st_mtime > start]


def plan(wanted: dict[str, Any], found: dict[str, str]) -> list[tuple[str, list[str]]]:
    """What to do for one unit: lines for the result with systemctl's words."""
    name = wanted["name"]
    loaded = found.get("LoadState")
    steps: list[tuple[str, list[str]]] = []
    if wanted["masked"] is True and loaded != "masked":
        steps.append(("masked", ["mask"]))
    if wanted["masked"] is False and loaded == "masked":
        steps.append(("unmasked", ["unmask"]))
    if loaded == "not-found" and wanted["optional"]:
        return []
    enabled = found.get("UnitFileState") in ("enabled", "alias", "linked")
    if wanted["enabled"] is True and not enabled:
        steps.append(("enabled", ["enable"]))
    # A static unit has nothing to disable.
    if wanted["enabled"] is False and found.get("UnitFileState") in ("enabled", "enabled-runtime", "linked"):
        steps.append(("disabled", ["disable"]))
    state = found.get("ActiveState")
    if wanted["state"] == "stopped" and state not in ("inactive", "failed", None, ""):
        steps.append(("stopped", ["stop"]))
    if wanted["state"] == "started":
        queue = [] if wanted["wait"] else ["--no-block"]
        if state not in ("active", "activating", "reloading"):
            steps.append(("started", ["start", *queue]))
        elif wanted["restart"] or newer(wanted["restart_after"], found.get("ExecMainStartTimestampMonotonic", "")):
            steps.append(("restarted", ["restart", *queue]))
        elif state == "activating" and wanted["wait"] and wanted.get("timeout"):
            # By a boot, or by a run that did not wait longer: what comes next needs it up, and that is no change.
            steps.append((WAITED_FOR, ["start"]))
    return [(f"{name}: {line}", [*words, "--", name]) for line, words in steps]


def last_words(name: str) -> str:
    """The last lines of a unit's journal, for the message of a failure."""
    done = subprocess.run(["journalctl", "--unit", name, "--lines", "5", "--output", "cat", "--no-pager"],
                          capture_output=True, text=True, check=False)
    return " / ".join(line.strip() for line in done.stdout.splitlines() if line.strip())[-600:]


def act(words: list[str], timeout: int | None) -> str:
    """Have systemctl do one step; what went wrong, or nothing.

    :param timeout: seconds that a start or restart is waited for; None waits as long as systemd does.
    """
    try:
        # Nobody is there to be asked, and an agent that asks would outlive a systemctl that was waited for in vain.
        done = subprocess.run(["systemctl", "--quiet", "--no-ask-password", *words], capture_output=True, text=True,
                              check=False, timeout=timeout if words[0] in ("start", "restart") else None)
    except subprocess.TimeoutExpired:
        return f"it was not up after {timeout} s, and is still starting."
    return (done.stderr.strip().splitlines() or ["no reason given"])[0] if done.returncode else ""


def main() -> None:
    """Ask once, then change what differs."""
    module = AnsibleModule(
        argument_spec={"units": {"type": "list", "elements": "dict", "required": True, "options": {
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "state": {"choices": ["started", "stopped"]},
            "masked": {"type": "bool"},
            "restart_after": {"type": "list", "elements": "path", "default": []},
            "restart": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int"},
            "optional": {"type": "bool", "default": False},
        }}},
        supports_check_mode=True,
    )
    units = module.params["units"]
    names = [unit["name"] for unit in units]
    try:
        found = show(names) if names else {}
        stale = any(found[name].get("NeedDaemonReload") == "yes" for name in names)
        if stale and not module.check_mode:
            subprocess.run(["systemctl", "daemon-reload"], check=True, capture_output=True, text=True)
            found = show(names)
    except (OSError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"systemd does not answer: {error}", remedy="look at `systemctl status` on the node")
    steps = [step for unit in units for step in plan(unit, found[unit["name"]])]
    changes = [line for line, _ in steps if not line.endswith(f": {WAITED_FOR}")]
    timeouts = {unit["name"]: unit["timeout"] for unit in units}
    if not module.check_mode:
        for number, (line, words) in enumerate(steps):
            name = words[-1]
            reason = act(words, timeouts[name])
            if reason:
                done = [line for line, _ in steps[:number] if line in changes]
                module.fail_json(
                    msg=f"{line} failed: {reason} The journal ends with: {last_words(name)}",
                    changed=bool(done), changes=done,
                    remedy=f"on the node: journalctl -u {name} -n 50; mend the cause and run again")
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
