"""List what lies under the given roots as JSON lines; follows no symlink and leaves no root.

Standard library only, Python 3.8 or later.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

KINDS = {
    stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "dir", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}  # fmt: skip
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def named(path: str) -> dict[str, Any]:
    """`path`, or `path_b64` where the name is not UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return {"path_b64": base64.b64encode(os.fsencode(path)).decode("ascii")}
    return {"path": path}


def hashed(folder: int, name: str, seen: os.stat_result) -> dict[str, Any]:
    """sha256 of a plain file, read up to the size at opening. Raises OSError."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise OSError("no plain file any more")
        digest, left = hashlib.sha256(), before.st_size
        while left > 0:
            block = os.read(fd, min(left, 1 << 20))
            if not block:
                break
            digest.update(block)
            left -= len(block)
        after = os.fstat(fd)
    finally:
        os.close(fd)
    marks = [(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in (seen, before, after)]
    unstable = {"unstable": True} if left or len(set(marks)) > 1 else {}
    return {"sha256": digest.hexdigest(), **unstable}


def walk(folder: int, prefix: str, depth: int, o: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Entries below an open folder, names sorted, parents first."""
    for name in sorted(os.listdir(folder), key=os.fsencode):
        path = prefix + name
        try:
            s = os.stat(name, dir_fd=folder, follow_symlinks=False)
            kind = KINDS.get(stat.S_IFMT(s.st_mode), "device")
            entry: dict[str, Any] = {
                **named(path), "kind": kind, "size": s.st_size, "mtime_ns": s.st_mtime_ns, "nlink": s.st_nlink,
            }  # fmt: skip
            if kind == "file" and o.hash:
                entry.update(hashed(folder, name, s))
            yield entry
            if kind == "dir":
                if depth >= o.max_depth:
                    yield {**named(path), "error": f"deeper than {o.max_depth}: not listed"}
                    continue
                inner = os.open(name, FOLDER, dir_fd=folder)
                try:
                    yield from walk(inner, path + "/", depth + 1, o)
                finally:
                    os.close(inner)
        except OSError as bad:
            yield {**named(path), "error": str(bad.strerror or bad)}


def main() -> int:
    """Write one header, the entries and one trailer for each root."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--root", action="append")
    args.add_argument("--hash", action="store_true")
    args.add_argument("--max-entries", type=int, default=1_000_000)
    args.add_argument("--max-depth", type=int, default=64)
    o = args.parse_args()
    for root in o.root or ["/workspace/out"]:
        head = {"rgt_manifest": 1, "root": named(root).get("path"), "started_at": time.time()}
        print(json.dumps(head))
        digest, entries, files, size, cut, bad = hashlib.sha256(), 0, 0, 0, False, False
        try:
            top = os.open(root, FOLDER)
        except OSError as error:
            print(json.dumps({"path": ".", "error": str(error.strerror)}))
            top, cut = -1, True
        for entry in walk(top, "", 1, o) if top >= 0 else ():
            if entries >= o.max_entries:
                cut = True
                break
            line = json.dumps(entry, sort_keys=True)
            print(line)
            digest.update(line.encode("ascii") + b"\n")
            bad = bad or "error" in entry
            entries += 1
            if entry.get("kind") == "file":
                files, size = files + 1, size + int(entry["size"])
        if top >= 0:
            os.close(top)
        tail = {
            "entries": entries,
            "files": files,
            "bytes": size,
            "truncated": cut or bad,
            "digest": digest.hexdigest(),
        }
        print(json.dumps(tail))
    return 0


if __name__ == "__main__":
    sys.exit(main())
