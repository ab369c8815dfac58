"""Docker's truth against ours: a container whose lease is over or unknown is removed, whoever left it behind."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from market.leases import OPEN, Lease
from node.ports import Clock, Container, Reader, Runtime

_log = structlog.get_logger("reconcile")
EVERY: Final = 30.0
GRACE: Final = 60_000
"""A container is left alone for so long after it was created, in ms: its lease may just be written."""


async def run(reader: Reader, runtime: Runtime, clock: Clock) -> None:
    """Compare at the start and then every half minute, until cancelled."""
    while True:
        try:
            await sweep(reader, runtime, clock.now())
        except NeugridError as error:
            _log.info("not compared", why=error.message)
        await asyncio.sleep(EVERY)


async def sweep(reader: Reader, runtime: Runtime, now: int) -> int:
    """Remove what nobody holds; how many went."""
    orphans = [container for container in await runtime.containers() if _is_orphan(reader, container, now)]
    for container in orphans:
        _log.warning("orphan removed", container=container.name)
        await runtime.remove(container.name)
    return len(orphans)


def _is_orphan(reader: Reader, container: Container, now: int) -> bool:
    lease = reader.get(Lease, container.lease)
    if lease is not None and lease.state in OPEN and lease.container == container.name:
        return False
    is_wanted = lease is not None and lease.state != "settled"
    return not is_wanted and now - container.created_at > GRACE
