"""Following the app's source: imports, functions and classes."""

from __future__ import annotations

import ast

from .app_expressions import Expressions
from .app_known import (
    ALIASES,
    CONSTANTS,
    STARS,
    Call,
)
from .app_state import RAISE, Outcome
from .app_syntax import flavour, name_of
from .app_values import (
    NONE,
    Bound,
    Class,
    External,
    Function,
    Module,
    Pending,
    Scope,
    Value,
)
from .model import Place


class Definitions(Expressions):
    """Statements that give something a name."""

    def on_import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            if alias.asname:
                scope.names[alias.asname] = self.imported(alias.name)
            else:
                first = alias.name.partition(".")[0]
                if alias.name in self.modules:
                    self.imported(alias.name)
                scope.names[first] = self.imported(first)

    def imported(self, name: str) -> Value:
        module = self.modules.get(name)
        if module is None:
            return Value(External(ALIASES.get(name, name)))
        self.load(module)
        return Value(module)

    def on_import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        source = node.module or ""
        if node.level:
            package = scope.module.package.split(".") if scope.module.package else []
            kept = package[: len(package) - node.level + 1] if node.level > 1 else package
            source = ".".join([*kept, *([node.module] if node.module else [])])
        base = self.imported(source) if source in self.modules or not node.level else None
        for alias in node.names:
            if alias.name == "*":
                self.import_all(base, scope)
                continue
            scope.names[alias.asname or alias.name] = self.member(base, source, alias.name, node, scope)

    def member(self, base: Value | None, source: str, name: str, node: ast.stmt, scope: Scope) -> Value:
        """A name that is imported from a module."""
        if base is not None and isinstance(base.data, Module):
            if name in base.data.names:
                return base.data.names[name]
            if f"{source}.{name}" in self.modules:
                return self.imported(f"{source}.{name}")
            return Value(Pending(base.data, name, Place(scope.module.file, node.lineno)))
        if f"{source}.{name}" in self.modules:
            return self.imported(f"{source}.{name}")
        full = f"{base.data.name if base and isinstance(base.data, External) else source}.{name}"
        full = ALIASES.get(full, full)
        if full in CONSTANTS:
            return Value(CONSTANTS[full])
        return Value(External(full))

    def import_all(self, base: Value | None, scope: Scope) -> None:
        if base is None:
            return
        if isinstance(base.data, Module):
            scope.names.update({name: value for name, value in base.data.names.items() if not name.startswith("_")})
        elif isinstance(base.data, External) and base.data.name in STARS:
            for name in STARS[base.data.name]:
                scope.names[name] = Value(External(f"{base.data.name}.{name}"))

    def on_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        function = self.function(node, scope)
        value = Value(function)
        for decorator in reversed(node.decorator_list):
            value = self.decorated(decorator, value, function, scope)
        scope.names[node.name] = value
        if scope.function is not None:
            scope.later.append(function)
        else:
            self.functions.append(function)

    def decorated(self, node: ast.expr, value: Value, function: Function, scope: Scope) -> Value:
        """A function with a decorator. One that is not in the source is taken to keep what the function gives."""
        name = name_of(node)
        if name in {"property", "cached_property", "staticmethod", "classmethod"}:
            function.kind = {"staticmethod": "static", "classmethod": "class"}.get(name, "property")
            return value
        decorator = self.value(node, scope) if not isinstance(node, ast.Call) else self.on_call(node, scope, True)
        if isinstance(node, ast.Call) and name in {"option", "argument"}:
            self.option(node, function, scope)
        if isinstance(decorator.data, (Function, Bound, Class)):
            made = self.call(decorator, Call([value], {}, Place(scope.module.file, node.lineno)), None, scope)
            if isinstance(made.data, (Function, Bound)) and not (
                    isinstance(decorator.data, Class) or self.generates(decorator)):
                return made
        return value

    def option(self, node: ast.Call, function: Function, scope: Scope) -> None:
        """`@click.option("--port", default=8000)` gives a parameter its default."""
        names = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        longest = next((name for name in names if name.isidentifier()), max(names, key=len, default=""))
        for keyword in node.keywords:
            if keyword.arg == "default" and longest:
                function.defaults.setdefault(longest.lstrip("-").replace("-", "_").lower(),
                                             self.value(keyword.value, scope))

    def on_class(self, node: ast.ClassDef, scope: Scope) -> Outcome | None:
        bases, outside = [], []
        for base in node.bases:
            value = self.value(base, scope)
            if isinstance(value.data, Class):
                bases.append(value.data)
                outside += value.data.outside
            else:
                outside.append(value.data.name if isinstance(value.data, External) else name_of(base))
        keywords = {part.arg: self.value(part.value, scope) for part in node.keywords if part.arg}
        made = Class(node.name, scope.module, node, bases, outside, {}, keywords)
        made.flavour = next((base.flavour for base in bases if base.flavour), "") or flavour(node, outside)
        inner = Scope(scope.module, made.names, scope, scope.function, made, is_class=True)
        outcome = self.block(node.body, inner)
        made.names = inner.names
        if outcome is not None and outcome.kind == RAISE:
            outcome.names, outcome.assumed = None, ()
            return outcome
        for decorator in node.decorator_list:
            self.value(decorator, scope)
        for name, value in list(made.names.items()):
            place = Place(scope.module.file, made.fields[name][1] if name in made.fields else node.lineno)
            for method, arguments in (("__set_name__", [Value(made), Value(name)]), ("__get__", [NONE, Value(made)])):
                found = self.special(value, method)
                if found is not None:
                    self.call(found, Call(arguments, {}, place), None, scope)
        self.nested(inner)
        self.classes.append(made)
        scope.names[node.name] = Value(made)
        return None

    def on_global(self, node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
        (scope.shared if isinstance(node, ast.Global) else scope.outer).update(node.names)

    def on_delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                scope.names.pop(target.id, None)
            elif isinstance(target, ast.Subscript):
                self.value(target.value, scope)
