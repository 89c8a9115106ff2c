"""``make test``: every stage in turn, its time, and what the bed weighs.

A stage that fails ends the run; what was measured until then is printed all the same.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results.json"
sys.path.insert(0, str(ROOT / "testbed"))

from bed import nodes, settings  # noqa: E402
from bed.errors import BedError  # noqa: E402
from bed.progress import duration  # noqa: E402
from bed.recipes import host_architecture  # noqa: E402

TEST_NODES = ("test-", "site-", "molecule-", "bench-")
"""Beginnings of the names of nodes that the tests make; nobody else's are touched."""


def run(*argv: str, cwd: Path = ROOT, **environment: str) -> None:
    subprocess.run(argv, cwd=cwd, env={**os.environ, **environment}, check=True)


def quiet(*argv: str, cwd: Path) -> None:
    """For programs that tell of every download: shown only when they fail."""
    done = subprocess.run(argv, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr)
        raise SystemExit(f"`{' '.join(argv)}` exited with {done.returncode}")


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def python(module: str, *arguments: str, cwd: Path = ROOT, **environment: str) -> None:
    run(sys.executable, "-m", module, *arguments, cwd=cwd, **environment)


def bed(*words: str) -> None:
    """The test bed's command line."""
    run(sys.executable, "-m", "bed", *words, PYTHONPATH=str(ROOT / "testbed"))


def lint() -> None:
    """ruff, mypy --strict, ansible-lint, yamllint, shellcheck, gofmt and go vet."""
    python("ruff", "check", "--quiet", ".")
    python("mypy", "testbed/bed", "testbed/k3s/k3s", "testbed/k3s/pack.py", "testbed/tests/run.py", "tools", "bench",
           "module_utils", "plugins", "tests")
    # A module and the action plugin of its name would be one module to mypy.
    python("mypy", "library")
    run(str(Path(sys.executable).with_name("ansible-lint")), "--profile", "production", "--strict", "--offline", "-q")
    observer = ROOT / "testbed" / "observer"
    python("ruff", "check", "--quiet", ".", cwd=observer)
    python("mypy", "src", "load.py", cwd=observer)
    python("yamllint", "--strict", *tracked("*.yml", "*.yaml"))
    scripts = [name for name in tracked("*.sh", ".ci/run") if name]
    run(str(Path(sys.executable).with_name("shellcheck")), *scripts)
    sources = tracked("*.go")
    unformatted = subprocess.run(["gofmt", "-l", *sources], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    if unformatted:
        raise SystemExit(f"gofmt would change:\n{unformatted}")
    for module in ("kube", "pause", "chart"):
        packages = ["./network/...", "./crictl/..."] if module == "kube" else ["./..."]
        quiet("go", "vet", *packages, cwd=ROOT / "testbed" / "go" / module)


def unit() -> None:
    """Tests that need no node: modules, plugins, manifests, the bed, the stand-in, the network component, the app."""
    python("pytest", "-q", "tests/unit", "testbed/tests/unit", "testbed/k3s/tests")
    python("pytest", "-q", cwd=ROOT / "testbed" / "observer")
    run("go", "test", "./network/...", "./crictl/...", cwd=ROOT / "testbed" / "go" / "kube", CGO_ENABLED="0")


def build() -> None:
    """The release mirror and all images; cached by content."""
    bed("up")


def bed_on_node() -> None:
    """Everything that is claimed of the stand-in, on running nodes; not again while nothing of it has changed."""
    kept = settings.folders().cache / "passed" / f"bed-{bed_key()}.json"
    if kept.is_file() and not os.environ.get("ALL"):
        MEASURED.update(json.loads(kept.read_text()))
        print(f"passed on {MEASURED['bed_tested']} with these very sources; `make test-all` runs it again")
        return
    measured = settings.folders().cache / "measured.json"
    measured.unlink(missing_ok=True)
    on_nodes("testbed/tests/on_node")
    MEASURED.update(json.loads(measured.read_text()), bed_tested=now())
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(MEASURED, indent=2))


def bed_key() -> str:
    """What the bed's own tests depend on: every file under ``testbed/``, the lock file, and the machine's kernel."""
    summed = hashlib.sha256(platform.release().encode())
    for name in sorted([*tracked("testbed"), "uv.lock"]):
        if not name.endswith(".md"):
            summed.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return summed.hexdigest()[:16]


def site() -> None:
    """The main job on running nodes: plan, run, second run, hand edits, refusals, interruptions, production."""
    on_nodes("tests/on_node")


def molecule() -> None:
    """The Molecule scenario `default`: create, converge, check mode, idempotence, testinfra, destroy."""
    clear()
    try:
        run(str(Path(sys.executable).with_name("molecule")), "test", "--scenario-name", "default",
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    finally:
        clear()


def bench() -> None:
    """First provision beside a plain shell script, second run beside `ansible -m ping`, memory and disk."""
    clear()
    try:
        python("bench", PYTHONPATH=f"{ROOT}:{ROOT / 'testbed'}")
    finally:
        clear()


def on_nodes(folder: str) -> None:
    clear()
    try:
        python("pytest", "-v", "--durations=15", folder)
    finally:
        if not os.environ.get("KEEP_NODES"):
            clear()


def clear() -> None:
    for node in nodes.everyone():
        if node.name.startswith(TEST_NODES):
            nodes.down(node)


def down() -> None:
    """`make down` leaves the machine as it was."""
    if BEFORE is None:
        print("NOT CHECKED: the bed was up before this run and stays; `make down` first to have it checked")
        return
    bed("down")
    after = machine()
    for name, before in BEFORE.items():
        gone, new = (sorted(set(one) - set(other)) for one, other in ((before, after[name]), (after[name], before)))
        if gone or new:
            raise BedError(f"{name} of this machine changed; gone: {gone}; new: {new}")
        print(f"as before: {name} ({len(before)})")


def machine() -> dict[str, list[str]]:
    """What of this machine the bed could change and must not leave changed."""
    def words(*argv: str) -> list[str]:
        lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
        return [line for line in lines if not line.startswith(("#", ":"))]

    # All of them, not the list that the bed itself restores: what that list lacks is to be found here.
    values = words("sysctl", "--all", "--ignore", "--pattern", r"^(vm|kernel|fs|dev|user|net\.ipv4\.ip_forward)")
    settings_now = [line for line in values if not re.match(
        r"(kernel\.(random|ns_last_pid|pty\.nr|tainted|sched_domain)"
        r"|fs\.(file-nr|inode-|dentry-state|aio-nr|quota))", line)]
    files = [str(path) for place in ("/var/lib/cni", "/run/cni", "/run/observer-node", "/var/lib/containers")
             for path in sorted(Path(place).rglob("*"))]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(settings.folders().runroot) in line:
            processes.append(line)
    return {
        "iptables rules": words("iptables-save"), "interfaces": words("ip", "-o", "-br", "link"),
        "loop devices": words("losetup", "--noheadings", "--output", "NAME,BACK-FILE"), "settings": settings_now,
        "mounts": sorted(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()),
        "processes": processes, "files": files,
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()),
    }


STAGES = {"lint": lint, "unit": unit, "build": build, "bed": bed_on_node, "site": site, "molecule": molecule,
          "bench": bench, "down": down}
MEASURED: dict[str, Any] = {}
"""Figures of the stages, by section, as they go into ``bench/results.json``."""
BEFORE: dict[str, list[str]] | None = None


def sizes() -> dict[str, float]:
    """Megabytes of what a node downloads and of the bed's disk use."""
    mirror = settings.folders().cache / "mirror"
    found = {str(path.name): round(path.stat().st_size / 1e6, 1) for path in sorted(mirror.rglob("*"))
             if path.is_file() and path.stat().st_size > 1e6}
    return found


def main() -> int:
    wanted = sys.argv[1:] or list(STAGES)
    unknown = [name for name in wanted if name not in STAGES]
    if unknown:
        print(f"error: no stage named {', '.join(unknown)}; there are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    global BEFORE
    if os.environ.get("CI") and settings.folders().state.is_dir():
        # What an interrupted run left on a CI machine is nobody's work.
        bed("down")
    if not settings.folders().state.is_dir():
        BEFORE = machine()
    times: dict[str, float] = {}
    failed = None
    started = time.monotonic()
    for number, name in enumerate(wanted, 1):
        print(f"\n=== stage {number} of {len(wanted)}: {name} - {STAGES[name].__doc__}", flush=True)
        begun = time.monotonic()
        try:
            STAGES[name]()
        except (subprocess.CalledProcessError, BedError, SystemExit) as error:
            failed = f"{name}: {error}"
        times[name] = round(time.monotonic() - begun, 1)
        if failed:
            break
    if failed and BEFORE is not None and not os.environ.get("KEEP_NODES"):
        bed("down")
    print("\n=== time by stage")
    for name, seconds in times.items():
        print(f"  {name:<10} {duration(seconds):>8}")
    print(f"  {'total':<10} {duration(time.monotonic() - started):>8}")
    if failed:
        print(f"\nFAILED at {failed}", file=sys.stderr)
        return 1
    if wanted == list(STAGES):
        report(times)
    return 0


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def report(times: dict[str, float]) -> None:
    """Write ``bench/results.json`` and print it."""
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    result = {
        "date": now(),
        "machine": {
            "architecture": host_architecture(), "cores": os.cpu_count(), "kernel": platform.release(),
            "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        },
        "node_kind": "stand-in",
        "stage_seconds": times, "sizes_mb": sizes(), **MEASURED,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    print("\n=== memory, sizes and times (bench/results.json)")
    for section in ("node_seconds", "node_memory_mib", "sizes_mb"):
        for name, value in sorted(dict(result.get(section, {})).items()):
            print(f"  {section:<16} {name:<48} {value:>10}")
    free = shutil.disk_usage(settings.folders().cache).free / 1024**3
    print(f"  {'disk':<16} {'free on the cache disk, GiB':<48} {free:>10.0f}")


if __name__ == "__main__":
    sys.exit(main())
