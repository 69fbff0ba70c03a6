"""Time."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
