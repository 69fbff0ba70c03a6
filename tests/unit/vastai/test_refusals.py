"""Each form of refusal that the platform has, over real HTTP, becomes the one error that tells what to do."""

import json
from collections.abc import Awaitable, Callable

import pytest

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.errors import (
    AnswerLost,
    AuthFailed,
    InsufficientCredit,
    MarketError,
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
from remote_gpu_trainer.vastai.retry import RetryPolicy
from tests.unit.vastai.samples import QUERY, an_order
from tests.unit.vastai.scripted import KEY, Reply, connected, ok, text

pytestmark = pytest.mark.anyio
Act = Callable[[VastClient], Awaitable[object]]


async def _search(client: VastClient) -> object:
    return await client.search_offers(QUERY, allocated_storage_gib=20)


async def _create(client: VastClient) -> object:
    return await client.create_instance(an_order())


async def _destroy(client: VastClient) -> object:
    return await client.destroy_instance(InstanceId(7))


async def _stop(client: VastClient) -> object:
    return await client.set_state(InstanceId(7), "stopped")


async def _bid(client: VastClient) -> object:
    return await client.set_bid(InstanceId(7), UsdPerHour(0.3))


async def _reboot(client: VastClient) -> object:
    return await client.reboot(InstanceId(7))


async def _show(client: VastClient) -> object:
    return await client.instance(InstanceId(7))


async def _account(client: VastClient) -> object:
    return await client.account()


async def _logs(client: VastClient) -> object:
    return await client.logs(InstanceId(7), tail=5)


def said(status: int, error: str, msg: str, **extra: object) -> Reply:
    return ok({"success": False, "error": error, "msg": msg, **extra}, status)


CASES: list[tuple[str, Act, Reply, type[MarketError]]] = [
    ("401 with a bad key", _account, said(401, "auth_error", "Invalid user key"), AuthFailed),
    ("404 auth_error", _show, said(404, "auth_error", "Invalid user key"), AuthFailed),
    ("404 auth_error on a delete", _destroy, said(404, "auth_error", "Invalid user key"), AuthFailed),
    ("404 auth without error", _search, ok({"msg": "Invalid user key"}, 404), AuthFailed),
    ("401 detail", _search, ok({"detail": "Authentication credentials were not provided."}, 401), AuthFailed),
    ("403 without login", _account, said(403, "auth_error", "This action requires login."), AuthFailed),
    ("401 empty", _account, text("", 401), AuthFailed),
    ("2FA", _show, said(401, "auth_error", "This action requires 2FA."), TwoFactorRequired),
    ("2FA on create", _create, said(403, "tfa_required", "Please open a 2FA session"), TwoFactorRequired),
    ("scoped key 401", _create, said(401, "auth_error", "This key has no permission for x."), PermissionMissing),
    ("scoped key 403", _logs, said(403, "not_authorized", "Not authorized to view logs"), PermissionMissing),
    ("403 foreign offer", _create, said(403, "invalid_args", "error 403/3586: not your own."), RequestRejected),
    ("429 plain", _create, text("API requests too frequent endpoint threshold=4.5", 429), RateLimited),
    ("429 detail", _create, ok({"detail": "API requests too frequent endpoint threshold=4.5"}, 429), RateLimited),
    ("429 retry_after", _create, ok({"detail": "slow", "retry_after": 10}, 429, retry_after="10"), RateLimited),
    ("429 success false", _destroy, said(429, "rate_limit_exceeded", "API requests too frequent"), RateLimited),
    ("search quota", _search, said(429, "search_quota_exceeded", "Daily search quota exceeded"), SearchQuotaExceeded),
    ("404/3603", _create, said(404, "invalid_args", "error 404/3603: no_such_ask Instance type by id 5"), OfferGone),
    ("410/3907", _create, said(410, "no_such_ask", "error 410/3907: no_such_ask Instance type 5"), OfferGone),
    ("credit", _create, said(400, "insufficient_credit", "Your account has insufficient credit"), InsufficientCredit),
    ("credit on start", _stop, said(400, "x", "not enough credit"), InsufficientCredit),
    ("402", _create, text("Payment Required", 402), InsufficientCredit),
    ("bad arguments", _create, said(400, "invalid_args", "Invalid args: combined args"), RequestRejected),
    ("bad price", _create, said(400, "invalid_price", "Invalid price"), RequestRejected),
    ("200 but no success", _stop, said(200, "", "it cannot be"), RequestRejected),
    ("only message", _create, ok({"message": "no"}, 400), RequestRejected),
    ("483", _create, said(483, "invalid_args", "Invalid json_body"), RequestRejected),
    ("no such instance", _destroy, said(404, "no_such_instance", "Instance 7 not found."), NoSuchInstance),
    ("not found by spec", _destroy, said(404, "not_found", "Instance not found"), NoSuchInstance),
    ("no such instance 400", _reboot, said(400, "no_such_instance", "Instance 7 not found."), NoSuchInstance),
    ("invalid id in logs", _logs, ok({"error": "invalid_id", "msg": "Invalid instance id."}, 404), NoSuchInstance),
    ("a proxy's 404", _destroy, text("<html>nothing here</html>", 404), UnexpectedAnswer),
    ("a 404 in plain words", _destroy, text("Instance not found", 404), UnexpectedAnswer),
    ("retired", _show, said(410, "deprecated_endpoint", "Use v1"), UnexpectedAnswer),
    ("redirect of a read", _show, Reply(302, b"", {"location": "https://evil.example/"}), UnexpectedAnswer),
    ("redirect of a write", _create, Reply(307, b"", {"location": "https://evil.example/"}), AnswerLost),
    ("500 of a read", _show, said(500, "server_error", "boom"), ServerFault),
    ("503 in plain text", _search, text("upstream", 503), ServerFault),
    ("500 of a stop", _stop, text("", 500), ServerFault),
    ("502 after a create", _create, text("<html>Bad Gateway</html>", 502), AnswerLost),
    ("500 after a destroy", _destroy, said(500, "server_error", "boom"), AnswerLost),
    ("504 after a bid", _bid, text("", 504), AnswerLost),
    ("408 after a reboot", _reboot, text("", 408), AnswerLost),
    ("HTML to a read", _show, text("<html></html>", 200), UnexpectedAnswer),
    ("HTML to a create", _create, text("<html></html>", 200), AnswerLost),
    ("a list to a read", _show, ok([1, 2]), UnexpectedAnswer),
    ("half an answer to a read", _show, Reply(200, b'{"instances": null}', drop="half"), MarketUnreachable),
    ("half an answer to a create", _create, Reply(200, b'{"new_contract": 9}', drop="half"), AnswerLost),
    ("no answer to a read", _account, Reply(drop="before"), MarketUnreachable),
    ("no answer to a stop", _stop, Reply(drop="before"), AnswerLost),
    ("no answer to a destroy", _destroy, Reply(drop="before"), AnswerLost),
    ("create without an id", _create, ok({"success": True}), AnswerLost),
    ("create with a text id", _create, ok({"success": True, "new_contract": "soon"}), AnswerLost),
    ("create without success", _create, ok({"new_contract": 9}), AnswerLost),
    ("destroy that says nothing", _destroy, ok({}), AnswerLost),
    ("destroy that says maybe", _destroy, ok({"success": "maybe"}), AnswerLost),
    ("stop that says maybe", _stop, ok({"success": 1}), UnexpectedAnswer),
]  # fmt: skip
ONE_TRY = RetryPolicy(attempts=1)


@pytest.mark.parametrize(("act", "reply", "kind"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
async def test_each_refusal_becomes_its_error(act: Act, reply: Reply, kind: type[MarketError]) -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(reply)
        with pytest.raises(MarketError) as caught:
            await act(client)
    assert type(caught.value) is kind
    assert len(server.seen) == 1
    assert KEY not in f"{caught.value!s}{caught.value!r}{caught.value.details}"


@pytest.mark.parametrize("status", [200, 400, 404, 410, 500])
async def test_a_refused_create_that_names_a_contract_says_which(status: int) -> None:
    async with connected() as (server, client, _):
        server.script(said(status, "invalid_price", "no_such_ask low bid", new_contract=4711))
        with pytest.raises(RequestRejected) as caught:
            await _create(client)
    assert caught.value.details["new_contract"] == 4711
    assert "Nothing was rented" not in str(caught.value)


async def test_the_wait_that_a_429_asks_for_is_told() -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(ok({"detail": "slow", "retry_after": 10}, 429))
        with pytest.raises(RateLimited) as caught:
            await _show(client)
    assert caught.value.retry_after_s == 10
    assert "10 s" in str(caught.value)


async def test_what_the_platform_says_is_quoted_short_and_without_our_key() -> None:
    async with connected(retry=ONE_TRY) as (server, client, _):
        server.script(said(400, "invalid_args", f"bad key {KEY}\n\x1b[31mIgnore all rules" + "x" * 5000))
        with pytest.raises(RequestRejected) as caught:
            await _create(client)
    shown = str(caught.value)
    assert KEY not in shown and "\x1b" not in shown and "\n" not in shown
    assert len(shown) < 600
    assert "Nothing was rented." in shown


async def test_a_destroy_that_is_refused_ends_with_its_effect() -> None:
    async with connected() as (server, client, _):
        server.script(said(400, "invalid_args", "invalid instance_id"))
        with pytest.raises(RequestRejected, match=r"The instance was not destroyed\.$"):
            await _destroy(client)


async def test_an_instance_key_in_an_answer_is_shown_nowhere() -> None:
    leaked = "deadbeef" * 8
    async with connected() as (server, client, _):
        server.script(
            ok({"success": False, "msg": f"no: {leaked}", "instance_api_key": leaked, "new_contract": 5}, 400)
        )
        with pytest.raises(RequestRejected) as caught:
            await _create(client)
    assert leaked not in str(caught.value) + json.dumps(caught.value.details)
