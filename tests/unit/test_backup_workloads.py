"""Stopping workloads for a restore and starting them again as they were."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from backup.problems import Unknown
from backup.workloads import Workloads


class Cluster:
    """kubectl and systemctl of a node with two workloads."""

    def __init__(self) -> None:
        self.replicas = {"deployment/observer": 1, "statefulset/postgres": 1, "deployment/off": 0}
        self.calls: list[list[str]] = []
        self.fails = ""

    def __call__(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        self.calls.append(argv)
        if self.fails and self.fails in argv:
            return subprocess.CompletedProcess(argv, 1, "", "refused")
        out = ""
        if argv[:2] == ["systemctl", "list-units"]:
            out = ("observer-backup-base.timer loaded active waiting x\n"
                   "observer-backup-archive.service loaded active running x\n")
        elif "scale" in argv:
            self.replicas[argv[4]] = int(argv[5].partition("=")[2])
        elif argv[3:5] == ["get", "pods"]:
            out = json.dumps({"items": []})
        elif "get" in argv:
            out = json.dumps({"items": [{"kind": name.split("/")[0].title(), "metadata": {"name": name.split("/")[1]},
                                         "spec": {"replicas": number}} for name, number in self.replicas.items()]})
        return subprocess.CompletedProcess(argv, 0, out, "")


def test_stopped_and_started_as_it_was(tmp_path: Path) -> None:
    cluster = Cluster()
    ours = Workloads("ns", cluster, str(tmp_path / "stopped.json"))
    assert ours.stop() == ["observer-backup-base.timer", "observer-backup-archive.service", "deployment/observer",
                           "statefulset/postgres"]
    assert set(cluster.replicas.values()) == {0}
    # Interrupted here and begun again: what ran before is still known.
    ours.stop()
    ours.start(["statefulset/postgres"])
    assert cluster.replicas["statefulset/postgres"] == 1 and cluster.replicas["deployment/observer"] == 0
    ours.start(again=["observer-backup-base.service"])
    assert cluster.replicas == {"deployment/observer": 1, "statefulset/postgres": 1, "deployment/off": 0}
    assert ["systemctl", "start", "observer-backup-archive.service", "observer-backup-base.timer"] in cluster.calls
    assert ["systemctl", "start", "--no-block", "observer-backup-base.service"] in cluster.calls
    assert not (tmp_path / "stopped.json").exists()


def test_what_is_needed_runs_afterwards_even_if_it_was_switched_off(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.replicas["statefulset/postgres"] = 0
    ours = Workloads("ns", cluster, str(tmp_path / "stopped.json"))
    ours.stop(needed=["statefulset/postgres"])
    ours.start(["statefulset/postgres"])
    assert cluster.replicas["statefulset/postgres"] == 1
    ours.start()
    assert cluster.replicas == {"deployment/observer": 1, "statefulset/postgres": 1, "deployment/off": 0}


def test_a_failure_keeps_what_was_known(tmp_path: Path) -> None:
    cluster = Cluster()
    ours = Workloads("ns", cluster, str(tmp_path / "stopped.json"))
    ours.stop()
    cluster.fails = "scale"
    with pytest.raises(Unknown, match="refused"):
        ours.start()
    cluster.fails = ""
    ours.start()
    assert cluster.replicas["deployment/observer"] == 1


def test_backups_go_on_although_something_does_not_serve(tmp_path: Path) -> None:
    cluster = Cluster()
    ours = Workloads("ns", cluster, str(tmp_path / "stopped.json"))
    ours.stop()
    cluster.fails = "rollout"
    with pytest.raises(Unknown, match="was started, the backups too, and deployment/observer does not serve"):
        ours.start(again=["observer-backup-base.service"])
    assert cluster.replicas == {"deployment/observer": 1, "statefulset/postgres": 1, "deployment/off": 0}
    assert ["systemctl", "start", "observer-backup-archive.service", "observer-backup-base.timer"] in cluster.calls
    assert not (tmp_path / "stopped.json").exists()
