"""A late joiner takes the book from its first neighbours as a snapshot, instead of waiting for gossip."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from node.actions.book import Book
from node.ports import Network

_log = structlog.get_logger("joining")
LOOK_EVERY: Final = 0.5
PATIENCE: Final = 60.0
"""Seconds that one neighbour's book may take; the rest of it comes with the repairs."""


async def run(network: Network, book: Book) -> None:
    """Take a snapshot from every neighbour when it appears, until cancelled."""
    known: set[str] = set()
    while True:
        try:
            connected = {str(peer.id) for peer in await network.peers()}
        except NeugridError:
            connected = set()
        await asyncio.gather(*(_snapshot(book, peer) for peer in connected - known))
        known = connected
        await asyncio.sleep(LOOK_EVERY)


async def _snapshot(book: Book, peer: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            taken = await book.repair(peer)
        _log.info("snapshot", peer=peer, messages=taken)
    except (NeugridError, TimeoutError) as error:
        _log.info("no snapshot", peer=peer, why=repr(error))
