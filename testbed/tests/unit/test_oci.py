"""Images assembled without a pull."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

from bed.oci import Image, write_archive


def tree(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "tool").write_text("#!/bin/sh\n")
    (path / "bin" / "tool").chmod(0o755)
    (path / "bin" / "link").symlink_to("tool")
    return path


def test_same_input_same_bytes(tmp_path: Path) -> None:
    archives = []
    for number in (1, 2):
        work = tmp_path / str(number)
        root = tree(work / "root")
        os.utime(root / "bin" / "tool", (number, number))
        write_archive([Image("example.org/x:1", root, "amd64", {"Cmd": ["/bin/tool"]})], work / "out.tar", work)
        archives.append((work / "out.tar").read_bytes())
    assert archives[0] == archives[1]


def test_archive_is_consistent(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    images = [Image("example.org/x:1", root, "arm64", {"User": "1000"}), Image("example.org/y:1", root, "arm64")]
    digests = write_archive(images, tmp_path / "out.tar", tmp_path)
    with tarfile.open(tmp_path / "out.tar") as archive:
        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            assert member is not None
            return member.read()

        manifest = json.loads(read("manifest.json"))
        assert [entry["RepoTags"] for entry in manifest] == [["example.org/x:1"], ["example.org/y:1"]]
        for entry in manifest:
            config = json.loads(read(entry["Config"]))
            assert config["architecture"] == "arm64"
            layer = read(entry["Layers"][0])
            assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
            assert digests[entry["RepoTags"][0]] == f"sha256:{entry['Config'].removesuffix('.json')}"
        # One layer, used twice, is stored once.
        assert sum(name.endswith("layer.tar") for name in archive.getnames()) == 1
    with tarfile.open(tmp_path / "out.tar") as archive:
        inner = archive.extractfile(manifest[0]["Layers"][0])
        with tarfile.open(fileobj=inner) as layer_tar:
            owners = {(entry.uid, entry.gid, entry.mtime) for entry in layer_tar}
    assert owners == {(0, 0, 0)}
