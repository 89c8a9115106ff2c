"""What the app's source is computed with: values as they are when no variable of the environment is set.

Every value knows the variables that it depends on. What cannot be known is a value, too (`Unknown`), and so is what
fails (`Failure`): both go through every operation, so that all of an expression is seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import field
from pathlib import PurePosixPath

from .classes import dataclass
from .model import Place

Atom = None | bool | int | float | str | bytes | PurePosixPath
ATOMS = (type(None), bool, int, float, str, bytes, PurePosixPath)
MOST_PARTS = 2_000
"""Values within values that are taken into account at once."""
ANY = "*"
"""In place of a variable's name: every variable."""


@dataclass(slots=True, eq=False, repr=False)
class Read:
    """One place that reads a variable. ``default`` grows as the source is followed: what the reader falls back to may
    stand lines below (`value or default`, `if value: ... else: ...`)."""

    name: str
    place: Place
    site: Place
    column: int = 0
    default: str | None = None
    resolved: bool = True
    presence: bool = False
    """Only asks whether the variable is there."""
    tentative: bool = False
    """Seen with a parameter's default only: counts when nothing calls the function with something else."""
    scope: object = None

    def falls_back(self, value: Value) -> None:
        """Note what is used in place of the variable; a default that the read itself names stays."""
        if self.default or (value.loose and not value.known):
            return
        default, known = text_of(value)
        if known or self.default is None:
            self.default = self.default if default is None else default
            self.resolved = known


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be known from the source. ``path``: it is a path in any case."""

    reason: str
    place: Place
    path: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception is raised when no variable is set. ``raised``: by a `raise`, or an exit of the process."""

    error: str
    place: Place
    path: bool = False
    raised: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Items:
    """A list, tuple or set. ``values`` is None when they are unknown; ``lines`` are those on which they stand."""

    kind: str
    values: list[Value] | None
    lines: list[int] = field(default_factory=list)
    file: str = ""
    lost: list[tuple[int, Value]] = field(default_factory=list)
    """What a comprehension would hold if variables were set, and how many values it has before that."""
    deps: tuple[str, ...] = ()
    """Variables that decide how it is changed."""
    perhaps: int = 0
    """Within how many conditions that are not known it was made."""


@dataclass(slots=True, eq=False, repr=False)
class Table:
    """A dict: key to (key, value); None when it is unknown."""

    entries: dict[Atom, tuple[Value, Value]] | None
    deps: tuple[str, ...] = ()
    perhaps: int = 0


@dataclass(frozen=True, slots=True)
class External:
    """Something that is not in the app's source, by its full name: ``os.environ.get``."""

    name: str


@dataclass(slots=True, eq=False, repr=False)
class Outside:
    """An object that a class outside of the app's source made. ``notes`` is what is remembered of its calls."""

    name: str
    keywords: dict[str, Value]
    notes: dict[str, list[object]] = field(default_factory=dict)
    arguments: list[Value] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Module:
    """A file of the source. ``names`` are its globals once it was gone through; ``changed`` those that a function
    rebinds; ``assigned`` are the lines of those that it assigns itself; ``package`` its dotted folder."""

    name: str
    file: str
    tree: ast.Module
    text: str
    package: str
    names: dict[str, Value] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    assigned: dict[str, int] = field(default_factory=dict)
    state: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A name of a file that is being gone through: files may import each other in a circle."""

    module: Module
    name: str
    place: Place


NOWHERE = Module("", "", ast.Module([], []), "", "")
"""The file of what belongs to none."""


@dataclass(slots=True, eq=False, repr=False)
class Scope:
    """The names of a function, class or module while it is gone through."""

    module: Module
    names: dict[str, Value]
    parent: Scope | None = None
    function: Function | None = None
    owner: Class | None = None
    is_class: bool = False
    shared: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    leaves: list[tuple[tuple[str, ...], Value]] = field(default_factory=list)
    """What it returns if certain variables are set."""
    perhaps: list[tuple[Value, Value]] = field(default_factory=list)
    """What it returns or not, nobody knows, and what that depends on."""
    control: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    depth: int = 0
    later: list[Function] = field(default_factory=list)
    uncertain: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Function:
    """A function or lambda of the source. ``kind`` is function, property, static or class."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    module: Module
    parent: Scope | None
    owner: Class | None = None
    kind: str = "function"
    defaults: dict[str, Value] = field(default_factory=dict)
    generator: bool | None = None

    @property
    def name(self) -> str:
        return "lambda" if isinstance(self.node, ast.Lambda) else self.node.name

    @property
    def place(self) -> Place:
        return Place(self.module.file, self.node.lineno)

    @property
    def length(self) -> int:
        """Lines of it."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def required(self) -> list[str]:
        """Names of parameters that a call has to give, but for the object itself."""
        arguments = self.node.args
        plain = [*arguments.posonlyargs, *arguments.args]
        if self.owner and self.kind != "static":
            plain = plain[1:]
        return [argument.arg for argument in [*plain, *arguments.kwonlyargs] if argument.arg not in self.defaults]


@dataclass(slots=True, eq=False, repr=False)
class Class:
    """A class of the source. ``fields`` are its annotated names in order, with the line of each; ``outside`` are the
    full names of bases that are not in the source; ``flavour`` is what makes its objects: dataclass, model, settings,
    enum, or nothing."""

    name: str
    module: Module
    node: ast.ClassDef
    bases: list[Class]
    outside: list[str]
    names: dict[str, Value]
    keywords: dict[str, Value]
    fields: dict[str, tuple[ast.expr, int]] = field(default_factory=dict)
    flavour: str = ""

    def lineage(self) -> list[Class]:
        """The class and its bases, the nearest first."""
        found: list[Class] = []
        waiting: list[Class] = [self]
        while waiting and len(found) < 50:
            current = waiting.pop(0)
            if current not in found:
                found.append(current)
                waiting += current.bases
        return found

    def find(self, name: str) -> tuple[Class, Value] | None:
        """An attribute of the class with the class that has it."""
        for current in self.lineage():
            if name in current.names:
                return current, current.names[name]
        return None


@dataclass(slots=True, eq=False, repr=False)
class Instance:
    """An object of a class of the source."""

    kind: Class | None
    values: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Bound:
    """A method of the source with its object."""

    function: Function
    owner: Value


@dataclass(frozen=True, slots=True)
class Method:
    """A method of Python's own types, or of an outside object, with its object."""

    owner: Value
    name: str


@dataclass(frozen=True, slots=True)
class Parent:
    """`super()`."""

    owner: Value
    kind: Class


@dataclass(frozen=True, slots=True)
class Partial:
    """`functools.partial`."""

    function: Value
    arguments: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]


@dataclass(slots=True, eq=False, repr=False)
class Value:
    """Never changed once made; not frozen, because making it is what takes the time.

    ``deps``: variables that decide it, the strongest first. ``sources``: reads whose own text it is, when that is
    set. ``via``: the line that named it, where that is not the line that uses it (an argument of a call, an item of a
    constant). ``loose``: it comes from a parameter, so it may be something else in another call."""

    data: object
    deps: tuple[str, ...] = ()
    sources: tuple[Read, ...] = ()
    via: Place | None = None
    loose: bool = False

    @property
    def known(self) -> bool:
        return not isinstance(self.data, (Unknown, Failure))


NONE = Value(None)


def union(*parts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of several values in order, each once."""
    filled = [part for part in parts if part]
    if len(filled) < 2:
        return filled[0] if filled else ()
    return tuple(dict.fromkeys(name for part in filled for name in part))


def without_any(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of variables without what stands for all of them."""
    return names if ANY not in names else tuple(name for name in names if name != ANY)


def merged(parts: Iterable[tuple[Read, ...]]) -> tuple[Read, ...]:
    """Reads of several values in order, each once."""
    filled = [part for part in parts if part]
    if len(filled) < 2:
        return filled[0] if filled else ()
    return tuple({id(read): read for part in filled for read in part}.values())


def derived(data: object, *values: Value) -> Value:
    """A value made of others."""
    for value in values:
        if value.deps or value.via or value.loose or value.sources:
            break
    else:
        return Value(data)
    if len(values) == 1:
        return Value(data, value.deps, value.sources, value.via, value.loose)
    return Value(data, union(*(value.deps for value in values)), merged(value.sources for value in values),
                 next((value.via for value in values if value.via), None), any(value.loose for value in values))


def truth(value: Value) -> bool | None:
    """Whether it counts as true; None when that is not known."""
    data = value.data
    if isinstance(data, ATOMS):
        return bool(data) or isinstance(data, PurePosixPath)
    if isinstance(data, Items):
        return None if data.values is None else bool(data.values)
    if isinstance(data, Table):
        return None if data.entries is None else bool(data.entries)
    return True if isinstance(data, (Function, Class, Module, Bound)) else None


def text_of(value: Value) -> tuple[str | None, bool]:
    """A value as the text that a variable would hold, and whether it is known."""
    data = value.data
    if data is None or isinstance(data, Failure):
        return None, True
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace"), True
    return (str(data), True) if isinstance(data, ATOMS) else (None, False)


def plain(value: Value) -> object:
    """A value as Python's own object, for a function of Python's own.

    :raises LookupError: a part of it is not known.
    """
    data = value.data
    if isinstance(data, ATOMS):
        return data
    if isinstance(data, Items) and data.values is not None:
        parts = [plain(part) for part in data.values]
        return tuple(parts) if data.kind == "tuple" else parts
    if isinstance(data, Table) and data.entries is not None:
        return {key: plain(entry) for key, (_, entry) in data.entries.items()}
    raise LookupError


def parts(values: Iterable[Value]) -> list[Value]:
    """Values and everything in them.

    :raises LookupError: there is too much in them.
    """
    found: list[Value] = []
    waiting = list(values)
    while waiting:
        value = waiting.pop(0)
        found.append(value)
        if len(found) + len(waiting) > MOST_PARTS:
            raise LookupError
        if isinstance(value.data, Items):
            waiting += value.data.values or ()
        elif isinstance(value.data, Table):
            waiting += [part for _, part in (value.data.entries or {}).values()]
    return found


def wrapped(data: object, like: Value, file: str = "", line: int = 0) -> Value:
    """Python's own object as a value that depends on what ``like`` does."""
    if isinstance(data, (list, tuple, set, frozenset)):
        values = [wrapped(part, like, file, line) for part in data]
        return Value(Items("tuple" if isinstance(data, tuple) else "list", values), like.deps, like.sources, like.via,
                     like.loose)
    return Value(data, like.deps, like.sources, like.via, like.loose)


COMPREHENSION = Function(ast.Lambda(ast.arguments([], [], None, [], [], None, []), ast.Constant(None)), NOWHERE, None)
"""Stands for the function that a comprehension is."""
