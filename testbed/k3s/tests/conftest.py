import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from k3s import options, settings  # noqa: E402


@pytest.fixture
def parse() -> Callable[..., options.Parsed]:
    """Options of a command without the machine's environment."""

    def run(*args: str, command: str = "server", env: dict[str, str] | None = None) -> options.Parsed:
        return options.parse(options.for_command(command), args, env or {})

    return run


@pytest.fixture
def make(tmp_path: Path, parse: Callable[..., options.Parsed]) -> Callable[..., settings.Settings]:
    """Settings of a server below tmp_path with an address."""

    def run(*args: str) -> settings.Settings:
        given = parse("--data-dir", str(tmp_path / "data"), "--node-name", "n1", *args)
        built = settings.build(given, server=True)
        built.node_ips = ["10.0.0.5"]
        built.resolv_conf = "/etc/resolv.conf"
        return built

    return run
