"""Ending one rental: the plan, the last look, the spent consent, one DELETE, and two absences."""

import secrets
from importlib.metadata import version
from pathlib import Path

from remote_gpu_trainer.approval.receipt import Absence, Receipt, write_receipt
from remote_gpu_trainer.domain.approvals import (
    ApprovalRequest,
    ApprovalState,
    AssuranceLevel,
    Channel,
    Consent,
)
from remote_gpu_trainer.domain.artifacts import Fingerprint, SkippedEntry, VerificationLevel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.instances import Instance, InstancePhase, Volume
from remote_gpu_trainer.domain.plans import Evidence, Loss, MachineState, ProvenFile, TeardownPlan
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import Intent, IntentState, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import UsdPerHour, show_usd
from remote_gpu_trainer.errors import (
    AnswerLost,
    InvalidRequest,
    MarketError,
    NoSuchInstance,
    PlanChanged,
    RgtError,
    TokenRejected,
    WrongPhase,
)
from remote_gpu_trainer.ports import ApprovalBook, Clock, Journal, Marketplace
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import DestroyFacts
from remote_gpu_trainer.rules.registry import enforce
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.lookup import find_run, instance_of
from remote_gpu_trainer.services.resume import StateChanger
from remote_gpu_trainer.services.sight import Looker, Sight
from remote_gpu_trainer.services.views import TeardownOutcome

NOT_DESTROYED = "The instance was not destroyed."
PLANNED = "teardown.planned"
SECONDS_BETWEEN_ABSENCES = 3.0
MOST_LOOKS = 20
STOP_LOOKS = 30
_ORDER = (AssuranceLevel.PERSON, AssuranceLevel.SEALED, AssuranceLevel.HARDWARE, AssuranceLevel.CONSOLE)


class TeardownService:
    """Prepares plans and carries out those that a person approved."""

    def __init__(
        self,
        *,
        market: Marketplace,
        journal: Journal,
        approvals: ApprovalBook,
        watch: AccountWatch,
        looker: Looker,
        states: StateChanger,
        ledger: Ledger,
        policy: Policy,
        home: Path,
        clock: Clock,
    ) -> None:
        self._market = market
        self._journal = journal
        self._approvals = approvals
        self._watch = watch
        self._looker = looker
        self._states = states
        self._ledger = ledger
        self._policy = policy
        self._home = home
        self._clock = clock

    async def prepare(self, target: str | int) -> ApprovalRequest:
        """The plan for this run, as an open request. While nothing changes, the same request again.

        Raises:
            RuleViolation: VAST2: nothing proven covers what the machine holds.
            WrongPhase: the job still runs, or the instance is gone already.
        """
        record = find_run(self._journal, target)
        sight = await self._looker.look(record)
        standing = self._standing(record)
        if standing is not None and not differences(sight, _teardown(standing)):
            return standing
        volumes = await self._volumes(sight.instance)
        self._enforce(sight, volumes)
        if sight.machine is MachineState.RUNNING and not sight.job_ended:
            raise WrongPhase(
                f"{sight.job}: a machine is not torn down while its trainer writes",
                next_step="wait for its end with poll_status until=finished, or stop_instance first",
                effect=NOT_DESTROYED,
            )
        before = sight
        if self._policy.stop_before_asking and sight.machine is MachineState.RUNNING:
            await self._states.change(record, "stopped")
            sight = await self._wait_for_rest(record)
        plan = self._plan(record, before, sight, volumes)
        request = self._approvals.request(plan, ttl_s=self._policy.approval_minutes * 60)
        self._journal.record(PLANNED, record.lease.id, {"approval": request.id, "digest": request.plan_digest})
        return request

    def agree(self, approval_id: ApprovalId, channel: Channel) -> str:
        """Mint the token for a person who has just agreed. Only the elicitation resolver calls this."""
        return self._approvals.approve(approval_id, channel=channel, assurance=AssuranceLevel.PERSON)

    async def execute(self, target: str | int, approval_id: str, token: str) -> TeardownOutcome:
        """Destroy under a person's consent: last look, spend, DELETE once, two absences.

        Raises:
            TokenRejected: unknown, used, expired, foreign, too weak. The instance was not destroyed.
            PlanChanged: the machine or the proof is not what was approved. The instance was not destroyed.
            AnswerLost: the DELETE may have happened; the account is looked at by the next poll_status.
        """
        record = find_run(self._journal, target)
        request = self._accepted(record, ApprovalId(approval_id), token)
        plan = _teardown(request)
        sight = await self._looker.look(record)
        changed = differences(sight, plan)
        if changed:
            self._approvals.void(request.id, "; ".join(changed))
            raise PlanChanged(f"since the approval: {'; '.join(changed)}", effect=NOT_DESTROYED)
        consent, intent = self._approvals.spend(
            request.id,
            token,
            plan_digest=request.plan_digest,
            lease=record.lease.id,
            request={"instance": int(instance_of(record)), "plan": request.plan_digest},
        )
        self._journal.move(record.lease.id, RunPhase.DESTROYING, f"consent {request.id} is spent")
        return await self._delete(record, plan, consent, intent)

    def _accepted(self, record: LeaseRecord, approval_id: ApprovalId, token: str) -> ApprovalRequest:
        stored = self._approvals.get(approval_id)
        digest = "" if stored is None else stored.plan_digest
        try:
            request = self._approvals.check(approval_id, token, plan_digest=digest)
        except TokenRejected as error:
            error.effect = NOT_DESTROYED
            raise
        plan = request.plan
        if not isinstance(plan, TeardownPlan) or plan.lease != record.lease.id:
            raise TokenRejected(
                f"approval {approval_id[:40]!r} is for another plan than the teardown of {record.lease.id}",
                next_step="call destroy without a token to get the plan of this run",
                effect=NOT_DESTROYED,
            )
        needed = self._policy.approval_level
        if request.assurance is None or _ORDER.index(request.assurance) < _ORDER.index(needed):
            raise TokenRejected(
                f"the policy asks for consent of level {needed.value}, this one is {request.assurance}",
                next_step=f"the person approves with `rgt approve {approval_id}` at that level",
                effect=NOT_DESTROYED,
            )
        return request

    def _standing(self, record: LeaseRecord) -> ApprovalRequest | None:
        events = self._journal.events(record.lease.id, kind=PLANNED, limit=1)
        request = self._approvals.get(ApprovalId(str(events[0].data.get("approval")))) if events else None
        usable = {ApprovalState.OPEN, ApprovalState.APPROVED}
        return request if request is not None and request.state in usable else None

    def _enforce(self, sight: Sight, volumes: tuple[Volume, ...] | None) -> None:
        if sight.local_changes:
            raise PlanChanged(
                f"the proven copy is not what was proven any more: {'; '.join(sight.local_changes[:5])}",
                effect=NOT_DESTROYED,
            )
        facts = DestroyFacts(
            instance=sight.instance,
            now=self._clock.now(),
            reports=() if sight.report is None else (sight.report,),
            matches_machine=sight.matches,
            copy_failed=sight.copy_failed,
            held_work=sight.held_work,
            readable=sight.machine is not MachineState.UNREADABLE,
            volumes=volumes,
        )
        enforce(Stage.DESTROY, facts, effect=NOT_DESTROYED, waived=self._policy.waive)

    async def _wait_for_rest(self, record: LeaseRecord) -> Sight:
        for _ in range(STOP_LOOKS):
            sight = await self._looker.look(record)
            if sight.machine is MachineState.STOPPED:
                return sight
            await self._clock.sleep(1.0)
        raise WrongPhase(
            f"instance {record.instance_id} was asked to stop and does not rest after {STOP_LOOKS} looks",
            next_step="poll_status, then destroy again",
            effect=NOT_DESTROYED,
        )

    async def _volumes(self, instance: Instance) -> tuple[Volume, ...] | None:
        try:
            volumes = await self._market.volumes()
        except MarketError:
            return None
        return tuple(v for v in volumes if instance.id in v.instance_ids or v.machine_id == instance.machine_id)

    def _plan(self, record: LeaseRecord, before: Sight, now: Sight, volumes: tuple[Volume, ...] | None) -> TeardownPlan:
        moment = self._clock.now()
        receipt = now.receipt
        account = self._journal.account_id()
        if account is None:
            raise WrongPhase("the account was never pinned", effect=NOT_DESTROYED)
        prints: tuple[Fingerprint, ...] = ()
        if before.far_digest is not None:
            prints = (
                Fingerprint(
                    moment="before-stop" if now.machine is MachineState.STOPPED else "before-consent",
                    at=moment,
                    digest=before.far_digest,
                    files=before.far_files,
                    bytes=before.far_bytes,
                ),
            )
        disk = now.instance.disk_usd_per_hour
        lost: tuple[SkippedEntry, ...] = () if receipt is None else (*receipt.skipped, *receipt.not_copied)
        return TeardownPlan(
            account_id=account,
            instance=now.instance.identity,
            lease=record.lease.id,
            name=record.lease.id,
            evidence=_evidence(now),
            losses=tuple(Loss(path=one.path, size=one.size, reason=one.reason) for one in lost),
            losses_complete=receipt is not None and now.machine is not MachineState.UNREADABLE,
            running_writers=before.writers,
            machine_state=now.machine,
            fingerprints=prints,
            job=before.job,
            volumes_billing_on=_in_words(volumes),
            spent=self._ledger.spent(record.lease.id),
            usd_per_hour_running=UsdPerHour(record.lease.usd_per_hour),
            usd_per_hour_stopped=disk,
            prepared_at=moment,
            program_version=version("remote-gpu-trainer"),
            nonce=secrets.token_hex(16),
        )

    async def _delete(
        self, record: LeaseRecord, plan: TeardownPlan, consent: Consent, intent: Intent
    ) -> TeardownOutcome:
        try:
            await self._market.destroy_instance(instance_of(record))
        except (AnswerLost, NoSuchInstance) as error:
            # It may be gone; only the account's own listing says so.
            self._journal.close_intent(intent.id, IntentState.AMBIGUOUS, {"code": error.code})
        except RgtError as error:
            self._journal.close_intent(intent.id, IntentState.FAILED, {"code": error.code})
            self._journal.move(record.lease.id, RunPhase.PARKED, f"the delete was refused: {error.code}")
            error.effect = f"{NOT_DESTROYED} The consent is used up; destroy again for a new one."
            raise
        absences = await self._absences(record)
        if len(absences) < 2:
            self._journal.close_intent(intent.id, IntentState.AMBIGUOUS, {"absences": len(absences)})
            return self._unconfirmed(record)
        self._journal.close_intent(intent.id, IntentState.DONE, {"absences": 2})
        self._ledger.observe(record.lease.id, None)
        self._journal.move(record.lease.id, RunPhase.CLOSED, "absent in two complete looks at the pinned account")
        return await self._closed(record, plan, consent, absences)

    async def _absences(self, record: LeaseRecord) -> list[Absence]:
        found: list[Absence] = []
        for _ in range(MOST_LOOKS):
            try:
                inventory = await self._watch.inventory()
            except MarketError as error:
                self._journal.record("absence.unread", record.lease.id, {"code": error.code})
                inventory = None
            if inventory is not None and inventory.complete:
                if any(row.id == record.instance_id for row in inventory.instances):
                    found.clear()
                else:
                    found.append(
                        Absence(
                            at=self._clock.now(),
                            account_id=inventory.account_id,
                            instance_id=int(instance_of(record)),
                            instances_listed=len(inventory.instances),
                        )
                    )
            if len(found) == 2:
                break
            await self._clock.sleep(SECONDS_BETWEEN_ABSENCES)
        return found

    def _unconfirmed(self, record: LeaseRecord) -> TeardownOutcome:
        return TeardownOutcome(
            lease=record.lease.id,
            instance_id=instance_of(record),
            destroyed=False,
            confirmed=False,
            spent_usd=self._ledger.spent(record.lease.id),
            receipt_path=None,
            volumes_billing_on=(),
            note="the delete was sent and its end is not confirmed; poll_status looks again; it may still bill",
        )

    async def _closed(
        self, record: LeaseRecord, plan: TeardownPlan, consent: Consent, absences: list[Absence]
    ) -> TeardownOutcome:
        spent = self._ledger.spent(record.lease.id)
        volumes = _in_words(await self._volumes_left(plan))
        receipt = Receipt(
            plan=plan,
            consent=consent,
            absences=tuple(absences),
            estimated_cost=spent,
            billed_cost=None,
            volumes_billing_on=volumes,
            closed_at=self._clock.now(),
            program_version=plan.program_version,
        )
        try:
            path: str | None = str(write_receipt(self._home, receipt))
            note = "gone in two complete looks at the account; its meter is off"
        except (RgtError, OSError) as error:
            path, note = None, f"gone, its meter is off; the receipt could not be written: {error}"
        return TeardownOutcome(
            lease=record.lease.id,
            instance_id=instance_of(record),
            destroyed=True,
            confirmed=True,
            spent_usd=spent,
            receipt_path=path,
            volumes_billing_on=volumes,
            note=note,
        )

    async def _volumes_left(self, plan: TeardownPlan) -> tuple[Volume, ...] | None:
        try:
            volumes = await self._market.volumes()
        except MarketError:
            return None
        return tuple(v for v in volumes if v.machine_id == plan.instance.machine_id)


def differences(sight: Sight, plan: TeardownPlan) -> list[str]:
    """What is not as the plan says, one sentence each; empty when the consent still holds."""
    found: list[str] = []
    if sight.instance.identity != plan.instance:
        found.append("the instance is another than the approved one (id, label, machine or contract start)")
    found.extend(f"local copy: {change}" for change in sight.local_changes[:5])
    if _evidence(sight) != plan.evidence:
        found.append("the evidence is another copy or verification than the approved one")
    if sight.machine is not plan.machine_state:
        found.append(f"the machine was {plan.machine_state.value} and is {sight.machine.value}")
    if sight.instance.phase is InstancePhase.RUNNING and plan.machine_state is MachineState.STOPPED:
        found.append("it was started again")
    if plan.evidence and sight.matches is not True and plan.machine_state is not MachineState.UNREADABLE:
        found.append("the machine holds something else than what was copied")
    if sight.far_digest is not None and plan.fingerprints and sight.far_digest != plan.fingerprints[-1].digest:
        found.append("files on the machine changed")
    if sight.writers:
        found.append(f"{len(sight.writers)} files are open for writing")
    return found


def _evidence(sight: Sight) -> tuple[Evidence, ...]:
    receipt, report = sight.receipt, sight.report
    if receipt is None or report is None:
        return ()
    return (
        Evidence(
            copy_id=receipt.copy_id,
            destination=receipt.destination,
            manifest_digest=receipt.manifest.digest,
            copied_at=receipt.finished_at,
            verified_at=report.verified_at,
            lowest_level=report.lowest_level or VerificationLevel.PRESENT,
            files=tuple(
                ProvenFile(path=one.path, size=one.size, sha256=one.sha256, level=one.level) for one in report.files
            ),
        ),
    )


def _teardown(request: ApprovalRequest) -> TeardownPlan:
    if not isinstance(request.plan, TeardownPlan):
        raise InvalidRequest(f"approval {request.id} is not a teardown", effect=NOT_DESTROYED)
    return request.plan


def _in_words(volumes: tuple[Volume, ...] | None) -> tuple[str, ...]:
    if volumes is None:
        return ("volumes could not be read: some may bill on",)
    return tuple(
        f"volume {one.id} ({one.size_gib or '?'} GiB) bills "
        f"{'an unknown price' if one.usd_per_hour is None else show_usd(one.usd_per_hour)} an hour until deleted"
        for one in volumes
    )
