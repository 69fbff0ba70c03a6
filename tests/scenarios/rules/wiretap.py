"""What really leaves for the platform: a relay on loopback that keeps every byte of the client."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 64 * 1024


@dataclass
class Wiretap:
    """Where it listens, and what the client has sent."""

    url: str = ""
    sent: bytearray = field(default_factory=bytearray)
    calls: int = 0


@asynccontextmanager
async def wiretap(upstream: str) -> AsyncGenerator[Wiretap]:
    """Relay to another HTTP server until the block ends."""
    tap, target = Wiretap(), urlsplit(upstream)
    lines: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bytearray | None) -> None:
        while piece := await reader.read(PIECE):
            if keep is not None:
                keep += piece
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = asyncio.current_task()
        assert mine is not None
        lines.add(mine)
        tap.calls += 1
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        try:
            await asyncio.gather(carry(reader, far_writer, tap.sent), carry(far_reader, writer, None))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            far_writer.close()
            lines.discard(mine)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    tap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield tap
    finally:
        server.close()
        for line in tuple(lines):
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
