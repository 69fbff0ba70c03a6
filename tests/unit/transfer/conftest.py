"""A rented machine on loopback, and a copy from it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import CopyReceipt, Route
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.domain.units import UsdPerGB
from remote_gpu_trainer.emulator.box import Box
from remote_gpu_trainer.ssh import ParamikoConnector, ParamikoHost
from remote_gpu_trainer.transfer import CopyLimits, pull
from tests.machines import plain_box

LEASE = LeaseId("digits-k3vq7m")
SCRIPT = (Path(__file__).parents[3] / "scripts" / "manifest.py").read_bytes()
LIMITS = CopyLimits(max_bytes=1 << 30, max_files=20_000, max_depth=16, keep_free_bytes=0)


class RealClock(SystemClock):
    """The system's time, with short pauses."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


@dataclass
class Far:
    """A box, and what it takes to copy from it."""

    box: Box
    connector: ParamikoConnector
    connections: list[ParamikoHost] = field(default_factory=list[ParamikoHost])
    before_connect: Callable[[int], None] = lambda number: None

    @property
    def out(self) -> Path:
        """``/workspace/out`` on the real disk."""
        return self.box.root / "workspace" / "out"

    async def connect(self) -> ParamikoHost:
        """A new connection to where the box answers now."""
        self.before_connect(len(self.connections))
        port = self.box.direct_port or 0
        host = await self.connector.connect(
            LEASE, [Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=port)], timeout_s=10
        )
        self.connections.append(host)
        return host

    async def pull(self, destination: Path, *roots: str, **other: Any) -> CopyReceipt:
        """Copy; ``/workspace/out`` unless other roots are named."""
        settings: dict[str, Any] = {"limits": LIMITS, "progress": None, "manifest_script": SCRIPT, **other}
        return await pull(
            settings.pop("factory", self.connect),
            roots=roots or ("/workspace/out",),
            destination=destination,
            lease=settings.pop("lease", LEASE),
            instance_id=InstanceId(7),
            route=Route.DIRECT_SSH,
            route_reason="the offer has a direct port",
            egress_usd_per_gb=UsdPerGB(0.02),
            clock=RealClock(),
            copy_id=CopyId("copy-1"),
            **settings,
        )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[Far]:
    """A running box in plain folders."""
    connector = ParamikoConnector(tmp_path / "keys", clock=RealClock())
    async with plain_box(tmp_path / "boxes" / "7", connector.public_key()) as box:
        made = Far(box, connector)
        made.out.mkdir(parents=True)
        yield made
        for host in made.connections:
            await host.close()
