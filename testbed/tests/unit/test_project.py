"""Small promises of the project itself."""

from __future__ import annotations

import os
import re

import pytest

from bed import settings

ROOT = settings.ROOT


def test_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("page", ["README.md", "README.ko.md", "testbed/README.md", "testbed/k3s/README.md",
                                  "testbed/observer/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        # The results are written at the end of the very run that this test is a part of.
        if not link.startswith("http") and link != "bench/results.json":
            assert ((ROOT / page).parent / link).exists(), link


def test_both_languages_name_the_same_commands() -> None:
    pages = [(ROOT / name).read_text() for name in ("README.md", "README.ko.md")]
    commands = [sorted(set(re.findall(r"make [a-z-]+", page))) for page in pages]
    assert commands[0] == commands[1]
