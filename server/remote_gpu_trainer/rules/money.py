"""Rules over credit, end dates and what goes on billing."""

from datetime import timedelta

from remote_gpu_trainer.domain.offers import job_cost
from remote_gpu_trainer.domain.units import show_usd
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import (
    DestroyFacts,
    OfferFacts,
    PollFacts,
    RentFacts,
    SearchFacts,
    SpendFacts,
    StartFacts,
)

RUNWAY = timedelta(hours=72)
CONTRACT_ALARM = timedelta(days=7)
BOOT_HOURS = 0.25


def _credit_low(facts: PollFacts | SpendFacts) -> Trip | None:
    account, burn = facts.account, facts.burn_usd_per_hour
    if account is None:
        return Trip("the credit could not be read") if isinstance(facts, SpendFacts) else None
    if account.credit <= 0:
        return Trip(f"credit is {show_usd(account.credit)}: instances, volumes and data are due for deletion")
    if not burn or account.credit / burn >= RUNWAY.total_seconds() / 3600:
        return None
    return Trip(f"credit {show_usd(account.credit)} at {show_usd(burn)}/h lasts {account.credit / burn:.1f} h")


VAST24 = Rule(
    id="VAST24",
    name="credit-near-zero",
    severity=Severity.WARN,
    symptom="Instances, volumes and their data are deleted although nobody asked for it.",
    cause="At a balance of $0.00 everything is scheduled for deletion; without a saved card instances and data are "
    "destroyed. There is a short grace, of a length that nobody promises.",
    example="$3 of credit and $0.42/h running: seven hours, in the middle of the night.",
    fix="ask the person to add credit, and copy_out before the credit ends",
    unless="the credit lasts more than 72 h at the present burn",
    source="docs.vast.ai billing, 2026-06",
    checks=(*on(_credit_low, PollFacts), *on(_credit_low, SpendFacts)),
)


def _volume_named(facts: DestroyFacts) -> Trip | None:
    if facts.volumes is None:
        return Trip("whether volumes go on billing after this is unknown")
    if not facts.volumes:
        return None
    cost = sum(volume.usd_per_hour or 0.0 for volume in facts.volumes)
    known = all(volume.usd_per_hour is not None for volume in facts.volumes)
    price = f"{show_usd(cost * 24)} a day" if known else "an unknown price"
    return Trip(f"{len(facts.volumes)} volumes outlive this instance and bill {price}")


def _volume_orphaned(facts: SpendFacts) -> Trip | None:
    held = {instance.id for instance in facts.instances}
    alone = [volume for volume in facts.volumes or () if not held.intersection(volume.instance_ids)]
    return Trip(f"{len(alone)} volumes bill without an instance: {alone[0].id} first") if alone else None


VAST27 = Rule(
    id="VAST27",
    name="volume-left-billing",
    severity=Severity.WARN,
    symptom="Weeks after the teardown something still bills.",
    cause="A volume is charged per GB for as long as it exists, apart from any instance; destroying the instance "
    "leaves it.",
    example="200 GB of volume at $0.10 per GB and month: $20 a month for a job that is long done.",
    fix="name the volumes to the person and have those deleted that nobody needs",
    unless="no volume is left",
    source="docs.vast.ai billing, 2026-06; OpenAPI 2026-08",
    checks=(*on(_volume_named, DestroyFacts), *on(_volume_orphaned, SpendFacts)),
)


def _fits(facts: OfferFacts) -> Trip | None:
    offer, shape = facts.offer, facts.shape
    home = shape.download_gib * 8 * 1.073741824 * 1000 / offer.inet_up_mbps / 3600 if offer.inet_up_mbps else 0.0
    span = shape.hours + BOOT_HOURS + home
    left = offer.remaining_hours
    if left is None:
        return Trip("how long the host keeps this offer is unknown", Severity.WARN)
    if shape.hours <= left < span:
        return Trip(f"boot, job and copying home take about {span:.1f} h and the offer ends in {left:.1f} h")
    return None


def _credit_fits(facts: RentFacts) -> Trip | None:
    if facts.account is None:
        return Trip("the account's credit is unknown", Severity.ACKNOWLEDGE)
    total = job_cost(facts.offer, facts.shape, facts.bid).total
    if total > facts.account.credit:
        return Trip(
            f"the whole job costs about {show_usd(total)} and the credit is {show_usd(facts.account.credit)}",
            Severity.BLOCK,
            "ask the person to add credit, or take a shorter job or a cheaper offer",
        )
    return _fits(facts)


def _contract_fits(facts: StartFacts) -> Trip | None:
    ends, hours = facts.instance.ends_at, facts.hours
    if ends is None or hours is None or ends - facts.now >= timedelta(hours=hours):
        return None
    left = (ends - facts.now).total_seconds() / 3600
    return Trip(f"the job takes {hours:g} h more and the contract ends in {left:.1f} h")


VAST34 = Rule(
    id="VAST34",
    name="job-outlives-host-or-credit",
    severity=Severity.ACKNOWLEDGE,
    symptom="A job is cut off near its end, by the contract's end date or by an empty account.",
    cause="Nothing compares how long a job takes, boot and the way home included, with the contract's end date and "
    "the credit.",
    example="A 20-hour job that costs $8 on an account with $6.50.",
    fix="take an offer that lasts, or a shorter piece of the job; have credit added first",
    unless="boot, job and copying home end before the offer does, and the credit covers their whole cost",
    source="derived from docs.vast.ai billing and manage-instances, 2026-06",
    checks=(*on(_fits, SearchFacts), *on(_credit_fits, RentFacts), *on(_contract_fits, StartFacts)),
)


def _contract_ends(facts: PollFacts) -> Trip | None:
    ends = facts.instance.ends_at
    if ends is None or ends - facts.now > CONTRACT_ALARM:
        return None
    left = (ends - facts.now).total_seconds() / 3600
    if left <= 0:
        return Trip(f"the contract ended {-left:.1f} h ago; its data may be deleted from 48 h after the end")
    return Trip(f"the contract ends in {left:.1f} h")


def _contracts_end(facts: SpendFacts) -> Trip | None:
    near = [i for i in facts.instances if i.ends_at is not None and i.ends_at - facts.now <= CONTRACT_ALARM]
    if not near:
        return None
    named = ", ".join(f"{i.id} {i.ends_at:%Y-%m-%d %H:%M} UTC" for i in near[:5])
    return Trip(f"{len(near)} contracts end within 7 days or are past: {named}")


VAST38 = Rule(
    id="VAST38",
    name="contract-end-forgotten",
    severity=Severity.WARN,
    symptom="A stopped instance that was kept for later is gone.",
    cause="A contract has an end date; after it the instance stops, and the data may be deleted 48 hours later.",
    example="Stopped on Friday to decide on Monday; the contract ended on Saturday.",
    fix="copy_out before the end date; relaunch elsewhere from the copy",
    unless="the end date is more than 7 days away",
    source="docs.vast.ai manage-instances, 2026-06; 48 hours: documentation read by others, 2026",
    checks=(*on(_contract_ends, PollFacts), *on(_contracts_end, SpendFacts)),
)

VAST42 = Rule(
    id="VAST42",
    name="running-price-taken-for-burn",
    severity=Severity.WARN,
    symptom="Cost shown for a stopped instance is that of a running one, or the disk is priced wrongly in a search.",
    cause="dph_total does not change when an instance stops; the burn of the moment is instance.totalHour. An offer's "
    "price holds the disk only when allocated_storage was sent, and an offer is looked up by ask_contract_id.",
    example="A stopped box shows $0.41/h and burns $0.02/h.",
    fix="read the burn from totalHour and the disk from storage_cost times size",
    unless="nothing does: it is how the fields are",
    source="seen live by others, 2026; official CLI 1.9.1, 2026-08",
    unchecked="it is about reading fields, which the wire layer does in one place",
)
