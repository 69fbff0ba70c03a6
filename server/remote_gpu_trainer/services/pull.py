"""Bringing results home, and proving them."""

import os
import platform
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import JsonValue

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Expectations, Route, VerificationReport
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.domain.instances import AT_REST, Instance
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import HELD_PHASES, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.units import Usd, show_usd
from remote_gpu_trainer.errors import InvalidRequest, RgtError, RouteRefused, RuleViolation
from remote_gpu_trainer.ports import Clock, Journal, RemoteHost
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import CopyFacts
from remote_gpu_trainer.rules.registry import named, waivers
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.services.farside import FarSide, limits_of, manifest_script, read_far_side, read_resting_side
from remote_gpu_trainer.services.guard import Guard
from remote_gpu_trainer.services.hosts import HostAccess
from remote_gpu_trainer.services.ledger import Ledger
from remote_gpu_trainer.services.lookup import find_run
from remote_gpu_trainer.transfer.alone import alone
from remote_gpu_trainer.transfer.limits import CopyLimits, ProgressSink
from remote_gpu_trainer.transfer.pull import pull
from remote_gpu_trainer.transfer.rescue import Door, demand_versions
from remote_gpu_trainer.transfer.routes import by_proxy_only, choose
from remote_gpu_trainer.transfer.salvage import salvage
from remote_gpu_trainer.verify.fresh import FreshCopies
from remote_gpu_trainer.verify.run import verify

FAR_SIDE = "far-side"
"""Event: the far side right after a copy, to be compared before a teardown."""
RESTED = "at-rest"
"""In place of the job's state: the machine did not run while it was copied."""
COPY_FAILED = "copy.failed"
PRICE = "VAST9"
COST_UNASKED = Usd(5.0)
"""Egress that a copy may cost without an acknowledgement of VAST9."""
NOT_COPIED = "Nothing was destroyed, and no finished file was replaced."


class PullService:
    """Copies results off a machine. A failure parks the run; nothing leads on from there to destroy."""

    def __init__(
        self,
        *,
        journal: Journal,
        hosts: HostAccess,
        guard: Guard,
        buckets: Buckets,
        ledger: Ledger,
        policy: Policy,
        results: Path,
        clock: Clock,
        fresh: FreshCopies,
    ) -> None:
        self._fresh = fresh
        self._journal = journal
        self._buckets = buckets
        self._hosts = hosts
        self._guard = guard
        self._ledger = ledger
        self._policy = policy
        self._results = results
        self._clock = clock

    async def copy_out(
        self,
        target: str | int,
        *,
        paths: tuple[str, ...] = (),
        destination: str | None = None,
        acknowledge: tuple[str, ...] = (),
        progress: ProgressSink | None = None,
    ) -> CopyReceipt:
        """Copy folders or files home, and from there into a bucket where one is named.

        The same call again goes on where it was cut. Of a run that has ended, the newest copy in a bucket comes back.

        Raises:
            DestinationBusy: another copy into the same folder is under way; nothing was copied, the run is not parked.
            RuleViolation: the price of the bytes was not accepted; nothing was copied, and the run is not parked.
            TransferError, HostError: the copy failed; the run is parked and bills.
        """
        record = find_run(self._journal, target)
        if record.phase is RunPhase.CLOSED and (kept := self._in_bucket(record)) is not None:
            return await self._back(record, kept, paths, destination, progress)
        roots = paths or (record.job.results if record.job else ())
        if not roots:
            raise InvalidRequest("no paths were named and the run has no job with results", effect=NOT_COPIED)
        bucket = self._bucket(destination)
        folder = self._destination(record, None if bucket else destination)
        with alone(folder, self._who(record)):
            return await self._from_machine(record, roots, folder, bucket, acknowledge, progress)

    async def _from_machine(
        self,
        record: LeaseRecord,
        roots: Sequence[str],
        folder: Path,
        bucket: str | None,
        acknowledge: tuple[str, ...],
        progress: ProgressSink | None,
    ) -> CopyReceipt:
        instance = await self._hosts.instance(record)
        try:
            size = await self._size(record, instance, roots) if by_proxy_only(instance) else None
        except RgtError as error:
            raise self._parked(record, instance.disk_usd_per_hour, error) from error
        route, reason = choose(instance, bytes=size, acknowledged=acknowledge, home=True)
        limits = limits_of(self._policy)
        if route is Route.MACHINE_RSYNC and PRICE not in named(acknowledge) | waivers(self._policy.waive):
            # Over SSH the rule itself weighs the bytes before the first one; here they show only in the list.
            limits = limits.model_copy(update={"max_cost": COST_UNASKED})

        def weigh(size: int | None, files: int | None, told: bool | None = None) -> None:
            self._guard.enforce(
                Stage.COPY,
                CopyFacts(instance=instance, route=route, bytes=size, files=files, far_rsync_told=told),
                effect=NOT_COPIED,
                lease=record.lease.id,
                acknowledged=acknowledge,
            )

        try:
            receipt = await self._bring(record, instance, route, reason, roots, folder, limits, progress, weigh)
            if bucket:
                receipt = await self._buckets.store(receipt, bucket, progress)
        except (RouteRefused, RuleViolation):
            raise  # nothing was tried, so nothing failed
        except RgtError as error:
            raise self._parked(record, instance.disk_usd_per_hour, error) from error
        self._journal.save_copy(receipt)
        if record.phase in HELD_PHASES:
            self._journal.move(record.lease.id, RunPhase.HOME, f"copy {receipt.copy_id}")
        return receipt

    def _in_bucket(self, record: LeaseRecord) -> CopyReceipt | None:
        return next((one for one in self._journal.copies(record.lease.id) if one.bucket is not None), None)

    async def _back(
        self,
        record: LeaseRecord,
        kept: CopyReceipt,
        paths: tuple[str, ...],
        destination: str | None,
        progress: ProgressSink | None,
    ) -> CopyReceipt:
        """Bring back what was put into a bucket before the machine ended."""
        if paths or "://" in (destination or ""):
            raise InvalidRequest(
                f"the machine of run {record.lease.id} is gone; copy {kept.copy_id} of it lies in a bucket",
                next_step="to bring it back, call copy_out without paths, and with a local folder or no destination",
                effect=NOT_COPIED,
            )
        folder, limits = self._destination(record, destination), limits_of(self._policy)
        with alone(folder, self._who(record)):
            receipt = await self._buckets.restore(
                kept, folder, limits, CopyId(f"copy-{secrets.token_hex(6)}"), progress
            )
        self._journal.save_copy(receipt)
        return receipt

    def _who(self, record: LeaseRecord) -> str:
        """What another copy into the same folder is told of this one."""
        since = f"{self._clock.now():%Y-%m-%d %H:%M} UTC"
        return f"of run {record.lease.id}, since {since}, process {os.getpid()} on {platform.node()}"

    async def _bring(
        self,
        record: LeaseRecord,
        instance: Instance,
        route: Route,
        reason: str,
        roots: Sequence[str],
        folder: Path,
        limits: CopyLimits,
        progress: ProgressSink | None,
        weigh: Callable[[int | None, int | None, bool | None], None],
    ) -> CopyReceipt:
        copy_id = CopyId(f"copy-{secrets.token_hex(6)}")
        if route is Route.MACHINE_RSYNC:
            door = await self._hosts.door(record, instance)
            versions = await demand_versions(door)
            weigh(None, None, versions.told)
            rested = await read_resting_side(door, roots, self._policy)
            receipt = await salvage(
                door,
                roots=roots,
                destination=folder,
                lease=record.lease.id,
                instance_id=instance.id,
                copy_id=copy_id,
                route_reason=reason,
                egress_usd_per_gb=instance.egress_usd_per_gb,
                limits=limits,
                clock=self._clock,
                progress=progress,
                versions=versions,
            )
            await self._keep_resting_side(record, receipt, door, rested)
            return receipt
        before = await self._far_side(record, roots)
        receipt = await pull(
            self._hosts.opener(record),
            roots=roots,
            destination=folder,
            lease=record.lease.id,
            instance_id=instance.id,
            copy_id=copy_id,
            route=route,
            route_reason=reason,
            egress_usd_per_gb=instance.egress_usd_per_gb,
            limits=limits,
            manifest_script=manifest_script(),
            clock=self._clock,
            progress=progress,
            before=lambda size, files: weigh(size, files, None),
            data_disk=self._hosts.layout.data,
        )
        await anyio.to_thread.run_sync(self._fresh.remember, receipt)
        host = await self._hosts.open(record)
        try:
            await self._keep_far_side(record, receipt, host, before)
        finally:
            await host.close()
        return receipt

    async def _size(self, record: LeaseRecord, instance: Instance, roots: Sequence[str]) -> int:
        """Bytes below the roots, as the machine lists them."""
        host = await self._hosts.connect(record, instance)
        try:
            return (await read_far_side(host, roots, self._policy)).bytes
        finally:
            await host.close()

    async def _far_side(self, record: LeaseRecord, roots: Sequence[str]) -> FarSide:
        host = await self._hosts.open(record)
        try:
            return await read_far_side(host, roots, self._policy)
        finally:
            await host.close()

    async def _keep_far_side(
        self, record: LeaseRecord, receipt: CopyReceipt, host: RemoteHost, before: FarSide
    ) -> None:
        far = await read_far_side(host, receipt.roots, self._policy)
        beat, _ = await self._hosts.heartbeat(host, record.job)
        self._journal.record(
            FAR_SIDE, record.lease.id, _kept(receipt, before, far, None if beat is None else beat.state)
        )

    async def _keep_resting_side(self, record: LeaseRecord, receipt: CopyReceipt, door: Door, before: FarSide) -> None:
        """What no SSH can see: the same list before and after, of a disk that nothing wrote to in between."""
        far = await read_resting_side(door, receipt.roots, self._policy)
        instance = await self._hosts.instance(record)
        self._ledger.observe(record.lease.id, instance)
        if instance.phase in AT_REST:
            self._journal.record(FAR_SIDE, record.lease.id, _kept(receipt, before, far, RESTED))

    def _parked(self, record: LeaseRecord, disk: float | None, error: RgtError) -> RgtError:
        lease = record.lease.id
        self._journal.record(COPY_FAILED, lease, {"code": error.code})
        if record.phase in HELD_PHASES:
            self._journal.move(lease, RunPhase.PARKED, f"the copy failed: {error.code}")
        kept = "an unknown price" if disk is None else f"{show_usd(disk)} an hour once stopped"
        running = show_usd(record.lease.usd_per_hour)
        error.effect = (
            f"Run {lease} is parked: the machine is kept and bills {running} an hour while it runs, {kept}. "
            f"{NOT_COPIED}"
        )
        error.next_step = error.next_step or "repeat copy_out: it goes on where it was cut"
        return error

    def _bucket(self, destination: str | None) -> str | None:
        if destination is None or "://" not in destination:
            return None
        url = self._buckets.open(destination).describe()
        allowed = self._policy.copy_destinations
        if allowed and not any(f"{url}/".startswith(f"{one.rstrip('/')}/") for one in allowed if "://" in one):
            raise InvalidRequest(
                f"{url} is under none of the destinations that the policy names",
                next_step="leave destination out, or ask the person to name it in policy.toml (copy_destinations)",
                effect=NOT_COPIED,
            )
        return url

    def _destination(self, record: LeaseRecord, destination: str | None) -> Path:
        if destination is None:
            return self._results / record.lease.id
        folder = Path(destination).expanduser()
        allowed = [Path(one).expanduser().resolve() for one in self._policy.copy_destinations if "://" not in one]
        roots = allowed or [Path.home().resolve(), self._results.resolve()]
        resolved = folder.resolve()
        if not folder.is_absolute() or not any(resolved != root and resolved.is_relative_to(root) for root in roots):
            raise InvalidRequest(
                f"destination {destination!r} is not a folder below {', '.join(map(str, roots))}",
                next_step="leave destination out, or ask the person to name it in policy.toml (copy_destinations)",
                effect=NOT_COPIED,
            )
        return resolved


def _kept(receipt: CopyReceipt, before: FarSide, after: FarSide, job: str | None) -> dict[str, JsonValue]:
    return {
        "copy_id": receipt.copy_id,
        "before": before.digest,
        "digest": after.digest,
        "files": after.files,
        "bytes": after.bytes,
        "job": job,
    }


class ProofService:
    """Verifies copies, and plain folders."""

    def __init__(self, *, journal: Journal, clock: Clock, fresh: FreshCopies, policy: Policy) -> None:
        self._journal = journal
        self._clock = clock
        self._fresh = fresh
        self._policy = policy

    async def verify(self, *, copy_id: str | None, path: str | None, expect: Expectations | None) -> VerificationReport:
        """Prove a copy against its manifest, or look at a folder without one.

        Only the first supports a teardown.

        Raises:
            InvalidRequest: neither, both, or an unknown copy was named.
        """
        if (copy_id is None) == (path is None):
            raise InvalidRequest("name either copy_id or path", effect="Nothing was verified.")
        if copy_id is None:
            place = _expanded(path or "")
            if not place.is_absolute() or not await anyio.Path(place).exists():
                raise InvalidRequest(f"{path!r} is not an absolute path of something here")
            return await verify(
                place,
                manifest=None,
                expect=expect,
                copy_id=None,
                clock=self._clock,
                accept_unloaded=self._policy.accept_unloaded,
                weights_must_load=self._policy.weights_must_load,
            )
        receipt = self._journal.copy(CopyId(copy_id))
        if receipt is None:
            raise InvalidRequest(
                f"there is no copy {copy_id[:60]!r}",
                next_step="copy_out answers with a copy_id",
                effect="Nothing was verified.",
            )
        report = await verify(
            Path(receipt.destination),
            manifest=receipt.manifest,
            expect=expect,
            copy_id=receipt.copy_id,
            clock=self._clock,
            known=self._fresh.of(receipt),
            accept_unloaded=self._policy.accept_unloaded,
            weights_must_load=self._policy.weights_must_load,
        )
        self._journal.save_verification(report)
        record = find_run(self._journal, receipt.lease)
        newest = self._journal.copy_ids(receipt.lease)[0] == receipt.copy_id
        if newest and record.phase in {RunPhase.HOME, RunPhase.PROVEN, RunPhase.PARKED}:
            phase = RunPhase.PROVEN if report.passed else RunPhase.PARKED
            self._journal.move(receipt.lease, phase, f"verification of {receipt.copy_id}: passed={report.passed}")
        return report


def _expanded(path: str) -> Path:
    return Path(path).expanduser()
