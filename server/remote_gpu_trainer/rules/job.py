"""Rules over the command, and over what the boot check found on the box."""

from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.domain.runs import JOB_ENDED
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import RentFacts, StartFacts
from remote_gpu_trainer.rules.rent import is_interruptible

_ATTACHED = frozenset({"tmux", "screen", "nohup", "setsid", "disown"})
LONGEST_INTERVAL_MIN = 60.0
FOREIGN_VRAM = 1 << 30


def _detached_by_tool(facts: StartFacts) -> Trip | None:
    tools = _ATTACHED | {facts.platform.detach_primitive}
    first = facts.job.argv[0].rsplit("/", 1)[-1] if facts.job.argv else ""
    if first in tools:
        return Trip(
            f"the command runs under {first}, which ends with the container",
            fix=f"give start_job the plain command: {facts.platform.boot_hook} starts it again with the container",
        )
    return None


VAST41 = Rule(
    id="VAST41",
    name="tmux-taken-for-durable",
    severity=Severity.ACKNOWLEDGE,
    symptom="After a restart or a resume the instance runs, bills, and trains nothing.",
    cause="tmux keeps a session over an SSH disconnect and dies with the container: a reboot, a stop or a preemption "
    "ends it. Only the onstart script runs again at every container start.",
    example="Resumed at 03:00, GPU at 0 % until somebody looked at 09:00.",
    fix="give start_job the plain command: it runs under the boot hook and is started again by it",
    unless="the command is not wrapped in tmux, screen or nohup",
    source="docs.vast.ai jupyter-ssh FAQ and CLI commands, 2026-06",
    checks=on(_detached_by_tool, StartFacts),
)


def _vram_in_use(facts: StartFacts) -> Trip | None:
    used = facts.box.vram_used_bytes if facts.box else None
    if used is None or used < FOREIGN_VRAM:
        return None
    return Trip(f"{show_bytes(used)} of GPU memory are in use before the job")


U5 = Rule(
    id="U5",
    name="zombie-holds-gpu-memory",
    severity=Severity.WARN,
    symptom="CUDA out of memory at a batch size that fitted yesterday.",
    cause="A worker of an earlier run still lives and holds its GPU memory, often one that no longer shows a parent.",
    example="Four data loaders of a killed run keep 9 GB.",
    fix="nvidia-smi and fuser -v /dev/nvidia* name the processes; end them by id, or reboot the instance",
    unless="nothing else uses the GPU",
    source="general",
    checks=on(_vram_in_use, StartFacts),
)


def _in_place(facts: StartFacts) -> Trip | None:
    if facts.atomic_checkpoints is not False:
        return None
    return Trip("the job is said to write its checkpoints in place")


U10 = Rule(
    id="U10",
    name="checkpoint-written-in-place",
    severity=Severity.ACKNOWLEDGE,
    symptom="After a preemption the newest checkpoint does not load, and it was the only one.",
    cause="A process that dies while it overwrites a file leaves half of the new one and nothing of the old.",
    example="torch.save to last.pt, cut at 60 %: PytorchStreamReader fails to find the central directory.",
    fix="write to a temporary file in the same folder, flush, fsync, rename over the old, fsync the folder; keep two",
    unless="each checkpoint is written to a temporary file and renamed",
    source="general; see references/spot-resilience.md",
    checks=on(_in_place, StartFacts),
)


def _long_interval_rent(facts: RentFacts) -> Trip | None:
    return _long(facts.checkpoint_minutes) if is_interruptible(facts) else None


def _long_interval_start(facts: StartFacts) -> Trip | None:
    return _long(facts.job.checkpoint_minutes) if facts.instance.rental is RentalType.INTERRUPTIBLE else None


def _long(minutes: float | None) -> Trip | None:
    if minutes is None or minutes <= LONGEST_INTERVAL_MIN:
        return None
    return Trip(f"a checkpoint each {minutes:g} min on an interruptible puts up to {minutes:g} min of work at risk")


U13 = Rule(
    id="U13",
    name="checkpoint-interval-guessed",
    severity=Severity.WARN,
    symptom="Each preemption costs an hour of work; or half of the time goes into saving.",
    cause="The interval with the least loss grows with the root of the cost of a save times the time between losses.",
    example="A save of 20 s and a preemption each 4 h: about every 12.5 minutes.",
    fix="interval = sqrt(2 x save seconds x seconds between preemptions); see references/spot-resilience.md",
    unless="the interval is at most an hour, or follows from the formula",
    source="Young 1974; Daly 2006",
    checks=(*on(_long_interval_rent, RentFacts), *on(_long_interval_start, StartFacts)),
)


def _triangle(facts: StartFacts) -> Trip | None:
    box = facts.box
    if box is None or box.driver_cuda is None or box.framework_cuda is None or box.framework_cuda <= box.driver_cuda:
        return None
    severity = Severity.WARN if box.framework_sees_gpu else Severity.BLOCK
    return Trip(
        f"the framework is built for CUDA {box.framework_cuda:g}, the driver runs {box.driver_cuda:g}", severity
    )


U28 = Rule(
    id="U28",
    name="cuda-triangle-broken",
    severity=Severity.BLOCK,
    symptom="'CUDA driver version is insufficient', or a kernel image that does not fit the device.",
    cause="Driver, toolkit in the image and the framework's build form a triangle: the driver must run the toolkit's "
    "version, and the framework must be built for the GPU's architecture.",
    example="A wheel for cu128 on a driver for 12.4; or a wheel of 2022 on a GPU of 2025.",
    fix="nvidia-smi names the driver's CUDA, torch.version.cuda the framework's, torch.cuda.get_arch_list() the "
    "architectures; choose the image by the driver",
    unless="the framework's CUDA is at most the driver's",
    source="NVIDIA compatibility documentation; seen on rented hosts, 2026-06",
    checks=on(_triangle, StartFacts),
)


def _no_gpu(facts: StartFacts) -> Trip | None:
    box = facts.box
    if box is None:
        return Trip("the boot check has not answered, so whether the GPU can be used is unknown", Severity.WARN)
    if box.gpus == 0:
        return Trip("nvidia-smi lists no GPU")
    if box.framework_sees_gpu is False and box.framework_cuda is None:
        return Trip("the framework is a CPU-only build")
    return None


U31 = Rule(
    id="U31",
    name="cpu-build-on-paid-gpu",
    severity=Severity.BLOCK,
    symptom="Training runs at a hundredth of the speed, and the GPU idles at full price.",
    cause="A later pip install replaced the framework by a CPU-only build, or the container was started without its "
    "GPU.",
    example="A requirements file that pins torch without the CUDA index.",
    fix="end the job when nvidia-smi or torch.cuda.is_available() say no; start_job asks both before it starts; "
    "install the framework from the index that fits, or leave the image's alone",
    unless="nvidia-smi lists the GPU and the framework sees it",
    source="general; seen on rented hosts, 2026-06",
    checks=on(_no_gpu, StartFacts),
)


def _busy(facts: StartFacts) -> Trip | None:
    earlier = facts.earlier
    if earlier is None or earlier.state in JOB_ENDED:
        return None
    since = "" if earlier.heartbeat_at is None else f", last sign at {earlier.heartbeat_at:%Y-%m-%d %H:%M} UTC"
    return Trip(f"a job is {earlier.state} on this machine, started {earlier.starts} times{since}")


U35 = Rule(
    id="U35",
    name="second-job-on-a-busy-machine",
    severity=Severity.ACKNOWLEDGE,
    symptom="Two trainings share one GPU, both at half the speed, or the second waits behind the first for ever.",
    cause="A job is started again because its log was quiet, while the first one still runs; both write the same "
    "checkpoints.",
    example="A restart with a lower learning rate: the old run overwrites last.safetensors at the next save.",
    fix="read_logs and poll_status say whether the job moves; acknowledge U35 to end it first: it gets SIGTERM, half a "
    "minute later SIGKILL, what it saved stays, and the new job starts after its end",
    unless="no job is at work on the machine",
    source="general",
    checks=on(_busy, StartFacts),
)
