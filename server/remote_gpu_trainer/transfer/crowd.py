"""All files of one copy: where each comes from, and what became of it, packed, since there may be a million."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from remote_gpu_trainer.domain.entries import Entries, packed_hashes
from remote_gpu_trainer.transfer.tasks import Fates, FileTask


@dataclass(frozen=True, eq=False)
class Source:
    """One listed root, and where its files go."""

    root: str
    entries: Entries
    """Ordered by path."""
    prefix: str
    """Of its files below the destination, with its slash; empty for the destination itself."""
    mark: str
    """Which machine's files these are; another source shares nothing with it."""


class Crowd(Sequence[FileTask]):
    """The files of one copy, by their numbers. A task is made when it is asked for, and kept only while half here."""

    def __init__(self) -> None:
        self.fates = Fates(0)
        self._sources: list[Source] = []
        self._starts: list[int] = []
        """Number of the first file of each source that was planned; files that came later are in no order."""
        self._source = array("H")
        self._row = array("I")

    def begin(self, source: Source) -> None:
        """The files that are added from now on are of this root, ordered by path."""
        self._sources.append(source)
        self._starts.append(len(self))

    def add(self, row: int) -> int:
        """Take in a file by its place in the list of its root. Returns its number."""
        return self._add(len(self._sources) - 1, row)

    def _add(self, source: int, row: int) -> int:
        self._source.append(source)
        self._row.append(row)
        self.fates.more()
        return len(self) - 1

    def __len__(self) -> int:
        return len(self._row)

    @overload
    def __getitem__(self, index: int) -> FileTask: ...
    @overload
    def __getitem__(self, index: slice) -> list[FileTask]: ...
    def __getitem__(self, index: int | slice) -> FileTask | list[FileTask]:
        return [self._task(each) for each in range(len(self))[index]] if isinstance(index, slice) else self._task(index)

    def __iter__(self) -> Iterator[FileTask]:
        return (self._task(number) for number in range(len(self)))

    def _task(self, number: int) -> FileTask:
        begun = self.fates.begun.get(number)
        if begun is not None:
            return begun
        source, row = self._sources[self._source[number]], self._row[number]
        there, size, mtime_ns = source.entries.what(row)
        return FileTask(source.root, there, source.prefix + there, source.mark, size, mtime_ns, self.fates, number)

    def path(self, number: int) -> str:
        """Of a file, below the destination."""
        source = self._sources[self._source[number]]
        return source.prefix + source.entries.path(self._row[number])

    def size(self, number: int) -> int:
        """Bytes of a file."""
        return self._sources[self._source[number]].entries.size(self._row[number])

    def stamp(self, number: int) -> tuple[int, int]:
        """Its size and time: what it must not change in while it is copied."""
        entries, row = self._sources[self._source[number]].entries, self._row[number]
        return entries.size(row), entries.mtime_ns(row)

    def total(self) -> int:
        """The size of all files."""
        return sum(map(self.size, range(len(self))))

    def open_ones(self) -> Iterator[FileTask]:
        """Files that still have to be fetched, as they are when each is reached."""
        return map(self._task, self.fates.open_ones())

    def bytes_missing(self) -> int:
        """Of the files that still have to be fetched, what has not arrived."""
        total = sum(map(self.size, self.fates.open_ones()))
        begun = [task for number, task in list(self.fates.begun.items()) if self.fates.is_open(number)]
        return total - sum(task.size - sum(high - low for low, high in task.missing()) for task in begun)

    def find(self, path: str, near: int) -> int | None:
        """The number of a file as it was planned; looked for at ``near`` first, where a walk in order finds it."""
        if near < len(self) and self.path(near) == path:
            return near
        for source, start in enumerate(self._starts):
            end = self._starts[source + 1] if source + 1 < len(self._starts) else len(self)
            if path.startswith(self._sources[source].prefix):
                at = bisect_left(range(end), path, start, key=self.path)
                if at < end and self.path(at) == path:
                    return at
        return None

    def restart(self, number: int, other: "Crowd", there: int) -> None:
        """Let a file begin anew, as another plan of the same copy names it."""
        self._source[number], self._row[number] = self._taken_over(other, there), other._row[there]
        self.fates.reset(number)

    def take_in(self, other: "Crowd", there: int) -> int:
        """Add a file of another plan of the same copy. Returns its number."""
        return self._add(self._taken_over(other, there), other._row[there])

    def _taken_over(self, other: "Crowd", there: int) -> int:
        source = other._sources[other._source[there]]
        if source not in self._sources:
            self._sources.append(source)
        return self._sources.index(source)

    def copied(self) -> Entries:
        """The published files with their hashes, by their paths below the destination."""
        done = array("I", (number for number in range(len(self)) if self.fates.done(number) is not None))
        if len(self._sources) == 1 and not self._sources[0].prefix:
            rows = array("I", map(self._row.__getitem__, done))
            hashes = packed_hashes(self.fates.done(number) or b"" for number in done)
            return self._sources[0].entries.hashed(rows, hashes)
        found = Entries()
        for number in done:
            source = self._sources[self._source[number]]
            found.take_over(source.entries, self._row[number], source.prefix, self.fates.done(number) or b"")
        return found.by_path()
