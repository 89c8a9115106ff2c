"""A pytest plugin that writes down how each test ended: ``OBSERVER_NODE_OUTCOMES=FOLDER pytest -p tests.outcomes ...``.

Every run writes a file of its own into the folder, so that runs may go side by side. ``tools/claims.py --merge FOLDER``
then puts them into ``bench/tests.json``. A test with parameters is one, as bad as the worst of them. Why tests failed
is in ``failures.txt`` of the folder, for the end of the output of whoever started the runs. Each outcome says of which
revision and of which state of the product's sources it is; outside git of none.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "OBSERVER_NODE_OUTCOMES"
RANKS = ("failed", "skipped", "passed")
"""Worst first."""
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
EMULATED = re.compile(r"_(amd64|arm64)\.py(::|$)")
"""Files whose tests run on an emulated machine say so in their names."""
ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("ansible.cfg", "contracts", "group_vars", "inventories", "library", "manifests", "module_utils", "playbooks",
           "plugins", "requirements.yml", "roles", "site.yml")
"""What the product is made of, but for its pages."""
FAILURES = "failures.txt"
LONGEST = 3000
"""Characters of a failure's reason that are kept: its end."""


def kind_of(test: str) -> str:
    """On what a test runs: on no node, or on nodes that run the stand-in or the official release of K3s."""
    if "on_node/" not in test:
        return "no node"
    k3s = "official K3s" if os.environ.get("RELEASES") else "stand-in"
    emulated = EMULATED.search(test)
    return f"{k3s} on {emulated[1] if emulated else MACHINES.get(platform.machine(), platform.machine())}"


def git(*words: str) -> str | None:
    """What git says of the checkout; nothing where it is none."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


def revision() -> str | None:
    """Of the checkout, and whether anything differs from it."""
    return git("describe", "--always", "--dirty")


def product() -> str | None:
    """A key of the product's sources as they are, on any machine and with whatever tests."""
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "--", *PRODUCT)
    if listed is None:
        return None
    summed = hashlib.sha256()
    for name in sorted(set(listed.splitlines())):
        path = ROOT / name
        if not name.endswith(".md") and path.is_file():
            summed.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return summed.hexdigest()[:16]


class Outcomes:
    """Those of a run, by test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # At the beginning: whoever edits meanwhile is not what was tried.
        self.of = {name: value for name, value in (("revision", revision()), ("product", product())) if value}
        self.tests: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test - what is set up, the test, what is taken down - has ended."""
        name = report.nodeid.partition("[")[0]
        one = self.tests.setdefault(name, {"outcome": "passed", "seconds": 0.0, "count": 0, "node": kind_of(name)})
        one["outcome"] = min(one["outcome"], report.outcome, key=RANKS.index)
        one["seconds"] = round(one["seconds"] + report.duration, 3)
        one["count"] += report.when == "setup"
        if report.failed:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / FAILURES).open("a") as failures:
                failures.write(f"--- {report.nodeid}, {report.when}\n{report.longreprtext[-LONGEST:]}\n")

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        """All of it in a file that nobody else writes."""
        date = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{secrets.token_hex(8)}.json"
        path.with_suffix(".new").write_text(json.dumps(
            {name: {**one, **self.of, "date": date} for name, one in self.tests.items()}, indent=1))
        path.with_suffix(".new").rename(path)


def pytest_configure(config: pytest.Config) -> None:
    """Without the variable nothing is written down."""
    if folder := os.environ.get(VARIABLE):
        config.pluginmanager.register(Outcomes(Path(folder)), "observer-node-outcomes")
