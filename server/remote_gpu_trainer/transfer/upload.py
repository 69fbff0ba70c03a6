"""Bringing large local files into a bucket in parts, and going on with what an earlier call left there."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import anyio
import anyio.to_thread
from anyio.from_thread import check_cancelled

from remote_gpu_trainer.domain.artifacts import ManifestEntry
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.domain.uploads import FileDigests, StoredPart, UnfinishedUpload, Upload
from remote_gpu_trainer.errors import DigestMismatch, RemoteChanged, TransferError
from remote_gpu_trainer.ports import Clock, HeldUpload, ObjectStore, UploadNotes
from remote_gpu_trainer.transfer.crew import crew
from remote_gpu_trainer.transfer.paths import shown

ROUNDS = 3
"""How often an upload that somebody else ended or changed is taken up again."""
BLOCK = 1 << 20
MOST_NAMED = 5
Told = Callable[[int, bool], None]
"""Gets the length of each part that is there, and whether it crossed the network for that."""


def weigh(source: int, part_bytes: int | None) -> FileDigests:
    """Hash an open file, whole and in parts, in one pass. Blocking; on a worker thread of anyio, so that it ends early.

    Raises:
        OSError: it cannot be read.
    """
    size, at = os.fstat(source).st_size, 0
    whole, parts = hashlib.sha256(), list[str]()
    while True:
        end = size if part_bytes is None else min(at + part_bytes, size)
        part = hashlib.sha256()
        while at < end and (block := os.pread(source, min(BLOCK, end - at), at)):
            check_cancelled()
            whole.update(block)
            if part_bytes is not None:
                part.update(block)
            at += len(block)
        if part_bytes is not None:
            parts.append(part.hexdigest())
        if at >= size or at < end:
            break
    return FileDigests(size=at, sha256=whole.hexdigest(), part_bytes=part_bytes, parts=tuple(parts))


class Uploads:
    """The uploads in parts of one copy into one bucket.

    Each is noted here before its first part leaves. So what a kill leaves in the bucket is either noted, and gone on
    with or ended by the next copy to that prefix, or holds nothing.

    Args:
        store: Where to.
        notes: What this computer began.
        clock: For the notes.
    """

    def __init__(self, store: ObjectStore, notes: UploadNotes, clock: Clock) -> None:
        self._store, self._notes, self._clock = store, notes, clock
        self._waiting: dict[str, HeldUpload] = {}
        self._doomed: list[HeldUpload] = []
        self._kept: dict[str, int] = {}
        self.warnings: list[str] = []
        """Unfinished uploads that could not be ended or are not ours: size, and the way to be rid of each."""

    async def recall(self, files: Iterable[ManifestEntry]) -> None:
        """Find what earlier copies to this prefix left: to be gone on with where a file is still the same, else ended.

        What others began is only named: another computer may be sending it at this moment.
        """
        wanted = {one.path: one for one in files}
        for held in self._notes.left():
            note = held.upload
            if (note.place, note.url) != (self._store.place, self._store.describe()):
                held.close()
            elif self._fits(note, wanted.get(note.path)) and note.path not in self._waiting:
                self._waiting[note.path] = held
            else:
                self._doomed.append(held)
        await self._end_doomed()
        await self._name_others()

    async def bring(self, path: str, source: int, digests: FileDigests, told: Told) -> None:
        """Store an open file of which the digests are known.

        A failure leaves the parts for the next call, unless the file changed.

        Raises:
            DigestMismatch: the file changed; what was sent of it was ended.
            RemoteChanged: somebody else ends or changes the upload, each time.
            TransferError: the store refused or failed.
        """
        for last in [*[False] * (ROUNDS - 1), True]:
            held, there = await self._taken_up(path, digests)
            try:
                await self._send(held.upload, there, source, digests, told)
            except DigestMismatch:
                with anyio.CancelScope(shield=True):  # another file's failure must not leave parts that nobody wants
                    await self._end(held)
                raise
            except RemoteChanged:
                self._waiting[path] = held
                if last:
                    raise
                if await self._store.proof(path, digests):  # another copy of the same file completed it
                    return
            except BaseException:  # whatever ended it, the parts stay for the next call
                self._waiting[path] = held
                raise
            else:
                held.end()
                self._kept.pop(path, None)
                return

    async def settle(self) -> None:
        """End those that turned out not to be needed."""
        self._doomed += self._waiting.values()
        self._waiting.clear()
        await self._end_doomed()

    def left(self) -> str:
        """What stays in the bucket after a failure, as an end of a sentence; empty when nothing does."""
        if not self._waiting:
            return ""
        size = sum(self._kept.get(path, 0) for path in self._waiting)
        return (
            f"; parts of {len(self._waiting)} unfinished object(s), {show_bytes(size)} as far as is known, stay in "
            f"{self._store.describe()} and are billed until this copy is repeated, which goes on from them"
        )

    def close(self) -> None:
        """Let go of what is noted; it stays for the next copy."""
        for held in (*self._waiting.values(), *self._doomed):
            held.close()

    def _fits(self, note: Upload, entry: ManifestEntry | None) -> bool:
        # Another length of the parts is another upload: its checksum would not be the one that is looked for.
        return (
            entry is not None
            and (note.size, note.sha256) == (entry.size, entry.sha256)
            and note.part_bytes == self._store.part_bytes(entry.size)
        )

    async def _taken_up(self, path: str, digests: FileDigests) -> tuple[HeldUpload, Mapping[int, StoredPart]]:
        """The upload of an earlier call and what the store holds of it, or a new one."""
        if (held := self._waiting.get(path)) is not None:
            try:
                there = await self._store.parts(path, held.upload.upload)
            except TransferError as bad:
                if not bad.details.get("refused"):
                    raise
                self._doomed.append(self._waiting.pop(path))  # what may not be looked at cannot be trusted
                await self._end_doomed()
            else:
                self._waiting.pop(path)
                if there is not None:
                    self._kept[path] = sum(part.size for part in there)
                    return held, {part.number: part for part in there}
                held.end()  # it was ended by somebody else, or by a rule of the bucket
        self._kept.pop(path, None)
        return await self._begun(path, digests), {}

    async def _begun(self, path: str, digests: FileDigests) -> HeldUpload:
        upload = await self._store.begin(path)
        note = Upload(
            place=self._store.place,
            url=self._store.describe(),
            path=path,
            upload=upload,
            size=digests.size,
            sha256=digests.sha256,
            part_bytes=digests.part_bytes or digests.size,
            begun_at=self._clock.now(),
        )
        try:
            return self._notes.begin(note)
        except OSError as bad:
            await self._store.abort(path, upload)
            raise TransferError(
                f"an upload cannot be noted on this computer: {bad.strerror or bad}",
                next_step="make room where RGT_HOME lies, then call copy_out again",
                effect="Nothing of that file was sent.",
            ) from bad

    async def _send(
        self,
        note: Upload,
        there: Mapping[int, StoredPart],
        source: int,
        digests: FileDigests,
        told: Told,
    ) -> None:
        path, each = note.path, note.part_bytes
        waiting = deque(enumerate(digests.parts, 1))
        done: dict[int, StoredPart] = {}

        async def work() -> None:
            while waiting:
                number, sha256 = waiting.popleft()
                offset = (number - 1) * each
                length = min(each, digests.size - offset)
                known = there.get(number)
                if known is not None and await anyio.to_thread.run_sync(_same, known, source, offset, length, sha256):
                    done[number] = known.model_copy(update={"sha256": sha256})
                    told(length, False)
                    continue
                done[number] = await self._store.send(
                    path, note.upload, number, source=source, offset=offset, length=length, sha256=sha256
                )
                self._kept[path] = self._kept.get(path, 0) + (0 if known else length)
                told(length, True)

        await crew(work, min(self._store.at_once, len(waiting)))
        await self._store.complete(path, note.upload, tuple(done[number] for number in sorted(done)))

    async def _end_doomed(self) -> None:
        while self._doomed:
            await self._end(self._doomed[-1])
            self._doomed.pop()

    async def _end(self, held: HeldUpload) -> None:
        """End an upload of ours; where that fails, say so and keep the note, so that it is found again."""
        note = held.upload
        try:
            await self._store.abort(note.path, note.upload)
            self._kept.pop(note.path, None)
            held.end()
        except TransferError as bad:
            size = await self._size(note.path, note.upload)
            self.warnings.append(
                f"an unfinished upload of {shown(note.path)} ({size}) bills on, since it could not be ended: "
                f"{bad.message}. With a key that may: {self._store.by_hand(note.path, note.upload)}"
            )
        finally:
            held.close()

    async def _name_others(self) -> None:
        try:
            seen = await self._store.unfinished()
        except TransferError as bad:
            self.warnings.append(f"parts of unfinished uploads may lie there and bill: {bad.message}")
            return
        ours = {one.upload for one in self._notes.noted()}
        others = [one for one in seen if one.upload not in ours]
        for one in others[:MOST_NAMED]:
            self.warnings.append(await self._other(one))
        if len(others) > MOST_NAMED:
            self.warnings.append(f"and {len(others) - MOST_NAMED:,} more unfinished uploads that were not begun here")

    async def _other(self, one: UnfinishedUpload) -> str:
        since = "" if one.begun_at is None else f", begun {one.begun_at:%Y-%m-%d}"
        return (
            f"an unfinished upload of {shown(one.path)} ({await self._size(one.path, one.upload)}{since}) bills there; "
            "it is not noted on this computer, so it was left alone. If nobody is sending it: "
            f"{self._store.by_hand(one.path, one.upload)}"
        )

    async def _size(self, path: str, upload: str) -> str:
        try:
            there = await self._store.parts(path, upload)
        except TransferError:
            return "of unknown size"
        return show_bytes(sum(part.size for part in there or ()))


def _same(part: StoredPart, source: int, offset: int, length: int, sha256: str) -> bool:
    """Whether a part that the store lists holds these bytes: by its sha256, or by its ETag where it keeps none."""
    if part.size != length:
        return False
    if part.sha256 is not None:
        return part.sha256 == sha256
    digest, at = hashlib.md5(usedforsecurity=False), offset
    while at < offset + length and (block := os.pread(source, min(BLOCK, offset + length - at), at)):
        check_cancelled()
        digest.update(block)
        at += len(block)
    return part.etag.strip('"') == digest.hexdigest()
