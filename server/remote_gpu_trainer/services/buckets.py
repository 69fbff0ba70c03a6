"""The second home of a copy: a bucket that gets every file once more, and is looked at again before a teardown."""

import os
from collections.abc import Callable
from pathlib import Path

from remote_gpu_trainer.domain.artifacts import BucketCopy, BucketObject, BucketRules, CopyReceipt
from remote_gpu_trainer.errors import DigestMismatch, TransferError
from remote_gpu_trainer.ports import Clock, ObjectStore
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.limits import Progress, ProgressSink
from remote_gpu_trainer.transfer.paths import shown

AT_ONCE = 8
STILL_THERE = "The local copy is whole, and the machine is as it was."
OpenStore = Callable[[str], ObjectStore]


class Buckets:
    """Copies local, proven files into buckets. No credential of a bucket ever reaches a rented machine."""

    def __init__(self, open_store: OpenStore, clock: Clock) -> None:
        self._open, self._clock = open_store, clock

    def open(self, url: str) -> ObjectStore:
        """The bucket, not asked yet.

        Raises:
            InvalidRequest: the text names none.
        """
        return self._open(url)

    async def store(self, receipt: CopyReceipt, url: str, progress: ProgressSink | None) -> CopyReceipt:
        """Bring every file of a copy into a bucket, and prove each object. What is there and proven is not sent again.

        Raises:
            DigestMismatch: a local file changed, or an object does not hold what was sent.
            TransferError: the bucket cannot be used.
        """
        store, files = self._open(url), list(receipt.manifest.files)
        there, waiting = await store.etags(), list(reversed(files))
        objects: list[BucketObject] = []
        stored, began = 0, self._clock.monotonic()
        landing = Landing(Path(receipt.destination))

        async def work() -> None:
            nonlocal stored
            while waiting:
                entry = waiting.pop()
                source = landing.open_plain(entry.path)
                if source is None or entry.sha256 is None:
                    raise _changed(entry.path)
                try:
                    known = entry.path in there
                    found = await store.proof(entry.path, source, entry.sha256) if known else None
                    if found is None:
                        await store.put(entry.path, source, entry.sha256)
                        stored += entry.size
                        found = await store.proof(entry.path, source, entry.sha256)
                finally:
                    os.close(source)
                if found is None:
                    raise _other(entry.path, store)
                objects.append(found)
                if progress is not None:
                    progress(self._progress(receipt, objects, stored, began))

        try:
            await crew(work, AT_ONCE)
        finally:
            landing.close()
        objects.sort(key=lambda one: one.path)
        copy = BucketCopy(
            url=store.describe(),
            objects=tuple(objects),
            bytes_stored=stored,
            warnings=warnings(await store.rules()),
        )
        return receipt.model_copy(update={"bucket": copy, "finished_at": self._clock.now()})

    async def recheck(self, receipt: CopyReceipt) -> list[str]:
        """Whether the bucket still holds the proven objects. Returns differences, one sentence each."""
        bucket = receipt.bucket
        if bucket is None:
            return []
        try:
            there = await self._open(bucket.url).etags()
        except TransferError as bad:
            return [f"the bucket's copy cannot be read: {bad.message}"]
        differences: list[str] = []
        for one in bucket.objects:
            seen = there.get(one.path)
            if seen is None:
                differences.append(f"{shown(one.path)} is not in {bucket.url} any more")
            elif seen != (one.size, one.etag):
                differences.append(f"{shown(one.path)} in {bucket.url} is another object than the proven one")
        return differences

    def _progress(self, receipt: CopyReceipt, objects: list[BucketObject], stored: int, began: float) -> Progress:
        total, done = receipt.manifest.size, sum(one.size for one in objects)
        rate = stored / max(self._clock.monotonic() - began, 1e-3)
        return Progress(
            bytes_done=done,
            bytes_total=total,
            files_done=len(objects),
            files_total=len(receipt.manifest.files),
            rate=rate,
            eta_s=(total - done) / rate if rate else None,
        )


def warnings(rules: BucketRules) -> tuple[str, ...]:
    """How a bucket may lose what it was given."""
    said = [f"the bucket will delete this copy: {rule}" for rule in rules.expiring]
    if rules.versioned is False:
        said.append("the bucket keeps no old versions: an overwritten or deleted object is gone")
    return (*said, *rules.unread)


def _changed(path: str) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} changed on this disk after it was copied",
        next_step="call copy_out again: it fetches what changed here",
        effect=STILL_THERE,
    )


def _other(path: str, store: ObjectStore) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} arrived in {store.describe()} as other bytes than were sent",
        next_step="call copy_out again; if it repeats, do not trust this store",
        effect=STILL_THERE,
    )
