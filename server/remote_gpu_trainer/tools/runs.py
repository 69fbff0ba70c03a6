"""Watching, resuming and stopping a run."""

from typing import Annotated, Literal

from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import Field

from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.services.watch import MOST_WAIT_S
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.parameters import Acknowledge, Bid, Target
from remote_gpu_trainer.tools.refusals import told


def tools(services: Services) -> list[Tool]:
    """Make ``poll_status``, ``resume_run`` and ``stop_instance``."""

    async def poll_status(
        target: Annotated[str | None, Field(description="Run name or instance id; none: all that are held")] = None,
        wait_s: Annotated[float, Field(ge=0, le=MOST_WAIT_S)] = 0.0,
        until: Literal["running", "finished"] | None = None,
    ) -> answers.Runs:
        views = await services.watch.status(target, wait_s=wait_s, until=until)
        return answers.runs(views)

    async def resume_run(
        target: Target,
        method: Literal["auto", "restart", "rebid", "relaunch"] = "auto",
        bid_usd_per_hour: Bid = None,
        offer_id: Annotated[int | None, Field(description="For relaunch")] = None,
        acknowledge: Acknowledge = [],  # noqa: B006 - read only
    ) -> answers.Runs:
        bid = None if bid_usd_per_hour is None else UsdPerHour(bid_usd_per_hour)
        view = await services.resume.resume(
            target, method=method, bid=bid, offer_id=offer_id, acknowledge=tuple(acknowledge)
        )
        return answers.runs([view], services.guard.said(Stage.RESUME, view.lease))

    async def stop_instance(target: Target, acknowledge: Acknowledge = []) -> answers.Runs:  # noqa: B006 - read only
        view = await services.stopping.stop(target, acknowledge=tuple(acknowledge))
        return answers.runs([view], services.guard.said(Stage.STOP, view.lease))

    return [
        Tool.from_function(
            told(poll_status),
            title="Status of runs",
            description=(
                "Phase, cause with rule id, next step, SSH endpoints, job and cost of one run or all. Waits at most "
                "wait_s, and not at all for a state that cannot come. Follow next_step; when waits_help is false, "
                "waiting is over."
            ),
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
        Tool.from_function(
            told(resume_run),
            title="Resume a run",
            description=(
                "After a preemption, an exit or a lost host: restart in place, rebid, or relaunch on another offer. "
                "The job goes on from its latest checkpoint. Billing starts again."
            ),
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
            ),
        ),
        Tool.from_function(
            told(stop_instance),
            title="Stop an instance",
            description=(
                "Stops the GPU's bill and every process on the machine. The disk is kept and bills per day, without "
                'end (acknowledge ["VAST1"]). Its GPU may be rented away meanwhile.'
            ),
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
    ]
