"""A bare node is what a cloud hands out: nothing of Kubernetes, and what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import testinfra

from bed import nodes, services
from bed.errors import BedError
from operator_hand import Measured, wait_for


@pytest.fixture(params=["test-a", "test-b"])
def host(request: pytest.FixtureRequest, bare_a: nodes.Node, bare_b: nodes.Node) -> testinfra.host.Host:
    return testinfra.get_host(f"ssh://{request.param}", ssh_config=str(services.state() / "ssh" / "config"))


def test_ubuntu_with_sudo_and_a_running_system(host: testinfra.host.Host) -> None:
    assert host.user().name == "ubuntu" and host.user().uid == 1000
    assert host.check_output("sudo id -u") == "0"
    assert host.check_output("systemctl is-system-running --wait || true") == "running"
    assert host.check_output("systemctl --failed --no-legend") == ""


def test_nothing_of_kubernetes(host: testinfra.host.Host) -> None:
    for program in ("k3s", "kubectl", "kubelet", "containerd", "runc", "crictl", "ctr", "docker", "podman", "helm"):
        assert not host.exists(program), program
    for path in ("/etc/rancher", "/etc/cni", "/opt/cni", "/usr/lib/cni", "/etc/containerd", "/run/k3s", "/opt/testbed",
                 "/etc/kubernetes"):
        assert not host.file(path).exists, path
    for path in ("/var/lib/rancher", "/var/lib/kubelet"):
        assert host.file(path).listdir() == []
    assert host.check_output("ss -Hltn | awk '{print $4}' | sort -u | grep -v ':22$' || true") == ""


def test_what_a_machine_has(host: testinfra.host.Host) -> None:
    """What roles lean on: apt, modules, sysctls, a clock, an own identity."""
    assert host.check_output("python3 --version").startswith("Python 3.11")
    assert host.run("sudo modprobe overlay && sudo modprobe br_netfilter").rc == 0
    assert host.sysctl("net.ipv4.ip_forward") in (0, 1)
    assert len(host.file("/etc/machine-id").content_string.strip()) == 32
    assert int(host.check_output("wc -l < /usr/share/observer-node/packages")) > 100


def test_names_addresses_and_identities_differ(bare_a: nodes.Node, bare_b: nodes.Node) -> None:
    assert nodes.ssh(bare_a, "hostname").strip() == "obs-test-a"
    assert nodes.ssh(bare_b, "hostname").strip() == "obs-test-b"
    assert nodes.ssh(bare_b, "ip -4 -o addr show dev eth0 | awk '{print $4}'").strip() == "10.89.53.77/24"
    for file in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        assert nodes.ssh(bare_a, f"cat {file}") != nodes.ssh(bare_b, f"cat {file}")


def test_oci_rules_are_loaded_from_boot_and_the_default_node_has_none(bare_a: nodes.Node, bare_b: nodes.Node) -> None:
    rules = nodes.ssh(bare_b, "sudo iptables -S")
    assert "-A INPUT -j REJECT --reject-with icmp-host-prohibited" in rules
    assert "-A FORWARD -j REJECT --reject-with icmp-host-prohibited" in rules
    assert "-A InstanceServices -d 169.254.0.2/32 -p tcp -m owner --uid-owner 0 -m tcp --dport 3260" in rules
    assert "REJECT" not in nodes.ssh(bare_a, "sudo iptables -S")


def test_the_oci_rules_refuse_what_they_do_not_name(bare_a: nodes.Node, bare_b: nodes.Node) -> None:
    nodes.ssh(bare_b, "sudo systemd-run --quiet --unit=listener nc -lk 6443")
    try:
        wait_for(lambda: "6443" in nodes.ssh(bare_b, "ss -Hltn"), "the listener")
        with pytest.raises(BedError):
            nodes.ssh(bare_a, f"nc -z -w 2 {bare_b.address} 6443")
        nodes.ssh(bare_a, f"nc -z -w 2 {bare_b.address} 22")
    finally:
        nodes.ssh(bare_b, "sudo systemctl stop listener")


def test_without_a_route_outward(bare_a: nodes.Node, bare_b: nodes.Node) -> None:
    """The closed node reaches the bed's mirror and registry, and nothing beyond; it still has a default route."""
    assert "default via" in nodes.ssh(bare_b, "ip route")
    assert nodes.ssh(bare_b, f"curl -sS -o /dev/null -w '%{{http_code}}' {services.mirror_url()}/").strip() == "200"
    assert nodes.ssh(
        bare_b, f"curl -sk -o /dev/null -w '%{{http_code}}' {services.registry().endpoint}/v2/").strip() == "401"
    # Debian's registry is what an open node reaches, so the same words are the proof of the opposite.
    fetch = "sudo apt-get -o Acquire::http::Timeout=5 -o Acquire::Retries=0 update -qq -o APT::Update::Error-Mode=any"
    nodes.ssh(bare_a, fetch, timeout=120)
    with pytest.raises(BedError):
        nodes.ssh(bare_b, fetch, timeout=120)


def test_data_disk(bare_b: nodes.Node) -> None:
    """A disk of its own, small enough to be filled in a test without filling the host."""
    size, source = nodes.ssh(bare_b, "df --block-size=1M --output=size,source /srv/data | tail -1").split()
    assert 800 < int(size) <= 1024 and source.startswith("/dev/loop")
    with pytest.raises(BedError, match="No space left on device"):
        nodes.ssh(bare_b, "sudo dd if=/dev/zero of=/srv/data/full bs=1M")
    nodes.ssh(bare_b, "sudo rm /srv/data/full && echo kept | sudo tee /srv/data/file && sync")


def _boot_id(node: nodes.Node) -> str:
    return nodes.ssh(node, "cat /proc/1/stat | cut -d' ' -f22").strip()


@pytest.mark.parametrize("action", ["reboot", "cut and start", "reboot from inside"])
def test_switching_off_and_on(bare_b: nodes.Node, action: str, measured: Measured) -> None:
    """Disks, rules and identity survive; /run and processes do not."""
    before = _boot_id(bare_b)
    nodes.ssh(bare_b, "sudo touch /run/marker; echo kept | sudo tee /etc/kept; sync")
    how: dict[str, Callable[[], object]] = {
        "reboot": lambda: nodes.reboot(bare_b),
        "cut and start": lambda: (nodes.cut(bare_b), _stays_off(bare_b), nodes.start(bare_b)),
        "reboot from inside": lambda: nodes.succeeds([*nodes.ssh_argv(bare_b), "sudo reboot"]),
    }
    started = time.monotonic()
    how[action]()
    wait_for(lambda: _boot_id(bare_b) != before, "the node after its restart", 40)
    measured.node_seconds[f"bare node, {action}, to SSH"] = round(time.monotonic() - started, 1)
    assert nodes.ssh(bare_b, "cat /etc/kept /srv/data/file").split() == ["kept", "kept"]
    assert nodes.ssh(bare_b, "test -e /run/marker && echo there || echo gone").strip() == "gone"
    wait_for(lambda: "icmp-host-prohibited" in nodes.ssh(bare_b, "sudo iptables -S FORWARD"), "the OCI rules")


def _stays_off(node: nodes.Node) -> None:
    time.sleep(2)
    assert nodes.status(node) == "exited", "a node whose power was cut came back by itself"


def test_a_node_that_exists_is_not_made_again(bare_a: nodes.Node, parts: dict[str, object]) -> None:
    with pytest.raises(BedError, match="node test-a exists already; `make node-down NAME=test-a`"):
        nodes.up(nodes.plan("test-a"), parts)  # type: ignore[arg-type]
    nodes.ssh(bare_a, "true")


def test_wrong_host_key_is_refused(bare_a: nodes.Node) -> None:
    """Host keys are checked as on a real machine."""
    known = services.state() / "ssh" / "known_hosts"
    kept = known.read_text()
    try:
        lines = kept.splitlines()
        stolen = [line for line in lines if not line.startswith(bare_a.address + " ")]
        known.write_text(f"{bare_a.address} {stolen[0].split(' ', 1)[1]}\n")
        with pytest.raises(BedError, match="Host key verification failed"):
            nodes.ssh(bare_a, "true")
    finally:
        known.write_text(kept)
