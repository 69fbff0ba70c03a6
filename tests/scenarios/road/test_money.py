"""No meter runs unseen: what the account holds and no run accounts for, what is stopped, what the caps forbid."""

import os
import re
import subprocess
import sys
from datetime import timedelta

import anyio.to_thread
import pytest

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.runs import IntentState, RunPhase
from tests.stage import Stage, environment
from tests.unit.database.builders import a_lease

pytestmark = pytest.mark.anyio


async def test_an_instance_that_another_hand_rented_is_named_as_an_orphan_and_not_touched(stage: Stage) -> None:
    stranger = stage.market.rent()

    money = await stage.call("spend")

    assert any(str(stranger) in line for line in money["orphans"]), money
    assert money["burn_usd_per_hour"] > 0
    assert stage.there(stranger)


async def test_a_stopped_run_is_listed_with_what_its_disk_costs(stage: Stage) -> None:
    run, instance_id = await stage.rent("idle")
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    disk = stage.market.look(f"/instances/{instance_id}")["burn_usd_per_hour"]

    money = await stage.call("spend")

    assert any(run in line for line in money["stopped_but_billing"]), money
    (row,) = (one for one in money["runs"] if one["run"] == run)
    assert 0 < row["usd_per_hour_now"] == pytest.approx(disk)


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
    difference = rows[billed]["billed_usd"] - rows[billed]["counted_usd"]
    assert rows[billed]["difference_usd"] == pytest.approx(difference, abs=1e-5) and difference > 0
    shown = await anyio.to_thread.run_sync(lambda: rgt_spend(stage))
    assert re.search(rf"{billed}.*\$\d\.\d{{4}} - \$\d\.\d{{4}} = \$\d\.\d{{4}}", shown), shown
    assert rows[fresh]["billed_usd"] != 0
    stage.market.do("/faults", route="GET /api/v0/charges*", kind="error", status=503, count=20)
    try:
        unread = await stage.call("spend")
    finally:
        stage.market.control.request("DELETE", "/faults")
    for name in ("billed_usd", "difference_usd"):
        assert [row[name] for row in unread["runs"]] == [None] * len(unread["runs"])
    assert all(row["counted_usd"] is not None for row in unread["runs"])
    assert fresh in rows


async def test_a_create_that_nobody_knows_the_end_of_has_an_unknown_cost_and_not_none(stage: Stage) -> None:
    journal, account = stage.services.journal, stage.services.journal.account_id()
    assert account is not None
    lease = a_lease(LeaseId("perhaps-k3vq7m"))
    intent = journal.open_lease(lease, account_id=account, request={})

    money = await stage.call("spend")

    (row,) = (one for one in money["runs"] if one["run"] == lease.id)
    assert (row["counted_usd"], row["difference_usd"]) == (None, None)
    assert f"not counted, since nobody knows whether it was rented: {lease.id}" in money["comparison"]
    shown = await anyio.to_thread.run_sync(lambda: rgt_spend(stage))
    assert "unknown - unknown" in shown and "not counted" in shown
    journal.close_intent(intent.id, IntentState.FAILED, {})
    journal.move(lease.id, RunPhase.NEVER_WAS, "the test is over")


def rgt_spend(stage: Stage) -> str:
    """What ``rgt spend`` prints on a wide screen."""
    env = {**environment(stage.folder, stage.market), "PATH": os.environ["PATH"], "COLUMNS": "200"}
    words = [sys.executable, "-m", "remote_gpu_trainer", "spend"]
    return subprocess.run(words, capture_output=True, text=True, env=env, timeout=50, check=True).stdout


async def test_what_was_counted_is_of_the_same_days_as_the_bill(stage: Stage) -> None:
    run, instance_id = await stage.rent("for-days")
    await stage.call("poll_status", target=run)
    price = stage.market.look(f"/instances/{instance_id}")["burn_usd_per_hour"]
    stage.clock.pass_by(timedelta(days=5))

    money = await stage.call("spend")

    (row,) = (one for one in money["runs"] if one["run"] == run)
    now = stage.clock.now()
    days = now - (now - timedelta(hours=24)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert row["spent_usd"] == pytest.approx(price * 5 * 24, rel=0.02)
    assert row["counted_usd"] == pytest.approx(price * days.total_seconds() / 3600, rel=0.02)
