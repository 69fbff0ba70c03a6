"""A machine that was stopped before anything came home: its disk is read over the machine's own rsync."""

import json
from pathlib import Path

import pytest

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
