"""Looks at a node and compares it with a contract. Documented in library/."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.living.node import check_node, request
from contract.model import ContractError, Kind
from contract.spec import load_contract
from contract_actions import findings_result, seen_on

ARGUMENTS = {
    "contract": {"type": "path", "required": True},
    "namespace": {"type": "str"},
    "storage_free_gib": {"type": "float"},
    "pod_cidr": {"type": "str"},
    "service_cidr": {"type": "str"},
    "peers": {"type": "list", "elements": "str"},
    "fail_on": {"type": "list", "elements": "str", "choices": ["violation", "unchecked", "drift"], "default": []},
}
VARIABLES = {"namespace": "observer_namespace", "storage_free_gib": "node_storage_free_gib",
             "pod_cidr": "node_pod_cidr", "service_cidr": "node_service_cidr", "peers": "provision_peers"}
"""Of the host, for what is not said in the task."""

GIB = 1024**3


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads the contract here, has the module of the same name look at the node, and judges here what it saw."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's ``facts``, with findings."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(ARGUMENTS)
        for name, variable in VARIABLES.items():
            if options[name] is None and variable in (task_vars or {}):
                options[name] = self._templar.template((task_vars or {})[variable])
        try:
            contract = load_contract(Path(options["contract"]))
            environment = contract.environment_of(options["namespace"]) if options["namespace"] else None
            if options["namespace"] and not environment:
                raise ContractError(f"{options['contract']}: no environment has the namespace {options['namespace']}.",
                                    "Add it to the contract's environments, or correct the namespace.")
        except ContractError as error:
            return {"changed": False, "failed": True, "msg": str(error), "remedy": error.remedy}
        free = options["storage_free_gib"]
        begun = time.time()
        asked = request(contract, environment, pod_cidr=options["pod_cidr"], service_cidr=options["service_cidr"],
                        peers=options["peers"],
                        storage_free=None if free is None else int(float(free) * GIB), clock_reference=begun)
        done: dict[str, Any] = self._execute_module(task_vars=task_vars, module_args={"request": asked})
        if done.get("failed"):
            return done
        # The clock is read at the beginning, and what comes after it may wait.
        done["facts"]["clock_reference"] = nearest(
            float(done["facts"]["now"]), begun, max(begun, time.time() - float(done["facts"]["seconds"])))
        found = seen_on(str((task_vars or {}).get("inventory_hostname", "")),
                        check_node(contract, done["facts"], environment))
        well = f"{len(found)} findings, none of a kind that fail_on names." if found else f"{contract.name} holds here."
        return {"changed": False, "facts": done["facts"],
                **findings_result(found, [Kind(name) for name in options["fail_on"]], well)}


def nearest(clock: float, begun: float, ended: float) -> float:
    """The controller's time to compare a node's clock with, which was read some time between two moments.

    On a slow node these are a minute apart, and its clock is off by no less than it is from the nearer one.
    """
    return min(max(clock, begun), ended)
