"""Published ports: an internal port such as ``8080/tcp`` answers on a random external one, while its instance runs."""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any

from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.world import World

PORTS_MOST = 64
IDENTITY_FROM = 70_000
"""An internal port above it asks for the same number inside and outside (docs 2026-08)."""
CHUNK = 65_536


def wanted(contract: Contract) -> list[str]:
    """The internal ports that a create call publishes, such as ``8080/tcp``; port 22 has its own way."""
    found: list[str] = []
    for key, _ in contract.env:
        if key.startswith("-p "):
            inner, _, kind = key[3:].split(":")[-1].partition("/")
            if inner.isdigit() and 0 < int(inner) <= 2 * IDENTITY_FROM and inner != "22":
                found.append(f"{inner}/{kind or 'tcp'}")
    return found[: PORTS_MOST - 1]


class Publisher:
    """Keeps the external ports of all contracts. Needs a running event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held: dict[int, list[socket.socket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, contract: Contract) -> None:
        """Take an external port for each internal one, before the box is made: it is told in ``VAST_TCP_PORT_*``."""
        if self._world.machine_of(contract).direct_port_count < 1:
            return
        outer: dict[str, int] = {}
        for name in wanted(contract):
            inner, _, kind = name.partition("/")
            listener = socket.create_server(("127.0.0.1", 0))
            outer[name] = listener.getsockname()[1]
            if kind == "tcp" and int(inner) < IDENTITY_FROM:
                self._held.setdefault(contract.id, []).append(listener)
                listener.setblocking(False)
                self._go(self._serve(contract, listener, int(inner)))
            else:
                listener.close()  # UDP is only named; an identity port is for the box itself to open
        self._world.port_maps[contract.id] = outer

    def withdraw(self, contract_id: int) -> None:
        """Give a contract's external ports back."""
        self._world.port_maps.pop(contract_id, None)
        loop = asyncio.get_running_loop()
        for listener in self._held.pop(contract_id, []):
            # Before the close: a pending accept would otherwise unregister whoever gets this descriptor's number next.
            loop.remove_reader(listener.fileno())
            listener.close()

    async def close(self) -> None:
        """Give all ports back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for contract_id in list(self._held):
            self.withdraw(contract_id)

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, contract: Contract, listener: socket.socket, inner: int) -> None:
        loop = asyncio.get_running_loop()
        while listener.fileno() >= 0:
            client, _ = await loop.sock_accept(listener)
            self._go(self._forward(contract, client, inner))

    async def _forward(self, contract: Contract, client: socket.socket, inner: int) -> None:
        """Join a client with the service in the box; the connection is refused while the box is down."""
        box = self._world.fleet.get(contract.id)
        if contract.phase is not Phase.RUNNING or box is None:
            client.close()
            return
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            there, back = await asyncio.open_connection(sock=await asyncio.to_thread(box.dial, inner))
        except OSError:
            writer.close()
            return
        received, sent = await asyncio.gather(_pour(reader, back), _pour(there, writer))
        self._world.bytes_passed(contract.id, sent, received)


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> int:
    count = 0
    with contextlib.suppress(OSError):  # either side may leave in the middle
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
            count += len(data)
    target.close()
    return count
