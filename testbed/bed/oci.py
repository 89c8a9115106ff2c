"""Container images without a pull: a folder or a tar becomes a docker archive that containerd imports.

One layer an image, everything in a fixed order with fixed dates: the same input gives the same bytes,
and so the same digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Image:
    """One image to assemble.

    :param name: fully qualified name with tag, e.g. ``docker.io/library/postgres:15``.
    :param layer: a tar file, or a folder whose files all belong to root.
    :param config: the OCI ``config`` object (``Entrypoint``, ``Env``, ``User``, ...).
    :param architecture: Go's name, ``amd64`` or ``arm64``.
    """

    name: str
    layer: Path
    architecture: str
    config: Mapping[str, Any] = field(default_factory=dict)


def _normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


def folder_to_tar(folder: Path, target: Path) -> None:
    """Pack a folder, files sorted by name, owned by root, dated 1970."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(folder)), recursive=False, filter=_normal)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_archive(images: Sequence[Image], target: Path, scratch: Path) -> dict[str, str]:
    """Write images into one docker archive.

    :param scratch: folder for layers that have to be packed first.
    :returns: image name -> its config digest (what ``crictl images`` calls the image id).
    """
    manifest = []
    digests = {}
    written = set()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for image in images:
            layer = image.layer
            if layer.is_dir():
                layer = scratch / f"{hashlib.sha256(image.name.encode()).hexdigest()[:12]}.tar"
                folder_to_tar(image.layer, layer)
            diff_id = _sha256(layer)
            layer_name = f"{diff_id}/layer.tar"
            if layer_name not in written:
                written.add(layer_name)
                entry = tarfile.TarInfo(layer_name)
                entry.size = layer.stat().st_size
                with layer.open("rb") as handle:
                    archive.addfile(entry, handle)
            config = json.dumps({
                "architecture": image.architecture,
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": dict(image.config),
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
                "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "observer-node test bed"}],
            }, sort_keys=True).encode()
            digest = hashlib.sha256(config).hexdigest()
            digests[image.name] = f"sha256:{digest}"
            _add(archive, f"{digest}.json", config)
            manifest.append({"Config": f"{digest}.json", "RepoTags": [image.name], "Layers": [layer_name]})
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return digests


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
