"""Every quirk, on as it is by default, and off."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.quirks import ALL, Quirks
from remote_gpu_trainer.emulator.service import Emulator
from tests.unit.emulator.renter import PUBLIC_KEY, Renter


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Renter]:
    """A renter of an emulator with all its default quirks."""
    with Emulator(tmp_path / "state", speed=0, ssh="none") as ready, Renter(ready) as person:
        yield person


def off(renter: Renter, name: str) -> None:
    renter.do("/quirks", **{name: False})


def test_every_quirk_is_listed_with_its_state_and_nothing_else_can_be_switched(odd: Renter) -> None:
    listed = odd.look("/quirks")
    assert {name: entry["on"] for name, entry in listed.items()} == {quirk.name: quirk.default for quirk in ALL}
    assert odd.control.post("/quirks", json={"no-such": True}).status_code == 400
    with pytest.raises(KeyError):
        Quirks().switch("no-such", True)


def test_reads_lag_behind_a_create(odd: Renter) -> None:
    contract = odd.rent()
    assert odd.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}
    assert odd.api.get("/api/v1/instances/").json()["total_instances"] == 0
    odd.wait(2)
    assert odd.show(contract)["id"] == contract
    off(odd, "reads-lag")
    assert odd.show(odd.rent())


def test_a_destroyed_instance_reappears_once(odd: Renter) -> None:
    contract = odd.rent()
    odd.wait(5)
    odd.destroy(contract)
    path = f"/api/v0/instances/{contract}/"
    assert odd.api.get(path).json()["instances"] is None
    odd.wait(5)
    assert odd.api.get(path).json()["instances"]["id"] == contract
    assert odd.api.get("/api/v1/instances/").json()["total_instances"] == 1
    total = odd.cost(contract)["total_pico"]
    odd.wait(5)
    assert odd.api.get(path).json()["instances"] is None
    assert odd.cost(contract)["total_pico"] == total


def test_a_missing_instance_is_null_or_404(odd: Renter) -> None:
    assert odd.api.get("/api/v0/instances/12/").json() == {"instances": None}
    off(odd, "missing-is-null")
    assert odd.api.get("/api/v0/instances/12/").status_code == 404


def test_a_bad_key_is_404_or_401_and_none_is_401(odd: Renter) -> None:
    bad = {"Authorization": "Bearer nonsense"}
    answer = odd.api.get("/api/v1/instances/", headers=bad)
    assert (answer.status_code, answer.json()["error"]) == (404, "auth_error")
    off(odd, "bad-key-404")
    assert odd.api.get("/api/v1/instances/", headers=bad).status_code == 401
    assert odd.api.get("/api/v1/instances/", headers={"Authorization": ""}).status_code == 401
    assert odd.api.get("/api/v0/charges/", headers={"Authorization": ""}).status_code == 403


def test_a_clean_stop_is_exited_or_stopped(odd: Renter) -> None:
    contract = odd.running(odd.rent())
    odd.state(contract, "stopped")
    assert odd.words(contract)[0] == "exited"
    off(odd, "stop-is-exited")
    assert odd.words(contract)[0] == "stopped"


def test_the_old_list_is_gone_or_there(odd: Renter) -> None:
    answer = odd.api.get("/api/v0/instances/")
    assert (answer.status_code, answer.json()["error"]) == (410, "deprecated_endpoint")
    off(odd, "v0-list-retired")
    assert odd.api.get("/api/v0/instances/").json() == {"instances": []}


def test_jupyters_proxy_port_is_one_off(odd: Renter) -> None:
    contract = odd.running(odd.rent(runtype="jupyter_direc ssh_direc ssh_proxy"))
    port = odd.look(f"/instances/{contract}")["box"]["proxy_port"]
    assert odd.show(contract)["ssh_port"] == port - 1
    off(odd, "jupyter-port-off-by-one")
    assert odd.show(contract)["ssh_port"] == port


def test_ports_come_late_and_only_direct_rentals_have_port_22(odd: Renter) -> None:
    offer = odd.offer()
    odd.running(odd.rent(offer))
    contract = odd.rent(offer)
    while odd.look(f"/instances/{contract}")["phase"] != "running":
        odd.wait(1)
    assert odd.show(contract)["ports"] is None
    odd.wait(3)
    assert list(odd.show(contract)["ports"]) == ["22/tcp"]
    proxied = odd.running(odd.rent(offer, runtype="ssh_proxy"))
    assert odd.show(proxied)["ports"] == {}


def test_ports_are_null_while_loading_and_there_at_once_when_the_quirk_is_off(odd: Renter) -> None:
    off(odd, "ports-late")
    contract = odd.rent()
    seen: dict[str | None, set[bool]] = {}
    for _ in range(900):
        odd.wait(1)
        row = odd.api.get(f"/api/v0/instances/{contract}/").json()["instances"]
        if row is not None:
            seen.setdefault(row["actual_status"], set()).add(row["ports"] is not None)
        if "running" in seen:
            break
    assert seen == {None: {False}, "loading": {False}, "running": {True}}


def test_an_unavailable_offer_is_refused_when_nothing_is_rented_silently(odd: Renter) -> None:
    off(odd, "silent-unavailable")
    offer = odd.offer()
    odd.do("/strangers", machine_id=offer["machine_id"])
    gone = odd.create(offer, cancel_unavail=False)
    assert (gone.status_code, gone.json()["error"]) == (410, "no_such_ask")
    assert odd.look("/instances")["instances"] == []


def test_a_destroyed_instance_stays_away_when_nothing_reappears(odd: Renter) -> None:
    off(odd, "reappears")
    contract = odd.running(odd.rent())
    odd.destroy(contract)
    for _ in range(10):
        odd.wait(1)
        assert odd.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}


def test_the_create_answer_leaks_the_instances_key_or_not(odd: Renter) -> None:
    assert "instance_api_key" in odd.create(odd.offer()).json()
    off(odd, "create-leaks-key")
    assert set(odd.create(odd.offer()).json()) == {"success", "new_contract"}


def test_a_late_key_is_ignored_or_reaches_the_box(odd: Renter) -> None:
    contract = odd.rent()
    odd.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY})
    assert odd.look(f"/instances/{contract}")["ssh_keys"] == []
    off(odd, "late-keys-ignored")
    odd.api.post("/api/v0/ssh/", json={"ssh_key": PUBLIC_KEY.replace("AAAAI", "AAAAX", 1)})
    assert len(odd.look(f"/instances/{contract}")["ssh_keys"]) == 1


def test_an_expired_instance_is_deleted_or_kept(odd: Renter) -> None:
    off(odd, "expired-deleted")
    contract = odd.running(odd.rent())
    odd.do(f"/instances/{contract}/expire")
    odd.wait(72 * 3600)
    assert odd.show(contract)["cur_state"] == "stopped"


def test_the_command_runs_on_a_running_box_when_its_quirk_is_off(odd: Renter) -> None:
    contract = odd.running(odd.rent())
    off(odd, "command-stopped-only")
    assert odd.api.put(f"/api/v0/instances/command/{contract}/", json={"command": "ls"}).status_code == 200


def test_strangers_come_and_go_in_a_lively_market_and_not_in_a_quiet_one(odd: Renter) -> None:
    odd.wait(20 * 3600)
    first = {s["id"] for s in odd.look("/strangers")["strangers"]}
    assert first
    odd.wait(40 * 3600)
    second = {s["id"] for s in odd.look("/strangers")["strangers"]}
    assert first - second
    assert second - first
    off(odd, "lively-market")
    odd.wait(500 * 3600)
    assert odd.look("/strangers")["strangers"] == []


def test_hosts_go_and_mostly_return_by_themselves_the_unreliable_ones_more(odd: Renter) -> None:
    reliability = {row["machine_id"]: row["reliability2"] for row in odd.search(limit=500)}
    fallen: set[int] = set()
    returned: set[int] = set()
    for _ in range(60):
        odd.wait(4 * 3600)
        away = set(odd.look("/state")["offline_machines"])
        returned |= fallen - away
        fallen |= away
    assert len(returned) > len(fallen - returned) > 0
    mean = sum(reliability.values()) / len(reliability)
    assert sum(reliability[machine] for machine in fallen) / len(fallen) < mean


def test_an_instance_of_a_host_that_went_by_itself_is_offline_and_boots_again(odd: Renter) -> None:
    for row in odd.search(reliability2={"lt": 0.95}, num_gpus={"eq": 1}, rentable={"eq": True}):
        odd.rent(row, image="ubuntu", disk=8)
    seen: dict[int, list[str]] = {}
    for _ in range(40):
        odd.wait(2 * 3600)
        for held in odd.look("/instances")["instances"]:
            seen.setdefault(held["id"], []).append(held["phase"])
    histories = [" ".join(phases) for phases in seen.values()]
    assert any(re.search("running (offline )+running", history) for history in histories), histories


def test_a_quiet_market_loses_no_host(renter: Renter) -> None:
    renter.wait(2000 * 3600)
    assert renter.look("/state")["offline_machines"] == []
