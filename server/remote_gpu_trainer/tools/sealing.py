"""The last look at every text before a model reads it: no value of a secret gets through."""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, InputRequiredResult, TextContent
from pydantic import AnyUrl

from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.errors import InvalidRequest, RgtError
from remote_gpu_trainer.rules.redaction import redact
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.consent import AddressToOpen


def _purposeful(refusal: BaseException) -> RgtError | None:
    cause: BaseException | None = refusal
    while cause is not None and not isinstance(cause, RgtError):
        cause = cause.__cause__
    return cause


T = TypeVar("T")


class SealedServer(MCPServer):
    """A server whose answers, refusals and resources hold no secret: those handed over by name, and known formats."""

    def __init__(self, services: Services, *, tools: list[Tool], **options: Any) -> None:
        super().__init__(tools=tools, **options)
        self._services = services
        self._arguments = {tool.name: tuple(tool.parameters["properties"]) for tool in tools}
        self._remembered = False

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """As the SDK's, sealed. Also the text with which the SDK refuses arguments, which quotes them."""
        await self._remember()
        try:
            self._demand_known(name, arguments)
            answer = await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise  # its text is the SDK's own; what the log makes of the cause is sealed where the log is made
        except (ToolError, InvalidRequest) as refusal:
            if isinstance(refusal.__cause__, AddressToOpen):
                return refusal.__cause__.result
            told = _purposeful(refusal)
            if told is None:
                raise ToolError(self._clean(str(refusal))) from None
            text = TextContent(type="text", text=str(refusal))
            answer = CallToolResult(content=[text], structured_content=answers.refused(told), is_error=True)
        return self._sealed(answer)

    def _demand_known(self, name: str, arguments: dict[str, Any]) -> None:
        """The SDK would leave an unknown argument out, and the model would believe that it counted."""
        known = self._arguments.get(name)
        strange = [] if known is None else [one for one in arguments if one not in known]
        if strange:
            raise InvalidRequest(
                f"{name} has no argument {', '.join(visible(one[:40]) for one in strange[:5])}",
                next_step=f"its arguments are {', '.join(known or ())}",
                effect="Nothing was done.",
            )

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """As the SDK's, sealed."""
        await self._remember()
        parts = await super().read_resource(uri, context)
        if isinstance(parts, InputRequiredResult):
            return parts
        return [
            ReadResourceContents(
                content=self._clean(part.content) if isinstance(part.content, str) else part.content,
                mime_type=part.mime_type,
                meta=part.meta,
            )
            for part in parts
        ]

    async def _remember(self) -> None:
        """Know the values that earlier servers handed to runs of this journal."""
        if not self._remembered:
            names = {name for record in self._services.journal.leases() for name in record.lease.secret_names}
            await anyio.to_thread.run_sync(self._services.secrets.remember, sorted(names))
            self._remembered = True

    def _clean(self, text: str) -> str:
        return redact(text, self._services.secrets.known())

    def _sealed(self, answer: CallToolResult | InputRequiredResult) -> CallToolResult | InputRequiredResult:
        if isinstance(answer, InputRequiredResult):
            return answer
        content = [type(part).model_validate(self._walked(part.model_dump(by_alias=True))) for part in answer.content]
        return answer.model_copy(
            update={"content": content, "structured_content": self._walked(answer.structured_content)}
        )

    def _walked(self, value: T) -> T:
        if isinstance(value, str):
            return cast(T, self._clean(value))
        if isinstance(value, dict):
            rows = cast("dict[str, object]", value)
            return cast(T, {key: self._walked(one) for key, one in rows.items()})
        return cast(T, [self._walked(one) for one in cast("list[object]", value)]) if isinstance(value, list) else value
