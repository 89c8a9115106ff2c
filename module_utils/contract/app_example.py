"""`.env.example`: the schema of the app's environment (seed 000 5.2, seed 001 3-4)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .facts import Example, Unchecked
from .model import Place

ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)", re.DOTALL)
COMMENTED = re.compile(r"#+\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=")
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^${}]*))?\}|\$([A-Za-z_][A-Za-z0-9_]*)")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
WORDS = {"required": "required", "mandatory": "required", "optional": "optional", "secret": "secret",
         "필수": "required", "선택": "optional", "비밀": "secret"}
LONGEST_VALUE = 10_000
MOST_PROBLEMS = 100


def read_example(text: str, file: str) -> tuple[dict[str, Example], list[Unchecked]]:
    """Variables of an example file, and lines of it that say nothing certain.

    A comment beside a variable, or else directly above it, says whether it is required, optional or secret. A variable
    in a comment (`# KEY=value`) is none.
    """
    found: dict[str, Example] = {}
    unchecked: list[Unchecked] = []
    above: set[str] = set()
    stays = False
    for line, content in logical_lines(text):
        stripped = content.strip()
        if not stripped:
            above, stays = set(), False
            continue
        place = Place(file, line)
        if stripped.startswith("#"):
            comment = "" if COMMENTED.match(stripped) else stripped.lstrip("#")
            above, stays = flags(comment), bool(comment) and heading(comment)
            continue
        if len(unchecked) >= MOST_PROBLEMS:
            unchecked.append(Unchecked(place, "and what is below it is not read: too many lines are not KEY=value"))
            break
        match = ASSIGNMENT.fullmatch(content)
        if match is None:
            unchecked.append(Unchecked(place, "is no line of the form KEY=value", name_in(stripped)))
            continue
        name = match[1]
        value, comment, problem = value_and_comment(match[2])
        words = flags(comment) or above
        if not stays:
            above = set()
        if not problem and "$" in value and not match[2].startswith("'"):
            value, problem = expanded(value, found)
        if problem:
            unchecked.append(Unchecked(place, problem, name))
        if name in found:
            unchecked.append(Unchecked(place, f"{name} is given again, first on line {found[name].place.line}", name))
        required = True if "required" in words else False if "optional" in words else None
        found[name] = Example(name, value, required, True if "secret" in words else False if words else None, place)
    return found, unchecked


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a quoted value may go on over several."""
    lines = text.replace("\r", "\n").split("\n")
    number = 0
    while number < len(lines):
        line, start = lines[number], number + 1
        match = ASSIGNMENT.fullmatch(line) if '"' in line or "'" in line else None
        if match and match[2][:1] in {'"', "'"} and closing(match[2]) < 0:
            for more in range(number + 1, min(number + 100, len(lines))):
                longer = "\n".join(lines[number: more + 1])
                if match[2][0] in lines[more] and closing(longer[match.start(2):]) > 0:
                    line, number = longer, more
                    break
        yield start, line
        number += 1


def closing(text: str) -> int:
    """Where the quote that a text begins with is closed; -1 when it is not."""
    position = 1
    while position < len(text):
        if text[position] == "\\" and text[0] == '"':
            position += 1
        elif text[position] == text[0]:
            return position
        position += 1
    return -1


def value_and_comment(text: str) -> tuple[str, str, str]:
    """The value, the comment behind it, and what is wrong."""
    if text[:1] in {'"', "'"}:
        end = closing(text)
        if end < 0:
            return text.strip(), "", "has a quote that is not closed"
        inner, rest = text[1:end], text[end + 1:].strip()
        if text[0] == '"':
            inner = re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), inner, flags=re.DOTALL)
        if rest and not rest.startswith("#"):
            return inner, "", "has something behind its quote"
        return inner, rest.lstrip("#"), ""
    if text.startswith("#"):
        return "", text.lstrip("#"), ""
    found = re.search(r"[ \t]#", text)
    return (text[: found.start()].strip(), text[found.end():].lstrip("#"), "") if found else (text.strip(), "", "")


def expanded(value: str, known: dict[str, Example]) -> tuple[str, str]:
    """A value with the variables above it put in (`${ROOT}/data`), and what is wrong."""
    problem = ""
    size = len(value)

    def put(match: re.Match[str]) -> str:
        nonlocal problem, size
        name = match[1] or match[3]
        if name in known and (known[name].default or match[2] is None):
            size += len(known[name].default)
            return known[name].default if size <= LONGEST_VALUE else ""
        if match[2] is not None:
            return match[2]
        problem = f"refers to {name}, which is not above it"
        return match[0]

    result = REFERENCE.sub(put, value)
    return (result, problem) if size <= LONGEST_VALUE else (value[:LONGEST_VALUE], "grows too long")


def flags(comment: str) -> set[str]:
    """What a comment says: words that stand for themselves (`required, secret: ...`), or the one that it begins with.

    A word within a sentence says nothing ("not required unless ...").
    """
    found: set[str] = set()
    for part in re.split(r"[.,:;/|+&()\[\]{}\u2013\u2014=*#]|\s-+\s|\band\b", comment.lower()):
        words = part.split()
        if words and len(words) <= 3 and all(word in WORDS for word in words):
            found |= {WORDS[word] for word in words}
    first = re.match(r"[\s\[(]*([^\W\d_]+)", comment)
    if first and first[1].lower() in WORDS and not found:
        found.add(WORDS[first[1].lower()])
    if {"required", "optional"} <= found:
        found -= {"required", "optional"}
    return found


def heading(comment: str) -> bool:
    """Whether a comment above is of all lines up to the next comment: it says nothing but its words."""
    words = re.findall(r"[^\W_]+", comment.lower())
    return bool(words) and all(word in WORDS or word in {"variables", "settings", "values", "and"} for word in words)


def name_in(line: str) -> str:
    """A name that a line without `=` may be about."""
    match = re.match(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\b", line)
    return match[1] if match else ""
