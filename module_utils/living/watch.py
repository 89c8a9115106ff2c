"""What the node's timer runs, without a controller: how the node stands, for people and for Prometheus.

    python3 /usr/local/lib/observer-node [--output FOLDER]

Writes ``state.json`` and ``state.txt``, which everybody may read, and where node_exporter has a folder for it a file of
metrics. Nothing in them is secret. Works as well when K3s is down; then it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import drift
from .api import Api, ApiProblem, validity
from .drift_node import Runner, inside, run

TEXTFILE_FOLDER = "/var/lib/prometheus/node-exporter"
"""Where Debian's prometheus-node-exporter looks for files."""

METRICS_FILE = "observer-node.prom"
STORAGE = "/opt/local-path-provisioner"
CERTIFICATES = ("/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/agent")
VOLUME_SECONDS = 10.0
"""Longest time for the sizes of all volumes; what was not reached by then is left out."""

AGREES, DRIFTED, UNKNOWN = "agrees", "drift", "unknown"

Facts = dict[str, Any]


# --- looking ----------------------------------------------------------------------------------------


def look(output: str = drift.FOLDER, root: str = "/", api: Any = None, runner: Runner = run) -> Facts:  # noqa: ANN401
    """How the node stands now: its drift since the baseline in ``output``, and its health."""
    started = time.time()
    baseline = drift.read_baseline(f"{output}/baseline.json")
    api = api or Api()
    now = drift.snapshot(baseline, root, api, runner)
    drifts = drift.compare(baseline or {}, now)
    gaps = drift.unlooked(now, baseline)
    if not baseline:
        gaps.insert(0, {"about": "drift", "why": "there is no baseline; the next provision writes one"})
    verdict = DRIFTED if drifts else UNKNOWN if gaps else AGREES
    facts = {"verdict": verdict, "checked": int(started), "host": os.uname().nodename,
             "baseline": {"at": baseline["at"], "commit": baseline.get("commit", ""),
                          "release": baseline.get("release", "")} if baseline else None,
             "drift": drifts, "counts": drift.counts(drifts, drift.compared(baseline, now)), "not_looked_at": gaps,
             "health": health(api, now, root)}
    facts["seconds"] = round(time.time() - started, 3)
    return remembered(facts, output)


def remembered(facts: Facts, output: str) -> Facts:
    """The facts with the time since when each of them holds, from the state that was written last."""
    try:
        with open(f"{output}/state.json", encoding="utf-8") as file:
            last = json.load(file)
    except (OSError, ValueError):
        last = {}
    same = last.get("verdict") == facts["verdict"]
    facts["since"] = last.get("since", facts["checked"]) if same else facts["checked"]
    seen = {name_of(one): one.get("first_seen") for one in last.get("drift") or []}
    for one in facts["drift"]:
        one["first_seen"] = seen.get(name_of(one)) or facts["checked"]
    return facts


def name_of(one: Mapping[str, Any]) -> str:
    return f"{one.get('code')} {one.get('subject')} {one.get('what')} {one.get('after')}"


def health(api: Any, now: Mapping[str, Any], root: str) -> Facts:  # noqa: ANN401 (living.api.Api or a test's)
    """Figures of the node and its cluster. What could not be learned is left out."""
    given, cluster = drift.settings(root), now["cluster"]
    storage = given.get("storage") or STORAGE
    found: Facts = {"api": bool(cluster["answers"] or cluster.get("api")), "server": cluster.get("server", True),
                    "certificates": certificates(root), "volumes": volumes(storage, root)}
    try:
        disk = os.statvfs(inside(root, storage))
        found["storage"] = {"path": storage, "bytes": disk.f_frsize * disk.f_blocks,
                            "free": disk.f_frsize * disk.f_bavail}
    except OSError:
        found["storage"] = None
    if not found["api"]:
        return found
    objects = cluster["objects"] or {}
    ours = {title.partition(" ")[2].partition("/")[0] for title, item in objects.items()
            if item["ours"] and "/" in title}
    try:
        found["pods"] = [pod(item) for item in api.get("/api/v1/pods").get("items") or []
                         if item["metadata"]["namespace"] in ours and not replaced(item)]
    except ApiProblem:
        found["pods"] = []
    found["answers"] = []
    pages = given.get("pages") or {}
    for title, item in sorted(objects.items()):
        if item["ours"] and pages.get("service") and title.startswith("Service ") \
                and title.endswith(f"/{pages['service']}"):
            namespace = title.partition(" ")[2].partition("/")[0]
            for path in pages.get("paths") or ():
                place = f"/api/v1/namespaces/{namespace}/services/{pages['service']}:{pages.get('port')}/proxy{path}"
                found["answers"].append({"service": pages["service"], "path": path, **answer(api, place)})
    return found


def replaced(item: Mapping[str, Any]) -> bool:
    """Whether a pod has ended that somebody takes care of: Kubernetes keeps it, and makes another when it is needed."""
    phase = (item.get("status") or {}).get("phase")
    return phase == "Succeeded" or (
        phase == "Failed" and any(owner.get("controller") for owner in item["metadata"].get("ownerReferences") or []))


def answer(api: Any, place: str) -> Facts:  # noqa: ANN401
    """Whether the app answers, asked through the API server, so that nothing but loopback is needed.

    Everybody may read this, and what an app says of a failure may hold a secret: its answer's status alone is told.
    """
    started = time.monotonic()
    why = ""
    try:
        api.text(place)
    except ApiProblem as problem:
        said = re.match(r"\S+: (\d{3})\b", str(problem))
        why = "nothing stands behind the Service" if "no endpoints available for service" in str(problem) else \
            f"status {said[1]}" if said else problem.kind
    return {"ok": not why, "why": why, "seconds": round(time.monotonic() - started, 3)}


def pod(item: Mapping[str, Any]) -> Facts:
    status = item.get("status") or {}
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions") or [])
    return {"namespace": item["metadata"]["namespace"], "pod": item["metadata"]["name"],
            "phase": status.get("phase", ""), "ready": ready,
            "restarts": sum(int(one.get("restartCount", 0)) for one in status.get("containerStatuses") or [])}


def certificates(root: str) -> list[Facts]:
    """Certificates of K3s with their end, as epoch."""
    found = []
    for folder in CERTIFICATES:
        real = inside(root, folder)
        try:
            names = sorted(name for name in os.listdir(real) if name.endswith(".crt"))
        except OSError:
            continue
        for name in names:
            try:
                with open(f"{real}/{name}", "rb") as file:
                    times = validity(file.read())
            except OSError:
                continue
            if times:
                found.append({"file": f"{folder}/{name}", "not_after": int(times[1])})
    return found


def volumes(storage: str, root: str) -> list[Facts]:
    """Bytes of the volumes' folders; of those that took too long there are none."""
    found: list[Facts] = []
    deadline = time.monotonic() + VOLUME_SECONDS
    try:
        names = sorted(os.listdir(inside(root, storage)))
    except OSError:
        return found
    for name in names:
        # The provisioner's names: pvc-<uid>_<namespace>_<claim>.
        volume, _, rest = name.partition("_")
        namespace, _, claim = rest.partition("_")
        if claim:
            size = folder_bytes(inside(root, f"{storage}/{name}"), deadline)
            if size is not None:
                found.append({"volume": volume, "namespace": namespace, "claim": claim, "bytes": size})
    return found


def folder_bytes(folder: str, deadline: float) -> int | None:
    """Bytes that a folder takes on the disk, or nothing after the deadline. What vanishes meanwhile has none."""
    total = 0
    folders = [folder]
    while folders:
        if time.monotonic() > deadline:
            return None
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    try:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    except OSError:
                        continue
        except OSError:
            continue
    return total


# --- telling ----------------------------------------------------------------------------------------


def text(facts: Facts) -> str:
    """The state for people."""
    number = len(facts["drift"])
    things = "1 thing is" if number == 1 else f"{number} things are"
    head = {AGREES: "Everything agrees with the last provision.", DRIFTED: f"{things} not as provisioned.",
            UNKNOWN: "Nothing is known to differ, but not everything could be looked at."}[facts["verdict"]]
    lines = [head, "", f"node      {facts['host']}", f"checked   {drift.moment(facts['checked'])}",
             f"since     {drift.moment(facts['since'])}"]
    if base := facts["baseline"]:
        known = ", ".join(one for one in (base["release"], base["commit"] and f"commit {base['commit'][:12]}") if one)
        lines.append(f"baseline  {drift.moment(base['at'])}{f' ({known})' if known else ''}")
    else:
        lines.append("baseline  none")
    facts_of_health = facts["health"]
    cluster = "answers" if facts_of_health["api"] else "DOES NOT ANSWER" if facts_of_health["server"] else \
        "is no server's here (an agent)"
    lines.append(f"K3s       {cluster}")
    for one in facts_of_health.get("answers") or []:
        lines.append(f"{one['service']:<9} {one['path']} {'answers' if one['ok'] else 'FAILS: ' + one['why']}")
    for one in facts["drift"]:
        lines += ["", f"{one['code']}  {drift.line(one)}", f"          first seen {drift.moment(one['first_seen'])}",
                  f"          {drift.to_do(one)}"]
    for one in facts["not_looked_at"]:
        lines += ["", f"not looked at: {one['about']}: {one['why']}"]
    return "\n".join(lines) + "\n"


def metrics(facts: Facts) -> str:
    """The state in Prometheus' text format."""
    return "\n".join(_metric_lines(facts)) + "\n"


def _metric_lines(facts: Facts) -> Iterator[str]:
    health_now = facts["health"]
    yield from _family("observer_node_check_timestamp_seconds", "When the node was looked at last.",
                       [({}, facts["checked"])])
    yield from _family("observer_node_check_duration_seconds", "How long the look took.", [({}, facts["seconds"])])
    if base := facts["baseline"]:
        yield from _family("observer_node_baseline_timestamp_seconds", "When the last provision ended.",
                           [({}, base["at"])])
    yield from _family("observer_node_drift", "Things that are not as the last provision left them.",
                       [({"kind": kind}, number) for kind, number in facts["counts"].items()])
    yield from _family("observer_node_not_looked_at", "Parts of the node's state that could not be read.",
                       [({}, len(facts["not_looked_at"]))])
    if health_now["server"]:
        yield from _family("observer_node_api_up", "Whether the Kubernetes API answers.",
                           [({}, int(health_now["api"]))])
    yield from _family("observer_node_contract_health", "Whether the app answers with success.",
                       [({"path": one["path"]}, int(one["ok"])) for one in health_now.get("answers") or []])
    yield from _family("observer_node_pod_ready", "Whether a pod is ready.",
                       [(_pod(one), int(one["ready"])) for one in health_now.get("pods") or []])
    yield from _family("observer_node_pod_restarts", "Restarts of a pod's containers.",
                       [(_pod(one), one["restarts"]) for one in health_now.get("pods") or []])
    if disk := health_now["storage"]:
        labels = {"path": disk["path"]}
        yield from _family("observer_node_storage_size_bytes", "Size of the file system that volumes are on.",
                           [(labels, disk["bytes"])])
        yield from _family("observer_node_storage_free_bytes", "What is free of it.", [(labels, disk["free"])])
    yield from _family("observer_node_volume_bytes", "What a volume takes on the disk.",
                       [({key: one[key] for key in ("namespace", "claim", "volume")}, one["bytes"])
                        for one in health_now["volumes"]])
    yield from _family("observer_node_certificate_expiry_timestamp_seconds", "When a certificate of K3s ends.",
                       [({"file": one["file"]}, one["not_after"]) for one in health_now["certificates"]])


def _pod(one: Mapping[str, Any]) -> dict[str, str]:
    return {"namespace": one["namespace"], "pod": one["pod"]}


def _family(name: str, meaning: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """One metric with its samples; none at all when there are no samples."""
    if samples:
        yield f"# HELP {name} {meaning}"
        yield f"# TYPE {name} gauge"
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(facts: Facts, output: str, textfile_folder: str) -> None:
    """Write the state for people, for programs and for Prometheus.

    :raises OSError: a file cannot be written.
    """
    os.makedirs(output, mode=0o755, exist_ok=True)
    drift.write_file(f"{output}/state.json", json.dumps(facts, indent=1, sort_keys=True) + "\n", 0o644)
    drift.write_file(f"{output}/state.txt", text(facts), 0o644)
    if os.path.isdir(textfile_folder):
        drift.write_file(f"{textfile_folder}/{METRICS_FILE}", metrics(facts), 0o644)


def main(argv: Sequence[str] | None = None) -> int:
    """Look and tell. A drift is no failure of the service; only what cannot be written is one."""
    parser = argparse.ArgumentParser(prog="observer-watch", description="Look at this node and write how it stands.")
    parser.add_argument("--output", default=drift.FOLDER, help="folder of the state and the baseline")
    given = parser.parse_args(argv)
    facts = look(given.output)
    write(facts, given.output, str(drift.settings().get("textfile_dir") or TEXTFILE_FOLDER))
    print(text(facts).splitlines()[0])
    return 0
