"""What docs/runbook.md promises of the project's words and files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
OF_OTHERS = {"Host key verification failed"}
"""Words of OpenSSH."""


def refusals() -> list[str]:
    """What the first column of the table of refusals quotes, without what stands for a value."""
    table = RUNBOOK.partition("## What a refusal means")[2].partition("\n## ")[0]
    quoted = [words for line in table.splitlines() if line.startswith("| `")
              for words in re.findall(r"`([^`]+)`", line.split("|")[1])]
    return [part.strip(" ,") for words in quoted for part in words.split("...") if part.strip(" ,")]


def sources() -> str:
    """The texts in which refusals are written, on one line each, as one text with strings put together."""
    files = [path for folder in ("library", "plugins", "module_utils", "roles", "playbooks", "inventories")
             for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml") and path.is_file()]
    text = " ".join(path.read_text() for path in files)
    return " ".join(re.sub(r"""["']\s*~?\s*\n\s*~?\s*(?:if \w+ else )?f?["']""", "", text).split())


SOURCES = sources()


@pytest.mark.parametrize("words", refusals())
def test_a_refusal_is_quoted_as_it_is_said(words: str) -> None:
    # A file's name is put in where it is said.
    assert re.sub(r"^[\w.]+\.(yml|crt) ", "", words) in SOURCES or words in OF_OTHERS


def test_the_table_was_found() -> None:
    assert len(refusals()) > 25


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", RUNBOOK))))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(
    r"(?:inventories|manifests|playbooks)/[\w./-]+\.(?:yml|yaml)\b(?!\.example)", RUNBOOK))))
def test_a_file_is_there(path: str) -> None:
    """But for those that the operator makes."""
    assert (ROOT / path).exists() or Path(path).name in ("vault.yml", "manifests.yml")
