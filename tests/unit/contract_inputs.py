"""Observer's right app, image and manifests in a folder of their own, and what the engine says once they are edited.

The manifests are written again with every value on a line of its own, so that the line of a mistake is known without
the engine. What the project has no file of is made here: the SealedSecrets, and the archive of the built image.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contract.app import load_app
from contract.dockerfile import load_dockerfile
from contract.engine import check
from contract.facts import AppFacts, FieldPath, ImageFacts, ManifestFacts
from contract.image import load_image
from contract.kustomize import kustomize_command
from contract.manifests import load_manifests
from contract.model import ContractError, Finding, Report
from contract.spec import load_contract

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "contracts" / "observer.yml"
SAID: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())
"""The contract as it is written."""
NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
"""Before the contract's waivers end."""
BASE = "manifests/base"
ARCHIVE = "observer.tar"

Body = dict[str, Any]


# --- YAML with a line for each value ----------------------------------------------------------------


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True


def dumped(*documents: Any) -> str:  # noqa: ANN401
    """YAML in block style, every value on a line of its own."""
    return "".join(yaml.dump(document, Dumper=Dumper, default_flow_style=False, sort_keys=False, width=10**6,
                             explicit_start=True) for document in documents)


def line_of(text: str, path: FieldPath, document: int = 0) -> int:
    """The line of the key at a path, or of the item of a list."""
    node = list(yaml.compose_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))[document]
    mark = node.start_mark
    for step in path:
        if isinstance(node, yaml.SequenceNode):
            assert isinstance(step, int)
            node = node.value[step]
            mark = node.start_mark
        else:
            key, node = next(pair for pair in node.value if pair[0].value == str(step))
            mark = key.start_mark
    return int(mark.line) + 1


# --- what is right ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """What is in an image that was built. ``folders`` have uid, gid and mode."""

    environment: Mapping[str, str]
    folders: Mapping[str, tuple[int, int, int]]
    user: str = "1000"
    ports: Sequence[str] = ("8000/tcp",)
    passwd: str = "root:x:0:0:root:/root:/bin/bash\nobserver:x:1000:1000::/nonexistent:/usr/sbin/nologin\n"
    group: str = "root:x:0:\nobserver:x:1000:\n"

    @classmethod
    def right(cls) -> Image:
        paths = SAID["paths"].values()
        return cls(
            {"PATH": "/opt/venv/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "TZ": "Asia/Seoul", "SERVICE_PORT": "8000",
             "OBSERVER_IMAGE_TAG": "build-20260205-142425", "OBSERVER_BUILD_VARIANT": "normal",
             **{one["variable"]: one["path"] for one in paths if not one.get("optional")}},
            {one["path"]: (1000, 1000, 0o755) for one in paths if one.get("image") == "folder"})

    def archive(self) -> bytes:
        """An OCI archive of it."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            parents = {str(parent) for path in (*self.folders, "/etc/passwd") for parent in Path(path).parents}
            owners = {**dict.fromkeys(parents - {"/"}, (0, 0, 0o755)), **self.folders}
            for path, (uid, gid, mode) in sorted(owners.items()):
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.type, entry.uid, entry.gid, entry.mode = tarfile.DIRTYPE, uid, gid, mode
                tar.addfile(entry)
            for path, text in (("etc/passwd", self.passwd), ("etc/group", self.group)):
                entry = tarfile.TarInfo(path)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        blobs: dict[str, bytes] = {}

        def blob(content: bytes, kind: str) -> dict[str, Any]:
            digest = hashlib.sha256(content).hexdigest()
            blobs[f"blobs/sha256/{digest}"] = content
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}",
                    "size": len(content)}

        packed = blob(layer.getvalue(), "layer.v1.tar")
        config = blob(json.dumps({
            "architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [packed["digest"]]},
            "config": {"Env": [f"{name}={value}" for name, value in self.environment.items()], "User": self.user,
                       "ExposedPorts": {port: {} for port in self.ports}, "WorkingDir": "/app",
                       "Cmd": ["python3", "-m", "observer"]},
        }).encode(), "config.v1+json")
        manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                    "config": config, "layers": [packed]}).encode(), "manifest.v1+json")
        blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w") as tar:
            for name, content in blobs.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return whole.getvalue()


@dataclass(frozen=True)
class Tree:
    """All texts of what is right by path, and of the manifests the documents that they are made of."""

    texts: Mapping[str, str]
    documents: Mapping[str, Sequence[Body]]

    def find(self, kind: str, name: str, overlay: str = "production") -> tuple[str, int]:
        """The file and the number of the document of an object."""
        for file, documents in self.documents.items():
            if file.startswith(BASE) or f"/{overlay}/" in file:
                for number, body in enumerate(documents):
                    if (body["kind"], body["metadata"]["name"]) == (kind, name):
                        return file, number
        raise KeyError(f"{kind} {name}")

    def body(self, kind: str, name: str) -> Body:
        file, number = self.find(kind, name)
        return self.documents[file][number]


def sealed(name: str, namespace: str) -> Body:
    """A SealedSecret with the keys that the contract requires."""
    wanted = SAID["secrets"][name]
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {**metadata},
            "spec": {"encryptedData": {key: "AgBsealed" for key in wanted["required"]},
                     "template": {"metadata": {**metadata}, "type": wanted["type"]}}}


def kustomization(overlay: str = "production") -> str:
    """The file that an overlay begins with."""
    return f"manifests/overlays/{overlay}/kustomization.yaml"


@functools.cache
def tree() -> Tree:
    """What is right: the app under `app/`, the manifests under `manifests/`."""
    texts: dict[str, str] = {}
    documents: dict[str, Sequence[Body]] = {}
    for path in sorted((ROOT / "manifests").rglob("*.yaml")):
        name = path.relative_to(ROOT).as_posix()
        if path.name != "kustomization.yaml":
            documents[name] = list(yaml.safe_load_all(path.read_text()))
        texts[name] = path.read_text()
    for overlay, one in SAID["environments"].items():
        for secret in SAID["secrets"]:
            documents[f"manifests/overlays/{overlay}/sealed-secrets/{secret}.yaml"] = [sealed(secret, one["namespace"])]
    texts |= {name: dumped(*bodies) for name, bodies in documents.items()}
    app = ROOT / "testbed" / "observer"
    for path in sorted(app.rglob("*")):
        folders = path.relative_to(app).parts[:-1]
        hidden = any(part.startswith(".") or part in {"__pycache__", "wheels"} for part in folders)
        if path.is_file() and not hidden and path.name != ".gitignore":
            texts[f"app/{path.relative_to(app).as_posix()}"] = path.read_text()
    return Tree(texts, documents)


# --- what the engine says ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """Files that are written otherwise, by path; None: taken away. ``image``: another image was built."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    image: Image | None = None
    overlay: str = "production"


@dataclass
class Checker:
    """A folder with everything that is right; loads again only what an edit concerns."""

    folder: Path
    manifests: dict[str, ManifestFacts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, text in tree().texts.items():
            self.write(name, text)
        (self.folder / ARCHIVE).write_bytes(Image.right().archive())
        self.contract = load_contract(CONTRACT, "contracts/observer.yml")
        self.app: AppFacts = self.load_app()
        self.dockerfile: ImageFacts = self.load_dockerfile()
        self.image: ImageFacts = self.load_image()

    def write(self, name: str, text: str | None) -> None:
        path = self.folder / name
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def load_app(self) -> AppFacts:
        return load_app(self.folder / "app")

    def load_dockerfile(self) -> ImageFacts:
        return load_dockerfile(self.folder / "app", "docker/Dockerfile", {})

    def load_image(self) -> ImageFacts:
        return load_image(self.folder / ARCHIVE, "", "")

    def load_manifests(self, overlay: str) -> ManifestFacts:
        place = self.folder / "manifests" / "overlays" / overlay
        sealed_secrets = place / "sealed-secrets"
        # A process as short as this one has no use for collecting its garbage.
        command = ["env", "GOGC=off", *kustomize_command((), os.environ)]
        return load_manifests(place, root=self.folder, kustomize=command,
                              extra=[sealed_secrets] if any(sealed_secrets.iterdir()) else [])

    def report(self, edit: Edit) -> Report:
        """What the engine says of everything together, with the edit made.

        :raises ContractError: a file cannot be read or rendered.
        """
        if edit.overlay not in self.manifests:
            self.manifests[edit.overlay] = self.load_manifests(edit.overlay)
        app, dockerfile, image, manifests = self.app, self.dockerfile, self.image, self.manifests[edit.overlay]
        try:
            for name, text in edit.files.items():
                self.write(name, text)
            if any(name.startswith("manifests/") for name in edit.files):
                manifests = self.load_manifests(edit.overlay)
            if any(name.startswith("app/docker/") for name in edit.files):
                dockerfile = self.load_dockerfile()
            if any(name.startswith("app/") and not name.startswith("app/docker/") for name in edit.files):
                app = self.load_app()
            if edit.image:
                (self.folder / ARCHIVE).write_bytes(edit.image.archive())
                image = self.load_image()
        finally:
            for name in edit.files:
                self.write(name, tree().texts.get(name))
        return check(self.contract, app=app, images=[dockerfile, image], manifests=manifests, now=NOW)

    def findings(self, edit: Edit) -> list[Finding] | str:
        """The findings that nobody has waived, or why there is no report."""
        try:
            return [one for one in self.report(edit).findings if not one.waiver]
        except ContractError as error:
            return str(error)


def judged(edits: Iterable[Edit], folder: Path) -> list[list[Finding] | str]:
    """What the engine finds of each edit, several at a time."""
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), initializer=begin, initargs=(folder,)) as pool:
        return list(pool.map(judge, edits, chunksize=8))


CHECKERS: list[Checker] = []
"""The one of this process."""


def begin(folder: Path) -> None:
    CHECKERS.append(Checker(Path(tempfile.mkdtemp(dir=folder))))


def judge(edit: Edit) -> list[Finding] | str:
    return CHECKERS[0].findings(edit)
