"""A person's consent."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import JsonValue

from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.domain.runs import Intent, Lease


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

    def spend_by_standing(
        self,
        approval: ApprovalId,
        standing: ApprovalId,
        *,
        plan_digest: str,
        lease: LeaseId,
        request: Mapping[str, JsonValue],
    ) -> tuple[Consent, Intent]:
        """Use a consent given beforehand up on one teardown, whose conditions the caller judged and whose machine it
        looked at just now: approves it, marks both spent and opens the destroy intent in one durable transaction.

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
