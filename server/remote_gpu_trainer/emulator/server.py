"""An HTTP server on loopback that can also break off a connection, as networks do."""

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK = "127.0.0.1"
TICK_S = 0.02


class Dropped(Exception):
    """The connection was closed on purpose; there is nothing to answer."""


class Connections:
    """The open connections of a server by the client's address."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}

    def opened(self, transport: asyncio.Transport) -> None:
        """Remember a connection."""
        self._open[transport.get_extra_info("peername")] = transport

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget it."""
        self._open.pop(transport.get_extra_info("peername"), None)

    def drop(self, request: Request) -> None:
        """Break off the connection of a request, without an answer."""
        if request.client and (transport := self._open.get((request.client.host, request.client.port))):
            transport.abort()

    def drop_after(self, request: Request, body_bytes: int) -> None:
        """Mark a request so that :class:`Cutter` lets only so many bytes of its body out."""
        request.scope["rgt.cut"] = body_bytes


class Cutter:
    """ASGI wrapper: plays dropped and truncated answers."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""

        async def cut(message: Any) -> None:
            most = scope.get("rgt.cut")
            if most is not None and message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": message["body"][:most], "more_body": True})
                await asyncio.sleep(0.05)
                self._connections.drop(Request(scope))
                raise Dropped
            await send(message)

        try:
            await self._app(scope, receive, cut)
        except Dropped:
            while (await receive())["type"] != "http.disconnect":
                pass


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """A listening socket on loopback. Raises ValueError for any other address."""
    if host not in (LOOPBACK, "localhost"):
        raise ValueError(
            f"the emulator serves loopback only, not {host}: its boxes run commands for whoever holds the key"
        )
    # asyncio sets TCP_NODELAY only where the protocol is named: without it every answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(512)
    return listener


class Server(uvicorn.Server):
    """uvicorn with a shorter tick, so that it starts and stops in milliseconds."""

    async def main_loop(self) -> None:
        """Tick until told to leave."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            await asyncio.sleep(TICK_S)


def make_server(app: ASGIApp, connections: Connections) -> Server:
    """A uvicorn server for ``app`` that logs nothing but errors."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            connections.opened(transport)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.closed(self.transport)
            super().connection_lost(exc)

    config = uvicorn.Config(
        Cutter(app, connections),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    return Server(config)
