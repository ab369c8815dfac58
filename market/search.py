"""One search for the best offers of an order.

It computes for each page the least rate that any of its offers could ask, and opens pages in that order until the
next one can not hold anything better than what is found.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heapify, heappop
from math import gcd
from typing import Final

from market.matching import Match, has_place
from market.offers import Offer
from market.orders import Order
from market.pages import Ask, Page, ask_of, names_of, questions
from market.resources import GIB, misfits
from market.units import Rate

_TOP_SCORE: Final = 1000

Found = tuple[int, int, int, str, Offer]
"""Rate, score (negative), time of issue and id: the order of preference; and the offer."""


class Search:
    """What is asked for, and the best that was found so far.

    Ties are told apart by score, so a page could always hold a better one, and all that tie would have to be looked
    at. Where few providers have a score (`scored`, not None), theirs are looked at by themselves, and what is in the
    pages is known to have none.
    """

    def __init__(
        self, order: Order, now: int, scores: Mapping[str, int], limit: int, scored: Collection[str] | None
    ) -> None:
        need, wanted = order.resources, order.constraints
        self._order = order
        self._need = (need.cpu, need.memory, need.disk, need.gpus, need.vram if need.gpus else 0)
        self._asked = questions(need)
        self._names = names_of(wanted.region, wanted.isolation, need.gpu_model if need.gpus else "", wanted.needs)
        whole = (need.cpu * GIB, need.memory * 1000, need.disk * 1000, need.gpus * 1000 * GIB, 1000 * GIB)
        divisor = gcd(*whole)
        *self._weights, self._scale = (part // divisor for part in whole)
        self._bound = order.max_rate * self._scale
        self._wanted, self._now, self._scores, self._limit = wanted, now, scores, limit
        self._found: list[Found] = []
        self._apart: Collection[str] = scored or ()
        self._best_left = -_TOP_SCORE if scored is None else 0
        """The best score (negative) that an offer in the pages can have."""

    def look_through(self, pages: list[Page]) -> None:
        """Consider all offers in the pages, those of scored providers aside."""
        if self._wanted.min_reputation > -self._best_left:
            return
        for page in self._cheapest_first(pages):
            mask = page.candidates(self._asked, self._names)
            if mask:
                self._scan(page, mask)

    def look_at(self, offers: Iterable[Offer]) -> None:
        """Consider these offers of scored providers."""
        cpu, memory, disk, gpu = self._weights
        for offer in offers:
            asked = offer.prices
            cost = cpu * asked.cpu + memory * asked.memory + disk * asked.disk + gpu * asked.gpu
            if cost <= self._bound and has_place(self._order, offer) and not misfits(self._order.resources, offer.free):
                ask = ask_of(offer, with_gpus=True)
                if self._suits(ask):
                    self._keep(cost, ask)

    def matches(self) -> list[Match]:
        """The best that was found: lowest rate, then highest score, then earliest issue."""
        return [Match(offer, Rate(rate)) for rate, _, _, _, offer in self._found]

    def _cheapest_first(self, pages: list[Page]) -> Iterator[Page]:
        """The pages that can hold something better than what is found, as long as there are any."""
        cpu, memory, disk, gpu = self._weights
        lows = [
            (cpu * low[0] + memory * low[1] + disk * low[2] + gpu * low[3], since, number)
            for number, (low, since) in enumerate([(page.low, page.since) for page in pages])
        ]
        heapify(lows)
        while lows and lows[0][0] <= self._bound:
            cost, since, number = heappop(lows)
            if not self._is_beaten(cost, since):
                yield pages[number]

    def _is_beaten(self, cost: int, since: int) -> bool:
        """Whether all places are taken by better ones than an offer of that cost and time can be."""
        if len(self._found) < self._limit:
            return False
        return self._found[-1][:3] < (-(-cost // self._scale), self._best_left, since)

    def _scan(self, page: Page, mask: int) -> None:
        """Look at the asks of the page whose bit is set in `mask`; the amounts come first, for most fail by them."""
        cpu, memory, disk, gpu = self._weights
        least_cpu, least_memory, least_disk, least_gpus, _ = self._need
        asks, digits = page.asks, bin(mask)[:1:-1]
        slot = digits.find("1")
        while slot >= 0:
            ask = asks[slot]
            slot = digits.find("1", slot + 1)
            if ask[5] < least_cpu or ask[6] < least_memory or ask[7] < least_disk or ask[8] < least_gpus:
                continue
            cost = cpu * ask[0] + memory * ask[1] + disk * ask[2] + gpu * ask[3]
            if cost <= self._bound and ask.offer.provider not in self._apart and self._suits(ask):
                self._keep(cost, ask)

    def _suits(self, ask: Ask) -> bool:
        provider = ask.offer.provider
        return (
            ask.vram >= self._need[4]
            and ask.expires_at > self._now
            and provider not in self._wanted.avoid
            and (not self._wanted.only or provider in self._wanted.only)
            and self._scores.get(provider, 0) >= self._wanted.min_reputation
        )

    def _keep(self, cost: int, ask: Ask) -> None:
        rate, offer = -(-cost // self._scale), ask.offer
        entry = (rate, -self._scores.get(offer.provider, 0), ask.issued_at, offer.id, offer)
        if len(self._found) == self._limit:
            if entry[:4] > self._found[-1][:4]:
                return
            self._found.pop()
        insort(self._found, entry)
        if len(self._found) == self._limit:
            self._bound = min(self._bound, self._found[-1][0] * self._scale)
