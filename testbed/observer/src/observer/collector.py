"""The collector: synthetic quotes in place of KIS' real-time feed, written where the real one writes.

Quotes go to data/assets/scalp/<YYYYMMDD>.jsonl and to PostgreSQL, the day's universe to
universe/<YYYYMMDD>_kr_stocks.json, the health of each symbol to data/symbols/symbol_health.json.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from observer import files, paths
from observer.kis_client import Kis
from observer.metrics import Metrics
from observer.realtime_writer import Quote, RealtimeWriter

log = logging.getLogger(__name__)

SYMBOLS = ("005930", "000660", "035420", "005380", "051910")
SYMBOLS_FILE = "symbols.json"
MAXIMUM_SYMBOLS = 1_000
FIRST_PRICE = 50_000
HEALTH_SECONDS = 30.0
LONGEST_TICK = 1.0
MOST_QUOTES_A_TICK = 2_000


def day_of(moment: datetime, zone: ZoneInfo) -> str:
    """Return the trading day as YYYYMMDD."""
    return moment.astimezone(zone).strftime("%Y%m%d")


def quotes_file(day: str) -> Path:
    """Return the day's JSONL file."""
    return paths.scalp_dir() / f"{day}.jsonl"


def universe_file(day: str) -> Path:
    """Return the day's snapshot."""
    return paths.snapshot_dir() / f"{day}_kr_stocks.json"


def read_symbols() -> list[str]:
    """Return the symbols of config/symbols.json, or the built-in ones without that file.

    Raises ValueError for a file that cannot be used.
    """
    try:
        content = json.loads((paths.config_dir() / SYMBOLS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return list(SYMBOLS)
    except OSError as error:
        raise ValueError(error.strerror) from None
    good = (
        isinstance(content, list)
        and 1 <= len(content) <= MAXIMUM_SYMBOLS
        and all(isinstance(symbol, str) and symbol.isalnum() for symbol in content)
    )
    if not good:
        raise ValueError(f"not a list of 1 to {MAXIMUM_SYMBOLS} symbols")
    return list(dict.fromkeys(content))


class Collector:
    """Collects while the KIS API is usable; otherwise it waits and says why."""

    def __init__(
        self, rate: float, zone: ZoneInfo, kis: Kis, writer: RealtimeWriter, metrics: Metrics
    ) -> None:
        """Take the rate in quotes per second, the day's zone, the API, and where to write."""
        self._rate = rate
        self._zone = zone
        self._kis = kis
        self._writer = writer
        self._metrics = metrics
        self._symbols = list(SYMBOLS)
        self._symbols_error: str | None = None
        self._prices: dict[str, int] = {}
        self._health: dict[str, dict[str, object]] = {}
        self._health_due = 0.0
        self._stop = asyncio.Event()
        self._owed = 0.0
        self.state = "starting"
        self.reason: str | None = None
        self.file_quotes = 0

    def status(self) -> dict[str, object]:
        """Return what /status shows."""
        return {
            "state": self.state,
            "enabled": self.state in ("running", "failing"),
            "reason": self.reason,
            "rate": self._rate,
            "symbols": len(self._symbols),
            "quotes_in_file": self.file_quotes,
            "quotes_waiting_for_database": self._writer.waiting,
        }

    def disable(self, reason: str) -> None:
        """Say that the collector does not run, and why."""
        self._enter("disabled", reason)

    def stop(self) -> None:
        """Let `run()` end after the work in hand."""
        self._stop.set()

    def _enter(self, state: str, reason: str | None) -> None:
        if (state, reason) != (self.state, self.reason):
            say: Callable[..., None] = log.info if state in ("running", "stopped") else log.warning
            say("collector %s%s", state, f": {reason}" if reason else "")
        self.state, self.reason = state, reason
        self._metrics.collector_up.set(state == "running")

    async def run(self) -> None:
        """Collect until `stop()`; then write what waits for the database, once more."""
        last = time.monotonic()
        tick = min(max(1 / self._rate, 0.05), LONGEST_TICK) if self._rate > 0 else LONGEST_TICK
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), tick)
                break
            except TimeoutError:
                pass
            now = time.monotonic()
            # Waited for, never made up: time without the API yields no quotes.
            elapsed, last = now - last, now
            if self._kis.usable:
                await self._tick(elapsed)
            elif self._kis.state != "starting":
                self._enter("disabled", f"KIS API {self._kis.state} {self._kis.code or ''}".rstrip())
        await self._writer.flush()
        self._enter("stopped", None)

    async def _tick(self, elapsed: float) -> None:
        self._owed = min(self._owed + elapsed * self._rate, MOST_QUOTES_A_TICK)
        count = int(self._owed)
        self._owed -= count
        now = datetime.now(UTC)
        quotes = [self._quote(now) for _ in range(count)]
        try:
            await asyncio.to_thread(self._write, quotes, now)
        except OSError as error:
            self._metrics.quotes_dropped.labels("jsonl").inc(count)
            self._enter("failing", f"{error.filename or paths.scalp_dir()}: {error.strerror}")
        else:
            self._metrics.quotes.labels("jsonl").inc(count)
            self.file_quotes += count
            self._enter("running", None)
        self._writer.add(quotes)
        await self._writer.flush()

    def _quote(self, now: datetime) -> Quote:
        symbol = random.choice(self._symbols)
        price = max(100, self._prices.get(symbol, FIRST_PRICE) + random.randint(-5, 5) * 10)
        self._prices[symbol] = price
        counted = self._health.get(symbol, {}).get("quotes", 0)
        self._health[symbol] = {
            "quotes": (counted if isinstance(counted, int) else 0) + 1,
            "last_price": price,
            "last_seen": now.isoformat(),
        }
        return Quote(uuid.uuid4(), symbol, now, price, random.randint(1, 500))

    def _write(self, quotes: list[Quote], now: datetime) -> None:
        """Write files; blocking. Raises OSError."""
        day = day_of(now, self._zone)
        if quotes:
            lines = "".join(
                json.dumps(
                    {
                        "quote_id": str(quote.quote_id),
                        "symbol": quote.symbol,
                        "quoted_at": quote.quoted_at.astimezone(self._zone).isoformat(),
                        "price": quote.price,
                        "volume": quote.volume,
                    }
                )
                + "\n"
                for quote in quotes
            )
            files.append_lines(quotes_file(day), lines.encode(), paths.data_dir())
        if time.monotonic() >= self._health_due:
            self._housekeeping(day, now)
            self._health_due = time.monotonic() + HEALTH_SECONDS

    def _housekeeping(self, day: str, now: datetime) -> None:
        try:
            self._symbols, problem = read_symbols(), None
        except ValueError as error:
            problem = f"{paths.config_dir() / SYMBOLS_FILE}: {error}"
        if problem is not None and problem != self._symbols_error:
            log.error("%s; the symbols in use stay", problem)
        self._symbols_error = problem
        if not universe_file(day).exists():
            snapshot = {"date": day, "created_at": now.isoformat(), "symbols": self._symbols}
            files.replace(universe_file(day), json.dumps(snapshot).encode(), 0o644)
        health = {"updated_at": now.isoformat(), "symbols": self._health}
        files.replace(paths.symbols_dir() / "symbol_health.json", json.dumps(health).encode(), 0o644)
