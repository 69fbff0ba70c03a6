"""The approval book over SQLite: one request per plan, one token per request, one use per token."""

import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import JsonValue

from remote_gpu_trainer.approval.beforehand import spend_standing, spend_witnessed
from remote_gpu_trainer.approval.clockguard import ClockGuard
from remote_gpu_trainer.approval.grant import grant, grant_signed
from remote_gpu_trainer.approval.judge import Desk, judge, to_destroy, to_rent
from remote_gpu_trainer.approval.keyfile import private_key_bytes
from remote_gpu_trainer.approval.passkey import Passkey
from remote_gpu_trainer.approval.passkeygrant import grant_by_passkey
from remote_gpu_trainer.approval.refusal import subject_of
from remote_gpu_trainer.approval.rows import (
    end,
    find,
    lease_of,
    log,
    mark_spent,
    request_of,
    undecided,
)
from remote_gpu_trainer.approval.sshkeys import AllowedSigner
from remote_gpu_trainer.database.closing import Closing
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.database.rows import insert_intent, insert_lease
from remote_gpu_trainer.database.text import dump, stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.ids import LEASE_ALPHABET, ApprovalId, LeaseId
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.domain.runs import Intent, Lease
from remote_gpu_trainer.errors import ConsentError, InvalidRequest, TokenRejected
from remote_gpu_trainer.ports import Clock

KEY_FILE = "consent.key"
"""Beside the database and not in it: a row written by hand, without this key, is no consent."""

MAX_TTL_S = 24 * 3600.0
MAX_REASON = 2000
"""Characters of a person's reason that are kept."""


class SqliteApprovalBook(Closing):
    """Implements ``ports.ApprovalBook`` on the journal's database.

    Args:
        database: The file, or one that is open already and shared with the journal.
        clock: Where times come from; both its wall time and its monotonic time are used.

    Raises:
        JournalError: from every method, when the file cannot be read or written.
    """

    def __init__(self, database: Path | Database, *, clock: Clock) -> None:
        self._db = database if isinstance(database, Database) else Database(database)
        self._guard = ClockGuard(clock)

    @property
    def _key(self) -> bytes:
        return private_key_bytes(self._db.path.with_name(KEY_FILE), 32)

    @contextmanager
    def _desk(self) -> Generator[Desk]:
        """One write transaction, after what time has done is done: expiry, and voids after a clock moved back."""
        with self._db.write() as db:
            reading = self._guard.read(db)
            for row in undecided(db):
                if reading.went_back is not None:
                    why = f"the computer's clock went back by {reading.went_back}, so nothing tells how old this is"
                    end(db, reading.now, row, ApprovalState.VOID, why)
                elif row["expires_at"] <= stamp(reading.now):
                    end(db, reading.now, row, ApprovalState.EXPIRED, "nobody used it in time")
            yield Desk(db=db, now=reading.now, clock_went_back=reading.went_back)
        self._guard.keep(reading)

    def request(self, plan: Plan, *, ttl_s: float) -> ApprovalRequest:
        """Open a request, or return the undecided or approved one for the very same plan.

        Args:
            plan: What the person is asked.
            ttl_s: Seconds from now after which neither the question nor its token holds; at most a day.

        Raises:
            InvalidRequest: the time is not between 0 and a day.
        """
        if not 0 < ttl_s <= MAX_TTL_S:
            raise InvalidRequest(
                f"an approval cannot hold for {ttl_s} s; it holds for more than 0 and at most {MAX_TTL_S:.0f} s",
                effect="Nobody was asked.",
            )
        subject, digest = subject_of(plan), plan.digest
        with self._desk() as desk:
            for row in undecided(desk.db):
                if (row["action"], row["subject"]) != (plan.action, subject):
                    continue
                if row["plan_digest"] == digest:
                    return request_of(row)
                end(desk.db, desk.now, row, ApprovalState.VOID, "a newer plan for the same thing took its place")
            approval = ApprovalId("ap-" + "".join(secrets.choice(LEASE_ALPHABET) for _ in range(8)))
            desk.db.execute(
                "INSERT INTO approvals (id, action, subject, lease, plan, plan_digest, state, requested_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    approval,
                    plan.action,
                    subject,
                    lease_of(plan),
                    dump(plan),
                    digest,
                    ApprovalState.OPEN,
                    stamp(desk.now),
                    stamp(desk.now + timedelta(seconds=ttl_s)),
                ),
            )
            row = desk.row(approval)
            log(desk.db, desk.now, row, "requested", {"expires": row["expires_at"]})
            return request_of(row)

    def get(self, approval: ApprovalId) -> ApprovalRequest | None:
        """One request, with expiry applied."""
        with self._desk() as desk:
            row = find(desk.db, approval)
            return None if row is None else request_of(row)

    def open_requests(self) -> list[ApprovalRequest]:
        """Those that still wait for a person, oldest first."""
        with self._desk() as desk:
            return [request_of(row) for row in undecided(desk.db) if row["state"] == ApprovalState.OPEN]

    def approve(self, approval: ApprovalId, *, channel: Channel, assurance: AssuranceLevel) -> str:
        """Mint the one token of a request.

        Raises:
            InvalidRequest: there is no such request.
            ConsentError: it is not open any more, or the stored plan was altered.
        """
        with self._desk() as desk:
            granted = grant(desk, approval, channel=channel, assurance=assurance, key=self._key)
        return _minted(granted)

    def approve_signed(self, approval: ApprovalId, armored: str, *, signers: tuple[AllowedSigner, ...]) -> str:
        """Mint the token for a security key's signature over ``statement_of`` the request, at level ``hardware``.

        Args:
            approval: Which request.
            armored: What ``ssh-keygen -Y sign`` wrote.
            signers: The pinned keys.

        Raises:
            InvalidRequest: there is no such request.
            ConsentError: the signature is not accepted, or the request is not open any more.
        """
        with self._desk() as desk:
            granted = grant_signed(desk, approval, armored, signers=signers, key=self._key)
        return _minted(granted)

    def approve_passkey(self, approval: ApprovalId, answer: str, *, known: tuple[Passkey, ...], port: int) -> str:
        """Mint the token for a passkey's answer over ``statement_of`` the request, at level ``hardware``.

        Args:
            approval: Which request.
            answer: The browser's credential as JSON.
            known: The registered passkeys.
            port: Where the page is that asked.

        Raises:
            InvalidRequest: there is no such request.
            ConsentError: the answer is not accepted, or the request is not open any more.
        """
        with self._desk() as desk:
            granted = grant_by_passkey(desk, approval, answer, known=known, port=port, key=self._key)
        return _minted(granted)

    def decline(self, approval: ApprovalId, *, channel: Channel, reason: str) -> None:
        """Record a no, also after a yes whose token was not used.

        Raises:
            InvalidRequest: there is no such request.
            ConsentError: it came to another end already.
        """
        with self._desk() as desk:
            row = desk.row(approval)
            known = request_of(row)
            if known.state in (ApprovalState.OPEN, ApprovalState.APPROVED):
                desk.db.execute("UPDATE approvals SET channel = ? WHERE id = ?", (channel, approval))
                end(desk.db, desk.now, row, ApprovalState.DECLINED, reason[:MAX_REASON])
                return
        if known.state is not ApprovalState.DECLINED:
            raise ConsentError(
                f"approval {approval!r} is {known.state} already and cannot be declined",
                next_step="call poll_status to see where the instance stands",
            )

    def void(self, approval: ApprovalId, reason: str) -> None:
        """Say that the plan no longer holds. A request that came to its end is left as it is.

        Raises:
            InvalidRequest: there is no such request.
        """
        with self._desk() as desk:
            row = desk.row(approval)
            if row["state"] in (ApprovalState.OPEN, ApprovalState.APPROVED):
                end(desk.db, desk.now, row, ApprovalState.VOID, reason[:MAX_REASON])

    def check(self, approval: ApprovalId, token: str, *, plan_digest: str) -> ApprovalRequest:
        """Say whether a token would be accepted, without using it.

        Raises:
            TokenRejected: it would not; ``details["reason"]`` is a ``Refusal``.
        """
        with self._desk() as desk:
            verdict = judge(desk, approval, token, plan_digest=plan_digest, key=self._key)
        return _accepted(verdict)

    def spend(
        self,
        approval: ApprovalId,
        token: str,
        *,
        plan_digest: str,
        lease: LeaseId,
        request: Mapping[str, JsonValue],
    ) -> tuple[Consent, Intent]:
        """Use a token for the one destroy that it is good for, and open its intent, in one transaction.

        Raises:
            TokenRejected: nothing was spent.
            UnknownRun: the journal does not hold the lease; nothing was spent.
        """
        with self._desk() as desk:
            verdict = judge(
                desk, approval, token, plan_digest=plan_digest, key=self._key, use=to_destroy(desk.db, lease)
            )
            if not isinstance(verdict, TokenRejected):
                consent = mark_spent(desk.db, desk.now, desk.row(approval), {})
                return consent, insert_intent(desk.db, desk.now, lease, "destroy", request, approval=approval)
        raise verdict

    def spend_rent(
        self,
        approval: ApprovalId,
        token: str,
        *,
        plan_digest: str,
        lease: Lease,
        request: Mapping[str, JsonValue],
    ) -> tuple[Consent, Intent]:
        """Use a token for the one rental that it is good for, and open its lease, in one transaction.

        Raises:
            TokenRejected: nothing was spent.
            JournalError: the lease is there already, or the journal is another account's; nothing was spent.
        """
        with self._desk() as desk:
            verdict = judge(desk, approval, token, plan_digest=plan_digest, key=self._key, use=to_rent(lease))
            if not isinstance(verdict, TokenRejected):
                consent = mark_spent(desk.db, desk.now, desk.row(approval), {})
                account = verdict.plan.account_id
                return consent, insert_lease(desk.db, desk.now, lease, account, request, approval=approval)
        raise verdict

    def spend_by_standing(
        self,
        approval: ApprovalId,
        standing: ApprovalId,
        *,
        plan_digest: str,
        lease: LeaseId,
        request: Mapping[str, JsonValue],
    ) -> tuple[Consent, Intent]:
        """Approve a teardown by a consent that was given beforehand, use both up and open the intent: one transaction.

        Whether its conditions hold is for the caller to judge; this sees that it is genuine, unused, in time and for
        this very instance.

        Raises:
            TokenRejected, ConsentError: it is not; nothing was used up.
            InvalidRequest: there is no such request.
            UnknownRun: the journal does not hold the lease; nothing was used up.
        """
        with self._desk() as desk:
            spent = spend_standing(
                desk, standing, approval, plan_digest=plan_digest, lease=lease, request=request, key=self._key
            )
        if isinstance(spent, ConsentError):
            raise spent
        return spent

    def witness(self, approval: ApprovalId) -> Consent:
        """End the request of an instance that is gone because the person destroyed it in the platform's console.

        Raises:
            ConsentError: it came to another end, or waits for another level.
            InvalidRequest: there is no such request.
        """
        with self._desk() as desk:
            ended = spend_witnessed(desk, approval, key=self._key)
        if isinstance(ended, ConsentError):
            raise ended
        return ended

    def standing(self, lease: LeaseId) -> list[ApprovalRequest]:
        """Consents given beforehand for a run that can still be used, oldest first."""
        with self._desk() as desk:
            rows = [row for row in undecided(desk.db) if row["action"] == "preapprove" and row["lease"] == lease]
            return [request_of(row) for row in rows if row["state"] == ApprovalState.APPROVED]

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._db.close()


def _accepted(verdict: ApprovalRequest | TokenRejected) -> ApprovalRequest:
    if isinstance(verdict, TokenRejected):
        raise verdict
    return verdict


def _minted(granted: str | ConsentError) -> str:
    if isinstance(granted, ConsentError):
        raise granted
    return granted
