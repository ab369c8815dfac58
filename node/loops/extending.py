"""What stays up goes on for longer: a lease past half of its time asks for more, as long as it is wanted."""

import asyncio
from typing import Final

from market.jobs import Job
from market.leases import Lease, LeaseState, extended, term_ends_at
from market.tenancy_events import ExtensionWanted
from node.actions.standing import Standing
from node.engine import Engine

EVERY: Final = 5.0
TRIES: Final = 16
"""How often a lease may ask within half of a term: one that is refused asks again, but not all the time."""


async def run(engine: Engine, standing: Standing) -> None:
    """Look every few seconds until cancelled."""
    asked: dict[str, int] = {}
    while True:
        await extend_services(engine, asked)
        await standing.extend()
        await asyncio.sleep(EVERY)


async def extend_services(engine: Engine, asked: dict[str, int]) -> None:
    """Ask for another term for each job that wants one; `asked` says when each lease asked last."""
    now = engine.clock.now()
    leases = engine.storage.find(Lease, side="requester", state=LeaseState.RUNNING.value)
    for lease in leases:
        job = engine.storage.get(Job, lease.job)
        if job is None or not job.term or lease.extension is not None:
            continue
        is_late = 2 * (term_ends_at(lease) - now) < job.term * 1000
        if is_late and now - asked.get(lease.id, 0) >= job.term * 500 // TRIES:
            asked[lease.id] = now
            await engine.attempt("Lease", lease.id, ExtensionWanted(terms=extended(lease.terms, job.term)))
    for id in asked.keys() - {lease.id for lease in leases}:
        del asked[id]
