"""Carrying out a plan over as many connections as it takes, and over as many cuts as are bearable."""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from remote_gpu_trainer.domain.units import Usd
from remote_gpu_trainer.errors import ConnectionCut, HostUnreachable, WaitExpired
from remote_gpu_trainer.ports import Clock, RemoteHost
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.crowd import Crowd
from remote_gpu_trainer.transfer.farpython import python
from remote_gpu_trainer.transfer.landing import full_or_other
from remote_gpu_trainer.transfer.limits import Progress, ProgressSink
from remote_gpu_trainer.transfer.orders import Feed, Orders
from remote_gpu_trainer.transfer.pace import Pace
from remote_gpu_trainer.transfer.receiver import Receiver
from remote_gpu_trainer.transfer.shelf import Shelf
from remote_gpu_trainer.transfer.standby import Standby

HostFactory = Callable[[], Awaitable[RemoteHost]]
CUTS = 6
"""Connections in a row that may end without a single byte of progress."""
LONGEST_PAUSE_S = 20.0
FAR_S = 0.02
"""Round trip in seconds from which one TCP connection may not fill the line."""
UNKNOWN_FROM_S = 0.008
UNKNOWN_RATE = 16e6
"""Bytes for each second that a line of at least that round trip in seconds is taken to carry until its rate is known:
by then much more may be on its way than the rate would have let us ask for plain."""
TWO_FROM = 256 << 20
BULK_FROM = 32 << 20
BULK_ORDERS = 1000
"""Bytes, or files, of one round that are worth a connection of their own."""
REPORT_S = 0.5
BROKEN = (ConnectionCut, HostUnreachable, WaitExpired, EOFError)
"""Ways in which a connection ends; paramiko says EOFError when it tells a dead peer that there is room again."""
T = TypeVar("T")


def far_sender() -> list[str]:
    """The command that sends what it is asked for."""
    program = resources.files("remote_gpu_trainer.transfer").joinpath("far_sender.py").read_text("utf-8")
    return python("-c", program)


class Line:
    """Connections to one machine, opened when needed and again after a cut."""

    def __init__(self, factory: HostFactory, clock: Clock) -> None:
        self._factory, self._clock = factory, clock
        self._spare: list[RemoteHost] = []
        self._lock = anyio.Lock()
        self.fruitless = 0

    async def take(self) -> RemoteHost:
        """An unused connection, a new one when there is none."""
        if self._spare:
            return self._spare.pop()
        async with self._lock:
            return await self._factory()

    def give_back(self, host: RemoteHost) -> None:
        """Keep a working connection for the next use."""
        self._spare.append(host)

    async def use(self, work: Callable[[RemoteHost], Awaitable[T]]) -> T:
        """Do something over a connection, anew after a cut.

        Raises:
            ConnectionCut: six times in a row.
        """
        while True:
            host: RemoteHost | None = None
            try:
                host = await self.take()
                done = await work(host)
            except BROKEN as cut:
                await drop(host)
                await self.pause(cut)
            except BaseException:  # a cancellation too: an answer under way makes the connection useless
                await drop(host)
                raise
            else:
                self.give_back(host)
                return done

    async def pause(self, cut: Exception) -> None:
        """Wait a little longer after every cut without progress; give up after some."""
        self.fruitless += 1
        if self.fruitless >= CUTS:
            raise cut
        await self._clock.sleep(min(LONGEST_PAUSE_S, 0.25 * 2**self.fruitless))

    async def aclose(self) -> None:
        """Close the unused connections."""
        while self._spare:
            await drop(self._spare.pop())


async def drop(host: RemoteHost | None) -> None:
    """Close a connection, whatever happens to the caller."""
    if host is not None:
        with anyio.CancelScope(shield=True):
            await host.close()


class Fetch:
    """Fetches files; its counters go over all rounds of one copy."""

    def __init__(self, line: Line, senders: Standby, shelf: Shelf, clock: Clock, progress: ProgressSink | None) -> None:
        self._line, self._senders = line, senders
        self._shelf, self._clock, self._progress = shelf, clock, progress
        self._began = clock.monotonic()
        self.estimate: Usd | None = None
        """What all that is missing will cost, to be told with the progress."""
        self._reported = -REPORT_S
        self._total = self._files = self._kept = self._kept_files = 0

    @property
    def moved(self) -> int:
        """Bytes of files that came."""
        return self._shelf.counters.bytes

    @property
    def wire(self) -> int:
        """Bytes that crossed the network for them."""
        return self._shelf.counters.wire

    async def run(self, tasks: Crowd, arrived: Callable[[], None] = lambda: None) -> None:
        """Fetch everything that is open in these files. ``arrived`` is called when the machine has sent all that was
        asked of it, while that still goes to the disk; more than once where some of it had to be asked for again.

        Raises:
            ConnectionCut: too many cuts in a row without progress.
            LocalDiskFull: the disk has no room.
            TransferError: the machine's stream is not what was asked for.
        """
        missing, count = tasks.bytes_missing(), tasks.fates.count_open()
        self._total = tasks.total()
        self._files, self._kept_files = len(tasks), len(tasks) - count - self._shelf.counters.files
        self._kept = self._total - missing - self.moved
        self._report(last=True)
        while tasks.fates.count_open():
            await self._round(tasks, await self._connections(missing), arrived)
        self._report(last=True)

    async def _connections(self, missing: int) -> int:
        async def far(host: RemoteHost) -> bool:
            return getattr(host, "round_trip_s", 0.0) >= FAR_S

        return 2 if missing >= TWO_FROM and await self._line.use(far) else 1

    async def _round(self, tasks: Crowd, connections: int, arrived: Callable[[], None]) -> None:
        """Let the connections work off what is missing; a cut of one ends the round once the other is done."""
        cuts: list[Exception] = []
        before = self._shelf.counters.steps
        orders = Orders(order for task in tasks.open_ones() for order in task.orders(chain=connections == 1))
        bulk = tasks.bytes_missing() >= BULK_FROM or tasks.fates.count_open() >= BULK_ORDERS

        async def work() -> None:
            if orders and (cut := await self._one(orders, bulk=bulk)):
                orders.stop()
                cuts.append(cut)

        await crew(work, connections)
        if not cuts:
            arrived()
        await self._in_thread(self._shelf.flush)
        if self._shelf.counters.steps > before:
            self._line.fruitless = 0
        if cuts:
            await self._line.pause(cuts[0])

    async def _one(self, orders: Orders, *, bulk: bool) -> Exception | None:
        feed = Feed(orders)
        receiver = Receiver(feed.given, self._shelf, self._counted(feed), lambda: feed.may_pack)
        host: RemoteHost | None = None
        try:
            host = await self._line.take()
            if getattr(host, "round_trip_s", 0.0) >= UNKNOWN_FROM_S:
                feed.tell(UNKNOWN_RATE)
            async with self._senders.stream(host, feed.lines(), bulk=bulk) as output:
                await output.pump(self._taking(receiver, feed))
            receiver.end()
        except BROKEN as cut:
            await self._in_thread(receiver.abandon)
            await drop(host)
            return cut
        except BaseException:  # a cancellation too: half a file must not stay open
            with anyio.CancelScope(shield=True):
                await self._in_thread(receiver.abandon)
            await drop(host)
            raise
        finally:
            feed.close()
        self._line.give_back(host)
        return None

    def _taking(self, receiver: Receiver, feed: Feed) -> Callable[[memoryview], None]:
        pace = Pace()

        def take(piece: memoryview) -> None:
            if (rate := pace.came(len(piece), self._clock.monotonic())) is not None:
                feed.tell(rate)
            try:
                receiver.feed(piece)
            except OSError as bad:
                raise full_or_other(bad, self._shelf.landing.path) from bad
            pace.done(self._clock.monotonic())
            if self._due():
                anyio.from_thread.run_sync(self._report)

        return take

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await anyio.to_thread.run_sync(work)
        except OSError as bad:
            raise full_or_other(bad, self._shelf.landing.path) from bad

    def _counted(self, feed: Feed) -> Callable[[int, int, bool], None]:
        counters, lock = self._shelf.counters, self._shelf.lock

        def count(size: int, wire: int, answered: bool) -> None:
            if size or wire:
                with lock:
                    counters.bytes += size
                    counters.wire += wire
            feed.came(size, answered=answered)

        return count

    def _due(self) -> bool:
        return self._progress is not None and self._clock.monotonic() - self._reported >= REPORT_S

    def _report(self, *, last: bool = False) -> None:
        if self._progress is None or not (last or self._due()):
            return
        self._reported = now = self._clock.monotonic()
        done = min(self._total, max(0, self._kept + self.moved))
        rate = self.moved / max(now - self._began, 1e-3)
        self._progress(
            Progress(
                bytes_done=done,
                bytes_total=self._total,
                files_done=min(self._files, max(0, self._kept_files + self._shelf.counters.files)),
                files_total=self._files,
                rate=rate,
                eta_s=(self._total - done) / rate if rate else None,
                cost=self.estimate,
            )
        )
