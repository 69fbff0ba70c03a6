"""Rate limits: a least interval per endpoint and identity, a shared allowance, and a daily search quota."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

SHARED_CALLS = 5
SHARED_WINDOW_S = 10.0
"""A captured 429 of 2026: about 5 requests in 10 s over all endpoints, ``retry_after`` 10."""
SEARCHES_PER_DAY = 20_000


@dataclass(frozen=True)
class Refused:
    """A 429: ``retry_after_s`` in real seconds; ``threshold_s`` of the endpoint as the message names it."""

    threshold_s: float | None
    retry_after_s: float
    limit: int = SHARED_CALLS


class Limits:
    """Counts calls in real time. At speed x every interval is x times shorter and the allowance x times wider."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._last: dict[tuple[int, str], float] = {}
        self._recent: dict[int, deque[float]] = {}

    def shared(self, identity: int, speed: float) -> Refused | None:
        """Count one call against the shared allowance; speed 0 is unlimited."""
        if speed <= 0:
            return None
        now, recent = self._now(), self._recent.setdefault(identity, deque())
        while recent and recent[0] <= now - SHARED_WINDOW_S:
            recent.popleft()
        if len(recent) >= SHARED_CALLS * max(1.0, speed):
            return Refused(None, recent[0] + SHARED_WINDOW_S - now)
        recent.append(now)
        return None

    def endpoint(self, identity: int, name: str, threshold_s: float, speed: float) -> Refused | None:
        """Count one call against an endpoint's least interval (emulated seconds); speed 0 is unlimited."""
        if speed <= 0 or threshold_s <= 0:
            return None
        now, key = self._now(), (identity, name)
        last, least = self._last.get(key), threshold_s / speed
        if last is not None and now - last < least:
            return Refused(threshold_s, least - (now - last))
        self._last[key] = now
        return None
