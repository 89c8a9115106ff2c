"""Takes K3s and all that it made off a node, and folders of volumes when they are named.

Data is what must not go by mistake: below a folder that is deleted nothing may be mounted, for the kubelet mounts
volumes there; no link is followed; and a folder is renamed before it is emptied, so that an interrupted run leaves
nothing half.

Only the standard library, Python 3.10.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .containers import main_processes
from .volumes import VOLUME, below, mounted

UNITS = ("k3s.service", "k3s-agent.service")
WATCH_UNITS = ("observer-watch.timer", "observer-watch.service")
BACKUP_UNITS = "observer-backup-*"
SAVING = tuple(f"observer-backup-{job}.service" for job in ("files", "base", "wal"))
"""Jobs that are not killed: what one has saved by then nobody would know to be whole."""

SAVING_SECONDS = 900.0
BINARY = "/usr/local/bin/k3s"
LINKS = ("/usr/local/bin/kubectl", "/usr/local/bin/crictl", "/usr/local/bin/ctr")
LIVING = ("/run/k3s", "/run/flannel", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers",
          "/var/lib/rancher")
"""Folders of the running cluster."""

SOCKETS = "/run/containerd"
"""Where the containers' shims listen, those of every containerd."""

SETTINGS = ("/etc/rancher", "/var/cache/observer-node", "/usr/local/lib/observer-node", "/etc/observer-node/backup",
            "/var/lib/observer-node")
"""Settings, the watch, the backups with their key and password, and what a later run would compare with."""

EPOCH = "/var/lib/observer-node/backup/work/epoch.json"
"""Stays: under which epoch this node has written its data, so that none that another machine has taken over from goes
on with it."""

RESTORE = "/var/lib/observer-node/backup/work/restore.json"
"""Stays with the data: what a restore has not come to the end of."""

PACKAGED_VOLUMES = "/var/lib/rancher/k3s/storage"
"""Where the provisioner that K3s brings puts volumes, when somebody has switched it on."""

INTERFACES = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0")
CHAIN = re.compile(r"(KUBE|FLANNEL|CNI|NETPOL)(-.*)?")
"""Chains of K3s; NETPOL is what the test bed's stand-in has for KUBE-ROUTER."""

REMARK = re.compile(r"KUBE-ROUTER|flanneld ")
FOLDER = re.compile(r".+_([a-z0-9-]+)_([a-z0-9.-]+?)(\.removing)?")
"""Folders of volumes: ``<volume>_<namespace>_<claim>``; of other namespaces only what the provisioner has named."""

ASIDE = ".removing"
TERM_SECONDS = 20.0
"""After so long with SIGTERM PostgreSQL is asked by SIGINT not to wait for its clients."""

POLL = 0.2


class ResetError(Exception):
    """It cannot be done, or not to the end. ``changes`` is what was done until then."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.changes: list[str] = []


@dataclass(frozen=True)
class Step:
    """One thing that has to go, in words, and how."""

    words: str
    do: Callable[[], None]


def command(words: Sequence[str], given: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program. One that is missing or does not end has the status 127."""
    try:
        return subprocess.run(words, input=given, capture_output=True, text=True, check=False, timeout=seconds,
                              stdin=subprocess.DEVNULL if given is None else None)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def must(words: Sequence[str], given: str | None = None, seconds: float = 60) -> str:
    """:raises ResetError: the program failed."""
    done = command(words, given, seconds)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ResetError(f"`{' '.join(words)}` failed: {said}", "Mend that on the node, and run the same again.")
    return done.stdout


def backups_stop() -> list[Step]:
    """The units of the backups that run, while the database does: commits no longer wait for a receiver then."""
    def running(*names: str) -> list[str]:
        listed = command(["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", *names])
        return [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]

    units = running(BACKUP_UNITS)

    def stop() -> None:
        if timers := [one for one in units if one.endswith(".timer")]:
            must(["systemctl", "--no-ask-password", "stop", *timers])
        ends = time.monotonic() + SAVING_SECONDS
        while running(*SAVING):
            if time.monotonic() > ends:
                raise ResetError("A backup has been running for a quarter of an hour.",
                                 "Wait for it (systemctl status 'observer-backup-*'), and run the same again.")
            time.sleep(POLL)
        must(["systemctl", "--no-ask-password", "stop", *units], seconds=180)

    return [Step("backups: stopped", stop)] if units else []


# --- workloads and nodes, through the API ---------------------------------------------------------


class Cluster:
    """The cluster, asked with the server's own kubectl."""

    kubectl = (BINARY, "kubectl")

    def answers(self) -> bool:
        return os.path.exists(BINARY) and not command(
            [*self.kubectl, "get", "--raw", "/readyz", "--request-timeout=5s"], seconds=15).returncode

    def items(self, *what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(must([*self.kubectl, "get", *what, "-o", "json"]))["items"]
        return found

    def stopping(self, namespace: str, seconds: float) -> list[Step]:
        """Every Deployment and StatefulSet of a namespace that has pods; the last one waits until all pods are gone, or
        their grace is over."""
        found = [one for one in self.items("deployments,statefulsets", "-n", namespace)
                 if one["spec"].get("replicas", 1)]

        def stop(kind: str, name: str, last: bool) -> None:
            must([*self.kubectl, "-n", namespace, "scale", f"{kind.lower()}/{name}", "--replicas=0"])
            ends = time.monotonic() + seconds
            while last and time.monotonic() < ends and any(
                    pod["metadata"].get("ownerReferences") and pod["status"].get("phase") in ("Running", "Pending")
                    for pod in self.items("pods", "-n", namespace)):
                time.sleep(POLL)

        return [Step(f"{one['kind']} {namespace}/{one['metadata']['name']}: stopped",
                     lambda one=one, last=one is found[-1]:  # type: ignore[misc]
                     stop(one["kind"], one["metadata"]["name"], last)) for one in found]

    def drains(self, name: str, seconds: float) -> list[Step]:
        """A node that can still be given pods."""
        return [Step(f"Node {name}: drained", lambda: self._drain(name, seconds))
                for node in self.items("nodes") if node["metadata"]["name"] == name
                and not node["spec"].get("unschedulable")]

    def _drain(self, name: str, seconds: float) -> None:
        # What does not go in time, or cannot, is stopped on the node itself.
        must([*self.kubectl, "cordon", name])
        command([*self.kubectl, "drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
                 "--disable-eviction", f"--timeout={seconds:.0f}s"], seconds=seconds + 30)

    def forgets(self, name: str) -> list[Step]:
        """Its Node, and the password by which it is known: a node of this name that is made anew has another one."""
        secret = f"{name}.node-password.k3s"
        gone = {kind: [*self.kubectl, "-n", "kube-system", "delete", kind, one, "--ignore-not-found"]
                for kind, one in (("node", name), ("secret", secret))}
        steps = [Step(f"Node {name}: removed", lambda: void(must(gone["node"])))
                 for node in self.items("nodes") if node["metadata"]["name"] == name]
        return steps + [Step(f"Secret kube-system/{secret}: removed", lambda: void(must(gone["secret"])))
                        for one in self.items("secrets", "-n", "kube-system") if one["metadata"]["name"] == secret]


def void(_: object) -> None:
    """For a step that is one expression."""


# --- the node -------------------------------------------------------------------------------------


class Reset:
    """What K3s and this project's watch have on this node.

    :param storage: folder of the volumes.
    :param config: the app's hostPath folder.
    :param data: claims whose folders go, ``all``, or ``config``.
    :param namespace: namespace of those claims.
    :param metrics: files of metrics that the watch writes.
    :param seconds: how long containers may take to end.
    :param root: where the node's files are, for tests.
    """

    def __init__(
        self, storage: str, config: str, data: Iterable[str], namespace: str, metrics: Iterable[str] = (),
        seconds: float = 60.0, root: str = "",
    ) -> None:
        self.root = root
        self.storage = os.path.realpath(self.at(storage))
        self.config = self.at(config)
        self.data = set(data)
        self.namespace = namespace
        self.metrics = list(metrics)
        self.seconds = seconds
        self.said: list[str] = []

    def at(self, path: str) -> str:
        return f"{self.root}{path}"

    def shown(self, path: str) -> str:
        return path[len(self.root):] if self.root and path.startswith(self.root) else path

    # --- refusing ---------------------------------------------------------------------------------

    def refuse(self) -> None:
        """:raises ResetError: data could be lost that was not named."""
        gone = [os.path.realpath(self.at(path)) for path in (*LIVING, *SETTINGS)]
        for name, path in (("local_path_folder", self.storage), ("config_dir_path", os.path.realpath(self.config))):
            inside = next((one for one in gone if below(path, one) or below(one, path)), None)
            if inside and os.path.lexists(path):
                raise ResetError(f"{name} is {self.shown(path)}, and a reset deletes {self.shown(inside)}.",
                                 "Move the data elsewhere first; then set the variable to where it is.")
        packaged = self.at(PACKAGED_VOLUMES)
        if os.path.isdir(packaged) and os.listdir(packaged):
            raise ResetError(f"{PACKAGED_VOLUMES} holds volumes, and a reset deletes all of /var/lib/rancher.",
                             "Move what is needed out of it, delete the rest, and run again.")
        for path in self.doomed():
            if os.path.islink(path):
                raise ResetError(f"reset_data names {self.shown(path)}, which is a link.",
                                 "No link is followed: delete by hand where it leads, then the link.")
            for mount in self.mounts(path, itself=True):
                raise ResetError(f"reset_data names {self.shown(path)}, and {mount} is mounted there.",
                                 f"`sudo umount {mount}` first.")

    # --- what there is ----------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """Everything that has to go, in the order in which it goes. The mark that this project has been here stays, so
        that an interrupted run is known as ours."""
        known = self.known_units()
        for unit in (*WATCH_UNITS, *self.backup_units(), *UNITS):
            if unit in known or any(map(self.there, unit_files(unit))):
                yield Step(f"{unit}: removed", lambda unit=unit: self.stop_unit(unit))  # type: ignore[misc]
        if self.processes() or self.there("/run/k3s/containerd"):
            yield Step("containers of K3s: stopped and removed", self.stop_containers)
        for name in INTERFACES:
            if self.there(f"/sys/class/net/{name}"):
                yield Step(f"network interface {name}: removed",
                           lambda name=name: self.remove_interface(name))  # type: ignore[misc]
        for family in ("iptables", "ip6tables"):
            if self.filtered(family):
                yield Step(f"{family}: chains of K3s removed",
                           lambda family=family: self.clean(family))  # type: ignore[misc]
        # Of a containerd that is not K3s' there is a socket.
        sockets = [] if self.there(f"{SOCKETS}/containerd.sock") else [SOCKETS]
        links = [path for path in LINKS if self.leads_to_k3s(path)]
        files = [*LIVING, *sockets, *links, BINARY, *SETTINGS, *self.metrics]
        for path in [part for one in files for part in self.without_kept(one)]:
            if self.is_left(path):
                yield Step(f"{path}: removed", lambda path=path: self.remove(self.at(path)))  # type: ignore[misc]
        if self.doomed() and self.there(RESTORE):
            # Before the data: what an unfinished restore has put in place would be taken for there.
            yield Step(f"{RESTORE}: removed", lambda: self.remove(self.at(RESTORE)))
        for path in self.doomed():
            yield Step(f"{self.shown(path)}: removed, with its data",
                       lambda path=path: self.remove(path))  # type: ignore[misc]

    def there(self, path: str) -> bool:
        return os.path.lexists(self.at(path))

    def is_left(self, path: str) -> bool:
        """Whether something of a path has to go. A file system of its own stays, when it is empty."""
        place = self.at(path)
        if os.path.lexists(place + ASIDE):
            return True
        return os.path.lexists(place) and not (os.path.ismount(place) and not os.listdir(place))

    def backup_units(self) -> list[str]:
        """Timers first, which would start the others."""
        names = (os.path.basename(path) for path in glob.glob(self.at(f"/etc/systemd/system/{BACKUP_UNITS}"))
                 if path.endswith((".service", ".timer")))
        return sorted(names, key=lambda one: (not one.endswith(".timer"), one))

    def without_kept(self, path: str) -> list[str]:
        """A path, or what is in it beside what stays of the backups."""
        if path in (EPOCH, RESTORE):
            return []
        if not any(below(one, path) and self.there(one) for one in (EPOCH, RESTORE)):
            return [path]
        return [part for name in sorted(os.listdir(self.at(path))) for part in self.without_kept(f"{path}/{name}")]

    def leads_to_k3s(self, path: str) -> bool:
        place = self.at(path)
        return os.path.islink(place) and os.path.basename(os.readlink(place)) == "k3s"

    def doomed(self) -> list[str]:
        """Folders with data that were named, those that an earlier run did not get done with among them."""
        found = []
        for name in sorted(os.listdir(self.storage)) if os.path.isdir(self.storage) else []:
            match = FOLDER.fullmatch(name)
            place = f"{self.storage}/{name}"
            named = match and match[1] == self.namespace and self.data & {match[2], "all"}
            every = "all" in self.data and VOLUME.fullmatch(name.removesuffix(ASIDE))
            if (named or every) and (os.path.islink(place) or os.path.isdir(place)):
                found.append(place)
        if "config" in self.data:
            found += [path for path in (self.config, self.config + ASIDE) if os.path.lexists(path)]
        return found

    def missing(self) -> list[str]:
        """Names of claims of which there is no folder."""
        claims = {match[2] for path in self.doomed() if (match := FOLDER.fullmatch(os.path.basename(path)))}
        return sorted(self.data - claims - {"all", "config"})

    def kept(self) -> list[str]:
        """Folders with data that stay."""
        doomed = set(self.doomed())
        found = [f"{self.storage}/{name}" for name in (
            sorted(os.listdir(self.storage)) if os.path.isdir(self.storage) else [])]
        return [self.shown(path) for path in [*found, self.config] if os.path.isdir(path) and path not in doomed]

    # --- processes --------------------------------------------------------------------------------

    def known_units(self) -> set[str]:
        """Units that systemd has in mind, be it that their file is gone: started again, they could not be loaded."""
        said = "" if self.root else command(
            ["systemctl", "show", "--property=Id,ActiveState", *WATCH_UNITS, *UNITS]).stdout
        found = [dict(line.split("=", 1) for line in one.splitlines() if "=" in line) for one in said.split("\n\n")]
        return {one["Id"] for one in found if one.get("ActiveState", "inactive") != "inactive"}

    def stop_unit(self, unit: str) -> None:
        # Without its file it may be unknown to systemd, and its processes are ended below.
        stop = must if self.there(unit_files(unit)[0]) else command
        stop(["systemctl", "--no-ask-password", "stop", unit], seconds=180)
        for path in unit_files(unit):
            self.remove(self.at(path))
        must(["systemctl", "daemon-reload"])
        command(["systemctl", "reset-failed", unit])

    def processes(self, *, shims: bool = True) -> list[int]:
        """All that runs a program of K3s' own, with or without the shims, which are what containers run under."""
        found = []
        for entry in os.listdir("/proc") if not self.root else ():
            try:
                program = os.readlink(f"/proc/{entry}/exe") if entry.isdigit() else ""
            except OSError:
                continue
            if program.startswith("/var/lib/rancher/k3s/data/") and (shims or "/containerd-shim" not in program):
                found.append(int(entry))
        return found

    def stop_containers(self) -> None:
        """First what would start containers again; then all of them at once, each by its first process; then shims."""
        self.end(lambda: self.processes(shims=False), 10.0)
        self.end(lambda: [pid for pid in main_processes().values() if not is_pause(pid)], self.seconds)
        for pids in (list(main_processes().values()), self.processes()):
            for pid in pids:
                send(pid, signal.SIGKILL)
        self.end(self.processes, 5.0)
        # A unit that was killed and has no file any more is kept in mind as long as it had processes.
        command(["systemctl", "reset-failed", *UNITS])
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
            if name.startswith("cni-"):
                command(["ip", "netns", "delete", name])

    def end(self, living: Callable[[], list[int]], seconds: float) -> None:
        """Ask processes to end, the second time more firmly, and end what is left."""
        begun = time.monotonic()
        asked: dict[int, int] = {}
        while pids := living():
            waited = time.monotonic() - begun
            if waited > seconds + 10:
                raise ResetError(f"Process {pids[0]} does not end.", "Reboot the node, and run the same again.")
            wanted = (signal.SIGKILL if waited > seconds else
                      signal.SIGINT if waited > TERM_SECONDS else signal.SIGTERM)
            for pid in pids:
                if asked.get(pid) != wanted:
                    asked[pid] = wanted
                    send(pid, wanted)
            time.sleep(POLL)

    # --- network ----------------------------------------------------------------------------------

    def remove_interface(self, name: str) -> None:
        ports = f"/sys/class/net/{name}/brif"
        for port in os.listdir(ports) if os.path.isdir(ports) else ():
            command(["ip", "link", "delete", port])
        must(["ip", "link", "delete", name])

    def filtered(self, family: str) -> bool:
        return not self.root and bool(cleaned(command([f"{family}-save"]).stdout))

    def clean(self, family: str) -> None:
        """One atomic step a table; what others have in it is not touched."""
        must([f"{family}-restore", "--noflush", "--wait=10"], cleaned(must([f"{family}-save"])))

    # --- files ------------------------------------------------------------------------------------

    def mounts(self, path: str, *, itself: bool = False) -> list[str]:
        """What is mounted below a path, the innermost first."""
        targets = [one["target"] for one in mounted() if below(one["target"], path)]
        return [target for target in reversed(targets) if itself or target != path]

    def remove(self, path: str) -> None:
        """A file, a link, or a folder with all that is in it, but not what is mounted in it.

        :raises ResetError: something is mounted there and cannot be unmounted.
        """
        aside = path if path.endswith(ASIDE) else path + ASIDE
        for place in dict.fromkeys([aside, path]):
            if not os.path.lexists(place):
                continue
            if os.path.islink(place) or not os.path.isdir(place):
                os.unlink(place)
                continue
            self.unmount(place)
            if os.path.ismount(place):
                # A disk of its own stays where it is mounted.
                for name in os.listdir(place):
                    self.remove(f"{place}/{name}")
                continue
            if place != aside:
                os.rename(place, aside)
            shutil.rmtree(aside)

    def unmount(self, path: str) -> None:
        for target in self.mounts(path):
            if command(["umount", target]).returncode:
                command(["umount", "--lazy", target])
        if left := self.mounts(path):
            raise ResetError(f"{left[0]} is mounted and cannot be unmounted, so {path} is not deleted.",
                             f"`sudo umount {left[0]}` on the node, and run the same again.")


def unit_files(unit: str) -> tuple[str, str]:
    """The file of a unit, and the link by which it is enabled."""
    target = "timers" if unit.endswith(".timer") else "multi-user"
    return f"/etc/systemd/system/{unit}", f"/etc/systemd/system/{target}.target.wants/{unit}"


def is_pause(pid: int) -> bool:
    """Whether a process only holds a pod's network, which its containers need until they have ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.path.basename(file.read().split(b"\0")[0]) == b"pause"
    except OSError:
        return True


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def cleaned(saved: str) -> str:
    """What ``iptables-restore --noflush`` has to be given so that K3s' part of ``iptables-save`` goes; empty for none.
    """
    tables: list[str] = []
    chains: list[str] = []
    rules: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            chains, rules, table = [], [], line
        elif line.startswith(":"):
            name = line[1:].split(" ")[0]
            chains += [name] if CHAIN.fullmatch(name) else []
        elif line.startswith("-A "):
            words = line.split(" ")
            target = next((words[place + 1] for place, word in enumerate(words) if word in ("-j", "-g")), "")
            if not CHAIN.fullmatch(words[1]) and (CHAIN.fullmatch(target) or REMARK.search(line)):
                rules.append(f"-D {line[3:]}")
        elif line == "COMMIT" and (chains or rules):
            # Naming a chain empties it, and only an empty one that nothing leads to can go.
            tables += [table, *(f":{name} - [0:0]" for name in chains), *rules]
            tables += [*(f"-X {name}" for name in chains), line]
    return "".join(f"{line}\n" for line in tables)


# --- all of it ------------------------------------------------------------------------------------


def carry_out(steps: Iterable[Step], check: bool) -> list[str]:
    """Do it, or find out what it would be. Everything is found before the first thing is done.

    :raises ResetError: with ``changes``.
    """
    found = list(steps)
    done: list[str] = []
    for step in found:
        if not check:
            try:
                step.do()
            except ResetError as error:
                error.changes = done
                raise
            except OSError as error:
                failure = ResetError(f"{step.words.partition(':')[0]}: {error}",
                                     "Mend that on the node, and run the same again.")
                failure.changes = done
                raise failure from error
        done.append(step.words)
    return done
