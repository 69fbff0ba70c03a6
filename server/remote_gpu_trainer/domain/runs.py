"""A lease from intent to proof of end: its phases, its job, and the events that are its history."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from pydantic import Field, JsonValue

from remote_gpu_trainer.domain.ids import InstanceId, LeaseId
from remote_gpu_trainer.domain.offers import JobShape, Offer
from remote_gpu_trainer.domain.units import Usd, UsdPerHour
from remote_gpu_trainer.domain.values import Value


class RunPhase(StrEnum):
    """Where a lease stands on the road."""

    INTENDED = "intended"
    """In the journal; the create request may or may not have left."""
    RENTED = "rented"
    """The platform named an instance; it has not been seen running."""
    READY = "ready"
    TRAINING = "training"
    INTERRUPTED = "interrupted"
    """Preempted, exited, stopped by the host or offline: the job is not finished."""
    FINISHED = "finished"
    """The job ended; results are only on the machine."""
    HOME = "home"
    """A copy is off the machine."""
    PROVEN = "proven"
    """A verified copy is off the machine."""
    PARKED = "parked"
    """Something failed or nobody answered: kept, with its cost in sight."""
    DESTROYING = "destroying"
    """Consent is spent; the end is not confirmed yet."""
    CLOSED = "closed"
    """Two authoritative absences: the meter is off."""
    NEVER_WAS = "never-was"
    """The create request provably came to nothing."""


_ANY_HELD = frozenset(
    {
        RunPhase.RENTED,
        RunPhase.READY,
        RunPhase.TRAINING,
        RunPhase.INTERRUPTED,
        RunPhase.FINISHED,
        RunPhase.HOME,
        RunPhase.PROVEN,
        RunPhase.PARKED,
    }
)

TRANSITIONS: Mapping[RunPhase, frozenset[RunPhase]] = MappingProxyType(
    {
        RunPhase.INTENDED: frozenset({RunPhase.RENTED, RunPhase.NEVER_WAS}),
        # RENTED also ends as NEVER_WAS: the platform can name an instance that never appears (VAST14).
        **{phase: (_ANY_HELD - {phase}) | {RunPhase.DESTROYING, RunPhase.CLOSED} for phase in _ANY_HELD},
        RunPhase.RENTED: (_ANY_HELD - {RunPhase.RENTED}) | {RunPhase.DESTROYING, RunPhase.CLOSED, RunPhase.NEVER_WAS},
        # An ambiguous DELETE that provably did not happen gives the lease back.
        RunPhase.DESTROYING: frozenset({RunPhase.CLOSED, RunPhase.PARKED}),
        # An instance can reappear shortly after a delete (seen live, 2026).
        RunPhase.CLOSED: frozenset({RunPhase.PARKED}),
        RunPhase.NEVER_WAS: frozenset({RunPhase.RENTED}),
    }
)
"""Which phase may follow which. A held lease may move freely among held phases, since the world moves it;
CLOSED without DESTROYING happens when the platform or the person ended the instance elsewhere."""

HELD_PHASES = _ANY_HELD
"""Phases in which an instance exists, as far as we know, and bills at least its disk."""


JOB_SET = "job.set"
"""Event: the run has a new job, which ``LeaseRecord.job`` names from then on."""


class JobSpec(Value):
    """What to run on the machine so that it outlives SSH, tmux and restarts."""

    job_id: str
    argv: tuple[str, ...]
    cwd: str = "/workspace"
    env: dict[str, str] = Field(default_factory=dict)
    results: tuple[str, ...] = ()
    """Absolute remote paths that hold what must come home."""
    resumes: bool = False
    """The command continues from its latest checkpoint when it is run again."""
    checkpoint_minutes: float | None = None


JOB_ENDED = frozenset({"succeeded", "failed", "crash-looping", "stopped"})
"""States of a job that its runner does not start again."""


class JobHeartbeat(Value):
    """What the runner on the machine reports. Its texts are untrusted."""

    job_id: str
    state: Literal["starting", "running", "succeeded", "failed", "crash-looping", "stopped"]
    starts: int
    """How often the job was started, restarts of the machine included."""
    heartbeat_at: datetime | None
    exit_code: int | None


class Lease(Value):
    """What was asked for, fixed at intent time. History is in the events."""

    id: LeaseId
    opened_at: datetime
    image: str
    shape: JobShape
    offer: Offer
    bid_usd_per_hour: UsdPerHour | None
    usd_per_hour: UsdPerHour
    """GPU and disk while running, as priced at intent time."""
    budget: Usd
    """Estimated whole cost, which the caps were checked against."""
    checkpoint_minutes: float | None = None
    checkpoint_bytes: int | None = None
    kept_checkpoints: int | None = None
    secret_names: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    continues: LeaseId | None = None
    """The lease whose work this one takes up elsewhere."""
    acknowledged: tuple[str, ...] = ()
    """Rule ids that the caller acknowledged."""


class LeaseRecord(Value):
    """A lease as the journal knows it now."""

    lease: Lease
    phase: RunPhase
    instance_id: InstanceId | None
    account_id: int | None
    job: JobSpec | None = None
    updated_at: datetime


class Event(Value):
    """One fact in the journal. Never changed, never removed."""

    seq: int
    at: datetime
    lease: LeaseId | None
    kind: str
    data: dict[str, JsonValue] = Field(default_factory=dict)


class IntentState(StrEnum):
    """What became of a request that changes the world."""

    OPEN = "open"
    """Written before the request leaves; found after a crash."""
    DONE = "done"
    FAILED = "failed"
    """The platform refused it, and provably nothing happened."""
    AMBIGUOUS = "ambiguous"
    """The answer was lost; reconcile decides."""


class Intent(Value):
    """A write-ahead record of one request."""

    id: int
    lease: LeaseId
    action: Literal["create", "destroy", "stop", "start", "bid"]
    request: dict[str, JsonValue]
    """Redacted: names of secrets, never values."""
    state: IntentState
    opened_at: datetime
    closed_at: datetime | None = None
    answer: dict[str, JsonValue] = Field(default_factory=dict)
