"""Asking through the client: the question from the stored plan alone, and what an answer means. No I/O."""

from dataclasses import dataclass
from typing import Literal

from remote_gpu_trainer.approval.summary import summary
from remote_gpu_trainer.approval.typedname import why_not
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.approvals import ApprovalRequest

QUESTION_LIMIT = 2400
"""Characters: clients show a question in a small dialogue."""


@dataclass(frozen=True)
class Answer:
    """What a person's answer comes to."""

    agreed: bool
    reason: str
    """Why it is no yes; empty when it is one. Never what was typed."""


def question(request: ApprovalRequest, *, limit: int = QUESTION_LIMIT) -> str:
    """The question for one request. It holds no clock and no live price, so that asking again asks the same."""
    where = f"rgt approve {request.id}"
    ending = (
        f"\nTo agree, type the name exactly: {visible(request.plan.name)}\n"
        "To refuse, decline. Never type a password or a token here."
    )
    return summary(request.plan, limit=limit - len(ending), where=where) + ending


def judge_answer(request: ApprovalRequest, action: Literal["accept", "decline", "cancel"], typed: str | None) -> Answer:
    """Whether an answer is a yes: accepted, with the plan's name typed exactly. Everything else is a no."""
    if action == "decline":
        return Answer(agreed=False, reason="the person declined")
    if action == "cancel":
        return Answer(agreed=False, reason="the person closed the question without an answer")
    if typed is None:
        return Answer(agreed=False, reason="the answer held no name")
    problem = why_not(typed, request.plan.name)
    return Answer(agreed=problem is None, reason=problem or "")
