"""What a copy has just hashed on its way to the disk, so that a verification right after it need not do so again."""

import os
import stat
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.domain.entries import Entries
from remote_gpu_trainer.domain.ids import CopyId


class Known(NamedTuple):
    """The mark of one file and the sha256 that belongs to it, lower-case hex; any other mark is another file."""

    size: int
    """Bytes."""
    mtime_ns: int
    ctime_ns: int
    """Time of the last change to content or name; no ordinary program can set it back."""
    inode: int
    sha256: str

    def holds_for(self, seen: os.stat_result) -> bool:
        """Whether the open file is still the one that was hashed."""
        return self[:4] == (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)


class _Marks:
    """The marks of one copy, in the order of its files' paths: 17 bytes a file. The manifest itself is not held."""

    def __init__(self, files: Entries, folder: Path) -> None:
        """Look at each file, and mark it only while size and time are those that the copy gave it."""
        self.marked = bytearray(len(files))
        self.ctimes, self.inodes = (array(code, bytes(8 * len(files))) for code in "qQ")
        for at, entry in enumerate(files):
            try:
                seen = os.lstat(folder / entry.path)
            except OSError:
                continue
            same = stat.S_ISREG(seen.st_mode) and (seen.st_size, seen.st_mtime_ns) == (entry.size, entry.mtime_ns)
            if same and entry.sha256 is not None:
                self.marked[at], self.ctimes[at], self.inodes[at] = 1, seen.st_ctime_ns, seen.st_ino


class _Read(Mapping[str, Known]):
    """The marks of a copy beside its manifest, which says size, time and hash."""

    def __init__(self, files: Entries, marks: _Marks) -> None:
        self._files, self._marks = files, marks
        self._near = 0
        """Where one was found last: they are asked for nearly in their order, and a search takes twenty looks."""

    def _find(self, path: str) -> int | None:
        for at in range(max(0, self._near - 1), min(self._near + 3, len(self._files))):
            if self._files.path(at) == path:
                break
        else:
            at = self._files.find(path)
        self._near = self._near if at is None else at
        return at

    def __getitem__(self, path: str) -> Known:
        at, marks = self._find(path), self._marks
        if at is None or not marks.marked[at]:
            raise KeyError(path)
        entry = self._files[at]
        return Known(entry.size, entry.mtime_ns, marks.ctimes[at], marks.inodes[at], entry.sha256 or "")

    def __iter__(self) -> Iterator[str]:
        return (self._files.path(at) for at in range(len(self._files)) if self._marks.marked[at])

    def __len__(self) -> int:
        return sum(self._marks.marked)


class FreshCopies:
    """Marks of the last copies of this process. They are not kept on disk: a later process hashes anew."""

    MOST = 4
    """Copies."""
    MOST_FILES = 4_000_000
    """Of all copies but the last: a file takes 17 bytes."""

    def __init__(self) -> None:
        self._copies: OrderedDict[CopyId, _Marks] = OrderedDict()

    def remember(self, receipt: CopyReceipt) -> None:
        """Take the marks of what a copy that has just ended put on the local disk. Blocking.

        A file is marked only while size and time are those that the copy gave it.
        """
        self._copies[receipt.copy_id] = _Marks(receipt.manifest.files.by_path(), Path(receipt.destination))
        while len(self._copies) > self.MOST or self._too_many():
            self._copies.popitem(last=False)

    def _too_many(self) -> bool:
        *earlier, _ = self._copies.values()
        return sum(len(marks.marked) for marks in earlier) > self.MOST_FILES

    def of(self, receipt: CopyReceipt) -> Mapping[str, Known]:
        """The marks of a copy, whose receipt never changes; none of one that this process did not make."""
        marks, files = self._copies.get(receipt.copy_id), receipt.manifest.files
        return {} if marks is None or len(marks.marked) != len(files) else _Read(files.by_path(), marks)
