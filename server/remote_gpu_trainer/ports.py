"""What the services need of the world, as protocols. Adapters implement them; tests run one suite over each pair."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import JsonValue

from remote_gpu_trainer.domain.approvals import (
    ApprovalRequest,
    AssuranceLevel,
    Channel,
    Consent,
)
from remote_gpu_trainer.domain.artifacts import BucketObject, BucketRules, CopyReceipt, VerificationReport
from remote_gpu_trainer.domain.ids import ApprovalId, CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.instances import (
    Account,
    Charge,
    DiskAddress,
    Endpoint,
    Instance,
    InstanceOrder,
    Inventory,
    Volume,
)
from remote_gpu_trainer.domain.offers import Offer, OfferQuery
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.domain.runs import Event, Intent, IntentState, JobSpec, Lease, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.domain.values import Value


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Marketplace(Protocol):
    """The platform. Reads are repeated by the adapter where that is safe; writes never are, but for those noted.

    Every method may raise a MarketError. A write whose answer is lost raises AnswerLost: it may have happened.
    """

    async def search_offers(self, query: OfferQuery, *, allocated_storage_gib: float) -> list[Offer]:
        """Offers that match, priced with that much disk."""
        ...

    async def create_instance(self, order: InstanceOrder) -> InstanceId:
        """Rent. Never repeated. The id means that a contract was named, not that it exists: read it back.

        Raises:
            OfferGone: nothing was rented.
            RequestRejected: refused; ``details["new_contract"]`` is set when the refusal still carries a contract.
            AnswerLost: it may have been rented.
        """
        ...

    async def instance(self, instance_id: InstanceId) -> Instance | None:
        """One instance, or None where the platform shows none for this key; None alone proves nothing."""
        ...

    async def inventory(self) -> Inventory:
        """All instances of the account, with the account that they were read for."""
        ...

    async def set_state(self, instance_id: InstanceId, state: Literal["running", "stopped"]) -> None:
        """Start or stop. Safe to repeat."""
        ...

    async def set_label(self, instance_id: InstanceId, label: str) -> None:
        """Label. Safe to repeat."""
        ...

    async def set_bid(self, instance_id: InstanceId, price: UsdPerHour) -> None:
        """Change an interruptible's price. Read back: the sources disagree on whether it takes effect."""
        ...

    async def reboot(self, instance_id: InstanceId) -> None:
        """Restart the container on the same GPU."""
        ...

    async def destroy_instance(self, instance_id: InstanceId) -> None:
        """Delete, once. The disk and every checkpoint on it are gone.

        Raises:
            NoSuchInstance: the platform knows none for this key, which is not proof.
            AnswerLost: it may be gone.
        """
        ...

    async def account(self) -> Account:
        """Who the key belongs to. Not cached."""
        ...

    async def ssh_keys(self) -> list[str]:
        """Public keys on the account."""
        ...

    async def add_ssh_key(self, public_key: str) -> None:
        """Register a key's *content*. It reaches instances created afterwards."""
        ...

    async def logs(self, instance_id: InstanceId, *, tail: int, daemon: bool = False) -> str:
        """Container (or host daemon) log. Untrusted text. Waits, bounded, until the upload appears."""
        ...

    async def request_rsync(self, instance_id: InstanceId) -> DiskAddress:
        """Where a stopped instance's disk can be read. A rescue that may fail."""
        ...

    async def volumes(self) -> list[Volume]:
        """Volumes of the account, which bill until deleted."""
        ...

    async def charges(self, since: datetime) -> list[Charge]:
        """The platform's own bill since then."""
        ...


class CommandResult(Value):
    """How a remote command ended. Both outputs are untrusted and were cut at the limit that was asked."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    truncated: bool


class RemoteHost(Protocol):
    """One SSH connection to one box, after its host key was checked."""

    @property
    def endpoint(self) -> Endpoint:
        """Where this connection goes."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float,
        max_output: int = 1 << 20,
    ) -> CommandResult:
        """Run a command, each argument quoted, and wait for its end.

        Raises:
            WaitExpired: it did not end in time; the channel was closed.
            ConnectionCut: the connection ended first.
        """
        ...

    def stream(
        self, argv: Sequence[str], *, stdin: bytes = b"", chunk: int = 1 << 20, bulk: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Run a command and read its output as it comes, through a channel with a large window.

        ``bulk`` says that much output is expected, so that it may take a faster connection of its own.

        Raises:
            RemoteCommandFailed: on leaving, when the command ended with another status than 0.
        """
        ...

    async def put(self, content: bytes | Path, remote_path: str, *, mode: int = 0o644) -> None:
        """Write one remote file atomically (temporary name, then rename); parents are made."""
        ...

    async def close(self) -> None:
        """Close. Safe to repeat."""
        ...


class HostConnector(Protocol):
    """Opens connections to boxes."""

    async def connect(self, lease: LeaseId, endpoints: Sequence[Endpoint], *, timeout_s: float = 20.0) -> RemoteHost:
        """Connect to the first endpoint that answers, best first, and check the pinned host key.

        Raises:
            HostUnreachable: none answered; ``details`` names each and why.
            HostKeyChanged: the key is not the one pinned for this lease.
            HostAuthFailed: our key was refused.
        """
        ...

    def public_key(self) -> str:
        """The one-line public key that boxes must accept; made at first use."""
        ...


class ObjectStore(Protocol):
    """A prefix of a bucket. Every method may raise a TransferError."""

    def describe(self) -> str:
        """``s3://bucket/prefix``."""
        ...

    async def put(self, path: str, source: int, sha256: str) -> None:
        """Store an open local file. Safe to repeat; the name is given only when the bytes hash to ``sha256``.

        Raises:
            DigestMismatch: the file holds other bytes; nothing was stored.
        """
        ...

    async def proof(self, path: str, source: int, sha256: str) -> BucketObject | None:
        """The object of that name, if it provably holds the bytes of this open local file, whose hash is given.

        By the checksum that the store keeps, or by reading all of the object where it keeps none.
        """
        ...

    async def etags(self) -> dict[str, tuple[int, str]]:
        """Size and ETag of everything below the prefix, by path."""
        ...

    async def rules(self) -> BucketRules:
        """Versioning and expiry."""
        ...


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


class PageDoor(Protocol):
    """The local approval page, for sending the person there. Opening it agrees to nothing."""

    def link(self, approval: ApprovalId) -> str:
        """A fresh one-time address of one request. It goes to the person's client and never into a tool's answer.

        Raises:
            ConfigError: the page cannot be served.
        """
        ...


class ApprovalBook(Protocol):
    """Requests, tokens and their single use. Backed by the same database as the journal, in one transaction."""

    def request(self, plan: Plan, *, ttl_s: float) -> ApprovalRequest:
        """Open a request for this plan, or return the open one with the same digest. Older open requests for the
        same instance and action become void."""
        ...

    def get(self, approval: ApprovalId) -> ApprovalRequest | None:
        """One request, with expiry applied."""
        ...

    def open_requests(self) -> list[ApprovalRequest]:
        """Those that still wait for a person, oldest first."""
        ...

    def approve(self, approval: ApprovalId, *, channel: Channel, assurance: AssuranceLevel) -> str:
        """Mint the token. Called only by channels that a person operates. Only its hash is stored."""
        ...

    def decline(self, approval: ApprovalId, *, channel: Channel, reason: str) -> None:
        """Record a no."""
        ...

    def void(self, approval: ApprovalId, reason: str) -> None:
        """The plan no longer holds."""
        ...

    def check(self, approval: ApprovalId, token: str, *, plan_digest: str) -> ApprovalRequest:
        """Say whether a token would be accepted, without using it; a wrong one counts as an attempt.

        Raises:
            TokenRejected: unknown, used, expired, locked, for another instance or another plan.
        """
        ...

    def approve_by_standing(self, approval: ApprovalId, standing: ApprovalId) -> str:
        """Mint a teardown's token by a consent given beforehand, which is used up. The caller judged its conditions.

        Raises:
            TokenRejected, ConsentError: it is not genuine, used, late, or for another instance; nothing was used up.
        """
        ...

    def witness(self, approval: ApprovalId) -> Consent:
        """End the request of an instance that the person destroyed in the platform's console.

        Raises:
            ConsentError: it came to another end, or waits for another level.
        """
        ...

    def standing(self, lease: LeaseId) -> list[ApprovalRequest]:
        """Consents given beforehand for a run that can still be used, oldest first."""
        ...

    def spend(
        self,
        approval: ApprovalId,
        token: str,
        *,
        plan_digest: str,
        lease: LeaseId,
        request: Mapping[str, JsonValue],
    ) -> tuple[Consent, Intent]:
        """Use a token: marks it spent and opens the destroy intent in one durable transaction.

        Raises:
            TokenRejected: as for ``check``; nothing was spent.
        """
        ...

    def spend_rent(
        self,
        approval: ApprovalId,
        token: str,
        *,
        plan_digest: str,
        lease: Lease,
        request: Mapping[str, JsonValue],
    ) -> tuple[Consent, Intent]:
        """Use a token for renting: marks it spent and opens the lease with its create intent in one durable
        transaction, for the account and the offer of the plan. Takes the place of ``Journal.open_lease``.

        Raises:
            TokenRejected: as for ``check``; nothing was spent.
            JournalError: the lease is there already, or the journal is another account's; nothing was spent.
        """
        ...
