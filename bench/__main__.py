"""``python -m bench``: what the main job costs, each figure beside what it is compared with, within one run.

Writes the sections ``first_provision``, ``rerun`` and ``added`` of ``bench/results.json``.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "testbed"), str(ROOT / "tests" / "on_node")]

from bed import nodes, services  # noqa: E402
from bed.__main__ import build  # noqa: E402
from bed.recipes import host_architecture  # noqa: E402
from hands import Site  # noqa: E402

RESULTS = ROOT / "bench" / "results.json"
ANSIBLE = str(Path(sys.executable).with_name("ansible"))
OWNED = ("etc/observer-node", "etc/rancher/k3s/config.yaml", "etc/rancher/k3s/token", "etc/rancher/k3s/registries.yaml",
         "etc/rancher/k3s/registry-ca.crt", "etc/sysctl.d/zz-observer-node.conf",
         "etc/modules-load.d/observer-node.conf", "etc/systemd/system/k3s.service",
         "etc/systemd/system/observer-firewall.service")
KINDS = (
    "namespace", "crd", "serviceaccount", "clusterrole", "clusterrolebinding", "role", "rolebinding", "storageclass",
    "secret", "configmap", "sealedsecret", "pvc", "service", "networkpolicy", "poddisruptionbudget", "statefulset",
    "deployment",
)
"""In an order in which they can be applied."""

REPEATS = 5
FLOOR_SECONDS = 300
"""After which the plain script, which waits without end, has failed."""


def first_provision(site: Site) -> dict[str, float]:
    """Seconds from a bare node to `/ready`, by site.yml."""
    run = site.play().ok()
    return {"seconds": round(run.seconds, 1), "tasks": run.executed, "changes": len(run.changes)}


def objects(site: Site) -> list[dict[str, Any]]:
    """What site.yml has applied, as the cluster has it, without what the cluster added to it for itself."""
    found = []
    # An object of which nothing but its name was applied has no managed fields.
    accounts = {item["spec"]["template"]["spec"].get("serviceAccountName")
                for item in site.get("deployment,statefulset -A")["items"]} - {None, "coredns"}
    for kind in KINDS:
        for item in site.get(f"{kind} -A --show-managed-fields")["items"]:
            metadata = item["metadata"]
            ours = any(field["manager"] == "observer-node" for field in metadata.get("managedFields", []))
            if not ours and not (kind == "serviceaccount" and metadata["name"] in accounts):
                continue
            for name in ("managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "finalizers",
                         "ownerReferences"):
                metadata.pop(name, None)
            # What controllers note for themselves: a claim that says it is bound is lost without its volume.
            metadata["annotations"] = {key: value for key, value in metadata.get("annotations", {}).items()
                                       if "kubernetes.io/" not in key or key.startswith("storageclass.")}
            item.pop("status", None)
            for name in ("clusterIP", "clusterIPs", "volumeName"):
                if item.get("spec", {}).get(name) != "None":
                    item.get("spec", {}).pop(name, None)
            if kind == "service" and item["spec"].get("clusterIP") == "None":
                item["spec"].pop("clusterIPs", None)
            found.append(item)
    return found


def floor(site: Site, bare: nodes.Node, work: Path) -> float:
    """Seconds of the plain script on another bare node, with the files of the node that is provisioned."""
    with (work / "files.tar").open("wb") as tar:
        subprocess.run([*nodes.ssh_argv(site.node), f"sudo tar -C / -cf - {' '.join(OWNED)}"], stdout=tar, check=True)
    (work / "objects.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects(site)}))
    # It would take its share of the machine while the other one is measured.
    nodes.stop(site.node)
    bed = json.loads((site.folder.parent / "state" / "observer-node" / "bed.json").read_text())
    release = f"{bed['releases']}/k3s-io/k3s/releases/download/v1.34.3%2Bk3s1"
    architecture = host_architecture()
    binary = "k3s" if architecture == "amd64" else f"k3s-{architecture}"
    archive = f"k3s-airgap-images-{architecture}.tar.zst"
    images = "/var/lib/rancher/k3s/agent/images"
    lines = [f"{release}/{binary} {bed['k3s_checksums'][binary]} /usr/local/bin/k3s",
             f"{release}/{archive} {bed['k3s_checksums'][archive]} {images}/{archive}"]
    lines += [f"{image['url']} {image['sha256']} {images}/{image['name']}" for image in bed["extra_images"]]
    (work / "downloads").write_text("\n".join(lines) + "\n")
    started = time.monotonic()
    subprocess.run(["bash", str(ROOT / "bench" / "floor.sh"), bed["ssh_config"], bare.name, str(work)], check=True,
                   timeout=FLOOR_SECONDS)
    return round(time.monotonic() - started, 1)


def rerun(site: Site) -> dict[str, Any]:
    """Seconds of a run that changes nothing, in turn with a bare ping by the same Ansible."""
    seconds: dict[str, list[float]] = {"seconds": [], "ping_seconds": []}
    executed, changed = set(), set()
    for _ in range(REPEATS):
        run = site.play().ok()
        seconds["seconds"].append(run.seconds)
        executed.add(run.executed)
        changed.add(len(run.changes))
        started = time.monotonic()
        subprocess.run([ANSIBLE, "-i", str(site.folder), "-m", "ansible.builtin.ping", "all"], cwd=ROOT, check=True,
                       env=site.env(), stdout=subprocess.DEVNULL)
        seconds["ping_seconds"].append(time.monotonic() - started)
    figures: dict[str, Any] = {}
    for name, values in seconds.items():
        figures[name] = round(statistics.median(values), 1)
        figures[name.replace("seconds", "seconds_min_max")] = [round(min(values), 1), round(max(values), 1)]
    return {**figures, "tasks": max(executed), "changed": max(changed), "repeats": REPEATS}


def added(site: Site) -> dict[str, float]:
    """Memory in MiB and disk that our parts add on the node, beside K3s and Observer."""
    found: dict[str, float] = {"own_processes": float(site.ssh("pgrep -fc [o]bserver-node || true").strip() or 0)}
    for name, namespace, label in (
        ("local_path_provisioner_mib", "kube-system", "app=local-path-provisioner"),
        ("sealed_secrets_controller_mib", "sealed-secrets", "app.kubernetes.io/name=sealed-secrets"),
    ):
        uid = site.get(f"-n {namespace} pods -l {label}")["items"][0]["metadata"]["uid"]
        pattern = uid.replace("-", "[-_]")
        memory = site.ssh(
            f"sudo find /sys/fs/cgroup -path '*{uid[:8]}*' \\( -name memory.current -o -name memory.usage_in_bytes \\)"
            f" | grep -E '{pattern}[^/]*/memory' | head -1 | sudo xargs cat").strip()
        found[name] = round(int(memory) / 1024**2, 1)
    sizes = site.ssh(f"cd /; sudo du -cbs {' '.join(OWNED)} | tail -1")
    found["files_kib"] = round(int(sizes.split()[0]) / 1024, 1)
    archives = site.ssh("sudo sh -c 'du -cb /var/lib/rancher/k3s/agent/images/*.zst | tail -1'")
    found["image_archives_mb"] = round(int((re.findall(r"^\d+", archives) or ["0"])[0]) / 1e6, 1)
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures as an operator reads them."""
    first, again, parts = figures["first_provision"], figures["rerun"], figures["added"]
    rows = [
        ("first provision, bare node to /ready", f"{first['seconds']} s"),
        ("  the same steps by a plain script", f"{first['floor_seconds']} s"),
        ("  ratio, and seconds over", f"{first['ratio']}, {first['over_seconds']} s"),
        (f"second run ({again['tasks']} tasks, {again['changed']} changed), median of {again['repeats']}",
         f"{again['seconds']} s"),
        ("  a bare ping by the same Ansible", f"{again['ping_seconds']} s"),
        *((f"added on the node: {name.replace('_', ' ')}", f"{value}") for name, value in parts.items()),
    ]
    return "\n".join(f"  {name:<64} {value:>12}" for name, value in rows)


def main() -> int:
    """Measure on two new nodes, write the results, print the table."""
    paths = build()
    services.up(paths, host_architecture())
    with tempfile.TemporaryDirectory(prefix="observer-node-bench-") as folder:
        work = Path(folder)
        made = [nodes.up(nodes.plan(name, oci_firewall=True), paths) for name in ("bench-a", "bench-b")]
        try:
            site = Site.local(made[0], work / "site", k3s_node_name="obs-local")
            site.play(playbook="playbooks/secrets.yml").ok()
            first: dict[str, Any] = first_provision(site)
            figures: dict[str, Any] = {"first_provision": first, "rerun": rerun(site), "added": added(site)}
            files = work / "floor"
            files.mkdir(mode=0o700)
            first["floor_seconds"] = floor(site, made[1], files)
            first["ratio"] = round(first["seconds"] / first["floor_seconds"], 2)
            first["over_seconds"] = round(first["seconds"] - first["floor_seconds"], 1)
        finally:
            if not os.environ.get("KEEP_NODES"):
                for node in made:
                    nodes.down(node)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**results, **figures}, indent=2, sort_keys=True) + "\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
