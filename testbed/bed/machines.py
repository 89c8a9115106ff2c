"""Emulated machines: a kernel, an initrd and a disk of another architecture, slowly, with snapshots.

What a container cannot have is here: a kernel with modules of its own, the unified cgroup hierarchy, udev, swap, a
boot, a clock, and a disk that a power cut leaves as it was.

Its network is a tap device on the nodes' bridge, not the emulator's user-mode network: so it has an address like any
node, the mirror, the registry and a backup host are reached as they are from any node, and the very rules that close a
container node's way outward (:func:`.services.block_outward`) close this one's. ``restrict=on`` would close everything,
and open each service again by a forward of its own under an address that is not the service's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import nodes, services, settings
from .cache import lock
from .errors import BedError
from .podman import Podman
from .recipes import IMAGES, place
from .shell import run, succeeds

FIRST_ADDRESS, LAST_ADDRESS = 250, 253
"""Beyond those that nodes are given."""

BOOT_SECONDS = 900
"""A kernel and systemd under emulation, on a machine that does other things as well."""

PATIENCE = {
    "ANSIBLE_TIMEOUT": "180",
    "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=300s -o PreferredAuthentications=publickey"
                        " -o ServerAliveInterval=30 -o ServerAliveCountMax=10",
}
"""Environment of a playbook's run: `sudo` alone may take longer there than Ansible waits for it, and a machine that
says nothing for a quarter of a minute is only slow."""

PATIENT = tuple(word for role in ("k3s", "local_path", "sealed_secrets", "observer")
                for word in ("-e", f"{role}_wait_seconds=1800"))
"""Words of such a run: the inventory stays as it is, and who runs it waits longer than the roles' five minutes."""

EMULATORS = {
    "arm64": ("qemu-system-aarch64", "-M", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"),
}
"""Pointer authentication with the architecture's own cipher costs an emulator more than all else together."""

NETWORK_FILE = """\
[Match]
Name=eth0
[Network]
Address={address}/{prefix}
Gateway={gateway}
IPv6AcceptRA=no
"""


@dataclass(frozen=True)
class Machine(nodes.Node):
    """An emulated machine; to SSH and to an inventory a node like any other.

    :ivar architecture: Debian's name of it.
    """

    architecture: str = "arm64"
    cores: int = 2
    memory_mib: int = 4096

    @property
    def folder(self) -> Path:
        return services.state() / "machines" / self.name

    @property
    def connect_seconds(self) -> int:
        return 30

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def tap(self) -> str:
        return f"{settings.BRIDGE}m{self.address.rpartition('.')[2]}"


def find(name: str) -> Machine:
    """:raises BedError: there is no such machine."""
    path = services.state() / "machines" / name / "machine.json"
    if not path.is_file():
        known = ", ".join(machine.name for machine in everyone()) or "none"
        raise BedError(f"no emulated machine named {name} (there are: {known}); `make machine NAME={name}` makes it")
    return Machine(**json.loads(path.read_text()))


def everyone() -> list[Machine]:
    folder = services.state() / "machines"
    return [Machine(**json.loads(path.read_text())) for path in sorted(folder.glob("*/machine.json"))]


def plan(name: str, *, hostname: str | None = None, oci_firewall: bool = False, outward: bool = False) -> Machine:
    """Check what is asked for a new machine. Nothing is changed.

    :raises BedError: a value cannot be.
    """
    node = nodes.plan(name, hostname=hostname, oci_firewall=oci_firewall, outward=outward)
    return Machine(**asdict(node))


def up(machine: Machine, paths: Mapping[str, Path]) -> Machine:
    """Make a machine from the part ``machine`` and boot it. Returns it with its address.

    :raises BedError: one of this name exists, or it did not come up.
    """
    with lock(services.state() / "nodes.lock"):
        if (machine.folder / "machine.json").is_file():
            raise BedError(f"machine {machine.name} exists already; `make machine-down NAME={machine.name}` takes it "
                           "away")
        machine = replace(machine, address=machine.address or _free_address())
        machine.folder.mkdir(parents=True, exist_ok=True)
        (machine.folder / "machine.json").write_text(json.dumps(asdict(machine), indent=2) + "\n")
    try:
        for name in ("vmlinuz", "initrd", "disk.qcow2"):
            # Under a name of the machine's own: the cache may be pruned while the machine lives.
            place(paths["machine"] / name, machine.folder / f"base-{name}")
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", machine.folder / "base-disk.qcow2",
             machine.folder / "disk.qcow2"])
        _seed(machine)
        start(machine)
    except BaseException:
        down(machine)
        raise
    return machine


def _free_address() -> str:
    taken = {node.address for node in [*everyone(), *nodes.everyone()]}
    start = settings.SUBNET.rpartition(".")[0]
    for number in range(FIRST_ADDRESS, LAST_ADDRESS + 1):
        if f"{start}.{number}" not in taken:
            return f"{start}.{number}"
    raise BedError("no address is free for an emulated machine; take one away with `make machine-down`")


def _seed(machine: Machine) -> None:
    """The disk with what a cloud gives a new machine: name, address, keys, the provider's rules."""
    key = nodes.client_key()
    host_key = machine.folder / "ssh_host_ed25519_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.hostname, "-f", host_key])
    root = machine.folder / "seed" / "root"
    network = NETWORK_FILE.format(
        address=machine.address, prefix=settings.SUBNET.rpartition("/")[2], gateway=settings.GATEWAY)
    files = {
        "etc/hostname": f"{machine.hostname}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {machine.hostname}\n",
        # Nobody answers there; a resolver without any server is one that CoreDNS refuses.
        "etc/resolv.conf": f"nameserver {settings.GATEWAY}\n",
        "etc/systemd/network/10-eth0.network": network,
        "etc/ssh/ssh_host_ed25519_key": host_key.read_text(),
        "etc/ssh/ssh_host_ed25519_key.pub": host_key.with_suffix(".pub").read_text(),
        "home/ubuntu/.ssh/authorized_keys": key.with_suffix(".pub").read_text(),
    }
    if machine.oci_firewall:
        files["etc/iptables/rules.v4"] = (IMAGES / "node" / "rules.v4").read_text()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    run(["mke2fs", "-q", "-t", "ext4", "-L", "seed", "-d", root.parent, machine.folder / "seed.img", "4M"])
    shutil.rmtree(root.parent)
    known = machine.folder / "known_hosts"
    known.write_text(f"{machine.address} {' '.join(host_key.with_suffix('.pub').read_text().split()[:2])}\n")
    machine.ssh_config.write_text(nodes.ssh_host(machine, key, known))
    machine.ssh_config.chmod(0o600)


# --- power --------------------------------------------------------------------------------------


def pid(machine: Machine) -> int | None:
    """The emulator's process; None when the machine is off."""
    path = machine.folder / "pid"
    with contextlib.suppress(OSError, ValueError):
        number = int(path.read_text())
        # The number may belong to somebody else by now.
        if str(machine.folder).encode() in Path(f"/proc/{number}/cmdline").read_bytes():
            return number
    return None


def status(machine: Machine) -> str:
    """``running`` or ``off``."""
    return "running" if pid(machine) else "off"


def power_on(machine: Machine, *, snapshot: str = "", cable: bool = True) -> None:
    """Start the emulator; nobody waits for anything in it.

    :param snapshot: the state to go on from; empty for a boot.
    :param cable: False to start without a carrier on its network interface.
    """
    if pid(machine):
        raise BedError(f"machine {machine.name} is running")
    podman = Podman.open()
    services.network(podman)
    if not machine.outward:
        services.block_outward(machine.address)
    _plug(machine)
    (machine.folder / "pid").unlink(missing_ok=True)
    (machine.folder / "qmp").unlink(missing_ok=True)
    run([*_emulator(machine), *(["-loadvm", snapshot] if snapshot else []), *([] if cable else ["-S"])])
    if not cable:
        # It is stopped before its first instruction, so that it never sees a carrier.
        set_cable(machine, False)
        _command(machine, "cont")


def _plug(machine: Machine) -> None:
    """A tap device on the nodes' bridge."""
    _unplug(machine)
    run(["ip", "tuntap", "add", "dev", machine.tap, "mode", "tap"])
    # A bridge takes the lowest hardware address of its ports: a high one leaves the others' as it is.
    run(["ip", "link", "set", machine.tap, "address", "fe" + settings.mac_address(machine.address)[2:],
         "master", settings.BRIDGE, "up"])


def _unplug(machine: Machine) -> None:
    if Path("/sys/class/net", machine.tap).exists():
        run(["ip", "link", "delete", machine.tap])


def _emulator(machine: Machine) -> list[str]:
    folder = machine.folder
    return [
        *EMULATORS[machine.architecture], "-accel", "tcg,thread=multi,tb-size=1024", "-name", machine.name,
        "-smp", str(machine.cores), "-m", str(machine.memory_mib),
        "-kernel", str(folder / "base-vmlinuz"), "-initrd", str(folder / "base-initrd"),
        "-append", "root=LABEL=root console=ttyAMA0 net.ifnames=0 quiet mitigations=off",
        "-drive", f"if=none,id=d0,file={folder}/disk.qcow2,format=qcow2,cache=writeback,discard=unmap",
        "-device", "virtio-blk-pci,drive=d0,bootindex=1",
        # Not to be written to: a snapshot takes every disk that is, and this one is no qcow2.
        "-drive", f"if=none,id=d1,file={folder}/seed.img,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=d1",
        "-netdev", f"tap,id=n0,ifname={machine.tap},script=no,downscript=no",
        "-device", f"virtio-net-pci,id=nic0,netdev=n0,mac={settings.mac_address(machine.address)},romfile=",
        "-device", "virtio-rng-pci", "-display", "none", "-serial", f"file:{folder}/serial.log",
        "-qmp", f"unix:{folder}/qmp,server=on,wait=off", "-pidfile", str(folder / "pid"), "-daemonize",
    ]


def wait_for_ssh(machine: Machine, other_than: str = "", seconds: float = BOOT_SECONDS) -> None:
    """:param other_than: the boot that is not the one to wait for (:func:`boot_id`)."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(BedError):
            if boot_id(machine) != other_than:
                return
        if time.monotonic() > deadline or not pid(machine):
            serial = machine.folder / "serial.log"
            said = "\n".join(serial.read_text(errors="replace").splitlines()[-25:]) if serial.is_file() else ""
            why = f"did not answer over SSH within {seconds:.0f} s" if pid(machine) else "ended"
            raise BedError(f"machine {machine.name} {why}:\n{said}")
        time.sleep(0.5)


def boot_id(machine: Machine) -> str:
    """The kernel's name for this boot."""
    return nodes.ssh(machine, "cat /proc/sys/kernel/random/boot_id", timeout=30).strip()


def start(machine: Machine) -> float:
    """Boot, and wait for SSH. Returns the seconds that took."""
    started = time.monotonic()
    power_on(machine)
    wait_for_ssh(machine)
    return time.monotonic() - started


def stop(machine: Machine, seconds: float = 300) -> None:
    """Shut it down in order."""
    if not pid(machine):
        return
    # The connection may go before the answer comes.
    succeeds([*nodes.ssh_argv(machine), "sudo systemctl poweroff"])
    deadline = time.monotonic() + seconds
    while pid(machine):
        if time.monotonic() > deadline:
            raise BedError(f"machine {machine.name} did not shut down within {seconds:.0f} s; `make machine-cut`")
        time.sleep(0.2)
    _unplug(machine)


def cut(machine: Machine) -> None:
    """Cut the power: the emulator is killed. What the machine had not flushed may or may not be on its disk."""
    number = pid(machine)
    if number:
        os.kill(number, signal.SIGKILL)
        while pid(machine):
            time.sleep(0.05)
    _unplug(machine)


def reboot(machine: Machine) -> float:
    """Reboot from inside. Returns the seconds until SSH answers again."""
    started = time.monotonic()
    before = boot_id(machine)
    succeeds([*nodes.ssh_argv(machine), "sudo systemctl reboot"])
    wait_for_ssh(machine, other_than=before)
    return time.monotonic() - started


def down(machine: Machine) -> None:
    """Take it away with its disk and its snapshots."""
    cut(machine)
    if not machine.outward:
        services.unblock_outward(machine.address)
    shutil.rmtree(machine.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        machine.folder.parent.rmdir()


# --- snapshots ----------------------------------------------------------------------------------


def save(machine: Machine, snapshot: str) -> float:
    """Keep the machine as it is, memory and disk, under a name; it goes on. Returns the seconds that took."""
    started = time.monotonic()
    _monitor(machine, f"savevm {snapshot}")
    return time.monotonic() - started


def resume(machine: Machine, snapshot: str) -> float:
    """Go on from a snapshot in a new emulator, with the time of now. Returns the seconds until SSH answers.

    What the machine did since that snapshot is lost.
    """
    if snapshot not in snapshots(machine):
        raise BedError(f"machine {machine.name} has no snapshot {snapshot}; it has {', '.join(snapshots(machine))}")
    started = time.monotonic()
    cut(machine)
    power_on(machine, snapshot=snapshot)
    wait_for_ssh(machine)
    set_clock(machine)
    return time.monotonic() - started


def snapshots(machine: Machine) -> list[str]:
    """Names of the snapshots that there are."""
    # Read-only for this question: a running emulator has the disk locked.
    found = json.loads(run(["qemu-img", "info", "--force-share", "--output=json", machine.folder / "disk.qcow2"]))
    return [one["name"] for one in found.get("snapshots", [])]


def set_clock(machine: Machine) -> None:
    """What a time service does on a machine that has slept: the clock jumps to this machine's."""
    nodes.ssh(machine, f"sudo date --set=@{time.time():.3f}")


# --- the emulator's own commands ----------------------------------------------------------------


def set_cable(machine: Machine, plugged: bool) -> None:
    """Give the machine's network interface a carrier, or take it away."""
    _command(machine, "set_link", name="nic0", up=plugged)


def _monitor(machine: Machine, line: str) -> None:
    """A command of the emulator's monitor for people, which says nothing unless it fails."""
    said = str(_command(machine, "human-monitor-command", **{"command-line": line})).strip()
    if said:
        raise BedError(f"the emulator of {machine.name} refused `{line}`: {said}")


def _command(machine: Machine, command: str, **arguments: object) -> object:
    """Run one command of the emulator's control protocol.

    :raises BedError: it does not answer, or refuses.
    """
    with _control(machine) as (send, receive):
        receive()
        for name, values in (("qmp_capabilities", {}), (command, arguments)):
            send({"execute": name, **({"arguments": values} if values else {})})
            answer = receive()
            # Events come in between.
            while "return" not in answer and "error" not in answer:
                answer = receive()
            if "error" in answer:
                raise BedError(f"the emulator of {machine.name} refused {name}: {answer['error']['desc']}")
        return answer["return"]


@contextmanager
def _control(machine: Machine) -> Iterator[tuple[Any, Any]]:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(300)
        try:
            link.connect(str(machine.folder / "qmp"))
        except OSError as error:
            raise BedError(f"the emulator of {machine.name} does not answer: {error}") from error
        with link.makefile("r") as lines:
            def receive() -> dict[str, Any]:
                line = lines.readline()
                if not line:
                    raise BedError(f"the emulator of {machine.name} ended")
                found: dict[str, Any] = json.loads(line)
                return found

            yield lambda message: link.sendall(json.dumps(message).encode() + b"\n"), receive
