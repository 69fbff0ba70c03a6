"""A delete whose outcome is unknown is settled by looking, and sent again only under the same unexpired consent."""

import pytest

from remote_gpu_trainer.domain.runs import RunPhase
from remote_gpu_trainer.services.intents import CONSENT_UNTIL
from remote_gpu_trainer.services.lookup import find_run
from tests.stage import Stage
from tests.unit.services.consent.later import later
from tests.unit.services.consent.person import agree, asked

pytestmark = pytest.mark.anyio

DELETE = "DELETE /api/v0/instances/*"


async def crashed_after_spending(stage: Stage, run: str) -> None:
    """What a process leaves behind that ends between spending the consent and sending the DELETE."""
    request = await asked(stage, run)
    token = agree(stage, request)
    record = find_run(stage.services.journal, run)
    stage.services.approvals.spend(
        request.id,
        token,
        plan_digest=request.plan_digest,
        lease=record.lease.id,
        request={"approval": request.id, CONSENT_UNTIL: request.expires_at.isoformat()},
    )
    stage.services.journal.move(record.lease.id, RunPhase.DESTROYING, "consent is spent")


async def test_after_a_crash_the_same_consent_carries_one_more_try_and_only_after_a_look(stage: Stage) -> None:
    run, instance_id, _ = await stage.proven("crashes")
    await crashed_after_spending(stage, run)

    async with later(stage, seconds=60) as restarted:
        refusal = await restarted.refused("destroy", target=run)
        assert "may be on its way" in refusal and "Nothing was sent" in refusal
        assert stage.there(instance_id)
    async with later(stage, minutes=5) as restarted:
        view = (await restarted.call("poll_status", target=run))["runs"][0]
        assert view["phase"] == "destroying" and "looks first" in view["next_step"]
        # The account cannot be read at first: neither there nor gone.
        stage.market.do("/faults", route="GET /api/v1/instances*", kind="auth", count=2)
        done = await restarted.call("destroy", target=run)

    assert done["destroyed"] and not stage.there(instance_id)
    kinds = [event.kind for event in stage.services.journal.events(find_run(stage.services.journal, run).lease.id)]
    assert kinds.count("delete.repeated") == 1


async def test_a_lost_request_is_repeated_under_its_consent_and_an_expired_consent_repeats_nothing(
    stage: Stage,
) -> None:
    run, instance_id, _ = await stage.proven("lost")
    await crashed_after_spending(stage, run)

    async with later(stage, minutes=20) as restarted:
        refusal = await restarted.refused("destroy", target=run)
        assert "the consent has expired" in refusal and "The instance was not destroyed" in refusal
        assert stage.there(instance_id)
        assert (await restarted.call("poll_status", target=run))["runs"][0]["phase"] == "parked"

        request = await asked(restarted, run)
        stage.market.do("/faults", route=DELETE, kind="lost-request")
        unsure = await restarted.call("destroy", target=run, approval_id=request.id, token=agree(restarted, request))
        assert not unsure["confirmed"] and stage.there(instance_id)
        done = await restarted.call("destroy", target=run)

    assert done["confirmed"] and not stage.there(instance_id)


@pytest.mark.parametrize("fault", [{"kind": "lost-response"}, {"kind": "late-error"}])
async def test_a_lost_answer_is_settled_by_two_absences_and_never_sent_again(
    stage: Stage, fault: dict[str, str]
) -> None:
    run, instance_id, _ = await stage.proven(fault["kind"])
    async with later(stage, minutes=21) as server:
        request = await asked(server, run)
        stage.market.do("/faults", route=DELETE, **fault)
        done = await server.call("destroy", target=run, approval_id=request.id, token=agree(server, request))
    assert done["confirmed"] and not stage.there(instance_id)


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ("GET /api/v1/instances*", {"kind": "auth"}),
        ("GET /api/v0/users/current*", {"kind": "auth"}),
        ("GET /api/v1/instances*", {"kind": "error", "status": 401}),
        ("GET /api/v0/users/current*", {"kind": "error", "status": 401}),
        ("GET /api/v1/instances*", {"kind": "error", "status": 503}),
        ("GET /api/v1/instances*", {"kind": "lost-request"}),
        ("GET /api/v1/instances*", {"kind": "garbage"}),
        ("GET /api/v1/instances*", {"kind": "truncate"}),
    ],
)
async def test_an_account_that_cannot_be_read_is_never_taken_for_gone(
    stage: Stage, unreadable: tuple[str, int], route: str, fault: dict[str, str | int]
) -> None:
    run, instance_id = unreadable
    stage.market.do("/faults", route=route, count=10_000, **fault)
    try:
        async with later(stage, hours=3) as server:
            refusal = await server.refused("destroy", target=run)
    finally:
        stage.market.control.request("DELETE", "/faults")
    assert "gone" not in refusal and stage.there(instance_id)
    phase = find_run(stage.services.journal, run).phase
    assert phase is RunPhase.DESTROYING, refusal


@pytest.fixture(scope="module")
async def unreadable(stage: Stage) -> tuple[str, int]:
    """A run whose delete is undecided since a crash."""
    run, instance_id, _ = await stage.proven("unread")
    await crashed_after_spending(stage, run)
    return run, instance_id


async def test_a_second_factor_session_that_expired_is_never_taken_for_gone(
    stage: Stage, unreadable: tuple[str, int]
) -> None:
    run, instance_id = unreadable
    stage.market.do("/account", tfa=True)
    try:
        async with later(stage, hours=3) as server:
            refusal = await server.refused("destroy", target=run)
    finally:
        stage.market.do("/account", tfa=False)
    assert "gone" not in refusal and stage.there(instance_id)
    assert find_run(stage.services.journal, run).phase is RunPhase.DESTROYING, refusal


async def test_a_clock_that_was_moved_back_over_a_restart_gives_an_expired_consent_no_second_life(
    stage: Stage,
) -> None:
    run, instance_id, _ = await stage.proven("clock")
    await crashed_after_spending(stage, run)
    async with later(stage, minutes=20) as server:
        server.services.journal.record("heard-of", find_run(server.services.journal, run).lease.id, {})

    refusal = await stage.refused("destroy", target=run)

    assert "the consent has expired" in refusal and "The instance was not destroyed" in refusal
    assert stage.there(instance_id)
