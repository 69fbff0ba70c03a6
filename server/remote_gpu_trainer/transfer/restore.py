"""Bringing a proven copy back from its bucket, where neither the machine nor the files here are left."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import anyio.from_thread
import anyio.to_thread
from anyio.from_thread import check_cancelled

from remote_gpu_trainer.domain.artifacts import BucketCopy, CopyReceipt, ManifestEntry, Route
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.errors import DigestMismatch, LocalDiskFull
from remote_gpu_trainer.ports import Clock, ObjectStore
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.landing import Landing, full_or_other
from remote_gpu_trainer.transfer.limits import CopyLimits, Progress, ProgressSink
from remote_gpu_trainer.transfer.paths import shown

AT_ONCE = 8
BLOCK = 1 << 20
TELL_EACH = 16 << 20


@dataclass
class _Back:
    """One file on its way back."""

    entry: ManifestEntry
    etag: str
    key: str
    done: int = 0
    home: bool = False


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

    A file that is here with that hash is not fetched. Unfinished files stay in ``destination/.rgt-partial``, and the
    same call goes on from what is there of them; an object that is not the proven one any more ends it.

    Raises:
        LocalDiskFull: no room, before the first byte where that can be known.
        RemoteChanged: an object was replaced or deleted since it was proven.
        DigestMismatch: the store keeps the same ETag and gives other bytes.
        TransferError: the store cannot be read, or this disk not be written. Nothing half has its name.
    """
    started = clock.now()
    landing = Landing(destination)
    work = _Restoring(store, landing, bucket, earlier.manifest.files, clock, progress)
    try:
        await anyio.to_thread.run_sync(work.recall)
        work.demand_room(limits)
        await crew(work.run, AT_ONCE)
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
        files: Iterable[ManifestEntry],
        clock: Clock,
        progress: ProgressSink | None,
    ) -> None:
        etags = {one.path: one.etag for one in bucket.objects}
        self._store, self._landing, self._clock, self._progress = store, landing, clock, progress
        self._began, self.fetched, self._told = clock.monotonic(), 0, 0
        self._files = [_Back(entry, etags[entry.path], _key(bucket.url, entry)) for entry in files]
        self._waiting: list[_Back] = []

    def recall(self) -> None:
        """Find what is here already. Blocking."""
        for one in self._files:
            one.home = self._landing.sha256(one.entry.path) == one.entry.sha256
            one.done = one.entry.size if one.home else 0
        self._waiting = [one for one in reversed(self._files) if not one.home]

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
            # What was here before may be damaged, and only the whole shows it: then it is fetched from its first byte.
            if not await self._fetch(one):
                self._landing.drop_partial(one.key)
                if not await self._fetch(one):
                    self._landing.drop_partial(one.key)
                    raise _other(one.entry.path, self._store)
            one.home = True
            self._tell()

    async def _fetch(self, one: _Back) -> bool:
        """Bring one file; whether it is the proven one, and has its name."""
        entry, where = one.entry, self._landing.path
        try:
            fd = self._landing.open_partial(one.key)
        except OSError as bad:
            raise full_or_other(bad, where) from bad
        try:
            file = _Half(fd, where, lambda length: self._came(one, length))
            await anyio.to_thread.run_sync(file.recall, entry.size)
            one.done = file.at
            if file.at < entry.size:
                await self._store.fetch(entry.path, one.etag, at=file.at, size=entry.size, sink=file.take)
            if file.digest.hexdigest() != entry.sha256:
                return False
            await anyio.to_thread.run_sync(file.sync)
        finally:
            os.close(fd)
        self._landing.publish(one.key, entry.path)
        self._landing.sync_folder(entry.path)
        return True

    def _came(self, one: _Back, length: int) -> None:
        one.done += length
        self.fetched += length
        if self.fetched - self._told >= TELL_EACH:
            self._told = self.fetched
            anyio.from_thread.run_sync(self._tell)

    def _tell(self) -> None:
        if self._progress is None:
            return
        total = sum(one.entry.size for one in self._files)
        done = sum(one.done for one in self._files)
        rate = self.fetched / max(self._clock.monotonic() - self._began, 1e-3)
        self._progress(
            Progress(
                bytes_done=done,
                bytes_total=total,
                files_done=sum(one.home for one in self._files),
                files_total=len(self._files),
                rate=rate,
                eta_s=(total - done) / rate if rate else None,
            )
        )


class _Half:
    """An unfinished file, written and hashed in order. Blocking, on one worker thread at a time."""

    def __init__(self, fd: int, where: Path, came: Callable[[int], None]) -> None:
        self._fd, self._where, self._came = fd, where, came
        self.at, self.digest = 0, hashlib.sha256()

    def recall(self, size: int) -> None:
        """Hash what is here, and cut off what is too much."""
        try:
            if os.fstat(self._fd).st_size > size:
                os.ftruncate(self._fd, 0)
            while block := os.pread(self._fd, BLOCK, self.at):
                check_cancelled()
                self.digest.update(block)
                self.at += len(block)
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad

    def take(self, data: bytes) -> None:
        """Write what came.

        Raises:
            LocalDiskFull: no room is left.
        """
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, self.at)
                self.digest.update(view[:written])
                self.at += written
                self._came(written)
                view = view[written:]
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad

    def sync(self) -> None:
        """Bring it to the disk."""
        try:
            os.fsync(self._fd)
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad


def _key(url: str, entry: ManifestEntry) -> str:
    mark = f"{url}\0{entry.path}\0{entry.sha256}"
    return hashlib.sha256(mark.encode()).hexdigest()[:40]


def _other(path: str, store: ObjectStore) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} comes from {store.describe()} as other bytes than were proven there",
        next_step="do not trust this store with it; look for another copy",
        effect="It was not given its name; files that came before it are whole.",
    )
