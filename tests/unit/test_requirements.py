"""Versions that are written in two places are the same in both."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def normalised(name: str) -> str:
    """A package's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bundled(collection: str) -> str:
    """Version of a collection that the installed ``ansible`` package brings, or an empty string."""
    found = importlib.util.find_spec("ansible_collections")
    assert found is not None and found.submodule_search_locations
    for location in found.submodule_search_locations:
        manifest = Path(location, *collection.split("."), "MANIFEST.json")
        if manifest.is_file():
            version: str = json.loads(manifest.read_text())["collection_info"]["version"]
            return version
    return ""


def pins(project: dict[str, Any]) -> dict[str, str]:
    """Packages that pyproject.toml asks for, with the exact version; a requirement that is not exact has none."""
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    split = [requirement.partition("==") for group in groups for requirement in group]
    return {normalised(name): version for name, _, version in split}


def required() -> dict[str, str]:
    """Collections of requirements.yml with their versions."""
    return {one["name"]: one["version"]
            for one in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]}


def test_collections_are_those_of_the_ansible_package() -> None:
    wanted = required()
    assert wanted
    assert wanted == {name: bundled(name) for name in wanted}


def test_every_collection_in_use_is_in_requirements() -> None:
    used = set()
    for folder in ("roles", "playbooks", "molecule", "tests"):
        for path in (ROOT / folder).rglob("*.yml"):
            used |= set(re.findall(r"^\s*(?:- )?(\w+\.\w+)\.\w+:\s*$", path.read_text(), re.MULTILINE))
    assert used - {"ansible.builtin"} <= set(required())


def test_pins_are_exact_and_those_of_the_lock_file() -> None:
    wanted = pins(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    locked = {package["name"]: package["version"]
              for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if "version" in package}
    assert wanted
    assert wanted == {name: locked.get(name, "not locked") for name in wanted}


def test_a_requirement_that_is_not_exact_would_be_seen() -> None:
    assert pins({"project": {"dependencies": ["PyYAML>=6", "types_PyYAML==6.0"]}, "dependency-groups": {}}) == {
        "pyyaml>=6": "", "types-pyyaml": "6.0"}
    assert bundled("no.such_collection") == ""
