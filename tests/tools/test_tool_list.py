"""What a model reads on every turn: each tool's face, kept as a file, and the size of the whole."""

import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import Tool

from tests.stage import off_stage

pytestmark = pytest.mark.anyio
FACES = Path(__file__).with_name("schemas")
REWRITE = "RGT_REWRITE_SCHEMAS"
NAMES = {
    "search_offers",
    "create_instance",
    "poll_status",
    "push_files",
    "start_job",
    "read_logs",
    "resume_run",
    "copy_out",
    "verify_local",
    "stop_instance",
    "destroy",
    "spend",
}
MOST_BYTES = 16 * 1024
READ_ONLY = {"search_offers", "poll_status", "read_logs", "verify_local", "spend"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Client]:
    async with off_stage(tmp_path_factory.mktemp("home")) as connected:
        yield connected


@pytest.fixture(scope="module")
async def tools(client: Client) -> list[Tool]:
    return (await client.list_tools()).tools


def face(tool: Tool) -> str:
    row: dict[str, Any] = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(row, indent=2, sort_keys=True) + "\n"


async def test_the_tools_are_those_of_the_road_and_no_others(tools: list[Tool]) -> None:
    assert {tool.name for tool in tools} == NAMES
    assert len(tools) == len(NAMES)


async def test_each_tools_face_is_the_one_on_file(tools: list[Tool]) -> None:
    """Run with RGT_REWRITE_SCHEMAS=1 to keep an intended change."""
    if os.environ.get(REWRITE) == "1":
        for tool in tools:
            (FACES / f"{tool.name}.json").write_text(face(tool), encoding="utf-8")
    assert {file.stem for file in FACES.glob("*.json")} == NAMES
    for tool in tools:
        assert face(tool) == (FACES / f"{tool.name}.json").read_text(encoding="utf-8"), f"{tool.name} changed"


async def test_the_whole_list_is_small_enough_to_be_read_on_every_turn(tools: list[Tool]) -> None:
    rows = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
    assert len(json.dumps(rows, separators=(",", ":")).encode()) <= MOST_BYTES


async def test_all_four_annotations_are_set_on_purpose(tools: list[Tool]) -> None:
    for tool in tools:
        hints = tool.annotations
        assert hints is not None, tool.name
        four = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert None not in four, tool.name
        assert hints.read_only_hint == (tool.name in READ_ONLY), tool.name
    assert {tool.name for tool in tools if tool.annotations and tool.annotations.destructive_hint} == {"destroy"}


async def test_every_tool_says_what_it_is_and_answers_in_a_declared_shape(tools: list[Tool]) -> None:
    for tool in tools:
        assert tool.title, tool.name
        assert tool.description and len(tool.description) > 60, tool.name
        assert tool.output_schema, tool.name


async def test_no_parameter_lets_a_model_agree_in_a_persons_place(tools: list[Tool]) -> None:
    for tool in tools:
        names = set(tool.input_schema.get("properties", {}))
        assert not names & {"confirm", "confirmed", "force", "yes", "approve", "said", "asked"}, tool.name
    (destroy,) = (tool for tool in tools if tool.name == "destroy")
    assert set(destroy.input_schema["properties"]) == {"target", "approval_id", "token"}


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search_offers", {"hours": -1, "disk_gib": 20}, "hours"),
        ("search_offers", {"hours": 1, "disk_gib": 5}, "disk_gib"),
        ("create_instance", {"name": "Bad Name", "offer_id": 1, "image": "a:1", "hours": 1, "disk_gib": 20}, "name"),
        (
            "create_instance",
            {"name": "a", "offer_id": 1, "image": "a:1", "hours": 1, "disk_gib": 20, "secret_env": ["HF_TOKEN"]},
            "RGT_SECRET_",
        ),
        ("push_files", {"target": "a", "source": "relative/path"}, "not an absolute path"),
        ("poll_status", {"target": "a", "wait_s": 1e9}, "wait_s"),
        ("verify_local", {}, "either copy_id or path"),
        ("verify_local", {"copy_id": "copy-none"}, "there is no copy"),
        ("destroy", {"target": "nobody"}, "nobody"),
    ],
)
async def test_a_bad_argument_is_told_by_name_and_does_nothing(
    client: Client, tool: str, arguments: dict[str, Any], words: str
) -> None:
    answer = await client.call_tool(tool, arguments)

    assert answer.is_error
    assert words in str(answer.content)
    assert "Traceback" not in str(answer.content)
