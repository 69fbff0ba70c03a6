"""Bringing results home: list, fetch, look again, and say what was left."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Manifest, Route, SkippedEntry
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.units import UsdPerGB
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.ports import Clock, RemoteHost
from remote_gpu_trainer.transfer.chunks import ChunkMap
from remote_gpu_trainer.transfer.claims import Claims
from remote_gpu_trainer.transfer.crew import both
from remote_gpu_trainer.transfer.crowd import Crowd
from remote_gpu_trainer.transfer.fetch import BROKEN, FAR_S, Fetch, Line, far_sender
from remote_gpu_trainer.transfer.halves import clear
from remote_gpu_trainer.transfer.landing import Landing, full_or_other
from remote_gpu_trainer.transfer.leftovers import DATA_DISK
from remote_gpu_trainer.transfer.limits import CopyLimits, ProgressSink, egress
from remote_gpu_trainer.transfer.lister import Lister
from remote_gpu_trainer.transfer.looks import Looks
from remote_gpu_trainer.transfer.paths import TakenNames, shown
from remote_gpu_trainer.transfer.plan import demand_price, demand_room, demand_within, plan_files, to_come
from remote_gpu_trainer.transfer.roots import plain_roots, prefixes
from remote_gpu_trainer.transfer.roster import Roster
from remote_gpu_trainer.transfer.shelf import Shelf
from remote_gpu_trainer.transfer.standby import Standby
from remote_gpu_trainer.transfer.tasks import recall

SECOND_S = 3.0
"""What that may take which is opened before it is known whether it is needed."""
ROUNDS = 3
"""How often a file that keeps changing is copied anew before it is named as such."""


async def pull(
    host_factory: Callable[[], Awaitable[RemoteHost]],
    *,
    roots: Sequence[str],
    destination: Path,
    lease: LeaseId,
    instance_id: InstanceId,
    route: Route,
    route_reason: str,
    egress_usd_per_gb: UsdPerGB | None,
    limits: CopyLimits,
    clock: Clock,
    progress: ProgressSink | None,
    copy_id: CopyId,
    manifest_script: bytes,
    before: Callable[[int, int], None] | None = None,
    data_disk: str = DATA_DISK,
) -> CopyReceipt:
    """Copy the regular files below ``roots`` to ``destination``, and prove each byte by the hash that was sent with it.

    A single root lands as the destination itself, several below it by their last names. Unfinished files stay in
    ``destination/.rgt-partial`` and a later call with the same lease goes on from them. A cut, a cancel or an error
    leaves only whole, durable files under their names.

    Args:
        host_factory: Opens a connection; called again after a cut, so it should look up the endpoints anew.
        roots: Absolute folders on the machine.
        destination: Local folder; made when missing.
        lease: Whose files they are; nothing is resumed over from another lease's.
        instance_id: For the receipt.
        route: How the bytes travel, for the receipt.
        route_reason: Why, for the receipt.
        egress_usd_per_gb: The host's price for 10^9 bytes, None when the offer names none.
        limits: Of the policy.
        clock: Time.
        progress: Told at most twice a second, from the event loop.
        copy_id: Name of the receipt.
        manifest_script: Content of ``scripts/manifest.py``.
        data_disk: Folder on the machine in which everything that was left is looked for.
        before: Told the bytes and files that are still to come, before the first of them; what it raises ends the copy.

    Raises:
        InvalidRequest: the roots are not absolute plain paths, or one cannot be listed.
        LimitExceeded: more than the policy allows. Nothing was copied.
        LocalDiskFull: no room.
        RouteRefused: it costs more than ``limits.max_cost``. Nothing was copied.
        UnsafePath: something at the destination is in the way of the folder for unfinished files.
        TransferError: the machine's stream is not what was asked for.
        HostError: no connection, too many cuts in a row, another host key, or no Python there.
    """
    started, wanted = clock.now(), plain_roots(roots)
    places = prefixes(wanted)
    line, senders = Line(host_factory, clock), Standby(far_sender())

    lister = Lister(manifest_script, limits)
    looks = Looks(lister, wanted, data_disk)

    async def look_first(host: RemoteHost) -> Roster:
        look = partial(looks.first, host)
        # Where it answers at once, what sends takes as long to start as to list, so both start together.
        if getattr(host, "round_trip_s", 0.0) < FAR_S:
            return (await both(look, partial(_ready, senders, host, bulk=True)))[0]
        return (await both(look, lambda: both(partial(_ready, senders, host), partial(_one_more, line, senders))))[0]

    async with aclosing(line), aclosing(lister), aclosing(senders):
        roster = await line.use(look_first)
        _demand_listed(wanted, roster)
        tasks, skipped = plan_files(roster.manifests, places, lease, limits)
        linked = tuple(roster.links.outside())
        skipped += [_placed(places[number], entry) for number, entry in roster.skipped]
        landing = Landing(destination)
        try:
            chunks = ChunkMap(landing)
        except BaseException:  # whatever ended it, the folders must not stay open
            landing.close()
            raise
        shelf = Shelf(landing, chunks)
        left: tuple[SkippedEntry, ...] = ()
        try:
            claims = await anyio.to_thread.run_sync(_recall, tasks, shelf, lease)
            if claims:
                await line.use(claims.confirm)
            demand_room(tasks, landing, limits)
            if before is not None:
                before(to_come(tasks, landing), tasks.fates.count_open())
            fetch = Fetch(line, senders, shelf, clock, progress)
            fetch.estimate = estimate = egress(tasks.bytes_missing(), egress_usd_per_gb)
            demand_price(estimate, limits)
            for last in [*[False] * (ROUNDS - 1), True]:
                await fetch.run(tasks, looks.ask_already)
                earlier = roster
                roster, left = await line.use(looks.again)
                fresh = None  # where the list is still the same, so is the plan
                if roster.manifests != earlier.manifests:
                    fresh, _ = plan_files(roster.manifests, places, lease, limits)
                del earlier
                if not _settle(tasks, fresh, limits, last=last):
                    break
                demand_room(tasks, landing, limits)
            await anyio.to_thread.run_sync(clear, landing, chunks, tasks, lease)
        finally:
            await anyio.to_thread.run_sync(shelf.close)
            chunks.close()
            landing.close()
    skipped += [
        SkippedEntry(path=shown(tasks.path(number)), size=tasks.size(number), reason=reason)
        for number, reason in tasks.fates.failures()
    ]
    return CopyReceipt(
        copy_id=copy_id,
        lease=lease,
        instance_id=instance_id,
        roots=tuple(wanted),
        destination=str(landing.path),
        route=route,
        route_reason=route_reason,
        manifest=Manifest(
            root=wanted[0] if len(wanted) == 1 else "/",
            entries=tasks.copied(),
            truncated=any(manifest.truncated for manifest in roster.manifests),
        ),
        skipped=tuple(sorted(skipped, key=lambda entry: (-entry.size, entry.path))),
        not_copied=(*left, *linked),
        bytes_transferred=fetch.wire,
        bytes_saved=fetch.moved - fetch.wire,
        started_at=started,
        finished_at=clock.now(),
        cost=egress(fetch.wire, egress_usd_per_gb),
        estimated_cost=estimate,
    )


async def _ready(senders: Standby, host: RemoteHost, *, bulk: bool = False) -> None:
    """Start what will send, while the machine still lists."""
    with anyio.move_on_after(SECOND_S), contextlib.suppress(*BROKEN):
        await senders.start(host, bulk=bulk)


async def _one_more(line: Line, senders: Standby) -> None:
    """Open a second connection, which much over a long way will want, while the first is still asking."""
    with anyio.move_on_after(SECOND_S), contextlib.suppress(*BROKEN):
        host = await line.take()
        line.give_back(host)
        await senders.start(host)


def _recall(tasks: Crowd, shelf: Shelf, lease: LeaseId) -> Claims:
    """Take over what an earlier call left; a file of which only the name was missing gets it.

    Returns what the machine has to confirm first.
    """
    landing, chunks, claims = shelf.landing, shelf.chunks, Claims(tasks, shelf, lease)
    try:
        for number, task in enumerate(() if chunks.empty else tasks):
            rescued = recall(task, landing, chunks)
            if task.open and task.size and not task.missing():
                shelf.finish(task)
            elif rescued is not None:
                claims.add(number, rescued)
        chunks.let_go()
        claims.add_staged()
    except OSError as bad:
        raise full_or_other(bad, landing.path) from bad
    return claims


def _demand_listed(roots: Sequence[str], roster: Roster) -> None:
    for number, reason in roster.unreadable.items():
        raise InvalidRequest(
            f"{roots[number]} cannot be listed on the machine: {reason}",
            next_step="check the path; results are where the job was told to write them",
            effect="Nothing was copied.",
        )


def _settle(tasks: Crowd, fresh: Crowd | None, limits: CopyLimits, *, last: bool) -> bool:
    """Compare what was fetched with a plan for the list as it is now. Returns whether another round is needed.

    Files that changed are opened anew and new files are added; in the last round they are named instead.
    ``fresh`` is None where the list, and so the plan, is still the same.
    """
    fates, again = tasks.fates, False
    if fresh is None:
        for number in range(len(tasks)):
            if fates.changed(number) and fates.failed(number) is None:
                again = _anew(tasks, number, tasks, number, last=last) or again
        return again
    known, near = bytearray(len(fresh)), 0
    for number in range(len(tasks)):
        there = fresh.find(tasks.path(number), near)
        if there is None:
            if fates.done(number) is None:
                fates.set_failed(number, "it vanished while it was copied")
            continue
        known[there], near = 1, there + 1
        if fates.failed(number) is None and (tasks.stamp(number) != fresh.stamp(there) or fates.changed(number)):
            again = _anew(tasks, number, fresh, there, last=last) or again
    if 0 in known:
        again = _join(tasks, fresh, known, last=last) or again
    demand_within(tasks, limits)
    return again


def _anew(tasks: Crowd, number: int, other: Crowd, there: int, *, last: bool) -> bool:
    """Let a file that changed begin anew, or, in the last round, name it. Returns whether it is to be fetched again."""
    if last:
        tasks.fates.set_done(number, None)
        tasks.fates.set_failed(number, f"it changed during each of {ROUNDS} copies")
    else:
        tasks.restart(number, other, there)
    return not last


def _join(tasks: Crowd, fresh: Crowd, known: bytearray, *, last: bool) -> bool:
    """Add the files that were not there before, by their marks. Returns whether any is to be fetched."""
    names, again = TakenNames(tasks.path), False
    for number in range(len(tasks)):
        if tasks.fates.failed(number) is None:
            names.take(tasks.path(number), number)
    there = known.find(0)
    while there >= 0:
        number = tasks.take_in(fresh, there)
        # A name that folds into one that was copied would replace it on some file systems.
        reason = "it appeared while the last copy ran" if last else names.take(tasks.path(number), number)
        if reason:
            tasks.fates.set_failed(number, reason)
        again = again or not reason
        there = known.find(0, there + 1)
    return again


def _placed(prefix: str, entry: SkippedEntry) -> SkippedEntry:
    return entry.model_copy(update={"path": f"{prefix}{entry.path}"})
