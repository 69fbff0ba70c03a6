"""Looking at runs: one phase, one cause, one next step, and waits that end."""

from datetime import timedelta

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import TERMINAL_FOR_WAITING, Instance, InstancePhase
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import HELD_PHASES, JOB_ENDED, JobHeartbeat, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import Usd
from remote_gpu_trainer.errors import HostError, MarketError, WaitExpired
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.rules.base import Finding, Stage
from remote_gpu_trainer.rules.diagnosis import Cause, Diagnosis, diagnose
from remote_gpu_trainer.rules.facts import PollFacts
from remote_gpu_trainer.rules.registry import check
from remote_gpu_trainer.services.account import AccountWatch, Look
from remote_gpu_trainer.services.boxcheck import BOX_CHECKED
from remote_gpu_trainer.services.hosts import HostAccess
from remote_gpu_trainer.services.ledger import Ledger, burn
from remote_gpu_trainer.services.lookup import find_run
from remote_gpu_trainer.services.reconcile import Reconciler
from remote_gpu_trainer.services.reminding import ReminderService
from remote_gpu_trainer.services.views import RunView

MOST_WAIT_S = 600.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0
_KEEPS = frozenset({RunPhase.HOME, RunPhase.PROVEN, RunPhase.PARKED, RunPhase.DESTROYING, RunPhase.CLOSED})
"""Phases that a mere look does not change."""


class WatchService:
    """Reads runs and says what to do next."""

    def __init__(
        self,
        *,
        watch: AccountWatch,
        journal: Journal,
        ledger: Ledger,
        reconciler: Reconciler,
        hosts: HostAccess,
        reminding: ReminderService,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._watch = watch
        self._journal = journal
        self._ledger = ledger
        self._reconciler = reconciler
        self._hosts = hosts
        self._reminding = reminding
        self._policy = policy
        self._clock = clock

    async def status(self, target: str | int | None, *, wait_s: float = 0.0, until: str | None = None) -> list[RunView]:
        """One run or all that are held; waits for one until ``running`` or ``finished``, at most ``wait_s`` seconds.

        The wait ends early when waiting cannot bring what is waited for.
        """
        await self._reconciler.ensure()
        if target is None:
            held = [one for one in self._journal.leases() if one.phase in HELD_PHASES | {RunPhase.INTENDED}]
            return [await self.view(one) for one in held]
        deadline = self._clock.monotonic() + min(max(wait_s, 0.0), MOST_WAIT_S)
        pause = FIRST_PAUSE_S
        while True:
            view = await self.view(find_run(self._journal, target), wait_s=wait_s)
            left = deadline - self._clock.monotonic()
            if until is None or self._reached(view, until) or not self._may_come(view, until) or left <= 0:
                return [view]
            await self._clock.sleep(min(pause, max(left, 0.05)))
            pause = min(pause * 1.5, LONGEST_PAUSE_S if until == "finished" else 3.0)

    @staticmethod
    def _reached(view: RunView, until: str) -> bool:
        if until == "finished":
            return view.job is not None and view.job.state in JOB_ENDED
        return view.instance_phase is InstancePhase.RUNNING and bool(view.endpoints)

    @staticmethod
    def _may_come(view: RunView, until: str) -> bool:
        if view.instance_phase is None:
            return view.waits_help
        if until == "finished" and view.instance_phase is InstancePhase.RUNNING:
            return view.phase is not RunPhase.PARKED or view.job is not None
        return view.waits_help and view.instance_phase not in TERMINAL_FOR_WAITING - {InstancePhase.PREEMPTED}

    async def view(self, record: LeaseRecord, *, wait_s: float = 0.0) -> RunView:
        """One look at one run, kept in the journal."""
        if record.instance_id is None or record.phase is RunPhase.CLOSED:
            return self._without_instance(record)
        look = await self._watch.look(record.instance_id)
        if look.instance is None:
            if look.absent and look.inventory is not None:
                self._reconciler.compare(record, look.inventory)
                record = find_run(self._journal, record.lease.id)
            known = record.phase in HELD_PHASES | {RunPhase.DESTROYING}
            return self._unseen(record, look) if known else self._without_instance(record)
        instance = look.instance
        self._ledger.observe(record.lease.id, instance)
        diagnosis, findings = self._diagnose(record, instance, wait_s)
        notes: tuple[str, ...] = ()
        beat: JobHeartbeat | None = None
        step: int | None = None
        if instance.phase is InstancePhase.RUNNING and instance.endpoints:
            try:
                host = await self._hosts.connect(record, instance, timeout_s=10.0)
                try:
                    if record.job is not None:
                        beat, step = await self._hosts.heartbeat(host, record.job)
                finally:
                    await host.close()
            except (HostError, MarketError, WaitExpired) as error:
                notes = (f"SSH: {error}",)
        phase = self._advance(record, instance, beat)
        return RunView(
            lease=record.lease.id,
            instance_id=instance.id,
            phase=phase,
            instance_phase=instance.phase,
            cause=diagnosis.cause.value,
            rule_id=diagnosis.rule_id,
            explanation=diagnosis.explanation,
            next_step=self._next(phase, diagnosis),
            waits_help=diagnosis.waits_help,
            message=instance.raw.message,
            gpu=instance.gpu_name,
            machine_id=instance.machine_id,
            endpoints=instance.endpoints if instance.phase is InstancePhase.RUNNING else (),
            ports=instance.ports,
            job=beat,
            job_step=step,
            usd_per_hour_now=burn(instance),
            stopped_usd_per_day=None if instance.disk_usd_per_hour is None else Usd(instance.disk_usd_per_hour * 24),
            spent_usd=self._ledger.spent(record.lease.id),
            findings=findings,
            notes=notes,
            reminders=self._reminding.for_run(record.model_copy(update={"phase": phase}), instance),
        )

    def _diagnose(
        self, record: LeaseRecord, instance: Instance, wait_s: float
    ) -> tuple[Diagnosis, tuple[Finding, ...]]:
        now = self._clock.now()
        lease = record.lease
        facts = PollFacts(
            instance=instance,
            now=now,
            phase_since=self._ledger.phase_since(lease.id, instance.phase),
            wait_s=wait_s,
            image_gib=lease.shape.image_gib,
            start_asked_at=self._ledger.asked_at(lease.id, "start"),
            stop_asked_at=self._ledger.asked_at(lease.id, "stop"),
            burn_usd_per_hour=burn(instance),
            gpu_works=self._gpu_works(lease.id),
            hours_left=max((lease.opened_at + timedelta(hours=lease.shape.hours) - now).total_seconds() / 3600, 0.0),
        )
        findings = check(Stage.POLL, facts, waived=self._policy.waive)
        return diagnose(facts), tuple(findings)

    def _gpu_works(self, lease: LeaseId) -> bool | None:
        checked = self._journal.events(lease, kind=BOX_CHECKED, limit=1)
        sees = checked[0].data.get("framework_sees_gpu") if checked else None
        return sees if isinstance(sees, bool) else None

    def _advance(self, record: LeaseRecord, instance: Instance, beat: JobHeartbeat | None) -> RunPhase:
        if record.phase in _KEEPS:
            return record.phase
        phase = record.phase
        if instance.phase is InstancePhase.RUNNING:
            if beat is None:
                phase = RunPhase.READY if record.job is None and instance.endpoints else phase
            else:
                phase = RunPhase.FINISHED if beat.state in JOB_ENDED else RunPhase.TRAINING
        elif instance.phase in TERMINAL_FOR_WAITING and record.phase is not RunPhase.FINISHED:
            phase = RunPhase.INTERRUPTED
        if phase is not record.phase:
            self._journal.move(record.lease.id, phase, f"seen {instance.phase.value}")
        return phase

    @staticmethod
    def _next(phase: RunPhase, diagnosis: Diagnosis) -> str:
        if phase is RunPhase.DESTROYING:
            return "destroy again: it looks first, and repeats the delete only under the same unexpired consent"
        if diagnosis.cause is not Cause.NONE:
            return diagnosis.next_step
        match phase:
            case RunPhase.READY | RunPhase.RENTED:
                return "push_files, then start_job"
            case RunPhase.TRAINING:
                return "poll_status until=finished with a bounded wait, or read_logs"
            case RunPhase.FINISHED:
                return "copy_out, then verify_local; the meter runs"
            case RunPhase.HOME:
                return "verify_local on the copy"
            case RunPhase.PROVEN:
                return "destroy: it makes the plan that the person decides on"
            case RunPhase.PARKED:
                return "the same call that failed again; the machine is kept and bills"
            case _:
                return diagnosis.next_step

    def _without_instance(self, record: LeaseRecord) -> RunView:
        undecided = record.phase is RunPhase.INTENDED
        phantom = record.phase is RunPhase.NEVER_WAS and record.instance_id is not None
        return RunView(
            lease=record.lease.id,
            instance_id=record.instance_id,
            phase=record.phase,
            instance_phase=None,
            cause="answer-lost" if undecided else record.phase.value,
            rule_id="VAST14" if phantom else None,
            explanation=(
                "the create was asked for and its answer is not known; the account does not show the instance yet"
                if undecided
                else f"the platform named instance {record.instance_id} and never showed it in two complete listings"
                if phantom
                else "this run holds no instance"
            ),
            next_step=(
                "poll_status again; do not create a second one"
                if undecided
                else "search_offers, and rent another"
                if phantom
                else "nothing; it is over"
            ),
            waits_help=undecided,
            spent_usd=self._ledger.spent(record.lease.id),
        )

    def _unseen(self, record: LeaseRecord, look: Look) -> RunView:
        return RunView(
            lease=record.lease.id,
            instance_id=record.instance_id,
            phase=record.phase,
            instance_phase=None,
            cause="absent" if look.absent else "not-shown",
            rule_id=None,
            explanation=(
                "a complete listing of the account does not hold it; a second one settles the journal"
                if look.absent
                else "the platform does not show it, and the listing is not complete: this proves nothing"
            ),
            next_step="poll_status again in 20 s; do not conclude that it is gone",
            waits_help=True,
            spent_usd=self._ledger.spent(record.lease.id),
        )
