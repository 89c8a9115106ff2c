"""The frame words of the renderings, English and Korean. The Korean ones are those of seeds 000 (B.2) and 001.

Codes, clause names, layers' ids and the keys of the JSON stay as they are in every language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..classes import dataclass
from ..model import ContractError, Finding, Kind, Layer

LANGUAGES = ("en", "ko")
ALSO = re.compile(r"also (.*) here \((\w+)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Words:
    """What a rendering says by itself, in one language. Fields with ``{}`` are templates for ``str.format``."""

    language: str
    title: str
    contract: str
    verdict: str
    verdicts: Mapping[int, str]
    """By exit status."""
    conditional: str
    """After PASS, when something is waived or fails outside (seed 001: PASS (조건부))."""
    meanings: Mapping[int, str]
    """By exit status, a sentence."""
    hold: str
    nothing: str
    states: Mapping[str, str]
    """How a clause is; by ``view.State``."""
    count: str
    """A number of clauses in a state."""
    to_mend: tuple[str, str]
    """For one finding, for several."""
    outside: str
    exit_status: str
    checked: str
    date: str
    place: str
    layer: str
    area: str
    expected: str
    actual: str
    remedy: str
    related: str
    clause: str
    subject: str
    code: str
    severity: str
    content: str
    item: str
    state: str
    layers: str
    value: str
    owner: str
    reason: str
    expires: str
    waived_by: str
    fact: str
    none: str
    cut: str
    summary: str
    findings: str
    no_findings: str
    clauses: str
    holding: str
    waived: str
    waived_note: str
    external: str
    external_note: str
    facts: str
    kinds: Mapping[Kind, str]
    """What a finding is called that is no violation."""
    layer_names: Mapping[Layer, str]
    items: Mapping[str, str]
    roles: Mapping[str, str]
    role_also: str
    """Of a role that has a value in it."""
    fact_names: Mapping[str, str]
    """Names of facts and of their columns, in the order in which columns are shown; another one keeps its name."""
    yes: str
    no: str
    steps: str
    step_verdicts: Mapping[str, str]
    """By ``chapters.VERDICTS``."""
    gates: str
    gate: str
    gate_states: Mapping[str, str]
    """By ``chapters.STATES``."""
    evidence: str
    missing: str
    condition: str
    first_report: str
    since: str
    new_since: str
    mended_since: str
    unchanged: str
    unseen: str
    changes: str
    new: str
    mended: str
    not_seen: str
    about: str
    """Of a step's findings."""

    def label(self, finding: Finding) -> str:
        """How bad a finding is: a violation's severity, else its kind."""
        return finding.severity.upper() if finding.kind is Kind.VIOLATION else self.kinds[finding.kind]

    def mend(self, layer: Layer) -> str:
        """The layer's id, and in brackets what belongs to it."""
        return f"{layer} ({self.layer_names[layer]})"

    def item_name(self, item: str) -> str:
        """An item of the contract; one that has no word keeps its id."""
        return self.items.get(item, item)

    def role(self, role: str) -> str:
        """What is at a related place."""
        if also := ALSO.fullmatch(role):
            return self.role_also.format(value=also[1], layer=also[2])
        return self.roles.get(role, role)


EN = Words(
    language="en",
    title="Execution contract",
    contract="Contract",
    verdict="Verdict",
    verdicts={0: "PASS", 1: "FAIL", 3: "DRIFT", 4: "UNCHECKED"},
    conditional=" (conditional)",
    meanings={
        0: "The contract holds.",
        1: "The contract is broken.",
        3: "Nothing is broken, but something is there that nobody declared.",
        4: "Nothing is known to be broken, but not everything could be checked.",
    },
    hold="contract {contract}: {holds} of {all} clauses hold",
    nothing="contract {contract}: no clause was compared",
    states={
        "broken": "broken",
        "unchecked": "could not be checked",
        "drift": "drifted",
        "waived": "waived",
        "skipped": "not looked at",
        "holds": "hold",
    },
    count="{count} {state}",
    to_mend=("1 finding to mend", "{count} findings to mend"),
    outside="{count} of no clause",
    exit_status="exit status {status}",
    checked="Checked",
    date="Date",
    place="File to mend",
    layer="Layer to mend",
    area="Area",
    expected="Expected",
    actual="Actual",
    remedy="Remedy",
    related="Related",
    clause="Clause",
    subject="Object",
    code="Code",
    severity="Severity",
    content="Content",
    item="Item",
    state="State",
    layers="Layers looked at",
    value="Value",
    owner="Owner",
    reason="Reason",
    expires="Expires",
    waived_by="waived by {owner} until {expires}: {reason}",
    fact="Fact",
    none="(none)",
    cut="… ({count} characters in all)",
    summary="Critical Findings",
    findings="Findings",
    no_findings="Nothing to mend.",
    clauses="Clauses",
    holding="{count} clauses hold",
    waived="Waived",
    waived_note="Somebody answers for these until they expire; they do not count.",
    external="External failures",
    external_note="Something outside refuses. The contract holds, so these do not count.",
    facts="Facts",
    kinds={Kind.UNCHECKED: "UNCHECKED", Kind.DRIFT: "DRIFT", Kind.EXTERNAL: "EXTERNAL"},
    layer_names={
        Layer.APP: "source code and .env.example",
        Layer.IMAGE: "Dockerfile and what is built from it",
        Layer.CONFIG: "ConfigMaps and Secrets",
        Layer.DEPLOYMENT: "workloads, claims, Services, overlays",
        Layer.CLUSTER: "the cluster",
        Layer.NODE: "the node",
        Layer.EXTERNAL: "nothing of ours",
    },
    items={},
    roles={},
    role_also="also {value} here ({layer})",
    fact_names={
        "fixed": "Contracts that may never change",
        "number": "#",
        "title": "Contract",
        "holds": "Holds",
        "broken": "When it is broken",
    },
    yes="yes",
    no="no",
    steps="Verification of the living system",
    step_verdicts={"pass": "PASS", "fail": "FAIL", "reservations": "PASS with reservations",
                   "unchecked": "NOT CHECKED"},
    gates="Phase gates",
    gate="Phase {phase}: {title}",
    gate_states={"met": "met", "not_yet": "not yet", "unchecked": "not checked"},
    evidence="Evidence",
    missing="Missing",
    condition="To enter the next phase",
    first_report="The first report that is kept of this inventory: there is nothing to compare it with.",
    since="Since {date}",
    new_since="{count} new",
    mended_since="{count} mended",
    unchanged="{count} as before",
    unseen="{count} not looked at again",
    changes="Changes",
    new="new",
    mended="mended",
    not_seen="not looked at again",
    about="Findings",
)

KO = Words(
    language="ko",
    title="실행 계약",
    contract="계약",
    verdict="판정",
    verdicts={0: "PASS", 1: "FAIL", 3: "DRIFT", 4: "확인 불가"},
    conditional=" (조건부)",
    meanings={
        0: "실행 계약을 만족한다.",
        1: "실행 계약 위반이 있다.",
        3: "위반은 없으나 선언되지 않은 것이 있다.",
        4: "확인된 위반은 없으나 확인하지 못한 조항이 있다.",
    },
    hold="계약 {contract}: 조항 {all}개 중 {holds}개 일치",
    nothing="계약 {contract}: 비교한 조항 없음",
    states={
        "broken": "위반",
        "unchecked": "확인 불가",
        "drift": "드리프트",
        "waived": "면제",
        "skipped": "확인 대상 아님",
        "holds": "일치",
    },
    count="{state} {count}",
    to_mend=("조치할 항목 1건", "조치할 항목 {count}건"),
    outside="조항 밖 {count}건",
    exit_status="종료 코드 {status}",
    checked="검증 대상",
    date="검증 일시",
    place="수정 대상 파일",
    layer="수정 계층",
    area="영역",
    expected="기대",
    actual="실제",
    remedy="조치",
    related="관련 위치",
    clause="조항",
    subject="대상",
    code="코드",
    severity="심각도",
    content="내용",
    item="항목",
    state="상태",
    layers="확인한 계층",
    value="값",
    owner="책임자",
    reason="사유",
    expires="만료",
    waived_by="면제: {owner}, {expires}까지, 사유: {reason}",
    fact="항목",
    none="(없음)",
    cut="… (전체 {count}자)",
    summary="Critical Findings 요약",
    findings="상세 내용",
    no_findings="조치할 항목 없음.",
    clauses="계약 항목별 검증",
    holding="일치하는 조항 {count}개",
    waived="면제",
    waived_note="만료일까지 책임자가 있는 항목이며 판정에 포함하지 않는다.",
    external="외부 의존성 실패",
    external_note="외부에서 거부한 것이며 실행 계약 위반이 아니다. 판정에 포함하지 않는다.",
    facts="참고 값",
    kinds={Kind.UNCHECKED: "확인 불가", Kind.DRIFT: "드리프트", Kind.EXTERNAL: "외부"},
    layer_names={
        Layer.APP: "소스 코드, .env.example",
        Layer.IMAGE: "Dockerfile, 빌드된 이미지",
        Layer.CONFIG: "ConfigMap, Secret",
        Layer.DEPLOYMENT: "워크로드, PVC, Service, overlay",
        Layer.CLUSTER: "클러스터",
        Layer.NODE: "노드",
        Layer.EXTERNAL: "외부 의존성",
    },
    items={
        "paths": "경로",
        "environment": "환경 변수",
        "ports": "포트",
        "volumes": "볼륨",
        "permissions": "권한",
        "secrets": "Secret",
        "references": "참조",
        "workloads": "워크로드",
        "images": "이미지",
        "repository": "레포지토리",
        "check": "검증",
        "external": "외부 의존성",
    },
    roles={
        "declared here": "여기에 선언됨",
        "first declared here": "여기서 처음 선언됨",
        "consumed here": "여기서 사용함",
        "consumed there": "저기서 사용함",
        "read here": "여기서 읽음",
        "and here": "여기서도",
        "selected here": "여기서 선택함",
        "looked for here": "여기서 찾음",
        "leads to": "연결 대상",
        "the pods' ports": "Pod의 포트",
        "shared": "공유됨",
        "wins": "우선하는 값",
    },
    role_also="여기도 {value} ({layer})",
    fact_names={
        "fixed": "확정된 불변 실행 계약",
        "number": "#",
        "title": "계약",
        "holds": "일치",
        "broken": "위반 시 영향",
    },
    yes="예",
    no="아니오",
    steps="클러스터 실전 검증 결과",
    step_verdicts={"pass": "PASS", "fail": "FAIL", "reservations": "PASS (조건부)", "unchecked": "확인하지 않음"},
    gates="Phase 진입 조건",
    gate="Phase {phase}: {title}",
    gate_states={"met": "충족", "not_yet": "미충족", "unchecked": "확인하지 않음"},
    evidence="근거",
    missing="필요한 것",
    condition="다음 Phase 진입 조건",
    first_report="이 인벤토리의 첫 보고서이므로 비교할 이전 보고서가 없다.",
    since="{date} 이후",
    new_since="신규 {count}건",
    mended_since="해결 {count}건",
    unchanged="변동 없음 {count}건",
    unseen="재확인하지 않음 {count}건",
    changes="변경 사항",
    new="신규",
    mended="해결",
    not_seen="재확인하지 않음",
    about="관련 항목",
)


def words_of(language: str) -> Words:
    """:raises ContractError: a language that has no words."""
    for words in (EN, KO):
        if words.language == language:
            return words
    raise ContractError(f"There is no report in the language {language!r}.", f"Use one of: {', '.join(LANGUAGES)}.")
