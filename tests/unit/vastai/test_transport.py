"""What is sent how often, what is waited for, and that nothing of httpx comes through."""

import asyncio
import gzip
import inspect
import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.errors import (
    AnswerLost,
    ConfigError,
    InvalidRequest,
    MarketError,
    MarketUnreachable,
    RateLimited,
    RgtError,
    SearchQuotaExceeded,
    ServerFault,
    UnexpectedAnswer,
)
from remote_gpu_trainer.ports import Marketplace
from remote_gpu_trainer.vastai.answers import MOST_BYTES
from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.pacing import SPEC_INTERVALS_S, Pacing
from remote_gpu_trainer.vastai.retry import RetryPolicy
from tests.unit.vastai.samples import ACCOUNT, QUERY, an_instance, an_order
from tests.unit.vastai.scripted import KEY, JumpClock, Reply, connected, ok, text

SEVEN = InstanceId(7)
ONE_TRY = RetryPolicy(attempts=1)


def _all_below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_below(below)


FOREIGN = sorted(
    {
        kind
        for root in (httpx.HTTPError, httpx.StreamError)
        for kind in (root, *_all_below(root))
        if kind.__module__.startswith("httpx")
    }
    | {httpx.InvalidURL, httpx.CookieConflict},
    key=lambda kind: kind.__name__,
)
NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}


def _raised(kind: type[BaseException]) -> BaseException:
    named = inspect.signature(kind.__init__).parameters
    request = httpx.Request("GET", "https://x/")
    if kind is httpx.HTTPStatusError:
        return httpx.HTTPStatusError("boom", request=request, response=httpx.Response(500))
    return kind("boom") if "message" in named else kind()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
async def test_every_foreign_exception_is_mapped(kind: type[BaseException]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise _raised(kind)

    client = VastClient(
        "https://console.vast.ai", KEY, clock=JumpClock(), transport=httpx.MockTransport(fail), retry=ONE_TRY
    )
    with pytest.raises(MarketError) as read:
        await client.account()
    with pytest.raises(MarketError) as write:
        await client.create_instance(an_order())
    await client.aclose()
    assert isinstance(read.value, MarketUnreachable | UnexpectedAnswer)
    expected = MarketUnreachable if kind.__name__ in NEVER_SENT else AnswerLost
    assert type(write.value) is expected


def test_the_walk_finds_the_exceptions_of_httpx() -> None:
    assert {"ReadTimeout", "RemoteProtocolError", "DecodingError", "TooManyRedirects"} <= {k.__name__ for k in FOREIGN}


@pytest.mark.anyio
async def test_a_closed_port_is_unreachable_also_for_a_create() -> None:
    client = VastClient("http://127.0.0.1:1", KEY, clock=JumpClock(), retry=ONE_TRY)
    with pytest.raises(MarketUnreachable, match="Nothing was rented"):
        await client.create_instance(an_order())
    await client.aclose()


@pytest.mark.anyio
async def test_a_read_is_repeated_until_it_succeeds() -> None:
    async with connected() as (server, client, clock):
        server.script(Reply(drop="before"), text("", 503), text("too frequent", 429), ok(ACCOUNT))
        assert (await client.account()).id == ACCOUNT["id"]
    assert len(server.seen) == 4
    assert all(0 < slept <= 8 for slept in clock.slept)


@pytest.mark.anyio
async def test_reads_are_repeated_a_bounded_number_of_times() -> None:
    async with connected(retry=RetryPolicy(attempts=3)) as (server, client, _):
        server.script(text("", 500))
        with pytest.raises(ServerFault):
            await client.account()
    assert len(server.seen) == 3


@pytest.mark.anyio
async def test_repeats_end_when_their_time_is_over() -> None:
    async with connected(retry=RetryPolicy(attempts=1000, total_s=20)) as (server, client, clock):
        server.script(ok({"retry_after": 9}, 429))
        with pytest.raises(RateLimited):
            await client.account()
    assert len(server.seen) == 3 and clock.elapsed <= 20


@pytest.mark.anyio
async def test_state_and_label_are_repeated_after_a_lost_answer() -> None:
    async with connected() as (server, client, _):
        server.script(Reply(drop="before"), ok({"success": True}))
        await client.set_state(SEVEN, "stopped")
        server.script(text("", 502), ok({"success": True}))
        await client.set_label(SEVEN, "rgt/x")
        assert [seen.body for seen in server.seen] == [{"label": "rgt/x"}] * 2


@pytest.mark.anyio
@pytest.mark.parametrize("reply", [Reply(drop="before"), text("", 503), text("too frequent", 429)], ids=str)
async def test_create_destroy_bid_and_reboot_are_sent_once(reply: Reply) -> None:
    async with connected() as (server, client, _):
        for act in (
            client.create_instance(an_order()),
            client.destroy_instance(SEVEN),
            client.set_bid(SEVEN, UsdPerHour(0.2)),
            client.reboot(SEVEN),
        ):
            server.script(reply)
            with pytest.raises(MarketError):
                await act
            assert len(server.seen) == 1


@pytest.mark.anyio
async def test_what_is_sent_once_never_goes_into_a_connection_that_may_be_dead() -> None:
    async with connected() as (server, client, _):
        server.script(ok(ACCOUNT), ok(ACCOUNT), ok({"success": True, "new_contract": 5}), ok({"success": True}))
        await client.account()
        await client.account()
        await client.create_instance(an_order())
        await client.destroy_instance(SEVEN)
        used = [seen.connection for seen in server.seen]
    assert used[0] == used[1]
    assert used[2] != used[0] and used[3] != used[0]


@pytest.mark.anyio
async def test_an_emulator_here_is_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(ok(ACCOUNT))
        assert (await client.account()).id == ACCOUNT["id"]


def test_the_client_is_a_marketplace() -> None:
    market: Marketplace = VastClient("http://127.0.0.1:9", KEY, clock=JumpClock())
    assert repr(market) == "VastClient('http://127.0.0.1:9')"


@pytest.mark.anyio
async def test_a_used_up_search_quota_is_not_asked_again() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"error": "search_quota_exceeded", "msg": "x"}, 429))
        with pytest.raises(SearchQuotaExceeded):
            await client.search_offers(QUERY, allocated_storage_gib=10)
    assert len(server.seen) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reply",
    [
        ok({"detail": "x"}, 429, retry_after="7"),
        ok({"detail": "x", "retry_after": 7}, 429),
        text("x", 429, x_ratelimit_reset="7"),
        text("x", 429, x_ratelimit_reset=str(JumpClock().now().timestamp() + 7)),
    ],
    ids=["header", "json", "reset", "reset as a date"],
)
async def test_the_pause_that_a_429_asks_for_is_kept(reply: Reply) -> None:
    async with connected() as (server, client, clock):
        server.script(reply, ok(ACCOUNT))
        await client.account()
    assert clock.elapsed == pytest.approx(7, abs=0.01)


@pytest.mark.anyio
async def test_a_used_up_allowance_is_waited_for_before_the_next_call() -> None:
    async with connected() as (server, client, clock):
        server.script(ok(ACCOUNT, x_ratelimit_remaining="0", x_ratelimit_reset="4"), ok({"instances": None}))
        await client.account()
        assert clock.elapsed == 0
        await client.instance(SEVEN)
    assert clock.elapsed == 4


@pytest.mark.anyio
async def test_a_pause_of_more_than_a_minute_is_told_and_not_waited_for() -> None:
    async with connected() as (server, client, clock):
        server.script(ok({"detail": "x"}, 429, retry_after="600"))
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await client.account()
            assert caught.value.retry_after_s == 600
    assert clock.slept == [] and len(server.seen) == 1


@pytest.mark.anyio
async def test_the_least_interval_of_an_endpoint_is_kept_away_from_loopback() -> None:
    async with connected(pacing=Pacing(SPEC_INTERVALS_S)) as (server, client, clock):
        server.script(ok({"instances": None}))
        for _ in range(3):
            await client.instance(SEVEN)
    assert clock.slept == [2.0, 2.0]
    assert Pacing.for_host(loopback=False).intervals_s["create"] == 4.5
    assert not Pacing.for_host(loopback=True).intervals_s


@pytest.mark.anyio
async def test_calls_at_the_same_time_take_turns() -> None:
    async with connected(pacing=Pacing({"show": 2.0})) as (server, client, clock):
        server.script(ok({"instances": None}))
        await asyncio.gather(*(client.instance(SEVEN) for _ in range(4)))
    assert sorted(clock.slept) != [] and sum(clock.slept) >= 6.0


@pytest.mark.anyio
async def test_an_answer_beyond_all_measure_is_refused() -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(Reply(200, gzip.compress(b" " * (MOST_BYTES + 2)), {"content-encoding": "gzip"}))
        with pytest.raises(UnexpectedAnswer, match="16 MiB"):
            await client.account()


@pytest.mark.anyio
@pytest.mark.parametrize("depth", [100, 200_000])
async def test_an_answer_that_nests_without_end_is_refused(depth: int) -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(Reply(200, b'{"a":' * depth + b"1" + b"}" * depth))
        with pytest.raises(UnexpectedAnswer, match="nest"):
            await client.account()


@pytest.mark.anyio
async def test_the_key_goes_in_the_header_and_nowhere_else() -> None:
    async with connected() as (server, client, _):
        server.script(ok({"instances": an_instance()}))
        await client.instance(SEVEN)
        seen = server.seen[0]
        shown = repr(client) + repr(client.transport) + repr(vars(client.transport)) + repr(vars(client))
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in seen.target and KEY not in seen.raw.decode()
    assert KEY not in shown


@pytest.mark.parametrize(
    "url",
    ["http://console.vast.ai", "ftp://console.vast.ai", "console.vast.ai", "https://me:pw@vast.ai", "https://", "http://[::1",
     "https://vast.ai?x=1", "http://127.0.0.1.evil.example"],
)  # fmt: skip
def test_a_base_that_would_expose_the_key_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="VAST_URL"):
        VastClient(url, KEY, clock=JumpClock())


@pytest.mark.parametrize("key", ["", "  ", "a b", "a\nb", "schlüssel", "x" * 5000])
def test_a_key_that_cannot_stand_in_a_header_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VastClient("https://console.vast.ai", key, clock=JumpClock())
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.anyio
async def test_a_number_that_json_has_no_word_for_is_refused_before_sending() -> None:
    async with connected() as (server, client, _):
        with pytest.raises(InvalidRequest):
            await client.set_bid(SEVEN, float("nan"))  # pyright: ignore[reportArgumentType]  # what a careless caller gives
    assert not server.seen


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(
    "instances offers success new_contract msg error id volumes results next_token machine_id is_bid ports result_url "
    "total_instances label_counts credit retry_after ssh_keys instance src_addr src_port".split()
)
bodies = json_values | st.dictionaries(field_names, json_values | st.lists(st.dictionaries(field_names, json_values)))


async def _every_call(client: VastClient) -> None:
    acts = [
        lambda: client.search_offers(QUERY, allocated_storage_gib=10),
        lambda: client.create_instance(an_order()),
        lambda: client.instance(SEVEN),
        client.inventory,
        client.account,
        client.volumes,
        client.ssh_keys,
        lambda: client.charges(JumpClock().now()),
        lambda: client.logs(SEVEN, tail=3),
        lambda: client.set_state(SEVEN, "running"),
        lambda: client.destroy_instance(SEVEN),
        lambda: client.request_rsync(SEVEN),
    ]
    for act in acts:
        try:
            await act()
        except RgtError:
            continue


@settings(max_examples=100)
@given(body=bodies, status=st.sampled_from([200, 200, 200, 400, 401, 404, 410, 429, 500]))
def test_no_json_whatever_raises_anything_outside_the_tree(body: object, status: int) -> None:
    content = json.dumps(body).encode()

    async def run() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
        client = VastClient("http://127.0.0.1:9", KEY, clock=JumpClock(), transport=transport, retry=ONE_TRY)
        await _every_call(client)
        await client.aclose()

    asyncio.run(run())
