"""Values for tests of what lies on disk: a clock of one's own, a lease, plans, a copy and its proof."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from remote_gpu_trainer.domain.artifacts import (
    CopyReceipt,
    EntryKind,
    FileProof,
    Fingerprint,
    Manifest,
    ManifestEntry,
    Route,
    SkippedEntry,
    VerificationLevel,
    VerificationReport,
)
from remote_gpu_trainer.domain.ids import CopyId, HostId, InstanceId, LeaseId, MachineId, OfferId, label_of
from remote_gpu_trainer.domain.instances import InstanceIdentity
from remote_gpu_trainer.domain.offers import JobShape, Offer, RentalType
from remote_gpu_trainer.domain.plans import (
    Evidence,
    Loss,
    MachineState,
    ProvenFile,
    RentPlan,
    StandingPlan,
    TeardownPlan,
)
from remote_gpu_trainer.domain.runs import Lease
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerGB, UsdPerGiBMonth, UsdPerHour

START = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
ACCOUNT = 4242
LEASE = LeaseId("digits-k3vq7m")
INSTANCE = InstanceId(26548123)
MACHINE = MachineId(1203)
OFFER = OfferId(8812001)
COPY = CopyId("copy-1")


class HandClock:
    """A clock that stands still until a test moves it. ``step`` moves the wall alone, as setting a clock does."""

    def __init__(self, at: datetime = START) -> None:
        self.wall = at
        self.ticks = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    async def sleep(self, seconds: float) -> None:
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.ticks += seconds

    def step(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)


def an_offer(offer: OfferId = OFFER) -> Offer:
    return Offer(
        id=offer,
        machine_id=MACHINE,
        host_id=HostId(77),
        rental=RentalType.INTERRUPTIBLE,
        gpu_name="RTX 4090",
        num_gpus=1,
        gpu_ram_gib=GiB(24.0),
        gpu_usd_per_hour=UsdPerHour(0.21),
        min_bid_usd_per_hour=UsdPerHour(0.2),
        storage_usd_per_gib_month=UsdPerGiBMonth(0.15),
        egress_usd_per_gb=UsdPerGB(0.01),
        ingress_usd_per_gb=UsdPerGB(0.0),
        inet_up_mbps=800.0,
        inet_down_mbps=900.0,
        reliability=0.991,
        verified=True,
        direct_ports=12,
        cuda_max=12.8,
        driver_version="570.1",
        disk_gib=GiB(200.0),
        remaining_hours=400.0,
        dlperf_per_usd=None,
        geolocation="CZ",
    )


def a_lease(lease: LeaseId = LEASE, *, usd_per_hour: float = 0.25) -> Lease:
    return Lease(
        id=lease,
        opened_at=START,
        image="vastai/pytorch:2.8",
        shape=JobShape(hours=4, disk_gib=GiB(32.0)),
        offer=an_offer(),
        bid_usd_per_hour=UsdPerHour(0.21),
        usd_per_hour=UsdPerHour(usd_per_hour),
        budget=Usd(4 * usd_per_hour),
    )


def a_teardown(
    *,
    lease: LeaseId = LEASE,
    instance: InstanceId = INSTANCE,
    account: int = ACCOUNT,
    nonce: str = "n1",
    losses: tuple[Loss, ...] = (Loss(path="out/debug.log", size=2_000_000, reason="not asked for"),),
    evidence: tuple[Evidence, ...] | None = None,
    job: str = "succeeded with exit status 0 after 300 steps",
    machine_state: MachineState = MachineState.STOPPED,
    losses_complete: bool = True,
    label: str | None = None,
    writers: tuple[str, ...] = (),
    volumes: tuple[str, ...] = (),
) -> TeardownPlan:
    proof = Evidence(
        copy_id=COPY,
        destination="/home/ada/results",
        manifest_digest="ab" * 32,
        copied_at=START,
        verified_at=START,
        lowest_level=VerificationLevel.LOADS,
        files=(
            ProvenFile(path="model.safetensors", size=90_000_000, sha256="cd" * 32, level=VerificationLevel.LOADS),
            ProvenFile(path="notes.bin", size=10, sha256="ef" * 32, level=VerificationLevel.DIGEST),
        ),
    )
    return TeardownPlan(
        account_id=account,
        instance=InstanceIdentity(
            id=instance, machine_id=MACHINE, label=label_of(lease) if label is None else label, started_at=START
        ),
        lease=lease,
        name=lease,
        evidence=(proof,) if evidence is None else evidence,
        losses=losses,
        losses_complete=losses_complete,
        running_writers=writers,
        machine_state=machine_state,
        fingerprints=(Fingerprint(moment="before-stop", at=START, digest="01" * 32, files=2, bytes=90_000_010),),
        job=job,
        volumes_billing_on=volumes,
        spent=Usd(1.25),
        usd_per_hour_running=UsdPerHour(0.25),
        usd_per_hour_stopped=UsdPerHour(0.0067),
        prepared_at=START,
        program_version="0.1.0",
        nonce=nonce,
    )


def a_rent(*, nonce: str = "n1", usd_per_hour: float = 0.25, gpu: str = "1x RTX 4090") -> RentPlan:
    return RentPlan(
        account_id=ACCOUNT,
        offer_id=OFFER,
        machine_id=MACHINE,
        name=LEASE,
        gpu=gpu,
        usd_per_hour=UsdPerHour(usd_per_hour),
        hours=4,
        total=Usd(4 * usd_per_hour),
        over="$0.25 per hour is above the cap of $0.20 per hour",
        prepared_at=START,
        program_version="0.1.0",
        nonce=nonce,
    )


def a_standing(
    *,
    nonce: str = "n1",
    lease: LeaseId = LEASE,
    instance: InstanceId = INSTANCE,
    level: VerificationLevel = VerificationLevel.LOADS,
    idle: float = 30.0,
    unsaved: int = 100 << 20,
) -> StandingPlan:
    return StandingPlan(
        account_id=ACCOUNT,
        instance=InstanceIdentity(id=instance, machine_id=MACHINE, label=label_of(lease), started_at=START),
        lease=lease,
        name=lease,
        least_level=level,
        off_box=True,
        idle_minutes=idle,
        most_unsaved_bytes=unsaved,
        hours=12.0,
        usd_per_hour_running=UsdPerHour(0.25),
        usd_per_hour_stopped=UsdPerHour(0.0067),
        spent=Usd(1.25),
        prepared_at=START,
        program_version="0.1.0",
        nonce=nonce,
    )


def a_copy(copy: CopyId = COPY, lease: LeaseId = LEASE, *, path: str = "model.safetensors") -> CopyReceipt:
    return CopyReceipt(
        copy_id=copy,
        lease=lease,
        instance_id=INSTANCE,
        roots=("/workspace/out",),
        destination="/home/ada/results",
        route=Route.DIRECT_SSH,
        route_reason="the direct port answered",
        manifest=Manifest(
            root="/workspace/out",
            entries=(
                ManifestEntry(
                    path=path, kind=EntryKind.FILE, size=5, mtime_ns=1_785_000_000_123_456_789, sha256="aa" * 32
                ),
            ),
        ),
        skipped=(SkippedEntry(path="link", size=0, reason="a symbolic link"),),
        not_copied=(),
        bytes_transferred=5,
        started_at=START,
        finished_at=START + timedelta(seconds=2),
        cost=None,
    )


def receipt_of(folder: Path, *names: str, claimed: str | None = None) -> CopyReceipt:
    """A copy that has just come home into this folder: of these files, or of all at its top.

    Args:
        claimed: The hash that the machine told of each, where it is not that of the file.
    """
    paths = [folder / name for name in names] or sorted(path for path in folder.iterdir() if path.is_file())
    now = datetime.now(UTC)
    return CopyReceipt(
        copy_id=COPY,
        lease=LEASE,
        instance_id=INSTANCE,
        roots=("/workspace/out",),
        destination=str(folder),
        route=Route.DIRECT_SSH,
        route_reason="the direct port answered",
        manifest=Manifest(root="/workspace/out", entries=tuple(_entry_of(path, claimed) for path in paths)),
        skipped=(),
        not_copied=(),
        bytes_transferred=0,
        started_at=now,
        finished_at=now,
        cost=None,
    )


def _entry_of(path: Path, claimed: str | None) -> ManifestEntry:
    with path.open("rb") as file:
        digest = claimed or hashlib.file_digest(file, "sha256").hexdigest()
    seen = path.stat()
    return ManifestEntry(
        path=path.name, kind=EntryKind.FILE, size=seen.st_size, mtime_ns=seen.st_mtime_ns, sha256=digest
    )


def a_report(copy: CopyId | None = COPY, *, level: VerificationLevel = VerificationLevel.LOADS) -> VerificationReport:
    return VerificationReport(
        copy_id=copy,
        destination="/home/ada/results",
        verified_at=START,
        files=(
            FileProof(
                path="model.safetensors", size=5, sha256="aa" * 32, level=level, format="safetensors", mtime_ns=17
            ),
        ),
        missing=(),
        unmet=(),
    )
