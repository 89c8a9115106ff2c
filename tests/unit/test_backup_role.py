"""The role backup's refusals, by ansible-playbook: each names the variable and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

GOOD: dict[str, Any] = {
    "backup_repository": "backup_host:", "backup_password": "x", "backup_identity": "inv/ns",
    "backup_server_address": "192.0.2.1"}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "good": ({}, ""),
    "archive": ({"backup_mode": "archive", "backup_repository": "s3:https://example.com/b",
                 "backup_server_address": ""}, ""),
    "off": ({"backup_repository": "", "backup_off": "a reason", "backup_password": ""}, ""),
    "time": ({"backup_restore_to": "2026-11-22 03:00:00+09"}, ""),
    "nothing": ({"backup_repository": ""}, "backup_repository is empty, so nothing would survive this node"),
    "both": ({"backup_off": "a reason"}, "leave one of them empty"),
    "password": ({"backup_password": ""}, "vault_backup_password"),
    "lines": ({"backup_password": "a\nb"}, "backup_password has more than one line"),
    "identity": ({"backup_identity": "no slash"}, "backup_identity is no slash"),
    "host": ({"backup_server_address": ""}, "group backup_hosts"),
    "stream": ({"backup_repository": "s3:https://example.com/b", "backup_server_address": ""},
               "or set backup_mode to archive"),
    "minutes": ({"backup_files_minutes": 0}, "backup_files_minutes is 0"),
    "shipped": ({"backup_archive_seconds": 5}, "backup_archive_seconds is 5"),
    "sftp": ({"backup_repository": "sftp:u@h:/b"}, "through sftp the node could delete every backup"),
    "hour": ({"backup_base_hour": 24}, "backup_base_hour is 24"),
    "keep": ({"backup_keep": {"last": 5}}, "backup_keep has last"),
    "claims": ({"backup_claims": {"a": "files"}}, "backup_claims has to have one database"),
    "first": ({"backup_first_start": "another"}, "backup_first_start is another, and this node is first"),
    "when": ({"backup_restore_to": "yesterday"}, "backup_restore_to is yesterday, which is no time"),
    "checksum": ({"backup_restic_checksums": {}}, "SHA256SUMS"),
}
PLAY = [{"hosts": "all", "gather_facts": False, "tasks": [
    {"ansible.builtin.setup": {"gather_subset": ["!all", "!min", "architecture"]}},
    {"block": [{"ansible.builtin.import_role": {"name": "backup", "tasks_from": "preflight"}}],
     "rescue": [{"ansible.builtin.set_fact": {"said": "{{ ansible_failed_result.msg }}"}}]},
    {"ansible.builtin.copy": {"content": "{{ {'said': said | default('')} | to_json }}",
                              "dest": "{{ out }}/{{ inventory_hostname }}.json", "mode": "0600"},
     "check_mode": False}]}]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said of each case, from one run with a host for each."""
    folder = tmp_path_factory.mktemp("role")
    hosts = {name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable,
                    **GOOD, **changed} for name, (changed, _) in CASES.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (folder / "play.yml").write_text(yaml.safe_dump(PLAY))
    subprocess.run([str(Path(sys.executable).with_name("ansible-playbook")), "--check", "-i", str(folder / "hosts.yml"),
                    "-e", f"out={folder}", str(folder / "play.yml")], cwd=ROOT, check=True, capture_output=True,
                   env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"})
    return {name: json.loads((folder / f"{name}.json").read_text())["said"] for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_refusals(said: dict[str, str], case: str) -> None:
    expected = CASES[case][1]
    assert expected in said[case] if expected else said[case] == ""
