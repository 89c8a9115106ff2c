import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import pack
from k3s import payload


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed file with tools that print how they were called."""
    directory = tmp_path_factory.mktemp("payload")
    binaries = directory / "src" / "bin"
    (binaries / "cni").mkdir(parents=True)
    for name in ("kube", "ctr", "kine"):
        (binaries / name).write_text(
            '#!/bin/sh\necho "$(basename "$0") $* $CONTAINERD_NAMESPACE $CRI_CONFIG_FILE"\n'
        )
    (binaries / "cni" / "bridge").write_text("#!/bin/sh\n")
    pack.pack(directory / "src", directory / "k3s", "v1.34.3+k3s1", "go1.26.8")
    return directory / "k3s"


def run(packed: Path, data_dir: Path, *args: str, name: str = "") -> subprocess.CompletedProcess[str]:
    config = data_dir.parent / f"{data_dir.name}.yaml"
    config.write_text(f"data-dir: {data_dir}\n")
    program = packed
    if name:
        program = data_dir.parent / name
        if not program.exists():
            program.symlink_to(packed)
    env = {"PATH": os.environ["PATH"], "K3S_CONFIG_FILE": str(config)}
    return subprocess.run([str(program), *args], capture_output=True, text=True, env=env, check=False)


def test_reproducible(packed: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    digest = pack.pack(packed.parent / "src", again, "v1.34.3+k3s1", "go1.26.8")
    assert again.read_bytes() == packed.read_bytes()
    assert again.stat().st_mode & 0o777 == 0o755
    assert payload.build(str(again)) == payload.Build(
        "v1.34.3+k3s1", "go1.26.8", digest, {"pause": "docker.io/rancher/mirrored-pause:3.6"}
    )
    other = pack.pack(packed.parent / "src", tmp_path / "other", "v1.34.4+k3s1", "go1.26.8")
    assert other != digest


def test_contents(packed: Path) -> None:
    with zipfile.ZipFile(packed) as found:
        names = found.namelist()
    assert "yaml/__init__.py" in names
    assert "payload/manifests/coredns.yaml" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".so")]


def test_version(packed: Path, tmp_path: Path) -> None:
    digest = payload.build(str(packed)).sha256
    assert run(packed, tmp_path / "d", "--version").stdout == (
        f"k3s version v1.34.3+k3s1 (standin-{digest[:8]})\ngo version go1.26.8\n"
    )
    assert not (tmp_path / "d").exists()


def test_unpacks_once_and_runs_tools(packed: Path, tmp_path: Path) -> None:
    data = tmp_path / "d"
    first = run(packed, data, "kubectl", "get", "pods", "-v=1")
    assert first.stdout.startswith("kubectl get pods -v=1")
    assert "Preparing data dir" in first.stderr
    directory = data / "data" / payload.build(str(packed)).sha256
    assert (data / "data" / "current").readlink() == directory
    assert (directory / "bin" / "kubelet").readlink() == Path("kube")
    assert (directory / "bin" / "kine").stat().st_mode & 0o777 == 0o755
    second = run(packed, data, "ctr", "version")
    assert second.stdout.startswith("ctr version k8s.io")
    assert second.stderr == ""
    assert (
        run(packed, data, "images", name="crictl").stdout == f"crictl images  {data}/agent/etc/crictl.yaml\n"
    )
    assert run(packed, data, "get", name="kubectl").stdout.startswith("kubectl get")


def test_two_at_once(packed: Path, tmp_path: Path) -> None:
    data = tmp_path / "d"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(pack.__file__).parent)!r}); from k3s import payload\n"
        f"print(payload.ensure({str(data)!r}, path={str(packed)!r}, default_dir={str(tmp_path / 'none')!r}))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    output = [process.communicate() for process in both]
    assert output[0][0] == output[1][0] != ""
    assert sum("Preparing data dir" in error for _, error in output) == 1
    assert sorted(path.name for path in (data / "data").iterdir() if "tmp" in path.name) == []


def test_failure_leaves_nothing(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, target: str) -> None:
        (Path(target) / "half").write_text("")
        raise OSError("no space left")

    monkeypatch.setattr(payload, "_extract", fail)
    with pytest.raises(OSError, match="no space left"):
        payload.ensure(str(tmp_path), path=str(packed), default_dir=str(tmp_path / "none"))
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".lock"]


def test_new_version_keeps_the_old_one(packed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    pack.pack(packed.parent / "src", other, "v9", "go1")
    old = payload.ensure(str(tmp_path), path=str(packed), default_dir=str(tmp_path / "none"))
    new = payload.ensure(str(tmp_path), path=str(other), default_dir=str(tmp_path / "none"))
    assert str((tmp_path / "data" / "current").readlink()) == new
    assert str((tmp_path / "data" / "previous").readlink()) == old


def test_cni_links(packed: Path, tmp_path: Path) -> None:
    directory = payload.ensure(str(tmp_path), path=str(packed), default_dir=str(tmp_path / "none"))
    target = tmp_path / "data" / "cni"
    target.mkdir()
    (target / "mine").write_text("")
    for _ in range(2):
        payload.link_cni(directory, str(target))
    assert sorted(path.name for path in target.iterdir()) == ["bridge", "mine"]
    assert (target / "bridge").resolve() == Path(directory).resolve() / "bin" / "cni" / "bridge"


def test_start_is_fast(packed: Path, tmp_path: Path) -> None:
    data = tmp_path / "d"
    run(packed, data, "kubectl")
    times = []
    for _ in range(5):
        started = time.monotonic()
        run(packed, data, "kubectl")
        times.append(time.monotonic() - started)
    assert min(times) < 0.5  # about 0.1 s on an idle machine; generous, as tests share theirs
