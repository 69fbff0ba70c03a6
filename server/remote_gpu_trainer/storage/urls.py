"""``s3://bucket/prefix``, read strictly."""

import re

from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import InvalidRequest

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{1,512}")
"""Characters that every store takes as they are."""


class BucketUrl(Value):
    """A bucket, and a prefix in it without slashes at its ends."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> "BucketUrl":
        """Read one.

        Raises:
            InvalidRequest: it is no ``s3://bucket/prefix`` with a plain, non-empty prefix.
        """
        bucket, _, rest = text.removeprefix(SCHEME).partition("/")
        prefix = rest.strip("/")
        plain = _PREFIX.fullmatch(prefix) and not any(part in ("", ".", "..") for part in prefix.split("/"))
        if not text.startswith(SCHEME) or not _BUCKET.fullmatch(bucket) or not plain:
            raise InvalidRequest(
                f"{text[:200]!r} is no s3://bucket/prefix",
                next_step="name a bucket and a prefix of plain characters in it, such as s3://results/run-1",
                effect="Nothing was copied.",
            )
        return cls(bucket=bucket, prefix=prefix)

    def key(self, path: str) -> str:
        """The object's key for a path below the prefix."""
        return f"{self.prefix}/{path}"

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"
