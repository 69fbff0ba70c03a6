"""Reading one object, or a range of it, as long as it is the proven one. Blocking, on a worker thread of anyio."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from anyio.from_thread import check_cancelled

from remote_gpu_trainer.domain.artifacts import BucketObject
from remote_gpu_trainer.errors import TransferError
from remote_gpu_trainer.storage.refusals import UNTOUCHED, status_of
from remote_gpu_trainer.storage.urls import BucketUrl

BLOCK = 1 << 20
MOST_CUTS = 5
"""Of the connection, without a byte in between, until a read is given up."""


class Replaced(Exception):
    """The object is gone, or another one took its place."""


class Reader:
    """Below one prefix."""

    def __init__(self, client: Any, url: BucketUrl) -> None:
        self._client, self._url = client, url
        self._knows_parts = True
        # Asked for by the parameter, botocore would hash each part once more than whoever takes the bytes does.
        client.meta.events.register("before-call.s3.GetObject", _ask_for_checksum)

    def read(
        self, one: BucketObject, at: int, end: int, sink: Callable[[bytes], None], *, part: int | None = None
    ) -> str | None:
        """Give a range to ``sink``, going on where a connection was cut.

        An object that is not the newest of its name any more is read as the version that it was proven as. The pin is
        the ETag in each request, the first included.

        Args:
            one: The proven object.
            at: First byte.
            end: Byte after the last.
            sink: Gets the bytes in order.
            part: Number of the object's part that this range should be.

        Returns:
            The sha256 in hex that the store keeps of that part, if it does and all of it came in one answer.

        Raises:
            Replaced: it is gone, or another object took its place.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        target = {"Bucket": self._url.bucket, "Key": self._url.key(one.path), "IfMatch": one.etag}
        begun, cuts, claimed = at, 0, None
        part = part if self._knows_parts else None
        while at < end:
            came, cut = at, None
            try:
                by_part = part is not None and at == begun
                wanted = {"PartNumber": part} if by_part else {"Range": f"bytes={at}-{end - 1}"}
                answer = self._client.get_object(**target, **wanted)
                claimed = _claim(answer) if by_part else None
                for block in _blocks(answer, at, end, one.size):
                    check_cancelled()
                    sink(block)
                    at += len(block)
            except ClientError as bad:
                if status_of(bad) == 416 and part is not None:
                    part, self._knows_parts = None, False
                elif status_of(bad) not in (404, 412):
                    raise
                elif one.version is None or "VersionId" in target:
                    raise Replaced from bad
                else:
                    target["VersionId"] = one.version
                continue
            except BotoCoreError as bad:
                cut = bad
            if at == came and part is not None:  # its parts are others, or this store does not tell them apart
                part, self._knows_parts = None, cut is not None
            cuts = 0 if at > came else cuts + 1
            if cuts > MOST_CUTS:
                raise cut or TransferError(
                    f"{self._url} does not send bytes {at} to {end - 1} of {one.path} when asked", effect=UNTOUCHED
                )
        return claimed


def _blocks(answer: dict[str, Any], at: int, end: int, size: int) -> Iterator[bytes]:
    """The bytes of an answer, none of one that is something else than was asked for, and never more."""
    body = answer["Body"]
    try:
        given = str(answer.get("ContentRange")).startswith(f"bytes {at}-{end - 1}/")
        if not given and (at, end) != (0, size):
            return
        while block := body.read(BLOCK):  # to its end, so that the connection serves again
            at += len(block)
            if at > end:
                return
            yield block
    finally:
        body.close()


def _claim(answer: dict[str, Any]) -> str | None:
    kept = str(answer.get("ChecksumSHA256") or "")
    try:
        digest = base64.b64decode(kept, validate=True)
    except ValueError:  # that of a whole object, as the hash of its parts' hashes, ends with their number
        return None
    return digest.hex() if len(digest) == 32 else None


def _ask_for_checksum(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"
