"""The report of a living system: steps, gates, changes, and how reports are kept. The facts are a real node's."""

from __future__ import annotations

import copy
import datetime
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from contract.living import gates, history
from contract.living.steps import chapters, errors, persisted
from contract.living.steps_of import STEPS, step_of
from contract.living.verified import Asked, verified
from contract.living.wording import Verdict, age, size
from contract.model import Clause, Finding, Kind, Layer, Place, Report, Severity, Waiver
from contract.report import FORMATS, LANGUAGES, from_json, render, to_json
from contract.spec import Contract, load_contract

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "contracts" / "observer.yml"
FACTS = json.loads(Path(__file__).with_name("living_facts.json").read_text())
NOW = datetime.datetime.fromtimestamp(FACTS["cluster"]["now"], datetime.UTC).replace(microsecond=0)
DONE = {"deleted": ["observer-1", "postgres-0"], "started": ["observer-2", "postgres-0"], "seconds": 17.2,
        "date": NOW.timestamp() - 60, "files_before": 5, "files_after": 6, "lost": [], "rewritten": [],
        "rows_before": {"public.ticks": 1200}, "rows_after": {"public.ticks": 1203},
        "health": {"/health": '{"status":"healthy"}'}}
OBSERVER = "observer-68fc6bc7d5-hk24r"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(CONTRACT, "contracts/observer.yml")


@pytest.fixture
def live() -> dict[str, Any]:
    return copy.deepcopy(FACTS)


def finding(code: str = "NODE-01", **fields: Any) -> Finding:  # noqa: ANN401
    known: dict[str, Any] = {"clause": "node.disk", "kind": Kind.VIOLATION, "severity": Severity.HIGH,
                             "layer": Layer.NODE, "place": None, "subject": "node obs-local", "expected": "36Gi",
                             "actual": "2Gi"}
    return Finding(code, **{**known, **fields})


KIS = finding("EXT-01", clause="external.kis", kind=Kind.EXTERNAL, layer=Layer.EXTERNAL, subject="KIS API",
              actual="EGW00103", values={"reason": "EGW00103"})


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in made}


def step(made: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in made if one["id"] == name)


def asked(live: dict[str, Any], **fields: Any) -> Asked:  # noqa: ANN401
    return Asked(contract=CONTRACT, inventory="local", live=live, **fields)


def inside(live: dict[str, Any], container: str = "observer") -> dict[str, Any]:
    node = live["nodes"]["obs-local"]
    found: dict[str, Any] = next(one for one in node["containers"] if one["name"] == container)["inside"]
    return found


def pod(live: dict[str, Any], name: str = OBSERVER) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in live["cluster"]["pods"] if one["name"] == name)
    return found


# --- steps ------------------------------------------------------------------------------------------


def test_a_healthy_system_passes_every_step_that_was_looked_at(contract: Contract, live: dict[str, Any]) -> None:
    found = verdicts(chapters(contract, live, []))
    assert {name: found[name] for name in ("step_1", "step_2", "step_3", "step_4", "step_6")} == dict.fromkeys(
        ("step_1", "step_2", "step_3", "step_4", "step_6"), "pass")
    # Nobody keeps the clock of a container right, and the disruptive step was not asked for.
    assert (found["node"], found["step_5"], found["summary"]) == ("reservations", "unchecked", "reservations")


def test_the_tables_are_those_of_the_seed(contract: Contract, live: dict[str, Any]) -> None:
    made = chapters(contract, live, [])
    pods, claims, secrets = step(made, "step_1")["tables"]
    assert pods["columns"] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert pods["rows"][0] == [OBSERVER, "1/1", {"verdict": "pass", "text": "Running"}, "0", "18m", "10.42.0.10"]
    assert [row[:4] for row in claims["rows"]] == [
        ["observer-data-pvc", "20Gi", "RWO", "local-path"], ["observer-logs-pvc", "5Gi", "RWO", "local-path"],
        ["observer-universe-pvc", "1Gi", "RWO", "local-path"], ["observer-db-pvc", "10Gi", "RWO", "local-path"]]
    assert secrets["rows"][0][:3] == ["observer-secrets", "Opaque", "8"]
    assert "KIS_APP_KEY" in secrets["rows"][0][3]
    mounts = step(made, "step_4")["tables"][0]["rows"]
    assert mounts[0][:2] == ["/opt/platform/runtime/observer/data", "observer-data-pvc"]
    assert [row[0] for row in mounts].count("/opt/platform/runtime/observer/logs/system") == 1
    mapping = step(made, "node")["tables"][-1]["rows"]
    assert mapping[0][2:4] == ["/opt/platform/runtime/observer/data", "data_dir(), token_cache_dir()"]


def test_nothing_is_pass_when_nothing_was_looked_at(contract: Contract) -> None:
    nothing: list[dict[str, Any]] = [
        {}, {"nodes": {}, "cluster": {}}, {"nodes": {"a": {}}, "cluster": None},
        {"nodes": {}, "cluster": {"api": {"answers": False, "why": "connection refused"}}}]
    for empty in nothing:
        made = chapters(contract, empty, [])
        assert set(verdicts(made).values()) == {"unchecked"}, verdicts(made)
        table = step(made, "summary")["tables"][0]["rows"]
        assert not [row for row in table if row[1]["verdict"] == "pass"]


@pytest.mark.parametrize(("name", "broken"), [
    ("step_1", lambda live: live["cluster"]["claims"].pop(0)),
    ("step_1", lambda live: live["cluster"]["claims"][0].update(phase="Pending")),
    ("step_1", lambda live: live["cluster"]["secrets"].pop("observer-secrets")),
    ("step_1", lambda live: live["cluster"]["secrets"]["observer-secrets"]["keys"].remove("DB_USER")),
    ("step_1", lambda live: live["cluster"]["pods"].remove(pod(live))),
    ("step_1", lambda live: pod(live).update(ready=False)),
    ("step_2", lambda live: pod(live)["conditions"]["Ready"].update(status="False")),
    ("step_2", lambda live: pod(live)["containers"][0].update(state="waiting", reason="CrashLoopBackOff")),
    ("step_3", lambda live: inside(live)["http"]["/health"].update(status=503)),
    ("step_3", lambda live: live["cluster"]["http"]["/ready"].update(status=None, why="connection refused")),
    ("step_4", lambda live: inside(live)["writes"].popitem()[1].update(ok=False) or inside(live)["writes"].update(
        {"/opt/platform/runtime/observer/logs": {"ok": False, "why": "EACCES Permission denied"}})),
    ("step_4", lambda live: inside(live)["refusals"]["/etc"].update(refused=False)),
    ("step_6", lambda live: inside(live, "postgres")["postgres"].update(ready=False, why="connection refused")),
    ("step_6", lambda live: inside(live)["connects"]["postgres:5432"].update(ok=False, why="timed out")),
    ("node", lambda live: live["nodes"]["obs-local"]["storage"].update(free=1024)),
    ("node", lambda live: live["nodes"]["obs-local"]["k3s"].update(active="failed")),
    ("node", lambda live: live["nodes"]["obs-local"]["folders"].popitem()[1].update(uid=0) or live["nodes"][
        "obs-local"]["folders"].update({"/opt/platform/runtime/observer/config": {"exists": False}})),
    ("node", lambda live: live["nodes"]["obs-local"]["firewall"]["lets_pods_through"].update(forward=False)),
    ("node", lambda live: live["nodes"]["obs-local"]["firewall"]["lets_pods_through"].update(
        input=None, forward=False)),
    ("node", lambda live: live["cluster"]["nodes"][0].update(ready=False)),
    ("node", lambda live: live["cluster"]["storage_classes"][0].update(default=False)),
])
def test_what_is_broken_fails_its_step_and_the_summary(
    contract: Contract, live: dict[str, Any], name: str, broken: Any,  # noqa: ANN401
) -> None:
    broken(live)
    found = verdicts(chapters(contract, live, []))
    assert (found[name], found["summary"]) == ("fail", "fail")


@pytest.mark.parametrize(("name", "hidden"), [
    ("step_2", lambda live: pod(live)["containers"][0].update(log=[])),
    ("step_3", lambda live: inside(live).pop("http")),
    ("step_4", lambda live: inside(live).pop("writes")),
    ("step_4", lambda live: inside(live).update(refusals={})),
    ("step_6", lambda live: inside(live, "postgres").pop("postgres")),
    ("node", lambda live: live["nodes"]["obs-local"].update(storage={})),
    ("node", lambda live: live["nodes"].clear()),
])
def test_what_could_not_be_looked_at_is_not_pass(
    contract: Contract, live: dict[str, Any], name: str, hidden: Any,  # noqa: ANN401
) -> None:
    hidden(live)
    assert verdicts(chapters(contract, live, []))[name] == "unchecked"


def test_a_finding_decides_its_step_and_a_waived_one_is_a_reservation(contract: Contract, live: dict[str, Any]) -> None:
    waiver = Waiver("NODE-*", "*", "operator", "a reason", datetime.date(2030, 1, 1), Place("contract.yml", 1))
    live["nodes"]["obs-local"]["storage"]["free"] = 1024
    assert verdicts(chapters(contract, live, [finding()]))["node"] == "fail"
    assert verdicts(chapters(contract, live, [finding(waiver=waiver)]))["node"] == "reservations"
    assert verdicts(chapters(contract, FACTS, [finding(kind=Kind.UNCHECKED)]))["node"] == "unchecked"
    # Findings about files are no step's.
    assert verdicts(chapters(contract, FACTS, [finding("VOL-01", layer=Layer.DEPLOYMENT)]))["step_4"] == "pass"


def test_what_the_kis_api_refuses_is_a_reservation_and_apart(contract: Contract, live: dict[str, Any]) -> None:
    pod(live)["containers"][0]["log"] = [
        '{"level": "ERROR", "message": "KIS API: EGW00103"}', "ERROR something of our own", "INFO no ERRORS here",
        '{"level": "INFO", "message": "ERROR is only a word here"}', "Traceback (most recent call last):"]
    assert errors(pod(live)["containers"][0]["log"]) == (2, 1, 5)
    made = chapters(contract, live, [KIS])
    assert verdicts(made)["step_2"] == "reservations"
    row = step(made, "summary")["tables"][0]["rows"]
    assert ["reservations", "EGW00103"] in [[one[1]["verdict"], one[2]] for one in row]


def test_a_warning_from_before_the_pod_was_ready_is_over(contract: Contract, live: dict[str, Any]) -> None:
    live["cluster"]["events"].append({
        "kind": "Pod", "name": OBSERVER, "namespace": "observer-local", "type": "Warning", "reason": "Unhealthy",
        "message": "Readiness probe failed", "count": 3, "last": live["cluster"]["now"] - 5})
    made = chapters(contract, live, [])
    assert verdicts(made)["step_2"] == "reservations"
    events = next(one for one in step(made, "step_2")["tables"] if "Warning" in one["title"]["ko"])
    assert events["rows"][0][1] == {"verdict": "reservations", "text": "Unhealthy"}
    assert "5s" in events["rows"][0]


def test_pods_that_have_ended_are_no_failure(contract: Contract, live: dict[str, Any]) -> None:
    for name, phase in (("import-x1", "Succeeded"), ("observer-old", "Failed")):
        live["cluster"]["pods"].append({**copy.deepcopy(pod(live)), "name": name, "phase": phase, "ready": False,
                                        "conditions": {"Ready": {"status": "False"}}, "containers": []})
    assert verdicts(chapters(contract, live, []))["step_1"] == "reservations"
    assert verdicts(chapters(contract, live, []))["step_2"] == "pass"
    # They do not stand for one that runs.
    live["cluster"]["pods"].remove(pod(live))
    assert verdicts(chapters(contract, live, []))["step_1"] == "fail"


def test_what_volumes_hold_counts_as_room_for_them(contract: Contract, live: dict[str, Any]) -> None:
    node = live["nodes"]["obs-local"]
    node["storage"]["free"] = 30 << 30
    assert verdicts(chapters(contract, live, []))["node"] == "fail"
    node["volumes"][0]["bytes"] = 7 << 30
    assert verdicts(chapters(contract, live, []))["node"] == "reservations"


def test_room_that_depends_on_volumes_that_were_not_counted_is_unchecked(
    contract: Contract, live: dict[str, Any],
) -> None:
    node = live["nodes"]["obs-local"]
    node["storage"]["free"], node["volumes"][0]["bytes"] = 2 << 30, None
    made = chapters(contract, live, [])
    assert verdicts(made)["node"] == "unchecked" and ">= " in json.dumps(step(made, "node"))
    node["storage"]["free"] = 60 << 30
    assert verdicts(chapters(contract, live, []))["node"] == "reservations"


def test_a_log_that_was_read_may_be_empty(contract: Contract, live: dict[str, Any]) -> None:
    for name, wanted in ((OBSERVER, "step_2"), ("postgres-0", "step_6")):
        pod(live, name)["containers"][0].update(log=[])
        assert verdicts(chapters(contract, live, []))[wanted] == "unchecked"
        pod(live, name)["containers"][0].update(log_read=True)
        assert verdicts(chapters(contract, live, []))[wanted] == "pass"


def test_an_agent_without_the_app_needs_no_folder_of_settings(contract: Contract, live: dict[str, Any]) -> None:
    agent = copy.deepcopy(live["nodes"]["obs-local"])
    agent["folders"]["/opt/platform/runtime/observer/config"] = {"exists": False}
    agent["k3s"]["role"] = "agent"
    live["nodes"]["agent"] = {**agent, "containers": []}
    assert verdicts(chapters(contract, live, []))["node"] == "reservations"
    agent["k3s"]["role"] = "server"
    live["nodes"]["agent"] = {**agent, "containers": []}
    assert verdicts(chapters(contract, live, []))["node"] == "fail"


def test_an_app_without_pages_and_database_has_no_such_steps() -> None:
    made = chapters(load_contract(ROOT / "contracts" / "qts.yml"), {}, [])
    assert "step_6" not in verdicts(made) and set(verdicts(made).values()) == {"unchecked"}


def test_step_5_says_what_was_before_and_after(contract: Contract, live: dict[str, Any]) -> None:
    made = chapters(contract, live, [], persistence=DONE)
    assert (verdicts(made)["step_5"], verdicts(made)["summary"]) == ("pass", "reservations")
    text = json.dumps(step(made, "step_5"), ensure_ascii=False)
    assert "17.2" in text and "1200 / 1203" in text and "5 / 6" in text
    for worse in ({"lost": ["data/a.jsonl: gone"]}, {"rows_after": {"public.ticks": 3}},
                  {"failed": ["the pods of observer were not ready again in time"], "seconds": None}):
        assert verdicts(chapters(contract, live, [], persistence={**DONE, **worse}))["step_5"] == "fail"
        assert not persisted({**DONE, **worse})
    for unknown in ({"unread": ["rows of table x: not counted in time"]}, {"rows_after": None}):
        assert verdicts(chapters(contract, live, [], persistence={**DONE, **unknown}))["step_5"] == "unchecked"
        assert not persisted({**DONE, **unknown})
    anew = {**DONE, "rewritten": [f"data/{number}.db: changed" for number in range(9)], "rewritten_count": 90}
    made = chapters(contract, live, [], persistence=anew)
    assert "data/4.db: changed and 85 more" in json.dumps(step(made, "step_5"))
    assert verdicts(made)["step_5"] == "reservations" and persisted(anew)
    not_done = {"why": "the pods are not ready, so nothing is deleted", "deleted": False, "date": 1.0}
    assert verdicts(chapters(contract, live, [], persistence=not_done))["step_5"] == "unchecked"


def test_step_5_that_was_not_asked_for_tells_of_the_last_time(contract: Contract, live: dict[str, Any]) -> None:
    notes = step(chapters(contract, live, [], last=DONE), "step_5")["notes"]
    assert "nothing was lost" in notes[-1]["en"] and NOW.strftime("%Y-%m-%d") in notes[-1]["ko"]
    assert "never" in step(chapters(contract, live, []), "step_5")["notes"][-1]["en"]


def test_every_living_code_belongs_to_a_step() -> None:
    from contract.codes import CODES

    for code in CODES:
        assert step_of(finding(code, layer=Layer.DEPLOYMENT)) in STEPS
    assert step_of(finding("PERSIST-01", clause="persistence.pods", layer=Layer.DEPLOYMENT)) == "step_5"
    for code, step_wanted in (("NODE-05", "node"), ("NODE-32", "step_4"), ("NODE-42", "step_6"), ("LIVE-17", "step_2"),
                              ("LIVE-11", "step_1"), ("LIVE-20", "step_2"), ("LIVE-26", "step_1"),
                              ("LIVE-36", "step_3"), ("EXT-01", "step_2")):
        assert step_of(finding(code, layer=Layer.DEPLOYMENT)) == step_wanted, code
    assert step_of(finding("FAULT-30", clause="faults.login", layer=Layer.CONFIG, subject="postgres")) == "step_6"


def test_no_field_that_is_unknown_breaks_a_report(contract: Contract) -> None:
    def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str):
                yield (*path, key)
            if isinstance(inner, dict | list):
                yield from fields(inner, (*path, key))

    for *way, last in fields(FACTS):
        at = FACTS
        for key in way:
            at = at[key]
        kept = at[last]
        at[last] = None
        try:
            assert chapters(contract, FACTS, [])
            gates.gates(contract, FACTS, now=NOW.timestamp())
        finally:
            at[last] = kept


@pytest.mark.parametrize(("seconds", "text"), [
    (17, "17s"), (330, "5m30s"), (29 * 3600, "29h"), (49 * 3600, "2d1h"), (32 * 3600, "32h"), (9 * 86400, "9d"),
    (None, "?"), (-5, "0s"), (3 * 86400 + 17 * 3600, "3d17h"), (1080, "18m"), (7 * 3600 + 120, "7h2m")])
def test_ages_are_as_kubectl_writes_them(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(20 << 30, "20Gi"), (1, "1 B"), (64_300_000, "61.3Mi"), (None, "?")])
def test_sizes_are_quantities(count: float | None, text: str) -> None:
    assert size(count) == text


# --- gates ------------------------------------------------------------------------------------------


def phases(contract: Contract, live: dict[str, Any] | None, **fields: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return gates.gates(contract, live, **{"now": NOW.timestamp(), "repository": ROOT, **fields})


def test_phase_0_is_met_after_a_day_with_all_evidence(contract: Contract, live: dict[str, Any]) -> None:
    day = FACTS["cluster"]["pods"][2]["containers"][0]["started"] + 26 * 3600
    zero = phases(contract, live, now=day, persistence=DONE)[0]
    assert zero["state"] == "met", zero
    assert [one["state"] for one in zero["conditions"]] == ["met"] * 4
    assert f"{OBSERVER} Running 26h, RESTARTS 0" in zero["conditions"][0]["evidence"]
    assert not any(one["missing"] for one in zero["conditions"])
    assert [one["text"]["ko"] if isinstance(one["text"], dict) else one["text"] for one in zero["conditions"]] == [
        "Pod Running 24시간+ (RESTARTS=0)", "Pod 재시작 후 데이터 보존", "/health 200 OK", "JSONL 생성 확인"]


def test_phase_0_says_what_is_missing(contract: Contract, live: dict[str, Any]) -> None:
    running, kept, health, made = phases(contract, live)[0]["conditions"]
    assert running["state"] == "not_yet" and "23h more" in running["missing"]["en"]
    assert kept["state"] == "unchecked" and "Step 5" in kept["missing"]["en"]
    assert health["state"] == made["state"] == "met"
    pod(live)["containers"][0]["restarts"] = 2
    inside(live)["http"]["/health"]["status"] = 500
    live["cluster"]["jsonl"]["newest"] = pod(live)["created"] - 5
    day = pod(live)["containers"][0]["started"] + 26 * 3600
    states = [one["state"] for one in phases(contract, live, now=day, persistence={**DONE, "lost": ["a: gone"]})[0][
        "conditions"]]
    assert states == ["not_yet"] * 4


def test_no_gate_is_met_that_nobody_looked_at(contract: Contract) -> None:
    zero, one, two = phases(contract, None)
    assert [item["state"] for item in zero["conditions"]] == ["unchecked"] * 4
    assert (one["state"], two["state"]) == ("unchecked", "not_yet")
    assert gates.summary([zero, one, two]) == "P0 not checked, P1 not checked, P2 not yet"
    assert gates.summary([zero, one, two], "ko") == "P0 확인하지 않음, P1 확인하지 않음, P2 미충족"


def test_phase_1_asks_for_a_local_test_of_the_app(contract: Contract, tmp_path: Path) -> None:
    documented, tested = phases(contract, None, app=tmp_path, app_findings=[])[1]["conditions"]
    assert documented["state"] == "met" and "paths 8" in documented["evidence"]["en"]
    assert tested["state"] == "not_yet" and "contract_file" in tested["missing"]["en"]
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-q"\ncontract_file = "c.yml"\n')
    tested = phases(contract, None, app=tmp_path, app_findings=[])[1]["conditions"][1]
    assert tested["state"] == "met" and tested["evidence"]["en"].startswith("pyproject.toml:3;")
    (tmp_path / "pyproject.toml").unlink()
    workflow = tmp_path / ".github" / "workflows" / "ci.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text("jobs:\n  run: execution-contract check --contract c.yml --app .\n")
    assert phases(contract, None, app=tmp_path)[1]["state"] == "met"


def test_phase_2_waits_for_the_chart(contract: Contract, live: dict[str, Any], tmp_path: Path) -> None:
    two = phases(contract, live)[2]
    assert [one["state"] for one in two["conditions"]] == ["not_yet"] * 3
    assert all("Helm chart" in one["missing"]["en"] for one in two["conditions"])
    chart = tmp_path / "infra" / "helm" / "observer"
    chart.mkdir(parents=True)
    (chart / "Chart.yaml").write_text("name: observer\n")
    (chart / "values-staging.yaml").write_text("{}\n")
    deployed, values, _ = phases(contract, live, repository=tmp_path)[2]["conditions"]
    assert (deployed["state"], values["state"]) == ("unchecked", "not_yet")
    assert "production" in values["missing"]["en"]
    live["cluster"]["namespace"] = "observer-staging"
    assert phases(contract, live, repository=tmp_path)[2]["conditions"][0]["state"] == "not_yet"
    live["cluster"]["secrets"]["sh.helm.release.v1.observer.v1"] = {"type": "helm.sh/release.v1", "keys": ["release"]}
    assert phases(contract, live, repository=tmp_path)[2]["conditions"][0]["state"] == "met"


# --- the report -------------------------------------------------------------------------------------


def test_a_step_that_fails_without_a_finding_gets_one_so_that_all_agree(live: dict[str, Any]) -> None:
    inside(live)["http"]["/health"]["status"] = 503
    report = verified(asked(live), NOW)
    assert [(one.code, one.subject) for one in report.findings if one.kind is Kind.VIOLATION] == [("STEP-01", "Step 3")]
    assert report.status == 1
    xml = ElementTree.fromstring(render(report, "junit"))
    assert [one.get("name") for one in xml.iter("testcase") if one.find("failure") is not None and str(
        one.get("classname")).endswith(".steps") and str(one.get("name")).startswith("Step")][:1] == ["Step 3: health"]
    # One that somebody else explains needs none.
    own = finding("STEP-01", clause="live.health", layer=Layer.APP, subject="/health", values={"step": "step_3"})
    assert [one.subject for one in verified(asked(live, findings=[own]), NOW).findings
            if one.code.startswith("STEP")] == ["/health"]


def test_a_step_that_nobody_could_look_at_is_unchecked_and_step_5_is_not_asked_for(live: dict[str, Any]) -> None:
    inside(live).pop("writes")
    report = verified(asked(live), NOW)
    assert [(one.code, one.subject) for one in report.findings if one.kind is Kind.UNCHECKED] == [("STEP-02", "Step 4")]
    assert report.status == 4
    assert verified(asked(FACTS), NOW).status == 0


def test_every_format_in_each_language_tells_steps_gates_and_changes(live: dict[str, Any]) -> None:
    before = verified(asked(live, findings=[KIS, finding(clause="node.firewall")]), NOW - datetime.timedelta(hours=1))
    report = verified(asked(live, findings=[finding()], before=before, persistence=DONE), NOW)
    for form in FORMATS:
        for language in LANGUAGES:
            text = render(report, form, language)
            again = render(from_json(to_json(report)), form, language)
            assert text == again
            if form in ("text", "markdown", "html"):
                for word in {"en": ("Step 1: Pods / PVCs / Secrets", "Phase 0: Foundation", "1 new", "2 mended"),
                             "ko": ("Step 1: Pod / PVC / Secret", "기반 안정화", "신규 1건", "해결 2건")}[language]:
                    assert word in text, (form, language, word)
            if form in ("markdown", "html"):
                assert "observer-data-pvc" in text and "EXT-01" in text and "17.2" in text
    results = json.loads(render(report, "sarif"))["runs"][0]["results"]
    assert {one["ruleId"]: one["baselineState"] for one in results}["NODE-01"] == "new"


def test_html_folds_the_green_steps_and_opens_the_failed(live: dict[str, Any]) -> None:
    inside(live)["http"]["/health"]["status"] = 503
    text = render(verified(asked(live), NOW), "html")
    opened = [part.partition("</summary>")[0] for part in text.split("<details ")[1:] if " open>" in part[:40]]
    assert len(opened) == 2 and "Summary" in opened[0] and "Step 3" in opened[1]
    assert 'href="#f0"' in text
    # Above all, each step and phase in a word that leads to it.
    for name in ("s0", "s3", "s7", "p0", "p2"):
        assert f'href="#{name}"' in text.partition("<main>")[0] and f'id="{name}"' in text


def test_facts_of_another_form_are_shown_as_plain_facts_and_break_nothing() -> None:
    odd: list[dict[str, Any]] = [
        {"steps": "none"}, {"steps": [{"id": 1}]}, {"gates": [{"phase": "x"}]}, {"history": {"since": 3}},
        {"steps": [{"id": "a", "verdict": "pass", "notes": [], "tables": [{"columns": []}], "findings": []}]},
        {"gates": [{"phase": 0, "state": "met", "conditions": [3]}]},
        {"history": {"since": None, "new": [], "mended": [], "unseen": "x"}},
        {"history": {"since": "no date", "new": [{}], "mended": [], "unseen": [], "unchanged": "x"}}]
    for facts in odd:
        report = Report("observer", "c.yml", NOW, (), (), (), facts)
        for form in FORMATS:
            assert render(report, form, "ko")


def test_no_value_of_a_manifest_s_secret_is_in_a_fact(live: dict[str, Any], tmp_path: Path) -> None:
    secret = "canary-5d1f0f6c"
    (tmp_path / "secret.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: observer-secrets, namespace: observer-local}\n"
        f"stringData: {{DB_PASSWORD: {secret}}}\n")
    live["cluster"]["events"].append({
        "kind": "Pod", "name": OBSERVER, "namespace": "observer-local", "type": "Warning", "reason": "Failed",
        "message": f"password {secret} at postgres://observer:{secret}x@postgres", "count": 1,
        "last": live["cluster"]["now"]})
    report = verified(asked(live, manifests=tmp_path), NOW)
    for form in FORMATS:
        assert secret not in render(report, form)
    assert "***@postgres" in to_json(report)


# --- what changed, and how reports are kept ---------------------------------------------------------


def report_of(*findings: Finding, hours: float = 0, places: tuple[tuple[str, str], ...] = (
        ("node", "a"), ("cluster", "x"), ("manifests", "m"))) -> Report:
    clauses = tuple(Clause(one.clause, one.clause.partition(".")[0], (one.layer,), (number,))
                    for number, one in enumerate(findings))
    return Report("observer", "c.yml", NOW + datetime.timedelta(hours=hours), places, clauses, findings, {})


def test_new_mended_and_unchanged_are_told_apart_by_more_than_lines() -> None:
    old = report_of(finding(place=Place("a.yml", 3)), finding("LIVE-01", clause="live.pods", layer=Layer.DEPLOYMENT,
                                                              subject="Pod x/observer-68fc6bc7d5-hk24r"), KIS)
    new = report_of(finding(place=Place("a.yml", 9), actual="1Gi"), finding(
        "LIVE-01", clause="live.pods", layer=Layer.DEPLOYMENT, subject="Pod x/observer-7d5f68cbc6-x2k4p"),
        finding("NODE-02", clause="node.timezone"), hours=1)
    found = history.compared(new, old)
    assert [one["code"] for one in found["new"]] == ["NODE-02"]
    assert [one["code"] for one in found["mended"]] == ["EXT-01"]
    assert (found["unchanged"], found["unseen"], found["since"]) == (2, [], old.date.isoformat())


def test_what_was_not_looked_at_again_is_not_mended() -> None:
    old = report_of(finding(), KIS, finding("PATH-06", layer=Layer.CONFIG, clause="paths.data"))
    found = history.compared(report_of(places=(("node", "a"),), hours=1), old)
    assert [one["code"] for one in found["mended"]] == ["NODE-01"]
    assert [one["code"] for one in found["unseen"]] == ["EXT-01", "PATH-06"]


def on(host: str, code: str = "NODE-01", **fields: Any) -> Finding:  # noqa: ANN401
    values = {"seen_on": host, **fields.pop("values", {})}
    return finding(code, subject=fields.pop("subject", f"node {host}"), values=values, **fields)


def test_a_host_that_was_not_looked_at_again_has_nothing_mended() -> None:
    both = (("node", "a"), ("node", "b"), ("drift", "a"), ("drift", "b"))
    old = report_of(on("a"), on("b"), on("a", "DRIFT-06"), on("b", "DRIFT-06"), places=both)
    found = history.compared(report_of(places=(("node", "a"), ("drift", "a")), hours=1), old)
    assert [one["subject"] for one in found["mended"]] == ["node a", "node a"]
    assert [one["subject"] for one in found["unseen"]] == ["node b", "node b"]
    # The same thing in a container of each of two nodes.
    old = report_of(on("a", "NODE-30", subject="Deployment/x"), on("b", "NODE-30", subject="Deployment/x"), places=both)
    found = history.compared(report_of(old.findings[0], places=(("node", "a"),), hours=1), old)
    assert (found["unchanged"], len(found["unseen"]), found["mended"]) == (1, 1, [])


def test_what_something_unread_may_hide_is_not_mended() -> None:
    pods = finding("LIVE-10", clause="live.pods", layer=Layer.DEPLOYMENT, subject="Deployment/observer")
    write = on("a", "NODE-32", subject="Deployment/observer observer", values={"path": "/data"})
    old = report_of(pods, on("a", "NODE-05"), write, KIS)

    def after(*gaps: Finding) -> list[str]:
        return [one["code"] for one in history.compared(report_of(*gaps, hours=1), old)["mended"]]

    def gap(code: str, **fields: Any) -> Finding:  # noqa: ANN401
        return finding(code, kind=Kind.UNCHECKED, **fields)

    every = ["LIVE-10", "NODE-05", "NODE-32", "EXT-01"]
    assert after() == every
    assert after(gap("LIVE-60", clause="check.cluster", subject="pods")) == ["NODE-05", "NODE-32"]
    assert after(gap("LIVE-60", clause="check.cluster", subject="log of ns/x")) == ["NODE-05", "NODE-32"]
    inside = {"seen_on": "a", "about": "Deployment/observer observer (Pod observer-1-a)"}
    assert after(gap("NODE-50", clause="check.node", values=inside)) == ["LIVE-10", "NODE-05", "EXT-01"]
    assert after(gap("NODE-50", clause="check.node", values={"seen_on": "a", "about": "disks"})) == [
        "LIVE-10", "EXT-01"]
    assert after(gap("NODE-50", clause="check.node", values={"seen_on": "b", "about": "disks"})) == every
    assert after(gap("STEP-02", clause="steps.node", values={"step": "node"})) == ["LIVE-10", "NODE-32", "EXT-01"]


def test_lost_data_is_not_mended_by_looking_away() -> None:
    lost = report_of(finding("PERSIST-01", clause="persistence.pods", layer=Layer.DEPLOYMENT))
    assert history.compared(report_of(hours=1), lost)["mended"] == []
    again = report_of(hours=1, places=(("persistence", "x"),))
    assert [one["code"] for one in history.compared(again, lost)["mended"]] == ["PERSIST-01"]


def test_findings_of_one_subject_are_told_apart() -> None:
    def disk(path: str, **fields: Any) -> Finding:  # noqa: ANN401
        return on("a", "NODE-05", values={"path": path}, **fields)

    found = history.compared(report_of(disk("/"), disk("/srv"), hours=1), report_of(disk("/"), disk("/var")))
    assert (len(found["new"]), len(found["mended"]), found["unchanged"]) == (1, 1, 1)
    # The amount is another one each time.
    assert history.compared(report_of(disk("/", actual="1%")), report_of(disk("/", actual="2%")))["unchanged"] == 1
    # Of several that nothing tells apart, the number counts.
    found = history.compared(report_of(*[finding()] * 3), report_of(finding()))
    assert (len(found["new"]), found["unchanged"]) == (2, 1)
    report = Report("observer", "c.yml", NOW, (), (), (disk("/"), disk("/srv")), {"history": history.compared(
        report_of(disk("/"), disk("/srv")), report_of(disk("/")))})
    results = json.loads(render(report, "sarif"))["runs"][0]["results"]
    assert [one["baselineState"] for one in results] == ["unchanged", "new"]
    assert len({one["partialFingerprints"]["executionContract/v1"] for one in results}) == 2


def test_two_file_systems_of_a_node_are_two_findings(live: dict[str, Any]) -> None:
    read_only = [on("obs-local", "NODE-07", expected="rw", actual="ro", values={"path": one}) for one in ("/", "/var")]
    report = verified(asked(live, findings=[*read_only, read_only[0]]), NOW)
    assert [one.values["path"] for one in report.findings if one.code == "NODE-07"] == ["/", "/var"]


def test_a_host_without_facts_is_unchecked_everywhere_and_never_pass(live: dict[str, Any]) -> None:
    hosts = ["obs-local", "agent"]
    for nodes in (live["nodes"], {**live["nodes"], "agent": {}}):
        report = verified(asked({**live, "nodes": nodes}, hosts=hosts, drift=[], drift_hosts=["obs-local"]), NOW)
        found = [one for one in report.findings if one.kind is Kind.UNCHECKED]
        assert [(one.code, one.subject) for one in found] == [("NODE-59", "node agent")]
        assert report.status == 4 and ("node", "agent") not in report.places
        assert verdicts(report.facts["steps"])["node"] == "unchecked"
        # What holds on one node is not said to hold on all.
        assert all(Layer.NODE not in one.layers for one in report.clauses if one.name == "node.firewall")
        xml = ElementTree.fromstring(render(report, "junit"))
        assert any(one.find("error") is not None and one.get("name") == "check.node" for one in xml.iter("testcase"))
        assert "NODE-59" in [one["ruleId"] for one in json.loads(render(report, "sarif"))["runs"][0]["results"]]
        for language in LANGUAGES:
            assert "agent" in render(report, "markdown", language)
    missed = verified(asked(live, hosts=["obs-local"], drift=[], drift_hosts=[]), NOW).findings
    assert [(one.code, one.subject) for one in missed if one.kind is Kind.UNCHECKED] == [("DRIFT-29", "node obs-local")]
    assert verified(asked(live, hosts=["obs-local"], drift=[]), NOW).status == 0


def test_reports_are_kept_for_their_owner_alone_with_latest_and_a_limit(tmp_path: Path) -> None:
    folder = history.folder_of("../prod x", tmp_path / "reports")
    assert folder.parent == tmp_path / "reports" and "/" not in folder.name
    (folder / ".20260101T000000Z.ab12").mkdir(parents=True)
    os.utime(folder / ".20260101T000000Z.ab12", (1, 1))
    folder.parent.chmod(0o700)
    previous = os.umask(0)
    try:
        kept = [history.write(report_of(finding(), hours=hours), folder, 3) for hours in range(5)]
    finally:
        os.umask(previous)
    again = history.write(report_of(hours=4), folder, 3)
    assert again.name.endswith("Z-1") and (folder / "latest").resolve() == again
    assert [one.name for one in history.kept(folder)] == [kept[3].name, kept[4].name, again.name]
    assert sorted(one.name for one in again.iterdir()) == [
        "report.html", "report.json", "report.junit.xml", "report.ko.html", "report.ko.md", "report.md",
        "report.sarif"]
    for path in (tmp_path / "reports", folder, *folder.iterdir(), *again.iterdir()):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    last, why = history.load_last(folder)
    assert last is not None and last.findings == () and why == ""
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]


@pytest.mark.parametrize("text", ["", "{", '{"schema": "execution-contract-report/0"}', "[1]", "\x00", "9" * 5000])
def test_an_older_report_that_cannot_be_read_is_told_and_breaks_nothing(tmp_path: Path, text: str) -> None:
    folder = history.folder_of("local", tmp_path)
    history.write(report_of(finding()), folder)
    broken = history.write(report_of(hours=1), folder)
    (broken / "report.json").write_text(text)
    last, why = history.load_last(folder)
    assert last is not None and last.findings and str(broken) in why
    report = verified(asked(FACTS, before=last, why=why), NOW)
    assert "cannot be compared" in render(report, "text") and "비교할 수 없음" in render(report, "html", "ko")


def test_without_reports_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert history.load_last(tmp_path / "none") == (None, "")
    assert "first report" in render(verified(asked(FACTS), NOW), "text")


def test_the_last_time_of_step_5_is_handed_on_from_report_to_report(tmp_path: Path) -> None:
    folder = history.folder_of("local", tmp_path)
    before: Report | None = None
    for persistence in (DONE, None, None):
        report = verified(asked(FACTS, before=before, persistence=persistence), NOW)
        history.write(report, folder)
        before, _ = history.load_last(folder)
        assert report.facts["gates"][0]["conditions"][1]["state"] == "met"
    assert "nothing was lost" in render(report, "markdown")


def test_a_try_in_which_nothing_was_deleted_takes_no_proof_away(live: dict[str, Any]) -> None:
    before = verified(asked(live, persistence=DONE), NOW)
    refused = {"why": "the pods of observer are not ready, so nothing is deleted", "deleted": False, "date": 9.0}
    report = verified(asked(live, persistence=refused, before=before), NOW)
    assert report.facts["persistence"] == before.facts["persistence"]
    assert report.facts["gates"][0]["conditions"][1]["state"] == "met"
    made = step(report.facts["steps"], "step_5")
    assert made["verdict"] == "unchecked" and "nothing was lost" in made["notes"][-1]["en"]
    assert "nothing is deleted" in json.dumps(made)
    # One that began does.
    failed = {**DONE, "failed": ["/ready does not answer"], "lost": ["a: gone"]}
    report = verified(asked(live, persistence=failed, before=before), NOW)
    assert report.facts["gates"][0]["conditions"][1]["state"] == "not_yet"
    assert "persistence" not in verified(asked(live, persistence=refused), NOW).facts


# --- the action -------------------------------------------------------------------------------------


def play(folder: Path, *arguments: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The action's result, run by ansible-playbook."""
    task = {"contract": str(CONTRACT), "inventory": "local", "reports": str(folder / "reports"), **options}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"name": "Report", "verify_report": task}]}]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_ACTION_PLUGINS=str(ROOT / "plugins/action"), ANSIBLE_LIBRARY=str(ROOT / "library"),
                       ANSIBLE_DOC_FRAGMENT_PLUGINS=str(ROOT / "plugins/doc_fragments"),
                       ANSIBLE_HOME=str(folder / ".ansible"), ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    done = subprocess.run([Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "play.yml",
                           *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["plays"][0]["tasks"][-1]["hosts"]["localhost"]
    return result


def test_the_action_keeps_a_report_and_says_what_the_card_shows(tmp_path: Path, live: dict[str, Any]) -> None:
    # The action goes by the clock, and gate 0 asks for a day.
    for container in (one for pod in live["cluster"]["pods"] for one in pod["containers"] if one["started"]):
        container["started"] = time.time() - 3600
    data = {"nodes": live["nodes"], "cluster": live["cluster"]}
    dry = play(tmp_path, "--check", **data)
    assert not dry.get("failed") and dry["html"] == "" and not (tmp_path / "reports").exists()
    first = play(tmp_path, **data, drift=[], persistence=DONE)
    assert (first["changed"], first["status"], first["verdict"]) == (False, 0, "PASS")
    assert first["gates"] == {"P0": "not_yet", "P1": "unchecked", "P2": "not_yet"}
    assert first["card"]["gates"] == "P0 not yet, P1 not checked, P2 not yet"
    assert first["steps"]["step_5"] == "pass" and first["since"] is None
    assert Path(first["html"]).is_file()
    assert Path(first["card"]["report"]).resolve() == Path(first["html"])
    report = from_json((Path(first["folder"]) / "report.json").read_text())
    body = json.loads(to_json(report_of(finding())))["findings"]
    second = play(tmp_path, **data, findings=body, language="ko")
    assert second["failed"] and "NODE-01" in second["msg"] and second["html"] in second["msg"]
    assert [one["code"] for one in second["new"]] == ["NODE-01"] and second["since"] == report.date.isoformat()
    assert second["html"].endswith("report.ko.html") and second["counts"]["violation"] == 1
    assert not play(tmp_path, **data, findings=body, fail_on=[]).get("failed")
    # Of another system nothing is taken over, whatever its inventory is called.
    for other in ({"source": "/elsewhere/local"}, {"namespace": "qts-prod"}):
        assert (first_of := play(tmp_path, **data, **other))["since"] is None and not first_of["persisted"]
    assert "backup" not in first["card"]
    now = time.time()
    good = {"mode": "stream", "wrong": [], "jobs": {"files": {"good": now - 250}, "base": {"good": now - 7300},
                                                    "rehearse": {"good": now - 200000}, "check": {"good": None}}}
    bad = {**good, "wrong": [{"job": "files", "why": "the disk is full"}]}
    old = "old snapshots are overdue since 2026-11-01: run playbooks/backup.yml"
    for backup, lines in ((good, ["stream; files 4 min ago, base 2 h ago", "restore proven 2 d ago"]),
                          ({**good, "warnings": [old]}, [old, "stream; files 4 min ago, base 2 h ago",
                                                         "restore proven 2 d ago"]),
                          (bad, ["BAD: files: the disk is full"])):
        nodes = {name: {**facts, "backup": backup} for name, facts in list(live["nodes"].items())[:1]}
        assert play(tmp_path, cluster=live["cluster"], nodes=nodes)["card"]["backup"] == lines
    again = play(tmp_path, **data, hosts=["obs-local", "agent"])
    assert again["since"] and again["persisted"]
    assert again["failed"] and "NODE-59" in again["msg"] and again["card"]["verdict"].startswith("UNCHECKED")


def test_the_action_refuses_what_it_cannot_read_in_one_sentence(tmp_path: Path) -> None:
    wrong = play(tmp_path, contract=str(tmp_path / "none.yml"))
    assert wrong["failed"] and "none.yml" in wrong["msg"] and wrong["remedy"]
    wrong = play(tmp_path, findings=[{"code": 3}])
    assert wrong["failed"] and "findings: [0].values is not a mapping" in wrong["msg"]
    body = json.loads(to_json(report_of(finding("NEW-99"))))["findings"]
    wrong = play(tmp_path, drift=body)
    assert wrong["failed"] and "NEW-99" in wrong["msg"]
    (tmp_path / "reports").write_text("a file")
    wrong = play(tmp_path)
    assert wrong["failed"] and "cannot be kept" in wrong["msg"] and "reports" in wrong["remedy"]


def test_verdicts_are_ordered_worst_first() -> None:
    assert [str(one) for one in Verdict] == ["fail", "unchecked", "reservations", "pass"]
