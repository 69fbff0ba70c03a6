"""Journal against account: what a lost answer, a crash or another hand left behind."""

from datetime import timedelta

from remote_gpu_trainer.domain.ids import LeaseId, label_of
from remote_gpu_trainer.domain.instances import Inventory
from remote_gpu_trainer.domain.runs import HELD_PHASES, Intent, IntentState, LeaseRecord, RunPhase
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.intents import consent_until
from remote_gpu_trainer.services.ledger import OBSERVED, Ledger, burn
from remote_gpu_trainer.services.views import Orphan, ReconcileReport

SETTLING = timedelta(seconds=20)
"""A create may show itself late (seen live, 2026): absence counts only when two looks this far apart agree."""
ABSENT = "absent"


class Reconciler:
    """Compares and repairs. It never creates and never destroys."""

    def __init__(self, watch: AccountWatch, journal: Journal, ledger: Ledger, clock: Clock) -> None:
        self._watch = watch
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._done_once = False

    async def ensure(self) -> None:
        """Reconcile once per process, and again while an intent is undecided."""
        if not self._done_once or self._journal.open_intents():
            await self.reconcile()

    async def reconcile(self) -> ReconcileReport:
        """One look at the account, and everything that follows from it."""
        inventory = await self._watch.inventory()
        found: dict[str, list[LeaseId]] = {}
        for intent in self._journal.open_intents():
            found.setdefault(self._settle(intent, inventory), []).append(intent.lease)
        for record in self._journal.leases():
            if record.instance_id is not None:
                found.setdefault(self.compare(record, inventory), []).append(record.lease.id)
        self._done_once = True
        return ReconcileReport(
            adopted=tuple(found.get("adopted", ())),
            never_was=tuple(found.get("never-was", ())),
            closed=tuple(found.get("closed", ())),
            reappeared=tuple(found.get("reappeared", ())),
            undecided=tuple(found.get("undecided", ())),
            orphans=self.orphans(inventory),
            complete=inventory.complete,
        )

    def orphans(self, inventory: Inventory) -> tuple[Orphan, ...]:
        """Instances that no lease accounts for."""
        known = {record.instance_id for record in self._journal.leases()}
        return tuple(
            Orphan(instance_id=row.id, label=row.label, ours=row.lease is not None, usd_per_hour_now=burn(row))
            for row in inventory.instances
            if row.id not in known
        )

    def _settle(self, intent: Intent, inventory: Inventory) -> str:
        match intent.action:
            case "create":
                return self._settle_create(intent, inventory)
            case "destroy":
                return self._settle_destroy(intent, inventory)
            case "stop" | "start" | "bid":
                # The platform's own reading says what became of it; asking again is safe.
                self._journal.close_intent(intent.id, IntentState.DONE, {"settled": "by reading"})
                return "settled"

    def _settle_create(self, intent: Intent, inventory: Inventory) -> str:
        label = label_of(intent.lease)
        mine = sorted((row for row in inventory.instances if row.label == label), key=lambda row: row.id)
        if mine:
            self._journal.bind_instance(intent.lease, mine[0].id)
            self._journal.close_intent(intent.id, IntentState.DONE, {"adopted": mine[0].id, "by": "label"})
            self._journal.move(intent.lease, RunPhase.RENTED, "adopted by its label")
            self._ledger.observe(intent.lease, mine[0])
            return "adopted"
        if not self._provably_absent(intent.lease, inventory):
            return "undecided"
        self._journal.close_intent(intent.id, IntentState.FAILED, {"absent": True})
        self._journal.move(intent.lease, RunPhase.NEVER_WAS, "absent in two complete looks")
        return "never-was"

    def _settle_destroy(self, intent: Intent, inventory: Inventory) -> str:
        record = self._journal.lease(intent.lease)
        present = record is not None and any(row.id == record.instance_id for row in inventory.instances)
        if present:
            until = consent_until(intent)
            if self._clock.now() - intent.opened_at < SETTLING or (until is not None and self._clock.now() < until):
                return "undecided"  # the same consent may still carry a second try, after a look
            self._journal.close_intent(intent.id, IntentState.FAILED, {"present": True})
            self._journal.move(intent.lease, RunPhase.PARKED, "the delete did not happen; a new consent is needed")
            return "reappeared"
        if not self._provably_absent(intent.lease, inventory):
            return "undecided"
        self._journal.close_intent(intent.id, IntentState.DONE, {"absent": True})
        self._journal.move(intent.lease, RunPhase.CLOSED, "absent in two complete looks")
        self._ledger.observe(intent.lease, None)
        return "closed"

    def compare(self, record: LeaseRecord, inventory: Inventory) -> str:
        """One bound lease against one listing: ``held``, ``undecided``, ``closed``, ``never-was`` and the like."""
        row = next((one for one in inventory.instances if one.id == record.instance_id), None)
        if row is not None:
            self._ledger.observe(record.lease.id, row)
            if record.phase is RunPhase.CLOSED and row.label == label_of(record.lease.id):
                # An instance can reappear shortly after a delete (seen live, 2026).
                self._journal.move(record.lease.id, RunPhase.PARKED, "it reappeared after it was gone")
                return "reappeared"
            return "held"
        if record.phase not in HELD_PHASES:
            return "settled"
        if not self._provably_absent(record.lease.id, inventory):
            return "undecided"
        if record.phase is RunPhase.RENTED and not self._ledger.ever_seen(record.lease.id):
            self._journal.move(record.lease.id, RunPhase.NEVER_WAS, "VAST14: named by the platform, never shown")
            self._ledger.observe(record.lease.id, None)
            return "never-was"
        self._journal.move(record.lease.id, RunPhase.CLOSED, "gone from the account without a destroy of ours")
        self._ledger.observe(record.lease.id, None)
        return "closed"

    def _provably_absent(self, lease: LeaseId, inventory: Inventory) -> bool:
        """Keep this absence; it proves something when a complete look long enough before agreed."""
        if not inventory.complete:
            return False
        seen = self._journal.events(lease, kind=OBSERVED, limit=1)
        earlier = [e for e in self._journal.events(lease, kind=ABSENT) if not seen or e.at > seen[0].at]
        self._journal.record(ABSENT, lease, {"account": inventory.account_id, "listed": len(inventory.instances)})
        return bool(earlier) and self._clock.now() - earlier[0].at >= SETTLING
