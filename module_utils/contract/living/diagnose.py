"""From what is seen to what is at fault: seed 000 part 6, walked in its order.

Rules look at facts and name candidates. One that another explains is its symptom and not a fault of its own: a full
disk explains a PostgreSQL that ends again and again, and that one an app that is not ready. What nothing explains is a
root cause; there may be several. Works with whatever part of the facts is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from ..checks.subject import finding, text
from ..classes import dataclass
from ..codes import sentence
from ..facts import KubeObject, ManifestFacts
from ..model import Finding, Kind, Layer, Place, Report
from ..spec import Container, Contract, Resource, Workload
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

RESTORE = {
    "en": "Git has it right ({place}), so it was changed on the cluster: `ansible-playbook site.yml -i {inventory}` "
          "puts it back.",
    "ko": "Git({place})은 올바르며 클러스터에서 변경되었다: `ansible-playbook site.yml -i {inventory}`로 복구한다.",
}


@dataclass(frozen=True)
class Step:
    """A step of the walk: what was looked at, whether a fault shows there, and what was seen.

    ``verdict`` is ``well``, ``fault``, ``symptom`` (something shows, and its cause is elsewhere) or ``unknown``.
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
    """The first of each key."""
    found: dict[Key, Candidate] = {}
    for one in candidates:
        found.setdefault(one.key, one)
    return list(found.values())


def explained(candidates: Sequence[Candidate]) -> tuple[list[Candidate], dict[Key, list[Candidate]]]:
    """Root causes, in the order of the rules (what lies deepest first), and the symptoms of each."""
    causes = {one.key: next((
        other.key for wanted in one.because for other in candidates
        if other is not one and other.key[:len(wanted)] == wanted), None) for one in candidates}

    def root(key: Key) -> Key:
        seen = {key}
        while (above := causes[key]) is not None and above not in seen:
            seen.add(above)
            key = above
        return key

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
        mine = [one for one in faults if stage_of(one.finding) is stage]
        shows = any(stage_of(symptom) is stage for one in faults for symptom in one.symptoms)
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
        self.pods = [pod for pod in self.cluster.get("pods") or () if pod["namespace"] == self.namespace]
        self.processes = {one["id"]: one for node in self.nodes.values() for one in node.get("containers") or ()}
        self.workloads = {(one["kind"], one["name"]): one for one in self.cluster.get("workloads") or ()}

    # --- small questions ------------------------------------------------------------------------

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
        return [pod for pod in self.pods if pod.get("workload") == wanted and not pod.get("deleted")]

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
            yield from self.secrets()
            yield from self.settings()
            yield from self.claims()
            yield from self.missing_workloads()
            yield from self.services()
            yield from self.contexts()
            for pod in self.pods:
                if not pod.get("deleted"):
                    yield from self.pod(pod)
            yield from self.connections()
            yield from self.pages()
        yield from self.not_looked_at()

    def machines(self) -> Iterator[Candidate]:
        for host, why in self.unreachable.items():
            command = f"ansible -i {self.inventory} -m ping {host}"
            yield Candidate(("machine", host), self.make(
                "FAULT-01", "node.ssh", Layer.NODE, None, host, command, why=short(why)), "", command, (short(why),))

    def disk(self, host: str, node: Facts) -> Iterator[Candidate]:
        storage = node.get("storage") or {}
        path = str(storage.get("path") or STORAGE)
        # The same file system may be mounted twice.
        others = [one for one in node.get("disks") or () if one["mount"] != storage.get("mount")
                  and (one.get("bytes"), one.get("free")) != (storage.get("bytes"), storage.get("free"))]
        places = [(path, storage.get("mount"), storage), *((one["mount"], one["mount"], one) for one in others)]
        for name, mount, one in places:
            free, total = one.get("free"), one.get("bytes")
            inodes, of = one.get("inodes_free"), one.get("inodes")
            full = free is not None and total and free < min(LITTLE_BYTES, total // 10)
            no_inodes = bool(of) and inodes is not None and inodes < max(10, of // 1000)
            if not (full or no_inodes):
                continue
            left = f"{free // 1024} KiB" if full and free is not None else f"{inodes} inodes"
            command = f"df -h {mount or name}; sudo du -xh -d1 {name} | sort -h | tail"
            seen = (f"{name} on {mount}: {left} free of {(total or 0) // 1024 ** 2} MiB ({one.get('filesystem', '')})",)
            yield Candidate(("disk", host, name), self.make(
                "FAULT-05", "node.disk", Layer.NODE, None, f"{name} on {host}", command, actual=left), host, command,
                seen)

    def disk_that_others_speak_of(self) -> Iterator[Candidate]:
        """Where nobody could look at the disk itself."""
        line = next((line for pod in self.pods for one in pod["containers"] for line in one.get("log") or ()
                     if NO_SPACE.search(line) and not pod["ready"]), "")
        if line and not any(node.get("storage") for node in self.nodes.values()):
            command = f"df -h {STORAGE}"
            yield Candidate(("disk", self.host, STORAGE), self.make(
                "FAULT-05", "node.disk", Layer.NODE, None, f"the disk of the volumes on {self.host}", command,
                actual="nothing"), self.host, command, (short(said(line)),))

    def certificates(self, host: str, node: Facts) -> Iterator[Candidate]:
        now = float(node.get("now") or 0)
        over = sorted((one for one in node.get("certificates") or () if (one.get("not_after") or now) < now),
                      key=lambda one: (not one.get("served"), one["file"]))
        if over:
            # The file that is served tells more than the port.
            first = next((one for one in over if not one.get("served") and "serving-kube-apiserver" in one["file"]),
                         over[0])
            command = f"sudo openssl x509 -noout -subject -enddate -in {first['file']}"
            if first.get("served"):
                command = (f"openssl s_client -connect {first['file']} </dev/null 2>/dev/null"
                           " | openssl x509 -noout -enddate")
            yield Candidate(("certificate", host), self.make(
                "FAULT-03", "cluster.certificates", Layer.CLUSTER, None, f"{first['file']} on {host}", command,
                actual=moment(first["not_after"])), host, command,
                tuple(f"{one['file']} ({one.get('subject', '')}): not after {moment(one['not_after'])}"
                      for one in over))

    def k3s(self, host: str, node: Facts) -> Iterator[Candidate]:
        k3s = node.get("k3s") or {}
        if not k3s or (k3s.get("active") == "active" and k3s.get("sub") == "running"):
            return
        unit = "k3s-agent" if k3s.get("role") == "agent" else "k3s"
        state = f"{k3s.get('active') or 'unknown'} ({k3s.get('sub')})" if k3s.get("installed") else "not installed"
        command = f"sudo journalctl -u {unit} -n 30 --no-pager"
        log = tail([line for line in k3s.get("log") or () if BAD.search(line)])
        because: list[Key] = [("machine", host)]
        if any(NO_SPACE.search(line) for line in log):
            because.append(("disk", host))
        if any("expired" in line for line in log):
            because.append(("certificate", host))
        yield Candidate(("k3s", host), self.make(
            "FAULT-02", "cluster.k3s", Layer.CLUSTER, None, f"{unit}.service on {host}", command, actual=state),
            host, command, (f"{unit}.service: {state}, {k3s.get('enabled') or 'not enabled'}", *log), tuple(because))

    def firewall(self, host: str, node: Facts) -> Iterator[Candidate]:
        firewall = node.get("firewall") or {}
        lets = firewall.get("lets_pods_through") or {}
        for way in ("forward", "input"):
            if lets.get(way) is not False:
                continue
            eaten = [one for one in firewall.get("eaten") or () if one.get("way", way) == way]
            chain = str(eaten[0]["chain"]) if eaten else way.upper()
            table = str(eaten[0].get("table") or "filter") if eaten else "filter"
            rule = str(eaten[0].get("rule") or "its policy") if eaten else ", ".join(firewall.get("rejects") or ())
            command = f"sudo iptables -t {table} -nvL {chain} --line-numbers"
            undo = f"`sudo iptables -t {table} -D {rule[3:]}`" if rule.startswith("-A ") else "see the command"
            yield Candidate(("firewall", host, way), self.make(
                "FAULT-06", "node.firewall", Layer.NODE, None, f"iptables {chain} on {host}", command, rule=rule,
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
        if (node.get("k3s") or {}).get("role") == "agent":
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
                    expected=expected, actual=actual, mend=mend), host, command, (f"{path}: {actual}",))

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
            if "certificate has expired" in why or "expired" in why:
                yield Candidate(("certificate", host), self.make(
                    "FAULT-03", "cluster.certificates", Layer.CLUSTER, None, f"the API's certificate on {host}",
                    "curl -sv https://127.0.0.1:6443 2>&1 | grep expire", actual="?"), host,
                    "curl -sv https://127.0.0.1:6443 2>&1 | grep expire", (why,))
            yield Candidate(("api", host), self.make(
                "FAULT-04", "cluster.api", Layer.CLUSTER, None, host, command, why=short(why)), host, command,
                (short(why), *log),
                (("k3s", host), ("certificate", host), ("machine",), ("disk", host), ("firewall", host, "input"),
                 ("k3s",), ("certificate",)))

    def ready_nodes(self) -> Iterator[Candidate]:
        for node in self.cluster.get("nodes") or ():
            pressures = ", ".join(node.get("pressures") or ())
            if node["ready"] and not pressures:
                continue
            command = f"sudo kubectl describe node {node['name']}"
            why = short(node.get("why") or pressures)
            because: list[Key] = [("k3s",), ("machine",), ("certificate",)]
            if "DiskPressure" in pressures or NO_SPACE.search(why):
                because.insert(0, ("disk",))
            yield Candidate(("node", node["name"]), self.make(
                "FAULT-08", "cluster.node", Layer.CLUSTER, None, f"Node {node['name']}", command, why=why), self.host,
                command, (f"Node {node['name']}: {why}",), tuple(because))

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
            if ready(namespace, label):
                continue
            command = f"sudo kubectl -n {namespace} get deployments,pods -o wide"
            states = [f"pod {pod['name']}: {pod['phase']}" for pod in every if pod["namespace"] == namespace
                      and (not label or pod["labels"].get(label.partition("=")[0]) == label.partition("=")[2])]
            yield Candidate(key, self.make(code, "cluster.pods", Layer.CLUSTER, None, name, command), self.host,
                            command, tuple(states) or (f"{namespace}: no such pod",),
                            (("disk",), ("node",), *((("firewall",),) if states else ())))

    def secrets(self) -> Iterator[Candidate]:
        sealed = self.cluster.get("sealed_secrets") or {}
        for name, one in sealed.items():
            if one.get("synced") is False:
                command = self.kubectl(f"describe sealedsecret {name}")
                item = self.declared("SealedSecret", name)
                place = item.locate(("spec", "encryptedData")) if item else None
                yield Candidate(("sealed", name), self.make(
                    "FAULT-14", f"secrets.{name}", Layer.CONFIG, place,
                    f"SealedSecret {self.namespace}/{name}", command, why=short(one.get("why") or "")), self.host,
                    command, (f"SealedSecret {name}: {short(one.get('why') or '')}",), (("sealer",),))
        there = self.cluster.get("secrets") or {}
        for name, wanted in self.contract.secrets.items():
            missing = [key for key in wanted.required if key not in (there.get(name) or {}).get("keys", ())]
            if not missing:
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
        used = {name for pod in self.pods for name in pod.get("claims") or ()}
        there = {one["name"] for one in self.cluster.get("claims") or ()}
        for one in self.cluster.get("claims") or ():
            name = one["name"]
            said = self.events("PersistentVolumeClaim", name)
            if one["phase"] == "Bound" or (one["phase"] == "Pending" and name not in used and not said):
                continue
            subject, command = f"PersistentVolumeClaim {self.namespace}/{name}", self.kubectl(f"describe pvc {name}")
            expected = self.contract.resources.get(name)
            known = expected.storage_class if expected and expected.storage_class else "local-path"
            item = self.declared("PersistentVolumeClaim", name)
            seen = (f"{name}: {one['phase']}, StorageClass {one.get('class')}", *map(short, said[:1]))
            if one.get("class") and one["class"] not in classes:
                yield Candidate(("claim", name), self.make(
                    "FAULT-09", f"volumes.{name}", Layer.DEPLOYMENT, item.locate(("spec", "storageClassName"))
                    if item else None, subject, command, expected=known, actual=one["class"]), self.host, command, seen)
            else:
                yield Candidate(("claim", name), self.make(
                    "FAULT-11", f"volumes.{name}", Layer.CLUSTER, None, subject, command, actual=one["phase"],
                    why=short(said[0]) if said else "no message tells why"), self.host, command, seen,
                    (("provisioner",), ("disk",), ("node",)))
        for name, resource in self.contract.resources.items():
            if resource.type == "claim" and name not in there and self.workloads:
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
                continue
            command = self.kubectl("get deployments,statefulsets,pods")
            item = self.declared(workload.kind, workload.name)
            actual = "missing" if one is None else "scaled to 0"
            yield Candidate(("workload", workload.name), self.make(
                "FAULT-33", f"workloads.{workload.name}", Layer.DEPLOYMENT,
                item.locate(("spec", "replicas")) if item else None,
                f"{workload.kind} {self.namespace}/{workload.name}", command, actual=actual), self.host, command,
                (f"{workload.kind} {workload.name}: {actual}",))

    def services(self) -> Iterator[Candidate]:
        there = {one["name"]: one for one in self.cluster.get("services") or ()}
        for wanted in self.contract.services.values():
            one = there.get(wanted.name)
            subject = f"Service {self.namespace}/{wanted.name}"
            if one is None:
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
        differing = self.differing(workload, container, live)
        for path, said in refused.items():
            mount, resource = self.behind(container, path)
            if resource is None:
                continue
            if resource.type == "hostPath":
                folder = str(resource.params.get("path") or mount)
                yield self.unwritable(workload, container, folder, said, (("folder", folder),))
            elif differing:
                name, actual, expected, field_path = differing[0]
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
                yield self.unwritable(workload, container, path, said, (("disk",),))

    def differing(self, workload: Workload, container: Container, live: Facts) -> list[
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

    def unwritable(self, workload: Workload, container: Container, path: str, said: str, because: tuple[Key, ...],
                   ) -> Candidate:
        command = self.kubectl(f"exec {workload.kind.lower()}/{workload.name} -- ls -ldn {path}")
        return Candidate(("owner", workload.name, path), self.make(
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
        workload = str(pod.get("workload") or "").rpartition("/")[2] or name
        scheduled = (pod.get("conditions") or {}).get("PodScheduled") or {}
        said = self.events("Pod", name)
        command = self.kubectl(f"describe pod {name}")
        subject = f"Pod {self.namespace}/{name}"
        if scheduled.get("status") == "False":
            because: list[Key] = [("claim", claim) for claim in pod.get("claims") or ()]
            if re.search(r"taint|disk|memory", str(scheduled.get("message"))):
                because += [("node",), ("disk",)]
            yield Candidate(("pod", workload, name, "place"), self.make(
                "FAULT-22", f"workloads.{workload}", Layer.DEPLOYMENT, None, subject, command,
                why=short(scheduled.get("message") or "no message tells why")), self.host, command,
                (short(scheduled.get("message") or ""),), tuple(because))
            return
        mounting = next((line for line in said if line.startswith(("FailedMount", "FailedAttachVolume"))), "")
        creating = [one for one in pod["containers"] if one["reason"] in ("ContainerCreating", "PodInitializing")]
        if creating and mounting:
            yield Candidate(("pod", workload, name, "mount"), self.make(
                "FAULT-23", f"workloads.{workload}", Layer.DEPLOYMENT, None, subject, command, why=short(mounting)),
                self.host, command, (short(mounting),),
                (("disk",), ("secret",), ("variable",), ("claim",), ("folder",), ("node",)))
        for one in pod["containers"]:
            yield from self.container(pod, workload, one, said)

    def container(self, pod: Facts, workload: str, one: Facts, said: Sequence[str]) -> Iterator[Candidate]:
        reason = one["reason"]
        if one["state"] == "waiting" and reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable",
                                                    "InvalidImageName", "ErrImageNeverPull"):
            yield self.image(pod, workload, one, said)
        elif one["state"] == "waiting" and reason.startswith(("CreateContainer", "RunContainer")):
            subject, command = f"Pod {self.namespace}/{pod['name']}", self.kubectl(f"describe pod {pod['name']}")
            yield Candidate(("pod", workload, pod["name"], "start"), self.make(
                "FAULT-23", f"workloads.{workload}", Layer.DEPLOYMENT, None, subject, command,
                why=short(f"{reason}: {one['message']}")), self.host, command, (short(f"{reason}: {one['message']}"),),
                (*((kind, name) for kind in ("sealed", "secret") for name in self.contract.secrets
                   if name in one["message"]), ("variable", workload), ("disk",)))
        elif reason == "CrashLoopBackOff" or (one["state"] == "terminated" and one["exit_code"]
                                              and pod["phase"] != "Succeeded"):
            yield self.crash(pod, workload, one)
        elif one["state"] == "running" and not one["ready"]:
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
            why=short(NOISE.sub("", message))), self.host, command, seen, (("disk",), ("node",), ("names",)))

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
        because: list[Key] = [("variable", workload), ("secret",), ("setting",), ("stale", workload)]
        if NO_SPACE.search(whole):
            because.insert(0, ("disk",))
        if DENIED.search(whole):
            because += [("context", workload), ("folder",), ("owner", workload)]
        if one["name"] == self.contract.app.container and re.search(r"database|postgres", whole, re.IGNORECASE):
            because += [("database-address",), ("pod", "postgres"), ("image", "postgres"), ("names",), ("firewall",)]
        return Candidate(("pod", workload, pod["name"], "crash"), self.make(
            "FAULT-21", f"workloads.{workload}", Layer.APP, None, subject, command, container=one["name"],
            actual=ended, why=short(line), where=self.build(subject.partition(" ")[0], workload, one["name"])),
            self.host, command, seen, tuple(because))

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
        below: list[Key] = [("disk",), ("context", workload), ("folder",), ("owner", workload), ("stale", workload),
                            ("login",)]
        data: list[Key] = [("firewall",), ("database-address",), ("pod", "postgres"), ("image", "postgres"),
                           ("workload", "postgres"), ("service", "postgres"), ("names",), ("connect",), ("node",),
                           ("login",), ("stale", workload), ("unready", "postgres"), *(
                               ("claim", mount.source) for owner, container in self.contract.containers()
                               if owner.name == "postgres" for mount in container.volumes.values())]
        where = self.build(str(pod.get("workload") or "").partition("/")[0], workload, one["name"])
        is_app = one["name"] == self.contract.app.container
        for number, reason in enumerate(self.reasons(one)):
            because: list[Key] = [*below, *data, ("setting",)]
            if reason.startswith("database"):
                yield Candidate(("unready", workload, pod["name"], str(number)), self.make(
                    "FAULT-34", "ports.postgres", Layer.CLUSTER, None, f"the database of {subject}", command,
                    why=short(reason)), self.host, command, (short(reason), *log), tuple(data))
                continue
            if DENIED.search(reason):
                path = re.search(r"(/[\w./-]+)", reason)
                folder = path[1] if path else ""
                because = [("folder", folder), ("owner", workload, folder), ("context", workload), ("disk",)]
            elif NO_SPACE.search(reason):
                because = [("disk",)]
            yield Candidate(("unready", workload, pod["name"], str(number)), self.make(
                "FAULT-24", f"workloads.{workload}", Layer.APP, None, subject, command, why=short(reason), where=where),
                self.host, command, (*log, *map(short, self.events("Pod", pod["name"])[:1])), tuple(because))
        if not self.reasons(one):
            since = max(0, (self.cluster.get("now") or 0) - (one.get("started") or 0))
            why = (log[-1] if log else f"its probe fails; it was started {since:.0f} s ago")
            yield Candidate(("unready", workload, pod["name"]), self.make(
                "FAULT-24", f"workloads.{workload}", Layer.APP, None, subject, command, why=short(why), where=where),
                self.host, command, (*map(short, self.events("Pod", pod["name"])[:1]), *log),
                tuple([*below, ("firewall",), *(data if is_app else [("node",)]), ("setting",)]))

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
                    if refusal and not pod["ready"]:
                        # The one with its password.
                        secret = min((variable for variable in container.variables.values() if any(
                            source.startswith("Secret/") for source in variable.sources)), default=None,
                            key=lambda variable: "PASSWORD" not in variable.name)
                        name = secret.sources[0].split("/")[1] if secret else "unknown"
                        command = self.kubectl(f"logs {pod['name']} -c {one['name']} --tail=20")
                        yield Candidate(("login",), self.make(
                            "FAULT-30", f"secrets.{name}", Layer.CONFIG, None,
                            f"Secret {self.namespace}/{name}", command, why=short(said(refusal))), self.host,
                            command, (short(said(refusal)),), (("stale", workload.name), ("secret",), ("sealed",)))
                    for address, tried in (self.inside(one).get("connects") or {}).items():
                        if not tried.get("ok"):
                            yield self.connection(workload, pod, one, address, str(tried.get("why") or ""))

    def connection(self, workload: Workload, pod: Facts, one: Facts, address: str, why: str) -> Candidate:
        host = address.partition(":")[0]
        command = self.kubectl("get networkpolicies,endpointslices -o wide")
        return Candidate(("connect", workload.name, address), self.make(
            "FAULT-34", "ports.postgres", Layer.CLUSTER, None, f"{address} from Pod {self.namespace}/{pod['name']}",
            command, why=short(why)), self.host, command, (f"{one['name']} to {address}: {short(why)}",),
            (("firewall",), ("database-address",), ("pod", host), ("image", host), ("workload", host),
             ("service", host), ("names",), ("unready", host), ("node",), ("claim",), ("disk",),
             ("stale", workload.name)))

    def stale(self, workload: Workload, pod: Facts) -> Iterator[Candidate]:
        names = sorted({
            variable for kind in ("settings", "environment")
            for variables in ((self.cluster.get(kind) or {}).get(pod["name"]) or {}).values()
            for variable, verdict in variables.items() if verdict in ("differs", "missing")})
        if names:
            kind = f"{workload.kind.lower()}/{workload.name}"
            command = self.kubectl(f"get pods -l app={workload.name} -o wide")
            yield Candidate(("stale", workload.name), self.make(
                "FAULT-29", f"environment.{names[0]}", Layer.DEPLOYMENT, None, f"Pod {self.namespace}/{pod['name']}",
                command, actual=", ".join(names), workload=kind), self.host, command,
                (f"{pod['name']} has another value of {', '.join(names)} than its source has now",),
                (*(("database-address", name) for name in names), *(("setting", name) for name in names),
                 ("variable", workload.name), ("sealed",), ("secret",)))

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
                (("service", name), ("firewall",), ("folder",), ("context",), ("owner",), ("disk",),
                 ("database-address",), ("pod", "postgres"), ("image", "postgres"), ("workload",), ("node",),
                 ("names",), ("connect",), ("unready",), ("login",)))

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
                (("unknown",), ("k3s",), ("certificate",), ("api",), ("machine",)))
        if not (self.nodes or self.failed or self.unreachable):
            yield Candidate(("unknown", "node"), self.make(
                "FAULT-35", "node", Layer.NODE, None, "the node", "uptime", why="nothing was collected from it"),
                self.host, "uptime")

    # --- the walk -------------------------------------------------------------------------------

    def looked_at(self, stage: Stage, static_report: Report | None) -> tuple[list[str], bool]:
        """What a step of the walk looked at, and whether that says anything."""
        own = [(pod, one) for pod in self.pods if not pod.get("deleted") for one in pod["containers"]]
        if stage is Stage.APP:
            pages = [f"{path} {page.get('status') or page.get('why')}"
                     for path, page in (self.cluster.get("http") or {}).items()]
            return [*pages, *(f"{pod['name']}: {one['state']}{' ' + one['reason'] if one['reason'] else ''}, "
                              f"{one['restarts']} restarts" for pod, one in own)], bool(own)
        if stage is Stage.CONTAINER:
            found = []
            for process in self.processes.values():
                if process.get("namespace") == self.namespace:
                    writes = (process.get("inside") or {}).get("writes") or {}
                    refused = sum(not item.get("ok") for item in writes.values())
                    found.append(f"{process.get('name')}: uid {(process.get('uids') or ['?'])[0]}, "
                                 f"{len(process.get('environment') or {})} variables, "
                                 f"{len(process.get('mounts') or ())} mounts, {refused} writes refused")
            return found, bool(found)
        if stage is Stage.RENDERING:
            if self.manifests is None:
                return [], False
            broken = violations(static_report.findings) if static_report else []
            told = f", {len(broken)} violations of the contract" if static_report else ""
            return [f"{self.manifests.root}: {len(self.manifests.objects)} objects{told}",
                    *(f"{one.place}: {one.code}" for one in broken[:EVIDENCE_LINES])], self.api
        nodes = [f"{host}: K3s {(node.get('k3s') or {}).get('active') or 'unknown'}, "
                 f"{((node.get('storage') or {}).get('free') or 0) // 1024 ** 3} GiB free"
                 for host, node in self.nodes.items()]
        claims = self.cluster.get("claims") or ()
        bound = sum(one["phase"] == "Bound" for one in claims)
        return [*nodes, *([f"{bound} of {len(claims)} claims Bound"] if self.api else [])], bool(nodes) and self.api


# --- words ----------------------------------------------------------------------------------------


def said(line: str) -> str:
    """A line of a log; of a JSON line its message."""
    if not line.startswith("{"):
        return line
    # Not parsed as JSON: a long line has lost its end.
    found = (re.search(rf'"{name}": ?"((?:[^"\\]|\\.)*)', line) for name in ("level", "message"))
    words = [one[1].replace("\\n", " ").replace("\\", "") for one in found if one]
    return " ".join(" ".join(words).split()) or line


def short(line: str) -> str:
    """A text on one line, with its end cut off, without the full stop that the sentence around it has."""
    flat = " ".join(str(line).split()).rstrip(".")
    return flat if len(flat) <= EVIDENCE_CHARACTERS else flat[:EVIDENCE_CHARACTERS - 1] + "…"


def tail(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(short(line) for line in list(lines)[-2:])


def pairs(labels: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "nothing"
