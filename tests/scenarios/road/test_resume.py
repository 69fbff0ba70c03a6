"""After a preemption, a stop or a lost host: what is told, and the ways on."""

import json
from pathlib import Path

import pytest

from tests.stage import Stage

pytestmark = pytest.mark.anyio
COUNTS_ON = """import json, os, pathlib
out = pathlib.Path("/workspace/out"); out.mkdir(parents=True, exist_ok=True)
file = out / "state.json"
start = json.loads(file.read_text())["step"] if file.exists() else 0
file.write_text(json.dumps({"step": start + 1, "resumed_from": start}))
"""
"""Each start goes one step on from what it finds."""


def state_in(results: Path) -> Path:
    return next(results.rglob("state.json"))


async def test_an_outbid_machine_is_told_as_one_and_comes_back_for_a_higher_bid(stage: Stage) -> None:
    run, instance_id = await stage.rent("outbid", rental="interruptible")
    bid = stage.market.look(f"/instances/{instance_id}")["dph_base"]
    stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05, for_s=1e6)

    view = (await stage.call("poll_status", target=run))["runs"][0]
    assert (view["cause"], view["rule"]) == ("out-bid", "VAST4")
    assert view["usd_per_hour_now"] > 0, "its disk bills"
    assert view["ssh"] == []

    after = (await stage.call("resume_run", target=run, method="rebid", bid_usd_per_hour=bid + 0.1))["runs"][0]
    assert after["instance_id"] == instance_id
    assert await stage.running(run)


async def test_a_bid_above_the_persons_cap_is_refused_and_changes_nothing(stage: Stage) -> None:
    run, instance_id = await stage.rent("capped", rental="interruptible")
    stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05, for_s=1e6)
    before = stage.market.look(f"/instances/{instance_id}")["dph_base"]

    told = await stage.refused("resume_run", target=run, method="rebid", bid_usd_per_hour=3.0)

    assert "cap" in told
    assert "The run was not resumed" in told
    assert stage.market.look(f"/instances/{instance_id}")["dph_base"] == before


async def test_stopping_needs_the_word_that_its_disk_bills_on_and_says_the_price(stage: Stage) -> None:
    run, instance_id = await stage.rent("rests")

    told = await stage.refused("stop_instance", target=run)
    assert "VAST1" in told
    assert "The instance was not stopped" in told

    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    view = (await stage.call("poll_status", target=run))["runs"][0]
    assert view["instance_phase"] in {"stopping", "stopped"}
    assert view["stopped_usd_per_day"] > 0
    assert stage.there(instance_id)


async def test_a_lost_host_is_followed_by_another_machine_that_goes_on_from_the_proven_copy(stage: Stage) -> None:
    run, instance_id = await stage.rent("wanders")
    await stage.trained(run, COUNTS_ON)
    copy = await stage.call("copy_out", target=run)
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    stage.market.do(f"/instances/{instance_id}/vanish")
    view = (await stage.call("poll_status", target=run, wait_s=20, until="running"))["runs"][0]
    assert (view["instance_phase"], view["rule"], view["waits_help"]) == ("offline", "VAST7", False)

    offer = await stage.offer()
    acknowledge = [one["id"] for one in offer["findings"] if one["acknowledgeable"]]
    answer = await stage.call(
        "resume_run", target=run, method="relaunch", offer_id=offer["offer_id"], acknowledge=acknowledge
    )

    after = answer["runs"][0]
    assert after["run"] != run and after["instance_id"] != instance_id
    assert any(f"the old instance of {run} is kept and bills" in note for note in after["notes"])
    await stage.running(after["run"])
    newest = state_in(Path(copy["destination"])).parent
    await stage.call("push_files", target=after["run"], source=str(newest), destination="/workspace/out")
    await stage.trained(after["run"], COUNTS_ON)
    home = await stage.call("copy_out", target=after["run"])
    assert json.loads(state_in(Path(home["destination"])).read_text()) == {"step": 2, "resumed_from": 1}


async def test_a_machine_that_runs_has_nothing_to_resume(stage: Stage) -> None:
    run, _ = await stage.rent("runs")

    told = await stage.refused("resume_run", target=run, method="restart")

    assert "nothing to restart in place" in told
    assert "The run was not resumed" in told
