#!/usr/bin/python
"""What of K3s is on a node: whose it is, which version, and whether its datastore opens with our token."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_state
short_description: Look at the K3s of a node before anything is changed, and refuse what would break it
description:
  - Refuses a cluster that this project did not make, an older version than the one that is there, a step over
    a minor version, a token that the datastore was not made with, and a port that something else holds.
  - A cluster is this project's when K3s' unit or its config.yaml has the header line that the role k3s writes,
    whole and at the start of a line. The project's name elsewhere, as in a label, does not count.
  - Changes nothing.
options:
  version:
    description: >-
      The version that is wanted, such as V(v1.34.3+k3s1). Without it, O(sha256) and O(token) only a cluster that this
      project did not make is refused.
    type: str
  sha256:
    description: SHA-256 of that version's binary. With it in place the binary is not asked for its version.
    type: str
  kind:
    description: What the node is to be.
    type: str
    choices: [server, agent]
    default: server
  token:
    description: The token that is wanted, in its short form.
    type: str
  binary:
    description: Place of the binary.
    type: path
    default: /usr/local/bin/k3s
  data_dir:
    description: Folder of K3s' data.
    type: path
    default: /var/lib/rancher/k3s
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Look at the K3s of the node
  k3s_state:
    version: v1.34.3+k3s1
    sha256: "{{ k3s_checksums.arm64['k3s-arm64'] }}"
    token: "{{ k3s_token }}"
"""

RETURN = r"""
installed:
  description: The version that is installed; empty when there is none.
  returned: always
  type: str
datastore:
  description: Whether there is a datastore.
  returned: always
  type: bool
"""

import contextlib
import hashlib
import os
import re
import socket
import sqlite3
import subprocess

from ansible.module_utils.basic import AnsibleModule

UNITS = ("/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s-agent.service")
CONFIG = "/etc/rancher/k3s/config.yaml"
MARKER = "/etc/observer-node"
MARK = re.compile(r"^# observer-node: (?:settings of )?K3s; changes made here are undone\.$", re.MULTILINE)
"""The header line of the role's config.yaml.j2 and k3s.service.j2."""
OTHERS = {
    "/etc/kubernetes/manifests": "kubeadm", "/var/snap/microk8s": "MicroK8s", "/var/lib/k0s": "k0s",
    "/etc/rancher/rke2": "RKE2",
}
ADOPT = "this project never takes over a cluster by surprise: use a fresh node, or remove that one yourself"


class RefusedError(Exception):
    """A node that must stay as it is, with what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def text(path: str) -> str:
    """Content of a file; empty when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def foreign(binary: str, data_dir: str) -> str | None:
    """What shows that somebody else put a cluster on the node.

    Our K3s role writes its marked settings before there is a binary, a unit or data, so a node with any of those
    and no mark anywhere is somebody else's, however early our run was interrupted.
    """
    for path, name in OTHERS.items():
        if os.path.exists(path):
            return f"{name} ({path})"
    units = [text(path) for path in UNITS]
    config = text(CONFIG)
    if any(map(MARK.search, [*units, config])):
        return None
    if not any([*units, config]) and os.path.isdir(MARKER):
        return None
    traces = [path for path in (*UNITS, CONFIG, binary, f"{data_dir}/server/db", f"{data_dir}/agent")
              if os.path.exists(path)]
    return f"K3s ({', '.join(traces)})" if traces else None


def parsed(version: str) -> tuple[int, ...]:
    """Numbers of ``v1.34.3+k3s1`` in the order in which versions compare.

    :raises RefusedError: for anything else.
    """
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)(?:-rc(\d+))?\+k3s(\d+)", version)
    if not found:
        raise RefusedError(f"k3s_version {version} is not a K3s version", "write it like v1.34.3+k3s1")
    major, minor, patch, candidate, build = found.groups()
    return int(major), int(minor), int(patch), int(candidate or 1_000), int(build)


def installed_version(binary: str) -> str:
    """What a binary says of itself; empty when it does not run."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"k3s version (v\S+)", done.stdout)
    return found[1] if found else ""


def check_version(installed: str, wanted: str) -> None:
    """Refuse to go back, and to leave out a minor version (Kubernetes supports neither)."""
    new = parsed(wanted)
    if not installed:
        return
    try:
        old = parsed(installed)
    except RefusedError:
        return
    if new < old:
        raise RefusedError(f"k3s_version {wanted} is older than {installed}, which is there: no datastore goes back",
                           f"set k3s_version to {installed} or later")
    if new[1] > old[1] + 1:
        raise RefusedError(f"k3s_version {wanted} leaves out a minor version after {installed}",
                           f"upgrade to v{old[0]}.{old[1] + 1} first")


def check_token(token: str, data_dir: str) -> bool:
    """Refuse a token that the datastore was not made with. Returns whether there is a datastore.

    K3s keeps the token beside the datastore and, hashed, as the name of a row in it; with another token it
    would end in a loop of restarts (k3s#4640).
    """
    database = f"{data_dir}/server/db/state.db"
    if not os.path.exists(database):
        return False
    if "::" in token:
        token = token.rpartition(":")[2]
    kept = text(f"{data_dir}/server/token").strip()
    if kept:
        right = kept.rpartition(":")[2] == token
    else:
        rows: list[tuple[str]] = []
        with contextlib.suppress(sqlite3.Error), \
                contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            rows = connection.execute("SELECT DISTINCT name FROM kine WHERE name LIKE '/bootstrap/%'").fetchall()
        wanted = "/bootstrap/" + hashlib.sha256(token.encode()).hexdigest()[:12]
        right = not rows or any(name == wanted for name, in rows)
    if not right:
        raise RefusedError("k3s_token is not the token that the node's datastore was made with; K3s would not start",
                           "put the first token back into the inventory's vault (vault_k3s_token)")
    return True


def check_port() -> None:
    """Refuse when something answers on the API's port although the node never had a K3s."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", 6443)) == 0:
            raise RefusedError("port 6443 of the node is taken, and not by K3s",
                               "on the node: ss -ltnp 'sport = :6443'; stop what holds it")


def main() -> None:
    """Look, refuse or tell."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str"},
            "sha256": {"type": "str"},
            "kind": {"choices": ["server", "agent"], "default": "server"},
            "token": {"type": "str", "no_log": True},
            "binary": {"type": "path", "default": "/usr/local/bin/k3s"},
            "data_dir": {"type": "path", "default": "/var/lib/rancher/k3s"},
        },
        required_together=[("version", "sha256", "token")],
        supports_check_mode=True,
    )
    params = module.params
    binary, data_dir = params["binary"], params["data_dir"]
    try:
        if params["version"]:
            parsed(params["version"])
        found = foreign(binary, data_dir)
        if found:
            raise RefusedError(f"the node has a cluster that this project did not make: {found}", ADOPT)
        if not params["version"]:
            module.exit_json(changed=False)
        installed = ""
        if os.path.exists(binary):
            with open(binary, "rb") as file:
                same = hashlib.sha256(file.read()).hexdigest() == params["sha256"].lower()
            installed = params["version"] if same else installed_version(binary)
        check_version(installed, params["version"])
        datastore = params["kind"] == "server" and check_token(params["token"], data_dir)
        # Our own K3s may hold it, even if its binary is broken or gone.
        if params["kind"] == "server" and not any(map(text, (*UNITS, CONFIG))):
            check_port()
    except RefusedError as error:
        module.fail_json(msg=str(error), remedy=error.remedy)
    module.exit_json(changed=False, installed=installed, datastore=datastore)


if __name__ == "__main__":
    main()
