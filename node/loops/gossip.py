"""Peers' messages in: offers and orders into the book, orders on to the bid engine."""

import structlog

from market.errors import BadMessage, BadSignature, StaleMessage
from market.orders import Order
from node.actions.bidding import Bidding
from node.actions.book import Book
from node.ports import Gossip, Network

_log = structlog.get_logger("gossip")


async def run(network: Network, book: Book, bidding: Bidding | None) -> None:
    """Join the topics of our region and take what comes, until cancelled."""
    for topic in book.topics():
        await network.subscribe(topic)
    async for message in network.gossip():
        order = _taken(book, message)
        if order is not None and bidding is not None:
            bidding.consider(order)


def _taken(book: Book, message: Gossip) -> Order | None:
    """Whatever a message does, the next one is heard."""
    try:
        return book.receive(message.topic, message.data)
    except (BadMessage, BadSignature, StaleMessage) as error:
        _log.info("gossip refused", why=error.code)
    except Exception:  # noqa: BLE001 - whatever it is, the others go on
        _log.exception("gossip not taken", topic=message.topic)
    return None
