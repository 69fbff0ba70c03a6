"""Emulated time: it starts at a given moment, runs at a chosen speed, and can be frozen or moved forward."""

import time
from collections.abc import Callable


class Clock:
    """Seconds since the Unix epoch, as the emulated platform sees them.

    ``speed`` is emulated seconds per real second; 0 stands still but for :meth:`jump_to`. Time never goes back.
    """

    def __init__(self, speed: float, start: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        if speed < 0:
            raise ValueError(f"speed must not be negative, got {speed}")
        self._monotonic = monotonic
        self._speed = speed
        self._base = start
        self._mark = monotonic()
        self._holds = 0

    @property
    def speed(self) -> float:
        """Emulated seconds per real second."""
        return self._speed

    def now(self) -> float:
        """The emulated moment, in seconds since the epoch."""
        if self._holds:
            return self._base
        return self._base + (self._monotonic() - self._mark) * self._speed

    def set_speed(self, speed: float) -> None:
        """Change the speed from now on. Raises ValueError for a negative one."""
        if speed < 0:
            raise ValueError(f"speed must not be negative, got {speed}")
        self._rebase()
        self._speed = speed

    def hold(self) -> None:
        """Stand still until :meth:`release`; holds nest."""
        self._rebase()
        self._holds += 1

    def release(self) -> None:
        """Undo one :meth:`hold`."""
        self._holds -= 1
        self._mark = self._monotonic()

    def jump_to(self, moment: float) -> None:
        """Move forward to ``moment``; an earlier moment changes nothing."""
        self._rebase()
        self._base = max(self._base, moment)

    def real_seconds(self, emulated_s: float) -> float:
        """How long ``emulated_s`` lasts for somebody outside; 0 where time stands still."""
        return emulated_s / self._speed if self._speed else 0.0

    def _rebase(self) -> None:
        self._base = self.now()
        self._mark = self._monotonic()
