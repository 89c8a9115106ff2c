"""A run that is killed anywhere; the next one ends as if nothing had been."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import nodes
from conftest import fresh as fresh_node
from hands import Site, differences, node_name
from kube.objects import RESTARTED_AT

ROLES = ["node", "k3s", "local_path", "sealed_secrets", "config_dir", "observer"]
"""In the order in which they run."""

KINDS = ("namespace", "storageclass", "deployment", "statefulset", "service", "configmap", "sealedsecret", "secret",
         "pvc", "networkpolicy", "poddisruptionbudget", "serviceaccount", "clusterrole", "clusterrolebinding")


@pytest.fixture
def fresh(parts: dict[str, Path], site: Site, tmp_path: Path) -> Iterator[Site]:
    """A bare node for one test, with the secrets of the undisturbed one: both are to end equal."""
    node = fresh_node(node_name("c"), parts, oci_firewall=True)
    fresh = Site.local(node, tmp_path / "fresh", k3s_node_name="obs-local")
    secrets = "state/observer-node/local-secrets"
    shutil.copytree(site.folder.parent / secrets, fresh.folder.parent / secrets)
    yield fresh
    if not os.environ.get("KEEP_NODES"):
        nodes.down(node)


def state(site: Site) -> dict[str, list[str]]:
    """What two runs must agree on: our files by content, units, settings, rules, objects as they are declared."""
    objects = []
    for kind in KINDS:
        for item in site.get(f"{kind} -A")["items"]:
            place = f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
            objects.append(f"{kind} {place}: {declared(item)}")
    # Names that are drawn anew on every cluster.
    objects = [line for line in objects if not re.search(
        r"kube-root-ca|node-password|system:|/default:|k3s-serving|extension-apiserver|kube-system/coredns", line)]
    snapshot = site.snapshot()
    files = [line for line in snapshot["files"] if re.match(r"/(etc|opt|usr/local)/", line)
             and not re.search(r"k3s\.yaml|/opt/local-path-provisioner/|machine-id|/etc/rancher/node|ld.so", line)]
    sums = site.ssh("sudo find /etc/observer-node /etc/rancher/k3s /etc/sysctl.d /etc/modules-load.d"
                    " /etc/systemd/system /usr/local/bin -type f ! -name k3s.yaml ! -name node.json"
                    " | sort | sudo xargs sha256sum")
    return {
        "files": [re.sub(r" [\d.]+$", "", line) for line in files], "contents": sums.splitlines(),
        "units": [line for line in snapshot["units"] if re.match(r"(k3s|observer|systemd-timesyncd)", line)],
        "settings": snapshot["settings"],
        "firewall": [line for line in snapshot["firewall"] if "OBSERVER" in line or "InstanceServices" in line],
        "objects": objects,
    }


def declared(item: dict[str, Any]) -> str:
    """Of an object, what does not depend on the moment."""
    spec = {key: value for key, value in item.get("spec", {}).items()
            if key not in ("clusterIP", "clusterIPs", "volumeName", "encryptedData")}
    # That it was restarted once, as when an edit was put back.
    spec.get("template", {}).get("metadata", {}).get("annotations", {}).pop(RESTARTED_AT, None)
    return f"{item['metadata'].get('labels')} {spec} {sorted(item.get('data', {}))}"


@pytest.fixture(scope="module")
def printed_tasks(site: Site) -> int:
    """How many tasks a run without interruption prints, those that it skips among them."""
    return site.play(environment={"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}).ok().output.count("\nTASK [")


@pytest.fixture(scope="module")
def undisturbed(site: Site, printed_tasks: int) -> dict[str, list[str]]:
    """The state that a run without interruption ends in."""
    assert printed_tasks
    return state(site)


def test_killed_at_every_role_boundary(fresh: Site, undisturbed: dict[str, list[str]]) -> None:
    """One node, killed when each role begins in turn; every run must get past where the one before it died."""
    for role in ROLES:
        output = fresh.play_until(lambda line, role=role: line.startswith(f"TASK [{role} : ")  # type: ignore[misc]
                                  and "Preflight" not in line and "Validating" not in line)
        assert f"TASK [{role} :" in output
    fresh.play().ok()
    assert differences(undisturbed, state(fresh)) == {}
    assert fresh.play().ok().changes == []


@pytest.mark.parametrize("turn", [1, 2])
def test_killed_anywhere(fresh: Site, undisturbed: dict[str, list[str]], printed_tasks: int, turn: int) -> None:
    """At a random task and moment in it; the seed is printed, and OBSERVER_NODE_SEED repeats it."""
    seed = int(os.environ.get("OBSERVER_NODE_SEED", random.SystemRandom().randrange(10**6))) + turn
    chosen = random.Random(seed)
    task, moment = chosen.randint(printed_tasks // 3, printed_tasks - 2), chosen.uniform(0, 1.5)
    seen = 0

    def reached(line: str) -> bool:
        nonlocal seen
        seen += line.startswith("TASK [")
        if seen == task:
            time.sleep(moment)
        return seen == task

    output = fresh.play_until(reached)
    # The module on the node dies with its run, wherever it is.
    fresh.ssh("sudo pkill -9 -f '[A]nsiballZ' || true")
    print(f"seed {seed - turn}, killed {moment:.1f} s into task {task}: {output.strip().splitlines()[-1]}")
    fresh.play().ok()
    assert differences(undisturbed, state(fresh)) == {}
    assert fresh.play().ok().changes == []
