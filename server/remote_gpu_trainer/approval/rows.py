"""Requests as rows: reading them, deciding them, telling the events of it."""

import sqlite3
from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue

from remote_gpu_trainer.database.rows import append_event
from remote_gpu_trainer.database.text import load, moment, stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, Consent
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.plans import Plan, RentPlan, StandingPlan, TeardownPlan
from remote_gpu_trainer.errors import JournalError


def find(db: sqlite3.Connection, approval: ApprovalId) -> sqlite3.Row | None:
    """The row of one request."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM approvals WHERE id = ?", (approval,)).fetchone()
    return row


def undecided(db: sqlite3.Connection) -> list[sqlite3.Row]:
    """Rows that are open or approved, oldest first."""
    return db.execute(
        "SELECT * FROM approvals WHERE state IN (?, ?) ORDER BY seq", (ApprovalState.OPEN, ApprovalState.APPROVED)
    ).fetchall()


def lease_of(plan: Plan) -> LeaseId | None:
    """The lease that a plan is about; a plan to rent has none yet."""
    return None if isinstance(plan, RentPlan) else plan.lease


def request_of(row: sqlite3.Row) -> ApprovalRequest:
    """The request in a row. Whether the stored plan still has its digest is for the caller to ask."""
    kinds: dict[str, type[Plan]] = {"destroy": TeardownPlan, "rent": RentPlan, "preapprove": StandingPlan}
    plan = load(kinds[row["action"]], row["plan"])
    return ApprovalRequest(
        id=row["id"],
        plan=plan,
        plan_digest=row["plan_digest"],
        state=row["state"],
        requested_at=moment(row["requested_at"]),
        expires_at=moment(row["expires_at"]),
        decided_at=moment(row["decided_at"]) if row["decided_at"] else None,
        channel=row["channel"],
        assurance=row["assurance"],
        reason=row["reason"],
        attempts=row["attempts"],
    )


def binding_of(request: ApprovalRequest) -> dict[str, str]:
    """What a token is good for: any of it changed by hand, and the token no longer fits.

    Raises:
        JournalError: the request was not approved, so there is nothing to bind.
    """
    if request.channel is None or request.assurance is None or request.decided_at is None:
        raise JournalError(f"approval {request.id!r} is {request.state} and names no channel")
    return {
        "approval": request.id,
        "action": request.plan.action,
        "plan": request.plan.digest,
        "expires": stamp(request.expires_at),
        "approved": stamp(request.decided_at),
        "channel": request.channel.value,
        "assurance": request.assurance.value,
    }


def consent_of(request: ApprovalRequest) -> Consent:
    """The consent that an approved request became.

    Raises:
        JournalError: the request was not approved.
    """
    if request.channel is None or request.assurance is None or request.decided_at is None:
        raise JournalError(f"approval {request.id!r} is {request.state} and names no channel")
    return Consent(
        approval_id=request.id,
        plan_digest=request.plan_digest,
        channel=request.channel,
        assurance=request.assurance,
        granted_at=request.decided_at,
        expires_at=request.expires_at,
    )


def log(
    db: sqlite3.Connection, at: datetime, row: sqlite3.Row, what: str, data: Mapping[str, JsonValue] | None = None
) -> None:
    """Tell the events what happened to a request. ``data`` never holds a token."""
    facts: dict[str, JsonValue] = {
        "approval": row["id"],
        "action": row["action"],
        "subject": row["subject"],
        "plan_digest": row["plan_digest"],
    }
    append_event(db, at, row["lease"], f"approval.{what}", {**facts, **(data or {})})


def end(db: sqlite3.Connection, at: datetime, row: sqlite3.Row, state: ApprovalState, reason: str) -> None:
    """Bring a request to a final state other than spent. The token's hash is gone with it."""
    db.execute(
        "UPDATE approvals SET state = ?, reason = ?, decided_at = ?, token_hash = NULL, token_salt = NULL WHERE id = ?",
        (state, reason, stamp(at), row["id"]),
    )
    log(db, at, row, state.value, {"reason": reason})


def mark_spent(
    db: sqlite3.Connection, at: datetime, row: sqlite3.Row, facts: Mapping[str, JsonValue], *, told: str = "spent"
) -> Consent:
    """Use an approved request up. The token's hash is gone with it.

    Raises:
        JournalError: the request was not approved.
    """
    how = consent_of(request_of(row))
    db.execute(
        "UPDATE approvals SET state = ?, token_hash = NULL, token_salt = NULL WHERE id = ?",
        (ApprovalState.SPENT, row["id"]),
    )
    log(db, at, row, told, {"channel": how.channel.value, "assurance": how.assurance.value, **facts})
    return how
