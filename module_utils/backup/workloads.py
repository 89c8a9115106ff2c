"""Stopping what uses the data for a restore, and starting it again as it was."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import settings as given
from .database import SEARCH_PATH
from .files import write_file
from .problems import Unknown

STOPPED = f"{given.WORK}/stopped.json"
"""What was stopped, and how many pods it had: kept until all of it runs again."""

UNITS = "observer-backup-*"
WRITERS = {f"observer-backup-{job}.service" for job in (given.FILES, given.BASE, given.WAL)}
SECONDS = 120.0
READY_SECONDS = 300.0
ENDED_SECONDS = 1800.0
POLL = 0.5

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Workloads:
    """The Deployments and StatefulSets of a namespace, and the units that make backups."""

    def __init__(self, namespace: str, run: Run = subprocess.run, path: str = STOPPED) -> None:
        self.namespace, self._run, self.path = namespace, run, path

    def units(self) -> list[str]:
        """The units of the backups that run or wait for their time."""
        return [line.split()[0] for line in self.call(
            ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", UNITS]).splitlines()
            if line.strip()]

    def workloads(self) -> list[str]:
        """The workloads that have pods."""
        return list(self._replicas())

    def stop(self, keep: Callable[[str], bool] = lambda _: False, needed: Sequence[str] = ()) -> list[str]:
        """Stop all that runs, and wait until it has; what was stopped.

        :param keep: says of a unit or a workload that it goes on.
        :param needed: workloads that are started with one pod, if they had none.
        :raises Unknown: it does not stop.
        """
        held = self._held()
        units = [one for one in self.units() if not keep(one)]
        held["units"] = sorted({*held["units"], *units})
        running = {name: number for name, number in self._replicas().items() if not keep(name)}
        held["replicas"] = {**dict.fromkeys(needed, 1), **held["replicas"], **running}
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        write_file(self.path, json.dumps(held) + "\n", 0o600)
        if units:
            self.call(["systemctl", "stop", *units])
        for name in running:
            self.call(["kubectl", "--namespace", self.namespace, "scale", name, "--replicas=0"])
        ends = time.monotonic() + SECONDS
        while left := [pod["metadata"]["name"] for pod in self._items("pods") if pod["metadata"].get("ownerReferences")
                       and pod["status"].get("phase") in ("Running", "Pending") and not keep(workload_of(pod))]:
            if time.monotonic() > ends:
                raise Unknown(f"the pod {left[0]} does not stop", f"On the node: kubectl -n {self.namespace} get pods")
            time.sleep(POLL)
        return [*units, *running]

    def start(self, only: Sequence[str] = (), again: Sequence[str] = ()) -> None:
        """Start again what was stopped, or some of it; the backups with all of it, and then wait until it serves.

        :param again: units that are to run at once.
        :raises Unknown: it cannot be started; or all of it was, and something does not serve.
        """
        held = self._held()
        for name, number in list(held["replicas"].items()):
            if not only or name in only:
                self.call(["kubectl", "--namespace", self.namespace, "scale", name, f"--replicas={number}"])
        if not only:
            # Services that run once were stopped at their work, and their timers start them when they are due.
            lasting = [one for one in held["units"] if one.endswith(".timer") or "stream" in one or "archive" in one]
            if lasting:
                self.call(["systemctl", "start", *lasting])
            if again and any("observer-backup-base" in one for one in held["units"]):
                self.call(["systemctl", "start", "--no-block", *again])
            if os.path.exists(self.path):
                os.unlink(self.path)
            for name in held["replicas"]:
                try:
                    self.call(["kubectl", "--namespace", self.namespace, "rollout", "status", name,
                               f"--timeout={READY_SECONDS:.0f}s"], READY_SECONDS + 10)
                except Unknown as problem:
                    raise Unknown(f"everything was started, the backups too, and {name} does not serve: {problem.what}",
                                  "Nothing is left to be done again: playbooks/diagnose.yml says what is wrong."
                                  ) from problem

    def jobs_ended(self) -> None:
        """Wait until no job is at its work: what it has saved, and what one that is killed leaves, nobody knows to be
        whole.

        :raises Unknown: one has been running for half an hour.
        """
        ends = time.monotonic() + ENDED_SECONDS
        while busy := sorted(WRITERS & set(self.units())):
            if time.monotonic() > ends:
                raise Unknown(f"{busy[0]} has been running for half an hour",
                              f"Wait for it (journalctl -u {busy[0]}), and run again.")
            time.sleep(POLL)

    def _replicas(self) -> dict[str, int]:
        return {f"{one['kind'].lower()}/{one['metadata']['name']}": int(one["spec"].get("replicas", 1))
                for one in self._items("deployments,statefulsets") if one["spec"].get("replicas", 1)}

    def _held(self) -> dict[str, Any]:
        try:
            found = given.read_json(self.path)
        except given.SettingsError:
            found = {}
        return {"replicas": dict(found.get("replicas") or {}), "units": list(found.get("units") or [])}

    def _items(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.call(["kubectl", "--namespace", self.namespace, "get", what, "--output", "json"]))["items"]
        return found

    def call(self, argv: Sequence[str], seconds: float = SECONDS) -> str:
        try:
            done = self._run(list(argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                             timeout=seconds, env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C"})
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unknown(f"{argv[0]} does not answer: {error}") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise Unknown(f"`{' '.join(argv[:6])}` failed: {lines[-1][:200] if lines else done.returncode}",
                          "Mend that on the node, and run the same again: what was stopped is remembered.")
        return done.stdout


def workload_of(pod: Mapping[str, Any]) -> str:
    """The workload that a pod is of, such as ``deployment/observer``."""
    owner = pod["metadata"]["ownerReferences"][0]
    if owner["kind"] == "ReplicaSet":
        return f"deployment/{owner['name'].rpartition('-')[0]}"
    return f"{owner['kind'].lower()}/{owner['name']}"
