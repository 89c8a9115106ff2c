"""What K3s refuses, the stand-in refuses, on a node as an operator meets it. Sources: testbed/k3s/README.md."""

from __future__ import annotations

import re

import pytest

from bed import nodes
from bed.errors import BedError
from operator_hand import Cluster, put, wait_for


def refused(cluster: Cluster, command: str) -> str:
    """Run a command that must fail; returns what it said."""
    user = "-u ubuntu " if command.startswith("-u ubuntu ") else ""
    with pytest.raises(BedError) as error:
        nodes.ssh(cluster.node, f"sudo {user}timeout 40 {command.removeprefix('-u ubuntu ')}", timeout=60)
    assert "exited with 124" not in str(error.value), f"it went on instead of refusing: {error.value}"
    return str(error.value)


NO_FILE = "env K3S_CONFIG_FILE=/dev/null"
"""An agent of this machine would else find the server's configuration, with its token."""


@pytest.mark.parametrize(("command", "message"), [
    ("k3s server --no-such-option", "flag provided but not defined: -no-such-option"),
    ("k3s agent --no-such-option", "flag provided but not defined: -no-such-option"),
    ("k3s nonsense", "No help topic for 'nonsense'"),
    ("k3s server --disable nonsense", "unknown disable item nonsense"),
    ("k3s server --cluster-reset-restore-path /x",
     "invalid flag use; --cluster-reset required with --cluster-reset-restore-path"),
    ("k3s server --cluster-reset --server https://x:6443", "cannot perform cluster-reset while server URL is set"),
    ("k3s server --disable-etcd", "invalid flag use; --server is required with --disable-etcd"),
    ("k3s server --disable-etcd --server https://x:6443 --datastore-endpoint mysql://x",
     "invalid flag use; cannot use --disable-etcd with --datastore-endpoint"),
    ("k3s server --disable-apiserver --datastore-endpoint mysql://x",
     "invalid flag use; cannot use --disable-apiserver with --datastore-endpoint"),
    ("k3s server --flannel-backend nonsense", "Cannot configure unknown flannel backend 'nonsense'"),
    ("k3s server --egress-selector-mode nonsense", "invalid egress-selector-mode nonsense"),
    ("k3s server --cluster-cidr nonsense", "invalid CIDR address: nonsense"),
    (f"{NO_FILE} k3s agent --data-dir /tmp/none --server https://127.0.0.1:6443", "--token is required"),
    (f"{NO_FILE} k3s agent --token x", "--server is required"),
    ("k3s etcd-snapshot save", "see server log for details: etcd datastore disabled"),
    (f"-u ubuntu {NO_FILE} k3s server", "server must run as root"),
])
def test_refused_on_the_command_line(cluster: Cluster, command: str, message: str) -> None:
    """By K3s' own words: another refusal of the same line would not do."""
    before = nodes.ssh(cluster.node, "systemctl show k3s -p MainPID")
    assert message in refused(cluster, command)
    assert nodes.ssh(cluster.node, "systemctl show k3s -p MainPID") == before


def test_a_manifest_with_a_bad_name(cluster: Cluster) -> None:
    path = "/var/lib/rancher/k3s/server/manifests/my_file.yaml"
    put(cluster.node, path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: my-file, namespace: default}\n")
    try:
        wait_for(lambda: 'Addon.k3s.cattle.io \\"my_file\\" is invalid' in nodes.ssh(
            cluster.node, "sudo journalctl -u k3s --no-pager --since -30s"), "the refusal", 30)
        with pytest.raises(BedError, match="NotFound"):
            cluster.get("configmap my-file")
    finally:
        nodes.ssh(cluster.node, f"sudo rm {path}")


def test_without_a_default_route(cluster: Cluster, stopped: object) -> None:
    route = nodes.ssh(cluster.node, "ip route show default").strip()
    nodes.ssh(cluster.node, "sudo ip route del default")
    try:
        assert "no default routes found" in refused(cluster, "k3s server")
    finally:
        nodes.ssh(cluster.node, f"sudo ip route add {route}")


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
