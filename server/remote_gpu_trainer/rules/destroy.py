"""Rules over the one action that cannot be taken back."""

from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import DestroyFacts


def _not_proven(facts: DestroyFacts) -> Trip | None:
    seen = _gap(facts)
    if seen is None or (facts.held_work is False and not facts.reports):
        return None
    if facts.readable:
        return Trip(seen)
    return Trip(
        f"{seen}, and the machine cannot be read any more",
        Severity.WARN,
        "the plan names what will be lost, and only the person can accept that",
    )


def _gap(facts: DestroyFacts) -> str | None:
    if facts.copy_failed:
        return "the last copy failed"
    if not facts.reports:
        return "nothing has been copied off the box and verified"
    failed = [report for report in facts.reports if not report.passed]
    if failed:
        return (
            f"{len(failed)} of {len(facts.reports)} verifications did not pass "
            f"({sum(len(report.missing) for report in failed)} files missing, "
            f"{sum(len(report.errors) for report in failed)} errors, "
            f"{sum(len(report.unmet) for report in failed)} expectations unmet)"
        )
    if facts.matches_machine is None:
        return "whether the machine still holds exactly what was copied is unknown"
    return None if facts.matches_machine else "the machine holds something else than what was copied"


VAST2 = Rule(
    id="VAST2",
    name="destroyed-before-proven-copy",
    severity=Severity.BLOCK,
    symptom="After the teardown the checkpoints are gone for good.",
    cause="Destroy deletes the container's disk, and the platform has no shared filesystem to fall back on.",
    example="A script that destroys in its 'finally' branch does so after a failed download, too.",
    fix="copy_out, verify_local until it passes, and only then destroy; after a failed copy the machine is kept, "
    "and what it costs is shown",
    unless="a passing verification covers what the machine holds now",
    source="docs.vast.ai billing, 2026-06; losses reported in public, 2026 (claude-code #69722, #44532)",
    waivable=False,
    checks=on(_not_proven, DestroyFacts),
)
