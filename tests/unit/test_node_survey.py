"""The module `node_survey`: what it reads, and every refusal with what has to be there for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
import yaml

from modules import ROOT, action_plugin, load, run

ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
module = load("node_survey")

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\n'
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /tmp rw,nosuid - tmpfs tmpfs rw
24 22 8:2 / /srv/a\\040disk rw - ext4 /dev/sdb1 ro
25 22 8:3 / {disk} rw - ext4 /dev/sdc1 rw
26 25 0:6 / {disk}/tmp rw - tmpfs tmpfs rw
"""
ASKED: dict[str, Any] = {
    "systems": {"debian": ["12"], "ubuntu": ["22.04", "24.04"]}, "architectures": ["aarch64", "x86_64"],
    "memory_mib": 4096, "clock_reference": 0, "clock_tolerance_seconds": 30, "timezone": "Asia/Seoul", "modules": [],
    "services_off": [], "services_kept": ["iscsid.*", "cloud-*", "ssh.*"], "swap": False, "packet_filter": None,
    "storage_free_gib": 0, "ssh_port": 22,
}
FILTER: dict[str, Any] = {
    "pod_cidr": "10.42.0.0/16", "service_cidr": "10.43.0.0/16", "pod_interfaces": ["cni0"], "closed_tcp_ports": [6443],
    "closed_udp_ports": [], "port_range": "30000-32767", "trusted_sources": [], "link_local_dns": [],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An Ubuntu machine."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for name, text in {
        "etc/os-release": UBUNTU, "proc/self/mountinfo": MOUNTS.format(disk=disk), "etc/ufw/ufw.conf": "ENABLED=no\n",
        "proc/meminfo": "MemTotal:       24105000 kB\nMemAvailable:   1000000 kB\nSwapTotal: 8000000 kB\n"
                        "SwapFree: 6000000 kB\nHugePages_Total:       0\n",
        "usr/lib/systemd/system/chrony.service": "", "etc/fstab": "LABEL=root / ext4 defaults 0 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/localtime").symlink_to("../usr/share/zoneinfo/Asia/Seoul")
    return tmp_path


def refused(found: list[Any], *parts: str) -> str:
    """The one refusal, which has all these parts; returns its remedy."""
    assert len(found) == 1, found
    assert all(part in found[0].msg for part in parts), found[0].msg
    assert found[0].msg.endswith(".") and found[0].remedy.endswith(".")
    return str(found[0].remedy)


# --- what it reads ------------------------------------------------------------------------------


def test_a_machine(root: Path) -> None:
    node = module.survey(root)
    assert {name: node[name] for name in ("system", "version", "memory_mib", "memory_available_mib", "swap_used_mib",
                                          "container", "systemd", "timezone", "time_service", "filter_rival", "marked")
            } == {"system": "ubuntu", "version": "24.04", "memory_mib": 23540, "memory_available_mib": 976,
                  "swap_used_mib": 1953, "container": "", "systemd": True, "timezone": "Asia/Seoul",
                  "time_service": "chrony.service", "filter_rival": "", "marked": False}
    assert node["architecture"] == os.uname().machine and abs(node["clock"] - time.time()) < 5


def test_a_container_that_is_marked(root: Path) -> None:
    (root / "run/systemd/container").write_text("podman\n")
    (root / "etc/observer-node").mkdir()
    node = module.survey(root)
    assert (node["container"], node["swap_used_mib"], node["marked"]) == ("podman", 0, True)


def test_an_empty_root(tmp_path: Path) -> None:
    node = module.survey(tmp_path)
    assert (node["system"], node["version"], node["systemd"], node["time_service"]) == ("", "", False, "")


def test_this_machine_by_the_module() -> None:
    result = run("node_survey", storage_path="/opt/not/there/yet", clock_reference=time.time())
    assert {refusal["msg"] for refusal in result["refusals"]} <= {"systemd does not run on the node."}
    assert result["node"]["storage"]["free_bytes"] > 0
    assert result["ansible_facts"]["architecture"] == os.uname().machine


def process(root: Path, number: str, parent: str, **environment: str) -> None:
    folder = root / "proc" / number
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environ").write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in environment.items()))
    (folder / "status").write_text(f"Name:\tpython3\nPPid:\t{parent}\n")


def test_the_port_of_the_session_is_found_behind_sudo(root: Path) -> None:
    process(root, "self", "30", SUDO_USER="ubuntu")
    process(root, "30", "20", PATH="/bin", SSH_CONNECTION="203.0.113.9 50000 10.0.0.4 2222", HOME="/home/ubuntu")
    process(root, "20", "1", SSH_CONNECTION="203.0.113.9 40000 10.0.0.4 22")
    assert module.ssh_port(root) == 2222
    process(root, "30", "1", SSH_CONNECTION="odd")
    process(root, "1", "0")
    assert module.ssh_port(root) == 0
    (root / "proc/1/environ").unlink()
    assert module.ssh_port(root) == 0


def test_the_port_of_a_real_session_without_its_variable() -> None:
    """A parent that has it, a child that does not, as sudo leaves it."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests/unit')!r}); import test_node_survey as test;" \
           "from pathlib import Path; print(test.module.ssh_port(Path('/')))"
    done = subprocess.run(
        ["sh", "-c", 'env -u SSH_CONNECTION "$@"; true', "sh", sys.executable, "-c", code], check=True, text=True,
        capture_output=True, env={**os.environ, "SSH_CONNECTION": "203.0.113.9 50000 10.0.0.4 2222"})
    assert done.stdout.strip() == "2222"


def test_networks_are_those_of_addresses_and_connected_routes() -> None:
    """In a network namespace of the test's own."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests/unit')!r}); import json, test_node_survey as test;" \
           "from pathlib import Path; print(json.dumps(test.module.networks(Path('/'))))"
    script = """
        ip link set lo up; ip link add eth7 type veth peer name far; ip link set eth7 up; ip link set far up
        ip address add 10.0.0.4/24 dev eth7; ip address add 10.43.0.9/32 dev eth7
        ip route add 172.20.0.0/16 dev eth7; ip route add 10.42.1.0/24 via 10.0.0.5; ip route add default via 10.0.0.1
        ip route add unreachable 10.99.0.0/16
        exec "$@" """
    done = subprocess.run(["unshare", "--net", "sh", "-ec", script, "sh", sys.executable, "-c", code],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = sorted((place["interface"], place["network"]) for place in json.loads(done.stdout))
    assert found == [("eth7", "10.0.0.0/24"), ("eth7", "10.43.0.9/32"), ("eth7", "172.20.0.0/16"),
                     ("lo", "127.0.0.0/8")]


# --- refusals -----------------------------------------------------------------------------------


def test_nothing_is_refused(root: Path) -> None:
    node = module.survey(root)
    fits = {**ASKED, "architectures": [node["architecture"]], "swap": True, "services_off": ["cups.service"]}
    assert module.refuse_system(node, fits) == module.refuse_memory(node, fits) == []
    assert module.refuse_clock(node, fits) == module.refuse_kernel(node, fits) == module.refuse_services(fits) == []
    here = {**node, "ssh_port": 22, "networks": [{"interface": "eth0", "network": "10.0.0.0/24"}]}
    assert module.refuse_filter(here, {**fits, "packet_filter": FILTER}) == []


@pytest.mark.parametrize(("release", "name"), [
    (UBUNTU.replace("24.04", "20.04"), "Ubuntu 20.04.3 LTS"), (UBUNTU.replace("ID=ubuntu", "ID=mint"), "Ubuntu 24.04"),
    ("", "a system without /etc/os-release"),
])
def test_system(root: Path, release: str, name: str) -> None:
    (root / "etc/os-release").write_text(release)
    if not release:
        (root / "etc/os-release").unlink()
    found = module.refuse_system(module.survey(root), {**ASKED, "architectures": None})
    refused(found, name, "supported are debian 12, ubuntu 22.04, ubuntu 24.04")


def test_architecture_systemd_and_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = {**module.survey(root), "architecture": "riscv64"}
    refused(module.refuse_system(node, ASKED), "architecture riscv64", "aarch64, x86_64")
    refused(module.refuse_system({**node, "architecture": "aarch64", "systemd": False}, ASKED), "systemd does not run")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    remedy = refused(module.refuse_system({**node, "architecture": "aarch64"}, ASKED), "do not run as root")
    assert "ansible_become" in remedy


def test_memory(root: Path) -> None:
    node = module.survey(root)
    asked = {**ASKED, "memory_mib": 30000, "swap": True}
    assert "node_memory_mib" in refused(module.refuse_memory(node, asked), "23540 MiB", "asks for 30000")
    assert "node_swap" in refused(module.refuse_memory(node, ASKED), "1953 MiB are in swap", "only 976 MiB")


@pytest.mark.parametrize(("off", "words"), [(3600, "3600 s ahead of"), (-31, "31 s behind")])
def test_clock(root: Path, off: float, words: str) -> None:
    node = {**module.survey(root), "clock": 1_800_000_000.0 + off}
    asked = {**ASKED, "clock_reference": 1_800_000_000.0}
    assert "timedatectl" in refused(module.refuse_clock(node, asked), words, "node_clock_tolerance_seconds allows 30")
    assert module.refuse_clock({**node, "clock": 1_800_000_000.0 + off / abs(off) * 30}, asked) == []


def test_time_zone(root: Path) -> None:
    assert "node_timezone" in refused(module.refuse_clock(module.survey(root), {**ASKED, "timezone": "Asia/Soul"}),
                                      "node_timezone: the node knows no time zone Asia/Soul")


def test_modules(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "modprobe").write_text("#!/bin/sh\n[ \"$*\" = '--dry-run --quiet -- overlay' ]\n")
    (root / "modprobe").chmod(0o755)
    monkeypatch.setattr(module, "SEARCH_PATH", str(root))
    found = module.refuse_kernel(module.survey(root), {**ASKED, "modules": ["overlay", "no_such_module"]})
    assert "linux-modules" in refused(found, f"the kernel {os.uname().release} has no module no_such_module.")


def test_without_modprobe(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEARCH_PATH", "/nonexistent")
    refused(module.refuse_kernel(module.survey(root), {**ASKED, "modules": ["overlay"]}), "no modprobe")


def test_somebody_else_in_charge_of_the_packet_filter(root: Path) -> None:
    asked = {**ASKED, "packet_filter": FILTER}
    (root / "etc/ufw/ufw.conf").write_text("# settings\nENABLED=yes\n")
    remedy = refused(module.refuse_filter(module.survey(root), asked), "ufw is in charge")
    assert "ufw disable" in remedy and "node_firewall: false" in remedy
    assert module.refuse_filter(module.survey(root), ASKED) == []
    (root / "etc/ufw/ufw.conf").unlink()
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "firewalld.service").symlink_to("/lib/systemd/system/firewalld.service")
    remedy = refused(module.refuse_filter(module.survey(root), asked), "firewalld is in charge")
    assert "disable --now firewalld" in remedy


def test_rules_that_cannot_be(root: Path) -> None:
    """Here and not when they are put in place, because then the node is changed already."""
    asked = {**ASKED, "packet_filter": {**FILTER, "closed_tcp_ports": ["6443", "api"]}}
    remedy = refused(module.refuse_filter(module.survey(root), asked), "node_closed_tcp_ports: 'api' is neither a port")
    assert remedy.startswith("Correct node_closed_tcp_ports: give numbers")


@pytest.mark.parametrize(("session", "asked_for", "changed", "variable", "port"), [
    (22, 2222, {"closed_tcp_ports": ["6443", "20-25"]}, "node_closed_tcp_ports: 20-25", "22"),
    (0, 2222, {"closed_tcp_ports": [2222]}, "node_closed_tcp_ports: 2222", "2222"),
    (30022, 22, {}, "node_port_range: 30000-32767", "30022"),
])
def test_ansible_does_not_shut_itself_out(
    root: Path, session: int, asked_for: int, changed: dict[str, Any], variable: str, port: str,
) -> None:
    node = {**module.survey(root), "ssh_port": session, "networks": []}
    asked = {**ASKED, "packet_filter": {**FILTER, **changed}, "ssh_port": asked_for}
    remedy = refused(module.refuse_filter(node, asked), f"{variable} would close port {port}, by which Ansible is")
    assert remedy.startswith(f"Take {port} out of {variable.partition(':')[0]}, or")
    assert module.refuse_filter(node, {**asked, "packet_filter": None}) == []


@pytest.mark.parametrize(("interface", "network", "words"), [
    ("ens3", "10.42.7.0/24", "node_pod_cidr: 10.42.0.0/16 overlaps 10.42.7.0/24 on ens3"),
    ("ens3", "10.0.0.0/8", "node_pod_cidr: 10.42.0.0/16 overlaps 10.0.0.0/8 on ens3"),
    ("lo", "10.43.0.1/32", "node_service_cidr: 10.43.0.0/16 overlaps 10.43.0.1/32 on lo"),
    ("cni0", "10.42.0.0/24", ""), ("flannel.1", "10.42.0.0/32", ""), ("ens3", "10.44.0.0/24", ""),
])
def test_networks_of_the_node_are_not_closed(root: Path, interface: str, network: str, words: str) -> None:
    node = {**module.survey(root), "networks": [{"interface": interface, "network": network}] * 2}
    asked = {**ASKED, "packet_filter": {**FILTER, "pod_interfaces": ["cni0", "flannel+"]}}
    if network == "10.0.0.0/8":
        pods, services = module.refuse_filter(node, asked)
        assert services.msg.startswith("node_service_cidr")
        refused([pods], words)
    elif words:
        assert f"Set {words.partition(':')[0]} to a network" in refused(module.refuse_filter(node, asked), words)
    else:
        assert module.refuse_filter(node, asked) == []


def test_the_settings_file_comes_after_all_others() -> None:
    """At boot the last one wins; Debian's 99-sysctl.conf is /etc/sysctl.conf."""
    text = yaml.safe_load((ROOT / "roles/node/vars/main.yml").read_text())["__node_files"]
    names = [Path(file["path"]).name for file in text if Path(file["path"]).parent.name == "sysctl.d"]
    assert len(names) == 1 and names[0].endswith(".conf") and names[0] > "99-sysctl.conf"


@pytest.mark.parametrize("unit", ["iscsid.service", "iscsid.socket", "cloud-init.service", "ssh.socket"])
def test_services_that_must_stay(unit: str) -> None:
    refused(module.refuse_services({**ASKED, "services_off": ["cups.service", unit]}), unit, "must stay on")


def test_a_service_without_its_kind() -> None:
    assert "cups.service" in refused(module.refuse_services({**ASKED, "services_off": ["cups"]}), "cups does not say")


# --- storage ------------------------------------------------------------------------------------


def look(root: Path, path: Path | str, **asked: object) -> tuple[list[Any], list[str]]:
    found: tuple[list[Any], list[str]] = module.refuse_storage(
        module.storage(str(path), root), {**ASKED, **asked}, root)
    return found


def test_storage_that_is_not_there_yet_takes_the_file_system_of_its_nearest_parent(root: Path) -> None:
    place = module.storage(str(root / "disk/volumes/of/pods"), root)
    assert (place["mount"], place["filesystem"], place["exists"]) == (str(root / "disk"), "ext4", False)
    assert look(root, root / "disk/volumes/of/pods") == ([], [])


def test_storage_that_a_reboot_would_empty(root: Path) -> None:
    (root / "disk/tmp").mkdir()
    refused(look(root, root / "disk/tmp/volumes")[0], "node_storage_path", "disk/tmp (tmpfs)", "reboot")


def test_storage_through_a_link_is_where_the_link_leads(root: Path) -> None:
    (root / "disk/tmp").mkdir()
    (root / "volumes").symlink_to(root / "disk/tmp")
    refused(look(root, root / "volumes")[0], "tmpfs")


def test_storage_on_what_cannot_be_written(root: Path) -> None:
    text = (root / "proc/self/mountinfo").read_text()
    (root / "proc/self/mountinfo").write_text(text.replace("/dev/sdc1 rw", "/dev/sdc1 ro"))
    refused(look(root, root / "disk/volumes")[0], "read-only")


def test_storage_that_goes_with_k3s(root: Path) -> None:
    assert "node_storage_path" in refused(look(root, "/var/lib/rancher/k3s/storage")[0], "/var/lib/rancher")
    assert look(root, "/var/lib/rancher-volumes") == ([], [])


def test_storage_on_a_disk_that_is_not_mounted(root: Path) -> None:
    (root / "etc/fstab").write_text("LABEL=data /opt/platform ext4 nofail 0 2\n# LABEL=x /opt ext4 defaults 0 0\n")
    assert "mount /opt/platform" in refused(look(root, "/opt/platform/storage")[0], "/opt/platform is in /etc/fstab")
    assert look(root, "/opt/platform2/storage") == ([], [])


def test_room_is_what_is_free_and_what_the_volumes_have(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "disk/volumes/pvc-1"
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(b"x" * 3 * 1024**2)
    (folder / "sparse").open("w").truncate(50 * 1024**3)
    place = {**module.storage(str(root / "disk/volumes"), root), "free_bytes": 0}
    gib = 3 / 1024
    assert module.refuse_storage(place, {**ASKED, "storage_free_gib": gib}, root) == ([], [])
    found, _ = module.refuse_storage(place, {**ASKED, "storage_free_gib": gib + 1}, root)
    remedy = refused(found, "0.0 GiB are free", "1.0 GiB are missing", "node_storage_free_gib")
    assert "Make room on" in remedy
    # On a disk of its own the file system has counted already.
    own = {**place, "mount": place["path"], "used_bytes": 2 * 1024**3}
    monkeypatch.setattr(module, "in_use", None)
    assert module.refuse_storage(own, {**ASKED, "storage_free_gib": 2}, root) == ([], [])
    assert module.refuse_storage({**place, "free_bytes": 1024**3}, {**ASKED, "storage_free_gib": 1}, root) == ([], [])


def test_counting_ends(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At enough, and at the end of its time; then the node is let through with a word."""
    for number in range(50):
        (root / f"disk/{number}").mkdir()
        (root / f"disk/{number}/file").write_bytes(b"x" * 100_000)
    assert 400_000 <= module.in_use(str(root / "disk"), 400_000) < 1_000_000
    assert module.in_use(str(root / "disk"), 1024**4) >= 5_000_000
    assert module.in_use(str(root / "disk"), 1024**4, seconds=0) is None
    monkeypatch.setattr(module, "in_use", lambda folder, enough: None)
    place = {**module.storage(str(root / "disk"), root), "free_bytes": 0, "mount": "/"}
    found, warnings = module.refuse_storage(place, {**ASKED, "storage_free_gib": 36}, root)
    assert found == [] and "could not be counted" in warnings[0]


# --- all at once --------------------------------------------------------------------------------


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    result = run("node_survey", systems={"plan9": ["4"]}, architectures=["vax"], memory_mib=10**9,
                 clock_reference=1_000_000_000, timezone="Asia/Soul", services_off=["iscsid.service"],
                 services_kept=["iscsid.*"], storage_path="/var/lib/rancher/x", storage_free_gib=10**6)
    assert result["failed"] and result.get("changed", False) is False
    words = [" ".join(refusal["msg"].split()[:4]) for refusal in result["refusals"]]
    assert len(result["refusals"]) == len(set(words)) >= 8
    for refusal in result["refusals"]:
        assert refusal["msg"][1:] in result["msg"] and refusal["remedy"] in result["remedy"]


SLOW: list[tuple[float, list[str]]] = [(-31, ["clock"]), (-29, []), (5, []), (39, []), (41, ["clock"])]
"""Seconds by which the node's clock is ahead of the moment when it was asked; it took ten to answer."""


@pytest.mark.parametrize(("ahead", "refused_for"), SLOW)
@pytest.mark.parametrize("other", [False, True])
def test_what_the_answer_takes_is_no_error_of_the_clock(
    root: Path, ahead: float, refused_for: list[str], other: bool,
) -> None:
    """The module knows when it was asked alone; the action knows when the answer came."""
    action = action_plugin("node_survey")
    asked = 1_800_000_000.0
    node = {**module.survey(root), "clock": asked + ahead}
    refusals = module.refuse_clock(node, {**ASKED, "clock_reference": asked})
    if other:
        refusals.append(module.Refusal("node_memory_mib is too much.", "Take less."))
    result = {"node": node, "changed": False, "refusals": [one._asdict() for one in refusals]}
    if refusals:
        result.update(failed=True, msg=" ".join(module.sentence(one.msg) for one in refusals),
                      remedy=" ".join(one.remedy for one in refusals))
    left = action.without_delay(result, asked, asked + 10, 30)
    assert len(left["refusals"]) == len(refused_for) + other
    assert left.get("failed", False) is bool(refused_for or other)
    assert ("clock" in left.get("msg", "")) is ("timedatectl" in left.get("remedy", "")) is bool(refused_for)
    assert ("memory" in left.get("msg", "")) is other


@pytest.mark.parametrize(("clock", "off"), [(90.0, -10.0), (100.0, 0.0), (155.0, 0.0), (160.0, 0.0), (200.0, 40.0)])
def test_the_clock_is_compared_with_the_nearest_moment_of_the_look(clock: float, off: float) -> None:
    assert clock - action_plugin("contract_node").nearest(clock, 100.0, 160.0) == off
