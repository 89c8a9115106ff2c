"""Facts of a living system, asked by what they are about, and the words for what is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..spec import Contract
from .wording import both

NOT_SEEN = both("not looked at", "확인하지 않음")
NO_POD = both("no pod", "Pod 없음")
STATE, NAME, ITEM, RESULT = both("State", "상태"), both("Name", "이름"), both("Item", "항목"), both("Result", "결과")

UNSEEN = 255
"""What stands in the place of an exit code that nobody saw."""

ENDED = ("Succeeded", "Failed")
"""Phases of pods that will not run again; what they belong to makes others."""


class Live:
    """Facts of a living system, asked by what they are about."""

    def __init__(self, contract: Contract, live: Mapping[str, Any]) -> None:
        self.contract = contract
        self.nodes: Mapping[str, Mapping[str, Any]] = {
            host: node for host, node in (live.get("nodes") or {}).items() if node}
        self.cluster: Mapping[str, Any] = live.get("cluster") or {}
        self.answers = bool((self.cluster.get("api") or {}).get("answers"))
        self.namespace = str(self.cluster.get("namespace") or "")
        self.containers = {str(one.get("id", "")).rpartition("//")[2]: one
                           for node in self.nodes.values() for one in node.get("containers") or ()}

    @property
    def now(self) -> float | None:
        """When it was looked at, in seconds since 1970."""
        times = [self.cluster.get("now"), *(node.get("now") for node in self.nodes.values())]
        return max((one for one in times if one), default=None)

    def since(self, epoch: float | None) -> float | None:
        """Seconds since then."""
        return None if epoch is None or self.now is None else self.now - epoch

    def listed(self, key: str) -> list[Mapping[str, Any]]:
        """A list of the cluster's facts."""
        return list(self.cluster.get(key) or ())

    def pods(self, workload: str = "", namespace: str = "") -> list[Mapping[str, Any]]:
        """Pods of the app's namespace (or another one), of one workload when it is named."""
        wanted = namespace or self.namespace
        return [pod for pod in self.listed("pods") if pod.get("namespace", wanted) == wanted
                and (not workload or str(pod.get("workload", "")).rpartition("/")[2] == workload)]

    def staying(self, workload: str) -> list[Mapping[str, Any]]:
        """Its pods that are neither being deleted nor ended for good."""
        return [pod for pod in self.pods(workload) if not pod.get("deleted") and pod.get("phase") not in ENDED]

    def inside(self, workload: str, container: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """Its pods, each with what was seen of a container through /proc (nothing: ``{}``)."""
        found = []
        for pod in self.staying(workload):
            ids = [str(one.get("id") or "").rpartition("//")[2] for one in pod.get("containers") or ()
                   if one.get("name") == container]
            found.append((pod, self.containers.get(ids[0], {}) if ids else {}))
        return found

    @property
    def app(self) -> tuple[str, str]:
        """Workload and container of the app."""
        return self.contract.app_workload.name, self.contract.app_container.name

    @property
    def databases(self) -> list[tuple[str, str]]:
        """Workload and container of each PostgreSQL."""
        return [(workload.name, container.name) for workload, container in self.contract.containers()
                if container.image.rpartition("/")[2] == "postgres"]

    def node_volume(self, volume: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What is on a node's disk of a volume."""
        for node in self.nodes.values():
            for one in node.get("volumes") or ():
                if one.get("path") == volume.get("path") or one.get("name") == volume.get("name"):
                    found: Mapping[str, Any] = one
                    return found
        return None

    def volume_of(self, claim: str) -> Mapping[str, Any] | None:
        """The volume that a claim of the app's namespace is bound to."""
        return next((one for one in self.listed("volumes") if one.get("claim") == f"{self.namespace}/{claim}"), None)


def went_down(ended: Mapping[str, Any]) -> bool:
    """Whether a container ended with its machine, and not by itself: nobody was there to see its exit code.

    That is how containerd tells of it after a reboot or a power cut.

    :param ended: the ``last`` of a container.
    """
    return ended.get("reason") == "Unknown" and ended.get("exit_code") == UNSEEN


def replaced(pod: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], workloads: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod has ended and nobody waits for it: it has done its work, or what it belongs to has others for it.
    Kubernetes keeps such pods (evicted, a node's shutdown, a failed try of a Job) until there are thousands.

    :param pods: all of its namespace.
    :param workloads: of its namespace, as far as they are known.
    """
    if pod.get("phase") != "Failed":
        return pod.get("phase") == "Succeeded"
    mine = str(pod.get("workload") or "")
    kind, _, name = mine.partition("/")
    if kind == "Job":
        # A CronJob's Jobs are named after it and the minute.
        made = re.sub(r"-\d{8,}$", "", name)
        return any(other.get("phase") != "Failed" and (other.get("created") or 0) >= (pod.get("created") or 0)
                   and re.sub(r"-\d{8,}$", "", str(other.get("workload") or "").partition("Job/")[2]) == made
                   for other in pods)
    known = next((one for one in workloads if f"{one.get('kind')}/{one.get('name')}" == mine), None)
    wanted = int((known or {}).get("replicas") or 0) if known else 1
    others = [other for other in pods if other.get("workload") == mine and not other.get("deleted")
              and other.get("phase") not in ENDED]
    return not mine or int((known or {}).get("available") or 0) >= wanted or len(others) >= wanted


def ready_count(pod: Mapping[str, Any]) -> str:
    of_all = [one for one in pod.get("containers") or () if not one.get("init")]
    return f"{sum(bool(one.get('ready')) for one in of_all)}/{len(of_all)}"


def restarts(pod: Mapping[str, Any]) -> int:
    return sum(int(one.get("restarts") or 0) for one in pod.get("containers") or ())


def status_of(pod: Mapping[str, Any]) -> str:
    """What ``kubectl get pods`` says of a pod: what keeps a container from running, else its phase."""
    if pod.get("deleted"):
        return "Terminating"
    for one in pod.get("containers") or ():
        if one.get("state") in ("waiting", "terminated") and one.get("reason"):
            return str(one["reason"])
    return str(pod.get("phase") or "?")


def pod_runs(pod: Mapping[str, Any]) -> bool | None:
    """Whether a pod runs and is ready; of one that is going or has done its work nobody asks."""
    if pod.get("deleted") or pod.get("phase") == "Succeeded":
        return True
    return bool(pod.get("ready")) and pod.get("phase") == "Running"


def covering(contract: Contract, path: str) -> tuple[str, str]:
    """The mount of the app's container that a path is under, and what is behind it."""
    targets = [target for target in contract.app_container.volumes
               if path == target or path.startswith(target.rstrip("/") + "/")]
    target = max(targets, key=len, default="")
    return target, contract.app_container.volumes[target].source if target else ""
