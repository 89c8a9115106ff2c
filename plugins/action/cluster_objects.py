"""Makes Kubernetes objects as declared, from the controller. Documented in library/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from kube.client import Client, Kubeconfig, KubeError, Unreachable
from kube.objects import Change, Objects, Restart, declared, diff

MANAGER = "observer-node"

REFERENCE = {
    "apiVersion": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True},
    "namespace": {"type": "str"},
    "name": {"type": "str", "required": True},
}
ARGUMENTS = {
    "kubeconfig": {"type": "path", "required": True},
    "objects": {"type": "list", "elements": "dict", "default": []},
    "remove": {"type": "list", "elements": "dict", "default": [], "options": REFERENCE},
    "restarts": {"type": "list", "elements": "dict", "default": [], "options": {
        "workload": {"type": "dict", "required": True, "options": REFERENCE},
        "after": {"type": "list", "elements": "dict", "required": True, "options": REFERENCE},
    }},
    "field_manager": {"type": "str", "default": MANAGER},
    "timeout": {"type": "int", "default": 120},
}


display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; it needs no connection to the host."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns ``changed``, ``changes`` and ``diff``, or ``failed`` with ``msg`` and ``remedy``."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        done: list[Change] = []
        try:
            self._run(arguments, done)
        except Unreachable as error:
            if not self._task.check_mode:
                return {**self._result(done), "failed": True, "msg": str(error), "remedy": error.remedy}
            # A real run starts K3s before it comes here.
            return {**self._result([]), "warnings": [f"Objects were not compared. {error}"]}
        except KubeError as error:
            return {**self._result(done), "failed": True, "msg": str(error), "remedy": error.remedy}
        return self._result(done)

    def _run(self, arguments: dict[str, Any], done: list[Change]) -> None:
        """Do what there is to do, or find out what it would be, and note it in ``done``."""
        path = Path(arguments["kubeconfig"])
        wanted: list[dict[str, Any]] = arguments["objects"]
        if self._task.check_mode and not path.exists():
            # There is no cluster yet: everything is to be made, in the order in which a real run would.
            done += Objects.plan_without_cluster(wanted)
            return
        client = Client(Kubeconfig.load(path))
        try:
            work = Objects(client, arguments["field_manager"], arguments["timeout"],
                           lambda line: display.display(f"  {line}"))
            changes = work.plan(
                wanted, [_referred(item) for item in arguments["remove"]],
                [Restart(_referred(item["workload"]), tuple(map(_referred, item["after"])))
                 for item in arguments["restarts"]],
            )
            for change in changes:
                if not self._task.check_mode:
                    work.carry_out(change)
                done.append(change)
        finally:
            client.close()

    def _result(self, done: list[Change]) -> dict[str, Any]:
        result: dict[str, Any] = {"changed": bool(done), "changes": list(map(str, done))}
        if self._task.diff:
            result["diff"] = list(map(diff, done))
        return result


def _referred(item: dict[str, Any]) -> dict[str, Any]:
    """An object of which only the identity is known."""
    metadata = {key: item[key] for key in ("namespace", "name") if item.get(key)}
    return declared({"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata})
