"""The one document that everyone who decides, and the model that asks, reads. Losses first, nothing left out."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from remote_gpu_trainer.approval.visible import fenced, visible
from remote_gpu_trainer.domain.artifacts import Fingerprint, Route, VerificationLevel
from remote_gpu_trainer.domain.ids import label_of
from remote_gpu_trainer.domain.plans import Evidence, MachineState, Plan, RentPlan, StandingPlan, TeardownPlan
from remote_gpu_trainer.domain.units import show_bytes, show_usd

_NOT_OURS = "as the machine reported, not our words"

_STATE = {
    MachineState.RUNNING: "It runs, and could still change after this was written.",
    MachineState.STOPPED: "It has been stopped since the last look, so nothing on it can change.",
    MachineState.UNREADABLE: (
        "**It cannot be read any more.** What is on it and not in the proof below is unknown, and will be gone."
    ),
}

_LEVEL = {
    VerificationLevel.PRESENT: "PRESENT: the file is there, nothing more",
    VerificationLevel.SIZE: "SIZE: it has the right length",
    VerificationLevel.DIGEST: "DIGEST: its bytes are those on the machine; nothing loaded it",
    VerificationLevel.LOADS: "LOADS: its bytes are right and it was loaded",
    VerificationLevel.MEETS_EXPECTATIONS: "MEETS_EXPECTATIONS: it was loaded and holds what was expected",
}


def render(plan: Plan) -> str:
    """The whole plan as Markdown that also reads as plain text. The same plan always gives the same text."""
    match plan:
        case TeardownPlan():
            return _join(_teardown(plan))
        case RentPlan():
            return _join(_rent(plan))
        case StandingPlan():
            return _join(_beforehand(plan))


def _join(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _teardown(plan: TeardownPlan) -> list[str]:
    since = when(plan.instance.started_at) if plan.instance.started_at else "an unknown time"
    return [
        f"# Destroy {visible(plan.name)}?",
        f"Instance {plan.instance.id} on machine {plan.instance.machine_id}, rented since {since}, "
        f"account {plan.account_id}. Destroying cannot be undone.",
        *_label(plan),
        "## What will be lost",
        *_losses(plan),
        "## What still runs",
        *_running(plan),
        "## What is saved, and how far it is proven",
        *_saved(plan),
        "## What it costs",
        _money(plan),
        *_volumes(plan),
        "## The statement",
        _statement(plan, [f"- run: {visible(plan.lease)}"]),
        _looks(plan),
    ]


def _label(plan: TeardownPlan) -> list[str]:
    if plan.instance.label == label_of(plan.lease):
        return [f"It carries the label of run {visible(plan.lease)}."]
    return [
        f"**It does not carry the label of run {visible(plan.lease)}, but:**",
        fenced([plan.instance.label], source="the label as the platform shows it"),
    ]


def losses_in_words(plan: TeardownPlan) -> str:
    """How much will be lost, and whether that is all."""
    if plan.machine_state is MachineState.UNREADABLE:
        known = f"at least {_count(len(plan.losses), 'file')}, {_size(plan)}," if plan.losses else "an unknown amount"
        return f"The machine cannot be read: {known} will be lost, and nobody can say what else."
    if not plan.losses_complete:
        return (
            f"{_count(len(plan.losses), 'file')} not saved, {_size(plan)}, and there may be more: "
            "the machine could not be listed whole."
        )
    if not plan.losses:
        return "Nothing that was found on the machine: everything seen in the listed folders is saved."
    return f"{_count(len(plan.losses), 'file')} not saved, {_size(plan)}. The list is complete."


def _losses(plan: TeardownPlan) -> list[str]:
    words = losses_in_words(plan)
    if not plan.losses:
        return [words]
    lines = [f"{show_bytes(loss.size):>10}  {loss.path}  ({loss.reason})" for loss in plan.losses]
    return [words, fenced(lines, source=f"names {_NOT_OURS}")]


def _running(plan: TeardownPlan) -> list[str]:
    parts = [_at_rest(plan), fenced([plan.job], source=f"the job, {_NOT_OURS}")]
    if plan.running_writers:
        parts.append(f"**{_count(len(plan.running_writers), 'program')} may still be writing:**")
        parts.append(fenced(plan.running_writers, source=f"programs {_NOT_OURS}"))
    else:
        parts.append("No program was seen writing under the results.")
    return parts


def _at_rest(plan: TeardownPlan) -> str:
    words = _STATE[plan.machine_state]
    if plan.stopped_at is not None:
        words += f" It was first seen at rest {when(plan.stopped_at)}."
    if plan.kept_running is not None:
        words += f" It was not stopped before this question: {visible(plan.kept_running)}."
    return words


def _saved(plan: TeardownPlan) -> list[str]:
    if not plan.evidence:
        return ["**Nothing is saved off the machine.**"]
    return [part for evidence in plan.evidence for part in _copy(evidence)]


def _copy(evidence: Evidence) -> list[str]:
    size = show_bytes(sum(file.size for file in evidence.files))
    heading = "\n".join(
        [
            f"- {_count(len(evidence.files), 'file')}, {size}, copied {when(evidence.copied_at)}, "
            f"verified {when(evidence.verified_at)}",
            f"- to {visible(evidence.destination)}",
            f"- copy {visible(evidence.copy_id)}, manifest {visible(evidence.manifest_digest)}",
            *([f"- verification report {visible(evidence.report_digest)}"] if evidence.report_digest else []),
            *(f"- {_count(number, 'file')} at {_LEVEL[level]}" for level, number in levels_of(evidence)),
        ]
    )
    if not evidence.files:
        return [heading]
    lines = [
        f"{file.level.name:<18}  {show_bytes(file.size):>10}  {file.path}  sha256 {file.sha256}"
        for file in sorted(evidence.files, key=lambda file: (file.level, file.path))
    ]
    return [heading, *_refused(evidence), fenced(lines, source=f"names {_NOT_OURS}; levels and digests are ours")]


def _refused(evidence: Evidence) -> list[str]:
    refused = [file for file in evidence.files if file.refused is not None]
    if not refused:
        return []
    return [
        f"**{_count(len(refused), 'file')} not loaded, since that would run code of what the file names. The bytes are "
        "proven, that it loads is not:**",
        fenced([f"{file.path}  ({file.refused})" for file in refused], source=f"names {_NOT_OURS}"),
    ]


def levels_of(evidence: Evidence) -> list[tuple[VerificationLevel, int]]:
    """How many files reached which level, the lowest first."""
    return sorted(Counter(file.level for file in evidence.files).items())


def _money(plan: TeardownPlan) -> str:
    return "\n".join(
        [
            f"- spent on it so far: {show_usd(plan.spent)}",
            f"- waiting costs {per_hour(plan.usd_per_hour_running)} while it runs",
            f"- and {per_hour(plan.usd_per_hour_stopped)} while it is stopped",
        ]
    )


def _volumes(plan: TeardownPlan) -> list[str]:
    if not plan.volumes_billing_on:
        return ["No volume is known that goes on billing afterwards."]
    return [
        f"**{_count(len(plan.volumes_billing_on), 'volume')} will go on billing after it is destroyed:**",
        fenced(plan.volumes_billing_on, source="volumes as the platform names them"),
    ]


def _looks(plan: TeardownPlan) -> str:
    if not plan.fingerprints:
        return "The machine's files were never looked at as a whole."
    return "\n".join(
        [
            "The machine's files, each time they were looked at:",
            "",
            *(
                f"- {look.moment}, {when(look.at)}: {_count(look.files, 'file')}, {show_bytes(look.bytes)}, "
                f"fingerprint {visible(look.digest)}{_how(look)}"
                for look in plan.fingerprints
            ),
        ]
    )


def _how(look: Fingerprint) -> str:
    """What a look rests on, where it is less than our own list of a running machine."""
    if look.by is not Route.MACHINE_RSYNC:
        return ""
    said = "; by the machine's rsync, which tells sizes and whole seconds only"
    if look.compared is None:
        return said
    return f"{said}; {_count(look.compared, 'copied file')} compared by rsync's md5 of the whole"


def _rent(plan: RentPlan) -> list[str]:
    return [
        f"# Rent {visible(plan.name)} above the policy?",
        "\n".join(
            [
                f"- it exceeds: {visible(plan.over)}",
                f"- {show_usd(plan.usd_per_hour)} per hour for {plan.hours:g} h: {show_usd(plan.total)} in all",
                f"- offer {plan.offer_id} on machine {plan.machine_id}, account {plan.account_id}",
                *([f"- {plan.rental.value}"] if plan.rental is not None else []),
                *([f"- image {visible(plan.image)}"] if plan.image is not None else []),
                *([f"- disk {plan.disk_gib:g} GiB"] if plan.disk_gib is not None else []),
            ]
        ),
        fenced([plan.gpu], source="the GPU as the host names it"),
        "The meter starts when it is rented, and stops only when it is destroyed.",
        "## The statement",
        _statement(plan, []),
    ]


def conditions_of(plan: StandingPlan) -> list[str]:
    """What has to hold before a consent given beforehand is used, in the order in which it is read aloud."""
    idle = f"its job has ended, and nothing on it has changed for {plan.idle_minutes:g} minutes"
    off = "the proven copy lies off the machine, byte for byte as it was copied"
    return [
        f"every file of the newest copy is verified, to the level {plan.least_level.name} at least",
        *([off] if plan.off_box else []),
        idle,
        f"no more than {show_bytes(plan.most_unsaved_bytes)} on it are seen not to be saved, and it was listed whole",
        "no program writes on it, and it is the same instance, label, machine and contract start as now",
    ]


def _beforehand(plan: StandingPlan) -> list[str]:
    since = when(plan.instance.started_at) if plan.instance.started_at else "an unknown time"
    return [
        f"# Destroy {visible(plan.name)} later, without asking again?",
        f"Instance {plan.instance.id} on machine {plan.instance.machine_id}, rented since {since}, "
        f"account {plan.account_id}. Destroying cannot be undone.",
        "## What will be lost",
        f"**You cannot see it now.** Up to {show_bytes(plan.most_unsaved_bytes)} that are not saved, outside the "
        "results or skipped in the copy, and whatever no listing sees.",
        "## Once, and only if all of this holds then",
        "\n".join(f"- {one}" for one in conditions_of(plan)),
        f"The server checks it against its journal, the copy on this disk and the machine. It holds for {plan.hours:g} "
        "hours after this question, for one use. Once all holds, the agent's server or `rgt watch` destroys the run "
        "by itself, without a word from you; a condition that does not hold keeps the machine.",
        "## What it costs",
        "\n".join(
            [
                f"- spent on it so far: {show_usd(plan.spent)}",
                f"- it costs {per_hour(plan.usd_per_hour_running)} while it runs",
                f"- and {per_hour(plan.usd_per_hour_stopped)} while it is stopped",
            ]
        ),
        "## The statement",
        _statement(plan, [f"- run: {visible(plan.lease)}"]),
    ]


def _statement(plan: Plan, more: Sequence[str]) -> str:
    return "\n".join(
        [
            f"- digest: {plan.digest}",
            *more,
            f"- prepared: {when(plan.prepared_at)} by remote-gpu-trainer {visible(plan.program_version)}",
            *([f"- policy: {visible(plan.policy_digest)}"] if plan.policy_digest is not None else []),
            f"- nonce: {visible(plan.nonce)}",
        ]
    )


def when(moment: datetime) -> str:
    """A time for a reader."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def per_hour(price: float | None) -> str:
    """A price for a reader, with what a day of it comes to."""
    return "an unknown amount" if price is None else f"{show_usd(price)} per hour ({show_usd(price * 24)} per day)"


def _size(plan: TeardownPlan) -> str:
    return show_bytes(sum(loss.size for loss in plan.losses))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
