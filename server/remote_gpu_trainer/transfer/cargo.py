"""What one push carries: each file with its hash, and what the machine has of it. Some fifty bytes a file."""

import hashlib
import os
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from remote_gpu_trainer.transfer.survey import LocalFile, LocalFiles

PIECE = 8 << 20
"""Bytes of a big file that are sent as one."""
_DONE, _STALE, _LEFT_OUT = 1, 2, 4


class Cargo:
    """The files by number. An object is made of one when it is asked for, and holds nothing of its own."""

    def __init__(self, files: LocalFiles) -> None:
        self.files = files
        self.sizes = array("q", bytes(8 * len(files)))
        """As they were when the files were hashed."""
        self.hashes = bytearray(32 * len(files))
        self.marks = bytearray(len(files))
        self.ranges: dict[int, list[tuple[int, int]]] = {}
        """Of files of which the machine has a part."""
        self.there = 0
        """Bytes that the machine has, and one for each file that it has whole."""

    def weigh(self, number: int) -> None:
        """Hash a file; what was known of it is forgotten. Blocking.

        Raises:
            OSError: it cannot be read; then it is left out.
        """
        self.take(number, [])
        self.marks[number] = _LEFT_OUT
        with os.fdopen(self.files[number].open(), "rb") as content:
            self.hashes[32 * number : 32 * number + 32] = hashlib.file_digest(content, "sha256").digest()
            self.sizes[number] = content.tell()
        self.marks[number] = 0

    def take(self, number: int, ranges: list[tuple[int, int]]) -> None:
        """Believe the machine's ranges; the whole is proven by its hash in the end."""
        self.there -= self._there(number)
        size = self.sizes[number]
        if ranges == [(0, size)]:
            self.marks[number] |= _DONE
            self.ranges.pop(number, None)
        elif ranges:
            self.ranges[number] = ranges
        else:
            self.ranges.pop(number, None)
        self.there += self._there(number)

    def open_ones(self) -> "Iterator[Parcel]":
        """Those that still have to be sent, as they are when each is reached."""
        at = self.marks.find(0)
        while at >= 0:
            yield Parcel(self, at)
            at = self.marks.find(0, at + 1)

    def is_open(self) -> bool:
        """Whether any is."""
        return self.marks.find(0) >= 0

    def stale(self) -> list[int]:
        """Numbers of those whose bytes are no longer those that were hashed."""
        return [number for number, mark in enumerate(self.marks) if mark & _STALE]

    def count(self) -> int:
        """How many are carried."""
        return sum(not mark & _LEFT_OUT for mark in self.marks)

    def done(self) -> int:
        """How many are there."""
        return sum(mark & _DONE for mark in self.marks)

    def total(self) -> int:
        """Bytes of all that are carried."""
        return sum(size for size, mark in zip(self.sizes, self.marks, strict=True) if not mark & _LEFT_OUT)

    def _there(self, number: int) -> int:
        if self.marks[number] & _DONE:
            return self.sizes[number] + 1
        return sum(end - start for start, end in self.ranges.get(number, ()))


class Parcel:
    """One file of a cargo."""

    __slots__ = ("_cargo", "_number")

    def __init__(self, cargo: Cargo, number: int) -> None:
        self._cargo, self._number = cargo, number

    @property
    def file(self) -> LocalFile:
        """Where it is here."""
        return self._cargo.files[self._number]

    @property
    def size(self) -> int:
        """Bytes that were hashed."""
        return self._cargo.sizes[self._number]

    @property
    def sha256(self) -> str:
        """Of them, in hex."""
        return self._cargo.hashes[32 * self._number : 32 * self._number + 32].hex()

    @property
    def stale(self) -> bool:
        """Its bytes are no longer those that were hashed."""
        return bool(self._cargo.marks[self._number] & _STALE)

    def spoil(self) -> None:
        """Note that."""
        self._cargo.marks[self._number] |= _STALE

    def take(self, ranges: list[tuple[int, int]]) -> None:
        """Believe the machine's ranges."""
        self._cargo.take(self._number, ranges)

    def pieces(self) -> "list[Piece]":
        """What is missing, cut; an empty file is one piece of no bytes."""
        size = self.size
        if not size:
            return [Piece(self, 0, 0)]
        out, at = list[Piece](), 0
        for start, end in [*self._cargo.ranges.get(self._number, ()), (size, size)]:
            out += [Piece(self, low, min(PIECE, start - low)) for low in range(at, start, PIECE)]
            at = max(at, end)
        return out


class Piece(NamedTuple):
    """One range of one file."""

    parcel: Parcel
    offset: int
    length: int
