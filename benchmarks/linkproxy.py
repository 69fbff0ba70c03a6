"""A TCP proxy on loopback that gives a connection a round trip and a rate. Runs as a process of its own.

Run: ``python benchmarks/linkproxy.py PORT ROUND_TRIP_S BYTES_PER_S [CUT ...] [--window BYTES]``; it prints the port
that it listens on. With a window each connection has at most so many bytes on their way in either direction and not yet
acknowledged, as TCP's own buffers have it; without one only the link holds it back. With cuts every connection is
dropped whenever so many more bytes came back from the far side. On SIGTERM it prints how many came back in all.
"""

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque

GRAB = 256 << 10
QUEUE_S = 0.05
"""How much a full link queues before its sender is held back."""


class Direction:
    """One way of the link; all connections share its rate."""

    def __init__(self, delay_s: float, rate: float) -> None:
        self._delay_s, self._rate = delay_s, rate
        self._free = 0.0
        self._lock = threading.Lock()

    def due(self, size: int) -> float:
        """When so many bytes have arrived; waits while the link's queue is full."""
        with self._lock:
            now = time.monotonic()
            self._free = max(now, self._free) + size / self._rate
            ahead = self._free - now
            arrives = self._free + self._delay_s
        if ahead > QUEUE_S:
            time.sleep(ahead - QUEUE_S)
        return arrives


class Cuts:
    """When to drop everything: after so many bytes, again and again until the list ends."""

    def __init__(self, after: list[int]) -> None:
        self._after, self._passed = after, 0
        self.total = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def hold(self, *ends: socket.socket) -> None:
        """Know the ends of a connection."""
        with self._lock:
            self._open.update(ends)

    def passed(self, size: int) -> None:
        """Count bytes from the far side, and cut when it is time."""
        with self._lock:
            self._passed += size
            self.total += size
            if not self._after or self._passed < self._after[0]:
                return
            self._passed -= self._after.pop(0)
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()


class Window:
    """What one connection has on its way in one direction: a byte counts until word of it came back."""

    def __init__(self, most: int, delay_s: float) -> None:
        self._most, self._delay_s = most, delay_s
        self._unheard: deque[tuple[float, int]] = deque()
        self._size = 0

    def room(self) -> int:
        """How many bytes may leave now; waits until some may."""
        while True:
            now = time.monotonic()
            while self._unheard and self._unheard[0][0] <= now:
                self._size -= self._unheard.popleft()[1]
            if self._size < self._most:
                return min(GRAB, self._most - self._size)
            time.sleep(max(0.0, self._unheard[0][0] - now))

    def left(self, size: int, arrives: float) -> None:
        """Note bytes that left, and when they arrive."""
        self._unheard.append((arrives + self._delay_s, size))
        self._size += size


def carry(
    source: socket.socket,
    target: socket.socket,
    way: Direction,
    cuts: Cuts | None = None,
    window: Window | None = None,
) -> None:
    """Move one connection's bytes one way until it ends."""
    under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = under_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
                if cuts is not None:
                    cuts.passed(len(data))

    threading.Thread(target=deliver, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(GRAB if window is None else window.room()):
            due = way.due(len(data))
            if window is not None:
                window.left(len(data), due)
            under_way.put((due, data))
    under_way.put((way.due(0), b""))


def main() -> None:
    """Serve until killed."""
    port, round_trip_s, rate = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    words, _, most = " ".join(sys.argv[4:]).partition("--window ")
    cuts = Cuts([int(word) for word in words.split()])

    def tell(*_: object) -> None:
        print(cuts.total, flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, tell)
    there, back = Direction(round_trip_s / 2, rate), Direction(round_trip_s / 2, rate)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            cuts.hold(near, far)
            if words.split():  # what still lies in a buffer of this computer at a cut was not sent by the far side
                near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 << 10)
            window = Window(int(most), round_trip_s / 2) if most else None
            mirror = Window(int(most), round_trip_s / 2) if most else None
            threading.Thread(target=carry, args=(near, far, there, None, mirror), daemon=True).start()
            threading.Thread(target=carry, args=(far, near, back, cuts, window), daemon=True).start()


if __name__ == "__main__":
    main()
