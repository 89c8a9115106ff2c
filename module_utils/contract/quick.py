"""Whether a JSON Schema allows a value, in a fraction of the time that it takes to import jsonschema.

A yes is enough. After anything else jsonschema is asked: it alone decides what is refused, and says why.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

ANNOTATIONS = frozenset({"$schema", "$id", "title", "description"})
"""Keywords that allow everything."""

TYPES: Mapping[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


class DoubtError(Exception):
    """To know it would take more than is here: a keyword that is not in ``KEYWORDS``, a number with a fraction."""


def surely_allows(schema: Any, value: Any) -> bool:  # noqa: ANN401
    """Whether ``value`` is valid by ``schema``; False in case of doubt."""
    try:
        return allows(schema, value)
    except (DoubtError, RecursionError):
        return False


def allows(schema: Any, value: Any) -> bool:  # noqa: ANN401
    """:raises DoubtError: that is not known."""
    if isinstance(schema, bool):
        return schema
    return all(judge(keyword)(wanted, value, schema) for keyword, wanted in schema.items()
               if keyword not in ANNOTATIONS)


def judge(keyword: str) -> Callable[[Any, Any, Any], bool]:
    if keyword not in KEYWORDS:
        raise DoubtError(keyword)
    return KEYWORDS[keyword]


def of_type(wanted: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401
    # 1.0 is an integer to JSON Schema; True is none, though it is an int to Python.
    if not isinstance(wanted, str) or wanted not in TYPES or isinstance(value, float):
        raise DoubtError(wanted)
    return type(value) is TYPES[wanted]


def properties(wanted: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401
    return not isinstance(value, dict) or all(
        allows(wanted[name], item) for name, item in value.items() if name in wanted)


def further_properties(wanted: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401
    if "patternProperties" in schema:
        raise DoubtError(schema)
    named = schema.get("properties", {})
    return not isinstance(value, dict) or all(
        allows(wanted, item) for name, item in value.items() if name not in named)


def same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Whether two values are equal, to JSON: 1 is not True."""
    if not all(isinstance(item, str | int | None) for item in (one, other)):
        raise DoubtError(other)
    return type(one) is type(other) and bool(one == other)


def at_least(wanted: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401
    if isinstance(value, float):
        raise DoubtError(value)
    return type(value) is not int or value >= wanted


def once_each(wanted: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401
    if not isinstance(value, list):
        return True
    if not all(isinstance(item, str) for item in value):
        raise DoubtError(value)
    return not wanted or len(set(value)) == len(value)


def of_format(wanted: Any, value: Any, schema: Any) -> bool:  # noqa: ANN401
    if not isinstance(value, str):
        return True
    try:
        if wanted == "date":
            return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is not None and bool(
                datetime.date.fromisoformat(value))
        if wanted == "regex":
            return bool(re.compile(value))
    except (ValueError, re.error):
        return False
    raise DoubtError(wanted)


KEYWORDS: Mapping[str, Callable[[Any, Any, Any], bool]] = {
    "type": of_type,
    "properties": properties,
    "additionalProperties": further_properties,
    "propertyNames": lambda wanted, value, _: not isinstance(value, dict) or all(
        allows(wanted, name) for name in value),
    "required": lambda wanted, value, _: not isinstance(value, dict) or all(name in value for name in wanted),
    "minProperties": lambda wanted, value, _: not isinstance(value, dict) or len(value) >= wanted,
    "items": lambda wanted, value, _: not isinstance(value, list) or all(allows(wanted, item) for item in value),
    "minItems": lambda wanted, value, _: not isinstance(value, list) or len(value) >= wanted,
    "uniqueItems": once_each,
    "enum": lambda wanted, value, _: any([same(one, value) for one in wanted]),
    "const": lambda wanted, value, _: same(wanted, value),
    "minLength": lambda wanted, value, _: not isinstance(value, str) or len(value) >= wanted,
    "pattern": lambda wanted, value, _: not isinstance(value, str) or re.search(wanted, value) is not None,
    "format": of_format,
    "minimum": at_least,
    "maximum": lambda wanted, value, schema: at_least(-wanted, value if type(value) is not int else -value, schema),
    "oneOf": lambda wanted, value, _: sum([allows(one, value) for one in wanted]) == 1,
}
"""By keyword: whether it allows a value. All that contract.schema.json has."""
