"""Seed 001's step 5, where no cluster is needed: what counts as lost, and what is said of it."""

from __future__ import annotations

import json
import sys
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


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name, text in (("scalp/a.jsonl", "1\n2\n"), ("cache/token.json", "{}"), ("empty", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_grew_is_not_lost(top: Path) -> None:
    before = step.listing(str(top))
    assert set(before) == {"scalp/a.jsonl", "cache/token.json", "empty"}
    with (top / "scalp/a.jsonl").open("a") as file:
        file.write("3\n")
    (top / "new").write_text("x")
    assert step.compared(before, str(top), appended) == ([], [])


@pytest.mark.parametrize(("damage", "said"), [
    (lambda top: (top / "scalp/a.jsonl").unlink(), "scalp/a.jsonl: gone"),
    (lambda top: (top / "scalp/a.jsonl").write_text("1\n"), "scalp/a.jsonl: shorter"),
    (lambda top: (top / "scalp/a.jsonl").write_text("1\n9\n3\n"), "scalp/a.jsonl: changed"),
    (lambda top: (top / "cache/token.json").write_text(""), "cache/token.json: empty"),
])
def test_what_is_lost(top: Path, damage: Callable[[Path], None], said: str) -> None:
    before = step.listing(str(top))
    damage(top)
    assert step.compared(before, str(top), appended) == ([said], [])


def test_what_is_written_anew_is_told_of(top: Path) -> None:
    before = step.listing(str(top))
    (top / "cache/token.json").write_text('{"a": 1}')
    assert step.compared(before, str(top), appended) == ([], ["cache/token.json"])


def test_both_ends_of_a_long_file_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "HASHED", 10)
    file = tmp_path / "a.jsonl"
    file.write_text("x" * 50)
    before = step.listing(str(tmp_path))
    for place in (3, 45):
        file.write_text("x" * place + "y" + "x" * (49 - place))
        assert step.compared(before, str(tmp_path), appended)[0] == ["a.jsonl: changed"]
    file.write_text("x" * 60)
    assert step.compared(before, str(tmp_path), appended) == ([], [])


def pod(name: str, owner: str, ready: str = "True") -> dict[str, Any]:
    kind, _, of = owner.partition("/")
    return {"metadata": {"name": name, "uid": name, "ownerReferences": [{"kind": kind, "name": of}]},
            "spec": {}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_pods_belong_to_their_workload() -> None:
    assert step.owned(pod("observer-5d8f7c6b4-x2x7q", "ReplicaSet/observer-5d8f7c6b4"), "Deployment/observer")
    assert step.owned(pod("postgres-0", "StatefulSet/postgres"), "StatefulSet/postgres")
    assert not step.owned(pod("observer-api-5d8f7c6b4-x2x7q", "ReplicaSet/observer-api-5d8f7c6b4"),
                          "Deployment/observer")


@pytest.fixture
def kubectl(tmp_path: Path) -> Callable[..., step.Kubectl]:
    """A kubectl that answers ``get`` from what it is given, and writes down what it is asked to do."""
    def made(**kinds: list[dict[str, Any]]) -> step.Kubectl:
        (tmp_path / "kinds.json").write_text(json.dumps(kinds))
        program = tmp_path / "kubectl.py"
        program.write_text(
            "import json, pathlib, sys\n"
            "here = pathlib.Path(__file__).parent\n"
            "words = sys.argv[3:]\n"
            "with (here / 'asked').open('a') as file: file.write(' '.join(words) + '\\n')\n"
            "if words[0] == 'get':\n"
            "    print(json.dumps({'items': json.loads((here / 'kinds.json').read_text()).get(words[1], [])}))\n")
        return step.Kubectl("ns", (sys.executable, str(program)))

    return made


def test_nothing_is_deleted_while_a_pod_is_not_ready(kubectl: Callable[..., step.Kubectl], tmp_path: Path) -> None:
    with pytest.raises(step.PersistenceError, match="not ready, so nothing is deleted") as caught:
        step.persistence(namespace="ns", workloads=["StatefulSet/postgres"], claims=[],
                         kubectl=kubectl(pods=[pod("postgres-0", "StatefulSet/postgres", "False")]))
    assert not caught.value.deleted
    assert "delete" not in (tmp_path / "asked").read_text()


def test_pods_that_do_not_come_back(kubectl: Callable[..., step.Kubectl], tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "LOAD_SECONDS", 0.01)
    with pytest.raises(step.PersistenceError, match="Deployment/observer were not ready again in time") as caught:
        step.persistence(namespace="ns", workloads=["Deployment/observer"], claims=[], timeout=0.5,
                         kubectl=kubectl(pods=[pod("observer-1-a", "ReplicaSet/observer-1")]))
    assert caught.value.deleted
    assert "delete pods observer-1-a --wait=false" in (tmp_path / "asked").read_text()


def test_a_claim_whose_folder_is_elsewhere(kubectl: Callable[..., step.Kubectl]) -> None:
    volume = {"metadata": {"name": "pv"}, "spec": {"local": {"path": "/nowhere"}}}
    claim = {"metadata": {"name": "data"}, "spec": {"volumeName": "pv"}}
    with pytest.raises(step.PersistenceError, match="/nowhere, is not on this node"):
        step.folders(kubectl(persistentvolumes=[volume], pvc=[claim]), ["data"], [])
    with pytest.raises(step.PersistenceError, match="claim data is bound to no volume"):
        step.folders(kubectl(), ["data"], [])


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
    away, = findings({"why": "the pods of Deployment/observer were not ready again in time", "deleted": True})
    assert (away.code, away.kind) == ("PERSIST-02", Kind.VIOLATION)
    untried, = findings({"why": "the pods of Deployment/observer are not ready, so nothing is deleted",
                         "deleted": False})
    assert (untried.code, untried.kind) == ("PERSIST-03", Kind.UNCHECKED)


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
