"""What running containers use: read every ten seconds, turned into rates, and sent to their requesters."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from market.dialogue import MOST_SAMPLES, Done, Samples
from market.errors import NeugridError, NotFound, Refused
from market.leases import Lease, LeaseState
from market.messages import Kind
from market.series import RAW, Reading
from market.workloads import WorkloadKind
from node.actions.peers import Peers
from node.engine import Engine
from node.loops.asking import Asking
from node.ports import Containers, Sample

_done = msgspec.json.Decoder(Done)
_log = structlog.get_logger("sampling")
EVERY: Final = RAW.step
OFFSET: Final = 200
"""Milliseconds behind each full ten seconds: so each width of the finest series gets one reading."""
SEND_EVERY: Final = 30_000
SAMPLE_WITHIN: Final = 5.0
STALE: Final = 60_000
"""Over a longer time than this, in ms, no rate is told: that is a gap."""
KINDS: Final = (WorkloadKind.BATCH, WorkloadKind.SERVICE)
"""What runs in a container of its own."""


async def run(engine: Engine, peers: Peers, containers: Containers) -> None:
    """Read and send until cancelled."""
    sampler = Sampler(engine, peers, containers)
    try:
        while True:
            await asyncio.sleep((EVERY - (engine.clock.now() - OFFSET) % EVERY) / 1000)
            await sampler.tick()
    finally:
        await sampler.close()


class Sampler:
    """The last sample of each running lease, and the readings that wait for its requester, at most MOST_SAMPLES."""

    def __init__(self, engine: Engine, peers: Peers, containers: Containers) -> None:
        self._engine = engine
        self._peers = peers
        self._containers = containers
        self._last: dict[str, Sample] = {}
        self._waiting: dict[str, deque[Reading]] = {}
        self._sent: dict[str, int] = {}
        self.asking = Asking("samples")

    async def tick(self) -> None:
        """One sample of each running container, side by side; then the sendings that are due begin."""
        now = self._engine.clock.now()
        leases = self._engine.storage.find(Lease, side="provider", state=LeaseState.RUNNING.value)
        leases = [lease for lease in leases if lease.workload and lease.workload.kind in KINDS]
        self._forget({lease.id for lease in leases})
        await asyncio.gather(*(self._read(lease) for lease in leases))
        for lease in leases:
            if lease.id not in self.asking and self._waiting.get(lease.id) and now >= self._next(lease, now):
                self._begin(lease, now)

    async def close(self) -> None:
        """Stop sending."""
        await self.asking.close()

    def _forget(self, running: set[str]) -> None:
        for known in (self._last, self._waiting, self._sent):
            for id in known.keys() - running:
                del known[id]

    def _next(self, lease: Lease, now: int) -> int:
        """When its readings are due: the first one soon, so that a graph begins with the service."""
        return self._sent.get(lease.id, now - SEND_EVERY) + SEND_EVERY

    async def _read(self, lease: Lease) -> None:
        """A container that can not be read leaves a gap."""
        try:
            async with asyncio.timeout(SAMPLE_WITHIN):
                sample = await self._containers.sample(lease.container)
        except NotFound:
            return
        except (NeugridError, TimeoutError) as error:
            _log.info("not sampled", lease=lease.id, why=repr(error))
            return
        before, self._last[lease.id] = self._last.get(lease.id), sample
        reading = reading_of(before, sample) if before else None
        if reading is not None:
            self._waiting.setdefault(lease.id, deque(maxlen=MOST_SAMPLES)).append(reading)

    def _begin(self, lease: Lease, now: int) -> None:
        self._sent[lease.id] = now
        self.asking.begin(lease.id, self._send(lease, tuple(self._waiting[lease.id])))

    async def _send(self, lease: Lease, readings: Sequence[Reading]) -> None:
        """What could not be sent waits for the next time, what was refused does not."""
        try:
            message = Samples(lease.id, tuple(readings))
            await self._peers.ask(lease.terms.requester_peer, Kind.SAMPLES, message, _done)
        except Refused as error:
            _log.info("samples refused", lease=lease.id, why=error.message)
            if "TOO_OFTEN" in str(error.details.get("codes")):
                return
        except NeugridError:
            return
        waiting = self._waiting.get(lease.id, deque())
        while waiting and waiting[0].at <= readings[-1].at:
            waiting.popleft()


def reading_of(before: Sample, after: Sample) -> Reading | None:
    """What was used between two samples; None when they are too far apart, or a counter began anew."""
    passed = after.at - before.at
    growth = (after.cpu - before.cpu, after.received - before.received, after.sent - before.sent)
    if not 0 < passed <= STALE or min(growth) < 0:
        return None
    cpu, received, sent = growth
    return Reading(
        at=after.at,
        cpu=min(2**31, cpu // (1000 * passed)),
        memory=max(0, after.memory),
        received=received * 1000 // passed,
        sent=sent * 1000 // passed,
        gpu=after.gpu if 0 <= after.gpu <= 1000 else -1,
    )
