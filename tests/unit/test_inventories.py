"""Rules that the inventories and the shared variables keep."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "group_vars" / "all.yml"


def defined(path: Path) -> set[str]:
    return set(re.findall(r"^((?:provision|reset|secrets|vault|verify)_\w+):", path.read_text(), re.MULTILINE))


def test_names_that_no_role_reads_are_all_listed() -> None:
    names = set().union(*map(defined, [*ROOT.glob("group_vars/*.yml"), *ROOT.glob("inventories/*/group_vars/**/*.yml"),
                                       *ROOT.glob("inventories/*/group_vars/all/vault.yml.example")]))
    listed = yaml.safe_load(SHARED.read_text())["provision_names"]
    assert listed == sorted(listed)
    assert names - {"vault_sealing_key"} <= set(listed)


def test_every_playbook_sees_the_shared_variables() -> None:
    """Ansible looks beside the playbook that it runs, and not beside the one that imports it."""
    for playbook in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("bench/*.yml"), *ROOT.glob("tests/on_node/*.yml"),
                     ROOT / "site.yml"]:
        assert (playbook.parent / "group_vars" / "all.yml").samefile(SHARED), playbook


def test_readmes_have_no_placeholder() -> None:
    for path in ROOT.glob("README*.md"):
        assert not re.search(r"^[A-Z]+$", path.read_text(), re.MULTILINE), path


def test_the_manifests_except_the_networks_that_k3s_hands_out() -> None:
    shared = yaml.safe_load(SHARED.read_text())
    policies = (ROOT / "manifests/base/networkpolicies/observer.yaml").read_text()
    assert f"except: [{shared['k3s_cluster_cidr']}, {shared['k3s_service_cidr']}," in policies
