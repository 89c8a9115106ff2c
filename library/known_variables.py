#!/usr/bin/python
"""Documentation of the action known_variables, which runs on the controller: plugins/action/known_variables.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: known_variables
short_description: Refuse variables that nothing reads, and values that no role takes
description:
  - A misspelled variable changes nothing and says nothing. This compares the names of the host's variables, wherever
    they come from, with the inputs that the roles declare in their C(meta/argument_specs.yml).
  - A variable is taken for one of ours when its name begins with the name of a role or with one of O(prefixes), or
    when it is nearly the name of an input.
  - Left out are Ansible's own variables (C(ansible_*)) and results of tasks (C(__*)).
  - A variable that the inventory's C(group_vars/all) sets in vain, because C(group_vars/all) beside the playbooks sets
    it too and wins, is refused as well.
  - With O(entry_point), values are compared with the types and choices that the roles declare there, all roles in one
    task. Ansible's own check is a task for each role.
  - Nothing is done on the host and no connection is opened.
options:
  also:
    description: Further names that are right, or shell patterns of names such as V(provision_*).
    type: list
    elements: str
    default: []
  entry_point:
    description: >-
      Entry point of the roles whose specification the values have to fit, such as V(preflight). Left out, only names
      are looked at.
    type: str
    default: ""
  prefixes:
    description: What names of ours begin with, besides the names of the roles with an underscore.
    type: list
    elements: str
    default: [backup_, move_, provision_, prune_, reset_, restore_, secrets_, twin_, vault_]
  roles:
    description: Folder of the roles. Left out, the one of this project.
    type: path
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Refuse unknown variables
  known_variables:
    also: [vault_k3s_token, vault_db_password, provision_overlay]
"""

RETURN = r"""
unknown:
  description: Variables that nothing reads. Any makes the task fail, and RV(ignore:msg) names them all.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the variable.
      type: str
    places:
      description: Where it is defined, as C(file:line), or in words when it is not in a file of the inventory.
      type: list
      elements: str
    suggestion:
      description: The known name that is nearest to it, or an empty string.
      type: str
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""
