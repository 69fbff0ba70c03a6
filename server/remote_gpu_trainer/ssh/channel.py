"""Reading and feeding one paramiko channel from threads."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from remote_gpu_trainer.errors import ConnectionCut

GRAB = 4 << 20
"""Taken out of the channel's buffer at once: what stays behind is moved in memory each time."""
LINGER_S = 0.005
POLL_S = 0.25


class ChannelReader:
    """Hands over a channel's output in pieces of about the size that was asked for."""

    def __init__(self, channel: Any, where: str, chunk: int) -> None:
        self._channel, self._where, self._chunk = channel, where, chunk
        self.ended = False
        """Whether the far side closed the output."""

    def read(self, silence_s: float) -> memoryview | None:
        """The next bytes: at most 4 MiB, none at the end, None when nothing came for ``silence_s`` seconds.

        After the first bytes it waits a few milliseconds at a time for more, until a chunk is there: a thread is
        woken once for a megabyte then, not once for a packet.

        Raises:
            ConnectionCut: the connection broke in a way that paramiko does not tell as an end.
        """
        import paramiko

        try:
            data = self._read(self._chunk, silence_s)
        except (paramiko.SSHException, EOFError) as bad:
            raise ConnectionCut(f"the connection to {self._where} broke ({type(bad).__name__})") from bad
        self.ended = data == b""
        return None if data is None else memoryview(data)

    def stop(self) -> None:
        """Close the channel: a read that is under way returns. Safe to repeat."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.close()

    def _read(self, chunk: int, silence_s: float) -> bytes | None:
        grab = max(chunk, GRAB)
        data = self._first(grab, silence_s)
        if not data or len(data) >= chunk:
            return data
        parts, size = [data], len(data)
        self._channel.settimeout(LINGER_S)
        with contextlib.suppress(TimeoutError):
            while size < chunk and (data := self._channel.recv(grab)):
                parts.append(data)
                size += len(data)
        return b"".join(parts)

    def _first(self, grab: int, silence_s: float) -> bytes | None:
        until = time.monotonic() + silence_s
        self._channel.settimeout(POLL_S)
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                return self._channel.recv(grab)
        return None


class Drain(threading.Thread):
    """Reads an output to its end on a thread of its own and keeps the first bytes of it."""

    def __init__(self, recv: Callable[[int], bytes], limit: int) -> None:
        super().__init__(name="ssh-stderr", daemon=True)
        self._recv, self._limit = recv, limit
        self.kept = bytearray()
        self.dropped = False
        self.start()

    def run(self) -> None:
        """Read until the end."""
        while True:
            try:
                data = self._recv(1 << 16)
            except TimeoutError:
                continue
            except (OSError, EOFError):
                return
            if not data:
                return
            self.dropped = self.dropped or len(self.kept) + len(data) > self._limit
            self.kept += data[: self._limit - len(self.kept)]

    def wait(self) -> None:
        """Return once the end was reached."""
        self.join()


def send_all(channel: Any, content: Iterable[bytes]) -> None:
    """Feed a channel and close its input; a far side that stops listening shows in its exit status."""
    with contextlib.suppress(OSError, EOFError):
        for piece in content:
            view = memoryview(piece)
            while view:
                try:
                    view = view[channel.send(view[: 1 << 20]) :]
                except TimeoutError:
                    continue
        channel.shutdown_write()
