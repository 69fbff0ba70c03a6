"""Calls that go wrong on request: what the client sees, and what was done all the same."""

import time
from typing import Any

import httpx
import pytest

from remote_gpu_trainer.emulator.faults import Fault, Faults
from tests.unit.emulator.renter import Renter

CLOSED = (httpx.RemoteProtocolError, httpx.ReadError)
"""A connection that was broken off shows as an end or as a reset, by how far the kernel had got."""


def arm(renter: Renter, kind: str, route: str = "PUT /api/v0/asks/*", **more: Any) -> None:
    renter.do("/faults", route=route, kind=kind, **more)


def labels(renter: Renter) -> list[str | None]:
    return [row["label"] for row in renter.api.get("/api/v1/instances/").json()["instances"]]


def test_a_lost_response_rents_and_says_nothing(renter: Renter) -> None:
    arm(renter, "lost-response")
    with pytest.raises(CLOSED):
        renter.create(renter.offer(), label="lost")
    assert labels(renter) == ["lost"]
    assert renter.create(renter.offer()).status_code == 200


def test_a_lost_request_rents_nothing(renter: Renter) -> None:
    arm(renter, "lost-request")
    with pytest.raises(CLOSED):
        renter.create(renter.offer(), label="lost")
    assert labels(renter) == []


def test_an_error_before_and_an_error_after_differ_in_what_was_done(renter: Renter) -> None:
    arm(renter, "error", status=500)
    assert renter.create(renter.offer(), label="before").status_code == 500
    assert labels(renter) == []
    arm(renter, "late-error")
    assert renter.create(renter.offer(), label="after").status_code == 502
    assert labels(renter) == ["after"]


def test_a_truncated_answer_breaks_off_and_garbage_is_no_json(renter: Renter) -> None:
    arm(renter, "truncate", "GET /api/v1/instances")
    with pytest.raises(CLOSED):
        renter.api.get("/api/v1/instances/")
    arm(renter, "garbage", "GET /api/v1/instances/")
    assert renter.api.get("/api/v1/instances").text.startswith("<html>")


def test_a_timeout_hangs_and_then_closes(renter: Renter) -> None:
    arm(renter, "timeout", "GET *", delay_s=5)
    with pytest.raises(httpx.ReadTimeout):
        renter.api.get("/api/v0/users/current", timeout=0.2)
    arm(renter, "timeout", "GET *", delay_s=0.05)
    with pytest.raises(CLOSED):
        renter.api.get("/api/v0/users/current")


def test_a_slow_answer_comes_late(renter: Renter) -> None:
    arm(renter, "slow", "GET *", delay_s=0.3)
    before = time.monotonic()
    assert renter.api.get("/api/v0/users/current").status_code == 200
    assert time.monotonic() - before >= 0.3


def test_rate_limit_and_auth_faults_answer_in_the_platforms_form(renter: Renter) -> None:
    arm(renter, "rate-limit", "* *")
    assert renter.api.get("/api/v0/users/current").status_code == 429
    arm(renter, "auth", "* *")
    answer = renter.api.get("/api/v0/users/current")
    assert (answer.status_code, answer.json()["error"]) == (404, "auth_error")


def test_a_phantom_is_accepted_and_never_appears(renter: Renter) -> None:
    arm(renter, "phantom")
    contract = renter.rent()
    renter.wait(600)
    assert renter.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}
    assert labels(renter) == []


def test_a_dud_stays_at_null_and_bills_its_disk(renter: Renter) -> None:
    arm(renter, "dud")
    contract = renter.rent()
    renter.wait(7200)
    assert renter.words(contract) == (None, "running", "running", "running")
    assert renter.cost(contract)["disk_pico"] > 0
    assert renter.cost(contract)["gpu_pico"] == 0


def test_count_and_after_say_which_calls_are_hit(renter: Renter) -> None:
    arm(renter, "error", "GET /api/v0/users/current", count=2, after=1)
    found = [renter.api.get("/api/v0/users/current").status_code for _ in range(5)]
    assert found == [200, 503, 503, 200, 200]


def test_faults_can_be_listed_and_cleared(renter: Renter) -> None:
    arm(renter, "error", "GET *", count=9)
    assert renter.look("/faults")["armed"][0]["kind"] == "error"
    assert renter.control.delete("/faults").json()["armed"] == []
    assert renter.api.get("/api/v0/users/current").status_code == 200


@pytest.mark.parametrize(
    "fault", [Fault("*", "*", "nonsense"), Fault("*", "*", "error", 0), Fault("*", "*", "error", 1, -1)]
)
def test_a_fault_that_makes_no_sense_is_refused(fault: Fault) -> None:
    with pytest.raises(ValueError, match=r"unknown fault|count must"):
        Faults().arm(fault)
