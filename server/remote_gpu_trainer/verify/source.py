"""Bounded reads from the one descriptor through which a file is both hashed and loaded."""

import io
import os
import stat
from collections.abc import Iterator

from remote_gpu_trainer.verify.outcome import BrokenArtifact

CHUNK = 1 << 20
"""Bytes per read while scanning: small enough for the cache, large enough to hide the calls."""


class Source:
    """A regular file by descriptor; never opened again by name."""

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BrokenArtifact("not-a-file", "it is not a regular file")
        self.fd = fd
        self.size = status.st_size

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes.

        Raises:
            BrokenArtifact: ``truncated``, the file ends before.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise BrokenArtifact("truncated", f"{size} bytes at {offset} reach beyond its {self.size} bytes")
        data = b"".join(self.chunks(offset, size))
        if len(data) != size:
            raise BrokenArtifact("truncated", f"{len(data)} of {size} bytes at {offset} could be read")
        return data

    def chunks(self, offset: int, size: int, chunk: int = CHUNK) -> Iterator[bytes]:
        """The bytes of a range, piece by piece; ends early where the file does."""
        end = offset + size
        while offset < end:
            data = os.pread(self.fd, min(chunk, end - offset), offset)
            if not data:
                return
            yield data
            offset += len(data)

    def stream(self) -> io.BufferedReader:
        """A seekable reader from the start. Closing it leaves the descriptor open."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        return open(self.fd, "rb", closefd=False)

    @property
    def path(self) -> str:
        """A name for libraries that insist on one; it leads to the same open file."""
        return f"/dev/fd/{self.fd}"
