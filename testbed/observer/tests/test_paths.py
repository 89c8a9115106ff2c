"""The path contract: seven items, resolved and never created (seed 001 3-1, seed 000 B.1 4)."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from conftest import ROOT, SOURCE, entrypoint

from observer import folders, paths

CONTRACT = {
    "data_dir": ("OBSERVER_DATA_DIR", "/opt/platform/runtime/observer/data"),
    "log_dir": ("OBSERVER_LOG_DIR", "/opt/platform/runtime/observer/logs"),
    "config_dir": ("OBSERVER_CONFIG_DIR", "/opt/platform/runtime/observer/config"),
    "snapshot_dir": ("OBSERVER_SNAPSHOT_DIR", "/opt/platform/runtime/observer/universe"),
    "system_log_dir": ("OBSERVER_SYSTEM_LOG_DIR", "/opt/platform/runtime/observer/logs/system"),
    "maintenance_log_dir": (
        "OBSERVER_MAINTENANCE_LOG_DIR",
        "/opt/platform/runtime/observer/logs/maintenance",
    ),
    "token_cache_dir": ("KIS_TOKEN_CACHE_DIR", "/opt/platform/runtime/observer/data/cache"),
}
# Seed 001, cluster verification, step 4.
STEP_4 = (
    "data/assets/scalp", "data/backup", "data/cache", "data/symbols", "data/universe",
    "logs/scalp", "logs/swing", "logs/system",
)  # fmt: skip


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable, _ in CONTRACT.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("OBSERVER_RUNTIME_ROOT", raising=False)
    return monkeypatch


def test_defaults(bare: pytest.MonkeyPatch) -> None:
    for function, (_, default) in CONTRACT.items():
        assert getattr(paths, function)() == Path(default)


def test_each_variable_decides(bare: pytest.MonkeyPatch) -> None:
    for function, (variable, _) in CONTRACT.items():
        bare.setenv(variable, f"/somewhere/{function}")
        assert getattr(paths, function)() == Path(f"/somewhere/{function}")


def test_folders_below_follow_their_parents(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("OBSERVER_RUNTIME_ROOT", "/r")
    assert paths.config_dir() == Path("/r/config")
    bare.setenv("OBSERVER_LOG_DIR", "/l")
    bare.setenv("OBSERVER_DATA_DIR", "/d")
    assert paths.system_log_dir() == Path("/l/system")
    assert paths.maintenance_log_dir() == Path("/l/maintenance")
    assert paths.token_cache_dir() == Path("/d/cache")
    assert paths.snapshot_dir() == Path("/r/universe")


def test_resolving_and_checking_create_nothing(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forbidden(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the app must not create a folder")

    for owner, name in ((os, "mkdir"), (os, "makedirs"), (Path, "mkdir")):
        bare.setattr(owner, name, forbidden)
    bare.setenv("OBSERVER_RUNTIME_ROOT", str(tmp_path / "nowhere"))
    for function in CONTRACT:
        getattr(paths, function)()
    assert set(folders.problems()) == {folder.name for folder in folders.needed()}
    assert not (tmp_path / "nowhere").exists()


def test_source_never_makes_folders_or_temporary_files() -> None:
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            assert name not in ("mkdir", "makedirs", "mkdtemp", "tempfile"), f"{path.name}: {name}"


def test_entrypoint_lays_out_what_the_app_needs(tree: Path) -> None:
    assert folders.problems() == {}
    for name in STEP_4:
        assert (tree / name).is_dir()


def test_entrypoint_reports_a_missing_volume_and_does_not_make_it(tree: Path, tmp_path: Path) -> None:
    (tree / "logs").rename(tmp_path / "away")
    done = entrypoint("echo", "the app")
    assert done.returncode == 0
    assert "logs is not there" in done.stdout
    assert done.stdout.endswith("the app\n")
    assert not (tree / "logs").exists()
    assert folders.problems()["logs"].startswith(f"logs: {tree / 'logs'} is not a folder")


def test_dockerfile_says_the_same_as_paths(bare: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    for variable, default in CONTRACT.values():
        assert f"{variable}={default} " in text
    for line in ("EXPOSE 8000", "USER 1000", "SERVICE_PORT=8000"):
        assert line in text
