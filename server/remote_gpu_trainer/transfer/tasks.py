"""One file on its way home, and the ranges that are still missing of it."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from remote_gpu_trainer.domain.entries import BITS, REST
from remote_gpu_trainer.transfer.chunks import ChunkMap, Finished, Piece
from remote_gpu_trainer.transfer.landing import Landing

CHUNK = 4 << 20
"""Bytes of a big file that are framed and hashed as one."""
SMALL = 1 << 20
"""Files up to this size arrive in one piece and are synced by the hundred."""
READ = 1 << 20
SECOND = 10**9
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Order:
    """One range that is asked of the machine."""

    task: "FileTask"
    offset: int
    length: int
    follows: bool = False
    """It goes on where the one before it ended, over the same connection, from the file's first byte on: its hash is
    that of the whole beginning of the file."""


STEM = 24
"""Hexadecimal digits."""


def stem(source: str, path: str) -> str:
    """How the names of all unfinished versions of one file begin."""
    return hashlib.sha256(f"{source}\0{path}".encode()).hexdigest()[:STEM]


_DONE, _FAILED, _CHANGED = 1, 2, 4


class Fates:
    """What became of many files, by their numbers: 33 bytes each, and an object only for those that are half here."""

    def __init__(self, count: int) -> None:
        self._marks = bytearray(count)
        self._hashes: dict[int, bytearray] = {}
        """By blocks, as their first hash comes."""
        self._reasons: dict[int, str] = {}
        self._said: dict[str, str] = {}
        self.begun: dict[int, FileTask] = {}
        """Files of which there is more to know than their end."""

    def more(self, count: int = 1) -> None:
        """Take in so many more files."""
        self._marks.extend(bytes(count))

    def reset(self, number: int) -> None:
        """Forget all about a file."""
        self._marks[number] = 0
        self._reasons.pop(number, None)
        self.begun.pop(number, None)

    def is_open(self, number: int) -> bool:
        """Whether it still has to be fetched."""
        return not self._marks[number]

    def open_ones(self) -> Iterator[int]:
        """Numbers of the files that still have to be fetched, as they are when each is reached."""
        at = self._marks.find(0)
        while at >= 0:
            yield at
            at = self._marks.find(0, at + 1)

    def count_open(self) -> int:
        """How many these are."""
        return self._marks.count(0)

    def done(self, number: int) -> bytes | None:
        """The sha256 of a file that was published."""
        if not self._marks[number] & _DONE:
            return None
        block, at = self._hashes[number >> BITS], 32 * (number & REST)
        return bytes(block[at : at + 32])

    def set_done(self, number: int, sha256: bytes | None) -> None:
        """Note that it was published, or, after all, that it is not."""
        if sha256 is None:
            self._marks[number] &= ~_DONE
            return
        block, at = self._hashes.get(number >> BITS), 32 * (number & REST)
        if block is None:
            block = self._hashes[number >> BITS] = bytearray()
        if len(block) < at:
            block.extend(bytes(at - len(block)))
        block[at : at + 32] = sha256
        self._marks[number] |= _DONE
        self.begun.pop(number, None)

    def failed(self, number: int) -> str | None:
        """Why it will not be copied."""
        return self._reasons.get(number)

    def set_failed(self, number: int, reason: str | None) -> None:
        """Note why it will not be copied."""
        if reason is None:
            self._marks[number] &= ~_FAILED
            self._reasons.pop(number, None)
            return
        self._marks[number] |= _FAILED
        self._reasons[number] = self._said.setdefault(reason, reason)  # a million files may fail for one reason
        self.begun.pop(number, None)

    def failures(self) -> Iterator[tuple[int, str]]:
        """Numbers and reasons of all that will not be copied."""
        return iter(self._reasons.items())

    def changed(self, number: int) -> bool:
        """Whether the machine said that it is another file than the listed one."""
        return bool(self._marks[number] & _CHANGED)

    def set_changed(self, number: int, changed: bool) -> None:
        """Note that."""
        self._marks[number] = self._marks[number] & ~_CHANGED | (changed and _CHANGED)


class FileTask:
    """A file of the roster and where it goes. Ranges are half open, in bytes."""

    __slots__ = (
        "_fates", "_key", "_number", "_running", "hashed", "have",
        "mtime_ns", "path", "root", "size", "source", "there",
    )  # fmt: skip

    def __init__(
        self, root: str, there: str, path: str, source: str, size: int, mtime_ns: int,
        fates: Fates | None = None, number: int = 0,
    ) -> None:  # fmt: skip
        """As the machine lists it.

        Args:
            root: The folder that was listed.
            there: Its path below that, empty where the root is the file itself.
            path: Relative to the destination.
            source: Which machine's file this is; another source shares nothing with it.
            size: Bytes.
            mtime_ns: Its time.
            fates: Where it is noted what becomes of it, under its ``number``.
            number: Among all files of the copy.
        """
        self.root, self.there, self.path, self.source = root, there, path, source
        self.size, self.mtime_ns = size, mtime_ns
        self.have: list[tuple[int, int]] = []
        self.hashed = 0
        """Bytes from the beginning that ``running`` covers."""
        self._running: Any = None
        self._key = ""
        self._fates, self._number = fates or Fates(1), number

    @property
    def key(self) -> str:
        """Name of the unfinished file: source, path, size and time decide it, its beginning the first two alone."""
        if not self._key:
            mark = f"{self.source}\0{self.path}\0{self.size}\0{self.mtime_ns}"
            self._key = stem(self.source, self.path) + hashlib.sha256(mark.encode()).hexdigest()[:40]
        return self._key

    @property
    def sha256(self) -> str | None:
        """Of the whole, lower-case hex, once it is published."""
        done = self._fates.done(self._number)
        return None if done is None else done.hex()

    @sha256.setter
    def sha256(self, value: str | None) -> None:
        self._fates.set_done(self._number, None if value is None else bytes.fromhex(value))

    @property
    def failed(self) -> str | None:
        """Why it will not be copied."""
        return self._fates.failed(self._number)

    @failed.setter
    def failed(self, reason: str | None) -> None:
        self._fates.set_failed(self._number, reason)

    @property
    def changed(self) -> bool:
        """The machine said that it was another file than the listed one."""
        return self._fates.changed(self._number)

    @changed.setter
    def changed(self, changed: bool) -> None:
        self._fates.set_changed(self._number, changed)

    @property
    def running(self) -> Any:
        """The hash of the file's beginning; whoever carries it on says so in ``hashed``."""
        if self._running is None:
            self._running = hashlib.sha256()
            self._begin()
        return self._running

    def _begin(self) -> None:
        """Stay the one object of this file while there is more to know of it than its end."""
        self._fates.begun[self._number] = self

    @property
    def open(self) -> bool:
        """Whether it still has to be fetched."""
        return self._fates.is_open(self._number)

    def add(self, start: int, end: int) -> None:
        """Note that these bytes are on the disk."""
        spans = sorted([*self.have, (start, end)])
        merged = [spans[0]]
        for low, high in spans[1:]:
            if low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self.have = merged
        self._begin()

    def begin_with(self, length: int) -> None:
        """Start over with so many bytes from the first one on, which are on the disk."""
        self.have, self.hashed, self._running = [], 0, None
        self.add(0, length)

    def missing(self) -> list[tuple[int, int]]:
        """What has not arrived."""
        gaps, at = list[tuple[int, int]](), 0
        for low, high in self.have:
            if low > at:
                gaps.append((at, low))
            at = max(at, high)
        return [*gaps, (at, self.size)] if at < self.size else gaps

    def orders(self, *, chain: bool = False) -> list[Order]:
        """The missing ranges, cut into chunks; an empty file is one order of no bytes.

        With ``chain`` those of a big file of which nothing is here follow each other, which saves hashing it twice.
        """
        if not self.have and self.size <= SMALL:
            return [Order(self, 0, self.size)]
        follows = chain and not self.have and not self.hashed and self.size > SMALL
        return [
            Order(self, at, min(CHUNK, high - at), follows)
            for low, high in self.missing()
            for at in range(low, high, CHUNK)
        ]

    def hash_on(self, data: memoryview) -> None:
        """Carry the hash of the whole on by its next bytes."""
        self.running.update(data)
        self.hashed += len(data)

    def hash_rest(self, fd: int) -> str:
        """The hash of the whole as far as it has arrived without a gap, reading what came out of order."""
        reached = self.have[0][1] if self.have and self.have[0][0] == 0 else 0
        while self.hashed < reached:
            data = os.pread(fd, min(READ, reached - self.hashed), self.hashed)
            if not data:
                break
            self.hash_on(memoryview(data))
        return self.running.hexdigest()

    def believe(self, digest: Any, end: int) -> None:
        """Take over the file's first bytes, of which this is the hash."""
        self._running, self.hashed = digest, end
        self.add(0, end)


def at_home(task: FileTask, landing: Landing, chunks: ChunkMap, *, by_second: bool = False) -> Finished | None:
    """What an earlier call brought home, where the machine still lists that and the bytes are still here.

    A note of a rescue fits to the second; with ``by_second`` so does every other.
    """
    done = chunks.finished(task.path)
    if done is None or (done.source, done.size) != (task.source, task.size):
        return None
    unit = SECOND if by_second or done.rescued else 1
    if done.mtime_ns // unit != task.mtime_ns // unit:
        return None
    seen = landing.look(task.path)
    return done if seen and seen.st_size == done.size and landing.sha256(task.path) == done.sha256 else None


def recall(task: FileTask, landing: Landing, chunks: ChunkMap) -> str | None:
    """Take over what an earlier call left, after reading it again.

    Pieces whose bytes no longer hash to what was noted are not believed. Returns the sha256 of a file that a rescue
    brought home: whether the machine's file is that one is still to be seen.
    """
    done = at_home(task, landing, chunks)
    if done is not None and not done.rescued:
        task.sha256 = done.sha256
        return None
    begun, pieces = chunks.beginnings.get(task.key), chunks.pieces.get(task.key)
    if begun or pieces:
        fd = landing.open_partial(task.key)
        try:
            for end, sha256 in sorted((begun or {}).items()):
                if not _believe_beginning(task, fd, end, sha256):
                    break
            for piece in sorted(pieces or (), key=lambda piece: piece.offset):
                _believe(task, fd, piece)
            task.hash_rest(fd)
        finally:
            os.close(fd)
    return None if done is None else done.sha256


def _believe_beginning(task: FileTask, fd: int, end: int, sha256: str) -> bool:
    """Take over the file's first bytes up to ``end``, where they hash to what was noted."""
    if not task.hashed < end <= task.size:
        return False
    digest, at = task.running.copy(), task.hashed
    while at < end and (data := os.pread(fd, min(READ, end - at), at)):
        digest.update(data)
        at += len(data)
    if at < end or digest.hexdigest() != sha256:
        return False
    task.believe(digest, end)
    return True


def _believe(task: FileTask, fd: int, piece: Piece) -> None:
    end = piece.offset + piece.length
    if piece.length <= 0 or piece.offset < 0 or end > task.size:
        return
    data = os.pread(fd, piece.length, piece.offset) if piece.length <= CHUNK else b""
    if len(data) == piece.length and hashlib.sha256(data).hexdigest() == piece.sha256:
        task.add(piece.offset, end)
