"""Writes docs/findings.md: what every code of a finding means, from ``module_utils/contract/codes.py``.

    python tools/finding_pages.py           # write it if it differs
    python tools/finding_pages.py --check   # write nothing; exit 1 when it differs
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(os.path.relpath(Path(__file__).resolve().parents[1]))
PAGE = ROOT / "docs" / "findings.md"
sys.path.insert(0, str(ROOT / "module_utils"))

from contract.codes import CODES, Code  # noqa: E402
from contract.model import Kind  # noqa: E402
from contract.report.words import EN, KO  # noqa: E402

HEAD = """# Findings

<!-- Made by tools/finding_pages.py from module_utils/contract/codes.py: change that, then run it. -->

Every code that a check against an Execution Contract can give ([contract.md](contract.md)). A code never changes its
meaning. Words in capitals stand for what a finding itself says: EXPECTED for what the contract has, ACTUAL for what was
found, SUBJECT for the object or file, others for what their names say. After the arrow: how to mend it. Severity and
kind are those that a code has as a rule; a finding names its own.

A finding counts by its kind: a *violation* makes the exit status 1, one that was *unchecked* 4, *drift* 3, and
*external* 0. Waived findings do not count. Where a code is marked *one layer at a time*, what several layers have wrong
of the same clause is one finding, of the layer that wins (seed 000 B.1 7).
"""


def filled(text: str) -> str:
    """A sentence of a code with capitals for its values. One that is put right behind a word may be empty, and is left
    out."""
    text = re.sub(r"(?<=[\w}])\{\w+\}", "", text)
    return re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), text)


def section(code: Code) -> Iterator[str]:
    """A code's lines, in English and in Korean. The heading is the anchor: ``#path-01``."""
    yield f"### {code.code}"
    yield ""
    facts = [str(code.severity), str(code.kind)] + (["one layer at a time"] if code.alike else [])
    yield f"**{code.title['en']}** ({', '.join(facts)})<br>"
    yield f"**{code.title['ko']}**"
    yield ""
    for language in ("en", "ko"):
        yield f"- {filled(code.message[language])} → {filled(code.remedy[language])}"
    yield ""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    groups = [(item, list(codes)) for item, codes in itertools.groupby(CODES.values(), lambda code: code.item)]
    lines += ["| code | | severity | kind |", "|---|---|---|---|"]
    lines += [f"| [{code.code}](#{code.code.lower()}) | {code.title['en']} | {code.severity} | "
              f"{'' if code.kind is Kind.VIOLATION else code.kind} |" for code in CODES.values()]
    for item, codes in groups:
        lines += ["", f"## {EN.item_name(item).capitalize()} ({KO.item_name(item)})", ""]
        for code in codes:
            lines += section(code)
        lines.pop()
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """0 when the page is written or was up to date, 1 when it differs."""
    parser = argparse.ArgumentParser(description="Write docs/findings.md from the codes of findings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when it differs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the file")
    options = parser.parse_args(arguments)
    wanted = page()
    if options.page.is_file() and options.page.read_text(encoding="utf-8") == wanted:
        return 0
    if options.check:
        print(f"{options.page} is not up to date: run tools/finding_pages.py.", file=sys.stderr)
        return 1
    options.page.write_text(wanted, encoding="utf-8")
    print(f"{options.page} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
