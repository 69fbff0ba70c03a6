"""Every refusal of the platform, in each of its forms, to one error of the tree.

Forms seen: ``{success: false, error, msg}``, the same without ``success``, only ``msg`` or ``message``, ``{detail}``,
and plain text (OpenAPI 2026-08). A bad key answers 401 or 404 ``auth_error`` (seen live 2026).
"""

import re
from dataclasses import dataclass

from remote_gpu_trainer.errors import (
    AnswerLost,
    AuthFailed,
    InsufficientCredit,
    MarketError,
    NoSuchInstance,
    OfferGone,
    PermissionMissing,
    RateLimited,
    RequestRejected,
    SearchQuotaExceeded,
    ServerFault,
    TwoFactorRequired,
    UnexpectedAnswer,
)
from remote_gpu_trainer.vastai.answers import Answer
from remote_gpu_trainer.vastai.calls import About, Call, Repeat
from remote_gpu_trainer.vastai.pacing import asked_wait_s, threshold_s
from remote_gpu_trainer.vastai.redact import Redactor

_TWO_FACTOR = re.compile(r"two[\s-]?factor|\b2fa\b|\btfa\b", re.I)
_PERMISSION = re.compile(r"permission|not[_ ]authorized|\bscope|constraint|not allowed", re.I)
_BAD_KEY = re.compile(r"invalid (user|api) key|requires login|credentials were not provided|invalid token", re.I)
_OFFER_GONE = re.compile(r"404/3603|410/3907|no_such_ask", re.I)
_NO_CREDIT = re.compile(r"(insufficient|not enough|lacks?|no)[\s_]+(credit|balance|funds)", re.I)
_TOO_OFTEN = re.compile(r"too frequent|too many requests|rate[\s_]?limit", re.I)
_NO_INSTANCE = re.compile(r"no_such_instance|invalid_id|instance\b.*\bnot (found|exist)|no such instance", re.I)


@dataclass(frozen=True)
class _Said:
    """What a refusal says: its ``error`` word, its message, and both in one text."""

    error: str
    message: str
    readable: bool
    contract: int | None

    @property
    def text(self) -> str:
        return f"{self.error} {self.message}".strip()


def refusal(call: Call, answer: Answer, redactor: Redactor, *, epoch_s: float) -> MarketError:
    """The error for an answer that is no success. ``epoch_s`` is the time now, for reset headers."""
    said = _said(answer)
    quoted = f": {redactor.quote(said.text)}" if said.text else ""
    seen = f"{call.name} was answered {answer.status}{quoted}"
    details: dict[str, object] = {"status": answer.status}
    if said.error:
        details["error"] = redactor.clean(said.error)[:100]
    if said.contract is not None:
        details["new_contract"] = said.contract
        return RequestRejected(
            f"{seen}; the refusal carries contract {said.contract}, which may exist and bill",
            next_step=f"read instance {said.contract} and decide what becomes of it",
            effect="The request was refused, and yet something may have been rented.",
            details=details,
        )
    if answer.status == 429 or (400 <= answer.status < 500 and _TOO_OFTEN.search(said.text)):
        return _too_often(call, answer, said, seen, details, epoch_s)
    if (400 <= answer.status < 500 and answer.status != 408) or answer.status < 300:
        return _refused(call, answer, said)(seen, effect=call.not_done, details=details)
    return _doubtful(call, answer, seen, details)


def _said(answer: Answer) -> _Said:
    row = answer.row()
    if row is None:
        text = answer.text(600)
        return _Said("", "a page of HTML" if "<html" in text.lower() else text, readable=False, contract=None)
    words = [row.get(name) for name in ("msg", "message", "detail")]
    message = next((w for w in words if isinstance(w, str) and w), "")
    error, contract = row.get("error"), row.get("new_contract")
    named = isinstance(contract, int) and not isinstance(contract, bool) and 0 < contract < 1 << 63
    return _Said(error if isinstance(error, str) else "", message, readable=True, contract=contract if named else None)


def _too_often(
    call: Call, answer: Answer, said: _Said, seen: str, details: dict[str, object], epoch_s: float
) -> MarketError:
    if "search_quota_exceeded" in said.text:
        return SearchQuotaExceeded(seen, effect=call.not_done, details=details)
    wait = asked_wait_s(answer, epoch_s)
    if (least := threshold_s(said.text)) is not None:
        details["least_interval_s"] = least
    step = f"repeat it after {wait:.0f} s" if wait is not None else "wait a few seconds, then repeat it"
    return RateLimited(seen, retry_after_s=wait, next_step=step, effect=call.not_done, details=details)


def _refused(call: Call, answer: Answer, said: _Said) -> type[MarketError]:
    status, text = answer.status, said.text
    if _TWO_FACTOR.search(text):
        return TwoFactorRequired
    if status in (401, 403) and not _BAD_KEY.search(text):
        return _key_or_permission(status, said)
    if status in (401, 403) or said.error == "auth_error" or (status == 404 and _BAD_KEY.search(text)):
        return PermissionMissing if _PERMISSION.search(said.message) else AuthFailed
    if call.about is About.OFFER and _OFFER_GONE.search(text):
        return OfferGone
    if status == 402 or _NO_CREDIT.search(text):
        return InsufficientCredit
    if call.about is About.INSTANCE and said.readable:
        if _NO_INSTANCE.search(text) or (status == 404 and said.error in ("not_found", "no_such_user")):
            return NoSuchInstance
    if status == 404 and not said.readable:
        return UnexpectedAnswer
    if status == 410 and call.about is not About.OFFER:
        return UnexpectedAnswer
    return RequestRejected


def _key_or_permission(status: int, said: _Said) -> type[MarketError]:
    if _PERMISSION.search(said.message) or said.error == "not_authorized":
        return PermissionMissing
    if status == 401 or said.error == "auth_error":
        return AuthFailed
    return RequestRejected


def _doubtful(call: Call, answer: Answer, seen: str, details: dict[str, object]) -> MarketError:
    """5xx, 408, redirects and what is no HTTP answer at all: a write may have been done."""
    if call.repeat is Repeat.ONCE:
        return AnswerLost(seen, effect="It is not known whether it was done.", details=details)
    if answer.status == 408 or answer.status >= 500:
        return ServerFault(seen, next_step="repeat it a little later", effect=call.not_done, details=details)
    return UnexpectedAnswer(seen, next_step="check VAST_URL: redirects are not followed", details=details)


def unreadable(call: Call, redactor: Redactor, what: str, *, next_step: str = "") -> MarketError:
    """The error for a success whose shape we do not know: a write that is sent once may well have been done."""
    if call.repeat is Repeat.ONCE:
        return AnswerLost(
            f"{call.name} was answered with success in a form that cannot be read: {redactor.clean(what)}",
            effect="It is not known whether it was done.",
        )
    return UnexpectedAnswer(
        f"{call.name}: {redactor.clean(what)}",
        next_step=next_step or "run `rgt doctor --live`: the platform's answers may have changed",
        effect="Nothing is concluded from this answer.",
    )
