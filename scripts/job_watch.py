"""What the job runner reports of a job's own files: the newest checkpoint, and the step it has come to.

Standard library only, Python 3.8 or later. Lies beside `run_job.py`, which runs jobs without it too. Every look is
bounded in time, files and bytes, since the files are the job's.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import stat
import time
from typing import Any, cast

MOST_S, MOST_FILES, TAIL_BYTES = 0.5, 10_000, 65536


def newest_checkpoint(folder: str, globs: list[str]) -> dict[str, object]:
    """`checkpoint_at`, `checkpoint_path` and `checkpoint_bytes` of the newest plain file that a glob finds.

    Empty when none is found. A relative glob is taken below `folder`; `**` reaches any depth.
    """
    end = time.monotonic() + MOST_S
    best: os.stat_result | None = None
    where = ""
    found = (path for each in globs for path in glob.iglob(os.path.join(folder, each), recursive=True))
    for path in itertools.islice(found, MOST_FILES):
        with contextlib.suppress(OSError):  # it may be gone again
            seen = os.lstat(path)
            if stat.S_ISREG(seen.st_mode) and (best is None or seen.st_mtime_ns > best.st_mtime_ns):
                best, where = seen, path
        if time.monotonic() > end:
            break
    if best is None:
        return {}
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(best.st_mtime))
    shown = where.encode("utf-8", "backslashreplace").decode("utf-8")
    return {"checkpoint_at": at, "checkpoint_path": shown, "checkpoint_bytes": best.st_size}


def last_step(path: str) -> dict[str, object]:
    """`step` of the last line of JSON lines that holds an integer one; empty when the file's tail has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO does not hold us
        with os.fdopen(fd, "rb") as file:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                return {}
            file.seek(max(0, seen.st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(ValueError, RecursionError):  # torn, or no JSON
            row: object = json.loads(line)
            step: object = cast("dict[str, object]", row).get("step") if isinstance(row, dict) else None
            if isinstance(step, int) and not isinstance(step, bool) and abs(step) < 1 << 63:
                return {"step": step}
    return {}


def observed(job: dict[str, Any]) -> dict[str, object]:
    """What `checkpoint_globs` and `progress_file` of a job show now."""
    folder = job["cwd"] or ""
    step = last_step(os.path.join(folder, job["progress_file"])) if job["progress_file"] else {}
    return {**newest_checkpoint(folder, job["checkpoint_globs"]), **step}
