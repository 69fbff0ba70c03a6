"""The look before a teardown: what is proven off the machine, and whether the machine still holds just that."""

from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import CopyReceipt, VerificationReport
from remote_gpu_trainer.domain.instances import Instance, InstancePhase
from remote_gpu_trainer.domain.plans import MachineState
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import LeaseRecord
from remote_gpu_trainer.errors import HostError, WaitExpired
from remote_gpu_trainer.ports import Journal
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.services.farside import read_far_side
from remote_gpu_trainer.services.hosts import HostAccess, read_heartbeat
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.pull import COPY_FAILED, FAR_SIDE
from remote_gpu_trainer.services.watch import JOB_ENDED
from remote_gpu_trainer.transfer.recheck import recheck_local

AT_REST = frozenset({InstancePhase.STOPPED, InstancePhase.EXITED, InstancePhase.PREEMPTED, InstancePhase.SCHEDULING})


@dataclass(frozen=True)
class Sight:
    """One look. Two looks that differ in anything but ``instance`` void a consent."""

    instance: Instance
    machine: MachineState
    receipt: CopyReceipt | None
    report: VerificationReport | None
    local_changes: tuple[str, ...]
    """Differences between the proven copy and what lies on this disk now, one sentence each."""
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


class Looker:
    """Takes that look."""

    def __init__(
        self, *, journal: Journal, hosts: HostAccess, buckets: Buckets, ledger: Ledger, policy: Policy
    ) -> None:
        self._journal = journal
        self._hosts = hosts
        self._buckets = buckets
        self._ledger = ledger
        self._policy = policy

    async def look(self, record: LeaseRecord) -> Sight:
        """Read the machine, the journal and the local copy.

        Raises:
            MarketError, HostUnreachable, WrongPhase: the platform could not be read, or shows no such instance.
        """
        instance = await self._hosts.instance(record)
        lease = record.lease.id
        self._ledger.observe(lease, instance)
        copies = self._journal.copies(lease)
        receipt = copies[0] if copies else None
        report = None if receipt is None else self._journal.verification(receipt.copy_id)
        changes = () if receipt is None else tuple(await anyio.to_thread.run_sync(_recheck, receipt))
        if receipt is not None:
            changes += tuple(await self._buckets.recheck(receipt))
        kept = self._kept(record, receipt)
        failures = self._journal.events(lease, kind=COPY_FAILED, limit=1)
        copy_failed = bool(failures) and (receipt is None or failures[0].at > receipt.finished_at)
        held = bool(record.job or receipt or self._journal.events(lease, kind="pushed", limit=1))
        machine, far, writers, state = await self._machine(record, instance, receipt)
        if machine is MachineState.STOPPED and kept is not None:
            state = str(kept.get("job"))
        ended = record.job is None or state in JOB_ENDED
        digest, files, size = far
        if machine is MachineState.RUNNING:
            matches = None if kept is None or digest is None else digest == kept.get("digest")
        else:
            # It was not started since the copy, and the trainer had ended by then: nothing could write.
            matches = True if kept is not None and ended and not self._started_since(record, receipt) else None
        return Sight(
            instance=instance,
            machine=machine,
            receipt=receipt,
            report=report,
            local_changes=changes,
            far_digest=digest,
            far_files=files,
            far_bytes=size,
            matches=matches,
            writers=writers,
            job=self._job_in_words(record, state),
            job_ended=ended,
            copy_failed=copy_failed,
            held_work=held,
        )

    def _kept(self, record: LeaseRecord, receipt: CopyReceipt | None) -> dict[str, object] | None:
        if receipt is None:
            return None
        for event in reversed(self._journal.events(record.lease.id, kind=FAR_SIDE)):
            if event.data.get("copy_id") == receipt.copy_id:
                return dict(event.data)
        return None

    def _started_since(self, record: LeaseRecord, receipt: CopyReceipt | None) -> bool:
        if receipt is None:
            return True
        asked = self._ledger.asked_at(record.lease.id, "start")
        return asked is not None and asked > receipt.finished_at

    async def _machine(
        self, record: LeaseRecord, instance: Instance, receipt: CopyReceipt | None
    ) -> tuple[MachineState, tuple[str | None, int, int], tuple[str, ...], str | None]:
        unread: tuple[str | None, int, int] = (None, 0, 0)
        if instance.phase in AT_REST:
            return MachineState.STOPPED, unread, (), None
        if instance.phase is not InstancePhase.RUNNING:
            return MachineState.UNREADABLE, unread, (), None
        try:
            host = await self._hosts.connect(record, instance)
            try:
                beat, _ = await read_heartbeat(host)
                state = None if beat is None else beat.state
                if receipt is None:
                    return MachineState.RUNNING, unread, (), state
                far = await read_far_side(host, receipt.roots, self._policy)
            finally:
                await host.close()
        except (HostError, WaitExpired):
            return MachineState.UNREADABLE, unread, (), None
        return MachineState.RUNNING, (far.digest, far.files, far.bytes), far.writers, state

    @staticmethod
    def _job_in_words(record: LeaseRecord, state: str | None) -> str:
        if record.job is None:
            return "no job was started"
        return f"job {record.job.job_id} {state}" if state else f"job {record.job.job_id}: its state could not be read"


def _recheck(receipt: CopyReceipt) -> list[str]:
    if not Path(receipt.destination).is_dir():
        return [f"{receipt.destination} is not there any more"]
    return recheck_local(receipt)
