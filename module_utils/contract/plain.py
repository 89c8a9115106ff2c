"""Loads plain YAML: objects as they are written, and what makes a document an object at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .classes import dataclass
from .documents import Document, load_documents, read_text
from .facts import FieldPath, KubeObject, ManifestFacts, Unchecked
from .model import ContractError, Place

CHART = "Chart.yaml"
YAML_FILES = (".yaml", ".yml", ".json")
MOST_FILES = 20_000
DEEPEST_FOLDER = 50
NO_OBJECT = "It is no Kubernetes object: it has neither apiVersion nor kind, or it is a kustomization."


def shown(path: Path, root: Path) -> str:
    """A path as places name it: relative to the root, or absolute outside of it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


@dataclass(frozen=True, slots=True)
class Written:
    """``KubeObject.locate`` of an object that is written as it is: at ``at`` in a document."""

    document: Document
    at: FieldPath = ()

    def __call__(self, path: FieldPath) -> Place:
        return self.document.place((*self.at, *path))


@dataclass(frozen=True, slots=True)
class Within:
    """``KubeObject.locate`` of an item of a List."""

    whole: KubeObject
    at: FieldPath

    def __call__(self, path: FieldPath) -> Place:
        return self.whole.locate((*self.at, *path))


def load_plain(start: Path, root: Path) -> ManifestFacts:
    """The objects of a file or of all YAML files below a folder, as they are written.

    :raises ContractError: a file is no YAML; an object lacks its kind or apiVersion; a link leads out of ``root``.
    """
    objects: list[KubeObject] = []
    unchecked: list[Unchecked] = []
    single = start.is_file()
    for path in [start] if single else yaml_files(start, root, unchecked):
        name = shown(path, root)
        for document in load_documents(read_text(path, name), name):
            if is_object(document) or single:
                objects.append(checked(KubeObject(document.body, Written(document))))
            else:
                unchecked.append(Unchecked(document.place(), NO_OBJECT))
    return ManifestFacts(flattened(objects), Place(shown(start, root)), unchecked)


def yaml_files(folder: Path, root: Path, unchecked: list[Unchecked]) -> Iterator[Path]:
    """YAML files below a folder by name, hidden ones and charts left out; charts are told as unchecked.

    :raises ContractError: a link leads out of ``root``, or there are too many files.
    """
    count = 0
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        folders = []
        for path in sorted(current.iterdir()):
            if path.name.startswith("."):
                continue
            name = shown(path, root)
            if path.is_symlink():
                real = Path(os.path.realpath(path))
                if not real.is_relative_to(root) and not real.is_relative_to(folder):
                    raise ContractError(f"{name} is a link that leads out of {root.name or root}.",
                                        "Put a copy of the file there, or remove the link.", Place(name))
                if real.is_dir():
                    continue  # It is read where it lies, or not a part of what was asked for.
            if path.is_dir():
                if (path / CHART).is_file():
                    unchecked.append(Unchecked(Place(f"{name}/{CHART}", 1), "A chart among plain files is not "
                                                                             "rendered; check it by itself."))
                elif depth < DEEPEST_FOLDER:
                    folders.append((path, depth + 1))
                else:
                    raise ContractError(f"{name} is deeper than {DEEPEST_FOLDER} folders.", "Check a folder below.",
                                        Place(name))
            elif path.suffix in YAML_FILES:
                count += 1
                if count > MOST_FILES:
                    raise ContractError(f"There are more than {MOST_FILES:,} files below {folder.name}.",
                                        "Check a folder below.", Place(name))
                yield path
        waiting += reversed(folders)


def is_object(document: Document) -> bool:
    """Whether a document means to be a Kubernetes object: it has an apiVersion or a kind."""
    body = document.body
    return (isinstance(body, Mapping) and ("apiVersion" in body or "kind" in body)
            and not str(body.get("apiVersion")).startswith("kustomize.config.k8s.io/"))


def checked(item: KubeObject) -> KubeObject:
    """An object that has what makes it one.

    :raises ContractError: it lacks apiVersion or kind, or its metadata are none.
    """
    body: Any = item.body
    if not isinstance(body, Mapping):
        place = item.locate(())
        raise ContractError(f"{place} is no Kubernetes object: it is no mapping.", "Correct it, or take it out.", place)
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            place = item.locate((key,))
            raise ContractError(f"{place} is no Kubernetes object: its {key} is missing or no text.",
                                f"Write its {key}.", place)
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping | None) or any(
            isinstance((metadata or {}).get(key), Mapping | list) for key in ("name", "namespace")):
        place = item.locate(("metadata",))
        raise ContractError(f"{place} is no Kubernetes object: its metadata are not a name and what goes with it.",
                            "Correct it.", place)
    return item


def flattened(objects: Sequence[KubeObject]) -> list[KubeObject]:
    """The objects, those of Lists one by one."""
    found, waiting = [], list(reversed(objects))
    while waiting:
        item = checked(waiting.pop())
        if item.kind.endswith("List") and isinstance(item.body.get("items"), list):
            waiting += [KubeObject(part, Within(item, ("items", number)))
                        for number, part in reversed([*enumerate(item.body["items"])])]
        else:
            found.append(item)
    return found
