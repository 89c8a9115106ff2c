#!/usr/bin/python
"""The record of a node's state at the end of a provision."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_baseline
short_description: Record the state in which a provision leaves a node
description:
  - Looks at the objects of the cluster, files that steer the node, packages, services, accounts, keys, listening ports,
    the packet filter and kernel settings, and writes what it sees to V(/var/lib/observer-node/baseline.json), which
    only root can read. Contents are there as keyed hashes alone.
  - What differs from it later is drift, for M(contract_drift) and for the node's own timer.
  - It is a record of the run, as a log is, so writing it is no change of the node. In check mode it is not written.
  - Has the node's timer look at once when there is one, so that its state is that after the provision.
options:
  release:
    description: What was deployed, such as the tag of Observer's image.
    type: str
    default: ""
  commit:
    description: >-
      The commit that was provisioned from. Left out, that of the git checkout that the playbook lies in, if it lies in
      one.
    type: str
    default: ""
  roles:
    description: >-
      Roles that ran. What others declare was not mended, and stays compared with the baseline before. Left out, those
      that C(--tags) and C(--skip-tags) let run; all without them.
    type: list
    elements: str
attributes:
  check_mode: {support: full, description: Nothing is recorded in check mode.}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Record the state of the node
  drift_baseline:
    release: build-20260119-114801
"""

RETURN = r"""
accepted:
  description: >-
    What had come about beside the declared things since the baseline before, one line a thing. It is not drift any
    longer. Objects of the cluster that nobody declared stay drift, and are not among it.
  returned: success
  type: list
  elements: str
  sample: ["/etc/cron.d/backup: is new (at 2026-11-21 21:40:07 UTC)"]
findings:
  description: The drift that stays, and what was accepted, as in the report. They are told of and fail nothing.
  returned: success
  type: list
  elements: dict
facts:
  description: What was seen on the node, as M(contract_drift) returns it.
  returned: success
  type: dict
seen:
  description: Number of things of each kind.
  returned: success
  type: dict
  sample: {"objects": 258, "files": 119, "packages": 194}
not_looked_at:
  description: >-
    What could not be read, tried three times. Until the next provision it is compared with the baseline before, or with
    nothing where there is none, and told of.
  returned: success
  type: list
  elements: dict
  sample: [{"about": "objects of the cluster", "why": "nothing listens on 127.0.0.1:6443"}]
"""

import json
import os
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living import drift

UNIT = "observer-watch.service"


def main() -> None:
    """Look, and write what is seen."""
    module = AnsibleModule(
        argument_spec={"release": {"type": "str", "default": ""}, "commit": {"type": "str", "default": ""},
                       "roles": {"type": "list", "elements": "str"}},
        supports_check_mode=True,
    )
    last = drift.read_baseline()
    now = drift.settled(last)
    baseline, accepted = drift.record(last, now, module.params["release"], module.params["commit"],
                                      module.params["roles"])
    if not module.check_mode:
        try:
            os.makedirs(drift.FOLDER, mode=0o755, exist_ok=True)
            drift.write_file(drift.BASELINE, json.dumps(baseline, sort_keys=True), 0o600)
        except OSError as error:
            module.fail_json(msg=f"{drift.BASELINE} cannot be written: {error.strerror}.",
                             remedy=f"On the node: ls -ld {drift.FOLDER}; df {drift.FOLDER}; mend it and run again.")
        if os.path.exists(f"/etc/systemd/system/{UNIT}"):
            subprocess.run(["systemctl", "--no-block", "--no-ask-password", "start", UNIT], check=False,
                           capture_output=True)
    objects = now["cluster"]["objects"]
    facts: dict[str, Any] = {
        "baseline": {name: baseline[name] for name in ("at", "commit", "release")},
        # What is accepted is told of once, with what stays.
        "drift": [*drift.compare(baseline, now), *accepted],
        "not_looked_at": drift.unlooked(now), "at": now["at"],
    }
    seen = {name: len(now["node"][name]) for name in ("files", "packages", "accounts", "keys", "ports")
            if now["node"][name] is not None}
    module.exit_json(changed=False, accepted=baseline["accepted"], not_looked_at=drift.unlooked(now), facts=facts,
                     seen={**seen, **({"objects": len(objects)} if objects is not None else {})})


if __name__ == "__main__":
    main()
