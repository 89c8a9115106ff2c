"""The app's side of the contract, from its source and `.env.example` (seed 000 5.2, seed 001 3-1).

The source is read as a syntax tree, never imported. What it does when no variable of the environment is set is followed
by `app_interpreter.py`; this file finds the sources and puts together what was found.
"""

from __future__ import annotations

import ast
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from .app_example import read_example
from .app_folders import Creations
from .app_interpreter import Interpreter
from .app_outside import KNOWN, OUTSIDE
from .app_roots import READING, Roots, Words, named
from .app_servers import Servers, handler_routes
from .app_settings import READER_OBJECTS, READERS, SettingsMaker
from .app_values import Module
from .classes import dataclass
from .documents import read_text
from .facts import AppFacts, EnvRead, Example, Literal, Unchecked
from .model import ContractError, Place

LEFT_OUT = frozenset({
    ".git", ".hg", ".svn", ".venv", "venv", "env", ".env", "node_modules", "site-packages", "__pycache__", "tests",
    "test", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist", ".eggs",
})
MOST_FILES = 5_000
MOST_BYTES = 64 * 1024**2
STANDARD = sys.stdlib_module_names
STEPS = 100_000
STEPS_A_LINE = 40
"""Together the most that is computed: grows with the source and no faster."""

def load_app(
    root: Path, sources: Sequence[str] = ("src/**/*.py",),
    example_files: Sequence[str] = (".env.example", "config/.env.example"),
) -> AppFacts:
    """What an app reads, where it keeps its files, and what it listens on when no variable is set.

    :param root: the app's repository.
    :param sources: patterns of its source files below ``root``; ``**`` is any number of folders.
    :param example_files: where the schema of its environment may be; the first that is there counts.
    :raises ContractError: ``root`` is no folder, a pattern leads out of it, or no file matches.
    """
    if not root.is_dir():
        raise ContractError(f"{root} is no folder.", "Give the path of the app's repository.", Place(str(root)))
    collector = gc.isenabled()
    gc.disable()  # Syntax trees have no cycles, and looking for them takes as long as making the trees.
    try:
        return Loader(root.resolve()).load(sources, example_files)
    finally:
        if collector:
            gc.enable()


@dataclass
class Loader:
    """One run of `load_app`."""

    root: Path
    unchecked: list[Unchecked] = field(default_factory=list)

    def load(self, sources: Sequence[str], example_files: Sequence[str]) -> AppFacts:
        files = self.find(sources)
        if not files and not self.unchecked:
            raise ContractError(f"No file matches {', '.join(sources)} in {self.root}.",
                                "Give the path of the app's repository, or correct the patterns of its sources.",
                                Place(sources[0] if sources else "src"))
        modules = self.parsed(files)
        examples, example_file = self.examples(example_files)
        run = Interpreter(by_name(modules), STEPS + STEPS_A_LINE * sum(one.text.count("\n") + 1 for one in modules))
        servers = Servers(run)
        run.observer = servers.observe
        run.makers["settings"] = SettingsMaker(run)
        run.known.update({**KNOWN, **READERS})
        run.known_methods.update({**OUTSIDE, **READER_OBJECTS})
        roots = Roots(run, modules)
        run.telling = roots.tells
        for module in modules:
            run.load(module)
        paths = roots.visit()
        creations = Creations(modules)
        self.unchecked += run.unchecked.values()
        self.unchecked += [Unchecked(place, reason, about) for (place, column, about), reason in run.open.items()
                           if (place, column, about) not in run.closed]
        self.unchecked += not_reached(modules, roots.words, run)
        found, unresolved = named(paths)
        self.unchecked += unresolved
        routes = [*servers.routes(), *(route for module in modules if "do_GET" in module.text
                                       for route in handler_routes(module, run))]
        return AppFacts(
            reads(run), found, creations.found, examples, servers.ports(), sorted(set(routes), key=by_place),
            sorted(set(self.unchecked), key=lambda one: (one.place, one.about, one.reason)),
            [one.file for one in modules], example_file)

    # --- files ----------------------------------------------------------------------------------

    def find(self, patterns: Sequence[str]) -> list[str]:
        """Source files that match a pattern, sorted; links out of the tree are noted and left alone."""
        found: set[str] = set()
        for pattern in patterns:
            parts = PurePosixPath(pattern).parts
            if not parts or pattern.startswith("/") or ".." in parts:
                raise ContractError(f"The pattern {pattern!r} leads out of the app's folder.",
                                    "Give patterns below the repository, such as src/**/*.py.", Place(pattern or "."))
            found.update(self.matching(self.root, "", parts, set()))
        return sorted(found)

    def matching(self, folder: Path, shown: str, parts: Sequence[str], seen: set[tuple[Path, int]]) -> Iterator[str]:
        """Files below a folder that match the rest of a pattern."""
        key = (folder.resolve(), len(parts))
        if key in seen:
            return  # A link within the tree: its target is, or was, gone through.
        seen.add(key)
        if parts[0] == "**" and len(parts) > 1:
            yield from self.matching(folder, shown, parts[1:], seen)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.unchecked.append(Unchecked(Place(shown or "."), f"cannot be read: {error.strerror}"))
            return
        for entry in entries:
            name = f"{shown}/{entry.name}" if shown else entry.name
            if entry.name in LEFT_OUT or entry.name.endswith(".egg-info"):
                continue
            if not (parts[0] == "**" or fnmatchcase(entry.name, parts[0])):
                continue
            if entry.is_symlink() and not self.inside(entry, name):
                continue
            if entry.is_dir():
                if parts[0] == "**":
                    yield from self.matching(folder / entry.name, name, parts, seen)
                elif len(parts) > 1:
                    yield from self.matching(folder / entry.name, name, parts[1:], seen)
            elif len(parts) == 1:
                yield name

    def inside(self, entry: os.DirEntry[str], name: str) -> bool:
        """Whether a link stays in the tree and leads to something else than what is gone through anyway."""
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            self.unchecked.append(Unchecked(Place(name), "is a link that leads nowhere"))
            return False
        if not target.is_relative_to(self.root):
            self.unchecked.append(Unchecked(Place(name), "is a link that leads out of the app's folder"))
            return False
        return True

    def parsed(self, files: Sequence[str]) -> list[Module]:
        modules = []
        size = 0
        known: set[Path] = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The app's own, about its texts.
            for number, file in enumerate(files):
                path = self.root / file
                real = path.resolve()
                if real in known:
                    continue
                known.add(real)
                if number >= MOST_FILES or size > MOST_BYTES:
                    self.unchecked.append(Unchecked(Place(file), f"and {len(files) - number - 1} more files are not "
                                                                 "read: the source is too large"))
                    break
                module = self.parse(path, file)
                if module is not None:
                    size += len(module.text)
                    modules.append(module)
        return modules

    def parse(self, path: Path, file: str) -> Module | None:
        try:
            text = read_text(path, file).replace("\r", "\n")
            tree = ast.parse(text)
        except ContractError as error:
            place = error.place or Place(file)
            self.unchecked.append(Unchecked(place, str(error).removeprefix(str(place)).strip(" :.") or str(error)))
        except SyntaxError as error:
            self.unchecked.append(Unchecked(Place(file, error.lineno or 0), f"is not Python: {error.msg}"))
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            deep = isinstance(error, (RecursionError, MemoryError))
            self.unchecked.append(Unchecked(Place(file), "is nested too deeply" if deep else f"is not Python: {error}"))
        else:
            folder = PurePosixPath(file).parent
            module = Module(dotted(file), file, tree, text, ".".join(folder.parts))
            if "global" in text:
                for node in ast.walk(tree):
                    if isinstance(node, ast.Global):
                        module.changed.update({name: node.lineno for name in node.names})
            return module
        return None

    def examples(self, files: Sequence[str]) -> tuple[Mapping[str, Example], Place | None]:
        """Variables of the example file, and where it is or should be."""
        there = [file for file in files if os.path.lexists(self.root / file)]
        for other in there[1:]:
            self.unchecked.append(Unchecked(Place(other), f"is not read, because {there[0]} is there, too",
                                            PurePosixPath(other).name))
        if not there:
            return {}, Place(files[0]) if files else None
        place = Place(there[0])
        path = self.root / there[0]
        if not path.resolve().is_relative_to(self.root):
            self.unchecked.append(Unchecked(place, "is a link that leads out of the app's folder"))
            return {}, place
        try:
            found, unchecked = read_example(read_text(path, there[0]), there[0])
        except ContractError as error:
            self.unchecked.append(Unchecked(error.place or place, str(error)))
            return {}, place
        self.unchecked += unchecked
        return found, place


def dotted(file: str) -> str:
    """A file's name as it would be imported from the repository's folder."""
    parts = PurePosixPath(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def by_name(modules: Sequence[Module]) -> dict[str, Module]:
    """Files by every name that an import may use.

    A package's parts are imported by the package's name; folders that are none (`src`, or one with scripts) may be on
    the path or not.
    """
    packages = {str(PurePosixPath(one.file).parent) for one in modules if one.file.endswith("__init__.py")}
    found: dict[str, Module] = {}
    for module in modules:
        folder = PurePosixPath(module.file).parent
        if module.file.endswith("__init__.py"):
            folder = folder.parent
        least = 0
        while str(folder) in packages and folder.name:
            least += 1
            folder = folder.parent
        parts = module.name.split(".")
        for start in range(len(parts)):
            if len(parts) - start <= least:
                break
            name = ".".join(parts[start:])
            if name and name.partition(".")[0] not in STANDARD:
                found.setdefault(name, module)
    # Full names are never anybody else's.
    found.update({module.name: module for module in modules if module.name})
    return found


# --- what the interpreter found ---------------------------------------------------------------------


def reads(run: Interpreter) -> list[EnvRead]:
    """Every read of a variable, once a line, in the order of places."""
    wanted = [one for one in run.reads.values()
              if not (one.tentative and (one.site, one.column, "") in run.closed)]
    known = {(id(one.scope), one.name): one for one in wanted if one.default is not None}
    found: dict[tuple[Place, str], EnvRead] = {}
    for one in wanted:
        default, resolved = one.default, one.resolved
        if one.presence and default is None and (sibling := known.get((id(one.scope), one.name))):
            # `os.environ["X"] if "X" in os.environ else "d"`: the question has the answer's default.
            default, resolved = sibling.default, sibling.resolved
        read = EnvRead(one.name, default, one.place, resolved)
        other = found.get((one.place, one.name))
        if other is None or (other.default is None and other.resolved):
            found[(one.place, one.name)] = read
    return sorted(found.values(), key=lambda read: (read.place, read.name))


def not_reached(
    modules: Sequence[Module], words: Mapping[int, Words], run: Interpreter
) -> Iterator[Unchecked]:
    """Places that use the environment and that no way through the source leads to."""
    for module in modules:
        if all(Place(module.file, line) in run.touched for line in words[id(module)].uses):
            continue
        systems, direct = {"os"}, set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                systems |= {alias.asname for alias in node.names if alias.name == "os" and alias.asname}
            elif isinstance(node, ast.ImportFrom) and node.module == "os":
                direct |= {alias.asname or alias.name for alias in node.names if alias.name in READING}
        for node in ast.walk(module.tree):
            used = (isinstance(node, ast.Attribute) and node.attr in READING and isinstance(node.value, ast.Name)
                    and node.value.id in systems) or (isinstance(node, ast.Name) and node.id in direct)
            if used:
                place = Place(module.file, node.lineno)  # type: ignore[attr-defined]
                if place not in run.touched:
                    yield Unchecked(place, "uses the environment in a way that is not followed")


def by_place(one: Literal) -> tuple[Place, str]:
    return one.place, one.value
