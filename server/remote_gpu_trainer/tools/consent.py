"""Asking the person through the client, for every tool that needs them. The model can ask; it cannot agree."""

from mcp.server.elicitation import (
    AcceptedElicitation,
    AcceptedUrlElicitation,
    DeclinedElicitation,
    ElicitationResult,
)
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestURLParams, ElicitResult, InputRequiredResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, Field

from remote_gpu_trainer.approval.elicitation import judge_answer
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.errors import ConfigError, ConsentDeclined, InvalidRequest
from remote_gpu_trainer.services.container import Services

CLIENT_SEEN = "client.seen"
"""Event: how the client can ask."""
ASKS_IN_RESULTS = "2026-07-28"
"""From this protocol version on a server sends no requests: a question is the result of the call, made again then."""


class AddressToOpen(ToolError):
    """The result that sends the person to the page, on its way out of a tool whose own questions are resolvers'.

    The SDK lets no such tool return it. ``SealedServer.call_tool`` makes it the result of the call.
    """

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("the person is sent to the page first")
        self.result = result


class TypedName(BaseModel):
    """What the person types."""

    name: str = Field(description="Type the name exactly to agree; decline to refuse")


class NotAsked(BaseModel):
    """The client was not asked: it cannot ask, a token came along, or the policy wants a stronger channel."""


Said = ElicitationResult[TypedName | NotAsked]


def may_ask(ctx: Context, request: ApprovalRequest, needed: AssuranceLevel) -> bool:
    """Whether an answer in the client would be enough, and the client can ask with a form.

    ``elicitation: {}`` is a client of the time before modes, and means forms.
    """
    if request.state is not ApprovalState.OPEN or needed is not AssuranceLevel.PERSON:
        return False
    capabilities = ctx.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def opened_page(ctx: Context, services: Services, request: ApprovalRequest, needed: AssuranceLevel) -> bool:
    """Send the person to the page through their client. True when they opened it, which agrees to nothing.

    The address goes to the client and not to the model. The page cannot answer for a key unsealed in a terminal.

    Raises:
        AddressToOpen: the client has to be told in the result of the call, and calls again then.
    """
    capabilities = ctx.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    answerable = needed in (AssuranceLevel.PERSON, AssuranceLevel.HARDWARE)
    if services.door is None or elicitation is None or elicitation.url is None or not answerable:
        return False
    if request.state is not ApprovalState.OPEN:
        return False
    invitation = f"Decide about {request.plan.name} on this computer's own page"
    version, key = ctx.protocol_version, f"page-{request.id}"
    in_results = version is not None and is_version_at_least(version, ASKS_IN_RESULTS)
    if in_results and (said := (ctx.input_responses or {}).get(key)) is not None:
        return isinstance(said, ElicitResult) and said.action == "accept"
    try:
        address = services.door.link(request.id)
        if in_results:
            asked = ElicitRequest(params=ElicitRequestURLParams(message=invitation, url=address))
            raise AddressToOpen(InputRequiredResult(input_requests={key: asked}))
        return isinstance(await ctx.elicit_url(invitation, address, request.id), AcceptedUrlElicitation)
    except (MCPError, ConfigError):
        return False


def note_client(services: Services, ctx: Context) -> None:
    """Keep how the connected client can ask, for ``rgt doctor``; once per change."""
    capabilities = ctx.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    how = "none"
    if elicitation is not None:
        modes = [name for name, mode in (("form", elicitation.form), ("url", elicitation.url)) if mode is not None]
        how = "+".join(modes) or "form"
    last = services.journal.events(kind=CLIENT_SEEN, limit=1)
    if not last or last[0].data.get("elicitation") != how:
        services.journal.record(CLIENT_SEEN, None, {"elicitation": how})


def was_asked(said: Said) -> bool:
    """Whether the client was asked at all."""
    return not (isinstance(said, AcceptedElicitation) and isinstance(said.data, NotAsked))


def demand_agreement(services: Services, request: ApprovalRequest, said: Said) -> None:
    """Take anything but the name, typed exactly, for a no, and keep it.

    Raises:
        ConsentDeclined: it is a no.
    """
    match said:
        case AcceptedElicitation(data=TypedName(name=name)):
            answer = judge_answer(request, "accept", name)
        case DeclinedElicitation():
            answer = judge_answer(request, "decline", None)
        case _:
            answer = judge_answer(request, "cancel", None)
    if not answer.agreed:
        services.approvals.decline(request.id, channel=Channel.ELICITATION, reason=answer.reason)
        raise ConsentDeclined(
            answer.reason,
            next_step="do not ask again unasked; tell the person what waiting costs",
            effect=effect_of(request.plan.action),
            details={"approval_id": request.id},
        )


def both_or_neither(approval_id: str | None, token: str | None, effect: str) -> None:
    """See that an approval's id and its token come together.

    Raises:
        InvalidRequest: one came alone.
    """
    if (approval_id is None) != (token is None):
        raise InvalidRequest(
            "approval_id and token belong together",
            next_step="pass both, as the person handed them over, or neither to get the plan",
            effect=effect,
        )
