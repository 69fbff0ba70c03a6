"""Bringing a proven copy back from its bucket, where neither the machine nor the files here are left."""

import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import BucketCopy, BucketObject, CopyReceipt, ManifestEntry, Route
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.errors import DigestMismatch, LocalDiskFull
from remote_gpu_trainer.ports import Clock, ObjectStore
from remote_gpu_trainer.transfer.chunks import ChunkMap
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.halffile import HalfFile, Stretch
from remote_gpu_trainer.transfer.landing import MAP, Landing, full_or_other
from remote_gpu_trainer.transfer.limits import CopyLimits, Progress, ProgressSink
from remote_gpu_trainer.transfer.paths import shown

TELL_EACH = 4 << 20


@dataclass
class _Back:
    """One file on its way back."""

    entry: ManifestEntry
    object: BucketObject
    key: str


async def restore(
    store: ObjectStore,
    earlier: CopyReceipt,
    bucket: BucketCopy,
    *,
    destination: Path,
    copy_id: CopyId,
    limits: CopyLimits,
    clock: Clock,
    progress: ProgressSink | None,
) -> CopyReceipt:
    """Fetch every file of a copy from its bucket and prove it by the hash that it had when it came off the machine.

    A large object comes in several ranges at once. A file that is here with that hash is not fetched. Unfinished files
    stay in ``destination/.rgt-partial`` beside a map of what has arrived of them, and the same call goes on from there;
    an object that is not the proven one any more ends it.

    Raises:
        LocalDiskFull: no room, before the first byte where that can be known.
        RemoteChanged: an object was replaced or deleted since it was proven.
        DigestMismatch: the store keeps the same ETag and gives other bytes.
        TransferError: the store cannot be read, or this disk not be written. Nothing half has its name.
    """
    started = clock.now()
    landing = Landing(destination)
    try:
        work = _Restoring(store, landing, bucket, earlier.manifest.files, clock, progress)
        try:
            await anyio.to_thread.run_sync(work.recall)
            work.demand_room(limits)
            await crew(work.run, store.at_once)
        finally:
            work.close()
    finally:
        landing.close()
    return earlier.model_copy(
        update={
            "copy_id": copy_id,
            "destination": str(landing.path),
            "route": Route.BUCKET,
            "route_reason": f"the machine is gone, and copy {earlier.copy_id} lies in {bucket.url}",
            "bytes_transferred": work.fetched,
            "started_at": started,
            "finished_at": clock.now(),
            "cost": None,
            "estimated_cost": None,
            "compared": None,
            "bucket": bucket.model_copy(update={"bytes_stored": 0}),
        }
    )


class _Restoring:
    def __init__(
        self,
        store: ObjectStore,
        landing: Landing,
        bucket: BucketCopy,
        files: Sequence[ManifestEntry],
        clock: Clock,
        progress: ProgressSink | None,
    ) -> None:
        objects = {one.path: one for one in bucket.objects}
        self._store, self._landing, self._clock, self._progress = store, landing, clock, progress
        self._waiting = [_Back(entry, objects[entry.path], _key(bucket.url, entry)) for entry in reversed(files)]
        self._chunks = ChunkMap(landing)
        self._count, self._size = len(files), sum(entry.size for entry in files)
        self._began, self._told = clock.monotonic(), 0
        self._lock = threading.Lock()
        """Threads count what each of them brings."""
        self._home = self._done = 0
        self.fetched = 0

    def close(self) -> None:
        """Close the map of what is here, and drop it where it is of no use to anybody any more."""
        self._chunks.close()
        if self._home == self._count and self._chunks.empty:
            self._landing.drop_partial(MAP)

    def recall(self) -> None:
        """Find what is here already. Blocking."""
        left: list[_Back] = []
        for one in self._waiting:
            if self._landing.sha256(one.entry.path) == one.entry.sha256:
                self._home += 1
                self._done += one.entry.size
            else:
                left.append(one)
        self._waiting = left

    def demand_room(self, limits: CopyLimits) -> None:
        """See before the first byte whether the rest fits on the disk."""
        need = sum(max(0, one.entry.size - self._landing.partial_size(one.key)) for one in self._waiting)
        free = self._landing.free_bytes() - limits.keep_free_bytes
        if need > free:
            raise LocalDiskFull(
                f"{show_bytes(need)} are still to come and {show_bytes(max(0, free))} may be used at "
                f"{self._landing.path}",
                next_step="make room or choose another destination",
                effect="Nothing was copied.",
            )

    async def run(self) -> None:
        """Fetch files until none is waiting."""
        while self._waiting:
            one = self._waiting.pop()
            # A store may err once, and only the whole shows it: then it is fetched from its first byte.
            if not await self._fetch(one):
                self._forget(one)
                if not await self._fetch(one):
                    self._forget(one)
                    raise _other(one.entry.path, self._store)
            self._home += 1
            self._tell()

    async def _fetch(self, one: _Back) -> bool:
        """Bring one file; whether it is the proven one, and has its name."""
        entry, where = one.entry, self._landing.path
        try:
            fd = self._landing.open_partial(one.key)
        except OSError as bad:
            raise full_or_other(bad, where) from bad
        try:
            each = self._store.part_bytes(entry.size) or max(entry.size, 1)
            file = HalfFile(fd, where, entry.size, each, self._here)
            await anyio.to_thread.run_sync(file.recall, self._chunks.pieces.pop(one.key, ()))
            await self._fill(one, file)
            if await anyio.to_thread.run_sync(file.sha256) != entry.sha256:
                self._here(-entry.size)
                return False
            await anyio.to_thread.run_sync(file.sync)
        finally:
            os.close(fd)
        self._landing.publish(one.key, entry.path)
        self._landing.sync_folder(entry.path)
        if len(file.stretches) > 1:
            self._drop_notes(one)
        return True

    async def _fill(self, one: _Back, file: HalfFile) -> None:
        """Bring what is missing of a file, several stretches at once."""
        missing = deque(file.missing())

        async def work() -> None:
            while missing:
                stretch = missing.popleft()
                try:
                    await self._bring(one.object, stretch)
                except BaseException:  # whatever ended it, what has come is kept where it can be
                    with contextlib.suppress(OSError):
                        self._note(one, file, stretch)
                    raise
                try:
                    self._note(one, file, stretch)
                except OSError as bad:
                    raise full_or_other(bad, self._landing.path) from bad
                await anyio.to_thread.run_sync(file.hash_on)

        await crew(work, min(self._store.at_once, len(missing)))

    def _note(self, one: _Back, file: HalfFile, stretch: Stretch) -> None:
        if stretch.came and (len(file.stretches) > 1 or not stretch.whole):
            self._chunks.add_piece(one.key, stretch.piece)

    async def _bring(self, object_: BucketObject, stretch: Stretch) -> None:
        for again in (True, False):
            begun = stretch.next
            claimed = await self._store.fetch(object_, at=begun, end=stretch.end, sink=self._counting(stretch))
            # The store's word may be wrong as well, so it costs one more look; the proof is the hash of the whole.
            if claimed is None or begun > stretch.offset or claimed == stretch.digest.hexdigest() or not again:
                return
            stretch.drop()

    def _counting(self, stretch: Stretch) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            stretch.take(data)
            with self._lock:
                self.fetched += len(data)
                due = self.fetched - self._told >= TELL_EACH
                if due:
                    self._told = self.fetched
            if due:
                anyio.from_thread.run_sync(self._tell)

        return take

    def _here(self, length: int) -> None:
        with self._lock:
            self._done += length

    def _forget(self, one: _Back) -> None:
        self._landing.drop_partial(one.key)
        self._drop_notes(one)

    def _drop_notes(self, one: _Back) -> None:
        with contextlib.suppress(OSError):  # they are believed only as far as the bytes are there, and these are not
            self._chunks.forget(one.key)

    def _tell(self) -> None:
        if self._progress is None:
            return
        rate = self.fetched / max(self._clock.monotonic() - self._began, 1e-3)
        self._progress(
            Progress(
                bytes_done=self._done,
                bytes_total=self._size,
                files_done=self._home,
                files_total=self._count,
                rate=rate,
                eta_s=(self._size - self._done) / rate if rate else None,
            )
        )


def _key(url: str, entry: ManifestEntry) -> str:
    mark = f"{url}\0{entry.path}\0{entry.sha256}"
    return hashlib.sha256(mark.encode()).hexdigest()[:40]


def _other(path: str, store: ObjectStore) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} comes from {store.describe()} as other bytes than were proven there",
        next_step="do not trust this store with it; look for another copy",
        effect="It was not given its name; files that came before it are whole.",
    )
