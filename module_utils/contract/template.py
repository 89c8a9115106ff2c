"""Which line of a Go template a rendered line comes from, and which values it shows.

A template is made into a list of the lines that it can print, each with the texts that are always in it and the values
between them; loops may print theirs again. The rendered lines are then laid along that list in order, so that as much
as possible of what they say is what the template says (the best path, as in any alignment of two sequences). Nothing of
a template is run.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from itertools import accumulate, pairwise

from .classes import dataclass
from .model import Place

MOST_CELLS = 3_000_000
"""Rendered lines times lines of a template that are compared; beyond that only equal ones are found."""
MOST_LINES = 20_000
"""Lines of a template with the named templates that it includes written out."""
DEEPEST_INCLUDE = 8


@dataclass(frozen=True)
class Loop:
    """A step of a path of values: the item that a ``range`` is at."""

    block: int


@dataclass(frozen=True)
class Key:
    """The last step of a path: the key of an item instead of its value."""


ValuePath = tuple["str | int | Loop | Key", ...]
"""A path from the root of what a template sees: ``("Values", "image", "tag")``."""


@dataclass(frozen=True)
class Value:
    """A value that a template prints: the first that is set of ``refs``, through ``filters``. ``printed`` are the parts
    of one that ``printf`` puts together with no more than signs between."""

    refs: tuple[ValuePath, ...] = ()
    filters: tuple[str, ...] = ()
    printed: tuple[ValuePath, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line that a template can print. ``parts`` are its texts and values in turn; ``several``: its value may be more
    lines, each indented by ``indent``; ``blocks`` are the branches and loops around it, the outermost first."""

    place: Place
    parts: tuple[str | Value, ...]
    blocks: tuple[int, ...] = ()
    several: bool = False
    indent: int = 0

    @property
    def divides(self) -> bool:
        """Whether it ends a document."""
        return len(self.parts) == 1 and str(self.parts[0]).startswith("---")


@dataclass(frozen=True)
class Printed:
    """Where a rendered line comes from: the template's line, the rounds that its loops are in, and for each of its
    values from and to which column it is."""

    line: Line
    rounds: dict[int, int]
    spans: Sequence[tuple[int, int, Value]]


# --- reading ----------------------------------------------------------------------------------------

ACTION = re.compile(
    r"""\{\{(?P<left>-(?=\s))?\s*
    (?P<body>/\*.*?\*/|(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|'(?:[^'\\\n]|\\.)*'|[^"`'}]|\}(?!\}))*?)
    \s*(?P<right>(?<=\s)-)?\}\}""", re.VERBOSE | re.DOTALL)
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\(|\)|\||,|:?=|[^\s()|,"`=]+')


@dataclass(frozen=True)
class Token:
    """A text of a template, or an action in it, with its line."""

    text: str
    line: int
    action: bool


@dataclass(frozen=True)
class Source:
    """A template's tokens, and where they stand."""

    tokens: Sequence[Token]
    file: str


def read(text: str, file: str) -> tuple[Source, dict[str, Source]]:
    """A template's own tokens, and those of the named templates that it defines."""
    breaks = [match.start() for match in re.finditer("\n", text)]
    tokens: list[Token] = []
    end, strip = 0, False
    for match in [*ACTION.finditer(text), None]:
        start = match.start() if match else len(text)
        plain = text[end:start]
        if strip:
            end += len(plain) - len(plain.lstrip())
            plain = plain.lstrip()
        if match and match["left"]:
            plain = plain.rstrip()
        if plain:
            tokens.append(Token(plain, bisect_right(breaks, end - 1) + 1, False))
        if match:
            tokens.append(Token(match["body"].strip(), bisect_right(breaks, match.start() - 1) + 1, True))
            end, strip = match.end(), bool(match["right"])
    own: list[Token] = []
    defined: dict[str, Source] = {}
    name, depth, inside = "", 0, []
    for token in tokens:
        word = token.text.partition(" ")[0] if token.action else ""
        if name:
            depth += (word in OPENING) - (word == "end")
            if depth:
                inside.append(token)
            else:
                defined[name], name = Source(inside, file), ""
        elif word == "define":
            name, depth, inside = unquoted(token.text[6:].strip()) or "?", 1, []
        else:
            own.append(token)
    return Source(own, file), defined


OPENING = ("if", "with", "range", "define", "block")


def unquoted(word: str) -> str:
    """A string of a template without its quotes."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"`" else word


# --- expressions ------------------------------------------------------------------------------------

FILTERS = ("quote", "squote", "toYaml", "toJson", "toRawJson", "toString", "int", "int64", "float64", "trim", "tpl",
           "indent", "nindent", "default", "required", "coalesce", "b64enc", "upper", "lower", "toYamlPretty")
"""Functions behind which a value is still known again."""


Known = ValuePath | Mapping[str, "ValuePath | None"] | None
"""What a name of a template means: a path, a ``dict`` of some, or None, which is not known."""


@dataclass
class Scope:
    """What names mean at a point of a template: the dot, and variables."""

    dot: Known = ()
    variables: dict[str, Known] = field(default_factory=lambda: {"$": ()})

    def path(self, word: str) -> ValuePath | None:
        """What a word like ``.Values.a`` or ``$item.b`` means."""
        if word[0] not in ".$":
            return None
        name, _, rest = word.partition(".")
        start = self.variables.get(name) if name else self.dot
        names = [part for part in rest.split(".") if part]
        if isinstance(start, Mapping):
            start = start.get(names.pop(0)) if names else None
        return None if start is None else (*start, *names)


def words(text: str) -> list[str]:
    """An action in its words."""
    return WORD.findall(text)


def value(text: Sequence[str], scope: Scope) -> Value:
    """What a pipeline prints, as far as it can be known."""
    if any(one == ")" and other.startswith(".") for one, other in pairwise(text)):
        return Value()  # a field of what is in parentheses, or a value beside it: not told apart here
    commands: list[list[str]] = [[]]
    depth = 0
    for word in text:
        depth += (word == "(") - (word == ")")
        if word == "|" and depth == 0:
            commands.append([])
        else:
            commands[-1].append(word)
    result = Value()
    for number, command in enumerate(commands):
        arguments = [operand(part, scope) for part in operands(command)]
        if not arguments:
            return Value()
        name = command[0]
        inner = [argument for argument in arguments[1:] if argument is not None]
        if number == 0 and len(arguments) == 1:
            result = arguments[0] or Value()
        elif name == "index" and number == 0 and (of := arguments[1]) is not None and len(of.refs) == 1:
            result = Value((reached(of.refs[0], operands(command)[2:]),))
        elif name == "printf" and number == 0 and not re.search(r"[^\W_]", re.sub("%[sdv]", "", unquoted(command[1]))):
            result = Value(printed=tuple(argument.refs[0] for argument in inner if argument.refs))
        elif name not in FILTERS:
            return Value()
        else:
            if name == "default":
                inner.reverse()
            refs = [ref for argument in inner for ref in argument.refs if ref]
            filters = tuple(one for argument in inner for one in argument.filters)
            result = replace(result, refs=(*result.refs, *refs), filters=(*result.filters, *filters, name))
    return result


def reached(path: ValuePath, steps: Sequence[Sequence[str]]) -> ValuePath:
    """A path with the literal steps that ``index`` takes; one that is not literal leads nowhere."""
    for step in steps:
        word = step[0]
        if word.isdecimal() and len(word) < 9:
            path = (*path, int(word))
        else:
            path = (*path, unquoted(word) if word[0] in "\"`" else "\0")
    return path


def operands(command: Sequence[str]) -> list[list[str]]:
    """The words of a command, with what is in parentheses as one."""
    found: list[list[str]] = []
    depth = 0
    for word in command:
        if depth:
            found[-1].append(word)
        else:
            found.append([word])
        depth = max(0, depth + (word == "(") - (word == ")"))
    return found


def operand(part: Sequence[str], scope: Scope) -> Value | None:
    """What an operand means: a path, a pipeline in parentheses, or None."""
    if part[0] == "(":
        return value(part[1:-1], scope) if len(part) < 200 else None
    path = scope.path(part[0])
    return None if path is None else Value((path,))


def argument(part: Sequence[str], scope: Scope) -> Known:
    """What a named template gets as its dot: a path, or a ``dict`` of some."""
    if part[:2] == ["(", "dict"]:
        pairs = operands(part[2:-1])
        return {unquoted(name[0]): scope.path(of[0]) for name, of in zip(pairs[::2], pairs[1::2], strict=False)}
    if part[0] in (".", "$") and isinstance(scope.dot if part[0] == "." else scope.variables.get("$"), Mapping):
        return scope.dot if part[0] == "." else scope.variables["$"]
    said = operand(part, scope)
    return said.refs[0] if said and len(said.refs) == 1 and not said.filters else None


# --- the lines that a template can print ------------------------------------------------------------


@dataclass
class Block:
    """An open branch or loop, and what the dot was before it. ``number`` is its own."""

    scope: Scope
    number: int


@dataclass
class Printer:
    """Goes through a template and notes the lines that it can print."""

    defined: Mapping[str, Source]
    lines: list[Line] = field(default_factory=list)
    loops: dict[int, ValuePath | None] = field(default_factory=dict)
    """The blocks that are loops, and what each goes through."""
    blocks: int = 0
    """How many blocks there were."""
    open: list[Block] = field(default_factory=list)
    parts: list[tuple[str | Value, int]] = field(default_factory=list)
    """Of the line that is being made, each with how deep in blocks it is."""
    place: Place | None = None
    around: tuple[int, ...] = ()
    """The blocks in which it began."""
    prefix: str = ""

    def run(self, source: Source, scope: Scope, depth: int = 0) -> None:
        """Add what a template prints with ``scope``."""
        base = len(self.open)
        for token in source.tokens:
            if len(self.lines) > MOST_LINES:
                return
            place = Place(source.file, token.line)
            if not token.action:
                self.text(token.text, place)
                continue
            word = token.text.partition(" ")[0]
            if word in OPENING:
                scope = self.enter(word, token.text[len(word):], scope)
            elif word == "else" and len(self.open) > base:
                scope = self.otherwise(token.text, scope)
            elif word == "end" and len(self.open) > base:
                scope = self.leave()
            elif found := re.match(r"(\$\w*)\s*:?=(?!=)", token.text):
                refs = value(words(token.text[found.end():]), scope)
                known = refs.refs[0] if len(refs.refs) == 1 and not refs.filters else None
                scope.variables = {**scope.variables, found[1]: known}
            elif word and not token.text.startswith("/*") and word not in ("end", "else", "break", "continue"):
                self.show(token.text, place, scope, depth)

    def text(self, text: str, place: Place) -> None:
        """Add a text; each line break in it ends a line."""
        for number, piece in enumerate(text.split("\n")):
            if number:
                self.flush()
            self.add(piece, Place(place.file, place.line + number))

    def add(self, part: str | Value, place: Place) -> None:
        """Add a part to the line that is being made."""
        if part and not self.parts and self.prefix:
            self.parts.append((self.prefix, len(self.open)))
        if part:
            self.parts.append((part, len(self.open)))
        if self.place is None and (isinstance(part, Value) or part.strip()):
            self.place = place
            self.around = tuple(block.number for block in self.open)

    def flush(self, *, several: bool = False, indent: int = 0) -> None:
        """End the line that is being made; one with nothing in it is none."""
        if self.place is not None:
            depth = next(deep for part, deep in self.parts if isinstance(part, Value) or part.strip())
            parts: list[str | Value] = [""]
            for part, deep in self.parts:
                # What only a branch inside the line prints may be missing: as good as a value that is not known.
                part = part if deep <= depth else Value()
                if isinstance(part, str) == isinstance(parts[-1], str):
                    parts[-1] = parts[-1] + part if isinstance(part, str) and isinstance(parts[-1], str) else Value()
                else:
                    parts.append(part)
            if isinstance(parts[-1], Value):
                parts.append("")
            else:
                parts[-1] = parts[-1].rstrip()
            self.lines.append(Line(self.place, tuple(parts), self.around, several, indent))
        self.parts, self.place = [], None

    def enter(self, word: str, text: str, scope: Scope) -> Scope:
        """Begin a block."""
        self.blocks += 1
        self.open.append(Block(scope, self.blocks))
        names = re.match(r"\s*((?:\$\w+\s*,\s*)?\$\w+)\s*:?=(?!=)", text)
        refs = value(words(text[names.end():] if names else text), scope).refs
        path = refs[0] if len(refs) == 1 else None
        inner = Scope(scope.dot, dict(scope.variables))
        if word == "range":
            self.loops[self.blocks] = path
            path = None if path is None else (*path, Loop(self.blocks))
        if word not in ("if", "block"):
            inner.dot = path
        declared = re.findall(r"\$\w+", names[1]) if names else []
        if declared:
            inner.variables[declared[-1]] = path
        if len(declared) > 1:
            inner.variables[declared[0]] = None if path is None else (*path, Key())
        return inner

    def otherwise(self, text: str, scope: Scope) -> Scope:
        """The other branch of a block: the dot is what it was before, or what ``else with`` says."""
        before = self.open[-1].scope
        self.leave()
        self.blocks += 1
        self.open.append(Block(before, self.blocks))
        inner = Scope(before.dot, dict(before.variables))
        if found := re.match(r"else\s+with\s+", text):
            refs = value(words(text[found.end():]), before).refs
            inner.dot = refs[0] if len(refs) == 1 else None
        return inner

    def leave(self) -> Scope:
        """End a block; a line that began in a loop ends with it."""
        block = self.open.pop()
        if block.number in self.loops and block.number in self.around:
            self.flush()
        return block.scope

    def show(self, text: str, place: Place, scope: Scope, depth: int) -> None:
        """Add what an action prints: a value in the line, lines of their own, or a named template's lines."""
        said = words(text)
        shown = value(said, scope)
        last = operands(said)
        indented = re.search(r"\|\s*(n?)indent\s+(\d{1,3})\s*$", text)
        indent = int(indented[2]) if indented else 0
        if indented and indented[1]:
            self.flush()
        alone = not any(isinstance(part, Value) or part.strip() for part, _ in self.parts)
        name = unquoted(said[1]) if said[0] in ("include", "template") and len(said) > 1 else ""
        if alone and name in self.defined and depth < DEEPEST_INCLUDE and (indented or len(last) <= 3):
            dot = argument(last[2], scope) if len(last) > 2 else None
            before, self.prefix = self.prefix, self.prefix + " " * indent
            self.run(self.defined[name], Scope(dot, {"$": dot}), depth + 1)
            self.prefix = before
            self.flush()
            return
        several = alone and bool(indented or name or re.search(r"\b(toYaml|tpl|Get|toToml)\b", text))
        if several:
            self.parts = []
            self.add(shown, place)
            self.flush(several=True, indent=indent + len(self.prefix))
        else:
            self.add(shown, place)


def lines(source: Source, defined: Mapping[str, Source]) -> Printer:
    """All lines that a template can print, in order."""
    printer = Printer(defined)
    printer.run(source, Scope())
    printer.flush()
    return printer


# --- laying rendered lines along them ---------------------------------------------------------------

SKIPPED = 2.0
"""What it costs to leave out a line that its block always prints. Blocks as a whole may be left out."""
DIVIDED = 1000.0
Texts = Callable[[Value], Collection[str]]

UNKNOWN = -4.0
"""What it costs to say that a rendered line comes from nowhere."""
AGAIN = -0.3
NONE = float("-inf")


class Costs:
    """What the ways from line to line of a template cost. ``before[block][index]`` is what it costs to leave out all
    lines right in the block that come before a line; block 0 is the template."""

    def __init__(self, all_lines: Sequence[Line]) -> None:
        self.lines = all_lines
        self.stacks = [(0, *line.blocks) for line in all_lines]
        self.spans: dict[int, tuple[int, int]] = {}
        """First and last line of each block."""
        for index, stack in enumerate(self.stacks):
            for block in stack:
                self.spans[block] = (self.spans.get(block, (index, index))[0], index)
        own: dict[int, list[float]] = {block: [0.0] * (end - start + 1) for block, (start, end) in self.spans.items()}
        for index, (line, stack) in enumerate(zip(all_lines, self.stacks, strict=True)):
            own[stack[-1]][index - self.spans[stack[-1]][0]] = DIVIDED if line.divides else SKIPPED
        self.sums = {block: [0.0, *accumulate(costs)] for block, costs in own.items()}
        enter = [self.between(stack, index, before=True) for index, stack in enumerate(self.stacks)]
        leave = [self.between(stack, index, before=False) for index, stack in enumerate(self.stacks)]
        self.enter, self.leave = enter, leave
        """For each line, what it costs to come from outside of each of its blocks, and to leave each for good: the
        blocks inside that one, the innermost first to last."""

    def between(self, stack: Sequence[int], index: int, *, before: bool) -> list[float]:
        """For each block of a line what is left out of the blocks inside of it, before the line or after it."""
        total, found = 0.0, []
        for block in reversed(stack):
            found.append(total)
            total += self.own(block, index, before=before)
        return found[::-1]

    def own(self, block: int, index: int, *, before: bool) -> float:
        """What a block prints itself before a line of it, or after it."""
        sums, first = self.sums[block], self.spans[block][0]
        return sums[index - first] if before else sums[-1] - sums[index - first + 1]

    def edge(self, index: int, *, before: bool) -> float:
        """What is left out when a document begins with a line, or ends with it."""
        total = 0.0
        for block in self.stacks[index]:
            cost = self.own(block, index, before=before)
            total = self.since(block, index, before=before) if cost >= DIVIDED else total + cost
        return total

    def since(self, block: int, index: int, *, before: bool) -> float:
        """What a block prints itself between a line of it and the nearest end of a document."""
        total, step = 0.0, -1 if before else 1
        index += step
        while not (self.lines[index].divides and self.stacks[index][-1] == block):
            total += SKIPPED * (self.stacks[index][-1] == block)
            index += step
        return total


def fits(line: Line, text: str, texts: Texts) -> tuple[float, list[tuple[int, int, Value]]] | None:
    """How well a rendered line fits one of a template, and where its values are; None when it does not."""
    if len(line.parts) == 1:
        return (3.0 + len(text) / 4, []) if line.parts[0] == text else None
    first, last = str(line.parts[0]), str(line.parts[-1])
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return None
    end = len(text) - len(last)
    position, spans, score, right = len(first), [], len(first.strip()) + len(last.strip()), 0.0
    for number in range(1, len(line.parts) - 1, 2):
        shown, following = line.parts[number], str(line.parts[number + 1])
        stop = end if number == len(line.parts) - 2 else text.find(following, position, end)
        if stop < position or not isinstance(shown, Value):
            return None
        spans.append((position, stop, shown))
        position = stop + len(following)
        score += len(following.strip()) if stop < end else 0
        if some := texts(shown):
            right += 2.0 if text[spans[-1][0]:stop].strip(" \"'") in some else -1.0
    return (1.0 if score else 0.1) + score / 4 + right, spans


def align(rendered: Sequence[str], printer: Printer, texts: Texts) -> list[Printed | None]:
    """For each line of a rendered document where it comes from; None for empty ones and those from nowhere.

    :param texts: gives the texts that a value can be, none where that is not known.
    """
    all_lines = printer.lines
    found: list[Printed | None] = [None] * len(rendered)
    numbers = [number for number, text in enumerate(rendered) if text.strip()]
    if not all_lines or len(numbers) * len(all_lines) > MOST_CELLS:
        return found
    plain: dict[str, list[int]] = {}
    open_lines = []
    for index, line in enumerate(all_lines):
        if len(line.parts) == 1:
            plain.setdefault(str(line.parts[0]), []).append(index)
        else:
            open_lines.append(index)
    costs = Costs(all_lines)
    best: list[float] = []
    steps: list[list[tuple[int, int]]] = []  # for each cell the one before it, and the loop that went round, or -1
    for row, number in enumerate(numbers):
        text = rendered[number].rstrip()
        scores: dict[int, float] = {index: 3.0 + len(text) / 4 for index in plain.get(text, ())}
        for index in open_lines:
            line = all_lines[index]
            if line.several:
                if text.startswith(" " * line.indent):
                    scores[index] = 0.1
            elif fit := fits(line, text, texts):
                scores[index] = fit[0]
        if row == 0:
            best = [scores.get(index, UNKNOWN) - costs.edge(index, before=True) for index in range(len(all_lines))]
            steps.append([(-1, -1)] * len(all_lines))
        else:
            best, step = row_of(best, scores, costs, printer.loops)
            steps.append(step)
    cell = max(range(len(best)), key=lambda index: best[index] - costs.edge(index, before=False))
    path = []
    for step in reversed(steps):
        path.append((cell, step[cell][1]))
        cell = step[cell][0]
    rounds: dict[int, int] = {}
    before: tuple[int, ...] = ()
    for number, (index, again) in zip(numbers, reversed(path), strict=True):
        line = all_lines[index]
        if again >= 0:
            rounds = {loop: count for loop, count in rounds.items() if loop <= again}
            rounds[again] = rounds.get(again, 0) + 1
        for loop in line.blocks:
            if loop in printer.loops:
                rounds[loop] = rounds.get(loop, 0) if loop in before else 0
        before = line.blocks
        text = rendered[number].rstrip()
        if line.several and text.startswith(" " * line.indent) and isinstance(line.parts[1], Value):
            found[number] = Printed(line, dict(rounds), [(0, len(text), line.parts[1])])
        elif not line.several and (fit := fits(line, text, texts)):
            found[number] = Printed(line, dict(rounds), fit[1])
    return found


def row_of(best: Sequence[float], scores: Mapping[int, float], costs: Costs,
           loops: Mapping[int, ValuePath | None]) -> tuple[list[float], list[tuple[int, int]]]:
    """The next row of the alignment: for each line of the template the best way to be at it now, and where from."""
    # Nowhere: the rendered line is left out, and the path stays where it is.
    new = [score + UNKNOWN for score in best]
    step = [(index, -1) for index in range(len(best))]
    around: dict[int, tuple[float, int]] = {}
    for loop in loops:
        start, end = costs.spans.get(loop, (0, -1))
        around[loop] = max(((best[index] - costs.leave[index][depth] - costs.own(loop, index, before=False), index)
                            for index in range(start, end + 1)
                            for depth in (costs.stacks[index].index(loop),)), default=(NONE, -1))
    ahead: dict[int, tuple[float, int]] = {}
    for index, stack in enumerate(costs.stacks):
        own = [costs.own(block, index, before=True) for block in stack]
        if index in scores:
            way, source, again = NONE, -1, -1
            if costs.lines[index].several:
                way, source = best[index], index
            for block, before, inner in zip(stack, own, costs.enter[index], strict=True):
                score, origin = ahead.get(block, (NONE, -1))
                if score - before - inner > way:
                    way, source, again = score - before - inner, origin, -1
                if block in loops:
                    score, origin = around[block]
                    if score - before - inner + AGAIN > way:
                        way, source, again = score - before - inner + AGAIN, origin, block
            if way + scores[index] > new[index]:
                new[index], step[index] = way + scores[index], (source, again)
        line = DIVIDED if costs.lines[index].divides else SKIPPED
        for depth, block in enumerate(stack):
            # Its own block has printed the line itself; the blocks around are left from here.
            score = best[index] - costs.leave[index][depth] + own[depth] + (line if depth == len(stack) - 1 else 0.0)
            if score > ahead.get(block, (NONE, -1))[0]:
                ahead[block] = score, index
    return new, step
