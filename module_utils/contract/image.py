"""What is really in an image: its configuration, users, and folders with owners and modes, from an archive of it.

An OCI layout (a folder, or a tar archive of one) and what `docker save` writes are read, compressed or not. Nothing is
unpacked and nothing is run; every digest that the archive names is checked.
"""

from __future__ import annotations

import json
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from .classes import dataclass
from .dockerfile_tree import group, passwd
from .facts import Folder, ImageFacts, Literal, Unchecked
from .image_layers import Disk, Folders, Layer, parts_of, read_layer
from .image_streams import Bounds, Damaged, Part, Reader, decompressed, entries
from .model import Place

LARGEST_JSON = 4 * 1024**2
"""Bytes of a manifest or configuration: what registries take."""
ALL_JSON = 64 * 1024**2
"""Bytes of all that are read."""
MOST_JSON = 4000
"""How many are read."""
DEEPEST_INDEX = 4
"""Indexes inside one another."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAMED_BY_DIGEST = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?")
IMAGE = re.compile(r"image(\.config)?\.v1\+json|^$")
"""Kinds of a configuration that is an image's."""
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}

Json = Any


def load_image(path: Path, reference: str = "", platform: str = "") -> ImageFacts:
    """What an image contains (seed 000 3.2).

    :param path: an archive, or the folder of an OCI layout.
    :param reference: which image, where there are several: its name with tag, its tag, or a digest.
    :param platform: which platform, where there are several: ``linux/arm64``.
    :returns: facts with ``built``: a folder that is not found in ``folders`` is not in the image. ``entrypoint`` and
        ``command`` are JSON lists.
    :raises ContractError: not there, no image archive, damaged, too large, or several images to choose from.
    """
    bounds = Bounds(path.name)
    try:
        archive: Archive = Layout(path, bounds) if path.is_dir() else Tar(path, bounds)
        image = chosen(archive, reference, platform, bounds)
        return facts_of(archive, image, bounds)
    except Damaged as error:
        raise bounds.refusal(str(error)) from None
    except (OSError, EOFError, zlib.error) as error:
        raise bounds.refusal(f"cannot be read: {getattr(error, 'strerror', None) or error}",
                             "Correct the path, or save the image again.") from None


# --- archives ---------------------------------------------------------------------------------------


class Archive:
    """Named parts of an image archive."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.json_bytes = ALL_JSON
        self.json_parts = MOST_JSON

    def real(self, name: str) -> str:
        """The part that a name stands for, where names may be links."""
        return name

    def has(self, name: str) -> bool:
        raise NotImplementedError

    def text(self, name: str) -> bytes:
        """A small part: a manifest, a configuration. Raises Damaged when it is not there or not small."""
        raise NotImplementedError

    def each(self, names: set[str]) -> Iterator[tuple[str, Reader]]:
        """Parts in whatever order they are there; each has to be read before the next is asked for."""
        raise NotImplementedError

    def json(self, name: str, digest: str = "") -> Json:
        """A part's JSON; raises Damaged when it is none, or does not have the digest."""
        content = self.text(name)
        self.json_bytes -= len(content)
        self.json_parts -= 1
        if min(self.json_bytes, self.json_parts) < 0:
            raise Damaged("lists more images than can be looked through")
        if digest and f"sha256:{sha256(content).hexdigest()}" != digest:
            raise Damaged(f"has {name} with content that does not have its digest")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Damaged(f"has {name}, which is no JSON: {error}") from None


class Layout(Archive):
    """The folder of an OCI layout, or of an unpacked archive."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.root = path.resolve()

    def _path(self, name: str) -> Path | None:
        """A file inside of the folder; a link that leads out of it is none."""
        path = (self.root / name).resolve()
        return path if path.is_relative_to(self.root) and path.is_file() else None

    def has(self, name: str) -> bool:
        return self._path(name) is not None

    def text(self, name: str) -> bytes:
        path = self._path(name)
        if path is None:
            raise Damaged(f"has no {name}")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise Damaged(f"has a {name} of more than {LARGEST_JSON // 1024**2} MiB")
        return content

    def each(self, names: set[str]) -> Iterator[tuple[str, Reader]]:
        for name in sorted(names):
            path = self._path(name)
            if path:
                with path.open("rb") as stream:
                    yield name, Reader(stream, self.bounds)


class Tar(Archive):
    """A tar archive, perhaps compressed, gone through from its beginning each time."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        super().__init__(bounds)
        if not path.is_file():
            raise bounds.refusal("is no file" if path.exists() else "is not there", "Correct the path.")
        self.path = path
        self.small: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.names: set[str] = set()
        left = ALL_JSON
        with self._open() as whole:
            for entry, reader in entries(whole):
                bounds.spend(entries=1)
                name = "/".join(parts_of(entry.name))
                if entry.kind == "symlink":
                    self.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))
                elif entry.kind == "hardlink":
                    self.links[name] = "/".join(parts_of(entry.target))
                elif entry.kind == "file":
                    self.names.add(name)
                    self.small.pop(name, None)
                    if entry.size <= min(left, LARGEST_JSON) and reader.peek(1)[:1] in {b"{", b"["}:
                        left -= entry.size
                        self.small[name] = reader.exactly(entry.size)

    @contextmanager
    def _open(self) -> Iterator[Reader]:
        length = self.path.stat().st_size
        with self.path.open("rb") as file:
            def seek(size: int) -> None:
                if file.seek(size, 1) > length:
                    raise Damaged("ends in the middle")

            raw = Reader(file, self.bounds)
            with decompressed(raw) as content:
                if content is raw:
                    file.seek(0)
                    content = Reader(file, self.bounds, seek=seek)
                yield content

    def real(self, name: str) -> str:
        # Older archives link a layer that they have twice.
        for _ in range(10):
            if name not in self.links:
                break
            name = self.links[name]
        return name

    def has(self, name: str) -> bool:
        return self.real(name) in self.names

    def text(self, name: str) -> bytes:
        real = self.real(name)
        if real not in self.names:
            raise Damaged(f"has no {name}")
        if real not in self.small:
            raise Damaged(f"has a {name} that is no JSON, or larger than {LARGEST_JSON // 1024**2} MiB")
        return self.small[real]

    def each(self, names: set[str]) -> Iterator[tuple[str, Reader]]:
        with self._open() as whole:
            for entry, reader in entries(whole):
                self.bounds.spend(entries=1)
                name = "/".join(parts_of(entry.name))
                if entry.kind == "file" and name in names:
                    yield name, Reader(Part(reader, entry.size), self.bounds)


# --- choosing ---------------------------------------------------------------------------------------


@dataclass
class Image:
    """One image of an archive. Layers are names of parts, each with the digest that it has to have, if one is named."""

    config: Json
    layers: list[tuple[str, str]]
    platform: tuple[str, str, str]
    names: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        shown = " ".join(sorted(self.names)) or min(self.digests, default="without a name")
        return f"{shown} ({'/'.join(part for part in self.platform if part)})"


def chosen(archive: Archive, reference: str, platform: str, bounds: Bounds) -> Image:
    """The one image that is asked for."""
    images = listed(archive)
    if not images:
        raise bounds.refusal("holds no image", "Give what `docker save`, `podman save` or `skopeo copy` wrote.")
    found = [image for image in images if not platform or fits(image, platform)]
    if reference:
        name, _, digest = reference.rpartition("@")
        exact = [image for image in found if digest in image.digests
                 or (not name and full(reference) in map(full, image.names))]
        # A tag alone may be asked for, and is what a layout often names.
        tag = full(reference).rpartition(":")[2]
        tags = [image for image in found if tag in image.names]
        if not re.search("[/:]", reference):
            tags = [image for image in found if reference in {each.rpartition(":")[2] for each in image.names}]
        found = exact or tags
    if len(found) != 1:
        which = ", ".join(str(image) for image in images[:20])
        asked = " ".join(part for part in (reference, platform) if part)
        raise bounds.refusal(f"holds {len(found) or 'no'} images that are {asked}: {which}" if asked else
                             f"holds {len(found)} images: {which}",
                             "Name one by its reference, and by its platform where it has several.")
    return found[0]


def listed(archive: Archive) -> list[Image]:
    """All images, each once with all its names."""
    images: dict[str, Image] = {}
    if archive.has("index.json"):
        for image in from_index(archive, archive.json("index.json"), set(), 0):
            add(images, image)
    if archive.has("manifest.json"):
        for image in from_docker(archive):
            add(images, image)
    return list(images.values())


def add(images: dict[str, Image], image: Image) -> None:
    """Join what is listed twice: under two names, or in both ways that an archive may have."""
    known = images.setdefault(json.dumps(image.config, sort_keys=True), image)
    known.names |= image.names
    known.digests |= image.digests


def from_index(archive: Archive, index: Json, names: set[str], depth: int) -> Iterator[Image]:
    """Images of an OCI index, and of those inside it. What is listed and not in the archive is passed over: it may hold
    one platform of several."""
    if depth > DEEPEST_INDEX:
        raise Damaged("has indexes too deep inside one another")
    manifests = of_type(index, dict, "index").get("manifests", [])
    for descriptor in of_type(manifests, list, "list of manifests"):
        digest, blob = blob_of(descriptor)
        if not archive.has(blob):
            continue
        notes = descriptor.get("annotations")
        own = {str(notes[name]) for name in NAMES if notes.get(name)} if isinstance(notes, dict) else set()
        manifest = of_type(archive.json(blob, digest), dict, "manifest")
        if "manifests" in manifest:
            yield from from_index(archive, manifest, names | own, depth + 1)
            continue
        if "config" not in manifest:
            continue
        config_digest, config = blob_of(manifest["config"])
        layers = of_type(manifest.get("layers") or [], list, "list of layers")
        blobs = [blob_of(layer) for layer in layers]
        # Signatures and attestations are listed beside images; their layers are no file systems.
        kinds = [str(layer.get("mediaType") or "tar") for layer in layers]
        if not all("tar" in kind for kind in kinds) or not IMAGE.search(str(manifest["config"].get("mediaType", ""))) \
                or (isinstance(notes, dict) and "vnd.docker.reference.type" in notes) or not archive.has(config):
            continue
        given = descriptor.get("platform")
        yield image_of(archive.json(config, config_digest), [(archive.real(name), layer) for layer, name in blobs],
                       names | own, {digest, config_digest}, given if isinstance(given, dict) else {})


def from_docker(archive: Archive) -> Iterator[Image]:
    """Images of `docker save`."""
    for listed_image in of_type(archive.json("manifest.json"), list, "manifest.json"):
        part = of_type(listed_image, dict, "manifest.json")
        config = of_type(part.get("Config"), str, "name of a configuration")
        found = NAMED_BY_DIGEST.fullmatch(config)
        digest = f"sha256:{found[1]}" if found else ""
        layers = [of_type(name, str, "name of a layer") for name in of_type(part.get("Layers") or [], list, "Layers")]
        tags = of_type(part.get("RepoTags") or [], list, "RepoTags")
        yield image_of(archive.json(config, digest), [(archive.real("/".join(parts_of(name))), "") for name in layers],
                       {str(tag) for tag in tags}, {digest} - {""}, {})


def image_of(config: Json, layers: list[tuple[str, str]], names: set[str], digests: set[str], platform: Json) -> Image:
    config = of_type(config, dict, "configuration")
    # A descriptor may leave it out; what the configuration says holds in any case.
    os, architecture, variant = (str(config.get(name) or platform.get(name) or "")
                                 for name in ("os", "architecture", "variant"))
    return Image(config, layers, (os, architecture, variant), names, digests)


def blob_of(descriptor: Json) -> tuple[str, str]:
    """Digest and name of the part that a descriptor names."""
    digest = of_type(of_type(descriptor, dict, "descriptor").get("digest"), str, "digest")
    if not DIGEST.fullmatch(digest):
        raise Damaged(f"names a part by {digest[:80]!r}, which is no SHA-256 digest")
    return digest, f"blobs/sha256/{digest.partition(':')[2]}"


def of_type(value: Json, kind: type, what: str) -> Json:
    """The value; raises Damaged when it is of another type."""
    if not isinstance(value, kind):
        raise Damaged(f"has a damaged {what}")
    return value


def full(reference: str) -> str:
    """A reference with what may be left out: `observer` is docker.io/library/observer:latest."""
    reference = reference.partition("@")[0]
    if ":" not in reference.rpartition("/")[2]:
        reference += ":latest"
    first, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    return reference if "." in first or ":" in first or first == "localhost" else f"docker.io/{reference}"


def fits(image: Image, platform: str) -> bool:
    """Whether an image is for a platform: `arm64`, `linux/arm64` or `linux/arm64/v8`."""
    parts = platform.lower().split("/")
    os, architecture, variant = ["linux", *parts, ""][:3] if len(parts) == 1 else [*parts, "", ""][:3]
    its_os, its_architecture, its_variant = image.platform
    return (os == its_os and ARCHITECTURES.get(architecture, architecture) == its_architecture
            and (not variant or not its_variant or variant == its_variant))


# --- facts ------------------------------------------------------------------------------------------


def facts_of(archive: Archive, image: Image, bounds: Bounds) -> ImageFacts:
    """Read the layers of an image, and say what is there."""
    place = Place(bounds.name)
    config = image.config.get("config") or image.config.get("Config") or {}
    config = of_type(config, dict, "configuration")
    disk = assembled(archive, image, bounds)
    texts = {name: account_file(archive, image, disk, name, bounds) for name in ("passwd", "group")}
    user = str(config.get("User") or "")
    folders: Mapping[str, Folder] = Folders(disk.disk, place)
    facts = ImageFacts(
        environment={name: Literal(value, place) for name, _, value in
                     (str(each).partition("=") for each in of_type(config.get("Env") or [], list, "environment"))},
        ports=tuple(Literal(port if "/" in port else f"{port}/tcp", place)
                    for port in map(str, of_type(config.get("ExposedPorts") or {}, dict, "list of ports"))),
        user=Literal(user, place) if user else None,
        users=passwd(texts["passwd"]),
        groups=group(texts["group"]),
        folders=folders,
        entrypoint=program(config.get("Entrypoint"), place),
        command=program(config.get("Cmd"), place),
        workdir=Literal(str(config["WorkingDir"]), place) if config.get("WorkingDir") else None,
        built=True,
        source=place,
    )
    if facts.owner[0] is None:
        reason = f"USER {user} has no line in the image's /etc/passwd: no container starts"
        return replace(facts, unchecked=(Unchecked(place, reason, "user"),))
    return facts


def program(words: Json, place: Place) -> Literal | None:
    """Entrypoint or Cmd as a JSON list; None when it is empty."""
    if isinstance(words, str):
        words = [words]
    words = [str(word) for word in of_type(words or [], list, "command")]
    return Literal(json.dumps(words, ensure_ascii=False), place) if words else None


@dataclass
class Assembled:
    """The file system, and the account files that were met on the way."""

    disk: Disk
    contents: dict[tuple[int, str], bytes]


def assembled(archive: Archive, image: Image, bounds: Bounds) -> Assembled:
    """Put an image's layers upon one another, each checked against its digests."""
    rootfs = of_type(image.config.get("rootfs") or {}, dict, "list of layers")
    hashes = of_type(rootfs.get("diff_ids") or [], list, "list of layers")
    if len(hashes) != len(image.layers):
        raise Damaged(f"has an image of {len(image.layers)} layers whose configuration names {len(hashes)}")
    wanted: dict[str, tuple[str, str]] = {}
    for (name, digest), content_digest in zip(image.layers, hashes, strict=True):
        if wanted.setdefault(name, (digest, str(content_digest))) != (digest, str(content_digest)):
            raise Damaged(f"has {name} under two digests")
    read: dict[str, Layer] = {}
    for name, raw in archive.each(set(wanted)):
        read[name] = checked_layer(name, raw, wanted[name], bounds)
    disk = Disk(bounds)
    contents: dict[tuple[int, str], bytes] = {}
    for number, (name, _) in enumerate(image.layers):
        if name not in read:
            raise Damaged(f"lacks the layer {name}")
        disk.apply(read[name], number)
        contents |= {(number, entry): content for entry, content in read[name].contents.items()}
    return Assembled(disk, contents)


def checked_layer(name: str, raw: Reader, digests: tuple[str, str], bounds: Bounds, wanted: str = "") -> Layer:
    """Read a layer whose bytes and whose content have to have digests."""
    digest, content_digest = digests
    with decompressed(raw) as content:
        layer = read_layer(content, bounds, wanted)
        if content.digest() != content_digest:
            raise Damaged(f"has the layer {name} with content that does not have its digest")
    if digest and raw.digest() != digest:
        raise Damaged(f"has the layer {name} with bytes that do not have their digest")
    return layer


def account_file(archive: Archive, image: Image, made: Assembled, name: str, bounds: Bounds) -> str:
    """The text of /etc/passwd or /etc/group, wherever links lead."""
    found = made.disk.find(("etc", name))
    if not isinstance(found, tuple):
        return ""
    if found not in made.contents:
        number, entry = found
        part, digest = image.layers[number]
        diff_id = str(image.config["rootfs"]["diff_ids"][number])
        for _, raw in archive.each({part}):
            layer = checked_layer(part, raw, (digest, diff_id), bounds, entry)
            if entry in layer.contents:
                made.contents[found] = layer.contents[entry]
    if found not in made.contents:
        raise Damaged(f"has a /etc/{name} of more than 1 MiB")
    return made.contents[found].decode("utf-8", "replace")
