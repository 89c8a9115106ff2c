"""The contract's benchmark: how its table reads, and how it counts what is found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from contract_edits import Expected, Mutation
from contract_inputs import CONTRACT, NOW, Edit

from bench.contract import MADE_FOR, Tally, copies, self_contained, table
from contract.engine import check
from contract.facts import KubeObject, ManifestFacts
from contract.model import Layer, Place
from contract.spec import load_contract


def mutation(name: str, clause: str) -> Mutation:
    return Mutation(name, Edit(), (Expected(clause, Layer.DEPLOYMENT, frozenset()),) if clause else ())


def test_what_is_found_is_counted_by_what_is_broken_and_read_as_a_table() -> None:
    nobody = dict.fromkeys(MADE_FOR, False)
    tally = Tally()
    tally.add(mutation("one", "ports.app"), {**nobody, "engine": True, "kubeconform": True}, refused=False)
    tally.add(mutation("two", "ports.observer"), {**nobody, "kube-score": True}, refused=False)
    tally.add(mutation("three", "volumes.tmp"), dict.fromkeys(MADE_FOR, True), refused=True)
    tally.add(mutation("four", ""), {**nobody, "kube-score": True}, refused=False)
    found = tally.figures()
    assert found["mutations"]["ports"] == {
        "all": 2, "refused by Kustomize": 0, "engine": 1, "kubeconform": 1, "kube-score": 1}
    assert found["mutations"]["total"]["all"] == 3 and found["mutations"]["total"]["engine"] == 2
    assert found["equivalents"]["kube-score"] == 1 and found["equivalents"]["engine"] == 0
    assert found["missed_by_engine"] == ["two"]

    sizes = {"500": 10.0, "5000": 101.5}
    figures: dict[str, Any] = {
        "whole": {**dict.fromkeys(("kubectl_kustomize_ms", "kustomize_build_ms", "check_with_app_ms",
                                   "check_with_app_ratio", "python_alone_ms", "kubeconform_ms", "kube_score_ms"), 7),
                  "check_ms": 120, "check_ratio": 1.6, "repeats": 15},
        "alone": {"engine_ms": 6.5, "load_contract_ms": 5, "load_manifests_ms": 40},
        "growing": {"engine_ms": sizes, "load_ms": {"500": 130, "5000": 1300}, "engine_growth": 1.0,
                    "load_growth": 1.0},
        "found": found}
    text = table(figures)
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert "check of the overlay and its SealedSecrets, rendering included 120 ms" in lines
    assert "times kubectl kustomize (at most 2) 1.6" in lines
    assert "the engine, 5,000 objects (loading 1,300 ms) 101.5 ms" in lines
    assert "ports 2 0 1 1 1" in lines and "nothing is broken 1 0 0 0 1" in lines
    assert "NOT FOUND by the engine: two" in lines
    tally.beside.append("five")
    assert "beside it: five" in table({**figures, "found": tally.figures()})


def test_copies_refer_to_each_other() -> None:
    objects = copies(60)
    assert len(objects) == 60
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == 60
    second = [one for one in objects if one["metadata"]["name"].endswith("-1")]
    deployment = next(one for one in second if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"][0]["configMapRef"]["name"] == "observer-config-1"
    assert deployment["spec"]["selector"]["matchLabels"]["app"] == "observer-1"


def calls(count: int) -> int:
    """How many calls the engine makes for that many objects: what a clock cannot say on a machine that does more."""
    place = Place("x.yaml", 1)
    facts = ManifestFacts([KubeObject(body, lambda path: place) for body in copies(count)], place)
    contract, made = load_contract(CONTRACT), 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        check(contract, manifests=facts, now=NOW)
    finally:
        sys.setprofile(None)
    return made


def test_four_times_as_many_objects_are_four_times_the_work() -> None:
    assert calls(1600) / calls(400) < 4.4


def test_a_schema_takes_its_definitions_along() -> None:
    definitions: dict[str, Any] = {
        "a.B": {"properties": {"next": {"$ref": "/api/_definitions.json#/$defs/a.B"},
                               "other": {"$ref": "/api/_definitions.json#/$defs/a.C"}}},
        "a.C": {"type": "string"}, "a.D": {"type": "null"}}
    made = self_contained({"$id": "x", "properties": {"b": {"$ref": "/api/_definitions.json#/$defs/a.B"}}}, definitions)
    assert made["properties"]["b"]["$ref"] == "#/$defs/a.B" and "$id" not in made
    assert sorted(made["$defs"]) == ["a.B", "a.C"]
    assert made["$defs"]["a.B"]["properties"]["next"]["$ref"] == "#/$defs/a.B"
    assert definitions["a.B"]["properties"]["next"]["$ref"].startswith("/api")
