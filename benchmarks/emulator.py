"""The emulator under a crowd: start to first answer, and 200 instances that are polled each second for a minute.

Run: ``python benchmarks/emulator.py``. Writes ``benchmarks/results/emulator.json``. The goals: the first answer within
1 s of the start of the process, p99 of ``show instance`` under 50 ms. The contracts have no boxes (``--ssh none``).
"""

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

INSTANCES, SECONDS, STARTS, BATCH = 200, 60, 7, 20
Ready = dict[str, Any]


@contextmanager
def emulator(folder: Path) -> Generator[tuple[Ready, int, float]]:
    """A process of its own: what it said when ready, its id, and the seconds until its first answer."""
    command = [sys.executable, "-m", "remote_gpu_trainer.emulator", "--state", str(folder), "--json"]
    begun = time.perf_counter()
    with subprocess.Popen(
        [*command, "--ssh", "none", "--speed", "1", "--offers", "1000"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            ready: Ready = json.loads(process.stdout.readline())
            httpx.get(ready["url"] + "/api/v0/users/current", headers=bearer(ready["api_key"]), trust_env=False)
            yield ready, process.pid, time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait(20)


def bearer(secret: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {secret}"}


def peak_mb(pid: int) -> float:
    """The most memory that a process held, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


async def crowd(ready: Ready) -> list[float]:
    """Rent many and poll each once a second; seconds of every answer."""
    spent: list[float] = []
    limits = httpx.Limits(max_connections=BATCH, max_keepalive_connections=BATCH)
    async with (
        httpx.AsyncClient(
            base_url=ready["control_url"], headers=bearer(ready["control_token"]), trust_env=False
        ) as ctl,
        httpx.AsyncClient(
            base_url=ready["url"], headers=bearer(ready["api_key"]), trust_env=False, limits=limits, timeout=30
        ) as api,
    ):
        await ctl.post("/quirks", json={"lively-market": False, "reads-lag": False, "shared-limit": False})
        await ctl.post("/clock", json={"speed": 0})
        await ctl.post("/account", json={"balance_usd": 100_000})
        rented: list[int] = []
        wanted = {"rentable": {"eq": True}, "num_gpus": {"eq": 1}, "order": [["id", "asc"]], "limit": 1000}
        while len(rented) < INSTANCES:
            for offer in (await api.post("/api/v0/bundles/", json=wanted)).json()["offers"][: INSTANCES - len(rented)]:
                body = {"image": "ubuntu:22.04", "disk": 10, "runtype": "ssh_direc ssh_proxy"}
                answer = await api.put(f"/api/v0/asks/{offer['id']}/", json=body)
                rented += [answer.json()["new_contract"]] if answer.status_code == 200 else []
        await ctl.post("/clock", json={"advance_s": 900})

        async def poll(share: list[int], start: float) -> None:
            for place, number in enumerate(share):
                await asyncio.sleep(start + place / len(share) - time.perf_counter())
                begun = time.perf_counter()
                answer = await api.get(f"/api/v0/instances/{number}/")
                spent.append(time.perf_counter() - begun)
                assert answer.json()["instances"]["actual_status"] == "running", answer.text

        for second in range(SECONDS):
            begun = time.perf_counter()
            shares = [(rented[part::BATCH], begun + part / INSTANCES) for part in range(BATCH)]
            await asyncio.gather(*(poll(share, start) for share, start in shares))
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - begun)))
            print(f"\r{second + 1}/{SECONDS} s", end="", flush=True)
    return spent


def main() -> None:
    """Measure, print, write."""
    starts: list[float] = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder, emulator(Path(folder)) as (_, _, took):
            starts.append(took)
    with tempfile.TemporaryDirectory() as folder, emulator(Path(folder)) as (ready, pid, _):
        spent = asyncio.run(crowd(ready))
        memory = peak_mb(pid)
    hundredths = statistics.quantiles(spent, n=100)
    what = f"{INSTANCES} instances in one process, each shown once a second for {SECONDS} s, over {BATCH} connections"
    found = {
        "what": what,
        "start_to_first_answer_s": round(statistics.median(starts), 3),
        "start_worst_s": round(max(starts), 3),
        "calls": len(spent),
        "show_p50_ms": round(hundredths[49] * 1000, 2),
        "show_p99_ms": round(hundredths[98] * 1000, 2),
        "peak_mb": round(memory, 1),
        "load_before": round(os.getloadavg()[2], 2),
        "machine": {"system": platform.system(), "arch": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "at": datetime.now(UTC).date().isoformat(),
    }
    print("\n" + json.dumps(found, indent=2))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "emulator.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
