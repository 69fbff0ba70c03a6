"""Nights: a run ends by itself where a person agreed beforehand, once every condition holds. Nobody is asked here."""

import fcntl
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.plans import TeardownPlan
from remote_gpu_trainer.domain.runs import HELD_PHASES, LeaseRecord
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.services.planning import Planner
from remote_gpu_trainer.services.sight import Looker
from remote_gpu_trainer.services.standing import StandingService
from remote_gpu_trainer.services.teardown import TeardownService
from remote_gpu_trainer.services.views import TeardownOutcome

EVERY_S = 60.0
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=10)
"""Between two looks at one machine that does not fit yet: the first pause, and what doubling it ends at."""
_FIGURE = re.compile(r"\d+(\.\d+)?")


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
        return f"{self.run}: {self.ended.note}, as agreed to beforehand{receipt}"


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
        self._pauses: dict[LeaseId, tuple[datetime, timedelta]] = {}
        """Per run, when its machine may be looked at next, and the pause before that."""

    async def keep(self, tell: Callable[[Night], None], *, every_s: float = EVERY_S) -> None:
        """Rounds until this is cancelled. ``tell`` hears of each end, and of what keeps a run whenever that changes."""
        told: dict[LeaseId, str] = {}
        while True:
            for night in await self.round():
                kind = _FIGURE.sub("#", "; ".join(night.waits_for))  # minutes that pass are no news
                if night.ended is not None or told.get(night.run) != kind:
                    tell(night)
                told[night.run] = kind
            await self._clock.sleep(every_s)

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
                    self._wait_longer(record.lease.id)
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
            self._pauses.pop(run, None)
            return Night(run, None, missing)
        if run in self._pauses and self._clock.now() < self._pauses[run][0]:
            return None
        if not undecided and (missing := await self._missing_on_machine(record)):
            self._wait_longer(run)
            return Night(run, None, missing)
        reached = await self._teardown.advance(run)
        if isinstance(reached, TeardownOutcome):
            return Night(run, reached, ())
        self._wait_longer(run)
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

    def _wait_longer(self, run: LeaseId) -> None:
        _, last = self._pauses.get(run, (None, SHORTEST / 2))
        pause = min(last * 2, LONGEST)
        self._pauses[run] = (self._clock.now() + pause, pause)


@contextmanager
def only_one(lock: Path) -> Generator[bool]:
    """Whether this process alone is inside. It never waits, and the system lets go for a process that dies."""
    with lock.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
