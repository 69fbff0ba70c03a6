"""The entries of a tree, packed: a million objects take a gigabyte, a million rows some fifty megabytes."""

import heapq
import operator
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, cast, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from remote_gpu_trainer.domain.values import Value

BITS = 16
REST = (1 << BITS) - 1
RUN = 1 << BITS
"""Rows of a block, and rows that are sorted at once: their paths are held as texts meanwhile."""
_UNSTABLE, _OPEN, _HASHED = 16, 32, 64
_TEXT = ("utf-8", "surrogatepass")


class EntryKind(StrEnum):
    """What an entry of a remote tree is. Only regular files are ever copied."""

    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    DEVICE = "device"


class ManifestEntry(Value):
    """One remote file or thing. Everything here is the machine's claim."""

    path: str
    """POSIX path relative to the manifest's root."""
    kind: EntryKind
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str | None = None
    """Lower-case hex; None when it was not hashed."""
    unstable: bool = False
    """It changed while it was read."""
    open_for_writing: bool = False


_KINDS = tuple(EntryKind)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


class _Block(NamedTuple):
    """Some thousand rows, one for each entry: its folder by number, its own name, and what else is known.

    Columns of a fixed length leave no holes behind in the memory, as one does that grows with the tree.
    """

    folder: "array[int]"
    names: bytearray
    ends: "array[int]"
    """Where each name ends among the names."""
    marks: bytearray
    """Number of the kind, and what is so of the entry."""
    sizes: "array[int]"
    times: "array[int]"
    hashes: bytearray
    """32 bytes a row, as far as the last row that has a hash."""


class Entries(Sequence[ManifestEntry]):
    """A sequence of entries that makes each when it is asked for.

    Rows are only added, with ``append``, and what others have been given of it stays as it was.
    """

    __slots__ = ("_blocks", "_count", "_folders", "_given", "_known", "_order")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._count = 0
        self._folders: list[str] = []
        self._known: dict[str, int] = {}
        self._order: array[int] | None = None
        self._given: list[bytearray] | None = None
        """Hashes by their place in the order, where the entries that are ordered had none."""

    @classmethod
    def of(cls, entries: Iterable[ManifestEntry]) -> "Entries":
        """These, in their order."""
        if isinstance(entries, Entries):
            return entries
        made = cls()
        for entry in entries:
            made.add(entry)
        return made

    def add(self, entry: ManifestEntry) -> None:
        """Add one. As ``append``."""
        self.append(
            entry.path,
            entry.kind,
            entry.size,
            entry.mtime_ns,
            sha256=entry.sha256,
            unstable=entry.unstable,
            open_for_writing=entry.open_for_writing,
        )

    def append(
        self,
        path: str,
        kind: EntryKind,
        size: int,
        mtime_ns: int,
        *,
        sha256: str | None = None,
        unstable: bool = False,
        open_for_writing: bool = False,
    ) -> None:
        """Add one.

        Raises:
            OverflowError: a number has more than 63 bits.
            ValueError: the hash is no sha256 in hex, or these entries are an order of others.
        """
        marks = _NUMBERS[kind] | (unstable and _UNSTABLE) | (open_for_writing and _OPEN)
        self._append(path, marks, size, mtime_ns, b"" if sha256 is None else bytes.fromhex(sha256))

    def take_over(self, other: "Entries", index: int, prefix: str, sha256: bytes) -> None:
        """Add one of others, below a folder, with its hash. As ``append``."""
        row = other._row(index)
        block, at = other._blocks[row >> BITS], row & REST
        marks = block.marks[at] & ~_HASHED
        self._append(prefix + other._path(row), marks, block.sizes[at], block.times[at], sha256)

    def _append(self, path: str, marks: int, size: int, mtime_ns: int, sha256: bytes) -> None:
        if self._order is not None:
            raise ValueError("an order of entries takes no more of them")
        if len(sha256) not in (0, 32):
            raise ValueError(f"{len(sha256)} bytes are no sha256")
        if self._count >> BITS == len(self._blocks):
            one = _Block(array("I"), bytearray(), array("I"), bytearray(), array("q"), array("q"), bytearray())
            self._blocks.append(one)
        block = self._blocks[-1]
        folder, slash, name = path.rpartition("/")
        folder += slash
        number = self._known.get(folder)
        if number is None:
            number = self._known[folder] = len(self._folders)
            self._folders.append(folder)
        block.sizes.append(size)
        try:
            block.times.append(mtime_ns)
        except OverflowError:
            block.sizes.pop()
            raise
        block.folder.append(number)
        block.names.extend(name.encode(*_TEXT))
        block.ends.append(len(block.names))
        if sha256:
            block.hashes.extend(bytes(32 * len(block.marks) - len(block.hashes)) + sha256)
        block.marks.append(marks | (_HASHED if sha256 else 0))
        self._count += 1

    def __len__(self) -> int:
        return self._count if self._order is None else len(self._order)

    def __iter__(self) -> Iterator[ManifestEntry]:
        return map(self._entry, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> ManifestEntry: ...
    @overload
    def __getitem__(self, index: slice) -> "list[ManifestEntry]": ...
    def __getitem__(self, index: int | slice) -> "ManifestEntry | list[ManifestEntry]":
        places = range(len(self))[index]
        return self._entry(places) if isinstance(places, int) else [self._entry(place) for place in places]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Entries | tuple | list):
            return NotImplemented
        them = cast(Sequence[object], other)
        return len(self) == len(them) and all(one == two for one, two in zip(self, them, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Entries({len(self)})"

    def path(self, index: int) -> str:
        """The path of one, from the beginning on."""
        return self._path(self._row(index))

    def kind(self, index: int) -> EntryKind:
        """Its kind."""
        return _KINDS[self._marks(self._row(index)) & 15]

    def size(self, index: int) -> int:
        """Its bytes."""
        row = self._row(index)
        return self._blocks[row >> BITS].sizes[row & REST]

    def mtime_ns(self, index: int) -> int:
        """Its time."""
        row = self._row(index)
        return self._blocks[row >> BITS].times[row & REST]

    def what(self, index: int) -> tuple[str, int, int]:
        """Path, size and time of one, without the rest of it."""
        row = self._row(index)
        block, at = self._blocks[row >> BITS], row & REST
        return self._path(row), block.sizes[at], block.times[at]

    def find(self, path: str) -> int | None:
        """Where a path is, in entries that are sorted; None where it is not."""
        at = bisect_left(range(len(self)), path, key=self.path)
        return at if at < len(self) and self.path(at) == path else None

    def only(self, kind: EntryKind) -> "Entries":
        """Those of one kind, in their order."""
        number = _NUMBERS[kind]
        return self._ordered(at for at in range(len(self)) if self._marks(self._row(at)) & 15 == number)

    def total(self) -> int:
        """The sum of all sizes."""
        if self._order is None:
            return sum(sum(block.sizes) for block in self._blocks)
        return sum(map(self.size, range(len(self))))

    def open_for_writing(self) -> list[str]:
        """Paths of those that some process holds open."""
        return [self.path(at) for at in range(len(self)) if self._marks(self._row(at)) & _OPEN]

    def by_path(self) -> "Entries":
        """The same in the order of their paths; equal ones stay in theirs."""
        before = ""
        for at in range(len(self)):
            path = self.path(at)
            if path < before:
                break
            before = path
        else:
            return self
        runs = (sorted(range(at, min(at + RUN, len(self))), key=self.path) for at in range(0, len(self), RUN))
        packed = [array("I", run) for run in runs]
        return self._ordered(heapq.merge(*packed, key=self.path))

    def hashed(self, places: "array[int]", hashes: list[bytearray]) -> "Entries":
        """Some of these with hashes, which are packed in the order of the places: 65,536 to a block."""
        made = self._order_of(places)
        made._given = hashes
        return made

    def _row(self, index: int) -> int:
        return index if self._order is None else self._order[index]

    def _marks(self, row: int) -> int:
        return self._blocks[row >> BITS].marks[row & REST]

    def _ordered(self, places: Iterable[int]) -> "Entries":
        kept = array("I", places)
        if len(kept) == len(self) and all(map(operator.eq, kept, range(len(self)))):
            return self
        made = self._order_of(kept)
        if self._given is not None:
            made._given = packed_hashes(map(self._hash, kept))
        return made

    def _order_of(self, places: "array[int]") -> "Entries":
        made = Entries()
        made._blocks, made._count, made._folders, made._known = self._blocks, self._count, self._folders, self._known
        made._order = places if self._order is None else array("I", map(self._order.__getitem__, places))
        return made

    def _path(self, row: int) -> str:
        folder, names, ends, *_ = self._blocks[row >> BITS]
        at = row & REST
        return self._folders[folder[at]] + names[ends[at - 1] if at else 0 : ends[at]].decode(*_TEXT)

    def _hash(self, index: int) -> "bytes | bytearray":
        if self._given is not None:
            return self._given[index >> BITS][32 * (index & REST) : 32 * (index & REST) + 32]
        row = self._row(index)
        block, at = self._blocks[row >> BITS], row & REST
        return block.hashes[32 * at : 32 * at + 32] if block.marks[at] & _HASHED else b""

    def _entry(self, index: int) -> ManifestEntry:
        row = self._row(index)
        block, at = self._blocks[row >> BITS], row & REST
        marks, sha256 = block.marks[at], self._hash(index)
        return ManifestEntry(
            path=self._path(row),
            kind=_KINDS[marks & 15],
            size=block.sizes[at],
            mtime_ns=block.times[at],
            sha256=sha256.hex() if sha256 else None,
            unstable=bool(marks & _UNSTABLE),
            open_for_writing=bool(marks & _OPEN),
        )


def packed_hashes(hashes: "Iterable[bytes | bytearray]") -> list[bytearray]:
    """So many hashes of 32 bytes, 65,536 to a block."""
    blocks: list[bytearray] = []
    for one in hashes:
        if not blocks or len(blocks[-1]) == 32 << BITS:
            blocks.append(bytearray())
        blocks[-1] += one
    return blocks


class Packed:
    """Marks a field of entries that are kept packed, whatever sequence it is given."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        given = core_schema.tuple_variable_schema(handler.generate_schema(ManifestEntry))
        made = core_schema.no_info_after_validator_function(Entries.of, given)
        packed = core_schema.union_schema([core_schema.is_instance_schema(Entries), made], mode="left_to_right")
        return core_schema.json_or_python_schema(
            json_schema=made,
            python_schema=packed,
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )


def _dumped(entries: Entries, info: Any) -> list[dict[str, Any]]:
    return [entry.model_dump(mode=info.mode) for entry in entries]
