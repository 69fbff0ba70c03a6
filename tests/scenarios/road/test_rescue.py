"""A machine that was stopped before anything came home: its disk is read over the machine's own rsync."""

import json
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.domain.approvals import AssuranceLevel, Channel
from tests.stage import Stage

pytestmark = pytest.mark.anyio


async def test_results_come_home_from_a_stopped_machine_and_are_proven(stage: Stage) -> None:
    run, instance_id = await stage.rent("rescue")
    await stage.trained(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])

    copy = await stage.call("copy_out", target=run)

    assert copy["route"].startswith("machine-rsync: the instance is ")
    assert json.loads((Path(copy["destination"]) / "result.json").read_text())["step"] == 7
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    assert stage.there(instance_id)


async def rescued(stage: Stage, name: str) -> tuple[str, int, str]:
    """A preempted machine whose results were read from its disk and proven: run, instance and copy."""
    run, instance_id = await stage.rent(name, rental="interruptible")
    await stage.trained(run)
    stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05, for_s=1e6)
    copy = await stage.call("copy_out", target=run)
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    return run, instance_id, copy["copy_id"]


async def test_a_preempted_machine_whose_disk_was_read_and_proven_is_destroyed_by_consent(stage: Stage) -> None:
    run, instance_id, _ = await rescued(stage, "outlived")

    told = await stage.refused("destroy", target=run)
    book = stage.services.approvals
    (request,) = book.open_requests()
    document = render(request.plan)
    assert "rgt approve" in told
    assert "by the machine's rsync, which tells sizes and whole seconds only" in document
    assert "at rest all through the copy" in document

    token = book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
    await stage.call("destroy", target=run, approval_id=request.id, token=token)
    assert not stage.there(instance_id)


async def test_a_machine_that_ran_again_after_its_rescue_is_not_what_was_copied(stage: Stage) -> None:
    run, instance_id, _ = await rescued(stage, "woke")
    stage.market.do(f"/instances/{instance_id}/restore")
    assert await stage.running(run)

    told = await stage.refused("destroy", target=run)

    assert "VAST2" in told
    assert stage.there(instance_id)


async def test_a_disk_that_the_machine_does_not_serve_parks_the_run_and_names_the_way_on(stage: Stage) -> None:
    run, instance_id = await stage.rent("unserved")
    await stage.trained(run)
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    stage.market.do("/quirks", **{"stopped-copy-fails": True})
    try:
        told = await stage.refused("copy_out", target=run)
    finally:
        stage.market.do("/quirks", **{"stopped-copy-fails": False})
    assert "Unknown module" in told
    assert "resume_run" in told
    assert f"Run {run} is parked" in told
    assert stage.there(instance_id)
