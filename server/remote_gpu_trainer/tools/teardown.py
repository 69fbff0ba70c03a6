"""``destroy``: the plan, a person's consent, then the end. The model can ask and hand over; it cannot agree."""

from dataclasses import dataclass
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.elicitation import question
from remote_gpu_trainer.approval.refusal import after_opening, agreed_already
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.plans import TeardownPlan
from remote_gpu_trainer.errors import ConsentRequired, InvalidRequest
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.planning import NOT_DESTROYED
from remote_gpu_trainer.services.views import TeardownOutcome
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.consent import (
    NotAsked,
    Said,
    TypedName,
    both_or_neither,
    demand_agreement,
    may_ask,
    note_client,
    opened_page,
    was_asked,
)
from remote_gpu_trainer.tools.parameters import ApprovalIdGiven, Target, TokenGiven
from remote_gpu_trainer.tools.refusals import told


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
        both_or_neither(approval_id, token, NOT_DESTROYED)
        if token is not None:
            return Asked(None)
        reached = await services.teardown.advance(target)
        return Asked(None, reached) if isinstance(reached, TeardownOutcome) else Asked(reached)

    @told
    async def the_person(ctx: Context, asked: Annotated[Asked, Resolve(the_plan)]) -> Elicit[TypedName] | NotAsked:
        note_client(services, ctx)
        request = asked.request
        if request is None or not may_ask(ctx, request, services.teardown.level_of(request)):
            return NotAsked()
        return Elicit(question(request), TypedName)

    async def destroy(
        ctx: Context,
        target: Target,
        asked: Annotated[Asked, Resolve(the_plan)],
        said: Annotated[Said, Resolve(the_person)],
        approval_id: ApprovalIdGiven = None,
        token: TokenGiven = None,
    ) -> answers.Destroyed:
        if approval_id is not None and token is not None:
            return answers.destroyed(await services.teardown.execute(target, approval_id, token))
        if asked.ended is not None:
            return answers.destroyed(asked.ended)
        request = asked.request
        if request is None:
            raise InvalidRequest("no plan and no token", effect=NOT_DESTROYED)
        if not was_asked(said):
            opened = await opened_page(ctx, services, request, services.teardown.level_of(request))
            raise _required(services, request, opened=opened)
        demand_agreement(services, request, said)
        return answers.destroyed(await services.teardown.agreed(target, request.id, Channel.ELICITATION))

    return [
        Tool.from_function(
            told(destroy),
            title="Destroy an instance",
            description=(
                "Ends the meter and deletes everything on the machine, only with a person's consent to a plan. Call it "
                "with the target: where the client can ask, the person is asked; otherwise the plan comes back as an "
                "error with the step for the person. Needs a finished job, a copy and a passed verification. Again "
                "after an interruption it looks first."
            ),
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
            ),
        ),
    ]


def _required(services: Services, request: ApprovalRequest, *, opened: bool) -> ConsentRequired:
    level = services.teardown.level_of(request)
    if request.state is ApprovalState.APPROVED and level is not AssuranceLevel.CONSOLE:
        return agreed_already(request, "destroy")
    beforehand = services.standing.why_not(request.plan) if isinstance(request.plan, TeardownPlan) else None
    note = "" if beforehand is None else f" ({beforehand})"
    step = (after_opening(request, "destroy") if opened else "") + _step(level, request)
    return ConsentRequired(
        f"a person has to decide{note}. Show them this plan as it is:\n\n{render(request.plan)}",
        next_step=f"{step}. It expires at {request.expires_at:%H:%M:%S} UTC",
        effect=NOT_DESTROYED,
        details={"approval_id": request.id},
    )


def _step(needed: AssuranceLevel, request: ApprovalRequest) -> str:
    command, handed = (
        f"`rgt approve {request.id}` in a terminal of their own",
        (f"hands you the token; then call destroy with approval_id={request.id} and that token"),
    )
    match needed:
        case AssuranceLevel.PERSON:
            return f"the person runs {command} (with --web it opens as a page) and {handed}"
        case AssuranceLevel.SEALED:
            return (
                f"the person runs {command}, which unseals their key and destroys from there "
                f"(approval_id={request.id}, no token); then poll_status"
            )
        case AssuranceLevel.HARDWARE:
            return f"the person runs {command}, or opens its page, and touches their security key, and {handed}"
        case AssuranceLevel.CONSOLE:
            return (
                f"the person reads it with {command} (approval_id={request.id}) and destroys instance "
                f"{_instance(request)} in the platform's own console; then call destroy again, which closes the books"
            )


def _instance(request: ApprovalRequest) -> str:
    return str(request.plan.instance.id) if isinstance(request.plan, TeardownPlan) else "?"
