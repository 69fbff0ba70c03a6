"""A bucket, and what is noted here of uploads into it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from remote_gpu_trainer.domain.artifacts import BucketObject, BucketRules
from remote_gpu_trainer.domain.uploads import FileDigests, StoredPart, UnfinishedUpload, Upload


class ObjectStore(Protocol):
    """A prefix of a bucket. Every method that asks it may raise a TransferError.

    ``details["refused"]`` of that error tells a store that said no from one that could not be asked.
    """

    @property
    def place(self) -> str:
        """Address of the store."""
        ...

    def describe(self) -> str:
        """``s3://bucket/prefix``."""
        ...

    @property
    def at_once(self) -> int:
        """How many requests it has under way at most: more workers than that only wait."""
        ...

    def part_bytes(self, size: int) -> int | None:
        """Length of the parts in which a file of so many bytes is sent; None when it goes in one piece."""
        ...

    def by_hand(self, path: str, upload: str) -> str:
        """The command with which a person ends an upload, parts and all."""
        ...

    async def put(self, path: str, source: int, sha256: str) -> None:
        """Store an open local file in one piece. The name is given only when the bytes hash to ``sha256``.

        Raises:
            DigestMismatch: the file holds other bytes; nothing was stored.
        """
        ...

    async def begin(self, path: str) -> str:
        """Begin an upload in parts. It shows nowhere until it is completed, and its parts are billed."""
        ...

    async def parts(self, path: str, upload: str) -> tuple[StoredPart, ...] | None:
        """The parts that the store holds of an upload; None when there is no such upload any more."""
        ...

    async def send(
        self, path: str, upload: str, number: int, *, source: int, offset: int, length: int, sha256: str
    ) -> StoredPart:
        """Send a range of an open local file as one part. Safe to repeat.

        Raises:
            DigestMismatch: what was sent does not hash to ``sha256``.
            RemoteChanged: there is no such upload any more.
        """
        ...

    async def complete(self, path: str, upload: str, parts: tuple[StoredPart, ...]) -> None:
        """Make an object of the parts, which have to be in order.

        Raises:
            RemoteChanged: there is no such upload, or its parts are others.
        """
        ...

    async def abort(self, path: str, upload: str) -> None:
        """End an upload and delete its parts. Safe to repeat."""
        ...

    async def unfinished(self) -> tuple[UnfinishedUpload, ...]:
        """Every upload below the prefix that is not completed, whoever began it."""
        ...

    async def proof(self, path: str, digests: FileDigests) -> BucketObject | None:
        """The object of that name, if it provably holds these bytes.

        By the checksum that the store keeps, or by reading all of the object where it keeps none.
        """
        ...

    async def fetch(self, one: BucketObject, *, at: int, end: int, sink: Callable[[bytes], None]) -> str | None:
        """Give the bytes of a proven object from ``at`` up to ``end`` to ``sink``, in order, on a worker thread.

        It goes on where a connection was cut. What ``sink`` raises ends it. Where another object took its place, the
        version is read that it was proven as, if the bucket keeps it.

        Returns:
            The sha256 in hex that the store says this range has; None where it keeps none of just this range.

        Raises:
            RemoteChanged: it is gone, or another object took its place.
        """
        ...

    async def etags(self) -> dict[str, tuple[int, str]]:
        """Size and ETag of everything below the prefix, by path."""
        ...

    async def rules(self, objects: Sequence[BucketObject]) -> BucketRules:
        """Versioning, and what will delete these objects or put them out of reach."""
        ...


class HeldUpload(Protocol):
    """The note of one upload, held so that no other copy takes it up. Blocking and quick."""

    @property
    def upload(self) -> Upload:
        """What it says."""
        ...

    def end(self) -> None:
        """The upload is over: forget it."""
        ...

    def close(self) -> None:
        """Let go of it; the note stays. Safe to repeat."""
        ...


class UploadNotes(Protocol):
    """Uploads in parts that this computer began and has not seen the end of. Blocking and quick."""

    def begin(self, upload: Upload) -> HeldUpload:
        """Note one durably, and hold it.

        Raises:
            OSError: it could not be written.
        """
        ...

    def left(self) -> Sequence[HeldUpload]:
        """Those that no living copy holds, now held by the caller."""
        ...

    def noted(self) -> Sequence[Upload]:
        """All, whoever holds them."""
        ...
