"""Waits until Kubernetes objects are ready, from the controller. Documented in library/."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from kube.client import Client, Kubeconfig, KubeError
from kube.wait import CRASH_GRACE, PATHS, Failed, Page, Target, Waiter

CLUSTER_WIDE = ("Node", "CustomResourceDefinition")
ARGUMENTS = {
    "kubeconfig": {"type": "path", "required": True},
    "targets": {"type": "list", "elements": "dict", "default": [], "options": {
        "kind": {"type": "str", "required": True, "choices": sorted(PATHS)},
        "namespace": {"type": "str"},
        "name": {"type": "str", "required": True},
    }},
    "http": {"type": "list", "elements": "dict", "default": [], "options": {
        "namespace": {"type": "str", "required": True},
        "service": {"type": "str", "required": True},
        "port": {"type": "str", "required": True},
        "path": {"type": "str", "default": "/"},
    }},
    "steady": {"type": "int", "default": 0},
    "crash_grace": {"type": "int", "default": int(CRASH_GRACE)},
    "timeout": {"type": "int", "default": 300},
}

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; it needs no connection to the host."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns ``changed``, ``changes``, ``seconds`` and ``waited_for``; after a failure its ``log``, too."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        result: dict[str, Any] = {"changed": False, "changes": [], "seconds": 0.0, "waited_for": []}
        start = time.monotonic()
        try:
            targets = [_target(item) for item in arguments["targets"]]
            if self._task.check_mode:
                return result  # Nothing was changed, so there is nothing to wait for.
            client = Client(Kubeconfig.load(Path(arguments["kubeconfig"])))
            pages = [Page(item["namespace"], item["service"], item["port"], item["path"]) for item in arguments["http"]]
            waiter = Waiter(client, targets, pages, lambda line: display.display(f"  {line}"),
                            arguments["steady"], arguments["crash_grace"])
            try:
                waiter.wait(arguments["timeout"])
            finally:
                client.close()
                changes = [*(f"Pod {pod}: deleted" for pod in waiter.restarted),
                           *(f"SealedSecret {name}: shown to its controller again" for name in waiter.shown)]
                result.update(changed=bool(changes), changes=changes,
                              seconds=round(time.monotonic() - start, 1), waited_for=waiter.waited_for)
        except KubeError as error:
            log = list(error.log) if isinstance(error, Failed) else []
            return {**result, "failed": True, "msg": str(error), "remedy": error.remedy, "log": log}
        return result


def _target(item: dict[str, Any]) -> Target:
    if item["kind"] in CLUSTER_WIDE:
        return Target(item["kind"], item["name"])
    if not item.get("namespace"):
        raise KubeError(f"targets: {item['kind']} {item['name']} has no namespace.", "Name its namespace.")
    return Target(item["kind"], item["name"], item["namespace"])
