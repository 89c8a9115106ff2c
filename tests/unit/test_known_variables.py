"""The action known_variables, run by ansible-playbook on inventories of a few lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

SPECS = {
    "k3s": ["k3s_version", "k3s_node_name", "k3s_token"],
    "config_dir": ["config_dir_path"],
}


class Project:
    """A playbook, two roles and an inventory in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for role, names in SPECS.items():
            options = {name: {"type": "str", "default": ""} for name in names}
            self.write(f"roles/{role}/meta/argument_specs.yml", json.dumps({"argument_specs": {
                "main": {"options": options}, "preflight": {"options": {f"{role}_preflight_only": {"type": "str"}}}}}))
        self.write("inventory/hosts.yml", "all:\n  hosts:\n    n1:\n")
        self.play()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def play(self, *, before: str = "[]", variables: str = "{}", **options: object) -> None:
        arguments = json.dumps({"roles": str(self.folder / "roles"), **options})
        self.write("play.yml", f"- hosts: all\n  gather_facts: false\n  vars: {variables}\n  pre_tasks: {before}\n"
                               f"  tasks:\n    - name: Refuse unknown variables\n      known_variables: {arguments}\n")

    def run(self, *arguments: str) -> dict[str, Any]:
        """Results of the last task by host."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment.update(ANSIBLE_ACTION_PLUGINS=str(ROOT / "plugins/action"), ANSIBLE_LIBRARY=str(ROOT / "library"),
                           ANSIBLE_HOME=str(self.folder / ".ansible"), ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
                           ANSIBLE_INJECT_FACT_VARS="false")
        done = subprocess.run([BIN / "ansible-playbook", "-i", "inventory", "play.yml", *arguments], cwd=self.folder,
                              env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        hosts: dict[str, Any] = json.loads(done.stdout)["plays"][0]["tasks"][-1]["hosts"]
        assert (done.returncode == 0) == (not any(host.get("failed") for host in hosts.values()))
        return hosts


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_each_host_is_told_every_variable_that_nothing_reads(project: Project) -> None:
    """Where it is defined and what was meant; the first two hosts have nothing to be told."""
    project.write("inventory/hosts.yml", """all:
  hosts:
    right:
      k3s_version: v1
      k3s_preflight_only: declared by another entry point than main
      vault_k3s_token: t
      provision_overlay: prod
    others:
      monitoring_url: not ours
      edge_node_name: not ours either
    one:
      # k3s_verson: in a comment
      k3s_verson: v1
    prefix:
      k3_node_name: a
    several:
""")
    project.write("inventory/extra.ini", "[all]\nini ansible_host=192.0.2.1 k3s_tokn=abc\n")
    project.write("inventory/host_vars/several.yml",
                  "---\nconfig_dir_xyzzy_plugh: 1\nbackup_keep: 3\n'k3s_nodename': a\n")
    project.write("host_vars/several/beside_the_playbook.yml", "---\n\nk3s_nodename: b\n")
    project.play(also=["vault_k3s_token", "provision_*"], variables="{__k3s_unit: k3s.service}",
                 before="[{name: Look, ansible.builtin.command: 'true', delegate_to: localhost, register: __k3s_seen}]")
    hosts = project.run()

    for host in ("right", "others"):
        assert (hosts[host]["changed"], hosts[host]["unknown"]) == (False, []), host
    assert hosts["one"]["msg"] == "Unknown variable k3s_verson in inventory/hosts.yml:13 (did you mean k3s_version?)."
    assert hosts["one"]["remedy"] == ("Correct the name, or remove what is not needed; what there is stands in "
                                      "roles/k3s/README.md.")
    assert hosts["one"]["unknown"] == [{"name": "k3s_verson", "places": ["inventory/hosts.yml:13"],
                                        "suggestion": "k3s_version"}]
    assert hosts["prefix"]["msg"] == ("Unknown variable k3_node_name in inventory/hosts.yml:15 "
                                      "(did you mean k3s_node_name?).")
    assert hosts["ini"]["msg"] == "Unknown variable k3s_tokn in inventory/extra.ini:2 (did you mean k3s_token?)."
    assert hosts["several"]["msg"] == (
        "3 unknown variables: backup_keep in inventory/host_vars/several.yml:3; "
        "config_dir_xyzzy_plugh in inventory/host_vars/several.yml:2; k3s_nodename in "
        "inventory/host_vars/several.yml:4 and host_vars/several/beside_the_playbook.yml:3 "
        "(did you mean k3s_node_name?).")
    assert hosts["several"]["remedy"] == ("Correct the names, or remove what is not needed; what there is stands in "
                                          "roles/config_dir/README.md and roles/k3s/README.md.")


def test_extra_variables_and_what_a_play_sets(project: Project) -> None:
    """In check mode too. The host cannot be reached: no connection is opened."""
    project.write("inventory/hosts.yml", "all:\n  hosts:\n    n1:\n      ansible_host: 192.0.2.1\n")
    project.write("extra.yml", "---\nk3s_verson: v1\n")
    project.play(variables="{secrets_new: 1}")
    result = project.run("--check", "-e", "k3s_nodename=a", "-e", "@extra.yml")["n1"]
    assert {one["name"]: one["places"] for one in result["unknown"]} == {
        "k3s_nodename": ["the extra variables (-e)"],
        "k3s_verson": ["extra.yml:2"],
        "secrets_new": ["a playbook's vars, or a task's register or set_fact"],
    }


def test_a_name_in_the_vault_is_found_and_its_value_never_shown(project: Project) -> None:
    project.write("inventory/group_vars/all/vault.yml", "---\nvault_k3s_token: a\nvault_k3s_tokn: hunter2-secret\n")
    project.write("password", "open sesame\n")
    subprocess.run([BIN / "ansible-vault", "encrypt", "--vault-password-file", project.folder / "password",
                    project.folder / "inventory/group_vars/all/vault.yml"], check=True, capture_output=True)
    project.play(also=["vault_k3s_token"])
    result = project.run("--vault-password-file", "password")["n1"]
    assert result["msg"] == ("Unknown variable vault_k3s_tokn in inventory/group_vars/all/vault.yml:3 "
                             "(did you mean vault_k3s_token?).")
    assert "hunter2" not in json.dumps(result)


def test_a_variable_of_all_that_loses_is_refused(project: Project) -> None:
    project.write("group_vars/all.yml", "k3s_version: v1\nconfig_dir_path: /c\n")
    project.write("inventory/group_vars/all/mine.yml", "# mine\nk3s_version: v2\nurl: u\n")
    refused = project.run()["n1"]
    assert refused["msg"] == ("k3s_version in inventory/group_vars/all/mine.yml:2 has no effect, since"
                              " group_vars/all.yml:1 wins.")
    assert refused["remedy"] == "Move it to group_vars/observer.yml of the inventory."

def test_values_are_those_that_the_roles_take(project: Project) -> None:
    """As Ansible's own check of a role, which is a task for every role."""
    project.write("roles/k3s/meta/argument_specs.yml", json.dumps({"argument_specs": {"preflight": {"options": {
        "k3s_version": {"type": "str", "required": True}, "k3s_kind": {"choices": ["server", "agent"]},
        "k3s_file": {"type": "path"}}}}}))
    project.play(entry_point="preflight", variables='{k3s_version: v1, k3s_file: "{{ role_path }}/files/x"}')
    assert not project.run()["n1"].get("failed")
    refused = project.run("-e", "k3s_kind=other")["n1"]
    assert refused["argument_errors"] == ["value of k3s_kind must be one of: server, agent, got: other"]
    assert refused["validate_args_context"]["name"] == "k3s"
    project.play(entry_point="preflight")
    assert project.run()["n1"]["argument_errors"] == ["missing required arguments: k3s_version"]
    project.play()
    assert not project.run("-e", "k3s_kind=other")["n1"].get("failed")


def test_roles_that_cannot_be_read_are_refused(project: Project) -> None:
    project.write("inventory/hosts.yml", "all:\n  hosts:\n    n1:\n    n2:\n      folder: rolls\n")
    project.write("roles/k3s/meta/argument_specs.yml", "---\nargument_specs: [\n")
    project.play(roles="{{ playbook_dir }}/{{ folder | default('roles') }}")
    hosts = project.run()
    assert hosts["n1"]["msg"].startswith("roles/k3s/meta/argument_specs.yml is not an argument specification: ")
    assert hosts["n2"]["msg"] == f"roles: there is no folder {project.folder / 'rolls'}."
    assert hosts["n1"]["remedy"] and hosts["n2"]["remedy"]
