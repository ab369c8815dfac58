"""The provider's side of a build's lease: an image is made here, and goes to the requester as a file."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import structlog

from market.builds import RESULT
from market.dialogue import Line
from market.errors import Refused
from market.leases import Lease
from market.machines import Event
from market.provision_events import WorkloadEnded
from market.units import Seconds, Timestamp
from market.workloads import File, Workload
from node.actions.log_relay import DELIVER_WITHIN, Deliveries, LogRelay
from node.actions.peers import Peers
from node.engine import Engine
from node.ports import BuildEnd, Builder, BuildSpec, LogLine

_log = structlog.get_logger("builds")
LOST: Final = BuildEnd(code="INFRASTRUCTURE", message="the node began anew while it built", exit_code=-1)


class _Running:
    """A build under way: since when, where its lines go, and what it comes to."""

    def __init__(self, started_at: Timestamp, relay: LogRelay) -> None:
        self.started_at = started_at
        self.relay = relay
        self.task: asyncio.Task[BuildEnd]

    def hear(self, line: LogLine) -> None:
        """One more line."""
        self.relay.add(Line(line.at, line.stream, line.text))


class BuildHost:
    """Builds for those who hold a lease for it. A build does not outlive its node: then others are better off."""

    def __init__(self, engine: Engine, peers: Peers, builder: Builder, store: Path) -> None:
        self._engine = engine
        self._peers = peers
        self._builder = builder
        self._store = store
        self._running: dict[str, _Running] = {}
        self._deliveries = Deliveries()

    async def prepare(self, lease: Lease, workload: Workload) -> str:
        """Nothing is fetched before the clock runs: repository and images are the build's own first steps."""
        if workload.source is None or workload.outputs != (RESULT,):
            raise Refused(f"a build needs a source, and {RESULT} as its output", codes=("NO_SOURCE",))
        return await self._builder.ready()

    async def start(self, lease: Lease, workload: Workload) -> Timestamp:
        """Begin; a build that has begun goes on."""
        running = self._running.get(lease.id)
        if running is None:
            relay = LogRelay(self._peers, lease)
            running = self._running[lease.id] = _Running(self._engine.clock.now(), relay)
            building = self._builder.build(_spec(lease, workload), self._store, running.hear)
            running.task = asyncio.create_task(building)
        return running.started_at

    async def watch(self, lease: Lease) -> Event | None:
        """Until it has ended; one that this life of the node knows nothing of is lost, and what it left is removed."""
        running = self._running.get(lease.id)
        if running is None:
            return await self._lost(lease)
        async with self._deliveries.of(running.relay):
            await asyncio.wait([running.task])
            end = _end_of(running.task)
            ended_at = self._engine.clock.now()
            running.relay.complete()
        return _ended(running.started_at, end, ended_at, running.relay)

    async def stop(self, lease: Lease) -> None:
        """End it now; nothing of it stays."""
        running = self._running.get(lease.id)
        if running is not None:
            running.task.cancel()
            await asyncio.wait([running.task])

    async def remove(self, lease: Lease) -> None:
        """Remove what it left; its image stays here for who runs it next."""
        await self.stop(lease)
        self._running.pop(lease.id, None)
        await self._builder.sweep(lease.container)

    async def running(self) -> frozenset[str] | None:
        """A build is no container of the lease's name, or only while it clones."""
        return None

    async def _lost(self, lease: Lease) -> Event:
        relay = LogRelay(self._peers, lease)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(relay.resume(), DELIVER_WITHIN)
        await self._builder.sweep(lease.container)
        return _ended(lease.started_at, LOST, self._engine.clock.now(), relay)


def _end_of(task: "asyncio.Task[BuildEnd]") -> BuildEnd:
    """What it came to; a builder that failed in a way of its own is infrastructure."""
    if task.cancelled():
        return LOST
    error = task.exception()
    if error is None:
        return task.result()
    _log.error("build broke", exc_info=error)
    return BuildEnd(code="INFRASTRUCTURE", message="the builder failed", exit_code=-1)


def _spec(lease: Lease, workload: Workload) -> BuildSpec:
    if workload.source is None:
        raise Refused("a build needs a source", codes=("NO_SOURCE",))
    return BuildSpec(
        name=lease.container,
        lease=lease.id,
        requester=lease.terms.requester,
        source=workload.source,
        resources=workload.resources,
        timeout=Seconds(lease.terms.timeout),
        egress=workload.egress,
    )


def _ended(started_at: int, end: BuildEnd, now: int, relay: LogRelay) -> WorkloadEnded:
    files = [File(path=RESULT, digest=end.archive.digest, size=end.archive.size)] if end.archive else []
    return WorkloadEnded(
        exit_code=max(-1, min(255, end.exit_code)),
        code=end.code,
        message=end.message,
        started_at=started_at,
        ended_at=now,
        outputs=tuple(files),
        log_lines=relay.count,
        log_head=relay.head,
    )
