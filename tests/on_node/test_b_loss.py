"""A node that was lost, and everything that can be wrong with its backups, on one chain of machines.

The tests go on from one another. Nothing may be overwritten, nothing may start empty, and each refusal says what to do.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bed import nodes, settings
from drill.drill import SMALL, Drill
from drill.protected import CONFIG, NAMESPACE, RESTORE_TASK, STORAGE, Protected, Timed, settle
from hands import ROOT, node_name, wait_for

FILES, BASE, RECORD, WAL = "files", "base", "record", "wal"
KEEPER_AWAY_SECONDS = 130.0
"""It is waited for five minutes."""


@pytest.fixture(scope="module")
def drill(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """A node with data was lost under load; in its place is a bare machine with another hostname and address."""
    lost = Drill(tmp_path_factory.mktemp("loss") / "drill")
    lost.create("archive", SMALL, keeper_disk=4)
    lost.converge()
    lost.fill()
    lost.back_up()
    # Besides what is saved when it is lost, so that there is one before the newest.
    lost.site.sql("CREATE TABLE second AS SELECT generate_series(1, 1000) AS id")
    lost.note(tables_before=lost.site.tables())
    lost.lose()
    lost.site.renew(parts, hostname="another-name", address=settings.SUBNET.rsplit(".", 1)[0] + ".201")
    yield lost
    if not os.environ.get("KEEP_NODES"):
        lost.destroy()


def flat(text: str) -> str:
    """Text without line breaks, as sentences are wrapped anywhere."""
    return re.sub(r"\s+", " ", text.replace("\\n", " "))


def refused(protected: Protected, *arguments: str) -> str:
    """Provision, be refused before anything is installed but what asks the repository; what was said."""
    run = protected.play(*arguments)
    assert run.status != 0
    there = protected.site.ssh(f"sudo sh -c 'ls -d {STORAGE}/* /usr/local/bin/k3s 2>/dev/null; true'").split()
    assert there == [], "something was begun all the same"
    return flat(run.output)


@contextmanager
def inventory_with(protected: Protected, **variables: object) -> Iterator[None]:
    """Other variables in the inventory for a while."""
    before = dict(protected.variables)
    protected.write_hosts(**variables)
    try:
        yield
    finally:
        protected.variables.clear()
        protected.write_hosts(**before)


@contextmanager
def moved_away(protected: Protected, *names: str) -> Iterator[None]:
    """Snapshots that were never written, for a while."""
    protected.kept("mkdir -p /srv/aside; " + "; ".join(f"mv {repository_file(name)} /srv/aside/" for name in names))
    try:
        yield
    finally:
        protected.kept("; ".join(f"mv /srv/aside/{name} {repository_file(name)}" for name in names))


def repository_file(snapshot: str) -> str:
    """Where the repository has a snapshot."""
    return f"/srv/observer-backup/inventory-observer-local/snapshots/{snapshot}"


def flip(protected: Protected, path: str) -> None:
    """Turn one bit over in the middle of a file of the repository; again, and it is as it was."""
    protected.kept(f"python3 - {path}", stdin=(
        "import os, sys\npath = sys.argv[1]\nos.chmod(path, 0o600)\nmiddle = os.path.getsize(path) // 2\n"
        "file = open(path, 'r+b')\nfile.seek(middle)\nbyte = file.read(1)[0]\nfile.seek(middle)\n"
        "file.write(bytes([byte ^ 16]))\nfile.close()\nos.chmod(path, 0o400)\n"))


def rows_of(protected: Protected, table: str) -> int:
    return int(protected.sql(f"SELECT count(*) FROM {table}"))


def restored(run: Timed) -> bool:
    return any(name.startswith("backup : Restore |") and about.get("decision") == "restore"
               for name, about in run.results.items())


def changes_of(run: Timed) -> list[str]:
    return [str(one) for about in run.results.values() for one in about.get("changes") or []]


# --- a bare machine --------------------------------------------------------------------------------


def test_its_host_key_takes_the_place_of_the_lost_ones(drill: Drill, tmp_path: Path) -> None:
    """`make host-key`, with the fingerprint out of the machine itself, as its console has it."""
    node, known = drill.site.node, tmp_path / ".ssh" / "known_hosts"
    known.parent.mkdir(mode=0o700)
    stale = f"{node.address} ssh-ed25519 {'A' * 68}\n"
    known.write_text(stale)
    shown = drill.site.site.ssh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")

    def typed(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(ROOT / "tools" / "host_key.py"), node.address], input=line,
                              text=True, check=False, capture_output=True, env={**os.environ, "HOME": str(tmp_path)})

    wrong = typed(re.sub(r"SHA256:.{4}", "SHA256:AAAA", shown))
    assert wrong.returncode == 1 and "the console says SHA256:AAAA" in wrong.stderr and known.read_text() == stale
    assert typed("yes\n").returncode == 1 and known.read_text() == stale
    assert typed(shown).returncode == 0
    login = subprocess.run(["ssh", "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-o",
                            "StrictHostKeyChecking=yes", f"nobody@{node.address}"], check=False, capture_output=True,
                           text=True).stderr
    # Past the host key, and nobody is let in.
    assert "Permission denied" in login and "Host key verification failed" not in login


# --- what is left of it ----------------------------------------------------------------------------


def test_the_record_holds_the_whole_release(drill: Drill) -> None:
    newest = drill.site.snapshots(RECORD)[-1]
    record = json.loads(drill.site.restic("dump", newest["id"], "/record.json"))
    release, database = record["release"], record["rows"]
    images = {one["container"]: one for one in release["images"]}
    for name in ("observer", "postgres"):
        assert re.search(r":[\w.-]+$", images[name]["image"]) and "sha256:" in images[name]["digest"], images
    assert re.fullmatch("[0-9a-f]{40}", record["provisioned"]["commit"])
    versions = release["versions"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+\+k3s\d+", versions["k3s"])
    assert re.search(r"sealed-secrets-controller(:|@sha256:)[\w.-]+", versions["sealed_secrets"])
    assert re.search(r"local-path-provisioner(:|@sha256:)[\w.-]+", versions["local_path"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", versions["restic"]) and database["server"].startswith("15.")
    defined = database["definitions"]
    assert re.fullmatch("[0-9a-f]{64}", defined["sha256"])
    kinds = {kind: one["number"] for kind, one in defined["kinds"].items()}
    assert kinds["columns"] > kinds["relations"] >= 3 and kinds["indexes"] and kinds["constraints"], kinds
    assert defined["kinds"]["extensions"]["number"] >= 1 and "public.drill_rows" in database["tables"]
    assert re.fullmatch("[0-9a-f]{64}", release["sealing"])
    assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", record["position"]["lsn"]) and record["position"]["timeline"] >= 1
    assert record["contract"]["verdict"].startswith("PASS")
    told = record["contract"]["contract"]
    assert 0 < told["holds"] <= told["clauses"]
    assert isinstance(record["objects"], list)


# --- refused, on a bare machine --------------------------------------------------------------------


def test_another_password_is_refused(drill: Drill) -> None:
    with inventory_with(drill.site, vault_backup_password="of-somebody-else"):
        said = refused(drill.site)
    assert "password" in said and "vault_backup_password" in said
    assert "of-somebody-else" not in said


@pytest.mark.long
def test_the_repository_of_another_inventory_is_refused(drill: Drill) -> None:
    folder = "/srv/observer-backup"
    drill.site.kept(f"cp -a {folder}/inventory-observer-local {folder}/another-inventory")
    with inventory_with(drill.site, backup_identity="another/inventory"):
        said = refused(drill.site)
    assert "he repository is of inventory/observer-local, and backup_identity is another/inventory" in said
    drill.site.kept(f"rm -r {folder}/another-inventory")


@pytest.mark.long
def test_where_no_backups_are_a_first_start_has_to_be_said(drill: Drill) -> None:
    with inventory_with(drill.site, backup_identity="never/was"):
        said = refused(drill.site)
    assert f"-e backup_first_start={drill.site.name}" in said


@pytest.mark.long
def test_where_backups_are_a_first_start_is_refused(drill: Drill) -> None:
    said = refused(drill.site, "-e", f"backup_first_start={drill.site.name}")
    assert "is to start empty, and there are backups of inventory/observer-local" in said


def test_a_flipped_bit_is_refused_and_the_one_before_offered(drill: Drill) -> None:
    newest = drill.site.snapshots(FILES)[-1]
    # What restic keeps of a repository on the node it takes for good, and a new machine has nothing of the kind.
    drill.site.site.ssh("sudo rm -rf /var/lib/observer-node/backup/cache")
    flip(drill.site, repository_file(newest["id"]))
    try:
        said = refused(drill.site)
    finally:
        flip(drill.site, repository_file(newest["id"]))
    assert "cannot be read" in said
    assert f"backup_restore_without={newest['id'][:8]}" in said


@pytest.mark.long
def test_a_newest_backup_that_did_not_come_to_its_end_is_left_out(drill: Drill) -> None:
    """Of the one that the node's end has cut off it is said; when others before it are no better it is refused."""
    last, newest = drill.site.snapshots(FILES)[-2:]
    later = [one["id"] for one in drill.site.snapshots(RECORD) if one["at"] > last["at"]]
    with moved_away(drill.site, *later):
        said = refused(drill.site)
    assert f"{newest['id'][:8]}" in said and "is not known to be whole" in said
    assert f"backup_restore_without={last['id'][:8]},{newest['id'][:8]}" in said
    later = [one["id"] for one in drill.site.snapshots(RECORD) if one["at"] > newest["at"]]
    with moved_away(drill.site, *later):
        planned = drill.site.play("--check")
    assert f"The newest backup of files, {newest['id'][:8]} of" in (said := flat(planned.ok().output))
    assert "was cut off before its end and is left out" in said


@pytest.mark.long
def test_a_backup_host_that_does_not_come_back_is_said(drill: Drill) -> None:
    nodes.cut(drill.site.keeper)
    try:
        run = drill.site.play("-e", "provision_backup_wait=15")
    finally:
        nodes.start(drill.site.keeper)
    assert run.status != 0 and drill.site.keeper.name in run.output
    assert run.seconds < 120
    there = drill.site.site.ssh(f"sudo sh -c 'ls -d {STORAGE}/* /usr/local/bin/k3s 2>/dev/null; true'").split()
    assert there == []


# --- restored --------------------------------------------------------------------------------------


def test_another_hostname_and_address_and_a_backup_host_that_comes_late(drill: Drill) -> None:
    keeper = drill.site.keeper
    nodes.cut(keeper)
    late = threading.Timer(KEEPER_AWAY_SECONDS, nodes.start, [keeper])
    late.start()
    begun = time.time()
    run = drill.site.play()
    late.join()
    run.ok()
    assert restored(run)
    killed = drill.read("figures")["killed"]
    drill.note(machine_seconds=0, provision_seconds=run.seconds, phases={}, rto_seconds=round(time.time() - begun, 1),
               killed=killed)
    assert drill.site.site.ssh("hostname").strip() == "another-name"
    result = drill.compare()
    # How long it takes is the business of the drill itself.
    assert [one for one in result["missed"] if not one.startswith("RTO")] == []


def test_data_on_the_node_is_never_overwritten(drill: Drill) -> None:
    drill.site.sql("INSERT INTO second VALUES (-1)")
    run = drill.site.play().ok()
    assert not restored(run)
    assert rows_of(drill.site, "second") == 1001


@pytest.mark.long
def test_newer_data_of_a_node_that_has_lost_its_mark_is_kept(drill: Drill) -> None:
    drill.site.site.ssh("sudo rm -r /etc/observer-node/backup /var/lib/observer-node/backup/work/epoch.json")
    run = drill.site.play().ok()
    assert not restored(run) and any("writes the backups from now on" in one for one in changes_of(run))
    assert rows_of(drill.site, "second") == 1001
    # The new writer's first base backup, which would be due in the midst of what comes next.
    drill.site.backup()


@pytest.mark.long
def test_a_reset_takes_the_backups_off_and_the_next_run_goes_on_with_the_data(drill: Drill) -> None:
    site, epoch = drill.site.site, "/var/lib/observer-node/backup/work/epoch.json"
    before = site.ssh(f"sudo cat {epoch}")
    arguments = ("-e", f"reset_confirm={drill.site.name}")
    planned = drill.site.play("--check", *arguments, playbook="playbooks/reset.yml").ok()
    done = drill.site.play(*arguments, playbook="playbooks/reset.yml").ok()
    assert changes_of(done) == changes_of(planned) and "backups: stopped" in changes_of(done)
    left = site.ssh("sudo find /etc/systemd/system /etc/observer-node /usr/local/lib/observer-node"
                    " /var/lib/observer-node -name 'observer-backup*' -o -name backup -o -name password"
                    " -o -name id_ed25519 2>&1 | grep -v 'No such file' || true")
    assert left.split() == ["/var/lib/observer-node/backup"]
    assert site.ssh("systemctl list-units --no-legend --all 'observer-backup-*'").strip() == ""
    assert site.ssh(f"sudo cat {epoch}") == before
    assert changes_of(drill.site.play(*arguments, playbook="playbooks/reset.yml").ok()) == []
    run = drill.site.play().ok()
    assert not restored(run)
    settle(drill.site)
    assert rows_of(drill.site, "second") == 1001


@pytest.mark.long
def test_an_emptied_database_comes_back_and_does_not_begin_anew(drill: Drill) -> None:
    site, folder = drill.site.site, drill.site.volume("observer-db-pvc")
    drill.site.job(WAL)
    site.kubectl(f"-n {NAMESPACE} scale statefulset/postgres --replicas=0")
    wait_for(lambda: "postgres-0" not in site.kubectl(f"-n {NAMESPACE} get pods -o name"), "the database's end", 60)
    site.ssh(f"sudo find {folder} -mindepth 1 -delete")
    run = drill.site.play().ok()
    assert restored(run)
    settle(drill.site)
    assert rows_of(drill.site, "second") == 1001


# --- on the node that runs -------------------------------------------------------------------------

AS_A_HOSTILE_NODE = """
import json, os, subprocess, sys
sys.path.insert(0, "/usr/local/lib/observer-node")
from backup import settings
from backup.problems import BackupProblem
from backup.restic import Repository
ours = settings.load()
repository = Repository(ours, lock="0s")
found, _ = repository.snapshots()
newest = {one.kind: one.id for one in found}
said = {}
for words in (["forget", newest["files"]], ["forget", "--keep-last", "1", "--unsafe-allow-remove-all", "--prune"],
              ["prune", "--max-unused", "0"], ["tag", "--set", "mine", newest["files"]],
              ["repair", "snapshots", "--forget"],
              ["repair", "index", "--read-all-packs"], ["key", "remove", "0" * 8], ["init"]):
    try:
        repository._call(words)
        said[" ".join(words[:2])] = "done"
    except BackupProblem as problem:
        said[" ".join(words[:2])] = problem.what
print(json.dumps(said))
"""


@pytest.mark.long
def test_the_nodes_key_can_add_and_neither_delete_nor_change(drill: Drill) -> None:
    """What is in the repository stays, byte for byte, whatever the node asks for with its own key and password."""
    drill.site.backup()

    def inside() -> dict[str, str]:
        lines = drill.site.kept("cd /srv/observer-backup/inventory-observer-local && find . -type f ! -path './locks/*'"
                                " -exec sha256sum {} +").splitlines()
        return {line[66:]: line[:64] for line in lines}

    with quiet(drill.site):
        before = inside()
        said = json.loads(drill.site.site.ssh("sudo python3 -I -B -", stdin=AS_A_HOSTILE_NODE, timeout=900))
        after = inside()
        # The server has no other words than the repository's: neither a shell nor a copy.
        other = [drill.site.site.ssh(
            f"sudo ssh -F /etc/observer-node/backup/ssh_config repository {shlex.quote(words)} </dev/null 2>&1;"
            " echo \"ended with $?\"", timeout=60) for words in ("rm -rf /srv/observer-backup", "sh -c id")]
    print(json.dumps(said), other)
    assert {path: after.get(path) for path in before} == before
    # restic ends well all the same where it could not delete a single snapshot.
    assert "403" in said["forget --keep-last"], said
    assert all("uid=" not in one for one in other)
    drill.site.backup()
    assert drill.site.state()["verdict"] == "ok"


@pytest.mark.long
def test_backup_yml_saves_forgets_what_is_old_and_refuses_to_call_a_bad_backup_good(drill: Drill) -> None:
    drill.site.backup()
    like = drill.site.snapshots(FILES)[-1]
    tags = [word for tag in like["tags"] for word in ("--tag", tag)]
    for days in (400, 300):
        then = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - days * 86400))
        drill.site.restic("backup", "--stdin", "--stdin-filename", "old", "--host", like["hostname"], "--time", then,
                          *tags, stdin=f"{days} days ago")
    old = {one["id"] for one in drill.site.snapshots(FILES) if one["at"] < time.time() - 200 * 86400}
    identity = [one["id"] for one in drill.site.snapshots("identity")]
    newest = drill.site.snapshots(FILES)[-1]["at"]
    assert len(old) == 2
    run = drill.site.play(playbook="playbooks/backup.yml").ok()
    assert "Say what there is" in run.output
    now = {one["id"] for one in drill.site.snapshots()}
    assert not old & now and like["id"] in now and set(identity) <= now
    assert drill.site.snapshots(FILES)[-1]["at"] > newest
    drop = "/run/systemd/system/observer-backup-files.service.d"
    drill.site.site.ssh(f"sudo mkdir -p {drop}; printf '[Service]\\nExecStartPre=/bin/false\\n' |"
                        f" sudo tee {drop}/fail.conf; sudo systemctl daemon-reload")
    try:
        failed = drill.site.play(playbook="playbooks/backup.yml")
    finally:
        drill.site.site.ssh(f"sudo rm -r {drop}; sudo systemctl daemon-reload;"
                            " sudo systemctl reset-failed 'observer-backup-*'")
    assert failed.status != 0 and "Refuse to call a bad backup good" in failed.output
    drill.site.backup()


@pytest.mark.long
def test_single_volumes_and_the_settings_are_restored_and_nothing_else(drill: Drill) -> None:
    site = drill.site.site
    logs, data = drill.site.volume("observer-logs-pvc"), drill.site.volume("observer-data-pvc")
    settle(drill.site)
    site.ssh(f"sudo sh -c 'echo kept > {logs}/of-the-operator; echo kept > {CONFIG}/of-the-operator;"
             f" echo kept > {data}/of-the-operator'")
    drill.site.backup()
    site.ssh(f"sudo sh -c 'rm {logs}/of-the-operator; echo worse > {CONFIG}/of-the-operator;"
             f" echo newer > {data}/of-the-operator'")
    drill.site.sql("INSERT INTO second VALUES (-2)")
    refused_parts = drill.site.play("-e", f"restore_confirm={drill.site.name}", "-e", "restore_parts=observer-nothing",
                                    playbook="playbooks/restore.yml")
    assert refused_parts.status != 0 and "here is no observer-nothing to be restored" in flat(refused_parts.output)
    drill.site.play("-e", f"restore_confirm={drill.site.name}", "-e", "restore_parts=observer-logs-pvc,config",
                    playbook="playbooks/restore.yml").ok()
    settle(drill.site)
    assert site.ssh(f"sudo cat {drill.site.volume('observer-logs-pvc')}/of-the-operator {CONFIG}/of-the-operator"
                    f" {drill.site.volume('observer-data-pvc')}/of-the-operator").split() == ["kept", "kept", "newer"]
    assert rows_of(drill.site, "second") == 1002
    top = site.ssh(f"sudo stat -c '%u:%g' {CONFIG}").strip()
    assert top == "1000:1000"
    # All of it, which is as it was at the last backup.
    with quiet(drill.site):
        drill.site.backup()
        site.ssh(f"sudo sh -c 'echo newest > {drill.site.volume('observer-data-pvc')}/of-the-operator'")
        drill.site.play("-e", f"restore_confirm={drill.site.name}", "-e", "restore_parts=all",
                        playbook="playbooks/restore.yml").ok()
    settle(drill.site)
    assert site.ssh(f"sudo cat {drill.site.volume('observer-data-pvc')}/of-the-operator").strip() == "newer"
    assert rows_of(drill.site, "second") >= 1001
    drill.site.sql("DELETE FROM second WHERE id = -2")
    drill.site.play(playbook="playbooks/verify.yml").ok()
    drill.site.backup()



@pytest.mark.long
def test_a_mistaken_delete_is_undone_by_a_restore_to_a_time(drill: Drill) -> None:
    drill.site.backup()
    drill.site.sql("CREATE TABLE mistake AS SELECT generate_series(1, 500) AS id")
    drill.site.sql("SELECT pg_sleep(2)")
    before = drill.site.sql("SELECT now()")
    drill.site.sql("SELECT pg_sleep(2); DELETE FROM mistake")
    drill.site.job(WAL)
    # As somebody does who wants no more written over it.
    drill.site.site.kubectl(f"-n {NAMESPACE} scale statefulset/postgres --replicas=0")
    drill.site.play(
        "-e", f"restore_confirm={drill.site.name}", "-e", "restore_parts=observer-db-pvc",
        "-e", f"backup_restore_to='{before}'", playbook="playbooks/restore.yml").ok()
    settle(drill.site)
    assert rows_of(drill.site, "mistake") == 500
    assert rows_of(drill.site, "second") == 1001


@pytest.mark.long
def test_a_full_backup_host_turns_the_state_bad_until_there_is_room(drill: Drill) -> None:
    free = int(drill.site.kept("df --output=avail -B1 /srv | tail -1"))
    drill.site.kept(f"fallocate -l {free - (1 << 20)} /srv/ballast")
    try:
        data = drill.site.volume("observer-data-pvc")
        drill.site.python("make", f"{data}/more", "20", "20000000", "1000000", "group")
        # restic tries for minutes: room may come.
        units = " ".join(f"observer-backup-{job}.service" for job in (FILES, BASE))
        drill.site.site.ssh(f"sudo systemctl start --no-block {units}")
        wait_for(lambda: any("room" in one for one in drill.site.state()["wrong"]), "the state says why", 300)
        assert drill.site.state()["verdict"] == "bad"
    finally:
        drill.site.kept("rm /srv/ballast")
    drill.site.backup()
    assert drill.site.state()["jobs"][FILES]["ok"]


# --- the rehearsal ---------------------------------------------------------------------------------


def rehearsal(protected: Protected) -> dict[str, Any]:
    """Rehearse now; how the node says that it went."""
    protected.site.ssh("sudo systemctl start observer-backup-rehearse.service || true", timeout=600)
    found: dict[str, Any] = protected.state()["jobs"]["rehearse"]
    return found


@pytest.mark.long
def test_a_released_volume_goes_after_it_was_saved(drill: Drill) -> None:
    name, folder = "pvc-of-old", f"{STORAGE}/pvc-of-old_observer-local_old"
    site = drill.site.site
    site.ssh(f"sudo sh -c 'mkdir {folder} && echo precious > {folder}/data'")
    site.kubectl("create -f -", stdin=json.dumps({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local-path",
            "persistentVolumeReclaimPolicy": "Retain", "local": {"path": folder},
            "claimRef": {"namespace": "observer-local", "name": "old", "uid": "00000000-0000-4000-8000-000000000000"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": ["obs-local"]}]}]}}}}))
    wait_for(lambda: site.get(f"pv {name}")["status"].get("phase") == "Released", "it is Released")
    bound = site.get("-n observer-local pvc observer-data-pvc")["spec"]["volumeName"]

    def prune(*arguments: str) -> Timed:
        return drill.site.play(*arguments, playbook="playbooks/prune.yml")

    said = flat(prune("-e", f"prune_volumes={name}").output)
    assert f"say -e prune_confirm={drill.site.name} if it is meant" in said
    confirmed = ("-e", f"prune_confirm={drill.site.name}")
    run = prune(*confirmed, "-e", f"prune_volumes={name},{bound}")
    assert run.status != 0 and f"{bound} is Bound" in flat(run.output)
    assert prune("--check", *confirmed, "-e", f"prune_volumes={name}").status == 0
    assert "precious" in site.ssh(f"sudo cat {folder}/data")
    assert drill.site.snapshots("released") == []
    prune(*confirmed, "-e", f"prune_volumes={name}").ok()
    assert site.ssh(f"sudo sh -c 'ls -d {folder}* 2>/dev/null; true'").strip() == ""
    assert name not in site.kubectl("get pv -o name")
    one, = drill.site.snapshots("released")
    assert drill.site.restic("dump", one["id"], f"{folder}/data").strip() == "precious"
    # It is nobody's backup of what runs.
    assert drill.site.play().ok()


@contextmanager
def quiet(protected: Protected) -> Iterator[None]:
    """No backup by a timer for a while, so that what was injected stays the newest."""
    timers = "observer-backup-files.timer observer-backup-base.timer observer-backup-wal.timer"
    protected.site.ssh(f"sudo systemctl stop {timers}")
    try:
        yield
    finally:
        protected.site.ssh(f"sudo systemctl start {timers}")


@pytest.mark.long
def test_a_rehearsal_of_good_backups_is_green(drill: Drill) -> None:
    drill.site.backup()
    drill.site.job(WAL)
    about = rehearsal(drill.site)
    assert about["ok"], about
    assert about["figures"]["tables"] >= 5 and about["figures"]["files"] > 300
    assert about["figures"]["definitions"] > about["figures"]["tables"]


@pytest.mark.long
def test_a_bad_row_turns_the_rehearsal_red(drill: Drill) -> None:
    """A row that is another in the backup than it was in the database, behind PostgreSQL's back."""
    with quiet(drill.site):
        drill.site.job(WAL)
        drill.site.sql("CREATE TABLE injected AS SELECT generate_series(1, 10) AS id, 'right' AS what")
        # To read rows for the first time is to write into their page.
        drill.site.sql("SELECT * FROM injected; CHECKPOINT")
        name = drill.site.sql("SELECT pg_relation_filepath('injected')")
        path = f"{drill.site.volume('observer-db-pvc')}/pgdata/{name}"
        # The database has the page in its memory and counts what was right; the file is what is saved.
        drill.site.site.ssh(f"sudo python3 - {path}", stdin=(
            "import sys\nfile = open(sys.argv[1], 'r+b')\npage = file.read()\nassert b'right' in page\n"
            "file.seek(0)\nfile.write(page.replace(b'right', b'wrong'))\nfile.close()\n"))
        drill.site.job(BASE)
        drill.site.job(WAL)
        about = rehearsal(drill.site)
    drill.site.sql("DROP TABLE injected")
    assert not about["ok"]
    assert "injected" in about["why"]
    assert drill.site.state()["verdict"] == "bad"


@pytest.mark.long
def test_a_missing_file_turns_the_rehearsal_red(drill: Drill) -> None:
    """A file that its backup lacks, though the list of what was saved has it."""
    with quiet(drill.site):
        drill.site.job(FILES)
        drill.site.job(BASE)
        drill.site.job(WAL)
        good = drill.site.snapshots(FILES)[-1]
        before = {one["id"] for one in drill.site.snapshots(FILES)}
        drill.site.restic("rewrite", good["id"], "--exclude", "*/drill/000/*", "--new-host", good["hostname"])
        # It has the same time as the one that it was made of.
        without, = (one for one in drill.site.snapshots(FILES) if one["id"] not in before)
        last = drill.site.snapshots(RECORD)[-1]
        record = drill.site.restic("dump", last["id"], "/record.json").replace(good["id"], without["id"])
        tags = [word for tag in last["tags"] for word in ("--tag", tag)]
        drill.site.restic("backup", "--stdin", "--stdin-filename", "record.json", "--host", last["hostname"], *tags,
                          stdin=record)
        about = rehearsal(drill.site)
    assert not about["ok"]
    assert "is missing" in about["why"]
    # The next backup has everything again.
    drill.site.backup()


@pytest.mark.long
def test_stale_wal_turns_the_rehearsal_red(drill: Drill) -> None:
    with quiet(drill.site):
        drill.site.backup()
        drill.site.job(WAL)
        records = drill.site.snapshots(RECORD)
        late = [one["id"] for one in drill.site.snapshots(WAL) if one["at"] > records[-2]["at"]] \
            or [drill.site.snapshots(WAL)[-1]["id"]]
        with moved_away(drill.site, *late):
            about = rehearsal(drill.site)
    assert not about["ok"]
    # Without it not even the position is reached at which the tables were counted.
    assert "WAL" in about["why"] or "recovery ended before" in about["why"]
    drill.site.job(WAL)
    assert rehearsal(drill.site)["ok"]


# --- two machines ----------------------------------------------------------------------------------


def until_restoring(protected: Protected) -> None:
    """Provision, and lose the power of this machine and of the node while data is being brought back."""
    process = protected.start()
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if re.match(RESTORE_TASK, line):
            break
    else:
        raise AssertionError(f"nothing was restored:\n{seen[-4000:]}")
    wait_for(lambda: protected.site.ssh(f"sudo sh -c 'ls -d {STORAGE}/.restoring/*/* 2>/dev/null || true'").strip(),
             "it is being fetched", 60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    nodes.cut(protected.node)


@pytest.mark.long
def test_a_flipped_bit_in_the_data_is_refused_before_anything_is_in_place(
        drill: Drill, parts: dict[str, Path]) -> None:
    """In what only the newest base backup has: to find it, it has to be read."""
    folder = repository_file("").replace("snapshots/", "data")
    with quiet(drill.site):
        drill.site.sql("CREATE TABLE only_there AS SELECT string_agg(md5(random()::text), '') AS body, n"
                       " FROM generate_series(1, 2000) n, generate_series(1, 60) GROUP BY n")
        drill.site.job(WAL)
        drill.site.kept("touch /srv/mark")
        drill.site.job(BASE)
        pack = drill.site.kept(f"find {folder} -type f -newer /srv/mark -printf '%s %p\\n' | sort -n | tail -1"
                               ).split()[1]
        drill.site.job(FILES)
        drill.site.job(WAL)
    bases = drill.site.snapshots(BASE)
    drill.keep("files_before", drill.site.files())
    drill.note(tables_before=drill.site.tables(), old=drill.site.node.name)
    nodes.cut(drill.site.node)
    drill.site.renew(parts, name=node_name("b"))
    flip(drill.site, pack)
    try:
        run = drill.site.play()
    finally:
        flip(drill.site, pack)
    said = flat(run.output)
    assert run.status != 0 and f"backup of base {bases[-1]['id'][:8]}" in said, said[-3000:]
    assert "cannot be restored, and nothing was overwritten" in said
    assert f"backup_restore_without={bases[-1]['id'][:8]}" in said
    assert "pvc-" not in drill.site.site.ssh(f"sudo ls {STORAGE}")


@pytest.mark.long
def test_an_interrupted_restore_is_done_again_and_whole(drill: Drill) -> None:
    before, tables = drill.read("files_before"), drill.read("figures")["tables_before"]
    # What the refused one has fetched would be used.
    drill.site.site.ssh(f"sudo rm -rf {STORAGE}/.restoring")
    until_restoring(drill.site)
    nodes.start(drill.site.node)
    assert "pvc-" not in drill.site.site.ssh(f"sudo ls {STORAGE}")
    run = drill.site.play().ok()
    assert restored(run)
    settle(drill.site)
    after = drill.site.tables()
    assert {name: after.get(name) for name in ("public.drill_rows", "public.second")} == {
        name: tables[name] for name in ("public.drill_rows", "public.second")}
    now = drill.site.files()
    assert {path for path in before if before[path].get("sha256") != now.get(path, {}).get("sha256")} == set()


@pytest.mark.long
def test_a_disk_that_is_too_small_or_fills_up_is_said_and_nothing_half_is_in_place(
        drill: Drill, parts: dict[str, Path]) -> None:
    drill.site.backup()
    tables = drill.site.tables()
    nodes.down(drill.site.node)
    drill.site.renew(parts, name=node_name("c"), data_disk=1, data_path=STORAGE)
    site = drill.site.site
    with inventory_with(drill.site, node_storage_free_gib=0.1):
        site.ssh(f"sudo fallocate -l 900M {STORAGE}/ballast")
        run = drill.site.play()
        assert run.status != 0 and "and the restore needs" in flat(run.output)
        assert site.ssh(f"sudo ls {STORAGE}").split() == ["ballast", "lost+found"]
        # Room enough when it is looked at, and no more when the data comes.
        site.ssh(f"sudo rm {STORAGE}/ballast")
        site.ssh("sudo systemd-run --collect sh -c 'until ls -d " + STORAGE + "/.restoring/*/db; do sleep 0.02; done;"
                 f" fallocate -l $(df --output=avail -B1 {STORAGE} | tail -1) {STORAGE}/ballast'")
        run = drill.site.play()
        assert run.status != 0 and "has no room left" in flat(run.output), run.output[-3000:]
        assert "pvc-" not in site.ssh(f"sudo ls {STORAGE}")
        site.ssh(f"sudo rm {STORAGE}/ballast")
        assert restored(drill.site.play().ok())
    settle(drill.site)
    assert drill.site.tables()["public.second"] == tables["public.second"]


@pytest.mark.long
def test_the_backup_that_is_offered_is_restored_when_it_is_said(drill: Drill, parts: dict[str, Path]) -> None:
    """The newest files are damaged; the very words of the refusal bring back those before."""
    data = drill.site.volume("observer-data-pvc")
    with quiet(drill.site):
        drill.site.site.ssh(f"sudo sh -c 'echo earlier > {data}/which'")
        drill.site.backup()
        drill.site.site.ssh(f"sudo sh -c 'echo newest > {data}/which'")
        drill.site.job(FILES)
        drill.site.job(WAL)
        tables = drill.site.tables()
    newest = drill.site.snapshots(FILES)[-1]
    nodes.down(drill.site.node)
    drill.site.renew(parts, name=node_name("d"))
    flip(drill.site, repository_file(newest["id"]))
    try:
        said = refused(drill.site)
        offered = re.search(r"-e (backup_restore_without=[0-9a-f,]+)", said)
        assert offered and newest["id"][:8] in offered[1], said[-3000:]
        run = drill.site.play("-e", offered[1])
        # That the repository has a damaged snapshot is found by whatever looks, and is no reason to stand still.
        assert restored(run) and (run.status == 0 or "BACKUP-01" in run.output), run.output[-6000:]
        settle(drill.site)
        # A backup is made all the same, of the database, too.
        drill.site.backup()
        wait_for(lambda: newest["id"][:8] in " ".join(drill.site.state()["wrong"]), "the state names it", 60)
        # What is due once a day fails because of it, too, and is not left for a day when it is mended.
        for job in ("check", "rehearse"):
            drill.site.site.ssh(f"sudo systemctl start observer-backup-{job}.service || true", timeout=600)
            assert drill.site.state()["jobs"][job]["ok"] is False
        assert drill.site.snapshots(FILES)[-1]["at"] > newest["at"]
        # As the state says.
        drill.site.kept(f"mv {repository_file(newest['id'])} /srv/damaged")
        drill.site.play(playbook="playbooks/backup.yml").ok()
        drill.site.play(playbook="playbooks/verify.yml").ok()
    finally:
        drill.site.kept(f"test ! -e /srv/damaged || mv /srv/damaged {repository_file(newest['id'])}")
        flip(drill.site, repository_file(newest["id"]))
    assert drill.site.site.ssh(f"sudo cat {drill.site.volume('observer-data-pvc')}/which").strip() == "earlier"
    assert drill.site.tables()["public.second"] == tables["public.second"]


@pytest.mark.long
def test_the_old_node_that_comes_back_writes_nothing(drill: Drill) -> None:
    old = nodes.find(drill.read("figures")["old"])
    drill.site.backup()
    newest = drill.site.snapshots()[-1]
    nodes.start(old)
    wait_for(lambda: "active" in nodes.ssh(old, "systemctl is-active k3s || true").split(), "the old node's K3s", 60)
    nodes.ssh(old, "sudo systemctl start observer-backup-files.service || true", timeout=300)
    said = nodes.ssh(old, "cat /var/lib/observer-node/backup/state.txt")
    assert "BAD" in said
    epochs = {tag for one in drill.site.snapshots() if one["at"] > newest["at"] for tag in one["tags"]
              if tag.startswith("epoch=")}
    assert epochs <= {tag for tag in newest["tags"] if tag.startswith("epoch=")}
