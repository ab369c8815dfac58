"""Services are asked whether they work, each at its own interval; what changes is told to the lease."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from market.errors import Unavailable
from market.leases import Lease, LeaseState
from market.probing import Pulse, felt
from market.provision_events import HealthChanged
from market.workloads import Probe
from node.engine import Engine
from node.loops.asking import Asking

TICK: Final = 0.5
Ask = Callable[[str, Probe], Awaitable[bool]]
"""Asks a container by name; raises for none that does not answer, and Unavailable when nobody can be asked."""


async def run(engine: Engine, ask: Ask) -> None:
    """Probe every running service until cancelled."""
    prober = Prober(engine, ask)
    try:
        while True:
            prober.tick()
            await asyncio.sleep(TICK)
    finally:
        await prober.close()


class Prober:
    """The pulse of each service, and the probes under way: one that does not answer delays only itself."""

    def __init__(self, engine: Engine, ask: Ask) -> None:
        self._engine = engine
        self._ask = ask
        self._pulses: dict[str, Pulse] = {}
        self._next: dict[str, int] = {}
        self.asking = Asking("health")

    def tick(self) -> None:
        """Begin the probes that are due, and forget the services that are gone."""
        now = self._engine.clock.now()
        running = self._engine.storage.find(Lease, side="provider", state=LeaseState.RUNNING.value)
        probed = {lease.id: lease for lease in running if lease.workload and lease.workload.probe}
        self._pulses = {id: pulse for id, pulse in self._pulses.items() if id in probed}
        self._next = {id: at for id, at in self._next.items() if id in probed}
        for id, lease in probed.items():
            if id not in self.asking and self._next.get(id, 0) <= now:
                self.asking.begin(id, self._feel(lease, now))

    async def close(self) -> None:
        """Stop asking."""
        await self.asking.close()

    async def _feel(self, lease: Lease, now: int) -> None:
        workload = lease.workload
        if workload is None or workload.probe is None:
            return
        before = self._pulses.get(lease.id) or Pulse(health=lease.health or Pulse().health)
        self._next[lease.id] = now + workload.probe.interval * 1000
        try:
            is_well = await self._ask(lease.container, workload.probe)
        except Unavailable:  # the engine is away: nothing is known of the service, and the next probe may know more
            return
        after = felt(before, workload, is_well, self._engine.clock.now() - lease.started_at)
        self._pulses[lease.id] = after
        if after.health != lease.health:
            await self._engine.attempt("Lease", lease.id, HealthChanged(health=after.health))
