"""Say where a long job is: what runs, n of total, how long it will still take."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_SECONDS = 30


def duration(seconds: float) -> str:
    """``75`` -> ``1m15s``."""
    whole = round(seconds)
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


class Progress:
    """Counts steps and estimates what is left from their usual length.

    :param expected: seconds that each step usually takes on two cores; steps run in parallel lanes, so
        the estimate is scaled by how long the finished ones really took on the clock.
    """

    def __init__(self, title: str, expected: dict[str, float], out: TextIO | None = None) -> None:
        self.title = title
        self.expected = dict(expected)
        self.out = out or sys.stdout
        self.started = time.monotonic()
        self.times: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._begun = 0
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        print(f"[{self.title}] {text}", file=self.out, flush=True)

    def left(self) -> float:
        """Seconds that are probably left."""
        total = sum(self.expected.values())
        done = sum(self.expected[name] for name in self.times)
        now = time.monotonic()
        under_way = sum(min(now - since, 0.95 * self.expected[name]) for name, since in self._running.items())
        remaining = max(total - done - under_way, 1)
        # Two lanes overlap: what the steps cost and what the clock shows differ by a factor that the
        # finished part tells; before there is one, take the usual figure.
        pace = (now - self.started) / (done + under_way) if done + under_way > 60 else 0.8
        return remaining * min(max(pace, 0.2), 3)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step, beat while it runs, and note its time."""
        with self._lock:
            self._begun += 1
            self._running[name] = time.monotonic()
            self.say(f"{self._begun} of {len(self.expected)}: {name} (about {duration(self.left())} left)")
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(name, stop), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            with self._lock:
                self.times[name] = time.monotonic() - self._running.pop(name)
        self.say(f"    {name} done in {duration(self.times[name])}")

    def _beat(self, name: str, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            with self._lock:
                if name in self._running:
                    spent = time.monotonic() - self._running[name]
                    self.say(f"    {name}: {duration(spent)} so far, about {duration(self.left())} left in all")
