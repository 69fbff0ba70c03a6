"""One decision on the person's terminal, at the level that the policy asks for this plan."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from remote_gpu_trainer.approval.book import SqliteApprovalBook
    from remote_gpu_trainer.approval.elicitation import Answer
    from remote_gpu_trainer.approval.terminal import Grant, Use
    from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel
    from remote_gpu_trainer.domain.ids import ApprovalId
    from remote_gpu_trainer.domain.plans import Plan
    from remote_gpu_trainer.domain.policy import Policy
    from remote_gpu_trainer.services.container import Services
    from remote_gpu_trainer.services.views import TeardownOutcome
    from remote_gpu_trainer.settings import Settings

T = TypeVar("T")
PASSPHRASE_TRIES = 3
CONSOLE_LOOKS = 120
SECONDS_BETWEEN_CONSOLE_LOOKS = 10.0
DEFAULT_KEY = "~/.ssh/id_ed25519_sk"


def needed_level(policy: "Policy", plan: "Plan") -> "AssuranceLevel":
    """The least level of a consent to this plan."""
    from remote_gpu_trainer.domain.plans import RentPlan

    if isinstance(plan, RentPlan):
        return policy.level_for("rent", plan.usd_per_hour)
    return policy.level_for("destroy", plan.usd_per_hour_running)


def page_level(settings: "Settings", plan: "Plan") -> "AssuranceLevel":
    """What a yes on the page needs. What destroys is unsealed in a terminal, whatever signs: no page can do that."""
    from remote_gpu_trainer.domain.approvals import AssuranceLevel

    level = needed_level(settings.policy, plan)
    return AssuranceLevel.SEALED if level is AssuranceLevel.HARDWARE and _has_sealed(settings) else level


def decide(
    book: "SqliteApprovalBook", approval: "ApprovalId", settings: "Settings", *, key_file: Path | None
) -> "Answer":
    """Ask on the terminal, and let a yes count for what the policy asks.

    Args:
        book: Where the request is.
        approval: Which.
        settings: With the person's policy.
        key_file: The security key's handle, where one signs; None takes ``~/.ssh/id_ed25519_sk``.

    Raises:
        ConsentError: there is no terminal, the request is not open, or a factor was not satisfied.
        InvalidRequest: there is no such request.
    """
    from remote_gpu_trainer.approval.terminal import approve_on_terminal
    from remote_gpu_trainer.domain.approvals import AssuranceLevel

    request = book.get(approval)
    level = AssuranceLevel.PERSON if request is None else needed_level(settings.policy, request.plan)
    refuse_where_it_cannot_be(request, level)
    signing = _signing(book, settings, key_file)
    if level is AssuranceLevel.CONSOLE and request is not None and request.plan.action == "destroy":
        return approve_on_terminal(book, approval, grant=_for_the_console(book), use=_watching(settings))
    if level is AssuranceLevel.HARDWARE and not _has_sealed(settings):
        return approve_on_terminal(book, approval, grant=signing, use=_kept(request))
    if level is AssuranceLevel.PERSON:
        return approve_on_terminal(book, approval, use=_kept(request))
    factors = Unsealing(book, settings, signing if level is AssuranceLevel.HARDWARE else None)
    use = factors.use if request is not None and request.plan.action == "destroy" else None
    return approve_on_terminal(book, approval, grant=factors.grant, use=use)


def refuse_where_it_cannot_be(request: "ApprovalRequest | None", level: "AssuranceLevel") -> None:
    """See that a consent given beforehand can be used at all at this level.

    Raises:
        ConsentError: the destroying key is nowhere at night.
    """
    from remote_gpu_trainer.domain.approvals import AssuranceLevel
    from remote_gpu_trainer.errors import ConsentError

    nowhere = level in (AssuranceLevel.SEALED, AssuranceLevel.CONSOLE)
    if request is not None and request.plan.action == "preapprove" and nowhere:
        raise ConsentError(
            f"the policy asks for level {level.value}: the server has no key that destroys, so it cannot use a consent "
            "that is given beforehand",
            next_step="stop_instance costs only the disk until you are back",
            effect="Nothing was agreed to beforehand.",
        )


class Unsealing:
    """Unseals the destroying key in this terminal and uses it here, once; neither key nor token leaves the process."""

    def __init__(self, book: "SqliteApprovalBook", settings: "Settings", signing: "Grant | None") -> None:
        self._book = book
        self._settings = settings
        self._signing = signing
        self._secret = ""

    def grant(self, request: "ApprovalRequest") -> str:
        """Mint the token once the passphrase opened the key, and the security key signed where that is asked too."""
        from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel

        self._secret = self._unsealed(request.plan.account_id)
        if self._signing is not None:
            return self._signing(request)
        return self._book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.SEALED)

    def use(self, request: "ApprovalRequest", token: str, target: TextIO) -> None:
        """Destroy with the unsealed key: last look, spend, DELETE once, absences."""
        from dataclasses import replace

        settings = replace(self._settings, api_key=self._secret, key_source="the sealed key")
        target.write("\nApproved. Looking at the machine again, then destroying it from here.\n")
        target.flush()
        outcome = with_services(
            settings, lambda services: services.teardown.execute(request.plan.name, request.id, token)
        )
        tell(outcome, target)

    def _unsealed(self, account_id: int) -> str:
        from remote_gpu_trainer.approval.anchors import read_sealed
        from remote_gpu_trainer.approval.terminal import ask_passphrase
        from remote_gpu_trainer.errors import ConsentError

        last: ConsentError | None = None
        for _ in range(PASSPHRASE_TRIES):
            try:
                passphrase = ask_passphrase("Passphrase of the destroying key: ")
                return read_sealed(self._settings.home, passphrase, account_id=account_id)
            except ConsentError as wrong:
                last = wrong
        raise last or ConsentError("no passphrase was given", effect="Nothing was unsealed.")


def with_services(settings: "Settings", question: "Callable[[Services], Awaitable[T]]") -> T:
    """Compose the services for one question, and close them."""
    import anyio

    from remote_gpu_trainer.app import compose

    async def run() -> T:
        services = compose(settings)
        try:
            return await question(services)
        finally:
            await services.aclose()

    return anyio.run(run)


def tell(outcome: "TeardownOutcome", target: TextIO) -> None:
    """What a teardown came to, for the person."""
    target.write(f"{outcome.lease}: {outcome.note}\n")
    target.writelines(f"still bills: {volume}\n" for volume in outcome.volumes_billing_on)
    if outcome.receipt_path is not None:
        target.write(f"Receipt: {outcome.receipt_path}\n")


def _signing(book: "SqliteApprovalBook", settings: "Settings", key_file: Path | None) -> "Grant":
    def grant(request: "ApprovalRequest") -> str:
        from remote_gpu_trainer.approval.anchors import pinned_signers
        from remote_gpu_trainer.approval.hardware import by_security_key

        handle = key_file or Path(DEFAULT_KEY).expanduser()
        return by_security_key(book, handle, signers=pinned_signers(settings.home))(request)

    return grant


def _for_the_console(book: "SqliteApprovalBook") -> "Grant":
    def grant(request: "ApprovalRequest") -> str:
        from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel

        return book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.CONSOLE)

    return grant


def _watching(settings: "Settings") -> "Use":
    def use(request: "ApprovalRequest", token: str, target: TextIO) -> None:
        instance = getattr(request.plan, "instance", None)
        target.write(
            f"\nKept. Nothing here destroys: now destroy instance {getattr(instance, 'id', '?')} in the platform's own "
            f"console (https://cloud.vast.ai/instances/). This command watches for "
            f"{CONSOLE_LOOKS * SECONDS_BETWEEN_CONSOLE_LOOKS / 60:.0f} minutes and closes the books; after that, the "
            "agent's next destroy does.\n"
        )
        target.flush()
        outcome = with_services(settings, lambda services: _watch(services, request.id))
        if outcome is None:
            target.write("It is still there, and bills.\n")
        else:
            tell(outcome, target)

    return use


async def _watch(services: "Services", approval: "ApprovalId") -> "TeardownOutcome | None":
    import anyio

    for _ in range(CONSOLE_LOOKS):
        outcome = await services.teardown.watch_console(approval)
        if outcome is not None:
            return outcome
        await anyio.sleep(SECONDS_BETWEEN_CONSOLE_LOOKS)
    return None


def _kept(request: "ApprovalRequest | None") -> "Use | None":
    """A consent given beforehand has no token to show: the server uses it when its conditions hold."""
    if request is None or request.plan.action != "preapprove":
        return None

    def use(request: "ApprovalRequest", token: str, target: TextIO) -> None:
        target.write(
            f"\nAgreed beforehand, as {request.id}, until {request.expires_at:%Y-%m-%d %H:%M:%S} UTC, for one use. "
            "Used once the conditions hold: by the agent's server while it runs, by `rgt watch` on a computer that "
            "stays awake, or by the agent's destroy. "
            f"Take it back with: rgt decline {request.id}\n"
        )

    return use


def _has_sealed(settings: "Settings") -> bool:
    from remote_gpu_trainer.approval.anchors import SEALED_FILE

    return (settings.home / SEALED_FILE).exists()
