"""Drift of a node and its cluster, as findings (`living.drift` looks, on the node)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..checks import finding
from ..model import Finding, Layer

CONFIG_KINDS = ("ConfigMap", "Secret", "SealedSecret")
CLUSTER_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default", "sealed-secrets")

COMMANDS = {"packages": "ls -l /var/lib/dpkg/status", "services": "systemctl is-system-running",
            "accounts": "ls -l /etc/passwd /etc/group", "firewall": "sudo iptables-save; sudo nft list tables",
            "ports": "sudo ss -lntup", "files": "sudo ls -l /etc", "keys": "ls -l /etc/passwd"}
"""What to type when a part of a node's state cannot be read."""


def check_drift(host: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings of one host.

    :param facts: what `contract_drift` returns: ``baseline``, ``drift`` and ``not_looked_at``.
    """
    if not facts.get("baseline"):
        yield finding("DRIFT-20", "drift.baseline", Layer.NODE, None, host,
                      command="ansible-playbook site.yml -i inventories/<env>")
    for gap in facts.get("not_looked_at") or []:
        about, cluster = gap["about"], "cluster" in gap["about"] or gap["about"].startswith("/api")
        yield finding("DRIFT-21", "drift.looked_at", Layer.CLUSTER if cluster else Layer.NODE, None, host, about=about,
                      why=gap["why"], command=gap.get("command") or (
                          f"sudo kubectl get --raw {about}" if about.startswith("/api") else
                          "systemctl status k3s" if cluster else COMMANDS.get(about, f"sudo ls -ld {about}")))
    for one in facts.get("drift") or []:
        subject = one["subject"] if one["kind"] == "object" else f"{host}: {one['subject']}"
        yield finding(one["code"], f"drift.{one['kind']}", layer(one), None, subject,
                      expected=one["before"] if one["before"] is not None else "none",
                      actual=one["after"] if one["after"] is not None else "none",
                      what=one["what"], trace=trace(one), command=one["command"])


def layer(drift: Mapping[str, Any]) -> Layer:
    """Who owns what drifted (seed 000 B.2): values, what is deployed, the cluster, or the node."""
    if drift["kind"] != "object":
        return Layer.CLUSTER if drift["subject"].startswith(("k3s", "/etc/rancher", "/var/lib/rancher")) else Layer.NODE
    kind, _, name = drift["subject"].partition(" ")
    namespace, slash, _ = name.rpartition("/")
    if not slash or namespace in CLUSTER_NAMESPACES:
        return Layer.CLUSTER
    return Layer.CONFIG if kind in CONFIG_KINDS else Layer.DEPLOYMENT


def trace(drift: Mapping[str, Any]) -> str:
    """By whom and when, in brackets, as far as it is known."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(drift["when"])) if drift["when"] else ""
    known = ", ".join(part for part in (drift["by"], when) if part)
    return f" ({known})" if known else ""


