#!/usr/bin/python
"""The node's own rules in the packet filter."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Let pods through the packet filter of a node, and open nothing else
description:
  - Keeps three chains of its own (V(OBSERVER-NODE-INPUT), V(OBSERVER-NODE-FORWARD), V(OBSERVER-NODE-CLOSED)) and the
    rules that lead to them, in iptables and ip6tables. Compares them with what the kernel has and mends only what
    differs. No other rule is touched, nothing is saved.
  - Pods reach the node, Services, each other and the world, also where INPUT and FORWARD end in a REJECT, as on
    the images of OCI. The rules that accept stand behind those of Kubernetes, so that network policies are obeyed.
  - From outside nothing of the cluster is reached, neither the closed ports nor NodePorts, pods or Services, also
    where INPUT accepts everything. From where O(trusted_sources) says, everything is.
  - Link-local addresses (metadata, the iSCSI target of the boot volume) are closed to pods, but for DNS.
  - Uses the host's own iptables, whichever kind it is.
options:
  pod_cidr:
    description: IPv4 network of the pods.
    type: str
    required: true
  service_cidr:
    description: IPv4 network of the Services.
    type: str
    required: true
  pod_interfaces:
    description: Interfaces behind which pods are. V(+) at the end stands for any ending.
    type: list
    elements: str
    required: true
  closed_tcp_ports:
    description: TCP ports of the node that nobody outside reaches, each a number or a range such as V(2379-2380).
    type: list
    elements: str
    required: true
  closed_udp_ports:
    description: The same for UDP.
    type: list
    elements: str
    required: true
  port_range:
    description: Ports of Services of type NodePort, closed for TCP and UDP.
    type: str
    required: true
  trusted_sources:
    description: Addresses or networks, IPv4 or IPv6, for which nothing is closed. The other nodes of the cluster.
    type: list
    elements: str
    required: true
  link_local_dns:
    description: Link-local addresses that pods may ask for DNS.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    details: On a node without iptables, which the run would install, everything is announced.
  diff_mode: {support: full}
author: observer-node
"""

EXAMPLES = r"""
- name: Keep the node's own firewall rules
  firewall:
    pod_cidr: 10.42.0.0/16
    service_cidr: 10.43.0.0/16
    pod_interfaces: [cni0, flannel+]
    closed_tcp_ports: [6443, 10250]
    closed_udp_ports: [8472]
    port_range: 30000-32767
    trusted_sources: []
    link_local_dns: [169.254.169.254]
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["iptables filter OBSERVER-NODE-FORWARD: rules", "iptables filter FORWARD: jump to OBSERVER-NODE-FORWARD"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.node_firewall import FirewallError, Settings, apply, look

LISTS = ("pod_interfaces", "closed_tcp_ports", "closed_udp_ports", "trusted_sources", "link_local_dns")
TEXTS = ("pod_cidr", "service_cidr", "port_range")


def main() -> None:
    """Compare, and mend what differs."""
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "str", "required": True} for name in TEXTS},
            **{name: {"type": "list", "elements": "str", "required": True} for name in LISTS},
        },
        supports_check_mode=True,
    )
    try:
        settings = Settings.read(module.params)
        plans = look(settings)
        changes = [line for plan in plans.values() for line in plan.changes]
        if changes and not module.check_mode:
            apply(settings, plans)
    except FirewallError as error:
        module.fail_json(msg=f"firewall: {error}", remedy=error.remedy)
    module.exit_json(changed=bool(changes), changes=changes, diff=[
        {"before": plan.before, "after": plan.after, "before_header": "firewall", "after_header": "firewall"}
        for plan in plans.values() if plan.changes])


if __name__ == "__main__":
    main()
