"""What is refused: each before anything is changed, with a line that names what to mend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bed import nodes, services
from conftest import fresh as fresh_node
from hands import ROOT, Run, Site, differences, node_name


@pytest.fixture(scope="module")
def untouched(bare: Site) -> dict[str, list[str]]:
    """The bare node before anybody came."""
    return bare.snapshot()


@pytest.fixture
def copy(bare: Site, tmp_path: Path) -> Iterator[Site]:
    """The inventory and the secrets of the bare node, free to be spoilt."""
    folder = tmp_path / "copy"
    shutil.copytree(bare.folder.parent, folder, symlinks=True)
    environment = {name: value.replace(str(bare.folder.parent), str(folder))
                   for name, value in bare.environment.items()}
    yield replace(bare, folder=folder / "inventory", environment=environment)


def refused(site: Site, run: Run, *words: str) -> str:
    """The paragraph of a refusal: it has the words, it ends the output, and no more than one is there."""
    assert run.status != 0, run.output
    text = " ".join(run.output.split())
    for word in words:
        assert word in text, f"{word!r} is not in:\n{run.output}"
    assert "Traceback" not in run.output
    return text


def unchanged(site: Site, before: dict[str, list[str]]) -> None:
    assert differences(before, site.snapshot()) == {}


def test_a_wrong_checksum(copy: Site, untouched: dict[str, list[str]]) -> None:
    bed = copy.folder.parent / "state" / "observer-node" / "bed.json"
    facts = json.loads(bed.read_text())
    facts["k3s_checksums"]["k3s"] = "0" * 64
    bed.write_text(json.dumps(facts))
    refused(copy, copy.play(), "k3s has the SHA-256", "is pinned", "k3s_checksums")
    unchanged(copy, untouched)


def test_a_truncated_download(copy: Site, untouched: dict[str, list[str]]) -> None:
    """The second of the files is cut off by a server of the test's own, on the bed's bridge."""
    bed = copy.folder.parent / "state" / "observer-node" / "bed.json"
    facts = json.loads(bed.read_text())
    server = subprocess.Popen(
        ["python3", "-c", CUT_OFF, facts["releases"]], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        facts["releases"] = server.stdout.readline().strip()
        bed.write_text(json.dumps(facts))
        refused(copy, copy.play(), "was cut off after", "bytes")
    finally:
        server.kill()
        server.wait()
    unchanged(copy, untouched)


CUT_OFF = """
import http.server, sys, urllib.request
class Cut(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with urllib.request.urlopen(sys.argv[1] + self.path) as answer:
            body = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if "airgap" in self.path else body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("10.89.53.1", 0), Cut)
print(f"http://10.89.53.1:{server.server_port}", flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize(("variables", "words"), [
    ({"k3s_verison": "v1.34.3+k3s1"}, ("k3s_verison", "k3s_version")),
    ({"k3s_version": "latest"}, ("k3s_version latest",)),
    ({"node_storage_free_gib": 100000}, ("100000", "GiB", "node_storage_free_gib")),
    ({"node_services_off": ["ssh.service"]}, ("ssh.service", "node_services_off")),
    ({"local_path_folder": "/var/lib/rancher/volumes"}, ("local_path_folder", "/var/lib/rancher")),
    ({"k3s_kind": "agent"}, ("k3s_server_url",)),
])
def test_settings(
    copy: Site, untouched: dict[str, list[str]], variables: dict[str, object], words: tuple[str, ...],
) -> None:
    refused(copy, copy.play("-e", json.dumps(variables)), *words)
    unchanged(copy, untouched)


@pytest.mark.parametrize(("line", "words"), [
    ("s/^ID=.*/ID=fedora/", ("is not supported; supported are debian 12",)),
])
def test_an_operating_system_that_is_not_supported(copy: Site, line: str, words: tuple[str, ...]) -> None:
    copy.ssh("sudo cp --preserve=all /etc/os-release /root/os-release.kept; readlink -f /etc/os-release > /tmp/place")
    copy.ssh(f"sudo sed -i.kept '{line}' $(cat /tmp/place)")
    try:
        refused(copy, copy.play(), *words)
    finally:
        copy.ssh("sudo mv $(cat /tmp/place).kept $(cat /tmp/place); sudo rm /root/os-release.kept")


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """A checkout of the manifests, free to be spoilt."""
    folder = tmp_path / "manifests"
    shutil.copytree(ROOT / "manifests", folder)
    return folder


@pytest.mark.parametrize("tag", ["latest", "v1", "build-2026", "main"])
def test_a_tag_that_the_policy_forbids(copy: Site, untouched: dict[str, list[str]], deployment: Path, tag: str) -> None:
    kustomization = deployment / "overlays" / "local" / "kustomization.yaml"
    text = kustomization.read_text()
    assert "build-20260205-142425" in text
    kustomization.write_text(text.replace("build-20260205-142425", tag))
    refused(copy, copy.play("-e", json.dumps({"observer_manifests": str(deployment)})), tag, "ghcr.io/tawbury/observer")
    unchanged(copy, untouched)


def test_a_missing_secret(copy: Site, untouched: dict[str, list[str]]) -> None:
    sealed = list((copy.folder.parent / "state").rglob("observer-secrets.yaml"))
    assert len(sealed) == 1
    content = yaml.safe_load(sealed[0].read_text())
    del content["spec"]["encryptedData"]["KIS_APP_KEY"]
    sealed[0].write_text(yaml.safe_dump(content))
    refused(copy, copy.play(), "KIS_APP_KEY", "observer-secrets", "playbooks/secrets.yml")
    sealed[0].unlink()
    refused(copy, copy.play(), "observer-secrets", "playbooks/secrets.yml")
    unchanged(copy, untouched)


def test_no_secrets_at_all(copy: Site, untouched: dict[str, list[str]]) -> None:
    for folder in (copy.folder.parent / "state" / "observer-node").glob("local-secrets*"):
        shutil.rmtree(folder)
    refused(copy, copy.play(), "playbooks/secrets.yml")
    unchanged(copy, untouched)


def test_an_unreachable_host(copy: Site) -> None:
    config = Path(json.loads((copy.folder.parent / "state" / "observer-node" / "bed.json").read_text())["ssh_config"])
    other = copy.folder.parent / "ssh_config"
    other.write_text(config.read_text().replace(copy.node.address, "10.89.53.250"))
    arguments = json.dumps({"ansible_ssh_common_args": f"-F {other} -o ConnectTimeout=2 -o ControlPath=none"})
    refused(copy, copy.play("-e", arguments), copy.node.name, "ssh")


def test_a_clock_that_is_off(copy: Site, untouched: dict[str, list[str]]) -> None:
    """The node shares this machine's clock, so it is the controller's that is moved."""
    run = copy.play(prefix=("faketime", "-f", "+3h"))
    refused(copy, run, "clock")
    unchanged(copy, untouched)


def test_a_wrong_token(site: Site, provisioned_site: None) -> None:
    """On a node that has a datastore; K3s itself would end in a loop of restarts."""
    look = "systemctl show k3s.service --property ExecMainPID --value; sudo sha256sum /etc/rancher/k3s/token"
    before = site.ssh(look)
    other = json.dumps({"vault_k3s_token": "another-token-than-the-first"})
    refused(site, site.play("-e", other), "k3s_token", "datastore")
    assert site.ssh(look) == before


def test_an_older_version(site: Site, provisioned_site: None) -> None:
    checksums = json.loads((site.folder.parent / "state" / "observer-node" / "bed.json").read_text())["k3s_checksums"]
    older = {"k3s_version": "v1.33.9+k3s1", "k3s_checksums": {**checksums, "k3s": "1" * 64}}
    refused(site, site.play("-e", json.dumps(older)), "v1.33.9+k3s1", "older")


@pytest.fixture(scope="module")
def provisioned_site(site: Site) -> None:
    site.play().ok()


def test_a_cluster_that_somebody_else_made(parts: dict[str, Path], tmp_path: Path) -> None:
    """Seed 001's kind: K3s by its installer, the packaged local-path, a hand-made secret, data."""
    node = fresh_node(node_name("e"), parts)
    try:
        site = Site.local(node, tmp_path / "foreign", k3s_node_name="obs-local")
        site.play(playbook="playbooks/secrets.yml").ok()
        release = f"{services.mirror_url()}/k3s-io/k3s/releases/download/v1.34.3%2Bk3s1"
        site.ssh(FOREIGN.format(release=release), timeout=240)
        before = (site.snapshot(), site.kubectl("get all,secret,pvc,pv,storageclass -A -o name"))
        refused(site, site.play(), "did not make", "/etc/systemd/system/k3s.service")
        refused(site, site.play("--check"), "did not make")
        after = (site.snapshot(), site.kubectl("get all,secret,pvc,pv,storageclass -A -o name"))
        changed = {kind: change for kind, change in differences(before[0], after[0]).items()}
        # A living cluster writes to its own datastore and its pods' folders all the time.
        files = changed.pop("files", ([], []))
        assert [line for lines in files for line in lines
                if not line.startswith(("/var/lib/rancher", "/var/lib/kubelet", "/var/lib/cni"))] == []
        assert changed.keys() <= {"firewall", "processes"}
        assert after[1] == before[1]
    finally:
        if not os.environ.get("KEEP_NODES"):
            nodes.down(node)


FOREIGN = """
set -e; cd $(mktemp -d)
curl -fsSO {release}/k3s; curl -fsSO {release}/k3s-airgap-images-amd64.tar.zst
sudo install -m 755 k3s /usr/local/bin/k3s; sudo ln -sf k3s /usr/local/bin/kubectl
sudo install -d /var/lib/rancher/k3s/agent/images
sudo mv k3s-airgap-images-amd64.tar.zst /var/lib/rancher/k3s/agent/images/
sudo tee /etc/systemd/system/k3s.service >/dev/null <<'UNIT'
[Unit]
Description=Lightweight Kubernetes
[Service]
Type=notify
ExecStart=/usr/local/bin/k3s server --node-name obs-prod-arm --disable traefik --disable servicelb
KillMode=process
Delegate=yes
LimitNOFILE=20000
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
[Install]
WantedBy=multi-user.target
UNIT
sudo systemctl daemon-reload; sudo systemctl enable --quiet --now k3s
until sudo kubectl get node obs-prod-arm 2>/dev/null | grep -q ' Ready'; do sleep 1; done
sudo kubectl create namespace observer-prod
sudo kubectl -n observer-prod create secret generic observer-secrets --from-literal=DB_USER=a
"""
