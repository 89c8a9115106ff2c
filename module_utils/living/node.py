"""What a node is like, looked at on the node itself: NodeFacts (seed 001, Steps 1, 3, 4 and 6).

Only looks; the one exception are files that are made inside containers to see whether they can be, and removed at once
(``inside.py``). Needs neither Ansible nor the API nor a K3s that runs. Nothing is raised for what is broken: what could
not be read is said in ``errors``. Only the standard library, Python 3.10.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import backups, containers, firewall, inside, k3s, volumes
from .redact import Redaction, variable_values

Facts = dict[str, Any]

INSIDE_SECONDS = 10.0
"""For everything that is tried in one container; they are tried at the same time."""

CLOCK_LOST = 16_000_000
"""Microseconds; at this error the kernel takes the clock for unsynchronized."""

ERRORS = re.compile(r"\b(ERROR|FATAL|PANIC):")
ERROR_LINES = 10
LINE = 400
WORDS = 500
"""Characters of a line of PostgreSQL's log, and of a page or of what psql says."""


def collect(request: Mapping[str, Any]) -> Facts:
    """NodeFacts.

    :param request: all keys may be left out:

        storage_path     folder of the volumes, default ``/opt/local-path-provisioner``
        folders          paths whose owner and mode are told
        pod_cidr, service_cidr  networks that the packet filter has to let through, default K3s'
        peers            addresses of the cluster's other nodes, which it has to let in
        secret_names     shell patterns of variables whose values stay on the node
        clock_reference  somebody else's time (epoch), given back for comparison
        storage_free     bytes that are asked for, given back for comparison
        containers       what to try inside: a list of ``{"name": of the container, "namespace": may be left out,
                         "ids": may be left out, "variables": {name: values that are right}, "tasks": {...}}``. Only of
                         these variables values are told; a value that is not one of the right ones passes the
                         redaction. Tasks are those of ``inside.probe_all``; ``$(NAME)`` in ``names`` and ``connects``
                         stands for one of the variables. ``postgres: true`` takes the psql that lies beside the
                         server's program.
    :returns: keys as in the docstrings of ``volumes``, ``k3s``, ``firewall``, ``containers`` and ``inside``.
    """
    begun = time.monotonic()
    errors: list[dict[str, str]] = []

    def tried(about: str, look: Callable[[], Any], otherwise: Any) -> Any:  # noqa: ANN401 - JSON
        """A broken system must not end the look at the rest of it."""
        try:
            return look()
        except (OSError, ValueError, KeyError, IndexError, subprocess.SubprocessError) as error:
            errors.append({"about": about, "why": str(error)})
            return otherwise

    path = str(request.get("storage_path") or "/opt/local-path-provisioner")
    patterns = tuple(request.get("secret_names") or ())
    facts: Facts = {
        "host": socket.gethostname(), "now": time.time(), "machine": os.uname().machine,
        "clock_reference": request.get("clock_reference"), "storage_free": request.get("storage_free"),
        "timezone": tried("time zone", timezone, ""), "clock_synchronized": tried("clock", synchronized, None),
        "boot": tried("/proc/stat", booted, None),
    }
    mounts = tried("mounts", volumes.mounted, [])
    facts["storage"] = tried(path, lambda: volumes.storage(path, mounts), {
        "path": path, "exists": False, "writable": False, "why": "it could not be looked at"})
    facts["disks"] = tried("disks", lambda: volumes.disks(path, mounts, errors), [])
    facts["memory"] = tried("/proc/meminfo", memory, {"bytes": None, "available": None})
    facts["pressure"] = pressure()
    facts["folders"] = {one: volumes.folder(one) for one in request.get("folders") or ()}
    # First, as it may wait: a container that is looked at is one that runs.
    facts["backup"] = tried("the backups", lambda: backups.collect(facts["now"]), None)
    wanted = list(request.get("containers") or ())
    found = tried("containers", lambda: containers.containers(
        patterns, told=lambda one: variables_of(wanted, one), errors=errors), [])
    environments = {one["id"]: environment(one["pid"]) for one in found}
    redaction = Redaction({*secrets_of(found, environments, patterns, wanted), *k3s.tokens()})
    for one in found:
        right = variables_of(wanted, one)
        one["command"] = redaction.text(one["command"])
        one["environment"] = {name: value if value is None or value in right[name] else redaction.text(value)
                              for name, value in one["environment"].items()}
    facts["k3s"] = tried("K3s", lambda: k3s.collect(redaction, errors), {
        "installed": False, "role": "", "version": "", "active": "", "sub": "", "enabled": "", "since": None,
        "restarts": 0, "log": [], "api": {"answers": False, "why": "it could not be looked at"}, "node_name": ""})
    facts["certificates"] = tried("certificates", lambda: k3s.certificates(facts["k3s"]["role"], errors), [])
    facts["firewall"] = tried("firewall", lambda: firewall.collect(
        str(request.get("pod_cidr") or "10.42.0.0/16"), str(request.get("service_cidr") or "10.43.0.0/16"), errors,
        request.get("peers") or (), facts["k3s"]["role"] != "agent",
    ), {"lets_pods_through": {"input": None, "forward": None}, "eaten": [], "rejects": [], "ip_forward": None})
    facts["volumes"] = tried("volumes", lambda: volumes.decided(
        volumes.volumes(path, errors), facts["storage"].get("free"), request.get("storage_free")), [])
    tried("inside containers", lambda: look_inside(found, wanted, environments, redaction), None)
    facts["containers"] = found
    facts["errors"] = redaction.whole(errors)
    facts["seconds"] = round(time.monotonic() - begun, 3)
    return facts


def look_inside(found: list[Facts], wanted: Iterable[Mapping[str, Any]], environments: Mapping[str, Mapping[str, str]],
                redaction: Redaction) -> None:
    """Adds ``inside`` to the containers that something is to be tried in."""
    chosen: list[Facts] = []
    jobs: list[inside.Job] = []
    for one in found:
        tasks = next((item["tasks"] for item in wanted if fits(item, one)), None)
        if tasks is not None:
            known = environments[one["id"]]
            chosen.append(one)
            jobs.append((one, expanded(tasks, one), known))
    for one, answer in zip(chosen, inside.probe_all(jobs, INSIDE_SECONDS), strict=True):
        for page in (answer.get("http") or {}).values():
            page["body"] = redaction.cut(page["body"], WORDS, broken=len(page["body"]) >= inside.BODY_LIMIT)
        if "postgres" in answer:
            answer["postgres"]["why"] = redaction.cut(answer["postgres"]["why"], WORDS, last=True)
            # What began in the log before this one, and what was cut off there, nobody knows.
            lines = redaction.text("\n".join(containers.log_tail(one)), broken=True).split("\n")
            answer["postgres"]["errors"] = [line[:LINE] for line in lines if ERRORS.search(line)][-ERROR_LINES:]
        one["inside"] = redaction.whole(answer)


def variables_of(wanted: Iterable[Mapping[str, Any]], one: Mapping[str, Any]) -> dict[str, list[str]]:
    """Variables of a container whose values are told, and the values that are right."""
    return {name: list(values) for item in wanted if fits(item, one)
            for name, values in (item.get("variables") or {}).items()}


def fits(item: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Whether a wish is about this container. A namespace that nobody knows is taken for the right one."""
    if item.get("ids"):
        return one["id"] in item["ids"]
    return one["name"] == item.get("name") and item.get("namespace") in (None, "", one["namespace"] or None)


def expanded(tasks: Mapping[str, Any], one: Facts) -> Facts:
    """Tasks with the process's own variables in them, as it has them now."""
    plain = {name: value for name, value in one["environment"].items() if value}

    def filled(text: str) -> str:
        return re.sub(r"\$\((\w+)\)", lambda match: plain.get(match[1], ""), text)

    found = dict(tasks)
    for kind in ("names", "connects"):
        texts = [filled(text) for text in tasks.get(kind) or ()]
        found[kind] = list(dict.fromkeys(text for text in texts if text.strip(":") and not text.startswith(":")))
    if tasks.get("postgres"):
        program = "/usr/bin/postgres"
        with contextlib.suppress(OSError):
            program = os.readlink(f"/proc/{one['pid']}/exe")
        found["postgres"] = {"program": f"{os.path.dirname(program)}/psql"}
    return found


def secrets_of(found: Iterable[Facts], environments: Mapping[str, Mapping[str, str]], patterns: Iterable[str],
               wanted: Iterable[Mapping[str, Any]] = ()) -> set[str]:
    """Values of variables that may be secret. One that is also in a variable that is told, or in a name (the database's
    user may be called like the app), is known to everybody, unless it is a password or a key: without it no text could
    be read. Of containers that something is wanted of, all are secret that nobody has declared not to be."""
    patterns, wanted, values = tuple(patterns), list(wanted), set()
    for one in found:
        told = [name for name, value in (one.get("environment") or {}).items() if value is not None]
        public = (one["namespace"], one["pod"], one["name"], socket.gethostname())
        for known in (environments[one["id"]], containers.given(one["id"])):
            values |= set(variable_values(known, patterns, told, public,
                                          unknown=any(fits(item, one) for item in wanted)))
    return values


def environment(pid: int) -> dict[str, str]:
    try:
        return containers.environ(pid)
    except OSError:
        return {}  # it has ended meanwhile


def timezone() -> str:
    """The zone that /etc/localtime leads to; without it, UTC."""
    link = "/etc/localtime"
    if os.path.islink(link) and "zoneinfo/" in os.readlink(link):
        return os.readlink(link).partition("zoneinfo/")[2]
    return "" if os.path.lexists(link) else "UTC"


def synchronized() -> bool | None:
    """Whether the clock is kept by somebody; None in a container, whose clock is another machine's matter.

    Asked of the kernel, as timedatectl does: the largest error that it assumes grows until somebody sets the clock
    right. With no mode set, adjtimex only reads.
    """
    if os.path.exists("/run/systemd/container"):
        return None
    timex = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # After the mode and three more words: struct timex of <sys/timex.h>.
    largest: int = struct.unpack_from("@I3l", timex)[3]
    return largest < CLOCK_LOST


def booted() -> float | None:
    with open("/proc/stat", encoding="ascii") as file:
        return next((float(line.split()[1]) for line in file if line.startswith("btime ")), None)


def memory() -> dict[str, int]:
    """Bytes."""
    fields = containers.fields(containers.read("/proc/meminfo"))
    return {name: int(fields[field].split()[0]) * 1024
            for name, field in (("bytes", "MemTotal"), ("available", "MemAvailable"))}


def pressure() -> dict[str, dict[str, float]]:
    """Percent of the last ten seconds and five minutes in which something had to wait; nothing where the kernel does
    not count it."""
    found: dict[str, dict[str, float]] = {}
    for kind in ("cpu", "io", "memory"):
        with contextlib.suppress(OSError, ValueError):
            for line in containers.read(f"/proc/pressure/{kind}").splitlines():
                words = line.split()
                if words[:1] == ["some"]:
                    values = dict(word.split("=") for word in words[1:])
                    found[kind] = {name: float(values[name]) for name in ("avg10", "avg300")}
    return found
