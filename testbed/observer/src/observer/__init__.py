"""Observer: collects Korean market data, here as a small stand-in with the real app's contract."""

from __future__ import annotations

import os

__version__ = "1.0.0"


def standalone() -> bool:
    """Whether this process runs the collector itself; on unless set to 0 (seed 001 3-1)."""
    return os.environ.get("OBSERVER_STANDALONE", "1") != "0"
