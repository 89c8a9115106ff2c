"""1. Paths: app, image, ConfigMap and mounts agree on seven folders (seed 001 3-1, fixed contract 1)."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from ..facts import AppFacts
from ..model import Finding, Layer, Place
from ..workloads import PodContainer
from .subject import Subject, declared, finding


def check_paths(subject: Subject) -> Iterator[Finding]:
    """Seven paths in three layers (seed 001 3-1, fixed contract 1)."""
    contract = subject.contract
    for folder in contract.paths.values():
        clause = f"paths.{folder.name}"
        related = [declared(contract, "paths", folder.name, "path")]
        if subject.app:
            yield from path_in_the_app(subject, subject.app, folder.name)
        for image in subject.images:
            given = image.environment.get(folder.variable)
            if given and not same_path(given.value, folder.path):
                yield finding("PATH-04", clause, Layer.IMAGE, given.place, image.source, expected=folder.path,
                              actual=given.value, related=related, variable=folder.variable)
            doubtful = not image.built and any(one.concerns(folder.path) for one in image.unchecked)
            if folder.in_image and folder.path not in image.folders and not doubtful:
                yield finding("PATH-05", clause, Layer.IMAGE, image.source, image.source, expected=folder.path,
                              related=related)
        container = subject.container(contract.app_workload, contract.app.container)
        if container and not folder.optional and not covered(container, folder.path):
            target = next((one for one in contract.app_container.volumes if below(folder.path, one)), folder.path)
            yield finding("PATH-07", clause, Layer.DEPLOYMENT, container.locate("volumeMounts"), container.workload,
                          expected=folder.path, related=related, container=container.name, target=target)


def path_in_the_app(subject: Subject, app: AppFacts, name: str) -> Iterator[Finding]:
    """The app's default of a path and its line in `.env.example`."""
    folder = subject.contract.paths[name]
    clause = f"paths.{name}"
    related = [declared(subject.contract, "paths", name, "path")]
    function = app.paths.get(folder.function) if folder.function else None
    readers = [one for one in app.paths.values() if folder.variable in one.variables]
    chosen = function or next((one for one in readers if one.variables[0] == folder.variable), None)
    if folder.function and not function and (chosen or readers):
        reader = chosen or readers[0]
        yield finding("PATH-08", clause, Layer.APP, reader.place, reader.place.file, expected=folder.path,
                      related=related, name=folder.function)
    elif chosen is None and not folder.optional:
        place = next((read.place for read in app.reads if read.name == folder.variable), None)
        yield finding("PATH-02", clause, Layer.APP, place or source_of_paths(app), "app", expected=folder.path,
                      related=related, variable=folder.variable)
    if chosen is not None:
        if folder.variable not in chosen.variables and chosen.default is not None:
            yield finding("PATH-02", clause, Layer.APP, chosen.place, chosen.place.file, expected=folder.path,
                          related=related, variable=folder.variable)
        if chosen.default is not None and not same_path(chosen.default, folder.path):
            # The line that says it, where a function has several.
            place = next((read.place for read in app.reads if read.name == folder.variable
                          and read.default == chosen.default), chosen.place)
            yield finding("PATH-01", clause, Layer.APP, place, place.file, expected=folder.path,
                          actual=chosen.default, related=related, name=chosen.name)
    example = app.examples.get(folder.variable)
    if example and example.default and not same_path(example.default, folder.path):
        yield finding("PATH-03", clause, Layer.APP, example.place, example.place.file, expected=folder.path,
                      actual=example.default, related=related, variable=folder.variable)


def same_path(one: str, other: str) -> bool:
    return posixpath.normpath(one) == posixpath.normpath(other)


def below(path: str, parent: str) -> bool:
    """Whether a path is a folder or in it."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def covered(container: PodContainer, path: str) -> bool:
    return any(below(path, str(mount.get("mountPath", "")).rstrip("/")) for _, mount in container.mounts
               if mount.get("mountPath") not in (None, "", "/"))


def source_of(app: AppFacts) -> Place:
    """Some place of the app, where nothing more exact can be said."""
    return Place(app.files[0]) if app.files else Place("src")


def source_of_paths(app: AppFacts) -> Place:
    """The file that has most of the functions of paths."""
    files = [one.place.file for one in app.paths.values()]
    return Place(max(sorted(set(files)), key=files.count)) if files else source_of(app)
