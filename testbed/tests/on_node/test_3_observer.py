"""The stand-in app on the stand-in node: it works as the seeds say, and no acknowledged record is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bed import nodes, settings
from operator_hand import MANIFESTS, Cluster, Measured, shell_quote, wait_for
from test_2_cluster import pull_secret

LOAD = settings.TESTBED / "observer" / "load.py"
NAMESPACE = "observer-local"
TAGS = {variant: tag for tag, variant in reversed(settings.OBSERVER_BUILDS.items())}


@pytest.fixture(scope="module")
def observer(cluster: Cluster, measured: Measured) -> str:
    """Observer and PostgreSQL, serving. Returns the address of the app."""
    cluster.namespace(NAMESPACE)
    cluster.apply(pull_secret(NAMESPACE), {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "observer-secrets", "namespace": NAMESPACE},
        "stringData": {
            "DB_USER": "observer", "DB_PASSWORD": "only-for-this-test", "POSTGRES_USER": "observer",
            "POSTGRES_PASSWORD": "only-for-this-test", "POSTGRES_DB": "observer",
            "KIS_APP_KEY": "PS" + "x" * 34, "KIS_APP_SECRET": "s" * 180,
        },
    })
    begun = time.monotonic()
    cluster.kubectl(f"apply -n {NAMESPACE} -f -", stdin=(MANIFESTS / "observer.yaml").read_text())
    cluster.kubectl(f"-n {NAMESPACE} rollout status statefulset/postgres --timeout=120s")
    cluster.kubectl(f"-n {NAMESPACE} rollout status deployment/observer --timeout=120s")
    address = f"http://{cluster.node.address}:30800"
    settled(address)
    measured.node_seconds["Observer and PostgreSQL serve"] = round(time.monotonic() - begun, 1)
    return address


def fetch(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body = answer.read().decode()
            status = answer.status
    except urllib.error.HTTPError as error:
        body, status = error.read().decode(), error.code
    try:
        return status, json.loads(body)
    except json.JSONDecodeError:
        return status, body


def pod_name(cluster: Cluster, app: str = "observer") -> str:
    items = cluster.get(f"-n {NAMESPACE} pods -l app={app} --field-selector status.phase=Running")["items"]
    names: list[str] = [item["metadata"]["name"] for item in items if "deletionTimestamp" not in item["metadata"]]
    return names[0]


def sql(cluster: Cluster, query: str) -> str:
    return cluster.kubectl(
        f"-n {NAMESPACE} exec -i postgres-0 -- psql -XAtq -U observer -d observer -f -", stdin=query).strip()


def test_health_and_readiness(observer: str) -> None:
    status, body = fetch(f"{observer}/health")
    assert status == 200 and body["status"] == "healthy" and body["uptime_seconds"] > 0
    assert fetch(f"{observer}/ready")[0] == 200
    status, metrics = fetch(f"{observer}/metrics")
    assert status == 200 and "# TYPE" in metrics


def test_tree_owner_and_refusals(cluster: Cluster, observer: str) -> None:
    """Seed 001, Step 4: the tree under the volumes, owned by 1000; writes nowhere else."""
    pod = pod_name(cluster)
    base = "/opt/platform/runtime/observer"
    for folder in ("data/assets/scalp", "data/backup", "data/cache", "data/symbols", "data/universe", "logs/scalp",
                   "logs/swing", "logs/system"):
        assert cluster.execute(NAMESPACE, pod, f"stat -c %u {base}/{folder}").strip() == "1000", folder
    assert cluster.execute(NAMESPACE, pod, "id -u; id -g").split() == ["1000", "1000"]
    for path in ("/app/x", "/tmp/x", f"{base}/x"):
        assert "Read-only file system" in cluster.execute(NAMESPACE, pod, f"touch {path} 2>&1 || true")
    wait_for(lambda: cluster.execute(NAMESPACE, pod, f"cat {base}/data/assets/scalp/*.jsonl | wc -l").strip() not in
             ("", "0"), "quotes in JSONL")


def test_logs_are_json_on_stdout_and_in_files(cluster: Cluster, observer: str) -> None:
    lines = cluster.kubectl(f"-n {NAMESPACE} logs deployment/observer").splitlines()
    assert lines and all(json.loads(line)["message"] for line in lines)
    text = cluster.execute(NAMESPACE, pod_name(cluster), "cat /opt/platform/runtime/observer/logs/system/observer.log")
    assert json.loads(text.splitlines()[0])
    for secret in ("only-for-this-test", "PSxxxx", "ssssss"):
        assert secret not in "\n".join(lines) and secret not in text


def test_postgres_as_the_official_image(cluster: Cluster, observer: str) -> None:
    assert sql(cluster, "SHOW server_version").startswith("15.")
    assert sql(cluster, "SELECT string_agg(value, ',' ORDER BY value) FROM made_by_initdb") == "sh,sql"
    assert cluster.execute(NAMESPACE, "postgres-0", "id -u; echo $PGDATA").split() == [
        "999", "/var/lib/postgresql/data/pgdata"]
    for tool in ("pg_dump", "pg_restore", "pg_basebackup", "pg_receivewal", "pg_isready", "pg_verifybackup"):
        assert "15." in cluster.execute(NAMESPACE, "postgres-0", f"{tool} --version")
    assert sql(cluster, "SHOW password_encryption") == "scram-sha-256"
    memory = cluster.execute(NAMESPACE, "postgres-0", "cat $PGDATA/pg_hba.conf | tail -1")
    assert "scram-sha-256" in memory


def load(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(LOAD), *map(str, arguments)], capture_output=True, text=True,
                          check=False, timeout=300)


def check(observer: str, journal: Path) -> dict[str, Any]:
    done = load("check", "--url", observer, "--journal", journal, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_acknowledged_records_are_in_both_stores(observer: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    done = load("run", "--url", observer, "--writer", "first", "--rate", 100, "--size", 200, "--count", 300, "--batch",
                10, "--journal", journal)
    assert done.returncode == 0, done.stdout + done.stderr
    check(observer, journal)


def test_readiness_follows_the_database_and_health_does_not(cluster: Cluster, observer: str) -> None:
    cluster.kubectl(f"-n {NAMESPACE} scale statefulset/postgres --replicas=0")
    pod = pod_name(cluster)
    ask = "python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/{}').status)\" 2>&1 || true"
    wait_for(lambda: "503" in cluster.execute(NAMESPACE, pod, ask.format("ready")), "readiness without a database")
    assert "200" in cluster.execute(NAMESPACE, pod, ask.format("health"))
    cluster.kubectl(f"-n {NAMESPACE} scale statefulset/postgres --replicas=1")
    wait_for(lambda: fetch(f"{observer}/ready")[0] == 200, "readiness with the database back", 90)
    assert pod_name(cluster) == pod


class Writer(threading.Thread):
    """A client outside the node that goes on writing while things break."""

    def __init__(self, observer: str, name: str, journal: Path, seconds: int) -> None:
        super().__init__()
        self.arguments = ("run", "--url", observer, "--writer", name, "--rate", 100, "--size", 200, "--seconds",
                          seconds, "--batch", 5, "--give-up", 120, "--journal", journal)
        self.done: subprocess.CompletedProcess[str] | None = None

    def run(self) -> None:
        self.done = load(*map(str, self.arguments))


def settled(observer: str) -> None:
    wait_for(lambda: fetch(f"{observer}/ready")[0] == 200, "Observer after its return", 150)


@pytest.mark.parametrize("what", ["pods deleted", "shutdown and start", "power cut"])
def test_nothing_acknowledged_is_lost(
    cluster: Cluster, observer: str, tmp_path: Path, what: str, measured: Measured
) -> None:
    """Under a write load: what the client was told is durable is there afterwards, in both stores."""
    journal = tmp_path / "journal"
    writer = Writer(observer, what.replace(" ", "-"), journal, 20)
    writer.start()
    time.sleep(6)
    begun = time.monotonic()
    if what == "pods deleted":
        cluster.kubectl(f"-n {NAMESPACE} delete pod --all --wait=false")
        time.sleep(2)
    elif what == "shutdown and start":
        nodes.stop(cluster.node)
        nodes.start(cluster.node)
    else:
        nodes.cut(cluster.node)
        nodes.start(cluster.node)
    settled(observer)
    measured.node_seconds[f"Observer back, {what}"] = round(time.monotonic() - begun, 1)
    writer.join()
    assert writer.done is not None
    assert writer.done.returncode == 0, writer.done.stdout + writer.done.stderr
    report = check(observer, journal)
    assert report["acknowledged"] > 500, report
    assert sql(cluster, "SELECT count(*) > 0 FROM made_by_initdb") == "t"


def test_a_refused_key_degrades_and_does_not_stop(cluster: Cluster, observer: str) -> None:
    """Seed 001: EGW00103 disables the collectors; health and readiness stay."""
    cluster.kubectl(f"-n {NAMESPACE} set env deployment/observer KIS_APP_KEY=not-a-key")
    try:
        cluster.kubectl(f"-n {NAMESPACE} rollout status deployment/observer --timeout=120s")
        settled(observer)
        assert fetch(f"{observer}/health")[0] == 200
        assert "EGW00103" in cluster.kubectl(f"-n {NAMESPACE} logs deployment/observer")
        assert "EGW00103" in json.dumps(fetch(f"{observer}/status")[1])
    finally:
        cluster.kubectl(f"-n {NAMESPACE} set env deployment/observer KIS_APP_KEY-")
        cluster.kubectl(f"-n {NAMESPACE} rollout status deployment/observer --timeout=120s")


@pytest.mark.parametrize("variant", ["crash", "never-ready"])
def test_builds_for_release_tests(cluster: Cluster, variant: str) -> None:
    """Deliberately broken builds, beside the healthy one, without its volumes."""
    name = f"build-{variant}"
    cluster.pod(NAMESPACE, name, imagePullSecrets=[{"name": "ghcr-secret"}], labels={"app": name}, container={
        "image": f"{settings.OBSERVER_REPOSITORY}:{TAGS[variant]}", "command": None,
        "envFrom": [{"configMapRef": {"name": "observer-config"}}, {"secretRef": {"name": "observer-secrets"}}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}, "periodSeconds": 1},
    })

    def status() -> dict[str, Any]:
        found: dict[str, Any] = cluster.get(f"-n {NAMESPACE} pod {name}")["status"]["containerStatuses"][0]
        return found

    if variant == "crash":
        wait_for(lambda: status()["restartCount"] > 0, "a restart")
        assert status()["lastState"]["terminated"]["exitCode"] == 1
    else:
        wait_for(lambda: "running" in status()["state"], "it runs")
        time.sleep(5)
        found = status()
        assert not found["ready"] and found["restartCount"] == 0
    cluster.kubectl(f"-n {NAMESPACE} delete pod {name} --wait=false")


def test_the_second_healthy_build_takes_over_the_data(cluster: Cluster, observer: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert load("run", "--url", observer, "--writer", "release", "--rate", 100, "--count", 50, "--journal",
                journal).returncode == 0
    second = [tag for tag, variant in settings.OBSERVER_BUILDS.items() if variant == "normal"][1]
    cluster.kubectl(
        f"-n {NAMESPACE} set image deployment/observer observer={settings.OBSERVER_REPOSITORY}:{second}")
    cluster.kubectl(f"-n {NAMESPACE} rollout status deployment/observer --timeout=120s")
    settled(observer)
    assert second in json.dumps(fetch(f"{observer}/status")[1])
    check(observer, journal)


def test_memory_of_the_node(cluster: Cluster, measured: Measured) -> None:
    """Not a limit, a figure: what each component holds in memory (PSS, shared pages counted once)."""
    script = (
        "for p in /proc/[0-9]*; do n=$(tr '\\0' '\\n' < $p/cmdline 2>/dev/null | head -1); "
        "s=$(awk '/^Pss:/ {print $2}' $p/smaps_rollup 2>/dev/null); [ -n \"$s\" ] && echo \"$s ${n##*/}\"; done"
    )
    total: dict[str, int] = {}
    for line in nodes.ssh(cluster.node, f"sudo bash -c {shell_quote(script)}").splitlines():
        size, _, name = line.partition(" ")
        total[name or "kernel"] = total.get(name or "kernel", 0) + int(size)
    interesting = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "containerd",
                   "kine", "network", "coredns", "local-path-provisioner", "controller", "postgres")
    for name in interesting:
        if name in total:
            measured.node_memory_mib[name] = round(total[name] / 1024, 1)
    measured.node_memory_mib["whole node"] = round(sum(total.values()) / 1024, 1)
    assert measured.node_memory_mib["kube-apiserver"] > 0
