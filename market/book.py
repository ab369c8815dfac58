"""The order book: live offers and resting orders of the whole market, as one node sees it, in memory.

The only mutable thing in `market`: an index, not a rule. It has no clock: what has expired is skipped by every
question that takes `now`, and leaves with `expire`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from market.explanations import Explanation, explain
from market.holdings import BUCKETS, Holdings
from market.matching import Match
from market.offers import Offer
from market.orders import Order
from market.pricetree import PriceTree
from market.resting import RestingOrders
from market.search import Search
from market.summaries import MarketPrices, MarketStats, price_ranges, totals

PAGE_SIZE: Final = 512
"""Offers per page of the index: by measurement, large enough to skip many at once, small enough to change quickly."""
FEW: Final = 512
"""So many offers are looked at one by one in less time than a search takes."""
Version = tuple[int, str, int]
"""Bucket, id and version: what two books compare. Offers are in buckets 0..63, orders in 64..127."""


class OrderBook:
    """Offers and orders by id. The newest version of an id wins: an offer by `seq`, an order by `issued_at`.

    Signatures, senders and bounds are checked before something is put here. An id belongs to the first who used it,
    for as long as it is live or remembered; so ids should carry part of their owner's address.
    """

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self._offers: Holdings[Offer] = Holdings(lambda offer: offer.provider, lambda offer: offer.seq)
        self._orders: Holdings[Order] = Holdings(lambda order: order.requester, lambda order: order.issued_at)
        self._by_provider: dict[str, dict[str, Offer]] = {}
        self._machines = PriceTree(with_gpus=False, page_size=page_size)
        self._with_gpus = PriceTree(with_gpus=True, page_size=page_size)
        self._resting = RestingOrders()

    def __len__(self) -> int:
        return len(self._offers) + len(self._orders)

    def put_offer(self, offer: Offer) -> bool:
        """Hold the offer; False when this version or a newer one is known, or the id is another provider's."""
        held = self._offers.get(offer.id)
        if not self._offers.put(offer):
            return False
        if held is not None:
            self._unindex(held)
        self._by_provider.setdefault(offer.provider, {})[offer.id] = offer
        self._machines.add(offer)
        if offer.free.gpus:
            self._with_gpus.add(offer)
        return True

    def put_order(self, order: Order) -> bool:
        """Hold the resting order; False when this version or a newer one is known, or the id is another's."""
        held = self._orders.get(order.id)
        if not self._orders.put(order):
            return False
        if held is not None:
            self._resting.discard(held)
        self._resting.add(order)
        return True

    def remove_offer(self, offer_id: str) -> bool:
        """Withdraw an offer; only a newer version can come back. False when there is none."""
        offer = self._offers.remove(offer_id)
        if offer is not None:
            self._unindex(offer)
        return offer is not None

    def remove_order(self, order_id: str) -> bool:
        """Withdraw a resting order; only a newer version can come back. False when there is none."""
        order = self._orders.remove(order_id)
        if order is not None:
            self._resting.discard(order)
        return order is not None

    def expire(self, now: int) -> list[Offer | Order]:
        """Take out what is not live at `now` (epoch ms) and say what went; call it every few seconds."""
        offers, orders = self._offers.expire(now), self._orders.expire(now)
        for offer in offers:
            self._unindex(offer)
        for order in orders:
            self._resting.discard(order)
        return [*offers, *orders]

    def offers(self) -> Iterator[Offer]:
        """All offers; expired ones are among them until `expire`."""
        return iter(self._offers)

    def orders(self) -> Iterator[Order]:
        """All resting orders; expired ones are among them until `expire`."""
        return iter(self._orders)

    def offer(self, offer_id: str) -> Offer | None:
        """The offer of that id."""
        return self._offers.get(offer_id)

    def order(self, order_id: str) -> Order | None:
        """The resting order of that id."""
        return self._orders.get(order_id)

    def offers_of(self, provider: str) -> list[Offer]:
        """The offers of a provider, by its address."""
        return list(self._by_provider.get(provider, {}).values())

    def match(self, order: Order, now: int, scores: Mapping[str, int], limit: int = 8) -> list[Match]:
        """The best live offers that satisfy every constraint: by rate, then score (higher), then time (earlier).

        `scores` maps providers to reputation 0..1000; an unknown provider counts as 0.
        """
        if limit <= 0:
            return []
        scored = self._scored(scores, order.constraints.min_reputation)
        search = Search(order, now, scores, limit, scored)
        tree = self._with_gpus if order.resources.gpus else self._machines
        search.look_through(tree.pages())
        for provider in scored or ():
            search.look_at(self._by_provider.get(provider, {}).values())
        return search.matches()

    def crossing(self, offer: Offer, now: int) -> list[Order]:
        """The live resting orders that the offer could serve, best paid first; reputation is not looked at."""
        return self._resting.crossing(offer, now)

    def explain(self, order: Order, now: int, scores: Mapping[str, int], wanted: int = 1) -> Explanation:
        """Why offers do not match the order, and what would make `wanted` of them match; looks at every offer."""
        return explain(order, self._offers, now, scores, wanted)

    def prices(self, now: int) -> MarketPrices:
        """What the live offers ask."""
        return price_ranges(self._offers, now)

    def stats(self, now: int) -> MarketStats:
        """How many offers, providers and orders are live, and how much machine is offered."""
        return totals(self._offers, self._orders, now)

    def digest(self) -> dict[int, int]:
        """A mark per bucket of ids, to compare with a neighbour's by `holdings.differing`."""
        orders = {BUCKETS + bucket: mark for bucket, mark in self._orders.digest().items()}
        return self._offers.digest() | orders

    def versions(self, buckets: Iterable[int]) -> list[Version]:
        """What is held in these buckets; numbers that are no bucket are passed over."""
        found: list[Version] = []
        for bucket in sorted(set(buckets) & set(range(2 * BUCKETS))):
            held = self._offers if bucket < BUCKETS else self._orders
            found += [(bucket, *pair) for pair in held.versions(bucket % BUCKETS)]
        return found

    def missing(self, theirs: Iterable[Version]) -> list[str]:
        """The ids of which a neighbour holds a version that would be news here."""
        return [
            identifier
            for bucket, identifier, version in theirs
            if (self._offers if bucket < BUCKETS else self._orders).is_news(identifier, version)
        ]

    def _scored(self, scores: Mapping[str, int], floor: int) -> frozenset[str] | None:
        """The providers with a score above 0 and not below `floor`; None where they are too many to look at each."""
        if len(scores) > 4 * FEW:
            return None
        found = frozenset(provider for provider, score in scores.items() if score >= max(1, floor))
        offers = sum(len(self._by_provider.get(provider, ())) for provider in found)
        return found if offers <= FEW else None

    def _unindex(self, offer: Offer) -> None:
        of_provider = self._by_provider[offer.provider]
        del of_provider[offer.id]
        if not of_provider:
            del self._by_provider[offer.provider]
        self._machines.discard(offer.id)
        self._with_gpus.discard(offer.id)
