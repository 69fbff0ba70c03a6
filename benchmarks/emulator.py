"""The emulator under a crowd: start to first answer, and 200 instances that are polled each second for a minute.

Run: ``python benchmarks/emulator.py``. Writes ``benchmarks/results/emulator.json``. The goals: the first answer within
1 s of the start of the process, p99 of ``show instance`` under 50 ms.

It is the emulator as a user starts it: boxes with SSH are up behind all instances, the clock runs at the speed of life,
the market is lively and every default quirk is on, rate limits included. One key may show an instance every 2 s and
make five calls in 10 s, so each instance is polled with three keys in turn. Only renting and booting go at speed 0,
where nobody is limited and time is let pass at once.
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

INSTANCES, SECONDS, STARTS, BATCH, KEYS_EACH = 200, 60, 7, 20, 3
BOOT_MOST_S = 300.0
Ready = dict[str, Any]


@contextmanager
def emulator(folder: Path) -> Generator[tuple[Ready, int, float]]:
    """A process of its own: what it said when ready, its id, and the seconds until its first answer."""
    command = [sys.executable, "-m", "remote_gpu_trainer.emulator", "--state", str(folder), "--json"]
    begun = time.perf_counter()
    with subprocess.Popen([*command, "--speed", "1", "--offers", "1000"], stdout=subprocess.PIPE, text=True) as process:
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


def below(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *below(child)]
    return found


def shared_mb(pids: list[int]) -> float:
    """Memory of processes in MB, what several share divided among them."""
    rolled = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(text.split("\nPss:")[1].split()[0]) for text in rolled) * 1024 / 1e6


async def furnish(ctl: httpx.AsyncClient, api: httpx.AsyncClient) -> list[tuple[int, list[dict[str, str]]]]:
    """Rent many, boot them, let the clock run; each instance with the headers of its keys."""
    await ctl.post("/clock", json={"speed": 0})
    await ctl.post("/account", json={"balance_usd": 100_000})
    rented: list[int] = []
    wanted: Ready = {"rentable": {"eq": True}, "num_gpus": {"eq": 1}, "direct_port_count": {"gte": 1}, "limit": 1000}
    while len(rented) < INSTANCES:
        for offer in (await api.post("/api/v0/bundles/", json=wanted)).json()["offers"][: INSTANCES - len(rented)]:
            body = {"image": "ubuntu:22.04", "disk": 10, "runtype": "ssh_direc ssh_proxy"}
            answer = await api.put(f"/api/v0/asks/{offer['id']}/", json=body)
            rented += [answer.json()["new_contract"]] if answer.status_code == 200 else []
    await ctl.post("/clock", json={"advance_s": 900})
    flats = [(number, [bearer((await ctl.post("/keys")).json()["key"]) for _ in range(KEYS_EACH)]) for number in rented]
    await ctl.post("/clock", json={"speed": 1})
    return flats


async def crowd(ready: Ready) -> list[float]:
    """Poll each of many once a second; seconds of every answer."""
    spent: list[float] = []
    limits = httpx.Limits(max_connections=BATCH, max_keepalive_connections=BATCH)
    url, token = ready["control_url"], bearer(ready["control_token"])
    async with (
        httpx.AsyncClient(base_url=url, headers=token, trust_env=False, timeout=BOOT_MOST_S) as ctl,
        httpx.AsyncClient(
            base_url=ready["url"], headers=bearer(ready["api_key"]), trust_env=False, limits=limits, timeout=30
        ) as api,
    ):
        flats = await furnish(ctl, api)

        async def poll(share: list[tuple[int, list[dict[str, str]]]], start: float, second: int) -> None:
            for place, (number, keys) in enumerate(share):
                await asyncio.sleep(start + place / len(share) - time.perf_counter())
                begun = time.perf_counter()
                answer = await api.get(f"/api/v0/instances/{number}/", headers=keys[second % KEYS_EACH])
                spent.append(time.perf_counter() - begun)
                row = answer.json()["instances"]
                assert (row["actual_status"], "22/tcp" in row["ports"]) == ("running", True), answer.text

        for second in range(SECONDS):
            begun = time.perf_counter()
            shares = [(flats[part::BATCH], begun + part / INSTANCES) for part in range(BATCH)]
            await asyncio.gather(*(poll(share, start, second) for share, start in shares))
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - begun)))
            print(f"\r{second + 1}/{SECONDS} s", end="", flush=True)
    return spent


def main() -> None:
    """Measure, print, write."""
    load = os.getloadavg()[0]
    starts: list[float] = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder, emulator(Path(folder)) as (_, _, took):
            starts.append(took)
    with tempfile.TemporaryDirectory() as folder, emulator(Path(folder)) as (ready, pid, _):
        spent = asyncio.run(crowd(ready))
        memory, boxes_mb = peak_mb(pid), shared_mb(below(pid))
    hundredths = statistics.quantiles(spent, n=100)
    what = f"{INSTANCES} instances in one process, each shown once a second for {SECONDS} s, over {BATCH} connections"
    found = {
        "what": what,
        "start_to_first_answer_s": round(statistics.median(starts), 3),
        "start_worst_s": round(max(starts), 3),
        "calls": len(spent),
        "show_p50_ms": round(hundredths[49] * 1000, 2),
        "show_p99_ms": round(hundredths[98] * 1000, 2),
        "show_worst_ms": round(max(spent) * 1000, 2),
        "peak_mb": round(memory, 1),
        "boxes_mb": round(boxes_mb, 1),
        "boxes": ready["isolation"],
        "off": "nothing: default quirks and rate limits, clock at speed 1, boxes with SSH",
        "load_before": round(load, 2),
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
