"""What is due when nobody answers. Only words: silence never destroys, and no failure does."""

from datetime import datetime, timedelta

from remote_gpu_trainer.domain.units import UsdPerHour, show_usd
from remote_gpu_trainer.domain.values import Value

STEPS = (timedelta(0), timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
"""After the first question; from the last on, daily."""
DAILY = timedelta(hours=24)
CONTRACT_ALARMS = (timedelta(days=7), timedelta(hours=72), timedelta(hours=24))
DELETED_AFTER = timedelta(hours=48)
"""An expired contract may be deleted so long after its end (documentation, 2026)."""
RUNWAY_ALARM_H = 72.0


class Waiting(Value):
    """The facts about one kept machine."""

    name: str
    asked_at: datetime | None
    """When a person was first asked about its teardown without an answer since; None when nothing waits."""
    ends_at: datetime | None
    """End of the contract, as the platform shows it."""
    usd_per_hour: UsdPerHour | None
    """What it bills now."""


class Reminder(Value):
    """One thing to tell. ``key`` is the same for the same occasion, so that each is journalled once."""

    key: str
    text: str


def steps_due(asked_at: datetime, now: datetime) -> int:
    """How many reminders are due: at 0, 1, 6 and 24 hours, then daily. 0 only before the question."""
    waited = now - asked_at
    if waited < STEPS[-1]:
        return sum(1 for step in STEPS if waited >= step)
    return len(STEPS) + int((waited - STEPS[-1]) / DAILY)


def reminders(waiting: Waiting, now: datetime) -> tuple[Reminder, ...]:
    """The newest reminder and the strictest alarm of one machine, as of now."""
    found: list[Reminder] = []
    price = "an unknown price" if waiting.usd_per_hour is None else f"{show_usd(waiting.usd_per_hour * 24)} a day"
    if waiting.asked_at is not None and (due := steps_due(waiting.asked_at, now)):
        hours = (now - waiting.asked_at).total_seconds() / 3600
        found.append(
            Reminder(
                key=f"{waiting.name}/asked {waiting.asked_at.isoformat()}/{due}",
                text=f"{waiting.name} has waited for a decision for {hours:.0f} h and bills {price}: destroy makes a "
                "fresh plan for the person; it is kept until they agree",
            )
        )
    if waiting.ends_at is not None:
        found.extend(_contract(waiting, waiting.ends_at, now))
    return tuple(found)


def runway_alarm(credit_usd: float, hours: float | None) -> tuple[Reminder, ...]:
    """The alarm over credit that is nearly used up; ``hours`` is what it lasts for, None when nothing bills."""
    if hours is None or hours >= RUNWAY_ALARM_H:
        return ()
    return (
        Reminder(
            key=f"credit/{int(hours // 24)}",
            text=f"the credit of {show_usd(credit_usd)} lasts for {hours:.0f} h: without credit the platform deletes "
            "instances and data; the person adds credit or decides what to end",
        ),
    )


def _contract(waiting: Waiting, ends_at: datetime, now: datetime) -> list[Reminder]:
    left = ends_at - now
    if left <= timedelta(0):
        return [
            Reminder(
                key=f"{waiting.name}/ended {ends_at.isoformat()}",
                text=f"the contract of {waiting.name} ended {-left.total_seconds() / 3600:.0f} h ago: the platform may "
                f"delete its data {DELETED_AFTER.total_seconds() / 3600:.0f} h after the end",
            )
        ]
    passed = [alarm for alarm in CONTRACT_ALARMS if left <= alarm]
    if not passed:
        return []
    return [
        Reminder(
            key=f"{waiting.name}/ends {ends_at.isoformat()}/{min(passed).total_seconds():.0f}",
            text=f"the contract of {waiting.name} ends in {left.total_seconds() / 3600:.0f} h: what is only on the "
            "machine may be deleted then; copy_out, verify_local, and let the person decide",
        )
    ]
