"""Bringing files home: scp, rsync and ours from one real sshd, over a loopback link with a round trip and a rate.

Run as root: ``python benchmarks/copy_speed.py [--rtt-ms 100] [--rate 125e6] [--mib 1024] [--files 10000]
[--rounds 3]``. Writes ``benchmarks/results/copy_speed-RTTms.json``. The goals: at 100 ms a big file at least 5 times as
fast as scp and rsync and at 0.80 of the link, many small ones at least 3.5 times as fast as ``rsync -a``.

The time of scp and rsync is that of their process; ours is that of the copy, connecting and hashing included, without
the start of Python, which the server has behind it. Peak memory is that of a process that does nothing else.
"""

import argparse
import json
import os
import platform
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.ssh import ParamikoConnector, ParamikoHost
from remote_gpu_trainer.transfer import CopyLimits, pull

HERE = Path(__file__).resolve().parent
LEASE = LeaseId("speed-k3vq7m")
LIMITS = CopyLimits(max_bytes=1 << 40, max_files=1_000_000, max_depth=32, keep_free_bytes=0)


@contextmanager
def started(command: list[str], **options: Any) -> Generator[subprocess.Popen[str]]:
    """A process that is ended afterwards."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def sshd(folder: Path, public_key: str) -> Generator[int]:
    """A real sshd on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    (folder / "authorized").write_text(public_key + "\n")
    options = {
        "ListenAddress": "127.0.0.1", "Port": port, "HostKey": folder / "host", "StrictModes": "no",
        "AuthorizedKeysFile": folder / "authorized", "PasswordAuthentication": "no", "PidFile": "none",
        "PermitRootLogin": "prohibit-password", "UsePAM": "no", "LogLevel": "QUIET", "MaxStartups": "100",
        "Subsystem": "sftp internal-sftp",
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    with started([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", str(folder / "config")]):
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port


def write_trees(folder: Path, mib: int, files: int) -> None:
    """One big file, and a crowd of 4 to 64 KiB, of bytes that do not compress."""
    (folder / "big").mkdir()
    with (folder / "big" / "model.bin").open("wb") as out:
        for _ in range(mib):
            out.write(os.urandom(1 << 20))
    dice = random.Random(1)
    for number in range(files):
        inner = folder / "small" / str(number % 100)
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number}.bin").write_bytes(dice.randbytes(dice.randrange(4 << 10, 64 << 10)))


async def ours(home: Path, port: int, root: str, destination: Path) -> dict[str, float]:
    """One copy by this package."""
    clock = SystemClock()
    connector = ParamikoConnector(home, clock=clock)

    async def connect() -> ParamikoHost:
        return await connector.connect(LEASE, [Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=port)])

    began = time.perf_counter()
    receipt = await pull(
        connect,
        roots=[root],
        destination=destination,
        lease=LEASE,
        instance_id=InstanceId(1),
        route=Route.DIRECT_SSH,
        route_reason="benchmark",
        egress_usd_per_gb=None,
        limits=LIMITS,
        clock=clock,
        progress=None,
        copy_id=CopyId("copy-speed"),
        manifest_script=(HERE.parent / "scripts" / "manifest.py").read_bytes(),
    )
    seconds = time.perf_counter() - began
    assert not receipt.skipped, receipt.skipped[:3]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak, "bytes": receipt.bytes_transferred}


def measure(way: Callable[[Path], float], scratch: Path, rounds: int) -> float:
    """Median seconds into an empty folder."""
    seconds: list[float] = []
    for _ in range(rounds):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        os.sync()
        seconds.append(way(scratch))
    return statistics.median(seconds)


def main() -> None:
    """Measure, print, write."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--rtt-ms", type=float, default=100)
    ask.add_argument("--rate", type=float, default=125e6)
    ask.add_argument("--mib", type=int, default=1024)
    ask.add_argument("--files", type=int, default=10_000)
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--only", default="ours,scp,rsync")
    ask.add_argument("--ours", nargs=4, metavar=("HOME", "PORT", "ROOT", "DESTINATION"))
    o = ask.parse_args()
    if o.ours:
        home, port, root, destination = o.ours
        print(json.dumps(anyio.run(ours, Path(home), int(port), root, Path(destination))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_trees(folder, o.mib, o.files)
        public = ParamikoConnector(folder / "home", clock=SystemClock()).public_key()
        proxy = [sys.executable, str(HERE / "linkproxy.py")]
        with sshd(folder, public) as direct:
            if o.rtt_ms:
                link = [*proxy, str(direct), str(o.rtt_ms / 1e3), str(o.rate)]
                with started(link, stdout=subprocess.PIPE) as process:
                    assert process.stdout
                    report(o, folder, int(process.stdout.readline()))
            else:
                report(o, folder, direct)


def report(o: argparse.Namespace, folder: Path, port: int) -> None:
    """Measure over one port and write the result."""
    key = folder / "home" / "ssh" / "id_ed25519"
    shell = f"ssh -p {port} -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    peaks: list[float] = []

    def run(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def by_us(tree: str) -> Callable[[Path], float]:
        def way(scratch: Path) -> float:
            arguments = [str(folder / "home"), str(port), str(folder / tree), str(scratch / "home")]
            command = [sys.executable, __file__, "--ours", *arguments]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            peaks.append(found["peak_bytes"])
            return float(found["seconds"])

        return way

    ways: dict[str, Callable[[str], Callable[[Path], float]]] = {
        "ours": by_us,
        "scp": lambda tree: lambda scratch: run(
            "scp", "-r", "-q", *["-P" if word == "-p" else word for word in shell.split()[1:]],
            f"root@127.0.0.1:{folder}/{tree}", str(scratch),
        ),
        "rsync": lambda tree: lambda scratch: run(
            "rsync", "-a", "-e", shell, f"root@127.0.0.1:{folder}/{tree}", str(scratch)
        ),
    }  # fmt: skip
    seconds: dict[str, dict[str, float]] = {}
    for tree in ("big", "small"):
        for tool in o.only.split(","):
            if tree == "small" and tool == "scp":
                continue  # a round trip or more for each file: minutes
            found = measure(ways[tool](tree), folder / "scratch", o.rounds)
            seconds.setdefault(tree, {})[tool] = round(found, 3)
            print(tree, tool, round(found, 2), flush=True)
    big = o.mib << 20
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count(),
            "cpu": next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                         if line.startswith("model name")), "unknown"),
        },
        "link": {"round_trip_ms": o.rtt_ms, "bytes_per_s": o.rate if o.rtt_ms else None},
        "rounds": o.rounds,
        "big_file_bytes": big,
        "small_files": o.files,
        "median_seconds": seconds,
        "big_mb_per_s": {tool: round(big / 1e6 / s, 1) for tool, s in seconds["big"].items()},
        "times_faster_than": {
            tree: {tool: round(s / rows["ours"], 2) for tool, s in rows.items() if tool != "ours"}
            for tree, rows in seconds.items() if "ours" in rows
        },
        "share_of_link": round(big / seconds["big"]["ours"] / o.rate, 3) if o.rtt_ms else None,
        "peak_memory_mb": round(max(peaks) / 1e6, 1) if peaks else None,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if set(o.only.split(",")) >= {"ours", "scp", "rsync"}:
        (HERE / "results" / f"copy_speed-{o.rtt_ms:g}ms.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
