"""A real HTTP server on loopback that answers from a script, and a clock that does not wait."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.pacing import Pacing
from remote_gpu_trainer.vastai.retry import RetryPolicy

KEY = "Vast-Key-that-nobody-may-see-5Qw7"


class JumpClock:
    """Sleeping moves the clock at once and is remembered."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 8, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += seconds
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Reply:
    """One answer. ``drop`` closes the connection: before any byte, or after half of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    drop: str = ""


def ok(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), {k.replace("_", "-"): v for k, v in headers.items()})


def text(body: str, status: int, **headers: str) -> Reply:
    return Reply(
        status, body.encode(), {k.replace("_", "-"): v for k, v in headers.items()} | {"content-type": "text/plain"}
    )


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


Answerer = Callable[[Seen], Reply]


class Server:
    """Gives its replies in order, the last one again and again; or asks a function."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.replies: list[Reply] = [ok({})]
        self.answerer: Answerer | None = None
        self.url = ""

    def script(self, *replies: Reply) -> None:
        self.replies, self.answerer = list(replies), None
        self.seen.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append(Seen(method, target, headers, raw, id(writer)))
        reply = self.answerer(self.seen[-1]) if self.answerer else self._next()
        if reply.drop == "before":
            return False
        fields = {"content-type": "application/json", "content-length": str(len(reply.body))} | reply.headers
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in fields.items())]
        body = reply.body[: len(reply.body) // 2] if reply.drop == "half" else reply.body
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        return reply.drop == ""

    def _next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextlib.asynccontextmanager
async def serving() -> AsyncGenerator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


@contextlib.asynccontextmanager
async def connected(
    *, retry: RetryPolicy | None = None, pacing: Pacing | None = None
) -> AsyncGenerator[tuple[Server, VastClient, JumpClock]]:
    """A scripted server, a client of it, and the clock of that client."""
    clock = JumpClock()
    async with serving() as server:
        client = VastClient(server.url, KEY, clock=clock, retry=retry, pacing=pacing)
        try:
            yield server, client, clock
        finally:
            await client.aclose()
