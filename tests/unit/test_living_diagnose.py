"""From facts to root causes: every code, symptoms under their cause, and whatever part of the facts is there."""

from __future__ import annotations

import copy
import datetime
import functools
import importlib.util
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from contract import engine
from contract.checks import finding
from contract.codes import CODES, sentence
from contract.living.diagnose import Candidate, Diagnosis, Stage, diagnose, explained, said
from contract.manifests import load_manifests
from contract.model import Kind, Layer
from contract.spec import Contract, load_contract

ROOT = Path(__file__).resolve().parents[2]
NS = "observer-local"
FOLDERS = "/opt/platform/runtime/observer"
NOW = datetime.datetime(2026, 11, 22, 6, 0, tzinfo=datetime.UTC).timestamp()
TAG = "build-20260205-142425"
IMAGE = f"ghcr.io/tawbury/observer:{TAG}"

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(ROOT / "contracts" / "observer.yml", "contracts/observer.yml")


def container(name: str, image: str, identity: str) -> Facts:
    return {"name": name, "id": identity, "image": image, "image_id": "sha256:1", "ready": True, "restarts": 0,
            "state": "running", "reason": "", "message": "", "exit_code": None, "started": NOW - 3600,
            "last": {"reason": "", "exit_code": None, "finished": None, "message": ""}, "log": []}


def pod(name: str, workload: str, one: Facts | None, namespace: str = NS, label: str = "", claims: tuple[str, ...] = (),
        ) -> Facts:
    key, _, value = (label or f"app={name.rpartition('-')[0]}").partition("=")
    return {"namespace": namespace, "name": name, "uid": name, "node": "obs-local", "ip": "10.42.0.9",
            "labels": {key: value}, "owner": "", "workload": workload, "phase": "Running", "ready": True,
            "created": NOW - 3600, "deleted": None, "conditions": {}, "containers": [one] if one else [],
            "reason": "", "message": "",
            "claims": list(claims), "pull_secrets": ["ghcr-secret"]}


def workload(kind: str, name: str, context: Facts) -> Facts:
    return {"kind": kind, "namespace": NS, "name": name, "replicas": 1, "ready": 1, "available": 1,
            "spec": {"template": {
        "metadata": {"labels": {"app": name, "environment": "local"}},
        "spec": {"securityContext": context, "containers": [{
            "name": name, "securityContext": {"runAsUser": 1000, "runAsGroup": 1000} if name == "observer" else {},
            "resources": {"limits": {"memory": "2Gi"}}}]}}}}


def healthy() -> Facts:
    """A node and its cluster as they are when all is well."""
    names = ["data", "logs", "universe", "db"]
    fine = {"ok": True, "why": "", "seconds": 0.0}
    page = {"status": 200, "body": '{"status":"ready","reasons":[]}', "seconds": 0.0, "why": ""}
    return {
        "nodes": {"n1": {
            "host": "n1", "now": NOW, "storage": {
                "path": "/opt/local-path-provisioner", "exists": True, "mount": "/", "filesystem": "ext4",
                "bytes": 50 << 30, "free": 40 << 30, "inodes": 1000000, "inodes_free": 900000},
            "disks": [{"mount": "/", "bytes": 50 << 30, "free": 40 << 30, "inodes": 1000000, "inodes_free": 900000,
                       "filesystem": "ext4", "read_only": False, "carries": ["/", "/opt/local-path-provisioner"]}],
            "folders": {f"{FOLDERS}/config": {"exists": True, "type": "dir", "uid": 1000, "gid": 1000, "mode": "0755"}},
            "k3s": {"installed": True, "role": "server", "active": "active", "sub": "running", "enabled": "enabled",
                    "log": [], "api": {"answers": True, "why": ""}, "node_name": "obs-local"},
            "certificates": [{"file": "127.0.0.1:6443", "subject": "k3s", "issuer": "k3s-server-ca", "served": True,
                              "not_before": NOW - 1e7, "not_after": NOW + 1e7}],
            "firewall": {"lets_pods_through": {"input": True, "forward": True}, "eaten": [], "rejects": [],
                         "ip_forward": True},
            "volumes": [{"name": "pvc-1", "path": "/opt/local-path-provisioner/pvc-1", "uid": 0, "gid": 1000,
                         "mode": "2770"}],
            "containers": [{
                "id": "c1", "name": "observer", "namespace": NS, "uids": [1000] * 4, "gids": [1000] * 4,
                "groups": [1000], "environment": {"DB_HOST": "postgres"},
                "mounts": [{"target": f"{FOLDERS}/data", "source": "/opt/local-path-provisioner/pvc-1"}],
                "inside": {"writes": {f"{FOLDERS}/{name}": dict(fine) for name in ("data", "logs", "config")},
                           "http": {"/health": dict(page), "/ready": dict(page)},
                           "connects": {"postgres:5432": dict(fine)}}},
                {"id": "c2", "name": "postgres", "namespace": NS, "uids": [999] * 4, "gids": [999] * 4,
                 "groups": [999], "environment": {}, "mounts": [], "inside": {
                     "writes": {"/var/lib/postgresql/data": dict(fine)}}}],
            "errors": []}},
        "server": "n1",
        "cluster": {
            "now": NOW, "api": {"answers": True, "why": ""}, "namespace": NS,
            "nodes": [{"name": "obs-local", "ready": True, "why": "", "pressures": []}],
            "pods": [
                pod("observer-1", "Deployment/observer", container("observer", IMAGE, "c1"),
                    claims=("observer-data-pvc",)),
                pod("postgres-0", "StatefulSet/postgres", container("postgres", "docker.io/library/postgres:15", "c2"),
                    claims=("observer-db-pvc",)),
                pod("local-path-provisioner-1", "Deployment/local-path-provisioner", None, "kube-system"),
                pod("coredns-1", "Deployment/coredns", None, "kube-system", "k8s-app=kube-dns"),
                pod("sealed-secrets-controller-1", "Deployment/sealed-secrets-controller", None, "sealed-secrets")],
            "workloads": [workload("Deployment", "observer", {"fsGroup": 1000}),
                          workload("StatefulSet", "postgres", {"fsGroup": 999, "runAsUser": 999})],
            "claims": [{"namespace": NS, "name": f"observer-{name}-pvc", "phase": "Bound", "class": "local-path"}
                       for name in names],
            "storage_classes": [{"name": "local-path", "default": True}],
            "services": [{"name": name, "selector": {"app": name.partition("-")[0]}, "ready": ["10.42.0.9"],
                          "not_ready": []} for name in ("observer", "postgres", "postgres-headless")],
            "config_maps": {"observer-config": settings()},
            "secrets": {"observer-secrets": {"keys": [
                "DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET", "KIS_HTS_ID", "POSTGRES_USER",
                "POSTGRES_PASSWORD", "POSTGRES_DB"]}, "ghcr-secret": {"keys": [".dockerconfigjson"]}},
            "sealed_secrets": {"observer-secrets": {"synced": True, "why": ""},
                               "ghcr-secret": {"synced": True, "why": ""}},
            "environment": {}, "settings": {}, "http": {"/health": dict(page), "/ready": dict(page)}, "events": [],
            "errors": []},
    }


def settings() -> dict[str, str]:
    """What git has."""
    text = (ROOT / "manifests" / "base" / "configmaps" / "observer-config.yaml").read_text()
    return {name: value.strip('"') for name, value in re.findall(r'^  ([A-Z_]+): (\S+)', text, re.MULTILINE)}


def of(live: Facts, name: str) -> Facts:
    found: Facts = next(one for one in live["cluster"]["pods"] if one["name"].startswith(name))
    return found


def inside(live: Facts) -> Facts:
    found: Facts = live["nodes"]["n1"]["containers"][0]["inside"]
    return found


def event(live: Facts, kind: str, name: str, reason: str, message: str) -> None:
    live["cluster"]["events"].append({"kind": kind, "name": name, "type": "Warning", "reason": reason,
                                      "message": message, "count": 1, "last": NOW})


def waits(live: Facts, name: str, reason: str, message: str) -> None:
    one = of(live, name)
    one["ready"] = one["containers"][0]["ready"] = False
    one["containers"][0] |= {"state": "waiting", "reason": reason, "message": message}


def crashes(live: Facts, name: str, code: int, log: str, reason: str = "Error") -> None:
    waits(live, name, "CrashLoopBackOff", "back-off 10s restarting failed container")
    of(live, name)["containers"][0] |= {"restarts": 3, "log": [log], "last": {
        "reason": reason, "exit_code": code, "finished": NOW, "message": ""}}


def unready(live: Facts, *reasons: str) -> None:
    one = of(live, "observer")
    one["ready"] = one["containers"][0]["ready"] = False
    inside(live)["http"]["/ready"] = {"status": 503, "body": '{"status":"not ready","reasons":["'
                                      + '","'.join(reasons) + '"]}', "why": ""}
    live["cluster"]["http"] = {path: {"status": None, "body": "", "why": "Connection refused"}
                               for path in ("/health", "/ready")}


# --- each fault ------------------------------------------------------------------------------------

Break = Callable[[Facts], object]
BROKEN: dict[str, tuple[Break, str, str]] = {}


def breaks(code: str, layer: str, subject: str) -> Callable[[Break], Break]:
    def kept(function: Break) -> Break:
        BROKEN[f"{code} {function.__name__}"] = (function, layer, subject)
        return function
    return kept


@breaks("FAULT-01", "node", "n1")
def no_ssh(live: Facts) -> None:
    live |= {"nodes": {}, "cluster": None, "unreachable": {"n1": "Connection timed out"}}


@breaks("FAULT-02", "cluster", "k3s.service on n1")
def k3s_down(live: Facts) -> None:
    live["nodes"]["n1"]["k3s"] |= {"active": "failed", "sub": "failed", "log": ["level=fatal msg=\"starting: no\""],
                                   "api": {"answers": False, "why": "Connection refused"}}
    live["cluster"] = {"namespace": NS, "api": {"answers": False, "why": "Connection refused"}}


@breaks("FAULT-02", "cluster", "k3s.service on n1")
def k3s_not_there(live: Facts) -> None:
    live["nodes"]["n1"]["k3s"] = {"installed": False, "role": "", "active": "inactive", "sub": "dead", "api": {
        "answers": False, "why": "K3s is not installed"}}
    live["cluster"] = {"namespace": NS, "api": {"answers": False, "why": "no kubeconfig"}}


@breaks("FAULT-03", "cluster", "/tls/serving-kube-apiserver.crt on n1")
def expired(live: Facts) -> None:
    live["nodes"]["n1"]["certificates"] += [{"file": "/tls/serving-kube-apiserver.crt", "subject": "k3s",
                                             "not_after": NOW - 60, "served": False}]
    live["cluster"] = {"namespace": NS, "api": {"answers": False, "why": "the certificate expired on 2025-01-01"}}


@breaks("FAULT-03", "cluster", "the API's certificate on n1")
def expired_as_the_cluster_says(live: Facts) -> None:
    live["nodes"]["n1"] = {"now": NOW}
    live["cluster"] = {"namespace": NS, "api": {"answers": False, "why": "the certificate expired on 2025-01-01"}}


@breaks("FAULT-04", "cluster", "n1")
def silent_api(live: Facts) -> None:
    live["nodes"]["n1"]["k3s"]["api"] = {"answers": False, "why": "timed out"}
    live["cluster"] = {"namespace": NS, "api": {"answers": False, "why": "timed out"}}


@breaks("FAULT-05", "node", "/opt/local-path-provisioner on n1")
def full(live: Facts) -> None:
    live["nodes"]["n1"]["storage"]["free"] = 4096
    live["nodes"]["n1"]["disks"][0]["free"] = 4096
    crashes(live, "postgres", 1, "FATAL:  could not write lock file \"postmaster.pid\": No space left on device")
    unready(live, f"data: no space left at {FOLDERS}/data", "database: away",
            f"scalp: {FOLDERS}/data/scalp is not a folder; the volume or the entrypoint must provide it")


@breaks("FAULT-05", "node", "/opt/local-path-provisioner on n1")
def no_inodes(live: Facts) -> None:
    live["nodes"]["n1"]["storage"]["inodes_free"] = 0


@breaks("FAULT-05", "node", "the disk of the volumes on n1")
def full_as_the_log_says(live: Facts) -> None:
    live["nodes"]["n1"] = {"now": NOW, "containers": []}
    crashes(live, "postgres", 1, "FATAL:  could not write lock file: No space left on device")


@breaks("FAULT-06", "node", "iptables FORWARD on n1")
def rejected(live: Facts) -> None:
    live["nodes"]["n1"]["firewall"] |= {"lets_pods_through": {"input": True, "forward": False}, "eaten": [
        {"journey": "a pod to a pod", "way": "forward", "table": "filter", "chain": "FORWARD", "rule": "-j REJECT"}]}
    unready(live, "database: away: postgres:5432: no answer in 5.0 s")
    inside(live)["connects"]["postgres:5432"] = {"ok": False, "why": "no answer"}


@breaks("FAULT-06", "node", "net.ipv4.ip_forward on n1")
def not_forwarded(live: Facts) -> None:
    live["nodes"]["n1"]["firewall"]["ip_forward"] = False


@breaks("FAULT-07", "node", f"{FOLDERS}/config on n1")
def owner(live: Facts) -> None:
    live["nodes"]["n1"]["folders"][f"{FOLDERS}/config"] |= {"uid": 0, "gid": 0, "mode": "0750"}
    inside(live)["writes"][f"{FOLDERS}/config"] = {"ok": False, "why": "EACCES Permission denied"}
    # What lies below a folder that cannot be entered is not seen at all.
    unready(live, f"config: uid 1000 cannot read {FOLDERS}/config",
            f"symbols: {FOLDERS}/config/symbols is not a folder; the volume or the entrypoint must provide it")


@breaks("FAULT-07", "node", f"{FOLDERS}/config on n1")
def no_folder(live: Facts) -> None:
    live["nodes"]["n1"]["folders"][f"{FOLDERS}/config"] = {"exists": False}


@breaks("FAULT-08", "cluster", "Node obs-local")
def not_ready(live: Facts) -> None:
    live["cluster"]["nodes"][0] |= {"ready": False, "why": "container runtime is down"}


@breaks("FAULT-09", "deployment", f"PersistentVolumeClaim {NS}/observer-data-pvc")
def no_class(live: Facts) -> None:
    live["cluster"]["claims"][0] |= {"phase": "Pending", "class": "fast"}
    event(live, "PersistentVolumeClaim", "observer-data-pvc", "ProvisioningFailed", 'storageclass "fast" not found')
    one = of(live, "observer")
    one |= {"ready": False, "phase": "Pending", "containers": [], "conditions": {"PodScheduled": {
        "status": "False", "message": "pod has unbound immediate PersistentVolumeClaims"}}}


@breaks("FAULT-10", "cluster", "Deployment kube-system/local-path-provisioner")
def no_provisioner(live: Facts) -> None:
    of(live, "local-path")["ready"] = False
    live["cluster"]["claims"][0] |= {"phase": "Pending"}


@breaks("FAULT-11", "cluster", f"PersistentVolumeClaim {NS}/observer-data-pvc")
def no_volume(live: Facts) -> None:
    live["cluster"]["claims"][0] |= {"phase": "Pending"}
    event(live, "PersistentVolumeClaim", "observer-data-pvc", "ProvisioningFailed", "only ReadWriteOnce is supported")


@breaks("FAULT-11", "deployment", f"PersistentVolumeClaim {NS}/observer-data-pvc")
def no_claim(live: Facts) -> None:
    del live["cluster"]["claims"][0]


@breaks("FAULT-12", "cluster", "sealed-secrets")
def no_sealer(live: Facts) -> None:
    live["cluster"]["pods"].remove(of(live, "sealed"))
    live["cluster"]["secrets"] = {}
    waits(live, "observer", "CreateContainerConfigError", 'secret "observer-secrets" not found')


@breaks("FAULT-13", "cluster", "Deployment kube-system/coredns")
def no_names(live: Facts) -> None:
    of(live, "coredns")["ready"] = False
    unready(live, "database: away: gaierror: Temporary failure in name resolution")


@breaks("FAULT-14", "config", f"SealedSecret {NS}/observer-secrets")
def unopened(live: Facts) -> None:
    live["cluster"]["sealed_secrets"]["observer-secrets"] = {"synced": False, "why": "no key could decrypt secret"}
    del live["cluster"]["secrets"]["observer-secrets"]
    waits(live, "observer", "CreateContainerConfigError", 'secret "observer-secrets" not found')


@breaks("FAULT-14", "cluster", f"SealedSecret {NS}/observer-secrets")
def passed_over(live: Facts) -> None:
    live["cluster"]["sealed_secrets"]["observer-secrets"] = {"synced": None, "why": ""}
    del live["cluster"]["secrets"]["observer-secrets"]
    waits(live, "observer", "CreateContainerConfigError", 'secret "observer-secrets" not found')


@breaks("FAULT-15", "config", f"Secret {NS}/observer-secrets")
def key_missing(live: Facts) -> None:
    live["cluster"]["secrets"]["observer-secrets"]["keys"].remove("POSTGRES_DB")
    waits(live, "postgres", "CreateContainerConfigError", "couldn't find key POSTGRES_DB in Secret observer-secrets")


@breaks("FAULT-16", "config", f"Secret {NS}/ghcr-secret")
def refused(live: Facts) -> None:
    waits(live, "observer", "ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: failed to authorize: '
          "failed to fetch anonymous token: unexpected status: 401 Unauthorized")


@breaks("FAULT-17", "deployment", f"Deployment {NS}/observer")
def no_tag(live: Facts) -> None:
    waits(live, "observer", "ErrImagePull", f'rpc error: code = NotFound desc = failed to resolve reference "{IMAGE}": '
          f"{IMAGE}: not found")


@breaks("FAULT-18", "node", "obs-local")
def no_registry(live: Facts) -> None:
    waits(live, "observer", "ErrImagePull", "dial tcp 140.82.121.33:443: i/o timeout")


@breaks("FAULT-19", "config", f"ConfigMap {NS}/observer-config")
def no_variable(live: Facts) -> None:
    del live["cluster"]["config_maps"]["observer-config"]["DB_NAME"]
    crashes(live, "observer", 78, '{"level": "CRITICAL", "message": "required environment variables are missing: '
            'DB_NAME"}')


@breaks("FAULT-20", "deployment", f"Deployment {NS}/observer")
def memory(live: Facts) -> None:
    crashes(live, "observer", 137, "", "OOMKilled")


@breaks("FAULT-21", "app", f"Deployment {NS}/observer")
def crash(live: Facts) -> None:
    crashes(live, "observer", 1, "ValueError: a bug")


@breaks("FAULT-22", "deployment", f"Pod {NS}/observer-1")
def no_place(live: Facts) -> None:
    of(live, "observer").update({"ready": False, "phase": "Pending", "containers": [], "conditions": {
        "PodScheduled": {"status": "False", "message": "0/1 nodes: didn't match Pod's node affinity/selector"}}})


@breaks("FAULT-23", "deployment", f"Pod {NS}/observer-1")
def no_mount(live: Facts) -> None:
    waits(live, "observer", "ContainerCreating", "")
    event(live, "Pod", "observer-1", "FailedMount", 'configmap "more" not found')


@breaks("FAULT-24", "app", f"Pod {NS}/observer-1")
def never_ready(live: Facts) -> None:
    unready(live, "build variant never-ready")


@breaks("FAULT-25", "deployment", f"Deployment {NS}/observer")
def no_group(live: Facts) -> None:
    live["cluster"]["workloads"][0]["spec"]["template"]["spec"]["securityContext"] = {}
    inside(live)["writes"][f"{FOLDERS}/data"] = {"ok": False, "why": "EACCES Permission denied"}
    unready(live, f"data: uid 1000 cannot write to {FOLDERS}/data")


@breaks("FAULT-26", "node", f"{FOLDERS}/data")
def volume_owner(live: Facts) -> None:
    for path in ("/assets/ingest", "", "/scalp"):
        inside(live)["writes"][f"{FOLDERS}/data{path}"] = {"ok": False, "why": "EACCES Permission denied"}
    unready(live, f"data: uid 1000 cannot write to {FOLDERS}/data", f"scalp: uid 1000 cannot write to {FOLDERS}/data/"
            "scalp", f"symbols: {FOLDERS}/data/symbols is not a folder; the volume must provide it")


@breaks("FAULT-27", "config", f"ConfigMap {NS}/observer-config")
def wrong_host(live: Facts) -> None:
    live["cluster"]["config_maps"]["observer-config"]["DB_HOST"] = "db"
    inside(live)["connects"] = {"db:5432": {"ok": False, "why": "NXDOMAIN"}}
    unready(live, "database: away: db:5432: Name or service not known")


@breaks("FAULT-28", "config", f"ConfigMap {NS}/observer-config")
def wrong_path(live: Facts) -> None:
    live["cluster"]["config_maps"]["observer-config"]["OBSERVER_DATA_DIR"] = "/data"
    unready(live, "data: /data is not a folder; the volume must provide it")


@breaks("FAULT-29", "deployment", f"Pod {NS}/observer-1")
def old_settings(live: Facts) -> None:
    live["cluster"]["environment"] = {"observer-1": {"observer": {"DB_PASSWORD": "differs", "DB_USER": "same"}}}
    unready(live, "database: password authentication failed")


@breaks("FAULT-30", "config", f"Secret {NS}/observer-secrets")
def login(live: Facts) -> None:
    unready(live, "database: away")
    of(live, "observer")["containers"][0]["log"] = ['password authentication failed for user "observer"']


@breaks("FAULT-31", "deployment", f"Service {NS}/observer")
def selector(live: Facts) -> None:
    live["cluster"]["services"][0] |= {"selector": {"app": "observr"}, "ready": []}
    live["cluster"]["http"]["/ready"] = {"status": None, "why": "Connection refused"}


@breaks("FAULT-32", "deployment", f"Service {NS}/postgres")
def no_service(live: Facts) -> None:
    del live["cluster"]["services"][1]
    unready(live, "database: away: Name or service not known")


@breaks("FAULT-33", "deployment", f"StatefulSet {NS}/postgres")
def switched_off(live: Facts) -> None:
    live["cluster"]["workloads"][1]["replicas"] = 0
    live["cluster"]["pods"].remove(of(live, "postgres"))
    unready(live, "database: away: Connection refused")


@breaks("FAULT-34", "cluster", f"postgres:5432 from Pod {NS}/observer-1")
def cut_off(live: Facts) -> None:
    inside(live)["connects"]["postgres:5432"] = {"ok": False, "why": "no answer"}
    unready(live, "database: away: no answer")


@breaks("FAULT-34", "cluster", f"Service {NS}/observer")
def no_page(live: Facts) -> None:
    live["cluster"]["http"]["/health"] = {"status": None, "why": "no answer"}


@breaks("FAULT-35", "node", "n1")
def not_looked_at(live: Facts) -> None:
    live |= {"nodes": {}, "cluster": None, "failed": {"n1": "a password is required"}}


@breaks("FAULT-36", "node", "/ on n1")
def read_only(live: Facts) -> None:
    live["nodes"]["n1"]["disks"][0]["read_only"] = True
    live["nodes"]["n1"]["storage"] |= {"writable": False, "why": "/ is mounted read-only"}
    crashes(live, "postgres", 1, 'FATAL:  could not create lock file "postmaster.pid": Read-only file system')
    inside(live)["writes"][f"{FOLDERS}/data"] = {"ok": False, "why": "EROFS Read-only file system"}
    unready(live, "database: away: Connection refused")


@breaks("FAULT-36", "node", "/opt/local-path-provisioner on n1")
def broken(live: Facts) -> None:
    live["nodes"]["n1"]["storage"] = {"path": "/opt/local-path-provisioner", "exists": False, "writable": False,
                                      "why": "it could not be looked at"}
    live["nodes"]["n1"]["errors"] = [{"about": "/opt/local-path-provisioner", "why": "[Errno 5] Input/output error"}]
    crashes(live, "postgres", 1, "PANIC:  could not read file: Input/output error")


@breaks("FAULT-33", "deployment", f"Namespace {NS}")
def no_namespace(live: Facts) -> None:
    live["cluster"] |= {"namespace_phase": "", "workloads": [], "claims": [], "services": [], "config_maps": {},
                        "secrets": {}, "sealed_secrets": {},
                        "pods": [one for one in live["cluster"]["pods"] if one["namespace"] != NS]}


def test_every_code_is_caused() -> None:
    assert {name.split()[0] for name in BROKEN} == {code for code in CODES if code.startswith("FAULT-")}


def check(contract: Contract, live: Facts) -> Diagnosis:
    before = copy.deepcopy(live)
    found = diagnose(contract, live, inventory="inventories/local")
    assert live == before
    return found


@pytest.mark.parametrize("name", BROKEN)
def test_one_cause_is_one_fault(contract: Contract, name: str) -> None:
    """With all its symptoms below it, a next command, and sentences in both languages."""
    change, layer, subject = BROKEN[name]
    live = healthy()
    change(live)
    found = check(contract, live)
    assert [(one.finding.code, str(one.finding.layer), one.finding.subject) for one in found.faults] == [
        (name.split()[0], layer, subject)], [one.finding for one in found.faults]
    (fault,) = found.faults
    assert fault.command and "<" not in fault.command.replace("</dev/null", "")
    assert ("unknown" if fault.finding.kind is Kind.UNCHECKED else "fault") in [one.verdict for one in found.steps]
    for part in ("message", "remedy"):
        for language in ("en", "ko"):
            words = sentence(fault.finding, part, language)
            assert words
            assert all(name in fault.finding.values or name in ("expected", "actual", "subject") for name in re.findall(
                r"\{(\w+)\}", getattr(CODES[fault.finding.code], part)[language])), words
    assert all(fault.remedy.values())


def test_a_healthy_system(contract: Contract) -> None:
    found = check(contract, healthy())
    assert found.well and not found.faults
    assert [one.stage for one in found.steps] == list(Stage)
    assert {one.stage: one.verdict for one in found.steps} == {
        Stage.APP: "well", Stage.CONTAINER: "well", Stage.RENDERING: "unknown", Stage.CLUSTER: "well"}


# --- what could not be read -------------------------------------------------------------------------

LISTS = {"nodes": "nodes", "pods": "pods", "deployments": "workloads", "statefulsets": "workloads", "claims": "claims",
         "volumes": "volumes", "storage classes": "storage_classes", "services": "services", "endpoints": "",
         "ConfigMaps": "config_maps", "Secrets": "secrets", "SealedSecrets": "sealed_secrets", "events": "events"}
"""What the collector calls its lists, and where they are among the facts."""


def lose(live: Facts, about: str) -> None:
    """One list of the cluster could not be read; the collector goes on without it."""
    cluster = live["cluster"]
    cluster["errors"].append({"about": about, "why": "127.0.0.1:6443 did not answer within 2 s", "kind": "timeout"})
    if about in ("deployments", "statefulsets"):
        kind = about.removesuffix("s")
        cluster["workloads"] = [one for one in cluster["workloads"] if one["kind"].lower() != kind]
    elif LISTS[about] in cluster:
        cluster[LISTS[about]] = type(cluster[LISTS[about]])()
    if about == "pods":
        cluster["http"] = {}


@pytest.mark.parametrize("about", LISTS)
def test_what_could_not_be_read_is_not_missing(contract: Contract, about: str) -> None:
    """One slow list of a healthy system is that and nothing else; and no step that needs it is well."""
    live = healthy()
    lose(live, about)
    found = check(contract, live)
    assert [(one.finding.code, one.finding.subject) for one in found.faults] == [
        ("FAULT-35", f"{about} (cluster)")]
    verdicts = {one.stage: one.verdict for one in found.steps}
    assert verdicts[Stage.CLUSTER] == "unknown" and "fault" not in verdicts.values()
    if about in ("pods", "events"):
        assert verdicts[Stage.APP] == "unknown"


def answers(change: Break) -> bool:
    """Whether anything is left to read of a cluster that is broken so."""
    live = healthy()
    change(live)
    return bool((live["cluster"] or {}).get("pods"))


@pytest.mark.parametrize("about", LISTS)
@pytest.mark.parametrize("name", [name for name, (change, *_) in BROKEN.items() if answers(change)])
def test_an_unread_list_makes_no_other_fault(contract: Contract, name: str, about: str) -> None:
    """Whatever is broken: without a list less is known of it. What is left to see of it may be told; nothing else."""
    live = healthy()
    change, _, subject = BROKEN[name]
    change(live)
    whole = check(contract, live).faults
    lose(live, about)
    found = {one.finding.code for one in check(contract, live).faults}
    left = {one.code for fault in whole for one in fault.symptoms}
    if (change, about) == (no_class, "storage classes"):
        left.add("FAULT-11")  # it is Pending, for whatever reason
    assert "FAULT-35" in found or name.split()[0] in found
    assert found <= {name.split()[0], "FAULT-35"} | left, subject


def test_what_the_server_does_not_know_was_read(contract: Contract) -> None:
    """Without the kind SealedSecret, there are none."""
    live = healthy()
    live["cluster"]["errors"].append({"about": "SealedSecrets", "why": "404", "kind": "missing"})
    assert check(contract, live).well


def test_what_nobody_asks_for_is_not_missed(contract: Contract) -> None:
    live = healthy()
    live["cluster"]["errors"].append({"about": "jsonl", "why": "not all could be looked at", "kind": "timeout"})
    assert check(contract, live).well


def test_what_could_not_be_looked_at_is_not_well(contract: Contract) -> None:
    """A node that half answers, a container that does not answer in time, a packet filter that nobody could read."""
    live = healthy()
    live["nodes"]["n1"]["errors"] = [{"about": "certificates", "why": "permission denied"}]
    live["nodes"]["n1"]["firewall"]["lets_pods_through"] = {"input": None, "forward": None}
    inside(live).clear()
    inside(live)["why"] = "no answer in time"
    lose(live, "events")
    found = check(contract, live)
    assert {(one.finding.code, str(one.finding.layer), one.finding.subject) for one in found.faults} == {
        ("FAULT-35", "node", "certificates, firewall (n1)"), ("FAULT-35", "cluster", "events (cluster)"),
        ("FAULT-35", "node", "container observer (Pod observer-local/None)")}
    assert {one.stage: one.verdict for one in found.steps} == dict.fromkeys(Stage, "unknown")


def test_a_manager_of_services_that_does_not_answer_is_no_k3s_that_is_down(contract: Contract) -> None:
    live = healthy()
    live["nodes"]["n1"]["k3s"] |= {"active": "", "sub": "", "role": "", "enabled": ""}
    live["nodes"]["n1"]["errors"] = [{"about": "systemctl show k3s", "why": "timed out after 5 seconds"}]
    assert [one.finding.code for one in check(contract, live).faults] == ["FAULT-35"]


def test_what_cannot_be_read_because_of_a_fault_is_its_symptom(contract: Contract) -> None:
    live = healthy()
    broken(live)
    live["nodes"]["n1"]["errors"].append({"about": "volumes", "why": "no answer"})
    inside(live)["why"] = "no answer in time"
    (fault,) = check(contract, live).faults
    assert fault.finding.code == "FAULT-36" and sum(one.code == "FAULT-35" for one in fault.symptoms) == 2


def replicas(live: Facts) -> Facts:
    """A second pod of the app, on an agent."""
    node = second(live)
    other = copy.deepcopy(of(live, "observer"))
    other |= {"name": "observer-2", "node": "obs-agent"}
    other["containers"][0]["id"] = "c3"
    node["containers"] = [{**copy.deepcopy(live["nodes"]["n1"]["containers"][0]), "id": "c3"}]
    live["cluster"]["pods"].append(other)
    live["cluster"]["workloads"][0] |= {"replicas": 2, "ready": 2, "available": 2}
    return node


def test_two_replicas(contract: Contract) -> None:
    """What both suffer from is one fault; what each of them has of its own is two; one that is gone is missed."""
    live = healthy()
    replicas(live)
    assert check(contract, live).well
    crash(live)
    both = copy.deepcopy(live)
    both["cluster"]["pods"][-1] |= {"ready": False, "containers": copy.deepcopy(of(both, "observer")["containers"])}
    (fault,) = check(contract, both).faults
    assert fault.finding.code == "FAULT-21" and [one.code for one in fault.symptoms] == ["FAULT-21"]
    node = live["nodes"]["n2"]
    node["containers"][0]["inside"]["writes"][f"{FOLDERS}/data"] = {"ok": False, "why": "EACCES Permission denied"}
    assert {one.finding.code for one in check(contract, live).faults} == {"FAULT-21", "FAULT-26"}
    live = healthy()
    replicas(live)
    live["cluster"]["pods"].pop()
    event(live, "ReplicaSet", "observer-55", "FailedCreate", "exceeded quota: small")
    (fault,) = check(contract, live).faults
    assert fault.finding.code == "FAULT-23" and "quota" in fault.finding.values["why"]


def test_causes_that_explain_each_other_are_not_both_hidden() -> None:
    def one(name: str, *because: str) -> Candidate:
        return Candidate((name,), finding("FAULT-21", "x", Layer.APP, None, name), "", "",
                         because=tuple((other,) for other in because))

    roots, symptoms = explained([one("b", "a"), one("a", "b"), one("c", "a")])
    assert [root.key for root in roots] == [("b",)]
    assert [symptom.key for symptom in symptoms[("b",)]] == [("a",), ("c",)]


# --- pods that have ended ---------------------------------------------------------------------------


def ended(name: str, workload: str, reason: str = "", code: int = 137) -> Facts:
    """A pod that will not run again, as Kubernetes keeps it."""
    one = pod(name, workload, container(workload.partition("/")[2], IMAGE, "gone"))
    one |= {"phase": "Failed", "ready": False, "reason": reason, "created": NOW - 7200}
    one["containers"][0] |= {"state": "terminated", "reason": "ContainerStatusUnknown", "exit_code": code,
                             "ready": False, "log": ["password authentication failed", "No space left on device"]}
    return one


@pytest.mark.parametrize("one", [
    ended("observer-0", "Deployment/observer", "Evicted"), ended("observer-0", "Deployment/observer", "Terminated"),
    ended("observer-0", "Deployment/observer"), ended("postgres-0", "StatefulSet/postgres"),
    ended("shell", "", "", 1)], ids=lambda one: f"{one['name']}-{one['reason']}")
def test_a_pod_that_ended_and_was_replaced_is_no_fault(contract: Contract, one: Facts) -> None:
    for at in (0, 99):
        live = healthy()
        live["cluster"]["pods"].insert(at, one)
        assert check(contract, live).well


def test_a_try_of_a_job(contract: Contract) -> None:
    """One that failed is nothing when another did the work, of the same Job or of the CronJob's next; else it is."""
    live = healthy()
    live["cluster"]["pods"].append(ended("backup-28000000-a", "Job/backup-28000000", code=1))
    (fault,) = check(contract, live).faults
    assert fault.finding.code == "FAULT-21"
    for job in ("Job/backup-28000000", "Job/backup-28000060"):
        again = copy.deepcopy(live)
        done = pod("backup-b", job, None)
        again["cluster"]["pods"].append({**done, "phase": "Succeeded", "ready": False})
        assert check(contract, again).well
    other = pod("other-b", "Job/other-28000060", None)
    live["cluster"]["pods"].append({**other, "phase": "Succeeded", "ready": False})
    assert not check(contract, live).well


def test_an_evicted_pod_without_another_is_told_of(contract: Contract) -> None:
    live = healthy()
    live["cluster"]["pods"] = [one for one in live["cluster"]["pods"] if not one["name"].startswith("observer")]
    live["cluster"]["pods"].append({**ended("observer-0", "Deployment/observer", "Evicted"), "message": "The node was "
                                    "low on resource: ephemeral-storage."})
    live["cluster"]["workloads"][0] |= {"ready": 0, "available": 0}
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-23", Layer.NODE)
    pressed(live, 40 << 30)
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-08", Layer.NODE)


# --- disks ------------------------------------------------------------------------------------------


def pressed(live: Facts, free: int) -> None:
    """What the kubelet says of a disk."""
    live["nodes"]["n1"]["disks"][0]["free"] = live["nodes"]["n1"]["storage"]["free"] = free
    live["cluster"]["nodes"][0] |= {"pressures": ["DiskPressure"], "conditions": {"DiskPressure": "True"}}


def evicted(live: Facts) -> None:
    """The app had to go, and its next pod finds no place."""
    waiting = of(live, "observer")
    waiting |= {"ready": False, "phase": "Pending", "containers": [], "node": "", "conditions": {"PodScheduled": {
        "status": "False", "message": "0/1 nodes are available: 1 node(s) had untolerated taint "
                                      "{node.kubernetes.io/disk-pressure: }."}}}
    live["cluster"]["pods"].append(ended("observer-0", "Deployment/observer", "Evicted"))
    live["cluster"]["workloads"][0] |= {"ready": 0, "available": 0}


@pytest.mark.parametrize("on_its_own", [False, True])
def test_a_disk_that_the_kubelet_evicts_for_is_the_root(contract: Contract, on_its_own: bool) -> None:
    """Under the threshold of 5 % it ends pods, when much more is left than a program needs."""
    live = healthy()
    pressed(live, 3 * (50 << 30) // 100)
    evicted(live)
    if on_its_own:  # K3s and the volumes on two file systems
        live["nodes"]["n1"]["storage"] |= {"mount": "/opt", "free": 90 << 30, "bytes": 100 << 30}
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-05", Layer.NODE)
    assert fault.finding.subject == ("/ on n1" if on_its_own else "/opt/local-path-provisioner on n1")
    assert "1536 MiB (3.0%)" in sentence(fault.finding, "message", "en")
    assert {one.code for one in fault.symptoms} == {"FAULT-08", "FAULT-22"}


def test_a_pressure_is_the_nodes(contract: Contract) -> None:
    """When there is room again already, and of memory."""
    live = healthy()
    pressed(live, 40 << 30)
    evicted(live)
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-08", Layer.NODE)
    live = healthy()
    live["cluster"]["nodes"][0]["pressures"] = ["MemoryPressure"]
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-08", Layer.NODE)


def test_a_disk_without_pressure_and_one_of_nobody(contract: Contract) -> None:
    """Little room by which nothing is evicted breaks nothing; nor does a full disk that carries nothing."""
    live = healthy()
    live["nodes"]["n1"]["disks"][0]["free"] = live["nodes"]["n1"]["storage"]["free"] = 2 << 30
    live["nodes"]["n1"]["disks"].append({"mount": "/mnt/backup", "bytes": 50 << 30, "free": 0, "inodes": 1000,
                                         "inodes_free": 0, "filesystem": "ext4", "read_only": True, "carries": []})
    assert check(contract, live).well


# --- certificates -----------------------------------------------------------------------------------

TLS = "/var/lib/rancher/k3s/server/tls"
YEAR = 365 * 86400.0


def certificates(live: Facts, moved: float) -> None:
    """Those of K3s, made half a year ago, on a node whose clock has moved."""
    node = live["nodes"]["n1"]
    files = [f"{TLS}/client-admin.crt", f"{TLS}/client-kubelet.crt", f"{TLS}/etcd/client.crt",
             f"{TLS}/serving-kube-apiserver.crt", "/var/lib/rancher/k3s/agent/client-kubelet.crt",
             "/var/lib/rancher/k3s/agent/serving-kubelet.crt"]
    node["certificates"] = [{"file": file, "subject": "x", "issuer": "k3s-server-ca", "served": file[0] != "/",
                             "not_before": NOW - YEAR / 2, "not_after": NOW + YEAR / 2}
                            for file in (*files, "127.0.0.1:6443")]
    node |= {"now": NOW + moved, "clock_reference": NOW}
    live["cluster"] |= {"now": NOW + moved}


@pytest.mark.parametrize("moved", [YEAR, -YEAR])
@pytest.mark.parametrize("seen", ["served", "client", "nodes"])
def test_a_moved_clock_is_one_root(contract: Contract, moved: float, seen: str) -> None:
    """Certificates of the API, of its clients and of the kubelet are over together, or not yet: the node's clock is it,
    whoever notices first."""
    live = healthy()
    certificates(live, moved)
    word = "expired on 2027-05-23 18:00:00 UTC" if moved > 0 else "is not valid before 2026-05-23 18:00:00 UTC"
    if seen == "nodes":  # the API goes on; the kubelet does not reach it, and nothing is taken for ready
        live["cluster"]["nodes"][0] |= {"ready": False, "why": "Kubelet stopped posting node status."}
        for one in live["cluster"]["pods"]:
            one["ready"] = False
        unready(live, "database: away: no answer")
        waits(live, "postgres", "ErrImagePull", f"tls: failed to verify certificate: x509: certificate has {word}")
        live["cluster"]["errors"].append({"about": f"log of {NS}/observer-1", "kind": "status",
                                          "why": "500: x509: certificate has expired or is not yet valid"})
    else:
        why = (f"the certificate of 127.0.0.1:6443 {word}" if seen == "served" else
               f"the API server does not know who asks (401 Unauthorized): the client certificate {word}")
        live["cluster"] = {"now": NOW + moved, "namespace": NS, "api": {"answers": False, "why": why}, "errors": [
            {"about": "api", "why": why, "kind": "certificate"}]}
        live["nodes"]["n1"]["k3s"] |= {"api": {"answers": False, "why": "status 500"}, "log": [
            "E0101 00:00: x509: certificate has expired or is not yet valid"]}
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-03", Layer.NODE)
    assert fault.finding.subject == "127.0.0.1:6443 on n1" or "serving-kube-apiserver" in fault.finding.subject
    assert fault.command == "timedatectl" and "clock" in fault.evidence[0] and len(fault.evidence) == 8
    assert fault.symptoms


def test_certificates_that_are_really_over_are_one_root(contract: Contract) -> None:
    live = healthy()
    certificates(live, YEAR)
    live["nodes"]["n1"]["clock_reference"] = NOW + YEAR
    (fault,) = check(contract, live).faults
    assert (fault.finding.code, fault.finding.layer) == ("FAULT-03", Layer.CLUSTER)
    assert "openssl" in fault.command


def test_a_clock_that_breaks_nothing_is_no_fault(contract: Contract) -> None:
    live = healthy()
    certificates(live, 3600)
    assert check(contract, live).well


def test_what_a_component_made_for_itself_may_be_over(contract: Contract) -> None:
    live = healthy()
    live["nodes"]["n1"]["certificates"].append({
        "file": f"{TLS}/kube-scheduler/kube-scheduler.crt", "subject": "localhost@1", "issuer": "localhost-ca@1",
        "not_before": NOW - 2 * YEAR, "not_after": NOW - YEAR, "served": False})
    assert check(contract, live).well


# --- what is not what it looks like -----------------------------------------------------------------

CASES: dict[str, tuple[Break, set[tuple[str, str]]]] = {}


def ends(*faults: str) -> Callable[[Break], Break]:
    def kept(function: Break) -> Break:
        CASES[function.__name__] = (function, {(one.split()[0], one.split()[1]) for one in faults})
        return function
    return kept


def second(live: Facts) -> Facts:
    """An agent."""
    node = copy.deepcopy(live["nodes"]["n1"])
    node |= {"host": "n2", "folders": {f"{FOLDERS}/config": {"exists": False, "type": ""}}, "containers": []}
    node["k3s"] |= {"role": "agent", "node_name": "obs-agent"}
    live["nodes"]["n2"] = node
    live["cluster"]["nodes"].append({"name": "obs-agent", "ready": True, "why": "", "pressures": []})
    found: Facts = node
    return found


def not_there(live: Facts, name: str) -> None:
    live["cluster"]["nodes"][[one["name"] for one in live["cluster"]["nodes"]].index(name)] |= {
        "ready": False, "why": "Kubelet stopped posting node status."}


@ends()
def an_agent(live: Facts) -> None:
    second(live)


@ends("FAULT-22 deployment")
def a_claim_that_waits_for_its_pod(live: Facts) -> None:
    live["cluster"]["claims"][0]["phase"] = "Pending"
    no_place(live)


@ends("FAULT-15 config", "FAULT-21 app")
def a_crash_that_a_secret_of_others_does_not_explain(live: Facts) -> None:
    del live["cluster"]["secrets"]["ghcr-secret"]
    crash(live)


@ends("FAULT-28 config", "FAULT-21 app")
def a_crash_that_a_setting_of_others_does_not_explain(live: Facts) -> None:
    live["cluster"]["config_maps"]["observer-config"]["OBSERVER_DATA_DIR"] = "/data"
    crashes(live, "postgres", 1, "PANIC:  could not locate a valid checkpoint record")


@ends("FAULT-15 config")
def a_key_without_a_value(live: Facts) -> None:
    live["cluster"]["secrets"]["observer-secrets"]["empty"] = ["DB_PASSWORD"]
    crashes(live, "observer", 78, "required environment variables are missing: DB_PASSWORD")


@ends("FAULT-25 deployment")
def a_mount_that_was_taken_away(live: Facts) -> None:
    spec = live["cluster"]["workloads"][0]["spec"]["template"]["spec"]
    spec["containers"][0]["volumeMounts"] = [{"name": "logs", "mountPath": f"{FOLDERS}/logs"}]
    inside(live)["writes"][f"{FOLDERS}/data"] = {"ok": False, "why": "ENOENT No such file or directory"}
    unready(live, f"data: {FOLDERS}/data is not a folder; the volume must provide it")


@ends("FAULT-25 deployment")
def a_mount_that_is_read_only(live: Facts) -> None:
    spec = live["cluster"]["workloads"][0]["spec"]["template"]["spec"]
    spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": f"{FOLDERS}/data", "readOnly": True}]
    inside(live)["writes"][f"{FOLDERS}/data"] = {"ok": False, "why": "EROFS Read-only file system"}


@ends("FAULT-02 cluster", "FAULT-08 node")
def an_agents_k3s_and_the_servers_disk(live: Facts) -> None:
    second(live)["k3s"] |= {"active": "inactive", "sub": "dead"}
    not_there(live, "obs-agent")
    live["cluster"]["nodes"][0]["pressures"] = ["DiskPressure"]


@ends("FAULT-02 cluster")
def an_agent_that_waits_for_its_server(live: Facts) -> None:
    second(live)["k3s"] |= {"active": "activating", "sub": "start", "api": {"answers": False, "why": "refused"}}
    k3s_down(live)


@ends("FAULT-02 cluster", "FAULT-02 cluster")
def an_agent_that_was_stopped_as_well(live: Facts) -> None:
    second(live)["k3s"] |= {"active": "inactive", "sub": "dead", "api": {"answers": False, "why": "refused"}}
    k3s_down(live)


@ends("FAULT-01 node")
def an_agent_that_is_gone(live: Facts) -> None:
    """With the app's volumes on it."""
    second(live)
    del live["nodes"]["n2"]
    live["unreachable"] = {"n2": "timed out"}
    not_there(live, "obs-agent")
    one = of(live, "observer")
    one |= {"ready": False, "phase": "Pending", "node": "", "containers": [], "conditions": {"PodScheduled": {
        "status": "False", "message": "0/2 nodes are available: 1 node(s) had volume node affinity conflict"}}}
    gone = copy.deepcopy(one)
    live["cluster"]["pods"].append({**gone, "name": "observer-0", "node": "obs-agent", "deleted": NOW - 600})


@ends("FAULT-05 node", "FAULT-24 app")
def an_agents_disk_and_an_app_of_the_server(live: Facts) -> None:
    second(live)["storage"]["free"] = 0
    never_ready(live)


@ends("FAULT-02 cluster")
def an_app_on_an_agent_that_stands_still(live: Facts) -> None:
    second(live)["k3s"] |= {"active": "failed", "sub": "failed"}
    not_there(live, "obs-agent")
    one = of(live, "observer")
    one |= {"ready": False, "node": "obs-agent"}
    live["cluster"]["http"] = {path: {"status": None, "why": "leads to no pod"} for path in ("/health", "/ready")}


@ends("FAULT-25 deployment")
def an_answer_without_a_reason(live: Facts) -> None:
    no_group(live)
    inside(live)["http"]["/ready"] = {"status": 500, "body": "Internal Server Error", "why": ""}


@ends("FAULT-28 config")
def a_page_that_a_wrong_setting_breaks(live: Facts) -> None:
    wrong_path(live)
    inside(live)["http"]["/ready"] = {"status": 500, "body": "Internal Server Error", "why": ""}


def withheld(live: Facts) -> None:
    """Without the Secrets nobody knows what in a log is secret."""
    lose(live, "Secrets")
    live["cluster"]["errors"].append({"about": "logs, pages and messages", "why": "they are not told",
                                      "kind": "withheld"})
    for one in live["cluster"]["pods"]:
        for part in one["containers"]:
            part |= {"log": [], "message": ""}
    for one in live["cluster"]["events"]:
        one["message"] = ""


@ends("FAULT-35 cluster")
def a_pull_that_nobody_says_anything_of(live: Facts) -> None:
    no_tag(live)
    withheld(live)


@ends("FAULT-35 cluster")
def an_end_that_nobody_says_anything_of(live: Facts) -> None:
    crash(live)
    withheld(live)


@ends("FAULT-35 cluster", "FAULT-24 app")
def an_app_that_says_itself_what_it_has(live: Facts) -> None:
    never_ready(live)
    withheld(live)


@ends("FAULT-36 node")
def a_folder_that_a_broken_disk_does_not_show(live: Facts) -> None:
    broken(live)
    no_folder(live)


@ends("FAULT-06 node")
def a_firewall_between_the_nodes(live: Facts) -> None:
    second(live)
    not_there(live, "obs-agent")
    live["nodes"]["n1"]["firewall"] |= {"lets_pods_through": {"input": False, "forward": True}, "eaten": [
        {"journey": "another node to the API", "way": "input", "table": "filter", "chain": "INPUT",
         "rule": "-A INPUT -j REJECT"}]}


@ends("FAULT-08 cluster")
def a_log_on_a_node_that_is_gone(live: Facts) -> None:
    second(live)
    not_there(live, "obs-agent")
    live["cluster"]["errors"].append({"about": f"log of {NS}/observer-1", "why": "502: dial tcp: i/o timeout",
                                      "kind": "status"})


@ends("FAULT-35 cluster")
def a_log_that_nobody_gives(live: Facts) -> None:
    live["cluster"]["errors"].append({"about": f"log of {NS}/observer-1", "why": "500", "kind": "status"})


@ends("FAULT-23 deployment")
def no_pod_is_made(live: Facts) -> None:
    live["cluster"]["pods"].remove(of(live, "observer"))
    event(live, "ReplicaSet", "observer-55", "FailedCreate", "exceeded quota: small")


@ends("FAULT-23 cluster")
def a_pod_that_does_not_end(live: Facts) -> None:
    of(live, "postgres")["deleted"] = NOW - 600
    unready(live, "database: away: Connection refused")


@ends()
def a_pod_that_is_just_made_anew(live: Facts) -> None:
    of(live, "postgres")["deleted"] = NOW + 20


@ends("FAULT-20 deployment")
def a_container_between_two_ends(live: Facts) -> None:
    crashes(live, "observer", 137, "", "OOMKilled")
    of(live, "observer")["containers"][0] |= {"state": "running", "reason": "", "started": NOW - 2}


@ends("FAULT-24 app")
def a_container_that_ended_long_ago(live: Facts) -> None:
    crashes(live, "observer", 137, "", "OOMKilled")
    of(live, "observer")["containers"][0] |= {"state": "running", "reason": ""}
    of(live, "observer")["containers"][0]["last"]["finished"] = NOW - 7200


@ends("FAULT-23 deployment")
def a_reason_that_nobody_has_thought_of(live: Facts) -> None:
    waits(live, "observer", "ImageInspectError", "Failed to inspect image: nope")


@ends("FAULT-07 node")
def a_login_that_is_over(live: Facts) -> None:
    owner(live)
    of(live, "observer")["containers"][0]["log"] = ['password authentication failed for user "observer"']


@ends("FAULT-21 app")
def a_login_that_the_databases_log_remembers(live: Facts) -> None:
    crashes(live, "postgres", 1, "PANIC:  could not locate a valid checkpoint record")
    of(live, "postgres")["containers"][0]["log"].insert(0, 'FATAL:  password authentication failed for user "x"')


@ends("FAULT-23 deployment")
def a_container_that_nothing_happens_to(live: Facts) -> None:
    waits(live, "observer", "ContainerCreating", "")


@ends()
def a_container_that_is_just_made(live: Facts) -> None:
    waits(live, "observer", "ContainerCreating", "")
    of(live, "observer")["created"] = NOW - 10


@ends()
def a_mount_that_failed_once(live: Facts) -> None:
    event(live, "Pod", "observer-1", "FailedMount", "timed out waiting for the condition")


@ends("FAULT-11 node")
def a_folder_that_is_gone(live: Facts) -> None:
    live["cluster"]["volumes"] = [{"name": "pvc-1", "claim": f"{NS}/observer-data-pvc", "folder": False,
                                   "path": "/opt/local-path-provisioner/pvc-1"}]
    waits(live, "observer", "ContainerCreating", "")
    event(live, "Pod", "observer-1", "FailedMount", 'path "/opt/local-path-provisioner/pvc-1" does not exist')


@ends("FAULT-23 cluster")
def no_network_for_a_pod(live: Facts) -> None:
    waits(live, "observer", "ContainerCreating", "")
    event(live, "Pod", "observer-1", "FailedCreatePodSandBox", "plugin type=flannel failed: no such file subnet.env")


@ends("FAULT-15 config")
def a_secret_that_a_volume_wants(live: Facts) -> None:
    del live["cluster"]["secrets"]["observer-secrets"]
    waits(live, "observer", "ContainerCreating", "")
    event(live, "Pod", "observer-1", "FailedMount", 'secret "observer-secrets" not found')


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_what_it_looks_like(contract: Contract, name: str) -> None:
    change, expected = CASES[name]
    live = healthy()
    change(live)
    faults = check(contract, live).faults
    assert {(one.finding.code, str(one.finding.layer)) for one in faults} == expected, [one.finding for one in faults]
    assert name != "an_agent_that_was_stopped_as_well" or len(faults) == 2
    for one in faults:
        assert "{" not in sentence(one.finding, "message", "en") + sentence(one.finding, "message", "ko")
        if one.finding.subject.startswith("k3s-agent"):
            assert "systemctl start k3s-agent`" in one.remedy["en"]


@pytest.mark.parametrize("change", [no_tag, wrong_host, no_place, unopened, k3s_down, no_pod_is_made])
def test_an_app_that_does_not_run_is_not_well(contract: Contract, change: Break) -> None:
    live = healthy()
    change(live)
    assert check(contract, live).steps[0].verdict == ("unknown" if change is k3s_down else "symptom")


def test_an_app_that_just_starts_is_not_known_to_be_well(contract: Contract) -> None:
    live = healthy()
    a_container_that_is_just_made(live)
    found = check(contract, live)
    assert found.well and found.steps[0].verdict == "unknown"


PAIRS: list[tuple[Break, Break]] = [
    (wrong_host, selector), (owner, k3s_down), (rejected, no_variable), (no_tag, volume_owner), (unopened, full),
    (no_class, no_provisioner), (memory, no_service),
]


APART: list[tuple[Break, Break]] = [
    (full, no_names), (full, no_provisioner), (full, no_registry), (full, no_mount), (full, never_ready),
    (read_only, no_sealer), (rejected, never_ready), (not_forwarded, not_ready), (owner, never_ready),
    (unopened, crash), (key_missing, never_ready), (no_names, crash), (no_sealer, crash), (owner, no_mount),
    (no_provisioner, no_mount), (no_provisioner, cut_off), (old_settings, cut_off), (old_settings, never_ready),
    (login, no_provisioner), (not_ready, no_registry), (not_ready, crash), (no_service, memory), (wrong_host, crash),
    (switched_off, crash), (volume_owner, no_names), (no_claim, never_ready), (selector, no_registry),
]
"""What the one is cannot come from the other, though both show in the app."""


@pytest.mark.parametrize("pair", APART, ids=lambda pair: f"{pair[0].__name__}+{pair[1].__name__}")
def test_one_cause_does_not_hide_another(contract: Contract, pair: tuple[Break, Break]) -> None:
    live = healthy()
    for change in pair:
        change(live)
    codes = {name.split()[0] for name, (change, *_) in BROKEN.items() if change in pair}
    assert {one.finding.code for one in check(contract, live).faults} >= codes


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].__name__}+{pair[1].__name__}")
def test_two_independent_causes_are_both_named(contract: Contract, pair: tuple[Break, Break]) -> None:
    live = healthy()
    for change in pair:
        change(live)
    codes = {name.split()[0] for name, (change, *_) in BROKEN.items() if change in pair}
    assert {one.finding.code for one in check(contract, live).faults} == codes


def test_a_full_disk_explains_what_follows_from_it(contract: Contract) -> None:
    live = healthy()
    full(live)
    (fault,) = check(contract, live).faults
    subjects = [one.subject for one in fault.symptoms]
    assert f"StatefulSet {NS}/postgres" in subjects and f"the database of Pod {NS}/observer-1" in subjects


def test_git_that_is_right_is_not_to_be_mended(contract: Contract) -> None:
    manifests = load_manifests(ROOT / "manifests" / "overlays" / "local", root=ROOT)
    live = healthy()
    wrong_host(live)
    (fault,) = diagnose(contract, live, manifests=manifests, inventory="inventories/local").faults
    assert fault.finding.place and fault.finding.place.file == "manifests/base/configmaps/observer-config.yaml"
    assert "site.yml -i inventories/local` puts it back" in fault.remedy["en"]


def test_git_that_is_wrong_is(contract: Contract) -> None:
    manifests = load_manifests(ROOT / "manifests" / "overlays" / "local", root=ROOT)
    for item in manifests.objects:
        if item.kind == "ConfigMap":
            item.body["data"]["DB_HOST"] = "db"
    live = healthy()
    wrong_host(live)
    (fault,) = diagnose(contract, live, manifests=manifests).faults
    assert fault.remedy["en"].startswith("Set DB_HOST to postgres in manifests/base/configmaps/observer-config.yaml:")


def test_what_git_has_wrong_and_nothing_breaks_by_is_counted(contract: Contract) -> None:
    manifests = load_manifests(ROOT / "manifests" / "overlays" / "local", root=ROOT)
    for item in manifests.objects:
        if item.kind == "ConfigMap":
            item.body["data"]["DB_HOST"] = "db"
    report = engine.check(contract, manifests=manifests, now=datetime.datetime.now(datetime.UTC))
    found = diagnose(contract, healthy(), manifests=manifests, static_report=report)
    assert found.well and found.deviations
    rendering = next(one for one in found.steps if one.stage is Stage.RENDERING)
    assert f"{found.deviations} violations" in rendering.looked_at[0]


def test_what_a_log_says_of_what_is_over(contract: Contract) -> None:
    live = healthy()
    of(live, "observer")["containers"][0]["log"] = [
        f'{{"level": "ERROR", "message": "{FOLDERS}/config/symbols.json: Permission denied"}}',
        "password authentication failed", "No space left on device"]
    assert check(contract, live).well


def test_failures_of_others_are_no_fault(contract: Contract) -> None:
    outside = finding("EXT-01", "external.kis", Layer.EXTERNAL, None, "KIS API", reason="EGW00103")
    found = diagnose(contract, healthy(), [outside])
    assert found.well and found.notes == (outside,)


def parts(live: Facts) -> Iterator[Facts]:
    """The facts with one thing left out, each."""
    for key in ("cluster", "nodes"):
        yield {**live, key: {} if key == "nodes" else None}
    for key in live["cluster"]:
        yield {**live, "cluster": {name: value for name, value in live["cluster"].items() if name != key}}
    for key in live["nodes"]["n1"]:
        yield {**live, "nodes": {"n1": {name: value for name, value in live["nodes"]["n1"].items() if name != key}}}


def test_whatever_is_missing_nothing_breaks(contract: Contract) -> None:
    for name, (change, *_) in BROKEN.items():
        live = healthy()
        change(live)
        if live["cluster"] and live["nodes"]:
            for part in parts(live):
                assert diagnose(contract, part).steps, name


MANY = (wrong_host, selector, rejected, no_tag, owner, memory, no_group, volume_owner, wrong_path, no_service)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("number", range(1, len(MANY) + 1))
def test_what_is_shown_is_one_screen(contract: Contract, number: int, language: str) -> None:
    """Of every fault that is shown, the command whole; those that are not are counted."""
    live = healthy()
    for change in MANY[:number]:
        change(live)
    found = check(contract, live)
    lines = action().shown(found, language, "ssh n1")
    assert len(lines) <= 20
    typed = [line.split(maxsplit=1)[1] for line in lines if re.match("  (type|명령) ", line)]
    assert typed == [one.command for one in found.faults][:len(typed)] and typed
    text = "\n".join(lines)
    assert all(f"{one.finding.code} [" in text for one in found.faults[:len(typed)])
    left = len(found.faults) - len(typed)
    assert bool(left) == bool(re.search(rf"\b{left} more faults|외 장애 {left}건", text))
    assert all(len(line) <= 78 for line in lines if not re.match("  (type|명령) ", line))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_a_log_says_does_nothing_to_the_terminal(contract: Contract, language: str) -> None:
    """Nor in the result, which is printed with -v."""
    evil = "\x1b]0;title\x07\x1b[2J\x1b[31mERROR\x1b[0m \x9b1mValueError\x08: \u202ea \rbug\x7f"
    live = healthy()
    crashes(live, "observer", 1, evil)
    live["cluster"]["nodes"][0] |= {"ready": False, "why": evil}
    live["cluster"]["sealed_secrets"]["ghcr-secret"] = {"synced": False, "why": evil}
    found = check(contract, live)
    here = action()
    texts = [*map(here.plain, here.shown(found, language, "ssh n1")), str(here.plain(here.described(found, language)))]
    assert "ValueError: a bug" in " ".join(texts[:-1]) and "[31m" not in " ".join(texts)
    assert not [one for one in "".join(texts) if unicodedata.category(one) in ("Cc", "Cf")]


def test_results_that_are_no_facts(contract: Contract) -> None:
    """Of hosts that were not reached, that failed, and of a server that was not asked (``--limit``)."""
    live = action().sorted_out({"n1": {"unreachable": True, "msg": "timed out"}, "n2": {"failed": True, "msg": "sudo"}},
                               {"skipped": True}, "n1")
    assert (live["unreachable"], live["failed"]) == ({"n1": "timed out"}, {"n2": "sudo"})
    assert [one.finding.code for one in check(contract, live).faults] == ["FAULT-01", "FAULT-35"]
    live = action().sorted_out({"n2": {"facts": healthy()["nodes"]["n1"]}}, {}, "n1")
    assert [(one.finding.code, one.finding.subject) for one in check(contract, live).faults] == [("FAULT-35", "n1")]


@functools.cache
def action() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagnose_action", ROOT / "plugins/action/contract_diagnose.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("line", "text"), [
    ("plain", "plain"),
    ('{"level": "ERROR", "logger": "x", "message": "cannot \\"write\\""}', 'ERROR cannot "write"'),
    ('{"timestamp": "2026", "level": "ERROR", "message": "Exception in ASGI application\\n", "exception": "Trace',
     "ERROR Exception in ASGI application"),
    ('{"a": 1}', '{"a": 1}'),
])
def test_a_line_of_a_log(line: str, text: str) -> None:
    assert said(line) == text
