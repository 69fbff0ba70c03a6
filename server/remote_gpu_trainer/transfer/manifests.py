"""Asking a machine once what it holds."""

from collections.abc import Sequence
from contextlib import aclosing

from remote_gpu_trainer.domain.artifacts import Manifest
from remote_gpu_trainer.errors import RemoteCommandFailed
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.lister import Lister, Question


async def read_manifest(
    host: RemoteHost, roots: Sequence[str], *, hash: bool, limits: CopyLimits, manifest_script: bytes
) -> list[Manifest]:
    """One manifest for each root, in their order; everything in it is the machine's claim.

    Args:
        host: Where to ask.
        roots: Absolute folders.
        hash: Whether the machine reads and hashes every file.
        limits: Entries and depth.
        manifest_script: The content of ``scripts/manifest.py``; it is piped to the machine's Python.

    Raises:
        RemoteCommandFailed: a root cannot be listed, there is no Python, or the list is malformed.
        LimitExceeded: a list is longer than the limits.
        ConnectionCut: the connection ended first.
    """
    async with aclosing(Lister(manifest_script, limits)) as lister:
        await lister.ask(host, Question(roots, hash_files=hash))
        roster = await lister.answer()
    for number, reason in roster.unreadable.items():
        raise RemoteCommandFailed(
            f"{roots[number]} cannot be listed: {reason}",
            next_step="check the path with read_logs or the job's settings",
            effect="Nothing was concluded about it.",
        )
    return roster.manifests
