"""Runs on the rented machine: sends ranges of files, each framed and hashed. Standard library only, Python 3.8.

Standard input holds one JSON list for each range, as they are wanted: [root, path, offset, length, size, mtime_ns,
follows]. For each one the output holds a header (number, status, length), then so many bytes, then, for status 0 and 2,
a sha256 and one byte that is 1 when the file was the same before and after. The sha256 is that of the range, or, where
``follows`` is 1, of all bytes from the first of an unbroken chain of ranges of that file, each of which begins where
the one before ended. Status 1 carries a reason as text.

A line with a number says how many bytes for each second the line carries, and holds from where it is read. Where it is
not 0, a range of which a sample shrinks well and fast enough comes with status 2: compressed, as the next part of one
raw deflate stream. The hash is always that of the bytes of the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import stat
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

HEADER = struct.Struct(">IBQ")
BLOCK = 1 << 20
SET_PIPE_SIZE = 1031
"""Linux; Python has a name for it from 3.10 on."""
LEVELS = (1, 4)
"""Of zlib. Text shrinks by a tenth more at 4, at half the speed; at 6 by a twentieth more, at a third of that."""
SAMPLE = 1 << 15
LEAST = 1 << 10
"""Bytes of which a sample says anything."""
GAIN = 1.25
"""How many times faster compressed must be: what shrinks less, as weights do (to 0.80 to 0.93), is not worth it."""
PATIENCE = 6
"""After n samples in a row that did not shrink, 2**n more ranges of files with such a name are sent as they are."""
MOST_KINDS = 1000
MEMORY = 8 << 20
"""Bytes of which the time is remembered in full: a machine becomes busy and idle again."""


class Output:
    """Standard output, by blocks of memory. A full one goes into a pipe as it lies there, where the system can do that.

    What is written to it before it was read out of the pipe would show there. There are two: once a full one is all in,
    and the pipe holds no more than that, the one before it is all out, and is free.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self.sent = fd, 0
        self.block, self.other = memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))
        self.at = 0
        """So much of the block is to be sent."""
        self.lend: Callable[[memoryview], int] | None = None
        try:
            fcntl.fcntl(fd, SET_PIPE_SIZE, BLOCK)  # the next block is hashed while sshd reads this one
            self.lend = self.find_lender()
        except (ImportError, OSError, AttributeError):  # no pipe, no such call, or a Python without ctypes
            pass

    def find_lender(self) -> Callable[[memoryview], int]:
        """The system's vmsplice, for blocks of whole pages. Raises ImportError, AttributeError."""
        import ctypes
        import mmap
        import termios

        self.how_much = termios.FIONREAD

        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]

        vmsplice = ctypes.CDLL(None).vmsplice
        vmsplice.argtypes = ctypes.c_int, ctypes.POINTER(Vector), ctypes.c_size_t, ctypes.c_uint
        vmsplice.restype = ctypes.c_ssize_t
        self.block, self.other = memoryview(mmap.mmap(-1, BLOCK)), memoryview(mmap.mmap(-1, BLOCK))

        def lend(view: memoryview) -> int:
            base = ctypes.addressof(ctypes.c_char.from_buffer(view))
            return vmsplice(self.fd, Vector(base, len(view)), 1, 0)

        return lend

    def room(self) -> memoryview:
        """Where the next bytes are to be put; of how many that was done, ``filled`` is told."""
        return self.block[self.at :]

    def filled(self, size: int) -> None:
        """Send so many bytes that were put into the room, at once or with those that follow."""
        self.at += size
        if self.at == BLOCK:
            self.send_block()

    def write(self, data: bytes) -> None:
        """Send these bytes, at once or with those that follow."""
        while len(data) >= BLOCK - self.at:
            size = BLOCK - self.at
            self.block[self.at :] = data[:size]
            self.filled(size)
            data = data[size:]
        self.block[self.at : self.at + len(data)] = data
        self.at += len(data)

    def flush(self) -> None:
        """Send what was gathered."""
        if self.at:
            self.send(self.block[: self.at])
            self.at = 0

    def send_block(self) -> None:
        """Send the block, which is full, and go on with one that is free."""
        rest = self.block
        if self.lend is not None:
            while rest and (done := self.lend(rest)) > 0:
                rest = rest[done:]
            if not rest and self.waiting() <= BLOCK:
                self.block, self.other = self.other, self.block
            else:  # it failed, or this system's pipes hold more: what may be in one stays as it is
                self.lend, self.block = None, memoryview(bytearray(BLOCK))
        self.at = 0
        self.send(rest)

    def waiting(self) -> int:
        """Bytes in the pipe."""
        return int.from_bytes(fcntl.ioctl(self.fd, self.how_much, bytes(4)), sys.byteorder)

    def send(self, view: memoryview) -> None:
        """Send these bytes at once."""
        self.sent += 1
        while view:
            view = view[os.write(self.fd, view) :]


class Level:
    """What compressing at one level has brought of late: bytes before and after, and seconds."""

    def __init__(self, level: int) -> None:
        self.level, self.raw, self.packed, self.spent = level, 0, 0, 0.0

    def note(self, raw: int, packed: int, spent: float) -> None:
        """Remember, and forget what is old."""
        if self.raw > MEMORY:
            self.raw, self.packed, self.spent = self.raw >> 1, self.packed >> 1, self.spent / 2
        self.raw, self.packed, self.spent = self.raw + raw, self.packed + packed, self.spent + spent

    def takes(self, rate: int) -> float:
        """Seconds for each byte: one is compressed while earlier ones are on the line."""
        return max(self.spent, self.packed / rate) / self.raw if self.raw else 0.0


class Packer:
    """Decides what is sent compressed, and does it."""

    rate = 0
    """Bytes for each second that the line carries, where that is little."""
    can = False

    def __init__(self) -> None:
        self.kinds: dict[str, list[int]] = {}
        """By the end of a name: samples in a row that did not shrink, and ranges until the next one is taken."""
        self.block = memoryview(b"")
        try:
            import zlib
        except ImportError:  # a Python that was built without it sends everything as it is
            return
        self.can, self.once = True, zlib.compress
        self.begin = lambda: zlib.compressobj(self.level.level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self.flush = lambda: self.stream.flush(zlib.Z_SYNC_FLUSH)
        self.levels = [Level(level) for level in LEVELS]
        self.level = self.levels[0]
        self.stream = self.begin()

    def pays(self, fd: int, path: str, offset: int, length: int) -> bool:
        """Whether a range shrinks so well and so fast that it arrives sooner for it."""
        if not self.rate or length < LEAST or not self.can:
            return False
        if len(self.kinds) > MOST_KINDS:
            self.kinds.clear()
        kind = self.kinds.setdefault(os.path.splitext(path)[1], [0, 0])
        if kind[1]:
            kind[1] -= 1
            return False
        size = min(SAMPLE, max(LEAST, length >> 3))
        try:
            sample = os.pread(fd, size, offset + (length - size) // 2)
        except OSError:
            return False
        if self.try_out(sample, self.levels[0]) * GAIN >= len(sample):
            kind[0] = min(kind[0] + 1, PATIENCE)
            kind[1] = 1 << kind[0]
            return False
        kind[0] = 0
        for level in self.levels[1:]:
            self.try_out(sample, level)
        best = min(self.levels, key=lambda level: level.takes(self.rate))
        if best is not self.level:
            self.level = best
            self.stream = self.begin()  # may follow the other: it refers to nothing from before
        return best.takes(self.rate) * self.rate * GAIN < 1

    def try_out(self, sample: bytes, level: Level) -> int:
        """The bytes that a sample shrinks to."""
        began = time.perf_counter()
        packed = len(self.once(sample, level.level))
        level.note(len(sample), packed, time.perf_counter() - began)
        return packed

    def room(self) -> memoryview:
        """Where a range may be read that is packed before the next one is."""
        self.block = self.block or memoryview(bytearray(BLOCK))
        return self.block

    def pack(self, blocks: Iterator[memoryview]) -> list[bytes]:
        """A range, in parts."""
        parts: list[bytes] = []
        raw, spent = 0, 0.0
        for block in blocks:
            began = time.perf_counter()
            parts.append(self.stream.compress(block))
            spent += time.perf_counter() - began
            raw += len(block)
        parts.append(self.flush())
        self.level.note(raw, sum(map(len, parts)), spent)
        return parts


def orders(fd: int, out: Output, packer: Packer) -> Iterator[bytes]:
    """Lines of standard input as they come; what was gathered is sent before a wait.

    A rate is taken up with the next block: to look for one before each small answer would cost as much as the answer.
    """
    lines: deque[bytes] = deque()
    rest, ended, sent = b"", False, -1
    while lines or not ended:
        if lines and out.sent == sent:
            yield lines.popleft()
            continue
        sent = out.sent
        while not ended:
            if not select.select([fd], [], [], 0)[0]:
                if lines:
                    break
                out.flush()
            data = os.read(fd, 1 << 16)
            ended = not data
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if line.startswith(b"["):
                    lines.append(line)
                else:
                    packer.rate = int(line)


def same(fd: int, size: int, mtime_ns: int) -> bool:
    """Whether an open file is a plain one, still of that size and time."""
    seen = os.fstat(fd)
    return stat.S_ISREG(seen.st_mode) and seen.st_size == size and seen.st_mtime_ns == mtime_ns


class Held:
    """The file that was asked for last, which stays open, and the hash of the chain of its ranges."""

    def __init__(self) -> None:
        self.name, self.fd = ("", ""), -1
        self.reached, self.digest, self.whole = -1, hashlib.sha256(), True

    def demand(self, root: str, path: str, size: int, mtime_ns: int) -> None:
        """Open it, where it is another one, and see that it is the listed one."""
        if self.fd < 0 or self.name != (root, path):
            if self.fd >= 0:
                os.close(self.fd)
            self.fd = self.reached = -1
            self.fd = os.open(root + "/" + path if path else root, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            self.name = root, path
        if not same(self.fd, size, mtime_ns):
            raise OSError("changed since it was listed")

    def read(self, offset: int, length: int, room: Callable[[], memoryview]) -> Iterator[memoryview]:
        """Read a range into the room there is, hash it, and give it: zeros, and not ``whole``, where that fails."""
        self.whole = True
        while length:
            block = room()[:length]
            try:
                got = os.preadv(self.fd, [block], offset)
            except OSError:
                got = 0
            if not got:
                self.whole, got = False, len(block)
                block[:] = bytes(got)
            block = block[:got]
            self.digest.update(block)
            yield block
            length, offset = length - got, offset + got
        self.reached = offset


def main() -> None:
    """Answer every order in turn."""
    out = Output(sys.stdout.fileno())
    held, packer = Held(), Packer()
    for number, line in enumerate(orders(sys.stdin.fileno(), out, packer)):
        root, path, offset, length, size, mtime_ns, follows = json.loads(line)
        try:
            held.demand(root, path, size, mtime_ns)
        except OSError as bad:
            reason = str(bad.strerror or bad).encode("utf-8", "replace")[:200]
            out.write(HEADER.pack(number, 1, len(reason)) + reason)
            held.reached = -1
            continue
        if not (follows and held.reached == offset):
            held.digest = hashlib.sha256()
        if packer.pays(held.fd, path, offset, length):
            parts = packer.pack(held.read(offset, length, packer.room))
            out.write(HEADER.pack(number, 2, sum(map(len, parts))))
            for part in parts:
                out.write(part)
        else:
            out.write(HEADER.pack(number, 0, length))
            for block in held.read(offset, length, out.room):
                out.filled(len(block))
        stable = held.whole and same(held.fd, size, mtime_ns)
        out.write(held.digest.digest() + (b"\1" if stable else b"\0"))
    out.flush()


if __name__ == "__main__":
    main()
