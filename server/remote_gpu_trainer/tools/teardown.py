"""``destroy``: the plan, a person's consent, then the end. The model can ask and hand over; it cannot agree."""

from dataclasses import dataclass
from typing import Annotated

from mcp.server.elicitation import AcceptedElicitation, DeclinedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.elicitation import judge_answer, question
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.errors import ConsentDeclined, ConsentRequired, InvalidRequest
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.planning import NOT_DESTROYED
from remote_gpu_trainer.services.views import TeardownOutcome
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.parameters import Target
from remote_gpu_trainer.tools.refusals import told


class TypedName(BaseModel):
    """What the person types."""

    name: str = Field(description="Type the name of the run exactly to destroy it; decline to keep it")


class NotAsked(BaseModel):
    """The client was not asked: it cannot ask, a token came along, or the policy wants a stronger channel."""


@dataclass(frozen=True)
class Asked:
    """The plan that this call is about; None when the caller brings a token for one."""

    request: ApprovalRequest | None
    ended: TeardownOutcome | None = None
    """The end, where nobody had to be asked: consent was given beforehand, or an interrupted delete was settled."""


def tools(services: Services) -> list[Tool]:
    """Make ``destroy``."""

    @told
    async def the_plan(target: str, approval_id: str | None, token: str | None) -> Asked:
        if (approval_id is None) != (token is None):
            raise InvalidRequest(
                "approval_id and token belong together",
                next_step="pass both, as the person handed them over, or neither to get the plan",
                effect=NOT_DESTROYED,
            )
        if token is not None:
            return Asked(None)
        reached = await services.teardown.advance(target)
        return Asked(None, reached) if isinstance(reached, TeardownOutcome) else Asked(reached)

    @told
    async def the_person(ctx: Context, asked: Annotated[Asked, Resolve(the_plan)]) -> Elicit[TypedName] | NotAsked:
        request = asked.request
        if request is None or request.state is not ApprovalState.OPEN:
            return NotAsked()
        if services.settings.policy.approval_level is not AssuranceLevel.PERSON or not _can_ask(ctx):
            return NotAsked()
        return Elicit(question(request), TypedName)

    async def destroy(
        target: Target,
        asked: Annotated[Asked, Resolve(the_plan)],
        said: Annotated[ElicitationResult[TypedName | NotAsked], Resolve(the_person)],
        approval_id: Annotated[str | None, Field(description="From the plan")] = None,
        token: Annotated[str | None, Field(description="What the person read to you; never guess")] = None,
    ) -> answers.Destroyed:
        if approval_id is not None and token is not None:
            return answers.destroyed(await services.teardown.execute(target, approval_id, token))
        if asked.ended is not None:
            return answers.destroyed(asked.ended)
        request = asked.request
        if request is None:
            raise InvalidRequest("no plan and no token", effect=NOT_DESTROYED)
        if isinstance(said, AcceptedElicitation) and isinstance(said.data, NotAsked):
            raise _required(request)
        _demand_agreement(services, request, said)
        minted = services.teardown.agree(request.id, Channel.ELICITATION)
        return answers.destroyed(await services.teardown.execute(target, request.id, minted))

    return [
        Tool.from_function(
            told(destroy),
            title="Destroy an instance",
            description=(
                "Ends the meter and deletes everything on the machine, only with a person's consent to a plan. Call it "
                "with the target: where the client can ask, the person is asked; otherwise the plan comes back as an "
                "error with the step for the person. Needs a finished job, a copy and a passed verification."
            ),
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
            ),
        ),
    ]


def _demand_agreement(
    services: Services, request: ApprovalRequest, said: ElicitationResult[TypedName | NotAsked]
) -> None:
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
            next_step="do not ask again unasked; tell the person what the machine goes on costing",
            effect=NOT_DESTROYED,
            details={"approval_id": request.id},
        )


def _can_ask(ctx: Context) -> bool:
    capabilities = ctx.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def _required(request: ApprovalRequest) -> ConsentRequired:
    return ConsentRequired(
        f"a person has to decide. Show them this plan as it is:\n\n{render(request.plan)}",
        next_step=(
            f"the person runs `rgt approve {request.id}` in a terminal of their own and hands you the token; then call "
            f"destroy with approval_id={request.id} and that token. It expires at {request.expires_at:%H:%M:%S} UTC"
        ),
        effect=NOT_DESTROYED,
        details={"approval_id": request.id},
    )
