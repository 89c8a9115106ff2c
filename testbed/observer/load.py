#!/usr/bin/env python3
"""Writes numbered records to Observer and later counts which acknowledged ones are missing.

The journal lives outside the node. Its lines (JSON, fsynced before a batch is sent and after it is
answered) are the proof of what Observer acknowledged; a record without an acknowledgement may be
there or not. Standard library only; talks to no address but --url.

    load.py run   --url http://127.0.0.1:8000 --writer w1 --rate 50 --seconds 10 --journal w1.journal
    load.py check --url http://127.0.0.1:8000 --journal w1.journal
    load.py check --journal w1.journal --jsonl w1.jsonl --psql-csv w1.csv

Exit status: 0 good; 1 an acknowledged record is missing or changed (check), the sender gave up (run);
2 could not tell: bad arguments, unreadable input, no answer, records that this journal never sent.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import http.client
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

MAXIMUM_COUNT = 1_000_000
MAXIMUM_SECONDS = 24 * 3600.0
MAXIMUM_RATE = 5_000.0
MAXIMUM_SIZE = 65_536
MAXIMUM_BATCH = 1_000
REQUEST_SECONDS = 15.0
SUMMARY_SECONDS = 300.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
STORES = ("jsonl", "postgresql")

Range = tuple[int, int]


class LoadError(Exception):
    """Nothing can be said; the text tells why."""


def payload(writer: str, seq: int, size: int) -> str:
    """Return the record's text: made from its identity, so that a check needs no copy of it."""
    block = hashlib.sha256(f"{writer}:{seq}".encode()).hexdigest()
    return (block * (size // len(block) + 1))[:size]


def digest(text: str) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def to_ranges(seqs: Iterable[int]) -> list[Range]:
    """Return sorted, joined ranges, both ends included."""
    ranges: list[Range] = []
    for seq in sorted(set(seqs)):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges


def from_ranges(ranges: Iterable[Iterable[int]]) -> set[int]:
    """Return the numbers of ranges."""
    return {seq for low, high in ranges for seq in range(low, high + 1)}


class Client:
    """One kept-alive connection to one address: no proxy, no redirect."""

    def __init__(self, url: str) -> None:
        """Take http://HOST:PORT. Raises LoadError for anything else."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise LoadError(f"--url must be http://HOST:PORT, not {url!r}")
        self._host = parts.hostname
        self._port = parts.port or 80
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, method: str, path: str, body: bytes | None, seconds: float) -> tuple[int, bytes]:
        """Return status and body. After OSError or http.client.HTTPException the connection is gone."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise


class Journal:
    """The proof: a line is on disk before the next step is taken."""

    def __init__(self, path: Path) -> None:
        """Open for appending; half a line of a crashed run is ended first."""
        if path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n"):
            with path.open("ab") as stream:
                stream.write(b"\n")
        self._stream: TextIO = path.open("a", encoding="utf-8")
        folder = os.open(path.resolve().parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def write(self, event: str, **values: object) -> None:
        """Write one event."""
        entry = {"time": round(time.time(), 6), "event": event, **values}
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


@dataclass
class Proof:
    """What a journal says."""

    writer: str | None = None
    sizes: dict[int, int] = field(default_factory=dict)  # by seq, of all that was sent
    acknowledged: set[int] = field(default_factory=set)
    damaged: int = 0

    @property
    def last(self) -> int:
        """The highest seq sent; 0 without any."""
        return max(self.sizes, default=0)

    def digest(self, seq: int) -> str:
        """Return the hash that a stored record must have."""
        return digest(payload(self.writer or "", seq, self.sizes[seq]))


def read_journal(path: Path) -> Proof:
    """Return the proof. Raises LoadError."""
    proof = Proof()
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                try:
                    entry = json.loads(line)
                    event = entry["event"]
                    if event == "start":
                        if proof.writer not in (None, entry["writer"]):
                            raise LoadError(f"{path} holds two writers: use one journal for each")
                        proof.writer = entry["writer"]
                    elif event == "sent":
                        for seq in range(entry["first"], entry["last"] + 1):
                            proof.sizes[seq] = entry["size"]
                    elif event == "acknowledged":
                        proof.acknowledged |= from_ranges(entry["ranges"])
                except (ValueError, KeyError, TypeError):
                    proof.damaged += 1
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    return proof


@dataclass
class Outcome:
    """What a run did."""

    writer: str
    first: int
    sent: int = 0
    acknowledged: int = 0
    retries: int = 0
    longest_gap_seconds: float = 0.0
    seconds: float = 0.0
    gave_up: str | None = None


def _deliver(
    client: Client,
    body: bytes,
    give_up: float,
    retried: Callable[[str], None],
) -> list[int]:
    """Send one batch until it is acknowledged; the seqs that were. Raises LoadError after `give_up`."""
    deadline = time.monotonic() + give_up
    pause = FIRST_PAUSE
    while True:
        try:
            code, answer = client.call("POST", "/records", body, REQUEST_SECONDS)
            if code == 200:
                return [int(seq) for seq in json.loads(answer)["acknowledged"]]
            reason = f"HTTP {code}: {answer[:200].decode('utf-8', 'replace')}"
            if code in (400, 409, 413):
                raise LoadError(f"refused for good: {reason}")
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            # Also an answer that is not Observer's: something else may sit on the address meanwhile.
            reason = f"{type(error).__name__}: {error}"
            client.close()
        if time.monotonic() + pause > deadline:
            raise LoadError(f"no acknowledgement within {give_up:g} s: {reason}")
        retried(reason)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def run(
    url: str,
    writer: str,
    journal: Path,
    *,
    rate: float = 50.0,
    size: int = 200,
    seconds: float | None = None,
    count: int | None = None,
    batch: int = 1,
    give_up: float = 120.0,
) -> Outcome:
    """Send records until `seconds` or `count` is reached; one batch may be retried for `give_up` seconds.

    A journal that exists is continued after its last seq. Raises LoadError for arguments that cannot be.
    """
    limits: list[tuple[str, float, float, float]] = [
        ("rate", rate, 0.001, MAXIMUM_RATE),
        ("size", size, 1, MAXIMUM_SIZE),
        ("batch", batch, 1, MAXIMUM_BATCH),
        ("give-up", give_up, 0, MAXIMUM_SECONDS),
        ("seconds", MAXIMUM_SECONDS if seconds is None else seconds, 0.001, MAXIMUM_SECONDS),
        ("count", MAXIMUM_COUNT if count is None else count, 1, MAXIMUM_COUNT),
    ]
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise LoadError(f"--{name} must be from {low:g} to {high:g}, not {value:g}")
    if seconds is None and count is None:
        raise LoadError("give --seconds or --count: a run has an end")
    client = Client(url)
    proof = read_journal(journal) if journal.exists() else Proof()
    if proof.writer not in (None, writer):
        raise LoadError(f"{journal} belongs to writer {proof.writer!r}")
    outcome = Outcome(writer, proof.last + 1)
    log = Journal(journal)
    log.write("start", writer=writer, url=url, rate=rate, size=size, batch=batch)
    begun = due = last_ack = time.monotonic()
    left = MAXIMUM_COUNT if count is None else count
    seq = outcome.first

    def retried(reason: str) -> None:
        outcome.retries += 1
        log.write("retry", first=seq, reason=reason)

    try:
        while left > 0 and (seconds is None or time.monotonic() - begun < seconds):
            time.sleep(max(0.0, due - time.monotonic()))
            number = min(batch, left)
            # Time lost in an outage is not made up: the rate is never exceeded.
            due = max(due, time.monotonic() - number / rate) + number / rate
            seqs = range(seq, seq + number)
            body = json.dumps(
                [{"writer": writer, "seq": one, "payload": payload(writer, one, size)} for one in seqs]
            ).encode()
            log.write("sent", first=seqs[0], last=seqs[-1], size=size)
            outcome.sent += number
            acknowledged = _deliver(client, body, give_up, retried)
            if not set(acknowledged) <= set(seqs):
                raise LoadError(f"acknowledged what was not sent: {acknowledged}")
            log.write("acknowledged", ranges=to_ranges(acknowledged))
            outcome.acknowledged += len(set(acknowledged))
            now = time.monotonic()
            outcome.longest_gap_seconds = max(outcome.longest_gap_seconds, round(now - last_ack, 3))
            last_ack = now
            seq += number
            left -= number
    except LoadError as error:
        outcome.gave_up = str(error)
    finally:
        outcome.seconds = round(time.monotonic() - begun, 3)
        log.write("end", **vars(outcome))
        log.close()
        client.close()
    return outcome


@dataclass
class Store:
    """What one store holds of a writer."""

    present: set[int]
    checksum: str
    duplicates: int | None = None
    damaged: int = 0
    conflicts: int = 0


def checksum(pairs: Iterable[tuple[int, str]]) -> str:
    """Return the checksum over pairs in rising order of seq, as Observer computes it."""
    total = hashlib.sha256()
    for seq, value in pairs:
        total.update(f"{seq}:{value}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _store(pairs: Iterable[tuple[int, str] | None]) -> Store:
    seen: dict[int, str] = {}
    duplicates = damaged = conflicts = 0
    for pair in pairs:
        if pair is None:
            damaged += 1
        elif pair[0] not in seen:
            seen[pair[0]] = pair[1]
        elif seen[pair[0]] == pair[1]:
            duplicates += 1
        else:
            conflicts += 1
    return Store(set(seen), checksum(sorted(seen.items())), duplicates, damaged, conflicts)


def _jsonl_pairs(lines: Iterable[str], writer: str) -> Iterator[tuple[int, str] | None]:
    for line in lines:
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            good = entry["writer"] == writer and entry["sha256"] == digest(entry["payload"])
            yield (int(entry["seq"]), str(entry["sha256"])) if good else None
        except (ValueError, KeyError, TypeError, AttributeError):
            yield None


def _csv_pairs(rows: Iterable[list[str]]) -> Iterator[tuple[int, str] | None]:
    for number, row in enumerate(rows):
        if not row or (number == 0 and not row[0].isdigit()):  # a header
            continue
        good = len(row) == 2 and row[0].isdigit()
        yield (int(row[0]), row[1]) if good else None


def read_jsonl(path: Path, writer: str) -> Store:
    """Return the contents of a writer's JSONL file. Raises LoadError."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return _store(_jsonl_pairs(stream, writer))
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None


def read_csv(path: Path) -> Store:
    """Return the rows of `SELECT seq, payload_sha256 FROM ingest_records WHERE writer = ...` as CSV."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return _store(_csv_pairs(csv.reader(stream)))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise LoadError(f"cannot read {path}: {error}") from None


def read_summary(url: str, writer: str) -> dict[str, Store]:
    """Ask Observer for both stores. Raises LoadError."""
    client = Client(url)
    try:
        code, body = client.call(
            "GET", f"/records/{urllib.parse.quote(writer, safe='')}/summary", None, SUMMARY_SECONDS
        )
        if code != 200:
            raise LoadError(f"{url} answers {code}: {body[:400].decode('utf-8', 'replace')}")
        answer = json.loads(body)
        return {name: _summarised(answer[name]) for name in STORES}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise LoadError(f"no summary from {url}: {type(error).__name__}: {error}") from None
    finally:
        client.close()


def _summarised(part: dict[str, Any]) -> Store:
    return Store(
        from_ranges(part["ranges"]),
        str(part["checksum"]),
        part.get("duplicates"),
        int(part.get("damaged", 0)),
        int(part.get("conflicts", 0)),
    )


def check(
    journal: Path, url: str | None = None, jsonl: Path | None = None, psql_csv: Path | None = None
) -> dict[str, Any]:
    """Compare the journal's acknowledged records with each store. Raises LoadError.

    `lost` lists ranges of acknowledged seqs that a store lacks. `content` is "same", "differs", or
    "unknown" when the store holds records that this journal never sent.
    """
    proof = read_journal(journal)
    if proof.writer is None:
        raise LoadError(f"{journal} holds no run")
    stores: dict[str, Store] = read_summary(url, proof.writer) if url else {}
    if jsonl is not None:
        stores["jsonl"] = read_jsonl(jsonl, proof.writer)
    if psql_csv is not None:
        stores["postgresql"] = read_csv(psql_csv)
    if not stores:
        raise LoadError("give --url, or --jsonl and --psql-csv")
    report: dict[str, Any] = {
        "writer": proof.writer,
        "sent": len(proof.sizes),
        "acknowledged": len(proof.acknowledged),
        "journal_damaged_lines": proof.damaged,
        "stores": {},
    }
    for name, store in stores.items():
        lost = proof.acknowledged - store.present
        if not store.present <= set(proof.sizes):
            content = "unknown"
        else:
            expected = checksum((seq, proof.digest(seq)) for seq in sorted(store.present))
            content = "same" if expected == store.checksum else "differs"
        report["stores"][name] = {
            "present": len(store.present),
            "present_of_acknowledged": len(proof.acknowledged) - len(lost),
            "present_not_acknowledged": len(store.present - proof.acknowledged),
            "lost_count": len(lost),
            "lost": to_ranges(lost),
            "duplicated": store.duplicates or 0,
            "damaged": store.damaged,
            "conflicts": store.conflicts,
            "content": content,
        }
    report["lost"] = sum(part["lost_count"] for part in report["stores"].values())
    report["content"] = sorted({part["content"] for part in report["stores"].values()})
    return report


def _show(report: dict[str, Any]) -> str:
    lines = [f"writer {report['writer']}: sent {report['sent']}, acknowledged {report['acknowledged']}"]
    for name, part in report["stores"].items():
        lost = ", ".join(f"{low}-{high}" if low != high else str(low) for low, high in part["lost"])
        lines.append(
            f"{name}: present {part['present']}, lost {part['lost_count']}{f' ({lost})' if lost else ''},"
            f" duplicated {part['duplicated']}, damaged {part['damaged']}, content {part['content']}"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sender = commands.add_parser("run", help="write records")
    sender.add_argument("--url", required=True)
    sender.add_argument("--writer", required=True)
    sender.add_argument("--journal", required=True, type=Path)
    sender.add_argument("--rate", type=float, default=50.0, help="records per second")
    sender.add_argument("--size", type=int, default=200, help="characters of a payload")
    sender.add_argument("--seconds", type=float)
    sender.add_argument("--count", type=int)
    sender.add_argument("--batch", type=int, default=1, help="records per request")
    sender.add_argument("--give-up", type=float, default=120.0, help="seconds for one batch")
    checker = commands.add_parser("check", help="count what is missing")
    checker.add_argument("--journal", required=True, type=Path)
    checker.add_argument("--url")
    checker.add_argument("--jsonl", type=Path, help="a writer's file, instead of asking Observer")
    checker.add_argument(
        "--psql-csv", type=Path, help="CSV of seq,payload_sha256, instead of asking Observer"
    )
    checker.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = vars(_parser().parse_args(arguments))
    command = given.pop("command")
    try:
        if command == "run":
            outcome = run(**given)
            print(json.dumps(vars(outcome)))
            return 1 if outcome.gave_up else 0
        as_json = given.pop("json")
        report = check(**given)
    except LoadError as error:
        print(f"load.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report) if as_json else _show(report))
    if report["lost"] or "differs" in report["content"]:
        return 1
    return 2 if report["content"] != ["same"] else 0


if __name__ == "__main__":
    sys.exit(main())
