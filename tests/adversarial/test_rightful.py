"""The other side of all refusals: a person's yes does destroy, once, however many hands use it at the same time."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from tests.adversarial.scene import ERAS, Door, HastyClock, Scene
from tests.stage import on_stage

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]

CONNECTIONS = 50


async def rush(mine: Scene, arguments: Callable[[Door], Awaitable[dict[str, Any]]]) -> tuple[list[Any], int]:
    """Call destroy through fifty connections to as many servers at once: the answers, and how many DELETEs went out."""
    answers: list[Any] = []
    async with AsyncExitStack() as stack:
        eras = list(ERAS)
        doors = [
            await stack.enter_async_context(mine.door(eras[number % 2], clock=HastyClock()))
            for number in range(CONNECTIONS)
        ]
        handed = await arguments(doors[0])
        # Every DELETE is counted by a fault that does nothing.
        mine.market.do("/faults", route="DELETE /api/v0/instances/*", kind="slow", delay_s=0.0, count=1000)

        async def use(door: Door) -> None:
            answers.append(await door.client.call_tool("destroy", {"target": mine.run} | handed, 50))

        async with anyio.create_task_group() as group:
            for door in doors:
                group.start_soon(use, door)
    [counted] = mine.market.look("/faults")["armed"]
    mine.market.control.request("DELETE", "/faults", json={}).raise_for_status()
    assert len(answers) == CONNECTIONS
    return answers, counted["hits"]


@asynccontextmanager
async def another_machine(scene: Scene, folder: Path, name: str) -> AsyncGenerator[Scene]:
    """A run of its own on the same market, proven like the other."""
    async with on_stage(folder, policy=scene.policy, market=scene.market) as stage:
        run, instance_id, copy = await stage.proven(name)
        yield replace(scene, folder=folder, run=run, instance_id=instance_id, copy=copy)


async def test_of_fifty_connections_with_the_right_token_one_destroys_once(scene: Scene, tmp_path: Path) -> None:
    async with another_machine(scene, tmp_path, "rightful") as mine:

        async def token(door: Door) -> dict[str, Any]:
            request = await door.ask()
            return {"approval_id": request.id, "token": mine.mint(request)}

        answers, deletes = await rush(mine, token)

    assert [answer.structured_content["destroyed"] for answer in answers if not answer.is_error] == [True]
    assert deletes == 1
    assert not mine.there() and scene.there()


async def test_of_fifty_connections_under_one_consent_given_beforehand_one_destroys_once(
    scene: Scene, tmp_path: Path
) -> None:
    given: list[ApprovalRequest] = []
    async with another_machine(scene, tmp_path, "nightly") as mine:

        async def nothing(door: Door) -> dict[str, Any]:
            await door.ask()  # the plan that all of them find
            request = await door.services.teardown.ask_beforehand(
                mine.run, least_level=VerificationLevel.LOADS, idle_minutes=0, most_unsaved_bytes=100 << 20, hours=1
            )
            mine.mint(request)
            given.append(request)
            return {}

        _, deletes = await rush(mine, nothing)
        with SqliteApprovalBook(mine.journal, clock=HastyClock()) as book:
            known = book.get(given[0].id)

    assert known is not None and known.state is ApprovalState.SPENT
    assert deletes == 1
    assert not mine.there() and scene.there()
