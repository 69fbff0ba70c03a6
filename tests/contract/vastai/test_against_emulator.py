"""The client and a separate process that plays the platform agree, call by call and fault by fault."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import InstanceOrder, InstancePhase
from remote_gpu_trainer.domain.offers import Offer, OfferQuery, RentalType
from remote_gpu_trainer.domain.units import GiB, UsdPerHour
from remote_gpu_trainer.errors import (
    AnswerLost,
    AuthFailed,
    InsufficientCredit,
    MarketUnreachable,
    NoSuchInstance,
    OfferGone,
    PermissionMissing,
    RateLimited,
    RequestRejected,
    SearchQuotaExceeded,
    ServerFault,
    TwoFactorRequired,
    UnexpectedAnswer,
)
from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.shape import compare_shapes
from tests.contract.vastai.conftest import Emulator

pytestmark = pytest.mark.anyio
P = InstancePhase
BID, FIXED = RentalType.INTERRUPTIBLE, RentalType.ON_DEMAND
names = count(1)
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0bH0pSKd1yCYGcVqMzvVVuZ9Dp6lMgrTQ4vRmXbpWq me@here"


async def offers(client: VastClient, rental: RentalType = FIXED) -> list[Offer]:
    query = OfferQuery(rental=rental, verified=False, min_reliability=0, min_direct_ports=0, limit=256)
    return await client.search_offers(query, allocated_storage_gib=20)


def order(offer: Offer, **changed: object) -> InstanceOrder:
    fields: dict[str, object] = {
        "offer_id": int(offer.id),
        "image": "python:3.12",
        "disk_gib": GiB(20.0),
        "label": f"rgt/test{next(names)}-aaaaaa",
        "onstart": "echo hi",
        "env": {"A": "b"},
        "ports": ("8080:8080",),
        "bid_usd_per_hour": UsdPerHour(offer.gpu_usd_per_hour * 1.5) if offer.rental is BID else None,
    }
    return InstanceOrder.model_validate(fields | changed)


async def phase(client: VastClient, instance_id: InstanceId) -> InstancePhase:
    found = await client.instance(instance_id)
    assert found is not None
    return found.phase


async def rented(emulator: Emulator, client: VastClient, rental: RentalType = FIXED) -> InstanceId:
    """An instance that runs."""
    instance_id = await client.create_instance(order((await offers(client, rental))[0]))
    await emulator.pass_by(3600)
    assert await phase(client, instance_id) is P.RUNNING
    return instance_id


async def test_the_account_is_the_emulators(emulator: Emulator, client: VastClient) -> None:
    account = await client.account()
    assert account.id == emulator.account_id
    assert account.credit == pytest.approx(100)


async def test_every_offer_of_both_kinds_can_be_read(client: VastClient) -> None:
    for rental in RentalType:
        found = await offers(client, rental)
        assert len(found) >= 20 and client.dropped_offers == 0
        assert {offer.rental for offer in found} == {rental}


async def test_the_filters_mean_there_what_they_mean_here(client: VastClient) -> None:
    everything = await offers(client)
    sample = everything[len(everything) // 2]
    query = OfferQuery(
        gpu_names=(sample.gpu_name,),
        num_gpus=sample.num_gpus,
        min_gpu_ram_gib=GiB(int(sample.gpu_ram_gib)),
        max_usd_per_hour=UsdPerHour(sample.gpu_usd_per_hour * 2),
        min_cuda=sample.cuda_max,
        min_remaining_hours=1,
        verified=False,
        min_reliability=0,
        min_direct_ports=0,
    )
    found = await client.search_offers(query, allocated_storage_gib=20)
    assert sample.id in {offer.id for offer in found}
    assert all(o.gpu_name == sample.gpu_name and (o.cuda_max or 0) >= (sample.cuda_max or 0) for o in found)
    one = await client.search_offers(query.model_copy(update={"offer_id": sample.id}), allocated_storage_gib=20)
    assert [offer.id for offer in one] == [sample.id]


async def test_an_instance_goes_from_created_to_running_to_stopped_and_back(
    emulator: Emulator, client: VastClient
) -> None:
    wanted = order((await offers(client))[0])
    instance_id = await client.create_instance(wanted)
    assert await client.instance(instance_id) is None, "reads lag behind a create"
    await emulator.pass_by(2)
    assert await phase(client, instance_id) is P.CREATED
    await emulator.pass_by(4)
    assert await phase(client, instance_id) is P.LOADING
    await emulator.pass_by(3600)
    found = await client.instance(instance_id)
    assert found is not None and found.phase is P.RUNNING
    assert (found.label, found.image, found.rental, found.disk_gib) == (wanted.label, wanted.image, FIXED, 20)
    assert found.usd_per_hour_now and found.gpu_usd_per_hour and found.usd_per_hour_now > found.gpu_usd_per_hour
    await client.set_state(instance_id, "stopped")
    stopped = await client.instance(instance_id)
    assert stopped is not None and stopped.phase is P.STOPPED and stopped.raw.actual == "exited"
    assert stopped.usd_per_hour_now == pytest.approx(stopped.disk_usd_per_hour)
    await client.set_state(instance_id, "running")
    await emulator.pass_by(60)
    assert await phase(client, instance_id) is P.RUNNING
    await client.reboot(instance_id)
    assert await phase(client, instance_id) is P.REBOOTING
    await client.destroy_instance(instance_id)


async def test_an_outbid_is_a_preemption_and_ends(emulator: Emulator, client: VastClient) -> None:
    instance_id = await rented(emulator, client, BID)
    await emulator.control("POST", f"/instances/{instance_id}/preempt")
    assert await phase(client, instance_id) is P.PREEMPTED
    await emulator.control("POST", f"/instances/{instance_id}/restore")
    await emulator.pass_by(60)
    assert await phase(client, instance_id) is P.RUNNING
    await client.destroy_instance(instance_id)


async def test_a_gpu_that_was_rented_meanwhile_is_waited_for(emulator: Emulator, client: VastClient) -> None:
    instance_id = await rented(emulator, client)
    await client.set_state(instance_id, "stopped")
    await emulator.control("POST", f"/instances/{instance_id}/rerent-gpu")
    await client.set_state(instance_id, "running")
    await emulator.pass_by(120)
    assert await phase(client, instance_id) is P.SCHEDULING
    await client.destroy_instance(instance_id)


@pytest.mark.parametrize(("verb", "expected"), [("vanish", P.OFFLINE), ("exit", P.EXITED), ("expire", P.STOPPED)])
async def test_other_ends_are_told_apart(
    emulator: Emulator, client: VastClient, verb: str, expected: InstancePhase
) -> None:
    instance_id = await rented(emulator, client)
    await emulator.control("POST", f"/instances/{instance_id}/{verb}")
    assert await phase(client, instance_id) is expected
    if verb == "vanish":
        await emulator.control("POST", f"/instances/{instance_id}/return")
    await client.destroy_instance(instance_id)


async def test_a_destroyed_instance_is_gone_though_it_shows_up_once_more(
    emulator: Emulator, client: VastClient
) -> None:
    instance_id = await rented(emulator, client)
    await client.destroy_instance(instance_id)
    assert await client.instance(instance_id) is None
    with pytest.raises(NoSuchInstance, match="not destroyed"):
        await client.destroy_instance(instance_id)
    await emulator.pass_by(5)
    assert await client.instance(instance_id) is not None
    await emulator.pass_by(60)
    assert await client.instance(instance_id) is None


async def test_more_instances_than_a_page_are_all_found(emulator: Emulator, client: VastClient) -> None:
    before = {instance.id for instance in (await client.inventory()).instances}
    made: set[InstanceId] = set()
    while len(made) < 28:
        for offer in (await offers(client))[: 28 - len(made)]:
            try:
                made.add(await client.create_instance(order(offer)))
            except OfferGone:
                continue
    await emulator.pass_by(2)
    inventory = await client.inventory()
    assert inventory.complete and inventory.account_id == emulator.account_id
    assert {instance.id for instance in inventory.instances} - before >= made
    assert all(instance.lease is not None for instance in inventory.instances if instance.id in made)
    for instance_id in made:
        await client.destroy_instance(instance_id)
    await emulator.pass_by(60)


DONE_ALL_THE_SAME = {"lost-response": 1, "late-error": 1, "garbage": 1, "truncate": 1, "lost-request": 0, "error": 0}


@pytest.mark.parametrize(("kind", "rented_count"), DONE_ALL_THE_SAME.items())
async def test_a_doubtful_create_is_lost_and_found_again_by_its_label(
    emulator: Emulator, client: VastClient, kind: str, rented_count: int
) -> None:
    wanted = order((await offers(client))[0])
    await emulator.fault("PUT /api/v0/asks/*", kind)
    with pytest.raises(AnswerLost):
        await client.create_instance(wanted)
    await emulator.pass_by(3)
    inventory = await client.inventory()
    found = [instance for instance in inventory.instances if instance.label == wanted.label]
    assert inventory.complete
    assert len(found) == rented_count
    for instance in found:
        await client.destroy_instance(instance.id)


@pytest.mark.parametrize("kind", ["lost-response", "late-error", "garbage", "truncate"])
async def test_a_doubtful_destroy_is_lost_and_not_repeated(emulator: Emulator, client: VastClient, kind: str) -> None:
    instance_id = await rented(emulator, client)
    await emulator.fault(f"DELETE /api/v0/instances/{instance_id}", kind)
    with pytest.raises(AnswerLost):
        await client.destroy_instance(instance_id)
    assert await client.instance(instance_id) is None


@pytest.mark.parametrize("kind", ["lost-response", "late-error", "lost-request", "error"])
async def test_a_doubtful_stop_is_repeated_until_it_is_answered(
    emulator: Emulator, client: VastClient, kind: str
) -> None:
    instance_id = await rented(emulator, client)
    await emulator.fault(f"PUT /api/v0/instances/{instance_id}", kind, count=2)
    await client.set_state(instance_id, "stopped")
    assert await phase(client, instance_id) is P.STOPPED
    await client.destroy_instance(instance_id)


@pytest.mark.parametrize("kind", ["lost-response", "late-error", "lost-request", "error", "rate-limit", "truncate"])
async def test_a_read_outlives_a_fault(emulator: Emulator, client: VastClient, kind: str) -> None:
    await emulator.fault("GET /api/v0/users/current", kind, count=2)
    assert (await client.account()).id == emulator.account_id


@pytest.mark.parametrize(
    ("kind", "error"),
    [("error", ServerFault), ("lost-request", MarketUnreachable), ("garbage", UnexpectedAnswer), ("auth", AuthFailed)],
)
async def test_an_inventory_is_never_empty_by_a_fault(
    emulator: Emulator, client: VastClient, kind: str, error: type[Exception]
) -> None:
    await emulator.fault("GET /api/v1/instances", kind, count=20)
    with pytest.raises(error):
        await client.inventory()


async def test_a_success_that_never_appears_and_one_that_never_reports(emulator: Emulator, client: VastClient) -> None:
    await emulator.fault("PUT /api/v0/asks/*", "phantom")
    phantom = await client.create_instance(order((await offers(client))[0]))
    await emulator.fault("PUT /api/v0/asks/*", "dud")
    dud = await client.create_instance(order((await offers(client))[0]))
    await emulator.pass_by(7200)
    assert await client.instance(phantom) is None
    assert await phase(client, dud) is P.CREATED
    await client.destroy_instance(dud)


async def test_a_low_bid_may_be_refused_and_bill_all_the_same(emulator: Emulator, client: VastClient) -> None:
    offer = (await offers(client, BID))[0]
    wanted = order(offer, bid_usd_per_hour=UsdPerHour(0.001), cancel_unavailable=False)
    with pytest.raises(RequestRejected) as caught:
        await client.create_instance(wanted)
    contract = caught.value.details["new_contract"]
    await emulator.pass_by(3)
    found = await client.instance(InstanceId(int(str(contract))))
    assert found is not None and found.phase is P.STOPPED and found.label == wanted.label
    await client.destroy_instance(found.id)


async def test_a_low_bid_with_cancel_rents_nothing(client: VastClient) -> None:
    wanted = order((await offers(client, BID))[0], bid_usd_per_hour=UsdPerHour(0.001))
    with pytest.raises((RequestRejected, OfferGone), match="Nothing was rented") as caught:
        await client.create_instance(wanted)
    assert "new_contract" not in caught.value.details
    assert all(instance.label != wanted.label for instance in (await client.inventory()).instances)


async def test_an_offer_that_is_gone_says_so(client: VastClient) -> None:
    offer = max(await offers(client), key=lambda each: each.num_gpus)
    with pytest.raises(OfferGone, match="Nothing was rented"):
        await client.create_instance(order(offer, offer_id=1))
    rented: list[InstanceId] = []
    # A machine may hold an offer's size more than once, and no machine holds it more than sixteen times.
    with pytest.raises(OfferGone):
        for _ in range(17):
            rented.append(await client.create_instance(order(offer)))  # noqa: PERF401  # what was rented before the refusal counts
    assert rented
    for instance_id in rented:
        await client.destroy_instance(instance_id)


async def test_a_bid_is_changed_and_read_back(emulator: Emulator, client: VastClient) -> None:
    instance_id = await rented(emulator, client, BID)
    await client.set_bid(instance_id, UsdPerHour(3.25))
    found = await client.instance(instance_id)
    assert found is not None and found.bid_usd_per_hour == 3.25
    await client.destroy_instance(instance_id)


async def test_an_empty_account_rents_nothing(emulator: Emulator, client: VastClient) -> None:
    offer = (await offers(client))[0]
    await emulator.control("POST", "/account", balance_usd=0)
    with pytest.raises(InsufficientCredit, match="Nothing was rented"):
        await client.create_instance(order(offer))


async def test_keys_that_are_bad_revoked_or_scoped_are_told_apart(emulator: Emulator) -> None:
    async with emulator.client("0" * 64) as stranger:
        with pytest.raises(AuthFailed):
            await stranger.inventory()
    read_only = {"api": {right: dict[str, str]() for right in ("user_read", "instance_read", "misc")}}
    made = await emulator.control("POST", "/keys", name="reader", permissions=read_only)
    async with emulator.client(made["key"]) as reader:
        assert (await reader.account()).id == emulator.account_id
        with pytest.raises(PermissionMissing, match="Nothing was rented"):
            await reader.create_instance(order((await offers(reader))[0]))
        await emulator.control("POST", "/keys", revoke=made["id"])
        with pytest.raises(AuthFailed):
            await reader.account()


async def test_a_second_factor_is_not_a_bad_key(emulator: Emulator, client: VastClient) -> None:
    await emulator.control("POST", "/account", tfa=True)
    with pytest.raises(TwoFactorRequired):
        await client.inventory()


async def test_the_daily_quota_is_told_once(emulator: Emulator, client: VastClient) -> None:
    await emulator.control("POST", "/account", search_quota=0)
    with pytest.raises(SearchQuotaExceeded):
        await offers(client)


async def test_the_rate_limits_in_both_forms_are_understood(emulator: Emulator) -> None:
    async with emulator.client(attempts=1) as hasty:
        await emulator.control("POST", "/clock", speed=1)
        await hasty.instance(InstanceId(1))
        with pytest.raises(RateLimited) as plain:
            await hasty.instance(InstanceId(1))
        assert plain.value.details["least_interval_s"] == 2.0
        with pytest.raises(RateLimited) as shared:
            for _ in range(8):
                await hasty.account()
        assert shared.value.retry_after_s is not None and 1 <= shared.value.retry_after_s <= 10


async def test_logs_and_commands_are_served(emulator: Emulator, client: VastClient) -> None:
    instance_id = await rented(emulator, client)
    assert isinstance(await client.logs(instance_id, tail=10), str)
    assert isinstance(await client.logs(instance_id, tail=10, daemon=True), str)
    with pytest.raises(RequestRejected, match="Nothing was run"):
        await client.instance_command(instance_id, ["ls", "/workspace"])
    await client.set_state(instance_id, "stopped")
    assert isinstance(await client.instance_command(instance_id, ["ls", "/workspace"]), str)
    await client.destroy_instance(instance_id)
    with pytest.raises(NoSuchInstance):
        await client.logs(instance_id, tail=10)


async def test_keys_volumes_and_charges_are_read(emulator: Emulator, client: VastClient) -> None:
    await client.add_ssh_key(PUBLIC_KEY)
    assert PUBLIC_KEY in await client.ssh_keys()
    assert await client.volumes() == []
    instance_id = await rented(emulator, client)
    bill = await client.charges(datetime.now(UTC) - timedelta(days=1))
    mine = {charge.kind: charge.amount for charge in bill if charge.instance_id == instance_id}
    assert mine["gpu"] > 0 and mine["disk"] > 0
    await client.destroy_instance(instance_id)


async def test_the_shapes_of_all_answers_are_those_we_read(emulator: Emulator, client: VastClient) -> None:
    instance_id = await rented(emulator, client)
    assert await compare_shapes(client) == []
    await client.destroy_instance(instance_id)
