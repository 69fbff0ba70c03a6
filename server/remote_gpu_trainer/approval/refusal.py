"""Why a token is not accepted: one reason each, with what to do, and the effect."""

from enum import StrEnum
from typing import Literal

from remote_gpu_trainer.domain.approvals import ApprovalRequest
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import Plan, RentPlan, StandingPlan, TeardownPlan
from remote_gpu_trainer.errors import ConsentRequired, TokenRejected

MAX_ATTEMPTS = 5
"""Wrong tokens that one request takes before it locks. Typing errors, which the checksum shows, do not count."""


Action = Literal["destroy", "rent", "preapprove"]


class Refusal(StrEnum):
    """One per way in which a token can fail."""

    UNKNOWN = "unknown"
    """No request of that name."""
    UNDECIDED = "undecided"
    """Nobody has approved it yet."""
    DECLINED = "declined"
    SPENT = "spent"
    VOID = "void"
    EXPIRED = "expired"
    LOCKED = "locked"
    MISTYPED = "mistyped"
    """Cannot be a token: length, characters or checksum."""
    WRONG = "wrong-token"
    """A well-formed token that was not minted for this request, or a request that was altered by hand."""
    OTHER_PLAN = "other-plan"
    OTHER_ACTION = "other-action"
    OTHER_LEASE = "other-lease"
    OTHER_INSTANCE = "other-instance"
    OTHER_ACCOUNT = "other-account"
    OTHER_OFFER = "other-offer"
    ALTERED = "altered"
    """The stored plan is not the one that was asked about."""
    CLOCK_MOVED_BACK = "clock-moved-back"


NOT_USED = "the consent could not be used at once"
"""Why a yes in the client ends that did not lead to its one use."""

_ASK_AGAIN = "ask for a new approval: call the tool again without a token"
_NEXT_STEP = {
    Refusal.UNKNOWN: "call the tool without a token to get an approval id",
    Refusal.UNDECIDED: "a person has to approve it first; wait, or ask them to",
    Refusal.DECLINED: "the person said no; do not ask again for the same plan without a new reason",
    Refusal.SPENT: "call poll_status to see what the one use led to",
    Refusal.MISTYPED: "ask the person to read the token again; it has seven groups of four characters",
    Refusal.WRONG: "ask the person for the token of this very approval; do not guess",
    Refusal.OTHER_PLAN: "use the token only with the plan that it was given for, or ask for a new approval",
    Refusal.OTHER_ACTION: "a consent to one thing is none to another; ask for the right approval",
    Refusal.OTHER_LEASE: "use the token only for the run that it was given for",
    Refusal.OTHER_INSTANCE: "call poll_status: the run is not the instance that the person approved",
    Refusal.OTHER_ACCOUNT: "use the key of the account that the plan names",
    Refusal.OTHER_OFFER: "rent the offer that the plan names, or ask for a new approval",
    Refusal.CLOCK_MOVED_BACK: "check the computer's clock, then ask for a new approval",
}


def effect_of(action: Action | None) -> str:
    """What did not happen; both, where nobody knows which was meant."""
    match action:
        case "rent":
            return "Nothing was rented."
        case "destroy":
            return "The instance was not destroyed."
        case "preapprove":
            return "Nothing was agreed to beforehand, and nothing was destroyed."
        case None:
            return "Nothing was destroyed and nothing was rented."


def after_opening(request: ApprovalRequest, tool: str) -> str:
    """The step for a model whose person has just been sent to the page."""
    return (
        "the person has opened the page, which is no answer yet: on a yes it shows them a token to hand you; then call "
        f"{tool} with approval_id={request.id} and that token. Or "
    )


def agreed_already(request: ApprovalRequest, tool: str) -> ConsentRequired:
    """The refusal of a call without the token of a plan that the person agreed to, and where that token is."""
    return ConsentRequired(
        "the person has agreed to this plan already, and holds the token that it gave them",
        next_step=f"ask them for it, and call {tool} with approval_id={request.id} and that token, until "
        f"{request.expires_at:%H:%M:%S} UTC; a token that was lost cannot be shown again: after that time {tool} "
        "makes a new plan",
        effect=effect_of(request.plan.action),
        details={"approval_id": request.id},
    )


def subject_of(plan: Plan) -> str:
    """What a plan acts on: two plans with the same action and subject cannot both be open."""
    match plan:
        case TeardownPlan():
            return f"{plan.account_id}/instance/{plan.instance.id}"
        case StandingPlan():
            return f"{plan.account_id}/instance/{plan.instance.id}/beforehand"
        case RentPlan():
            return f"{plan.account_id}/offer/{plan.offer_id}"


def rejected(refusal: Refusal, approval: ApprovalId, seen: str, *, action: Action | None) -> TokenRejected:
    """The error for a refusal. ``seen`` never holds a token."""
    return TokenRejected(
        f"approval {approval!r}: {seen}",
        next_step=_NEXT_STEP.get(refusal, _ASK_AGAIN),
        effect=effect_of(action),
        details={"reason": refusal.value, "approval_id": approval},
    )
