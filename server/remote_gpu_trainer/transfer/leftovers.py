"""What stays behind on the data disk when only some paths are copied."""

from collections.abc import Awaitable, Callable, Sequence

from remote_gpu_trainer.domain.artifacts import EntryKind, Manifest, SkippedEntry
from remote_gpu_trainer.errors import LimitExceeded, RemoteCommandFailed
from remote_gpu_trainer.transfer.lister import Question
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.roster import Roster

DATA_DISK = "/workspace"
"""Where no other is named; the profile names one."""
OURS = ".rgt"
MOST_NAMED = 200
REASON = "outside the copied paths"


def question(roots: Sequence[str], disk: str) -> Question:
    """What to ask for, of the data disk outside the roots."""
    return Question([disk], without=[*roots, f"{disk}/{OURS}"])


async def left_behind(
    answer: Callable[[], Awaitable[Roster]], roots: Sequence[str], disk: str
) -> tuple[SkippedEntry, ...]:
    """Files of the data disk outside the roots, largest first; beyond 200 a last entry sums up the others.

    A disk that cannot be listed is one entry that says so: unknown is not nothing.
    """
    try:
        roster = await answer()
    except (RemoteCommandFailed, LimitExceeded) as bad:
        return (SkippedEntry(path=disk, size=0, reason=f"what lies there is unknown: {bad.message}"),)
    if 0 in roster.unreadable:
        return (SkippedEntry(path=disk, size=0, reason=f"what lies there is unknown: {roster.unreadable[0]}"),)
    return outside(roster.manifests[0], [entry for _, entry in roster.skipped], roots, disk=disk)


def outside(
    manifest: Manifest, skipped: Sequence[SkippedEntry], roots: Sequence[str], *, disk: str = DATA_DISK
) -> tuple[SkippedEntry, ...]:
    """What a list of the data disk names outside the roots, largest first, with its sum beyond 200 names."""
    covered = (*roots, f"{disk}/{OURS}")
    found = [
        SkippedEntry(path=shown(path), size=entry.size, reason=REASON)
        for entry in manifest.entries
        if entry.kind is not EntryKind.DIRECTORY and not _inside(path := f"{disk}/{entry.path}", covered)
    ]
    found += [
        entry.model_copy(update={"path": path, "reason": f"{REASON}; {entry.reason}"})
        for entry in skipped
        if not _inside(path := f"{disk}/{entry.path}", covered)
    ]
    found.sort(key=lambda entry: (-entry.size, entry.path))
    named, rest = found[:MOST_NAMED], found[MOST_NAMED:]
    if rest:
        size = sum(entry.size for entry in rest)
        named.append(SkippedEntry(path=f"{disk} ({len(rest):,} more)", size=size, reason=REASON))
    if manifest.truncated:
        named.append(SkippedEntry(path=disk, size=0, reason="the list of what lies there is not complete"))
    return tuple(named)


def _inside(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
