#!/usr/bin/python
"""Takes K3s off a node, step by step, and keeps the data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_reset
short_description: Remove K3s and all that it made from a node, and keep the data
description:
  - Stops and removes K3s' services, containers, network interfaces and chains of the packet filter, unmounts what it
    mounted, and deletes its folders, its programs, this project's watch, and its backups' jobs with their key and
    password. The node's own settings, which the role node makes, stay, and the epoch under which the node has written
    to the backups' repository.
  - The folders of volumes and the hostPath folder of settings stay, but for those that O(data) names. Nothing is
    deleted while something is mounted below it, no link is followed, and a folder is renamed before it is emptied.
  - What an interrupted run has left is finished by the next one.
options:
  phase:
    description:
      - V(refuse) looks whether something speaks against it, and changes nothing.
      - V(stop), on a server, stops the backups' jobs, after what one of them is saving; scales the Deployments and
        StatefulSets of O(namespace) to nothing and waits for their pods. V(drain) and V(forget), on a server, empty
        the node O(node) and remove its Node object. When the API does not answer, nothing is scaled, drained or
        forgotten, and what V(stop) and V(drain) cannot do is a warning.
      - V(remove) does the rest, on the node itself. Containers that still run get SIGTERM and O(timeout).
    type: str
    choices: [refuse, stop, drain, forget, remove]
    required: true
  namespace:
    description: Namespace of the workloads and of the claims in O(data).
    type: str
    default: ""
  node:
    description: Name of a Node object.
    type: str
    default: ""
  storage:
    description: Folder of the volumes.
    type: path
    default: /opt/local-path-provisioner
  config:
    description: Folder of the app's settings.
    type: path
    default: /opt/platform/runtime/observer/config
  data:
    description: >-
      What is deleted with its data - names of claims for the folders whose names end with C(_<namespace>_<claim>),
      V(all) for the folders of all volumes, V(config) for O(config).
    type: list
    elements: str
    default: []
  textfile_dir:
    description: Folder in which the watch has its file of metrics; empty, Debian's.
    type: str
    default: ""
  timeout:
    description: Longest wait for pods and containers to end, in seconds.
    type: int
    default: 90
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Remove K3s, and the volume of logs
  k3s_reset:
    phase: remove
    namespace: observer-prod
    data: [observer-logs-pvc]
"""

RETURN = r"""
changes:
  description: Everything that was removed; when the task fails half way, what was until then.
  returned: always
  type: list
  elements: str
  sample: ["k3s.service: removed", "/var/lib/rancher: removed"]
kept:
  description: Folders with data that stay.
  returned: for V(remove)
  type: list
  elements: str
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living.reset import Cluster, Reset, ResetError, backups_stop, carry_out

METRICS = ("observer-node.prom", "observer_node_backup.prom")


def main() -> None:
    """Find out, then do."""
    module = AnsibleModule(argument_spec={
        "phase": {"choices": ["refuse", "stop", "drain", "forget", "remove"], "required": True},
        "namespace": {"type": "str", "default": ""},
        "node": {"type": "str", "default": ""},
        "storage": {"type": "path", "default": "/opt/local-path-provisioner"},
        "config": {"type": "path", "default": "/opt/platform/runtime/observer/config"},
        "data": {"type": "list", "elements": "str", "default": []},
        "textfile_dir": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 90},
    }, supports_check_mode=True)
    given = module.params
    folder = given["textfile_dir"] or "/var/lib/prometheus/node-exporter"
    reset = Reset(given["storage"], given["config"], given["data"], given["namespace"],
                  [f"{folder}/{one}" for one in METRICS], given["timeout"])
    cluster, more = Cluster(), {}
    try:
        if given["phase"] in ("refuse", "remove"):
            reset.refuse()
            if given["phase"] == "refuse":
                for name in reset.missing():
                    module.warn(f"reset_data names {name}, of which there is no volume here.")
                module.exit_json(changed=False, changes=[])
            more["kept"] = reset.kept()
            steps = list(reset.steps())
        elif given["phase"] == "stop":
            steps = [*backups_stop(),
                     *(cluster.stopping(given["namespace"], given["timeout"]) if cluster.answers() else [])]
        elif not cluster.answers():
            steps = []
        elif given["phase"] == "drain":
            steps = cluster.drains(given["node"], given["timeout"])
        else:
            steps = cluster.forgets(given["node"])
        changes = carry_out(steps, module.check_mode)
    except ResetError as error:
        if given["phase"] in ("stop", "drain"):
            # A cluster that is broken has to go all the same; its containers are stopped on the node.
            module.warn(f"{error} It is stopped on the node instead.")
            module.exit_json(changed=bool(error.changes), changes=error.changes)
        module.fail_json(msg=str(error), remedy=error.remedy, changed=bool(error.changes), changes=error.changes)
    module.exit_json(changed=bool(changes), changes=changes, **more)


if __name__ == "__main__":
    main()
