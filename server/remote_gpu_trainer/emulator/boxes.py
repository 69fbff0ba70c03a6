"""The machines behind the contracts: what the emulator asks of a box, and the fleet that runs them in order."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from remote_gpu_trainer.emulator.linefaults import LineFaults


@dataclass(frozen=True)
class BoxOrder:
    """What a box is made from: sizes in bytes and MiB, ``env`` of the container, ``onstart`` for every start.

    ``mounts`` are the folders of its volumes and where they lie in the box.
    """

    instance_id: int
    root: Path
    disk_bytes: int
    env: dict[str, str]
    onstart: str
    gpu_name: str
    num_gpus: int
    gpu_ram_mib: int
    driver_version: str
    cuda_version: str
    hostname: str
    isolation: str = "auto"
    ssh: str = "paramiko"
    mounts: tuple[tuple[Path, str], ...] = ()
    network: str = "shared"


class BoxLike(Protocol):
    """A rented machine: SSH on two ports, processes that die at stop, a disk that stays until destroy."""

    @property
    def direct_port(self) -> int | None:
        """Port of SSH straight to the host, on loopback; None while stopped or without direct SSH."""
        ...

    @property
    def proxy_port(self) -> int | None:
        """Port of SSH through the platform's proxy, on loopback."""
        ...

    @property
    def running(self) -> bool:
        """Whether it is up."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes out of the box over SSH, since it was made."""
        ...

    @property
    def bytes_received(self) -> int:
        """Bytes into the box over SSH, since it was made."""
        ...

    @property
    def disk_used_bytes(self) -> int:
        """Bytes on its disk."""
        ...

    @property
    def isolation_in_force(self) -> str:
        """How it is kept apart from the rest of the system."""
        ...

    @property
    def faults(self) -> Any:
        """Switches for what goes wrong over SSH and on its disk."""
        ...

    @property
    def line_faults(self) -> LineFaults:
        """What goes wrong with single connections over SSH."""
        ...

    async def start(self, direct: bool, authorized_keys: list[str]) -> None:
        """Boot: SSH answers and ``onstart`` runs when this returns."""
        ...

    async def stop(self) -> None:
        """Pull the plug: processes are killed without notice, the disk stays."""
        ...

    async def destroy(self) -> None:
        """Stop and delete the disk."""
        ...

    def set_authorized_keys(self, keys: list[str]) -> None:
        """Replace the public keys that open it."""
        ...

    def container_log(self, tail: int) -> str:
        """The last ``tail`` lines of what the container printed."""
        ...

    def disk_grew(self, count: int) -> None:
        """Somebody beside the box put so many bytes on its disk."""
        ...

    def append_daemon_log(self, line: str) -> None:
        """Add to the host's own log about it."""
        ...

    def daemon_log(self) -> str:
        """The host's own log about it."""
        ...

    def run_command(self, argv: list[str]) -> str:
        """Run ``ls``, ``rm`` or ``du`` against the disk of a stopped box and return what it prints."""
        ...

    def dial(self, port: int) -> socket.socket:
        """A connection to what listens inside on an internal port. Raises OSError."""
        ...


MakeBox = Callable[[BoxOrder], BoxLike]
Done = Callable[[], None]
Failed = Callable[[str], None]


@dataclass
class NullBox:
    """A box without a machine: enough for tests of contracts and money."""

    order: BoxOrder
    direct_port: int | None = None
    proxy_port: int | None = None
    running: bool = False
    bytes_sent: int = 0
    bytes_received: int = 0
    disk_used_bytes: int = 0
    isolation_in_force: str = "none"
    faults: Any = None
    line_faults: LineFaults = field(default_factory=LineFaults)
    keys: list[str] = field(default_factory=list[str])
    log: list[str] = field(default_factory=list[str])
    starts: int = 0

    async def start(self, direct: bool, authorized_keys: list[str]) -> None:
        """Pretend to boot."""
        self.direct_port, self.proxy_port = (40_022 if direct else None), 40_122
        self.running, self.keys, self.starts = True, authorized_keys, self.starts + 1

    async def stop(self) -> None:
        """Pretend to lose power."""
        self.running, self.direct_port, self.proxy_port = False, None, None

    async def destroy(self) -> None:
        """Pretend to be wiped."""
        await self.stop()

    def set_authorized_keys(self, keys: list[str]) -> None:
        """Remember the keys."""
        self.keys = keys

    def container_log(self, tail: int) -> str:
        """Nothing was printed."""
        return ""

    def disk_grew(self, count: int) -> None:
        """Count the bytes."""
        self.disk_used_bytes += count

    def append_daemon_log(self, line: str) -> None:
        """Remember the line."""
        self.log.append(line)

    def daemon_log(self) -> str:
        """The lines remembered."""
        return "\n".join(self.log)

    def run_command(self, argv: list[str]) -> str:
        """Say what would have run."""
        return " ".join(argv) + "\n"

    def dial(self, port: int) -> socket.socket:
        """Take this computer for the inside."""
        return socket.create_connection(("127.0.0.1", port), 5)


class Fleet:
    """All boxes by contract id. Starts and stops of one box happen one after another, in the order asked."""

    def __init__(self, make: MakeBox) -> None:
        self._make = make
        self.boxes: dict[int, BoxLike] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, contract_id: int) -> BoxLike | None:
        """The box of a contract, once it has one."""
        return self.boxes.get(contract_id)

    def place(self, order: BoxOrder) -> BoxLike:
        """The box of a contract, made when it is first asked for."""
        if order.instance_id not in self.boxes:
            self.boxes[order.instance_id] = self._make(order)
        return self.boxes[order.instance_id]

    def start(self, contract_id: int, direct: bool, keys: list[str], done: Done, failed: Failed) -> None:
        """Boot a box in the background, then call ``done``, or ``failed`` with the reason."""

        async def work(box: BoxLike) -> None:
            try:
                if box.running:
                    await box.stop()
                await box.start(direct, keys)
            except (
                Exception
            ) as problem:  # a box that cannot boot is a fact to show in its status, not a crash of the platform
                failed(f"{type(problem).__name__}: {problem}")
            else:
                done()

        self._queue(contract_id, work)

    def stop(self, contract_id: int) -> None:
        """Pull the plug in the background."""

        async def work(box: BoxLike) -> None:
            await box.stop()

        self._queue(contract_id, work)

    def wipe(self, contract_id: int) -> None:
        """Delete a box and its disk in the background. A later :meth:`place` makes a new one."""

        async def work(box: BoxLike) -> None:
            await box.destroy()
            if self.boxes.get(contract_id) is box:
                del self.boxes[contract_id]

        self._queue(contract_id, work)

    def renew(self, order: BoxOrder) -> None:
        """Replace a box by a fresh one with an empty disk, in the background."""

        async def work(box: BoxLike) -> None:
            await box.destroy()
            self.boxes[order.instance_id] = self._make(order)

        self._queue(order.instance_id, work)

    def _queue(self, contract_id: int, work: Callable[[BoxLike], Coroutine[Any, Any, None]]) -> None:
        lock = self._locks.setdefault(contract_id, asyncio.Lock())

        async def run() -> None:
            async with lock:
                box = self.boxes.get(contract_id)
                if box is not None:
                    await work(box)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def background(self, work: Callable[[], None]) -> None:
        """Do something slow with files in a thread; :meth:`settled` waits for it."""
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until nothing is starting or stopping."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Pull the plug of every box; disks stay."""
        await self.settled()
        await asyncio.gather(*(box.stop() for box in self.boxes.values() if box.running), return_exceptions=True)

    def snapshot(self) -> Mapping[int, BoxLike]:
        """All boxes."""
        return dict(self.boxes)
