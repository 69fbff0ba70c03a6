"""Bringing the results of ended jobs home, and proving that they load, while no agent is there to do it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.runs import HELD_PHASES, JOB_ENDED, JOB_SET, LeaseRecord
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.ports import Clock, Journal
from remote_gpu_trainer.services.pull import FAR_SIDE, ProofService, PullService
from remote_gpu_trainer.services.rounds import Pauses, only_one, repeat
from remote_gpu_trainer.services.watch import WatchService


@dataclass(frozen=True)
class Brought:
    """What one round did for one run."""

    run: LeaseId
    told: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.run}: {self.told}"


class Homeward:
    """Copies once after a job's end, and verifies that copy once, without expectations of its own.

    A copy that somebody verified already, passed or not, is left alone: their expectations are the stronger ones.

    Args:
        lock: A file that one process at a time holds during its round, so that two do not copy the same.
    """

    def __init__(
        self, *, journal: Journal, views: WatchService, pull: PullService, proof: ProofService, clock: Clock, lock: Path
    ) -> None:
        self._journal = journal
        self._views = views
        self._pull = pull
        self._proof = proof
        self._clock = clock
        self._lock = lock
        self._pauses = Pauses(clock)

    async def keep(self, tell: Callable[[Brought], None]) -> NoReturn:
        """Rounds until this is cancelled."""
        await repeat(self.round, tell, self._clock)

    async def round(self) -> list[Brought]:
        """Bring home and prove what ended since. What fails is told, tried again after a pause, and stops no other."""
        found: list[Brought] = []
        with only_one(self._lock) as alone:
            records = [one for one in self._journal.leases() if one.phase in HELD_PHASES] if alone else []
            for record in records:
                run = record.lease.id
                if record.job is None or not self._pauses.over(run):
                    continue
                try:
                    told = await self._bring(record)
                except RgtError as error:
                    self._pauses.lengthen(run)
                    told = f"not home: {error.message}. {error.effect or ''}".rstrip()
                if told is not None:
                    found.append(Brought(run, told))
        return found

    async def _bring(self, record: LeaseRecord) -> str | None:
        run = record.lease.id
        copies = self._journal.copies(run)
        newest = copies[0] if copies and self._after_the_end(record, copies[0]) else None
        if newest is not None and self._journal.verification(newest.copy_id) is not None:
            return None
        if newest is None:
            beat = (await self._views.view(record)).job
            if beat is None or beat.state not in JOB_ENDED:
                return None
            newest = await self._pull.copy_out(run)
        report = await self._proof.verify(copy_id=newest.copy_id, path=None, expect=None)
        self._pauses.end(run)
        files, size = len(newest.manifest.files), show_bytes(newest.manifest.size)
        brought = f"{files} file{'' if files == 1 else 's'}, {size}, home in {newest.destination}"
        level = "nothing" if report.lowest_level is None else report.lowest_level.name
        return f"{brought}; every file reached {level}, the verification {'passed' if report.passed else 'FAILED'}"

    def _after_the_end(self, record: LeaseRecord, receipt: CopyReceipt) -> bool:
        """Whether the newest job had ended when this copy was made; one made in the middle lacks the newest."""
        begun = self._journal.events(record.lease.id, kind=JOB_SET, limit=1)
        if begun and receipt.started_at < begun[0].at:
            return False
        for event in reversed(self._journal.events(record.lease.id, kind=FAR_SIDE)):
            if event.data.get("copy_id") == receipt.copy_id:
                return event.data.get("job") in JOB_ENDED
        return False
