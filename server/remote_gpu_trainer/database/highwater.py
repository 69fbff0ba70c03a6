"""The latest time ever seen, so that a clock moved back cannot bring an expired token to life."""

import sqlite3
from datetime import datetime, timedelta

from remote_gpu_trainer.database.text import moment, stamp

TOLERANCE = timedelta(seconds=60)
"""A clock may step back this far, as time servers make it; time then stands still instead."""


def latest_seen(db: sqlite3.Connection) -> datetime | None:
    """The mark, or None in a new file."""
    row = db.execute("SELECT value FROM pins WHERE name = 'latest_time'").fetchone()
    return None if row is None else moment(row[0])


def set_mark(db: sqlite3.Connection, now: datetime) -> None:
    """Move the mark, forward as time goes, or back once everything that depended on it is void."""
    db.execute(
        "INSERT INTO pins (name, value) VALUES ('latest_time', ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value <> value",
        (stamp(now),),
    )


def advance(db: sqlite3.Connection, now: datetime) -> None:
    """Move the mark forward; a time before it changes nothing."""
    mark = latest_seen(db)
    if mark is None or now > mark:
        set_mark(db, now)
