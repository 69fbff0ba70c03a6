"""Searching the market by what the whole job would cost."""

from remote_gpu_trainer.domain.offers import JobShape, Offer, OfferQuery, RentalType, job_cost
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.domain.units import UsdPerHour
from remote_gpu_trainer.ports import Marketplace
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.facts import SearchFacts
from remote_gpu_trainer.rules.registry import check
from remote_gpu_trainer.services.views import OfferList, RankedOffer


def price_to_pay(offer: Offer, bid: UsdPerHour | None) -> UsdPerHour | None:
    """The GPU's price per hour: the bid on an interruptible (or the least bid), the offer's on demand."""
    if offer.rental is RentalType.ON_DEMAND:
        return None
    return bid if bid is not None else offer.min_bid_usd_per_hour


class OfferService:
    """Search and ranking."""

    def __init__(self, market: Marketplace, policy: Policy) -> None:
        self._market = market
        self._policy = policy

    async def search(
        self, query: OfferQuery, shape: JobShape, *, image: str | None, bid: UsdPerHour | None, keep: int
    ) -> OfferList:
        """Offers that match, the cheapest whole job first; those that a rule would block come last."""
        offers = await self._market.search_offers(query, allocated_storage_gib=shape.disk_gib)
        ranked = [self._rank(offer, shape, image, bid) for offer in offers]
        ranked.sort(key=lambda one: (any(f.blocks for f in one.findings), one.cost.total, one.offer.id))
        return OfferList(query=query, considered=len(ranked), offers=tuple(ranked[:keep]))

    def _rank(self, offer: Offer, shape: JobShape, image: str | None, bid: UsdPerHour | None) -> RankedOffer:
        facts = SearchFacts(offer=offer, shape=shape, policy=self._policy, image=image, bid=bid)
        return RankedOffer(
            offer=offer,
            cost=job_cost(offer, shape, price_to_pay(offer, bid)),
            findings=tuple(check(Stage.SEARCH, facts, waived=self._policy.waive)),
        )
