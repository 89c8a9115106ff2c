"""What docs/runbook.md and the pages on a node's loss promise of the project's words, files and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
LOSS = {page: (ROOT / "docs" / page).read_text() for page in ("node-loss.md", "node-loss.ko.md")}
AT_NIGHT = {"node-loss.md": "## At 3 a.m.", "node-loss.ko.md": "## 새벽 3시"}
REFUSED = {"node-loss.md": "## When it refuses", "node-loss.ko.md": "## 거부될 때"}
PROGRAMS = r"(ansible[\w-]*|cat|cd|cp|curl|eval|export|git|install|make|mkdir|scp|ssh[\w-]*|sudo|\(umask|umask) "
OF_OTHERS = {"Host key verification failed"}
"""Words of OpenSSH."""


def refusals(page: str = RUNBOOK, heading: str = "## What a refusal means") -> list[str]:
    """What the first column of the table of refusals quotes, without what stands for a value."""
    table = page.partition(f"{heading}\n")[2].partition("\n## ")[0]
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


@pytest.mark.parametrize(("page", "words"), [(page, words) for page in LOSS
                                             for words in refusals(LOSS[page], REFUSED[page])])
def test_a_refusal_after_a_loss_is_quoted_as_it_is_said(page: str, words: str) -> None:
    assert words in SOURCES


def test_both_pages_on_a_loss_quote_the_same_refusals() -> None:
    english, korean = (refusals(LOSS[page], REFUSED[page]) for page in LOSS)
    assert english == korean and len(english) > 12


def night(page: str) -> str:
    """What is to be done at night, without what is printed."""
    section = LOSS[page].partition(f"{AT_NIGHT[page]}\n")[2].partition("\n#")[0]
    return re.sub(r"^ *```text\n.*?^ *```$", "", section, flags=re.M | re.S)


@pytest.mark.parametrize("page", LOSS)
def test_a_node_is_brought_back_by_five_commands_at_most(page: str) -> None:
    """From the operator's own computer and from a new one; two in a line are two, and none hides in a sentence."""
    blocks = re.findall(r"(?:^ {5,}\S.*\n)+", night(page), flags=re.M)
    counts = [len(re.split(r"&&|\|\||[;|\n]", block.strip())) for block in blocks]
    assert counts == [4, 5]
    hidden = [words for words in re.findall(r"`([^`]+)`", night(page)) if re.match(PROGRAMS, words)]
    assert hidden == []


def test_both_pages_on_a_loss_have_the_same_commands_and_outputs() -> None:
    sections = [LOSS[page].partition(AT_NIGHT[page])[2].partition("\n#")[0] for page in LOSS]
    shown = [re.findall(r"^ {5,}\S.*|```text\n(?:.*\n)*?.*```", one, flags=re.M) for one in sections]
    # A placeholder is in the page's language.
    english, korean = ([re.sub("<.*>", "", one) for one in some] for some in shown)
    assert english == korean and len(english) > 9


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", RUNBOOK))))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(
    r"(?:inventories|manifests|playbooks)/[\w./-]+\.(?:yml|yaml)\b(?!\.example)", RUNBOOK))))
def test_a_file_is_there(path: str) -> None:
    """But for those that the operator makes."""
    assert (ROOT / path).exists() or Path(path).name in ("vault.yml", "manifests.yml")
