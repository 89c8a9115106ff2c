"""Compares what runs in the cluster with the contract and, where it is given, with what git renders (seed 001, 2-1 and
Steps 1 to 6). Pure functions from facts to findings.

Of what follows from something else only the cause is a finding: a pod whose image cannot be pulled makes its workload
unavailable and its Service empty, and is told of once.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kube.wait import NO_PLACE, NOISE, NOT_ALLOWED, NOT_THERE, TELLING, one_line

from ..checks import finding
from ..checks.images import full_name, split_image
from ..checks.subject import declared
from ..facts import ManifestFacts
from ..model import Finding, Kind, Layer, Place, Severity
from ..spec import Contract, Environment, Workload
from .live_objects import Git, Live, again, live_objects
from .node import told_variables
from .seen import replaced, went_down

Facts = Mapping[str, Any]

NETWORK = re.compile(
    r"no such host|dial tcp|i/o timeout|connection refused|connection reset|x509|tls:|deadline exceeded|"
    r"network is unreachable|no route to host|server misbehaving|EOF", re.IGNORECASE)
"""Words of a registry that was never reached."""

REFUSED_KEY = re.compile(r"EGW00(?:003|004|10[2-5]|206|304)")
"""Access denied, no right, key or secret of the app missing or not valid, no right to this API. Other numbers are a
day's work: EGW00201 is too many calls in a second, EGW00123 a token that is over and renewed."""

ACCEPTED_KEY = re.compile(
    r"accepts the key|\"kis_state\": ?\"ok\"|\"rt_cd\": ?\"0\"|EGW00(?:12[1-3]|133|201)"
    r"|token (?:was |is |has been )?(?:issued|refreshed|renewed|obtained|acquired)"
    r"|토큰\S* ?(?:발급|갱신)\S* ?(?:성공|완료)", re.IGNORECASE)
"""Whoever calls too often, or with an old token, has a key that was accepted."""

PROVISIONED = re.compile(r"pvc-[0-9a-f-]{36}_[a-z0-9-]+_.+")
"""What local-path calls folders; the collector on a node lists those alone."""
DENIED = re.compile(r"permission denied|EACCES|read-only file system|Operation not permitted", re.IGNORECASE)
VALUES = re.compile(
    r"environment variable|KeyError|getaddrinfo|could not translate host|Name or service not known|is not set|"
    r"is missing|password authentication", re.IGNORECASE)
SETTLED_SECONDS = 20.0
"""Warnings about something that became ready belong to its start, even those that came a little later."""

PASSING = {"ClusterIPNotAllocated", "CgroupV1", "InvalidDiskCapacity", "Rebooted", "NodeNotReady", "CIDRNotAvailable",
           "CIDRAssignmentFailed", "DNSConfigForming", "FreeDiskSpaceFailed", "FailedToCreateEndpoint",
           "FailedToUpdateEndpoint", "FailedToUpdateEndpointSlices"}
"""Warnings of K3s' own start, of what is tried again at once, and of the node, whose state is looked at itself."""

MISSES = 3
"""So many probes in a row have to fail before anything comes of it; fewer are a moment's delay."""

STUCK_SECONDS = 60.0
RESTART_SECONDS = 3600.0


def request(contract: Contract, namespace: str) -> dict[str, Any]:
    """What ``living.cluster.collect`` is asked for."""
    app, container = contract.app_workload, contract.app_container
    service = contract.app_service.name if contract.app_service else ""
    data = contract.paths.get("data")
    mount = next((mount for target, mount in container.volumes.items() if data and
                  f"{data.path}/".startswith(f"{target}/")), None)
    return {
        "namespace": namespace, "kinds": sorted({one.kind for one in contract.workloads.values()}),
        "http": {"service": service, "workload": f"{app.kind}/{app.name}", "port": contract.app.port,
                 "paths": list(contract.app.routes)} if service else {},
        "telling": f"{REFUSED_KEY.pattern}|(?i:{ACCEPTED_KEY.pattern})",
        "logs": sorted({one.name for _, one in contract.containers()}),
        "spaces": sorted({str(one["namespace"]) for one in contract.cluster.get("pods") or ()}),
        "variables": {one.name: told_variables(contract, one) for _, one in contract.containers()},
        "data_claim": mount.source if mount else "",
        "secret_names": sorted({key for one in contract.secrets.values() for key in (*one.required, *one.optional)}),
    }


def check_cluster(
    contract: Contract, live: Mapping[str, Any], manifests: ManifestFacts | None = None
) -> Iterator[Finding]:
    """What runs against what was agreed.

    :param live: LiveFacts: ``cluster`` (ClusterFacts), ``nodes`` (NodeFacts by host, may be empty) and ``environment``
        of the contract (left out, that of the namespace).
    :param manifests: what git renders for this environment.
    """
    cluster: Facts = live.get("cluster") or {}
    environment = live.get("environment") or contract.environment_of(str(cluster.get("namespace") or ""))
    look = Look(contract, cluster, live.get("nodes") or {}, environment, Git(contract, manifests))
    if not cluster or not cluster["api"]["answers"]:
        why = cluster["api"]["why"] if cluster else "nothing was read"
        yield finding("LIVE-01", "cluster.api", Layer.CLUSTER, None, "API server", expected="an answer",
                      actual=why, why=why, command="sudo systemctl status k3s; sudo journalctl -u k3s -n 50")
        return
    yield from errors(look)
    for check in (nodes, storage_class, cluster_pods):
        if look.read(check.__name__):
            yield from check(look)
    if cluster["namespace_phase"] not in ("Active", None):
        gone = not cluster["namespace_phase"]
        yield finding("LIVE-07", "cluster.namespace", Layer.DEPLOYMENT, look.git.place("Namespace", look.space),
                      f"Namespace {look.space}", expected="Active", actual="missing" if gone else
                      cluster["namespace_phase"], command=f"kubectl get namespace {look.space}")
        return
    if look.read("rules"):
        yield from Live(contract, live_objects(cluster, look.git), look.git, look.inventory).findings()
    for check in (secrets, claims, workloads, services, pages, older_values, images, volumes, several_nodes, warnings,
                  outside):
        if look.read(check.__name__):
            yield from check(look)


WORKLOADS = {"deployments", "statefulsets", "daemonsets"}
OBJECTS = {"claims", "services", "ConfigMaps", "Secrets"} | WORKLOADS
NEEDS: Mapping[str, set[str]] = {
    "nodes": {"nodes"}, "storage_class": {"storage classes"}, "cluster_pods": {"pods", "events"}, "rules": OBJECTS,
    "secrets": {"Secrets", "SealedSecrets"}, "claims": {"claims", "volumes", "storage classes", "pods"},
    "workloads": {"pods", "events", "claims", "Secrets"} | WORKLOADS, "services": {"services", "endpoints", "pods"},
    "pages": {"services", "endpoints", "pods"}, "older_values": {"pods", "Secrets", "ConfigMaps"},
    "images": {"pods"} | WORKLOADS, "volumes": {"volumes", "claims"}, "several_nodes": {"pods", "claims", "volumes"},
    "warnings": OBJECTS | {"pods", "events", "SealedSecrets"},
}
"""What has to be read before a check can say that something is missing."""


@dataclass
class Look:
    """The facts, and what was found so far: later checks leave out what earlier ones explain.

    :ivar blamed: workloads (``Deployment/observer``), claims and objects of which the cause is told.
    """

    contract: Contract
    cluster: Facts
    hosts: Mapping[str, Facts]
    environment: Environment | None
    git: Git
    blamed: set[str] = field(default_factory=set)

    def read(self, check: str) -> bool:
        """Whether all was read that a check needs. What the API server does not know is not there: that was read."""
        unread = {one["about"] for one in self.cluster["errors"] if one.get("kind") != "missing"}
        return not unread & NEEDS.get(check, set())

    @property
    def space(self) -> str:
        return str(self.cluster["namespace"])

    @property
    def inventory(self) -> str:
        """The name of the environment; empty for a namespace that the contract does not know."""
        return self.environment.name if self.environment else ""

    @property
    def now(self) -> float:
        return float(self.cluster["now"])

    @cached_property
    def pods(self) -> list[Facts]:
        """Those of the namespace."""
        return [pod for pod in self.cluster["pods"] if pod["namespace"] == self.space]

    def pods_of(self, workload: str) -> list[Facts]:
        return [pod for pod in self.pods if pod["workload"] == workload]

    def workload(self, wanted: Workload) -> Facts | None:
        return next((one for one in self.cluster["workloads"]
                     if (one["kind"], one["name"]) == (wanted.kind, wanted.name)), None)

    def claim(self, name: str) -> Facts | None:
        return next((one for one in self.cluster["claims"] if one["name"] == name), None)

    def warned(self, kind: str, name: str, namespace: str = "") -> list[str]:
        """Messages of warnings about an object, the newest first."""
        space = namespace or self.space
        return [f"{one['reason']}: {one['message']}" for one in self.cluster["events"] if one["type"] == "Warning"
                and (one["kind"], one["name"]) == (kind, name) and one["namespace"] in (space, "")]

    def host(self, node: str) -> Facts | None:
        """NodeFacts of a node of the cluster."""
        return next((one for one in self.hosts.values() if (one.get("k3s") or {}).get("node_name") == node), None)

    def describe(self, kind: str, name: str, namespace: str = "") -> str:
        return f"kubectl -n {namespace or self.space} describe {kind.lower()} {name}"


# --- the cluster ----------------------------------------------------------------------------------


def errors(look: Look) -> Iterator[Finding]:
    """What could not be read: nobody knows of it."""
    for one in look.cluster["errors"]:
        if one["about"] != "api":
            yield finding("LIVE-60", "check.cluster", Layer.CLUSTER, None, one["about"], actual="not read",
                          expected="read", why=one["why"])


def nodes(look: Look) -> Iterator[Finding]:
    """Nodes that are there, Ready, and run the right K3s (seed 001 2-1)."""
    found = {one["name"]: one for one in look.cluster["nodes"]}
    wanted = look.environment.node if look.environment else ""
    if found and wanted and wanted not in found:
        yield finding("LIVE-02", "cluster.nodes", Layer.CLUSTER, Place("roles/k3s/defaults/main.yml"), f"node {wanted}",
                      expected="Ready", actual="missing", why=f"the nodes are {', '.join(sorted(found))}",
                      command="kubectl get nodes -o wide")
    version = look.contract.cluster.get("k3s")
    for node in found.values():
        subject = f"node {node['name']}"
        if not node["ready"]:
            look.blamed.add(subject)
            yield finding("LIVE-02", "cluster.nodes", Layer.CLUSTER, None, subject, expected="Ready",
                          actual="not Ready", why=node["why"], command=f"kubectl describe node {node['name']}")
        for pressure in node["pressures"]:
            yield finding("LIVE-03", "cluster.nodes", Layer.NODE, None, subject, expected="no pressure",
                          actual=pressure, what=pressure, command="df -h; free -h")
        if node["unschedulable"]:
            yield finding("LIVE-03", "cluster.nodes", Layer.CLUSTER, None, subject, expected="schedulable",
                          actual="unschedulable", what="SchedulingDisabled",
                          command=f"kubectl uncordon {node['name']}")
        if version and node["version"] != version:
            yield finding("LIVE-04", "cluster.k3s", Layer.CLUSTER, look.contract.place("cluster", "k3s"), subject,
                          expected=version, actual=node["version"], related=[declared(look.contract, "cluster", "k3s")],
                          command="kubectl get nodes -o wide")


def storage_class(look: Look) -> Iterator[Finding]:
    """The class that claims are of (seed 001 2-1). What is deleted by mistake stays on the disk: Retain."""
    wanted = look.contract.cluster.get("storageClass") or {}
    if not wanted:
        return
    name = str(wanted["name"])
    subject, command = f"StorageClass {name}", "kubectl get storageclass"
    found = next((one for one in look.cluster["storage_classes"] if one["name"] == name), None)
    related = [declared(look.contract, "cluster", "storageClass")]
    if found is None:
        yield finding("LIVE-05", "cluster.storageClass", Layer.CLUSTER, None, subject, expected=name, actual="missing",
                      what="it", related=related, command=command)
        return
    table = [("provisioner", wanted.get("provisioner"), found["provisioner"]),
             ("reclaimPolicy", "Retain", found["reclaim"]), ("default", wanted.get("default"), found["default"])]
    for what, expected, actual in table:
        if expected is not None and expected != actual:
            yield finding("LIVE-05", "cluster.storageClass", Layer.CLUSTER, None, subject, expected=expected,
                          actual=actual, what=what, related=related, command=command)
    others = [one["name"] for one in look.cluster["storage_classes"] if one["default"] and one["name"] != name]
    if others and wanted.get("default"):
        yield finding("LIVE-05", "cluster.storageClass", Layer.CLUSTER, None, subject, expected=name,
                      actual=[name, *others], what="the default class", related=related, command=command)


def cluster_pods(look: Look) -> Iterator[Finding]:
    """What volumes and Secrets are made by (seed 001 2-1)."""
    for number, wanted in enumerate(look.contract.cluster.get("pods") or ()):
        space = str(wanted["namespace"])
        key, _, value = str(wanted.get("label") or "").partition("=")
        found = [pod for pod in look.cluster["pods"] if pod["namespace"] == space and pod["deleted"] is None
                 and (not key or pod["labels"].get(key) == value)]
        if any(pod["ready"] for pod in found):
            continue
        subject = f"pods of {space}" + (f" with {key}={value}" if key else "")
        look.blamed.add(f"namespace {space}")
        problem = next((one for pod in found if (one := pod_finding(look, pod))), None)
        yield finding("LIVE-06", "cluster.pods", Layer.CLUSTER, None, subject, expected="ready",
                      actual="not ready" if found else "missing", why=problem.values.get("why", "") if problem else
                      "none of them is ready" if found else "there is none",
                      related=[declared(look.contract, "cluster", "pods", number)],
                      command=f"kubectl -n {space} get pods")


# --- Secrets --------------------------------------------------------------------------------------


def secrets(look: Look) -> Iterator[Finding]:
    """Secrets, their keys, and the SealedSecrets that they come from (fixed contract 3, CF-1, CF-2)."""
    opened = look.cluster["sealed_secrets"]
    for secret in look.contract.secrets.values():
        name, clause = secret.name, f"secrets.{secret.name}"
        related = [declared(look.contract, "secrets", name)]
        place = look.git.place("SealedSecret", name)
        found, sealed = look.cluster["secrets"].get(name), opened.get(name)
        subject, command = f"Secret {look.space}/{name}", look.describe("sealedsecret", name)
        if sealed and not (sealed["synced"] and (sealed["observed"] or 0) >= (sealed["generation"] or 0)):
            late = sealed["synced"] is not False
            why = sealed["why"] or "the controller has not looked at it yet"
            look.blamed |= {subject, f"SealedSecret {name}"}
            yield finding("LIVE-30", clause, Layer.CLUSTER if late else Layer.CONFIG, place, f"SealedSecret {name}",
                          expected="opened", actual="not looked at" if late else "not opened", why=one_line(why),
                          related=related, command=command, generation=sealed["generation"],
                          observed=sealed["observed"])
            if found is None:
                continue
        if found is None:
            look.blamed.add(subject)
            why = "its SealedSecret is opened, so somebody has deleted it" if sealed else "it has no SealedSecret"
            yield finding("LIVE-26", clause, Layer.CONFIG, place, subject, expected=name, actual="missing", why=why,
                          related=related, command=command)
            continue
        for key in secret.required:
            if key not in found["keys"] or key in found["empty"]:
                look.blamed.add(subject)
                there = bool(sealed and key in sealed["keys"])
                delete, run = f"kubectl -n {look.space} delete secret {name}", again(look.inventory)
                mend_en, mend_ko = (
                    f"Delete it (`{delete}`): its SealedSecret has the key, and the controller makes it anew.",
                    f"삭제하면 (`{delete}`) 키가 있는 SealedSecret에서 다시 생성된다.") if there else (
                    f"Add {key} to the vault, run playbooks/secrets.yml, and then {run}.",
                    f"vault에 {key}을(를) 추가하고 playbooks/secrets.yml 후 {run}을(를) 실행한다.")
                yield finding("LIVE-27", clause, Layer.CONFIG, None if there else place, subject, expected=key,
                              actual="empty" if key in found["empty"] else "missing", key=key, related=related,
                              mend_en=mend_en, mend_ko=mend_ko,
                              command=f"kubectl -n {look.space} describe secret {name}")
        if secret.sealed and found["owner"] != f"SealedSecret/{name}":
            yield finding("LIVE-28", clause, Layer.CONFIG, place, subject, expected=f"SealedSecret/{name}",
                          actual=found["owner"] or "made by hand", related=related, command=command)
        if found["type"] != secret.type:
            yield finding("LIVE-29", clause, Layer.CONFIG, place, subject, expected=secret.type, actual=found["type"],
                          related=related, command=command)


# --- volumes --------------------------------------------------------------------------------------


def claims(look: Look) -> Iterator[Finding]:
    """Claims that have no volume, or one whose folder is gone (seed 001 2-1-1)."""
    volumes_by_name = {one["name"]: one for one in look.cluster["volumes"]}
    for name, resource in look.contract.resources.items():
        claim = look.claim(name) if resource.type == "claim" else None
        if claim is None:
            continue
        clause, subject = f"volumes.{name}", f"PersistentVolumeClaim {look.space}/{name}"
        related = [declared(look.contract, "resources", name)]
        place = look.git.place("PersistentVolumeClaim", name)
        if claim["phase"] != "Bound":
            why, layer = unbound(look, claim)
            users = [pod for pod in look.pods if name in pod["claims"] and pod["deleted"] is None]
            if not why and users:
                continue  # It waits for its pod, of which there is more to say.
            look.blamed.add(f"claim {name}")
            yield finding("LIVE-21", clause, layer, place, subject, expected="Bound", actual=claim["phase"],
                          why=why or "no pod uses it", related=related, command=look.describe("pvc", name))
            continue
        volume = volumes_by_name.get(claim["volume"])
        if volume is None or folder_of(look, volume) is False:
            look.blamed.add(f"claim {name}")
            path = volume["path"] if volume else claim["volume"]
            yield finding("LIVE-22", clause, Layer.NODE if volume else Layer.CLUSTER, None, subject, expected=path,
                          actual="missing", path=path, node=volume["node"] if volume else "", related=related,
                          command=f"sudo ls -ld {path}" if volume else f"kubectl get pv {path}")


def unbound(look: Look, claim: Facts) -> tuple[str, Layer]:
    """Why a claim has no volume, and whose matter that is; no words while it merely waits for its pod."""
    if claim["phase"] == "Lost":
        return f"its volume {claim['volume']} is gone", Layer.CLUSTER
    known = [one["name"] for one in look.cluster["storage_classes"]]
    wanted = look.contract.cluster.get("storageClass") or {}
    if claim["class"] is None:
        return "it names no StorageClass, and there was no default one when it was made", Layer.CLUSTER
    if claim["class"] not in known:
        layer = Layer.CLUSTER if claim["class"] == wanted.get("name") else Layer.DEPLOYMENT
        return f"there is no StorageClass {claim['class']}", layer
    said = [one for one in look.warned("PersistentVolumeClaim", claim["name"]) if one.startswith("ProvisioningFailed")]
    if claim["node"] and said:
        return one_line(said[0]), Layer.CLUSTER
    if claim["node"] and "namespace kube-system" in look.blamed:
        return "what makes volumes does not run", Layer.CLUSTER
    helper = next((pod for pod in look.cluster["pods"]
                   if pod["name"].startswith(f"helper-pod-create-pvc-{claim['uid']}")), None)
    problem = pod_finding(look, helper) if helper else None
    if problem:
        return f"the folder is not made: {problem.values.get('why', '')}", Layer.NODE
    return ("its volume is being made" if claim["node"] else ""), Layer.CLUSTER


def folder_of(look: Look, volume: Facts) -> bool | None:
    """Whether a volume's folder is on its node; None where nobody has looked."""
    if volume["folder"] is not None:
        return bool(volume["folder"])
    host = look.host(volume["node"])
    path = posixpath.normpath(volume["path"]) if volume["path"] else ""
    if host is None or not path:
        return None
    # What a container has mounted is there, wherever it lies.
    used = {str(mount.get("source")) for one in host.get("containers") or () for mount in one.get("mounts") or ()}
    used = {one for one in used if f"{one}/".startswith(f"{path}/") and not one.endswith("//deleted")}
    if used or path in {posixpath.normpath(one["path"]) for one in host.get("volumes") or ()}:
        return True
    # Only folders that local-path has made are listed there; of a volume elsewhere that says nothing.
    storage = posixpath.normpath((host.get("storage") or {}).get("path") or "/")
    listed = host.get("volumes") is not None and not any(
        one.get("about") in (storage, "volumes") for one in host.get("errors") or ())
    parent, name = posixpath.split(path)
    return False if listed and parent == storage and PROVISIONED.fullmatch(name) else None


def volumes(look: Look) -> Iterator[Finding]:
    """Volumes that nobody uses any more, folders without a volume, and volumes that hold more than was asked for."""
    measured = {one["path"]: one for host in look.hosts.values() for one in host.get("volumes") or ()}
    known = {posixpath.normpath(one["path"]) for one in look.cluster["volumes"] if one["path"]}
    for volume in look.cluster["volumes"]:
        size = (measured.get(volume["path"]) or {}).get("bytes")
        if volume["phase"] in ("Released", "Failed"):
            yield finding("LIVE-24", "volumes.released", Layer.CLUSTER, None, f"PersistentVolume {volume['name']}",
                          expected="Bound", actual=volume["phase"], claim=volume["claim"], size=in_words(size),
                          path=volume["path"], node=volume["node"],
                          command=f"kubectl describe pv {volume['name']}")
        claim = look.claim(volume["claim"].partition("/")[2]) if volume["claim"].startswith(f"{look.space}/") else None
        if claim and claim["volume"] == volume["name"] and claim["requested"] and size and size > claim["requested"]:
            yield finding("LIVE-23", f"volumes.{claim['name']}", Layer.DEPLOYMENT,
                          look.git.place("PersistentVolumeClaim", claim["name"], "spec", "resources", "requests",
                                         "storage"),
                          f"PersistentVolumeClaim {look.space}/{claim['name']}", expected=in_words(claim["requested"]),
                          actual=in_words(size), path=volume["path"], command=f"sudo du -sh {volume['path']}")
    for host in look.hosts.values():
        for one in host.get("volumes") or ():
            if posixpath.normpath(one["path"]) not in known:
                yield finding("LIVE-25", "volumes.orphans", Layer.NODE, None, one["path"], expected="a volume",
                              actual="none", size=in_words(one.get("bytes")), host=host.get("host", ""),
                              claim=f"{one.get('namespace', '')}/{one.get('claim', '')}".strip("/"),
                              command=f"sudo du -sh {one['path']}")


def in_words(size: float | None) -> str:
    """A size as people write it."""
    if size is None:
        return "of unknown size"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    return ""


# --- workloads and pods ---------------------------------------------------------------------------


def workloads(look: Look) -> Iterator[Finding]:
    """Workloads that are available, and pods that are well (seed 001, Steps 1 and 2)."""
    for wanted in look.contract.workloads.values():
        item = look.workload(wanted)
        if item is None:
            look.blamed.add(f"{wanted.kind}/{wanted.name}")  # a rule of the contract tells of it
            continue
        name = f"{wanted.kind}/{wanted.name}"
        problems = [one for pod in look.pods_of(name) if (one := pod_finding(look, pod))]
        claims_of = {one for pod in look.pods_of(name) for one in pod["claims"]}
        excused = any(f"claim {one}" in look.blamed for one in claims_of)
        # Of pods that have the same trouble one is enough.
        yield from {(one.code, one.values.get("why")): one for one in reversed(problems)}.values()
        if problems or excused or name in look.blamed:
            look.blamed.add(name)
        elif item["available"] < item["replicas"]:
            look.blamed.add(name)
            refused = item["conditions"].get("ReplicaFailure", {}).get("message") or next(
                (one for one in look.warned(wanted.kind, wanted.name) if one.startswith("FailedCreate")), "")
            yield finding("LIVE-11", f"workloads.{wanted.name}", Layer.DEPLOYMENT, look.git.place(
                wanted.kind, wanted.name, "spec", "template"), f"{wanted.kind} {look.space}/{wanted.name}",
                expected=item["replicas"], actual=item["available"],
                why=f"its pods are refused: {one_line(refused)}" if refused else "its pods are starting",
                command=look.describe(wanted.kind, wanted.name))
        elif (item["observed"] or 0) < (item["generation"] or 0) or item["updated"] < item["replicas"]:
            yield finding("LIVE-12", f"workloads.{wanted.name}", Layer.DEPLOYMENT, None,
                          f"{wanted.kind} {look.space}/{wanted.name}", expected=f"generation {item['generation']}",
                          actual=f"generation {item['observed']}, {item['updated']} of {item['replicas']} pods",
                          command=f"kubectl -n {look.space} rollout status {wanted.kind.lower()}/{wanted.name}")
        yield from restarts(look, name)


def pod_finding(look: Look, pod: Facts) -> Finding | None:
    """What is wrong with a pod; None when it is well, or done."""
    if pod["deleted"] is not None:
        if look.now - pod["deleted"] < STUCK_SECONDS:
            return None
        return of_pod(look, "LIVE-19", pod, Layer.CLUSTER,
                      why=f"it has been ending for {look.now - pod['deleted']:.0f} s", actual="Terminating")
    if pod["ready"] or pod["phase"] == "Succeeded":
        return None
    if pod["phase"] == "Failed":
        why = one_line(f"{pod['reason'] or 'failed'}: {pod['message']}".rstrip(": "))
        beside = [one for one in look.cluster["pods"] if one["namespace"] == pod["namespace"]]
        if replaced(pod, beside, look.cluster["workloads"]):
            return None  # Another stands in its place; the event tells of it.
        return of_pod(look, "LIVE-19", pod, Layer.NODE if pod["reason"] == "Evicted" else Layer.DEPLOYMENT, why=why,
                      actual=pod["reason"] or "Failed")
    if not pod["node"]:
        return unscheduled(look, pod)
    wanted = {secret for one in pod["containers"] for secret in re.findall(r'secret "([\w.-]+)"', one["message"])}
    if any(f"Secret {look.space}/{name}" in look.blamed for name in wanted):
        look.blamed.add(pod["workload"])
        return None
    for container in sorted(pod["containers"], key=lambda one: not one["init"]):
        problem = container_finding(look, pod, container)
        if problem:
            return problem
    said = look.warned("Pod", pod["name"], pod["namespace"])
    latest = one_line(said[0]) if said else ""
    mounting = next((one for one in said if one.startswith(("FailedMount", "FailedAttach", "FailedCreatePodSandBox"))),
                    "")
    if mounting and not any(one["started"] for one in pod["containers"]):
        layer = Layer.NODE if "SandBox" in mounting or "no such" in mounting or "does not exist" in mounting \
            else Layer.DEPLOYMENT
        return of_pod(look, "LIVE-18", pod, layer, why=one_line(mounting), actual="ContainerCreating")
    why = not_ready_because(look, pod) or latest or "it is starting"
    return of_pod(look, "LIVE-19", pod, Layer.APP, why=why, actual="not ready")


def of_pod(
    look: Look, code: str, pod: Facts, layer: Layer, *, why: str, place: Place | None = None, **values: object
) -> Finding:
    kind, _, name = pod["workload"].partition("/")
    clause = f"workloads.{name}" if name in look.contract.workloads else "cluster.pods"
    return finding(code, clause, layer, place, f"pod {pod['namespace']}/{pod['name']}", expected="ready",
                   **{"actual": "not ready", "command": look.describe("pod", pod["name"], pod["namespace"]),
                      "workload": f"{kind} {name}", "pod": pod["name"], "why": why, **values})


def not_ready_because(look: Look, pod: Facts) -> str:
    """What the app itself says of its being not ready, when its pages were asked for."""
    app = look.contract.app_workload
    if pod["workload"] != f"{app.kind}/{app.name}":
        return ""
    answer = look.cluster["http"].get("/ready") or {}
    return f"/ready answers {reasons(answer)}" if answer.get("status") not in (200, None) else ""


def unscheduled(look: Look, pod: Facts) -> Finding | None:
    """A pod that has no node, with the scheduler's words."""
    condition = pod["conditions"].get("PodScheduled") or {}
    # What follows the reasons is about preemption.
    said = one_line(str(condition.get("message") or "").split(". no new claims")[0].split(" preemption:")[0], 600)
    if any(f"claim {name}" in look.blamed for name in pod["claims"]):
        return None
    layer = Layer.DEPLOYMENT
    if "volume node affinity" in said or "not-ready" in said or "unreachable" in said or not look.cluster["nodes"]:
        layer = Layer.CLUSTER
    elif "pressure" in said:
        layer = Layer.NODE
    kind, _, name = pod["workload"].partition("/")
    field_name = "resources" if "Insufficient" in said else "nodeSelector"
    path: tuple[str | int, ...] = ("spec", "template", "spec", "containers", 0, "resources", "requests") \
        if field_name == "resources" else ("spec", "template", "spec", "nodeSelector")
    place = look.git.place(kind, name, *path) if layer is Layer.DEPLOYMENT and NO_PLACE.search(said) else None
    return of_pod(look, "LIVE-13", pod, layer, why=said or "the scheduler has not looked at it yet", actual="Pending",
                  place=place)


def container_finding(look: Look, pod: Facts, container: Facts) -> Finding | None:
    """Why a container does not run."""
    reason, message = container["reason"], container["message"]
    values: dict[str, Any] = {"container": container["name"], "actual": reason or container["state"]}
    if container["state"] == "waiting":
        if reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "InvalidImageName",
                      "ErrImageNeverPull", "ImageInspectError"):
            return image_finding(look, pod, container, values)
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"):
            missing = re.search(r'(secret|configmap) "?([\w.-]+)"? not found|key (\S+) in (Secret|ConfigMap)', message,
                                re.IGNORECASE)
            return of_pod(look, "LIVE-18", pod, Layer.CONFIG if missing else Layer.DEPLOYMENT,
                          why=one_line(f"{reason}: {message}"), **values)
        if reason in ("CrashLoopBackOff", ""):
            return crash(look, pod, container, values) if container["last"]["exit_code"] is not None else None
        return None
    if container["state"] == "terminated" and container["exit_code"]:
        return crash(look, pod, container, values)
    if container["state"] == "running" and not container["ready"] and container["last"]["exit_code"] and \
            not went_down(container["last"]) and look.now - (container["last"]["finished"] or 0) < 10 * STUCK_SECONDS:
        return crash(look, pod, container, values)
    return None


def crash(look: Look, pod: Facts, container: Facts, values: dict[str, Any]) -> Finding:
    """A container that ends again and again, with what its log says last."""
    ended: Facts = container if container["state"] == "terminated" else container["last"]
    log = container["log"]
    telling = next((line for line in reversed(log) if TELLING.search(line) or DENIED.search(line)),
                   log[-1] if log else "")
    exit_words = f"exit code {ended['exit_code']}" + (
        f" ({ended['reason']})" if ended["reason"] not in ("", "Error", "Completed") else "")
    layer = Layer.APP
    words = " ".join(log[-10:])
    if ended["reason"] == "OOMKilled" or DENIED.search(words):
        layer = Layer.DEPLOYMENT
    elif VALUES.search(words):
        layer = Layer.CONFIG
    times = container["restarts"] + 1
    command = f"kubectl -n {pod['namespace']} logs {pod['name']} -c {container['name']} --previous"
    return of_pod(look, "LIVE-17", pod, layer, times=times, exit=exit_words, line=one_line(telling) or "nothing",
                  log="\n".join(log[-10:]), why=f"{container['name']} has ended {times} times, last with {exit_words}: "
                  f"{one_line(telling) or 'its log is empty'}", **{**values, "command": command})


def image_finding(look: Look, pod: Facts, container: Facts, values: dict[str, Any]) -> Finding:
    """Why an image is not pulled: the registry refuses, does not have it, or was never reached."""
    said = [container["message"], *(one for one in look.warned("Pod", pod["name"], pod["namespace"])
                                    if one.startswith(("Failed", "ErrImage")))]
    # While it backs off, only the events have the cause.
    message = next((one for one in said if NETWORK.search(one) or NOT_ALLOWED.search(one) or NOT_THERE.search(one)),
                   container["message"])
    why = one_line(NOISE.sub("", message))
    kind, _, name = pod["workload"].partition("/")
    at = pod["spec_images"].get(container["name"], container["image"])
    known = [f"Secret {look.space}/{one}" for one in pod["pull_secrets"]]
    values |= {"image": at, "why": why}
    if NETWORK.search(message) and not re.search(r"\b40[13]\b", message):
        return of_pod(look, "LIVE-16", pod, Layer.NODE, **values)
    if NOT_ALLOWED.search(message):
        missing = [one for one in known if one.partition("/")[2] not in look.cluster["secrets"]]
        return of_pod(look, "LIVE-14", pod, Layer.CONFIG if known else Layer.DEPLOYMENT, **{
            **values, "secret": ", ".join(missing or known) or "no imagePullSecrets",
            "state": "missing" if missing else "refused"})
    if NOT_THERE.search(message) or container["reason"] == "InvalidImageName":
        path = image_path(look, kind, name, container["name"])
        item = look.git.objects.get((kind, name))
        wanted = str(item.get(*path) or "") if item else ""
        right = bool(wanted) and not same_image(wanted, at)
        return of_pod(
            look, "LIVE-15", pod, Layer.DEPLOYMENT, place=look.git.place(kind, name, *path), **values,
            mend_en=f"Git names {wanted}: run {again(look.inventory)}." if right else
            f"Name a tag that exists where git has the image, or push it; then run {again(look.inventory)}.",
            mend_ko=f"Git의 이미지는 {wanted}: {again(look.inventory)}을(를) 실행한다." if right else
            f"Git에 존재하는 태그를 지정하거나 이미지를 push한 뒤 {again(look.inventory)}을(를) 실행한다.")
    return of_pod(look, "LIVE-16", pod, Layer.NODE, **values)


def image_path(look: Look, kind: str, name: str, container: str) -> tuple[str | int, ...]:
    """Where git says which image a container has."""
    item = look.git.objects.get((kind, name))
    found = item.get("spec", "template", "spec", "containers") if item else None
    at = next((number for number, one in enumerate(found or ()) if one.get("name") == container), 0)
    return ("spec", "template", "spec", "containers", at, "image")


def restarts(look: Look, workload: str) -> Iterator[Finding]:
    """Containers that run again after they ended badly, not long ago."""
    for pod in look.pods_of(workload):
        for container in pod["containers"]:
            last = container["last"]
            if container["ready"] and last["exit_code"] and not went_down(last) and (
                    look.now - (last["finished"] or 0) < RESTART_SECONDS):
                reason = last["reason"] if last["reason"] not in ("", "Error") else "error"
                yield finding("LIVE-20", f"workloads.{workload.partition('/')[2]}", Layer.APP, None,
                              f"pod {look.space}/{pod['name']}", expected="no restart", actual=container["restarts"],
                              severity=Severity.MEDIUM if last["reason"] == "OOMKilled" else None,
                              container=container["name"], exit=f"exit code {last['exit_code']} ({reason})",
                              command=f"kubectl -n {look.space} logs {pod['name']} -c {container['name']} --previous")


# --- Services and pages ---------------------------------------------------------------------------


def services(look: Look) -> Iterator[Finding]:
    """Services that lead to nobody (seed 001 3-1, address of the database)."""
    found = {one["name"]: one for one in look.cluster["services"]}
    for name, wanted in look.contract.services.items():
        service = found.get(name)
        workload = look.contract.workloads[wanted.workload]
        if service is None:
            look.blamed.add(f"Service {name}")  # a rule of the contract tells of it
            continue
        item = look.workload(workload)
        own = look.pods_of(f"{workload.kind}/{workload.name}")
        selector = service["selector"]
        chosen = [pod for pod in look.pods if selector
                  and all(pod["labels"].get(key) == value for key, value in selector.items())]
        strangers = sorted({pod["name"] for pod in chosen if pod not in own and pod["deleted"] is None})
        shown = ", ".join(f"{key}={value}" for key, value in selector.items()) or "nothing"
        lost = own and not chosen
        if not lost and not strangers and (service["ready"] or f"{workload.kind}/{workload.name}" in look.blamed
                                           or not (item and item["replicas"])):
            if not service["ready"]:
                look.blamed.add(f"Service {name}")
            continue
        look.blamed.add(f"Service {name}")
        why = f"its selector {shown} fits no pod" if lost else \
            f"its selector {shown} fits {', '.join(strangers)} as well" if strangers else "no pod of it is ready"
        git = look.git.objects.get(("Service", name))
        same = git is None or git.get("spec", "selector") == selector
        fit = ("Make its selector fit the labels of those pods alone.", "셀렉터가 해당 Pod만 선택하도록 수정한다.")
        wait = ("See why they are not ready.", "Pod가 Ready가 아닌 원인을 확인한다.")
        mend_en, mend_ko = (fit if lost or strangers else wait) if same else (
            f"Git has another selector: run {again(look.inventory)}.",
            f"Git의 셀렉터와 다르다: {again(look.inventory)}을(를) 실행한다.")
        yield finding("LIVE-34", f"ports.{name}", Layer.DEPLOYMENT, look.git.place("Service", name, "spec", "selector"),
                      f"Service {look.space}/{name}", expected=f"the pods of {workload.kind} {workload.name}",
                      actual=", ".join(strangers) or "none", why=why, mend_en=mend_en, mend_ko=mend_ko,
                      git="unknown" if git is None else "wrong" if same else "right",
                      related=[declared(look.contract, "services", name)],
                      command=f"kubectl -n {look.space} get endpoints {name}; kubectl -n {look.space} get pods"
                              " --show-labels")


def pages(look: Look) -> Iterator[Finding]:
    """What the app says of itself (seed 001, Step 3)."""
    app = look.contract.app_workload
    services_of = {f"Service {name}" for name, one in look.contract.services.items() if one.workload == app.name}
    if services_of & look.blamed or f"{app.kind}/{app.name}" in look.blamed:
        return
    for path, answer in look.cluster["http"].items():
        if answer["status"] == 200:
            continue
        code = "LIVE-36" if path == "/ready" else "LIVE-35"
        layer = Layer.APP if answer["status"] else Layer.NODE
        service = next(iter(sorted(services_of)), "").partition(" ")[2]
        yield finding(code, f"ports.app{path}", layer, None, f"GET {path}", expected=200,
                      actual=answer["status"] or "no answer", why=reasons(answer), through=answer["through"],
                      command=f"kubectl get --raw /api/v1/namespaces/{look.space}/services/{service}:"
                              f"{look.contract.app.port}/proxy{path}")


def reasons(answer: Facts) -> str:
    """Why a page does not answer 200, in its own words."""
    if answer["status"] is None:
        return str(answer["why"])
    try:
        body = json.loads(answer["body"])
        named = body.get("reasons") or body.get("detail") or body.get("error")
    except (ValueError, AttributeError):
        named = None
    said = ", ".join(map(str, named)) if isinstance(named, list) else named or answer["body"]
    return one_line(f"{answer['status']}: {said}")


# --- values ---------------------------------------------------------------------------------------


def older_values(look: Look) -> Iterator[Finding]:
    """Containers that run with other values than the cluster has now: they were started before."""
    changed = max((one["changed"] or 0 for name, one in look.cluster["secrets"].items()
                   if name in look.contract.secrets), default=0)
    for code, kind, fact in (("LIVE-31", "Secret", "environment"), ("LIVE-32", "ConfigMap", "settings")):
        for pod in look.pods:
            if pod["deleted"] is not None:
                continue
            for container, verdicts in (look.cluster[fact].get(pod["name"]) or {}).items():
                names = sorted(name for name, verdict in verdicts.items() if verdict in ("differs", "missing"))
                started = next((one["started"] or 0 for one in pod["containers"] if one["name"] == container), 0)
                unknown = "unknown" in verdicts.values()
                item, _, workload = pod["workload"].partition("/")
                values: dict[str, Any] = {"container": container, "variables": names, "command":
                                          f"kubectl -n {look.space} rollout restart {item.lower()}/{workload}"}
                if names:
                    yield finding(code, "environment.running", Layer.CONFIG, None, f"pod {look.space}/{pod['name']}",
                                  expected=f"what the {kind} has now", actual="other values", **values)
                elif unknown and kind == "Secret" and started < changed:
                    # The process is on another node; had it been started since, it would have today's values.
                    yield finding(code, "environment.running", Layer.CONFIG, None, f"pod {look.space}/{pod['name']}",
                                  expected=f"what the {kind} has now", actual="not compared", kind=Kind.UNCHECKED,
                                  severity=Severity.LOW, **{**values, "variables": sorted(verdicts)})


def images(look: Look) -> Iterator[Finding]:
    """What runs against the tag that is deployed (seed 000 4.2)."""
    digests: dict[str, dict[str, list[str]]] = {}
    for pod in look.pods:
        for container in pod["containers"]:
            _, at, digest = container["image_id"].rpartition("@")
            # What was imported from an archive has no digest of a registry, and cannot be compared with what has.
            if container["state"] == "running" and at and not container["init"]:
                image = pod["spec_images"].get(container["name"], container["image"])
                digests.setdefault(image, {}).setdefault(digest, []).append(pod["name"])
    for image, found in digests.items():
        if len(found) > 1:
            yield finding("LIVE-37", "images.running", Layer.DEPLOYMENT, None, image, expected="one digest",
                          actual=sorted(found), pods=sorted(name for names in found.values() for name in names),
                          command=f"kubectl -n {look.space} get pods -o jsonpath='{{..imageID}}'")
    for wanted in look.contract.workloads.values():
        item = look.workload(wanted)
        if item is None:
            continue
        name = f"{wanted.kind}/{wanted.name}"
        git = look.git.objects.get((wanted.kind, wanted.name))
        for container, image in item["images"].items():
            clause = f"images.{container}"
            for pod in look.pods_of(name):
                running = pod["spec_images"].get(container)
                rolling = item["updated"] < item["replicas"] or name in look.blamed
                if running and running != image and pod["deleted"] is None and not rolling:
                    yield finding("LIVE-38", clause, Layer.DEPLOYMENT, None, f"pod {look.space}/{pod['name']}",
                                  expected=image, actual=running, container=container,
                                  command=f"kubectl -n {look.space} rollout status {wanted.kind.lower()}/{wanted.name}")
            path = image_path(look, wanted.kind, wanted.name, container)
            declared_image = git.get(*path) if git else None
            if declared_image and not same_image(str(declared_image), image):
                yield finding("LIVE-39", clause, Layer.DEPLOYMENT, look.git.place(wanted.kind, wanted.name, *path),
                              f"{wanted.kind} {look.space}/{wanted.name}", expected=declared_image, actual=image,
                              container=container,
                              command=f"kubectl -n {look.space} rollout history {wanted.kind.lower()}/{wanted.name}")


def same_image(one: str, other: str) -> bool:
    """Whether two references mean the same, however much of the name is left out."""
    (name, *rest), (other_name, *others) = split_image(one), split_image(other)
    return (full_name(name), rest) == (full_name(other_name), others)


# --- several nodes --------------------------------------------------------------------------------


def several_nodes(look: Look) -> Iterator[Finding]:
    """Pods that share volumes of one node, and pods away from their volumes (CF-7)."""
    volumes_by_name = {one["name"]: one for one in look.cluster["volumes"]}
    for wanted in look.contract.workloads.values():
        pods = [pod for pod in look.pods_of(f"{wanted.kind}/{wanted.name}") if pod["node"] and pod["deleted"] is None
                and pod["phase"] == "Running"]
        where = sorted({pod["node"] for pod in pods})
        subject = f"{wanted.kind} {look.space}/{wanted.name}"
        place = look.git.place(wanted.kind, wanted.name, "spec", "template", "spec", "nodeSelector")
        if len(where) > 1 and any(pod["claims"] for pod in pods):
            yield finding("LIVE-41", "volumes.sharing", Layer.DEPLOYMENT, place, subject, expected="one node",
                          actual=where, command=f"kubectl -n {look.space} get pods -o wide")
        for pod in pods:
            for name in pod["claims"]:
                claim = look.claim(name)
                volume = volumes_by_name.get(claim["volume"]) if claim else None
                if volume and volume["node"] and volume["node"] != pod["node"]:
                    yield finding("LIVE-42", f"volumes.{name}", Layer.DEPLOYMENT, place,
                                  f"pod {look.space}/{pod['name']}", expected=volume["node"], actual=pod["node"],
                                  claim=name, command=f"kubectl -n {look.space} get pods -o wide")


# --- events and what is outside -------------------------------------------------------------------


def warnings(look: Look) -> Iterator[Finding]:
    """Warnings of the last hour that nothing else explains."""
    seen: set[tuple[str, str, str]] = set()
    for event in look.cluster["events"]:
        key = (event["kind"], event["name"], event["reason"])
        if event["type"] != "Warning" or key in seen or explained(look, event):
            continue
        seen.add(key)
        yield finding("LIVE-40", "cluster.events", Layer.CLUSTER, None, f"{event['kind']} {event['namespace']}/"
                      f"{event['name']}".replace(" /", " "), expected="no warning", actual=event["reason"],
                      why=one_line(event["message"]), times=event["count"],
                      command=f"kubectl get events -A --field-selector involvedObject.name={event['name']}")


def explained(look: Look, event: Facts) -> bool:
    """Whether a warning belongs to a start that went well, to something that is gone, or to what is told already."""
    kind, name = event["kind"], event["name"]
    if event["reason"] in PASSING or kind == "Node":
        return True
    if kind == "Pod":
        pod = next((one for one in look.cluster["pods"] if one["name"] == name
                    and one["namespace"] == event["namespace"]), None)
        if pod is None or not pod["ready"] or pod["workload"] in look.blamed:
            return True
        if event["reason"] == "Unhealthy" and event["count"] < MISSES:
            return True
        since = pod["conditions"].get("Ready", {}).get("since") or look.now
        return bool(event["last"] <= since + SETTLED_SECONDS)
    if kind == "PersistentVolumeClaim":
        claim = look.claim(name)
        return claim is None or claim["phase"] == "Bound" or f"claim {name}" in look.blamed
    if kind == "SealedSecret":
        sealed = look.cluster["sealed_secrets"].get(name)
        return sealed is None or bool(sealed["synced"]) or f"SealedSecret {name}" in look.blamed
    if kind == "ReplicaSet":
        return True  # Its workload is looked at.
    workload = next((one for one in look.cluster["workloads"] if (one["kind"], one["name"]) == (kind, name)), None)
    return workload is not None and (workload["available"] >= workload["replicas"] or f"{kind}/{name}" in look.blamed)


def outside(look: Look) -> Iterator[Finding]:
    """KIS refuses the key: an external failure, and never a violation (seed 001, verdict)."""
    app = look.contract.app_container.name
    for pod in look.pods:
        for container in pod["containers"]:
            lines: Sequence[str] = container["log"] if container["name"] == app else ()
            telling = [line for line in lines if REFUSED_KEY.search(line) or ACCEPTED_KEY.search(line)]
            if telling and (code := REFUSED_KEY.search(telling[-1])):
                yield finding("EXT-01", "external.kis", Layer.EXTERNAL, None, "KIS API", expected="the key is accepted",
                              actual=code[0], reason=told(telling[-1], code[0]),
                              command=f"kubectl -n {look.space} logs deploy/{look.contract.app_workload.name}")
                return


def told(line: str, code: str) -> str:
    """What a line of the log says, without what surrounds the message."""
    try:
        message = json.loads(line).get("message")
    except (ValueError, AttributeError):
        message = None
    return one_line(str(message or line[max(0, line.find(code) - 80):]), 200)
