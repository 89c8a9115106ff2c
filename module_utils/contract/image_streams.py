"""Bytes of image archives: counted, hashed, decompressed and taken apart as tar, never written anywhere.

Python's own ``tarfile`` reads the long names of an entry into memory whatever their size, and follows headers by
recursion: an archive can be made that fills the memory or the stack. This reader knows what layers contain, in bounds.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.util
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from .classes import dataclass
from .model import ContractError, Place

CHUNK = 1024 * 1024
BLOCK = 512
MOST_BYTES = 32 * 1024**3
"""Bytes that are read in all, compressed and uncompressed ones counted each."""
MOST_ENTRIES = 1_000_000
"""Files and folders in all layers together; images of a whole desktop have a third of it."""
LARGEST_HEADER = 1024**2
"""Bytes of one entry's long name or extended header."""
LONGEST_NAME = 4096
"""What Linux takes (PATH_MAX)."""
STEEPEST = 200
"""How many times its size a compressed layer may become once it is large: files of zeros alone are that empty."""
STEEP_FROM = 512 * 1024**2

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
         b"\x04\x22\x4d\x18": "lz4"}
WINDOW = 2**27
"""Memory that zstd may need: its own default."""


class Damaged(Exception):
    """Bytes that are not what they should be; says what is wrong."""


class Source(Protocol):
    """Whatever bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


class Bounds:
    """What one image may cost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bytes = MOST_BYTES
        self.entries = MOST_ENTRIES

    def spend(self, size: int = 0, entries: int = 0) -> None:
        """:raises ContractError: the archive is too large to be looked through."""
        self.bytes -= size
        self.entries -= entries
        if self.bytes < 0:
            raise self.refusal(f"has more than {MOST_BYTES // 1024**3} GiB")
        if self.entries < 0:
            raise self.refusal(f"has more than {MOST_ENTRIES:,} files and folders")

    def refusal(self, what: str, remedy: str = "Check that it is the image, and save it again.") -> ContractError:
        """An error about the archive."""
        return ContractError(f"{self.name} {what}.", remedy, Place(self.name))


class Reader:
    """A stream that is read once, from its beginning to its end.

    :param seek: how bytes are passed over without reading them; left out, they are read.
    """

    def __init__(self, source: Source, bounds: Bounds, seek: Callable[[int], object] | None = None) -> None:
        self.source = source
        self.bounds = bounds
        self.position = 0
        self._seek = seek
        self._hash = None if seek else hashlib.sha256()
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, which are read again afterwards."""
        while len(self._ahead) < size and (more := self.source.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = CHUNK) -> bytes:
        """At most ``size`` bytes; none at the end."""
        size = CHUNK if size < 0 else min(size, CHUNK)
        content, self._ahead = self._ahead[:size], self._ahead[size:]
        content = content or self.source.read(size)
        self.position += len(content)
        self.bounds.spend(len(content))
        if self._hash:
            self._hash.update(content)
        return content

    def exactly(self, size: int) -> bytes:
        """Just so many bytes; raises Damaged when there are fewer."""
        parts = []
        while size > 0:
            part = self.read(size)
            if not part:
                raise Damaged("ends in the middle")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over bytes; raises Damaged when there are fewer."""
        if self._seek:
            ahead = min(size, len(self._ahead))
            self._ahead = self._ahead[ahead:]
            self._seek(size - ahead)
            self.position += size
            return
        while size > 0:
            passed = len(self.read(size))
            if not passed:
                raise Damaged("ends in the middle")
            size -= passed

    def digest(self) -> str:
        """Read on to the end; the SHA-256 of all of it."""
        while self.read():
            pass
        return f"sha256:{self._hash.hexdigest()}" if self._hash else ""


class Part:
    """The next ``size`` bytes of a reader, as a source of their own."""

    def __init__(self, reader: Reader, size: int) -> None:
        self.reader = reader
        self.left = size

    def read(self, size: int = -1, /) -> bytes:
        content = self.reader.read(min(self.left, CHUNK if size < 0 else size)) if self.left else b""
        if self.left and not content:
            raise Damaged("ends in the middle")
        self.left -= len(content)
        return content


@contextmanager
def decompressed(raw: Reader) -> Iterator[Reader]:
    """The content of a stream that may be compressed; told by its first bytes, not by a name.

    :raises Damaged: it cannot be decompressed.
    :raises ContractError: compressed in a way that cannot be read here, or absurdly well.
    """
    head = raw.peek(6)
    method = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
    if not method:
        yield raw
    elif method == "gzip":
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:  # type: ignore[call-overload]
                yield Reader(Steep(stream, raw), raw.bounds)
        except (OSError, EOFError, zlib.error) as error:
            raise Damaged(f"cannot be decompressed: {error}") from None
    elif method == "zstd":
        with zstd(raw) as source:
            yield Reader(Steep(source, raw), raw.bounds)
    else:
        raise raw.bounds.refusal(f"is compressed with {method}, which images are not",
                                 f"Decompress it first ({method} -d).")


class Steep:
    """A decompressed source that gives up where a small file becomes a huge one."""

    def __init__(self, source: Source, raw: Reader) -> None:
        self.source = source
        self.raw = raw
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        content = self.source.read(CHUNK if size < 0 else size)
        self.given += len(content)
        if self.given > max(STEEP_FROM, STEEPEST * self.raw.position):
            raise self.raw.bounds.refusal(f"has a part that becomes {STEEPEST} times its size")
        return content


@contextmanager
def zstd(raw: Reader) -> Iterator[Source]:
    """The content of a stream that zstd has compressed, by Python's ``zstandard`` or by the command ``zstd``."""
    if importlib.util.find_spec("zstandard"):
        module = importlib.import_module("zstandard")
        try:
            with module.ZstdDecompressor(max_window_size=WINDOW).stream_reader(raw, read_across_frames=True) as stream:
                yield stream
        except module.ZstdError as error:
            raise Damaged(f"cannot be decompressed: {error}") from None
        return
    command = shutil.which("zstd")
    if not command:
        raise raw.bounds.refusal("is compressed with zstd, and neither the command zstd nor Python's zstandard is here",
                                 "Install zstd, or decompress the file where it is (zstd -d).")
    process = subprocess.Popen([command, "-dcq", f"--memory={WINDOW}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin, process.stdout
    failure: list[Exception] = []

    def feed() -> None:
        try:
            while content := raw.read():
                stdin.write(content)
        except BrokenPipeError:
            pass
        except Exception as error:  # Whatever it is, the reader of the other end has to raise it.
            failure.append(error)
        finally:
            with suppress(BrokenPipeError):
                stdin.close()

    class Output:
        """What the command gives; its failure is ours."""

        def read(self, size: int = -1, /) -> bytes:
            content = stdout.read(size)
            if not content:
                feeder.join()
                if failure:
                    raise failure[0]
                if process.wait():
                    raise Damaged("cannot be decompressed by zstd")
            return content

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield Output()
    finally:
        process.kill()
        process.wait()
        stdout.close()
        feeder.join()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tar archive. ``kind`` is ``file``, ``folder``, ``symlink``, ``hardlink`` or ``other``."""

    name: str
    kind: str
    uid: int
    gid: int
    mode: int
    size: int
    target: str


KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"S": "file", b"5": "folder", b"2": "symlink", b"1": "hardlink"}


def entries(reader: Reader) -> Iterator[tuple[Entry, Reader]]:
    """Entries of a tar archive in order. What of an entry's bytes is not read before the next is passed over.

    :raises Damaged: it is no tar archive, or ends in the middle.
    """
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    first = True
    while header := reader.peek(BLOCK):
        if not any(header):
            return
        if len(header) < BLOCK:
            raise Damaged("is no tar archive" if first else "ends in the middle")
        reader.exactly(BLOCK)
        if not _checked(header):
            raise Damaged("is no tar archive" if first else "has a damaged entry")
        first = False
        kind = header[156:157]
        size = _number(header[124:136])
        if kind in b"xgLK":
            if size > LARGEST_HEADER:
                raise Damaged("has an entry with a name or header of more than 1 MiB")
            content = reader.exactly(size)
            reader.skip(-size % BLOCK)
            if kind == b"g":
                shared |= _extended(content)
            elif kind == b"x":
                own |= _extended(content)
            else:
                own["path" if kind == b"L" else "linkpath"] = _text(content)
            continue
        given = {**shared, **own}
        own = {}
        entry = _entry(header, kind, size, given)
        extended = kind == b"S" and header[482]
        while extended:
            extended = reader.exactly(BLOCK)[504]
        end = reader.position + entry.size + -entry.size % BLOCK
        yield entry, reader
        reader.skip(end - reader.position)


def _entry(header: bytes, kind: bytes, size: int, given: dict[str, str]) -> Entry:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    name = given.get("GNU.sparse.name", given.get("path", name))
    target = given.get("linkpath", _text(header[157:257]))
    if max(len(name), len(target)) > LONGEST_NAME:
        raise Damaged(f"has a name of more than {LONGEST_NAME} characters")
    what = KINDS.get(kind, "other")
    if what == "file" and kind != b"7" and name.endswith("/"):
        what = "folder"
    if "size" in given:
        size = _decimal(given["size"])
    return Entry(
        name, what,
        _decimal(given["uid"]) if "uid" in given else _number(header[108:116]),
        _decimal(given["gid"]) if "gid" in given else _number(header[116:124]),
        _number(header[100:108]) & 0o7777,
        # Links and folders have no content, whatever their header says of the size.
        size if what == "file" or kind not in b"123456" else 0, target)


def _checked(header: bytes) -> bool:
    """Whether a header's sum is right."""
    try:
        return _number(header[148:156]) == sum(header) - sum(header[148:156]) + 8 * 0x20
    except Damaged:
        return False


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        # Binary, for what octal digits have no room for; a negative one means nothing here.
        value = int.from_bytes(field, "big") & ~(0x80 << (8 * (len(field) - 1)))
        if field[0] & 0x40 or value >= 2**63:
            raise Damaged("has a number that no file has")
        return value
    digits = field.split(b"\0")[0].strip()
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise Damaged("has a number that is none")
    return int(digits, 8)


def _decimal(text: str) -> int:
    text = text.partition(".")[0]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Damaged("has a number that is none")
    return int(text)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "backslashreplace")


def _extended(content: bytes) -> dict[str, str]:
    """Records of an extended header: each says its own length first."""
    records = {}
    at = 0
    while at < len(content) and content[at]:
        space = content.find(b" ", at, at + 10)
        length = _decimal(content[at:space].decode("ascii", "replace")) if space > at else 0
        key, equals, value = content[space + 1 : at + length - 1].partition(b"=")
        if not equals or at + length > len(content):
            raise Damaged("has an extended header that is damaged")
        if key in {b"path", b"linkpath", b"size", b"uid", b"gid", b"GNU.sparse.name"}:
            records[key.decode()] = _text(value)
        at += length
    return records
