"""Seed 001's verification of a cluster as tables: Steps 1 to 6, the node (2-1, 2-1-1) and the closing summary.

Made of what the collectors saw (``LiveFacts``) and of the findings about it. What was not looked at is never PASS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..model import Finding, Kind
from ..spec import Contract, Folder
from .seen import (
    ENDED,
    ITEM,
    NAME,
    NO_POD,
    NOT_SEEN,
    RESULT,
    STATE,
    Live,
    covering,
    pod_runs,
    ready_count,
    restarts,
    status_of,
)
from .steps_node import of_node
from .steps_of import STEPS, living, step_of
from .wording import (
    WORST,
    Cell,
    Text,
    Verdict,
    age,
    both,
    cells_of,
    chapter,
    few,
    held,
    judged,
    marked,
    moment,
    size,
    table,
)

MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
KIS = re.compile(r"\bKIS\b|\bEGW\d+|koreainvestment", re.IGNORECASE)
ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL|PANIC)\b|^Traceback ")
GOOD = {"PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"}
"""Conditions that have to be True; of others that may be there nobody asks that."""
SHOWN_EVENTS = 15
SHOWN_BODY = 120
RECENT = 600
"""Seconds."""


def chapters(
    contract: Contract, live: Mapping[str, Any], findings: Iterable[Finding], *,
    persistence: Mapping[str, Any] | None = None, last: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """All steps as data, the summary first (seed 001, cluster verification). An app without pages or without a database
    has no Step 3 or 6.

    :param persistence: the result of Step 5, when it was asked for.
    :param last: the result of the last time that it was.
    """
    seen = Live(contract, live)
    about: dict[str, list[Finding]] = {step: [] for step in STEPS}
    for one in findings:
        if living(one):
            about[step_of(one)].append(one)
    made = [step_1(seen, about["step_1"]), step_2(seen, about["step_2"])]
    if contract.app.routes:
        made.append(step_3(seen, about["step_3"]))
    made += [step_4(seen, about["step_4"]), step_5(about["step_5"], persistence, last)]
    if seen.databases:
        made.append(step_6(seen, about["step_6"]))
    made.append(of_node(seen, about["node"]))
    return [summary(seen, made, about), *made]


# --- Step 1 -----------------------------------------------------------------------------------------


def step_1(seen: Live, found: Sequence[Finding]) -> dict[str, Any]:
    """Pods, claims and Secrets."""
    tables = [pod_table(seen), claim_table(seen), secret_table(seen)]
    return chapter("step_1", both("Step 1: Pods / PVCs / Secrets", "Step 1: Pod / PVC / Secret 상태"),
                   judged(cells_of(*tables), found), tables, unanswered(seen), found)


def unanswered(seen: Live) -> list[Text]:
    """Why nothing is known of the cluster."""
    if seen.answers:
        return []
    why = str((seen.cluster.get("api") or {}).get("why") or "it was not asked")
    return [both(f"The cluster did not answer: {why}.", f"클러스터 응답 없음: {why}.")]


def pod_table(seen: Live) -> dict[str, Any]:
    """The pods as ``kubectl get pods -o wide`` has them; a workload of the contract without pods has a row, too."""
    rows: list[list[Cell]] = []
    for pod in sorted(seen.pods(), key=lambda one: str(one.get("name"))):
        # One that was evicted stays as a witness, and another one runs in its place.
        state = marked(Verdict.RESERVED, status_of(pod)) if pod.get("phase") == "Failed" else held(
            pod_runs(pod), status_of(pod))
        rows.append([str(pod.get("name")), ready_count(pod), state,
                     str(restarts(pod)), age(seen.since(pod.get("created"))), str(pod.get("ip") or "-")])
    for workload in seen.contract.workloads.values():
        missing = (workload.replicas if workload.replicas is not None else 1) - len(seen.staying(workload.name))
        if missing > 0:
            rows.append([f"{workload.kind}/{workload.name}", f"0/{missing}",
                         held(False if seen.answers else None, NO_POD if seen.answers else NOT_SEEN),
                         "-", "-", "-"])
    return table("Pods", ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"], rows)


def claims_of(contract: Contract) -> list[str]:
    """Names of the contract's claims."""
    return [one.name for one in contract.resources.values() if one.type == "claim"]


def claim_table(seen: Live) -> dict[str, Any]:
    """The contract's claims, and others that are there."""
    known = {str(one.get("name")): one for one in seen.listed("claims")
             if one.get("namespace", seen.namespace) == seen.namespace}
    rows: list[list[Cell]] = []
    for name in [*claims_of(seen.contract), *sorted(set(known) - set(claims_of(seen.contract)))]:
        one = known.get(name)
        if one is None:
            state = held(False, both("missing", "없음")) if seen.answers else held(None, NOT_SEEN)
            rows.append([name, "-", "-", "-", state])
            continue
        modes = ",".join(MODES.get(mode, mode) for mode in one.get("access_modes") or ())
        rows.append([name, size(one.get("requested")), modes, str(one.get("class") or "-"),
                     held(one.get("phase") == "Bound", str(one.get("phase")))])
    return table("PVC", [NAME, both("Size", "용량"), "AccessMode", "StorageClass", STATE], rows)


def secret_table(seen: Live) -> dict[str, Any]:
    """The Secrets with the names of their keys, never a value."""
    known: Mapping[str, Any] = seen.cluster.get("secrets") or {}
    rows: list[list[Cell]] = []
    for name in [*seen.contract.secrets, *sorted(set(known) - set(seen.contract.secrets))]:
        one = known.get(name)
        wanted = seen.contract.secrets.get(name)
        if one is None:
            rows.append([name, "-", "-", "-", "-",
                         held(False, both("missing", "없음")) if seen.answers else held(None, NOT_SEEN)])
            continue
        keys = sorted(map(str, one.get("keys") or ()))
        lacking = [key for key in wanted.required if key not in keys] if wanted else []
        state: Cell = "-" if wanted is None else held(
            not lacking, both(f"lacks {', '.join(lacking)}", f"누락: {', '.join(lacking)}") if lacking
            else str(one.get("owner") or both("made by hand", "수동 생성")) if one.get("owner")
            else both("made by hand", "수동 생성"))
        rows.append([name, str(one.get("type") or "-"), str(len(keys)), ", ".join(keys),
                     age(seen.since(one.get("created"))), state])
    return table("Secrets", [NAME, both("Type", "종류"), both("Keys", "키 수"),
                             both("Names of keys", "키 이름"), "AGE", STATE], rows)


# --- Step 2 -----------------------------------------------------------------------------------------


def step_2(seen: Live, found: Sequence[Finding]) -> dict[str, Any]:
    """Conditions, containers, events and errors in the logs; those of the KIS API are outside (seed 001)."""
    conditions: list[list[Cell]] = []
    of_containers: list[list[Cell]] = []
    logs: list[list[Cell]] = []
    known = {container.name for _, container in seen.contract.containers()}
    for pod in seen.pods():
        name = str(pod.get("name"))
        stated = {kind: str((one or {}).get("status")) for kind, one in (pod.get("conditions") or {}).items()}
        over = bool(pod.get("deleted")) or pod.get("phase") in ENDED
        bad = any(status != "True" for kind, status in stated.items() if kind in GOOD) and not over
        conditions.append([name, held(not bad if stated else None,
                                      ", ".join(f"{kind}={status}" for kind, status in stated.items()) or NOT_SEEN)])
        for one in pod.get("containers") or ():
            last = one.get("last") or {}
            ended = " ".join(str(part) for part in (last.get("reason"), last.get("exit_code"), moment(
                last["finished"]) if last.get("finished") else None) if part not in (None, ""))
            done = bool(one.get("init")) and one.get("state") == "terminated" and one.get("exit_code") == 0
            of_containers.append([name, str(one.get("name")), held(
                one.get("state") == "running" or done or over,
                str(one.get("state")) + (f": {one['reason']}" if one.get("reason") else "")),
                age(seen.since(one.get("started"))), ended or "-", str(one.get("image") or "-")])
            if (one.get("name") in known and not over) or one.get("log"):
                logs.append([name, str(one.get("name")), *log_cells(log_of(one))])
    events = event_table(seen)
    tables = [
        table(both("Conditions", "Conditions"), ["Pod", both("Conditions", "상태 조건")], conditions),
        table(both("Containers", "컨테이너"), ["Pod", both("Container", "컨테이너"), STATE,
                                         both("Runs for", "가동 시간"), both("Ended before", "이전 종료"),
                                         both("Image", "이미지")], of_containers),
        events,
        table(both("Errors in the logs", "에러 로그"),
              ["Pod", both("Container", "컨테이너"), both("Lines read", "읽은 줄"), both("Own errors", "에러"),
               both("KIS API (outside)", "KIS API (외부)")], logs),
    ]
    notes = unanswered(seen)
    if seen.answers and not events["rows"]:
        notes.append(both("Warnings of the last hour: none.", "최근 1시간 Warning 이벤트: 없음."))
    verdict = judged(cells_of(*tables), found)
    return chapter("step_2", both("Step 2: pods in detail, and logs", "Step 2: Pod 상세 상태 및 로그"), verdict, tables,
                   notes, found)


def log_cells(lines: Sequence[str] | None) -> list[Cell]:
    """How many lines of a log were read, its errors, and those of the KIS API."""
    if lines is None:
        return [held(None, NOT_SEEN), "-", "-"]
    own, outside, read = errors(lines)
    return [str(read), marked(Verdict.RESERVED if own else Verdict.PASS, str(own)),
            marked(Verdict.RESERVED if outside else Verdict.PASS, str(outside))]


def log_of(container: Mapping[str, Any]) -> Sequence[str] | None:
    """The lines of a container's log that were read, maybe none; None when it was not read."""
    lines: Sequence[str] = container.get("log") or ()
    return lines if lines or container.get("log_read") else None


def errors(lines: Sequence[str] | None) -> tuple[int, int, int]:
    """Errors of a log: own ones, those of the KIS API, and how many lines were read."""
    own = outside = 0
    for line in lines or ():
        if not is_error(line):
            continue
        if KIS.search(line):
            outside += 1
        else:
            own += 1
    return own, outside, len(lines or ())


def is_error(line: str) -> bool:
    """Whether a line of a log, as text or JSON, is an error."""
    try:
        body = json.loads(line) if line.startswith("{") else None
    except ValueError:
        body = None
    if isinstance(body, dict) and (level := body.get("level") or body.get("levelname") or body.get("severity")):
        return str(level).upper() in {"ERROR", "CRITICAL", "FATAL", "PANIC"}
    return bool(ERROR.search(line))


def event_table(seen: Live) -> dict[str, Any]:
    """What the cluster warned of within the hour, the latest first; of all else it is told how much there was."""
    warnings = [one for one in seen.listed("events") if one.get("type") == "Warning"]
    warnings.sort(key=lambda one: (not lasting(seen, one), -(one.get("last") or 0)))
    rows: list[list[Cell]] = [[
        f"{one.get('kind')}/{one.get('name')}",
        marked(Verdict.RESERVED, str(one.get("reason"))) if lasting(seen, one) else str(one.get("reason") or ""),
        str(one.get("message") or ""), str(one.get("count") or 1), age(seen.since(one.get("last")))]
        for one in warnings[:SHOWN_EVENTS]]
    others = len(seen.listed("events")) - len(rows)
    title = both("Warnings of the last hour" + (f" (and {others} other events)" if others else ""),
                 "최근 1시간 Warning 이벤트" + (f" (그 외 이벤트 {others}건)" if others else ""))
    return table(title, [both("Object", "대상"), both("Reason", "사유"), both("Message", "내용"), both("Times", "횟수"),
                         both("Ago", "경과")], rows)


def lasting(seen: Live, event: Mapping[str, Any]) -> bool:
    """Whether a warning may still be true: not when the pod has become ready since, and else for ten minutes."""
    last = event.get("last") or 0
    for pod in seen.listed("pods"):
        if event.get("kind") == "Pod" and pod.get("name") == event.get("name"):
            ready = (pod.get("conditions") or {}).get("Ready") or {}
            return not (pod.get("ready") and last <= (ready.get("since") or 0))
    return event.get("namespace") in (seen.namespace, "", None) and (seen.since(last) or 0) < RECENT


# --- Step 3 -----------------------------------------------------------------------------------------


def step_3(seen: Live, found: Sequence[Finding]) -> dict[str, Any]:
    """Health from inside the pods, and through the Service."""
    workload, container = seen.app
    routes = seen.contract.app.routes
    rows: list[list[Cell]] = []
    for pod, inside in seen.inside(workload, container):
        said = (inside.get("inside") or {}).get("http") or {}
        rows += [http_row(both(f"inside {pod.get('name')}", f"Pod 내부 {pod.get('name')}"), route, said.get(route))
                 for route in routes]
    if not rows:
        rows += [http_row(both("inside the pod", "Pod 내부"), route, None) for route in routes]
    through = seen.cluster.get("http") or {}
    rows += [http_row("Service", route, through.get(route)) for route in routes]
    tables = [table("Health", [both("From", "위치"), both("Page", "경로"), both("Status", "응답 코드"),
                               both("Answer", "응답"), both("Seconds", "초")], rows)]
    return chapter("step_3", both("Step 3: health", "Step 3: Health Check 실전 검증"),
                   judged(cells_of(*tables), found), tables, (), found)


def http_row(place: Text, route: str, said: Mapping[str, Any] | None) -> list[Cell]:
    if not said:
        return [place, route, held(None, NOT_SEEN), "-", "-"]
    status, seconds = said.get("status"), said.get("seconds")
    text = str(said.get("why") or "") if status is None else str(said.get("body") or "")
    return [place, route, held(status == 200, str(status) if status is not None else both("no answer", "응답 없음")),
            text if len(text) <= SHOWN_BODY else f"{text[:SHOWN_BODY]}…", "-" if seconds is None else f"{seconds:.3f}"]


# --- Step 4 -----------------------------------------------------------------------------------------


def step_4(seen: Live, found: Sequence[Finding]) -> dict[str, Any]:
    """Mounts and writes at every path of the contract, and refusal everywhere else."""
    workload, container = seen.app
    mounts: list[list[Cell]] = []
    refusals: list[list[Cell]] = []
    who: list[list[Cell]] = []
    asked = seen.contract.app_container.permissions
    for pod, inside in seen.inside(workload, container) or [({}, {})]:
        name = str(pod.get("name") or seen.app[0])
        probe = inside.get("inside") or {}
        mounts += [mount_row(seen, name, folder, inside, probe) for folder in seen.contract.paths.values()
                   if not folder.optional]
        for path, one in sorted((probe.get("refusals") or {}).items()):
            refused = one or {}
            refusals.append([path, held(refused.get("refused"), str(refused.get("why") or "")), name])
        if not probe.get("refusals"):
            refusals.append([both("outside of the volumes", "볼륨 밖의 경로"), held(None, NOT_SEEN), name])
        if inside:
            who.append([name, ":".join(str(one[1] if len(one) > 1 else one[0]) for one in
                                       (inside.get("uids") or [None], inside.get("gids") or [None])),
                        ", ".join(map(str, inside.get("groups") or ())) or "-",
                        wanted(asked.get("readOnlyRootFilesystem"), inside.get("root_read_only"),
                               "readOnlyRootFilesystem", both("root is writable", "루트 파일시스템 쓰기 가능")),
                        wanted(asked.get("allowPrivilegeEscalation") is False, inside.get("no_new_privs"),
                               "no_new_privs", both("may gain privileges", "권한 상승 가능"))])
    for database, mine in seen.contract.workloads.items():
        if database != workload:
            for target, mount in next(iter(mine.containers.values())).volumes.items():
                if seen.contract.resources[mount.source].type == "claim":
                    mounts += [other_mount(seen, pod, target, mount.source, inside)
                               for pod, inside in seen.inside(database, next(iter(mine.containers)))]
    tables = [
        table(both("Mounts and writes", "볼륨 마운트 및 쓰기"),
              [both("Path", "경로"), both("Mount", "마운트"), both("Mode", "모드"), both("Write", "쓰기"),
               both("Owner", "소유자"), "Pod"], mounts),
        table(both("Writes that have to be refused", "거부되어야 하는 쓰기"),
              [both("Path", "경로"), both("Refused", "거부"), "Pod"], refusals),
        table(both("Who it runs as", "실행 사용자"), ["Pod", "uid:gid", both("Groups", "그룹"), both("Root", "루트"),
                                               both("Privileges", "권한 상승 차단")], who),
    ]
    return chapter("step_4", both("Step 4: mounts and writes", "Step 4: 볼륨 마운트 및 쓰기 검증"),
                   judged(cells_of(*tables), found), tables, (), found)


def wanted(asked: object, holds: bool | None, well: Text, otherwise: Text) -> Cell:
    """A cell for what the contract asks for; when it does not, only how it is."""
    told = NOT_SEEN if holds is None else well if holds else otherwise
    return held(holds, told) if asked else told


def mount_row(
    seen: Live, pod: str, folder: Folder, inside: Mapping[str, Any], probe: Mapping[str, Any]
) -> list[Cell]:
    target, source = covering(seen.contract, folder.path)
    mount = next((one for one in inside.get("mounts") or () if one.get("target") == target), None)
    written = (probe.get("writes") or {}).get(folder.path)
    only_read = target != "" and seen.contract.app_container.volumes[target].read_only
    mode = held(None, NOT_SEEN) if not inside else held(False, both("not mounted", "마운트 없음")) if mount is None \
        else held(bool(mount.get("read_only")) == only_read, "ro" if mount.get("read_only") else "rw")
    write: Cell = "-" if only_read else held(None, NOT_SEEN) if not written else held(
        bool(written.get("ok")), str(written.get("why") or "ok"))
    return [folder.path, source, mode, write, owner_of(seen, source) if source else "-", pod]


def other_mount(seen: Live, pod: Mapping[str, Any], target: str, source: str, inside: Mapping[str, Any]) -> list[Cell]:
    """A claim of another workload: mounted, and nothing is written there."""
    mount = next((one for one in inside.get("mounts") or () if one.get("target") == target), None)
    mode = held(None, NOT_SEEN) if not inside else held(mount is not None and not mount.get("read_only"),
                                                        "rw" if mount else both("not mounted", "마운트 없음"))
    return [target, source, mode, "-", owner_of(seen, source), str(pod.get("name"))]


def owner_of(seen: Live, source: str) -> str:
    """Owner and mode of what is behind a volume, on the node."""
    resource = seen.contract.resources[source]
    one: Mapping[str, Any] | None = None
    if resource.type == "claim":
        volume = seen.volume_of(source)
        one = seen.node_volume(volume) if volume else None
    elif resource.type == "hostPath":
        one = next((node["folders"][path] for node in seen.nodes.values()
                    if (path := resource.params.get("path")) in (node.get("folders") or {})), None)
    if not one or one.get("uid") is None:
        return "-"
    return f"{one['uid']}:{one['gid']} {one.get('mode') or ''}".strip()


# --- Step 5 -----------------------------------------------------------------------------------------


def step_5(
    found: Sequence[Finding], result: Mapping[str, Any] | None, last: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What was there before and after the pods were deleted; not asked for, the date of the last time it was."""
    title = both("Step 5: data survives the pods", "Step 5: 데이터 영속성 검증 (Pod 삭제 -> 재생성)")
    notes: list[Text] = []
    if result is None:
        notes.append(both("The pods were not deleted this time; ask for it by name.",
                          "이번에는 Pod를 삭제하지 않았다. 명시적으로 요청해야 실행한다."))
    if result is None or not result.get("deleted"):
        if last:
            well = persisted(last)
            notes.append(both(
                f"The last time, on {moment(last.get('date'))}: {'nothing was lost' if well else 'it failed'}.",
                f"마지막 실행 {moment(last.get('date'))}: {'데이터 손실 없음' if well else '실패'}."))
        else:
            notes.append(both("It was never asked for from here.", "여기서 실행한 기록이 없다."))
    if result is None:
        return chapter("step_5", title, judged([held(None)], found), [], notes, found)
    rows: list[list[Cell]] = [[both("When", "실행 일시"), moment(result.get("date"))]]
    if why := result.get("why"):
        rows.append([RESULT, held(None, str(why))])
    rows.append([both("Deleted pods", "삭제한 Pod"), ", ".join(map(str, result.get("deleted") or ())) or "-"])
    if result.get("started"):
        rows.append([both("New pods", "재생성된 Pod"), ", ".join(map(str, result["started"]))])
    if result.get("seconds") is not None:
        rows.append([both("Ready again after", "복구 시간"),
                     both(f"{result['seconds']} s", f"{result['seconds']}초")])
    if "lost" in result:
        rows.append([both("Files before / after", "파일 수 (전 / 후)"),
                     f"{result.get('files_before')} / {result.get('files_after')}"])
        before, after = (total(result.get(key)) for key in ("rows_before", "rows_after"))
        rows.append([both("Rows before / after", "DB 행 수 (전 / 후)"),
                     held(None if before is None or after is None else after >= before, f"{before} / {after}")])
        lost = list(map(str, result.get("lost") or ()))
        rows.append([both("Lost", "손실"),
                     held(not lost, few(lost, result.get("lost_count")) if lost else both("nothing", "없음"))])
    if failed := result.get("failed"):
        rows.append([both("Did not come back", "복구되지 않음"), held(False, few(failed))])
    if unread := result.get("unread"):
        rows.append([both("Not compared", "비교하지 못함"), held(None, few(unread))])
    if rewritten := result.get("rewritten"):
        rows.append([both("Written anew or taken away", "재작성 또는 제거됨"),
                     marked(Verdict.RESERVED, few(rewritten, result.get("rewritten_count")))])
    for page, said in (result.get("health") or {}).items():
        rows.append([both(f"{page} afterwards", f"{page} 재확인"), held(True, str(said)[:SHOWN_BODY])])
    tables = [table(both("Deleted and made again", "Pod 삭제 -> 재생성"), [ITEM, RESULT], rows)]
    return chapter("step_5", title, judged(cells_of(*tables), found), tables, notes, found)


def total(rows: object) -> int | None:
    """Rows of a database: of all tables, when they are told by table."""
    if isinstance(rows, Mapping):
        return sum(int(count) for count in rows.values() if count is not None)
    return int(rows) if isinstance(rows, int) else None


def persisted(result: Mapping[str, Any]) -> bool:
    """Whether nothing was lost in a Step 5, and all was compared."""
    before, after = total(result.get("rows_before")), total(result.get("rows_after"))
    bad = any(result.get(name) for name in ("why", "lost", "failed", "unread"))
    return not bad and bool(result.get("deleted")) and (before is None or (after is not None and after >= before))


# --- Step 6 -----------------------------------------------------------------------------------------


def step_6(seen: Live, found: Sequence[Finding]) -> dict[str, Any]:
    """PostgreSQL: its pod, its answers, its log."""
    rows: list[list[Cell]] = []
    for workload, container in seen.databases:
        pods = seen.inside(workload, container)
        if not pods:
            rows.append([workload, held(False if seen.answers else None, NO_POD), *["-"] * 5])
        for pod, inside in pods:
            said = (inside.get("inside") or {}).get("postgres") or {}
            log = next((log_of(one) for one in pod.get("containers") or () if one.get("name") == container), None)
            own, _, read = errors(log)
            answer = held(None, NOT_SEEN) if not said else held(
                bool(said.get("ready")), str(said.get("version") or said.get("why") or ""))
            rows.append([
                str(pod.get("name")), held(pod_runs(pod), f"{ready_count(pod)} {status_of(pod)}"), str(restarts(pod)),
                age(seen.since(pod.get("created"))), answer, size(said.get("size_bytes")),
                held(None, NOT_SEEN) if log is None else marked(
                    Verdict.RESERVED if own else Verdict.PASS, both(f"{own} in {read} lines", f"{read}줄 중 {own}건"))])
    workload, container = seen.app
    reach: list[list[Cell]] = []
    for pod, inside in seen.inside(workload, container):
        for target, one in ((inside.get("inside") or {}).get("connects") or {}).items():
            reach.append([str(pod.get("name")), target, held(bool(one.get("ok")), str(one.get("why") or "ok")) if one
                          else held(None, NOT_SEEN)])
    tables = [
        table("PostgreSQL", ["Pod", STATE, "RESTARTS", "AGE", both("Answers", "응답"), both("Size", "크기"),
                             both("Errors", "에러 로그")], rows),
        table(both("Reached from the app", "앱에서의 연결"), ["Pod", both("Address", "주소"), both("Reached", "연결")],
              reach),
    ]
    return chapter("step_6", both("Step 6: PostgreSQL", "Step 6: PostgreSQL 상태"), judged(cells_of(*tables), found),
                   tables, (), found)


# --- the summary ------------------------------------------------------------------------------------


def summary(
    seen: Live, made: Sequence[Mapping[str, Any]], about: Mapping[str, Sequence[Finding]]
) -> dict[str, Any]:
    """Seed 001's closing table."""
    by_name = {str(one["id"]): Verdict(one["verdict"]) for one in made}
    workloads = {name: [pod for pod in seen.staying(name) if pod_runs(pod)] for name in seen.contract.workloads}
    pods = judged(cells_of(pod_table(seen)), ())
    claims = judged(cells_of(claim_table(seen)), ())
    read_only, written = (judged((row[column] for one in made if one["id"] == "step_4"
                                  for part in one["tables"][index:index + 1] for row in part["rows"]), ())
                          for index, column in ((1, 1), (0, 3)))
    step_5_notes = next(one for one in made if one["id"] == "step_5")
    rows: list[list[Cell]] = [
        ["Pod Running + READY", shown(pods),
         both(", ".join(f"{len(of)} {name}" for name, of in workloads.items()),
              " + ".join(f"{name} {len(of)}개" for name, of in workloads.items()))],
        [both(f"{len(claims_of(seen.contract))} PVCs Bound", f"PVC {len(claims_of(seen.contract))}개 Bound"),
         shown(claims), str((seen.contract.cluster.get("storageClass") or {}).get("name") or "")],
    ]
    secrets = {str(row[0]): row for row in secret_table(seen)["rows"]}
    for name in seen.contract.secrets:
        row = secrets[name]
        rows.append([both(f"Secret {name}", f"{name} 존재"), shown(judged(row, ())),
                     both(f"{row[2]} key{'' if row[2] == '1' else 's'}", f"키 {row[2]}개") if row[2] != "-" else ""])
    why = {str(one["id"]): first_reason(one) for one in made}
    if "step_3" in by_name:
        rows.append(["Health Check 200 OK", shown(by_name["step_3"]), why["step_3"]])
    rows += [
        [both("readOnlyRootFilesystem holds", "readOnlyRootFilesystem 호환"), shown(read_only), ""],
        [both("Volumes can be written", "볼륨 쓰기 가능"), shown(written),
         why["step_4"] if written is not Verdict.PASS else ""],
        [both("Data survives the pods", "데이터 영속성 (Pod 재생성)"), shown(by_name["step_5"]),
         step_5_notes["notes"][-1] if step_5_notes["notes"] else ""],
    ]
    if "step_6" in by_name:
        rows.append([both("PostgreSQL is stable", "PostgreSQL 안정성"), shown(by_name["step_6"]), why["step_6"]])
    rows += [
        [both("Node", "server (K3s 노드)"), shown(by_name["node"]), why["node"]],
        [both("KIS API collects (outside)", "KIS API 수집 기능 (외부)"), *collecting(seen, about["step_2"])],
    ]
    counted = [one for one in by_name.values()]
    worst = next((one for one in (Verdict.FAIL, Verdict.UNCHECKED, Verdict.RESERVED) if one in counted), Verdict.PASS)
    # Step 5 disturbs and is asked for by name, so that it was not is no doubt about the rest.
    if worst is Verdict.UNCHECKED and [name for name, one in by_name.items() if one is worst] == ["step_5"]:
        worst = Verdict.RESERVED
    rows.sort(key=lambda row: list(Verdict).index(Verdict(row[1]["verdict"])) if isinstance(row[1], dict) else 9)
    return chapter("summary", both("Summary", "클러스터 검증 종합"), worst,
                   [table("", [ITEM, RESULT, both("Remark", "비고")], rows)])


def first_reason(made: Mapping[str, Any]) -> Text:
    """The first of what keeps a step from PASS: the row of a table, and what it says."""
    for verdict in WORST[:-1]:
        for part in made["tables"]:
            for row in part["rows"]:
                for one in row:
                    if isinstance(one, dict) and one.get("verdict") == verdict:
                        what, how = ([plain(part, language) for language in ("en", "ko")] for part in (row[0], one))
                        return both(f"{what[0]}: {how[0]}", f"{what[1]}: {how[1]}")
    return ""


def plain(value: Cell, language: str) -> str:
    """The text of a cell in a language."""
    while isinstance(value, dict):
        value = value.get("text", "") if "verdict" in value else value.get(language, "")
    return str(value)


def shown(verdict: Verdict) -> Cell:
    """A verdict alone in a cell; its word is the rendering's."""
    return marked(verdict)


def collecting(seen: Live, found: Sequence[Finding]) -> tuple[Cell, Text]:
    """Whether data arrives from outside: what the KIS API refuses is not ours (seed 001)."""
    outside = [one for one in found if one.kind is Kind.EXTERNAL]
    newest = (seen.cluster.get("jsonl") or {}).get("newest")
    if outside:
        return marked(Verdict.RESERVED), outside[0].actual
    if newest is None:
        return marked(Verdict.UNCHECKED), NOT_SEEN
    when = age(seen.since(newest))
    if (seen.since(newest) or 0) > 900:
        return marked(Verdict.UNCHECKED), both(f"newest JSONL {when} ago; the market may be closed",
                                               f"최근 JSONL {when} 전 (장 마감 시간일 수 있음)")
    return marked(Verdict.PASS), both(f"newest JSONL {when} ago", f"최근 JSONL {when} 전")
