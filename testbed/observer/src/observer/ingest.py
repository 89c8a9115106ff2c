"""Records over HTTP, so that a test can count what a failure loses.

A record is acknowledged only when it is durable in both stores: its line is fsynced in
data/assets/ingest/<writer>.jsonl and its row is committed in PostgreSQL. (writer, seq) is its identity:
the table holds it once; the file may hold it twice after a retry, and is counted by distinct seq.
Requests that arrive together share one transaction and one fsync per file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from observer import files, paths
from observer.metrics import Metrics
from observer.realtime_writer import Database, DatabaseUnavailableError

log = logging.getLogger(__name__)

WRITER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAXIMUM_SEQ = 2**63 - 1
MAXIMUM_PAYLOAD = 65_536
MAXIMUM_BATCH = 1_000
MAXIMUM_WAITING = 10_000
COMMIT_RECORDS = 2_000
READ_ROWS = 2_000

INSERT = """
INSERT INTO ingest_records (writer, seq, payload, payload_sha256)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
ON CONFLICT (writer, seq) DO NOTHING
"""
OTHER_CONTENT = """
SELECT new.writer, new.seq
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS new(writer, seq, payload_sha256)
JOIN ingest_records AS old USING (writer, seq)
WHERE old.payload_sha256 <> new.payload_sha256
"""
# Counted from the payload itself, so that damage shows.
READ = """
SELECT seq, encode(sha256(convert_to(payload, 'UTF8')), 'hex')
FROM ingest_records WHERE writer = $1 ORDER BY seq
"""


class BadRecordError(Exception):
    """The request can never be accepted."""


class IngestUnavailableError(Exception):
    """Not durable now; the sender may retry with the same seq."""

    def __init__(self, reason: str, message: str) -> None:
        """Take a short reason (a metric's label) and the text for the sender."""
        super().__init__(message)
        self.reason = reason


class ConflictError(Exception):
    """A seq is taken by other content."""

    def __init__(self, seqs: list[int]) -> None:
        """Take the seqs."""
        super().__init__("seq already stored with other content")
        self.seqs = seqs


@dataclass(frozen=True)
class Record:
    """One record of a writer."""

    writer: str
    seq: int
    payload: str
    digest: str


@dataclass(frozen=True)
class _Request:
    records: list[Record]
    done: asyncio.Future[None]


def digest(payload: str) -> str:
    """Return the payload's SHA-256 in hex."""
    return hashlib.sha256(payload.encode()).hexdigest()


def is_writer(name: object) -> bool:
    """Whether a name is fit to be a file's name."""
    return isinstance(name, str) and WRITER_NAME.fullmatch(name) is not None


def _record(item: object) -> Record:
    if not isinstance(item, dict):
        raise BadRecordError("a record is an object with writer, seq and payload")
    writer, seq, payload = item.get("writer"), item.get("seq"), item.get("payload")
    if not isinstance(writer, str) or not is_writer(writer):
        raise BadRecordError("writer must be 1 to 64 letters, digits, dots, dashes or underscores")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAXIMUM_SEQ:
        raise BadRecordError(f"seq must be an integer from 0 to {MAXIMUM_SEQ}")
    if not isinstance(payload, str) or len(payload) > MAXIMUM_PAYLOAD or "\0" in payload:
        raise BadRecordError(f"payload must be text of at most {MAXIMUM_PAYLOAD} characters without NUL")
    try:
        return Record(writer, seq, payload, digest(payload))
    except UnicodeEncodeError:
        raise BadRecordError("payload must be valid Unicode") from None


def parse(body: bytes) -> list[Record]:
    """Return the records of a request: one object, or a list of one writer. Raises BadRecordError."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRecordError("the body must be JSON") from None
    items = content if isinstance(content, list) else [content]
    if not 1 <= len(items) <= MAXIMUM_BATCH:
        raise BadRecordError(f"a batch holds 1 to {MAXIMUM_BATCH} records")
    records = [_record(item) for item in items]
    if len({record.writer for record in records}) > 1:
        raise BadRecordError("a batch belongs to one writer")
    return records


def journal(writer: str) -> Path:
    """Return the writer's JSONL file."""
    return paths.ingest_dir() / f"{writer}.jsonl"


def _lines(records: list[Record], received_at: str) -> bytes:
    return b"".join(
        json.dumps(
            {
                "writer": record.writer,
                "seq": record.seq,
                "payload": record.payload,
                "sha256": record.digest,
                "received_at": received_at,
            },
            ensure_ascii=False,
        ).encode()
        + b"\n"
        for record in records
    )


def append(records: list[Record]) -> dict[str, str]:
    """Write to each writer's file; return the failures by writer. Blocking."""
    received_at = datetime.now(UTC).isoformat(timespec="microseconds")
    by_writer: dict[str, list[Record]] = {}
    for record in records:
        by_writer.setdefault(record.writer, []).append(record)
    failed = {}
    for writer, own in by_writer.items():
        try:
            files.append_lines(journal(writer), _lines(own, received_at), paths.data_dir())
        except OSError as error:
            failed[writer] = f"{journal(writer)}: {error.strerror}"
    return failed


class Tally:
    """Counts (seq, digest) pairs that come in rising order of seq."""

    def __init__(self) -> None:
        """Start empty."""
        self.count = 0
        self.ranges: list[list[int]] = []
        self._checksum = hashlib.sha256()

    def add(self, seq: int, value: str) -> None:
        """Count one pair."""
        self.count += 1
        self._checksum.update(f"{seq}:{value}\n".encode())
        if self.ranges and self.ranges[-1][1] == seq - 1:
            self.ranges[-1][1] = seq
        else:
            self.ranges.append([seq, seq])

    def result(self) -> dict[str, object]:
        """Return count, min, max, the ranges present, the gaps between them, and the checksum."""
        return {
            "count": self.count,
            "min": self.ranges[0][0] if self.ranges else None,
            "max": self.ranges[-1][1] if self.ranges else None,
            "ranges": self.ranges,
            "missing": [
                [left[1] + 1, right[0] - 1] for left, right in zip(self.ranges, self.ranges[1:], strict=False)
            ],
            "checksum": f"sha256:{self._checksum.hexdigest()}",
        }


def _pairs(path: Path, writer: str) -> Iterator[tuple[int, str] | None]:
    with path.open("rb") as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                value = digest(entry["payload"])
                good = (
                    entry["writer"] == writer and entry["sha256"] == value and isinstance(entry["seq"], int)
                )
                yield (entry["seq"], value) if good else None
            except (ValueError, KeyError, TypeError, AttributeError):
                yield None


def summarise_file(writer: str) -> dict[str, object]:
    """Count a writer's file: distinct seqs; a repeated line is a duplicate, half a line is damaged.

    A file that is not there counts as empty; any other failure raises OSError.
    """
    seen: dict[int, str] = {}
    lines = damaged = duplicates = conflicts = 0
    try:
        for pair in _pairs(journal(writer), writer):
            lines += 1
            if pair is None:
                damaged += 1
            elif pair[0] not in seen:
                seen[pair[0]] = pair[1]
            elif seen[pair[0]] == pair[1]:
                duplicates += 1
            else:
                conflicts += 1
    except FileNotFoundError:
        pass
    tally = Tally()
    for seq in sorted(seen):
        tally.add(seq, seen[seq])
    return {
        **tally.result(),
        "lines": lines,
        "duplicates": duplicates,
        "damaged": damaged,
        "conflicts": conflicts,
    }


class Ingest:
    """Takes records, commits them in groups, and lets each request wait for its group."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        """Take the stores."""
        self._database = database
        self._metrics = metrics
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._files = ThreadPoolExecutor(1, "ingest-files")
        self.acknowledged = 0
        self.refused = 0
        self.stopping = False
        self._failing: str | None = None

    @property
    def waiting(self) -> int:
        """Records that were taken and are not answered yet."""
        return self._waiting

    async def submit(self, records: list[Record]) -> None:
        """Return when the records are durable in both stores.

        Raises IngestUnavailableError or ConflictError; then none of them is acknowledged.
        """
        size = len(records)
        try:
            if self.stopping:
                raise IngestUnavailableError("stopping", "shutting down")
            if self._waiting + size > MAXIMUM_WAITING:
                raise IngestUnavailableError("busy", "too many records are waiting")
            request = _Request(records, asyncio.get_running_loop().create_future())
            self._waiting += size
            self._idle.clear()
            self._queue.put_nowait(request)
            await request.done
        except IngestUnavailableError as error:
            self.refused += size
            self._metrics.refused.labels(error.reason).inc(size)
            raise
        except ConflictError:
            self.refused += size
            self._metrics.refused.labels("conflict").inc(size)
            raise
        self.acknowledged += size
        self._metrics.acknowledged.inc(size)

    async def run(self) -> None:
        """Commit group after group; until cancelled."""
        while True:
            group = [await self._queue.get()]
            size = len(group[0].records)
            while size < COMMIT_RECORDS and not self._queue.empty():
                group.append(self._queue.get_nowait())
                size += len(group[-1].records)
            try:
                await self._commit(group)
            except Exception:  # the loop must go on; every request gets an answer
                log.exception("commit failed")
                self._answer(group, IngestUnavailableError("internal", "internal error"))
            finally:
                self._waiting -= size
                if self._waiting == 0:
                    self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Wait until all that was taken is answered; False when that takes too long."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Let the files' thread end."""
        self._files.shutdown(wait=False)

    async def _commit(self, group: list[_Request]) -> None:
        # Sorted, so that two processes lock rows in the same order.
        records = sorted(
            (record for request in group for record in request.records),
            key=lambda record: (record.writer, record.seq),
        )
        try:
            taken = await self._insert(records)
        except DatabaseUnavailableError as error:
            self._note(f"PostgreSQL: {error}")
            self._answer(group, IngestUnavailableError("database", str(error)))
            return
        # The database first: it tells which records may not be written at all.
        good = [record for record in records if (record.writer, record.seq) not in taken]
        loop = asyncio.get_running_loop()
        failed = await loop.run_in_executor(self._files, append, good)
        self._note("; ".join(failed.values()) or None)
        errors: dict[str, Exception] = {
            writer: IngestUnavailableError("file", message) for writer, message in failed.items()
        }
        for request in group:
            conflicts = [record.seq for record in request.records if (record.writer, record.seq) in taken]
            verdict = errors.get(request.records[0].writer)
            if conflicts and verdict is None:
                verdict = ConflictError(conflicts)
            self._answer([request], verdict)

    async def _insert(self, records: list[Record]) -> set[tuple[str, int]]:
        """Commit the rows; return the identities that other content holds."""
        writers = [record.writer for record in records]
        seqs = [record.seq for record in records]
        digests = [record.digest for record in records]
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(INSERT, writers, seqs, [record.payload for record in records], digests)
            rows = await connection.fetch(OTHER_CONTENT, writers, seqs, digests)
        return {(row[0], row[1]) for row in rows}

    def _note(self, failure: str | None) -> None:
        """Log when storing starts to fail and when it works again, not each time."""
        if failure is not None and self._failing is None:
            log.error("records are not acknowledged: %s", failure)
        elif failure is None and self._failing is not None:
            log.info("records are acknowledged again")
        self._failing = failure

    def _answer(self, group: Iterable[_Request], error: Exception | None) -> None:
        for request in group:
            if request.done.done():
                continue
            if error is None:
                request.done.set_result(None)
            else:
                request.done.set_exception(error)

    async def summarise_database(self, writer: str) -> dict[str, object]:
        """Count a writer's rows. Raises DatabaseUnavailableError."""
        tally = Tally()
        async with self._database.connection() as connection, connection.transaction(readonly=True):
            async for seq, value in connection.cursor(READ, writer, prefetch=READ_ROWS):
                tally.add(seq, value)
        return tally.result()
