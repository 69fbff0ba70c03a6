"""The real clock."""

import time
from datetime import UTC, datetime

import anyio


class SystemClock:
    """Time of this machine; implements ``ports.Clock``."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)
