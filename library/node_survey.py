#!/usr/bin/python
"""What a node is, and whether it can carry the cluster."""

# Runs on what is refused as well, so nothing newer than Python 3.8.
from __future__ import annotations

DOCUMENTATION = r"""
module: node_survey
short_description: Look at a node before anything is changed, and refuse one that cannot carry the cluster
description:
  - Reads what the node is in one call, and compares it with what is asked for. Everything that does not fit is said
    at once. What is left out of the options is not asked for.
  - Changes nothing.
options:
  systems:
    description: Supported operating systems, versions (C(VERSION_ID)) by name (C(ID) of C(/etc/os-release)).
    type: dict
  architectures:
    description: Supported architectures in the kernel's words, such as V(aarch64).
    type: list
    elements: str
  memory_mib:
    description: Least memory, in MiB.
    type: int
  storage_path:
    description: Folder of the volumes, there or not yet.
    type: path
  storage_free_gib:
    description: Least room for the volumes in GiB, free or already used by what is in O(storage_path).
    type: float
    default: 0
  clock_reference:
    description: Time that the clock of the node is compared with, in seconds since 1970. Left out or V(0), it is the
      controller's.
    type: float
  clock_tolerance_seconds:
    description: Largest difference of the two, in seconds.
    type: float
    default: 30
  timezone:
    description: Time zone that is wanted, such as V(Asia/Seoul).
    type: str
  modules:
    description: Kernel modules that have to be there.
    type: list
    elements: str
    default: []
  services_off:
    description: Units that the role is going to switch off.
    type: list
    elements: str
    default: []
  services_kept:
    description: Patterns of units that must not be among O(services_off).
    type: list
    elements: str
    default: []
  swap:
    description: Whether swap may stay. With V(false) what is in swap has to fit into memory.
    type: bool
    default: true
  packet_filter:
    description: Options of the module M(firewall) when it is to be used. Then they have to be right, and no other
      program may be in charge of the packet filter. They must neither close the port by which Ansible is connected
      nor hold a network that the node is in.
    type: dict
  ssh_port:
    description: Port by which Ansible is connected, when the node does not know it (C(SSH_CONNECTION)).
    type: int
    default: 22
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Look at the node
  node_survey:
    systems: {ubuntu: ['24.04'], debian: ['12']}
    architectures: [x86_64, aarch64]
    memory_mib: 4096
    storage_path: /opt/local-path-provisioner
    storage_free_gib: 36
    timezone: Asia/Seoul
  register: survey
"""

RETURN = r"""
node:
  description: What the node is.
  returned: always
  type: dict
  contains:
    system: {description: Name of the operating system., type: str, sample: ubuntu}
    version: {description: Its version., type: str, sample: "24.04"}
    architecture: {description: In the kernel's words., type: str, sample: aarch64}
    kernel: {description: Release of the kernel., type: str}
    cpus: {description: Number of processors., type: int}
    memory_mib: {description: Memory in MiB., type: int}
    memory_available_mib: {description: What of it can be given out., type: int}
    swap_used_mib: {description: What is in swap., type: int}
    container: {description: Kind of the container that the node is; empty for a machine., type: str}
    systemd: {description: Whether systemd runs., type: bool}
    clock: {description: Its time in seconds since 1970., type: float}
    timezone: {description: Its time zone., type: str}
    time_service: {description: Unit that keeps its clock; empty when none is installed., type: str}
    iptables: {description: Where iptables is; empty when it is not installed., type: str}
    filter_rival: {description: ufw or firewalld when it is in charge of the packet filter., type: str}
    ssh_port: {description: Its port by which Ansible is connected; V(0) when it is not known., type: int}
    networks:
      description: IPv4 networks that it is in, each with C(interface) and C(network).
      type: list
      elements: dict
    marked: {description: Whether this project has been here., type: bool}
    backups: {description: Whether backups of it are made., type: bool}
    storage: {description: O(storage_path) with its file system and room., type: dict}
ansible_facts:
  description: What of it has a name among Ansible's own facts, so that nobody has to gather these.
  returned: always
  type: dict
  sample: {architecture: aarch64, distribution: Ubuntu, distribution_version: "24.04"}
refusals:
  description: What does not fit, each with C(msg) and C(remedy). Any makes the task fail.
  returned: always
  type: list
  elements: dict
remedy:
  description: What to do about all of them.
  returned: failure
  type: str
"""

import fnmatch
import ipaddress
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.node_firewall import FirewallError, Settings, ports

GIB = 1024**3
MEASURE_SECONDS = 5.0
"""Longest count of what the volumes use. Only a node that is short of room is counted at all."""

VOLATILE = ("tmpfs", "ramfs")
UNIT_KINDS = (".service", ".socket", ".timer", ".path")
TIME_SERVICES = ("chrony.service", "chronyd.service", "systemd-timesyncd.service", "ntpsec.service", "ntp.service",
                 "openntpd.service")
UNIT_FOLDERS = ("etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system")
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Refusal(NamedTuple):
    """Something that does not fit, in one sentence, and what to do about it in another."""

    msg: str
    remedy: str


def survey(root: Path) -> dict[str, Any]:
    """What the node is, without its storage.

    :param root: ``/``, or a folder that stands for it.
    """
    system = pairs(root / "etc/os-release", "=")
    memory = {name: int(value.split()[0]) // 1024 for name, value in pairs(root / "proc/meminfo", ":").items() if value}
    container = root / "run/systemd/container"
    return {
        "system": system.get("ID", ""), "version": system.get("VERSION_ID", ""),
        "name": system.get("PRETTY_NAME", "a system without /etc/os-release"),
        "architecture": os.uname().machine, "kernel": os.uname().release, "cpus": os.cpu_count() or 1,
        "memory_mib": memory.get("MemTotal", 0), "memory_available_mib": memory.get("MemAvailable", 0),
        "swap_used_mib": 0 if container.exists() else memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        "container": container.read_text().strip() if container.exists() else "",
        "systemd": (root / "run/systemd/system").is_dir(), "clock": time.time(), "timezone": timezone(root),
        "time_service": next((name for name in TIME_SERVICES if has_unit(root, name)), ""),
        "iptables": shutil.which("iptables", path=SEARCH_PATH) or "", "filter_rival": filter_rival(root),
        "ssh_port": ssh_port(root), "networks": networks(root), "marked": (root / "etc/observer-node").is_dir(),
        "backups": (root / "etc/observer-node/backup/settings.json").is_file(),
    }


def pairs(path: Path, separator: str) -> dict[str, str]:
    """Names and values of a file of the kind of os-release or meminfo; nothing when there is no such file."""
    if not path.is_file():
        return {}
    split = (line.partition(separator) for line in path.read_text(errors="replace").splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in split if name.strip()}


def timezone(root: Path) -> str:
    link = root / "etc/localtime"
    if link.is_symlink() and "zoneinfo/" in os.readlink(str(link)):
        return os.readlink(str(link)).partition("zoneinfo/")[2]
    return "UTC" if not os.path.lexists(str(link)) else ""


def has_unit(root: Path, name: str) -> bool:
    return any((root / folder / name).exists() for folder in UNIT_FOLDERS)


def filter_rival(root: Path) -> str:
    """A program that writes the packet filter by rules of its own. ufw's unit runs on every Ubuntu, so its
    configuration is asked; firewalld's unit runs when it is in charge."""
    if pairs(root / "etc/ufw/ufw.conf", "=").get("ENABLED") == "yes":
        return "ufw"
    return "firewalld" if (root / "etc/systemd/system/multi-user.target.wants/firewalld.service").is_symlink() else ""


def ssh_port(root: Path) -> int:
    """The port of the node by which Ansible is connected, 0 when nobody knows.

    sshd tells it to the session, and sudo drops it; so the processes that led to this one are asked, nearest first.
    """
    process = "self"
    while process not in ("", "0"):
        try:
            environment = (root / "proc" / process / "environ").read_bytes()
        except OSError:
            return 0
        for variable in environment.split(b"\0"):
            name, _, value = variable.partition(b"=")
            words = value.split()
            if name == b"SSH_CONNECTION" and len(words) == 4 and words[3].isdigit():
                return int(words[3])
        process = pairs(root / "proc" / process / "status", ":").get("PPid", "")
    return 0


def networks(root: Path) -> list[dict[str, str]]:
    """IPv4 networks that the node is in: of its addresses, and what else it reaches without a gateway."""
    found = []
    program = shutil.which("ip", path=SEARCH_PATH)
    if program:
        said = subprocess.run([program, "-json", "-4", "address"], stdout=subprocess.PIPE, check=False).stdout
        for link in json.loads(said or "[]"):
            found += [(link["ifname"], ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}").network)
                      for address in link.get("addr_info", [])]
    table = root / "proc/net/route"
    for line in table.read_text().splitlines()[1:] if table.is_file() else []:
        interface, destination, gateway, _, _, _, _, mask = line.split()[:8]
        # `*` stands for no interface: a route that refuses.
        if interface != "*" and int(gateway, 16) == 0 and int(mask, 16):
            found.append((interface, ipaddress.ip_network(f"{dotted(destination)}/{dotted(mask)}")))
    return [{"interface": interface, "network": str(network)} for interface, network in dict.fromkeys(found)]


def dotted(word: str) -> str:
    """An address as the kernel writes it in a table, a number in its own order of bytes."""
    return socket.inet_ntoa(struct.pack("=L", int(word, 16)))


# --- storage ------------------------------------------------------------------------------------


def mounts(root: Path) -> list[tuple[str, str, bool]]:
    """Where each file system is mounted, its type and whether it is read-only; a later one covers an earlier one."""
    found = []
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        place, options = left.split()[4:6]
        kind, _, whole_options = right.split()[:3]
        found.append((unescape(place), kind, "ro" in f"{options},{whole_options}".split(",")))
    return found


def unescape(text: str) -> str:
    """The kernel and fstab write a blank in a path as ``\\040``."""
    return text.encode().decode("unicode_escape") if "\\" in text else text


def below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def storage(path: str, root: Path) -> dict[str, Any]:
    """The file system that a folder lies on, or will lie on, and its room in bytes."""
    place = Path(os.path.realpath(path))
    parent = next(folder for folder in (place, *place.parents) if folder.is_dir())
    mount, kind, read_only = "/", "", False
    for item in mounts(root):
        # The longest one that holds it; of equals the last, which covers the others.
        if below(str(parent), item[0]) and len(item[0]) >= len(mount):
            mount, kind, read_only = item
    room = os.statvfs(str(parent))
    return {
        "path": str(place), "exists": place.is_dir(), "mount": mount, "filesystem": kind, "read_only": read_only,
        "free_bytes": room.f_bavail * room.f_frsize, "used_bytes": (room.f_blocks - room.f_bfree) * room.f_frsize,
    }


def unmounted(path: str, root: Path) -> str:
    """A mount point of fstab that a folder lies in and on which nothing is mounted; empty when there is none."""
    fstab = root / "etc/fstab"
    if not fstab.is_file():
        return ""
    mounted = {item[0] for item in mounts(root)}
    for line in fstab.read_text().splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        place = unescape(fields[1])
        if place.startswith("/") and place != "/" and below(path, place) and place not in mounted:
            return place
    return ""


def in_use(folder: str, enough: int, seconds: float = MEASURE_SECONDS) -> int | None:
    """Bytes that the files of a folder take up on the disk, counted until they are ``enough``.

    None when the time is over before either is known.
    """
    ends = time.monotonic() + seconds
    total, folders = 0, [folder]
    while folders and total < enough:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if time.monotonic() > ends:
                        return None
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except FileNotFoundError:
            continue  # the application deletes files while they are counted
    return total


# --- what does not fit --------------------------------------------------------------------------


def refuse_system(node: dict[str, Any], asked: dict[str, Any]) -> list[Refusal]:
    found = []
    systems, architectures = asked["systems"], asked["architectures"]
    if systems is not None and node["version"] not in systems.get(node["system"], []):
        known = ", ".join(f"{name} {version}" for name in sorted(systems) for version in systems[name])
        found.append(Refusal(f"{node['name']} is not supported; supported are {known}.",
                             "Reinstall the node with one of them."))
    if architectures is not None and node["architecture"] not in architectures:
        found.append(Refusal(
            f"the architecture {node['architecture']} is not supported; supported are {', '.join(architectures)}.",
            "Take a machine of one of these architectures."))
    if not node["systemd"]:
        found.append(Refusal("systemd does not run on the node.", "Boot the node with systemd as its init."))
    if os.geteuid() != 0:
        found.append(Refusal("the tasks do not run as root.",
                             "Set ansible_become: true, and ansible_become_user: root."))
    return found


def refuse_memory(node: dict[str, Any], asked: dict[str, Any]) -> list[Refusal]:
    found = []
    if asked["memory_mib"] and node["memory_mib"] < asked["memory_mib"]:
        found.append(Refusal(
            f"the node has {node['memory_mib']} MiB of memory, node_memory_mib asks for {asked['memory_mib']}.",
            "Take a larger machine, or lower node_memory_mib."))
    if not asked["swap"] and node["swap_used_mib"] > node["memory_available_mib"]:
        found.append(Refusal(
            f"{node['swap_used_mib']} MiB are in swap, which is to be switched off, and only"
            f" {node['memory_available_mib']} MiB of memory are available.",
            "Stop what uses the memory on the node, or set node_swap: true."))
    return found


def refuse_clock(node: dict[str, Any], asked: dict[str, Any]) -> list[Refusal]:
    found = []
    if asked["clock_reference"]:
        off = node["clock"] - asked["clock_reference"]
        if abs(off) > asked["clock_tolerance_seconds"]:
            found.append(Refusal(
                f"the clock of the node is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the controller's;"
                f" node_clock_tolerance_seconds allows {asked['clock_tolerance_seconds']:g}.",
                "Set the clock that is wrong: `timedatectl` on the node shows its time and whether it is kept."))
    if asked["timezone"] and not Path("/usr/share/zoneinfo", asked["timezone"]).is_file():
        found.append(Refusal(f"node_timezone: the node knows no time zone {asked['timezone']}.",
                             "Correct node_timezone (on the node: `timedatectl list-timezones`), or install tzdata."))
    return found


def refuse_kernel(node: dict[str, Any], asked: dict[str, Any]) -> list[Refusal]:
    found = []
    modprobe = shutil.which("modprobe", path=SEARCH_PATH)
    missing = [name for name in asked["modules"] if modprobe and subprocess.run(
        [modprobe, "--dry-run", "--quiet", "--", name], check=False).returncode]
    if asked["modules"] and not modprobe:
        found.append(Refusal("the node has no modprobe to load kernel modules with.",
                             "On the node: apt-get install kmod."))
    if missing:
        found.append(Refusal(
            f"the kernel {node['kernel']} has no module {', '.join(missing)}.",
            "Install the modules of this kernel (on Ubuntu the package linux-modules-...), or boot the newest kernel."))
    return found


def refuse_filter(node: dict[str, Any], asked: dict[str, Any]) -> list[Refusal]:
    found: list[Refusal] = []
    given = asked["packet_filter"]
    if not given:
        return found
    if node["filter_rival"]:
        off = "ufw disable" if node["filter_rival"] == "ufw" else f"systemctl disable --now {node['filter_rival']}"
        found.append(Refusal(
            f"{node['filter_rival']} is in charge of the packet filter of the node.",
            f"Switch it off (`{off}`), or set node_firewall: false and let pods through by its own rules."))
    # The role's variables are these options with its name before them.
    try:
        settings = Settings.read(given)
    except FirewallError as error:
        return [*found, Refusal(f"node_{error}.", f"Correct node_{str(error).partition(':')[0]}: {error.remedy}.")]
    port = node["ssh_port"] or asked["ssh_port"]
    for option, numbers in (("closed_tcp_ports", given["closed_tcp_ports"]), ("port_range", [given["port_range"]])):
        closed = [some for some in ports(option, numbers) if holds(some, port)]
        if closed:
            found.append(Refusal(
                f"node_{option}: {closed[0].replace(':', '-')} would close port {port}, by which Ansible is connected.",
                f"Take {port} out of node_{option}, or let sshd listen on another port and set ansible_port to it."))
    for option, cluster, cidr in (("pod_cidr", "cluster_cidr", settings.pod_cidr),
                                  ("service_cidr", "service_cidr", settings.service_cidr)):
        for place in node["networks"]:
            pods = any(fnmatch.fnmatchcase(place["interface"], name.replace("+", "*"))
                       for name in settings.pod_interfaces)
            if not pods and ipaddress.ip_network(cidr).overlaps(ipaddress.ip_network(place["network"])):
                found.append(Refusal(
                    f"node_{option}: {cidr} overlaps {place['network']} on {place['interface']}, a network that the"
                    " node is in and that would be closed.",
                    f"Set node_{option} to a network that the node is not in, and k3s_{cluster} to the same."))
                break
    return found


def holds(numbers: str, port: int) -> bool:
    """Whether a port is one of ``a`` or ``a:b``."""
    first, _, last = numbers.partition(":")
    return int(first) <= port <= int(last or first)


def refuse_services(asked: dict[str, Any]) -> list[Refusal]:
    found = []
    for name in asked["services_off"]:
        if not name.endswith(UNIT_KINDS):
            found.append(Refusal(f"node_services_off: {name} does not say what kind of unit it is.",
                                 f"Write {name}.service, or another of {', '.join(UNIT_KINDS)}."))
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in asked["services_kept"]):
            found.append(Refusal(f"node_services_off: {name} must stay on, the node would be lost without it.",
                                 f"Remove {name} from node_services_off."))
    return found


def refuse_storage(place: dict[str, Any], asked: dict[str, Any], root: Path) -> tuple[list[Refusal], list[str]]:
    """Refusals and warnings."""
    path = place["path"]
    found, warnings = [], []
    disk = unmounted(path, root)
    if disk:
        # Volumes would be made beneath the mount point, and the next reboot would hide them.
        found.append(Refusal(f"node_storage_path: {disk} is in /etc/fstab, but nothing is mounted there.",
                             f"Mount it (`mount {disk}`), or correct /etc/fstab on the node."))
    if below(path, "/var/lib/rancher"):
        found.append(Refusal(f"node_storage_path: {path} lies in the data folder of K3s and would go with it.",
                             "Set node_storage_path to a folder outside /var/lib/rancher."))
    if place["filesystem"] in VOLATILE:
        found.append(Refusal(
            f"node_storage_path: {path} lies on {place['mount']} ({place['filesystem']}) and is lost in a reboot.",
            "Set node_storage_path to a folder on a disk."))
    elif place["read_only"]:
        found.append(Refusal(
            f"node_storage_path: {path} lies on {place['mount']}, which is read-only.",
            f"Mount {place['mount']} for writing, and look in the kernel's log why it is not."))
    lacks = int(asked["storage_free_gib"] * GIB) - place["free_bytes"]
    if lacks > 0 and place["exists"]:
        used = place["used_bytes"] if place["mount"] == path else in_use(path, lacks)
        if used is None:
            warnings.append(f"What the volumes in {path} use could not be counted in {MEASURE_SECONDS:.0f} s;"
                            " it is taken for enough.")
        lacks -= lacks if used is None else used
    if lacks > 0:
        found.append(Refusal(
            f"node_storage_path: on {place['mount']} {place['free_bytes'] / GIB:.1f} GiB are free and {lacks / GIB:.1f}"
            f" GiB are missing to the {asked['storage_free_gib']:g} GiB of node_storage_free_gib.",
            f"Make room on {place['mount']}, or mount a larger disk at {path}."))
    return found, warnings


def sentence(text: str) -> str:
    """With a capital, but a variable's name as it is typed."""
    return text if text.startswith("node_") else text[0].upper() + text[1:]


def main() -> None:
    """Look, compare, and fail when something does not fit."""
    module = AnsibleModule(
        argument_spec={
            "systems": {"type": "dict"},
            "architectures": {"type": "list", "elements": "str"},
            "memory_mib": {"type": "int"},
            "storage_path": {"type": "path"},
            "storage_free_gib": {"type": "float", "default": 0},
            "clock_reference": {"type": "float"},
            "clock_tolerance_seconds": {"type": "float", "default": 30},
            "timezone": {"type": "str"},
            "modules": {"type": "list", "elements": "str", "default": []},
            "services_off": {"type": "list", "elements": "str", "default": []},
            "services_kept": {"type": "list", "elements": "str", "default": []},
            "swap": {"type": "bool", "default": True},
            "packet_filter": {"type": "dict"},
            "ssh_port": {"type": "int", "default": 22},
        },
        supports_check_mode=True,
    )
    asked, root = module.params, Path("/")
    node = survey(root)
    refusals = [*refuse_system(node, asked), *refuse_memory(node, asked), *refuse_clock(node, asked),
                *refuse_kernel(node, asked), *refuse_filter(node, asked), *refuse_services(asked)]
    if asked["storage_path"]:
        node["storage"] = storage(asked["storage_path"], root)
        more, warnings = refuse_storage(node["storage"], asked, root)
        refusals += more
        for warning in warnings:
            module.warn(warning)
    result = {
        "node": node, "refusals": [refusal._asdict() for refusal in refusals],
        "ansible_facts": {"architecture": node["architecture"], "distribution": node["system"].capitalize(),
                          "distribution_version": node["version"]},
    }
    if refusals:
        module.fail_json(msg=" ".join(sentence(refusal.msg) for refusal in refusals),
                         remedy=" ".join(refusal.remedy for refusal in refusals), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
