"""Takes secret values out of what leaves the node, in every form in which logs and messages show them."""

from __future__ import annotations

import base64
import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 4
"""A shorter value would blank ordinary words."""

SECRET_NAMES = ("*PASSWORD*", "*PASSWD*", "*SECRET*", "*TOKEN*", "*KEY*", "*CREDENTIAL*", "*AUTH*",
                ".dockerconfigjson")
"""Names of variables and of Secrets' keys whose values are secret whatever they are."""

PLACES = ("_DIR", "_PATH", "_FILE")
"""A name that ends so says where a secret is (``KIS_TOKEN_CACHE_DIR``), not what it is."""


def is_secret(name: str, more: Iterable[str] = ()) -> bool:
    """Whether a variable or a key is secret by its name. ``more`` are shell patterns."""
    upper = name.upper()
    known = () if upper.endswith(PLACES) else SECRET_NAMES
    return any(fnmatch.fnmatchcase(upper, pattern.upper()) for pattern in (*known, *more))


def secret_values(data: Mapping[str, bytes], public: Iterable[str] = ()) -> Iterator[str]:
    """What is secret in a Secret.

    :param data: its values by key.
    :param public: texts that everybody may read, such as names of objects. The database's user may well be called like
        the app: were that taken out, no message could be read. What a password is, is taken out even so.
    """
    words = list(public)
    for key, raw in data.items():
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            continue
        if is_secret(key) or not any(value in word for word in words):
            yield value
            yield from inner(value)


def inner(value: str) -> Iterator[str]:
    """Secrets within a value: the passwords of a Docker configuration, single lines of a key."""
    try:
        document = json.loads(value)
    except ValueError:
        document = None
    if isinstance(document, dict):
        for entry in (document.get("auths") or {}).values() if isinstance(document.get("auths"), dict) else ():
            if isinstance(entry, dict):
                yield from (str(entry[name]) for name in ("password", "auth", "identitytoken") if entry.get(name))
    elif "\n" in value.strip():
        yield from (line for line in value.splitlines() if len(line) >= 16)


def forms(value: str) -> Iterator[str]:
    """A value, and how it looks in base64 (alone, or within a longer text), in an address and in JSON."""
    raw = value.encode()
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode()
        yield encode(raw).decode().rstrip("=")
        for before in range(3):
            # Only characters that are made of this value alone.
            whole = encode(b"\0" * before + raw).decode().rstrip("=")
            begin = (before * 8 + 5) // 6
            part = whole[begin:(before + len(raw)) * 8 // 6]
            if len(part) >= 8:
                yield part


class Redaction:
    """Replaces secret values by ``MASK``."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        known = {form for value in values if len(value.strip()) >= SHORTEST for form in forms(value)}
        # The longest first: one may contain another.
        ordered = sorted((form for form in known if len(form) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def whole(self, value: Any) -> Any:  # noqa: ANN401
        """Every text in a JSON value, the keys of mappings excepted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.whole(one) for key, one in value.items()}
        return [self.whole(one) for one in value] if isinstance(value, list) else value
