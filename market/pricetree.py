"""The price index of the order book: pages of offers, divided by price like a kd-tree, and the search over them.

A search computes for each page the least rate that any of its offers could ask, and opens pages in that order until
the next one can not hold anything better than what is found. Mutable, and used by `market.book` alone.
"""

from bisect import insort
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop
from math import gcd
from typing import Final

from market.matching import Match
from market.offers import Offer
from market.orders import Order
from market.pages import Ask, Page, Place, ask_of, names_of, place_of, questions
from market.resources import GIB
from market.units import Rate

_TYPICAL: Final = (1, 4, 20, 1)
"""A usual need in cores, GiB, GiB and GPUs: says which price's spread matters most when a page is divided."""

Found = tuple[int, int, int, str, Offer]


class Fork:
    """A division of the asks: those below `at` in `dimension` are on the left."""

    __slots__ = ("at", "dimension", "left", "right")

    def __init__(self, dimension: int, at: int, left: Page, right: Page) -> None:
        self.dimension = dimension
        self.at = at
        self.left: Fork | Page = left
        self.right: Fork | Page = right


class PriceTree:
    """Offers by id in pages of like prices."""

    def __init__(self, with_gpus: bool, page_size: int) -> None:
        self._with_gpus = with_gpus
        self._page_size = page_size
        page = Page(page_size)
        self._root: Fork | Page = page
        self._pages = [page]
        self._where: dict[str, tuple[Page, int]] = {}
        self._above: dict[Fork | Page, Fork] = {}

    def add(self, offer: Offer) -> None:
        """Index an offer whose id is not in the tree."""
        ask = ask_of(offer, self._with_gpus)
        node, place = self._root, place_of(ask)
        while isinstance(node, Fork):
            node = node.left if place[node.dimension] < node.at else node.right
        self._where[offer.id] = (node, node.add(ask))
        if len(node) > node.room:
            self._divide(node)

    def discard(self, offer_id: str) -> None:
        """Take the offer of that id out; nothing happens when there is none."""
        page, slot = self._where.pop(offer_id, (None, 0))
        if page is None:
            return
        page.discard(slot)
        if not page and page in self._above:
            self._close(page)

    def pages(self) -> list[Page]:
        """The pages, in no order."""
        return self._pages

    def _divide(self, page: Page) -> None:
        asks = page.held()
        dimension, at = _division([place_of(ask) for ask in asks])
        low = [ask for ask in asks if place_of(ask)[dimension] < at]
        if not low:
            page.room *= 2
            return
        left, right = self._page(low), self._page([ask for ask in asks if place_of(ask)[dimension] >= at])
        fork = Fork(dimension, at, left, right)
        self._replace(page, fork)
        self._pages.remove(page)
        self._above[left] = self._above[right] = fork

    def _page(self, asks: list[Ask]) -> Page:
        page = Page(self._page_size)
        for ask in asks:
            self._where[ask.offer.id] = (page, page.add(ask))
        self._pages.append(page)
        return page

    def _close(self, page: Page) -> None:
        """Take an empty page out: its sibling takes the place of the fork above them."""
        fork = self._above.pop(page)
        sibling = fork.right if fork.left is page else fork.left
        self._replace(fork, sibling)
        self._pages.remove(page)

    def _replace(self, old: Fork | Page, new: Fork | Page) -> None:
        above = self._above.pop(old, None)
        self._above.pop(new, None)
        if above is None:
            self._root = new
            return
        self._above[new] = above
        if above.left is old:
            above.left = new
        else:
            above.right = new


def _division(places: list[Place]) -> tuple[int, int]:
    """The dimension and value at which to divide: the price that tells the places best apart, else their time."""
    columns = [sorted(column) for column in zip(*places, strict=True)]
    tenth = len(places) // 10
    spreads = [(column[-1 - tenth] - column[tenth]) * usual for column, usual in zip(columns, _TYPICAL, strict=False)]
    widest = max(spreads)
    dimension = spreads.index(widest) if widest else _first_that_differs(columns)
    column = columns[dimension]
    middle = column[len(column) // 2]
    if middle == column[0]:
        middle = next((value for value in column if value > middle), middle)
    return dimension, middle


def _first_that_differs(columns: list[list[int]]) -> int:
    return next((number for number, column in enumerate(columns) if column[0] != column[-1]), 0)


class Search:
    """One search for the best offers of an order, over one or more trees."""

    def __init__(self, order: Order, now: int, scores: Mapping[str, int], limit: int) -> None:
        need, wanted = order.resources, order.constraints
        self._need = (need.cpu, need.memory, need.disk, need.gpus, need.vram if need.gpus else 0)
        self._asked = questions(need)
        self._names = names_of(wanted.region, wanted.isolation, need.gpu_model if need.gpus else "")
        whole = (need.cpu * GIB, need.memory * 1000, need.disk * 1000, need.gpus * 1000 * GIB, 1000 * GIB)
        divisor = gcd(*whole)
        *self._weights, self._scale = (part // divisor for part in whole)
        self._bound = order.max_rate * self._scale
        self._wanted, self._now, self._scores, self._limit = wanted, now, scores, limit
        self._found: list[Found] = []

    def best(self, pages: list[Page]) -> list[Match]:
        """The best matches, best first: lowest rate, highest score, earliest issue."""
        for page in self._cheapest_first(pages):
            mask = page.candidates(self._asked, self._names)
            if mask:
                self._scan(page, mask)
        return [Match(offer, Rate(rate)) for rate, _, _, _, offer in self._found]

    def _cheapest_first(self, pages: list[Page]) -> Iterator[Page]:
        cpu, memory, disk, gpu = self._weights
        lows = [
            (cpu * low[0] + memory * low[1] + disk * low[2] + gpu * low[3], number)
            for number, low in enumerate([page.low for page in pages])
        ]
        heapify(lows)
        while lows and lows[0][0] <= self._bound:
            yield pages[heappop(lows)[1]]

    def _scan(self, page: Page, mask: int) -> None:
        """Look at the asks of the page whose bit is set in `mask`; the amounts come first, for most fail by them."""
        cpu, memory, disk, gpu = self._weights
        least_cpu, least_memory, least_disk = self._need[:3]
        asks, digits = page.asks, bin(mask)[:1:-1]
        slot = digits.find("1")
        while slot >= 0:
            ask = asks[slot]
            slot = digits.find("1", slot + 1)
            if ask[5] < least_cpu or ask[6] < least_memory or ask[7] < least_disk:
                continue
            cost = cpu * ask[0] + memory * ask[1] + disk * ask[2] + gpu * ask[3]
            if cost <= self._bound and self._suits(ask):
                self._keep(cost, ask)

    def _suits(self, ask: Ask) -> bool:
        gpus, vram = self._need[3:]
        provider = ask.offer.provider
        return (
            ask.gpus >= gpus
            and ask.vram >= vram
            and ask.expires_at > self._now
            and provider not in self._wanted.avoid
            and self._scores.get(provider, 0) >= self._wanted.min_reputation
        )

    def _keep(self, cost: int, ask: Ask) -> None:
        rate, offer = -(-cost // self._scale), ask.offer
        insort(self._found, (rate, -self._scores.get(offer.provider, 0), ask.issued_at, offer.id, offer))
        if len(self._found) > self._limit:
            self._found.pop()
        if len(self._found) == self._limit:
            self._bound = self._found[-1][0] * self._scale
