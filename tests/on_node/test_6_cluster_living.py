"""contract_cluster on a real cluster: a healthy one, and deviations that are caused by hand, named and undone."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from test_6_node import agent  # noqa: F401

from hands import ROOT, Site, wait_for

SPACE = "observer-local"
CALLS, SECONDS = 15, 5.0
"""For a healthy cluster."""

WORDS = ("DB_USER", "POSTGRES_USER", "POSTGRES_DB")
"""Keys whose value is the app's own name, which everything is called by."""

GIT_IS_RIGHT = "Git has it right, and the cluster runs something else."


def look(site: Site) -> dict[str, Any]:
    """The result of contract_cluster, which is given the facts of contract_node."""
    answer, playbook = site.folder.parent / "cluster.json", site.folder.parent / "cluster.yml"
    playbook.write_text(yaml.safe_dump([{
        "name": "Look", "hosts": "k3s_servers", "gather_facts": False, "become": True, "tasks": [
            {"name": "Look at the node", "contract_node": {"contract": str(ROOT / "contracts/observer.yml")},
             "register": "node"},
            {"name": "Look at the cluster", "register": "found", "contract_cluster": {
                "contract": str(ROOT / "contracts/observer.yml"), "namespace": SPACE,
                "manifests": str(ROOT / "manifests/overlays/local"), "beside": ["{{ secrets_output_dir }}"],
                "nodes": "{{ {inventory_hostname: node.facts} }}"}},
            {"name": "Keep what was found", "delegate_to": "localhost", "become": False,
             "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(answer), "mode": "0600"}},
        ]}]))
    site.play(playbook=str(playbook)).ok()
    found: dict[str, Any] = json.loads(answer.read_text())
    # The machine that carries the node may be so busy that probes are late, and that is told of.
    found["findings"] = [one for one in found["findings"] if (one["code"], one["actual"]) != ("LIVE-40", "Unhealthy")]
    return found


def codes(found: dict[str, Any]) -> list[str]:
    return [one["code"] for one in found["findings"]]


def only(found: dict[str, Any], code: str) -> dict[str, Any]:
    """The one finding that there is."""
    assert codes(found) == [code], [(one["code"], one["message"]["en"]) for one in found["findings"]]
    one: dict[str, Any] = found["findings"][0]
    return one


def line_of(one: dict[str, Any]) -> str:
    """The line in git that a finding names."""
    lines: list[str] = (ROOT / one["place"]["file"]).read_text().splitlines()
    return lines[int(one["place"]["line"]) - 1]


def patch(what: str, change: object, kind: str = "merge") -> str:
    return f"-n {SPACE} patch {what} --type={kind} -p {shlex.quote(json.dumps(change))}"


@contextmanager
def until_the_next_run(site: Site, *lines: str) -> Iterator[None]:
    """What somebody does by hand, until `site.yml` puts it right, after which there is nothing to find."""
    for line in lines:
        site.kubectl(line)
    try:
        yield
    finally:
        site.play().ok()
    assert look(site)["findings"] == []


def anew(site: Site, secret: str = "observer-secrets") -> None:
    """Delete a Secret, and wait until its SealedSecret has made it again."""
    site.kubectl(f"-n {SPACE} delete secret {secret}")
    wait_for(lambda: site.get(f"-n {SPACE} secret {secret}")["data"], f"Secret {secret} made anew", 30)


@pytest.fixture(scope="module")
def provisioned(site: Site) -> Site:
    site.play().ok()
    return site


def test_a_healthy_cluster_has_no_finding(provisioned: Site) -> None:
    found = look(provisioned)
    assert found["findings"] == [], [one["message"]["en"] for one in found["findings"]]
    facts = found["facts"]
    assert facts["errors"] == [] and facts["calls"] <= CALLS and facts["seconds"] < SECONDS
    verdicts = {verdict for pod in facts["environment"].values() for one in pod.values() for verdict in one.values()}
    assert verdicts == {"same"} and len(facts["environment"]) == 2
    assert facts["http"]["/health"]["status"] == facts["http"]["/ready"]["status"] == 200
    assert all(volume["folder"] for volume in facts["volumes"]) and facts["jsonl"]["files"] > 0


def test_no_value_of_a_secret_leaves_the_node(provisioned: Site) -> None:
    told = json.dumps(look(provisioned))
    for name in ("observer-secrets", "ghcr-secret"):
        for key, value in provisioned.get(f"-n {SPACE} secret {name}")["data"].items():
            if key not in WORDS:
                plain = base64.b64decode(value).decode()
                assert value not in told and plain not in told and json.dumps(plain)[1:-1] not in told, key


def test_a_workload_that_was_edited(provisioned: Site) -> None:
    """CF-7, fixed contract 4: both are the rules of the files, applied to what runs."""
    with until_the_next_run(provisioned, patch("deployment observer", {
            "spec": {"replicas": 2, "template": {"spec": {"securityContext": {"fsGroup": 0}}}}})):
        found = {one["code"]: one for one in look(provisioned)["findings"]}
        assert {"LIVE-54", "LIVE-55"} <= set(found)
        wrong = found["LIVE-55"]
        assert wrong["clause"] == "permissions.observer.fsGroup" and wrong["layer"] == "deployment"
        assert GIT_IS_RIGHT in wrong["message"]["en"] and "inventories/local" in wrong["remedy"]["en"]
        assert "fsGroup: 1000" in line_of(wrong) and "2 replicas on RWO PVC" in found["LIVE-54"]["message"]["en"]


@pytest.mark.long
def test_settings_that_the_processes_do_not_have(provisioned: Site) -> None:
    with until_the_next_run(provisioned, patch("configmap observer-config", {
            "data": {"LOG_LEVEL": "DEBUG", "DB_HOST": "db"}})):
        found = {one["code"]: one for one in look(provisioned)["findings"]}
        assert set(found) == {"LIVE-32", "LIVE-52"}
        assert found["LIVE-32"]["values"]["variables"] == "DB_HOST, LOG_LEVEL"
        assert found["LIVE-52"]["actual"] == "db" and "DB_HOST: postgres" in line_of(found["LIVE-52"])


@pytest.mark.long
def test_a_service_that_selects_nobody(provisioned: Site) -> None:
    with until_the_next_run(provisioned, patch("service observer", {"spec": {"selector": {"app": "nobody"}}})):
        one = only(look(provisioned), "LIVE-34")
        assert "its selector app=nobody fits no pod" in one["message"]["en"]
        assert "run `ansible-playbook site.yml -i inventories/local`" in one["remedy"]["en"]


@pytest.mark.long
def test_a_tag_that_the_registry_does_not_have(provisioned: Site) -> None:
    tag = "ghcr.io/tawbury/observer:build-20990101-000000"

    def refused() -> bool:
        pods = provisioned.get(f"-n {SPACE} pods -l app=observer")["items"]
        return any("PullBackOff" in json.dumps(pod["status"]) or "ErrImagePull" in json.dumps(pod["status"])
                   for pod in pods)

    with until_the_next_run(provisioned, f"-n {SPACE} set image deployment/observer observer={tag}"):
        wait_for(refused, "the pull is refused")
        found = {one["code"]: one for one in look(provisioned)["findings"]}
        assert set(found) == {"LIVE-15", "LIVE-39"}, "Service and pages follow from it"
        assert "Git names ghcr.io/tawbury/observer:build-" in found["LIVE-15"]["remedy"]["en"]
        assert "newTag" in line_of(found["LIVE-15"])


@pytest.mark.long
def test_a_seal_that_cannot_be_opened(provisioned: Site) -> None:
    broken = {"spec": {"encryptedData": {".dockerconfigjson": "AgBrokenbroken"}}}

    def looked_at() -> bool:
        status = provisioned.get(f"-n {SPACE} sealedsecret ghcr-secret")
        return bool(status["status"]["observedGeneration"] == status["metadata"]["generation"])

    with until_the_next_run(provisioned, patch("sealedsecret ghcr-secret", broken)):
        wait_for(looked_at, "the controller has looked at it", 30)
        one = only(look(provisioned), "LIVE-30")
        assert "illegal base64" in one["message"]["en"] and "playbooks/secrets.yml" in one["remedy"]["en"]


@pytest.mark.long
def test_a_key_that_was_taken_out_of_a_secret(provisioned: Site) -> None:
    provisioned.kubectl(patch("secret observer-secrets", [{"op": "remove", "path": "/data/KIS_HTS_ID"}], "json"))
    try:
        one = only(look(provisioned), "LIVE-27")
        assert one["expected"] == "KIS_HTS_ID" and "its SealedSecret has the key" in one["remedy"]["en"]
    finally:
        anew(provisioned)  # what the remedy says
    assert look(provisioned)["findings"] == []


@pytest.mark.long
def test_a_key_that_kis_refuses_is_nobodys_fault(provisioned: Site) -> None:
    """Seed 001's verdict: an external failure, no violation. Before the pod is started anew, it has the older value."""
    value = base64.b64encode(b"not-a-key-that-kis-knows").decode()
    provisioned.kubectl(patch("secret observer-secrets", {"data": {"KIS_APP_KEY": value}}))
    restart = f"-n {SPACE} delete pod -l app=observer --wait=true"
    available = f"-n {SPACE} wait --for=condition=available deployment/observer --timeout=60s"
    try:
        older = only(look(provisioned), "LIVE-31")
        assert older["values"]["variables"] == "KIS_APP_KEY"
        assert "rollout restart deployment/observer" in older["remedy"]["en"]
        provisioned.kubectl(restart)
        provisioned.kubectl(available)
        found = look(provisioned)
        one = only(found, "EXT-01")
        assert one["kind"] == "external" and "EGW00103" in one["message"]["en"]
        assert "not-a-key-that-kis-knows" not in json.dumps(found)
    finally:
        anew(provisioned)
        provisioned.kubectl(restart)
        provisioned.kubectl(available)
    assert look(provisioned)["findings"] == []


def test_volumes_that_nobody_uses(provisioned: Site) -> None:
    folder = "/opt/local-path-provisioner"
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "old-data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "local-path",
        "persistentVolumeReclaimPolicy": "Retain", "local": {"path": f"{folder}/old-data"},
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": SPACE, "name": "gone",
                     "uid": "00000000-0000-0000-0000-000000000001"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["obs-local"]}]}]}}}}
    orphan = f"{folder}/pvc-00000000-0000-0000-0000-000000000002_{SPACE}_forgotten"
    provisioned.ssh(f"sudo mkdir {folder}/old-data {orphan};"
                    f" sudo dd if=/dev/zero of={orphan}/x bs=1M count=3 status=none")
    provisioned.kubectl("apply -f -", stdin=json.dumps(volume))
    try:
        wait_for(lambda: provisioned.get("pv old-data")["status"]["phase"] == "Released", "the volume is released", 30)
        found = {one["code"]: one for one in look(provisioned)["findings"]}
        assert set(found) == {"LIVE-24", "LIVE-25"} and {one["kind"] for one in found.values()} == {"drift"}
        assert found["LIVE-25"]["values"]["size"].startswith("3") and found["LIVE-25"]["subject"] == orphan
        assert found["LIVE-24"]["values"]["claim"] == f"{SPACE}/gone"
    finally:
        provisioned.kubectl("delete pv old-data")
        provisioned.ssh(f"sudo rm -r {folder}/old-data {orphan}")
    assert look(provisioned)["findings"] == []


@pytest.mark.long
def test_k3s_that_does_not_run(provisioned: Site) -> None:
    provisioned.ssh("sudo systemctl stop k3s")
    try:
        found = look(provisioned)
        one = only(found, "LIVE-01")
        assert "connection refused" in one["message"]["en"] and found["facts"]["calls"] <= 2
        assert found["facts"]["pods"] == [] and one["layer"] == "cluster"
    finally:
        provisioned.ssh("sudo systemctl start k3s")
    wait_for(lambda: look(provisioned)["findings"] == [], "the cluster is well again", 120)


@pytest.mark.usefixtures("agent")
@pytest.mark.long
def test_a_server_and_an_agent(provisioned: Site) -> None:
    """A cluster of two nodes is well; the app that is sent to the one that has not its volumes is not (CF-7)."""
    wait_for(lambda: "obs-local-2   Ready" in provisioned.kubectl("get nodes"), "the agent is ready", 120)
    found = look(provisioned)
    assert found["findings"] == [] and found["facts"]["calls"] <= CALLS
    assert [node["ready"] for node in found["facts"]["nodes"]] == [True, True]

    def pending() -> bool:
        pods = provisioned.get(f"-n {SPACE} pods -l app=observer")["items"]
        return "didn't match" in json.dumps([pod["status"].get("conditions") for pod in pods])

    with until_the_next_run(provisioned, patch("deployment observer", {"spec": {"template": {"spec": {
            "nodeSelector": {"kubernetes.io/hostname": "obs-local-2"}}}}})):
        wait_for(pending, "the scheduler has looked at the pod")
        by_code = {one["code"]: one for one in look(provisioned)["findings"]}
        assert set(by_code) == {"LIVE-13", "LIVE-58"} and GIT_IS_RIGHT in by_code["LIVE-58"]["message"]["en"]
        assert "node affinity" in by_code["LIVE-13"]["message"]["en"]
