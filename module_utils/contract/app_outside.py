"""What is known of functions and classes that are not in the app's source, where they take part in following it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from .app_known import (
    Call,
    is_function,
)
from .app_state import (
    MOST_ROUNDS,
    State,
)
from .app_values import (
    ANY,
    ATOMS,
    NONE,
    NOWHERE,
    Atom,
    Class,
    External,
    Failure,
    Instance,
    Items,
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
)

# --- what is known of functions outside -------------------------------------------------------------


def sequence(kind: str) -> Callable[[State, Call, Scope], Value | None]:
    def make(run: State, call: Call, scope: Scope) -> Value | None:
        whole = call.given(0)
        if whole is None:
            return Value(Items(kind, []))
        if isinstance(whole.data, (Unknown, Failure)):
            return derived(whole.data, whole)
        values = run.each(whole, call.place)
        return derived(Items(kind, values), whole)
    return make


def in_order(run: State, call: Call, scope: Scope) -> Value | None:
    whole = call.given(0)
    values = run.each(whole, call.place) if whole else None
    if whole is None or values is None or call.keywords or not all(isinstance(one.data, str) for one in values):
        return derived(Items("list", values if values else None), *call.values)
    return derived(Items("list", sorted(values, key=lambda one: str(one.data))), whole)


def pairs(run: State, call: Call, scope: Scope) -> Value | None:
    columns = [run.each(one, call.place) for one in call.arguments]
    if not columns or any(column is None for column in columns):
        return call.unknown("depends on a loop")
    rows = zip(*(column or [] for column in columns), strict=False)
    return derived(Items("list", [Value(Items("tuple", list(row))) for row in rows]), *call.arguments)


def numbered(run: State, call: Call, scope: Scope) -> Value | None:
    whole = call.given(0)
    values = run.each(whole, call.place) if whole else None
    if whole is None or values is None:
        return call.unknown("depends on a loop")
    return derived(Items("list", [Value(Items("tuple", [Value(number), one])) for number, one in enumerate(values)]),
                   whole)


def numbers(run: State, call: Call, scope: Scope) -> Value | None:
    bounds = [one.data for one in call.arguments if isinstance(one.data, int)]
    if not 1 <= len(bounds) == len(call.arguments) <= 3 or bounds[2:] == [0]:
        return None
    span = range(*bounds)
    return derived(Items("list", [Value(one) for one in span] if len(span) <= MOST_ROUNDS else None), *call.arguments)


def table(run: State, call: Call, scope: Scope) -> Value | None:
    entries: dict[Atom, tuple[Value, Value]] = {}
    first = call.given(0)
    if first is not None:
        if isinstance(first.data, Table):
            if first.data.entries is None:
                return derived(Table(None), first)
            entries.update(first.data.entries)
        else:
            rows = run.each(first, call.place)
            for row in rows or ():
                if not isinstance(row.data, Items) or row.data.values is None or len(row.data.values) != 2 \
                        or not isinstance(row.data.values[0].data, ATOMS):
                    return call.unknown("depends on a dict whose content is not known")
                entries[row.data.values[0].data] = (row.data.values[0], row.data.values[1])
            if rows is None:
                return call.unknown("depends on a dict whose content is not known")
    entries.update({name: (Value(name), one) for name, one in call.keywords.items()})
    return Value(Table(entries), first.deps if first else ())


def mapped(run: State, call: Call, scope: Scope) -> Value | None:
    values = run.each(call.arguments[1], call.place) if len(call.arguments) == 2 else None
    if values is None or len(values) > MOST_ROUNDS:
        if len(call.arguments) == 2 and is_function(call.arguments[0]):
            item = Value(Unknown("depends on a loop", call.place), loose=call.arguments[1].loose)
            run.call(call.arguments[0], Call([item], {}, call.place), None, scope)
        return call.unknown("depends on a loop")
    found = [run.call(call.arguments[0], Call([one], {}, call.place), None, scope) for one in values]
    return Value(Items("list", found), call.arguments[1].deps)


def kept_only(run: State, call: Call, scope: Scope) -> Value | None:
    values = run.each(call.arguments[1], call.place) if len(call.arguments) == 2 else None
    if values is None:
        return call.unknown("depends on a loop")
    kept: list[Value] = []
    lost: list[tuple[int, Value]] = []
    deps: list[tuple[str, ...]] = []
    for one in values:
        test = one if call.arguments[0].data is None else run.call(call.arguments[0], Call([one], {}, call.place), None,
                                                                   scope)
        verdict = truth(test)
        deps.append(test.deps)
        if verdict is None:
            return Value(Items("list", None), union(*deps))
        if verdict:
            kept.append(one)
        else:
            lost.append((len(kept), one))
    return Value(Items("list", kept, [], "", lost), union(*deps))


def first_of(run: State, call: Call, scope: Scope) -> Value | None:
    whole, default = call.given(0), call.given(1)
    if whole is None or not isinstance(whole.data, Items) or whole.data.values is None:
        return None
    if not whole.data.values and default is None:
        return derived(Failure("StopIteration", call.place), whole)
    first = whole.data.values[0] if whole.data.values else default or NONE
    # What would come before it, if variables were set.
    before = [one for position, one in whole.data.lost if position == 0]
    for one in before:
        run.stand_in((ANY,), one.sources, first)
    sources = merged([first.sources, *(one.sources for one in before)])
    return Value(first.data, union(whole.deps, first.deps), sources, first.via, first.loose)


def quantified(every: bool) -> Callable[[State, Call, Scope], Value | None]:
    def answer(run: State, call: Call, scope: Scope) -> Value | None:
        whole = call.given(0)
        if whole is None or not isinstance(whole.data, Items) or whole.data.values is None:
            return None
        answers = [truth(one) for one in whole.data.values]
        deps = union(whole.deps, *(one.deps for one in whole.data.values))
        decided = (False in answers) if every else (True in answers)
        if decided:
            return Value(not every, deps)
        if None in answers:
            return Value(Unknown("depends on parts that are not known", call.place), deps)
        return Value(every, deps)
    return answer


def attribute_of(run: State, call: Call, scope: Scope) -> Value | None:
    if len(call.arguments) < 2 or not isinstance(call.arguments[1].data, str):
        return None
    place = ast.Constant(None, lineno=call.place.line)
    found = run.attribute(call.arguments[0], call.arguments[1].data, place, scope)
    if isinstance(found.data, External):
        run.touch(found.data.name, place, scope)
    if isinstance(found.data, Unknown) and len(call.arguments) > 2 and not isinstance(call.arguments[0].data, Unknown):
        return call.arguments[2] if isinstance(call.arguments[0].data, (Instance, Class, Module)) else found
    return found


def import_by_name(run: State, call: Call, scope: Scope) -> Value | None:
    """`importlib.import_module("os")`."""
    name = call.given(0, "name")
    return run.imported(name.data) if name is not None and isinstance(name.data, str) and name.data else None


def is_instance(run: State, call: Call, scope: Scope) -> Value | None:
    kinds = {"builtins.str": str, "builtins.int": int, "builtins.bytes": bytes, "builtins.bool": bool,
             "builtins.float": float, "pathlib.Path": PurePosixPath, "pathlib.PurePath": PurePosixPath}
    if len(call.arguments) == 2 and isinstance(call.arguments[1].data, External):
        kind = kinds.get(call.arguments[1].data.name)
        if kind and isinstance(call.arguments[0].data, ATOMS):
            return Value(isinstance(call.arguments[0].data, kind), call.arguments[0].deps)
    return None


def passed_on(index: int, name: str = "") -> Callable[[State, Call, Scope], Value | None]:
    return lambda run, call, scope: call.given(index, name)


def partial(run: State, call: Call, scope: Scope) -> Value | None:
    if not call.arguments:
        return None
    return Value(Partial(call.arguments[0], tuple(call.arguments[1:]), tuple(call.keywords.items())))


def later(run: State, call: Call, scope: Scope) -> Value | None:
    """`asyncio.to_thread(function, ...)`."""
    if not call.arguments:
        return None
    return run.call(call.arguments[0], Call(call.arguments[1:], call.keywords, call.place), None, scope)


def in_thread(run: State, call: Call, scope: Scope) -> Value | None:
    """`Thread(target=function, args=(...))`."""
    target, arguments = call.keywords.get("target"), call.keywords.get("args")
    if target is not None:
        values = run.each(arguments, call.place) if arguments else []
        run.call(target, Call(values or [], {}, call.place, values is not None), None, scope)
    return None


def decorating(run: State, call: Call, scope: Scope) -> Value | None:
    """`functools.cache(function)`, `functools.wraps(function)(wrapper)`: the function itself."""
    return call.arguments[0] if call.arguments and is_function(call.arguments[0]) else \
        call.unknown("is a decorator")


def namespace(run: State, call: Call, scope: Scope) -> Value | None:
    return Value(Instance(None, dict(call.keywords)))


def replaced(run: State, call: Call, scope: Scope) -> Value | None:
    first = call.given(0)
    if first is None or not isinstance(first.data, Instance):
        return None
    return derived(Instance(first.data.kind, {**first.data.values, **call.keywords}), first)


def expanded(run: State, call: Call, scope: Scope) -> Value | None:
    """`os.path.expandvars("$DATA_DIR/x")`: a variable that is not set stays as it is written."""
    first = call.given(0)
    if first is None or not isinstance(first.data, (str, PurePosixPath)):
        return None
    text = str(first.data)
    reads = [run.read(Value(name, via=first.via), NONE, call, scope) for name in variables_in(text)]
    if not reads:
        return Value(text, first.deps, first.sources, first.via, first.loose)
    return derived(Unknown("has no value without its variables", call.place, True), *reads, first)


def variables_in(text: str) -> Iterator[str]:
    import re
    for match in re.finditer(r"\$(?:(\w+)|\{(\w+)\})", text, re.ASCII):
        yield match[1] or match[2]


def field_of(run: State, call: Call, scope: Scope) -> Value | None:
    return Value(Outside("dataclasses.field", dict(call.keywords)))


def model_field(run: State, call: Call, scope: Scope) -> Value | None:
    keywords = dict(call.keywords)
    if call.arguments and "default" not in keywords:
        keywords["default"] = call.arguments[0]
    if "default" in keywords and isinstance(keywords["default"].data, Unknown):
        keywords.pop("default")  # Field(...): required.
    return Value(Outside("pydantic.Field", keywords))


def option(run: State, call: Call, scope: Scope) -> Value | None:
    """`typer.Option(8000, envvar="PORT")` is its default."""
    default = call.given(0, "default")
    variables = call.keywords.get("envvar")
    if default is None:
        return None
    for one in (run.each(variables, call.place) or [variables] if isinstance(variables.data, Items) else [variables]) \
            if variables else []:
        default = run.read(one, default, call, scope)
    return default


KNOWN: dict[str, Callable[[State, Call, Scope], Value | None]] = {
    "builtins.list": sequence("list"), "builtins.tuple": sequence("tuple"), "builtins.set": sequence("set"),
    "builtins.frozenset": sequence("set"), "builtins.reversed": sequence("list"), "builtins.iter": passed_on(0),
    "builtins.sorted": in_order, "builtins.zip": pairs, "builtins.enumerate": numbered, "builtins.range": numbers,
    "builtins.dict": table, "collections.OrderedDict": table, "builtins.map": mapped, "builtins.filter": kept_only,
    "builtins.next": first_of, "builtins.any": quantified(False), "builtins.all": quantified(True),
    "builtins.getattr": attribute_of, "builtins.__import__": import_by_name,
    "importlib.import_module": import_by_name, "builtins.isinstance": is_instance, "typing.cast": passed_on(1),
    "typing.NewType": passed_on(1), "copy.copy": passed_on(0), "copy.deepcopy": passed_on(0),
    "functools.partial": partial, "functools.cache": decorating, "functools.lru_cache": decorating,
    "functools.wraps": decorating, "types.MappingProxyType": passed_on(0), "types.SimpleNamespace": namespace,
    "argparse.Namespace": namespace, "dataclasses.replace": replaced, "dataclasses.field": field_of,
    "attrs.field": field_of, "pydantic.Field": model_field, "os.path.expandvars": expanded,
    "asyncio.run": passed_on(0), "anyio.run": passed_on(0), "asyncio.to_thread": later, "threading.Thread": in_thread,
    "typer.Option": option, "typer.Argument": option,
}


# --- objects of outside classes that are followed ---------------------------------------------------


def add_argument(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    """`ArgumentParser.add_argument("--port", type=int, default=8000)`."""
    names = [one.data for one in call.arguments if isinstance(one.data, str)]
    if not names:
        return None
    longest = next((name for name in names if name.startswith("--")), names[0])
    dest = call.keywords.get("dest")
    name = dest.data if dest and isinstance(dest.data, str) else longest.lstrip("-").replace("-", "_")
    default = call.keywords.get("default", NONE)
    kind = call.keywords.get("type")
    if kind is not None and isinstance(default.data, str):
        default = run.call(kind, Call([default], {}, call.place), None,
                           Scope(NOWHERE, {}))
    if not longest.startswith("-"):
        default = call.unknown("depends on the command line")
    data.notes.setdefault("arguments", []).append((name, default))
    return NONE


def parsed(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    values = {}
    for entry in data.notes.get("arguments", []):
        if isinstance(entry, tuple):
            values[str(entry[0])] = entry[1]
    return Value(Instance(None, values))


def parsed_known(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    found = parsed(run, owner, data, call)
    return Value(Items("tuple", [found or NONE, Value(Items("list", None))]))


def itself(run: State, owner: Value, data: Outside, call: Call) -> Value | None:
    return owner


OUTSIDE: dict[str, Callable[[State, Value, Outside, Call], Value | None]] = {
    "argparse.ArgumentParser.add_argument": add_argument, "argparse.ArgumentParser.parse_args": parsed,
    "argparse.ArgumentParser.parse_known_args": parsed_known, "argparse.ArgumentParser.add_argument_group": itself,
    "argparse.ArgumentParser.add_mutually_exclusive_group": itself,
}
