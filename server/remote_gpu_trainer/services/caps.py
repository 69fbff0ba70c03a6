"""The person's caps on money, counted on the journal's meter and on what is already promised."""

from datetime import timedelta

from remote_gpu_trainer.domain.offers import JobCost
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import HELD_PHASES, RunPhase
from remote_gpu_trainer.domain.units import Usd, UsdPerHour, show_usd
from remote_gpu_trainer.errors import BudgetExceeded
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.services.ledger import Ledger

_COUNTS = HELD_PHASES | {RunPhase.INTENDED, RunPhase.DESTROYING}
_NOTHING = "Nothing was rented."


class Caps:
    """Asks whether one more rental fits."""

    def __init__(self, policy: Policy, journal: Journal, ledger: Ledger, clock: Clock) -> None:
        self._policy = policy
        self._journal = journal
        self._ledger = ledger
        self._clock = clock

    def spent_today(self) -> Usd:
        """US dollars over the last 24 hours, all runs."""
        since = self._clock.now() - timedelta(hours=24)
        return Usd(sum(self._ledger.spent(record.lease.id, since=since) for record in self._journal.leases()))

    def promised(self) -> Usd:
        """US dollars that held runs may still take of their own estimates."""
        held = [record for record in self._journal.leases() if record.phase in _COUNTS]
        return Usd(sum(max(one.lease.budget - self._ledger.spent(one.lease.id), 0.0) for one in held))

    def over(self, cost: JobCost, per_hour: UsdPerHour) -> tuple[str, ...]:
        """The caps that one more rental would break and that a person may be asked about, both numbers in each.

        Raises:
            BudgetExceeded: it breaks one that nobody is asked about: the total, the number of instances, or any where
                the policy says ``over_caps = "refuse"``.
        """
        policy = self._policy
        today, promised = self.spent_today(), self.promised()
        total = sum(self._ledger.spent(record.lease.id) for record in self._journal.leases())
        held = sum(1 for record in self._journal.leases() if record.phase in _COUNTS)
        if held >= policy.max_instances:
            raise BudgetExceeded(
                f"max_instances: {held} are held, the person's cap is {policy.max_instances}",
                next_step="finish or destroy one, or ask the person to raise the cap in policy.toml",
                effect=_NOTHING,
            )
        final = _over(
            [("max_usd_total (spent, promised and this)", total + promised + cost.total, policy.max_usd_total)]
        )
        askable = _over(
            [
                ("max_usd_per_hour", per_hour, policy.max_usd_per_hour),
                ("max_usd_per_run", cost.total, policy.max_usd_per_run),
                ("max_usd_per_day (spent, promised and this)", today + promised + cost.total, policy.max_usd_per_day),
            ]
        )
        refused = final or (askable if policy.over_caps == "refuse" else ())
        if refused:
            raise BudgetExceeded(refused[0], effect=_NOTHING)
        return askable


def _over(checks: list[tuple[str, float, float | None]]) -> tuple[str, ...]:
    return tuple(
        f"{name}: this would come to {show_usd(value)}, the person's cap is {show_usd(cap)}"
        for name, value, cap in checks
        if cap is not None and value > cap
    )
