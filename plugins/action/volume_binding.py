"""Binds the claims of an overlay to the data that they had. Documented in library/."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from kube.binding import Binding, Decision, Plan, claims_of, folder_of, living, names, unbound
from kube.client import JSON_PATCH, ApiError, Client, Kubeconfig, KubeError, Object, Unreachable

MANAGER = "observer-node"
POLL = 0.3
VOLUMES = "/api/v1/persistentvolumes"

ARGUMENTS = {
    "kubeconfig": {"type": "path", "required": True},
    "objects": {"type": "list", "elements": "dict", "required": True},
    "namespace": {"type": "str", "required": True},
    "node": {"type": "str", "required": True},
    "folder": {"type": "path", "required": True},
    "pick": {"type": "dict", "default": {}},
    "storage_class": {"type": "str", "default": "local-path"},
    "timeout": {"type": "int", "default": 120},
}


class Failed(Exception):
    """The module on the node failed; the argument is its result."""


class ActionModule(ActionBase):  # type: ignore[misc]
    """Asks the API from here, and the node only when a claim has no volume."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns ``changed`` and ``changes``, or ``failed`` with ``msg`` and ``remedy``."""
        super().run(tmp, task_vars)
        _, self.given = self.validate_argument_spec(ARGUMENTS)
        self.task_vars = task_vars
        done: list[Binding] = []
        said: list[str] = []
        try:
            self._run(done, said)
        except Unreachable as error:
            if not self._task.check_mode:
                return {**self._result(done, said), "failed": True, "msg": str(error), "remedy": error.remedy}
            return {**self._result([], said), "warnings": [f"Volumes were not looked at. {error}"]}
        except KubeError as error:
            return {**self._result(done, said), "failed": True, "msg": str(error), "remedy": error.remedy}
        except Failed as error:
            failure: dict[str, Any] = error.args[0]
            return failure
        return self._result(done, said)

    def _run(self, done: list[Binding], said: list[str]) -> None:
        given = self.given
        declared = claims_of(given["objects"], given["namespace"], given["storage_class"])
        path = Path(given["kubeconfig"])
        if self._task.check_mode and not path.exists():
            # There is no cluster yet, so there are folders at most.
            plan = self._plan(declared, {}, {}, said) if declared else Plan()
            done += plan.bindings
            return
        client = Client(Kubeconfig.load(path))
        try:
            live, volumes = self._settled(client, declared)
            plan = self._plan(declared, live, volumes, said)
            for binding in plan.bindings:
                if not self._task.check_mode:
                    carry_out(client, binding)
                done.append(binding)
        finally:
            client.close()

    def _settled(self, client: Client, declared: list[Any]) -> tuple[dict[str, Object], dict[str, Object]]:
        """Claims and volumes by name. A real run waits until those of ours that are being deleted have gone: what is to
        be bound again is theirs until then. With a namespace that is being deleted go all its claims."""
        ours = {claim.name for claim in declared}
        space = f"/api/v1/namespaces/{self.given['namespace']}"
        deadline = time.monotonic() + self.given["timeout"]
        while True:
            ending = ((client.get(space) or {}).get("metadata") or {}).get("deletionTimestamp")
            claims = client.items(f"{space}/persistentvolumeclaims")
            live = {} if ending else living(claims)
            going = [f"PersistentVolumeClaim {one['metadata']['name']}" for one in claims
                     if one["metadata"]["name"] in ours - live.keys()]
            if not going and not unbound(declared, live) and not self.given["pick"]:
                return live, {}
            volumes = client.items(VOLUMES)
            going += [f"PersistentVolume {one['metadata']['name']}" for one in volumes
                      if one["metadata"].get("deletionTimestamp") and any(names(one, claim) for claim in declared)]
            if self._task.check_mode or not going:
                return live, living(volumes)
            if time.monotonic() > deadline:
                raise KubeError(
                    f"{' and '.join(going)} of namespace {self.given['namespace']}: being deleted, and not gone within"
                    f" {self.given['timeout']} s.", "Stop the pods that still use it, and run again.")
            time.sleep(POLL)

    def _plan(
        self, declared: list[Any], live: dict[str, Object], volumes: dict[str, Object], said: list[str],
    ) -> Plan:
        waiting = unbound(declared, live)
        picks = {str(claim): str(folder) for claim, folder in self.given["pick"].items()}
        folders = []
        if waiting:
            answer = self._execute_module(task_vars=self.task_vars, module_args={
                "folder": self.given["folder"], "endings": [claim.ending for claim in waiting],
                "paths": [folder_of(one) for one in volumes.values()
                          if any(names(one, claim) for claim in waiting) and folder_of(one)],
                "named": [name for claim, name in picks.items() if claim in {one.name for one in waiting}]})
            if answer.get("failed"):
                raise Failed(answer)
            folders = answer["folders"]
        plan = Decision(live, volumes, folders, picks, self.given["node"], self.given["folder"],
                        self.given["storage_class"]).plan(declared)
        said += plan.said
        return plan

    def _result(self, done: list[Binding], said: list[str]) -> dict[str, Any]:
        result: dict[str, Any] = {"changed": bool(done), "changes": list(map(str, done)),
                                  "volumes": {binding.claim.name: binding.volume for binding in done}}
        if said:
            result["warnings"] = said
        if self._task.diff:
            result["diff"] = [{"prepared": f"{binding}\n"} for binding in done]
        return result


def carry_out(client: Client, binding: Binding) -> None:
    """:raises KubeError: the API server refuses it."""
    try:
        if binding.made:
            client.request("POST", VOLUMES, {"fieldManager": MANAGER}, binding.made)
        else:
            client.request("PATCH", f"{VOLUMES}/{binding.volume}", {"fieldManager": MANAGER}, list(binding.patch),
                           JSON_PATCH)
    except ApiError as error:
        raise KubeError(f"PersistentVolume {binding.volume}: the API server refuses it: {error}",
                        f"Run again; when it stays, see `kubectl describe pv {binding.volume}`.") from error
