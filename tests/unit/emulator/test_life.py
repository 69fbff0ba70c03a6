"""A rental's life over HTTP: the four words, the message and the meter at every station."""

import pytest

from tests.unit.emulator.renter import Renter


def test_a_rental_boots_through_created_and_loading_to_running(renter: Renter) -> None:
    contract = renter.rent()
    assert renter.words(contract) == (None, "running", "running", "running")
    renter.wait(10)
    assert renter.words(contract) == ("loading", "running", "running", "running")
    assert "pytorch" in renter.show(contract)["status_msg"] or "Downloading" in renter.show(contract)["status_msg"]
    renter.running(contract)
    assert renter.show(contract)["status_msg"].startswith("success, running pytorch/pytorch")


def test_gpu_time_is_billed_only_while_running_and_disk_from_creation(renter: Renter) -> None:
    contract = renter.rent()
    renter.wait(10)
    before = renter.cost(contract)
    assert before["gpu_pico"] == 0
    assert before["disk_pico"] > 0
    renter.running(contract)
    one = renter.cost(contract)
    renter.wait(3600)
    hour = renter.cost(contract)
    row = renter.show(contract)
    assert hour["gpu_pico"] - one["gpu_pico"] == round(row["dph_base"] * 1e12)
    assert (hour["disk_pico"] - one["disk_pico"]) / 1e12 == pytest.approx(row["storage_cost"] * 20 / 720)
    assert row["instance"]["totalHour"] == pytest.approx(row["dph_base"] + row["storage_cost"] * 20 / 720)


def test_a_stop_ends_the_gpu_bill_and_not_the_disk_bill(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    dph_total = renter.show(contract)["dph_total"]
    assert renter.state(contract, "stopped").json() == {"success": True}
    assert renter.words(contract) == ("exited", "stopped", "stopped", "stopped")
    assert renter.show(contract)["status_msg"].startswith("success, running")
    stopped = renter.cost(contract)
    renter.wait(86_400)
    later = renter.cost(contract)
    assert later["gpu_pico"] == stopped["gpu_pico"]
    assert later["disk_pico"] > stopped["disk_pico"]
    row = renter.show(contract)
    assert row["dph_total"] == dph_total
    assert row["instance"]["gpuCostPerHour"] == 0
    assert row["instance"]["totalHour"] == pytest.approx(row["storage_cost"] * 20 / 720)


def test_a_start_after_a_stop_runs_again_when_its_gpu_is_free(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.state(contract, "stopped")
    renter.state(contract, "running")
    assert renter.words(contract) == ("loading", "running", "running", "running")
    renter.wait(30)
    assert renter.words(contract) == ("running", "running", "running", "running")


def test_a_stopped_instance_waits_for_its_own_gpu_while_others_of_the_machine_are_for_rent(renter: Renter) -> None:
    offer = renter.offer()
    contract = renter.running(renter.rent(offer))
    renter.state(contract, "stopped")
    renter.do(f"/instances/{contract}/rerent-gpu")
    renter.state(contract, "running")
    renter.wait(600)
    assert renter.words(contract) == ("exited", "running", "stopped", "running")
    again = renter.search(machine_id={"eq": offer["machine_id"]}, num_gpus={"eq": 1}, rentable={"eq": True})
    assert [row["id"] for row in again] == [offer["id"]]
    renter.do(f"/instances/{contract}/restore")
    renter.wait(30)
    assert renter.words(contract)[0] == "running"


def test_an_outbid_instance_stops_at_once_keeps_its_disk_and_comes_back_when_the_bidder_leaves(renter: Renter) -> None:
    contract = renter.running(renter.bid())
    renter.do(f"/instances/{contract}/preempt", for_s=1800)
    assert renter.words(contract) == ("exited", "running", "stopped", "running")
    assert renter.look(f"/instances/{contract}")["box"]["running"] is False
    gpu = renter.cost(contract)["gpu_pico"]
    renter.wait(1700)
    assert renter.cost(contract)["gpu_pico"] == gpu
    renter.wait(200)
    assert renter.words(contract)[0] == "running"


def test_on_demand_takes_the_gpu_from_any_bid(renter: Renter) -> None:
    offer = renter.offer(type="bid")
    renter.do("/strangers", machine_id=offer["machine_id"], gpu_ids=[1, 2, 3])
    contract = renter.running(renter.rent(offer, price=30))
    other = renter.running(renter.rent(offer))
    assert renter.words(contract) == ("exited", "running", "stopped", "running")
    assert renter.look(f"/instances/{contract}")["gpu_ids"] == renter.look(f"/instances/{other}")["gpu_ids"]
    renter.destroy(other)
    renter.wait(30)
    assert renter.words(contract)[0] == "running"


def test_the_higher_of_two_bids_runs_and_the_lower_one_waits_for_it_to_end(renter: Renter) -> None:
    offer = renter.offer(type="bid")
    renter.do("/strangers", machine_id=offer["machine_id"], gpu_ids=[1, 2, 3])  # one GPU is left to bid for
    low = renter.running(renter.rent(offer, price=0.5))
    high = renter.running(renter.rent(offer, price=0.6))
    assert [renter.words(number)[0] for number in (low, high)] == ["exited", "running"]
    equal = renter.create(offer, price=0.6)
    assert equal.status_code == 400  # at one price who holds keeps
    renter.wait(900)
    assert renter.words(high)[0] == "running"
    renter.destroy(high)
    renter.wait(60)
    assert renter.words(low)[0] == "running"


def test_a_raised_bid_wins_the_gpu_back(renter: Renter) -> None:
    contract = renter.running(renter.bid())
    renter.do(f"/instances/{contract}/preempt", over_usd=0.05)
    price = renter.show(contract)["dph_base"]
    lower = renter.api.put(f"/api/v0/instances/bid_price/{contract}/", json={"client_id": "me", "price": price + 0.01})
    assert lower.json() == {"success": True}
    renter.wait(60)
    assert renter.words(contract)[0] == "exited"
    renter.api.put(f"/api/v0/instances/bid_price/{contract}/", json={"client_id": "me", "price": price + 0.1})
    renter.wait(60)
    assert renter.words(contract)[0] == "running"
    assert renter.show(contract)["dph_base"] == pytest.approx(price + 0.1)


def test_the_least_bid_of_an_instance_is_that_of_its_own_gpu_and_a_bid_without_a_price_takes_it(renter: Renter) -> None:
    contract = renter.running(renter.bid())
    assert renter.show(contract)["min_bid"] == pytest.approx(renter.offer(type="bid")["min_bid"])
    renter.do(f"/instances/{contract}/preempt", over_usd=0.05)
    row = renter.show(contract)
    assert row["min_bid"] == pytest.approx((row["dph_base"] + 0.05) * 1.02)
    assert renter.offer(type="bid")["min_bid"] < row["min_bid"]  # others of the machine are free
    renter.api.put(f"/api/v0/instances/bid_price/{contract}/", json={"client_id": "me"})
    renter.wait(60)
    assert renter.words(contract)[0] == "running"
    assert renter.show(contract)["dph_base"] == pytest.approx(row["min_bid"])


def test_the_price_of_an_on_demand_rental_cannot_be_changed(renter: Renter) -> None:
    contract = renter.rent()
    answer = renter.api.put(f"/api/v0/instances/bid_price/{contract}/", json={"client_id": "me", "price": 1})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_args")


def test_an_offline_host_bills_nothing_and_its_instance_boots_again_when_it_returns(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.do(f"/instances/{contract}/vanish")
    assert renter.words(contract)[0] == "offline"
    at = renter.cost(contract)["total_pico"]
    renter.wait(7200)
    assert renter.cost(contract)["total_pico"] == at
    assert renter.show(contract)["instance"]["totalHour"] == 0
    renter.do(f"/instances/{contract}/return")
    renter.wait(30)
    assert renter.words(contract)[0] == "running"


def test_the_end_date_stops_an_instance_and_deletes_it_two_days_later(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.do(f"/instances/{contract}/expire")
    assert renter.words(contract) == ("exited", "stopped", "stopped", "stopped")
    assert renter.state(contract, "running").status_code == 400
    renter.wait(47 * 3600)
    assert renter.show(contract)["id"] == contract
    renter.wait(2 * 3600)
    assert renter.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}


def test_a_reboot_keeps_the_gpu_and_the_bill(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    assert renter.api.put(f"/api/v0/instances/reboot/{contract}/", json={}).json() == {"success": True}
    assert renter.words(contract) == ("rebooting", "running", "running", "running")
    before = renter.cost(contract)["gpu_s"]
    renter.wait(60)
    assert renter.words(contract)[0] == "running"
    assert renter.cost(contract)["gpu_s"] == pytest.approx(before + 60)


def test_a_recycle_pulls_the_image_anew(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    assert renter.api.put(f"/api/v0/instances/recycle/{contract}/", json={}).status_code == 200
    renter.wait(60)  # a cached image would be up by now
    assert renter.words(contract)[0] == "loading"
    renter.running(contract)


def test_destroy_ends_the_meter_and_frees_the_offer(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    assert renter.destroy(contract).json()["success"] is True
    assert renter.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}
    total = renter.cost(contract)["total_pico"]
    renter.wait(86_400)
    assert renter.cost(contract)["total_pico"] == total
    again = renter.destroy(contract)
    assert (again.status_code, again.json()["error"]) == (404, "no_such_instance")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("acme/does-not-exist:1", "manifest unknown"),
        ("nvidia/cuda:13.0.1-runtime-ubuntu22.04", "please update your driver"),
        ("acme/train:@vastai-automatic-tag", "manifest unknown"),
    ],
)
def test_an_image_that_cannot_start_stays_created_with_the_daemons_words_and_bills_its_disk(
    renter: Renter, image: str, words: str
) -> None:
    contract = renter.rent(renter.offer(cuda_max_good={"lt": 13.0, "gte": 12.4}), image=image)
    renter.wait(3600)
    assert renter.words(contract) == ("created", "running", "running", "running")
    assert words in renter.show(contract)["status_msg"]
    assert renter.cost(contract)["gpu_pico"] == 0
    assert renter.cost(contract)["disk_pico"] > 0


def test_a_cached_image_boots_in_seconds(renter: Renter) -> None:
    offer = renter.offer()
    renter.running(renter.rent(offer))
    second = renter.rent(offer)
    renter.wait(20)
    assert renter.words(second)[0] == "running"


def test_a_container_that_ends_by_itself_is_exited_though_wished_running(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.do(f"/instances/{contract}/exit")
    assert renter.words(contract) == ("exited", "running", "running", "running")
