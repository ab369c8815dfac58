"""Signing where the log of who did what ends, so that nobody can cut it off unseen."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from node.actions.audit import Anchor

_log = structlog.get_logger("anchoring")
EVERY: Final = 3600.0


async def run(anchor: Anchor) -> None:
    """Sign at once and every hour until cancelled; without new entries there is nothing to sign."""
    while True:
        try:
            await anchor.sign()
        except (NeugridError, OSError) as error:
            _log.warning("not signed", why=str(error))
        await asyncio.sleep(EVERY)
