"""What the processes of Kubernetes' containers really have, through /proc: not what was applied (seed 001, Step 4).

Needs neither the API nor K3s: a container is found by its control group. Run as root. Only the standard library,
Python 3.10.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .redact import is_secret

PROC = "/proc"
LOGS = "/var/log/pods"
"""The kubelet's folders of logs, which bear the names of namespace, pod and container."""

Told = Callable[[Mapping[str, Any]], Iterable[str]]

_UID = r"([0-9a-f]{8}[-_](?:[0-9a-f]{4}[-_]){3}[0-9a-f]{12}|[0-9a-f]{32})"
_GROUP = re.compile(rf"kubepods\S*?pod{_UID}(?:\.slice)?/(?:[\w-]*-)?([0-9a-f]{{64}})(?:\.scope)?")
"""Both drivers: ``/kubepods/burstable/pod<uid>/<id>``, and ``/kubepods.slice/.../kubepods-burstable-pod<uid with _>
.slice/cri-containerd-<id>.scope``."""

_OWN_FOLDER = re.compile(r"/pods/[0-9a-f-]+/containers/([^/]+)/")
"""The kubelet mounts a folder of each container into it, which names the container."""

BUNDLES = "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io"
"""Where K3s' containerd keeps what it has started each container with."""

PAUSE = "pause"
"""The process that holds a pod's namespaces open is no container of anybody's."""


def containers(
    secret_names: Iterable[str] = (), ids: Iterable[str] | None = None, *, told: Told = lambda _one: (),
    proc: str = PROC, logs: str = LOGS, bundles: str = BUNDLES, errors: list[dict[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """ContainerFacts of the running containers, without ``inside``, in the order of their start.

    :param secret_names: shell patterns of variables whose values are not told, besides those whose names say so
        (``redact.SECRET_NAMES``), which never are.
    :param ids: only these containers, by their full id.
    :param told: names of the variables of a container (ContainerFacts without ``environment``) whose values are told;
        of all others only the names are.
    :param errors: what could not be read is added here.
    :returns: ContainerFacts; besides, ``name`` (of the container), ``pod``, ``namespace`` and ``given``: names of the
        variables that the container was started with, of which a program may have dropped some. Empty when unknown.
    """
    patterns, wanted = tuple(secret_names), None if ids is None else frozenset(ids)
    places, pods = own_mounts(proc), pod_names(logs)
    # The clock that the starts of processes are counted in. /proc/uptime is another one in some containers.
    began, ticks = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK")
    found = []
    for (pod, name), pid in main_processes(proc).items():
        if wanted is not None and name not in wanted:
            continue
        try:
            one = process(pid, places, proc)
            variables = environ(pid, proc)
            started = int(read(f"{proc}/{pid}/stat").rpartition(")")[2].split()[19]) / ticks
        except (OSError, ValueError, IndexError, KeyError) as error:
            # A process that has ended meanwhile is no error: the container is not running.
            if errors is not None and os.path.exists(f"{proc}/{pid}"):
                errors.append({"about": f"container {name[:12]}", "why": str(error)})
            continue
        if os.path.basename(one["command"]) == PAUSE:
            continue
        namespace, pod_name = pods.get(pod, ("", ""))
        known = {"id": name, "pod_uid": pod, "namespace": namespace, "pod": pod_name,
                 "started": round(began + started, 2), **one, "given": sorted(given(name, bundles))}
        shown = {key for key in told(known) if not is_secret(key, patterns)}
        found.append({**known, "environment": {key: printable(value) if key in shown else None
                                               for key, value in sorted(variables.items())}})
    return sorted(found, key=lambda one: (one["started"], one["id"]))


def process(pid: int, places: Mapping[str, list[tuple[str, str]]], proc: str = PROC) -> dict[str, Any]:
    """What one process has, its variables excepted.

    :param places: of the node's own mounts, from :func:`own_mounts`.
    :raises OSError, ValueError, KeyError: it has ended, or is not readable.
    """
    status = fields(read(f"{proc}/{pid}/status"))
    mounted = mounts(read(f"{proc}/{pid}/mountinfo"), places)
    command = read(f"{proc}/{pid}/cmdline").partition("\0")[0]
    name = next((match[1] for one in mounted if (match := _OWN_FOLDER.search(one["root"]))), "")
    return {
        "pid": pid, "name": name, "command": command,
        "uids": numbers(status["Uid"]), "gids": numbers(status["Gid"]), "groups": numbers(status.get("Groups", "")),
        "no_new_privs": status.get("NoNewPrivs") == "1",
        "capabilities": {"effective": int(status["CapEff"], 16), "permitted": int(status["CapPrm"], 16),
                         "bounding": int(status["CapBnd"], 16)},
        "mounts": [one for one in mounted if one["target"] != "/"],
        "root_read_only": any(one["read_only"] for one in mounted if one["target"] == "/"),
    }


def environ(pid: int, proc: str = PROC) -> dict[str, str]:
    """The variables that a process was started with, secrets included: they must not leave the node. Bytes that are no
    UTF-8 come back as they were when encoded with ``surrogateescape``.

    :raises OSError: the process has ended, or is not readable.
    """
    pairs = (item.partition("=") for item in read(f"{proc}/{pid}/environ", "surrogateescape").split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def printable(value: str) -> str:
    """What JSON can carry."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def given(container: str, bundles: str = BUNDLES) -> dict[str, str]:
    """The variables that a container was given before anything in it ran, secrets included: an entry script may drop a
    password after its use. Empty when nothing tells."""
    try:
        settings = json.loads(read(f"{bundles}/{container}/config.json", "surrogateescape"))
        return {name: value for name, _, value in (str(item).partition("=") for item in settings["process"]["env"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def main_processes(proc: str = PROC) -> dict[tuple[str, str], int]:
    """The first process of each container by the uid of its pod and its id: the one whose parent is not in it."""
    members: dict[tuple[str, str], dict[int, int]] = {}
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            match = _GROUP.search(read(f"{proc}/{entry}/cgroup"))
            if match:
                parent = fields(read(f"{proc}/{entry}/status")).get("PPid", "0")
                members.setdefault((match[1].replace("_", "-"), match[2]), {})[int(entry)] = int(parent)
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return {key: min(pid for pid, parent in pids.items() if parent not in pids) for key, pids in members.items()}


def pod_names(logs: str = LOGS) -> dict[str, tuple[str, str]]:
    """Namespace and name of each pod by its uid, from the kubelet's folders of logs."""
    try:
        split = [entry.split("_") for entry in os.listdir(logs)]
    except OSError:
        return {}
    return {words[2]: (words[0], words[1]) for words in split if len(words) == 3}


def mounts(mountinfo: str, places: Mapping[str, list[tuple[str, str]]]) -> list[dict[str, Any]]:
    """Mounts as the process has them: ``target`` inside, ``source`` as a path of the node where it is one, otherwise
    the device; ``root`` as the kernel tells it; a later mount on the same target covers an earlier one."""
    found: dict[str, dict[str, Any]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        _, _, device, root, target, options = left.split()[:6]
        kind, source, whole = right.split()[:3]
        root, target = unescape(root), unescape(target)
        found.pop(target, None)
        found[target] = {
            "target": target, "source": place(device, root, places) or unescape(source), "root": root, "type": kind,
            "read_only": "ro" in options.split(",") or "ro" in whole.split(","),
        }
    return list(found.values())


def own_mounts(proc: str = PROC) -> dict[str, list[tuple[str, str]]]:
    """Where the node itself has mounted parts of each device, as (root, mount point), the widest part first."""
    found: dict[str, list[tuple[str, str]]] = {}
    try:
        lines = read(f"{proc}/self/mountinfo").splitlines()
    except OSError:
        return {}
    for line in lines:
        _, _, device, root, target = line.split()[:5]
        found.setdefault(device, []).append((unescape(root), unescape(target)))
    return {device: sorted(some, key=lambda one: (len(one[0]), len(one[1]))) for device, some in found.items()}


def place(device: str, root: str, places: Mapping[str, list[tuple[str, str]]]) -> str:
    """The node's own path of a part of a device; empty where the node has not mounted it."""
    for base, mounted in places.get(device, []):
        if root == base:
            return mounted
        if base == "/" or root.startswith(f"{base}/"):
            rest = root if base == "/" else root[len(base):]
            return rest if mounted == "/" else f"{mounted}{rest}"
    return ""


def log_tail(one: Mapping[str, Any], limit: int = 65536, logs: str = LOGS) -> list[str]:
    """The last lines of a container's log on the node, as they are: secrets are not replaced in them."""
    folder = f"{logs}/{one['namespace']}_{one['pod']}_{one['pod_uid']}/{one['name']}"
    try:
        newest = max((int(entry[:-4]), entry) for entry in os.listdir(folder) if re.fullmatch(r"\d+\.log", entry))[1]
    except (OSError, ValueError):
        return []
    return log_end(f"{folder}/{newest}", limit) or []


def log_end(path: str | os.PathLike[str], limit: int) -> list[str] | None:
    """The last lines of a log as the kubelet keeps it: time, stream, F for the end of a line or P for a part of one,
    text.

    Lines are whole: of one that was cut off, be it in a part before, nothing is told, for it may begin or end within a
    secret.

    :param limit: bytes that are read.
    :returns: None when it is not there: its pod is on another node.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            raw = file.read(limit).decode("utf-8", "replace").split("\n")
    except OSError:
        return None
    cut = size > limit
    found: list[str] = []
    parts: dict[str, str] = {}
    # Where the reading begins nobody knows what came before, until each stream has ended a line.
    begun: set[str] = set()
    for line in raw[cut:-1]:
        words = line.split(" ", 3)
        if len(words) != 4:
            continue
        _, stream, mark, text = words
        if mark.startswith("P"):
            parts[stream] = parts.get(stream, "") + text
            continue
        whole = parts.pop(stream, "") + text
        if not cut or stream in begun:
            found.append(whole)
        begun.add(stream)
    return found


def read(path: str, errors: str = "replace") -> str:
    """A file of /proc as text."""
    with open(path, "rb") as file:
        return file.read().decode("utf-8", errors)


def fields(text: str) -> dict[str, str]:
    """Names and values of a file such as /proc/PID/status."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def unescape(text: str) -> str:
    """The kernel writes a blank in a path as ``\\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text) if "\\" in text else text
