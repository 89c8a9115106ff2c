"""Shell text in pieces: words, operators, redirections and here documents, with their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from .classes import dataclass
from .dockerfile_words import Unreadable, end_of

WORD, OPERATOR, REDIRECTION = "word", "operator", "redirection"

REDIRECT = re.compile(r"\d*(?:<<<|<<-?|<>|<&|>>|>\||>&|[<>])|&>>?")
OPERATORS = re.compile(r"\|\||&&|;;&?|;&|\|&|[;&|()\n]")
PLAIN = re.compile(r"[^ \t\n\\'\"`$;&|<>()]+")
SEPARATORS = frozenset({";", "\n", "&", ";;", ";&", ";;&"})
OPENING = frozenset({"then", "else", "elif", "do", "if", "while", "until", "{", "!", "time"})
"""Keywords after which a command begins."""
EFFECTS = re.compile(r"\b(mkdir|chown|chgrp|chmod|install|useradd|adduser|usermod|groupadd|addgroup|groupmod|rm)\b")
"""Commands that change folders or users, in a text that is not followed."""
GIVES_UP = frozenset({"exit", "false", "return"})


@dataclass(slots=True)
class Token:
    """A word as it is written, an operator, or a redirection with its target."""

    kind: str
    raw: str
    offset: int
    target: str = ""
    body: tuple[int, int] | None = None
    """From where to where in the text a here document goes."""


@dataclass(frozen=True, slots=True)
class Word:
    """An expanded word, its line, and the token it comes from."""

    text: str
    line: int
    token: Token | None = None


@dataclass(frozen=True)
class Source:
    """Text and the lines that its characters stand on."""

    text: str
    line: Callable[[int], int]


def tokens(text: str, start: int, end: int) -> list[Token]:
    """Take the shell text between two offsets apart; raises Unreadable."""
    found: list[Token] = []
    documents: list[Token] = []
    at = start
    while at < end:
        char = text[at]
        redirect = REDIRECT.match(text, at, end)
        operator = OPERATORS.match(text, at, end)
        if char in " \t":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif char == "#":
            following = text.find("\n", at, end)
            at = end if following < 0 else following
        elif redirect:
            token, at = _redirection(text, redirect, end)
            found.append(token)
            if token.raw.lstrip("0123456789") in {"<<", "<<-"}:
                documents.append(token)
        elif operator:
            found.append(Token(OPERATOR, operator[0], at))
            at = operator.end()
            if char == "\n":
                for document in documents:
                    at = _document(text, document, at, end)
                documents.clear()
        else:
            stop = word_end(text, at, end)
            found.append(Token(WORD, text[at:stop], at))
            at = stop
    return found


def word_end(text: str, at: int, end: int) -> int:
    """Where the word that begins at ``at`` ends; raises Unreadable."""
    start = at
    while at < end:
        plain = PLAIN.match(text, at, end)
        if plain:
            at = plain.end()
        elif text[at] == "\\":
            at += 2
        elif text[at] in "'\"`" or text.startswith(("$(", "${"), at) or (
                # An array: name=(a b).
                text[at] == "(" and at > start and text[at - 1] == "="):
            at = end_of(text, at)
        elif text[at] == "$":
            at += 1
        else:
            break
    if at > end:
        raise Unreadable
    return at


def _redirection(text: str, found: re.Match[str], end: int) -> tuple[Token, int]:
    at = found.end()
    while at < end and text[at] in " \t":
        at += 1
    stop = end_of(text, at) if text.startswith("(", at) else word_end(text, at, end)
    return Token(REDIRECTION, found[0], found.start(), text[at:stop]), stop


def _document(text: str, document: Token, at: int, end: int) -> int:
    """Find the here document that begins at ``at``; returns where the text goes on."""
    name = re.sub(r"['\"\\]", "", document.target)
    start = at
    while at < end:
        stop = text.find("\n", at, end)
        stop = end if stop < 0 else stop
        line = text[at:stop]
        if (line.lstrip("\t") if document.raw.endswith("-") else line) == name:
            document.body = start, at
            return min(stop + 1, end)
        at = stop + 1
    document.body = start, end
    return end


def begins_command(found: list[Token], at: int) -> bool:
    """Whether a command begins at a token."""
    before = found[at - 1] if at else None
    return before is None or before.kind == OPERATOR or (before.kind == WORD and before.raw in OPENING)


def uncertain(found: list[Token]) -> set[int]:
    """Tokens of lists in which a command may fail without failing the whole: `a || b`, but not `a || exit 1`."""
    lists = [0]
    soft: set[int] = set()
    number: list[int] = []
    count = 0
    for at, token in enumerate(found):
        opens = token.raw in {"(", "{"} and begins_command(found, at)
        number.append(lists[-1])
        if token.kind == OPERATOR and token.raw == "||" and not _gives_up(found, at + 1):
            soft.add(lists[-1])
        if opens or (token.kind == OPERATOR and token.raw in SEPARATORS) or token.raw in OPENING:
            count += 1
            if opens:
                lists.append(count)
            else:
                lists[-1] = count
        elif token.raw in {")", "}"} and len(lists) > 1 and begins_closing(found, at):
            lists.pop()
    return {at for at, each in enumerate(number) if each in soft}


def begins_closing(found: list[Token], at: int) -> bool:
    """Whether a bracket closes a group: `}` only does where a command could begin."""
    return found[at].kind == OPERATOR or begins_command(found, at)


def _gives_up(found: list[Token], at: int) -> bool:
    """Whether the command that begins at a token ends the script: then what comes before has to succeed."""
    if at < len(found) and found[at].raw in {"{", "("}:
        closer = "}" if found[at].raw == "{" else ")"
        for token in found[at + 1 : at + 50]:
            if token.raw == closer:
                return False
            if token.raw in GIVES_UP:
                return True
        return False
    return at < len(found) and found[at].raw in GIVES_UP


def body_of_loop(found: list[Token], at: int) -> tuple[int, int]:
    """Where the body after the `do` that comes next begins, and where its `done` is; raises Unreadable."""
    start, depth = -1, 0
    for index in range(at, len(found)):
        if found[index].kind != WORD or not begins_command(found, index):
            continue
        if found[index].raw == "do":
            depth += 1
            start = index + 1 if start < 0 else start
        elif found[index].raw == "done":
            depth -= 1
            if depth == 0:
                return start, index
    raise Unreadable


def parse(words: Sequence[Word], short: str, long: frozenset[str] = frozenset(),
          leading: bool = False) -> tuple[dict[str, Word], list[Word]]:
    """Options and the words that are none.

    :param short: letters, and ``long`` names, that take a value.
    :param leading: options end at the first word that is none.
    """
    options: dict[str, Word] = {}
    others: list[Word] = []
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        text = word.text
        if text == "--" or (leading and not text.startswith("-")):
            return options, [*others, *([] if text == "--" else [word]), *reversed(waiting)]
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            if equals:
                options[name] = replace(word, text=value)
            else:
                options[name] = waiting.pop() if name in long and waiting else replace(word, text="")
        elif text.startswith("-") and len(text) > 1:
            for at, letter in enumerate(text[1:], 2):
                if letter in short:
                    rest = text[at:].removeprefix("=")
                    options[letter] = replace(word, text=rest) if rest or not waiting else waiting.pop()
                    break
                options[letter] = replace(word, text="")
        else:
            others.append(word)
    return options, others
