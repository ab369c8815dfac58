"""A late joiner takes the book from its first neighbours as a snapshot, instead of waiting for gossip."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from node.actions.book import Book
from node.ports import Network

_log = structlog.get_logger("joining")
LOOK_EVERY: Final = 0.5


async def run(network: Network, book: Book) -> None:
    """Take a snapshot from every neighbour when it appears, until cancelled."""
    known: set[str] = set()
    while True:
        try:
            connected = {str(peer.id) for peer in await network.peers()}
        except NeugridError:
            connected = set()
        for peer in connected - known:
            await _snapshot(book, peer)
        known = connected
        await asyncio.sleep(LOOK_EVERY)


async def _snapshot(book: Book, peer: str) -> None:
    try:
        taken = await book.repair(peer)
        _log.info("snapshot", peer=peer, messages=taken)
    except NeugridError as error:
        _log.info("no snapshot", peer=peer, why=error.code)
