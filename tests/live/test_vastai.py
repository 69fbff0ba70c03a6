"""Against the real platform: reads, and one rental of at most ten cents that takes itself down again."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.ids import LEASE_ALPHABET, InstanceId, LeaseId, label_of
from remote_gpu_trainer.domain.instances import Instance, InstanceOrder, InstancePhase
from remote_gpu_trainer.domain.offers import JobShape, Offer, OfferQuery, RentalType, job_cost
from remote_gpu_trainer.domain.units import GiB, UsdPerHour
from remote_gpu_trainer.errors import MarketError, NoSuchInstance, RequestRejected
from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.shape import ShapeFinding, compare_shapes

pytestmark = [pytest.mark.live, pytest.mark.anyio]
CAP_USD = 0.10
HOURS = 0.25
"""The rental is given up after a quarter of an hour; the price of a whole hour must stay under the cap."""
IMAGE = "ubuntu:22.04"
DISK = GiB(10.0)
clock = SystemClock()


@pytest.mark.timeout(180)
async def test_the_account_and_the_inventory_belong_together(live: VastClient) -> None:
    account = await live.account()
    inventory = await live.inventory()
    assert inventory.account_id == account.id
    assert inventory.complete, f"{live.unreadable_instances} rows could not be read"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("rental", list(RentalType))
async def test_offers_can_be_read(live: VastClient, rental: RentalType) -> None:
    found = await live.search_offers(OfferQuery(rental=rental, limit=64), allocated_storage_gib=20)
    assert found
    assert live.dropped_offers <= len(found), "more than half of the offers lack a deciding fact"
    assert all(offer.verified and (offer.reliability or 0) >= 0.98 and offer.direct_ports >= 1 for offer in found)


@pytest.mark.timeout(180)
async def test_an_instance_that_never_was_is_none_or_unknown(live: VastClient) -> None:
    try:
        assert await live.instance(InstanceId(1)) is None
    except NoSuchInstance:
        pass


@pytest.mark.timeout(180)
async def test_keys_volumes_and_charges_can_be_read(live: VastClient) -> None:
    await live.ssh_keys()
    await live.volumes()
    await live.charges(datetime.now(UTC) - timedelta(days=7))


@pytest.mark.timeout(300)
async def test_the_answers_have_the_shape_that_we_read(live: VastClient) -> None:
    found = await compare_shapes(live)
    assert found == [], "\n".join(_line(finding) for finding in found)


def _line(finding: ShapeFinding) -> str:
    return f"{finding.endpoint} {finding.field}: {finding.problem.value}, {finding.seen} for {finding.expected}"


def _affordable(offers: list[Offer]) -> Offer:
    shape = JobShape(hours=1.0, disk_gib=DISK, upload_gib=GiB(0.01), download_gib=GiB(0.01))
    priced = [(job_cost(offer, shape).total, offer) for offer in offers]
    cheap = [(cost, offer) for cost, offer in priced if cost <= CAP_USD and offer.egress_usd_per_gb <= 0.05]
    if not cheap:
        pytest.skip(f"no verified on-demand offer costs at most ${CAP_USD:.2f} for an hour right now")
    return min(cheap, key=lambda pair: pair[0])[1]


@asynccontextmanager
async def torn_down(live: VastClient, label: str) -> AsyncGenerator[None]:
    """Whatever happens inside, no instance with this label is left, and the test fails loudly if one might be."""
    try:
        yield
    finally:
        left = await _tear_down(live, label)
        assert left == [], f"destroy these by hand, they may bill: {left} with label {label}"


async def _tear_down(live: VastClient, label: str) -> list[int]:
    """Delete until two complete inventories, apart, show none; the ids that may be left after ten minutes."""
    absent, last = 0, [-1]
    ends = clock.monotonic() + 600
    while clock.monotonic() < ends:
        try:
            inventory = await live.inventory()
            last = [int(instance.id) for instance in inventory.instances if instance.label == label]
            absent = absent + 1 if inventory.complete and not last else 0
            if absent == 2:
                return []
            for instance_id in last:
                await live.destroy_instance(InstanceId(instance_id))
        except MarketError:
            absent = 0
        await clock.sleep(15)
    return last


async def _until(
    read: Callable[[], Awaitable[Instance | None]], phases: set[InstancePhase], within_s: float
) -> Instance:
    ends = clock.monotonic() + within_s
    seen: Instance | None = None
    while clock.monotonic() < ends:
        seen = await read()
        if seen is not None and seen.phase in phases:
            return seen
        await clock.sleep(10)
    raise AssertionError(f"after {within_s:.0f} s the phase is {seen.phase if seen else 'unread'}: {seen and seen.raw}")


@pytest.mark.timeout(1800)
async def test_a_rental_of_at_most_ten_cents_runs_stops_and_is_gone(live: VastClient) -> None:
    if (await live.account()).credit < 1:
        pytest.skip("the account holds less than $1")
    query = OfferQuery(max_usd_per_hour=UsdPerHour(CAP_USD), min_disk_gib=DISK, min_remaining_hours=24, limit=64)
    offer = _affordable(await live.search_offers(query, allocated_storage_gib=float(DISK)))
    suffix = "".join(secrets.choice(LEASE_ALPHABET) for _ in range(6))
    label = label_of(LeaseId(f"livetest-{suffix}"))
    order = InstanceOrder(offer_id=offer.id, image=IMAGE, disk_gib=DISK, label=label, onstart="echo up", env={})
    async with torn_down(live, label):
        try:
            instance_id = await live.create_instance(order)
        except RequestRejected as refused:
            pytest.skip(f"the platform refused: {refused.message}")
        ready = await _until(lambda: live.instance(instance_id), {InstancePhase.RUNNING}, HOURS * 3600)
        assert (ready.label, ready.machine_id, ready.rental) == (label, offer.machine_id, RentalType.ON_DEMAND)
        assert ready.usd_per_hour_now is not None and ready.usd_per_hour_now <= CAP_USD
        assert ready.endpoints
        await live.set_state(instance_id, "stopped")
        stopped = await _until(lambda: live.instance(instance_id), {InstancePhase.STOPPED}, 180)
        assert stopped.usd_per_hour_now is None or stopped.usd_per_hour_now < ready.usd_per_hour_now
