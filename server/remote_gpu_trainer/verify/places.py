"""Opening files beneath a folder without ever following a link, and listing what lies there."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from remote_gpu_trainer.errors import LimitExceeded, UnsafePath

UNFINISHED = ".rgt-partial"
"""Where a copy keeps what has not arrived whole, below its destination."""


def open_beneath(root: int, path: str) -> int | None:
    """A descriptor of a regular file beneath the folder ``root`` is open at; None when there is none.

    Raises:
        UnsafePath: the name would leave the folder, or a link or a special file stands in its place.
    """
    parts = path.split("/")
    if not path or any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise UnsafePath(f"the name {path[:200]!r} does not stay beneath the destination", effect="Nothing was read.")
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnsafePath(
            f"{path[:200]!r} is no plain file beneath the destination: {error.strerror}",
            next_step="look at what lies there; a link in a copied tree was not put there by copy_out",
            effect="It was not read.",
        ) from error
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnsafePath(f"{path[:200]!r} is not a regular file", effect="It was not read.")
    return fd


def files_beneath(root: Path, most: int) -> Iterator[str]:
    """Relative POSIX paths of the regular files, sorted per folder. Links and unfinished files are passed over.

    Raises:
        LimitExceeded: there are more than ``most``.
        UnsafePath: a name is not UTF-8, so that no report can hold it.
    """
    count = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name != UNFINISHED or Path(folder) != root)
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            count += 1
            if count > most:
                raise LimitExceeded(f"more than {most} files lie in {root}", effect="Nothing was verified.")
            relative = path.relative_to(root).as_posix()
            if not relative.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in relative):
                raise UnsafePath(
                    f"the name {relative[:200]!r} is not UTF-8", next_step="rename it", effect="Nothing was verified."
                )
            yield relative
