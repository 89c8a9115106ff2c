"""K3s is taken off a node and put on again, and the data is there: what was left behind is bound again, only that."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hands import Run, Site, forwarded, load

NAMESPACE = "observer-local"
STORAGE = "/opt/local-path-provisioner"
CONFIG = "/opt/platform/runtime/observer/config"
CLAIMS = {"observer-data-pvc", "observer-db-pvc", "observer-logs-pvc", "observer-universe-pvc"}
PLAYBOOK = "playbooks/reset.yml"


@pytest.fixture(scope="module")
def journal(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Observer has acknowledged, and a setting of the operator's."""
    site.play().ok()
    journal = tmp_path_factory.mktemp("journal") / "journal"
    with forwarded(site) as url:
        done = load("run", "--url", url, "--writer", "reset", "--rate", 50, "--size", 200, "--seconds", 3, "--batch", 5,
                    "--give-up", 60, "--journal", journal)
    assert done.returncode == 0, done.stdout + done.stderr
    site.ssh(f"sudo touch {CONFIG}/kept.json")
    return journal


def assert_nothing_is_lost(site: Site, journal: Path) -> None:
    with forwarded(site) as url:
        done = load("check", "--url", url, "--journal", journal, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["acknowledged"] > 50
    assert "kept.json" in site.ssh(f"sudo ls {CONFIG}")


def reset(site: Site, *arguments: str) -> Run:
    return site.play("-e", f"reset_confirm={site.node.name}", *arguments, playbook=PLAYBOOK)


def folders(site: Site) -> dict[str, list[str]]:
    """Folders of volumes by claim."""
    found: dict[str, list[str]] = {claim: [] for claim in CLAIMS}
    for name in site.ssh(f"sudo ls {STORAGE}").split():
        found[name.rpartition("_")[2]].append(name)
    return found


def leftovers(site: Site) -> list[str]:
    """What of K3s and of the watch can still be seen."""
    found = site.snapshot()
    interfaces = site.ssh("ls /sys/class/net; ls /run/netns 2>/dev/null || true").split()
    mounts = site.ssh("awk '{print $2}' /proc/mounts").split()
    return [
        *(line for line in found["files"] if re.search(r"rancher/.|kubelet/.|/cni|k3s|kubectl|crictl|r-watch", line)
          and not line.startswith(("/usr/share/", "/usr/lib/", "/var/lib/dpkg/", "/home/"))),
        # The packet filter's unit comes before K3s', whether there is one or not.
        *(line for line in found["units"] if re.search(r"k3s|observer-watch", line) and not line.endswith("inactive")),
        *(line for line in found["firewall"] if re.search(r"KUBE|FLANNEL|CNI|NETPOL", line)),
        *(name for name in found["processes"] if re.search(r"k3s|containerd|kube|pause|postgres|coredns", name)),
        *(name for name in interfaces if re.search(r"cni|flannel|veth", name)),
        *(path for path in mounts if re.search(r"kubelet/.|rancher/.|k3s|netns", path)),
        *site.ssh("ls -d /run/k3s /run/flannel /run/containerd 2>/dev/null || true").split(),
    ]


def assert_refused(site: Site, run: Run, *words: str) -> None:
    said = " ".join(run.output.split())
    assert run.status != 0 and run.changes == []
    assert all(one in said for one in words), run.output


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "reset_confirm is empty, and this would remove the cluster of"),
    (("-e", "reset_confirm=another"), "reset_confirm is another, and this would remove the cluster of"),
    (("-e", "reset_confirm={name}", "-e", "reset_data=../etc"), "reset_data is ../etc: give names of claims"),
    (("-e", "reset_confirm={name}", "-e", "reset_date=all"), "reset_date"),
    (("-e", "reset_confirm={name}", "-e", "node_storage_path=/var/lib/kubelet"),
     "local_path_folder is /var/lib/kubelet, and a reset deletes /var/lib/kubelet"),
])
def test_refused(site: Site, journal: Path, arguments: tuple[str, ...], words: str) -> None:
    run = site.play(*(one.format(name=site.node.name) for one in arguments), playbook=PLAYBOOK)
    assert_refused(site, run, words)
    assert site.ssh("systemctl is-active k3s").strip() == "active"


def test_k3s_goes_without_a_trace_and_the_data_stays(site: Site, journal: Path) -> None:
    before = folders(site)
    planned = reset(site, "--check").ok()
    assert site.ssh("systemctl is-active k3s").strip() == "active"
    done = reset(site).ok()
    assert done.changes == planned.changes
    assert leftovers(site) == []
    assert folders(site) == before and all(len(names) == 1 for names in before.values())
    assert reset(site).ok().changes == []
    assert reset(site, "--check").ok().changes == []


def test_the_same_command_brings_it_back_with_its_data(site: Site, journal: Path) -> None:
    before = folders(site)
    planned = site.play("--check").ok()
    run = site.play().ok()
    assert sorted(planned.changes) == sorted(run.changes)
    assert len([one for one in run.changes if re.search(r"Volume \S+: created for claim", one)]) == len(CLAIMS)
    assert folders(site) == before
    assert_nothing_is_lost(site, journal)
    assert site.play().ok().changes == []
    assert "verdict  PASS" in site.play("-e", "verify_persistence=", playbook="playbooks/verify.yml").ok().output


def test_volumes_of_a_deleted_namespace_are_bound_again(site: Site, journal: Path) -> None:
    before = folders(site)
    site.kubectl(f"delete namespace {NAMESPACE} --wait=false")
    planned = site.play("--check").ok()
    run = site.play().ok()
    assert sorted(planned.changes) == sorted(run.changes)
    assert len([one for one in run.changes if ": free for claim" in one]) == len(CLAIMS)
    assert folders(site) == before
    assert_nothing_is_lost(site, journal)


def test_of_two_that_hold_data_somebody_has_to_choose(site: Site, journal: Path) -> None:
    """An empty one beside it is passed over."""
    right = folders(site)["observer-db-pvc"][0]
    other = f"pvc-00000000-0000-4000-8000-000000000000_{NAMESPACE}_observer-db-pvc"
    empty = f"pvc-00000000-0000-4000-8000-000000000000_{NAMESPACE}_observer-data-pvc"
    site.ssh(f"sudo mkdir -m 770 {STORAGE}/{other} {STORAGE}/{empty} && sudo touch {STORAGE}/{other}/one")
    site.kubectl(f"delete namespace {NAMESPACE}")
    assert_refused(site, site.play(), f"2 folders could be claim {NAMESPACE}/observer-db-pvc's", right, other, "1 file",
                   "Nothing was changed", "observer_volumes: {observer-db-pvc: ")
    assert_refused(site, site.play("-e", json.dumps({"observer_volumes": {"observer-db-pvc": "none"}})),
                   "the folder none, and /opt/local-path-provisioner has no such folder")
    assert "NotFound" in site.ssh(f"sudo kubectl get namespace {NAMESPACE} 2>&1 || true")
    run = site.play("-e", json.dumps({"observer_volumes": {"observer-db-pvc": right}})).ok()
    assert f"{STORAGE}/{empty} is empty" in " ".join(run.output.split())
    assert_nothing_is_lost(site, journal)
    assert site.play().ok().changes == []
    site.ssh(f"sudo rm -r {STORAGE}/{other} {STORAGE}/{empty}")


def test_what_was_begun_by_hand_is_finished_and_only_what_is_named_is_deleted(site: Site, journal: Path) -> None:
    """K3s is killed and its unit gone, so its containers can only be stopped on the node."""
    before = folders(site)
    site.ssh("sudo rm /etc/systemd/system/k3s.service && sudo systemctl daemon-reload;"
             " sudo systemctl kill --signal=SIGKILL --kill-whom=main k3s; sleep 1; sudo rm -r /var/lib/cni")
    assert "postgres" in site.snapshot()["processes"]
    done = reset(site, "-e", "reset_data=observer-logs-pvc,config").ok()
    assert [one for one in done.changes if "with its data" in one] == [
        f"Servers: {path}: removed, with its data"
        for path in (f"{STORAGE}/{before['observer-logs-pvc'][0]}", CONFIG)]
    assert folders(site) == {**before, "observer-logs-pvc": []}
    # PostgreSQL has shut down, and was not cut off.
    database = f"{STORAGE}/{before['observer-db-pvc'][0]}/pgdata"
    assert "postmaster.pid" not in site.ssh(f"sudo ls {database}")
    assert leftovers(site) == []
    assert reset(site, "-e", "reset_data=observer-logs-pvc,config").ok().changes == []
