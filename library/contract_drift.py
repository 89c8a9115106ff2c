#!/usr/bin/python
"""What a node has become since its last provision. The action of this name makes findings of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_drift
short_description: Find what neither git nor the inventory knows of a node
description:
  - Looks at the node now and compares it with the baseline that M(drift_baseline) wrote at the end of the last
    provision. Changes nothing.
  - Objects of the cluster that nobody declared, and fields of declared ones that somebody wrote to, are found without a
    baseline, too.
options:
  fail_on:
    description: Kinds of findings that make the task fail; V(unchecked) is what could not be looked at.
    type: list
    elements: str
    choices: [violation, unchecked, drift]
    default: []
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
author: observer-node
"""

EXAMPLES = r"""
- name: Look for drift
  contract_drift:
  register: drift
"""

RETURN = r"""
findings:
  description: What was found, as in the report. C(docs/findings.md) explains every code.
  returned: always
  type: list
  elements: dict
facts:
  description: What was seen on the node.
  returned: always
  type: dict
  contains:
    baseline:
      description: Time (epoch), commit and release of the baseline; null when there is none.
      type: dict
    drift:
      description: Every difference - code, kind, subject, what, before, after, when, by, ours, command.
      type: list
      elements: dict
    not_looked_at:
      description: >-
        What could not be read, with the reason; now, or when the baseline was written. C(command) is what mends that.
      type: list
      elements: dict
remedy:
  description: What to do about the worst finding.
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living import drift


def main() -> None:
    """Look and compare."""
    module = AnsibleModule(
        argument_spec={"fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"],
                                   "default": []}},
        supports_check_mode=True,
    )
    baseline = drift.read_baseline()
    now = drift.snapshot(baseline)
    facts: dict[str, Any] = {
        "baseline": {"at": baseline["at"], "commit": baseline.get("commit", ""), "release": baseline.get("release", "")}
        if baseline else None,
        "drift": drift.compare(baseline or {}, now),
        "not_looked_at": drift.unlooked(now, baseline),
        "at": now["at"],
    }
    module.exit_json(changed=False, facts=facts)


if __name__ == "__main__":
    main()
