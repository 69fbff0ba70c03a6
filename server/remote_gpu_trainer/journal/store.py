"""The journal over SQLite: leases, intents, append-only events, copies and their proofs."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from remote_gpu_trainer.database.closing import Closing
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.database.rows import (
    account_of,
    append_event,
    insert_intent,
    insert_lease,
    intent_of,
    pin_account,
)
from remote_gpu_trainer.database.text import dump, load, load_object, moment, stamp
from remote_gpu_trainer.domain.artifacts import CopyReceipt, VerificationReport
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.runs import (
    JOB_SET,
    TRANSITIONS,
    Event,
    Intent,
    IntentState,
    JobSpec,
    Lease,
    LeaseRecord,
    RunPhase,
)
from remote_gpu_trainer.errors import InvalidRequest, JournalError, UnknownRun, WrongPhase
from remote_gpu_trainer.journal import proofs
from remote_gpu_trainer.ports import Clock

_NOTHING = "Nothing was recorded."


class SqliteJournal(Closing):
    """Implements ``ports.Journal``. Every method is one transaction; writes are on disk when it returns.

    Args:
        database: The file, or one that is open already and shared with the approval book.
        clock: Where times come from.

    Raises:
        JournalError: from every method, when the file cannot be read or written.
    """

    def __init__(self, database: Path | Database, *, clock: Clock) -> None:
        self._db = database if isinstance(database, Database) else Database(database)
        self._clock = clock

    def open_lease(self, lease: Lease, *, account_id: int, request: Mapping[str, JsonValue]) -> Intent:
        """Record a lease with its create intent.

        Raises:
            JournalError: the lease is there already, or the journal is another account's.
        """
        with self._db.write() as db:
            return insert_lease(db, self._clock.now(), lease, account_id, request)

    def open_intent(
        self,
        lease: LeaseId,
        action: Literal["destroy", "stop", "start", "bid"],
        request: Mapping[str, JsonValue],
    ) -> Intent:
        """Record an intent.

        Raises:
            UnknownRun: there is no such lease.
            JournalError: the action is ``destroy``, whose intent only ``ApprovalBook.spend`` opens.
        """
        if action == "destroy":
            raise JournalError(
                f"a destroy intent for {lease!r} was to be opened without a consent",
                next_step="spend an approval token: that opens the intent in the same transaction",
                effect="The instance was not destroyed.",
            )
        with self._db.write() as db:
            return insert_intent(db, self._clock.now(), lease, action, request)

    def close_intent(self, intent: int, state: IntentState, answer: Mapping[str, JsonValue]) -> None:
        """Record an outcome. The same outcome again is a no-op.

        Raises:
            InvalidRequest: the state is ``open``.
            JournalError: there is no such intent, or it is closed with another outcome.
        """
        if state is IntentState.OPEN:
            raise InvalidRequest(f"intent {intent} cannot be closed as open", effect=_NOTHING)
        with self._db.write() as db:
            row = db.execute("SELECT * FROM intents WHERE id = ?", (intent,)).fetchone()
            if row is None:
                raise JournalError(f"the journal holds no intent {intent}", effect=_NOTHING)
            known = intent_of(row)
            if known.state is state and known.answer == dict(answer):
                return
            if known.state not in (IntentState.OPEN, IntentState.AMBIGUOUS):
                raise JournalError(
                    f"intent {intent} is closed as {known.state} since {known.closed_at} and cannot become {state}",
                    effect=_NOTHING,
                )
            now = self._clock.now()
            db.execute(
                "UPDATE intents SET state = ?, answer = ?, closed_at = ? WHERE id = ?",
                (state, dump(answer), None if state is IntentState.AMBIGUOUS else stamp(now), intent),
            )
            facts: dict[str, JsonValue] = {"intent": intent, "action": known.action, "state": state.value}
            append_event(db, now, known.lease, "intent.closed", {**facts, "answer": dict(answer)})

    def open_intents(self) -> list[Intent]:
        """Those in state open or ambiguous, oldest first."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT * FROM intents WHERE state IN (?, ?) ORDER BY id", (IntentState.OPEN, IntentState.AMBIGUOUS)
            )
            return [intent_of(row) for row in rows]

    def bind_instance(self, lease: LeaseId, instance_id: InstanceId) -> None:
        """Say which instance a lease is.

        Raises:
            UnknownRun: there is no such lease.
            JournalError: the lease is another instance.
        """
        with self._db.write() as db:
            known = _need(db, lease)
            if known.instance_id == instance_id:
                return
            if known.instance_id is not None:
                raise JournalError(
                    f"lease {lease!r} is instance {known.instance_id} and cannot become {instance_id}",
                    next_step="look at both with poll_status: two instances may carry one label, and both bill",
                    effect=_NOTHING,
                )
            now = self._clock.now()
            db.execute(
                "UPDATE leases SET instance_id = ?, updated_at = ? WHERE id = ?", (instance_id, stamp(now), lease)
            )
            append_event(db, now, lease, "lease.bound", {"instance": instance_id})

    def move(self, lease: LeaseId, phase: RunPhase, reason: str) -> None:
        """Change a phase along ``TRANSITIONS``.

        Raises:
            UnknownRun: there is no such lease.
            WrongPhase: the phase does not follow the present one.
        """
        with self._db.write() as db:
            known = _need(db, lease)
            if known.phase is phase:
                return
            allowed = TRANSITIONS[known.phase]
            if phase not in allowed:
                raise WrongPhase(
                    f"lease {lease!r} is {known.phase}, which can become {', '.join(sorted(allowed))}, not {phase}",
                    effect="The phase was not changed.",
                )
            now = self._clock.now()
            db.execute("UPDATE leases SET phase = ?, updated_at = ? WHERE id = ?", (phase, stamp(now), lease))
            facts: dict[str, JsonValue] = {"from": known.phase.value, "to": phase.value, "reason": reason}
            append_event(db, now, lease, "lease.moved", facts)

    def set_job(self, lease: LeaseId, job: JobSpec) -> None:
        """Record the job of a lease.

        Raises:
            UnknownRun: there is no such lease.
        """
        with self._db.write() as db:
            _need(db, lease)
            now = self._clock.now()
            db.execute("UPDATE leases SET job = ?, updated_at = ? WHERE id = ?", (dump(job), stamp(now), lease))
            append_event(db, now, lease, JOB_SET, {"job": job.job_id, "argv": list(job.argv), "cwd": job.cwd})

    def lease(self, lease: LeaseId) -> LeaseRecord | None:
        """One lease."""
        with self._db.read() as db:
            row = db.execute("SELECT * FROM leases WHERE id = ?", (lease,)).fetchone()
            return None if row is None else _record_of(row)

    def lease_of_instance(self, instance_id: InstanceId) -> LeaseRecord | None:
        """The newest lease bound to this instance."""
        with self._db.read() as db:
            row = db.execute(
                "SELECT * FROM leases WHERE instance_id = ? ORDER BY seq DESC LIMIT 1", (instance_id,)
            ).fetchone()
            return None if row is None else _record_of(row)

    def leases(self) -> list[LeaseRecord]:
        """All, newest first."""
        with self._db.read() as db:
            return [_record_of(row) for row in db.execute("SELECT * FROM leases ORDER BY seq DESC")]

    def record(self, kind: str, lease: LeaseId | None, data: Mapping[str, JsonValue]) -> Event:
        """Append a fact. The lease may be unknown: labels outlive a lost journal."""
        with self._db.write() as db:
            return append_event(db, self._clock.now(), lease, kind, data)

    def events(self, lease: LeaseId | None = None, *, kind: str | None = None, limit: int = 1000) -> list[Event]:
        """The last ``limit`` facts, oldest first."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT * FROM events WHERE (:lease IS NULL OR lease = :lease) AND (:kind IS NULL OR kind = :kind) "
                "ORDER BY seq DESC LIMIT :limit",
                {"lease": lease, "kind": kind, "limit": limit},
            ).fetchall()
            return [
                Event(
                    seq=row["seq"],
                    at=moment(row["at"]),
                    lease=row["lease"],
                    kind=row["kind"],
                    data=load_object(row["data"]),
                )
                for row in reversed(rows)
            ]

    def save_copy(self, receipt: CopyReceipt) -> None:
        """Keep a receipt. The same again is a no-op.

        Raises:
            JournalError: another receipt has this id.
        """
        with self._db.write() as db:
            proofs.keep_copy(db, self._clock.now(), receipt)

    def copy(self, copy_id: CopyId) -> CopyReceipt | None:
        """One receipt."""
        with self._db.read() as db:
            return proofs.copy(db, copy_id)

    def copies(self, lease: LeaseId) -> list[CopyReceipt]:
        """All receipts of a lease, newest first."""
        with self._db.read() as db:
            return proofs.copies(db, lease)

    def copy_ids(self, lease: LeaseId) -> list[CopyId]:
        """Of all receipts of a lease, newest first."""
        with self._db.read() as db:
            return proofs.copy_ids(db, lease)

    def save_verification(self, report: VerificationReport) -> None:
        """Keep a report on a copy.

        Raises:
            InvalidRequest: the report names no copy.
            JournalError: the journal does not hold that copy.
        """
        with self._db.write() as db:
            proofs.keep_verification(db, self._clock.now(), report)

    def verification(self, copy_id: CopyId) -> VerificationReport | None:
        """The newest report on a copy."""
        with self._db.read() as db:
            return proofs.verification(db, copy_id)

    def account_id(self) -> int | None:
        """The account this journal belongs to."""
        with self._db.read() as db:
            return account_of(db)

    def pin_account(self, account_id: int) -> None:
        """Pin it.

        Raises:
            JournalError: another account is pinned.
        """
        with self._db.write() as db:
            pin_account(db, self._clock.now(), account_id)

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._db.close()


def _need(db: sqlite3.Connection, lease: LeaseId) -> LeaseRecord:
    row = db.execute("SELECT * FROM leases WHERE id = ?", (lease,)).fetchone()
    if row is None:
        raise UnknownRun(f"the journal holds no lease {lease!r}", effect=_NOTHING)
    return _record_of(row)


def _record_of(row: sqlite3.Row) -> LeaseRecord:
    return LeaseRecord(
        lease=load(Lease, row["lease"]),
        phase=row["phase"],
        instance_id=row["instance_id"],
        account_id=row["account_id"],
        job=load(JobSpec, row["job"]) if row["job"] else None,
        updated_at=moment(row["updated_at"]),
    )
