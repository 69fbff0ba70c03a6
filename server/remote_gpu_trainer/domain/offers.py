"""Offers, what a job needs of them, and what the whole job would cost."""

from enum import StrEnum

from pydantic import Field

from remote_gpu_trainer.domain.ids import HostId, MachineId, OfferId
from remote_gpu_trainer.domain.units import (
    GB,
    GIB,
    HOURS_PER_MONTH,
    GiB,
    Usd,
    UsdPerGB,
    UsdPerGiBMonth,
    UsdPerHour,
)
from remote_gpu_trainer.domain.values import Value


class RentalType(StrEnum):
    """How a machine is rented. The type cannot change after create; an interruptible's price can."""

    ON_DEMAND = "on-demand"
    INTERRUPTIBLE = "interruptible"


class Offer(Value):
    """One rentable offer. Optional fields are facts that hosts do not always report; absence is not zero."""

    id: OfferId
    machine_id: MachineId
    host_id: HostId
    rental: RentalType
    gpu_name: str
    num_gpus: int
    gpu_ram_gib: GiB
    gpu_usd_per_hour: UsdPerHour
    """GPU price without disk: ``dph_base``, or for an interruptible the price that a bid must reach."""
    min_bid_usd_per_hour: UsdPerHour | None
    storage_usd_per_gib_month: UsdPerGiBMonth
    egress_usd_per_gb: UsdPerGB
    """From the machine outwards: ``inet_up_cost``."""
    ingress_usd_per_gb: UsdPerGB
    """Into the machine: ``inet_down_cost``."""
    inet_up_mbps: float | None
    inet_down_mbps: float | None
    reliability: float | None
    verified: bool
    direct_ports: int
    cuda_max: float | None
    """Newest CUDA that the host's driver runs: ``cuda_max_good``."""
    driver_version: str | None
    disk_gib: GiB
    remaining_hours: float | None
    """Until the host's end date; None when the offer names none."""
    dlperf_per_usd: float | None
    geolocation: str | None


class JobShape(Value):
    """What a job takes, for pricing offers against it."""

    hours: float = Field(gt=0, le=24 * 90)
    disk_gib: GiB = Field(ge=10)
    """10 GiB is the platform's least."""
    upload_gib: GiB = Field(default=GiB(1.0), ge=0)
    download_gib: GiB = Field(default=GiB(1.0), ge=0)
    """Results that come home, the image not counted."""
    image_gib: GiB = Field(default=GiB(8.0), ge=0)
    """Compressed size of the image that the host pulls; 8 GiB is a usual PyTorch image."""


class JobCost(Value):
    """The whole cost of one job on one offer, in US dollars."""

    gpu: Usd
    disk: Usd
    bandwidth: Usd

    @property
    def total(self) -> Usd:
        """Everything together."""
        return Usd(self.gpu + self.disk + self.bandwidth)


def disk_usd_per_hour(price: UsdPerGiBMonth, disk_gib: float) -> UsdPerHour:
    """What a disk bills per hour, running or stopped."""
    return UsdPerHour(price * disk_gib / HOURS_PER_MONTH)


def job_cost(offer: Offer, shape: JobShape, bid: UsdPerHour | None = None) -> JobCost:
    """Price a job on an offer: GPU hours, disk for as long, bytes both ways at the host's prices.

    The image pull is not billed by any source we know; it is left out of the bandwidth here.
    """
    gpu = bid if bid is not None else offer.gpu_usd_per_hour
    gib = GIB / GB
    return JobCost(
        gpu=Usd(gpu * shape.hours),
        disk=Usd(disk_usd_per_hour(offer.storage_usd_per_gib_month, shape.disk_gib) * shape.hours),
        bandwidth=Usd(
            shape.upload_gib * gib * offer.ingress_usd_per_gb + shape.download_gib * gib * offer.egress_usd_per_gb
        ),
    )


class OfferQuery(Value):
    """Typed search filters. The defaults are the safe ones: verified, reliable, a direct port."""

    rental: RentalType = RentalType.ON_DEMAND
    gpu_names: tuple[str, ...] = ()
    num_gpus: int = Field(default=1, ge=1, le=16)
    min_gpu_ram_gib: GiB | None = None
    max_usd_per_hour: UsdPerHour | None = None
    min_reliability: float = Field(default=0.98, ge=0, le=1)
    verified: bool = True
    min_direct_ports: int = Field(default=1, ge=0, le=64)
    min_cuda: float | None = None
    min_disk_gib: GiB = GiB(10.0)
    min_remaining_hours: float | None = None
    min_inet_down_mbps: float | None = None
    countries: tuple[str, ...] = ()
    machine_id: MachineId | None = None
    offer_id: OfferId | None = None
    limit: int = Field(default=64, ge=1, le=256)
