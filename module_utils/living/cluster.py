"""What runs in the cluster, as its API server and the processes on this node tell it: facts and no judgement.

Values of Secrets are compared here, in this process, and never leave it.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import contextlib
import http.client
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .api import Api, ApiProblem
from .containers import BUNDLES, environ, given, log_end, main_processes
from .redact import LONG, MASK, SHORTEST, Redaction, is_secret, secret_values, variable_values
from .volumes import node_of, path_of

Object = dict[str, Any]

EVENT_SECONDS = 3600.0
"""Events that are older are not told."""

MOST_EVENTS = 200
MOST_LOGS = 6
"""Logs of failing containers that are asked for; those that were asked for by name come on top."""

LOG_LINES = 40
ASKED_LINES = 2000
"""Lines that are looked through of a container that was asked for; of the older ones only the telling leave."""

TELLING_LINES = 20
LOG_BYTES = 1024 * 1024
LINE_CHARACTERS = 1000
TELLING = re.compile(r"EGW\d{5}|\b(FATAL|PANIC|CRITICAL|ERROR|Traceback)\b")
PAGE_SECONDS = 2.0
PAGE_CHARACTERS = 500
PAGE_BYTES = 65536
MESSAGE_CHARACTERS = 500
"""A message that is as long may have been cut: events at 1024 characters, what a container leaves behind at 2048."""

ERROR_CHARACTERS = 400
WALK_SECONDS = 1.0
KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
REVISION = re.compile(r"-[0-9a-z]{5,10}$")
POD_LOGS = "/var/log/pods"


def collect(request: Mapping[str, Any], api: Api | None = None, proc: str = "/proc") -> dict[str, Any]:
    """What the cluster is like now. Never raises for a broken cluster: ``errors`` says what could not be read.

    :param request: ``namespace``; ``kinds`` of workloads (Deployment and StatefulSet when left out); ``http``: the
        Service whose pages are asked for and whose pods it has, ``{"service", "workload", "port", "paths"}``; ``logs``:
        names of containers whose log is wanted whether they fail or not; ``telling``: a pattern of lines of which the
        last one is told though many have come since; ``spaces``: namespaces besides its own in which logs of failing
        containers are read, others are somebody else's; ``data_claim``: the claim that has the JSONL files;
        ``variables``: by container its variables whose values are told, with the values that are right, of others only
        the names are; ``secret_names``: shell patterns of variables that are secret besides those whose names say so;
        ``log_limit``: failing containers whose log is read; ``bundles``: where containerd keeps what containers were
        started with; ``pod_logs``: where the kubelet keeps logs.
    :param proc: where the processes of this node are.
    """
    return Collector(request, api or Api(), proc).facts()


class Collector:
    """One look at the cluster."""

    def __init__(self, request: Mapping[str, Any], api: Api, proc: str) -> None:
        self.request = request
        self.namespace = str(request.get("namespace") or "default")
        self.slices_path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(self.namespace)}/endpointslices"
        self.api = api
        self.proc = proc
        self.bundles = str(request.get("bundles") or BUNDLES)
        self.pod_logs = str(request.get("pod_logs") or POD_LOGS)
        self.now = time.time()
        self.errors: list[dict[str, str]] = []
        self.problem: ApiProblem | None = None
        self.secrets: list[Object] = []
        self.told: Mapping[str, Mapping[str, list[str]]] = request.get("variables") or {}
        self.telling = re.compile(str(request.get("telling") or "$^"))
        self.spaces = {self.namespace, *map(str, request.get("spaces") or ())}
        self.processes: dict[str, int] = {}
        self.blind = True
        self.redaction = self.words = Redaction()

    def facts(self) -> dict[str, Any]:
        """ClusterFacts."""
        started = time.monotonic()
        nodes = self.items("nodes", "/api/v1/nodes")
        space = f"/api/v1/namespaces/{quote(self.namespace)}"
        status = self.object("namespace", space)
        pods = self.items("pods", "/api/v1/pods")
        workloads = [
            {**one, "kind": kind} for kind in self.request.get("kinds") or ("Deployment", "StatefulSet")
            for one in self.items(KINDS[kind], f"/apis/apps/v1/namespaces/{quote(self.namespace)}/{KINDS[kind]}")]
        claims = self.items("claims", f"{space}/persistentvolumeclaims")
        volumes = self.items("volumes", "/api/v1/persistentvolumes")
        classes = self.items("storage classes", "/apis/storage.k8s.io/v1/storageclasses")
        services = self.items("services", f"{space}/services")
        slices = self.items("endpoints", self.slices_path)
        maps = self.items("ConfigMaps", f"{space}/configmaps")
        # Of all namespaces: pods of all of them are told of, and what they say may have any of them.
        secrets = self.items("Secrets", "/api/v1/secrets")
        self.secrets = [one for one in secrets if one["metadata"].get("namespace") == self.namespace]
        self.blind = bool(self.problem) or self.failed("Secrets")
        sealed = self.items(
            "SealedSecrets", f"/apis/bitnami.com/v1alpha1/namespaces/{quote(self.namespace)}/sealedsecrets")
        events = self.items("events", "/api/v1/events")
        if self.blind and (pods or workloads or events):
            self.errors.append({"about": "logs, pages and messages", "kind": "withheld", "why":
                                "they are not told: the Secrets could not be read, so what is secret is not known"})
        self.processes = {identity: pid for (_, identity), pid in self.running().items()}
        self.learn(secrets, pods, [*nodes, *workloads, *services, *claims], maps)
        mine = own_node(nodes)
        facts: dict[str, Any] = {
            "now": self.now,
            "api": {"answers": self.problem is None, "why": self.problem.whole if self.problem else "",
                    "kind": self.problem.kind if self.problem else "",
                    # K3s is one program: what the servers' kubelets say is the API server's version, too.
                    "version": next((node["version"] for node in map(node_facts, nodes) if node["server"]), "")},
            "namespace": self.namespace, "node": mine,
            "namespace_phase": (status.get("status") or {}).get("phase", "") if status else
            None if self.problem or self.failed("namespace") else "",
            "nodes": [node_facts(node) for node in nodes],
            "pods": [pod_facts(pod) for pod in pods],
            "workloads": [self.workload(one) for one in workloads],
            "claims": [claim_facts(one) for one in claims],
            "volumes": [volume_facts(one, mine, self.unread) for one in volumes],
            "storage_classes": [class_facts(one) for one in classes],
            "services": [service_facts(one, slices) for one in services],
            "config_maps": {name(one): dict(one.get("data") or {}) for one in maps},
            "secrets": {name(one): secret_facts(one) for one in self.secrets},
            "sealed_secrets": {name(one): sealed_facts(one) for one in sealed},
            "events": recent(events, self.now),
        }
        facts["environment"], facts["settings"] = self.compared(pods, facts["config_maps"])
        facts["images"] = {container["image"]: container["image_id"].rpartition("@")[2]
                           for pod in facts["pods"] if pod["namespace"] == self.namespace
                           for container in pod["containers"] if container["state"] == "running"}
        facts["config_maps"] = {one: {key: self.setting(key, value) for key, value in data.items()}
                                for one, data in facts["config_maps"].items()}
        self.logs(facts["pods"])
        facts["http"] = self.pages(facts["services"], facts["pods"])
        facts["jsonl"] = self.jsonl(facts)
        self.messages(facts)
        facts = {key: value if key in AS_THEY_ARE else self.redaction.whole(value) for key, value in facts.items()}
        return {**facts, "calls": self.api.calls, "seconds": round(time.monotonic() - started, 3),
                "errors": [{key: self.words.cut(value, ERROR_CHARACTERS) for key, value in one.items()}
                           for one in self.errors]}

    # --- asking ---------------------------------------------------------------------------------

    def items(self, about: str, path: str) -> list[Object]:
        """A list, empty when it cannot be read."""
        if self.problem:
            return []
        try:
            return self.api.items(path)
        except ApiProblem as problem:
            self.failure(about, problem)
            return []

    def object(self, about: str, path: str) -> Object:
        """An object, empty when it is not there."""
        if self.problem:
            return {}
        try:
            return self.api.get(path)
        except ApiProblem as problem:
            if problem.kind != "missing":
                self.failure(about, problem)
            return {}

    def failure(self, about: str, problem: ApiProblem) -> None:
        """Without an answer, or without the right to ask, there is no use in asking on. One call may be slow."""
        slow = problem.kind == "timeout" and not any(one["kind"] == "timeout" for one in self.errors)
        passing = slow or problem.kind in ("missing", "forbidden", "status", "broken")
        if not passing or self.api.calls <= 1:
            self.problem = problem
            about = "api"
        self.errors.append({"about": about, "why": problem.whole, "kind": problem.kind})

    def unread(self, error: OSError) -> None:
        """A file or folder that is there and could not be looked at. One that has gone meanwhile is none."""
        if not isinstance(error, FileNotFoundError):
            self.errors.append({"about": str(error.filename), "why": str(error.strerror), "kind": "status"})

    def failed(self, about: str) -> bool:
        return any(error["about"] == about for error in self.errors)

    # --- secrets --------------------------------------------------------------------------------

    def learn(self, secrets: list[Object], pods: list[Object], objects: list[Object], maps: list[Object]) -> None:
        """What is secret: every value of every Secret, and of the variables of every process and pod those whose names
        or forms say so. In words of the app's namespace, whatever a process there has that nobody has declared."""
        patterns = tuple(self.request.get("secret_names") or ())
        public = [self.namespace, *map(name, objects), *map(name, pods),
                  *(str((one.get("spec") or {}).get("nodeName") or "") for one in pods),
                  *(value for one in maps for key, value in (one.get("data") or {}).items()
                    if isinstance(value, str) and self.declared(str(key)))]
        known: set[str] = set()
        unknown: set[str] = set()
        for secret in secrets:
            own = secret["metadata"].get("namespace") == self.namespace
            # A short word of somebody else's is a word of ours, too.
            known.update(secret_values(decoded(secret), public, SHORTEST if own else LONG))
        owners: dict[str, str] = {}
        for pod in pods:
            own = pod["metadata"].get("namespace") == self.namespace
            for one in [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]:
                plain = {str(item.get("name")): str(item["value"]) for item in one.get("env") or []
                         if item.get("value")}
                known.update(variable_values(plain, patterns, (), public, unknown=False))
                if own:
                    unknown.update(variable_values(plain, patterns, self.names_told(one["name"]), public))
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if own:
                    owners[str(status.get("containerID") or "").rpartition("//")[2]] = status["name"]
        for identity, pid in self.processes.items():
            # What an entry point takes away it may still have written somewhere.
            for variables in (self.environ(pid) or {}, given(identity, self.bundles)):
                known.update(variable_values(variables, patterns, (), public, unknown=False))
                if identity in owners:
                    unknown.update(variable_values(variables, patterns, self.names_told(owners[identity]), public))
        self.redaction = Redaction(known)
        self.words = Redaction(known | unknown) if unknown - known else self.redaction

    def names_told(self, container: str) -> frozenset[str]:
        """Variables of a container of the namespace whose values may leave."""
        return frozenset(self.told.get(container) or ())

    def declared(self, key: str) -> bool:
        """Whether a variable of that name comes from somewhere else than a Secret."""
        return any(key in names for names in self.told.values())

    def hidden(self, key: str) -> bool:
        """Whether a ConfigMap's value does not leave: its name says that it should have been in a Secret, and nobody
        has declared it."""
        return is_secret(key, self.request.get("secret_names") or ()) and not self.declared(key)

    def setting(self, key: str, value: str) -> str:
        """A ConfigMap's value. One that is right may be told, though the password be the same word."""
        if any(value in names.get(key, ()) for names in self.told.values()):
            return value
        unknown = self.blind and not self.declared(key)
        return MASK if unknown or self.hidden(key) else self.redaction.text(value)

    def running(self) -> dict[tuple[str, str], int]:
        """The processes of this node's containers."""
        try:
            return main_processes(self.proc)
        except OSError as error:
            self.errors.append({"about": self.proc, "why": str(error), "kind": "status"})
            return {}

    def workload(self, item: Object) -> Object:
        """A workload. Of its plain variables only the values that were asked for leave."""
        facts = workload_facts(item)
        for part in ("containers", "initContainers"):
            for container in facts["spec"].get("template", {}).get("spec", {}).get(part) or []:
                told = self.names_told(str(container.get("name")))
                for variable in container.get("env") or []:
                    if variable.get("value") and str(variable.get("name")) not in told:
                        variable["value"] = MASK
        facts["spec"] = named_out(facts["spec"], told=frozenset().union(*self.told.values()))
        return facts

    def compared(self, pods: list[Object], maps: Mapping[str, Mapping[str, str]]) -> tuple[Object, Object]:
        """By pod, container and variable: whether the process has what the Secret, or the ConfigMap, has now."""
        secrets = {name(one): {key: value.decode(errors="surrogateescape") for key, value in decoded(one).items()}
                   for one in self.secrets}
        found: dict[str, dict[str, dict[str, dict[str, str]]]] = {"Secret": {}, "ConfigMap": {}}
        mine = [pod for pod in pods if pod["metadata"].get("namespace") == self.namespace]
        for pod in mine:
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if "running" not in (status.get("state") or {}):
                    continue
                spec: Object = next((one for one in pod["spec"]["containers"] if one["name"] == status["name"]), {})
                identity = str(status.get("containerID") or "").rpartition("//")[2]
                pid = self.processes.get(identity)
                real = self.environ(pid) if pid else None
                begun: dict[str, str] | None = None
                for variable, (kind, owner, key) in sources(spec, secrets, maps).items():
                    now = (secrets if kind == "Secret" else maps).get(owner, {}).get(key)
                    if now is None:
                        continue  # There is nothing to compare with.
                    verdict = "unknown" if real is None else verdict_of(real.get(variable), now)
                    if verdict == "missing":
                        # An entry point may take a variable away (PostgreSQL's does that with the password).
                        begun = begun if begun is not None else given(identity, self.bundles)
                        verdict = verdict_of(begun.get(variable), now)
                    found[kind].setdefault(name(pod), {}).setdefault(status["name"], {})[variable] = verdict
        return found["Secret"], found["ConfigMap"]

    def environ(self, pid: int) -> dict[str, str] | None:
        """What a process was started with; None when it has ended."""
        try:
            return environ(pid, self.proc) or None
        except OSError:
            return None

    # --- words ----------------------------------------------------------------------------------

    def said(self, text: str) -> str:
        """What somebody says, without secrets. The kubelet keeps only the end of what a container leaves behind."""
        return "" if self.blind else self.words.text(text, broken=len(text) >= MESSAGE_CHARACTERS)

    def messages(self, facts: Object) -> None:
        """Take secrets out of what the system says; names and digests stay as they are."""
        for pod in facts["pods"]:
            pod["message"] = self.said(pod["message"])
            for container in pod["containers"]:
                # What a container leaves behind is the end of its log.
                own = pod["namespace"] in self.spaces or container["state"] != "terminated"
                container["message"] = self.said(container["message"]) if own else ""
                container["last"]["message"] = self.said(container["last"]["message"]) \
                    if pod["namespace"] in self.spaces else ""
        for one in (*facts["pods"], *facts["workloads"]):
            for condition in one["conditions"].values():
                condition["message"] = self.said(condition["message"])
        for one in facts["nodes"]:
            one["why"] = self.said(one["why"])
        for one in facts["events"]:
            one["message"] = self.said(one["message"])
        for one in facts["sealed_secrets"].values():
            one["why"] = self.said(one["why"])

    def logs(self, pods: list[Object]) -> None:
        """Ends of the logs of containers that fail, and of those that were asked for."""
        if self.blind:
            return
        asked = set(self.request.get("logs") or ())
        left = int(self.request.get("log_limit", MOST_LOGS))
        for pod in (one for one in pods if one["namespace"] in self.spaces):
            for container in pod["containers"]:
                wanted = pod["namespace"] == self.namespace and container["name"] in asked
                if not container["started_once"] or not (wanted or (left > 0 and failing(pod, container, self.now))):
                    continue
                left -= not wanted
                before = failing(pod, container, self.now) and container["state"] == "running" and \
                    container["restarts"] > 0
                log = self.log(pod, container, before, ASKED_LINES if wanted else LOG_LINES)
                # One that is empty was read as well: the kubelet may just have begun a new one.
                container["log"], container["log_read"] = log or [], log is not None

    def log(self, pod: Object, container: Object, before: bool, lines: int) -> list[str] | None:
        """The last lines, and what is telling of those that came before them; None when it could not be read."""
        here = log_end(Path(self.pod_logs, f"{pod['namespace']}_{pod['name']}_{pod['uid']}",
                            container["name"], f"{container['restarts'] - before}.log"), LOG_BYTES)
        text = None if here is None else "\n".join(here[-lines:])
        if text is None and not self.problem:
            try:
                text = self.api.text(
                    f"/api/v1/namespaces/{quote(pod['namespace'])}/pods/{quote(pod['name'])}/log",
                    container=container["name"], previous=str(before).lower(), tailLines=str(lines),
                    limitBytes=str(LOG_BYTES))
            except ApiProblem as problem:
                # That is the kubelet's matter, through which the API server asks for it. A pod that has gone since it
                # was listed has no log to miss.
                if problem.kind != "missing":
                    self.errors.append({"about": f"log of {pod['namespace']}/{pod['name']}", "why": problem.whole,
                                        "kind": problem.kind})
        if text is None:
            return None
        # Whole, for a secret may have several lines; and what lies before the first one nobody knows.
        clean = self.words.text(text, broken=True)
        # A line that was cut off says nothing.
        cut = -1 if here is None and len((text).encode(errors="replace")) >= LOG_BYTES else None
        found = [line for line in clean.splitlines()[:cut] if line.strip()]
        last = max(0, len(found) - LOG_LINES)
        shown = {*[at for at in range(last) if TELLING.search(found[at])][-TELLING_LINES:],
                 *[at for at in range(last) if self.telling.search(found[at])][-1:], *range(last, len(found))}
        return [found[at][:LINE_CHARACTERS] for at in sorted(shown)]

    def pages(self, services: list[Object], pods: list[Object]) -> Object:
        """What a Service answers at its address; where it leads to nobody, what a pod says by which it is not ready."""
        wanted = self.request.get("http") or {}
        if not wanted or self.problem:
            return {}
        service = next((one for one in services if one["name"] == wanted["service"]), None)
        address, through = "", "Service"
        if service and service["ready"] and re.match(r"[0-9a-f.:]+$", service["cluster_ip"]):
            address = service["cluster_ip"]
        elif pod := next((pod for pod in pods if pod["namespace"] == self.namespace and pod["ip"]
                          and pod["workload"] == wanted.get("workload") and pod["deleted"] is None), None):
            address, through = pod["ip"], "pod"
        found: Object = {}
        for path in wanted["paths"]:
            answer: Object = page(address, int(wanted["port"]), path) if address else {
                "status": None, "body": "", "seconds": 0.0, "why": f"Service {wanted['service']} leads to no pod"}
            if service and through == "Service" and address and answer["status"] is None and (
                    pod := self.turned_unready(service, pods, str(wanted.get("workload")))):
                address, through = pod["ip"], "pod"
                answer = page(address, int(wanted["port"]), path)
            answer["body"] = "" if self.blind else self.words.cut(
                answer["body"], PAGE_CHARACTERS, broken=len(answer["body"]) >= PAGE_BYTES // 4)
            found[path] = {**answer, "through": through}
        return found

    def turned_unready(self, service: Object, pods: list[Object], workload: str) -> Object | None:
        """The workload's pod, when since the lists were read it has stopped to be ready: its Service refuses then."""
        try:
            slices = self.api.items(self.slices_path)
        except ApiProblem:
            return None
        ready, waiting = addresses(service["name"], slices)
        if ready:
            return None
        service |= {"ready": ready, "not_ready": waiting}
        own = [pod for pod in pods if pod["namespace"] == self.namespace and pod["ip"] in waiting
               and pod["workload"] == workload and pod["deleted"] is None]
        for pod in own:
            pod["ready"] = False
        return next(iter(own), None)

    def jsonl(self, facts: Object) -> Object | None:
        """The collected data, when the claim's folder is on this node."""
        claim = f"{self.namespace}/{self.request.get('data_claim')}"
        volume = next((one for one in facts["volumes"] if one["claim"] == claim and one["phase"] == "Bound"), None)
        if not volume or not volume["folder"]:
            return None
        newest, files, size = 0.0, 0, 0
        end = time.monotonic() + WALK_SECONDS
        for folder, _, names in os.walk(volume["path"], onerror=self.unread):
            if time.monotonic() > end:
                self.errors.append({"about": "jsonl", "why": f"not all of {volume['path']} could be looked at in "
                                    f"{WALK_SECONDS:g} s", "kind": "timeout"})
                break
            for one in names:
                if one.endswith(".jsonl"):
                    with contextlib.suppress(OSError):
                        status = Path(folder, one).stat()
                        newest, files, size = max(newest, status.st_mtime), files + 1, size + status.st_size
        return {"newest": newest or None, "files": files, "bytes": size}


AS_THEY_ARE = {"now", "namespace", "config_maps", "node", "nodes", "pods", "volumes", "claims", "storage_classes",
               "services", "secrets", "environment", "settings", "images", "jsonl"}
"""Facts of names, numbers and digests: a short secret would only be found in them by chance. The words that pods say,
and settings, are looked through one by one."""


# --- objects --------------------------------------------------------------------------------------


def name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name") or "")


def flat(text: object) -> str:
    """On one line."""
    return " ".join(str(text or "").split())


def epoch(text: object) -> float | None:
    """A time of Kubernetes' as seconds since 1970."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?", str(text or ""))
    if not match:
        return None
    return calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S")) + float(match[2] or 0)


SIZES = {"": 1.0, "m": 0.001, "k": 1e3, **{letter: 1000.0 ** power for power, letter in enumerate("MGTPE", 2)},
         **{f"{letter}i": 1024.0 ** power for power, letter in enumerate("KMGTPE", 1)}}


def in_bytes(text: object) -> int | None:
    """A quantity in bytes."""
    match = re.fullmatch(r"([0-9.]+(?:[eE][0-9]{1,3})?)([kKMGTPE]?i?|m)", str(text if text is not None else ""))
    with contextlib.suppress(ValueError, KeyError):
        if match:
            return int(float(match[1]) * SIZES[match[2]])
    return None


def conditions_of(item: Object) -> Iterator[Object]:
    for one in (item.get("status") or {}).get("conditions") or []:
        if isinstance(one, dict) and one.get("type"):
            yield one


def node_facts(item: Object) -> Object:
    status, spec = item.get("status") or {}, item.get("spec") or {}
    conditions = {str(one["type"]): one for one in conditions_of(item)}
    ready = conditions.get("Ready", {})
    labels = item["metadata"].get("labels") or {}
    return {
        "name": name(item), "ready": ready.get("status") == "True",
        "why": "" if ready.get("status") == "True" else flat(
            ready.get("message") or ready.get("reason") or "it has not said anything yet"),
        "conditions": {kind: str(one.get("status")) for kind, one in conditions.items()},
        "version": str((status.get("nodeInfo") or {}).get("kubeletVersion") or ""),
        "addresses": [str(one.get("address")) for one in status.get("addresses") or []],
        "unschedulable": bool(spec.get("unschedulable")),
        "pressures": [kind for kind, one in conditions.items()
                      if kind.endswith("Pressure") and one.get("status") == "True"],
        "taints": [f"{one.get('key')}{'=' + str(one['value']) if one.get('value') else ''}:{one.get('effect')}"
                   for one in spec.get("taints") or []],
        "capacity": dict(status.get("capacity") or {}), "heartbeat": epoch(ready.get("lastHeartbeatTime")),
        "ready_since": epoch(ready.get("lastTransitionTime")),
        "server": any(label in labels for label in ("node-role.kubernetes.io/control-plane",
                                                    "node-role.kubernetes.io/master")),
    }


def own_node(nodes: list[Object]) -> str:
    """The name of the node that this is; empty when none of them is."""
    names = {name(node) for node in nodes}
    own = ""
    with contextlib.suppress(OSError):
        match = re.search(r"^node-name:[ \t]*[\"']?([^\s\"'#]+)", Path("/etc/rancher/k3s/config.yaml").read_text(),
                          re.M)
        own = match[1] if match else ""
    return next((one for one in (own, socket.gethostname().lower()) if one in names),
                names.pop() if len(names) == 1 else "")


def pod_facts(item: Object) -> Object:
    metadata, status = item["metadata"], item.get("status") or {}
    conditions = {str(one["type"]): {
        "status": str(one.get("status")), "reason": str(one.get("reason") or ""),
        "message": flat(one.get("message")), "since": epoch(one.get("lastTransitionTime")),
    } for one in conditions_of(item)}
    owner = next((f"{one.get('kind')}/{one.get('name')}" for one in metadata.get("ownerReferences") or []
                  if one.get("controller")), "")
    workload = owner
    labels = metadata.get("labels") or {}
    if owner.startswith("ReplicaSet/"):
        made = owner.partition("/")[2]
        suffix = f"-{labels.get('pod-template-hash')}"
        workload = f"Deployment/{made[:-len(suffix)] if made.endswith(suffix) else REVISION.sub('', made)}"
    spec = item.get("spec") or {}
    return {
        "namespace": str(metadata.get("namespace") or ""), "name": name(item), "uid": str(metadata.get("uid") or ""),
        "node": str(spec.get("nodeName") or ""), "ip": str(status.get("podIP") or ""), "labels": dict(labels),
        "owner": owner, "workload": workload, "phase": str(status.get("phase") or ""),
        "reason": str(status.get("reason") or ""), "message": flat(status.get("message")),
        "ready": conditions.get("Ready", {}).get("status") == "True", "created": epoch(metadata.get(
            "creationTimestamp")), "deleted": epoch(metadata.get("deletionTimestamp")), "conditions": conditions,
        "claims": [one["persistentVolumeClaim"].get("claimName") for one in spec.get("volumes") or []
                   if one.get("persistentVolumeClaim")],
        "pull_secrets": [str(one.get("name")) for one in spec.get("imagePullSecrets") or []],
        "containers": [container_facts(one, kind == "initContainerStatuses")
                       for kind in ("containerStatuses", "initContainerStatuses") for one in status.get(kind) or []],
        "spec_images": {str(one.get("name")): str(one.get("image") or "") for one in spec.get("containers") or []},
    }


def named_out(value: Any, told: frozenset[str]) -> Any:  # noqa: ANN401 - JSON
    """A specification without what stands beside a name that looks secret: headers of a probe, ``--password`` and what
    follows it."""
    if isinstance(value, dict):
        secret = "value" in value and is_secret(str(value.get("name"))) and value.get("name") not in told
        return {key: MASK if secret and key == "value" else named_out(one, told) for key, one in value.items()}
    if isinstance(value, list):
        return [MASK if isinstance(one, str) and at and isinstance(before := value[at - 1], str)
                and re.fullmatch(r"--?[\w-]+", before) and is_secret(before) else named_out(one, told)
                for at, one in enumerate(value)]
    return value


def container_facts(item: Object, init: bool) -> Object:
    state: Object = item.get("state") or {}
    kind = next(iter(state), "waiting")
    detail = state.get(kind) or {}
    last = (item.get("lastState") or {}).get("terminated") or {}
    return {
        "name": str(item.get("name")), "id": str(item.get("containerID") or "").rpartition("//")[2],
        "image": str(item.get("image") or ""), "image_id": str(item.get("imageID") or ""),
        "ready": bool(item.get("ready")), "restarts": int(item.get("restartCount") or 0), "state": kind, "init": init,
        "started_ok": item.get("started"), "started_once": bool(item.get("containerID") or last),
        "reason": str(detail.get("reason") or ""), "message": flat(detail.get("message")),
        "exit_code": detail.get("exitCode"), "started": epoch(detail.get("startedAt")),
        "finished": epoch(detail.get("finishedAt")),
        "last": {"reason": str(last.get("reason") or ""), "exit_code": last.get("exitCode"),
                 "finished": epoch(last.get("finishedAt")), "message": flat(last.get("message"))},
        "log": [],
    }


def failing(pod: Object, container: Object, now: float) -> bool:
    """Whether a container has ended badly and is not well since."""
    if pod["ready"] or container["ready"] or pod["phase"] == "Succeeded":
        return False
    if container["state"] == "terminated":
        return bool(container["exit_code"])
    if container["state"] == "waiting":
        return container["reason"] not in ("ContainerCreating", "PodInitializing") and bool(container["restarts"])
    # It runs and is not ready: its own words are the best there is, after a while.
    return container["restarts"] > 0 or now - (container["started"] or now) > 20


def workload_facts(item: Object) -> Object:
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    template = spec.get("template") or {}
    counts = {"replicas": "desiredNumberScheduled", "ready": "numberReady", "available": "numberAvailable",
              "updated": "updatedNumberScheduled"} if item["kind"] == "DaemonSet" else \
        {"ready": "readyReplicas", "available": "availableReplicas", "updated": "updatedReplicas"}
    return {
        "kind": item["kind"], "namespace": str(metadata.get("namespace") or ""), "name": name(item),
        "replicas": spec.get("replicas", 1), **{key: int(status.get(own) or 0) for key, own in counts.items()},
        "generation": metadata.get("generation"), "observed": status.get("observedGeneration"),
        "images": {str(one.get("name")): str(one.get("image") or "")
                   for one in (template.get("spec") or {}).get("containers") or []},
        "spec": spec, "labels": dict(metadata.get("labels") or {}), "created": epoch(metadata.get("creationTimestamp")),
        "conditions": {str(one["type"]): {"status": str(one.get("status")), "reason": str(one.get("reason") or ""),
                                          "message": flat(one.get("message"))}
                       for one in conditions_of(item)},
        "revisions": [status.get("currentRevision"), status.get("updateRevision")],
        "managers": sorted({str(one.get("manager")) for one in metadata.get("managedFields") or []}),
    }


def claim_facts(item: Object) -> Object:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    annotations = item["metadata"].get("annotations") or {}
    return {
        "namespace": str(item["metadata"].get("namespace") or ""), "name": name(item),
        "uid": str(item["metadata"].get("uid") or ""), "phase": str(status.get("phase") or "Pending"),
        "volume": str(spec.get("volumeName") or ""), "class": spec.get("storageClassName"),
        "requested": in_bytes(((spec.get("resources") or {}).get("requests") or {}).get("storage")),
        "storage": ((spec.get("resources") or {}).get("requests") or {}).get("storage"),
        "access_modes": list(spec.get("accessModes") or []),
        "node": str(annotations.get("volume.kubernetes.io/selected-node") or ""),
        "deleted": epoch(item["metadata"].get("deletionTimestamp")),
    }


def folder_there(path: str, unread: Callable[[OSError], None]) -> bool | None:
    """Whether a folder is there; None when nobody can say, as on a disk that does not answer."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        unread(error)
        return None


def volume_facts(item: Object, mine: str, unread: Callable[[OSError], None]) -> Object:
    spec = item.get("spec") or {}
    claim = spec.get("claimRef") or {}
    path, node = path_of(item), node_of(item)
    return {
        "name": name(item), "phase": str((item.get("status") or {}).get("phase") or ""),
        "claim": f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        "claim_uid": str(claim.get("uid") or ""), "capacity": in_bytes((spec.get("capacity") or {}).get("storage")),
        "path": path, "node": node, "class": str(spec.get("storageClassName") or ""),
        "reclaim": str(spec.get("persistentVolumeReclaimPolicy") or ""),
        # Only this node can say whether a folder of this node is there.
        "folder": folder_there(path, unread) if path and mine and node == mine else None,
    }


def class_facts(item: Object) -> Object:
    annotations = item["metadata"].get("annotations") or {}
    return {"name": name(item), "default": annotations.get("storageclass.kubernetes.io/is-default-class") == "true",
            "provisioner": str(item.get("provisioner") or ""), "reclaim": str(item.get("reclaimPolicy") or ""),
            "binding": str(item.get("volumeBindingMode") or "")}


def addresses(service: str, slices: list[Object]) -> tuple[list[str], list[str]]:
    """Where a Service leads: addresses that are ready, and those that are not."""
    ready: list[str] = []
    waiting: list[str] = []
    for one in slices:
        if (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service:
            for endpoint in one.get("endpoints") or []:
                good = (endpoint.get("conditions") or {}).get("ready") is not False
                (ready if good else waiting).extend(endpoint.get("addresses") or [])
    return sorted(set(ready)), sorted(set(waiting) - set(ready))


def service_facts(item: Object, slices: list[Object]) -> Object:
    spec = item.get("spec") or {}
    ready, waiting = addresses(name(item), slices)
    return {"name": name(item), "type": str(spec.get("type") or "ClusterIP"), "selector": dict(spec.get("selector")
            or {}), "cluster_ip": str(spec.get("clusterIP") or ""), "ports": list(spec.get("ports") or []),
            "ready": ready, "not_ready": waiting}


def decoded(secret: Object) -> dict[str, bytes]:
    """A Secret's values."""
    found = {}
    for key, value in (secret.get("data") or {}).items():
        with contextlib.suppress(binascii.Error, ValueError, TypeError):
            found[str(key)] = base64.b64decode(value)
    return found


def secret_facts(item: Object) -> Object:
    metadata = item["metadata"]
    created = epoch(metadata.get("creationTimestamp"))
    times = [epoch(one.get("time")) for one in metadata.get("managedFields") or []]
    return {"type": str(item.get("type") or ""), "keys": sorted(item.get("data") or {}),
            "empty": sorted(key for key, value in decoded(item).items() if not value),
            "owner": next((f"{one.get('kind')}/{one.get('name')}"
                           for one in metadata.get("ownerReferences") or []), ""),
            "created": created, "changed": max((one for one in (*times, created) if one), default=None)}


def sealed_facts(item: Object) -> Object:
    metadata, status = item["metadata"], item.get("status") or {}
    synced = next((one for one in conditions_of(item) if one["type"] == "Synced"), None)
    known = {"True": True, "False": False}
    times = [epoch(one.get("time")) for one in metadata.get("managedFields") or []]
    return {
        "synced": known.get(str(synced.get("status"))) if synced else None,
        "why": flat(synced.get("message") or synced.get("reason") or "") if synced else "",
        "generation": metadata.get("generation"), "observed": status.get("observedGeneration"),
        "changed": max((one for one in (*times, epoch(metadata.get("creationTimestamp"))) if one), default=None),
        "keys": sorted((item.get("spec") or {}).get("encryptedData") or {}),
        "type": str(((item.get("spec") or {}).get("template") or {}).get("type") or "Opaque"),
    }


def recent(events: list[Object], now: float) -> list[Object]:
    """Events of the last hour: warnings first, the newest of each kind first."""
    found: list[Object] = []
    for item in events:
        series = item.get("series") or {}
        last = epoch(series.get("lastObservedTime") or item.get("lastTimestamp") or item.get("eventTime")
                     or item["metadata"].get("creationTimestamp"))
        if last is None or now - last > EVENT_SECONDS:
            continue
        about = item.get("involvedObject") or {}
        found.append({
            "kind": str(about.get("kind") or ""), "name": str(about.get("name") or ""),
            "uid": str(about.get("uid") or ""), "namespace": str(about.get("namespace") or ""),
            "type": str(item.get("type") or ""), "reason": str(item.get("reason") or ""),
            "message": flat(item.get("message")),
            "count": int(series.get("count") or item.get("count") or 1), "last": last})
    found.sort(key=lambda one: (one["type"] != "Warning", -one["last"]))
    return found[:MOST_EVENTS]


# --- processes ------------------------------------------------------------------------------------


def sources(
    container: Object, secrets: Mapping[str, Mapping[str, str]], maps: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[str, str, str]]:
    """Which key of which Secret or ConfigMap gives each variable; those that something else overrides left out."""
    found: dict[str, tuple[str, str, str]] = {}
    for source in container.get("envFrom") or []:
        for kind, field, known in (("ConfigMap", "configMapRef", maps), ("Secret", "secretRef", secrets)):
            owner = str((source.get(field) or {}).get("name") or "")
            for key in known.get(owner, ()):
                found[str(source.get("prefix") or "") + key] = (kind, owner, key)
    for one in container.get("env") or []:
        found.pop(str(one.get("name")), None)
        for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            reference = (one.get("valueFrom") or {}).get(field)
            if reference:
                found[str(one.get("name"))] = (kind, str(reference.get("name")), str(reference.get("key")))
    return found


def verdict_of(real: str | None, now: str) -> str:
    """Whether a process has what it would get now."""
    return "missing" if real is None else "same" if real == now else "differs"


def page(address: str, port: int, path: str) -> Object:
    """What one page answers."""
    started = time.monotonic()
    status: int | None = None
    body = why = ""
    connection = http.client.HTTPConnection(address, port, timeout=PAGE_SECONDS)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        status, body = answer.status, answer.read(PAGE_BYTES).decode(errors="replace")
    except TimeoutError:
        why = f"{address}:{port} did not answer within {PAGE_SECONDS:g} s"
    except (OSError, http.client.HTTPException) as error:
        why = f"{address}:{port}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    finally:
        connection.close()
    return {"status": status, "body": body, "seconds": round(time.monotonic() - started, 3), "why": why}
