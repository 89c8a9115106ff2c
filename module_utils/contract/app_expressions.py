"""Following the app's source: expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import field
from pathlib import PurePosixPath

from .app_calls import Calls
from .app_known import (
    ALIASES,
    BINARY,
    COMPARE,
    CONSTANTS,
    Call,
    attribute,
    compute,
    compute_union,
    shown,
    why_unknown,
)
from .app_state import (
    MOST_ROUNDS,
)
from .app_syntax import name_of
from .app_values import (
    ATOMS,
    COMPREHENSION,
    NONE,
    NOWHERE,
    Atom,
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
    Parent,
    Partial,
    Pending,
    Scope,
    Table,
    Unknown,
    Value,
    derived,
    merged,
    truth,
    union,
)
from .classes import dataclass
from .model import Place


@dataclass(slots=True, eq=False, repr=False)
class Rounds:
    """What a comprehension gave so far. ``lost`` is what it would give if variables were set."""

    found: list[tuple[Value, Value]] = field(default_factory=list)
    lost: list[tuple[int, Value]] = field(default_factory=list)
    deps: list[tuple[str, ...]] = field(default_factory=list)
    aside: int = 0


class Expressions(Calls):
    """What expressions give."""

    def value(self, node: ast.expr, scope: Scope) -> Value:
        """What an expression gives."""
        handler = EXPRESSIONS.get(type(node))
        self.left -= 1
        self.root_left -= 1
        if handler is None or ((self.left < 0 or self.root_left < 0) and self.too_much(scope, node)):
            return Value(Unknown("is not followed", Place(scope.module.file, getattr(node, "lineno", 0))))
        result: Value = handler(self, node, scope)
        return result

    def on_constant(self, node: ast.Constant, scope: Scope) -> Value:
        return Value(node.value) if node.value is not ... else Value(Unknown("is an ellipsis", Place(
            scope.module.file, node.lineno)))

    def on_name(self, node: ast.Name, scope: Scope) -> Value:
        value = self.lookup(node.id, scope)
        if isinstance(value.data, Pending):
            value = self.arrived(value.data)
        if isinstance(value.data, External):
            self.touch(value.data.name, node, scope)
        elif isinstance(value.data, Unknown) and value.data.place.line == 0:
            return Value(Unknown(value.data.reason, Place(scope.module.file, node.lineno)))
        return self.as_set(value, node, scope)

    def on_attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        owner = self.value(node.value, scope)
        value = self.attribute(owner, node.attr, node, scope)
        if isinstance(value.data, External):
            self.touch(value.data.name, node, scope)
        return self.as_set(value, node, scope)

    def attribute(self, owner: Value, name: str, node: ast.expr, scope: Scope) -> Value:
        data = owner.data
        place = Place(scope.module.file, node.lineno)
        if isinstance(data, External):
            full = f"{data.name}.{name}"
            full = ALIASES.get(full, full)
            if full in self.modules:
                return self.imported(full)
            return Value(CONSTANTS[full]) if full in CONSTANTS else Value(External(full))
        if isinstance(data, Module):
            self.load(data)
            if name in data.names:
                if name in data.changed:
                    return Value(Unknown(f"depends on {name}, which a function changes",
                                         Place(data.file, data.changed[name])))
                value = data.names[name]
                return self.arrived(value.data) if isinstance(value.data, Pending) else value
            if f"{data.name}.{name}" in self.modules:
                return self.imported(f"{data.name}.{name}")
            return Value(Unknown(f"depends on {name}, which {data.file} does not have", place))
        if isinstance(data, Instance):
            return self.instance_attribute(owner, data, name, place)
        if isinstance(data, Class):
            found = data.find(name)
            if found:
                inner = found[1].data
                if isinstance(inner, Function) and inner.kind == "class":
                    return Value(Bound(inner, owner))
                return found[1]
            return derived(Unknown(f"depends on {data.name}.{name}, which is not in the app's source", place), owner)
        if isinstance(data, Parent):
            for base in data.kind.lineage()[1:]:
                if name in base.names:
                    inner = base.names[name].data
                    return Value(Bound(inner, data.owner)) if isinstance(inner, Function) else base.names[name]
            return Value(Unknown("depends on a class that is not in the app's source", place))
        if isinstance(data, Unknown):
            self.risk("AttributeError")
            return derived(data, owner)
        if isinstance(data, Failure):
            return derived(Failure(data.error, data.place, data.path), owner)
        return attribute(owner, name, place) or derived(Method(owner, name), owner)

    def instance_attribute(self, owner: Value, data: Instance, name: str, place: Place) -> Value:
        if name in data.values:
            value = data.values[name]
            return value if not owner.loose or value.loose else \
                Value(value.data, value.deps, value.sources, value.via, True)
        found = data.kind.find(name) if data.kind else None
        by_name = self.special(owner, "__getattr__") if found is None else None
        if by_name is not None:
            return self.call(by_name, Call([Value(name, via=place)], {}, place), None, Scope(NOWHERE, {}))
        if found is None:
            kind = data.kind.name if data.kind else "an object"
            return Value(Unknown(f"depends on {kind}.{name}, which is not known", place), loose=owner.loose)
        inner = found[1].data
        if not isinstance(inner, Function):
            return found[1]
        if inner.kind == "property":
            return self.run(inner, [owner], {}, place)
        if inner.kind == "static":
            return found[1]
        return Value(Bound(inner, Value(data.kind) if inner.kind == "class" else owner))

    def on_call(self, node: ast.Call, scope: Scope, decorator: bool = False, unused: bool = False) -> Value:
        place = Place(scope.module.file, node.lineno)
        if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args and scope.function:
            owner = next(iter(scope.names.values()), NONE)
            if scope.owner:
                return Value(Parent(owner, scope.owner))
        function = self.value(node.func, scope)
        call = self.arguments(node, scope, place)
        if self.catchers:
            # What fails is known only together with its arguments: none of them is computed any more.
            for value in call.values:
                if isinstance(value.data, Failure) and self.caught(value.data.error):
                    return derived(value.data, value, *call.values)
        name = function.data.name if isinstance(function.data, External) else name_of(node.func)
        seen = self.observer(name, node, call, function, scope, decorator)
        if unused and seen is None and isinstance(function.data, (Function, Bound)):
            called = function.data if isinstance(function.data, Function) else function.data.function
            alone = scope.function is None and not call.values
            if alone or not self.telling(called):
                self.skipped[(id(self.stack[0]) if self.stack else 0, id(called))] = called
                # Nobody uses its result, and what it does by itself is looked at by itself.
                return NONE
        result = seen if seen is not None else self.call(function, call, node, scope)
        if call.deps:
            result = Value(result.data, union(call.deps, result.deps), result.sources, result.via, result.loose)
        return result

    def arguments(self, node: ast.Call, scope: Scope, place: Place) -> Call:
        call = Call([], {}, place, True, node.col_offset)
        for part in node.args:
            if isinstance(part, ast.Starred):
                value = self.value(part.value, scope)
                values = self.each(value, place)
                call.complete = call.complete and values is not None
                call.deps = union(call.deps, value.deps)
                call.arguments += values or []
            else:
                call.arguments.append(self.value(part, scope))
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg:
                call.keywords[keyword.arg] = value
            elif isinstance(value.data, Table) and value.data.entries is not None:
                call.keywords.update({str(key): entry for key, (_, entry) in value.data.entries.items()})
            else:
                call.complete = False
        return call

    def on_subscript(self, node: ast.Subscript, scope: Scope) -> Value:
        owner = self.value(node.value, scope)
        place = Place(scope.module.file, node.lineno)
        if isinstance(node.slice, ast.Slice):
            bounds = [self.value(part, scope) if part else NONE for part in
                      (node.slice.lower, node.slice.upper, node.slice.step)]
            limits = [one.data for one in bounds if one.data is None or isinstance(one.data, int)]
            if isinstance(owner.data, Items) and owner.data.values is not None and len(limits) == 3:
                steps = slice(*limits)
                lines = owner.data.lines[steps] if owner.data.lines else []
                return derived(Items(owner.data.kind, owner.data.values[steps], lines, owner.data.file), owner)
            return compute(lambda text, *parts: text[slice(*parts)], [owner, *bounds], place)
        key = self.value(node.slice, scope)
        self.doubt((owner, key), "KeyError|IndexError|TypeError")
        if self.is_environment(owner):
            if isinstance(node.ctx, ast.Load):
                return self.read(key, None, Call([], {}, place, True, node.col_offset), scope)
            return NONE
        data = owner.data
        by_key = self.special(owner, "__getitem__")
        if by_key is not None:
            return self.call(by_key, Call([key], {}, place, True, node.col_offset), None, scope)
        if isinstance(data, Table) and isinstance(key.data, ATOMS):
            if data.entries is None:
                return derived(Unknown("depends on a dict whose content is not known", place), owner, key)
            entry = data.entries.get(key.data)
            return derived(entry[1].data, owner, key, entry[1]) if entry else derived(Failure("KeyError", place), key)
        if isinstance(data, Items) and isinstance(key.data, int):
            if data.values is None:
                return derived(Unknown("depends on a list whose content is not known", place), owner, key)
            try:
                one = data.values[key.data]
            except IndexError:
                return derived(Failure("IndexError", place), owner, key)
            return Value(one.data, union(owner.deps, key.deps, one.deps), one.sources, one.via, one.loose)
        if isinstance(data, (str, bytes, Failure, Unknown)):
            return compute(lambda text, index: text[index], [owner, key], place)
        if isinstance(data, Class) and data.flavour == "enum" and isinstance(key.data, str) and key.data in data.names:
            return data.names[key.data]
        reason = why_unknown(data.name) if isinstance(data, External) else "depends on a part that is not followed"
        return derived(Unknown(reason, place), owner, key)

    def on_bool(self, node: ast.BoolOp, scope: Scope) -> Value:
        value = self.value(node.values[0], scope)
        wanted = isinstance(node.op, ast.And)
        for part in node.values[1:]:
            known = truth(value)
            if known is None or isinstance(value.data, Failure):
                other, _ = self.beside(part, scope, value.deps)
                if not wanted:
                    for read in value.sources:
                        read.falls_back(other)
                    if isinstance(value.data, Unknown) and not value.sources and not isinstance(other.data, Unknown):
                        value = self.alike(value, other, value)
                value = derived(value.data, value, other)
            elif known is wanted:
                other = self.value(part, scope)
                if not wanted:
                    for read in value.sources:
                        read.falls_back(other)
                value = Value(other.data, union(value.deps, other.deps), merged([value.sources, other.sources])
                              if not wanted else other.sources, other.via, value.loose or other.loose)
            else:
                other, _ = self.beside(part, scope, value.deps)
                sources = value.sources if not wanted else merged([value.sources, other.sources])
                value = Value(value.data, union(value.deps, other.deps), sources, value.via, value.loose)
        return value

    def beside(self, node: ast.expr, scope: Scope, assumed: tuple[str, ...]) -> tuple[Value, dict[str, Value]]:
        """An expression that is not reached, or perhaps not."""
        found: list[Value] = []

        def run() -> None:
            found.append(self.value(node, scope))

        _, names = self.on_the_side(run, scope, assumed, None, False)
        return found[0], names

    def on_choice(self, node: ast.IfExp, scope: Scope) -> Value:
        test = self.value(node.test, scope)
        known = truth(test)
        if known is None or isinstance(test.data, Failure):
            one, other = self.value(node.body, scope), self.value(node.orelse, scope)
            if isinstance(test.data, Failure):
                return derived(test.data, test, one, other)
            for value, instead in ((one, other), (other, one)):
                self.stand_in(test.deps, [read for read in value.sources if self.set_here(read.name)], instead)
            return self.alike(one, other, test, Place(scope.module.file, node.lineno))
        live = self.value(node.body if known else node.orelse, scope)
        dead, _ = self.beside(node.orelse if known else node.body, scope, test.deps)
        if not test.deps:
            return live
        self.stand_in(test.deps, dead.sources, live)
        self.stand_in(tuple(read.name for read in dead.sources), test.sources, live)
        return Value(live.data, union(test.deps, live.deps, dead.deps), merged([live.sources, dead.sources]), live.via,
                     live.loose)

    def on_unary(self, node: ast.UnaryOp, scope: Scope) -> Value:
        value = self.value(node.operand, scope)
        if isinstance(node.op, ast.Not):
            known = truth(value)
            if known is None or isinstance(value.data, Failure):
                return value
            return Value(not known, value.deps, (), None, value.loose)
        functions = {ast.USub: lambda number: -number, ast.UAdd: lambda number: +number}
        function = functions.get(type(node.op), lambda number: ~number)
        return compute(function, [value], Place(scope.module.file, node.lineno))

    def on_binary(self, node: ast.BinOp, scope: Scope) -> Value:
        # Long chains (a + b + c ...) lean to the left: their depth must not be the interpreter's.
        chain: list[ast.BinOp] = [node]
        while isinstance(chain[-1].left, ast.BinOp):
            chain.append(chain[-1].left)
        value = self.value(chain[-1].left, scope)
        for part in reversed(chain):
            value = self.binary(part.op, value, self.value(part.right, scope), Place(scope.module.file, part.lineno))
        return value

    def binary(self, op: ast.operator, one: Value, other: Value, place: Place) -> Value:
        name = type(op).__name__
        for first, second in ((one, other), (other, one)):
            if self.is_environment(first):
                if name == "BitOr":
                    return Value(External("os.environ"))
                if isinstance(second.data, Items):
                    return self.names_in_environment(second, place)
        if isinstance(one.data, Items) or isinstance(other.data, Items):
            if name in {"Add", "BitOr"}:
                return compute_union(one, other)
            if name == "Sub" and isinstance(one.data, Items) and isinstance(other.data, Items):
                mine, others = one.data.values, other.data.values
                if mine is not None and others is not None and all(isinstance(part.data, ATOMS) for part in others):
                    gone = [part.data for part in others]
                    return derived(Items("set", [part for part in mine if part.data not in gone]), one, other)
                return derived(Items("set", None), one, other)
        if isinstance(one.data, Table) and isinstance(other.data, Table) and name == "BitOr":
            if one.data.entries is None or other.data.entries is None:
                return derived(Table(None), one, other)
            return derived(Table({**one.data.entries, **other.data.entries}), one, other)
        path = name == "Div" and (isinstance(one.data, PurePosixPath) or isinstance(other.data, PurePosixPath)
                                  or any(getattr(part.data, "path", False) for part in (one, other)))
        function = BINARY.get(name)
        self.doubt((one, other), "TypeError|ValueError")
        if function is None:
            return derived(Unknown("is computed in a way that is not followed", place), one, other)
        return compute(function, [one, other], place, path)

    def on_compare(self, node: ast.Compare, scope: Scope) -> Value:
        place = Place(scope.module.file, node.lineno)
        left = self.value(node.left, scope)
        result = Value(True)
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part, scope)
            result = self.both(result, self.compared(type(op).__name__, left, right, place, part.col_offset, scope))
            left = right
        return result

    @staticmethod
    def both(one: Value, other: Value) -> Value:
        deps = union(one.deps, other.deps)
        chosen = next((part for part in (one, other) if part.data is not True), other)
        return Value(chosen.data, deps, other.sources, None, one.loose or other.loose)

    def compared(
        self, name: str, left: Value, right: Value, place: Place, column: int, scope: Scope
    ) -> Value:
        if self.is_environment(right) and name in {"In", "NotIn"}:
            value = self.read(left, NONE, Call([], {}, place, True, column), scope, presence=True)
            if value.known:
                return Value(name == "NotIn", value.deps, (), None, left.loose)
            reason = value.data if not value.deps else Unknown("depends on a variable", place)
            return Value(reason, value.deps, (), None, left.loose)
        for one, other in ((left, right), (right, left)):
            if self.is_environment(one) and isinstance(other.data, Items):
                found = self.names_in_environment(other, place)
                return derived(False, found) if isinstance(found.data, Items) and found.data.values else found
        if name in {"Is", "IsNot", "Eq", "NotEq"}:
            for one, other in ((left, right), (right, left)):
                if other.data is None and isinstance(one.data, (Items, Table, Instance, Function, Class, Module, Bound,
                                                                External, Outside, Partial, Method)):
                    return Value(name in {"IsNot", "NotEq"}, union(left.deps, right.deps))
        value = compute(COMPARE[name], [left, right], place)
        return Value(value.data, value.deps, (), None, value.loose)

    def on_text(self, node: ast.JoinedStr, scope: Scope) -> Value:
        parts = [self.value(part, scope) for part in node.values]
        return compute(lambda *texts: "".join(texts), parts, Place(scope.module.file, node.lineno))

    def on_field(self, node: ast.FormattedValue, scope: Scope) -> Value:
        place = Place(scope.module.file, node.lineno)
        value = self.value(node.value, scope)
        spec = self.value(node.format_spec, scope) if node.format_spec else Value("")
        if node.conversion == ord("r"):
            return self.outside("builtins.repr", Call([value], {}, place), None, scope)
        return compute(shown, [value, spec], place)

    def on_sequence(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> Value:
        values: list[Value] | None = []
        lines: list[int] = []
        deps: tuple[str, ...] = ()
        for part in node.elts:
            if isinstance(part, ast.Starred):
                whole = self.value(part.value, scope)
                more = self.each(whole, Place(scope.module.file, part.lineno))
                deps = union(deps, whole.deps)
                if more is None or values is None:
                    values = None
                else:
                    values += more
                    lines += [part.lineno] * len(more)
                continue
            value = self.value(part, scope)
            if self.catchers and isinstance(value.data, Failure) and self.caught(value.data.error):
                return value
            if values is not None:
                values.append(value)
                lines.append(part.lineno)
        kind = {ast.Tuple: "tuple", ast.List: "list"}.get(type(node), "set")
        return Value(Items(kind, values, lines, scope.module.file, perhaps=self.perhaps), deps)

    def on_dict(self, node: ast.Dict, scope: Scope) -> Value:
        entries: dict[Atom, tuple[Value, Value]] | None = {}
        environment = False
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self.value(value_node, scope)
            if key_node is None:
                environment = environment or self.is_environment(value)
                if isinstance(value.data, Table) and value.data.entries is not None and entries is not None:
                    entries.update(value.data.entries)
                else:
                    entries = None
                continue
            key = self.value(key_node, scope)
            if self.catchers and isinstance(value.data, Failure) and self.caught(value.data.error):
                return value
            if entries is not None and isinstance(key.data, ATOMS):
                via = key.via or Place(scope.module.file, key_node.lineno)
                entries[key.data] = (Value(key.data, key.deps, key.sources, via, key.loose), value)
            else:
                entries = None
        return Value(External("os.environ")) if environment else Value(Table(entries, (), self.perhaps))

    def on_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope
    ) -> Value:
        inner = Scope(scope.module, {}, scope, COMPREHENSION, scope.owner, depth=scope.depth)
        rounds = Rounds()
        certain = self.round(node, 0, inner, rounds)
        if self.catchers:
            failing = next((one for _, one in rounds.found if isinstance(one.data, Failure)
                            and self.caught(one.data.error)), None)
            if failing is not None:
                return failing
        deps = union(*rounds.deps)
        if isinstance(node, ast.DictComp):
            entries = {key.data: (key, value) for key, value in rounds.found if isinstance(key.data, ATOMS)}
            return Value(Table(entries if certain else None, (), self.perhaps), deps)
        kind = "set" if isinstance(node, ast.SetComp) else "list"
        values = [value for _, value in rounds.found] if certain else None
        return Value(Items(kind, values, [], "", rounds.lost, (), self.perhaps), deps)

    def round(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, index: int, inner: Scope,
        rounds: Rounds,
    ) -> bool:
        """Go through one `for` of a comprehension and those in it; returns whether what they give is known."""
        if index == len(node.generators):
            key = self.value(node.key, inner) if isinstance(node, ast.DictComp) else NONE
            value = self.value(node.value if isinstance(node, ast.DictComp) else node.elt, inner)
            if rounds.aside:
                rounds.lost.append((len(rounds.found), value))
            else:
                rounds.found.append((key, value))
            return len(rounds.found) <= MOST_ROUNDS
        part = node.generators[index]
        place = Place(inner.module.file, part.iter.lineno)
        whole = self.value(part.iter, inner)
        values = self.each(whole, place)
        certain = values is not None and len(values) <= MOST_ROUNDS
        rounds.deps.append(whole.deps)
        why = whole.data.reason if isinstance(whole.data, Unknown) else "depends on a loop"
        unknown = Value(Unknown(why, place), whole.deps, (), None, whole.loose)
        for value in (values or [unknown])[:MOST_ROUNDS]:
            self.assign(part.target, value, Scope(inner.module, inner.names, None, COMPREHENSION))
            tests = [self.value(condition, inner) for condition in part.ifs]
            deps = union(*(test.deps for test in tests))
            rounds.deps.append(deps)
            answers = [truth(test) for test in tests]
            if values == [] or False in answers:
                # What it would give, if variables were set.
                rounds.aside += 1
                self.on_the_side(lambda: self.inner_round(node, index + 1, inner, rounds), inner, deps, None, True)
                rounds.aside -= 1
            else:
                certain = self.round(node, index + 1, inner, rounds) and certain and None not in answers
        return certain

    def inner_round(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, index: int, inner: Scope,
        rounds: Rounds,
    ) -> None:
        self.round(node, index, inner, rounds)

    def on_walrus(self, node: ast.NamedExpr, scope: Scope) -> Value:
        value = self.value(node.value, scope)
        self.assign(node.target, value, scope)
        return value

    def on_lambda(self, node: ast.Lambda, scope: Scope) -> Value:
        function = self.function(node, scope)
        if scope.function is None:
            self.functions.append(function)
        elif self.telling(function):
            self.call_aside(function)
        return Value(function)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope) -> Function:
        closure: Scope | None = scope
        while closure is not None and closure.is_class:
            closure = closure.parent
        if closure is not None and closure.function is None and closure.parent is None:
            closure = None  # A file's own names are looked up in the file.
        made = Function(node, scope.module, closure, scope.owner if scope.is_class else None)
        plain = [*node.args.posonlyargs, *node.args.args]
        for parameter, default in zip(reversed(plain), reversed(node.args.defaults), strict=False):
            made.defaults[parameter.arg] = self.value(default, scope)
        for parameter, given in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            if given is not None:
                made.defaults[parameter.arg] = self.value(given, scope)
        return made

    def on_await(self, node: ast.Await, scope: Scope) -> Value:
        return self.value(node.value, scope)

    def on_yield(self, node: ast.Yield | ast.YieldFrom, scope: Scope) -> Value:
        value = self.value(node.value, scope) if node.value else NONE
        return derived(Unknown("depends on what is sent to a generator", Place(scope.module.file, node.lineno)), value)

    def on_starred(self, node: ast.Starred, scope: Scope) -> Value:
        return derived(Unknown("is unpacked", Place(scope.module.file, node.lineno)), self.value(node.value, scope))

    def assign(self, target: ast.expr, value: Value, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            owning = self.place_of(target.id, scope)
            if owning is not scope and target.id in scope.outer:
                self.keep(owning.names, target.id, value, Place(scope.module.file, target.lineno))
            else:
                owning.names[target.id] = value
            if owning.function is None and not owning.is_class and owning.parent is None and not self.aside:
                owning.module.assigned.setdefault(target.id, target.lineno)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self.unpack(target, value, scope)
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value, scope)
            place = Place(scope.module.file, target.lineno)
            if isinstance(owner.data, Instance):
                self.keep(owner.data.values, target.attr, value, place)
            elif isinstance(owner.data, (Class, Module)):
                self.keep(owner.data.names, target.attr, value, place)
        elif isinstance(target, ast.Subscript):
            owner, key = self.value(target.value, scope), self.value(target.slice, scope)
            if isinstance(owner.data, (Table, Items)):
                self.changes(owner.data, [key, value])
            if isinstance(owner.data, Table) and owner.data.entries is not None and not self.aside:
                if isinstance(key.data, ATOMS):
                    owner.data.entries[key.data] = (key, value)
                else:
                    owner.data.entries = None
            elif isinstance(owner.data, Items) and not self.aside:
                owner.data.values = None

    @staticmethod
    def place_of(name: str, scope: Scope) -> Scope:
        """The scope in which an assignment to a name is kept."""
        while scope.function is COMPREHENSION and scope.parent:
            scope = scope.parent
        if name in scope.outer:
            current = scope.parent
            while current is not None:
                if name in current.names and not current.is_class:
                    return current
                current = current.parent
        return scope

    def unpack(self, target: ast.Tuple | ast.List, value: Value, scope: Scope) -> None:
        place = Place(scope.module.file, target.lineno)
        values = self.each(value, place) if isinstance(value.data, Items) else None
        starred = any(isinstance(part, ast.Starred) for part in target.elts)
        if values is None or starred or len(values) != len(target.elts):
            why = value.data.reason if isinstance(value.data, Unknown) else "is unpacked in a way that is not followed"
            values = [derived(Unknown(why, place), value) for _ in target.elts]
        for part, one in zip(target.elts, values, strict=True):
            self.assign(part.value if isinstance(part, ast.Starred) else part, one, scope)


EXPRESSIONS: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Constant: Expressions.on_constant, ast.Name: Expressions.on_name, ast.Attribute: Expressions.on_attribute,
    ast.Call: Expressions.on_call, ast.Subscript: Expressions.on_subscript, ast.BoolOp: Expressions.on_bool,
    ast.IfExp: Expressions.on_choice, ast.UnaryOp: Expressions.on_unary, ast.BinOp: Expressions.on_binary,
    ast.Compare: Expressions.on_compare, ast.JoinedStr: Expressions.on_text, ast.FormattedValue: Expressions.on_field,
    ast.Tuple: Expressions.on_sequence, ast.List: Expressions.on_sequence, ast.Set: Expressions.on_sequence,
    ast.Dict: Expressions.on_dict, ast.ListComp: Expressions.on_comprehension,
    ast.SetComp: Expressions.on_comprehension, ast.GeneratorExp: Expressions.on_comprehension,
    ast.DictComp: Expressions.on_comprehension, ast.NamedExpr: Expressions.on_walrus, ast.Lambda: Expressions.on_lambda,
    ast.Await: Expressions.on_await, ast.Yield: Expressions.on_yield, ast.YieldFrom: Expressions.on_yield,
    ast.Starred: Expressions.on_starred,
}
