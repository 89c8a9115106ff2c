"""What loaders find. Checks compare these with the contract; nothing here knows a contract or does I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Any

from .classes import dataclass
from .model import Layer, Place


@dataclass(frozen=True, slots=True)
class Unchecked:
    """What a loader could not look at or resolve: never a guess. ``about`` is a name that a clause may ask for (the
    variable, the function, the object), a shell pattern of such names where only a part is known (``/srv/*``), or empty
    when everything of the place is concerned."""

    place: Place
    reason: str
    about: str = ""

    def concerns(self, name: str) -> bool:
        """Whether a clause that asks for ``name`` has to know of this."""
        return self.about in {"", name} or fnmatchcase(name, self.about)


# --- the app's source -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnvRead:
    """A variable of the environment that the source reads. ``default`` is the text it falls back to: None when there is
    none (the read fails or gives None), so a required one; ``resolved`` is False when it is there and unknown."""

    name: str
    default: str | None
    place: Place
    resolved: bool = True


@dataclass(frozen=True, slots=True)
class PathFunction:
    """A function (or module constant) of the source that gives a path: ``default`` is what it gives when no variable is
    set, None when that cannot be resolved; ``variables`` are those that decide it, the strongest first."""

    name: str
    default: str | None
    variables: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Creation:
    """A call that makes a folder (``mkdir``, ``makedirs``). ``guarded``: inside a ``try`` whose handler catches OSError
    or wider and raises nothing (seed 001 CF-5)."""

    call: str
    guarded: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Example:
    """A line of `.env.example`. ``default`` may be empty. ``secret`` and ``required`` as its comment says, None when it
    says nothing."""

    name: str
    default: str
    required: bool | None
    secret: bool | None
    place: Place


@dataclass(frozen=True, slots=True)
class Literal:
    """Any other value of the source with its place: a route, a port."""

    value: str
    place: Place


@dataclass(frozen=True)
class AppFacts:
    """The app's side. ``ports`` are ports that a server is started with when no variable says otherwise; ``routes`` are
    paths that it answers to GET; ``example_file`` is where `.env.example` is, or should be."""

    reads: Sequence[EnvRead] = ()
    paths: Mapping[str, PathFunction] = field(default_factory=dict)
    creations: Sequence[Creation] = ()
    examples: Mapping[str, Example] = field(default_factory=dict)
    ports: Sequence[Literal] = ()
    routes: Sequence[Literal] = ()
    unchecked: Sequence[Unchecked] = ()
    files: Sequence[str] = ()
    example_file: Place | None = None


# --- Dockerfile and image ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder in the image. Owner and mode are None where they are not known. ``place`` is where it is made or got its
    owner, ``mode_place`` where it got its mode, when that is elsewhere."""

    path: str
    uid: int | None
    gid: int | None
    mode: int | None
    place: Place
    mode_place: Place | None = None


@dataclass(frozen=True)
class ImageFacts:
    """A Dockerfile's final stage, or an image as it was built. ``ports`` are ``8000/tcp``; ``users`` maps names of
    ``/etc/passwd`` to (uid, gid) where they are known (the gid None where only the uid is), ``groups`` names of
    ``/etc/group`` to gids; ``user`` is the text of USER, None when it is not set (root, unless an Unchecked about
    ``user`` says that the base image decides)."""

    environment: Mapping[str, Literal] = field(default_factory=dict)
    ports: Sequence[Literal] = ()
    user: Literal | None = None
    users: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    folders: Mapping[str, Folder] = field(default_factory=dict)
    entrypoint: Literal | None = None
    command: Literal | None = None
    workdir: Literal | None = None
    unchecked: Sequence[Unchecked] = ()
    built: bool = False
    """True for an archive: then a folder that is not listed is not there."""
    source: Place = field(default_factory=lambda: Place("Dockerfile"))
    groups: Mapping[str, int] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[int | None, int | None]:
        """Uid and gid that USER stands for, each None where it cannot be known. Root when nothing is set."""
        if self.user is None:
            return 0, 0
        name, _, group = self.user.value.partition(":")
        uid, gid = self.users.get(name, (number(name), None))
        if number(name) is not None:
            # The runtime takes the group from /etc/passwd, and 0 where the number has no line in it.
            gid = next((known[1] for known in self.users.values() if known[0] == uid), 0 if self.built else None)
        if name in {"root", "0"}:
            uid, gid = 0, 0
        if group:
            gid = 0 if group == "root" else self.groups.get(group, number(group))
        return uid, gid


def number(text: str) -> int | None:
    """A uid or gid as it is written; None for a name."""
    return int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None


# --- manifests --------------------------------------------------------------------------------------

FieldPath = tuple[str | int, ...]
"""Keys and indexes from the top of an object: ``("spec", "template", "spec", "containers", 0, "image")``."""


@dataclass(frozen=True)
class KubeObject:
    """A rendered object. ``locate`` gives the place of the source that decides the field at a path, or, for a field
    that is not there, the nearest parent's: the line under which it has to be added."""

    body: Mapping[str, Any]
    locate: Callable[[FieldPath], Place]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind") or "")

    @property
    def name(self) -> str:
        return str((self.body.get("metadata") or {}).get("name") or "")

    @property
    def namespace(self) -> str:
        return str((self.body.get("metadata") or {}).get("namespace") or "")

    @property
    def layer(self) -> Layer:
        """Values belong to the config layer, everything else to the deployment (seed 000 B.2)."""
        return Layer.CONFIG if self.kind in {"ConfigMap", "Secret", "SealedSecret"} else Layer.DEPLOYMENT

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def get(self, *path: str | int) -> Any:  # noqa: ANN401
        """The value at a path, None where it is not there or a parent is of another type."""
        value: Any = self.body
        for step in path:
            if isinstance(step, int):
                if not isinstance(value, list) or not -len(value) <= step < len(value):
                    return None
            elif not isinstance(value, Mapping) or step not in value:
                return None
            value = value[step]
        return value


@dataclass(frozen=True)
class ManifestFacts:
    """Rendered objects in the order of the rendering. ``root`` is the file that puts them together (the overlay's
    kustomization, a chart's values.yaml, a folder)."""

    objects: Sequence[KubeObject]
    root: Place
    unchecked: Sequence[Unchecked] = ()
