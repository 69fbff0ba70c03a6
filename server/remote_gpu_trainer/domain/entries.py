"""The entries of a tree, packed: a million objects take a gigabyte, a million rows some fifty megabytes."""

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, cast, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from remote_gpu_trainer.domain.values import Value

RUN = 1 << 16
"""Rows that are sorted at once: their paths are held as texts meanwhile."""
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


class _Columns(NamedTuple):
    """One row for each entry: its folder by number, its own name, and what else is known."""

    folders: list[str]
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

    __slots__ = ("_columns", "_known", "_order")

    def __init__(self) -> None:
        self._columns = _Columns(
            [], array("I"), bytearray(), array("I"), bytearray(), array("q"), array("q"), bytearray()
        )
        self._known: dict[str, int] = {}
        self._order: array[int] | None = None

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
        columns, row = other._columns, other._row(index)
        marks = columns.marks[row] & ~_HASHED
        self._append(prefix + other._path(row), marks, columns.sizes[row], columns.times[row], sha256)

    def _append(self, path: str, marks: int, size: int, mtime_ns: int, sha256: bytes) -> None:
        if self._order is not None:
            raise ValueError("an order of entries takes no more of them")
        if len(sha256) not in (0, 32):
            raise ValueError(f"{len(sha256)} bytes are no sha256")
        columns = self._columns
        folder, slash, name = path.rpartition("/")
        folder += slash
        number = self._known.get(folder)
        if number is None:
            number = self._known[folder] = len(columns.folders)
            columns.folders.append(folder)
        columns.sizes.append(size)
        try:
            columns.times.append(mtime_ns)
        except OverflowError:
            columns.sizes.pop()
            raise
        columns.folder.append(number)
        columns.names.extend(name.encode(*_TEXT))
        columns.ends.append(len(columns.names))
        if sha256:
            columns.hashes.extend(bytes(32 * len(columns.marks) - len(columns.hashes)) + sha256)
        columns.marks.append(marks | (_HASHED if sha256 else 0))

    def __len__(self) -> int:
        return len(self._columns.marks if self._order is None else self._order)

    def __iter__(self) -> Iterator[ManifestEntry]:
        return map(self._entry, self._rows())

    @overload
    def __getitem__(self, index: int) -> ManifestEntry: ...
    @overload
    def __getitem__(self, index: slice) -> "Entries": ...
    def __getitem__(self, index: int | slice) -> "ManifestEntry | Entries":
        if isinstance(index, slice):
            return self._ordered(array("I", self._rows()[index]))
        return self._entry(self._rows()[index])

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
        return _KINDS[self._columns.marks[self._row(index)] & 15]

    def size(self, index: int) -> int:
        """Its bytes."""
        return self._columns.sizes[self._row(index)]

    def mtime_ns(self, index: int) -> int:
        """Its time."""
        return self._columns.times[self._row(index)]

    def find(self, path: str) -> int | None:
        """Where a path is, in entries that are sorted; None where it is not."""
        at = bisect_left(range(len(self)), path, key=self.path)
        return at if at < len(self) and self.path(at) == path else None

    def only(self, kind: EntryKind) -> "Entries":
        """Those of one kind, in their order."""
        marks, number = self._columns.marks, _NUMBERS[kind]
        kept = array("I", (row for row in self._rows() if marks[row] & 15 == number))
        return self if len(kept) == len(self) else self._ordered(kept)

    def bytes(self) -> int:
        """The sum of all sizes."""
        sizes = self._columns.sizes
        return sum(sizes) if self._order is None else sum(sizes[row] for row in self._order)

    def open_for_writing(self) -> list[str]:
        """Paths of those that some process holds open."""
        marks = self._columns.marks
        return [self._path(row) for row in self._rows() if marks[row] & _OPEN]

    def by_path(self) -> "Entries":
        """The same in the order of their paths; equal ones stay in theirs."""
        rows = self._rows()
        before = ""
        for row in rows:
            path = self._path(row)
            if path < before:
                break
            before = path
        else:
            return self
        runs = (sorted(rows[at : at + RUN], key=self._path) for at in range(0, len(rows), RUN))
        packed = [array("I", run) for run in runs]
        return self._ordered(array("I", heapq.merge(*packed, key=self._path)))

    def _row(self, index: int) -> int:
        return index if self._order is None else self._order[index]

    def _rows(self) -> "Sequence[int]":
        return range(len(self._columns.marks)) if self._order is None else self._order

    def _ordered(self, rows: "array[int]") -> "Entries":
        made = Entries.__new__(Entries)
        made._columns, made._known, made._order = self._columns, self._known, rows
        return made

    def _path(self, row: int) -> str:
        folders, folder, names, ends, *_ = self._columns
        return folders[folder[row]] + names[ends[row - 1] if row else 0 : ends[row]].decode(*_TEXT)

    def _entry(self, row: int) -> ManifestEntry:
        columns = self._columns
        marks = columns.marks[row]
        return ManifestEntry(
            path=self._path(row),
            kind=_KINDS[marks & 15],
            size=columns.sizes[row],
            mtime_ns=columns.times[row],
            sha256=columns.hashes[32 * row : 32 * row + 32].hex() if marks & _HASHED else None,
            unstable=bool(marks & _UNSTABLE),
            open_for_writing=bool(marks & _OPEN),
        )


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
