"""A bucket."""

from typing import Protocol

from remote_gpu_trainer.domain.artifacts import BucketObject, BucketRules


class ObjectStore(Protocol):
    """A prefix of a bucket. Every method may raise a TransferError."""

    def describe(self) -> str:
        """``s3://bucket/prefix``."""
        ...

    async def put(self, path: str, source: int, sha256: str) -> None:
        """Store an open local file. Safe to repeat; the name is given only when the bytes hash to ``sha256``.

        Raises:
            DigestMismatch: the file holds other bytes; nothing was stored.
        """
        ...

    async def proof(self, path: str, source: int, sha256: str) -> BucketObject | None:
        """The object of that name, if it provably holds the bytes of this open local file, whose hash is given.

        By the checksum that the store keeps, or by reading all of the object where it keeps none.
        """
        ...

    async def etags(self) -> dict[str, tuple[int, str]]:
        """Size and ETag of everything below the prefix, by path."""
        ...

    async def rules(self) -> BucketRules:
        """Versioning and expiry."""
        ...
