"""What a Dockerfile makes: environment, ports, user, folders and start command of its final stage. Nothing is built.

Values are those of a build with the given arguments and the defaults of ``ARG``. What only the base image or the build
itself knows is ``Unchecked``. Where builders differ, BuildKit is meant: ``WORKDIR`` makes its folder for the ``USER``
that is set, ``COPY --from`` keeps owners.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from .classes import dataclass
from .dockerfile_lines import Instruction, instructions
from .dockerfile_run import Run
from .dockerfile_shell import Source
from .dockerfile_tree import BASE_USER, Tree, group, mode_of, normal, passwd
from .dockerfile_words import GLOB, UNKNOWN, Budget, Unreadable, Words, split
from .documents import read_text
from .facts import Folder, ImageFacts, Literal, Unchecked, number
from .model import ContractError, Place

DEFAULT_SHELL = ["/bin/sh", "-c"]
LARGEST_FILE = 512 * 1024
"""Characters of a Dockerfile."""
LARGEST_ENVIRONMENT = 2 * 1024**2
"""Characters of all variables together: what Linux hands to a program (ARG_MAX)."""
BUILDER_ARGUMENTS = re.compile(r"(TARGET|BUILD)(PLATFORM|OS|ARCH|VARIANT)|TARGETSTAGE", re.ASCII)
"""Arguments whose values the builder itself sets."""
PORT = re.compile(r"(?:.*:)?(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
ARCHIVE = re.compile(r"\.(tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$")


@dataclass
class Stage:
    """A stage as far as it was read."""

    name: str
    line: int
    base_line: int
    """The FROM that names the image outside of this file."""
    tree: Tree
    environment: dict[str, Literal] = field(default_factory=dict)
    """Values may contain ``UNKNOWN``."""
    arguments: dict[str, str | None] = field(default_factory=dict)
    ports: dict[str, Literal] = field(default_factory=dict)
    unclear_ports: list[int] = field(default_factory=list)
    """Lines of EXPOSE that cannot be resolved."""
    user: Literal | None = None
    cwd: str = UNKNOWN
    workdir: Literal | None = None
    entrypoint: Literal | None = None
    command: Literal | None = None
    command_is_own: bool = False
    """Whether CMD stands in this stage: an inherited one does not survive a new ENTRYPOINT."""
    shell: list[str] = field(default_factory=lambda: DEFAULT_SHELL)
    sh_expands: bool | None = None

    def child(self, name: str, line: int) -> Stage:
        """A stage that is built on this one."""
        self.tree.budget.spend(len(self.environment) + len(self.ports))
        return replace(self, name=name, line=line, tree=self.tree.copy(), environment=dict(self.environment),
                       arguments=dict(self.arguments), ports=dict(self.ports), unclear_ports=list(self.unclear_ports),
                       command_is_own=False)

    @property
    def runner(self) -> tuple[int | None, int | None]:
        """Uid and gid that steps run as."""
        if self.user is None:
            return (BASE_USER, BASE_USER) if self.tree.external else (0, 0)
        return ImageFacts(user=self.user, users=self.tree.users, groups=self.tree.groups).owner


def load_dockerfile(root: Path, file: str = "docker/Dockerfile", arguments: Mapping[str, str] = {},
                    stage: str = "") -> ImageFacts:
    """What the final stage of a Dockerfile makes (seed 000 5.2: the app's repository owns it).

    :param root: the build's context, usually the repository.
    :param file: relative to ``root``.
    :param arguments: what the build gives with ``--build-arg``.
    :param stage: name or number of the stage that is built; left out, the last.
    :returns: ``entrypoint`` and ``command`` are JSON lists as an image has them: a shell form is
        ``["/bin/sh", "-c", "..."]``. Owners and modes are those after the last step. A folder that only the base image
        has, or that is inside of what COPY brings from the context, is not listed.
    :raises ContractError: not there, outside of ``root``, no text, not a Dockerfile, or no such stage.
    """
    path = root / file
    if path.exists() and not path.resolve().is_relative_to(root.resolve()):
        raise ContractError(f"{file} leads out of {root.name}.", "Put the file itself there.", Place(file))
    text = read_text(path, file)
    if len(text) > LARGEST_FILE:
        raise ContractError(f"{file} has more than {LARGEST_FILE // 1024} KiB.", "Name the Dockerfile.", Place(file))
    return Build(root, file, text, arguments).facts(stage)


class Build:
    """The reading of one Dockerfile."""

    def __init__(self, root: Path, file: str, text: str, arguments: Mapping[str, str]) -> None:
        self.root = root
        self.file = file
        self.given = arguments
        self.budget = Budget(file)
        self.escape, self.instructions = instructions(text, file)
        self.globals: dict[str, str | None] = {}
        self.stages: list[Stage] = []
        self.named: dict[str, Stage] = {}
        """Stages by their names in small letters: of two with one name the later."""
        self.steps: dict[str, Callable[[Stage, Instruction], None]] = {
            "ADD": self._copy, "ARG": self._arg, "CMD": self._cmd, "COPY": self._copy, "ENTRYPOINT": self._entrypoint,
            "ENV": self._env, "EXPOSE": self._expose, "RUN": self._run, "SHELL": self._shell, "USER": self._user,
            "VOLUME": self._volume, "WORKDIR": self._workdir,
        }

    def facts(self, stage: str) -> ImageFacts:
        """Follow the instructions up to the end of a stage."""
        names = [self._from(instruction)[1] for instruction in self.instructions if instruction.keyword == "FROM"]
        if not names:
            raise ContractError(f"{self.file} has no FROM.", "Begin it with the image that it is built on.",
                                Place(self.file, 1))
        wanted = len(names) - 1
        if stage:
            wanted = next((at for at, name in enumerate(names) if name == stage.lower()), -1)
            wanted = wanted if wanted >= 0 or number(stage) is None else int(stage)
            if not 0 <= wanted < len(names):
                known = ", ".join(name or str(at) for at, name in enumerate(names[:20]))
                raise ContractError(f"{self.file} has no stage {stage!r}; its stages are {known}.",
                                    "Name one of them.", Place(self.file, 1))
        for at, instruction in enumerate(self.instructions):
            self.budget.line = instruction.line()
            self.budget.spend(10)
            if instruction.keyword == "FROM":
                if len(self.stages) > wanted:
                    break
                self._begin(instruction, at)
            elif self.stages:
                step = self.steps.get(instruction.keyword)
                if step:
                    self._step(step, instruction)
            elif instruction.keyword == "ARG":
                self._global(instruction)
            else:
                raise ContractError(f"{self.file}:{instruction.line()} has {instruction.keyword} before FROM.",
                                    "Only ARG may stand there.", Place(self.file, instruction.line()))
        return finished(self.stages[-1])

    def _step(self, step: Callable[[Stage, Instruction], None], instruction: Instruction) -> None:
        stage = self.stages[-1]
        try:
            step(stage, instruction)
        except Unreadable:
            line = instruction.line()
            if instruction.keyword != "RUN":
                raise self._refusal(instruction, "has a quote or bracket that does not end") from None
            stage.tree.doubt(line, "the shell text cannot be taken apart")

    def _refusal(self, instruction: Instruction, what: str, offset: int = 0) -> ContractError:
        line = instruction.line(offset)
        return ContractError(f"{self.file}:{line} {what}.", f"Correct {instruction.keyword} on line {line}.",
                             Place(self.file, line))

    def _place(self, instruction: Instruction, offset: int) -> Place:
        return Place(self.file, instruction.line(offset))

    # --- stages and variables -----------------------------------------------------------------------

    def _from(self, instruction: Instruction) -> tuple[str, str]:
        """Image and name (in small letters) of a FROM, its variables as they are written."""
        words = [word for word, _ in split(instruction.argument, self.escape)]
        if len(words) not in {1, 3} or (len(words) == 3 and words[1].lower() != "as"):
            raise self._refusal(instruction, "has a FROM that is not FROM <image> [AS <name>]")
        return words[0], words[2].lower() if len(words) == 3 else ""

    def _begin(self, instruction: Instruction, at: int) -> None:
        self.budget.spend(1000)
        raw, name = self._from(instruction)
        try:
            image = Words(self._global_value, self.budget, self.escape).text(raw)
        except Unreadable:
            raise self._refusal(instruction, "has a quote or bracket that does not end") from None
        line = instruction.line()
        base = self.named.get(image.lower())
        if base:
            stage = base.child(name, line)
        else:
            external = image.lower() != "scratch"
            stage = Stage(name, line, line, Tree(self.file, self.budget, external=external),
                          cwd=UNKNOWN if external else "/")
        own = self._sh_expands(at + 1)
        stage.sh_expands = stage.sh_expands if own is None else own
        self.stages.append(stage)
        if name:
            self.named[name] = stage

    def _sh_expands(self, start: int) -> bool | None:
        """Whether `sh` is bash in the stage whose instructions begin there: the package manager tells the system."""
        for instruction in islice(self.instructions, start, None):
            if instruction.keyword == "FROM":
                break
            found = re.search(r"\b(apt-get|dpkg|apk)\b|\b(dnf|microdnf|yum|zypper)\b", instruction.text)
            if instruction.keyword == "RUN" and found:
                return bool(found[2])
        return None

    def _declared(self, instruction: Instruction) -> Iterator[tuple[str, str | None]]:
        """Names of an ARG with their defaults as they are written."""
        for word, _ in split(instruction.argument, self.escape):
            name, equals, default = word.partition("=")
            yield name, default if equals else None

    def _global_value(self, name: str) -> str | None:
        if name in self.globals:
            return self.globals[name]
        return self.given.get(name, UNKNOWN) if BUILDER_ARGUMENTS.fullmatch(name) else None

    def _global(self, instruction: Instruction) -> None:
        words = Words(self._global_value, self.budget, self.escape)
        try:
            self.globals.update({name: self.given.get(name, None if default is None else words.text(default))
                                 for name, default in self._declared(instruction)})
        except Unreadable:
            raise self._refusal(instruction, "has a quote or bracket that does not end") from None

    def _words(self, stage: Stage) -> Words:
        def value(name: str) -> str | None:
            if name in stage.environment:
                return stage.environment[name].value
            if name in stage.arguments:
                return stage.arguments[name]
            return UNKNOWN if stage.tree.external or name == "PATH" else ""

        return Words(value, self.budget, self.escape)

    def _arg(self, stage: Stage, instruction: Instruction) -> None:
        words = self._words(stage)
        values: dict[str, str | None] = {}
        for name, default in self._declared(instruction):
            if name in self.given:
                values[name] = self.given[name]
            elif default is not None:
                values[name] = words.text(default)
            else:
                values[name] = self._global_value(name)
        stage.arguments.update(values)

    def _env(self, stage: Stage, instruction: Instruction) -> None:
        words = self._words(stage)
        pairs = list(split(instruction.text, self.escape, instruction.start, instruction.end))
        if "=" not in pairs[0][0]:
            name, at = pairs[0]
            value = instruction.text[at + len(name) : instruction.end].strip()
            if not value:
                raise self._refusal(instruction, f"sets {name[:40]} to nothing without a =")
            pairs = [(f"{name}={value}", at)]
        values = {}
        for pair, at in pairs:
            name, equals, value = pair.partition("=")
            if not equals or not name:
                raise self._refusal(instruction, f"has {pair[:40]!r}, which is not NAME=value", at)
            values[words.text(name)] = Literal(words.text(value), self._place(instruction, at))
        stage.environment.update(values)
        if sum(len(name) + len(literal.value) for name, literal in values.items()) > LARGEST_ENVIRONMENT:
            raise self._refusal(instruction, "sets more than Linux hands to a program")

    # --- configuration ------------------------------------------------------------------------------

    def _expose(self, stage: Stage, instruction: Instruction) -> None:
        words = self._words(stage)
        for word, at in split(instruction.text, self.escape, instruction.start, instruction.end):
            text = words.text(word)
            if UNKNOWN in text:
                stage.unclear_ports.append(instruction.line(at))
                continue
            for port in text.split():
                found = PORT.fullmatch(port)
                first = int(found[1]) if found else 0
                last = int(found[2] or first) if found else 0
                if not found or not first <= last <= 65535:
                    raise self._refusal(instruction, f"exposes {port[:40]!r}, which is no port", at)
                self.budget.spend(4 * (last - first))
                for each in range(first, last + 1):
                    name = f"{each}/{(found[3] or 'tcp').lower()}"
                    stage.ports.setdefault(name, Literal(name, self._place(instruction, at)))

    def _user(self, stage: Stage, instruction: Instruction) -> None:
        text = self._words(stage).text(instruction.argument)
        if len(list(split(instruction.argument, self.escape))) != 1:
            raise self._refusal(instruction, "names more than one user")
        shown = instruction.argument if UNKNOWN in text else text or "root"
        stage.user = Literal(shown, self._place(instruction, instruction.start))

    def _workdir(self, stage: Stage, instruction: Instruction) -> None:
        text = self._words(stage).text(instruction.argument)
        line = instruction.line(instruction.start)
        stage.cwd = self._absolute(stage, text)
        stage.workdir = Literal(stage.cwd, Place(self.file, line))
        if UNKNOWN not in stage.cwd:
            stage.tree.make(stage.cwd, line, *stage.runner)

    def _absolute(self, stage: Stage, text: str) -> str:
        return normal(text if text.startswith(("/", UNKNOWN)) else f"{stage.cwd}/{text}")

    def _volume(self, stage: Stage, instruction: Instruction) -> None:
        words = self._words(stage)
        for text, at in self._arguments(instruction):
            path = self._absolute(stage, words.text(text))
            if UNKNOWN not in path:
                # What makes it when a container starts.
                stage.tree.make(path, instruction.line(at), 0, 0)

    def _shell(self, stage: Stage, instruction: Instruction) -> None:
        words = json_words(instruction.argument)
        if not words:
            raise self._refusal(instruction, "has a SHELL that is no JSON list of words")
        stage.shell = words

    def _entrypoint(self, stage: Stage, instruction: Instruction) -> None:
        stage.entrypoint = self._program(stage, instruction)
        if not stage.command_is_own:
            stage.command = None

    def _cmd(self, stage: Stage, instruction: Instruction) -> None:
        stage.command = self._program(stage, instruction)
        stage.command_is_own = True

    def _program(self, stage: Stage, instruction: Instruction) -> Literal | None:
        """What an image starts; None where an empty list takes it away."""
        words = json_words(instruction.argument)
        if words is None:
            words = [*stage.shell, instruction.argument] if instruction.argument else []
        place = self._place(instruction, instruction.start)
        return Literal(json.dumps(words, ensure_ascii=False), place) if words else None

    def _arguments(self, instruction: Instruction) -> list[tuple[str, int]]:
        """Words of an instruction that is either a JSON list or words, each with its offset."""
        found = json_words(instruction.argument)
        if found is None:
            return list(split(instruction.text, self.escape, instruction.start, instruction.end))
        words = []
        at = instruction.start
        for word in found:
            at = max(at, instruction.text.find(json.dumps(word, ensure_ascii=False), at))
            words.append((word, at))
        return words

    # --- steps --------------------------------------------------------------------------------------

    def _run(self, stage: Stage, instruction: Instruction) -> None:
        value = self._words(stage).lookup

        def lookup(name: str) -> str | None:
            # The shell has variables that no instruction sets.
            known = name in stage.environment or name in stage.arguments
            return value(name) if known else UNKNOWN

        words = json_words(instruction.argument)
        name = posixpath.basename(stage.shell[0]).lower().removesuffix(".exe")
        run = Run(stage.tree, stage.runner, stage.cwd, lookup, name, stage.sh_expands)
        if words is None:
            run.script(Source(instruction.text, instruction.line), instruction.start, len(instruction.text))
        else:
            run.program(words, instruction.line(instruction.start))

    def _copy(self, stage: Stage, instruction: Instruction) -> None:
        words = self._words(stage)
        arguments = [(words.text(text), at) for text, at in self._arguments(instruction)]
        if len(arguments) < 2:
            raise self._refusal(instruction, f"has {instruction.keyword} without a source and a destination")
        *sources, (destination, at) = arguments
        Copy(self, stage, instruction, [source for source, _ in sources], destination, instruction.line(at)).follow()

    def source_stage(self, name: str) -> Stage | None:
        """A stage of this file that COPY --from names."""
        at = number(name)
        stage = self.named.get(name.lower()) or (self.stages[at] if at is not None and at < len(self.stages) else None)
        return stage if stage is not self.stages[-1] else None


class Copy:
    """One COPY or ADD."""

    def __init__(self, build: Build, stage: Stage, instruction: Instruction, sources: list[str], destination: str,
                 line: int) -> None:
        self.build = build
        self.tree = stage.tree
        self.instruction = instruction
        self.sources = sources
        self.destination = destination
        self.line = line
        self.path = build._absolute(stage, destination)
        words = build._words(stage)
        flags = {name: words.text(value) for name, (value, _) in instruction.flags.items()}
        self.origin = flags.get("from", "")
        self.mode = mode_of(flags["chmod"]) if "chmod" in flags else None
        self.chown = flags.get("chown", "")

    def follow(self) -> None:
        """Note the folders that it makes, and users of account files that it brings."""
        if UNKNOWN in self.path:
            self.tree.doubt(self.line, "the destination cannot be resolved without running the build", self.path)
            return
        owner = self._owner()
        known = self.build.source_stage(self.origin) if self.origin else None
        into = (self.destination.endswith(("/", "/.")) or self.destination == "." or len(self.sources) > 1
                or self.path in self.tree.folders)
        for source in self.sources:
            self._accounts(source, known, into)
            if known and self._folders(source, known, owner):
                continue
            of_folder = self._is_folder(source)
            if of_folder or into:
                # The builder makes it, whatever owner and mode the folder has whose content is copied.
                self.tree.make(self.path, self.line, *owner)
                if not self.origin:
                    self.tree.copied.add(self.path)
            else:
                self.tree.make(posixpath.dirname(self.path), self.line, *owner)
                if of_folder is False:
                    self.tree.files.add(self.path)
        if None in owner and self.path in self.tree.folders:
            self.tree.doubt(self.line, "the owner cannot be resolved without running the build", self.path)

    def _owner(self) -> tuple[int | None, int | None]:
        if not self.chown:
            return 0, 0
        user, _, of_group = self.chown.partition(":")
        if UNKNOWN in self.chown:
            return None, None
        if of_group:
            return self.tree.uid(user), self.tree.gid(of_group)
        # A number alone is the group's too.
        return self.tree.uid(user), number(user) if number(user) is not None else self.tree.login_group(user)

    def _is_folder(self, source: str) -> bool | None:
        """Whether a source is a folder; None when nobody knows."""
        if source.startswith("<<") or "://" in source or UNKNOWN in source:
            return False if source.startswith("<<") else None
        if self.instruction.keyword == "ADD" and ARCHIVE.search(source):
            return True
        if source.endswith(("/", "/.")) or source in {".", "/"}:
            return True
        if self.origin or GLOB.search(source):
            return None
        path = self.build.root / normal(f"/{source}").lstrip("/")
        try:
            if not path.exists() or not path.resolve().is_relative_to(self.build.root.resolve()):
                return None
            return path.is_dir()
        except (OSError, ValueError, RuntimeError):
            return None

    def _folders(self, source: str, known: Stage, owner: tuple[int | None, int | None]) -> bool:
        """Folders that come from another stage, with their owners; False when it has none that is known."""
        origin = normal(f"/{source}")
        folders = list(known.tree.below(origin)) if UNKNOWN not in origin else []
        base = 0 if known.tree.root_runs or not known.tree.external else None
        self.tree.budget.spend(16 * len(folders))
        if folders:
            self.tree.make(self.path, self.line, *owner)
        for folder in sorted(folders, key=lambda each: each.path):
            path = normal(f"{self.path}/{folder.path.removeprefix(origin.rstrip('/'))}")
            kept = (base if each == BASE_USER else each for each in (folder.uid, folder.gid))
            uid, gid = owner if self.chown else kept
            self.tree.make(path, self.line, uid, gid, folder.mode if self.mode is None else self.mode)
        return bool(folders)

    def _accounts(self, source: str, known: Stage | None, into: bool) -> None:
        """Users and groups, where it is /etc/passwd or /etc/group that is copied."""
        target = normal(f"{self.path}/{posixpath.basename(source)}") if into else self.path
        if target not in {"/etc/passwd", "/etc/group"}:
            return
        if known and normal(f"/{source}") == target:
            self.tree.users.update(known.tree.users)
            self.tree.groups.update(known.tree.groups)
            self.tree.unchecked.update({key: each for key, each in known.tree.unchecked.items()
                                        if each.about and not each.about.startswith("/")})
            return
        text = None
        if source.startswith("<<") and len(self.instruction.documents) == 1:
            text = self.instruction.documents[0]
        elif not self.origin and self._is_folder(source) is False:
            text = read_text(self.build.root / normal(f"/{source}").lstrip("/"), source)
        if text is None or "$" in text:
            self.tree.doubt(self.line, f"what is copied to {target} is not known")
        elif target == "/etc/passwd":
            self.tree.users.update(passwd(text))
        else:
            self.tree.groups.update(group(text))


def json_words(text: str) -> list[str] | None:
    """The words of a JSON list; None when it is none, and so a shell's text."""
    if not text.startswith("["):
        return None
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def finished(stage: Stage) -> ImageFacts:
    """Facts of a stage that was read to its end."""
    tree = stage.tree
    tree.settle()
    file = tree.file

    def unresolved(literal: Literal | None) -> bool:
        return literal is not None and UNKNOWN in literal.value

    unchecked = [each for each in tree.unchecked.values() if not settled(each, tree.folders)]
    unchecked += [Unchecked(literal.place, "the value depends on what only the base image or the build knows", name)
                  for name, literal in stage.environment.items() if unresolved(literal)]
    unchecked += [Unchecked(Place(file, line), "the port is one that only the base image or the build knows", "ports")
                  for line in stage.unclear_ports]
    if stage.workdir and unresolved(stage.workdir):
        unchecked.append(Unchecked(stage.workdir.place, "the folder is one that only the base image or the build knows",
                                   "workdir"))
    user = stage.user
    if user is None and tree.external and not tree.root_runs:
        unchecked.append(Unchecked(Place(file, stage.base_line), "no USER is set, so the base image decides who runs",
                                   "user"))
    if user and ImageFacts(user=user, users=tree.users, groups=tree.groups).owner[0] is None:
        unchecked.append(Unchecked(user.place, "the number of the user is not known", "user"))
    return ImageFacts(
        environment={name: literal for name, literal in stage.environment.items() if not unresolved(literal)},
        ports=tuple(stage.ports.values()),
        user=user,
        users=tree.users,
        folders=tree.folders,
        entrypoint=stage.entrypoint,
        command=stage.command,
        workdir=None if unresolved(stage.workdir) else stage.workdir,
        unchecked=tuple(sorted(unchecked, key=lambda each: each.place)),
        source=Place(file, stage.line),
        groups=tree.groups,
    )


def settled(doubt: Unchecked, folders: Mapping[str, Folder]) -> bool:
    """Whether a later step has made certain what a doubt is about."""
    folder = folders.get(doubt.about)
    return folder is not None and None not in {folder.uid, folder.gid} and folder.place.line > doubt.place.line
