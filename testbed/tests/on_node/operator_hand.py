"""What an operator does by hand on a node, until the roles do it: install K3s, talk to the cluster.

Everything goes over SSH as ``ubuntu``, and everything a node gets comes from the release mirror.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bed import nodes, services, settings
from bed.errors import BedError
from bed.recipes import host_architecture, release_path

MANIFESTS = Path(__file__).with_name("manifests")
UNIT = """\
[Unit]
Description=Lightweight Kubernetes
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart=/usr/local/bin/k3s {command}
KillMode=process
Delegate=yes
LimitNOFILE=20000
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
"""


@dataclass
class Measured:
    """Figures by section, as they go into ``bench/results.json``."""

    node_seconds: dict[str, float] = field(default_factory=dict)
    node_memory_mib: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, dict[str, float]]:
        return {"node_seconds": self.node_seconds, "node_memory_mib": self.node_memory_mib}


def put(node: nodes.Node, path: str, content: str, mode: str = "0644") -> None:
    """Write a file on a node; the content goes over standard input."""
    nodes.ssh(node, f"sudo install -D -m {mode} /dev/stdin {path}", stdin=content)


def registries_yaml(*, with_password: bool = False) -> str:
    """``registries.yaml`` that sends ``ghcr.io`` to the bed's registry.

    :param with_password: also the node itself may pull, not only a pod with ``ghcr-secret``.
    """
    registry = services.registry()
    host = registry.endpoint.removeprefix("https://")
    config: dict[str, Any] = {"tls": {"ca_file": "/etc/rancher/k3s/registry-ca.crt"}}
    if with_password:
        config["auth"] = {"username": registry.user, "password": registry.password()}
    return yaml.safe_dump({
        "mirrors": {"ghcr.io": {"endpoint": [registry.endpoint]}}, "configs": {host: config},
    })


def download_k3s(node: nodes.Node) -> None:
    """The binary and the air-gapped images, checked against the release's checksums."""
    base = f"{services.releases()}/{release_path('k3s-io/k3s', settings.K3S_VERSION)}"
    own = f"{services.mirror_url()}/observer-node"
    arch = host_architecture()
    binary = "k3s" if arch == "amd64" else f"k3s-{arch}"
    nodes.ssh(node, "\n".join([
        "set -e; cd $(mktemp -d)",
        f"curl -fsSLO {base}{binary}; curl -fsSLO {base}k3s-airgap-images-{arch}.tar.zst",
        f"curl -fsSL {base}sha256sum-{arch}.txt | sha256sum --check --quiet --ignore-missing",
        f"curl -fsSO {own}/observer-node-images-{arch}.tar.zst",
        f"curl -fsS {own}/sha256sum-{arch}.txt | sha256sum --check --quiet",
        f"sudo install -m 755 {binary} /usr/local/bin/k3s",
        "for name in kubectl crictl ctr; do sudo ln -sf k3s /usr/local/bin/$name; done",
        "sudo install -d -m 755 /var/lib/rancher/k3s/agent/images",
        "sudo mv ./*.tar.zst /var/lib/rancher/k3s/agent/images/",
    ]), timeout=180)


def install_k3s(node: nodes.Node, *, node_name: str, **config: object) -> Cluster:
    """Install and start a server; returns when the node is Ready and the system pods run."""
    times = {}
    started = time.monotonic()
    download_k3s(node)
    times["download"] = round(time.monotonic() - started, 1)
    put(node, "/etc/rancher/k3s/config.yaml", yaml.safe_dump({
        "node-name": node_name, "token": "the-first-token", "secrets-encryption": True,
        "disable": ["traefik", "servicelb"], "write-kubeconfig-mode": "0600",
        # Else a tag that the mirror lacks would be asked of the real registry, out of the bed.
        "disable-default-registry-endpoint": True, **config,
    }), "0600")
    put(node, "/etc/rancher/k3s/registry-ca.crt", services.registry().ca_file.read_text())
    put(node, "/etc/rancher/k3s/registries.yaml", registries_yaml(), "0600")
    put(node, "/etc/systemd/system/k3s.service", UNIT.format(command="server"))
    begun = time.monotonic()
    nodes.ssh(node, "sudo systemctl daemon-reload && sudo systemctl enable --quiet --now k3s", timeout=180)
    times["k3s.service active"] = round(time.monotonic() - begun, 1)
    cluster = Cluster(node, times)
    cluster.wait_ready(node_name)
    times["node Ready"] = round(time.monotonic() - begun, 1)
    cluster.kubectl("-n kube-system rollout status deployment/coredns --timeout=90s")
    times["CoreDNS serves"] = round(time.monotonic() - begun, 1)
    return cluster


@dataclass
class Cluster:
    """kubectl on a node, over SSH."""

    node: nodes.Node
    times: dict[str, float] = field(default_factory=dict)

    def kubectl(self, line: str, *, stdin: str | None = None, timeout: float = 180) -> str:
        return nodes.ssh(self.node, f"sudo k3s kubectl {line}", stdin=stdin, timeout=timeout)

    def get(self, line: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl(f"get {line} -o json"))
        return found

    def apply(self, *documents: dict[str, Any] | Path | str) -> str:
        texts = [
            document.read_text() if isinstance(document, Path)
            else document if isinstance(document, str) else json.dumps(document)
            for document in documents
        ]
        return self.kubectl("apply -f -", stdin="\n---\n".join(texts))

    def namespace(self, name: str, **labels: str) -> str:
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        # The default ServiceAccount comes a moment later, and pods are refused until then.
        wait_for(lambda: self.kubectl(f"-n {name} get serviceaccount default -o name"), f"{name}'s ServiceAccount")
        return name

    def pod(self, namespace: str, name: str, **spec: Any) -> None:  # noqa: ANN401 (a pod's spec)
        """Run a pod of one busybox container that sleeps, unless told otherwise."""
        container = {
            "name": "main", "image": "docker.io/library/busybox:1.36.1", "command": ["sleep", "86400"],
            **spec.pop("container", {}),
        }
        self.apply({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": spec.pop("labels", {"app": name})},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
        })

    def wait_pod(self, namespace: str, name: str, condition: str = "Ready", seconds: int = 90) -> None:
        self.kubectl(f"-n {namespace} wait --for=condition={condition} pod/{name} --timeout={seconds}s")

    def execute(self, namespace: str, pod: str, line: str) -> str:
        return self.kubectl(f"-n {namespace} exec {pod} -- sh -c {shell_quote(line)}")

    def reachable(self, namespace: str, pod: str, address: str, port: int) -> bool:
        """Whether a TCP connection from a pod comes about. A refusal and a silence are both no."""
        line = f"nc -w 2 {address} {port} </dev/null >/dev/null 2>&1 && echo yes || echo no"
        return self.execute(namespace, pod, line).strip() == "yes"

    def wait_ready(self, node_name: str, seconds: float = 120) -> None:
        def ready() -> bool:
            conditions = self.get(f"node {node_name}")["status"]["conditions"]
            return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)

        wait_for(ready, f"node {node_name} Ready", seconds)


def shell_quote(line: str) -> str:
    """Quote once for the remote shell."""
    return "'" + line.replace("'", "'\\''") + "'"


def wait_for(question: Callable[[], object], what: str, seconds: float = 60) -> object:
    """Ask until the answer is true. Errors count as no until the time is over.

    :raises AssertionError: with the last answer.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            last = question()
            if last:
                return last
        except (BedError, KeyError, ValueError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s; last seen: {last}")
        time.sleep(0.3)
