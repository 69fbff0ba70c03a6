"""Uploads in parts, as a store keeps them until somebody completes or ends them. Blocking."""

import base64
import hashlib
import io
import os
from datetime import datetime
from typing import Any

from anyio.from_thread import check_cancelled

from remote_gpu_trainer.domain.uploads import StoredPart, UnfinishedUpload
from remote_gpu_trainer.errors import DigestMismatch, RemoteChanged, TransferError
from remote_gpu_trainer.storage.refusals import UNTOUCHED, code_of
from remote_gpu_trainer.storage.urls import BucketUrl

GONE = "NoSuchUpload"
OTHER_PARTS = frozenset({GONE, "InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
ABORTS = 3
"""A part that is under way when an upload is ended may land after it, so it is looked whether the upload is gone."""


class Shrunk(BaseException):
    """The file ended too early. No Exception, since botocore would take that for a bad connection and send again."""


class Stretch(io.RawIOBase):
    """A range of an open file, read as it is sent and hashed as it is read; each new beginning hashes anew."""

    def __init__(self, source: int, offset: int, length: int) -> None:
        self._source, self._offset, self._length = source, offset, length
        self._at, self._hashed, self._digest = 0, 0, hashlib.sha256()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, so that a part whose connection was cut can be sent again."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; the only ways used are to the beginning, and to the end to see how long it is."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = base + offset
        if self._at == 0:
            self._hashed, self._digest = 0, hashlib.sha256()
        return self._at

    def tell(self) -> int:
        """Bytes from the beginning."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read, unless the caller's task was cancelled.

        Raises:
            Shrunk: the file is shorter than it was.
        """
        check_cancelled()
        wanted = min(len(buffer), self._length - self._at)
        data = os.pread(self._source, wanted, self._offset + self._at)
        if wanted and not data:
            raise Shrunk
        buffer[: len(data)] = data
        if self._hashed == self._at:
            self._digest.update(data)
            self._hashed += len(data)
        self._at += len(data)
        return len(data)

    def is_not(self, sha256: str) -> bool:
        """Whether all of it was read, and is something else than this."""
        return self._hashed == self._length and self._digest.hexdigest() != sha256


class Parts:
    """Below one prefix."""

    def __init__(self, client: Any, url: BucketUrl) -> None:
        self._client, self._url = client, url

    def begin(self, path: str) -> str:
        """Its upload id."""
        return str(self._client.create_multipart_upload(**self._target(path), ChecksumAlgorithm="SHA256")["UploadId"])

    def listed(self, path: str, upload: str) -> tuple[StoredPart, ...] | None:
        """What the store holds of it; None when it is gone."""
        from botocore.exceptions import ClientError

        found: list[StoredPart] = []
        try:
            for page in self._client.get_paginator("list_parts").paginate(**self._target(path), UploadId=upload):
                found += [_part(row) for row in page.get("Parts", ())]
        except ClientError as bad:
            if code_of(bad) == GONE:
                return None
            raise
        return tuple(found)

    def send(
        self, path: str, upload: str, number: int, *, source: int, offset: int, length: int, sha256: str
    ) -> StoredPart:
        """Send one.

        Raises:
            DigestMismatch: the file changed meanwhile.
            RemoteChanged: there is no such upload any more.
        """
        from botocore.exceptions import ClientError

        body = Stretch(source, offset, length)
        try:
            done: dict[str, Any] = self._client.upload_part(
                **self._target(path),
                UploadId=upload,
                PartNumber=number,
                Body=body,
                ContentLength=length,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=as_base64(sha256),
            )
        except Shrunk as bad:
            raise changed(path) from bad
        except ClientError as bad:
            if body.is_not(sha256):
                raise changed(path) from bad
            raise self._told(path, bad) from bad
        if body.is_not(sha256):
            raise changed(path)
        return StoredPart(number=number, size=length, etag=str(done["ETag"]), sha256=sha256)

    def complete(self, path: str, upload: str, parts: tuple[StoredPart, ...]) -> None:
        """Make the object.

        Raises:
            RemoteChanged: there is no such upload, or its parts are others.
        """
        from botocore.exceptions import ClientError

        rows: list[dict[str, Any]] = [
            {"PartNumber": part.number, "ETag": part.etag}
            | ({} if part.sha256 is None else {"ChecksumSHA256": as_base64(part.sha256)})
            for part in parts
        ]
        try:
            self._client.complete_multipart_upload(
                **self._target(path), UploadId=upload, MultipartUpload={"Parts": rows}
            )
        except ClientError as bad:
            raise self._told(path, bad) from bad

    def abort(self, path: str, upload: str) -> None:
        """End it, and see that it is gone where that may be seen."""
        from botocore.exceptions import ClientError

        for _ in range(ABORTS):
            try:
                self._client.abort_multipart_upload(**self._target(path), UploadId=upload)
            except ClientError as bad:
                if code_of(bad) != GONE:
                    raise
            try:
                if self.listed(path, upload) is None:
                    return
            except ClientError:  # it may be ended and not looked at
                return
        raise TransferError(
            f"the upload of {path} to {self._url} was ended {ABORTS} times and is still there",
            next_step="see that nothing else sends to it, then call copy_out again: it ends it first",
            effect=UNTOUCHED,
        )

    def unfinished(self) -> tuple[UnfinishedUpload, ...]:
        """All below the prefix, whoever began them."""
        head = f"{self._url.prefix}/"
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._url.bucket, Prefix=head)
        return tuple(
            UnfinishedUpload(path=str(row["Key"]).removeprefix(head), upload=str(row["UploadId"]), begun_at=_time(row))
            for page in pages
            for row in page.get("Uploads", ())
        )

    def _target(self, path: str) -> dict[str, str]:
        return {"Bucket": self._url.bucket, "Key": self._url.key(path)}

    def _told(self, path: str, bad: Exception) -> Exception:
        if code_of(bad) not in OTHER_PARTS:
            return bad
        return RemoteChanged(
            f"the upload of {path} to {self._url} is gone or holds other parts ({code_of(bad)})",
            next_step="call copy_out again: it begins that object anew",
            effect=UNTOUCHED,
        )


def changed(path: str) -> DigestMismatch:
    """The local file is not the proven one any more."""
    return DigestMismatch(
        f"{path} is not what was copied any more, so it was not stored",
        next_step="call copy_out again: it fetches what changed here",
        effect=UNTOUCHED,
    )


def as_base64(sha256: str) -> str:
    """A digest in hex, as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode("ascii")


def _part(row: dict[str, Any]) -> StoredPart:
    kept = row.get("ChecksumSHA256")
    return StoredPart(
        number=int(row["PartNumber"]),
        size=int(row["Size"]),
        etag=str(row["ETag"]),
        sha256=None if kept is None else base64.b64decode(str(kept)).hex(),
    )


def _time(row: dict[str, Any]) -> datetime | None:
    begun = row.get("Initiated")
    return begun if isinstance(begun, datetime) else None
