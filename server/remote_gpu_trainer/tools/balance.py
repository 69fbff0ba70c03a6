"""What the money answers with."""

from pydantic import Field

from remote_gpu_trainer.services.views import SpendReport
from remote_gpu_trainer.tools.answers import Answer, Warned, warned


class Cost(Answer):
    """One run's money. ``work_at_risk``: running since the last copy that was proven off the machine. ``billed`` by the
    platform and ``counted`` by the journal in the time that ``comparison`` names, ``difference``: billed more than
    counted; null is unknown."""

    run: str
    instance_id: int | None
    phase: str
    spent_usd: float
    usd_per_hour_now: float | None
    work_at_risk_minutes: float | None
    work_at_risk_usd: float | None
    billed_usd: float | None
    counted_usd: float | None
    difference_usd: float | None


class Spend(Answer):
    """The account's money at this moment."""

    credit_usd: float
    burn_usd_per_hour: float
    burn_complete: bool
    runway_hours: float | None
    spent_today_usd: float
    left_today_usd: float
    platform_charges_usd: float | None
    comparison: str
    """The journal's estimate against the platform's bill, and the difference."""
    reminders: list[str]
    runs: list[Cost]
    stopped_but_billing: list[str]
    volumes: list[str]
    orphans: list[str]
    findings: list[Warned] = Field(default_factory=list[Warned])


def spend(report: SpendReport) -> Spend:
    """The account's money."""
    return Spend(
        credit_usd=report.credit_usd,
        burn_usd_per_hour=report.burn_usd_per_hour,
        burn_complete=report.burn_complete,
        runway_hours=report.runway_hours,
        spent_today_usd=round(report.spent_today_usd, 6),
        left_today_usd=round(report.left_today_usd, 6),
        platform_charges_usd=report.platform_charges_usd,
        comparison=report.comparison,
        reminders=list(report.reminders),
        runs=[
            Cost(
                run=one.lease,
                instance_id=one.instance_id,
                phase=one.phase.value,
                spent_usd=round(one.spent_usd, 6),
                usd_per_hour_now=one.usd_per_hour_now,
                work_at_risk_minutes=one.work_at_risk_minutes,
                work_at_risk_usd=one.work_at_risk_usd,
                billed_usd=_rounded(one.billed_usd),
                counted_usd=_rounded(one.counted_usd),
                difference_usd=_rounded(one.difference_usd),
            )
            for one in report.runs
        ],
        stopped_but_billing=list(report.stopped_but_billing),
        volumes=[f"volume {one.id}: {one.size_gib or '?'} GiB, ${one.usd_per_hour or '?'}/h" for one in report.volumes],
        orphans=[
            f"instance {one.instance_id} ({'our label, another journal' if one.ours else 'not ours'}): "
            f"${one.usd_per_hour_now if one.usd_per_hour_now is not None else '?'}/h"
            for one in report.orphans
        ],
        findings=warned(report.findings),
    )


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 6)
