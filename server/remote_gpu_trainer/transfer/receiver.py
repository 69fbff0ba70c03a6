"""Takes the framed stream of one connection apart, and puts every byte where it belongs."""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

from remote_gpu_trainer.errors import TransferError
from remote_gpu_trainer.transfer.landing import full_or_other
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.shelf import Shelf, write_at
from remote_gpu_trainer.transfer.tasks import SMALL, Order
from remote_gpu_trainer.transfer.unpack import NotWhatWasPacked, Unpacker, most_packed

HEADER = struct.Struct(">IBQ")
PLAIN, REFUSED, PACKED = range(3)
"""Statuses of an answer."""
TAIL = 33
MOST_REASON = 200


class Receiver:
    """One connection's stream: answers to the orders, in their order. Not thread-safe; called from one at a time."""

    def __init__(
        self,
        orders: Sequence[Order],
        shelf: Shelf,
        moved: Callable[[int, int, bool], None],
        may_pack: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin.

        Args:
            orders: They may grow while answers come.
            shelf: Where files are put.
            moved: Told bytes of files, bytes of the network, and whether an answer ends with them.
            may_pack: Whether the machine was told that it may compress.
        """
        self._orders, self._shelf, self._moved, self._may_pack = orders, shelf, moved, may_pack
        self._unpacker = Unpacker()
        self._number = 0
        self._order: Order
        """The one that is being answered."""
        self._rest = b""
        self._left = 0
        self._at = 0
        self._status: int | None = None
        self._digest: Any = None
        self._follows = False
        self._fd = -1
        self._small = bytearray()

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the stream; they are not kept.

        Raises:
            TransferError: they are not the answer to what was asked.
            LocalDiskFull: there is no room.
        """
        view = memoryview(self._rest + data if self._rest else data)
        self._rest = b""
        while view:
            if self._left and self._status in (PLAIN, PACKED):
                view = self._body(view)
                continue
            need = HEADER.size if self._status is None else (self._left if self._status == REFUSED else TAIL)
            if len(view) < need:
                self._rest = bytes(view)
                return
            piece, view = view[:need], view[need:]
            if self._status is None:
                if self._head(piece) and len(view) >= self._left + TAIL:
                    view = self._whole(view)
            elif self._status == REFUSED:
                self._refusal(bytes(piece))
            else:
                self._tail(bytes(piece), memoryview(self._small))

    def end(self) -> None:
        """Say that the stream ended by itself. Small files may still wait for the disk.

        Raises:
            TransferError: answers are missing.
        """
        if self._number < len(self._orders) or self._rest or self._status is not None:
            raise _wrong(f"it ended after {self._number} of {len(self._orders)} answers")

    def abandon(self) -> None:
        """Keep what has arrived of a range that was cut, and close what is open."""
        if self._close():
            order = self._order
            if self._at and not order.task.changed and order.task.failed is None:
                self._shelf.keep(order, self._digest.hexdigest(), self._at, beginning=self._follows)
        self._shelf.flush()

    def _head(self, piece: memoryview) -> bool:
        """Begin with an answer; whether it is a small file's."""
        number, status, length = cast(tuple[int, int, int], HEADER.unpack(piece))
        if number != self._number or number >= len(self._orders) or status not in (PLAIN, REFUSED, PACKED):
            raise _wrong(f"answer {number} with status {status} where {self._number} of {len(self._orders)} is due")
        self._order = order = self._orders[number]
        if status == PACKED and not self._may_pack():
            raise _wrong(f"compressed bytes for {shown(order.task.path)}, which nobody wanted compressed")
        if not _fits(status, length, order.length):
            raise _wrong(f"{length} bytes for {shown(order.task.path)} where {order.length} were asked for")
        self._status, self._left, self._at = status, length, 0
        if status == REFUSED and not length:
            self._refusal(b"")
        elif status != REFUSED:
            self._small.clear()
            # A file that was given up meanwhile, or whose chain broke, is hashed for itself: nothing is kept of it.
            follows = order.follows and order.task.hashed == order.offset
            self._digest = order.task.running if follows else hashlib.sha256()
            self._follows = follows
            if order.task.size > SMALL:
                self._fd = self._shelf.landing.open_partial(order.task.key)
        return status == PLAIN and self._fd < 0

    def _whole(self, view: memoryview) -> memoryview:
        """A small answer that lies in memory as it came."""
        length, self._left = self._left, 0
        content, end = view[:length], length + TAIL
        self._digest.update(content)
        self._tail(bytes(view[length:end]), content, length)
        return view[end:]

    def _body(self, view: memoryview) -> memoryview:
        piece, rest = view[: self._left], view[self._left :]
        self._left -= len(piece)
        self._moved(0, len(piece), False)
        if self._status == PLAIN:
            self._take(piece)
            return rest
        order = self._order
        try:
            for unpacked in self._unpacker.pieces(piece, order.length - self._at):
                self._take(memoryview(unpacked))
            if not self._left and self._at != order.length:
                raise NotWhatWasPacked(f"they hold {self._at} of {order.length} bytes")
        except NotWhatWasPacked as bad:
            self._close()  # so that nothing is kept of this range
            raise _wrong(f"compressed bytes for {shown(order.task.path)}: {bad}") from bad
        return rest

    def _take(self, piece: memoryview) -> None:
        """Put the next bytes of a file where they belong."""
        order = self._order
        if self._fd >= 0:
            try:
                write_at(self._fd, piece, order.offset + self._at)
            except OSError as bad:
                raise full_or_other(bad, self._shelf.landing.path) from bad
        else:
            self._small += piece
        if self._follows:
            order.task.hash_on(piece)
        else:
            self._digest.update(piece)
        self._at += len(piece)
        self._moved(len(piece), 0, False)

    def _tail(self, tail: bytes, small: memoryview, untold: int = 0) -> None:
        """End an answer, of which so many bytes have not been told of yet."""
        order, task = self._order, self._order.task
        self._close()
        if tail[32] != 1:
            task.changed = True
        elif (found := self._digest.digest()) != tail[:32]:
            raise _wrong(f"bytes {order.offset} to {order.offset + order.length} of {shown(task.path)} are not its own")
        elif task.changed or task.failed is not None:
            pass  # an earlier range said so already
        elif task.size > SMALL:
            self._shelf.keep(order, found.hex(), order.length, beginning=self._follows)
        else:
            try:
                self._shelf.keep_small(task, small, found.hex())
            except OSError as bad:
                raise full_or_other(bad, self._shelf.landing.path) from bad
        self._next(untold)

    def _close(self) -> bool:
        """Let go of a big file; whether one was open."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def _refusal(self, reason: bytes) -> None:
        text = shown(reason.decode("utf-8", "replace"))
        task = self._order.task
        if "changed since" in text:
            task.changed = True
        elif not task.changed:
            task.failed = f"the machine could not read it: {text}"
        self._next()

    def _next(self, untold: int = 0) -> None:
        self._number, self._status, self._left = self._number + 1, None, 0
        self._moved(untold, untold, True)


def _fits(status: int, length: int, wanted: int) -> bool:
    """Whether an answer to an order of so many bytes may be so long."""
    if status == PLAIN:
        return length == wanted
    return length <= MOST_REASON if status == REFUSED else 0 < length <= most_packed(wanted)


def _wrong(what: str) -> TransferError:
    return TransferError(
        f"the machine sent something else than was asked: {what}",
        next_step="treat the machine as broken or hostile; repeat once, then take the bucket or another route",
        effect="No finished file was touched.",
    )
