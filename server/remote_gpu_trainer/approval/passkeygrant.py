"""Turning a passkey's answer into the one token of a request, and keeping its counter in the same transaction."""

from collections.abc import Sequence

from remote_gpu_trainer.approval.grant import grant
from remote_gpu_trainer.approval.judge import Desk
from remote_gpu_trainer.approval.passkey import Passkey, verify_assertion
from remote_gpu_trainer.approval.rows import log, request_of
from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConsentError

_COUNTER = "passkey-counter/"


def grant_by_passkey(
    desk: Desk, approval: ApprovalId, answer: str, *, known: Sequence[Passkey], port: int, key: bytes
) -> str | ConsentError:
    """The token at level ``hardware``, or why there is none.

    Raises:
        InvalidRequest: there is no such request.
    """
    row = desk.row(approval)
    counters = {
        str(name).removeprefix(_COUNTER): int(value)
        for name, value in desk.db.execute("SELECT name, value FROM pins WHERE name LIKE ?", (f"{_COUNTER}%",))
    }
    try:
        signature = verify_assertion(answer, request_of(row), known=known, counters=counters, port=port)
    except ConsentError as problem:
        log(desk.db, desk.now, row, "signature-refused")
        return problem
    granted = grant(
        desk,
        approval,
        channel=Channel.PAGE,
        assurance=AssuranceLevel.HARDWARE,
        key=key,
        by=f"passkey {signature.passkey.fingerprint}",
    )
    if isinstance(granted, str):
        desk.db.execute(
            "INSERT INTO pins (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_COUNTER + signature.passkey.fingerprint, str(signature.counter)),
        )
    return granted
