"""From facts to root causes: every code, symptoms under their cause, and whatever part of the facts is there."""

from __future__ import annotations

import copy
import datetime
import functools
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from contract import engine
from contract.checks import finding
from contract.codes import CODES, sentence
from contract.living.diagnose import Diagnosis, Stage, diagnose, said
from contract.manifests import load_manifests
from contract.model import Layer
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
            "claims": list(claims), "pull_secrets": ["ghcr-secret"]}


def workload(kind: str, name: str, context: Facts) -> Facts:
    return {"kind": kind, "namespace": NS, "name": name, "replicas": 1, "ready": 1, "spec": {"template": {
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
            "disks": [{"mount": "/", "bytes": 50 << 30, "free": 40 << 30, "inodes": 1000000, "inodes_free": 900000}],
            "folders": {f"{FOLDERS}/config": {"exists": True, "type": "dir", "uid": 1000, "gid": 1000, "mode": "0755"}},
            "k3s": {"installed": True, "role": "server", "active": "active", "sub": "running", "enabled": "enabled",
                    "log": [], "api": {"answers": True, "why": ""}},
            "certificates": [{"file": "127.0.0.1:6443", "subject": "k3s", "not_after": NOW + 1e7, "served": True}],
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
                           "connects": {"postgres:5432": dict(fine)}}}]}},
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
    unready(live, "data: no space left at /opt/platform/runtime/observer/data", "database: away")


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
    unready(live, f"config: uid 1000 cannot read {FOLDERS}/config")


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
    inside(live)["writes"][f"{FOLDERS}/data"] = {"ok": False, "why": "EACCES Permission denied"}
    unready(live, f"data: uid 1000 cannot write to {FOLDERS}/data")


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
    assert found.steps[[one.verdict for one in found.steps].index("fault")]
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


PAIRS: list[tuple[Break, Break]] = [
    (wrong_host, selector), (owner, k3s_down), (rejected, no_variable), (no_tag, volume_owner), (unopened, full),
    (no_class, no_provisioner), (memory, no_service),
]


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
