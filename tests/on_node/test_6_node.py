"""contract_node on a real node: a healthy one, and deviations that are caused for real and undone (seed 001 2-1)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bed import nodes
from conftest import fresh
from hands import ROOT, Site, node_name, wait_for

NAMESPACE = "observer-local"
CONFIG = "/opt/platform/runtime/observer/config"
SECONDS = 5.0
"""For a healthy node."""


def look(site: Site, host: str = "") -> dict[str, Any]:
    """The result of contract_node: facts and findings. Left out, the host is the site's own node."""
    answer, playbook = site.folder.parent / "node.json", site.folder.parent / "node.yml"
    playbook.write_text(yaml.safe_dump([{
        "name": "Look", "hosts": host or site.node.name, "gather_facts": False, "become": True, "tasks": [
            {"name": "Look at the node", "contract_node": {"contract": str(ROOT / "contracts/observer.yml")},
             "register": "found"},
            {"name": "Keep what was found", "delegate_to": "localhost", "become": False,
             "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(answer), "mode": "0600"}},
        ]}]))
    site.play(playbook=str(playbook)).ok()
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def codes(found: dict[str, Any]) -> set[str]:
    return {one["code"] for one in found["findings"]}


def of(found: dict[str, Any], code: str) -> dict[str, Any]:
    one: dict[str, Any] = next(one for one in found["findings"] if one["code"] == code)
    return one


def container(found: dict[str, Any], name: str) -> dict[str, Any]:
    one: dict[str, Any] = next(one for one in found["facts"]["containers"] if one["name"] == name)
    return one


@contextmanager
def caused(site: Site, fault: str, undo: str) -> Iterator[None]:
    """Something wrong on the node, for as long as the block takes."""
    site.ssh(fault)
    try:
        yield
    finally:
        site.ssh(undo)


@pytest.fixture(scope="module")
def provisioned(site: Site) -> Site:
    site.play().ok()
    return site


def test_a_healthy_node_has_no_finding(provisioned: Site) -> None:
    found = look(provisioned)
    assert found["findings"] == []
    facts = found["facts"]
    assert facts["errors"] == [] and facts["seconds"] < SECONDS
    assert facts["k3s"]["role"] == "server" and facts["k3s"]["api"]["answers"]
    assert facts["firewall"]["lets_pods_through"] == {"input": True, "forward": True}
    assert any(one["served"] for one in facts["certificates"])
    assert {one["claim"] for one in facts["volumes"]} == {
        "observer-data-pvc", "observer-logs-pvc", "observer-universe-pvc", "observer-db-pvc"}
    observer, postgres = container(found, "observer")["inside"], container(found, "postgres")["inside"]
    assert len(observer["writes"]) == 7 and all(one["ok"] for one in observer["writes"].values())
    assert {"/", "/etc", "/usr", "/home", "/opt/platform/runtime/observer"} <= observer["refusals"].keys()
    assert observer["http"]["/health"]["status"] == 200
    assert observer["connects"] == {"postgres:5432": {**observer["connects"]["postgres:5432"], "ok": True}}
    assert postgres["postgres"]["ready"] and postgres["postgres"]["version"].startswith("15.")


def test_no_secret_and_no_probe_is_left(provisioned: Site) -> None:
    found = json.dumps(look(provisioned))
    for name in ("observer-secrets", "ghcr-secret"):
        for key, value in provisioned.get(f"secret -n {NAMESPACE} {name}")["data"].items():
            # The names of user and database are the app's own, which everything is called by.
            if key not in ("DB_USER", "POSTGRES_USER", "POSTGRES_DB"):
                assert base64.b64decode(value).decode() not in found.replace("placeholder", ""), key
    assert provisioned.ssh("sudo find /opt /var/lib/kubelet /tmp /run -xdev -name '.observer-node-probe-*'") == ""


def test_a_folder_that_belongs_to_somebody_else(provisioned: Site) -> None:
    with caused(provisioned, f"sudo chown 0:0 {CONFIG}", f"sudo chown 1000:1000 {CONFIG}"):
        found = look(provisioned)
        assert codes(found) == {"NODE-02", "NODE-32"}
        assert of(found, "NODE-02")["actual"] == "0:0" and of(found, "NODE-32")["layer"] == "node"
        assert of(found, "NODE-32")["actual"] == "EACCES Permission denied"
        provisioned.ssh(of(found, "NODE-02")["values"]["command"])
        assert look(provisioned)["findings"] == [], "the command that the finding names mends it"


def test_a_folder_that_everybody_may_write(provisioned: Site) -> None:
    with caused(provisioned, f"sudo chmod 0777 {CONFIG}", f"sudo chmod 0755 {CONFIG}"):
        found = look(provisioned)
        assert codes(found) == {"NODE-03"} and of(found, "NODE-03")["actual"] == "0777"


def test_a_folder_that_is_gone(provisioned: Site) -> None:
    """The pod goes on with what it had mounted, which is now called something else."""
    with caused(provisioned, f"sudo mv {CONFIG} {CONFIG}.away", f"sudo mv {CONFIG}.away {CONFIG}"):
        found = look(provisioned)
        assert codes(found) == {"NODE-01", "NODE-35"}
        assert of(found, "NODE-01")["actual"] == "missing" and of(found, "NODE-35")["actual"] == f"{CONFIG}.away"


def test_a_firewall_that_eats_traffic_of_pods(provisioned: Site) -> None:
    with caused(provisioned, "sudo iptables -D FORWARD -j OBSERVER-NODE-FORWARD; sudo conntrack -F 2>/dev/null || true",
                "sudo systemctl restart observer-firewall.service"):
        found = look(provisioned)
        assert "NODE-20" in codes(found) and of(found, "NODE-20")["layer"] == "node"
        assert "-A FORWARD -j REJECT" in of(found, "NODE-20")["actual"]
        assert not container(found, "observer")["inside"]["connects"]["postgres:5432"]["ok"], "it is really eaten"
    wait_for(lambda: look(provisioned)["findings"] == [], "the node is well again", 30)


def test_another_time_zone(provisioned: Site) -> None:
    with caused(provisioned, "sudo ln -sfn /usr/share/zoneinfo/Etc/UTC /etc/localtime",
                "sudo ln -sfn /usr/share/zoneinfo/Asia/Seoul /etc/localtime"):
        found = look(provisioned)
        assert codes(found) == {"NODE-16"} and of(found, "NODE-16")["actual"] == "Etc/UTC"


@pytest.mark.long
def test_k3s_down_and_containers_are_looked_into_all_the_same(provisioned: Site) -> None:
    with caused(provisioned, "sudo systemctl stop k3s", "sudo systemctl start k3s"):
        found = look(provisioned)
        assert codes(found) == {"NODE-09"} and of(found, "NODE-09")["layer"] == "cluster"
        assert container(found, "observer")["inside"]["http"]["/health"]["status"] == 200
    wait_for(lambda: look(provisioned)["findings"] == [], "the node is well again", 60)


@pytest.fixture(scope="module")
def agent(provisioned: Site, parts: dict[str, Path]) -> Iterator[str]:
    """A second node that has joined the cluster, and its name."""
    second = fresh(node_name("c"), parts, oci_firewall=True, outward=False)
    hosts = provisioned.folder / "hosts.yml"
    before = hosts.read_text()
    inventory = yaml.safe_load(before)
    groups = inventory["all"]["children"]["observer"]["children"]
    # The names of the bed's nodes are those of its SSH configuration, which other nodes do not have.
    groups["k3s_servers"]["hosts"][provisioned.node.name]["provision_node_address"] = provisioned.node.address
    groups["k3s_agents"] = {"hosts": {second.name: {
        "k3s_node_name": "obs-local-2", "provision_node_address": second.address}}}
    hosts.write_text(yaml.safe_dump(inventory))
    try:
        provisioned.play("--tags", "node,k3s").ok()
        yield second.name
    finally:
        hosts.write_text(before)
        provisioned.kubectl("delete node obs-local-2 --ignore-not-found")
        # Without it no other machine may have this name.
        provisioned.kubectl("-n kube-system delete secret obs-local-2.node-password.k3s --ignore-not-found")
        nodes.down(second)


@pytest.mark.long
def test_an_agent_without_the_app_is_healthy(provisioned: Site, agent: str) -> None:
    found = look(provisioned, agent)
    assert found["findings"] == []
    assert found["facts"]["k3s"]["role"] == "agent" and found["facts"]["k3s"]["api"]["answers"]
    assert found["facts"]["k3s"]["node_name"] == "obs-local-2"
    assert look(provisioned)["findings"] == [], "the server is as before"


@pytest.mark.long
def test_an_agent_that_cannot_reach_the_server(provisioned: Site, agent: str) -> None:
    server = provisioned.node.address
    rule = f"OUTPUT -d {server} -p tcp --dport 6443 -j REJECT"
    second = next(one for one in nodes.everyone() if one.name == agent)
    nodes.ssh(second, f"sudo iptables -I {rule}")
    try:
        found = look(provisioned, agent)
        assert codes(found) == {"NODE-13"} and f"{server}:6443" in of(found, "NODE-13")["actual"]
    finally:
        nodes.ssh(second, f"sudo iptables -D {rule}")


@pytest.mark.long
def test_a_bare_node_is_looked_at_to_the_end(bare: Site) -> None:
    """No K3s, no folders, no iptables, none of the programs that come with them."""
    found = look(bare)
    assert {"NODE-01", "NODE-06", "NODE-08"} <= codes(found) <= {"NODE-01", "NODE-06", "NODE-08", "NODE-16", "NODE-21"}
    assert found["facts"]["errors"] == [] and found["facts"]["containers"] == []
