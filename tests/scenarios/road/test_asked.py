"""A yes in the client is used at once, or it is none: nobody holds a token of it for later."""

from pathlib import Path

import pytest
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from tests.stage import Stage, on_stage

pytestmark = pytest.mark.anyio


async def test_a_yes_that_could_not_be_used_at_once_is_asked_for_again(tmp_path: Path) -> None:
    stages: list[Stage] = []
    names: list[str] = []

    async def person(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        stage = stages[0]
        if len(names) == 0:  # the platform fails while the person types
            stage.market.do("/faults", route="GET /api/*", kind="error", status=503, count=100)
        names.append(runs[0])
        return ElicitResult(action="accept", content={"name": runs[0]})

    runs: list[str] = []
    async with on_stage(tmp_path, person=person) as stage:
        stages.append(stage)
        run, instance_id, _ = await stage.proven("asked")
        runs.append(run)

        await stage.refused("destroy", target=run)
        stage.market.control.request("DELETE", "/faults")
        assert stage.there(instance_id)
        assert stage.services.approvals.open_requests() == []

        done = await stage.call("destroy", target=run)

    assert done["destroyed"] and len(names) == 2
