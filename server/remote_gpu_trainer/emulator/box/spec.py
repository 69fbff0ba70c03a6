"""What a box is made from, and what can go wrong with it on request."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Isolation = Literal["auto", "bubblewrap", "unshare", "none"]
SshFlavour = Literal["paramiko", "openssh"]
Network = Literal["shared", "own"]


@dataclass(frozen=True)
class BoxSpec:
    """One rented machine.

    ``root`` is the box's ``/`` on the real disk; what the host keeps about the box (logs, keys) lies beside it.
    ``disk_bytes`` is the size of its disk, ``gpu_ram_mib`` the memory of each GPU, ``env`` the container's environment,
    and ``onstart`` the script that runs at every start. ``isolation`` "auto" takes the first that works here of
    bubblewrap, unshare and none. ``mounts`` are real folders that outlive the box and the places in it where they lie;
    what is in them does not count as the box's disk. ``network`` "own" gives it ports that nobody outside can dial, and
    no way out.
    """

    instance_id: int
    root: Path
    disk_bytes: int
    env: dict[str, str]
    onstart: str
    gpu_name: str
    num_gpus: int
    gpu_ram_mib: int
    driver_version: str
    cuda_version: str
    hostname: str
    isolation: Isolation = "auto"
    ssh: SshFlavour = "paramiko"
    mounts: tuple[tuple[Path, str], ...] = ()
    network: Network = "shared"


@dataclass
class BoxFaults:
    """Switches for what goes wrong over SSH; they may change while the box runs.

    ``cut_after_bytes`` drops a connection once that many bytes went either way on it; ``stall`` holds every byte until
    it is switched off; ``change_host_key`` presents another key from the next connection on; ``banner_delay_s`` lets a
    client wait for the greeting; ``refuse_auth`` turns every key away.
    """

    cut_after_bytes: int | None = None
    stall: bool = False
    change_host_key: bool = False
    banner_delay_s: float = 0.0
    refuse_auth: bool = False


class BoxError(Exception):
    """A box could not do what was asked; the text says what and why."""
