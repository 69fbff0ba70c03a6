"""Where all connections of a copy put what they get: proven, synced, and given its name."""

import errno
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass

from remote_gpu_trainer.errors import UnsafePath
from remote_gpu_trainer.transfer.chunks import ChunkMap, Finished, Piece
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.tasks import FileTask, Order
from remote_gpu_trainer.transfer.writeback import Writeback

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
    """That arrived whole, less those that could not get their names."""
    steps: int = 0
    """Ranges worth keeping and whole small files: what a connection must bring to count as one that got on."""


class Shelf:
    """Where all connections of one copy put what they get."""

    def __init__(self, landing: Landing, chunks: ChunkMap, *, batch_files: int = BATCH_FILES) -> None:
        self._batch_files = batch_files
        self.landing, self.chunks = landing, chunks
        self.counters = Counters()
        self.lock = threading.RLock()
        self._naming = threading.Lock()
        """Taken after the other, where both are: while thousands of files get their names, others go on arriving."""
        self._writeback = Writeback(landing)
        self._ready: list[tuple[FileTask, str]] = []
        self._ready_bytes = 0
        self._storing: list[Future[None]] = []
        self._nameless: list[tuple[FileTask, str]] = []
        """Small files that are on the disk. Only the first batch waits so for the next one, or the end: Python runs one
        thread at a time, and to name eight thousand while others arrive takes a tenth of a second longer."""
        self._batches = 0

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
                if task.hashed != task.size:
                    raise OSError(errno.EIO, "what was written cannot be read again")
                os.truncate(fd, task.size)
                _date(fd, task.mtime_ns)
                os.fsync(fd)
            finally:
                os.close(fd)
            self.counters.files += 1
            self._publish([(task, whole)])

    def keep_small(self, task: FileTask, content: memoryview, digest: str) -> None:
        """Write a whole small file; it gets its name with others, once all of them are on the disk."""
        key = task.key
        begun = self.landing.begun(key)
        fd = self.landing.open_partial(key)
        try:
            if begun and os.fstat(fd).st_size:  # ext4 writes a truncated file out when it is closed
                os.truncate(fd, 0)
            write_at(fd, content, 0)
            _date(fd, task.mtime_ns)
        finally:
            os.close(fd)
        with self.lock:
            self.counters.steps += 1
            self.counters.files += 1
            self.chunks.add_small(key, len(content), digest)
            self._ready.append((task, digest))
            self._ready_bytes += len(content)
            full = len(self._ready) >= self._batch_files or self._ready_bytes >= BATCH_BYTES
        if full:
            self._settle()
            self._store_ready()

    def flush(self) -> None:
        """Make all waiting small files durable, and name them.

        Raises:
            OSError: one of this batch, or of an earlier one, could not be stored.
        """
        self._store_ready()
        try:
            self._publish_nameless()  # while the last ones are still being synced
            self._settle()
        finally:
            self._publish_nameless()

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
            self._nameless += ready
            self._batches += 1
        if self._batches > 1:
            self._publish_nameless()

    def _publish_nameless(self) -> None:
        with self.lock:
            nameless, self._nameless = self._nameless, []
        self._publish(nameless)

    def _publish(self, ready: list[tuple[FileTask, str]]) -> None:
        with self._naming:
            done = self._name(ready)
        with self.lock:
            self.chunks.finish(done)
            self.counters.files -= len(ready) - len(done)

    def _name(self, ready: list[tuple[FileTask, str]]) -> list[tuple[str, str, Finished]]:
        """Give files their names, durably, and say which of them have theirs."""
        done: list[tuple[str, str, Finished]] = []
        folders: dict[str, str] = {}
        for task, digest in ready:
            key, path = task.key, task.path
            try:
                self.landing.publish(key, path)
            except UnsafePath as bad:
                self.landing.drop_partial(key)
                task.failed = bad.message
                continue
            task.sha256 = digest
            folders[path.rpartition("/")[0]] = path
            done.append((path, key, Finished(task.source, task.size, task.mtime_ns, digest)))
        for path in folders.values():
            self.landing.sync_folder(path)
        return done


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of these bytes at their place."""
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def _date(fd: int, mtime_ns: int) -> None:
    try:
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except (OSError, OverflowError):
        return  # a time that this file system cannot hold; the receipt keeps the machine's
