"""What K3s refuses, the stand-in refuses, on a node as an operator meets it. Sources: testbed/k3s/README.md."""

from __future__ import annotations

import re

import pytest

from bed import nodes
from bed.errors import BedError
from operator_hand import Cluster, put, wait_for


def refused(cluster: Cluster, command: str) -> str:
    """Run a command that must fail; returns what it said."""
    with pytest.raises(BedError) as error:
        nodes.ssh(cluster.node, f"sudo timeout 40 {command}", timeout=60)
    assert "exited with 124" not in str(error.value), f"it went on instead of refusing: {error.value}"
    return str(error.value)


@pytest.mark.parametrize(("command", "message"), [
    ("k3s server --no-such-option", r"flag provided but not defined: -no-such-option"),
    ("k3s agent --no-such-option", r"flag provided but not defined: -no-such-option"),
    ("k3s server --disable nonsense", r"nonsense"),
    ("k3s server --cluster-reset-restore-path /x", r"cluster-reset"),
    ("k3s server --disable-etcd", r"disable-etcd|server"),
    ("k3s agent", r"token|server"),
    ("k3s etcd-snapshot save", r"etcd"),
    ("k3s nonsense", r"No help topic for 'nonsense'"),
])
def test_refused_on_the_command_line(cluster: Cluster, command: str, message: str) -> None:
    assert re.search(message, refused(cluster, command))


@pytest.fixture
def stopped(cluster: Cluster) -> object:
    """K3s stopped for a wrong start, and right again afterwards."""
    nodes.ssh(cluster.node, "sudo systemctl stop k3s", timeout=60)
    yield
    nodes.ssh(cluster.node, "sudo systemctl start k3s", timeout=120)
    cluster.wait_ready("obs-prod-arm")


def test_a_wrong_token_against_the_datastore(cluster: Cluster, stopped: object) -> None:
    state = "sudo sha256sum /var/lib/rancher/k3s/server/token /var/lib/rancher/k3s/server/tls/server-ca.key"
    before = nodes.ssh(cluster.node, state)
    said = refused(cluster, "k3s server --token another-token")
    assert "bootstrap data already found and encrypted with different token" in said
    assert nodes.ssh(cluster.node, state) == before


def test_a_bootstrap_token_for_a_server(cluster: Cluster, stopped: object) -> None:
    said = refused(cluster, "k3s server --token abcdef.0123456789abcdef")
    assert "failed to normalize server token" in said


def test_a_lost_tls_folder_comes_back_from_the_datastore(cluster: Cluster, stopped: object) -> None:
    """With datastore and token the authorities are the old ones, as in K3s: old kubeconfigs go on working."""
    tls = "/var/lib/rancher/k3s/server/tls"
    before = nodes.ssh(cluster.node, f"sudo sha256sum {tls}/server-ca.crt {tls}/service.key")
    nodes.ssh(cluster.node, f"sudo rm -r {tls}")
    nodes.ssh(cluster.node, "sudo systemctl start k3s", timeout=120)
    cluster.wait_ready("obs-prod-arm")
    assert nodes.ssh(cluster.node, f"sudo sha256sum {tls}/server-ca.crt {tls}/service.key") == before


def test_a_wrong_node_password(cluster: Cluster) -> None:
    """A rebuilt machine under an old name: refused until its Secret goes."""
    kept = nodes.ssh(cluster.node, "sudo cat /etc/rancher/node/password")
    nodes.ssh(cluster.node, "sudo systemctl stop k3s", timeout=60)
    try:
        put(cluster.node, "/etc/rancher/node/password", "not-the-password\n", "0600")
        # K3s goes on asking, so that a removed Secret heals it; what it says while it waits is the refusal.
        nodes.ssh(cluster.node, "sudo systemctl start k3s", timeout=120)
        wait_for(lambda: "Node password rejected" in nodes.ssh(
            cluster.node, "sudo journalctl -u k3s --no-pager --since -30s"), "the refusal")
        with pytest.raises(BedError):
            nodes.ssh(cluster.node, "pgrep -x kubelet")
    finally:
        put(cluster.node, "/etc/rancher/node/password", kept, "0600")
        nodes.ssh(cluster.node, "sudo systemctl restart k3s", timeout=120)
        cluster.wait_ready("obs-prod-arm")


def test_an_unknown_key_in_the_file_is_skipped_with_a_warning(cluster: Cluster) -> None:
    """As K3s does: unlike the command line, a file may hold a key of another version."""
    put(cluster.node, "/etc/rancher/k3s/config.yaml.d/90-x.yaml", "no-such-key: 1\n")
    try:
        nodes.ssh(cluster.node, "sudo systemctl restart k3s", timeout=120)
        cluster.wait_ready("obs-prod-arm")
        log = nodes.ssh(cluster.node, "sudo journalctl -u k3s --no-pager --since -60s")
        assert re.search(r"[Uu]nknown flag --no-such-key", log)
    finally:
        nodes.ssh(cluster.node, "sudo rm -r /etc/rancher/k3s/config.yaml.d")
