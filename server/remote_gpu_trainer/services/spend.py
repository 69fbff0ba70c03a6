"""The money: what was spent, what bills now, and what work would be lost."""

from datetime import datetime, timedelta

from remote_gpu_trainer.domain.ids import InstanceId, LeaseId
from remote_gpu_trainer.domain.instances import Charge, Instance, InstancePhase, Inventory, Volume
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import HELD_PHASES, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import Usd, UsdPerHour
from remote_gpu_trainer.errors import MarketError
from remote_gpu_trainer.ports import Clock, Journal, Marketplace
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import SpendFacts
from remote_gpu_trainer.rules.registry import check
from remote_gpu_trainer.rules.stop import HELD_AT_REST
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.services.caps import Caps
from remote_gpu_trainer.services.ledger import Ledger, burn
from remote_gpu_trainer.services.reconcile import Reconciler
from remote_gpu_trainer.services.reminding import ReminderService
from remote_gpu_trainer.services.views import RunCost, SpendReport


class SpendService:
    """Reads the account and the journal's meter."""

    def __init__(
        self,
        *,
        market: Marketplace,
        journal: Journal,
        watch: AccountWatch,
        reconciler: Reconciler,
        ledger: Ledger,
        caps: Caps,
        reminding: ReminderService,
        buckets: Buckets,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._market = market
        self._journal = journal
        self._watch = watch
        self._reconciler = reconciler
        self._ledger = ledger
        self._caps = caps
        self._reminding = reminding
        self._buckets = buckets
        self._policy = policy
        self._clock = clock

    async def report(self) -> SpendReport:
        """One look at everything that costs."""
        await self._reconciler.ensure()
        now = self._clock.now()
        account = await self._watch.account()
        inventory = await self._watch.inventory()
        volumes = await self._volumes()
        rows: dict[InstanceId | None, Instance] = {row.id: row for row in inventory.instances}
        records = self._journal.leases()
        for record in records:
            if record.instance_id in rows:
                self._ledger.observe(record.lease.id, rows[record.instance_id])
        prices = [burn(row) for row in inventory.instances] + [one.usd_per_hour for one in volumes or ()]
        total = UsdPerHour(sum(price for price in prices if price is not None))
        held = [one for one in records if one.phase in HELD_PHASES]
        facts = SpendFacts(
            instances=inventory.instances,
            volumes=volumes,
            account=account,
            burn_usd_per_hour=total,
            now=now,
            unproven=tuple(one.lease.id for one in held if self._proven_at(one) is None),
        )
        today = self._caps.spent_today()
        runway = account.credit / total if total > 0 else None
        midnight = (now - timedelta(hours=24)).replace(hour=0, minute=0, second=0, microsecond=0)
        due = [self._reminding.for_run(one, rows[one.instance_id]) for one in held if one.instance_id in rows]
        charges = await self._charges(midnight)
        return SpendReport(
            at=now,
            credit_usd=account.credit,
            burn_usd_per_hour=total,
            burn_complete=inventory.complete and volumes is not None and None not in prices,
            runway_hours=runway,
            runs=tuple(
                self._cost(one, rows.get(one.instance_id), now, _billed(charges, one.instance_id), midnight)
                for one in records
            ),
            stopped_but_billing=_at_rest(held, inventory),
            volumes=volumes or (),
            orphans=self._reconciler.orphans(inventory),
            spent_today_usd=today,
            left_today_usd=Usd(max(self._policy.max_usd_per_day - today, 0.0)),
            platform_charges_usd=None if charges is None else Usd(sum(one.amount for one in charges)),
            compared_since=midnight,
            journal_estimate_usd=Usd(sum(self._ledger.spent(one.lease.id, since=midnight) for one in records)),
            reminders=(
                *self._reminding.for_credit(account.credit, runway),
                *(text for one in due for text in one),
                *self._buckets.unfinished(),
            ),
            findings=tuple(check(Stage.SPEND, facts, waived=self._policy.waive)),
        )

    def _cost(
        self, record: LeaseRecord, row: Instance | None, now: datetime, billed: Usd | None, compared_since: datetime
    ) -> RunCost:
        running = row is not None and row.phase is InstancePhase.RUNNING
        since = self._proven_at(record) or record.lease.opened_at
        minutes = (now - since).total_seconds() / 60 if running else None
        return RunCost(
            lease=record.lease.id,
            instance_id=record.instance_id,
            phase=record.phase,
            spent_usd=self._ledger.spent(record.lease.id),
            usd_per_hour_now=None if row is None else burn(row),
            work_at_risk_minutes=minutes,
            work_at_risk_usd=self._ledger.spent(record.lease.id, since=since) if running else None,
            billed_usd=billed,
            counted_usd=self._counted(record, compared_since),
        )

    def _counted(self, record: LeaseRecord, since: datetime) -> Usd | None:
        if record.phase is RunPhase.INTENDED:
            return None  # its create is undecided: it may bill, and nobody has seen it
        return self._ledger.spent(record.lease.id, since=since)

    def _proven_at(self, record: LeaseRecord) -> datetime | None:
        for receipt in self._journal.copies(record.lease.id):
            report = self._journal.verification(receipt.copy_id)
            if report is not None and report.passed:
                # What was written while it was copied is not surely in it.
                return receipt.started_at
        return None

    async def _volumes(self) -> tuple[Volume, ...] | None:
        try:
            return tuple(await self._market.volumes())
        except MarketError:
            return None

    async def _charges(self, since: datetime) -> list[Charge] | None:
        try:
            return await self._market.charges(since)
        except MarketError:
            return None


def _billed(charges: list[Charge] | None, instance_id: InstanceId | None) -> Usd | None:
    """What the platform has billed for one instance; no line is unknown, since its bill lags."""
    lines = [one.amount for one in charges or () if instance_id is not None and one.instance_id == instance_id]
    return Usd(sum(lines)) if lines else None


def _at_rest(held: list[LeaseRecord], inventory: Inventory) -> tuple[LeaseId, ...]:
    resting = {row.id for row in inventory.instances if row.phase in HELD_AT_REST}
    return tuple(one.lease.id for one in held if one.instance_id in resting)
