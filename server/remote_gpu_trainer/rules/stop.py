"""Rules over stopping, which ends the GPU's bill and not the disk's."""

from remote_gpu_trainer.domain.instances import Instance, InstancePhase
from remote_gpu_trainer.domain.units import show_usd
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import SpendFacts, StopFacts

HELD_AT_REST = frozenset({InstancePhase.STOPPED, InstancePhase.PREEMPTED, InstancePhase.EXITED})
"""Phases in which the GPU does not bill and the disk does."""


def _disk_per_day(instance: Instance) -> str:
    price = instance.disk_usd_per_hour
    return "at an unknown price" if price is None else f"for {show_usd(price * 24)} a day"


def _goes_on_billing(facts: StopFacts) -> Trip | None:
    return Trip(
        f"after stop the disk of instance {facts.instance.id} goes on billing {_disk_per_day(facts.instance)}, "
        f"without end; only {facts.platform.meter_stop_verb} ends it"
    )


def _at_rest(facts: SpendFacts) -> Trip | None:
    resting = [instance for instance in facts.instances if instance.phase in HELD_AT_REST]
    if not resting:
        return None
    named = ", ".join(f"{instance.id} {_disk_per_day(instance)}" for instance in resting[:5])
    return Trip(f"{len(resting)} stopped and still billing their disks: {named}", Severity.WARN)


VAST1 = Rule(
    id="VAST1",
    name="stop-taken-for-meter-off",
    severity=Severity.ACKNOWLEDGE,
    symptom="A stopped, idle instance is charged for days, even below a balance of zero.",
    cause="Stop ends the bill for the GPU only: the disk is billed for as long as it exists, and bandwidth in every "
    "state. Destroy is the only end of the whole meter, and it deletes the disk.",
    example="200 GB at $0.15 per GB and month, forgotten for two months: $60 for nothing.",
    fix="stop only to think or to wait; then copy_out, verify_local and destroy with the person's consent",
    unless="it is acknowledged, after the person was told the price per day",
    source="docs.vast.ai billing and manage-instances, 2026-06",
    checks=(*on(_goes_on_billing, StopFacts), *on(_at_rest, SpendFacts)),
)
