"""Peers' messages in: offers and orders into the book, orders on to the bid engine."""

import asyncio
from collections import Counter
from typing import Final

import structlog

from market.errors import BadMessage, BadSignature, StaleMessage
from market.orders import Order
from node.actions.book import Book
from node.actions.selling import Selling
from node.ports import Gossip, Network

_log = structlog.get_logger("gossip")
MAX_BIDDING: Final = 256
MAX_OF_ONE: Final = 64


async def run(network: Network, book: Book, selling: Selling | None) -> None:
    """Join the topics of our region and take what comes, until cancelled."""
    for topic in book.topics():
        await network.subscribe(topic)
    bidding = Bidding(selling)
    async for message in network.gossip():
        order = _taken(book, message)
        if order is not None:
            bidding.consider(order)


class Bidding:
    """The orders that are being considered: only so many, and only so many of one requester, who may never answer."""

    def __init__(self, selling: Selling | None) -> None:
        self._selling = selling
        self._of: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, order: Order) -> None:
        """Bid on the order, in the background; one that is passed over here is posted anew by its requester."""
        is_full = len(self._tasks) >= MAX_BIDDING or self._of[order.requester] >= MAX_OF_ONE
        if self._selling is None or is_full:
            return
        task = asyncio.create_task(self._selling.consider(order))
        self._tasks.add(task)
        self._of[order.requester] += 1
        task.add_done_callback(lambda done: self._end(order.requester, done))

    def _end(self, requester: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._of[requester] -= 1
        if not self._of[requester]:
            del self._of[requester]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("order not considered", exc_info=error)


def _taken(book: Book, message: Gossip) -> Order | None:
    """Whatever a message does, the next one is heard."""
    try:
        return book.receive(message.topic, message.data)
    except (BadMessage, BadSignature, StaleMessage) as error:
        _log.info("gossip refused", why=error.code)
    except Exception:  # noqa: BLE001 - whatever it is, the others go on
        _log.exception("gossip not taken", topic=message.topic)
    return None
