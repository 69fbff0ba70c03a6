"""Where a person decides. These commands need the journal and a terminal; at level person they need no API key."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remote_gpu_trainer.cli.enrolling import FACTORS, announcing, register

if TYPE_CHECKING:
    from remote_gpu_trainer.approval.book import SqliteApprovalBook
    from remote_gpu_trainer.approval.elicitation import Answer
    from remote_gpu_trainer.domain.approvals import AssuranceLevel
    from remote_gpu_trainer.domain.ids import ApprovalId
    from remote_gpu_trainer.domain.plans import Plan
    from remote_gpu_trainer.settings import Settings


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
        typer.Option("--enroll", help=f"Register a factor: {', '.join(FACTORS)}. Asks which, where none is named."),
    ] = False,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="With --enroll sealed: you made the scoped key in the console yourself.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="With --enroll security-key: whose it is; me, where none is given.")
    ] = None,
) -> None:
    """Read a plan, and agree or not, at the level that your policy asks.

    On a yes the token is shown here once, for you to hand over. With a sealed key, it is unsealed and used here. At
    level console you destroy in the platform's console, and this watches.
    """
    from remote_gpu_trainer.cli.deciding import decide
    from remote_gpu_trainer.domain.ids import ApprovalId

    if enroll:
        register(approval_id, key=key, name=name, by_hand=by_hand)
        return
    if by_hand or name is not None:
        raise typer.BadParameter("--by-hand and --name go with --enroll. Nothing was approved.")
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
    from remote_gpu_trainer.approval.terminal import NOT_APPROVED
    from remote_gpu_trainer.cli.deciding import page_level, refuse_where_it_cannot_be

    known, request = _settings(), book.get(approval)

    def level_of(plan: "Plan") -> "AssuranceLevel":
        return page_level(known, plan)

    if request is not None:
        refuse_where_it_cannot_be(request, level_of(request.plan))
    with announcing(NOT_APPROVED) as announce:
        return serve_page(book, approval, announce=announce, level_of=level_of, passkeys=known.home / FOLDER)


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
