"""A computer that stays awake brings home what ended while no agent was there, once, and proves that it loads."""

import sys
from pathlib import Path

import anyio
import pytest

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.services.homeward import Brought
from tests.stage import Stage, environment, on_stage
from tests.unit.services.consent.atterminal import preapprove

pytestmark = pytest.mark.anyio
WAITS = """import json, os, pathlib, time
out = pathlib.Path("/workspace/out")
out.mkdir(exist_ok=True)
(out / "first.json").write_text(json.dumps({"step": 1}))
while not pathlib.Path("/workspace/go").exists():
    time.sleep(0.05)
(out / "last.json").write_text(json.dumps({"step": 2}))
"""


async def round_of(stage: Stage, run: str) -> Brought | None:
    return next((one for one in await stage.services.homeward.round() if one.run == run), None)


async def test_an_ended_job_is_brought_home_and_proven_once(stage: Stage) -> None:
    run, _ = await stage.rent("absent")
    await stage.trained(run)

    brought = await round_of(stage, run)

    assert brought is not None and "1 file," in str(brought)
    assert "every file reached LOADS, the verification passed" in str(brought)
    assert (await stage.call("poll_status", target=run))["runs"][0]["phase"] == "proven"
    assert await round_of(stage, run) is None
    assert len(stage.services.journal.copies(LeaseId(run))) == 1


async def test_a_copy_from_the_middle_does_not_stand_for_the_end(stage: Stage) -> None:
    run, instance_id = await stage.rent("middle")
    await stage.started(run, WAITS)
    root = Path(stage.market.look(f"/instances/{instance_id}")["order"]["root"]) / "workspace"
    for _ in range(400):
        if (root / "out" / "first.json").exists():
            break
        await anyio.sleep(0.05)
    copy = await stage.call("copy_out", target=run)
    await stage.call("verify_local", copy_id=copy["copy_id"])
    assert await round_of(stage, run) is None

    (root / "go").touch()
    await stage.call("poll_status", target=run, wait_s=30, until="finished")

    assert "2 files" in str(await round_of(stage, run))
    assert (Path(copy["destination"]) / "last.json").exists()


async def test_what_somebody_verified_and_found_wanting_is_left_to_them(stage: Stage) -> None:
    run, _ = await stage.rent("wanting")
    await stage.trained(run)
    copy = await stage.call("copy_out", target=run)
    proof = await stage.call("verify_local", copy_id=copy["copy_id"], expect={"min_step": 1000})
    assert not proof["passed"]

    assert await round_of(stage, run) is None


async def test_a_failed_copy_is_told_with_what_it_leaves_and_tried_again_after_a_pause(stage: Stage) -> None:
    run, instance_id = await stage.rent("cut")
    await stage.trained(run)
    stage.market.do("/faults", route=f"SSH {instance_id}", kind="cut", bytes=0, count=50, after=1)

    told = await round_of(stage, run)

    assert told is not None and "not home: " in str(told) and stage.there(instance_id)
    assert stage.market.control.delete("/faults").status_code == 200
    assert await round_of(stage, run) is None


async def test_a_night_without_an_agent_ends_with_the_results_at_home_and_the_meter_off(tmp_path: Path) -> None:
    async with on_stage(tmp_path) as stage:
        run, instance_id = await stage.rent("night")
        await stage.trained(run)
        assert (await preapprove(stage, run, "--idle", "0m")).status == 0

        command = [sys.executable, "-m", "remote_gpu_trainer", "watch", "--bring-home", "--once"]
        done = await anyio.run_process(command, env=environment(stage.folder, stage.market), check=False)

        said = done.stdout.decode()
        assert done.returncode == 0, done.stderr.decode()
        assert "the verification passed" in said and "ended as agreed to beforehand: " in said
        assert not stage.there(instance_id)
        assert (tmp_path / "home" / "rgt" / "results" / run / "result.json").exists()
