"""Renting exactly once: a killed server, a lost answer, a success that never appears."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from mcp import Client, StdioServerParameters

from remote_gpu_trainer.emulator.service import Emulator
from tests.stage import QUIET, SPEED, Stage, environment, on_stage
from tests.unit.emulator.renter import Renter

pytestmark = pytest.mark.anyio


@pytest.fixture
async def market(tmp_path: Path) -> AsyncGenerator[Renter]:
    with Emulator(tmp_path / "market", speed=SPEED, ssh="none", without=QUIET) as ready, Renter(ready) as renter:
        yield renter


def held(market: Renter) -> list[int]:
    return [one["id"] for one in market.look("/instances")["instances"] if one["phase"] != "destroyed"]


async def test_a_server_killed_right_after_its_create_left_is_followed_by_one_that_adopts(
    market: Renter, tmp_path: Path
) -> None:
    async with on_stage(tmp_path, market=market) as stage:
        offer = await stage.offer()
    market.do("/faults", route="PUT /api/v0/asks/*", kind="slow", delay_s=30)
    env = {**environment(tmp_path, market), "PATH": os.environ["PATH"]}
    pid_file = tmp_path / "pid"
    # The shell writes its id and becomes the server, so that the test can kill just that process.
    words = ["-c", f'echo $$ > "{pid_file}"; exec "{sys.executable}" -m remote_gpu_trainer serve']
    arguments = {"name": "once", "offer_id": offer["offer_id"], "image": "python:3.11-slim", "hours": 1, "disk_gib": 16}
    arguments["acknowledge"] = [one["id"] for one in offer["findings"] if one["acknowledgeable"]]
    with contextlib.suppress(BaseExceptionGroup, Exception):
        async with Client(StdioServerParameters(command="sh", args=words, env=env)) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "create_instance", arguments)
                for _ in range(600):
                    if held(market):
                        break
                    await anyio.sleep(0.05)
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert len(held(market)) == 1

    async with on_stage(tmp_path, market=market) as stage:
        runs = (await stage.call("poll_status"))["runs"]

        assert [one["instance_id"] for one in runs] == held(market)
        assert runs[0]["run"].startswith("once-")


@pytest.fixture
async def stage(market: Renter, tmp_path: Path) -> AsyncGenerator[Stage]:
    async with on_stage(tmp_path, market=market) as standing:
        yield standing


async def test_a_lost_answer_is_settled_by_the_label_and_nothing_is_asked_twice(stage: Stage) -> None:
    offer = await stage.offer()
    stage.market.do("/faults", route="PUT /api/v0/asks/*", kind="lost-response")

    view = await stage.create(offer)

    assert [view["instance_id"]] == held(stage.market)


async def test_a_success_that_never_appears_is_never_taken_for_a_machine(stage: Stage) -> None:
    offer = await stage.offer()
    stage.market.do("/faults", route="PUT /api/v0/asks/*", kind="phantom")

    view = await stage.create(offer)

    assert held(stage.market) == []
    assert (view["instance_phase"], view["usd_per_hour_now"], view["phase"]) == (None, None, "rented")
    assert "do not conclude that it is gone" in view["next_step"]
    stage.clock.pass_by(timedelta(seconds=30))
    after = (await stage.call("poll_status", target=view["run"], wait_s=30, until="running"))["runs"][0]
    assert (after["phase"], after["rule"], after["waits_help"]) == ("never-was", "VAST14", False)


async def test_an_instance_that_another_hand_destroyed_closes_its_run_after_two_looks(stage: Stage) -> None:
    view = await stage.create(await stage.offer())
    assert (await stage.call("poll_status", target=view["run"]))["runs"][0]["instance_phase"] is not None
    stage.market.do("/quirks", reappears=False)
    stage.market.destroy(view["instance_id"])

    first = (await stage.call("poll_status", target=view["run"]))["runs"][0]
    stage.clock.pass_by(timedelta(seconds=30))
    second = (await stage.call("poll_status", target=view["run"]))["runs"][0]

    assert first["phase"] != "closed"
    assert second["phase"] == "closed"


@pytest.mark.parametrize("kind", ["auth", "error", "lost-request", "garbage"])
async def test_an_account_that_cannot_be_read_is_never_taken_for_an_instance_that_is_gone(
    stage: Stage, kind: str
) -> None:
    view = await stage.create(await stage.offer())
    stage.market.do("/faults", route="GET *", kind=kind, count=200)

    told = await stage.client.call_tool("poll_status", {"target": view["run"]}, read_timeout_seconds=55)

    text = str(told.structured_content or told.content)
    assert "closed" not in text
    assert "gone" not in text
    stage.market.control.delete("/faults")
    after = (await stage.call("poll_status", target=view["run"]))["runs"][0]
    assert after["instance_id"] == view["instance_id"]
    assert after["phase"] != "closed"


async def test_a_revoked_key_is_told_as_a_bad_key_and_closes_nothing(stage: Stage) -> None:
    view = await stage.create(await stage.offer())
    (key,) = stage.market.api.get("/api/v0/auth/apikeys/").json()["apikeys"]
    stage.market.do("/keys", revoke=key["id"])

    told = await stage.refused("poll_status", target=view["run"])

    assert "[auth_failed]" in told
    assert held(stage.market) == [view["instance_id"]]
    record = stage.services.journal.leases()[0]
    assert record.phase.value not in {"closed", "never-was"}
