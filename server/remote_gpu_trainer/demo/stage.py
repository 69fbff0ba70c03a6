"""One connected client: calls a tool, keeps the step, and says what came back."""

import json
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from mcp import Client, StdioServerParameters
from mcp.client.session import ElicitationFnT
from mcp.types import CallToolResult, TextContent

from remote_gpu_trainer.demo.report import Report, Step
from remote_gpu_trainer.demo.screen import Screen
from remote_gpu_trainer.errors import RgtError

SLOWEST_CALL_S = 120.0
Json = dict[str, Any]


class ToolRefused(RgtError):
    """A tool call of the demo was refused where it should not have been."""

    code = "demo_refused"


@dataclass
class Caller:
    """Calls tools over one connection."""

    client: Client
    report: Report
    screen: Screen

    async def call(self, tool: str, arguments: Json, *, told: str) -> Json:
        """A call that has to succeed.

        Raises:
            ToolRefused: it did not.
        """
        answer, seconds = await self._send(tool, arguments, told)
        if answer.is_error:
            self.done(tool, f"refused: {text_of(answer)}", seconds)
            raise ToolRefused(f"{tool}: {text_of(answer)}")
        content = cast(Json, answer.structured_content or {})
        self.done(tool, "ok", seconds)
        return content

    async def attempt(self, tool: str, arguments: Json, *, told: str) -> str | None:
        """A call that should be refused: the text of the refusal, or None when it went through."""
        answer, seconds = await self._send(tool, arguments, told)
        text = text_of(answer) if answer.is_error else None
        self.done(tool, "went through" if text is None else f"refused [{code_in(text)}]", seconds)
        return text

    async def _send(self, tool: str, arguments: Json, told: str) -> tuple[CallToolResult, float]:
        self.screen.doing(tool, told)
        began = time.monotonic()
        answer = await self.client.call_tool(tool, arguments, read_timeout_seconds=SLOWEST_CALL_S)
        return answer, time.monotonic() - began

    def done(self, tool: str, outcome: str, seconds: float) -> None:
        """Keep a step and show it."""
        self.report.steps.append(Step(tool=tool, outcome=outcome, seconds=round(seconds, 3)))
        self.screen.done(tool, outcome, seconds)


@asynccontextmanager
async def connected(
    env: Mapping[str, str], report: Report, screen: Screen, *, person: ElicitationFnT | None
) -> AsyncGenerator[Caller]:
    """A server process of its own, and the SDK's client on its standard streams."""
    server = StdioServerParameters(command=sys.executable, args=["-m", "remote_gpu_trainer", "serve"], env=dict(env))
    async with Client(server, elicitation_callback=person, read_timeout_seconds=SLOWEST_CALL_S) as client:
        yield Caller(client, report, screen)


def text_of(answer: CallToolResult) -> str:
    """All text of an answer."""
    return "\n".join(part.text for part in answer.content if isinstance(part, TextContent)) or json.dumps(
        answer.structured_content
    )


def code_in(text: str) -> str:
    """The error code that a refusal begins with, or ``?``."""
    start = text.find("[")
    end = text.find("]", start)
    return text[start + 1 : end] if 0 <= start < end else "?"
