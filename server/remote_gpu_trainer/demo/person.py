"""A scripted stand-in for the person, on the client's side of the protocol, where a person's answers come from."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult

_NAME = re.compile(r"^Destroy (\S+) \(instance", re.MULTILINE)


@dataclass
class StandIn:
    """Answers each question by typing the run's name. ``before_answer`` runs first, once."""

    before_answer: Callable[[], None] | None = None
    questions: list[str] = field(default_factory=list[str])

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        """Read the question, type the name."""
        if not isinstance(params, ElicitRequestFormParams):
            return ElicitResult(action="decline")
        self.questions.append(params.message)
        act, self.before_answer = self.before_answer, None
        if act is not None:
            act()
        named = _NAME.search(params.message)
        if named is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content={"name": named[1]})
