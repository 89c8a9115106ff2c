"""Looks at the cluster from its server, and compares it with the contract and with git. Documented in library/."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.living.cluster import check_cluster, request
from contract.manifests import load_manifests
from contract.model import ContractError, Kind
from contract.spec import load_contract
from contract_actions import findings_result, optional_path

ARGUMENTS: Mapping[str, Any] = {
    "contract": {"type": "path", "required": True},
    "namespace": {"type": "str", "required": True},
    "manifests": {"type": "path"},
    "beside": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path"},
    "nodes": {"type": "dict", "default": {}},
    "fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"], "default": []},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads contract and manifests here, and has the module of the same name look on the server."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Facts and findings; nothing is changed."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(dict(ARGUMENTS))
        try:
            contract = load_contract(Path(options["contract"]))
            manifests = load_manifests(
                Path(options["manifests"]), root=optional_path(options["root"]),
                extra=[Path(one) for one in options["beside"]]) if options["manifests"] else None
        except ContractError as error:
            return {"changed": False, "failed": True, "msg": str(error), "remedy": error.remedy}
        answer: dict[str, Any] = self._execute_module(
            module_args={"request": request(contract, options["namespace"])}, task_vars=task_vars)
        if answer.get("failed"):
            return answer
        facts = answer["facts"]
        findings = list(check_cluster(contract, {"cluster": facts, "nodes": options["nodes"]}, manifests))
        said = findings_result(findings, [Kind(name) for name in options["fail_on"]],
                               f"What runs in {options['namespace']} is what was agreed." if not findings else
                               f"{len(findings)} things in {options['namespace']} are not what was agreed.")
        return {"changed": False, "facts": facts, **said}
