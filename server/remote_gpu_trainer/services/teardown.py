"""Ending one rental: the plan, a person's consent, the last look, the spent consent. What follows is ``ending``."""

from datetime import datetime, timedelta

from pydantic import JsonValue

from remote_gpu_trainer.approval.refusal import NOT_USED
from remote_gpu_trainer.approval.rows import consent_of
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import MachineState, TeardownPlan
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import Intent, IntentState, LeaseRecord, RunPhase
from remote_gpu_trainer.errors import InvalidRequest, PlanChanged, TokenRejected, WrongPhase
from remote_gpu_trainer.ports import ApprovalBook, Clock, Journal
from remote_gpu_trainer.services.ending import ENOUGH, Ending
from remote_gpu_trainer.services.intents import CONSENT_UNTIL, consent_until
from remote_gpu_trainer.services.lookup import find_run, instance_of
from remote_gpu_trainer.services.planning import NOT_DESTROYED, Planner, differences
from remote_gpu_trainer.services.reminding import PLANNED
from remote_gpu_trainer.services.resume import StateChanger
from remote_gpu_trainer.services.sight import Looker, Sight
from remote_gpu_trainer.services.standing import StandingService
from remote_gpu_trainer.services.views import TeardownOutcome

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
MOST_REST_LOOKS = 30
IN_FLIGHT = timedelta(minutes=3)
"""Longer than one DELETE with its looks can take: until then an open intent may belong to a living process."""
CONSOLE_MINUTES = 24 * 60.0
"""A person who has to find the console gets a day."""


class TeardownService:
    """Prepares plans and carries out those that a person approved."""

    def __init__(
        self,
        *,
        journal: Journal,
        approvals: ApprovalBook,
        looker: Looker,
        planner: Planner,
        ending: Ending,
        standing: StandingService,
        states: StateChanger,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._approvals = approvals
        self._looker = looker
        self._planner = planner
        self._ending = ending
        self._standing = standing
        self._states = states
        self._policy = policy
        self._clock = clock

    def level(self, record: LeaseRecord) -> AssuranceLevel:
        """The least level of a consent to destroy this run, by the policy as it is now."""
        return self._policy.level_for("destroy", record.lease.usd_per_hour)

    def level_of(self, request: ApprovalRequest) -> AssuranceLevel:
        """The least level of a consent to this teardown.

        Raises:
            InvalidRequest: it is none.
        """
        return self.level(find_run(self._journal, _teardown(request).lease))

    def acts_beforehand(self, record: LeaseRecord) -> bool:
        """Whether a consent was given beforehand that the policy, as it is now, lets count for this run."""
        return any(self._reaches(one, record) for one in self._approvals.standing(record.lease.id))

    async def advance(self, target: str | int) -> ApprovalRequest | TeardownOutcome:
        """Go as far as is allowed without asking: the open request for a person, or the end where consent was given.

        An interrupted delete is resumed by looking. A consent given beforehand is used when its conditions hold.
        What the person destroyed in the console is closed in the books.

        Raises:
            RuleViolation, WrongPhase, PlanChanged: as ``prepare``.
        """
        record = find_run(self._journal, target)
        intent = self._undecided(record)
        if intent is not None:
            return await self._resume(record, intent)
        if (ended := await self._by_console(record)) is not None:
            return ended
        request = await self.prepare(target)
        standing = self._standing.fitting(_teardown(request))
        if request.state is not ApprovalState.OPEN or standing is None or not self._reaches(standing, record):
            return request
        return await self._by_standing(record, request, standing)

    async def prepare(self, target: str | int) -> ApprovalRequest:
        """The plan for this run, as an open request. While nothing changes, the same request again.

        Raises:
            RuleViolation: VAST2: nothing proven covers what the machine holds.
            WrongPhase: the job still runs, a file is open for writing, or the instance is gone already.
        """
        record = find_run(self._journal, target)
        sight = await self._looker.look(record)
        standing = self._last_request(record)
        usable = standing is not None and standing.state in {ApprovalState.OPEN, ApprovalState.APPROVED}
        if standing is not None and usable and not differences(sight, _teardown(standing)):
            return standing
        volumes = await self._planner.volumes_of(sight.instance)
        self._planner.enforce(sight, volumes)
        before = sight
        if self._policy.stop_before_asking and sight.machine is MachineState.RUNNING:
            await self._states.change(record, "stopped")
            sight = await self._wait_for_rest(record, before)
        plan = self._planner.plan(record, before, sight, volumes)
        console = self.level(record) is AssuranceLevel.CONSOLE
        minutes = CONSOLE_MINUTES if console else self._policy.approval_minutes
        request = self._approvals.request(plan, ttl_s=minutes * 60)
        self._journal.record(PLANNED, record.lease.id, {"approval": request.id, "digest": request.plan_digest})
        return request

    async def ask_beforehand(
        self,
        target: str | int,
        *,
        least_level: VerificationLevel,
        idle_minutes: float,
        most_unsaved_bytes: int,
        hours: float,
    ) -> ApprovalRequest:
        """Open the question whether this run may be destroyed later without asking again. It is no consent yet.

        Raises:
            MarketError, HostUnreachable, WrongPhase: the platform does not show the instance.
        """
        record = find_run(self._journal, target)
        instance = await self._looker.instance(record)
        return self._standing.ask(
            record,
            instance.identity,
            least_level=least_level,
            idle_minutes=idle_minutes,
            most_unsaved_bytes=most_unsaved_bytes,
            hours=hours,
            stopped=instance.disk_usd_per_hour,
        )

    async def agreed(self, target: str | int, approval_id: ApprovalId, channel: Channel) -> TeardownOutcome:
        """Destroy for a person who has just agreed through the client. Only the elicitation resolver calls this.

        Nobody is handed the token: a yes that cannot be used at once ends, and the next call asks anew.

        Raises:
            As ``execute``.
        """
        token = self._approvals.approve(approval_id, channel=channel, assurance=AssuranceLevel.PERSON)
        try:
            return await self.execute(target, approval_id, token)
        finally:
            # Also when the call is cancelled. One that was spent stays as it is.
            self._approvals.void(approval_id, NOT_USED)

    async def execute(self, target: str | int, approval_id: str, token: str) -> TeardownOutcome:
        """Destroy under a person's consent: last look, spend, DELETE once, two absences.

        Raises:
            TokenRejected: unknown, used, expired, foreign, too weak. The instance was not destroyed.
            PlanChanged: the machine or the proof is not what was approved. The instance was not destroyed.
            AnswerLost: the DELETE may have happened; the account is looked at by the next poll_status.
        """
        record = find_run(self._journal, target)
        request = self._accepted(record, ApprovalId(approval_id), token)
        await self._last_look(record, request)
        spent = self._approvals.spend(
            request.id,
            token,
            plan_digest=request.plan_digest,
            lease=record.lease.id,
            request=_asked_of_the_platform(record, request, request.expires_at),
        )
        return await self._end(request, *spent)

    async def watch_console(self, approval_id: ApprovalId) -> TeardownOutcome | None:
        """Look, bounded, whether the person has destroyed an instance in the console; None while it is there.

        Raises:
            InvalidRequest: there is no such teardown.
        """
        request = self._approvals.get(approval_id)
        if request is None:
            raise InvalidRequest(f"there is no approval {approval_id[:60]!r}", effect=NOT_DESTROYED)
        return await self._close_witnessed(find_run(self._journal, _teardown(request).lease), request)

    async def _by_standing(
        self, record: LeaseRecord, request: ApprovalRequest, standing: ApprovalRequest
    ) -> TeardownOutcome:
        """Destroy under a consent given beforehand. A look that fails leaves it usable until its own time is over."""
        await self._last_look(record, request)
        spent = self._approvals.spend_by_standing(
            request.id,
            standing.id,
            plan_digest=request.plan_digest,
            lease=record.lease.id,
            request=_asked_of_the_platform(record, request, min(request.expires_at, standing.expires_at)),
        )
        return await self._end(request, *spent)

    async def _last_look(self, record: LeaseRecord, request: ApprovalRequest) -> None:
        changed = differences(await self._looker.look(record), _teardown(request))
        if changed:
            self._approvals.void(request.id, "; ".join(changed))
            raise PlanChanged(
                f"since the approval: {'; '.join(changed)}",
                next_step="copy_out and verify_local again, then destroy for a new plan",
                effect=NOT_DESTROYED,
            )

    async def _end(self, request: ApprovalRequest, consent: Consent, intent: Intent) -> TeardownOutcome:
        plan = _teardown(request)
        self._journal.move(plan.lease, RunPhase.DESTROYING, f"consent {request.id} is spent")
        return await self._ending.delete(find_run(self._journal, plan.lease), plan, consent, intent)

    async def _resume(self, record: LeaseRecord, intent: Intent) -> TeardownOutcome:
        """After a crash or a lost answer: look first; repeat only under the same unexpired consent."""
        request = self._approvals.get(ApprovalId(str(intent.request.get("approval"))))
        if request is None or request.state is not ApprovalState.SPENT:
            raise WrongPhase(
                f"a delete of {record.lease.id} is undecided and its consent is not in the journal",
                next_step="poll_status settles it by looking",
                effect="Nothing was sent.",
            )
        plan, consent = _teardown(request), consent_of(request)
        looks = await self._ending.look(record, there_after=ENOUGH)
        if looks.gone:
            return await self._ending.close(record, plan, consent, looks, intent)
        if not looks.there:
            raise WrongPhase(
                f"a delete of {record.lease.id} is undecided, and the account does not say what became of it",
                next_step="destroy again in a minute: it looks first",
                effect="Nothing was sent.",
            )
        if intent.state is IntentState.OPEN and self._now() - intent.opened_at < IN_FLIGHT:
            raise WrongPhase(
                f"a delete of {record.lease.id} may be on its way from another process",
                next_step=f"destroy again in {IN_FLIGHT.total_seconds():.0f} s: it looks first",
                effect="Nothing was sent.",
            )
        changed = differences(await self._looker.look(record), plan)
        if self._now() >= (consent_until(intent) or consent.granted_at):
            changed.append("the consent has expired")
        if changed:
            self._journal.close_intent(intent.id, IntentState.FAILED, {"present": True, "why": "; ".join(changed)})
            self._journal.move(record.lease.id, RunPhase.PARKED, "the delete did not happen; a new consent is needed")
            raise PlanChanged(
                f"the delete of {record.lease.id} did not happen, and its consent does not cover a second try: "
                f"{'; '.join(changed)}",
                next_step="destroy again: it makes a new plan for the person",
                effect=NOT_DESTROYED,
            )
        if record.phase is not RunPhase.DESTROYING:
            self._journal.move(record.lease.id, RunPhase.DESTROYING, f"consent {request.id} is spent")
        self._journal.record("delete.repeated", record.lease.id, {"intent": intent.id, "approval": request.id})
        return await self._ending.delete(find_run(self._journal, record.lease.id), plan, consent, intent)

    async def _by_console(self, record: LeaseRecord) -> TeardownOutcome | None:
        request = self._last_request(record)
        if request is None or self.level(record) is not AssuranceLevel.CONSOLE or record.instance_id is None:
            return None
        waits = request.state is ApprovalState.OPEN or (
            request.state is ApprovalState.APPROVED and request.assurance is AssuranceLevel.CONSOLE
        )
        return await self._close_witnessed(record, request) if waits else None

    async def _close_witnessed(self, record: LeaseRecord, request: ApprovalRequest) -> TeardownOutcome | None:
        looks = await self._ending.look(record, there_after=1)
        if not looks.gone:
            return None
        consent = self._approvals.witness(request.id)
        # A receipt's absences come after its consent: these two are looked for again.
        after = await self._ending.look(record, there_after=ENOUGH)
        return await self._ending.close(record, _teardown(request), consent, after, None) if after.gone else None

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
        needed = self.level(record)
        if not self._reaches(request, record):
            raise TokenRejected(
                f"the policy asks for consent of level {needed.value}, this one is {request.assurance}",
                next_step=f"the person approves with `rgt approve {approval_id}` at that level",
                effect=NOT_DESTROYED,
            )
        return request

    def _reaches(self, request: ApprovalRequest, record: LeaseRecord) -> bool:
        needed = self.level(record)
        if needed is AssuranceLevel.CONSOLE:
            return False  # this program destroys nothing then
        return request.assurance is not None and request.assurance.reaches(needed)

    def _undecided(self, record: LeaseRecord) -> Intent | None:
        mine = [one for one in self._journal.open_intents() if one.lease == record.lease.id and one.action == "destroy"]
        return mine[-1] if mine else None

    def _last_request(self, record: LeaseRecord) -> ApprovalRequest | None:
        events = self._journal.events(record.lease.id, kind=PLANNED, limit=1)
        return self._approvals.get(ApprovalId(str(events[0].data.get("approval")))) if events else None

    def _now(self) -> datetime:
        """Now, or the latest time in the journal: a clock that was moved back revives no consent."""
        latest = self._journal.events(limit=1)
        return max([self._clock.now(), *(event.at for event in latest)])

    async def _wait_for_rest(self, record: LeaseRecord, before: Sight) -> Sight:
        pause = FIRST_PAUSE_S
        for _ in range(MOST_REST_LOOKS):
            sight = await self._looker.at_rest(record, before)
            if sight is not None:
                return sight
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
        raise WrongPhase(
            f"instance {record.instance_id} was asked to stop and does not rest after {MOST_REST_LOOKS} looks",
            next_step="poll_status, then destroy again",
            effect=NOT_DESTROYED,
        )


def _asked_of_the_platform(record: LeaseRecord, request: ApprovalRequest, until: datetime) -> dict[str, JsonValue]:
    return {
        "instance": int(instance_of(record)),
        "plan": request.plan_digest,
        "approval": request.id,
        CONSENT_UNTIL: until.isoformat(),
    }


def _teardown(request: ApprovalRequest) -> TeardownPlan:
    if not isinstance(request.plan, TeardownPlan):
        raise InvalidRequest(f"approval {request.id} is not a teardown", effect=NOT_DESTROYED)
    return request.plan
