"""Why an instance is where it is, and what helps: the reading behind ``poll_status``."""

from datetime import timedelta

from remote_gpu_trainer.domain.instances import InstancePhase
from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.rules.causes import Cause, Diagnosis
from remote_gpu_trainer.rules.facts import PollFacts
from remote_gpu_trainer.rules.images import automatic_tag
from remote_gpu_trainer.rules.messages import Complaint, complaint, speaks_of_out_bid
from remote_gpu_trainer.rules.poll import GPU_TAKEN_AFTER, loading_window, waiting_for_gpu

__all__ = ["Cause", "Diagnosis", "diagnose"]

APPEARS_WITHIN = timedelta(minutes=5)
"""A contract for which nothing at all is reported for longer counts as never materialised (VAST14)."""


def diagnose(facts: PollFacts) -> Diagnosis:
    """The cause of an instance's phase. What the facts do not settle is UNKNOWN, never guessed."""
    if facts.instance.phase in _NOT_STARTED and (refusal := _refusal(facts)):
        return refusal
    match facts.instance.phase:
        case InstancePhase.RUNNING:
            return _running(facts)
        case InstancePhase.CREATED:
            return _created(facts)
        case InstancePhase.LOADING:
            return _loading(facts)
        case InstancePhase.SCHEDULING:
            return _scheduling(facts)
        case InstancePhase.PREEMPTED:
            return _preempted(facts)
        case InstancePhase.STOPPED:
            return _stopped(facts)
        case InstancePhase.EXITED:
            return _exited(facts)
        case InstancePhase.OFFLINE:
            return _say(
                facts,
                Cause.HOST_GONE,
                "the host left the network; nothing is billed while it is away and the disk is out of reach",
                "resume_run method=relaunch from the newest checkpoint off the box; do not wait for this host",
                rule="VAST7",
            )
        case InstancePhase.STOPPING | InstancePhase.REBOOTING:
            return _say(facts, Cause.BOOTING, "on its way between two states", "poll_status again", waits=True)
        case InstancePhase.FROZEN | InstancePhase.UNKNOWN:
            return _say(
                facts,
                Cause.UNKNOWN,
                "the platform reports a state that waiting does not change, or that this program does not know",
                "read_logs with source=daemon, then resume_run; copy_out first if the box still answers",
                rule="VAST17",
            )


def _say(
    facts: PollFacts, cause: Cause, explanation: str, next_step: str, *, rule: str | None = None, waits: bool = False
) -> Diagnosis:
    return Diagnosis(
        phase=facts.instance.phase,
        rule_id=rule,
        cause=cause,
        explanation=explanation,
        next_step=next_step,
        waits_help=waits,
    )


def _minutes(span: timedelta | None) -> str:
    return "an unknown time" if span is None else f"{span.total_seconds() / 60:.1f} min"


def _held_for(facts: PollFacts) -> timedelta | None:
    since = facts.phase_since or facts.start_asked_at
    return None if since is None else facts.now - since


_NOT_STARTED = frozenset({InstancePhase.CREATED, InstancePhase.LOADING, InstancePhase.EXITED, InstancePhase.UNKNOWN})


def _refusal(facts: PollFacts) -> Diagnosis | None:
    match complaint(facts.instance.raw.message):
        case None:
            return None
        case Complaint.CUDA:
            return _say(
                facts,
                Cause.CUDA_MISMATCH,
                "the container does not start: the image asks for a newer CUDA than the driver has",
                "destroy it (the person's consent is asked) and rent with an older image or min_cuda",
                rule="VAST5",
            )
        case Complaint.NO_IMAGE:
            automatic = automatic_tag(facts.instance.image or "")
            return _say(
                facts,
                Cause.IMAGE_MISSING,
                "the registry has no such image or tag, or does not give it out",
                "check the image's name and tag; destroy this one (the person's consent is asked) and create anew",
                rule="VAST18" if automatic else None,
            )
        case Complaint.REFUSED:
            return _say(
                facts,
                Cause.CONTAINER_REFUSED,
                "the container runtime of the host refused to start it",
                "read_logs with source=daemon for its words; then another image or another offer",
            )


def _running(facts: PollFacts) -> Diagnosis:
    if facts.gpu_works is False:
        return _say(
            facts,
            Cause.CUDA_MISMATCH,
            "the box runs and its framework sees no GPU",
            "copy_out anything worth keeping, then rent with an image whose CUDA is at most the offer's cuda_max",
            rule="VAST5",
        )
    if facts.boot_failed:
        return _say(
            facts,
            Cause.BOOT_HOOK,
            "the box runs and its boot hook ended with an error",
            "read_logs shows the error; repair it with push_files and start_job",
        )
    return _say(facts, Cause.NONE, "running", "start_job, or read_logs to follow the job")


def _created(facts: PollFacts) -> Diagnosis:
    held = _held_for(facts)
    if held is not None and held > APPEARS_WITHIN:
        return _say(
            facts,
            Cause.NEVER_APPEARED,
            f"the platform named this instance {_minutes(held)} ago and has reported nothing of it since",
            "destroy it (the person's consent is asked) and take another offer",
            rule="VAST14",
        )
    return _say(facts, Cause.BOOTING, "the contract exists; nothing is reported yet", "poll_status again", waits=True)


def _loading(facts: PollFacts) -> Diagnosis:
    held, window = _held_for(facts), loading_window(facts.image_gib)
    if held is not None and held > window:
        return _say(
            facts,
            Cause.SLOW_IMAGE,
            f"loading for {_minutes(held)}; the window for this image is {_minutes(window)}",
            "read_logs with source=daemon shows the pull; if it stands still, destroy it (the person's consent is "
            "asked) and take a faster offer or a slimmer image",
            rule="VAST13",
        )
    return _say(
        facts,
        Cause.BOOTING,
        f"loading for {_minutes(held)} of a window of {_minutes(window)}; the GPU is not billed yet",
        "poll_status again",
        waits=True,
    )


def _scheduling(facts: PollFacts) -> Diagnosis:
    waited = waiting_for_gpu(facts.instance.phase, facts.phase_since, facts.start_asked_at, facts.now)
    if waited is not None and waited > GPU_TAKEN_AFTER:
        return _gpu_taken(facts, waited)
    return _say(
        facts, Cause.BOOTING, "waiting for its own GPU, which should take under 30 s", "poll_status again", waits=True
    )


def _gpu_taken(facts: PollFacts, waited: timedelta) -> Diagnosis:
    bid = ", or the bid is still too low" if facts.instance.rental is RentalType.INTERRUPTIBLE else ""
    return _say(
        facts,
        Cause.GPU_TAKEN,
        f"wished to run and not running for {waited.total_seconds():.0f} s: its own GPU is rented by another{bid}",
        "resume_run method=relaunch: the same machine with the same volume, or another offer from a checkpoint "
        "off the box; waiting does not help",
        rule="VAST3",
    )


def _preempted(facts: PollFacts) -> Diagnosis:
    waited = waiting_for_gpu(facts.instance.phase, facts.phase_since, facts.start_asked_at, facts.now)
    if waited is not None and not speaks_of_out_bid(facts.instance.raw.message):
        if waited > GPU_TAKEN_AFTER:
            return _gpu_taken(facts, waited)
        return _say(
            facts,
            Cause.BOOTING,
            f"started {waited.total_seconds():.0f} s ago and waiting for its own GPU, which should take under 30 s",
            "poll_status again",
            waits=True,
        )
    bid = facts.instance.bid_usd_per_hour
    at = f" at ${bid:.3f}/h" if bid is not None else ""
    return _say(
        facts,
        Cause.OUT_BID,
        f"out-bid{at} or displaced by an on-demand rental; the disk is kept and bills",
        "resume_run: restart in place when the GPU is free again, rebid, or relaunch from a checkpoint off the box",
        rule="VAST4",
    )


def _past_end(facts: PollFacts) -> bool:
    return facts.instance.ends_at is not None and facts.instance.ends_at <= facts.now


def _no_credit(facts: PollFacts) -> bool:
    return facts.account is not None and facts.account.credit <= 0


def _ended_from_outside(facts: PollFacts) -> Diagnosis | None:
    if _past_end(facts):
        return _say(
            facts,
            Cause.END_DATE,
            f"the host's end date {facts.instance.ends_at:%Y-%m-%d %H:%M} UTC is past; the data may be deleted from "
            "48 h after it",
            "copy_out now while the disk exists, then resume_run method=relaunch",
            rule="VAST38",
        )
    if _no_credit(facts):
        return _say(
            facts,
            Cause.NO_CREDIT,
            "the account has no credit left; instances and data are scheduled for deletion",
            "ask the person to add credit now, then copy_out",
            rule="VAST24",
        )
    return None


def _stopped(facts: PollFacts) -> Diagnosis:
    if outside := _ended_from_outside(facts):
        return outside
    start, stop = facts.start_asked_at, facts.stop_asked_at
    if stop is not None and (start is None or stop >= start):
        return _say(
            facts,
            Cause.OWN_STOP,
            "stopped because it was asked to; the disk goes on billing",
            "resume_run to go on, or copy_out, verify_local and destroy to end the meter",
            rule="VAST1",
        )
    return _say(
        facts,
        Cause.UNKNOWN,
        "stopped, and not by a request of this program; the disk is kept and bills",
        "read_logs for the cause, then resume_run; the person may have stopped it in the console",
        rule="VAST28",
    )


def _exited(facts: PollFacts) -> Diagnosis:
    if outside := _ended_from_outside(facts):
        return outside
    if facts.boot_failed:
        return _say(
            facts,
            Cause.BOOT_HOOK,
            "the container ended after its boot hook failed; the disk is kept and bills",
            "read_logs shows the error; repair the boot hook before resume_run",
            rule="VAST28",
        )
    if facts.boot_failed is False:
        return _say(
            facts,
            Cause.CRASH,
            "the container ended by itself; the disk is kept and bills",
            "read_logs for the last lines, then resume_run method=restart",
            rule="VAST28",
        )
    kind = "an out-bid, a crash or a stop" if facts.instance.rental is RentalType.INTERRUPTIBLE else "a crash or a stop"
    return _say(
        facts,
        Cause.UNKNOWN,
        f"the container ended and the log was not read yet: it can be {kind}; the disk is kept and bills",
        "read_logs first; then resume_run. Do not destroy: the disk may hold the only checkpoint",
        rule="VAST28",
    )
