"""Seed 001's step 5, where no cluster is needed: what counts as lost, and what is said of it."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.codes import sentence
from contract.living.persistence import check_persistence, request
from contract.model import Finding, Kind
from contract.spec import load_contract
from living import persistence as step

ROOT = Path(__file__).resolve().parents[2]


def appended(name: str) -> bool:
    return name.endswith((".jsonl", ".log"))


def listed(top: Path) -> dict[str, step.File]:
    unread: list[str] = []
    found = step.listing(str(top), unread, "data")
    assert unread == []
    return found


def compared(before: dict[str, step.File], top: Path) -> tuple[list[str], list[str]]:
    unread: list[str] = []
    found = step.compared(before, str(top), appended, unread, "data")
    assert unread == []
    return found


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name, text in (("scalp/a.jsonl", "1\n2\n"), ("cache/token.json", "{}"), ("empty", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_grew_is_not_lost(top: Path) -> None:
    before = listed(top)
    assert set(before) == {"scalp/a.jsonl", "cache/token.json", "empty"}
    with (top / "scalp/a.jsonl").open("a") as file:
        file.write("3\n")
    (top / "new").write_text("x")
    assert compared(before, top) == ([], [])


@pytest.mark.parametrize(("damage", "said"), [
    (lambda top: (top / "scalp/a.jsonl").unlink(), "data/scalp/a.jsonl: gone"),
    (lambda top: (top / "scalp/a.jsonl").write_text("1\n"), "data/scalp/a.jsonl: shorter"),
    (lambda top: (top / "scalp/a.jsonl").write_text("1\n9\n3\n"), "data/scalp/a.jsonl: changed"),
    (lambda top: (top / "cache/token.json").write_text(""), "data/cache/token.json: empty"),
])
def test_what_is_lost(top: Path, damage: Callable[[Path], None], said: str) -> None:
    before = listed(top)
    damage(top)
    assert compared(before, top) == ([said], [])


def test_what_is_written_anew_is_told_of(top: Path) -> None:
    before = listed(top)
    (top / "cache/token.json").write_text('{"a": 1}')
    assert compared(before, top) == ([], ["data/cache/token.json: changed"])


def test_a_shorter_file_is_told_of_with_its_sizes(top: Path) -> None:
    (top / "prices.csv").write_text("x" * 100)
    before = listed(top)
    (top / "prices.csv").write_text("x" * 40)
    assert compared(before, top) == ([], ["data/prices.csv: 40 bytes, 100 before"])


def test_rotated_logs_are_not_lost(tmp_path: Path) -> None:
    for name in ("app.log", "app.log.1", "app.log.2.gz", "copied.log", "packed.log"):
        (tmp_path / name).write_text(f"{name}\n" * 9)
    (tmp_path / "copied.log").chmod(0o644)
    before = listed(tmp_path)
    (tmp_path / "app.log.2.gz").unlink()  # the oldest, which nobody keeps
    (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    (tmp_path / "app.log").write_text("a new one\n")
    (tmp_path / "copied-2026-11-21.log").write_text((tmp_path / "copied.log").read_text() + "more\n")
    (tmp_path / "copied.log").write_text("")
    with gzip.open(tmp_path / "packed.log.1.gz", "wt") as file:
        file.write((tmp_path / "packed.log").read_text())
    (tmp_path / "packed.log").unlink()
    assert compared(before, tmp_path) == ([], ["data/app.log.2.gz: gone"])


def test_a_rotated_log_that_is_not_all_there_is_lost(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("1\n2\n3\n")
    (tmp_path / "app.log.1").write_text("0\n")
    before = listed(tmp_path)
    (tmp_path / "app.log.1").unlink()
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    (tmp_path / "app.log.1").write_text("1\n2\n")
    (tmp_path / "app.log").write_text("")
    assert compared(before, tmp_path) == (["data/app.log: shorter"], ["data/app.log.1: changed"])


def test_what_is_made_for_a_while_may_vanish(tmp_path: Path) -> None:
    for name in ("app.pid", "cache/x.lock", "download.tmp", "touched", "kept.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "touched" else "1")
    before = listed(tmp_path)
    for name in before:
        (tmp_path / name).unlink()
    lost, rewritten = compared(before, tmp_path)
    assert lost == ["data/kept.db: gone"]
    assert sorted(rewritten) == [f"data/{name}: gone" for name in ("app.pid", "cache/x.lock", "download.tmp",
                                                                   "touched")]


def test_what_stands_in_a_file_s_place_is_not_waited_for(top: Path) -> None:
    before = listed(top)
    (top / "scalp/a.jsonl").unlink()
    os.mkfifo(top / "scalp/a.jsonl")
    (top / "cache/token.json").unlink()
    (top / "cache/token.json").symlink_to("/dev/zero")
    assert sorted(compared(before, top)[0]) == ["data/cache/token.json: gone", "data/scalp/a.jsonl: gone"]


def test_what_cannot_be_read_is_told_and_ends_nothing(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = step.digest
    before = listed(top)

    def broken(path: str, size: int) -> str:
        if path.endswith("a.jsonl"):
            raise OSError(errno.EIO, "Input/output error")
        return read(path, size)

    monkeypatch.setattr(step, "digest", broken)
    unread: list[str] = []
    assert step.compared(before, str(top), appended, unread, "data") == ([], [])
    assert set(step.listing(str(top), unread, "data")) == {"cache/token.json", "empty"}
    assert unread == ["data/scalp/a.jsonl: Input/output error"] * 2


def test_both_ends_of_a_long_file_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "HASHED", 10)
    file = tmp_path / "a.jsonl"
    file.write_text("x" * 50)
    before = listed(tmp_path)
    for place in (3, 45):
        file.write_text("x" * place + "y" + "x" * (49 - place))
        assert compared(before, tmp_path)[0] == ["data/a.jsonl: changed"]
    file.write_text("x" * 60)
    assert compared(before, tmp_path) == ([], [])


def pod(name: str, owner: str, ready: str = "True") -> dict[str, Any]:
    kind, _, of = owner.partition("/")
    return {"metadata": {"name": name, "uid": name, "ownerReferences": [{"kind": kind, "name": of}]},
            "spec": {}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_pods_belong_to_their_workload() -> None:
    assert step.owned(pod("observer-5d8f7c6b4-x2x7q", "ReplicaSet/observer-5d8f7c6b4"), "Deployment/observer")
    assert step.owned(pod("postgres-0", "StatefulSet/postgres"), "StatefulSet/postgres")
    assert not step.owned(pod("observer-api-5d8f7c6b4-x2x7q", "ReplicaSet/observer-api-5d8f7c6b4"),
                          "Deployment/observer")


SECRET = {"metadata": {"name": "observer-secrets"}, "data": {
    key: base64.b64encode(value.encode()).decode() for key, value in (("DB_PASSWORD", "canary-7f2e9"),
                                                                      ("POSTGRES_USER", "observer"))}}


class Answers:
    """Stands for the program kubectl: answers from what it is given - by the object's kind, ``raw``, ``exec`` or
    ``delete``, and with ``_after`` from the deletion on; of a list one answer after the other - and keeps what it is
    asked to do."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = {"secrets": pods(SECRET), **known}
        self.asked: list[str] = []

    def __call__(self, argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        words = argv[4:]
        kind = words[0] if words[0] != "get" else "raw" if words[1] == "--raw" else words[1]
        self.asked.append(" ".join(words))
        if any(one.startswith("delete") for one in self.asked) and f"{kind}_after" in self.known:
            kind += "_after"
        answer = self.known.get(kind, pods())
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if "fails" in answer:
            return subprocess.CompletedProcess(argv, 1, "", f"a warning\n{answer['fails']}\n")
        return subprocess.CompletedProcess(argv, 0, answer if isinstance(answer, str) else json.dumps(answer), "")


Made = Callable[..., Answers]


@pytest.fixture
def kubectl(monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr(step, "LOAD_SECONDS", 0.01)
    monkeypatch.setattr(step, "POLL", 0.01)

    def made(**known: Any) -> Answers:  # noqa: ANN401
        answers = Answers(known)
        monkeypatch.setattr(subprocess, "run", answers)
        return answers

    return made


def pods(*some: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(some)}


def volume(top: Path) -> dict[str, Any]:
    """A claim ``data`` whose folder is ``top``."""
    return {"persistentvolumes": {"items": [{"metadata": {"name": "pv"}, "spec": {"local": {"path": str(top)}}}]},
            "pvc": {"items": [{"metadata": {"name": "data"}, "spec": {"volumeName": "pv"}}]}}


OLD = pods(pod("observer-1-a", "ReplicaSet/observer-1"), pod("postgres-0", "StatefulSet/postgres"))
NEW = pods(pod("observer-1-b", "ReplicaSet/observer-1"), {
    **pod("postgres-0", "StatefulSet/postgres"), "metadata": {
        **pod("postgres-0", "StatefulSet/postgres")["metadata"], "uid": "another"}})
ASK: dict[str, Any] = {
    "namespace": "ns", "workloads": ["Deployment/observer", "StatefulSet/postgres"], "claims": ["data"],
    "database": "StatefulSet/postgres", "service": "observer:8000", "pages": ["/ready"], "timeout": 5}
COUNTED = "public.ticks -\npublic.ticks 12\n"


def test_nothing_is_lost(kubectl: Made, top: Path) -> None:
    kubectl(pods=OLD, pods_after=NEW, exec=COUNTED, raw='{"user": "canary-7f2e9"}', **volume(top))
    result = step.persistence(**ASK)
    assert (result["lost"], result["rewritten"], result["failed"], result["unread"]) == ([], [], [], [])
    assert (result["deleted"], result["started"]) == (["observer-1-a", "postgres-0"], ["observer-1-b", "postgres-0"])
    assert result["rows_before"] == result["rows_after"] == {"public.ticks": 12}
    # What a page says is no place for a secret, either.
    assert result["health"] == {"/ready": '{"user": "***"}'} and result["seconds"] is not None
    assert findings(result) == []


@pytest.mark.parametrize(("broken", "codes", "said"), [
    ({"raw": {"fails": "no endpoints available for canary-7f2e9"}}, {"PERSIST-01", "PERSIST-02"},
     "/ready does not answer: kubectl get: no endpoints available for ***"),
    ({"exec_after": {"fails": "psql: the database canary-7f2e9 is not there"}}, {"PERSIST-01", "PERSIST-04"},
     "rows of StatefulSet/postgres: kubectl exec: psql: the database *** is not there"),
    ({"pods_after": pods()}, {"PERSIST-01", "PERSIST-02", "PERSIST-04"},
     "the pods of Deployment/observer, StatefulSet/postgres were not ready again in time"),
    ({"pods_after": {"fails": "the server is restarting"}}, {"PERSIST-01", "PERSIST-02", "PERSIST-04"},
     "were not ready again in time (kubectl get: the server is restarting)"),
])
def test_what_is_lost_is_told_whatever_else_fails(
    kubectl: Made, top: Path, monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Any], codes: set[str], said: str,
) -> None:
    monkeypatch.setattr(step, "AGAIN_SECONDS", 0.1)
    made = kubectl(**{"pods": OLD, "pods_after": NEW, "exec": COUNTED, "raw": "ok", **volume(top), **broken})

    def delete(*_: object) -> None:
        made(["", "", "", "", "delete"])
        (top / "scalp/a.jsonl").unlink()

    monkeypatch.setattr(step, "delete", delete)
    result = step.persistence(**{**ASK, "timeout": 0.2})
    assert result["lost"] == ["data/scalp/a.jsonl: gone"]
    assert any(said in one for one in (*result["failed"], *result["unread"])), result
    assert {one.code for one in findings(result)} == codes


def test_a_service_that_lags_behind_its_pods_is_asked_again(kubectl: Made, top: Path) -> None:
    late = {"fails": "no endpoints available"}
    kubectl(pods=OLD, pods_after=[{"fails": "a bad moment"}, NEW], raw=[late, late, "ok"], exec=COUNTED,
            exec_after=[{"fails": "the database system is starting up"}, COUNTED], **volume(top))
    result = step.persistence(**ASK)
    assert result["failed"] == result["unread"] == [] and result["health"] == {"/ready": "ok"}


def test_rows_that_are_lost_and_tables_that_could_not_be_counted(kubectl: Made, top: Path) -> None:
    names = ("fewer", "gone", "large", "odd name", "same")
    listed = "".join(f"public.{name} -\n" for name in names)
    kubectl(pods=OLD, pods_after=NEW, raw="ok", **volume(top),
            exec=listed + "public.fewer 9\npublic.gone 0\npublic.large 10\npublic.odd name 1\npublic.same 2\n",
            exec_after="public.fewer -\npublic.large -\npublic.odd name -\npublic.same -\npublic.new -\n"
                       "public.fewer 8\npublic.odd name 3\npublic.same 2\npublic.new 7\n")
    result = step.persistence(**ASK)
    assert result["lost"] == ["table public.fewer: 9 rows, 8 after", "table public.gone: gone"]
    assert result["unread"] == ["rows of table public.large: not counted in time"]
    assert "public.large" not in result["rows_before"] and "public.large" not in result["rows_after"]


def test_names_are_bounded(kubectl: Made, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(150):
        (top / f"{number:03}.db").write_text("1")
    made = kubectl(pods=OLD, pods_after=NEW, raw="ok", exec=COUNTED, **volume(top))

    def delete(*_: object) -> None:
        made(["", "", "", "", "delete"])
        for one in top.glob("*.db"):
            one.unlink()

    monkeypatch.setattr(step, "delete", delete)
    result = step.persistence(**ASK)
    assert (len(result["lost"]), result["lost_count"]) == (step.MOST, 150)
    assert findings(result)[0].actual.endswith("data/004.db: gone and 145 more")


def test_nothing_is_deleted_while_a_pod_is_not_ready(kubectl: Made) -> None:
    made = kubectl(pods=pods(pod("postgres-0", "StatefulSet/postgres", "False")))
    with pytest.raises(step.PersistenceError, match="not ready, so nothing is deleted"):
        step.persistence(namespace="ns", workloads=["StatefulSet/postgres"], claims=[])
    assert "delete" not in " ".join(made.asked)


def test_pods_that_have_ended_are_neither_waited_for_nor_deleted(kubectl: Made) -> None:
    left = [pod(f"observer-1-{phase}", "ReplicaSet/observer-1", "False") for phase in ("Failed", "Succeeded", "going")]
    for one, phase in zip(left, ("Failed", "Succeeded", "Running"), strict=True):
        one["status"]["phase"] = phase
    left[2]["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    kubectl(pods=pods(*left, *OLD["items"]), pods_after=pods(*left, *NEW["items"]))
    result = step.persistence(namespace="ns", workloads=["Deployment/observer"], claims=[])
    assert (result["deleted"], result["started"]) == (["observer-1-a"], ["observer-1-b"])


def test_pods_that_do_not_come_back(kubectl: Made) -> None:
    made = kubectl(pods=OLD)
    result = step.persistence(namespace="ns", workloads=["Deployment/observer"], claims=[], timeout=0.1)
    assert result["failed"] == ["the pods of Deployment/observer were not ready again in time"]
    assert result["seconds"] is None and result["deleted"] == ["observer-1-a"]
    assert "delete pods observer-1-a --wait=false" in " ".join(made.asked)


def test_a_deletion_that_fails(kubectl: Made) -> None:
    ask: dict[str, Any] = {"namespace": "ns", "workloads": ["Deployment/observer"], "claims": [], "timeout": 0.1}
    refused = {"fails": "forbidden"}
    kubectl(pods=OLD, delete=refused)
    with pytest.raises(step.PersistenceError, match="kubectl delete: forbidden"):
        step.persistence(**ask)
    # Whoever may have deleted something does not say that nothing was.
    for now in (NEW, {"fails": "no answer"}):
        kubectl(pods=OLD, pods_after=now, delete=refused)
        result = step.persistence(**ask)
        assert result["failed"][0] == "kubectl delete: forbidden"


def test_names_of_user_and_database_are_in_no_argument(tmp_path: Path) -> None:
    (tmp_path / "psql").write_text("#!/bin/sh\necho \"$PGUSER $PGDATABASE $*\"\n")
    (tmp_path / "psql").chmod(0o755)
    for given, wanted in (({"POSTGRES_USER": "u", "POSTGRES_DB": "d"}, "u d"), ({"POSTGRES_USER": "u"}, "u u"),
                          ({}, "postgres postgres")):
        said = subprocess.run(["sh", "-c", step.PSQL], env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **given},
                              capture_output=True, text=True, check=True).stdout
        assert said == f"{wanted} -X -q -At -F   -v ON_ERROR_STOP=1\n"


def test_a_claim_whose_folder_is_elsewhere(kubectl: Made) -> None:
    kubectl(**volume(Path("/nowhere")))
    with pytest.raises(step.PersistenceError, match="/nowhere, is not on this node"):
        step.folders(step.Kubectl("ns"), ["data"], [])
    kubectl()
    with pytest.raises(step.PersistenceError, match="claim data is bound to no volume"):
        step.folders(step.Kubectl("ns"), ["data"], [])


def findings(result: dict[str, Any] | None) -> list[Finding]:
    found = list(check_persistence(result, "observer-local"))
    for one in found:
        for language in ("en", "ko"):
            for part in ("title", "message", "remedy"):
                assert "{" not in sentence(one, part, language)
    return found


def test_findings() -> None:
    assert findings(None) == findings({"deleted": ["a"], "lost": []}) == []
    lost, = findings({"deleted": ["a"], "lost": [f"data/{number}: gone" for number in range(7)]})
    assert (lost.code, lost.kind) == ("PERSIST-01", Kind.VIOLATION)
    assert lost.actual.endswith("data/4: gone and 2 more")
    away, = findings({"failed": ["the pods of Deployment/observer were not ready again in time"], "deleted": ["a"]})
    assert (away.code, away.kind) == ("PERSIST-02", Kind.VIOLATION)
    untried, = findings({"why": "the pods of Deployment/observer are not ready, so nothing is deleted",
                         "deleted": False})
    assert (untried.code, untried.kind) == ("PERSIST-03", Kind.UNCHECKED)
    unread, = findings({"unread": ["rows of table x: not counted in time"], "deleted": ["a"]})
    assert (unread.code, unread.kind) == ("PERSIST-04", Kind.UNCHECKED)


def test_what_a_contract_asks_for() -> None:
    asked = request(load_contract(ROOT / "contracts" / "observer.yml"), "observer-prod")
    assert asked == {
        "namespace": "observer-prod", "workloads": ["Deployment/observer", "StatefulSet/postgres"],
        "claims": ["observer-data-pvc", "observer-logs-pvc", "observer-universe-pvc", "observer-db-pvc"],
        "database": "StatefulSet/postgres", "others": ["/opt/platform/runtime/observer/config"],
        "service": "observer:8000", "pages": ["/health", "/ready"],
    }
    qts = request(load_contract(ROOT / "contracts" / "qts.yml"), "qts-prod")
    assert qts["workloads"]
    assert qts["database"] == ""
