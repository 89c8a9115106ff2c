"""A planned move under load: another machine goes on with all that was acknowledged, and the old one does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bed import nodes, services
from conftest import fresh
from hands import LOAD, Run, Site, forwarded, load, node_name, wait_for

pytestmark = pytest.mark.long

NAMESPACE = "observer-local"
PLAYBOOK = "playbooks/move.yml"
UNITS = "observer-backup-*"


def say_hosts(site: Site, name: str, keeper: nodes.Node, **variables: object) -> None:
    """An inventory whose server has this name, whatever machine it is, with a machine that keeps its backups."""
    server = {"ansible_host": site.node.name, "k3s_node_name": "obs-local", "backup_repository": "backup_host:",
              "backup_mode": "stream", "backup_off": "", "backup_files_minutes": 2,
              "vault_backup_password": "of-a-move", **variables}
    there = {"provision_node_address": keeper.address, "ansible_user": "ubuntu",
             "ansible_ssh_common_args": f"-F {services.state() / 'ssh' / 'config'}"}
    (site.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {
        "observer": {"children": {"k3s_servers": {"hosts": {name: server}}, "k3s_agents": {}}},
        "backup_hosts": {"hosts": {keeper.name: there}}}}}))


def provision(site: Site, *arguments: str) -> None:
    """``site.yml``, and the new WAL's first base backup.

    On a slow machine that is not there when all is verified, which is then done again.
    """
    run = site.play(*arguments)
    good = re.compile(r"The backups are good\..*^base +good", re.DOTALL | re.MULTILINE)
    wait_for(lambda: good.match(site.ssh("cat /var/lib/observer-node/backup/state.txt")),
             f"there is a base backup after\n{run.output}")
    if run.status:
        assert "BACKUP-01" in run.output, run.output
        site.play(playbook="playbooks/verify.yml").ok()


@pytest.fixture(scope="module")
def keeper(parts: dict[str, Path]) -> Iterator[nodes.Node]:
    node = fresh(node_name("k"), parts)
    yield node
    nodes.down(node)


@pytest.fixture(scope="module")
def old(parts: dict[str, Path], keeper: nodes.Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node whose backups are good."""
    node = fresh(node_name("m"), parts, oci_firewall=True, outward=False)
    site = Site.local(node, tmp_path_factory.mktemp(node_name("m")))
    say_hosts(site, node.name, keeper)
    site.play(playbook="playbooks/secrets.yml").ok()
    provision(site, "-e", f"backup_first_start={node.name}")
    yield site
    nodes.down(node)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Observer has acknowledged, on this machine."""
    return tmp_path_factory.mktemp("journal") / "journal"


def move(site: Site, *arguments: str) -> Run:
    return site.play("-e", f"move_confirm={node_name('m')}", *arguments, playbook=PLAYBOOK)


@contextmanager
def written_into(site: Site, journal: Path) -> Iterator[None]:
    """Records are written while the body runs, as long as Observer takes them."""
    had = acknowledged(journal)
    with forwarded(site, NAMESPACE) as url:
        writer = subprocess.Popen([sys.executable, str(LOAD), "run", "--url", url, "--writer", "move", "--rate", "50",
                                   "--batch", "5", "--seconds", "600", "--journal", str(journal)],
                                  stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: acknowledged(journal) > had + 50, "records are acknowledged")
            yield
        finally:
            writer.terminate()
            writer.wait()


def acknowledged(journal: Path) -> int:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return sum(high - low + 1 for line in lines if '"acknowledged"' in line and "ranges" in line
               for low, high in json.loads(line)["ranges"])


def assert_nothing_is_lost(site: Site, journal: Path) -> None:
    with forwarded(site, NAMESPACE) as url:
        done = load("check", "--url", url, "--journal", journal, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["acknowledged"] == acknowledged(journal)
    for store in report["stores"].values():
        assert (store["lost_count"], store["duplicated"], store["damaged"]) == (0, 0, 0), report


def pods(site: Site) -> list[str]:
    return site.kubectl(f"-n {NAMESPACE} get pods -o name").split()


def running(site: Site) -> list[str]:
    """Jobs of the backups that run, wait for their time, or would do so after a reboot."""
    return sorted({line.split()[0] for line in site.ssh(
        f"systemctl list-units --plain --no-legend --state=active,activating '{UNITS}';"
        f" systemctl list-unit-files --plain --no-legend --state=enabled '{UNITS}' || true").splitlines()})


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "move_confirm is empty, and this would stop Observer on"),
    (("-e", "move_confirm=another"), "move_confirm is another, and this would stop Observer on"),
    (("-e", "backup_repository="), "backup_repository is empty, so there is nothing that another machine could go on"),
    (("-e", "move_conform=x"), "move_conform"),
])
def test_refused(old: Site, arguments: tuple[str, ...], words: str) -> None:
    run = old.play(*arguments, playbook=PLAYBOOK)
    assert run.status != 0 and run.changes == [] and words in " ".join(run.output.split()), run.output
    assert len(pods(old)) == 2


def test_refused_with_backups_that_are_not_good(old: Site) -> None:
    """The stream is cut off."""
    old.ssh("sudo systemctl stop observer-backup-stream.service")
    run = move(old)
    assert run.status != 0 and run.changes == [], run.output
    assert "was not received" in run.output or "are not good" in run.output, run.output
    assert len(pods(old)) == 2
    old.ssh("sudo systemctl start observer-backup-stream.service")


def test_what_goes_wrong_is_undone(old: Site) -> None:
    """The last save of the files fails, when Observer is stopped already."""
    drop = "/run/systemd/system/observer-backup-files.service.d"
    before = running(old)
    wait_for(lambda: "The backups are good" in old.ssh("cat /var/lib/observer-node/backup/state.txt"), "all is good")
    old.ssh(f"sudo mkdir -p {drop}; printf '[Service]\\nExecStartPre=/bin/false\\n' | sudo tee {drop}/fail.conf;"
            " sudo systemctl daemon-reload")
    run = move(old)
    old.ssh(f"sudo rm -r {drop}; sudo systemctl daemon-reload; sudo systemctl reset-failed '{UNITS}'")
    assert run.status != 0 and "what was stopped runs again" in " ".join(run.output.split()), run.output
    assert len(pods(old)) == 2 and running(old) == before


def test_nothing_runs_after_a_move_and_the_way_back(old: Site, journal: Path) -> None:
    planned = move(old, "--check").ok()
    with written_into(old, journal):
        done = move(old).ok()
    assert done.changes == planned.changes and pods(old) == running(old) == []
    assert "handed over to another machine" in old.ssh("cat /var/lib/observer-node/backup/state.txt")
    assert move(old).ok().changes == move(old, "--check").ok().changes == []
    nodes.reboot(old.node)
    wait_for(lambda: old.kubectl("get nodes"), "K3s is back")
    assert pods(old) == running(old) == []
    provision(old)
    assert_nothing_is_lost(old, journal)
    assert old.play().ok().changes == []


def test_another_machine_goes_on(old: Site, keeper: nodes.Node, journal: Path, parts: dict[str, Path]) -> None:
    with written_into(old, journal):
        move(old).ok()
    node = fresh(node_name("w"), parts, oci_firewall=True, outward=False)
    try:
        new = Site(node, old.folder, old.environment)
        say_hosts(new, old.node.name, keeper)
        provision(new)
        assert_nothing_is_lost(new, journal)
        with written_into(new, journal):
            say_hosts(old, old.node.name, keeper)
            run = old.play()
            assert run.status != 0 and "nother machine has taken over from" in " ".join(run.output.split()), run.output
            assert pods(old) == []
        assert_nothing_is_lost(new, journal)
    finally:
        nodes.down(node)


def test_log_that_is_shipped_each_minute_is_shipped_once_more(
        old: Site, keeper: nodes.Node, parts: dict[str, Path], tmp_path: Path) -> None:
    """In `archive` mode a lost machine takes a minute's records with it. One that is left by plan does not."""
    nodes.down(old.node)
    archive = {"backup_mode": "archive", "backup_identity": "archive/observer-local"}
    node = fresh(node_name("m"), parts, oci_firewall=True, outward=False)
    site, journal = Site.local(node, tmp_path / "site"), tmp_path / "journal"
    say_hosts(site, node.name, keeper, **archive)
    site.play(playbook="playbooks/secrets.yml").ok()
    provision(site, "-e", f"backup_first_start={node.name}")
    with written_into(site, journal):
        move(site).ok()
    assert pods(site) == running(site) == []
    nodes.down(node)
    new = Site(fresh(node_name("w"), parts, oci_firewall=True, outward=False), site.folder, site.environment)
    try:
        say_hosts(new, node.name, keeper, **archive)
        provision(new)
        assert_nothing_is_lost(new, journal)
    finally:
        nodes.down(new.node)
