"""Deletes pods and compares data, for a contract. Documented in library/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.living.persistence import check_persistence, request
from contract.model import ContractError, Kind
from contract.spec import load_contract
from contract_actions import findings_result

ARGUMENTS = {
    "contract": {"type": "path", "required": True},
    "namespace": {"type": "str", "required": True},
    "confirm": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 180},
    "fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"], "default": []},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads the contract here, and has the module of the same name do the work on the server."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's ``result``, with findings."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(ARGUMENTS)
        namespace = options["namespace"]
        if options["confirm"] != namespace:
            return {"changed": False, "failed": True,
                    "msg": f"verify_persistence is {options['confirm']}, and the pods are in {namespace}.",
                    "remedy": f"Say verify_persistence={namespace} to have the pods of {namespace} deleted."}
        if self._task.check_mode:
            return {"changed": True, "result": None, "findings": [], "changes": [f"Pods of {namespace}: deleted"]}
        try:
            contract = load_contract(Path(options["contract"]))
        except ContractError as error:
            return {"changed": False, "failed": True, "msg": str(error), "remedy": error.remedy}
        done: dict[str, Any] = self._execute_module(
            task_vars=task_vars, module_args={"request": request(contract, namespace), "timeout": options["timeout"]})
        if done.get("failed"):
            return done
        result = done["result"]
        changes = [f"Pod {namespace}/{name}: deleted" for name in result["deleted"] or ()]
        found = list(check_persistence(result, namespace))
        return {"changed": done["changed"], "changes": changes, "result": result,
                **findings_result(found, [Kind(name) for name in options["fail_on"]])}
