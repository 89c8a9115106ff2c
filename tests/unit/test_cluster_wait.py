"""What a look at objects says of them. That clusters really give such objects is shown on a node."""

from __future__ import annotations

from typing import Any

import pytest

from kube.client import Client
from kube.wait import (
    Failed,
    Look,
    State,
    Target,
    Waiter,
    claim_state,
    condition,
    current_pods,
    look_at,
    one_line,
    pod_state,
    sealed_state,
    stuck_pods,
    workload_state,
)

EVENTS = "/api/v1/namespaces/n/events"
PODS = "/api/v1/namespaces/n/pods"
SETS = "/apis/apps/v1/namespaces/n/replicasets"
SEALED = "/apis/bitnami.com/v1alpha1/namespaces/n/sealedsecrets"


def look(*, first: bool = False, **lists: list[dict[str, Any]]) -> Look:
    """A look at a cluster that has nothing but these lists; whatever else is asked for fails the test."""
    places = {"events": EVENTS, "pods": PODS, "sets": SETS, "sealed": SEALED}
    system = {"/api/v1/namespaces/kube-system/pods": lists.pop("system", [])}
    found = {place: lists.get(name, []) for name, place in places.items()} | system
    return Look(object.__new__(Client), first, _lists=found)


def pod(
    name: str = "p", *, owner: str = "set", ready: str = "False", node: str = "node",
    **status: Any,  # noqa: ANN401
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", "ownerReferences": [{"uid": owner}],
                     "labels": status.pop("labels", {})},
        "spec": {"nodeName": node, **status.pop("spec", {})},
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": ready}], **status},
    }


def waiting(reason: str, message: str = "", **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{"name": "app", "image": "i:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}]


def event(name: str, reason: str, message: str, count: int = 1) -> dict[str, Any]:
    return {"metadata": {"uid": f"{name}-{reason}"}, "involvedObject": {"uid": f"uid-{name}"}, "reason": reason,
            "message": message, "count": count, "lastTimestamp": "2026-01-01T00:00:00Z"}


def code(state: State) -> str:
    return state.problem.code if state.problem else ""


@pytest.mark.parametrize(("reason", "message", "expected"), [
    ("InvalidImageName", "couldn't parse image name", "image"),
    ("ErrImagePull", "failed to resolve reference \"i:1\": i:1: not found", "image"),
    ("ImagePullBackOff", "Back-off pulling image: ErrImagePull: manifest unknown", "image"),
    ("ErrImagePull", "pulling from host r failed with status code [manifests 1]: 401 Unauthorized", "pull-denied"),
    ("ErrImagePull", "denied: requested access to the resource is denied", "pull-denied"),
    ("ErrImagePull", "dial tcp: lookup r on 10.43.0.10:53: i/o timeout", ""),
    ("ImagePullBackOff", "Back-off pulling image \"i:1\"", ""),
    ("CreateContainerConfigError", "couldn't find key A in Secret n/s", "config"),
    ("RunContainerError", "exec: no such file", "config"),
    ("ContainerCreating", "", ""),
    ("PodInitializing", "", ""),
    ("CrashLoopBackOff", "back-off 10s", ""),
])
def test_what_a_container_waits_for(reason: str, message: str, expected: str) -> None:
    state = pod_state(pod(containerStatuses=waiting(reason, message, restartCount=1)), look())
    assert (state.ready, code(state)) == (False, expected)
    assert "p" in state.text


def test_the_cause_of_a_failed_pull_may_be_in_an_event_only() -> None:
    state = pod_state(pod(containerStatuses=waiting("ImagePullBackOff", "Back-off pulling image")),
                      look(events=[event("p", "Failed", "Failed to pull image: i:1: not found")]))
    assert code(state) == "image"


def test_a_missing_secret_names_the_sealed_secret_that_should_give_it() -> None:
    sealed = {"metadata": {"name": "observer-secrets", "namespace": "n", "generation": 1}, "status": {
        "observedGeneration": 1, "conditions": [
            {"type": "Synced", "status": "False", "message": "no key could decrypt secret (DB_PASSWORD)"}]}}
    waits = waiting("CreateContainerConfigError", 'secret "observer-secrets" not found')
    state = pod_state(pod(containerStatuses=waits), look(sealed=[sealed]))
    assert state.problem
    assert "SealedSecret observer-secrets: the controller cannot open it: no key could decrypt" in state.problem.text
    assert "secrets.yml" in state.problem.remedy


@pytest.mark.parametrize(("message", "expected"), [
    ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims", "unschedulable"),
    ("0/1 nodes are available: 1 Insufficient memory.", "unschedulable"),
    ("0/1 nodes are available: 1 node(s) had volume node affinity conflict.", "unschedulable"),
    ('persistentvolumeclaim "data" not found', "unschedulable"),
    ("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.", ""),
    ("", ""),
])
def test_a_pod_without_a_node(message: str, expected: str) -> None:
    unscheduled = pod(node="", conditions=[{"type": "PodScheduled", "status": "False", "message": message}])
    state = pod_state(unscheduled, look(pods=[unscheduled]))
    assert code(state) == expected
    assert "no new claims" not in state.text


def test_a_pod_may_still_get_the_place_of_one_that_leaves() -> None:
    unscheduled = pod(node="", conditions=[
        {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}])
    leaving = pod("old")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert code(pod_state(unscheduled, look(pods=[unscheduled, leaving]))) == ""


def test_warnings_from_before_the_waiting_tell_nothing() -> None:
    known: dict[str, str] = {}
    old = event("p", "FailedMount", 'secret "s" not found')
    before = look(first=True, events=[old])
    before.known_events = known
    assert before.warnings("n", "uid-p") == []
    again = look(events=[{**old, "count": 2}])
    again.known_events = known
    assert again.warnings("n", "uid-p") == ['FailedMount: secret "s" not found']
    assert code(pod_state(pod(), again)) == "mount"


def deployment(generation: int = 1, replicas: int = 1, **status: int) -> dict[str, Any]:
    return {"metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": generation,
                         "annotations": {"deployment.kubernetes.io/revision": "2"}},
            "spec": {"replicas": replicas}, "status": {"observedGeneration": 1, **status}}


@pytest.mark.parametrize(("item", "ready"), [
    (deployment(), False),
    (deployment() | {"status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}},
     True),
    (deployment() | {"status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}},
     False),
    (deployment(generation=2) | {
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}}, False),
    (deployment(replicas=0), True),
])
def test_when_a_deployment_is_ready(item: dict[str, Any], ready: bool) -> None:
    assert workload_state(Target("Deployment", "d", "n"), item, look()).ready is ready


def test_only_pods_of_the_newest_template_count() -> None:
    sets = [{"metadata": {"uid": f"set{number}", "ownerReferences": [{"uid": "d"}],
                          "annotations": {"deployment.kubernetes.io/revision": number}}} for number in ("1", "2")]
    now = look(sets=sets, pods=[pod("old", owner="set1"), pod("new", owner="set2"), pod("other", owner="x")])
    assert [found["metadata"]["name"] for found in current_pods("Deployment", deployment(), now)] == ["new"]


def test_a_stateful_pod_of_an_old_template_stands_in_the_way_unless_it_is_ready() -> None:
    item = {"metadata": {"name": "s", "namespace": "n", "uid": "s", "generation": 1}, "spec": {},
            "status": {"observedGeneration": 1, "updateRevision": "new"}}
    pods = [pod("s-0", owner="s", labels={"controller-revision-hash": "old"}),
            pod("s-1", owner="s", ready="True", labels={"controller-revision-hash": "old"}),
            pod("s-2", owner="s", labels={"controller-revision-hash": "new"})]
    now = look(pods=pods)
    current = current_pods("StatefulSet", item, now)
    assert [found["metadata"]["name"] for found in current] == ["s-2"]
    assert [found["metadata"]["name"] for found in stuck_pods("StatefulSet", item, current, now)] == ["s-0"]


def test_a_pod_in_back_off_is_stuck_only_at_the_first_look() -> None:
    crashed = pod(containerStatuses=waiting("CrashLoopBackOff"))
    assert stuck_pods("Deployment", deployment(), [crashed], look(first=True)) == (crashed,)
    assert stuck_pods("Deployment", deployment(), [crashed], look()) == ()


class Cluster(Client):
    """The API of a cluster that has only these objects, by their paths. It keeps what it is asked to delete."""

    def __init__(self, **containers: list[dict[str, Any]]) -> None:
        """Of each kind one workload with one pod, whose containers have these states; a ready one without."""
        self.containers = containers
        self.deleted: list[str] = []

    def get(self, path: str, query: Any = None) -> dict[str, Any]:  # noqa: ANN401
        kind = path.split("/")[-2]
        counts = {"updatedReplicas": 1, "availableReplicas": int(not self.containers[kind]), "replicas": 1}
        return {"metadata": {"name": kind, "namespace": "n", "uid": kind, "generation": 1, "annotations": {}},
                "spec": {"replicas": 1}, "status": {"observedGeneration": 1, "updateRevision": "new", **counts}}

    def items(self, path: str, query: Any = None) -> list[dict[str, Any]]:  # noqa: ANN401
        if path == SETS:
            return [{"metadata": {"uid": "set", "ownerReferences": [{"uid": "deployments"}]}}]
        owners = {"deployments": "set", "statefulsets": "statefulsets"}
        return [pod(f"{kind}-0", owner=owners[kind], containerStatuses=states,
                    labels={"controller-revision-hash": "new"})
                for kind, states in self.containers.items() if states] if path == PODS else []

    def send(self, method: str, path: str, *more: Any) -> tuple[int, bytes]:  # noqa: ANN401
        return 200, b"start\nValueError: DB_PORT is empty\n"

    def request(self, method: str, path: str, *more: Any) -> dict[str, Any]:  # noqa: ANN401
        self.deleted.append(f"{method} {path}")
        return {}


def crashing(restarts: int) -> list[dict[str, Any]]:
    return waiting("CrashLoopBackOff", restartCount=restarts)


def waiter(cluster: Cluster, **more: float) -> Waiter:
    targets = [Target({"deployments": "Deployment", "statefulsets": "StatefulSet"}[kind], kind, "n")
               for kind in cluster.containers]
    return Waiter(cluster, targets, [], lambda line: None, **more)


def goes_on(found: Waiter, cluster: Cluster, restarts: int, now: float) -> bool:
    """Whether the waiting goes on after a look in which the Deployment's container had so many restarts."""
    cluster.containers["deployments"] = crashing(restarts)
    try:
        found._look(False, now)
    except Failed as error:
        assert f"has ended {restarts + 1} times" in str(error) and "ValueError: DB_PORT is empty" in str(error)
        return False
    return True


@pytest.mark.parametrize(("looks", "expected"), [
    ([(1, 2), (2, 15), (3, 40), (3, 61)], [True, True, True, True]),  # 59 s since it was first seen
    ([(1, 2), (2, 15), (3, 40), (3, 62)], [True, True, True, False]),
    ([(1, 2), (1, 90), (2, 91)], [True, True, False]),  # it has had no second try
    ([(1, 2), (2, 3), (3, 4), (4, 5)], [True, True, True, False]),  # four times
    ([(7, 2), (8, 15)], [True, True]),  # what was before does not count
])
def test_a_crash_may_pass_for_a_while(looks: list[tuple[int, float]], expected: list[bool]) -> None:
    cluster = Cluster(deployments=crashing(1))
    found = waiter(cluster)
    assert [goes_on(found, cluster, *look) for look in looks] == expected


def test_the_grace_is_a_parameter() -> None:
    cluster = Cluster(deployments=crashing(1))
    found = waiter(cluster, crash_grace=5)
    assert [goes_on(found, cluster, 1, 2), goes_on(found, cluster, 2, 7)] == [True, False]


def test_a_deployment_may_crash_until_the_stateful_set_beside_it_is_ready() -> None:
    """However often, and its grace begins then: its next try may be minutes away."""
    cluster = Cluster(deployments=crashing(1), statefulsets=waiting("ContainerCreating"))
    found = waiter(cluster)
    assert all(goes_on(found, cluster, restarts, restarts * 60.0) for restarts in range(1, 9))
    cluster.containers["statefulsets"] = []
    assert goes_on(found, cluster, 8, 500)
    assert goes_on(found, cluster, 8, 600), "in back-off from before"
    assert not goes_on(found, cluster, 9, 610)


def test_a_stateful_set_that_crashes_ends_the_waiting() -> None:
    cluster = Cluster(deployments=crashing(1), statefulsets=crashing(1))
    found = waiter(cluster)
    found._look(False, 0)
    cluster.containers["statefulsets"] = crashing(3)
    with pytest.raises(Failed, match=r"StatefulSet n/statefulsets will not become ready: .*has ended 4 times"):
        found._look(False, 60)


def test_a_stuck_pod_that_is_deleted_is_told() -> None:
    cluster = Cluster(deployments=crashing(5))
    found = waiter(cluster)
    found._look(True, 0)
    assert cluster.deleted == ["DELETE /api/v1/namespaces/n/pods/deployments-0"]
    assert found.restarted == ["n/deployments-0"]


@pytest.mark.parametrize(("status", "ready", "expected"), [
    ({}, False, ""),
    ({"observedGeneration": 1, "conditions": [{"type": "Synced", "status": "True"}]}, False, ""),
    ({"observedGeneration": 2, "conditions": [{"type": "Synced", "status": "True"}]}, True, ""),
    ({"observedGeneration": 2, "conditions": [{"type": "Synced", "status": "False", "message": "no key"}]}, False,
     "sealed"),
])
def test_when_a_sealed_secret_is_opened(status: dict[str, Any], ready: bool, expected: str) -> None:
    state = sealed_state({"metadata": {"name": "s", "namespace": "n", "generation": 2}, "status": status})
    assert (state.ready, code(state)) == (ready, expected)


def test_a_secret_in_the_way_of_a_sealed_one_is_named() -> None:
    problem = sealed_state({"metadata": {"name": "s", "namespace": "n"}, "status": {"conditions": [{
        "type": "Synced", "status": "False",
        "message": 'Resource "s" already exists and is not managed by SealedSecret'}]}}).problem
    assert problem and "kubectl -n n delete secret s" in problem.remedy


def refused() -> dict[str, Any]:
    """A SealedSecret that came too soon after another one of its name was deleted."""
    return {"metadata": {"name": "s", "namespace": "n", "uid": "new", "resourceVersion": "7"},
            "spec": {"encryptedData": {"A": "x"}}, "status": {"observedGeneration": 1, "conditions": [{
                "type": "Synced", "status": "False",
                "message": 'Resource "s" already exists and is not managed by SealedSecret'}]}}


@pytest.mark.parametrize(("owners", "text", "expected"), [
    ([{"kind": "SealedSecret", "name": "s", "uid": "old"}], "its predecessor's Secret is being removed", ""),
    ([{"kind": "SealedSecret", "name": "s", "uid": "new"}], "already exists", "sealed"),
    ([], "already exists", "sealed"),
    (None, "has gone", ""),
])
def test_the_secret_of_a_predecessor_goes_by_itself(
        owners: list[dict[str, Any]] | None, text: str, expected: str) -> None:
    cluster = Sealed(refused(), None if owners is None else {"metadata": {"name": "s", "ownerReferences": owners}})
    state = look_at(Target("SealedSecret", "s", "n"), Look(cluster))
    assert (code(state), state.passed_over is not None) == (expected, owners is None)
    assert text in state.text


class Sealed(Client):
    """The API of a cluster with one SealedSecret and perhaps its Secret. It keeps the patches it gets."""

    def __init__(self, sealed: dict[str, Any], secret: dict[str, Any] | None) -> None:
        self.sealed = sealed
        self.secret = secret
        self.patches: list[Any] = []

    def get(self, path: str, query: Any = None) -> dict[str, Any] | None:  # noqa: ANN401
        return self.sealed if "sealedsecrets" in path else self.secret

    def request(self, method: str, path: str, query: Any = None, body: Any = None,  # noqa: ANN401
                content_type: str = "") -> dict[str, Any]:
        self.patches.append(body)
        return {}


def test_a_sealed_secret_that_was_passed_over_is_shown_again_and_stays_what_it_is() -> None:
    """The controller compares the spec with the one it knew: changed for the moment, it opens what it finds."""
    cluster = Sealed({"metadata": {"name": "s", "namespace": "n", "generation": 1, "resourceVersion": "7"},
                      "spec": {"encryptedData": {"A": "x"}}}, None)
    lines: list[str] = []
    found = Waiter(cluster, [Target("SealedSecret", "s", "n")], [], lines.append)
    for now in (0.0, 9.0):
        found._look(False, now)
    assert cluster.patches == []
    for now in (10.0, 15.0, 20.0):
        found._look(False, now)
    first, second, *again = cluster.patches
    assert first["spec"]["template"]["metadata"]["annotations"]
    assert second == [{"op": "replace", "path": "/spec", "value": {"encryptedData": {"A": "x"}}}]
    assert (again, found.shown) == ([first, second], ["n/s"])
    assert "shown to it again" in lines[0]


def claim(phase: str) -> dict[str, Any]:
    return {"metadata": {"name": "c", "namespace": "n", "uid": "uid-c"}, "spec": {}, "status": {"phase": phase}}


def test_when_a_claim_is_bound() -> None:
    assert claim_state(claim("Bound"), look()).ready
    assert code(claim_state(claim("Lost"), look())) == "lost"
    assert claim_state(claim("Pending"), look()).text == "no pod uses it yet"
    failed = look(events=[event("c", "ProvisioningFailed", "no such class")])
    assert code(claim_state(claim("Pending"), failed)) == "provisioning"


def test_words() -> None:
    assert one_line("a\n  b") == "a b"
    assert one_line("x" * 400) == "x" * 300 + "..."
    assert condition({}, "Ready") == {}
    assert str(Target("Node", "a")) == "Node a"
    assert str(Target("Deployment", "a", "n")) == "Deployment n/a"
