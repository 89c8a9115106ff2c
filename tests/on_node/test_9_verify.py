"""The whole verification as an operator has it: the card, the report, the gates, the disruptive step under load."""

from __future__ import annotations

import base64
import json
import secrets as secrets_of_python
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hands import Run, Site, forwarded, load, sampled, wait_for

NAMESPACE = "observer-local"
WRITER_SECONDS = 40


@pytest.fixture(scope="module")
def provisioned(site: Site) -> Run:
    return site.play().ok()


@pytest.fixture(scope="module")
def secrets(site: Site, provisioned: Run) -> dict[str, str]:
    """Every secret value of the system, by a name to tell it by."""
    found = {}
    for name in ("observer-secrets", "ghcr-secret"):
        data = site.get(f"-n {NAMESPACE} secret {name}")["data"]
        found.update({f"{name}/{key}": base64.b64decode(value).decode() for key, value in data.items()})
    auths = json.loads(found["ghcr-secret/.dockerconfigjson"])["auths"]
    found["the registry's password"] = next(iter(auths.values()))["password"]
    found["K3s' token"] = site.ssh("sudo cat /etc/rancher/k3s/token").strip()
    # Names of users and of the database are no secrets, and are everywhere.
    return {name: value for name, value in found.items() if not name.endswith(("_USER", "_DB", "KIS_HTS_ID"))}


def reports(site: Site) -> list[Path]:
    """The folders of the reports that were kept, the oldest first."""
    return sorted(path for path in (site.folder.parent / "state/observer-node/reports").glob("*/*")
                  if path.is_dir() and not path.is_symlink())


def test_the_card_has_the_verdict(provisioned: Run) -> None:
    lines = provisioned.output.rstrip().splitlines()
    card = lines[max(number for number, line in enumerate(lines) if line.startswith("Done in ")):]
    text = "\n".join(card)
    assert len(card) <= 25, text
    assert "contract" in text and "hold" in text, text


def test_verify_says_that_everything_holds_and_no_secret_is_seen(site: Site, secrets: dict[str, str]) -> None:
    before = len(reports(site))
    with sampled(site.node) as lines:
        run = site.play("-e", "verify_persistence=", playbook="playbooks/verify.yml").ok()
        loud = site.play("-vvv", "-e", "verify_persistence=", playbook="playbooks/verify.yml",
                         environment={"ANSIBLE_STDOUT_CALLBACK": "operator"}).ok()
    assert run.changes == []
    kept = reports(site)[before:]
    assert len(kept) == 2
    names = {path.name for path in kept[0].iterdir()}
    assert {"report.json", "report.md", "report.html", "report.junit.xml", "report.sarif"} <= names
    assert oct(kept[0].stat().st_mode & 0o777) == "0o700"
    report = json.loads((kept[0] / "report.json").read_text())
    assert report["status"] == 0, [one["message"]["en"] for one in report["findings"]]
    assert report["counts"]["broken"] == report["counts"]["unchecked"] == report["counts"]["drift"] == 0
    assert report["counts"]["holds"] > 80
    assert len(lines) > 50
    files = {str(path): path.read_text() for folder in kept for path in folder.iterdir()}
    node = site.ssh("sudo sh -c 'cat /var/lib/observer-node/* 2>/dev/null; journalctl --no-pager -b | tail -3000'")
    for name, value in secrets.items():
        forms = {value, base64.b64encode(value.encode()).decode()}
        for where, text in {"the output": run.output, "-vvv": loud.output, "the record": json.dumps(run.record),
                            "a process list": "\n".join(lines), "the node's own files": node, **files}.items():
            assert not any(form in text for form in forms), f"{name} is in {where}"


STRANGER = "canary"
"""A namespace of somebody else."""


@pytest.fixture
def canaries(site: Site, provisioned: Run) -> Iterator[dict[str, str]]:
    """Secret values where nobody expects them: names that say nothing, a variable of a pod, logs, another namespace."""
    values = {name: f"canary-{name}-{secrets_of_python.token_hex(8)}" for name in ("note", "plain", "key", "log")}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "namespace": STRANGER},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "stranger", "image": "docker.io/rancher/mirrored-library-busybox:1.36.1",
            "command": ["sh", "-c", 'echo "cannot log in to $ADDRESS as $NOTE"; exit 1'],
            "env": [{"name": "ADDRESS", "value": f"postgres://somebody:{values['plain']}@db:5432/x"},
                    {"name": "NOTE", "valueFrom": {"secretKeyRef": {"name": "kept", "key": "note"}}}]}]}}
    site.kubectl("apply -f -", stdin="\n---\n".join(json.dumps(one) for one in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STRANGER}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kept", "namespace": STRANGER},
         "data": {"note": encoded["note"], "log": encoded["log"]}}, pod)))
    # One more key in the app's own Secret, which its containers get as a variable of this name.
    site.kubectl(f"-n {NAMESPACE} patch secret observer-secrets --type=merge -p"
                 f" '{json.dumps({'data': {'REMARK': encoded['key']}})}'")
    try:
        site.kubectl(f"-n {NAMESPACE} rollout restart deployment/observer")
        site.kubectl(f"-n {NAMESPACE} rollout status deployment/observer --timeout=120s", timeout=150)
        wait_for(lambda: site.get(f"-n {STRANGER} pod stranger")["status"]["containerStatuses"][0]["restartCount"],
                 "the stranger has failed")
        yield values
    finally:
        site.kubectl(f"delete namespace {STRANGER} --timeout=60s", timeout=90)
        site.kubectl(f"-n {NAMESPACE} patch secret observer-secrets --type=json -p"
                     """ '[{"op": "remove", "path": "/data/REMARK"}]'""")
        site.kubectl(f"-n {NAMESPACE} rollout restart deployment/observer")
        site.kubectl(f"-n {NAMESPACE} rollout status deployment/observer --timeout=120s", timeout=150)


def test_no_secret_is_seen_wherever_it_is(site: Site, canaries: dict[str, str]) -> None:
    """In what a run prints, keeps, or shows to the other users of the machine."""
    before, inside = len(reports(site)), site.ssh("sudo journalctl --no-pager -b | wc -l")
    with sampled(site.node) as lines:
        runs = [site.play("-vvv", *more, playbook=playbook) for playbook, more in (
            ("playbooks/verify.yml", ("-e", f"verify_persistence={NAMESPACE}")), ("playbooks/diagnose.yml", ()),
            ("site.yml", ()))]
        site.ssh("sudo systemctl start observer-watch.service")
    assert "stranger" in runs[0].output and len(reports(site)) == before + 2
    texts = {"a process list": "\n".join(lines), "the node's own files": site.ssh(
        "sudo sh -c 'cat /var/lib/observer-node/*'"), "the node's journal": site.ssh(
        f"sudo journalctl --no-pager -b | tail -n +{int(inside) + 1}")}
    texts |= {f"output {number}": run.output + json.dumps(run.record) for number, run in enumerate(runs)}
    texts |= {str(path): path.read_text() for folder in reports(site)[before:] for path in folder.iterdir()}
    for name, value in canaries.items():
        for where, text in texts.items():
            for form in (value, base64.b64encode(value.encode()).decode()):
                assert form not in text, f"{name} is in {where}: {text[max(0, text.index(form) - 200):][:240]}"


def test_persistence_has_to_be_asked_for_by_name(site: Site, provisioned: Run) -> None:
    pods = site.kubectl(f"-n {NAMESPACE} get pods -o name")
    refused = site.play("-e", "verify_persistence=observer-prod", playbook="playbooks/verify.yml")
    assert refused.status != 0
    assert "verify_persistence is observer-prod, and the pods are in observer-local" in " ".join(refused.output.split())
    assert site.kubectl(f"-n {NAMESPACE} get pods -o name") == pods


def test_no_data_is_lost_when_pods_are_deleted_under_load(
    site: Site, secrets: dict[str, str], tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    done: list[subprocess.CompletedProcess[str]] = []
    with forwarded(site) as url:
        writer = threading.Thread(target=lambda: done.append(load(
            "run", "--url", url, "--writer", "verify", "--rate", 50, "--size", 200, "--seconds", WRITER_SECONDS,
            "--batch", 5, "--give-up", 120, "--journal", journal)))
        writer.start()
        time.sleep(2)
        with sampled(site.node) as lines:
            run = site.play("-e", f"verify_persistence={NAMESPACE}", playbook="playbooks/verify.yml")
        writer.join()
        run.ok()
        assert done[0].returncode == 0, done[0].stdout + done[0].stderr
        checked = load("check", "--url", url, "--journal", journal, "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)["acknowledged"] > 300
    assert [one for one in run.changes if "deleted" in one], run.changes
    report = json.loads((reports(site)[-1] / "report.json").read_text())
    assert report["status"] == 0, [one["message"]["en"] for one in report["findings"]]
    assert not [name for name, value in secrets.items() if any(value in line for line in lines)]
    result = report["facts"]["persistence"]
    assert result["lost"] == []
    assert result["bytes_per_second"] > 1000
    assert len(result["deleted"]) == 2
    assert result["rows_after"]["public.ingest_records"] >= result["rows_before"]["public.ingest_records"] > 0


def test_a_violation_fails_the_run_and_is_gone_after_it_is_mended(site: Site, provisioned: Run) -> None:
    folder = "/opt/platform/runtime/observer/config"
    site.ssh(f"sudo chown 0:0 {folder}")
    try:
        run = site.play("-e", "verify_persistence=", playbook="playbooks/verify.yml")
        assert run.status != 0
        assert folder in run.output
        report = json.loads((reports(site)[-1] / "report.json").read_text())
        assert report["status"] == 1
        assert any(one["layer"] == "node" and folder in json.dumps(one) for one in report["findings"])
    finally:
        site.ssh(f"sudo chown 1000:1000 {folder}")
    site.play("-e", "verify_persistence=", playbook="playbooks/verify.yml").ok()
    report = json.loads((reports(site)[-1] / "report.json").read_text())
    assert folder in json.dumps(report["facts"]["history"]["mended"])


def test_two_replicas_are_a_finding(site: Site, provisioned: Run) -> None:
    """CF-7: two pods on volumes of one."""
    site.kubectl(f"-n {NAMESPACE} scale deployment/observer --replicas=2")
    try:
        wait_for(lambda: site.get(f"-n {NAMESPACE} deployment observer")["status"].get("readyReplicas") == 2,
                 "two replicas", 120)
        run = site.play("-e", "verify_persistence=", playbook="playbooks/verify.yml")
        assert run.status != 0
        report = json.loads((reports(site)[-1] / "report.json").read_text())
        said = [one["message"]["en"] for one in report["findings"] if one["clause"] == "volumes.sharing"]
        assert said and "2" in said[0], report["findings"]
    finally:
        site.play().ok()


def test_the_gates_name_what_is_missing(site: Site, provisioned: Run) -> None:
    site.play("-e", "verify_persistence=", playbook="playbooks/verify.yml").ok()
    text = (reports(site)[-1] / "report.md").read_text()
    for words in ("Phase 0", "Phase 1", "Phase 2", "24", "Helm"):
        assert words in text
