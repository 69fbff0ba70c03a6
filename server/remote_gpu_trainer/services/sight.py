"""The look before a teardown: what is proven off the machine, and whether the machine still holds just that."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import (
    CopyReceipt,
    Fingerprint,
    FingerprintMoment,
    Route,
    VerificationReport,
)
from remote_gpu_trainer.domain.instances import AT_REST, Instance, InstancePhase
from remote_gpu_trainer.domain.plans import MachineState, SecondCopy
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import JOB_ENDED, LeaseRecord
from remote_gpu_trainer.errors import HostError, RgtError, WaitExpired, WrongPhase
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.services.farside import read_far_side, read_resting_side
from remote_gpu_trainer.services.hosts import HostAccess
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.pull import COPY_FAILED, FAR_SIDE, RESTED
from remote_gpu_trainer.transfer.recheck import recheck_local

ON_THE_WAY = frozenset({InstancePhase.STOPPING, InstancePhase.REBOOTING})
SAME = "far-side.same"
"""Event: the running machine was read, and holds exactly the copy."""
STUCK_AFTER = timedelta(minutes=10)
"""A machine that has been on its way for longer is treated as one that cannot be read."""


@dataclass(frozen=True)
class Sight:
    """One look. Two looks that differ in anything but ``instance`` void a consent."""

    instance: Instance
    machine: MachineState
    receipt: CopyReceipt | None
    report: VerificationReport | None
    local_changes: tuple[str, ...]
    """Differences between the proven copy and what lies on this disk now, one sentence each."""
    second: SecondCopy | None
    """The copy in a bucket, by the bucket's rules of now."""
    far_digest: str | None
    """Fingerprint of the far side now; None when it was not read in this look."""
    far_files: int
    far_bytes: int
    matches: bool | None
    """The machine holds exactly what was copied; None when nothing says so."""
    writers: tuple[str, ...]
    job: str
    job_ended: bool
    copy_failed: bool
    held_work: bool
    at: datetime
    rests_since: datetime | None
    """Since when it has been seen at rest without a break; None while it runs."""
    started_again: datetime | None
    """When it was started, by anybody, after the copy."""
    looks: tuple[Fingerprint, ...]
    """Before and after the copy, as far as the journal knows."""


class Looker:
    """Takes that look."""

    def __init__(
        self, *, journal: Journal, hosts: HostAccess, buckets: Buckets, ledger: Ledger, policy: Policy, clock: Clock
    ) -> None:
        self._journal = journal
        self._hosts = hosts
        self._buckets = buckets
        self._ledger = ledger
        self._policy = policy
        self._clock = clock

    async def look(self, record: LeaseRecord) -> Sight:
        """Read the machine, the journal and the local copy.

        Raises:
            MarketError, HostUnreachable, WrongPhase: the platform could not be read, or shows no such instance.
        """
        instance = await self._hosts.instance(record)
        return await self._seen(record, instance, None)

    async def instance(self, record: LeaseRecord) -> Instance:
        """The instance alone, as the platform shows it.

        Raises:
            MarketError, HostUnreachable, WrongPhase: it does not.
        """
        return await self._hosts.instance(record)

    async def at_rest(self, record: LeaseRecord, before: Sight) -> Sight | None:
        """One cheap look at a machine that was asked to stop; None while it does not rest yet.

        What was read on this disk a moment ago is not read again.
        """
        instance = await self._hosts.instance(record)
        if instance.phase not in AT_REST:
            return None
        return await self._seen(record, instance, before)

    async def _seen(self, record: LeaseRecord, instance: Instance, before: Sight | None) -> Sight:
        lease = record.lease.id
        self._ledger.observe(lease, instance)
        copies = self._journal.copies(lease)
        receipt = copies[0] if copies else None
        report = None if receipt is None else self._journal.verification(receipt.copy_id)
        changes: tuple[str, ...] = ()
        second: SecondCopy | None = None
        if before is not None and before.receipt == receipt:
            changes, second = before.local_changes, before.second
        elif receipt is not None:
            bucket = await self._buckets.recheck(receipt)
            changes = (*await anyio.to_thread.run_sync(_recheck, receipt), *bucket.differences)
            second = bucket.second
        kept = self._kept(record, receipt)
        failures = self._journal.events(lease, kind=COPY_FAILED, limit=1)
        copy_failed = bool(failures) and (receipt is None or failures[0].at > receipt.finished_at)
        held = bool(record.job or receipt or self._journal.events(lease, kind="pushed", limit=1))
        rescued = kept is not None and kept.get("job") == RESTED
        machine, far, writers, state = await self._machine(record, instance, receipt, rescued=rescued)
        if machine is MachineState.STOPPED and kept is not None:
            state = None if kept.get("job") is None else str(kept["job"])
        ended = record.job is None or state in JOB_ENDED or state == RESTED
        digest, files, size = far
        again = None if receipt is None else self._started_again(record, receipt, rescued=rescued)
        if rescued:
            matches = _matches_disk(machine, kept or {}, digest, rested=again is None)
        else:
            matches = _matches(machine, kept, digest, ended=ended and again is None)
        if receipt is not None and machine is MachineState.RUNNING and matches and ended and not writers:
            self._journal.record(SAME, lease, {"copy_id": receipt.copy_id, "digest": digest})
        resting = machine is MachineState.STOPPED
        return Sight(
            instance=instance,
            machine=machine,
            receipt=receipt,
            report=report,
            local_changes=changes,
            second=second,
            far_digest=digest,
            far_files=files,
            far_bytes=size,
            matches=matches,
            writers=writers,
            job=self._job_in_words(record, state),
            job_ended=ended,
            copy_failed=copy_failed,
            held_work=held,
            at=self._clock.now(),
            rests_since=self._ledger.phase_since(lease, instance.phase) if resting else None,
            started_again=again,
            looks=_looks(kept, receipt),
        )

    def _kept(self, record: LeaseRecord, receipt: CopyReceipt | None) -> dict[str, object] | None:
        if receipt is None:
            return None
        for event in reversed(self._journal.events(record.lease.id, kind=FAR_SIDE)):
            if event.data.get("copy_id") == receipt.copy_id:
                return dict(event.data)
        return None

    async def _machine(
        self, record: LeaseRecord, instance: Instance, receipt: CopyReceipt | None, *, rescued: bool
    ) -> tuple[MachineState, tuple[str | None, int, int], tuple[str, ...], str | None]:
        unread: tuple[str | None, int, int] = (None, 0, 0)
        if instance.phase in AT_REST and rescued and receipt is not None:
            return await self._disk(record, instance, receipt)
        if instance.phase in AT_REST:
            return MachineState.STOPPED, unread, (), None
        if instance.phase in ON_THE_WAY and not self._stuck(record, instance):
            raise WrongPhase(
                f"instance {instance.id} is {instance.phase.value} right now",
                next_step="poll_status in some seconds, then the same call again",
                effect="The instance was not destroyed.",
            )
        if instance.phase is not InstancePhase.RUNNING:
            return MachineState.UNREADABLE, unread, (), None
        try:
            host = await self._hosts.connect(record, instance)
            try:
                beat, _ = await self._hosts.heartbeat(host, record.job)
                state = None if beat is None else beat.state
                if receipt is None:
                    return MachineState.RUNNING, unread, (), state
                far = await read_far_side(host, receipt.roots, self._policy)
            finally:
                await host.close()
        except (HostError, WaitExpired):
            return MachineState.UNREADABLE, unread, (), None
        return MachineState.RUNNING, (far.digest, far.files, far.bytes), far.writers, state

    async def _disk(
        self, record: LeaseRecord, instance: Instance, receipt: CopyReceipt
    ) -> tuple[MachineState, tuple[str | None, int, int], tuple[str, ...], str | None]:
        """List the disk of a machine at rest once more, the way that the copy came.

        It may have run for a while unseen, since a bid that wins again starts it by itself.
        """
        try:
            door = await self._hosts.door(record, instance)
            seen = await read_resting_side(door, receipt.roots, self._policy)
        except RgtError:  # whatever its reason, the disk was not read, and the plan says so
            return MachineState.UNREADABLE, (None, 0, 0), (), None
        return MachineState.STOPPED, (seen.digest, seen.files, seen.bytes), (), None

    def _started_again(self, record: LeaseRecord, receipt: CopyReceipt, *, rescued: bool) -> datetime | None:
        if rescued:
            return self._ledger.started_again(record.lease.id, receipt.started_at, rested=True)
        return self._ledger.started_again(record.lease.id, self._same_until(record, receipt))

    def _same_until(self, record: LeaseRecord, receipt: CopyReceipt) -> datetime:
        """Until when the machine was last seen to hold just the copy, its trainer ended and nothing open."""
        seen = [e.at for e in self._journal.events(record.lease.id, kind=SAME) if e.data["copy_id"] == receipt.copy_id]
        return max([receipt.finished_at, *seen])

    def _stuck(self, record: LeaseRecord, instance: Instance) -> bool:
        since = self._ledger.phase_since(record.lease.id, instance.phase)
        return since is not None and self._clock.now() - since > STUCK_AFTER

    @staticmethod
    def _job_in_words(record: LeaseRecord, state: str | None) -> str:
        if record.job is None:
            return "no job was started"
        if state == RESTED:
            return f"job {record.job.job_id}: the machine was at rest all through the copy, so that nothing ran on it"
        return f"job {record.job.job_id} {state}" if state else f"job {record.job.job_id}: its state could not be read"


def _matches(machine: MachineState, kept: dict[str, object] | None, digest: str | None, *, ended: bool) -> bool | None:
    if kept is None or kept.get("before") is None:
        return None
    if kept["before"] != kept.get("digest"):
        return False  # it changed while it was copied
    if machine is MachineState.RUNNING:
        return None if digest is None else digest == kept["digest"]
    # It was not started since the copy, and the trainer had ended by then: nothing could write.
    return True if ended else None


def _matches_disk(machine: MachineState, kept: dict[str, object], digest: str | None, *, rested: bool) -> bool | None:
    """For a copy from a disk at rest: nothing ran that could write, whatever became of the job, as far as was seen."""
    if kept.get("before") != kept.get("digest"):
        return False  # it changed while it was copied
    if machine is not MachineState.STOPPED or digest is None or not rested:
        return None
    return digest == kept["digest"]


def _looks(kept: dict[str, object] | None, receipt: CopyReceipt | None) -> tuple[Fingerprint, ...]:
    if kept is None or receipt is None:
        return ()
    files, size = int(str(kept.get("files"))), int(str(kept.get("bytes")))
    by = Route.MACHINE_RSYNC if kept.get("job") == RESTED else Route.DIRECT_SSH
    moments: tuple[tuple[FingerprintMoment, datetime, object], ...] = (
        ("before-copy", receipt.started_at, kept.get("before")),
        ("after-copy", receipt.finished_at, kept.get("digest")),
    )
    return tuple(
        Fingerprint(
            moment=moment,
            at=at,
            digest=digest,
            files=files,
            bytes=size,
            by=by,
            compared=receipt.compared if moment == "after-copy" else None,
        )
        for moment, at, digest in moments
        if isinstance(digest, str)
    )


def _recheck(receipt: CopyReceipt) -> list[str]:
    if not Path(receipt.destination).is_dir():
        return [f"{receipt.destination} is not there any more"]
    return recheck_local(receipt)
