"""Rules over an instance that is being waited for, and over taking it up again."""

from datetime import datetime, timedelta

from remote_gpu_trainer.domain.instances import InstancePhase
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import PollFacts, RentFacts, ResumeFacts

GPU_TAKEN_AFTER = timedelta(seconds=30)
"""Wished to run and not running for longer: its own GPU is rented by another (vast-ai.crisp.help, 2026-06)."""
LOADING_WINDOW = timedelta(minutes=5)
"""Boot is documented as 1 to 5 minutes, by size of the image (docs.vast.ai CLI Hello World, 2026-06)."""
USUAL_IMAGE_GIB = 8.0
SECONDS_PER_EXTRA_GIB = 30.0


def loading_window(image_gib: float | None) -> timedelta:
    """How long loading may take before it counts as stuck: the documented window, longer for a fat image."""
    extra = max((image_gib or 0.0) - USUAL_IMAGE_GIB, 0.0)
    return LOADING_WINDOW + timedelta(seconds=extra * SECONDS_PER_EXTRA_GIB)


def waiting_for_gpu(
    phase: InstancePhase, phase_since: datetime | None, start_asked_at: datetime | None, now: datetime
) -> timedelta | None:
    """How long an instance has waited for its own GPU; None when it does not, or nobody knows since when.

    An interruptible that waits for its GPU reads as PREEMPTED, so there it counts from a start that we asked for
    after it was preempted.
    """
    if phase is InstancePhase.PREEMPTED:
        asked_since = start_asked_at is not None and phase_since is not None and start_asked_at >= phase_since
        return now - start_asked_at if asked_since and start_asked_at is not None else None
    if phase is not InstancePhase.SCHEDULING:
        return None
    known = [moment for moment in (phase_since, start_asked_at) if moment is not None]
    return now - max(known) if known else None


def _gpu_taken(facts: PollFacts) -> Trip | None:
    waited = waiting_for_gpu(facts.instance.phase, facts.phase_since, facts.start_asked_at, facts.now)
    if waited is None or waited <= GPU_TAKEN_AFTER:
        return None
    return Trip(f"wished to run and waiting for {waited.total_seconds():.0f} s (limit 30 s)", Severity.WARN)


def _waits_for_gpu(facts: ResumeFacts) -> Trip | None:
    if facts.instance is None or facts.method not in ("wait", "restart"):
        return None
    phase = facts.instance.phase
    waited = waiting_for_gpu(phase, facts.phase_since, facts.start_asked_at, facts.now)
    if phase is InstancePhase.SCHEDULING and waited is None and facts.method == "wait":
        return Trip("scheduling since an unknown time; its own GPU may be rented by another", Severity.ACKNOWLEDGE)
    if waited is None or waited <= GPU_TAKEN_AFTER:
        return None
    return Trip(f"waiting for {waited.total_seconds():.0f} s (limit 30 s): its own GPU is rented by another")


VAST3 = Rule(
    id="VAST3",
    name="own-gpu-awaited",
    severity=Severity.BLOCK,
    symptom="A stopped or preempted instance stays in Scheduling although its machine is shown as available.",
    cause="An instance is bound to one GPU of its machine, not to the machine. When that GPU was rented by another, "
    "it waits without end while other GPUs of the host are free.",
    example="A machine with 8 GPUs shows 5 for rent; the stopped instance waits for number 3, which is taken.",
    fix="give up this start and resume_run with method relaunch: another offer from a checkpoint off the box, or a new "
    "instance on the same host with the same volume (create_instance with volume_id), whose other GPUs are free",
    unless="the instance is running, or asked to start less than 30 s ago",
    source="vast-ai.crisp.help scheduling and docs.vast.ai manage-instances, 2026-06",
    checks=(*on(_gpu_taken, PollFacts), *on(_waits_for_gpu, ResumeFacts)),
)


def _loads_long(facts: PollFacts) -> Trip | None:
    since = facts.phase_since or facts.start_asked_at
    if facts.instance.phase is not InstancePhase.LOADING or since is None:
        return None
    window, loading = loading_window(facts.image_gib), facts.now - since
    if loading <= window:
        return None
    return Trip(f"loading for {loading.total_seconds() / 60:.1f} min; the window is {window.total_seconds() / 60:.1f}")


def _fat_image(facts: RentFacts) -> Trip | None:
    mbps = facts.offer.inet_down_mbps
    if not mbps:
        return Trip("the host's download rate is unknown, so the image pull may take long")
    minutes = facts.shape.image_gib * 8 * 1024 * 1.048576 / mbps / 60
    if minutes <= LOADING_WINDOW.total_seconds() / 60 * 3:
        return None
    return Trip(f"pulling {facts.shape.image_gib:g} GiB at {mbps:g} Mbit/s takes about {minutes:.0f} min")


VAST13 = Rule(
    id="VAST13",
    name="loading-awaited-blindly",
    severity=Severity.WARN,
    symptom="A new instance stays in Loading or Connecting for many minutes.",
    cause="The host pulls a large image, or its link is slow; 1 to 5 minutes are usual.",
    example="A 22 GB image over a 100 Mbit/s link takes half an hour.",
    fix="after the window read_logs with source=daemon shows the pull; if it stands still, destroy and take a faster "
    "offer or a slimmer image",
    unless="it has loaded for less than the window, or the log shows the pull moving",
    source="docs.vast.ai CLI Hello World and show-logs, 2026-06",
    checks=(*on(_loads_long, PollFacts), *on(_fat_image, RentFacts)),
)
