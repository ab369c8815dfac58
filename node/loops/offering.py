"""Our own standing offers out: on change at once, else every five minutes; withdrawn while the engine is down."""

import asyncio
import contextlib
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


class Stock:
    """What there is to sell: one machine, measured once, or a cluster, measured again whenever it is looked at."""

    def __init__(self, machine: Machine, *, is_cluster: bool = False) -> None:
        self._machine = machine
        self._is_cluster = is_cluster
        self._is_known = False

    async def take(self, selling: Selling) -> None:
        """Tell the shop what it has; Unavailable when that can not be measured now."""
        if self._is_cluster or not self._is_known:
            selling.stock(*await self._machine.measure(), is_share=self._is_cluster)
            self._is_known = True


async def run(bidding: Bidding, network: Network, runtime: Runtime, stock: Stock, clock: Clock) -> None:
    """Measure the machine, then keep the market's picture of it true until cancelled."""
    selling, book = bidding.selling, bidding.book
    with contextlib.suppress(Unavailable):
        await stock.take(selling)
    published, checked, shown, peers, has_engine = 0, 0, None, 0, False
    while True:
        now = clock.now()
        if now - checked >= CHECK_ENGINE:
            checked = now
            has_engine = await _look_at_engine(selling, runtime, stock, has_engine)
        selling.is_open = has_engine and selling.gate.is_open
        picture = [replace(offer, seq=0, issued_at=0, expires_at=0) for offer in selling.offers(0)]
        connected = await _count_peers(network)
        is_news = picture != shown or now - published >= REFRESH or connected > peers
        if is_news and await _publish(selling, book, now, bool(shown)):
            published, shown = now, picture
            bidding.look_again(now)
        peers = connected
        await asyncio.sleep(LOOK_EVERY)


async def _look_at_engine(selling: Selling, runtime: Runtime, stock: Stock, had_engine: bool) -> bool:
    health = await runtime.health()
    if health.is_ok != had_engine:
        _log.warning("engine", is_ok=health.is_ok, reason=health.reason)
    if health.is_ok:
        try:
            await stock.take(selling)
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
