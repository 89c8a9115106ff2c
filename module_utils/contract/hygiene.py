"""A deploy repository: no secret in git, documents that name the contract's paths, images with a tag, sealed files that
open (seed 001 CF-3 and CF-6, seed 000 4.2).

Looked at is what git has: the index and the working copy of every tracked file, and every blob of the history that is
not among them. Ignored files are nobody's business. A secret in a file that is neither tracked nor ignored is told of
as drift: `git add` takes it. Nothing that is read is executed, and no link is followed.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import os
import posixpath
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from .checks.images import full_name, split_image
from .checks.subject import declared, finding
from .classes import dataclass
from .documents import LARGEST_FILE, Document
from .facts import FieldPath, Unchecked
from .hygiene_git import Git, Late, Unreadable, opened
from .hygiene_secrets import (
    MARK,
    SECRET,
    TEMPLATE,
    VALUES,
    Keys,
    Leak,
    generated_from,
    leaks,
    list_of,
    mappings_in,
    parsed,
    pieces,
    sort_of,
    strings,
    text_of,
)
from .model import Finding, Kind, Layer, Place, Severity
from .spec import Contract

DOCUMENTS = ("**/*.md", "**/*.txt", "**/*.rst")
LARGEST_BLOB = 1024**2
"""Bytes of a file of the history that is read: etcd takes no larger object."""
MOST_FILES = 100_000
"""Files of a folder without git, and blobs of a history, that are looked at."""
MOST_KEYS = 12
"""Names of keys in a finding."""

NO_TEXT = re.compile(
    r"\.(png|jpe?g|gif|webp|ico|pdf|zip|gz|tgz|xz|bz2|zst|7z|tar|rpm|deb|jar|whl|so|o|a|pyc|class|exe|dll|bin|iso|img"
    r"|woff2?|ttf|otf|eot|mp[34]|mov|avi|wav|sqlite3?|parquet|pack|idx)$", re.IGNORECASE)
YAML_FILE = re.compile(r"\.ya?ml$", re.IGNORECASE)
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
IMAGE_HINTS = re.compile(r"image|latest", re.IGNORECASE)
LATEST_LINE = re.compile(r"^[ \t-]*[\"']?image[\"']?[ \t]*:[ \t]*[\"']?([^\s\"'#]+:latest)[\"']?[ \t]*(?:#.*)?$",
                         re.MULTILINE)
SEALED_LINE = re.compile(r"\bSealedSecret\b")
GUIDE = re.compile(r"create secret generic\s+(?:\\\n\s*)?([a-z0-9][a-z0-9.-]*)(?:[^\n\\]|\\(?!\n)|\\\n)*")
"""A command of kubectl, with the lines that it is continued on."""
CLUSTER_WIDE = "sealedsecrets.bitnami.com/cluster-wide"
NAMESPACE_WIDE = "sealedsecrets.bitnami.com/namespace-wide"

SYSTEM = ("/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/dev", "/proc", "/sys", "/boot", "/run", "/tmp",
          "/home", "/root", "/Users", "/snap", "/var/lib", "/var/run", "/var/cache", "/var/spool", "/var/tmp", "/api",
          "/apis")
"""What the system, a person or the cluster's API has there is no app's."""
LONGEST_PATH, DEEPEST_PATH = 1000, 40
LINKS = re.compile(r"\b\w+://[^\s)>\"'`]*|\]\([^)\s]*|^\s*\[[^\]]+\]:\s*\S+|\b(?:href|src)\s*=\s*[\"'][^\"']*")
# ASCII alone: in "/app/logs에" the path ends before the particle, and in "로그/data" the slash means "or".
NAMED_PATH = re.compile(r"(?<![\w./~$})\]>\\%@+-])(?<!\b[A-Z]:)/(?=[A-Za-z0-9_.@{])"
                        r"(?:[A-Za-z0-9_.@+%~*/-]|\{[A-Za-z0-9_.,-]*\})+")
METHOD = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)\b[\s`'\"*]*$")
ROUTE_WORDS = re.compile(r"endpoint|route|\bAPI\b|\bURL\b|엔드포인트|라우트", re.IGNORECASE)


def check_repository(
    root: Path, contract: Contract, *, history: bool = True, documents: Sequence[str] = DOCUMENTS,
    limit_seconds: float = 60,
) -> tuple[list[Finding], list[Unchecked]]:
    """Look at a checkout of a deploy repository, or at a folder that is none (then every file counts).

    :param history: look at all commits of all refs too.
    :param documents: patterns of the documents whose paths are compared; the contract's own win over the default.
    :param limit_seconds: what is left after them is an Unchecked.
    :returns: findings by place, and what could not be looked at: with git's own remedy where it refuses.
    """
    ends = time.monotonic() + limit_seconds
    patterns = contract.documents if contract.documents and tuple(documents) == DOCUMENTS else documents
    look = Look(root, contract, ends, tuple(map(glob, patterns)))
    git: Git | None = None
    try:
        git = opened(root, ends)
        if git:
            look.checkout(git)
        else:
            look.folder()
        if history and not git:
            look.miss(".", "there is no checkout of a git repository here, so no history was looked at", "history")
    except Unreadable as error:
        look.miss(".", refusal(error, root, limit_seconds))
    else:
        if history and git:
            try:
                look.history(git)
            except Unreadable as error:
                look.miss(".", f"history: {refusal(error, root, limit_seconds)}", "history")
    return look.result()


def refusal(error: Unreadable, root: Path, limit: float) -> str:
    """Why git could not be read, with what to do."""
    if isinstance(error, Late):
        return f"not all was looked at in {limit:g} s: give it more time"
    if "dubious ownership" in str(error):
        named = re.search(r"repository at '(.+)'", str(error))
        return (f"the checkout belongs to another user, and git refuses to read it: run `git config --global --add "
                f"safe.directory {shown(named[1]) if named else root.resolve()}`")
    return f"git cannot read the repository: {shown(str(error))[:300]}"


def shown(text: str) -> str:
    """A name from the repository as it may stand in a report: no line breaks, control characters or broken bytes."""
    if text.isprintable():
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def glob(pattern: str) -> re.Pattern[str]:
    """A pattern of paths: `**/` is any folders or none, `*` stays in one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts), re.DOTALL)


@dataclass(frozen=True)
class Image:
    """A use of an image without a tag that says what it is. ``explicit``: `latest` is written there."""

    place: Place
    image: str
    explicit: bool


@dataclass
class Look:
    """One look at a repository, until the clock (monotonic) is ``ends``: what was found so far."""

    root: Path
    contract: Contract
    ends: float
    patterns: Sequence[re.Pattern[str]]
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    tagged: set[str] = field(default_factory=set)
    """Images that a kustomization gives a tag."""
    generators: set[str] = field(default_factory=set)
    """Env files that a kustomization makes Secrets of."""
    names: set[str] = field(default_factory=set)
    linked: dict[str, bool] = field(default_factory=dict)
    """Folders, and whether a link is on the way to them."""
    known: set[str] = field(default_factory=set)
    """Ids of blobs that were looked at in the tree."""

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.contract)

    @cached_property
    def paths(self) -> Paths:
        folders = {folder for name in {posixpath.dirname(name) + "/x" for name in self.names}
                   for folder in parents(name)}
        return paths_of(self.contract, frozenset(self.names | folders))

    @cached_property
    def examples(self) -> Sequence[re.Pattern[str]]:
        return tuple(map(glob, self.contract.examples))

    def miss(self, file: str, reason: str, about: str = "", line: int = 0) -> None:
        self.unchecked.append(Unchecked(Place(shown(file), line), reason, about))

    def late(self) -> None:
        if time.monotonic() > self.ends:
            raise Late("out of time")

    def result(self) -> tuple[list[Finding], list[Unchecked]]:
        once = {(one.code, one.place, one.subject, one.expected, one.actual, one.values.get("keys")): one
                for one in reversed([*self.findings, *self.images_found()])}
        return sorted(once.values(), key=lambda one: (one.place or Place(""), one.code, one.actual)), self.unchecked

    # --- the tree -----------------------------------------------------------------------------------

    def checkout(self, git: Git) -> None:
        """Every tracked file, as it is in the working copy and as it is in the index where they differ."""
        tracked = git.tracked()
        self.names = set(tracked)
        staged: dict[str, list[str]] = {}
        told: dict[str, set[Leak]] = {}
        for name, oids in tracked.items():
            self.late()
            self.known |= set(oids)
            content = self.content(name)
            if content is not None:
                told[name] = self.file(name, content)
            own = blob_id(content, len(oids[0])) if content is not None else ""
            for oid in oids if not NO_TEXT.search(name) else ():
                if oid != own:
                    staged.setdefault(oid, []).append(name)
        for oid, content in git.contents(staged, LARGEST_FILE):
            for name in staged[oid]:
                self.late()
                if name in told:
                    self.secrets(name, text_of(content), but=told[name])
                else:
                    self.file(name, content)
        self.env_files()
        for name in git.untracked():
            self.late()
            if (content := self.content(name)) is not None:
                self.secrets(name, text_of(content), tracked=False)

    def folder(self) -> None:
        """Every file of a folder that is no checkout."""
        files = self.walk()
        self.names = set(files)
        for name in files:
            self.late()
            if (content := self.content(name)) is not None:
                self.file(name, content)
        self.env_files()

    def env_files(self) -> None:
        """Env files of which Secrets are made: all that they hold is secret, and not only what the contract names."""
        for name in sorted(self.generators & self.names):
            self.findings = [one for one in self.findings if (one.subject, one.code) != (shown(name), SECRET)]
            self.secrets(name, text_of(self.content(name) or b""), whole_env=True)

    def walk(self) -> list[str]:
        found: list[str] = []

        def closed(error: OSError) -> None:
            self.miss(os.path.relpath(error.filename, self.root), "it cannot be read: correct its mode")

        for folder, folders, files in os.walk(self.root, onerror=closed):
            self.late()
            folders[:] = sorted(set(folders) - {".git"})
            here = os.path.relpath(folder, self.root)
            found += [posixpath.normpath(posixpath.join(here, name)) for name in sorted(files)]
            if len(found) > MOST_FILES:
                self.miss(".", f"there are more than {MOST_FILES:,} files: the others were not looked at")
                return found[:MOST_FILES]
        return found

    def content(self, name: str) -> bytes | None:
        """A file's content; None where there is none to look at: no file, a link or behind one, no text."""
        if NO_TEXT.search(name) or name.startswith("/") or {"..", ".git"} & set(name.split("/")):
            return None
        folder = posixpath.dirname(name)
        if folder not in self.linked:
            self.linked[folder] = any((self.root / one).is_symlink() for one in [folder, *parents(folder)] if one)
        if self.linked[folder]:
            return None
        try:
            handle = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            if isinstance(error, PermissionError):
                self.miss(name, "it cannot be read: correct its mode")
            return None
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            return None
        with os.fdopen(handle, "rb") as file:
            if found.st_size <= LARGEST_FILE:
                return file.read(LARGEST_FILE)
            text = sort_of(name) != "text" or any(pattern.fullmatch(name) for pattern in self.patterns)
            if text and b"\0" not in file.read(8192):
                self.miss(name, f"it has {found.st_size / 1024**2:.0f} MiB; at most {LARGEST_FILE // 1024**2} MiB are "
                                "read")
            return None

    def file(self, name: str, content: bytes) -> set[Leak]:
        """Everything that there is to say of a file; returns its secrets."""
        text = text_of(content)
        found = self.secrets(name, text)
        if text is None or any(pattern.fullmatch(name) for pattern in self.examples):
            return found
        if any(pattern.fullmatch(name) for pattern in self.patterns):
            self.documents(name, text)
        if YAML_FILE.search(name) or posixpath.basename(name) in KUSTOMIZATIONS:
            self.objects(name, text)
        return found

    # --- secrets ------------------------------------------------------------------------------------

    def secrets(
        self, name: str, text: str | None, tracked: bool = True, whole_env: bool = False, but: Iterable[Leak] = ()
    ) -> set[Leak]:
        """The secrets of a file's text, without their lines, but for those that were told of before."""
        told, subject = set(but), shown(name)
        for leak in leaks(text, name, self.keys, whole_env) if text else ():
            if replace(leak, line=0) in but:
                continue
            told.add(replace(leak, line=0))
            about: dict[str, Any] = {"actual": leak.what, "expected": "not in git"}
            if leak.code == SECRET:
                about |= {"expected": "SealedSecret", "keys": some(leak.keys)}
            if not tracked:
                about |= {"expected": "ignored", "actual": f"{leak.what} (not ignored)", "severity": Severity.LOW,
                          "kind": Kind.DRIFT}
            related = [declared(self.contract, "secrets", leak.name)] if leak.name in self.contract.secrets else []
            self.findings.append(finding(leak.code, "repository.secrets", Layer.CONFIG, Place(subject, leak.line),
                                         subject, related=related, **about))
        return told

    # --- history ------------------------------------------------------------------------------------

    def history(self, git: Git) -> None:
        """Every blob that is in some commit, and no longer in the tree."""
        if git.shallow:
            self.miss(".", "the clone is shallow, so its history ends early: run `git fetch --unshallow`", "history")
        wanted: dict[str, str] = {}
        large, absent, more = [], 0, 0
        for oid, size, name in git.blobs():
            if not oid:
                absent += 1
            elif oid in self.known or NO_TEXT.search(name):
                continue
            elif size > LARGEST_BLOB:
                large += [name] if sort_of(name) != "text" else []
            elif len(wanted) < MOST_FILES:
                wanted[oid] = name
            else:
                more += 1
        if absent:
            self.miss(".", f"{absent} files of the history are not here (a partial clone): clone it whole", "history")
        if more:
            self.miss(".", f"the history has more than {MOST_FILES:,} files: {more} were not looked at", "history")
        if large:
            self.miss(large[0], f"the history has {len(large)} files of more than {LARGEST_BLOB // 1024**2} MiB, which "
                                "were not looked at: this one among them", "history")
        self.held(git, wanted)

    def held(self, git: Git, wanted: Mapping[str, str]) -> None:
        """The secrets among blobs, one finding for each path and sort of secret."""
        held: dict[tuple[str, str], list[tuple[str, Leak]]] = {}
        looked = 0
        with contextlib.suppress(Late):
            for oid, content in git.contents(wanted, LARGEST_BLOB):
                self.late()
                looked += 1
                text = text_of(content)
                for leak in leaks(text, wanted[oid], self.keys) if text else ():
                    held.setdefault((wanted[oid], leak.what), []).append((oid, leak))
        if looked < len(wanted):
            self.miss(".", f"{len(wanted) - looked} of {len(wanted)} files of the history were not looked at for lack "
                           "of time: give it more", "history")
        if not held:
            return
        # Finding the commit is worth some seconds beyond the limit: without it nobody can look.
        commits = Git(git.root, max(git.ends, time.monotonic() + 5)).first_commits(
            {oid for versions in held.values() for oid, _ in versions})
        order = {oid: number for number, oid in enumerate(commits)}
        for (name, what), versions in held.items():
            first = min((oid for oid, _ in versions), key=lambda oid: order.get(oid, len(order)))
            keys = sorted({key for _, leak in versions for key in leak.keys})
            subject = shown(name)
            self.findings.append(finding(
                "REPO-03", "repository.history", Layer.CONFIG, Place(subject), subject, expected="none",
                actual=f"{what} with {some(keys)}" if keys else what, commit=commits.get(first, "(not found in time)"),
                versions=len({oid for oid, _ in versions})))

    # --- documents ----------------------------------------------------------------------------------

    def documents(self, name: str, text: str) -> None:
        for number, line in enumerate(text.split("\n"), 1):
            if number % 1000 == 0:
                self.late()
            wrong = self.paths.wrong_in(line) if "/" in line else {}
            if wrong:
                expected = list(dict.fromkeys(itertools.chain.from_iterable(wrong.values())))
                own = [one.name for one in self.contract.paths.values() if one.path in expected]
                self.findings.append(finding(
                    "REPO-04", "repository.documents", Layer.DEPLOYMENT, Place(shown(name), number), shown(name),
                    expected=expected, actual=list(wrong),
                    related=[declared(self.contract, "paths", one) for one in own[:4]]))

        self.guides(name, text)

    def guides(self, name: str, text: str) -> None:
        """CF-2: a document that tells how to make a Secret, without keys that it has to have."""
        for match in GUIDE.finditer(text):
            secret = self.contract.secrets.get(match[1])
            words = match[0].replace("\\\n", " ")
            keys = set(re.findall(r"--from-literal[= ]['\"]?([\w.-]+)=", words))
            if secret is None or not keys or "--from-env-file" in words or "--from-file" in words:
                continue
            missing = [key for key in secret.required if key not in keys]
            if missing:
                line = text.count("\n", 0, match.start()) + 1
                self.findings.append(finding(
                    "REPO-07", "repository.documents", Layer.CONFIG, Place(shown(name), line), shown(name),
                    expected=missing, actual=sorted(keys), secret=secret.name,
                    related=[declared(self.contract, "secrets", secret.name, "required")]))

    # --- objects ------------------------------------------------------------------------------------

    def objects(self, name: str, text: str) -> None:
        """Images and sealed files."""
        base = posixpath.basename(name)
        for before, piece in pieces(text):
            if not (IMAGE_HINTS.search(piece) or SEALED_LINE.search(piece) or "secretGenerator" in piece):
                continue
            documents = parsed(piece)
            if documents is None:
                self.images += [Image(Place(shown(name), before + piece.count("\n", 0, match.start(1)) + 1), match[1],
                                      True) for match in LATEST_LINE.finditer(piece)]
                if SEALED_LINE.search(piece) and MARK not in piece and not TEMPLATE.search(piece):
                    self.miss(name, "its SealedSecret cannot be read: it is not YAML", line=before + 1)
                continue
            for document in documents:
                if isinstance(document.body, Mapping):
                    self.document(name, base, document, before)

    def document(self, name: str, base: str, document: Document, before: int) -> None:
        body = document.body

        def place(path: FieldPath) -> Place:
            return Place(shown(name), document.line(path) + before)

        if base in KUSTOMIZATIONS or body.get("kind") in ("Kustomization", "Component"):
            folder = posixpath.dirname(name)
            self.generators |= {posixpath.normpath(posixpath.join(folder, one)) for one in generated_from(document)}
            for number, entry in enumerate(list_of(body.get("images"))):
                pinned = entry.get("digest") or str(entry.get("newTag") or "latest") != "latest"
                if pinned:
                    self.tagged.add(full_name(str(entry.get("name"))))
                elif entry.get("newTag"):
                    self.images.append(Image(place(("images", number, "newTag")),
                                             f"{entry.get('newName') or entry.get('name')}:latest", True))
            patches: list[tuple[FieldPath, str]] = [
                (("patches", number), str(one.get("patch"))) for number, one in enumerate(list_of(body.get("patches")))]
            patches += [(("patchesStrategicMerge", number), one)
                        for number, one in enumerate(strings(body.get("patchesStrategicMerge")))]
            self.images += [Image(place(path), match[1], True)
                            for path, patch in patches for match in LATEST_LINE.finditer(patch)]
            return
        for path, mapping in mappings_in(body):
            kind = mapping.get("kind")
            if kind == "SealedSecret":
                self.sealed(shown(name), mapping, path, place)
            for key, image, explicit in images_in(mapping, path, bool(body.get("kind") and body.get("apiVersion")),
                                                  bool(VALUES.match(base))):
                self.images.append(Image(place((*path, key)), image, explicit))

    def images_found(self) -> Iterator[Finding]:
        wanted = {full_name(container.image): (workload.name, container)
                  for workload, container in self.contract.containers()}
        for one in self.images:
            name = full_name(split_image(one.image)[0])
            replaced = name in self.tagged
            if replaced and not one.explicit:
                continue
            workload, container = wanted.get(name, ("", None))
            yield finding(
                "REPO-05", "repository.images", Layer.DEPLOYMENT, one.place, one.place.file,
                expected=" | ".join(container.tags) if container and container.tags else "a tag", actual=one.image,
                severity=Severity.LOW if replaced else None,
                related=[declared(self.contract, "workloads", workload, "containers", container.name, "tags")]
                if container else [])

    def sealed(
        self, name: str, body: Mapping[Any, Any], path: FieldPath, place: Callable[[FieldPath], Place]
    ) -> None:
        """What is sealed opens under one name in one namespace, unless an annotation widens that."""
        metadata, template = mapped(body.get("metadata")), mapped(mapped(mapped(body.get("spec")).get("template")).get(
            "metadata"))
        annotations = {key for key, value in mapped(metadata.get("annotations")).items() if str(value) == "true"}
        own, namespace = metadata.get("name"), metadata.get("namespace")
        if CLUSTER_WIDE in annotations:
            return
        bound = ("namespace",) if NAMESPACE_WIDE in annotations else ("name", "namespace")
        for key in bound:
            inner, outer = template.get(key), metadata.get(key)
            if inner is not None and outer is not None and inner != outer and MARK not in f"{inner}{outer}":
                self.findings.append(finding(
                    "REPO-06", "repository.sealed", Layer.CONFIG,
                    place((*path, "spec", "template", "metadata", key)), name,
                    expected=f"{key} {outer}", actual=f"{key} {inner} (template)"))
        spaces = sorted({one.namespace for one in self.contract.environments.values()})
        # A name that is not the contract's opens all the same: nobody takes it, or it is another app's.
        if own not in self.contract.secrets or namespace is None or namespace in spaces or not spaces \
                or MARK in f"{own}{namespace}":
            return
        self.findings.append(finding(
            "REPO-06", "repository.sealed", Layer.CONFIG, place((*path, "metadata", "namespace")), name,
            expected="namespace " + " or ".join(spaces), actual=f"{namespace}/{own}",
            related=[declared(self.contract, "secrets", str(own))]))


def images_in(
    mapping: Mapping[Any, Any], path: FieldPath, manifest: bool, values: bool
) -> Iterator[tuple[str, str, bool]]:
    """Images of a mapping that are `latest`, or have no tag where a container is: the key, the image, and whether
    `latest` is written."""
    image = mapping.get("image")
    if isinstance(image, str) and (manifest or values) and not re.search(r"\s", image):
        _, tag, digest = split_image(image)
        container = manifest and any(str(step).lower().endswith("containers") for step in path[-2:])
        if not digest and (tag == "latest" or (container and image and not tag and not TEMPLATE.search(image))):
            yield "image", image, tag == "latest"
    for key in ("tag", "imageTag", "newTag") if values else ():
        if mapping.get(key) == "latest" and not mapping.get("digest"):
            name = mapping.get("repository") or mapping.get("image") or mapping.get("name") or "image"
            yield key, f"{name if isinstance(name, str) else 'image'}:latest", True


def mapped(value: Any) -> Mapping[Any, Any]:  # noqa: ANN401
    return value if isinstance(value, Mapping) else {}


def some(keys: Iterable[str]) -> str:
    """Names of keys, not too many."""
    names = [shown(key) for key in keys]
    return ", ".join(names[:MOST_KEYS]) + (f" and {len(names) - MOST_KEYS} more" if len(names) > MOST_KEYS else "")


def blob_id(content: bytes, length: int) -> str:
    """The id that git gives a file with this content: SHA-1, or SHA-256 in a repository of such."""
    make = hashlib.sha1 if length == 40 else hashlib.sha256
    return make(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# --- paths ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paths:
    """What a contract says of paths.

    ``root`` is the folder that its own are in, empty when they have none in common; ``exact`` are paths as they are
    written, and their parents; below those of ``covered`` everything is right; ``leaves`` are the paths by their last
    part; ``here`` are files and folders of the repository.
    """

    root: str
    exact: frozenset[str]
    covered: Sequence[str]
    leaves: Mapping[str, Sequence[str]]
    allowed: Sequence[str]
    routes: frozenset[str]
    here: frozenset[str]

    def wrong_in(self, line: str) -> dict[str, Sequence[str]]:
        """Paths of a document's line that are none of the contract's, with the ones that are meant."""
        line = LINKS.sub(lambda match: " " * len(match[0]), line)
        of_routes = ROUTE_WORDS.search(line) is not None
        found: dict[str, Sequence[str]] = {}
        seen: set[str] = set()
        for match in NAMED_PATH.finditer(line):
            before = line[max(0, match.start() - 40):match.start()]
            # A glob such as **/logs is no absolute path; **/app/logs** is one in bold letters.
            if METHOD.search(before) or (before.endswith("*") and not match[0].endswith("*")):
                continue
            for path in spelled_out(match[0]) if match[0] not in seen else ():
                if path in seen or path[1:] in self.here or path in self.routes or (
                        of_routes and path.count("/") == 1):
                    continue
                seen.add(path)
                if meant := self.meant_by(path):
                    found[path] = meant
            seen.add(match[0])
        return found

    def meant_by(self, path: str) -> Sequence[str]:
        """The contract's paths that a path should be; empty when it is right, or none of the contract's business.

        It counts when it is below the root and unknown, or when it, or a folder on its way, has the last part of one of
        the contract's paths elsewhere.
        """
        if self.right(path):
            return ()
        if self.root and below(path, self.root):
            children = sorted(one for one in self.exact if below(one, self.root))
            return difflib.get_close_matches(path, children, 1) or [self.root]
        if of_the_system(path):
            return ()
        parts = path.split("/")
        for count in range(2, len(parts) + 1):
            prefix = "/".join(parts[:count])
            if parts[count - 1] in self.leaves and not self.right(prefix) and prefix[1:] not in self.here:
                return self.leaves[parts[count - 1]]
        return ()

    def right(self, path: str) -> bool:
        return path in self.exact or any(below(path, one) for one in self.covered) or any(
            fnmatchcase(one, pattern) for pattern in self.allowed
            for one in (path, *parents(path)))


def paths_of(contract: Contract, here: frozenset[str]) -> Paths:
    own = [folder.path.rstrip("/") for folder in contract.paths.values()]
    mounts = [target.rstrip("/") for _, container in contract.containers() for target in container.volumes]
    hosts = [str(one.params["path"]).rstrip("/") for one in contract.resources.values()
             if one.type == "hostPath" and "path" in one.params]
    node = [str(path).rstrip("/") for path in [*contract.node.get("folders", ()),
                                               contract.node.get("disk", {}).get("path") or ""]]
    everything = [path for path in dict.fromkeys([*own, *mounts, *hosts, *node]) if path]
    root = posixpath.commonpath(own) if len(own) > 1 else posixpath.dirname("".join(own))
    root = "" if root.count("/") < 2 and root not in own else root
    leaves: dict[str, list[str]] = {}
    for path in dict.fromkeys([*own, *mounts, *hosts]):
        if path and path != root and (path in own or not of_the_system(path)):
            leaves.setdefault(posixpath.basename(path), []).append(path)
    return Paths(root, frozenset(itertools.chain(everything, *map(parents, everything))),
                 [path for path in everything if path != root or path in mounts], leaves, contract.document_paths,
                 frozenset(contract.app.routes), here)


def parents(path: str) -> Iterator[str]:
    """The folders that a path is in, up to the top, which is left out."""
    while (path := posixpath.dirname(path)) not in ("", "/"):
        yield path


def of_the_system(path: str) -> bool:
    return any(path == one or below(path, one) for one in SYSTEM)


def below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def spelled_out(text: str) -> Iterator[str]:
    """The paths that a mention stands for: `/x/{a,b}` are two. They end where a part is unknown: `*`, `{name}`, `...`.
    """
    if len(text) > LONGEST_PATH or text.count("/") > DEEPEST_PATH:
        return
    expanded = [""]
    for part in re.split(r"(\{[^{}]*,[^{}]*\})", text)[:9]:
        choices = part[1:-1].split(",")[:20] if part.startswith("{") and "," in part else [part]
        expanded = [one + choice for one in expanded for choice in choices][:100]
    for one in expanded:
        parts = []
        for part in one.split("/"):
            part = part.rstrip("*") if part.strip("*") else part
            if re.search(r"[*{}%]", part) or set(part) == {"."}:
                break
            parts.append(part)
        path = posixpath.normpath("/" + "/".join(filter(None, parts)).rstrip(".,:;"))
        if path != "/":
            yield path
