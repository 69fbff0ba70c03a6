"""Rules over an offer: which host, at what whole price, for how long."""

from remote_gpu_trainer.domain.instances import InstancePhase
from remote_gpu_trainer.domain.offers import job_cost
from remote_gpu_trainer.domain.units import GB, show_usd
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import CopyFacts, OfferFacts, PollFacts, PushFacts, RentFacts, SearchFacts

WORTH_SAYING_USD, WORTH_ASKING_USD = 0.10, 5.0
"""What one copy must cost to be told, and to need an acknowledgement."""
RELIABLE = 0.98
"""Below this share of uptime a host is worth a warning even where the policy allows it."""


def _weak_host(facts: OfferFacts) -> Trip | None:
    offer, policy = facts.offer, facts.policy
    if not offer.verified and not policy.allow_unverified_hosts:
        return Trip(f"host {offer.host_id} is not verified", Severity.BLOCK)
    if offer.reliability is None:
        return Trip(f"the reliability of host {offer.host_id} is unknown", Severity.BLOCK)
    if offer.reliability < policy.min_reliability:
        return Trip(
            f"reliability {offer.reliability:.3f} of host {offer.host_id} is below the policy's "
            f"{policy.min_reliability:.3f}",
            Severity.BLOCK,
        )
    if not offer.verified:
        return Trip(f"host {offer.host_id} is not verified, which the policy allows", Severity.ACKNOWLEDGE)
    if offer.reliability < RELIABLE:
        return Trip(f"reliability {offer.reliability:.3f} is below {RELIABLE}", Severity.WARN)
    return None


def _host_gone(facts: PollFacts) -> Trip | None:
    if facts.instance.phase is not InstancePhase.OFFLINE:
        return None
    return Trip(
        f"instance {facts.instance.id} is offline: its host left the network",
        Severity.WARN,
        "resume_run with method relaunch from the newest checkpoint off the box; do not wait for this host",
    )


VAST7 = Rule(
    id="VAST7",
    name="unvetted-host-trusted",
    severity=Severity.BLOCK,
    symptom="An instance turns Offline in the middle of a run, and the work on it is out of reach or lost.",
    cause="Hosts are third parties on a marketplace: an unverified or unreliable one can leave at any time.",
    example="The cheapest offer, unverified, reliability 0.91: gone after five hours with the only checkpoint.",
    fix="take verified offers with reliability of 0.98 or more and a direct port, and keep checkpoints off the box",
    unless="the offer is verified and its reliability reaches the policy's least",
    source="seen on the platform, 2026-06; OpenAPI 2026-08 (verification, reliability2)",
    checks=(*on(_weak_host, SearchFacts, RentFacts), *on(_host_gone, PollFacts)),
)


def _dear_bandwidth(facts: OfferFacts) -> Trip | None:
    cost = job_cost(facts.offer, facts.shape, facts.bid)
    if cost.bandwidth < 0.05 or cost.bandwidth < 0.2 * cost.total:
        return None
    offer = facts.offer
    return Trip(
        f"moving {facts.shape.upload_gib:g} GiB in and {facts.shape.download_gib:g} GiB out costs "
        f"{show_usd(cost.bandwidth)} of {show_usd(cost.total)} in all "
        f"(in {show_usd(offer.ingress_usd_per_gb)}/GB, out {show_usd(offer.egress_usd_per_gb)}/GB)",
        Severity.ACKNOWLEDGE if cost.bandwidth >= cost.gpu and cost.bandwidth >= 1 else Severity.WARN,
    )


def _dear_copy(facts: CopyFacts) -> Trip | None:
    fix = "leave out what need not come home, or copy to where it stays"
    return _dear_bytes(facts.instance.egress_usd_per_gb, facts.bytes, "outgoing", fix)


def _dear_push(facts: PushFacts) -> Trip | None:
    fix = "leave out what the job does not read, or bring it in once and keep it on the disk"
    return _dear_bytes(facts.instance.ingress_usd_per_gb, facts.size, "incoming", fix)


def _dear_bytes(price: float | None, size: int | None, way: str, fix: str) -> Trip | None:
    if price is None:
        return Trip(f"the host's price for {way} bytes is unknown", Severity.WARN)
    cost = (size or 0) / GB * price
    if size is None or cost < WORTH_SAYING_USD:
        return None
    seen = f"{size / GB:.1f} GB at {show_usd(price)}/GB cost {show_usd(cost)}"
    return Trip(seen, Severity.ACKNOWLEDGE if cost >= WORTH_ASKING_USD else Severity.WARN, fix)


VAST9 = Rule(
    id="VAST9",
    name="bandwidth-taken-for-free",
    severity=Severity.WARN,
    symptom="A job that moves much data costs more than its GPU hours.",
    cause="Each host prices bandwidth itself, and every byte is metered in both directions, in every state, "
    "stopped included. Often the price is about $0, but nothing promises that.",
    example="A $0.20/h GPU at $0.05/GB: fetching a 200 GB data set each epoch costs $10 a time.",
    fix="compare offers by the whole cost of the job, and bring a data set in once, onto the disk",
    unless="the bytes to be moved, or the host's price for them, are smaller",
    source="docs.vast.ai billing and pricing, 2026-06; OpenAPI 2026-08 (inet_up_cost, inet_down_cost)",
    checks=(*on(_dear_bandwidth, SearchFacts, RentFacts), *on(_dear_copy, CopyFacts), *on(_dear_push, PushFacts)),
)


def _host_ends_early(facts: OfferFacts) -> Trip | None:
    left = facts.offer.remaining_hours
    if left is None or left >= facts.shape.hours:
        return None
    return Trip(f"the host's end date is {left:.1f} h away and the job takes {facts.shape.hours:g} h")


VAST25 = Rule(
    id="VAST25",
    name="host-ends-before-job",
    severity=Severity.BLOCK,
    symptom="An instance, on-demand ones too, stops by itself although nobody stopped it and the credit suffices.",
    cause="The host sets an end date for the rental; when it is reached, the contract expires and the instance stops.",
    example="A 40-hour job on an offer with 31 hours left ends at 77 %.",
    fix="take an offer whose remaining time is longer than the job, or split the job at checkpoints",
    unless="the offer lasts longer than the job",
    source="docs.vast.ai manage-instances, 2026-06; OpenAPI 2026-08 (duration, end_date)",
    checks=on(_host_ends_early, SearchFacts, RentFacts),
)
