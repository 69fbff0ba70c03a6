"""Renting above the policy's price: refused, or asked as a plan that a person agrees to for one offer, once."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult

from remote_gpu_trainer.domain.approvals import ApprovalState
from remote_gpu_trainer.domain.plans import RentPlan
from tests.stage import Json, Stage, on_stage
from tests.unit.services.consent.person import agree, request_in

pytestmark = pytest.mark.anyio

TIGHT = "max_usd_per_hour = 0.05\n"


class Typist:
    """A client whose person types what they are told to type, or something else."""

    def __init__(self) -> None:
        self.types = ""
        self.read: list[str] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        self.read.append(params.message)
        return ElicitResult(action="accept", content={"name": self.types})


@pytest.fixture(scope="module")
async def tight(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    async with on_stage(tmp_path_factory.mktemp("tight"), policy=TIGHT) as stage:
        yield stage


def order(offer: Json, name: str = "dear") -> Json:
    acknowledge = [one["id"] for one in offer["findings"] if one["acknowledgeable"]]
    return {
        "name": name,
        "offer_id": offer["offer_id"],
        "image": "python:3.11-slim",
        "hours": 1,
        "disk_gib": 16,
        "acknowledge": acknowledge,
    }


async def some_offer(stage: Stage) -> Json:
    """One that only its price speaks against."""
    found = await stage.call(
        "search_offers", hours=1, disk_gib=16, image="python:3.11-slim", max_usd_per_hour=0.9, limit=20
    )
    free = [
        one
        for one in found["offers"]
        if all(row["severity"] != "block" or row["acknowledgeable"] for row in one["findings"])
    ]
    return free[0]


async def test_a_dear_rental_is_asked_about_and_one_token_rents_one_offer_once(tight: Stage) -> None:
    wanted = order(await some_offer(tight))
    refusal = await tight.refused("create_instance", **wanted)
    assert "Nothing was rented" in refusal and "max_usd_per_hour" in refusal and "rgt approve" in refusal
    request = request_in(tight, refusal)
    assert request_in(tight, await tight.refused("create_instance", **wanted)).id == request.id
    assert isinstance(request.plan, RentPlan) and request.plan.image == "python:3.11-slim"
    assert not tight.services.journal.leases()

    token = agree(tight, request)
    other = {**wanted, "disk_gib": 64, "approval_id": request.id, "token": token}
    assert "another rental" in await tight.refused("create_instance", **other)
    assert not tight.services.journal.leases()
    row = (await tight.call("create_instance", **wanted, approval_id=request.id, token=token))["runs"][0]
    assert row["instance_id"] is not None
    known = tight.services.approvals.get(request.id)
    assert known is not None and known.state is ApprovalState.SPENT

    again = await tight.refused("create_instance", **{**wanted, "name": "twice"}, approval_id=request.id, token=token)
    assert "Nothing was rented" in again
    as_destroy = await tight.refused("destroy", target=row["run"], approval_id=request.id, token=token)
    assert "The instance was not destroyed" in as_destroy
    assert len(tight.services.journal.leases()) == 1


async def test_the_client_asks_and_only_the_name_typed_exactly_rents(tmp_path: Path) -> None:
    person = Typist()
    async with on_stage(tmp_path, policy=TIGHT, person=person) as stage:
        wanted = order(await some_offer(stage), name="dear")
        person.types = "Dear"
        assert "Nothing was rented" in await stage.refused("create_instance", **wanted)
        assert not stage.services.journal.leases()
        person.types = "dear"
        row = (await stage.call("create_instance", **wanted))["runs"][0]
        assert row["instance_id"] is not None
        assert len(person.read) == 2, "once for the name that was wrong, and once for the right one"
        assert all("max_usd_per_hour" in text and "in all" in text for text in person.read)


async def test_a_yes_in_the_client_that_could_not_be_used_at_once_is_asked_for_again(tmp_path: Path) -> None:
    person = Typist()
    person.types = "dear"
    async with on_stage(tmp_path, policy=TIGHT, person=person) as stage:
        wanted = order(await some_offer(stage))

        def said() -> list[str]:
            kinds = [event.kind for event in stage.services.journal.events()]
            return [kind for kind in kinds if kind.startswith("approval.")]

        # More and more calls of the platform go well, then none: at last the key fails right after the yes.
        told = ""
        for good in range(30):
            stage.market.do("/faults", route="*", kind="auth", after=good, count=1000)
            told = await stage.refused("create_instance", **wanted)
            stage.market.control.request("DELETE", "/faults", json={}).raise_for_status()
            if "approval.approved" in said():
                break
        assert "auth_failed" in told and not stage.services.journal.leases()
        assert said() == ["approval.requested", "approval.approved", "approval.void"]
        asked = len(person.read)

        row = (await stage.call("create_instance", **wanted))["runs"][0]

        assert row["instance_id"] is not None and len(person.read) == asked + 1


async def test_a_yes_whose_token_the_person_holds_is_not_asked_for_again(tight: Stage) -> None:
    wanted = order(await some_offer(tight), name="held")
    request = request_in(tight, await tight.refused("create_instance", **wanted))
    agree(tight, request)

    told = await tight.refused("create_instance", **wanted)

    assert "has agreed to this plan already" in told and f"call create_instance with approval_id={request.id}" in told
    assert "rgt approve" not in told and "Nothing was rented" in told


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        (TIGHT + 'over_caps = "refuse"\n', "max_usd_per_hour"),
        ("max_usd_total = 0.01\n", "max_usd_total"),
    ],
)
async def test_what_nobody_is_asked_about_is_refused_with_both_numbers(tmp_path: Path, policy: str, seen: str) -> None:
    async with on_stage(tmp_path, policy=policy) as stage:
        refusal = await stage.refused("create_instance", **order(await some_offer(stage)))
        assert "budget_exceeded" in refusal and seen in refusal and "cap is" in refusal
        assert not stage.services.approvals.open_requests() and not stage.services.journal.leases()


async def test_a_dearer_rental_can_need_a_higher_level(tmp_path: Path) -> None:
    policy = TIGHT + '[[approval]]\naction = "rent"\nabove_usd_per_hour = 0.06\nlevel = "hardware"\n'
    person = Typist()
    person.types = "dear"
    async with on_stage(tmp_path, policy=policy, person=person) as stage:
        wanted = order(await some_offer(stage))
        request = request_in(stage, await stage.refused("create_instance", **wanted))
        assert not person.read
        handed = {**wanted, "approval_id": request.id, "token": agree(stage, request)}
        assert "level hardware" in await stage.refused("create_instance", **handed)
        assert not stage.services.journal.leases()
