"""The server's life: settle what an earlier one left open, then serve until the client goes."""

import sys

import anyio

from remote_gpu_trainer.cli.logs import seal_logs
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools.server import build_server


def run(services: Services, *, http_port: int | None) -> None:
    """Serve over stdio, or streamable HTTP on a loopback port. On stdout there is nothing but protocol."""

    async def serve() -> None:
        server = build_server(services)
        seal_logs(services.secrets.known)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_settle, services)
                if http_port is None:
                    await server.run_stdio_async()
                else:
                    await server.run_streamable_http_async(host="127.0.0.1", port=http_port)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await services.aclose()

    anyio.run(serve)


async def _settle(services: Services) -> None:
    """Adopt what a killed server rented, close what is gone. A failure here is told and repaired by poll_status."""
    try:
        report = await services.reconcile.reconcile()
    except RgtError as error:
        sys.stderr.write(f"not reconciled with the account yet: {error}\n")
        return
    if report.adopted:
        sys.stderr.write(f"adopted from an interrupted rental: {', '.join(report.adopted)}\n")
