#!/usr/bin/python
"""Documentation of the action of this name, which runs on the controller: plugins/action/contract_diagnose.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_diagnose
short_description: Name what is at fault in a living system, in which layer, and what to type next
description:
  - Takes what M(contract_node) and M(contract_cluster) have seen, walks from the app by the container and the rendering
    to the cluster and the node, and ends with root causes. What a root cause explains is told as its symptom; two
    independent causes are both named.
  - Works with whatever part is there. A machine that cannot be reached, an API that does not answer and what could not
    be looked at (a host, a list of the cluster, a container, the packet filter) are faults, too. What could not be read
    is never taken for missing.
  - Runs on the controller, opens no connection, and changes nothing. Fails when there is a fault, after it has
    displayed all of it in at most 20 lines.
options:
  contract:
    description: File of the contract, such as C(contracts/observer.yml). Files are named from the folder above its own.
    type: path
    required: true
  namespace:
    description: Namespace of the workloads.
    type: str
    required: true
  server:
    description: The inventory's name of the host that O(cluster) was read on.
    type: str
    required: true
  nodes:
    description: Results of M(contract_node) by host, failed and unreachable ones too.
    type: dict
    required: true
  cluster:
    description: The result of M(contract_cluster).
    type: dict
    default: {}
  manifests:
    description: >-
      What git renders for this environment. With it a fault has a file and line, and says whether git or the cluster
      has to be mended.
    type: path
  beside:
    description: Folders of manifests that are applied together with it. Those that do not exist are left out.
    type: list
    elements: path
    default: []
  language:
    description: Language of the sentences.
    type: str
    choices: [en, ko]
    default: en
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Say what is at fault
  contract_diagnose:
    contract: contracts/observer.yml
    namespace: observer-prod
    server: node-1
    nodes: {node-1: "{{ diagnose_node }}"}
    cluster: "{{ diagnose_cluster }}"
    manifests: manifests/overlays/production
"""

RETURN = r"""
well:
  description: Whether there is no fault.
  type: bool
  returned: always
verdict:
  description: Number of faults and their layers, in one line.
  type: str
  returned: always
  sample: 1 fault, in layer config
walk:
  description: The steps and their verdicts in one line.
  type: str
  returned: always
  sample: 'app: symptoms > container: well > rendering: FAULT > cluster and node: well'
steps:
  description: The walk, with what was looked at. C(verdict) is V(well), V(fault), V(symptom) or
      V(unknown) (nothing shows, and not all of it could be looked at).
  type: list
  elements: dict
  returned: always
faults:
  description:
    - Root causes. C(command) looks and changes nothing; it is typed on C(host), or on the controller where that is
      empty. C(docs/findings.md) explains every code.
  type: list
  elements: dict
  returned: always
  sample:
    - code: FAULT-27
      layer: config
      subject: ConfigMap observer-prod/observer-config
      place: manifests/base/configmaps/observer-config.yaml:13
      host: node-1
      command: sudo kubectl -n observer-prod get configmap observer-config -o jsonpath='{.data.DB_HOST}'
      message: ConfigMap observer-prod/observer-config says DB_HOST is db; the contract says postgres.
      remedy: Set DB_HOST to postgres in manifests/base/configmaps/observer-config.yaml:13, then site.yml.
      evidence: ['ConfigMap observer-config: DB_HOST=db']
      symptoms: ['Pod observer-prod/observer-0 is not ready: database: name not known.']
notes:
  description: Failures of others that are no fault of the system's.
  type: list
  elements: str
  returned: always
deviations:
  description: Violations of the contract seen in what runs and in git. Without a fault they break nothing now.
  type: int
  returned: always
remedy:
  description: What to do about the first fault.
  type: str
  returned: failure
"""
