"""A Dockerfile's text in instructions: parser directives, continued lines, comments in between, here documents."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping

from .classes import dataclass
from .dockerfile_words import split
from .model import ContractError, Place

KEYWORDS = frozenset({"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
                      "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"})
OPTIONAL = frozenset({"CMD", "ENTRYPOINT", "MAINTAINER", "HEALTHCHECK"})
"""Those that may stand without an argument."""
WITH_FLAGS = frozenset({"ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"})
WITH_DOCUMENTS = frozenset({"ADD", "COPY", "RUN"})

DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
FLAG = re.compile(r"""--([a-z][a-z0-9-]*)(?:=("[^"]*"|'[^']*'|\S*))?(?:\s+|$)""")
DOCUMENT = re.compile(r"\d*<<(-?)([^<].*)")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined.

    ``text`` goes on after the joined line with the here documents, as they are written; ``start`` and ``end`` are where
    in it the argument begins (after the flags) and ends; ``pieces`` are offsets with the lines that begin there.
    """

    keyword: str
    text: str
    start: int
    end: int
    flags: Mapping[str, tuple[str, int]]
    documents: tuple[str, ...]
    pieces: tuple[tuple[int, int], ...]

    def line(self, offset: int = 0) -> int:
        """The line on which a character of ``text`` stands."""
        return self.pieces[max(0, bisect_right(self.pieces, (offset, 1 << 60)) - 1)][1]

    @property
    def argument(self) -> str:
        return self.text[self.start : self.end]


def escape_of(lines: list[str], file: str) -> str:
    """The escape character: the backslash, unless a parser directive on the first lines says otherwise."""
    for number, line in enumerate(lines, 1):
        found = DIRECTIVE.fullmatch(line.strip())
        if not found:
            break
        if found[1].lower() == "escape":
            if found[2] not in {"\\", "`"}:
                raise ContractError(f"{file}:{number} sets the escape character to {found[2][:20]!r}.",
                                    "Only \\ and ` are allowed.", Place(file, number))
            return found[2]
    return "\\"


def instructions(text: str, file: str) -> tuple[str, list[Instruction]]:
    """The escape character, and the instructions in order.

    :raises ContractError: an instruction that Docker does not know, one without its argument, or a here document
        without an end.
    """
    lines = text.split("\n")
    escape = escape_of(lines, file)
    found = []
    at = 0
    while at < len(lines):
        if _skipped(lines[at]):
            at += 1
            continue
        joined, pieces, at = _joined(lines, at, escape)
        instruction, at = _instruction(joined, pieces, lines, at, escape, file)
        found.append(instruction)
    return escape, found


def _skipped(line: str) -> bool:
    """Empty lines and comments count for nothing, inside a continued instruction too."""
    return not line.strip() or line.lstrip().startswith("#")


def _joined(lines: list[str], at: int, escape: str) -> tuple[str, list[tuple[int, int]], int]:
    """An instruction that begins on a line, where its lines begin in it, and the line after it."""
    parts: list[str] = []
    pieces = []
    length = 0
    part = lines[at].lstrip()
    while True:
        bare = part.rstrip(" \t")
        goes_on = bare.endswith(escape) and not bare.endswith(escape * 2)
        pieces.append((length, at + 1))
        parts.append(bare[:-1] if goes_on else part)
        length += len(parts[-1])
        at += 1
        while goes_on and at < len(lines) and _skipped(lines[at]):
            at += 1
        if not goes_on or at >= len(lines):
            return "".join(parts).rstrip(), pieces, at
        part = lines[at]


def _instruction(joined: str, pieces: list[tuple[int, int]], lines: list[str], at: int, escape: str,
                 file: str) -> tuple[Instruction, int]:
    first = pieces[0][1]
    place = Place(file, first)
    word = re.match(r"\S*", joined)
    keyword = word[0].upper() if word else ""
    if keyword not in KEYWORDS:
        raise ContractError(f"{file}:{first} has no instruction that Docker knows: {keyword[:40]!r}.",
                            "Correct the line, or end the one before it with a backslash.", place)
    start = len(keyword) + len(joined[len(keyword) :]) - len(joined[len(keyword) :].lstrip())
    flags: dict[str, tuple[str, int]] = {}
    while keyword in WITH_FLAGS and (flag := FLAG.match(joined, start)):
        flags[flag[1]] = (flag[2] or "", flag.start())
        start = flag.end()
    if start >= len(joined) and keyword not in OPTIONAL:
        raise ContractError(f"{file}:{first} has {keyword} without an argument.", "Complete or remove the line.", place)
    documents: list[str] = []
    whole = [joined]
    length = len(joined)
    for tabs, name in _documents(joined, start, escape) if keyword in WITH_DOCUMENTS else []:
        body = []
        while True:
            if at >= len(lines):
                raise ContractError(f"{file}:{first} begins a here document that no line {name!r} ends.",
                                    f"Add a line {name}.", place)
            line = lines[at]
            whole.append(line)
            pieces.append((length + 1, at + 1))
            length += 1 + len(line)
            at += 1
            if (line.lstrip("\t") if tabs else line) == name:
                break
            body.append(line.lstrip("\t") if tabs else line)
        documents.append("\n".join(body))
    text = "\n".join(whole)
    return Instruction(keyword, text, start, len(joined), flags, tuple(documents), tuple(pieces)), at


def _documents(joined: str, start: int, escape: str) -> Iterator[tuple[bool, str]]:
    """Here documents that a line begins: whether their tabs are removed, and the line that ends them."""
    for word, _ in split(joined, escape, start):
        found = DOCUMENT.fullmatch(word)
        if found:
            name = re.sub(r"['\"]", "", found[2])
            if name:
                yield bool(found[1]), name
