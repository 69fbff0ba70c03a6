"""What a worker gives up before it reads a stranger's bytes."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Generator

_CLONE_NEWNET, _CLONE_NEWUSER = 0x4000_0000, 0x1000_0000
_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.remove", "os.rename", "os.rmdir",
    "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.kill", "subprocess.Popen",
    "pty.spawn", "socket.", "ctypes.dlopen", "pickle.find_class", "shutil.", "ftplib.", "urllib.",
    "webbrowser.", "tempfile.",
)  # fmt: skip


class Forbidden(BaseException):
    """Something asked for what no loader needs. Not an Exception, so that no loader's handler swallows it."""


def leave_network() -> bool:
    """Whether this process now lives without any network; where the system forbids that, it stays as it is."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWNET | _CLONE_NEWUSER))


def limit_process() -> None:
    """No core dump, no file that grows, few descriptors. Memory and CPU are set per file."""
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64)):
        resource.setrlimit(what, (most, most))


def limit_file(*, memory_bytes: int, library_bytes: int, cpu_seconds: float) -> None:
    """Set the soft limits for the file that comes next.

    ``memory_bytes`` is what it may fill with data of its own; ``library_bytes`` is the address space beyond that which
    libraries, and a file that is mapped, take without filling it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime + cpu_seconds) + 1
    _limit(resource.RLIMIT_CPU, cpu)
    _limit(resource.RLIMIT_AS, memory_bytes + library_bytes)
    _limit(resource.RLIMIT_DATA, memory_bytes)


def allow_mapping(size: int) -> None:
    """Let a library map so many bytes privately, once our own reader is done: they count as data from then on."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        _limit(resource.RLIMIT_DATA, soft + size)


def _limit(what: int, soft: int) -> None:
    _, hard = resource.getrlimit(what)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some: time and size still bound a file there
        resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


_importing: list[bool] = []


@contextlib.contextmanager
def importing() -> Generator[None]:
    """While an installed library, which may load shared objects, is imported; no artifact is read meanwhile."""
    _importing.append(True)
    try:
        yield
    finally:
        _importing.pop()


def forbid_actions() -> None:
    """Refuse, from here on and for good, what a loader never does: run, write, connect, unpickle a class."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        if _importing:
            return
        if event == "open" and len(args) == 3:
            flags = args[2]
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                raise Forbidden(f"open for writing: {str(args[0])[:80]!r}")
        elif event.startswith(_FORBIDDEN):
            raise Forbidden(event)

    sys.addaudithook(hook)
