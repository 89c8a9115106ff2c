"""Where QTS keeps what must not be lost. Folders are there, or it does not start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

STATE: Final = Path("/srv", "qts")
SETTINGS: Final = "/etc/qts"


def _place(variable: str, default: str | Path) -> Path:
    return Path(os.environ.get(variable, "") or default)


def ledger() -> Path:
    """Positions and cash, as the broker has confirmed them."""
    return _place("QTS_LEDGER", STATE / "ledger")


def audit() -> Path:
    """Every order and answer, one file a day (seed 002 7.2)."""
    return _place("QTS_AUDIT", STATE.joinpath("audit"))


def orders() -> Path:
    """Orders by their own id, so that none is sent twice (seed 002 7.4)."""
    return _place("QTS_ORDERS", ledger() / "orders")


def strategies() -> Path:
    """Strategies and their limits; read-only."""
    return _place("QTS_STRATEGIES", f"{SETTINGS}/strategies")
