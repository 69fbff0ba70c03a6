"""Some workers side by side, whose first failure is the caller's own."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

import anyio

A = TypeVar("A")
B = TypeVar("B")


async def crew(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run the same work so many times at once; the first error ends the others and is raised by itself.

    A bare task group would raise a group of errors, which nobody above expects.
    """
    failed: BaseException | None = None
    try:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(work)
    except BaseExceptionGroup as many:  # the task group wraps even a lone error, and callers want that one
        failed = _first(many)
    if failed is not None:
        raise failed  # out here, so that its own cause stays the cause


async def both(one: Callable[[], Awaitable[A]], other: Callable[[], Awaitable[B]]) -> tuple[A, B]:
    """Two questions at once; the first error ends the other and is raised by itself."""
    answers: dict[int, Any] = {}

    async def ask(number: int, question: Callable[[], Awaitable[Any]]) -> None:
        answers[number] = await question()

    failed: BaseException | None = None
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, 0, one)
            group.start_soon(ask, 1, other)
    except BaseExceptionGroup as many:  # the task group wraps even a lone error, and callers want that one
        failed = _first(many)
    if failed is not None:
        raise failed
    return answers[0], answers[1]


def _first(bad: BaseException) -> BaseException:
    while isinstance(bad, BaseExceptionGroup):
        bad = cast(BaseExceptionGroup[BaseException], bad).exceptions[0]
    return bad
