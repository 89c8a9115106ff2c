"""The renderings of a report: what they say, that they agree with its exit status, and that no value breaks them."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import random
import re
import time
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Literal
from xml.etree import ElementTree

import pytest

from contract import report as reports
from contract.model import (
    Clause,
    ContractError,
    Finding,
    Kind,
    Layer,
    Place,
    Related,
    Report,
    Severity,
    Waiver,
)
from contract.report import FORMATS, from_json, render, to_json
from contract.report.html import STYLE

DEPLOYMENT = "infra/k8s/base/deployments/observer.yaml"
CONFIG = "infra/k8s/base/configmaps/observer-config.yaml"
HAND = Waiver("VOL-*", "Deployment */observer", "tawbury", "Settings are mended on the node (CF-4).",
              datetime.date(2027, 6, 30), Place("contracts/observer.yml", 120))

SENTENCES = {
    "PATH-06": (("A path's value differs", "경로 운영값 불일치"),
                ("{subject} gives {variable} the value {actual}.", "{subject}의 {variable} 값은 {actual}이다."),
                ("Set `{variable}` to {expected}.", "`{variable}` 값을 {expected}(으)로 수정한다.")),
}
OTHER = (("A thing is wrong", "불일치"), ("{subject} is {actual}.", "{subject}: {actual}."),
         ("Make it {expected}.", "{expected}(으)로 수정한다."))


def sentence(finding: Finding, part: Literal["title", "message", "remedy"], language: str) -> str:
    """A registry of two codes."""
    texts = SENTENCES.get(finding.code, OTHER)[("title", "message", "remedy").index(part)]
    values = {"subject": finding.subject, "expected": finding.expected, "actual": finding.actual, **finding.values}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[1]), texts[language == "ko"])


def finding(code: str = "ENV-01", **fields: Any) -> Finding:  # noqa: ANN401
    known: dict[str, Any] = {
        "clause": "environment.KIS_APP_KEY", "kind": Kind.VIOLATION, "severity": Severity.HIGH, "layer": Layer.CONFIG,
        "place": Place(DEPLOYMENT, 52), "subject": "Deployment observer-prod/observer", "expected": "KIS_APP_KEY",
        "actual": "missing",
    }
    return Finding(code, **{**known, **fields})


PATH = finding("PATH-06", clause="paths.data", severity=Severity.CRITICAL, place=Place(CONFIG, 14),
               subject="ConfigMap observer-config", expected="/opt/platform/runtime/observer/data", actual="/app/data",
               values={"variable": "OBSERVER_DATA_DIR"},
               related=(Related("declared here", Place("src/observer/paths.py", 41)),
                        Related("consumed there", Place(DEPLOYMENT, 88))))
ENVIRONMENT = finding()
UNCHECKED = finding("CHECK-01", clause="paths.cache", kind=Kind.UNCHECKED, severity=Severity.MEDIUM, layer=Layer.APP,
                    place=Place("src/observer/paths.py", 77), subject="cache_dir()", expected="", actual="")
DRIFT = finding("ENV-04", clause="environment.DEBUG", kind=Kind.DRIFT, severity=Severity.LOW)
EXTERNAL = finding("EXT-01", clause="", kind=Kind.EXTERNAL, severity=Severity.HIGH, layer=Layer.EXTERNAL, place=None,
                   subject="KIS API", expected="", actual="EGW00103")
WAIVED = finding("VOL-02", clause="volumes.config", severity=Severity.MEDIUM, layer=Layer.DEPLOYMENT,
                 place=Place(DEPLOYMENT, 131), expected="PersistentVolumeClaim", actual="hostPath", waiver=HAND)
PLAIN = finding("REPO-01", clause="", severity=Severity.HIGH, layer=Layer.DEPLOYMENT,
                place=Place("infra/k8s/base/secrets/plain.yaml"), subject="plain.yaml", expected="", actual="")


def reported(*findings: Finding, holding: tuple[str, ...] = ("ports.http",), **fields: Any) -> Report:  # noqa: ANN401
    """A report about ``findings``, with a clause for each that names one, and for those that hold."""
    names = dict.fromkeys([*(one.clause for one in findings if one.clause), *holding])
    clauses = tuple(
        Clause(name, name.partition(".")[0], (Layer.CONFIG, Layer.DEPLOYMENT),
               tuple(number for number, one in enumerate(findings) if one.clause == name)) for name in names)
    known: dict[str, Any] = {
        "contract": "observer", "contract_file": "contracts/observer.yml",
        "date": datetime.datetime(2026, 2, 6, 19, 30, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
        "places": (("app", "../prj_obs"), ("manifests", "infra/k8s/overlays/production")), "clauses": clauses,
    }
    return Report(findings=findings, **{**known, **fields})


FULL = reported(PATH, ENVIRONMENT, PLAIN, UNCHECKED, DRIFT, EXTERNAL, WAIVED,
                holding=("ports.http", "ports.service", "paths.logs"),
                facts={"image": "observer:build-20260205-142425", "milliseconds": 41.5, "cached": True,
                       "claims": {"columns": ["claim", "size"], "rows": [["observer-data-pvc", "20Gi"]]},
                       "mounts": [{"path": "/data", "name": "data"}, {"path": "/logs"}]})


def told(report: Report, form: str, language: str = "en", **options: Any) -> str:  # noqa: ANN401
    return render(report, form, language, sentence=sentence, **options)


def sarif(report: Report, language: str = "en", **options: Any) -> dict[str, Any]:  # noqa: ANN401
    body = json.loads(told(report, "sarif", language, **options))
    run: dict[str, Any] = body["runs"][0]
    return run


def junit(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(told(report, "junit").encode())


def cases(report: Report) -> dict[str, ElementTree.Element]:
    return {one.get("name", ""): one for one in junit(report).iter("testcase")}


# --- all of them ------------------------------------------------------------------------------------


def test_each_format_in_each_language_ends_with_one_newline() -> None:
    for form, language in itertools.product(FORMATS, reports.LANGUAGES):
        text = told(FULL, form, language)
        assert text.endswith("\n") and not text.endswith("\n\n"), form


def test_the_same_report_gives_the_same_text_also_after_it_was_read_back() -> None:
    read = from_json(to_json(FULL, sentence))
    for form, language in itertools.product(FORMATS, reports.LANGUAGES):
        assert told(read, form, language) == told(FULL, form, language), form


def test_a_format_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ContractError, match="no report in the format 'pdf'") as refusal:
        render(FULL, "pdf")
    assert "text, markdown, html, junit, sarif, github, json" in refusal.value.remedy


def test_a_language_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ContractError, match="no report in the language 'fr'") as refusal:
        render(FULL, "text", "fr")
    assert refusal.value.remedy == "Use one of: en, ko."


def test_the_registry_of_codes_speaks_when_no_other_does() -> None:
    assert "hostPath" in render(FULL, "text")
    assert "CHECK-01" in render(FULL, "html", "ko")


def test_a_code_that_the_registry_does_not_know_is_still_told() -> None:
    strange = reported(finding("NEW-77"))
    for form in FORMATS:
        assert "NEW-77" in render(strange, form)


def test_frame_words_of_both_languages_are_complete() -> None:
    for form in ("text", "markdown", "html"):
        korean = told(FULL, form, "ko")
        for word in ("계약", "FAIL", "수정 계층", "기대", "실제", "조치", "면제", "위반", "확인 불가", "여기에 선언됨",
                     "외부 의존성 실패"):
            assert word in korean, (form, word)
        for word in ("Expected", "Remedy", "Waived", "Layer to mend"):
            assert word not in korean, (form, word)
            assert word in told(FULL, form), (form, word)


@pytest.mark.parametrize(("findings", "verdict", "korean"), [
    ((), "PASS", "PASS"),
    ((WAIVED,), "PASS (conditional)", "PASS (조건부)"),
    ((EXTERNAL,), "PASS (conditional)", "PASS (조건부)"),
    ((PATH,), "FAIL", "FAIL"),
    ((PATH, UNCHECKED, DRIFT), "FAIL", "FAIL"),
    ((DRIFT,), "DRIFT", "DRIFT"),
    ((UNCHECKED, DRIFT), "UNCHECKED", "확인 불가"),
])
def test_the_verdict_comes_first_and_is_that_of_the_exit_status(findings: tuple[Finding, ...], verdict: str,
                                                               korean: str) -> None:
    report = reported(*findings)
    assert told(report, "text").startswith(f"{verdict}  contract observer: ")
    assert told(report, "text", "ko").startswith(f"{korean}  계약 observer: ")
    assert f"## Verdict: {verdict}\n" in told(report, "markdown")
    assert f"## 판정: {korean}\n" in told(report, "markdown", "ko")
    assert f"<p>Verdict: {verdict}</p>" in told(report, "html")
    assert told(report, "github").splitlines()[-1].startswith(f"{verdict}  contract observer: ")
    assert sarif(report)["invocations"][0]["exitCode"] == report.status
    assert json.loads(told(report, "json"))["status"] == report.status
    bad = [one for one in junit(report).iter() if one.tag in ("failure", "error")]
    assert bool(bad) == bool(report.status)


def test_a_clause_is_in_one_state_so_that_the_numbers_add_up() -> None:
    both = finding(waiver=HAND)
    report = reported(ENVIRONMENT, both, UNCHECKED, dataclasses.replace(DRIFT, clause="paths.cache"), WAIVED)
    unseen = Clause("permissions.fsGroup", "permissions", (), ())
    report = dataclasses.replace(report, clauses=(*report.clauses, unseen))
    counts = json.loads(told(report, "json"))["counts"]
    assert counts == {"broken": 1, "unchecked": 1, "drift": 0, "waived": 1, "skipped": 1, "holds": 1}
    assert ("1 of 5 clauses hold; 1 broken, 1 could not be checked, 1 waived, 1 not looked at"
            in told(report, "markdown"))


def test_clauses_that_nobody_asked_to_look_at_do_not_count() -> None:
    """A check of the app alone says nothing of what only the deployment has."""
    report = reported(clauses=(Clause("volumes.data", "volumes", (), ()),), holding=())
    assert report.status == 0
    case = cases(report)["volumes.data"]
    assert case.find("skipped") is not None and case.find("error") is None
    assert "not looked at" in told(report, "html")


def test_findings_of_no_clause_are_counted_and_told() -> None:
    report = reported(PLAIN)
    assert "1 of 1 clauses hold" in told(report, "text")
    assert "1 finding to mend: 1 HIGH; 1 of no clause; exit status 1" in told(report, "text")
    assert junit(report).get("failures") == "1"
    assert "REPO-01 plain.yaml" in cases(report)


def test_a_report_of_nothing_says_so_in_every_format() -> None:
    nothing = reported(holding=(), places=(), contract_file="", contract="")
    for form, language in itertools.product(FORMATS, reports.LANGUAGES):
        assert told(nothing, form, language)
    assert "no clause was compared" in told(nothing, "text")
    assert from_json(told(nothing, "json")) == nothing


def test_waived_ones_come_last_with_owner_reason_and_expiry() -> None:
    report = reported(WAIVED, PATH)
    for form in ("text", "markdown", "html", "github", "junit", "sarif"):
        text = told(report, form)
        for part in ("tawbury", "Settings are mended on the node", "2027-06-30"):
            assert part in text, (form, part)
        if form not in ("sarif", "junit"):
            assert text.index("VOL-02") > text.index("/app/data"), form


def test_external_failures_are_apart_and_do_not_count() -> None:
    report = reported(EXTERNAL)
    assert report.status == 0
    assert "External failures" in told(report, "text")
    assert "Nothing to mend." in told(report, "markdown")
    assert told(report, "github").startswith("::notice ")
    assert sarif(report)["results"][0]["level"] == "note"
    assert cases(report)["EXT-01 KIS API"].find("failure") is None
    assert "EGW00103" in (cases(report)["EXT-01 KIS API"].findtext("system-out") or "")


def test_a_long_value_is_cut_for_people_and_whole_in_the_json() -> None:
    report = reported(finding(actual="x" * 2_000_000))
    for form in FORMATS:
        size = len(told(report, form))
        assert size > 2_000_000 if form == "json" else size < 60_000, form
        assert form in ("json", "sarif") or "2000000 characters" in re.sub(r"\s+", " ", told(report, form)), form


def test_the_line_of_source_stands_under_the_finding() -> None:
    lines = {Place(CONFIG, 14): "  OBSERVER_DATA_DIR: /app/data\r\n", Place(DEPLOYMENT, 88): "\t- name: <data>"}
    text = told(FULL, "text", source=lambda place: lines.get(place, ""))
    assert f"  --> {CONFIG}:14\n    14 |   OBSERVER_DATA_DIR: /app/data\n" in text
    assert f"{DEPLOYMENT}:88  consumed there\n    88 |     - name: <data>\n" in text
    page = told(FULL, "html", source=lambda place: lines.get(place, ""))
    assert "<pre><i>14 | </i>  OBSERVER_DATA_DIR: /app/data</pre>" in page
    assert "<pre><i>88 | </i>    - name: &lt;data&gt;</pre>" in page


def test_no_line_of_source_is_asked_for_of_a_whole_file() -> None:
    asked: list[Place] = []
    told(reported(PLAIN), "text", source=lambda place: asked.append(place) or "x")  # type: ignore[func-returns-value]
    assert asked == []


def test_facts_are_shown_as_they_are() -> None:
    for form in ("text", "markdown", "html"):
        text = told(FULL, form)
        for part in ("observer:build-20260205-142425", "41.5", "yes", "observer-data-pvc", "20Gi", "/logs"):
            assert part in text, (form, part)


def test_the_contracts_that_may_never_change_are_a_table_in_the_reader_s_language() -> None:
    fixed = [{"number": 2, "title": {"en": "Database address", "ko": "DB 연결 계약"}, "holds": False,
              "broken": {"en": "CrashLoopBackOff", "ko": "DB 연결 실패"}}]
    report = reported(facts={"fixed": fixed})
    assert ("### 확정된 불변 실행 계약\n\n| # | 계약 | 일치 | 위반 시 영향 |\n|---|---|---|---|\n"
            "| 2 | DB 연결 계약 | 아니오 | DB 연결 실패 |") in told(report, "markdown", "ko")
    assert "#: 2, Contract: Database address, Holds: no, When it is broken: CrashLoopBackOff" in told(report, "text")
    assert "<td>DB 연결 실패</td>" in told(report, "html", "ko")


@pytest.mark.parametrize(("role", "korean"), [
    ("declared here", "여기에 선언됨"), ("also /app/data here (image)", "여기도 /app/data (image)"),
    ("said by nobody before", "said by nobody before"),
])
def test_what_is_at_a_related_place_is_told_in_the_reader_s_language(role: str, korean: str) -> None:
    report = reported(finding(related=(Related(role, Place("docker/Dockerfile", 9)),)))
    for form in ("text", "markdown", "html", "junit", "sarif", "github"):
        # SARIF's JSON is ASCII alone.
        assert (json.dumps(korean)[1:-1] if form == "sarif" else korean) in told(report, form, "ko"), form


# --- JSON -------------------------------------------------------------------------------------------


def test_json_reads_back_to_the_same_report() -> None:
    assert from_json(to_json(FULL, sentence)) == FULL
    assert from_json(to_json(FULL)) == FULL


def test_json_has_all_of_a_finding_and_both_languages() -> None:
    body = json.loads(told(FULL, "json"))
    assert body["schema"] == "execution-contract-report/1"
    first = body["findings"][0]
    assert first["place"] == {"file": CONFIG, "line": 14}
    assert first["related"][0] == {"role": "declared here", "place": {"file": "src/observer/paths.py", "line": 41}}
    assert first["message"] == {"en": "ConfigMap observer-config gives OBSERVER_DATA_DIR the value /app/data.",
                                "ko": "ConfigMap observer-config의 OBSERVER_DATA_DIR 값은 /app/data이다."}
    assert set(first) == {"code", "clause", "kind", "severity", "layer", "place", "subject", "expected", "actual",
                          "values", "related", "waiver", "title", "message", "remedy"}
    assert body["findings"][-1]["waiver"]["expires"] == "2027-06-30"
    assert told(FULL, "json", "ko") == told(FULL, "json")
    assert list(body) == sorted(body)


def test_json_keeps_korean_readable_and_controls_escaped() -> None:
    text = told(reported(finding(actual="값\x9b31m\u202e\udcff\u2028")), "json")
    assert "값" in text
    assert "\\u009b31m\\u202e\\udcff\\u2028" in text
    assert text.encode()


@pytest.mark.parametrize(("text", "message"), [
    ("{", "r.json:1 is not JSON"),
    ("", "r.json:1 is not JSON"),
    ("[" * 100_000, "cannot|can be read"),
    ('{"schema": ' + "9" * 5000 + "}", "can be read"),
    ("[]", "schema is not a text"),
    ('{"schema": "execution-contract-report/9"}', "schema 'execution-contract-report/9'"),
    ('{"schema": NaN}', "it has NaN"),
])
def test_json_that_is_no_report_is_refused(text: str, message: str) -> None:
    with pytest.raises(ContractError, match=message) as refusal:
        from_json(text, "r.json")
    assert refusal.value.place and refusal.value.place.file == "r.json" and refusal.value.remedy


@pytest.mark.parametrize(("path", "value", "message"), [
    (("contract",), 1, r"contract is not a text"),
    (("date",), "yesterday", r"date is not known: 'yesterday'"),
    (("findings", 0, "kind"), "worse", r"findings\[0\].kind is not known: 'worse'"),
    (("findings", 0, "severity"), None, r"findings\[0\].severity is not a text"),
    (("findings", 0, "place"), "x:1", r"findings\[0\].place is not a mapping"),
    (("findings", 0, "place", "line"), True, r"findings\[0\].place.line is not a number"),
    (("findings", 0, "place", "line"), -1, r"findings\[0\].place.line is not a line"),
    (("findings", 0, "values"), {"a": 1}, r"findings\[0\].values is not a mapping of texts"),
    (("findings", 0, "related"), [1], r"findings\[0\].related\[0\].role is not a text"),
    (("findings", 6, "waiver", "expires"), "never", r"findings\[6\].waiver.expires is not known"),
    (("clauses", 0, "findings"), [7], r"clauses\[0\].findings is not a list of numbers below 7"),
    (("clauses", 0, "findings"), [-1], r"clauses\[0\].findings is not"),
    (("clauses", 0, "layers"), ["moon"], r"clauses\[0\].layers is not a list of layers"),
    (("clauses", 0, "layers"), [[]], r"clauses\[0\].layers is not a list of layers"),
    (("places",), {}, r"places is not a list"),
    (("facts",), [], r"facts is not a mapping"),
    (("facts",), {"a": json.loads("[" * 500 + "]" * 500)}, r"facts is not nested at most 20 levels deep"),
    (("date",), "0001-01-01T00:00:00+09:00", r"date is not known"),
])
def test_json_with_a_wrong_field_is_refused_by_its_name(path: tuple[str | int, ...], value: object,
                                                       message: str) -> None:
    body = json.loads(told(FULL, "json"))
    part = body
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(ContractError, match=message):
        from_json(json.dumps(body))


def test_a_fact_that_is_no_json_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        told(reported(facts={"share": float("nan")}), "json")


# --- text -------------------------------------------------------------------------------------------


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def test_text_tells_cause_place_layer_values_remedy_and_related() -> None:
    text = told(reported(PATH), "text")
    assert f"""
CRITICAL[PATH-06]: ConfigMap observer-config gives OBSERVER_DATA_DIR the value /app/data.
  --> {CONFIG}:14
  Layer to mend  config (ConfigMaps and Secrets)
  Expected       /opt/platform/runtime/observer/data
  Actual         /app/data
  Remedy         Set `OBSERVER_DATA_DIR` to /opt/platform/runtime/observer/data.
  Related        src/observer/paths.py:41  declared here
                 {DEPLOYMENT}:88  consumed there
  Clause         paths.data, ConfigMap observer-config
""" in text


def test_text_is_at_most_100_columns_wide_in_both_languages() -> None:
    long = finding(expected="/a" * 300, actual="값 " * 200, subject="객체" * 100, place=Place("k/" * 90, 3),
                   related=(Related("r" * 150, Place("f", 1)),), code="C" * 200)
    report = reported(long, dataclasses.replace(long, waiver=HAND), contract="계약" * 80)
    for language in reports.LANGUAGES:
        lines = told(report, "text", language, source=lambda _: "전체 줄 " * 50).splitlines()
        assert max(map(width, lines)) <= 100
        assert any(width(line) > 95 for line in lines)


def test_a_wrapped_value_loses_nothing_but_the_blank_where_it_breaks() -> None:
    words = " ".join(f"word{number}" for number in range(100))
    text = told(reported(finding(expected=words)), "text")
    assert words in re.sub(r"\n +", " ", text)


def test_text_has_no_escape_sequence_unless_colour_is_asked_for() -> None:
    hostile = reported(finding(actual="\x1b[2J\x1b]0;title\x07", subject="\x9b31m"))
    assert "\x1b" not in told(hostile, "text")
    colored = told(hostile, "text", color=True)
    assert set(re.findall(r"\x1b(\[[\d;]*m|.)", colored)) <= {"[31;1m", "[33;1m", "[32;1m", "[36m", "[1m", "[2m", "[0m"}
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == told(hostile, "text")
    assert "\\x1b[2J\\x1b]0;title\\x07" in colored


def test_text_has_nothing_that_a_ci_runner_obeys() -> None:
    for value in ("::error::x", "::set-output name=a::b", "a " * 60 + "::stop-commands::t", "x" * 99 + "::add-mask::y",
                  "##[error]x", "##vso[task.setvariable variable=a]b", "::error file=a,line=1::b"):
        text = told(reported(finding(actual=value, subject=value, place=Place(value, 1))), "text")
        assert not re.search(r"^\s*::[a-z]", text, re.MULTILINE)
        assert "##[" not in text and "##vso[" not in text
        assert not re.search(r"::[a-z-]+( .*)?::", told(reported(PATH, contract=value), "github").splitlines()[-1])


def test_an_ipv6_address_is_left_as_it_is() -> None:
    assert "[::]:8000 and ::1" in told(reported(finding(actual="[::]:8000 and ::1")), "text")


# --- Markdown ---------------------------------------------------------------------------------------


def test_markdown_has_the_tables_of_the_phase_report() -> None:
    text = told(FULL, "markdown", "ko")
    assert "# 실행 계약: observer\n" in text
    assert ("## Critical Findings 요약\n\n"
            "| 코드 | 심각도 | 내용 | 영역 |\n|---|---|---|---|\n| PATH-06 | CRITICAL | ") in text
    assert "### 경로 (1/3)" in text
    assert "| `paths.data` | config, deployment | [!] 위반 PATH-06 |" in text
    assert "| `paths.cache` | config, deployment | [?] 확인 불가 CHECK-01 |" in text
    assert "| `volumes.config` | config, deployment | [-] 면제 VOL-02 |" in text
    assert "| 수정 대상 파일 | `infra/k8s/base/configmaps/observer-config.yaml:14` |" in text


def test_markdown_folds_the_clauses_that_hold() -> None:
    text = told(FULL, "markdown")
    folded = re.findall(r"<details><summary>.*?</details>", text, re.DOTALL)
    assert len(folded) == 2
    assert all("[x]" in part and "[!]" not in part for part in folded)
    assert "[x]" not in re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)


def test_markdown_shows_code_of_a_remedy_as_code() -> None:
    assert "Set `OBSERVER_DATA_DIR` to " in told(FULL, "markdown")
    assert "Set <code>OBSERVER_DATA_DIR</code> to " in told(FULL, "html")


def test_markdown_addresses_nobody_and_links_nowhere() -> None:
    value = "@everyone see #12, GH-4, https://evil.example www.evil.example [x](javascript:alert(1)) ![i](http://a)"
    text = told(reported(finding(actual=value, expected="")), "markdown")
    sentences = re.sub(r"`[^`\n]*`", "", text)
    assert not re.search(r"(?<!\w)@\w|#\d|GH-\d|://|www\.|(?<!\\)\]\(", sentences)


@pytest.mark.parametrize("value", ["a|b", "a\\|b", "a`b", "``", "a``b`", "\\", "|", " x ", "<b>", "a\nb", "`|`"])
def test_a_value_stays_in_its_cell(value: str) -> None:
    text = told(reported(finding(expected=value, actual=value, subject=value)), "markdown")
    assert_tables(text)


def assert_tables(text: str) -> None:
    """Every row has as many cells as its head: bars split cells even inside code, unless escaped."""
    cells = 0
    for line in text.splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        count = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))
        cells = cells or count
        assert count == cells, line


# --- HTML -------------------------------------------------------------------------------------------

VOID = {"meta", "br"}
TAGS = {"html", "head", "title", "style", "body", "header", "main", "footer", "section", "article", "div", "h1", "h2",
        "h3", "p", "ul", "li", "b", "i", "span", "dl", "dt", "dd", "code", "pre", "a", "table", "caption", "thead",
        "tbody", "tr", "th", "td", "details", "summary"} | VOID
ATTRIBUTES = {"lang", "charset", "name", "content", "http-equiv", "class", "id", "href", "role", "tabindex", "scope",
              "aria-label", "aria-labelledby"}


class Page(HTMLParser):
    """Tags in balance, and nothing but what the rendering itself writes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.heads: list[int] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS and {name for name, _ in attrs} <= ATTRIBUTES, (tag, attrs)
        named = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag == "a":
            link = named["href"] or ""
            assert re.fullmatch(r"#f\d+", link)
            self.links.append(link)
        if re.fullmatch(r"h\d", tag):
            self.heads.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def test_html_is_one_file_that_fetches_and_runs_nothing() -> None:
    page = told(FULL, "html", "ko")
    Page(page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="ko">')
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "default-src &#x27;none&#x27;" in page
    for fetched in ("<script", "<link", "<img", "url(", "@import", "src=", "http://", "https://", "javascript:"):
        assert fetched not in page, fetched


def test_html_reads_on_paper_and_in_the_dark_and_by_headings() -> None:
    page = Page(told(FULL, "html"))
    assert "@media print" in STYLE and "prefers-color-scheme:dark" in STYLE
    assert page.heads[0] == 1 and page.heads.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(page.heads))


def test_html_folds_what_holds_and_nothing_else() -> None:
    page = told(FULL, "html")
    folded = re.findall(r"<details>.*?</details>", page, re.DOTALL)
    assert len(folded) == 2 and all("✓ hold" in part and "broken" not in part for part in folded)
    assert "✓ hold" not in re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)


def luminance(color: str) -> float:
    digits = color.lstrip("#")
    pairs = re.findall("..", digits) if len(digits) == 6 else [digit * 2 for digit in digits]
    parts = [int(pair, 16) / 255 for pair in pairs]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_html_has_the_contrast_that_the_accessibility_guidelines_ask_for() -> None:
    """4.5 to 1 (WCAG 2.1, 1.4.3), in every theme."""
    themes = re.findall(r":root\{([^}]*--page[^}]*)\}", STYLE)
    assert len(themes) == 3
    for theme in themes:
        colors = dict(re.findall(r"--([\w-]+):(#\w+)", theme))
        pairs = [(ink, ground) for ink in ("ink", "soft", "link", "good") for ground in ("page", "card")]
        pairs += [(tone, f"{tone}-in") for tone in ("bad", "warn", "good", "note")] + [("ink", "good-in")]
        pairs += [(tone, "card") for tone in ("bad", "warn", "note")] + [("ink", "code"), ("soft", "code")]
        for ink, ground in pairs:
            light, dark = sorted((luminance(colors[ink]), luminance(colors[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


# --- JUnit ------------------------------------------------------------------------------------------


def test_junit_has_a_case_for_every_clause() -> None:
    found = cases(FULL)
    assert {one.name for one in FULL.clauses} <= set(found)
    assert found["ports.http"].get("classname") == "observer.ports"
    assert list(found["ports.http"]) == []


def test_junit_says_file_line_code_and_remedy() -> None:
    case = cases(FULL)["paths.data"]
    assert (case.get("file"), case.get("line")) == (CONFIG, "14")
    failure = case.find("failure")
    assert failure is not None and failure.get("type") == "PATH-06"
    assert failure.get("message") == "CRITICAL: ConfigMap observer-config gives OBSERVER_DATA_DIR the value /app/data."
    for part in ("Remedy: Set `OBSERVER_DATA_DIR`", "Expected: /opt/", "Actual: /app/data", f"{DEPLOYMENT}:88"):
        assert part in (failure.text or "")


def test_junit_tells_waived_unchecked_and_drift_apart() -> None:
    found = cases(FULL)
    skipped = found["volumes.config"].find("skipped")
    assert skipped is not None and "tawbury until 2027-06-30" in (skipped.get("message") or "")
    error = found["paths.cache"].find("error")
    assert error is not None and error.get("type") == "CHECK-01"
    drift = found["environment.DEBUG"].find("failure")
    assert drift is not None and (drift.get("message") or "").startswith("DRIFT: ")


def test_junit_has_the_shape_that_its_readers_know() -> None:
    """Of Jenkins' schema: one outcome at most, output after it, counts that are right, moments without a zone."""
    top = junit(FULL)
    assert top.tag == "testsuites"
    for suite in top:
        assert suite.tag == "testsuite"
        assert suite[0].tag == "properties"
        found = suite.findall("testcase")
        assert suite.get("tests") == str(len(found))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp") or "")
        for case in found:
            tags = [child.tag for child in case]
            assert tags in ([], ["failure"], ["error"], ["skipped"], ["system-out"], ["failure", "system-out"],
                            ["error", "system-out"], ["skipped", "system-out"])
            assert case.get("name") and case.get("classname") == suite.get("name") and case.get("time") == "0"
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(count) == str(len(suite.findall(f"testcase/{tag}")))
    for count in ("tests", "failures", "errors", "skipped"):
        assert top.get(count) == str(sum(int(suite.get(count, "")) for suite in top))
    assert top[0].get("timestamp") == "2026-02-06T10:30:05"


def test_junit_tells_all_findings_of_a_clause_in_one_failure() -> None:
    other = finding(kind=Kind.DRIFT, code="ENV-04", severity=Severity.LOW, actual="also this")
    case = cases(reported(other, ENVIRONMENT, finding(waiver=HAND)))["environment.KIS_APP_KEY"]
    failure = case.find("failure")
    assert failure is not None and failure.get("type") == "ENV-01"
    assert "also this" in (failure.text or "")
    assert "tawbury" in (case.findtext("system-out") or "")


# --- SARIF ------------------------------------------------------------------------------------------


def test_sarif_has_the_structure_of_the_standard() -> None:
    for language in reports.LANGUAGES:
        body = json.loads(told(FULL, "sarif", language))
        assert body["version"] == "2.1.0" and body["$schema"].endswith("sarif-2.1.0.json")
        assert_sarif(body["runs"][0], FULL)


def assert_sarif(run: dict[str, Any], report: Report) -> None:
    """What the standard's schema and text ask of what is used of it."""
    driver = run["tool"]["driver"]
    assert driver["name"]
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) == {"id", "shortDescription", "fullDescription", "help", "defaultConfiguration",
                             "properties"}
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        for text in (rule["shortDescription"], rule["fullDescription"], rule["help"]):
            assert_message(text)
        assert len(rule["properties"]["tags"]) == len(set(rule["properties"]["tags"]))
    assert re.fullmatch(r"[a-zA-Z]{2}(-[a-zA-Z]{2})?", run["language"])
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True and invocation["exitCode"] == report.status
    assert len(run["results"]) == len(report.findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert_message(result["message"])
        assert all(re.fullmatch("[0-9a-f]{32}", value) for value in result["partialFingerprints"].values())
        for location in result["locations"]:
            assert_location(location, run)
        related = result.get("relatedLocations", [])
        assert len({one["id"] for one in related}) == len(related)
        for location in related:
            assert location["id"] >= 0
            assert_message(location["message"])
            assert_location(location, run)
        for suppression in result.get("suppressions", []):
            assert suppression["kind"] in ("inSource", "external")
            assert suppression["status"] in ("accepted", "underReview", "rejected")
            assert_location(suppression["location"], run)


def assert_message(message: dict[str, str]) -> None:
    assert message["text"]
    for text in message.values():
        # No placeholder, for there are no arguments: braces come in pairs.
        assert re.fullmatch(r"(?:[^{}]|\{\{|\}\})*", text), text
    assert not re.search(r"\]\(", message["text"])


def assert_location(location: dict[str, Any], run: dict[str, Any]) -> None:
    physical = location["physicalLocation"]
    artifact = physical["artifactLocation"]
    assert re.fullmatch(r"[A-Za-z0-9._~/%-]*|file:///[A-Za-z0-9._~/%-]*", artifact["uri"])
    assert artifact["uri"].startswith("file:///") != ("uriBaseId" in artifact)
    assert artifact.get("uriBaseId", "%SRCROOT%") in run["originalUriBaseIds"]
    if "region" in physical:
        assert physical["region"]["startLine"] >= 1


def test_sarif_says_level_places_and_suppression() -> None:
    results = {one["ruleId"]: one for one in sarif(FULL)["results"]}
    assert {code: one["level"] for code, one in results.items()} == {
        "PATH-06": "error", "ENV-01": "error", "REPO-01": "error", "CHECK-01": "warning", "ENV-04": "note",
        "EXT-01": "note", "VOL-02": "note"}
    path = results["PATH-06"]
    assert path["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": CONFIG, "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 14}}
    assert [one["message"]["text"] for one in path["relatedLocations"]] == ["declared here", "consumed there"]
    assert "region" not in results["REPO-01"]["locations"][0]["physicalLocation"]
    (suppression,) = results["VOL-02"]["suppressions"]
    assert suppression["kind"] == "external"
    assert "Settings are mended on the node (CF-4)." in suppression["justification"]
    assert suppression["location"]["physicalLocation"]["region"] == {"startLine": 120}
    assert not any("suppressions" in one for code, one in results.items() if code != "VOL-02")


def test_sarif_explains_each_code_once_and_in_general() -> None:
    rules = sarif(reported(PATH, dataclasses.replace(PATH, subject="another")))["tool"]["driver"]["rules"]
    assert len(rules) == 1
    assert rules[0]["fullDescription"]["text"] == "<subject> gives <variable> the value <actual>."
    # The standard's schema wants an absolute one.
    assert "helpUri" not in rules[0] and "docs/findings.md#PATH-06" in rules[0]["help"]["markdown"]
    assert "/app/data" not in json.dumps(rules)


def test_sarif_links_to_where_the_documentation_is() -> None:
    run = sarif(reported(PATH), docs="https://example.org/findings.html")
    assert run["tool"]["driver"]["rules"][0]["helpUri"] == "https://example.org/findings.html#PATH-06"


def test_sarif_fingerprints_survive_moved_lines_and_other_values() -> None:
    def fingerprint(one: Finding, language: str = "en") -> dict[str, str]:
        prints: dict[str, str] = sarif(reported(one), language)["results"][0]["partialFingerprints"]
        return prints

    same = [dataclasses.replace(PATH, place=Place(CONFIG, 99)), dataclasses.replace(PATH, actual="/other"),
            dataclasses.replace(PATH, severity=Severity.LOW), dataclasses.replace(PATH, related=())]
    assert all(fingerprint(one) == fingerprint(PATH) for one in same)
    assert fingerprint(PATH, "ko") == fingerprint(PATH)
    others = [dataclasses.replace(PATH, code="PATH-04"), dataclasses.replace(PATH, clause="paths.logs"),
              dataclasses.replace(PATH, subject="other"), dataclasses.replace(PATH, layer=Layer.APP)]
    assert all(fingerprint(one) != fingerprint(PATH) for one in others)


@pytest.mark.parametrize(("file", "uri"), [
    ("a b/c#d?.yaml", "a%20b/c%23d%3F.yaml"),
    ("C:x.yaml", "C%3Ax.yaml"),
    ("배포/값.yaml", "%EB%B0%B0%ED%8F%AC/%EA%B0%92.yaml"),
    ("100%.yaml", "100%25.yaml"),
    ("/srv/image.tar", "file:///srv/image.tar"),
    ("\udcff.yaml", "%3F.yaml"),
])
def test_sarif_names_files_as_uris(file: str, uri: str) -> None:
    result = sarif(reported(finding(place=Place(file, 1))))["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_sarif_tells_what_has_no_place_at_the_contract() -> None:
    location = sarif(reported(EXTERNAL))["results"][0]["locations"][0]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "contracts/observer.yml", "uriBaseId": "%SRCROOT%"}}


def test_sarif_doubles_braces_for_a_template_is_no_placeholder() -> None:
    result = sarif(reported(finding(actual="{{ .Values.port }} and {0}")))["results"][0]
    assert "{{{{ .Values.port }}}} and {{0}}" in result["message"]["text"]
    assert result["properties"]["actual"] == "{{ .Values.port }} and {0}"


# --- GitHub -----------------------------------------------------------------------------------------

COMMAND = re.compile(r"::(error|warning|notice) ((?:[a-z]+=[^,:\r\n]*)(?:,[a-z]+=[^,:\r\n]*)*)::([^\r\n]*)")


def test_github_annotates_by_severity_worst_first() -> None:
    lines = told(FULL, "github").splitlines()
    assert [line.partition(" ")[0] for line in lines[:-1]] == [
        "::error", "::error", "::error", "::warning", "::notice", "::notice", "::notice"]
    assert lines[0].startswith(f"::error file={CONFIG},line=14,title=CRITICAL PATH-06%3A A path's value differs::"
                               "ConfigMap observer-config gives OBSERVER_DATA_DIR the value /app/data.%0AExpected: ")
    assert "line=" not in lines[2]
    assert "::notice title=" in lines[5]
    assert "3 findings" not in lines[-1] and "5 findings to mend" in lines[-1]


def test_github_escapes_what_would_end_a_property_or_the_command() -> None:
    value = "50%, a:b\r\n::error::x"
    line = told(reported(finding(actual=value, place=Place("a,b:c%.yaml", 2))), "github").splitlines()[0]
    match = COMMAND.fullmatch(line)
    assert match
    assert "file=a%2Cb%3Ac%25.yaml,line=2," in line
    assert "50%25, a:b\\r\\n::error::x" in match[3]


# --- anything ---------------------------------------------------------------------------------------

PIECES = [
    "<script>alert(1)</script>", "</title>", "</style>", "<!--", "-->", "]]>", "<![CDATA[", "<?xml?>", "&amp;", "&#0;",
    "&lt", '" onload="x', "' x='", "`", "``", "|", "\\|", "\\", "[a](b)", "![x](y)", "**", "__", "~~", "{0}", "{{", "}",
    "%", "%0A", "%25", "::", "::error::", "::error file=a::", "##[group]", ",", ":", "\n", "\r\n", "\t", "\x00", "\x07",
    "\x1b[31m", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\u200b", "\ufeff", "\ufffe", "\uffff", "\udcff",
    "\U0001f600", "\U0010ffff", "한국어", "e\u0301", "﷽", " ", "    ", "a", "/opt/platform",
    "0", "-", "#", "@x", "$x$", "http://a",
]


def noise(chance: random.Random) -> str:
    if chance.random() < 0.1:
        return ""
    pieces = [chance.choice(PIECES) if chance.random() < 0.8 else chr(chance.randrange(0xd800))
              for _ in range(chance.randrange(1, 12))]
    return "".join(pieces) * chance.choice((1, 1, 1, 40))


def odd_report(chance: random.Random) -> Report:
    def place() -> Place:
        return Place(noise(chance), chance.choice((0, 1, 10**9)))

    def waiver() -> Waiver:
        return Waiver(noise(chance), noise(chance), noise(chance), noise(chance), datetime.date.min, place())

    findings = tuple(
        Finding(noise(chance), chance.choice(("", noise(chance))), chance.choice(list(Kind)),
                chance.choice(list(Severity)), chance.choice(list(Layer)), chance.choice((None, place())),
                noise(chance), noise(chance), noise(chance), {noise(chance): noise(chance), "variable": noise(chance)},
                tuple(Related(noise(chance), place()) for _ in range(chance.randrange(3))),
                chance.choice((None, None, waiver()))) for _ in range(chance.randrange(6)))
    clauses = tuple(
        Clause(noise(chance), noise(chance), tuple(chance.sample(list(Layer), chance.randrange(4))),
               tuple(chance.sample(range(len(findings)), chance.randrange(len(findings) + 1))))
        for _ in range(chance.randrange(4)))
    facts = {noise(chance): noise(chance), "t": {"columns": [noise(chance)], "rows": [[noise(chance)]]},
             "l": [{noise(chance): noise(chance)}, {noise(chance): [noise(chance), 1, None]}]}
    date = datetime.datetime(chance.randrange(2, 9998), 1, 2, tzinfo=chance.choice((None, datetime.UTC)))
    return Report(noise(chance), noise(chance), date, ((noise(chance), noise(chance)),), clauses, findings, facts)


def odd_reports(count: int) -> Iterator[tuple[Report, str]]:
    chance = random.Random(20260206)
    for number in range(count):
        yield odd_report(chance), ("en", "ko")[number % 2]


def test_no_value_breaks_a_rendering() -> None:
    for report, language in odd_reports(25):
        texts = {form: told(report, form, language, source=lambda _: "".join(PIECES)) for form in FORMATS}
        for form, text in texts.items():
            assert text.encode(), form
            unseen = set(re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ufffe\uffff]", text))
            assert not unseen, (form, unseen)
        assert from_json(texts["json"]) == report
        for line in texts["text"].splitlines():
            assert width(line) <= 100
            assert not re.match(r"\s*::[a-z-]+( .*)?::", line) and "##[" not in line
        assert_tables(texts["markdown"])
        bare = re.sub(r"((?<!\\)(?:\\\\)*)`[^`\n]*`", r"\1", texts["markdown"])
        assert set(re.findall(r"<[^>]*>?", bare)) <= {"<br>", "<code>", "</code>", "<details>", "</details>",
                                                      "<summary>", "</summary>"}
        Page(texts["html"])
        ElementTree.fromstring(texts["junit"].encode())
        assert_sarif(json.loads(texts["sarif"])["runs"][0], report)
        *commands, verdict = texts["github"].splitlines()
        assert len(commands) == len(report.findings)
        assert all(COMMAND.fullmatch(line) for line in commands)
        assert not re.match(r"\s*::[a-z-]+( .*)?::", verdict)


def test_a_thousand_findings_take_less_than_half_a_second() -> None:
    findings = tuple(dataclasses.replace(FULL.findings[number % 7], clause=f"paths.p{number}", subject=f"객체 {number}")
                     for number in range(1000))
    report = reported(*findings)
    for form in FORMATS:
        # Time of this process alone: others run on the machine.
        start = time.process_time()
        assert told(report, form, "ko")
        assert time.process_time() - start < 0.5, form
