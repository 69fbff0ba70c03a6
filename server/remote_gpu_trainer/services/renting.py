"""Asking a person about a rental that is dearer than the policy allows unasked."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from pydantic import Field, JsonValue

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.refusal import after_opening, agreed_already
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.instances import Account, Volume
from remote_gpu_trainer.domain.offers import JobCost, JobShape, Offer, RentalType
from remote_gpu_trainer.domain.plans import RentPlan
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import Intent, Lease
from remote_gpu_trainer.domain.units import Usd, UsdPerHour
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import BudgetExceeded, ConsentRequired, TokenRejected
from remote_gpu_trainer.ports import ApprovalBook, Clock, Journal
from remote_gpu_trainer.rules.base import Finding

NOT_RENTED = "Nothing was rented."
PLANNED = "rent.planned"
_RECENT = 50


class RentRequest(Value):
    """What a caller asks for. ``secret_names`` are names; the values stay with the server."""

    name: str
    offer_id: int
    image: str
    shape: JobShape
    rental: RentalType = RentalType.ON_DEMAND
    bid_usd_per_hour: UsdPerHour | None = None
    checkpoint_minutes: float | None = None
    resumes: bool | None = None
    ports: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    secret_names: tuple[str, ...] = ()
    acknowledge: tuple[str, ...] = ()
    checkpoint_gib: float | None = None
    kept_checkpoints: int = 2
    volume_id: int | None = None
    continues: LeaseId | None = None


@dataclass(frozen=True)
class Priced:
    """An offer as it is now, what the job would cost on it, and the caps that it breaks."""

    account: Account
    offer: Offer
    bid: UsdPerHour | None
    cost: JobCost
    per_hour: UsdPerHour
    over: tuple[str, ...]
    volume: Volume | None
    found: tuple[Finding, ...]
    """What the rules said and let pass."""


@dataclass(frozen=True)
class HandedOver:
    """What a person handed over for one rental."""

    approval: ApprovalId
    token: str = field(repr=False)


class RentAsking:
    """Plans of rentals above the caps, and their single use."""

    def __init__(self, *, journal: Journal, approvals: ApprovalBook, policy: Policy, clock: Clock) -> None:
        self._journal = journal
        self._approvals = approvals
        self._policy = policy
        self._clock = clock

    def request(self, request: RentRequest, priced: Priced) -> ApprovalRequest:
        """The open request for this rental; while offer and price stay, the same one again."""
        plan = self._plan(request, priced)
        for event in reversed(self._journal.events(kind=PLANNED, limit=_RECENT)):
            known = self._approvals.get(ApprovalId(str(event.data.get("approval"))))
            usable = known is not None and known.state in {ApprovalState.OPEN, ApprovalState.APPROVED}
            if known is not None and usable and isinstance(known.plan, RentPlan) and _same(known.plan, plan):
                return known
        made = self._approvals.request(plan, ttl_s=self._policy.approval_minutes * 60)
        self._journal.record(PLANNED, None, {"approval": made.id, "offer": plan.offer_id})
        return made

    def demand(self, request: RentRequest, priced: Priced, consent: HandedOver | None) -> None:
        """See that a person agreed to just this, before anything is asked of the platform.

        Raises:
            BudgetExceeded: a relaunch cannot ask; ``create_instance`` can.
            ConsentRequired: nobody was asked yet.
            TokenRejected: not this rental, or too weak.
        """
        if request.continues is not None:
            raise BudgetExceeded(
                priced.over[0],
                next_step="take a cheaper offer, or create_instance on this one, which asks the person",
                effect=NOT_RENTED,
            )
        if consent is None:
            raise required(self.request(request, priced))
        stored = self._approvals.get(consent.approval)
        known = self._approvals.check(
            consent.approval, consent.token, plan_digest="" if stored is None else stored.plan_digest
        )
        needed = self._policy.level_for("rent", priced.per_hour)
        if known.assurance is None or not known.assurance.reaches(needed):
            raise TokenRejected(
                f"the policy asks for consent of level {needed.value} to this rental, this one is {known.assurance}",
                next_step=f"the person approves with `rgt approve {known.id}` at that level",
                effect=NOT_RENTED,
            )
        if not isinstance(known.plan, RentPlan) or not _covers(known.plan, self._plan(request, priced)):
            raise TokenRejected(
                f"approval {known.id} is for another rental, or this one has become dearer since",
                next_step="create_instance without a token: it makes the plan as it is now",
                effect=NOT_RENTED,
            )

    def spend(self, consent: HandedOver, lease: Lease, written: Mapping[str, JsonValue]) -> Intent:
        """Use the consent up and open the lease with it, durably, before the request leaves.

        Raises:
            TokenRejected: nothing was spent and nothing was rented.
        """
        stored = self._approvals.get(consent.approval)
        _, intent = self._approvals.spend_rent(
            consent.approval,
            consent.token,
            plan_digest="" if stored is None else stored.plan_digest,
            lease=lease,
            request=written,
        )
        return intent

    def _plan(self, request: RentRequest, priced: Priced) -> RentPlan:
        return RentPlan(
            account_id=priced.account.id,
            offer_id=priced.offer.id,
            machine_id=priced.offer.machine_id,
            name=request.name,
            gpu=f"{priced.offer.num_gpus}x {priced.offer.gpu_name}",
            usd_per_hour=priced.per_hour,
            hours=request.shape.hours,
            total=Usd(priced.cost.total),
            over="; ".join(priced.over),
            prepared_at=self._clock.now(),
            program_version=version("remote-gpu-trainer"),
            nonce=secrets.token_hex(16),
            image=request.image,
            disk_gib=request.shape.disk_gib,
            rental=request.rental,
            policy_digest=self._policy.digest,
        )


def required(request: ApprovalRequest, *, opened: bool = False) -> ConsentRequired:
    """The refusal that shows the plan and says what the person does, or that they have agreed to it already.

    Args:
        request: The plan and where it stands.
        opened: The person has just been sent to the page.
    """
    if request.state is ApprovalState.APPROVED:
        return agreed_already(request, "create_instance")
    return ConsentRequired(
        f"it is dearer than the policy allows unasked, so a person decides. Show them this plan as it is:\n\n"
        f"{render(request.plan)}",
        next_step=(
            f"{after_opening(request, 'create_instance') if opened else ''}"
            f"the person runs `rgt approve {request.id}` in a terminal of their own and hands you the token; then call "
            f"create_instance with the same arguments, approval_id={request.id} and that token, before "
            f"{request.expires_at:%H:%M:%S} UTC; or take a cheaper offer"
        ),
        effect=NOT_RENTED,
        details={"approval_id": request.id},
    )


def _covers(agreed: RentPlan, wanted: RentPlan) -> bool:
    return _thing(agreed) == _thing(wanted) and (
        wanted.usd_per_hour <= agreed.usd_per_hour + 1e-9 and wanted.total <= agreed.total + 1e-9
    )


def _same(one: RentPlan, other: RentPlan) -> bool:
    return (
        _thing(one) == _thing(other)
        and math.isclose(one.usd_per_hour, other.usd_per_hour, rel_tol=1e-9)
        and math.isclose(one.total, other.total, rel_tol=1e-9)
    )


def _thing(plan: RentPlan) -> tuple[object, ...]:
    return (
        plan.account_id,
        plan.offer_id,
        plan.machine_id,
        plan.name,
        plan.hours,
        plan.image,
        plan.disk_gib,
        plan.rental,
        plan.policy_digest,
    )
