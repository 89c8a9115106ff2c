"""Takes secret values out of what leaves the node, in every form in which logs and messages show them.

``Redaction(values)`` knows the values; what is secret by its form alone (the user of an address, ``password=...``, a
private key) it takes out besides, also when it knows none. Whoever shortens a text does it with ``cut``, for half a
secret is not found any more.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import fnmatch
import functools
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
SHORTEST = 4
"""A shorter value would blank ordinary words."""

LONG = 8
"""A value of which nothing is known is taken for a word when it is shorter."""

SHORTEST_LINE = 16
"""Of a value of several lines; a shorter line may well be a word of a file."""

LONGEST = 65536
"""Bytes of a value that is looked for; a longer one is an archive that nobody writes into a log."""

LONGEST_PART = 4096
"""Characters of a secret that was cut off."""

SECRET_NAMES = ("*PASSWORD*", "*PASSWD*", "*PASSPHRASE*", "*SECRET*", "*TOKEN*", "*KEY*", "*CREDENTIAL*", "*AUTH*",
                "*DSN*", "*PRIVATE*", "*WEBHOOK*", "?*PWD", "PWD_*", "*_PWD_*", "*DATABASE_URL*", "*CONNECTION_STRING*",
                ".dockerconfigjson")
"""Names of variables and of Secrets' keys whose values are secret whatever they are."""

PLACES = ("_DIR", "_PATH", "_FILE", "OLDPWD")
"""A name that ends so says where a secret is (``KIS_TOKEN_CACHE_DIR``), not what it is."""

ORDINARY = {"true", "false", "none", "null", "trust", "enabled", "disabled"}
"""Values that say nothing, whatever their name is (``AUTH_ENABLED``)."""

PLAIN_NAMES = ("PATH", "HOME", "PWD", "OLDPWD", "USER", "HOSTNAME", "SHELL", "TERM", "TZ", "LANG", "LC_*", "PYTHON*",
               "*_VERSION", "*_DIR", "*_PATH", "*_FILE", "PGDATA", "KUBERNETES_*", "*_SERVICE_HOST", "*_SERVICE_PORT*",
               "*_PORT", "*_PORT_*")
"""Variables that images, shells and Kubernetes set, and that are in every text."""

WORDS = r"(?:passw(?:or)?d|passphrase|pwd)"
OTHERS = (r"(?:secret|token|credentials?|authorization|(?:api|app|access|private|secret|account)[-_]?key|"
          r"webhook(?:[-_]url)?)")
NAMED = (rf"(?:{WORDS}|{OTHERS})"
         r"(?![\w.-]{0,40}(?:names?|ref|dir|path|file|type|count|limit|expir\w*|ttl|age|seconds?)\b)[\w.-]{0,40}")
END = r"\\*[\"']?\s{0,3}"
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
FORMS = (
    # Everything up to the last @ before the host's end: a password may have an @ that nobody has quoted.
    re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\s\"'<>?#]+(?=@)", re.IGNORECASE),
    # And a / that nobody has quoted; a number is a port.
    re.compile(r"(://)[^/\s:@\"'<>]{0,256}:(?!\d{1,5}(?:[/?#]|$))[^\s@\"'<>]{1,256}(?=@)"),
    re.compile(r"(authorization\\*[\"']?\s{0,3}[=:]\s{0,3}\\*[\"']?[a-z]{3,12}\s{1,3})[^\s,\"'\\]+", re.IGNORECASE),
    re.compile(r"(\b(?:bearer|basic)\s+)(?=[^\s,;\"']*\d)[\w.~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"()(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    # password=..., "password": "...": in quotes to their end, else to the next blank.
    re.compile(rf"({NAMED}{END}[=:]\s{{0,3}}(?P<quote>\\*[\"'])).+?(?=(?P=quote))", re.IGNORECASE),
    re.compile(rf"({NAMED}{END}(?:=\s{{0,3}}|:))[^\s,;&\"'\\]+", re.IGNORECASE),
    # Prose has colons, too: "failed to fetch token: unexpected status".
    re.compile(rf"({WORDS}[\w.-]{{0,40}}:\s{{1,3}})[^\s,;&\"'\\]+", re.IGNORECASE),
    re.compile(rf"({NAMED}:\s{{1,3}})(?=[^\s,;&\"'\\]*\d)[^\s,;&\"'\\]{{8,}}", re.IGNORECASE),
)
"""What is secret by its form, in one line; the first group stays."""

HINTS = re.compile(r"://|eyJ|[Pp]ass|PASS|(?i:pwd|secret|token|credential|authorization|key|webhook|bearer|basic)")
"""Only a line with one of these is looked through for the forms, which takes longer."""

ASSIGNED = re.compile(r"""^[ \t"'-]*([\w.-]+)["']?[ \t]*[=:]([^\n]*)$""", re.MULTILINE)
USER = re.compile(r"://([^/\s\"'<>?#]*)@")


def is_secret(name: str, more: Iterable[str] = ()) -> bool:
    """Whether a variable or a key is secret by its name. ``more`` are shell patterns."""
    upper = name.upper()
    known = () if upper.endswith(PLACES) else SECRET_NAMES
    return fits(upper, known) or fits(upper, tuple(pattern.upper() for pattern in more))


@functools.lru_cache(maxsize=4096)
def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the shell patterns fits. Kubernetes gives every container the same hundreds of variables."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def secret_values(data: Mapping[str, bytes], public: Iterable[str] = (), shortest: int = SHORTEST) -> Iterator[str]:
    """What is secret in a Secret.

    :param data: its values by key.
    :param public: texts that everybody may read, such as names of objects. The database's user may well be called like
        the app: were that taken out, no message could be read. What a password is, is taken out even so.
    :param shortest: characters of a value whose name does not look secret; shorter ones are taken for words.
    """
    words = list(public)
    for key, raw in data.items():
        if len(raw) > LONGEST or (raw.startswith(b"-----BEGIN CERTIFICATE-----") and b"PRIVATE" not in raw):
            continue
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            yield base64.b64encode(raw).decode()
            value = raw.decode(errors="replace")
        if value.strip().lower() in ORDINARY:
            continue
        if is_secret(key) or (len(value.strip()) >= shortest and not any(value.strip() in word for word in words)):
            yield value
        yield from inner(value)


def variable_values(environment: Mapping[str, str], more: Iterable[str] = (), told: Iterable[str] = (),
                    public: Iterable[str] = (), *, unknown: bool = True) -> Iterator[str]:
    """What may be secret in the variables of a process: everything but what is known to be none.

    :param environment: values by name.
    :param more: shell patterns of further names that are secret.
    :param told: names of variables that everybody may read.
    :param public: as in :func:`secret_values`.
    :param unknown: also long values of variables of which nothing is known but a name that does not look secret.
    """
    more, told = tuple(more), frozenset(told)
    words = [*public, *(environment[name] for name in told if name in environment)]
    for name, value in environment.items():
        secret = is_secret(name, more)
        plain = name in told or fits(name, PLAIN_NAMES)
        if value.strip().lower() in ORDINARY:
            continue
        if is_secret(name) or (secret and not any(value.strip() in word for word in words)) or (
                unknown and not plain and len(value) >= LONG and not any(value.strip() in word for word in words)):
            yield value
        yield from inner(value)


def inner(value: str) -> Iterator[str]:
    """Secrets within a value: the passwords of a Docker configuration, of an address, of a file of settings."""
    for match in USER.finditer(value):
        user, colon, password = match[1].partition(":")
        yield from ({password, unquote(password)} if colon else {user})
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, (dict, list)):
        yield from named(document)
        return
    for match in ASSIGNED.finditer(value):
        assigned = match[2].strip().rstrip(",").strip("\"'")
        if is_secret(match[1]) and assigned.lower() not in ORDINARY:
            yield assigned
    for match in re.finditer(r"(?i)\b(?:ssl)?(?:password|passwd|pwd)\s*=\s*('[^']*'|[^\s;&]+)", value):
        yield match[1].strip("'")


def named(document: Any, secret: bool = False) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Texts of a JSON value under a name that looks secret."""
    if isinstance(document, dict):
        for key, value in document.items():
            # ``auths`` of a Docker configuration has registries, and their users.
            yield from named(value, key != "auths" and is_secret(str(key)))
    elif isinstance(document, list):
        for value in document:
            yield from named(value, secret)
    elif isinstance(document, str) and secret and document.lower() not in ORDINARY:
        yield document
        # ``auth`` is user and password together.
        try:
            yield base64.b64decode(document, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return


def forms(value: str) -> Iterator[str]:
    """A value, and how it looks in base64 (alone, or within a longer text), in an address, in HTML and in JSON."""
    raw = value.encode(errors="surrogateescape")
    yield value
    yield " ".join(value.split())
    yield html.escape(value)
    for ascii_only in (True, False):
        said = json.dumps(value, ensure_ascii=ascii_only)
        yield said[1:-1]
        yield json.dumps(said, ensure_ascii=ascii_only)[3:-3]
        # As Go writes it.
        yield re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", said[1:-1])
    yield repr(value)[1:-1]
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
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
    """Replaces secrets by ``MASK``.

    :param values: those that are known. What is secret by its form is replaced without any.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        words: set[str] = set()
        for value in values:
            # A value that was made by ``echo`` ends with a line's end, which nobody writes into a log.
            for one in {value, value.strip()}:
                words.update(forms(one) if len(one.strip()) >= SHORTEST else ())
            # Of a key in several lines each is looked for as it is: all their forms would take seconds.
            words.update(line for line in value.splitlines() if len(line.strip()) >= SHORTEST_LINE)
        # The longest first: one may contain another. One by one they are found sooner than by a pattern of them all.
        self._words = sorted((word for word in words if len(word.strip()) >= SHORTEST), key=len, reverse=True)
        self._begins = sorted(self._words)
        self._ends = sorted(word[::-1] for word in words)

    def text(self, text: str, *, broken: bool = False) -> str:
        """A text without secrets.

        :param broken: somebody has cut it before: a part of a secret at its beginning or its end is replaced, too.
        """
        for word in self._words:
            if word in text:
                text = text.replace(word, MASK)
        if broken:
            begin = part(text[:LONGEST_PART][::-1], self._ends)
            text = MASK + text[begin:] if begin else text
            end = part(text[-LONGEST_PART:], self._begins)
            text = text[:-end] + MASK if end else text
        text = PRIVATE_KEY.sub(MASK, text)
        return "\n".join(map(of_form, text.split("\n"))) if HINTS.search(text) else text

    def cut(self, text: str, most: int, *, last: bool = False, broken: bool = False) -> str:
        """At most so many characters of a text, the first or the last ones; secrets are replaced before."""
        clean = self.text(text, broken=broken)
        return clean if len(clean) <= most else clean[-most:] if last else clean[:most]

    def whole(self, value: Any) -> Any:  # noqa: ANN401
        """Every text in a JSON value, the keys of mappings excepted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.whole(one) for key, one in value.items()}
        return [self.whole(one) for one in value] if isinstance(value, list) else value


def of_form(line: str) -> str:
    """A line without what is secret by its form."""
    if HINTS.search(line):
        for form in FORMS:
            line = form.sub(lambda match: match[1] + MASK, line)
    return line


def part(text: str, words: list[str]) -> int:
    """Characters at the end of a text with which a word begins, the most there are; 0 for fewer than ``SHORTEST``.

    :param words: in order. For the beginning of a text, give it and the words reversed.
    """
    for length in range(len(text), SHORTEST - 1, -1):
        end = text[-length:]
        at = bisect.bisect_left(words, end)
        if at < len(words) and words[at].startswith(end):
            return length
    return 0
