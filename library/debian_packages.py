#!/usr/bin/python
"""Packages of Debian and Ubuntu."""

from __future__ import annotations

DOCUMENTATION = r"""
module: debian_packages
short_description: Have packages installed
description:
  - Installs what is missing, after a look at what the repositories have. What is installed stays at its version.
  - Names each change, in check mode too.
options:
  names:
    description: Names of packages.
    type: list
    elements: str
    required: true
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Install iptables
  debian_packages:
    names: [iptables]
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["package iptables: installed"]
"""

import os
import subprocess

from ansible.module_utils.basic import AnsibleModule

LOCK_SECONDS = 120
"""On a machine that has just been made, its first update holds apt's lock."""


def installed(names: list[str]) -> set[str]:
    """Those of the packages that are installed."""
    done = subprocess.run(["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", "--", *names],
                          capture_output=True, text=True, check=False)
    found = (line.split() for line in done.stdout.splitlines())
    return {name for state, name in found if state == "installed"}


def apt_get(*words: str) -> str:
    """The first error in apt's words; empty when there is none."""
    done = subprocess.run(["apt-get", "--quiet", "--yes", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", *words],
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    if not done.returncode:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))] or done.stderr.splitlines()
    return lines[0] if lines else f"exit code {done.returncode}"


def main() -> None:
    """Compare, and install what is missing."""
    module = AnsibleModule(argument_spec={"names": {"type": "list", "elements": "str", "required": True}},
                           supports_check_mode=True)
    names = module.params["names"]
    present = installed(names)
    missing = [name for name in dict.fromkeys(names) if name not in present]
    changes = [f"package {name}: installed" for name in missing]
    if missing and not module.check_mode:
        # The lists of a new machine may be empty or old; without them there may be no such package.
        update = apt_get("update")
        install = apt_get("install", "--no-install-recommends", "--", *missing)
        if install:
            words = f"{install} (update: {update})" if update else install
            module.fail_json(msg=f"apt-get cannot install {', '.join(missing)}: {words}",
                             remedy=f"Give the node its package repositories; there: apt-get install {missing[0]}")
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
