"""Asking a machine what it holds."""

from collections.abc import Sequence

from remote_gpu_trainer.domain.artifacts import Manifest
from remote_gpu_trainer.errors import InvalidRequest, RemoteCommandFailed
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.transfer.cue import Cue
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.roster import Roster

MANY = 1000
FIND_PYTHON = (
    'p=$(command -v python3 || command -v python) || { echo no python on this machine >&2; exit 127; }; exec "$p" "$@"'
)


def python(*arguments: str) -> list[str]:
    """A command that runs the machine's Python, by whichever name it goes."""
    return ["sh", "-c", FIND_PYTHON, "sh", *arguments]


async def read_roster(
    host: RemoteHost,
    roots: Sequence[str],
    *,
    script: bytes,
    hash_files: bool,
    limits: CopyLimits,
    much: Cue | None = None,
    earlier: Roster | None = None,
    without: Sequence[str] = (),
    cue: Cue | None = None,
    for_copy: bool = False,
) -> Roster:
    """Lists of the roots, with what could not be listed.

    Args:
        host: Where to ask.
        roots: Absolute folders.
        script: The content of ``scripts/manifest.py``.
        hash_files: Whether the machine reads and hashes every file.
        limits: Entries and depth.
        much: Is given while they are still listed, once there are so many entries that it pays to prepare for them.
        earlier: An earlier answer about the same roots: of a list that is still the same only that is said.
        without: Absolute paths, as they are named from the roots, that are not listed with what is below them.
        cue: When the machine may begin to look; its Python is started at once.
        for_copy: All that is listed is to be copied, so that the limits on files and bytes hold for it as well.

    Raises:
        InvalidRequest: a root is not an absolute, plain path.
        RemoteCommandFailed: the machine has no Python, or its list is malformed.
        LimitExceeded: a list is longer than the limits.
        ConnectionCut: the connection ended first.
    """
    for root in roots:
        if not root.startswith("/") or "\0" in root or ".." in root.split("/"):
            raise InvalidRequest(
                f"{root!r} is no absolute path without '..'",
                next_step="name folders such as /workspace/out",
                effect="Nothing was copied.",
            )
    roster = Roster(
        list(roots),
        max_entries=limits.max_entries,
        max_depth=limits.max_depth,
        earlier=earlier,
        within=limits if for_copy else None,
    )
    arguments = [word for root in roots for word in ("--root", root)]
    arguments += [word for path in without for word in ("--without", path)]
    arguments += [word for digest in (earlier.digests if earlier else ()) for word in ("--known", digest)]
    arguments += ["--max-entries", str(limits.max_entries), "--max-depth", str(limits.max_depth)]
    arguments += ["--hash"] if hash_files else []
    async with host.stream(python("-", *arguments), stdin=script if cue is None else cue.pieces(script)) as output:
        if cue is not None:
            await cue.wait()  # silence until then is no cut
        lines = 0
        async for data in output:
            roster.feed(data)
            lines += data.count(b"\n")
            if much is not None and lines >= MANY:
                much.give()
    roster.end()
    return roster


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
    """
    roster = await read_roster(host, roots, script=manifest_script, hash_files=hash, limits=limits)
    for number, reason in roster.unreadable.items():
        raise RemoteCommandFailed(
            f"{roots[number]} cannot be listed: {reason}",
            next_step="check the path with read_logs or the job's settings",
            effect="Nothing was concluded about it.",
        )
    return roster.manifests
