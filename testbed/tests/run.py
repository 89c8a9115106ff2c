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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results.json"
sys.path.insert(0, str(ROOT / "testbed"))

from bed import machines, nodes, settings  # noqa: E402
from bed.errors import BedError  # noqa: E402
from bed.progress import duration  # noqa: E402
from bed.recipes import host_architecture  # noqa: E402

SIDE_BY_SIDE = ((("build", "bed"), ("unit", "lint")), (("site", "molecule"), ("production", "living", "node_loss")))
"""Lanes of stages that run at once, group after group: tests on nodes wait for most of their time. Go
programs are vetted after they were built, or they would be compiled twice at once."""

AS_BUILT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly -trimpath"}
"""What the bed's Go programs are built with: with anything else all of Kubernetes would be compiled once more."""


def run(*argv: str, cwd: Path = ROOT, **environment: str) -> None:
    subprocess.run(argv, cwd=cwd, env={**os.environ, **environment}, check=True)


def quiet(*argv: str, cwd: Path, **environment: str) -> None:
    """For programs that tell of every download: shown only when they fail."""
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **environment}, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr)
        raise SystemExit(f"`{' '.join(argv)}` exited with {done.returncode}")


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def python(module: str, *arguments: str, cwd: Path = ROOT, **environment: str) -> None:
    run(sys.executable, "-m", module, *arguments, cwd=cwd, **environment)


def pytest(*arguments: str, **environment: str) -> None:
    """Run tests; what each came to is written down where ``OBSERVER_NODE_OUTCOMES`` says."""
    python("pytest", "-p", "tests.outcomes", *arguments, cwd=ROOT, **environment)


def bed(*words: str) -> None:
    """The test bed's command line."""
    run(sys.executable, "-m", "bed", *words, PYTHONPATH=str(ROOT / "testbed"))


def lint() -> None:
    """ruff, mypy --strict, ansible-lint, yamllint, shellcheck, gofmt and go vet."""
    python("ruff", "check", "--quiet", ".")
    python("mypy", "testbed/bed", "testbed/k3s/k3s", "testbed/k3s/pack.py", "testbed/tests/run.py", "tools", "bench",
           "module_utils", "plugins/action", "plugins/filter", "tests")
    # A module and the action plugin of its name would be one module to mypy, and the callback `operator` Python's own.
    python("mypy", "library")
    python("mypy", "plugins/callback")
    run(str(Path(sys.executable).with_name("ansible-lint")), "-q")
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
        quiet("go", "vet", *packages, cwd=ROOT / "testbed" / "go" / module, **AS_BUILT)


def unit() -> None:
    """Tests that need no node: modules, plugins, manifests, the bed, the stand-in, the network component, the app."""
    pytest("-q", "--durations=15", "tests/unit", "testbed/tests/unit", "testbed/k3s/tests")
    # An app repository of its own, which knows nothing of how outcomes are collected here.
    python("pytest", "-q", cwd=ROOT / "testbed" / "observer")
    run("go", "test", "./network/...", "./crictl/...", cwd=ROOT / "testbed" / "go" / "kube", **AS_BUILT)


def build() -> None:
    """The release mirror and all images; cached by content."""
    bed("up")


def once(stage: str, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do ``work``, unless it has passed with these very sources here. Returns what it has measured."""
    kept = settings.folders().cache / "passed" / f"{stage}-{key}.json"
    if kept.is_file() and not os.environ.get("ALL"):
        found: dict[str, Any] = json.loads(kept.read_text())
        print(f"passed on {found[f'{stage}_tested']} with these very sources; `make test-all` runs it again")
        return found
    found = {**work(), f"{stage}_tested": now()}
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found, indent=2))
    return found


def bed_on_node() -> None:
    """Everything that is claimed of the stand-in, on running nodes; not again while nothing of it has changed."""
    MEASURED.update(once("bed", bed_key(), bed_tests))


def bed_tests() -> dict[str, Any]:
    """The bed's own tests; returns what they have measured."""
    measured = settings.folders().cache / "measured.json"
    measured.unlink(missing_ok=True)
    on_nodes("test", "testbed/tests/on_node")
    found: dict[str, Any] = json.loads(measured.read_text())
    return found


def bed_key() -> str:
    """What the bed's own tests depend on."""
    return summed_up(bed_sources())


def product_key() -> str:
    """What the tests of the main job depend on: the bed without its own tests, and all that a playbook reads."""
    read = tracked("*.yml", "*.cfg", "*.j2", "contracts", "inventories", "manifests", "roles", "playbooks", "library",
                   "plugins", "module_utils", "molecule", "tests/on_node", "tests/drill")
    return summed_up([
        *(name for name in bed_sources() if "/tests/" not in name),
        *(name for name in read
          if not name.endswith(".md") and not name.startswith((".", "testbed/", "tests/unit/", "tools/"))),
    ])


def bed_sources() -> list[str]:
    """Files under ``testbed/`` that the bed or its tests are made of, and the lock file."""
    # What renders manifests is built beside the bed's parts and is none of them.
    return [name for name in sorted([*tracked("testbed"), "uv.lock"])
            if not name.endswith((".md", "tests/run.py", "bed/local.py"))
            and not name.startswith(("testbed/go/kustomize/", "testbed/go/helm/"))]


def summed_up(names: list[str]) -> str:
    """A key of the machine's kernel and these files."""
    summed = hashlib.sha256(platform.release().encode())
    for name in names:
        summed.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return summed.hexdigest()[:16]


def tested(stage: str, work: Callable[[], None]) -> None:
    """A stage of the main job: not again while nothing has changed that it depends on."""
    def measured() -> dict[str, Any]:
        work()
        return {}

    once(stage, product_key(), measured)


def site() -> None:
    """The main job on running nodes: plan, run, second run, hand edits, reboot, refusals, interruptions, reset."""
    files = [f"tests/on_node/test_{name}.py" for name in ("1_site", "2_refusals", "3_interrupted", "a_reset")]
    tested("site", lambda: on_nodes("site", *files))


def living() -> None:
    """The living system: verified, diagnosed in every fault, watched for drift; the data after its pods are deleted."""
    # On one node: drift and the report need a cluster on which nobody has worked by hand yet.
    files = [f"tests/on_node/test_{name}.py" for name in (
        "8_drift", "9_verify", "6_node", "6_cluster_living", "7_diagnose")]
    tested("living", lambda: on_nodes("live", *files))


def production() -> None:
    """The production inventory with vault and agent, and everything that the cluster's objects can be made to do."""
    files = [f"tests/on_node/test_{name}.py" for name in ("4_production", "5_cluster", "c_move")]
    tested("production", lambda: on_nodes("prod", *files))


def molecule() -> None:
    """The Molecule scenario `default`: create, converge, check mode, idempotence, testinfra, destroy."""
    tested("molecule", molecule_test)


def molecule_test() -> None:
    """Run the scenario on nodes of its own."""
    with nodes_of("molecule"):
        run(str(Path(sys.executable).with_name("molecule")), "test", "--scenario-name", "default",
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def node_loss() -> None:
    """The Molecule scenario `node_loss`: a node with 2 GiB is lost under load, and one command brings it all back;
    then what can be wrong with its backups."""
    def drilled() -> dict[str, Any]:
        found = {}
        # By default the mode that can lose less; `make test-all` tries the other as well.
        for mode in ("stream", "archive") if os.environ.get("ALL") else ("stream",):
            with nodes_of("loss"), tempfile.TemporaryDirectory() as folder:
                result = Path(folder) / "result.json"
                run(str(Path(sys.executable).with_name("molecule")), "test", "--scenario-name", "node_loss",
                    PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", OBSERVER_NODE_DRILL_MODE=mode,
                    OBSERVER_NODE_DRILL_RESULT=str(result))
                found[mode] = json.loads(result.read_text())
        files = [f"tests/on_node/test_{name}.py" for name in ("b_loss", "c_receiver", "c_twin")]
        on_nodes("loss", *files)
        return {"node_loss": found}

    MEASURED["node_loss"] = once("node_loss", product_key(), drilled)["node_loss"]


def arm64() -> None:
    """The main job on an emulated arm64 machine: provision, second run, reboot, power cut, restore, an old clock."""
    def tried() -> dict[str, Any]:
        figures = settings.folders().cache / "arm64.json"
        figures.unlink(missing_ok=True)
        with machines_of("arm64"):
            on_nodes("arm64", "tests/on_node/test_e_postgres_arm64.py", "tests/on_node/test_d_arm64.py")
        return {"arm64": {**json.loads(figures.read_text()), "date": now()}}

    MEASURED["arm64"] = once("arm64", product_key(), tried)["arm64"]
    # This stage is run by itself as well, and the rest of the figures are no older for it.
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**known, "arm64": MEASURED["arm64"]}, indent=2, sort_keys=True) + "\n")


def bench() -> None:
    """First provision beside a plain shell script, second run beside `ansible -m ping`, memory and disk; a check
    against the contract beside `kubectl kustomize`, kubeconform and kube-score."""
    python("bench.contract")
    with nodes_of("bench"):
        python("bench")
    figures = json.loads(RESULTS.read_text())
    MEASURED.update({name: figures[name] for name in ("contract", "first_provision", "rerun", "added")})


def on_nodes(prefix: str, *files: str) -> None:
    with nodes_of(prefix):
        those = [] if os.environ.get("ALL") else ["-m", "not long"]
        pytest("-v", "--durations=10", *those, *files, OBSERVER_NODE_TEST_NODES=prefix)


@contextmanager
def nodes_of(prefix: str) -> Iterator[None]:
    """Nodes whose names begin so are the tests' own, before and after."""
    clear(prefix)
    try:
        yield
    finally:
        if not os.environ.get("KEEP_NODES"):
            clear(prefix)


@contextmanager
def machines_of(prefix: str) -> Iterator[None]:
    """The same of emulated machines."""
    def clear_machines() -> None:
        for machine in machines.everyone():
            if machine.name.startswith(f"{prefix}-"):
                machines.down(machine)

    clear_machines()
    try:
        yield
    finally:
        if not os.environ.get("KEEP_NODES"):
            clear_machines()


def clear(prefix: str) -> None:
    for node in nodes.everyone():
        if node.name.startswith(f"{prefix}-"):
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


STAGES = {"build": build, "bed": bed_on_node, "lint": lint, "unit": unit, "site": site, "production": production,
          "molecule": molecule, "living": living, "node_loss": node_loss, "arm64": arm64, "bench": bench, "down": down}
ONLY_ALL = {"arm64"}
"""Stages of `make test-all` alone, unless they are asked for by name: emulation takes its time."""
MEASURED: dict[str, Any] = {}
"""Figures of the stages, by section, as they go into ``bench/results.json``."""
BEFORE: dict[str, list[str]] | None = None
TIMES = os.environ.get("RUN_TIMES")
"""Set for a lane: where it leaves the times of its stages and what they have measured."""


def sizes() -> dict[str, float]:
    """Megabytes of what a node downloads and of the bed's disk use."""
    mirror = settings.folders().cache / "mirror"
    found = {str(path.name): round(path.stat().st_size / 1e6, 1) for path in sorted(mirror.rglob("*"))
             if path.is_file() and path.stat().st_size > 1e6}
    return found


def stage(name: str, times: dict[str, float]) -> str | None:
    """Run one stage. Returns what failed."""
    print(f"\n=== {name} - {STAGES[name].__doc__}", flush=True)
    begun = time.monotonic()
    failed = None
    try:
        STAGES[name]()
    except (subprocess.CalledProcessError, BedError, SystemExit) as error:
        failed = f"{name}: {error}"
    times[name] = round(time.monotonic() - begun, 1)
    return failed


def side_by_side(group: tuple[tuple[str, ...], ...], times: dict[str, float]) -> str | None:
    """Run a group's lanes at once: the first one's output is shown as it comes, another's when it ends.

    Returns what failed; with the first failure the other lanes are stopped.
    """
    if any("site" in lane for lane in group):
        set_what_nodes_share()
    with tempfile.TemporaryDirectory() as folder:
        lanes = []
        for number, names in enumerate(group):
            output = None if number == 0 else (Path(folder) / f"{number}.log").open("w+")
            lanes.append((names, output, subprocess.Popen(
                [sys.executable, __file__, *names], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, "RUN_TIMES": f"{folder}/{number}.json"})))
        print(f"\n=== side by side: {'; '.join(' '.join(names) for names in group)}", flush=True)
        failed = None
        waiting = list(lanes)
        while waiting:
            time.sleep(0.5)
            for lane in [lane for lane in waiting if lane[2].poll() is not None]:
                names, output, process = lane
                waiting.remove(lane)
                if output:
                    output.seek(0)
                    print(output.read(), flush=True)
                if process.returncode and not failed:
                    failed = " or ".join(names)
                    for _, _, other in waiting:
                        os.killpg(other.pid, signal.SIGTERM)
        for path in sorted(Path(folder).glob("*.json")):
            lane = json.loads(path.read_text())
            times.update(lane["times"])
            MEASURED.update(lane["measured"])
        return failed


def set_what_nodes_share() -> None:
    """Give the machine the kernel settings that a node would, so that no lane sees another's first node make them.

    Container nodes have the network's settings to themselves and these in common; `make down` puts them back.
    """
    defaults = yaml.safe_load((ROOT / "roles/node/defaults/main.yml").read_text())
    for name, value in defaults["node_sysctls"].items():
        if not name.startswith("net."):
            Path("/proc/sys", *name.split(".")).write_text(f"{value}\n")


def main() -> int:
    everything = [name for name in STAGES if name not in ONLY_ALL or os.environ.get("ALL")]
    wanted = sys.argv[1:] or everything
    unknown = [name for name in wanted if name not in STAGES]
    if unknown:
        print(f"error: no stage named {', '.join(unknown)}; there are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    global BEFORE
    if TIMES is None:
        if os.environ.get("CI") and settings.folders().state.is_dir():
            # What an interrupted run left on a CI machine is nobody's work.
            bed("down")
        if not settings.folders().state.is_dir():
            BEFORE = machine()
    # What each test came to, for docs/claims.md; the lanes inherit the place.
    collected = None if os.environ.get("OBSERVER_NODE_OUTCOMES") else tempfile.TemporaryDirectory()
    if collected:
        os.environ["OBSERVER_NODE_OUTCOMES"] = collected.name
    times: dict[str, float] = {}
    started = time.monotonic()
    failed = None
    # All of them, asked for by nobody in particular, run side by side where they can.
    groups = SIDE_BY_SIDE if wanted == everything else ()
    for name in wanted:
        group = next((one for one in groups if any(name in lane for lane in one)), None)
        if not group:
            failed = stage(name, times)
        elif not any(one in times for lane in group for one in lane):
            failed = side_by_side(group, times)
        if failed:
            break
    if TIMES:
        Path(TIMES).write_text(json.dumps({"times": times, "measured": MEASURED}))
    if failed and BEFORE is not None and not os.environ.get("KEEP_NODES"):
        bed("down")
    print("\n=== time by stage")
    for name, seconds in times.items():
        print(f"  {name:<10} {duration(seconds):>8}")
    print(f"  {'total':<10} {duration(time.monotonic() - started):>8}")
    if wanted == everything and not failed:
        report(times)
    reasons = ""
    if collected:
        why = Path(collected.name) / "failures.txt"
        # At the very end, where a log that was cut still has it.
        reasons = why.read_text() if failed and why.is_file() else ""
        run(sys.executable, "tools/claims.py", "--merge", collected.name)
        collected.cleanup()
    if failed:
        sys.stdout.flush()
        print(f"\n{reasons}\nFAILED at {failed}", file=sys.stderr)
        return 1
    return 0


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def report(times: dict[str, float]) -> None:
    """Write ``bench/results.json`` and print it."""
    before = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    result = {
        "date": now(),
        "machine": {
            "architecture": host_architecture(), "cores": os.cpu_count(), "kernel": platform.release(),
            "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        },
        "node_kind": "stand-in",
        "stage_seconds": times, "sizes_mb": sizes(),
        # With its own date: `make test` leaves that stage out.
        **{name: before[name] for name in ONLY_ALL if name in before}, **MEASURED,
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
