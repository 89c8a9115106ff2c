#!/usr/bin/python
"""Facts of the cluster, read on its server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_cluster
short_description: Compare what runs in the cluster with an Execution Contract
description:
  - Asks the API server on the node that it runs on, in at most 15 calls on a cluster that is well, for what runs - not
    for what was applied - and compares it with the contract. A container that fails costs a call more, for its log.
  - Nodes, K3s' version, the StorageClass and what makes volumes and Secrets; workloads, pods and why they do not run;
    claims, their volumes and folders; Secrets, their keys and the SealedSecrets they come from; values of variables
    that a container was started with and that are others now; Services that lead to nobody; C(/health) and C(/ready);
    images and digests; unexplained warnings.
  - With O(manifests), a finding has the file and line in git, and says whether git has it right and the cluster runs
    something else, or git itself has to be mended.
  - Values of Secrets are compared on the node, and never leave it. What is told of logs, pages, events and messages has
    C(***) in their place - those of all namespaces, and of the processes on the node - and in that of what is secret by
    its form, such as the user of an address. Where the Secrets cannot be read, none of that is told.
  - Logs are read of the namespace's pods and of namespaces that the contract names in C(cluster.pods), of nobody
    else's. Of variables in manifests only the values leave that the contract declares to come from somewhere else than
    a Secret.
  - Changes nothing. What could not be read is a finding of kind V(unchecked).
options:
  contract:
    description: File of the contract, such as C(contracts/observer.yml), on the controller.
    type: path
    required: true
  namespace:
    description: Namespace of the workloads. The contract's environment is the one that has it.
    type: str
    required: true
  manifests:
    description: >-
      What git renders for this environment, on the controller; an overlay, a chart, or a folder of manifests. Left out,
      findings have no file and line.
    type: path
  beside:
    description: Manifests that are applied together with it, such as the folder of its SealedSecrets.
    type: list
    elements: path
    default: []
  root:
    description: Folder that files are named relative to. Left out, the checkout that O(manifests) is in.
    type: path
  nodes:
    description: >-
      The facts that M(contract_node) returned, by host. Without them nobody knows the sizes of volumes, folders that no
      volume has, and whether folders on other nodes are there. Nor does anybody of a folder there that no container
      uses and that local-path has not made.
    type: dict
    default: {}
  fail_on:
    description:
      - Kinds of findings that make the task fail. None, unless it is said, so that a report can be made of everything.
    type: list
    elements: str
    choices: [violation, unchecked, drift]
    default: []
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
notes:
  - Runs on the host of the K3s server, as root, for the kubeconfig and the processes are root's.
author: observer-node
"""

EXAMPLES = r"""
- name: Look at what runs
  contract_cluster:
    contract: contracts/observer.yml
    namespace: observer-prod
    manifests: manifests/overlays/production
    beside: [manifests/overlays/production/sealed-secrets]
    nodes: "{{ verify_nodes }}"
  become: true
  register: cluster
"""

RETURN = r"""
facts:
  description:
    - What was read. C(api) says whether the API server answers, and why not; C(calls) and C(seconds) what it took;
      C(errors) what could not be read.
    - Further C(nodes), C(pods), C(workloads), C(claims), C(volumes), C(storage_classes), C(services), C(config_maps),
      C(secrets) (keys, no values), C(sealed_secrets), C(environment) and C(settings) (whether a process has the value
      that the Secret, or the ConfigMap, has now), C(http), C(events), C(images) and C(jsonl).
  returned: success
  type: dict
findings:
  description: What is not as agreed, as in the report's JSON. C(docs/findings.md) explains every code.
  returned: success and failure, unless an input cannot be read
  type: list
  elements: dict
  sample:
    - code: LIVE-55
      clause: permissions.observer.fsGroup
      kind: violation
      layer: deployment
      place: {file: manifests/base/deployments/observer.yaml, line: 23}
      expected: "1000"
      actual: "0"
remedy:
  description: What to do about the first of them, or about an input that cannot be read.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living.cluster import collect


def main() -> None:
    """The action of this name gives what it has read from the contract as ``request``."""
    module = AnsibleModule(argument_spec={"request": {"type": "dict", "required": True}}, supports_check_mode=True)
    module.exit_json(changed=False, facts=collect(module.params["request"]))


if __name__ == "__main__":
    main()
