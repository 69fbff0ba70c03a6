"""LOADS on 1 GiB of safetensors against one plain sha256 pass over the same file, in alternation.

Run: ``python benchmarks/verify.py``. Writes ``benchmarks/results/verify.json``. The goals: at most 1.5 times the pass,
and under 300 MB at the peak in the process and its workers together. Right after a copy nothing is hashed again, so
what is left is the load.
"""

import hashlib
import json
import os
import platform
import resource
import statistics
import struct
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.verify.fresh import Known
from remote_gpu_trainer.verify.run import verify

SIZE = 1 << 30
ROUNDS = 5


def write_weights(path: Path) -> None:
    """64 bf16 tensors of random finite values."""
    part = SIZE // 64
    header = {
        f"layer.{n}": {"dtype": "BF16", "shape": [part // 2], "data_offsets": [n * part, (n + 1) * part]}
        for n in range(64)
    }
    text = json.dumps(header).encode()
    piece = bytes(byte & 0x3F for byte in os.urandom(1 << 20))
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _ in range(SIZE >> 20):
            out.write(piece)


def plain_pass(path: Path) -> float:
    """Seconds of one sha256 over the file."""
    start = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - start


def mark(path: Path) -> dict[str, Known]:
    """What a copy in the same process has just proven of the file."""
    seen = path.stat()
    return {path.name: Known(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, "0" * 64)}


def full_load(path: Path, known: dict[str, Known] | None = None) -> float:
    """Seconds of a verification that reaches LOADS."""

    async def go() -> VerificationLevel | None:
        report = await verify(path, manifest=None, expect=None, copy_id=None, clock=SystemClock(), known=known)
        return report.lowest_level

    start = time.perf_counter()
    assert anyio.run(go) is VerificationLevel.LOADS
    return time.perf_counter() - start


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        write_weights(path)
        plain_pass(path)
        known = mark(path)
        runs = [(plain_pass(path), full_load(path), full_load(path, known)) for _ in range(ROUNDS)]
    unit = 1 if sys.platform == "darwin" else 1024
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit
    result = {
        "what": "LOADS on 1 GiB of bf16 safetensors against one hashlib.sha256 pass, warm page cache",
        "sha256_s": round(statistics.median(a for a, _, _ in runs), 3),
        "loads_s": round(statistics.median(b for _, b, _ in runs), 3),
        "ratio": round(statistics.median(b / a for a, b, _ in runs), 3),
        "ratio_worst": round(max(b / a for a, b, _ in runs), 3),
        "loads_right_after_copy_s": round(statistics.median(c for _, _, c in runs), 3),
        "ratio_right_after_copy": round(statistics.median(c / a for a, _, c in runs), 3),
        "peak_bytes": peak,
        "rounds": ROUNDS,
        "machine": {"system": platform.system(), "arch": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "at": datetime.now(UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "verify.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
