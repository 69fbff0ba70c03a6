"""What the journal and the approval book both write inside one transaction."""

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from remote_gpu_trainer.database.highwater import advance
from remote_gpu_trainer.database.text import dump, load_object, moment, stamp
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.runs import Event, Intent, IntentState, Lease, RunPhase
from remote_gpu_trainer.errors import JournalError, UnknownRun

IntentAction = Literal["create", "destroy", "stop", "start", "bid"]


def append_event(
    db: sqlite3.Connection, at: datetime, lease: LeaseId | None, kind: str, data: Mapping[str, JsonValue]
) -> Event:
    """Add one fact, and move the latest time seen."""
    advance(db, at)
    cursor = db.execute(
        "INSERT INTO events (at, lease, kind, data) VALUES (?, ?, ?, ?)", (stamp(at), lease, kind, dump(data))
    )
    return Event(seq=int(cursor.lastrowid or 0), at=at, lease=lease, kind=kind, data=dict(data))


def insert_intent(
    db: sqlite3.Connection,
    at: datetime,
    lease: LeaseId,
    action: IntentAction,
    request: Mapping[str, JsonValue],
    *,
    approval: ApprovalId | None = None,
) -> Intent:
    """Open an intent and tell the events of it.

    Raises:
        UnknownRun: there is no such lease.
    """
    if db.execute("SELECT 1 FROM leases WHERE id = ?", (lease,)).fetchone() is None:
        raise UnknownRun(f"the journal holds no lease {lease!r}", effect="Nothing was recorded.")
    cursor = db.execute(
        "INSERT INTO intents (lease, action, request, state, opened_at, approval) VALUES (?, ?, ?, ?, ?, ?)",
        (lease, action, dump(request), IntentState.OPEN, stamp(at), approval),
    )
    number = int(cursor.lastrowid or 0)
    facts: dict[str, JsonValue] = {"intent": number, "action": action, "request": dict(request)}
    if approval is not None:
        facts["approval"] = approval
    append_event(db, at, lease, "intent.opened", facts)
    return Intent(id=number, lease=lease, action=action, request=dict(request), state=IntentState.OPEN, opened_at=at)


def insert_lease(
    db: sqlite3.Connection,
    at: datetime,
    lease: Lease,
    account_id: int,
    request: Mapping[str, JsonValue],
    *,
    approval: ApprovalId | None = None,
) -> Intent:
    """Add a lease with its create intent.

    Raises:
        JournalError: the lease is there already, or the journal belongs to another account.
    """
    pin_account(db, at, account_id)
    if db.execute("SELECT 1 FROM leases WHERE id = ?", (lease.id,)).fetchone() is not None:
        raise JournalError(
            f"the journal already holds a lease {lease.id!r}",
            next_step="take a fresh lease id",
            effect="Nothing was recorded.",
        )
    db.execute(
        "INSERT INTO leases (id, lease, phase, account_id, updated_at) VALUES (?, ?, ?, ?, ?)",
        (lease.id, dump(lease), RunPhase.INTENDED, account_id, stamp(at)),
    )
    append_event(db, at, lease.id, "lease.opened", {"account": account_id, "offer": lease.offer.id})
    return insert_intent(db, at, lease.id, "create", request, approval=approval)


def account_of(db: sqlite3.Connection) -> int | None:
    """The account that this journal belongs to."""
    row = db.execute("SELECT value FROM pins WHERE name = 'account_id'").fetchone()
    return None if row is None else int(row[0])


def pin_account(db: sqlite3.Connection, at: datetime, account_id: int) -> None:
    """Say once whose journal this is.

    Raises:
        JournalError: it belongs to another account.
    """
    pinned = account_of(db)
    if pinned is None:
        db.execute("INSERT INTO pins (name, value) VALUES ('account_id', ?)", (str(account_id),))
        append_event(db, at, None, "account.pinned", {"account": account_id})
    elif pinned != account_id:
        raise JournalError(
            f"this journal belongs to account {pinned}, and the key in use to account {account_id}",
            next_step=f"use the key of account {pinned}, or another RGT_HOME for account {account_id}",
            effect="Nothing was recorded.",
        )


def intent_of(row: sqlite3.Row) -> Intent:
    """The intent in a row of ``intents``."""
    return Intent(
        id=row["id"],
        lease=row["lease"],
        action=row["action"],
        request=load_object(row["request"]),
        state=row["state"],
        opened_at=moment(row["opened_at"]),
        closed_at=moment(row["closed_at"]) if row["closed_at"] else None,
        answer=load_object(row["answer"]),
    )
