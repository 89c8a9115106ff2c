"""``make up``: the local node, provisioned by the product's own command, and a way in on loopback ports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from . import machines, nodes, services, settings
from .errors import BedError
from .recipes import host_architecture, release_path

NODE = "obs-local"
"""The host of ``inventories/local``."""

HTTP_PORT = 18000
API_PORT = 16443
ROOT = Path(__file__).resolve().parents[2]


def describe(machine: machines.Machine | None = None) -> Path:
    """Write down what ``inventories/local`` has to know of the bed; returns the file.

    Checksums are read from the mirror's own lists: what the bed has built is pinned by them for this machine.

    :param machine: the emulated machine that it is for; else it is for every container node.
    """
    architecture = machine.architecture if machine else host_architecture()
    tree = settings.folders().cache / "mirror"
    release = tree / release_path("k3s-io/k3s", settings.K3S_VERSION).replace("%2B", "+")
    checksums = dict(_checksums(release / f"sha256sum-{architecture}.txt"))
    own = dict(_checksums(tree / "observer-node" / f"sha256sum-{architecture}.txt"))
    restic = dict(_checksums(tree / release_path("restic/restic", f"v{settings.RESTIC_VERSION}", "SHA256SUMS")))
    registry = services.registry()
    path = (machine.folder if machine else services.state()) / "bed.json"
    path.write_text(json.dumps({
        "ssh_config": str(machine.ssh_config if machine else services.state() / "ssh" / "config"),
        "releases": services.mirror_url(),
        "k3s_checksums": checksums,
        "restic_checksums": restic,
        "extra_images": [
            {"name": name, "url": f"{services.mirror_url()}/observer-node/{name}", "sha256": sha256}
            for name, sha256 in own.items()
        ],
        "registry": services.endpoint(architecture),
        "registry_ca": registry.ca_file.read_text().strip(),
        "registry_user": registry.user,
        "registry_password_file": str(registry.password_file),
    }, indent=2) + "\n")
    return path


def _checksums(path: Path) -> list[tuple[str, str]]:
    """File names with their SHA-256, from a list as ``sha256sum`` writes it."""
    found = []
    for line in path.read_text().splitlines():
        sha256, name = line.split(maxsplit=1)
        found.append((name.strip().lstrip("*"), sha256))
    return found


def up(paths: Mapping[str, Path]) -> int:
    """Start the node unless it is there, provision it, open the way in. Returns an exit status."""
    if not any(node.name == NODE for node in nodes.everyone()):
        nodes.up(nodes.plan(NODE, oci_firewall=True), paths)
    elif nodes.status(nodes.find(NODE)) != "running":
        nodes.start(nodes.find(NODE))
    describe()
    for playbook in ("playbooks/secrets.yml", "site.yml"):
        done = subprocess.run([str(Path(sys.executable).with_name("ansible-playbook")), playbook,
                               "-i", "inventories/local"], cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
    forward()
    return 0


def inventory(machine: machines.Machine) -> Path:
    """``inventories/local`` for an emulated machine; what differs is in the bed's own description, address and URLs."""
    folder = machine.folder / "site"
    target = folder / "inventory"
    state = folder / "state" / "observer-node"
    state.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "inventories" / "local" / "group_vars", target / "group_vars", dirs_exist_ok=True)
    (target / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"observer": {"children": {
        "k3s_servers": {"hosts": {machine.name: {"k3s_node_name": NODE}}}, "k3s_agents": {}}}}}}))
    shutil.copy(describe(machine), state / "bed.json")
    return target


def provision(machine: machines.Machine) -> int:
    """Run the product's own command on an emulated machine. Returns an exit status."""
    where = inventory(machine)
    environment = {**os.environ, **machines.PATIENCE, "XDG_STATE_HOME": str(where.parent / "state")}
    for playbook in ("playbooks/secrets.yml", "site.yml"):
        done = subprocess.run([str(Path(sys.executable).with_name("ansible-playbook")), playbook, "-i", str(where),
                               *(machines.PATIENT if playbook == "site.yml" else ())],
                              cwd=ROOT, check=False, env=environment)
        if done.returncode:
            return done.returncode
    return 0


def _pid_file() -> Path:
    return services.state() / "forward.pid"


def forward() -> Path:
    """Forward loopback ports to Observer and to the API over SSH; returns the kubeconfig for the latter.

    :raises BedError: when a port is taken.
    """
    stop_forward()
    node = nodes.find(NODE)
    service = json.loads(nodes.ssh(node, "sudo kubectl -n observer-local get service observer -o json"))
    for port in (HTTP_PORT, API_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise BedError(f"port {port} of 127.0.0.1 is taken, so Observer is not forwarded there: "
                               f"stop what holds it (ss -ltnp 'sport = :{port}') and run `make up` again") from error
    argv = [*nodes.ssh_argv(node)[:-1], "-N", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15",
            "-o", "ControlPath=none",
            "-L", f"127.0.0.1:{HTTP_PORT}:{service['spec']['clusterIP']}:8000",
            "-L", f"127.0.0.1:{API_PORT}:127.0.0.1:6443", node.name]
    process = subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _pid_file().write_text(str(process.pid))
    deadline = time.monotonic() + 10
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", HTTP_PORT)) == 0:
                break
        if process.poll() is not None or time.monotonic() > deadline:
            raise BedError(f"the forward to {node.name} did not open: {' '.join(argv)}")
        time.sleep(0.05)
    return kubeconfig(node)


def kubeconfig(node: nodes.Node) -> Path:
    """The node's administrator kubeconfig, for the forwarded port; readable by root alone."""
    config = yaml.safe_load(nodes.ssh(node, "sudo cat /etc/rancher/k3s/k3s.yaml"))
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{API_PORT}"
    path = services.state() / "kubeconfig"
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(yaml.safe_dump(config))
    return path


def stop_forward() -> None:
    """End the forward that an earlier call opened."""
    path = _pid_file()
    if not path.is_file():
        return
    pid = int(path.read_text())
    with contextlib.suppress(OSError):
        # The number may belong to somebody else by now.
        if b"ExitOnForwardFailure" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    path.unlink()


