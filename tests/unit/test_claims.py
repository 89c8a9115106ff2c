"""docs/claims.md is what the claims and the committed results make, and every test that a claim names is there."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("claims", ROOT / "tools" / "claims.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


claims = load()
MADE = "tests/unit/test_claims.py::test_the_page_is_made"


def result(outcome: str = "passed", **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"outcome": outcome, "seconds": 1.0, "count": 2, "date": "2026-11-21T20:00:00Z", "node": "no node", **fields}


def page(results: dict[str, Any], measured: dict[str, Any] | None = None, **body: Any) -> str:  # noqa: ANN401
    claim = claims.Claim({"en": "It holds.", "ko": "성립한다.", "tests": [MADE], **body})
    text: str = claims.page([claim], results, measured or {}, "now")
    return text


def test_the_page_is_made() -> None:
    text = (ROOT / "docs" / "claims.md").read_text()
    # With the state that it was made with: a page does not get wrong when a source changes.
    made = claims.page(claims.claims(), claims.read(claims.TESTS), claims.figures_of(), claims.state_of(text))
    assert text == made, "run `python tools/claims.py`"


def test_every_test_that_a_claim_names_is_there() -> None:
    assert [name for one in claims.claims() for name in claims.unknown(one)] == []


def test_a_test_that_is_not_there_is_told() -> None:
    for name in ("tests/unit/test_claims.py::test_of_nothing", "tests/unit/test_none.py"):
        assert claims.unknown(claims.Claim({"en": "a", "ko": "b", "tests": [name]})) == [name]


def test_every_claim_is_made_in_both_languages_and_has_tests() -> None:
    for one in claims.claims():
        assert one.tests and one.english.endswith(".") and any("\uac00" <= letter <= "\ud7a3" for letter in one.korean)


def test_what_is_proved_says_by_how_many_cases_when_and_on_what() -> None:
    text = page({MADE: result()}, {"rerun": {"seconds": 8.5}}, figures={"second run": ["rerun.seconds", "s"]})
    row = next(line for line in text.splitlines() if line.startswith("| It holds."))
    assert row == ("| It holds.<br>성립한다. | ✅ proved by 2 cases<br>✅ 2건으로 증명 | 2026-11-21 | no node "
                   "| second run: 8.5 s |")
    assert "official K3s on arm64 (공식 K3s, arm64) | 🔴 **never run**" in text


@pytest.mark.parametrize(("results", "said"), [
    ({}, "🔴 **1 of 1 without a result**"),
    ({MADE: result("failed")}, "🔴 **1 of 1 failed**"),
    ({MADE: result("skipped")}, "🔴 **1 of 1 skipped**"),
])
def test_what_is_not_proved_says_so_in_red(results: dict[str, Any], said: str) -> None:
    text = page(results, figures={"f": ["none.such", "s"]})
    assert said in text and "✅" not in text and "🔴 never measured" in text


def test_a_file_stands_for_all_of_its_tests_and_one_that_is_missing_shows() -> None:
    names = claims.tests_of("tests/unit/test_claims.py")
    assert MADE in names
    text = page({name: result() for name in names[:-1]}, tests=["tests/unit/test_claims.py"])
    assert f"🔴 **1 of {len(names)} without a result** ({names[-1].rpartition('::')[2]})" in text


def test_a_claim_that_is_not_proved_comes_first() -> None:
    well = claims.Claim({"en": "Proved.", "ko": "증명.", "tests": [MADE]})
    bad = claims.Claim({"en": "Open.", "ko": "미증명.", "tests": ["tests/unit/test_none.py"]})
    text = claims.page([well, bad], {MADE: result()}, {}, "now")
    assert text.index("| Open.") < text.index("| Proved.") and "🔴 **no test**" in text


@pytest.mark.parametrize(("fields", "date", "counted"), [
    ({"product": "now", "revision": "abc"}, "2026-11-21", "1 are of this state and 0 of an earlier one; 0 do not say"),
    ({"product": "then", "revision": "abc"}, "2026-11-21<br>of an earlier state (`abc`)<br>이전 상태의 결과",
     "0 are of this state and 1 of an earlier one; 0 do not say"),
    ({}, "2026-11-21", "0 are of this state and 0 of an earlier one; 1 do not say"),
])
def test_an_outcome_of_an_earlier_state_says_so_and_proves_no_less(fields: dict[str, Any], date: str,
                                                                  counted: str) -> None:
    text = page({MADE: result(**fields)})
    assert "✅ proved by 2 cases" in text and f"| {date} | no node |" in text
    assert f"Of 1 outcomes of tests of the product {counted}" in " ".join(text.split())
    assert claims.state_of(text) == "now"


def test_the_beds_own_tests_do_not_try_the_product() -> None:
    name = claims.tests_of("testbed/k3s/tests/test_certs.py")[0]
    text = page({name: result(product="then")}, tests=[name])
    assert "Of 0 outcomes" in text and "earlier state" not in text


def test_a_state_is_of_what_the_product_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = sys.modules["outcomes"]
    monkeypatch.setattr(outcomes, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (outcomes.revision(), outcomes.product()) == (None, None)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    seen = []
    for name, text in (("site.yml", "a"), ("site.yml", "b"), ("roles/x/tasks/main.yml", "a"), ("tests/test_x.py", "a"),
                       ("roles/x/README.md", "a")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.append(outcomes.product())
    assert len(set(seen[:3])) == 3 and set(seen[2:]) == {seen[2]}


def test_the_later_run_counts_and_what_is_no_test_any_more_goes(tmp_path: Path) -> None:
    old = {MADE: result("failed"), "tests/unit/test_claims.py::test_gone": result()}
    for number, (outcome, date) in enumerate([("passed", "2026-11-21T21:00:00Z"), ("failed", "2026-11-20T00:00:00Z")]):
        one = result(outcome, date=date, revision=date[:10], product=outcome)
        (tmp_path / f"{number}.json").write_text(json.dumps({MADE: one}))
    found = claims.merged(old, tmp_path)
    assert list(found) == [MADE] and found[MADE]["outcome"] == "passed"
    assert (found[MADE]["revision"], found[MADE]["product"]) == ("2026-11-21", "passed")
    assert json.loads(claims.written(found)) == found


def drill(seconds: float = 90.0, missing: int = 40, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"date": "2026-11-22T21:47:32Z", "missed": [], "database_bytes": 1204059495, "file_bytes": 2**30,
            "log_bytes": 37_400_000,
            "rto": {"seconds": seconds, "ratio": 1.5, "fresh_provision_seconds": 60.0,
                    "phases": {"until_restore": 40.0, "fetch": 20.0, "observer": 15.0}, "replay": {"new": 1}},
            "rpo": {"acknowledged": 100, "load_seconds": 41.0, "postgresql": {"missing": 0, "age_seconds": 0.0},
                    "jsonl": {"missing": missing, "age_seconds": 33.3}}, **fields}


def series(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"machine": {"architecture": "amd64", "cores": 2}, "summary": {}, "runs": list(runs)}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_pages_on_a_loss_have_the_figures_of_the_drills(language: str) -> None:
    text = claims.LOSS[language].read_text()
    assert text == claims.with_drills(text, claims.read(claims.DRILL), language), "run `python tools/claims.py`"


def test_both_languages_tell_the_same_figures() -> None:
    told = [sorted(re.findall(r"\d[\d.-]*\d|\d", claims.drilled("stream", series(drill(), drill(99.0, 7)), words)))
            for words in claims.DRILLED.values()]
    assert told[0] == told[1] and len(told[0]) > 15


def test_drills_are_told_with_what_they_took_and_lost() -> None:
    runs = [drill(90.0), drill(110.0, date="2026-11-23T01:00:00Z"), drill(95.0, missed=["TIME: too long"])]
    said = claims.drilled("archive", series(*runs), claims.DRILLED["en"])
    assert "`archive` mode:" in said and "**95 s** (median; the slowest 110 s), 1.50 times" in said
    assert "Drills: 3 (2026-11-22 to 2026-11-23), 2 of which reached every goal" in said and "in a row" not in said
    assert "every goal (missed: TIME: too long). Each" in said
    runs[2]["rto"]["limit"] = 94.0
    runs[2]["missed"].append("RTO 95.0 s, and the goal is 94.0 s")
    slow = claims.drilled("archive", series(*runs), claims.DRILLED["en"])
    assert "(missed: TIME: too long; 95.0 s with a goal of 94.0 s). Each" in slow
    assert "Since the base backup 37 MB of log had been written" in said and "processors" not in said
    runs[1]["rto"]["stolen"] = {"fresh_provision": 0.02, "recovery": 0.304}
    assert "up to 30 % of the machine's processors" in claims.drilled("stream", series(*runs), claims.DRILLED["en"])
    assert "최대 30%를" in claims.drilled("stream", series(*runs), claims.DRILLED["ko"])
    assert "Of 300 rows that PostgreSQL had acknowledged until the last moment 0 are missing." in said
    assert "of 300 records that were acknowledged as lines of JSONL 120 are missing, the oldest 33 s old" in said


def test_a_drill_that_did_not_come_to_its_end_counts() -> None:
    broken = {"mode": "stream", "missed": ["recover: it was refused"], "revision": "abc"}
    assert "Drills: 2 (2026-11-22), 1 of which reached" in claims.drilled("stream", series(drill(), broken),
                                                                       claims.DRILLED["en"])
    assert claims.drilled("stream", series(broken), claims.DRILLED["en"]).endswith("none of which came to its end.")
    assert claims.drilled("stream", {}, claims.DRILLED["ko"]) == "**`stream` 모드:** 아직 훈련 기록이 없다."


def test_what_a_drill_has_not_measured_is_not_told() -> None:
    one = drill()
    del one["rpo"]["jsonl"], one["rto"]["phases"]["fetch"]
    said = claims.drilled("stream", series(one), claims.DRILLED["en"])
    assert "JSONL" not in said and "fetching" not in said and "Of 100 rows" in said
    # Of one there is no median, and it missed nothing.
    assert "median" not in said and "missed" not in said


def test_figures_of_drills_have_their_place_in_the_page() -> None:
    page_before = f"a\n{claims.BEGIN}\nof before\n{claims.END}\nb\n"
    made = claims.with_drills(page_before, {"stream": series(drill())}, "en")
    assert made.startswith(f"a\n{claims.BEGIN}\n\n**`stream` mode:**") and made.endswith(f"\n\n{claims.END}\nb\n")
    assert "of before" not in made and "**`archive` mode:** no series" in made
    assert max(map(len, made.splitlines())) <= 120
    assert claims.with_drills(made, {"stream": series(drill())}, "en") == made
    with pytest.raises(ValueError, match="no place"):
        claims.with_drills("a", {}, "en")


def test_pytest_writes_down_how_tests_ended(tmp_path: Path) -> None:
    (tmp_path / "on_node").mkdir()
    (tmp_path / "on_node" / "test_a.py").write_text("def test_node(): pass\n")
    (tmp_path / "test_b.py").write_text(
        "import pytest\n\n@pytest.mark.parametrize('n', [1, 2, 3])\ndef test_three(n): assert n != 2\n\n"
        "def test_passed(): pass\n\ndef test_skipped(): pytest.skip('no')\n\n"
        "@pytest.fixture\ndef broken(): raise OSError\n\ndef test_error(broken): pass\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment.pop("RELEASES", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.outcomes", "--rootdir", str(tmp_path),
               "-c", os.devnull, str(tmp_path)]
    for folder in ("", str(tmp_path / "outcomes")):
        subprocess.run(command, cwd=ROOT, env={**environment, "OBSERVER_NODE_OUTCOMES": folder}, check=False,
                       capture_output=True)
    written, = (tmp_path / "outcomes").glob("*.json")
    found = json.loads(written.read_text())
    assert {name.rpartition("::")[2]: (one["outcome"], one["count"]) for name, one in found.items()} == {
        "test_node": ("passed", 1), "test_three": ("failed", 3), "test_passed": ("passed", 1),
        "test_skipped": ("skipped", 1), "test_error": ("failed", 1)}
    here = {"revision": sys.modules["outcomes"].revision(), "product": sys.modules["outcomes"].product()}
    assert all({key: one.get(key) for key in here} == here for one in found.values())
    kinds = {name.rpartition("::")[2]: one["node"] for name, one in found.items()}
    assert kinds["test_three"] == "no node" and kinds["test_node"].startswith("stand-in on ")
    why = (tmp_path / "outcomes" / "failures.txt").read_text()
    assert "test_three[2], call" in why and "assert 2 != 2" in why and "test_error, setup" in why and "OSError" in why
