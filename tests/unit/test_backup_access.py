"""The module backup_access: who is let in on a backup host, and who is no more."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
from ansible.module_utils.testing import patch_module_args

import modules

ansible.module_utils.__path__.append(str(modules.ROOT / "module_utils"))
KEY, OTHER = "ssh-ed25519 AAAAone", "ssh-ed25519 AAAAtwo"
FOREIGN = 'restrict,command="x" ssh-ed25519 AAAAforeign observer-node prod/other there'


class Host:
    """A backup host whose two homes are below one folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = modules.load("backup_access")
        self.folder, self.ended = folder, list[str]()
        for home in ("backup", "wal"):
            (folder / home / ".ssh").mkdir(parents=True)
            (folder / home / ".ssh/authorized_keys").write_text(f"{FOREIGN}\n")
        (folder / "key.pub").write_text("ssh-ed25519 AAAAhost root@there\n")
        monkeypatch.setattr(self.module, "HOST_KEY", str(folder / "key.pub"))
        monkeypatch.setattr(self.module, "end_receiving", self._end)

    def _end(self, _: str, folder: str) -> int:
        self.ended.append(folder)
        return 1

    def run(self, phase: str, key: str = KEY, *, check: bool = False, **more: object) -> dict[str, Any]:
        given = {"phase": phase, "identity": "prod/ns", "node": "obs", "key": key, "_ansible_check_mode": check,
                 "repositories": str(self.folder / "backup"), "wal": str(self.folder / "wal"), **more}
        output = io.StringIO()
        with patch_module_args(given), contextlib.redirect_stdout(output), pytest.raises(SystemExit):
            self.module.main()
        told: dict[str, Any] = json.loads(output.getvalue())
        return told

    def lines(self, home: str) -> list[str]:
        return (self.folder / home / ".ssh/authorized_keys").read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_new_node_looks_for_an_hour_and_then_is_the_only_one(host: Host) -> None:
    planned = host.run("reader", check=True)
    assert host.lines("backup") == [FOREIGN] and host.run("reader")["changes"] == planned["changes"]
    (foreign, line), (_, log) = host.lines("backup"), host.lines("wal")
    until = line.partition('expiry-time="')[2].partition('"')[0]
    left = time.mktime(time.strptime(until, "%Y%m%d%H%M")) - time.time()
    assert foreign == FOREIGN and 3500 < left <= 3600
    assert f"--append-only {host.folder}/backup/prod-ns" in line and line.endswith(
        f"{KEY} observer-node-reader prod/ns obs")
    assert "--epoch 0" in log
    planned = host.run("writer", check=True, epoch=3)
    assert host.run("writer", epoch=3)["changes"] == planned["changes"] != []
    (_, line), (_, log) = host.lines("backup"), host.lines("wal")
    assert "expiry-time" not in line + log and "--epoch 3" in log
    assert host.run("writer", epoch=3)["changes"] == [] and host.run("reader")["changes"] == []
    assert host.run("writer", epoch=3)["host_key"] == "ssh-ed25519 AAAAhost"


def test_who_looks_does_not_disturb_the_writer_and_who_takes_over_shuts_it_out(host: Host) -> None:
    host.run("writer", epoch=1)
    before = host.lines("wal")
    host.ended.clear()
    host.run("reader", OTHER)
    assert before == host.lines("wal")[:2] and not host.ended
    folder = f"{host.folder}/backup/prod-ns"
    with subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", "serve", folder],
                          stdout=subprocess.PIPE) as serving:
        assert serving.stdout
        serving.stdout.readline()
        # Of another program it is not ended, whatever its words are.
        assert host.module.end_serving(folder) == 0 and serving.poll() is None
        serving.kill()
    told = host.run("writer", OTHER, epoch=2)
    assert told["ended"] == 1 and host.ended == [f"{host.folder}/wal/prod-ns"]
    assert len(host.lines("backup")) == 2 and not any("AAAAone" in line for line in host.lines("wal"))


def test_a_take_over_that_was_cut_off_ends_the_session_all_the_same(host: Host) -> None:
    host.run("writer", OTHER, epoch=2)
    host.ended.clear()
    session = host.folder / "wal/prod-ns/run/session"
    session.parent.mkdir(parents=True)
    session.write_text(json.dumps({"pid": 1, "started": "1", "epoch": 1}))
    assert host.run("writer", OTHER, epoch=2, check=True)["ended"] == 0 and not host.ended
    told = host.run("writer", OTHER, epoch=2)
    assert told["changes"] == [] and told["ended"] == 1 and host.ended == [f"{host.folder}/wal/prod-ns"]
    # Its own goes on.
    session.write_text(json.dumps({"pid": 1, "started": "1", "epoch": 2}))
    assert host.run("writer", OTHER, epoch=2)["ended"] == 0


def test_those_who_look_do_not_disturb_each_other_nor_the_writer(host: Host) -> None:
    """A twin beside a node that is being brought back; and the next provision of the writer."""
    host.run("writer", epoch=1)
    host.run("reader", OTHER, node="twin", hours=12)
    host.run("reader", "ssh-ed25519 AAAAthree", node="new")
    _, _, twin, new = host.lines("wal")
    assert twin.endswith(" twin") and new.endswith(" new")
    until = time.mktime(time.strptime(twin.partition('expiry-time="')[2].partition('"')[0], "%Y%m%d%H%M"))
    assert 11 * 3600 < until - time.time() <= 12 * 3600
    host.ended.clear()
    assert host.run("writer", epoch=1)["changes"] == [] and not host.ended
    planned = host.run("gone", "", node="twin", check=True)
    assert len(planned["changes"]) == 2 and host.run("gone", "", node="twin")["changes"] == planned["changes"]
    assert host.lines("wal")[2:] == [new] and host.run("gone", "", node="twin")["changes"] == []
    # Whose time is over goes with the next.
    lines = host.folder / "wal/.ssh/authorized_keys"
    lines.write_text(lines.read_text().replace(new, re.sub(r'expiry-time="\d+"', 'expiry-time="202001010000"', new)))
    host.run("reader", OTHER, node="twin")
    assert len(host.lines("wal")) == 3 and host.lines("wal")[2].endswith(" twin")


def test_a_server_of_a_repository_is_ended(host: Host, tmp_path: Path) -> None:
    (tmp_path / "rclone").symlink_to("/bin/sleep")
    with subprocess.Popen(["rclone", "60"], executable=f"{tmp_path}/rclone") as other:
        # Its words are no server's.
        assert host.module.end_serving("60") == 0
        other.kill()
    with subprocess.Popen(["bash", "-c", 'exec -a rclone "$0" -c "import time; print(flush=True); time.sleep(60)" '
                           "serve /srv/x", sys.executable], stdout=subprocess.PIPE) as serving:
        assert serving.stdout
        serving.stdout.readline()
        assert host.module.end_serving("/srv/x") == 1 and serving.wait(10) == -15


def test_locks_of_who_was_shut_out_go_unless_somebody_is_at_it_here(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "prod-ns"
    assert host.module.forget_locks(str(folder)) == 0
    (folder / "locks").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "locks" / name).touch()
    # As `restic --repo FOLDER prune` of whoever prunes.
    with subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", str(folder)],
                          stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        assert host.module.forget_locks(str(folder)) == 0 and len(list((folder / "locks").iterdir())) == 2
        other.kill()
    assert host.module.forget_locks(str(folder)) == 2 and not list((folder / "locks").iterdir())


def test_refusals(host: Host) -> None:
    assert host.run("reader", "")["msg"] == "obs has no key for the backup host."
    assert host.run("reader", "", check=True)["changes"]
    (host.folder / "key.pub").unlink()
    assert "could not be changed" in host.run("reader")["msg"]


@pytest.mark.parametrize("phase", ["reader", "writer"])
def test_a_key_that_opened_something_else_opens_this_alone(host: Host, phase: str) -> None:
    # Under a mistyped identity, say. sshd would go by that line, which is the first.
    host.run("reader", identity="mistyped/ns")
    host.run("writer", identity="mistyped/other")
    planned = host.run(phase, check=True)
    assert host.run(phase)["changes"] == planned["changes"] != []
    for home in ("backup", "wal"):
        foreign, line = host.lines(home)
        assert foreign == FOREIGN and " prod/ns " in line


def test_a_writer_whose_key_opens_something_else_as_well_is_put_right(host: Host) -> None:
    host.run("writer")
    lines = host.folder / "backup/.ssh/authorized_keys"
    lines.write_text(f'restrict,command="y" {KEY} observer-node-reader mistyped/ns obs\n{lines.read_text()}')
    assert len(host.run("reader")["changes"]) == 1 and host.run("reader")["changes"] == []
    assert len(host.lines("backup")) == 2
