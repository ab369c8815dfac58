"""Seconds used become vouchers: the provider states each running lease's use at every interval, and at its start."""

import asyncio
from typing import Final

from market.leases import STATE_EVERY, Lease, LeaseState
from node.actions.usage import Usage
from node.engine import Engine
from node.loops.asking import Asking

TICK: Final = 0.25
STATES: Final = (LeaseState.PULLING, LeaseState.STARTING, LeaseState.RUNNING)


async def run(engine: Engine, usage: Usage) -> None:
    """State every lease when its phase changed or its interval is over, until cancelled."""
    meter = Meter(engine, usage)
    try:
        while True:
            await meter.tick()
            await asyncio.sleep(TICK)
    finally:
        await meter.close()


class Meter:
    """What was stated when, and the statements under way: a requester that does not answer delays only its own."""

    def __init__(self, engine: Engine, usage: Usage) -> None:
        self._engine = engine
        self._usage = usage
        self._stated: dict[str, tuple[str, int]] = {}
        self.asking = Asking("use")

    async def tick(self) -> None:
        """Begin the statements that are due."""
        now = self._engine.clock.now()
        leases = self._engine.storage.find(Lease, side="provider", state=STATES)
        due = [lease for lease in leases if lease.id not in self.asking and self._is_due(lease, now)]
        self._stated = {lease.id: self._stated[lease.id] for lease in leases if lease.id in self._stated}
        self._stated.update({lease.id: (_phase(lease), now) for lease in due})
        for lease in await self._usage.in_use(due):
            self.asking.begin(lease.id, self._usage.state_usage(lease, now))

    async def close(self) -> None:
        """Stop asking."""
        await self.asking.close()

    def _is_due(self, lease: Lease, now: int) -> bool:
        last = self._stated.get(lease.id)
        return last is None or last[0] != _phase(lease) or now - last[1] >= STATE_EVERY


def _phase(lease: Lease) -> str:
    return f"{lease.state.value} {lease.health} {lease.direct}"
