"""The real process: probes, logs, KIS degradation, shutdown (seed 002 5.3 and 6, seed 001 verdict)."""

from __future__ import annotations

import json
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import APP_SECRET, BAD_KEY, GOOD_KEY, PASSWORD, Postgres, Process, get, wait_for

from observer import kis_client, logging_setup

Start = Callable[..., Process]


def test_without_database_it_lives_and_says_so(start: Start, tree: Path) -> None:
    process = start()
    code, body = get(f"{process.url}/health")
    assert code == 200
    assert body["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", body["timestamp"])
    assert body["uptime_seconds"] >= 0
    code, body = get(f"{process.url}/ready")
    assert code == 503
    assert [reason.split(":")[0] for reason in body["reasons"]] == ["database"]
    assert set(body["folders"].values()) == {True}
    code, body = get(f"{process.url}/status")
    assert (code, body["status"]) == (200, "degraded")
    wait_for(lambda: get(f"{process.url}/status")[1]["collector"]["quotes_in_file"] > 0)
    assert any("cannot use database 127.0.0.1:1" in line["message"] for line in process.logs())
    code, body = get(f"{process.url}/records", b'{"writer": "w", "seq": 1, "payload": "x"}')
    assert (code, body["reason"]) == (503, "database")
    assert not list((tree / "data/assets/ingest").iterdir())
    assert get(f"{process.url}/records/w/summary")[0] == 503


def test_name_lookup_failure_names_host_and_port(start: Start) -> None:
    process = start(DB_HOST="postgres.invalid", DB_PORT="5432")
    wait_for(lambda: any("postgres.invalid:5432" in line["message"] for line in process.logs()))
    assert get(f"{process.url}/health")[0] == 200


def test_with_database_everything_is_green(
    start: Start, tree: Path, postgres: Postgres, database: str
) -> None:
    (tree / "config" / "symbols.json").write_text('["000270", "005930"]')
    process = start(
        DB_PORT=str(postgres.port), DB_NAME=database, OBSERVER_COLLECT_RATE="20",
        OBSERVER_IMAGE_TAG="build-20260204-220645", POD_NAME="observer-1",
        PGUSER="nobody", PGPASSWORD="wrong",
    )  # fmt: skip
    process.ready()
    body = wait_for(lambda: _status_when_collecting(process))
    assert body["status"] == "ok"
    assert body["image_tag"] == "build-20260204-220645"
    assert body["kis"]["state"] == "ok"
    assert body["database"]["schema_version"] == 2
    assert wait_for(lambda: int(postgres.sql("SELECT count(*) FROM quotes", database)) > 20)
    (day,) = (tree / "data/assets/scalp").glob("*.jsonl")
    quote = json.loads(day.read_text().splitlines()[0])
    assert quote["quoted_at"].endswith("+09:00")
    assert quote["quoted_at"][:10].replace("-", "") == day.stem
    snapshot = json.loads((tree / f"universe/{day.stem}_kr_stocks.json").read_text())
    assert snapshot["symbols"] == ["000270", "005930"]
    assert (tree / "data/symbols/symbol_health.json").exists()
    cache = tree / "data/cache/token_cache.json"
    assert cache.stat().st_mode & 0o777 == 0o600
    assert postgres.sql("SELECT string_agg(version::text, ',') FROM schema_version", database) == "1,2"
    code, text = get(f"{process.url}/metrics")
    assert code == 200
    for metric in (
        'observer_build_info{tag="build-20260204-220645",variant="normal",version="1.0.0"} 1.0',
        "observer_database_up 1.0",
        "observer_kis_up 1.0",
        "observer_ready 1.0",
        'http_requests_total{endpoint="/ready",method="GET",status="200"}',
    ):
        assert metric in text
    # A second start finds the schema and the token in place.
    token = cache.read_bytes()
    assert process.send(signal.SIGTERM) == 0
    process.start()
    process.ready()
    assert cache.read_bytes() == token
    _no_secret(process, tree, json.loads(token)["access_token"])


def _status_when_collecting(process: Process) -> dict[str, Any]:
    body: dict[str, Any] = get(f"{process.url}/status")[1]
    assert body["collector"]["state"] == "running", body["collector"]
    return body


def _no_secret(process: Process, tree: Path, *more: str) -> None:
    texts = [process.output.read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in (tree / "logs").rglob("*.log")]
    texts.append(json.dumps(get(f"{process.url}/status")[1]))
    assert len(texts) == 4  # stdout, observer.log, maintenance.log, /status
    for secret in (PASSWORD, GOOD_KEY, BAD_KEY, APP_SECRET, *more):
        assert not any(secret in text for text in texts)


def test_wrong_password_is_told_without_the_password(
    start: Start, tree: Path, postgres: Postgres, database: str
) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, DB_PASSWORD="wrong-4711-wrong")
    line = wait_for(lambda: [line for line in process.logs() if "password authentication" in line["message"]])
    assert f"127.0.0.1:{postgres.port}" in line[0]["message"]
    assert "wrong-4711-wrong" not in process.output.read_text()


def test_refused_key_degrades_and_stays_ready(
    start: Start, tree: Path, postgres: Postgres, database: str
) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, KIS_APP_KEY=BAD_KEY)
    process.ready()
    body = wait_for(lambda: _status_when_disabled(process))
    assert body["status"] == "degraded"
    assert body["degraded"][0] == {
        "component": "kis", "class": "external", "code": "EGW00103", "message": "유효하지 않은 AppKey입니다.",
    }  # fmt: skip
    assert body["not_ready"] == []
    assert get(f"{process.url}/health")[0] == 200
    (line,) = [line for line in process.logs() if line.get("kis_code")]
    assert line["level"] == "ERROR"
    assert line["failure_class"] == "external"
    assert not list((tree / "data/assets/scalp").iterdir())
    assert not (tree / "data/cache/token_cache.json").exists()
    _no_secret(process, tree)


def _status_when_disabled(process: Process) -> dict[str, Any]:
    body: dict[str, Any] = get(f"{process.url}/status")[1]
    assert body["collector"]["state"] == "disabled", body["collector"]
    return body


@pytest.fixture
def stub() -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """A KIS stub: its list holds the answer to give."""
    answers: list[tuple[int, bytes]] = [(403, b"")]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            code, body = answers[0]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    server.server_close()


def test_the_stub_decides(tree: Path, stub: tuple[str, list[tuple[int, bytes]]]) -> None:
    url, answers = stub
    settings = kis_client.KisSettings(GOOD_KEY, APP_SECRET, "", url)
    answers[0] = (403, json.dumps({"error_code": "EGW00103", "error_description": "유효하지 않은"}).encode())
    with pytest.raises(kis_client.KisRefusedError, match="EGW00103"):
        kis_client.request_token(settings)
    for answer in ((404, b"<html>"), (500, b'{"error_code": "X"}'), (200, b"{}"), (200, b"[]")):
        answers[0] = answer
        with pytest.raises(kis_client.KisUnreachableError):
            kis_client.request_token(settings)
    answers[0] = (200, b'{"access_token": "tok", "expires_in": 86400}')
    token = kis_client.request_token(settings)
    kis_client.store_token(settings, token)
    assert kis_client.cached_token(settings) == token
    assert kis_client.cached_token(kis_client.KisSettings("other", APP_SECRET, "", url)) is None
    assert kis_client.cached_token(kis_client.KisSettings(GOOD_KEY, APP_SECRET, "", "")) is None
    kis_client.store_token(settings, kis_client.Token("old", time.time() + 60))
    assert kis_client.cached_token(settings) is None


def test_never_ready_variant(start: Start, postgres: Postgres, database: str) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, OBSERVER_BUILD_VARIANT="never-ready")
    wait_for(lambda: get(f"{process.url}/status")[1]["database"]["connected"])
    assert get(f"{process.url}/ready")[1]["reasons"] == ["build variant never-ready"]
    assert get(f"{process.url}/health")[0] == 200


def test_a_missing_folder_is_a_reason_and_heals(
    start: Start, tree: Path, postgres: Postgres, database: str
) -> None:
    ingest = tree / "data" / "assets" / "ingest"
    ingest.rmdir()
    (tree / "logs" / "system").rmdir()
    process = start(DB_PORT=str(postgres.port), DB_NAME=database)
    wait_for(lambda: get(f"{process.url}/status")[1]["database"]["connected"])
    code, body = get(f"{process.url}/ready")
    assert code == 503
    assert [reason.split(":")[0] for reason in body["reasons"]] == ["system_log", "ingest"]
    record = b'{"writer": "w", "seq": 1, "payload": "x"}'
    code, body = get(f"{process.url}/records", record)
    assert (code, body["reason"]) == (503, "file")
    ingest.mkdir()
    (tree / "logs" / "system").mkdir()
    process.ready()
    assert get(f"{process.url}/records", record) == (200, {"writer": "w", "acknowledged": [1]})


def test_standalone_off_runs_no_collector(start: Start) -> None:
    process = start(OBSERVER_STANDALONE="0")
    assert get(f"{process.url}/status")[1]["collector"]["reason"] == "OBSERVER_STANDALONE is 0"


def test_logs_are_json_on_stdout_and_in_files(start: Start, tree: Path) -> None:
    process = start(POD_NAME="observer-abc", POD_NAMESPACE="observer-prod")
    assert process.send(signal.SIGTERM) == 0
    lines = process.logs()
    assert {"timestamp", "level", "logger", "message"} <= set(lines[0])
    assert {line["pod"] for line in lines} == {"observer-abc"}
    stored = (tree / "logs/system/observer.log").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in stored] == lines
    kept = [json.loads(line)["message"] for line in (tree / "logs/maintenance/maintenance.log").open()]
    assert kept == ["started", "shutdown started", "shutdown complete"]


def test_text_format_and_level(start: Start) -> None:
    process = start(LOG_FORMAT="text", LOG_LEVEL="ERROR")
    wait_for(lambda: "cannot use database" in process.output.read_text())
    assert " INFO " not in process.output.read_text()


def test_secrets_are_masked_wherever_they_come_from() -> None:
    formatter = logging_setup.LineFormatter("json", ('pa"ss\\word', "tiny", "abc"))
    make = logging.LogRecord
    line = formatter.format(make("x", 20, "f", 1, 'a pa"ss\\word, tiny, abc', (), None))
    assert json.loads(line)["message"] == "a ***, ***, abc"


def test_log_file_rotates_and_survives_a_lost_volume(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_setup, "FILE_BYTES", 500)
    path = tree / "logs" / "system" / "observer.log"
    handler = logging_setup.VolumeFileHandler(path)
    make = logging.LogRecord
    for number in range(20):
        handler.emit(make("x", 20, "f", 1, f"line {number} {'x' * 40}", (), None))
    assert path.with_name("observer.log.1").exists()
    assert path.stat().st_size <= 500
    for old in path.parent.iterdir():
        old.unlink()
    path.parent.rmdir()
    handler.emit(make("x", 20, "f", 1, "lost", (), None))
    assert handler.failures == 1
    handler.close()


def test_sigterm_finishes_what_is_in_flight(
    start: Start, tree: Path, postgres: Postgres, database: str
) -> None:
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, OBSERVER_COLLECT_RATE="5")
    process.ready()
    # A lock holds the commit back, so that the request is in flight when the signal comes.
    answers: list[tuple[int, object]] = []
    body = json.dumps([{"writer": "w", "seq": seq, "payload": "x"} for seq in range(50)]).encode()
    holder = threading.Thread(
        target=postgres.sql,
        args=("BEGIN; LOCK TABLE ingest_records; SELECT pg_sleep(1.5); COMMIT", database),
    )
    holder.start()
    time.sleep(0.4)
    sender = threading.Thread(target=lambda: answers.append(get(f"{process.url}/records", body)))
    sender.start()
    wait_for(lambda: get(f"{process.url}/status")[1]["records"]["waiting"] == 50)
    began = time.monotonic()
    assert process.process is not None
    process.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "shutting down" in get(f"{process.url}/ready")[1]["reasons"], 1)
    late = get(f"{process.url}/records", b'{"writer": "w", "seq": 99, "payload": "x"}')
    assert (late[0], late[1]["reason"]) == (503, "stopping")
    assert process.process.wait(10) == 0
    assert time.monotonic() - began < 10
    sender.join()
    holder.join()
    assert answers == [(200, {"writer": "w", "acknowledged": list(range(50))})]
    assert postgres.sql("SELECT count(*) FROM ingest_records", database) == "50"
    assert len((tree / "data/assets/ingest/w.jsonl").read_text().splitlines()) == 50
    assert process.logs()[-1]["message"] == "shutdown complete"


def test_it_writes_nowhere_else(start: Start, tree: Path, postgres: Postgres, database: str) -> None:
    """No file outside the four folders: the root file system is read-only (seed 001 1-2)."""
    process = start(DB_PORT=str(postgres.port), DB_NAME=database, HOME="/nonexistent")
    process.ready()
    assert process.process is not None
    fds = Path(f"/proc/{process.process.pid}/fd")
    for entry in fds.iterdir():
        try:
            flags = (fds.parent / "fdinfo" / entry.name).read_text().splitlines()[1].split()[1]
            target = str(entry.readlink())
        except FileNotFoundError:
            continue  # a living service opens and closes files between the listing and the look
        if int(flags, 8) & 3 and target.startswith("/") and not target.startswith("/dev/"):
            assert target.startswith(str(tree)) or target == str(process.output), target
