"""What stays up goes on for longer: a lease past half of its time asks for more, as long as it is wanted and paid for.

A provider that did not state what it is owed so far gets no longer term: what it may still claim is set aside.
"""

import asyncio
from typing import Final

import structlog

from market.errors import InsufficientFunds
from market.jobs import Job
from market.leases import Lease, LeaseState, extended, is_credit_exhausted, term_ends_at
from market.service_events import FundsEnded
from market.tenancy_events import ExtensionWanted
from node.actions.standing import Standing
from node.engine import Engine

_log = structlog.get_logger("extending")
EVERY: Final = 5.0
NO_TERM: Final = "the balance does not cover another term"
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
        if job is None or not job.term or lease.extension is not None or is_credit_exhausted(lease, now):
            continue
        is_late = 2 * (term_ends_at(lease) - now) < job.term * 1000
        if is_late and now - asked.get(lease.id, 0) >= _pause(job):
            asked[lease.id] = now
            await _ask(engine, lease, job)
    for id in asked.keys() - {lease.id for lease in leases}:
        del asked[id]


async def _ask(engine: Engine, lease: Lease, job: Job) -> None:
    """Ask for another term; what its user can not pay for until its last try ends with its term."""
    try:
        await engine.attempt("Lease", lease.id, ExtensionWanted(terms=extended(lease.terms, job.term)))
    except InsufficientFunds as error:
        left = term_ends_at(lease) - engine.clock.now()
        _log.info("no money for another term", lease=lease.id, job=job.id, left=left, **error.details)
        if left <= _pause(job) + 2 * EVERY * 1000:
            await engine.attempt("Service", job.service, FundsEnded(message=NO_TERM))


def _pause(job: Job) -> int:
    return job.term * 500 // TRIES
