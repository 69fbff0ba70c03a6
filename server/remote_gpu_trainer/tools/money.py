"""What it costs."""

from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations

from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools import balance
from remote_gpu_trainer.tools.refusals import told


def tools(services: Services) -> list[Tool]:
    """Make ``spend``."""

    async def spend() -> balance.Spend:
        return balance.spend(await services.spend.report())

    return [
        Tool.from_function(
            told(spend),
            title="Money",
            description=(
                "Credit, burn per hour, cost of each run, work at risk, and all that still bills: stopped instances, "
                "volumes, instances that no run accounts for."
            ),
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
    ]
