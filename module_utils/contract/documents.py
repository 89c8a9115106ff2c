"""Text and YAML with line numbers, from files that may be hostile: bounded in size, depth and expansion."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .classes import dataclass
from .facts import FieldPath
from .model import ContractError, Place

LARGEST_FILE = 8 * 1024**2
"""Bytes of a text that is read at all."""
DEEPEST = 100
"""Levels of nesting: Kubernetes itself stops at 100 in what it decodes."""
MOST_VALUES = 1_000_000
"""Values in a document after its aliases are expanded."""

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
"""UTF-32 before UTF-16, whose mark it begins with."""

MERGE = "tag:yaml.org,2002:merge"
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_text(path: Path, shown: str = "") -> str:
    """A file's text, whatever Unicode encoding it is in.

    :param shown: the name of the file in messages; left out, ``path``.
    :raises ContractError: it is not there, no file, too large, or no text.
    """
    name = shown or str(path)
    try:
        if not path.is_file():
            raise ContractError(f"{name} is {'no file' if path.exists() else 'not there'}.",
                                "Correct the path, or restore the file (git checkout).", Place(name))
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise ContractError(f"{name} has {size / 1024**2:.0f} MiB; at most {LARGEST_FILE // 1024**2} MiB are read.",
                                "Leave it out of what is checked.", Place(name))
        content = path.read_bytes()
    except OSError as error:
        raise ContractError(f"{name} cannot be read: {error.strerror}.", "Correct its mode or path.",
                            Place(name)) from error
    return decoded(content, name)


def decoded(content: bytes, name: str) -> str:
    """Text of ``content``; raises ContractError when it is none."""
    encoding, start = "utf-8", 0
    for mark, known in BOMS:
        if content.startswith(mark):
            encoding, start = known, len(mark)
            break
    else:
        # Without a mark: YAML begins with an ASCII character, so every other byte of UTF-16 is zero.
        if len(content) > 1 and content[1] == 0 != content[0]:
            encoding = "utf-16-le"
        elif len(content) > 1 and content[0] == 0 != content[1]:
            encoding = "utf-16-be"
    try:
        text = content[start:].decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ContractError(f"{name}:{line} is no text: byte {error.start} is not {encoding.upper()}.",
                            "Save it as UTF-8, or leave it out of what is checked.", Place(name, line)) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ContractError(f"{name}:{line} is no text: it has a null character.", "Leave it out of what is checked.",
                            Place(name, line))
    return text.replace("\r\n", "\n")


@dataclass(frozen=True)
class Document:
    """A YAML document: its plain value, and where each part of it stands."""

    body: Any
    file: str
    node: Any
    """PyYAML's node, or None for an empty document."""

    def line(self, path: FieldPath = ()) -> int:
        """The line on which the field at ``path`` stands: the key's, for an item of a list the item's. For a field
        that is not there, the nearest parent's."""
        node, line = self.node, 1 if self.node is None else self.node.start_mark.line + 1
        for step in path:
            found = child(node, step)
            if found is None:
                break
            mark, node = found
            line = mark.line + 1
        return int(line)

    def has(self, path: FieldPath) -> bool:
        """Whether a field is written at ``path``."""
        node = self.node
        for step in path:
            found = child(node, step)
            if found is None:
                return False
            node = found[1]
        return True

    def value_line(self, path: FieldPath) -> int:
        """The line on which the value at ``path`` begins; it can be below its key."""
        node, line = self.node, self.line(path)
        for step in path:
            found = child(node, step)
            if found is None:
                return line
            node = found[1]
        return int(node.start_mark.line) + 1 if node is not None else line

    def place(self, path: FieldPath = ()) -> Place:
        """As ``line``, with the file."""
        return Place(self.file, self.line(path))


def child(node: Any, step: str | int) -> tuple[Any, Any] | None:  # noqa: ANN401
    """The mark and the node of one step down, following merge keys (`<<`); None when it is not there."""
    if isinstance(node, yaml.MappingNode):
        merged = None
        # Backwards: constructing has put what is merged in before what is written here, and the last one counts.
        for key, value in reversed(node.value):
            if key.tag == MERGE:
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    merged = merged or child(part, step)
            elif key.value == str(step):
                return key.start_mark, value
        return merged
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and -len(node.value) <= step < len(node.value):
        item = node.value[step]
        return item.start_mark, item
    return None


def load_documents(text: str, file: str) -> list[Document]:
    """All documents of a YAML text; empty ones are left out.

    :param file: how the file is named in messages and places.
    :raises ContractError: not YAML, a duplicate key, nested too deeply, or too large after expansion; names the line.
    """
    refuse_depth(text, file)
    loader = Loader(text)
    documents = []
    node = None
    try:
        while loader.check_node():
            node = loader.get_node()
            # Sizes first: an exploding document must not be built.
            expanded(node, file)
            for mapping in mappings(node):
                refuse_duplicates(mapping, file)
            body = loader.construct_document(node)
            if body is not None:
                documents.append(Document(body, file, node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ContractError(f"{file}:{line} is not YAML: {error.problem or error.context}.", f"Correct line {line}.",
                            Place(file, line)) from None
    except yaml.YAMLError as error:
        # A character that YAML forbids: its position is in characters.
        position = int(getattr(error, "position", 0))
        line = text[:position].count("\n") + 1
        raise ContractError(f"{file}:{line} is not YAML: {getattr(error, 'reason', error)}.", f"Correct line {line}.",
                            Place(file, line)) from None
    except (ValueError, RecursionError, OverflowError, LookupError, AttributeError) as error:
        # A scalar such as 2026-13-45 looks like a date and is none.
        line = unreadable(loader, node)
        raise ContractError(f"{file}{f':{line}' if line else ''} is not YAML that can be read: {error}.",
                            "Quote the value.", Place(file, line)) from None
    finally:
        loader.dispose()
    return documents


def unreadable(loader: Any, root: Any) -> int:  # noqa: ANN401
    """The line of the first scalar that cannot be made into a value, 0 where it is none."""
    lines, seen, waiting = [], set(), [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.ScalarNode):
            try:
                loader.construct_object(node)
            except (ValueError, OverflowError, yaml.YAMLError):
                lines.append(node.start_mark.line + 1)
        elif isinstance(node, yaml.CollectionNode) and id(node) not in seen:
            seen.add(id(node))
            waiting += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
    return min(lines, default=0)


def refuse_depth(text: str, file: str) -> None:
    """:raises ContractError: values nested deeper than ``DEEPEST``, found without recursion and before all is built.

    Most texts are let pass by counting brackets and indentation alone; the others are gone through event by event.
    """
    depth = deepest = 0
    if text.count("[") + text.count("{") > DEEPEST:
        for match in re.finditer(r"[\[\]{}]", text):
            depth += 1 if match[0] in "[{" else -1 if depth else 0
            deepest = max(deepest, depth)
    # Two columns a level at the least but for sequences in mappings, which may stand in the mapping's own column.
    if deepest <= DEEPEST and not re.search(rf"^[ \-?]{{{DEEPEST // 2},}}", text, re.MULTILINE):
        return
    depth = 0
    loader = Loader(text)
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEEPEST:
                line = event.start_mark.line + 1
                raise ContractError(f"{file}:{line} is nested deeper than {DEEPEST} levels.",
                                    "Flatten it, or leave the file out of what is checked.", Place(file, line))
    except yaml.YAMLError:
        return  # Said better by whoever reads the whole.
    finally:
        loader.dispose()


def expanded(node: Any, file: str) -> int:  # noqa: ANN401
    """How many values a node stands for once its aliases are expanded.

    :raises ContractError: more than ``MOST_VALUES``, or a node that contains itself.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(current: Any) -> int:  # noqa: ANN401
        known = sizes.get(id(current))
        if known is not None:
            return known
        line = current.start_mark.line + 1
        if id(current) in open_nodes:
            raise ContractError(f"{file}:{line} contains itself through an alias.", "Remove the alias.",
                                Place(file, line))
        total = 1
        if isinstance(current, yaml.CollectionNode):
            open_nodes.add(id(current))
            for part in current.value:
                total += size(part[0]) + size(part[1]) if isinstance(part, tuple) else size(part)
            open_nodes.discard(id(current))
        if total > MOST_VALUES:
            raise ContractError(f"{file}:{line} stands for more than {MOST_VALUES:,} values through its aliases.",
                                "Write out what is meant, without aliases of aliases.", Place(file, line))
        sizes[id(current)] = total
        return total

    return size(node)


def mappings(node: Any) -> Iterator[Any]:  # noqa: ANN401
    """Every mapping below a node, each once, however often it is aliased."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if id(current) in seen or not isinstance(current, yaml.CollectionNode):
            continue
        seen.add(id(current))
        if isinstance(current, yaml.MappingNode):
            yield current
        waiting += [part for item in current.value for part in (item if isinstance(item, tuple) else (item,))]


def refuse_duplicates(mapping: Any, file: str) -> None:  # noqa: ANN401
    """:raises ContractError: a key twice in a mapping: YAML forbids it, and readers differ in which one wins."""
    seen: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        line = key.start_mark.line + 1
        if key.value in seen:
            raise ContractError(f"{file}:{line} has the key {key.value} again, first on line {seen[key.value]}.",
                                "Remove one of the two.", Place(file, line))
        seen[key.value] = line


def leaves(body: Any, at: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:  # noqa: ANN401
    """Every value that is no list or mapping (or an empty one), with its path."""
    if isinstance(body, Mapping) and body:
        for key, value in body.items():
            yield from leaves(value, (*at, key))
    elif isinstance(body, list) and body:
        for number, value in enumerate(body):
            yield from leaves(value, (*at, number))
    else:
        yield at, body
