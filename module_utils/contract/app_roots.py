"""Which functions of the app's source are gone through, and which of their values are paths."""

from __future__ import annotations

import ast
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from .app_interpreter import Interpreter
from .app_servers import ADDRESSES, DECORATORS, INCLUDES, POSITIONS, ROUTES
from .app_values import NONE, Class, Failure, Function, Module, Unknown, Value
from .facts import PathFunction, Unchecked
from .model import Place

MOST_ROUNDS = 10
WORD = re.compile(r"[^\W\d]\w*")
READING = frozenset({"environ", "environb", "getenv", "getenvb", "expandvars", "envvar", "BaseSettings", "decouple",
                     "uvicorn", *ADDRESSES, *POSITIONS, *ROUTES, *INCLUDES} - {"mount"})
SERVING = re.compile(r"""\bport\s*=(?!=)|["']--[\w-]*port["']""")
ROUTING = frozenset({"mount", "web", "path", "Application"})
PATHS = frozenset({"Path", "PurePath", "PosixPath", "PurePosixPath", "joinpath"})
PATH_NAME = re.compile(r"(?i)(^|_)(dir|directory|folder|path|root)s?$")
SYSTEM_FOLDERS = ("/opt/", "/var/", "/srv/", "/mnt/", "/home/", "/tmp/", "/run/", "/etc/", "/usr/", "/media/")
ALIAS = re.compile(r"\b([^\W\d]\w*)\b[ \t]{0,20}(?::[^=\n]{0,200})?=[ \t]*(?:[\w.]*\.)?"
                   r"(?:environb?(?!\w|[ \t]*[\[.])|environb?\.\w+(?![\w(]|[ \t]*\()|getenvb?(?!\w|[ \t]*\())")
IMPORTED_AS = re.compile(r"\b(?:environ|environb|getenv)[ \t]+as[ \t]+(\w+)")
USES = ("environ", "environb", "getenv", "getenvb")
ROUTE = re.compile(r"""["']/""")


class Words:
    """Where which words are in a file: what a part of it may be about is told before it is gone through."""

    def __init__(self, text: str) -> None:
        self.lines: dict[str, list[int]] = {}
        # Python reads names in this form, however they are written.
        lines = (text if text.isascii() else unicodedata.normalize("NFKC", text)).split("\n")
        telling = {*READING, *PATHS}
        serving, routes = [], []
        for number, line in enumerate(lines, 1):
            for word in WORD.findall(line):
                self.lines.setdefault(word, []).append(number)
            if "port" in line and SERVING.search(line):
                serving.append(number)
            if "/" in line and ROUTE.search(line):
                routes.append(number)
        for number in self.any_of(USES):
            telling.update(ALIAS.findall(lines[number - 1]), IMPORTED_AS.findall(lines[number - 1]))
        self.groups = {
            "telling": sorted([*self.any_of(telling), *serving, *(
                number for number in self.any_of(DECORATORS) if "@" in lines[number - 1])]),
            "route": routes, "routing": self.any_of(ROUTING), "openers": [], "paths": [],
        }
        self.uses = [number for number in self.any_of(USES)
                     if not lines[number - 1].lstrip().startswith(("#", "from ", "import "))]

    def any_of(self, names: Iterable[str]) -> list[int]:
        """Lines that have one of some words, in order."""
        return sorted({number for name in names for number in self.lines.get(name, ())})

    def look_for(self, group: str, names: Iterable[str]) -> None:
        """Make a group of the lines that have one of some words."""
        self.groups[group] = self.any_of(names)

    def has(self, node: ast.stmt | ast.expr, group: str) -> bool:
        """Whether a part of the file has a line of a group."""
        return within(self.groups[group], node)


def body_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> ast.stmt | ast.expr:
    """A function without its name and parameters."""
    if isinstance(node, ast.Lambda):
        return node
    return ast.Expr(ast.Constant(None), lineno=node.body[0].lineno, end_lineno=node.end_lineno)


def within(lines: Sequence[int], node: ast.stmt | ast.expr) -> bool:
    """Whether a line is among those of a part of the source."""
    index = bisect_left(lines, node.lineno)
    return index < len(lines) and lines[index] <= (node.end_lineno or node.lineno)


class Roots:
    """Goes through the functions that may say something, and tells which values are paths.

    Which ones those are is told by words of their source: a function that has none of them, and is called by none that
    has, neither reads a variable nor makes a path.
    """

    def __init__(self, run: Interpreter, modules: Sequence[Module]) -> None:
        self.run = run
        self.modules = modules
        self.words = {id(module): Words(module.text) for module in modules}
        self.direct: dict[int, bool] = {}
        self.done: dict[int, Value] = {}
        self.path_names: set[str] = set()
        self.bases: set[int] = set()

    def visit(self) -> list[tuple[str, Module, PathFunction, Unchecked | None]]:
        """Every value that is a path, with the file that it is in."""
        self.path_names |= {name for module in self.modules for name in module.assigned
                            if isinstance(module.names.get(name, NONE).data, PurePosixPath)}
        servers = {kind.name for kind in self.run.classes
                   if {base.rpartition(".")[2] for base in kind.outside} & ADDRESSES}
        self.run.openers |= servers
        self.settings()
        waiting = list(self.run.functions)
        for _ in range(MOST_ROUNDS):
            openers = set(self.run.openers)
            for words in self.words.values():
                words.look_for("openers", openers)
                words.look_for("paths", PATHS | self.path_names)
            chosen: list[Function] = []
            others: list[Function] = []
            for function in waiting:
                (chosen if self.wants(function) else others).append(function)
            again = self.again()
            if again:
                self.run.memo.clear()
            for function in [*chosen, *again]:
                self.done[id(function)] = value = self.run.visit(function)
                if self.is_path(value, function.name, function):
                    self.path_names.add(function.name)
            if not chosen and not again:
                break
            waiting = others
        found = [*self.functions(), *self.constants(), *self.attributes()]
        unique: dict[tuple[str, Place], tuple[str, Module, PathFunction, Unchecked | None]] = {}
        for one in found:
            unique.setdefault((one[0], one[2].place), one)
        return list(unique.values())

    def tells(self, function: Function) -> bool:
        """Whether a function may read, serve or make a path by itself, or calls one that reads what it is told."""
        known = self.direct.get(id(function.node))
        if known is None:
            has = self.words[id(function.module)].has
            node = body_of(function.node)
            known = has(node, "telling") or (has(node, "route") and has(node, "routing"))
            self.direct[id(function.node)] = known
        return known or self.words[id(function.module)].has(body_of(function.node), "openers")

    def wants(self, function: Function) -> bool:
        """Whether a function has to be gone through for itself."""
        if self.tells(function) or PATH_NAME.search(function.name):
            return True
        if returns_path(function):
            return not function.name.startswith("__")
        return not function.required and self.words[id(function.module)].has(function.node, "paths")

    def again(self) -> list[Function]:
        """Functions that were gone through before it was known that one that they call reads what it is told."""
        missed = {caller for (caller, _), function in self.run.skipped.items() if self.tells(function)}
        self.run.skipped = {key: function for key, function in self.run.skipped.items() if not self.tells(function)}
        return [function for function in self.run.functions if id(function) in missed and id(function) in self.done]

    def settings(self) -> None:
        """Settings classes read their variables when they are made, wherever that is."""
        kinds = [kind for kind in self.run.classes if kind.flavour == "settings"]
        self.bases = {id(base) for kind in kinds for base in kind.lineage()[1:]}
        for kind in kinds:
            if id(kind) not in self.bases:
                self.run.object_of(kind)

    # --- what is a path -------------------------------------------------------------------------

    @staticmethod
    def is_path(value: Value, name: str, function: Function | None = None) -> bool:
        data = value.data
        if isinstance(data, PurePosixPath):
            return True
        if isinstance(data, str):
            return data.startswith("/") and len(data) < 4096 and "\n" not in data and bool(
                PATH_NAME.search(name) or data.startswith(SYSTEM_FOLDERS) or any(map(PATH_NAME.search, value.deps)))
        if isinstance(data, (Unknown, Failure)):
            if isinstance(data, Failure) and data.raised and not value.deps:
                return False  # An abstract method.
            return data.path or (function is not None and returns_path(function)) or bool(
                PATH_NAME.search(name) and value.deps)
        return False

    def functions(self) -> Iterator[tuple[str, Module, PathFunction, Unchecked | None]]:
        for function in self.run.functions:
            value = self.done.get(id(function))
            name = function.name
            if value is None or name == "lambda" or name.startswith("__") or function.required:
                continue  # One that needs an argument gives no path by itself.
            if self.is_path(value, name, function):
                yield self.path(function.name, function.module, value, function.place)

    def constants(self) -> Iterator[tuple[str, Module, PathFunction, Unchecked | None]]:
        for module in self.modules:
            for name, line in module.assigned.items():
                value = module.names.get(name)
                if value is not None and not name.startswith("__") and self.is_path(value, name):
                    if name in module.changed:
                        value = Value(Unknown("is changed by a function", Place(module.file, module.changed[name])),
                                      value.deps)
                    yield self.path(name, module, value, Place(module.file, line))

    def attributes(self) -> Iterator[tuple[str, Module, PathFunction, Unchecked | None]]:
        for kind in self.run.classes:
            if id(kind) in self.bases:
                continue
            if kind.flavour != "settings" and not self.words[id(kind.module)].has(kind.node, "paths"):
                continue
            values = dict(kind.names)
            instance = self.run.object_of(kind).data
            values.update(getattr(instance, "values", {}))
            for name, value in values.items():
                if isinstance(value.data, (Function, Class)) or name.startswith("__"):
                    continue
                if self.is_path(value, name):
                    yield self.path(name, kind.module, value, Place(kind.module.file, line_of(kind, name)))

    @staticmethod
    def path(
        name: str, module: Module, value: Value, place: Place
    ) -> tuple[str, Module, PathFunction, Unchecked | None]:
        data = value.data
        text = str(data) if isinstance(data, (str, PurePosixPath)) else None
        doubt = None
        if isinstance(data, Unknown):
            doubt = Unchecked(data.place if data.place.line else place, f"{name} {data.reason}", name)
        elif isinstance(data, Failure) and not value.deps:
            doubt = Unchecked(data.place, f"{name} fails with {data.error}", name)
        return name, module, PathFunction(name, text, value.deps, place), doubt


def returns_path(function: Function) -> bool:
    """Whether a function says that it returns a path."""
    returns = getattr(function.node, "returns", None)
    if isinstance(returns, ast.Constant):
        return isinstance(returns.value, str) and returns.value.rpartition(".")[2].split(" ")[0] in PATHS
    if isinstance(returns, ast.BinOp):
        returns = returns.left
    if isinstance(returns, ast.Subscript):
        return False
    return (returns.id if isinstance(returns, ast.Name) else getattr(returns, "attr", "")) in PATHS


def line_of(kind: Class, name: str) -> int:
    """The line on which an attribute of a class, or of its objects, is set first."""
    if name in kind.fields:
        return kind.fields[name][1]
    for node in ast.walk(kind.node):
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store):
            return node.lineno
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return node.lineno
    return kind.node.lineno


def named(
    found: Sequence[tuple[str, Module, PathFunction, Unchecked | None]]
) -> tuple[dict[str, PathFunction], list[Unchecked]]:
    """Paths by their names. Where two have the same name and differ, each has its file's name before it.

    Known ones come first, and parents before what is in them, so that the first one that a variable decides is the one
    that it is there for.
    """
    groups: dict[str, list[tuple[Module, PathFunction, Unchecked | None]]] = {}
    for name, module, one, doubt in sorted(found, key=lambda entry: entry[2].place):
        groups.setdefault(name, []).append((module, one, doubt))
    paths: dict[str, PathFunction] = {}
    unchecked: list[Unchecked] = []
    for name, group in groups.items():
        alike = len({(one.default, one.variables) for _, one, _ in group}) == 1
        if alike:
            _, one, doubt = group[0]
            paths[name] = one
            unchecked += [doubt] if doubt else []
        if len(group) > 1:
            for module, one, doubt in group:
                short = f"{module.name.rpartition('.')[2]}.{name}"
                full = short if short not in paths else f"{module.name}.{name}"
                paths[full] = replace(one, name=full)
                if doubt:
                    unchecked.append(Unchecked(doubt.place, doubt.reason, full))
        if not alike:
            where = ", ".join(str(one.place) for _, one, _ in group[:3])
            unchecked.append(Unchecked(group[0][1].place, f"{name} is there more than once, with different values "
                                                          f"({where})", name))
    order = sorted(paths.values(), key=lambda one: (one.default is None, (one.default or "").count("/"), one.place))
    return {one.name: one for one in order}, unchecked
