"""What may be asked of a node, and what is refused before anything changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import nodes, preflight, settings
from bed.errors import BedError


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_defaults() -> None:
    node = nodes.plan("n1")
    assert (node.hostname, node.outward, node.oci_firewall) == ("n1", True, False)
    assert nodes.free_address() == "10.89.53.11"


@pytest.mark.parametrize(("arguments", "message"), [
    ({"name": "N1"}, "NAME=N1"),
    ({"name": "-x"}, "NAME=-x"),
    ({"name": "n1", "hostname": "bad_name"}, "--hostname bad_name"),
    ({"name": "n1", "address": "10.0.0.1"}, "--address 10.0.0.1: choose one in 10.89.53.0/24"),
    ({"name": "n1", "address": settings.REGISTRY_ADDRESS}, "not the bed's own"),
    ({"name": "n1", "address": "x"}, "--address x: not an IPv4 address"),
    ({"name": "n1", "data_disk": 1, "data_path": "data"}, "--data-path"),
])
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BedError, match=message.replace("(", r"\(")):
        nodes.plan(**arguments)  # type: ignore[arg-type]


def test_an_unknown_node_is_refused_with_what_to_type() -> None:
    with pytest.raises(BedError, match=r"no node named ghost .*make node NAME=ghost"):
        nodes.find("ghost")


def test_preflight_names_every_problem_and_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(preflight.shutil, "which", lambda name, **_: None)
    monkeypatch.setattr(preflight, "MEMORY_GIB", 10**6)
    monkeypatch.setattr(preflight, "DISK_GIB", 10**6)
    with pytest.raises(BedError) as refused:
        preflight.check()
    text = str(refused.value)
    for part in ("needs root", "sudo", "no Go: install Go 1.26", "of memory are available", "XDG_CACHE_HOME"):
        assert part in text
