"""A command's output through a process of its own: the system's ``ssh``."""

import contextlib
import fcntl
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from typing import IO

PIPE_BYTES = 1 << 20
"""What the kernel holds of the output while an earlier piece is hashed and written."""
WAIT_MS = 250
LINGER_MS = 5
GATHER_S = 0.0001
"""Let the pipe fill: a read for each packet of ``ssh`` would cost more than the bytes. A tenth of a millisecond and a
quarter of a piece: with ten times that, and half of one, 1 GiB without a link took 3.3 s in place of 2.6."""
MOST_STDERR = 1 << 14
END_S = 10.0
"""Seconds that a process has left to end once its output has."""


class PipedCommand:
    """A running process, fed with all of its input on a thread of its own.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], stdin: Iterable[bytes], chunk: int) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101  # all are pipes
        _widen(self._process.stdout)
        self._output = self._process.stdout
        self._ready = select.poll()
        self._ready.register(self._output, select.POLLIN)
        self._held = bytearray(chunk)
        self._over = threading.Event()
        self._errors = bytearray()
        self.ended = False
        """Whether its output was read to the end."""
        feeding = threading.Thread(target=_feed, args=(self._process.stdin, stdin), name="ssh-stdin", daemon=True)
        self._listening = threading.Thread(
            target=self._listen, args=(self._process.stderr,), name="ssh-stderr", daemon=True
        )
        for thread in (feeding, self._listening):
            thread.start()

    def read(self, silence_s: float) -> memoryview | None:
        """The next piece, an empty one at the end, None when nothing came for ``silence_s`` seconds. Blocking.

        A piece is valid until the next is asked for.
        """
        until = time.monotonic() + silence_s
        while not self._over.is_set():
            if self._ready.poll(WAIT_MS):
                size = self._fill()
                self.ended = not size
                return memoryview(self._held)[:size]
            if time.monotonic() >= until:
                return None
        return memoryview(b"")

    def end(self) -> tuple[int, str]:
        """The exit status, and what it said on its error output. Blocking, for a moment."""
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.stop()
            status = self._process.wait()
        self._listening.join(END_S)
        return status, self._errors.decode("utf-8", "replace")

    def stop(self) -> None:
        """End it; a read that is under way returns. Safe to repeat."""
        self._over.set()
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it and let go of its output, which nobody reads any more. Safe to repeat."""
        self.stop()
        self._output.close()

    def _fill(self) -> int:
        """Read until a quarter of the piece is there, or nothing came for a few milliseconds; 0 at the end."""
        view, size = memoryview(self._held), 0
        while got := os.readv(self._output.fileno(), [view[size:]]):
            size += got
            if size >= len(view) // 4 or not self._ready.poll(LINGER_MS):
                break
            time.sleep(GATHER_S)
        return size

    def _listen(self, errors: IO[bytes]) -> None:
        with errors:
            while data := os.read(errors.fileno(), 1 << 12):
                self._errors += data[: MOST_STDERR - len(self._errors)]


def _feed(pipe: IO[bytes], content: Iterable[bytes]) -> None:
    with contextlib.suppress(OSError):  # a far side that stops listening shows in the exit status
        for piece in content:
            pipe.write(piece)
            pipe.flush()
    with contextlib.suppress(OSError):
        pipe.close()


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold a megabyte, where the system can: fewer and larger reads."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
