"""PostgreSQL: the connection, its schema, and the quotes that the collector writes.

Defaults are the database contract `postgres:5432` (seed 001 3-1). The app starts and lives without the
database; /ready says so, and the connection comes back by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from observer import logging_setup
from observer.metrics import Metrics

log = logging.getLogger(__name__)
maintenance = logging.getLogger(logging_setup.MAINTENANCE)

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
MIGRATION_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
MIGRATION_LOCK = 7_306_001  # any number; two pods must not migrate at once
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 5.0
PING_SECONDS = 0.7  # a probe's own timeout is 1 s by default
WATCH_SECONDS = 2.0
CLOSE_SECONDS = 1.5
FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 5.0
CONNECTIONS = 6
QUOTE_BUFFER = 10_000
QUOTE_BATCH = 1_000

# asyncio.TimeoutError is TimeoutError, an OSError, and so is a failed name look-up.
FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

# asyncpg ships no types.
Connection = Any
Pool = Any


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is, and who we are."""

    host: str
    port_text: str
    name: str
    user: str
    password: str = field(repr=False)
    port: int = 5432


def database_settings() -> DatabaseSettings:
    """Read the DB variables; the port is still text, so that a bad one can be reported."""
    return DatabaseSettings(
        host=os.environ.get("DB_HOST", "postgres"),
        port_text=os.environ.get("DB_PORT", "5432"),
        name=os.environ.get("DB_NAME", ""),
        user=os.environ.get("DB_USER", ""),
        password=os.environ.get("DB_PASSWORD", ""),
    )


class DatabaseUnavailableError(Exception):
    """There is no usable connection now; the text says why and holds no secret."""


def migrations(folder: Path) -> list[tuple[int, Path]]:
    """Return the numbered migrations in order."""
    found = []
    for path in sorted(folder.iterdir()):
        match = MIGRATION_NAME.match(path.name)
        if match:
            found.append((int(match[1]), path))
    return found


async def migrate(connection: Connection, folder: Path) -> int:
    """Apply what is missing, each in one transaction, and return the schema's version."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY,"
            " name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    for version, path in migrations(folder):
        sql = await asyncio.to_thread(path.read_text, encoding="utf-8")
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            if await connection.fetchval("SELECT 1 FROM schema_version WHERE version = $1", version):
                continue
            await connection.execute(sql)
            await connection.execute(
                "INSERT INTO schema_version (version, name) VALUES ($1, $2)", version, path.name
            )
        maintenance.info("migration %s applied", path.name, extra={"fields": {"version": version}})
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version"))


class Database:
    """A pool that is replaced when it breaks. Use `connection()`; call `run()` once."""

    def __init__(self, settings: DatabaseSettings, changed: Callable[[bool], None]) -> None:
        """Take the settings and whom to tell when the database comes or goes."""
        self._settings = settings
        self._changed = changed
        self._pool: Pool = None
        self._broken = asyncio.Event()
        self.schema_version: int | None = None
        self.last_error: str | None = "not connected yet"

    @property
    def connected(self) -> bool:
        """Whether a pool is in use."""
        return self._pool is not None

    def status(self) -> dict[str, object]:
        """Return what /status shows; never the password."""
        return {
            "connected": self.connected,
            "host": self._settings.host,
            "port": self._settings.port,
            "name": self._settings.name,
            "schema_version": self.schema_version,
            "last_error": self.last_error,
        }

    def _describe(self, error: BaseException) -> str:
        text = str(error) or "timed out"
        if self._settings.password:
            text = text.replace(self._settings.password, logging_setup.MASK)
        return f"{self._settings.host}:{self._settings.port}: {type(error).__name__}: {text}"

    async def _open(self) -> Pool:
        # TLS is off because it is a Service inside the cluster and no variable says otherwise; every
        # value is passed, so that PG* variables of the Secret change nothing.
        pool = await asyncpg.create_pool(
            host=self._settings.host,
            port=self._settings.port,
            user=self._settings.user,
            password=self._settings.password,
            database=self._settings.name,
            ssl=False,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": "observer"},
        )
        try:
            async with pool.acquire(timeout=CONNECT_SECONDS) as connection:
                self.schema_version = await migrate(connection, MIGRATIONS)
        except BaseException:
            pool.terminate()
            raise
        return pool

    async def run(self) -> None:
        """Connect, watch, and connect again with growing pauses; until cancelled."""
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                pool = await asyncio.wait_for(self._open(), CONNECT_SECONDS * 3)
            except FAILURES as error:
                self.last_error = self._describe(error)
                log.error("cannot use database %s", self.last_error, extra={"fields": {"retry_s": pause}})
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(pause * 2, LONGEST_RETRY_SECONDS)
                continue
            self._pool, self.last_error = pool, None
            self._broken.clear()
            pause = FIRST_RETRY_SECONDS
            self._changed(True)
            log.info(
                "database connected",
                extra={
                    "fields": {
                        "host": self._settings.host,
                        "port": self._settings.port,
                        "schema_version": self.schema_version,
                    }
                },
            )
            try:
                await self._watch()
            except asyncio.CancelledError:
                # A shutdown: give the connections back in order, for at most a moment.
                self._pool = None
                await asyncio.wait([asyncio.ensure_future(pool.close())], timeout=CLOSE_SECONDS)
                raise
            finally:
                self._pool = None
                self._changed(False)
                pool.terminate()

    async def _watch(self) -> None:
        """Return when the connection is broken."""
        while True:
            try:
                await asyncio.wait_for(self._broken.wait(), WATCH_SECONDS)
            except TimeoutError:
                if await self.ping(COMMAND_SECONDS) is None:
                    continue
            log.error("database lost: %s", self.last_error)
            return

    @asynccontextmanager
    async def connection(self, seconds: float = COMMAND_SECONDS) -> AsyncIterator[Connection]:
        """Lend a connection. Raises DatabaseUnavailableError for whatever fails, also inside the block."""
        if self._pool is None:
            raise DatabaseUnavailableError(f"database away: {self.last_error}")
        try:
            async with self._pool.acquire(timeout=seconds) as connection:
                yield connection
        except FAILURES as error:
            self.last_error = self._describe(error)
            # A table that is gone (restored, dropped) needs the migrations, so connect anew.
            if not isinstance(error, asyncpg.PostgresError | TimeoutError) or isinstance(
                error,
                asyncpg.UndefinedTableError
                | asyncpg.PostgresConnectionError
                | asyncpg.OperatorInterventionError,
            ):
                self._broken.set()
            raise DatabaseUnavailableError(self.last_error) from error

    async def ping(self, seconds: float = PING_SECONDS) -> str | None:
        """Return why a query does not work now, or None."""

        async def query() -> None:
            async with self.connection(seconds) as connection:
                await connection.fetchval("SELECT 1", timeout=seconds)

        try:
            await asyncio.wait_for(query(), seconds)
        except DatabaseUnavailableError as error:
            return str(error)
        except TimeoutError:
            self.last_error = f"{self._settings.host}:{self._settings.port}: no answer in {seconds} s"
            return self.last_error
        return None


@dataclass(frozen=True)
class Quote:
    """One trade price."""

    quote_id: uuid.UUID
    symbol: str
    quoted_at: datetime
    price: int
    volume: int


class RealtimeWriter:
    """Buffers quotes while the database is away, up to a limit; the oldest are dropped and counted."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        """Take where to write."""
        self._database = database
        self._metrics = metrics
        self._buffer: deque[Quote] = deque()
        self._warned_at = 0.0

    @property
    def waiting(self) -> int:
        """Quotes not yet in the database."""
        return len(self._buffer)

    def add(self, quotes: list[Quote]) -> None:
        """Take quotes for the next flush."""
        self._buffer.extend(quotes)
        dropped = len(self._buffer) - QUOTE_BUFFER
        if dropped > 0:
            for _ in range(dropped):
                self._buffer.popleft()
            self._metrics.quotes_dropped.labels("postgresql").inc(dropped)
            if time.monotonic() - self._warned_at > 60:
                self._warned_at = time.monotonic()
                log.warning("quotes dropped: the database is away and the buffer is full")

    async def flush(self) -> None:
        """Write what waits; a failure keeps it. Safe to repeat: quotes have identities."""
        while self._buffer:
            batch = [self._buffer[i] for i in range(min(QUOTE_BATCH, len(self._buffer)))]
            try:
                async with self._database.connection() as connection:
                    await connection.execute(
                        "INSERT INTO quotes (quote_id, symbol, quoted_at, price, volume)"
                        " SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[],"
                        " $5::bigint[]) ON CONFLICT (quote_id) DO NOTHING",
                        [quote.quote_id for quote in batch],
                        [quote.symbol for quote in batch],
                        [quote.quoted_at for quote in batch],
                        [quote.price for quote in batch],
                        [quote.volume for quote in batch],
                    )
            except DatabaseUnavailableError:
                return
            for _ in batch:
                self._buffer.popleft()
            self._metrics.quotes.labels("postgresql").inc(len(batch))


async def stop_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
