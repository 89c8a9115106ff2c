"""The build graph and the layout of the release mirror."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from bed import settings
from bed.cache import Cache
from bed.errors import BedError
from bed.recipes import Graph, Parts, Step, graph, host_architecture, mirror, release_path


def writes(text: str) -> Step:
    def build(out: Path, parts: Parts) -> None:
        (out / "text").write_text(text)

    return Step("base", 1, "go", build, (text,))


def test_parts_are_built_after_what_they_need_and_once(tmp_path: Path) -> None:
    order = []

    def make(name: str, needs: tuple[str, ...]) -> Step:
        def build(out: Path, parts: Parts) -> None:
            for need in needs:
                assert parts[need].is_dir()
            order.append(name)

        return Step(name, 1, "go" if name in "ab" else "debian", build, (name,), needs)

    steps = Graph()
    for name, needs in (("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("b", "c")), ("unused", ())):
        steps.add(make(name, needs))
    paths = steps.make(["d"], Cache(tmp_path))
    assert order[0] == "a" and order[-1] == "d" and sorted(order) == ["a", "b", "c", "d"]
    steps.make(["d"], Cache(tmp_path))
    assert len(order) == 4 and set(paths) == {"a", "b", "c", "d"}


def test_a_changed_part_changes_what_is_made_of_it() -> None:
    keys = []
    for text in ("one", "two"):
        steps = Graph()
        steps.add(writes(text))
        steps.add(Step("top", 1, "go", lambda out, parts: None, (), ("base",)))
        keys.append(steps.key("top"))
    assert keys[0] != keys[1]


def test_a_failed_part_names_itself_and_keeps_the_finished_ones(tmp_path: Path) -> None:
    def breaks(out: Path, parts: Parts) -> None:
        raise BedError("no such module")

    steps = Graph()
    steps.add(writes("x"))
    steps.add(Step("top", 1, "go", breaks, (), ("base",)))
    with pytest.raises(BedError, match="building top failed: no such module"):
        steps.make(["top"], Cache(tmp_path))
    assert Cache(tmp_path).has("base", steps.key("base"))


def test_needs_must_exist() -> None:
    with pytest.raises(ValueError, match="needs"):
        Graph().add(Step("top", 1, "go", lambda out, parts: None, (), ("missing",)))


def test_architectures_do_not_share_what_differs() -> None:
    amd64, arm64 = graph("amd64"), graph("arm64")
    for name in ("kube", "kine", "runtime", "airgap-images"):
        assert amd64.key(name) != arm64.key(name)
    assert amd64.key("sealed-secrets-manifests") == arm64.key("sealed-secrets-manifests")


def test_release_url_is_encoded_as_on_the_release_page() -> None:
    assert release_path("k3s-io/k3s", "v1.34.3+k3s1", "k3s") == "k3s-io/k3s/releases/download/v1.34.3%2Bk3s1/k3s"


@pytest.mark.parametrize(("architecture", "binary"), [("amd64", "k3s"), ("arm64", "k3s-arm64")])
def test_mirror_is_laid_out_as_the_release_pages(tmp_path: Path, architecture: str, binary: str) -> None:
    paths = {}
    files = {
        "k3s": [binary], "airgap-images": [f"k3s-airgap-images-{architecture}.tar.zst", "k3s-images.txt"],
        "sealed-secrets": ["kubeseal"], "sealed-secrets-manifests": ["controller.yaml", "sealed-secrets-2.18.0.tgz"],
        "restic": [f"restic_0.18.0_linux_{architecture}.bz2"],
    }
    for part, names in files.items():
        paths[part] = tmp_path / part
        paths[part].mkdir()
        for name in names:
            (paths[part] / name).write_text(name)
    target = tmp_path / "mirror"
    mirror(paths, architecture, target)
    mirror(paths, architecture, target)  # again, over itself
    release = target / "k3s-io/k3s/releases/download/v1.34.3+k3s1"
    assert {path.name for path in release.iterdir()} == {
        binary, f"k3s-airgap-images-{architecture}.tar.zst", "k3s-images.txt", f"sha256sum-{architecture}.txt",
    }
    subprocess.run(["sha256sum", "--check", "--quiet", f"sha256sum-{architecture}.txt"], cwd=release, check=True)
    seal = target / "bitnami-labs/sealed-secrets/releases/download/v0.36.0"
    assert (seal / f"kubeseal-0.36.0-linux-{architecture}.tar.gz").is_file()
    subprocess.run(["sha256sum", "--check", "--quiet", "sealed-secrets_0.36.0_checksums.txt"], cwd=seal, check=True)
    restic = target / "restic/restic/releases/download/v0.18.0"
    assert (restic / f"restic_0.18.0_linux_{architecture}.bz2").is_file()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=restic, check=True)


def test_the_app_is_tested_with_the_versions_of_its_image() -> None:
    pins = tomllib.loads((settings.ROOT / "pyproject.toml").read_text())["dependency-groups"]["app"]
    requirements = (settings.TESTBED / "observer" / "requirements.txt").read_text()
    for pin in pins:
        assert f"{pin} " in requirements, f"{pin} is not what testbed/observer/requirements.txt has"


def test_another_debian_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("node", "postgres", "services", "python", "runtime", "busybox")
    before = {name: graph(host_architecture()).key(name) for name in names}
    monkeypatch.setattr(settings, "DEBIAN_SUITE", "trixie")
    after = {name: graph(host_architecture()).key(name) for name in names}
    assert not set(before.values()) & set(after.values())


def test_only_what_runs_programs_of_another_architecture_needs_their_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bed.recipes.host_architecture", lambda: "amd64")
    assert not [step.name for step in graph("amd64").steps.values() if step.emulated]
    foreign = graph("arm64").steps
    assert {name for name, step in foreign.items() if step.emulated} == {"postgres", "machine", "python", "observer"}
    # Those are this machine's own affair.
    assert not {"node", "services"} & foreign.keys()
