"""The module volume_prune: nothing goes that is used, or that was not saved."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
from ansible.module_utils.testing import patch_module_args
from test_backup_restore import World

import modules

ansible.module_utils.__path__.append(str(modules.ROOT / "module_utils"))


def volume(name: str, path: Path, phase: str = "Released") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase},
            "spec": {"local": {"path": str(path)}, "claimRef": {"namespace": "ns", "name": "old"}}}


class Node:
    """A cluster of PersistentVolumes, and a repository that is a shelf."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module, self.world = modules.load("volume_prune"), world
        self.storage = world.folder / "volumes"
        self.volumes: list[dict[str, Any]] = []
        self.calls: list[list[str]] = []
        self.writes = True
        self.folder("pvc-1")
        node = self

        class Cluster:
            def __init__(self, namespace: str) -> None:
                assert namespace

            def call(self, argv: Sequence[str]) -> str:
                if argv[1] == "get":
                    return json.dumps({"items": node.volumes})
                # What is deleted was saved before.
                assert [one.kind for one in node.world.repository.snapshots()[0]][-1] == "released"
                node.calls.append(list(argv))
                node.volumes = [one for one in node.volumes if one["metadata"]["name"] != argv[3]]
                return ""

        @contextlib.contextmanager
        def writing(*_: object) -> Any:  # noqa: ANN401
            if not self.writes:
                raise self.module.restore.Refused("another machine has taken over", "take it down")
            yield self.module.jobs.Seen([])

        monkeypatch.setattr(self.module.settings, "load", lambda: world.at(world.new).settings)
        monkeypatch.setattr(self.module, "Repository", lambda _: world.repository)
        monkeypatch.setattr(self.module.jobs, "writing", writing)
        monkeypatch.setattr(self.module.workloads, "Workloads", Cluster)

    def folder(self, name: str, phase: str = "Released") -> Path:
        path = self.storage / f"{name}_ns_old"
        path.mkdir(parents=True)
        (path / "data").write_text(name)
        self.volumes.append(volume(name, path, phase))
        return path

    def run(self, *names: str, check: bool = False) -> dict[str, Any]:
        output = io.StringIO()
        with patch_module_args({"volumes": list(names), "storage": str(self.storage), "_ansible_check_mode": check}), \
                contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            self.module.main()
        found: dict[str, Any] = json.loads(output.getvalue().strip().splitlines()[-1])
        return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(World(tmp_path), monkeypatch)


def test_saved_and_then_removed(node: Node) -> None:
    path = node.storage / "pvc-1_ns_old"
    planned = node.run("pvc-1", check=True)
    assert planned["changes"] == ["pvc-1: saved and removed"] and path.exists() and node.calls == []
    done = node.run("pvc-1")
    assert done["changes"] == planned["changes"] and list(node.storage.iterdir()) == []
    assert node.calls == [["kubectl", "delete", "persistentvolume", "pvc-1", "--wait=true", "--timeout=60s"]]
    target = node.world.folder / "back"
    node.world.repository.restore(done["saved"]["pvc-1"], str(target), include=[str(path)])
    assert Path(f"{target}{path}/data").read_text() == "pvc-1"
    assert "there is no volume pvc-1" in node.run("pvc-1")["msg"]


def test_one_that_may_not_go_keeps_the_others(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.folder("pvc-2", "Bound")
    before = sorted(path.name for path in node.storage.iterdir())
    for other, words in (("pvc-2", "pvc-2 is Bound, of ns/old"), ("pvc-3", "there is no volume pvc-3")):
        said = node.run("pvc-1", other)
        assert words in said["msg"] and "nothing was removed" in said["msg"] and said["remedy"]
    elsewhere = node.world.folder / "elsewhere"
    elsewhere.mkdir()
    node.volumes.append(volume("pvc-4", elsewhere))
    assert "not right below" in node.run("pvc-1", "pvc-4")["msg"]
    node.volumes.append(volume("pvc-5", node.storage / "pvc-5_ns_old"))
    assert "is not on this node" in node.run("pvc-5")["msg"]
    # The folder of one volume, by the name of another that is no more.
    node.volumes[0]["metadata"]["name"] = "another"
    assert "is the folder of another" in node.run("pvc-1")["msg"]
    node.volumes[0]["metadata"]["name"] = "pvc-1"
    monkeypatch.setattr(node.module.restore, "busy", lambda _: True)
    assert "in use by a pod" in node.run("pvc-1")["msg"]
    assert sorted(path.name for path in node.storage.iterdir()) == before and node.calls == []


def test_what_could_not_be_saved_stays(node: Node) -> None:
    node.writes = False
    said = node.run("pvc-1")
    assert "another machine has taken over" in said["msg"] and said["changes"] == [] and node.calls == []
    assert (node.storage / "pvc-1_ns_old/data").exists()


def test_what_an_interrupted_run_has_left_goes(node: Node) -> None:
    """Its PersistentVolume is gone, and its folder is not, or half."""
    node.volumes = []
    done = node.run("pvc-1")
    assert done["saved"]["pvc-1"] and list(node.storage.iterdir()) == [] and node.calls == []
    half = node.storage / "pvc-6_ns_old.removing"
    half.mkdir()
    assert node.run("pvc-6")["changes"] == ["pvc-6: saved and removed"] and not half.exists()
