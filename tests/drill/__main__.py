"""``python -m drill STEP``: one step of a drill for Molecule, or ``series`` for ``make drill``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from bed.errors import BedError
from bed.recipes import host_architecture
from hands import ROOT

from .drill import LOG_ROWS, SMALL, TIME, Drill, Size, summary

RESULTS = ROOT / "bench" / "drill.json"
STEPS = ("create", "converge", "fill", "replace", "compare", "destroy")


def step(drill: Drill, name: str, mode: str, size: Size) -> None:
    """Take one step."""
    if name == "create":
        drill.create(mode, size)
    else:
        getattr(drill, name)()


def once(mode: str, size: Size, folder: Path) -> dict[str, Any]:
    """A whole drill; what ends it is its result, too."""
    drill = Drill(folder)
    name = STEPS[0]
    try:
        for name in STEPS[:-1]:
            print(f"[drill] {name}", flush=True)
            step(drill, name, mode, size)
        result: dict[str, Any] = drill.read("result")
    except (AssertionError, BedError, OSError, ValueError, KeyError) as error:
        traceback.print_exc()
        result = {"mode": mode, "missed": [f"{name}: {str(error)[:2000]}"]}
    finally:
        if not os.environ.get("KEEP_NODES"):
            drill.destroy()
    return result


def described() -> str:
    """The revision that is tried, and whether anything but the results themselves differs from it."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", f":(exclude){RESULTS.relative_to(ROOT)}")
    return git("describe", "--always") + ("-dirty" if changed else "")


def read(series: str) -> list[dict[str, Any]]:
    """The results of a series that are there."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    found: list[dict[str, Any]] = (known.get(series) or {}).get("runs") or []
    return found


def write(series: str, results: list[dict[str, Any]]) -> None:
    """Keep the results of a series beside those of the others."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[series] = {
        "machine": {"architecture": host_architecture(), "cores": os.cpu_count(), "kernel": platform.release()},
        "node_kind": "stand-in", "summary": summary(results), "runs": results}
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def show(result: dict[str, Any]) -> None:
    """A result in a few lines."""
    if "rto" in result:
        rto, rpo = result["rto"], result["rpo"]
        print(f"RTO {rto['seconds']} s, {rto['ratio']} times the fresh provision of {rto['fresh_provision_seconds']} s"
              f" ({rto['ratio_without_copying']} without copying)")
        print("    " + ", ".join(f"{name} {seconds} s" for name, seconds in rto["phases"].items()))
        for store in ("postgresql", "jsonl"):
            one = rpo.get(store, {})
            print(f"RPO {store}: {one.get('missing')} of {rpo['acknowledged']} acknowledged records missing, the oldest"
                  f" {one.get('age_seconds')} s old")
        print(f"compared: {result['compared']['entries']} entries, {result['compared']['tables']} tables")
    print("MISSED: " + "; ".join(result["missed"]) if result["missed"] else "every goal reached", flush=True)


def main() -> int:
    """Exit status 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="drill", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "series"])
    parser.add_argument("--folder", type=Path, help="where a drill keeps what its steps need")
    parser.add_argument("--mode", choices=["archive", "stream"], default="stream")
    parser.add_argument("--small", action="store_true", help="a fiftieth of the data")
    parser.add_argument("--log", action="store_true", help="much is written after the base backup and is replayed")
    parser.add_argument("-n", type=int, default=1, help="drills in a series")
    parser.add_argument("--add", action="store_true", help="to the series that is there, each run with its revision")
    given = parser.parse_args()
    if given.log and given.mode != "stream":
        parser.error("--log is for --mode stream: of the last minute's log an archive has nothing")
    size = replace(SMALL if given.small else Size(), log_rows=LOG_ROWS if given.log else 0)
    os.environ.setdefault("OBSERVER_NODE_TEST_NODES", "drill")
    if given.step != "series":
        folder = given.folder or parser.error("--folder is needed")
        step(Drill(folder), given.step, given.mode, size)
        if given.step != "compare":
            return 0
        result = Drill(folder).read("result")
        show(result)
        if kept := os.environ.get("OBSERVER_NODE_DRILL_RESULT"):
            Path(kept).write_text(json.dumps(result, indent=2))
        # How long it took is told: tests beside it share the machine. `make drill` has it to itself, and goes by it.
        return 1 if [one for one in result["missed"] if not one.startswith(TIME)] else 0
    series = f"{given.mode}, long log" if given.log else given.mode
    results = read(series) if given.add else []
    revision = described()
    for number in range(given.n):
        with tempfile.TemporaryDirectory(prefix="drill-") as folder_name:
            print(f"[drill] {number + 1} of {given.n}, {series}", flush=True)
            results.append({**once(given.mode, size, Path(folder_name) / "of"), "revision": revision})
            show(results[-1])
            write(series, results)
    print(json.dumps(summary(results), indent=2))
    return 1 if any(one["missed"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
