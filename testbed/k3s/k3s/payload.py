"""Unpacking what the one file carries to `<data-dir>/data/<hash>`, as the K3s binary does.

The hash is fixed when the file is packed, so a call of `k3s kubectl` costs one stat, not a hash over
hundreds of megabytes. Unpacking happens under a lock in a temporary directory that is renamed at the
end (cmd/k3s/main.go extract): two processes may start at once and a crash leaves nothing half done.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

# The names under which the one Kubernetes program answers.
KUBE_NAMES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "network",
    "crictl",
)
PREFIX = "payload/"


@dataclass(frozen=True)
class Build:
    """What `payload/k3s.json` says about this file."""

    version: str = "v0.0.0+k3s0"
    go_version: str = "go0"
    sha256: str = "0" * 64
    images: dict[str, str] = field(default_factory=dict)

    def version_text(self) -> str:
        """The two lines of `k3s --version`."""
        return f"k3s version {self.version} (standin-{self.sha256[:8]})\ngo version {self.go_version}\n"


def archive() -> str:
    """The packed file that runs, or an empty string when the package runs from a directory."""
    path = os.path.abspath(sys.argv[0])
    loader = getattr(sys.modules.get("k3s"), "__loader__", None)
    found = getattr(loader, "archive", "")
    return str(found) if found else (path if path.endswith(".pyz") else "")


def build(path: str = "") -> Build:
    """Read `payload/k3s.json` through the import system: no archive library has to be loaded."""
    path = path or archive()
    if not path:
        return Build()
    import zipimport

    try:
        data: dict[str, Any] = json.loads(zipimport.zipimporter(path).get_data(PREFIX + "k3s.json"))
    except (zipimport.ZipImportError, OSError):
        return Build()
    return Build(data["version"], data["goVersion"], data["sha256"], data.get("images", {}))


def ensure(
    data_dir: str, found: Build | None = None, path: str = "", default_dir: str = "/var/lib/rancher/k3s"
) -> str:
    """The directory with the unpacked payload; it is unpacked when it is not there yet.

    A copy under the default directory is used by everyone, so that a user's `k3s kubectl` does not
    unpack a second one into the home directory.
    """
    path = path or archive()
    found = found or build(path)
    for base in (default_dir, data_dir):
        directory = os.path.join(base, "data", found.sha256)
        if os.path.isdir(os.path.join(directory, "bin")):
            return directory
    if not path:
        raise FileNotFoundError("this is not the packed k3s file: there is no payload to unpack")
    return _unpack(data_dir, found.sha256, path)


def _unpack(data_dir: str, digest: str, path: str) -> str:
    import fcntl
    import shutil
    import tempfile

    from . import log

    root = os.path.join(data_dir, "data")
    directory = os.path.join(root, digest)
    os.makedirs(root, exist_ok=True)
    lock = os.path.join(root, ".lock")
    log.info(f"Acquiring lock file {lock}")
    with open(lock, "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.isdir(os.path.join(directory, "bin")):
            return directory
        log.info(f"Preparing data dir {directory}")
        temporary = tempfile.mkdtemp(prefix=f"{digest[:12]}-tmp-", dir=root)
        try:
            _extract(path, temporary)
            os.chmod(temporary, 0o755)
            os.rename(temporary, directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _switch(root, directory)
    return directory


def _extract(path: str, target: str) -> None:
    import shutil
    import zipfile

    with zipfile.ZipFile(path) as packed:
        for entry in packed.infolist():
            if not entry.filename.startswith(PREFIX) or entry.is_dir():
                continue
            name = entry.filename[len(PREFIX) :]
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"unsafe name in payload: {name}")
            out = os.path.join(target, name)
            os.makedirs(os.path.dirname(out), exist_ok=True)
            with packed.open(entry) as source, open(out, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            os.chmod(out, (entry.external_attr >> 16) & 0o777 or 0o644)
    binaries = os.path.join(target, "bin")
    os.makedirs(binaries, exist_ok=True)
    if os.path.exists(os.path.join(binaries, "kube")):
        for name in KUBE_NAMES:
            link = os.path.join(binaries, name)
            if not os.path.lexists(link):
                os.symlink("kube", link)


def _switch(root: str, directory: str) -> None:
    """Point `current` at the new directory and keep the old one as `previous`."""
    current, previous = os.path.join(root, "current"), os.path.join(root, "previous")
    if os.path.islink(current):
        os.replace(current, previous)
    temporary = os.path.join(root, ".current")
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(directory, temporary)
    os.replace(temporary, current)


def link_cni(directory: str, cni_bin: str) -> None:
    """Stable paths for CNI plugins: `<data-dir>/data/cni` keeps plugins of the user beside K3s' links."""
    source = os.path.join(directory, "bin", "cni")
    os.makedirs(cni_bin, exist_ok=True)
    for name in sorted(os.listdir(source)) if os.path.isdir(source) else []:
        link, temporary = os.path.join(cni_bin, name), os.path.join(cni_bin, f".{name}")
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(os.path.join(source, name), temporary)
        os.replace(temporary, link)


def environment(directory: str) -> dict[str, str]:
    """The environment for the binaries: their directory first in PATH (stageAndRun)."""
    env = dict(os.environ)
    env["PATH"] = os.path.join(directory, "bin") + ":" + env.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    env["K3S_DATA_DIR"] = directory
    libraries = os.path.join(directory, "lib")
    if os.path.isdir(libraries) and any(
        name.endswith(".so") or ".so." in name for name in os.listdir(libraries)
    ):
        env["LD_LIBRARY_PATH"] = libraries
    return env
