"""No meter runs unseen: what the account holds and no run accounts for, what is stopped, what the caps forbid."""

import pytest

from tests.stage import Stage

pytestmark = pytest.mark.anyio


async def test_an_instance_that_another_hand_rented_is_named_as_an_orphan_and_not_touched(stage: Stage) -> None:
    stranger = stage.market.rent()

    money = await stage.call("spend")

    assert any(str(stranger) in line for line in money["orphans"]), money
    assert money["burn_usd_per_hour"] > 0
    assert stage.there(stranger)


async def test_a_stopped_run_is_listed_with_what_its_disk_costs(stage: Stage) -> None:
    run, _ = await stage.rent("idle")
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])

    money = await stage.call("spend")

    assert any(run in line for line in money["stopped_but_billing"]), money
    (row,) = (one for one in money["runs"] if one["run"] == run)
    assert row["spent_usd"] >= 0


async def test_a_rental_over_a_cap_is_refused_with_both_numbers_and_asks_nothing_of_the_market(stage: Stage) -> None:
    offer = await stage.offer()
    before = len(stage.market.look("/instances")["instances"])

    told = await stage.refused(
        "create_instance",
        name="dear",
        offer_id=offer["offer_id"],
        image="python:3.11-slim",
        hours=500,
        disk_gib=16,
        acknowledge=[one["id"] for one in offer["findings"] if one["acknowledgeable"]],
    )

    assert "max_usd_per_run" in told
    assert "Nothing was rented" in told
    assert len(stage.market.look("/instances")["instances"]) == before


async def test_the_price_that_is_shown_is_what_the_market_burns(stage: Stage) -> None:
    run, instance_id = await stage.rent("billed")
    await stage.call("poll_status", target=run)

    money = await stage.call("spend")

    (row,) = (one for one in money["runs"] if one["run"] == run)
    # The market's clock runs SPEED times as fast as the journal's: compare the rates, not the sums.
    held = stage.market.look(f"/instances/{instance_id}")
    assert row["usd_per_hour_now"] == pytest.approx(held["burn_usd_per_hour"], rel=0.02)


async def test_the_bill_of_each_run_stands_beside_what_was_counted_for_it_and_no_line_is_no_zero(stage: Stage) -> None:
    billed, instance_id = await stage.rent("has-a-bill")
    stage.market.do("/clock", advance_s=3600)
    fresh, _ = await stage.rent("none-yet")

    money = await stage.call("spend")

    rows = {row["run"]: row for row in money["runs"]}
    # The market's hour is no hour of the journal's: the bill is the market's own figure.
    assert rows[billed]["billed_usd"] == pytest.approx(stage.market.cost(instance_id)["total_usd"], rel=0.1)
    assert rows[billed]["counted_usd"] < rows[billed]["billed_usd"]
    assert rows[fresh]["billed_usd"] != 0
    stage.market.do("/faults", route="GET /api/v0/charges*", kind="error", status=503, count=20)
    try:
        unread = await stage.call("spend")
    finally:
        stage.market.control.request("DELETE", "/faults")
    assert [row["billed_usd"] for row in unread["runs"]] == [None] * len(unread["runs"])
    assert fresh in rows
