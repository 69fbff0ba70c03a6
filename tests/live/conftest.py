"""The real platform, only when a person asks for it: RGT_LIVE=1 and VAST_API_KEY in the environment."""

import os
from collections.abc import AsyncGenerator

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.vastai.client import VastClient

PLATFORM = "https://console.vast.ai"


@pytest.fixture
async def live() -> AsyncGenerator[VastClient]:
    if os.environ.get("RGT_LIVE") != "1":
        pytest.skip("talks to the real vast.ai and may cost up to $0.10: set RGT_LIVE=1 and VAST_API_KEY to run it")
    key = os.environ.get("VAST_API_KEY", "")
    if not key:
        pytest.skip("RGT_LIVE=1 is set and VAST_API_KEY is not: a key of a real account is needed")
    async with VastClient(os.environ.get("VAST_URL") or PLATFORM, key, clock=SystemClock()) as client:
        yield client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
