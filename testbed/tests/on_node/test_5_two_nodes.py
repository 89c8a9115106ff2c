"""Two machines: each its own cluster at the same time, then one of them as the other's agent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bed import nodes, services
from operator_hand import UNIT, Cluster, download_k3s, install_k3s, put, wait_for

# For good, so that it holds after a reboot: the provider's file without its two final lines.
OPEN = (
    "sudo sed -i '/icmp-host-prohibited/d' /etc/iptables/rules.v4 && sudo netfilter-persistent reload 2>/dev/null"
)


@pytest.fixture(scope="module")
def open_b(bare_b: nodes.Node) -> nodes.Node:
    """The second node with the provider's rules opened: what the product's node role does properly."""
    nodes.ssh(bare_b, OPEN)
    return bare_b


def test_both_nodes_at_once(cluster: Cluster, open_b: nodes.Node) -> None:
    """A second server beside the first: own cluster, own authorities, own pods."""
    second = install_k3s(open_b, node_name="obs-test-b")
    names = [item["metadata"]["name"] for one in (cluster, second) for item in one.get("nodes")["items"]]
    assert names == ["obs-prod-arm", "obs-test-b"]
    authority = "sudo sha256sum /var/lib/rancher/k3s/server/tls/server-ca.crt"
    assert nodes.ssh(cluster.node, authority) != nodes.ssh(open_b, authority)
    for one in (cluster, second):
        one.namespace("both")
        one.pod("both", "pod")
        one.wait_pod("both", "pod")
    # Both are air-gapped for their system pods; the closed node pulled nothing.
    pulled = second.get("events -A --field-selector reason=Pulled")["items"]
    assert pulled and all("already present on machine" in item["message"] for item in pulled)


@pytest.fixture(scope="module")
def agent(cluster: Cluster, open_b: nodes.Node, parts: dict[str, Path]) -> nodes.Node:
    """The second machine, bare again, joined to the first as an agent."""
    nodes.down(open_b)
    nodes.up(open_b, parts)
    nodes.ssh(open_b, OPEN)
    download_k3s(open_b)
    token = nodes.ssh(cluster.node, "sudo cat /var/lib/rancher/k3s/server/node-token").strip()
    configure_agent(cluster, open_b, token)
    put(open_b, "/etc/systemd/system/k3s-agent.service", UNIT.format(command="agent"))
    nodes.ssh(open_b, "sudo systemctl daemon-reload && sudo systemctl enable --quiet --now k3s-agent", timeout=120)
    return open_b


def configure_agent(cluster: Cluster, node: nodes.Node, token: str) -> None:
    put(node, "/etc/rancher/k3s/config.yaml", yaml.safe_dump({
        "server": f"https://{cluster.node.address}:6443", "token": token, "node-name": "obs-agent",
        "node-label": ["role=spare"],
    }), "0600")
    put(node, "/etc/rancher/k3s/registry-ca.crt", services.registry().ca_file.read_text())


def test_an_agent_joins_and_runs_pods(cluster: Cluster, agent: nodes.Node) -> None:
    cluster.wait_ready("obs-agent")
    found = cluster.get("node obs-agent")
    assert found["metadata"]["labels"]["role"] == "spare"
    assert found["spec"]["podCIDR"] != cluster.get("node obs-prod-arm")["spec"]["podCIDR"]
    cluster.namespace("spread")
    for pod, node in (("here", "obs-prod-arm"), ("there", "obs-agent")):
        cluster.pod("spread", pod, nodeName=node, container={
            "command": ["sh", "-c", "mkdir /tmp/d; hostname > /tmp/d/index.html; exec httpd -f -p 8080 -h /tmp/d"]})
        cluster.wait_pod("spread", pod)
        cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": pod, "namespace": "spread"},
                       "spec": {"selector": {"app": pod}, "ports": [{"port": 80, "targetPort": 8080}]}})


def test_pods_reach_each_other_across_nodes(cluster: Cluster, agent: nodes.Node) -> None:
    """By Service name both ways: DNS, Services and routes between the nodes; exec and logs of a remote pod."""
    for client, server in (("here", "there"), ("there", "here")):
        wait_for(lambda client=client, server=server: cluster.execute(
            "spread", client, f"wget -qO- http://{server}/").strip() == server, f"{client} to {server}")


def test_policies_hold_across_nodes(cluster: Cluster, agent: nodes.Node) -> None:
    address = cluster.get("-n spread pod there")["status"]["podIP"]
    assert cluster.reachable("spread", "here", address, 8080)
    cluster.apply({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "spread"},
        "spec": {"podSelector": {"matchLabels": {"app": "there"}}, "policyTypes": ["Ingress"]},
    })
    wait_for(lambda: not cluster.reachable("spread", "here", address, 8080), "the policy on the agent")
    cluster.kubectl("-n spread delete networkpolicy closed")
    wait_for(lambda: cluster.reachable("spread", "here", address, 8080), "the end of the policy")


def test_an_agent_comes_back_after_a_reboot(cluster: Cluster, agent: nodes.Node) -> None:
    nodes.reboot(agent)
    # A connection begun while the node was away would wait for minutes by itself.
    wait_for(lambda: cluster.execute("spread", "here", "timeout 3 wget -qO- http://there/").strip() == "there",
             "the agent's pod after the reboot", 90)


def until_it_says(agent: nodes.Node, options: str, message: str) -> None:
    """Run an agent by hand until it logs a message. It would go on trying, and how soon it says so is the machine's
    load: ended as soon as it did, and given up after a minute."""
    log = nodes.ssh(agent, f"""
        sudo timeout --kill-after=10 60 k3s agent {options} >agent.log 2>&1 &
        agent=$!
        until grep -qE '{message}' agent.log || ! kill -0 $agent 2>/dev/null; do sleep 0.2; done
        sudo kill $agent 2>/dev/null
        wait $agent
        cat agent.log
    """, timeout=100)
    assert re.search(message, log), log


@pytest.mark.parametrize(("token", "message"), [
    ("K10" + "0" * 64 + "::server:the-first-token", r"token CA hash does not match the Cluster CA certificate hash"),
    ("not-the-token", r"failed to retrieve configuration from server: [^ ]+: 401 Unauthorized"),
])
def test_a_wrong_token_is_refused(cluster: Cluster, agent: nodes.Node, token: str, message: str) -> None:
    nodes.ssh(agent, "sudo systemctl stop k3s-agent", timeout=60)
    try:
        until_it_says(agent, f"--token {token}", message)
    finally:
        nodes.ssh(agent, "sudo systemctl start k3s-agent", timeout=60)
        cluster.wait_ready("obs-agent")


def test_a_wrong_node_password_is_refused(cluster: Cluster, agent: nodes.Node) -> None:
    kept = nodes.ssh(agent, "sudo cat /etc/rancher/node/password")
    nodes.ssh(agent, "sudo systemctl stop k3s-agent", timeout=60)
    try:
        put(agent, "/etc/rancher/node/password", "not-the-password\n", "0600")
        until_it_says(agent, "", "Node password rejected")
    finally:
        put(agent, "/etc/rancher/node/password", kept, "0600")
        nodes.ssh(agent, "sudo systemctl start k3s-agent", timeout=60)
        cluster.wait_ready("obs-agent")
