"""A command that is started beforehand and gets its input when the word is given."""

import threading
from collections.abc import Iterator

import anyio


class Cue:
    """A word that is given once. Made in the event loop; what waits for it may be a task or a thread."""

    def __init__(self) -> None:
        self._thread, self._task = threading.Event(), anyio.Event()
        self._go = False

    def give(self) -> None:
        """Let the input go out; nothing once it was withheld."""
        self._go = self._go or not self._thread.is_set()
        self.withhold()

    def withhold(self) -> None:
        """End the waiting without it; nothing once it was given."""
        self._thread.set()
        self._task.set()

    @property
    def given(self) -> bool:
        """Whether it was given."""
        return self._go

    async def wait(self) -> None:
        """Return once it was given or withheld."""
        await self._task.wait()

    def pieces(self, content: bytes) -> Iterator[bytes]:
        """The input, once the word is given; for a thread of its own."""
        self._thread.wait()
        if self._go:
            yield content
