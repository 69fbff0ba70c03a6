"""The output of a command as it comes: piece by piece for the event loop, or all of it on one thread."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

import anyio
import anyio.to_thread

from remote_gpu_trainer.errors import ConnectionCut

STALL_S = 60.0
"""A stream on which nothing arrives for this long is taken for cut."""


class Source(Protocol):
    """Where pieces come from; used by one thread at a time."""

    def read(self, silence_s: float) -> memoryview | None:
        """The next piece, valid until the next is asked for; empty at the end, None after so much silence."""
        ...

    def stop(self) -> None:
        """Make a read that is under way return. Safe to repeat."""
        ...


class Output:
    """A ByteStream over a source. Once one way of reading was begun the other gives nothing more."""

    def __init__(self, source: Source, where: str) -> None:
        self._source, self._where = source, where
        self.pieces: AsyncGenerator[bytes] = self._each()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.pieces

    async def pump(self, take: Callable[[memoryview], None]) -> None:
        """Give all of it to ``take``, on one thread; each piece is valid during its call only.

        Raises:
            ConnectionCut: nothing came for 60 s. What ``take`` raises passes through.
        """
        failed: Exception | None = None
        over = threading.Event()

        def work() -> None:
            while not over.is_set() and (piece := self._next()):
                take(piece)

        async def watch() -> None:
            try:
                await anyio.sleep_forever()
            finally:  # a cancel, or the end: after an end there is nothing left to stop
                over.set()
                if not finished:
                    self._source.stop()

        finished = False
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                await anyio.to_thread.run_sync(work)  # waited for even when cancelled: it writes to files
            except Exception as bad:  # out of the group, which would wrap it
                failed = bad
            finished = True
            group.cancel_scope.cancel()
        if failed is not None:
            raise failed

    def _next(self) -> memoryview:
        piece = self._source.read(STALL_S)
        if piece is None:
            raise ConnectionCut(f"nothing came from {self._where} for {STALL_S:g} s")
        return piece

    async def _each(self) -> AsyncGenerator[bytes]:
        while data := await anyio.to_thread.run_sync(self._copy, abandon_on_cancel=True):
            yield data

    def _copy(self) -> bytes:
        return bytes(self._next())
