"""How much a copy may take, and how far it has come."""

from collections.abc import Callable

from pydantic import Field

from remote_gpu_trainer.domain.units import GB, Usd, UsdPerGB
from remote_gpu_trainer.domain.values import Value


class CopyLimits(Value):
    """What the person's policy allows for one copy."""

    max_bytes: int = Field(gt=0)
    max_files: int = Field(gt=0)
    max_depth: int = Field(gt=0)
    """Folders below a root."""
    max_entries: int = Field(default=2_000_000, gt=0)
    """Things of any kind that a list of a root may name."""
    max_cost: Usd | None = None
    """Of the bytes that leave the machine; None when the caller has acknowledged VAST9."""
    keep_free_bytes: int = Field(default=256 << 20, ge=0)
    """Room that stays on the local disk."""


class Progress(Value):
    """How far a copy has come."""

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int
    rate: float
    """Bytes for each second since the copy began."""
    eta_s: float | None
    """Seconds left at that rate; None before the first byte."""
    cost: Usd | None = None
    """What the host's egress price makes of all that was missing when the copy began; None when it is not known."""


def egress(bytes_: int, price: UsdPerGB | None) -> Usd | None:
    """What so many bytes cost to leave the machine; None when its offer names no price (VAST9)."""
    return None if price is None else Usd(bytes_ / GB * price)


ProgressSink = Callable[[Progress], None]
