"""Loads a Helm chart: Helm itself says what the objects are, templates and values files where each field comes from.

A field that a template only passes on is said by the line of the values; any other by the template's own line. Helm
runs without a network and without a cluster.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cache, cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from .classes import dataclass
from .documents import Document, child, load_documents, read_text
from .facts import FieldPath, KubeObject, ManifestFacts
from .kustomize import OFFLINE, built, running
from .model import ContractError, Place
from .plain import CHART, MOST_FILES, shown
from .template import Key, Line, Loop, Printed, Printer, Source, Value, ValuePath, align, lines, read
from .traced import text

ALONE = {**OFFLINE, "KUBECONFIG": os.devnull, **{f"HELM_{name}": os.devnull for name in (
    "PLUGINS", "CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "REGISTRY_CONFIG", "REPOSITORY_CONFIG")}}
"""Helm sees no cluster, no plugin and no registry."""


def helm_command(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command that Helm is.

    :param given: a program, or a whole command; empty for the one that was built, or the one on PATH.
    :raises ContractError: there is none.
    """
    search = environment.get("PATH", os.defpath)
    program = shutil.which(given[0], path=search) if given else built("helm", environment) or shutil.which(
        "helm", path=search)
    if not program:
        raise ContractError(f"{given[0]} is no program, and was to render the chart." if given else
                            "There is no helm on this machine to render the chart with.",
                            "Name helm, or install helm 3 or later.")
    return [program, *given[1:]]


MOST_CHARTS = 200
DEEPEST_CHART = 40
"""Folders between the root and a chart."""


# --- values -----------------------------------------------------------------------------------------


@dataclass
class Values:
    """The values that a chart's templates see. ``given`` are documents and where in them this chart's values are, the
    strongest first; ``above`` are those of the chart that this one is a part of."""

    given: Sequence[tuple[Document, FieldPath]]
    above: Values | None = None

    def find(self, path: FieldPath) -> tuple[Any, Place] | None:
        """A value and its line, None where nobody says it."""
        if path[:1] == ("global",) and self.above and (found := self.above.find(path)):
            return found
        for document, start in self.given:
            body, known = document.body, True
            for number, step in enumerate((*start, *path)):
                below, known = child_of(body, step)
                if not known:
                    if number >= len(start) and not isinstance(body, Mapping):
                        return None  # it is another thing here, and what weaker files say does not count
                    break
                body = below
            if known:
                return body, document.place((*start, *path))
        return None

    @cached_property
    def merged(self) -> dict[str, Any]:
        """All values together, as the templates see them."""
        whole: dict[str, Any] = {}
        for document, start in reversed(self.given):
            body = document.body
            for step in start:
                body = body.get(step) if isinstance(body, Mapping) else None
            merge(whole, body)
        if self.above:
            merge(whole, {"global": self.above.merged.get("global")})
        return whole

    def get(self, path: FieldPath) -> Any:  # noqa: ANN401
        """A value as the templates see it: None where there is none."""
        value: Any = self.merged
        for step in path:
            value = child_of(value, step)[0]
        return value

    def part(self, name: str, own: Sequence[Document]) -> Values:
        """The values of a chart that is a part of this one."""
        return Values([*((document, (*start, name)) for document, start in self.given),
                       *((document, ()) for document in own)], self)


def child_of(value: Any, step: str | int) -> tuple[Any, bool]:  # noqa: ANN401
    """The part of a value one step down, and whether there is one. Keys count by how they are written."""
    if isinstance(value, Mapping):
        if step in value:
            return value[step], True
        return next(((part, True) for key, part in value.items() if text(key) == text(step)), (None, False))
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step], True
    return None, False


def merge(whole: dict[str, Any], more: Any) -> None:  # noqa: ANN401
    """Put values over others, mapping by mapping; null takes one away."""
    if not isinstance(more, Mapping):
        return
    for key, value in more.items():
        if value is None:
            whole.pop(key, None)
        elif isinstance(value, Mapping):
            below = whole.get(key)
            whole[key] = dict(below) if isinstance(below, Mapping) else {}
            merge(whole[key], value)
        else:
            whole[key] = value


# --- charts -----------------------------------------------------------------------------------------


@dataclass
class Chart:
    """A chart's folder, and what is known of it. Places are relative to ``root``."""

    folder: Path
    root: Path
    document: Document
    values: Values
    count: Iterator[int]
    """Counts this chart and all in it."""
    parts: dict[str, Chart | Place] = field(default_factory=dict)
    """Charts in it by the name that values know them by; of one that is packed the line that asks for it."""

    def sources(self) -> dict[str, Source]:
        """Named templates of this chart and of all in it: a name is known everywhere."""
        found: dict[str, Source] = {}
        for part in self.parts.values():
            if isinstance(part, Chart):
                found |= part.sources()
        for path in sorted((self.folder / "templates").rglob("*")):
            if path.is_file() and path.suffix in (".tpl", ".yaml", ".yml"):
                name = shown(path, self.root)
                found |= read(read_text(path, name), name)[1]
        return found


def chart(folder: Path, root: Path, given: Sequence[Document], above: Chart | None = None, name: str = "") -> Chart:
    """Read a chart and those in it.

    :param given: values files of the first chart, the strongest first.
    :param above: the chart that it is a part of, which knows it as ``name``.
    :raises ContractError: a file is no YAML, or a chart that it needs is not there.
    """
    file = folder / CHART
    found = load_documents(read_text(file, shown(file, root)), shown(file, root))
    if not found or not isinstance(found[0].body, Mapping) or not isinstance(found[0].body.get("name"), str):
        raise ContractError(f"{shown(file, root)} names no chart.", "Write its name.", Place(shown(file, root), 1))
    document, own = found[0], folder / "values.yaml"
    documents = values_documents(own, root) if own.is_file() else []
    values = above.values.part(name, documents) if above else Values([(one, ()) for one in (*given, *documents)])
    here = Chart(folder, root, document, values, above.count if above else count(1))
    asked = dependencies(folder, root, document)
    if next(here.count) > MOST_CHARTS or len(folder.relative_to(root).parts) > DEEPEST_CHART:
        raise ContractError(f"{shown(folder, root)} is one chart too many: a link leads in a circle, or there are more "
                            f"than {MOST_CHARTS}.", "Take a chart out.", Place(shown(file, root)))
    below = sorted(path for path in (folder / "charts").glob("*/") if (path / CHART).is_file())
    bodies = {path: load_documents(read_text(path / CHART, shown(path / CHART, root)), shown(path / CHART, root))
              for path in below}
    names = {path: text(body[0].body.get("name")) for path, body in bodies.items()
             if body and isinstance(body[0].body, Mapping)}
    packed = [path.name for path in (folder / "charts").glob("*.tgz")]
    for wanted, alias, place in asked:
        path = next((path for path, known in names.items() if known == wanted), None)
        if path is not None:
            here.parts[alias] = chart(path, root, (), here, alias)
        elif any(re.fullmatch(re.escape(wanted) + r"-v?\d.*\.tgz", one) for one in packed):
            here.parts[alias] = place
        else:
            raise ContractError(f"{place} asks for the chart {wanted}, which is not in charts/.",
                                f"`helm dependency build {shown(folder, root)}` fetches it; commit what it writes.",
                                place)
    for path, known in names.items():
        if known not in (wanted for wanted, _, _ in asked):
            here.parts[known] = chart(path, root, (), here, known)
    return here


def dependencies(folder: Path, root: Path, document: Document) -> list[tuple[str, str, Place]]:
    """Charts that a chart asks for: name, the name that values know it by, and the line."""
    found = []
    old = folder / "requirements.yaml"
    more = load_documents(read_text(old, shown(old, root)), shown(old, root)) if old.is_file() else []
    for one in (document, *more):
        listed = one.body.get("dependencies") if isinstance(one.body, Mapping) else None
        for number, entry in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(entry, Mapping) and entry.get("name"):
                name = text(entry["name"])
                found.append((name, text(entry.get("alias")) or name, one.place(("dependencies", number, "name"))))
    return found


def values_documents(path: Path, root: Path) -> list[Document]:
    """A values file.

    :raises ContractError: it is no YAML, or more than one mapping.
    """
    name = shown(path, root)
    found = load_documents(read_text(path, name), name)
    if len(found) > 1 or not all(isinstance(one.body, Mapping) for one in found):
        line = found[-1].line()
        raise ContractError(f"{name}:{line} is no values file: it is not one YAML mapping.", "Correct it.",
                            Place(name, line))
    return found


def refuse_links(folder: Path, root: Path) -> None:
    """:raises ContractError: a link in a chart leads out of ``root``: Helm would follow it."""
    seen = 0
    for current, folders, files in os.walk(folder):
        for path in (Path(current, name) for name in (*folders, *files)):
            seen += 1
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                name = shown(path, root)
                raise ContractError(f"{name} is a link that leads out of {root.name or root}.",
                                    "Put a copy of the file there, or remove the link.", Place(name))
        if seen > MOST_FILES:
            raise ContractError(f"{shown(folder, root)} has more than {MOST_FILES:,} files.", "Name a smaller chart.",
                                Place(shown(folder, root)))


# --- loading ----------------------------------------------------------------------------------------


@dataclass
class Chunk:
    """The part of Helm's output that one template printed, and what it takes to find a field's line."""

    text: str
    source: str
    whole: Chart
    sources: Mapping[str, Source]

    def documents(self) -> list[Document]:
        """What was printed.

        :raises ContractError: Helm lets it pass, and it is not right: a key twice. The line is the template's.
        """
        try:
            return load_documents(self.text, self.source)
        except ContractError as error:
            printed, _, _, start = self.printed
            number = error.place.line if error.place else 0
            line = printed[number - 1] if 0 < number <= len(printed) else None
            place = line.line.place if line else start
            reason = str(error).partition(" ")[2]
            raise ContractError(f"{place} prints what Kubernetes does not take: line {number} {reason}", error.remedy,
                                place) from None

    @cached_property
    def origin(self) -> tuple[Chart, Path] | Place:
        """The chart and file that printed it; of a packed chart the line that asks for it."""
        names = self.source.split("/")
        here = self.whole
        del names[0]
        while names[:1] == ["charts"] and len(names) > 1:
            part = here.parts.get(names[1])
            if isinstance(part, Place):
                return part
            if part is None:
                break
            here, names = part, names[2:]
        return here, here.folder.joinpath(*names)

    @cached_property
    def printed(self) -> tuple[list[Printed | None], Printer | None, Values, Place]:
        """For each line where it comes from; what was found out about the template; its values; and its place."""
        rendered = self.text.split("\n")
        if isinstance(self.origin, Place):
            return [None] * len(rendered), None, self.whole.values, self.origin
        here, path = self.origin
        name = shown(path, here.root)
        try:
            written = read_text(path, name)
        except ContractError:
            return [None] * len(rendered), None, here.values, here.document.place()
        source, _ = read(written, name)
        if "{{" not in written or path.parent.name == "crds":
            return as_written(rendered, written, name), None, here.values, Place(name, 1)
        printer = lines(source, self.sources)
        printed = align(rendered, printer, cache(partial(possible, values=here.values)))
        settle(rendered, printed, printer, here.values)
        return printed, printer, here.values, Place(name, 1)


def as_written(rendered: Sequence[str], written: str, name: str) -> list[Printed | None]:
    """Where the lines of a file come from that Helm prints as it is."""
    body = "\n".join(rendered[1:]).strip()  # the first names the file
    start = written.find(body)
    first = written.count("\n", 0, start) + 1 if start >= 0 else 0
    leading = next((number for number, line in enumerate(rendered) if number and line.strip()), 0)
    return [Printed(Line(Place(name, first + number - leading), ("",)), {}, ()) if first and number >= leading else None
            for number in range(len(rendered))]


def settle(rendered: Sequence[str], printed: Sequence[Printed | None], printer: Printer, values: Values) -> None:
    """Find out in which round of a loop a document was printed that is one round of several: the one whose values it
    shows most of. Where several show as many, that is not known."""
    for loop, of in printer.loops.items():
        if not any(line.divides and loop in line.blocks for line in printer.lines):
            continue
        items = values.get(plain_path(of)) if of and of[0] == "Values" and not any(
            isinstance(step, Loop | Key) for step in of) else None
        scores: dict[int, int] = {}
        for number, line in enumerate(printed):
            for first, last, value in line.spans if line else ():
                for ref in value.refs[:1] if Loop(loop) in (value.refs or ((),))[0] else ():
                    for turn in range(min(len(items), MOST_ROUNDS)) if isinstance(items, list | dict) else ():
                        path = concrete(ref, {**(line.rounds if line else {}), loop: turn}, values)
                        if path and alike(rendered[number][first:last].strip(" \"'"), shown_value(path, values), ()):
                            scores[turn] = scores.get(turn, 0) + 1
        most = max(scores.values(), default=0)
        best = [turn for turn, score in scores.items() if score == most]
        for line in printed:
            if line and loop in line.rounds:
                line.rounds[loop] = best[0] if len(best) == 1 else -1


MOST_ROUNDS = 500


def possible(value: Value, values: Values) -> frozenset[str]:
    """The texts that a value can be, in whatever round of its loops; none where more than the values decide it."""
    if not set(value.filters) <= {"quote", "squote", "toString", "int", "int64", "trim"} or len(value.refs) != 1:
        return frozenset()
    paths: list[ValuePath] = [()]
    for step in value.refs[0]:
        if isinstance(step, Loop):
            some = [(path, values.get(plain_path(path))) for path in paths]
            paths = [(*path, key if isinstance(items, list) else text(key)) for path, items in some
                     if isinstance(items, list | dict)
                     for key in (range(len(items)) if isinstance(items, list) else items)][:MOST_ROUNDS]
        else:
            paths = [(*path, step) for path in paths]
    return frozenset(text(shown_value(path, values)) for path in paths if path[:1] == ("Values",) and path[1:])


def concrete(ref: ValuePath, rounds: Mapping[int, int], values: Values) -> ValuePath:
    """A path of values with the items that loops are at; empty where one is not known."""
    path: ValuePath = ()
    for step in ref:
        if isinstance(step, Loop):
            items, turn = values.get(plain_path(path)), rounds.get(step.block, -1)
            if not isinstance(items, list | dict) or not 0 <= turn < len(items):
                return ()
            path = (*path, turn if isinstance(items, list) else text(sorted(items, key=text)[turn]))
        else:
            path = (*path, step)
    return path


def plain_path(path: ValuePath) -> FieldPath:
    """A path below the values without what is none of it."""
    return tuple(step for step in path[1:] if isinstance(step, str | int))


def shown_value(path: ValuePath, values: Values) -> Any:  # noqa: ANN401
    """What a template shows for a path: a value, or the key of an item."""
    return plain_path(path)[-1] if path[-1:] == (Key(),) else values.get(plain_path(path))


def alike(rendered: Any, value: Any, filters: Sequence[str]) -> bool:  # noqa: ANN401
    """Whether a rendered value is one of the values, behind the filters that change it."""
    if isinstance(rendered, Mapping | list) or isinstance(value, Mapping | list):
        return bool(rendered == value)
    said = text(value)
    for name in filters:
        if name == "b64enc":
            said = base64.b64encode(said.encode()).decode()
        elif name in ("upper", "lower"):
            said = said.upper() if name == "upper" else said.lower()
    if text(rendered).strip() == said.strip():
        return True
    try:
        return said != "" and float(text(rendered)) == float(said)  # 8e+06 is how a template shows 8000000
    except ValueError:
        return False


@dataclass(frozen=True)
class Located:
    """``KubeObject.locate`` of an object that a template printed."""

    chunk: Chunk
    document: Document

    def __call__(self, path: FieldPath) -> Place:
        while path and not self.document.has(path):
            path = path[:-1]
        printed, printer, values, start = self.chunk.printed
        if printer is not None and path and (found := self.value_line(path, printed, values)):
            return found
        for length in range(len(path), -1, -1):
            line = printed[self.document.line(path[:length]) - 1]
            if line is not None:
                return line.line.place
        return start

    def value_line(self, path: FieldPath, printed: Sequence[Printed | None], values: Values) -> Place | None:
        """The line of the values that says a field, None where a template says it."""
        node, rendered = self.document.node, KubeObject(self.document.body, self).get(*path)
        for step in path:
            node = (child(node, step) or (None, node))[1]
        number, below = self.document.line(path), self.document.value_line(path)
        if getattr(node, "style", None) in ("|", ">"):
            below += 1
        for at in (number, below):
            line = printed[at - 1] if at <= len(printed) else None
            found = None
            if line is not None and line.line.several:
                found = self.in_block(path, rendered, at, printed, values)
            elif line is not None and at == node.start_mark.line + 1 and isinstance(node, yaml.ScalarNode):
                found = self.in_line(node, rendered, line, values)
            if found:
                return found
        return None

    def in_block(self, path: FieldPath, rendered: Any, at: int, printed: Sequence[Printed | None],  # noqa: ANN401
                 values: Values) -> Place | None:
        """A field in lines that one value printed: the value's own part at the field's path."""
        here = printed[at - 1]

        def inside(length: int) -> bool:
            line = printed[self.document.line(path[:length]) - 1]
            return line is not None and here is not None and line.line is here.line and line.rounds == here.rounds

        start = next((length for length in range(1, len(path) + 1) if inside(length)), len(path) + 1)
        rest = path[start - 1:]
        if rest and isinstance(rest[0], int):
            first = next(number for number in range(rest[0] + 1)
                         if (line := printed[self.document.line((*path[:start - 1], number)) - 1]) is not None
                         and here is not None and line.line is here.line)
            rest = (rest[0] - first, *rest[1:])
        for value in (value for _, _, value in (here.spans if here else ())):
            for ref in value.refs:
                known = concrete(ref, here.rounds if here else {}, values)
                if known[:1] == ("Values",) and Key() not in known:
                    whole = (*plain_path(known), *rest)
                    if alike(rendered, values.get(whole), value.filters) and (found := values.find(whole)):
                        return found[1]
        return None

    def in_line(self, node: Any, rendered: Any, line: Printed, values: Values) -> Place | None:  # noqa: ANN401
        """A scalar in a line with values: what passes on a value as it is, or puts values together with signs."""
        first, last = node.start_mark.column, node.end_mark.column
        whole = self.chunk.text.split("\n")[node.start_mark.line]
        spans = [span for span in line.spans if span[0] < last and span[1] > first]
        rest, position = "", first
        for begin, end, _ in spans:
            rest, position = rest + whole[position:begin], max(position, end)
        if re.search(r"\w", rest + whole[position:last]):
            return None
        if len(spans) == 1:
            value = spans[0][2]
            if value.printed:
                return self.last_of([(ref, None) for ref in value.printed], rendered, line, values)
            return self.said(value, rendered, line, values)
        return self.last_of([(value, whole[begin:end].strip(" \"'")) for begin, end, value in spans], rendered, line,
                            values)

    def said(self, value: Value, rendered: Any, line: Printed, values: Values) -> Place | None:  # noqa: ANN401
        """The line of the first thing that a value may be and that is what was rendered."""
        for ref in value.refs:
            known = concrete(ref, line.rounds, values)
            if known[:1] == ("Chart",) and len(known) == 2 and not isinstance(self.chunk.origin, Place):
                about = self.chunk.origin[0].document
                name = text(known[1])
                name = name[:1].lower() + name[1:]
                if alike(rendered, about.body.get(name), value.filters):
                    return about.place((name,))
            if known[:1] == ("Values",) and len(known) > 1:
                shows = shown_value(known, values)
                if shows is not None and alike(rendered, shows, value.filters):
                    found = values.find(plain_path(known))
                    return found[1] if found else None
        return None

    def last_of(self, parts: Sequence[tuple[Value | ValuePath, str | None]], rendered: Any, line: Printed,  # noqa: ANN401
                values: Values) -> Place | None:
        """The line of the last of some values that are put together: an image's tag."""
        for value, shows in reversed(parts):
            one = value if isinstance(value, Value) else Value((value,))
            if shows is None:
                known = concrete(one.refs[0], line.rounds, values)
                shows = text(shown_value(known, values)) if known[:1] == ("Values",) else ""
                if not shows or not re.search(rf"(^|\W){re.escape(shows)}$", text(rendered)):
                    return None
            return self.said(one, shows, line, values)
        return None


def load_helm(folder: Path, root: Path, command: Sequence[str], values: Sequence[Path]) -> ManifestFacts:
    """A chart's objects, as Helm renders them with its own values and those of some files.

    :param folder: the chart's, without links in it, below ``root``.
    :param command: as ``helm_command`` gives it.
    :param values: files, the strongest last.
    :raises ContractError: something is missing, leads elsewhere, or cannot be rendered.
    """
    refuse_links(folder, root)
    files = [Path(os.path.realpath(path)) for path in values]
    given = [document for path in reversed(files) for document in values_documents(path, root)]
    whole = chart(folder, root, given)
    name = whole.document.body["name"]
    # A name is not to be taken for an option; Helm has a pattern for those of releases.
    release = name if re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", name) else "release"
    # Helm reads the option as a line of CSV.
    arguments = [part for path in files for part in ("--values", '"{}"'.format(str(path).replace('"', '""')))]
    with running([*command, "template", release, str(folder), "--include-crds", "--skip-tests", *arguments], root,
                 ALONE) as rendering:
        sources = whole.sources()
        output = rendering.result(shown(folder / CHART, root), lambda words: complained(
            words, name, shown(folder, root))).decode(errors="replace")
    objects = []
    for part in re.split(r"^---\n(?=# Source: )", output, flags=re.MULTILINE):
        found = re.match(r"# Source: (.+)\n", part)
        if not found:
            continue
        chunk = Chunk(part, found[1], whole, sources)
        objects += [KubeObject(document.body, Located(chunk, document)) for document in chunk.documents()]
    own = folder / "values.yaml"
    top = files[-1] if files else own if own.is_file() else folder / CHART
    return ManifestFacts(objects, Place(shown(top, root), 1))


def complained(words: str, name: str, folder: str) -> Place | None:
    """The line that Helm complains about."""
    found = re.search(rf"\b{re.escape(name)}/([\w./-]+?\.(?:ya?ml|tpl))(?::(\d+))?", words)
    if "values" in words and not found:
        return Place(f"{folder}/values.yaml".removeprefix("./"))
    return Place(f"{folder}/{found[1]}".removeprefix("./"), int(found[2] or 0)) if found else None
