"""A rented machine on loopback, for tests of what talks to one."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from remote_gpu_trainer.emulator.box import Box, BoxSpec


@asynccontextmanager
async def plain_box(root: Path, public_key: str) -> AsyncGenerator[Box]:
    """A running box in plain folders, served by paramiko at ``direct_port``."""
    box = Box(
        BoxSpec(
            instance_id=7,
            root=root,
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
    )
    await box.start(True, [public_key])
    try:
        yield box
    finally:
        await box.destroy()
