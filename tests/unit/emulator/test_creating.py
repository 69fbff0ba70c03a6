"""Renting: what is refused and how, what is set, and what the box is told."""

from typing import Any

import pytest

from tests.unit.emulator.renter import PUBLIC_KEY, Renter


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"image": None}, "invalid_args"),
        ({"image": ""}, "invalid_args"),
        ({"onstart": "x" * 4097}, "invalid_args"),
        ({"onstart": "x" * 4000, "args": ["y" * 100]}, "invalid_args"),
        ({"price": 0.0001}, "invalid_price"),
        ({"price": 129}, "invalid_price"),
        ({"price": "cheap"}, "invalid_args"),
        ({"label": "l" * 257}, "invalid_args"),
        ({"env": {"A": "v" * 257}}, "invalid_args"),
        ({"env": {f"A{i}": "v" * 250 for i in range(140)}}, "invalid_args"),
        ({"env": {f"-p {i}:{i}": "1" for i in range(1000, 1065)}}, "invalid_args"),
        ({"env": ["A"]}, "invalid_args"),
        ({"disk": 1e9}, "invalid_args"),
        ({"template_hash_id": "nothing"}, "invalid_args"),
    ],
)
def test_a_create_beyond_the_limits_is_refused_and_rents_nothing(
    renter: Renter, body: dict[str, Any], error: str
) -> None:
    answer = renter.create(renter.offer(), **body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert renter.look("/instances")["instances"] == []


@pytest.mark.parametrize("place", ["/", "/root", "/etc/x", "/usr", "data", "", "/a/../etc", "/a:b", 7, None])
def test_a_volume_is_not_mounted_over_the_system(renter: Renter, place: Any) -> None:
    offer = renter.offer()
    ask = renter.api.post("/api/v0/volumes/search/", json={"machine_id": {"eq": offer["machine_id"]}}).json()["offers"][
        0
    ]
    wish = {"create_new": True, "volume_id": ask["id"], "size": 20, "mount_path": place}
    answer = renter.create(offer, volume_info=wish)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_args")
    assert renter.api.get("/api/v0/volumes/").json()["volumes"] == []


def test_an_offer_that_is_gone_is_404_with_its_code(renter: Renter) -> None:
    answer = renter.create({"id": 424_242})
    assert answer.status_code == 404
    assert answer.json()["msg"].startswith("error 404/3603: no_such_ask")
    assert answer.json()["ask_id"] == 424_242


def test_an_unavailable_offer_is_410_when_asked_to_cancel_and_else_a_stopped_instance_that_bills(
    renter: Renter,
) -> None:
    offer = renter.offer()
    renter.do("/strangers", machine_id=offer["machine_id"])
    gone = renter.create(offer, cancel_unavail=True)
    assert (gone.status_code, gone.json()["error"]) == (410, "no_such_ask")
    default = renter.create(offer)
    assert default.status_code == 410
    silent = renter.rent(offer, cancel_unavail=False)
    assert renter.words(silent) == (None, "running", "stopped", "running")
    renter.wait(3600)
    assert renter.cost(silent)["gpu_pico"] == 0
    assert renter.cost(silent)["disk_pico"] > 0


def test_a_bid_below_the_minimum_is_refused_and_still_leaves_an_instance_that_bills(renter: Renter) -> None:
    offer = renter.offer(type="bid")
    answer = renter.create(offer, price=round(offer["min_bid"] / 2, 4))
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    contract = answer.json()["new_contract"]
    assert renter.words(contract) == (None, "stopped", "stopped", "stopped")
    renter.wait(3600)
    assert renter.cost(contract)["total_pico"] > 0
    renter.do("/quirks", **{"refused-create-bills": False})
    plain = renter.create(offer, price=round(offer["min_bid"] / 2, 4))
    assert plain.status_code == 400
    assert "new_contract" not in plain.json()


def test_a_bid_search_without_a_price_rents_on_demand(renter: Renter) -> None:
    contract = renter.rent(renter.offer(type="bid"))
    row = renter.show(contract)
    assert row["is_bid"] is False
    assert row["dph_base"] > row["min_bid"]


def test_the_box_is_told_its_id_and_the_environment_of_the_create_call(renter: Renter) -> None:
    contract = renter.rent(env={"HF_TOKEN": "t", "-p 8080:8080": "1", "-h": "billy"}, onstart="echo hi", label="rgt/x")
    row = renter.show(contract)
    assert sorted(row["extra_env"]) == [["-h", "billy"], ["-p 8080:8080", "1"], ["HF_TOKEN", "t"]]
    assert (row["onstart"], row["label"]) == ("echo hi", "rgt/x")
    held = renter.look(f"/instances/{contract}")
    outer = row["ports"] or renter.look(f"/instances/{contract}")["order"]["env"]["VAST_TCP_PORT_8080"]
    assert held["order"]["env"] | {"CONTAINER_API_KEY": ""} == {
        "VAST_TCP_PORT_8080": outer,
        "HF_TOKEN": "t",
        "CONTAINER_ID": str(contract),
        "VAST_CONTAINERLABEL": f"C.{contract}",
        "CONTAINER_API_KEY": "",
        "PUBLIC_IPADDR": "127.0.0.1",
    }
    assert held["order"]["hostname"] == "billy"


def test_an_environment_may_be_docker_options_in_one_text(renter: Renter) -> None:
    contract = renter.rent(env="-e A=b=c -p 80:80 -h host")
    assert sorted(renter.show(contract)["extra_env"]) == [["-h", "host"], ["-p 80:80", "1"], ["A", "b=c"]]


def test_keys_of_the_account_at_create_open_the_box_and_later_ones_do_not(renter: Renter) -> None:
    first = renter.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY}).json()["key"]
    contract = renter.rent()
    other = PUBLIC_KEY.replace("AAAAI", "AAAAX", 1)
    renter.api.post("/api/v0/ssh/", json={"ssh_key": other})
    attached = renter.api.get(f"/api/v0/instances/{contract}/ssh/").json()["ssh_keys"]
    assert [key["id"] for key in attached] == [first["id"]]
    renter.api.post(f"/api/v0/instances/{contract}/ssh/", json={"ssh_key": other})
    attached = renter.api.get(f"/api/v0/instances/{contract}/ssh/").json()["ssh_keys"]
    assert len(attached) == 2
    gone = renter.api.request("DELETE", f"/api/v0/instances/{contract}/ssh/{first['id']}/")
    assert gone.json()["success"] is True
    assert len(renter.api.get(f"/api/v0/instances/{contract}/ssh/").json()["ssh_keys"]) == 1
    assert renter.api.request("DELETE", f"/api/v0/instances/{contract}/ssh/1/").json()["error"] == "no_such_ssh_key"


@pytest.mark.parametrize("key", ["", "not a key", "/home/me/.ssh/id_rsa.pub", "AAAAB3 without-type", 7])
def test_what_is_no_public_key_is_refused(renter: Renter, key: Any) -> None:
    assert renter.api.post("/api/v0/ssh/", json={"ssh_key": key}).status_code == 400


def test_several_offers_rent_at_once_and_failures_are_told_beside(renter: Renter) -> None:
    offers = renter.search(verified={"eq": True}, num_gpus={"eq": 1}, limit=2)
    ids = [offer["id"] for offer in offers]
    answer = renter.api.post("/api/v0/asks/bulk/", json={"ids": [*ids, 1], "image": "ubuntu", "disk": 10}).json()
    assert answer["success"] is False
    assert len(answer["new_contracts"]) == 2
    assert answer["errors"][0]["ask_id"] == 1
    stopped = renter.api.put("/api/v0/instances/", json={"ids": answer["new_contracts"], "state": "stopped"})
    assert stopped.json() == {"success": True}
    gone = renter.api.request("DELETE", "/api/v0/instances/", json={"instance_ids": answer["new_contracts"]})
    assert gone.json() == {"success": True}


def test_a_template_gives_defaults_that_the_call_wins_over(renter: Renter) -> None:
    made = renter.api.post(
        "/api/v0/template/", json={"name": "t", "image": "ubuntu:22.04", "env": "-e A=1 -e B=2", "onstart": "echo t"}
    ).json()["template"]
    contract = renter.rent(image=None, template_hash_id=made["hash_id"], env={"B": "3"})
    row = renter.show(contract)
    assert (row["image_uuid"], row["onstart"], row["template_id"]) == ("ubuntu:22.04", "echo t", made["id"])
    assert dict(row["extra_env"]) == {"A": "1", "B": "3"}
