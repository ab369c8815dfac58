"""The price index of the order book: pages of offers, divided by price like a kd-tree.

Mutable, and used by `market.book` alone.
"""

from typing import Final

from market.offers import Offer
from market.pages import Ask, Page, Place, ask_of, place_of

_TYPICAL: Final = (1, 4, 20, 1)
"""A usual need in cores, GiB, GiB and GPUs: says which price's spread matters most when a page is divided."""


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
