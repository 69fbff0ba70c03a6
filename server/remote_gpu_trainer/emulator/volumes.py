"""Volumes: disk that is bound to a machine, outlives instances, and bills until it is deleted."""

from dataclasses import asdict, dataclass, field
from typing import Any

from remote_gpu_trainer.emulator.book import DAY_S
from remote_gpu_trainer.emulator.meter import Meter, disk_rate
from remote_gpu_trainer.emulator.money import over_time


@dataclass
class Volume:
    """A rented volume. ``storage_cost`` in USD per GB and month, times in epoch seconds."""

    id: int
    machine_id: int
    ask_id: int
    name: str
    disk_gb: float
    storage_cost: float
    start_date: float
    end_date: float
    accrued_to: float
    deleted_at: float | None = None
    instances: list[int] = field(default_factory=list[int])

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    def held_at(self, mount_path: str) -> dict[str, Any]:
        """How an instance tells that it holds this volume, by the names that the official CLI reads (1.9.1)."""
        size = self.disk_gb
        return {"id": self.id, "volume_id": self.id, "label": self.name, "size": size, "mount_path": mount_path}


def accrue(meter: Meter, volume: Volume, now: float) -> None:
    """Book a volume's disk until ``now``, or until it was deleted."""
    end = now if volume.deleted_at is None else min(now, volume.deleted_at)
    ledger, rate = meter.ledger(volume.id, "volume"), disk_rate(volume.storage_cost, volume.disk_gb)
    ledger.label = volume.name
    while volume.accrued_to < end:
        until = min(end, (volume.accrued_to // DAY_S + 1) * DAY_S)
        seconds = until - volume.accrued_to
        ledger.add(volume.accrued_to, "disk", over_time(rate, seconds), seconds, rate)
        volume.accrued_to = until
