"""The platform's answers as we tolerate them: unknown fields ignored, wrong types read as absent, nothing defaulted.

A field is None when it is missing, null, or of a type that cannot be read; what may not be None is decided where the
row becomes a domain value (``translate``). Each model's NEEDED names those fields, for ``shape``.
"""

import math
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from remote_gpu_trainer.vastai.answers import Row, as_row, as_rows

_MOST_TEXT = 4096
_MOST_WHOLE = 1 << 63


def read_number(value: object) -> float | None:
    """A finite number, also when it comes as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def read_whole(value: object) -> int | None:
    """A whole number below 2^63 in size, also as text or as a float without a fraction."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < _MOST_WHOLE else None
    found = read_number(value)
    return int(found) if found is not None and found.is_integer() and abs(found) < _MOST_WHOLE else None


def read_text(value: object) -> str | None:
    """A text of at most 4,096 characters that can be written as UTF-8; numbers read as their digits."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value) if abs(value) < _MOST_WHOLE else None
    if not isinstance(value, str):
        return None
    return value[:_MOST_TEXT].encode("utf-8", "replace").decode().replace("\x00", "")


def read_flag(value: object) -> bool | None:
    """A truth value, also as 0, 1, "true" and "false"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    return value == 1 if isinstance(value, int | float) and value in (0, 1) else None


def read_ports(value: object) -> dict[str, int]:
    """``{"22/tcp": [{"HostPort": "40022"}]}`` as internal to external port; what cannot be read is left out."""
    ports: dict[str, int] = {}
    for inner, bindings in (as_row(value) or {}).items():
        for binding in as_rows(bindings) or []:
            outer = read_whole((binding or {}).get("HostPort"))
            if outer is not None and 0 < outer < 65536 and len(inner) <= 16:
                ports.setdefault(inner, outer)
    return ports


def read_rows(value: object) -> list[Row]:
    """The objects of a list; anything else is left out."""
    return [row for row in as_rows(value) or [] if row is not None]


Number = Annotated[float | None, BeforeValidator(read_number)]
Whole = Annotated[int | None, BeforeValidator(read_whole)]
Text = Annotated[str | None, BeforeValidator(read_text)]
Flag = Annotated[bool | None, BeforeValidator(read_flag)]
Ports = Annotated[dict[str, int], BeforeValidator(read_ports)]
Rows = Annotated[list[Row], BeforeValidator(read_rows)]


class Wire(BaseModel):
    """Base: extra fields are ignored, and no value raises."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    NEEDED: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def read(cls, row: Row) -> "Wire":
        """From a JSON object."""
        return cls.model_validate(row)


class WirePrices(Wire):
    """The ``instance`` or ``search`` block of a row: dollars per hour."""

    gpuCostPerHour: Number = None
    diskHour: Number = None
    totalHour: Number = None


Prices = Annotated[WirePrices, BeforeValidator(lambda value: as_row(value) or {})]


class WireOffer(Wire):
    """One row of a search (OpenAPI 2026-08, ``search offers``). RAM in MB, disk in GB, speeds in Mbit/s, USD."""

    NEEDED = frozenset(
        {"machine_id", "host_id", "gpu_name", "num_gpus", "gpu_ram", "dph_base", "min_bid", "storage_cost",
         "inet_up_cost", "inet_down_cost", "disk_space", "direct_port_count", "verification"}
    )  # fmt: skip

    id: Whole = None
    ask_contract_id: Whole = None
    machine_id: Whole = None
    host_id: Whole = None
    gpu_name: Text = None
    num_gpus: Whole = None
    gpu_ram: Number = None
    dph_base: Number = None
    dph_total: Number = None
    min_bid: Number = None
    storage_cost: Number = None
    inet_up_cost: Number = None
    inet_down_cost: Number = None
    inet_up: Number = None
    inet_down: Number = None
    reliability2: Number = None
    reliability: Number = None
    verification: Text = None
    verified: Flag = None
    direct_port_count: Whole = None
    cuda_max_good: Number = None
    driver_version: Text = None
    disk_space: Number = None
    duration: Number = None
    dlperf_per_dphtotal: Number = None
    geolocation: Text = None


class WireInstance(Wire):
    """One instance (OpenAPI 2026-08, ``show instance`` and the v1 list). Times are epoch seconds."""

    NEEDED = frozenset({"id", "machine_id", "is_bid", "intended_status", "cur_state", "next_state", "start_date"})

    id: Whole = None
    machine_id: Whole = None
    host_id: Whole = None
    label: Text = None
    image_uuid: Text = None
    image_runtype: Text = None
    actual_status: Text = None
    intended_status: Text = None
    cur_state: Text = None
    next_state: Text = None
    status_msg: Text = None
    is_bid: Flag = None
    start_date: Number = None
    end_date: Number = None
    gpu_name: Text = None
    num_gpus: Whole = None
    dph_base: Number = None
    dph_total: Number = None
    storage_total_cost: Number = None
    storage_cost: Number = None
    inet_up_cost: Number = None
    inet_down_cost: Number = None
    inet_up_billed: Number = None
    inet_down_billed: Number = None
    disk_space: Number = None
    cuda_max_good: Number = None
    public_ipaddr: Text = None
    ssh_host: Text = None
    ssh_port: Whole = None
    ports: Ports = {}
    volume_info: Rows = []
    instance: Prices = WirePrices()


class WireAccount(Wire):
    """``GET /api/v0/users/current``. The key that some answers hold here is never read."""

    NEEDED = frozenset({"id"})

    id: Whole = None
    credit: Number = None
    balance: Number = None
    balance_threshold: Number = None
    balance_threshold_enabled: Flag = None
    can_pay: Flag = None
    has_billing: Flag = None


class WireVolume(Wire):
    """One row of ``GET /api/v0/volumes``. ``storage_total_cost`` is in USD per hour, as on offers."""

    NEEDED = frozenset({"id"})

    id: Whole = None
    machine_id: Whole = None
    label: Text = None
    disk_space: Number = None
    storage_total_cost: Number = None
    instances: Rows = []


class WireCharge(Wire):
    """One contract of ``GET /api/v0/charges/``, or one item of it. Amounts in USD, times in epoch seconds."""

    NEEDED = frozenset({"type", "amount"})

    start: Number = None
    type: Text = None
    source: Text = None
    amount: Number = None
    items: Rows = []


class WireKey(Wire):
    """One row of ``GET /api/v0/ssh/``; ``key`` and ``public_key`` are both in use."""

    key: Text = None
    public_key: Text = None
    deleted_at: Text = None

    @property
    def line(self) -> str | None:
        """The public key, when this one still counts."""
        return (self.key or self.public_key) if self.deleted_at is None else None


def contract_in(row: Row) -> int | None:
    """The id that a create answer names, or None."""
    number = read_whole(row.get("new_contract"))
    return number if number is not None and number > 0 else None
