"""A copy that is broken off by a preemption goes on where it was: on the machine that came back, or from its disk."""

import hashlib
import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.stage import Stage

pytestmark = pytest.mark.anyio
SIZE, HALF, CHUNK = 24_000_000, 12_000_000, 4 << 20
NOISE = f"""import os, random
os.makedirs("/workspace/out", exist_ok=True)
with open("/workspace/out/weights.bin", "wb") as file:
    file.write(random.Random(5).randbytes({SIZE}))
"""


async def broken_off(stage: Stage, name: str) -> tuple[str, int, str]:
    """A run whose copy stood still in the middle when its machine was taken: run, instance, hash of the file there."""
    run, instance_id = await stage.rent(name, rental="interruptible")
    await stage.trained(run, NOISE)
    digest = hashlib.sha256(random.Random(5).randbytes(SIZE)).hexdigest()
    # The first connection lists the results, the second lists and copies them.
    stage.market.do("/faults", route=f"SSH {instance_id}", kind="stall", bytes=HALF, after=1, count=1)
    told: list[str] = []

    async def copying() -> None:
        told.append(await stage.refused("copy_out", target=run))

    async with anyio.create_task_group() as group:
        group.start_soon(copying)
        for _ in range(300):
            if sent_by(stage, instance_id) >= HALF:
                break
            await anyio.sleep(0.05)
        stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05, for_s=1e6)
    assert f"Run {run} is parked" in told[0]
    assert "no finished file was replaced" in told[0]
    return run, instance_id, digest


def sent_by(stage: Stage, instance_id: int) -> int:
    box: dict[str, Any] = stage.market.look(f"/instances/{instance_id}")["box"]
    return int(box["bytes_sent"])


def hash_of(copy: dict[str, Any]) -> str:
    return hashlib.sha256((Path(copy["destination"]) / "weights.bin").read_bytes()).hexdigest()


async def test_after_a_preemption_the_copy_goes_on_at_the_new_address_of_the_machine_that_came_back(
    stage: Stage,
) -> None:
    run, instance_id, digest = await broken_off(stage, "returns")
    stage.market.do(f"/instances/{instance_id}/restore")
    await stage.running(run)

    copy = await stage.call("copy_out", target=run)

    assert hash_of(copy) == digest
    assert copy["bytes_transferred"] <= SIZE - HALF + CHUNK


async def test_after_a_preemption_that_lasts_the_same_call_reads_the_disk(stage: Stage) -> None:
    run, _, digest = await broken_off(stage, "lasts")

    copy = await stage.call("copy_out", target=run)

    assert copy["route"].startswith("machine-rsync")
    assert hash_of(copy) == digest
    assert not list((Path(copy["destination"]) / ".rgt-partial").glob("rescue"))
