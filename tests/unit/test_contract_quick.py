"""What lets a contract pass without jsonschema says yes to nothing that jsonschema refuses."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from contract.quick import ANNOTATIONS, KEYWORDS, surely_allows
from contract.spec import plain, schema

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
BODIES = {name: plain(yaml.safe_load((CONTRACTS / f"{name}.yml").read_text(encoding="utf-8")))
          for name in ("observer", "observer-phase0", "qts")}
VALIDATOR = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("name", BODIES)
def test_a_right_contract_needs_no_jsonschema(name: str) -> None:
    assert surely_allows(schema(), BODIES[name])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """The path of everything below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*at, key)
        yield from places(part, (*at, key))


def broken(body: Any, at: tuple[Any, ...]) -> Iterator[Any]:  # noqa: ANN401
    """A body without the value at a path, and with others in its place."""
    old = body
    for step in at:
        old = old[step]
    others: tuple[Any, ...] = (None, True, 1, 1.0, 0, -1, 70000, "", "x", "(", "/x", "2026-02-30", "2027-01-01", [],
                               ["x", "x"], {}, {"x": {}}, copy)
    for new in others:
        if type(new) is type(old) and new == old:
            continue
        other = copy.deepcopy(body)
        parent = other
        for step in at[:-1]:
            parent = parent[step]
        if new is copy:
            del parent[at[-1]]
        else:
            parent[at[-1]] = new
        yield other


def test_it_never_says_yes_where_jsonschema_says_no() -> None:
    body = BODIES["observer"]
    chosen = random.Random(5)
    everything = [other for at in chosen.sample(list(places(body)), 40) for other in broken(body, at)]
    told = [(surely_allows(schema(), other), VALIDATOR.is_valid(other))
            for other in chosen.sample(everything, min(200, len(everything)))]
    assert (True, False) not in told
    assert told.count((True, True)) > 10 and told.count((False, False)) > 50
    # What it leaves to jsonschema without need is rare: numbers with a fraction.
    assert told.count((False, True)) < 10


def test_every_keyword_of_the_schema_is_known() -> None:
    def keywords(part: Any) -> Iterator[str]:  # noqa: ANN401
        if isinstance(part, dict):
            for key, value in part.items():
                yield key
                for below in value.values() if key == "properties" else value if isinstance(value, list) else [value]:
                    yield from keywords(below)

    assert set(keywords(schema())) <= {*KEYWORDS, *ANNOTATIONS}


SCHEMAS: list[dict[str, Any]] = [
    {"type": "integer"}, {"type": ["string", "integer"]}, {"type": "number"}, {"type": "null"}, {"enum": [1, "1"]},
    {"enum": [1.0]}, {"const": True}, {"const": 0}, {"minimum": 1}, {"maximum": 1}, {"minimum": 0.5},
    {"uniqueItems": True}, {"uniqueItems": False}, {"format": "date"}, {"format": "regex"}, {"format": "email"},
    {"oneOf": [{"type": "integer"}, {"minimum": 1}]}, {"oneOf": [{"format": "email"}, True]}, {"not": {}},
    {"oneOf": [{"type": "number"}, {"type": "integer"}]}, {"items": False}, {"items": {"type": "string"}},
    {"prefixItems": [{"type": "string"}], "items": False}, {"additionalProperties": False}, {"required": ["x"]},
    {"patternProperties": {"x": True}, "additionalProperties": False}, {"propertyNames": {"maxLength": 0}},
    {"minProperties": 1}, {"minItems": 1}, {"minLength": 1}, {"pattern": "^x$"}, {"properties": {"x": False}},
]
VALUES: list[Any] = [None, True, False, 0, 1, 2, 1.0, 0.5, "", "1", "x", "x\n", "(", "2026-02-29", "2028-02-29",
                     "2028-2-29", [], [1, 1], ["x", "x"], [1, True], [[], []], ["x"], {}, {"x": 1}, {"y": 1}, 10**400]


@pytest.mark.parametrize("one", SCHEMAS, ids=str)
def test_it_is_right_about_each_keyword_or_in_doubt(one: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(one, format_checker=VALIDATOR.format_checker)
    for value, wrapped in itertools.product(VALUES, (False, True)):
        # Inside of oneOf a no that was a doubt would make another branch the only one.
        used = {"oneOf": [one, {"type": "integer"}]} if wrapped else one
        if surely_allows(used, value):
            assert validator.evolve(schema=used).is_valid(value), (used, value)


def test_a_pattern_that_overflows_python_is_left_to_jsonschema() -> None:
    assert not surely_allows({"format": "regex"}, "(" * 5000 + ")" * 5000)
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    assert not surely_allows(deep, value)
