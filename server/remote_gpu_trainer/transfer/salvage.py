"""Bringing results home from the disk of a machine that does not run."""

import errno
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Manifest, Route, SkippedEntry
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.units import Usd, UsdPerGB, show_bytes
from remote_gpu_trainer.errors import ConnectionCut, InvalidRequest, TransferError, UnsafePath
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.transfer import rescue
from remote_gpu_trainer.transfer.chunks import ChunkMap, Finished
from remote_gpu_trainer.transfer.halves import begun_over_ssh, clear, lent, name_on_disk, staging_of
from remote_gpu_trainer.transfer.landing import BLOCK, Landing, full_or_other
from remote_gpu_trainer.transfer.leftovers import DATA_DISK, outside
from remote_gpu_trainer.transfer.limits import CopyLimits, Progress, ProgressSink, egress
from remote_gpu_trainer.transfer.paths import shown
from remote_gpu_trainer.transfer.plan import demand_price, demand_room, plan_files
from remote_gpu_trainer.transfer.roots import plain_roots, prefixes
from remote_gpu_trainer.transfer.tasks import FileTask, at_home

TRIES = 3
TRY_AGAIN_S = 5.0
LONGEST_S = 48 * 3600.0
SLACK = 64 << 20
"""Bytes above what was listed that a file may have grown by before the far side is taken for broken."""
_PROGRESS = re.compile(rb"\s*(\d+)\s+\d+%")
_RECEIVED = re.compile(rb"Total bytes received: (\d+)")
_WRITING_FAILED = 11
"""rsync's exit value for a file that could not be written."""
_FULL = ("No space left on device", "Disk quota exceeded")


async def salvage(
    door: rescue.Door,
    *,
    roots: Sequence[str],
    destination: Path,
    lease: LeaseId,
    instance_id: InstanceId,
    route_reason: str,
    egress_usd_per_gb: UsdPerGB | None,
    limits: CopyLimits,
    clock: Clock,
    progress: ProgressSink | None,
    copy_id: CopyId,
    versions: rescue.Versions | None = None,
) -> CopyReceipt:
    """Copy as ``pull`` does, over the machine's rsync. The same call again goes on from what has arrived.

    A file that came home before, of the same size and second, is fetched again only when its bytes differ. Each file
    is compared with the disk by rsync's checksum of the whole file, and hashed here. ``versions`` are those that
    ``demand_versions`` has just seen.

    Raises:
        RouteRefused: one side's rsync is too old.
        InvalidRequest: a root cannot be listed.
        LimitExceeded: more than the policy allows. Nothing was copied.
        LocalDiskFull: no room.
        TransferError: the machine sends more than it listed.
        HostError: no connection, another host key, or the machine does not serve this disk.
    """
    started, wanted = clock.now(), plain_roots(roots)
    places = prefixes(wanted)
    seen = versions or await rescue.demand_versions(door)
    manifests, left_out = await rescue.list_roots(door, wanted, limits)
    tasks, skipped = plan_files(manifests, places, lease, limits)
    skipped += [entry.model_copy(update={"path": f"{places[number]}{entry.path}"}) for number, entry in left_out]
    landing = Landing(destination)
    chunks = ChunkMap(landing)
    try:
        await anyio.to_thread.run_sync(_recall, tasks, landing, chunks)
        compared = await _believe(door, tasks, landing)
        demand_room(tasks, landing, limits)
        open_ = {name_on_disk(task): task for task in tasks if task.open}
        begun = begun_over_ssh(landing, open_)
        missing = (max(0, t.size - landing.partial_size(begun.get(path, ""))) for path, t in open_.items())
        estimate, received = egress(sum(missing), egress_usd_per_gb), 0
        # A half may be one of another version, of which nothing serves: the price of all is what may come.
        demand_price(egress(sum(task.size for task in open_.values()), egress_usd_per_gb), limits)
        if open_:
            staging = staging_of(landing, lease)
            await anyio.to_thread.run_sync(_prepare, staging, begun, landing)
            with lent(landing, begun) as bases:
                meter = _Meter(list(open_.values()), estimate, clock, progress)
                received = await _fetch(door, open_, staging, bases, meter)
            proven = await rescue.same(door, "", list(open_), str(staging))
            compared += await anyio.to_thread.run_sync(_settle, open_, proven, staging, landing, chunks)
        await anyio.to_thread.run_sync(clear, landing, chunks, tasks, lease)
        left = await _left(door, wanted, limits)
    finally:
        chunks.close()
        landing.close()
    skipped += [SkippedEntry(path=shown(t.path), size=t.size, reason=t.failed) for t in tasks if t.failed]
    return CopyReceipt(
        copy_id=copy_id,
        lease=lease,
        instance_id=instance_id,
        roots=tuple(wanted),
        destination=str(landing.path),
        route=Route.MACHINE_RSYNC,
        route_reason=f"{route_reason} ({seen.words})",
        manifest=Manifest(root=wanted[0] if len(wanted) == 1 else "/", entries=tasks.copied()),
        skipped=tuple(sorted(skipped, key=lambda entry: (-entry.size, entry.path))),
        not_copied=left,
        bytes_transferred=received,
        started_at=started,
        finished_at=clock.now(),
        cost=egress(received, egress_usd_per_gb),
        estimated_cost=estimate,
        compared=compared,
    )


async def _believe(door: rescue.Door, tasks: Sequence[FileTask], landing: Landing) -> int:
    """Open again what is here and not the same over there; the number of those that are the same.

    The size and the second of a file do not tell that nobody wrote to it since.
    """
    compared = 0
    for root in {task.root: None for task in tasks}:
        known = {task.there: task for task in tasks if task.root == root and task.sha256}
        if not known:
            continue
        task = next(iter(known.values()))
        folder = landing.path / task.path.removesuffix(task.there)
        proven = await rescue.same(door, root, list(known), str(folder))
        for path in known.keys() - proven:
            known[path].sha256 = None
        compared += len(proven)
    return compared


def _recall(tasks: Sequence[FileTask], landing: Landing, chunks: ChunkMap) -> None:
    for task in tasks:
        done = at_home(task, landing, chunks, by_second=True)
        task.sha256 = None if done is None else done.sha256


def _prepare(staging: Path, begun: Mapping[str, str], landing: Landing) -> None:
    """Make room for what comes. What an earlier rescue has of a file goes where an SSH copy has more of it, since rsync
    builds on one alone."""
    try:
        staged = Landing(staging)
    except OSError as bad:
        raise full_or_other(bad, staging) from bad
    try:
        for path, half in begun.items():
            seen = staged.look(path)
            if seen is not None and seen.st_blocks * BLOCK < landing.partial_size(half):
                staged.drop(path)
    finally:
        staged.close()


async def _fetch(
    door: rescue.Door, wanted: dict[str, FileTask], staging: Path, bases: Path | None, meter: "_Meter"
) -> int:
    """Bytes that were received. Of ``bases`` what is there of a file is read, and only the rest asked for."""
    words = ("--partial", "--stats", "--info=progress2", *rescue.SELECTED, door.at(""), f"{staging}/")
    words = words if bases is None else (f"--copy-dest={bases}", *words)
    listed = rescue.listed(wanted)
    for left in reversed(range(TRIES)):
        try:
            status, out, said = await rescue.run(door.command(*words), listed, LONGEST_S, told=meter.hear)
            if status == _WRITING_FAILED and any(words in said for words in _FULL):
                raise full_or_other(OSError(errno.ENOSPC, "no room"), staging)
            rescue.demand_transfer(status, said, door)
        except ConnectionCut:
            if not left:
                raise
            await meter.clock.sleep(TRY_AGAIN_S)
        else:
            found = _RECEIVED.search(out)
            return int(found[1]) if found else meter.bytes
    raise AssertionError("unreachable")


class _Meter:
    """Reads rsync's own progress, and stops a far side that sends without end."""

    def __init__(
        self, tasks: Sequence[FileTask], cost: Usd | None, clock: Clock, progress: ProgressSink | None
    ) -> None:
        self.clock, self._cost, self._progress = clock, cost, progress
        self._total, self._files = sum(task.size for task in tasks), len(tasks)
        self._began, self.bytes = clock.monotonic(), 0

    def hear(self, data: bytes) -> None:
        """Take some output.

        Raises:
            TransferError: more came than was listed.
        """
        for line in re.split(rb"[\r\n]", data):
            if found := _PROGRESS.match(line):
                self.bytes = max(self.bytes, int(found[1]))
        if self.bytes > self._total + SLACK:
            raise TransferError(
                f"the machine sent more than the {show_bytes(self._total)} that it listed",
                next_step="treat the machine as broken or hostile",
                effect="No finished file was touched.",
            )
        if self._progress is not None:
            rate = self.bytes / max(self.clock.monotonic() - self._began, 1e-3)
            done = min(self.bytes, self._total)
            self._progress(
                Progress(
                    bytes_done=done,
                    bytes_total=self._total,
                    files_done=0,
                    files_total=self._files,
                    rate=rate,
                    eta_s=(self._total - done) / rate if rate else None,
                    cost=self._cost,
                )
            )


def _settle(wanted: dict[str, FileTask], proven: set[str], staging: Path, landing: Landing, chunks: ChunkMap) -> int:
    """Give every file that is proven its name; say of the others why not. Returns the number of the first."""
    staged = Landing(staging)
    done = 0
    try:
        for path, task in wanted.items():
            task.failed = _publish(path, task, staged, landing, same=path in proven)
            if task.failed is None and task.sha256 is not None:
                size, mtime_ns = task.size, task.mtime_ns
                finished = Finished(task.source, size, mtime_ns, task.sha256, rescued=True)
                chunks.finish([(task.path, task.key, finished)])
                done += 1
    finally:
        staged.close()
    return done


def _publish(path: str, task: FileTask, staged: Landing, landing: Landing, *, same: bool) -> str | None:
    """Why not; None when it has its name, durably."""
    fd = staged.open_plain(path)
    if fd is None:
        return "it did not arrive as a plain file"
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_size != task.size:
            return "it arrived with another size than was listed"
        if not same:
            staged.drop(path)  # or the next call would find it there, with the size and time of the other one
            return "its bytes differ from those on the machine"
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fchmod(fd, 0o600)
        os.fsync(fd)
    try:
        staged.hand_over(path, landing, task.key)
        landing.publish(task.key, task.path)
    except UnsafePath as bad:
        return bad.message
    landing.sync_folder(task.path)
    task.sha256 = digest
    return None


async def _left(door: rescue.Door, roots: Sequence[str], limits: CopyLimits) -> tuple[SkippedEntry, ...]:
    try:
        manifests, skipped = await rescue.list_roots(door, [DATA_DISK], limits)
    except (InvalidRequest, TransferError) as bad:
        return (SkippedEntry(path=DATA_DISK, size=0, reason=f"what lies there is unknown: {bad.message}"),)
    return outside(manifests[0], [entry for _, entry in skipped], roots)
