"""Least intervals between calls, kept before sending, and what the platform's own headers ask for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from remote_gpu_trainer.errors import RateLimited
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.vastai.answers import Answer
from remote_gpu_trainer.vastai.wire import read_number

MOST_WAIT_S = 60.0
"""The longest wait on the platform's word; a longer one is told to the caller (as the official CLI 1.9.1)."""
SPEC_INTERVALS_S: Mapping[str, float] = {
    "create": 4.5, "destroy": 3.0, "show": 2.0, "list": 1.0, "manage": 1.0, "bid": 5.5, "reboot": 1.0, "copy": 3.5,
    "command": 1.5, "ssh": 1.0, "volumes": 5.5, "charges": 1.0,
}  # fmt: skip
"""Seconds, as the 429 examples of the OpenAPI file name them (2026-08)."""

_THRESHOLD = re.compile(r"threshold\s*=\s*(\d{1,4}(?:\.\d{1,6})?)")
_EPOCH_FROM = 1_000_000_000.0


@dataclass(frozen=True)
class Pacing:
    """Least seconds between two calls of one family. Empty means: send at once and heed what comes back."""

    intervals_s: Mapping[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def for_host(cls, *, loopback: bool) -> "Pacing":
        """The platform's own intervals, or none for a server on this machine, which says so when it is too much."""
        return cls() if loopback else cls(SPEC_INTERVALS_S)


class Pacer:
    """Gives each call its moment. One per client: the platform counts per key."""

    def __init__(self, pacing: Pacing, clock: Clock) -> None:
        self._pacing, self._clock = pacing, clock
        self._free_at: dict[str, float] = {}
        self._held_until = 0.0

    async def turn(self, family: str, call_name: str, not_done: str) -> None:
        """Wait until this family may call again.

        Raises:
            RateLimited: that would take longer than MOST_WAIT_S; nothing was sent.
        """
        now = self._clock.monotonic()
        at = max(now, self._free_at.get(family, now), self._held_until)
        if at - now > MOST_WAIT_S:
            raise RateLimited(
                f"{call_name}: the platform asked for a pause that ends in {at - now:.0f} s",
                retry_after_s=at - now,
                next_step=f"repeat it after {at - now:.0f} s",
                effect=not_done,
            )
        self._free_at[family] = at + self._pacing.intervals_s.get(family, 0.0)
        if at > now:
            await self._clock.sleep(at - now)

    def heed(self, answer: Answer) -> None:
        """Take note of a pause that an answer asks for, for all families: the platform's allowance is shared."""
        wait = None
        if answer.status == 429:
            wait = asked_wait_s(answer, self._clock.now().timestamp())
        elif _number(answer.headers.get("x-ratelimit-remaining")) == 0:
            wait = _reset_s(answer.headers, self._clock.now().timestamp())
        if wait is not None and wait > 0:
            self._held_until = max(self._held_until, self._clock.monotonic() + min(wait, 86_400.0))


def asked_wait_s(answer: Answer, epoch_s: float) -> float | None:
    """Seconds that a 429 asks for: ``retry-after``, JSON ``retry_after``, ``x-ratelimit-reset``; None without."""
    told = _number(answer.headers.get("retry-after"))
    if told is None:
        told = _number((answer.row() or {}).get("retry_after"))
    return told if told is not None else _reset_s(answer.headers, epoch_s)


def threshold_s(text: str) -> float | None:
    """The least interval that a 429 names in its text, ``endpoint threshold=4.5``; None when it names none."""
    found = _THRESHOLD.search(text)
    return float(found[1]) if found else None


def _reset_s(headers: Mapping[str, str], epoch_s: float) -> float | None:
    reset = _number(headers.get("x-ratelimit-reset"))
    return reset - epoch_s if reset is not None and reset > _EPOCH_FROM else reset


def _number(value: object) -> float | None:
    found = read_number(value)
    return found if found is not None and 0 <= found < 1e12 else None
