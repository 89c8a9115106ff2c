#!/usr/bin/python
"""Documentation of the action cluster_access, which runs on the controller: plugins/action/cluster_access.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_access
short_description: Open the Kubernetes API of a K3s server to the controller, through SSH
description:
  - Reads K3s' own kubeconfig (C(/etc/rancher/k3s/k3s.yaml)) as root, has the SSH connection of the host forward a free
    loopback port of the controller to the API's port on the node's loopback, and writes a kubeconfig that leads there.
    Port 6443 stays closed to everybody else, and certificates are verified.
  - A kubeconfig from an earlier call is used again when it leads to this host's API and is answered.
  - The forward belongs to Ansible's SSH ControlMaster and ends with it, 60 seconds after its last use. Where there is
    no ControlMaster, a connection is opened that ends in the same way. Nothing is left on the node.
  - Needs C(ansible_connection=ssh).
options:
  kubeconfig:
    description:
      - File on the controller, written with mode 0600. Its folder is made with 0700 and refused when others may look
        into it.
    type: path
    required: true
  timeout:
    description: How long to wait for the API of an installed K3s, in seconds. Check mode waits 3 at most.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    details: >-
      Without K3s on the host, removes an old kubeconfig of it and returns RV(available) as false. Where K3s is
      installed but does not run, warns and returns the same, with the kubeconfig in place.
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Open the API through SSH
  become: true
  cluster_access:
    kubeconfig: "{{ ansible_facts['env']['HOME'] }}/.cache/observer-node/run/{{ inventory_hostname }}.kubeconfig"
"""

RETURN = r"""
available:
  description: Whether there is an API. False only in check mode, when K3s is not installed or does not run.
  returned: always
  type: bool
kubeconfig:
  description: The file.
  returned: always
  type: str
server:
  description: URL on the controller's loopback.
  returned: when available
  type: str
kubernetes_version:
  description: What the API says of its version.
  returned: when available
  type: str
  sample: v1.34.3+k3s1
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""
