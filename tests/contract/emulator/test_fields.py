"""Every field that decides a rental has its type, its unit and a plausible value, in offers, instances and volumes."""

import math
import re
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.unit.emulator.renter import Renter

display: Any = pytest.importorskip("vastai.cli.display", reason="the official CLI tells which fields it shows")
Json = dict[str, Any]
Fits = Callable[[Any], bool]
NOW_LEAST = 1_700_000_000
DAY = 86_400.0


def between(least: float, most: float, *, whole: bool = False) -> Fits:
    def fits(value: Any) -> bool:
        kind = int if whole else (int, float)
        return isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most

    return fits


def one_of(*values: Any) -> Fits:
    return lambda value: value in values


def text(pattern: str = r".+") -> Fits:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL) is not None


def truth(value: Any) -> bool:
    return isinstance(value, bool)


def numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) for one in cast("list[Any]", value))


def published(value: Any) -> bool:
    return {"22/tcp", "8080/tcp"} <= set(value) and int(value["22/tcp"][0]["HostPort"]) > 0


def adds_up(value: Any) -> bool:
    return math.isclose(value["totalHour"], value["gpuCostPerHour"] + value["diskHour"], abs_tol=1e-9)


ident = between(1, 10**12, whole=True)

MACHINE: dict[str, Fits] = {
    "machine_id": ident,
    "host_id": ident,
    "cpu_cores": between(2, 512, whole=True),
    "cpu_cores_effective": between(0.5, 512),
    "cpu_ghz": between(1.0, 7.0),
    "cpu_name": text(),
    "cpu_ram": between(8_000, 4_000_000, whole=True),  # MB
    "cuda_max_good": between(11.0, 14.0),
    "compute_cap": between(500, 1300, whole=True),  # capability times 100
    "disk_bw": between(100, 20_000),  # MB/s
    "driver_version": text(r"\d{3}\.\d+(\.\d+)?"),
    "duration": between(0, 400 * DAY),  # s left
    "end_date": between(NOW_LEAST, 1e10),
    "geolocation": text(r".+, [A-Z]{2}"),
    "gpu_name": text(r"[A-Z][A-Za-z0-9 ]+"),
    "gpu_ram": between(8_000, 200_000),  # MB
    "gpu_mem_bw": between(100, 10_000),  # GB/s
    "gpu_max_power": between(50, 1500),  # W
    "inet_up": between(1, 20_000),  # Mbit/s
    "inet_down": between(1, 20_000),
    "inet_up_cost": between(0, 0.2),  # USD a GB
    "inet_down_cost": between(0, 0.2),
    "pcie_bw": between(1, 130),
    "reliability2": between(0.5, 1.0),
    "static_ip": truth,
    "storage_cost": between(0.01, 2.0),  # USD a GB and month
    "verification": one_of("verified", "unverified", "deverified"),
}
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


def shown(table: str) -> list[str]:
    """Names of the fields that the official CLI prints in one of its tables."""
    return [row[0] for row in getattr(display, table)]


def wrong(row: Json, table: dict[str, Fits]) -> list[tuple[str, Any]]:
    return [(name, row.get(name, "absent")) for name, fits in table.items() if name not in row or not fits(row[name])]


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


def test_every_field_of_a_volume_that_the_cli_shows_is_there(renter: Renter) -> None:
    ask = renter.api.post("/api/v0/volumes/search/", json={}).json()["offers"][0]
    assert [name for name in shown("vol_displayable_fields") if name not in ask] == []
    renter.api.put("/api/v0/volumes/", json={"id": ask["id"], "size": 12})
    (volume,) = renter.api.get("/api/v0/volumes/").json()["volumes"]
    assert [name for name in shown("volume_fields") if name not in volume] == []
    assert volume["disk_space"] == 12
