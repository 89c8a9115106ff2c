"""What is promised of the WAL, with a clock and a database of paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import backup_inputs
import pytest

from backup.database import RECEIVER
from backup.guard import (
    ARM,
    BLIND,
    DISARM,
    FALL_BACK,
    LATE,
    LATE_LOOKS,
    LOOK,
    NEAR,
    QUIET,
    RESTART,
    STEADY,
    STEADY_MOST,
    Guard,
    Look,
    Window,
    look_of,
)
from backup.stream import BEHIND, Service

SLOT = "observer_e1_20261122t010203"
EPOCH = 1_800_000_000.0


class World:
    """A database with a receiver, whose time moves by half seconds."""

    def __init__(self, sync: bool = True, **guard: Any) -> None:  # noqa: ANN401
        self.guard = Guard(sync, **guard)
        self.guard.base = True
        self.now, self.replies, self.done = 0.0, 0, []  # type: tuple[float, int, list[tuple[float, str]]]
        self.look = Look(began="1", position=1000, slot=SLOT, wal_status="reserved")
        self.alive, self.answers, self.obeys = True, True, True
        self.skew = 0.0
        self.session: float | None = 0.0
        self.flushes = True
        self.guard.start(EPOCH)

    @property
    def at(self) -> float:
        return EPOCH + self.now

    def run(self, seconds: float, write: int = 100) -> World:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += 0.5
            look = dataclasses.replace(self.look, position=self.look.position + write)
            if self.alive:
                # The receiver's clock is its own.
                self.replies += 1
                look = dataclasses.replace(look, streaming=True,
                                           flushed=look.position if self.flushes else self.look.flushed,
                                           sync=look.waits_for == RECEIVER, replied=str(self.replies + self.skew))
            self.look = look
            if self.session is not None:
                self.session += 0.5
            for action in self.guard.see(look if self.answers else None, self.now, self.at, self.session):
                self.done.append((self.now, action))
                if self.obeys and action in (ARM, DISARM):
                    self.look = dataclasses.replace(self.look, waits_for=RECEIVER if action == ARM else "")
                if action == RESTART:
                    self.session = 0.0
        return self

    def actions(self, which: str) -> list[float]:
        return [now for now, action in self.done if action == which]


def test_it_arms_when_the_receiver_is_steady_and_the_window_ends_when_all_is_there() -> None:
    world = World().run(STEADY)
    assert world.actions(ARM) == []
    world.run(6)
    assert world.actions(ARM) == [STEADY + 0.5]
    (window,) = world.guard.windows
    assert (window.since, window.why, window.fallback) == (EPOCH, "first start", False)
    assert window.to is not None and window.to >= EPOCH + STEADY + 2.5
    assert world.guard.lag_seconds(world.at) == 0


def test_it_falls_back_within_ten_seconds_and_the_window_began_at_the_last_reply() -> None:
    world = World().run(60)
    world.alive = False
    away = world.now
    world.run(12)
    (fell,) = world.actions(DISARM)
    assert fell - away <= 10
    window = world.guard.windows[-1]
    assert window.to is None and window.fallback
    # The reply that was seen last came between that look and the one before it.
    assert window.since == EPOCH + away - 0.5
    assert world.guard.lag_seconds(world.at) == pytest.approx(12)
    world.alive = True
    back = world.now
    world.run(20)
    assert world.actions(ARM)[-1] - back >= STEADY
    assert world.guard.windows[-1].to and world.guard.windows[-1].to > EPOCH + back + STEADY


def test_an_interruption_without_a_fallback_is_a_window_too() -> None:
    world = World().run(60)
    world.alive = False
    world.run(QUIET + 1)
    world.alive = True
    world.run(10)
    assert world.actions(DISARM) == []
    assert len(world.guard.windows) == 2
    window = world.guard.windows[-1]
    assert not window.fallback and window.since == EPOCH + 59.5 and window.to


def test_a_frozen_receiver_counts_by_its_replies_and_its_session_is_ended() -> None:
    world = World().run(60)
    frozen = dataclasses.replace(world.look, streaming=True, sync=True, replied=str(world.replies))
    world.alive, world.look = False, frozen
    world.run(12)
    assert len(world.actions(DISARM)) == 1
    assert 66 <= world.actions(RESTART)[0] <= 67
    assert len(world.actions(RESTART)) == 1, "the next session has time to begin"


def test_the_clock_of_the_backup_host_is_of_no_matter() -> None:
    world = World()
    world.skew = -86400
    assert world.run(60).guard.window is None
    world.skew = 86400
    assert world.run(60).guard.window is None
    assert len(world.guard.windows) == 1


def test_a_receiver_that_fails_again_and_again_is_trusted_later_each_time() -> None:
    world = World().run(30)
    waits: list[float] = []
    for _ in range(8):
        world.alive = False
        world.run(11)
        world.alive, back = True, world.now
        world.run(200 if waits and waits[-1] > 100 else 90 if waits else 30)
        waits.append(world.actions(ARM)[-1] - back)
    assert waits[0] < 2 * STEADY < waits[2] < waits[4]
    assert max(waits) <= STEADY_MOST + 1
    world.run(1200)
    world.alive = False
    world.run(11)
    world.alive, back = True, world.now
    world.run(30)
    assert world.actions(ARM)[-1] - back < 2 * STEADY, "that was long ago"


def test_the_window_lasts_until_a_base_and_all_wal_are_there() -> None:
    world = World()
    world.guard.base = False
    world.run(30)
    assert world.actions(ARM) and world.guard.window
    world.guard.base = True
    assert world.run(1).guard.window is None


def test_a_receiver_far_behind_catches_up_first() -> None:
    world = World().run(1)
    world.alive = False
    world.run(20)
    world.look = dataclasses.replace(world.look, position=world.look.position + 2 * NEAR)
    for _ in range(40):
        world.replies += 1
        world.now += 0.5
        look = dataclasses.replace(world.look, streaming=True, flushed=world.look.position - NEAR - 1,
                                   replied=str(world.replies))
        assert world.guard.see(look, world.now, world.at, 20.0) == []
    world.alive = True
    world.run(1)
    assert world.actions(ARM)


def test_nothing_is_promised_of_a_time_in_which_nobody_looked() -> None:
    world = World().run(60)
    world.now += BLIND + 1
    world.run(0.5)
    assert world.guard.windows[-1].why == "nobody watched"
    assert world.guard.windows[-1].since == EPOCH + 59.5
    assert world.run(10).guard.window is None


def test_a_start_goes_on_where_the_last_one_was_sure() -> None:
    world = World(windows=[Window(1.0, "x", 2.0)], held=EPOCH - 100)
    assert [(one.since, one.why) for one in world.guard.windows] == [(1.0, "x"), (EPOCH - 100, "nobody watched")]
    world = World(windows=[Window(1.0, "open")], held=EPOCH - 100)
    assert [one.since for one in world.guard.windows] == [1.0]
    assert world.run(30).guard.window is None


def test_a_database_that_is_away_acknowledges_nothing_and_has_time_after_its_start() -> None:
    world = World().run(60)
    world.answers = world.alive = False
    world.run(60)
    assert world.actions(DISARM) == [] and world.guard.window
    world.answers = True
    world.look = dataclasses.replace(world.look, began="2", streaming=False, sync=False)
    started = world.now
    world.run(FALL_BACK - 1)
    assert world.actions(DISARM) == []
    world.run(2)
    (fell,) = world.actions(DISARM)
    assert fell - started <= 10.5


def test_it_asks_until_it_is_obeyed() -> None:
    world = World().run(60)
    world.alive = world.obeys = False
    world.run(15)
    assert len(world.actions(DISARM)) > 5
    assert len(world.guard.failures) == 1


def test_without_sync_only_interruptions_are_windows() -> None:
    world = World(sync=False).run(30)
    assert world.actions(ARM) == [] and world.guard.window is None
    world.look = dataclasses.replace(world.look, waits_for=RECEIVER)
    world.run(1)
    assert world.actions(DISARM)
    world.alive = False
    world.run(10)
    assert world.guard.window and world.guard.lag_seconds(world.at) == pytest.approx(10)


def test_a_receiver_that_answers_and_lags_is_late_after_five_seconds() -> None:
    world = World(sync=False).run(30)
    assert world.guard.late == 0
    world.flushes = False
    world.run(LATE)
    assert world.guard.late == 0 and world.guard.window is None
    world.run(LATE_LOOKS * 0.5)
    assert world.guard.late == LATE_LOOKS and world.guard.lag_seconds(world.at) == pytest.approx(LATE + 1)
    world.flushes = True
    assert world.run(0.5).guard.late == 0
    # Nobody writes, so nothing lags.
    world.flushes = False
    assert world.run(20, write=0).guard.late == 0


@pytest.mark.parametrize(("sync", "seconds", "said"), [
    (False, LATE, ""),
    (False, LATE + 2, "is 7.0 s behind, which would be lost with the node, and no more than 5 s is promised"),
    (True, LATE + 2, ""), (True, BEHIND, ""), (True, BEHIND + 2, "the backup host is 62 s behind"),
])
def test_what_is_bad_of_a_lag(tmp_path: Path, sync: bool, seconds: float, said: str) -> None:
    world = World(sync).run(40)
    world.flushes = False
    world.run(seconds)
    sessions: Any = SimpleNamespace(problem=None, host={})
    service = Service(backup_inputs.settings(tmp_path, mode="stream", sync=sync), cast("Any", None), sessions,
                      cast("Any", None), folder=str(tmp_path))
    service.guard = world.guard
    why, remedy = service.wrong(world.at)
    assert said in why and bool(why) is bool(said) is bool(remedy)
    if said and not sync:
        assert "backup_sync: true" in remedy


def test_a_look_that_comes_late_itself_says_nothing_of_the_receiver() -> None:
    world = World(sync=False).run(30)
    world.flushes = False
    world.run(1)
    world.now += 6
    world.run(0.5)
    assert world.guard.late == 1
    world.flushes = True
    assert world.run(0.5).guard.late == 0


def test_commits_do_not_wait_for_certain_while_the_checkpointer_reads_no_settings() -> None:
    """``sync_state`` says what the settings are; whether a commit waits the checkpointer says, in shared memory."""
    world = World()
    world.look = dataclasses.replace(world.look, idle=False)
    world.run(40)
    assert world.actions(ARM) and world.look.sync and world.guard.window
    world.look = dataclasses.replace(world.look, idle=True)
    world.run(1)
    assert world.guard.window is None and world.guard.windows[0].to == EPOCH + 40.5
    # Without synchronous commits there is nothing to be certain of.
    world = World(sync=False)
    world.look = dataclasses.replace(world.look, idle=False)
    assert world.run(20).guard.window is None


def test_the_newest_slot_counts() -> None:
    row = ["b", "f", "7", "", "", "", "", "", "", "", "", "f"]
    assert look_of([row]) == Look(began="b", position=7, idle=False)
    rows = [[*row[:4], slot, "reserved", "5", "streaming", "sync", "6", "9", "t"]
            for slot in ("observer_e10_20200101t000000", "observer_e9_20260101t000000")]
    assert look_of(rows) == Look("b", False, 7, "", "observer_e10_20200101t000000", ("observer_e9_20260101t000000",),
                                 "reserved", 5, True, True, 6, "9")
    assert "\n" not in LOOK
