"""Offers as the search shows them: every field of the platform's answer, priced for one rental type and disk size."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from remote_gpu_trainer.emulator.book import Machine, Offer
from remote_gpu_trainer.emulator.contracts import Contract
from remote_gpu_trainer.emulator.filters import BadQuery, as_filters, matches, ordered
from remote_gpu_trainer.emulator.money import HOURS_PER_MONTH
from remote_gpu_trainer.emulator.world import World

DEFAULT_LIMIT = 64
DEFAULT_STORAGE_GB = 8.0
"""Disk that a search prices when ``allocated_storage`` is not sent (OpenAPI 2026-08)."""
TYPES = {
    "on-demand": "on-demand",
    "ondemand": "on-demand",
    "bid": "bid",
    "interruptible": "bid",
    "reserved": "reserved",
}
_CONTROLS = frozenset(
    {"order", "type", "limit", "allocated_storage", "disable_bundling", "sort_option", "resource_type"}
)
_DERIVED = frozenset({"verified", "datacenter", "ubuntu_version", "country"})


def drivers_number(version: str) -> int:
    """A driver version as one number, three digits a part: 570.124.04 is 570124004."""
    parts = [*version.split("."), "0", "0"][:3]
    return int("".join(part.zfill(3) for part in parts))


def machine_fields(machine: Machine, now: float) -> dict[str, Any]:
    """What an offer, a volume offer and an instance all tell about a machine."""
    return {
        "machine_id": machine.id,
        "host_id": machine.host_id,
        "hosting_type": 1 if machine.datacenter else 0,
        "cpu_arch": "amd64",
        "cpu_cores": machine.cpu_cores,
        "cpu_ghz": machine.cpu_ghz,
        "cpu_name": machine.cpu_name,
        "cpu_ram": machine.cpu_ram_mb,
        "cuda_max_good": machine.cuda_max_good,
        "disk_bw": machine.disk_bw,
        "disk_name": machine.disk_name,
        "driver_version": machine.driver_version,
        "driver_vers": drivers_number(machine.driver_version),
        "geolocation": machine.geolocation,
        "geolocode": sum(ord(c) << (8 * i) for i, c in enumerate(machine.geolocation[-2:])),
        "gpu_arch": "nvidia",
        "gpu_name": machine.gpu.name,
        "gpu_ram": machine.gpu.ram_mib,
        "gpu_mem_bw": machine.gpu.mem_bw,
        "gpu_max_power": machine.gpu.power_w,
        "gpu_max_temp": 88,
        "gpu_lanes": 16,
        "bw_nvlink": machine.gpu.nvlink,
        "compute_cap": machine.gpu.compute_cap,
        "has_avx": 1,
        "inet_down": machine.inet_down,
        "inet_down_cost": machine.inet_down_cost,
        "inet_up": machine.inet_up,
        "inet_up_cost": machine.inet_up_cost,
        "internet_up_cost_per_tb": machine.inet_up_cost * 1000,
        "internet_down_cost_per_tb": machine.inet_down_cost * 1000,
        "logo": "/static/logos/vastai_small2.png",
        "mobo_name": machine.mobo_name,
        "os_version": "22.04",
        "pci_gen": 4.0,
        "pcie_bw": 24.3,
        "public_ipaddr": machine.public_ip,
        "reliability2": machine.reliability,
        "start_date": machine.start_date,
        "end_date": machine.listed_until,
        "duration": max(0.0, machine.listed_until - now),
        "static_ip": machine.static_ip,
        "storage_cost": machine.storage_cost,
        "verification": machine.verification,
        "external": False,
        "webpage": None,
    }


def prices(gpu_usd_per_hour: float, storage_cost: float, disk_gb: float) -> dict[str, Any]:
    """The price fields for one GPU price and disk size, USD per hour."""
    disk = storage_cost * disk_gb / HOURS_PER_MONTH
    total = gpu_usd_per_hour + disk
    block = {
        "gpuCostPerHour": gpu_usd_per_hour,
        "diskHour": disk,
        "totalHour": total,
        "discountTotalHour": 0,
        "discountedTotalPerHour": total,
    }
    return {"dph_base": gpu_usd_per_hour, "dph_total": total, "storage_total_cost": disk, "search": block}


def offer_row(world: World, offer: Offer, kind: str, storage_gb: float, contracts: list[Contract]) -> dict[str, Any]:
    """One offer as JSON. ``kind`` is on-demand, bid or reserved; ``contracts`` are the live ones on its machine."""
    machine, size, now = offer.machine, offer.num_gpus, world.now
    least_bid = world.floor.least_bid(machine, size, contracts)
    gpus = world.floor.pick_gpus(machine, size, None, contracts)
    listed = machine.online and machine.listed_until > now
    rentable = listed and (least_bid is not None if kind == "bid" else gpus is not None)
    floor_bid = least_bid if least_bid is not None else round(machine.floor_per_gpu * size, 6)
    gpu_price = floor_bid if kind == "bid" else round(machine.price_per_gpu * size, 6)
    priced = prices(gpu_price, machine.storage_cost, storage_gb)
    dph, dlperf, flops = max(priced["dph_total"], 1e-9), machine.gpu.dlperf * size, machine.gpu.tflops * size
    share = size / machine.num_gpus
    row = {
        "id": offer.id,
        "ask_contract_id": offer.id,
        "bundle_id": machine.id * 100 + size,
        "bundled_results": None,
        "num_gpus": size,
        "gpu_frac": share,
        "gpu_ids": [machine.id * 16 + gpu for gpu in gpus or range(size)],
        "gpu_total_ram": machine.gpu.ram_mib * size,
        "gpu_display_active": False,
        "cpu_cores_effective": machine.cpu_cores * share,
        "direct_port_count": machine.direct_port_count if share == 1 else int(machine.direct_port_count * share),
        "disk_space": round(machine.disk_space * share, 2),
        "dlperf": dlperf,
        "dlperf_per_dphtotal": dlperf / dph,
        "flops_per_dphtotal": flops / dph,
        "total_flops": flops,
        "min_bid": floor_bid,
        "is_bid": kind == "bid",
        "rentable": rentable,
        "rented": bool(contracts),
        "reliability": machine.reliability,
        "reliability_mult": machine.reliability,
        "expected_reliability": machine.reliability,
        "score": dlperf / dph * machine.reliability,
        "vericode": 1 if machine.verification == "verified" else 0,
        "vms_enabled": False,
        "is_vm_deverified": False,
        "resource_type": "gpu",
        "hostname": None,
        "cluster_id": None,
        "avail_vol_ask_id": offer.id + 1,
        "avail_vol_dph": 0.0003,
        "avail_vol_size": round(machine.disk_space * 0.4, 2),
        "nw_disk_min_bw": None,
        "nw_disk_max_bw": None,
        "nw_disk_avg_bw": None,
        "rn": 1,
        "dph_total_adj": priced["dph_total"],
        "credit_discount_max": 0.4,
        "discount_rate": 0.0,
        "discounted_hourly": 0.0,
        "discounted_dph_total": priced["dph_total"],
        "vram_costperhour": gpu_price / (machine.gpu.ram_mib * size),
        "instance": priced["search"] | {"gpuCostPerHour": 0.0, "totalHour": priced["storage_total_cost"]},
        "time_remaining": "",
        "time_remaining_isbid": "",
    }
    return machine_fields(machine, now) | row | priced


def search(world: World, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Offers that pass a search body. Raises BadQuery."""
    kind = TYPES.get(str(query.get("type", "on-demand")))
    if kind is None:
        raise BadQuery(f"Error in query parameters: {query.get('type')} is not a valid type")
    storage, limit = (
        _number(query, "allocated_storage", DEFAULT_STORAGE_GB),
        int(_number(query, "limit", DEFAULT_LIMIT)),
    )
    filters = as_filters({field: value for field, value in query.items() if field not in _CONTROLS})
    rented: dict[int, list[Contract]] = defaultdict(list)
    for contract in world.live:
        rented[contract.machine_id].append(contract)
    rows = [
        _findable(offer_row(world, offer, kind, storage, rented[offer.machine.id]))
        for offer in world.book.offers.values()
    ]
    known = frozenset(rows[0])
    found = [row for row in rows if matches(row, filters, known)]
    found = ordered(found, [*read_order(query.get("order")), ("id", "asc")], known)
    return [{field: value for field, value in row.items() if field not in _DERIVED} for row in found[: max(0, limit)]]


def _findable(row: dict[str, Any]) -> dict[str, Any]:
    derived = {
        "verified": row["verification"] == "verified",
        "datacenter": row["hosting_type"] == 1,
        "ubuntu_version": row["os_version"],
        "country": row["geolocation"][-2:],
    }
    return row | derived


def _number(query: Mapping[str, Any], field: str, default: float) -> float:
    value = query.get(field)
    if value is None:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadQuery(f"Error in query parameters: {field} must be a number") from None


def read_order(order: Any) -> list[tuple[str, str]]:
    """An ``order`` of ``[[field, direction], ...]``. Raises BadQuery."""
    if order is None:
        return [("score", "desc")]
    try:
        return [(str(field), str(direction)) for field, direction in order]
    except (TypeError, ValueError):
        raise BadQuery("Error in query parameters: order must be a list of [field, direction]") from None
