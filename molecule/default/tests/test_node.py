"""What the job promises, seen on the node by who may do anything there, and from another machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

NAMESPACE = "observer-local"
STORAGE = "/opt/local-path-provisioner"
RUNTIME = "/opt/platform/runtime/observer"
FOLDERS = {f"{RUNTIME}/{name}" for name in ("config", "data", "logs", "universe")}
"""Seed 001: the folders that Observer writes into."""

SECRETS = {
    "observer-secrets": {"DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET", "KIS_HTS_ID", "POSTGRES_USER",
                         "POSTGRES_PASSWORD", "POSTGRES_DB"},
    "ghcr-secret": {".dockerconfigjson"},
}

PRINT_WRITABLE_FOLDERS = """
import os, tempfile
for folder, inner, _ in os.walk("/"):
    # Of the container runtime, not of a file system: shared memory and devices.
    if folder in ("/dev", "/proc", "/sys"):
        inner.clear()
        continue
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        continue
    print(folder)
    inner.clear()
"""


def get(host: Host, what: str) -> dict[str, Any]:
    """What `kubectl get` finds: one object, or a list of them under `items`."""
    found: dict[str, Any] = json.loads(host.check_output(f"kubectl get {what} -o json"))
    return found


def reached(address: str, port: int) -> bool:
    """Whether this machine, which is another one than the node, can connect to the node."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.fixture
def address(host: Host) -> str:
    """Where other machines reach the node."""
    return str(host.interface.default("inet").addresses[0])


@pytest.mark.parametrize("unit", ["k3s", "observer-firewall"])
def test_a_unit_runs_and_will_after_a_reboot(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_the_node_is_ready_under_its_pinned_name(host: Host) -> None:
    conditions = {one["type"]: one["status"] for one in get(host, "node obs-local")["status"]["conditions"]}
    assert conditions["Ready"] == "True"


def test_the_default_storage_class_keeps_what_is_released(host: Host) -> None:
    classes = [one for one in get(host, "storageclasses")["items"] if one["metadata"]["annotations"].get(
        "storageclass.kubernetes.io/is-default-class") == "true"]
    assert [(one["metadata"]["name"], one["reclaimPolicy"]) for one in classes] == [("local-path", "Retain")]


def test_every_claim_is_bound_to_a_folder_that_outlives_k3s(host: Host) -> None:
    claims = get(host, f"-n {NAMESPACE} persistentvolumeclaims")["items"]
    assert {(one["metadata"]["name"], one["status"]["phase"]) for one in claims} == {
        (f"observer-{name}-pvc", "Bound") for name in ("data", "db", "logs", "universe")}
    for claim in claims:
        folder = get(host, f"persistentvolume {claim['spec']['volumeName']}")["spec"]["local"]["path"]
        assert folder.startswith(f"{STORAGE}/")
        assert host.file(folder).is_directory


def test_the_folder_of_settings_is_the_applications_own(host: Host) -> None:
    folder = host.file(f"{RUNTIME}/config")
    assert (folder.uid, folder.gid, folder.mode) == (1000, 1000, 0o755)


@pytest.mark.parametrize("path", ["health", "ready"])
def test_observer_answers_through_its_service(host: Host, path: str) -> None:
    service = get(host, f"-n {NAMESPACE} service observer")["spec"]["clusterIP"]
    code = host.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' --max-time 5 http://{service}:8000/{path}")
    assert code == "200"


def test_observer_writes_into_its_folders_and_nowhere_else(host: Host) -> None:
    writable = host.check_output(f"kubectl -n {NAMESPACE} exec deployment/observer -- python3 -c %s",
                                 PRINT_WRITABLE_FOLDERS)
    assert set(writable.split()) == FOLDERS


@pytest.mark.parametrize(("command", "user"), [("python3 -m observer", 1000), ("postgres", 999)])
def test_the_application_runs_as_its_own_user(host: Host, command: str, user: int) -> None:
    assert host.process.get(args=command).uid == user


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_with_its_keys_comes_from_its_sealed_form(host: Host, name: str) -> None:
    # Names alone: a test that fails shows what it has looked at.
    shown = host.check_output(f"kubectl -n {NAMESPACE} get secret {name} -o go-template=%s", (
        "{{range .metadata.ownerReferences}}{{.kind}}/{{.name}}{{end}}{{range $key, $_ := .data}} {{$key}}{{end}}"))
    owner, *keys = shown.split()
    assert owner == f"SealedSecret/{name}"
    assert set(keys) == SECRETS[name]


@pytest.mark.parametrize(("value", "stored"), [
    pytest.param("configmap observer-config -o go-template='{{.data.OBSERVER_SNAPSHOT_DIR}}'", True, id="setting"),
    pytest.param("secret observer-secrets -o go-template='{{.data.DB_PASSWORD | base64decode}}'", False, id="secret"),
])
def test_a_setting_stands_in_the_datastore_in_clear_and_a_secret_does_not(
    host: Host, value: str, stored: bool,
) -> None:
    # The value goes from process to process, never into arguments.
    found = host.run_test(
        f"value=$(kubectl -n {NAMESPACE} get {value}) && test ${{#value}} -ge 8 || exit 2;"
        " printf %s \"$value\" | grep -aqFf - /var/lib/rancher/k3s/server/db/state.db*")
    assert found.succeeded is stored


def test_only_root_reads_the_kubeconfig(host: Host) -> None:
    kubeconfig = host.file("/etc/rancher/k3s/k3s.yaml")
    assert (kubeconfig.user, kubeconfig.mode) == ("root", 0o600)


def test_of_all_that_listens_only_ssh_is_reached_from_outside(host: Host, address: str) -> None:
    listening = {int(one.rsplit(":", 1)[1]) for one in host.socket.get_listening_sockets() if one.startswith("tcp:")}
    assert {22, 6443, 10250} <= listening
    # At once, because a port that drops what comes answers never.
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(listening, pool.map(lambda port: reached(address, port), listening), strict=True))
    assert {port for port, answered in answers.items() if answered} == {22}


@pytest.fixture
def node_port(host: Host) -> Iterator[int]:
    """Something that no NetworkPolicy protects, on a port of the node for the length of a test."""
    service = "-n sealed-secrets service node-port"
    host.check_output("kubectl -n sealed-secrets expose service sealed-secrets-controller --name node-port"
                      " --type NodePort")
    try:
        yield get(host, service)["spec"]["ports"][0]["nodePort"]
    finally:
        host.check_output(f"kubectl delete {service}")


def test_a_node_port_is_closed_to_the_outside(host: Host, address: str, node_port: int) -> None:
    host.check_output("curl -sf -o /dev/null --retry 20 --retry-delay 1 --retry-connrefused"
                      f" http://{address}:{node_port}/healthz")
    assert not reached(address, node_port)
