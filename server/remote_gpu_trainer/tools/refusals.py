"""Every purposeful failure reaches the model as a tool error with its whole story; nothing else of it does."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ToolError

from remote_gpu_trainer.errors import RgtError

P = ParamSpec("P")
T = TypeVar("T")


def told(call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """The same call, whose ``RgtError`` becomes the SDK's ``ToolError`` with the error's own text.

    The SDK hides the text of any other exception from the client, which is what a crash should do.
    """

    @wraps(call)
    async def outcome(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await call(*args, **kwargs)
        except RgtError as error:
            raise ToolError(str(error)) from error

    return outcome
