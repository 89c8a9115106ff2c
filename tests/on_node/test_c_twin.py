"""The newest backup of an inventory in another node, whose own goes on meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_b_loss import flip, repository_file
from test_c_receiver import figures

from bed import nodes
from drill.drill import LIVING, SMALL, Drill
from drill.protected import CONFIG, DATA_CLAIM, Protected, settle, writing
from hands import Run, Site, node_name, wait_for

pytestmark = pytest.mark.long

FOLDER = "/etc/observer-node/backup"


@pytest.fixture(scope="module")
def origin(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    """A node with data and backups, and with a token of the broker's."""
    drill = Drill(tmp_path_factory.mktemp("origin") / "drill")
    drill.create("stream", SMALL)
    drill.converge()
    drill.site.site.ssh(f"sudo sh -c 'mkdir -p {drill.site.volume(DATA_CLAIM)}/cache && echo of-the-origin >"
                        f" {drill.site.volume(DATA_CLAIM)}/cache/token_cache.json'")
    drill.fill()
    drill.back_up()
    wait_for(lambda: figures(drill.site).get("mode") == "sync", "commits wait for the receiver", 90)
    yield drill.site
    if not os.environ.get("KEEP_NODES"):
        drill.destroy()


@pytest.fixture(scope="module")
def local(origin: Protected, parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    """Another node, as `make up` makes it."""
    for node in nodes.everyone():
        if node.name == node_name("t"):
            nodes.down(node)
    node = nodes.up(nodes.plan(node_name("t"), oci_firewall=True), parts)
    site = Site.local(node, tmp_path_factory.mktemp("local") / "of", k3s_node_name="obs-local")
    site.play(playbook="playbooks/secrets.yml").ok()
    site.play(playbook="playbooks/provision.yml").ok()
    yield Protected(site, origin.keeper, node.name, {})
    if not os.environ.get("KEEP_NODES"):
        nodes.down(node)


def twin(origin: Protected, local: Protected, *more: str) -> Run:
    return origin.site.play("-e", f"twin_node={local.name}", "-e", f"twin_confirm={local.name}", *more,
                            playbook="playbooks/twin.yml")


def password_of(node: Protected) -> str:
    """The database's password of a node's cluster, as its Secret has it."""
    found: str = node.site.get("-n observer-local secret observer-secrets")["data"]["DB_PASSWORD"]
    return found


def test_what_is_not_meant_is_refused(origin: Protected, local: Protected) -> None:
    run = origin.site.play("-e", f"twin_node={local.name}", playbook="playbooks/twin.yml")
    assert run.status != 0 and f"-e twin_confirm={local.name}" in " ".join(run.output.split())
    run = local.site.play("-e", "twin_confirm=obs-local", playbook="playbooks/twin.yml")
    assert run.status != 0 and "backup_repository is empty" in " ".join(run.output.split())
    run = origin.site.play("-e", f"twin_node={origin.name}", "-e", f"twin_confirm={origin.name}",
                           playbook="playbooks/twin.yml")
    assert run.status != 0 and "itself: twin_node is the local node" in " ".join(run.output.split())
    run = twin(origin, local, "-e", "vault_db_user=somebody")
    assert run.status != 0 and "vault_db_user" in run.output and run.changes == []


def test_the_data_comes_over_and_the_origin_goes_on(origin: Protected, local: Protected, tmp_path: Path) -> None:
    """Restored while its origin is written to and makes a backup."""
    before, tables = origin.files(), origin.tables()
    windows = figures(origin)["windows"]
    with writing(origin, tmp_path / "journal", "twin", give_up=60) as process:
        busy = threading.Thread(target=origin.backup)
        busy.start()
        time.sleep(2)
        run = twin(origin, local).ok()
        print(run.output)
        assert process.poll() is None
        busy.join()
    assert figures(origin)["mode"] == "sync" and figures(origin)["windows"] == windows, "the origin was disturbed"
    settle(local)
    found = local.files()
    differ = [name for name in before if not name.startswith("observer-") and name != "config"
              and {**before[name], "allocated": 0} != {**found.get(name, {}), "allocated": 0}]
    assert differ == []
    now = local.tables()
    assert {name: one for name, one in tables.items() if name not in LIVING} \
        == {name: one for name, one in now.items() if name not in LIVING}
    assert all(now[name]["rows"] >= tables[name]["rows"] for name in LIVING)
    assert f"with the data of {origin.site.folder.name}/observer-local" in run.output and "restored" in run.output


def test_it_has_no_way_to_its_origin(origin: Protected, local: Protected) -> None:
    """No key, no password, no token; and its own app's password is its own."""
    assert local.site.ssh(f"sudo ls {FOLDER}").split() == []
    assert local.site.ssh("systemctl list-unit-files --no-legend 'observer-backup-*' | wc -l").strip() == "0"
    cached = local.site.ssh(f"sudo sh -c 'cat {local.volume(DATA_CLAIM)}/cache/* 2>/dev/null; true'")
    assert "of-the-origin" not in cached
    assert password_of(local) != password_of(origin)
    for user in ("backup", "wal"):
        assert local.name not in origin.kept(f"cat /srv/observer-{user}/.ssh/authorized_keys")
    # Nor is it a change to whoever provisions the origin next.
    assert origin.site.play(playbook="playbooks/provision.yml").ok().changes == []


def test_one_that_fails_leaves_nothing(origin: Protected, local: Protected) -> None:
    """Its database cannot be had, when its files are there already."""
    run = twin(origin, local, "-e", "backup_restore_to='2126-01-01 00:00:00+00'")
    assert run.status != 0 and "which has not been yet" in " ".join(run.output.split())
    origin.sql("CREATE TABLE only_there AS SELECT string_agg(md5(random()::text), '') AS body, n"
               " FROM generate_series(1, 2000) n, generate_series(1, 60) GROUP BY n")
    origin.kept("touch /srv/mark")
    origin.job("base")
    pack = origin.kept(f"find {repository_file('').replace('snapshots/', 'data')} -type f -newer /srv/mark"
                       " -printf '%s %p\\n' | sort -n | tail -1").split()[1]
    origin.job("files")
    flip(origin, pack)
    try:
        run = twin(origin, local)
    finally:
        flip(origin, pack)
    assert run.status != 0 and "nothing was overwritten" in " ".join(run.output.split()), run.output
    assert local.site.ssh(f"sudo ls {FOLDER}").split() == []
    assert ".restoring" not in local.site.ssh("sudo ls -A /opt/local-path-provisioner")
    assert local.name not in origin.kept("cat /srv/observer-backup/.ssh/authorized_keys")
    assert int(local.sql("SELECT count(*) FROM drill_rows")) == SMALL.rows


def test_it_is_verified(local: Protected) -> None:
    local.site.play(playbook="playbooks/verify.yml").ok()


def test_a_change_is_tried_on_it_and_it_is_made_anew(origin: Protected, local: Protected) -> None:
    """The card's next step keeps the data; another twin takes the place of the one before, and of what it kept."""
    assert local.site.play(playbook="playbooks/provision.yml").ok()
    assert int(local.sql("SELECT count(*) FROM drill_rows")) == SMALL.rows
    local.sql("DROP TABLE drill_rows")
    twin(origin, local).ok()
    settle(local)
    assert int(local.sql("SELECT count(*) FROM drill_rows")) == SMALL.rows
    kept = local.site.ssh("sudo sh -c 'ls -d /opt/local-path-provisioner/*.before-* | wc -l'").strip()
    assert kept == "4", "what the first twin kept is still there"
    assert local.site.ssh(f"sudo sh -c 'ls -d {CONFIG}.before-* | wc -l'").strip() == "1"
