"""Whether the node's packet filter lets the traffic of pods and Services through.

The images of OCI end INPUT and FORWARD with a REJECT (icmp-host-prohibited), which eats it unless a rule before that
accepts it. Here packets of pods, and of the cluster's other nodes, are walked through the rules as the kernel would,
table by table. What iptables does not show, tables that were made by nft, is not walked but told of. Only the standard
library, Python 3.10.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/var/lib/rancher/k3s/data/current/bin/aux"
"""K3s brings an iptables of its own for nodes that have none."""

ENDS = ("ACCEPT", "DROP", "REJECT", "RETURN")
DEPTH = 32

WORLD = "198.51.100.7"
"""Somewhere outside."""

NOBODY = "192.0.2.10"
"""Stands for the node's own address where it has none."""

TUNNEL, TUNNEL_PORT = "flannel.1", 8472
KUBELET_PORT, API_PORT = 10250, 6443

PROGRAMS = {"IPv4": ("iptables", "ip", "ip_tables_names"), "IPv6": ("ip6tables", "ip6", "ip6_tables_names")}
"""By family: the program, what nft calls the family, and the kernel's list of tables of the legacy kind."""

OTHERS_TABLES = frozenset({"kube-proxy", "flannel-ipv4", "flannel-ipv6", "f2b-table", "libvirt_network",
                           "docker-bridges"})
"""Tables of nft that programs keep for themselves, and rewrite while they run."""

Tables = dict[str, dict[str, list[str]]]
Runner = Callable[[Sequence[str]], str]
"""Runs a program and returns its output. :raises OSError: FileNotFoundError when it is not there."""


@dataclass(frozen=True)
class Packet:
    """One packet on its way, with what rules ask about."""

    source: str
    destination: str
    into: str = "cni0"
    out: str = ""
    protocol: str = "tcp"
    port: int = 443
    state: str = "NEW"
    local: bool = False


@dataclass(frozen=True)
class Journey:
    """Somewhere that packets have to get. ``chains``: table, chain and the packet as it is seen there; before the
    nat table a Service's address is still in it. ``peer``: the other node, when it is about a certain one."""

    name: str
    way: str
    chains: tuple[tuple[str, str, Packet], ...]
    peer: str = ""


@dataclass(frozen=True)
class Saved:
    """One of the kernel's packet filters: ``family`` (``IPv4``), ``program`` by which its rules are shown
    (``iptables``, ``iptables-legacy``), ``backend`` (``nf_tables``, ``legacy``), and its rules as iptables-save has
    them."""

    family: str
    program: str
    backend: str
    rules: str


@dataclass(frozen=True)
class Neighbour:
    """Another node: its address, this node's as that one knows it, and the interface between them."""

    address: str
    mine: str
    interface: str


def collect(
    pod_cidr: str, service_cidr: str, errors: list[dict[str, str]], peers: Iterable[str] = (), server: bool = True,
    root: str = "/", runner: Runner | None = None,
) -> dict[str, Any]:
    """``firewall`` of NodeFacts. Besides what lets pods through: ``eaten``, for each journey that ends early its table,
    chain, rule and the ``program`` that shows it (and the ``peer``, when it is another node's), and ``beside``: which
    filters have rules other than iptables' own for IPv4.

    :param peers: IPv4 addresses of the cluster's other nodes.
    :param server: whether the API is here, which the other nodes have to reach.
    """
    run = runner or said
    found: dict[str, Any] = {
        "backend": "", "rejects": [], "pod_cidr": pod_cidr, "service_cidr": service_cidr, "eaten": [], "beside": [],
        "lets_pods_through": {"input": True, "forward": True}, "rules": {"INPUT": [], "FORWARD": []},
        "ip_forward": forwards(),
    }
    unread: list[dict[str, str]] = []
    filters = saved(run, unread, root)
    tables_of_nft = native(run, filters, unread)
    table = routes(root, unread)
    neighbours = []
    for peer in peers:
        try:
            neighbours.append(Neighbour(str(ipaddress.IPv4Address(peer)), own_address(peer), towards(peer, table)))
        except ValueError:
            unread.append({"about": f"the way to {peer}", "why": "it is no IPv4 address"})
    ways = [*journeys(pod_cidr, service_cidr, own_address(WORLD), towards(WORLD, table)),
            *between(pod_cidr, neighbours, server)]
    for number, one in enumerate(filters):
        tables, policies = parse(one.rules)
        if one.family == "IPv4":
            found["eaten"] += [{**eaten, "program": one.program} for eaten in early(ways, tables, policies)]
        if one.family == "IPv4" and not number:
            chains = tables.get("filter", {})
            found |= {"backend": one.backend, "rules": {name: chains.get(name, []) for name in ("INPUT", "FORWARD")},
                      "rejects": [f"{name} {rule}" for name in ("INPUT", "FORWARD") for rule in chains.get(name, [])
                                  if re.match(r"-j (REJECT|DROP)\b", rule)]}
        elif any(rules for chains in tables.values() for rules in chains.values()) or \
                any(policy == "DROP" for chains in policies.values() for policy in chains.values()):
            found["beside"].append(one.program)
    for name, lines in tables_of_nft.items():
        found["beside"].append(f"nft {name}")
        if stops(lines):
            unread.append({"about": f"nft table {name}", "why": "it may stop packets, and iptables does not show it; "
                                                                f"look at it: sudo nft list table {name}"})
    errors += unread
    for way in ("input", "forward"):
        if any(one["way"] == way for one in found["eaten"]):
            found["lets_pods_through"][way] = False
        elif unread:
            found["lets_pods_through"][way] = None
    return found


def forwards() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def said(argv: Sequence[str]) -> str:
    """:raises OSError: it is not there, fails, or does not end."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, errors="replace", check=True, timeout=10,
                              stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", "PATH": SEARCH_PATH}).stdout
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error


# --- which filters there are ----------------------------------------------------------------------


def saved(runner: Runner, errors: list[dict[str, str]], root: str = "/") -> list[Saved]:
    """What iptables shows: the kernel asks both kinds of its tables, and each has a program of its own. The program
    that bears iptables' own name comes first in each family."""
    found = []
    for family, (name, _, names) in PROGRAMS.items():
        backend = ""
        try:
            rules = runner([f"{name}-save"])
            backend = "nf_tables" if "nf_tables" in runner([f"{name}-save", "--version"]) else "legacy"
            found.append(Saved(family, name, backend, rules))
            if backend == "legacy":
                found.append(Saved(family, f"{name}-nft", "nf_tables", runner([f"{name}-nft-save"])))
        except FileNotFoundError:
            pass  # what it would show is among nft's tables, if anywhere
        except OSError as error:
            errors.append({"about": f"{name}-save", "why": str(error)})
        if backend != "legacy" and listed(f"{root.rstrip('/')}/proc/net/{names}"):
            try:
                found.append(Saved(family, f"{name}-legacy", "legacy", runner([f"{name}-legacy-save"])))
            except OSError as error:
                errors.append({"about": f"{name}-legacy-save", "why": str(error)})
    return found


def listed(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False


def native(runner: Runner, known: Iterable[Saved], errors: list[dict[str, str]]) -> dict[str, list[str]]:
    """Tables of nft, such as ``inet filter``, that iptables does not show, with their lines: without counters and
    contents of sets."""
    shown = {(PROGRAMS[one.family][1], line[1:].strip()) for one in known if one.backend == "nf_tables"
             for line in one.rules.splitlines() if line.startswith("*")}
    found: dict[str, list[str]] = {}
    if errors:
        return found  # which of them iptables shows is not known
    try:
        for family, name in re.findall(r"^table (\w+) (\S+)", runner(["nft", "list", "tables"]), re.MULTILINE):
            if (family, name) not in shown and name not in OTHERS_TABLES:
                text = runner(["nft", "-s", "-t", "list", "table", family, name])
                found[f"{family} {name}"] = [one.strip() for one in text.splitlines()
                                             if one.strip() not in ("", "}") and not one.startswith(("#", "table "))]
    except FileNotFoundError:
        pass
    except OSError as error:
        errors.append({"about": "nft list tables", "why": str(error)})
    return found


def stops(lines: Iterable[str]) -> bool:
    """Whether a table of nft may keep a packet that comes in or through: it is asked, and it can say no."""
    text = "\n".join(lines)
    return bool(re.search(r"\bhook (ingress|prerouting|input|forward|output|postrouting)\b", text)
                and re.search(r"\b(drop|reject|queue|verdict)\b", text))


# --- ways of the node -----------------------------------------------------------------------------


def routes(root: str, errors: list[dict[str, str]]) -> list[tuple[ipaddress.IPv4Network, int, str]]:
    """Network, metric and interface of each of the kernel's routes that lead somewhere."""
    path, found = f"{root.rstrip('/')}/proc/net/route", []
    try:
        with open(path, encoding="ascii") as file:
            for line in file.read().splitlines()[1:]:
                words = line.split()
                flags = int(words[3], 16)
                if flags & 1 and not flags & 0x200:
                    network, mask = (socket.inet_ntoa(struct.pack("=L", int(words[at], 16))) for at in (1, 7))
                    found.append((ipaddress.IPv4Network(f"{network}/{mask}"), int(words[6]), words[0]))
    except (OSError, ValueError, IndexError) as error:
        errors.append({"about": path, "why": str(error)})
    return found


def towards(address: str, table: Iterable[tuple[ipaddress.IPv4Network, int, str]]) -> str:
    """The interface by which an address is reached, or nothing when it is not."""
    there = ipaddress.IPv4Address(address)
    fitting = [(network.prefixlen, -metric, name) for network, metric, name in table if there in network]
    return max(fitting)[2] if fitting else ""


def own_address(toward: str) -> str:
    """The address that the node shows to another one. Nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.connect((toward, 9))
            return str(link.getsockname()[0])
    except OSError:
        return NOBODY


# --- ways of packets ------------------------------------------------------------------------------


def way_in(packet: Packet, before: str = "") -> tuple[tuple[str, str, Packet], ...]:
    first = replace(packet, destination=before or packet.destination, out="", local=packet.local and not before)
    return (("raw", "PREROUTING", first), ("mangle", "PREROUTING", first))


def received(name: str, packet: Packet, before: str = "", peer: str = "") -> Journey:
    return Journey(name, "input", (*way_in(packet, before), ("mangle", "INPUT", packet), ("filter", "INPUT", packet)),
                   peer)


def forwarded(name: str, packet: Packet, before: str = "") -> Journey:
    return Journey(name, "forward", (*way_in(packet, before), ("mangle", "FORWARD", packet),
                                     ("filter", "FORWARD", packet)))


def sent(name: str, packet: Packet, peer: str = "") -> Journey:
    return Journey(name, "forward", tuple((table, "OUTPUT", packet) for table in ("raw", "mangle", "filter")), peer)


def journeys(pod_cidr: str, service_cidr: str, node: str, outward: str = "eth0") -> list[Journey]:
    """Where pods' packets have to get. The addresses are of nobody: rules about single pods are no matter here.

    :param outward: the interface that leads to the world.
    """
    pods, services = ipaddress.ip_network(pod_cidr), ipaddress.ip_network(service_cidr)
    pod, other = str(pods[-6]), str(pods[-7])
    api, dns = str(services[1]), str(services[-6])
    return [
        received("a pod to the API", Packet(pod, node, port=API_PORT, local=True), api),
        sent("the node to a pod", Packet(node, pod, into="", out="cni0", port=5432)),
        forwarded("a pod to a pod", Packet(pod, other, out="cni0", port=5432)),
        forwarded("a pod to a Service", Packet(pod, other, out="cni0", protocol="udp", port=53), dns),
        forwarded("a pod to the world", Packet(pod, WORLD, out=outward)),
        forwarded("the world's answer to a pod", Packet(WORLD, pod, into=outward, out="cni0", state="ESTABLISHED")),
    ]


def between(pod_cidr: str, neighbours: Sequence[Neighbour], server: bool = True) -> Iterator[Journey]:
    """What has to get from one node to another: pods' packets in flannel's tunnel, questions to the kubelet, and to the
    API where it is."""
    pods = ipaddress.ip_network(pod_cidr)
    pod, other = str(pods[-6]), str(pods[-7])
    for one in neighbours:
        def came(name: str, port: int, protocol: str = "tcp", one: Neighbour = one) -> Journey:
            return received(name, Packet(one.address, one.mine, one.interface, "", protocol, port, local=True),
                            peer=one.address)

        yield came("another node's tunnel", TUNNEL_PORT, "udp")
        yield came("another node to the kubelet", KUBELET_PORT)
        if server:
            yield came("another node to the API", API_PORT)
        yield sent("the tunnel to another node",
                   Packet(one.mine, one.address, "", one.interface, "udp", TUNNEL_PORT), one.address)
    if neighbours:
        yield forwarded("a pod of another node to a pod", Packet(other, pod, TUNNEL, "cni0", port=5432))
        yield forwarded("a pod to a pod of another node", Packet(pod, other, "cni0", TUNNEL, port=5432))


def early(ways: Iterable[Journey], tables: Tables, policies: Mapping[str, Mapping[str, str]]
          ) -> Iterator[dict[str, str]]:
    """The journeys that end before their end, with where and why."""
    for journey in ways:
        for table, chain, packet in journey.chains:
            end, rule = walk(tables.get(table, {}), policies.get(table, {}), chain, packet)
            if end != "ACCEPT":
                yield {"journey": journey.name, "way": journey.way, "table": table, "chain": chain, "rule": rule,
                       **({"peer": journey.peer} if journey.peer else {})}
                break


def parse(saved: str) -> tuple[Tables, dict[str, dict[str, str]]]:
    """Rules by table and chain, each without ``-A CHAIN``, and the policies of the built-in chains."""
    tables: Tables = {}
    policies: dict[str, dict[str, str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            tables.setdefault(table, {})
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            tables[table].setdefault(name, [])
            policies.setdefault(table, {})[name] = policy
        elif line.startswith("-A "):
            _, name, rule = line.split(" ", 2)
            tables[table].setdefault(name, []).append(rule.strip())
    return tables, policies


def walk(chains: Mapping[str, list[str]], policies: Mapping[str, str], chain: str, packet: Packet) -> tuple[str, str]:
    """How a built-in chain ends for a packet (``ACCEPT``, ``DROP``, ``REJECT``), and the rule that did it."""
    end, rule = through(chains, chain, packet, 0)
    if end in ("", "RETURN"):
        policy = policies.get(chain, "ACCEPT")
        return ("ACCEPT", "") if policy in ("ACCEPT", "-") else (policy, f"policy {policy}")
    return end, rule


def through(chains: Mapping[str, list[str]], chain: str, packet: Packet, depth: int) -> tuple[str, str]:
    if depth > DEPTH:
        return "", ""
    for rule in chains.get(chain, ()):
        matches, target, goes = read_rule(rule, packet)
        if not matches or not target:
            continue
        if target in ENDS:
            return target, f"-A {chain} {rule}"
        if target in chains:
            end, by = through(chains, target, packet, depth + 1)
            if end not in ("", "RETURN"):
                return end, by
            if goes:
                return "", ""
    return "", ""


def read_rule(rule: str, packet: Packet) -> tuple[bool, str, bool]:
    """Whether a rule is about a packet, where it leads, and whether for good (``-g``).

    A match that is not known here is taken for one that the packet does not have: it is about something special.
    """
    words = shlex.split(rule)
    at, invert, target, goes = 0, False, "", False
    while at < len(words):
        word = words[at]
        if word == "!":
            invert, at = True, at + 1
            continue
        value = words[at + 1] if at + 1 < len(words) else ""
        if word in ("-j", "-g"):
            # What follows belongs to the target.
            return True, value, word == "-g"
        if word in ("-m", "--comment"):
            at += 2
            continue
        test = TESTS.get(word)
        if test is None or test(value, packet) == invert:
            return False, "", False
        invert, at = False, at + 2
    return True, target, goes


def in_network(text: str, address: str) -> bool:
    try:
        return any(ipaddress.ip_address(address) in ipaddress.ip_network(one, strict=False) for one in text.split(","))
    except ValueError:
        return False


def is_interface(text: str, name: str) -> bool:
    return name.startswith(text[:-1]) if text.endswith("+") else name == text


def is_port(text: str, port: int) -> bool:
    for one in text.split(","):
        first, _, last = one.partition(":")
        if first.isdigit() and int(first) <= port <= int(last if last.isdigit() else first):
            return True
    return False


TESTS: dict[str, Callable[[str, Packet], bool]] = {
    "-s": lambda value, packet: in_network(value, packet.source),
    "-d": lambda value, packet: in_network(value, packet.destination),
    "-i": lambda value, packet: is_interface(value, packet.into),
    "-o": lambda value, packet: is_interface(value, packet.out),
    "-p": lambda value, packet: value in (packet.protocol, "all"),
    "--dport": lambda value, packet: is_port(value, packet.port),
    "--dports": lambda value, packet: is_port(value, packet.port),
    "--ctstate": lambda value, packet: packet.state in value.split(","),
    "--state": lambda value, packet: packet.state in value.split(","),
    "--dst-type": lambda value, packet: (value == "LOCAL") == packet.local,
}
"""What a rule may ask, by the word it is asked with."""
