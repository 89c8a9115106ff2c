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
    streaming.create("stream", SMALL)
    streaming.converge()
    settle(streaming.site)
    wait_for(lambda: figures(streaming.site).get("mode") == "sync", "commits wait for the receiver", 90)
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


@pytest.mark.long
def test_the_receiver_and_then_the_node_are_lost(drill: Drill) -> None:
    """Within the seconds in which nobody has noticed yet: nothing that was acknowledged before is missing."""
    drill.fill()
    with writing(drill.site, drill.journal, WRITER, give_up=60):
        time.sleep(8)
        drill.site.kept(f"mv {RECEIVER} {RECEIVER}.away; pkill -KILL -u oreceiver")
        dead = time.time()
        time.sleep(5)
        drill.keep("quotes_before", drill.site.quotes())
        at = drill.site.cut()
    drill.note(killed=at)
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
