"""A plan that was agreed to, and the reason for which its token is refused."""

import pytest

from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.errors import TokenRejected
from remote_gpu_trainer.ports import ApprovalBook
from tests.unit.database.builders import LEASE

TTL = 900.0
"""Seconds for which the questions of these tests stand."""


def approved(book: ApprovalBook, plan: Plan) -> tuple[ApprovalRequest, str]:
    """Ask, and say yes: the request and its token."""
    request = book.request(plan, ttl_s=TTL)
    token = book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    return request, token


def refusal_of(book: ApprovalBook, request: ApprovalRequest, token: str, *, digest: str | None = None) -> str:
    """Why the token destroys nothing here; the refusal says what did not happen, what to do, and never the token."""
    with pytest.raises(TokenRejected) as caught:
        book.spend(request.id, token, plan_digest=digest or request.plan_digest, lease=LEASE, request={})
    assert "not destroyed" in caught.value.effect
    assert caught.value.next_step
    assert not token or token not in str(caught.value)
    assert not token or token not in repr(caught.value.details)
    return str(caught.value.details["reason"])
