"""Confirmed chain events in: a touched channel is read again, an armed exit is answered by a claim at once."""

import structlog

from market.errors import NeugridError
from market.vouchers import Channel
from node.actions.funding import Funding
from node.engine import Engine
from node.ports import Chain, ChainNews, Reader
from node.records import Mark

_log = structlog.get_logger("chain")
CURSOR = "chain"


async def run(engine: Engine, chain: Chain, funding: Funding) -> None:
    """Follow the chain until cancelled; the cursor is kept after its events were acted on, so none is missed."""
    mark = engine.storage.get(Mark, CURSOR)
    async for news in chain.news(mark.value if mark else ""):
        await _take(engine, funding, news)
        await _keep(engine, Mark(id=CURSOR, value=news.cursor))


async def _keep(engine: Engine, mark: Mark) -> None:
    await engine.storage.write(lambda tx: tx.put(mark))


async def _take(engine: Engine, funding: Funding, news: ChainNews) -> None:
    """Events are a wake-up: what counts is what the contract holds now."""
    touched = _touched(engine.storage, news)
    for channel in touched:
        await funding.refresh(channel)
    if any(channel.id in news.exits and channel.payee == funding.payee for channel in touched):
        _log.warning("exit armed", channels=news.exits)
        await _claim(funding)


def _touched(reader: Reader, news: ChainNews) -> list[Channel]:
    """The channels of ours that the news are about; the chain has those of everybody."""
    if news.is_rewound:
        return reader.find(Channel)
    found = (reader.get(Channel, id) for id in news.channels)
    return [channel for channel in found if channel is not None]


async def _claim(funding: Funding) -> None:
    try:
        await funding.claim_all()
    except NeugridError as error:
        _log.warning("not claimed, the next tick tries again", why=error.message)
