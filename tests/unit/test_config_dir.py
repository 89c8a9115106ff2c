"""The role config_dir, as far as it can be seen without a node: what it declares and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def declared(folder: Path, **variables: object) -> dict[str, Any]:
    """Result of the last task: the list that goes to the module, or the refusal."""
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"name": "Refuse", "ansible.builtin.import_role": {"name": "config_dir", "tasks_from": "preflight"}},
        {"name": "Show", "ansible.builtin.debug": {"var": "__config_dir_files"}}]}]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_ROLES_PATH=str(ROOT / "roles"), ANSIBLE_HOME=str(folder / ".ansible"),
                       ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    done = subprocess.run([Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "play.yml", "-e",
                           json.dumps(variables)], cwd=folder, env=environment, capture_output=True, text=True,
                          check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["plays"][0]["tasks"][-1]["hosts"]["localhost"]
    return result


def test_the_folder_and_its_parents(tmp_path: Path) -> None:
    """Seed 001, 2-1: 1000:1000, 0755. Whoever may write to a parent could put another folder in its place."""
    parents = [{"path": path, "state": "directory", "mode": "0755"}
               for path in ("/opt/platform", "/opt/platform/runtime", "/opt/platform/runtime/observer")]
    assert declared(tmp_path)["__config_dir_files"] == [*parents, {
        "path": "/opt/platform/runtime/observer/config", "state": "directory", "mode": "0755", "owner": "1000",
        "group": "1000"}]


@pytest.mark.parametrize(("variables", "message"), [
    ({"config_dir_mode": "0775"},
     "config_dir_mode is 0775, which lets more than its owner write: set it to 0755 or less."),
    ({"config_dir_mode": "1755"},
     "config_dir_mode is 1755, which lets more than its owner write: set it to 0755 or less."),
    *[({"config_dir_path": path},
       f"config_dir_path is {path}, which is no folder of its own: set it to an absolute path of at least three"
       " folders, such as /opt/platform/runtime/observer/config.")
      for path in ("/opt/config", "config", "/opt/a/../etc")],
])
def test_refused(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    assert declared(tmp_path, **variables)["msg"] == message
