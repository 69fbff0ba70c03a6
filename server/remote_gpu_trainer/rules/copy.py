"""Rules over bytes that travel between the box and home."""

from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.units import GB
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import CopyFacts, PushFacts
from remote_gpu_trainer.rules.rent import PROXY_LIMIT_BYTES, VAST8_RENT


def _copy_by_proxy(facts: CopyFacts) -> Trip | None:
    if facts.route is not Route.PROXY_SSH:
        return None
    if facts.bytes is None:
        return Trip("the size is unknown and the only route is the proxy", Severity.ACKNOWLEDGE)
    return _by_proxy(facts.bytes)


def _push_by_proxy(facts: PushFacts) -> Trip | None:
    return _by_proxy(facts.size) if facts.route is Route.PROXY_SSH else None


def _by_proxy(size: int) -> Trip | None:
    if size <= PROXY_LIMIT_BYTES:
        return None
    return Trip(f"{size / GB:.2f} GB would go through the proxy, which is meant for up to 1 GB", Severity.ACKNOWLEDGE)


VAST8 = Rule(
    id="VAST8",
    name="bulk-copy-through-proxy",
    severity=Severity.WARN,
    symptom="Copying several gigabytes over the default SSH endpoint crawls or hangs.",
    cause="The default endpoint is the platform's proxy: it works on every machine, is throttled, and is advised for "
    "transfers below about 1 GB. Direct SSH needs an offer with open ports.",
    example="A 12 GB checkpoint folder over the proxy: stalled after 40 minutes at 3 GB.",
    fix="rent with direct SSH on an offer with direct_ports of at least 1; fetch large inputs on the box from a bucket",
    unless="the route is direct, or at most 1 GB is moved",
    source="docs.vast.ai data-movement, 2026-06",
    checks=(*VAST8_RENT, *on(_copy_by_proxy, CopyFacts), *on(_push_by_proxy, PushFacts)),
)
