"""Deadlines are columns: a tick finds what is overdue and tells its machine. Nothing is lost with the process."""

import asyncio
from typing import Final

from market.jobs import Job
from market.leases import OPEN, Lease
from market.machines import DeadlinePassed
from market.provision import LeaseExpired
from node.engine import Engine

TICK: Final = 0.5


async def run(engine: Engine) -> None:
    """Sweep every half second until cancelled."""
    while True:
        await sweep(engine)
        await asyncio.sleep(TICK)


async def sweep(engine: Engine) -> None:
    """Tell every overdue job and lease once; a provider's lease without renewals ends at `until`."""
    now = engine.clock.now()
    for job in engine.storage.find(Job, deadline_until=now):
        await engine.attempt("Job", job.id, DeadlinePassed())
    for lease in engine.storage.find(Lease, deadline_until=now):
        await engine.attempt("Lease", lease.id, DeadlinePassed())
    for lease in engine.storage.find(Lease, side="provider", state=OPEN[1:]):
        if lease.until <= now:
            await engine.attempt("Lease", lease.id, LeaseExpired())
