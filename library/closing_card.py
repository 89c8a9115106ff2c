#!/usr/bin/python
"""Tells the closing card of the callback `operator` what runs, how to reach it, and what to do next."""

from __future__ import annotations

DOCUMENTATION = r"""
module: closing_card
short_description: Say on the closing card what runs, how to reach it, and what to do next
description:
  - Hands lines to the callback P(operator#callback), which shows them at the end of a run that succeeds, below what
    changed and how long it took. With C(-v), or another callback, they are only in the task's result.
  - Runs on the controller and connects to nothing.
  - The card has at most 25 lines of 80 columns. A line of more than 71 characters is continued on the next, at most
    twice; what does not fit in is left out from the end of O(facts) backwards, never O(next).
  - When several tasks of a playbook use it, the last one counts.
options:
  runs:
    description: What runs now, one string for each line.
    type: list
    elements: str
    default: []
  reach:
    description: Commands that reach it, one string for each. A long one is broken with a backslash, to be pasted.
    type: list
    elements: str
    default: []
  facts:
    description:
      - Anything else, each a label of at most 8 characters with a string or a list of strings.
      - They are shown below O(reach), in this order. V(next) is not a label.
    type: dict
    default: {}
  next:
    description: What to do next.
    type: str
    default: ""
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Say what runs
  closing_card:
    runs:
      - Observer build-20260104-120000 on obs-prod-arm (K3s v1.34.3+k3s1)
    reach:
      - curl http://127.0.0.1:18000/health
    facts:
      contract: 143 of 143
    next: Verify it with `ansible-playbook playbooks/verify.yml -i inventories/prod`.
"""

RETURN = r"""
card:
  description: What was given, without what is empty.
  type: dict
  returned: success
"""
