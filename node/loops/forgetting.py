"""Forgetting what is over: sessions, nonces, devices that nobody decided about, calls that count no more."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from node.actions.people import People
from node.ports import Calls, Clock

_log = structlog.get_logger("forgetting")
EVERY: Final = 600.0
CALLS_EVERY: Final = 60.0


async def run(people: People) -> None:
    """Sweep every ten minutes until cancelled."""
    while True:
        try:
            await people.sweep()
        except NeugridError as error:
            _log.info("not forgotten", why=error.message, code=error.code)
        await asyncio.sleep(EVERY)


async def forget_calls(calls: Calls, clock: Clock) -> None:
    """Sweep every minute until cancelled; others have their turn in between."""
    while True:
        gone = 0
        try:
            gone = calls.sweep(clock.now())
        except NeugridError as error:
            _log.info("not forgotten", why=error.message, code=error.code)
        await asyncio.sleep(0 if gone else CALLS_EVERY)
