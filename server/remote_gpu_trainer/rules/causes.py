"""What brings an instance into its phase, and one reading of one look at it."""

from enum import StrEnum

from remote_gpu_trainer.domain.instances import InstancePhase
from remote_gpu_trainer.domain.values import Value


class Cause(StrEnum):
    """What brought an instance into its phase."""

    NONE = "none"
    """It runs."""
    BOOTING = "booting"
    OUT_BID = "out-bid"
    OWN_STOP = "own-stop"
    END_DATE = "end-date"
    NO_CREDIT = "no-credit"
    CRASH = "crash"
    BOOT_HOOK = "boot-hook-failed"
    HOST_GONE = "host-gone"
    GPU_TAKEN = "gpu-taken"
    SLOW_IMAGE = "slow-image"
    CUDA_MISMATCH = "cuda-mismatch"
    IMAGE_MISSING = "image-missing"
    CONTAINER_REFUSED = "container-refused"
    NEVER_APPEARED = "never-appeared"
    UNKNOWN = "unknown"


class Diagnosis(Value):
    """One reading of one look."""

    phase: InstancePhase
    rule_id: str | None
    cause: Cause
    explanation: str
    """What was seen, with numbers."""
    next_step: str
    waits_help: bool
    """Whether polling again can bring it to RUNNING without another action."""
