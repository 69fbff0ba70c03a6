"""Hosts that drop off the network by themselves, as often as their reliability says, and mostly return."""

import random

from remote_gpu_trainer.emulator.book import Book, Machine

MEAN_OUTAGE_S = 6 * 3600.0
GONE_FOR_GOOD = 0.15
"""Share of outages after which a host does not return. Both figures are ours: the platform tells only reliability."""


class Outages:
    """Who is off the network by itself. A machine of reliability r is away for 1 - r of its time, on average."""

    def __init__(self, book: Book, seed: int) -> None:
        self._machines = list(book.machines.values())
        self._dice = random.Random(seed ^ 0x0FF)  # noqa: S311  # a reproducible market, not a secret
        self.back_at: dict[int, float] = {}
        """When each machine that will return does so, epoch seconds."""
        self.next_fall: float | None = None

    def _rates(self) -> list[float]:
        return [(1 / machine.reliability - 1) / MEAN_OUTAGE_S for machine in self._machines]

    def _gap(self) -> float:
        return self._dice.expovariate(sum(self._rates()))

    def next_event(self) -> float | None:
        """When a host next goes or returns, in epoch seconds."""
        return min((t for t in [*self.back_at.values(), self.next_fall] if t is not None), default=None)

    def step(self, now: float, *, lively: bool) -> list[Machine]:
        """The machines that change sides now: those off the network return, those on it go."""
        returning = [machine for machine in self._machines if self.back_at.get(machine.id, now + 1) <= now]
        for machine in returning:
            del self.back_at[machine.id]
        changed = [machine for machine in returning if not machine.online]
        if not lively:
            self.next_fall = None
            return changed
        if self.next_fall is None:
            self.next_fall = now + self._gap()
        if self.next_fall <= now:
            self.next_fall = now + self._gap()
            changed += self._fall(now)
        return changed

    def _fall(self, now: float) -> list[Machine]:
        (machine,) = self._dice.choices(self._machines, weights=self._rates())
        away, returns = self._dice.expovariate(1 / MEAN_OUTAGE_S), self._dice.random() >= GONE_FOR_GOOD
        if not machine.online:
            return []
        if returns:
            self.back_at[machine.id] = now + away
        return [machine]
