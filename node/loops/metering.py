"""Seconds used become vouchers: the provider states each running lease's use at every interval, and at its start."""

import asyncio
from typing import Final

from market.leases import STATE_EVERY, Lease, LeaseState
from node.actions.provisioning import Provisioning
from node.engine import Engine

TICK: Final = 0.25
STATES: Final = (LeaseState.PULLING, LeaseState.STARTING, LeaseState.RUNNING)


async def run(engine: Engine, provisioning: Provisioning) -> None:
    """State every lease when its phase changed or its interval is over, until cancelled."""
    stated: dict[str, tuple[str, int]] = {}
    while True:
        now = engine.clock.now()
        leases = engine.storage.find(Lease, side="provider", state=STATES)
        due = [lease for lease in leases if _is_due(stated.get(lease.id), lease, now)]
        stated = {lease.id: stated[lease.id] for lease in leases if lease.id in stated}
        stated.update({lease.id: (lease.state.value, now) for lease in due})
        await asyncio.gather(*(provisioning.state_usage(lease, now) for lease in await provisioning.in_use(due)))
        await asyncio.sleep(TICK)


def _is_due(last: tuple[str, int] | None, lease: Lease, now: int) -> bool:
    return last is None or last[0] != lease.state.value or now - last[1] >= STATE_EVERY
