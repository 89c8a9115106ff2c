"""Tells the module of this name which commit is provisioned from, and which roles ran. Documented in library/."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.living.drift import check_drift
from contract_actions import findings_result, seen_on

ROLES = ("node", "k3s", "local_path", "sealed_secrets", "config_dir", "observer", "watch")


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module on the host, with the checkout's commit."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the module returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments.setdefault("commit", commit_of(Path(__file__).resolve().parents[2]))
        variables = task_vars or {}
        ran = roles_of(variables.get("ansible_run_tags") or [], variables.get("ansible_skip_tags") or [])
        if ran is not None:
            arguments.setdefault("roles", ran)
        answer = self._execute_module(module_name="drift_baseline", module_args=arguments, task_vars=task_vars)
        if answer.get("failed"):
            return {**result, **answer}
        host = str(variables.get("inventory_hostname", ""))
        found = seen_on(host, check_drift(host, answer["facts"]))
        return {**result, **answer, "findings": findings_result(found, [])["findings"]}


def roles_of(run: Sequence[str], skipped: Sequence[str]) -> list[str] | None:
    """The roles that a run with these tags has, or nothing when it has all. A role's tags begin with its name."""
    if "all" in run and not skipped:
        return None
    return [role for role in ROLES if role not in skipped and ("all" in run or any(
        tag == role or tag.startswith(f"{role}_") for tag in run))]


def commit_of(checkout: Path) -> str:
    """The commit that a checkout is at, read from git's files, for a program's start would cost more; or nothing."""
    try:
        folder = checkout / ".git"
        if folder.is_file():  # A worktree: the file names the folder, which names the one that has the references.
            folder = checkout / folder.read_text().partition("gitdir: ")[2].strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        common = folder / "commondir"
        shared = folder / common.read_text().strip() if common.is_file() else folder
        loose = shared / name
        if loose.is_file():
            return loose.read_text().strip()
        packed = (shared / "packed-refs").read_text().splitlines()
        return next((line.split(" ")[0] for line in packed if line.endswith(f" {name}")), "")
    except OSError:
        return ""
