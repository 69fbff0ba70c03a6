"""Reminders over kept machines, told on every look and journalled once per occasion."""

from datetime import datetime

from remote_gpu_trainer.domain.approvals import ApprovalState
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.instances import Instance
from remote_gpu_trainer.domain.reminders import Reminder, Waiting, reminders, runway_alarm
from remote_gpu_trainer.domain.runs import HELD_PHASES, LeaseRecord
from remote_gpu_trainer.ports import ApprovalBook, Clock, Journal
from remote_gpu_trainer.services.ledger import burn

REMINDED = "reminder"
PLANNED = "teardown.planned"
"""Event: a person was asked about the end of this run."""
_UNANSWERED = frozenset({ApprovalState.OPEN, ApprovalState.EXPIRED, ApprovalState.VOID, ApprovalState.LOCKED})


class ReminderService:
    """Knows what is due."""

    def __init__(self, *, journal: Journal, approvals: ApprovalBook, clock: Clock) -> None:
        self._journal = journal
        self._approvals = approvals
        self._clock = clock

    def for_run(self, record: LeaseRecord, instance: Instance) -> tuple[str, ...]:
        """What is due about one run's machine."""
        if record.phase not in HELD_PHASES:
            return ()
        waiting = Waiting(
            name=record.lease.id,
            asked_at=self._asked_at(record.lease.id),
            ends_at=instance.ends_at,
            usd_per_hour=burn(instance),
        )
        return self._told(record.lease.id, reminders(waiting, self._clock.now()))

    def for_credit(self, credit_usd: float, runway_hours: float | None) -> tuple[str, ...]:
        """What is due about the account's credit."""
        return self._told(None, runway_alarm(credit_usd, runway_hours))

    def _asked_at(self, lease: LeaseId) -> datetime | None:
        """When the person was first asked without an answer since; a decision or a new start begins anew."""
        since: datetime | None = None
        for kind in ("asked.start", "approval.declined", "approval.approved"):
            for event in self._journal.events(lease, kind=kind, limit=1):
                since = event.at if since is None else max(since, event.at)
        asked = [one for one in self._journal.events(lease, kind=PLANNED) if since is None or one.at > since]
        if not asked:
            return None
        last = self._approvals.get(ApprovalId(str(asked[-1].data.get("approval"))))
        return asked[0].at if last is not None and last.state in _UNANSWERED else None

    def _told(self, lease: LeaseId | None, due: tuple[Reminder, ...]) -> tuple[str, ...]:
        known = {str(event.data.get("key")) for event in self._journal.events(lease, kind=REMINDED)}
        for one in due:
            if one.key not in known:
                self._journal.record(REMINDED, lease, {"key": one.key, "text": one.text})
        return tuple(one.text for one in due)
