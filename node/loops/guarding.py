"""Every second the watchdog hears until when each container may run: no later than its lease, dead node or not."""

import asyncio
from typing import Final

import structlog

from market.errors import Unavailable
from market.leases import MARGIN, OPEN, Lease
from market.units import Timestamp
from node.ports import Reader, Watchdog

_log = structlog.get_logger("guarding")
EVERY: Final = 1.0


async def run(reader: Reader, watchdog: Watchdog) -> None:
    """Tell the deadlines until cancelled."""
    while True:
        try:
            await watchdog.guard(deadlines(reader))
        except Unavailable as error:
            _log.error("not guarded", why=error.message)
        await asyncio.sleep(EVERY)


def deadlines(reader: Reader) -> dict[str, Timestamp]:
    """Containers of open leases, and when they end by force: a margin after the node itself would have ended them.

    That is still a margin before the requester may place the work elsewhere.
    """
    leases = reader.find(Lease, side="provider", state=OPEN[1:])
    return {lease.container: Timestamp(lease.until + MARGIN) for lease in leases}
