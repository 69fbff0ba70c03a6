"""Looking again and again at what nobody calls for: one process at a time, with pauses, and news told once."""

import fcntl
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.ports import Clock

EVERY_S = 60.0
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=10)
"""Between two looks at one machine that failed or does not fit yet: the first pause, and what doubling it ends at."""
_FIGURE = re.compile(r"\d+(\.\d+)?")


class News(Protocol):
    """What a round found about one run; its text is one line for a person."""

    @property
    def run(self) -> LeaseId:
        """Which."""
        ...


T = TypeVar("T", bound=News)


class Pauses:
    """When each run may be looked at again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[LeaseId, tuple[datetime, timedelta]] = {}

    def over(self, run: LeaseId) -> bool:
        """Whether it may be looked at now."""
        return run not in self._until or self._clock.now() >= self._until[run][0]

    def lengthen(self, run: LeaseId) -> None:
        """Wait before the next look, twice as long as before the last one."""
        _, last = self._until.get(run, (None, SHORTEST / 2))
        pause = min(last * 2, LONGEST)
        self._until[run] = (self._clock.now() + pause, pause)

    def end(self, run: LeaseId) -> None:
        """Begin with the shortest again."""
        self._until.pop(run, None)


async def repeat(
    look: Callable[[], Awaitable[Sequence[T]]],
    tell: Callable[[T], None],
    clock: Clock,
    *,
    every_s: float = EVERY_S,
) -> NoReturn:
    """Look until this is cancelled. What only differs in its figures, such as minutes that pass, is told once."""
    told: dict[LeaseId, str] = {}
    while True:
        for news in await look():
            kind = _FIGURE.sub("#", str(news))
            if told.get(news.run) != kind:
                tell(news)
            told[news.run] = kind
        await clock.sleep(every_s)


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
