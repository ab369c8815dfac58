"""Which orders a provider looks at, and when: as they come, and again when its machine has more room for them."""

import asyncio
from collections import Counter
from itertools import islice
from typing import Final

import structlog

from market.orders import Order
from node.actions.book import Book
from node.actions.selling import Selling

_log = structlog.get_logger("bidding")
MAX_BIDDING: Final = 256
MAX_OF_ONE: Final = 64
AGAIN: Final = 16
"""Resting orders that are looked at again at once."""


class Bidding:
    """The orders that are being considered: only so many, and only so many of one requester, who may never answer."""

    def __init__(self, selling: Selling, book: Book) -> None:
        self.selling = selling
        self.book = book
        self._of: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, order: Order) -> None:
        """Bid on the order, in the background; one that is passed over here is posted anew by its requester."""
        if len(self._tasks) >= MAX_BIDDING or self._of[order.requester] >= MAX_OF_ONE:
            return
        task = asyncio.create_task(self.selling.consider(order))
        self._tasks.add(task)
        self._of[order.requester] += 1
        task.add_done_callback(lambda done: self._end(order.requester, done))

    def look_again(self, now: int) -> None:
        """Consider the best paid of the resting orders that the machine could serve now at its lowest prices."""
        for offer in self.selling.lowest_offers():
            waiting = (order for order in self.book.book.crossing(offer, now) if not self.selling.has_bid_on(order))
            for order in islice(waiting, AGAIN):
                self.consider(order)

    def _end(self, requester: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._of[requester] -= 1
        if not self._of[requester]:
            del self._of[requester]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("order not considered", exc_info=error)
