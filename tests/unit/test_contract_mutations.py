"""Every leaf of the contract, broken in every way that we know of: each is found, at its clause, layer, file and line.

`ALL=1` does to each field what a run else does only to some.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from contract_edits import RULES, Mutation
from contract_inputs import CONTRACT, SAID, judged, tree
from test_contract_engine import REFERENCES

from contract.codes import CODES
from contract.engine import names_of_clauses
from contract.model import Finding
from contract.spec import load_contract
from contract_mutations import ELSEWHERE, fits, generated, leaves

MUTATIONS = [one for one in generated() if one.expected]
BESIDE = ("check.app", "check.image", "permissions.observer.privileged", "permissions.postgres.privileged")
"""Clauses of what the contract does not name: what could not be looked at, and a field that must not be there."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a mutation."""

    mutation: Mutation
    found: list[Finding] | str

    def survived(self) -> str:
        """What was not found as it has to be, empty when all was."""
        if isinstance(self.found, str):
            return self.found
        for wanted in self.mutation.expected:
            first = next((one for one in self.found if one.clause == wanted.clause), None)
            if first is None:
                return f"nothing is found of {wanted.clause}, but {shown(self.found)}"
            place = (first.place.file, first.place.line) if first.place else ("", 0)
            if first.layer is not wanted.layer or place not in wanted.places:
                places = " or ".join(f"{file}:{line}" for file, line in sorted(wanted.places))
                return f"{wanted.clause} has to be found in {wanted.layer} at {places}, and is {shown([first])}"
        return ""


def shown(found: Sequence[Finding]) -> str:
    return ", ".join(f"{one.code} of {one.clause} in {one.layer} at {one.place}" for one in found[:4]) or "nothing"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    found = judged([one.edit for one in MUTATIONS], tmp_path_factory.mktemp("mutations"))
    return [Verdict(*both) for both in zip(MUTATIONS, found, strict=True)]


def test_every_mutation_is_found(verdicts: list[Verdict], capsys: pytest.CaptureFixture[str]) -> None:
    survivors = {one.mutation.name: words for one in verdicts if (words := one.survived())}
    items = Counter(one.mutation.expected[0].clause.partition(".")[0] for one in verdicts)
    with capsys.disabled():
        print(f"\ncontract mutations: {len(verdicts) - len(survivors)} of {len(verdicts)} found "
              f"({', '.join(f'{name} {count}' for name, count in items.most_common())})")
    assert not survivors, "\n".join(f"{name}: {words}" for name, words in survivors.items())


ELSEWHERE_FOUND = {
    **{f"REPO-0{number}": "test_contract_hygiene.py" for number in range(1, 8)}, "CHECK-02": "test_contract_engine.py",
    "EXT-01": "test_contract_engine.py",
}
"""Codes of what no edit of app, image or manifests is, and the tests that have them."""

LIVING = {"NODE", "BACKUP", "LIVE", "FAULT", "DRIFT", "PERSIST", "STEP"}
"""What codes of a living system begin with; their tests are the files ``test_living_*.py``."""


def test_every_code_is_found_by_a_test(verdicts: list[Verdict]) -> None:
    found = {each.code for one in verdicts if not isinstance(one.found, str) for each in one.found}
    found |= {code for text in REFERENCES.values() for code in re.findall(r"REF-\d\d", text)}
    for code, file in ELSEWHERE_FOUND.items():
        assert code in Path(__file__).with_name(file).read_text(), f"{file} has nothing of {code}"
    assert found & set(ELSEWHERE_FOUND) == set()
    living = {code for code in CODES if code.partition("-")[0] in LIVING}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_living_*.py"))
    assert [code for code in sorted(living) if code not in tests] == []
    assert found | set(ELSEWHERE_FOUND) | living == set(CODES)


def test_every_leaf_of_the_contract_is_broken_by_something() -> None:
    """A new leaf needs a rule, or a reason why no edit of app, image or manifests can break it."""
    broken = {one.leaf for one in generated()}
    for at, _ in leaves(SAID):
        named = ".".join(map(str, at))
        if any(fits(pattern, at) for pattern in ELSEWHERE):
            assert at not in broken, f"{named} is in ELSEWHERE, and there is a rule for it"
        else:
            assert at in broken, f"{named} is broken by nothing: write a rule for it"


def test_no_rule_is_left_over() -> None:
    all_of = [at for at, _ in leaves(SAID)]
    for pattern in [*ELSEWHERE, *(pattern for pattern, _ in RULES)]:
        assert any(fits(pattern, at) for at in all_of), f"no leaf is {'.'.join(pattern)}"


def test_each_mutation_is_one_and_changes_something() -> None:
    names = Counter(one.name for one in generated())
    assert [name for name, count in names.items() if count > 1] == []
    for one in MUTATIONS:
        changed = [file for file, text in one.edit.files.items() if tree().texts.get(file) != text]
        assert len(changed) == len(one.edit.files), one.name
        assert changed or one.edit.image, one.name
    assert len(MUTATIONS) >= 600


def test_clauses_are_those_of_the_contract() -> None:
    """But of a variable, mount or Secret that the contract does not know: that has a clause of its own."""
    known = {name for name, _ in names_of_clauses(load_contract(CONTRACT))} | set(BESIDE)
    for one in MUTATIONS:
        for wanted in one.expected:
            new = wanted.clause.startswith(("environment.", "volumes./mnt/"))
            assert wanted.clause in known or new, (one.name, wanted.clause)
