"""Python where plain folders stand in for a box: its functions that take paths accept the box's own.

The interpreter imports this by itself. Compiled code that opens files without Python is reached where it is known
(:data:`COMPILED`), and paths on the command lines of children are.
"""

import builtins
import functools
import importlib.abc
import importlib.machinery
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
KEYWORDS = ("path", "file", "filename", "database", "src", "dst", "cwd", "executable")
COMPILED = {"safetensors._safetensors_rust": {"safe_open": 0, "serialize_file": 1}, "_sqlite3": {"connect": 0}}
"""Compiled modules, their functions that open files, and which argument is the path."""


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

    def with_paths(self, function: Callable[..., Any], *places: int) -> Callable[..., Any]:
        """A function whose arguments at these places are paths."""

        @functools.wraps(function, updated=())
        def call(*args: Any, **given: Any) -> Any:
            mapped = (self.path(value) if place in places else value for place, value in enumerate(args))
            return function(*mapped, **self.options(given))

        return call

    def command_second(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that takes a program and its arguments."""

        @functools.wraps(function)
        def call(program: Any, arguments: Any, *rest: Any, **given: Any) -> Any:
            return function(self.path(program), self.words(arguments), *rest, **given)

        return call


def install(mapped: Mapped) -> None:
    """Put the mapped functions where programs find them."""
    for names, places in ((ONE_PATH, (0,)), (TWO_PATHS, (0, 1))):
        for name in names:
            if not hasattr(os, name):
                continue
            plain = getattr(os, name)
            wrapped = mapped.with_paths(plain, *places)
            for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
                if plain in known:
                    known.add(wrapped)
            setattr(os, name, wrapped)
    for name in STARTERS:
        if hasattr(os, name):
            setattr(os, name, mapped.command_second(getattr(os, name)))
    builtins.open = io.open = mapped.with_paths(builtins.open, 0)
    symlink, begin = os.symlink, subprocess.Popen.__init__

    def link(src: Any, dst: Any, *rest: Any, **given: Any) -> None:
        symlink(src, mapped.path(dst), *rest, **given)  # what a link says stays as it was said

    def popen(self: Any, args: Any, *rest: Any, **given: Any) -> None:
        begin(self, mapped.words(args), *rest, **mapped.options(given))

    os.symlink, subprocess.Popen.__init__ = link, popen
    sys.meta_path.insert(0, AfterImport(mapped))


class AfterImport(importlib.abc.MetaPathFinder):
    """Maps the functions of compiled modules once these are loaded."""

    def __init__(self, mapped: Mapped) -> None:
        self._mapped = mapped

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """The module as the usual finder finds it, with a loader that maps its functions."""
        if fullname not in COMPILED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_map(module: Any) -> None:
                load(module)
                for name, place in COMPILED[fullname].items():
                    if hasattr(module, name):
                        setattr(module, name, self._mapped.with_paths(getattr(module, name), place))

            spec.loader.exec_module = load_and_map
        return spec


there = importlib.import_module("rgt_box_paths").from_environment() if "RGT_BOX_ROOT" in os.environ else None
if there is not None:
    install(Mapped(there.path, there.text))
    sys.argv = [*sys.argv[:1], *(os.fsdecode(there.back(os.fsencode(word))) for word in sys.argv[1:])]
