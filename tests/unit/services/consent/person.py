"""The person of these tests: they use the book as ``rgt approve`` does, outside every tool."""

import re

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from tests.stage import Stage

_ID = re.compile(r"approval_id=(ap-[a-z0-9]+)")


async def asked(stage: Stage, run: str) -> ApprovalRequest:
    """Call destroy as a model does; the request that it opened."""
    return request_in(stage, await stage.refused("destroy", target=run))


def request_in(stage: Stage, refusal: str) -> ApprovalRequest:
    """The request that a refusal names."""
    named = _ID.search(refusal)
    assert named is not None, refusal
    request = stage.services.approvals.get(ApprovalId(named[1]))
    assert request is not None
    return request


def agree(stage: Stage, request: ApprovalRequest, assurance: AssuranceLevel = AssuranceLevel.PERSON) -> str:
    """The token, as the person's terminal shows it."""
    book = stage.services.approvals
    assert isinstance(book, SqliteApprovalBook)
    return book.approve(request.id, channel=Channel.TERMINAL, assurance=assurance)
