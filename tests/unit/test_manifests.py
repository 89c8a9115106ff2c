"""The manifests, rendered by kustomize, against the tables of seed 001 and the mendings of phase 1."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_overlay import KUSTOMIZE

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
RUNTIME = "/opt/platform/runtime/observer"

OVERLAYS = {
    # overlay: namespace, label environment, node
    "production": ("observer-prod", "production", "obs-prod-arm"),
    "staging": ("observer-staging", "staging", "obs-staging-arm"),
    "local": ("observer-local", "local", "obs-local"),
}

Object = dict[str, Any]


def render(folder: Path) -> list[Object]:
    done = subprocess.run([*KUSTOMIZE, str(folder)], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return list(yaml.safe_load_all(done.stdout))


RENDERED: dict[str, list[Object]] = {name: render(MANIFESTS / "overlays" / name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def get(overlay: str, kind: str, name: str) -> Object:
    found = [item for item in RENDERED[overlay] if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{kind} {name}"
    return found[0]


def pod(overlay: str, name: str) -> Object:
    """The pod template of ``observer`` or ``postgres``."""
    kind = {"observer": "Deployment", "postgres": "StatefulSet"}[name]
    template: Object = get(overlay, kind, name)["spec"]["template"]
    return template


def container(overlay: str, name: str) -> Object:
    found = pod(overlay, name)["spec"]["containers"]
    assert [item["name"] for item in found] == [name]
    only: Object = found[0]
    return only


def mounts(overlay: str, name: str) -> dict[str, str]:
    """Mount path by volume."""
    return {mount["name"]: mount["mountPath"] for mount in container(overlay, name)["volumeMounts"]}


def volumes(overlay: str, name: str) -> dict[str, Object]:
    """Source by volume."""
    return {volume.pop("name"): volume for volume in copy.deepcopy(pod(overlay, name)["spec"]["volumes"])}


# --- what there is ------------------------------------------------------------------------------


def test_objects(overlay: str) -> None:
    """Seed 001, 1-1, the active resources, and what phase 1 adds; no Secret."""
    namespace = OVERLAYS[overlay][0]
    assert sorted((item["kind"], item["metadata"]["name"]) for item in RENDERED[overlay]) == sorted([
        ("Namespace", namespace), ("ServiceAccount", "observer"), ("ServiceAccount", "postgres"),
        ("StatefulSet", "postgres"), ("Service", "postgres-headless"), ("Deployment", "observer"),
        ("Service", "postgres"), ("Service", "observer"), ("ConfigMap", "observer-config"),
        *[("PersistentVolumeClaim", f"observer-{name}-pvc") for name in ("db", "data", "logs", "universe")],
        ("PodDisruptionBudget", "observer"),
        *[("NetworkPolicy", name) for name in ("default-deny", "observer", "postgres")],
    ])


FILES = {
    "base/statefulsets/postgres.yaml": ["Service postgres-headless", "StatefulSet postgres"],
    "base/deployments/observer.yaml": ["Deployment observer"],
    "base/services/postgres.yaml": ["Service postgres"],
    "base/services/observer-svc.yaml": ["Service observer"],
    "base/configmaps/observer-config.yaml": ["ConfigMap observer-config"],
    "base/pvc/observer-db-pvc.yaml": ["PersistentVolumeClaim observer-db-pvc"],
    "base/pvc/observer-data-pvc.yaml": ["PersistentVolumeClaim observer-data-pvc"],
    "base/pvc/observer-logs-pvc.yaml": ["PersistentVolumeClaim observer-logs-pvc"],
    "base/pvc/observer-universe-pvc.yaml": ["PersistentVolumeClaim observer-universe-pvc"],
    "base/namespaces/observer.yaml": ["Namespace observer"],
    "base/monitoring/observer-servicemonitor.yaml": [
        "ServiceMonitor observer", "NetworkPolicy observer-from-monitoring"],
    "base/monitoring/observer-prometheusrule.yaml": ["PrometheusRule observer"],
    "base/ingress/observer-ingress.yaml": ["Ingress observer", "NetworkPolicy observer-from-ingress"],
}
"""Seed 001, 1-1: file names and what is in them, active and inactive ones."""


@pytest.mark.parametrize("file", FILES)
def test_files_of_the_seed(file: str) -> None:
    objects = yaml.safe_load_all((MANIFESTS / file).read_text())
    assert [f"{item['kind']} {item['metadata']['name']}" for item in objects] == FILES[file]


OPTIONAL = ["ingress/observer-ingress.yaml", "monitoring/observer-prometheusrule.yaml",
            "monitoring/observer-servicemonitor.yaml"]


def test_optional_resources_are_commented_out_and_work_when_they_are_not(tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    base = tmp_path / "manifests" / "base" / "kustomization.yaml"
    text = base.read_text()
    assert sorted(re.findall(r"^  # - (\S+)$", text, re.M)) == OPTIONAL
    base.write_text(re.sub(r"^  # - ", "  - ", text, flags=re.M))
    added = [f"{item['kind']} {item['metadata']['name']}" for item in render(tmp_path / "manifests/overlays/production")
             if item not in RENDERED["production"]]
    assert sorted(added) == sorted(name for file in OPTIONAL for name in FILES[f"base/{file}"])


def test_every_file_is_used_or_optional() -> None:
    base = MANIFESTS / "base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    there = {str(path.relative_to(base)) for path in base.rglob("*.yaml")} - {"kustomization.yaml"}
    assert there == {*listed, *OPTIONAL, "namespaces/observer.yaml", "namespaces/kustomization.yaml"}


def test_overlays_differ_in_namespace_label_and_node_alone() -> None:
    def neutral(overlay: str) -> str:
        namespace, label, node = OVERLAYS[overlay]
        text = yaml.safe_dump_all(RENDERED[overlay], sort_keys=True)
        assert all(word in text for word in (namespace, f"environment: {label}", f"hostname: {node}"))
        return text.replace(namespace, "N").replace(f"environment: {label}", "L").replace(node, "H")

    assert len({neutral(overlay) for overlay in OVERLAYS}) == 1


def test_namespace_and_label_of_all(overlay: str) -> None:
    namespace, label, _ = OVERLAYS[overlay]
    for item in RENDERED[overlay]:
        assert item["metadata"]["labels"]["environment"] == label
        assert item["metadata"].get("namespace", namespace) == namespace
    for name in ("observer", "postgres"):
        assert pod(overlay, name)["metadata"]["labels"] == {"app": name, "environment": label}


def test_pod_security(overlay: str) -> None:
    labels = get(overlay, "Namespace", OVERLAYS[overlay][0])["metadata"]["labels"]
    assert {key.removeprefix("pod-security.kubernetes.io/"): value for key, value in labels.items() if "/" in key} == {
        "enforce": "privileged", "warn": "restricted", "audit": "restricted"}
    reason = (MANIFESTS / "base/namespaces/observer.yaml").read_text()
    assert "hostPath" in reason and "CF-4" in reason


# --- the tables of seed 001, 1-2 ----------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("db", "10Gi"), ("data", "20Gi"), ("logs", "5Gi"), ("universe", "1Gi")])
def test_claims(overlay: str, name: str, size: str) -> None:
    assert get(overlay, "PersistentVolumeClaim", f"observer-{name}-pvc")["spec"] == {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def test_volumes_of_observer(overlay: str) -> None:
    assert mounts(overlay, "observer") == {
        f"observer-{name}": f"{RUNTIME}/{name}" for name in ("data", "logs", "universe", "config")}
    assert volumes(overlay, "observer") == {
        **{f"observer-{name}": {"persistentVolumeClaim": {"claimName": f"observer-{name}-pvc"}}
           for name in ("data", "logs", "universe")},
        "observer-config": {"hostPath": {"path": f"{RUNTIME}/config", "type": "DirectoryOrCreate"}},
    }


def test_the_settings_folder_is_the_one_that_role_config_dir_makes(overlay: str) -> None:
    defaults = yaml.safe_load((ROOT / "roles/config_dir/defaults/main.yml").read_text())
    assert volumes(overlay, "observer")["observer-config"]["hostPath"]["path"] == defaults["config_dir_path"]
    security = container(overlay, "observer")["securityContext"]
    assert security["runAsUser"] == defaults["config_dir_owner"]
    assert security["runAsGroup"] == defaults["config_dir_group"]


def test_volumes_of_postgres(overlay: str) -> None:
    assert mounts(overlay, "postgres") == {
        "postgres-data": "/var/lib/postgresql/data", "run": "/var/run/postgresql", "tmp": "/tmp"}
    assert volumes(overlay, "postgres") == {
        "postgres-data": {"persistentVolumeClaim": {"claimName": "observer-db-pvc"}},
        "run": {"emptyDir": {}}, "tmp": {"emptyDir": {}}}


def test_config_map(overlay: str) -> None:
    """The 15 keys of the seed, and OBSERVER_RUNTIME_ROOT (seed 000, B.2)."""
    assert get(overlay, "ConfigMap", "observer-config")["data"] == {
        "LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "SERVICE_PORT": "8000",
        "DB_HOST": "postgres", "DB_PORT": "5432", "DB_NAME": "observer",
        "OBSERVER_LOG_DIR": f"{RUNTIME}/logs", "OBSERVER_DATA_DIR": f"{RUNTIME}/data",
        "OBSERVER_CONFIG_DIR": f"{RUNTIME}/config", "OBSERVER_SYSTEM_LOG_DIR": f"{RUNTIME}/logs/system",
        "OBSERVER_MAINTENANCE_LOG_DIR": f"{RUNTIME}/logs/maintenance", "OBSERVER_SNAPSHOT_DIR": f"{RUNTIME}/universe",
        "KIS_TOKEN_CACHE_DIR": f"{RUNTIME}/data/cache", "OBSERVER_STANDALONE": "1", "PYTHONUNBUFFERED": "1",
        "OBSERVER_RUNTIME_ROOT": RUNTIME,
    }


def test_environment_of_observer(overlay: str) -> None:
    assert container(overlay, "observer")["envFrom"] == [
        {"configMapRef": {"name": "observer-config"}},
        {"secretRef": {"name": "observer-secrets", "optional": False}}]
    assert container(overlay, "observer")["env"] == [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "TZ", "value": "Asia/Seoul"}, {"name": "PYTHONUNBUFFERED", "value": "1"}]


def schema() -> Iterator[tuple[str, str]]:
    """Name and remark of each variable that the app declares to read."""
    text = (ROOT / "testbed/observer/.env.example").read_text()
    yield from re.findall(r"^([A-Z_]+)=\S*\s+# (\w+(?:, secret)?):", text, re.M)


def test_the_app_gets_what_it_requires_and_nothing_that_it_does_not_know() -> None:
    variables = dict(schema())
    assert len(variables) > 20
    defaults = yaml.safe_load((ROOT / "roles/observer/defaults/main.yml").read_text())
    config = set(get("production", "ConfigMap", "observer-config")["data"])
    secret = set(defaults["observer_required_keys"]["observer-secrets"])
    assert config <= set(variables)
    assert {name for name, remark in variables.items() if remark.startswith("required")} <= config | secret
    assert {name for name, remark in variables.items() if remark.endswith("secret")} == {
        name for name in secret if not name.startswith("POSTGRES_")}


def test_environment_of_postgres(overlay: str) -> None:
    """Its own keys of the one Secret (CF-1), and no other."""
    assert "envFrom" not in container(overlay, "postgres")
    assert container(overlay, "postgres")["env"] == [
        *[{"name": key, "valueFrom": {"secretKeyRef": {"name": "observer-secrets", "key": key}}}
          for key in ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")],
        {"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"}]


def test_security_context_of_observer(overlay: str) -> None:
    assert pod(overlay, "observer")["spec"]["securityContext"] == {
        "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container(overlay, "observer")["securityContext"] == {
        "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True, "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_security_context_of_postgres(overlay: str) -> None:
    assert pod(overlay, "postgres")["spec"]["securityContext"] == {
        "runAsUser": 999, "runAsGroup": 999, "runAsNonRoot": True, "fsGroup": 999,
        "seccompProfile": {"type": "RuntimeDefault"}}
    assert container(overlay, "postgres")["securityContext"] == {
        "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_production_overlay(overlay: str) -> None:
    """Tag and limits of seed 001, requests of seed 002, and one replica in the place of two (CF-7)."""
    deployment = get(overlay, "Deployment", "observer")["spec"]
    assert container(overlay, "observer")["image"] == "ghcr.io/tawbury/observer:build-20260205-142425"
    assert container(overlay, "observer")["resources"] == {
        "requests": {"memory": "256Mi", "cpu": "100m"}, "limits": {"memory": "2Gi", "cpu": "1000m"}}
    assert deployment["replicas"] == 1 and deployment["strategy"] == {"type": "Recreate"}
    assert container(overlay, "postgres")["image"] == "docker.io/library/postgres:15"
    assert get(overlay, "StatefulSet", "postgres")["spec"]["replicas"] == 1


def test_the_pod_can_be_pulled_placed_and_stopped(overlay: str) -> None:
    for name in ("observer", "postgres"):
        spec = pod(overlay, name)["spec"]
        assert spec["nodeSelector"] == {"kubernetes.io/hostname": OVERLAYS[overlay][2]}
        assert spec["terminationGracePeriodSeconds"] == 60
        assert spec["serviceAccountName"] == name and spec["automountServiceAccountToken"] is False
        assert get(overlay, "ServiceAccount", name)["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
    assert pod(overlay, "observer")["spec"]["imagePullSecrets"] == [{"name": "ghcr-secret"}]
    assert container(overlay, "observer")["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}


def test_services_and_ports(overlay: str) -> None:
    for service, app, port in (("observer", "observer", 8000), ("postgres", "postgres", 5432),
                               ("postgres-headless", "postgres", 5432)):
        spec = get(overlay, "Service", service)["spec"]
        assert spec["selector"] == {"app": app}
        assert [(item["port"], item["protocol"]) for item in spec["ports"]] == [(port, "TCP")]
        ports = {item["name"]: item["containerPort"] for item in container(overlay, app)["ports"]}
        assert ports[spec["ports"][0]["targetPort"]] == port
    assert get(overlay, "Service", "observer")["spec"]["type"] == "ClusterIP"
    assert get(overlay, "Service", "postgres")["spec"]["type"] == "ClusterIP"
    assert get(overlay, "Service", "postgres-headless")["spec"]["clusterIP"] == "None"
    assert get(overlay, "StatefulSet", "postgres")["spec"]["serviceName"] == "postgres-headless"
    config = get(overlay, "ConfigMap", "observer-config")["data"]
    assert (config["DB_HOST"], config["DB_PORT"], config["SERVICE_PORT"]) == ("postgres", "5432", "8000")


def test_probes(overlay: str) -> None:
    observer = container(overlay, "observer")
    for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        assert observer[probe]["httpGet"] == {"path": path, "port": "http"}
    postgres = container(overlay, "postgres")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "pg_isready" in postgres[probe]["exec"]["command"][-1]
        # The socket answers already while the first start runs its scripts.
        assert "-h 127.0.0.1" in postgres[probe]["exec"]["command"][-1]
    for startup, seconds in ((observer["startupProbe"], 300), (postgres["startupProbe"], 600)):
        assert startup["periodSeconds"] * startup["failureThreshold"] == seconds


# --- selectors, policies, budget ----------------------------------------------------------------


def test_selectors_match_and_have_no_label_that_an_overlay_sets(overlay: str) -> None:
    for kind, name in (("Deployment", "observer"), ("StatefulSet", "postgres")):
        assert get(overlay, kind, name)["spec"]["selector"] == {"matchLabels": {"app": name}}
    assert get(overlay, "PodDisruptionBudget", "observer")["spec"]["selector"] == {"matchLabels": {"app": "observer"}}
    for name in ("observer", "postgres"):
        assert get(overlay, "NetworkPolicy", name)["spec"]["podSelector"] == {"matchLabels": {"app": name}}


def test_a_drain_is_never_blocked(overlay: str) -> None:
    spec = get(overlay, "PodDisruptionBudget", "observer")["spec"]
    assert spec["maxUnavailable"] >= get(overlay, "Deployment", "observer")["spec"]["replicas"]
    assert "minAvailable" not in spec and spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_network_policies(overlay: str) -> None:
    assert get(overlay, "NetworkPolicy", "default-deny")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    postgres = get(overlay, "NetworkPolicy", "postgres")["spec"]
    assert postgres["policyTypes"] == ["Ingress", "Egress"] and "egress" not in postgres
    assert postgres["ingress"] == [{"from": [{"podSelector": {"matchLabels": {"app": "observer"}}}],
                                    "ports": [{"port": 5432, "protocol": "TCP"}]}]
    observer = get(overlay, "NetworkPolicy", "observer")["spec"]
    assert observer["policyTypes"] == ["Ingress", "Egress"]
    assert observer["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": 8000, "protocol": "TCP"}]}]
    dns, database, world = observer["egress"]
    assert dns["ports"] == [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    assert database == {"to": [{"podSelector": {"matchLabels": {"app": "postgres"}}}],
                        "ports": [{"port": 5432, "protocol": "TCP"}]}
    # The KIS and Kiwoom APIs have ports of their own, so none is named.
    assert world == {"to": [{"ipBlock": {
        "cidr": "0.0.0.0/0", "except": ["10.42.0.0/16", "10.43.0.0/16", "169.254.0.0/16"]}}]}
