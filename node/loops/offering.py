"""Our own standing offers out: on change at once, else every five minutes; withdrawn while the engine is down."""

import asyncio
from typing import Final

import structlog
from msgspec.structs import replace

from market.errors import Unavailable
from node.actions.bidding import Bidding
from node.actions.book import Book
from node.actions.selling import OFFER_TTL, Selling
from node.ports import Clock, Machine, Network, Runtime

_log = structlog.get_logger("offering")
LOOK_EVERY: Final = 0.25
REFRESH: Final = 300_000
CHECK_ENGINE: Final = 5_000


async def run(bidding: Bidding, network: Network, runtime: Runtime, machine: Machine, clock: Clock) -> None:
    """Measure the machine, then keep the market's picture of it true until cancelled."""
    selling, book = bidding.selling, bidding.book
    selling.stock(*await machine.measure())
    published, checked, shown, peers, has_engine = 0, 0, None, 0, False
    while True:
        now = clock.now()
        if now - checked >= CHECK_ENGINE:
            checked = now
            has_engine = await _look_at_engine(selling, runtime, has_engine)
        selling.is_open = has_engine and selling.gate.is_open
        picture = [replace(offer, seq=0, issued_at=0, expires_at=0) for offer in selling.offers(0)]
        connected = await _count_peers(network)
        is_news = picture != shown or now - published >= REFRESH or connected > peers
        if is_news and await _publish(selling, book, now, bool(shown)):
            published, shown = now, picture
            bidding.look_again(now)
        peers = connected
        await asyncio.sleep(LOOK_EVERY)


async def _look_at_engine(selling: Selling, runtime: Runtime, had_engine: bool) -> bool:
    health = await runtime.health()
    if health.is_ok != had_engine:
        _log.warning("engine", is_ok=health.is_ok, reason=health.reason)
    if health.is_ok:
        try:
            selling.images = await runtime.images()
            await selling.abilities.look()
        except Unavailable:
            return False
    return health.is_ok


async def _publish(selling: Selling, book: Book, seq: int, was_shown: bool) -> bool:
    offers = selling.offers(seq)
    try:
        if offers:
            await book.publish_offers(offers, OFFER_TTL)
        elif was_shown:
            await book.withdraw(*(offer.id for offer in book.own_offers()))
    except Unavailable as error:
        _log.info("not published", why=error.message)
        return False
    return True


async def _count_peers(network: Network) -> int:
    try:
        return len(await network.peers())
    except Unavailable:
        return 0
