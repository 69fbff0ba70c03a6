"""Takes the framed stream of one connection apart, and puts every byte where it belongs."""

import errno
import hashlib
import os
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from remote_gpu_trainer.errors import TransferError, UnsafePath
from remote_gpu_trainer.transfer.chunks import ChunkMap, Finished, Piece
from remote_gpu_trainer.transfer.landing import Landing, full_or_other
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.tasks import SMALL, FileTask, Order
from remote_gpu_trainer.transfer.unpack import NotWhatWasPacked, Unpacker, most_packed
from remote_gpu_trainer.transfer.writeback import Writeback

HEADER = struct.Struct(">IBQ")
PLAIN, REFUSED, PACKED = range(3)
"""Statuses of an answer."""
TAIL = 33
MOST_REASON = 200
BATCH_FILES = 8192
BATCH_BYTES = 256 << 20
"""Small files that are synced at once: while a file system commits, no file can be made in it."""
WORTH_KEEPING = 64 << 10
"""Bytes; a machine that hangs up after less each time is not getting on."""


@dataclass
class Counters:
    """Shared by all connections of a copy; guarded by the lock of its shelf."""

    bytes: int = 0
    """Of files."""
    wire: int = 0
    """What crossed the network for them: less, where it was compressed."""
    files: int = 0
    steps: int = 0
    """Ranges worth keeping and whole small files: what a connection must bring to count as one that got on."""


class Shelf:
    """Where all connections of one copy put what they get."""

    def __init__(self, landing: Landing, chunks: ChunkMap) -> None:
        self.landing, self.chunks = landing, chunks
        self.counters = Counters()
        self.lock = threading.RLock()
        self._writeback = Writeback(landing)
        self._ready: list[tuple[FileTask, str]] = []
        self._ready_bytes = 0
        self._storing: list[Future[None]] = []

    def close(self) -> None:
        """Wait for what is under way to the disk."""
        self._writeback.close()

    def keep(self, order: Order, digest: str, length: int, *, beginning: bool) -> None:
        """Note a range that is on the disk, and finish the file when it was the last.

        The digest is that of the range, or of the file's ``beginning`` up to the range's end.
        """
        task, end = order.task, order.offset + length
        with self.lock:
            task.add(order.offset, end)
            self.counters.steps += length >= WORTH_KEEPING or not task.missing()
            if beginning:
                self.chunks.add_beginning(task.key, end, digest)
            else:
                self.chunks.add_piece(task.key, Piece(offset=order.offset, length=length, sha256=digest))
            if task.missing():
                self._hash_on(task)
                self._writeback.wrote(task.key, length)
            else:
                self.finish(task)

    def _hash_on(self, task: FileTask) -> None:
        """Hash what has arrived in order by now, while it is in memory."""
        if task.have[0][0] == 0 and task.hashed < task.have[0][1]:
            fd = self.landing.open_partial(task.key)
            try:
                task.hash_rest(fd)
            finally:
                os.close(fd)

    def finish(self, task: FileTask) -> None:
        """Prove, sync and name a file of which nothing is missing."""
        with self.lock:
            self._writeback.demand(task.key)
            fd = self.landing.open_partial(task.key)
            try:
                whole = task.hash_rest(fd)
                if task.hashed != task.entry.size:
                    raise OSError(errno.EIO, "what was written cannot be read again")
                os.truncate(fd, task.entry.size)
                _date(fd, task.entry.mtime_ns)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._publish([(task, whole)])

    def keep_small(self, task: FileTask, content: memoryview, digest: str) -> None:
        """Write a whole small file; it gets its name with the next batch."""
        begun = self.landing.begun(task.key)
        fd = self.landing.open_partial(task.key)
        try:
            if begun and os.fstat(fd).st_size:  # ext4 writes a truncated file out when it is closed
                os.truncate(fd, 0)
            _write(fd, content, 0)
            _date(fd, task.entry.mtime_ns)
        finally:
            os.close(fd)
        with self.lock:
            self.counters.steps += 1
            self.chunks.add_small(task.key, Piece(offset=0, length=len(content), sha256=digest))
            self._ready.append((task, digest))
            self._ready_bytes += len(content)
            full = len(self._ready) >= BATCH_FILES or self._ready_bytes >= BATCH_BYTES
        if full:
            self._settle()
            self._store_ready()

    def flush(self) -> None:
        """Make all waiting small files durable, and name them.

        Raises:
            OSError: one of this batch, or of an earlier one, could not be stored.
        """
        self._store_ready()
        self._settle()

    def _store_ready(self) -> None:
        """Let a batch be stored while the next one arrives."""
        with self.lock:
            ready, self._ready, self._ready_bytes = self._ready, [], 0
            if ready:
                self._storing.append(self._writeback.soon(self._store, ready))

    def _settle(self) -> None:
        """Wait for the batches that are being stored. Never called under the lock, which they need."""
        with self.lock:
            storing, self._storing = self._storing, []
        for one in storing:
            one.result()

    def _store(self, ready: list[tuple[FileTask, str]]) -> None:
        if len(ready) < 8 or not self.landing.sync_all():
            for task, _ in ready:
                fd = self.landing.open_partial(task.key)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        with self.lock:
            self._publish(ready)

    def _publish(self, ready: list[tuple[FileTask, str]]) -> None:
        done: list[tuple[str, str, Finished]] = []
        folders: dict[str, str] = {}
        for task, digest in ready:
            try:
                self.landing.publish(task.key, task.path)
            except UnsafePath as bad:
                self.landing.drop_partial(task.key)
                task.failed = bad.message
                continue
            task.sha256 = digest
            folders[task.path.rpartition("/")[0]] = task.path
            size, mtime_ns = task.entry.size, task.entry.mtime_ns
            finished = Finished(source=task.source, size=size, mtime_ns=mtime_ns, sha256=digest)
            done.append((task.path, task.key, finished))
        for path in folders.values():
            self.landing.sync_folder(path)
        self.chunks.finish(done)
        self.counters.files += len(done)


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
        """Say that the stream ended by itself.

        Raises:
            TransferError: answers are missing.
        """
        self._shelf.flush()
        if self._number < len(self._orders) or self._rest or self._status is not None:
            raise _wrong(f"it ended after {self._number} of {len(self._orders)} answers")

    def abandon(self) -> None:
        """Keep what has arrived of a range that was cut, and close what is open."""
        if self._close():
            order = self._orders[self._number]
            if self._at and not order.task.changed and order.task.failed is None:
                self._shelf.keep(order, self._digest.hexdigest(), self._at, beginning=self._follows)
        self._shelf.flush()

    def _head(self, piece: memoryview) -> bool:
        """Begin with an answer; whether it is a small file's."""
        number, status, length = cast(tuple[int, int, int], HEADER.unpack(piece))
        if number != self._number or number >= len(self._orders) or status not in (PLAIN, REFUSED, PACKED):
            raise _wrong(f"answer {number} with status {status} where {self._number} of {len(self._orders)} is due")
        order = self._orders[number]
        if status == PACKED and not self._may_pack():
            raise _wrong(f"compressed bytes for {shown(order.task.path)}, which nobody wanted compressed")
        most = {PLAIN: order.length, REFUSED: MOST_REASON, PACKED: most_packed(order.length)}[status]
        if length > most or (status == PLAIN and length != most) or (status == PACKED and not length):
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
            if order.task.entry.size > SMALL:
                self._fd = self._shelf.landing.open_partial(order.task.key)
        return status == PLAIN and self._fd < 0

    def _whole(self, view: memoryview) -> memoryview:
        """A small answer that lies in memory as it came."""
        length = self._left
        self._digest.update(view[:length])
        self._left = 0
        self._moved(length, length, False)
        self._tail(bytes(view[length : length + TAIL]), view[:length])
        return view[length + TAIL :]

    def _body(self, view: memoryview) -> memoryview:
        piece, rest = view[: self._left], view[self._left :]
        self._left -= len(piece)
        self._moved(0, len(piece), False)
        if self._status == PLAIN:
            self._take(piece)
            return rest
        order = self._orders[self._number]
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
        order = self._orders[self._number]
        if self._fd >= 0:
            try:
                _write(self._fd, piece, order.offset + self._at)
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

    def _tail(self, tail: bytes, small: memoryview) -> None:
        order, task = self._orders[self._number], self._orders[self._number].task
        stable = tail[32] == 1
        self._close()
        if not stable:
            task.changed = True
        elif self._digest.digest() != tail[:32]:
            raise _wrong(f"bytes {order.offset} to {order.offset + order.length} of {shown(task.path)} are not its own")
        elif task.changed or task.failed is not None:
            pass  # an earlier range said so already
        elif task.entry.size > SMALL:
            self._shelf.keep(order, self._digest.hexdigest(), order.length, beginning=self._follows)
        else:
            try:
                self._shelf.keep_small(task, small, self._digest.hexdigest())
            except OSError as bad:
                raise full_or_other(bad, self._shelf.landing.path) from bad
        self._next()

    def _close(self) -> bool:
        """Let go of a big file; whether one was open."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def _refusal(self, reason: bytes) -> None:
        text = shown(reason.decode("utf-8", "replace"))
        task = self._orders[self._number].task
        if "changed since" in text:
            task.changed = True
        elif not task.changed:
            task.failed = f"the machine could not read it: {text}"
        self._next()

    def _next(self) -> None:
        self._number, self._status, self._left = self._number + 1, None, 0
        self._moved(0, 0, True)


def _write(fd: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def _date(fd: int, mtime_ns: int) -> None:
    try:
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except (OSError, OverflowError):
        return  # a time that this file system cannot hold; the receipt keeps the machine's


def _wrong(what: str) -> TransferError:
    return TransferError(
        f"the machine sent something else than was asked: {what}",
        next_step="treat the machine as broken or hostile; repeat once, then take the bucket or another route",
        effect="No finished file was touched.",
    )
