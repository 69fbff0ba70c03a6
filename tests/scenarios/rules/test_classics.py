"""VAST1 to VAST13 as they happen: an agent's naive call, and the id with which it is stopped or explained."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.services.guard import RULES_SAID
from tests.stage import Json, Stage

pytestmark = pytest.mark.anyio
SLIM = "python:3.11-slim"
TOKEN = "hf_" + "QwErTyUiOp" * 4


def contracts(stage: Stage) -> int:
    return len(stage.market.look("/instances")["instances"])


async def refused_to_rent(stage: Stage, offer: Json, *, acknowledge: bool = False, **more: Any) -> str:
    """A naive create on this offer: the refusal; nothing was rented."""
    before = contracts(stage)
    wanted: Json = {"name": "naive", "image": SLIM, "hours": 1, "disk_gib": 16}
    told = await stage.refused("create_instance", offer_id=offer["offer_id"], **(wanted | more))
    assert "Nothing was rented" in told
    assert contracts(stage) == before
    return told


async def looked_at(stage: Stage, run: str) -> Json:
    return (await stage.call("poll_status", target=run))["runs"][0]


async def test_vast1_a_stop_to_save_money_is_told_what_the_disk_goes_on_costing(stage: Stage) -> None:
    run, instance_id = await stage.rent("weekend")

    told = await stage.refused("stop_instance", target=run)

    assert "VAST1" in told
    assert "a day" in told
    assert "The instance was not stopped" in told
    assert stage.market.look(f"/instances/{instance_id}")["phase"] == "running"
    view = (await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"]))["runs"][0]
    assert {one["id"] for one in view["findings"]} >= {"VAST1", "VAST33"}
    kept = stage.services.journal.events(view["run"], kind=RULES_SAID)
    assert "acknowledged" in str(kept[-1].data)
    money = await stage.call("spend")
    assert run in money["stopped_but_billing"]
    assert "VAST1" in [one["id"] for one in money["findings"]]


async def test_vast2_a_destroy_before_a_proven_copy_is_refused(stage: Stage) -> None:
    run, instance_id = await stage.rent("hasty")
    await stage.trained(run)

    told = await stage.refused("destroy", target=run)

    assert "VAST2" in told
    assert "The instance was not destroyed" in told
    assert stage.there(instance_id)


async def test_vast3_waiting_for_a_gpu_that_was_rented_away_is_named_and_not_repeated(stage: Stage) -> None:
    run, instance_id = await stage.rent("patient")
    await stage.call("stop_instance", target=run, acknowledge=["VAST1", "VAST33"])
    stage.market.do(f"/instances/{instance_id}/rerent-gpu")
    await stage.call("resume_run", target=run, method="restart")
    stage.clock.pass_by(timedelta(seconds=40))

    view = await looked_at(stage, run)
    told = await stage.refused("resume_run", target=run, method="restart")

    assert (view["rule"], view["cause"], view["waits_help"]) == ("VAST3", "gpu-taken", False)
    assert "relaunch" in view["next_step"]
    assert "VAST3" in told


async def test_vast4_a_bid_without_a_checkpoint_plan_is_refused(stage: Stage) -> None:
    offer = await stage.offer("interruptible")

    told = await refused_to_rent(
        stage, offer, rental="interruptible", bid_usd_per_hour=round(offer["min_bid_usd_per_hour"] * 1.2, 4)
    )

    assert "VAST4" in told
    assert "0 s of notice" in told


async def test_vast4_a_preemption_is_explained_as_one_with_its_disk_kept(stage: Stage) -> None:
    run, instance_id = await stage.rent("spot", "interruptible")
    stage.market.do(f"/instances/{instance_id}/preempt", over_usd=0.05)

    view = await looked_at(stage, run)

    assert (view["rule"], view["cause"]) == ("VAST4", "out-bid")
    assert "disk is kept" in view["explanation"]


async def test_vast5_an_image_newer_than_the_driver_is_refused_with_both_versions(stage: Stage) -> None:
    offer = await stage.offer()
    stage.market.do(f"/machines/{offer['machine_id']}", cuda_max_good=12.1)

    told = await refused_to_rent(stage, offer, image="pytorch/pytorch:2.6.0-cuda12.6-cudnn9-runtime", disk_gib=30)

    assert "VAST5" in told
    assert "CUDA 12.6" in told
    assert "12.1" in told


async def test_vast5_an_image_that_hid_its_cuda_is_diagnosed_by_what_the_daemon_says(stage: Stage) -> None:
    offer = await stage.offer()
    stage.market.do(f"/machines/{offer['machine_id']}", cuda_max_good=12.1)
    view = await stage.create(offer, name="hidden", image="ada/cu126-train:v3")
    assert "VAST5" in [one["id"] for one in view["findings"]]

    view = (await stage.call("poll_status", target=view["run"], wait_s=20, until="running"))["runs"][0]

    assert (view["rule"], view["cause"], view["waits_help"]) == ("VAST5", "cuda-mismatch", False)


async def test_vast6_ports_are_capped_and_a_wish_for_a_fixed_one_is_corrected(stage: Stage) -> None:
    offer = await stage.offer()
    stage.market.do(f"/machines/{offer['machine_id']}", direct_port_count=64)
    told = await refused_to_rent(stage, offer, ports=[f"{n}:{n}" for n in range(8000, 8064)])
    assert "VAST6" in told
    assert "64" in told

    view = await stage.create(offer, name="dialled", ports=["33526:8081"])

    assert "VAST6" in [one["id"] for one in view["findings"]]
    ports: Json = {}
    for _ in range(50):  # the platform names them some seconds after the machine runs
        ports = ports or (await stage.running(view["run"]))["ports"]
    assert ports["8081/tcp"] != 8081


async def test_vast7_an_unverified_host_is_refused_even_when_the_search_was_loosened(stage: Stage) -> None:
    found = (await stage.call("search_offers", hours=1, disk_gib=16, verified=False, min_reliability=0, limit=32))[
        "offers"
    ]
    offer = next(
        one for one in found if ("VAST7", "block") in [(row["id"], row["severity"]) for row in one["findings"]]
    )

    told = await refused_to_rent(stage, offer)

    assert "VAST7" in told


async def test_vast7_a_host_that_left_is_not_waited_for(stage: Stage) -> None:
    run, instance_id = await stage.rent("vanished")
    stage.market.do(f"/instances/{instance_id}/vanish")

    view = await looked_at(stage, run)

    assert (view["rule"], view["cause"], view["waits_help"]) == ("VAST7", "host-gone", False)


async def test_vast8_much_data_over_a_host_without_direct_ports_needs_a_word(stage: Stage) -> None:
    offer = await stage.offer()
    stage.market.do(f"/machines/{offer['machine_id']}", direct_port_count=0)

    told = await refused_to_rent(stage, offer, download_gib=12)

    assert "VAST8" in told
    assert "12.9 GB" in told


async def test_vast9_a_cheap_gpu_with_dear_bytes_does_not_win_and_is_refused_with_the_sum(stage: Stage) -> None:
    job: Json = {"hours": 1, "disk_gib": 16, "download_gib": 200, "image": SLIM}
    first = (await stage.call("search_offers", **job))["offers"][0]
    stage.market.do(f"/machines/{first['machine_id']}", inet_up_cost=0.05)

    again = (await stage.call("search_offers", **job))["offers"]
    told = await refused_to_rent(stage, first, download_gib=200)

    assert again[0]["offer_id"] != first["offer_id"]
    assert "VAST9" in told
    assert "out $0.0500/GB" in told


async def test_vast10_a_disk_too_small_for_the_checkpoints_is_refused(stage: Stage) -> None:
    told = await refused_to_rent(stage, await stage.offer(), checkpoint_gib=5, kept_checkpoints=3)

    assert "VAST10" in told
    assert "16 GiB are asked for" in told


async def test_vast11_a_secret_in_the_environment_is_refused_by_place_and_not_repeated(stage: Stage) -> None:
    told = await refused_to_rent(stage, await stage.offer(), env={"HF_TOKEN": TOKEN})

    assert "VAST11" in told
    assert "env HF_TOKEN" in told
    assert TOKEN not in told


async def test_vast12_a_volume_does_not_travel_to_another_machine(stage: Stage) -> None:
    offers = (await stage.call("search_offers", hours=1, disk_gib=16, image=SLIM))["offers"]
    here = offers[0]
    there = next(one for one in offers if one["machine_id"] != here["machine_id"])
    asks = stage.market.api.post("/api/v0/volumes/search/", json={"machine_id": {"eq": there["machine_id"]}})
    ask = asks.json()["offers"][0]["id"]
    volume = stage.market.api.put("/api/v0/volumes/", json={"id": ask, "size": 10}).json()["new_contract"]

    told = await refused_to_rent(stage, here, volume_id=volume)

    assert "VAST12" in told
    assert str(there["machine_id"]) in told


async def test_vast13_a_pull_beyond_its_window_is_named_and_waiting_is_over(stage: Stage) -> None:
    view = await stage.create(await stage.offer(), name="fat", image="ada/fat-900gb:1", disk_gib=16)
    for _ in range(100):  # its window begins with the first look that shows it loading
        if (await looked_at(stage, view["run"]))["instance_phase"] == "loading":
            break
        await anyio.sleep(0.05)
    stage.clock.pass_by(timedelta(minutes=6))

    view = await looked_at(stage, view["run"])

    assert (view["instance_phase"], view["rule"], view["cause"]) == ("loading", "VAST13", "slow-image")
    assert not view["waits_help"]
    assert "source=daemon" in view["next_step"]


async def test_a_refusal_carries_its_findings_as_structure(stage: Stage) -> None:
    offer = await stage.offer()
    wanted: Json = {"name": "x", "offer_id": offer["offer_id"], "image": SLIM, "hours": 1, "disk_gib": 16}

    answer = await stage.client.call_tool("create_instance", {**wanted, "checkpoint_gib": 50})

    assert answer.is_error
    told = answer.structured_content
    assert told is not None
    assert told["error"] == "rule_violation"
    assert told["effect"] == "Nothing was rented."
    finding = next(one for one in told["findings"] if one["id"] == "VAST10")
    assert "16 GiB" in finding["seen"]
    assert finding["fix"]
    assert finding["passes_when"]
    assert finding["severity"] == "block"


def test_every_classic_has_its_scenario() -> None:
    told = Path(__file__).read_text(encoding="utf-8")

    assert {int(number) for number in re.findall(r"^async def test_vast(\d+)_", told, re.MULTILINE)} == set(
        range(1, 14)
    )
