"""An intruder who can write the journal's file, but has not the key beside it, and one who sets the clock."""

import json
import secrets
from contextlib import suppress
from datetime import timedelta

import pytest

from remote_gpu_trainer.approval.book import KEY_FILE
from remote_gpu_trainer.approval.token import mint as any_token
from remote_gpu_trainer.approval.token import seal
from remote_gpu_trainer.database.text import stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel, Channel
from remote_gpu_trainer.domain.artifacts import digest_of
from remote_gpu_trainer.domain.plans import Plan, TeardownPlan
from remote_gpu_trainer.errors import ConsentError, RgtError
from tests.adversarial.scene import NOT_DESTROYED, Attempt, Door, MovedClock, Scene
from tests.unit.database.builders import a_rent

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]


def teardown(request: ApprovalRequest) -> TeardownPlan:
    assert isinstance(request.plan, TeardownPlan)
    return request.plan


def approved_then(statement: str, *values: str | int | None) -> Attempt:
    """The person says yes, the intruder changes the row, the model uses the token."""

    async def attempt(scene: Scene, door: Door) -> str:
        request = await door.ask()
        token = scene.mint(request)
        scene.intrude(statement, *values, request.id)
        return await door.destroy(approval_id=request.id, token=token)

    return attempt


async def another_plan_under_the_same_yes(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    changed = teardown(request).model_copy(update={"losses": (), "losses_complete": True, "spent": 0.0})
    scene.intrude("UPDATE approvals SET plan = ? WHERE id = ?", changed.model_dump_json(), request.id)
    return await door.destroy(approval_id=request.id, token=token)


async def another_plan_with_its_digest(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    changed = teardown(request).model_copy(update={"name": "something harmless"})
    digest = digest_of(changed.model_dump(mode="json"))
    statement = "UPDATE approvals SET plan = ?, plan_digest = ? WHERE id = ?"
    scene.intrude(statement, changed.model_dump_json(), digest, request.id)
    return await door.destroy(approval_id=request.id, token=token)


async def a_key_twice_in_the_plan(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    text = request.plan.model_dump_json()
    scene.intrude("UPDATE approvals SET plan = ? WHERE id = ?", text[:-1] + ',"name":"something harmless"}', request.id)
    return await door.destroy(approval_id=request.id, token=token)


async def a_yes_written_by_hand(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token, salt = any_token(), secrets.token_bytes(16)
    now = stamp(request.requested_at)
    binding = {
        "approval": request.id,
        "action": "destroy",
        "plan": request.plan_digest,
        "expires": stamp(request.expires_at),
        "approved": now,
        "channel": "terminal",
        "assurance": "person",
    }
    scene.intrude(
        "UPDATE approvals SET state = 'approved', decided_at = ?, channel = 'terminal', assurance = 'person',"
        " token_salt = ?, token_hash = ? WHERE id = ?",
        now,
        salt,
        seal(token, key=bytes(32), salt=salt, binding=binding),
        request.id,
    )
    return await door.destroy(approval_id=request.id, token=token)


async def a_request_inserted_by_hand(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    scene.intrude(
        "INSERT INTO approvals (id, action, subject, lease, plan, plan_digest, state, requested_at, expires_at,"
        " decided_at, channel, assurance, token_salt, token_hash)"
        " SELECT 'ap-bbbbbbbb', action, subject || 'x', lease, plan, plan_digest, state, requested_at, expires_at,"
        " decided_at, channel, assurance, token_salt, token_hash FROM approvals WHERE id = ?",
        request.id,
    )
    try:
        return await door.destroy(approval_id="ap-bbbbbbbb", token=token)
    finally:
        scene.intrude("DELETE FROM approvals WHERE id = ?", "ap-bbbbbbbb")


async def the_hash_of_another_yes(scene: Scene, door: Door) -> str:
    first = await door.ask()
    token = scene.mint(first)
    row = scene.read("SELECT token_salt, token_hash, decided_at FROM approvals WHERE id = ?", first.id)
    second = await door.ask()
    scene.mint(second)
    scene.intrude("UPDATE approvals SET token_salt = ?, token_hash = ?, decided_at = ? WHERE id = ?", *row, second.id)
    return await door.destroy(approval_id=second.id, token=token)


async def a_spent_yes_used_again(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    scene.intrude("UPDATE approvals SET state = 'spent', token_salt = NULL, token_hash = NULL WHERE id = ?", request.id)
    return await door.destroy(approval_id=request.id, token=token)


async def another_key_beside_the_journal(scene: Scene, door: Door) -> str:
    request = await door.ask()
    token = scene.mint(request)
    file = scene.journal.with_name(KEY_FILE)
    key = file.read_bytes()
    try:
        file.write_bytes(secrets.token_bytes(32))
        return await door.destroy(approval_id=request.id, token=token)
    finally:
        file.write_bytes(key)


async def the_other_machine(scene: Scene, door: Door) -> str:
    """The person approved a plan for another instance, and the model brings its token here."""
    plan = teardown(await door.ask())
    other = plan.model_copy(
        update={
            "instance": plan.instance.model_copy(update={"id": plan.instance.id + 1}),
            "lease": "other-aaaaaa",
            "name": "other-aaaaaa",
        }
    )
    return await with_consent_to(scene, door, other)


async def the_same_number_with_another_start(scene: Scene, door: Door) -> str:
    plan = teardown(await door.ask())
    assert plan.instance.started_at is not None
    earlier = plan.instance.started_at - timedelta(days=1)
    other = plan.model_copy(update={"instance": plan.instance.model_copy(update={"started_at": earlier})})
    return await with_consent_to(scene, door, other)


async def another_account(scene: Scene, door: Door) -> str:
    plan = teardown(await door.ask())
    return await with_consent_to(scene, door, plan.model_copy(update={"account_id": plan.account_id + 1}))


async def consent_to_renting(scene: Scene, door: Door) -> str:
    await door.ask()
    return await with_consent_to(scene, door, a_rent())


async def with_consent_to(scene: Scene, door: Door, plan: Plan) -> str:
    request = door.services.approvals.request(plan, ttl_s=600)
    token = scene.mint(request)
    try:
        return await door.destroy(approval_id=request.id, token=token)
    finally:
        door.services.approvals.void(request.id, "the attempt is over")


NOT_MINTED = "the token was not minted for it"
ATTEMPTS: dict[str, tuple[Attempt, str]] = {
    "another plan under the same yes": (another_plan_under_the_same_yes, "its stored plan was altered"),
    "another plan with its digest": (another_plan_with_its_digest, NOT_MINTED),
    "a key twice in the plan": (a_key_twice_in_the_plan, "altered"),
    "a yes written by hand": (a_yes_written_by_hand, NOT_MINTED),
    "a request inserted by hand": (a_request_inserted_by_hand, NOT_MINTED),
    "the hash of another yes": (the_hash_of_another_yes, NOT_MINTED),
    "a spent yes used again": (a_spent_yes_used_again, "its token was used already"),
    "a longer time written by hand": (
        approved_then("UPDATE approvals SET expires_at = '2099-01-01T00:00:00.000000Z' WHERE id = ?"),
        NOT_MINTED,
    ),
    "a stronger level written by hand": (
        approved_then("UPDATE approvals SET assurance = 'hardware' WHERE id = ?"),
        NOT_MINTED,
    ),
    "another channel written by hand": (
        approved_then("UPDATE approvals SET channel = 'page' WHERE id = ?"),
        NOT_MINTED,
    ),
    "the yes taken away by hand": (
        approved_then("UPDATE approvals SET token_hash = NULL WHERE id = ?"),
        "nobody has approved it yet",
    ),
    "the row removed by hand": (approved_then("DELETE FROM approvals WHERE id = ?"), "there is no such approval"),
    "another key beside the journal": (another_key_beside_the_journal, NOT_MINTED),
    "a yes to another instance": (the_other_machine, "is for another plan"),
    "a yes to the same number with another start date": (the_same_number_with_another_start, "contract start"),
    "a yes of another account": (another_account, "the plan is for account"),
    "a yes to renting": (consent_to_renting, "is for another plan"),
}


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_no_such_yes_destroys(scene: Scene, era: str, name: str) -> None:
    await scene.withstands(era, *ATTEMPTS[name])


async def test_a_clock_moved_back_over_a_restart_voids_what_was_open(scene: Scene, era: str) -> None:
    clock = MovedClock()
    clock.by = timedelta(minutes=14)
    async with scene.door(era, clock=clock) as door:
        request = await door.ask()
        token = scene.mint(request, clock=clock)
        door.services.approvals.get(request.id)
    async with scene.door(era) as door:
        told = await door.destroy(approval_id=request.id, token=token)

    assert "the computer's clock went back by 0:1" in told and NOT_DESTROYED in told, told
    assert scene.there()


async def test_a_clock_moved_back_while_it_runs_voids_what_was_open(scene: Scene, era: str) -> None:
    clock = MovedClock()
    async with scene.door(era, clock=clock) as door:
        request = await door.ask()
        token = scene.mint(request)
        clock.by = -timedelta(minutes=10)
        told = await door.destroy(approval_id=request.id, token=token)

    assert "the computer's clock went back by" in told and NOT_DESTROYED in told, told
    assert scene.there()


async def test_two_approvals_at_once_mint_one_token(scene: Scene, era: str) -> None:
    async with scene.door(era) as door:
        request = await door.ask()
        scene.mint(request)
        with pytest.raises(ConsentError, match="was approved already"):
            door.services.approvals.approve(request.id, channel=Channel.PAGE, assurance=AssuranceLevel.PERSON)
        told = await door.destroy(approval_id=request.id, token=any_token())

    assert NOT_DESTROYED in told
    assert scene.there()


async def test_a_destroy_intent_written_by_hand_sends_no_delete_after_a_restart(scene: Scene, era: str) -> None:
    async with scene.door(era) as door:
        request = await door.ask()
    scene.intrude(
        "INSERT INTO intents (lease, action, request, state, opened_at) VALUES (?, 'destroy', ?, 'open', ?)",
        scene.run,
        json.dumps({"instance": scene.instance_id}),
        stamp(request.requested_at),
    )
    try:
        async with scene.door(era) as door:
            await door.client.call_tool("poll_status", {}, read_timeout_seconds=50)
            with suppress(RgtError):
                await door.services.reconcile.reconcile()
        assert scene.there()
    finally:
        scene.intrude("DELETE FROM intents WHERE action = 'destroy' AND approval IS NULL AND lease = ?", scene.run)
