"""Requests for a person's consent, and what became of them."""

from datetime import datetime
from enum import StrEnum

from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.domain.values import Value


class Channel(StrEnum):
    """Where a person answered."""

    ELICITATION = "elicitation"
    TERMINAL = "terminal"
    PAGE = "page"
    STANDING = "standing"
    """By a consent that was given beforehand, for the night."""
    CONSOLE = "console"
    """The person destroyed the instance in the platform's own console; this program only saw it gone."""


class AssuranceLevel(StrEnum):
    """Named for what it stops; see references/approvals.md."""

    PERSON = "person"
    SEALED = "sealed"
    HARDWARE = "hardware"
    CONSOLE = "console"

    def reaches(self, needed: "AssuranceLevel") -> bool:
        """Whether this level is at least the other."""
        order = tuple(AssuranceLevel)
        return order.index(self) >= order.index(needed)


class ApprovalState(StrEnum):
    """Life of a request. Every state but OPEN and APPROVED is final."""

    OPEN = "open"
    APPROVED = "approved"
    """A token was minted and not used yet."""
    DECLINED = "declined"
    SPENT = "spent"
    VOID = "void"
    """The plan no longer holds, or another request took its place."""
    EXPIRED = "expired"
    LOCKED = "locked"
    """Too many wrong tokens."""


class ApprovalRequest(Value):
    """One question to one person about one plan."""

    id: ApprovalId
    plan: Plan
    plan_digest: str
    state: ApprovalState
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    channel: Channel | None = None
    assurance: AssuranceLevel | None = None
    approver: str | None = None
    """Whose factor said yes; None where typing was enough, which proves no identity."""
    reason: str | None = None
    """What the person said when declining, or why it became void."""
    attempts: int = 0


class Consent(Value):
    """A token that was accepted and is now spent: the right to act once."""

    approval_id: ApprovalId
    plan_digest: str
    channel: Channel
    assurance: AssuranceLevel
    approver: str | None = None
    """As in the request."""
    granted_at: datetime
    expires_at: datetime
