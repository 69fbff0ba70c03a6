"""Small reads in a row from an open file, out of one block in memory, never past a given end."""

import struct
from collections.abc import Iterator

from remote_gpu_trainer.verify.outcome import BrokenArtifact
from remote_gpu_trainer.verify.source import Source

BLOCK = 1 << 18
VALUES_MOST = 30_000_000
"""Fields, numbers and texts of one header; a model of a million tensors has some ten million."""


class Budget:
    """How many values may still be read, shared by all cursors over one file."""

    def __init__(self, values: int = VALUES_MOST) -> None:
        self.values = values

    def spend(self, values: int = 1) -> None:
        """Count.

        Raises:
            BrokenArtifact: ``too-many-values``.
        """
        self.values -= values
        if self.values < 0:
            raise BrokenArtifact("too-many-values", "its header holds more values than a model has use for")


class Cursor:
    """A place in a file between two bounds."""

    def __init__(self, source: Source, begin: int, end: int) -> None:
        if not 0 <= begin <= end <= source.size:
            raise BrokenArtifact("truncated", f"bytes {begin} to {end} reach beyond its {source.size} bytes")
        self.source, self.at, self.end = source, begin, end
        self._block, self._start = b"", 0

    def skip(self, size: int) -> tuple[int, int]:
        """Step over so many bytes and say where they lie.

        Raises:
            BrokenArtifact: ``truncated``, they reach beyond the end.
        """
        if size < 0 or self.at + size > self.end:
            raise BrokenArtifact("truncated", f"{size} bytes at {self.at} reach beyond {self.end}")
        begin, self.at = self.at, self.at + size
        return begin, self.at

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            BrokenArtifact: ``truncated``.
        """
        begin, end = self.skip(size)
        if size > BLOCK:
            return self.source.read(begin, size)
        if begin < self._start or end > self._start + len(self._block):
            self._block = self.source.read(begin, min(BLOCK, self.end - begin))
            self._start = begin
        return self._block[begin - self._start : end - self._start]

    def number(self, form: str) -> int | float:
        """One little-endian number; ``form`` as in ``struct``."""
        value: int | float = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def whole(self, form: str) -> int:
        """One little-endian whole number."""
        return int(self.number(form))

    def varint(self) -> int:
        """One number of protobuf, of at most 64 bits.

        Raises:
            BrokenArtifact: ``malformed``.
        """
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF
        raise BrokenArtifact("malformed", f"the number that ends at {self.at} is longer than 64 bits")

    def fields(self, budget: Budget) -> Iterator[tuple[int, int, int]]:
        """The fields of a protobuf message: number, and the bounds of a body; of a plain number its value, and -1.

        Raises:
            BrokenArtifact: ``malformed`` or ``truncated``.
        """
        while self.at < self.end:
            budget.spend()
            key = self.varint()
            number, wire = key >> 3, key & 7
            if number == 0:
                raise BrokenArtifact("malformed", f"field 0 at {self.at}")
            if wire == 0:
                yield number, self.varint(), -1
            elif wire in (1, 5):
                yield number, *self.skip(8 if wire == 1 else 4)
            elif wire == 2:
                yield number, *self.skip(self.varint())
            else:
                raise BrokenArtifact("malformed", f"a field of kind {wire} at {self.at}")
