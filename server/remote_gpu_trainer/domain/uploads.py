"""Objects on their way into a bucket: what is to be sent, what a store holds of it, and what is noted here."""

from datetime import datetime

from remote_gpu_trainer.domain.values import Value


class FileDigests(Value):
    """A local file by its bytes, all hashed in one pass."""

    size: int
    sha256: str
    """Of the whole, lower-case hex."""
    part_bytes: int | None
    """Length of each part but the last; None for a file that goes in one piece."""
    parts: tuple[str, ...] = ()
    """sha256 of each part, lower-case hex."""


class StoredPart(Value):
    """One part of an upload that is not completed, as the store keeps it."""

    number: int
    """From 1 on."""
    size: int
    etag: str
    sha256: str | None
    """Lower-case hex; None where the store keeps none."""


class Upload(Value):
    """An upload in parts that this computer began, noted before its first part left."""

    place: str
    """Address of the store: two stores may have buckets of the same name."""
    url: str
    """``s3://bucket/prefix``."""
    path: str
    """Below the prefix."""
    upload: str
    """The store's own name of it."""
    size: int
    sha256: str
    part_bytes: int
    begun_at: datetime


class UnfinishedUpload(Value):
    """An upload below a prefix that nobody has completed yet, whoever began it."""

    path: str
    upload: str
    begun_at: datetime | None
