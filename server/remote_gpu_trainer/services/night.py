"""Nights: a run ends by itself where a person agreed beforehand, once every condition holds. Nobody is asked here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.plans import TeardownPlan
from remote_gpu_trainer.domain.runs import HELD_PHASES, LeaseRecord
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.services.planning import Planner
from remote_gpu_trainer.services.rounds import Pauses, only_one, repeat
from remote_gpu_trainer.services.sight import Looker
from remote_gpu_trainer.services.standing import StandingService
from remote_gpu_trainer.services.teardown import TeardownService
from remote_gpu_trainer.services.views import TeardownOutcome


@dataclass(frozen=True)
class Night:
    """What one round found about one run."""

    run: LeaseId
    ended: TeardownOutcome | None
    waits_for: tuple[str, ...]
    """What keeps it, one sentence each; empty when it ended."""

    def __str__(self) -> str:
        """One line for a person."""
        if self.ended is None:
            return f"{self.run}: the end that was agreed to beforehand waits: {'; '.join(self.waits_for)}"
        receipt = "" if self.ended.receipt_path is None else f"; receipt {self.ended.receipt_path}"
        return f"{self.run}, ended as agreed to beforehand: {self.ended.note}{receipt}"


class NightWatch:
    """Looks about once a minute. Before all conditions hold nothing is stopped, and nobody is asked.

    Args:
        lock: A file that one process at a time holds during its round, so that two servers do not both act.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        standing: StandingService,
        teardown: TeardownService,
        looker: Looker,
        planner: Planner,
        clock: Clock,
        lock: Path,
    ) -> None:
        self._journal = journal
        self._standing = standing
        self._teardown = teardown
        self._looker = looker
        self._planner = planner
        self._clock = clock
        self._lock = lock
        self._pauses = Pauses(clock)

    async def keep(self, tell: Callable[[Night], None]) -> NoReturn:
        """Rounds until this is cancelled. ``tell`` hears of each end, and of what keeps a run whenever that changes."""
        await repeat(self.round, tell, self._clock)

    async def round(self) -> list[Night]:
        """One look at each run that a person agreed about beforehand, and at deletes that were left open.

        A failure keeps its own run, with the reason, and is tried again after a pause; it stops no other run. Nothing
        is looked at while another process is at it.
        """
        found: list[Night] = []
        with only_one(self._lock) as alone:
            records = [one for one in self._journal.leases() if one.phase in HELD_PHASES] if alone else []
            for record in records:
                try:
                    night = await self._look(record)
                except RgtError as error:
                    self._pauses.lengthen(record.lease.id)
                    night = Night(record.lease.id, None, (error.message,))
                if night is not None:
                    found.append(night)
        return found

    async def _look(self, record: LeaseRecord) -> Night | None:
        run = record.lease.id
        undecided = any(one.lease == run and one.action == "destroy" for one in self._journal.open_intents())
        missing = self._standing.missing_on_record(record)
        if missing is None and not undecided:
            return None
        if missing and not undecided:
            self._pauses.end(run)
            return Night(run, None, missing)
        if not self._pauses.over(run):
            return None
        if not undecided and (missing := await self._missing_on_machine(record)):
            self._pauses.lengthen(run)
            return Night(run, None, missing)
        reached = await self._teardown.advance(run)
        if isinstance(reached, TeardownOutcome):
            return Night(run, reached, ())
        self._pauses.lengthen(run)
        plan = reached.plan
        why = self._standing.why_not(plan) if isinstance(plan, TeardownPlan) else None
        return Night(run, None, (why or f"a person has to decide about {reached.id}",))

    async def _missing_on_machine(self, record: LeaseRecord) -> tuple[str, ...]:
        """What keeps a run whose journal speaks for its end, from a look that changes nothing."""
        if not self._teardown.acts_beforehand(record):
            return ("the policy asks for a consent that cannot be given beforehand",)
        sight = await self._looker.look(record)
        volumes = await self._planner.volumes_of(sight.instance)
        self._planner.enforce(sight, volumes)
        return self._standing.missing(self._planner.plan(record, sight, sight, volumes))
