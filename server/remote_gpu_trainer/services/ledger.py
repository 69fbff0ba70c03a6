"""The journal's own meter: what was seen to bill, added up over time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import Instance, InstancePhase
from remote_gpu_trainer.domain.runs import Event
from remote_gpu_trainer.domain.units import Usd, UsdPerHour
from remote_gpu_trainer.errors import UnknownRun
from remote_gpu_trainer.ports import Clock, Journal

OBSERVED = "observed"
PROMISED = "create"
"""Marks an observation that is only the answer to a create."""
_REFRESH = timedelta(minutes=10)
_MOST_EVENTS = 100_000
_GPU_BILLS = frozenset({InstancePhase.RUNNING, InstancePhase.STOPPING, InstancePhase.REBOOTING, InstancePhase.FROZEN})
_RESTS = frozenset({InstancePhase.STOPPED, InstancePhase.EXITED, InstancePhase.PREEMPTED, InstancePhase.SCHEDULING})
_NOTHING_BILLS = frozenset({InstancePhase.OFFLINE})


def burn(instance: Instance) -> UsdPerHour | None:
    """What an instance bills per hour in the phase it was seen in; None when the platform names no price.

    GPU and disk while running, the disk in every other state but offline (billing pages, 2026-06).
    """
    if instance.phase in _NOTHING_BILLS:
        return UsdPerHour(0.0)
    disk = instance.disk_usd_per_hour
    if instance.phase in _GPU_BILLS or instance.phase is InstancePhase.UNKNOWN:
        gpu = instance.bid_usd_per_hour or instance.gpu_usd_per_hour
        if instance.usd_per_hour_now:
            return instance.usd_per_hour_now
        return None if gpu is None or disk is None else UsdPerHour(gpu + disk)
    return disk


class Ledger:
    """Keeps what was observed, and adds it up."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    def observe(self, lease: LeaseId, instance: Instance | None) -> None:
        """Keep one look, when it differs from the last or the last is old. None means: provably gone."""
        now = self._clock.now()
        phase = "gone" if instance is None else instance.phase.value
        price = 0.0 if instance is None else burn(instance)
        last = self._journal.events(lease, kind=OBSERVED, limit=1)
        promised = bool(last) and last[0].data.get("by") == PROMISED
        if last and not promised and last[0].data.get("phase") == phase and last[0].data.get("usd_per_hour") == price:
            if now - last[0].at < _REFRESH:
                return
        self._journal.record(OBSERVED, lease, {"phase": phase, "usd_per_hour": price})

    def promise(self, lease: LeaseId, price: UsdPerHour) -> None:
        """Keep that the platform named an instance, which nobody has seen yet; it counts as billing."""
        self._journal.record(OBSERVED, lease, {"phase": "created", "usd_per_hour": price, "by": PROMISED})

    def ever_seen(self, lease: LeaseId) -> bool:
        """Whether any look has shown the instance, beyond the platform's word that it exists."""
        return any(event.data.get("by") != PROMISED for event in self._journal.events(lease, kind=OBSERVED))

    def phase_since(self, lease: LeaseId, phase: InstancePhase) -> datetime | None:
        """Since when this phase has been seen without a break; None when it was not the last one seen."""
        since: datetime | None = None
        for event in reversed(self._journal.events(lease, kind=OBSERVED, limit=500)):
            if event.data.get("phase") != phase.value:
                break
            since = event.at
        return since

    def started_again(self, lease: LeaseId, since: datetime, *, rested: bool = False) -> datetime | None:
        """When it was asked to start, or seen running after it was seen at rest, since then; None when neither.

        With ``rested`` it was at rest at that moment already.
        """
        asked = self.asked_at(lease, "start")
        if asked is not None and asked > since:
            return asked
        for event in self._journal.events(lease, kind=OBSERVED, limit=500):
            phase = str(event.data.get("phase"))
            if rested and event.at > since and phase in _GPU_BILLS - {InstancePhase.STOPPING}:
                return event.at
            rested = event.at > since and phase in _RESTS if not rested else True
        return None

    def spent(self, lease: LeaseId, *, since: datetime | None = None) -> Usd:
        """US dollars since the lease began, or since a moment, by what was seen.

        Between two looks the dearer of the two prices counts: an estimate must not be hopeful.

        Raises:
            UnknownRun: there is no such lease.
        """
        record = self._journal.lease(lease)
        if record is None:
            raise UnknownRun(f"the journal holds no lease {lease!r}", effect="Nothing was counted.")
        seen = self._journal.events(lease, kind=OBSERVED, limit=_MOST_EVENTS)
        return accrue(seen, self._clock.now(), since, agreed=record.lease.usd_per_hour)

    def asked_at(self, lease: LeaseId, action: str) -> datetime | None:
        """When we last asked for this action (``start``, ``stop``)."""
        events = self._journal.events(lease, kind=f"asked.{action}", limit=1)
        return events[0].at if events else None


def accrue(observed: Sequence[Event], now: datetime, since: datetime | None, *, agreed: UsdPerHour) -> Usd:
    """Add up prices over the times between looks.

    Args:
        observed: The looks, oldest first.
        now: Until when the last one counts.
        since: Only what comes after counts; None counts all.
        agreed: The price at which it was rented. An unknown price counts as the last known one, and as this one where
            none was known yet: it is never nothing.
    """
    total, price = 0.0, float(agreed)
    for index, event in enumerate(observed):
        value = event.data.get("usd_per_hour")
        price = float(value) if isinstance(value, int | float) else price
        following = observed[index + 1] if index + 1 < len(observed) else None
        until = following.at if following else now
        begin = event.at if since is None else max(event.at, since)
        held = price
        if following is not None and following.data.get("phase") != "gone":
            upcoming = following.data.get("usd_per_hour")
            held = max(price, float(upcoming)) if isinstance(upcoming, int | float) else price
        if until > begin:
            total += held * (until - begin).total_seconds() / 3600
    return Usd(total)
