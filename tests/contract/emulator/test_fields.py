"""Every field that decides a rental has its type, its unit and a plausible value, in offers and instances."""

import math
from typing import Any, cast

import pytest

from tests.contract.emulator.plausible import (
    MACHINE,
    NOW_LEAST,
    Fits,
    between,
    ident,
    one_of,
    shown,
    text,
    truth,
    wrong,
)
from tests.unit.emulator.renter import Renter


def numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) for one in cast("list[Any]", value))


def published(value: Any) -> bool:
    return {"22/tcp", "8080/tcp"} <= set(value) and int(value["22/tcp"][0]["HostPort"]) > 0


def adds_up(value: Any) -> bool:
    return math.isclose(value["totalHour"], value["gpuCostPerHour"] + value["diskHour"], abs_tol=1e-9)


PRICED: dict[str, Fits] = {
    "dph_base": between(0.005, 200),  # USD an hour
    "dph_total": between(0.005, 200),
    "min_bid": between(0.001, 200),
    "num_gpus": between(1, 16, whole=True),
    "gpu_frac": between(0.05, 1.0),
    "dlperf": between(1, 5_000),
    "dlperf_per_dphtotal": between(1, 100_000),
    "flops_per_dphtotal": between(1, 100_000),
    "score": between(0.01, 100_000),
    "direct_port_count": between(0, 1_000, whole=True),
    "disk_space": between(5, 20_000),  # GB
    "is_bid": truth,
    "rentable": truth,
    "storage_total_cost": between(0, 10),  # USD an hour
}
OFFER: dict[str, Fits] = (
    MACHINE
    | PRICED
    | {
        "id": ident,
        "ask_contract_id": ident,
        "gpu_ids": numbers,
        "gpu_total_ram": between(8_000, 4_000_000),
        "reliability": between(0.5, 1.0),
        "rented": truth,
        "public_ipaddr": text(r"\d+\.\d+\.\d+\.\d+"),
    }
)
INSTANCE: dict[str, Fits] = (
    MACHINE
    | PRICED
    | {
        "id": ident,
        "actual_status": one_of("running"),
        "intended_status": one_of("running"),
        "cur_state": one_of("running"),
        "next_state": one_of("running"),
        "status_msg": text(r"success, running .+/ssh"),
        "label": text(),
        "image_uuid": text(r"[^:]+:[^:]+"),
        "image_runtype": text(r"ssh_direc ssh_proxy"),
        "extra_env": one_of([["A", "b"], ["-p 8080:8080", "1"]]),
        "onstart": text(),
        "jupyter_token": text(r"[0-9a-f]{64}"),
        "ssh_host": text(r"127\.0\.0\.1"),
        "ssh_idx": text(r"\d+"),
        "ssh_port": between(1, 65_535, whole=True),
        "public_ipaddr": text(r"127\.0\.0\.1"),
        "local_ipaddrs": text(),
        "machine_dir_ssh_port": between(0, 65_535, whole=True),
        "ports": published,
        "start_date": between(NOW_LEAST, 1e10),
        "uptime_mins": between(1, 10_000),
        "gpu_util": between(0, 100),
        "gpu_temp": between(0, 120),
        "gpu_totalram": between(8_000, 4_000_000),
        "disk_usage": between(0, 20),  # GB
        "disk_util": between(0, 1),
        "mem_limit": between(1, 4_000),  # GB
        "inet_up_billed": between(0, 1e15),  # bytes
        "inet_down_billed": between(0, 1e15),
        "instance": adds_up,
    }
)
FACTS_OFFER = (
    "id ask_contract_id machine_id host_id gpu_name num_gpus gpu_ram dph_total dph_base min_bid storage_cost "
    "inet_up_cost inet_down_cost inet_up inet_down reliability2 verification direct_port_count cuda_max_good "
    "driver_version disk_space duration dlperf_per_dphtotal geolocation compute_cap"
).split()
FACTS_INSTANCE = (
    "actual_status intended_status cur_state next_state status_msg ssh_host ssh_port image_runtype public_ipaddr "
    "ports start_date extra_env dph_total end_date label inet_up_billed inet_down_billed instance"
).split()


def test_the_tables_cover_what_the_cli_shows_and_the_facts_name() -> None:
    assert set(shown("displayable_fields")) | set(FACTS_OFFER) <= OFFER.keys()
    assert set(shown("instance_fields")) | set(FACTS_INSTANCE) <= INSTANCE.keys()


@pytest.mark.parametrize("kind", ["on-demand", "bid"])
def test_every_offer_is_plausible_in_every_field(renter: Renter, kind: str) -> None:
    offers = renter.search(type=kind, limit=500)
    assert len(offers) >= 60
    for offer in offers:
        assert wrong(offer, OFFER) == []
        assert offer["dph_total"] == pytest.approx(offer["dph_base"] + offer["storage_total_cost"])
        assert offer["storage_total_cost"] == pytest.approx(offer["storage_cost"] * 8 / 720)
        assert offer["gpu_total_ram"] == offer["gpu_ram"] * offer["num_gpus"]
        assert offer["is_bid"] is (kind == "bid")


def test_every_field_of_a_running_instance_is_plausible(renter: Renter) -> None:
    contract = renter.running(renter.rent(label="fields", onstart="true", env={"A": "b", "-p 8080:8080": "1"}))
    row = renter.show(contract)
    assert wrong(row, INSTANCE) == []
    listed = renter.api.get("/api/v1/instances/").json()["instances"][0]
    assert wrong(listed, INSTANCE) == []
    assert row["dph_total"] == pytest.approx(row["dph_base"] + row["storage_cost"] * row["disk_space"] / 720)
