"""What the services answer with: frozen values, ready for a reader."""

from datetime import datetime

from pydantic import Field

from remote_gpu_trainer.domain.artifacts import SkippedEntry
from remote_gpu_trainer.domain.ids import InstanceId, LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, InstancePhase, Volume
from remote_gpu_trainer.domain.offers import JobCost, Offer, OfferQuery
from remote_gpu_trainer.domain.runs import JobHeartbeat, RunPhase
from remote_gpu_trainer.domain.units import Usd, UsdPerHour
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.rules.base import Finding


class RankedOffer(Value):
    """One offer, the whole cost of the job on it, and what the rules say."""

    offer: Offer
    cost: JobCost
    findings: tuple[Finding, ...]


class OfferList(Value):
    """A search's answer, cheapest whole job first."""

    query: OfferQuery
    considered: int
    offers: tuple[RankedOffer, ...]


class RunView(Value):
    """One run as it stands. ``message``, ``label`` and the job's texts come from outside and are untrusted."""

    lease: LeaseId
    instance_id: InstanceId | None
    phase: RunPhase
    instance_phase: InstancePhase | None
    """None when the platform shows no such instance."""
    cause: str
    rule_id: str | None
    explanation: str
    next_step: str
    waits_help: bool
    message: str | None = None
    gpu: str | None = None
    machine_id: int | None = None
    endpoints: tuple[Endpoint, ...] = ()
    ports: dict[str, int] = Field(default_factory=dict)
    job: JobHeartbeat | None = None
    job_step: int | None = None
    usd_per_hour_now: UsdPerHour | None = None
    stopped_usd_per_day: Usd | None = None
    """What the disk goes on costing when the machine is stopped."""
    spent_usd: Usd
    """By the journal's meter."""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    reminders: tuple[str, ...] = ()
    """What is due because nobody has decided, or because the contract ends."""


class LogView(Value):
    """Some lines of a log. The text is untrusted."""

    source: str
    text: str
    truncated: bool


class TeardownOutcome(Value):
    """What a destroy came to."""

    lease: LeaseId
    instance_id: InstanceId
    destroyed: bool
    confirmed: bool
    """Two complete looks at the pinned account did not show it any more."""
    spent_usd: Usd
    receipt_path: str | None
    volumes_billing_on: tuple[str, ...]
    note: str


class RunCost(Value):
    """What one run has cost and costs."""

    lease: LeaseId
    instance_id: InstanceId | None
    phase: RunPhase
    spent_usd: Usd
    usd_per_hour_now: UsdPerHour | None
    work_at_risk_minutes: float | None
    """Minutes of running since the last copy that was proven off the box; None when nothing runs."""
    work_at_risk_usd: Usd | None
    billed_usd: Usd | None
    """By the platform since ``SpendReport.compared_since``; None where its bill has no line of it or cannot be read."""
    counted_usd: Usd | None
    """By the journal in the same time; None while nobody knows whether its create happened."""

    @property
    def difference_usd(self) -> Usd | None:
        """Billed more than counted; negative: less. None where one of the two is unknown."""
        if self.billed_usd is None or self.counted_usd is None:
            return None
        return Usd(self.billed_usd - self.counted_usd)


class Orphan(Value):
    """An instance of the account that no lease of this journal accounts for."""

    instance_id: InstanceId
    label: str | None
    ours: bool
    """Its label has our form, so another journal, or a lost one, rented it."""
    usd_per_hour_now: UsdPerHour | None


class SpendReport(Value):
    """The account's money at one moment."""

    at: datetime
    credit_usd: Usd
    burn_usd_per_hour: UsdPerHour
    burn_complete: bool
    """Every instance named its price; otherwise the burn is a lower bound."""
    runway_hours: float | None
    runs: tuple[RunCost, ...]
    stopped_but_billing: tuple[LeaseId, ...]
    volumes: tuple[Volume, ...]
    orphans: tuple[Orphan, ...]
    spent_today_usd: Usd
    left_today_usd: Usd
    platform_charges_usd: Usd | None
    """The platform's own bill since ``compared_since``; None when it could not be read."""
    compared_since: datetime
    """Midnight UTC before the last 24 hours: the platform bills by the day."""
    journal_estimate_usd: Usd
    """By the journal's meter over the same time."""
    reminders: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def comparison(self) -> str:
        """What we counted against what the platform billed, in one sentence."""
        since = f"{self.compared_since:%Y-%m-%d %H:%M} UTC"
        ours, theirs = self.journal_estimate_usd, self.platform_charges_usd
        unknown = [one.lease for one in self.runs if one.counted_usd is None]
        but = f"; not counted, since nobody knows whether it was rented: {', '.join(unknown)}" if unknown else ""
        if theirs is None:
            return f"since {since} the journal counts ${ours:.4f}{but}; the platform's bill could not be read"
        return (
            f"since {since} the journal counts ${ours:.4f} and the platform has billed ${theirs:.4f}: "
            f"${abs(theirs - ours):.4f} {'more' if theirs >= ours else 'less'} (its bill lags, and "
            f"holds bytes and what is not ours){but}"
        )


class ReconcileReport(Value):
    """What comparing the journal with the account found."""

    adopted: tuple[LeaseId, ...] = ()
    never_was: tuple[LeaseId, ...] = ()
    closed: tuple[LeaseId, ...] = ()
    reappeared: tuple[LeaseId, ...] = ()
    undecided: tuple[LeaseId, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    complete: bool
    """The account was listed whole; otherwise nothing was concluded from an absence."""


class PushView(Value):
    """What a push did."""

    destination: str
    files: int
    bytes: int
    bytes_sent: int
    skipped: tuple[SkippedEntry, ...]
