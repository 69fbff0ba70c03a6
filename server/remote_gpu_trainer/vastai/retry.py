"""When a call is sent again: jittered, bounded in number and in time, and only where a repeat changes nothing more."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from remote_gpu_trainer.errors import AnswerLost, MarketUnreachable, RateLimited, ServerFault
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.vastai.calls import Call, Repeat
from remote_gpu_trainer.vastai.pacing import MOST_WAIT_S

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds of the repeats. Times in seconds."""

    attempts: int = 5
    total_s: float = 30.0
    """No repeat begins later than this: one that hung for as long is told, since a client waits a minute or so."""
    first_wait_s: float = 0.5
    most_backoff_s: float = 8.0


def _repeatable(call: Call, error: BaseException) -> bool:
    if isinstance(error, AnswerLost):
        return call.repeat is Repeat.IDEMPOTENT
    return isinstance(error, MarketUnreachable | ServerFault | RateLimited)


class Retrier:
    """Runs a call, again where that is safe."""

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy, self._clock = policy, clock

    async def run(self, call: Call, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds; the last error when none does."""
        if call.repeat is Repeat.ONCE:
            return await attempt()
        began = self._clock.monotonic()

        def spent(state: RetryCallState) -> bool:
            waits = self._wait(state)
            late = self._clock.monotonic() - began + waits > self._policy.total_s
            return state.attempt_number >= self._policy.attempts or late or waits > MOST_WAIT_S

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _repeatable(call, error)),
            stop=spent,
            wait=self._wait,
            sleep=self._clock.sleep,
            reraise=True,
        )
        async for turn in retrying:
            with turn:
                return await attempt()
        raise AssertionError("tenacity ends with a result or an error")

    def _wait(self, state: RetryCallState) -> float:
        """Seconds: what the platform asked for, else exponential with full jitter above half."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            return error.retry_after_s
        ceiling = min(self._policy.most_backoff_s, self._policy.first_wait_s * 2 ** (state.attempt_number - 1))
        return ceiling * (0.5 + random.random() / 2)  # noqa: S311  # jitter between clients, not a secret
