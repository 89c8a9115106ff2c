"""The module `debian_packages`: what is installed by this machine's dpkg; apt-get by a stand-in, so nothing is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modules import run

APT_GET = """\
#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >>"{log}"
[ "$(cat "{folder}/answer")" = good ] || {{ echo "noise" >&2; echo "E: Unable to locate package x" >&2; exit 100; }}
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "apt-get").write_text(APT_GET.format(log=tmp_path / "log", folder=tmp_path))
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "answer").write_text("good")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_what_is_installed_stays(apt: Path) -> None:
    result = run("debian_packages", names=["bash", "coreutils"])
    assert (result["changed"], result["changes"]) == (False, [])
    assert not (apt / "log").exists()


def test_what_is_missing_is_announced_and_installed(apt: Path) -> None:
    expected = ["package no-such-package: installed"]
    assert run("debian_packages", check=True, names=["bash", "no-such-package"])["changes"] == expected
    assert not (apt / "log").exists()
    assert run("debian_packages", names=["bash", "no-such-package", "no-such-package"])["changes"] == expected
    update, install = (apt / "log").read_text().splitlines()
    assert update.startswith("noninteractive ") and update.endswith(" update")
    assert install.endswith(" install --no-install-recommends -- no-such-package")


def test_what_cannot_be_installed(apt: Path) -> None:
    (apt / "answer").write_text("bad")
    result = run("debian_packages", names=["no-such-package"])
    assert result["failed"] and result["msg"] == (
        "apt-get cannot install no-such-package: E: Unable to locate package x (update: E: Unable to locate package x)")
    assert "apt-get install no-such-package" in result["remedy"]
