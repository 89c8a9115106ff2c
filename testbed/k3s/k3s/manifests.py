"""Packaged manifests and the auto-deploy directory `server/manifests`.

Rules of pkg/deploy/controller.go: recursive, `.skip` files, dotfiles ignored, disabled files deleted
with their objects, a deleted file deletes nothing. K3s tracks each file as an Addon, whose name is the
file's name up to the first dot; that is why a name with "_" or capitals fails there and here.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import log
from .files import write_atomic

SUFFIXES = (".yaml", ".yml", ".json")
PACKAGED = ("rolebindings", "coredns", "local-storage")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

Runner = Callable[[Sequence[str]], tuple[int, str]]


def invalid_name(name: str) -> str:
    """What the API server says about an Addon with a bad name; empty for a good one."""
    if _NAME.fullmatch(name):
        return ""
    return (
        f'Addon.k3s.cattle.io "{name}" is invalid: metadata.name: Invalid value: "{name}": a lowercase '
        "RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace `%{NAME}%` as K3s does when it stages its manifests."""
    for name, value in values.items():
        text = text.replace(f"%{{{name}}}%", value)
    return text


def stage(source: str, target: str, values: Mapping[str, str], disabled: Sequence[str]) -> None:
    """Write the packaged manifests at every start, also over edits (pkg/deploy/stage.go)."""
    os.makedirs(target, mode=0o700, exist_ok=True)
    for name in PACKAGED:
        if name in disabled:
            continue
        with open(os.path.join(source, f"{name}.yaml"), encoding="utf-8") as stream:
            text = substitute(stream.read(), values)
        path = os.path.join(target, f"{name}.yaml")
        log.info(f"Writing manifest: {path}")
        write_atomic(path, text, 0o600)


def walk(base: str) -> dict[str, tuple[int, int]]:
    """All files below the directory with their time and size; links to directories are followed once."""
    found = {}
    for directory, names, files in os.walk(base):
        if directory == base:
            for name in list(names):
                path = os.path.join(base, name)
                if os.path.islink(path):
                    names.remove(name)
                    for inner, _, inner_files in os.walk(path + os.sep):
                        found.update(_stat(os.path.join(inner, item) for item in inner_files))
        found.update(_stat(os.path.join(directory, item) for item in files))
    return found


def _stat(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for path in paths:
        try:
            info = os.stat(path)
        except OSError:
            continue
        found[path] = (info.st_mtime_ns, info.st_size)
    return found


def skipped(path: str, skips: set[str]) -> bool:
    """Whether a file is ignored: dotfile, `.skip` beside it, or no manifest by its name."""
    name = os.path.basename(path)
    return name.startswith(".") or name in skips or not name.lower().endswith(SUFFIXES)


def is_disabled(base: str, path: str, disabled: Sequence[str]) -> bool:
    """By base name, or by a directory above the file (shouldDisableFile)."""
    relative = os.path.relpath(path, base)
    directories = relative.split(os.sep)[:-1]
    for index in range(1, len(directories) + 1):
        if os.path.join(*directories[:index]) in disabled:
            return True
    name = os.path.basename(path)
    return name.lower().endswith(SUFFIXES) and os.path.splitext(name)[0] in disabled


@dataclass
class _Failure:
    signature: tuple[int, int]
    until: float
    delay: float


@dataclass
class Deployer:
    """Applies changed files. `run` is kubectl; tests give their own."""

    base: str
    disabled: Sequence[str]
    run: Runner
    applied: dict[str, tuple[int, int]] = field(default_factory=dict)
    failed: dict[str, _Failure] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    def scan(self) -> None:
        """One pass; a file that fails is tried again after 2, 4, ... 15 seconds or when it changes."""
        files = walk(self.base)
        skips = {os.path.basename(path).removesuffix(".skip") for path in files if path.endswith(".skip")}
        for path in sorted(files):
            signature = files[path]
            if is_disabled(self.base, path, self.disabled):
                self._delete(path)
            elif (
                not skipped(path, skips)
                and self.applied.get(path) != signature
                and self._due(path, signature)
            ):
                self._apply(path, signature)
        for path in [path for path in self.applied if path not in files]:
            del self.applied[path]

    def _due(self, path: str, signature: tuple[int, int]) -> bool:
        failure = self.failed.get(path)
        return failure is None or failure.signature != signature or self.clock() >= failure.until

    def _apply(self, path: str, signature: tuple[int, int]) -> None:
        problem = invalid_name(os.path.basename(path).split(".", 1)[0])
        if not problem:
            if _is_empty(path):
                self.applied[path] = signature
                return
            code, output = self.run(
                ["apply", "--server-side", "--force-conflicts", "--field-manager=deploy@k3s", "-f", path]
            )
            if code == 0:
                log.info(f"Applied manifest at {path}")
                self.applied[path] = signature
                self.failed.pop(path, None)
                return
            problem = " ".join(output.split())
        log.error(f"Failed to process config: failed to process {path}: {problem}")
        previous = self.failed.get(path)
        same = previous is not None and previous.signature == signature
        delay = min(15.0, previous.delay * 2) if same and previous is not None else 2.0
        self.failed[path] = _Failure(signature, self.clock() + delay, delay)

    def _delete(self, path: str) -> None:
        """A disabled file goes with the objects that it describes."""
        if not _is_empty(path):
            code, output = self.run(["delete", "--ignore-not-found", "--wait=false", "-f", path])
            if code and "no matches for kind" not in output:
                log.error(f"Failed to process config: failed to delete {path}: {' '.join(output.split())}")
                return
        os.unlink(path)
        log.info(f"Deleted manifest at {path}: it is disabled")

    def watch(self, stopping: threading.Event, interval: float = 2.0) -> None:
        """Scan until told to stop; a surprise in one pass must not end the watch."""
        while not stopping.wait(interval):
            try:
                self.scan()
            except Exception as error:  # the next pass may succeed, and the node must not stop for this
                log.error(f"Failed to process config: {error}")


def _is_empty(path: str) -> bool:
    """Whether a file holds no objects: K3s takes it as an empty set, kubectl would complain."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return all(
                not line.strip() or line.strip() == "---" or line.strip().startswith("#") for line in stream
            )
    except OSError:
        return True


def kubectl_runner(program: str, kubeconfig: str, env: Mapping[str, str]) -> Runner:
    """kubectl as the deployer's hand."""

    def run(argv: Sequence[str]) -> tuple[int, str]:
        result = subprocess.run(
            [program, "--kubeconfig", kubeconfig, *argv],
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(env),
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    return run
