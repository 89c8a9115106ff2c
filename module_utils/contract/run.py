"""Loads what was named, checks it and gives the report: what the command, the pytest plugin and the modules share."""

from __future__ import annotations

import datetime
import functools
import gc
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .classes import dataclass
from .facts import AppFacts, ImageFacts, ManifestFacts
from .model import ContractError, Finding, Layer, Place, Report

if TYPE_CHECKING:
    from .spec import Contract

DOCKERFILES = ("docker/Dockerfile", "Dockerfile", "Containerfile")


@dataclass(frozen=True)
class Request:
    """What to check against which contract. Parts that are None or empty are left out.

    ``app`` is a checkout of the app, ``dockerfile`` a file in it (left out, the first of ``DOCKERFILES`` that is there,
    and an empty text for none); ``image`` an archive of the built image; ``manifests`` an overlay, a chart, a folder or
    a file, ``extra`` what is applied beside it; ``repository`` a checkout whose tree and history are looked through.
    ``root`` is the folder that places are relative to.
    """

    contract: Path
    app: Path | None = None
    dockerfile: str | None = None
    build_arguments: Mapping[str, str] = field(default_factory=dict)
    image: Path | None = None
    image_reference: str = ""
    image_platform: str = ""
    manifests: Path | None = None
    extra: Sequence[Path] = ()
    kustomize: Sequence[str] = ()
    helm: Sequence[str] = ()
    values: Sequence[Path] = ()
    repository: Path | None = None
    history: bool = True
    root: Path | None = None


def run(request: Request, now: datetime.datetime | None = None) -> Report:
    """Check everything that a request names.

    :raises ContractError: the contract, or what was to be checked, cannot be read at all.
    """
    if not (request.app or request.image or request.manifests or request.repository):
        raise ContractError("There is nothing to check.", "Name an app, an image, manifests or a repository.")
    if (request.extra or request.values) and not request.manifests:
        raise ContractError("There are manifests beside others (or values of a chart), and no manifests.",
                            "Name the manifests, too.")
    rest = functools.cache(lambda: loaded(request))
    with uncollected():
        # Rendering is another process: while it works, the rest is imported and read.
        manifests = rendered(request, rest) if request.manifests else None
        return compared(request, rest(), manifests, now or datetime.datetime.now(datetime.UTC))


@dataclass(frozen=True)
class Rest:
    """The contract, and what a request names besides manifests."""

    contract: Contract
    places: Sequence[tuple[str, str]]
    app: AppFacts | None
    images: Sequence[ImageFacts]
    more: Sequence[Finding]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the search for cycles: what is loaded has none that matter, and to search all of it again and again takes
    several times as long as to load it."""
    collector = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collector:
            gc.enable()


def rendered(request: Request, meanwhile: Callable[[], object]) -> ManifestFacts:
    """The manifests that a request names; ``meanwhile`` is called while another process renders them."""
    from .manifests import load_manifests

    assert request.manifests is not None
    return load_manifests(request.manifests, root=request.root, kustomize=request.kustomize, helm=request.helm,
                          values=request.values, extra=request.extra, meanwhile=meanwhile)


def loaded(request: Request) -> Rest:
    """Load the contract and what a request names besides manifests, and import what compares it; raises as ``run``."""
    from . import engine  # noqa: F401
    from .spec import load_contract

    contract = load_contract(request.contract, shown(request.contract))
    places: list[tuple[str, str]] = []
    app: AppFacts | None = None
    images: list[ImageFacts] = []
    more: list[Finding] = []
    if request.manifests:
        places.append(("manifests", shown(request.manifests)))
    if request.app:
        from .app import load_app

        places.append(("app", shown(request.app)))
        app = load_app(folder(request.app))
        if dockerfile := dockerfile_of(request):
            from .dockerfile import load_dockerfile

            places.append(("dockerfile", dockerfile))
            images.append(load_dockerfile(request.app, dockerfile, request.build_arguments))
    if request.image:
        from .image import load_image

        places.append(("image", shown(request.image)))
        images.append(load_image(request.image, request.image_reference, request.image_platform))
    if request.repository:
        from .checks import finding
        from .hygiene import check_repository

        places.append(("repository", shown(request.repository)))
        found, unchecked = check_repository(folder(request.repository), contract, history=request.history)
        more += found
        more += [finding("CHECK-01", "check.repository", Layer.CONFIG, one.place, one.about or one.place.file,
                         actual="not looked at", expected="looked at", reason=one.reason) for one in unchecked]
    return Rest(contract, places, app, images, more)


def compared(request: Request, rest: Rest, manifests: ManifestFacts | None, now: datetime.datetime) -> Report:
    """What the engine says of all of it."""
    from .engine import check

    report = check(rest.contract, app=rest.app, images=rest.images, manifests=manifests, more=rest.more,
                   places=rest.places, now=now)
    if rest.app and request.app and request.root:
        files = {*rest.app.files, *(image.source.file for image in rest.images if not image.built)}
        files |= {one.file for one in (rest.app.example_file,) if one}
        return below(report, os.path.relpath(request.app, request.root), files)
    return report


def below(report: Report, prefix: str, files: set[str]) -> Report:
    """The report with places of the app named from a folder above it."""
    def moved(place: Place) -> Place:
        return replace(place, file=posixpath.normpath(f"{prefix}/{place.file}")) if place.file in files else place

    return replace(report, findings=tuple(replace(
        one, place=one.place and moved(one.place),
        related=tuple(replace(related, place=moved(related.place)) for related in one.related),
    ) for one in report.findings))


def dockerfile_of(request: Request) -> str:
    """The Dockerfile of an app, relative to it; empty when there is none and none was asked for."""
    assert request.app is not None
    if request.dockerfile is not None:
        return request.dockerfile
    return next((name for name in DOCKERFILES if (request.app / name).is_file()), "")


def folder(path: Path) -> Path:
    """:raises ContractError: it is no folder."""
    if not path.is_dir():
        raise ContractError(f"{shown(path)} is no folder.", "Name the checkout.", Place(shown(path)))
    return path


def shown(path: Path) -> str:
    """A path as somebody here would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def broken(report: Report, clause: str) -> Iterator[Finding]:
    """The findings of a clause that nobody has waived."""
    return (one for one in report.findings if one.clause == clause and not one.waiver)
