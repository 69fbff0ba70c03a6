"""The one way from the platform's rows to domain values. A missing id or price is never made up."""

from datetime import UTC, datetime

from remote_gpu_trainer.domain.ids import HostId, InstanceId, MachineId, OfferId
from remote_gpu_trainer.domain.instances import Account, Charge, Instance, RawStatus, Volume
from remote_gpu_trainer.domain.offers import Offer, RentalType
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerGB, UsdPerGiBMonth, UsdPerHour
from remote_gpu_trainer.vastai.answers import Row
from remote_gpu_trainer.vastai.endpoints import endpoints_of
from remote_gpu_trainer.vastai.status import phase_of
from remote_gpu_trainer.vastai.wire import (
    WireAccount,
    WireCharge,
    WireInstance,
    WireOffer,
    WireVolume,
    read_whole,
)

MB_PER_GIB = 1024.0
"""``gpu_ram`` is in MiB although the documentation says MB: a 24 GiB card reports 24,564 (seen live 2026)."""


class Incomplete(Exception):
    """A row lacks a fact without which it means nothing; the message names the field."""


def _positive(name: str, value: int | None) -> int:
    if value is None or value <= 0:
        raise Incomplete(f"{name} is missing or not a positive number")
    return value


def _money(name: str, value: float | None) -> float:
    if value is None or value < 0:
        raise Incomplete(f"{name} is missing or negative")
    return value


def _text(name: str, value: str | None) -> str:
    if not value:
        raise Incomplete(f"{name} is missing")
    return value


def moment(epoch_s: float | None) -> datetime | None:
    """Epoch seconds as aware UTC; None when there are none or no calendar holds them."""
    if epoch_s is None or not 0 < epoch_s < 253_402_300_000:
        return None
    return datetime.fromtimestamp(epoch_s, UTC)


def offer_of(blob: Row, rental: RentalType) -> Offer:
    """One search row, priced for the kind of rental that was asked for.

    Raises:
        Incomplete: a fact that decides a rental is missing.
    """
    row = WireOffer.model_validate(blob)
    bid = rental is RentalType.INTERRUPTIBLE
    name, price = ("min_bid", row.min_bid) if bid else ("dph_base", row.dph_base)
    if row.verification is None and row.verified is None:
        raise Incomplete("verification is missing")
    ports = row.direct_port_count
    if ports is None or ports < 0:
        raise Incomplete("direct_port_count is missing or negative")
    return Offer(
        id=OfferId(_positive("ask_contract_id", row.ask_contract_id if row.ask_contract_id is not None else row.id)),
        machine_id=MachineId(_positive("machine_id", row.machine_id)),
        host_id=HostId(_positive("host_id", row.host_id)),
        rental=rental,
        gpu_name=_text("gpu_name", row.gpu_name),
        num_gpus=_positive("num_gpus", row.num_gpus),
        gpu_ram_gib=GiB(_money("gpu_ram", row.gpu_ram) / MB_PER_GIB),
        gpu_usd_per_hour=UsdPerHour(_money(name, price)),
        min_bid_usd_per_hour=None if row.min_bid is None or row.min_bid < 0 else UsdPerHour(row.min_bid),
        storage_usd_per_gib_month=UsdPerGiBMonth(_money("storage_cost", row.storage_cost)),
        egress_usd_per_gb=UsdPerGB(_money("inet_up_cost", row.inet_up_cost)),
        ingress_usd_per_gb=UsdPerGB(_money("inet_down_cost", row.inet_down_cost)),
        inet_up_mbps=row.inet_up,
        inet_down_mbps=row.inet_down,
        reliability=row.reliability2 if row.reliability2 is not None else row.reliability,
        verified=row.verification == "verified" if row.verification is not None else row.verified is True,
        direct_ports=ports,
        cuda_max=row.cuda_max_good,
        driver_version=row.driver_version,
        disk_gib=GiB(_money("disk_space", row.disk_space)),
        remaining_hours=None if row.duration is None else max(0.0, row.duration) / 3600,
        dlperf_per_usd=row.dlperf_per_dphtotal,
        geolocation=row.geolocation,
    )


def instance_of(blob: Row, *, loopback_ok: bool) -> Instance:
    """One instance row.

    Raises:
        Incomplete: its id, machine or rental type is missing.
    """
    row = WireInstance.model_validate(blob)
    if row.is_bid is None:
        raise Incomplete("is_bid is missing")
    rental = RentalType.INTERRUPTIBLE if row.is_bid else RentalType.ON_DEMAND
    raw = RawStatus(
        actual=row.actual_status,
        intended=row.intended_status,
        current=row.cur_state,
        next=row.next_state,
        message=row.status_msg,
    )
    gpu = row.dph_base
    if gpu is None and row.dph_total is not None and row.storage_total_cost is not None:
        gpu = max(0.0, row.dph_total - row.storage_total_cost)
    return Instance(
        id=InstanceId(_positive("id", row.id)),
        machine_id=MachineId(_positive("machine_id", row.machine_id)),
        host_id=None if row.host_id is None else HostId(row.host_id),
        label=row.label,
        image=row.image_uuid,
        phase=phase_of(raw, rental),
        raw=raw,
        rental=rental,
        started_at=moment(row.start_date),
        ends_at=moment(row.end_date),
        gpu_name=row.gpu_name,
        num_gpus=row.num_gpus,
        gpu_usd_per_hour=None if gpu is None else UsdPerHour(gpu),
        usd_per_hour_now=None if row.instance.totalHour is None else UsdPerHour(row.instance.totalHour),
        bid_usd_per_hour=UsdPerHour(row.dph_base) if row.is_bid and row.dph_base is not None else None,
        disk_gib=None if row.disk_space is None else GiB(row.disk_space),
        storage_usd_per_gib_month=None if row.storage_cost is None else UsdPerGiBMonth(row.storage_cost),
        egress_usd_per_gb=None if row.inet_up_cost is None else UsdPerGB(row.inet_up_cost),
        ingress_usd_per_gb=None if row.inet_down_cost is None else UsdPerGB(row.inet_down_cost),
        endpoints=endpoints_of(row, loopback_ok=loopback_ok),
        ports=row.ports,
        volume_ids=tuple(_volume_ids(row.volume_info)),
        cuda_max=row.cuda_max_good,
        bytes_up_billed=None if row.inet_up_billed is None else int(row.inet_up_billed),
        bytes_down_billed=None if row.inet_down_billed is None else int(row.inet_down_billed),
    )


def _volume_ids(rows: list[Row]) -> list[int]:
    found = [read_whole(row.get("volume_id", row.get("id"))) for row in rows]
    return [number for number in found if number is not None]


def account_of(blob: Row) -> Account:
    """The user. ``credit`` is what can be spent; ``balance`` stands in where an answer holds no credit.

    Raises:
        Incomplete: the id is missing, or both figures are.
    """
    row = WireAccount.model_validate(blob)
    credit = row.credit if row.credit is not None else row.balance
    if credit is None:
        raise Incomplete("credit and balance are missing")
    return Account(
        id=_positive("id", row.id),
        credit=Usd(credit),
        balance_threshold=(
            None
            if row.balance_threshold is None or row.balance_threshold_enabled is False
            else Usd(row.balance_threshold)
        ),
        can_pay=row.can_pay if row.can_pay is not None else row.has_billing,
    )


def volume_of(blob: Row) -> Volume:
    """One volume.

    Raises:
        Incomplete: the id is missing.
    """
    row = WireVolume.model_validate(blob)
    users = [read_whole(entry.get("id")) for entry in row.instances]
    return Volume(
        id=_positive("id", row.id),
        machine_id=None if row.machine_id is None else MachineId(row.machine_id),
        label=row.label,
        size_gib=None if row.disk_space is None else GiB(row.disk_space),
        usd_per_hour=None if row.storage_total_cost is None else UsdPerHour(row.storage_total_cost),
        instance_ids=tuple(number for number in users if number is not None),
    )


def charges_of(blob: Row) -> list[Charge]:
    """One contract's charges, a line for each of its items (gpu, disk, bwd, bwu), or one for the whole without items.

    Raises:
        Incomplete: an amount or a kind is missing.
    """
    row = WireCharge.model_validate(blob)
    kind, _, number = (row.source or "").rpartition("-")
    instance_id = read_whole(number) if kind == "instance" else None
    lines = [WireCharge.model_validate(item) for item in row.items] or [row]
    charges: list[Charge] = []
    for line in lines:
        if line.amount is None:
            raise Incomplete("amount of a charge is missing")
        at = moment(line.start) or moment(row.start)
        charges.append(
            Charge(kind=_text("type of a charge", line.type), instance_id=instance_id, amount=Usd(line.amount), at=at)
        )
    return charges
