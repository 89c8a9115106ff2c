"""Drift on a real node: none after a provision, and every kind of it caused by hand, by name.

What a play finds (`contract_drift`) and what the node's own timer writes down without a controller are compared.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bed import nodes
from hands import Run, Site, wait_for

NS = "observer-local"
STATE = "/var/lib/observer-node"
TEXTFILE = "/var/lib/prometheus/node-exporter"
CANARY = "canary-5b1f7a"

LOOK = """
- hosts: k3s_servers
  gather_facts: false
  become: true
  tasks:
    - name: Look for drift
      contract_drift:
      register: found
    - name: Keep it
      ansible.builtin.copy:
        content: "{{ {'findings': found.findings, 'facts': found.facts} | to_json }}"
        dest: "{{ keep }}"
        mode: "0600"
      delegate_to: localhost
      become: false
"""


@pytest.fixture(scope="module")
def provisioned(site: Site) -> Run:
    """The node as a provision leaves it, with the folder of Debian's node_exporter."""
    site.ssh(f"sudo mkdir -p {TEXTFILE}")
    return site.play().ok()


def play_finds(site: Site, folder: Path) -> dict[str, Any]:
    """What the action finds: code and subject, with the rest of each finding."""
    (folder / "look.yml").write_text(LOOK)
    site.play("-e", f"keep={folder / 'found.json'}", playbook=str(folder / "look.yml"), environment={
        "ANSIBLE_CONFIG": str(Path(__file__).resolve().parents[2] / "ansible.cfg")}).ok()
    text = (folder / "found.json").read_text()
    assert CANARY not in text
    found: dict[str, Any] = json.loads(text)
    return found


def timer_finds(site: Site) -> dict[str, Any]:
    """What the node writes down by itself."""
    site.ssh("sudo systemctl start observer-watch.service")
    found: dict[str, Any] = json.loads(site.ssh(f"cat {STATE}/state.json"))
    return found


def by_code(drifts: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["code"], re.sub(r"^[\w-]+: ", "", one["subject"])) for one in drifts}


def samples(site: Site) -> dict[str, float]:
    families = list(text_string_to_metric_families(site.ssh(f"cat {TEXTFILE}/observer-node.prom")))
    assert families and all(family.documentation and family.type == "gauge" for family in families)
    return {f"{sample.name}{''.join(sample.labels.values()) and sorted(sample.labels.values())}": sample.value
            for family in families for sample in family.samples}


def both(site: Site, folder: Path) -> set[tuple[str, str]]:
    """The play and the timer find the same."""
    played = play_finds(site, folder)
    seen = by_code([one for one in played["findings"] if one["code"].startswith("DRIFT")])
    assert by_code(timer_finds(site)["drift"]) == seen
    return seen


def test_after_a_provision_there_is_none(site: Site, provisioned: Run, tmp_path: Path) -> None:
    assert both(site, tmp_path) == set()
    wait_for(lambda: timer_finds(site)["verdict"] == "agrees", "the node agrees with its provision")
    text = site.ssh(f"cat {STATE}/state.txt")
    assert text.startswith("Everything agrees with the last provision.") and "/health answers" in text
    modes = site.ssh(f"sudo stat -c '%a %U %n' {STATE}/*").split("\n")
    assert f"600 root {STATE}/baseline.json" in modes and f"644 root {STATE}/state.txt" in modes
    assert samples(site)["observer_node_drift['object']"] == 0


def test_the_baseline_has_no_secret(site: Site, provisioned: Run) -> None:
    token = site.ssh("sudo cat /etc/rancher/k3s/token").strip()
    password = site.ssh(f"sudo kubectl -n {NS} get secret observer-secrets -o jsonpath={{.data.DB_PASSWORD}}"
                        " | base64 -d")
    kept = site.ssh(f"sudo cat {STATE}/*")
    assert len(token) > 8 and len(password) > 3 and token not in kept and password not in kept


def test_a_second_run_changes_nothing(site: Site, provisioned: Run) -> None:
    assert site.play().ok().changes == []


def test_the_service_may_write_its_own_files_only(site: Site, provisioned: Run) -> None:
    shown = site.ssh("systemctl show observer-watch.service --property ProtectSystem,IPAddressDeny,MemoryMax,Nice,"
                     "NoNewPrivileges; systemctl is-enabled observer-watch.timer;"
                     " systemctl is-active observer-watch.timer")
    for part in ("ProtectSystem=strict", "NoNewPrivileges=yes", "Nice=15", "MemoryMax=268435456", "enabled", "active"):
        assert part in shown
    assert "IPAddressDeny=0.0.0.0/0" in shown or "IPAddressDeny=::/0" in shown


@pytest.mark.long
def test_a_reboot_is_no_drift(site: Site, provisioned: Run, tmp_path: Path) -> None:
    nodes.reboot(site.node)

    def serves() -> bool:
        return bool(site.ssh(f"sudo kubectl get --raw /api/v1/namespaces/{NS}/services/observer:8000/proxy/ready"))

    wait_for(serves, "Observer serves after the reboot", 180)
    assert both(site, tmp_path) == set()


HANDS = r"""
set -eu
kubectl -n observer-local create configmap by-hand --from-literal=a=b
kubectl -n observer-local create serviceaccount by-hand
kubectl create namespace stray
kubectl -n stray create configmap inside --from-literal=a=b
kubectl -n observer-local scale deployment observer --replicas=0
kubectl -n observer-local set env deployment observer EXTRA=1 SOME_TOKEN=CANARY
kubectl -n observer-local annotate service observer note=hand
kubectl -n observer-local delete networkpolicy postgres
kubectl -n kube-system annotate configmap coredns note=hand
sed -i 's/^vm.overcommit_memory = 1/vm.overcommit_memory = 0/' /etc/sysctl.d/zz-observer-node.conf
chmod 0640 /etc/rancher/k3s/config.yaml
echo '# a stray line' >> /etc/crontab
echo '* * * * * root true' > /etc/cron.d/stray
rm /usr/local/bin/crictl
mkdir -p /tmp/stray/DEBIAN /tmp/stray/etc/cron.d
printf 'Package: stray-package\nVersion: 1.2\nArchitecture: all\nMaintainer: n <n@x.y>\nDescription: x\n' \
  > /tmp/stray/DEBIAN/control
echo /etc/cron.d/stray-package > /tmp/stray/DEBIAN/conffiles
echo '# nothing' > /tmp/stray/etc/cron.d/stray-package
dpkg-deb --build /tmp/stray /tmp/stray.deb
dpkg --install /tmp/stray.deb
systemctl disable cron.service
systemctl mask fstrim.timer
useradd --groups sudo stray
ssh-keygen -q -t ed25519 -N '' -f /tmp/stray-key
cat /tmp/stray-key.pub >> /home/ubuntu/.ssh/authorized_keys
systemd-run --unit stray-listener python3 -m http.server 8099
iptables -I INPUT -p tcp --dport 8099 -j ACCEPT
iptables-legacy -A FORWARD -p tcp --dport 8099 -j ACCEPT
printf '[Service]\nExecStart=/bin/true\n' > /etc/systemd/system/snap.stray.service
""".replace("CANARY", CANARY)

MENDED_BY_A_RUN = {
    ("DRIFT-02", f"Deployment {NS}/observer"), ("DRIFT-02", f"Service {NS}/observer"),
    ("DRIFT-04", f"NetworkPolicy {NS}/postgres"), ("DRIFT-05", "/etc/sysctl.d/zz-observer-node.conf"),
    ("DRIFT-06", "/usr/local/bin/crictl"), ("DRIFT-07", "/etc/rancher/k3s/config.yaml"),
}
ACCEPTED_BY_A_RUN = {
    ("DRIFT-08", "/etc/cron.d/stray"), ("DRIFT-09", "/etc/crontab"), ("DRIFT-10", "stray-package"),
    ("DRIFT-13", "cron.service"), ("DRIFT-13", "fstrim.timer"), ("DRIFT-14", "fstrim.timer"),
    ("DRIFT-15", "user stray"), ("DRIFT-15", "user stray in group sudo"),
    ("DRIFT-17", "tcp 8099 python3"), ("DRIFT-18", "IPv4 filter INPUT: -p tcp -m tcp --dport 8099 -j ACCEPT"),
    ("DRIFT-18", "IPv4-legacy filter FORWARD: -p tcp -m tcp --dport 8099 -j ACCEPT"),
    ("DRIFT-08", "/etc/systemd/system/snap.stray.service"),
}
KEPT = {
    ("DRIFT-01", f"ConfigMap {NS}/by-hand"), ("DRIFT-01", f"ServiceAccount {NS}/by-hand"),
    ("DRIFT-01", "Namespace stray"), ("DRIFT-03", "ConfigMap kube-system/coredns"),
}


@pytest.fixture(scope="module")
def edited(site: Site, provisioned: Run) -> Site:
    """The node after somebody's night."""
    site.ssh("sudo bash -s", stdin=HANDS)
    # Whether it listens, and whether a masked timer has stopped, is up to the programs.
    wait_for(lambda: "8099" in site.ssh("sudo ss -lnt"), "the stray port listens")
    site.ssh("sudo systemctl stop fstrim.timer")
    return site


def test_every_edit_is_found_by_its_name(edited: Site, tmp_path: Path) -> None:
    played = play_finds(edited, tmp_path)
    findings = played["findings"]
    (key,) = {subject for code, subject in by_code(findings) if code == "DRIFT-16"}
    assert key.startswith("user ubuntu: key SHA256:")
    assert by_code(findings) - {("DRIFT-16", key)} == MENDED_BY_A_RUN | (
        ACCEPTED_BY_A_RUN - {("DRIFT-14", "fstrim.timer")}) | KEPT
    edits = {one["values"]["what"]: one for one in findings if one["subject"] == f"Deployment {NS}/observer"}
    assert set(edits) == {"spec.replicas", "spec.template.spec.containers[observer].env[EXTRA].value",
                          "spec.template.spec.containers[observer].env[SOME_TOKEN].value"}
    replicas = edits["spec.replicas"]
    assert (replicas["expected"], replicas["actual"]) == ("1", "0")
    assert all("kubectl-set, 20" in one["values"]["trace"] for what, one in edits.items() if what.endswith(".value"))
    assert all(one["kind"] == "drift" and one["message"]["ko"] and one["values"]["command"] for one in findings)


def test_the_timer_finds_the_same_without_a_controller(edited: Site, tmp_path: Path) -> None:
    seen = both(edited, tmp_path)
    text = edited.ssh(f"cat {STATE}/state.txt; cat {STATE}/state.json; cat {TEXTFILE}/observer-node.prom")
    assert CANARY not in text and CANARY not in edited.ssh(f"sudo cat {STATE}/baseline.json")
    for _, subject in seen:
        assert subject in text
    values = samples(edited)
    assert values["observer_node_drift['package']"] == 1 and values["observer_node_drift['port']"] == 1
    assert values["observer_node_drift['service']"] == 2 and values["observer_node_api_up"] == 1


@pytest.mark.long
def test_the_timer_says_that_k3s_is_stopped(edited: Site) -> None:
    edited.ssh("sudo systemctl stop k3s")
    try:
        state = timer_finds(edited)
        text = edited.ssh(f"cat {STATE}/state.txt")
        values = samples(edited)
    finally:
        edited.ssh("sudo systemctl start k3s")
    assert ("DRIFT-14", "k3s.service") in by_code(state["drift"]) and "DOES NOT ANSWER" in text
    assert [one["about"] for one in state["not_looked_at"]] == ["objects of the cluster"]
    assert values["observer_node_api_up"] == 0 and "observer_node_drift['object']" not in values


def test_the_next_run_mends_what_is_declared(edited: Site, tmp_path: Path) -> None:
    edited.play().ok()
    assert both(edited, tmp_path) == KEPT
    assert edited.get(f"-n {NS} deployment observer")["spec"]["replicas"] == 1


def test_undone_by_hand_nothing_is_left(edited: Site, tmp_path: Path) -> None:
    edited.ssh("sudo bash -s", stdin=f"""
set -u
kubectl -n {NS} delete configmap/by-hand serviceaccount/by-hand
kubectl delete namespace stray
kubectl -n kube-system annotate configmap coredns note-
rm -rf /etc/cron.d/stray /tmp/stray /tmp/stray.deb /tmp/stray-key*
dpkg --purge stray-package; systemctl unmask fstrim.timer; systemctl start fstrim.timer; systemctl enable cron.service
userdel stray; sed -i '$d' /etc/crontab /home/ubuntu/.ssh/authorized_keys
systemctl stop stray-listener; iptables -D INPUT -p tcp --dport 8099 -j ACCEPT
""")
    edited.play().ok()
    assert both(edited, tmp_path) == set()


@pytest.mark.long
def test_switched_off_it_leaves_no_timer(site: Site, provisioned: Run) -> None:
    check = site.play("--check", "-e", "watch_enabled=false").ok().changes
    run = site.play("-e", "watch_enabled=false").ok().changes
    assert check == run and "watch: observer-watch.timer: disabled" in run
    left = site.ssh(f"systemctl list-timers --all --no-legend; sudo find /etc/systemd/system {STATE} {TEXTFILE}")
    assert "observer-watch" not in left and "state.txt" not in left and "observer-node.prom" not in left
    assert "watch: observer-watch.timer: enabled" in site.play().ok().changes
