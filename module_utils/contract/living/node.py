"""Compares what a node and its containers are like with the contract (seed 001 2-1 and Steps 1, 3, 4 and 6).

``request`` says what the collector on the node (``living/node.py``) has to look at, and ``check_node`` judges what it
found. Both are pure: no file is read and nothing is run.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..checks.subject import declared, finding
from ..classes import dataclass
from ..model import Finding, Layer, Severity
from ..spec import Container, Contract, Environment, Mount, Variable, Workload
from .wording import moment, size

Facts = Mapping[str, Any]

MAY_BE_WRITTEN = ("/dev", "/proc", "/sys", "/run", "/var/run")
"""Not asked for refusal: these are other file systems in every container."""

REFUSALS = ("/", "/etc", "/usr", "/home", "/var", "/opt", "/tmp")
"""Where a container with a read-only root may not write, unless a volume lies there."""

PLAIN_REFUSALS = ("/", "/etc", "/usr", "/home", "/opt")
"""Where one that is not root may not write, whatever its root file system is."""

EVICTION = 0.05
"""Part of a file system that has to be free: K3s' eviction-hard for nodefs and imagefs."""

RESTARTS, RESTART_SECONDS = 3, 1800.0
"""So many restarts are a loop when the last one was not longer ago. systemd counts since somebody started the unit."""

CLOCK_SECONDS = 30.0
SOON_SECONDS = 30 * 86400.0
LAST_CHARACTERS, BODY_CHARACTERS = 300, 160
UNITS = {"server": "k3s.service", "agent": "k3s-agent.service"}
INVENTORIES = {"production": "prod"}
"""Environments whose inventory has another name."""

JOURNEYS = {"a pod to the API": "Pod→API 서버", "a pod to a pod": "Pod→Pod", "a pod to a Service": "Pod→Service",
            "a pod to the world": "Pod→외부", "the world's answer to a pod": "외부→Pod 응답",
            "the node to a pod": "노드→Pod", "another node's tunnel": "다른 노드의 터널(8472/udp)",
            "another node to the kubelet": "다른 노드→kubelet(10250/tcp)",
            "another node to the API": "다른 노드→API 서버(6443/tcp)",
            "the tunnel to another node": "다른 노드로의 터널(8472/udp)",
            "a pod of another node to a pod": "다른 노드의 Pod→Pod",
            "a pod to a pod of another node": "Pod→다른 노드의 Pod"}
"""What the collector calls journeys of packets, in Korean."""

SCALES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}


@dataclass(frozen=True)
class Looked:
    """A node and what was seen there. ``name`` is the node's in the cluster, ``provision`` the command that puts back
    what the project makes."""

    contract: Contract
    facts: Facts
    environment: Environment | None

    @property
    def name(self) -> str:
        return f"Node {self.facts['k3s'].get('node_name') or self.facts['host']}"

    @property
    def provision(self) -> str:
        known = self.environment.name if self.environment else "<environment>"
        return f"ansible-playbook site.yml -i inventories/{INVENTORIES.get(known, known)}"

    @property
    def namespaces(self) -> set[str]:
        if self.environment:
            return {self.environment.namespace}
        return {one.namespace for one in self.contract.environments.values()}

    @property
    def carries(self) -> bool:
        """Whether the contract's folders and volumes are wanted here: on an agent only when a container or a volume is
        there already."""
        return self.facts["k3s"]["role"] != "agent" or bool(self.facts.get("volumes")) or any(self.running())

    def running(self) -> Iterator[Running]:
        """Containers of the contract that run on this node."""
        for workload, container in self.contract.containers():
            for facts in self.facts.get("containers", ()):
                if facts["name"] == container.name and (
                        facts["namespace"] in self.namespaces and facts["pod"].startswith(f"{workload.name}-")):
                    yield Running(self, workload, container, facts)


@dataclass(frozen=True)
class Running:
    """A container of the contract as it runs."""

    looked: Looked
    workload: Workload
    container: Container
    facts: Facts

    @property
    def subject(self) -> str:
        """Without the pod's name, so that a finding is the same after the pod was made anew."""
        return f"{self.workload.kind} {self.facts['namespace']}/{self.workload.name} container {self.container.name}"

    @property
    def inside(self) -> Mapping[str, Any]:
        return self.facts.get("inside") or {}

    @property
    def logs(self) -> str:
        return f"kubectl logs -n {self.facts['namespace']} {self.facts['pod']} -c {self.container.name} --tail=100"

    @property
    def describe(self) -> str:
        return f"kubectl describe pod -n {self.facts['namespace']} {self.facts['pod']}"

    @property
    def mine(self) -> bool:
        """Whether it is the app's."""
        return self.container.name == self.looked.contract.app.container

    def declared(self, *path: str) -> Any:  # noqa: ANN401
        return declared(self.looked.contract, "workloads", self.workload.name, "containers", self.container.name, *path)


# --- what to look at ----------------------------------------------------------------------------


def request(contract: Contract, environment: Environment | None, **more: object) -> dict[str, Any]:
    """What the collector on a node is asked for.

    :param environment: whose containers are looked into; None: those of every environment.
    :param more: further keys of the request, such as ``storage_free`` or ``clock_reference``; None leaves one out.
    """
    namespaces = [environment.namespace] if environment else [one.namespace for one in contract.environments.values()]
    disk = contract.node.get("disk") or {}
    return {
        "storage_path": disk.get("path"), "storage_free": quantity(disk["free"]) if "free" in disk else None,
        "folders": list(contract.node.get("folders") or {}), "secret_names": secret_names(contract),
        "containers": [{"name": container.name, "namespace": namespace, "tasks": tasks(contract, container),
                        "variables": told_variables(contract, container)}
                       for _, container in contract.containers() for namespace in namespaces],
        **{key: value for key, value in more.items() if value is not None},
    }


def secret_names(contract: Contract) -> list[str]:
    """Patterns of variables whose values stay on the node: every key of every Secret."""
    return sorted({key for secret in contract.secrets.values() for key in (*secret.required, *secret.optional)})


def told_variables(contract: Contract, container: Container) -> dict[str, list[str]]:
    """Variables whose values may leave the node, with the values that are right where the contract says which: those
    that it declares to come from somewhere else than a Secret."""
    patterns = secret_names(contract)
    paths = {folder.variable: folder.path for folder in contract.paths.values()}
    return {one.name: [paths[one.name]] if one.name in paths else [value for value in (one.value, *one.values) if value]
            for one in container.variables.values()
            if one.sources and not any(source.startswith("Secret/") for source in one.sources)
            and not any(fnmatchcase(one.name, pattern) for pattern in patterns)}


def tasks(contract: Contract, container: Container) -> dict[str, Any]:
    """What is tried inside a container."""
    mine, targets = container.name == contract.app.container, [one for one in container.volumes.values()]
    folders = [folder for folder in contract.paths.values() if mine]
    writable = [one.target for one in targets if not one.read_only]
    writes = [*writable, *(folder.path for folder in folders if under(folder.path, writable))]
    places = REFUSALS if container.permissions.get("readOnlyRootFilesystem") else PLAIN_REFUSALS
    refusals = [*places, *(folder.path for folder in folders)]
    covered = [*container.volumes, *MAY_BE_WRITTEN]
    found: dict[str, Any] = {
        "writes": list(dict.fromkeys(writes)), "paths": list(container.volumes),
        "refusals": [path for path in dict.fromkeys(refusals) if not under(path, covered)],
    }
    if mine:
        found["http"] = [{"port": contract.app.port, "path": route} for route in contract.app.routes
                         if contract.app.port]
    for host, port in addresses(container):
        found.setdefault("names", []).extend([host.value, f"$({host.name})"])
        if port:
            found.setdefault("connects", []).extend([f"{host.value}:{port.value}", f"$({host.name}):$({port.name})"])
    if container.image.rpartition("/")[2].startswith("postgres"):
        found["postgres"] = True
    return found


def addresses(container: Container) -> Iterator[tuple[Variable, Variable | None]]:
    """Variables that name a host, and the port that goes with it: ``DB_HOST`` and ``DB_PORT``."""
    for variable in container.variables.values():
        if variable.name.endswith("_HOST") and variable.value:
            port = container.variables.get(f"{variable.name.removesuffix('_HOST')}_PORT")
            yield variable, port if port and port.value else None


def under(path: str, targets: Iterable[str]) -> bool:
    return any(path == target or path.startswith(f"{target.rstrip('/')}/") for target in targets)


def quantity(text: object) -> int:
    """Bytes of what Kubernetes calls a quantity."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]i|[kMGT])?", str(text))
    return int(float(match[1]) * SCALES[match[2] or ""]) if match else 0


# --- judging ------------------------------------------------------------------------------------


def check_node(contract: Contract, facts: Facts, environment: Environment | None = None) -> Iterator[Finding]:
    """What a node and the containers on it are like against the contract.

    :param facts: NodeFacts.
    :param environment: which of the contract's environments the node is of; None when it is not known.
    """
    looked, seen = Looked(contract, facts, environment), set()
    for one in everything(looked):
        # The same in two pods of a workload is one finding.
        key = (one.code, one.clause, one.subject, one.expected, one.actual, one.values.get("path"))
        if key not in seen:
            seen.add(key)
            yield one


def everything(looked: Looked) -> Iterator[Finding]:
    for check in (folders, room, k3s, certificates, clock, firewall, backups, unread):
        yield from check(looked)
    for running in looked.running():
        for inner in (permissions, mounts, writing, variables, network, health, database):
            yield from inner(running)


def folders(looked: Looked) -> Iterator[Finding]:
    """Folders that the contract wants where its containers are."""
    if not looked.carries:
        return
    for path, wanted in (looked.contract.node.get("folders") or {}).items():
        found = looked.facts.get("folders", {}).get(path)
        if found is None:
            continue
        related = [declared(looked.contract, "node", "folders", path)]
        where: dict[str, Any] = {"path": path, "related": related}
        if found["type"] != "dir":
            yield finding("NODE-01", "node.folders", Layer.NODE, None, looked.name, expected="a folder",
                          actual=f"a {found['type']}" if found["exists"] else "missing", command=looked.provision,
                          **where)
            continue
        owner, actual = f"{wanted['uid']}:{wanted['gid']}", f"{found['uid']}:{found['gid']}"
        if owner != actual:
            yield finding("NODE-02", "node.folders", Layer.NODE, None, looked.name, expected=owner, actual=actual,
                          command=f"sudo chown {owner} {shlex.quote(path)}", **where)
        mode, has = int(str(wanted["mode"]), 8), int(found["mode"], 8)
        if mode != has:
            # Wider tells others; narrower keeps the app itself out.
            yield finding("NODE-03", "node.folders", Layer.NODE, None, looked.name, expected=f"{mode:04o}",
                          actual=found["mode"], severity=None if mode & ~has == 0 else Severity.HIGH,
                          command=f"sudo chmod {mode:04o} {shlex.quote(path)}", **where)


def room(looked: Looked) -> Iterator[Finding]:
    """Disks: what is asked for the volumes, less what they use already, and file systems that are full."""
    facts, storage = looked.facts, looked.facts["storage"]
    related = [declared(looked.contract, "node", "disk")] if "disk" in looked.contract.node else []
    if not storage["writable"] and looked.carries:
        missing = not storage["exists"]
        yield finding("NODE-06", "node.disk", Layer.NODE, None, looked.name, expected="writable",
                      actual=storage["why"], path=storage["path"], related=related,
                      command=f"findmnt -T {shlex.quote(storage['path'])}" if not missing else looked.provision)
    wanted = facts.get("storage_free")
    enough, there = roomy(facts, wanted) if looked.carries and wanted else (True, 0)
    if enough is False:
        yield finding("NODE-04", "node.disk", Layer.NODE, None, looked.name, expected=size(wanted),
                      actual=size(there), path=storage["path"], related=related,
                      command=f"sudo du -xh --max-depth=2 {shlex.quote(storage.get('mount') or '/')} | sort -h | tail")
    elif enough is None and storage.get("free") is not None:
        yield finding("NODE-50", "node.disk", Layer.NODE, None, looked.name, expected=size(wanted),
                      actual=f"{size(there)} are free or counted in volumes, {size(wanted)} are asked for, and not all "
                      "volumes could be counted in time", about=f"room for volumes in {storage['path']}",
                      related=related, command=f"sudo du -xsh {shlex.quote(storage['path'])}")
    for disk in facts.get("disks", ()):
        if not disk["carries"] or disk["filesystem"] == "tmpfs":
            continue
        if disk["read_only"] and disk["mount"] != storage.get("mount"):
            yield finding("NODE-07", "node.disk", Layer.NODE, None, looked.name, expected="rw", actual="ro",
                          path=disk["mount"], command=f"sudo mount -o remount,rw {shlex.quote(disk['mount'])}")
        for what, free_of, of in (("bytes", disk["free"], disk["bytes"]),
                                  ("inodes", disk["inodes_free"], disk["inodes"])):
            if of and free_of < of * EVICTION:
                unit = f"{free_of} inodes" if what == "inodes" else size(free_of)
                show = "du --inodes -x" if what == "inodes" else "du -xh"
                yield finding("NODE-05", "node.disk", Layer.NODE, None, looked.name, expected=f"{EVICTION:.0%}",
                              actual=f"{unit} ({free_of / of:.1%})", path=disk["mount"],
                              command=f"sudo {show} --max-depth=2 {shlex.quote(disk['mount'])} | sort -h | tail")


def roomy(facts: Facts, wanted: float) -> tuple[bool | None, int]:
    """Whether there is the room that is asked for, and how many bytes are known to be free or held by volumes, which
    are part of it. None: that depends on volumes that could not be counted in time, or nobody knows what is free."""
    free = (facts.get("storage") or {}).get("free")
    sizes = [one.get("bytes") for one in facts.get("volumes") or ()]
    there = (free or 0) + sum(one for one in sizes if one is not None)
    return (None if free is None or (None in sizes and there < wanted) else there >= wanted), there


def k3s(looked: Looked) -> Iterator[Finding]:
    """K3s' unit, its version, and whether the API answers."""
    found, now = looked.facts["k3s"], looked.facts["now"]
    if not found["installed"] or not found["role"]:
        yield finding("NODE-08", "cluster.k3s", Layer.CLUSTER, None, looked.name, expected="installed",
                      actual="missing", command=looked.provision)
        return
    unit = UNITS[found["role"]]
    words: dict[str, Any] = {"unit": unit, "last": last_line(found["log"])}
    running = (found["active"], found["sub"]) == ("active", "running")
    journal = f"sudo journalctl -u {unit} -n 100 --no-pager"
    recent = found["since"] is None or now - found["since"] < RESTART_SECONDS
    if found["restarts"] >= RESTARTS and (recent or not running):
        yield finding("NODE-10", "cluster.k3s", Layer.CLUSTER, None, looked.name, expected=0,
                      actual=found["restarts"], command=journal, **words)
    elif not running:
        yield finding("NODE-09", "cluster.k3s", Layer.CLUSTER, None, looked.name, expected="active (running)",
                      actual=f"{found['active']} ({found['sub']})", command=f"sudo systemctl restart {unit}", **words)
    wanted = looked.contract.cluster.get("k3s")
    if wanted and found["version"] and found["version"] != wanted:
        yield finding("NODE-11", "cluster.k3s", Layer.CLUSTER, None, looked.name, expected=wanted,
                      actual=found["version"], related=[declared(looked.contract, "cluster", "k3s")],
                      command=looked.provision)
    if found["enabled"] != "enabled":
        yield finding("NODE-12", "cluster.k3s", Layer.CLUSTER, None, looked.name, expected="enabled",
                      actual=found["enabled"] or "unknown", unit=unit, command=f"sudo systemctl enable {unit}")
    if running and not found["api"]["answers"]:
        yield finding("NODE-13", "cluster.api", Layer.CLUSTER, None, looked.name, expected="an answer",
                      actual=found["api"]["why"], command=journal, last=words["last"])


def last_line(log: Sequence[str]) -> str:
    """The last telling line of K3s' journal, or nothing."""
    return log[-1][:LAST_CHARACTERS] if log else ""


def that_count(certificates: Iterable[Facts]) -> list[Facts]:
    """Certificates without those that a component makes for itself at its start, which are of nobody's concern."""
    return [one for one in certificates if not str(one.get("issuer") or "").startswith("localhost-ca@")]


def certificates(looked: Looked) -> Iterator[Finding]:
    """Certificates that are not valid at the node's own time, and those that soon are not."""
    now = looked.facts["now"]
    known = that_count(looked.facts.get("certificates", ()))
    expired = [one for one in known if one["not_after"] <= now]
    early = [one for one in known if one["not_before"] > now + CLOCK_SECONDS]
    soon = [one for one in known if now < one["not_after"] <= now + SOON_SECONDS]
    unit = UNITS.get(looked.facts["k3s"]["role"], "k3s.service")
    command = f"sudo systemctl restart {unit}"
    for some, words in ((expired, "expired on {0}"), (early, "are valid only from {0}")):
        if some:
            worst = min(one["not_after" if some is expired else "not_before"] for one in some)
            yield finding("NODE-14", "cluster.certificates", Layer.CLUSTER, None, looked.name, expected="valid",
                          actual=words.format(moment(worst)), files=files(some), now=moment(now), command=command)
    if soon:
        yield finding("NODE-15", "cluster.certificates", Layer.CLUSTER, None, looked.name, expected="later",
                      actual=moment(min(one["not_after"] for one in soon)), files=files(soon), command=command)


def files(some: Sequence[Facts]) -> str:
    """What a few certificates are called; of more, how many."""
    served = [one["file"] for one in some if one["served"]]
    names = served + [posixpath.basename(one["file"]) for one in some if not one["served"]]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def clock(looked: Looked) -> Iterator[Finding]:
    """Time zone, and the clock against the controller's."""
    facts, wanted = looked.facts, looked.contract.node.get("timezone")
    if wanted and facts["timezone"] != wanted:
        yield finding("NODE-16", "node.timezone", Layer.NODE, None, looked.name, expected=wanted,
                      actual=facts["timezone"] or "unknown", command=f"sudo timedatectl set-timezone {wanted}",
                      related=[declared(looked.contract, "node", "timezone")])
    reference = facts.get("clock_reference")
    if reference and abs(facts["now"] - reference) > CLOCK_SECONDS:
        yield finding("NODE-17", "node.clock", Layer.NODE, None, looked.name, expected=f"{CLOCK_SECONDS:.0f} s",
                      actual=f"{facts['now'] - reference:+.0f} s", command="timedatectl status")
    if facts.get("clock_synchronized") is False:
        yield finding("NODE-18", "node.clock", Layer.NODE, None, looked.name, expected="synchronized",
                      actual="not synchronized", command="sudo timedatectl set-ntp true")


def firewall(looked: Looked) -> Iterator[Finding]:
    """Rules that eat traffic of pods and Services."""
    found = looked.facts["firewall"]
    for way, code in (("input", "NODE-19"), ("forward", "NODE-20")):
        eaten = [one for one in found.get("eaten", ()) if one["way"] == way]
        if eaten:
            peers = [f" ({one['peer']})" if one.get("peer") else "" for one in eaten]
            yield finding(code, "node.firewall", Layer.NODE, None, looked.name, expected="ACCEPT",
                          actual=f"{eaten[0].get('program', 'iptables')} -t {eaten[0]['table']} {eaten[0]['rule']}",
                          journey=", ".join(one["journey"] + peer for one, peer in zip(eaten, peers, strict=True)),
                          journey_ko=", ".join(JOURNEYS.get(one["journey"], one["journey"]) + peer
                                               for one, peer in zip(eaten, peers, strict=True)),
                          command=looked.provision)
    if found.get("ip_forward") is False:
        yield finding("NODE-21", "node.firewall", Layer.NODE, None, looked.name, expected=1, actual=0,
                      command="sudo sysctl -w net.ipv4.ip_forward=1")


def backups(looked: Looked) -> Iterator[Finding]:
    """Backups that are late, fail or cannot read their repository."""
    for one in (looked.facts.get("backup") or {}).get("wrong", ()):
        # It is no job of the node's, and has no journal there.
        command = "cat /var/lib/observer-node/backup/state.txt" if one["job"] in ("retention", "repository") else \
            f"journalctl -u observer-backup-{one['job']} -n 50"
        yield finding("BACKUP-01", "node.backup", Layer.NODE, None, looked.name, expected="in time", actual=one["why"],
                      job=one["job"], command=command)


def unread(looked: Looked) -> Iterator[Finding]:
    """What could not be looked at, on the node and in its containers."""
    for one in looked.facts.get("errors", ()):
        yield finding("NODE-50", "check.node", Layer.NODE, None, looked.name, expected="readable", actual=one["why"],
                      about=one["about"])
    for running in looked.running():
        if running.inside.get("why"):
            yield finding("NODE-50", "check.node", Layer.NODE, None, looked.name, expected="readable",
                          actual=running.inside["why"], about=f"{running.subject} (Pod {running.facts['pod']})")


# --- containers ---------------------------------------------------------------------------------


def permissions(running: Running) -> Iterator[Finding]:
    """Who the process is and what it may, against fixed contract 4."""
    facts, name = running.facts, running.container.name

    def wrong(code: str, what: str, expected: object, actual: object, clause: str) -> Finding:
        return finding(code, clause, Layer.DEPLOYMENT, None, running.subject, expected=expected, actual=actual,
                       name=what, pod=facts["pod"], command=running.looked.provision,
                       related=[running.declared("permissions")])

    for setting, expected in running.container.permissions.items():
        clause = f"permissions.{name}.{setting}"
        if setting in ("runAsUser", "runAsGroup"):
            ids = facts["uids" if setting == "runAsUser" else "gids"]
            if any(one != expected for one in ids):
                yield wrong("NODE-30", "uid" if setting == "runAsUser" else "gid", expected, distinct(ids), clause)
        elif setting == "runAsNonRoot" and expected and 0 in facts["uids"] and (
                "runAsUser" not in running.container.permissions):
            yield wrong("NODE-30", "uid", "not 0", 0, clause)
        elif setting == "readOnlyRootFilesystem" and expected and not facts["root_read_only"]:
            yield wrong("NODE-31", "a root file system", "read-only", "writable", clause)
        elif setting == "allowPrivilegeEscalation" and not expected and not facts["no_new_privs"]:
            yield wrong("NODE-31", "no_new_privs", 1, 0, clause)
        elif setting == "capabilities" and expected.get("drop") == ["ALL"] and not expected.get("add"):
            most = facts["capabilities"]["bounding"] | facts["capabilities"]["permitted"]
            if most:
                yield wrong("NODE-31", "capabilities", "none", f"{most:#x}", clause)
    group = running.workload.fs_group
    if group is not None and group not in facts["groups"]:
        yield wrong("NODE-30", "groups", group, facts["groups"], f"permissions.{running.workload.name}.fsGroup")


def distinct(ids: Sequence[int]) -> str:
    """Ids without repeats."""
    return ", ".join(map(str, dict.fromkeys(ids)))


def mounts(running: Running) -> Iterator[Finding]:
    """What is mounted where the contract has volumes."""
    contract, real = running.looked.contract, running.inside.get("paths") or {}
    mounted = {one["target"]: one for one in running.facts["mounts"]}
    for target, wanted in running.container.volumes.items():
        # Without the look inside: /var/run leads to /run in every common image.
        names = (target, real.get(target), re.sub(r"^/var/run(?=/|$)", "/run", target))
        found = next((mounted[name] for name in names if name in mounted), None)
        where: dict[str, Any] = {"path": target, "pod": running.facts["pod"], "command": running.looked.provision,
                                 "related": [running.declared("volumes", target)]}
        clause = f"volumes.{target}"
        if found is None:
            yield finding("NODE-34", clause, Layer.DEPLOYMENT, None, running.subject, expected=wanted.source,
                          actual="nothing", **where)
            continue
        if not right_source(contract, wanted, found, running.facts["namespace"]):
            yield finding("NODE-35", clause, Layer.DEPLOYMENT, None, running.subject,
                          expected=what_source(contract, wanted), actual=found["source"], **where)
        if found["read_only"] != wanted.read_only:
            yield finding("NODE-36", clause, Layer.DEPLOYMENT, None, running.subject,
                          expected="read-only" if wanted.read_only else "writable",
                          actual="read-only" if found["read_only"] else "writable", **where)


def right_source(contract: Contract, wanted: Mount, found: Facts, namespace: str) -> bool:
    """Whether a mount is of what the contract says. Of a kind that has no name of its own on the node, any is."""
    resource, source = contract.resources[wanted.source], f"{found['source']}"
    below = f"/{wanted.sub_path.strip('/')}" if wanted.sub_path else ""
    if resource.type == "claim" and resource.storage_class == "local-path":
        return source.endswith(f"_{namespace}_{resource.name}{below}")
    if resource.type == "hostPath":
        return source == f"{str(resource.params['path']).rstrip('/')}{below}"
    if resource.type == "emptyDir":
        return "kubernetes.io~empty-dir" in source or found["type"] == "tmpfs"
    return True


def what_source(contract: Contract, wanted: Mount) -> str:
    resource = contract.resources[wanted.source]
    return str(resource.params["path"]) if resource.type == "hostPath" else f"{resource.type} {resource.name}"


def writing(running: Running) -> Iterator[Finding]:
    """Every path of the contract can be written, and nothing else (fixed contract 4)."""
    contract = running.looked.contract
    own = {folder.path: f"paths.{folder.name}" for folder in contract.paths.values()} if running.mine else {}
    for path, found in (running.inside.get("writes") or {}).items():
        if found["ok"]:
            continue
        layer, hint, hint_ko, command = why_not_written(running, path, found["why"])
        yield finding("NODE-32", own.get(path, f"volumes.{path}"), layer, None, running.subject, expected="writable",
                      actual=found["why"], path=path, pod=running.facts["pod"], hint=hint, hint_ko=hint_ko,
                      command=command)
    for path, found in (running.inside.get("refusals") or {}).items():
        if not found["refused"]:
            yield finding("NODE-33", f"permissions.{running.container.name}.readOnlyRootFilesystem", Layer.DEPLOYMENT,
                          None, running.subject, expected="refused", actual="writable", path=path,
                          pod=running.facts["pod"], command=running.looked.provision)


def why_not_written(running: Running, path: str, why: str) -> tuple[Layer, str, str, str]:
    """Who has to mend a folder that cannot be written, what to do in both languages, and the command."""
    volumes = running.container.volumes
    target = next((one for one in volumes if under(path, [one])), path)
    resource = running.looked.contract.resources.get(volumes[target].source) if target in volumes else None
    source = next((one["source"] for one in running.facts["mounts"] if one["target"] == target), "")
    if why.startswith(("ENOSPC", "EDQUOT")):
        return Layer.NODE, "Make room on the node", "노드의 공간을 확보한다", f"df -h {source or '/'}"
    if why.startswith(("EACCES", "EPERM")) and resource and resource.type == "hostPath":
        wanted = (running.looked.contract.node.get("folders") or {}).get(resource.params["path"]) or {}
        found = running.looked.facts.get("folders", {}).get(resource.params["path"]) or {}
        # A folder that is as it has to be keeps only somebody out who runs with another id.
        if not wanted or any(found.get(key) != wanted[key] for key in ("uid", "gid", "mode")):
            uid, gid = wanted.get("uid", running.facts["uids"][1]), wanted.get("gid", running.facts["gids"][1])
            return (Layer.NODE, "Give the node's folder to the app", "노드 디렉토리 소유자를 앱 사용자로 변경한다",
                    f"sudo chown {uid}:{gid} {shlex.quote(source)}")
    if why.startswith("ENOENT"):
        return (Layer.APP, "The app has not made its folder; see its log",
                "앱이 디렉토리를 생성하지 않았다. 로그를 확인한다", running.logs)
    if why.startswith("EROFS") and running.looked.facts["storage"].get("why", "").endswith("read-only"):
        return (Layer.NODE, "The node's disk is read-only", "노드 디스크가 읽기 전용이다",
                f"findmnt -T {shlex.quote(source)}")
    return (Layer.DEPLOYMENT, "Put mount and fsGroup of the manifests back", "매니페스트의 마운트와 fsGroup을 복원한다",
            running.looked.provision)


def variables(running: Running) -> Iterator[Finding]:
    """Variables that the process really has. Of secret ones only that they are there is known here; an entry script may
    drop one after its use, so there it is enough that the container was given it."""
    contract, has = running.looked.contract, running.facts["environment"]
    paths = {folder.variable: folder for folder in contract.paths.values()} if running.mine else {}
    for variable in running.container.variables.values():
        folder = paths.get(variable.name)
        clause = f"paths.{folder.name}" if folder else (
            "ports.app" if running.mine and variable.name == contract.app.port_variable
            else f"environment.{variable.name}")
        sources = [source for source in variable.sources if source != "image"]
        source, layer = source_and_layer(running, sources)
        words: dict[str, Any] = {"variable": variable.name, "pod": running.facts["pod"], "source": source,
                                 "command": running.looked.provision,
                                 "related": [running.declared("variables", variable.name)]}
        if variable.name not in has:
            dropped = source.startswith("Secret ") and variable.name in running.facts.get("given", ())
            if not variable.optional and sources and not dropped:
                yield finding("NODE-37", clause, layer, None, running.subject, expected=source, actual="missing",
                              **words)
            continue
        value = has[variable.name]
        if value is None or any(one.startswith("Secret/") for one in variable.sources):
            continue
        expected = folder.path if folder else variable.expected
        right = posixpath.normpath(value) == posixpath.normpath(folder.path) if folder else variable.allows(value)
        if not right:
            yield finding("NODE-38", clause, layer, None, running.subject, expected=expected, actual=value, **words)


def source_and_layer(running: Running, sources: Sequence[str]) -> tuple[str, Layer]:
    """Where a variable comes from, in words, and whose it is to mend."""
    source = sources[0] if sources else "manifest"
    kind, _, name = source.partition("/")
    if kind in ("ConfigMap", "Secret"):
        return f"{kind} {running.facts['namespace']}/{name.partition('/')[0]}", Layer.CONFIG
    return f"{running.workload.kind} {running.facts['namespace']}/{running.workload.name}", Layer.DEPLOYMENT


def network(running: Running) -> Iterator[Finding]:
    """Names and addresses that the process has to reach."""
    inside, namespace = running.inside, running.facts["namespace"]
    unresolved = set()
    for name, found in (inside.get("names") or {}).items():
        if found["addresses"]:
            continue
        unresolved.add(name)
        right = any(host.value == name for host, _ in addresses(running.container))
        if not right:
            layer, hint, hint_ko, command = (Layer.CONFIG, "Correct the name of the host in the ConfigMap",
                                             "ConfigMap의 호스트 이름을 수정한다", running.looked.provision)
        elif found["why"] in ("NXDOMAIN", "no address"):
            layer, hint, hint_ko, command = (Layer.DEPLOYMENT, "Look whether the Service is there",
                                             "Service 존재 여부를 확인한다",
                                             f"kubectl get service -n {namespace} {name}")
        else:
            layer, hint, hint_ko, command = (Layer.CLUSTER, "Look whether the cluster's DNS runs",
                                             "클러스터 DNS 상태를 확인한다",
                                             "kubectl get pods -n kube-system -l k8s-app=kube-dns -o wide")
        yield finding("NODE-39", "ports.postgres", layer, None, running.subject, expected="an address",
                      actual=found["why"], name=name, pod=running.facts["pod"], hint=hint, hint_ko=hint_ko,
                      command=command)
    for address, found in (inside.get("connects") or {}).items():
        host = address.rpartition(":")[0]
        if found["ok"] or host in unresolved:
            continue
        layer, hint, hint_ko, command = (Layer.DEPLOYMENT, "Look whether anything is behind the Service",
                                         "Service의 엔드포인트를 확인한다",
                                         f"kubectl get endpointslices -n {namespace}")
        if not any(host == wanted.value and (port is None or address == f"{host}:{port.value}")
                   for wanted, port in addresses(running.container)):
            layer, hint, hint_ko = Layer.CONFIG, "Correct the address in the ConfigMap", "ConfigMap의 주소를 수정한다"
            command = running.looked.provision
        elif found["why"].startswith("EHOSTUNREACH") and running.looked.facts["firewall"].get("eaten"):
            layer, hint, hint_ko = Layer.NODE, "The node's firewall refuses it", "노드 방화벽이 거부한다"
            command = running.looked.provision
        yield finding("NODE-40", "ports.postgres", layer, None, running.subject, expected="a connection",
                      actual=found["why"], address=address, pod=running.facts["pod"], hint=hint, hint_ko=hint_ko,
                      command=command)


def health(running: Running) -> Iterator[Finding]:
    """Pages of the app, from inside (Step 3)."""
    for number, (path, found) in enumerate((running.inside.get("http") or {}).items()):
        if found["status"] == 200:
            continue
        said = f"{found['status']} {found['body']}".strip() if found["status"] else found["why"]
        # An app that cannot work with its database says so, and is not at fault.
        reached = all(one["ok"] for one in (running.inside.get("connects") or {}).values()) and all(
            one.inside["postgres"]["ready"] for one in running.looked.running() if "postgres" in one.inside)
        # The first route says that the app lives; the others that it can work.
        yield finding("NODE-41", f"ports.app{path}", Layer.APP if reached else Layer.DEPLOYMENT, None,
                      running.subject, expected=200, actual=said[:BODY_CHARACTERS], path=path,
                      pod=running.facts["pod"], command=running.logs,
                      severity=Severity.HIGH if number else None)


def database(running: Running) -> Iterator[Finding]:
    """PostgreSQL, from inside (Step 6)."""
    found = running.inside.get("postgres")
    if not found:
        return
    if not found["ready"]:
        yield finding("NODE-42", "ports.postgres", Layer.DEPLOYMENT, None, running.subject, expected="ready",
                      actual=found["why"], pod=running.facts["pod"], command=running.logs)
    elif found["recovery"]:
        yield finding("NODE-43", "ports.postgres", Layer.DEPLOYMENT, None, running.subject, expected="writable",
                      actual="in recovery", pod=running.facts["pod"], command=running.logs)
