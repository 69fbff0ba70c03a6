"""Far commands that are started before it is known what they will be asked: over a long way the start takes longest."""

import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from remote_gpu_trainer.ports import ByteStream, RemoteHost


class _Waiting:
    """One such command. Its input is drawn on a thread of its own."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._input: Iterator[bytes] = iter(())
        self.held = AsyncExitStack()
        self.output: ByteStream | None = None

    def lines(self) -> Iterator[bytes]:
        """Its input, once that is known."""
        self._ready.wait()
        yield from self._input

    def go_on(self, lines: Iterator[bytes]) -> None:
        """Give it its input; once it has some, nothing more."""
        if not self._ready.is_set():
            self._input = lines
            self._ready.set()


class Standby:
    """One command for each connection that waits for its input."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._waiting: dict[RemoteHost, _Waiting] = {}

    async def start(self, host: RemoteHost, *, bulk: bool = False) -> None:
        """Start the command over a connection, or with ``bulk`` over one of its own, as ``host.stream`` has it.

        Raises:
            ConnectionCut: the connection takes no command.
        """
        waiting = _Waiting()
        try:
            waiting.output = await waiting.held.enter_async_context(
                host.stream(self._command, stdin=waiting.lines(), bulk=bulk)
            )
        except BaseException:  # whatever ended it, a cancel too: the thread that feeds it must not wait for ever
            waiting.go_on(iter(()))
            raise
        self._waiting[host] = waiting

    @asynccontextmanager
    async def stream(self, host: RemoteHost, stdin: Iterator[bytes], *, bulk: bool) -> AsyncGenerator[ByteStream]:
        """As ``host.stream`` of the command, which goes on with the one that waits there, if one does."""
        waiting = self._waiting.pop(host, None)
        if waiting is None or waiting.output is None:
            async with host.stream(self._command, stdin=stdin, bulk=bulk) as output:
                yield output
            return
        waiting.go_on(stdin)
        async with waiting.held:
            yield waiting.output

    async def aclose(self) -> None:
        """End what still waits."""
        while self._waiting:
            _, waiting = self._waiting.popitem()
            waiting.go_on(iter(()))
            await waiting.held.aclose()
