"""A plan in a few lines, for a question that has little room. It states counts and says where the rest is."""

from remote_gpu_trainer.approval.dossier import conditions_of, levels_of, losses_in_words, per_hour
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.plans import MachineState, Plan, RentPlan, StandingPlan, TeardownPlan
from remote_gpu_trainer.domain.units import show_bytes, show_usd

LEAST_LIMIT = 800
"""Characters that the facts which are never left out can take."""

_NAMED_LOSSES = 3
_NAME_WIDTH = 80


def summary(plan: Plan, *, limit: int, where: str) -> str:
    """The plan in at most ``limit`` characters.

    Args:
        plan: What the person is asked.
        limit: Most characters; at least ``LEAST_LIMIT``.
        where: Where the full dossier is, for example ``rgt approve ap-k3vq7m2x``.

    Raises:
        ValueError: the limit is smaller than what has to be said.
    """
    if limit < LEAST_LIMIT:
        raise ValueError(f"{limit} characters cannot hold what a person has to know; {LEAST_LIMIT} can")
    must, may = _lines(plan)
    must.append(f"Everything, file by file: {where}")
    text = "\n".join(must)
    if len(text) > limit:
        raise ValueError(f"what a person has to know takes {len(text)} characters, and the limit is {limit}")
    for line in may:
        if len(text) + 1 + len(line) > limit:
            break
        text = f"{text}\n{line}"
    return text


def _lines(plan: Plan) -> tuple[list[str], list[str]]:
    match plan:
        case TeardownPlan():
            return _teardown(plan), _largest_losses(plan)
        case RentPlan():
            return _rent(plan), []
        case StandingPlan():
            return _beforehand(plan), []


def _teardown(plan: TeardownPlan) -> list[str]:
    lines = [
        f"Destroy {_short(plan.name)} (instance {plan.instance.id}, machine {plan.instance.machine_id})? "
        "It cannot be undone.",
        f"Lost: {losses_in_words(plan)}",
    ]
    if plan.running_writers:
        lines.append(f"Still writing: {len(plan.running_writers)} program(s).")
    if plan.machine_state is MachineState.RUNNING:
        lines.append("The machine runs and could still change.")
    lines.append(_saved(plan))
    if any(one.second is not None and one.second.deleting for one in plan.evidence):
        lines.append("By its rules the bucket will delete its copy; the files on this disk stay.")
    lines.append(
        f"Spent {show_usd(plan.spent)}; waiting costs {per_hour(plan.usd_per_hour_running)} running, "
        f"{per_hour(plan.usd_per_hour_stopped)} stopped."
    )
    if plan.volumes_billing_on:
        lines.append(f"{len(plan.volumes_billing_on)} volume(s) will go on billing.")
    return lines


def _saved(plan: TeardownPlan) -> str:
    if not plan.evidence:
        return "Saved: NOTHING is saved off the machine."
    files = sum(len(evidence.files) for evidence in plan.evidence)
    size = show_bytes(sum(file.size for evidence in plan.evidence for file in evidence.files))
    counts: dict[str, int] = {}
    for evidence in plan.evidence:
        for level, number in levels_of(evidence):
            counts[level.name] = counts.get(level.name, 0) + number
    levels = ", ".join(f"{number} {name}" for name, number in counts.items())
    return f"Saved: {files} file(s), {size}, in {len(plan.evidence)} copy(s): {levels}."


def _largest_losses(plan: TeardownPlan) -> list[str]:
    largest = sorted(plan.losses, key=lambda loss: -loss.size)[:_NAMED_LOSSES]
    if not largest:
        return []
    named = [f"- {show_bytes(loss.size)} '{_short(loss.path)}'" for loss in largest]
    # One piece, so that a heading never stands without its list.
    return ["\n".join(["Largest not saved (names as the machine gave them):", *named])]


def _rent(plan: RentPlan) -> list[str]:
    return [
        f"Rent {_short(plan.name)} ({_short(plan.gpu)}, offer {plan.offer_id}, machine {plan.machine_id})?",
        f"It exceeds: {_short(plan.over, 240)}",
        f"{show_usd(plan.usd_per_hour)} per hour for {plan.hours:g} h: {show_usd(plan.total)} in all.",
    ]


def _beforehand(plan: StandingPlan) -> list[str]:
    return [
        f"Destroy {_short(plan.name)} (instance {plan.instance.id}, machine {plan.instance.machine_id}) later, once, "
        "without asking again? It cannot be undone.",
        f"Lost: up to {show_bytes(plan.most_unsaved_bytes)} that are not saved, and whatever no listing sees.",
        f"Within {plan.hours:g} hours, and only if then:",
        *(f"- {one}" for one in conditions_of(plan)),
    ]


def _short(text: str, width: int = _NAME_WIDTH) -> str:
    shown = visible(text)
    return shown if len(shown) <= width else f"{shown[: width - 3]}..."
