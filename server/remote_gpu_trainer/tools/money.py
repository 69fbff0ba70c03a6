"""What it costs."""

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from remote_gpu_trainer.services.container import Services
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.tools.refusals import told


def register(server: MCPServer, services: Services) -> None:
    """Add ``spend``."""

    async def spend() -> answers.Spend:
        return answers.spend(await services.spend.report())

    server.add_tool(
        told(spend),
        title="Money",
        description=(
            "Credit, burn per hour, cost of each run, work at risk, and all that still bills: stopped instances, "
            "volumes, instances that no run accounts for."
        ),
        annotations=ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        ),
    )
