"""What each call sends and what it makes of the answer, over real HTTP."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from remote_gpu_trainer.domain.ids import InstanceId, MachineId, OfferId
from remote_gpu_trainer.domain.offers import OfferQuery, RentalType
from remote_gpu_trainer.domain.units import GiB, UsdPerHour
from remote_gpu_trainer.errors import (
    AuthFailed,
    InvalidRequest,
    NoSuchInstance,
    RequestRejected,
    UnexpectedAnswer,
)
from remote_gpu_trainer.vastai.retry import RetryPolicy
from tests.unit.vastai.samples import ACCOUNT, QUERY, a_page, an_instance, an_offer, an_order
from tests.unit.vastai.scripted import JumpClock, Reply, Seen, connected, ok

pytestmark = pytest.mark.anyio
SEVEN = InstanceId(7)
ONE_TRY = RetryPolicy(attempts=1)


async def test_a_search_sends_the_safe_filters_and_prices_the_disk() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"offers": [an_offer()]}))
        found = await client.search_offers(QUERY, allocated_storage_gib=40)
        body = server.seen[0].body
    assert [offer.id for offer in found] == [30094969]
    assert (server.seen[0].method, server.seen[0].path) == ("POST", "/api/v0/bundles/")
    assert body["verified"] == body["rentable"] == {"eq": True}
    assert body["external"] == body["rented"] == {"eq": False}
    assert body["reliability2"] == {"gte": 0.98}
    assert body["direct_port_count"] == {"gte": 1}
    assert body["allocated_storage"] == 40 and body["disk_space"] == {"gte": 40}
    assert body["type"] == "on-demand" and body["order"] == [["dph_total", "asc"]]
    assert None not in body.values()


async def test_every_filter_of_a_query_is_sent_in_the_platforms_units() -> None:
    query = OfferQuery(
        rental=RentalType.INTERRUPTIBLE,
        gpu_names=("RTX_4090", "A100 SXM4"),
        min_gpu_ram_gib=GiB(24),
        max_usd_per_hour=UsdPerHour(0.5),
        verified=False,
        min_cuda=12.4,
        min_remaining_hours=10,
        min_inet_down_mbps=200,
        countries=("US", "SE"),
        machine_id=MachineId(3),
        offer_id=OfferId(9),
    )
    async with connected() as (server, client, _):
        server.script(ok({"offers": []}))
        assert await client.search_offers(query, allocated_storage_gib=10) == []
        body = server.seen[0].body
    assert "verified" not in body
    assert body["type"] == "bid"
    assert body["gpu_name"] == {"in": ["RTX 4090", "A100 SXM4"]}
    assert body["gpu_ram"] == {"gte": 24000}
    assert body["duration"] == {"gte": 36000}
    assert body["dph_total"] == {"lte": 0.5}
    assert body["geolocation"] == {"in": ["US", "SE"]}
    assert body["ask_contract_id"] == {"eq": 9} and body["machine_id"] == {"eq": 3}


async def test_offers_that_lack_a_price_are_dropped_and_counted() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"offers": [an_offer(), an_offer(dph_base=None), "x", an_offer(inet_up_cost="?")]}))
        assert len(await client.search_offers(QUERY, allocated_storage_gib=10)) == 1
        assert client.dropped_offers == 3


@pytest.mark.parametrize("answer", [{"offers": [an_offer(dph_base=None)]}, {}, {"offers": {}}, {"offers": None}])
async def test_a_search_that_cannot_be_read_is_not_an_empty_market(answer: Any) -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(ok(answer))
        with pytest.raises(UnexpectedAnswer):
            await client.search_offers(QUERY, allocated_storage_gib=10)


async def test_an_on_demand_order_sends_no_price_and_nothing_empty() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"success": True, "new_contract": 4711, "instance_api_key": "x" * 64}))
        assert await client.create_instance(an_order(ports=("8080:8080",), onstart="")) == 4711
        seen = server.seen[0]
    assert (seen.method, seen.path) == ("PUT", "/api/v0/asks/5/")
    assert seen.body == {
        "client_id": "me",
        "image": "python:3.12",
        "disk": 20.0,
        "label": "rgt/digits-k3vq7m",
        "runtype": "ssh_direc ssh_proxy",
        "cancel_unavail": True,
        "env": {"HF_TOKEN": "hf_secret", "-p 8080:8080": "1"},
    }


async def test_a_bid_a_login_and_the_proxy_are_sent_when_asked_for() -> None:
    order = an_order(
        bid_usd_per_hour=UsdPerHour(0.2),
        cancel_unavailable=False,
        direct=False,
        image_login="-u x -p y docker.io",
        env={},
    )
    async with connected() as (server, client, _):
        server.script(ok({"success": True, "new_contract": 1}))
        await client.create_instance(order)
        body = server.seen[0].body
    assert body["price"] == 0.2 and body["cancel_unavail"] is False
    assert body["runtype"] == "ssh_proxy" and body["image_login"] == "-u x -p y docker.io"
    assert "env" not in body


@pytest.mark.parametrize(
    "changed",
    [
        {"bid_usd_per_hour": 0.0},
        {"bid_usd_per_hour": 500.0},
        {"env": {"-p 22:22": "1"}},
        {"env": {"A B": "1"}},
        {"env": {"": "1"}},
    ],
    ids=str,
)
async def test_an_order_that_would_be_misread_is_not_sent(changed: dict[str, Any]) -> None:
    async with connected() as (server, client, _):
        with pytest.raises(InvalidRequest, match="Nothing was rented"):
            await client.create_instance(an_order(**changed))
    assert not server.seen


async def test_a_missing_instance_is_none_and_another_one_is_an_error() -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(ok({"instances": None}), ok({"instances": an_instance(id=8)}), ok({}), ok({"instances": []}))
        assert await client.instance(SEVEN) is None
        for _ in range(3):
            with pytest.raises(UnexpectedAnswer):
                await client.instance(SEVEN)


def pages(*, account: Any = ACCOUNT, by_token: dict[str, Any]) -> Callable[[Seen], Reply]:
    def answer(seen: Seen) -> Reply:
        if seen.path.startswith("/api/v0/users/current"):
            return ok(account)
        token = parse_qs(urlsplit(seen.target).query).get("after_token", [""])[0]
        return ok(by_token[token])

    return answer


async def test_an_inventory_reads_every_page_and_names_its_account() -> None:
    async with connected() as (server, client, _):
        first = a_page(an_instance(id=1), total=2, counts={"rgt/digits-k3vq7m": 2}, token="a")
        last = a_page(an_instance(id=2), total=2, counts={"rgt/digits-k3vq7m": 2})
        server.answerer = pages(by_token={"": first, "a": last})
        found = await client.inventory()
    assert found.complete and found.account_id == ACCOUNT["id"]
    assert [instance.id for instance in found.instances] == [1, 2]


async def test_an_empty_account_is_a_complete_inventory() -> None:
    async with connected() as (server, client, _):
        server.answerer = pages(by_token={"": a_page()})
        found = await client.inventory()
    assert found.complete and found.instances == ()


DOUBTFUL: dict[str, dict[str, Any]] = {
    "a row too few": {"": a_page(an_instance(), total=2)},
    "no total": {"": a_page(an_instance()) | {"total_instances": None}},
    "labels disagree": {"": a_page(an_instance(), counts={"other": 1})},
    "labels count more": {"": a_page(an_instance(), counts={"rgt/digits-k3vq7m": 2})},
    "the same row twice": {"": a_page(an_instance(), an_instance())},
    "an unreadable row": {"": a_page(an_instance(), an_instance(id=8, machine_id=None))},
    "a row that is none": {"": a_page(an_instance()) | {"instances": [an_instance(), 5], "total_instances": 2}},
    "the same token again": {"": a_page(an_instance(), token="a"), "a": a_page(token="a", total=1)},
    "a token that is no text": {"": a_page(an_instance()) | {"next_token": 5}},
    "an empty list that should not be": {"": a_page(total=3)},
}


@pytest.mark.parametrize("by_token", DOUBTFUL.values(), ids=DOUBTFUL.keys())
async def test_an_inventory_in_doubt_is_not_complete(by_token: dict[str, Any]) -> None:
    async with connected() as (server, client, _):
        server.answerer = pages(by_token=by_token)
        assert not (await client.inventory()).complete


async def test_a_token_that_comes_again_is_not_followed() -> None:
    async with connected() as (server, client, _):
        server.answerer = pages(by_token=DOUBTFUL["the same token again"])
        await client.inventory()
    assert len(server.seen) == 1 + 2 * 2


async def test_an_inventory_that_was_changing_is_read_once_more() -> None:
    looks = [a_page(an_instance(), total=2), a_page(an_instance())]

    def answer(seen: Seen) -> Reply:
        return ok(ACCOUNT) if seen.path.startswith("/api/v0/users") else ok(looks.pop(0))

    async with connected() as (server, client, _):
        server.answerer = answer
        assert (await client.inventory()).complete


async def test_a_list_that_never_ends_is_left() -> None:
    count = 0

    def answer(seen: Seen) -> Reply:
        nonlocal count
        count += 1
        return ok(ACCOUNT) if seen.path.startswith("/api/v0/users") else ok(a_page(token=f"t{count}", total=0))

    async with connected() as (server, client, _):
        server.answerer = answer
        assert not (await client.inventory()).complete
    assert count < 1000


async def test_a_bad_key_is_no_empty_inventory() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"success": False, "error": "auth_error", "msg": "Invalid user key"}, 404))
        with pytest.raises(AuthFailed):
            await client.inventory()


async def test_changes_send_what_the_platform_expects() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"success": True}))
        await client.set_state(SEVEN, "stopped")
        await client.set_label(SEVEN, "rgt/x")
        await client.set_bid(SEVEN, UsdPerHour(0.25))
        await client.reboot(SEVEN)
        await client.destroy_instance(SEVEN)
    assert [(s.method, s.path, s.body) for s in server.seen] == [
        ("PUT", "/api/v0/instances/7/", {"state": "stopped"}),
        ("PUT", "/api/v0/instances/7/", {"label": "rgt/x"}),
        ("PUT", "/api/v0/instances/bid_price/7/", {"client_id": "me", "price": 0.25}),
        ("PUT", "/api/v0/instances/reboot/7/", {}),
        ("DELETE", "/api/v0/instances/7/", {}),
    ]


async def test_keys_are_listed_without_the_deleted_ones() -> None:
    rows = [{"key": "ssh-ed25519 A"}, {"public_key": "ssh-rsa B"}, {"key": "ssh-rsa C", "deleted_at": "2026-01-01"}, {}]
    async with connected() as (server, client, _):
        server.script(
            ok(rows), ok({"success": True, "ssh_keys": rows[:1]}), ok({"msg": "No SSH keys found for the user."}, 404)
        )
        assert await client.ssh_keys() == ["ssh-ed25519 A", "ssh-rsa B"]
        assert await client.ssh_keys() == ["ssh-ed25519 A"]
        assert await client.ssh_keys() == []
        server.script(ok({"msg": "Route gone"}, 404))
        with pytest.raises(RequestRejected):
            await client.ssh_keys()


@pytest.mark.parametrize(
    "key", ["~/.ssh/id_ed25519.pub", "", "-----BEGIN OPENSSH PRIVATE KEY-----\nx", "ssh-rsa A\nssh-rsa B"]
)
async def test_a_path_or_a_private_key_is_not_registered(key: str) -> None:
    async with connected() as (server, client, _):
        with pytest.raises(InvalidRequest, match="No key was registered"):
            await client.add_ssh_key(key)
    assert not server.seen


async def test_a_public_key_is_registered_by_its_content() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"success": True, "key": {}}))
        await client.add_ssh_key("ssh-ed25519 AAAA me@here\n")
    assert server.seen[0].body == {"ssh_key": "ssh-ed25519 AAAA me@here"}


async def test_the_bill_is_read_page_by_page() -> None:
    row = {"type": "instance", "source": "instance-7", "amount": 1.0, "start": 1761000000}
    async with connected() as (server, client, _):
        server.script(
            ok({"results": [row], "next_token": "n"}), ok({"results": [row | {"amount": 2}], "next_token": None})
        )
        assert [c.amount for c in await client.charges(JumpClock().now())] == [1.0, 2.0]
        assert "after_token=n" in server.seen[1].target and "after_token" not in server.seen[0].target
        server.script(ok({"results": [row], "next_token": "n"}))
        with pytest.raises(UnexpectedAnswer):
            await client.charges(JumpClock().now())
        assert len(server.seen) == 2
        with pytest.raises(InvalidRequest):
            await client.charges(JumpClock().now().replace(tzinfo=None))


async def test_volumes_are_listed_or_the_answer_is_refused() -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(
            ok({"volumes": [{"id": 3, "machine_id": 1, "disk_space": 15}]}), ok({"volumes": [{"label": "x"}]}), ok({})
        )
        assert [volume.id for volume in await client.volumes()] == [3]
        for _ in range(2):
            with pytest.raises(UnexpectedAnswer):
                await client.volumes()


async def test_the_rescue_address_is_checked_before_it_is_given() -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        good = {"success": True, "src_addr": "127.0.0.1", "src_port": 22022}
        server.script(ok(good), ok(good | {"src_addr": "-oX"}), ok(good | {"src_port": 0}))
        address = await client.request_rsync(SEVEN, remote_path="/workspace/out/")
        assert (address.host, address.port, address.user, address.module) == ("127.0.0.1", 22022, "vastai_kaalia", "7")
        assert server.seen[0].body["src_path"] == "/workspace/out/" and server.seen[0].body["dst_id"] is None
        for _ in range(2):
            with pytest.raises(UnexpectedAnswer):
                await client.request_rsync(SEVEN)
        server.script(ok({"success": False, "error": "no_such_user", "msg": "No such user."}, 404))
        with pytest.raises(NoSuchInstance):
            await client.request_rsync(SEVEN)


@pytest.mark.parametrize("target", ["/", "/root", "/root/", "//", "/root/.ssh", "/workspace/.."])
async def test_a_cloud_copy_into_the_system_is_refused(target: str) -> None:
    async with connected() as (server, client, _):
        with pytest.raises(InvalidRequest, match="Nothing was copied"):
            await client.request_cloud_copy(
                SEVEN, source="/b", target=target, connection="1", direction="cloud-to-instance"
            )
    assert not server.seen


async def test_a_cloud_copy_is_asked_for_once_and_never_deletes() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"success": True, "msg": "Cloud Copy Started"}))
        started = await client.request_cloud_copy(
            SEVEN,
            source="/workspace/out",
            target="/b",
            connection="1",
            direction="instance-to-cloud",
            flags=["--size-only"],
        )
        assert started == "Cloud Copy Started"
        assert server.seen[0].body["transfer"] == "Instance To Cloud"
        with pytest.raises(InvalidRequest):
            await client.request_cloud_copy(
                SEVEN,
                source="/",
                target="/b",
                connection="1",
                direction="instance-to-cloud",
                flags=["--delete-excluded"],
            )
    assert len(server.seen) == 1
