"""A program of its own that copies home from a box on loopback, and is killed in the middle."""

import os
import signal
import sys
from pathlib import Path

import anyio

from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.ids import CopyId, InstanceId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.ssh import ParamikoConnector, ParamikoHost
from remote_gpu_trainer.transfer import pull
from remote_gpu_trainer.transfer.limits import Progress
from tests.unit.transfer.conftest import LEASE, LIMITS, SCRIPT, RealClock


class Hasty(RealClock):
    """Time that flies, so that every piece is a report."""

    def monotonic(self) -> float:
        return super().monotonic() * 1e6


async def main(keys: Path, port: int, home: Path, most: int) -> None:
    """Copy until so many bytes have come; say how many, and die without a chance to tidy up."""
    connector = ParamikoConnector(keys, clock=RealClock())

    async def connect() -> ParamikoHost:
        where = Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=port)
        return await connector.connect(LEASE, [where], timeout_s=10)

    def tell(progress: Progress) -> None:
        if progress.bytes_done > most:
            os.write(1, str(progress.bytes_done).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    await pull(
        connect,
        roots=["/workspace/out"],
        destination=home,
        progress=tell,
        limits=LIMITS,
        manifest_script=SCRIPT,
        clock=Hasty(),
        lease=LEASE,
        instance_id=InstanceId(7),
        route=Route.DIRECT_SSH,
        route_reason="the offer has a direct port",
        egress_usd_per_gb=None,
        copy_id=CopyId("copy-1"),
    )


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
