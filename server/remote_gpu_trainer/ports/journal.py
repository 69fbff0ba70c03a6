"""The record of facts and intents."""

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

from pydantic import JsonValue

from remote_gpu_trainer.domain.artifacts import CopyReceipt, VerificationReport
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.runs import Event, Intent, IntentState, JobSpec, Lease, LeaseRecord, RunPhase


@runtime_checkable
class Journal(Protocol):
    """Facts and intents on disk, written before the world is changed. Blocking and quick; thread-safe."""

    def open_lease(self, lease: Lease, *, account_id: int, request: Mapping[str, JsonValue]) -> Intent:
        """Record a lease and its create intent in one transaction, durably, before the request leaves."""
        ...

    def open_intent(
        self,
        lease: LeaseId,
        action: Literal["destroy", "stop", "start", "bid"],
        request: Mapping[str, JsonValue],
    ) -> Intent:
        """Record an intent durably."""
        ...

    def close_intent(self, intent: int, state: IntentState, answer: Mapping[str, JsonValue]) -> None:
        """Record its outcome."""
        ...

    def open_intents(self) -> list[Intent]:
        """Those in state open or ambiguous, oldest first."""
        ...

    def bind_instance(self, lease: LeaseId, instance_id: InstanceId) -> None:
        """Say which instance a lease is. Idempotent; another id for the same lease raises JournalError."""
        ...

    def move(self, lease: LeaseId, phase: RunPhase, reason: str) -> None:
        """Change a lease's phase, along TRANSITIONS only. The same phase again is a no-op."""
        ...

    def set_job(self, lease: LeaseId, job: JobSpec) -> None:
        """Record the job of a lease."""
        ...

    def lease(self, lease: LeaseId) -> LeaseRecord | None:
        """One lease."""
        ...

    def lease_of_instance(self, instance_id: InstanceId) -> LeaseRecord | None:
        """The newest lease bound to this instance."""
        ...

    def leases(self) -> list[LeaseRecord]:
        """All, newest first."""
        ...

    def record(self, kind: str, lease: LeaseId | None, data: Mapping[str, JsonValue]) -> Event:
        """Append a fact."""
        ...

    def events(self, lease: LeaseId | None = None, *, kind: str | None = None, limit: int = 1000) -> list[Event]:
        """Facts, oldest first; the last ``limit`` of them."""
        ...

    def save_copy(self, receipt: CopyReceipt) -> None:
        """Keep a receipt."""
        ...

    def copy(self, copy_id: CopyId) -> CopyReceipt | None:
        """One receipt."""
        ...

    def copies(self, lease: LeaseId) -> list[CopyReceipt]:
        """All receipts of a lease, newest first."""
        ...

    def copy_ids(self, lease: LeaseId) -> list[CopyId]:
        """Of all receipts of a lease, newest first; quick, whatever they hold."""
        ...

    def save_verification(self, report: VerificationReport) -> None:
        """Keep a report; it belongs to a copy."""
        ...

    def verification(self, copy_id: CopyId) -> VerificationReport | None:
        """The newest report on a copy."""
        ...

    def account_id(self) -> int | None:
        """The account this journal belongs to, pinned at first use."""
        ...

    def pin_account(self, account_id: int) -> None:
        """Pin it. Another id than the pinned one raises JournalError."""
        ...
