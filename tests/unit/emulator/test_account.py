"""The account around the rentals: itself, its secrets, keys and templates, its older report, and empty lists."""

import json
from typing import Any

import httpx
import pytest

from tests.unit.emulator.renter import PUBLIC_KEY, Renter

Json = dict[str, Any]


def get(renter: Renter, path: str, **query: Any) -> Any:
    answer = renter.api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_settings_are_kept_and_unknown_ones_refused(renter: Renter) -> None:
    kept = renter.api.put("/api/v0/users/", json={"fullname": "Ada", "balance_threshold": 5, "ssh_key": PUBLIC_KEY})
    assert kept.json()["success"] is True
    user = get(renter, "/api/v0/users/current")
    assert (user["fullname"], user["balance_threshold"]) == ("Ada", 5)
    for body in ({"is_admin": True}, {}):
        assert renter.api.put("/api/v0/users/", json=body).status_code == 400


def test_environment_variables_are_kept_in_capitals_until_deleted(renter: Renter) -> None:
    where = "/api/v0/secrets/"
    assert renter.api.post(where, json={"key": "hf_token", "value": "a"}).json()["success"] is True
    assert renter.api.post(where, json={"key": "HF_TOKEN", "value": "b"}).json()["error"] == "existing_key"
    assert renter.api.put(where, json={"key": "HF_TOKEN", "value": "c"}).json()["success"] is True
    assert renter.api.put(where, json={"key": "OTHER", "value": "c"}).json()["error"] == "nonexistent_key"
    assert get(renter, where)["secrets"] == {"HF_TOKEN": "c"}
    assert renter.api.request("DELETE", where, json={"key": "HF_TOKEN"}).json()["success"] is True
    assert get(renter, where)["secrets"] == {}


def test_a_key_made_over_the_api_works_within_its_scope_until_it_is_deleted(renter: Renter) -> None:
    wanted: Json = {"api": {"user_read": {}}}
    made = renter.api.post("/api/v0/auth/apikeys/", json={"name": "reader", "permissions": wanted}).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    assert renter.api.get("/api/v0/users/current", headers=key).json()["key_id"] == made["id"]
    assert renter.api.get("/api/v1/instances/", headers=key).status_code == 401
    rows = {row["id"]: row for row in get(renter, "/api/v0/auth/apikeys/")["apikeys"]}
    assert (rows[made["id"]]["name"], rows[made["id"]]["rights"]) == ("reader", "limited")
    assert made["key"] not in json.dumps(rows)  # shown once
    assert renter.api.delete(f"/api/v0/auth/apikeys/{made['id']}/").status_code == 200
    assert renter.api.get("/api/v0/users/current", headers=key).json()["error"] == "auth_error"
    assert renter.api.delete(f"/api/v0/auth/apikeys/{made['id']}/").status_code == 404


def test_an_ssh_key_can_be_replaced_and_deleted(renter: Renter) -> None:
    made = renter.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY}).json()["key"]
    other = PUBLIC_KEY.replace("AAAAI", "AAAAX", 1)
    assert renter.api.put(f"/api/v0/ssh/{made['id']}/", json={"ssh_key": other}).status_code == 200
    (row,) = get(renter, "/api/v0/ssh/")
    assert (row["id"], row["public_key"]) == (made["id"], other)
    assert renter.api.delete(f"/api/v0/ssh/{made['id']}/").status_code == 200
    assert get(renter, "/api/v0/ssh/") == []


def test_templates_are_found_by_filter_changed_and_deleted(renter: Renter) -> None:
    where = "/api/v0/template/"
    made = [renter.api.post(where, json={"name": n, "image": "ubuntu"}).json()["template"] for n in ("one", "two")]
    again = renter.api.post(where, json={"name": "one", "image": "ubuntu"}).json()["template"]
    assert again["id"] == made[0]["id"]  # the same content is the same template
    wanted = json.dumps({"name": {"eq": "two"}})
    found = get(renter, where, select_filters=wanted)
    assert (found["templates_found"], found["templates"][0]["hash_id"]) == (1, made[1]["hash_id"])
    changed = renter.api.put(where, json={"hash_id": made[1]["hash_id"], "image": "debian"}).json()["template"]
    assert changed["id"] == made[1]["id"]
    assert changed["hash_id"] != made[1]["hash_id"]
    newer = {"id": changed["id"], "hash_id": changed["hash_id"], "desc": "d"}
    assert renter.api.put("/api/v1/template/", json=newer).json()["template"]["desc"] == "d"
    assert renter.api.request("DELETE", where, json={"template_id": changed["id"]}).status_code == 200
    assert [row["name"] for row in get(renter, where)["templates"]] == ["one"]
    assert renter.api.get(where, params={"select_filters": json.dumps({"nothing": {"eq": 1}})}).status_code == 400


def test_the_models_are_told_without_a_key(renter: Renter) -> None:
    named = httpx.get(renter.ready.url + "/api/v0/gpu_names/unique/", trust_env=False).json()["gpu_names"]
    assert set(named) >= {row["gpu_name"] for row in renter.search(limit=500)}


def test_contracts_are_fetched_by_label_and_id_and_filters_tell_what_there_is(renter: Renter) -> None:
    one, two = renter.running(renter.rent(label="a")), renter.rent(label="b")
    by_label = renter.api.post("/api/v0/contracts/fetch/", json={"label": "a"}).json()["contracts"]
    by_id = renter.api.post("/api/v0/contracts/fetch/", json={"contract_ids": [two]}).json()["contracts"]
    assert ([row["id"] for row in by_label], [row["id"] for row in by_id]) == ([one], [two])
    told = get(renter, "/api/v0/instances/filters/")["filters"]
    assert {row["actual_status"] for row in told} == {"running", None}
    assert {row["gpu_name"] for row in told} == {"RTX 4090"}


def test_the_older_report_adds_up_to_the_meter_and_lists_payments(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.wait(36 * 3600)
    found = get(renter, "/api/v0/users/me/invoices")
    rows = found["invoices"]
    charged = sum(float(row["amount"]) for row in rows if row["type"] == "charge")
    meter = renter.look("/meter")
    assert charged == pytest.approx(meter["total_usd"], abs=1e-5)
    assert {row["instance_id"] for row in rows if row["type"] == "charge"} == {contract}
    assert [row["amount"] for row in rows if row["type"] == "payment"] == ["100.00"]
    assert found["current"]["credit"] == pytest.approx(meter["balance_usd"], abs=1e-6)
    bare = get(renter, "/api/v0/users/me/invoices", inc_charges="false")["invoices"]
    assert {row["type"] for row in bare} == {"payment"}


def test_what_a_plain_renter_has_none_of_is_empty(renter: Renter) -> None:
    contract = renter.rent()
    assert get(renter, f"/api/v0/instances/balance/{contract}/")["refundable_deposit"] == 0
    assert get(renter, "/api/v0/users/me/ipaddrs")["results"][0]["ip_address"] == "127.0.0.1"
    assert get(renter, "/api/v0/tfa/status/")["tfa_enabled"] is False
    assert get(renter, "/api/v0/subaccounts/") == {"users": []}
    assert get(renter, "/api/v0/users/cloud_integrations/") == []
    assert get(renter, "/api/v0/commands/schedule_job/") == get(renter, "/api/v0/audit_logs/") == []
    assert get(renter, "/api/v0/instance_backups/") == {"backups": []}
    assert get(renter, "/api/v0/instances/pending-price-increases/")["pending_price_increases"] == []
