"""Runs on the rented machine: takes files, each proven by its hash before it gets its name. Standard library only.

Python 3.8. Standard input begins with a JSON line {"to": folder, "do": "look" | "take"}. For "look" each further line
is [path, size, sha256, executable]; for "take" it is [path, size, sha256, executable, offset, length], and so many
bytes follow it. For each one the output has a JSON line: the ranges [start, end] that are here, or {"error": text}. An
empty line means only that the program is alive. A file is finished when its ranges hold all of it and it hashes right.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PARTIALS = ".rgt-partial"
BLOCK = 1 << 20
ALIVE_S = 5.0
HELD = 200
OTHER = "other bytes arrived than were hashed"
last = [time.monotonic()]


def alive() -> None:
    """Show every few seconds that long work goes on."""
    if time.monotonic() - last[0] > ALIVE_S:
        last[0] = time.monotonic()
        sys.stdout.write("\n")
        sys.stdout.flush()


def sha256(fd: int) -> str:
    """Hash of an open file from its beginning."""
    digest, at = hashlib.sha256(), 0
    while True:
        block = os.pread(fd, BLOCK, at)
        if not block:
            return digest.hexdigest()
        digest.update(block)
        at += len(block)
        alive()


class Shelf:
    """A folder, below which no link is followed."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self.top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.held: dict[str, int] = {}
        self.partials = self.enter(PARTIALS)

    def enter(self, folder: str) -> int:
        """A folder below the top, made when missing; it stays open until some hundred others were."""
        if not folder:
            return self.top
        if folder not in self.held:
            above, _, name = folder.rpartition("/")
            if name in ("", ".", ".."):
                raise OSError("not a plain name")
            at = self.enter(above)
            try:
                os.mkdir(name, 0o755, dir_fd=at)
            except FileExistsError:
                pass
            self.held[folder] = os.open(name, FOLDER, dir_fd=at)
            if len(self.held) > HELD:
                os.close(self.held.pop(next(name for name in self.held if name != PARTIALS)))
        return self.held[folder]

    def has(self, path: str, size: int, digest: str, mode: int) -> bool:
        """Whether the file is there with these bytes; its mode is set then."""
        above, _, name = path.rpartition("/")
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.enter(above))
        except OSError:
            return False
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode) or seen.st_size != size or sha256(fd) != digest:
                return False
            if bool(seen.st_mode & 0o100) != bool(mode & 0o100):
                os.fchmod(fd, mode)
            return True
        finally:
            os.close(fd)

    def look(self, path: str, size: int, digest: str, executable: bool) -> list[list[int]]:
        """Which ranges are here. A file whose last range was written and not yet named is finished now."""
        mode = 0o755 if executable else 0o644
        if self.has(path, size, digest, mode):
            return [[0, size]]
        key = name_of(path, digest)
        try:
            lines = os.open(key + ".map", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.partials)
            os.close(lines)
        except OSError:
            return []
        return self.settle(path, size, digest, mode, None)

    def take(self, order: list[Any], body: Any) -> list[list[int]]:
        """Write a range, and finish the file when it was the last. Reads exactly the order's bytes, come what may."""
        path, size, digest, executable, offset, length = order
        left, mode = [length], 0o755 if executable else 0o644
        try:
            key, at = name_of(path, digest), offset
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if length == size else 0)
            fd = os.open(key, flags, 0o600, dir_fd=self.partials)
            try:
                for block in blocks(body, left):
                    while block:
                        done = os.pwrite(fd, block, at)
                        block, at = block[done:], at + done
            finally:
                os.close(fd)
            if length == size:
                self.finish(path, size, digest, mode)
                return [[0, size]]
            return self.settle(path, size, digest, mode, (offset, offset + length))
        finally:
            for _ in blocks(body, left):
                pass

    def settle(self, path: str, size: int, digest: str, mode: int, new: Any) -> list[list[int]]:
        """Note a range, and finish the file when all are there; one at a time."""
        key = name_of(path, digest)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(key + ".map", flags, 0o600, dir_fd=self.partials), "r+b", buffering=0) as notes:
            fcntl.flock(notes, fcntl.LOCK_EX)
            if new:
                notes.write(b"%d %d\n" % new)
            notes.seek(0)
            lines = [line.split() for line in notes.read().splitlines(True) if line.endswith(b"\n")]
            held = merged([[int(line[0]), int(line[1])] for line in lines if len(line) == 2])
            if held == [[0, size]]:
                self.finish(path, size, digest, mode)
            return held

    def finish(self, path: str, size: int, digest: str, mode: int) -> None:
        """Prove an unfinished file by its hash and give it its name; otherwise drop it."""
        key = name_of(path, digest)
        fd = os.open(key, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.partials)
        try:
            right = os.fstat(fd).st_size == size and sha256(fd) == digest
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        if right:
            above, _, name = path.rpartition("/")
            os.rename(key, name, src_dir_fd=self.partials, dst_dir_fd=self.enter(above))
        for left in (key, key + ".map"):
            try:
                os.unlink(left, dir_fd=self.partials)
            except FileNotFoundError:
                pass
        if not right:
            raise OSError(OTHER)


def blocks(body: Any, left: list[int]) -> Iterator[bytes]:
    """The rest of an order's bytes as they come; `left` is counted down."""
    while left[0]:
        block: bytes = body.read1(min(left[0], BLOCK))
        if not block:
            raise EOFError
        left[0] -= len(block)
        alive()
        yield block


def name_of(path: str, digest: str) -> str:
    """Name of an unfinished file: where it goes and what it will hold decide it."""
    return hashlib.sha256((path + "\0" + digest).encode("utf-8")).hexdigest()[:40]


def merged(ranges: list[list[int]]) -> list[list[int]]:
    """Touching ranges as one."""
    out: list[list[int]] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1][1] = max(end, out[-1][1])
        else:
            out.append([start, end])
    return out


def main() -> None:
    """Answer every line in turn."""
    body = sys.stdin.buffer
    head = json.loads(body.readline())
    shelf = Shelf(head["to"])
    while True:
        line = body.readline()
        if not line:
            break
        order = json.loads(line)
        answer: Any
        try:
            if head["do"] == "take":
                answer = shelf.take(order, body)
            else:
                answer = shelf.look(*order)
        except EOFError:
            break
        except OSError as bad:
            answer = {"error": str(bad.strerror or bad)[:200]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    if head["do"] == "take":
        try:
            os.rmdir(PARTIALS, dir_fd=shelf.top)
        except OSError:
            pass


if __name__ == "__main__":
    main()
