"""What Python's own functions give for values of the source (`app_values.py`), without running anything of the source.

Only functions without effects are computed; sizes are bounded, so that no source can make the check slow or large.
"""

from __future__ import annotations

import operator
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from .app_values import (
    ATOMS,
    NONE,
    Bound,
    External,
    Failure,
    Function,
    Items,
    Table,
    Unknown,
    Value,
    derived,
    parts,
    plain,
    wrapped,
)
from .classes import dataclass
from .model import Place

LONGEST_TEXT = 20_000
MOST_ITEMS = 5_000

CWD = "depends on the working directory"
HOME = "depends on a user's home folder"
DISK = "depends on what is on the disk"
PLATFORM = "depends on the machine that it runs on"


@dataclass(slots=True)
class Call:
    """A call with its values. ``complete``: no `*` or `**` of unknown content is among them."""

    arguments: list[Value]
    keywords: dict[str, Value]
    place: Place
    complete: bool = True
    column: int = 0
    deps: tuple[str, ...] = ()
    """Variables that decide how many arguments there are."""

    def given(self, index: int, name: str = "") -> Value | None:
        """An argument by its position or name."""
        if name in self.keywords:
            return self.keywords[name]
        return self.arguments[index] if 0 <= index < len(self.arguments) else None

    @property
    def values(self) -> list[Value]:
        return [*self.arguments, *self.keywords.values()]

    def unknown(self, reason: str, path: bool = False) -> Value:
        """An unknown result that depends on what the arguments depend on."""
        return derived(Unknown(reason, self.place, path), *self.values)


def compute(function: Callable[..., Any], values: Sequence[Value], place: Place, path: bool = False) -> Value:
    """The result of one of Python's own functions; unknown or failing when an argument is, or when it raises."""
    given = values
    if any(isinstance(value.data, (Items, Table)) for value in values):
        try:
            values = parts(values)
        except LookupError:
            return derived(Unknown("has too many parts", place, path), *values)
    for kind in (Failure, Unknown):
        for value in values:
            if isinstance(value.data, kind):
                data = value.data
                if path and not data.path:
                    data = Failure(data.error, data.place, True, data.raised) if isinstance(data, Failure) else \
                        Unknown(data.reason, data.place, True)
                return derived(data, *values)
    try:
        arguments = [plain(value) for value in given]
    except LookupError:
        outside = next((value.data for value in values if isinstance(value.data, External)), None)
        reason = why_unknown(outside.name) if outside else "is made of parts that are not known"
        return derived(Unknown(reason, place, path), *values)
    try:
        result = function(*arguments)
    except NotKnown as error:
        return derived(Unknown(str(error), place, path), *values)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        return derived(Failure(type(error).__name__, place, path), *values)
    if isinstance(result, (str, bytes, list, tuple)) and len(result) > LONGEST_TEXT:
        return derived(Unknown("is too long", place, path), *values)
    made = derived(None, *values)
    if isinstance(result, bool):
        # Not the variable's text any more: a fallback after it is none for the variable.
        made = Value(None, made.deps, (), made.via, made.loose)
    return wrapped(result, made)


class NotKnown(Exception):
    """What a function gives depends on something that is not in the source."""


# --- texts and numbers ------------------------------------------------------------------------------

TEXT_METHODS = frozenset([
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "casefold", "swapcase",
    "removeprefix", "removesuffix", "startswith", "endswith", "partition", "rpartition", "split", "rsplit",
    "splitlines", "find", "rfind", "index", "count", "isdigit", "isalpha", "isalnum", "isnumeric", "isdecimal",
    "isspace", "isupper", "islower", "isidentifier", "isascii", "encode", "decode", "is_integer", "bit_length",
])
PLAIN_FIELD = re.compile(r"\{\w{0,40}(![rsa])?(:[^{}]{0,9})?\}|\{\{|\}\}|[^{}]")
WIDE = re.compile(r"\d{4}|\*")


def add(one: Any, other: Any) -> Any:  # noqa: ANN401
    return operator.add(one, other)


def multiply(one: Any, other: Any) -> Any:  # noqa: ANN401
    sizes = [len(part) if isinstance(part, (str, bytes, list, tuple)) else abs(part) for part in (one, other)]
    if sizes[0] * sizes[1] > LONGEST_TEXT and not all(isinstance(part, (int, float)) for part in (one, other)):
        raise NotKnown("is too long")
    return bounded(one * other)


def shift(one: Any, other: Any) -> Any:  # noqa: ANN401
    if other > 100:
        raise NotKnown("is too large a number")
    return bounded(one << other)


def bounded(number: Any) -> Any:  # noqa: ANN401
    if isinstance(number, int) and number.bit_length() > 200:
        raise NotKnown("is too large a number")
    return number


def percent(one: Any, other: Any) -> Any:  # noqa: ANN401
    if isinstance(one, (str, bytes)) and WIDE.search(str(one)):
        raise NotKnown("is formatted in a way that is not followed")
    return one % other


def replace(text: str, old: str, new: str, *count: int) -> str:
    if len(text) * (len(new) + 1) > LONGEST_TEXT * 50:
        raise NotKnown("is too long")
    return text.replace(old, new, *count)


def join(separator: str, parts: Any) -> str:  # noqa: ANN401
    if sum(len(part) + len(separator) for part in parts) > LONGEST_TEXT:
        raise NotKnown("is too long")
    return separator.join(parts)


def formatted(text: str, names: Sequence[str], *values: object) -> str:
    """`str.format` where its fields are plain names or numbers."""
    if len(text) > LONGEST_TEXT or PLAIN_FIELD.sub("", text) or WIDE.search(text):
        raise NotKnown("is formatted in a way that is not followed")
    positional = len(values) - len(names)
    return text.format(*values[:positional], **dict(zip(names, values[positional:], strict=True)))


def shown(value: object, spec: str) -> str:
    """A value in an f-string."""
    if len(spec) > 9 or WIDE.search(spec):
        raise NotKnown("is formatted in a way that is not followed")
    return format(str(value) if isinstance(value, PurePosixPath) else value, spec)


BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": add, "Sub": operator.sub, "Mult": multiply, "Div": operator.truediv, "FloorDiv": operator.floordiv,
    "Mod": percent, "LShift": shift, "RShift": operator.rshift, "BitOr": operator.or_, "BitAnd": operator.and_,
    "BitXor": operator.xor,
}
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt,
    "GtE": operator.ge, "In": lambda one, other: one in other, "NotIn": lambda one, other: one not in other,
    "Is": lambda one, other: same(one, other), "IsNot": lambda one, other: not same(one, other),
}


def same(one: object, other: object) -> bool:
    """`is`: of equal texts nobody relies on its being False."""
    return type(one) is type(other) and one == other


# --- paths ------------------------------------------------------------------------------------------

PATH_PARTS = frozenset({"name", "stem", "suffix", "suffixes", "parent", "parts", "root", "anchor", "drive"})
PATH_METHODS = frozenset({"as_posix", "is_absolute", "with_name", "with_stem", "with_suffix", "relative_to",
                          "is_relative_to", "match", "joinpath", "__fspath__", "__str__", "as_uri"})
DISK_METHODS = frozenset([
    "exists", "is_dir", "is_file", "is_symlink", "is_mount", "iterdir", "glob", "rglob", "stat", "lstat",
    "read_text", "read_bytes", "open", "owner", "group", "mkdir", "touch", "rename", "unlink", "rmdir",
    "write_text", "write_bytes", "chmod", "symlink_to", "readlink", "samefile", "walk", "link_to", "hardlink_to",
])


def settled(path: PurePosixPath) -> PurePosixPath:
    """`Path.resolve()`: harmless on an absolute path."""
    if not path.is_absolute():
        raise NotKnown(CWD)
    return PurePosixPath(posixpath.normpath(path))


def absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise NotKnown(CWD)
    return path


def at_home(path: Any) -> Any:  # noqa: ANN401
    if str(path).startswith("~"):
        raise NotKnown(HOME)
    return path


def real_text(path: Any) -> str:  # noqa: ANN401
    return str(settled(PurePosixPath(path)))


def path_text(path: Any) -> str:  # noqa: ANN401
    if not isinstance(path, (str, PurePosixPath)):
        raise TypeError
    return str(path)


def joined(first: Any, *more: Any) -> str:  # noqa: ANN401
    return posixpath.join(path_text(first), *(path_text(part) for part in more))


PATH_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "os.path.join": joined,
    "os.path.normpath": lambda path: posixpath.normpath(path_text(path)),
    "os.path.dirname": lambda path: posixpath.dirname(path_text(path)),
    "os.path.expanduser": lambda path: path_text(at_home(path)),
    "os.path.abspath": real_text,
    "os.path.realpath": real_text,
    "os.fspath": path_text,
}
"""Those that give a path."""
PURE: Mapping[str, Callable[..., Any]] = {
    "os.path.basename": lambda path: posixpath.basename(path_text(path)),
    "os.path.split": lambda path: posixpath.split(path_text(path)),
    "os.path.splitext": lambda path: posixpath.splitext(path_text(path)),
    "os.path.isabs": lambda path: posixpath.isabs(path_text(path)),
    "os.path.normcase": path_text,
    "os.fsdecode": path_text,
    "builtins.int": lambda *values: bounded(int(*values)),
    "builtins.float": lambda value=0.0: float(value),
    "builtins.str": lambda value="", *_: value.decode() if isinstance(value, bytes) else str(value),
    "builtins.bool": lambda value=False: bool(value) or isinstance(value, PurePosixPath),
    "builtins.repr": lambda value: repr(value) if not isinstance(value, PurePosixPath) else f"Path({str(value)!r})",
    "builtins.len": len, "builtins.abs": abs, "builtins.min": min, "builtins.max": max, "builtins.sum": sum,
    "builtins.round": round, "builtins.chr": chr, "builtins.ord": ord,
    "urllib.parse.quote": lambda text: text if re.fullmatch(r"[\w./~-]*", text, re.ASCII) else not_followed(),
    "distutils.util.strtobool": lambda text: int(text.lower() in {"y", "yes", "t", "true", "on", "1"}),
}
CONSTANTS: Mapping[str, object] = {
    "os.sep": "/", "os.path.sep": "/", "os.pathsep": ":", "os.curdir": ".", "os.pardir": "..", "os.linesep": "\n",
    "string.digits": "0123456789",
}
PATH_CLASSES = frozenset(f"pathlib.{name}" for name in ("Path", "PurePath", "PosixPath", "PurePosixPath"))
NOT_IN_SOURCE: Mapping[str, str] = {
    "pathlib.Path.home": HOME, "pathlib.Path.cwd": CWD, "os.getcwd": CWD, "os.getcwdb": CWD,
    "sys.platform": PLATFORM, "os.name": PLATFORM, "os.uname": PLATFORM, "sys.prefix": PLATFORM,
    "sys.executable": PLATFORM, "sys.argv": "depends on the command line", "os.getpid": PLATFORM,
    "os.getuid": PLATFORM, "os.getlogin": PLATFORM, "tempfile.gettempdir": PLATFORM, "sys.path": PLATFORM,
    "builtins.open": DISK, "builtins.input": "depends on what is typed in", "sys.version_info": PLATFORM,
}
"""By the beginning of the name (`platform.` is all of that module)."""
NOT_IN_SOURCE_PREFIXES: Mapping[str, str] = {
    "platform.": PLATFORM, "socket.": PLATFORM, "sysconfig.": PLATFORM, "site.": PLATFORM, "os.path.": DISK,
    "tempfile.": DISK, "shutil.": DISK, "os.": DISK, "pathlib.": DISK, "datetime.": "depends on the time",
    "time.": "depends on the time", "random.": "is a matter of chance", "uuid.": "is a matter of chance",
    "secrets.": "is a matter of chance", "getpass.": PLATFORM, "importlib.": "depends on where the source is",
}
HARMLESS = re.compile(r"(logging|structlog|loguru|warnings|time|random|uuid|typing|dataclasses|functools"
                      r"|contextlib)\b.*"
                      r"|builtins\.(print|isinstance|issubclass|hasattr|callable|type|id|super|sorted|zip|map|filter)")
"""Calls that raise nothing which a source would handle around a path."""
OS_ERRORS = ("os.", "pathlib.", "shutil.", "builtins.open", "tempfile.")


def not_followed() -> str:
    raise NotKnown("is quoted")


def why_unknown(name: str) -> str:
    """Why something that is not in the source cannot be known."""
    if name in NOT_IN_SOURCE:
        return NOT_IN_SOURCE[name]
    for start, reason in NOT_IN_SOURCE_PREFIXES.items():
        if name.startswith(start):
            return reason
    return f"depends on {name.removeprefix('builtins.')}, which is not in the app's source"


def pure_function(name: str, call: Call) -> Value | None:
    """The result of an outside function that needs nothing but its arguments; None when it is no such function."""
    if name in PATH_CLASSES:
        # Path() takes texts and paths only, and fails for the None of a variable that is not set.
        return compute(lambda *parts: PurePosixPath(*parts), call.arguments, call.place, path=True)
    if name in PATH_FUNCTIONS and call.arguments:
        return compute(PATH_FUNCTIONS[name], call.arguments, call.place, path=True)
    if name in {"builtins.min", "builtins.max", "builtins.sum", "builtins.round"} and call.keywords:
        return None
    if name in PURE:
        return compute(PURE[name], call.arguments, call.place)
    return None


# --- methods of Python's own types ------------------------------------------------------------------


def attribute(value: Value, name: str, place: Place) -> Value | None:
    """An attribute that is no method, of a text, number or path; None when it has none of that name."""
    data = value.data
    if isinstance(data, PurePosixPath):
        if name == "parents":
            parents = list(data.parents)[:100]
            return derived(Items("tuple", [derived(parent, value) for parent in parents]), value)
        if name in PATH_PARTS:
            return compute(lambda path: getattr(path, name), [value], place)
    elif name == "value" and isinstance(data, ATOMS):
        return value  # An enum's: its members are kept as their values.
    return None


def method(owner: Value, name: str, call: Call) -> Value:
    """The result of a method of a text, number, path, list or dict."""
    data = owner.data
    values = [owner, *call.arguments]
    if isinstance(data, PurePosixPath):
        simple = {"resolve": settled, "absolute": absolute, "expanduser": at_home}.get(name)
        if simple:
            return compute(simple, [owner], call.place, path=True)
        if name in PATH_METHODS:
            return compute(lambda path, *rest: getattr(path, name)(*rest), values, call.place)
        return derived(Unknown(DISK, call.place), *values)
    if isinstance(data, (str, bytes)):
        # The text is the owner's, whatever is cut out of it or put in.
        if name != "format" and name != "join":
            values = [owner, *(Value(one.data, one.deps, (), one.via, one.loose) for one in call.arguments)]
        if name in TEXT_METHODS:
            return compute(lambda text, *rest: getattr(text, name)(*rest), values, call.place)
        if name in {"replace", "join"}:
            return compute(replace if name == "replace" else join, values, call.place)
        if name in {"format", "format_map"} and call.complete and name == "format":
            names = list(call.keywords)
            return compute(lambda text, *rest: formatted(text, names, *rest),
                           [*values, *call.keywords.values()], call.place)
    return derived(Unknown(f"depends on .{name}(), which is not followed", call.place), owner, *call.values)


LIST_CHANGES = frozenset({"append", "add", "insert", "extend", "update", "remove", "discard", "clear", "pop", "sort",
                          "reverse"})
DICT_CHANGES = frozenset({"update", "pop", "popitem", "clear", "setdefault"})


def items_method(owner: Value, items: Items, name: str, call: Call, keep: bool) -> Value | None:
    """A method of a list, tuple or set; ``keep`` is False where a change must not be seen (see the interpreter).

    None when it is not known here.
    """
    if name in {"append", "add"} and call.arguments:
        if keep and items.values is not None and len(items.values) < MOST_ITEMS:
            items.values.append(call.arguments[0])
        elif keep:
            items.values = None
        return NONE
    if name in {"extend", "update"} and call.arguments and keep:
        other = call.arguments[0].data
        if items.values is not None and isinstance(other, Items) and other.values is not None \
                and len(items.values) + len(other.values) < MOST_ITEMS:
            items.values.extend(other.values)
        else:
            items.values = None
        return NONE
    if name in LIST_CHANGES:
        if keep:
            items.values = None
        return derived(Unknown("depends on a list that changes", call.place), owner)
    if name == "copy":
        return derived(Items(items.kind, None if items.values is None else list(items.values), list(items.lines),
                             items.file), owner)
    if name in {"index", "count"}:
        return compute(lambda values, *rest: getattr(values, name)(*rest), [owner, *call.arguments], call.place)
    if name in {"union", "__or__"} and call.arguments and isinstance(call.arguments[0].data, Items):
        return compute_union(owner, call.arguments[0])
    return None


def compute_union(one: Value, other: Value) -> Value:
    """Two lists, tuples or sets as one."""
    first, second = one.data, other.data
    if isinstance(first, Items) and isinstance(second, Items) and first.values is not None \
            and second.values is not None and len(first.values) + len(second.values) <= MOST_ITEMS:
        lines = [*first.lines, *second.lines] if first.file == second.file else []
        return derived(Items(first.kind, [*first.values, *second.values], lines, first.file if lines else ""), one,
                       other)
    return derived(Items(first.kind if isinstance(first, Items) else "list", None), one, other)


def table_method(owner: Value, table: Table, name: str, call: Call, keep: bool) -> Value | None:
    """A method of a dict, as `items_method`."""
    entries = table.entries
    if name in DICT_CHANGES:
        found = None
        key = call.given(0)
        if entries is not None and key is not None and isinstance(key.data, ATOMS) and name in {"setdefault", "pop"}:
            entry = entries.get(key.data)
            found = entry[1] if entry else call.given(1)
        elif entries is not None and name == "update" and not call.keywords and key is not None:
            more = key.data
            if isinstance(more, Table) and more.entries is not None:
                if keep:
                    entries.update(more.entries)
                return NONE
        if keep and name != "setdefault":
            table.entries = None
        return found or derived(Unknown("depends on a dict that changes", call.place), owner)
    if entries is None:
        return derived(Unknown("depends on a dict whose content is not known", call.place), owner, *call.values)
    if name == "get" and call.arguments:
        key = call.arguments[0]
        if isinstance(key.data, ATOMS):
            entry = entries.get(key.data)
            default = call.given(1, "default") or NONE
            return derived(entry[1].data, key, entry[1]) if entry else derived(default.data, key, default)
        return derived(Unknown("depends on a key that is not known", call.place), owner, key)
    if name == "keys":
        return derived(Items("list", [key for key, _ in entries.values()]), owner)
    if name == "values":
        return derived(Items("list", [entry for _, entry in entries.values()]), owner)
    if name == "items":
        return derived(Items("list", [Value(Items("tuple", [key, entry])) for key, entry in entries.values()]), owner)
    if name == "copy":
        return derived(Table(dict(entries)), owner)
    return None


def is_function(value: Value) -> bool:
    """Whether it is something of the source or of Python's that can be called."""
    return isinstance(value.data, (Function, Bound, External))


# --- names ------------------------------------------------------------------------------------------

FIELD_FUNCTIONS = frozenset({"dataclasses.field", "attrs.field", "attr.ib", "pydantic.Field"})
ALIASES = {"posixpath": "os.path", "posix.environ": "os.environ", "pathlib.PosixPath": "pathlib.Path",
           "attr.field": "attrs.field", "pydantic.fields.Field": "pydantic.Field",
           "pydantic_settings.main.BaseSettings": "pydantic_settings.BaseSettings"}
STARS = {"os": ("environ", "getenv", "path", "makedirs", "mkdir", "getcwd", "sep", "fspath"),
         "pathlib": ("Path", "PurePath", "PosixPath", "PurePosixPath"), "os.path": ("join", "dirname", "abspath")}
