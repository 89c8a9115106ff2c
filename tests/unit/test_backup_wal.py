"""The WAL stream against a real PostgreSQL and a real receiver."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import wal_bed
from backup import database, guard, host, jobs, problems, receiver, state, stream, wal
from wal_bed import Host, Server, until

pytestmark = pytest.mark.skipif(not wal_bed.PROGRAMS.exists(), reason="there is no PostgreSQL 15 on this machine")


class Node:
    """A node's service with all that it works with."""

    def __init__(self, server: Server, backup_host: Host, scratch: Path, **more: Any) -> None:  # noqa: ANN401
        self.server, self.host, self.scratch = server, backup_host, scratch
        self.given = wal_bed.given(server, backup_host, scratch, **more)
        self.bases = 0
        self.service = self._service()
        self.thread = threading.Thread(target=self.service.run)

    def _service(self) -> stream.Service:
        def database() -> wal_bed.Asked:
            return wal_bed.Asked(self.server, self.given)
        sessions = stream.Sessions(self.given, database(), lambda _given: "127.0.0.1", self.host.argv)
        return stream.Service(self.given, database(), sessions, stream.Psql(stream.psql(database())),
                              str(self.scratch / "work" / "stream.json"), str(self.scratch / "state"), self.base)

    def base(self) -> None:
        """In the place of the base backup's job."""
        self.bases += 1
        slot = stream.present_slot(wal_bed.Asked(self.server, self.given))
        state.update("base", True, folder=str(self.scratch / "state"), slot=slot)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.service.over.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def again(self) -> None:
        self.stop()
        self.service = self._service()
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()

    @property
    def windows(self) -> list[guard.Window]:
        return self.service.guard.windows

    def promised(self) -> bool:
        """Whether an acknowledged record cannot be lost now."""
        return self.service.guard.window is None and self.service.guard.look.sync

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = state.read(str(self.scratch / "state"))["jobs"]["stream"]
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # The socket's path is short, and its folder open to the server's user.
    folder = Path(f"/tmp/observer-pg-{os.getpid()}")
    one = Server(folder)
    one.start()
    one.psql("CREATE TABLE t (n bigserial PRIMARY KEY, x text)")
    yield one
    one.stop("immediate")
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def node(server: Server, tmp_path: Path) -> Iterator[Node]:
    folder = Path(f"/tmp/observer-wal-{os.getpid()}-{time.monotonic_ns() % 10**6}")
    one = Node(server, Host(folder, tmp_path), tmp_path)
    one.start()
    yield one
    one.host.down.touch()
    one.stop()
    # A session that a failed test has left frozen, too.
    asked(folder, "", "", 0, "--end")
    for slot in server.psql("SELECT slot_name FROM pg_replication_slots WHERE NOT active").split():
        server.psql(f"SELECT pg_drop_replication_slot('{slot}')")
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience than on a node; test_backup_guard.py has the real figures."""
    for name, seconds in (("STEADY", 1.0), ("CERTAIN", 1.0), ("FALL_BACK", 5.0), ("HURRY", 3.0), ("SETTLE", 5.0),
                          ("QUIET", 2.0)):
        monkeypatch.setattr(guard, name, seconds)
    monkeypatch.setattr(stream, "QUIET", 2.0)
    monkeypatch.setattr(stream, "SAVE", 2.0)


def test_all_that_is_acknowledged_is_on_the_backup_host(
        node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until(node.promised, 40)
    assert node.bases == 1
    assert node.server.psql("SHOW synchronous_standby_names") == "observer_receiver"
    assert node.server.psql("SHOW max_slot_wal_keep_size") == "2GB"
    first, window = node.service.guard.look.slot, node.windows[-1]
    assert (window.why, window.fallback) == ("first start", False)
    node.server.psql("INSERT INTO t (x) SELECT md5(n::text) FROM generate_series(1, 1000) n")
    end = node.server.psql("SELECT pg_walfile_name(pg_current_wal_flush_lsn())")
    until(lambda: (node.scratch / "state" / "state.json").exists() and node.told()["ok"], 30)
    figures = node.told()["figures"]
    assert (figures["mode"], figures["guaranteed"], figures["slot"]) == ("sync", 1, first)
    assert figures["lag_seconds"] < 5

    # While the session goes on, the same node reads it.
    monkeypatch.setattr(host, "ssh", node.host.argv)
    listed = host.generations(node.given)
    assert listed["epoch"] == 1
    assert [one["slot"] for one in listed["generations"]] == [first]
    names = [one["name"] for one in listed["generations"][0]["segments"]]
    assert f"{end}.partial" in names
    assert {one["size"] for one in listed["generations"][0]["segments"]} == {16 << 20}
    target = tmp_path / "wal"
    target.mkdir()
    begin = names[0][:24]
    assert host.fetch(node.given, first, begin, str(target)) == names
    assert sorted(path.name for path in target.iterdir()) == sorted(names)
    listed_there = {one["name"]: one["sha256"] for one in host.segments(node.given, first, begin)}
    whole = [name for name in names if len(name) == 24]
    assert all(listed_there[name] == hashlib.sha256((target / name).read_bytes()).hexdigest() for name in whole)
    (target / f"{end}.partial").rename(target / end)
    dumped = subprocess.run([wal_bed.PROGRAMS / "pg_waldump", "-p", target, end], capture_output=True, text=True,
                            check=False)
    assert "COMMIT" in dumped.stdout


def test_a_dead_receiver_is_replaced(node: Node) -> None:
    until(node.promised, 40)
    pid, windows = node.host.session(), len(node.windows)
    before = time.time()
    os.killpg(pid, signal.SIGKILL)
    node.server.psql("INSERT INTO t (x) VALUES ('waits for the next one')", 25)
    until(node.promised, 20)
    assert node.host.session() != pid
    for one in node.windows[windows:]:
        assert one.since <= before + 0.6 and not one.fallback


def test_a_frozen_receiver_stops_nobody_for_long(node: Node) -> None:
    until(node.promised, 40)
    pid = node.host.session()
    node.host.down.touch()
    before = time.time()
    wal_bed.freeze(pid)
    began = time.monotonic()
    node.server.psql("INSERT INTO t (x) VALUES ('hangs')", 30)
    waited = time.monotonic() - began
    assert 3 < waited < 25, waited
    window = node.service.guard.window
    assert window and window.fallback and window.to is None
    assert before - 3 < window.since <= before + 0.1, "it begins at the last reply"
    assert node.server.psql("SHOW synchronous_standby_names") == ""
    until(lambda: "Connection refused" in node.told()["why"])
    assert node.told()["ok"] is False
    assert node.told()["figures"]["mode"] == "async"
    node.server.psql("INSERT INTO t (x) SELECT 'unguarded' FROM generate_series(1, 1000)", 5)
    node.host.down.unlink()
    until(node.promised, 40)
    assert node.host.session() != pid
    assert receiver.started(pid) == 0, "the frozen one is gone"
    assert node.windows[-1].to and node.windows[-1].to > before + 5
    until(lambda: node.told()["ok"])


def test_a_lost_slot_begins_a_new_generation(node: Node) -> None:
    until(node.promised, 40)
    first = node.service.guard.look.slot
    node.host.down.touch()
    os.killpg(node.host.session(), signal.SIGKILL)
    until(lambda: node.server.psql("SHOW synchronous_standby_names") == "", 20)
    node.server.psql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    node.server.psql("SELECT pg_reload_conf()")
    for _ in range(4):
        node.server.psql("INSERT INTO t (x) VALUES ('x')")
        node.server.psql("SELECT pg_switch_wal()")
    node.server.psql("CHECKPOINT")
    until(lambda: node.service.guard.look.slot not in ("", first), 20)
    assert node.told()["ok"] is False
    node.host.down.unlink()
    until(node.promised, 60)
    assert node.bases == 2
    assert sorted(path.name for path in node.host.folder.glob("observer_e*")) == [first, node.service.guard.look.slot]
    assert node.windows[-1].fallback


def test_a_restart_of_the_service_and_of_the_database(node: Node) -> None:
    until(node.promised, 40)
    slot = node.service.guard.look.slot
    node.again()
    assert node.server.psql("SHOW synchronous_standby_names") == "" or node.service.guard.look.sync
    until(node.promised, 40)
    assert node.windows[-1].why == "the service was stopped"
    node.server.stop("immediate")
    time.sleep(4)
    assert node.service.guard.window
    node.server.start()
    until(node.promised, 40)
    assert node.service.guard.look.slot == slot
    assert node.bases == 1


def test_an_older_epoch_stays_out(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    until(node.promised, 40)
    # As the one that takes over does it: its key ends the session, and its own session leaves its epoch.
    (node.host.folder / "epoch").write_text("2\n")
    assert json.loads(asked(node.host.folder, "", "", 0, "--end").stdout) == {"ended": True}
    until(lambda: isinstance(node.service.sessions.problem, problems.TakenOver), 20)
    until(lambda: node.server.psql("SHOW synchronous_standby_names") == "", 20)
    assert "epoch 2 has taken over" in str(node.service.sessions.problem)
    monkeypatch.setattr(host, "ssh", node.host.argv)
    with pytest.raises(problems.TakenOver):
        host.prune(node.given, node.service.guard.look.slot, "0" * 24)


def test_what_arrives_otherwise_is_refused(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until(node.promised, 40)
    slot = node.service.guard.look.slot
    node.server.psql("SELECT pg_switch_wal()")
    node.server.psql("INSERT INTO t (x) VALUES ('x')")
    target = tmp_path / "wal"
    target.mkdir()
    monkeypatch.setattr(host, "ssh", node.host.argv)
    with pytest.raises(problems.Absent):
        host.fetch(node.given, "observer_e1_20200101t000000", "0" * 24, str(target))
    (node.scratch / "password").write_text("another\n")
    with pytest.raises(problems.WrongPassword):
        host.fetch(node.given, slot, "0" * 24, str(target))
    (node.scratch / "password").write_text(wal_bed.PASSWORD + "\n")
    # Cut off in the middle.
    monkeypatch.setattr(host, "ssh", lambda *words: ["sh", "-c", '"$@" | head -c 3000000', "sh",
                                                     *node.host.argv(*words)])
    with pytest.raises(problems.Incomplete):
        host.fetch(node.given, slot, "0" * 24, str(target))
    assert not [path for path in target.iterdir() if path.suffix != ".coming"]
    if wal_bed.REAL_MOUNT:
        # A bit of a whole segment.
        monkeypatch.setattr(host, "ssh", node.host.argv)
        stored = min(path for path in (node.host.folder / slot).iterdir() if len(path.name) == 24)
        with stored.open("r+b") as file:
            file.seek(5_000_000)
            byte = file.read(1)[0]
            file.seek(5_000_000)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(problems.Damaged, match=stored.name):
            host.fetch(node.given, slot, "0" * 24, str(target))


def test_the_definitions_have_a_fingerprint(server: Server, tmp_path: Path) -> None:
    asked_of = wal_bed.Asked(server, wal_bed.given(server, Host(tmp_path / "host", tmp_path), tmp_path))
    server.psql("CREATE SCHEMA s; CREATE TABLE s.d (id serial PRIMARY KEY, x text,"
                " at timestamptz DEFAULT '2026-01-01 00:00+00')")
    before = jobs.rows(asked_of)
    assert before and before["exact"] and before["server"].startswith("15.")
    server.psql("INSERT INTO s.d (x) VALUES ('a'); ALTER DATABASE postgres SET search_path = s;"
                " ALTER DATABASE postgres SET TimeZone = 'Asia/Seoul'; ANALYZE")
    again = jobs.rows(asked_of)
    # Neither rows nor whoever asks make it another.
    assert again and again["definitions"] == before["definitions"] and again["tables"] != before["tables"]
    last = before["definitions"]
    for sql, kinds in (
            ("ALTER TABLE s.d ALTER x SET NOT NULL", {"columns"}),
            ("ALTER TABLE s.d ALTER x SET DEFAULT 'b'", {"columns"}),
            ("ALTER TABLE s.d ALTER x TYPE varchar(9)", {"columns"}),
            ("CREATE INDEX i ON s.d (x)", {"indexes", "relations"}),
            ("ALTER TABLE s.d ADD CONSTRAINT c CHECK (x <> E'a\n\\\\b')", {"constraints"}),
            ("CREATE VIEW s.v AS SELECT id FROM s.d", {"views", "relations", "columns"}),
            ("CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", {"functions"}),
            ("CREATE OR REPLACE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'", {"functions"}),
            ("CREATE AGGREGATE s.g(int) (sfunc = int4pl, stype = int4)", {"functions"}),
            ("ALTER SEQUENCE s.d_id_seq INCREMENT 5", {"sequences"}),
            ("CREATE TYPE s.e AS ENUM ('x')", {"enums"}),
            ("CREATE TRIGGER t BEFORE UPDATE ON s.d FOR EACH ROW"
             " EXECUTE FUNCTION suppress_redundant_updates_trigger()", {"triggers"}),
            ("DROP EXTENSION plpgsql", {"extensions"}), ("CREATE EXTENSION plpgsql", {"extensions"})):
        server.psql(sql)
        found = jobs.definitions(asked_of.psql(f"{jobs.PLAIN} SET search_path = ''; {jobs.definitions_sql()}"))
        assert {kind for kind, one in found["kinds"].items() if one != last["kinds"][kind]} == kinds, sql
        assert found["sha256"] != last["sha256"]
        last = found
    server.psql("DROP SCHEMA s CASCADE; ALTER DATABASE postgres RESET ALL")


def test_the_ends_of_transactions_are_read_from_the_log(server: Server) -> None:
    """Each of them as PostgreSQL's own program tells them, across pages, segments and a segment that is left early."""
    server.psql("CREATE TABLE w (x text)")
    for number in range(60):
        size = (10, 5000, 90_000, 3_000_000)[number % 4]
        # Not to be compressed; the large ones reach over pages and segments.
        server.psql("INSERT INTO w SELECT string_agg(md5(random()::text), '')"
                    f" FROM generate_series(1, {size // 32 + 1})")
        if number % 7 == 0:
            server.psql("BEGIN; INSERT INTO w VALUES ('never'); ROLLBACK")
        if number == 30:
            server.psql("SELECT pg_switch_wal()")
        if number == 45:
            server.psql("BEGIN; SAVEPOINT a; INSERT INTO w VALUES ('x'); RELEASE a; COMMIT")
    folder = server.folder / "data" / "pg_wal"
    last = server.psql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").strip()
    names = sorted(one.name for one in folder.iterdir() if wal.NAME.fullmatch(one.name) and one.name <= last)
    assert len(names) > 3
    found: list[float] = []
    for number, name in enumerate(names):
        after = names[number + 1:number + 2]
        found += wal.transaction_ends(wal.contents(str(folder / name), name),
                                      wal.contents(str(folder / after[0]), after[0]) if after else None)
    # It ends with an error, since the log goes on for ever.
    told = subprocess.run([str(wal_bed.PROGRAMS / "pg_waldump"), "--rmgr=Transaction", "--path", str(folder), names[0],
                           names[-1]], check=False, capture_output=True, text=True, env={**os.environ, "TZ": "UTC"})
    assert len(found) > 60
    assert found == pytest.approx([
        datetime.strptime(match, "%Y-%m-%d %H:%M:%S.%f %Z").replace(tzinfo=UTC).timestamp()
        for match in re.findall(r"desc: (?:COMMIT|ABORT) (\S+ \S+ UTC)", told.stdout)], abs=1e-6)
    assert wal.last_end({name: str(folder / name) for name in names}, names) == found[-1]
    assert abs(found[-1] - time.time()) < 60


def test_a_record_that_was_given_up_when_the_power_was_cut_is_left_out() -> None:
    """The page after it continues nothing; and what is no record ends the look, and nothing else."""
    def commit(at: float, pad: int = 0) -> bytes:
        body = bytes([254]) + struct.pack("<I", 8 + pad) + struct.pack("<q", round((at - wal.EPOCH) * 1e6)) + bytes(pad)
        whole = wal.RECORD.pack(wal.RECORD.size + len(body), 1, 0, 0, wal.TRANSACTIONS, 0) + body
        return whole + bytes(-len(whole) % 8)

    first, second, third = commit(1e9 + 1), commit(1e9 + 2, 9000), commit(1e9 + 3)
    page = wal.PAGE - wal.FIRST_HEADER
    cut = (first + second)[:page]
    ends = wal.transaction_ends(wal.Contents(cut + third + bytes(64), 0, (0, page)))
    assert ends == [1e9 + 1, 1e9 + 3]
    whole = wal.transaction_ends(wal.Contents(first + second + third, 0, (0,)))
    assert whole == [1e9 + 1, 1e9 + 2, 1e9 + 3]
    # A header whose body was never written.
    assert wal.transaction_ends(wal.Contents(first + third[:wal.RECORD.size] + bytes(64), 0, (0,))) == [1e9 + 1]


def test_the_password_is_in_no_statement() -> None:
    # RFC 7677's example.
    import base64

    made = database.verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert made == ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")


def test_names_of_generations_only_rise() -> None:
    assert stream.after("", 3, 0) == "observer_e3_19700101t000000"
    assert stream.after("observer_e3_20261122t010203", 3, 0) == "observer_e3_20261122t010204"
    assert stream.after("observer_e2_20261122t010203", 3, 0) == "observer_e3_19700101t000000"
    names = ["observer_e10_20200101t000000", "observer_e2_20260101t000000", "observer_e2_20250101t000000"]
    assert sorted(names, key=receiver.age_of) == names[::-1]


def asked(folder: Path, words: str, text: str = "", epoch: int = 1, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(wal_bed.command(folder, epoch, *more), input=text, capture_output=True, text=True,
                          check=False, env={**os.environ, "SSH_ORIGINAL_COMMAND": words}, timeout=30)


@pytest.mark.parametrize("words", [
    "", "bash", "receive x 20000", "receive observer_e1_20200101t000000 80", "list all; id", "list ../.. " + "0" * 24,
    "fetch observer_e1_20200101t000000 ../../etc/passwd", "take x", "receive  observer_e1_20200101t000000 20000",
    "list all\n", "prune observer_e1_20200101t000000"])
def test_nothing_else_can_be_asked_for(tmp_path: Path, words: str) -> None:
    done = asked(tmp_path, words, "k\n")
    assert done.returncode == receiver.USAGE
    assert done.stderr.startswith("observer-receiver: ask for: ")


def test_a_node_that_has_not_begun_may_only_read(tmp_path: Path) -> None:
    slot = "observer_e1_20200101t000000"
    (tmp_path / slot).mkdir()
    assert json.loads(asked(tmp_path, "list all", "", 0).stdout)["generations"][0]["slot"] == slot
    for words in (f"receive {slot} 20000", f"prune {slot} {'0' * 24}"):
        done = asked(tmp_path, words, "key\npassword\n", 0)
        assert (done.returncode, "may only read" in done.stderr) == (receiver.TAKEN_OVER, True), words
    done = asked(tmp_path, "", "", 0, "--end")
    assert json.loads(done.stdout) == {"ended": False}


def test_a_session_whose_key_is_let_in_no_more_is_ended(node: Node) -> None:
    until(node.promised, 40)
    pid = node.host.session()
    node.host.down.touch()
    done = asked(node.host.folder, "", "", 0, "--end")
    assert json.loads(done.stdout) == {"ended": True}
    assert receiver.started(pid) == 0
    assert not receiver.mounted(f"{node.host.folder}/mnt")


@pytest.mark.parametrize(("segment", "size", "stays"), [
    (16 << 20, 16 << 20, True), (16 << 20, 0, True), (16 << 20, 4 << 20, False), (16 << 20, 5_000_000, False),
    (0, 16 << 20, True), (0, 1 << 20, True), (0, 0, True), (0, 5_000_000, False)])
def test_a_part_that_was_never_made_whole_is_taken_away(
        tmp_path: Path, segment: int, size: int, stays: bool) -> None:
    names = [f"{number:024X}" for number in (1, 2)]
    if segment:
        with (tmp_path / names[0]).open("wb") as file:
            file.truncate(segment)
    part = tmp_path / f"{names[1]}.partial"
    with part.open("wb") as file:
        file.truncate(size)
    receiver.mend(str(tmp_path))
    assert part.exists() == stays
    assert (tmp_path / names[0]).exists() == bool(segment)


def test_pruning_keeps_what_is_young_and_newer(tmp_path: Path) -> None:
    old, mid, new = (f"observer_e1_2020010{day}t000000" for day in (1, 2, 3))
    names = [f"00000001{0:08X}{number:08X}" for number in range(1, 6)]
    for slot in (old, mid, new):
        (tmp_path / slot).mkdir()
        for name in names:
            (tmp_path / slot / name).write_text("x")
            os.utime(tmp_path / slot / name, (0, 0))
    os.utime(tmp_path / mid / names[1])
    os.utime(tmp_path / old, (0, 0))
    (tmp_path / mid / "00000002.history").write_text("x")
    (tmp_path / mid / f"{names[0][:-1]}6.partial").write_text("x")
    done = asked(tmp_path, f"prune {mid} {names[3]}", "", 1, "--floor-hours", "1")
    assert json.loads(done.stdout) == {"deleted": 7, "young": 1}
    assert not (tmp_path / old).exists()
    assert sorted(path.name for path in (tmp_path / mid).iterdir()) == sorted(
        [names[1], *names[3:], "00000002.history", f"{names[0][:-1]}6.partial"])
    assert len(list((tmp_path / new).iterdir())) == 5
    (tmp_path / "epoch").write_text("2\n")
    done = asked(tmp_path, f"prune {new} {names[3]}", "", 1, "--floor-hours", "0")
    assert done.returncode == receiver.TAKEN_OVER
    assert len(list((tmp_path / new).iterdir())) == 5
