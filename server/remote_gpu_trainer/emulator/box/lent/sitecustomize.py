"""Python where plain folders stand in for a box: its functions that take paths accept the box's own.

The interpreter imports this by itself. Compiled code that opens files without Python is not reached; paths on the
command lines of children are.
"""

import builtins
import functools
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

ONE_PATH = (
    "access chdir chmod chown lchown listdir lstat mkdir open pathconf readlink remove rmdir scandir stat statvfs "
    "truncate unlink utime getxattr setxattr listxattr mkfifo chroot"
).split()
TWO_PATHS = "link rename replace".split()
STARTERS = "execv execve execvp execvpe posix_spawn posix_spawnp".split()
KEYWORDS = ("path", "file", "src", "dst", "cwd", "executable")


class Mapped:
    """Python's functions with ``real`` applied to paths and ``text`` to command lines."""

    def __init__(self, real: Callable[[str], str], text: Callable[[str], str]) -> None:
        self._real, self._text = real, text

    def path(self, value: Any) -> Any:
        """A path made real; a descriptor or anything else as it is."""
        if isinstance(value, str):
            return self._real(value)
        if isinstance(value, (bytes, os.PathLike)):
            there = self._real(os.fsdecode(value))  # pyright: ignore[reportUnknownArgumentType]  # of str or of bytes
            return os.fsencode(there) if isinstance(value, bytes) else there
        return value

    def word(self, value: Any) -> Any:
        """One argument of a command."""
        return self._text(value) if isinstance(value, str) else self.path(value)

    def words(self, value: Any) -> Any:
        """A command: one line, or its arguments."""
        if isinstance(value, (list, tuple)):
            return [self.word(each) for each in value]  # pyright: ignore[reportUnknownVariableType]  # of anything
        return self.word(value)

    def options(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments with their paths made real."""
        return {name: self.path(value) if name in KEYWORDS else value for name, value in given.items()}

    def paths_first(self, function: Callable[..., Any], count: int) -> Callable[..., Any]:
        """A function whose first ``count`` arguments are paths."""

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            return function(*map(self.path, args[:count]), *args[count:], **self.options(given))

        return call

    def command_second(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that takes a program and its arguments."""

        @functools.wraps(function)
        def call(program: Any, arguments: Any, *rest: Any, **given: Any) -> Any:
            return function(self.path(program), self.words(arguments), *rest, **given)

        return call


def install(mapped: Mapped) -> None:
    """Put the mapped functions where programs find them."""
    for names, count in ((ONE_PATH, 1), (TWO_PATHS, 2)):
        for name in names:
            if not hasattr(os, name):
                continue
            plain = getattr(os, name)
            wrapped = mapped.paths_first(plain, count)
            for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
                if plain in known:
                    known.add(wrapped)
            setattr(os, name, wrapped)
    for name in STARTERS:
        if hasattr(os, name):
            setattr(os, name, mapped.command_second(getattr(os, name)))
    builtins.open = io.open = mapped.paths_first(builtins.open, 1)
    symlink, begin = os.symlink, subprocess.Popen.__init__

    def link(src: Any, dst: Any, *rest: Any, **given: Any) -> None:
        symlink(src, mapped.path(dst), *rest, **given)  # what a link says stays as it was said

    def popen(self: Any, args: Any, *rest: Any, **given: Any) -> None:
        begin(self, mapped.words(args), *rest, **mapped.options(given))

    os.symlink, subprocess.Popen.__init__ = link, popen


there = importlib.import_module("rgt_box_paths").from_environment() if "RGT_BOX_ROOT" in os.environ else None
if there is not None:
    install(Mapped(there.path, there.text))
    sys.argv = [there.text(word) for word in sys.argv]
