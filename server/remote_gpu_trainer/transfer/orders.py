"""What is still wanted, and who has been asked for it: connections draw from one queue as they get on."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from json.encoder import encode_basestring_ascii
from typing import overload

from remote_gpu_trainer.transfer.tasks import Order

AHEAD = 32 << 20
"""Bytes that may be asked for and not have come, for each connection: more than a line of 250 MB/s at 100 ms holds."""
EACH = 4 << 10
"""What an order counts for beside its bytes: some eight thousand are under way at most, a kilobyte of memory each."""
MOST_AT_ONCE = 256
PACK_BELOW = 64e6
"""Bytes for each second of a connection from which nothing is compressed: the fastest level of zlib packs text at 65 to
180 MB/s, and what is packed has to come a quarter sooner."""
NEWS = 1.5
"""By how much a rate must have changed to be told."""


class Orders:
    """The queue of one round. Any thread may take from it."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._orders = iter(orders)
        self._lock = threading.Lock()
        self._left: Order | None = next(self._orders, None)

    def __bool__(self) -> bool:
        return self._left is not None

    def take(self) -> Order | None:
        """The next one; None when nothing more is wanted."""
        with self._lock:
            taken = self._left
            self._left = next(self._orders, None) if taken is not None else None
            return taken

    def stop(self) -> None:
        """Hand out no more."""
        with self._lock:
            self._left = None


class Given(Sequence[Order]):
    """Orders in the sequence in which they are answered. Those that were answered are counted, and no longer held."""

    def __init__(self) -> None:
        self._held: deque[Order] = deque()
        self._answered = 0

    def append(self, order: Order) -> None:
        """One more that waits for its answer."""
        self._held.append(order)

    def answered(self) -> None:
        """Let go of the first that waited."""
        self._held.popleft()
        self._answered += 1

    def __len__(self) -> int:
        return self._answered + len(self._held)

    @overload
    def __getitem__(self, index: int) -> Order: ...
    @overload
    def __getitem__(self, index: slice) -> list[Order]: ...
    def __getitem__(self, index: int | slice) -> Order | list[Order]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        if index < self._answered:
            raise IndexError(f"order {index} was answered")
        return self._held[index - self._answered]


class Feed:
    """The orders of one connection: they are written while the answers to earlier ones come."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._turn = threading.Condition()
        self._out = 0
        self._closed = False
        self._rate: int = 0
        self._told: int = 0
        self.may_pack = False
        """Whether the far side has ever been told that it may answer compressed."""
        self.given = Given()

    def lines(self) -> Iterator[bytes]:
        """What the far side reads; waits while enough is under way. For a thread of its own."""
        while batch := self._next():
            yield b"".join(batch)

    def tell(self, rate: float) -> None:
        """Let the far side know how many bytes for each second the line carries, and so what compressing would gain.

        What it has not answered yet it may then answer compressed. From 64 MB/s on it is told not to.
        """
        with self._turn:
            slow = int(rate) if rate < PACK_BELOW else 0
            low, high = sorted((slow, self._told))
            if low * NEWS < high:
                self._rate = slow
                self._turn.notify_all()

    def came(self, size: int, *, answered: bool = False) -> None:
        """Note bytes of an answer, and its end."""
        with self._turn:
            before = self._out
            self._out -= size + (EACH if answered else 0)
            if answered:
                self.given.answered()
            if self._out < AHEAD // 2 <= before:
                self._turn.notify_all()

    def close(self) -> None:
        """End the waiting: nobody reads any more."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _next(self) -> list[bytes]:
        with self._turn:
            self._turn.wait_for(lambda: self._closed or self._out < AHEAD // 2 or self._rate != self._told)
            batch: list[bytes] = []
            if self._rate != self._told:
                self._told = self._rate
                self.may_pack = self.may_pack or self._told > 0
                batch.append(b"%d\n" % self._told)
            while not self._closed and self._out < AHEAD and len(batch) < MOST_AT_ONCE:
                order = self._orders.take()
                if order is None:
                    break
                self._out += order.length + EACH
                self.given.append(order)
                batch.append(_line(order))
        return batch


def _line(order: Order) -> bytes:
    task = order.task
    root, path = encode_basestring_ascii(task.root), encode_basestring_ascii(task.there)
    numbers = f"{order.offset}, {order.length}, {task.size}, {task.mtime_ns}, {int(order.follows)}"
    return f"[{root}, {path}, {numbers}]\n".encode("ascii")
