"""A copy's progress as MCP notifications."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from mcp.server.mcpserver import Context

from remote_gpu_trainer.domain.units import show_bytes, show_usd
from remote_gpu_trainer.transfer.limits import Progress, ProgressSink


@asynccontextmanager
async def reported(ctx: Context) -> AsyncGenerator[ProgressSink]:
    """A sink whose newest value reaches the client; a slow client skips some and delays nothing."""
    send, receive = anyio.create_memory_object_stream[Progress](1)

    def sink(progress: Progress) -> None:
        try:
            send.send_nowait(progress)
        except (anyio.WouldBlock, anyio.BrokenResourceError):
            return

    async def forward() -> None:
        async with receive:
            async for one in receive:
                await ctx.report_progress(one.bytes_done, one.bytes_total, _words(one))

    failed: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(forward)
        try:
            yield sink
        except Exception as error:
            failed = error  # the task group would wrap it, and the model reads only a bare RgtError
        finally:
            send.close()
    if failed is not None:
        raise failed


def _words(one: Progress) -> str:
    cost = "" if one.cost is None else f", about {show_usd(one.cost)} of egress"
    left = "" if one.eta_s is None else f", {one.eta_s:.0f} s left"
    return (
        f"{one.files_done}/{one.files_total} files, {show_bytes(one.bytes_done)} of {show_bytes(one.bytes_total)}, "
        f"{show_bytes(int(one.rate))}/s{left}{cost}"
    )
