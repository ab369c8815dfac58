"""Room for images: those that this node brought go while the disk is short, the longest unused first."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from node.ports import ImageStore

_log = structlog.get_logger("tidying")
EVERY: Final = 60.0


async def run(images: ImageStore) -> None:
    """Look at the start and then every minute, until cancelled."""
    while True:
        try:
            if count := await images.tidy():
                _log.info("room made", images=count)
        except NeugridError as error:
            _log.info("no room made", why=error.message)
        await asyncio.sleep(EVERY)
