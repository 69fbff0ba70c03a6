"""Consent given beforehand: read aloud, used once, only while every condition holds, and never by silence."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.cli.preapprove import parse_bytes, parse_level, parse_minutes
from remote_gpu_trainer.domain.approvals import ApprovalState, Channel
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import Loss, MachineState, StandingPlan, TeardownPlan
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.services.standing import unmet
from tests.stage import Stage
from tests.unit.database.builders import START, a_standing, a_teardown
from tests.unit.services.consent.atterminal import preapprove
from tests.unit.services.consent.later import later

pytestmark = pytest.mark.anyio


async def test_a_night_consent_destroys_once_it_is_idle_and_never_before(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("night")

    said = await preapprove(stage, run, "--idle", "30m", "--expires", "12h")

    assert said.status == 0 and "Agreed beforehand" in said.screen and "The token" not in said.screen
    for condition in ("LOADS at least", "30 minutes", "for one use", "You cannot see it now", "byte for byte"):
        assert condition in said.screen
    early = await stage.refused("destroy", target=run)
    assert "idle for 0 of 30 minutes" in early and stage.there(instance_id)
    async with later(stage, minutes=40) as night:
        done = await night.call("destroy", target=run)
    assert done["destroyed"] and not stage.there(instance_id)
    spent = [e for e in stage.services.journal.events(kind="approval.spent") if e.data.get("action") == "preapprove"]
    assert len(spent) == 1
    given = stage.services.approvals.get(ApprovalId(str(spent[0].data["approval"])))
    assert given is not None and given.state is ApprovalState.SPENT
    approved = stage.services.approvals.get(ApprovalId(str(spent[0].data["on"])))
    assert approved is not None and approved.channel is Channel.STANDING


async def test_a_no_or_another_name_agrees_to_nothing(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("asleep")
    said = await preapprove(stage, run, "--idle", "0m", typed="no not tonight")
    assert said.status == 1 and "not tonight" in said.out
    assert "a person has to decide" in await stage.refused("destroy", target=run)
    assert stage.there(instance_id)


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("another label", {"label": "rgt/other-k3vq7m"}, "another instance"),
    ("unreadable", {"machine_state": MachineState.UNREADABLE}, "cannot be read"),
    ("nothing proven", {"evidence": ()}, "nothing is proven"),
    ("a writer", {"writers": ("python",)}, "open for writing"),
    ("half a list", {"losses_complete": False}, "listed whole"),
    ("too much lost", {"losses": (Loss(path="x", size=1 << 30, reason="not asked for"),)}, "are not saved"),
    ("another account", {"account": 7}, "another instance"),
]


@pytest.mark.parametrize(("why", "changes", "seen"), CHANGES, ids=[one[0] for one in CHANGES])
def test_each_condition_alone_keeps_the_machine(why: str, changes: dict[str, Any], seen: str) -> None:
    much_later = START.replace(day=2)
    fine = a_teardown()
    assert unmet(a_standing(level=VerificationLevel.DIGEST), fine, much_later) == ()
    told = unmet(a_standing(level=VerificationLevel.DIGEST), a_teardown(**changes), much_later)
    assert any(seen in one for one in told), why


def test_a_file_below_the_level_and_a_machine_that_is_not_idle_are_named() -> None:
    told = unmet(a_standing(level=VerificationLevel.MEETS_EXPECTATIONS), a_teardown(), START)
    assert any("reached only LOADS" in one for one in told)
    assert any("idle for 0 of 30 minutes" in one for one in told)


@given(hours=st.integers(0, 72), idle=st.floats(0, 600))
def test_it_never_fits_before_its_idle_time(hours: int, idle: float) -> None:
    plan = a_standing(level=VerificationLevel.DIGEST, idle=idle)
    now = START.replace(day=1 + hours // 24, hour=(12 + hours % 24) % 24)
    fits = not unmet(plan, a_teardown(), now)
    assert fits == (now - START >= timedelta(minutes=idle))


@pytest.mark.parametrize("text", ["", "30", "m", "-1m", "30s", "1e9h", "30m "])
def test_a_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Nobody was asked"):
        parse_minutes(text)


@pytest.mark.parametrize("text", ["LOADS", "verified:", "verified:SIZE", "verified:PRESENT", "proven:LOADS"])
def test_less_than_proven_bytes_is_no_condition(text: str) -> None:
    with pytest.raises(InvalidRequest, match="verified: and one of DIGEST"):
        parse_level(text)


def test_spans_and_sizes_are_read() -> None:
    assert (parse_minutes("30m"), parse_minutes("1.5h")) == (30, 90)
    assert (parse_bytes("100M"), parse_bytes("2GiB")) == (100 << 20, 2 << 30)
    assert parse_level("verified:LOADS") is VerificationLevel.LOADS


def test_plans_given_beforehand_are_no_teardowns() -> None:
    assert not isinstance(a_standing(), TeardownPlan) and isinstance(a_standing(), StandingPlan)
