"""A rented machine on loopback, and a copy from it."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Route
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.domain.units import UsdPerGB
from remote_gpu_trainer.emulator.box import Box, BoxSpec
from remote_gpu_trainer.ssh import ParamikoConnector, ParamikoHost
from remote_gpu_trainer.transfer import CopyLimits, pull

LEASE = LeaseId("digits-k3vq7m")
SCRIPT = (Path(__file__).parents[3] / "scripts" / "manifest.py").read_bytes()
LIMITS = CopyLimits(max_bytes=1 << 30, max_files=20_000, max_depth=16, keep_free_bytes=0)


class RealClock:
    """The system's time, with short pauses."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(min(seconds, 0.02))


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
    spec = BoxSpec(
        instance_id=7,
        root=tmp_path / "boxes" / "7",
        disk_bytes=1 << 33,
        env={},
        onstart="",
        gpu_name="RTX 4090",
        num_gpus=1,
        gpu_ram_mib=24564,
        driver_version="550",
        cuda_version="12.4",
        hostname="a1b2c3",
        isolation="none",
    )
    box = Box(spec)
    await box.start(True, [connector.public_key()])
    made = Far(box, connector)
    made.out.mkdir(parents=True)
    yield made
    for host in made.connections:
        await host.close()
    await box.destroy()
