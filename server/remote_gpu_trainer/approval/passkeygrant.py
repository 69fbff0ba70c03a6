"""Turning a passkey's answer into the one token of a request."""

from collections.abc import Mapping, Sequence

from remote_gpu_trainer.approval.grant import Proof, grant_proven
from remote_gpu_trainer.approval.judge import Desk
from remote_gpu_trainer.approval.passkey import Passkey, verify_assertion
from remote_gpu_trainer.domain.approvals import ApprovalRequest, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConsentError


def grant_by_passkey(
    desk: Desk, approval: ApprovalId, answer: str, *, known: Sequence[Passkey], port: int, key: bytes
) -> str | ConsentError:
    """The token at level ``hardware``, or why there is none.

    Raises:
        InvalidRequest: there is no such request.
    """

    def proven(request: ApprovalRequest, counters: Mapping[str, int]) -> Proof:
        held = verify_assertion(answer, request, known=known, counters=counters, port=port)
        return Proof(held.passkey.title, held.passkey.fingerprint, held.counter)

    return grant_proven(desk, approval, proven, kind="passkey", channel=Channel.PAGE, key=key)
