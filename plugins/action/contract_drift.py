"""Looks for drift on the host, and makes findings of it here. Documented in library/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.living.drift import check_drift
from contract.model import Kind
from contract_actions import findings_result, seen_on


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module of the same name on the host, and then the contract's words."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Findings of kind drift, and what could not be looked at."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec={
            "fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"],
                        "default": []}})
        answer = self._execute_module(module_name="contract_drift", module_args=options, task_vars=task_vars)
        if answer.get("failed"):
            return {**result, **answer}
        host = str((task_vars or {}).get("inventory_hostname", ""))
        findings = seen_on(host, check_drift(host, answer["facts"]))
        said = findings_result(findings, [Kind(name) for name in options["fail_on"]],
                               "The node is as the last provision left it." if not findings else
                               "1 thing is not as the last provision left it." if len(findings) == 1 else
                               f"{len(findings)} things are not as the last provision left them.")
        return {**result, "changed": False, "facts": answer["facts"], **said}
