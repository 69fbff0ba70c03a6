"""When nobody answers: stopped after proof, reminded at 0, 1, 6 and 24 hours and then daily, and never destroyed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.domain.reminders import Waiting, reminders, runway_alarm, steps_due
from remote_gpu_trainer.domain.units import UsdPerHour
from tests.stage import Stage
from tests.unit.services.consent.later import later
from tests.unit.services.consent.person import asked

START = datetime(2026, 8, 1, 12, tzinfo=UTC)


def waiting(*, asked_at: datetime | None = START, ends_at: datetime | None = None) -> Waiting:
    return Waiting(name="digits-k3vq7m", asked_at=asked_at, ends_at=ends_at, usd_per_hour=UsdPerHour(0.01))


@pytest.mark.parametrize(
    ("hours", "due"),
    [(-1, 0), (0, 1), (0.9, 1), (1, 2), (5.9, 2), (6, 3), (23.9, 3), (24, 4), (47.9, 4), (48, 5), (240, 13)],
)
def test_reminders_come_at_0_1_6_and_24_hours_and_then_daily(hours: float, due: int) -> None:
    assert steps_due(START, START + timedelta(hours=hours)) == due


@given(hours=st.floats(0, 10_000), more=st.floats(0, 10_000))
def test_reminders_never_grow_fewer_and_there_is_always_one(hours: float, more: float) -> None:
    early, late = START + timedelta(hours=hours), START + timedelta(hours=hours + more)
    assert 1 <= steps_due(START, early) <= steps_due(START, late)
    (one,) = reminders(waiting(), late)
    assert "kept until they agree" in one.text and "$0.24 a day" in one.text


@pytest.mark.parametrize(
    ("hours_left", "seen"),
    [(169, None), (168, "604800"), (73, "604800"), (72, "259200"), (25, "259200"), (24, "86400"), (1, "86400")],
)
def test_the_contracts_end_alarms_at_7_days_72_and_24_hours(hours_left: float, seen: str | None) -> None:
    ends = START + timedelta(hours=hours_left)
    found = reminders(waiting(asked_at=None, ends_at=ends), START)
    assert [one.key.rpartition("/")[2] for one in found] == ([] if seen is None else [seen])


def test_an_ended_contract_says_what_the_platform_may_do_and_when() -> None:
    (one,) = reminders(waiting(asked_at=None, ends_at=START - timedelta(hours=3)), START)
    assert "ended 3 h ago" in one.text and "48 h after the end" in one.text


@pytest.mark.parametrize(("hours", "alarms"), [(None, 0), (72.0, 0), (71.9, 1), (0.5, 1)])
def test_credit_that_lasts_under_72_hours_alarms(hours: float | None, alarms: int) -> None:
    assert len(runway_alarm(3.0, hours)) == alarms


@pytest.mark.anyio
async def test_silence_is_told_everywhere_and_destroys_nothing(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("silent")
    await asked(stage, run)
    first = (await stage.call("poll_status", target=run))["runs"][0]
    assert any("has waited for a decision for 0 h" in note for note in first["notes"])

    async with later(stage, hours=7) as morning:
        await morning.call("poll_status", target=run)
        notes: list[str] = (await morning.call("poll_status", target=run))["runs"][0]["notes"]
        assert any("for 7 h" in note for note in notes), notes
        assert stage.there(instance_id)
        assert stage.market.look(f"/instances/{instance_id}")["phase"] == "stopped"
        money = await morning.call("spend")
        assert any(run in text for text in money["reminders"])
        assert "the platform has billed" in money["comparison"]
        told = [str(one.data["key"]) for one in stage.services.journal.events(kind="reminder")]
        assert [key.rpartition("/")[2] for key in told if key.startswith(f"{run}/asked")] == ["1", "3"]
    async with later(stage, days=10) as much_later:
        await much_later.call("poll_status", target=run)
        assert stage.there(instance_id)


@pytest.mark.anyio
async def test_spend_shows_the_work_that_would_be_lost(stage: Stage) -> None:
    run, _ = await stage.rent("risky")
    stage.clock.pass_by(timedelta(minutes=3))
    before = next(one for one in (await stage.call("spend"))["runs"] if one["run"] == run)
    assert before["work_at_risk_minutes"] >= 3 and before["work_at_risk_usd"] > 0
    await stage.trained(run)
    copy = await stage.call("copy_out", target=run)
    unproven = next(one for one in (await stage.call("spend"))["runs"] if one["run"] == run)
    assert unproven["work_at_risk_minutes"] > before["work_at_risk_minutes"]
    await stage.call("verify_local", copy_id=copy["copy_id"])
    proven = next(one for one in (await stage.call("spend"))["runs"] if one["run"] == run)
    assert proven["work_at_risk_minutes"] < unproven["work_at_risk_minutes"]
