"""From what is seen to what is at fault: seed 000 part 6, walked in its order.

Rules look at facts and name candidates. One that another explains is its symptom and not a fault of its own: a full
disk explains a PostgreSQL that ends again and again, and that one an app that is not ready. What nothing explains is a
root cause; there may be several. Works with whatever part of the facts is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from ..checks.subject import finding, text
from ..classes import dataclass
from ..codes import sentence
from ..facts import KubeObject, ManifestFacts
from ..model import Finding, Kind, Layer, Place, Report
from ..spec import Container, Contract, Resource, Workload
from .cluster import NETWORK, STUCK_SECONDS, VALUES
from .node import CLOCK_SECONDS, EVICTION, that_count
from .seen import ENDED, Live, replaced, went_down
from .wording import moment

Facts = Mapping[str, Any]
Key = tuple[str, ...]

LITTLE_BYTES = 32 * 1024 * 1024
"""With less than two segments of PostgreSQL's log a disk is full."""

STORAGE = "/opt/local-path-provisioner"
PROVISIONER = "local-path-provisioner"
EVIDENCE_LINES = 4
EVIDENCE_CHARACTERS = 240
NOT_ALLOWED = re.compile(
    r"unauthorized|authoriz|\b40[13]\b|denied|no basic auth|insufficient_scope|authentication required", re.IGNORECASE)
NOT_THERE = re.compile(r"not found|manifest unknown|no such", re.IGNORECASE)
NOISE = re.compile(r'rpc error: code = \w+ desc = |failed to pull and unpack image "[^"]*": |'
                   r'failed to resolve reference "[^"]*": |Back-off pulling image "[^"]*": |ErrImagePull: ')
LOGIN = re.compile(r"password authentication failed|InvalidPassword|InvalidAuthorization|"
                   r"role \"[^\"]*\" does not exist")
TELLING = re.compile(r"\b(FATAL|PANIC|CRITICAL|ERROR|panic|Traceback|\w*(Error|Exception))\b")
BAD = re.compile(r"level=(error|fatal)|\b[EF]\d{4} \d\d:|\b(panic|fatal|expired|refuse[ds]?)\b", re.IGNORECASE)
"""Lines of K3s' log that tell more than that it is busy."""

DENIED = re.compile(r"ermission denied|EACCES|EPERM|cannot (write|read)", re.IGNORECASE)
NO_SPACE = re.compile(r"no space left|ENOSPC", re.IGNORECASE)
BROKEN_DISK = re.compile(r"input/output error|\bEIO\b|read-only file system|\bEROFS\b|structure needs cleaning",
                         re.IGNORECASE)
"""What programs are told by a disk that fails, and by the kernel that lets nobody write to it any more."""

GIVEN = re.compile(rf"{VALUES.pattern}|required|missing|invalid|config|setting|environment|key|secret|"
                   r"password|credential|token|login|auth", re.IGNORECASE)
"""Words of a program that misses or refuses what it was given."""

REACH = re.compile(rf"{NETWORK.pattern}|name or service not known|name resolution|timed? ?out|no answer|connect",
                   re.IGNORECASE)
PATH = re.compile(r"(/[\w./-]+)")

WITHHELD = "logs, pages and messages"
"""What the collector does not tell where it does not know what in it is secret."""

NOT_ASKED = {"jsonl"}
"""What the collector on the node tells and no rule here looks at."""


class Stage(StrEnum):
    """The steps of seed 000, 6.1."""

    APP = "app"
    CONTAINER = "container"
    RENDERING = "rendering"
    CLUSTER = "cluster"


STAGES = {
    **dict.fromkeys(("FAULT-21", "FAULT-24"), Stage.APP),
    **dict.fromkeys(("FAULT-19", "FAULT-20", "FAULT-25", "FAULT-26", "FAULT-29"), Stage.CONTAINER),
    **dict.fromkeys(("FAULT-27", "FAULT-28", "FAULT-31", "FAULT-32", "FAULT-33"), Stage.RENDERING),
}
"""The step at which a code shows; the others show in the last one."""

CREATING = ("ContainerCreating", "PodInitializing", "")
"""What a container waits for that nothing is wrong with."""

BY_THE_NODE = {"Evicted", "Terminated", "NodeShutdown", "NodeLost", "Shutdown"}
"""Reasons of pods that have ended by what happened to their node."""

LISTS = {
    Stage.APP: {"pods", "events", WITHHELD}, Stage.CONTAINER: {"pods", "Secrets", "ConfigMaps"},
    Stage.RENDERING: {"services", "endpoints", "ConfigMaps", "deployments", "statefulsets", "daemonsets"},
}
"""Lists of the cluster without which nothing can be said of a step. The last one needs all."""

RESTORE = {
    "en": "Git has it right ({place}), so it was changed on the cluster: `ansible-playbook site.yml -i {inventory}` "
          "puts it back.",
    "ko": "Git({place})은 올바르며 클러스터에서 변경되었다: `ansible-playbook site.yml -i {inventory}`로 복구한다.",
}


@dataclass(frozen=True)
class Step:
    """A step of the walk: what was looked at, whether a fault shows there, and what was seen.

    ``verdict`` is ``well``, ``fault``, ``symptom`` (something shows, and its cause is elsewhere) or ``unknown``
    (nothing shows, and not all of it could be looked at).
    """

    stage: Stage
    verdict: str
    looked_at: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """A root cause. ``command`` is typed on ``host``; it looks and changes nothing. ``remedy`` is by language."""

    finding: Finding
    host: str
    command: str
    evidence: tuple[str, ...]
    symptoms: tuple[Finding, ...]
    remedy: Mapping[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """``notes`` are failures of others that are no fault of ours (seed 001, overall conclusion); ``deviations`` counts
    violations of the contract, in what runs and in git: without a fault they break nothing now."""

    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    notes: tuple[Finding, ...] = ()
    deviations: int = 0

    @property
    def well(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class Candidate:
    """What may be a fault. ``because``: beginnings of keys of what would explain it."""

    key: Key
    finding: Finding
    host: str
    command: str
    evidence: tuple[str, ...] = ()
    because: tuple[Key, ...] = ()
    git_is_right: bool = False


def diagnose(
    contract: Contract, live: Facts, findings: Sequence[Finding] = (), manifests: ManifestFacts | None = None,
    static_report: Report | None = None, inventory: str = "inventories/<env>",
) -> Diagnosis:
    """Find the root causes.

    :param live: ``nodes`` (NodeFacts by host), ``cluster`` (ClusterFacts, or None), ``server`` (the host that those are
        from), and by host why there is nothing: ``unreachable``, ``failed``.
    :param findings: of the checks of what runs; of those only external ones and their number are taken over.
    :param manifests: what should run; with it a fault says whether git or the cluster has to be mended, and where.
    :param static_report: of the manifests, for the step of the rendering.
    :param inventory: as it stands in commands.
    """
    look = Look(contract, live, manifests, inventory)
    candidates = unique(look.candidates())
    roots, symptoms = explained(candidates)
    faults = tuple(Fault(
        one.finding, one.host, one.command, one.evidence, tuple(other.finding for other in symptoms.get(one.key, ())),
        remedy_of(one, inventory)) for one in roots)
    return Diagnosis(
        steps(look, faults, static_report), faults,
        tuple(one for one in findings if one.kind is Kind.EXTERNAL),
        len(violations([*findings, *(static_report.findings if static_report else ())])))


def unique(candidates: Iterator[Candidate]) -> list[Candidate]:
    """The first of each key. What several pods of a workload suffer from alike is told of the first."""
    found: dict[Key, Candidate] = {}
    alike: dict[tuple[str, ...], Key] = {}
    for one in candidates:
        if one.key in found:
            continue
        if one.key[0] in ("pod", "unready"):
            # Numbers are times, and parts of names.
            said = (one.finding.code, *one.key[:2], re.sub(r"\d+", "", one.finding.values.get("why", "")))
            first = alike.setdefault(said, one.key)
            one = one if first == one.key else replace(one, because=(*one.because, first))
        found[one.key] = one
    return list(found.values())


def explained(candidates: Sequence[Candidate]) -> tuple[list[Candidate], dict[Key, list[Candidate]]]:
    """Root causes, in the order of the rules (what lies deepest first), and the symptoms of each."""
    causes = {one.key: next((
        other.key for wanted in one.because for other in candidates
        if other is not one and other.key[:len(wanted)] == wanted), None) for one in candidates}

    order = [one.key for one in candidates]

    def root(key: Key) -> Key:
        way = [key]
        while (above := causes[way[-1]]) is not None:
            if above in way:  # they explain each other: one of them is told of all the same
                return min(way[way.index(above):], key=order.index)
            way.append(above)
        return way[-1]

    roots = [one for one in candidates if root(one.key) == one.key]
    symptoms: dict[Key, list[Candidate]] = {}
    for one in candidates:
        if root(one.key) != one.key:
            symptoms.setdefault(root(one.key), []).append(one)
    return roots, symptoms


def remedy_of(one: Candidate, inventory: str) -> dict[str, str]:
    """What to do, by language."""
    if one.git_is_right:
        return {language: words.format(place=one.finding.place, inventory=inventory)
                for language, words in RESTORE.items()}
    return {language: sentence(one.finding, "remedy", language) for language in ("en", "ko")}


def violations(findings: Sequence[Finding]) -> list[Finding]:
    return [one for one in findings if one.kind is Kind.VIOLATION and not one.waiver]


def stage_of(one: Finding) -> Stage:
    return STAGES.get(one.code, Stage.CLUSTER)


def steps(look: Look, faults: Sequence[Fault], static_report: Report | None) -> tuple[Step, ...]:
    """The walk in its order."""
    found = []
    for stage in Stage:
        mine = [one for one in faults if stage_of(one.finding) is stage and one.finding.kind is not Kind.UNCHECKED]
        shows = any(stage_of(symptom) is stage for one in faults for symptom in one.symptoms
                    if symptom.kind is not Kind.UNCHECKED)
        # An app that does not run says nothing itself.
        shows = shows or (stage is Stage.APP and bool(faults) and look.app_is_down)
        looked, known = look.looked_at(stage, static_report)
        verdict = "fault" if mine else "symptom" if shows else "well" if known else "unknown"
        found.append(Step(stage, verdict, tuple(looked), tuple(
            line for one in mine for line in (sentence(one.finding, "message", "en"), *one.evidence[:1]))))
    return tuple(found)


class Look:
    """The facts, and the rules."""

    def __init__(self, contract: Contract, live: Facts, manifests: ManifestFacts | None, inventory: str) -> None:
        self.contract = contract
        self.inventory = inventory
        self.nodes: Facts = live.get("nodes") or {}
        self.unreachable: Facts = live.get("unreachable") or {}
        self.failed: Facts = live.get("failed") or {}
        self.cluster: Facts = live.get("cluster") or {}
        self.api: bool = bool((self.cluster.get("api") or {}).get("answers"))
        environment = live.get("environment")
        self.namespace = str(self.cluster.get("namespace") or getattr(environment, "namespace", "") or "default")
        self.host = str(live.get("server") or next(iter(self.nodes), next(iter(self.unreachable), "")))
        self.manifests = manifests
        self.databases = Live(contract, {}).databases
        # What the API server does not know is not there: that was read.
        self.unread: Facts = {one["about"]: one["why"] for one in self.cluster.get("errors") or ()
                              if one.get("kind") != "missing" and one["about"] not in NOT_ASKED}
        self.there = [pod for pod in self.cluster.get("pods") or () if pod["namespace"] == self.namespace]
        self.pods = [pod for pod in self.there if not pod.get("deleted")
                     and not replaced(pod, self.there, self.cluster.get("workloads") or ())]
        self.processes = {one["id"]: one for node in self.nodes.values() for one in node.get("containers") or ()}
        self.workloads = {(one["kind"], one["name"]): one for one in self.cluster.get("workloads") or ()}

    # --- small questions ------------------------------------------------------------------------

    def read(self, *lists: str) -> bool:
        """Whether the cluster was read so far that what is not among the facts is not there."""
        return not self.unread.keys() & set(lists)

    def unknown(self, message: str) -> tuple[Key, ...]:
        """The key of what could not be read, when a message is about something of that, or was not told."""
        lists = {"secret": "Secrets", "configmap": "ConfigMaps", "persistentvolumeclaim": "claims"}
        withheld = not message.strip() and not self.read(WITHHELD)
        return (("unread", "(cluster)"),) if withheld or any(
            word in message.lower() and not self.read(name) for word, name in lists.items()) else ()

    def errors(self, host: str) -> dict[str, str]:
        """What could not be looked at on a node, and why."""
        node = self.nodes.get(host) or {}
        found = {str(one["about"]): str(one["why"]) for one in node.get("errors") or ()}
        if None in ((node.get("firewall") or {}).get("lets_pods_through") or {}).values() and not any(
                re.search("iptables|firewall|nft", about) for about in found):
            found["firewall"] = "nothing tells whether it lets pods through"
        return found

    def host_of(self, node: str) -> str:
        """The host that a node of the cluster is; empty when it is not known."""
        names = {str((facts.get("k3s") or {}).get("node_name") or ""): host for host, facts in self.nodes.items()}
        if node in names:
            return names[node]
        alone = len(names) == 1 == len(self.cluster.get("nodes") or ()) and not (self.unreachable or self.failed)
        return next(iter(names.values())) if alone else ""

    def disk_of(self, pod: Facts, message: str) -> list[Key]:
        """The disk of a pod's host, when a message speaks of it."""
        return [self.on("disk", pod)] if NO_SPACE.search(message) or BROKEN_DISK.search(message) else []

    def node_of(self, host: str) -> Facts:
        """The node of the cluster that a host is."""
        return next((one for one in self.cluster.get("nodes") or () if self.host_of(one["name"]) == host), {})

    @property
    def app_is_down(self) -> bool:
        """Whether no pod of the app is ready."""
        return self.api and self.read("pods") and not any(
            pod["ready"] for pod in self.workload_pods(self.contract.app_workload))

    @staticmethod
    def its_node(pod: Facts) -> Key:
        return ("node", pod["node"]) if pod.get("node") else ("node",)

    def on(self, kind: str, pod: Facts) -> Key:
        """The key of what a pod's host has, such as a disk; that of any host when its own is not known."""
        host = self.host_of(str(pod.get("node") or ""))
        return (kind, host) if host else (kind,)

    def kubectl(self, line: str) -> str:
        return f"sudo kubectl -n {self.namespace} {line}"

    def declared(self, kind: str, name: str) -> KubeObject | None:
        """What git says of an object."""
        return next((one for one in self.manifests.objects if one.kind == kind and one.name == name),
                    None) if self.manifests else None

    def in_git(self, kind: str, name: str, path: tuple[str | int, ...], expected: object) -> tuple[Place | None, bool]:
        """The line that decides a field, and whether git has the right value there."""
        item = self.declared(kind, name)
        if item is None:
            return None, False
        value = item.get(*path)
        return item.locate(path), expected is not None and text(value) == text(expected)

    def events(self, kind: str, name: str) -> list[str]:
        """Warnings about an object, the newest first."""
        return [f"{one['reason']}: {one['message']}" for one in self.cluster.get("events") or ()
                if one["kind"] == kind and one["name"] == name and one["type"] == "Warning"]

    def workload_pods(self, workload: Workload) -> list[Facts]:
        wanted = f"{workload.kind}/{workload.name}"
        return [pod for pod in self.pods if pod.get("workload") == wanted and pod.get("phase") not in ENDED]

    def inside(self, container: Facts) -> Facts:
        process: Facts = self.processes.get(container["id"]) or {}
        return process.get("inside") or {}

    def make(self, code: str, clause: str, layer: Layer, place: Place | None, subject: str, command: str,
             **values: object) -> Finding:
        return finding(code, clause, layer, place, subject, **{
            "command": command, "inventory": self.inventory, "namespace": self.namespace, **values})  # type: ignore[arg-type]

    # --- the rules, what lies deepest first -----------------------------------------------------

    def candidates(self) -> Iterator[Candidate]:
        yield from self.machines()
        for host, node in self.nodes.items():
            yield from self.disk(host, node)
            yield from self.certificates(host, node)
            yield from self.k3s(host, node)
            yield from self.firewall(host, node)
            yield from self.folders(host, node)
        yield from self.disk_that_others_speak_of()
        yield from self.api_server()
        if self.api:
            yield from self.ready_nodes()
            yield from self.system()
            yield from self.space()
        yield from self.not_looked_at()
        yield from self.not_read()

    def space(self) -> Iterator[Candidate]:
        """The namespace and what is in it."""
        phase = self.cluster.get("namespace_phase")
        if phase not in ("Active", None):
            command = f"sudo kubectl get namespace {self.namespace}"
            actual = phase or "missing"
            yield Candidate(("namespace",), self.make(
                "FAULT-33", "cluster.namespace", Layer.DEPLOYMENT, None, f"Namespace {self.namespace}", command,
                actual=actual), self.host, command, (f"Namespace {self.namespace}: {actual}",))
            return
        yield from self.secrets()
        if self.read("ConfigMaps"):
            yield from self.settings()
        yield from self.claims()
        yield from self.missing_workloads()
        yield from self.services()
        yield from self.contexts()
        for pod in self.pods:
            yield from self.pod(pod)
        yield from self.connections()
        yield from self.pages()

    def machines(self) -> Iterator[Candidate]:
        for host, why in self.unreachable.items():
            command = f"ansible -i {self.inventory} -m ping {host}"
            yield Candidate(("machine", host), self.make(
                "FAULT-01", "node.ssh", Layer.NODE, None, host, command, why=short(why)), "", command, (short(why),))

    def disk(self, host: str, node: Facts) -> Iterator[Candidate]:
        storage = node.get("storage") or {}
        path = str(storage.get("path") or STORAGE)
        # The same file system may be mounted twice.
        carrying = [one for one in node.get("disks") or ()
                    if one.get("carries", True) and one.get("filesystem") != "tmpfs"]
        others = [one for one in carrying if one["mount"] != storage.get("mount")
                  and (one.get("bytes"), one.get("free")) != (storage.get("bytes"), storage.get("free"))]
        # The kubelet stops taking pods, and ends some, long before nothing is left.
        pressed = "DiskPressure" in (self.node_of(host).get("pressures") or ())
        places = [(path, storage.get("mount"), storage), *((one["mount"], one["mount"], one) for one in others)]
        for name, mount, one in places:
            free, total = one.get("free"), one.get("bytes")
            inodes, of = one.get("inodes_free"), one.get("inodes")
            full = free is not None and total and free < min(LITTLE_BYTES, total // 10)
            no_inodes = bool(of) and inodes is not None and inodes < max(10, of // 1000)
            low = pressed and free is not None and total and free < total * EVICTION
            few = pressed and inodes is not None and of and inodes < of * EVICTION
            if not (full or no_inodes or low or few):
                continue
            left = f"{free // 1024} KiB" if full and free is not None else f"{inodes} inodes"
            if low and free is not None and not (full or no_inodes):
                left = f"{free // 1024 ** 2} MiB ({free / total:.1%})"
            command = f"df -h {mount or name}; sudo du -xh -d1 {name} | sort -h | tail"
            seen = (f"{name} on {mount}: {left} free of {(total or 0) // 1024 ** 2} MiB ({one.get('filesystem', '')})",)
            yield Candidate(("disk", host, name), self.make(
                "FAULT-05", "node.disk", Layer.NODE, None, f"{name} on {host}", command, actual=left), host, command,
                seen)

        yield from self.broken_disk(host, node, [path, *(one["mount"] for one in carrying)])

    def broken_disk(self, host: str, node: Facts, places: Sequence[str]) -> Iterator[Candidate]:
        """File systems that nobody may write to, and those that give errors."""
        storage = node.get("storage") or {}
        whys = {str(one["mount"]): f"{one['mount']} is mounted read-only" for one in node.get("disks") or ()
                if one.get("read_only") and one["mount"] in places}
        if "read-only" in str(storage.get("why")) and not whys:
            whys[places[0]] = str(storage["why"])
        whys |= {about: why for about, why in self.errors(host).items() if BROKEN_DISK.search(why)}
        for name, why in whys.items():
            command = "sudo journalctl -k -p warning -n 20 --no-pager"
            yield Candidate(("disk", host, name), self.make(
                "FAULT-36", "node.disk", Layer.NODE, None, f"{name} on {host}", command, why=short(why)), host, command,
                (short(why),))

    def disk_that_others_speak_of(self) -> Iterator[Candidate]:
        """Where nobody could look at the disk itself."""
        line = next((line for pod in self.pods if pod.get("phase") not in ENDED
                     for one in pod["containers"] for line in one.get("log") or ()
                     if NO_SPACE.search(line) and not pod["ready"]), "")
        if line and not any(node.get("storage") for node in self.nodes.values()):
            command = f"df -h {STORAGE}"
            yield Candidate(("disk", self.host, STORAGE), self.make(
                "FAULT-05", "node.disk", Layer.NODE, None, f"the disk of the volumes on {self.host}", command,
                actual="nothing"), self.host, command, (short(said(line)),))

    def certificates(self, host: str, node: Facts) -> Iterator[Candidate]:
        now = float(node.get("now") or 0)
        # First those that everybody meets.
        over = sorted((one for one in that_count(node.get("certificates") or ()) if not valid(one, now)),
                      key=lambda one: (not one.get("served"), "/serving-" not in one["file"], one["file"]))
        if over:
            # The file that is served tells more than the port.
            first = next((one for one in over if not one.get("served") and "serving-kube-apiserver" in one["file"]),
                         over[0])
            command = f"sudo openssl x509 -noout -subject -enddate -in {first['file']}"
            if first.get("served"):
                command = (f"openssl s_client -connect {first['file']} </dev/null 2>/dev/null"
                           " | openssl x509 -noout -enddate")
            # By the controller's clock they may all be valid: then it is the node's that is wrong.
            right = float(node.get("clock_reference") or now)
            moved = abs(now - right) > CLOCK_SECONDS and all(valid(one, right) for one in over)
            clause, layer, seen = "cluster.certificates", Layer.CLUSTER, list[str]()
            if moved:
                clause, layer, command = "node.clock", Layer.NODE, "timedatectl"
                seen = [f"the clock of {host} says {moment(now)}; on the controller it is {moment(right)}"]
            yield Candidate(("certificate", host), self.make(
                "FAULT-03", clause, layer, None, f"{first['file']} on {host}", command, actual=span(first),
                now=moment(now), unit=unit_of(node)), host, command,
                (*seen, *(f"{one['file']} ({one.get('subject', '')}): {span(one)}" for one in over)))

    def k3s(self, host: str, node: Facts) -> Iterator[Candidate]:
        k3s = node.get("k3s") or {}
        if not k3s or (k3s.get("active") == "active" and k3s.get("sub") == "running"):
            return
        if not k3s.get("active") and {"K3s", "systemctl show k3s"} & self.errors(host).keys():
            return  # nobody told what it is like
        unit = unit_of(node)
        state = f"{k3s.get('active') or 'unknown'} ({k3s.get('sub')})" if k3s.get("installed") else "not installed"
        command = f"sudo journalctl -u {unit} -n 30 --no-pager"
        log = tail([line for line in k3s.get("log") or () if BAD.search(line)])
        because: list[Key] = [("machine", host)]
        if any(NO_SPACE.search(line) for line in log):
            because.append(("disk", host))
        if any("expired" in line for line in log):
            because.append(("certificate", host))
        if k3s.get("role") == "agent" and k3s.get("active") != "inactive":
            # It was not stopped by hand: it ends, or waits, for as long as it does not reach its server.
            because += [(kind, self.host) for kind in ("machine", "k3s", "certificate", "api")]
            because.append(("firewall", self.host, "input"))
        yield Candidate(("k3s", host), self.make(
            "FAULT-02", "cluster.k3s", Layer.CLUSTER, None, f"{unit}.service on {host}", command, actual=state,
            unit=unit),
            host, command, (f"{unit}.service: {state}, {k3s.get('enabled') or 'not enabled'}", *log), tuple(because))

    def firewall(self, host: str, node: Facts) -> Iterator[Candidate]:
        firewall = node.get("firewall") or {}
        lets = firewall.get("lets_pods_through") or {}
        for way in dict.fromkeys(("forward", "input", *lets)):
            if lets.get(way) is not False:
                continue
            eaten = [one for one in firewall.get("eaten") or () if one.get("way", way) == way]
            chain = str(eaten[0]["chain"]) if eaten else way.upper()
            table = str(eaten[0].get("table") or "filter") if eaten else "filter"
            rule = str(eaten[0].get("rule") or "its policy") if eaten else ", ".join(firewall.get("rejects") or ())
            iptables = str(eaten[0].get("program") or "iptables") if eaten else "iptables"
            command = f"sudo {iptables} -t {table} -nvL {chain} --line-numbers"
            undo = f"`sudo {iptables} -t {table} -D {rule[3:]}`" if rule.startswith("-A ") else "see the command"
            yield Candidate(("firewall", host, way), self.make(
                "FAULT-06", "node.firewall", Layer.NODE, None, f"{iptables} {chain} on {host}", command, rule=rule,
                undo=undo),
                host, command, tuple(f"{one['journey']}: ends at {one['table']} {one['chain']} {one['rule']}"
                                     for one in eaten[:EVIDENCE_LINES]) or (rule,))
        if firewall and firewall.get("ip_forward") is False:
            command = "sysctl net.ipv4.ip_forward"
            yield Candidate(("firewall", host, "off"), self.make(
                "FAULT-06", "node.firewall", Layer.NODE, None, f"net.ipv4.ip_forward on {host}", command,
                rule="it is 0",
                undo="`sudo sysctl -w net.ipv4.ip_forward=1`"), host, command, ("net.ipv4.ip_forward = 0",))

    def folders(self, host: str, node: Facts) -> Iterator[Candidate]:
        role = (node.get("k3s") or {}).get("role")
        if role == "agent" or (role != "server" and host != self.host):
            return  # made where Observer is declared to run, on the server
        seen = node.get("folders") or {}
        for path, wanted in (self.contract.node.get("folders") or {}).items():
            if path not in seen:
                continue
            one = seen[path]
            expected = f"{wanted['uid']}:{wanted['gid']} {wanted['mode']}"
            if one.get("exists") and one.get("type") == "dir":
                actual = f"{one['uid']}:{one['gid']} {str(one['mode']).rjust(4, '0')}"
                mend = f"`sudo chown {wanted['uid']}:{wanted['gid']} {path} && sudo chmod {wanted['mode']} {path}`"
            else:
                actual = "not a folder" if one.get("exists") else "not there"
                mend = f"`ansible-playbook site.yml -i {self.inventory} --tags config_dir`"
            if actual != expected:
                command = f"stat -c '%u:%g %a %F' {path}" if one.get("exists") else f"ls -ld {path.rpartition('/')[0]}"
                yield Candidate(("folder", path), self.make(
                    "FAULT-07", f"node.folders.{path}", Layer.NODE, None, f"{path} on {host}", command,
                    expected=expected, actual=actual, mend=mend), host, command, (f"{path}: {actual}",),
                    # What a disk that fails does not show is not gone.
                    () if one.get("exists") else (("disk", host),))

    def api_server(self) -> Iterator[Candidate]:
        whys = {host: str(((node.get("k3s") or {}).get("api") or {}).get("why") or "")
                for host, node in self.nodes.items()
                if (node.get("k3s") or {}).get("role") == "server"
                and ((node.get("k3s") or {}).get("api") or {}).get("answers") is False}
        if self.cluster and not self.api:
            whys.setdefault(self.host, str((self.cluster.get("api") or {}).get("why") or ""))
        for host, why in whys.items():
            command = "sudo journalctl -u k3s -n 30 --no-pager"
            lines = (self.nodes.get(host, {}).get("k3s") or {}).get("log") or ()
            log = tail([line for line in lines if BAD.search(line)])
            if over := re.search(r"expired(?: on (.+? UTC))?|not valid before (.+? UTC)", why):
                yield Candidate(("certificate", host), self.make(
                    "FAULT-03", "cluster.certificates", Layer.CLUSTER, None, f"the API's certificate on {host}",
                    "curl -sv https://127.0.0.1:6443 2>&1 | grep expire",
                    actual=f"{over[2] or '?'} .. {over[1] or '?'}", now=moment(self.cluster.get("now")),
                    unit="k3s"), host,
                    "curl -sv https://127.0.0.1:6443 2>&1 | grep expire", (why,))
            yield Candidate(("api", host), self.make(
                "FAULT-04", "cluster.api", Layer.CLUSTER, None, host, command, why=short(why)), host, command,
                (short(why), *log),
                (("k3s", host), ("certificate", host), ("machine", host), ("disk", host),
                 ("firewall", host, "input")))

    def ready_nodes(self) -> Iterator[Candidate]:
        for node in self.cluster.get("nodes") or ():
            pressures = ", ".join(node.get("pressures") or ())
            if node["ready"] and not pressures:
                continue
            command = f"sudo kubectl describe node {node['name']}"
            why = short((not node["ready"] and node.get("why")) or pressures or "it does not say why")
            # Of a machine that could not be looked at nobody knows which node it is.
            host = self.host_of(node["name"])
            kinds = ["disk"] if node["ready"] else ["disk", "k3s", "machine", "certificate"]
            because = [(kind, host) if host else (kind,) for kind in kinds
                       if kind != "disk" or "DiskPressure" in pressures or (host and not node["ready"])]
            if not node["ready"] and host != self.host:  # what is between it and the API
                because += [("firewall", host), ("firewall", self.host)]
            yield Candidate(("node", node["name"]), self.make(
                "FAULT-08", "cluster.node", Layer.NODE if node["ready"] else Layer.CLUSTER, None,
                f"Node {node['name']}", command, why=why), self.host, command, (f"Node {node['name']}: {why}",),
                tuple(because))

    def system(self) -> Iterator[Candidate]:
        """The provisioner, the controller that opens secrets, and the names."""
        every = [pod for pod in self.cluster.get("pods") or () if not pod.get("deleted")]

        def ready(namespace: str, label: str = "") -> bool:
            name, _, value = label.partition("=")
            return any(pod["ready"] for pod in every if pod["namespace"] == namespace
                       and (not label or pod["labels"].get(name) == value))

        for key, code, namespace, label, name in (
            (("provisioner",), "FAULT-10", "kube-system", f"app={PROVISIONER}",
             f"Deployment kube-system/{PROVISIONER}"),
            (("sealer",), "FAULT-12", "sealed-secrets", "", "sealed-secrets"),
            (("names",), "FAULT-13", "kube-system", "k8s-app=kube-dns", "Deployment kube-system/coredns"),
        ):
            if ready(namespace, label) or not self.read("pods"):
                continue
            command = f"sudo kubectl -n {namespace} get deployments,pods -o wide"
            mine = [pod for pod in every if pod["namespace"] == namespace
                    and (not label or pod["labels"].get(label.partition("=")[0]) == label.partition("=")[2])]
            states = [f"pod {pod['name']}: {pod['phase']}" for pod in mine]
            yield Candidate(key, self.make(code, "cluster.pods", Layer.CLUSTER, None, name, command), self.host,
                            command, tuple(states) or (f"{namespace}: no such pod",),
                            (*map(self.its_node, mine), *(self.on(kind, pod) for pod in mine for kind in (
                                "machine", "k3s", *(("disk",) if self.speaks_of_disk(pod) else ()))),
                             *((("firewall",),) if states else ())))

    def speaks_of_disk(self, pod: Facts) -> bool:
        """Whether a pod says that a disk is what it suffers from."""
        said = [str(pod.get("reason")), str(pod.get("message")), *self.events("Pod", pod["name"])]
        for one in pod["containers"]:
            said += [one["message"], one["last"]["message"], *one.get("log", ())]
        return any(re.search("Evicted|disk", line) or self.disk_of(pod, line) for line in said)

    def secrets(self) -> Iterator[Candidate]:
        sealed = self.cluster.get("sealed_secrets") or {}
        there = self.cluster.get("secrets") or {}
        for name, one in sealed.items():
            refused = one.get("synced") is False
            if refused or (one.get("synced") is None and name not in there and self.read("Secrets")):
                command = self.kubectl(f"describe sealedsecret {name}")
                item = self.declared("SealedSecret", name) if refused else None
                place = item.locate(("spec", "encryptedData")) if item else None
                why = short(one.get("why") or "") if refused else "the controller has not looked at it"
                yield Candidate(("sealed", name), self.make(
                    "FAULT-14", f"secrets.{name}", Layer.CONFIG if refused else Layer.CLUSTER, place,
                    f"SealedSecret {self.namespace}/{name}", command, why=why), self.host,
                    command, (f"SealedSecret {name}: {why}",), (("sealer",),))
        for name, wanted in self.contract.secrets.items():
            found = there.get(name) or {}
            missing = [key for key in wanted.required
                       if key not in found.get("keys", ()) or key in found.get("empty", ())]
            if not missing or not self.read("Secrets"):
                continue
            whole = name not in there
            command = self.kubectl("get sealedsecrets,secrets")
            yield Candidate(("secret", name), self.make(
                "FAULT-15", f"secrets.{name}", Layer.CONFIG, None, f"Secret {self.namespace}/{name}", command,
                actual=", ".join(missing)), self.host, command,
                (f"Secret {name} {'is not there' if whole else 'has ' + ', '.join(there[name]['keys'])}",),
                (("sealed", name), *((("sealer",),) if whole else ())))

    def settings(self) -> Iterator[Candidate]:
        maps = self.cluster.get("config_maps") or {}
        paths = {folder.variable: folder.path for folder in self.contract.paths.values()}
        missing: dict[tuple[str, str, str], list[str]] = {}
        for workload, container in self.contract.containers():
            for variable in container.variables.values():
                source = next((one.partition("/")[2] for one in variable.sources if one.startswith("ConfigMap/")), "")
                if not source:
                    continue
                value = (maps.get(source) or {}).get(variable.name)
                if value is None:
                    if not variable.optional and len(variable.sources) == 1:
                        missing.setdefault((source, workload.name, container.name), []).append(variable.name)
                    continue
                expected = paths.get(variable.name) or variable.expected
                if expected and not (value == expected if variable.name in paths else variable.allows(value)):
                    yield self.setting(source, variable.name, value, expected)
        for (source, workload_name, container_name), names in missing.items():
            command = self.kubectl(f"get configmap {source} -o yaml")
            place, right = self.in_git("ConfigMap", source, ("data", names[0]), None)
            item = self.declared("ConfigMap", source)
            right = item is not None and all(item.get("data", name) is not None for name in names)
            yield Candidate(("variable", workload_name, source), self.make(
                "FAULT-19", f"environment.{names[0]}", Layer.CONFIG, place, f"ConfigMap {self.namespace}/{source}",
                command, actual=", ".join(names), container=container_name,
                where=place or f"ConfigMap {source}"), self.host, command,
                (f"ConfigMap {source} {'is not there' if source not in maps else 'has no ' + ', '.join(names)}",),
                git_is_right=right)

    def setting(self, source: str, variable: str, value: str, expected: str) -> Candidate:
        database = variable in {"DB_HOST", "DB_PORT"}
        command = self.kubectl(f"get configmap {source} -o jsonpath='{{.data.{variable}}}{{\"\\n\"}}'")
        item = self.declared("ConfigMap", source)
        place = item.locate(("data", variable)) if item else None
        right = item is not None and text(item.get("data", variable)) != value
        return Candidate(("database-address" if database else "setting", variable), self.make(
            "FAULT-27" if database else "FAULT-28", f"environment.{variable}", Layer.CONFIG, place,
            f"ConfigMap {self.namespace}/{source}", command, variable=variable, expected=expected, actual=value,
            where=place or f"ConfigMap {source}"), self.host, command, (f"ConfigMap {source}: {variable}={value}",),
            git_is_right=right)

    def claims(self) -> Iterator[Candidate]:
        classes = {one["name"] for one in self.cluster.get("storage_classes") or ()}
        gone = {one["claim"]: one for one in self.cluster.get("volumes") or () if one.get("folder") is False}
        used = {name for pod in self.pods for name in pod.get("claims") or ()}
        there = {one["name"] for one in self.cluster.get("claims") or ()}
        for one in self.cluster.get("claims") or ():
            name = one["name"]
            said = self.events("PersistentVolumeClaim", name)
            if one["phase"] == "Bound" and (volume := gone.get(f"{self.namespace}/{name}")):
                command, why = f"ls -ld {volume['path']}", f"its folder {volume['path']} is gone"
                yield Candidate(("claim", name), self.make(
                    "FAULT-11", f"volumes.{name}", Layer.NODE, None, f"PersistentVolumeClaim {self.namespace}/{name}",
                    command, actual="Bound", why=why), self.host, command, (f"{volume['name']}: {why}",),
                    (("disk", self.host),))
            if one["phase"] == "Bound" or (one["phase"] == "Pending" and name not in used and not said):
                continue
            subject, command = f"PersistentVolumeClaim {self.namespace}/{name}", self.kubectl(f"describe pvc {name}")
            expected = self.contract.resources.get(name)
            known = expected.storage_class if expected and expected.storage_class else "local-path"
            item = self.declared("PersistentVolumeClaim", name)
            seen = (f"{name}: {one['phase']}, StorageClass {one.get('class')}", *map(short, said[:1]))
            if one.get("class") and one["class"] not in classes and self.read("storage classes"):
                yield Candidate(("claim", name), self.make(
                    "FAULT-09", f"volumes.{name}", Layer.DEPLOYMENT, item.locate(("spec", "storageClassName"))
                    if item else None, subject, command, expected=known, actual=one["class"]), self.host, command, seen)
            else:
                yield Candidate(("claim", name), self.make(
                    "FAULT-11", f"volumes.{name}", Layer.CLUSTER, None, subject, command, actual=one["phase"],
                    why=short(said[0]) if said else "no message tells why"), self.host, command, seen,
                    # Where nothing is wrong with it, it waits for its pod to be given a node.
                    (*((("provisioner",), ("disk",), ("node",)) if not said or re.search(
                        "timeout|timed out|space|helper", said[0]) else ()), *(() if said else (
                        ("pod", workload_of(pod), pod["name"], "place")
                        for pod in self.pods if name in (pod.get("claims") or ())))))
        for name, resource in self.contract.resources.items():
            if resource.type == "claim" and name not in there and self.workloads and self.read("claims"):
                command = self.kubectl("get pvc")
                yield Candidate(("claim", name), self.make(
                    "FAULT-11", f"volumes.{name}", Layer.DEPLOYMENT, None,
                    f"PersistentVolumeClaim {self.namespace}/{name}", command, actual="missing",
                    why="it does not exist"), self.host, command, (f"no claim {name}",))

    def missing_workloads(self) -> Iterator[Candidate]:
        for workload in self.contract.workloads.values():
            one = self.workloads.get((workload.kind, workload.name))
            wanted = workload.replicas if workload.replicas is not None else 1
            if one is not None and (one.get("replicas") or not wanted):
                yield from self.without_pods(workload, one)
                continue
            if not self.read(f"{workload.kind.lower()}s"):
                continue
            command = self.kubectl("get deployments,statefulsets,pods")
            item = self.declared(workload.kind, workload.name)
            actual = "missing" if one is None else "scaled to 0"
            yield Candidate(("workload", workload.name), self.make(
                "FAULT-33", f"workloads.{workload.name}", Layer.DEPLOYMENT,
                item.locate(("spec", "replicas")) if item else None,
                f"{workload.kind} {self.namespace}/{workload.name}", command, actual=actual), self.host, command,
                (f"{workload.kind} {workload.name}: {actual}",))

    def without_pods(self, workload: Workload, live: Facts) -> Iterator[Candidate]:
        """A workload for which no pod is made, or that waits for one that does not end."""
        now, mine = float(self.cluster.get("now") or 0), f"{workload.kind}/{workload.name}"
        pods = [pod for pod in self.there if pod.get("workload") == mine]
        going = [pod for pod in pods if pod.get("deleted")]
        staying = [pod for pod in self.pods if pod.get("workload") == mine]
        stuck = next((pod for pod in going if now - pod["deleted"] >= STUCK_SECONDS), None)
        if len(staying) >= (live.get("replicas") or 0) or not self.read("pods") or (going and not stuck) or (
                now - (live.get("created") or 0) < STUCK_SECONDS):
            return
        said = next((f"{one['reason']}: {one['message']}" for one in self.cluster.get("events") or ()
                     if one["reason"] == "FailedCreate" and one["name"].startswith(workload.name)), "")
        why = f"Pod {stuck['name']} has been ending for {now - stuck['deleted']:.0f} s" if stuck else short(
            said or f"{len(staying)} of {live['replicas']} pods are there, and no message tells why")
        command = self.kubectl(f"describe {workload.kind.lower()} {workload.name}")
        yield Candidate(("workload", workload.name), self.make(
            "FAULT-23", f"workloads.{workload.name}", Layer.CLUSTER if stuck else Layer.DEPLOYMENT, None,
            f"{workload.kind} {self.namespace}/{workload.name}", command, why=why), self.host, command, (why,),
            (("node",), ("machine",), ("k3s",), ("certificate",)))

    def services(self) -> Iterator[Candidate]:
        there = {one["name"]: one for one in self.cluster.get("services") or ()}
        for wanted in self.contract.services.values():
            one = there.get(wanted.name)
            subject = f"Service {self.namespace}/{wanted.name}"
            if one is None:
                if not self.read("services"):
                    return
                command = self.kubectl("get services")
                yield Candidate(("service", wanted.name), self.make(
                    "FAULT-32", f"services.{wanted.name}", Layer.DEPLOYMENT, None, subject, command), self.host,
                    command, (f"services: {', '.join(sorted(there)) or 'none'}",))
                continue
            workload = self.contract.workloads[wanted.workload]
            live = self.workloads.get((workload.kind, workload.name))
            labels = (((live or {}).get("spec") or {}).get("template") or {}).get("metadata", {}).get("labels") or {}
            selector = one.get("selector") or {}
            if not labels or (selector and selector.items() <= labels.items()):
                continue
            command = self.kubectl(f"get pods --show-labels; {self.kubectl(f'describe service {wanted.name}')}")
            item = self.declared("Service", wanted.name)
            declared = (item.get("spec", "selector") if item else None) or {}
            place = item.locate(("spec", "selector")) if item else None
            expected = {key: labels.get(key) for key in declared or ("app",) if key in labels} or labels
            yield Candidate(("service", wanted.name), self.make(
                "FAULT-31", f"services.{wanted.name}", Layer.DEPLOYMENT, place, subject, command,
                actual=pairs(selector), expected=pairs(expected), workload=workload.name,
                where=place or subject), self.host, command,
                (f"{wanted.name}: selector {pairs(selector)}, "
                 f"endpoints {', '.join(one.get('ready') or ()) or 'none'}",),
                git_is_right=bool(declared) and declared.items() <= labels.items())

    def contexts(self) -> Iterator[Candidate]:
        """Folders that cannot be written."""
        for workload, container in self.contract.containers():
            for pod in self.workload_pods(workload):
                for one in pod["containers"]:
                    if one["name"] == container.name:
                        yield from self.writing(workload, container, pod, one)

    def build(self, kind: str, workload: str, container: str) -> object:
        """Where git says which build of an image runs."""
        item = self.declared(kind, workload)
        if item is None:
            return "the overlay"
        return item.locate(("spec", "template", "spec", "containers", self.index(item, container), "image"))

    def refused(self, one: Facts) -> dict[str, str]:
        """Paths that a container may not write (or read), and what said so."""
        writes = self.inside(one).get("writes") or {}
        found = {path: f"{path}: {said.get('why')}" for path, said in writes.items()
                 if not said.get("ok") and not NO_SPACE.search(str(said.get("why")))}
        # A log may speak of what is over: it counts where nobody could try.
        log = () if writes else (one.get("log") or ())[-5:]
        for line in [*self.reasons(one), *map(said, log)]:
            path = re.search(r"(/[\w./-]+)", line) if DENIED.search(line) and not NO_SPACE.search(line) else None
            if path:
                found.setdefault(path[1], short(line))
        return found

    def writing(self, workload: Workload, container: Container, pod: Facts, one: Facts) -> Iterator[Candidate]:
        refused = self.refused(one)
        live = self.workloads.get((workload.kind, workload.name)) or {}

        def differing(mount: str) -> list[tuple[str, object, object, tuple[str | int, ...]]]:
            return self.differing(workload, container, live, mount)

        # The widest of each volume: what lies below it is refused by the same.
        for path in sorted(refused, key=len):
            said = refused[path]
            mount, resource = self.behind(container, path)
            if resource is None:
                continue
            if resource.type == "hostPath":
                folder = str(resource.params.get("path") or mount)
                yield self.unwritable(workload, container, mount, folder, said, (
                    ("folder", folder), ("context", workload.name), self.on("disk", pod)))
            elif differs := next((item for item in differing(mount) if DENIED.search(said) or item[0] in (
                    "volume", "readOnly")), None):
                name, actual, expected, field_path = differs
                place, right = self.in_git(workload.kind, workload.name, field_path, expected)
                subject = f"{workload.kind} {self.namespace}/{workload.name}"
                command = self.kubectl(
                    f"get pods -l app={workload.name} -o jsonpath='{{.items[*].spec.securityContext}}"
                    f"{{\"\\n\"}}{{.items[*].spec.containers[*].securityContext}}{{\"\\n\"}}'")
                yield Candidate(("context", workload.name), self.make(
                    "FAULT-25", f"permissions.{workload.name}.{name}", Layer.DEPLOYMENT, place, subject, command,
                    actual=f"{name} {text(actual)}", expected=f"{name} {text(expected)}", path=path,
                    where=place or subject), self.host, command,
                    tuple(list(refused.values())[:EVIDENCE_LINES - 1]) + self.owners(path, one), git_is_right=right)
            else:
                # Without its spec nobody can tell it from a wrong context.
                known = self.read(f"{workload.kind.lower()}s")
                yield self.unwritable(workload, container, mount, path, said, (
                    self.on("disk", pod), *(() if known else (("unread", "(cluster)"),))))

    def differing(self, workload: Workload, container: Container, live: Facts, mount: str) -> list[
            tuple[str, object, object, tuple[str | int, ...]]]:
        """What decides about writing and is not as the contract says: name, value, contract's value, field."""
        spec = ((live.get("spec") or {}).get("template") or {}).get("spec") or {}
        if not spec:
            return []
        pod = spec.get("securityContext") or {}
        containers = spec.get("containers") or []
        index = next((at for at, one in enumerate(containers) if one["name"] == container.name), 0)
        own = (containers[index].get("securityContext") or {}) if containers else {}
        base: tuple[str | int, ...] = ("spec", "template", "spec")
        found: list[tuple[str, object, object, tuple[str | int, ...]]] = []
        mounts = (containers[index].get("volumeMounts") or []) if containers else []
        at = next((at for at, item in enumerate(mounts) if item.get("mountPath") == mount), None)
        if mounts and at is None:
            found.append(("volume", "none", container.volumes[mount].source, (*base, "containers", index,
                                                                              "volumeMounts")))
        elif mounts and at is not None and mounts[at].get("readOnly") and not container.volumes[mount].read_only:
            found.append(("readOnly", True, False, (*base, "containers", index, "volumeMounts", at, "readOnly")))
        if workload.fs_group is not None and pod.get("fsGroup") != workload.fs_group:
            found.append(("fsGroup", pod.get("fsGroup"), workload.fs_group, (*base, "securityContext", "fsGroup")))
        for name in ("runAsUser", "runAsGroup"):
            wanted, actual = container.permissions.get(name), own.get(name, pod.get(name))
            if wanted is not None and actual != wanted:
                found.append((name, actual, wanted, (*base, "containers", index, "securityContext", name)))
        return found

    def owners(self, path: str, one: Facts) -> tuple[str, ...]:
        """Whose the folder behind a path is, and who the process is."""
        process = self.processes.get(one["id"]) or {}
        mount = next((item for item in sorted(process.get("mounts") or (), key=lambda item: -len(item["target"]))
                      if path == item["target"] or path.startswith(item["target"].rstrip("/") + "/")), None)
        if not mount:
            return ()
        volume = next((volume for node in self.nodes.values() for volume in node.get("volumes") or ()
                       if volume.get("path") in (mount.get("source"), mount.get("root"))), None)
        uids, groups = process.get("uids") or ["?"], [*process.get("gids", ())[:1], *process.get("groups", ())]
        who = f"uid {uids[0]}, groups {', '.join(map(str, dict.fromkeys(groups)))}"
        return (f"{who}; the volume is {volume['uid']}:{volume['gid']} {volume['mode']}",) if volume else (who,)

    def unwritable(self, workload: Workload, container: Container, mount: str, path: str, said: str,
                   because: tuple[Key, ...]) -> Candidate:
        command = self.kubectl(f"exec {workload.kind.lower()}/{workload.name} -- ls -ldn {path}")
        return Candidate(("owner", workload.name, mount), self.make(
            "FAULT-26", f"permissions.{workload.name}", Layer.NODE, None, path, command, container=container.name,
            why=short(said)), self.host, command, (short(said),), because)

    def behind(self, container: Container, path: str) -> tuple[str, Resource | None]:
        """The mount that a path is on."""
        targets = [target for target in container.volumes if path == target or path.startswith(f"{target}/")]
        if not targets:
            return "", None
        target = max(targets, key=len)
        return target, self.contract.resources.get(container.volumes[target].source)

    # --- pods -----------------------------------------------------------------------------------

    def pod(self, pod: Facts) -> Iterator[Candidate]:
        name = pod["name"]
        workload = workload_of(pod)
        scheduled = (pod.get("conditions") or {}).get("PodScheduled") or {}
        said = self.events("Pod", name)
        command = self.kubectl(f"describe pod {name}")
        subject = f"Pod {self.namespace}/{name}"
        if scheduled.get("status") == "False":
            message = str(scheduled.get("message") or "")
            because: list[Key] = [("claim", claim) for claim in pod.get("claims") or ()
                                  if not message or re.search(r"volume|unbound", message, re.IGNORECASE)]
            if re.search(r"taint|disk|memory|volume node affinity|unschedulable", message):
                because += [("node",), ("disk",)]
            yield Candidate(("pod", workload, name, "place"), self.make(
                "FAULT-22", f"workloads.{workload}", Layer.DEPLOYMENT, None, subject, command,
                why=short(message or "no message tells why")), self.host, command,
                (short(message),), (*because, *self.unknown(message)))
            return
        below: tuple[Key, ...] = (
            self.its_node(pod), *(self.on(kind, pod) for kind in ("disk", "k3s", "machine", "certificate")))
        if pod.get("phase") == "Failed" and pod.get("reason"):
            # The kubelet ended it, or did not take it.
            layer = Layer.NODE if pod["reason"] in BY_THE_NODE else Layer.DEPLOYMENT
            why = short(": ".join(filter(None, (pod["reason"], pod.get("message")))))
            yield Candidate(("pod", workload, name, "ended"), self.make(
                "FAULT-23", f"workloads.{workload}", layer, None, subject, command, why=why), self.host, command,
                (why,), (*below, ("workload", workload)))
            return
        mounting = next((line for line in said if line.startswith(
            ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"))), "")
        creating = [one for one in pod["containers"] if one["state"] == "waiting" and one["reason"] in CREATING]
        told = [found for one in pod["containers"] for found in self.container(pod, workload, one, said)]
        now = float(self.cluster.get("now") or 0)
        waits = not (told or pod["ready"]) and now - (pod.get("created") or now) >= STUCK_SECONDS
        if (creating and mounting) or waits:
            last = max((one for one in self.cluster.get("events") or () if (one["kind"], one["name"]) == ("Pod", name)),
                       key=lambda one: float(one.get("last") or 0), default=None)
            why = short(mounting or (f"{last['reason']}: {last['message']}" if last else
                                     f"it is {pod['phase']}, and no message tells why"))
            layer = Layer.CLUSTER if why.startswith("FailedCreatePodSandBox") else Layer.DEPLOYMENT
            # A mount that fails says what is missing, unless the kubelet did not get to know it.
            general = not mounting or layer is Layer.CLUSTER or re.search("timed out|timeout|failed to sync", why)
            yield Candidate(("pod", workload, name, "mount"), self.make(
                "FAULT-23", f"workloads.{workload}", layer, None, subject, command, why=why), self.host, command,
                (why,), (*(below if general else self.disk_of(pod, why)), *self.unknown(why.partition(": ")[2]), *(
                    (kind, name) for kind in ("sealed", "secret") for name in self.contract.secrets if name in why),
                    *((("variable", workload),) if "configmap" in why.lower() else ()),
                    *(("folder", path) for path in self.contract.node.get("folders") or {} if path in why),
                    *((("firewall",),) if general else ()),
                    *(("claim", claim) for claim in pod.get("claims") or () if not mounting or "pvc-" in why)))
        yield from told

    def container(self, pod: Facts, workload: str, one: Facts, said: Sequence[str]) -> Iterator[Candidate]:
        reason = one["reason"]
        if one["state"] == "waiting" and reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable",
                                                    "InvalidImageName", "ErrImageNeverPull"):
            yield self.image(pod, workload, one, said)
        elif one["state"] == "waiting" and reason not in (*CREATING, "CrashLoopBackOff"):
            subject, command = f"Pod {self.namespace}/{pod['name']}", self.kubectl(f"describe pod {pod['name']}")
            yield Candidate(("pod", workload, pod["name"], "start"), self.make(
                "FAULT-23", f"workloads.{workload}", Layer.DEPLOYMENT, None, subject, command,
                why=short(f"{reason}: {one['message']}")), self.host, command, (short(f"{reason}: {one['message']}"),),
                (*((kind, name) for kind in ("sealed", "secret") for name in self.contract.secrets
                   if name in one["message"]), ("variable", workload), self.on("disk", pod),
                 *self.unknown(one["message"])))
        elif reason == "CrashLoopBackOff" or (one["state"] == "terminated" and one["exit_code"]
                                              and pod["phase"] != "Succeeded"):
            yield self.crash(pod, workload, one)
        elif one["state"] == "running" and not one["ready"]:
            # Between two ends it runs for a moment, and says nothing of its own yet.
            since = float(self.cluster.get("now") or 0) - (one["last"].get("finished") or 0)
            if one["restarts"] and one["last"].get("exit_code") and since < 10 * STUCK_SECONDS and (
                    not went_down(one["last"]) and not self.reasons(one)):
                yield self.crash(pod, workload, one)
            else:
                yield from self.unready(pod, workload, one)

    def image(self, pod: Facts, workload: str, one: Facts, said: Sequence[str]) -> Candidate:
        image = one["image"]
        message = max((one["message"], *(line for line in said if line.startswith("Failed: "))),
                      key=lambda line: (bool(NOT_ALLOWED.search(line) or NOT_THERE.search(line)), len(line)))
        seen = (short(NOISE.sub("", message)),)
        command = self.kubectl(f"describe pod {pod['name']}")
        names = pod.get("pull_secrets") or self.contract.app_workload.pull_secrets
        name = names[0] if names else "no imagePullSecrets"
        if NOT_ALLOWED.search(message) and not re.search(r"\bnot found\b", message):
            command = self.kubectl(f"get events --field-selector involvedObject.name={pod['name']}")
            return Candidate(("image", workload), self.make(
                "FAULT-16", f"secrets.{name}", Layer.CONFIG, None, f"Secret {self.namespace}/{name}", command,
                actual=image), self.host, command, seen, (("sealed", name), ("secret", name)))
        kind = str(pod.get("workload") or "").partition("/")[0] or "Pod"
        if NOT_THERE.search(message) or one["reason"] in ("InvalidImageName", "ErrImageNeverPull"):
            item = self.declared(kind, workload)
            field_path = ("spec", "template", "spec", "containers", self.index(item, one["name"]), "image")
            place = item.locate(field_path) if item else None
            return Candidate(("image", workload), self.make(
                "FAULT-17", f"images.{workload}", Layer.DEPLOYMENT, place, f"{kind} {self.namespace}/{workload}",
                command, actual=image), self.host, command, seen,
                git_is_right=item is not None and item.get(*field_path) != image)
        return Candidate(("image", workload), self.make(
            "FAULT-18", f"images.{workload}", Layer.NODE, None, pod.get("node") or self.host, command, actual=image,
            why=short(NOISE.sub("", message))), self.host, command, seen, (
                *self.disk_of(pod, message), *((self.on("certificate", pod),) if "x509" in message else ()),
                *self.unknown(message)))

    @staticmethod
    def index(item: KubeObject | None, name: str) -> int:
        containers = (item.get("spec", "template", "spec", "containers") if item else None) or []
        return next((at for at, one in enumerate(containers) if one.get("name") == name), 0)

    def crash(self, pod: Facts, workload: str, one: Facts) -> Candidate:
        last = one["last"] if one["last"].get("exit_code") is not None else one
        log = list(one.get("log") or ())
        lines = [said(line) for line in log]
        line = next((line for line, raw in zip(reversed(lines), reversed(log), strict=True) if TELLING.search(raw)),
                    lines[-1] if lines else last.get("message") or "its log is empty")
        command = self.kubectl(f"logs {pod['name']} -c {one['name']} --previous --tail=20")
        subject = str(pod.get("workload") or f"Pod/{pod['name']}").replace("/", f" {self.namespace}/")
        whole = " ".join(lines)
        ended = f"exit code {last.get('exit_code')}"
        times = one["restarts"] + (one["state"] != "running")
        seen = (f"{pod['name']}: ended {times} times, {ended}", f"image {one['image']}", short(line))
        if last.get("reason") == "OOMKilled":
            limit = self.memory(pod, one["name"])
            command = self.kubectl(f"describe pod {pod['name']}")
            return Candidate(("pod", workload, pod["name"], "memory"), self.make(
                "FAULT-20", f"workloads.{workload}.resources", Layer.DEPLOYMENT, None, subject, command,
                container=one["name"], actual=limit), self.host, command, seen)
        because = [*self.disk_of(pod, whole), *self.inputs(workload, one["name"], whole),
                   *(() if last.get("message") else self.unknown(whole))]
        if DENIED.search(whole):
            because += self.places(workload, one["name"], whole)
        if one["name"] == self.contract.app.container and re.search(r"database|postgres", whole, re.IGNORECASE):
            because += self.data(workload)
        return Candidate(("pod", workload, pod["name"], "crash"), self.make(
            "FAULT-21", f"workloads.{workload}", Layer.APP, None, subject, command, container=one["name"],
            actual=ended, why=short(line), where=self.build(subject.partition(" ")[0], workload, one["name"])),
            self.host, command, seen, tuple(because))

    def inputs(self, workload: str, container: str, line: str = "") -> list[Key]:
        """What gives a container its variables: Secrets, and settings that may be wrong or older. Nothing when a line
        of it is about something else."""
        known = next((one for owner, one in self.contract.containers()
                      if (owner.name, one.name) == (workload, container)), None)
        if known is None:
            return [("secret",), ("sealed",)]
        if line and not GIVEN.search(line) and not any(
                name in line or self.setting_of(name) in line for name in known.variables):
            return []
        secrets = dict.fromkeys(source.partition("/")[2] for variable in known.variables.values()
                                for source in variable.sources if source.startswith("Secret/"))
        return [("variable", workload), ("stale", workload),
                *((kind, name) for name in secrets for kind in ("secret", "sealed")),
                *(("setting", name) for name in known.variables)]

    def setting_of(self, variable: str) -> str:
        """What a variable is set to, in whatever ConfigMap; its name, when that is too short to be known again."""
        return next((values[variable] for values in (self.cluster.get("config_maps") or {}).values()
                     if len(values.get(variable, "")) > 3), variable)

    def places(self, workload: str, container: str, line: str) -> list[Key]:
        """What decides about the paths that a line names."""
        known = next((one for owner, one in self.contract.containers()
                      if (owner.name, one.name) == (workload, container)), None)
        found: list[Key] = [("context", workload)]
        for path in PATH.findall(line):
            mount, resource = self.behind(known, path) if known else ("", None)
            found += [("folder", path), ("owner", workload, mount)]
            if resource is not None:
                found += [("folder", str(resource.params.get("path") or mount)), ("claim", resource.name)]
        return found if PATH.search(line) else [*found, ("folder",), ("owner", workload)]

    def data(self, workload: str) -> list[Key]:
        """What keeps a workload from its database. One that is ready does not."""
        found: list[Key] = [("firewall",), ("database-address",), ("names",), ("connect",), ("login",),
                            ("stale", workload), ("disk",)]
        for name, _ in self.databases:
            found += [("service", one.name) for one in self.contract.services.values() if one.workload == name]
            found += self.down(name)
        return found

    def down(self, name: str) -> list[Key]:
        """What is wrong with a workload that has no ready pod."""
        known = self.contract.workloads.get(name)
        if known is None or any(pod["ready"] for pod in self.workload_pods(known)):
            return []
        return [*((kind, name) for kind in ("pod", "image", "workload", "unready")), ("node",), *(
            ("claim", mount.source) for part in known.containers.values() for mount in part.volumes.values())]

    def memory(self, pod: Facts, container: str) -> str:
        live: Facts = next((one for (kind, name), one in self.workloads.items()
                            if f"{kind}/{name}" == pod.get("workload")), {})
        found: Facts = next((one for one in (((live.get("spec") or {}).get("template") or {}).get("spec") or {}).get(
            "containers") or () if one["name"] == container), {})
        return str(((found.get("resources") or {}).get("limits") or {}).get("memory") or "the node's memory")

    def reasons(self, one: Facts) -> list[str]:
        """Why the app says that it is not ready, in its own words."""
        page = (self.inside(one).get("http") or {}).get("/ready") or {}
        if page.get("status") in (None, 200) and one["name"] == self.contract.app.container:
            served = (self.cluster.get("http") or {}).get("/ready") or {}
            page = page if page.get("status") == 200 else served
        if page.get("status") in (None, 200):
            return []
        body = str(page.get("body") or "")
        try:
            found = list(map(str, json.loads(body)["reasons"]))
        except (ValueError, KeyError, TypeError):
            part = re.search(r'"reasons":\s*\[(.*?)(\]|$)', body, re.DOTALL)
            found = re.findall(r'"((?:[^"\\]|\\.)*)"', part[1]) if part else []
        return found or [f"/ready answers {page['status']}: {body[:120].strip()}"]

    def unready(self, pod: Facts, workload: str, one: Facts) -> Iterator[Candidate]:
        subject = f"Pod {self.namespace}/{pod['name']}"
        command = self.kubectl(f"logs {pod['name']} -c {one['name']} --tail=20")
        log = tail([said(line) for line in one.get("log") or () if TELLING.search(line)])
        data = self.data(workload)
        where = self.build(str(pod.get("workload") or "").partition("/")[0], workload, one["name"])
        is_app = one["name"] == self.contract.app.container
        whatever: list[Key] = [
            self.on("disk", pod), self.its_node(pod), ("context", workload), ("folder",), ("owner", workload),
            ("firewall",), *(data if is_app else ()), *self.inputs(workload, one["name"]),
            *self.unknown("".join(one.get("log") or ()))]
        for number, reason in enumerate(self.reasons(one)):
            disk = self.disk_of(pod, reason)
            if reason.startswith("database"):
                yield Candidate(("unready", workload, pod["name"], str(number)), self.make(
                    "FAULT-34", "ports.postgres", Layer.CLUSTER, None, f"the database of {subject}", command,
                    why=short(reason)), self.host, command, (short(reason), *log), (*disk, *data))
                continue
            # In its own words: what they are about may be its cause, and what it was given.
            because: list[Key] = [*disk, *((*self.places(workload, one["name"], reason), self.on("disk", pod))
                                           if DENIED.search(reason) or PATH.search(reason) else ())]
            if not disk and not DENIED.search(reason):
                because += self.inputs(workload, one["name"], reason)
                because += data if REACH.search(reason) else ()
            if reason.startswith("/ready answers"):
                because = whatever  # it gives no reason
            yield Candidate(("unready", workload, pod["name"], str(number)), self.make(
                "FAULT-24", f"workloads.{workload}", Layer.APP, None, subject, command, why=short(reason), where=where),
                self.host, command, (*log, *map(short, self.events("Pod", pod["name"])[:1])), tuple(because))
        if not self.reasons(one):
            since = max(0, (self.cluster.get("now") or 0) - (one.get("started") or 0))
            why = (log[-1] if log else f"its probe fails; it was started {since:.0f} s ago")
            yield Candidate(("unready", workload, pod["name"]), self.make(
                "FAULT-24", f"workloads.{workload}", Layer.APP, None, subject, command, why=short(why), where=where),
                self.host, command, (*map(short, self.events("Pod", pod["name"])[:1]), *log),
                tuple(whatever))

    # --- connections ----------------------------------------------------------------------------

    def connections(self) -> Iterator[Candidate]:
        """Old settings, refused logins, and connections that nothing else explains."""
        for workload, container in self.contract.containers():
            for pod in self.workload_pods(workload):
                yield from self.stale(workload, pod)
                for one in pod["containers"]:
                    if one["name"] != container.name:
                        continue
                    refusal = next((line for line in reversed((one.get("log") or ())[-10:]) if LOGIN.search(line)), "")
                    # Of another cause that it names itself, the line is older.
                    reasons = self.reasons(one)
                    elsewhere = reasons and not any(reason.startswith("database") for reason in reasons)
                    if refusal and not pod["ready"] and not elsewhere and (
                            (workload.name, container.name) not in self.databases):
                        # The one with its password.
                        secret = min((variable for variable in container.variables.values() if any(
                            source.startswith("Secret/") for source in variable.sources)), default=None,
                            key=lambda variable: "PASSWORD" not in variable.name)
                        name = secret.sources[0].split("/")[1] if secret else "unknown"
                        command = self.kubectl(f"logs {pod['name']} -c {one['name']} --tail=20")
                        yield Candidate(("login",), self.make(
                            "FAULT-30", f"secrets.{name}", Layer.CONFIG, None,
                            f"Secret {self.namespace}/{name}", command, why=short(said(refusal))), self.host,
                            command, (short(said(refusal)),),
                            (("stale", workload.name), ("secret", name), ("sealed", name)))
                    for address, tried in (self.inside(one).get("connects") or {}).items():
                        if not tried.get("ok"):
                            yield self.connection(workload, pod, one, address, str(tried.get("why") or ""))

    def connection(self, workload: Workload, pod: Facts, one: Facts, address: str, why: str) -> Candidate:
        host = address.partition(":")[0]
        service = self.contract.services.get(host)
        command = self.kubectl("get networkpolicies,endpointslices -o wide")
        return Candidate(("connect", workload.name, address), self.make(
            "FAULT-34", "ports.postgres", Layer.CLUSTER, None, f"{address} from Pod {self.namespace}/{pod['name']}",
            command, why=short(why)), self.host, command, (f"{one['name']} to {address}: {short(why)}",),
            (("firewall",), ("database-address",), ("service", host), ("names",), ("disk",),
             ("stale", workload.name, "address"), *self.down(service.workload if service else host)))

    def stale(self, workload: Workload, pod: Facts) -> Iterator[Candidate]:
        names = sorted({
            variable for kind in ("settings", "environment")
            for variables in ((self.cluster.get(kind) or {}).get(pod["name"]) or {}).values()
            for variable, verdict in variables.items() if verdict in ("differs", "missing")})
        if names:
            kind = f"{workload.kind.lower()}/{workload.name}"
            command = self.kubectl(f"get pods -l app={workload.name} -o wide")
            about = "address" if any(name.endswith(("_HOST", "_PORT")) for name in names) else "other"
            yield Candidate(("stale", workload.name, about), self.make(
                "FAULT-29", f"environment.{names[0]}", Layer.DEPLOYMENT, None, f"Pod {self.namespace}/{pod['name']}",
                command, actual=", ".join(names), workload=kind), self.host, command,
                (f"{pod['name']} has another value of {', '.join(names)} than its source has now",),
                (*(("database-address", name) for name in names), *(("setting", name) for name in names),
                 ("variable", workload.name), *(
                     key for name in workload.containers for key in self.inputs(workload.name, name)
                     if key[0] in ("sealed", "secret"))))

    def pages(self) -> Iterator[Candidate]:
        """What the Service answers, when the pod behind it is ready."""
        ready = any(pod["ready"] for pod in self.workload_pods(self.contract.app_workload))
        for path, page in (self.cluster.get("http") or {}).items():
            if page.get("status") == 200 or not ready:
                continue
            said_ = f"{path} answers {page['status']}" if page.get("status") else str(page.get("why") or "no answer")
            name = self.contract.app_workload.name
            command = self.kubectl(f"get service,endpointslices -l app={name} -o wide")
            yield Candidate(("page", name), self.make(
                "FAULT-34", f"ports.{name}", Layer.CLUSTER, None, f"Service {self.namespace}/{name}", command,
                why=short(said_)), self.host, command, (short(said_),),
                (("service", name), ("firewall",), ("node",), ("workload", name), *(
                    (("unready", name), ("folder",), ("context", name), ("owner", name), *self.data(name))
                    if page.get("status") else ())))

    def not_looked_at(self) -> Iterator[Candidate]:
        """What is not known, and is no symptom of what is."""
        for host, why in self.failed.items():
            command = f"ansible -i {self.inventory} -b -m command -a 'kubectl get nodes' {host}"
            yield Candidate(("unknown", host), self.make(
                "FAULT-35", "node", Layer.NODE, None, host, command, why=short(why)), "", command, (short(why),))
        if not self.cluster:
            command = "sudo kubectl get nodes"
            yield Candidate(("unknown", "cluster"), self.make(
                "FAULT-35", "cluster.api", Layer.CLUSTER, None, "the cluster", command,
                why="nothing was collected from it"), self.host, command, (),
                tuple((kind, self.host) for kind in ("unknown", "machine", "k3s", "certificate", "api")))
        if not (self.nodes or self.failed or self.unreachable):
            yield Candidate(("unknown", "node"), self.make(
                "FAULT-35", "node", Layer.NODE, None, "the node", "uptime", why="nothing was collected from it"),
                self.host, "uptime")

    def not_read(self) -> Iterator[Candidate]:
        """Parts that could not be looked at of what answers. What keeps a system from answering keeps it from these."""
        kinds = ("machine", "disk", "k3s", "certificate", "api")
        because: list[Key] = [(kind, self.host) for kind in kinds]
        if all(about.startswith("log of ") for about in self.unread):  # those the API server gets from each node
            because = [(kind,) for kind in (*kinds, "node", "firewall")]
        if self.api and self.unread:
            command = "sudo kubectl get --raw '/readyz?verbose'"
            yield self.part("cluster", Layer.CLUSTER, "(cluster)", self.unread, self.host, command, because)
        for host, node in self.nodes.items():
            below: list[Key] = [("disk", host)]
            if errors := self.errors(host):
                yield self.part("node", Layer.NODE, f"({host})", errors, host,
                                "sudo journalctl -k -p warning -n 20 --no-pager", below)
            for one in node.get("containers") or ():
                why = str((one.get("inside") or {}).get("why") or "")
                if why and one.get("namespace") in (self.namespace, "", None):
                    yield self.part("node", Layer.NODE, f"(Pod {self.namespace}/{one.get('pod')})",
                                    {f"container {one.get('name')}": why}, host,
                                    self.kubectl(f"describe pod {one.get('pod')}"), below)

    def part(self, clause: str, layer: Layer, whose: str, unread: Facts, host: str, command: str,
             because: Sequence[Key]) -> Candidate:
        names = list(unread)
        some = ", ".join(names[:EVIDENCE_LINES]) + (f" and {len(names) - EVIDENCE_LINES} more"
                                                    if len(names) > EVIDENCE_LINES else "")
        return Candidate(("unread", whose, names[0]), self.make(
            "FAULT-35", f"check.{clause}", layer, None, f"{some} {whose}", command, why=short(unread[names[0]])),
            host, command, tuple(f"{about}: {short(why)}" for about, why in unread.items()), tuple(because))

    # --- the walk -------------------------------------------------------------------------------

    def looked_at(self, stage: Stage, static_report: Report | None) -> tuple[list[str], bool]:
        """What a step of the walk looked at, and whether that says anything."""
        own = [(pod, one) for pod in self.pods for one in pod["containers"]]
        read = self.read(*LISTS.get(stage, ()))
        if stage is Stage.APP:
            pages = [f"{path} {page.get('status') or page.get('why')}"
                     for path, page in (self.cluster.get("http") or {}).items()]
            logs = not any(about.startswith(f"log of {self.namespace}/") for about in self.unread)
            return [*pages, *(f"{pod['name']}: {one['state']}{' ' + one['reason'] if one['reason'] else ''}, "
                              f"{one['restarts']} restarts" for pod, one in own)], bool(
                                  own and read and logs and not self.app_is_down)
        if stage is Stage.CONTAINER:
            found = []
            for process in self.processes.values():
                if process.get("namespace") == self.namespace:
                    writes = (process.get("inside") or {}).get("writes") or {}
                    refused = sum(not item.get("ok") for item in writes.values())
                    found.append(f"{process.get('name')}: uid {(process.get('uids') or ['?'])[0]}, "
                                 f"{len(process.get('environment') or {})} variables, "
                                 f"{len(process.get('mounts') or ())} mounts, {refused} writes refused")
            return found, bool(found) and read and not any(
                "container" in about for host in self.nodes for about in self.errors(host)) and all(
                (inside := self.inside(one)) and not inside.get("why")
                for workload, container in self.contract.containers() for pod in self.workload_pods(workload)
                for one in pod["containers"] if one["name"] == container.name and one["state"] == "running")
        if stage is Stage.RENDERING:
            if self.manifests is None:
                return [], False
            broken = violations(static_report.findings) if static_report else []
            told = f", {len(broken)} violations of the contract" if static_report else ""
            return [f"{self.manifests.root}: {len(self.manifests.objects)} objects{told}",
                    *(f"{one.place}: {one.code}" for one in broken[:EVIDENCE_LINES])], self.api and read
        nodes = [f"{host}: K3s {(node.get('k3s') or {}).get('active') or 'unknown'}, "
                 f"{((node.get('storage') or {}).get('free') or 0) // 1024 ** 3} GiB free"
                 for host, node in self.nodes.items()]
        claims = self.cluster.get("claims") or ()
        bound = sum(one["phase"] == "Bound" for one in claims)
        return [*nodes, *([f"{bound} of {len(claims)} claims Bound"] if self.api else [])], bool(
            nodes and self.api) and not (self.unread or self.failed or self.unreachable or any(
                map(self.errors, self.nodes)))


# --- words ----------------------------------------------------------------------------------------


def said(line: str) -> str:
    """A line of a log; of a JSON line its message."""
    if not line.startswith("{"):
        return line
    # Not parsed as JSON: a long line has lost its end.
    found = (re.search(rf'"{name}": ?"((?:[^"\\]|\\.)*)', line) for name in ("level", "message"))
    words = [one[1].replace("\\n", " ").replace("\\", "") for one in found if one]
    return " ".join(" ".join(words).split()) or line


def workload_of(pod: Facts) -> str:
    """The name of what a pod belongs to; its own when that is nothing."""
    return str(pod.get("workload") or "").rpartition("/")[2] or str(pod["name"])


def unit_of(node: Facts) -> str:
    return "k3s-agent" if (node.get("k3s") or {}).get("role") == "agent" else "k3s"


def valid(certificate: Facts, now: float) -> bool:
    return (certificate.get("not_before") or now) <= now + CLOCK_SECONDS and (
        certificate.get("not_after") or now) >= now


def span(certificate: Facts) -> str:
    """From when until when it is valid."""
    return f"{moment(certificate.get('not_before'))} .. {moment(certificate.get('not_after'))}"


def short(line: str) -> str:
    """A text on one line, with its end cut off, without the full stop that the sentence around it has."""
    flat = " ".join(str(line).split()).rstrip(".")
    return flat if len(flat) <= EVIDENCE_CHARACTERS else flat[:EVIDENCE_CHARACTERS - 1] + "…"


def tail(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(short(line) for line in list(lines)[-2:])


def pairs(labels: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "nothing"
