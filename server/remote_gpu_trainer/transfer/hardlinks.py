"""Files of a machine that have more names than the copied paths show."""

from collections.abc import Iterator
from dataclasses import dataclass

from remote_gpu_trainer.domain.artifacts import SkippedEntry
from remote_gpu_trainer.transfer.paths import shown

MOST_FOLLOWED = 10_000
"""Files of several names that are told apart: a stranger may make a million."""
MOST_INODE = 64


@dataclass
class _Shared:
    path: str
    names: int
    here: int = 1


class HardLinks:
    """Counts the names of files, by the machine's word. One more than it can follow is said to be unknown."""

    def __init__(self) -> None:
        self._shared: dict[str, _Shared] = {}
        self._unfollowed = 0

    def seen(self, path: str, inode: object, names: object) -> None:
        """Take one listed name; the machine's words may be anything."""
        if not isinstance(inode, str) or len(inode) > MOST_INODE or not isinstance(names, int) or names < 2:
            return
        shared = self._shared.get(inode)
        if shared is not None:
            shared.here += 1
        elif len(self._shared) < MOST_FOLLOWED:
            self._shared[inode] = _Shared(path, names)
        else:
            self._unfollowed += 1

    def outside(self) -> Iterator[SkippedEntry]:
        """Each file some of whose names lie elsewhere: it was copied, the other names are left behind."""
        for shared in self._shared.values():
            if shared.names > shared.here:
                reason = (
                    f"another name of this file lies outside the copied paths (it has {shared.names}, {shared.here} of "
                    "them here): what is written there is written here as well"
                )
                yield SkippedEntry(path=shown(shared.path), size=0, reason=reason)
        if self._unfollowed:
            reason = "names of files that have several; whether the others lie outside the copied paths is unknown"
            yield SkippedEntry(path=f"({self._unfollowed:,} more)", size=0, reason=reason)
