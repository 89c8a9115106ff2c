"""The actions' engine against a real API server: every kind of hand edit, refusals, and what cannot start."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import yaml

from bed import nodes
from hands import Site, wait_for
from kube.client import Client, Kubeconfig, KubeError
from kube.objects import Objects, Restart, title
from kube.wait import Failed, Page, Target, Waiter

NS = "actions"
BUSYBOX = "docker.io/library/busybox:1.36.1"
OBSERVER = "ghcr.io/tawbury/observer"

DECLARED: list[dict[str, Any]] = list(yaml.safe_load_all(f"""
{{apiVersion: v1, kind: Namespace, metadata: {{name: {NS}, labels: {{purpose: test}}}}}}
---
{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings, namespace: {NS}}}, data: {{a: "1", b.json: "{{}}"}}}}
---
{{apiVersion: v1, kind: Secret, metadata: {{name: secret, namespace: {NS}}}, stringData: {{p: first}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: app, namespace: {NS}}}
spec: {{selector: {{app: app}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app, namespace: {NS}, labels: {{app: app}}}}
spec:
  replicas: 1
  strategy: {{type: Recreate}}
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext: {{runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, runAsNonRoot: true}}
      containers:
        - name: main
          image: {BUSYBOX}
          command: [sh, -c, "echo kept >> /data/file; mkdir /tmp/w; touch /tmp/w/ok; exec httpd -f -p 8080 -h /tmp/w"]
          env: [{{name: A, value: "1"}}]
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /ok, port: http}}, periodSeconds: 1}}
          volumeMounts: [{{name: data, mountPath: /data}}]
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: {NS}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"""))

READY = [Target("Deployment", "app", NS), Target("PersistentVolumeClaim", "data", NS)]


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    """The API of a provisioned node, through a forward of its own."""
    site.play().ok()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Kubeconfig.parse(site.ssh("sudo cat /etc/rancher/k3s/k3s.yaml"), "K3s' kubeconfig")
    command = nodes.ssh_argv(site.node)
    forward = subprocess.Popen([*command[:-1], "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:6443", command[-1]])
    found = Client(replace(config, server=f"https://127.0.0.1:{port}"))
    try:
        wait_for(lambda: answers(found), "the forward", 10)
        yield found
    finally:
        site.kubectl(f"delete namespace {NS} --ignore-not-found --wait=false")
        forward.terminate()
        forward.wait()


def answers(client: Client) -> bool:
    try:
        return bool(client.request("GET", "/version"))
    except KubeError:
        return False


def work(client: Client) -> Objects:
    return Objects(client.another(), "observer-node", 120)


def mend(client: Client, objects: list[dict[str, Any]], restarts: tuple[Restart, ...] = ()) -> list[str]:
    """Make the objects and return what changed; a second time there must be nothing."""
    found = work(client)
    changes = found.plan(objects, [], restarts)
    for change in changes:
        found.carry_out(change)
    again = list(map(str, work(client).plan(objects, [], restarts)))
    assert not again, again
    return list(map(str, changes))


@pytest.fixture(scope="module")
def made(client: Client) -> list[str]:
    changes = mend(client, DECLARED)
    Waiter(client.another(), READY, [Page(NS, "app", "80", "/ok")], print).wait(90)
    return changes


def test_what_is_not_there_is_created(made: list[str]) -> None:
    assert made == [
        f"Namespace {NS}: created", f"ConfigMap {NS}/settings: created", f"Secret {NS}/secret: created",
        f"Service {NS}/app: created", f"Deployment {NS}/app: created", f"PersistentVolumeClaim {NS}/data: created",
    ]


def patch(what: str, patch: object, kind: str = "merge") -> str:
    return f"-n {NS} patch {what} --type={kind} -p {shlex.quote(json.dumps(patch))}"


POD = "spec.template.spec"
EDITS = {
    "scale": (f"-n {NS} scale deployment/app --replicas=2", "Deployment", "app", ["spec.replicas"]),
    "image": (f"-n {NS} set image deployment/app main={BUSYBOX}-nope", "Deployment", "app",
              [f"{POD}.containers[main].image"]),
    "variables": (f"-n {NS} set env deployment/app A=2 B=3", "Deployment", "app",
                  [f"{POD}.containers[main].env[A].value", f"{POD}.containers[main].env[B]"]),
    "no variables": (patch("deployment app", [
        {"op": "remove", "path": "/spec/template/spec/containers/0/env"}], "json"), "Deployment", "app",
        [f"{POD}.containers[main].env"]),
    "port": (patch("deployment app", [{"op": "add", "path": "/spec/template/spec/containers/0/ports/-",
                                       "value": {"containerPort": 9090, "name": "x"}}], "json"), "Deployment", "app",
             [f"{POD}.containers[main].ports[x]"]),
    "container": (patch("deployment app", {"spec": {"template": {"spec": {"containers": [
        {"name": "side", "image": BUSYBOX, "command": ["sleep", "99"]}]}}}}, "strategic"), "Deployment", "app",
        [f"{POD}.containers[side]"]),
    "limits": (f"-n {NS} set resources deployment/app --limits=memory=64Mi", "Deployment", "app",
               [f"{POD}.containers[main].resources.limits.memory"]),
    # Kubernetes refuses Recreate beside the rollingUpdate that comes with this.
    "strategy": (patch("deployment app", {"spec": {"strategy": {"type": "RollingUpdate"}, "minReadySeconds": 3}}),
                 "Deployment", "app", ["spec.minReadySeconds", "spec.strategy.rollingUpdate.maxSurge",
                                       "spec.strategy.rollingUpdate.maxUnavailable", "spec.strategy.type"]),
    "label": (f"-n {NS} label deployment/app mine=1", "Deployment", "app", ["metadata.labels.mine"]),
    "no label": (f"-n {NS} label deployment/app app-", "Deployment", "app", ["metadata.labels.app"]),
    "annotation": (f"-n {NS} annotate service/app some.io/note=x", "Service", "app",
                   ["metadata.annotations[some.io/note]"]),
    "settings": (patch("configmap settings", {"data": {"a": "2", "new": "1"}}), "ConfigMap", "settings",
                 ["data.a", "data.new"]),
    "secret": (patch("secret secret", {"stringData": {"p": "other", "q": "added"}}), "Secret", "secret",
               ["data.p", "data.q"]),
    "type of Service": (patch("service app", {"spec": {"type": "NodePort"}}), "Service", "app",
                        ["spec.externalTrafficPolicy", "spec.ports[http].nodePort", "spec.type"]),
    "namespace": (f"label namespace {NS} --overwrite purpose=other mine=1", "Namespace", NS,
                  ["metadata.labels.mine", "metadata.labels.purpose"]),
    "deletion": (f"-n {NS} delete configmap settings", "ConfigMap", "settings", ["created"]),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_hand_edit_is_reported_exactly_and_mended(site: Site, client: Client, made: list[str], name: str) -> None:
    command, kind, item, paths = EDITS[name]
    site.kubectl(command)
    before = generation(client)
    where = item if kind == "Namespace" else f"{NS}/{item}"
    assert mend(client, DECLARED) == [f"{kind} {where}: {', '.join(paths)}"]
    # What was changed and what was added goes in one step: pods start anew once, not twice.
    assert generation(client) - before <= 1


def generation(client: Client) -> int:
    found = client.request("GET", f"/apis/apps/v1/namespaces/{NS}/deployments/app")
    number: int = found["metadata"]["generation"]
    return number


def test_a_restart_by_kubectl_is_nobodys_edit(site: Site, client: Client, made: list[str]) -> None:
    site.kubectl(f"-n {NS} rollout restart deployment/app")
    assert mend(client, DECLARED) == []


def test_pods_that_are_older_than_what_they_read_are_restarted(site: Site, client: Client, made: list[str]) -> None:
    Waiter(client.another(), READY, [], print).wait(90)
    app = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": NS}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": NS}}
    restart = (Restart(app, (settings,)),)
    # As an evicted pod, which keeps its labels and its start: it is not what runs. A live one would be adopted.
    site.kubectl("apply -f -", stdin=json.dumps({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "evicted", "namespace": NS}, "spec": {
            "restartPolicy": "Never", "activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": BUSYBOX, "command": ["sleep", "60"]}]}}))
    wait_for(lambda: site.get(f"-n {NS} pod evicted")["status"].get("phase") == "Failed", "the pod to fail", 30)
    site.kubectl(f"-n {NS} label pod evicted app=app")
    time.sleep(1.1)  # Kubernetes' times are in seconds.
    site.kubectl(patch("configmap settings", {"data": {"a": "2"}}))
    # As if the run had been interrupted after this: the next one still sees it.
    assert mend(client, DECLARED) == [f"ConfigMap {NS}/settings: data.a"]
    found = work(client)
    (change,) = found.plan(DECLARED, [], restart)
    assert str(change) == f"Deployment {NS}/app: restarted"
    found.carry_out(change)
    Waiter(client.another(), READY, [], print).wait(90)
    assert site.get(f"-n {NS} pod evicted")["status"]["startTime"]
    assert mend(client, DECLARED, restart) == []
    site.kubectl(f"-n {NS} delete pod evicted --wait=false")


def test_a_field_that_is_fixed_is_refused_before_anything_is_written(client: Client, made: list[str]) -> None:
    smaller = [{**item, "spec": {**item["spec"], "resources": {"requests": {"storage": "1Mi"}}}}
               if item["kind"] == "PersistentVolumeClaim" else item for item in DECLARED]
    smaller[1] = {**smaller[1], "data": {"a": "changed"}}
    with pytest.raises(KubeError, match=r"PersistentVolumeClaim actions/data: spec\.resources\.requests\.storage cannot"
                                        " be changed") as caught:
        work(client).plan(smaller, [], [])
    assert "save its data first" in caught.value.remedy
    assert mend(client, DECLARED) == []


def test_an_unknown_field_is_refused(client: Client, made: list[str]) -> None:
    wrong = {**DECLARED[3], "spec": {**DECLARED[3]["spec"], "portss": []}}
    with pytest.raises(KubeError, match=r"Service actions/app: the API server refuses it: .*portss: field not decl"):
        work(client).plan([wrong], [], [])


def test_a_class_and_a_binding_are_replaced(client: Client) -> None:
    group = "rbac.authorization.k8s.io"
    binding = {"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "actions-test"},
               "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"}}
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "actions-test"},
               "provisioner": "example.com/none", "reclaimPolicy": "Retain"}
    try:
        assert len(mend(client, [binding, storage])) == 2
        other = {"apiGroup": group, "kind": "ClusterRole", "name": "edit"}
        assert mend(client, [{**binding, "roleRef": other}, {**storage, "reclaimPolicy": "Delete"}]) == [
            "ClusterRoleBinding actions-test: roleRef.name", "StorageClass actions-test: reclaimPolicy"]
        with pytest.raises(KubeError, match="ClusterRoleBinding actions-test: the API server refuses it"):
            work(client).plan([{**binding, "roleRef": {"apiGroup": group, "kind": "X", "name": "view"}}], [], [])
    finally:
        found = work(client)
        changes = found.plan([], [binding, storage], [])
        for change in changes:
            found.carry_out(change)
    assert list(map(str, changes)) == ["ClusterRoleBinding actions-test: removed", "StorageClass actions-test: removed"]


def test_a_new_kind_is_waited_for(client: Client) -> None:
    group = "actions.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Cluster", "names": {"kind": "Thing", "plural": "things"}, "versions": [{
            "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]},
    }
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
    try:
        found = work(client)
        changes = found.plan([thing, definition], [], [])
        for change in changes:
            found.carry_out(change)
        assert list(map(str, changes)) == [f"CustomResourceDefinition things.{group}: created", "Thing one: created"]
        assert work(client).plan([thing, definition], [], []) == []
    finally:
        found = work(client)
        for change in found.plan([], [definition], []):
            found.carry_out(change)


# --- waiting --------------------------------------------------------------------------------------


def workload(
    name: str, kind: str = "Deployment", container: dict[str, Any] | None = None,
    **spec: Any,  # noqa: ANN401
) -> dict[str, Any]:
    main = {"name": "main", "image": BUSYBOX, "command": ["sleep", "86400"], **(container or {})}
    service = {"serviceName": "none"} if kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": NS}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": name}}, **service, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [main], **spec}}}}


def shell(line: str) -> dict[str, Any]:
    return {"command": ["sh", "-c", line]}


FAILING: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    # name: objects, what the message says, what the remedy says
    "denied": ([workload("denied", container={"image": f"{OBSERVER}:build-20260206-090000"},
                         imagePullSecrets=[{"name": "ghcr-secret"}])],
               f"the registry asks who pulls, and Secret {NS}/ghcr-secret does not exist", "secrets.yml"),
    "name": ([workload("name", container={"image": "ghcr.io/Tawbury/observer:1"})], "InvalidImageName", "name"),
    "secret": ([workload("secret", container={"envFrom": [{"secretRef": {"name": "observer-secrets"}}]})],
               'CreateContainerConfigError: secret "observer-secrets" not found', "secrets.yml"),
    "key": ([workload("key", container={"env": [{"name": "X", "valueFrom": {
        "secretKeyRef": {"name": "secret", "key": "DB_PASSWORD"}}}]})],
        f"couldn't find key DB_PASSWORD in Secret {NS}/secret", "secrets.yml"),
    "crash": ([workload("crash", container=shell("echo start; echo 'ValueError: DB_PORT is empty'; exit 3"))],
              "times, last with exit code 3; its log says: ValueError: DB_PORT is empty",
              "--previous"),
    # Ready for a second, each time.
    "brief": ([workload("brief", container=shell("sleep 1; exit 5"))], "with exit code 5; its log is empty", ""),
    "memory": ([workload("memory", container={**shell("sleep 1; tail /dev/zero"), "resources": {
        "limits": {"memory": "16Mi"}}, "readinessProbe": {"exec": {"command": ["false"]}}})],
        "exit code 137 (OOMKilled)", "Raise the memory limit of container main"),
    "no node": ([workload("no-node", nodeSelector={"kubernetes.io/hostname": "other"})],
                "didn't match Pod's node affinity/selector", "nodeSelector"),
    "too big": ([workload("too-big", container={"resources": {"requests": {"memory": "900Gi"}}})],
                "Insufficient memory", "Lower the requests"),
    "no claim": ([workload("no-claim", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}])],
                 'persistentvolumeclaim "none" not found', "Create the claim"),
    "no class": ([
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "no-class", "namespace": NS},
         "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                  "resources": {"requests": {"storage": "1Gi"}}}},
        workload("no-class", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "no-class"}}])],
        'storageclass.storage.k8s.io "none" not found', "describe pvc"),
    "shared": ([
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shared", "namespace": NS},
         "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}},
        workload("shared", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "shared"}}])],
        "NodePath only supports ReadWriteOnce", "local-path-provisioner"),
    "mount": ([workload("mount", volumes=[{"name": "v", "configMap": {"name": "none"}}],
                        container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]})],
              'configmap "none" not found', "describe pod"),
    "stateful": ([workload("stateful", "StatefulSet", shell("echo 'initdb: permission denied'; exit 1"))],
                 "its log says: initdb: permission denied", "--previous"),
    "init": ([workload("init", initContainers=[{"name": "prepare", "image": BUSYBOX, **shell("exit 7")}])],
             "times, last with exit code 7; its log is empty", "--previous"),
}


def failure(client: Client, name: str) -> Failed:
    """What waiting for a workload that cannot start ends with, long before its time is over."""
    objects = FAILING[name][0]
    target = Target(objects[-1]["kind"], objects[-1]["metadata"]["name"], NS)
    with pytest.raises(Failed) as caught:
        Waiter(client.another(), [target], [], lambda line: None, steady=3, crash_grace=5).wait(600)
    return caught.value


@pytest.fixture(scope="module")
def failures(client: Client, made: list[str]) -> Iterator[dict[str, Failed]]:
    """All of them at once."""
    objects = [item for items, *_ in FAILING.values() for item in items]
    found = work(client)
    for change in found.plan(objects, [], []):
        found.carry_out(change)
    with ThreadPoolExecutor(len(FAILING)) as pool:
        ended = dict(zip(FAILING, pool.map(lambda name: failure(client, name), FAILING), strict=True))
    yield ended
    found = work(client)
    for change in found.plan([], objects, []):
        found.carry_out(change)


@pytest.mark.parametrize("name", FAILING)
def test_waiting_ends_early_and_says_why(failures: dict[str, Failed], name: str) -> None:
    error = failures[name]
    _, said, remedy = FAILING[name]
    assert "will not become ready" in str(error)
    assert said in str(error)
    assert remedy in error.remedy and error.remedy
    assert "\n" not in str(error)


def test_refused_pods_are_told_of(client: Client, made: list[str]) -> None:
    guarded = [{**DECLARED[0], "metadata": {**DECLARED[0]["metadata"], "labels": {
        "purpose": "test", "pod-security.kubernetes.io/enforce": "baseline"}}}]
    objects = [workload(f"refused-{kind.lower()}", kind, volumes=[{"name": "v", "hostPath": {"path": "/"}}])
               for kind in ("Deployment", "StatefulSet")]
    mend(client, guarded + objects)
    try:
        for item in objects:
            target = Target(item["kind"], item["metadata"]["name"], NS)
            with pytest.raises(Failed, match=r"its pods are refused: .*hostPath volumes"):
                Waiter(client.another(), [target], [], print).wait(60)
    finally:
        found = work(client)
        for change in found.plan(DECLARED[:1], objects, []):
            found.carry_out(change)


def test_a_sealed_secret_that_nothing_opens(client: Client, made: list[str]) -> None:
    sealed = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
              "metadata": {"name": "unopened", "namespace": NS},
              "spec": {"encryptedData": {"DB_PASSWORD": "AgBy" + "A" * 600}}}
    mend(client, [sealed])
    with pytest.raises(Failed, match="cannot open it: no key could decrypt secret") as caught:
        Waiter(client.another(), [Target("SealedSecret", "unopened", NS)], [], print).wait(60)
    assert "secrets.yml" in caught.value.remedy


def test_a_failed_helper_pod_is_named(site: Site, client: Client, made: list[str]) -> None:
    claim = {**DECLARED[5], "metadata": {"name": "more", "namespace": NS}}
    user = workload("more", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "more"}}])
    site.kubectl("-n kube-system patch configmap local-path-config --type=merge -p " + shlex.quote(json.dumps(
        {"data": {"setup": "#!/bin/sh\necho 'mkdir: No space left on device'; exit 1\n"}})))
    try:
        mend(client, [claim, user])
        with pytest.raises(Failed, match=r"the folder of the volume was not made: .*No space left on device"):
            Waiter(client.another(), [Target("Deployment", "more", NS)], [], print).wait(60)
    finally:
        found = work(client)
        for change in found.plan([], [claim, user], []):
            found.carry_out(change)
        changes = site.play().ok().changes
    assert "local_path: ConfigMap kube-system/local-path-config: data.setup" in changes
    assert "local_path: Deployment kube-system/local-path-provisioner: restarted" in changes


def test_a_stateful_pod_of_a_broken_template_is_replaced(site: Site, client: Client, made: list[str]) -> None:
    item = workload("ordered", "StatefulSet")
    target = Target("StatefulSet", "ordered", NS)
    mend(client, [item])
    Waiter(client.another(), [target], [], print).wait(60)
    site.kubectl(f"-n {NS} set image statefulset/ordered main={BUSYBOX}-nope")
    wait_for(lambda: "ErrImagePull" in json.dumps(site.get(f"-n {NS} pod ordered-0")) or
             "ImagePullBackOff" in json.dumps(site.get(f"-n {NS} pod ordered-0")), "the broken pod")
    assert mend(client, [item]) == [f"StatefulSet {NS}/ordered: spec.template.spec.containers[main].image"]
    waiter = Waiter(client.another(), [target], [], print)
    waiter.wait(60)
    assert waiter.restarted == [f"{NS}/ordered-0"]


def test_data_outlives_its_claim(site: Site, client: Client, made: list[str]) -> None:
    """Written by uid 1000 through fsGroup; kept when the claim goes, and when the volume is told to go too."""
    volume = site.get(f"-n {NS} pvc data")["spec"]["volumeName"]
    path = site.get(f"pv {volume}")["spec"]["local"]["path"]
    assert site.ssh(f"sudo stat -c '%a %u:%g' {path} {path}/file").split() == ["2770", "0:1000", "644", "1000:1000"]
    site.kubectl(f"-n {NS} delete deployment app")
    site.kubectl(f"-n {NS} delete pvc data")
    wait_for(lambda: site.get(f"pv {volume}")["status"]["phase"] == "Released", "the released volume")
    site.kubectl(f"patch pv {volume} --type=merge -p "
                 + shlex.quote('{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}'))
    wait_for(lambda: volume not in site.kubectl("get pv -o name"), "the end of the volume")
    assert site.ssh(f"sudo cat {path}/file").startswith("kept")


def test_objects_of_a_namespace_that_is_going_are_made_anew(site: Site, client: Client, made: list[str]) -> None:
    site.kubectl(f"delete namespace {NS} --wait=false")
    assert mend(client, DECLARED) == [f"{title(item)}: created" for item in DECLARED]
    Waiter(client.another(), READY, [], print).wait(90)
