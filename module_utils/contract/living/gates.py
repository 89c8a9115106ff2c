"""The gates between phases as seed 000 (2) words them: what has to hold to enter the next phase, with its evidence.

A condition is met, not met yet, or not checked; the last two say what is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..model import Finding, Kind
from ..spec import ITEMS, Contract
from .seen import Live, pod_runs, restarts
from .steps import persisted
from .wording import Text, age, both, few, moment

DAY = 86400
HELM_RELEASE = "helm.sh/release.v1"
SETTINGS = re.compile(r"^\s*contract_file\s*=", re.MULTILINE)
COMMAND = re.compile(r"\bexecution-contract\s+check\b|\bpython3?\s+-m\s+contract\s+check\b")
TEST_FILES = ("pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini", "Makefile", "noxfile.py")
NOT_OURS = {".git", ".venv", "venv", "node_modules", "testbed", "tests", "__pycache__", ".tox"}


class State(StrEnum):
    """How a condition is."""

    NOT_YET = "not_yet"
    UNCHECKED = "unchecked"
    MET = "met"


def condition(text: Text, met: bool | None, evidence: Text, missing: Text = "") -> dict[str, Any]:
    """A condition as data; None: it was not looked at."""
    state = State.UNCHECKED if met is None else State.MET if met else State.NOT_YET
    return {"text": text, "state": str(state), "evidence": evidence, "missing": "" if met else missing}


def gate(phase: int, title: Text, conditions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A phase as data: as its worst condition."""
    states = {State(one["state"]) for one in conditions}
    return {"phase": phase, "title": title, "state": str(next(one for one in State if one in states)),
            "conditions": list(conditions)}


def gates(
    contract: Contract, live: Mapping[str, Any] | None, *, now: float, persistence: Mapping[str, Any] | None = None,
    app: Path | None = None, app_findings: Iterable[Finding] | None = None, repository: Path | None = None,
) -> list[dict[str, Any]]:
    """Phases 0 to 2.

    :param now: seconds since 1970, by which the 24 hours are counted.
    :param persistence: the last result of Step 5, of whatever day.
    :param app: checkout of the app, in which the local test is looked for.
    :param app_findings: what this run found of the app's layer; None when it did not look.
    :param repository: checkout in which a chart is looked for.
    """
    seen = Live(contract, live or {})
    return [
        gate(0, both("Foundation stabilization", "기반 안정화"), [
            running(seen, now), kept(seen, persistence), healthy(seen), collected(seen, now)]),
        gate(1, both("Execution contract definition", "실행 계약 정의"), [
            documented(contract), tested(contract, app, app_findings)]),
        gate(2, both("Helm chart standardization", "Helm Chart 표준화"), list(charted(seen, repository))),
    ]


def summary(made: Iterable[Mapping[str, Any]], language: str = "en") -> str:
    """All phases in a line: ``P0 met, P1 not yet``."""
    words = {"en": {"met": "met", "not_yet": "not yet", "unchecked": "not checked"},
             "ko": {"met": "충족", "not_yet": "미충족", "unchecked": "확인하지 않음"}}[language]
    return ", ".join(f"P{one['phase']} {words[one['state']]}" for one in made)


# --- phase 0 ----------------------------------------------------------------------------------------


def running(seen: Live, now: float) -> dict[str, Any]:
    """Pods run for 24 hours without a restart. A pod that is made anew begins at nought."""
    text = both("Pods Running 24 hours or more (RESTARTS=0)", "Pod Running 24시간+ (RESTARTS=0)")
    if not seen.answers:
        return condition(text, None, unknown(seen), both("a cluster that answers", "클러스터 응답"))
    pods = seen.staying(seen.app[0])
    if not pods:
        return condition(text, False, both(f"no pod of {seen.app[0]}", f"{seen.app[0]} Pod 없음"),
                         both("pods that run", "실행 중인 Pod"))
    told, missing = [], []
    for pod in pods:
        began = min((one["started"] for one in pod.get("containers") or () if one.get("started")), default=None)
        runs = None if began is None else now - began
        told.append(f"{pod.get('name')} {pod.get('phase')} {age(runs)}, RESTARTS {restarts(pod)}")
        if not pod_runs(pod):
            missing.append(both(f"{pod.get('name')} is not ready", f"{pod.get('name')} READY 아님"))
        elif restarts(pod):
            missing.append(both(f"{pod.get('name')} has restarted {restarts(pod)} times; a new pod begins at nought",
                                f"{pod.get('name')} 재시작 {restarts(pod)}회 (새 Pod는 0부터 계산)"))
        elif runs is None or runs < DAY:
            left = age(DAY - (runs or 0))
            missing.append(both(f"{left} more of {pod.get('name')}", f"{pod.get('name')} {left} 더 필요"))
    return condition(text, not missing, "; ".join(told), joined(missing))


def unknown(seen: Live) -> Text:
    why = str((seen.cluster.get("api") or {}).get("why") or "")
    more = f": {why}" if why else ""
    return both(f"the cluster did not answer{more}", f"클러스터 응답 없음{more}")


def joined(texts: Sequence[dict[str, str]]) -> Text:
    return both("; ".join(one["en"] for one in texts), "; ".join(one["ko"] for one in texts)) if texts else ""


def kept(seen: Live, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """Data is there after the pods were made anew: the last Step 5, whenever it was."""
    text = both("Data kept after the pods restart", "Pod 재시작 후 데이터 보존")
    ask = both("Step 5, which deletes the pods: ask verify.yml for it by name",
               "Step 5 (Pod 삭제): verify.yml에서 명시적으로 요청")
    if not result:
        return condition(text, None, both("Step 5 was never done from here", "Step 5 실행 기록 없음"), ask)
    when = moment(result.get("date"))
    seconds = result.get("seconds")
    if persisted(result):
        return condition(text, True, both(
            f"Step 5 on {when}: nothing lost of {result.get('files_before', '?')} files, ready again in {seconds} s",
            f"{when} Step 5: 파일 {result.get('files_before', '?')}개 손실 없음, {seconds}초 내 복구"))
    bad = [*(result.get("lost") or ()), *(result.get("failed") or ()), *([result["why"]] if result.get("why") else [])]
    said = few(bad or list(result.get("unread") or ()))
    # What could not be compared may well be there.
    return condition(text, False if bad or not result.get("unread") else None, both(
        f"Step 5 on {when}: {said['en']}", f"{when} Step 5: {said['ko']}"), ask)


def healthy(seen: Live) -> dict[str, Any]:
    """``/health`` is 200, from inside each pod and through the Service."""
    text = both("/health 200 OK", "/health 200 OK")
    answers: list[tuple[str, Any]] = []
    for pod, inside in seen.inside(*seen.app):
        said = ((inside.get("inside") or {}).get("http") or {}).get("/health")
        answers.append((str(pod.get("name")), said.get("status") or said.get("why") if said else None))
    if said := (seen.cluster.get("http") or {}).get("/health"):
        answers.append(("Service", said.get("status") or said.get("why")))
    asked = [one for one in answers if one[1] is not None]
    if not asked:
        return condition(text, None, both("nobody was asked", "확인하지 않음"),
                         both("a look inside the pods", "Pod 내부 확인"))
    bad = [f"{who} {said}" for who, said in asked if said != 200]
    return condition(text, False if bad else True if len(asked) == len(answers) else None,
                     "; ".join(f"{who} {said}" for who, said in asked),
                     both(f"200 of {'; '.join(bad)}" if bad else "an answer of every pod",
                          f"200 응답: {'; '.join(bad)}" if bad else "모든 Pod의 응답"))


def collected(seen: Live, now: float) -> dict[str, Any]:
    """JSONL files are made: the newest is younger than the oldest pod of the app."""
    text = both("JSONL is made", "JSONL 생성 확인")
    found = seen.cluster.get("jsonl")
    if not found or (found.get("newest") is None and found.get("files") is None):
        return condition(text, None, both("the folder of the data was not looked at", "데이터 디렉토리 확인하지 않음"),
                         both("the node that has the volume of the data", "데이터 볼륨이 있는 노드 확인"))
    newest = found.get("newest")
    if not found.get("files") or newest is None:
        return condition(text, False, both("no JSONL file", "JSONL 파일 없음"), both("a first file", "첫 파일"))
    began = min((pod["created"] for pod in seen.staying(seen.app[0]) if pod.get("created")), default=None)
    told = both(f"files: {found['files']}, the newest {age(now - newest)} ago ({moment(newest)})",
                f"파일 {found['files']}개, 최근 파일 {age(now - newest)} 전 ({moment(newest)})")
    fresh = began is None or newest >= began
    return condition(text, fresh, told, both("a file that the present pods have written",
                                             "현재 Pod가 생성한 파일"))


# --- phase 1 ----------------------------------------------------------------------------------------


def documented(contract: Contract) -> dict[str, Any]:
    """The five items of the contract are written down."""
    body = contract.document.body
    workloads = list(contract.workloads.values())
    containers = [container for _, container in contract.containers()]
    counts = {
        "paths": len(contract.paths), "environment": sum(len(one.variables) for one in containers),
        "ports": sum(len(one.ports) for one in containers) + len(contract.services),
        "volumes": sum(len(one.volumes) for one in containers),
        "permissions": sum(bool(one.permissions) for one in containers) + sum(
            one.fs_group is not None for one in workloads),
    }
    names = {"paths": "경로", "environment": "환경 변수", "ports": "포트", "volumes": "볼륨", "permissions": "권한"}
    lacking = [item for item in ITEMS if not counts[item] or item not in (body.get("items") or {})]
    told = both(f"{contract.file}: " + ", ".join(f"{item} {counts[item]}" for item in ITEMS),
                f"{contract.file}: " + ", ".join(f"{names[item]} {counts[item]}" for item in ITEMS))
    return condition(both("Execution Contract: five items documented", "Execution Contract 5개 항목 문서화"),
                     not lacking, told, both(f"in the contract: {', '.join(lacking)}",
                                             f"계약에 없는 항목: {', '.join(lacking)}"))


def tested(contract: Contract, app: Path | None, found: Iterable[Finding] | None) -> dict[str, Any]:
    """A local test of the app fails when the contract is broken: the pytest plugin or the command, in its checkout."""
    text = both("A local test that fails when the contract is broken", "계약 위반 시 실패하는 Local 테스트 존재")
    if app is None:
        return condition(text, None, both("no checkout of the app was given", "앱 checkout 미지정"),
                         both("the path of the app's checkout (prj_obs) for verify.yml",
                              "verify.yml에 앱 checkout(prj_obs) 경로 지정"))
    test = local_test(app)
    broken = sum(one.kind is Kind.VIOLATION and not one.waiver for one in found or ())
    if test is None:
        return condition(text, False, both(f"none in {app}", f"{app}에 없음"),
                         both("contract_file and contract_app in the app's pyproject.toml "
                              "(docs/adopting-the-contract.md)",
                              "앱 pyproject.toml에 contract_file, contract_app 설정 (docs/adopting-the-contract.md)"))
    if found is None:
        return condition(text, True, test)
    return condition(text, True, both(
        f"{test}; in this run the app " + (f"breaks it in {broken} places" if broken else "holds it"),
        f"{test}; 이번 실행에서 앱 계약 " + (f"위반 {broken}건" if broken else "일치")))


def local_test(app: Path) -> str | None:
    """Where an app's checkout has the test: ``file:line``."""
    files = [app / name for name in TEST_FILES]
    files += sorted((app / ".github" / "workflows").glob("*.y*ml")) + sorted((app / "tests").glob("**/*.py"))
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if match := SETTINGS.search(text) if path.suffix in (".toml", ".ini", ".cfg") else COMMAND.search(text):
            # The pattern of a setting begins with the blanks before it.
            at = match.end()
            return f"{path.relative_to(app)}:{text.count(chr(10), 0, at) + 1}"
    return None


# --- phase 2 ----------------------------------------------------------------------------------------


def charted(seen: Live, repository: Path | None) -> Iterator[dict[str, Any]]:
    """Deployment by Helm. Kustomize deploys today, and a chart is not to be begun before phases 0 and 1 are closed."""
    charts = [] if repository is None else sorted(find_charts(repository))
    if repository is None:
        chart: Text = both("no repository was looked through", "레포지토리 확인하지 않음")
    elif charts:
        chart = ", ".join(map(str, charts))
    else:
        chart = both("no Helm chart in the repository; Kustomize deploys",
                     "레포지토리에 Helm Chart 없음 (Kustomize로 배포)")
    waits = both("waits for the Helm chart", "Helm Chart 작성 대기")
    releases = [name for name, one in (seen.cluster.get("secrets") or {}).items()
                if (one or {}).get("type") == HELM_RELEASE]
    staging = seen.contract.environments.get("staging")
    here = staging is not None and seen.namespace == staging.namespace
    names, where = ", ".join(releases), seen.namespace or "-"
    told = both(f"release {names} in {where}", f"{where} 릴리스: {names}") if releases else both(
        f"no Helm release in {where}", f"{where}에 Helm 릴리스 없음")
    yield condition(both("Deployed to staging by Helm", "Helm으로 staging 배포 성공"),
                    bool(releases) if here and charts else None if charts else False,
                    told if charts else chart, waits if not charts else
                    both("a run of verify.yml with the inventory of staging", "staging 인벤토리로 verify.yml 실행"))
    values = [path for one in charts for path in sorted((repository or Path()).joinpath(one).glob("values-*.y*ml"))]
    lacking = [name for name in seen.contract.environments
               if not any(path.stem == f"values-{name}" for path in values)]
    yield condition(both("values-{env}.yaml apart for each environment", "values-{env}.yaml 분리"),
                    bool(charts) and not lacking, ", ".join(path.name for path in values) or chart,
                    both(f"values-{{{','.join(lacking)}}}.yaml", f"values-{{{','.join(lacking)}}}.yaml")
                    if charts else waits)
    yield condition(both("helm diff is predictable", "helm diff 예측 가능"), None if charts else False, chart,
                    both("a diff that somebody has looked at: nothing here compares it",
                         "helm diff 결과 확인 (자동 확인 대상 아님)") if charts else waits)


def find_charts(repository: Path, depth: int = 5) -> Iterator[Path]:
    """Folders of a repository with a chart, without test material."""
    for folder, names, files in os.walk(repository):
        here = Path(folder).relative_to(repository)
        names[:] = [] if len(here.parts) >= depth else [name for name in names if name not in NOT_OURS]
        if "Chart.yaml" in files:
            yield here
