"""Deadlines are columns: a tick finds what is overdue and tells its machine. Nothing is lost with the process."""

import asyncio
from typing import Final

import structlog

from market.jobs import Job
from market.leases import OPEN, Lease
from market.machines import DeadlinePassed, Event
from market.provision_events import LeaseExpired
from market.runs import Run
from market.services import Service
from node.engine import Engine

_log = structlog.get_logger("deadlines")
TICK: Final = 0.5
PATIENCE: Final = 10_000
"""After a start, in ms: providers that ended a job meanwhile deliver its receipt, and the job is not run again."""


async def run(engine: Engine) -> None:
    """Sweep every half second until cancelled."""
    started = engine.clock.now()
    while True:
        await sweep(engine, patient_until=started + PATIENCE)
        await asyncio.sleep(TICK)


async def sweep(engine: Engine, patient_until: int = 0) -> None:
    """Tell every overdue job, service and lease once; a provider's lease without renewals ends at `until`.

    Until `patient_until` no provider is called silent: it was this node that was away.
    """
    now = engine.clock.now()
    for job in engine.storage.find(Job, deadline_until=now):
        await _tell(engine, "Job", job.id, DeadlinePassed())
    for service in engine.storage.find(Service, deadline_until=now):
        await _tell(engine, "Service", service.id, DeadlinePassed())
    for run in engine.storage.find(Run, deadline_until=now):
        await _tell(engine, "Run", run.id, DeadlinePassed())
    for lease in engine.storage.find(Lease, deadline_until=now):
        if now < patient_until and lease.side == "requester" and lease.state in OPEN:
            continue
        await _tell(engine, "Lease", lease.id, DeadlinePassed())
    for lease in engine.storage.find(Lease, side="provider", state=OPEN[1:]):
        if lease.until <= now:
            await _tell(engine, "Lease", lease.id, LeaseExpired())


async def _tell(engine: Engine, noun: str, id: str, event: Event) -> None:
    """One that fails, in whatever way, keeps no other from its end."""
    try:
        await engine.attempt(noun, id, event)
    except Exception:  # noqa: BLE001 - whatever it is, the others go on
        _log.exception("deadline not told", noun=noun, subject=id)
