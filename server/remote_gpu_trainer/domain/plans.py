"""What a person is asked to agree to, as one statement with a digest."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from remote_gpu_trainer.domain.artifacts import Fingerprint, VerificationLevel, digest_of
from remote_gpu_trainer.domain.ids import CopyId, LeaseId
from remote_gpu_trainer.domain.instances import InstanceIdentity
from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerHour
from remote_gpu_trainer.domain.values import Value


class ProvenFile(Value):
    """One file off the machine and the level that it reached."""

    path: str
    size: int
    sha256: str
    level: VerificationLevel
    refused: str | None = None
    """Why nothing loaded it, where loading it would run code that it names."""


class SecondCopy(Value):
    """The same files in a bucket, as the bucket was when the plan was made. The proof stays with the files here."""

    url: str
    objects: int
    """All there, with the size and ETag that they had when each was proven."""
    deleting: tuple[str, ...]
    """Rules of the bucket that will delete them, one sentence each."""
    doubts: tuple[str, ...]
    """What else may lose them, and what could not be read."""


class Evidence(Value):
    """One verified copy."""

    copy_id: CopyId
    destination: str
    manifest_digest: str
    copied_at: datetime
    verified_at: datetime
    lowest_level: VerificationLevel
    files: tuple[ProvenFile, ...]
    report_digest: str | None = None
    """Of the whole verification report: every loader's finding on every file."""
    second: SecondCopy | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Without ``second`` where there is none, so that a plan of before has the digest that it had."""
        written: dict[str, object] = write(self)
        if self.second is None:
            del written["second"]
        return written


class Loss(Value):
    """What will be gone: seen on the machine and not saved off it."""

    path: str
    size: int
    reason: str


class MachineState(StrEnum):
    """Whether the plan could look at the machine, and what keeps its disk still."""

    RUNNING = "running"
    """Read just now over SSH; it could still change."""
    STOPPED = "stopped"
    """Stopped after the last look; nothing can write."""
    UNREADABLE = "unreadable"
    """It cannot be read any more; what is on it and not in the evidence is unknown."""


class TeardownPlan(Value):
    """Everything that destroying one instance means. Its digest is what consent is bound to."""

    version: Literal[1] = 1
    action: Literal["destroy"] = "destroy"
    account_id: int
    instance: InstanceIdentity
    lease: LeaseId
    name: str
    """What the person types to agree."""
    evidence: tuple[Evidence, ...]
    losses: tuple[Loss, ...]
    losses_complete: bool
    """False when the machine could not be listed whole: there may be more than ``losses``."""
    running_writers: tuple[str, ...]
    machine_state: MachineState
    fingerprints: tuple[Fingerprint, ...]
    job: str
    """One sentence on how the job ended, or that it did not."""
    volumes_billing_on: tuple[str, ...]
    spent: Usd
    usd_per_hour_running: UsdPerHour | None
    usd_per_hour_stopped: UsdPerHour | None
    prepared_at: datetime
    program_version: str
    nonce: str
    stopped_at: datetime | None = None
    """When it was first seen at rest after its last run."""
    kept_running: str | None = None
    """Why it was not stopped before the question."""
    policy_digest: str | None = None
    """Of the person's policy under which this was prepared."""

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of the statement."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def losses_digest(self) -> str:
        """sha256 over the canonical JSON of everything that is known not to be saved."""
        return digest_of([loss.model_dump(mode="json") for loss in self.losses])


class RentPlan(Value):
    """Renting above what the policy allows without asking."""

    version: Literal[1] = 1
    action: Literal["rent"] = "rent"
    account_id: int
    offer_id: int
    machine_id: int
    name: str
    gpu: str
    usd_per_hour: UsdPerHour
    hours: float
    total: Usd
    over: str
    """The cap that it exceeds, with both numbers."""
    prepared_at: datetime
    program_version: str
    nonce: str
    image: str | None = None
    disk_gib: GiB | None = None
    rental: RentalType | None = None
    policy_digest: str | None = None
    """Of the person's policy under which this was prepared."""

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of the statement."""
        return digest_of(self.model_dump(mode="json"))


class StandingPlan(Value):
    """A yes given beforehand, for one instance: it may be destroyed once, within a time, if all of this holds."""

    version: Literal[1] = 1
    action: Literal["preapprove"] = "preapprove"
    account_id: int
    instance: InstanceIdentity
    lease: LeaseId
    name: str
    """What the person types to agree."""
    least_level: VerificationLevel
    """Every file of the copy has to reach it."""
    off_box: bool
    """The proven copy has to lie off the machine, byte for byte as it was copied."""
    idle_minutes: float
    """The job has to have ended, and nothing to have changed on the machine, for so long."""
    most_unsaved_bytes: int
    """No more than this may be lost, as far as was seen; a machine that cannot be listed whole is never destroyed."""
    hours: float
    """It holds for so long after the yes was asked for."""
    usd_per_hour_running: UsdPerHour | None
    usd_per_hour_stopped: UsdPerHour | None
    spent: Usd
    prepared_at: datetime
    program_version: str
    nonce: str
    policy_digest: str | None = None

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of the statement."""
        return digest_of(self.model_dump(mode="json"))


Plan = TeardownPlan | RentPlan | StandingPlan
