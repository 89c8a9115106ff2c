"""Pack the launcher and its payload into one executable file named `k3s`.

The same input gives the same bytes: names are sorted, dates and modes fixed. Files are streamed, the
payload is several hundred megabytes. The file's identity is a hash over the payload and the launcher;
it names the directory that the payload is unpacked to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

SHEBANG = b"#!/usr/bin/python3 -I\n"
DATE = (1980, 1, 1, 0, 0, 0)
MAIN = 'import sys\n\nfrom k3s.cli import main\n\nif __name__ == "__main__":\n    sys.exit(main(sys.argv))\n'
HERE = Path(__file__).resolve().parent


def _yaml_package() -> Path:
    import yaml

    return Path(yaml.__file__).resolve().parent


def _files(root: Path, prefix: str, suffix: str = "") -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name.endswith(suffix) and "__pycache__" not in path.parts:
            yield f"{prefix}/{path.relative_to(root).as_posix()}", path


def contents(payload_dir: Path) -> list[tuple[str, Path]]:
    """Every file of the result with its name inside, without the generated ones."""
    found = [
        *_files(HERE / "k3s", "k3s", ".py"),
        *_files(_yaml_package(), "yaml", ".py"),
        *_files(HERE / "manifests", "payload/manifests", ".yaml"),
    ]
    names = {name for name, _ in found}
    found += [
        (name, path)
        for name, path in _files(payload_dir, "payload")
        if name not in names and name != "payload/k3s.json"
    ]
    return sorted(found)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _mode(name: str, path: Path) -> int:
    if name.startswith("payload/bin/") or (name.startswith("payload/") and os.access(path, os.X_OK)):
        return 0o755
    return 0o644


def pack(
    payload_dir: str | Path, output: str | Path, version: str, go_version: str, compress: int = 6
) -> str:
    """Write `output` and return its identity. `compress` is the deflate level, 0 stores."""
    source, target = Path(payload_dir), Path(output)
    files = contents(source)
    given = source / "k3s.json"
    described = json.loads(given.read_text("utf-8")) if given.exists() else {}
    identity = hashlib.sha256(f"{version}\0{go_version}\0".encode())
    for name, path in files:
        identity.update(f"{name}\0{_mode(name, path):o}\0{_digest(path)}\n".encode())
    digest = identity.hexdigest()
    info = {
        **described,
        "version": version,
        "goVersion": go_version,
        "sha256": digest,
        "images": described.get("images") or {"pause": "docker.io/rancher/mirrored-pause:3.6"},
    }
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    temporary = target.with_name(target.name + ".tmp")
    with temporary.open("wb") as stream:
        stream.write(SHEBANG)
        with zipfile.ZipFile(stream, "w", method, compresslevel=compress or None) as packed:
            for name, text in (
                ("__main__.py", MAIN),
                ("payload/k3s.json", json.dumps(info, indent=1, sort_keys=True) + "\n"),
            ):
                packed.writestr(_entry(name, 0o644, method), text)
            for name, path in files:
                entry = _entry(name, _mode(name, path), method)
                entry.file_size = path.stat().st_size
                with path.open("rb") as reader, packed.open(entry, "w") as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)
    temporary.chmod(0o755)
    temporary.rename(target)
    return digest


def _entry(name: str, mode: int, method: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type = method
    entry.create_system = 3
    entry.external_attr = (0o100000 | mode) << 16
    return entry


def main() -> None:
    """The command line of the packer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("payload", help="directory with bin/, lib/ and k3s.json")
    parser.add_argument("output", help="the file to write")
    parser.add_argument("--version", default="v1.34.3+k3s1")
    parser.add_argument("--go-version", required=True)
    parser.add_argument("--compress", type=int, default=6, help="deflate level, 0 stores")
    options = parser.parse_args()
    print(pack(options.payload, options.output, options.version, options.go_version, options.compress))


if __name__ == "__main__":
    main()
