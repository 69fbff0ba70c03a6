"""Resources: the profile, the rules and a run's open plan, for a model that wants to read before it acts."""

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError

from remote_gpu_trainer import bundled
from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.errors import ConfigError, InvalidRequest
from remote_gpu_trainer.rules.platform import profile_sections
from remote_gpu_trainer.rules.registry import rule
from remote_gpu_trainer.rules.render import section
from remote_gpu_trainer.services.container import Services

MARKDOWN = "text/markdown"


def register(server: MCPServer, services: Services) -> None:
    """Add ``profile://vastai`` whole and by section, ``rule://{id}`` and ``run://{name}``."""

    @server.resource("profile://vastai", name="profile", mime_type=MARKDOWN, description="The platform, whole")
    def profile() -> str:
        return bundled.read_text("profiles/vastai.md")

    @server.resource(
        "profile://vastai/{name}", name="profile section", mime_type=MARKDOWN, description="One section of it"
    )
    def profile_section(name: str) -> str:
        sections = profile_sections(bundled.read_text("profiles/vastai.md"))
        if name not in sections:
            raise ResourceNotFoundError(f"the profile has no section {name[:40]!r}; it has {', '.join(sections)}")
        return sections[name]

    @server.resource("rule://{rule_id}", name="rule", mime_type=MARKDOWN, description="One rule, for example VAST8")
    def one_rule(rule_id: str) -> str:
        try:
            return section(rule(rule_id))
        except (InvalidRequest, ConfigError) as error:
            raise ResourceNotFoundError(str(error)) from error

    @server.resource("run://{name}", name="run", mime_type=MARKDOWN, description="The open teardown plan of a run")
    def dossier(name: str) -> str:
        for request in services.approvals.open_requests():
            if request.plan.name == name:
                return render(request.plan)
        raise ResourceNotFoundError(f"no open plan is about {name[:60]!r}")
