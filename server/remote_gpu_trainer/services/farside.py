"""The result roots on the machine at one moment: what two looks are compared by."""

from collections.abc import Sequence
from dataclasses import dataclass

from remote_gpu_trainer import bundled
from remote_gpu_trainer.domain.artifacts import digest_of
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.manifests import read_manifest
from remote_gpu_trainer.transfer.rescue import Door, list_roots


@dataclass(frozen=True)
class FarSide:
    """Path, kind, size and time of everything below the roots, as one digest."""

    digest: str
    files: int
    bytes: int
    writers: tuple[str, ...]
    """Absolute remote paths that a process holds open for writing."""


def limits_of(policy: Policy) -> CopyLimits:
    """The policy's limits on a copy."""
    return CopyLimits(
        max_bytes=int(policy.max_copy_gib * 2**30), max_files=policy.max_copy_files, max_depth=policy.max_copy_depth
    )


def manifest_script() -> bytes:
    """The manifest builder that runs on the machine."""
    return bundled.read_bytes("scripts/manifest.py")


async def read_resting_side(door: Door, roots: Sequence[str], policy: Policy) -> FarSide:
    """List the roots of a machine that does not run, over its rsync: sizes and whole seconds."""
    manifests, left_out = await list_roots(door, roots, limits_of(policy))
    odd = [[number, entry.path, entry.size] for number, entry in left_out]
    return FarSide(
        digest=digest_of([[[manifest.root, manifest.fingerprint] for manifest in manifests], odd]),
        files=sum(len(manifest.files) for manifest in manifests),
        bytes=sum(manifest.size for manifest in manifests),
        writers=(),
    )


async def read_far_side(host: RemoteHost, roots: Sequence[str], policy: Policy) -> FarSide:
    """List the roots without reading the files."""
    manifests = await read_manifest(
        host, roots, hash=False, limits=limits_of(policy), manifest_script=manifest_script()
    )
    return FarSide(
        digest=digest_of([[manifest.root, manifest.fingerprint] for manifest in manifests]),
        files=sum(len(manifest.files) for manifest in manifests),
        bytes=sum(manifest.size for manifest in manifests),
        writers=tuple(
            f"{manifest.root}/{entry.path}"
            for manifest in manifests
            for entry in manifest.entries
            if entry.open_for_writing
        ),
    )
