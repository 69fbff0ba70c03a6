"""The second home of a copy: a bucket that gets every file once more, and is looked at again before a teardown."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import BucketCopy, BucketObject, BucketRules, CopyReceipt, ManifestEntry
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.domain.plans import SecondCopy
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.errors import DigestMismatch, InvalidRequest, TransferError
from remote_gpu_trainer.ports import Clock, ObjectStore, UploadNotes
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.limits import CopyLimits, Progress, ProgressSink
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.restore import restore
from remote_gpu_trainer.transfer.upload import Uploads, weigh

MOST_NAMED = 5
STILL_THERE = "The local copy is whole, and the machine is as it was."
OpenStore = Callable[[str], ObjectStore]


@dataclass(frozen=True)
class Rechecked:
    """A bucket, looked at again."""

    differences: tuple[str, ...]
    """From the proven copy, one sentence each."""
    second: SecondCopy | None
    """What a plan says of it; None where there is none, or it could not be read."""


class Buckets:
    """Copies local, proven files into buckets. No credential of a bucket ever reaches a rented machine."""

    def __init__(self, open_store: OpenStore, notes: UploadNotes, clock: Clock) -> None:
        self._open, self._notes, self._clock = open_store, notes, clock

    def open(self, url: str) -> ObjectStore:
        """The bucket, not asked yet.

        Raises:
            InvalidRequest: the text names none.
        """
        return self._open(url)

    async def store(self, receipt: CopyReceipt, url: str, progress: ProgressSink | None) -> CopyReceipt:
        """Bring every file of a copy into a bucket, and prove each object. What is there and proven is not sent again.

        An upload of a large file that was cut goes on. The error of one that fails says what stays there and bills.

        Raises:
            DigestMismatch: a local file changed, or an object does not hold what was sent.
            TransferError: the bucket cannot be used.
        """
        store = self._open(url)
        filling = _Filling(receipt, store, Uploads(store, self._notes, self._clock), self._clock, progress)
        await filling.run()
        copy = BucketCopy(
            url=store.describe(),
            objects=tuple(sorted(filling.objects, key=lambda one: one.path)),
            bytes_stored=filling.stored,
            warnings=(*warnings(await store.rules(filling.objects)), *filling.uploads.warnings),
        )
        return receipt.model_copy(update={"bucket": copy, "finished_at": self._clock.now()})

    async def restore(
        self,
        earlier: CopyReceipt,
        destination: Path,
        limits: CopyLimits,
        copy_id: CopyId,
        progress: ProgressSink | None,
    ) -> CopyReceipt:
        """Bring a copy back from its bucket, each file proven by the hash that it had when it left the machine.

        Raises:
            InvalidRequest: it is in no bucket.
            TransferError: the bucket cannot be read, holds something else by now, or this disk is full.
        """
        if earlier.bucket is None:
            raise InvalidRequest(f"copy {earlier.copy_id} is in no bucket", effect="Nothing was copied.")
        return await restore(
            self._open(earlier.bucket.url),
            earlier,
            earlier.bucket,
            destination=destination,
            copy_id=copy_id,
            limits=limits,
            clock=self._clock,
            progress=progress,
        )

    def unfinished(self) -> tuple[str, ...]:
        """What may bill in buckets and belongs to no object, as far as it is noted here: one sentence each."""
        noted = self._notes.noted()
        rest = [f"and {len(noted) - MOST_NAMED:,} more unfinished uploads"] if len(noted) > MOST_NAMED else []
        return (
            *(
                f"parts of an unfinished upload of {shown(one.path)} to {one.url} (up to {show_bytes(one.size)}, begun "
                f"{one.begun_at:%Y-%m-%d %H:%M} UTC) may lie there and bill: copy_out to that destination goes on "
                "from them or ends them"
                for one in noted[:MOST_NAMED]
            ),
            *rest,
        )

    async def recheck(self, receipt: CopyReceipt) -> Rechecked:
        """Whether the bucket still holds the proven objects, and what it will do with them by its rules of today."""
        bucket = receipt.bucket
        if bucket is None:
            return Rechecked((), None)
        try:
            store = self._open(bucket.url)
            there = await store.etags()
        except TransferError as bad:
            return Rechecked((f"the bucket's copy cannot be read: {bad.message}",), None)
        rules = await store.rules(bucket.objects)
        second = SecondCopy(url=bucket.url, objects=len(bucket.objects), deleting=rules.expiring, doubts=_doubts(rules))
        differences: list[str] = []
        for one in bucket.objects:
            seen = there.get(one.path)
            if seen is None:
                differences.append(f"{shown(one.path)} is not in {bucket.url} any more")
            elif seen != (one.size, one.etag):
                differences.append(f"{shown(one.path)} in {bucket.url} is another object than the proven one")
        return Rechecked(tuple(differences), second)


class _Filling:
    """One copy on its way into a bucket."""

    def __init__(
        self, receipt: CopyReceipt, store: ObjectStore, uploads: Uploads, clock: Clock, progress: ProgressSink | None
    ) -> None:
        self._receipt, self._store, self.uploads = receipt, store, uploads
        self._clock, self._began, self._progress = clock, clock.monotonic(), progress
        self._waiting = list(reversed(receipt.manifest.files))
        self._count = len(self._waiting)
        self._there: dict[str, tuple[int, str]] = {}
        self._size = receipt.manifest.size
        self._under_way: dict[str, int] = {}
        self._done = 0
        """Bytes of the files that are proven there."""
        self.objects: list[BucketObject] = []
        self.stored = 0

    async def run(self) -> None:
        """Bring and prove every file."""
        self._landing = Landing(Path(self._receipt.destination))
        try:
            self._there = await self._store.etags()
            await self.uploads.recall(self._receipt.manifest.files)
            await crew(self._work, self._store.at_once)
            await self.uploads.settle()
        except TransferError as bad:
            bad.message += self.uploads.left()
            raise
        finally:
            self.uploads.close()
            self._landing.close()

    async def _work(self) -> None:
        while self._waiting:
            entry = self._waiting.pop()
            source = self._landing.open_plain(entry.path)
            if source is None:
                raise _changed(entry.path)
            try:
                self.objects.append(await self._one(entry, source))
            finally:
                os.close(source)
            self._under_way.pop(entry.path, None)
            self._done += entry.size
            self._tell()

    async def _one(self, entry: ManifestEntry, source: int) -> BucketObject:
        try:
            digests = await anyio.to_thread.run_sync(weigh, source, self._store.part_bytes(entry.size))
        except OSError as bad:
            raise _unread(entry.path, bad) from bad
        if (digests.size, digests.sha256) != (entry.size, entry.sha256):
            raise _changed(entry.path)
        if entry.path in self._there and (found := await self._store.proof(entry.path, digests)) is not None:
            return found
        if digests.part_bytes is None:
            await self._store.put(entry.path, source, digests.sha256)
            self.stored += entry.size
        else:
            await self.uploads.bring(entry.path, source, digests, partial(self._part, entry.path))
        found = await self._store.proof(entry.path, digests)
        if found is None:
            raise _other(entry.path, self._store)
        return found

    def _part(self, path: str, length: int, crossed: bool) -> None:
        self.stored += length if crossed else 0
        self._under_way[path] = self._under_way.get(path, 0) + length
        self._tell()

    def _tell(self) -> None:
        if self._progress is None:
            return
        done = min(self._done + sum(self._under_way.values()), self._size)
        rate = self.stored / max(self._clock.monotonic() - self._began, 1e-3)
        self._progress(
            Progress(
                bytes_done=done,
                bytes_total=self._size,
                files_done=len(self.objects),
                files_total=self._count,
                rate=rate,
                eta_s=(self._size - done) / rate if rate else None,
            )
        )


def warnings(rules: BucketRules) -> tuple[str, ...]:
    """How a bucket may lose what it was given."""
    return (*(f"the bucket will delete this copy: {rule}" for rule in rules.expiring), *_doubts(rules))


def _doubts(rules: BucketRules) -> tuple[str, ...]:
    unversioned = "the bucket keeps no old versions: an overwritten or deleted object is gone"
    return (*([unversioned] if rules.versioned is False else []), *rules.caveats, *rules.unread)


def _changed(path: str) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} changed on this disk after it was copied",
        next_step="call copy_out again: it fetches what changed here",
        effect=STILL_THERE,
    )


def _unread(path: str, bad: OSError) -> TransferError:
    return TransferError(
        f"{shown(path)} cannot be read on this disk any more: {bad.strerror or bad}",
        next_step="check the disk, then call copy_out again",
        effect="The object of that name is as it was, and the machine too.",
    )


def _other(path: str, store: ObjectStore) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} arrived in {store.describe()} as other bytes than were sent",
        next_step="call copy_out again; if it repeats, do not trust this store",
        effect=STILL_THERE,
    )
