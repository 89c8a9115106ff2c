"""Loads a Kustomize overlay: Kustomize itself says what the objects are, the sources where each value comes from.

Before Kustomize runs, the tree of kustomizations is read: nothing is fetched, no link leads out of the tree, and what
is missing is named with the line that asks for it. While it runs, the sources are read.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import yaml

from .classes import dataclass
from .documents import LARGEST_FILE, Document, child, load_documents, read_text
from .facts import FieldPath, KubeObject, ManifestFacts
from .kustomization import Data, Layer, Object, Part, build, sources
from .model import ContractError, Place
from .plain import Written, flattened, shown
from .traced import Finder, Traced, traced

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
RENDER_SECONDS = 60
LARGEST_RENDERING = 256 * 1024**2
"""Bytes of what a program may give."""
MOST_MEMORY = 4 * 1024**3
"""Bytes of addresses that a program may use."""
DEEPEST_BASE = 50
"""Kustomizations above each other."""
MOST_USES = 20_000
"""How often kustomizations and files are used, each use of a base with all that is below it."""

REMOTE = re.compile(r"(?i)git::|[a-z][a-z0-9+.-]*://|https?:|[a-z0-9][a-z0-9-]*@|(www\.)?github\.com[/:]")
"""What Kustomize would fetch, and what looks like it."""

OFFLINE = {"GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0", "GOGC": "400",
           **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")}
"""A second lock behind the first: a program with this environment reaches no network. And one written in Go does not
stop to collect the little memory that it uses."""


def kustomization_file(folder: Path) -> Path | None:
    """The kustomization of a folder, None where there is none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def kustomize_command(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command that renders, without the folder.

    :param given: a program, or a whole command; empty for the one that ``make tools`` built, one on PATH, or kubectl.
    :raises ContractError: there is none.
    """
    search = environment.get("PATH", os.defpath)
    if given:
        program = shutil.which(given[0], path=search)
        if not program:
            raise ContractError(f"{given[0]} is no program, and was to render the manifests.",
                                "Name kustomize or kubectl, or leave it out.")
        if given[1:]:
            return [program, *given[1:]]
    else:
        program = (built("kustomize", environment) or shutil.which("kustomize", path=search)
                   or shutil.which("kubectl", path=search))
        if not program:
            raise ContractError("There is no kustomize and no kubectl on this machine to render the manifests with.",
                                "Type `make tools`, or install kustomize 5 or kubectl.")
    return [program, "kustomize" if "kubectl" in Path(program).name else "build"]


def built(tool: str, environment: Mapping[str, str]) -> str | None:
    """The newest of a tool that this project has built."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/"), ".cache"))
    found = (cache / "observer-node" / "tools").glob(f"{tool}-*/{tool}")
    newest = max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)], default=None)
    return str(newest) if newest else None


@dataclass(frozen=True)
class Running:
    """A program that runs while something else is done. What it says goes to files, so that it never waits."""

    process: subprocess.Popen[bytes]
    command: Sequence[str]
    folder: Path
    output: IO[bytes]
    errors: IO[bytes]

    def stop(self, late: threading.Event) -> None:
        """End it, and say so."""
        late.set()
        self.process.kill()

    def result(self, name: str, complained: Callable[[str], Place | None]) -> bytes:
        """What it gives.

        :param name: what it renders, for messages.
        :param complained: finds the line that a complaint is about.
        :raises ContractError: it fails, takes too long, or gives too much; with its own words in one line.
        """
        typed = f"`{Path(self.command[0]).name} {' '.join(self.command[1:])}`"
        # Popen.wait with a timeout looks every 50 ms, which is as long as all of a rendering takes.
        late = threading.Event()
        timer = threading.Timer(RENDER_SECONDS, self.stop, (late,))
        timer.daemon = True
        timer.start()
        status = self.process.wait()
        timer.cancel()
        if late.is_set():
            raise ContractError(f"{name} was not rendered within {RENDER_SECONDS} s.", f"Find out what keeps {typed}.",
                                Place(name))
        if os.fstat(self.output.fileno()).st_size >= LARGEST_RENDERING:
            raise ContractError(f"{name} renders to more than {LARGEST_RENDERING // 1024**2} MiB.", "Split it.",
                                Place(name))
        if status:
            self.errors.seek(0)
            words = self.errors.read(LARGEST_FILE).decode(errors="replace")
            place = complained(words) or Place(name)
            reason = condensed(words, self.folder) or f"{typed} ends with status {status}"
            raise ContractError(f"{place} cannot be rendered: {reason}.",
                                f"Correct it; {typed} shows all of the message.", place)
        self.output.seek(0)
        return self.output.read()


@contextmanager
def running(command: Sequence[str], folder: Path, environment: Mapping[str, str] = OFFLINE) -> Iterator[Running]:
    """Start a program in a folder without a network; it is ended with the block.

    :raises ContractError: it does not start.
    """
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=folder,
                                       env={**kept, **environment})
        except OSError as error:
            raise ContractError(f"{command[0]} does not start: {error.strerror}.",
                                "Name a program that renders here.") from None
        bound(process.pid)
        try:
            yield Running(process, command, folder, output, errors)
        finally:
            process.kill()
            process.wait()


def bound(process: int) -> None:
    """Keep a program from filling memory or disk, where the system can (Linux)."""
    if hasattr(resource, "prlimit"):
        for kind, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_FSIZE, LARGEST_RENDERING)):
            hard = resource.prlimit(process, kind)[1]
            if hard == resource.RLIM_INFINITY or hard > most:
                resource.prlimit(process, kind, (most, most))


def condensed(words: str, folder: Path) -> str:
    """A program's complaint in one line: the innermost reason, without the machine's paths."""
    # What is quoted of an input may be a secret; a chart's own message may, too.
    words = re.sub(r'\[patch: ".*?"\]', "[...]", words, flags=re.DOTALL)
    words = re.sub(r"`[^`]*\n[^`]*`", "`...`", words)
    words = re.sub(r"(sources|literals) \[[^\]]*\]", r"\1 [...]", words)
    words = re.sub(r"(invalid literal source) .*", r"\1", words)
    words = re.sub(r"(error calling (?:fail|required)): .*", r"\1", words, flags=re.DOTALL)
    told = " ".join(line for line in words.splitlines() if not line.startswith(("# Warning", "Use --debug flag")))
    line = " ".join(told.replace(f"{folder}/", "").split()).removeprefix("Error: ")
    # Each base is first tried as a file; what is said about that hides the reason.
    line = line.rpartition(" must resolve to a file': ")[2].rpartition("accumulating resources from ")[2]
    line = line.partition("': must build at directory")[0].strip(" .")
    return line if len(line) <= 400 else f"{line[:400]}..."


# --- reading the tree -------------------------------------------------------------------------------


@dataclass
class Reader:
    """Reads a tree of kustomizations. ``root`` is the folder that nothing may lead out of, without links in it."""

    root: Path
    asked: dict[str, Place] = field(default_factory=dict)
    """What is named, and the last line that names it."""
    layers: dict[Path, Layer] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    open: dict[Path, Place] = field(default_factory=dict)
    """Folders that are being read, and the line of each that asks for the next one."""
    waiting: list[tuple[Layer, FieldPath, Path, Traced, str]] = field(default_factory=list)
    """Files that are named and not yet read."""
    inline: list[tuple[Layer, FieldPath, Document]] = field(default_factory=list)
    documents: dict[Path, list[Document]] = field(default_factory=dict)

    def shown(self, path: Path) -> str:
        """A path as places name it."""
        return shown(path, self.root) if path != self.root else self.root.name

    def layer(self, folder: Path, asked: Place | None = None) -> Layer:
        """Read the kustomization of a folder and those below it; files are only looked for.

        :param asked: the line that names the folder, None for the first one.
        :raises ContractError: see the module.
        """
        if folder in self.layers:
            return self.layers[folder]
        several = [folder / name for name in NAMES if (folder / name).is_file()]
        if len(several) != 1:
            what = "has " + " and ".join(path.name for path in several) if several else "has no kustomization.yaml"
            raise ContractError(f"{f'{asked} asks for {self.shown(folder)}, which' if asked else self.shown(folder)} "
                                f"{what}.",
                                "Keep one of them." if several else "Restore it, or correct the path.",
                                asked or Place(self.shown(folder)))
        if len(self.open) > DEEPEST_BASE:
            raise ContractError(f"{asked} is more than {DEEPEST_BASE} kustomizations deep.", "Flatten the bases.",
                                asked)
        file = self.file(several[0], asked)
        name = self.shown(several[0])
        found = load_documents(read_text(file, name), name)
        if len(found) != 1 or not isinstance(found[0].body, dict):
            raise ContractError(f"{name} is no kustomization: it is not one YAML mapping.", "Correct it.",
                                Place(name, found[0].line() if found else 1))
        layer = Layer(name, traced(found[0]))
        for key in ("helmCharts", "helmChartInflationGenerator"):
            if (line := layer.node.get(key)) is not None:
                raise ContractError(f"{line.place} asks Kustomize for a Helm chart, and that is not done: it may be "
                                    "fetched.", "Check the chart by itself, or render it into a base.", line.place)
        self.open[folder] = Place(name, 1)
        for path, asking, kind in asks(layer.node):
            self.follow(layer, folder, found[0], path, asking, kind)
        del self.open[folder]
        self.layers[folder] = layer
        self.uses[name] = 1 + sum(self.uses[part.file] if isinstance(part, Layer) else 1
                                   for part in [*layer.resources, *layer.components])
        if self.uses[name] > MOST_USES:
            raise ContractError(f"{name} uses more than {MOST_USES:,} bases and files.", "Use each base once.",
                                Place(name, 1))
        return layer

    def follow(self, layer: Layer, folder: Path, document: Document, path: FieldPath, entry: Traced, kind: str) -> None:
        """Look for what a line of a kustomization names.

        :param kind: ``resource`` (a file or a folder), ``component`` (a folder), ``patch`` or ``data`` (a file),
            ``config`` (a file or a folder that is not followed), ``inline`` (the text itself).
        """
        if kind == "inline":
            self.inline.append((layer, path, document))
            return
        place, name = entry.place, entry.text()
        if kind == "data" and path[-2] == "files":
            name = name.partition("=")[2] or name
        if REMOTE.match(name):
            raise ContractError(f"{place} asks for {name}, and nothing is fetched from the network.",
                                "Put a copy into the repository and name that.", place)
        if not name or "\0" in name or Path(name).is_absolute():
            raise ContractError(f"{place} asks for {name or 'nothing'}, which is no relative path.", "Correct it.",
                                place)
        self.asked[name] = place
        target = Path(os.path.normpath(folder / name))
        if target.is_file() and not target.is_relative_to(folder):
            remedy = (f"Name its folder, {name.rpartition('/')[0]}." if target.name in NAMES else
                      "Move it there, or give its folder a kustomization.yaml and name that.")
            raise ContractError(f"{place} asks for the file {name}, which is not below {self.shown(folder)}: Kustomize "
                                "refuses that.", remedy, place)
        real = self.file(target, place, name)
        if real.is_dir() and kind in ("resource", "component", "config"):
            if kind == "config":
                return
            self.refuse_cycle(real, folder, entry)
            self.open[folder] = place
            below = self.layer(real, place)
            (layer.components if kind == "component" else layer.resources).append(below)
        elif not real.is_file() or kind == "component":
            what = "folder" if kind == "component" else "file"
            raise ContractError(f"{place} asks for {name}, which is no {what}.", "Correct the path.", place)
        elif not real.is_relative_to(folder):
            raise ContractError(f"{place} asks for {name}, a link that leads out of {self.shown(folder)}: Kustomize "
                                "refuses that.", "Put a copy of the file there.", place)
        else:
            if kind == "resource":
                layer.resources.append(Part(()))  # keeps the order, until the file is read
                path = ("resource", len(layer.resources) - 1)
            self.waiting.append((layer, path, target, entry, kind))

    def file(self, path: Path, place: Place | None, name: str = "") -> Path:
        """A path without its links; raises ContractError when it is not there, or they lead out of the tree."""
        asks = f"{place} asks for {name or self.shown(path)}, which" if place else self.shown(path)
        try:
            real = Path(os.path.realpath(path, strict=True))
        except OSError as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            raise ContractError(f"{asks} {why}.", "Restore it (git checkout), or take the line out.",
                                place or Place(self.shown(path))) from None
        if not real.is_relative_to(self.root):
            raise ContractError(f"{asks} leads out of {self.root.name or self.root}.",
                                "Put a copy of it there, or check the folder that has both.",
                                place or Place(self.shown(path)))
        return real

    def refuse_cycle(self, folder: Path, asking: Path, entry: Traced) -> None:
        """:raises ContractError: a base that is used by itself, or that is a folder above who asks for it."""
        if folder in self.open and folder != asking:
            line = self.open[folder]
            raise ContractError(f"{entry.place} asks for {entry.text()}, which needs that file itself ({line}): "
                                "a cycle.", "Take one of the two lines out.", entry.place)
        above = next((other for other in self.open if other.is_relative_to(folder)), None)
        if above:
            what = "its own folder" if above == folder else f"a folder above {self.shown(above)}, which needs it"
            raise ContractError(f"{entry.place} asks for {entry.text()}, {what}: a cycle.",
                                "Take the line out, or name a folder beside it.", entry.place)

    def complained(self, words: str) -> Place | None:
        """The line that asks for a file that Kustomize complains about."""
        return next((line for file, line in reversed([*self.asked.items()]) if f"'{file}'" in words), None)

    def read(self) -> None:
        """Read all files that are named, and the patches that are written inside a kustomization."""
        for layer, path, target, entry, kind in self.waiting:
            name = self.shown(target)
            if kind == "data":
                if (size := target.stat().st_size) > LARGEST_FILE:
                    raise ContractError(f"{name} has {size / 1024**2:.0f} MiB; at most {LARGEST_FILE // 1024**2} MiB "
                                        "are read.", "Leave it out of what is checked.", entry.place)
                layer.data[path] = Data(target.read_bytes(), name)
                continue
            if target not in self.documents:
                self.documents[target] = load_documents(read_text(target, name), name)
            if kind == "resource":
                refuse_nameless(self.documents[target])
                layer.resources[int(path[1])] = Part(self.documents[target])
            else:
                layer.parts[path] = Part(self.documents[target])
        for layer, path, document in self.inline:
            layer.parts[path] = embedded(document, path)


def refuse_nameless(documents: Sequence[Document]) -> None:
    """:raises ContractError: a document is no object, or has no name: Kustomize refuses both, and names no line."""
    for item in flattened([KubeObject(document.body, Written(document)) for document in documents]):
        if not item.name:
            place = item.locate(("metadata",))
            raise ContractError(f"{place} has no name.", "Give it a metadata.name.", place)


def asks(node: Traced) -> Iterator[tuple[FieldPath, Traced, str]]:
    """What a kustomization names: where it stands, the entry, and what kind of thing it is."""
    for key, kind in (("resources", "resource"), ("bases", "resource"), ("components", "component"),
                      ("crds", "data"), ("configurations", "data"), ("generators", "config"),
                      ("transformers", "config"), ("validators", "config"), ("patchesStrategicMerge", "patch")):
        for number, entry in enumerate(node.items(key)):
            written = kind in ("config", "patch") and re.search(r"\n|^\s*\{", entry.text())
            if not written:
                yield (key, number), entry, kind
            elif kind == "patch":
                yield (key, number), entry, "inline"
    if (schema := node.get("openapi", "path")) is not None:
        yield ("openapi", "path"), schema, "data"
    for key in ("patches", "patchesJson6902", "replacements"):
        for number, patch in enumerate(node.items(key)):
            if patch.text("path"):
                yield (key, number, "path"), patch.value["path"], "patch"
            elif patch.text("patch"):
                yield (key, number, "patch"), patch.value["patch"], "inline"
    for key in ("configMapGenerator", "secretGenerator"):
        for number, generator in enumerate(node.items(key)):
            for name in ("files", "envs"):
                for index, entry in enumerate(generator.items(name)):
                    yield (key, number, name, index), entry, "data"
            if generator.text("env"):
                yield (key, number, "env"), generator.value["env"], "data"


def embedded(document: Document, path: FieldPath) -> Part:
    """The YAML in a text of a document. The lines of a block (`|`) are lines of the file; any other text counts as one
    line, since folding and escapes hide which is which.

    :raises ContractError: it is no YAML.
    """
    node = document.node
    for step in path:
        node = (child(node, step) or (None, None))[1]
    content = str(node.value)
    if node.style == "|":
        shift = int(node.start_mark.line) + 1
        try:
            return Part(load_documents(content, document.file), shift)
        except ContractError:
            # Again with the lines before it, for a message that names the right one.
            return Part(load_documents("\n" * shift + content, document.file))
    place = document.place(path)
    try:
        return Part(load_documents(content, document.file), at=place)
    except ContractError as error:
        what = str(error).partition(" ")[2]
        raise ContractError(f"{place} has a text that {what}", "Correct the text.", place) from None


# --- loading ----------------------------------------------------------------------------------------


@dataclass
class Tracing:
    """Which rendered object comes from which sources, found out when it is first asked for."""

    layer: Layer
    bodies: Sequence[Mapping[str, Any]]

    @cached_property
    def sources(self) -> list[Object | None]:
        """For each rendered object the one that it comes from."""
        return sources(build(self.layer), self.bodies)

    @cached_property
    def finders(self) -> dict[int, Finder]:
        """Those that were used, by the number of the object."""
        return {}

    def locate(self, number: int, path: FieldPath) -> Place:
        """The line of a field of an object; one that no source is known for is the kustomization's."""
        source = self.sources[number]
        if source is None:
            node = self.layer.node
            return next((line.place for key in ("generators", "transformers") if (line := node.get(key))), node.place)
        if number not in self.finders:
            self.finders[number] = Finder(self.bodies[number], source.node, source.namespaces)
        return self.finders[number](path)


def load_kustomize(folder: Path, root: Path, command: Sequence[str],
                   meanwhile: Callable[[], object] = lambda: None) -> ManifestFacts:
    """An overlay's objects, as Kustomize renders them.

    :param folder: the overlay's, without links in it, below ``root``.
    :param command: as ``kustomize_command`` gives it.
    :param meanwhile: called while Kustomize works.
    :raises ContractError: something is missing, leads elsewhere, or cannot be rendered.
    """
    reader = Reader(root)
    layer = reader.layer(folder)
    with running([*command, str(folder)], root) as rendering:
        reader.read()
        meanwhile()
        output = rendering.result(layer.file, reader.complained)
    try:
        bodies = [body for body in yaml.load_all(output, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if body]
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise ContractError(f"{layer.file} renders to what is not YAML: {' '.join(str(error).split())}.",
                            "Quote the value.", Place(layer.file)) from None
    tracing = Tracing(layer, bodies)
    return ManifestFacts(tuple(KubeObject(body, Located(tracing, number)) for number, body in enumerate(bodies)),
                         Place(layer.file, 1))


@dataclass(frozen=True, slots=True)
class Located:
    """``KubeObject.locate`` of one object."""

    tracing: Tracing
    number: int

    def __call__(self, path: FieldPath) -> Place:
        return self.tracing.locate(self.number, path)


def common_root(folder: Path) -> Path:
    """The folder that holds an overlay and all bases that it names, where no repository says so."""
    found, waiting = {folder}, [folder]
    while waiting and len(found) < MOST_USES:
        current = waiting.pop()
        file = kustomization_file(current)
        try:
            bodies = load_documents(read_text(file), str(file)) if file else []
        except ContractError:
            continue  # Said when it is read for good.
        for _, entry, kind in (ask for body in bodies for ask in asks(traced(body))):
            below = Path(os.path.normpath(current / entry.text()))
            if kind in ("resource", "component") and below not in found and below.is_dir() and (
                    below == Path(os.path.realpath(below))):
                found.add(below)
                waiting.append(below)
    return Path(os.path.commonpath(found))
