"""What is promised of the database's WAL, decided look by look: whether commits wait for the receiver on the backup
host, and the windows in which an acknowledged commit may not have reached it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import receiver
from .database import RECEIVER

FALL_BACK = 9.5
"""Seconds without the receiver after which commits no longer wait: looks are half a second apart, and it is ten."""
QUIET = 3.0
"""Seconds without a reply after which the receiver counts as away; it replies each second."""
BLIND = 5.0
"""Seconds between two looks after which nobody can say what was in between."""
HURRY = 6.0
"""Seconds without a reply after which a session is ended to begin another."""
SETTLE = 8.0
"""Seconds that a session has to begin streaming."""
STEADY = 5.0
"""Seconds of replies before commits wait for the receiver again, doubled for each time it failed of late."""
STEADY_MOST, OF_LATE = 160.0, 600.0
NEAR = 16 << 20
"""Bytes: a receiver that is farther behind catches up first."""
LATE, LATE_LOOKS = 5.0, 2
"""Seconds of lag, seen in so many looks in a row, that are more than is promised where commits do not wait. One look
alone may have come late itself."""
CERTAIN = 2.0
"""Seconds after which every process of the server has read its settings."""
MOST_LOOKS = 2000

NAMES = receiver.SLOT.pattern


@dataclass(frozen=True)
class Look:
    """One look at the database. Positions are bytes; ``replied`` is the receiver's own clock and only ever compared
    with itself; ``idle``: the checkpointer waits, or naps while it writes."""

    began: str = ""
    recovery: bool = False
    position: int = 0
    waits_for: str = ""
    slot: str = ""
    others: tuple[str, ...] = ()
    wal_status: str = ""
    safe: int | None = None
    streaming: bool = False
    sync: bool = False
    flushed: int | None = None
    replied: str = ""
    idle: bool = True


LOOK = f"""
SELECT pg_postmaster_start_time(), pg_is_in_recovery(),
  CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_flush_lsn() - '0/0' END,
  current_setting('synchronous_standby_names'), s.slot_name, s.wal_status, s.safe_wal_size, r.state,
  r.sync_state, r.flush_lsn - '0/0', extract(epoch FROM r.reply_time),
  EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'checkpointer'
    AND wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay'))
FROM (SELECT 1) one
  LEFT JOIN pg_replication_slots s ON s.slot_name ~ '^{NAMES}$'
  LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
""".strip().replace("\n", " ")


def look_of(rows: Sequence[Sequence[str]]) -> Look:
    """What the rows of :data:`LOOK` say: the newest of our slots counts."""
    ours = sorted((row for row in rows if row[4]), key=lambda row: receiver.age_of(row[4]))
    row = ours[-1] if ours else rows[0]
    return Look(row[0], row[1] == "t", int(row[2]), row[3], row[4], tuple(one[4] for one in ours[:-1]), row[5],
                int(row[6]) if row[6] else None, row[7] == "streaming", row[8] in ("sync", "quorum"),
                int(row[9]) if row[9] else None, row[10], row[11] == "t")


@dataclass
class Window:
    """A time without the guarantee. Epochs; ``to`` is None while it lasts; ``fallback``: commits did not wait."""

    since: float
    why: str
    to: float | None = None
    fallback: bool = False

    def told(self) -> dict[str, Any]:
        return {"from": round(self.since, 1), "to": None if self.to is None else round(self.to, 1), "why": self.why,
                "fallback": self.fallback}


ARM, DISARM, RESTART = "arm", "disarm", "restart"


@dataclass
class Guard:
    """Decides, look by look. It does nothing itself: no clock, no database.

    :param sync: whether commits are to wait.
    :param late: looks in a row that found the receiver farther behind than :data:`LATE`.
    :param held: until when the guarantee is known to have held, from the last time this ran; None at the first.
    """

    sync: bool
    windows: list[Window] = field(default_factory=list)
    held: float | None = None
    failures: deque[float] = field(default_factory=deque)

    # The receiver's last new reply: its own clock's text, when it was seen, and since when it cannot have been earlier.
    replied: str = ""
    heard: float = float("-inf")
    fresh_since: float | None = None
    looked: float | None = None
    looked_at: float = 0.0
    began: str = ""
    began_seen: float = float("-inf")
    certain_since: float | None = None
    target: int | None = None
    behind: list[tuple[float, int]] = field(default_factory=list)
    look: Look = field(default_factory=Look)
    late: int = 0
    base: bool = False

    @property
    def window(self) -> Window | None:
        return self.windows[-1] if self.windows and self.windows[-1].to is None else None

    def start(self, at: float, why: str = "nobody watched") -> None:
        """Nothing is promised until it has been seen to hold."""
        self.open(at if self.held is None else self.held, "first start" if self.held is None else why)

    def open(self, since: float, why: str) -> None:
        if self.window is None:
            self.windows.append(Window(since, why))
        self.target = None

    def see(self, look: Look | None, now: float, at: float, session: float | None = None) -> list[str]:
        """What is to be done after a look.

        :param look: None: the database did not answer.
        :param now: seconds of a clock that never jumps; ``at`` is epoch.
        :param session: seconds since the session with the backup host began; None without one.
        """
        if look is None:
            if now - self.heard > QUIET:
                self.open(self.held or at, "the database did not answer")
                self.fresh_since = self.certain_since = None
            return []
        if self.looked is not None and now - self.looked > BLIND and self.window is None:
            self.open(self.held or at, "nobody watched")
        if look.began != self.began:
            self.began, self.began_seen = look.began, now
        if look.slot != self.look.slot:
            self.behind.clear()
        self._hear(look, now, at)
        self.look, self.looked, self.looked_at = look, now, at
        lag = self.lag_seconds(at) if look.flushed is not None else None
        self.late = self.late + 1 if lag is not None and lag > LATE else 0
        fresh = look.streaming and now - self.heard <= QUIET
        if not fresh:
            self.fresh_since = self.certain_since = None
            if now - self.heard > QUIET and not look.recovery:
                self.open(self.held if self.held is not None else at, "the receiver was away")
        elif self.fresh_since is None:
            self.fresh_since = now
        return list(self._actions(look, fresh, now, at, session))

    def _hear(self, look: Look, now: float, at: float) -> None:
        if look.streaming and look.replied and look.replied != self.replied:
            self.replied, self.heard = look.replied, now
            if self.window is None:
                # It came after the look before this one.
                self.held = self.looked_at or at
        self.behind.append((at, look.position))
        while len(self.behind) > 1 and look.flushed is not None and self.behind[1][1] <= look.flushed:
            del self.behind[0]
        while len(self.behind) > MOST_LOOKS:
            # Long away: each second one is more than enough.
            del self.behind[1::2]

    def _actions(self, look: Look, fresh: bool, now: float, at: float, session: float | None) -> Iterator[str]:
        armed = look.waits_for == RECEIVER
        if armed and not self.sync:
            yield DISARM
        elif armed and not fresh and now - max(self.heard, self.began_seen) >= FALL_BACK:
            yield DISARM
            if not self.failures or now - self.failures[-1] > FALL_BACK:
                self.failures.append(now)
            if self.window:
                self.window.fallback = True
        elif self.sync and not armed and self.fresh_since is not None \
                and now - self.fresh_since >= self.steady(now) and self.lag_bytes < NEAR:
            yield ARM
        if session is not None and session > SETTLE and now - self.heard > HURRY:
            yield RESTART
        # The window ends when all that was acknowledged in it is on the backup host.
        if fresh and (look.sync or not self.sync):
            self.certain_since = now if self.certain_since is None else self.certain_since
            # It is the checkpointer that has commits wait, and amid an immediate checkpoint it reads no settings.
            if self.target is None and now - self.certain_since >= CERTAIN and (look.idle or not self.sync):
                self.target = look.position
        else:
            self.certain_since = self.target = None
        if self.window and self.base and self.target is not None and look.flushed is not None \
                and look.flushed >= self.target:
            self.window.to = at
            self.held = at

    def steady(self, now: float) -> float:
        while self.failures and now - self.failures[0] > OF_LATE:
            self.failures.popleft()
        return min(STEADY_MOST, STEADY * 2.0 ** max(0, len(self.failures) - 1))

    @property
    def lag_bytes(self) -> int:
        look = self.look
        return max(0, look.position - look.flushed) if look.flushed is not None else NEAR

    def lag_seconds(self, at: float) -> float | None:
        """Age of the oldest WAL that may not be on the backup host; None when nothing is known of it."""
        if self.look.flushed is None or not self.behind:
            return None if self.held is None else at - self.held
        since, position = self.behind[0]
        if position <= self.look.flushed and len(self.behind) == 1 and self.looked is not None:
            return max(0.0, at - self.looked_at)
        return max(0.0, at - since)
