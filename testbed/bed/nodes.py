"""Nodes: systemd containers that a role cannot tell from a bare cloud machine."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import services, settings
from .cache import lock
from .errors import BedError
from .podman import Podman
from .recipes import IMAGES, NODE_IMAGE
from .shell import run, succeeds

PREFIX = "observer-node-"
VOLUMES = {"rancher": "/var/lib/rancher", "kubelet": "/var/lib/kubelet"}
"""Folders that cannot lie on the container's own overlay: containerd stacks overlays there."""

SSH_SECONDS = 30

DATA_DISK_UNIT = """\
# A line in fstab would wait for udev to announce the device, and a container has no udev.
[Unit]
Description=Data disk
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -t ext4 {device} {path}
"""


@dataclass(frozen=True)
class Node:
    """A node and how it was asked for.

    :ivar address: its IPv4 address on the bed's network; empty in a plan that leaves the choice to :func:`up`.
    :ivar oci_firewall: starts with the iptables rules of an OCI Ubuntu image.
    :ivar outward: False when nothing beyond the bed's network can be reached.
    :ivar data_disk: GiB of a data disk (a loop device with ext4), 0 for none.
    :ivar data_path: where that disk is mounted.
    """

    name: str
    hostname: str
    address: str
    oci_firewall: bool = False
    outward: bool = True
    data_disk: int = 0
    data_path: str = "/srv/data"

    @property
    def container(self) -> str:
        return PREFIX + self.name

    @property
    def folder(self) -> Path:
        return services.state() / "nodes" / self.name

    @property
    def connect_seconds(self) -> int:
        """How long SSH waits for it to take a connection."""
        return 3

    @property
    def ssh_config(self) -> Path:
        """The ``ssh -F`` file that knows it."""
        return services.state() / "ssh" / "config"


def find(name: str) -> Node:
    """:raises BedError: there is no such node."""
    path = services.state() / "nodes" / name / "node.json"
    if not path.is_file():
        known = ", ".join(node.name for node in everyone()) or "none"
        raise BedError(f"no node named {name} (there are: {known}); `make node NAME={name}` makes it")
    return Node(**json.loads(path.read_text()))


def everyone() -> list[Node]:
    folder = services.state() / "nodes"
    return [Node(**json.loads(path.read_text())) for path in sorted(folder.glob("*/node.json"))]


def status(node: Node) -> str:
    """podman's word for it: ``running``, ``exited``, ... or ``missing``."""
    found = Podman.open().inspect(node.container)
    return str(found["State"]["Status"]) if found else "missing"


def free_address() -> str:
    taken = {node.address for node in everyone()}
    network = ipaddress.ip_network(settings.SUBNET)
    for number in range(settings.FIRST_NODE_ADDRESS, 250):
        address = str(network[number])
        if address not in taken:
            return address
    raise BedError(f"no address is free in {settings.SUBNET}; take nodes away with `make down`")


def plan(
    name: str, *, hostname: str | None = None, address: str | None = None, oci_firewall: bool = False,
    outward: bool = True, data_disk: int = 0, data_path: str = "/srv/data",
) -> Node:
    """Check what is asked for a new node.

    :raises BedError: a value cannot be; the message names it. Nothing is changed.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise BedError(f"NAME={name}: use lower-case letters, digits and hyphens, at most 32")
    hostname = hostname or name
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", hostname):
        raise BedError(f"--hostname {hostname}: not a host name")
    if address is not None:
        _usable(name, address)
    if data_disk < 0 or (data_disk and not data_path.startswith("/")):
        raise BedError("--data-disk takes GiB and --data-path an absolute path")
    # Without an address one is chosen in up(), under the lock: another call may take the next one meanwhile.
    return Node(name, hostname, address or "", oci_firewall, outward, data_disk, data_path)


def _usable(name: str, address: str) -> None:
    """:raises BedError: the address is none, is not the bed's to give, or another node has it."""
    try:
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(settings.SUBNET)
    except ValueError as error:
        raise BedError(f"--address {address}: not an IPv4 address") from error
    if not inside or address in {settings.GATEWAY, settings.MIRROR_ADDRESS, settings.REGISTRY_ADDRESS}:
        raise BedError(f"--address {address}: choose one in {settings.SUBNET} that is not the bed's own")
    for other in everyone():
        if other.address == address and other.name != name:
            raise BedError(f"--address {address}: node {other.name} has it")


def up(node: Node, paths: Mapping[str, Path]) -> Node:
    """Make a node and wait until it answers over SSH. Returns it with its address.

    :param node: from :func:`plan`.
    :raises BedError: a node of this name exists, or it did not come up.
    """
    podman = Podman.open()
    with lock(services.state() / "nodes.lock"):
        if podman.inspect(node.container) or (node.folder / "node.json").is_file():
            raise BedError(f"node {node.name} exists already; `make node-down NAME={node.name}` takes it away")
        if node.address:
            _usable(node.name, node.address)
        node = replace(node, address=node.address or free_address())
        image = podman.load_rootfs(
            paths["node"] / "rootfs.tar", NODE_IMAGE,
            changes=('CMD ["/sbin/node-init"]', "STOPSIGNAL SIGRTMIN+3"),
        )
        node.folder.mkdir(parents=True, exist_ok=True)
        (node.folder / "node.json").write_text(json.dumps(asdict(node), indent=2) + "\n")
    try:
        _create(podman, node, image)
        _start(podman, node)
    except BaseException:
        # Half a node would only be in the way of the next attempt.
        _remove(podman, node)
        raise
    return node


def _create(podman: Podman, node: Node, image: str) -> None:
    options: list[str] = []
    for short, path in VOLUMES.items():
        options += ["--volume", f"{node.container}-{short}:{path}:suid,dev,exec"]
    podman.run(
        "create", *podman.cgroup, "--name", node.container, "--hostname", node.hostname, "--network", services.NETWORK,
        "--ip", node.address, "--mac-address", settings.mac_address(node.address), "--cgroupns=private",
        "--privileged", "--systemd=always", "--tmpfs", "/run", "--tmpfs", "/tmp:mode=1777",
        # A reboot from inside ends the container with the signal that the kernel sends for it.
        "--restart=on-failure:1000", *options, image,
    )
    _seed(podman, node)


def client_key() -> Path:
    """The key that the bed logs in with; made when it is not there."""
    folder = services.state() / "ssh"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    key = folder / "id_ed25519"
    with lock(folder / "lock"):
        if not key.is_file():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "observer-node test bed", "-f", key])
    return key


def _seed(podman: Podman, node: Node) -> None:
    """The files that a cloud gives a new machine: its host key, who may log in, the provider's rules.

    Written into the container's root file system while it is off; `podman cp` would change owners.
    """
    key = client_key()
    host_key = node.folder / "ssh_host_ed25519_key"
    if not host_key.is_file():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node.hostname, "-f", host_key])
    with _root_of(podman, node) as root:
        _put(root / "home/ubuntu/.ssh/authorized_keys", key.with_suffix(".pub").read_bytes(), 0o600, 1000)
        _put(root / "etc/ssh/ssh_host_ed25519_key", host_key.read_bytes(), 0o600)
        _put(root / "etc/ssh/ssh_host_ed25519_key.pub", host_key.with_suffix(".pub").read_bytes(), 0o644)
        if node.oci_firewall:
            _put(root / "etc/iptables/rules.v4", (IMAGES / "node" / "rules.v4").read_bytes(), 0o640)


@contextmanager
def _root_of(podman: Podman, node: Node) -> Iterator[Path]:
    root = Path(podman.run("mount", node.container).strip())
    try:
        yield root
    finally:
        podman.run("unmount", node.container)


def _put(path: Path, content: bytes, mode: int, owner: int = 0) -> None:
    path.write_bytes(content)
    path.chmod(mode)
    os.chown(path, owner, owner)


def _attach_disk(node: Node) -> str:
    """A sparse file of the asked size as a block device. Returns ``/dev/loopN``."""
    image = node.folder / "data.img"
    if not image.is_file():
        with image.open("wb") as handle:
            handle.truncate(node.data_disk * 1024**3)
        run(["mkfs.ext4", "-q", "-F", "-L", "data", image])
    attached = run(["losetup", "--noheadings", "--output", "NAME", "--associated", image]).split()
    return attached[0] if attached else run(["losetup", "--find", "--show", image]).strip()


def _start(podman: Podman, node: Node) -> None:
    # After a restart of the host its rules are gone.
    services.network(podman)
    if not node.outward:
        services.block_outward(node.address)
    if node.data_disk:
        # The loop device may have another number than last time.
        device = _attach_disk(node)
        with _root_of(podman, node) as root:
            (root / node.data_path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            unit = root / "etc/systemd/system/data-disk.service"
            _put(unit, DATA_DISK_UNIT.format(device=device, path=node.data_path).encode(), 0o644)
            wanted = root / "etc/systemd/system/local-fs.target.wants"
            wanted.mkdir(exist_ok=True)
            (wanted / unit.name).unlink(missing_ok=True)
            (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
    podman.run("start", node.container)
    write_ssh_config()
    _wait_for_ssh(podman, node)


def write_ssh_config() -> Path:
    """``ssh -F`` file and known hosts for all nodes, so that host keys are checked as on a real machine."""
    folder = services.state() / "ssh"
    hosts, known = [], []
    for node in everyone():
        public = node.folder / "ssh_host_ed25519_key.pub"
        if not public.is_file():
            continue
        known.append(f"{node.address} {' '.join(public.read_text().split()[:2])}\n")
        hosts.append(ssh_host(node, folder / "id_ed25519", folder / "known_hosts"))
    (folder / "known_hosts").write_text("".join(known))
    path = folder / "config"
    path.write_text("".join(hosts))
    path.chmod(0o600)
    return path


def ssh_host(node: Node, key: Path, known: Path) -> str:
    """A node's paragraph of an ``ssh -F`` file."""
    return (f"Host {node.name}\n  HostName {node.address}\n  User ubuntu\n  IdentityFile {key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n")


def ssh(node: Node, command: Sequence[str] | str, *, stdin: str | None = None, timeout: float | None = None) -> str:
    """Run a command on a node as ``ubuntu``. A string is a shell line.

    :raises BedError: it exited non-zero or the node did not answer.
    """
    words = [command] if isinstance(command, str) else list(command)
    return run([*ssh_argv(node), *words], stdin=stdin, timeout=timeout)


def ssh_argv(node: Node) -> list[str]:
    return ["ssh", "-F", str(node.ssh_config), "-o", f"ConnectTimeout={node.connect_seconds}",
            "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", node.name]


def _wait_for_ssh(podman: Podman, node: Node) -> None:
    deadline = time.monotonic() + SSH_SECONDS
    while not succeeds([*ssh_argv(node), "true"]):
        found = podman.inspect(node.container)
        if time.monotonic() > deadline or (found and found["State"]["Status"] == "exited"):
            logs = podman.run("logs", "--tail", "20", node.container) if found else ""
            raise BedError(f"node {node.name} did not answer over SSH within {SSH_SECONDS} s:\n{logs}")
        time.sleep(0.1)


def stop(node: Node) -> None:
    """Shut a node down in order."""
    Podman.open().run("stop", "--time", "30", node.container)


def cut(node: Node) -> None:
    """Cut the power: every process ends at once, nothing is flushed by any of them.

    What was written but not synced stays in the host's page cache, so this is milder than a real cut
    for the disk; it is the same for the processes.
    """
    Podman.open().run("kill", "--signal", "KILL", node.container)
    # The kernel takes the process tree down after its init; the node is off when the container says so.
    Podman.open().run("wait", "--condition", "exited", "--condition", "stopped", node.container, timeout=30)


def start(node: Node) -> float:
    """Switch a node on again and wait for SSH. Returns the seconds that took."""
    started = time.monotonic()
    _start(Podman.open(), node)
    return time.monotonic() - started


def reboot(node: Node) -> float:
    """Shut down in order and start. Returns the seconds that took."""
    started = time.monotonic()
    stop(node)
    _start(Podman.open(), node)
    return time.monotonic() - started


def down(node: Node) -> None:
    """Take a node away with its disks."""
    _remove(Podman.open(), node)
    write_ssh_config()


def _remove(podman: Podman, node: Node) -> None:
    if podman.inspect(node.container):
        # No orderly shutdown: what is on it goes anyway.
        podman.run("rm", "--force", "--time", "0", "--volumes", node.container)
    for short in VOLUMES:
        if podman.succeeds("volume", "exists", f"{node.container}-{short}"):
            podman.run("volume", "rm", "--force", f"{node.container}-{short}")
    image = node.folder / "data.img"
    if image.is_file():
        for device in run(["losetup", "--noheadings", "--output", "NAME", "--associated", image]).split():
            run(["losetup", "--detach", device])
    if not node.outward:
        services.unblock_outward(node.address)
    shutil.rmtree(node.folder, ignore_errors=True)
