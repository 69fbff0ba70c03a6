"""What a plausible value is, field by field, and which fields the official CLI shows."""

import re
from collections.abc import Callable
from typing import Any

import pytest

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


def shown(table: str) -> list[str]:
    """Names of the fields that the official CLI prints in one of its tables."""
    return [row[0] for row in getattr(display, table)]


def wrong(row: Json, table: dict[str, Fits]) -> list[tuple[str, Any]]:
    return [(name, row.get(name, "absent")) for name, fits in table.items() if name not in row or not fits(row[name])]
