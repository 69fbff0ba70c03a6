"""From the machine's list to the files that will be fetched, with everything else named."""

from collections.abc import Sequence

from remote_gpu_trainer.domain.artifacts import EntryKind, Manifest, SkippedEntry
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.units import Usd, show_bytes, show_usd
from remote_gpu_trainer.errors import LimitExceeded, LocalDiskFull, RouteRefused
from remote_gpu_trainer.transfer.crowd import Crowd, Source
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.paths import TakenNames, shown, unsafe_reason


def plan_files(
    manifests: Sequence[Manifest], prefixes: Sequence[str], lease: LeaseId, limits: CopyLimits
) -> tuple[Crowd, list[SkippedEntry]]:
    """Files to fetch, ordered by path, and what will not be fetched.

    Raises:
        LimitExceeded: the files are more, or larger, than the limits.
    """
    tasks = Crowd()
    skipped: list[SkippedEntry] = []
    names = TakenNames(tasks.path)
    for manifest, prefix in zip(manifests, prefixes, strict=True):
        entries = manifest.packed
        tasks.begin(Source(manifest.root, entries, prefix, f"{lease}:{manifest.root}"))
        for row in range(len(entries)):
            kind = entries.kind(row)
            if kind is EntryKind.DIRECTORY:
                continue
            path = prefix + entries.path(row)
            reason = (
                f"a {kind.value}, which is never copied"
                if kind is not EntryKind.FILE
                else unsafe_reason(path, max_depth=limits.max_depth + 1) or names.take(path, len(tasks))
            )
            if reason:
                skipped.append(SkippedEntry(path=shown(path), size=entries.size(row), reason=reason))
            else:
                tasks.add(row)
    demand_within(tasks, limits)
    return tasks, skipped


def demand_within(tasks: Crowd, limits: CopyLimits) -> None:
    """Hold a copy to the policy before its first byte.

    Raises:
        LimitExceeded: too many files or bytes.
    """
    total = tasks.total()
    if len(tasks) > limits.max_files or total > limits.max_bytes:
        raise LimitExceeded(
            f"{len(tasks):,} files with {show_bytes(total)} were listed; the policy allows {limits.max_files:,} files "
            f"with {show_bytes(limits.max_bytes)}",
            next_step="name narrower paths, or ask the person to raise the limits in policy.toml",
            effect="Nothing was copied.",
        )


def demand_price(estimate: Usd | None, limits: CopyLimits) -> None:
    """Hold a copy to the price that needs no word from its caller.

    Raises:
        RouteRefused: it is dearer.
    """
    if estimate is None or limits.max_cost is None or estimate <= limits.max_cost:
        return
    raise RouteRefused(
        f"VAST9: by the host's egress price the bytes that are missing cost about {show_usd(estimate)}, more than the "
        f"{show_usd(limits.max_cost)} that need no acknowledgement",
        next_step="tell the person, then repeat the call with acknowledge=['VAST9']; or name narrower paths",
        effect="Nothing was copied.",
        details={"rule": "VAST9", "estimate_usd": estimate},
    )


def demand_room(tasks: Crowd, landing: Landing, limits: CopyLimits) -> None:
    """See before the first byte whether the rest fits on the disk.

    Raises:
        LocalDiskFull: it does not.
    """
    need = to_come(tasks, landing)
    free = landing.free_bytes() - limits.keep_free_bytes
    if need > free:
        raise LocalDiskFull(
            f"{show_bytes(need)} are still to come and {show_bytes(max(0, free))} may be used at {landing.path}",
            next_step="make room or choose another destination",
            effect="Nothing was copied.",
        )


def to_come(tasks: Crowd, landing: Landing) -> int:
    """Bytes that are still to be moved, what is here of half files not counted."""
    if not landing.any_begun:
        return sum(map(tasks.size, tasks.fates.open_ones()))
    return sum(max(0, task.size - landing.partial_size(task.key)) for task in tasks.open_ones())
