"""Nodes for the tests: made once for the whole run, and the hands of an operator on them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bed import nodes, services, settings
from bed.__main__ import build
from bed.recipes import host_architecture
from operator_hand import Cluster, Measured, install_k3s


@pytest.fixture(scope="session")
def parts() -> dict[str, Path]:
    """Everything built, mirror and registry up."""
    paths = build()
    services.up(paths, host_architecture())
    return paths


@pytest.fixture(scope="session")
def measured() -> Iterator[Measured]:
    """Figures for ``bench/results.json``."""
    figures = Measured()
    yield figures
    (settings.folders().cache / "measured.json").write_text(json.dumps(figures.as_dict(), indent=2))


@pytest.fixture(scope="session")
def bare_a(parts: dict[str, Path], measured: Measured) -> Iterator[nodes.Node]:
    """A bare node as the defaults make it."""
    started = time.monotonic()
    services.up(parts, host_architecture())
    measured.node_seconds["mirror and registry, warm"] = round(time.monotonic() - started, 1)
    started = time.monotonic()
    node = nodes.up(nodes.plan("test-a", hostname="obs-test-a"), parts)
    measured.node_seconds["bare node to SSH"] = round(time.monotonic() - started, 1)
    yield node


@pytest.fixture(scope="session")
def bare_b(parts: dict[str, Path], bare_a: nodes.Node) -> Iterator[nodes.Node]:
    """A second one beside it, with everything that a node can be asked for."""
    node = nodes.plan(
        "test-b", hostname="obs-test-b", address="10.89.53.77", oci_firewall=True, outward=False, data_disk=1,
        data_path="/srv/data",
    )
    yield nodes.up(node, parts)


@pytest.fixture(scope="session")
def cluster(bare_a: nodes.Node, measured: Measured) -> Cluster:
    """The stand-in, installed on the first node as an operator would, and Ready."""
    cluster = install_k3s(bare_a, node_name="obs-prod-arm")
    measured.node_seconds.update(cluster.times)
    return cluster


@pytest.fixture(autouse=True)
def say_what_is_there_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a failed test, what an operator would look at first."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        for node in nodes.everyone():
            print(f"--- {node.name}")
            subprocess.run([*nodes.ssh_argv(node), (
                "sudo k3s kubectl get pods,pv,pvc -A -o wide 2>&1 | tail -40;"
                " sudo k3s kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -20;"
                " sudo journalctl -u k3s -u k3s-agent --no-pager -n 20 | cut -c1-200"
            )], check=False, timeout=60)
