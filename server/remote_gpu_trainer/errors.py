"""Every failure that this package raises on purpose, in one tree.

    RgtError
    ├── ConfigError                a setting, a policy or a key file is missing or malformed
    ├── InvalidRequest             an argument that a more careful caller would not have sent
    ├── MarketError                the platform said no, or said nothing
    │   ├── MarketUnreachable      no connection, so nothing was asked                       (retryable)
    │   ├── AnswerLost             asked, and no answer came back: it may have happened
    │   ├── AuthFailed             the key is missing, wrong or revoked (401, or 404 auth_error)
    │   ├── TwoFactorRequired      the account wants a two-factor session; the key is fine
    │   ├── PermissionMissing      the key is scoped and does not cover this
    │   ├── RateLimited            too frequent                                              (retryable)
    │   ├── SearchQuotaExceeded    the daily search quota; repeating is useless
    │   ├── OfferGone              the offer was rented or withdrawn
    │   ├── InsufficientCredit     the balance does not cover it
    │   ├── NoSuchInstance         the platform knows no such instance *for this key*
    │   ├── RequestRejected        any other refusal of the request as sent
    │   ├── ServerFault            5xx                                                       (retryable)
    │   └── UnexpectedAnswer       an answer whose shape we do not know
    ├── HostError                  the rented machine
    │   ├── HostUnreachable        no SSH connection                                         (retryable)
    │   ├── HostKeyChanged         another key than the one pinned at first contact
    │   ├── HostAuthFailed         our key is refused
    │   ├── ConnectionCut          the connection ended in the middle                        (retryable)
    │   └── RemoteCommandFailed    a command ran and failed
    ├── TransferError
    │   ├── UnsafePath             a name that would leave the destination or deceive a reader
    │   ├── RemoteChanged          the far file changed while it was copied                  (retryable)
    │   ├── DigestMismatch         the bytes are not the promised ones
    │   ├── LocalDiskFull          the destination has no room
    │   ├── DestinationBusy        another copy writes into the same folder
    │   ├── LimitExceeded          more bytes, files or depth than the policy allows
    │   └── RouteRefused           no route fits the facts
    ├── VerificationFailed         an artifact did not reach the level that was asked
    ├── RuleViolation              a guard rule blocks the call
    ├── BudgetExceeded             a cap of the person's policy
    ├── ConsentError               destroying, or paying above the policy, without a person
    │   ├── ConsentRequired        the plan is ready and a person has to decide
    │   ├── ConsentDeclined        the person said no
    │   ├── TokenRejected          unknown, used, expired, foreign or for another plan
    │   └── PlanChanged            the machine or the proof is not what was approved
    ├── WrongPhase                 the run is not in a phase in which this can be done
    ├── UnknownRun                 no lease or instance of that name in the journal
    ├── WaitExpired                a bounded wait came to its end
    └── JournalError               the journal cannot be read or written

Each carries a stable ``code``, whether the same call may simply be repeated, the next step, and the effect: what
did *not* happen. The text of an error never holds a secret, and what it quotes from outside is fenced.
"""

from collections.abc import Mapping
from typing import ClassVar


class RgtError(Exception):
    """Base of the tree.

    Args:
        message: What was seen, with numbers; one sentence without the final full stop is fine.
        next_step: What the reader should do now.
        effect: What did or did not happen, for example "The instance was not destroyed."
        details: Facts for programs; must be JSON-serialisable and free of secrets.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    default_next_step: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        effect: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.default_next_step
        self.effect = effect
        self.details: dict[str, object] = dict(details or {})

    def __str__(self) -> str:
        """The whole story in one paragraph: code, what was seen, next step, effect."""
        parts = [f"[{self.code}] {_sentence(self.message)}"]
        if self.next_step:
            parts.append(f"Next: {_sentence(self.next_step)}")
        if self.effect:
            parts.append(_sentence(self.effect))
        return " ".join(parts)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?:" else f"{text}."


class ConfigError(RgtError):
    """A setting, a policy or a key file is missing or malformed."""

    code = "config_error"


class InvalidRequest(RgtError):
    """An argument that a more careful caller would not have sent."""

    code = "invalid_request"


class MarketError(RgtError):
    """The platform said no, or said nothing."""

    code = "market_error"


class MarketUnreachable(MarketError):
    """No connection could be made, so nothing was asked of the platform."""

    code = "market_unreachable"
    retryable = True
    default_next_step = "check the network and VAST_URL, then repeat the call"


class AnswerLost(MarketError):
    """The request left and no answer came back: it may or may not have happened."""

    code = "answer_lost"
    default_next_step = "do not repeat it (VAST31); poll_status reconciles the journal with the account"


class AuthFailed(MarketError):
    """The key is missing, wrong or revoked. The platform answers 401, or 404 ``auth_error``."""

    code = "auth_failed"
    default_next_step = (
        "set VAST_API_KEY to a valid key; a set variable wins over the stored key file (VAST22). Of any instance this "
        "says nothing (VAST29)"
    )


class TwoFactorRequired(MarketError):
    """The account wants a two-factor session. The key is fine: a new one does not help."""

    code = "two_factor_required"
    default_next_step = "ask the person to open a two-factor session for this account; do not replace the key (VAST21)"


class PermissionMissing(MarketError):
    """The key is scoped and does not cover this call."""

    code = "permission_missing"
    default_next_step = "ask the person for a key whose permissions cover this call"


class RateLimited(MarketError):
    """Too many calls. ``retry_after_s`` is what the platform asked for, or None."""

    code = "rate_limited"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        next_step: str = "",
        effect: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, effect=effect, details=details)
        self.retry_after_s = retry_after_s


class SearchQuotaExceeded(MarketError):
    """The daily search quota is used up; repeating the search is useless today."""

    code = "search_quota_exceeded"
    default_next_step = (
        "work from the offers already seen, or wait until the quota renews; repeating is useless (VAST23)"
    )


class OfferGone(MarketError):
    """The offer was rented by another or withdrawn."""

    code = "offer_gone"
    default_next_step = "call search_offers again and take another offer"


class InsufficientCredit(MarketError):
    """The account's balance does not cover the request."""

    code = "insufficient_credit"
    default_next_step = "ask the person to add credit"


class NoSuchInstance(MarketError):
    """The platform knows no such instance for this key, which is not yet proof that it is gone."""

    code = "no_such_instance"


class RequestRejected(MarketError):
    """Any other refusal of the request as it was sent."""

    code = "request_rejected"


class ServerFault(MarketError):
    """The platform failed (5xx)."""

    code = "server_fault"
    retryable = True


class UnexpectedAnswer(MarketError):
    """An answer whose shape we do not know; nothing is concluded from it."""

    code = "unexpected_answer"


class HostError(RgtError):
    """The rented machine."""

    code = "host_error"


class HostUnreachable(HostError):
    """No SSH connection could be made."""

    code = "host_unreachable"
    retryable = True
    default_next_step = "call poll_status: it tells whether the machine runs and which endpoints it has now"


class HostKeyChanged(HostError):
    """The machine shows another host key than the one pinned at first contact."""

    code = "host_key_changed"
    default_next_step = "treat the machine as hostile until the person has explained the change"


class HostAuthFailed(HostError):
    """The machine refuses our key."""

    code = "host_auth_failed"


class ConnectionCut(HostError):
    """The connection ended in the middle."""

    code = "connection_cut"
    retryable = True


class RemoteCommandFailed(HostError):
    """A command ran on the machine and failed."""

    code = "remote_command_failed"


class TransferError(RgtError):
    """Bytes that did not arrive whole."""

    code = "transfer_error"


class UnsafePath(TransferError):
    """A name that would leave the destination or deceive a reader."""

    code = "unsafe_path"


class RemoteChanged(TransferError):
    """The far file changed while it was copied."""

    code = "remote_changed"
    retryable = True


class DigestMismatch(TransferError):
    """The bytes that arrived are not the promised ones."""

    code = "digest_mismatch"


class LocalDiskFull(TransferError):
    """The destination has no room."""

    code = "local_disk_full"


class DestinationBusy(TransferError):
    """Another copy writes into the same folder; two would write the same unfinished files."""

    code = "destination_busy"
    default_next_step = (
        "wait for the end of the other copy, which its own call tells, then call copy_out again: it goes on there; "
        "or name another destination. A copy whose program was killed is in nobody's way"
    )


class LimitExceeded(TransferError):
    """More bytes, files or depth than the policy allows."""

    code = "limit_exceeded"


class RouteRefused(TransferError):
    """No route fits the facts."""

    code = "route_refused"


class VerificationFailed(RgtError):
    """An artifact did not reach the level that was asked."""

    code = "verification_failed"


class RuleViolation(RgtError):
    """A guard rule blocks the call; ``details["findings"]`` lists each with id, what was seen and the fix."""

    code = "rule_violation"


class BudgetExceeded(RgtError):
    """A cap of the person's policy stands in the way."""

    code = "budget_exceeded"
    default_next_step = "choose something cheaper, or ask the person to raise the cap in policy.toml"


class ConsentError(RgtError):
    """Destroying, or paying above the policy, needs a person."""

    code = "consent_error"


class ConsentRequired(ConsentError):
    """The plan is ready and a person has to decide; ``details`` holds the plan and the approval id."""

    code = "consent_required"


class ConsentDeclined(ConsentError):
    """The person said no."""

    code = "consent_declined"


class TokenRejected(ConsentError):
    """The token is unknown, used, expired, for another instance or for another plan."""

    code = "token_rejected"


class PlanChanged(ConsentError):
    """The machine, or the proof off the machine, is not what was approved."""

    code = "plan_changed"
    default_next_step = "copy_out again, verify_local again, and ask for a new consent"


class WrongPhase(RgtError):
    """The run is not in a phase in which this can be done."""

    code = "wrong_phase"


class UnknownRun(RgtError):
    """No lease or instance of that name is known."""

    code = "unknown_run"
    default_next_step = "call poll_status without an instance to list what is known"


class WaitExpired(RgtError):
    """A bounded wait came to its end."""

    code = "wait_expired"


class JournalError(RgtError):
    """The journal cannot be read or written."""

    code = "journal_error"
