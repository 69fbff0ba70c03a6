"""The server's life: settle what an earlier one left open, then serve until the client goes."""

import gc
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from remote_gpu_trainer.app import journal_file
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.door import LazyDoor
from remote_gpu_trainer.cli.logs import seal_logs
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools.server import build_server

if TYPE_CHECKING:
    from remote_gpu_trainer.approval.pageserver import PageServer
    from remote_gpu_trainer.settings import Settings


def run(services: Services, *, http_port: int | None) -> None:
    """Serve over stdio, or streamable HTTP on a loopback port. On stdout there is nothing but protocol."""

    home = services.settings.home
    book = SqliteApprovalBook(journal_file(home), clock=SystemClock())
    door = LazyDoor(lambda: _page(book, services.settings))

    async def serve() -> None:
        server = build_server(replace(services, door=door))
        seal_logs(services.secrets.known)
        gc.freeze()  # what is loaded by now stays: a list of ten thousand files would have it all looked through twice
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_settle, services)
                group.start_soon(_nights, services)
                if http_port is None:
                    await server.run_stdio_async()
                else:
                    await server.run_streamable_http_async(host="127.0.0.1", port=http_port)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(door.close)
                book.close()
                await services.aclose()

    anyio.run(serve)


def _page(book: SqliteApprovalBook, settings: "Settings") -> "PageServer":
    from remote_gpu_trainer.approval.pageserver import PageServer
    from remote_gpu_trainer.approval.passkeyfiles import FOLDER
    from remote_gpu_trainer.cli.deciding import page_level

    return PageServer(book, level_of=lambda plan: page_level(settings, plan), passkeys=settings.home / FOLDER)


async def _settle(services: Services) -> None:
    """Adopt what a killed server rented, close what is gone. A failure here is told and repaired by poll_status."""
    try:
        report = await services.reconcile.reconcile()
    except RgtError as error:
        sys.stderr.write(f"not reconciled with the account yet: {error}\n")
        return
    if report.adopted:
        sys.stderr.write(f"adopted from an interrupted rental: {', '.join(report.adopted)}\n")


async def _nights(services: Services) -> None:
    """Use what a person agreed to beforehand, as long as this server runs."""
    try:
        await services.night.keep(_tell)
    except Exception as error:  # a watch that fails must not take the tools along
        sys.stderr.write(
            f"what was agreed beforehand is not used any more by this server ({type(error).__name__}: {error}); "
            "`rgt watch` does, or the agent's destroy\n"
        )


def _tell(line: object) -> None:
    sys.stderr.write(f"{line}\n")
