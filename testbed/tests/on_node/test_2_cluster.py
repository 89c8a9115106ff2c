"""The stand-in is a Kubernetes node: what workloads need from one is shown on it, not assumed."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from bed import nodes, services, settings
from bed.errors import BedError
from bed.recipes import host_architecture
from operator_hand import Cluster, put, wait_for


def test_ready_as_the_pinned_version(cluster: Cluster) -> None:
    node = cluster.get("node obs-prod-arm")
    info = node["status"]["nodeInfo"]
    assert info["kubeletVersion"] == settings.K3S_VERSION
    assert info["containerRuntimeVersion"].startswith("containerd://")
    lines = nodes.ssh(cluster.node, "k3s --version").splitlines()
    assert re.fullmatch(rf"k3s version {re.escape(settings.K3S_VERSION)} \(\S+\)", lines[0])
    assert re.fullmatch(r"go version go1\.\d+\S*", lines[1])


def test_paths_and_modes_are_those_of_k3s(cluster: Cluster) -> None:
    listed = nodes.ssh(cluster.node, (
        "cd /var/lib/rancher/k3s; sudo stat -c '%a %F %n' /etc/rancher/k3s/k3s.yaml server/token server/db/state.db"
        " server/tls/server-ca.crt server/cred server/manifests/coredns.yaml server/manifests/local-storage.yaml"
        " agent/images data/current agent/etc/kubelet.conf.d /etc/rancher/node/password"
    ))
    modes = {line.split(" ")[-1]: line.split(" ")[0] for line in listed.splitlines()}
    assert modes["/etc/rancher/k3s/k3s.yaml"] == "600"
    assert modes["server/token"] == "600"
    assert modes["/etc/rancher/node/password"] == "600"
    token = nodes.ssh(cluster.node, "sudo cat /var/lib/rancher/k3s/server/token").strip()
    digest = nodes.ssh(cluster.node, "sudo sha256sum /var/lib/rancher/k3s/server/tls/server-ca.crt").split()[0]
    assert token == f"K10{digest}::server:the-first-token"


def test_the_api_and_its_tools(cluster: Cluster) -> None:
    assert cluster.kubectl("get --raw /readyz").strip() == "ok"
    assert "coredns" in nodes.ssh(cluster.node, "sudo crictl ps")
    assert "mirrored-pause" in nodes.ssh(cluster.node, "sudo k3s ctr images ls -q")
    assert nodes.ssh(cluster.node, "sudo kubectl get nodes -o name").strip() == "node/obs-prod-arm"


def test_packaged_components_and_disable(cluster: Cluster) -> None:
    found = {item["metadata"]["name"] for item in cluster.get("-n kube-system deployments")["items"]}
    assert {"coredns", "local-path-provisioner"} <= found
    assert not {"traefik"} & found
    storage = cluster.get("storageclass local-path")
    assert storage["reclaimPolicy"] == "Delete" and storage["volumeBindingMode"] == "WaitForFirstConsumer"
    assert storage["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> str:
    """A namespace with a web server behind a Service and a NodePort, and a client."""
    name = cluster.namespace("web")
    cluster.pod(name, "server", container={
        "command": ["sh", "-c", "mkdir /tmp/w && hostname > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"],
        "ports": [{"name": "http", "containerPort": 8080}],
    })
    cluster.pod(name, "client")
    for service, extra in (("web", {}), ("web-headless", {"clusterIP": "None"}),
                           ("web-port", {"type": "NodePort"})):
        port = {"port": 80 if service != "web-headless" else 8080, "targetPort": "http"}
        if service == "web-port":
            port["nodePort"] = 30080
        cluster.apply({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": name},
            "spec": {"selector": {"app": "server"}, "ports": [port], **extra},
        })
    cluster.wait_pod(name, "server")
    cluster.wait_pod(name, "client")
    return name


def test_dns_and_services(cluster: Cluster, web: str) -> None:
    answer = cluster.execute(web, "client", "nslookup web.web.svc.cluster.local")
    service = cluster.get("-n web service web")["spec"]["clusterIP"]
    assert service in answer and service.startswith("10.43.")
    pod = cluster.get("-n web pod server")["status"]["podIP"]
    assert pod in cluster.execute(web, "client", "nslookup web-headless.web.svc.cluster.local")
    assert pod.startswith("10.42.")
    # By the body, not by an exit code: an unprogrammed address may be answered by somebody else.
    for url in ("http://web/", "http://web.web/", "http://web-headless:8080/"):
        assert wait_for(lambda url=url: cluster.execute(web, "client", f"wget -qO- {url}").strip(), url) == "server"


def test_a_pod_reaches_the_api(cluster: Cluster, web: str) -> None:
    assert cluster.reachable(web, "client", "kubernetes.default", 443)


def test_node_port_from_another_host(cluster: Cluster, web: str) -> None:
    def read() -> str:
        with urllib.request.urlopen(f"http://{cluster.node.address}:30080/", timeout=3) as answer:
            return answer.read().decode().strip()

    assert read() == "server"


def test_exec_logs_and_port_forward(cluster: Cluster, web: str) -> None:
    assert cluster.execute(web, "server", "echo in $(hostname)").strip() == "in server"
    cluster.pod(web, "talker", restartPolicy="Never", container={"command": ["echo", "a line of log"]})
    wait_for(lambda: cluster.get("-n web pod talker")["status"]["phase"] == "Succeeded", "talker done")
    assert cluster.kubectl("-n web logs talker").strip() == "a line of log"
    answer = nodes.ssh(cluster.node, (
        "sudo k3s kubectl -n web port-forward pod/server 18080:8080 >/dev/null & "
        "for i in $(seq 50); do curl -s http://127.0.0.1:18080/ && break; sleep 0.1; done; sudo kill $!"
    ))
    assert answer.strip() == "server"


def test_host_path_both_ways(cluster: Cluster, web: str) -> None:
    nodes.ssh(cluster.node, "sudo install -d -o 1000 -g 1000 -m 755 /opt/shared && echo from-node > /opt/shared/a")
    cluster.pod(
        web, "hostpath", securityContext={"runAsUser": 1000, "runAsGroup": 1000},
        container={"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
        volumes=[{"name": "shared", "hostPath": {"path": "/opt/shared", "type": "DirectoryOrCreate"}}],
    )
    cluster.wait_pod(web, "hostpath")
    assert cluster.execute(web, "hostpath", "cat /shared/a").strip() == "from-node"
    cluster.execute(web, "hostpath", "echo from-pod > /shared/b")
    seen = nodes.ssh(cluster.node, "stat -c %u:%g /opt/shared/b && cat /opt/shared/b")
    assert seen.split() == ["1000:1000", "from-pod"]


def test_local_volume_with_fs_group(cluster: Cluster, web: str) -> None:
    """K3s' class makes ``local`` volumes, so that fsGroup applies (seed 001, Step 4: 1000:1000)."""
    cluster.apply({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": web},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
    })
    cluster.pod(
        web, "volume", securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "runAsNonRoot": True},
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}],
                   "securityContext": {"readOnlyRootFilesystem": True}},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    cluster.wait_pod(web, "volume")
    assert cluster.execute(web, "volume", "echo kept > /data/file && stat -c %u:%g /data/file").strip() == "1000:1000"
    assert cluster.execute(web, "volume", "stat -c %g /data").strip() == "1000"
    assert cluster.execute(web, "volume", "touch /elsewhere 2>&1 || true").strip().endswith("Read-only file system")
    claim = cluster.get("-n web pvc data")["spec"]["volumeName"]
    volume = cluster.get(f"pv {claim}")["spec"]
    assert "local" in volume and "hostPath" not in volume
    assert volume["local"]["path"] == f"/var/lib/rancher/k3s/storage/{claim}_web_data"
    terms = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["obs-prod-arm"]
    cluster.kubectl("-n web delete pod volume --wait")
    assert nodes.ssh(cluster.node, f"sudo cat {volume['local']['path']}/file").strip() == "kept"


def test_limits_and_out_of_memory(cluster: Cluster, web: str) -> None:
    cluster.pod(web, "limited", container={"resources": {"limits": {"memory": "64Mi", "cpu": "100m"}}})
    cluster.wait_pod(web, "limited")
    limit = ("cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes")
    assert cluster.execute(web, "limited", limit).strip() == str(64 * 1024**2)
    cluster.pod(web, "greedy", restartPolicy="Never", container={
        "command": ["tail", "/dev/zero"], "resources": {"limits": {"memory": "32Mi"}},
    })

    def ended() -> object:
        return cluster.get("-n web pod greedy")["status"]["containerStatuses"][0]["state"].get("terminated")

    state = wait_for(ended, "the greedy pod's end")
    assert isinstance(state, dict) and (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


def test_pod_security_is_enforced(cluster: Cluster) -> None:
    name = cluster.namespace("guarded", **{"pod-security.kubernetes.io/enforce": "baseline"})
    with pytest.raises(BedError, match="violates PodSecurity \"baseline:latest\": hostPath volumes"):
        cluster.pod(name, "reaches-out", volumes=[{"name": "root", "hostPath": {"path": "/"}}])
    cluster.pod(name, "modest")
    cluster.wait_pod(name, "modest")


# --- NetworkPolicy ------------------------------------------------------------------------------


def policy(namespace: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec}


@pytest.fixture(scope="module")
def fenced(cluster: Cluster) -> str:
    """A database, an app and a stranger, before any policy."""
    name = cluster.namespace("fenced")
    cluster.pod(name, "database", container={
        "command": ["sh", "-c", "mkdir -p /tmp/d; httpd -p 5432 -h /tmp/d; exec httpd -f -p 5433 -h /tmp/d"],
    })
    for pod in ("app", "stranger"):
        cluster.pod(name, pod)
    for pod in ("database", "app", "stranger"):
        cluster.wait_pod(name, pod)
    cluster.apply({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "database", "namespace": name},
        "spec": {"selector": {"app": "database"}, "ports": [{"port": 5432}]},
    })
    return name


def test_network_policy_both_ways(cluster: Cluster, fenced: str, web: str) -> None:
    address = cluster.get("-n fenced pod database")["status"]["podIP"]
    for pod in ("app", "stranger"):
        assert wait_for(lambda pod=pod: cluster.reachable(fenced, pod, address, 5432), f"{pod} before any policy")
        assert cluster.reachable(fenced, pod, address, 5433)

    # Ingress: only the app, only 5432. Also through the Service.
    cluster.apply(policy(
        fenced, "database", podSelector={"matchLabels": {"app": "database"}}, policyTypes=["Ingress"],
        ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "app"}}}], "ports": [{"port": 5432}]}],
    ))
    wait_for(lambda: not cluster.reachable(fenced, "stranger", address, 5432), "the ingress policy")
    assert cluster.reachable(fenced, "app", address, 5432)
    assert cluster.reachable(fenced, "app", "database", 5432)
    assert not cluster.reachable(fenced, "app", address, 5433)
    assert not cluster.reachable(fenced, "stranger", "database", 5432)
    assert not cluster.reachable(web, "client", address, 5432)
    # The kubelet's own way in stays open, as in Kubernetes.
    assert cluster.execute(fenced, "database", "echo alive").strip() == "alive"

    # Egress: the app may ask DNS and the database, nothing else.
    other = cluster.get("-n web pod server")["status"]["podIP"]
    assert cluster.reachable(fenced, "app", other, 8080)
    cluster.apply(policy(
        fenced, "app", podSelector={"matchLabels": {"app": "app"}}, policyTypes=["Egress"],
        egress=[
            {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
             "ports": [{"port": 53, "protocol": "UDP"}]},
            {"to": [{"podSelector": {"matchLabels": {"app": "database"}}}], "ports": [{"port": 5432}]},
        ],
    ))
    wait_for(lambda: not cluster.reachable(fenced, "app", other, 8080), "the egress policy")
    assert cluster.reachable(fenced, "app", "database", 5432)
    assert cluster.reachable(fenced, "stranger", other, 8080)
    assert not cluster.reachable(fenced, "app", settings.MIRROR_ADDRESS, 80)
    assert cluster.reachable(fenced, "stranger", settings.MIRROR_ADDRESS, 80)

    # ipBlock with an exception, and removal.
    cluster.apply(policy(
        fenced, "stranger", podSelector={"matchLabels": {"app": "stranger"}}, policyTypes=["Egress"],
        egress=[{"to": [{"ipBlock": {"cidr": settings.SUBNET, "except": [f"{settings.MIRROR_ADDRESS}/32"]}}]}],
    ))
    wait_for(lambda: not cluster.reachable(fenced, "stranger", settings.MIRROR_ADDRESS, 80), "the exception")
    assert cluster.reachable(fenced, "stranger", settings.REGISTRY_ADDRESS, settings.REGISTRY_PORT)
    cluster.kubectl("-n fenced delete networkpolicy --all")
    wait_for(lambda: cluster.reachable(fenced, "stranger", address, 5432), "the end of all policies")
    assert cluster.reachable(fenced, "app", other, 8080)


# --- images -------------------------------------------------------------------------------------

OBSERVER = f"{settings.OBSERVER_REPOSITORY}:build-20260205-142425"


def pull_failures(cluster: Cluster, namespace: str, pod: str) -> list[str]:
    """What the events of a pod say of its failed pulls; waits for the first."""
    def failures() -> list[str]:
        selector = f"involvedObject.name={pod},reason=Failed"
        items = cluster.get(f"-n {namespace} events --field-selector {selector}")["items"]
        return [item["message"] for item in items if "Failed to pull image" in item["message"]]

    wait_for(failures, f"a failed pull of {pod}")
    return failures()


def test_a_pull_needs_the_password(cluster: Cluster) -> None:
    name = cluster.namespace("pulls")
    cluster.pod(name, "stranger", container={"image": OBSERVER, "command": ["sleep", "86400"]})

    messages = pull_failures(cluster, name, "stranger")
    assert re.search(r"401|[Uu]nauthorized|no basic auth", messages[0]), messages
    cluster.apply(pull_secret(name))
    cluster.pod(name, "guest", imagePullSecrets=[{"name": "ghcr-secret"}],
                container={"image": OBSERVER, "command": ["sleep", "86400"]})
    cluster.wait_pod(name, "guest")
    # It keeps its own name, whatever registry it came from.
    assert OBSERVER in nodes.ssh(cluster.node, "sudo k3s ctr images ls -q")
    assert cluster.execute(name, "guest", "id -u").strip() == "1000"


def pull_secret(namespace: str) -> dict[str, object]:
    config = base64.b64encode(services.registry().docker_config().encode()).decode()
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": "ghcr-secret", "namespace": namespace}, "data": {".dockerconfigjson": config}}


def test_a_missing_tag_is_told_from_a_wrong_password(cluster: Cluster) -> None:
    name = cluster.namespace("pulls")
    cluster.apply(pull_secret(name))
    cluster.pod(name, "typo", imagePullSecrets=[{"name": "ghcr-secret"}],
                container={"image": f"{settings.OBSERVER_REPOSITORY}:build-20990101-000000"})

    messages = pull_failures(cluster, name, "typo")
    assert "not found" in messages[0], messages


# --- sealed secrets, encryption, manifests, kubelet ---------------------------------------------


def test_sealed_secrets_with_an_offline_certificate(cluster: Cluster, tmp_path: Path) -> None:
    """The controller of the mirror's manifest opens what the mirror's kubeseal sealed without a cluster."""
    base = f"{services.releases()}/bitnami-labs/sealed-secrets/releases/download/v{settings.SEALED_SECRETS_VERSION}"
    manifest = urllib.request.urlopen(f"{base}/controller.yaml", timeout=10).read().decode()
    documents = [document for document in yaml.safe_load_all(manifest) if document]
    cluster.namespace("sealed-secrets")
    for document in documents:
        if document["metadata"].get("namespace") == "kube-system":
            document["metadata"]["namespace"] = "sealed-secrets"
        for subject in document.get("subjects", []):
            if subject.get("namespace") == "kube-system":
                subject["namespace"] = "sealed-secrets"
    cluster.apply(*documents)
    cluster.kubectl("-n sealed-secrets rollout status deployment/sealed-secrets-controller --timeout=90s")
    archive = tmp_path / "kubeseal.tar.gz"
    name = f"kubeseal-{settings.SEALED_SECRETS_VERSION}-linux-{host_architecture()}.tar.gz"
    archive.write_bytes(urllib.request.urlopen(f"{base}/{name}", timeout=30).read())
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)

    def certificate() -> str:
        items = cluster.get(
            "-n sealed-secrets secrets -l sealedsecrets.bitnami.com/sealed-secrets-key=active")["items"]
        return base64.b64decode(items[0]["data"]["tls.crt"]).decode() if items else ""

    (tmp_path / "cert.pem").write_text(str(wait_for(certificate, "the sealing key")))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "observer-secrets", "namespace": "web"},
              "stringData": {"DB_PASSWORD": "opened-by-the-controller"}}
    sealed = subprocess.run([tmp_path / "kubeseal", "--cert", tmp_path / "cert.pem", "--format", "yaml"],
                            input=json.dumps(secret), capture_output=True, text=True, check=True).stdout
    assert "opened-by-the-controller" not in sealed
    cluster.namespace("web")
    cluster.apply(sealed)
    wait_for(lambda: cluster.kubectl("-n web get secret observer-secrets -o name"), "the opened Secret", 30)
    value = cluster.get("-n web secret observer-secrets")["data"]["DB_PASSWORD"]
    assert base64.b64decode(value).decode() == "opened-by-the-controller"


def test_secrets_encryption_is_real(cluster: Cluster) -> None:
    """The datastore's bytes do not have the value; a ConfigMap's are there, so the search can find."""
    cluster.namespace("web")
    cluster.kubectl("-n web create secret generic canary --from-literal=value=canary-in-a-secret")
    cluster.kubectl("-n web create configmap canary --from-literal=value=canary-in-a-configmap")
    search = "sudo sh -c 'cat /var/lib/rancher/k3s/server/db/state.db*' | grep -ac {}"
    assert nodes.ssh(cluster.node, search.format("canary-in-a-secret") + " || true").strip() == "0"
    assert int(nodes.ssh(cluster.node, search.format("canary-in-a-configmap")).strip()) > 0
    status = nodes.ssh(cluster.node, "sudo k3s secrets-encrypt status")
    assert "Encryption Status: Enabled" in status and "AES-CBC" in status and "aescbckey" in status


def test_manifests_are_deployed_and_skipped(cluster: Cluster) -> None:
    folder = "/var/lib/rancher/k3s/server/manifests"
    text = ("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\n"
            "data: {{value: '{value}'}}\n")

    def value(name: str) -> object:
        return cluster.get(f"configmap {name}")["data"]["value"]

    put(cluster.node, f"{folder}/skipped.yaml.skip", "")
    put(cluster.node, f"{folder}/skipped.yaml", text.format(name="skipped", value="1"))
    put(cluster.node, f"{folder}/deployed.yaml", text.format(name="deployed", value="1"))
    wait_for(lambda: value("deployed") == "1", "the manifest's object")
    put(cluster.node, f"{folder}/deployed.yaml", text.format(name="deployed", value="2"))
    wait_for(lambda: value("deployed") == "2", "the changed manifest")
    with pytest.raises(BedError, match="NotFound"):
        cluster.get("configmap skipped")
    # Removing the file does not remove the object.
    nodes.ssh(cluster.node, f"sudo rm {folder}/deployed.yaml {folder}/skipped.yaml {folder}/skipped.yaml.skip")
    time.sleep(3)
    assert value("deployed") == "2"


def test_agent_images_are_imported_while_running(cluster: Cluster) -> None:
    """A tarball that arrives later is imported without a restart (K3s since v1.32)."""
    nodes.ssh(cluster.node, (
        "sudo k3s ctr images export /tmp/later.tar docker.io/library/busybox:1.36.1"
        " && sudo k3s ctr images tag docker.io/library/busybox:1.36.1 docker.io/library/later:1 >/dev/null"
        " && sudo k3s ctr images export /tmp/later.tar docker.io/library/later:1"
        " && sudo k3s ctr images rm docker.io/library/later:1 >/dev/null"
        " && sudo mv /tmp/later.tar /var/lib/rancher/k3s/agent/images/"
    ))
    wait_for(lambda: "docker.io/library/later:1" in nodes.ssh(cluster.node, "sudo k3s ctr images ls -q"), "the image")
    nodes.ssh(cluster.node, "sudo rm /var/lib/rancher/k3s/agent/images/later.tar")


def test_a_kubelet_drop_in_takes_effect(cluster: Cluster) -> None:
    folder = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
    put(cluster.node, f"{folder}/50-pods.conf", (
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 73\n"))
    before = pods(cluster)
    nodes.ssh(cluster.node, "sudo systemctl restart k3s", timeout=120)
    cluster.wait_ready("obs-prod-arm")
    wait_for(lambda: cluster.get("node obs-prod-arm")["status"]["capacity"]["pods"] == "73", "maxPods of the drop-in")
    # KillMode=process: pods outlive a restart of K3s.
    assert pods(cluster) == before


def pods(cluster: Cluster) -> dict[str, int]:
    return {item["metadata"]["uid"]: sum(status["restartCount"] for status in item["status"]["containerStatuses"])
            for item in cluster.get("-n kube-system pods")["items"]}


def test_config_d_is_merged(cluster: Cluster) -> None:
    """``key+`` appends, a later file wins; seen on the certificate that the API serves after a restart."""
    put(cluster.node, "/etc/rancher/k3s/config.yaml.d/10-a.yaml", "tls-san: [first.example]\n")
    put(cluster.node, "/etc/rancher/k3s/config.yaml.d/20-b.yaml", "tls-san+: [second.example]\n")
    try:
        nodes.ssh(cluster.node, "sudo systemctl restart k3s", timeout=120)
        cluster.wait_ready("obs-prod-arm")
        names = nodes.ssh(cluster.node, (
            "openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null"
            " | openssl x509 -noout -ext subjectAltName"
        ))
        assert "DNS:first.example" in names and "DNS:second.example" in names
    finally:
        nodes.ssh(cluster.node, "sudo rm -r /etc/rancher/k3s/config.yaml.d")
