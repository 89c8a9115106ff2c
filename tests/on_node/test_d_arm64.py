"""The whole job on an emulated arm64 machine: what a container that shares its host's kernel cannot show.

The tests go on from one another, on one machine. Its inventory differs from a container node's in address and URLs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from test_1_site import NAMESPACE, serving

from bed import local, machines, nodes, services, settings
from bed.__main__ import build_machine
from conftest import fresh
from drill.protected import Protected
from hands import LOAD, ROOT, Run, Site, forwarded, load, node_name, wait_for

PLAY_SECONDS = 3600
WAIT_SECONDS = 1200
"""Everything takes some ten times as long as on a container node, and more on a machine that does other things too."""

FIGURES = settings.folders().cache / "arm64.json"


@dataclass
class Figures:
    """What was measured, written down after each figure: a run that breaks off has the ones before."""

    seconds: dict[str, float] = field(default_factory=dict)
    memory_mib: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    def write(self) -> None:
        FIGURES.write_text(json.dumps(self.__dict__, indent=2) + "\n")

    def took(self, what: str, since: float) -> None:
        """Seconds from a moment of :func:`time.monotonic` until now."""
        self.seconds[what] = round(time.monotonic() - since, 1)
        self.write()

    def against(self, what: str, here: float, container: float) -> None:
        """How many times what a container node takes."""
        self.ratios[what] = round(here / container, 1)
        self.write()


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures()


def newest(machine: machines.Machine) -> str:
    """The snapshot that a run goes on from; empty for a run from the beginning.

    With ``KEEP_NODES`` a machine and its inventory stay, for whoever works on a role or on these tests: the next run
    goes on from its snapshot `converged`, or from `bare`.
    """
    kept = machines.snapshots(machine) if os.environ.get("KEEP_NODES") else []
    return next((name for name in ("converged", "bare") if name in kept), "")


@pytest.fixture(scope="module")
def machine(figures: Figures) -> Iterator[machines.Machine]:
    """A bare machine with an OCI image's rules, from which nothing beyond the bed's network can be reached."""
    name = node_name("m")
    paths = build_machine()
    kept = next((old for old in machines.everyone() if old.name == name), None)
    if kept and newest(kept):
        machines.resume(kept, newest(kept))
        machine = kept
    else:
        if kept:
            machines.down(kept)
        started = time.monotonic()
        machine = machines.up(machines.plan(name, oci_firewall=True), paths)
        figures.took("first boot to SSH", started)
        figures.seconds["snapshot `bare` kept"] = round(machines.save(machine, "bare"), 1)
    yield machine
    if not os.environ.get("KEEP_NODES"):
        machines.down(machine)


@pytest.fixture(scope="module")
def site(machine: machines.Machine, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The machine and its inventory."""
    kept = bool(os.environ.get("KEEP_NODES"))
    folder = machine.folder / "tests" if kept else tmp_path_factory.mktemp(machine.name)
    if newest(machine) == "converged":
        return Site(machine, folder / "inventory", {"XDG_STATE_HOME": str(folder / "state"), **machines.PATIENCE})
    shutil.rmtree(folder, ignore_errors=True)
    site = Site.local(machine, folder, k3s_node_name="obs-local")
    site.play(playbook="playbooks/secrets.yml").ok()
    return site


@pytest.fixture(scope="module")
def provisioned(site: Site, figures: Figures) -> Run:
    """The first run. What a plan says beforehand is shown on container nodes, in less time."""
    if newest(machine_of(site)) == "converged":
        return Run(0, "", 0.0)
    run = play(site)
    print(run.output)
    run.ok()
    figures.seconds["first provision"] = round(run.seconds, 1)
    figures.memory_mib["the machine's, used, Observer running"] = used_memory(site)
    figures.memory_mib["the emulator's, resident"] = resident(machine_of(site))
    known = json.loads((ROOT / "bench" / "results.json").read_text())
    figures.against("first provision", run.seconds, known["first_provision"]["seconds"])
    return run


def play(site: Site, *arguments: str, playbook: str = "site.yml") -> Run:
    """A playbook on a slow machine: the roles wait longer, which is said on the command line."""
    return site.play(*machines.PATIENT, *arguments, playbook=playbook, timeout=PLAY_SECONDS)


def machine_of(site: Site) -> machines.Machine:
    assert isinstance(site.node, machines.Machine)
    return site.node


def used_memory(site: Site) -> float:
    return float(site.ssh("awk '/MemTotal/ {t=$2} /MemAvailable/ {a=$2} END {print int((t-a)/1024)}' /proc/meminfo"))


def resident(machine: machines.Machine) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{machines.pid(machine)}/status").read_text())
    assert found
    return round(int(found[1]) / 1024)


def ready(site: Site) -> bool:
    """Whether the node is Ready by a heartbeat of its present boot."""
    node = site.get("node obs-local")
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])


def back(site: Site, what: str) -> None:
    """Wait until Observer answers, whatever happened to the machine."""
    wait_for(lambda: ready(site) and serving(site), what, WAIT_SECONDS)


def verified(site: Site) -> Run:
    """Verification without deleting pods."""
    return play(site, "-e", "verify_persistence=", playbook="playbooks/verify.yml").ok()


@contextmanager
def writing(url: str, journal: Path, writer: str) -> Iterator[subprocess.Popen[bytes]]:
    """Records sent while the body runs; the journal of what was acknowledged lies on this machine."""
    process = subprocess.Popen(
        [sys.executable, str(LOAD), "run", "--url", url, "--writer", writer, "--rate", "10", "--batch", "5",
         "--size", "200", "--seconds", "3600", "--give-up", "2", "--journal", str(journal)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()


# --- the bare machine -----------------------------------------------------------------------------


def test_the_bare_machine_is_what_a_container_cannot_be(site: Site) -> None:
    assert site.ssh("uname -m; stat -f -c %T /sys/fs/cgroup; ps -o comm= 1").split() == [
        "aarch64", "cgroup2fs", "systemd"]
    assert not site.ssh("systemd-detect-virt --container || true").strip().removesuffix("none")
    # Its own kernel, with its own modules, of which none of Kubernetes' is loaded yet.
    assert "br_netfilter" not in site.ssh("cat /proc/modules")
    assert "filename" in site.ssh("/sbin/modinfo br_netfilter") and "nf_tables" in site.ssh("sudo iptables --version")


def test_the_providers_rules_are_there_from_boot(site: Site) -> None:
    rules = site.ssh("sudo iptables -S").splitlines()
    assert "-A FORWARD -j REJECT --reject-with icmp-host-prohibited" in rules
    assert sum(line.startswith("-A InstanceServices") for line in rules) > 10
    assert site.ssh("systemctl is-active netfilter-persistent").strip() == "active"


def test_the_network_is_closed(site: Site) -> None:
    """The mirror answers; what is beyond it does not, this machine's other addresses among it."""
    assert site.ssh(f"curl -fsS -o /dev/null -w '%{{http_code}}' {services.mirror_url()}/") == "200"
    assert "default via" in site.ssh("ip route")
    outside = json.loads(subprocess.run(["ip", "-json", "-4", "address", "show", "scope", "global"], check=True,
                                        capture_output=True, text=True).stdout)
    addresses = [one["local"] for link in outside if link["ifname"] != settings.BRIDGE for one in link["addr_info"]]
    line = "; ".join(f"ping -c 1 -W 2 {address} >/dev/null 2>&1 && echo open || echo closed"
                     for address in [*addresses, "192.0.2.1"])
    assert set(site.ssh(line).split()) == {"closed"}


# --- provisioned ----------------------------------------------------------------------------------


def test_it_serves_and_is_verified(site: Site, provisioned: Run, figures: Figures) -> None:
    back(site, "Observer serves")
    verified(site)
    started = time.monotonic()
    machines.save(machine_of(site), "converged")
    figures.took("snapshot `converged` kept", started)


def test_everything_runs_as_arm64(site: Site, provisioned: Run) -> None:
    """The architecture's own files were chosen, downloaded and run: K3s, images, restic's path is the backups' part."""
    assert site.get("node obs-local")["status"]["nodeInfo"]["architecture"] == "arm64"
    assert re.search(r"arm64", site.ssh("ls /var/lib/rancher/k3s/agent/images"))
    assert "amd64" not in site.ssh("ls /var/lib/rancher/k3s/agent/images")
    # The ELF header's machine: 0xb7 is aarch64.
    for name in ("kube", "kine", "containerd", "runc"):
        line = f"sudo sh -c 'od -An -t x1 -j 18 -N 1 /var/lib/rancher/k3s/data/*/bin/{name} | head -1'"
        assert site.ssh(line).strip() == "b7", name
    for one in ("deployment/observer", "statefulset/postgres"):
        assert site.kubectl(f"-n {NAMESPACE} exec {one} -- uname -m").strip() == "aarch64"


def test_unified_cgroups_with_the_systemd_driver(site: Site, provisioned: Run) -> None:
    config = json.loads(site.kubectl("get --raw /api/v1/nodes/obs-local/proxy/configz"))["kubeletconfig"]
    assert config["cgroupDriver"] == "systemd"
    assert "SystemdCgroup = true" in site.ssh(
        "sudo cat /var/lib/rancher/k3s/agent/etc/containerd/config.toml")
    limits = site.ssh("sudo sh -c 'cat /sys/fs/cgroup/kubepods.slice/*/*/*/memory.max"
                      " /sys/fs/cgroup/kubepods.slice/*/*/memory.max'").split()
    wanted = {container["resources"]["limits"]["memory"]
              for pod in site.get(f"-n {NAMESPACE} pods")["items"] for container in pod["spec"]["containers"]}
    assert {str(in_bytes(one)) for one in wanted} <= set(limits)


def in_bytes(quantity: str) -> int:
    """A quantity of Kubernetes with a binary suffix, or none."""
    units = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
    return int(quantity[:-2]) * units[quantity[-2:]] if quantity[-2:] in units else int(quantity)


def test_a_second_run_changes_nothing(site: Site, provisioned: Run, figures: Figures) -> None:
    again = play(site).ok()
    assert again.changes == []
    figures.seconds["second run"] = round(again.seconds, 1)
    figures.against("second run", again.seconds,
                    json.loads((ROOT / "bench" / "results.json").read_text())["rerun"]["seconds"])


def test_swap_modules_and_settings_of_a_kernel_of_its_own(site: Site, provisioned: Run) -> None:
    """Edited by hand where no other machine minds, and brought back: real swap, a module, values of the kernel."""
    site.ssh("sudo sh -c 'fallocate -l 64M /swapfile && chmod 600 /swapfile && mkswap -q /swapfile &&"
             " swapon /swapfile && echo \"/swapfile none swap sw 0 0\" >> /etc/fstab &&"
             " sysctl -qw vm.overcommit_memory=0 kernel.panic=0'")
    assert "/swapfile" in site.ssh("cat /proc/swaps")
    mended = play(site).ok()
    assert "/swapfile" not in site.ssh("cat /proc/swaps; cat /etc/fstab")
    assert site.ssh("sysctl -n vm.overcommit_memory kernel.panic").split() == ["1", "10"]
    text = "\n".join(mended.changes)
    assert len(mended.changes) >= 3, text
    for words in ("swap", "vm.overcommit_memory", "kernel.panic"):
        assert words in text, text
    site.ssh("sudo rm /swapfile")
    modules = site.ssh("cat /proc/modules")
    assert "br_netfilter" in modules and "overlay" in modules


# --- power ----------------------------------------------------------------------------------------


def test_a_reboot_brings_everything_back(site: Site, provisioned: Run, figures: Figures) -> None:
    rules = site.ssh("sudo iptables -S InstanceServices")
    settings_before = site.ssh("sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward")
    started = time.monotonic()
    machines.reboot(machine_of(site))
    figures.took("reboot to SSH", started)
    back(site, "Observer after a reboot")
    figures.took("reboot to Observer", started)
    assert site.ssh("sudo iptables -S InstanceServices") == rules
    assert site.ssh("sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward") == settings_before
    assert site.ssh("cat /proc/swaps").splitlines()[1:] == []
    verified(site)
    assert play(site, "--check").ok().changes == []


def test_k3s_starts_before_the_network_has_an_address(site: Site, provisioned: Run) -> None:
    """Without a carrier at boot, and nobody who waits for one: K3s finds no address until the cable is in."""
    machine = machine_of(site)
    site.ssh("sudo systemctl mask --quiet systemd-networkd-wait-online.service")
    machines.stop(machine)
    machines.power_on(machine, cable=False)
    # Longer than a boot takes: see what the journal says of it below.
    time.sleep(120)
    machines.set_cable(machine, True)
    machines.wait_for_ssh(machine)
    try:
        assert site.ssh("systemctl show k3s -p NRestarts -p ActiveState") != ""
        tried = site.ssh("sudo journalctl -b -u k3s --no-pager -o short-monotonic")
        print(tried[:3000])
        back(site, "Observer after a boot without an address")
        verified(site)
    finally:
        site.ssh("sudo systemctl unmask --quiet systemd-networkd-wait-online.service")


def test_a_power_cut_under_load_loses_no_acknowledged_record(
    site: Site, provisioned: Run, figures: Figures, tmp_path: Path,
) -> None:
    machine, journal = machine_of(site), tmp_path / "cut"
    with forwarded(site) as url, writing(url, journal, "cut"):
        wait_for(lambda: journal.is_file() and journal.read_text().count("acknowledged") >= 10, "a load", WAIT_SECONDS)
        machines.cut(machine)
    started = time.monotonic()
    machines.start(machine)
    figures.took("power cut, start to SSH", started)
    # The file system was in use, and was made good before it was written to.
    log = site.ssh("sudo journalctl -b --no-pager -o cat | grep -iE 'recover|journal|fsck|clean' | head -30")
    assert re.search(r"recover", log), log
    back(site, "Observer after a power cut")
    figures.took("power cut, start to Observer", started)
    with forwarded(site) as url:
        done = load("check", "--url", url, "--journal", journal, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    print(json.dumps(report)[:600])
    verified(site)
    assert play(site).ok().changes == []


# --- snapshots ------------------------------------------------------------------------------------


def test_a_machine_that_slept_has_an_old_clock_and_copes(
    site: Site, provisioned: Run, figures: Figures, tmp_path: Path,
) -> None:
    """Resumed from a snapshot: leases are out of date when the clock jumps, and nothing needs a hand."""
    machine = machine_of(site)
    machines.save(machine, "asleep")
    time.sleep(60)
    machines.cut(machine)
    started = time.monotonic()
    machines.power_on(machine, snapshot="asleep")
    machines.wait_for_ssh(machine)
    figures.took("snapshot to SSH", started)
    behind = time.time() - float(site.ssh("date +%s.%N"))
    assert behind > 30, behind
    # A controller with the right time does not go on with such a machine.
    refused = play(site)
    assert refused.status != 0 and "clock" in refused.output, refused.output
    machines.set_clock(machine)
    back(site, "Observer after a sleep")
    figures.took("snapshot to Observer, clock set", started)
    assert play(site).ok().changes == []


def test_how_slow_it_is(site: Site, provisioned: Run, figures: Figures) -> None:
    """The processor's part of it, as ratios to this machine."""
    program = "import time; b=time.perf_counter(); sum(i*i for i in range(10**6)); print(time.perf_counter()-b)"
    here = min(float(subprocess.run(["python3", "-c", program], check=True, capture_output=True, text=True).stdout)
               for _ in range(3))
    there = min(float(site.ssh(f"python3 -c '{program}'")) for _ in range(3))
    figures.against("a loop in Python", there, here)
    assert there > here


# --- another architecture's backup ----------------------------------------------------------------

REPOSITORY = "/srv/observer-repository"
OTHERS = "arm64/observer-local"


def test_a_backup_of_an_amd64_node_is_restored_on_arm64(
    machine: machines.Machine, figures: Figures, parts: dict[str, Path], tmp_path: Path,
) -> None:
    """PostgreSQL's files are the same on both: a physical base backup and its log go from one to the other.

    The repository is a folder, carried over by hand, so that no third machine is needed.
    """
    node = fresh(node_name("n"), parts, oci_firewall=True, outward=False)
    site = Site.local(node, tmp_path / "site", k3s_node_name="obs-local")
    variables: dict[str, object] = {
        "k3s_node_name": "obs-local", "backup_repository": REPOSITORY, "backup_mode": "archive", "backup_off": "",
        "backup_identity": OTHERS, "vault_backup_password": "of-another-architecture"}
    site.hosts(**variables)
    site.play(playbook="playbooks/secrets.yml").ok()
    site.play("-e", f"backup_first_start={node.name}").ok()
    before = Protected(site, node, node.name, variables)
    # What an architecture could tell apart: signs of bytes, numbers of all widths, text in order, inverted indexes.
    before.sql(DATA_OF_ALL_KINDS)
    journal = tmp_path / "journal"
    with forwarded(site) as url:
        assert load("run", "--url", url, "--writer", "amd64", "--rate", 50, "--batch", 5, "--size", 200, "--count", 500,
                    "--journal", journal).returncode == 0
    before.backup()
    tables, order = before.tables(), before.sql(IN_ORDER)
    before.job("ship")
    moved = tmp_path / "repository.tar"
    with moved.open("wb") as file:
        subprocess.run([*nodes.ssh_argv(node), f"sudo tar -C / -cf - {REPOSITORY[1:]}"], stdout=file, check=True)
    nodes.down(node)

    machines.resume(machine, "bare")
    with moved.open("rb") as file:
        subprocess.run([*nodes.ssh_argv(machine), "sudo tar -C / -xf -"], stdin=file, check=True)
    shutil.copy(local.describe(machine), tmp_path / "site" / "state" / "observer-node" / "bed.json")
    site.environment.update(machines.PATIENCE)
    site.node = machine
    (site.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"observer": {"children": {
        "k3s_servers": {"hosts": {node.name: {**variables, "ansible_host": machine.name}}}, "k3s_agents": {}}}}}}))
    started = time.monotonic()
    run = play(site)
    figures.took("restore of an amd64 backup, site.yml", started)
    back(site, f"Observer with the data of another machine\n{run.output}")
    after = Protected(site, machine, node.name, variables)
    assert {name: one for name, one in after.tables().items() if name in tables and name != "public.quotes"} == {
        name: one for name, one in tables.items() if name != "public.quotes"}
    assert after.sql(IN_ORDER) == order
    with forwarded(site) as url:
        done = load("check", "--url", url, "--journal", journal, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    # By the C library of this architecture the text is sorted as it was, and every index is whole.
    assert after.sql("SELECT datcollversion IS NOT DISTINCT FROM pg_database_collation_actual_version(oid)"
                     " FROM pg_database WHERE datname = current_database()") == "t"
    assert after.sql(CHECKED) == ""
    assert after.sql(BY_INVERTED_INDEX) == "1"
    assert after.sql("SHOW server_version_num").startswith("15")


DATA_OF_ALL_KINDS = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;
CREATE TABLE kinds (id bigint PRIMARY KEY, small smallint, wide numeric, exact double precision, one "char", word text,
                    at timestamptz, bytes bytea, document jsonb);
INSERT INTO kinds SELECT n, (n % 60000 - 30000), n::numeric / 7, sqrt(n), chr((n % 127 + 1)::int)::"char",
    md5(n::text) || ' ' || chr((n % 1000 + 44032)::int) || chr((n % 100 + 192)::int), to_timestamp(n * 1000),
    decode(md5(n::text), 'hex'), jsonb_build_object('n', n, 'word', chr((n % 1000 + 44032)::int))
    FROM generate_series(1, 20000) n;
CREATE INDEX kinds_word ON kinds (word);
CREATE INDEX kinds_wide ON kinds (wide, exact, small);
CREATE INDEX kinds_one ON kinds (one);
CREATE INDEX kinds_trigram ON kinds USING gin (word gin_trgm_ops);
CREATE INDEX kinds_hash ON kinds USING hash (word);
CREATE INDEX kinds_document ON kinds USING gin (document);
"""
IN_ORDER = "SELECT md5(string_agg(word, ',' ORDER BY word, id)) FROM kinds"
CHECKED = """
CREATE EXTENSION IF NOT EXISTS amcheck;
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'btree' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid
    LOOP PERFORM bt_index_check(index => one.oid, heapallindexed => true); END LOOP;
END $$;
"""
BY_INVERTED_INDEX = """
SET enable_seqscan = off;
SELECT count(*) FROM kinds WHERE word LIKE '%' || substr(md5('777'), 3, 25) || '%';
"""
