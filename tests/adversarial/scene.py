"""One rented instance whose results are proven, and every door at which someone without a right to may knock."""

import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp.types import TextContent

from remote_gpu_trainer import settings
from remote_gpu_trainer.app import compose, journal_file
from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools.server import build_server
from tests.stage import environment
from tests.unit.emulator.renter import Renter

ERAS = {"2025-11-25": "legacy", "2026-07-28": "2026-07-28"}
"""Both eras of the protocol: with a handshake, and without a session."""

POLICY = "max_instances = 9\nmax_usd_per_day = 1000.0\nmax_usd_per_hour = 5.0\n"
APPROVAL = re.compile(r"(?:rgt approve |approval_id=)(ap-[a-z2-7]{8})")
TOKEN = re.compile(r"(?:[0-9A-Z]{4}-){6}[0-9A-Z]{4}")
NOT_DESTROYED = "The instance was not destroyed."


class MovedClock(SystemClock):
    """The computer's clock, as somebody sets it. What runs inside a process goes on at its own pace."""

    def __init__(self) -> None:
        self.by = timedelta()

    def now(self) -> datetime:
        return super().now() + self.by


class HastyClock(MovedClock):
    """Waits hardly at all, so that what is repeated with patience ends soon."""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(min(seconds, 0.01))


@dataclass
class Door:
    """One connection to one server."""

    client: Client
    services: Services
    run: str
    asked: set[str] = field(default_factory=set[str])

    async def destroy(self, **more: Any) -> str:
        """A call of ``destroy``: the refusal, word for word. Going through fails the test."""
        answer = await self.client.call_tool("destroy", {"target": self.run, **more}, read_timeout_seconds=50)
        assert answer.is_error, f"destroy went through: {answer.structured_content}"
        return "\n".join(part.text for part in answer.content if isinstance(part, TextContent))

    async def ask(self) -> ApprovalRequest:
        """A fresh question, where the client cannot be asked."""
        for _ in range(2):
            told = await self.destroy()
            found = APPROVAL.search(told)
            assert found is not None, told
            request = self.services.approvals.get(ApprovalId(found[1]))
            assert request is not None
            if request.state is ApprovalState.OPEN and request.id not in self.asked:
                self.asked.add(request.id)
                return request
            # While nothing changes the same question stands, also when an earlier attempt had it answered.
            self.services.approvals.void(request.id, "an earlier attempt is over")
        raise AssertionError("no fresh question was opened")


@dataclass
class Scene:
    """The machine, the journal's folder, and the run whose results are proven."""

    market: Renter
    folder: Path
    run: str
    instance_id: int
    copy: Path
    policy: str = POLICY

    def there(self) -> bool:
        """Whether the market still holds the instance."""
        return self.market.look(f"/instances/{self.instance_id}")["phase"] != "destroyed"

    async def withstands(self, era: str, attempt: "Attempt", reason: str) -> None:
        """An attempt through a new connection is refused for that reason, and the machine lives on."""
        async with self.door(era) as door:
            told = await attempt(self, door)

        assert reason in told, told
        assert NOT_DESTROYED in told, told
        assert self.there()

    @property
    def lease(self) -> LeaseId:
        return LeaseId(self.run)

    @property
    def journal(self) -> Path:
        return journal_file(self.folder / "home" / "rgt")

    @asynccontextmanager
    async def door(
        self,
        era: str,
        *,
        person: ElicitationFnT | None = None,
        clock: SystemClock | None = None,
        policy: str = "",
    ) -> AsyncGenerator[Door]:
        """A server of its own on the same journal, as after a restart, and a client of that era."""
        env = environment(self.folder, self.market, self.policy + policy)
        services = compose(settings.load(env), clock=clock)
        try:
            async with Client(build_server(services), mode=ERAS[era], elicitation_callback=person) as client:
                yield Door(client, services, self.run)
        finally:
            await services.aclose()

    def mint(self, request: ApprovalRequest, *, clock: SystemClock | None = None) -> str:
        """The person's yes, in a process of their own."""
        with SqliteApprovalBook(self.journal, clock=clock or SystemClock()) as book:
            return book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)

    def intrude(self, statement: str, *values: str | int | bytes | None) -> None:
        """What an intruder with the journal's file does to it: the guards away, the change, the guards back."""
        database = sqlite3.connect(self.journal, timeout=10, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            guards = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in guards:
                database.execute(f"DROP TRIGGER {name}")
            database.execute(statement, values)
            for _, sql in guards:
                database.execute(sql)
            database.execute("COMMIT")
        finally:
            database.close()

    def read(self, statement: str, *values: str) -> tuple[Any, ...]:
        """One row of the journal."""
        database = sqlite3.connect(self.journal, timeout=10)
        try:
            return database.execute(statement, values).fetchone()
        finally:
            database.close()


Attempt = Callable[[Scene, Door], Awaitable[str]]
"""What is tried at a door of the scene: the refusal, word for word."""
