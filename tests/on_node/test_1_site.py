"""The life of one node: a plan, the run, a second run that changes nothing, hand edits, a reboot."""

from __future__ import annotations

import base64
import json
import re
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest

from bed import nodes
from bed.podman import Podman
from hands import Run, Site, differences, wait_for

NAMESPACE = "observer-local"


@pytest.fixture(scope="module")
def planned(site: Site) -> Run:
    """Check mode on the bare node."""
    before = site.snapshot()
    run = site.play("--check", "--diff").ok()
    assert differences(before, site.snapshot()) == {}
    return run


@pytest.fixture(scope="module")
def provisioned(site: Site, planned: Run) -> Run:
    """The first real run."""
    return site.play().ok()


def serving(site: Site) -> bool:
    """Whether Observer answers `/ready` through its Service, from the node."""
    address = site.get(f"-n {NAMESPACE} service observer")["spec"]["clusterIP"]
    return "200" in site.ssh(f"curl -s -o /dev/null -w '%{{http_code}}' --max-time 3 http://{address}:8000/ready")


def running(site: Site) -> dict[str, Any]:
    """What must not change when nothing is changed: processes, pods and their restarts."""
    pods = site.get("pods -A")["items"]
    return {
        "k3s": site.ssh("systemctl show k3s.service --property ExecMainPID --value").strip(),
        "pods": {pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
                 for pod in pods},
    }


def test_the_plan_on_a_bare_node_is_exactly_what_the_run_then_changes(planned: Run, provisioned: Run) -> None:
    # Where it says the same, the order may differ: what a new kind or namespace is needed for waits for it.
    assert sorted(planned.changes) == sorted(provisioned.changes)
    assert len(planned.changes) > 40
    assert planned.record["check_mode"] is True


def test_it_serves(site: Site, provisioned: Run) -> None:
    assert serving(site)


def test_the_closing_card(provisioned: Run) -> None:
    card = provisioned.output.rstrip().splitlines()
    start = max(number for number, line in enumerate(card) if line.startswith(("=", "-")) or "done" in line.lower())
    assert len(card) - start <= 25
    assert "Observer build-20260205-142425" in provisioned.output
    assert "K3s v1.34.3+k3s1" in provisioned.output


def test_no_secret_is_seen_anywhere(site: Site, provisioned: Run) -> None:
    secrets = json.loads(site.kubectl(f"-n {NAMESPACE} get secret observer-secrets -o json"))["data"]
    token = site.ssh("sudo cat /etc/rancher/k3s/token").strip()
    loud = site.play("-vvv", "--diff", environment={"ANSIBLE_STDOUT_CALLBACK": "operator"}).ok()
    values = [base64.b64decode(value).decode() for key, value in secrets.items() if re.search("PASSWORD|SECRET", key)]
    for value in [token, *values]:
        assert len(value) >= 8
        for text in (provisioned.output, json.dumps(provisioned.record), loud.output):
            assert value not in text
    world = site.ssh("sudo find /etc /opt /var/lib/rancher -xdev -type f -perm -o+r -size -100k 2>/dev/null"
                     f" | sudo xargs -r -d '\\n' grep -lsF -f <(echo '{token}') || true")
    assert world.strip() == ""


def test_a_second_run_changes_nothing_and_needs_no_network(site: Site, provisioned: Run) -> None:
    before = (running(site), site.snapshot())
    podman = Podman.open()
    for service in ("observer-node-mirror", "observer-node-registry"):
        podman.run("pause", service)
    try:
        again = site.play().ok()
        traced = site.play(prefix=("strace", "--follow-forks", "--quiet=all", "--trace=connect",
                                   "--output", str(site.folder.parent / "trace"))).ok()
    finally:
        for service in ("observer-node-mirror", "observer-node-registry"):
            podman.run("unpause", service)
    assert again.changes == traced.changes == []
    assert again.executed <= 35
    assert running(site) == before[0]
    assert differences(before[1], site.snapshot()) == {}
    trace = (site.folder.parent / "trace").read_text()
    reached = set(re.findall(r'sin6?_port=htons\((\d+)\).*?inet_addr\("([^"]+)"\)', trace))
    assert {address for _, address in reached} <= {"127.0.0.1", site.node.address}, reached
    assert "AF_INET6" not in trace


def test_a_plan_on_a_converged_node_is_empty(site: Site, provisioned: Run) -> None:
    assert site.play("--check", "--diff").ok().changes == []


def edit(command: str) -> Callable[[Site], str]:
    return lambda site: site.ssh(f"sudo sh -c {shlex.quote(command)}")


def kubectl(line: str) -> Callable[[Site], str]:
    return lambda site: site.kubectl(line)


EDITS: dict[str, tuple[Callable[[Site], str], list[str]]] = {
    # What is edited by hand, and exactly what the next run reports.
    "K3s' settings": (edit("echo 'debug: true' >> /etc/rancher/k3s/config.yaml"),
                      ["k3s: /etc/rancher/k3s/config.yaml: content", "k3s: k3s.service: restarted"]),
}


def converge(site: Site) -> Run:
    return site.play().ok()


@pytest.mark.parametrize("name", EDITS)
def test_a_hand_edit_is_reported_exactly_and_mended(site: Site, provisioned: Run, name: str) -> None:
    act, expected = EDITS[name]
    act(site)
    planned = site.play("--check").ok()
    mended = converge(site)
    assert mended.changes == expected
    assert planned.changes == expected
    assert serving(site)


def test_closed_from_outside(site: Site, bare: Site, provisioned: Run) -> None:
    """Probed from another host: ssh answers, nothing of Kubernetes does."""
    site.kubectl(f"-n {NAMESPACE} create service nodeport probe --tcp=8000:8000 --node-port=30999")
    site.kubectl(f"-n {NAMESPACE} set selector service probe app=observer")
    try:
        def opened(port: int, kind: str = "tcp") -> bool:
            return "open" in bare.ssh(
                f"timeout 3 bash -c '</dev/{kind}/{site.node.address}/{port}' 2>/dev/null && echo open || echo closed")
        assert opened(22)
        for port in (6443, 10250, 10256, 30999, 8000, 5432, 6444):
            assert not opened(port), port
    finally:
        site.kubectl(f"-n {NAMESPACE} delete service probe")


def test_a_reboot_brings_everything_back_without_ansible(site: Site, provisioned: Run) -> None:
    rules = site.ssh("sudo iptables -S InstanceServices")
    started = time.monotonic()
    nodes.reboot(site.node)
    wait_for(lambda: serving(site), "Observer after a reboot", 180)
    print(f"serves {time.monotonic() - started:.0f} s after the reboot was asked for")
    assert site.ssh("sudo iptables -S InstanceServices") == rules
    assert site.play("--check").ok().changes == []
