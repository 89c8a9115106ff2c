"""Settings classes that read variables by their fields' names, and the usual packages that read them by a call.

pydantic-settings (`BaseSettings`), python-decouple (`config("X", default=...)`), Starlette's `Config` and environs.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from .app_known import Call, compute
from .app_state import State
from .app_syntax import name_of
from .app_values import (
    ATOMS,
    NONE,
    NOWHERE,
    Class,
    External,
    Failure,
    Function,
    Instance,
    Items,
    Outside,
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

DEEPEST_MODEL = 4
VALIDATORS = frozenset({"field_validator", "validator"})
ENVIRONS = ("__call__", "str", "int", "bool", "float", "list", "json", "url", "dict", "decimal", "log_level", "db")
WHOLE_VALIDATORS = frozenset({"model_validator", "root_validator"})


@dataclass(frozen=True, slots=True)
class Options:
    """How names of variables are made of names of fields."""

    prefix: str = ""
    delimiter: str = ""
    exact: bool = False
    known: bool = True

    def name(self, field: str) -> str:
        return field if self.exact else field.upper()


def options_of(kind: Class) -> Options:
    """The options of a settings class, its own before its bases'."""
    found: dict[str, Value] = {}
    known = True
    for base in reversed(kind.lineage()):
        config = base.names.get("model_config")
        if config is not None:
            if isinstance(config.data, Outside):
                found.update(config.data.keywords)
            elif isinstance(config.data, Table) and config.data.entries is not None:
                found.update({str(key): value for key, (_, value) in config.data.entries.items()})
            else:
                known = False
        old = base.names.get("Config")
        if old is not None and isinstance(old.data, Class):
            found.update(old.data.names)
        found.update(base.keywords)
        known = known and "settings_customise_sources" not in base.names
    prefix, delimiter = found.get("env_prefix", Value("")), found.get("env_nested_delimiter", NONE)
    known = known and isinstance(prefix.data, str) and isinstance(delimiter.data, (str, type(None)))
    return Options(str(prefix.data) if isinstance(prefix.data, str) else "",
                   str(delimiter.data) if isinstance(delimiter.data, str) else "",
                   bool(truth(found["case_sensitive"])) if "case_sensitive" in found else False, known)


class SettingsMaker:
    """Makes objects of settings classes: their fields are what the variables say, or the fields' defaults."""

    def __init__(self, run: State) -> None:
        self.run = run

    def __call__(self, kind: Class, call: Call) -> Value:
        options = options_of(kind)
        made = Instance(kind, {})
        if not options.known:
            self.run.note(Place(kind.module.file, kind.node.lineno),
                          f"the names of the variables of {kind.name} are not known", "")
        given = {} if not call.complete else call.keywords
        self.fill(made, kind, options, options.prefix, given, 0)
        self.validated(made, kind)
        after = kind.find("model_post_init")
        if after and isinstance(after[1].data, Function):
            self.run.run(after[1].data, [Value(made), NONE], {}, call.place)
        return Value(made)

    def fill(
        self, made: Instance, kind: Class, options: Options, prefix: str, given: Mapping[str, Value], depth: int
    ) -> None:
        for base in reversed(kind.lineage()):
            scope = Scope(base.module, base.names)
            for name, (annotation, line) in base.fields.items():
                if name.startswith("_") or name == "model_config" or "ClassVar" in ast.dump(annotation)[:200]:
                    continue
                if name in given:
                    made.values[name] = given[name]
                    continue
                place = Place(base.module.file, line)
                made.values[name] = self.field(name, annotation, place, base, scope, options, prefix, depth)

    def field(
        self, name: str, annotation: ast.expr, place: Place, base: Class, scope: Scope, options: Options, prefix: str,
        depth: int,
    ) -> Value:
        """The value of a field, and a note of the variables that it reads."""
        default, about = self.default_of(name, annotation, place, base, scope)
        names = self.names_of(name, about, options, prefix, place)
        model = self.model_of(annotation, scope)
        if model is not None and options.delimiter and depth < DEEPEST_MODEL:
            inner = Instance(model, {})
            start = f"{names[0] if names else options.name(prefix + name)}{options.name(options.delimiter)}"
            base_values = default.data.values if default and isinstance(default.data, Instance) else {}
            self.nested(inner, model, options, start, base_values, depth + 1)
            return Value(inner)
        value = default if default is not None else None
        if value is not None:
            value = converted(value, annotation, place)
        shown = textual(value)
        result: Value | None = None
        for variable in names:
            read = self.run.read(Value(variable), shown, Call([], {}, place), scope)
            result = read if result is None else Value(read.data, union(result.deps, read.deps), merged(
                [result.sources, read.sources]))
        if result is None:
            return value or Value(Unknown(f"depends on the argument {name}", place))
        if isinstance(result.data, (Failure, Unknown)) or value is None:
            return result
        return Value(value.data, union(result.deps, value.deps), result.sources)

    def nested(
        self, made: Instance, kind: Class, options: Options, prefix: str, defaults: Mapping[str, Value], depth: int
    ) -> None:
        """Fields of a model in a field: `QTS_BROKER__HOST`."""
        self.fill(made, kind, options, prefix, {}, depth)
        for name, value in defaults.items():
            old = made.values.get(name)
            if old is not None and isinstance(value.data, ATOMS) and not isinstance(old.data, Instance):
                for read in old.sources:
                    read.default, read.resolved = None, True
                    read.falls_back(textual(value) or NONE)
                made.values[name] = Value(value.data, union(old.deps, value.deps), old.sources)

    def default_of(
        self, name: str, annotation: ast.expr, place: Place, base: Class, scope: Scope
    ) -> tuple[Value | None, Mapping[str, Value]]:
        """The default of a field, None when it has none, and what its `Field(...)` says."""
        default = base.names.get(name)
        about: dict[str, Value] = {}
        for part in ast.walk(annotation):
            if isinstance(part, ast.Call) and name_of(part) == "Field":
                found = self.run.value(part, scope)
                about.update(found.data.keywords if isinstance(found.data, Outside) else {})
        if default is not None and isinstance(default.data, Outside) and default.data.name == "pydantic.Field":
            about.update(default.data.keywords)
            default = None
        elif default is not None and isinstance(default.data, Unknown) and default.data.reason == "is an ellipsis":
            default = None
        if default is None and "default" in about:
            default = about["default"]
        if default is None and "default_factory" in about:
            default = self.run.call(about["default_factory"], Call([], {}, place), None, scope)
        return default, about

    def names_of(
        self, name: str, about: Mapping[str, Value], options: Options, prefix: str, place: Place
    ) -> list[str]:
        """Variables that a field reads, the strongest first."""
        for key in ("validation_alias", "alias", "env"):
            given = about.get(key)
            if given is None or given.data is None:
                continue
            parts: list[Value] = [given]
            if isinstance(given.data, Outside):
                parts = given.data.arguments[:1] if given.data.name.endswith("AliasPath") else given.data.arguments
            elif isinstance(given.data, Items):
                parts = self.run.each(given, place) or []
            texts = [part.data for part in parts if isinstance(part.data, str)]
            if len(texts) != len(parts) or not texts:
                self.run.note(place, f"the names of the variables of {name} are not known", "")
            return [options.name(text) for text in texts]
        return [options.name(prefix + name)] if options.known else []

    def model_of(self, annotation: ast.expr, scope: Scope) -> Class | None:
        """The model of the source that a field holds, if it is one."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str) and \
                annotation.value.isidentifier():
            annotation = ast.Name(annotation.value, ast.Load(), lineno=annotation.lineno)
        if isinstance(annotation, (ast.Name, ast.Attribute)):
            found = self.run.value(annotation, scope)
            if isinstance(found.data, Class) and found.data.flavour in {"model", "settings", "dataclass"}:
                return found.data
        return None

    @staticmethod
    def validated(made: Instance, kind: Class) -> None:
        """A field that a validator looks at may be changed by it."""
        for base in kind.lineage():
            for statement in base.node.body:
                if not isinstance(statement, ast.FunctionDef):
                    continue
                for name in changed_by(statement):
                    for field in made.values if name == "*" else [name]:
                        old = made.values.get(field)
                        if old is not None:
                            place = Place(base.module.file, statement.lineno)
                            made.values[field] = derived(Unknown("may be changed by a validator", place, isinstance(
                                old.data, PurePosixPath)), old)


def changed_by(node: ast.FunctionDef) -> Iterator[str]:
    """Fields that a validator may change."""
    for decorator in node.decorator_list:
        name = name_of(decorator)
        if name in VALIDATORS and isinstance(decorator, ast.Call):
            yield from (part.value for part in decorator.args
                        if isinstance(part, ast.Constant) and isinstance(part.value, str))
        elif name in WHOLE_VALIDATORS:
            for part in ast.walk(node):
                if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                    yield part.attr
                elif isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store) \
                        and isinstance(part.slice, ast.Constant):
                    yield str(part.slice.value)


def converted(value: Value, annotation: ast.expr, place: Place) -> Value:
    """A default as the field's type: pydantic makes paths of texts, and numbers."""
    names = {part.id if isinstance(part, ast.Name) else part.attr for part in ast.walk(annotation)
             if isinstance(part, (ast.Name, ast.Attribute))}
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        names.add(annotation.value)
    if isinstance(value.data, str):
        if names & {"Path", "DirectoryPath", "FilePath", "NewPath"}:
            return compute(lambda text: PurePosixPath(text), [value], place, True)
        if "int" in names and value.data.strip().isdigit():
            return derived(int(value.data), value)
    if isinstance(value.data, Outside) and len(value.data.arguments) == 1 and not value.data.keywords:
        return derived(value.data.arguments[0].data, value, value.data.arguments[0])  # SecretStr("..."), HttpUrl("...")
    return value


def textual(value: Value | None) -> Value | None:
    """A default as the text that a variable would hold."""
    if value is not None and isinstance(value.data, bool):
        return derived(str(value.data).lower(), value)
    return value


# --- packages that read by a call -------------------------------------------------------------------


def decoupled(run: State, call: Call, scope: Scope) -> Value | None:
    """`config("X", default=..., cast=int)`."""
    key = call.given(0, "option")
    if key is None:
        return None
    default = call.keywords.get("default") or (call.arguments[1] if len(call.arguments) > 1 and not isinstance(
        call.arguments[1].data, External) else None)
    cast = call.keywords.get("cast")
    value = run.read(key, default, call, scope)
    return run.call(cast, Call([value], {}, call.place), None, scope) if cast and value.known else value


def starlette_config(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    key, prefix = call.given(0, "key"), data.keywords.get("env_prefix")
    if key is None:
        return None
    if prefix is not None:
        key = compute(lambda start, name: start + name, [prefix, key], call.place)
    default = call.given(2, "default")
    cast = call.given(1, "cast")
    value = run.read(key, default, call, Scope(NOWHERE, {}))
    return run.call(cast, Call([value], {}, call.place), None, Scope(NOWHERE, {})) if cast and value.known else value


def environs(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    """`env.str("X", "default")`; django-environ's `Env(X=(str, "default"))` as well."""
    key = call.given(0, "name") or call.given(0, "var")
    if key is None:
        return None
    default = call.keywords.get("default") or (call.arguments[1] if len(call.arguments) > 1 else None)
    scheme = data.keywords.get(key.data) if isinstance(key.data, str) else None
    if default is None and scheme is not None and isinstance(scheme.data, Items):
        parts = run.each(scheme, call.place) or []
        default = parts[1] if len(parts) == 2 else None
    return run.read(key, default, call, Scope(NOWHERE, {}))


def environs_path(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    value = environs(run, owner, data, call)
    return compute(lambda text: PurePosixPath(text), [value], call.place, True) if value is not None else None


def prefixed(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    run.note(call.place, "puts a prefix before the names of the variables that are read", "")
    return None


READERS: Mapping[str, Callable[[State, Call, Scope], Value | None]] = {"decouple.config": decoupled}
READER_OBJECTS: Mapping[str, Callable[[State, Value, Outside, Call], Value | None]] = {
    "starlette.config.Config.__call__": starlette_config,
    **{f"environ.{kind}.{how}": environs for kind in ("Env", "FileAwareEnv") for how in ENVIRONS},
    **{f"environs.Env.{how}": environs for how in ENVIRONS},
    "environs.Env.path": environs_path, "environ.Env.path": environs_path, "environs.Env.prefixed": prefixed,
}
