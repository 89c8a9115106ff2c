"""Make ``docs/claims.md``: what is claimed, the tests that prove it, and how and when they ended.

``python tools/claims.py [--merge FOLDER]``; with ``--merge``, what ``tests/outcomes.py`` has written is put into
``bench/tests.json`` first. Results of tests that are no more are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = ROOT / "tools" / "claims.yml"
TESTS = ROOT / "bench" / "tests.json"
RESULTS = ROOT / "bench" / "results.json"
DRILL = ROOT / "bench" / "drill.json"
PAGE = ROOT / "docs" / "claims.md"

NODES = (("no node", "노드 없음"), ("stand-in on amd64", "대역 K3s, amd64"), ("stand-in on arm64", "대역 K3s, arm64"),
         ("official K3s on amd64", "공식 K3s, amd64"), ("official K3s on arm64", "공식 K3s, arm64"))
"""On what tests run: in English and Korean."""

HEAD = """\
# What is claimed, and what proves it

Made by `tools/claims.py` from `tools/claims.yml`, the outcomes in `bench/tests.json` and the figures in
`bench/results.json` and `bench/drill.json`; a unit test keeps it so. A claim holds as far as its tests go, and on what
they ran on. What is not proved has a red mark: 🔴.

이 문서는 `tools/claims.py`가 만든다. 각 주장은 해당 테스트의 범위와 실행 환경에서만 성립한다.
증명되지 않은 것은 🔴로 표시한다.
"""


class Claim:
    """A sentence in both languages, the tests that prove it, and figures of it."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.english: str = body["en"]
        self.korean: str = body["ko"]
        self.tests: list[str] = body["tests"]
        self.figures: Mapping[str, Sequence[str]] = body.get("figures") or {}


def claims(path: Path = CLAIMS) -> list[Claim]:
    """All of them."""
    return [Claim(one) for one in yaml.safe_load(path.read_text())]


@cache
def tests_of(file: str) -> tuple[str, ...]:
    """The tests of a file, by the names that pytest gives them; none when there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return ()
    found = []
    for one in ast.parse(path.read_text()).body:
        if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"):
            found.append(f"{file}::{one.name}")
        elif isinstance(one, ast.ClassDef) and one.name.startswith("Test"):
            found += [f"{file}::{one.name}::{item.name}" for item in one.body
                      if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")]
    return tuple(found)


def expanded(names: Iterable[str]) -> Iterator[str]:
    """Single tests of what a claim names."""
    for name in names:
        file, colons, _ = name.partition("::")
        yield from (name,) if colons else tests_of(file)


def unknown(claim: Claim) -> list[str]:
    """Tests that a claim names and that there are not."""
    return [name for name in claim.tests
            if (name not in tests_of(name.partition("::")[0]) if "::" in name else not tests_of(name))]


def merged(old: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Outcomes with those of the runs in a folder; the later run of a test counts."""
    found = dict(old)
    for path in sorted(folder.glob("*.json")):
        for name, one in json.loads(path.read_text()).items():
            if name not in found or found[name]["date"] <= one["date"]:
                found[name] = one
    return {name: one for name, one in sorted(found.items()) if name in tests_of(name.partition("::")[0])}


def outcome(names: Sequence[str], results: Mapping[str, Any]) -> tuple[str, str]:
    """How the tests of a claim ended, in English and Korean."""
    ended = {name: results[name]["outcome"] if name in results else "without a result" for name in names}
    counts = {state: [name for name, one in ended.items() if one == state]
              for state in ("failed", "without a result", "skipped")}
    parts, korean = [], []
    for state, word in (("failed", "실패"), ("without a result", "결과 없음"), ("skipped", "건너뜀")):
        if some := counts[state]:
            one = f" ({some[0].rpartition('::')[2]})" if len(some) == 1 and len(names) > 1 else ""
            parts.append(f"🔴 **{len(some)} of {len(names)} {state}**{one}")
            korean.append(f"🔴 **{len(names)}개 중 {len(some)}개 {word}**")
    if not names:
        return "🔴 **no test**", "🔴 **테스트 없음**"
    if not parts:
        count = sum(results[name].get("count", 1) for name in names)
        return f"✅ proved by {count} cases", f"✅ {count}건으로 증명"
    return "; ".join(parts), "; ".join(korean)


def figure(key: str, unit: str, figures: Mapping[str, Any]) -> str:
    """A figure by its key in the results; what was never measured says so."""
    value: Any = figures
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "🔴 never measured" if value is None else f"{value} {unit}".strip()


def figures_of() -> dict[str, Any]:
    """The figures of the last run, and those of the last series of drills below ``drill``."""
    return {**read(RESULTS), "drill": read(DRILL)}


def page(of: Sequence[Claim], results: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The text of the page."""
    return "\n".join(lines(of, results, figures)) + "\n"


def lines(of: Sequence[Claim], results: Mapping[str, Any], figures: Mapping[str, Any]) -> Iterator[str]:
    yield HEAD
    yield "## On what it was run (실행 환경)"
    yield ""
    yield "| on | tests | last run |"
    yield "|---|---|---|"
    for name, korean in NODES:
        some = [one for one in results.values() if one["node"] == name]
        passed = sum(one["outcome"] == "passed" for one in some)
        last = max((one["date"] for one in some), default="")
        yield f"| {name} ({korean}) | " + (f"{passed} of {len(some)} passed | {last} |" if some else
                                            "🔴 **never run** (실행한 적 없음) | - |")
    yield ""
    yield f"Figures are of {figures.get('date', 'no run')}, on {figures.get('node_kind', 'nothing')}."
    yield ""
    yield "## Claims (주장)"
    yield ""
    yield "| claim | outcome | last run | on | figures |"
    yield "|---|---|---|---|---|"
    order = sorted(of, key=lambda one: outcome(list(expanded(one.tests)), results)[0].startswith("✅"))
    for one in order:
        names = list(expanded(one.tests))
        english, korean = outcome(names, results)
        ran = [results[name] for name in names if name in results]
        # The oldest: so old is the proof as a whole.
        date = min((item["date"] for item in ran), default="-")[:10]
        nodes = ", ".join(dict.fromkeys(item["node"] for item in ran)) or "-"
        shown = "<br>".join(f"{name}: {figure(key, unit, figures)}" for name, (key, unit) in one.figures.items())
        yield f"| {one.english}<br>{one.korean} | {english}<br>{korean} | {date} | {nodes} | {shown} |"
    yield ""
    yield "## The tests of each claim (주장별 테스트)"
    for one in order:
        yield ""
        yield f"### {one.english}"
        yield ""
        for name in one.tests:
            names = list(expanded([name]))
            states = {results[item]["outcome"] if item in results else "🔴 without a result" for item in names}
            yield f"- `{name}`: {', '.join(sorted(states)) or '🔴 no test'}"


def read(path: Path) -> dict[str, Any]:
    """A JSON file; empty when it is not there."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def written(results: Mapping[str, Any]) -> str:
    """Outcomes as they are committed: a test a line."""
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(one, sort_keys=True)}" for name, one in sorted(results.items()))
    return f"{{\n{rows}\n}}\n"


def main(argv: Sequence[str]) -> int:
    """Write the page. Returns 1 when a claim names a test that there is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="what tests/outcomes.py has written")
    arguments = parser.parse_args(argv)
    if arguments.merge:
        TESTS.write_text(written(merged(read(TESTS), arguments.merge)))
    of = claims()
    PAGE.write_text(page(of, read(TESTS), figures_of()))
    missing = [name for one in of for name in unknown(one)]
    for name in missing:
        print(f"error: tools/claims.yml names {name}, and there is no such test", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
