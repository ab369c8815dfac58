"""Peers' messages in: offers and orders into the book, orders on to the bid engine."""

import asyncio

import structlog

from market.errors import BadMessage, BadSignature, StaleMessage
from node.actions.book import Book
from node.actions.selling import Selling
from node.ports import Network

_log = structlog.get_logger("gossip")
MAX_BIDDING = 256


async def run(network: Network, book: Book, selling: Selling | None) -> None:
    """Join the topics of our region and take what comes, until cancelled."""
    for topic in book.topics():
        await network.subscribe(topic)
    bidding: set[asyncio.Task[None]] = set()
    async for message in network.gossip():
        try:
            order = book.receive(message.topic, message.data)
        except (BadMessage, BadSignature, StaleMessage) as error:
            _log.info("gossip refused", why=error.code)
            continue
        if order is not None and selling is not None and len(bidding) < MAX_BIDDING:
            task = asyncio.create_task(selling.consider(order))
            bidding.add(task)
            task.add_done_callback(bidding.discard)
