"""A consent given beforehand is spent with the intent to destroy and not sooner: what fails before leaves it usable."""

from collections.abc import Callable

import anyio
import pytest

from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.ids import LeaseId
from tests.stage import Stage
from tests.unit.services.consent.later import later
from tests.unit.services.consent.person import agree

pytestmark = pytest.mark.anyio

DELETE = "DELETE /api/v0/instances/*"
READS = "GET /api/*"
SHOW = "GET /api/v0/instances/*"
MOST_READS = 60


async def agreed_beforehand(stage: Stage, run: str, *, idle_minutes: float = 30, hours: float = 12) -> ApprovalRequest:
    """What ``rgt preapprove`` leaves behind."""
    request = await stage.services.teardown.ask_beforehand(
        run,
        least_level=VerificationLevel.LOADS,
        idle_minutes=idle_minutes,
        most_unsaved_bytes=100 << 20,
        hours=hours,
    )
    agree(stage, request, AssuranceLevel.PERSON)
    return request


def state(stage: Stage, request: ApprovalRequest) -> ApprovalState:
    known = stage.services.approvals.get(request.id)
    assert known is not None
    return known.state


def no_fault(stage: Stage) -> None:
    stage.market.control.request("DELETE", "/faults", json={}).raise_for_status()


async def test_whichever_read_fails_before_the_delete_the_consent_stays_usable(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("outage")
    standing = await agreed_beforehand(stage, run)
    failed: list[str] = []
    async with later(stage, minutes=40) as night:
        # With the plan there, every call reads the same: one look finds it still good, and the last one.
        await night.services.teardown.prepare(run)
        # So many reads go well, then the platform is down; one more each time, so that each of them fails once.
        for good in range(MOST_READS):
            night.market.do("/faults", route=READS, kind="error", status=503, after=good, count=1000)
            answer = await night.client.call_tool("destroy", {"target": run}, read_timeout_seconds=50)
            no_fault(night)
            if not answer.is_error:
                break
            failed.append(str(answer.content))
            assert stage.there(instance_id)
            assert state(night, standing) is ApprovalState.APPROVED, failed[-1]
        else:
            raise AssertionError(f"it never went through: {failed[-1]}")
        assert len(failed) > 1 and all("server_fault" in told for told in failed), failed
        assert state(night, standing) is ApprovalState.SPENT
        # The DELETE is out; that the account could not be read after it is no end yet.
        assert not stage.there(instance_id)
        done = await night.call("destroy", target=run)
    assert done["destroyed"] and done["confirmed"]
    spent = stage.services.journal.events(kind="approval.spent")
    assert [event.data["approval"] for event in spent[:1]] == [standing.id]


async def during_the_last_look(night: Stage, run: str, happens: Callable[[], object]) -> str:
    """Call destroy, and let something happen while its second look waits for the platform: the refusal."""
    await night.services.teardown.prepare(run)
    night.market.do("/faults", route=SHOW, kind="slow", delay_s=0.5, after=1, count=1)
    told: list[str] = []

    async def call() -> None:
        told.append(await night.refused("destroy", target=run))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        for _ in range(500):
            if not night.market.look("/faults")["armed"]:
                break
            await anyio.sleep(0.01)
        happens()
    no_fault(night)
    return told[0]


async def test_a_copy_that_changes_before_the_last_look_costs_the_plan_and_not_the_consent(stage: Stage) -> None:
    run, instance_id, copy = await stage.proven("restless")
    standing = await agreed_beforehand(stage, run)
    file = next(copy.rglob("result.json"))
    whole = file.read_bytes()
    async with later(stage, minutes=40) as night:
        told = await during_the_last_look(night, run, lambda: file.write_bytes(whole[:-1] + b"!"))
        assert "since the approval: local copy" in told and stage.there(instance_id)
        assert state(night, standing) is ApprovalState.APPROVED
        file.write_bytes(whole)
        assert (await night.call("destroy", target=run))["destroyed"]
        assert state(night, standing) is ApprovalState.SPENT


async def test_a_person_who_wakes_up_and_says_no_during_the_last_look_keeps_the_machine(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("awake")
    standing = await agreed_beforehand(stage, run)
    async with later(stage, minutes=40) as night:
        book = night.services.approvals

        def no() -> None:
            book.decline(standing.id, channel=Channel.TERMINAL, reason="I am awake")

        told = await during_the_last_look(night, run, no)

        assert "the person declined it: I am awake" in told and "The instance was not destroyed" in told, told
        assert "a person has to decide" in await night.refused("destroy", target=run)
        assert state(night, standing) is ApprovalState.DECLINED and stage.there(instance_id)


async def test_after_a_lost_delete_it_carries_one_more_try_and_none_after_its_own_end(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("resumed")
    standing = await agreed_beforehand(stage, run, idle_minutes=0, hours=0.1)
    async with later(stage, minutes=1) as night:
        night.market.do("/faults", route=DELETE, kind="lost-request", count=2)
        assert not (await night.call("destroy", target=run))["confirmed"]
        assert state(night, standing) is ApprovalState.SPENT and not night.services.approvals.standing(LeaseId(run))
        assert not (await night.call("destroy", target=run))["confirmed"]
    async with later(stage, minutes=7) as night:
        no_fault(night)
        # The teardown's own request would hold for another eight minutes.
        told = await night.refused("destroy", target=run)
        assert "the consent has expired" in told and "The instance was not destroyed" in told
        assert "a person has to decide" in await night.refused("destroy", target=run)
        kinds = [event.kind for event in night.services.journal.events(LeaseId(run))]
    assert kinds.count("delete.repeated") == 1 and stage.there(instance_id)
