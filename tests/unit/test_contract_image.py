"""What is read from image archives, and that no archive, however it was made, does harm."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contract import image_streams
from contract.facts import ImageFacts
from contract.image import load_image
from contract.model import ContractError

DATA = "/opt/platform/runtime/observer/data"
PASSWD = "root:x:0:0::/root:/bin/sh\n# a comment\nbroken line\nobserver:x:1000:1001::/:/bin/sh\nobserver:x:5:5::/:\n"
GROUP = "root:x:0:\nobserver:x:1001:\nstaff:x:50:observer\n"
CONFIG = {
    "Env": ["PATH=/usr/bin", "SERVICE_PORT=8000", "A=b=c", "EMPTY="], "User": "observer", "WorkingDir": "/app",
    "ExposedPorts": {"8000/tcp": {}, "53/udp": {}}, "Entrypoint": ["/bin/sh", "start"], "Cmd": ["a b", "값"],
}


@dataclass
class Item:
    """An entry of a layer."""

    name: str
    kind: bytes = tarfile.REGTYPE
    content: str = ""
    owner: tuple[int, int] = (0, 0)
    mode: int = 0o755
    target: str = ""


Load = Callable[..., ImageFacts]
Form = Callable[..., dict[str, bytes | str]]


def folder(name: str, uid: int = 0, gid: int = 0, mode: int = 0o755) -> Item:
    return Item(name, tarfile.DIRTYPE, "", (uid, gid), mode)


def layer(*items: Item, format: int = tarfile.PAX_FORMAT) -> bytes:
    """The tar archive of a layer."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=format) as archive:
        for item in items:
            entry = tarfile.TarInfo(item.name)
            entry.type, entry.mode, entry.linkname = item.kind, item.mode, item.target
            entry.uid, entry.gid = item.owner
            content = item.content.encode()
            entry.size = len(content) if item.kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


BASE = layer(
    folder("etc"), Item("etc/passwd", content=PASSWD, mode=0o644), Item("etc/group", content=GROUP), folder("usr/bin"),
    Item("bin", tarfile.SYMTYPE, target="usr/bin"), folder("var"), Item("var/run", tarfile.SYMTYPE, target="/run"),
    folder("run"), folder("tmp/", mode=0o1777))
APP = layer(folder("./opt/platform/runtime/observer/data/", 1000, 1001, 0o750), folder("var/run/app", 1000, 1001))


@dataclass
class Made:
    """An image to write: layers as they are (packed by ``pack``), its names and platform."""

    layers: Sequence[bytes] = (BASE, APP)
    config: Mapping[str, Any] = field(default_factory=lambda: CONFIG)
    names: Sequence[str] = ("ghcr.io/tawbury/observer:build-20260205-142425",)
    platform: str = "linux/arm64"
    pack: Callable[[bytes], bytes] = bytes

    @property
    def document(self) -> bytes:
        os, architecture, *variant = self.platform.split("/")
        return json.dumps({
            "os": os, "architecture": architecture, "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in self.layers]},
            **({"variant": variant[0]} if variant else {}),
        }).encode()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def tar(parts: Mapping[str, bytes | str]) -> bytes:
    """An archive of parts; a text is where a symbolic link leads."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def docker(*images: Made) -> dict[str, bytes | str]:
    """Parts of what `docker save` writes."""
    parts: dict[str, bytes | str] = {}
    listed = []
    for image in images:
        names = []
        for one in image.layers:
            names.append(f"{digest(one)[7:]}/layer.tar")
            parts[names[-1]] = image.pack(one)
        config = f"{digest(image.document)[7:]}.json"
        parts[config] = image.document
        listed.append({"Config": config, "RepoTags": list(image.names) or None, "Layers": names})
    parts["manifest.json"] = json.dumps(listed).encode()
    return parts


def oci(*images: Made, note: str = "org.opencontainers.image.ref.name") -> dict[str, bytes | str]:
    """Parts of an OCI layout."""
    parts: dict[str, bytes | str] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        parts[f"blobs/sha256/{digest(content)[7:]}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    manifests = []
    for image in images:
        body = {"schemaVersion": 2, "config": blob(image.document, "config.v1+json"),
                "layers": [blob(image.pack(one), "layer.v1.tar+gzip") for one in image.layers]}
        for name in image.names or [""]:
            os, architecture = image.platform.split("/")[:2]
            manifests.append({**blob(json.dumps(body).encode(), "manifest.v1+json"), "annotations": {note: name},
                              "platform": {"os": os, "architecture": architecture}})
    parts["index.json"] = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    return parts


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ImageFacts]:
    """Write an archive and read it."""
    folder_of_archives = tmp_path_factory.mktemp("images")

    def read(content: Mapping[str, bytes | str] | bytes, reference: str = "", platform: str = "") -> ImageFacts:
        path = folder_of_archives / "observer.tar"
        path.write_bytes(content if isinstance(content, bytes) else tar(content))
        return load_image(path, reference, platform)

    return read


def owner(facts: ImageFacts, path: str) -> tuple[int | None, int | None, int | None] | None:
    found = facts.folders.get(path)
    return (found.uid, found.gid, found.mode) if found else None


# --- forms ------------------------------------------------------------------------------------------


def test_a_docker_archive(load: Load) -> None:
    facts = load(docker(Made()))
    assert facts.built and not facts.unchecked
    assert {name: literal.value for name, literal in facts.environment.items()} == {
        "PATH": "/usr/bin", "SERVICE_PORT": "8000", "A": "b=c", "EMPTY": ""}
    assert [port.value for port in facts.ports] == ["8000/tcp", "53/udp"]
    assert facts.workdir and facts.workdir.value == "/app"
    assert facts.entrypoint and facts.entrypoint.value == '["/bin/sh", "start"]'
    assert facts.command and facts.command.value == '["a b", "값"]'
    assert facts.users == {"root": (0, 0), "observer": (1000, 1001)}
    assert facts.groups == {"root": 0, "observer": 1001, "staff": 50}
    assert facts.owner == (1000, 1001)
    assert owner(facts, DATA) == (1000, 1001, 0o750)
    assert owner(facts, "/opt/platform") == (0, 0, 0o755), "whoever unpacks a layer makes the parents that it lacks"
    assert owner(facts, "/tmp") == (0, 0, 0o1777)
    assert owner(facts, "/etc/passwd") is None and owner(facts, "/nothing") is None
    assert str(facts.folders[DATA].place) == str(facts.source) == "observer.tar"
    assert DATA in facts.folders and "/run/app" in list(facts.folders)


@pytest.mark.parametrize("form", [docker, oci])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("pack_all", [bytes, gzip.compress])
def test_every_form_says_the_same(load: Load, form: Form, pack: Callable[[bytes], bytes],
                                  pack_all: Callable[[bytes], bytes]) -> None:
    facts = load(pack_all(tar(form(Made(pack=pack)))))
    expected = load(docker(Made()))
    assert dict(facts.folders) == dict(expected.folders)
    assert (facts.environment, facts.users, facts.owner) == (expected.environment, expected.users, expected.owner)


def test_the_folder_of_a_layout(tmp_path: Path) -> None:
    for name, content in oci(Made(pack=gzip.compress)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else b"")
    assert owner(load_image(tmp_path), DATA) == (1000, 1001, 0o750)
    blob = next(path for path in (tmp_path / "blobs/sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    blob.rename(elsewhere)
    blob.symlink_to(elsewhere)
    with pytest.raises(ContractError, match="lacks the layer"):
        load_image(tmp_path)


def test_zstd(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    command = shutil.which("zstd")
    assert command, "make setup installs it"

    def pack(content: bytes) -> bytes:
        return subprocess.run([command, "-q"], input=content, stdout=subprocess.PIPE, check=True).stdout

    assert owner(load(pack(tar(docker(Made())))), DATA) == (1000, 1001, 0o750)
    assert owner(load(oci(Made(layers=[APP], config={}, pack=pack))), DATA) == (1000, 1001, 0o750)
    with pytest.raises(ContractError, match=r"observer\.tar cannot be decompressed"):
        load(pack(tar(docker(Made())))[:-20])
    if not importlib.util.find_spec("zstandard"):
        monkeypatch.setenv("PATH", "")
        with pytest.raises(ContractError, match="neither the command zstd nor Python's zstandard is here") as error:
            load(b"\x28\xb5\x2f\xfd" + bytes(600))
        assert "zstd -d" in error.value.remedy


def test_layers_that_an_older_archive_links(load: Load) -> None:
    image = Made(layers=(BASE, APP, APP))
    parts = docker(image)
    name = f"{digest(APP)[7:]}/layer.tar"
    parts["other/layer.tar"] = f"../{name}"
    listed = json.loads(bytes(parts["manifest.json"]))  # type: ignore[arg-type]
    listed[0]["Layers"][2] = "other/layer.tar"
    parts["manifest.json"] = json.dumps(listed).encode()
    assert owner(load(parts), DATA) == (1000, 1001, 0o750)


def test_an_archive_that_has_both_lists_holds_one_image(load: Load) -> None:
    facts = load(oci(Made(names=["build-20260205-142425"])) | docker(Made()))
    assert facts.owner == (1000, 1001)


# --- choosing ---------------------------------------------------------------------------------------

OTHER = Made(names=["ghcr.io/tawbury/observer:build-20260206-090000", "observer"], config={"User": "0"})
AMD = Made(names=["ghcr.io/tawbury/observer:build-20260205-142425"], config={"User": "7"}, platform="linux/amd64")


@pytest.mark.parametrize("form", [docker, oci])
@pytest.mark.parametrize(("reference", "platform", "user"), [
    ("ghcr.io/tawbury/observer:build-20260206-090000", "", "0"),
    ("build-20260206-090000", "", "0"),
    ("docker.io/library/observer:latest", "", "0"),
    (digest(OTHER.document), "", "0"),
    ("", "linux/amd64", "7"),
    ("", "x86_64", "7"),
    ("ghcr.io/tawbury/observer:build-20260205-142425", "linux/arm64/v8", "observer"),
    ("ghcr.io/tawbury/observer:build-20260205-142425", "amd64", "7"),
])
def test_one_of_several(load: Load, form: Form, reference: str, platform: str, user: str) -> None:
    facts = load(form(Made(), OTHER, AMD), reference, platform)
    assert facts.user and facts.user.value == user


@pytest.mark.parametrize(("reference", "platform"), [
    ("", ""), ("ghcr.io/tawbury/observer:build-20260205-142425", ""), ("", "linux/arm64"), ("nothing:1", ""),
    ("", "windows/amd64"), ("build-20260206-090000", "amd64"), ("tawbury/observer:build-20260206-090000", ""),
])
def test_what_is_there_is_listed_when_it_is_not_clear_which(load: Load, reference: str, platform: str) -> None:
    with pytest.raises(ContractError) as error:
        load(docker(Made(), OTHER, AMD), reference, platform)
    assert "ghcr.io/tawbury/observer:build-20260205-142425 (linux/amd64)" in str(error.value)
    assert "ghcr.io/tawbury/observer:build-20260206-090000 observer (linux/arm64)" in str(error.value)
    assert "reference" in error.value.remedy


def test_a_layout_that_names_tags_alone(load: Load) -> None:
    parts = oci(Made(names=["build-20260205-142425"]), Made(names=["other"], config={"User": "7"}))
    facts = load(parts, "ghcr.io/tawbury/observer:build-20260205-142425")
    assert facts.user and facts.user.value == "observer"


def test_indexes_inside_an_index_and_what_is_no_image(load: Load) -> None:
    parts = oci(Made(names=[]), AMD)
    index = json.loads(bytes(parts["index.json"]))  # type: ignore[arg-type]
    inner = json.dumps(index).encode()
    signature = json.dumps({"config": index["manifests"][0], "layers": [
        {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest(b"x")}]}).encode()
    absent = {"digest": digest(b"absent"), "platform": {"os": "linux", "architecture": "s390x"}}
    attestation = {**index["manifests"][0], "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    for content in (inner, signature):
        parts[f"blobs/sha256/{digest(content)[7:]}"] = content
    parts["index.json"] = json.dumps({"manifests": [
        {"digest": digest(inner), "annotations": {"io.containerd.image.name": "ghcr.io/tawbury/observer:v1.0.0"}},
        {"digest": digest(signature)}, absent, attestation]}).encode()
    facts = load(parts, "ghcr.io/tawbury/observer:v1.0.0", "linux/arm64")
    assert facts.user and facts.user.value == "observer"


# --- layers -----------------------------------------------------------------------------------------


def link(name: str, target: str) -> Item:
    return Item(name, tarfile.SYMTYPE, target=target)


@pytest.mark.parametrize(("layers", "there", "gone"), [
    ([[folder("a/b")], [Item("a/.wh.b")]], ["/a"], ["/a/b"]),
    ([[folder("a/b"), folder("a/c")], [Item("a/.wh..wh..opq"), folder("a/d")]], ["/a/d"], ["/a/b", "/a/c"]),
    ([[folder("a/b")], [folder("a/d"), Item("a/.wh..wh..opq")]], ["/a/d"], ["/a/b"]),
    ([[folder("a/b/c")], [folder("a/b"), Item("a/.wh.b")]], ["/a/b"], ["/a/b/c"]),
    ([[folder("a/b")], [Item(".wh.a")], [folder("a")]], ["/a"], ["/a/b"]),
    ([[folder("a/b")], [Item("a")]], [], ["/a", "/a/b"]),
    ([[Item("a")], [folder("a/b")]], ["/a/b"], []),
    ([[folder("a/b")], [folder("a")]], ["/a/b"], []),
    ([[folder("a/b")], [link("a", "/c"), folder("c")]], ["/a", "/c"], ["/a/b", "/c/b"]),
    ([[folder("usr/lib"), link("lib", "usr/lib")], [folder("lib/app")]], ["/usr/lib/app", "/lib/app"], []),
    ([[folder("usr/lib/x"), link("lib", "usr/lib")], [Item("lib/.wh.x")]], ["/lib"], ["/usr/lib/x", "/lib/x"]),
    ([[link("a", "b"), link("b", "a")]], [], ["/a", "/b", "/a/x"]),
    ([[folder("a/b"), link("l", "a/../a/./b/..")]], ["/l/b"], []),
    ([[folder("a"), link("a/up", "../../../..")]], ["/a/up/a"], []),
    ([[folder("a"), Item("a/.wh..wh.plnk")]], ["/a"], []),
    ([[link("data", "/mnt/volume"), folder("data/x")]], ["/data/x", "/mnt/volume/x"], []),
    ([[Item("dev/null", tarfile.CHRTYPE), Item("pipe", tarfile.FIFOTYPE), folder("a")]], ["/a", "/dev"], ["/pipe"]),
])
def test_layers_upon_one_another(load: Load, layers: list[list[Item]], there: list[str], gone: list[str]) -> None:
    facts = load(docker(Made(layers=[layer(*items) for items in layers], config={})))
    assert {path: path in facts.folders for path in (*there, *gone)} == {
        path: path in there for path in (*there, *gone)}


def test_the_last_layer_decides_owner_and_mode(load: Load) -> None:
    layers = [layer(folder("a", 1, 2, 0o700)), layer(folder("a", 1000, 1000, 0o2770)), layer(folder("./", 3, 4, 0o711))]
    facts = load(docker(Made(layers=layers, config={})))
    assert owner(facts, "/a") == (1000, 1000, 0o2770)
    assert owner(facts, "/") == (3, 4, 0o711)
    assert facts.owner == (0, 0)


@pytest.mark.parametrize("items", [
    [Item("etc/passwd", content=PASSWD), link("etc/group", "../data/groups"), Item("data/groups", content=GROUP)],
    [Item("etc/passwd-", content=PASSWD), Item("etc/passwd", tarfile.LNKTYPE, target="etc/passwd-"),
     Item("etc/group", content=GROUP)],
    [Item("nix/store/x", content=PASSWD), folder("nix/etc"), link("nix/etc/passwd", "/nix/store/x"),
     link("etc", "nix/etc"), Item("nix/etc/group", content=GROUP)],
    [Item("etc/passwd", content="old:x:1:1::/:\n"), Item("etc/passwd", content=PASSWD),
     Item("etc/group", content=GROUP)],
])
def test_account_files_wherever_links_lead(load: Load, items: list[Item]) -> None:
    for layers in ([layer(*items)], [layer(item) for item in items]):
        facts = load(docker(Made(layers=layers)))
        assert (facts.users["observer"], facts.groups["staff"]) == ((1000, 1001), 50)


@pytest.mark.parametrize(("user", "expected", "unchecked"), [
    ("", (0, 0), False), ("1000", (1000, 1001), False), ("1234", (1234, 0), False), ("1000:50", (1000, 50), False),
    ("observer:staff", (1000, 50), False), ("root", (0, 0), False), ("nobody", (None, None), True),
])
def test_who_runs(load: Load, user: str, expected: tuple[int, int], unchecked: bool) -> None:
    facts = load(docker(Made(config={"User": user})))
    assert facts.owner == expected
    assert [each.about for each in facts.unchecked] == (["user"] if unchecked else [])


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_large_numbers(load: Load, format: int) -> None:
    name = "/".join(["x" * 60] * 10 + ["값"])
    items = [folder(name, 3_000_000, 4_000_000), link("short", name), folder("short/below")]
    facts = load(docker(Made(layers=[layer(*items, format=format)], config={})))
    assert owner(facts, f"/{name}") == (3_000_000, 4_000_000, 0o755)
    assert "/short/below" in facts.folders and f"/{name}/below" in facts.folders


def test_an_image_without_files(load: Load) -> None:
    facts = load(docker(Made(layers=[], config={})))
    assert list(facts.folders) == ["/"] and not facts.users


# --- refusals ---------------------------------------------------------------------------------------


def changed(parts: dict[str, bytes | str], which: bytes, new: bytes) -> dict[str, bytes | str]:
    return {name: new if content == which else content for name, content in parts.items()}


DEEP = b'{"manifests": ' + b"[" * 100_000
BOMB = gzip.compress(bytes(1024**2)) * 80


@pytest.mark.parametrize(("content", "message"), [
    (b"", "holds no image"),
    (b"FROM python:3.11\n" * 100, "is no tar archive"),
    (bytes(10240), "holds no image"),
    (tar({"a": b"b"}), "holds no image"),
    (b"BZh91AY", "is compressed with bzip2"),
    (tar(docker(Made()))[:3000], "ends in the middle"),
    (gzip.compress(tar(docker(Made())))[:-100], "cannot be decompressed"),
    (tar({"manifest.json": b"[{"}), "has manifest.json, which is no JSON"),
    (tar({"manifest.json": b"{}"}), "has a damaged manifest.json"),
    (tar({"manifest.json": b'[{"Config": "x.json"}]'}), "has no x.json"),
    (tar({"index.json": b'{"manifests": [{"digest": "md5:1"}]}'}), "no SHA-256 digest"),
    (tar({"index.json": b"[]"}), "has a damaged index"),
    (tar({"index.json": DEEP}), "which is no JSON"),
    (tar(changed(docker(Made()), APP, BASE)), "with content that does not have its digest"),
    (tar(changed(oci(Made()), APP, BASE)), "does not have its digest"),
    (tar(changed(docker(Made()), Made().document, OTHER.document)), "with content that does not have its digest"),
    (tar(changed(oci(Made()), Made().document, OTHER.document)), "with content that does not have its digest"),
    (tar({name: part for name, part in docker(Made()).items() if part != APP}), "lacks the layer"),
    (tar(docker(Made(layers=[b"x" * 2000], config={}))), "is no tar archive"),
    (tar(docker(Made(layers=[APP[:700]], config={}))), "ends in the middle"),
    (tar(docker(Made(layers=[layer(Item("a/../../b"))], config={}))), "leads out of the image: 'a/../../b'"),
    (tar(docker(Made(layers=[layer(Item("a/.wh..."))], config={}))), "removes a file without a name"),
    (tar(docker(Made(layers=[layer(link("a", "b"), link("b", "a"), Item("a/x"))], config={}))), "lead in a circle"),
    (tar(docker(Made(config={"Env": "x"}))), "has a damaged environment"),
    (tar(docker(Made(config={"ExposedPorts": [1]}))), "has a damaged list of ports"),
    (tar(docker(Made(config={"Cmd": {}, "Entrypoint": {"a": 1}}))), "has a damaged command"),
    (tar({"../manifest.json": b"[]"}), "leads out of the image"),
], ids=lambda value: value[:24] if isinstance(value, str) else "")
def test_refusals_say_what_is_wrong(load: Load, content: bytes, message: str) -> None:
    with pytest.raises(ContractError) as error:
        load(content)
    assert message in str(error.value) and str(error.value).startswith("observer.tar ")
    assert error.value.remedy and error.value.place


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="is not there"):
        load_image(tmp_path / "observer.tar")
    with pytest.raises(ContractError, match="holds no image"):
        load_image(tmp_path)


def test_bombs_are_not_unpacked(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds themselves are smaller here: what goes beyond the real ones takes minutes to make."""
    monkeypatch.setattr(image_streams, "STEEP_FROM", 16 * 1024**2)
    started = time.process_time()
    with pytest.raises(ContractError, match="becomes 200 times its size"):
        load(docker(Made(layers=[BOMB], config={})))
    monkeypatch.setattr(image_streams, "MOST_ENTRIES", 500)
    with pytest.raises(ContractError, match="has more than 500 files and folders"):
        load(docker(Made(layers=[layer(*(Item(f"f{number}") for number in range(501)))], config={})))
    with pytest.raises(ContractError, match="has more than 500 files and folders"):
        load(docker(Made(layers=[layer(Item("a/" * 600 + "b"))], config={})))
    monkeypatch.setattr(image_streams, "MOST_BYTES", 100_000)
    with pytest.raises(ContractError, match="has more than"):
        load(docker(Made(layers=[layer(Item("f", content="x" * 200_000))], config={})))
    assert time.process_time() - started < 2


def test_a_header_that_would_fill_the_memory(load: Load) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 4 * 1024**3
    content = entry.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)
    with pytest.raises(ContractError, match="name or header of more than 1 MiB"):
        load(content)


def test_mutations_never_break_the_reader(tmp_path: Path) -> None:
    samples = [tar(form(Made(pack=pack), OTHER)) for form in (docker, oci) for pack in (bytes, gzip.compress)]
    samples += [gzip.compress(samples[0])]
    # Without its digests a configuration is read whatever it says.
    loose = docker(Made())
    loose["c.json"] = Made().document
    loose["manifest.json"] = json.dumps([{"Config": "c.json", "Layers": [
        name for name in loose if name.endswith("layer.tar")]}]).encode()
    samples += [tar(loose)] * 3
    file = tmp_path / "observer.tar"
    chance = random.Random(5)
    until = time.process_time() + 0.5
    read = 0
    while read < 300 and time.process_time() < until:
        content = bytearray(chance.choice(samples))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(content) or 1)
            kind = chance.random()
            if kind < 0.6 and content:
                content[at] = chance.choice((0, 0xFF, ord("0"), ord("/"), ord("."), ord("{"), chance.randrange(256)))
            elif kind < 0.8:
                del content[at : at + chance.choice((1, 512, 2000))]
            else:
                content[at:at] = content[at : at + chance.choice((1, 512, 2000))]
        file.write_bytes(content)
        try:
            facts = load_image(file, chance.choice(("", "observer")), chance.choice(("", "arm64")))
        except ContractError as error:
            assert error.place and error.remedy
        else:
            assert list(facts.folders)
        read += 1
    assert read > 20
