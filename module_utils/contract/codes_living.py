"""Codes of findings about a living system: what runs, where `codes.py` is about what files say (seed 001, Steps 1 to 6)."""

from __future__ import annotations

from .codes import CRITICAL, HIGH, LOW, MEDIUM, _  # noqa: F401
from .model import Kind  # noqa: F401

__all__: list[str] = []

# --- node -------------------------------------------------------------------------------------------

# --- live -------------------------------------------------------------------------------------------

# --- faults -----------------------------------------------------------------------------------------

# --- drift ------------------------------------------------------------------------------------------
