"""Calls of the source that make folders: the app only resolves paths (seed 000 B.1 4, seed 001 CF-5)."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from .app_values import Module
from .facts import Creation
from .model import Place

MAKERS = frozenset({"mkdir", "makedirs"})
COMMANDS = frozenset({"run", "call", "check_call", "check_output", "Popen", "system", "popen",
                      "create_subprocess_exec", "create_subprocess_shell"})
WIDE = frozenset({"OSError", "IOError", "EnvironmentError", "Exception", "BaseException", "error"})
NARROW = frozenset({"FileExistsError", "FileNotFoundError", "PermissionError", "NotADirectoryError", "BlockingIOError",
                    "InterruptedError", "TimeoutError", "IsADirectoryError"})
EXITS = frozenset({"exit", "_exit", "quit", "abort"})
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Creations:
    """Finds them in all files; other names for them (`ensure = os.makedirs`) are followed through imports."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.found: list[Creation] = []
        self.shared: set[str] = set()
        suspects = [one for one in modules if "mkdir" in one.text or "makedirs" in one.text]
        for module in suspects:
            self.shared |= other_names(module.tree.body)
        self.defined = {statement.name for module in suspects for statement in module.tree.body
                        if isinstance(statement, FUNCTIONS[:2]) and statement.name in MAKERS}
        for module in modules:
            if module in suspects or any(name in module.text for name in self.shared):
                self.search(module)
        self.found.sort(key=lambda one: one.place)

    def search(self, module: Module) -> None:
        names = {"makedirs"} if "makedirs" not in self.defined else set()
        own: set[str] = set()
        modules: set[str] = set()
        constants: dict[str, ast.expr] = {}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name in self.shared or (alias.name in MAKERS and node.module in {"os", "posix"}):
                        names.add(alias.asname or alias.name)
                    modules.add(alias.asname or alias.name)
            elif isinstance(node, ast.Import):
                modules.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                names |= other_names([node])
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    constants[node.targets[0].id] = node.value
            elif isinstance(node, FUNCTIONS[:2]) and node.name in MAKERS:
                own.add(node.name)
        system = {name for name in modules if name in {"os", "posix", "pathlib"}}
        for call, guarded in calls(module.tree, constants):
            made = self.made_by(call, names - own, own, modules - system)
            if made:
                self.found.append(Creation(made, guarded, Place(module.file, call.lineno)))

    def made_by(self, call: ast.Call, names: set[str], own: set[str], modules: set[str]) -> str:
        """How a call makes a folder; empty when it does not, or when what it calls does and is counted there."""
        function = call.func
        if isinstance(function, ast.Name) and function.id in names:
            return function.id
        if isinstance(function, ast.Attribute):
            base = function.value.id if isinstance(function.value, ast.Name) else ""
            if function.attr in MAKERS:
                ours = (base in {"self", "cls"} and function.attr in own) or \
                    (base in modules and function.attr in self.defined)
                return "" if ours else text_of(function)
            if function.attr in self.shared and base in modules:
                return text_of(function)
            if base in {"self", "cls"} and function.attr in names:
                return text_of(function)
        if isinstance(function, ast.Call) and is_maker(function, set()):
            return text_of(function)
        last = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) \
            else ""
        if last in COMMANDS and call.args and runs_mkdir(call.args):
            return f"{text_of(function)} mkdir"
        if last == "getattr":
            return ""
        # Handed over to be called elsewhere: map(os.makedirs, ...), submit(path.mkdir).
        handed = next((one for one in [*call.args, *(part.value for part in call.keywords)]
                       if is_maker(one, names) and not isinstance(one, ast.Call)), None)
        if handed is None or last == "partial":
            return ""
        return text_of(handed)


def other_names(statements: Iterable[ast.stmt]) -> set[str]:
    """Names that are given to a function which makes folders."""
    found = set()
    for statement in statements:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            value = statement.value
            if isinstance(value, ast.Call) and last_name(value.func) == "partial" and value.args:
                value = value.args[0]
            if is_maker(value, set()):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                found |= {last_name(target) for target in targets} - {""}
    return found


def is_maker(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression is a function that makes folders, not a call of one."""
    if isinstance(node, ast.Attribute):
        return node.attr in MAKERS
    if isinstance(node, ast.Name):
        return node.id in names
    return isinstance(node, ast.Call) and last_name(node.func) == "getattr" and len(node.args) > 1 \
        and isinstance(node.args[1], ast.Constant) and node.args[1].value in MAKERS


def runs_mkdir(arguments: Sequence[ast.expr]) -> bool:
    """Whether a command that is run is `mkdir`."""
    first = arguments[0]
    if isinstance(first, (ast.List, ast.Tuple)) and first.elts:
        first = first.elts[0]
    if isinstance(first, ast.JoinedStr) and first.values:
        first = first.values[0] if isinstance(first.values[0], ast.Constant) else first
    return isinstance(first, ast.Constant) and isinstance(first.value, str) and \
        first.value.split(maxsplit=1)[:1] in (["mkdir"], ["/bin/mkdir"])


def last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def text_of(node: ast.expr) -> str:
    """A call's function as it is written, in short."""
    try:
        text = ast.unparse(node)
    except RecursionError:
        text = last_name(node)
    return text if len(text) <= 60 else f"...{text[-57:]}"


def calls(tree: ast.AST, constants: dict[str, ast.expr]) -> Iterator[tuple[ast.Call, bool]]:
    """Every call, and whether a handler around it swallows what the operating system refuses."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, guarded = waiting.pop()
        if isinstance(node, ast.Call):
            yield node, guarded
        inner: Sequence[ast.AST] = ()
        inside = guarded
        if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            inner, inside = node.body, guarded or swallows(node.handlers, constants)  # type: ignore[attr-defined]
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            inner, inside = node.body, guarded or any(suppresses(item.context_expr, constants) for item in node.items)
        elif isinstance(node, FUNCTIONS):
            inner, inside = (node.body if isinstance(node.body, list) else [node.body]), False
        special = {id(part) for part in inner}
        waiting += [(part, inside) for part in inner]
        waiting += [(part, guarded) for part in ast.iter_child_nodes(node) if id(part) not in special]


def swallows(handlers: Sequence[ast.ExceptHandler], constants: dict[str, ast.expr]) -> bool:
    """Whether handlers catch OSError or wider and raise nothing."""
    for handler in handlers:
        names = caught(handler.type, constants, 0)
        if names & WIDE:
            return not raises(handler.body)
        if names & NARROW and raises(handler.body):
            return False
    return False


def suppresses(node: ast.expr, constants: dict[str, ast.expr]) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) == "suppress" and any(
        caught(part, constants, 0) & WIDE for part in node.args)


def caught(node: ast.expr | None, constants: dict[str, ast.expr], depth: int) -> set[str]:
    """Names of the exceptions of a handler."""
    if node is None:
        return {"BaseException"}
    if isinstance(node, ast.Tuple):
        return {name for part in node.elts for name in caught(part, constants, depth)}
    name = last_name(node)
    if isinstance(node, ast.Name) and name in constants and depth < 5:
        return caught(constants[name], constants, depth + 1)
    return {name}


def raises(body: Sequence[ast.stmt]) -> bool:
    """Whether a handler raises, or ends the process."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and last_name(node.func) in EXITS):
            return True
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)
    return False
