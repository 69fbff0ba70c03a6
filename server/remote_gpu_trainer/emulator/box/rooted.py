"""Files below a folder that is taken for ``/``: no symbolic link and no ``..`` leads out of it.

Every component is opened by itself, without following links, relative to the one before it; links are read and
resolved inside. So a process that swaps folders for links meanwhile gains nothing.
"""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager

LINKS_MOST = 40
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Rooted:
    """Looks up paths below the folder behind ``root_fd``, which it then owns.

    A link to one of ``mounts`` (real folders) stands for a mounted volume: it is entered, and is a folder to everybody.
    """

    def __init__(self, root_fd: int, mounts: frozenset[str] = frozenset()) -> None:
        self._root, self._mounts = root_fd, mounts

    def close(self) -> None:
        """Let go of the folder."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    @contextmanager
    def at(self, path: str, *, follow: bool) -> Generator[tuple[int, str]]:
        """The folder (a descriptor) and the name in it that ``path`` means; the name may be missing.

        With ``follow`` a link in the last place is resolved too. The name is ``.`` for ``/`` itself. Raises OSError.
        """
        stack = [self._root]
        try:
            todo, links = [part for part in reversed(path.split("/")) if part not in ("", ".")], 0
            while todo:
                part = todo.pop()
                if part == "..":
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                target = self._link(stack[-1], part) if todo or follow or self._mounts else None
                if target in self._mounts:
                    stack.append(os.open(target, DIRECTORY))
                    continue
                if target is not None and (todo or follow):
                    links += 1
                    if links > LINKS_MOST:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    if target.startswith("/"):
                        self._unwind(stack)
                    todo += [each for each in reversed(target.split("/")) if each not in ("", ".")]
                    continue
                if not todo:
                    yield stack[-1], part
                    return
                stack.append(os.open(part, DIRECTORY, dir_fd=stack[-1]))
            yield stack[-1], "."
        finally:
            self._unwind(stack)

    @staticmethod
    def _unwind(stack: list[int]) -> None:
        while len(stack) > 1:
            os.close(stack.pop())

    @staticmethod
    def _link(folder: int, name: str) -> str | None:
        try:
            if not stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return None
            return os.readlink(name, dir_fd=folder)
        except FileNotFoundError:
            return None

    def open(self, path: str, flags: int, mode: int) -> int:
        """Open a file; never waits for the other end of a FIFO. Raises OSError."""
        with self.at(path, follow=not flags & os.O_EXCL) as (folder, name):
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=folder)
        os.set_blocking(fd, True)
        return fd

    def real_path(self, path: str) -> str:
        """``path`` without links, dots and doubled slashes; what is missing is kept as it stands."""
        known: list[str] = []
        todo, links = [part for part in reversed(path.split("/")) if part not in ("", ".")], 0
        while todo:
            part = todo.pop()
            if part == "..":
                del known[-1:]
                continue
            try:
                with self.at("/".join([*known, part]), follow=False) as (folder, name):
                    target = self._link(folder, name)
            except OSError:
                target = None
            if target is None or target in self._mounts or links >= LINKS_MOST:
                known.append(part)
                continue
            links += 1
            known = [] if target.startswith("/") else known
            todo += [each for each in reversed(target.split("/")) if each not in ("", ".")]
        return "/" + "/".join(known)
