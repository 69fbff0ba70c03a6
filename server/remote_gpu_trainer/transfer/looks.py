"""What the machine holds: before a copy, and once everything was fetched."""

import contextlib
from collections.abc import Sequence

from remote_gpu_trainer.domain.artifacts import SkippedEntry
from remote_gpu_trainer.errors import RemoteCommandFailed
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.fetch import BROKEN
from remote_gpu_trainer.transfer.leftovers import left_behind, question
from remote_gpu_trainer.transfer.lister import Lister, Question
from remote_gpu_trainer.transfer.roster import Roster

Seen = tuple[Roster, tuple[SkippedEntry, ...]]
"""The list as it is now, and what lies outside the copied paths."""


class Looks:
    """The looks of one copy: all by one process on the machine, as long as that lives."""

    def __init__(self, lister: Lister, roots: Sequence[str], disk: str) -> None:
        self._lister, self._roots, self._disk = lister, roots, disk
        self._earlier: Roster | None = None

    async def first(self, host: RemoteHost) -> Roster:
        """The list of the roots, within what a copy may take."""
        await self._lister.ask(host, Question(self._roots, for_copy=True))
        self._earlier = await self._lister.answer()
        return self._earlier

    def ask_already(self) -> None:
        """Let the machine look again while the last files go to the disk here: it has read them all."""
        if self._lister.waits:
            self._lister.send(*self._questions())

    async def again(self, host: RemoteHost) -> Seen:
        """The list as it is now, and what is left behind."""
        if self._lister.waits:  # since the first look, over the connection of that, which may be gone by now
            with contextlib.suppress(*BROKEN, RemoteCommandFailed):
                return await self._look(host)
        return await self._look(host)

    async def _look(self, host: RemoteHost) -> Seen:
        questions = self._questions()
        if self._lister.unanswered > len(questions):  # since it was asked first, more was fetched
            await self._lister.aclose()
        if not self._lister.unanswered:
            await self._lister.ask(host, *questions)
        roster = await self._lister.answer()
        left = await left_behind(self._lister.answer, self._roots, self._disk)
        self._earlier = roster
        return roster, left

    def _questions(self) -> tuple[Question, Question]:
        return Question(self._roots, earlier=self._earlier), question(self._roots, self._disk)
