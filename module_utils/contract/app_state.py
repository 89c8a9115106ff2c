"""What is known while the app's source is followed: what it reads, and on which way it is gone through."""

from __future__ import annotations

import ast
import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from .app_known import (
    Call,
)
from .app_syntax import handles
from .app_values import (
    ANY,
    ATOMS,
    NONE,
    NOWHERE,
    Class,
    External,
    Failure,
    Function,
    Items,
    Module,
    Outside,
    Pending,
    Read,
    Scope,
    Table,
    Unknown,
    Value,
    derived,
    merged,
    truth,
    union,
    without_any,
)
from .classes import dataclass
from .facts import Unchecked
from .model import Place

DEEPEST_CALL = 25
MOST_ROUNDS = 2_000
STEPS_A_ROOT = 60_000
"""Expressions that are computed for one function before it counts as too much to follow."""

LONGEST_HELPER = 12
"""Lines of a function that is followed for its result alone; longer ones only if they read, serve or make paths."""

ENVIRONMENT = frozenset({"os.environ", "os.environb"})
READERS = frozenset({"os.getenv", "os.getenvb", *(f"{name}.{how}" for name in ENVIRONMENT
                                                  for how in ("get", "pop", "setdefault", "__getitem__"))})
EXITS = frozenset({"sys.exit", "os._exit", "builtins.exit", "builtins.quit", "os.abort"})
RETURN, RAISE, BREAK, CONTINUE = "return", "raise", "break", "continue"


@dataclass(slots=True)
class Outcome:
    """How a block is left. ``names``: those of the way on which it is not left, if ``assumed`` variables are set; None
    when there is no such way."""

    kind: str
    value: Value = NONE
    names: dict[str, Value] | None = None
    assumed: tuple[str, ...] = ()


Run = Callable[[], Outcome | None]


class State(ABC):
    """Values, names and ways. Everything that was found is here when all files were gone through.

    :param modules: every file by each dotted name that an import may use.
    :param steps: expressions and statements that may be gone through altogether.
    """

    def __init__(self, modules: Mapping[str, Module], steps: int) -> None:
        self.modules = modules
        self.left = steps
        self.root_left = STEPS_A_ROOT
        self.exhausted: set[str] = set()
        self.reads: dict[tuple[Place, Place, int, str], Read] = {}
        self.open: dict[tuple[Place, int, str], str] = {}
        self.closed: set[tuple[Place, int, str]] = set()
        self.unchecked: dict[tuple[Place, str], Unchecked] = {}
        self.touched: set[Place] = set()
        self.openers: set[str] = set()
        self.assumed: tuple[str, ...] = ()
        self.aside = 0
        self.other_way = 0
        self.perhaps = 0
        self.tests: list[tuple[str, ...]] = []
        self.catchers: list[tuple[str, ...]] = []
        self.risks: list[tuple[int, set[str]]] = []
        self.memo: dict[object, Value] = {}
        self.stack: list[Function] = []
        self.objects: dict[int, Value] = {}
        self.observer: Callable[[str, ast.Call, Call, Value, Scope, bool], Value | None] = lambda *_: None
        self.makers: dict[str, Callable[[Class, Call], Value]] = {}
        self.generators: dict[int, bool] = {}
        self.known: dict[str, Callable[[State, Call, Scope], Value | None]] = {}
        self.known_methods: dict[str, Callable[[State, Value, Outside, Call], Value | None]] = {}
        self.functions: list[Function] = []
        self.classes: list[Class] = []
        self.skipped: dict[tuple[int, int], Function] = {}
        self.telling: Callable[[Function], bool] = lambda _: True

    # What the classes that are made of this one do.

    @abstractmethod
    def value(self, node: ast.expr, scope: Scope) -> Value:
        """What an expression gives."""

    @abstractmethod
    def attribute(self, owner: Value, name: str, node: ast.expr, scope: Scope) -> Value:
        """An attribute of a value."""

    @abstractmethod
    def block(self, statements: Sequence[ast.stmt], scope: Scope) -> Outcome | None:
        """Go through statements; None when their end is reached."""

    @abstractmethod
    def statement(self, node: ast.stmt, scope: Scope) -> Outcome | None:
        """Go through one statement."""

    @abstractmethod
    def call(self, function: Value, call: Call, node: ast.Call | None, scope: Scope) -> Value:
        """The result of calling any value."""

    @abstractmethod
    def run(
        self, function: Function, arguments: Sequence[Value], keywords: Mapping[str, Value], place: Place,
        root: bool = False, complete: bool = True,
    ) -> Value:
        """The result of a function of the source."""

    @abstractmethod
    def imported(self, name: str) -> Value:
        """A module by its full name."""

    def given_up(self, place: Place, error: Exception) -> str:
        """Note that something cannot be followed, so that one odd place does not keep the rest from being looked at."""
        reason = "is nested too deeply to be followed" if isinstance(error, RecursionError) else \
            f"cannot be followed ({type(error).__name__}: {error})"
        self.note(place, reason, "")
        return reason

    def note(self, place: Place, reason: str, about: str) -> None:
        """Remember what could not be resolved."""
        self.unchecked.setdefault((place, about), Unchecked(place, reason, about))

    def too_much(self, scope: Scope, node: ast.stmt | ast.expr) -> bool:
        """Give up a function, or all that is left, because following it takes too long."""
        if scope.module.file not in self.exhausted:
            self.exhausted.add(scope.module.file)
            self.note(Place(scope.module.file, node.lineno), "the source does too much here to be followed", "")
        return True

    def doubt(self, values: Iterable[Value], errors: str) -> None:
        """Note that an operation may fail because it is done with something unknown."""
        if self.risks and any(isinstance(value.data, Unknown) for value in values):
            self.risk(errors)

    def risk(self, error: str) -> None:
        """Note that what is done here may fail at run time."""
        if self.risks and self.risks[-1][0] == self.aside:
            self.risks[-1][1].add(error)

    @staticmethod
    def is_environment(value: Value) -> bool:
        return isinstance(value.data, External) and value.data.name in ENVIRONMENT

    def set_here(self, name: str) -> bool:
        """Whether a variable is taken as set on the way that is gone through."""
        return name in self.assumed

    def read(
        self, key: Value, default: Value | None, at: Call, scope: Scope, presence: bool = False
    ) -> Value:
        """What reading a variable gives, and a note that it is read.

        :param default: None when the read fails without the variable.
        """
        place = at.place
        name = key.data.decode("ascii", "replace") if isinstance(key.data, bytes) else key.data
        if not isinstance(name, str) or not name:
            reason = name.reason if isinstance(name, Unknown) else "is not known"
            self.unresolved(at, key, f"the name of a variable that is read here {reason}", "")
            return derived(Unknown("depends on a variable whose name is not known", place), key)
        if not key.loose and (key.sources or (key.deps and not key.via)):
            self.note(place, f"which variable is read here depends on {', '.join(key.deps)}", "")
        where = key.via or (default.via if default and default.loose is False else None) or place
        known = self.reads.get((where, place, at.column, name))
        tentative = key.loose or (default is not None and default.loose)
        if known is None:
            known = Read(name, where, place, at.column, presence=presence, tentative=tentative,
                         scope=scope.function.node if scope.function else scope.module)
            self.reads[(where, place, at.column, name)] = known
            if default is not None:
                known.falls_back(default)
        if not tentative:
            self.close(at, "")
            known.tentative = False
            if default is not None:
                known.falls_back(default)
        names = union((name,), key.deps)
        if self.set_here(name):
            return Value(Unknown(f"is what {name} says", place), names, (known,))
        if default is None:
            return Value(Failure("KeyError", place), names, (known,))
        return Value(default.data, union(names, default.deps), merged([(known,), default.sources]), None,
                     default.loose)

    def close(self, at: Call, about: str) -> None:
        """Some call says what a parameter is here."""
        self.closed.add((at.place, at.column, about))

    def unresolved(self, at: Call, value: Value, reason: str, about: str) -> None:
        """Remember what is not known; if it is a parameter, only in case that no call says what it is."""
        if value.loose:
            self.open.setdefault((at.place, at.column, about), reason)
            self.openers.update(function.name for function in self.stack[-3:])
            self.openers.update(function.owner.name for function in self.stack[-1:]
                                if function.owner and function.name == "__init__")
        else:
            self.note(value.via or at.place, reason, about)

    def everything(self, place: Place) -> None:
        self.note(place, "goes through all variables of the environment, so it reads any", "")

    def names_in_environment(self, items: Value, place: Place) -> Value:
        """A set of names compared with the environment: each is asked for (`REQUIRED - os.environ.keys()`)."""
        values = self.each(items, place)
        if values is None:
            self.unresolved(Call([], {}, place), items, "the names of variables that are read here are not known", "")
            return derived(Unknown("depends on variables whose names are not known", place), items)
        for value in values:
            self.read(value, NONE, Call([], {}, place), Scope(NOWHERE, {}), presence=True)
        deps = tuple(str(value.data) for value in values)
        return Value(Items("set", None if any(self.set_here(name) for name in deps) else list(values)), deps)

    def on_the_side(
        self, run: Run, scope: Scope, assumed: tuple[str, ...], names: dict[str, Value] | None, other_way: bool
    ) -> tuple[Outcome | None, dict[str, Value]]:
        """Do something without keeping what it changes; returns the outcome and its names."""
        kept, kept_assumed = scope.names, self.assumed
        scope.names = dict(kept) if names is None else names
        self.assumed = union(kept_assumed, without_any(assumed))
        self.aside += 1
        self.other_way += other_way
        try:
            return run(), scope.names
        finally:
            scope.names, self.assumed = kept, kept_assumed
            self.aside -= 1
            self.other_way -= other_way

    def left_aside(
        self, after: Outcome | None, names: dict[str, Value], scope: Scope, assumed: tuple[str, ...]
    ) -> dict[str, Value] | None:
        """Note what is returned on a way that is taken when variables are set; its names when it goes on."""
        if after is None:
            return names
        if after.kind == RETURN:
            scope.leaves.append((assumed, after.value))
        return None

    def caught(self, error: str) -> bool:
        """Whether something around, here or in a caller, handles an exception."""
        return any(handles(types, error) for types in self.catchers)

    def fails(self, value: Value) -> Outcome | None:
        """Leaving, if a value is an exception that somebody handles; otherwise it is carried along as a value."""
        if isinstance(value.data, Failure) and (value.data.raised or self.caught(value.data.error)):
            return Outcome(RAISE, value)
        return None

    @staticmethod
    def stand_in(assumed: tuple[str, ...], reads: Sequence[Read], value: Value) -> None:
        """What is used when a variable is not set is the default of its reads."""
        for read in reads:
            if (read.name in assumed or ANY in assumed) and read not in value.sources and (
                    read.default is None or value.known):
                read.falls_back(value)

    @staticmethod
    def alike(one: Value, other: Value, test: Value, place: Place | None = None) -> Value:
        """One of two values: known if they are the same."""
        if isinstance(one.data, ATOMS) and type(one.data) is type(other.data) and one.data == other.data:
            return derived(one.data, test, one, other)
        if one.data is other.data:
            return derived(one.data, test, one, other)
        why = next((part.data for part in (test, one, other) if isinstance(part.data, Unknown)), None)
        path = any(isinstance(part.data, PurePosixPath) or getattr(part.data, "path", False) for part in (one, other))
        where = place or (why.place if why else one.via or Place(""))
        return derived(Unknown(why.reason if why else "depends on what is found at run time",
                               why.place if why else where, path), test, one, other)

    def blend(self, one: dict[str, Value], other: dict[str, Value], test: Value, place: Place) -> None:
        """Names after a condition that is not known: those that differ are not known either."""
        for name in [*one, *(name for name in other if name not in one)]:
            first, second = one.get(name), other.get(name)
            if first is second:
                continue
            one[name] = self.alike(first, second, test, place) if first and second else \
                derived(Unknown("is set only on some way", place), *(part for part in (first, second) if part))

    def overlay(self, live: dict[str, Value], dead: dict[str, Value], test: Value) -> None:
        """Names after a condition: their values are those of the way that is taken."""
        for name, value in live.items():
            other = dead.get(name)
            if other is value:
                continue
            if other is None:
                live[name] = Value(value.data, union(test.deps, value.deps), value.sources, value.via, value.loose)
                continue
            self.stand_in(test.deps, other.sources, value)
            live[name] = Value(value.data, union(test.deps, value.deps, other.deps),
                               merged([value.sources, other.sources]), value.via, value.loose)

    def narrow(self, test: ast.expr, scope: Scope) -> None:
        """After a check that refuses to go on without a variable, nothing stands in for it."""
        for part in ast.walk(test):
            if isinstance(part, ast.Name):
                value = scope.names.get(part.id)
                if value and value.sources and truth(value) is False:
                    scope.names[part.id] = Value(Failure("required", Place(scope.module.file, part.lineno)),
                                                 value.deps, value.sources)

    def changes(self, data: Items | Table, values: Sequence[Value]) -> None:
        """Note what a change of a list or dict depends on, and forget its content where the change is not certain."""
        data.deps = union(data.deps, *self.tests, self.assumed, *(value.deps for value in values if self.aside))
        if self.perhaps > data.perhaps and isinstance(data, Items):
            data.values = None
        elif self.perhaps > data.perhaps and isinstance(data, Table):
            data.entries = None

    def keep(self, names: dict[str, Value], name: str, value: Value, place: Place) -> None:
        """Set an attribute. What is set aside is not kept, but what it depends on is."""
        old = names.get(name)
        if self.aside:
            if old is None:
                names[name] = derived(Unknown("is set only on some way", place), value)
            else:
                self.stand_in(self.assumed, value.sources, old)
                names[name] = Value(old.data, union(self.assumed, old.deps, value.deps),
                                    merged([old.sources, value.sources]), old.via, old.loose)
            return
        if old is not None and self.perhaps:
            value = self.alike(value, old, value)
        elif old is not None and any(self.tests):
            deps = union(*self.tests)
            self.stand_in(deps, old.sources, value)
            value = Value(value.data, union(deps, value.deps, old.deps), merged([value.sources, old.sources]),
                          value.via, value.loose)
        names[name] = value

    def controlled(self, scope: Scope, deps: tuple[str, ...]) -> None:
        """What a function returns depends on these variables, more than on those that come later."""
        if self.aside > scope.depth:
            scope.weak = union(scope.weak, deps)
        else:
            scope.control = union(scope.control, deps)

    def each(self, value: Value, place: Place) -> list[Value] | None:
        """The parts of something that is gone through; None when they are not known."""
        data = value.data
        if isinstance(data, Items) and data.values is not None:
            lines = data.lines if len(data.lines) == len(data.values) else None
            return [self.part(one, Place(data.file, lines[index]) if lines else None, value)
                    for index, one in enumerate(data.values)]
        if isinstance(data, Table) and data.entries is not None:
            return [self.part(key, None, value) for key, _ in data.entries.values()]
        if isinstance(data, str) and len(data) <= 100:
            return [derived(letter, value) for letter in data]
        if isinstance(data, Class) and data.flavour == "enum":
            return [Value(one.data, via=Place(data.module.file, data.node.lineno)) for name, one in data.names.items()
                    if isinstance(one.data, ATOMS) and not name.startswith("_")]
        if self.is_environment(value):
            self.everything(place)
        return None

    @staticmethod
    def part(value: Value, line: Place | None, whole: Value) -> Value:
        via = value.via or (line if isinstance(value.data, ATOMS) else None)
        if via is value.via and not whole.deps and value.loose >= whole.loose:
            return value
        return Value(value.data, union(whole.deps, value.deps), value.sources, via, value.loose or whole.loose)

    def as_set(self, value: Value, node: ast.expr, scope: Scope) -> Value:
        """A value that is a variable's own text is not known where the variable is taken as set."""
        data = value.data
        if isinstance(data, (Items, Table)) and data.deps:
            value = Value(data, union(value.deps, data.deps), value.sources, value.via, value.loose)
        if self.assumed and value.sources and not isinstance(value.data, Unknown) and any(
                self.set_here(read.name) for read in value.sources):
            return Value(Unknown("is what a variable says", Place(scope.module.file, node.lineno)), value.deps,
                         value.sources, value.via, value.loose)
        return value

    def touch(self, name: str, node: ast.expr, scope: Scope) -> None:
        if name in ENVIRONMENT or name in READERS:
            self.touched.add(Place(scope.module.file, node.lineno))

    def lookup(self, name: str, scope: Scope) -> Value:
        current: Scope | None = scope
        shared = False
        while current is not None:
            if name in current.names and not (current.is_class and current is not scope):
                return current.names[name]
            shared = shared or name in current.shared
            current = current.parent
        module = scope.module
        if name in module.names:
            if name in module.changed and not shared and scope.function is not None:
                return Value(Unknown(f"depends on {name}, which a function changes",
                                     Place(module.file, module.changed[name])))
            return module.names[name]
        if name in {"__file__", "__path__"}:
            return Value(Unknown("depends on __file__, that is, on where the source is", Place("", 0)))
        if hasattr(builtins, name) and (name == "__import__" or not name.startswith("__")):
            return Value(External(f"builtins.{name}"))
        return Value(Unknown(f"depends on {name}, which is not known here", Place("", 0)))

    @staticmethod
    def arrived(pending: Pending) -> Value:
        """A name of another file, which had not been gone through when it was imported."""
        found = pending.module.names.get(pending.name)
        if found is None or isinstance(found.data, Pending):
            missing = f"depends on {pending.name}, which {pending.module.file} does not have"
            return Value(Unknown(missing, pending.place))
        return found
