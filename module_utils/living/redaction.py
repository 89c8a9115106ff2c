"""Which variables are secret, and texts without their values. Only the standard library, Python 3.10."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping

ALWAYS_SECRET = ("*PASSWORD*", "*SECRET*", "*TOKEN*", "*KEY*")
"""Names of variables whose values are secret whoever asks."""

SHORT = 4
"""A value of fewer characters is replaced only where it stands as a word: else it would eat half of a text."""


def is_secret(name: str, patterns: Iterable[str] = ()) -> bool:
    """Whether the value of a variable is not to be told.

    :param patterns: shell patterns of further names, such as the keys of a Secret.
    """
    return any(fnmatch.fnmatchcase(name.upper(), pattern.upper()) for pattern in (*ALWAYS_SECRET, *patterns))


def secret_values(environments: Iterable[Mapping[str, str]], patterns: Iterable[str] = ()) -> set[str]:
    """Values that must not leave the node.

    A value that a plain variable has as well (the name of a database that is also its user's) is known to everybody,
    and replacing it would only make texts unreadable. That never holds for a password or a key.
    """
    patterns = tuple(patterns)
    secret: set[str] = set()
    plain: set[str] = set()
    known: set[str] = set()
    for environment in environments:
        for name, value in environment.items():
            (known if is_secret(name) else secret if is_secret(name, patterns) else plain).add(value)
    return (known | (secret - plain)) - {""}


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret value replaced by ``***``, the longest first, for one may hold another."""
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= SHORT:
            text = text.replace(value, "***")
        elif value:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)
    return text
