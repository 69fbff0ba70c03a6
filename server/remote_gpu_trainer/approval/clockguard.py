"""Time that does not run back: the wall clock, held against the latest time on disk and against this process."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from remote_gpu_trainer.database.highwater import TOLERANCE, advance, latest_seen, set_mark
from remote_gpu_trainer.ports import Clock


@dataclass(frozen=True)
class Reading:
    """The time to judge by."""

    now: datetime
    ticks: float
    went_back: timedelta | None
    """How far the clock went back, when that is more than is tolerated."""


class ClockGuard:
    """Tells the time for expiry.

    The latest time on disk catches a clock moved back over a restart; the process's own monotonic clock catches one
    moved back while nothing was written. A step of up to ``TOLERANCE`` makes time stand still. A larger one is
    reported once, and the caller voids everything that could have expired meanwhile; then time goes on from there.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.now()
        self._ticks = clock.monotonic()

    def read(self, db: sqlite3.Connection) -> Reading:
        """Tell the time, and move the mark on disk. The caller calls ``keep`` once that is committed."""
        wall, ticks = self._clock.now(), self._clock.monotonic()
        reached = self._wall + timedelta(seconds=ticks - self._ticks)
        mark = latest_seen(db)
        floor = reached if mark is None else max(mark, reached)
        if floor - wall > TOLERANCE:
            set_mark(db, wall)
            return Reading(now=wall, ticks=ticks, went_back=floor - wall)
        now = max(wall, floor)
        advance(db, now)
        return Reading(now=now, ticks=ticks, went_back=None)

    def keep(self, reading: Reading) -> None:
        """Go on from a reading whose consequences are on disk."""
        self._wall, self._ticks = reading.now, reading.ticks
