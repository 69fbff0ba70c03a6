"""What it costs: charges add up to the meter to the cent, the balance runs out, volumes outlive instances."""

import json
import re
from typing import Any

import pytest

from tests.unit.emulator.renter import Renter

DAY = 86_400


def charges(renter: Renter, **more: Any) -> dict[str, Any]:
    day = {"gte": 0, "lte": 4_000_000_000}
    params = {"select_filters": json.dumps({"day": day}), **more}
    answer = renter.api.get("/api/v0/charges/", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_charges_add_up_to_the_meter_over_days_and_kinds(renter: Renter) -> None:
    one, two = renter.running(renter.rent(label="a")), renter.running(renter.bid())
    volume = renter.api.post("/api/v0/volumes/search/", json={"disk_space": {"gte": 30}}).json()["offers"][0]
    renter.api.put("/api/v0/volumes/", json={"id": volume["id"], "size": 30})
    renter.wait(2.5 * DAY)
    renter.state(one, "stopped")
    renter.wait(1.2 * DAY)
    renter.destroy(two)
    renter.wait(DAY / 3)
    rows = charges(renter)["results"]
    meter = renter.look("/meter")
    assert sum(row["amount"] for row in rows) == pytest.approx(meter["total_usd"], abs=1e-9)
    assert {row["type"] for row in rows} == {"instance", "volume"}
    for row in rows:
        assert sum(item["amount"] for item in row["items"]) == pytest.approx(row["amount"], abs=1e-9)
    user = renter.api.get("/api/v0/users/current").json()
    assert user["balance"] == pytest.approx(100 - meter["total_usd"], abs=0.005)


def test_what_a_charge_says_of_hours_and_price_multiplies_to_its_amount_after_a_rebid_too(renter: Renter) -> None:
    contract = renter.running(renter.bid())
    renter.wait(3 * 3600)
    renter.api.put(f"/api/v0/instances/bid_price/{contract}/", json={"client_id": "me", "price": 0.9})
    renter.wait(2 * 3600)
    (row,) = charges(renter)["results"]
    for item in row["items"]:
        hours, price = re.findall(r"[\d.]+", item["description"])
        assert float(hours) * float(price) == pytest.approx(item["amount"], rel=1e-3)


def test_charges_of_single_days_add_up_to_those_of_all_days(renter: Renter) -> None:
    renter.running(renter.rent())
    renter.wait(3 * DAY)
    first = int(renter.look("/state")["now"] // DAY) - 5
    total = 0.0
    for day in range(first, first + 7):
        wanted = json.dumps({"day": {"gte": day * DAY, "lte": day * DAY + DAY - 1}})
        found = renter.api.get("/api/v0/charges/", params={"select_filters": wanted}).json()["results"]
        total += sum(row["amount"] for row in found)
    assert total == pytest.approx(renter.look("/meter")["total_usd"], abs=1e-9)


def test_charges_page_by_token_and_need_their_days(renter: Renter) -> None:
    offer = renter.offer()
    for _ in range(3):
        renter.rent(offer, image="ubuntu")
    renter.wait(60)
    first = charges(renter, limit="2")
    assert (first["count"], first["total"]) == (2, 3)
    rest = charges(renter, limit="2", after_token=first["next_token"])
    assert (rest["count"], rest["next_token"]) == (1, None)
    assert renter.api.get("/api/v0/charges/").json() == {
        "success": False,
        "msg": "Must provide both 'day' gte and lte filters for instance charges",
    }


def test_payments_are_invoices_and_a_missing_range_is_200_without_success(renter: Renter) -> None:
    wanted = json.dumps({"when": {"gte": 0, "lte": 4e9}})
    rows = renter.api.get("/api/v1/invoices/", params={"select_filters": wanted}).json()["results"]
    assert [(row["type"], row["amount"]) for row in rows] == [("credit", -100.0)]
    missing = renter.api.get("/api/v1/invoices/")
    assert (missing.status_code, missing.json()["success"]) == (200, False)


def test_an_empty_account_warns_stops_and_deletes_after_the_grace(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    burn = renter.look("/meter")["burn_usd_per_hour"]
    renter.do("/account", balance_usd=burn * 4)
    renter.wait(4 * 3600 - 10)
    assert renter.words(contract)[0] == "running"
    renter.wait(20)
    assert renter.words(contract) == ("exited", "stopped", "stopped", "stopped")
    assert "insufficient credit" in renter.show(contract)["status_msg"]
    assert renter.state(contract, "running").status_code == 400
    assert renter.create(renter.offer()).json()["error"] == "insufficient_credit"
    renter.wait(23 * 3600)
    assert renter.look("/meter")["balance_usd"] < 0
    assert renter.show(contract)["id"] == contract
    renter.wait(2 * 3600)
    assert renter.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}
    said = [event["what"] for event in renter.look("/state")["events"]]
    assert said.index("low credit warning") < said.index("credit used up")


def test_credit_added_in_time_or_a_saved_card_keeps_the_data(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.do("/account", balance_usd=0.01, card=True)
    renter.wait(30 * 3600)
    assert renter.words(contract)[2] == "stopped"
    renter.do("/account", balance_usd=5)
    assert renter.state(contract, "running").status_code == 200
    renter.wait(60)
    assert renter.words(contract)[0] == "running"


def test_a_volume_bills_on_after_its_instance_until_it_is_deleted(renter: Renter) -> None:
    ask = renter.api.post("/api/v0/volumes/search/", json={}).json()["offers"][0]
    number = renter.api.put("/api/v0/volumes/", json={"id": ask["id"], "size": 10}).json()["new_contract"]
    renter.wait(DAY)
    before = renter.look("/meter")["contracts"][str(number)]
    assert before["disk_s"] == pytest.approx(DAY)
    assert before["total_usd"] == pytest.approx(ask["storage_cost"] * 10 / 30)
    deleted = renter.api.request("DELETE", "/api/v0/volumes/", json={"id": number})
    assert deleted.json() == {"success": True}
    renter.wait(DAY)
    assert renter.look("/meter")["contracts"][str(number)]["total_pico"] == before["total_pico"]
    assert renter.api.request("DELETE", "/api/v0/volumes/", json={"id": number}).status_code == 404
