"""Rate limits, the search quota, scoped keys and the second factor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.emulator.limits import SHARED_CALLS, SHARED_WINDOW_S, Limits
from remote_gpu_trainer.emulator.service import Emulator
from tests.unit.emulator.renter import Renter


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_endpoint_wants_its_interval_between_calls_divided_by_the_speed() -> None:
    hand = Hand()
    limits = Limits(hand)
    assert limits.endpoint(1, "create", 4.5, 1.0) is None
    hand.now += 4.0
    refused = limits.endpoint(1, "create", 4.5, 1.0)
    assert refused is not None
    assert refused.retry_after_s == pytest.approx(0.5)
    assert limits.endpoint(2, "create", 4.5, 1.0) is None
    assert limits.endpoint(1, "destroy", 3.0, 1.0) is None
    hand.now += 0.6
    assert limits.endpoint(1, "create", 4.5, 1.0) is None
    hand.now += 0.1
    assert limits.endpoint(1, "create", 4.5, 60.0) is None
    assert limits.endpoint(1, "create", 4.5, 0) is None


def test_the_shared_allowance_is_five_in_ten_seconds_at_speed_one() -> None:
    hand = Hand()
    limits = Limits(hand)
    for _ in range(SHARED_CALLS):
        assert limits.shared(1, 1.0) is None
        hand.now += 1
    refused = limits.shared(1, 1.0)
    assert refused is not None
    assert refused.retry_after_s == pytest.approx(SHARED_WINDOW_S - SHARED_CALLS)
    assert limits.shared(2, 1.0) is None
    hand.now += SHARED_WINDOW_S - SHARED_CALLS
    assert limits.shared(1, 1.0) is None


def test_a_client_of_a_fast_emulator_is_not_slowed_by_the_shared_allowance() -> None:
    limits = Limits(Hand())
    assert all(limits.shared(1, 60.0) is None for _ in range(SHARED_CALLS * 60))
    assert limits.shared(1, 60.0) is not None


@pytest.fixture
def real_time(tmp_path: Path) -> Iterator[Renter]:
    with Emulator(tmp_path / "state", speed=1, ssh="none") as ready, Renter(ready) as person:
        yield person


def test_too_frequent_calls_are_429_in_plain_text_or_json(real_time: Renter) -> None:
    real_time.do("/quirks", **{"shared-limit": False})
    contract = "/api/v0/instances/1/"
    assert real_time.api.get(contract).status_code == 200
    plain = real_time.api.get(contract)
    assert (plain.status_code, plain.text) == (429, "API requests too frequent endpoint threshold=2.0")
    real_time.do("/quirks", **{"plain-429": False})
    assert real_time.api.get(contract).json() == {"detail": "API requests too frequent endpoint threshold=2.0"}
    assert "retry-after" not in plain.headers


def test_the_shared_limit_answers_with_retry_after_and_headers(real_time: Renter) -> None:
    found = [real_time.api.get("/api/v0/users/current") for _ in range(SHARED_CALLS + 1)]
    assert [answer.status_code for answer in found] == [200] * SHARED_CALLS + [429]
    last = found[-1]
    assert last.json()["retry_after"] == int(last.headers["retry-after"]) == 10
    assert last.headers["x-ratelimit-remaining"] == "0"


def test_the_daily_search_quota_is_its_own_429_until_midnight(renter: Renter) -> None:
    renter.do("/account", search_quota=2)
    assert [renter.api.post("/api/v0/bundles/", json={}).status_code for _ in range(2)] == [200, 200]
    answer = renter.api.post("/api/v0/bundles/", json={})
    assert (answer.status_code, answer.json()["error"]) == (429, "search_quota_exceeded")
    renter.wait(86_400)
    assert renter.api.post("/api/v0/bundles/", json={}).status_code == 200


def scoped(renter: Renter, api: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {renter.do('/keys', permissions={'api': api})['key']}"}


def test_a_key_scoped_to_reading_cannot_write(renter: Renter) -> None:
    contract = renter.rent()
    reads = scoped(renter, {"instance_read": {}, "misc": {}})
    assert renter.api.get(f"/api/v0/instances/{contract}/", headers=reads).status_code == 200
    assert renter.api.post("/api/v0/bundles/", json={}, headers=reads).status_code == 200
    refused = renter.api.request("DELETE", f"/api/v0/instances/{contract}/", headers=reads)
    assert (refused.status_code, refused.json()["error"]) == (401, "auth_error")
    assert renter.show(contract)["id"] == contract


def test_a_key_may_be_bound_to_one_endpoint_and_one_id(renter: Renter) -> None:
    mine, other = renter.rent(), renter.rent()
    rule = {"constraints": {"id": {"eq": mine}}}
    key = scoped(renter, {"instance_write": {"api.instance.destroy": rule}})
    assert renter.api.put(f"/api/v0/instances/{mine}/", json={"state": "stopped"}, headers=key).status_code == 401
    assert renter.api.request("DELETE", f"/api/v0/instances/{other}/", headers=key).status_code == 401
    assert renter.api.request("DELETE", f"/api/v0/instances/{mine}/", headers=key).status_code == 200


def test_a_revoked_key_is_refused(renter: Renter) -> None:
    made = renter.do("/keys")
    key = {"Authorization": f"Bearer {made['key']}"}
    assert renter.api.get("/api/v0/users/current", headers=key).status_code == 200
    renter.do("/keys", revoke=made["id"])
    assert renter.api.get("/api/v0/users/current", headers=key).json()["error"] == "auth_error"


def test_an_account_with_two_factors_wants_a_session_for_all_but_the_account_itself(renter: Renter) -> None:
    renter.do("/account", tfa=True)
    refused = renter.api.get("/api/v1/instances/")
    assert refused.status_code == 401
    assert "Two Factor Authentication" in refused.json()["msg"]
    assert renter.api.get("/api/v0/users/current").status_code == 200
    session = {"Authorization": f"Bearer {renter.do('/keys', tfa_session=True)['key']}"}
    assert renter.api.get("/api/v1/instances/", headers=session).status_code == 200
