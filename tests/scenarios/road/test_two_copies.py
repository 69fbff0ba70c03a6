"""Two copies into one folder at once: the second is refused, whichever way the first one comes."""

import os
from pathlib import Path

import anyio
import pytest
from mcp.types import TextContent

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.transfer.alone import alone
from tests.stage import Stage

pytestmark = pytest.mark.anyio
MIB = 1 << 20


async def test_of_two_calls_at_once_one_copies_and_the_other_is_refused_and_parks_nothing(stage: Stage) -> None:
    run, instance_id = await stage.rent("twice")
    await stage.trained(run)
    content = os.urandom(16 * MIB)
    root = Path(stage.market.look(f"/instances/{instance_id}")["order"]["root"])
    (root / "workspace" / "out" / "model.bin").write_bytes(content)
    copied: list[str] = []
    refused: list[str] = []

    async def copy() -> None:
        answer = await stage.client.call_tool("copy_out", {"target": run}, read_timeout_seconds=50)
        text = "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
        (refused if answer.is_error else copied).append(text)

    async with anyio.create_task_group() as group:
        group.start_soon(copy)
        group.start_soon(copy)

    assert (len(copied), len(refused)) == (1, 1), refused
    assert "[destination_busy]" in refused[0]
    assert f"of run {run}, since " in refused[0]
    assert f"process {os.getpid()}" in refused[0]
    assert "Nothing was copied by this call" in refused[0]
    home = stage.folder / "home" / "rgt" / "results" / run
    assert (home / "model.bin").read_bytes() == content
    assert [one.lease for one in stage.services.journal.copies(LeaseId(run))] == [run]
    assert (await stage.call("poll_status", target=run))["runs"][0]["phase"] == "home"
    assert (await stage.call("copy_out", target=run))["bytes_transferred"] == 0


async def test_copies_of_one_run_into_two_folders_go_on_side_by_side(stage: Stage) -> None:
    run, _ = await stage.rent("aside")
    await stage.trained(run)
    with alone(stage.folder / "home" / "rgt" / "results" / run, "of another process"):
        copy = await stage.call(
            "copy_out", target=run, destination=str(stage.folder / "home" / "rgt" / "results" / "aside")
        )
    assert (Path(copy["destination"]) / "result.json").exists()


async def test_a_rescue_is_refused_as_well_and_comes_once_the_folder_is_free(stage: Stage) -> None:
    run, _ = await stage.rent("later")
    await stage.trained(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    with alone(stage.folder / "home" / "rgt" / "results" / run, "of another process"):
        told = await stage.refused("copy_out", target=run, acknowledge=["VAST33"])
    assert "[destination_busy]" in told
    assert "(of another process)" in told
    assert (await stage.call("poll_status", target=run))["runs"][0]["phase"] != "parked"

    copy = await stage.call("copy_out", target=run, acknowledge=["VAST33"])
    assert copy["route"].startswith("machine-rsync")
