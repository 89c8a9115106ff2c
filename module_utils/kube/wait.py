"""Waiting until workloads serve, and knowing early when they cannot.

Every look at a target gives its state in words and, where there is one, a :class:`Problem`. A problem ends the
waiting when it lasts longer than its grace: most of them pass by themselves while things start side by side.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from .client import JSON_PATCH, MERGE_PATCH, ApiError, Client, KubeError, Object, Unreachable

POLL = 0.3
LINE_SECONDS = 20.0
"""There is a line about the waiting at least so often."""

CALM_SECONDS = 4.0
"""And not more often than this."""

OUTAGE_SECONDS = 30.0
"""The API may be away for so long: K3s may be restarting."""

CRASH_GRACE = 60.0
"""Seconds in which a container may end again and again: what it needs may be starting beside it."""

CRASHES = 4
"""A container that has ended so often under the eyes of the waiting will not run, however soon that was."""

LOG_LINES = 20

PASSED_OVER_SECONDS = 10.0
"""A SealedSecret that is not opened for so long is shown to its controller again: it opens one in a second."""

SHOWN_AGAIN = "observer-node/shown-again"
"""Annotation of the Secret-to-be that makes a SealedSecret another one for the moment. Its field manager is none
of the declaration's: were it ever left behind, the next run would take it away as something that git does not know."""

APPS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
PATHS = {
    **{kind: f"/apis/apps/v1/namespaces/{{namespace}}/{plural}/{{name}}" for kind, plural in APPS.items()},
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs/{name}",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}",
    "Secret": "/api/v1/namespaces/{namespace}/secrets/{name}",
    "SealedSecret": "/apis/bitnami.com/v1alpha1/namespaces/{namespace}/sealedsecrets/{name}",
    "Node": "/api/v1/nodes/{name}",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}",
}

BACK_OFF = ("CrashLoopBackOff", "ImagePullBackOff")
NOT_ALLOWED = re.compile(
    r"unauthorized|authoriz|\b40[13]\b|denied|no basic auth|insufficient_scope|authentication required", re.IGNORECASE
)
NOISE = re.compile(
    r'rpc error: code = \w+ desc = |failed to pull and unpack image "[^"]*": |failed to resolve reference "[^"]*": '
)
"""What containerd says before the cause of a failed pull."""

NOT_THERE = re.compile(r"not found|manifest unknown|no such", re.IGNORECASE)
NO_PLACE = re.compile(
    r"didn't match|Insufficient|volume node affinity conflict|persistentvolumeclaim \S+ not found|untolerated taint"
)
TELLING = re.compile(r"\b(FATAL|PANIC|panic|ERROR|\w*(Error|Exception)):")
PASSING_TAINT = re.compile(r"node\.kubernetes\.io/(not-ready|unreachable|network-unavailable)|uninitialized")


@dataclass(frozen=True)
class Target:
    """What is waited for."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"

    @property
    def path(self) -> str:
        return PATHS[self.kind].format(namespace=quote(self.namespace), name=quote(self.name))


@dataclass(frozen=True)
class Page:
    """A path of a Service that has to answer with status 200, asked through the API server."""

    namespace: str
    service: str
    port: str
    path: str

    def __str__(self) -> str:
        return f"http://{self.service}.{self.namespace}:{self.port}{self.path}"


@dataclass(frozen=True)
class Problem:
    """Why a target cannot become ready.

    ``code`` tells problems apart; ``grace`` is in seconds; ``log`` are the last lines of the container.
    """

    code: str
    text: str
    remedy: str
    grace: float
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """What one look at a target found; ``stuck`` are pods that must go before it can become ready.

    ``passed_over`` is a SealedSecret that its controller may never look at by itself.
    """

    ready: bool
    text: str
    problem: Problem | None = None
    stuck: tuple[Object, ...] = ()
    passed_over: Object | None = None


class Failed(KubeError):
    """A target that will not become ready, or has not in time."""

    def __init__(self, message: str, remedy: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy)
        self.log = log


@dataclass
class Look:
    """One look at the cluster: lists are fetched when they are needed, once.

    ``known_events`` and ``crashes`` go from look to look. The latter has, by pod and container, when it was first
    seen in back-off and how often it had been started again by then. While ``patient``, no crash counts.
    """

    client: Client
    first: bool = False
    known_events: dict[str, str] = field(default_factory=dict)
    crashes: dict[str, tuple[float, int]] = field(default_factory=dict)
    now: float = 0.0
    crash_grace: float = CRASH_GRACE
    patient: bool = False
    _lists: dict[str, list[Object]] = field(default_factory=dict)

    def items(self, path: str) -> list[Object]:
        if path not in self._lists:
            self._lists[path] = self.client.items(path)
        return self._lists[path]

    def pods(self, namespace: str) -> list[Object]:
        return self.items(f"/api/v1/namespaces/{quote(namespace)}/pods")

    def warnings(self, namespace: str, uid: str) -> list[str]:
        """Messages of warnings about an object that came since the waiting began, the newest last."""
        path = f"/api/v1/namespaces/{quote(namespace)}/events"
        if path not in self._lists:
            self._lists[path] = self.client.items(path, {"fieldSelector": "type=Warning"})
        found = []
        for event in self._lists[path]:
            series = event.get("series") or {}
            mark = f"{event.get('count')} {series.get('count')}"
            if self.first:
                self.known_events[event["metadata"]["uid"]] = mark
            if event["involvedObject"].get("uid") == uid and self.known_events.get(event["metadata"]["uid"]) != mark:
                found.append((
                    series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "",
                    f"{event.get('reason')}: {one_line(event.get('message') or '')}",
                ))
        return [message for _, message in sorted(found)]

    def gives_up(self, pod: Object, container: Object) -> bool:
        """Whether a container in back-off has ended too often, or for too long, to become ready."""
        key = f"{pod['metadata']['uid']}/{container['name']}"
        if self.patient:
            self.crashes.pop(key, None)
            return False
        restarts = container.get("restartCount", 0)
        since, before = self.crashes.setdefault(key, (self.now, restarts))
        ended = restarts - before + 1
        return ended >= CRASHES or (ended > 1 and self.now - since >= self.crash_grace)

    def log(self, pod: Object, container: str, *, previous: bool) -> tuple[str, ...]:
        """The last lines of a container that ended; none when the log is gone."""
        metadata = pod["metadata"]
        status, body = self.client.send(
            "GET", f"/api/v1/namespaces/{quote(metadata['namespace'])}/pods/{quote(metadata['name'])}/log",
            {"container": container, "previous": str(previous).lower(), "tailLines": LOG_LINES},
        )
        lines = body.decode(errors="replace").splitlines() if status == 200 else []
        return tuple(line for line in lines if line.strip())


def one_line(text: str, length: int = 300) -> str:
    """A message on one line, cut where it is long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[:length]}..."


# --- targets --------------------------------------------------------------------------------------


def look_at(target: Target, look: Look) -> State:
    """The state of one target now."""
    item = look.client.get(target.path)
    if item is None:
        gone = Problem("missing", "there is no such object", f"Create {target}, or mend its name.", 20)
        return State(False, "does not exist", gone if target.kind in APPS else None)
    if target.kind in APPS:
        return workload_state(target, item, look)
    if target.kind == "PersistentVolumeClaim":
        return claim_state(item, look)
    if target.kind == "SealedSecret":
        return predecessor_state(item, look) or sealed_state(item)
    if target.kind == "Job":
        return job_state(target, item, look)
    if target.kind == "Secret":
        return State(True, "exists")
    wanted = "Established" if target.kind == "CustomResourceDefinition" else "Ready"
    found = condition(item, wanted)
    return State(found.get("status") == "True", f"not {wanted}: {one_line(found.get('message') or 'no word yet')}")


def condition(item: Object, kind: str) -> Object:
    """A condition of an object's status, or an empty one."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind), {})


def workload_state(target: Target, item: Object, look: Look) -> State:
    status = item.get("status") or {}
    if target.kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        counts = [status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)]
    else:
        wanted = item["spec"].get("replicas", 1)
        counts = [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
    seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
    if seen and all(count == wanted for count in counts):
        return State(True, f"{wanted} of {wanted} available")
    text = f"{counts[1]} of {wanted} available" if seen else "not yet seen by its controller"
    if not seen:
        return State(False, text)
    pods = current_pods(target.kind, item, look)
    if stuck := stuck_pods(target.kind, item, pods, look):
        return State(False, f"{text}; {stuck[0]['metadata']['name']} is stuck", stuck=stuck)
    for pod in pods:
        state = pod_state(pod, look)
        if not state.ready:
            return State(False, f"{text}; {state.text}", state.problem)
    refusal = condition(item, "ReplicaFailure").get("message") or _refusal(item, look)
    if refusal and len(pods) < wanted:
        problem = Problem("refused", f"its pods are refused: {one_line(refusal, 600)}",
                          "Mend the pod template, or the namespace's Pod Security labels or quota.", 8)
        return State(False, f"{text}; pods are refused", problem)
    return State(False, text)


def _refusal(item: Object, look: Look) -> str:
    messages = look.warnings(item["metadata"]["namespace"], item["metadata"]["uid"])
    return next((message for message in reversed(messages) if message.startswith("FailedCreate")), "")


def current_pods(kind: str, item: Object, look: Look) -> list[Object]:
    """The pods of a workload that were made from its present template and are to stay."""
    metadata = item["metadata"]
    owner, label, value = metadata["uid"], "", ""
    if kind == "Deployment":
        revision = (metadata.get("annotations") or {}).get("deployment.kubernetes.io/revision")
        for found in look.items(f"/apis/apps/v1/namespaces/{quote(metadata['namespace'])}/replicasets"):
            annotations = found["metadata"].get("annotations") or {}
            if owned_by(found, owner) and annotations.get("deployment.kubernetes.io/revision") == revision:
                owner = found["metadata"]["uid"]
                break
        else:
            return []
    elif kind == "StatefulSet":
        label, value = "controller-revision-hash", (item.get("status") or {}).get("updateRevision", "")
    return [
        pod for pod in look.pods(metadata["namespace"])
        if owned_by(pod, owner) and not pod["metadata"].get("deletionTimestamp")
        and (not label or (pod["metadata"].get("labels") or {}).get(label) == value)
    ]


def stuck_pods(kind: str, item: Object, current: list[Object], look: Look) -> tuple[Object, ...]:
    """Pods that keep a workload from a fresh try.

    A pod that was in back-off before the waiting began tells of the past, and may stay idle for five minutes. A
    StatefulSet does not replace a pod of an older template that is not ready: Kubernetes leaves that to whoever
    mended the template.
    """
    if look.first:
        return tuple(pod for pod in current if any(
            (container.get("state", {}).get("waiting") or {}).get("reason") in BACK_OFF
            for container in (pod.get("status") or {}).get("containerStatuses") or []
        ))
    if kind != "StatefulSet":
        return ()
    names = {pod["metadata"]["name"] for pod in current}
    return tuple(
        pod for pod in look.pods(item["metadata"]["namespace"])
        if owned_by(pod, item["metadata"]["uid"]) and pod["metadata"]["name"] not in names
        and not pod["metadata"].get("deletionTimestamp") and condition(pod, "Ready").get("status") != "True"
    )


def owned_by(item: Object, uid: str) -> bool:
    return any(reference["uid"] == uid for reference in item["metadata"].get("ownerReferences") or [])


def job_state(target: Target, item: Object, look: Look) -> State:
    if condition(item, "Complete").get("status") == "True":
        return State(True, "complete")
    pods = [pod for pod in look.pods(target.namespace) if owned_by(pod, item["metadata"]["uid"])]
    states = [state for state in (pod_state(pod, look) for pod in pods) if not state.ready]
    failure = condition(item, "Failed")
    if failure.get("status") == "True":
        text = f"it failed: {one_line(failure.get('message') or failure.get('reason') or '')}"
        ended = next((_ended(pod, look) for pod in pods), None)
        if ended:
            text += f"; {ended[0]}"
        return State(False, text, Problem("failed", text, "Mend what the log names, delete the Job and run again.", 0,
                                          ended[1] if ended else ()))
    if states:
        return State(False, states[0].text, states[0].problem)
    return State(False, f"{(item.get('status') or {}).get('active', 0)} active")


def _ended(pod: Object, look: Look) -> tuple[str, tuple[str, ...]] | None:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        found = status.get("state", {}).get("terminated")
        if found and found.get("exitCode"):
            log = look.log(pod, status["name"], previous=False)
            return f"pod {pod['metadata']['name']} ended with {_exit(found)}{_last(log)}", log
    return None


def sealed_state(item: Object) -> State:
    found = condition(item, "Synced")
    status = item.get("status") or {}
    current = status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
    if not found or not current:
        return State(False, "not opened yet", passed_over=item)
    if found["status"] == "True":
        return State(True, "opened")
    message = one_line(found.get("message") or found.get("reason") or "no reason given")
    remedy = ("Seal the values anew for this cluster's key, name and namespace: `ansible-playbook playbooks/secrets.yml"
              " -i inventories/<env>`.")
    if "managed" in message:
        remedy = (f"Delete the Secret that is in the way: `kubectl -n {item['metadata']['namespace']} delete secret"
                  f" {item['metadata']['name']}`.")
    text = f"the controller cannot open it: {message}"
    return State(False, text, Problem("sealed", text, remedy, 10))


def predecessor_state(item: Object, look: Look) -> State | None:
    """The state of a SealedSecret whose place was taken by the Secret of one of its name that was deleted.

    Kubernetes removes that Secret after a while, but by then the controller has given up.
    """
    refused = condition(item, "Synced")
    if refused.get("status") != "False" or "managed" not in str(refused.get("message")):
        return None
    metadata = item["metadata"]
    secret = look.client.get(Target("Secret", metadata["name"], metadata["namespace"]).path)
    if secret is None:
        return State(False, "the Secret that was in its way has gone", passed_over=item)
    owners = [(owner["kind"], owner["name"]) for owner in secret["metadata"].get("ownerReferences") or []]
    if ("SealedSecret", metadata["name"]) in owners and not owned_by(secret, metadata["uid"]):
        return State(False, "its predecessor's Secret is being removed")
    return None


def claim_state(item: Object, look: Look) -> State:
    metadata = item["metadata"]
    phase = (item.get("status") or {}).get("phase", "Pending")
    if phase == "Bound":
        return State(True, "bound")
    if phase == "Lost":
        text = f"its volume {item['spec'].get('volumeName')} is lost"
        return State(False, text, Problem("lost", text, "Restore the volume, or delete the claim and run again.", 0))
    text = "no pod uses it yet" if not _selected(item) else "its volume is being made"
    messages = [message for message in look.warnings(metadata["namespace"], metadata["uid"])
                if message.startswith("ProvisioningFailed")]
    remedy = (f"See `kubectl -n {metadata['namespace']} describe pvc {metadata['name']}` and"
              " `kubectl -n kube-system logs deployment/local-path-provisioner`.")
    helper = _helper(metadata["uid"], look)
    if helper:
        return State(False, helper.text, helper)
    if messages:
        text = f"no volume can be made for claim {metadata['name']}: {messages[-1]}"
        return State(False, text, Problem("provisioning", text, remedy, 5))
    return State(False, text)


def _selected(item: Object) -> bool:
    return "volume.kubernetes.io/selected-node" in (item["metadata"].get("annotations") or {})


def _helper(claim_uid: str, look: Look) -> Problem | None:
    """What hinders the pod by which local-path-provisioner makes a volume's folder."""
    for pod in look.pods("kube-system"):
        if pod["metadata"]["name"] != f"helper-pod-create-pvc-{claim_uid}":
            continue
        remedy = "Mend the storage folder on the node, or what ConfigMap kube-system/local-path-config says."
        if ended := _ended(pod, look):
            return Problem("helper", f"the folder of the volume was not made: {ended[0]}", remedy, 2, ended[1])
        problem = pod_state(pod, look).problem
        return replace(problem, remedy=remedy) if problem else None
    return None


# --- pods -----------------------------------------------------------------------------------------


def pod_state(pod: Object, look: Look) -> State:
    """The state of one pod, and why it will not be ready."""
    name = f"pod {pod['metadata']['name']}"
    status = pod.get("status") or {}
    if condition(pod, "Ready").get("status") == "True" or status.get("phase") == "Succeeded":
        return State(True, f"{name} is ready")
    if not pod["spec"].get("nodeName"):
        return _unscheduled(pod, name, look)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        if waiting := container.get("state", {}).get("waiting"):
            problem = _waiting(pod, name, container, waiting, look)
            reason = waiting.get("reason") or "waiting"
            if reason not in ("PodInitializing", "ContainerCreating"):
                message = one_line(waiting.get("message") or "", 200)
                return State(False, f"{name}: {reason}{': ' + message if message else ''}", problem)
    warnings = look.warnings(pod["metadata"]["namespace"], pod["metadata"]["uid"])
    latest = warnings[-1] if warnings else ""
    if latest.startswith("FailedMount") and NOT_THERE.search(latest.replace("does not exist", "not found")):
        text = f"{name} cannot mount a volume: {latest}"
        return State(False, text, Problem("mount", text, _sealed_remedy(pod, latest, look), 25))
    words = "is starting" if not all(container.get("ready") for container in containers) else "is not ready"
    return State(False, f"{name} {words}{'; ' + latest if latest else ''}")


def _waiting(pod: Object, name: str, container: Object, waiting: Object, look: Look) -> Problem | None:
    reason, message = waiting.get("reason") or "", one_line(waiting.get("message") or "", 500)
    namespace = pod["metadata"]["namespace"]
    where = f"{name}, container {container['name']}"
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return Problem("image", f"{where}: {reason}: {message}", "Mend the image's name.", 0)
    if reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"):
        said = " ".join([message, *look.warnings(namespace, pod["metadata"]["uid"])])
        return _image(pod, f"{where}: image {container.get('image')}", said, NOISE.sub("", message), look)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Problem("config", f"{where}: {reason}: {message}{_sealed_cause(namespace, message, look)}",
                       _sealed_remedy(pod, message, look), 20)
    if reason == "CrashLoopBackOff" and look.gives_up(pod, container):
        last = container.get("lastState", {}).get("terminated") or {}
        log = look.log(pod, container["name"], previous=True)
        remedy = f"Mend what the log names; all of it: `kubectl -n {namespace} logs {name[4:]} --previous`."
        if last.get("reason") == "OOMKilled":
            remedy = f"Raise the memory limit of container {container['name']}, or mend what takes so much."
        times = container.get("restartCount", 0) + 1
        told = _exit(last) + ("" if last.get("message") else _last(log))
        return Problem("crash", f"{where} has ended {times} times, last with {told}", remedy, 0, log)
    return None


def _exit(terminated: Object) -> str:
    reason = terminated.get("reason") or ""
    code = f"exit code {terminated.get('exitCode', 'unknown')}"
    message = one_line(terminated.get("message") or "")
    return code + (f" ({reason})" if reason not in ("", "Error") else "") + (f": {message}" if message else "")


def _last(log: tuple[str, ...]) -> str:
    """The line of a log that most likely names the cause: the last one about an error, else the last one."""
    telling = next((line for line in reversed(log) if TELLING.search(line)), log[-1] if log else "")
    return f"; its log says: {one_line(telling)}" if telling else "; its log is empty"


def _image(pod: Object, where: str, said: str, message: str, look: Look) -> Problem | None:
    namespace = pod["metadata"]["namespace"]
    names = [found["name"] for found in pod["spec"].get("imagePullSecrets") or []]
    missing = [name for name in names if look.client.get(Target("Secret", name, namespace).path) is None]
    if NOT_ALLOWED.search(said):
        if missing:
            return Problem("pull-secret", f"{where}: the registry asks who pulls, and Secret {namespace}/{missing[0]} "
                           f"does not exist{_sealed_cause(namespace, missing[0], look)}",
                           _sealed_remedy(pod, missing[0], look), 15)
        secrets = f"Secret {namespace}/{names[0]}" if names else "no imagePullSecrets"
        return Problem("pull-denied", f"{where}: the registry refuses the pull with {secrets}: {message}",
                       "Give the pull Secret a name and password that may read this image.", 30)
    if NOT_THERE.search(said):
        return Problem("image", f"{where}: the registry does not have it: {message}",
                       "Name a tag that exists, or push the image.", 6)
    return None


def _sealed_cause(namespace: str, message: str, look: Look) -> str:
    """What the SealedSecret says from which a missing Secret should come."""
    found = _sealed_for(namespace, message, look)
    state = sealed_state(found) if found else None
    return f"; SealedSecret {found['metadata']['name']}: {state.text}" if found and state and not state.ready else ""


def _sealed_remedy(pod: Object, message: str, look: Look) -> str:
    namespace = pod["metadata"]["namespace"]
    found = _sealed_for(namespace, message, look)
    problem = sealed_state(found).problem if found else None
    if problem:
        return problem.remedy
    if "secret" in message.lower():
        return "Seal the missing values: `ansible-playbook playbooks/secrets.yml -i inventories/<env>`."
    return f"See `kubectl -n {namespace} describe pod {pod['metadata']['name']}`."


def _sealed_for(namespace: str, message: str, look: Look) -> Object | None:
    for item in look.items(f"/apis/bitnami.com/v1alpha1/namespaces/{quote(namespace)}/sealedsecrets"):
        if re.search(rf"(?<![\w.-]){re.escape(item['metadata']['name'])}(?![\w.-])", message):
            return item
    return None


def _unscheduled(pod: Object, name: str, look: Look) -> State:
    namespace = pod["metadata"]["namespace"]
    # What follows the reasons is about preemption.
    message = one_line((condition(pod, "PodScheduled").get("message") or "").split(". no new claims")[0], 600)
    waits = ""
    for volume in pod["spec"].get("volumes") or []:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        target = Target("PersistentVolumeClaim", claim, namespace) if claim else None
        state = look_at(target, look) if target else None
        if state and state.problem:
            return State(False, f"{name} waits for its volume; {state.text}", state.problem)
        if state and not state.ready:
            waits = f": waits for claim {claim}, {state.text}"
    text = f"{name} has no node{': ' + message if message else waits or ' yet'}"
    leaving = any(other["metadata"].get("deletionTimestamp") for other in look.pods(namespace))
    if not NO_PLACE.search(message) or PASSING_TAINT.search(message) or leaving:
        return State(False, text)
    remedy = "Label the node as the pod's nodeSelector or affinity asks, or mend those."
    if "Insufficient" in message:
        remedy = "Lower the requests, or take other pods off the node: `kubectl describe node` lists what they ask for."
    elif "volume node affinity" in message:
        remedy = "The volume belongs to a node of another name: K3s must run under the old one (k3s_node_name)."
    elif "persistentvolumeclaim" in message:
        remedy = "Create the claim that the message names."
    return State(False, text, Problem("unschedulable", text, remedy, 12))


# --- waiting --------------------------------------------------------------------------------------


class Waiter:
    """Waits for targets, then for pages.

    :param say: takes a line about what is being waited for.
    :param steady: when anything had to be waited for, everything must stay ready for so many seconds.
    :param crash_grace: seconds in which a container may end again and again. For a Deployment they begin when every
        StatefulSet among the targets is ready: it may need that database, and heals when it is there.
    :ivar waited_for: what was not ready at the first look.
    :ivar restarted: pods that were deleted for a fresh try.
    :ivar shown: SealedSecrets that were shown to their controller again.
    """

    def __init__(
        self, client: Client, targets: Iterable[Target], pages: Iterable[Page], say: Callable[[str], None],
        steady: float = 0, crash_grace: float = CRASH_GRACE,
    ) -> None:
        self.client = client
        self.targets = list(targets)
        self.pages = list(pages)
        self.say = say
        self.steady = steady
        self.crash_grace = crash_grace
        self.waited_for: list[str] = []
        self.restarted: list[str] = []
        self.shown: list[str] = []
        self._unopened: dict[str, float] = {}
        self._events: dict[str, str] = {}
        self._crashes: dict[str, tuple[float, int]] = {}
        self._problems: dict[str, tuple[str, float]] = {}
        self._last_line = ("", 0.0)

    def wait(self, timeout: float) -> None:
        """Return when everything is ready.

        :raises Failed: something cannot become ready, or has not within ``timeout`` seconds.
        """
        start = time.monotonic()
        reached = start
        ready_since: float | None = None
        waiting: dict[Target | Page, str] = {}
        first = True
        while True:
            now = time.monotonic()
            try:
                waiting = self._look(first, now)
                reached, first = now, False
            except (Unreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status not in (429, 500, 503, 504):
                    raise
                if now - reached > OUTAGE_SECONDS or now - start > timeout:
                    raise
                waiting = dict.fromkeys([*self.targets, *self.pages], "the API does not answer")
            if not waiting:
                ready_since = ready_since or now
                if not self.waited_for or now - ready_since >= self.steady:
                    return
                time.sleep(POLL)
                continue
            ready_since = None
            self._tell(waiting, now, now - start)
            if now - start > timeout:
                target, text = next(iter(waiting.items()))
                others = ", ".join(str(other) for other in list(waiting)[1:])
                raise Failed(f"{target} is not ready after {timeout:.0f} s: {text}."
                             + (f" Not ready either: {others}." if others else ""), _describe(target))
            time.sleep(POLL)

    def _look(self, first: bool, now: float) -> dict[Target | Page, str]:
        """What is not ready, with its state; a problem that has lasted ends the waiting."""
        look = Look(self.client, first, self._events, self._crashes, now, self.crash_grace)
        waiting: dict[Target | Page, str] = {}
        sets = {target: look_at(target, look) for target in self.targets if target.kind == "StatefulSet"}
        unready_sets = not all(state.ready for state in sets.values())
        for target in self.targets:
            look.patient = target.kind == "Deployment" and unready_sets
            state = sets.get(target) or look_at(target, look)
            if state.ready:
                self._problems.pop(str(target), None)
                continue
            waiting[target] = state.text
            self._free(state.stuck)
            self._show(state.passed_over, now)
            self._judge(target, state.problem, now)
        if not waiting:
            for page in self.pages:
                if text := self._page(page):
                    waiting[page] = text
        if first:
            self.waited_for = list(map(str, [*waiting, *(self.pages if self.targets and waiting else [])]))
        return waiting

    def _judge(self, target: Target, problem: Problem | None, now: float) -> None:
        if problem is None:
            self._problems.pop(str(target), None)
            return
        code, since = self._problems.get(str(target), ("", now))
        if code != problem.code:
            since = now
        self._problems[str(target)] = (problem.code, since)
        if now - since >= problem.grace:
            raise Failed(f"{target} will not become ready: {problem.text.rstrip('.')}.", problem.remedy, problem.log)

    def _free(self, pods: tuple[Object, ...]) -> None:
        """Delete pods for a fresh try."""
        for pod in pods:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            try:
                self.client.request("DELETE", f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")
            except ApiError as error:
                if error.status != 404:
                    raise
                continue
            self.say(f"pod {namespace}/{name} is stuck from before: deleted for a fresh try")
            self.restarted.append(f"{namespace}/{name}")

    def _show(self, item: Object | None, now: float) -> None:
        """Make a SealedSecret that stays unopened another one for the moment, and then what it was.

        The controller opens what has another ``spec`` than the one it knows. One that was deleted and made anew while
        it could not watch (for up to a minute after K3s was restarted) is the same to it, and never opened.
        """
        if item is None:
            return
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        since = self._unopened.setdefault(f"{namespace}/{name}", now)
        if now - since < PASSED_OVER_SECONDS:
            return
        self._unopened[f"{namespace}/{name}"] = now
        path, manager = Target("SealedSecret", name, namespace).path, {"fieldManager": SHOWN_AGAIN.replace("/", "-")}
        try:
            mark = {"metadata": {"annotations": {SHOWN_AGAIN: item["metadata"]["resourceVersion"]}}}
            self.client.request("PATCH", path, manager, {"spec": {"template": mark}}, MERGE_PATCH)
            self.client.request(
                "PATCH", path, manager, [{"op": "replace", "path": "/spec", "value": item["spec"]}], JSON_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise
            return
        self.say(f"SealedSecret {namespace}/{name} was passed over by its controller: shown to it again")
        if f"{namespace}/{name}" not in self.shown:
            self.shown.append(f"{namespace}/{name}")

    def _page(self, page: Page) -> str:
        """What is wrong with a page, or nothing."""
        path = (f"/api/v1/namespaces/{quote(page.namespace)}/services/{quote(page.service)}:{quote(page.port)}/proxy"
                f"{page.path}")
        status, body = self.client.send("GET", path)
        if status == 200:
            return ""
        said = body.decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = str(json.loads(said)["message"])  # The API server's own words, when there is nobody to ask.
        return f"answers {status}: {one_line(said, 200)}"

    def _tell(self, waiting: dict[Target | Page, str], now: float, seconds: float) -> None:
        """A line when the state is another one, at least every 20 s."""
        target, text = next(iter(waiting.items()))
        more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        line = f"waiting for {target}{more}: {one_line(text, 160)}"
        before, when = self._last_line
        pause = CALM_SECONDS if line != before else LINE_SECONDS
        if seconds > 1 and now - when >= pause:
            self.say(f"{line} ({seconds:.0f} s)")
            self._last_line = (line, now)


def _describe(target: Target | Page) -> str:
    if isinstance(target, Page):
        return f"See `kubectl -n {target.namespace} get pods,endpoints` and the pods' logs."
    namespace = f"-n {target.namespace} " if target.namespace else ""
    return f"See `kubectl {namespace}describe {target.kind.lower()} {target.name}`."
