"""Nodes for the tests of the whole job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bed import nodes, services
from bed.__main__ import build
from bed.recipes import host_architecture
from hands import Site, node_name


def fresh(name: str, parts: dict[str, Path], **wanted: bool) -> nodes.Node:
    """A new bare node, in the place of one that an interrupted run has left."""
    for node in nodes.everyone():
        if node.name == name:
            nodes.down(node)
    return nodes.up(nodes.plan(name, **wanted), parts)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def parts() -> dict[str, Path]:
    """Everything built, mirror and registry up."""
    paths = build()
    services.up(paths, host_architecture())
    return paths


@pytest.fixture(scope="session")
def site(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A bare node with an OCI image's rules, from which nothing outside the bed can be reached, and its inventory."""
    node = fresh(node_name("a"), parts, oci_firewall=True, outward=False)
    site = Site.local(node, tmp_path_factory.mktemp(node_name("a")), k3s_node_name="obs-local")
    site.play(playbook="playbooks/secrets.yml").ok()
    return site


@pytest.fixture(scope="session")
def bare(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A bare node without any rules, on which nothing is ever installed."""
    node = fresh(node_name("b"), parts)
    site = Site.local(node, tmp_path_factory.mktemp(node_name("b")), k3s_node_name="obs-local")
    site.play(playbook="playbooks/secrets.yml").ok()
    return site


@pytest.fixture(autouse=True)
def say_what_is_there_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a failed test, what an operator would look at first."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        for node in nodes.everyone():
            if node.name.startswith(node_name("")):
                print(f"--- {node.name}")
                subprocess.run([*nodes.ssh_argv(node), (
                    "sudo kubectl get pods,pv,pvc -A -o wide 2>&1 | tail -40;"
                    " sudo kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -20;"
                    " sudo journalctl -u k3s --no-pager -n 20 | cut -c1-200"
                )], check=False, timeout=60)
