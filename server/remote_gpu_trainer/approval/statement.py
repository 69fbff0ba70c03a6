"""What a factor signs: one request, one plan, in canonical JSON (RFC 8785)."""

import rfc8785

from remote_gpu_trainer.database.text import stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest


def statement_of(request: ApprovalRequest) -> bytes:
    """The exact bytes for one request. The plan's digest stands for everything that the plan says."""
    return rfc8785.dumps(
        {
            "version": 1,
            "approval": request.id,
            "action": request.plan.action,
            "account": str(request.plan.account_id),
            "name": request.plan.name,
            "plan": request.plan_digest,
            "expires": stamp(request.expires_at),
        }
    )
