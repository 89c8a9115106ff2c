#!/usr/bin/python
"""Deletes the pods of a contract's workloads while they work, and compares what is there before and after."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_persistence
short_description: Delete the pods, and see that all data is there when new ones are ready
description:
  - Seed 001's Step 5. Compares every file of the claims and of the hostPath folders, and counts the rows of every table
    of the database, before all pods of the contract's workloads are deleted and after new ones are ready.
  - A file that is only appended to (C(.jsonl), C(.log)) has to begin with what was there, or that stands under another
    name now (a log that was rotated). Another one may have been written anew, and is told of. The files of the database
    itself are not compared, its rows are; of a table that cannot be counted within two minutes nobody knows.
  - What is lost is told whatever else fails after the deletion. Pages and rows are asked for again for 20 seconds.
  - Disruptive, for as long as the pods take to come back. So O(confirm) has to name the namespace.
  - Deletes nothing when a pod is not ready. Runs on the server, whose C(k3s kubectl) it uses, and on which the volumes
    have to be.
options:
  contract:
    description: The contract, a file of the controller.
    type: path
    required: true
  namespace:
    description: Namespace of the workloads.
    type: str
    required: true
  confirm:
    description: The namespace again, by the one who wants its pods deleted.
    type: str
    required: true
  timeout:
    description: Seconds in which all pods have to be ready again.
    type: int
    default: 180
  fail_on:
    description: Kinds of findings with which the task fails.
    type: list
    elements: str
    choices: [violation, unchecked, drift]
    default: []
attributes:
  check_mode:
    support: full
    details: Does nothing then, and says so.
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Delete the pods and compare the data
  contract_persistence:
    contract: contracts/observer.yml
    namespace: observer-local
    confirm: observer-local
"""

RETURN = r"""
result:
  description:
    - C(deleted) and C(started) pods, C(seconds) until all were ready, C(files_before), C(files_after), C(bytes_before),
      C(lost) and C(rewritten) (100 names each at most; C(lost_count) and C(rewritten_count) are all),
      C(rows_before), C(rows_after), C(bytes_per_second) that were written before, C(health), C(failed) for what did not
      come back, C(unread) for what could not be compared, and C(date) in seconds since 1970. Secrets are taken out.
    - When it could not be done and nothing was deleted, only C(why), and C(deleted) is false.
  returned: always
  type: dict
findings:
  description: What is to be mended, as in the report's JSON.
  returned: always
  type: list
  elements: dict
remedy:
  description: What to do about the first of them.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living.persistence import PersistenceError, persistence


def main() -> None:
    """The action of this name gives what it has read from the contract as ``request``."""
    module = AnsibleModule(argument_spec={"request": {"type": "dict", "required": True},
                                          "timeout": {"type": "int", "default": 180}})
    try:
        result = persistence(**module.params["request"], timeout=module.params["timeout"])
    except PersistenceError as error:
        result = {"why": str(error), "deleted": False}
    module.exit_json(changed=bool(result["deleted"]), result=result)


if __name__ == "__main__":
    main()
