"""What an operator does with this project, for tests on real nodes: an inventory, a run, a look at the node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bed import local, machines, nodes, settings
from bed.errors import BedError

ROOT = Path(__file__).resolve().parents[2]
LOAD = settings.TESTBED / "observer" / "load.py"
ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))


def node_name(letter: str) -> str:
    """The name of one of the tests' nodes; runs side by side have nodes of their own."""
    return f"{os.environ.get('OBSERVER_NODE_TEST_NODES', 'site')}-{letter}"


@dataclass
class Run:
    """One run of a playbook.

    :ivar record: what the callback wrote down of it.
    """

    status: int
    output: str
    seconds: float
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> list[str]:
        """Every change by name, in order."""
        return [f"{change['stage']}: {change['change']}" for change in self.record["changes"]]

    @property
    def executed(self) -> int:
        """Tasks that were run, not skipped."""
        executed: dict[str, int] = self.record["executed_tasks"]
        return max(executed.values())

    def ok(self) -> Run:
        """The run itself, if it went well."""
        assert self.status == 0, f"exit status {self.status}\n{self.output}"
        return self


@dataclass
class Site:
    """A node and the inventory that an operator would have for it."""

    node: nodes.Node
    folder: Path
    environment: dict[str, str]

    @classmethod
    def local(cls, node: nodes.Node, folder: Path, **variables: object) -> Site:
        """``inventories/local`` for another node, with secrets of its own, kept apart from a user's own local node."""
        inventory = folder / "inventory"
        inventory.mkdir(parents=True)
        shutil.copytree(ROOT / "inventories" / "local" / "group_vars", inventory / "group_vars")
        state = folder / "state" / "observer-node"
        state.mkdir(parents=True)
        shutil.copy(local.describe(node if isinstance(node, machines.Machine) else None), state / "bed.json")
        patience = machines.PATIENCE if isinstance(node, machines.Machine) else {}
        site = cls(node, inventory, {"XDG_STATE_HOME": str(folder / "state"), **patience})
        site.hosts(**variables)
        return site

    def hosts(self, **variables: object) -> None:
        """Write the inventory's hosts file."""
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"observer": {"children": {
            "k3s_servers": {"hosts": {self.node.name: variables}}, "k3s_agents": {}}}}}}))

    def argv(self, playbook: str, *arguments: str) -> list[str]:
        return [ANSIBLE, playbook, "-i", str(self.folder), *arguments]

    def env(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self.environment, "NO_COLOR": "1", **more}

    def play(self, *arguments: str, playbook: str = "site.yml", prefix: tuple[str, ...] = (),
             environment: Mapping[str, str] | None = None, timeout: float = 600) -> Run:
        """Run a playbook to its end."""
        record = self.folder.parent / "record.json"
        record.unlink(missing_ok=True)
        started = time.monotonic()
        done = subprocess.run(
            [*prefix, *self.argv(playbook, *arguments)], cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=timeout,
            env=self.env(OBSERVER_NODE_RUN_RECORD=str(record), **(environment or {})))
        seconds = time.monotonic() - started
        return Run(done.returncode, done.stdout, seconds, json.loads(record.read_text()) if record.is_file() else {})

    def play_until(self, reached: Callable[[str], bool], *arguments: str) -> str:
        """Run ``site.yml``, and kill it with all its children at the first line of plain output that is reached.

        Returns the output until then. What the run has started on the node lives on, as after a cut connection.
        """
        process = subprocess.Popen(
            self.argv("site.yml", *arguments), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
            env=self.env(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default", PYTHONUNBUFFERED="1"))
        assert process.stdout
        lines = []
        try:
            for line in process.stdout:
                lines.append(line)
                if reached(line):
                    break
            else:
                raise AssertionError(f"the run ended before it was to be killed:\n{''.join(lines)}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
        return "".join(lines)

    def ssh(self, command: str, *, stdin: str | None = None, timeout: float = 120) -> str:
        return nodes.ssh(self.node, command, stdin=stdin, timeout=timeout)

    def kubectl(self, line: str, *, stdin: str | None = None, timeout: float = 120) -> str:
        return self.ssh(f"sudo kubectl {line}", stdin=stdin, timeout=timeout)

    def get(self, line: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl(f"get {line} -o json"))
        return found

    def snapshot(self) -> dict[str, list[str]]:
        """What an owner of the node would call its state: files, units, kernel settings, firewall, accounts."""
        return {
            "files": self.ssh(
                "sudo find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log"
                " -o -path /var/tmp -o -path /var/cache/ldconfig -o -path /root/.ansible"
                " -o -path /home/ubuntu/.ansible -o -path /var/lib/systemd -o -path /var/lib/sudo \\) -prune -o"
                " ! -type d -printf '%p %m %U:%G %s %T@\\n' -o -type d -printf '%p %m %U:%G\\n'").splitlines(),
            "units": self.ssh("systemctl list-unit-files --no-legend --plain | grep -v transient;"
                              " systemctl list-units --all --no-legend"
                              " --plain --type=service,socket,timer | awk '{print $1, $3}'").splitlines(),
            "settings": self.ssh("sudo sysctl -a --pattern '^(net.ipv4.ip_forward|net.bridge|vm.overcommit|vm.panic|"
                                 "kernel.panic|fs.inotify)' 2>/dev/null").splitlines(),
            "firewall": [line for line in self.ssh("sudo iptables-save; sudo ip6tables-save").splitlines()
                         if not line.startswith(("#", ":"))],
            "processes": sorted(set(self.ssh("ps -eo comm=").split()) - {"sshd", "ps", "bash", "sudo", "sh"}),
        }


SAMPLER = """
import glob, sys, time
seen, ends = set(), time.monotonic() + float(sys.argv[1])
while time.monotonic() < ends:
    begun = time.monotonic()
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                seen.add(file.read().replace(b"\\0", b" ").decode(errors="replace"))
        except OSError:
            pass
    time.sleep(max(0, 0.05 - (time.monotonic() - begun)))
    if sys.stdin in __import__("select").select([sys.stdin], [], [], 0)[0]:
        break
print("\\n".join(sorted(seen)))
"""
"""Every command line that there was, looked for 20 times a second until standard input ends."""


@contextmanager
def sampled(*on: nodes.Node) -> Iterator[list[str]]:
    """Command lines of nodes and of this machine while the body runs; there when it has ended."""
    lines: list[str] = []
    for node in on:
        nodes.ssh(node, "cat > /tmp/sampler.py", stdin=SAMPLER)
    everywhere = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for argv in (
        [sys.executable, "-c", SAMPLER, "600"],
        *([*nodes.ssh_argv(node), "sudo python3 /tmp/sampler.py 600"] for node in on))]
    time.sleep(0.5)
    try:
        yield lines
    finally:
        for one in everywhere:
            lines += one.communicate("\n", timeout=60)[0].splitlines()
        for node in on:
            nodes.ssh(node, "rm -f /tmp/sampler.py")


@contextmanager
def forwarded(site: Site, namespace: str = "observer-local") -> Iterator[str]:
    """Observer's Service at a port of this machine's loopback."""
    address = site.get(f"-n {namespace} service observer")["spec"]["clusterIP"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = nodes.ssh_argv(site.node)
    tunnel = subprocess.Popen([*argv[:-1], "-N", "-L", f"127.0.0.1:{port}:{address}:8000", argv[-1]])
    try:
        time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        tunnel.terminate()
        tunnel.wait()


def load(*words: object) -> subprocess.CompletedProcess[str]:
    """The load generator of the stand-in app."""
    return subprocess.run([sys.executable, str(LOAD), *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=300)


def differences(
    before: Mapping[str, list[str]], after: Mapping[str, list[str]],
) -> dict[str, tuple[list[str], list[str]]]:
    """What went and what came, by kind; empty when two snapshots are equal."""
    found = {kind: (sorted(set(before[kind]) - set(after[kind])), sorted(set(after[kind]) - set(before[kind])))
             for kind in before}
    return {kind: change for kind, change in found.items() if change != ([], [])}


def wait_for(question: Callable[[], object], what: str, seconds: float = 90) -> object:
    """Ask until the answer is true; errors of the bed count as no."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = question()
        except (BedError, subprocess.SubprocessError, ValueError, KeyError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s; last seen: {last}")


