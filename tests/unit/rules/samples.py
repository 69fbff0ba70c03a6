"""Facts in which nothing is wrong, to be changed one field at a time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from remote_gpu_trainer.domain.artifacts import (
    FileProof,
    Route,
    VerificationLevel,
    VerificationReport,
)
from remote_gpu_trainer.domain.ids import CopyId, HostId, InstanceId, MachineId, OfferId
from remote_gpu_trainer.domain.instances import (
    Account,
    Endpoint,
    EndpointKind,
    Instance,
    InstancePhase,
    RawStatus,
    Volume,
)
from remote_gpu_trainer.domain.offers import JobShape, Offer, RentalType
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.runs import JobHeartbeat, JobSpec
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerGB, UsdPerGiBMonth, UsdPerHour
from remote_gpu_trainer.rules.facts import (
    AnswerFacts,
    BoxReport,
    ConnectFacts,
    CopyFacts,
    DestroyFacts,
    PollFacts,
    PushFacts,
    PushFile,
    RentFacts,
    ResumeFacts,
    SearchFacts,
    SpendFacts,
    StartFacts,
    StopFacts,
    VerifyFacts,
)
from remote_gpu_trainer.rules.platform import parse_profile

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 8, 14, 12, 0, tzinfo=UTC)
PLATFORM = parse_profile((ROOT / "profiles" / "vastai.md").read_text(encoding="utf-8"))
IMAGE = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"
KEY = "ssh-ed25519 " + "A" * 68 + " ada@example"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def offer(**changes: Any) -> Offer:
    usual: dict[str, Any] = {
        "id": OfferId(4711),
        "machine_id": MachineId(12),
        "host_id": HostId(3),
        "rental": RentalType.ON_DEMAND,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram_gib": GiB(24.0),
        "gpu_usd_per_hour": UsdPerHour(0.4),
        "min_bid_usd_per_hour": UsdPerHour(0.2),
        "storage_usd_per_gib_month": UsdPerGiBMonth(0.15),
        "egress_usd_per_gb": UsdPerGB(0.002),
        "ingress_usd_per_gb": UsdPerGB(0.002),
        "inet_up_mbps": 900.0,
        "inet_down_mbps": 900.0,
        "reliability": 0.995,
        "verified": True,
        "direct_ports": 40,
        "cuda_max": 12.8,
        "driver_version": "570.00",
        "disk_gib": GiB(500.0),
        "remaining_hours": 700.0,
        "dlperf_per_usd": 200.0,
        "geolocation": "SE",
    }
    return Offer.model_validate({**usual, **changes})


def shape(**changes: Any) -> JobShape:
    return JobShape.model_validate({"hours": 4.0, "disk_gib": GiB(40.0), **changes})


def account(credit: float = 50.0) -> Account:
    return Account(id=1, credit=Usd(credit))


def instance(phase: InstancePhase = InstancePhase.RUNNING, **changes: Any) -> Instance:
    usual: dict[str, Any] = {
        "id": InstanceId(900),
        "machine_id": MachineId(12),
        "host_id": HostId(3),
        "label": "rgt/digits-k3vq7m",
        "image": IMAGE,
        "phase": phase,
        "raw": RawStatus(actual="running", intended="running", current="running", next="running", message=None),
        "rental": RentalType.ON_DEMAND,
        "started_at": ago(3600),
        "ends_at": NOW + timedelta(days=30),
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_usd_per_hour": UsdPerHour(0.4),
        "usd_per_hour_now": UsdPerHour(0.41),
        "bid_usd_per_hour": None,
        "disk_gib": GiB(40.0),
        "storage_usd_per_gib_month": UsdPerGiBMonth(0.15),
        "egress_usd_per_gb": UsdPerGB(0.002),
        "ingress_usd_per_gb": UsdPerGB(0.002),
        "endpoints": (Endpoint(kind=EndpointKind.DIRECT, host="203.0.113.7", port=33526),),
        "ports": {"22/tcp": 33526},
    }
    return Instance.model_validate({**usual, **changes})


def spot(phase: InstancePhase = InstancePhase.RUNNING, **changes: Any) -> Instance:
    return instance(phase, rental=RentalType.INTERRUPTIBLE, bid_usd_per_hour=UsdPerHour(0.2), **changes)


def search(**changes: Any) -> SearchFacts:
    usual: dict[str, Any] = {"offer": offer(), "shape": shape(), "policy": Policy(), "image": IMAGE}
    return SearchFacts.model_validate({**usual, **changes})


def rent(**changes: Any) -> RentFacts:
    usual: dict[str, Any] = {
        "offer": offer(),
        "shape": shape(),
        "policy": Policy(),
        "image": IMAGE,
        "platform": PLATFORM,
        "now": NOW,
        "direct": True,
        "cancel_unavailable": True,
        "checkpoint_minutes": 10.0,
        "resumes": True,
        "has_boot_hook": True,
        "onstart": "#!/bin/sh\nexec /workspace/.rgt/boot\n",
        "account": account(),
        "public_key": KEY,
        "key_registered": True,
        "searched_as": RentalType.ON_DEMAND,
        "disk_need_gib": GiB(30.0),
    }
    return RentFacts.model_validate({**usual, **changes})


def bid(**changes: Any) -> RentFacts:
    usual: dict[str, Any] = {
        "offer": offer(rental=RentalType.INTERRUPTIBLE),
        "searched_as": RentalType.INTERRUPTIBLE,
        "bid": UsdPerHour(0.25),
    }
    return rent(**{**usual, **changes})


def push(**changes: Any) -> PushFacts:
    usual: dict[str, Any] = {
        "instance": instance(),
        "destination": "/workspace/run",
        "files": (PushFile(path="train.py", size=2000),),
        "secrets": (),
        "route": Route.DIRECT_SSH,
        "free_bytes": 10**10,
        "free_inodes": 10**6,
    }
    return PushFacts.model_validate({**usual, **changes})


def box(**changes: Any) -> BoxReport:
    usual: dict[str, Any] = {
        "gpus": 1,
        "driver_cuda": 12.8,
        "framework_cuda": 12.4,
        "framework_sees_gpu": True,
        "free_bytes": 10**10,
        "free_inodes": 10**6,
        "memory_bytes": 64 << 30,
        "vram_used_bytes": 0,
    }
    return BoxReport.model_validate({**usual, **changes})


def job(**changes: Any) -> JobSpec:
    usual: dict[str, Any] = {
        "job_id": "j1",
        "argv": ("python", "train.py"),
        "resumes": True,
        "checkpoint_minutes": 10.0,
    }
    return JobSpec.model_validate({**usual, **changes})


def heartbeat(**changes: Any) -> JobHeartbeat:
    usual: dict[str, Any] = {"job_id": "j0", "state": "running", "starts": 3, "heartbeat_at": NOW, "exit_code": None}
    return JobHeartbeat.model_validate({**usual, **changes})


def start(**changes: Any) -> StartFacts:
    usual: dict[str, Any] = {
        "instance": instance(),
        "job": job(),
        "platform": PLATFORM,
        "now": NOW,
        "hours": 4.0,
        "has_boot_hook": True,
        "box": box(),
        "checkpoint_bytes": 10**8,
        "kept_checkpoints": 2,
        "atomic_checkpoints": True,
    }
    return StartFacts.model_validate({**usual, **changes})


def poll(**changes: Any) -> PollFacts:
    usual: dict[str, Any] = {
        "instance": instance(),
        "now": NOW,
        "phase_since": ago(20),
        "wait_s": 60.0,
        "start_asked_at": ago(20),
        "account": account(),
        "burn_usd_per_hour": UsdPerHour(0.41),
    }
    return PollFacts.model_validate({**usual, **changes})


def resume(**changes: Any) -> ResumeFacts:
    usual: dict[str, Any] = {
        "instance": instance(InstancePhase.PREEMPTED),
        "now": NOW,
        "method": "restart",
        "phase_since": ago(300),
        "start_asked_at": ago(3600),
        "resumes": True,
        "off_box_checkpoint_at": ago(600),
    }
    return ResumeFacts.model_validate({**usual, **changes})


def copy(**changes: Any) -> CopyFacts:
    usual: dict[str, Any] = {"instance": instance(), "route": Route.DIRECT_SSH, "bytes": 10**9, "files": 12}
    return CopyFacts.model_validate({**usual, **changes})


def proof(level: VerificationLevel = VerificationLevel.LOADS, **changes: Any) -> FileProof:
    usual: dict[str, Any] = {
        "path": "best.safetensors",
        "size": 10**8,
        "sha256": "0" * 64,
        "level": level,
        "format": "safetensors",
        "mtime_ns": 1,
    }
    return FileProof.model_validate({**usual, **changes})


def report(**changes: Any) -> VerificationReport:
    usual: dict[str, Any] = {
        "copy_id": CopyId("c1"),
        "destination": "/home/ada/results",
        "verified_at": ago(60),
        "files": (proof(),),
        "missing": (),
        "unmet": (),
    }
    return VerificationReport.model_validate({**usual, **changes})


def verify(**changes: Any) -> VerifyFacts:
    return VerifyFacts.model_validate({"report": report(), **changes})


def stop(**changes: Any) -> StopFacts:
    usual: dict[str, Any] = {
        "instance": instance(),
        "platform": PLATFORM,
        "now": NOW,
        "results_home": True,
        "unsaved_bytes": 0,
    }
    return StopFacts.model_validate({**usual, **changes})


def destroy(**changes: Any) -> DestroyFacts:
    usual: dict[str, Any] = {
        "instance": instance(InstancePhase.STOPPED),
        "now": NOW,
        "reports": (report(),),
        "matches_machine": True,
        "copy_failed": False,
        "held_work": True,
        "readable": True,
        "volumes": (),
    }
    return DestroyFacts.model_validate({**usual, **changes})


def volume(**changes: Any) -> Volume:
    usual: dict[str, Any] = {
        "id": 5,
        "machine_id": MachineId(12),
        "label": None,
        "size_gib": GiB(100.0),
        "usd_per_hour": UsdPerHour(0.01),
    }
    return Volume.model_validate({**usual, **changes})


def spend(**changes: Any) -> SpendFacts:
    usual: dict[str, Any] = {
        "instances": (instance(),),
        "volumes": (),
        "account": account(),
        "burn_usd_per_hour": UsdPerHour(0.41),
        "now": NOW,
    }
    return SpendFacts.model_validate({**usual, **changes})


def connect(**changes: Any) -> ConnectFacts:
    usual: dict[str, Any] = {"variable_set": True, "file_present": False, "keys_differ": None}
    return ConnectFacts.model_validate({**usual, **changes})


def answer(**changes: Any) -> AnswerFacts:
    usual: dict[str, Any] = {
        "action": "create",
        "error_code": None,
        "conclusion": "believe-done",
        "account_confirmed": True,
        "inventory_complete": True,
        "new_contract": 900,
        "read_back": True,
    }
    return AnswerFacts.model_validate({**usual, **changes})
