"""One rental: what was ordered, its phase, and the four words and the message with which the platform tells it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """Where a rental stands, as the emulator knows it. The API shows only :func:`status_of`."""

    CREATED = "created"
    """Accepted; the host has not picked it up."""
    PULLING = "pulling"
    """The image comes down the host's link."""
    BOXING = "boxing"
    """The container starts."""
    RUNNING = "running"
    REBOOTING = "rebooting"
    STOPPED = "stopped"
    """By wish of the renter, by its end date, or without credit: ``cause`` says which."""
    WAITING = "waiting"
    """Wants to run and its own GPU is held by another: out-bid, displaced, or re-rented while stopped."""
    EXITED = "exited"
    """The container ended by itself."""
    FAILED = "failed"
    """The container never came up: missing image, driver too old. ``message`` tells."""
    OFFLINE = "offline"
    """The host is gone."""
    DUD = "dud"
    """Accepted, billed for its disk, and never heard of again."""
    DESTROYED = "destroyed"


GPU_BILLED = frozenset({Phase.RUNNING, Phase.REBOOTING})
DISK_FREE = frozenset({Phase.OFFLINE, Phase.DESTROYED})
WANTS_GPU = frozenset(
    {Phase.CREATED, Phase.PULLING, Phase.BOXING, Phase.RUNNING, Phase.REBOOTING, Phase.WAITING, Phase.FAILED, Phase.DUD}
)
"""Phases in which a rental claims its GPUs; :data:`HOLDS_GPU` are those in which it has them."""
HOLDS_GPU = WANTS_GPU - {Phase.WAITING}


@dataclass
class Contract:
    """A rental. Times in epoch seconds, prices in USD per hour, GB or GB*month, disk in GB."""

    id: int
    ask_id: int
    machine_id: int
    host_id: int
    owner_id: int
    gpu_ids: list[int]
    image: str
    runtype: str
    disk_gb: float
    dph_base: float
    """What the GPUs cost per hour: the ask's price, or the bid."""
    is_bid: bool
    storage_cost: float
    inet_up_cost: float
    inet_down_cost: float
    start_date: float
    end_date: float
    env: list[list[str]] = field(default_factory=list[list[str]])
    onstart: str = ""
    args: list[str] = field(default_factory=list[str])
    label: str | None = None
    template_id: int | None = None
    template_hash_id: str | None = None
    template_name: str | None = None
    jupyter_token: str = ""
    instance_api_key: str = ""
    ssh_idx: str = "1"
    ssh_port: int = 0
    """The proxy port it last had; 0 before its first boot."""
    ssh_keys: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Keys that open this box, each with ``id`` and ``public_key``."""
    volumes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    phase: Phase = Phase.CREATED
    intended: str = "running"
    cause: str = ""
    """Why it is not running: user, outbid, displaced, rented, expired, no-credit, exited, host."""
    message: str | None = None
    due: float | None = None
    """When the next step of its own happens; None when only somebody else moves it."""
    resume_phase: str = ""
    visible_from: float = 0.0
    """Reads lag behind a create until then."""
    pull_from: float = 0.0
    pull_s: float = 0.0
    boots: int = 0
    ran_before: bool = False
    running_since: float | None = None
    accrued_to: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    destroyed_at: float | None = None
    ghost_from: float | None = None
    ghost_until: float | None = None
    """A deleted instance shows up again between these two moments."""
    waiting_since: float | None = None
    stopped_at: float | None = None

    @property
    def num_gpus(self) -> int:
        """How many GPUs it rents."""
        return len(self.gpu_ids)

    @property
    def price_per_gpu(self) -> float:
        """USD per hour for one GPU: what an auction compares."""
        return self.dph_base / max(1, self.num_gpus)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, to be written at once: what holds lists is not copied."""
        return {**vars(self)}

    @classmethod
    def from_json(cls, blob: dict[str, Any]) -> "Contract":
        """Back from :meth:`to_json`."""
        fields: dict[str, Any] = {**blob, "phase": Phase(blob["phase"])}
        return cls(**fields)


@dataclass(frozen=True)
class Status:
    """The platform's four strings and its message."""

    actual: str | None
    intended: str
    current: str
    next: str
    message: str | None


def status_of(contract: Contract, *, clean_stop_is_exited: bool = True) -> Status:
    """A contract's phase as the platform words it (OpenAPI 2026-08; ``exited`` for a clean stop seen live 2026)."""
    ended = "exited" if clean_stop_is_exited else "stopped"
    want, message = contract.intended, contract.message
    match contract.phase:
        case Phase.CREATED | Phase.DUD:
            return Status(None, want, "running", "running", message)
        case Phase.PULLING | Phase.BOXING:
            return Status("loading", want, "running", "running", message)
        case Phase.RUNNING:
            return Status("running", want, "running", "running", message)
        case Phase.REBOOTING:
            return Status("rebooting", want, "running", "running", message)
        case Phase.STOPPED:
            return Status(ended if contract.ran_before else None, want, "stopped", "stopped", message)
        case Phase.WAITING:
            return Status("exited" if contract.ran_before else None, want, "stopped", "running", message)
        case Phase.EXITED:
            return Status("exited", want, "running", "running", message)
        case Phase.FAILED:
            return Status("created", want, "running", "running", message)
        case Phase.OFFLINE:
            return Status("offline", want, "running" if want == "running" else "stopped", want, message)
        case Phase.DESTROYED:
            return Status("exited", "stopped", "stopped", "stopped", message)
