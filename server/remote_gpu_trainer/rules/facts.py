"""The facts that each stage hands to its rules. Times are aware UTC; None means that nobody knows."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from remote_gpu_trainer.domain.artifacts import Route, VerificationReport
from remote_gpu_trainer.domain.ids import MachineId
from remote_gpu_trainer.domain.instances import Account, Instance, Volume
from remote_gpu_trainer.domain.offers import JobShape, Offer, RentalType
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import JobHeartbeat, JobSpec
from remote_gpu_trainer.domain.units import GiB, UsdPerHour
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.rules.base import Facts, Stage
from remote_gpu_trainer.rules.platform import Platform


class SecretSighting(Value):
    """Where something that looks like a credential stands. The value itself is never kept."""

    place: str
    """For example ``onstart line 3`` or ``env WANDB_API_KEY`` or ``.env line 1``."""
    kind: str
    """For example ``hugging-face-token``."""


class ConnectFacts(Facts):
    """Which key the program is about to use."""

    stage: ClassVar[Stage] = Stage.CONNECT
    variable_set: bool
    """VAST_API_KEY is in the environment."""
    file_present: bool
    """The official CLI's key file exists."""
    keys_differ: bool | None


class OfferFacts(Facts):
    """An offer against a job: what search and rent have in common."""

    offer: Offer
    shape: JobShape
    policy: Policy
    image: str | None
    """Docker reference; None while none is chosen."""
    bid: UsdPerHour | None = None


class SearchFacts(OfferFacts):
    """One offer of a search, to be annotated."""

    stage: ClassVar[Stage] = Stage.SEARCH


class RentFacts(OfferFacts):
    """One create call, complete, before anything has left."""

    stage: ClassVar[Stage] = Stage.RENT
    platform: Platform
    now: datetime
    direct: bool
    """Direct SSH is asked for."""
    cancel_unavailable: bool
    checkpoint_minutes: float | None
    resumes: bool | None
    """The job's command continues from its latest checkpoint."""
    has_boot_hook: bool
    """The onstart script relaunches the job."""
    onstart: str = Field(repr=False)
    args: str = Field(default="", repr=False)
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Plain environment as the caller wrote it; values of ``secret_names`` are not in here."""
    image_login: str | None = Field(default=None, repr=False)
    secret_names: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    """Docker form, for example ``8080:8080``."""
    account: Account | None
    public_key: str | None
    """What is, or would be, registered as the SSH key."""
    key_registered: bool | None
    """Whether that key is on the account already, so that it reaches the new instance."""
    searched_as: RentalType | None
    """The rental type under which the offer was found."""
    disk_need_gib: GiB | None = None
    """From ``sizing.disk_need``; None when the sizes are unknown."""
    volume_machine: MachineId | None = None
    """Machine of a volume that the job wants mounted."""
    network_volume: bool = False
    unresolved_creates: tuple[str, ...] = ()
    """Leases whose create has no settled outcome."""


class PushFile(Value):
    """One file on its way to the box."""

    path: str
    size: int = Field(ge=0)
    crlf_script: bool = False
    """A shell or Python script with Windows line ends."""


class PushFacts(Facts):
    """Files that go to a box."""

    stage: ClassVar[Stage] = Stage.PUSH
    instance: Instance
    destination: str
    """Absolute POSIX folder on the box."""
    files: tuple[PushFile, ...]
    """Those of which more is known than that they are there."""
    more_files: int = Field(default=0, ge=0)
    more_bytes: int = Field(default=0, ge=0)
    """Of all other files."""
    secrets: tuple[SecretSighting, ...]
    route: Route | None
    free_bytes: int | None = None
    """On the filesystem of the destination."""
    free_inodes: int | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files) + self.more_bytes

    @property
    def count(self) -> int:
        """Files in all."""
        return len(self.files) + self.more_files


class BoxReport(Value):
    """What the boot check saw on the box. Its claims, parsed into numbers."""

    gpus: int | None
    """GPUs that ``nvidia-smi`` lists."""
    driver_cuda: float | None
    """Newest CUDA of the driver, by ``nvidia-smi``."""
    framework_cuda: float | None
    """CUDA that the training framework was built for; None for a CPU build or no framework."""
    framework_sees_gpu: bool | None
    free_bytes: int | None
    free_inodes: int | None
    memory_bytes: int | None
    """The container's memory limit (cgroup)."""
    vram_used_bytes: int | None
    """GPU memory in use before our job."""


class StartFacts(Facts):
    """A job that is about to run."""

    stage: ClassVar[Stage] = Stage.START
    instance: Instance
    job: JobSpec
    platform: Platform
    now: datetime
    hours: float | None
    """How long the job still takes."""
    has_boot_hook: bool
    """The box relaunches this job at every container start."""
    box: BoxReport | None
    """None when the boot check has not answered."""
    earlier: JobHeartbeat | None = None
    """The last sign of the job that was given to this box before; None without one."""
    checkpoint_bytes: int | None = None
    kept_checkpoints: int | None = None
    atomic_checkpoints: bool | None = None
    secrets: tuple[SecretSighting, ...] = ()


class PollFacts(Facts):
    """One look at an instance, with what the journal adds."""

    stage: ClassVar[Stage] = Stage.POLL
    instance: Instance
    now: datetime
    phase_since: datetime | None
    """Since when this phase has been seen without a break."""
    wait_s: float | None
    """The bound of the wait that is asked for; None is a wait without end, 0 a single look."""
    image_gib: GiB | None = None
    start_asked_at: datetime | None = None
    """When we last asked for ``running``: create, start or reboot."""
    stop_asked_at: datetime | None = None
    """When we last asked for ``stopped``."""
    account: Account | None = None
    burn_usd_per_hour: UsdPerHour | None = None
    """Of the whole account."""
    hours_left: float | None = None
    """How long the job still takes."""
    boot_failed: bool | None = None
    """The log says that the boot hook ended with an error."""
    gpu_works: bool | None = None
    """The boot check's word on whether the framework sees the GPU."""


ResumeMethod = Literal["wait", "restart", "rebid", "relaunch"]


class ResumeFacts(Facts):
    """A run that is to go on."""

    stage: ClassVar[Stage] = Stage.RESUME
    instance: Instance | None
    """None when the platform shows none any more."""
    now: datetime
    method: ResumeMethod
    phase_since: datetime | None
    start_asked_at: datetime | None
    resumes: bool | None
    """The command continues from its latest checkpoint."""
    off_box_checkpoint_at: datetime | None
    """Newest checkpoint that is proven off the box; None when there is none."""
    volume_machine: MachineId | None = None
    offer: Offer | None = None
    """Where a relaunch would go."""
    new_bid: UsdPerHour | None = None


class CopyFacts(Facts):
    """Results that come home."""

    stage: ClassVar[Stage] = Stage.COPY
    instance: Instance
    route: Route
    bytes: int | None
    """Still to be moved."""
    files: int | None
    open_for_writing: tuple[str, ...] = ()
    """Paths under the roots that a process holds open for writing."""
    cloud_connection: bool = False
    """The account's stored cloud credentials would be put on the host."""
    far_rsync_told: bool | None = None
    """Whether the machine's rsync names its version; None on a route where nobody asks it."""


class VerifyFacts(Facts):
    """What a verification reached."""

    stage: ClassVar[Stage] = Stage.VERIFY
    report: VerificationReport


class StopFacts(Facts):
    """A stop that is about to be asked for."""

    stage: ClassVar[Stage] = Stage.STOP
    instance: Instance
    platform: Platform
    now: datetime
    results_home: bool | None
    """Everything under the result roots is proven off the box."""
    unsaved_bytes: int | None
    """Seen on the box and not off it."""


class DestroyFacts(Facts):
    """A teardown that is about to be asked for."""

    stage: ClassVar[Stage] = Stage.DESTROY
    instance: Instance
    now: datetime
    reports: tuple[VerificationReport, ...]
    """The newest verification of each copy of this lease."""
    matches_machine: bool | None
    """The machine still holds exactly what was copied; None when it cannot be read."""
    copy_failed: bool
    """The last copy ended in an error."""
    held_work: bool | None
    """Anything of ours was ever pushed to or run on the box; False only when that is provably not so."""
    readable: bool
    """The box can be listed, or could be after a restart. Without it the person decides over a plan of losses."""
    volumes: tuple[Volume, ...] | None
    """On the account and tied to this instance or machine; None when they could not be read."""


class SpendFacts(Facts):
    """The account's money."""

    stage: ClassVar[Stage] = Stage.SPEND
    instances: tuple[Instance, ...]
    volumes: tuple[Volume, ...] | None
    account: Account | None
    burn_usd_per_hour: UsdPerHour | None
    """Everything that bills now."""
    now: datetime
    unproven: tuple[str, ...] = ()
    """Leases whose results are not off the box."""


AnswerAction = Literal["search", "create", "destroy", "read", "copy", "other"]
Conclusion = Literal["repeat", "believe-gone", "replace-key", "forget", "believe-done"]


class AnswerFacts(Facts):
    """An answer of the platform, and what someone is about to conclude from it."""

    stage: ClassVar[Stage] = Stage.ANSWER
    action: AnswerAction
    error_code: str | None
    """Code in our error tree; None for success."""
    conclusion: Conclusion
    account_confirmed: bool | None
    """The same key was just shown to belong to the pinned account."""
    inventory_complete: bool | None
    """The listing was whole and its counts agreed."""
    new_contract: int | None = None
    """A contract id that came with the answer."""
    read_back: bool | None = None
    """The new thing was seen in an independent read."""
