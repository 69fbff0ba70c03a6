"""Where a person decides. These commands need the journal and a terminal; at level person they need no API key."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from remote_gpu_trainer.approval.book import SqliteApprovalBook
    from remote_gpu_trainer.approval.elicitation import Answer
    from remote_gpu_trainer.domain.approvals import AssuranceLevel
    from remote_gpu_trainer.domain.ids import ApprovalId
    from remote_gpu_trainer.domain.plans import Plan
    from remote_gpu_trainer.settings import Settings

PASSKEY, SECURITY_KEY, SEALED = FACTORS = ("passkey", "security-key", "sealed")
"""What a person can register: a passkey on a local page, a security key that signs over SSH's protocol, and a
destroying key under a passphrase."""
ENROLMENT_S = 600.0
"""How long the page that registers a passkey waits."""


def approve(
    approval_id: Annotated[
        str | None,
        typer.Argument(help="As the plan names it; none lists the open ones. With --enroll, the factor to register."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="Your security key's handle, where one signs; its .pub file to enroll.")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Answer on a local page instead of this terminal.")] = False,
    enroll: Annotated[
        bool,
        typer.Option("--enroll", help=f"Register a factor: {', '.join(FACTORS)}. A passkey, where none is named."),
    ] = False,
) -> None:
    """Read a plan, and agree or not, at the level that your policy asks.

    On a yes the token is shown here once, for you to hand over. With a sealed key, it is unsealed and used here. At
    level console you destroy in the platform's console, and this watches.
    """
    from remote_gpu_trainer.cli.deciding import decide
    from remote_gpu_trainer.domain.ids import ApprovalId

    if enroll:
        _enroll(approval_id or PASSKEY, key)
        return
    with _book() as book:
        if approval_id is None:
            _list(book)
            return
        if web:
            answer = _on_page(book, ApprovalId(approval_id))
        else:
            answer = decide(book, ApprovalId(approval_id), _settings(), key_file=key)
    if not answer.agreed:
        typer.echo(f"Not approved: {answer.reason}. Nothing was destroyed.", err=True)
        raise typer.Exit(1)


def _on_page(book: "SqliteApprovalBook", approval: "ApprovalId") -> "Answer":
    from remote_gpu_trainer.approval.pageserver import serve_page
    from remote_gpu_trainer.approval.passkeyfiles import FOLDER
    from remote_gpu_trainer.cli.deciding import page_level, refuse_where_it_cannot_be

    known, request = _settings(), book.get(approval)

    def level_of(plan: "Plan") -> "AssuranceLevel":
        return page_level(known, plan)

    if request is not None:
        refuse_where_it_cannot_be(request, level_of(request.plan))
    with _announcing() as announce:
        return serve_page(book, approval, announce=announce, level_of=level_of, passkeys=known.home / FOLDER)


def _enroll(factor: str, key: Path | None) -> None:
    """Register a factor of the person.

    Raises:
        InvalidRequest: there is no such factor, or the file of its key was not named.
    """
    from remote_gpu_trainer.cli import keys
    from remote_gpu_trainer.errors import InvalidRequest

    if factor == PASSKEY:
        _enroll_passkey()
    elif factor == SECURITY_KEY and key is not None:
        keys.pin(key)
    elif factor == SEALED:
        keys.setup()
    else:
        raise InvalidRequest(
            f"{factor[:40]!r} is no factor" if factor not in FACTORS else "the security key's .pub file is not named",
            next_step=f"rgt approve --enroll with one of {', '.join(FACTORS)}; for {SECURITY_KEY}, --key KEY.pub too",
            effect="Nothing was registered.",
        )


def _enroll_passkey() -> None:
    from remote_gpu_trainer.approval.pageserver import serve_enrolment
    from remote_gpu_trainer.approval.passkeyfiles import FOLDER
    from remote_gpu_trainer.approval.visible import visible
    from remote_gpu_trainer.clock import SystemClock

    folder = _settings().home / FOLDER
    with _announcing() as announce:
        made = serve_enrolment(folder, clock=SystemClock(), announce=announce, patience_s=ENROLMENT_S)
    if made is None:
        typer.echo(f"Nobody registered a passkey within {ENROLMENT_S:.0f} s. Nothing was registered.", err=True)
        raise typer.Exit(1)
    typer.echo(f"Registered {visible(made.label)} in {folder}; remove its file there to take that back.")


@contextmanager
def _announcing() -> "Generator[Callable[[str], None]]":
    """Says an address where only the person reads: on their terminal, never on a pipe."""
    from remote_gpu_trainer.approval.terminal import controlling_terminal

    with controlling_terminal() as (_, screen):

        def announce(address: str) -> None:
            screen.write(f"Open this address, once, in your own browser:\n\n    {address}\n\n")
            screen.flush()

        yield announce


def decline(
    approval_id: Annotated[str, typer.Argument(help="As the plan names it.")],
    reason: Annotated[str, typer.Option(help="What the model reads.")] = "the person declined",
) -> None:
    """Say no to an open plan."""
    from remote_gpu_trainer.domain.approvals import Channel
    from remote_gpu_trainer.domain.ids import ApprovalId
    from remote_gpu_trainer.errors import InvalidRequest

    with _book() as book:
        if book.get(ApprovalId(approval_id)) is None:
            raise InvalidRequest(f"there is no approval {approval_id[:60]!r}", effect="Nothing was declined.")
        book.decline(ApprovalId(approval_id), channel=Channel.TERMINAL, reason=reason)
    typer.echo(f"Declined {approval_id}. Nothing was destroyed; the machine is kept, and its disk bills.")


def _settings() -> "Settings":
    import os

    from remote_gpu_trainer import settings

    return settings.load(os.environ)


def _list(book: "SqliteApprovalBook") -> None:
    from remote_gpu_trainer.approval.visible import visible
    from remote_gpu_trainer.cli.deciding import needed_level

    waiting, policy = book.open_requests(), _settings().policy
    if not waiting:
        typer.echo("Nothing waits for you.")
    for request in waiting:
        typer.echo(
            f"{request.id}  {request.plan.action} {visible(request.plan.name)}, until "
            f"{request.expires_at:%H:%M:%S} UTC, level {needed_level(policy, request.plan).value}: "
            f"rgt approve {request.id}"
        )


@contextmanager
def _book() -> "Generator[SqliteApprovalBook]":
    import os

    from remote_gpu_trainer import settings
    from remote_gpu_trainer.app import journal_file
    from remote_gpu_trainer.approval.book import SqliteApprovalBook
    from remote_gpu_trainer.clock import SystemClock
    from remote_gpu_trainer.database.file import Database
    from remote_gpu_trainer.errors import InvalidRequest

    file = journal_file(settings.load(os.environ).home)
    if not file.exists():
        raise InvalidRequest(
            f"there is no journal at {file}, so nothing waits for an answer",
            next_step="set RGT_HOME as the agent's server has it",
            effect="Nothing was approved.",
        )
    database = Database(file)
    try:
        yield SqliteApprovalBook(database, clock=SystemClock())
    finally:
        database.close()
