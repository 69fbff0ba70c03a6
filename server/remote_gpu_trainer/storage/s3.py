"""A bucket that speaks S3, over boto3. Address, region and credentials are those that boto3 finds by itself.

``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` point at a store that is not Amazon's; none of it reaches a machine.
"""

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import BucketObject, BucketRules
from remote_gpu_trainer.errors import DigestMismatch, TransferError
from remote_gpu_trainer.storage.rules import read_rules
from remote_gpu_trainer.storage.urls import BucketUrl

PART = 16 << 20
MOST_PARTS = 10_000
AT_ONCE = 4
BLOCK = 1 << 20
UNTOUCHED = "No object that was there before was replaced by unproven bytes, and the local copy is whole."
T = TypeVar("T")


class S3Store:
    """An ObjectStore below one prefix."""

    def __init__(self, url: BucketUrl) -> None:
        import boto3
        from botocore.config import Config

        self._url = url
        settings = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 5},
            max_pool_connections=2 * AT_ONCE,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._client: Any = cast(Any, boto3).session.Session().client("s3", config=settings)
        except Exception as bad:  # botocore has no common parent for settings that it cannot read
            raise _failed(f"{url} cannot be reached", bad) from bad

    def describe(self) -> str:
        """``s3://bucket/prefix``."""
        return str(self._url)

    async def put(self, path: str, source: int, sha256: str) -> None:
        """Store an open local file, hashing what is sent. It gets its name only when the hash is the given one.

        Raises:
            DigestMismatch: the file is not what was given; nothing was stored.
            TransferError: the store refused or failed; an object of that name is as it was.
        """
        await self._ask(f"{self._url} could not be written", lambda: self._put(path, source, sha256))

    async def proof(self, path: str, source: int, sha256: str) -> BucketObject | None:
        """The object, if it provably holds the bytes of an open local file, whose hash is given.

        Raises:
            TransferError: the store cannot be asked.
        """
        return await self._ask(f"{self._url} cannot be read", lambda: self._proof(path, source, sha256))

    async def etags(self) -> dict[str, tuple[int, str]]:
        """Size and ETag of everything below the prefix, by path.

        Raises:
            TransferError: the store cannot be asked.
        """
        return await self._ask(f"{self._url} cannot be listed", lambda: dict(self._list()))

    async def rules(self) -> BucketRules:
        """Whether old versions are kept, and what will delete objects below the prefix."""
        return await anyio.to_thread.run_sync(read_rules, self._client, self._url)

    async def _ask(self, what: str, work: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(work)
        except TransferError:
            raise
        except Exception as bad:  # botocore's errors have no parent of their own but Exception
            raise _failed(what, bad) from bad

    def _target(self, path: str) -> dict[str, str]:
        return {"Bucket": self._url.bucket, "Key": self._url.key(path)}

    def _proof(self, path: str, source: int, sha256: str) -> BucketObject | None:
        from botocore.exceptions import ClientError

        try:
            found: dict[str, Any] = self._client.head_object(**self._target(path), ChecksumMode="ENABLED")
        except ClientError as bad:
            if cast(Any, bad).response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        size, stored = os.fstat(source).st_size, found.get("ChecksumSHA256")
        if int(found["ContentLength"]) != size:
            return None
        # Some stores add "-" and the number of parts. A checksum of other parts than ours says nothing: then we read.
        by_checksum = stored is not None and str(stored).partition("-")[0] == _checksum(source, size)
        if not by_checksum and self._read_sha256(path) != sha256:
            return None
        return BucketObject(
            path=path,
            size=size,
            etag=str(found["ETag"]),
            proven_by="stored-checksum" if by_checksum else "read-back",
        )

    def _put(self, path: str, source: int, sha256: str) -> None:
        size = os.fstat(source).st_size
        if size > PART:
            self._put_parts(path, source, size, sha256)
            return
        body = os.pread(source, size, 0)
        _demand_same(path, hashlib.sha256(body).hexdigest(), sha256)
        self._client.put_object(
            **self._target(path), Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=_text(bytes.fromhex(sha256))
        )

    def _put_parts(self, path: str, source: int, size: int, sha256: str) -> None:
        target = self._target(path)
        upload = self._client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")["UploadId"]
        whole, sent = hashlib.sha256(), list[Any]()
        try:
            with ThreadPoolExecutor(AT_ONCE, "s3-part") as pool:
                for number, body in enumerate(_parts(source, size), 1):
                    whole.update(body)
                    if number > AT_ONCE:
                        sent[number - 1 - AT_ONCE].result()  # no more parts in memory than are under way
                    sent.append(pool.submit(self._send, target, upload, number, body))
                parts = [one.result() for one in sent]
            _demand_same(path, whole.hexdigest(), sha256)
            self._client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:  # whatever ended it, the parts sent so far would be billed
            self._client.abort_multipart_upload(**target, UploadId=upload)
            raise

    def _send(self, target: dict[str, str], upload: str, number: int, body: bytes) -> dict[str, Any]:
        checksum = _text(hashlib.sha256(body).digest())
        done = self._client.upload_part(
            **target, UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": checksum}

    def _read_sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        body = self._client.get_object(**self._target(path))["Body"]
        try:
            while block := body.read(BLOCK):
                digest.update(block)
        finally:
            body.close()
        return digest.hexdigest()

    def _list(self) -> Iterator[tuple[str, tuple[int, str]]]:
        head = f"{self._url.prefix}/"
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._url.bucket, Prefix=head):
            for one in page.get("Contents", ()):
                yield str(one["Key"]).removeprefix(head), (int(one["Size"]), str(one["ETag"]))


def _checksum(source: int, size: int) -> str:
    """The checksum that a store keeps of a file that was put whole, or (the hash of their hashes) in our parts."""
    if size <= PART:
        return _text(hashlib.sha256(os.pread(source, size, 0)).digest())
    digests = [hashlib.sha256(body).digest() for body in _parts(source, size)]
    return _text(hashlib.sha256(b"".join(digests)).digest())


def _parts(source: int, size: int) -> Iterator[bytes]:
    each = max(PART, -(-size // MOST_PARTS))
    for offset in range(0, size, each):
        yield os.pread(source, min(each, size - offset), offset)


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _demand_same(path: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise DigestMismatch(
            f"{path} is not what was copied any more, so it was not stored",
            next_step="call copy_out again: it fetches what changed here",
            effect=UNTOUCHED,
        )


def _failed(what: str, bad: Exception) -> TransferError:
    text = "".join(c if c.isprintable() else " " for c in str(bad))[:300]
    return TransferError(
        f"{what}: {type(bad).__name__}: {text}",
        next_step="check the bucket's name, the AWS_* variables and the key's rights (read and write objects), then "
        "call copy_out again: it goes on",
        effect=UNTOUCHED,
    )
