"""A server that starts later, on the same home and market: its clock is ahead, and its waits take no time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
from mcp import Client

from remote_gpu_trainer.app import compose
from remote_gpu_trainer.tools.server import build_server
from tests.stage import ForwardClock, Stage


class AheadClock(ForwardClock):
    """Put forward from the start; sleeping moves it on."""

    def __init__(self, ahead: timedelta) -> None:
        super().__init__()
        self.pass_by(ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.pass_by(timedelta(seconds=seconds))
        await anyio.sleep(min(seconds, 0.02))


@asynccontextmanager
async def later(stage: Stage, **ahead: float) -> AsyncGenerator[Stage]:
    """The same stage after a restart of the server, so much later."""
    clock = AheadClock(timedelta(**ahead))
    services = compose(stage.services.settings, clock=clock)
    try:
        async with Client(build_server(services)) as client:
            yield Stage(client, stage.market, services, stage.folder, clock)
    finally:
        await services.aclose()
