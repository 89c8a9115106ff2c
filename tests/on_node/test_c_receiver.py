"""The database's log on a second machine, in step with every commit: what happens when that machine stops receiving."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill.drill import SMALL, WRITER, Drill
from drill.protected import Protected, acknowledged, numbers, settle, writing
from hands import forwarded, load, wait_for

RECEIVER = "/usr/local/bin/observer-receiver"
WATCHED = 10.0
"""Seconds after which the node goes on without the receiver."""


def figures(protected: Protected) -> dict[str, Any]:
    """What the stream says of itself."""
    found: dict[str, Any] = protected.state()["jobs"]["stream"].get("figures") or {}
    return found


@pytest.fixture(scope="module")
def drill(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    streaming = Drill(tmp_path_factory.mktemp("receiver") / "drill")
    streaming.create("stream", SMALL, keeper_disk=4)
    streaming.converge()
    settle(streaming.site)
    in_step(streaming.site)
    yield streaming
    if not os.environ.get("KEEP_NODES"):
        streaming.destroy()


@pytest.mark.long
def test_a_minute_without_the_receiver_is_written_down_and_stops_nobody_for_long(drill: Drill) -> None:
    journal = drill.folder / "receiver.journal"
    with writing(drill.site, journal, "receiver", give_up=60):
        time.sleep(5)
        drill.site.kept(f"mv {RECEIVER} {RECEIVER}.away; pkill -KILL -u oreceiver")
        dead = time.time()
        wait_for(lambda: figures(drill.site).get("mode") == "async", "it goes on without the receiver", 30)
        time.sleep(max(0.0, dead + 60 - time.time()))
        during = figures(drill.site)
        drill.site.kept(f"mv {RECEIVER}.away {RECEIVER}")
        wait_for(lambda: figures(drill.site).get("mode") == "sync", "commits wait for the receiver again", 90)
        time.sleep(5)
    windows = figures(drill.site)["windows"]
    assert during["windows"][-1]["to"] is None
    # What was not guaranteed begins with the receiver's last answer, not when somebody noticed.
    assert windows[-1]["from"] <= dead + 2 and windows[-1]["to"] is not None
    assert windows[-1]["to"] - windows[-1]["from"] >= 60
    moments = sorted(set(acknowledged(journal).values()))
    gap = max(later - earlier for earlier, later in itertools.pairwise(moments))
    assert gap <= WATCHED + 10
    retried = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sum(one["event"] == "acknowledged" for one in retried) > 100


def in_step(protected: Protected) -> None:
    wait_for(lambda: figures(protected).get("mode") == "sync", "commits wait for the receiver", 120)


@pytest.mark.long
def test_a_full_backup_host_turns_the_state_bad_and_stops_nobody_for_long(drill: Drill) -> None:
    site, journal = drill.site, drill.folder / "full.journal"
    free = int(site.kept("df --output=avail -B1 /srv | tail -1"))
    with writing(site, journal, "full", give_up=60):
        time.sleep(3)
        site.kept(f"fallocate -l {free - (1 << 20)} /srv/ballast")
        try:
            # More log than the segment that is being received has room for.
            site.sql("CREATE TABLE much AS SELECT n, md5(n::text) || md5((-n)::text) AS body"
                     " FROM generate_series(1, 400000) n")
            wait_for(lambda: figures(site).get("mode") == "async", "it goes on without the receiver", 90)
            wait_for(lambda: site.state()["verdict"] == "bad", "the state says so", 90)
            print(site.state()["wrong"])
        finally:
            site.kept("rm /srv/ballast")
        in_step(site)
        time.sleep(3)
    moments = sorted(set(acknowledged(journal).values()))
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) <= WATCHED + 10
    site.sql("DROP TABLE much")
    wait_for(lambda: site.state()["verdict"] == "ok", "the state is good again", 180)


@pytest.mark.long
def test_the_nodes_key_cannot_take_the_last_days_away(drill: Drill) -> None:
    """Asked to delete everything before the end of time, in the generation that is being written."""
    drill.back_up()
    said = json.loads(drill.site.site.ssh("sudo python3 -I -B -", stdin=(
        "import json, sys\nsys.path.insert(0, '/usr/local/lib/observer-node')\n"
        "from backup import host, jobs, settings\n"
        "slot = jobs.kept()['good']['base']['slot']\n"
        "print(json.dumps(host.prune(settings.load(), slot, 'F' * 24)))\n")))
    assert said["deleted"] == 0 and said["young"] > 0


@pytest.mark.long
def test_what_the_backup_host_keeps_is_encrypted_and_a_rehearsal_restores_it(drill: Drill) -> None:
    site, word = drill.site, "word-that-nobody-else-writes"
    site.sql(f"CREATE TABLE told AS SELECT n, '{word}' || md5(n::text) AS body FROM generate_series(1, 20000) n")
    site.sql("SELECT pg_switch_wal()")
    # Commits wait for the backup host, so that it has them.
    in_step(site)
    log = site.volume("observer-db-pvc") + "/pgdata/pg_wal"
    assert site.site.ssh(f"sudo grep -rlaF {word} {log} | head -1").startswith(log)
    site.backup()
    assert int(site.kept("find /srv/observer-wal /srv/observer-backup -xdev -type f -size +1M | wc -l")) >= 2
    assert site.kept(f"find /srv -xdev -type f -exec grep -laF {word} {{}} + || true").strip() == ""
    # Its key comes with the session, and nobody but the session's user looks into what it opens.
    assert site.kept(f"grep -rlaF {word} /srv/observer-wal 2>/dev/null || true").strip() == ""
    site.job("rehearse")
    told = site.state()["jobs"]["rehearse"]
    assert told["ok"], told
    assert told["figures"]["tables"] > 2 and told["figures"]["rows"] >= 20000
    site.sql("DROP TABLE told")


@pytest.mark.long
def test_a_mistaken_delete_is_undone_by_a_restore_to_a_time(drill: Drill) -> None:
    site = drill.site
    site.sql("CREATE TABLE mistake AS SELECT generate_series(1, 500) AS id")
    site.sql("SELECT pg_sleep(2)")
    before = site.sql("SELECT now()")
    site.sql("SELECT pg_sleep(2); DELETE FROM mistake")
    in_step(site)
    site.play("-e", f"restore_confirm={site.name}", "-e", "restore_parts=observer-db-pvc",
              "-e", f"backup_restore_to='{before}'", playbook="playbooks/restore.yml").ok()
    settle(site)
    assert int(site.sql("SELECT count(*) FROM mistake")) == 500
    in_step(site)
    wait_for(lambda: site.state()["verdict"] == "ok", "the state is good again", 180)


@pytest.mark.long
def test_the_receiver_and_then_the_node_are_lost(drill: Drill) -> None:
    """Within the seconds in which nobody has noticed yet: nothing that was acknowledged before is missing."""
    drill.fill()
    drill.back_up()
    with writing(drill.site, drill.journal, WRITER, give_up=60):
        time.sleep(8)
        drill.site.kept(f"mv {RECEIVER} {RECEIVER}.away; pkill -KILL -u oreceiver")
        dead = time.time()
        time.sleep(5)
        drill.keep("quotes_before", drill.site.quotes())
        at = drill.site.cut()
    drill.lost(at)
    drill.site.kept(f"mv {RECEIVER}.away {RECEIVER}")
    drill.recover()
    result = drill.compare()
    known = acknowledged(drill.journal)
    with forwarded(drill.site.site) as url:
        told = json.loads(load("check", "--url", url, "--journal", drill.journal, "--json").stdout)
    lost = numbers(told["stores"]["postgresql"]["lost"])
    assert len(known) > 100 and min((known[number] for number in lost), default=at) >= dead - 1
    assert result["compared"]["tables_that_differ"] == {} and result["compared"]["entries_that_differ"] == []
    assert result["rpo"]["postgresql"]["duplicated"] == 0


@pytest.mark.long
def test_commits_that_do_not_wait_and_a_receiver_that_falls_behind(drill: Drill) -> None:
    """Nothing but the state says then how much would be lost: it is good under load, and bad within seconds."""
    site = drill.site
    site.write_hosts(backup_sync=False)
    site.play().ok()
    settle(site)
    wait_for(lambda: figures(site).get("mode") == "async" and site.state()["verdict"] == "ok", "it is good", 180)
    with writing(site, drill.folder / "async.journal", "async", give_up=60):
        site.backup()
        seen = []
        for _ in range(20):
            seen.append(site.state()["verdict"])
            time.sleep(1)
        assert set(seen) == {"ok"}, site.state()["wrong"]
        site.kept("pkill -STOP -u oreceiver")
        stopped = time.monotonic()
        try:
            wait_for(lambda: site.state()["verdict"] == "bad", "the state says so", 40)
            took, wrong = time.monotonic() - stopped, site.state()["wrong"]
        finally:
            site.kept("pkill -CONT -u oreceiver")
    print(took, wrong)
    assert took < 20 and any("behind" in one or "silent" in one or "receiv" in one for one in wrong), wrong
    wait_for(lambda: site.state()["verdict"] == "ok", "the state is good again", 180)


@pytest.mark.long
def test_a_node_whose_commits_do_not_wait_loses_seconds(drill: Drill) -> None:
    """Goes on from the one before: at most 5 s of what was acknowledged are missing when the node is lost."""
    site, journal = drill.site, drill.folder / "seconds.journal"
    with writing(site, journal, "seconds"):
        time.sleep(15)
        at = site.cut()
    drill.lost(at)
    drill.recover()
    settle(site)
    known = acknowledged(journal)
    with forwarded(site.site) as url:
        told = json.loads(load("check", "--url", url, "--journal", journal, "--json").stdout)
    lost = numbers(told["stores"]["postgresql"]["lost"])
    oldest = max((at - known[number] for number in lost), default=0.0)
    print(f"{len(lost)} of {len(known)} are missing, the oldest {oldest:.1f} s old")
    assert len(known) > 100 and oldest <= 5
