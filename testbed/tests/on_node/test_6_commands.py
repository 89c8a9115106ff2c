"""The operator's commands, as `make` calls them, on a node of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import nodes, settings
from operator_hand import Measured

NAME = "test-c"


def bed(*words: str, code: int = 0) -> str:
    """Run the command line; returns both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "bed", *words], cwd=settings.ROOT, capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "PYTHONPATH": str(settings.TESTBED)},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def node(parts: dict[str, Path], measured: Measured) -> Iterator[str]:
    started = time.monotonic()
    said = bed("node", "up", NAME, "--hostname", "obs-commands", "--oci-firewall", "--no-outward")
    measured.node_seconds["`make node`, warm"] = round(time.monotonic() - started, 1)
    for word in ("node test-c at 10.89.53.", "bare", "ssh -F", "mirror:", "registry:", "make node-down NAME=test-c"):
        assert word in said
    yield NAME
    bed("node", "down", NAME)


def test_a_life_of_a_node(node: str) -> None:
    assert bed("node", "ssh", node, "hostname").strip() == "obs-commands"
    assert "running" in next(line for line in bed("node", "list").splitlines() if line.startswith(node))
    for action, word in (("stop", "is off"), ("start", "is up"), ("cut", "power cut"), ("start", "is up"),
                         ("reboot", "is up again")):
        assert word in bed("node", action, node)
    assert bed("node", "ssh", node, "hostname").strip() == "obs-commands"


def test_the_closed_node_does_not_reach_this_machine_s_other_addresses(node: str) -> None:
    """Neither through it nor on it: only the bed's own network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel chooses the address of the way out
        address = probe.getsockname()[0]
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        knock = f"nc -z -w 2 {address} {port} && echo open || echo closed"
        assert bed("node", "ssh", node, knock).strip() == "closed"
        # The same knock from a node that is not closed is the proof that there is something to reach.
        assert nodes.ssh(nodes.find("test-a"), knock).strip() == "open"


@pytest.mark.parametrize(("words", "message"), [
    (("node", "up", NAME), "node test-c exists already; `make node-down NAME=test-c` takes it away"),
    (("node", "stop", "ghost"), "no node named ghost"),
    (("node", "up", "Ghost"), "NAME=Ghost: use lower-case letters"),
    (("node", "up", "ghost", "--address", "10.89.53.2"), "--address 10.89.53.2: choose one in 10.89.53.0/24"),
])
def test_refusals_are_one_clear_line(node: str, words: tuple[str, ...], message: str) -> None:
    said = bed(*words, code=1)
    assert said.count("error: ") == 1 and message in said and "Traceback" not in said
    assert "ghost" not in bed("node", "list")


def test_two_at_once_get_two_addresses(node: str, bare_a: nodes.Node) -> None:
    names = ("test-d", "test-e")
    running = [subprocess.Popen(
        [sys.executable, "-m", "bed", "node", "up", name], cwd=settings.ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": str(settings.TESTBED)},
    ) for name in names]
    try:
        for process in running:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said
        assert len({nodes.find(name).address for name in (*names, node, "test-a")}) == 4
        for name in names:
            nodes.ssh(nodes.find(name), f"ping -c 1 -W 2 {bare_a.address}")
    finally:
        for name in names:
            bed("node", "down", name)
