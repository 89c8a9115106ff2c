"""Environment: the schema equals the source; mistakes are one clear error (seed 002 5.2)."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import APP_SECRET, GOOD_KEY, PASSWORD, ROOT, SOURCE, Process

from observer import config, observer_runner
from observer.kis_client import KisSettings

SCHEMA = re.compile(r"^([A-Z][A-Z0-9_]*)=(\S*)\s+# (required|optional)(, secret)?: \S.*$")
SECRETS = {"DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET", "KIS_HTS_ID"}
# The ConfigMap's keys (seed 001 1-2) and what the Deployment sets.
DEPLOYED = {
    "LOG_LEVEL", "LOG_FORMAT", "SERVICE_PORT", "DB_HOST", "DB_PORT", "DB_NAME", "OBSERVER_LOG_DIR",
    "OBSERVER_DATA_DIR", "OBSERVER_CONFIG_DIR", "OBSERVER_SYSTEM_LOG_DIR", "OBSERVER_MAINTENANCE_LOG_DIR",
    "OBSERVER_SNAPSHOT_DIR", "KIS_TOKEN_CACHE_DIR", "OBSERVER_STANDALONE", "PYTHONUNBUFFERED",
    "POD_NAME", "POD_NAMESPACE", "TZ",
}  # fmt: skip


def schema() -> dict[str, tuple[str, str, bool]]:
    found = {}
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = SCHEMA.match(line)
            assert match, f"not KEY=default  # required|optional[, secret]: description: {line}"
            found[match[1]] = (match[2], match[3], match[4] is not None)
    return found


def read_by_source() -> dict[str, str | None]:
    """Every os.environ.get("NAME", default); no other way of reading is allowed."""
    found: dict[str, str | None] = {}
    others: list[str] = []
    reads = 0
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get":
                reads += 1
                name, *rest = node.args
                if isinstance(name, ast.Constant):
                    found[str(name.value)] = ast.literal_eval(rest[0]) if rest else None
                else:  # the look at the required names, each of which is read elsewhere, too
                    assert path.name == "config.py"
            elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.getenv", "os.environ"):
                others.append(f"{path.name}:{node.lineno}")
    assert len(others) == reads, f"a variable is read another way: {others}"
    return found


def test_schema_equals_source() -> None:
    assert set(schema()) == set(read_by_source())


def test_schema_has_the_defaults_and_no_secret() -> None:
    defaults = read_by_source()
    for name, (value, need, secret) in schema().items():
        assert secret == (name in SECRETS), name
        assert (need == "required") == (name in observer_runner.REQUIRED), name
        if secret or need == "required":
            assert value == "", name
        elif defaults[name]:
            assert value == defaults[name], name


def test_schema_covers_the_deployment() -> None:
    assert set(schema()) >= DEPLOYED


def test_missing_variables_are_one_error(
    start: Callable[..., Process],
) -> None:
    process = start(wait=False, KIS_APP_KEY=None, KIS_APP_SECRET="", DB_NAME=None)
    assert process.process is not None
    assert process.process.wait(10) == 78
    (line,) = process.logs()
    assert line["level"] == "CRITICAL"
    assert line["message"] == (
        "required environment variables are missing: DB_NAME, KIS_APP_KEY, KIS_APP_SECRET"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_PORT", "http"),
        ("SERVICE_PORT", "0"),
        ("DB_PORT", "tcp://10.43.0.1:5432"),
        ("OBSERVER_COLLECT_RATE", "nan"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("TZ", "Mars/Base"),
        ("OBSERVER_BUILD_VARIANT", "other"),
        ("KIS_API_BASE", "ftp://x"),
    ],
)
def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, tree: Path, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(config.ConfigError, match=name):
        config.load(())


def test_a_relative_path_is_refused(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    monkeypatch.setenv("OBSERVER_DATA_DIR", "data")
    with pytest.raises(config.ConfigError, match="path of data must be absolute"):
        config.load(())


def test_settings_never_show_secrets(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    for name, value in (("DB_PASSWORD", PASSWORD), ("KIS_APP_KEY", GOOD_KEY), ("KIS_APP_SECRET", APP_SECRET)):
        monkeypatch.setenv(name, value)
    settings = config.load(("KIS_APP_KEY",))
    assert isinstance(settings.kis, KisSettings)
    for secret in (PASSWORD, GOOD_KEY, APP_SECRET):
        assert secret in settings.secrets
        assert secret not in repr(settings)


def test_crash_variant(start: Callable[..., Process]) -> None:
    process = start(wait=False, OBSERVER_BUILD_VARIANT="crash")
    assert process.process is not None
    assert process.process.wait(10) == 1
    assert "crash" in process.logs()[-1]["message"]


def test_a_taken_port_is_one_clear_error(start: Callable[..., Process]) -> None:
    first = start()
    second = start(wait=False)
    assert second.process is not None
    second.process.kill()
    second.process.wait(5)
    second.output.unlink()
    second.port = first.port
    second.start()
    assert second.process.wait(10) == 1
    assert any(f"port {first.port} (SERVICE_PORT)" in line["message"] for line in second.logs())


def test_requirements_are_pinned_hashed_and_binary() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE)
    direct = re.findall(r"^([a-z-]+)$", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert {name for name, _ in pins} >= set(direct)
    assert text.count("--hash=sha256:") >= 2 * len(pins) - 2
