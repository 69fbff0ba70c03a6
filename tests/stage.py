"""The whole program on one stage: an emulated market with real boxes, the real services, and an MCP client."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp.types import TextContent

from remote_gpu_trainer import settings
from remote_gpu_trainer.app import compose
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.emulator.service import Emulator
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools.server import build_server
from tests.unit.emulator.renter import Renter

Json = dict[str, Any]
SPEED = 200.0
"""Market seconds per second: an image is pulled in a moment, and jobs run in real time."""
QUIET = ("lively-market",)
"""Off from the first moment: at this speed a stranger may rent the best offer while a busy computer still starts."""
TINY_JOB = """import json, os
os.makedirs("/workspace/out", exist_ok=True)
with open("/workspace/out/result.json", "w") as file:
    json.dump({"step": 7, "loss": 0.5}, file)
"""


LOOKS_S, BRIEFLY_S = 3.0, 0.05
"""A pause up to ``LOOKS_S`` is one before the next look or try, made for a platform 200 times slower than the stage."""


class ForwardClock(SystemClock):
    """The system's clock, which a test can put forward, and which looks again sooner."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def pass_by(self, time: timedelta) -> None:
        self.ahead += time

    async def sleep(self, seconds: float) -> None:
        # A longer pause stays: what is settled by time counts the real seconds in between.
        await super().sleep(min(seconds, BRIEFLY_S) if seconds <= LOOKS_S else seconds)


@dataclass(frozen=True)
class Stage:
    """What a test may look at: the tools as a model has them, and what is really so in the market."""

    client: Client
    market: Renter
    services: Services
    folder: Path
    clock: ForwardClock

    async def call(self, tool: str, **arguments: Any) -> Json:
        """A call that has to succeed: its structured content."""
        answer = await self.client.call_tool(tool, arguments, read_timeout_seconds=50)
        assert not answer.is_error, "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
        return cast(Json, answer.structured_content)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """A call that has to be refused: the text that the model reads."""
        answer = await self.client.call_tool(tool, arguments, read_timeout_seconds=50)
        assert answer.is_error, f"{tool} went through: {json.dumps(answer.structured_content)}"
        return "\n".join(part.text for part in answer.content if isinstance(part, TextContent))

    async def offer(self, rental: str = "on-demand", **more: Any) -> Json:
        """The best offer that no rule blocks."""
        wanted = {"hours": 1, "disk_gib": 16, "rental": rental, "image": "python:3.11-slim", "max_usd_per_hour": 0.9}
        found = (await self.call("search_offers", **(wanted | more)))["offers"]
        return next(one for one in found if all(row["severity"] != "block" for row in one["findings"]))

    async def rent(self, name: str = "tiny", rental: str = "on-demand", **more: Any) -> tuple[str, int]:
        """Rent the best offer and wait until it runs: the run and its instance."""
        view = await self.create(await self.offer(rental), name=name, rental=rental, **more)
        run, instance_id = view["run"], view["instance_id"]
        assert await self.running(run)
        return run, instance_id

    async def create(self, offer: Json, *, name: str = "tiny", rental: str = "on-demand", **more: Any) -> Json:
        """Rent this offer: the run's row."""
        wanted: Json = {"image": "python:3.11-slim", "hours": 1, "disk_gib": 16, "rental": rental}
        if rental == "interruptible":
            bid = round(float(offer["min_bid_usd_per_hour"]) * 1.1, 4)
            wanted |= {"bid_usd_per_hour": bid, "checkpoint_minutes": 5, "resumes": True}
        wanted["acknowledge"] = [one["id"] for one in offer["findings"] if one["acknowledgeable"]]
        return (await self.call("create_instance", name=name, offer_id=offer["offer_id"], **(wanted | more)))["runs"][0]

    async def running(self, run: str) -> Json:
        """Wait until it runs: the run's row."""
        view = (await self.call("poll_status", target=run, wait_s=30, until="running"))["runs"][0]
        assert view["instance_phase"] == "running", view
        return view

    async def started(self, run: str, program: str = TINY_JOB) -> None:
        """Push a program and start it."""
        source = self.folder / "code"
        source.mkdir(exist_ok=True)
        (source / "train.py").write_text(program, encoding="utf-8")
        await self.call("push_files", target=run, source=str(source))
        await self.call("start_job", target=run, command=["python3", "train.py"], resumes=True)

    async def trained(self, run: str, program: str = TINY_JOB) -> Json:
        """Push a program that takes a moment, start it, and wait for its end: the run's row."""
        await self.started(run, program)
        view = (await self.call("poll_status", target=run, wait_s=30, until="finished"))["runs"][0]
        assert str(view["job"]).startswith("succeeded"), view
        return view

    async def proven(self, name: str = "tiny") -> tuple[str, int, Path]:
        """Rent, train, copy, verify: the run, its instance, and the folder with the results."""
        run, instance_id = await self.rent(name)
        await self.trained(run)
        copy = await self.call("copy_out", target=run)
        proof = await self.call("verify_local", copy_id=copy["copy_id"])
        assert proof["passed"], proof
        return run, instance_id, Path(copy["destination"])

    def there(self, instance_id: int) -> bool:
        """Whether the market still holds the instance."""
        return self.market.look(f"/instances/{instance_id}")["phase"] != "destroyed"


@asynccontextmanager
async def on_stage(
    folder: Path,
    *,
    person: ElicitationFnT | None = None,
    policy: str = "",
    env: dict[str, str] | None = None,
    speed: float = SPEED,
    market: Renter | None = None,
) -> AsyncGenerator[Stage]:
    """Set the stage in a folder; with ``market``, on one that stands already."""
    if market is None:
        with Emulator(folder / "market", speed=speed, without=QUIET) as ready, Renter(ready) as renter:
            async with on_stage(folder, person=person, policy=policy, env=env, market=renter) as stage:
                yield stage
        return
    clock = ForwardClock()
    services = compose(settings.load(environment(folder, market, policy, env)), clock=clock)
    try:
        async with Client(build_server(services), elicitation_callback=person) as client:
            yield Stage(client, market, services, folder, clock)
    finally:
        await services.aclose()


@asynccontextmanager
async def off_stage(home: Path) -> AsyncGenerator[Client]:
    """A client of a server whose platform is never asked."""
    env = {"HOME": str(home), "RGT_HOME": str(home), "VAST_URL": "http://127.0.0.1:9", "VAST_API_KEY": "k" * 64}
    services = compose(settings.load(env))
    try:
        async with Client(build_server(services)) as connected:
            yield connected
    finally:
        await services.aclose()


def environment(folder: Path, market: Renter, policy: str = "", more: dict[str, str] | None = None) -> dict[str, str]:
    """What a server of this folder finds in its environment. A policy is written where the server reads it."""
    home = folder / "home"
    (home / "rgt").mkdir(parents=True, exist_ok=True)
    if policy:
        (home / "rgt" / settings.POLICY_FILE).write_text(policy, encoding="utf-8")
    return {
        "HOME": str(home),
        "RGT_HOME": str(home / "rgt"),
        "VAST_URL": market.ready.url,
        "VAST_API_KEY": market.ready.api_key,
        **(more or {}),
    }
