"""Direct ports of running services are opened on the provider's own address, and closed when the lease ends.

Where they are reached is written into the lease, so that a restarted node opens the same ones again.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from market.errors import ConfigError
from market.leases import Lease, LeaseState
from market.provision_events import PortsOpened
from market.workloads import DirectPort, direct_ports
from node.engine import Engine
from node.ports import Dial, OpenPort, PublicPorts

EVERY: Final = 0.5
SPARE: Final = 16
"""Direct ports are offered while as many as a workload may name are free."""
_log = structlog.get_logger("publishing")


async def run(publishing: "Publishing") -> None:
    """Open and close until cancelled."""
    try:
        while True:
            await publishing.tick()
            await asyncio.sleep(EVERY)
    finally:
        await publishing.close()


class Publishing:
    """Which of the public ports leads where; `dial` opens the way to a port of a container by its name."""

    def __init__(self, engine: Engine, ports: PublicPorts, dial: Callable[[str, int], Dial]) -> None:
        self._engine, self._ports, self._dial = engine, ports, dial
        self._open: dict[str, dict[int, tuple[int, OpenPort]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def abilities(self) -> tuple[str, ...]:
        """What an offer says of it."""
        return ("direct",) if len(self._free()) >= SPARE else ()

    async def tick(self) -> None:
        """Bring the open ports in line with the leases that run."""
        running = self._engine.storage.find(Lease, side="provider", state=LeaseState.RUNNING.value)
        wanted = {lease.id: lease for lease in running if direct_ports(lease.workload)}
        for id in self._open.keys() - wanted.keys():
            self._shut(id)
        new = [lease for id, lease in wanted.items() if id not in self._open]
        for lease in sorted(new, key=lambda lease: not lease.direct):  # who had ports before a restart has them again
            await self._publish(lease)

    async def close(self) -> None:
        """Close all of them."""
        for id in list(self._open):
            self._shut(id)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _publish(self, lease: Lease) -> None:
        opened = self._open.setdefault(lease.id, {})
        before = {place.port: int(place.address.rpartition(":")[2]) for place in lease.direct}
        for port in direct_ports(lease.workload):
            found = self._opened(lease.container, port, before.get(port))
            if found is None:
                _log.warning("no public port is free", lease=lease.id, port=port)
            else:
                opened[port] = found
        direct = tuple(
            DirectPort(port=port, address=f"{self._ports.address}:{number}") for port, (number, _) in opened.items()
        )
        if direct != lease.direct:
            await self._engine.attempt("Lease", lease.id, PortsOpened(direct=direct))

    def _opened(self, container: str, port: int, before: int | None) -> tuple[int, OpenPort] | None:
        free = self._free()
        for number in sorted(free, key=lambda number: number != before):
            try:
                return number, self._ports.open(number, self._dial(container, port))
            except ConfigError:  # somebody else has it
                continue
        return None

    def _free(self) -> list[int]:
        taken = {number for opened in self._open.values() for number, _ in opened.values()}
        return [number for number in self._ports.numbers if number not in taken]

    def _shut(self, id: str) -> None:
        for _, listening in self._open.pop(id).values():
            task = asyncio.ensure_future(listening.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
