"""Bringing text home over a slow line: ours, which compresses where a sample says that it pays, rsync -z and scp -C.

Run as root: ``python -m benchmarks.copy_speed_text [--rtt-ms 50] [--rate 10e6] [--mib 1024] [--files 10000]
[--only ours,rsync,rsync-z,scp-C] [--parts text,crowd,noise] [--rounds 1]``; the default takes about 4 minutes. Writes
``benchmarks/results/copy_speed_text.json``. The goals: no slower than the best of them, and what does not compress as
fast as the line.

``text`` is one file of a trainer's log lines, JSON and CSV rows in turn, ``crowd`` many small files of the same, and
``noise`` an eighth of the big file's size in bytes that do not compress.
"""

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.copy_speed import HERE, by_us, linked, machine, sshd
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.ssh import ParamikoConnector

PERIOD = 64 << 20
"""Bytes after which the text repeats itself: more than any of the compressors remembers."""
TURN = 512 << 10


def lines(dice: random.Random) -> Iterator[str]:
    """A log, metrics as JSON lines and a table, each for a while."""
    step, loss = 0, 4.0
    for kind in itertools.cycle(("log", "json", "csv")):
        size = 0
        while size < TURN:
            step, loss = step + 1, max(0.01, loss * 0.9999 + dice.gauss(0, 0.01))
            rate, norm = dice.gauss(41000, 800), abs(dice.gauss(1, 0.3))
            when = f"2026-11-25T{step // 3600 % 24:02}:{step // 60 % 60:02}:{step % 60:02}.{dice.randrange(1000):03}Z"
            match kind:
                case "log":
                    line = f"{when} INFO trainer: step {step} loss {loss:.5f} lr {3e-4 * math.exp(-step / 1e5):.3e}\n"
                case "json":
                    row = {"step": step, "loss": round(loss, 6), "grad_norm": round(norm, 5), "rate": round(rate, 1)}
                    line = json.dumps({**row, "time": when}) + "\n"
                case _:
                    line = ",".join([str(step), *(f"{dice.gauss(0, 1):.5f}" for _ in range(6))]) + "\n"
            size += len(line)
            yield line


def text(size: int) -> bytes:
    """So many bytes of it."""
    parts, have = list[str](), 0
    for line in lines(random.Random(1)):
        parts.append(line)
        have += len(line)
        if have >= size:
            break
    return "".join(parts).encode("ascii")[:size]


def write_trees(folder: Path, mib: int, files: int) -> dict[str, int]:
    """The trees, and their bytes."""
    period = text(min(PERIOD, mib << 20))
    for tree in ("text", "crowd", "noise"):
        (folder / tree).mkdir()
    with (folder / "text" / "metrics.jsonl").open("wb") as out:
        for _ in range((mib << 20) // len(period)):
            out.write(period)
    with (folder / "noise" / "model.bin").open("wb") as out:
        for _ in range(mib // 8):
            out.write(os.urandom(1 << 20))
    dice = random.Random(2)
    for number in range(files):
        inner = folder / "crowd" / str(number % 100)
        inner.mkdir(exist_ok=True)
        size = dice.randrange(1 << 10, 32 << 10)
        at = dice.randrange(max(1, len(period) - size))
        (inner / f"{number}.{('log', 'json', 'csv')[number % 3]}").write_bytes(period[at : at + size])
    return {
        tree: sum(path.stat().st_size for path in (folder / tree).rglob("*") if path.is_file())
        for tree in ("text", "crowd", "noise")
    }


def main() -> None:
    """Measure, print, write."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--rtt-ms", type=float, default=50)
    ask.add_argument("--rate", type=float, default=10e6)
    ask.add_argument("--mib", type=int, default=1024)
    ask.add_argument("--files", type=int, default=10_000)
    ask.add_argument("--rounds", type=int, default=1)
    ask.add_argument("--parts", default="text,crowd,noise")
    ask.add_argument("--only", default="ours,rsync,rsync-z,scp-C")
    o = ask.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = write_trees(folder, o.mib, o.files)
        public = ParamikoConnector(folder / "home", clock=SystemClock()).public_key()
        rows: dict[str, Any] = {}
        with sshd(folder, public) as direct:
            for tree in o.parts.split(","):
                rows[tree] = {"bytes": sizes[tree], **_measured(o, folder, direct, tree)}
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "link": {"round_trip_ms": o.rtt_ms, "bytes_per_s": o.rate},
        "rounds": o.rounds,
        "small_files": o.files,
        "trees": rows,
    }
    print(json.dumps(result, indent=2))
    if set(o.only.split(",")) >= {"ours", "rsync", "rsync-z", "scp-C"} and len(rows) == 3:
        (HERE / "results" / "copy_speed_text.json").write_text(json.dumps(result, indent=2) + "\n")


def _measured(o: argparse.Namespace, folder: Path, direct: int, tree: str) -> dict[str, Any]:
    key = folder / "home" / "ssh" / "id_ed25519"
    found: dict[str, list[float]] = {}
    over: dict[str, int] = {}
    for number in range(o.rounds):
        for tool in o.only.split(","):
            if (tree, tool) == ("crowd", "scp-C"):
                continue  # a round trip or more for each file: minutes
            if tool == "rsync" and tree == "text":
                continue  # it takes what the line takes
            scratch = folder / f"{tree}-{tool}-{number}"
            scratch.mkdir()
            os.sync()
            came: list[int] = []
            with linked(direct, o.rtt_ms, o.rate, came=came) as port:
                found.setdefault(tool, []).append(_ways(folder, port, key, tree, scratch)[tool]())
            over[tool] = came[0]
            print(tree, tool, round(found[tool][-1], 2), came[0], flush=True)
    best = {tool: min(each) for tool, each in found.items()}
    return {
        "seconds": {tool: round(s, 3) for tool, s in best.items()},
        "bytes_over_the_link": over,
        "times_faster_than": {tool: round(s / best["ours"], 2) for tool, s in best.items() if tool != "ours"},
    }


def _ways(folder: Path, port: int, key: Path, tree: str, scratch: Path) -> dict[str, Callable[[], float]]:
    shell = f"ssh -p {port} -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    source = f"root@127.0.0.1:{folder}/{tree}"

    def run(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def us() -> float:
        for pin in (folder / "home" / "hostkeys").glob("*"):
            pin.unlink()
        return by_us(folder, port, tree, scratch)["seconds"]

    words = ["-P" if word == "-p" else word for word in shell.split()[1:]]
    return {
        "ours": us,
        "rsync": lambda: run("rsync", "-a", "-e", shell, source, str(scratch)),
        "rsync-z": lambda: run("rsync", "-az", "-e", shell, source, str(scratch)),
        "scp-C": lambda: run("scp", "-C", "-r", "-q", *words, source, str(scratch)),
    }


if __name__ == "__main__":
    main()
