"""Words of a Dockerfile and of the shells in it: quotes, variables and braces, without running anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from .model import ContractError, Place

UNKNOWN = "\0"
"""Stands in an expanded word for what cannot be known. No text that is read has this character (``read_text``)."""

DEEPEST = 30
"""Quotes, brackets and scripts inside one another."""
MOST_WORK = 500_000
"""Steps (characters of expanded values, words, folders looked through) for one file: some tenths of a second, and
a hundred times what a usual file takes."""

Lookup = Callable[[str], str | None]
"""The value of a variable: ``UNKNOWN`` (or a text that contains it) when it cannot be known, None when it is declared
and has no value unless the build gives it one."""

BRACED = re.compile(r"([A-Za-z_]\w*|\d+)(?:(:?[-+=?])(.*)|(##?|%%?)(.*))?", re.ASCII | re.DOTALL)
NAME = re.compile(r"[A-Za-z_]\w*|\d", re.ASCII)
PLAIN = re.compile(r"[^\\'\"`$]+")
PLAIN_QUOTED = re.compile(r"[^\\\"`$]+")
PLAIN_WORD = re.compile(r"[^\\'\"`\s]+")
PLAIN_NESTED = re.compile(r"[^\\'\"`$(){}]+")
SEQUENCE = re.compile(r"(-?\d{1,9})\.\.(-?\d{1,9})")
GLOB = re.compile(r"[*?\[]")


class Unreadable(Exception):
    """A quote or bracket that is never closed, or too many inside one another."""


class Budget:
    """What one file may cost: a text of a few lines can stand for more words than memory holds."""

    def __init__(self, file: str, steps: int = MOST_WORK) -> None:
        self.file = file
        self.steps = steps
        self.line = 1
        """Where the reader is, for the message."""

    def spend(self, steps: int) -> None:
        """:raises ContractError: the file has cost too much."""
        self.steps -= steps
        if self.steps < 0:
            raise ContractError(f"{self.file}:{self.line} stands for more than can be gone through: variables, braces "
                                "or loops multiply.", "Write out what is meant.", Place(self.file, self.line))


class Words:
    """Expands words as Docker does, or with ``commands`` as a shell does: then what `$(x)` gives is ``UNKNOWN``."""

    def __init__(self, lookup: Lookup, budget: Budget, escape: str = "\\", commands: bool = False) -> None:
        self.lookup = lookup
        self.budget = budget
        self.escape = escape
        self.commands = commands

    def text(self, raw: str) -> str:
        """A word with its variables replaced and its quotes removed; raises Unreadable."""
        return "".join(text for text, _ in self._pieces(raw, 0))

    def fields(self, raw: str) -> list[str]:
        """The words that a word becomes in a shell: an unquoted variable is split at white space; raises Unreadable."""
        fields = [""]
        for text, splits in self._pieces(raw, 0):
            first, *others = re.split(r"[ \t\n]+", text) if splits else [text]
            fields[-1] += first
            fields += others
        fields = [field for field in fields if field]
        return fields or ([""] if "'" in raw or '"' in raw else [])

    def _end(self, raw: str, at: int) -> int:
        return end_of(raw, at, self.escape, self.commands)

    def _pieces(self, raw: str, depth: int) -> Iterator[tuple[str, bool]]:
        """Parts of the expanded word, each with whether a shell splits it."""
        if depth > DEEPEST:
            raise Unreadable
        self.budget.spend(len(raw))
        at = 0
        while at < len(raw):
            plain = PLAIN.match(raw, at)
            if plain:
                yield plain[0], False
                at = plain.end()
            elif raw[at] == self.escape:
                following = raw[at + 1 : at + 2]
                yield ("" if following == "\n" else following or self.escape), False
                at += 2
            elif raw[at] == "'":
                end = self._end(raw, at)
                yield raw[at + 1 : end - 1], False
                at = end
            elif raw[at] == '"':
                end = self._end(raw, at)
                yield from ((text, False) for text in self._quoted(raw[at + 1 : end - 1], depth + 1))
                at = end
            elif raw[at] == "$":
                text, at = self._variable(raw, at, depth)
                yield text, True
            elif raw[at] == "`" and self.commands:
                yield UNKNOWN, False
                at = self._end(raw, at)
            else:
                yield raw[at], False
                at += 1

    def _quoted(self, raw: str, depth: int) -> Iterator[str]:
        at = 0
        while at < len(raw):
            plain = PLAIN_QUOTED.match(raw, at)
            if plain:
                yield plain[0]
                at = plain.end()
            elif raw[at] == self.escape:
                following = raw[at + 1 : at + 2]
                if following == "\n":
                    yield ""
                else:
                    yield following if following in {'"', "$", "`", self.escape} else self.escape + following
                at += 2
            elif raw[at] == "$":
                text, at = self._variable(raw, at, depth)
                yield text
            elif raw[at] == "`" and self.commands:
                yield UNKNOWN
                at = self._end(raw, at)
            else:
                yield raw[at]
                at += 1

    def _variable(self, raw: str, at: int, depth: int) -> tuple[str, int]:
        """What stands for the ``$`` at ``at``, and where the text goes on."""
        if raw.startswith("${", at):
            end = self._end(raw, at)
            return self._braced(raw[at + 2 : end - 1], depth), end
        if self.commands and raw.startswith("$(", at):
            # No folder that anybody looks for is one of these.
            known = "/tmp/" if raw.startswith("mktemp", at + 2) else ""
            return known + UNKNOWN, self._end(raw, at)
        name = NAME.match(raw, at + 1)
        if name:
            return self._value(name[0]), name.end()
        if self.commands and raw[at + 1 : at + 2] and raw[at + 1] in "?!#@*-$":
            return UNKNOWN, at + 2
        return "$", at + 1

    def _value(self, name: str) -> str:
        value = self.lookup(name)
        self.budget.spend(len(value or "") + 1)
        return UNKNOWN if value is None else value

    def _braced(self, inner: str, depth: int) -> str:
        found = BRACED.fullmatch(inner)
        if not found:
            return UNKNOWN
        name, operator, word, cut, pattern = found.groups()
        value = self.lookup(name)
        self.budget.spend(len(value or "") + 1)
        if cut:
            pattern = "".join(text for text, _ in self._pieces(pattern, depth + 1))
            if value is None or UNKNOWN in value + pattern or GLOB.search(pattern):
                return UNKNOWN
            return value.removeprefix(pattern) if cut[0] == "#" else value.removesuffix(pattern)
        if not operator:
            return UNKNOWN if value is None else value
        if value == UNKNOWN:
            return UNKNOWN
        without = value is None or (not value and operator[0] == ":")
        if operator[-1] == "?":
            return UNKNOWN if without else value or ""
        if without == (operator[-1] == "+"):
            return "" if without else value or ""
        return "".join(text for text, _ in self._pieces(word, depth + 1))


def end_of(text: str, at: int, escape: str = "\\", commands: bool = True, depth: int = 0) -> int:
    """Where what begins at ``at`` ends (after its closing quote or bracket): a quote, `${`, and in a shell `$(`, a
    backtick or `(`.

    :raises Unreadable: it does not end, or has too much inside one another.
    """
    if depth > DEEPEST:
        raise Unreadable
    opener = text[at : at + 2] if text.startswith(("${", "$("), at) else text[at]
    closer = {"${": "}", "$(": ")", "(": ")"}.get(opener, opener)
    at += len(opener)
    if opener == "'":
        end = text.find("'", at)
        if end < 0:
            raise Unreadable
        return end + 1
    while at < len(text):
        plain = PLAIN_NESTED.match(text, at)
        char = text[at]
        if plain:
            at = plain.end()
        elif char == escape:
            at += 2
        elif char == closer:
            return at + 1
        elif (char == '"' or text.startswith("${", at)
              or (commands and (char == "`" or text.startswith("$(", at) or (char in "('" and closer == ")")))):
            at = end_of(text, at, escape, commands, depth + 1)
        else:
            at += 1
    raise Unreadable


def split(text: str, escape: str = "\\", start: int = 0, end: int | None = None) -> Iterator[tuple[str, int]]:
    """The words of a Dockerfile's line, still quoted, each with its offset: white space in quotes does not split."""
    at, end = start, len(text) if end is None else end
    begin, quote = -1, ""
    while at < end:
        char = text[at]
        plain = PLAIN_WORD.match(text, at, end)
        if begin < 0 and not char.isspace():
            begin = at
        if plain:
            at = plain.end()
            continue
        if char == escape:
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace() and begin >= 0:
            yield text[begin:at], begin
            begin = -1
        at += 1
    if begin >= 0:
        yield text[begin:end], begin


def braces(raw: str, budget: Budget) -> list[str]:
    """The words, still quoted, that a shell with brace expansion (bash, zsh) makes of one; raises Unreadable."""
    waiting, done = [raw], []
    while waiting:
        word = waiting.pop()
        budget.spend(len(word) + 1)
        found = _alternatives(word, budget)
        if found is None:
            done.append(word)
        else:
            start, end, alternatives = found
            budget.spend(len(alternatives))
            waiting += [word[:start] + each + word[end:] for each in reversed(alternatives)]
    return done


def _alternatives(word: str, budget: Budget) -> tuple[int, int, list[str]] | None:
    """Where the first brace that expands begins and ends, and its alternatives."""
    open_at: list[tuple[int, list[int]]] = []
    at, found = 0, None
    while at < len(word):
        char = word[at]
        if char == "\\":
            at += 2
            continue
        if char in "'\"`" or word.startswith(("${", "$("), at):
            at = end_of(word, at)
            continue
        if char == "{":
            open_at.append((at, []))
        elif char == "," and open_at:
            open_at[-1][1].append(at)
        elif char == "}" and open_at:
            start, commas = open_at.pop()
            numbers = SEQUENCE.fullmatch(word, start + 1, at)
            if commas:
                edges = [start, *commas, at]
                found = start, at + 1, [word[a + 1 : b] for a, b in pairwise(edges)]
            elif numbers:
                first, last = int(numbers[1]), int(numbers[2])
                budget.spend(abs(last - first))
                step = 1 if last >= first else -1
                found = start, at + 1, [str(number) for number in range(first, last + step, step)]
            if found:
                return found
        at += 1
    return None
