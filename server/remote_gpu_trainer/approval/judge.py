"""Judging a token: every reason to refuse it, in order, and the counting of wrong ones."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from remote_gpu_trainer.approval.refusal import MAX_ATTEMPTS, Action, Refusal, rejected
from remote_gpu_trainer.approval.rows import binding_of, end, find, log, request_of
from remote_gpu_trainer.approval.token import MistypedToken, normalise, same, seal
from remote_gpu_trainer.database.rows import account_of
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.plans import RentPlan, TeardownPlan
from remote_gpu_trainer.domain.runs import Lease
from remote_gpu_trainer.domain.units import show_usd
from remote_gpu_trainer.errors import InvalidRequest, TokenRejected

Problem = tuple[Refusal, str]
Binds = Callable[[ApprovalRequest], Problem | None]
"""Whether an approved plan is about the thing that the token is being used for."""

_CENT_DUST = 1e-9


@dataclass(frozen=True)
class Desk:
    """One write transaction at one moment."""

    db: sqlite3.Connection
    now: datetime
    clock_went_back: timedelta | None

    def row(self, approval: ApprovalId) -> sqlite3.Row:
        """The row of a request that has to be there.

        Raises:
            InvalidRequest: it is not.
        """
        row = find(self.db, approval)
        if row is None:
            raise InvalidRequest(
                f"there is no approval {approval!r}",
                next_step="list those that wait with rgt approve, or call the tool without a token for a new one",
                effect="Nothing was decided.",
            )
        return row


@dataclass(frozen=True)
class Use:
    """What a token is to be used for."""

    action: Action
    binds: Binds


def judge(
    desk: Desk, approval: ApprovalId, token: str, *, plan_digest: str, key: bytes, use: Use | None = None
) -> ApprovalRequest | TokenRejected:
    """The request, when the token would be accepted for this plan and use; else why not, which is on record then."""
    row = find(desk.db, approval)
    if row is None:
        return rejected(
            Refusal.UNKNOWN, approval, "there is no such approval", action=None if use is None else use.action
        )
    request = request_of(row)
    problem = (
        _state_problem(desk, request)
        or _token_problem(desk, row, request, token, key)
        or plan_problem(request, plan_digest)
        or (None if use is None else use.binds(request))
    )
    if problem is None:
        return request
    refusal, seen = problem
    log(desk.db, desk.now, row, "refused", {"refusal": refusal.value})
    return rejected(refusal, approval, seen, action=request.plan.action if use is None else use.action)


def _state_problem(desk: Desk, request: ApprovalRequest) -> Problem | None:
    because = f": {request.reason}" if request.reason else ""
    match request.state:
        case ApprovalState.OPEN | ApprovalState.APPROVED:
            return None
        case ApprovalState.DECLINED:
            return Refusal.DECLINED, f"the person declined it{because}"
        case ApprovalState.SPENT:
            return Refusal.SPENT, "its token was used already, and a token is good for one use"
        case ApprovalState.EXPIRED:
            return Refusal.EXPIRED, f"it expired at {request.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        case ApprovalState.LOCKED:
            return Refusal.LOCKED, f"it was locked after {MAX_ATTEMPTS} wrong tokens"
        case ApprovalState.VOID:
            by_clock = desk.clock_went_back is not None and request.decided_at == desk.now
            return Refusal.CLOCK_MOVED_BACK if by_clock else Refusal.VOID, f"it no longer holds{because}"


def _token_problem(desk: Desk, row: sqlite3.Row, request: ApprovalRequest, token: str, key: bytes) -> Problem | None:
    try:
        normalise(token)
    except MistypedToken as problem:
        return Refusal.MISTYPED, f"what was given is no token: {problem}"
    if request.plan.digest != request.plan_digest:
        return Refusal.ALTERED, "its stored plan was altered and no longer has the digest it was asked under"
    if request.state is ApprovalState.OPEN or row["token_hash"] is None:
        return _wrong(desk, row, Refusal.UNDECIDED, "nobody has approved it yet, so it has no token")
    if same(seal(token, key=key, salt=row["token_salt"], binding=binding_of(request)), row["token_hash"]):
        return None
    return _wrong(desk, row, Refusal.WRONG, "the token was not minted for it as it stands here")


def _wrong(desk: Desk, row: sqlite3.Row, refusal: Refusal, seen: str) -> Problem:
    attempts = int(row["attempts"]) + 1
    desk.db.execute("UPDATE approvals SET attempts = ? WHERE id = ?", (attempts, row["id"]))
    if attempts >= MAX_ATTEMPTS:
        end(desk.db, desk.now, row, ApprovalState.LOCKED, f"{attempts} wrong tokens")
        return Refusal.LOCKED, f"{seen}; that was wrong token {attempts} of {MAX_ATTEMPTS}, and it is locked now"
    return refusal, f"{seen} (wrong token {attempts} of {MAX_ATTEMPTS})"


def plan_problem(request: ApprovalRequest, plan_digest: str) -> Problem | None:
    """Whether the plan that a consent is used for is another than the one that was asked about."""
    if same(request.plan_digest.encode(), plan_digest.encode()):
        return None
    return (
        Refusal.OTHER_PLAN,
        f"the person approved plan {request.plan_digest[:12]}, and this is plan {plan_digest[:12]!r}",
    )


def to_destroy(db: sqlite3.Connection, lease: LeaseId) -> Use:
    """Destroying the instance of this lease."""

    def problem(request: ApprovalRequest) -> Problem | None:
        plan = request.plan
        if not isinstance(plan, TeardownPlan):
            return Refusal.OTHER_ACTION, f"the person approved to {plan.action}, not to destroy"
        if plan.lease != lease:
            return Refusal.OTHER_LEASE, f"the person approved destroying run {plan.lease!r}, not {lease!r}"
        row = db.execute("SELECT instance_id FROM leases WHERE id = ?", (lease,)).fetchone()
        if row is not None and row["instance_id"] != plan.instance.id:
            known = "no instance yet" if row["instance_id"] is None else f"instance {row['instance_id']}"
            return Refusal.OTHER_INSTANCE, f"the person approved instance {plan.instance.id}, and the run is {known}"
        account = account_of(db)
        if account is not None and account != plan.account_id:
            return Refusal.OTHER_ACCOUNT, f"the plan is for account {plan.account_id}, the journal for {account}"
        return None

    return Use("destroy", problem)


def to_rent(lease: Lease) -> Use:
    """Renting this lease's offer, at the approved price or below."""

    def problem(request: ApprovalRequest) -> Problem | None:
        plan = request.plan
        if not isinstance(plan, RentPlan):
            return Refusal.OTHER_ACTION, f"the person approved to {plan.action}, not to rent"
        if (lease.offer.id, lease.offer.machine_id) != (plan.offer_id, plan.machine_id):
            return (
                Refusal.OTHER_OFFER,
                f"the person approved offer {plan.offer_id} on machine {plan.machine_id}, "
                f"and this is offer {lease.offer.id} on machine {lease.offer.machine_id}",
            )
        if plan.image is not None and (lease.image, lease.shape.disk_gib, lease.offer.rental) != (
            plan.image,
            plan.disk_gib,
            plan.rental,
        ):
            return Refusal.OTHER_OFFER, "the image, the disk or the kind of rental is not what the person approved"
        if lease.usd_per_hour > plan.usd_per_hour + _CENT_DUST or lease.budget > plan.total + _CENT_DUST:
            return (
                Refusal.OTHER_OFFER,
                f"the person approved {show_usd(plan.usd_per_hour)} per hour and {show_usd(plan.total)} in all, and "
                f"this is {show_usd(lease.usd_per_hour)} and {show_usd(lease.budget)}",
            )
        return None

    return Use("rent", problem)
