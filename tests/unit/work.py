"""How much work something is, without a clock: how long it takes is the business of ``bench``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

ENDLESS = 60.0
"""Seconds of a processor: what is to end takes a hundredth of them, what explodes would take hours."""


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's: the same in every run."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
