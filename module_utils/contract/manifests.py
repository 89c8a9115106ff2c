"""Loads manifests: a Kustomize overlay, a Helm chart, a folder of plain YAML, or one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .facts import KubeObject, ManifestFacts
from .kustomize import NAMES, common_root, kustomization_file, kustomize_command, load_kustomize
from .model import ContractError, Place
from .plain import CHART, flattened, load_plain


def load_manifests(path: Path, *, root: Path | None = None, kustomize: Sequence[str] = (), helm: Sequence[str] = (),
                   values: Sequence[Path] = (), extra: Sequence[Path] = (),
                   meanwhile: Callable[[], object] = lambda: None) -> ManifestFacts:
    """The objects of a place, as they are rendered, with the lines of their sources.

    :param path: an overlay (a folder with a kustomization), a chart (a folder with ``Chart.yaml``), a folder of YAML
        files, or one of them. A kustomization or ``Chart.yaml`` itself means its folder.
    :param root: the folder that places are relative to and that nothing may lead out of; left out, the top of the git
        repository, else the smallest folder that has all that is read.
    :param kustomize: the command that renders overlays; left out, what ``make tools`` built, kustomize or kubectl.
    :param helm: the command that renders charts; left out, what was built, or helm.
    :param values: values files of a chart, the strongest last.
    :param extra: files and folders of plain YAML that go with it: the SealedSecrets that an overlay does not list. Of
        an object that is rendered too only the rendered one counts.
    :param meanwhile: called while an overlay is rendered, which another process does; not called for anything else.
    :raises ContractError: something is missing, is no YAML, leads out of the tree, or cannot be rendered; it names the
        file and line.
    """
    start = existing(path)
    if start.is_file() and start.name in (*NAMES, CHART):
        start = start.parent
    is_overlay = start.is_dir() and kustomization_file(start) is not None
    is_chart = not is_overlay and (start / CHART).is_file()
    if values and not is_chart:
        raise ContractError(f"{path} is no chart, and only a chart takes values files.",
                            "Leave the values files out, or name a chart.")
    if root is None:
        top = repository(start) or (common_root(start) if is_overlay else start if start.is_dir() else start.parent)
    else:
        top = existing(root)
        if not start.is_relative_to(top):
            raise ContractError(f"{path} is not in {root}.", "Name a root folder that has both.")
    if is_overlay:
        facts = load_kustomize(start, top, kustomize_command(kustomize, os.environ), meanwhile)
    elif is_chart:
        from .helm import helm_command, load_helm

        facts = load_helm(start, top, helm_command(helm, os.environ), values)
    else:
        facts = load_plain(start, top)
        if not facts.objects and not facts.unchecked:
            raise ContractError(f"{path} has no manifests.", "Correct the path.", Place(str(path)))
    objects = flattened(facts.objects)
    unchecked = list(facts.unchecked)
    for more in extra:
        found = load_plain(existing(more), top)
        unchecked += found.unchecked
        objects += [item for item in found.objects if not any(alike(item, other) for other in facts.objects)]
    return replace(facts, objects=tuple(objects), unchecked=tuple(unchecked))


def alike(item: KubeObject, other: KubeObject) -> bool:
    """Whether two objects are one: of the same name, and in the same namespace as far as both say it."""
    return (item.kind, item.name) == (other.kind, other.name) and (
        item.namespace == other.namespace or not item.namespace or not other.namespace)


def existing(path: Path) -> Path:
    """A path that was given by hand, without links in it; raises ContractError when it is not there."""
    try:
        return Path(os.path.realpath(path, strict=True))
    except OSError as error:
        raise ContractError(f"{path} is not there." if isinstance(error, FileNotFoundError)
                            else f"{path} cannot be read: {error.strerror}.", "Correct the path.",
                            Place(str(path))) from None


def repository(path: Path) -> Path | None:
    """The top of the git repository that a path is in."""
    return next((folder for folder in (path, *path.parents) if (folder / ".git").exists()), None)
