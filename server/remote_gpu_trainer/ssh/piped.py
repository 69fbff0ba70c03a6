"""A command's output through a process of its own: the system's ``ssh``, read ahead by a thread."""

import contextlib
import fcntl
import os
import queue
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO

PIPE_BYTES = 1 << 20
LINGER_MS = 5
AHEAD = 2
"""Pieces that wait while an earlier one is hashed and written."""
MOST_STDERR = 1 << 14
END_S = 10.0
"""Seconds that a process has left to end once its output has."""


class PipedCommand:
    """A running process, fed with all of its input and read in pieces of about ``chunk`` bytes.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], stdin: bytes, chunk: int) -> None:
        self._chunk = chunk
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101  # all are pipes
        _widen(self._process.stdout)
        self._pieces: queue.Queue[bytes] = queue.Queue(AHEAD)
        self._over = threading.Event()
        self._errors = bytearray()
        self.ended = False
        """Whether its output was read to the end."""
        threads = [
            threading.Thread(target=_feed, args=(self._process.stdin, stdin), name="ssh-stdin", daemon=True),
            threading.Thread(target=self._read_all, args=(self._process.stdout,), name="ssh-ahead", daemon=True),
        ]
        self._listening = threading.Thread(
            target=self._listen, args=(self._process.stderr,), name="ssh-stderr", daemon=True
        )
        for thread in (*threads, self._listening):
            thread.start()

    def read(self, chunk: int, silence_s: float) -> bytes | None:
        """The next piece, ``b""`` at the end, None when nothing came for ``silence_s`` seconds. Blocking."""
        until = time.monotonic() + silence_s
        while time.monotonic() < until and not self._over.is_set():
            with contextlib.suppress(queue.Empty):
                piece = self._pieces.get(timeout=0.25)
                self.ended = not piece
                return piece
        return b"" if self._over.is_set() else None

    def end(self) -> tuple[int, str]:
        """The exit status, and what it said on its error output. Blocking, for a moment."""
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.close()
            status = self._process.wait()
        self._listening.join(END_S)
        return status, self._errors.decode("utf-8", "replace")

    def close(self) -> None:
        """End it. Safe to repeat."""
        self._over.set()
        self._process.kill()
        self._process.wait()

    def _read_all(self, output: IO[bytes]) -> None:
        with output:
            held = bytearray(self._chunk)
            while not self._over.is_set():
                size = _fill(output.fileno(), held)
                if not self._hand_over(bytes(memoryview(held)[:size])) or not size:
                    return

    def _hand_over(self, piece: bytes) -> bool:
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=0.25)
                return True
        return False

    def _listen(self, errors: IO[bytes]) -> None:
        with errors:
            while data := os.read(errors.fileno(), 1 << 12):
                self._errors += data[: MOST_STDERR - len(self._errors)]


def _fill(fd: int, held: bytearray) -> int:
    """Read until the piece is full, or nothing came for a few milliseconds; 0 at the end."""
    view, size = memoryview(held), 0
    while size < len(held):
        if size:
            waiting = select.poll()
            waiting.register(fd, select.POLLIN)
            if not waiting.poll(LINGER_MS):
                break
        got = os.readv(fd, [view[size:]])
        if not got:
            break
        size += got
    return size


def _feed(pipe: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError):  # a far side that stops listening shows in the exit status
        pipe.write(content)
    with contextlib.suppress(OSError):
        pipe.close()


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold a megabyte, where the system can: fewer and larger reads."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
