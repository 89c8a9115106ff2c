"""Make ``docs/claims.md``: what is claimed, the tests that prove it, and how and when they ended; and in the pages on a
node's loss what the drills took and lost.

``python tools/claims.py [--merge FOLDER]``; with ``--merge``, what ``tests/outcomes.py`` has written is put into
``bench/tests.json`` first. Results of tests that are no more are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from outcomes import product  # noqa: E402

CLAIMS = ROOT / "tools" / "claims.yml"
TESTS = ROOT / "bench" / "tests.json"
RESULTS = ROOT / "bench" / "results.json"
DRILL = ROOT / "bench" / "drill.json"
PAGE = ROOT / "docs" / "claims.md"
LOSS = {"en": ROOT / "docs" / "node-loss.md", "ko": ROOT / "docs" / "node-loss.ko.md"}
BEGIN, END = "<!-- Made by tools/claims.py from bench/drill.json. -->", "<!-- Until here. -->"
"""Between them a page on a node's loss has its figures."""
WIDTH = 120

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


STATE = "The product's sources as they were when this page was made: state `{}`."


def state_of(text: str) -> str:
    """The state of the product with which a page was made."""
    found = re.search(re.escape(STATE).replace(r"\{\}", "(.*?)"), text)
    return found[1] if found else ""


def compared(results: Mapping[str, Any], present: str) -> Iterator[str]:
    """Of which state of the product outcomes are, in English and Korean. The bed's own tests do not try it."""
    known = [one.get("product") for name, one in results.items() if not of_bed(name)]
    same, unsaid = known.count(present), known.count(None)
    older = len(known) - same - unsaid
    yield wrapped(
        f"{STATE.format(present)} Of {len(known)} outcomes of tests of the product {same} are of this state and"
        f" {older} of an earlier one; {unsaid} do not say, for they are from before this was written down.")
    yield ""
    yield wrapped(
        f"이 문서를 만들 때의 제품 소스 상태는 위와 같다. 제품 테스트의 결과 {len(known)}건 중 {same}건은 이 상태,"
        f" {older}건은 이전 상태의 것이며, {unsaid}건은 상태를 기록하기 전의 것이라 알 수 없다.")


def of_bed(name: str) -> bool:
    """Whether a test is of the test bed."""
    return name.startswith("testbed/")


def earlier(names: Iterable[str], results: Mapping[str, Any], present: str) -> str:
    """That an outcome is of another state of the product than the present, and of which revision the oldest is."""
    old = [results[name] for name in names if name in results and not of_bed(name)
           and results[name].get("product") not in (None, present)]
    if not old:
        return ""
    revision = min(old, key=lambda one: str(one["date"])).get("revision") or "-"
    return f"<br>of an earlier state (`{revision}`)<br>이전 상태의 결과"


def figure(key: str, unit: str, figures: Mapping[str, Any]) -> str:
    """A figure by its key in the results; what was never measured says so."""
    value: Any = figures
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "🔴 never measured" if value is None else f"{value} {unit}".strip()


def figures_of() -> dict[str, Any]:
    """The figures of the last run, and those of the last series of drills below ``drill``."""
    return {**read(RESULTS), "drill": read(DRILL)}


def page(of: Sequence[Claim], results: Mapping[str, Any], figures: Mapping[str, Any], present: str) -> str:
    """The text of the page.

    :param present: the state of the product; what is of another is no worse for it, and says so.
    """
    return "\n".join(lines(of, results, figures, present)) + "\n"


def lines(of: Sequence[Claim], results: Mapping[str, Any], figures: Mapping[str, Any], present: str) -> Iterator[str]:
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
    yield from compared(results, present)
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
        date = min((item["date"] for item in ran), default="-")[:10] + earlier(names, results, present)
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


# --- what drills took and lost ------------------------------------------------------------------------

MODES = ("stream", "archive")
DRILLED = {"en": {
    "took": "**`{mode}` mode:** from the end of the node to a verified Observer **{median} s**{spread}, {ratio} times a"
            " first provision without data ({fresh} s). Drills: {n} ({dates}), {good} of which reached every goal"
            "{missed}. Each lost a node under load with {database} GB of database and"
            " {files} GiB of files, on local {architecture} nodes of a machine with {cores} cores.",
    "spread": " (median; the slowest {slowest} s)",
    "missed": " (missed: {what})",
    "slow": "{seconds} s with a goal of {limit} s",
    "phases": "{until_restore} s of it are the machine and K3s, {fetch} s fetching the data, {observer} s Observer and"
              " PostgreSQL.",
    "stolen": "Others of the same host took up to {stolen} % of the machine's processors meanwhile.",
    "condition": "Since the base backup {log} MB of log had been written, which PostgreSQL replayed; it is made once a"
                 " day, and the longer ago it is the more there is to replay.",
    "rows": "Of {of} rows that PostgreSQL had acknowledged until the last moment {missing} are missing{age}.",
    "records": "Files are as of the last backup: of {of} records that were acknowledged as lines of JSONL {missing} are"
               " missing{age}.",
    "age": ", the oldest {age} s old when the node ended",
    "none": "**`{mode}` mode:** no series of drills yet.",
    "unfinished": "**`{mode}` mode:** drills: {n} ({dates}), none of which came to its end.",
    "dates": "{first} to {last}",
}, "ko": {
    "took": "**`{mode}` 모드:** 노드가 사라진 때부터 검증된 Observer까지 **{median}초**{spread}, 데이터 없는"
            " 최초 구성({fresh}초)의 {ratio}배. 훈련 {n}회의 값이며({dates}) {good}회가"
            " 모든 목표를 달성했다{missed}. 매번 데이터베이스 {database} GB와 파일 {files} GiB를 가진 노드를 부하 중에"
            " 잃었다(코어 {cores}개인 머신의 로컬 {architecture} 노드).",
    "spread": "(중앙값, 가장 느린 것 {slowest}초)",
    "missed": "(놓친 것: {what})",
    "slow": "목표 {limit}초에 {seconds}초",
    "phases": "그중 머신과 K3s가 {until_restore}초, 데이터 가져오기가 {fetch}초, Observer와 PostgreSQL이"
              " {observer}초다.",
    "stolen": "그동안 같은 호스트의 다른 머신이 이 머신 프로세서의 최대 {stolen}%를 가져갔다.",
    "condition": "base 백업 이후 쓰인 로그 {log} MB를 PostgreSQL이 재생했다. base 백업은 하루 한 번이며, 오래될수록"
                 " 재생할 로그가 많다.",
    "rows": "PostgreSQL이 마지막 순간까지 확인한 {of}행 가운데 잃은 것은 {missing}행이다{age}.",
    "records": "파일은 마지막 백업 시점의 것이다: JSONL 줄로 확인된 기록 {of}건 가운데 잃은 것은 {missing}건이다{age}.",
    "age": "(가장 오래된 것은 노드가 사라지기 {age}초 전)",
    "none": "**`{mode}` 모드:** 아직 훈련 기록이 없다.",
    "unfinished": "**`{mode}` 모드:** 훈련 {n}회({dates}) 가운데 끝까지 간 것이 없다.",
    "dates": "{first}~{last}",
}}
"""Sentences about the drills of a mode, by language."""


def at(one: Any, key: str) -> Any:  # noqa: ANN401
    """What is there by a key with dots; nothing when it is not."""
    for part in key.split("."):
        one = one.get(part) if isinstance(one, Mapping) else None
    return one


def each(runs: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """A figure of all runs that have it."""
    return [value for value in (at(one, key) for one in runs) if isinstance(value, int | float)]


def drilled(mode: str, series: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """What the drills of a mode came to. A sentence whose figures no run has is left out."""
    runs: list[Mapping[str, Any]] = series.get("runs") or []
    if not runs:
        return words["none"].format(mode=mode)
    days = sorted(day[:10] for one in runs if isinstance(day := one.get("date"), str))
    dates = (days[0] if days[0] == days[-1] else words["dates"].format(first=days[0], last=days[-1])) if days else "-"
    given: dict[str, Any] = {
        "mode": mode, "n": len(runs), "dates": dates, "good": sum(not one.get("missed") for one in runs),
        **{name: series["machine"][name] for name in ("architecture", "cores") if at(series, f"machine.{name}")}}
    if times := each(runs, "rto.seconds"):
        given |= {"median": f"{statistics.median(times):.0f}",
                  "spread": words["spread"].format(slowest=f"{max(times):.0f}") if len(times) > 1 else ""}
    # Which goal was missed the drill has said itself; what is no matter of time is told in its own words.
    what = [words["slow"].format(**one["rto"]) if said.startswith("RTO ") else said.partition("\n")[0]
            for one in runs for said in one.get("missed") or ()]
    given["missed"] = words["missed"].format(what="; ".join(what)) if what else ""
    if taken := [*each(runs, "rto.stolen.recovery"), *each(runs, "rto.stolen.fresh_provision")]:
        given["stolen"] = f"{100 * max(taken):.0f}"
    for name, key, scale, digits in (
            ("ratio", "rto.ratio", 1, 2), ("fresh", "rto.fresh_provision_seconds", 1, 0),
            ("log", "log_bytes", 1e6, 0), ("database", "database_bytes", 1e9, 1),
            ("files", "file_bytes", 2**30, 0),
            *((phase, f"rto.phases.{phase}", 1, 0) for phase in ("until_restore", "fetch", "observer"))):
        if some := each(runs, key):
            given[name] = f"{statistics.median(some) / scale:.{digits}f}"
    said = [sentence(words[name], given) for name in ("took", "phases", "stolen", "condition")]
    if not said[0]:
        return words["unfinished"].format(**given)
    for name, store in (("rows", "postgresql"), ("records", "jsonl")):
        asked = [one for one in runs if isinstance(at(one, f"rpo.{store}.missing"), int)]
        missing, ages = sum(each(asked, f"rpo.{store}.missing")), each(asked, f"rpo.{store}.age_seconds")
        age = words["age"].format(age=f"{max(ages):.0f}") if missing and ages else ""
        if asked:
            said.append(words[name].format(of=sum(each(asked, "rpo.acknowledged")), missing=missing, age=age))
    return " ".join(filter(None, said))


def sentence(words: str, given: Mapping[str, Any]) -> str:
    """A sentence with its figures; none when one is not there."""
    try:
        return words.format(**given)
    except KeyError:
        return ""


def wide(text: str) -> int:
    """Columns of a text."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrapped(text: str) -> str:
    """A paragraph in lines."""
    rows = [""]
    for word in text.split(" "):
        if rows[-1] and wide(f"{rows[-1]} {word}") > WIDTH:
            rows.append("")
        rows[-1] += f" {word}" if rows[-1] else word
    return "\n".join(rows)


def with_drills(text: str, drills: Mapping[str, Any], language: str) -> str:
    """A page on a node's loss with the figures of drills in their place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no place for the figures of drills: {BEGIN} ... {END}")
    # Modes that are not known yet come last.
    modes = [*MODES, *sorted(set(drills) - set(MODES))]
    made = "\n\n".join(wrapped(drilled(mode, drills.get(mode) or {}, DRILLED[language])) for mode in modes)
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def read(path: Path) -> dict[str, Any]:
    """A JSON file; empty when it is not there."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def written(results: Mapping[str, Any]) -> str:
    """Outcomes as they are committed: a test a line."""
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(one, sort_keys=True)}" for name, one in sorted(results.items()))
    return f"{{\n{rows}\n}}\n"


def main(argv: Sequence[str]) -> int:
    """Write the pages. Returns 1 when a claim names a test that there is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="what tests/outcomes.py has written")
    arguments = parser.parse_args(argv)
    if arguments.merge:
        TESTS.write_text(written(merged(read(TESTS), arguments.merge)))
    of = claims()
    # Outside git the state is not known, and that of the page as it is stays.
    present = product() or state_of(PAGE.read_text() if PAGE.is_file() else "")
    PAGE.write_text(page(of, read(TESTS), figures_of(), present))
    for language, path in LOSS.items():
        path.write_text(with_drills(path.read_text(), read(DRILL), language))
    missing = [name for one in of for name in unknown(one)]
    for name in missing:
        print(f"error: tools/claims.yml names {name}, and there is no such test", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
