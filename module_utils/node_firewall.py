"""The node's own part of the packet filter: what is wanted, what is there, and the shortest way between them.

The module `firewall` uses it over SSH. The same file is a program on the node, which the unit
observer-firewall.service runs at boot: ``node_firewall.py SETTINGS.json``. Only the standard library, Python 3.10.

Three chains of our own, and a rule in each built-in chain that leads to them:

OBSERVER-NODE-CLOSED  in mangle, first of PREROUTING and FORWARD. What comes new from outside is dropped here when it
                      goes to the closed ports, to pods or to Services. It has to be before the nat table: there
                      kube-proxy turns a NodePort into a pod's address, and later accepts what it has turned. It is
                      asked again in FORWARD, where the addresses that DNAT has put in are seen.
OBSERVER-NODE-INPUT   in filter, at the end of INPUT but before its closing REJECT or DROP: pods reach the node.
OBSERVER-NODE-FORWARD in filter, likewise in FORWARD: pods reach Services, each other and the world.

The two that accept come after everything that Kubernetes has put into INPUT and FORWARD, because a rule that accepts
ends the walk: before the network policies it would undo them.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INPUT = "OBSERVER-NODE-INPUT"
FORWARD = "OBSERVER-NODE-FORWARD"
CLOSED = "OBSERVER-NODE-CLOSED"
OURS = frozenset({INPUT, FORWARD, CLOSED})

LINK_LOCAL = "169.254.0.0/16"
PROGRAMS = {4: ("iptables-save", "iptables-restore"), 6: ("ip6tables-save", "ip6tables-restore")}
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

MULTIPORT_LIMIT = 15
"""Ports in one rule; a range counts for two."""

HARMLESS = re.compile(r"(ACCEPT|LOG|NFLOG)?|FLANNEL-.*")
"""Targets that may stand between our jump and the end of a chain. Flannel appends its jump, which only accepts, when
K3s starts; any other jump there may lead to a policy."""

ATTEMPTS = 4
"""Kubernetes writes to the same chains; a rule of its own that arrives in between shifts the place of ours."""


class FirewallError(Exception):
    """The rules cannot be read, computed or put in place. ``remedy`` says what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Settings:
    """What the rules are made of, checked and in the form in which iptables prints it.

    :ivar pod_interfaces: interfaces behind which pods are; a trailing ``+`` stands for any ending. An address of a
        pod counts only there, because on the way in from outside anybody can write any address.
    :ivar closed: ports by protocol, the NodePorts among them.
    :ivar trusted: addresses from which the closed ports stay open: the other nodes of the cluster.
    :ivar link_local_dns: link-local addresses that pods may ask for DNS. All else that is link-local on a cloud
        machine, its metadata and the iSCSI target of its boot volume, is the node's alone.
    """

    pod_cidr: str
    service_cidr: str
    pod_interfaces: tuple[str, ...]
    closed: dict[str, tuple[str, ...]]
    trusted: dict[int, tuple[str, ...]]
    link_local_dns: tuple[str, ...]

    @classmethod
    def read(cls, given: dict[str, Any]) -> Settings:
        """From the options of the module `firewall` or from the program's file, which has the same names.

        :raises FirewallError: begins with the option that cannot be, and a colon.
        """
        node_ports = ports("port_range", [given["port_range"]])
        trusted = [network("trusted_sources", text) for text in given["trusted_sources"]]
        for name in given["pod_interfaces"]:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}|[A-Za-z0-9_.-]{1,14}\+", name):
                raise FirewallError(f"pod_interfaces: {name!r} is not the name of an interface",
                                    "give a name such as cni0, or a beginning and + such as flannel+")
        return cls(
            pod_cidr=network("pod_cidr", given["pod_cidr"], 4),
            service_cidr=network("service_cidr", given["service_cidr"], 4),
            pod_interfaces=tuple(given["pod_interfaces"]),
            closed={protocol: ports(f"closed_{protocol}_ports", given[f"closed_{protocol}_ports"]) + node_ports
                    for protocol in ("tcp", "udp")},
            trusted={family: tuple(dict.fromkeys(
                source for source in trusted if ipaddress.ip_network(source).version == family)) for family in (4, 6)},
            link_local_dns=tuple(network("link_local_dns", text, 4) for text in given["link_local_dns"]),
        )


def network(option: str, text: str, family: int | None = None) -> str:
    """An address or a network in iptables' form, always with its length.

    :raises FirewallError: it is none, or not of the family (4 or 6).
    """
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise FirewallError(f"{option}: {error}", "give addresses such as 10.0.0.4 or 10.0.0.0/24") from error
    if found.prefixlen == 0 or (family and found.version != family):
        raise FirewallError(f"{option}: {text} cannot be used",
                            f"give {f'IPv{family}' if family else 'IP'} networks that are not the whole world")
    return str(found)


def ports(option: str, given: Iterable[Any]) -> tuple[str, ...]:
    """Ports and ranges in iptables' form (``a:b``), without repeats.

    :raises FirewallError: names what is not a port.
    """
    found = []
    for item in given:
        match = re.fullmatch(r"(\d{1,5})(?:[-:](\d{1,5}))?", str(item))
        numbers = [int(number) for number in match.groups() if number] if match else []
        if not numbers or numbers != sorted(numbers) or numbers[0] < 1 or numbers[-1] > 65535:
            raise FirewallError(f"{option}: {item!r} is neither a port nor a range of ports",
                                "give numbers from 1 to 65535, or ranges such as 30000-32767")
        found.append(":".join(map(str, numbers)))
    return tuple(dict.fromkeys(found))


# --- what is wanted -----------------------------------------------------------------------------


@dataclass
class Table:
    """Our part of one table.

    :ivar chains: rules by chain, in the very words of iptables-save, which they are compared with.
    :ivar jumps: built-in chains and which of ours each leads to.
    :ivar first: whether the jumps are the first rules; otherwise they come last, but before a closing REJECT or DROP.
    """

    chains: dict[str, list[str]] = field(default_factory=dict)
    jumps: list[tuple[str, str]] = field(default_factory=list)
    first: bool = False

    def add(self, chain: str, builtins: Sequence[str], rules: list[str]) -> None:
        """A chain without rules is not made."""
        if rules:
            self.chains[chain] = rules
            self.jumps += [(builtin, chain) for builtin in builtins]


def wanted(settings: Settings, family: int) -> dict[str, Table]:
    """Our tables for a family, 4 or 6. Pods have IPv4 addresses only; the ports of the node are open on both."""
    trusted = settings.trusted[family]
    from_pods = [f"-s {settings.pod_cidr} -i {name}" for name in settings.pod_interfaces] if family == 4 else []
    from_nodes = [f"-s {source}" for source in trusted]
    # Without an overlay network pods of other nodes come in by the same interface as the rest of the world.
    between_pods = [f"-s {settings.pod_cidr} -d {settings.pod_cidr}"] if family == 4 and trusted else []

    closed = ["-m conntrack ! --ctstate NEW -j RETURN", "-i lo -j RETURN"]
    if family == 4:
        for address in settings.link_local_dns:
            closed += [f"-s {settings.pod_cidr} -d {address} -p {protocol} -m {protocol} --dport 53 -j RETURN"
                       for protocol in ("udp", "tcp")]
        closed.append(f"-s {settings.pod_cidr} -d {LINK_LOCAL} -j DROP")
    closed += [f"{source} -j RETURN" for source in (*from_pods, *from_nodes, *between_pods)]
    if family == 4:
        closed += [f"-d {settings.pod_cidr} -j DROP", f"-d {settings.service_cidr} -j DROP"]
    for protocol, numbers in settings.closed.items():
        closed += [f"-p {protocol} -m addrtype --dst-type LOCAL -m multiport --dports {some} -j DROP"
                   for some in multiports(numbers)]
    mangle = Table(first=True)
    mangle.add(CLOSED, ("PREROUTING", "FORWARD"), closed)

    accepted = [*from_pods]
    for protocol, numbers in settings.closed.items():
        accepted += [f"{source} -p {protocol} -m multiport --dports {some}"
                     for source in from_nodes for some in multiports(numbers)]
    forwarded = [*from_pods, *between_pods]
    if family == 4:
        forwarded += [f"{source} -d {settings.pod_cidr}" for source in from_nodes]
        forwarded.append(f"-d {settings.pod_cidr} -m conntrack --ctstate RELATED,ESTABLISHED")
    filters = Table()
    filters.add(INPUT, ("INPUT",), [f"{match} -j ACCEPT" for match in accepted])
    filters.add(FORWARD, ("FORWARD",), [f"{match} -j ACCEPT" for match in forwarded])
    # What closes comes before what opens.
    return {"mangle": mangle, "filter": filters}


def multiports(numbers: Sequence[str]) -> list[str]:
    """Ports in groups that fit into one rule each."""
    groups: list[list[str]] = [[]]
    for number in numbers:
        if sum(2 if ":" in one else 1 for one in (*groups[-1], number)) > MULTIPORT_LIMIT:
            groups.append([])
        groups[-1].append(number)
    return [",".join(group) for group in groups if group]


# --- what is there ------------------------------------------------------------------------------


def parse(saved: str) -> dict[str, dict[str, list[str]]]:
    """Rules by table and chain from the output of iptables-save, each without ``-A CHAIN``."""
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains.setdefault(chain, []).append(rule.strip())
    return tables


def target(rule: str) -> str:
    """Where a rule leads; empty when it only counts."""
    words = shlex.split(rule)
    return next((after for word, after in itertools.pairwise(words) if word in ("-j", "-g")), "")


def closes(rule: str) -> bool:
    """Whether a rule ends every walk through its chain without letting anything pass."""
    return bool(re.match(r"-j (REJECT|DROP)\b", re.sub(r"-m comment --comment (\"[^\"]*\"|\S+) ", "", rule)))


def end(rules: Sequence[str]) -> int:
    """Index of the closing rule of a chain, or its length when it has none."""
    return next((index for index, rule in enumerate(rules) if closes(rule)), len(rules))


def in_place(rules: Sequence[str], chain: str, *, first: bool) -> bool:
    """Whether a built-in chain leads to ours: once, for everything, and at the right place."""
    at = [index for index, rule in enumerate(rules) if target(rule) == chain]
    if len(at) != 1 or rules[at[0]] != f"-j {chain}":
        return False
    if first:
        return at[0] == 0
    after = rules[at[0] + 1:end(rules)]
    return at[0] < end(rules) and all(HARMLESS.fullmatch(target(rule)) for rule in after)


# --- from one to the other ----------------------------------------------------------------------


@dataclass
class Plan:
    """What has to be done for one family.

    :ivar changes: one line a thing that differs.
    :ivar commands: input of iptables-restore, empty when nothing differs.
    :ivar before: our part of what is there, to be shown.
    :ivar after: the same as it is wanted.
    """

    changes: list[str]
    commands: str
    before: str
    after: str


def plan(tables: dict[str, Table], live: dict[str, dict[str, list[str]]], program: str = "iptables") -> Plan:
    """Compare, and write what mends exactly what differs.

    :param live: from :func:`parse`.
    :param program: how the changes name the family.
    """
    changes: list[str] = []
    commands: list[str] = []
    before: list[str] = []
    after: list[str] = []
    for name, table in tables.items():
        chains = live.get(name, {})
        edits: list[str] = []
        for chain, rules in table.chains.items():
            if chains.get(chain) != rules:
                changes.append(f"{program} {name} {chain}: rules")
                edits += [f":{chain} - [0:0]", *(f"-A {chain} {rule}" for rule in rules)]
        for builtin, chain in table.jumps:
            rules = chains.get(builtin, [])
            if not in_place(rules, chain, first=table.first):
                changes.append(f"{program} {name} {builtin}: jump to {chain}")
                edits += move(builtin, rules, chain, first=table.first)
        for chain in sorted(OURS & chains.keys() - table.chains.keys()):
            changes.append(f"{program} {name} {chain}: removed")
            edits += [f"-D {builtin} {rule}" for builtin, rules in chains.items() for rule in rules
                      if target(rule) == chain]
            edits += [f"-F {chain}", f"-X {chain}"]
        if edits:
            commands += [f"*{name}", *edits, "COMMIT"]
        before += own(program, name, table, chains)
        after += own(program, name, table, {
            **{builtin: [f"-j {chain}"] for builtin, chain in table.jumps}, **table.chains})
    return Plan(changes, "".join(f"{line}\n" for line in commands), "".join(before), "".join(after))


def move(builtin: str, rules: Sequence[str], chain: str, *, first: bool) -> list[str]:
    """Commands that leave exactly one jump, at its place. Found rules go by their words: numbers may have shifted."""
    edits = [f"-D {builtin} {rule}" for rule in rules if target(rule) == chain]
    others = [rule for rule in rules if target(rule) != chain]
    if not first and end(others) == len(others):
        return [*edits, f"-A {builtin} -j {chain}"]
    return [*edits, f"-I {builtin} {1 if first else end(others) + 1} -j {chain}"]


def own(program: str, name: str, table: Table, chains: dict[str, list[str]]) -> list[str]:
    """Our chains and the jumps to them as lines of a diff, in which a jump at a wrong place looks different."""
    lines = []
    for chain, rules in sorted(chains.items()):
        for rule in rules:
            if chain in OURS:
                lines.append(f"{program} {name} {chain} {rule}\n")
            elif target(rule) in OURS:
                place = "" if in_place(rules, target(rule), first=table.first) else "  (at the wrong place)"
                lines.append(f"{program} {name} {chain} {rule}{place}\n")
    return lines


# --- on the node --------------------------------------------------------------------------------


def families() -> list[int]:
    """The families that the kernel has. Without IPv6 there is nothing to close."""
    return [4, 6] if Path("/proc/net/if_inet6").exists() else [4]


def installed() -> bool:
    """Whether the node has iptables."""
    return all(shutil.which(program, path=SEARCH_PATH) for family in families() for program in PROGRAMS[family])


def run(program: str, *arguments: str, given: str = "") -> str:
    """:raises FirewallError: with the program's own words."""
    path = shutil.which(program, path=SEARCH_PATH)
    if not path:
        raise FirewallError(f"the node has no {program}", "on the node: apt-get install iptables")
    try:
        done = subprocess.run([path, *arguments], input=given, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise FirewallError(f"{program} does not answer within 60 s",
                            "look on the node for what holds /run/xtables.lock") from error
    if done.returncode:
        words = " / ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise FirewallError(f"{program} failed: {words}",
                            "mend the cause on the node; a match that is not known is a kernel module that is missing")
    return done.stdout


def look(settings: Settings) -> dict[int, Plan]:
    """Plans by family for the node as it is."""
    plans = {}
    for family in families():
        tables = wanted(settings, family)
        save = PROGRAMS[family][0]
        # Asked by table: the nat table of a cluster is long and none of ours.
        live = parse("".join(run(save, "-t", name) for name in tables)) if installed() else {}
        plans[family] = plan(tables, live, save.removesuffix("-save"))
    return plans


def apply(settings: Settings, plans: dict[int, Plan]) -> None:
    """Put the plans in place and look again whether they are.

    :raises FirewallError: they cannot be put in place, or the kernel shows something else afterwards.
    """
    for attempt in range(ATTEMPTS):
        for family, found in plans.items():
            if found.commands:
                # One table takes effect at once or not at all.
                run(PROGRAMS[family][1], "--noflush", "--wait", "10", given=found.commands)
        plans = look(settings)
        left = [line for found in plans.values() for line in found.changes]
        if not left:
            return
        if attempt == ATTEMPTS - 1:
            raise FirewallError(f"still different after it was put in place: {', '.join(left)}",
                                "look for another program that writes iptables rules on the node and stop it")


def read_file(path: Path) -> Settings:
    """:raises FirewallError: there is no such file, or it is not what the role wrote."""
    try:
        return Settings.read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FirewallError(f"{path} cannot be read: {error}", "run the playbook for this node again") from error


def main(arguments: Sequence[str]) -> int:
    """The program: mend what differs from the settings in a file and say what it was."""
    try:
        settings = read_file(Path(arguments[1]))
        plans = look(settings)
        apply(settings, plans)
    except FirewallError as error:
        print(f"observer-firewall: {error}; {error.remedy}", file=sys.stderr)
        return 1
    for found in plans.values():
        print("".join(f"{line}\n" for line in found.changes), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
