"""The other side of all refusals: a person's yes does destroy, once, however many hands use it at the same time."""

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.adversarial.scene import ERAS, HastyClock, Scene
from tests.stage import on_stage

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]

CONNECTIONS = 50


async def test_of_fifty_connections_with_the_right_token_one_destroys_once(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rightful")
    async with on_stage(folder, policy=scene.policy, market=scene.market) as stage:
        run, instance_id, copy = await stage.proven("rightful")
        mine = replace(scene, folder=folder, run=run, instance_id=instance_id, copy=copy)
        answers: list[Any] = []
        async with AsyncExitStack() as stack:
            eras = list(ERAS)
            doors = [
                await stack.enter_async_context(mine.door(eras[number % 2], clock=HastyClock()))
                for number in range(CONNECTIONS)
            ]
            request = await doors[0].ask()
            token = mine.mint(request)
            # Every DELETE is counted by a fault that does nothing.
            scene.market.do("/faults", route="DELETE /api/v0/instances/*", kind="slow", delay_s=0.0, count=1000)

            async def use(number: int) -> None:
                arguments = {"target": run, "approval_id": request.id, "token": token}
                answers.append(await doors[number].client.call_tool("destroy", arguments, read_timeout_seconds=50))

            async with anyio.create_task_group() as group:
                for number in range(CONNECTIONS):
                    group.start_soon(use, number)
        [counted] = scene.market.look("/faults")["armed"]
        scene.market.control.request("DELETE", "/faults", json={}).raise_for_status()

    assert len(answers) == CONNECTIONS
    assert [answer.structured_content["destroyed"] for answer in answers if not answer.is_error] == [True]
    assert counted["hits"] == 1
    assert not mine.there() and scene.there()
