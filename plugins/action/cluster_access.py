"""Opens the Kubernetes API of a K3s server to the controller, through SSH. Documented in library/."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from kube.client import ApiError, Client, Kubeconfig, KubeError, Object, Unreachable

SOURCE = "/etc/rancher/k3s/k3s.yaml"
ABSENT = 66
POLL = 0.2
LOOK_SECONDS = 2.0
"""Longest wait for the answer over a forward that was there already."""

CHECK_SECONDS = 3.0
"""Check mode starts nothing, so there is less to wait for."""

PERSIST_SECONDS = 60
"""An SSH connection of our own ends by itself after so long without use, as Ansible's does."""

ARGUMENTS = {"kubeconfig": {"type": "path", "required": True}, "timeout": {"type": "int", "default": 60}}


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action, over the connection of the task's host."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns ``available``, ``server`` and ``kubernetes_version``, or ``failed``, ``msg`` and ``remedy``."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        path = Path(arguments["kubeconfig"])
        result: dict[str, Any] = {"changed": False, "kubeconfig": str(path)}
        try:
            return {**result, **(self._still_open(path) or self._open(path, arguments["timeout"]))}
        except KubeError as error:
            return {**result, "failed": True, "available": False, "msg": str(error), "remedy": error.remedy}

    def _still_open(self, path: Path) -> dict[str, Any] | None:
        """What is returned when an earlier call's kubeconfig leads to this very host's API, else nothing."""
        try:
            config = Kubeconfig.load(path)
            if config.cluster != self._target():
                return None
            return _answer(config, _version(config, LOOK_SECONDS))
        except KubeError:
            return None

    def _open(self, path: Path, timeout: int) -> dict[str, Any]:
        _private_folder(path.parent)
        source = self._read_source()
        if source is None:
            path.unlink(missing_ok=True)
            if self._task.check_mode:
                return {"available": False}
            raise KubeError(
                f"K3s is not installed on {self._target()}: it has no {SOURCE}.",
                "Run the k3s role before this (`ansible-playbook site.yml`).",
            )
        config = replace(Kubeconfig.parse(source, f"{SOURCE} of {self._target()}"), cluster=self._target())
        port = urlsplit(config.server).port or 6443
        deadline = time.monotonic() + (CHECK_SECONDS if self._task.check_mode else timeout)
        config = replace(config, server=f"https://127.0.0.1:{self._forward(port, path.parent)}")
        while True:
            try:
                version = _version(config, LOOK_SECONDS)
                break
            except Unreachable as error:
                if time.monotonic() > deadline:
                    if self._task.check_mode:
                        # The kubeconfig says that there is a cluster, so that nobody takes its objects for missing.
                        _write(path, config.text())
                        return {"available": False, "warnings": [
                            f"K3s is installed on {self._target()} but does not run: its objects cannot be compared."]}
                    raise KubeError(
                        f"K3s is installed on {self._target()}, but its API does not answer. {error}",
                        f"{error.remedy} When K3s is well, sshd may forbid forwarding: AllowTcpForwarding.",
                    ) from error
                time.sleep(POLL)
        _write(path, config.text())
        return _answer(config, version)

    def _target(self) -> str:
        """What the host is called in the kubeconfig: a kubeconfig of another host must not be taken for this one's."""
        user = self._option("remote_user") or ""
        port = self._option("port") or ""
        host = self._option("host") or self._play_context.remote_addr
        return f"{user}{'@' if user else ''}{host}{':' if port else ''}{port}"

    def _option(self, name: str) -> Any:  # noqa: ANN401 (an option's value)
        try:
            return self._connection.get_option(name)
        except KeyError:
            return None

    def _read_source(self) -> str | None:
        """K3s' own kubeconfig, read on the node as root, or nothing when there is none."""
        # With -vvv the connection prints what a command says; this says a private key.
        context = self._connection._play_context
        before, context.no_log = context.no_log, True
        try:
            result = self._low_level_execute_command(
                f"if test -e {SOURCE}; then cat {SOURCE}; else exit {ABSENT}; fi", sudoable=True
            )
        finally:
            context.no_log = before
        if result["rc"] == ABSENT:
            return None
        if result["rc"] != 0:
            # Of what was said only the complaint: a part of the file must not be shown.
            said = re.search(r"(?:cat|sudo): .*\w", to_text(result["stdout"]) + to_text(result["stderr"]))
            reason = said[0] if said else f"exit code {result['rc']}"
            raise KubeError(f"{SOURCE} on {self._target()} cannot be read: {reason}.",
                            "Run the task as root: `become: true`.")
        return str(to_text(result["stdout"]))

    # --- the forward ------------------------------------------------------------------------------

    def _forward(self, port: int, folder: Path) -> int:
        """Have a loopback port of the controller lead to ``port`` on the node's loopback, and return it."""
        if self._connection.transport != "ssh":
            raise KubeError(f"The connection {self._connection.transport} cannot forward a port.",
                            "Use ansible_connection=ssh for this host.")
        host = self._option("host") or self._play_context.remote_addr
        said = ""
        # A port that was free a moment ago can be taken by now.
        for _ in range(3):
            chosen = _free_port()
            forward = ["-L", f"127.0.0.1:{chosen}:127.0.0.1:{port}"]
            asked = _run([*self._ssh(), "-O", "forward", *forward, host])
            if asked.returncode == 0:
                return chosen
            own = [
                "-o", "ControlMaster=yes", "-o", f"ControlPersist={PERSIST_SECONDS}",
                "-o", f"ControlPath={folder}/ssh-%C", "-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes",
            ]
            # Options that come first win. Without a ControlMaster of Ansible's, or with one that takes no more.
            command = self._ssh()
            started = _run([command[0], *own, "-f", "-N", *forward, *command[1:], host])
            if started.returncode == 0:
                return chosen
            said = to_text(started.stderr).strip() or to_text(asked.stderr).strip()
        raise KubeError(
            f"SSH does not forward a port to {self._target()}: {' '.join(said.split())}",
            "Allow it on the node (`AllowTcpForwarding yes` or `local` in sshd_config); log in with a key.",
        )

    def _ssh(self) -> list[str]:
        """The connection's own ssh command with all its options, without a host."""
        executable = self._connection.get_option("ssh_executable")
        words = [to_text(word) for word in self._connection._build_command(executable, "ssh")]
        # sshpass before it would only ask for what a living connection does not need.
        return words[words.index(executable):]


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    # A master that goes into the background keeps what it was given: pipes would never end.
    with tempfile.TemporaryFile() as said:
        try:
            result = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubeError(f"`{shlex.join(command[:1])}` to forward a port failed: {error}.",
                            "Check that OpenSSH's client is installed and the host answers.") from error
        said.seek(0)
        return subprocess.CompletedProcess(command, result.returncode, b"", said.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _version(config: Kubeconfig, seconds: float) -> Object:
    """What the API says of its version; raises Unreachable, also when it does not know who asks."""
    client = Client(config, seconds)
    try:
        return client.request("GET", "/version")
    except ApiError as error:
        raise Unreachable(f"The API at {config.server} answers: {error}",
                          "Look at the service on the node: `journalctl -u k3s`.") from error
    finally:
        client.close()


def _answer(config: Kubeconfig, version: Object) -> dict[str, Any]:
    return {"available": True, "server": config.server, "kubernetes_version": version.get("gitVersion", "")}


def _private_folder(folder: Path) -> None:
    """:raises KubeError: others may look into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise KubeError(f"The kubeconfig's folder {folder} is open to others.",
                        f"`chmod 700 {folder}`, or name a file in another folder.")


def _write(path: Path, content: str) -> None:
    """Write a file of mode 0600 as a whole or not at all."""
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        Path(scratch).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise
