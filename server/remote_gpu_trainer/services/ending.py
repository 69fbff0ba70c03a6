"""The end of one rental: one DELETE under a spent consent, two absences, closed books. Resumed by looking."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from remote_gpu_trainer.approval.receipt import Absence, Receipt, write_receipt
from remote_gpu_trainer.approval.receiptpage import write_receipt_page
from remote_gpu_trainer.domain.approvals import Consent
from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import Volume
from remote_gpu_trainer.domain.plans import TeardownPlan
from remote_gpu_trainer.domain.runs import HELD_PHASES, Intent, IntentState, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import Usd
from remote_gpu_trainer.errors import AnswerLost, MarketError, NoSuchInstance, PermissionMissing, RgtError
from remote_gpu_trainer.ports import Clock, Journal, Marketplace
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.lookup import instance_of
from remote_gpu_trainer.services.planning import NOT_DESTROYED, in_words
from remote_gpu_trainer.services.views import TeardownOutcome

SECONDS_BETWEEN_LOOKS = 3.0
MOST_LOOKS = 20
ENOUGH = 2
"""Complete looks at the pinned account that have to agree, whether the instance is there or not."""


@dataclass
class Looks:
    """What several looks at the whole account came to."""

    absences: list[Absence] = field(default_factory=list[Absence])
    """The last looks, when all of them were complete and did not show the instance."""
    present: int = 0
    """How many complete looks in a row showed it."""

    @property
    def gone(self) -> bool:
        """Provably absent."""
        return len(self.absences) >= ENOUGH

    @property
    def there(self) -> bool:
        """Provably present."""
        return self.present >= ENOUGH


class Ending:
    """Ends rentals whose consent is spent."""

    def __init__(
        self,
        *,
        market: Marketplace,
        journal: Journal,
        watch: AccountWatch,
        ledger: Ledger,
        home: Path,
        clock: Clock,
    ) -> None:
        self._market = market
        self._journal = journal
        self._watch = watch
        self._ledger = ledger
        self._home = home
        self._clock = clock

    async def delete(
        self, record: LeaseRecord, plan: TeardownPlan, consent: Consent, intent: Intent
    ) -> TeardownOutcome:
        """Send the DELETE, once, and look until the instance is gone; bounded.

        Raises:
            MarketError: it was refused, and provably nothing happened; the consent is used up.
        """
        try:
            await self._market.destroy_instance(instance_of(record))
        except (AnswerLost, NoSuchInstance) as error:
            # It may be gone; only the account's own listing says so.
            self._doubtful(intent, {"code": error.code})
        except RgtError as error:
            self._journal.close_intent(intent.id, IntentState.FAILED, {"code": error.code})
            self._journal.move(record.lease.id, RunPhase.PARKED, f"the delete was refused: {error.code}")
            error.effect = f"{NOT_DESTROYED} The consent is used up; destroy again for a new one."
            if isinstance(error, PermissionMissing):
                error.next_step = (
                    "the server's key may not destroy: the person runs rgt approve, where theirs is unsealed"
                )
            raise
        looks = await self.look(record, there_after=None)
        if not looks.gone:
            self._doubtful(intent, {"absences": len(looks.absences)})
            return self._unconfirmed(record)
        return await self.close(record, plan, consent, looks, intent)

    async def look(self, record: LeaseRecord, *, there_after: int | None) -> Looks:
        """Look at the whole account until two looks agree that the instance is gone, at most ``MOST_LOOKS`` times.

        An account that cannot be read, another account, or half a listing counts for neither.

        Args:
            record: Whose instance.
            there_after: Also end when so many complete looks in a row show it; None goes on looking.
        """
        found = Looks()
        for _ in range(MOST_LOOKS):
            try:
                inventory = await self._watch.inventory()
            except MarketError as error:
                self._journal.record("absence.unread", record.lease.id, {"code": error.code})
                inventory = None
            if inventory is not None and inventory.complete:
                if any(row.id == record.instance_id for row in inventory.instances):
                    found.absences.clear()
                    found.present += 1
                else:
                    found.present = 0
                    absence = Absence(
                        at=self._clock.now(),
                        account_id=inventory.account_id,
                        instance_id=int(instance_of(record)),
                        instances_listed=len(inventory.instances),
                    )
                    found.absences.append(absence)
            if found.gone or (there_after is not None and found.present >= there_after):
                break
            await self._clock.sleep(SECONDS_BETWEEN_LOOKS)
        return found

    async def close(
        self, record: LeaseRecord, plan: TeardownPlan, consent: Consent, looks: Looks, intent: Intent | None
    ) -> TeardownOutcome:
        """Close the books over an instance that is provably gone, and write the receipt."""
        lease = record.lease.id
        if intent is not None:
            self._journal.close_intent(intent.id, IntentState.DONE, {"absences": len(looks.absences)})
        if record.phase in HELD_PHASES | {RunPhase.DESTROYING}:
            self._ledger.observe(lease, None)
            self._journal.move(lease, RunPhase.CLOSED, "absent in two complete looks at the pinned account")
        spent = self._ledger.spent(lease)
        volumes = in_words(await self._volumes_left(plan))
        receipt = Receipt(
            plan=plan,
            consent=consent,
            absences=tuple(looks.absences),
            estimated_cost=spent,
            billed_cost=await self._billed(record),
            volumes_billing_on=volumes,
            closed_at=self._clock.now(),
            program_version=plan.program_version,
        )
        path, note = self._written(receipt)
        return TeardownOutcome(
            lease=lease,
            instance_id=instance_of(record),
            destroyed=True,
            confirmed=True,
            spent_usd=spent,
            receipt_path=path,
            volumes_billing_on=volumes,
            note=note,
        )

    def _written(self, receipt: Receipt) -> tuple[str | None, str]:
        try:
            file = write_receipt(self._home, receipt)
        except (RgtError, OSError) as error:
            return None, f"gone, its meter is off; the receipt could not be written: {error}"
        try:
            write_receipt_page(file, receipt)
        except (RgtError, OSError) as error:
            return str(file), f"gone, its meter is off; the receipt's page could not be written: {error}"
        return str(file), f"gone in two complete looks at the account; its meter is off; to read: {file.stem}.html"

    def _doubtful(self, intent: Intent, answer: dict[str, str | int]) -> None:
        self._journal.close_intent(intent.id, IntentState.AMBIGUOUS, {**answer})

    def _unconfirmed(self, record: LeaseRecord) -> TeardownOutcome:
        return TeardownOutcome(
            lease=record.lease.id,
            instance_id=instance_of(record),
            destroyed=False,
            confirmed=False,
            spent_usd=self._ledger.spent(record.lease.id),
            receipt_path=None,
            volumes_billing_on=(),
            note=(
                "the delete was sent and its end is not confirmed, so it may still bill; destroy again looks first, "
                "and repeats the delete only under the same consent while that has not expired"
            ),
        )

    async def _volumes_left(self, plan: TeardownPlan) -> tuple[Volume, ...] | None:
        try:
            volumes = await self._market.volumes()
        except MarketError:
            return None
        return tuple(v for v in volumes if v.machine_id == plan.instance.machine_id)

    async def _billed(self, record: LeaseRecord) -> Usd | None:
        """The platform's own charges for this instance. They can lag behind by hours; None when they say nothing."""
        try:
            charges = await self._market.charges(record.lease.opened_at - timedelta(hours=1))
        except MarketError:
            return None
        mine = [one.amount for one in charges if one.instance_id == _number(record.instance_id)]
        return Usd(sum(mine)) if mine else None


def _number(instance_id: InstanceId | None) -> int | None:
    return None if instance_id is None else int(instance_id)
