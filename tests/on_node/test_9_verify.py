"""The whole verification as an operator has it: the card, the report, the gates, the disruptive step under load."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bed import nodes, settings
from hands import Run, Site, wait_for

NAMESPACE = "observer-local"
LOAD = settings.TESTBED / "observer" / "load.py"
WRITER_SECONDS = 40

SAMPLER = """
import glob, sys, time
seen, ends = set(), time.monotonic() + float(sys.argv[1])
while time.monotonic() < ends:
    begun = time.monotonic()
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                seen.add(file.read().replace(b"\\0", b" ").decode(errors="replace"))
        except OSError:
            pass
    time.sleep(max(0, 0.05 - (time.monotonic() - begun)))
    if sys.stdin in __import__("select").select([sys.stdin], [], [], 0)[0]:
        break
print("\\n".join(sorted(seen)))
"""
"""Every command line that there was, looked for 20 times a second until standard input ends."""


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


@contextmanager
def sampled(site: Site) -> Iterator[list[str]]:
    """Command lines of the node and of this machine while the body runs."""
    lines: list[str] = []
    code = site.ssh("cat > /tmp/sampler.py", stdin=SAMPLER)
    assert code == ""
    both = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for argv in (
        [sys.executable, "-c", SAMPLER, "300"], [*nodes.ssh_argv(site.node), "sudo python3 /tmp/sampler.py 300"])]
    time.sleep(0.5)
    try:
        yield lines
    finally:
        for one in both:
            lines += one.communicate("\n", timeout=60)[0].splitlines()
        site.ssh("rm -f /tmp/sampler.py")


def test_the_card_has_the_verdict(provisioned: Run) -> None:
    lines = provisioned.output.rstrip().splitlines()
    card = lines[max(number for number, line in enumerate(lines) if line.startswith("Done in ")):]
    text = "\n".join(card)
    assert len(card) <= 25, text
    assert "contract" in text and "hold" in text, text


def test_verify_says_that_everything_holds_and_no_secret_is_seen(site: Site, secrets: dict[str, str]) -> None:
    before = len(reports(site))
    with sampled(site) as lines:
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


def test_persistence_has_to_be_asked_for_by_name(site: Site, provisioned: Run) -> None:
    pods = site.kubectl(f"-n {NAMESPACE} get pods -o name")
    refused = site.play("-e", "verify_persistence=observer-prod", playbook="playbooks/verify.yml")
    assert refused.status != 0
    assert "verify_persistence is observer-prod, and the pods are in observer-local" in " ".join(refused.output.split())
    assert site.kubectl(f"-n {NAMESPACE} get pods -o name") == pods


@contextmanager
def forwarded(site: Site) -> Iterator[str]:
    """Observer's Service at a port of this machine's loopback."""
    address = site.get(f"-n {NAMESPACE} service observer")["spec"]["clusterIP"]
    port = 18000 + (int.from_bytes(site.node.name.encode(), "big") % 1000)
    argv = nodes.ssh_argv(site.node)
    tunnel = subprocess.Popen([*argv[:-1], "-N", "-L", f"127.0.0.1:{port}:{address}:8000", argv[-1]])
    try:
        time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        tunnel.terminate()
        tunnel.wait()


def load(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(LOAD), *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=300)


def test_no_data_is_lost_when_pods_are_deleted_under_load(site: Site, provisioned: Run, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    done: list[subprocess.CompletedProcess[str]] = []
    with forwarded(site) as url:
        writer = threading.Thread(target=lambda: done.append(load(
            "run", "--url", url, "--writer", "verify", "--rate", 50, "--size", 200, "--seconds", WRITER_SECONDS,
            "--batch", 5, "--give-up", 120, "--journal", journal)))
        writer.start()
        time.sleep(2)
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
