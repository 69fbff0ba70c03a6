"""Writing below one folder and nowhere else: every step is opened from its parent, and no link is followed."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

from remote_gpu_trainer.errors import LocalDiskFull, TransferError, UnsafePath
from remote_gpu_trainer.transfer import wholesync
from remote_gpu_trainer.transfer.paths import PARTIAL_FOLDER, shown

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
MOST_HELD = 64
BLOCK = 512
"""Bytes of a block in stat(2), whatever the file system's own are."""
DROPPED = "dropped"
MAP, LOCK = "map.jsonl", "lock"
"""What has arrived, and what the copy that is under way holds, beside the unfinished files."""


class Landing:
    """A destination, held open. Unfinished files live in its ``.rgt-partial``; finished ones are renamed out of it."""

    def __init__(self, destination: Path) -> None:
        self.path = destination.absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        self._top = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._one_sync = wholesync.is_enough(self._top)
        self._held: dict[str, int] = {}
        try:
            self.partials = self._enter(self._top, PARTIAL_FOLDER, PARTIAL_FOLDER)
            self._known = set(os.listdir(self.partials))
        except BaseException:  # whatever ended it, the descriptor must not stay open
            os.close(self._top)
            raise

    def close(self) -> None:
        """Let go of the folders."""
        for fd in (*self._held.values(), self.partials, self._top):
            os.close(fd)
        self._held.clear()

    def free_bytes(self) -> int:
        """Room that is left for an ordinary user."""
        return shutil.disk_usage(self.path).free

    def begun(self, name: str) -> bool:
        """Whether an unfinished file of that name may be there; this process is the only one that makes any."""
        return name in self._known

    @property
    def any_begun(self) -> bool:
        """Whether any unfinished file may be there; the map beside them is none, nor is the lock."""
        return not self._known <= {MAP, LOCK}

    def unfinished(self) -> list[str]:
        """Names of what lies beside the map and the lock."""
        return sorted(self._known - {MAP, LOCK})

    def open_partial(self, name: str) -> int:
        """A descriptor for an unfinished file, made when missing; the caller closes it."""
        self._known.add(name)
        return os.open(name, os.O_RDWR | os.O_CREAT | _PLAIN, 0o600, dir_fd=self.partials)

    def partial_size(self, name: str) -> int:
        """Bytes of an unfinished file; 0 when there is none."""
        if not self.begun(name):
            return 0
        with contextlib.suppress(FileNotFoundError):
            seen = os.stat(name, dir_fd=self.partials, follow_symlinks=False)
            return seen.st_blocks * BLOCK
        return 0

    def drop_partial(self, name: str) -> None:
        """Forget an unfinished file."""
        self._known.discard(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.partials)

    def publish(self, partial: str, path: str) -> None:
        """Give a finished, synced file its name; it takes the place of a plain file or link of that name at once.

        Raises:
            UnsafePath: a link or a file stands where a folder is needed, or a folder where the file goes.
        """
        folder, name = self._parent(path, make=True)
        try:
            os.rename(partial, name, src_dir_fd=self.partials, dst_dir_fd=folder)
            self._known.discard(partial)
        except (IsADirectoryError, NotADirectoryError) as bad:
            raise _in_the_way(path) from bad
        except OSError as bad:
            raise full_or_other(bad, self.path) from bad

    def drop(self, path: str) -> None:
        """Remove a plain file of this folder."""
        self.hand_over(path, self, DROPPED)
        self.drop_partial(DROPPED)

    def hand_over(self, path: str, other: "Landing", partial: str) -> None:
        """Make a plain file of this folder an unfinished file of another one on the same disk.

        Raises:
            OSError: it is gone.
        """
        folder, name = self._parent(path, make=False)
        other._known.add(partial)
        os.rename(name, partial, src_dir_fd=folder, dst_dir_fd=other.partials)

    def lend(self, partial: str, other: "Landing", path: str) -> None:
        """Let an unfinished file lie under a name of another folder on the same disk as well.

        Raises:
            OSError: it is gone, the name is taken, or the file system has no second names.
            UnsafePath: a link or a file stands where a folder is needed.
        """
        folder, name = other._parent(path, make=True)
        os.link(partial, name, src_dir_fd=self.partials, dst_dir_fd=folder, follow_symlinks=False)

    def sync_folder(self, path: str) -> None:
        """Make the name of a published file durable."""
        os.fsync(self._parent(path, make=False)[0])

    def sync_all(self) -> bool:
        """Flush the destination's whole file system. False where that says less than a sync of each file: these follow
        then, and have little left to do."""
        return wholesync.sync(self._top) and self._one_sync

    def look(self, path: str) -> os.stat_result | None:
        """A plain file of that name, or None for anything else."""
        try:
            folder, name = self._parent(path, make=False)
            seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (OSError, UnsafePath):
            return None
        return seen if stat.S_ISREG(seen.st_mode) else None

    def open_plain(self, path: str) -> int | None:
        """A descriptor for reading a plain file of that name, which the caller closes; None for anything else."""
        try:
            folder, name = self._parent(path, make=False)
            fd = os.open(name, os.O_RDONLY | _PLAIN, dir_fd=folder)
        except (OSError, UnsafePath):
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return fd

    def sha256(self, path: str) -> str | None:
        """Hash of a plain file of that name, lower-case hex; None for anything else."""
        fd = self.open_plain(path)
        if fd is None:
            return None
        with os.fdopen(fd, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _parent(self, path: str, *, make: bool) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        if not folder:
            return self._top, name
        if (held := self._held.get(folder)) is not None:
            return held, name
        at = os.dup(self._top)
        for part in folder.split("/"):
            try:
                inner = self._enter(at, part, path, make=make)
            finally:
                os.close(at)
            at = inner
        if len(self._held) >= MOST_HELD:
            os.close(self._held.pop(next(iter(self._held))))
        self._held[folder] = at
        return at, name

    def _enter(self, at: int, part: str, path: str, *, make: bool = True) -> int:
        if make:
            try:
                os.mkdir(part, 0o755, dir_fd=at)
            except FileExistsError:
                pass
            except OSError as bad:
                raise full_or_other(bad, self.path) from bad
        try:
            return os.open(part, _FOLDER, dir_fd=at)
        except OSError as bad:
            if bad.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _in_the_way(path) from bad
            raise


def full_or_other(bad: OSError, where: Path) -> TransferError:
    """The error of this package for a failed local write."""
    if bad.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LocalDiskFull(
            f"no room is left under {where}",
            next_step="make room or choose another destination, then call copy_out again: it goes on from here",
            effect="What had arrived is kept as unfinished; no finished file was touched.",
        )
    return TransferError(
        f"writing under {where} failed: {bad.strerror}",
        next_step="check the destination, then call copy_out again: it goes on from here",
        effect="No finished file was touched.",
    )


def _in_the_way(path: str) -> UnsafePath:
    return UnsafePath(
        f"a link, file or folder is in the way of {shown(path)}",
        next_step="move it away or choose an empty destination",
        effect="It was not followed or changed.",
    )
