"""What the machine's sender writes, whatever its output is: a pipe that takes pages as they are, or anything else."""

import fcntl
import hashlib
import os
import random
import select
import socket
import subprocess
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remote_gpu_trainer.transfer import far_sender
from remote_gpu_trainer.transfer.receiver import HEADER, PLAIN
from tests.unit.transfer.test_packing import wanted

MIB = 1 << 20
RUN = """
import sys
program = open(sys.argv[1]).read()
exec(compile(program, "far_sender", "exec"))
"""
WITHOUT_CTYPES = f"import sys; sys.modules['ctypes'] = None{RUN}"
FAILS_HALFWAY = f"""
import ctypes
real = ctypes.CDLL(None).vmsplice
calls = []
def failing(fd, vector, count, flags):
    calls.append(fd)
    if len(calls) > 7:
        return -1
    if len(calls) == 7:
        vector.size //= 2
    return real(fd, ctypes.byref(vector), 1, 0)
ctypes.CDLL = lambda *_, **__: type("libc", (), dict(vmsplice=staticmethod(failing)))
{RUN}"""
HOLDS_MORE = f"import fcntl; fcntl.fcntl = lambda *_: 0{RUN}".replace(
    ".read()", ".read().replace('1 << 20', '1 << 18')"
)


@contextmanager
def pipe(size: int) -> Generator[tuple[int, int]]:
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, size)
    yield ends


@contextmanager
def sockets() -> Generator[tuple[int, int]]:
    ours, theirs = socket.socketpair()
    yield ours.detach(), theirs.detach()


def answers(ends: tuple[int, int], lines: list[bytes], command: list[str]) -> list[tuple[bytes, bool]]:
    """The bytes of each range, proven by the hash that followed them, and whether its file was stable."""
    reading, writing = ends
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing) as process:
        os.close(writing)
        assert process.stdin
        process.stdin.write(b"".join(lines))
        process.stdin.close()
        found: list[tuple[bytes, bool]] = []
        with os.fdopen(reading, "rb", buffering=0) as out:
            while head := take(out.fileno(), HEADER.size):
                number, status, length = HEADER.unpack(head)
                assert (number, status) == (len(found), PLAIN)
                body, tail = take(out.fileno(), length), take(out.fileno(), 33)
                assert tail[:32] == hashlib.sha256(body).digest(), f"answer {number} is not what was hashed"
                found.append((body, tail[32:] == b"\1"))
    assert process.returncode == 0
    return found


def take(fd: int, size: int) -> bytes:
    parts, left = list[bytes](), size
    while left and (data := os.read(fd, min(left, 1 << 15))):
        parts.append(data)
        left -= len(data)
        until_full(fd)
    return b"".join(parts)


def until_full(fd: int) -> None:
    """Let the sender go on until it waits for room: what it writes too early to what is in the pipe would show."""
    before = -1
    while before != (before := int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)):
        select.select([], [], [], 0.0005)


OUTPUTS = {"a pipe": lambda: pipe(1 << 16), "a wide pipe": lambda: pipe(MIB), "a socket": sockets}
WAYS = {
    "as it is": [],
    "without ctypes": ["-c", WITHOUT_CTYPES],
    "where the call fails halfway": ["-c", FAILS_HALFWAY],
    "where a pipe holds more than a block": ["-c", HOLDS_MORE],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_what_goes_out_is_what_was_hashed_whatever_the_output_is(tmp_path: Path, output: str, way: str) -> None:
    content = random.Random(3).randbytes(11 * MIB + 77)
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    ranges = [(0, 4 * MIB), (4 * MIB, 4 * MIB), (8 * MIB, 3 * MIB + 77), (5, 0), (9, 300), (MIB - 1, 2 * MIB), (0, MIB)]
    with OUTPUTS[output]() as ends:
        command = [sys.executable, *WAYS[way], far_sender.__file__]
        got = answers(ends, [wanted(path, *each) for each in ranges], command)
    assert [stable for _, stable in got] == [True] * len(ranges)
    for (offset, length), (body, _) in zip(ranges, got, strict=True):
        assert body == content[offset : offset + length]
