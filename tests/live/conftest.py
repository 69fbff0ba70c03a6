"""The real platform, only when a person asks for it: RGT_LIVE=1 and VAST_API_KEY in the environment."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from remote_gpu_trainer.vastai.client import VastClient

PLATFORM = "https://console.vast.ai"


class WallClock:
    """Real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
async def live() -> AsyncGenerator[VastClient]:
    if os.environ.get("RGT_LIVE") != "1":
        pytest.skip("talks to the real vast.ai and may cost up to $0.10: set RGT_LIVE=1 and VAST_API_KEY to run it")
    key = os.environ.get("VAST_API_KEY", "")
    if not key:
        pytest.skip("RGT_LIVE=1 is set and VAST_API_KEY is not: a key of a real account is needed")
    async with VastClient(os.environ.get("VAST_URL") or PLATFORM, key, clock=WallClock()) as client:
        yield client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
