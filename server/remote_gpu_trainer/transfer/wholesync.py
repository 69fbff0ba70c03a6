"""Whether one sync of a whole file system proves as much as one of each file."""

import ctypes
import platform
import re
import sys
from typing import Any

KINDS = {0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994}
"""ext2 to ext4, XFS, Btrfs, F2FS and tmpfs (statfs(2)): local ones that write all that is dirty, and wait for it. Over
FUSE or 9p ``syncfs`` sends nothing on, where ``fsync`` would; an overlay may keep the errors of what is below it."""
SINCE = (5, 8)
"""Linux from which ``syncfs`` tells that something could not be written (syncfs(2))."""


def is_enough(fd: int) -> bool:
    """Whether ``syncfs`` of what this descriptor is on makes every file there durable, or says that it did not."""
    if sys.platform != "linux" or _release() < SINCE:
        return False
    answer = ctypes.create_string_buffer(256)
    if _libc().fstatfs(fd, answer) != 0:
        return False
    return ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF in KINDS


def sync(fd: int) -> bool:
    """Sync the file system; False where that is not possible, or something could not be written since the last time."""
    return sys.platform == "linux" and bool(_libc().syncfs(fd) == 0)


def _release() -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return tuple(map(int, found.groups())) if found else (0,)


_loaded: list[Any] = []


def _libc() -> Any:
    if not _loaded:
        _loaded.append(ctypes.CDLL(None, use_errno=True))
    return _loaded[0]
