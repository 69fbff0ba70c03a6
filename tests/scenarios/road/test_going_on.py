"""A preemption in the middle of a copy: it goes on when the machine is back, or comes from its resting disk."""

import os
from pathlib import Path

import anyio
import pytest

from tests.stage import Stage

pytestmark = pytest.mark.anyio
MIB = 1 << 20
SIZE = 24 * MIB
COMES = 12 * MIB
"""Bytes after which the line stands still, until the machine is taken away."""


async def cut_short(stage: Stage, name: str) -> tuple[str, int, bytes]:
    """A run whose machine was taken away in the middle of its copy: the run, its instance, and what is to come."""
    run, instance_id = await stage.rent(name, "interruptible")
    await stage.trained(run)
    content = os.urandom(SIZE)
    root = Path(stage.market.look(f"/instances/{instance_id}")["order"]["root"])
    (root / "workspace" / "out" / "model.bin").write_bytes(content)
    stage.market.do("/faults", route=f"SSH {instance_id}", kind="stall", bytes=COMES, count=50, after=1)

    async def take_away() -> None:
        home = stage.folder / "home" / "rgt" / "results" / run
        for _ in range(1000):
            begun = [one for one in home.rglob(".rgt-partial/*") if one.stat().st_size >= COMES - 2 * MIB]
            if begun:
                break
            await anyio.sleep(0.01)
        stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05, for_s=1e6)

    told = ""
    async with anyio.create_task_group() as group:
        group.start_soon(take_away)
        told = await stage.refused("copy_out", target=run)
    assert stage.market.control.delete("/faults").status_code == 200
    assert f"Run {run} is parked" in told
    assert "no finished file was replaced" in told
    return run, instance_id, content


async def test_a_copy_goes_on_once_its_machine_is_back(stage: Stage) -> None:
    run, instance_id, content = await cut_short(stage, "back")
    stage.market.do(f"/instances/{instance_id}/restore")
    await stage.running(run)

    copy = await stage.call("copy_out", target=run)

    assert copy["route"].startswith("direct-ssh")
    assert (Path(copy["destination"]) / "model.bin").read_bytes() == content
    assert copy["bytes_transferred"] <= SIZE - COMES + 4 * MIB + MIB
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]


async def test_a_copy_whose_machine_never_comes_back_is_finished_from_its_disk(stage: Stage) -> None:
    run, instance_id, content = await cut_short(stage, "gone")

    copy = await stage.call("copy_out", target=run, acknowledge=["VAST33"])

    assert copy["route"].startswith("machine-rsync")
    assert (Path(copy["destination"]) / "model.bin").read_bytes() == content
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    assert "rgt approve" in await stage.refused("destroy", target=run)
    assert stage.there(instance_id)


def left(stage: Stage, instance_id: int) -> int:
    """Bytes that left the machine so far, by the market's own meter."""
    return int(stage.market.look(f"/instances/{instance_id}")["cost"]["sent_bytes"])


async def test_each_byte_crosses_about_once_by_whichever_way_the_machine_can_be_reached(stage: Stage) -> None:
    run, instance_id, content = await cut_short(stage, "both")
    out = Path(stage.market.look(f"/instances/{instance_id}")["order"]["root"]) / "workspace" / "out"
    came = left(stage, instance_id)
    assert COMES - 2 * MIB < came < COMES + 2 * MIB

    rescue = await stage.call("copy_out", target=run, acknowledge=["VAST33"])
    assert rescue["route"].startswith("machine-rsync")
    home = Path(rescue["destination"])
    assert (home / "model.bin").read_bytes() == content
    rescued = left(stage, instance_id) - came
    assert rescued < SIZE - COMES + 4 * MIB
    assert rescue["bytes_transferred"] == pytest.approx(rescued, abs=MIB)
    assert os.listdir(home / ".rgt-partial") == ["map.jsonl"]

    stage.market.do(f"/instances/{instance_id}/restore")
    await stage.running(run)
    (out / "checkpoint-8.bin").write_bytes(os.urandom(MIB))
    before = left(stage, instance_id)

    again = await stage.call("copy_out", target=run)
    assert again["route"].startswith("direct-ssh")
    assert (again["bytes_transferred"], again["files"]) == (MIB, 3)
    assert left(stage, instance_id) - before < 2 * MIB
    assert left(stage, instance_id) < SIZE + MIB + 4 * MIB, "with a chunk for the cut, and every list and hash"

    assert (await stage.call("verify_local", copy_id=again["copy_id"]))["passed"]
    told = await stage.refused("destroy", target=run)
    assert "[consent_required]" in told
    assert "rgt approve" in told
    assert stage.there(instance_id)
