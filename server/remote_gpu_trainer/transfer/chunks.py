"""What has already arrived, in an append-only file whose every line carries its own checksum.

A line is believed only as far as the bytes on the disk still hash to what it says, so it needs no sync of its own.
"""

import json
import os
import stat
import zlib
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, cast

from remote_gpu_trainer.transfer.landing import MAP, Landing, full_or_other
from remote_gpu_trainer.transfer.whereabouts import Whereabouts

MOST_BYTES = 1 << 30
MOST_LINE = 16 << 10
"""Bytes; a path of 1,024 takes six times as many when each is escaped."""
HELD_BYTES = 4 << 20
"""Small files are noted together once they are so many bytes."""
DONE, RESCUED = "done", "rescued"


class Piece(NamedTuple):
    """A range of an unfinished file that has arrived."""

    offset: int
    length: int
    sha256: str


class Finished(NamedTuple):
    """A file that was finished and published."""

    source: str
    size: int
    mtime_ns: int
    sha256: str
    rescued: bool = False
    """The machine's rsync told it: the time is one of whole seconds, and says less than one over SSH."""


class ChunkMap:
    """Pieces by the key of an unfinished file, and finished files by their path. One process writes it at a time.

    What it tells is what was there when it was opened; what is noted since then is for the next one.
    """

    def __init__(self, landing: Landing) -> None:
        """Open it, and believe what is whole of it.

        Raises:
            TransferError: a link or something else stands in its place; it is not followed.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._fd = os.open(MAP, flags, 0o600, dir_fd=landing.partials)
        except OSError as bad:
            raise full_or_other(bad, landing.path) from bad
        self._held, self._held_bytes = bytearray(), 0
        self.pieces: dict[str, list[Piece]] = {}
        self.beginnings: dict[str, dict[int, str]] = {}
        """By the key of an unfinished file: how many of its first bytes have arrived, and their hash."""
        self._finished = Whereabouts()
        """By the path of a file: where in the map the line is that says that it is finished."""
        self._load()

    def _load(self) -> None:
        seen = os.fstat(self._fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > MOST_BYTES:
            os.ftruncate(self._fd, 0)
            return
        whole = 0
        with os.fdopen(os.dup(self._fd), "rb") as file:
            for line in file:
                body, _, check = line.rstrip(b"\n").rpartition(b" ")
                if not line.endswith(b"\n") or check != _check(body):
                    break
                self._take(json.loads(body), whole)
                whole += len(line)
        os.ftruncate(self._fd, whole)

    def _take(self, item: Any, at: int) -> None:
        kind, key, *rest = cast(list[Any], item)
        if kind == "piece":
            offset, length, sha256 = rest
            self.pieces.setdefault(key, []).append(Piece(offset=offset, length=length, sha256=sha256))
        elif kind == "begun":
            end, sha256 = rest
            self.beginnings.setdefault(key, {})[end] = sha256
        elif kind == "forget":
            self._forget(key)
        else:
            self._finished.add(key, at)
            for each in rest[:-4]:  # maps of earlier versions say it in a line of its own
                self._forget(each)

    def _forget(self, key: str) -> None:
        self.pieces.pop(key, None)
        self.beginnings.pop(key, None)

    def finished(self, path: str) -> Finished | None:
        """What a file was when it was published last; None where nothing was noted, and none of what is noted now."""
        for at in sorted(self._finished.find(path), reverse=True):
            line = os.pread(self._fd, MOST_LINE, at).partition(b"\n")[0]
            kind, key, *rest = cast(list[Any], json.loads(line.rpartition(b" ")[0]))
            if key == path:
                return Finished(*rest[-4:], rescued=kind == RESCUED)
        return None

    @property
    def empty(self) -> bool:
        """Whether nothing that was there is left to be taken over; its readers pop what they take."""
        return not (self.pieces or self.beginnings or self._finished)

    def let_go(self) -> None:
        """Hold no longer what was there: it has been taken over."""
        self.pieces, self.beginnings, self._finished = {}, {}, Whereabouts()

    def add_piece(self, key: str, piece: Piece) -> None:
        """Note that a range has arrived."""
        self._write([["piece", key, piece.offset, piece.length, piece.sha256]])

    def add_beginning(self, key: str, end: int, sha256: str) -> None:
        """Note that the first ``end`` bytes have arrived."""
        self._write([["begun", key, end, sha256]])

    def add_small(self, key: str, length: int, sha256: str) -> None:
        """Note a small file that has arrived, with others: at most 4 MiB would be fetched again after a kill."""
        self._hold(f'["piece", "{key}", 0, {length}, "{sha256}"]'.encode("ascii"))
        self._held_bytes += length
        if self._held_bytes >= HELD_BYTES:
            self._write([])

    def forget(self, key: str) -> None:
        """Drop all pieces of an unfinished file."""
        self._write([["forget", key]])

    def finish(self, files: list[tuple[str, str, Finished]]) -> None:
        """Note files as (path, key of the unfinished file, what it is), after they were published."""
        for path, key, (source, size, mtime_ns, sha256, rescued) in files:
            kind, name, mark = (
                RESCUED if rescued else DONE,
                encode_basestring_ascii(path),
                encode_basestring_ascii(source),
            )
            self._hold(f'["{kind}", {name}, "{key}", {mark}, {size}, {mtime_ns}, "{sha256}"]'.encode("ascii"))
        self._write([])

    def _write(self, items: list[list[Any]]) -> None:
        for item in items:
            self._hold(json.dumps(item).encode("ascii"))
        text, self._held, self._held_bytes = self._held, bytearray(), 0
        view = memoryview(text)
        while view:
            view = view[os.write(self._fd, view) :]

    def _hold(self, body: bytes) -> None:
        self._held += b"%b %b\n" % (body, _check(body))

    def close(self) -> None:
        """Write what was held back, and close the file."""
        try:
            self._write([])
        finally:
            os.close(self._fd)


def _check(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
