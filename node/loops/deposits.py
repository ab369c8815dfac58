"""Confirmed transfers to this node's wallet in: each is credited once, and where to go on is kept with it."""

import structlog

from node.actions.treasury import Treasury
from node.ports import Chain

_log = structlog.get_logger("deposits")


async def run(treasury: Treasury, chain: Chain) -> None:
    """Follow the chain until cancelled."""
    async for news in chain.received(treasury.cursor()):
        if news.is_rewound:
            _log.warning("the chain took back what was confirmed: compare the deposits with the wallet")
        await treasury.take(news.transfers, news.cursor)
