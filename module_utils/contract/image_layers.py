"""The file system that an image's layers make, one upon another: folders, links, and where each file's bytes are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from .classes import dataclass
from .facts import Folder
from .image_streams import Bounds, Damaged, Entry, Reader, entries
from .model import Place

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MOST_LINKS = 40
"""Symbolic links that Linux follows in one path."""
LARGEST_KEPT = 1024**2
"""Bytes of an account file."""
ACCOUNTS = ("etc/passwd", "etc/group")
LONGEST_LIST = 64 * 1024**2
"""Characters of all folders' paths together."""


@dataclass(slots=True)
class Dir:
    """A folder of the image. Its children are folders, symbolic links (their targets), or files: where their bytes
    are, the number of the layer and the name of the entry."""

    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    children: dict[str, Dir | str | tuple[int, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Layer:
    """What a layer changes."""

    removed: list[tuple[str, ...]] = field(default_factory=list)
    emptied: list[tuple[str, ...]] = field(default_factory=list)
    """Folders whose content of the layers below is gone."""
    entries: dict[tuple[str, ...], Entry] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    """Account files, by their entries' names."""


def read_layer(reader: Reader, bounds: Bounds, wanted: str = "") -> Layer:
    """Read a layer to its end.

    :param wanted: the name of an entry whose content is kept besides the account files.
    :raises Damaged: it is damaged, or has a name that leads out of the image.
    """
    layer = Layer()
    for entry, content in entries(reader):
        bounds.spend(entries=1)
        path = parts_of(entry.name)
        name = path[-1] if path else ""
        if name == OPAQUE:
            layer.emptied.append(path[:-1])
        elif name.startswith(WHITEOUT):
            hidden = name.removeprefix(WHITEOUT)
            if hidden in {"", ".", ".."}:
                raise Damaged("removes a file without a name")
            # Other names of this kind are the builder's own notes.
            if not hidden.startswith(WHITEOUT):
                layer.removed.append((*path[:-1], hidden))
        else:
            layer.entries[path] = entry
            kept = entry.name == wanted or "/".join(path) in ACCOUNTS
            if kept and entry.kind == "file" and entry.size <= LARGEST_KEPT:
                layer.contents[entry.name] = content.exactly(entry.size)
    return layer


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of an entry's name from the image's root; raises Damaged where it leads out of it."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise Damaged(f"has an entry that leads out of the image: {name[:80]!r}")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return tuple(parts)


class Disk:
    """An image's file system."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.root = Dir()

    def apply(self, layer: Layer, number: int) -> None:
        """Put a layer upon what is there: first what it hides, then what it brings."""
        for path in layer.emptied:
            hidden = self.folder(path)
            if hidden:
                hidden.children.clear()
        for path in layer.removed:
            parent = self.folder(path[:-1])
            if parent:
                parent.children.pop(path[-1], None)
        for path, entry in layer.entries.items():
            if not path:
                if entry.kind == "folder":
                    self.root.uid, self.root.gid, self.root.mode = entry.uid, entry.gid, entry.mode
                continue
            parent = self.folder(path[:-1], make=True)
            if parent is None:
                raise Damaged(f"has links that lead in a circle: {entry.name[:80]!r}")
            self._put(parent, path[-1], entry, number)

    def _put(self, parent: Dir, name: str, entry: Entry, number: int) -> None:
        old = parent.children.get(name)
        if entry.kind == "folder":
            kept = old.children if isinstance(old, Dir) else {}
            parent.children[name] = Dir(entry.uid, entry.gid, entry.mode, kept)
        elif entry.kind == "symlink":
            parent.children[name] = entry.target
        else:
            file = (number, entry.name)
            if entry.kind == "hardlink":
                *above, last = parts_of(entry.target) or ("",)
                folder = self.folder(tuple(above))
                target = folder.children.get(last) if folder else None
                file = target if isinstance(target, tuple) else file
                if isinstance(target, str):
                    parent.children[name] = target
                    return
            parent.children[name] = file

    def folder(self, path: tuple[str, ...], make: bool = False) -> Dir | None:
        """The folder at a path, links followed inside the image; None when it is none, or not there.

        :param make: make what is missing, as whoever unpacks layers does.
        """
        found = self.find(path, make)
        return found if isinstance(found, Dir) else None

    def find(self, path: tuple[str, ...], make: bool = False) -> Dir | tuple[int, str] | None:
        """What is at a path: a folder, or where a file's bytes are."""
        trail = [self.root]
        waiting = list(reversed(path))
        links = 0
        while waiting:
            part = waiting.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            child = trail[-1].children.get(part)
            if isinstance(child, str):
                links += 1
                if links > MOST_LINKS:
                    return None
                if child.startswith("/"):
                    del trail[1:]
                waiting += reversed(child.split("/"))
            elif isinstance(child, Dir):
                trail.append(child)
            elif make:
                self.bounds.spend(entries=1)
                trail[-1].children[part] = Dir()
                trail.append(trail[-1].children[part])  # type: ignore[arg-type]
            elif waiting or child is None:
                return None
            else:
                return child
        return trail[-1]


class Folders(Mapping[str, Folder]):
    """All folders of an image by their paths. A path through links is found too, though only real ones are listed."""

    def __init__(self, disk: Disk, place: Place) -> None:
        self.disk = disk
        self.place = place
        self._paths: list[str] = []

    def __getitem__(self, path: str) -> Folder:
        found = self.disk.folder(tuple(path.split("/"))) if path.startswith("/") else None
        if found is None:
            raise KeyError(path)
        return Folder(path, found.uid, found.gid, found.mode, self.place)

    def __iter__(self) -> Iterator[str]:
        if not self._paths:
            waiting = [("/", self.disk.root)]
            length = 0
            while waiting:
                path, folder = waiting.pop()
                self._paths.append(path)
                length += len(path)
                if length > LONGEST_LIST:
                    raise self.disk.bounds.refusal("has folders too deep inside one another to be listed")
                waiting += [(f"{path.rstrip('/')}/{name}", child) for name, child in folder.children.items()
                            if isinstance(child, Dir)]
            self._paths.sort()
        return iter(self._paths)

    def __len__(self) -> int:
        return sum(1 for _ in self)
