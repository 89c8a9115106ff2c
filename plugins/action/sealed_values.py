"""Controller side of the module ``sealed_values``; its documentation is in ``library/sealed_values.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from sealing.inventory import prepare
from sealing.private import SealingError, Vault

ARGUMENTS: dict[str, Any] = {
    "values_file": {"type": "path", "required": True},
    "key_file": {"type": "path", "required": True},
    "certificate": {"type": "path", "required": True},
    "folder": {"type": "path", "required": True},
    "namespace": {"type": "str", "required": True},
    "encrypted": {"type": "bool", "default": True},
    "made": {"type": "dict", "options": {
        "random": {"type": "list", "elements": "str", "default": []},
        "fixed": {"type": "dict", "default": {}},
        "read": {"type": "dict", "default": {}},
        "remedy": {"type": "str", "default": "make the file, then run again"},
    }},
    "secrets": {"type": "list", "elements": "dict", "required": True, "options": {
        "name": {"type": "str", "required": True},
        "values": {"type": "dict"},
        "optional": {"type": "dict", "options": {
            "variable": {"type": "str", "required": True},
            "keys": {"type": "str", "required": True},
        }},
        "registry": {"type": "dict", "options": {
            "host": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True},
        }},
    }, "mutually_exclusive": [["values", "registry"]], "required_one_of": [["values", "registry"]]},
    "other_variables": {"type": "list", "elements": "str", "default": []},
    "unread_variables": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """See ``library/sealed_values.py``."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            # Plain text: Ansible's marks of where a string comes from end here.
            plan = prepare(json.loads(json.dumps(arguments)), Vault.current())
            if not self._task.check_mode:
                for step in plan.steps:
                    step()
        except SealingError as error:
            return {**result, "failed": True, "msg": str(error), "remedy": error.remedy}
        result.update(changed=bool(plan.changes), changes=plan.changes)
        if self._task.diff and plan.changes:
            # No before and after: a ciphertext says nothing, and a value must not.
            result["diff"] = {"prepared": "\n".join(plan.changes) + "\n"}
        return result
