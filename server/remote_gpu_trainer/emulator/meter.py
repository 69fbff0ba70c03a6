"""The meter: what each contract has cost, exact to a picodollar and split by UTC day and kind."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from remote_gpu_trainer.emulator.book import DAY_S
from remote_gpu_trainer.emulator.contracts import DISK_FREE, GPU_BILLED, Contract
from remote_gpu_trainer.emulator.money import HOURS_PER_MONTH, for_bytes, over_time, pico

KINDS = ("gpu", "disk", "bwd", "bwu")
"""The platform's item types: GPU time, disk, bytes received (down) and sent (up) by the instance."""


@dataclass
class Line:
    """One kind of cost on one day: ``amount`` in picodollars, ``quantity`` in seconds or bytes."""

    amount: int = 0
    quantity: float = 0.0
    rate: int = 0
    """Last rate applied: picodollars per hour, or per GB."""


@dataclass
class Ledger:
    """All lines of one contract, by day (days since the epoch) and kind."""

    contract_id: int
    kind: str = "instance"
    label: str | None = None
    lines: dict[tuple[int, str], Line] = field(default_factory=lambda: defaultdict[tuple[int, str], Line](Line))
    amount: int = 0
    """Sum of all lines, kept beside them: a balance is asked far more often than its parts."""

    def add(self, moment: float, kind: str, amount: int, quantity: float, rate: int) -> None:
        """Book a cost on the day of ``moment``. A negative amount is a mistake of ours: ValueError."""
        if amount < 0 or quantity < 0:
            raise ValueError(f"the meter never runs back: {kind} {amount} pico, quantity {quantity}")
        line = self.lines[int(moment // DAY_S), kind]
        line.amount += amount
        self.amount += amount
        line.quantity += quantity
        line.rate = rate

    def total(self, kind: str | None = None) -> int:
        """Picodollars so far, of one kind or of all."""
        if kind is None:
            return self.amount
        return sum(line.amount for (_, k), line in self.lines.items() if kind == k)

    def quantity(self, kind: str) -> float:
        """Seconds or bytes of one kind."""
        return sum(line.quantity for (_, k), line in self.lines.items() if k == kind)

    def to_json(self) -> dict[str, Any]:
        """All lines as JSON values."""
        rows = [[day, kind, line.amount, line.quantity, line.rate] for (day, kind), line in self.lines.items()]
        return {"contract_id": self.contract_id, "kind": self.kind, "label": self.label, "lines": rows}

    @classmethod
    def from_json(cls, blob: dict[str, Any]) -> "Ledger":
        """Back from :meth:`to_json`."""
        ledger = cls(blob["contract_id"], blob["kind"], blob["label"])
        for day, kind, amount, quantity, rate in blob["lines"]:
            ledger.lines[day, kind] = Line(amount, quantity, rate)
            ledger.amount += amount
        return ledger


class Meter:
    """Ledgers by contract id, and the rules of what is billed when."""

    def __init__(self) -> None:
        self.ledgers: dict[int, Ledger] = {}

    def ledger(self, contract_id: int, kind: str = "instance") -> Ledger:
        """The ledger of a contract, made when it is first asked for."""
        return self.ledgers.setdefault(contract_id, Ledger(contract_id, kind))

    def accrue(self, contract: Contract, now: float) -> int:
        """Book time from where the contract was last booked until ``now``; picodollars booked.

        The phase must have been the same for that whole stretch: accrue first, then change the phase.
        """
        booked, ledger = 0, self.ledger(contract.id)
        ledger.label = contract.label
        while contract.accrued_to < now:
            until = min(now, (contract.accrued_to // DAY_S + 1) * DAY_S)
            booked += self._stretch(ledger, contract, contract.accrued_to, until - contract.accrued_to)
            contract.accrued_to = until
        return booked

    def _stretch(self, ledger: Ledger, contract: Contract, start: float, seconds: float) -> int:
        booked = 0
        if contract.phase in GPU_BILLED:
            rate = pico(contract.dph_base)
            booked += (gpu := over_time(rate, seconds))
            ledger.add(start, "gpu", gpu, seconds, rate)
        if contract.phase not in DISK_FREE:
            rate = disk_rate(contract.storage_cost, contract.disk_gb)
            booked += (disk := over_time(rate, seconds))
            ledger.add(start, "disk", disk, seconds, rate)
        return booked

    def bytes_moved(self, contract: Contract, now: float, sent: int, received: int) -> int:
        """Book bytes that an instance sent and received; picodollars booked."""
        ledger, booked = self.ledger(contract.id), 0
        for kind, count, price in (("bwu", sent, contract.inet_up_cost), ("bwd", received, contract.inet_down_cost)):
            if count > 0:
                rate = pico(price)
                booked += (amount := for_bytes(rate, count))
                ledger.add(now, kind, amount, count, rate)
        return booked

    def total(self) -> int:
        """Picodollars over all ledgers."""
        return sum(ledger.total() for ledger in self.ledgers.values())


def disk_rate(storage_cost: float, disk_gb: float) -> int:
    """Picodollars per hour of ``disk_gb`` at a price per GB and month."""
    return round(pico(storage_cost) * disk_gb / HOURS_PER_MONTH)


def burn_rate(contract: Contract) -> int:
    """Picodollars per hour that time alone costs right now."""
    gpu = pico(contract.dph_base) if contract.phase in GPU_BILLED else 0
    disk = 0 if contract.phase in DISK_FREE else disk_rate(contract.storage_cost, contract.disk_gb)
    return gpu + disk
