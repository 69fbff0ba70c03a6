"""Consent given beforehand, for nights: what it says, and whether its conditions hold now."""

import secrets
from datetime import datetime, timedelta
from importlib.metadata import version

from remote_gpu_trainer.domain.approvals import ApprovalRequest
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import InstanceIdentity
from remote_gpu_trainer.domain.plans import Evidence, Loss, MachineState, StandingPlan, TeardownPlan
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import LeaseRecord
from remote_gpu_trainer.domain.units import UsdPerHour, show_bytes
from remote_gpu_trainer.errors import WrongPhase
from remote_gpu_trainer.ports import ApprovalBook, Clock, Journal
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.planning import evidence_of, losses_of

UNMET = "standing.unmet"


class StandingService:
    """Makes such plans, and finds the one that covers a teardown."""

    def __init__(
        self, *, journal: Journal, approvals: ApprovalBook, ledger: Ledger, policy: Policy, clock: Clock
    ) -> None:
        self._journal = journal
        self._approvals = approvals
        self._ledger = ledger
        self._policy = policy
        self._clock = clock

    def ask(
        self,
        record: LeaseRecord,
        identity: InstanceIdentity,
        *,
        least_level: VerificationLevel,
        idle_minutes: float,
        most_unsaved_bytes: int,
        hours: float,
        stopped: UsdPerHour | None,
    ) -> ApprovalRequest:
        """Open the request that the person answers. It is no consent yet.

        Raises:
            WrongPhase: the account was never pinned.
            InvalidRequest: ``hours`` is not more than 0 and at most 24.
        """
        account = self._journal.account_id()
        if account is None:
            raise WrongPhase("the account was never pinned", effect="Nobody was asked.")
        plan = StandingPlan(
            account_id=account,
            instance=identity,
            lease=record.lease.id,
            name=record.lease.id,
            least_level=least_level,
            off_box=True,
            idle_minutes=idle_minutes,
            most_unsaved_bytes=most_unsaved_bytes,
            hours=hours,
            usd_per_hour_running=record.lease.usd_per_hour,
            usd_per_hour_stopped=stopped,
            spent=self._ledger.spent(record.lease.id),
            prepared_at=self._clock.now(),
            program_version=version("remote-gpu-trainer"),
            nonce=secrets.token_hex(16),
            policy_digest=self._policy.digest,
        )
        return self._approvals.request(plan, ttl_s=hours * 3600)

    def missing_on_record(self, record: LeaseRecord) -> tuple[str, ...] | None:
        """What the journal alone says is missing, without a look at the machine; None where nothing was given."""
        given = self._given(record.lease.id)
        copies = self._journal.copies(record.lease.id)
        receipt = copies[0] if copies else None
        report = None if receipt is None else self._journal.verification(receipt.copy_id)
        evidence, losses = evidence_of(receipt, report), losses_of(receipt)
        return _least([unmet_on_record(plan, evidence, losses, self._clock.now()) for _, plan in given])

    def missing(self, teardown: TeardownPlan) -> tuple[str, ...]:
        """What is missing for the consent that comes closest to this teardown. Nothing is kept of it."""
        found = _least([unmet(plan, teardown, self._clock.now()) for _, plan in self._given(teardown.lease)])
        return ("nothing was agreed to beforehand",) if found is None else found

    def fitting(self, teardown: TeardownPlan) -> ApprovalRequest | None:
        """The consent given beforehand whose conditions all hold for this teardown; None when there is none.

        Conditions that do not hold are kept in the journal.
        """
        for given, plan in self._given(teardown.lease):
            missing = unmet(plan, teardown, self._clock.now())
            if not missing:
                return given
            self._journal.record(UNMET, teardown.lease, {"approval": given.id, "missing": list(missing)})
        return None

    def why_not(self, teardown: TeardownPlan) -> str | None:
        """Why a consent that was given beforehand is not used; None when there is none."""
        for given, plan in self._given(teardown.lease):
            missing = unmet(plan, teardown, self._clock.now())
            return f"the consent {given.id}, given beforehand, is not used: {'; '.join(missing) or 'its level'}"
        return None

    def _given(self, lease: LeaseId) -> list[tuple[ApprovalRequest, StandingPlan]]:
        requests = self._approvals.standing(lease)
        return [(one, one.plan) for one in requests if isinstance(one.plan, StandingPlan)]


def _least(missing: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    return min(missing, key=len, default=None)


def unmet(plan: StandingPlan, teardown: TeardownPlan, now: datetime) -> tuple[str, ...]:
    """Conditions that do not hold, one sentence each."""
    found: list[str] = []
    if (plan.account_id, plan.lease, plan.instance) != (teardown.account_id, teardown.lease, teardown.instance):
        found.append("it is another instance, label, machine or contract start")
    if teardown.machine_state is MachineState.UNREADABLE:
        found.append("the machine cannot be read")
    if teardown.running_writers:
        found.append(f"{len(teardown.running_writers)} files are open for writing")
    if not teardown.losses_complete:
        found.append("the machine could not be listed whole")
    return (*found, *unmet_on_record(plan, teardown.evidence, teardown.losses, now))


def unmet_on_record(
    plan: StandingPlan, evidence: tuple[Evidence, ...], losses: tuple[Loss, ...], now: datetime
) -> tuple[str, ...]:
    """Those of them that the copy and its verification decide, without a look at the machine."""
    found: list[str] = []
    if not evidence:
        found.append("nothing is proven off the machine")
    found.extend(
        f"a file reached only {one.lowest_level.name}, and {plan.least_level.name} is asked"
        for one in evidence
        if one.lowest_level < plan.least_level
    )
    unsaved = sum(loss.size for loss in losses)
    if unsaved > plan.most_unsaved_bytes:
        found.append(f"{show_bytes(unsaved)} are not saved, and at most {show_bytes(plan.most_unsaved_bytes)} may be")
    # The machine is as it was when it was copied, so nothing has changed since then.
    quiet = min((now - one.copied_at for one in evidence), default=timedelta(0))
    if quiet < timedelta(minutes=plan.idle_minutes):
        found.append(f"idle for {quiet.total_seconds() / 60:.0f} of {plan.idle_minutes:g} minutes")
    return tuple(found)
