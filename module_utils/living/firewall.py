"""Whether the node's packet filter lets the traffic of pods and Services through.

The images of OCI end INPUT and FORWARD with a REJECT (icmp-host-prohibited), which eats it unless a rule before that
accepts it. Here packets of pods are walked through the rules as the kernel would, table by table. Only the standard
library, Python 3.10.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/var/lib/rancher/k3s/data/current/bin/aux"
"""K3s brings an iptables of its own for nodes that have none."""

ENDS = ("ACCEPT", "DROP", "REJECT", "RETURN")
DEPTH = 32

Tables = dict[str, dict[str, list[str]]]


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
    """Somewhere that pods' packets have to get. ``chains``: table, chain and the packet as it is seen there; before the
    nat table a Service's address is still in it."""

    name: str
    way: str
    chains: tuple[tuple[str, str, Packet], ...]


def collect(pod_cidr: str, service_cidr: str, errors: list[dict[str, str]], node_address: str = "") -> dict[str, Any]:
    """``firewall`` of NodeFacts. Besides what lets pods through: ``eaten``, for each journey that ends early its table,
    chain and rule."""
    found: dict[str, Any] = {
        "backend": "", "rejects": [], "pod_cidr": pod_cidr, "service_cidr": service_cidr, "eaten": [],
        "lets_pods_through": {"input": True, "forward": True}, "rules": {"INPUT": [], "FORWARD": []},
        "ip_forward": forwards(),
    }
    program = shutil.which("iptables-save", path=SEARCH_PATH)
    if not program:
        return found  # nothing filters
    try:
        saved = said([program])
        version = said([program, "--version"])
    except (OSError, subprocess.SubprocessError) as error:
        errors.append({"about": "iptables-save", "why": str(error)})
        return {**found, "lets_pods_through": {"input": None, "forward": None}}
    tables, policies = parse(saved)
    chains = tables.get("filter", {})
    eaten = []
    for journey in journeys(pod_cidr, service_cidr, node_address or "192.0.2.10"):
        for table, chain, packet in journey.chains:
            end, rule = walk(tables.get(table, {}), policies.get(table, {}), chain, packet)
            if end != "ACCEPT":
                eaten.append({"journey": journey.name, "way": journey.way, "table": table, "chain": chain,
                              "rule": rule})
                break
    return {
        **found, "backend": "nf_tables" if "nf_tables" in version else "legacy",
        "rules": {name: chains.get(name, []) for name in ("INPUT", "FORWARD")},
        "rejects": [f"{name} {rule}" for name in ("INPUT", "FORWARD") for rule in chains.get(name, [])
                    if re.match(r"-j (REJECT|DROP)\b", rule)],
        "eaten": eaten,
        "lets_pods_through": {way: not any(one["way"] == way for one in eaten) for way in ("input", "forward")},
    }


def forwards() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def said(argv: list[str]) -> str:
    """:raises subprocess.SubprocessError: it fails, or does not end."""
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout


def journeys(pod_cidr: str, service_cidr: str, node: str) -> list[Journey]:
    """Where pods' packets have to get. The addresses are of nobody: rules about single pods are no matter here."""
    pods, services = ipaddress.ip_network(pod_cidr), ipaddress.ip_network(service_cidr)
    pod, other = str(pods[-6]), str(pods[-7])
    api, dns = str(services[1]), str(services[-6])
    world = "198.51.100.7"

    def way_in(packet: Packet, before: str) -> tuple[tuple[str, str, Packet], ...]:
        first = Packet(packet.source, before, packet.into, "", packet.protocol, packet.port, packet.state)
        return (("raw", "PREROUTING", first), ("mangle", "PREROUTING", first))

    def forwarded(name: str, packet: Packet, before: str = "") -> Journey:
        return Journey(name, "forward", (*way_in(packet, before or packet.destination), ("mangle", "FORWARD", packet),
                                         ("filter", "FORWARD", packet)))

    to_api = Packet(pod, node, port=6443, local=True)
    return [
        Journey("a pod to the API", "input", (*way_in(Packet(pod, api), api), ("mangle", "INPUT", to_api),
                                              ("filter", "INPUT", to_api))),
        forwarded("a pod to a pod", Packet(pod, other, out="cni0", port=5432)),
        forwarded("a pod to a Service", Packet(pod, other, out="cni0", protocol="udp", port=53), dns),
        forwarded("a pod to the world", Packet(pod, world, out="eth0")),
        forwarded("the world's answer to a pod", Packet(world, pod, into="eth0", out="cni0", state="ESTABLISHED")),
    ]


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
