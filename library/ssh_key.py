#!/usr/bin/python
"""A key pair for SSH, made where it is used."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_key
short_description: Have a key pair for SSH on the node
description:
  - Makes an Ed25519 key without a passphrase where there is none, and tells its public half. The private half stays
    where it was made.
options:
  path:
    description: The private key; its public half lies beside it with V(.pub). The folder is made, root's alone.
    type: path
    required: true
  comment:
    description: Comment of a key that is made.
    type: str
    default: ""
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Have a key
  ssh_key:
    path: /etc/observer-node/backup/id_ed25519
"""

RETURN = r"""
public_key:
  description: The public half without its comment; empty in check mode when there is no key yet.
  returned: always
  type: str
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["/etc/observer-node/backup/id_ed25519: created"]
"""

import os
import subprocess

from ansible.module_utils.basic import AnsibleModule


def public_half(path: str) -> str:
    """The public half of a private key; empty when there is none.

    :raises OSError: it is no key, or not readable.
    """
    if not os.path.exists(path):
        return ""
    done = subprocess.run(["ssh-keygen", "-y", "-f", path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise OSError(0, (done.stderr.strip().splitlines() or ["it is no private key"])[-1], path)
    return " ".join(done.stdout.split()[:2])


def main() -> None:
    """Look, and make one where there is none."""
    module = AnsibleModule(argument_spec={
        "path": {"type": "path", "required": True},
        "comment": {"type": "str", "default": ""},
    }, supports_check_mode=True)
    path = module.params["path"]
    try:
        have = public_half(path)
        changes = [] if have else [f"{path}: created"]
        if changes and not module.check_mode:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", module.params["comment"], "-f", path],
                           stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True)
            have = public_half(path)
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"{path} could not be made: {error.stderr.strip()}",
                         remedy="look at the node's disk and run again")
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}",
                         remedy=f"remove {path} if it is no key of this project, and run again")
    module.exit_json(changed=bool(changes), changes=changes, public_key=have)


if __name__ == "__main__":
    main()
