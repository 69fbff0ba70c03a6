"""Code in, job on, logs out."""

import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
from pydantic import Field

from remote_gpu_trainer import bundled
from remote_gpu_trainer.domain.instances import InstancePhase
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import JOB_ENDED, JobSpec, LeaseRecord, RunPhase
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import InvalidRequest, RemoteCommandFailed, WrongPhase
from remote_gpu_trainer.ports import Clock, Journal, Marketplace, RemoteHost
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import StartFacts
from remote_gpu_trainer.rules.platform import Platform
from remote_gpu_trainer.services import boxcheck
from remote_gpu_trainer.services.farside import limits_of
from remote_gpu_trainer.services.guard import Guard
from remote_gpu_trainer.services.hosts import HostAccess
from remote_gpu_trainer.services.lookup import find_run, instance_of
from remote_gpu_trainer.services.outgoing import is_large, push_facts
from remote_gpu_trainer.services.views import LogView
from remote_gpu_trainer.transfer.farpython import IN_PATH
from remote_gpu_trainer.transfer.limits import ProgressSink
from remote_gpu_trainer.transfer.push import PushReceipt, push, survey
from remote_gpu_trainer.transfer.routes import choose

NOT_PUSHED = "Nothing was sent to the machine."
NOT_STARTED = "The job was not started."
GRACE_S = 30
"""Between SIGTERM and SIGKILL."""
END_S = GRACE_S + 20
"""A job that is told to end has its grace, and what the kernel takes to end it after that."""
MOST_LOG_BYTES = 256 * 1024
BOX_SCRIPTS = ("boot.sh", "run_job.py", "job_watch.py", "manifest.py")
LogSource = Literal["job", "container", "daemon"]


class StartRequest(Value):
    """What to run."""

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    results: tuple[str, ...]
    resumes: bool | None = None
    checkpoint_minutes: float | None = None
    acknowledge: tuple[str, ...] = ()


class JobService:
    """Pushes, starts, reads."""

    def __init__(
        self,
        *,
        market: Marketplace,
        journal: Journal,
        hosts: HostAccess,
        guard: Guard,
        policy: Policy,
        platform: Platform,
        clock: Clock,
    ) -> None:
        self._market = market
        self._journal = journal
        self._hosts = hosts
        self._guard = guard
        self._policy = policy
        self._platform = platform
        self._layout = hosts.layout
        self._clock = clock

    async def push(
        self,
        target: str | int,
        source: Path,
        destination: str,
        *,
        acknowledge: tuple[str, ...] = (),
        progress: ProgressSink | None = None,
    ) -> PushReceipt:
        """Send a local file or folder to the machine.

        Raises:
            RuleViolation: credentials among the files, a forbidden destination, and so on.
            InvalidRequest: the source is not there.
        """
        record = find_run(self._journal, target)
        self._layout.demand_ours(destination, "destination", NOT_PUSHED)
        if not await anyio.Path(source).exists():
            raise InvalidRequest(f"{source} does not exist here", effect=NOT_PUSHED)
        instance = await self._hosts.instance(record)
        seen = await anyio.to_thread.run_sync(survey, source)
        route, _ = choose(instance, bytes=seen.bytes, acknowledged=acknowledge)
        room = (None, None)
        if is_large(seen):
            async with self._box(record) as host:
                room = await boxcheck.room(host, self._layout, destination)
        facts = await anyio.to_thread.run_sync(push_facts, instance, source, destination, seen, route, room)
        self._guard.enforce(Stage.PUSH, facts, effect=NOT_PUSHED, lease=record.lease.id, acknowledged=acknowledge)
        receipt = await push(
            self._hosts.opener(record),
            source=source,
            destination=destination,
            clock=self._clock,
            progress=progress,
            limits=limits_of(self._policy),
        )
        self._journal.record(
            "pushed", record.lease.id, {"destination": destination, "files": receipt.files, "bytes": receipt.bytes}
        )
        return receipt

    async def start(self, target: str | int, request: StartRequest) -> JobSpec:
        """Run a command on the machine so that it outlives SSH, tmux and restarts.

        Raises:
            RuleViolation: for example an interruptible without a checkpoint plan.
            RemoteCommandFailed: the runner could not be installed or started.
        """
        record = find_run(self._journal, target)
        if not request.argv:
            raise InvalidRequest("the command is empty", effect=NOT_STARTED)
        for path in (request.cwd, *request.results):
            self._layout.demand_ours(path, "path", NOT_STARTED)
        instance = await self._hosts.instance(record)
        if instance.phase is not InstancePhase.RUNNING:
            raise WrongPhase(
                f"run {record.lease.id} is {instance.phase.value}",
                next_step="poll_status until=running",
                effect=NOT_STARTED,
            )
        minutes = request.checkpoint_minutes or record.lease.checkpoint_minutes
        job = JobSpec(
            job_id=f"job-{secrets.token_hex(6)}",
            argv=request.argv,
            cwd=request.cwd,
            env=request.env,
            results=request.results,
            resumes=bool(request.resumes),
            checkpoint_minutes=minutes,
        )
        elapsed = self._clock.now() - record.lease.opened_at
        async with self._box(record) as host:
            earlier, _ = await self._hosts.heartbeat(host, None)
            box = await boxcheck.check_box(host, self._layout, folder=request.cwd, argv=request.argv)
            self._journal.record(
                boxcheck.BOX_CHECKED, record.lease.id, {} if box is None else box.model_dump(mode="json")
            )
            facts = StartFacts(
                instance=instance,
                job=job,
                platform=self._platform,
                now=self._clock.now(),
                hours=max((timedelta(hours=record.lease.shape.hours) - elapsed).total_seconds() / 3600, 0.01),
                has_boot_hook=bool(self._platform.boot_hook),
                box=box,
                earlier=earlier,
                checkpoint_bytes=record.lease.checkpoint_bytes,
                kept_checkpoints=record.lease.kept_checkpoints,
            )
            self._guard.enforce(
                Stage.START, facts, effect=NOT_STARTED, lease=record.lease.id, acknowledged=request.acknowledge
            )
            for name in BOX_SCRIPTS:
                await host.put(bundled.read_bytes(f"scripts/{name}"), f"{self._layout.state}/{name}", mode=0o755)
            if earlier is not None and earlier.state not in JOB_ENDED:
                await self._end(host, record)
            await host.put(_job_file(job), f"{self._layout.state}/job.json", mode=0o600)
            self._journal.set_job(record.lease.id, job)
            answer = await host.run(["sh", f"{self._layout.state}/boot.sh"], timeout_s=60)
        if answer.exit_status != 0:
            tail = answer.stderr[-300:].decode("utf-8", "replace")
            raise RemoteCommandFailed(
                f"boot.sh ended with {answer.exit_status}: {tail!r}",
                next_step="read_logs source=container; the image may lack python3",
                effect="The job is installed, and was not seen to start.",
            )
        self._journal.move(record.lease.id, RunPhase.TRAINING, f"job {job.job_id} started")
        return job

    async def _end(self, host: RemoteHost, record: LeaseRecord) -> None:
        """End the job that is at work: what it saved stays."""
        words = [f"{self._layout.state}/run_job.py", "stop", str(END_S)]
        answer = await host.run(["sh", "-c", IN_PATH, "sh", *words], timeout_s=END_S + 15)
        if answer.exit_status != 0:
            tail = answer.stderr[-300:].decode("utf-8", "replace")
            raise RemoteCommandFailed(
                f"the job that is at work did not end: {tail!r}",
                next_step="poll_status shows whether it ended meanwhile; then start_job again",
                effect=f"{NOT_STARTED} The earlier one was asked to end.",
            )
        self._journal.record("job.ended-for-another", record.lease.id, {})

    @asynccontextmanager
    async def _box(self, record: LeaseRecord) -> AsyncGenerator[RemoteHost]:
        host = await self._hosts.open(record)
        try:
            yield host
        finally:
            await host.close()

    async def logs(self, target: str | int, source: LogSource, *, lines: int, contains: str | None) -> LogView:
        """The last lines of a log. The text is untrusted."""
        record = find_run(self._journal, target)
        if source == "job":
            async with self._box(record) as host:
                wanted = int(lines) * 20 if contains else int(lines)
                answer = await host.run(
                    ["sh", "-c", f"tail -n {wanted} {self._layout.state}/job.log 2>/dev/null"],
                    timeout_s=30,
                    max_output=MOST_LOG_BYTES,
                )
            text, cut = answer.stdout.decode("utf-8", "replace"), answer.truncated
        else:
            text = await self._market.logs(instance_of(record), tail=lines, daemon=source == "daemon")
            cut = len(text) > MOST_LOG_BYTES
        kept = [line for line in text[-MOST_LOG_BYTES:].splitlines() if contains is None or contains in line]
        return LogView(source=source, text="\n".join(kept[-lines:]), truncated=cut or len(kept) > lines)


def _job_file(job: JobSpec) -> bytes:
    document = {
        "version": 1,
        "job_id": job.job_id,
        "argv": list(job.argv),
        "cwd": job.cwd,
        "env": job.env,
        "grace_s": GRACE_S,
        "log_max_bytes": 16 << 20,
        "log_keep": 3,
        "max_restarts": 3,
        "progress_file": f"{job.results[0]}/metrics.jsonl" if job.results else None,
    }
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()
