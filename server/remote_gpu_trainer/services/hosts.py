"""Reaching a box: endpoints found now, host key expected from the platform's log, heartbeat read back."""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

from pydantic import ValidationError

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import Instance, InstancePhase
from remote_gpu_trainer.domain.runs import JobHeartbeat, JobSpec, LeaseRecord
from remote_gpu_trainer.errors import HostUnreachable, MarketError, RgtError, WaitExpired, WrongPhase
from remote_gpu_trainer.ports import HostConnector, Marketplace, RemoteHost
from remote_gpu_trainer.services.account import AccountWatch
from remote_gpu_trainer.services.layout import Layout
from remote_gpu_trainer.services.lookup import instance_of
from remote_gpu_trainer.transfer.rescue import Door

_HOST_KEY = re.compile(r"^(?:.*\s)?rgt-hostkey (ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) ([A-Za-z0-9+/=]{40,2000})\s*$")
_LOG_LINES = 400
_HEARTBEAT_BYTES = 64 * 1024
_HEARTBEAT_FIELDS = frozenset(JobHeartbeat.model_fields)


class PinningConnector(HostConnector, Protocol):
    """A connector that can be told which host keys the boot hook reported."""

    def expect(self, lease: LeaseId, keys: Iterable[str]) -> None:
        """Expect one of these (``TYPE BASE64`` lines) at first contact."""
        ...

    def machine_shell(self, lease: LeaseId, host: str, port: int) -> tuple[str, ...]:
        """The local ``ssh`` command to the machine's own SSH, pinned for the lease."""
        ...

    def pin_source(self, lease: LeaseId) -> str | None:
        """``log``, ``first-contact``, or None while nothing is pinned."""
        ...


class HostAccess:
    """Opens boxes."""

    def __init__(self, market: Marketplace, watch: AccountWatch, connector: PinningConnector, layout: Layout) -> None:
        self.layout = layout
        self._market = market
        self._watch = watch
        self._connector = connector

    async def instance(self, record: LeaseRecord) -> Instance:
        """The run's instance as it is now.

        Raises:
            WrongPhase: it is provably gone.
            HostUnreachable: the platform does not show it, and that proves nothing yet.
        """
        look = await self._watch.look(instance_of(record))
        if look.instance is not None:
            return look.instance
        if look.absent:
            raise WrongPhase(
                f"instance {record.instance_id} of run {record.lease.id} is not on the account any more",
                next_step="poll_status settles the journal",
                effect="Nothing was done.",
            )
        raise HostUnreachable(f"the platform does not show instance {record.instance_id} and lists incompletely")

    async def open(self, record: LeaseRecord, *, timeout_s: float = 20.0) -> RemoteHost:
        """Connect to the run's box, at the endpoints it has now.

        Raises:
            WrongPhase: it does not run.
            HostUnreachable, HostKeyChanged, HostAuthFailed: the connection did not come about.
        """
        instance = await self.instance(record)
        if instance.phase is not InstancePhase.RUNNING:
            raise WrongPhase(
                f"run {record.lease.id} is {instance.phase.value}, so nothing can be done on the machine",
                next_step="call poll_status for the cause; resume_run brings it back",
                effect="Nothing was done on the machine.",
            )
        return await self.connect(record, instance, timeout_s=timeout_s)

    async def connect(self, record: LeaseRecord, instance: Instance, *, timeout_s: float = 20.0) -> RemoteHost:
        """Connect to a running instance."""
        if not instance.endpoints:
            raise HostUnreachable(f"instance {instance.id} runs and reports no SSH endpoint yet")
        if self._connector.pin_source(record.lease.id) is None:
            await self._learn_keys(record, instance)
        return await self._connector.connect(record.lease.id, instance.endpoints, timeout_s=timeout_s)

    async def door(self, record: LeaseRecord, instance: Instance) -> Door:
        """Where the platform says that the disk of an instance that does not run can be read.

        Raises:
            MarketError: the platform names no such place.
        """
        found = await self._market.request_rsync(instance.id)
        ssh = self._connector.machine_shell(record.lease.id, found.host, found.port)
        return Door(ssh=ssh, user=found.user, host=found.host, module=found.module)

    def opener(self, record: LeaseRecord) -> Callable[[], Awaitable[RemoteHost]]:
        """A factory that connects anew each time, for transfers that survive a cut."""

        async def again() -> RemoteHost:
            return await self.open(record)

        return again

    async def heartbeat(self, host: RemoteHost, job: JobSpec | None) -> tuple[JobHeartbeat | None, int | None]:
        """The runner's status file and the job's step; None where there is none or it is not what a runner writes.

        What an earlier job than ``job`` left says nothing of it, and is None too; without ``job``, any job's counts.
        """
        look = f"cat {self.layout.state}/status.json 2>/dev/null || true"
        try:
            answer = await host.run(["sh", "-c", look], timeout_s=15, max_output=_HEARTBEAT_BYTES)
        except RgtError:
            return None, None
        beat, step = parse_heartbeat(answer.stdout)
        if beat is not None and job is not None and beat.job_id != job.job_id:
            return None, None
        return beat, step

    async def _learn_keys(self, record: LeaseRecord, instance: Instance) -> None:
        try:
            text = await self._market.logs(instance.id, tail=_LOG_LINES)
        except (MarketError, WaitExpired):
            return  # the log is a better anchor, not the only one: first contact is pinned and said
        keys = [f"{m[1]} {m[2]}" for line in text.splitlines() if (m := _HOST_KEY.match(line))]
        if keys:
            self._connector.expect(record.lease.id, keys)


def parse_heartbeat(content: bytes) -> tuple[JobHeartbeat | None, int | None]:
    """Read a status file. It comes from a stranger: what does not fit is nothing."""
    try:
        raw: object = json.loads(content)
        if not isinstance(raw, dict):
            return None, None
        row = cast(dict[str, object], raw)
        beat = JobHeartbeat.model_validate_json(json.dumps({name: row.get(name) for name in _HEARTBEAT_FIELDS}))
        step = row.get("step")
        return beat, step if isinstance(step, int) and not isinstance(step, bool) else None
    except (ValueError, RecursionError, ValidationError):
        return None, None
