"""Clients that open addresses are sent to the page: opening it is no yes, and the address never reaches the model."""

from dataclasses import replace

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitRequestURLParams, ElicitResult, TextContent

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.door import LazyDoor
from remote_gpu_trainer.approval.pageserver import PageServer
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.tools.server import build_server
from tests.stage import Stage, on_stage

pytestmark = pytest.mark.anyio

POLICY = 'approval_level = "hardware"\n'


class Opener:
    """A client whose person opens every address that they are sent to, and answers nothing there."""

    def __init__(self) -> None:
        self.sent: list[ElicitRequestURLParams] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams), "level hardware is never answered in a form"
        self.sent.append(params)
        return ElicitResult(action="accept")


@pytest.mark.parametrize(("mode", "asked"), [("legacy", 1), ("2026-07-28", 0)])
async def test_accepting_an_address_means_opened_and_not_approved(
    tmp_path_factory: pytest.TempPathFactory, mode: str, asked: int
) -> None:
    async with on_stage(tmp_path_factory.mktemp("door"), policy=POLICY) as stage:
        run, instance_id, _ = await stage.proven("opened")
        file = stage.services.settings.home / "journal.sqlite"
        with SqliteApprovalBook(file, clock=SystemClock()) as book:
            door = LazyDoor(lambda: PageServer(book))
            try:
                text = await destroyed_by(replace_door(stage, door), run, opener := Opener(), mode)
            finally:
                door.close()
        assert "The instance was not destroyed" in text and stage.there(instance_id)
        assert len(opener.sent) == asked
        assert ("has opened the page, which is no answer yet" in text) == bool(asked)
        for one in opener.sent:
            assert one.url.startswith("http://localhost:") and one.url not in text
            assert one.url.rsplit("/", 1)[1] not in text
        (request,) = stage.services.approvals.open_requests()
        assert request.plan.name == run


def replace_door(stage: Stage, door: LazyDoor) -> Stage:
    return replace(stage, services=replace(stage.services, door=door))


async def destroyed_by(stage: Stage, run: str, opener: Opener, mode: str) -> str:
    async with Client(build_server(stage.services), elicitation_callback=opener, mode=mode) as client:
        answer = await client.call_tool("destroy", {"target": run}, read_timeout_seconds=50)
    assert answer.is_error
    return "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
