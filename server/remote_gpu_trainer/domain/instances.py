"""Instances as we read them: one phase out of the platform's four strings, with the strings kept."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from remote_gpu_trainer.domain.ids import HostId, InstanceId, LeaseId, MachineId, lease_in
from remote_gpu_trainer.domain.offers import RentalType, disk_usd_per_hour
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerGB, UsdPerGiBMonth, UsdPerHour
from remote_gpu_trainer.domain.values import Value


class InstancePhase(StrEnum):
    """Our reading of an instance's state."""

    CREATED = "created"
    """A contract exists and nothing is reported yet."""
    LOADING = "loading"
    """The image is being pulled or the container is booting. No GPU charge yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    """Stopped by wish or by its end date; the disk is kept and bills."""
    PREEMPTED = "preempted"
    """Out-bid or displaced: wished to run, held by the platform; the disk is kept and bills."""
    SCHEDULING = "scheduling"
    """Wished to run and waiting for its own GPU (VAST3)."""
    EXITED = "exited"
    """The container ended although it was wished to run."""
    REBOOTING = "rebooting"
    FROZEN = "frozen"
    OFFLINE = "offline"
    """The host is gone from the network (VAST7). Waiting does not bring it back."""
    UNKNOWN = "unknown"
    """A combination that the table does not know; ``raw`` holds it. Nothing is concluded from it."""


AT_REST = frozenset({InstancePhase.STOPPED, InstancePhase.EXITED, InstancePhase.PREEMPTED, InstancePhase.SCHEDULING})
"""Phases in which no container runs, so that nothing on the machine writes to its disk."""
TERMINAL_FOR_WAITING = frozenset(
    {
        InstancePhase.STOPPED,
        InstancePhase.PREEMPTED,
        InstancePhase.EXITED,
        InstancePhase.OFFLINE,
        InstancePhase.UNKNOWN,
    }
)
"""Phases that do not turn into RUNNING by waiting on our side."""


class RawStatus(Value):
    """The platform's own words, kept for diagnosis. ``message`` is untrusted text."""

    actual: str | None
    intended: str | None
    current: str | None
    next: str | None
    message: str | None


class EndpointKind(StrEnum):
    """Two ways to a box: straight to the host, or through the platform's throttled proxy (VAST8)."""

    DIRECT = "direct"
    PROXY = "proxy"


class Endpoint(Value):
    """Where SSH answers. Discovered at run time, never remembered over a restart (VAST6)."""

    kind: EndpointKind
    host: str
    port: int


class DiskAddress(Value):
    """Where a machine's rsync daemon answers over SSH, for one instance's disk, running or stopped."""

    host: str
    port: int = Field(gt=0, lt=65536)
    user: str
    module: str


class Instance(Value):
    """One rental, as read at one moment."""

    id: InstanceId
    machine_id: MachineId
    host_id: HostId | None
    label: str | None
    image: str | None
    phase: InstancePhase
    raw: RawStatus
    rental: RentalType
    started_at: datetime | None
    """``start_date``: start of the contract; part of the identity."""
    ends_at: datetime | None
    """``end_date``: the host's end of the contract, after which the data may be deleted."""
    gpu_name: str | None
    num_gpus: int | None
    gpu_usd_per_hour: UsdPerHour | None
    """What the GPU bills while running, disk not included."""
    usd_per_hour_now: UsdPerHour | None
    """The platform's own figure for the burn right now (``instance.totalHour``); None when not given."""
    bid_usd_per_hour: UsdPerHour | None
    disk_gib: GiB | None
    storage_usd_per_gib_month: UsdPerGiBMonth | None
    egress_usd_per_gb: UsdPerGB | None
    ingress_usd_per_gb: UsdPerGB | None
    endpoints: tuple[Endpoint, ...]
    """Best first. Empty until the platform reports them."""
    ports: dict[str, int]
    """Internal port, such as ``8080/tcp``, to the external port."""
    volume_ids: tuple[int, ...] = ()
    cuda_max: float | None = None
    bytes_up_billed: int | None = None
    bytes_down_billed: int | None = None

    @property
    def lease(self) -> LeaseId | None:
        """The lease that the label names, when it is one of ours."""
        return lease_in(self.label)

    @property
    def identity(self) -> "InstanceIdentity":
        """What must be the same for this to be the same rental."""
        return InstanceIdentity(
            id=self.id, machine_id=self.machine_id, label=self.label or "", started_at=self.started_at
        )

    @property
    def disk_usd_per_hour(self) -> UsdPerHour | None:
        """What the disk bills in every state but offline; None when the platform does not say."""
        if self.storage_usd_per_gib_month is None or self.disk_gib is None:
            return None
        return disk_usd_per_hour(self.storage_usd_per_gib_month, self.disk_gib)


class InstanceIdentity(Value):
    """Id, machine, label and start of the contract: a re-used id is another instance."""

    id: InstanceId
    machine_id: MachineId
    label: str
    started_at: datetime | None


class VolumeMount(Value):
    """An existing local volume and where it appears in the container."""

    id: int
    path: str


class InstanceOrder(Value):
    """A create call, complete. Secrets travel in ``env`` and are never journalled."""

    offer_id: int
    image: str
    disk_gib: GiB
    label: str
    onstart: str
    env: dict[str, str]
    ports: tuple[str, ...] = ()
    """Docker form, for example ``8080:8080``."""
    direct: bool = True
    bid_usd_per_hour: UsdPerHour | None = None
    """None rents on demand; a price makes it interruptible."""
    cancel_unavailable: bool = True
    """Without it an unavailable machine quietly becomes a stopped instance that bills its disk."""
    image_login: str | None = None
    volume: VolumeMount | None = None
    """Only on the machine on which it was made (VAST12)."""


class Account(Value):
    """Who the key belongs to, and what is left."""

    id: int
    credit: Usd
    """Spendable now."""
    balance_threshold: Usd | None = None
    can_pay: bool | None = None
    """Whether a payment method is on file; None when the platform does not say."""


class Inventory(Value):
    """All instances of one account, with the account that they were read for.

    ``complete`` is true only when every page was read and the counts agree, so that a missing row means something.
    """

    account_id: int
    instances: tuple[Instance, ...]
    complete: bool


class Volume(Value):
    """A local volume. It outlives its instance and bills until it is deleted."""

    id: int
    machine_id: MachineId | None
    label: str | None
    size_gib: GiB | None
    usd_per_hour: UsdPerHour | None
    instance_ids: tuple[int, ...] = ()


class Charge(Value):
    """One line of the platform's own bill."""

    kind: str
    instance_id: int | None
    amount: Usd
    at: datetime | None
