"""List what lies under the given roots as JSON lines; follows no symlink and leaves no root.

Standard library only, Python 3.8 or later. For each root a header, one line an entry (parents first, names sorted by
their bytes), and a trailer whose digest is the sha256 of the lines between them. Where ``--known`` names that digest,
the trailer follows the header at once and says ``unchanged``. With ``--more`` nothing is listed at first: each line of
standard input is a JSON list of arguments, and is answered before the next one is read.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fnmatch
import hashlib
import itertools
import json
import os
import stat
import sys
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:  # each takes milliseconds to load, at the start of every copy
    from collections.abc import Iterator
    from concurrent.futures import Future
    from typing import Any

KINDS = {
    stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "dir", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}  # fmt: skip
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
BLOCK = 1 << 20
WAITING_EACH = 8
"""Files open and waiting for each hashing thread."""
WRITERS_AGE_S = 1.0
ENCODE = json.JSONEncoder(sort_keys=True).encode
HELD_CHARACTERS = 32 << 20
HELD_S = 5.0
"""How much of a list, and how long, is held back while it may turn out to be a known one."""


def named(path: str) -> dict[str, Any]:
    """`path`, or `path_b64` where the name is not UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return {"path_b64": base64.b64encode(os.fsencode(path)).decode("ascii")}
    return {"path": path}


def reason(problem: OSError) -> str:
    """What went wrong, without the path."""
    return str(problem.strerror or problem)


def open_root(root: str) -> int:
    """Open a root, absolute or from here, one component after the other, following no link. Raises OSError."""
    parts = [part for part in root.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError("a root with '..' is not listed")
    # The first component is opened from `/` by an absolute name: where paths are mapped, only such names are.
    fd = os.open(("/" if root.startswith("/") else "./") + "".join(parts[:1]), FOLDER)
    for part in parts[1:]:
        try:
            inner = os.open(part, FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


class Writers:
    """Which files some process has open for writing, as far as `/proc` shows; looked up anew about every second."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._next = 0.0

    def has(self, file: os.stat_result) -> bool:
        """Whether it was open for writing at the last look."""
        if time.monotonic() >= self._next:
            begun = time.monotonic()
            self._seen = set(self._look())
            now = time.monotonic()
            self._next = now + max(WRITERS_AGE_S, 4 * (now - begun))
        return (file.st_dev, file.st_ino) in self._seen

    @staticmethod
    def _look() -> Iterator[tuple[int, int]]:
        with contextlib.suppress(OSError):  # no /proc: nothing is known
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):  # it ended, or is another user's
                    for fd in os.listdir(f"/proc/{pid}/fd"):
                        with contextlib.suppress(OSError, ValueError, IndexError):
                            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as info:
                                flags = int(info.read().split("flags:")[1].split()[0], 8)
                            if flags & os.O_ACCMODE:
                                s = os.stat(f"/proc/{pid}/fd/{fd}")
                                yield s.st_dev, s.st_ino


def hashed(fd: int, seen: os.stat_result) -> dict[str, Any]:
    """sha256 of an open plain file, read up to its size at opening; closes it."""
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return {"error": "no plain file any more"}
        digest, left = hashlib.sha256(), before.st_size
        while left > 0:
            block = os.read(fd, min(left, BLOCK))
            if not block:
                break
            digest.update(block)
            left -= len(block)
        after = os.fstat(fd)
    except OSError as bad:
        return {"error": reason(bad)}
    finally:
        os.close(fd)
    marks = {(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in (seen, before, after)}
    return {"sha256": digest.hexdigest(), **({"unstable": True} if left or len(marks) > 1 else {})}


class Listing:
    """One run over the roots, with the counts of the present one."""

    def __init__(self, o: argparse.Namespace) -> None:
        self.o = o
        self.excluded, self.crowded = 0, False
        self.threads = max(1, len(os.sched_getaffinity(0)))
        self.pool = None
        if o.hash:
            from concurrent.futures import ThreadPoolExecutor  # as long to load as to list five hundred files

            self.pool = ThreadPoolExecutor(self.threads)
        self.writers = Writers()
        self.without: set[str] = set()

    def left_out(self, path: str, name: str) -> bool:
        """Whether it is one of the paths to do without, or a glob excludes it, by its path or by its bare name."""
        if path in self.without:
            return True
        if not self.o.exclude:
            return False
        out = any(fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(name, glob) for glob in self.o.exclude)
        self.excluded += out
        return out

    def walk(
        self, folder: int, prefix: str, depth: int
    ) -> Iterator[tuple[dict[str, Any], Future[dict[str, Any]] | None]]:
        """Entries below an open folder, each with its hash to come."""
        with os.scandir(folder) as found:  # a crowd beyond the limit is never held
            names = [each.name for each in itertools.islice(found, self.o.max_entries + 1)]
        self.crowded = self.crowded or len(names) > self.o.max_entries
        for name in sorted(names, key=os.fsencode):
            path = prefix + name
            if self.left_out(path, name):
                continue
            try:
                s = os.stat(name, dir_fd=folder, follow_symlinks=False)
                kind = KINDS.get(stat.S_IFMT(s.st_mode), "device")
                entry: dict[str, Any] = {
                    **named(path), "kind": kind, "size": s.st_size, "mtime_ns": s.st_mtime_ns, "nlink": s.st_nlink,
                }  # fmt: skip
                if kind == "file" and s.st_nlink > 1:
                    entry["inode"] = f"{s.st_dev}:{s.st_ino}"
                if kind == "file" and self.writers.has(s):
                    entry["open_writers"] = True
                hashing = None
                if kind == "file" and self.pool is not None:
                    hashing = self.pool.submit(hashed, os.open(name, PLAIN, dir_fd=folder), s)
                yield entry, hashing
                if kind == "dir":
                    if depth >= self.o.max_depth:
                        yield {**named(path), "error": f"deeper than {self.o.max_depth}: not listed"}, None
                        continue
                    inner = os.open(name, FOLDER, dir_fd=folder)
                    try:
                        yield from self.walk(inner, path + "/", depth + 1)
                    finally:
                        os.close(inner)
            except OSError as bad:
                yield {**named(path), "error": reason(bad)}, None

    def entries(self, root: str) -> Iterator[dict[str, Any]]:
        """Entries of a root in order; few wait for their hash at a time."""
        try:
            top = open_root(root)
        except OSError as bad:
            yield {"path": ".", "error": reason(bad)}
            return
        waiting: deque[tuple[dict[str, Any], Future[dict[str, Any]] | None]] = deque()
        try:
            for pair in itertools.islice(self.walk(top, "", 1), self.o.max_entries + 1):
                waiting.append(pair)
                while len(waiting) > WAITING_EACH * self.threads:
                    yield finished(*waiting.popleft())
            while waiting:
                yield finished(*waiting.popleft())
        finally:
            os.close(top)

    def write(self, root: str, known: str | None = None) -> None:
        """Write one root's header, entries and trailer."""
        print(json.dumps({"rgt_manifest": 1, "root": named(root).get("path"), "started_at": time.time()}))
        below = root.rstrip("/") + "/"
        self.without = {path[len(below) :] for path in self.o.without if path.startswith(below)}
        held: list[str] | None = [] if known else None
        held_size, until = 0, time.monotonic() + HELD_S
        digest, entries, files, size, cut, bad = hashlib.sha256(), 0, 0, 0, False, False
        self.excluded, self.crowded = 0, False
        for entry in self.entries(root):
            cut = entries >= self.o.max_entries
            if cut:
                break
            line = ENCODE(entry)
            if held is None:
                sys.stdout.write(line + "\n")
            else:
                held.append(line)
                held_size += len(line)
                if held_size > HELD_CHARACTERS or time.monotonic() > until:
                    print("\n".join(held))
                    held = None
            digest.update(line.encode("ascii") + b"\n")
            entries, bad = entries + 1, bad or "error" in entry
            if entry.get("kind") == "file":
                files, size = files + 1, size + int(entry["size"])
        tail: dict[str, Any] = {
            "entries": entries,
            "files": files,
            "bytes": size,
            "truncated": cut or bad or self.crowded,
        }
        if held is not None and digest.hexdigest() == known:
            tail["unchanged"] = True
        elif held:
            print("\n".join(held))
        print(json.dumps({**tail, "excluded": self.excluded, "digest": digest.hexdigest()}), flush=True)


def finished(entry: dict[str, Any], hashing: Future[dict[str, Any]] | None) -> dict[str, Any]:
    """The entry with its hash; one that could not be read is an error alone."""
    if hashing is None:
        return entry
    if not hashing.done():
        sys.stdout.flush()  # so that whoever waits sees how far it is
    found = hashing.result()
    return {**{k: v for k, v in entry.items() if k.startswith("path")}, **found} if "error" in found else {
        **entry, **found,
    }  # fmt: skip


def write_lists(o: argparse.Namespace) -> None:
    """Write one header, the entries and one trailer for each root."""
    listing = Listing(o)
    try:
        for root, known in itertools.zip_longest(o.root or ["/workspace/out"], o.known[: len(o.root or [""])]):
            listing.write(root, known)
    finally:
        if listing.pool is not None:
            listing.pool.shutdown()


def main() -> int:
    """Write the lists that are asked for."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--root", action="append")
    args.add_argument("--hash", action="store_true")
    args.add_argument("--exclude", action="append", default=[], metavar="GLOB")
    args.add_argument("--without", action="append", default=[], metavar="PATH", help="below a root, written as it is")
    args.add_argument("--known", action="append", default=[], metavar="DIGEST", help="one for each root, in order")
    args.add_argument("--max-entries", type=int, default=1_000_000)
    args.add_argument("--max-depth", type=int, default=64)
    args.add_argument("--more", action="store_true", help="read what to list from standard input")
    o = args.parse_args()
    try:
        for words in map(json.loads, sys.stdin) if o.more else [sys.argv[1:]]:
            write_lists(args.parse_args(words))
    except BrokenPipeError:  # nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
