"""Some workers side by side, whose first failure is the caller's own."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

import anyio


async def crew(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run the same work so many times at once; the first error ends the others and is raised by itself.

    A bare task group would raise a group of errors, which nobody above expects.
    """
    failed: BaseException | None = None
    try:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(work)
    except BaseExceptionGroup as many:
        failed = _first(many)
    if failed is not None:
        raise failed  # out here, so that its own cause stays the cause


def _first(bad: BaseException) -> BaseException:
    while isinstance(bad, BaseExceptionGroup):
        bad = cast(BaseExceptionGroup[BaseException], bad).exceptions[0]
    return bad
