import bz2
import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from k3s import images


class Loader:
    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.fail = False

    def __call__(self, path: str) -> None:
        if self.fail:
            raise images.ImportFailed("broken")
        self.loaded.append(Path(path).name)


@pytest.fixture
def loader() -> Loader:
    return Loader()


def test_kinds() -> None:
    assert images.kind("a.tar") == ""
    assert images.kind("a.TAR.GZ") == "gzip"
    assert images.kind("a.tar.zst") == "zstd"
    assert images.kind("list.txt") == "txt"
    assert images.kind("a.zip") is None


def test_everything_is_imported_at_every_start(tmp_path: Path, loader: Loader) -> None:
    for name in ("b.tar", "a.txt", "c.zip", ".hidden.tar"):
        (tmp_path / name).write_text(name)
    for _ in range(2):
        images.Images(str(tmp_path), loader).import_all()
    assert loader.loaded == ["a.txt", "b.tar"] * 2
    assert not (tmp_path / ".cache.json").exists()


def test_cache_imports_only_what_changed(tmp_path: Path, loader: Loader) -> None:
    (tmp_path / "a.tar").write_text("1")
    (tmp_path / "b.tar").write_text("1")
    (tmp_path / ".cache.json").touch()
    images.Images(str(tmp_path), loader).import_all()
    assert loader.loaded == ["a.tar", "b.tar"]
    images.Images(str(tmp_path), loader).import_all()
    assert len(loader.loaded) == 2
    (tmp_path / "a.tar").write_text("22")
    os.utime(tmp_path / "b.tar", (1, 1))
    images.Images(str(tmp_path), loader).import_all()
    assert loader.loaded[2:] == ["a.tar", "b.tar"]
    (tmp_path / "b.tar").unlink()
    images.Images(str(tmp_path), loader).import_all()
    assert list(json.loads((tmp_path / ".cache.json").read_text())) == ["a.tar"]


def test_failed_import_is_not_cached(
    tmp_path: Path, loader: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tar").write_text("1")
    (tmp_path / ".cache.json").write_text("damaged")
    loader.fail = True
    images.Images(str(tmp_path), loader).import_all()
    assert f"Error encountered while importing {tmp_path}/a.tar: broken" in capsys.readouterr().err
    loader.fail = False
    images.Images(str(tmp_path), loader).import_all()
    assert loader.loaded == ["a.tar"]


def test_a_new_file_is_imported_when_it_has_stopped_growing(tmp_path: Path, loader: Loader) -> None:
    watch = images.Images(str(tmp_path), loader)
    watch.import_all()
    path = tmp_path / "a.tar"
    path.write_text("1")
    watch.scan()
    path.write_text("12")
    watch.scan()
    assert loader.loaded == []
    watch.scan()
    watch.scan()
    assert loader.loaded == ["a.tar"]
    path.unlink()
    watch.scan()
    path.write_text("12")
    watch.scan()
    watch.scan()
    assert loader.loaded == ["a.tar", "a.tar"]


def test_no_directory(tmp_path: Path, loader: Loader) -> None:
    watch = images.Images(str(tmp_path / "none"), loader)
    watch.import_all()
    watch.scan()


def fake(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_archives_reach_ctr_as_plain_tar(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    ctr = fake(tools, "ctr", f'echo "$@" > {tmp_path}/args\ncat >> {tmp_path}/got\n')
    load = images.ctr_importer(ctr, "crictl", "/sock", dict(os.environ))
    (tmp_path / "a.tar").write_bytes(b"plain,")
    (tmp_path / "b.tgz").write_bytes(gzip.compress(b"gzip,"))
    (tmp_path / "c.tar.bz2").write_bytes(bz2.compress(b"bzip2,"))
    for name in ("a.tar", "b.tgz", "c.tar.bz2"):
        load(str(tmp_path / name))
    assert (tmp_path / "got").read_bytes() == b"plain,gzip,bzip2,"
    assert (tmp_path / "args").read_text().split() == [
        "--address",
        "/sock",
        "--namespace",
        "k8s.io",
        "images",
        "import",
        "--no-unpack",
        "-",
    ]
    (tmp_path / "d.tgz").write_bytes(b"no gzip")
    with pytest.raises(images.ImportFailed):
        load(str(tmp_path / "d.tgz"))
    failing = images.ctr_importer(
        fake(tools, "bad", "cat >/dev/null; echo no space; exit 1"), "crictl", "/s", dict(os.environ)
    )
    with pytest.raises(images.ImportFailed, match="no space"):
        failing(str(tmp_path / "a.tar"))


def test_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctr = fake(tmp_path, "ctr", f"cat > {tmp_path}/got\n")
    load = images.ctr_importer(ctr, "crictl", "/sock", dict(os.environ))
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"no zstd")
    if shutil.which("zstd"):
        with pytest.raises(images.ImportFailed):
            load(str(path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(images.ImportFailed, match="zstd is not installed on this machine"):
        load(str(path))


def test_lists_are_pulled_through_the_cri(tmp_path: Path) -> None:
    crictl = fake(
        tmp_path,
        "crictl",
        f'[ "$1" = inspecti ] && [ "$3" = have ] && exit 0\n[ "$1" = inspecti ] && exit 1\n'
        f'echo "$@" >> {tmp_path}/calls\n',
    )
    (tmp_path / "l.txt").write_text("have\n\nr.example/new:1\n")
    images.ctr_importer("ctr", crictl, "/sock", dict(os.environ))(str(tmp_path / "l.txt"))
    assert (tmp_path / "calls").read_text() == "pull r.example/new:1\n"
