"""The emulator as a process of its own, standing still in time, and a client whose waiting moves that time on."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.retry import RetryPolicy

STARTED_WITHIN_S = 30.0


class Emulator:
    """What the process said when it was ready, and its control surface."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self.url: str = ready["url"]
        self.key: str = ready["api_key"]
        self.account_id: int = ready["account_id"]
        self._control_url: str = ready["control_url"]
        self._headers = {"authorization": f"Bearer {ready['control_token']}"}

    async def control(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        async with httpx.AsyncClient(headers=self._headers, timeout=20.0, trust_env=False) as http:
            answer = await http.request(method, self._control_url + path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pass_by(self, seconds: float) -> None:
        await self.control("POST", "/clock", advance_s=seconds)

    async def fault(self, route: str, kind: str, **more: Any) -> None:
        await self.control("POST", "/faults", route=route, kind=kind, **more)

    async def quirk(self, name: str, on: bool) -> None:
        await self.control("POST", "/quirks", **{name: on})

    async def clear(self) -> None:
        await self.control("DELETE", "/faults")
        await self.control("POST", "/account", tfa=False, search_quota=20_000, balance_usd=100.0)
        await self.control("POST", "/clock", speed=0)

    def client(self, key: str | None = None, *, attempts: int = 5) -> VastClient:
        retry = RetryPolicy(attempts=attempts)
        return VastClient(self.url, self.key if key is None else key, clock=TiedClock(self), retry=retry)


class TiedClock:
    """Whoever sleeps by it moves the emulator's time."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._elapsed = emulator, 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self._elapsed += seconds
        await self._emulator.pass_by(seconds)


@pytest.fixture(scope="module")
def process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    boxes: str = vars(cast("object", request.module)).get("BOXES", "none")  # pyright: ignore[reportUnknownMemberType]  # untyped in pytest
    state: Path = tmp_path_factory.mktemp("emulator")
    command = [sys.executable, "-m", "remote_gpu_trainer.emulator", "--port", "0", "--state", str(state), "--json"]
    command += ["--ssh", boxes, "--speed", "0", "--offers", "96"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield Emulator(json.loads(running.stdout.readline()))
        finally:
            running.terminate()
            running.wait(STARTED_WITHIN_S)


@pytest.fixture
async def emulator(process: Emulator) -> AsyncGenerator[Emulator]:
    await process.quirk("lively-market", False)
    await process.clear()
    yield process
    await process.clear()


@pytest.fixture
async def client(emulator: Emulator) -> AsyncGenerator[VastClient]:
    async with emulator.client() as connected:
        yield connected


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
