"""Clients that open addresses are sent to the page: opening it is no yes, and the address never reaches the model."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    InputResponses,
    TextContent,
)

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.door import LazyDoor
from remote_gpu_trainer.approval.pageserver import PageServer
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.tools.server import build_server
from tests.stage import Stage, on_stage
from tests.unit.services.consent.test_renting import order, some_offer

pytestmark = pytest.mark.anyio

MODES = ("legacy", "2026-07-28")
POLICY = 'approval_level = "hardware"\n'
DEAR = 'max_usd_per_hour = 0.05\n[[approval]]\naction = "rent"\nabove_usd_per_hour = 0.0\nlevel = "hardware"\n'


Action = Literal["accept", "decline", "cancel"]


class Opener:
    """A client whose person opens every address that they are sent to, or none, and answers nothing there."""

    def __init__(self, action: Action = "accept") -> None:
        self.action: Action = action
        self.sent: list[ElicitRequestURLParams] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams), "level hardware is never answered in a form"
        self.sent.append(params)
        return ElicitResult(action=self.action)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[tuple[Stage, str, int]]:
    """A stage with a page, one run whose results are proven, and its instance."""
    async with on_stage(tmp_path_factory.mktemp("door"), policy=POLICY) as stage, with_a_page(stage) as paged:
        run, instance_id, _ = await stage.proven("opened")
        yield paged, run, instance_id


@asynccontextmanager
async def with_a_page(stage: Stage) -> AsyncGenerator[Stage]:
    with SqliteApprovalBook(stage.services.settings.home / "journal.sqlite", clock=SystemClock()) as book:
        door = LazyDoor(lambda: PageServer(book))
        try:
            yield replace(stage, services=replace(stage.services, door=door))
        finally:
            door.close()


@pytest.mark.parametrize("mode", MODES)
async def test_accepting_an_address_means_opened_and_not_approved(behind: tuple[Stage, str, int], mode: str) -> None:
    stage, run, instance_id = behind
    text = await destroyed_by(stage, run, opener := Opener(), mode)
    assert "The instance was not destroyed" in text and stage.there(instance_id)
    (one,) = opener.sent
    assert "has opened the page, which is no answer yet" in text
    assert one.url.startswith("http://localhost:") and one.url not in text
    assert one.url.rsplit("/", 1)[1] not in text
    (request,) = stage.services.approvals.open_requests()
    assert request.plan.name == run


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_an_address_that_nobody_opens_refuses_nothing_and_leaves_the_terminal(
    behind: tuple[Stage, str, int], mode: str, action: Action
) -> None:
    stage, run, instance_id = behind
    text = await destroyed_by(stage, run, opener := Opener(action), mode)
    assert len(opener.sent) == 1 and stage.there(instance_id)
    assert "has opened the page" not in text and "`rgt approve" in text
    (request,) = stage.services.approvals.open_requests()
    assert request.plan.name == run


async def test_an_answer_about_another_page_does_not_count(behind: tuple[Stage, str, int]) -> None:
    stage, run, instance_id = behind
    foreign: InputResponses = {"page-apr-other": ElicitResult(action="accept")}
    text = await destroyed_by(stage, run, opener := Opener("decline"), MODES[1], foreign)
    assert len(opener.sent) == 1 and stage.there(instance_id)
    assert "has opened the page" not in text


@pytest.mark.parametrize("mode", MODES)
async def test_a_dear_rental_is_decided_on_the_page_as_well(tmp_path: Path, mode: str) -> None:
    async with on_stage(tmp_path, policy=DEAR) as stage, with_a_page(stage) as paged:
        wanted = order(await some_offer(stage))
        async with Client(build_server(paged.services), elicitation_callback=(opener := Opener()), mode=mode) as client:
            text = refusal(await client.call_tool("create_instance", wanted, read_timeout_seconds=50))
        assert "Nothing was rented" in text and not stage.services.journal.leases()
    (one,) = opener.sent
    assert "has opened the page, which is no answer yet" in text and "call create_instance with approval_id=" in text
    assert one.url not in text


async def destroyed_by(
    stage: Stage, run: str, opener: Opener, mode: str, responses: InputResponses | None = None
) -> str:
    async with Client(build_server(stage.services), elicitation_callback=opener, mode=mode) as client:
        arguments = {"target": run}
        answer = await client.call_tool("destroy", arguments, input_responses=responses, read_timeout_seconds=50)
    return refusal(answer)


def refusal(answer: CallToolResult) -> str:
    """The text that the model reads."""
    assert answer.is_error
    return "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
