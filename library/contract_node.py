#!/usr/bin/python
"""Looks at a node and into the containers on it; the action of this name compares that with the contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_node
short_description: Compare a node, and what its containers really have, with an Execution Contract
description:
  - "Looks at the node itself: folders with owners and modes, disks, K3s, certificates, time zone, clock, packet filter,
    folders of volumes. Asks K3s' API for nothing but whether it answers, so that it works on agents, and on servers
    whose K3s is down."
  - "Looks at every container of the contract on the node: environment, ids, groups, capabilities and mounts that its
    process really has, through C(/proc). Then a process of its own enters the container's namespaces with the
    container's ids and rights, and tries there: a write at every path of the contract, writes that have to be refused,
    names, connections, C(/health), and PostgreSQL by its own C(psql), which sees and signals no other process."
  - Counts what volumes hold, for two seconds; and for twenty, when it depends on them whether there is the room that is
    asked for. What is not counted by then leaves that unchecked.
  - Changes nothing. The files that it makes inside containers, C(.observer-node-probe-*), are removed at once.
  - Needs root on the node. Of variables only those values leave it that the contract declares to come from somewhere
    else than a Secret; of all others, and of containers that are not the contract's, only the names do. Pages, logs and
    what a program complains of have C(***) in the place of every value of a variable that is not known to be harmless,
    and of what is secret by its form, such as the user of an address.
options:
  contract:
    description: The contract, a file of the controller.
    type: path
    required: true
  namespace:
    description:
      - Namespace of the environment that the node is of.
      - Left out, it is the variable C(observer_namespace) of the host; without that, containers of all environments of
        the contract are looked at.
    type: str
  storage_free_gib:
    description:
      - GiB that are to be free for volumes or used by them, where the node's inventory asks for something else than the
        contract.
      - Left out, it is the variable C(node_storage_free_gib) of the host; without that, what the contract says.
    type: float
  pod_cidr:
    description: Network of pods. Left out, it is the variable C(node_pod_cidr) of the host or V(10.42.0.0/16).
    type: str
  service_cidr:
    description: Network of Services. Left out, it is the variable C(node_service_cidr) of the host or V(10.43.0.0/16).
    type: str
  peers:
    description:
      - Addresses of the cluster's other nodes, which the packet filter has to let in.
      - Left out, they are the variable C(provision_peers) of the host; without that, there are none.
    type: list
    elements: str
  fail_on:
    description:
      - Kinds of findings with which the task fails.
      - As it is, a task never fails with one, so that a report can be made of everything.
    type: list
    elements: str
    choices: [violation, unchecked, drift]
    default: []
attributes:
  check_mode:
    support: full
    details: Is the same with and without.
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Look at the node
  contract_node:
    contract: contracts/observer.yml
  register: node

- name: Refuse to go on when a folder, a mount or K3s is not as it has to be
  contract_node:
    contract: contracts/observer.yml
    namespace: observer-prod
    fail_on: [violation]
"""

RETURN = r"""
facts:
  description:
    - What the node is like. C(storage), C(disks), C(memory), C(pressure), C(folders), C(k3s), C(certificates),
      C(firewall), C(volumes), C(containers), C(timezone), C(clock_synchronized), C(now), C(boot), C(host), C(machine).
    - C(errors) says what could not be read, C(seconds) how long looking took.
    - In C(containers), the value of a variable that the contract does not declare, or declares to be a Secret's, is
      null, and C(inside) is what was tried from within.
  returned: always, unless the contract cannot be read
  type: dict
findings:
  description: What is to be mended, in the order in which it was looked at. C(docs/findings.md) explains every code.
  returned: always, unless the contract cannot be read
  type: list
  elements: dict
  sample:
    - code: NODE-02
      clause: node.folders
      kind: violation
      layer: node
      subject: Node obs-prod-arm
      expected: "1000:1000"
      actual: "0:0"
      values: {path: /opt/platform/runtime/observer/config, command: "sudo chown 1000:1000 /opt/platform/..."}
remedy:
  description: What to do about the first finding with which the task fails, or about a contract that cannot be read.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living.node import collect


def main() -> None:
    """The action of this name gives what it has read from the contract as ``request``."""
    module = AnsibleModule(argument_spec={"request": {"type": "dict", "required": True}}, supports_check_mode=True)
    module.exit_json(changed=False, facts=collect(module.params["request"]))


if __name__ == "__main__":
    main()
