"""Images from `agent/images`: imported before the kubelet starts, and whenever a file appears.

Follows pkg/agent/containerd/{containerd,watcher}.go: archives of several kinds, text files with names
to pull, and `.cache.json`, which makes an import depend on a change of size or time. With the cache an
image that was pruned does not come back by itself; that trap is K3s' and is kept.
"""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from . import log
from .files import write_atomic

CACHE = ".cache.json"
_KINDS = {
    ".tar": "",
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bzip2",
    ".tbz": "bzip2",
    ".tar.zst": "zstd",
    ".tzst": "zstd",
    ".tar.lz4": "lz4",
}


class ImportFailed(Exception):
    """An archive or a list that could not be imported."""


def kind(name: str) -> str | None:
    """How a file is packed (empty: not at all), `txt` for a list, None for a file that is ignored."""
    lower = name.lower()
    if lower.endswith(".txt"):
        return "txt"
    return next((packer for suffix, packer in _KINDS.items() if lower.endswith(suffix)), None)


Signature = tuple[int, int]
Importer = Callable[[str], None]


def _signature(path: str) -> Signature:
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns


@dataclass
class Images:
    """The images directory. `load` imports one file."""

    directory: str
    load: Importer
    seen: dict[str, Signature] = field(default_factory=dict)
    pending: dict[str, Signature] = field(default_factory=dict)

    def files(self) -> dict[str, Signature]:
        """The files that K3s would look at, by name."""
        found = {}
        try:
            names = sorted(os.listdir(self.directory))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        for name in names:
            path = os.path.join(self.directory, name)
            if name.startswith(".") or kind(name) is None or not os.path.isfile(path):
                continue
            found[name] = _signature(path)
        return found

    def _cache(self) -> dict[str, Signature] | None:
        """The recorded signatures, or None when there is no cache file: then everything is imported."""
        path = os.path.join(self.directory, CACHE)
        try:
            with open(path, encoding="utf-8") as stream:
                text = stream.read()
        except FileNotFoundError:
            return None
        try:
            data: dict[str, Any] = json.loads(text) if text.strip() else {}
            return {name: (int(item["size"]), int(item["modTime"])) for name, item in data.items()}
        except (ValueError, KeyError, TypeError):
            log.warning(f"{path} is damaged; all images are imported again")
            return {}

    def import_all(self) -> None:
        """Import at start. A file that fails is reported and skipped: the node still starts."""
        cache = self._cache()
        for name, signature in self.files().items():
            self.seen[name] = signature
            if cache is not None and cache.get(name) == signature:
                log.debug(f"Skipping import of {name}: unchanged since the last import")
                continue
            if self._import(name) and cache is not None:
                cache[name] = signature
        if cache is not None:
            self._write_cache({name: item for name, item in cache.items() if name in self.seen})

    def _write_cache(self, cache: dict[str, Signature]) -> None:
        data = {name: {"size": size, "modTime": moment} for name, (size, moment) in sorted(cache.items())}
        write_atomic(os.path.join(self.directory, CACHE), json.dumps(data), 0o644)

    def _import(self, name: str) -> bool:
        path = os.path.join(self.directory, name)
        started = time.monotonic()
        try:
            self.load(path)
        except (ImportFailed, OSError) as error:
            log.error(f"Error encountered while importing {path}: {error}")
            return False
        log.info(f"Imported images from {path} in {time.monotonic() - started:.1f}s")
        return True

    def scan(self) -> None:
        """One look while running: a new or changed file is imported once it has stopped growing."""
        files = self.files()
        for name, signature in files.items():
            if self.seen.get(name) == signature:
                continue
            if self.pending.get(name) != signature:
                self.pending[name] = signature
                continue
            del self.pending[name]
            self.seen[name] = signature
            if self._import(name):
                cache = self._cache()
                if cache is not None:
                    self._write_cache({**cache, name: signature})
        for gone in [name for name in self.seen if name not in files]:
            del self.seen[gone]

    def watch(self, stopping: threading.Event, interval: float = 1.0) -> None:
        """Scan until told to stop."""
        while not stopping.wait(interval):
            try:
                self.scan()
            except OSError as error:
                log.error(f"Image watcher received an error: {error}")


def open_archive(path: str) -> tuple[IO[bytes], subprocess.Popen[bytes] | None]:
    """The plain tar of an archive, and the process that unpacks it, if any."""
    packer = kind(path)
    if packer == "gzip":
        return gzip.open(path, "rb"), None  # type: ignore[return-value]
    if packer == "bzip2":
        return bz2.open(path, "rb"), None
    if packer in ("zstd", "lz4"):
        if not shutil.which(packer):
            raise ImportFailed(f"{packer} is not installed on this machine, it is needed to unpack {path}")
        process = subprocess.Popen([packer, "-dcq", path], stdout=subprocess.PIPE)
        assert process.stdout is not None
        return process.stdout, process
    return open(path, "rb"), None


def ctr_importer(ctr: str, crictl: str, address: str, env: dict[str, str]) -> Importer:
    """Import through the ctr command, lists through the CRI so that mirrors and credentials count."""
    base = [ctr, "--address", address, "--namespace", "k8s.io", "images", "import", "--no-unpack", "-"]

    def archive(path: str) -> None:
        source, unpacker = open_archive(path)
        with source:
            importer = subprocess.Popen(
                base, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
            )
            assert importer.stdin is not None and importer.stdout is not None
            problem = ""
            try:
                shutil.copyfileobj(source, importer.stdin, 1 << 20)
            except (OSError, EOFError) as error:
                problem = str(error)
            try:
                importer.stdin.close()
            except OSError as error:
                problem = problem or str(error)
            output = importer.stdout.read().decode(errors="replace").strip()
            code = importer.wait()
        if unpacker is not None and unpacker.wait() and not problem:
            problem = f"{unpacker.args!r} failed"
        if code or problem:
            raise ImportFailed(" ".join((output or problem).split()))
        for line in output.splitlines():
            log.debug(line)

    def pull(path: str) -> None:
        with open(path, encoding="utf-8") as stream:
            names = [line.strip() for line in stream if line.strip()]
        for name in names:
            present = subprocess.run(
                [crictl, "inspecti", "-q", name], capture_output=True, env=env, check=False
            )
            if present.returncode == 0:
                continue
            log.info(f"Pulling image {name}...")
            result = subprocess.run(
                [crictl, "pull", name], capture_output=True, text=True, env=env, check=False
            )
            if result.returncode:
                log.error(f"Failed to pull {name}: {' '.join((result.stdout + result.stderr).split())}")

    return lambda path: pull(path) if kind(path) == "txt" else archive(path)
