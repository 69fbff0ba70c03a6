"""A file that comes in stretches side by side: what is here of it, and the hash of the whole as far as it reaches."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from anyio.from_thread import check_cancelled

from remote_gpu_trainer.transfer.chunks import Piece
from remote_gpu_trainer.transfer.landing import full_or_other

BLOCK = 1 << 20


class Stretch:
    """One range of an unfinished file. It fills from its beginning, by one thread at a time."""

    __slots__ = ("_file", "came", "digest", "length", "offset")

    def __init__(self, file: "HalfFile", offset: int, length: int) -> None:
        self._file, self.offset, self.length = file, offset, length
        self.came, self.digest = 0, hashlib.sha256()

    @property
    def next(self) -> int:
        """The file's byte that comes next."""
        return self.offset + self.came

    @property
    def end(self) -> int:
        """The file's byte after its last."""
        return self.offset + self.length

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        return self.came == self.length

    @property
    def piece(self) -> Piece:
        """What is here of it, to be noted."""
        return Piece(offset=self.offset, length=self.came, sha256=self.digest.hexdigest())

    def drop(self) -> None:
        """Let it begin anew."""
        self._file.told(-self.came)
        self.came, self.digest = 0, hashlib.sha256()

    def take(self, data: bytes) -> None:
        """Write what came. Blocking.

        Raises:
            LocalDiskFull: no room is left.
        """
        view = memoryview(data)
        while view:
            written = self._file.write(view, self.next)
            self.digest.update(view[:written])
            self.came += written
            self._file.told(written)
            view = view[written:]

    def recall(self, piece: Piece) -> bool:
        """Take over what an earlier call noted, if it still hashes to what was noted. Blocking."""
        digest, at = hashlib.sha256(), 0
        for block in self._file.blocks(self.offset, self.offset + piece.length):
            digest.update(block)
            at += len(block)
        if at != piece.length or digest.hexdigest() != piece.sha256:
            return False
        self.came, self.digest = at, digest
        self._file.told(at)
        return True


class HalfFile:
    """An unfinished file.

    Args:
        fd: Open for reading and writing; the caller closes it.
        where: Named in errors.
        size: Of the whole, in bytes.
        each: Bytes of a stretch; the last one is shorter.
        told: Gets how many bytes more are here, or how many less, on the thread that brings them.
    """

    def __init__(self, fd: int, where: Path, size: int, each: int, told: Callable[[int], None]) -> None:
        self._fd, self._where, self._size, self._each = fd, where, size, each
        self.told = told
        self.stretches = [Stretch(self, at, min(each, size - at)) for at in range(0, max(size, 1), each)]
        self._hash, self._hashed, self._hashing = hashlib.sha256(), 0, threading.Lock()

    def recall(self, pieces: Iterable[Piece]) -> None:
        """Believe what is here as far as its bytes hash to what was noted of them. Blocking."""
        try:
            if os.fstat(self._fd).st_size > self._size:
                os.ftruncate(self._fd, self._size)
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad
        for piece in sorted(pieces, key=lambda one: -one.length):
            number, rest = divmod(piece.offset, self._each)
            if rest or not 0 <= number < len(self.stretches):
                continue
            stretch = self.stretches[number]
            if not stretch.came and 0 < piece.length <= stretch.length:
                stretch.recall(piece)
        self.hash_on()

    def missing(self) -> list[Stretch]:
        """Those that are not here, or not all of them."""
        return [one for one in self.stretches if not one.whole]

    def hash_on(self) -> None:
        """Carry the hash of the whole on over what is here without a gap. Blocking; one thread does it for all."""
        if self._hashing.acquire(blocking=False):
            try:
                self._carry_on()
            finally:
                self._hashing.release()

    def sha256(self) -> str:
        """Of the whole, in hex, once all is here. Blocking."""
        if len(self.stretches) == 1:
            return self.stretches[0].digest.hexdigest()
        with self._hashing:
            self._carry_on()
        return self._hash.hexdigest()

    def _carry_on(self) -> None:
        if len(self.stretches) == 1:
            return
        while self._hashed < self._size and self.stretches[self._hashed // self._each].whole:
            stretch = self.stretches[self._hashed // self._each]
            for block in self.blocks(self._hashed, stretch.end):
                self._hash.update(block)
                self._hashed += len(block)
            if self._hashed < stretch.end:  # what was written is not there: the hash will say so
                return

    def blocks(self, at: int, end: int) -> "Iterable[bytes]":
        """What is on the disk of a range."""
        try:
            while at < end and (block := os.pread(self._fd, min(BLOCK, end - at), at)):
                check_cancelled()
                yield block
                at += len(block)
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad

    def write(self, data: memoryview, at: int) -> int:
        """Write some of it; returns how much."""
        try:
            return os.pwrite(self._fd, data, at)
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad

    def sync(self) -> None:
        """Bring it to the disk. Blocking."""
        try:
            os.fsync(self._fd)
        except OSError as bad:
            raise full_or_other(bad, self._where) from bad
