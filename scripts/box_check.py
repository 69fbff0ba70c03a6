"""Say what this box really has, as one line of JSON: GPUs, CUDA of driver and framework, room, memory.

    box_check.py [--room FOLDER] [--python PROGRAM] [--room-only]

Standard library only, Python 3.8 or later. What cannot be told is null, never zero.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SMI_S, FRAMEWORK_S = 20, 60
PROBE = """
import importlib.util, json
told = {"cuda": None, "sees": None}
if importlib.util.find_spec("torch") is not None:
    import torch
    told = {"cuda": torch.version.cuda, "sees": bool(torch.cuda.is_available())}
print(json.dumps(told))
"""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
NO_LIMIT = 1 << 60


def said(words: list[str], seconds: int) -> str | None:
    """What a program prints; None when it is missing, fails or takes too long."""
    try:
        answer = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace")


def gpus() -> dict[str, Any]:
    """GPUs, the memory in use on the fullest of them, and the newest CUDA of the driver."""
    rows = said(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], SMI_S)
    used = [int(row) for row in (rows or "").split() if row.isdigit()]
    version = re.search(r"CUDA Version:\s*(\d+\.\d+)", said(["nvidia-smi"], SMI_S) or "")
    return {
        "gpus": None if rows is None else len([row for row in rows.splitlines() if row.strip()]),
        "vram_used_bytes": max(used) * 1024 * 1024 if used else None,
        "driver_cuda": float(version[1]) if version else None,
    }


def framework(python: str) -> dict[str, Any]:
    """The CUDA that torch was built for, and whether it sees a GPU; null without torch. A crash sees none."""
    printed = said([python, "-c", PROBE], FRAMEWORK_S)
    try:
        told = json.loads((printed or "").splitlines()[-1])
        return {"framework_cuda": float(told["cuda"]) if told["cuda"] else None, "framework_sees_gpu": told["sees"]}
    except (ValueError, IndexError, KeyError, TypeError):
        return {"framework_cuda": None, "framework_sees_gpu": None}


def room(folder: Path) -> dict[str, Any]:
    """Bytes and inodes free where the folder is, or will be."""
    place = next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))
    try:
        disk = os.statvfs(place)
    except OSError:
        return {"free_bytes": None, "free_inodes": None}
    return {
        "free_bytes": disk.f_bavail * disk.f_frsize,
        # Filesystems without a fixed number of inodes report none at all.
        "free_inodes": disk.f_favail if disk.f_files else None,
    }


def memory_limit() -> int | None:
    """Bytes of memory that the container may take; None without a limit."""
    for name in CGROUP_LIMITS:
        try:
            limit = int(Path(name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        return limit if limit < NO_LIMIT else None
    return None


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--room", type=Path, default=Path("/workspace"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--room-only", action="store_true")
    asked = parser.parse_args()
    seen = {"version": 1, **room(asked.room)}
    if not asked.room_only:
        seen.update(gpus())
        seen.update(framework(asked.python))
        seen["memory_bytes"] = memory_limit()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
