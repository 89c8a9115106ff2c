"""Following the app's source: files, functions and calls."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from .app_known import (
    DICT_CHANGES,
    FIELD_FUNCTIONS,
    HARMLESS,
    LIST_CHANGES,
    OS_ERRORS,
    Call,
    items_method,
    method,
    pure_function,
    table_method,
    why_unknown,
)
from .app_state import (
    DEEPEST_CALL,
    ENVIRONMENT,
    EXITS,
    LONGEST_HELPER,
    RAISE,
    READERS,
    RETURN,
    STEPS_A_ROOT,
    State,
)
from .app_syntax import FUNCTIONS, yields
from .app_values import (
    ATOMS,
    NONE,
    Bound,
    Class,
    External,
    Failure,
    Function,
    Instance,
    Items,
    Method,
    Module,
    Outside,
    Partial,
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
from .model import Place


class Calls(State):
    """What functions give, those of the source and others."""

    def load(self, module: Module) -> None:
        """Go through a file's own statements; once, whoever asks first."""
        if module.state:
            return
        module.state = 1
        kept = (self.aside, self.other_way, self.perhaps, self.assumed, self.catchers, self.risks, self.root_left)
        self.aside = self.other_way = self.perhaps = 0
        self.assumed, self.catchers, self.risks, self.root_left = (), [], [], STEPS_A_ROOT
        scope = Scope(module, module.names)
        try:
            for statement in module.tree.body:
                # Each on its own: what one cannot do without a variable says nothing of the next.
                try:
                    self.statement(statement, scope)
                except Exception as error:
                    self.given_up(Place(module.file, statement.lineno), error)
                module.names = scope.names
        finally:
            module.state = 2
            (self.aside, self.other_way, self.perhaps, self.assumed, self.catchers, self.risks, self.root_left) = kept
        self.nested(scope)

    def visit(self, function: Function) -> Value:
        """The result of a function that is called with nothing: parameters without a default are unknown."""
        self.root_left = STEPS_A_ROOT
        owner = []
        if function.owner and function.kind != "static":
            owner = [Value(function.owner)] if function.kind == "class" else [self.object_of(function.owner)]
        try:
            return self.run(function, owner, {}, function.place, root=True)
        except Exception as error:
            return Value(Unknown(self.given_up(function.place, error), function.place))

    def object_of(self, kind: Class) -> Value:
        """An object of a class, made with nothing."""
        if id(kind) not in self.objects:
            self.objects[id(kind)] = Value(Instance(kind, {}))
            self.objects[id(kind)] = self.make(kind, Call([], {}, Place(kind.module.file, kind.node.lineno)), True)
        return self.objects[id(kind)]

    def nested(self, scope: Scope) -> None:
        """Go through the functions that a scope defines, for what they read."""
        for function in scope.later:
            if self.telling(function):
                self.call_aside(function)
        scope.later.clear()

    def call_aside(self, function: Function) -> None:
        if len(self.stack) < DEEPEST_CALL and function not in self.stack:
            self.stack.append(function)
            self.aside += 1
            try:
                self.body(function, self.bound(function, [], {}, function.place, True), function.place)
            finally:
                self.aside -= 1
                self.stack.pop()

    def run(
        self, function: Function, arguments: Sequence[Value], keywords: Mapping[str, Value], place: Place,
        root: bool = False, complete: bool = True,
    ) -> Value:
        """The result of a function of the source."""
        if not root and function.length > LONGEST_HELPER and not self.telling(function):
            self.skipped[(id(self.stack[0]) if self.stack else 0, id(function))] = function
            return derived(Unknown(f"depends on what {function.name} does", place), *arguments)
        if function in self.stack or len(self.stack) >= DEEPEST_CALL:
            return derived(Unknown("calls itself" if function in self.stack else "calls too deeply", place), *arguments)
        names = self.bound(function, arguments, keywords, place, root or not complete)
        key: object = None
        if all(isinstance(value.data, (*ATOMS, Function, Class, Module, External)) for value in names.values()) \
                and not (function.parent and function.parent.function):
            key = (id(function), tuple(
                (name, type(value.data), value.data, value.deps, value.sources, value.via, value.loose)
                for name, value in names.items()),
                   self.assumed, tuple(self.catchers), self.other_way > 0)
            known = self.memo.get(key)
            if known is not None:
                return known
        self.stack.append(function)
        try:
            result = self.body(function, names, place)
        finally:
            self.stack.pop()
        if key is not None:
            self.memo[key] = result
        return result

    def bound(
        self, function: Function, arguments: Sequence[Value], keywords: Mapping[str, Value], place: Place, root: bool
    ) -> dict[str, Value]:
        """Parameters with their values. In a call, the line that gives a text is the call's."""
        node = function.node.args
        names: dict[str, Value] = {}
        positional = [*node.posonlyargs, *node.args]
        given = [self.sent(value, place, root) for value in arguments]
        for parameter, value in zip(positional, given, strict=False):
            names[parameter.arg] = value
        if node.vararg:
            rest = given[len(positional):]
            names[node.vararg.arg] = Value(Items("tuple", None if root else rest), loose=root)
        others = dict(keywords)
        for parameter in [*positional, *node.kwonlyargs]:
            name = parameter.arg
            if name in others:
                names[name] = self.sent(others.pop(name), place, root)
            elif name not in names:
                default = function.defaults.get(name)
                if default is None:
                    names[name] = Value(Unknown(f"depends on the argument {name}", function.place), loose=True)
                elif root:
                    names[name] = Value(default.data, default.deps, default.sources, default.via, True)
                else:
                    names[name] = default
        if node.kwarg:
            names[node.kwarg.arg] = Value(Table(None if root else {
                name: (Value(name), self.sent(value, place, root)) for name, value in others.items()}), loose=root)
        return names

    @staticmethod
    def sent(value: Value, place: Place, root: bool) -> Value:
        if root or value.via or value.loose or not isinstance(value.data, (*ATOMS, Unknown)):
            return value
        return Value(value.data, value.deps, value.sources, place, value.loose)

    def body(self, function: Function, names: dict[str, Value], place: Place) -> Value:
        """Go through a function's statements."""
        scope = Scope(function.module, names, function.parent, function, function.owner, depth=self.aside)
        node = function.node
        if isinstance(node, ast.Lambda):
            return self.value(node.body, scope)
        outcome = self.block(node.body, scope)
        self.nested(scope)
        if function.generator is None:
            function.generator = self.is_generator(node, function.module)
        if function.generator:
            return Value(Unknown("is a generator", function.place), union(scope.control, scope.weak))
        result = outcome.value if outcome and outcome.kind in {RETURN, RAISE} else NONE
        for value, test in scope.perhaps:
            result = self.alike(value, result, test)
        for assumed, value in scope.leaves:
            self.stand_in(assumed, value.sources, result)
        sources = merged([result.sources, *(value.sources for _, value in scope.leaves)])
        others = [part for assumed, value in scope.leaves for part in (without_any(assumed), value.deps)]
        deps = union(scope.control, result.deps, *others, scope.weak)
        if deps == result.deps and sources == result.sources:
            return result
        return Value(result.data, deps, sources, result.via, result.loose)

    def is_generator(self, node: ast.AST, module: Module) -> bool:
        known = self.generators.get(id(node))
        if known is None:
            known = self.generators[id(node)] = "yield" in module.text and isinstance(node, FUNCTIONS) and yields(node)
        return known

    def generates(self, value: Value) -> bool:
        function = value.data.function if isinstance(value.data, Bound) else value.data
        return isinstance(function, Function) and self.is_generator(function.node, function.module)

    def call(self, function: Value, call: Call, node: ast.Call | None, scope: Scope) -> Value:
        """The result of calling any value."""
        data = function.data
        if isinstance(data, Function):
            result = self.run(data, call.arguments, call.keywords, call.place, complete=call.complete)
        elif isinstance(data, Bound):
            result = self.run(data.function, [data.owner, *call.arguments], call.keywords, call.place,
                              complete=call.complete)
        elif isinstance(data, Class):
            result = self.make(data, call, not call.complete)
        elif isinstance(data, Partial):
            result = self.call(data.function, Call([*data.arguments, *call.arguments],
                                                   {**dict(data.keywords), **call.keywords}, call.place, call.complete),
                               node, scope)
        elif isinstance(data, External):
            result = self.outside(data.name, call, node, scope)
        elif isinstance(data, Instance) and (found := self.special(function, "__call__")):
            result = self.call(found, call, node, scope)
        elif isinstance(data, Outside):
            result = self.method(Method(function, "__call__"), call)
        elif isinstance(data, Method):
            result = self.method(data, call)
        elif isinstance(data, Failure):
            result = derived(data, function, *call.values)
        else:
            reason = data.reason if isinstance(data, Unknown) else "depends on a call that is not followed"
            place = data.place if isinstance(data, Unknown) else call.place
            path = isinstance(data, Unknown) and data.path
            result = derived(Unknown(reason, place, path), function, *call.values)
            self.risk("*")
        if function.deps:
            result = Value(result.data, union(function.deps, result.deps), result.sources, result.via, result.loose)
        return result

    @staticmethod
    def special(owner: Value, name: str) -> Value | None:
        """A method of an object of the source that Python calls by itself (`__call__`)."""
        kind = owner.data.kind if isinstance(owner.data, Instance) else None
        found = kind.find(name) if kind else None
        return Value(Bound(found[1].data, owner)) if found and isinstance(found[1].data, Function) else None

    def outside(self, name: str, call: Call, node: ast.Call | None, scope: Scope) -> Value:
        """The result of a function or class that is not in the source."""
        if name in READERS:
            key = call.given(0, "key")
            if key is None:
                return call.unknown("depends on a variable whose name is not known")
            default = call.given(1, "default")
            fails = name.endswith((".pop", ".__getitem__")) and default is None
            return self.read(key, None if fails else default or NONE, call, scope)
        if name.rpartition(".")[0] in ENVIRONMENT:
            if name.endswith((".copy", ".keys")):
                return Value(External("os.environ"))
            if name.endswith((".items", ".values")):
                self.everything(call.place)
            return call.unknown("depends on all variables")
        if name in {"builtins.dict", "builtins.set", "builtins.list", "builtins.tuple", "builtins.frozenset",
                    "builtins.sorted", "builtins.iter", "collections.ChainMap", "types.MappingProxyType"} and any(
                        self.is_environment(value) for value in call.arguments):
            return Value(External("os.environ"))
        if name in EXITS:
            return Value(Failure("SystemExit", call.place, raised=True), union(*(one.deps for one in call.values)))
        known = self.known.get(name)
        if known:
            found = known(self, call, scope)
            if found is not None:
                return found
        self.doubt(call.values, "TypeError|ValueError")
        computed = pure_function(name, call) if call.complete else None
        if computed is not None:
            return computed
        if not HARMLESS.fullmatch(name):
            self.risk("OSError" if name.startswith(OS_ERRORS) else "*")
        last = name.rpartition(".")[2]
        if name == "contextlib.suppress" or (last[:1].isupper() and not name.startswith("builtins.")):
            return derived(Outside(name, dict(call.keywords), {}, list(call.arguments)), *call.values)
        return call.unknown(why_unknown(name), path=name.startswith("pathlib."))

    def method(self, data: Method, call: Call) -> Value:
        """The result of a method of Python's own types or of an outside object."""
        owner, name = data.owner, data.name
        keep = not self.aside
        found: Value | None = None
        if isinstance(owner.data, Items):
            if any(self.is_environment(value) for value in call.arguments):
                return self.names_in_environment(owner, call.place)
            if name in LIST_CHANGES:
                self.changes(owner.data, call.values)
            found = items_method(owner, owner.data, name, call, keep)
        elif isinstance(owner.data, Table):
            if name in DICT_CHANGES:
                self.changes(owner.data, call.values)
            found = table_method(owner, owner.data, name, call, keep)
        elif isinstance(owner.data, Outside):
            known = self.known_methods.get(f"{owner.data.name}.{name}")
            found = known(self, owner, owner.data, call) if known else None
            if found is None:
                self.risk("*")
                found = derived(Unknown(f"depends on {owner.data.name}, which is not in the app's source", call.place),
                                owner, *call.values)
        elif isinstance(owner.data, ATOMS):
            self.doubt(call.values, "TypeError|ValueError")
            found = method(owner, name, call)
            if isinstance(owner.data, PurePosixPath) and isinstance(found.data, Unknown):
                self.risk("OSError")
        return found or derived(Unknown(f"depends on .{name}(), which is not followed", call.place), owner,
                                *call.values)

    def make(self, kind: Class, call: Call, root: bool = False) -> Value:
        """An object of a class of the source."""
        maker = self.makers.get(kind.flavour)
        if maker and not root:
            return maker(kind, call)
        made = Instance(kind, {})
        value = Value(made, loose=root)
        found = kind.find("__init__")
        if found and isinstance(found[1].data, Function):
            function = found[1].data
            if function not in self.stack and len(self.stack) < DEEPEST_CALL:
                names = self.bound(function, [value, *call.arguments], call.keywords, call.place, root)
                self.stack.append(function)
                try:
                    self.body(function, names, call.place)
                finally:
                    self.stack.pop()
            return value
        if maker:
            return maker(kind, call)
        if kind.flavour in {"dataclass", "model"}:
            self.fill(made, kind, call, root)
        return value

    def fill(self, made: Instance, kind: Class, call: Call, root: bool) -> None:
        """Give an object of a dataclass its fields."""
        position = 0
        for base in reversed(kind.lineage()):
            for name, (annotation, line) in base.fields.items():
                if "ClassVar" in ast.dump(annotation)[:200]:
                    continue
                default = base.names.get(name)
                made_by = default.data if default else None
                factory = None
                if isinstance(made_by, Outside) and made_by.name in FIELD_FUNCTIONS:
                    factory = made_by.keywords.get("default_factory")
                    default = made_by.keywords.get("default")
                    if "init" in made_by.keywords and truth(made_by.keywords["init"]) is False:
                        made.values[name] = default or Value(Unknown(f"is set later ({name})", call.place))
                        continue
                given = call.given(position if kind.flavour == "dataclass" else -1, name)
                position += 1
                if given is not None:
                    made.values[name] = self.sent(given, call.place, root)
                elif factory is not None:
                    made.values[name] = self.call(factory, Call([], {}, Place(base.module.file, line)), None,
                                                  Scope(base.module, {}))
                elif default is not None:
                    made.values[name] = default
                else:
                    made.values[name] = Value(Unknown(f"depends on the argument {name}", Place(base.module.file, line)),
                                              loose=True)
        after = kind.find("__post_init__")
        if after and isinstance(after[1].data, Function):
            self.run(after[1].data, [Value(made)], {}, call.place)
