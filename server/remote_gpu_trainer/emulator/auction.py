"""Who holds which GPU: on-demand before bids, the highest bid first, and others who come and go."""

import random
from dataclasses import asdict, dataclass
from typing import Any

from remote_gpu_trainer.emulator.book import Book, Machine
from remote_gpu_trainer.emulator.contracts import HOLDS_GPU, WANTS_GPU, Contract, Phase

ARRIVAL_HOURS_PER_MACHINE = 60.0
"""Mean emulated hours between two strangers who rent on one machine."""
BID_STEP = 1.02
"""How far a bid must be above the one that runs to be shown as the least bid."""


@dataclass
class Stranger:
    """Another renter on one machine: on-demand when ``price_per_gpu`` is None, else a bidder."""

    id: int
    machine_id: int
    gpu_ids: list[int]
    price_per_gpu: float | None
    until: float | None
    since: float

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Claim:
    """One wish for GPUs, with its rank: lower sorts first."""

    gpu_ids: tuple[int, ...]
    rank: tuple[int, float, int, float]
    contract: Contract | None


def rank(price_per_gpu: float | None, holds: bool, since: float) -> tuple[int, float, int, float]:
    """Order of claims: on-demand (no price), then by price; at one price who holds keeps, then who came first."""
    return (0 if price_per_gpu is None else 1, -(price_per_gpu or 0.0), 0 if holds else 1, since)


class Floor:
    """The renters of all machines."""

    def __init__(self, book: Book, seed: int) -> None:
        self._book = book
        self._dice = random.Random(seed ^ 0x5EED)  # noqa: S311  # a reproducible market, not a secret
        self.strangers: dict[int, Stranger] = {}
        self.next_arrival: float | None = None

    def claims(self, machine_id: int, contracts: list[Contract]) -> list[Claim]:
        """All wishes on one machine, the strongest first."""
        claims = [
            Claim(tuple(s.gpu_ids), rank(s.price_per_gpu, True, s.since), None)
            for s in self.strangers.values()
            if s.machine_id == machine_id
        ]
        for contract in contracts:
            if contract.machine_id == machine_id and contract.phase in WANTS_GPU:
                price = contract.price_per_gpu if contract.is_bid else None
                holds = contract.phase in HOLDS_GPU
                since = contract.waiting_since or contract.start_date
                claims.append(Claim(tuple(contract.gpu_ids), rank(price, holds, since), contract))
        return sorted(claims, key=lambda claim: claim.rank)

    def granted(self, machine_id: int, contracts: list[Contract]) -> dict[int, bool]:
        """For each contract that wants its GPUs, whether it gets them now."""
        taken: set[int] = set()
        verdict: dict[int, bool] = {}
        for claim in self.claims(machine_id, contracts):
            free = taken.isdisjoint(claim.gpu_ids)
            if free:
                taken.update(claim.gpu_ids)
            if claim.contract is not None:
                verdict[claim.contract.id] = free
        return verdict

    def pick_gpus(
        self, machine: Machine, size: int, price_per_gpu: float | None, contracts: list[Contract]
    ) -> list[int] | None:
        """GPUs that a new renter would get: free ones first, then those of weaker bids; None when there are too few."""
        mine = rank(price_per_gpu, False, float("inf"))
        strongest = self._strongest(machine.id, contracts)
        free = [gpu for gpu in range(machine.num_gpus) if gpu not in strongest]
        weaker = [gpu for gpu in range(machine.num_gpus) if gpu in strongest and strongest[gpu] > mine]
        weaker.sort(key=lambda gpu: strongest[gpu], reverse=True)
        pool = free + weaker
        return sorted(pool[:size]) if len(pool) >= size else None

    def least_bid(
        self, machine: Machine, size: int, contracts: list[Contract], own: list[int] | None = None
    ) -> float | None:
        """The bid in USD/h that would run ``size`` GPUs now; None when on-demand renters hold too many.

        ``own`` are the GPUs that a rental is bound to; without them any of the machine will do.
        """
        strongest, among = self._strongest(machine.id, contracts), range(machine.num_gpus) if own is None else own
        open_to_bids = [strongest.get(gpu) for gpu in among if strongest.get(gpu, (1, 0, 0, 0))[0] != 0]
        if len(open_to_bids) < size:
            return None
        prices = sorted(-top[1] * BID_STEP if top else 0.0 for top in open_to_bids)[:size]
        return round(max(machine.floor_per_gpu, *prices, 0.0) * size, 6)

    def _strongest(self, machine_id: int, contracts: list[Contract]) -> dict[int, tuple[int, float, int, float]]:
        best: dict[int, tuple[int, float, int, float]] = {}
        for claim in self.claims(machine_id, contracts):
            if claim.contract is None or claim.contract.phase is not Phase.WAITING:
                for gpu in claim.gpu_ids:
                    best.setdefault(gpu, claim.rank)
        return best

    def seat(
        self, machine_id: int, gpu_ids: list[int], price_per_gpu: float | None, now: float, until: float | None
    ) -> Stranger:
        """Put a stranger on GPUs. ``price_per_gpu`` None rents on demand, ``until`` None stays until sent away."""
        number = max(self.strangers, default=0) + 1
        stranger = Stranger(number, machine_id, gpu_ids, price_per_gpu, until, now)
        self.strangers[number] = stranger
        return stranger

    def next_event(self) -> float | None:
        """When somebody next leaves or arrives, in epoch seconds."""
        leaving = [s.until for s in self.strangers.values() if s.until is not None]
        return min((t for t in [*leaving, self.next_arrival] if t is not None), default=None)

    def step(self, now: float, contracts: list[Contract], *, lively: bool) -> None:
        """Let those leave whose time is up, and one come whose time has come."""
        for stranger in [s for s in self.strangers.values() if s.until is not None and s.until <= now]:
            del self.strangers[stranger.id]
        if not lively:
            self.next_arrival = None
            return
        if self.next_arrival is None:
            self.next_arrival = now + self._gap()
        while self.next_arrival <= now:
            self._arrive(self.next_arrival, contracts)
            self.next_arrival += self._gap()

    def _gap(self) -> float:
        return self._dice.expovariate(len(self._book.machines) / (ARRIVAL_HOURS_PER_MACHINE * 3600))

    def _arrive(self, now: float, contracts: list[Contract]) -> None:
        machine = self._dice.choice(list(self._book.machines.values()))
        size = self._dice.choice([n for n in (1, 2, 4, 8) if n <= machine.num_gpus])
        bids = self._dice.random() < 0.55
        price = machine.floor_per_gpu * self._dice.uniform(1.0, 1.7) if bids else None
        stay = self._dice.expovariate(1 / (9 * 3600))
        gpus = self.pick_gpus(machine, size, price, contracts)
        if gpus is not None and machine.online:
            self.seat(machine.id, gpus, price, now, now + stay)
