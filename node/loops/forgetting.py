"""Forgetting what was let in and is over: sessions, nonces, devices that nobody decided about."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from node.actions.people import People

_log = structlog.get_logger("forgetting")
EVERY: Final = 600.0


async def run(people: People) -> None:
    """Sweep every ten minutes until cancelled."""
    while True:
        try:
            await people.sweep()
        except NeugridError as error:
            _log.info("not forgotten", why=error.message, code=error.code)
        await asyncio.sleep(EVERY)
