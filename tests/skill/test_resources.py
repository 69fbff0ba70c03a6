"""What a model can read over MCP before it acts: the profile whole and by section, each rule, the journeys."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp.types import TextContent, TextResourceContents

from remote_gpu_trainer.rules.registry import ALL_RULES
from remote_gpu_trainer.rules.render import section
from tests.stage import off_stage

pytestmark = pytest.mark.anyio
PROFILE = Path(__file__).parents[2] / "profiles" / "vastai.md"
JOURNEYS = {"train_cheapest", "recover", "bring_home", "explain_bill"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Client]:
    async with off_stage(tmp_path_factory.mktemp("home")) as connected:
        yield connected


async def read(client: Client, uri: str) -> str:
    (part,) = (await client.read_resource(uri)).contents
    assert isinstance(part, TextResourceContents)
    assert part.mime_type == "text/markdown"
    return part.text


async def test_the_profile_is_there_whole(client: Client) -> None:
    assert await read(client, "profile://vastai") == PROFILE.read_text(encoding="utf-8")


async def test_the_profile_is_there_by_section_and_the_sections_are_all_of_it(client: Client) -> None:
    parts = [await read(client, f"profile://vastai/{number}") for number in range(9)]

    assert PROFILE.read_text(encoding="utf-8").endswith("".join(parts))
    assert parts[5].startswith("## 5. Teardown and billing")


@pytest.mark.parametrize("rule_id", [rule.id for rule in ALL_RULES])
async def test_every_rule_is_there_by_its_id(client: Client, rule_id: str) -> None:
    rule = next(one for one in ALL_RULES if one.id == rule_id)

    assert await read(client, f"rule://{rule_id}") == section(rule)


@pytest.mark.parametrize("uri", ["rule://VAST99", "profile://vastai/9", "profile://vastai/billing", "run://nobody"])
async def test_what_is_not_there_is_said_to_be_missing(client: Client, uri: str) -> None:
    with pytest.raises(MCPError, match=r"no rule|no section|no open plan"):
        await client.read_resource(uri)


async def test_the_usual_journeys_are_prompts_that_name_only_tools_that_exist(client: Client) -> None:
    tools = {tool.name for tool in (await client.list_tools()).tools}
    prompts = (await client.list_prompts()).prompts

    assert {one.name for one in prompts} == JOURNEYS
    for one in prompts:
        given = {argument.name: "7" for argument in one.arguments or []}
        (message,) = (await client.get_prompt(one.name, given)).messages
        assert isinstance(message.content, TextContent)
        named = set(re.findall(r"\b[a-z]+_[a-z]+\b", message.content.text)) - {"next_step", "checkpoint_minutes"}
        assert named
        assert named <= tools


async def test_the_journey_home_leaves_the_decision_to_the_person(client: Client) -> None:
    (message,) = (await client.get_prompt("bring_home", {"run": "digits-k3vq7m"})).messages

    assert isinstance(message.content, TextContent)
    assert "let me decide" in message.content.text
