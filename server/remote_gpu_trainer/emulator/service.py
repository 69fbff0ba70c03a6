"""One emulator as a running service: in this process's event loop, or in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from types import TracebackType
from typing import TYPE_CHECKING

from remote_gpu_trainer.emulator.book import LEAST_OFFERS
from remote_gpu_trainer.emulator.boxes import BoxLike, BoxOrder, MakeBox, NullBox
from remote_gpu_trainer.emulator.contracts import Phase
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.http.app import make_app
from remote_gpu_trainer.emulator.http.control import PREFIX
from remote_gpu_trainer.emulator.server import LOOPBACK, Connections, listen, make_server
from remote_gpu_trainer.emulator.world import Setup, World

if TYPE_CHECKING:
    from remote_gpu_trainer.emulator.box import MachineRsync

START_MOST_S = 30.0


@dataclass(frozen=True)
class Ready:
    """Where an emulator answers, and with which secrets."""

    url: str
    api_key: str
    account_id: int
    control_url: str
    control_token: str
    isolation: str = "no boxes"
    """How boxes are kept from the rest of the system, in one sentence."""

    def to_json(self) -> dict[str, str | int]:
        """All fields as JSON values."""
        return asdict(self)


def boxes_for(ssh: str) -> MakeBox:
    """A maker of boxes: ``paramiko`` or ``openssh`` for real ones, ``none`` for contracts without a machine."""
    if ssh == "none":
        return NullBox
    from remote_gpu_trainer.emulator.box import Box, BoxSpec  # paramiko takes 0.4 s: only for real boxes

    def make(order: BoxOrder) -> BoxLike:
        return Box(BoxSpec(**vars(order)))

    return make


async def run(setup: Setup, port: int, ready: Callable[[Ready], None], stop: asyncio.Event | None = None) -> None:
    """Serve until a signal comes or ``stop`` is set; calls ``ready`` once it answers.

    Raises OSError when the port is taken.
    """
    world = World(setup, boxes_for(setup.ssh))
    engine, connections = Engine(world), Connections()
    rsync = await _machine_ssh(world) if setup.ssh != "none" else None
    listener = listen(port)
    world.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    server = make_server(make_app(engine, connections), connections)
    engine.wake()
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn has a flag and no event for it
        await asyncio.sleep(0.002)
    key = next(k.key for k in world.account.keys if not k.deleted)
    walls = await asyncio.to_thread(_walls, setup)
    ready(Ready(world.url, key, world.account.id, world.url + PREFIX, world.control_token, walls))
    try:
        if stop is not None:
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = server.force_exit = True
            waiting.cancel()
        await serving
    finally:
        if rsync is not None:
            await rsync.stop()
        await engine.close()


def _walls(setup: Setup) -> str:
    if setup.ssh == "none":
        return "no boxes"
    from remote_gpu_trainer.emulator.box.isolation import prospect  # with the boxes: paramiko takes 0.4 s

    return prospect(setup.isolation, setup.network)


async def _machine_ssh(world: World) -> "MachineRsync | None":
    """The machine-level rsync over all disks of the account; None where rsync is not installed."""
    from remote_gpu_trainer.emulator.box import BoxError, MachineRsync  # with the boxes: paramiko takes 0.4 s

    loop = asyncio.get_running_loop()

    def disks() -> dict[int, Path]:
        hide_stopped = world.quirks.on("stopped-copy-fails")
        shown = [c for c in world.live if c.phase is Phase.RUNNING or not (hide_stopped or c.phase is Phase.OFFLINE)]
        return {c.id: world.box_order(c).root for c in shown}

    def keys() -> list[str]:
        return [key["public_key"] for key in world.account.live_ssh_keys]

    def moved(contract_id: int, sent: int, received: int) -> None:
        loop.call_soon_threadsafe(world.bytes_passed, contract_id, sent, received)

    rsync = MachineRsync(world.setup.folder / "machine", disks, keys, moved)
    try:
        await rsync.start()
    except BoxError as missing:
        world.note(str(missing))
        return None
    world.machine_ssh_port = rsync.port or 0
    return rsync


class Emulator:
    """An emulator in a thread, for tests and programs: ``with Emulator(folder) as ready: ...``.

    ``speed`` 0 lets time stand still but for the control surface; ``ssh`` is ``paramiko``, ``openssh`` or ``none``;
    ``network`` is ``shared`` or ``own``; ``without`` names the quirks that are off from the first moment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 7,
        speed: float = 60.0,
        ssh: str = "paramiko",
        isolation: str = "auto",
        network: str = "shared",
        offers: int = LEAST_OFFERS,
        without: tuple[str, ...] = (),
    ) -> None:
        self._setup = Setup(folder, seed, speed, time(), ssh, isolation, network, offers, without)
        self._thread = threading.Thread(target=self._serve, name="vast-emulator", daemon=True)
        self._started = threading.Event()
        self._ready: Ready | None = None
        self._problem: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Ready:
        """Start. Raises whatever kept it from starting."""
        self._thread.start()
        if not self._started.wait(START_MOST_S) or self._ready is None:
            raise RuntimeError("the emulator did not start") from self._problem
        return self._ready

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until every box is down."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_MOST_S)

    def _serve(self) -> None:
        def ready(found: Ready) -> None:
            self._ready = found
            self._started.set()

        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await run(self._setup, 0, ready, self._stop)

        try:
            asyncio.run(main())
        except BaseException as problem:  # handed to the thread that waits for the start
            self._problem = problem
        finally:
            self._started.set()
