"""Rules over a job that is about to run."""

from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import RentFacts, StartFacts
from remote_gpu_trainer.rules.rent import is_interruptible


def _rented_without_plan(facts: RentFacts) -> Trip | None:
    if not is_interruptible(facts):
        return None
    missing = _missing(facts, facts.checkpoint_minutes, facts.resumes)
    grace = f"with about {facts.platform.spot_grace_s} s of notice"
    return Trip(f"an interruptible {grace}, and {missing}", Severity.ACKNOWLEDGE) if missing else None


def _started_without_plan(facts: StartFacts) -> Trip | None:
    if facts.instance.rental is not RentalType.INTERRUPTIBLE:
        return None
    missing = _missing(facts, facts.job.checkpoint_minutes, facts.job.resumes)
    grace = f"with about {facts.platform.spot_grace_s} s of notice"
    return Trip(f"the instance is interruptible {grace}, and {missing}") if missing else None


def _missing(facts: RentFacts | StartFacts, checkpoint_minutes: float | None, resumes: bool | None) -> str:
    gaps = [
        text
        for absent, text in (
            (checkpoint_minutes is None, "no checkpoint interval is named"),
            (not resumes, "the command is not said to resume from its latest checkpoint"),
            (not facts.has_boot_hook, f"no boot hook ({facts.platform.boot_hook}) relaunches it"),
        )
        if absent
    ]
    return "; ".join(gaps)


VAST4 = Rule(
    id="VAST4",
    name="preemption-notice-expected",
    severity=Severity.BLOCK,
    symptom="An interruptible run ends in the middle of a step, without a word in its log.",
    cause="Losing the auction pauses the instance at once: about 0 s of notice and no SIGTERM, so a handler that "
    "flushes on a signal never runs. The disk survives.",
    example="A job that saves only in its SIGTERM handler starts again at step 0.",
    fix="save a full-state checkpoint each few minutes (Young/Daly), load the latest at every start, and let the boot "
    "hook relaunch the command",
    unless="checkpoint_minutes is set, the command resumes, and the boot hook runs it",
    source="vast.ai article Rental-Types, 2026-06",
    checks=(*on(_rented_without_plan, RentFacts), *on(_started_without_plan, StartFacts)),
)
