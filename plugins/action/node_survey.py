"""Gives node_survey the controller's time, and says in one sentence why root on a node is out of reach."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

REMEDY = (
    "Log in as Ansible does and try `sudo /usr/bin/python3 --version`. Where it asks for a password, give it with"
    " --ask-become-pass or as ansible_become_password in the vault; where it is refused, let the user do it in"
    " /etc/sudoers.d; where there is no Python, `apt-get install python3`."
)

CLOCK = "the clock of the node is "
"""How the module's refusal of a clock begins."""


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name, which documents it, on the node."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result. It is the first that a run does on a node, so it meets what keeps Ansible out."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        given = float(arguments.get("clock_reference") or 0)
        asked = time.time()
        arguments["clock_reference"] = given or asked
        try:
            result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        except AnsibleConnectionFailure:
            raise  # an unreachable host is Ansible's to report
        except AnsibleError as error:
            result = {"failed": True, "msg": str(error)}
        if result.get("failed") and "remedy" not in result:
            words = str(result.get("module_stderr") or result.get("msg")).strip().splitlines()[-1]
            return {**result, "msg": f"Python does not run as root on the node: {words.rstrip('.')}.", "remedy": REMEDY}
        if given:
            return result
        return without_delay(result, asked, time.time(), float(arguments.get("clock_tolerance_seconds") or 30))


def without_delay(result: dict[str, Any], asked: float, answered: float, tolerance: float) -> dict[str, Any]:
    """The result without a refusal of a clock that is only as far ahead as the answer took to come.

    A node was asked at one moment and has answered at another, and on a slow one there is a minute in between; its
    clock is off by no less than it is from the nearer of the two.
    """
    clock = (result.get("node") or {}).get("clock")
    if clock is None or not asked + tolerance < clock <= answered + tolerance:
        return result
    left = [one for one in result["refusals"] if not one["msg"].startswith(CLOCK)]
    gone = [one for one in result["refusals"] if one["msg"].startswith(CLOCK)]
    result = {**result, "refusals": left}
    if left:
        for one in gone:
            result["msg"] = result["msg"].replace(one["msg"][:1].upper() + one["msg"][1:], "").strip()
            result["remedy"] = result["remedy"].replace(one["remedy"], "").strip()
        return result
    return {name: value for name, value in result.items() if name not in ("failed", "msg", "remedy")}
