"""Results home, and the proof that they are good."""

from typing import Annotated, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

from remote_gpu_trainer.domain.artifacts import Expectations, VerificationLevel
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.parameters import Acknowledge, Target
from remote_gpu_trainer.tools.progress import reported
from remote_gpu_trainer.tools.refusals import told
from remote_gpu_trainer.tools.shapes import made


class Expect(BaseModel):
    """What the results must hold."""

    model_config = ConfigDict(extra="forbid")

    files: Annotated[list[str], Field(description="Paths or globs, each matching at least one file")] = []
    counts: Annotated[dict[str, int], Field(description="Glob to the exact number of files")] = {}
    exact_roster: bool = False
    min_count: int | None = None
    min_step: int | None = None
    finite_metrics: list[str] = []
    metric_bounds: Annotated[dict[str, tuple[float | None, float | None]], Field(description="Least, largest")] = {}
    keys: Annotated[list[str], Field(description="Tensor names")] = []
    max_age_hours: float | None = None
    same_names_as: str | None = None
    min_level: Literal["PRESENT", "SIZE", "DIGEST", "LOADS"] = "LOADS"


def tools(services: Services) -> list[Tool]:
    """Make ``copy_out`` and ``verify_local``."""

    async def copy_out(
        ctx: Context,
        target: Target,
        paths: Annotated[list[str], Field(description="Remote folders; none: the job's results")] = [],  # noqa: B006 - read only
        destination: Annotated[
            str | None, Field(description="Absolute local folder, or s3://bucket/prefix; none: the run's own")
        ] = None,
        acknowledge: Acknowledge = [],  # noqa: B006 - read only
    ) -> answers.Copied:
        async with reported(ctx) as sink:
            receipt = await services.pull.copy_out(
                target, paths=tuple(paths), destination=destination, acknowledge=tuple(acknowledge), progress=sink
            )
        return answers.copied(receipt, services.guard.said(Stage.COPY, receipt.lease))

    async def verify_local(
        copy_id: str | None = None,
        path: Annotated[str | None, Field(description="A folder without a copy; proves no teardown")] = None,
        expect: Expect | None = None,
    ) -> answers.Proof:
        wanted = None
        if expect is not None:
            fields = expect.model_dump()
            wanted = made(
                Expectations,
                "Nothing was verified.",
                **{**fields, "min_level": VerificationLevel[expect.min_level]},
            )
        return answers.proof(await services.proof.verify(copy_id=copy_id, path=path, expect=wanted))

    return [
        Tool.from_function(
            told(copy_out),
            title="Copy results home",
            description=(
                "Copies results off the machine, hashed as they arrive. Cut off? The same call goes on where it was. A "
                "failure parks the run. Tell the person what was not copied."
            ),
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
        Tool.from_function(
            told(verify_local),
            title="Verify a copy",
            description=(
                "Hashes and really loads every file of a copy, each in its own limited process, and compares with what "
                "was expected. Levels: PRESENT < SIZE < DIGEST < LOADS < MEETS_EXPECTATIONS."
            ),
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
            ),
        ),
    ]
