"""Turning a person's yes into the one token of a request."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from remote_gpu_trainer.approval.judge import Desk
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.approval.rows import binding_of, log, request_of
from remote_gpu_trainer.approval.sshkeys import AllowedSigner
from remote_gpu_trainer.approval.sshsig import verify_signature
from remote_gpu_trainer.approval.statement import statement_of
from remote_gpu_trainer.approval.token import derived, mint, seal
from remote_gpu_trainer.database.text import stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import StandingPlan
from remote_gpu_trainer.errors import ConsentError


def grant(
    desk: Desk, approval: ApprovalId, *, channel: Channel, assurance: AssuranceLevel, key: bytes, by: str | None = None
) -> str | ConsentError:
    """The token, or why there is none. ``by`` names whose factor it was, where one was used.

    Raises:
        InvalidRequest: there is no such request.
    """
    problem = _why_not(request_of(desk.row(approval)))
    if problem is not None:
        return problem
    desk.db.execute(
        "UPDATE approvals SET state = ?, decided_at = ?, channel = ?, assurance = ?, approver = ? WHERE id = ?",
        (ApprovalState.APPROVED, stamp(desk.now), channel, assurance, by, approval),
    )
    row = desk.row(approval)
    approved = request_of(row)
    binding, salt = binding_of(approved), secrets.token_bytes(16)
    # A consent given beforehand is used by the server, which makes its token again: nobody is handed one.
    token = derived(key=key, binding=binding) if isinstance(approved.plan, StandingPlan) else mint()
    sealed = seal(token, key=key, salt=salt, binding=binding)
    desk.db.execute("UPDATE approvals SET token_salt = ?, token_hash = ? WHERE id = ?", (salt, sealed, approval))
    facts: dict[str, JsonValue] = {"channel": channel.value, "assurance": assurance.value}
    log(desk.db, desk.now, row, "approved", facts if by is None else {**facts, "approver": by})
    return token


def grant_signed(
    desk: Desk, approval: ApprovalId, armored: str, *, signers: tuple[AllowedSigner, ...], key: bytes
) -> str | ConsentError:
    """The token at level ``hardware`` for a security key's signature, or why there is none.

    Raises:
        InvalidRequest: there is no such request.
    """

    def proven(request: ApprovalRequest, counters: Mapping[str, int]) -> Proof:
        held = verify_signature(armored, statement_of(request, signers), signers=signers, last_counters=counters)
        return Proof(held.signer.title, held.signer.fingerprint, held.counter)

    return grant_proven(desk, approval, proven, kind="signature", channel=Channel.TERMINAL, key=key)


@dataclass(frozen=True)
class Proof:
    """A factor's answer that holds: what the journal calls the factor, its key, and its own count of signatures."""

    title: str
    fingerprint: str
    counter: int


def grant_proven(
    desk: Desk,
    approval: ApprovalId,
    proven: Callable[[ApprovalRequest, Mapping[str, int]], Proof],
    *,
    kind: Literal["signature", "passkey"],
    channel: Channel,
    key: bytes,
) -> str | ConsentError:
    """The token for a factor's answer, whose counter is kept in the same transaction; or why there is none.

    Args:
        desk: The open transaction.
        approval: The request.
        proven: Judges the answer by the last counter of each key; raises ConsentError where it does not hold.
        kind: Of factor; each keeps its counters under its own names.
        channel: Where it came in.
        key: That tokens are made with.

    Raises:
        InvalidRequest: there is no such request.
    """
    row, names = desk.row(approval), f"{kind}-counter/"
    counters = {
        str(name).removeprefix(names): int(value)
        for name, value in desk.db.execute("SELECT name, value FROM pins WHERE name LIKE ?", (f"{names}%",))
    }
    try:
        proof = proven(request_of(row), counters)
    except ConsentError as problem:
        log(desk.db, desk.now, row, "signature-refused")
        return problem
    granted = grant(desk, approval, channel=channel, assurance=AssuranceLevel.HARDWARE, key=key, by=proof.title)
    if isinstance(granted, str):
        desk.db.execute(
            "INSERT INTO pins (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (names + proof.fingerprint, str(proof.counter)),
        )
    return granted


def _why_not(request: ApprovalRequest) -> ConsentError | None:
    effect = effect_of(request.plan.action)
    if request.plan.digest != request.plan_digest:
        return ConsentError(
            f"the stored plan of approval {request.id!r} was altered: it no longer has the digest it was asked under",
            next_step="trust nothing in this approval; ask again",
            effect=effect,
        )
    if request.state is ApprovalState.APPROVED:
        return ConsentError(
            f"approval {request.id!r} was approved already, and a token is minted once",
            next_step="use that token, or decline and ask again",
            effect=effect,
        )
    if request.state is not ApprovalState.OPEN:
        return ConsentError(
            f"approval {request.id!r} is {request.state}" + (f": {request.reason}" if request.reason else ""),
            next_step="ask for a new approval",
            effect=effect,
        )
    return None
