"""One file on its way home, and the ranges that are still missing of it."""

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

from remote_gpu_trainer.domain.artifacts import ManifestEntry
from remote_gpu_trainer.transfer.chunks import ChunkMap, Piece
from remote_gpu_trainer.transfer.landing import Landing

CHUNK = 4 << 20
"""Bytes of a big file that are framed and hashed as one."""
SMALL = 1 << 20
"""Files up to this size arrive in one piece and are synced by the hundred."""
READ = 1 << 20


@dataclass(frozen=True)
class Order:
    """One range that is asked of the machine."""

    task: "FileTask"
    offset: int
    length: int
    follows: bool = False
    """It goes on where the one before it ended, over the same connection, from the file's first byte on: its hash is
    that of the whole beginning of the file."""


@dataclass
class FileTask:
    """A file of the roster and where it goes. Ranges are half open, in bytes."""

    root: str
    entry: ManifestEntry
    """As the machine lists it; the path is relative to the root and empty when the root is the file itself."""
    path: str
    """Relative to the destination."""
    source: str
    """Which machine's file this is; another source shares nothing with it."""
    have: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    sha256: str | None = None
    """Of the whole, once it is published."""
    failed: str | None = None
    """Why it will not be copied."""
    changed: bool = False
    """The machine said that it was another file than the listed one."""
    running: Any = field(default_factory=hashlib.sha256)
    hashed: int = 0
    """Bytes from the beginning that ``running`` covers."""

    key: str = field(init=False)
    """Name of the unfinished file: source, path, size and time decide it."""

    def __post_init__(self) -> None:
        self._name()

    def _name(self) -> None:
        mark = f"{self.source}\0{self.path}\0{self.entry.size}\0{self.entry.mtime_ns}"
        self.key = hashlib.sha256(mark.encode()).hexdigest()[:40]

    @property
    def open(self) -> bool:
        """Whether it still has to be fetched."""
        return self.sha256 is None and self.failed is None and not self.changed

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

    def missing(self) -> list[tuple[int, int]]:
        """What has not arrived."""
        gaps, at = list[tuple[int, int]](), 0
        for low, high in self.have:
            if low > at:
                gaps.append((at, low))
            at = max(at, high)
        return [*gaps, (at, self.entry.size)] if at < self.entry.size else gaps

    def orders(self, *, chain: bool = False) -> list[Order]:
        """The missing ranges, cut into chunks; an empty file is one order of no bytes.

        With ``chain`` those of a big file of which nothing is here follow each other, which saves hashing it twice.
        """
        if not self.entry.size:
            return [Order(self, 0, 0)]
        follows = chain and not self.have and not self.hashed and self.entry.size > SMALL
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

    def restart(self, entry: ManifestEntry) -> None:
        """Begin anew, for the file as it is listed now."""
        self.entry, self.have, self.sha256, self.changed = entry, [], None, False
        self.running, self.hashed = hashlib.sha256(), 0
        self._name()


def recall(task: FileTask, landing: Landing, chunks: ChunkMap) -> bool:
    """Take over what an earlier call left, after reading it again. Returns whether the file is there already.

    Pieces whose bytes no longer hash to what was noted are not believed.
    """
    done = chunks.finished.get(task.path)
    wanted = (task.source, task.entry.size, task.entry.mtime_ns)
    if done and (done.source, done.size, done.mtime_ns) == wanted:
        seen = landing.look(task.path)
        if seen and seen.st_size == done.size and landing.sha256(task.path) == done.sha256:
            task.sha256 = done.sha256
            return True
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
    return False


def _believe_beginning(task: FileTask, fd: int, end: int, sha256: str) -> bool:
    """Take over the file's first bytes up to ``end``, where they hash to what was noted."""
    if not task.hashed < end <= task.entry.size:
        return False
    digest, at = task.running.copy(), task.hashed
    while at < end and (data := os.pread(fd, min(READ, end - at), at)):
        digest.update(data)
        at += len(data)
    if at < end or digest.hexdigest() != sha256:
        return False
    task.running, task.hashed = digest, end
    task.add(0, end)
    return True


def _believe(task: FileTask, fd: int, piece: Piece) -> None:
    end = piece.offset + piece.length
    if piece.length <= 0 or piece.offset < 0 or end > task.entry.size:
        return
    data = os.pread(fd, piece.length, piece.offset) if piece.length <= CHUNK else b""
    if len(data) == piece.length and hashlib.sha256(data).hexdigest() == piece.sha256:
        task.add(piece.offset, end)
