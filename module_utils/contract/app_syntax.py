"""Small questions to a syntax tree."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def yields(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is a generator."""
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        part = waiting.pop()
        if isinstance(part, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(part, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(part)
    return False


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name, of a call's function too."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def handles(names: Sequence[str], error: str) -> bool:
    """Whether handlers for exceptions of these names catch one; ``error`` may name its bases, too (``A|B``)."""
    for wanted in names:
        if wanted == "BaseException":
            return True
        if wanted == "Exception" and error not in {"SystemExit", "KeyboardInterrupt"}:
            return True
        for one in error.split("|"):
            if wanted == one.rpartition(".")[2]:
                return True
            kind, base = getattr(builtins, one, None), getattr(builtins, wanted, None)
            if isinstance(kind, type) and isinstance(base, type) and issubclass(kind, base):
                return True
    return False


def flavour(node: ast.ClassDef, outside: Sequence[str]) -> str:
    """What makes a class's objects."""
    names = {name.rpartition(".")[2] for name in outside}
    if "BaseSettings" in names:
        return "settings"
    if names & {"Enum", "StrEnum", "IntEnum", "Flag"}:
        return "enum"
    if names & {"BaseModel"}:
        return "model"
    decorators = {name_of(part) for part in node.decorator_list}
    if decorators & {"dataclass", "define", "frozen", "attrs", "mutable"} or "NamedTuple" in names:
        return "dataclass"
    return ""
