"""Acknowledgements: only what is durable in both stores, counted from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Postgres, Process, get, wait_for

import load
from observer import files, ingest
from observer.metrics import Metrics
from observer.realtime_writer import DatabaseUnavailableError

Start = Callable[..., Process]


class FakeDatabase:
    """A table in memory; `broken` fails every commit."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], str] = {}
        self.broken = False
        self.commits = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[FakeDatabase]:
        if self.broken:
            raise DatabaseUnavailableError("away")
        yield self

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield
        self.commits += 1

    async def execute(self, _sql: str, writers: Any, seqs: Any, _payloads: Any, digests: Any) -> None:
        for writer, seq, value in zip(writers, seqs, digests, strict=True):
            self.rows.setdefault((writer, seq), value)

    async def fetch(self, _sql: str, writers: Any, seqs: Any, digests: Any) -> list[tuple[str, int]]:
        rows = zip(writers, seqs, digests, strict=True)
        return [(writer, seq) for writer, seq, value in rows if self.rows[writer, seq] != value]


def records(writer: str, seqs: range, payload: str = "p") -> list[ingest.Record]:
    return ingest.parse(
        json.dumps([{"writer": writer, "seq": seq, "payload": payload} for seq in seqs]).encode()
    )


def with_ingest(work: Callable[[ingest.Ingest, FakeDatabase], Any]) -> None:
    async def main() -> None:
        database = FakeDatabase()
        taken = ingest.Ingest(database, Metrics())  # type: ignore[arg-type]
        task = asyncio.create_task(taken.run())
        await work(taken, database)
        task.cancel()
        taken.close()

    asyncio.run(main())


def test_requests_share_a_commit_and_a_retry_is_counted_once(tree: Path) -> None:
    async def work(taken: ingest.Ingest, database: FakeDatabase) -> None:
        await asyncio.gather(*(taken.submit(records("w", range(n, n + 10))) for n in range(0, 1000, 10)))
        assert database.commits <= 3
        await taken.submit(records("w", range(0, 10)))
        assert taken.acknowledged == 1010
        summary = ingest.summarise_file("w")
        assert (summary["count"], summary["lines"], summary["duplicates"]) == (1000, 1010, 10)
        assert summary["ranges"] == [[0, 999]]

    with_ingest(work)


def test_no_acknowledgement_without_the_database(tree: Path) -> None:
    async def work(taken: ingest.Ingest, database: FakeDatabase) -> None:
        database.broken = True
        with pytest.raises(ingest.IngestUnavailableError, match="away"):
            await taken.submit(records("w", range(3)))
        assert ingest.summarise_file("w")["count"] == 0
        database.broken = False
        await taken.submit(records("w", range(3)))
        assert (taken.acknowledged, taken.refused) == (3, 3)

    with_ingest(work)


def test_no_acknowledgement_without_the_file_but_for_its_writer_only(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.append_lines

    def failing(path: Path, lines: bytes, top: Path) -> None:
        if path.name == "bad.jsonl":
            raise OSError(28, "No space left on device")
        real(path, lines, top)

    async def work(taken: ingest.Ingest, database: FakeDatabase) -> None:
        monkeypatch.setattr(files, "append_lines", failing)
        results = await asyncio.gather(
            taken.submit(records("bad", range(3))),
            taken.submit(records("good", range(3))),
            return_exceptions=True,
        )
        assert isinstance(results[0], ingest.IngestUnavailableError)
        assert "No space left" in str(results[0])
        assert results[1] is None

    with_ingest(work)


def test_other_content_for_a_seq_is_a_conflict(tree: Path) -> None:
    async def work(taken: ingest.Ingest, _database: FakeDatabase) -> None:
        await taken.submit(records("w", range(5)))
        with pytest.raises(ingest.ConflictError) as caught:
            await taken.submit(records("w", range(4, 6), "other"))
        assert caught.value.seqs == [4]

    with_ingest(work)


def test_nothing_is_taken_while_stopping_or_overfull(tree: Path) -> None:
    async def work(taken: ingest.Ingest, _database: FakeDatabase) -> None:
        taken._waiting = ingest.MAXIMUM_WAITING
        with pytest.raises(ingest.IngestUnavailableError, match="too many"):
            await taken.submit(records("w", range(1)))
        taken._waiting = 0
        taken.stopping = True
        with pytest.raises(ingest.IngestUnavailableError, match="shutting down"):
            await taken.submit(records("w", range(1)))

    with_ingest(work)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"7",
        b'{"writer": "../x", "seq": 1, "payload": ""}',
        b'{"writer": "w", "seq": true, "payload": ""}',
        b'{"writer": "w", "seq": -1, "payload": ""}',
        b'{"writer": "w", "seq": 9223372036854775808, "payload": ""}',
        b'{"writer": "w", "seq": 1}',
        b'{"writer": "w", "seq": 1, "payload": "\\u0000"}',
        b'{"writer": "w", "seq": 1, "payload": "\\ud800"}',
        b'[{"writer": "a", "seq": 1, "payload": ""}, {"writer": "b", "seq": 1, "payload": ""}]',
    ],
)
def test_bad_records_are_refused(body: bytes) -> None:
    with pytest.raises(ingest.BadRecordError):
        ingest.parse(body)


def test_half_a_line_is_damaged_and_hurts_no_other(tree: Path) -> None:
    path = ingest.journal("w")
    ingest.append(records("w", range(1, 4)))
    with path.open("ab") as stream:
        stream.write(b'{"writer": "w", "seq": 4, "pay')
    ingest.append(records("w", range(6, 8)))
    text = path.read_text().replace('"seq": 7, "payload": "p"', '"seq": 7, "payload": "q"')
    path.write_text(text)
    summary = ingest.summarise_file("w")
    assert summary["ranges"] == [[1, 3], [6, 6]]
    assert summary["missing"] == [[4, 5]]
    assert (summary["damaged"], summary["min"], summary["max"]) == (2, 1, 6)


def test_a_new_file_and_its_folders_are_synced(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    ingest.append(records("w", range(1)))
    folder = tree / "data" / "assets" / "ingest"
    assert synced == [str(folder / "w.jsonl"), str(folder), str(folder.parent), str(tree / "data")]
    synced.clear()
    ingest.append(records("w", range(1, 2)))
    assert synced == [str(folder / "w.jsonl")]


def run_load(process: Process, journal: Path, **options: Any) -> load.Outcome:
    return load.run(process.url, "w1", journal, **{"rate": 400.0, "batch": 10, "give_up": 20.0, **options})


def test_run_and_check_with_both_stores(
    start: Start, tree: Path, tmp_path: Path, postgres: Postgres, database: str
) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, OBSERVER_COLLECT_RATE="0")
    process.ready()
    journal = tmp_path / "j"
    outcome = run_load(process, journal, count=300)
    assert (outcome.sent, outcome.acknowledged, outcome.gave_up) == (300, 300, None)
    assert outcome.seconds < 3
    more = run_load(process, journal, count=5)
    assert more.first == 301
    report = load.check(journal, process.url)
    assert (report["acknowledged"], report["lost"], report["content"]) == (305, 0, ["same"])
    assert load.main(["check", "--journal", str(journal), "--url", process.url]) == 0
    summary = get(f"{process.url}/records/w1/summary")[1]
    assert summary["jsonl"]["checksum"] == summary["postgresql"]["checksum"]
    # A loss in one store is found, online and from files.
    postgres.sql("DELETE FROM ingest_records WHERE seq BETWEEN 7 AND 9", database)
    report = load.check(journal, process.url)
    assert report["stores"]["postgresql"]["lost"] == [(7, 9)]
    assert report["stores"]["jsonl"]["lost"] == []
    assert load.main(["check", "--journal", str(journal), "--url", process.url]) == 1
    rows = tmp_path / "rows.csv"
    table = "SELECT seq, payload_sha256 FROM ingest_records"
    rows.write_text("seq,sha\n" + postgres.sql(f"COPY ({table}) TO STDOUT CSV", database) + "\n")
    lines = tree / "data/assets/ingest/w1.jsonl"
    offline = load.check(journal, jsonl=lines, psql_csv=rows)
    assert offline["stores"]["postgresql"]["lost"] == [(7, 9)]
    assert offline["stores"]["jsonl"]["lost_count"] == 0
    postgres.sql("UPDATE ingest_records SET payload = 'changed' WHERE seq = 20", database)
    assert load.check(journal, process.url)["stores"]["postgresql"]["content"] == "differs"


def test_kill_9_of_the_app_loses_no_acknowledged_record(
    start: Start, tmp_path: Path, postgres: Postgres, database: str
) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database)
    process.ready()
    journal = tmp_path / "j"
    outcomes: list[load.Outcome] = []
    sender = threading.Thread(target=lambda: outcomes.append(run_load(process, journal, count=800)))
    sender.start()
    for _ in range(2):
        time.sleep(0.4)
        assert process.send(signal.SIGKILL) == -signal.SIGKILL
        process.start()
        process.ready()
    sender.join(30)
    assert outcomes[0].acknowledged == 800
    assert outcomes[0].retries > 0
    report = load.check(journal, process.url)
    assert (report["lost"], report["content"]) == (0, ["same"])


def test_crash_of_the_database_loses_no_acknowledged_record(
    start: Start, tmp_path: Path, postgres: Postgres, database: str
) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database)
    process.ready()
    journal = tmp_path / "j"
    outcomes: list[load.Outcome] = []
    sender = threading.Thread(target=lambda: outcomes.append(run_load(process, journal, count=400)))
    sender.start()
    time.sleep(0.3)
    postgres.stop("immediate")
    wait_for(lambda: get(f"{process.url}/ready")[0] == 503)
    assert get(f"{process.url}/health")[0] == 200
    postgres.start()
    sender.join(30)
    assert outcomes[0].acknowledged == 400
    process.ready()
    report = load.check(journal, process.url)
    assert (report["lost"], report["content"]) == (0, ["same"])


def test_dropped_tables_come_back(start: Start, postgres: Postgres, database: str) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, OBSERVER_COLLECT_RATE="0")
    process.ready()
    postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)
    body = b'{"writer": "w", "seq": 1, "payload": "x"}'
    wait_for(lambda: get(f"{process.url}/records", body)[0] == 200)


def test_the_sender_gives_up_and_the_journal_says_so(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    outcome = load.run("http://127.0.0.1:1", "w", journal, count=5, give_up=0.3)
    assert outcome.acknowledged == 0
    assert outcome.gave_up is not None and "within 0.3 s" in outcome.gave_up
    proof = load.read_journal(journal)
    assert (proof.last, proof.acknowledged) == (1, set())
    events = [json.loads(line)["event"] for line in journal.read_text().splitlines()]
    assert events[0] == "start" and events[-1] == "end" and "retry" in events


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "https://x"], "http://HOST:PORT"),
        (["--url", "http://h:1", "--rate", "1e9"], "--rate"),
        (["--url", "http://h:1"], "a run has an end"),
        (["--url", "http://h:1", "--count", "2000000"], "--count"),
    ],
)
def test_the_sender_is_bounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    more = [] if message == "a run has an end" or "--count" in arguments else ["--count", "1"]
    command = ["run", "--writer", "w", "--journal", str(tmp_path / "j"), *arguments, *more]
    assert load.main(command) == 2
    assert message in capsys.readouterr().err


def test_a_torn_journal_is_read_and_continued(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    log = load.Journal(journal)
    log.write("start", writer="w")
    log.write("sent", first=1, last=10, size=5)
    log.write("acknowledged", ranges=[[1, 10]])
    log.close()
    with journal.open("a") as stream:
        stream.write('{"event": "sent", "fir')
    load.Journal(journal).write("sent", first=11, last=11, size=5)
    proof = load.read_journal(journal)
    assert (proof.last, len(proof.acknowledged), proof.damaged) == (11, 10, 1)
