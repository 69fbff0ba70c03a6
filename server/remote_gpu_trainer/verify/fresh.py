"""What a copy has just hashed on its way to the disk, so that a verification right after it need not do so again."""

import os
import stat
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from remote_gpu_trainer.domain.artifacts import CopyReceipt
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


class FreshCopies:
    """Marks of the last copies of this process. They are not kept on disk: a later process hashes anew."""

    MOST = 4
    """Copies; a mark takes some hundred bytes, and a copy may have a million."""

    def __init__(self) -> None:
        self._copies: OrderedDict[CopyId, dict[str, Known]] = OrderedDict()

    def remember(self, receipt: CopyReceipt) -> None:
        """Take the marks of what a copy that has just ended put on the local disk. Blocking.

        A file is marked only while size and time are those that the copy gave it.
        """
        folder = Path(receipt.destination)
        marks: dict[str, Known] = {}
        for entry in receipt.manifest.files if folder.is_dir() else ():
            try:
                seen = os.lstat(folder / entry.path)
            except OSError:
                continue
            same = stat.S_ISREG(seen.st_mode) and (seen.st_size, seen.st_mtime_ns) == (entry.size, entry.mtime_ns)
            if same and entry.sha256 is not None:
                marks[entry.path] = Known(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, entry.sha256)
        self._copies[receipt.copy_id] = marks
        while len(self._copies) > self.MOST:
            self._copies.popitem(last=False)

    def of(self, copy_id: CopyId) -> Mapping[str, Known]:
        """The marks of a copy; none of one that this process did not make."""
        return self._copies.get(copy_id, {})
