"""What fails parks the machine, in sight and with its price; nothing leads on from there to a destroy."""

import pytest

from tests.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_copy_that_fails_parks_the_run_with_its_cost_and_forbids_its_teardown(stage: Stage) -> None:
    run, instance_id = await stage.rent("parks")
    await stage.trained(run)

    told = await stage.refused("copy_out", target=run, paths=["/workspace/nowhere"])

    assert f"Run {run} is parked" in told
    assert "an hour while it runs" in told
    assert "Nothing was destroyed" in told
    view = (await stage.call("poll_status", target=run))["runs"][0]
    assert view["phase"] == "parked"
    assert view["usd_per_hour_now"] > 0
    refusal = await stage.refused("destroy", target=run)
    assert "The instance was not destroyed" in refusal
    assert stage.there(instance_id)


async def test_a_parked_run_comes_home_by_the_same_call(stage: Stage) -> None:
    run, _ = await stage.rent("again")
    await stage.trained(run)
    await stage.refused("copy_out", target=run, paths=["/workspace/nowhere"])

    copy = await stage.call("copy_out", target=run)

    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    assert (await stage.call("poll_status", target=run))["runs"][0]["phase"] == "proven"
