"""Bringing files home: scp, rsync and ours from one real sshd, over a loopback link with a round trip and a rate.

Run as root: ``python -m benchmarks.copy_speed [--rtt-ms 100,20,0] [--parts big,small,resume] [--rate 125e6]
[--mib 1024] [--files 10000] [--rounds 3] [--peer-rounds 1]``; all of it takes about 8 minutes. Writes
``benchmarks/results/copy_speed-RTTms.json`` and ``copy_resume.json``. The goals: at 100 ms a big file at least 5 times
as fast as scp and rsync and at 0.80 of the link, many small ones at least 3.5 times as fast as ``rsync -a``; at 20 ms
no slower than the best of them and at 0.80 of the link; without delay no slower than they. A file of 1 GiB that is cut
at 20 random bytes sends less than 1.03 times its size in total.

The time of scp and rsync is that of their process; ours is that of the copy, connecting and hashing included, without
the start of Python and the loading of modules, which the server has behind it. Peak memory is that of a process that
does nothing else. In a virtual machine the pages of a file may cost as much as its copy, where the host took them back
meanwhile: so many are touched and freed just before the clock of each tool starts, and the tools begin in turn.
"""

import argparse
import gc
import hashlib
import importlib
import itertools
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
CUTS = 20
PAGES = 3 << 29
"""Bytes."""
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
    importlib.import_module("paramiko")  # loaded with the first connection, that by which the job was started
    gc.freeze()  # as the server does
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


def measure(way: Callable[[Path], float], scratch: Path) -> float:
    """Seconds into a new folder. Small files are deleted at the end of all only: for minutes after a crowd was
    deleted, ext4 looks at each freed inode anew for every file that is made near it."""
    for big in scratch.glob("*/**/model.bin"):
        big.unlink()
    folder = scratch / str(len(list(scratch.iterdir())))
    folder.mkdir()
    os.sync()
    touch_pages()
    return way(folder)


def touch_pages() -> None:
    """Let the system have as many free pages as a copy fills."""
    subprocess.run([sys.executable, "-c", f"b'1' * {PAGES}"], check=True)


def main() -> None:
    """Measure, print, write."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--rtt-ms", default="100,20,0")
    ask.add_argument("--parts", default="big,small,resume")
    ask.add_argument("--rate", type=float, default=125e6)
    ask.add_argument("--mib", type=int, default=1024)
    ask.add_argument("--files", type=int, default=10_000)
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--peer-rounds", type=int, default=1, help="where a peer is slow, one round says enough")
    ask.add_argument("--seed", type=int, default=random.randrange(1 << 32))
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
        with sshd(folder, public) as direct:
            for rtt_ms in map(float, o.rtt_ms.split(",")):
                with linked(direct, rtt_ms, o.rate) as port:
                    report(o, folder, port, rtt_ms)
            if "resume" in o.parts.split(","):
                resume(o, folder, direct)


@contextmanager
def linked(
    port: int, rtt_ms: float, rate: float, cuts: tuple[int, ...] = (), came: list[int] | None = None
) -> Generator[int]:
    """A port that leads to another over the link; without round trip and cuts the port itself.

    ``came`` gets the bytes that came back over it, SSH's own included.
    """
    if not rtt_ms and not cuts:
        yield port
        return
    link = [sys.executable, str(HERE / "linkproxy.py"), str(port), str(rtt_ms / 1e3), str(rate), *map(str, cuts)]
    with started(link, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        if came is not None:
            process.terminate()
            came.append(int(process.stdout.readline()))


def by_us(folder: Path, port: int, tree: str, scratch: Path) -> dict[str, float]:
    """One copy by a process of its own."""
    arguments = [str(folder / "home"), str(port), str(folder / tree), str(scratch / "home")]
    command = [sys.executable, __file__, "--ours", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def resume(o: argparse.Namespace, folder: Path, port: int) -> None:
    """Cut a copy of the big file at 20 random bytes, and count what was sent."""
    size, dice = o.mib << 20, random.Random(o.seed)
    places = sorted(dice.randrange(size) for _ in range(CUTS))
    scratch = folder / "resume"
    scratch.mkdir()
    cuts = tuple(b - a for a, b in itertools.pairwise([0, *places]))
    came: list[int] = []
    with linked(port, 20, 1e12, cuts, came) as cut_port:
        found = by_us(folder, cut_port, "big", scratch)
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seed": o.seed,
        "file_bytes": size,
        "cuts_at": places,
        "file_bytes_received": found["bytes"],
        "bytes_over_the_link": came[0],
        "sent_over_size": round(came[0] / size, 4),
        "seconds": round(found["seconds"], 1),
        "digest_right": sha256(scratch / "home" / "model.bin") == sha256(folder / "big" / "model.bin"),
        "peak_memory_mb": round(found["peak_bytes"] / 1e6, 1),
    }
    print(json.dumps(result, indent=2))
    assert result["digest_right"], "the file is another one"
    (HERE / "results" / "copy_resume.json").write_text(json.dumps(result, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def machine() -> dict[str, Any]:
    """What this ran on, and how busy it was with other things."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "cpu": next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown"),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }


def report(o: argparse.Namespace, folder: Path, port: int, rtt_ms: float) -> None:
    """Measure over one port and write the result."""
    key = folder / "home" / "ssh" / "id_ed25519"
    shell = f"ssh -p {port} -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    scratch = folder / f"scratch-{rtt_ms:g}"
    scratch.mkdir()
    before = machine()
    peaks: list[float] = []

    def run(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def us(tree: str) -> Callable[[Path], float]:
        def way(place: Path) -> float:
            for pin in (folder / "home" / "hostkeys").glob("*"):
                pin.unlink()
            found = by_us(folder, port, tree, place)
            peaks.append(found["peak_bytes"])
            return found["seconds"]

        return way

    ways: dict[str, Callable[[str], Callable[[Path], float]]] = {
        "ours": us,
        "scp": lambda tree: lambda scratch: run(
            "scp", "-r", "-q", *["-P" if word == "-p" else word for word in shell.split()[1:]],
            f"root@127.0.0.1:{folder}/{tree}", str(scratch),
        ),
        "rsync": lambda tree: lambda scratch: run(
            "rsync", "-a", "-e", shell, f"root@127.0.0.1:{folder}/{tree}", str(scratch)
        ),
    }  # fmt: skip
    seconds: dict[str, dict[str, float]] = {}
    spread: dict[str, dict[str, list[float]]] = {}
    for tree in [part for part in o.parts.split(",") if part != "resume"]:
        # scp of small files takes a round trip or more for each: minutes
        rounds = {
            tool: o.rounds if tool == "ours" or not rtt_ms else o.peer_rounds
            for tool in o.only.split(",")
            if (tree, tool) != ("small", "scp")
        }
        found: dict[str, list[float]] = {tool: [] for tool in rounds}
        for number in range(max(rounds.values())):  # by turns, so that a busy minute of the machine meets all of them
            for tool, most in [*rounds.items()][number % len(rounds) :] + [*rounds.items()][: number % len(rounds)]:
                if number < most:
                    found[tool].append(measure(ways[tool](tree), scratch))
                    print(f"{rtt_ms:g} ms", tree, tool, round(found[tool][-1], 2), flush=True)
        seconds[tree] = {tool: round(statistics.median(each), 3) for tool, each in found.items()}
        spread[tree] = {tool: [round(min(each), 3), round(max(each), 3)] for tool, each in found.items()}
    big, whole = o.mib << 20, seconds.get("big", {})
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "link": {"round_trip_ms": rtt_ms, "bytes_per_s": o.rate if rtt_ms else None},
        "rounds": {"ours": o.rounds, "others": o.peer_rounds if rtt_ms else o.rounds},
        "big_file_bytes": big,
        "small_files": o.files,
        "median_seconds": seconds,
        "least_and_most_seconds": spread,
        "big_mb_per_s": {tool: round(big / 1e6 / s, 1) for tool, s in whole.items()},
        "times_faster_than": {
            tree: {tool: round(s / rows["ours"], 2) for tool, s in rows.items() if tool != "ours"}
            for tree, rows in seconds.items()
            if "ours" in rows
        },
        "share_of_link": round(big / whole["ours"] / o.rate, 3) if rtt_ms and "ours" in whole else None,
        "peak_memory_mb": round(max(peaks) / 1e6, 1) if peaks else None,
    }
    print(json.dumps(result, indent=2))
    if set(o.only.split(",")) >= {"ours", "scp", "rsync"} and {"big", "small"} <= set(o.parts.split(",")):
        (HERE / "results" / f"copy_speed-{rtt_ms:g}ms.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
