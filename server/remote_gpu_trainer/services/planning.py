"""What a teardown would mean, as one plan; and whether a later look still is what the plan says."""

import secrets
from importlib.metadata import version

from remote_gpu_trainer.domain.artifacts import (
    FOREIGN_CLASSES,
    CopyReceipt,
    FileProof,
    Fingerprint,
    Route,
    SkippedEntry,
    VerificationLevel,
    VerificationReport,
    digest_of,
)
from remote_gpu_trainer.domain.instances import Instance, InstancePhase, Volume
from remote_gpu_trainer.domain.plans import Evidence, Loss, MachineState, ProvenFile, TeardownPlan
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import LeaseRecord
from remote_gpu_trainer.domain.units import UsdPerHour, show_usd
from remote_gpu_trainer.errors import MarketError, PlanChanged, WrongPhase
from remote_gpu_trainer.ports import Clock, Journal, Marketplace
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import DestroyFacts
from remote_gpu_trainer.rules.registry import enforce
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.sight import Sight

NOT_DESTROYED = "The instance was not destroyed."
KEPT_BY_POLICY = "the policy wants the GPU kept (stop_before_asking = false), so it bills in full while you think"


class Planner:
    """Makes teardown plans."""

    def __init__(self, *, market: Marketplace, journal: Journal, ledger: Ledger, policy: Policy, clock: Clock) -> None:
        self._market = market
        self._journal = journal
        self._ledger = ledger
        self._policy = policy
        self._clock = clock

    def enforce(self, sight: Sight, volumes: tuple[Volume, ...] | None) -> None:
        """See that a teardown may be asked for at all.

        Raises:
            RuleViolation: VAST2: nothing proven covers what the machine holds.
            PlanChanged: the proven copy on this disk is not what was proven any more.
            WrongPhase: the job still runs.
        """
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
        if sight.machine is MachineState.RUNNING and not sight.job_ended:
            raise WrongPhase(
                f"{sight.job}: a machine is not torn down while its trainer writes",
                next_step="wait for its end with poll_status until=finished, or stop_instance first",
                effect=NOT_DESTROYED,
            )
        if sight.writers:
            raise WrongPhase(
                f"{len(sight.writers)} files under the results are open for writing, {sight.writers[0][:80]!r} first",
                next_step="end the program that writes, copy_out and verify_local again, then destroy",
                effect=NOT_DESTROYED,
            )

    async def volumes_of(self, instance: Instance) -> tuple[Volume, ...] | None:
        """Volumes that outlive this instance; None when they could not be read."""
        try:
            volumes = await self._market.volumes()
        except MarketError:
            return None
        return tuple(v for v in volumes if instance.id in v.instance_ids or v.machine_id == instance.machine_id)

    def plan(self, record: LeaseRecord, before: Sight, now: Sight, volumes: tuple[Volume, ...] | None) -> TeardownPlan:
        """The statement that a person is asked about, from the look before the stop and the one after it."""
        account = self._journal.account_id()
        if account is None:
            raise WrongPhase("the account was never pinned", effect=NOT_DESTROYED)
        receipt = now.receipt
        running = now.machine is MachineState.RUNNING
        return TeardownPlan(
            account_id=account,
            instance=now.instance.identity,
            lease=record.lease.id,
            name=record.lease.id,
            evidence=evidence_of(receipt, now.report),
            losses=losses_of(receipt),
            losses_complete=receipt is not None and now.machine is not MachineState.UNREADABLE,
            running_writers=before.writers,
            machine_state=now.machine,
            fingerprints=_fingerprints(before, now),
            job=before.job,
            volumes_billing_on=in_words(volumes),
            spent=self._ledger.spent(record.lease.id),
            usd_per_hour_running=UsdPerHour(record.lease.usd_per_hour),
            usd_per_hour_stopped=now.instance.disk_usd_per_hour,
            prepared_at=self._clock.now(),
            program_version=version("remote-gpu-trainer"),
            nonce=secrets.token_hex(16),
            stopped_at=now.rests_since,
            kept_running=KEPT_BY_POLICY if running and not self._policy.stop_before_asking else None,
            policy_digest=self._policy.digest,
        )


def differences(sight: Sight, plan: TeardownPlan) -> list[str]:
    """What is not as the plan says, one sentence each; empty when the consent still holds."""
    found: list[str] = []
    if sight.instance.identity != plan.instance:
        found.append("the instance is another than the approved one (id, label, machine or contract start)")
    found.extend(f"local copy: {change}" for change in sight.local_changes[:5])
    if evidence_of(sight.receipt, sight.report) != plan.evidence:
        found.append("the evidence is another copy or verification than the approved one")
    if sight.machine is not plan.machine_state:
        found.append(f"the machine was {plan.machine_state.value} and is {sight.machine.value}")
    if sight.instance.phase is InstancePhase.RUNNING and plan.machine_state is MachineState.STOPPED:
        found.append("it was started again")
    elif plan.stopped_at and sight.started_again and sight.started_again > plan.stopped_at:
        found.append(f"it was started again at {sight.started_again:%Y-%m-%d %H:%M:%S} UTC")
    if plan.evidence and sight.matches is not True and plan.machine_state is not MachineState.UNREADABLE:
        found.append("the machine holds something else than what was copied")
    if sight.far_digest is not None and plan.fingerprints and sight.far_digest != plan.fingerprints[-1].digest:
        found.append("files on the machine changed")
    if sight.writers:
        found.append(f"{len(sight.writers)} files are open for writing")
    return found


def losses_of(receipt: CopyReceipt | None) -> tuple[Loss, ...]:
    """What that copy saw and left on the machine."""
    lost: tuple[SkippedEntry, ...] = () if receipt is None else (*receipt.skipped, *receipt.not_copied)
    return tuple(Loss(path=one.path, size=one.size, reason=one.reason) for one in lost)


def evidence_of(receipt: CopyReceipt | None, report: VerificationReport | None) -> tuple[Evidence, ...]:
    """The newest copy with its verification; nothing when it was never verified."""
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
                ProvenFile(path=one.path, size=one.size, sha256=one.sha256, level=one.level, refused=_refused(one))
                for one in report.files
            ),
            report_digest=digest_of(report.model_dump(mode="json")),
        ),
    )


def _refused(proof: FileProof) -> str | None:
    return next((finding.message for finding in proof.findings if finding.code == FOREIGN_CLASSES), None)


def in_words(volumes: tuple[Volume, ...] | None) -> tuple[str, ...]:
    """Volumes that go on billing, one sentence each."""
    if volumes is None:
        return ("volumes could not be read: some may bill on",)
    return tuple(
        f"volume {one.id} ({one.size_gib or '?'} GiB) bills "
        f"{'an unknown price' if one.usd_per_hour is None else show_usd(one.usd_per_hour)} an hour until deleted"
        for one in volumes
    )


def _fingerprints(before: Sight, now: Sight) -> tuple[Fingerprint, ...]:
    if before.far_digest is None:
        return before.looks
    last = Fingerprint(
        moment="before-stop" if now.machine is not before.machine else "before-consent",
        at=before.at,
        digest=before.far_digest,
        files=before.far_files,
        bytes=before.far_bytes,
        by=Route.DIRECT_SSH if before.machine is MachineState.RUNNING else Route.MACHINE_RSYNC,
    )
    return (*before.looks, last)
