"""A bucket that speaks S3, over boto3. Address, region and credentials are those that boto3 finds by itself.

``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` point at a store that is not Amazon's; none of it reaches a machine.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import BucketObject, BucketRules
from remote_gpu_trainer.domain.uploads import FileDigests, StoredPart, UnfinishedUpload
from remote_gpu_trainer.errors import RemoteChanged, TransferError
from remote_gpu_trainer.storage.parts import Parts, as_base64, changed
from remote_gpu_trainer.storage.reading import Reader, Replaced
from remote_gpu_trainer.storage.refusals import UNTOUCHED, failed, status_of
from remote_gpu_trainer.storage.rules import read_rules
from remote_gpu_trainer.storage.urls import BucketUrl

PART = 16 << 20
MOST_PARTS = 10_000
AT_ONCE = 8
"""Requests under way to one store: what a cut can cost is one part for each."""
READS = 3
"""How often an object that keeps changing is read anew."""
T = TypeVar("T")


class S3Store:
    """An ObjectStore below one prefix.

    Args:
        url: Bucket and prefix.
        part: Bytes above which a file goes in parts, and of each of them; S3 takes none below 5 MiB but the last.
        tries: Of each request, with growing pauses.
        at_once: Requests under way at most.
    """

    def __init__(self, url: BucketUrl, *, part: int = PART, tries: int = 5, at_once: int = AT_ONCE) -> None:
        import boto3
        from botocore.config import Config

        self._url, self._part = url, part
        settings = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": tries},
            max_pool_connections=at_once,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._client: Any = cast(Any, boto3).session.Session().client("s3", config=settings)
        except Exception as bad:  # botocore has no common parent for settings that it cannot read
            raise failed(f"{url} cannot be reached", bad) from bad
        self._parts, self._reader = Parts(self._client, url), Reader(self._client, url)
        self._slots = anyio.CapacityLimiter(at_once)

    @property
    def place(self) -> str:
        """The endpoint."""
        return str(self._client.meta.endpoint_url)

    def describe(self) -> str:
        """``s3://bucket/prefix``."""
        return str(self._url)

    @property
    def at_once(self) -> int:
        """Requests under way at most."""
        return int(self._slots.total_tokens)

    def part_bytes(self, size: int) -> int | None:
        """16 MiB, or what makes 10,000 parts of the file."""
        return None if size <= self._part else max(self._part, -(-size // MOST_PARTS))

    def by_hand(self, path: str, upload: str) -> str:
        """The command of Amazon's own client."""
        words = ["aws", "s3api", "abort-multipart-upload", "--bucket", self._url.bucket, "--key", self._url.key(path)]
        elsewhere = [] if ".amazonaws.com" in self.place else ["--endpoint-url", self.place]
        return shlex.join([*words, "--upload-id", upload, *elsewhere])

    async def put(self, path: str, source: int, sha256: str) -> None:
        """Store an open local file, hashing what is sent. It gets its name only when the hash is the given one.

        Raises:
            DigestMismatch: the file is not what was given; nothing was stored.
            TransferError: the store refused or failed; an object of that name is as it was.
        """
        await self._ask("could not be written", lambda: self._put(path, source, sha256))

    async def begin(self, path: str) -> str:
        """Begin an upload in parts.

        Raises:
            TransferError: the store refused or failed. Where the answer was lost there may be one without any part.
        """
        return await self._ask("could not be written", lambda: self._parts.begin(path))

    async def parts(self, path: str, upload: str) -> tuple[StoredPart, ...] | None:
        """What the store holds of an upload; None when it is gone.

        Raises:
            TransferError: the store cannot be asked.
        """
        return await self._ask("cannot be asked for its parts", lambda: self._parts.listed(path, upload))

    async def send(
        self, path: str, upload: str, number: int, *, source: int, offset: int, length: int, sha256: str
    ) -> StoredPart:
        """Send one part, from the disk to the connection in small pieces.

        Raises:
            DigestMismatch: the file changed meanwhile.
            RemoteChanged: there is no such upload any more.
            TransferError: the store refused or failed.
        """
        return await self._ask(
            "could not be written",
            lambda: self._parts.send(path, upload, number, source=source, offset=offset, length=length, sha256=sha256),
        )

    async def complete(self, path: str, upload: str, parts: tuple[StoredPart, ...]) -> None:
        """Make an object of its parts.

        Raises:
            RemoteChanged: there is no such upload, or its parts are others.
            TransferError: the store refused or failed.
        """
        await self._ask("could not be written", lambda: self._parts.complete(path, upload, parts))

    async def abort(self, path: str, upload: str) -> None:
        """End an upload.

        Raises:
            TransferError: the store refused or failed, or it is still there.
        """
        await self._ask("does not let an upload be ended", lambda: self._parts.abort(path, upload))

    async def unfinished(self) -> tuple[UnfinishedUpload, ...]:
        """Uploads below the prefix that nobody has completed.

        Raises:
            TransferError: the store cannot be asked.
        """
        return await self._ask("cannot be asked for unfinished uploads", self._parts.unfinished)

    async def proof(self, path: str, digests: FileDigests) -> BucketObject | None:
        """The object, if it provably holds these bytes.

        Raises:
            RemoteChanged: it was replaced each time while it was read.
            TransferError: the store cannot be asked.
        """
        return await self._ask("cannot be read", lambda: self._proof(path, digests))

    async def fetch(self, one: BucketObject, *, at: int, end: int, sink: Callable[[bytes], None]) -> str | None:
        """Give the bytes of a range to ``sink``, in order, on a worker thread.

        Raises:
            RemoteChanged: it is gone, or another object took its place.
            TransferError: the store cannot be asked, or what ``sink`` raised.
        """

        def fetch() -> str | None:
            try:
                return self._reader.read(one, at, end, sink, part=self._part_of(one, at, end))
            except Replaced as bad:
                raise RemoteChanged(
                    f"{one.path} in {self._url} is gone or another object than the proven one",
                    next_step="look for an older version of it in the bucket, or for another copy",
                    effect="It was not given its name here; files that came before it are whole.",
                ) from bad

        return await self._ask("cannot be read", fetch)

    async def etags(self) -> dict[str, tuple[int, str]]:
        """Size and ETag of everything below the prefix, by path.

        Raises:
            TransferError: the store cannot be asked.
        """
        return await self._ask("cannot be listed", lambda: dict(self._list()))

    async def rules(self, objects: Sequence[BucketObject]) -> BucketRules:
        """Whether old versions are kept, and what will delete these objects or put them out of reach."""
        return await anyio.to_thread.run_sync(read_rules, self._client, self._url, objects)

    async def _ask(self, what: str, work: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._slots)
        except TransferError:
            raise
        except Exception as bad:  # botocore's errors have no parent of their own but Exception
            raise failed(f"{self._url} {what}", bad) from bad

    def _target(self, path: str) -> dict[str, str]:
        return {"Bucket": self._url.bucket, "Key": self._url.key(path)}

    def _proof(self, path: str, digests: FileDigests) -> BucketObject | None:
        for _ in range(READS):
            found = self._head(path)
            if found is None or int(found["ContentLength"]) != digests.size:
                return None
            by_checksum = _told(found.get("ChecksumSHA256"), digests)
            one = BucketObject(
                path=path,
                size=digests.size,
                etag=str(found["ETag"]),
                proven_by="stored-checksum" if by_checksum else "read-back",
                version=_version(found),
            )
            read = None if by_checksum else self._read_sha256(one.model_copy(update={"version": None}))
            if not by_checksum and read is None:
                continue  # it was replaced under the reader: what is there now is another object
            return one if read in (None, digests.sha256) else None
        raise RemoteChanged(
            f"{path} in {self._url} was replaced {READS} times while it was read",
            next_step="see what else writes there, then call copy_out again",
            effect=UNTOUCHED,
        )

    def _head(self, path: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            return cast("dict[str, Any]", self._client.head_object(**self._target(path), ChecksumMode="ENABLED"))
        except ClientError as bad:
            if status_of(bad) == 404:
                return None
            raise

    def _put(self, path: str, source: int, sha256: str) -> None:
        body = os.pread(source, os.fstat(source).st_size, 0)
        if hashlib.sha256(body).hexdigest() != sha256:
            raise changed(path)
        self._client.put_object(
            **self._target(path), Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=as_base64(sha256)
        )

    def _read_sha256(self, one: BucketObject) -> str | None:
        digest = hashlib.sha256()
        try:
            self._reader.read(one, 0, one.size, digest.update)
        except Replaced:
            return None
        return digest.hexdigest()

    def _part_of(self, one: BucketObject, at: int, end: int) -> int | None:
        """The number of the part that a range is, in an object that was sent as this store sends one of its size."""
        each = self.part_bytes(one.size)
        if each is None or at % each or end != min(at + each, one.size):
            return None
        return at // each + 1 if one.etag.strip('"').endswith(f"-{-(-one.size // each)}") else None

    def _list(self) -> Iterator[tuple[str, tuple[int, str]]]:
        head = f"{self._url.prefix}/"
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._url.bucket, Prefix=head):
            for one in page.get("Contents", ()):
                yield str(one["Key"]).removeprefix(head), (int(one["Size"]), str(one["ETag"]))


def _version(found: dict[str, Any]) -> str | None:
    """The name of an object's version; "null" is what the next one without a version will be called as well."""
    version = found.get("VersionId")
    return None if version in (None, "null") else str(version)


def _told(stored: object, digests: FileDigests) -> bool:
    """Whether a stored sha256 says that an object holds these bytes; one of other parts than ours says nothing.

    It is that of the whole, or the hash of the hashes of the parts. Some stores add "-" and the number of the parts to
    the latter. Checksums of other kinds (CRC32, CRC64NVME, SHA1) cannot be held against a manifest: then it is read.
    """
    value, _, count = str(stored).partition("-")
    if not count and value == as_base64(digests.sha256):
        return True
    joined = hashlib.sha256(b"".join(map(bytes.fromhex, digests.parts))).hexdigest()
    return bool(digests.parts) and count in ("", str(len(digests.parts))) and value == as_base64(joined)
