"""Sending a tree of a million small files to a machine: the memory and time of the process that sends, stage by stage.

Run as root: ``python -m benchmarks.million_push [--files 1000000] [--scratch /dev/shm]``. Writes
``benchmarks/results/million_push.json``. The goal: under 300 MB at the peak for a million files.

The tree is that of ``benchmarks/million.py``, the far side a real sshd. The process does what ``push_files`` does: it
looks for credentials, hashes, asks what is there, sends it, and does all of that once more, where nothing is left to
send.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from benchmarks.copy_speed import LEASE, machine
from benchmarks.million import LOADED, POLICY, Stages, a_crowd, write_result
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.services.farside import limits_of
from remote_gpu_trainer.services.outgoing import is_large
from remote_gpu_trainer.ssh import ParamikoConnector, ParamikoHost
from remote_gpu_trainer.transfer.push import PushReceipt, Survey, push, survey

HERE = Path(__file__).resolve().parent


async def send(home: Path, port: int, source: Path, destination: str) -> dict[str, Any]:
    """All that a push does in its own process, but for what it asks of the platform."""
    assert LOADED
    stages, clock = Stages(), SystemClock()
    connector = ParamikoConnector(home, clock=clock)

    async def connect() -> ParamikoHost:
        return await connector.connect(LEASE, [Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=port)])

    async def look() -> Survey:
        return await anyio.to_thread.run_sync(survey, source)

    async def bring() -> PushReceipt:
        return await push(
            connect, source=source, destination=destination, clock=clock, progress=None, limits=limits_of(POLICY)
        )

    seen = await stages.run("look for credentials", look)
    assert is_large(seen) and not seen.secrets
    receipt = await stages.run("push", bring)
    again = await stages.run("push once more", bring)
    assert again.bytes_sent == 0 and again.files == receipt.files == seen.files
    return {
        "files": receipt.files,
        "bytes": receipt.bytes,
        "push_files_peak_mb": max(row["peak_mb"] for row in stages.rows.values()),
        "stages": stages.rows,
    }


def main() -> None:
    """Measure, print, write."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--files", type=int, default=1_000_000)
    ask.add_argument("--scratch", type=Path, default=Path("/dev/shm"))  # noqa: S108 - a folder of one's own is made there
    ask.add_argument("--write", type=Path, default=HERE / "results" / "million_push.json")
    ask.add_argument("--ours", nargs=4, metavar=("HOME", "PORT", "SOURCE", "DESTINATION"))
    o = ask.parse_args()
    if o.ours:
        home, port, source, destination = o.ours
        print(json.dumps(anyio.run(send, Path(home), int(port), Path(source), destination)))
        return
    before = machine()
    with a_crowd(o.scratch, o.files) as (folder, port):
        arguments = [str(folder / "home"), str(port), str(folder / "tree"), str(folder / "there")]
        command = [sys.executable, "-m", "benchmarks.million_push", "--ours", *arguments]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    write_result(o.write, before, found)


if __name__ == "__main__":
    main()
